//! `hessra status`: the health of the cluster, and the role of each node.

use std::collections::BTreeSet;
use std::time::Duration;

use data_encoding::HEXLOWER;
use hessra_sdk_rust::v1::{Condition, NodeStatus, StatusResponse};
use hessra_sdk_rust::{Authority, NodeState};
use hessra_settings::duration;
use serde_json::{Value, json};

use crate::context::{self, Context};
use crate::exit::Exit;
use crate::failure::{CommandError, Outcome};
use crate::output::{Console, Table};

/// Prints the status; the outcome is the health.
pub(super) async fn run(context: &Context, console: Console) -> Outcome {
    let authority = Authority::new(context.authenticated_connection()?);
    let status = authority.status().await?;
    context::remember_members(context, authority.servers().as_slice());
    console.answer(&to_json(&status), || to_text(&status))?;
    health(&status)
}

/// Health of the cluster.
///
/// # Errors
/// Unavailable without a leader, else degraded.
pub(super) fn health(status: &StatusResponse) -> Outcome {
    if status.leader == 0 {
        return Err(CommandError { retryable: true, ..CommandError::new(Exit::Unavailable, "no_leader", "no leader is known") }
            .hint("An election takes about a second. If it lasts, a quorum of nodes is missing: see the table."));
    }
    if status.healthy {
        Ok(())
    } else {
        Err(degraded(status))
    }
}

fn degraded(status: &StatusResponse) -> CommandError {
    let troubled = status
        .nodes
        .iter()
        .filter(|node| !node.reachable || !node.is_ready() || !node.conditions.is_empty());
    let names: Vec<String> = troubled
        .map(|node| format!("node {} ({})", node.id, troubles(node)))
        .collect();
    let what = if names.is_empty() {
        "the cluster is not healthy".to_owned()
    } else {
        names.join(", ")
    };
    CommandError::new(Exit::Unconfirmed, "degraded", format!("degraded: {what}"))
        .hint("`hessra status` says what is wrong with each; their logs and `/readyz` say more.")
}

fn node_state(node: &NodeStatus) -> String {
    if node.reachable {
        node.state.clone()
    } else {
        NodeState::Unreachable.into()
    }
}

/// Words for what is wrong with a node: its state, and the codes of its conditions.
fn troubles(node: &NodeStatus) -> String {
    let state = Some(node_state(node)).filter(|state| *state != NodeState::Ready.as_str());
    let codes = node
        .conditions
        .iter()
        .map(|condition| condition.code.clone());
    let words: BTreeSet<String> = state.into_iter().chain(codes).collect();
    words.into_iter().collect::<Vec<_>>().join(", ")
}

/// Difference of a node's clock from that of the node that answered; `?` when it was not compared lately.
fn clock_difference(node: &NodeStatus) -> String {
    let Some(ahead) = node.clock_ahead_ms else {
        return "?".to_owned();
    };
    let by = duration::rounded(Duration::from_millis(ahead.unsigned_abs()));
    let sign = if ahead < 0 { "-" } else { "+" };
    format!("{sign}{by}")
}

/// Lines about what is wrong, one of each condition of each node.
fn condition_lines(status: &StatusResponse) -> String {
    let of_node = |node: &NodeStatus| {
        let lines = node.conditions.iter().map(|condition| {
            format!(
                "node {}: {}: {}\n",
                node.id, condition.code, condition.message
            )
        });
        lines.collect::<String>()
    };
    let lines: String = status.nodes.iter().map(of_node).collect();
    match lines.is_empty() {
        true => lines,
        false => format!("\n{lines}"),
    }
}

fn to_json(status: &StatusResponse) -> Value {
    json!({
        "cluster_id": status.cluster_id,
        "healthy": status.healthy,
        "leader": status.leader,
        "term": status.term,
        "revision": status.revision,
        "nodes": status.nodes.iter().map(node_json).collect::<Vec<_>>(),
        "feed": {"subscribers": status.subscribers, "stale": status.stale},
        "answered_by": status.answered_by,
        "two_person": !status.one_person,
    })
}

fn node_json(node: &NodeStatus) -> Value {
    json!({
        "id": node.id,
        "address": node.public_address,
        "role": node.role,
        "state": node_state(node),
        "version": node.version,
        "applied": node.applied,
        "lag": node.lag,
        "reachable": node.reachable,
        "revision": node.revision,
        "subscribers": node.subscribers,
        "store": HEXLOWER.encode(&node.store),
        "starts": node.starts,
        "line": node.line.as_ref().map(|line| json!({
            "number": line.number,
            "nonce": HEXLOWER.encode(&line.nonce),
        })),
        "clock_ahead_ms": node.clock_ahead_ms,
        "conditions": node.conditions.iter().map(condition_json).collect::<Vec<_>>(),
    })
}

