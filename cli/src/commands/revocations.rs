//! `hessra revocations …`: what has been revoked, its progress at verifiers, and taking it back.

use std::time::Duration;

use hessra_sdk_rust::Authority;
use hessra_sdk_rust::v1::{LiftRequest, ListRevocationsRequest, RevocationInfo};
use serde_json::{Value, json};

use listing::{PAGE, pages, since_ms, to_json};

use super::confirm::{self, Decided};
use super::revoke::containment::{self, Wait};
use super::waiting::waits;
use crate::args::{LiftArguments, ListArguments, RevocationsCommand, WaitShare, WatchArguments};
use crate::clock;
use crate::context::Context;
use crate::failure::Outcome;
use crate::output::{Console, Table, timestamp};

mod listing;
mod undo;

/// Time between two requests for new revocations: people watch, and each answer is one small read.
const POLL: Duration = Duration::from_secs(1);
/// Time for which `watch ID` waits when the command line names none.
const WATCH: Duration = Duration::from_secs(30);
/// Longest target in a table; JSON has all of it.
const TARGET_WIDTH: usize = 48;

/// Runs one of the commands.
pub(super) async fn run(
    context: &Context,
    console: Console,
    command: RevocationsCommand,
) -> Outcome {
    let authority = Authority::new(context.authenticated_connection()?);
    match command {
        RevocationsCommand::List(arguments) => list(&authority, console, &arguments).await,
        RevocationsCommand::Show { id } => {
            let found = authority.show_revocation(&id).await?;
            console.answer(&to_json(&found), || details(&found))
        }
        RevocationsCommand::Watch(arguments) => watch(&authority, console, arguments).await,
        RevocationsCommand::Lift(arguments) => lift(&authority, console, &arguments).await,
        RevocationsCommand::Undo(arguments) => undo::run(&authority, console, &arguments).await,
    }
}

async fn list(authority: &Authority, console: Console, arguments: &ListArguments) -> Outcome {
    let wanted = ListRevocationsRequest {
        since_ms: since_ms(arguments.since),
        limit: arguments.limit,
        include_lifted: arguments.all || arguments.lifted_by.is_some(),
        by: arguments.by.clone().unwrap_or_default(),
        lifted_by: arguments.lifted_by.clone().unwrap_or_default(),
        ..Default::default()
    };
    let (found, revision, more) = pages(authority, wanted).await?;
    let items: Vec<Value> = found.iter().map(to_json).collect();
    console.answer_list(
        &json!({"revocations": items, "revision": revision}),
        &items,
        || table(&found),
    )?;
    if more {
        console.warn(&format!(
            "only the first {} are shown: use --limit or --since",
            found.len()
        ));
    }
    Ok(())
}

async fn watch(authority: &Authority, console: Console, arguments: WatchArguments) -> Outcome {
    let Some(id) = arguments.id else {
        let forever = watch_new(authority, console);
        let Some(limit) = arguments.wait_timeout else {
            return forever.await;
        };
        return tokio::time::timeout(limit, forever).await.unwrap_or(Ok(()));
    };
    let found = authority.show_revocation(&id).await?;
    let limit = arguments.wait_timeout.unwrap_or(WATCH);
    let (share, revision) = (WaitShare::All, found.revision);
    let wait = Wait {
        id: &found.id,
        revision,
        share,
        limit,
    };
    let contained = containment::wait(authority, console, &wait).await?;
    console.answer(
        &json!({"id": found.id, "revision": found.revision, "wait": contained.to_json()}),
        || format!("  {}\n", contained.summary()),
    )?;
    contained.outcome()
}

