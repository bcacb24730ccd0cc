//! Containment, from committed to enforced: the verifiers that hold a revision, those that may still permit without it
//! and until when, and those that cannot permit any more.
//!
//! The node that is asked says when it is done: nobody may permit without the revision. A verifier that has vanished or
//! does not answer delays that until it must have failed closed, and no longer.

use std::time::Duration;

use futures::StreamExt;
use hessra_sdk_rust::Authority;
use hessra_sdk_rust::v1::{AppliedProgress, WatchAppliedRequest};
use hessra_settings::duration;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::progress::Display;
use super::uncontained::{self, NAMES_MAX};
use crate::args::WaitShare;
use crate::clock;
use crate::exit::Exit;
use crate::failure::{CommandError, Outcome};
use crate::output::{Console, clock_second};

/// Pause before a broken watch is taken up again: an election takes about a second.
const RESUME: Duration = Duration::from_millis(250);

/// Containment of a revision when the waiting ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Containment {
    /// Progress that was heard last; `None` = nothing.
    progress: Option<AppliedProgress>,
    /// Refusal by the servers to tell the progress.
    refusal: Option<String>,
    /// Last failure to watch that another attempt could have cured.
    trouble: Option<String>,
    waited: Duration,
}

/// Revision to wait for, and how long.
pub(crate) struct Wait<'a> {
    pub id: &'a str,
    pub revision: u64,
    pub share: WaitShare,
    pub limit: Duration,
}

/// Waits until enough verifiers hold a revision, or as long as is allowed.
///
/// # Errors
/// Interrupted by Ctrl-C, with how to go on watching. Everything else that goes wrong is in the answer, because the
/// revocation is made and the person must hear that first: see [`Containment::outcome`].
pub(crate) async fn wait(
    authority: &Authority,
    console: Console,
    wait: &Wait<'_>,
) -> Outcome<Containment> {
    let mut display = Display::new(console);
    let mut contained = Containment::default();
    let begun = Instant::now();
    tokio::select! {
        () = follow(authority, wait, &mut contained, &mut display) => (),
        () = tokio::time::sleep(wait.limit) => (),
        _ = tokio::signal::ctrl_c() => return Err(interrupted(wait.id)),
    }
    Ok(Containment {
        waited: begun.elapsed(),
        ..contained
    })
}

/// Follows the progress until it is done. A broken watch is taken up again: the servers keep the progress.
async fn follow(
    authority: &Authority,
    wait: &Wait<'_>,
    contained: &mut Containment,
    display: &mut Display,
) {
    loop {
        match authority.watch_applied(request(wait), wait.limit).await {
            Ok(mut stream) => {
                while let Some(Ok(progress)) = stream.next().await {
                    display.show(&summary(&progress), progress.done);
                    let done = progress.done;
                    contained.progress = Some(progress);
                    if done {
                        return;
                    }
                }
            }
            Err(error) if error.retryable => contained.trouble = Some(error.to_string()),
            Err(error) => {
                contained.refusal = Some(error.to_string());
                return;
            }
        }
        tokio::time::sleep(RESUME).await;
    }
}

fn request(wait: &Wait<'_>) -> WatchAppliedRequest {
    let (fraction, count) = match wait.share {
        WaitShare::All => (0.0, 0),
        WaitShare::Fraction(fraction) => (fraction, 0),
        WaitShare::Count(count) => (0.0, count),
    };
    WatchAppliedRequest {
        revision: wait.revision,
        fraction,
        count,
    }
}

fn interrupted(id: &str) -> CommandError {
    CommandError::interrupted("stopped watching; the revocation stays").hint(format!(
        "Go on watching with `hessra revocations watch {id}`."
    ))
}

impl Containment {
    /// Summary in one line, for people.
    pub(crate) fn summary(&self) -> String {
        self.progress
            .as_ref()
            .map_or_else(|| "Verifiers enforcing  unknown".to_owned(), summary)
    }

    /// The object `wait` of `-o json`.
    pub(crate) fn to_json(&self) -> Value {
        let AppliedProgress {
            enrolled,
            applied,
            p50_ms,
            p99_ms,
            laggards,
            done,
            guests,
            failed_closed,
            closed,
            unheard,
        } = self.progress.as_ref().unwrap_or(&NOTHING);
        json!({
            "enrolled": enrolled,
            "applied": applied,
            "p50_ms": p50_ms,
            "p99_ms": p99_ms,
            "done": done,
            "not_counted": guests,
            "failed_closed": failed_closed,
            "laggards": laggards.iter().map(uncontained::verifier_json).collect::<Vec<_>>(),
            "closed": closed.iter().map(uncontained::verifier_json).collect::<Vec<_>>(),
            "unheard": unheard.iter().map(uncontained::unheard_json).collect::<Vec<_>>(),
        })
    }

