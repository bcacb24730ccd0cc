//! `hessra revocations undo`: removing what one operator has revoked.

use hessra_sdk_rust::Authority;
use hessra_sdk_rust::v1::{ListRevocationsRequest, RevocationInfo, UndoRequest};
use serde_json::{Value, json};

use super::listing::{PAGE, pages, to_json};
use crate::args::UndoArguments;
use crate::clock;
use crate::commands::confirm::{self, Decided};
use crate::commands::waiting::waits;
use crate::failure::{CommandError, Outcome};
use crate::output::{Console, timestamp};
use crate::until;

/// Most lifts that are named one by one.
const NAMED_MAX: usize = 10;

/// Runs the command.
pub(super) async fn run(
    authority: &Authority,
    console: Console,
    arguments: &UndoArguments,
) -> Outcome {
    let operator = &arguments.by;
    let since = arguments.since.as_deref();
    let since = since.map(|text| until::parse_since(text, clock::unix_seconds()));
    let since = since
        .transpose()
        .map_err(|error| CommandError::usage(error.to_string()))?;
    let all = ListRevocationsRequest {
        since_ms: since.unwrap_or(0).saturating_mul(1_000),
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
    let first = made.first();
    // What is asked for again may have removed them.
    if first.is_none() && !arguments.retry.is_again() {
        return Err(CommandError::no(
            "not_found",
            format!("no revocation by `{operator}` alone is remembered from that time on"),
        )
        .hint("Copy the name from the column `by` of `hessra revocations list --all`."));
    }
    if let Some(first) = first {
        let count = counted(made.len(), more);
        console.note(&format!(
            "Removes {count} of `{operator}`, from {} of {} on. All that they alone deny is permitted again, also what was \
             issued before.",
            first.id, first.target
        ));
    }
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
    let request = UndoRequest {
        request_id: arguments.retry.id().0.to_vec(),
        operator: operator.clone(),
        since_ms: all.since_ms,
        reason: arguments.reason.clone(),
        ticket: arguments.ticket.clone(),
    };
    let undone = authority.undo(request).await.map_err(|error| {
        let since = since.map(|since| format!("--since {}", timestamp(since * 1_000)));
        CommandError::from(error).again_with(&since.unwrap_or_default())
    })?;
    if let Some(pending) = &undone.pending {
        return waits(console, pending);
    }
    let at_most = undone.at_most;
    let done = format!(
        "What `{operator}` has revoked alone is being removed, {at_most} revocations at most"
    );
    let value = json!({"operator": operator, "at_most": at_most});
    console.committed(&done, &value, || {
        format!("✓ {done}\n  What is left: hessra revocations list --all --by {operator}\n")
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
