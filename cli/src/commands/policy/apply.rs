//! `hessra policy apply` and `rollback`: show what changes, confirm, compare and set.

use hessra_sdk_rust::v1::{ApplyPolicyRequest, ApplyPolicyResponse, RollbackPolicyRequest};
use hessra_sdk_rust::{Authority, ClientError};
use serde_json::json;

use super::compare::Comparison;
use super::report;
use super::texts::Texts;
use crate::args::{ApplyPolicy, Confirmation, RollbackPolicy};
use crate::commands::confirm::{self, Decided};
use crate::commands::waiting::waits;
use crate::failure::{CommandError, Outcome};
use crate::output::Console;

/// Word that is typed to confirm an application.
const WORD: &str = "apply";

/// Runs `policy apply`.
pub(super) async fn apply(
    authority: &Authority,
    console: Console,
    arguments: &ApplyPolicy,
) -> Outcome {
    let texts = Texts::read(&arguments.files)?;
    let view = report::valid(console, &texts)?;
    let shown = authority.show_policy(0).await?;
    let found = authority.validate_policy(texts.to_wire()).await?;
    let guard = report::accepted(console, &texts, found)?;
    let comparison = Comparison::new(&shown, &texts, &view).guarded(guard);
    let based_on = arguments.based_on.unwrap_or(comparison.revision);
    if !goes_on(console, &comparison, &arguments.confirmation, WORD)? {
        return Ok(());
    }
    let request = ApplyPolicyRequest {
        request_id: arguments.retry.id().0.to_vec(),
        based_on,
        texts: Some(texts.to_wire()),
        message: arguments.reason.message.clone().unwrap_or_default(),
        ticket: arguments.reason.ticket.clone().unwrap_or_default(),
        allow_lockout: arguments.reason.allow_lockout,
    };
    let answer = authority.apply_policy(request).await;
    done(console, answer.map_err(|error| said(error, based_on))?)
}

/// Runs `policy rollback`.
pub(super) async fn rollback(
    authority: &Authority,
    console: Console,
    arguments: &RollbackPolicy,
) -> Outcome {
    let old = authority.show_policy(arguments.revision).await?;
    let wire = old.texts.unwrap_or_default();
    let texts = Texts::of_revision(arguments.revision, wire);
    let view = report::valid(console, &texts)?;
    let shown = authority.show_policy(0).await?;
    let found = authority.validate_policy(texts.to_wire()).await?;
    let guard = report::accepted(console, &texts, found)?;
    let comparison = Comparison::new(&shown, &texts, &view).guarded(guard);
    let word = arguments.revision.to_string();
    if !goes_on(console, &comparison, &arguments.confirmation, &word)? {
        return Ok(());
    }
    let based_on = arguments.based_on.unwrap_or(comparison.revision);
    let request = RollbackPolicyRequest {
        request_id: arguments.retry.id().0.to_vec(),
        based_on,
        to_revision: arguments.revision,
        message: arguments.reason.message.clone().unwrap_or_default(),
        ticket: arguments.reason.ticket.clone().unwrap_or_default(),
        allow_lockout: arguments.reason.allow_lockout,
    };
    let answer = authority.rollback_policy(request).await;
    done(console, answer.map_err(|error| said(error, based_on))?)
}

/// Shows what would change. True when it is to be done.
fn goes_on(
    console: Console,
    comparison: &Comparison,
    confirmation: &Confirmation,
    word: &str,
) -> Outcome<bool> {
    if confirmation.dry_run {
        let mut value = comparison.to_json();
        value["dry_run"] = json!(true);
        console.answer(&value, || comparison.text())?;
        console.note("Nothing was changed.");
        return Ok(false);
    }
    // Data on stdout is the answer; what is only looked at goes to people.
    console.note(comparison.text().trim_end());
    let decided = confirm::decided(console, confirmation, word)?;
    if decided == Decided::Ask {
        confirm::ask(word, "replace the policy")?;
    }
    Ok(true)
}

fn done(console: Console, answer: ApplyPolicyResponse) -> Outcome {
    if let Some(pending) = &answer.pending {
        return waits(console, pending);
    }
    let digest = data_encoding::HEXLOWER.encode(&answer.digest);
    let done = match answer.already {
        true => format!("The policy stands already, at revision {}", answer.revision),
        false => format!("Policy applied at revision {}", answer.revision),
    };
    console.success(&done);
    let value = json!({"revision": answer.revision, "digest": digest, "already": answer.already, "dry_run": false});
    console.committed(&done, &value, String::new)
}

/// By then another revision may stand, and the one that it was made from is a part of what is asked.
fn said(error: ClientError, based_on: u64) -> CommandError {
    CommandError::from(error).again_with(&format!("--based-on {based_on}"))
}