    /// Outcome: enforced as asked for, or the verifiers that do not confirm.
    ///
    /// # Errors
    /// Unconfirmed, naming who may still permit, and until when.
    pub(crate) fn outcome(&self) -> Outcome {
        let waited = duration::rounded(self.waited);
        let message = match (&self.progress, &self.refusal) {
            (Some(progress), _) if progress.done => return Ok(()),
            (_, Some(refusal)) => {
                format!("committed, but who enforces it cannot be watched: {refusal}")
            }
            (None, None) => {
                let why = self.trouble.as_ref().map(|why| format!(": {why}"));
                let why = why.unwrap_or_default();
                format!("committed, but no node could say within {waited} who enforces it{why}")
            }
            (Some(progress), None) => {
                let names = uncontained::names(progress, clock::unix_milliseconds());
                match names.is_empty() {
                    true => format!("not confirmed after {waited}"),
                    false => format!("may still permit after {waited}: {names}"),
                }
            }
        };
        Err(CommandError::new(Exit::Unconfirmed, "degraded", message)
            .hint("See `hessra feed verifiers`. The revocation is durable; a verifier that has not heard of it permits nothing after the instant that is named."))
    }
}

/// Progress before anything was heard.
static NOTHING: AppliedProgress = AppliedProgress {
    enrolled: 0,
    applied: 0,
    p50_ms: 0.0,
    p99_ms: 0.0,
    laggards: Vec::new(),
    done: false,
    guests: 0,
    failed_closed: 0,
    closed: Vec::new(),
    unheard: Vec::new(),
};

fn summary(progress: &AppliedProgress) -> String {
    let AppliedProgress {
        enrolled,
        applied,
        p99_ms,
        guests,
        unheard,
        ..
    } = progress;
    let not_counted = match guests {
        0 => String::new(),
        guests => format!("  ({guests} follow that the policy does not name: not counted)"),
    };
    let counted = match (*enrolled, *applied) {
        (0, _) if !unheard.is_empty() => "No verifier is known yet".to_owned(),
        (0, _) => "No verifier is enrolled".to_owned(),
        (enrolled, 0) => format!("Verifiers enforcing  0/{enrolled}"),
        (enrolled, applied) => {
            format!("Verifiers enforcing  {applied}/{enrolled}  p99 {p99_ms:.0} ms")
        }
    };
    let now = clock::unix_milliseconds();
    let open = match uncontained::names(progress, now) {
        names if names.is_empty() || progress.done => String::new(),
        names => format!("; may still permit: {names}"),
    };
    counted + &closed_text(progress, now) + &open + &not_counted
}

