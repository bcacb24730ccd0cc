//! `hessra token explain`: the steps of a check, and the one at which a token is denied.
//!
//! A check goes through the same steps in the same order everywhere: size, format, key and signature, class and shape,
//! actor, revocation, end, checks, age of the knowledge. The reason of a denial names the step at which it fell, so
//! everything before it holds and nothing after it was looked at.

use hessra_sdk_rust::Request;
use hessra_sdk_rust::token::{Evidence, Limits, TokenClass, VerifierConfig};
use serde_json::{Value, json};

use super::denied::Denial;
use super::given::given;
use crate::args::ExplainToken;
use crate::clock;
use crate::commands::identity::Inspected;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{CommandError, Outcome};
use crate::output::Console;
use crate::sdk;
use crate::verification::{self, Verification};

/// The steps of a check, in their order, and the reasons that each can give.
const STEPS: [(&str, &[&str]); 10] = [
    ("size", &["too_large"]),
    ("format", &["malformed"]),
    (
        "signature",
        &["unknown_key", "key_revoked", "bad_signature"],
    ),
    (
        "shape",
        &[
            "wrong_class",
            "unsupported_shape",
            "malformed_identity",
            "too_costly",
        ],
    ),
    (
        "identity",
        &[
            "broken_chain",
            "too_deep",
            "domain_required",
            "actor_mismatch",
            "domain_mismatch",
            "not_granted",
        ],
    ),
    ("revocation", &["revoked"]),
    ("expiry", &["expired"]),
    (
        "demands",
        &[
            "chain_incomplete",
            "not_in_chain",
            "chain_differs",
            "signoff_missing",
            "prefix_missing",
            "outside_prefix",
            "not_activated",
            "designation_missing",
            "designation_required",
            "single_use",
            "exposed",
        ],
    ),
    ("checks", &["check_failed", "limit_exceeded"]),
    (
        "knowledge",
        &[
            "revocation_not_checked",
            "never_synced",
            "stale",
            "behind",
            "fork",
        ],
    ),
];

/// Verifies the token and tells how it went.
pub(super) async fn run(context: &Context, console: Console, arguments: &ExplainToken) -> Outcome {
    let given = given(context, arguments.token.as_deref())?;
    let inspected = Inspected::read(&given.text, clock::unix_seconds());
    let request = match &inspected {
        Ok(inspected) => request(arguments, inspected)?,
        Err(_) => Request::bearer(),
    };
    let verified_token = verification::verify(
        context,
        &given.text,
        &request,
        &arguments.public_key,
        arguments.offline,
    )
    .await;
    let inspected = inspected.ok();
    let denial = Denial::of(
        context,
        inspected.as_ref().map(Inspected::said),
        verified_token.as_ref().err(),
        arguments.offline,
    )
    .await;
    let told = Told {
        text: &given.text,
        inspected,
        denial: &denial,
        request: &request,
        verified_token: &verified_token,
        offline: arguments.offline,
    };
    console.answer(&told.to_json(), || told.to_text())?;
    verified_token.map(|_| ())
}

/// Request to the token: as the arguments say, and as the token grants where they say nothing.
fn request(arguments: &ExplainToken, inspected: &Inspected) -> Outcome<Request> {
    let said = inspected.said();
    let asks_for_right = arguments.subject.is_some()
        || arguments.resource.is_some()
        || arguments.operation.is_some()
        || said.class == Some(TokenClass::Authorization);
    if !asks_for_right {
        let expected = arguments.identity.as_deref().map(sdk::identity);
        return Ok(expected
            .transpose()?
            .map_or_else(Request::bearer, Request::identity));
    }
    let granted = said.rights.first();
    let subject = arguments
        .subject
        .as_deref()
        .map(sdk::identity)
        .transpose()?;
    Ok(Request::Authorization {
        subject,
        resource: or_granted(
            &arguments.resource,
            granted.map(|right| &right.resource),
            "resource",
        )?,
        operation: or_granted(
            &arguments.operation,
            granted.map(|right| &right.operation),
            "operation",
        )?,
        evidence: Evidence::default(),
    })
}

