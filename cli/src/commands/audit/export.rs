//! `hessra audit export`: the records of nodes, for another system.
//!
//! A node is told that an export was kept when all of its lines are written: what its retention deletes afterwards is not
//! lost. An export of some records only, by conditions, is not one of the chain.

use futures::StreamExt;
use hessra_sdk_rust::Endpoint;
use hessra_sdk_rust::audit::AuditClient;
use hessra_sdk_rust::v1::{AuditChain, AuditFormat, ConfirmExportRequest, ExportAuditRequest};
use serde_json::Value;

use super::chain::CHAINS;
use super::gather::Missing;
use super::line::parsed;
use crate::args::{AuditForm, ExportAudit};
use crate::failure::{CommandError, Outcome};
use crate::output::Console;

/// Exports the chains of one node, or of all.
pub(super) async fn run(client: &AuditClient, console: Console, arguments: ExportAudit) -> Outcome {
    let mut missing = Missing::default();
    let servers = chosen(client, arguments.node).await?;
    let asked = servers.len();
    for (node, server) in servers {
        if let Err(failure) = export_node(client, console, &server, &arguments).await {
            missing.add(node, &server, failure);
        }
    }
    if missing.nodes().len() == asked {
        return Err(missing.into_failure());
    }
    missing.told(console)
}

async fn export_node(
    client: &AuditClient,
    console: Console,
    server: &Endpoint,
    arguments: &ExportAudit,
) -> Outcome {
    let wanted = arguments.chain.map(AuditChain::from);
    let is_wanted = |chain: &AuditChain| wanted.is_none_or(|wanted| wanted == *chain);
    for chain in CHAINS.into_iter().filter(is_wanted) {
        let kept = export_chain(client, console, server, chain, arguments).await?;
        let is_whole = arguments.conditions.is_empty();
        if let Some(request) = kept.filter(|_| is_whole) {
            client.confirm_export(server, request).await?;
        }
    }
    Ok(())
}

/// Writes the lines of a chain; what was written, when it was anything.
async fn export_chain(
    client: &AuditClient,
    console: Console,
    server: &Endpoint,
    chain: AuditChain,
    arguments: &ExportAudit,
) -> Outcome<Option<ConfirmExportRequest>> {
    let request = ExportAuditRequest {
        format: match arguments.format {
            AuditForm::Jsonl => AuditFormat::Jsonl,
            AuditForm::Ocsf => AuditFormat::Ocsf,
        }
        .into(),
        from: arguments.from.unwrap_or_default(),
        conditions: arguments.conditions.clone(),
        chain: chain.into(),
    };
    let mut kept: Option<ConfirmExportRequest> = None;
    let mut stream = client.export(server, request).await?;
    while let Some(lines) = stream.next().await {
        for line in lines?.lines {
            console.data(&format!("{line}\n"))?;
            let Some((seq, hash)) = place(&parsed(&line)?) else {
                continue;
            };
            let from = kept.as_ref().map_or(seq, |kept| kept.from);
            kept = Some(ConfirmExportRequest {
                chain: chain.into(),
                from,
                through: seq,
                hash,
            });
        }
    }
    Ok(kept)
}

/// Number and hash of a record, in either form.
fn place(record: &Value) -> Option<(u64, String)> {
    let (seq, hash) = match record.get("unmapped") {
        Some(unmapped) => (&record["metadata"]["sequence"], &unmapped["hash"]),
        None => (&record["seq"], &record["hash"]),
    };
    Some((seq.as_u64()?, hash.as_str()?.to_owned()))
}

async fn chosen(client: &AuditClient, node: Option<u64>) -> Outcome<Vec<(u64, Endpoint)>> {
    let mut servers = client.servers().await;
    if let Some(wanted) = node {
        servers.retain(|(id, _)| *id == wanted);
        if servers.is_empty() {
            return Err(
                CommandError::not_found(format!("the cluster has no node {wanted}"))
                    .hint("See `hessra cluster list`."),
            );
        }
    }
    Ok(servers)
}