fn condition_json(condition: &Condition) -> Value {
    json!({"code": condition.code, "message": condition.message, "blocks": condition.blocks})
}

fn to_text(status: &StatusResponse) -> String {
    let mut table = Table::new(&[
        "node",
        "address",
        "role",
        "state",
        "version",
        "applied",
        "lag",
        "verifiers",
        "clock",
    ]);
    for column in [5, 6, 7, 8] {
        table = table.right(column);
    }
    for node in &status.nodes {
        let numbers =
            [node.applied, node.lag, u64::from(node.subscribers)].map(|number| number.to_string());
        let words = [
            &node.id.to_string(),
            &node.public_address,
            &node.role,
            &node_state(node),
            &node.version,
        ];
        let clock = [clock_difference(node)];
        table.row(words.into_iter().cloned().chain(numbers).chain(clock));
    }
    let alone = if status.one_person {
        "One operator alone can revoke near the root, restore and revoke keys (two_person = false).\n"
    } else {
        ""
    };
    let conditions = condition_lines(status);
    format!("{}{conditions}\n{}\n{alone}", table.text(), summary(status))
}

fn summary(status: &StatusResponse) -> String {
    let health = if status.healthy {
        "healthy"
    } else {
        "not healthy"
    };
    let leader = if status.leader == 0 {
        "no leader".to_owned()
    } else {
        format!("leader {}", status.leader)
    };
    let (term, revision) = (status.term, status.revision);
    let (subscribers, stale) = (status.subscribers, status.stale);
    format!(
        "{health}: {leader}, term {term}, revision {revision}, {subscribers} verifiers connected, {stale} stale"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> StatusResponse {
        let node = |id: u64, reachable| NodeStatus {
            id,
            public_address: format!("127.0.0.1:740{id}"),
            role: "follower".to_owned(),
            state: NodeState::Ready.into(),
            version: "0.1.0".to_owned(),
            reachable,
            ..NodeStatus::default()
        };
        StatusResponse {
            cluster_id: "c".to_owned(),
            healthy: true,
            leader: 1,
            term: 2,
            revision: 3,
            nodes: vec![node(1, true), node(2, false)],
            ..StatusResponse::default()
        }
    }

    #[test]
    fn the_outcome_is_the_health() {
        assert_eq!(health(&status()), Ok(()));
        let degraded = health(&StatusResponse {
            healthy: false,
            ..status()
        })
        .expect_err("degraded");
        assert_eq!(degraded.exit, Exit::Unconfirmed);
        assert!(
            degraded.message.contains("node 2 (unreachable)"),
            "{degraded}"
        );
        let mut warned = StatusResponse {
            healthy: false,
            ..status()
        };
        warned.nodes[0].conditions.push(Condition {
            code: "certificate_ends".to_owned(),
            message: "soon".to_owned(),
            blocks: false,
        });
        let warned = health(&warned).expect_err("a condition");
        assert!(
            warned.message.contains("node 1 (certificate_ends)"),
            "{warned}"
        );
        let headless = health(&StatusResponse {
            leader: 0,
            ..status()
        })
        .expect_err("no leader");
        assert_eq!(
            (headless.exit, &*headless.reason),
            (Exit::Unavailable, "no_leader")
        );
    }

    #[test]
    fn the_json_has_the_published_keys() {
        let value = to_json(&status());
        for key in [
            "cluster_id",
            "healthy",
            "leader",
            "term",
            "revision",
            "nodes",
            "feed",
        ] {
            assert!(value.get(key).is_some(), "{key}");
        }
        for key in [
            "id",
            "address",
            "role",
            "state",
            "version",
            "applied",
            "lag",
            "reachable",
        ] {
            assert!(value["nodes"][0].get(key).is_some(), "{key}");
        }
    }

    #[test]
    fn the_text_is_one_table_and_one_line() {
        let text = to_text(&status());
        assert!(text.starts_with("NODE  ADDRESS"), "{text}");
        assert!(
            text.ends_with(
                "\nhealthy: leader 1, term 2, revision 3, 0 verifiers connected, 0 stale\n"
            ),
            "{text}"
        );
    }
}