fn or_granted(wanted: &Option<String>, granted: Option<&String>, option: &str) -> Outcome<String> {
    wanted.as_ref().or(granted).cloned().ok_or_else(|| {
        CommandError::usage("the token grants nothing: what is asked of it?")
            .hint(format!("Give --{option}."))
    })
}

struct Told<'a> {
    text: &'a str,
    inspected: Option<Inspected>,
    denial: &'a Denial,
    request: &'a Request,
    verified_token: &'a Outcome<Verification>,
    offline: bool,
}

impl Told<'_> {
    fn to_json(&self) -> Value {
        let steps = self.steps();
        let steps = steps
            .iter()
            .map(|(step, result)| json!({"step": step, "result": result}));
        let failed = self.verified_token.as_ref().err();
        let verdict = match failed {
            None => "allow",
            Some(failure) if failure.exit == Exit::No => "deny",
            Some(_) => "unknown",
        };
        json!({
            "verdict": verdict,
            "reason": failed.map(|failure| failure.reason.clone()),
            "message": failed.map_or("the token is good", |failure| failure.message.as_str()),
            "hint": failed.and_then(|failure| failure.hint.clone()),
            "failed_step": self.failed_step(),
            "revoked": self.denial.to_json(),
            "failing_check": failed.and_then(failing_check),
            "steps": steps.collect::<Vec<_>>(),
            "facts": self.facts(),
            "checks": self.checks(),
            "limits": self.limits(),
            "revocation": self.verified_token.as_ref().ok().map(|verified_token| verified_token.revocation.to_json()),
        })
    }

    fn to_text(&self) -> String {
        let steps = self.steps();
        let steps = steps.iter().map(|(step, result)| {
            let mark = match *result {
                "holds" => '✓',
                "fails" => '✗',
                "unknown" => '?',
                _ => '·',
            };
            format!("{mark} {step:<10} {result}")
        });
        let mut lines: Vec<String> = steps.chain([String::new()]).collect();
        if let Err(failure) = self.verified_token {
            lines.push(format!("reason   {}: {}", failure.reason, failure.message));
            lines.extend(self.denial.to_lines());
            lines.extend(failing_check(failure).map(|check| format!("failing  {check}")));
        }
        lines.extend(self.facts().iter().map(|fact| format!("fact     {fact}")));
        lines.extend(
            self.checks()
                .iter()
                .map(|check| format!("check    {check}")),
        );
        let limits = self.limits();
        let limits = limits.as_object().into_iter().flatten();
        lines.extend(limits.map(|(name, value)| {
            let used = value["used"]
                .as_u64()
                .map_or_else(String::new, |used| format!("{used} of "));
            format!("limit    {name}: {used}at most {}", value["max"])
        }));
        lines.join("\n") + "\n"
    }

    /// Steps, each with its result.
    fn steps(&self) -> Vec<(&'static str, &'static str)> {
        let failed = self.failed_step();
        let position = STEPS.iter().position(|(step, _)| Some(*step) == failed);
        let steps = STEPS.iter().enumerate();
        steps
            .map(|(number, (step, _))| (*step, self.result(number, step, position)))
            .collect()
    }

    /// Result of a step: `holds`, `fails`, `unknown`, `not asked` or `not reached`.
    fn result(&self, number: usize, step: &str, failed_at: Option<usize>) -> &'static str {
        match (failed_at, self.verified_token) {
            (None, Ok(_)) if self.offline && matches!(step, "revocation" | "knowledge") => {
                "not asked"
            }
            (None, Ok(_)) => "holds",
            (None, Err(_)) => "unknown",
            (Some(at), _) if number < at => "holds",
            (Some(at), Err(failure)) if number == at && failure.exit == Exit::No => "fails",
            (Some(at), _) if number == at => "unknown",
            (Some(_), _) => "not reached",
        }
    }

    fn failed_step(&self) -> Option<&'static str> {
        let reason = &self.verified_token.as_ref().err()?.reason;
        let gives = |(_, reasons): &&(&str, &[&str])| reasons.contains(&reason.as_ref());
        STEPS.iter().find(gives).map(|(step, _)| *step)
    }

    /// Facts for the authorizer, as Datalog: the request, and the clock of this computer.
    fn facts(&self) -> Vec<String> {
        let mut facts = vec![format!("time({})", clock::unix_seconds())];
        match self.request {
            Request::Identity { expected, .. } => {
                let derived = self.inspected.as_ref().map(Inspected::identity);
                let actor = expected
                    .as_ref()
                    .map(|identity| identity.as_str())
                    .or(derived);
                facts.extend(actor.map(|actor| format!("actor({actor:?})")));
            }
            Request::Context { .. } => {}
            Request::Authorization {
                subject,
                resource,
                operation,
                ..
            } => {
                let subject = subject.as_ref().map(|subject| subject.as_str());
                facts.extend(subject.map(|subject| format!("subject({subject:?})")));
                facts.push(format!("resource({resource:?})"));
                facts.push(format!("operation({operation:?})"));
            }
        }
        facts
    }

    /// The checks of every block, in their order.
    fn checks(&self) -> Vec<String> {
        let blocks = self.inspected.iter().flat_map(|read| &read.said().blocks);
        let checks = blocks.enumerate().flat_map(|(number, block)| {
            let lines = block.source.lines().map(str::trim);
            lines
                .filter(|line| line.starts_with("check ") || line.starts_with("reject "))
                .map(move |check| format!("block {number}: {check}"))
        });
        checks.collect()
    }

    fn limits(&self) -> Value {
        let (limits, config) = (Limits::default(), VerifierConfig::default());
        let said = self.inspected.as_ref().map(Inspected::said);
        let time_max = u64::try_from(config.datalog_time_max.as_millis()).unwrap_or(u64::MAX);
        json!({
            "bytes": {"used": self.text.len(), "max": limits.text_bytes_max},
            "blocks": {"used": said.map(|said| said.blocks.len()), "max": limits.blocks_max},
            "delegations": {
                "used": said.map(|said| said.chain.len().saturating_sub(1)),
                "max": limits.delegation_depth_max,
            },
            "datalog_ms": {"max": time_max},
        })
    }
}

