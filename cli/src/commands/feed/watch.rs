//! `hessra feed watch`: the news of a verifier, as they are heard and verified.
//!
//! The command follows like any verifier and believes only what the follower believes. With `--from` it begins at what
//! this home knows from an earlier watch; entries that have been collected into a snapshot since then come as one
//! event.

use data_encoding::HEXLOWER;
use hessra_sdk_rust::News;
use hessra_sdk_rust::revocation::{Change, Cutoff, FeedEntry, Revision};
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;

use super::checkpoint::checkpoint_json;
use crate::context::Context;
use crate::failure::{CommandError, Outcome};
use crate::knowledge;
use crate::output::{Console, timestamp};

/// Prints news until it is stopped.
pub(super) async fn run(context: &Context, console: Console, from: Option<u64>) -> Outcome {
    let verifier = knowledge::watcher(context)?;
    let mut news = verifier.news();
    let from = Revision(from.unwrap_or_default());
    loop {
        match news.recv().await {
            Ok(heard) => {
                is_reachable(&heard, from)?;
                print(console, &heard, from)?;
            }
            Err(RecvError::Lagged(missed)) => {
                console.warn(&format!("{missed} events were not printed in time"))
            }
            Err(RecvError::Closed) => return Err(CommandError::unavailable("the feed ended")),
        }
    }
}

/// Checks, at the first checkpoint, that the revision to begin at is there: beyond it nothing would be printed, perhaps for ever.
fn is_reachable(heard: &News, from: Revision) -> Outcome {
    match heard {
        News::Checkpoint(checkpoint) if checkpoint.revision < from => {
            let message = format!(
                "there is no revision {from} yet: the newest is {}",
                checkpoint.revision
            );
            Err(CommandError::not_found(message)
                .hint("Leave --from out, or name an earlier revision."))
        }
        _ => Ok(()),
    }
}

fn print(console: Console, heard: &News, from: Revision) -> Outcome {
    if let News::Entries(entries) = heard {
        let mut new = entries.iter().filter(|entry| entry.revision > from);
        return new.try_for_each(|entry| console.event(&entry_json(entry), || entry_text(entry)));
    }
    let value = to_json(heard);
    console.event(&value, || to_text(heard))
}

fn to_json(heard: &News) -> Value {
    match heard {
        News::Connected(server) => json!({"event": "connected", "server": server.to_string()}),
        News::Disconnected { server, why } => {
            json!({"event": "disconnected", "server": server.to_string(), "why": why})
        }
        News::Snapshot(revision) => json!({"event": "snapshot", "revision": revision.0}),
        News::Checkpoint(checkpoint) => {
            let mut value = checkpoint_json(checkpoint);
            value["event"] = json!("checkpoint");
            value
        }
        News::Alarm(alarm) => json!({"event": "alarm", "message": alarm.to_string()}),
        News::Entries(entries) => {
            json!({"event": "entries", "entries": entries.iter().map(entry_json).collect::<Vec<_>>()})
        }
    }
}

fn to_text(heard: &News) -> String {
    match heard {
        News::Connected(server) => format!("connected     {server}"),
        News::Disconnected { server, why } => format!("disconnected  {server}: {why}"),
        News::Snapshot(revision) => format!("snapshot      revision {revision}"),
        News::Checkpoint(checkpoint) => {
            let (revision, node) = (checkpoint.revision, checkpoint.node);
            format!(
                "confirmed     revision {revision} at {} by node {node}",
                timestamp(checkpoint.issued_at.0)
            )
        }
        News::Alarm(alarm) => format!("ALARM         {alarm}"),
        News::Entries(entries) => entries
            .iter()
            .map(entry_text)
            .collect::<Vec<_>>()
            .join("\n"),
    }
}

fn entry_json(entry: &FeedEntry) -> Value {
    json!({
        "event": "entry",
        "revision": entry.revision.0,
        "at": timestamp(entry.at.0 * 1_000),
        "change": change_json(&entry.change),
    })
}

fn change_json(change: &Change) -> Value {
    match change {
        Change::Put(rule) => json!({
            "type": "put",
            "kind": kind(rule.kind),
            "digest": HEXLOWER.encode(&rule.digest.0),
            "depth": rule.depth,
            "permanent": rule.cutoff == Cutoff::Permanent,
            "cutoff": match rule.cutoff { Cutoff::Before(revision) => Some(revision.0), Cutoff::Permanent => None },
            "until": rule.until.map(|until| timestamp(until.0 * 1_000)),
        }),
        Change::Remove {
            kind: removed,
            digest,
        } => {
            json!({"type": "remove", "kind": kind(*removed), "digest": HEXLOWER.encode(&digest.0)})
        }
        Change::Key(key) => json!({
            "type": "key",
            "id": key.id,
            "purpose": key.purpose.word(),
            "state": key.state.word(),
            "public_key": HEXLOWER.encode(&key.public_key),
        }),
        Change::Policy { digest } => json!({"type": "policy", "digest": HEXLOWER.encode(digest)}),
        Change::ForgetKey { id } => json!({"type": "key", "id": id, "state": "forgotten"}),
        Change::Restore { epoch } => json!({"type": "restore", "epoch": epoch.0}),
    }
}

/// The name of a rule's kind, as `revocations list` has it.
fn kind(kind: hessra_sdk_rust::revocation::RuleKind) -> String {
    format!("{kind:?}").to_lowercase()
}

fn entry_text(entry: &FeedEntry) -> String {
    let what = match &entry.change {
        Change::Put(rule) => format!("{} {}", kind(rule.kind), HEXLOWER.encode(&rule.digest.0)),
        Change::Remove {
            kind: removed,
            digest,
        } => format!("lifted {} {}", kind(*removed), HEXLOWER.encode(&digest.0)),
        Change::Key(key) => format!("key {} {}", key.id, key.state.word()),
        Change::Policy { digest } => format!("policy {}", HEXLOWER.encode(digest)),
        Change::ForgetKey { id } => format!("key {id} forgotten"),
        Change::Restore { epoch } => format!("restored: epoch {epoch}"),
    };
    format!("entry         revision {} {what}", entry.revision)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hessra_sdk_rust::revocation::{Digest, Rule, RuleKind, UnixSeconds};

    #[test]
    fn an_entry_is_one_object_with_its_change() {
        let rule = Rule {
            kind: RuleKind::Subtree,
            digest: Digest([7; 16]),
            depth: 4,
            cutoff: Cutoff::Permanent,
            until: None,
        };
        let entry = FeedEntry {
            revision: Revision(9),
            at: UnixSeconds(1_000_000_000),
            change: Change::Put(rule),
        };
        let value = entry_json(&entry);
        assert_eq!(value["change"]["kind"], "subtree");
        assert_eq!(value["change"]["permanent"], true);
        assert_eq!(value["at"], "2001-09-09T01:46:40.000Z");
        assert!(entry_text(&entry).starts_with("entry         revision 9 subtree 0707"));
    }
}
