//! `hessra audit …`: the audit of every node.
//!
//! Every node has two chains of its own. So all nodes are asked for both, their answers are merged by time, and nodes that
//! could not be asked are named. A change of the cluster is in the chains of all nodes under one id: it is shown once.

mod accept;
mod authors;
mod chain;
mod export;
mod gather;
mod heads;
mod line;
mod show;
mod verify;

use hessra_sdk_rust::Endpoint;
use hessra_sdk_rust::audit::AuditClient;
use hessra_sdk_rust::v1::{AuditChain, SearchAuditRequest};
use serde_json::json;

use crate::args::{AuditCommand, SearchAudit, TailAudit};
use crate::clock;
use crate::context::Context;
use crate::failure::{CommandError, Outcome};
use crate::output::Console;

use chain::CHAINS;
use gather::Gathered;

/// Records of one page of a node.
const PAGE: u32 = 1_000;

/// Runs one of the commands.
pub(super) async fn run(context: &Context, console: Console, command: AuditCommand) -> Outcome {
    match command {
        AuditCommand::Tail(arguments) => tail(&client(context)?, console, arguments).await,
        AuditCommand::Search(arguments) => search(&client(context)?, console, arguments).await,
        AuditCommand::Export(arguments) => export::run(&client(context)?, console, arguments).await,
        AuditCommand::Heads => heads::run(&client(context)?, console).await,
        AuditCommand::AcceptLoss(arguments) => accept::run(context, console, &arguments).await,
        AuditCommand::Verify(arguments) => verify::run(context, console, arguments).await,
    }
}

fn client(context: &Context) -> Outcome<AuditClient> {
    Ok(AuditClient::new(context.authenticated_connection()?))
}

async fn search(client: &AuditClient, console: Console, arguments: SearchAudit) -> Outcome {
    let mut conditions = arguments.conditions;
    conditions.extend(arguments.since.map(since));
    hessra_audit::Filter::parse(&conditions)
        .map_err(|error| CommandError::usage(error.to_string()))?;
    let limit = arguments.limit as usize;
    let mut gathered = Gathered::default();
    for (node, server) in client.servers().await {
        let found = both(client, &server, &conditions, limit).await;
        gathered.add(node, &server, found);
    }
    let (mut records, missing) = gathered.newest_first()?;
    records.truncate(limit);
    let whole = json!({"records": records, "missing": missing.nodes()});
    console.answer_list(&whole, &records, || show::lines(&records))?;
    missing.told(console)
}

/// Lines of both chains of one node, at most `limit` of each.
async fn both(
    client: &AuditClient,
    server: &Endpoint,
    conditions: &[String],
    limit: usize,
) -> Outcome<Vec<String>> {
    let mut lines = Vec::new();
    for chain in CHAINS {
        lines.extend(pages(client, server, chain, conditions, limit).await?);
    }
    Ok(lines)
}

/// Lines of one chain of one node, newest first, at most `limit`.
async fn pages(
    client: &AuditClient,
    server: &Endpoint,
    chain: AuditChain,
    conditions: &[String],
    limit: usize,
) -> Outcome<Vec<String>> {
    let mut lines: Vec<String> = Vec::new();
    let mut before = 0;
    loop {
        let wanted = u32::try_from(limit - lines.len()).unwrap_or(PAGE).min(PAGE);
        let request = SearchAuditRequest {
            conditions: conditions.to_vec(),
            before,
            limit: wanted,
            chain: chain.into(),
        };
        let page = client.search(server, request).await?;
        lines.extend(page.lines);
        before = page.before;
        if before == 0 || lines.len() >= limit {
            return Ok(lines);
        }
    }
}

/// Condition `since=` for a time that begins so long ago.
fn since(age: std::time::Duration) -> String {
    let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    let instant = clock::unix_milliseconds().saturating_sub(age);
    format!("since={}", hessra_audit::time::rfc3339(instant))
}

async fn tail(client: &AuditClient, console: Console, arguments: TailAudit) -> Outcome {
    let conditions = &arguments.conditions;
    hessra_audit::Filter::parse(conditions)
        .map_err(|error| CommandError::usage(error.to_string()))?;
    let (gathered, places) = gather::newest(client, conditions, arguments.last).await;
    let (mut records, missing) = gathered.newest_first()?;
    records.reverse();
    for record in &records {
        console.event(record, || show::line(record))?;
    }
    if !arguments.follow {
        return missing.told(console);
    }
    missing.warn(console);
    let shown = records.iter().filter_map(|record| record["id"].as_str());
    let mut seen = gather::Seen::from(shown);
    let mut lines = gather::follow(client, conditions, places);
    while let Some(event) = lines.recv().await {
        match event {
            gather::Followed::Record(record) if seen.is_new(&record) => {
                console.event(&record, || show::line(&record))?;
            }
            gather::Followed::Record(_) => {}
            gather::Followed::Lost(missing) => missing.warn(console),
            gather::Followed::Refused(failure) => return Err(failure),
        }
    }
    Ok(())
}
