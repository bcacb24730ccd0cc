//! Answers of every node, asked for and brought together.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use futures::StreamExt;
use hessra_sdk_rust::Endpoint;
use hessra_sdk_rust::audit::AuditClient;
use hessra_sdk_rust::v1::{AuditChain, TailAuditRequest};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::chain::CHAINS;
use super::line::parsed;
use crate::exit::Exit;
use crate::failure::{CommandError, Outcome};
use crate::output::Console;

/// Ids remembered to show a change of the cluster once: far more than come in the time that nodes are apart.
const SEEN_MAX: usize = 10_000;
/// Pause between two tries at a node that is gone.
const PAUSE: Duration = Duration::from_secs(2);
/// Records that wait to be printed.
const WAITING_MAX: usize = 1_024;

/// Nodes that could not be asked, and why.
#[derive(Debug, Default)]
pub(super) struct Missing {
    nodes: Vec<(String, CommandError)>,
}

impl Missing {
    /// Adds a node that could not be asked, and why.
    pub(super) fn add(&mut self, node: u64, server: &Endpoint, failure: CommandError) {
        let name = match node {
            0 => server.to_string(),
            node => format!("node {node} ({server})"),
        };
        self.nodes.push((name, failure));
    }

    /// Adds the nodes that others name too, each once.
    pub(super) fn extend(&mut self, other: Self) {
        for (name, failure) in other.nodes {
            if !self.nodes().contains(&name.as_str()) {
                self.nodes.push((name, failure));
            }
        }
    }

    /// Names of the nodes.
    pub(super) fn nodes(&self) -> Vec<&str> {
        self.nodes.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Warns of each node that is missing.
    pub(super) fn warn(&self, console: Console) {
        for (name, failure) in &self.nodes {
            console.warn(&format!("{name} is missing: {failure}"));
        }
    }

    /// Warns of each node that is missing. Unconfirmed when there is one: the answer is not the whole one.
    pub(super) fn told(self, console: Console) -> Outcome {
        if self.nodes.is_empty() {
            return Ok(());
        }
        self.warn(console);
        let names = self.nodes().join(", ");
        let message = format!("without the audit of {names}");
        Err(CommandError::new(Exit::Unconfirmed, "degraded", message)
            .hint("Ask again when it is back: its records stay in its own files."))
    }

    /// Failure when no node answered: that of the first one.
    pub(super) fn into_failure(self) -> CommandError {
        let first = self.nodes.into_iter().next();
        first.map_or_else(
            || {
                CommandError::unavailable("no node could be asked")
                    .hint("See `hessra status` and `hessra doctor`.")
            },
            |(_, failure)| failure,
        )
    }
}

/// Records of all nodes, gathered.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    records: Vec<Value>,
    missing: Missing,
    answered: usize,
}

impl Gathered {
    /// Adds the answer of one node.
    pub(super) fn add(&mut self, node: u64, server: &Endpoint, found: Outcome<Vec<String>>) {
        let records = found.and_then(|lines| lines.iter().map(|line| parsed(line)).collect());
        match records {
            Ok(records) => {
                let records: Vec<Value> = records;
                self.records.extend(records);
                self.answered += 1;
            }
            Err(failure) => self.missing.add(node, server, failure),
        }
    }

    /// Records by time, newest first, each change of the cluster once; and the nodes that are missing.
    ///
    /// # Errors
    /// No node answered.
    pub(super) fn newest_first(mut self) -> Outcome<(Vec<Value>, Missing)> {
        if self.answered == 0 {
            return Err(self.missing.into_failure());
        }
        let key = |record: &Value| {
            let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
            let number = |name: &str| record[name].as_u64().unwrap_or_default();
            (text("ts"), number("seq"), number("node"))
        };
        self.records
            .sort_by_cached_key(|record| std::cmp::Reverse(key(record)));
        // The copy that says most: the node that was asked knows from where.
        let mut best: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
        for (place, record) in self.records.iter().enumerate() {
            let Some(id) = record["id"].as_str() else {
                continue;
            };
            let held = best.entry(id.to_owned()).or_insert(place);
            if says_from_where(record) && !says_from_where(&self.records[*held]) {
                *held = place;
            }
        }
        let kept: BTreeSet<usize> = best.into_values().collect();
        let records = self.records.into_iter().enumerate();
        let records = records.filter(|(place, _)| kept.contains(place));
        Ok((records.map(|(_, record)| record).collect(), self.missing))
    }
}

fn says_from_where(record: &Value) -> bool {
    record["actor"]["ip"].is_string()
}

/// Place at which following a chain goes on.
pub(super) struct Place {
    node: u64,
    server: Endpoint,
    chain: AuditChain,
    /// Number of the next record; 0 = not known.
    next: u64,
}

/// Places at which following goes on.
pub(super) type Places = Vec<Place>;

/// The newest records of every node, and the record after them.
pub(super) async fn newest(
    client: &AuditClient,
    conditions: &[String],
    last: u32,
) -> (Gathered, Places) {
    let (mut gathered, mut places) = (Gathered::default(), Places::new());
    for (node, server) in client.servers().await {
        let mut lines = Ok(Vec::new());
        for chain in CHAINS {
            let found = newest_of(client, &server, chain, conditions, last).await;
            places.push(Place {
                node,
                server: server.clone(),
                chain,
                next: found.as_ref().map_or(0, |(_, next)| *next),
            });
            lines = lines.and_then(|mut lines: Vec<String>| {
                lines.extend(found?.0);
                Ok(lines)
            });
        }
        gathered.add(node, &server, lines);
    }
    (gathered, places)
}

