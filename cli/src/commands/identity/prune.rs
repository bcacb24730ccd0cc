//! `hessra identity prune`: forgets the stored tokens that have expired.
//!
//! The end of a token is the earliest that any of its blocks sets: a delegated token may end long before the one it was
//! made from.

use serde_json::json;

use super::inspect::Inspected;
use crate::args::{Confirmation, PruneTokens};
use crate::clock;
use crate::commands::confirm::{self, Decided};
use crate::context::Context;
use crate::failure::{CommandError, Outcome};
use crate::output::Console;
use crate::store::{TokenName, TokenStore};

/// Word that a person types to confirm.
const WORD: &str = "prune";

/// Tokens that were found in the store.
#[derive(Default)]
struct Found {
    checked: usize,
    expired: Vec<TokenName>,
    unreadable: Vec<String>,
}

/// Forgets expired tokens, or says which would be forgotten.
pub(super) fn run(context: &Context, console: Console, arguments: &PruneTokens) -> Outcome {
    let store = context.tokens();
    let found = look(&store)?;
    if !arguments.dry_run && !found.expired.is_empty() {
        confirm(console, arguments, found.expired.len())?;
    }
    let mut removed = Vec::new();
    let mut errors = found.unreadable.clone();
    if !arguments.dry_run {
        for name in &found.expired {
            match store.delete(name) {
                Ok(true) => removed.push(name.as_str().to_owned()),
                Ok(false) => {
                    errors.push(format!("{name}: kept by version 0.3, which is not changed"))
                }
                Err(failure) => errors.push(format!("{name}: {failure}")),
            }
        }
    }
    answer(console, arguments, &found, &removed, &errors)
}

fn look(store: &TokenStore) -> Outcome<Found> {
    let mut found = Found::default();
    for name in store.names()? {
        found.checked += 1;
        let inspected = store
            .load(&name)
            .and_then(|text| Inspected::read(&text, clock::unix_seconds()));
        match inspected {
            Ok(inspected) if inspected.status() == "expired" => found.expired.push(name),
            Ok(_) => {}
            Err(failure) => found.unreadable.push(format!("{name}: {failure}")),
        }
    }
    Ok(found)
}

fn confirm(console: Console, arguments: &PruneTokens, count: usize) -> Outcome {
    let given = Confirmation {
        yes: arguments.force,
        ..Confirmation::default()
    };
    match confirm::decided(console, &given, WORD).map_err(|_| nobody())? {
        Decided::Yes => Ok(()),
        Decided::Ask => confirm::ask(WORD, &format!("forget {count} expired tokens")),
    }
}

fn nobody() -> CommandError {
    CommandError::usage("this needs a confirmation, and nobody can be asked")
        .hint("Add --force; --dry-run shows what would be forgotten.")
}

fn answer(
    console: Console,
    arguments: &PruneTokens,
    found: &Found,
    removed: &[String],
    errors: &[String],
) -> Outcome {
    let expired: Vec<&str> = found.expired.iter().map(TokenName::as_str).collect();
    let message = match (arguments.dry_run, expired.len()) {
        (_, 0) => "no stored token has expired".to_owned(),
        (true, count) => format!("{count} expired tokens would be forgotten"),
        (false, _) => format!("{} expired tokens forgotten", removed.len()),
    };
    let mut value = json!({
        "checked": found.checked,
        "expired": expired.len(),
        "errors": errors,
        "message": message,
    });
    if arguments.dry_run {
        value["dry_run"] = json!(true);
        value["would_remove"] = json!(expired);
    } else {
        value["removed"] = json!(removed);
    }
    console.answer(&value, || {
        expired.iter().map(|name| format!("{name}\n")).collect()
    })?;
    if !console.for_machines() {
        console.note(&message);
        errors.iter().for_each(|error| console.warn(error));
    }
    Ok(())
}