/// Verifiers that cannot permit any more, and since when.
fn closed_text(progress: &AppliedProgress, now: u64) -> String {
    let closed = &progress.closed;
    let named = closed.iter().take(NAMES_MAX).map(|verifier| {
        let since = clock_second(verifier.may_permit_until_ms, now);
        format!("{} (since {since})", verifier.id)
    });
    let more = closed.len().saturating_sub(NAMES_MAX);
    let names: Vec<String> = named
        .chain((more > 0).then(|| format!("{more} more")))
        .collect();
    match (progress.failed_closed, names.is_empty()) {
        (0, true) => String::new(),
        // A process of a verifier whose other process enforces it.
        (0, false) => format!(
            "; failed closed beside others of their id: {}",
            names.join(", ")
        ),
        (count, _) => format!("; {count} failed closed: {}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use hessra_sdk_rust::v1::unheard::Reason;
    use hessra_sdk_rust::v1::{Unheard, VerifierStatus};

    use super::*;

    /// Noon of some day, and seconds after it.
    fn at(seconds: u64) -> u64 {
        1_000_000_000_000 + seconds * 1_000
    }

    fn verifier(id: &str, until: u64) -> VerifierStatus {
        VerifierStatus {
            id: id.to_owned(),
            may_permit_until_ms: at(until),
            ..VerifierStatus::default()
        }
    }

    fn contained(done: bool) -> Containment {
        let progress = AppliedProgress {
            enrolled: 120,
            applied: 118,
            p50_ms: 80.0,
            p99_ms: 214.0,
            laggards: vec![VerifierStatus {
                connected: true,
                ..verifier("pg-report-2", 5)
            }],
            done,
            guests: 0,
            failed_closed: 1,
            closed: vec![verifier("edge-fra-7", 3)],
            unheard: Vec::new(),
        };
        Containment {
            progress: Some(progress),
            refusal: None,
            trouble: None,
            waited: Duration::from_secs(30),
        }
    }

    #[test]
    fn enforced_is_done_and_who_failed_closed_is_named_with_since_when() {
        assert_eq!(contained(true).outcome(), Ok(()));
        let summary = contained(true).summary();
        let counted =
            "Verifiers enforcing  118/120  p99 214 ms; 1 failed closed: edge-fra-7 (since 2001-09-";
        assert!(summary.starts_with(counted), "{summary}");
        assert!(!summary.contains("pg-report-2"), "{summary}");
    }

    #[test]
    fn who_may_still_permit_is_named_with_until_when() {
        let failure = contained(false).outcome().expect_err("not confirmed");
        assert_eq!(failure.exit, Exit::Unconfirmed);
        let expected = "may still permit after 30s: pg-report-2 (until 2001-09-";
        assert!(failure.message.starts_with(expected), "{failure}");
        assert!(!failure.message.contains("edge-fra-7"), "{failure}");
        assert!(
            contained(false)
                .summary()
                .contains("may still permit: pg-report-2 (until")
        );
    }

    #[test]
    fn nobody_is_called_not_enrolled_before_all_nodes_were_heard() {
        let progress = AppliedProgress {
            unheard: vec![Unheard {
                node: 3,
                reason: Reason::Removed.into(),
                until_ms: at(4),
            }],
            ..AppliedProgress::default()
        };
        let said = summary(&progress);
        let expected = "No verifier is known yet; may still permit: verifiers of node 3, which was removed (until ";
        assert!(said.starts_with(expected), "{said}");
    }

    #[test]
    fn a_frozen_process_beside_one_that_enforces_is_named() {
        let progress = AppliedProgress {
            enrolled: 1,
            applied: 1,
            closed: vec![verifier("orders-1", 3)],
            done: true,
            ..AppliedProgress::default()
        };
        let said = summary(&progress);
        assert!(
            said.contains("failed closed beside others of their id: orders-1 (since"),
            "{said}"
        );
    }

    #[test]
    fn hearing_nothing_is_not_the_same_as_nobody_lagging() {
        let failure = Containment::default().outcome().expect_err("not confirmed");
        assert_eq!(
            failure.message,
            "committed, but no node could say within 0s who enforces it"
        );
    }

    #[test]
    fn the_reason_for_which_nobody_could_say_is_said() {
        let busy = Containment {
            trouble: Some("too many watches are open".to_owned()),
            ..Containment::default()
        };
        let failure = busy.outcome().expect_err("not confirmed");
        assert!(
            failure
                .message
                .ends_with("who enforces it: too many watches are open"),
            "{failure}"
        );
    }

    #[test]
    fn followers_that_are_not_counted_are_named_as_such() {
        let progress = AppliedProgress {
            guests: 3,
            done: true,
            ..AppliedProgress::default()
        };
        assert_eq!(
            summary(&progress),
            "No verifier is enrolled  (3 follow that the policy does not name: not counted)"
        );
    }

    #[test]
    fn a_refusal_to_watch_does_not_hide_that_it_is_committed() {
        let refused = Containment {
            refusal: Some("not permitted".to_owned()),
            ..Containment::default()
        };
        let failure = refused.outcome().expect_err("not confirmed");
        assert_eq!(failure.exit, Exit::Unconfirmed);
        assert!(failure.message.starts_with("committed, but"), "{failure}");
    }

    #[test]
    fn the_json_has_the_published_keys() {
        let value = contained(false).to_json();
        for key in [
            "enrolled", "applied", "p50_ms", "p99_ms", "laggards", "unheard",
        ] {
            assert!(value.get(key).is_some(), "{key}");
        }
        assert_eq!(value["laggards"][0]["id"], "pg-report-2");
        assert_eq!(
            value["laggards"][0]["may_permit_until"],
            "2001-09-09T01:46:45.000Z"
        );
        assert_eq!(
            (&value["failed_closed"], &value["closed"][0]["id"]),
            (&json!(1), &json!("edge-fra-7"))
        );
    }

    #[test]
    fn ctrl_c_says_how_to_go_on() {
        let failure = interrupted("rv_7");
        assert_eq!(failure.exit.code(), 130);
        assert!(
            failure
                .hint
                .expect("a hint")
                .contains("hessra revocations watch rv_7")
        );
    }
}
