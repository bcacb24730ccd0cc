//! `hessra feed …`: the way of revocations to verifiers, seen from outside.

mod checkpoint;
mod watch;

use std::time::Duration;

use data_encoding::HEXLOWER;
use hessra_sdk_rust::Authority;
use hessra_sdk_rust::revocation::Checkpoint;
use hessra_sdk_rust::v1::VerifierStatus;
use hessra_sdk_rust::v1::feed::CheckpointResponse;
use hessra_sdk_rust::v1::verifier_status::Refused;
use hessra_settings::duration;
use serde_json::{Value, json};

use crate::args::FeedCommand;
use crate::clock;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{CommandError, Outcome};
use crate::output::{Console, Table, clock_second, clock_time, timestamp};

use checkpoint::checkpoint_json;

/// Runs one of the commands.
pub(super) async fn run(context: &Context, console: Console, command: FeedCommand) -> Outcome {
    match command {
        FeedCommand::Status => status(&Authority::new(context.connection()?), console).await,
        FeedCommand::Verifiers => {
            verifiers(
                &Authority::new(context.authenticated_connection()?),
                console,
            )
            .await
        }
        FeedCommand::Watch { from } => watch::run(context, console, from).await,
    }
}

/// The current signed checkpoint of any node.
pub(super) async fn checkpoint(authority: &Authority) -> Outcome<(Checkpoint, CheckpointResponse)> {
    let answer = authority.checkpoint().await?;
    let body = answer
        .checkpoint
        .as_ref()
        .map(|signed| signed.body.as_slice())
        .unwrap_or_default();
    let checkpoint = Checkpoint::from_bytes(body).map_err(|error| {
        CommandError::new(
            Exit::Failed,
            "unsupported",
            format!("the node's checkpoint is not understood: {error}"),
        )
        .hint("Upgrade this command, or check that the address is that of a Hessra node.")
    })?;
    Ok((checkpoint, answer))
}

/// Age of a checkpoint by both wall clocks, and for how long verifiers trust it. No age: the node has not confirmed anything
/// since it was started or began to lead.
pub(super) fn age_and_bound(checkpoint: &Checkpoint, now: u64) -> (Option<Duration>, Duration) {
    let issued = Some(checkpoint.issued_at.0).filter(|issued| *issued > 0);
    let age = issued.map(|issued| Duration::from_millis(now.saturating_sub(issued)));
    (
        age,
        Duration::from_millis(u64::from(checkpoint.fresh_for_ms)),
    )
}

async fn status(authority: &Authority, console: Console) -> Outcome {
    let (checkpoint, answer) = checkpoint(authority).await?;
    let (age, bound) = age_and_bound(&checkpoint, clock::unix_milliseconds());
    let keys: Vec<Value> = answer
        .feed_keys
        .iter()
        .map(|key| json!({"id": key.id, "public_key": HEXLOWER.encode(&key.public_key)}))
        .collect();
    let mut value = checkpoint_json(&checkpoint);
    value["age_ms"] = json!(age.map(|age| age.as_millis()));
    value["feed_keys"] = json!(keys);
    console.answer(&value, || status_text(&checkpoint, age, &keys))?;
    match age {
        Some(age) if age <= bound => Ok(()),
        _ => Err(stale(age, bound)),
    }
}

fn stale(age: Option<Duration>, bound: Duration) -> CommandError {
    let bound = duration::rounded(bound);
    let message = match age {
        Some(age) => {
            let age = duration::rounded(age);
            format!("the last confirmation is {age} old, verifiers trust it for {bound}")
        }
        None => "the node has confirmed nothing yet since it was started".to_owned(),
    };
    CommandError::new(Exit::Unconfirmed, "degraded", message)
        .hint("The node has lost its quorum, or its clock is behind: see `hessra status` and `hessra doctor`.")
}

