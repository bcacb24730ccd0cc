//! Scripts about the answer to a hello and the next step of a subscriber.

use std::fmt::Write as _;

use goldenscript::{Context, Runner};
use hessra_revocation::publisher::{Cursor, Frame, Hello, Plan, Step, plan};
use hessra_revocation::{Cutoff, Epoch, FeedId, Hash, Publisher, Revision};

use crate::authority::{FEED, FeedNode, NONCE};
use crate::words::{self, Outcome};

#[derive(goldenscript::Command)]
enum Command {
    /// Revokes so many tokens, one revision each.
    Revoke(u32),
    /// Keeps the newest entries only.
    Keep(usize),
    /// The node restores a backup: another epoch.
    Restore(u64),
    /// Shows the answer to a verifier's hello.
    Hello {
        #[arg(key)]
        from: u64,
        #[arg(key)]
        epoch: Option<u64>,
        #[arg(key)]
        feed: Option<String>,
        #[arg(key)]
        log: Option<String>,
        #[arg(key)]
        buckets: Option<String>,
    },
    /// Publishes a frame.
    Frame {
        from: u64,
        to: u64,
        #[arg(key, optional)]
        size: usize,
    },
    /// Publishes a heartbeat.
    Heartbeat(u64),
    /// A subscriber that was served through a revision.
    Subscribe { name: String, sent: u64 },
    /// A subscriber was caught up alone.
    CaughtUp { name: String, sent: u64 },
    /// Shows all steps of a subscriber now.
    Next(String),
}

struct Node {
    authority: FeedNode,
    publisher: Publisher<String>,
    cursors: std::collections::BTreeMap<String, Cursor>,
}

impl Node {
    fn hello(&self, from: u64, log: Option<&str>, buckets: Option<&str>) -> Hello {
        let known = self
            .authority
            .views
            .iter()
            .find(|view| view.revision.0 == from);
        let log_root: Hash = match (log, known) {
            (None, Some(view)) => view.log_root(),
            _ => [0xff; 32],
        };
        let bucket_roots = match (buckets, known) {
            (Some("same"), Some(view)) => view.set.bucket_roots(),
            (Some("few"), _) => vec![[0; 32]; 3],
            _ => Vec::new(),
        };
        Hello {
            nonce: NONCE,
            feed_id: Some(FEED),
            epoch: self.authority.view().epoch,
            from: Revision(from),
            log_root,
            bucket_roots,
            feed_keys: Vec::new(),
        }
    }

    fn next(&mut self, name: &str) -> Outcome<String> {
        let mut output = String::new();
        let cursor = self.cursors.get_mut(name).ok_or("no such subscriber")?;
        loop {
            match self.publisher.next(cursor) {
                Step::Send(bytes) => writeln!(output, "send {bytes}")?,
                Step::CatchUp { from } => {
                    writeln!(output, "catch up from {from}")?;
                    return Ok(output);
                }
                Step::Idle => {
                    writeln!(output, "idle at {}", cursor.sent)?;
                    return Ok(output);
                }
            }
        }
    }
}

impl Runner for Node {
    type Command = Command;

    fn run(&mut self, command: &Command, _context: &Context) -> Outcome<String> {
        let mut output = String::new();
        match command {
            Command::Revoke(count) => {
                for _ in 0..*count {
                    let name = format!("token {}", self.authority.head());
                    self.authority
                        .put(&words::target("token", &name)?, Cutoff::Permanent);
                }
                writeln!(output, "head {}", self.authority.head())?;
            }
            Command::Keep(count) => {
                let dropped = self.authority.history.truncate_front(*count);
                let history = &self.authority.history;
                let frontier = history.floor_frontier();
                writeln!(
                    output,
                    "dropped {}, floor {}, head {}",
                    dropped,
                    history.floor(),
                    history.head()
                )?;
                let at_floor = self.authority.views[history.floor().0 as usize].log_root();
                let same = history.root_at(history.floor()) == Some(at_floor)
                    && frontier.root() == at_floor;
                writeln!(
                    output,
                    "frontier of {} entries, root as before: {same}",
                    frontier.size()
                )?;
            }
            Command::Restore(epoch) => {
                self.authority.append(hessra_revocation::Change::Restore {
                    epoch: Epoch(*epoch),
                });
            }
            Command::Hello {
                from,
                epoch,
                feed,
                log,
                buckets,
            } => {
                let mut hello = self.hello(*from, log.as_deref(), buckets.as_deref());
                hello.epoch = epoch.map_or(hello.epoch, Epoch);
                hello.feed_id = match feed.as_deref() {
                    Some("none") => None,
                    Some(_) => Some(FeedId([1; 16])),
                    None => hello.feed_id,
                };
                match plan(self.authority.view(), &self.authority.history, &hello) {
                    Plan::Buckets(numbers) => writeln!(output, "{} of 256 buckets", numbers.len())?,
                    other => writeln!(output, "{other:?}")?,
                }
            }
            Command::Frame { from, to, size } => {
                let bytes = format!("[{from}-{to}]");
                let frame = Frame {
                    from: Revision(*from),
                    to: Revision(*to),
                    bytes,
                    size: (*size).max(1),
                };
                self.publisher
                    .push(frame)
                    .map_err(|frame| format!("{} would make a hole", frame.bytes))?;
            }
            Command::Heartbeat(revision) => {
                self.publisher
                    .heartbeat(Revision(*revision), format!("heartbeat at {revision}"));
            }
            Command::Subscribe { name, sent } => {
                self.cursors
                    .insert(name.clone(), self.publisher.cursor(Revision(*sent)));
            }
            Command::CaughtUp { name, sent } => {
                self.cursors.get_mut(name).ok_or("no such subscriber")?.sent = Revision(*sent);
            }
            Command::Next(name) => return self.next(name),
        }
        Ok(output)
    }
}

fn run(script: &str) {
    // Three frames or thirty bytes: small enough for a script to reach both limits.
    let publisher = Publisher::new(Revision(10), 3, 30);
    let mut node = Node {
        authority: FeedNode::new(),
        publisher,
        cursors: Default::default(),
    };
    goldenscript::run(&mut node, format!("scripts/{script}.txt")).unwrap();
}

#[test]
fn a_hello_is_answered_with_the_missing_parts() {
    run("plan");
}

#[test]
fn a_subscriber_gets_every_frame_before_the_heartbeat_that_covers_it() {
    run("publisher");
}
