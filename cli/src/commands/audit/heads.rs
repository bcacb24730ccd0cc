//! `hessra audit heads`: what the cluster has witnessed of the audit of each node.

use hessra_sdk_rust::audit::AuditClient;
use hessra_sdk_rust::v1::{AuditChain, WitnessedHead};
use serde_json::{Value, json};

use super::gather::Missing;
use crate::failure::Outcome;
use crate::output::{Console, Table, timestamp};

/// Asks the first member that answers: all know the same.
pub(super) async fn run(client: &AuditClient, console: Console) -> Outcome {
    let mut missing = Missing::default();
    for (node, server) in client.servers().await {
        match client.head(&server, AuditChain::Changes).await {
            Ok(said) => return show(console, &said.witnessed),
            Err(error) => missing.add(node, &server, error.into()),
        }
    }
    Err(missing.into_failure())
}

fn show(console: Console, heads: &[WitnessedHead]) -> Outcome {
    let items: Vec<Value> = heads.iter().map(to_json).collect();
    console.answer_list(&json!({"heads": items}), &items, || {
        let mut table = Table::new(&["node", "chain", "record", "hash", "witnessed"]);
        for head in heads {
            let state = match head.loss_accepted {
                true => "loss accepted".to_owned(),
                false => timestamp(head.at_ms),
            };
            table.row([
                head.node.to_string(),
                head.chain.clone(),
                head.seq.to_string(),
                head.hash.clone(),
                state,
            ]);
        }
        table.text()
    })
}

fn to_json(head: &WitnessedHead) -> Value {
    json!({
        "node": head.node,
        "chain": head.chain,
        "chain_id": head.chain_id,
        "seq": head.seq,
        "hash": head.hash,
        "at": timestamp(head.at_ms),
        "loss_accepted": head.loss_accepted,
        "former_seq": head.former_seq,
        "former_chain_id": head.former_chain_id,
    })
}
