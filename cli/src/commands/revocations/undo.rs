//! `hessra revocations undo`: removing what one operator has revoked.

use hessra_sdk_rust::v1::{ListRevocationsRequest, RevocationInfo, UndoRequest};
use hessra_sdk_rust::{Authority, RequestId};
use serde_json::{Value, json};

use super::listing::{PAGE, pages, since_ms, to_json};
use crate::args::UndoArguments;
use crate::commands::confirm::{self, Decided};
use crate::commands::waiting::waits;
use crate::failure::{CommandError, Outcome};
use crate::output::Console;

/// Most lifts that are named one by one.
const NAMED_MAX: usize = 10;

/// Runs the command.
pub(super) async fn run(
    authority: &Authority,
    console: Console,
    arguments: &UndoArguments,
) -> Outcome {
    let operator = &arguments.by;
    let all = ListRevocationsRequest {
        since_ms: since_ms(arguments.since),
        limit: PAGE,
        include_lifted: true,
        ..Default::default()
    };
    let made = ListRevocationsRequest {
        by: operator.clone(),
        ..all.clone()
    };
    let lifted = ListRevocationsRequest {
        lifted_by: operator.clone(),
        since_ms: 0,
        ..all.clone()
    };
    let (made, _, more) = pages(authority, made).await?;
    let (lifted, ..) = pages(authority, lifted).await?;
    let Some(first) = made.first() else {
        return Err(CommandError::no(
            "not_found",
            format!("no revocation by `{operator}` alone is remembered from that time on"),
        )
        .hint("Copy the name from the column `by` of `hessra revocations list --all`."));
    };
    let count = counted(made.len(), more);
    console.note(&format!(
        "Removes {count} of `{operator}`, from {} of {} on. All that they alone deny is permitted again, also what was \
         issued before.",
        first.id, first.target
    ));
    if !lifted.is_empty() {
        console.warn(&still_lifted(operator, &lifted));
    }
    if arguments.confirmation.dry_run {
        let ids = |items: &[RevocationInfo]| items.iter().map(to_json).collect::<Vec<Value>>();
        let (made, lifted) = (ids(&made), ids(&lifted));
        return console.answer(
            &json!({"dry_run": true, "revocations": made, "more": more, "lifted": lifted}),
            String::new,
        );
    }
    let word = confirm::word_of(operator);
    if confirm::decided(console, &arguments.confirmation, &word)? == Decided::Ask {
        confirm::ask(&word, "remove them")?;
    }
    let request_id = RequestId::random();
    let request = UndoRequest {
        request_id: request_id.0.to_vec(),
        operator: operator.clone(),
        since_ms: all.since_ms,
        reason: arguments.reason.clone(),
        ticket: arguments.ticket.clone(),
    };
    let undone = authority.undo(request).await;
    let undone =
        undone.map_err(|error| CommandError::from(error).request_id(request_id.to_string()))?;
    if let Some(pending) = &undone.pending {
        return waits(console, pending);
    }
    let at_most = undone.at_most;
    console.answer(&json!({"operator": operator, "at_most": at_most}), || {
        format!(
            "✓ What `{operator}` has revoked alone is being removed, {at_most} revocations at most\n  \
             What is left: hessra revocations list --all --by {operator}\n"
        )
    })
}

fn counted(count: usize, more: bool) -> String {
    match (count, more) {
        (count, true) => format!("more than {count} revocations"),
        (1, false) => "1 revocation".to_owned(),
        (count, false) => format!("{count} revocations"),
    }
}

fn still_lifted(operator: &str, lifted: &[RevocationInfo]) -> String {
    let named: Vec<&str> = lifted
        .iter()
        .take(NAMED_MAX)
        .map(|item| item.target.as_str())
        .collect();
    let more = match lifted.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    format!(
        "`{operator}` has also lifted what others revoked, which stays lifted: {}{more}. Revoke it again if that was no \
         good: hessra revocations list --lifted-by {operator}",
        named.join(", ")
    )
}