/// Prints every revocation made from now on, until it is stopped.
async fn watch_new(authority: &Authority, console: Console) -> Outcome {
    let now = ListRevocationsRequest {
        since_ms: clock::unix_milliseconds(),
        limit: 1,
        ..Default::default()
    };
    let mut after_revision = authority.list_revocations(now).await?.revision;
    loop {
        let request = ListRevocationsRequest {
            after_revision,
            limit: PAGE,
            include_lifted: true,
            ..Default::default()
        };
        match authority.list_revocations(request).await {
            Ok(page) => {
                for found in &page.revocations {
                    console.event(&to_json(found), || one_line(found))?;
                    after_revision = after_revision.max(found.revision);
                }
            }
            // A watch outlives an election; what it missed comes with the next answer.
            Err(error) if error.retryable => console.warn(&error.to_string()),
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn lift(authority: &Authority, console: Console, arguments: &LiftArguments) -> Outcome {
    let found = authority.show_revocation(&arguments.id).await?;
    console.note(&format!("Lifts {}.", one_line(&found)));
    console.note(if arguments.restore {
        "  Everything that it denies is permitted again, also what was issued before it."
    } else {
        "  What is issued from now on is permitted again; what was issued before stays denied."
    });
    if arguments.confirmation.dry_run {
        return console.answer(
            &json!({"dry_run": true, "revocation": to_json(&found)}),
            String::new,
        );
    }
    let word = confirm::word_of(&found.target);
    if confirm::decided(console, &arguments.confirmation, &word)? == Decided::Ask {
        confirm::ask(&word, "lift it")?;
    }
    let request = LiftRequest {
        request_id: arguments.retry.id().0.to_vec(),
        revision: found.revision,
        of: named_identity(&arguments.id),
        reason: arguments.reason.clone(),
        restore: arguments.restore,
    };
    let lifted = authority.lift(request).await?;
    if let Some(pending) = &lifted.pending {
        return waits(console, pending);
    }
    let (id, revision) = (&lifted.id, lifted.revision);
    let verb = if lifted.already {
        "was lifted before"
    } else {
        "is lifted"
    };
    warn_of_others(console, &lifted.still_denied_by);
    let done = format!("{id} {verb} at revision {revision}");
    console.committed(
        &done,
        &json!({
            "id": id,
            "revision": revision,
            "already": lifted.already,
            "still_denied_by": lifted.still_denied_by,
        }),
        || format!("{done}\n"),
    )
}

/// Says that other revocations deny what a lift was to permit.
pub(super) fn warn_of_others(console: Console, still_denied_by: &[String]) {
    if !still_denied_by.is_empty() {
        console.warn(&format!(
            "it is still denied, by {}: `hessra revocations show` says what each is of",
            still_denied_by.join(", ")
        ));
    }
}

/// The identity that was named, so that it is signed: the server that finds its revocation cannot point it at another one.
fn named_identity(name: &str) -> String {
    match name.starts_with("rv_") {
        true => String::new(),
        false => name.to_owned(),
    }
}

fn table(found: &[RevocationInfo]) -> String {
    let mut table = Table::new(&[
        "id", "revision", "scope", "target", "at", "by", "reason", "state",
    ])
    .right(1);
    for item in found {
        let revision = item.revision.to_string();
        let (target, at) = (shortened(&item.target), timestamp(item.at_ms));
        let words = [
            &item.id,
            &revision,
            &item.scope,
            &target,
            &at,
            &item.by,
            &item.reason,
            &state(item),
        ];
        table.row(words.into_iter().cloned());
    }
    table.text()
}

fn details(item: &RevocationInfo) -> String {
    let lines = [
        ("Id", item.id.clone()),
        ("Revision", item.revision.to_string()),
        ("Scope", item.scope.clone()),
        ("Target", item.target.clone()),
        ("State", state(item)),
        ("At", timestamp(item.at_ms)),
        ("By", item.by.clone()),
        ("Reason", item.reason.clone()),
        ("Ticket", item.ticket.clone()),
        ("Message", item.message.clone()),
        ("Lifted by", item.lifted_by.clone()),
    ];
    let said = lines.iter().filter(|(_, value)| !value.is_empty());
    said.map(|(name, value)| format!("{name:<10} {value}\n"))
        .collect()
}

fn one_line(item: &RevocationInfo) -> String {
    let (id, scope, target) = (&item.id, &item.scope, &item.target);
    format!(
        "{id} {scope} {target} at revision {} by {} ({}), {}",
        item.revision,
        item.by,
        item.reason,
        state(item)
    )
}

fn state(item: &RevocationInfo) -> String {
    match item {
        _ if item.restored => format!("restored at revision {}", item.lifted_revision),
        _ if item.lifted_revision > 0 => format!("lifted at revision {}", item.lifted_revision),
        _ if item.until > 0 => format!("until {}", timestamp(item.until * 1_000)),
        _ if item.permanent => "permanent".to_owned(),
        _ => format!("before revision {}", item.cutoff),
    }
}

fn shortened(target: &str) -> String {
    if target.chars().count() <= TARGET_WIDTH {
        return target.to_owned();
    }
    target.chars().take(TARGET_WIDTH - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_says_what_is_denied() {
        let item = RevocationInfo {
            cutoff: 7,
            ..RevocationInfo::default()
        };
        assert_eq!(state(&item), "before revision 7");
        assert_eq!(
            state(&RevocationInfo {
                permanent: true,
                ..item.clone()
            }),
            "permanent"
        );
        assert_eq!(
            state(&RevocationInfo {
                lifted_revision: 9,
                permanent: true,
                ..item
            }),
            "lifted at revision 9"
        );
    }

    #[test]
    fn a_long_target_is_shortened_in_the_table_only() {
        let item = RevocationInfo {
            target: "ab".repeat(64),
            ..RevocationInfo::default()
        };
        assert!(table(std::slice::from_ref(&item)).contains('…'));
        assert_eq!(to_json(&item)["target"], "ab".repeat(64));
    }
}