async fn newest_of(
    client: &AuditClient,
    server: &Endpoint,
    chain: AuditChain,
    conditions: &[String],
    last: u32,
) -> Outcome<(Vec<String>, u64)> {
    let head = client.head(server, chain).await?;
    let request = TailAuditRequest {
        conditions: conditions.to_vec(),
        last,
        follow: false,
        from: 0,
        chain: chain.into(),
    };
    let mut stream = client.tail(server, request).await?;
    let mut lines = Vec::new();
    while let Some(part) = stream.next().await {
        lines.extend(part?.lines);
    }
    let newest = lines
        .last()
        .and_then(|line| parsed(line).ok()?["seq"].as_u64());
    Ok((lines, newest.unwrap_or_default().max(head.seq) + 1))
}

/// Event from a node that is followed.
pub(super) enum Followed {
    /// A new record.
    Record(Value),
    /// A node does not answer; it is tried again.
    Lost(Missing),
    /// A node refuses: asking again would be refused again.
    Refused(CommandError),
}

/// Records of all nodes as they come, each node's in its order. A node that is gone is asked again, from where it was.
pub(super) fn follow(
    client: &AuditClient,
    conditions: &[String],
    places: Places,
) -> mpsc::Receiver<Followed> {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    for place in places {
        let following = Following {
            client: client.clone(),
            conditions: conditions.to_vec(),
            place,
            sender: sender.clone(),
        };
        tokio::spawn(following.run());
    }
    receiver
}

fn is_refusal(failure: &CommandError) -> bool {
    matches!(failure.exit, Exit::NotAuthenticated | Exit::NotPermitted)
}

struct Following {
    client: AuditClient,
    conditions: Vec<String>,
    place: Place,
    sender: mpsc::Sender<Followed>,
}

impl Following {
    /// Follows one node until it refuses, or the receiver is gone.
    async fn run(mut self) {
        let mut lost = false;
        while !self.sender.is_closed() {
            match self.stream().await {
                Ok(()) => lost = false,
                Err(failure) if is_refusal(&failure) => {
                    let _ = self.sender.send(Followed::Refused(failure)).await;
                    return;
                }
                Err(failure) if !lost => {
                    lost = true;
                    let mut missing = Missing::default();
                    missing.add(self.place.node, &self.place.server, failure);
                    let _ = self.sender.send(Followed::Lost(missing)).await;
                }
                Err(_) => {}
            }
            sleep(PAUSE).await;
        }
    }

    async fn stream(&mut self) -> Outcome {
        if self.place.next == 0 {
            self.place.next = self
                .client
                .head(&self.place.server, self.place.chain)
                .await?
                .seq
                + 1;
        }
        let request = TailAuditRequest {
            conditions: self.conditions.clone(),
            last: 0,
            follow: true,
            from: self.place.next,
            chain: self.place.chain.into(),
        };
        let mut stream = self.client.tail(&self.place.server, request).await?;
        while let Some(part) = stream.next().await {
            for line in part?.lines {
                let record = parsed(&line)?;
                self.place.next = record["seq"]
                    .as_u64()
                    .map_or(self.place.next, |seq| seq + 1);
                if self.sender.send(Followed::Record(record)).await.is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Ids of records that were shown.
#[derive(Debug, Default)]
pub(super) struct Seen {
    ids: BTreeSet<String>,
    order: VecDeque<String>,
}

impl Seen {
    /// Set of these ids, as shown already.
    pub(super) fn from<'a>(ids: impl Iterator<Item = &'a str>) -> Self {
        let mut seen = Self::default();
        ids.for_each(|id| {
            seen.is_new(&json!({ "id": id }));
        });
        seen
    }

    /// True when the record is shown for the first time.
    pub(super) fn is_new(&mut self, record: &Value) -> bool {
        let id = record["id"].as_str().unwrap_or_default();
        if !self.ids.insert(id.to_owned()) {
            return false;
        }
        self.order.push_back(id.to_owned());
        if self.order.len() > SEEN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: &str, ts: u8, node: u64, ip: Option<&str>) -> String {
        let ip = ip.map_or_else(|| json!({}), |ip| json!({ "ip": ip }));
        json!({"id": id, "ts": format!("2026-01-01T00:00:0{ts}.000Z"), "seq": ts, "node": node, "actor": ip})
            .to_string()
    }

    #[test]
    fn records_of_all_nodes_are_merged_by_time_and_a_change_is_shown_once_as_the_asked_node_has_it()
    {
        let server: Endpoint = "localhost:7401".parse().expect("an endpoint");
        let mut gathered = Gathered::default();
        gathered.add(
            1,
            &server,
            Ok(vec![
                line("n1-3", 3, 1, None),
                line("log-9-0-0", 2, 1, None),
            ]),
        );
        gathered.add(
            2,
            &server,
            Ok(vec![
                line("log-9-0-0", 2, 2, Some("10.0.0.1")),
                line("n2-1", 1, 2, None),
            ]),
        );
        gathered.add(3, &server, Err(CommandError::unavailable("down")));
        let (records, missing) = gathered.newest_first().expect("two answered");
        let shown: Vec<(&str, u64)> = records
            .iter()
            .filter_map(|record| Some((record["id"].as_str()?, record["node"].as_u64()?)))
            .collect();
        assert_eq!(shown, [("n1-3", 1), ("log-9-0-0", 2), ("n2-1", 2)]);
        assert_eq!(missing.nodes(), ["node 3 (localhost:7401)"]);
    }

    #[test]
    fn when_nobody_answers_the_reason_of_one_is_the_answer() {
        let server: Endpoint = "localhost:7401".parse().expect("an endpoint");
        let mut gathered = Gathered::default();
        gathered.add(1, &server, Err(CommandError::unavailable("down")));
        assert_eq!(gathered.newest_first().expect_err("nobody").message, "down");
    }
}