/// The Datalog of the check that did not hold, as the verifier names it.
fn failing_check(failure: &CommandError) -> Option<String> {
    if failure.reason != "check_failed" {
        return None;
    }
    let (_, check) = failure.message.split_once("does not hold: ")?;
    Some(check.to_owned())
}

#[cfg(test)]
mod tests {
    use hessra_sdk_rust::token::{DenyReason, UnknownReason};

    use super::*;

    fn told(verified_token: &Outcome<Verification>) -> (Option<&'static str>, Vec<&'static str>) {
        let request = Request::bearer();
        let told = Told {
            text: "",
            inspected: None,
            denial: &Denial::NotRevoked,
            request: &request,
            verified_token,
            offline: false,
        };
        let results = told.steps().iter().map(|(_, result)| *result).collect();
        (told.failed_step(), results)
    }

    #[test]
    fn what_comes_before_the_failing_step_holds_and_what_comes_after_was_not_reached() {
        let reason = DenyReason::CheckFailed("check if false".to_owned());
        let (step, results) = told(&Err(sdk::denied(&reason)));
        assert_eq!(step, Some("checks"));
        assert_eq!(results[..8], ["holds"; 8]);
        assert_eq!(results[8..], ["fails", "not reached"]);
        let failure = sdk::denied(&reason);
        assert_eq!(failing_check(&failure).as_deref(), Some("check if false"));
    }

    #[test]
    fn a_reason_that_is_not_about_a_step_leaves_all_of_them_unknown() {
        let (step, results) = told(&Err(CommandError::usage("no key")));
        assert_eq!((step, results), (None, vec!["unknown"; 10]));
    }

    #[test]
    fn a_verdict_of_unknown_is_not_a_failure_of_its_step() {
        let unknown = UnknownReason::NeverSynced;
        let failure = CommandError::new(Exit::CannotTell, unknown.code(), unknown.to_string());
        let (step, results) = told(&Err(failure));
        assert_eq!(step, Some("knowledge"));
        assert_eq!(results[9], "unknown");
    }
}
