//! Containment, from committed to enforced: the verifiers that hold a revision, those that do not, and when these fail
//! closed.

use std::time::Duration;

use futures::StreamExt;
use hessra_sdk_rust::Authority;
use hessra_sdk_rust::v1::{AppliedProgress, VerifierStatus, WatchAppliedRequest};
use hessra_settings::duration;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::progress::Display;
use crate::args::WaitShare;
use crate::clock;
use crate::exit::Exit;
use crate::failure::{CommandError, Outcome};
use crate::output::{Console, clock_time};

/// Pause before a broken watch is taken up again: an election takes about a second.
const RESUME: Duration = Duration::from_millis(250);
/// Most stragglers that are named in text.
const NAMES_MAX: usize = 5;

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
                    let done = progress.done || is_futile(&progress);
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

/// True when all that are missing are gone and failing closed: no waiting changes that.
fn is_futile(progress: &AppliedProgress) -> bool {
    let missing = progress.enrolled.saturating_sub(progress.applied);
    let named = u32::try_from(progress.laggards.len()).is_ok_and(|named| named == missing);
    let gone = |laggard: &VerifierStatus| !laggard.connected && laggard.fails_closed_in_ms == 0;
    named && missing > 0 && progress.laggards.iter().all(gone)
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
        } = self.progress.as_ref().unwrap_or(&NOTHING);
        json!({
            "enrolled": enrolled,
            "applied": applied,
            "p50_ms": p50_ms,
            "p99_ms": p99_ms,
            "done": done,
            "not_counted": guests,
            "laggards": laggards.iter().map(laggard_json).collect::<Vec<_>>(),
        })
    }

    /// Outcome: enforced as asked for, or the verifiers that do not confirm.
    ///
    /// # Errors
    /// Unconfirmed, naming stragglers and when each fails closed.
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
                let missing = progress.enrolled.saturating_sub(progress.applied);
                let names = laggard_names(&progress.laggards);
                if is_futile(progress) {
                    format!("{missing} not confirmed, gone and failing closed: {names}")
                } else {
                    format!("{missing} not confirmed after {waited}: {names}")
                }
            }
        };
        Err(CommandError::new(Exit::Unconfirmed, "degraded", message)
            .hint("See `hessra feed verifiers`. The revocation is durable and reaches them when they reconnect."))
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
};

fn summary(progress: &AppliedProgress) -> String {
    let AppliedProgress {
        enrolled,
        applied,
        p99_ms,
        guests,
        ..
    } = progress;
    let not_counted = match guests {
        0 => String::new(),
        guests => format!("  ({guests} follow that the policy does not name: not counted)"),
    };
    let counted = match (*enrolled, *applied) {
        (0, _) => "No verifier is enrolled".to_owned(),
        (enrolled, 0) => format!("Verifiers enforcing  0/{enrolled}"),
        (enrolled, applied) => {
            format!("Verifiers enforcing  {applied}/{enrolled}  p99 {p99_ms:.0} ms")
        }
    };
    counted + &not_counted
}

fn laggard_names(laggards: &[VerifierStatus]) -> String {
    let now = clock::unix_milliseconds();
    let named = laggards
        .iter()
        .take(NAMES_MAX)
        .map(|laggard| laggard_text(laggard, now));
    let more = laggards.len().saturating_sub(NAMES_MAX);
    named
        .chain((more > 0).then(|| format!("{more} more")))
        .collect::<Vec<_>>()
        .join(", ")
}

fn laggard_text(laggard: &VerifierStatus, now: u64) -> String {
    let closes = Duration::from_millis(laggard.fails_closed_in_ms);
    match laggard {
        _ if !laggard.connected => format!(
            "{} (offline since {})",
            laggard.id,
            clock_time(laggard.since_ms, now)
        ),
        _ if closes.is_zero() => format!("{} (fails closed now)", laggard.id),
        _ => format!(
            "{} (fails closed in {})",
            laggard.id,
            duration::rounded(closes)
        ),
    }
}

fn laggard_json(laggard: &VerifierStatus) -> Value {
    json!({
        "id": laggard.id,
        "node": laggard.node,
        "connected": laggard.connected,
        "applied": laggard.applied,
        "age_ms": laggard.age_ms,
        "fails_closed_in_ms": laggard.fails_closed_in_ms,
        "root_differs": laggard.root_differs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contained(done: bool) -> Containment {
        let laggard = |id: &str, connected, fails_closed_in_ms| VerifierStatus {
            id: id.to_owned(),
            connected,
            fails_closed_in_ms,
            since_ms: 1_000_000_000_000,
            ..VerifierStatus::default()
        };
        let laggards = vec![
            laggard("pg-report-2", true, 19_000),
            laggard("edge-fra-7", false, 0),
        ];
        let progress = AppliedProgress {
            enrolled: 120,
            applied: 118,
            p50_ms: 80.0,
            p99_ms: 214.0,
            laggards,
            done,
            guests: 0,
        };
        Containment {
            progress: Some(progress),
            refusal: None,
            trouble: None,
            waited: Duration::from_secs(30),
        }
    }

    #[test]
    fn enforced_is_done() {
        assert_eq!(contained(true).outcome(), Ok(()));
        assert_eq!(
            contained(true).summary(),
            "Verifiers enforcing  118/120  p99 214 ms"
        );
    }

    #[test]
    fn stragglers_are_named_with_when_they_fail_closed() {
        let failure = contained(false).outcome().expect_err("not confirmed");
        assert_eq!(failure.exit, Exit::Unconfirmed);
        let expected = "2 not confirmed after 30s: pg-report-2 (fails closed in 19s), edge-fra-7 (offline since 2001-";
        assert!(failure.message.starts_with(expected), "{failure}");
    }

    #[test]
    fn nobody_waits_for_those_who_are_gone_and_fail_closed() {
        let of = |id: &str| {
            let all = contained(false).progress.expect("heard").laggards;
            all.into_iter()
                .find(|laggard| laggard.id == id)
                .expect("named")
        };
        let missing = |applied, laggards| AppliedProgress {
            enrolled: 2,
            applied,
            laggards,
            ..AppliedProgress::default()
        };
        assert!(is_futile(&missing(1, vec![of("edge-fra-7")])));
        assert!(!is_futile(&missing(
            0,
            vec![of("edge-fra-7"), of("pg-report-2")]
        )));
        assert!(
            !is_futile(&missing(0, vec![of("edge-fra-7")])),
            "one is not named"
        );
        assert!(!is_futile(&missing(2, Vec::new())));
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
        for key in ["enrolled", "applied", "p50_ms", "p99_ms", "laggards"] {
            assert!(value.get(key).is_some(), "{key}");
        }
        assert_eq!(value["laggards"][1]["id"], "edge-fra-7");
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