fn status_text(checkpoint: &Checkpoint, age: Option<Duration>, keys: &[Value]) -> String {
    let Checkpoint {
        feed_id,
        epoch,
        revision,
        floor_revision,
        node,
        fresh_for_ms,
        ..
    } = checkpoint;
    let fresh_for = duration::rounded(Duration::from_millis(u64::from(*fresh_for_ms)));
    let keys: Vec<String> = keys.iter().map(|key| key["id"].to_string()).collect();
    [
        ("Feed", format!("{feed_id}, epoch {epoch}")),
        (
            "Revision",
            format!("{revision}, entries kept from above {floor_revision}"),
        ),
        (
            "Confirmed",
            match age {
                Some(age) => {
                    let age = duration::rounded(age);
                    format!("{age} ago by node {node}, trusted for {fresh_for}")
                }
                None => format!("never yet by node {node}"),
            },
        ),
        ("State root", HEXLOWER.encode(&checkpoint.state_root)),
        ("Log root", HEXLOWER.encode(&checkpoint.log_root)),
        ("Keys", keys.join(", ")),
    ]
    .iter()
    .map(|(name, value)| format!("{name:<10}  {value}\n"))
    .collect()
}

async fn verifiers(authority: &Authority, console: Console) -> Outcome {
    let answer = authority.verifiers().await?;
    let items: Vec<Value> = answer.verifiers.iter().map(verifier_json).collect();
    let whole = json!({"verifiers": items, "revision": answer.revision});
    console.answer_list(&whole, &items, || {
        verifiers_text(&answer.verifiers, answer.revision)
    })
}

fn verifiers_text(verifiers: &[VerifierStatus], revision: u64) -> String {
    let headings = [
        "verifier", "identity", "node", "state", "revision", "age", "client",
    ];
    let mut table = Table::new(&headings).right(4).right(5);
    for verifier in verifiers {
        let age = duration::rounded(Duration::from_millis(verifier.age_ms));
        let numbers = [verifier.node.to_string(), verifier.applied.to_string()];
        let [node, applied] = numbers;
        table.row([
            verifier.id.clone(),
            verifier.identity.clone(),
            node,
            verifier_state(verifier),
            applied,
            age,
            verifier.client.clone(),
        ]);
    }
    let current = verifiers
        .iter()
        .filter(|verifier| verifier.applied >= revision)
        .count();
    format!(
        "{}\n{current} of {} hold revision {revision}\n",
        table.text(),
        verifiers.len()
    )
}

fn verifier_state(verifier: &VerifierStatus) -> String {
    let closes = Duration::from_millis(verifier.fails_closed_in_ms);
    match verifier {
        _ if verifier.root_differs => "ALARM: another state root".to_owned(),
        _ if verifier.refused() == Refused::Fork => "ALARM: another history".to_owned(),
        _ if verifier.refused() == Refused::Ahead => "refused: ahead of its node".to_owned(),
        _ if verifier.node_removed => format!(
            "node removed, fails closed {}",
            clock_second(verifier.may_permit_until_ms, clock::unix_milliseconds())
        ),
        _ if verifier.processes > 1 => format!("{} processes with this id", verifier.processes),
        _ if !verifier.connected => format!(
            "offline since {}",
            clock_time(verifier.since_ms, clock::unix_milliseconds())
        ),
        _ if closes.is_zero() => "fails closed".to_owned(),
        _ => "fresh".to_owned(),
    }
}

fn verifier_json(verifier: &VerifierStatus) -> Value {
    json!({
        "id": verifier.id,
        "node": verifier.node,
        "connected": verifier.connected,
        "since": timestamp(verifier.since_ms),
        "applied": verifier.applied,
        "age_ms": verifier.age_ms,
        "fails_closed_in_ms": verifier.fails_closed_in_ms,
        "may_permit_until": timestamp(verifier.may_permit_until_ms),
        "processes": verifier.processes,
        "root_differs": verifier.root_differs,
        "delay_ms": verifier.delay_ms,
        "client": verifier.client,
        "identity": verifier.identity,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_with_another_root_is_an_alarm_before_anything_else() {
        let verifier = VerifierStatus {
            root_differs: true,
            connected: true,
            ..VerifierStatus::default()
        };
        assert!(verifier_state(&verifier).starts_with("ALARM"));
        let fresh = VerifierStatus {
            connected: true,
            fails_closed_in_ms: 1,
            ..VerifierStatus::default()
        };
        assert_eq!(verifier_state(&fresh), "fresh");
    }

    #[test]
    fn the_summary_counts_who_holds_the_revision() {
        let at = |applied| VerifierStatus {
            applied,
            connected: true,
            ..VerifierStatus::default()
        };
        assert!(verifiers_text(&[at(7), at(6), at(8)], 7).ends_with("\n2 of 3 hold revision 7\n"));
    }
}
