//! Scripts about a verifier and the nodes it follows.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use goldenscript::{Context, Runner};
use hessra_revocation::follower::Mode;
use hessra_revocation::merkle::Frontier;
use hessra_revocation::publisher::{Hello, ResetReason};
use hessra_revocation::{
    Action, Change, Checkpoint, Cutoff, Digest, Epoch, Event, FeedId, Follower, Hash, Identity,
    KeyState, Monotonic, Query, Revision, Rule, RuleKind, SignedCheckpoint,
};

use crate::authority::{FEED_KEY, FeedNode, NONCE, StandIn, public_key};
use crate::words::{self, Outcome, hex};

#[derive(goldenscript::Command)]
enum Command {
    /// Node that the script is about from now on: a copy of the present one when it is new.
    Node(String),
    /// The node is set back.
    Rewind(u64),
    /// The node restores a backup.
    Restore(u64),
    /// The node belongs to another cluster.
    OtherCluster,
    /// A subtree is revoked for good.
    Revoke(String),
    /// A newer cluster puts a rule of a kind that is not known here.
    RevokeUnknown(u8),
    /// A feed key changes.
    Key {
        id: u32,
        state: String,
    },
    /// A key is forgotten.
    Forget(u32),
    /// The node signs with another key.
    SignWith(u32),
    /// The node keeps so many entries.
    Keep(usize),
    /// Time passes, for everybody. The node confirms its quorum at the end of it.
    Pass(u64),
    /// Time passes while the node is cut off from its quorum.
    CutOff(u64),
    /// A new verifier, in place of the one before: its clock has just begun.
    Verifier {
        #[arg(key)]
        pinned: Option<u32>,
    },
    /// The verifier is started again with what it stored.
    Restart,
    Connect,
    /// The node answers the hello.
    Answer,
    Welcome(String),
    Chunk(u8),
    SnapshotEnd {
        #[arg(key)]
        but: Option<String>,
    },
    Delta {
        from: u64,
        to: u64,
        #[arg(key)]
        but: Option<String>,
    },
    Heartbeat {
        #[arg(key)]
        but: Option<String>,
    },
    /// A heartbeat is on its way, and stays there.
    HoldHeartbeat,
    /// Delivers the heartbeat that is on its way.
    Deliver,
    Reset {
        reason: String,
        after_ms: u64,
    },
    Disconnect,
    Malformed,
    /// Asks whether the verifier denies this name.
    Denies(String),
    /// Shows the verifier's knowledge.
    Status,
}

struct Scene {
    nodes: BTreeMap<String, FeedNode>,
    node: String,
    follower: Follower<StandIn>,
    now: u64,
    hello: Option<Hello>,
    held: Option<Event>,
}

impl Scene {
    fn new() -> Self {
        let nodes = BTreeMap::from([("one".to_owned(), FeedNode::new())]);
        let follower = Follower::new(StandIn, BTreeMap::new());
        Self {
            nodes,
            node: "one".to_owned(),
            follower,
            now: 1_000,
            hello: None,
            held: None,
        }
    }

    fn node(&mut self) -> &mut FeedNode {
        self.nodes.get_mut(&self.node).unwrap()
    }

    fn handle(&mut self, event: Event) -> Outcome<String> {
        let mut output = String::new();
        for action in self.follower.handle(event, Monotonic(self.now)) {
            match action {
                Action::SendHello(hello) => {
                    let buckets = hello.bucket_roots.len();
                    let keys: Vec<String> = hello.feed_keys.iter().map(u32::to_string).collect();
                    let believes = match keys.is_empty() {
                        true => String::new(),
                        false => format!(", believes {}", keys.join(" ")),
                    };
                    writeln!(
                        output,
                        "hello: epoch {}, revision {}, {buckets} buckets{believes}",
                        hello.epoch, hello.from
                    )?;
                    self.hello = Some(hello);
                }
                Action::SendAck {
                    revision,
                    state_root,
                } => {
                    let right =
                        self.follower.view().map(|view| view.state_root()) == Some(state_root);
                    writeln!(
                        output,
                        "ack {revision}{}",
                        if right { "" } else { " of something else" }
                    )?;
                }
                Action::Publish => writeln!(output, "publish")?,
                Action::Persist => writeln!(output, "persist")?,
                Action::Reconnect { after, elsewhere } => {
                    let place = if elsewhere { "elsewhere" } else { "here" };
                    writeln!(output, "reconnect {place} after {} ms", after.as_millis())?;
                }
                Action::Alarm(alarm) => writeln!(output, "ALARM {alarm}")?,
            }
        }
        Ok(output)
    }

    /// The node's checkpoint, with one thing changed.
    fn signed(&mut self, revision: Revision, but: Option<&str>) -> Outcome<SignedCheckpoint> {
        let node = self.node();
        let mut checkpoint = node.checkpoint_at(revision);
        let other: Hash = [0xee; 32];
        match but {
            None | Some("signature" | "version" | "garbage") => {}
            Some("log_root") => checkpoint.log_root = other,
            Some("state_root") => checkpoint.state_root = other,
            Some("revision") => checkpoint.revision = revision.next(),
            Some("epoch") => checkpoint.epoch = Epoch(checkpoint.epoch.0 + 1),
            Some("feed") => checkpoint.feed_id = FeedId([3; 16]),
            Some("node") => checkpoint.node += 1,
            Some(other) => return Err(format!("nothing is called `{other}`").into()),
        }
        let mut signed = node.sign(&checkpoint);
        match but {
            Some("signature") => signed.signature[5] ^= 1,
            Some("version") => signed = resigned(node, &checkpoint, |body| body[21] = 2),
            Some("garbage") => signed = resigned(node, &checkpoint, |body| body.truncate(30)),
            _ => {}
        }
        Ok(signed)
    }

    fn delta(&mut self, from: u64, to: u64, but: Option<&str>) -> Outcome<Event> {
        let Event::Delta {
            from,
            to,
            mut entries,
            mut checkpoint,
        } = self.node().delta(Revision(from), Revision(to))
        else {
            return Err("not a delta".into());
        };
        match but {
            Some("dropped") => drop(entries.remove(0)),
            Some("swapped") => entries.swap(0, 1),
            Some("changed") => *entries[0].last_mut().unwrap() ^= 1,
            Some("unknown") => {
                // The variant's byte, after two numbers of eight. The cluster stands for it: the log root fits.
                entries.last_mut().unwrap()[16] = 99;
                let node = self.node();
                let before = node
                    .views
                    .iter()
                    .find(|view| view.revision.next() == from)
                    .unwrap();
                let mut log: Frontier = before.log.clone();
                entries.iter().for_each(|entry| log.append(entry));
                let changed = Checkpoint {
                    log_root: log.root(),
                    ..node.checkpoint_at(to)
                };
                checkpoint = node.sign(&changed);
            }
            Some("unknown_unsigned") => entries.last_mut().unwrap()[16] = 99,
            but => checkpoint = self.signed(to, but)?,
        }
        Ok(Event::Delta {
            from,
            to,
            entries,
            checkpoint,
        })
    }
}

fn resigned(
    node: &FeedNode,
    checkpoint: &Checkpoint,
    change: impl FnOnce(&mut Vec<u8>),
) -> SignedCheckpoint {
    let mut body = checkpoint.to_bytes();
    change(&mut body);
    let signature = crate::authority::sign(&public_key(node.key_id), &body);
    SignedCheckpoint {
        body,
        key_id: node.key_id,
        signature,
    }
}

fn key_state(text: &str) -> Outcome<KeyState> {
    Ok(match text {
        "prepared" => KeyState::Prepared,
        "active" => KeyState::Active,
        "retired" => KeyState::Retired,
        "revoked" => KeyState::Revoked,
        other => return Err(format!("no key state `{other}`").into()),
    })
}

fn reset_reason(text: &str) -> Outcome<ResetReason> {
    Ok(match text {
        "slow" => ResetReason::Slow,
        "shutdown" => ResetReason::Shutdown,
        "ahead" => ResetReason::Ahead,
        "fork" => ResetReason::Fork,
        "restored" => ResetReason::Restored,
        "overloaded" => ResetReason::Overloaded,
        "renew" => ResetReason::Renew,
        other => return Err(format!("no reason `{other}`").into()),
    })
}

impl Runner for Scene {
    type Command = Command;

    fn run(&mut self, command: &Command, _context: &Context) -> Outcome<String> {
        let event = match command {
            Command::Node(name) => {
                if !self.nodes.contains_key(name) {
                    let copy = FeedNode {
                        node: self.nodes.len() as u64 + 1,
                        ..self.node().clone()
                    };
                    self.nodes.insert(name.clone(), copy);
                }
                self.node = name.clone();
                return Ok(String::new());
            }
            Command::Rewind(revision) => {
                *self.node() = self.node().rewound_to(Revision(*revision));
                return Ok(String::new());
            }
            Command::Restore(epoch) => {
                let revision = self.node().append(Change::Restore {
                    epoch: Epoch(*epoch),
                });
                return Ok(format!("revision {revision}\n"));
            }
            Command::OtherCluster => {
                for view in &mut self.node().views {
                    view.feed_id = FeedId([3; 16]);
                }
                return Ok(String::new());
            }
            Command::Revoke(name) => {
                let target = words::target("subtree", name)?;
                let revision = self.node().put(&target, Cutoff::Permanent);
                return Ok(format!("revision {revision}\n"));
            }
            Command::RevokeUnknown(kind) => {
                let rule = Rule {
                    kind: RuleKind::Unknown(*kind),
                    digest: Digest([*kind; 16]),
                    depth: 0,
                    cutoff: Cutoff::Permanent,
                    until: None,
                };
                let revision = self.node().append(Change::Put(rule));
                return Ok(format!("revision {revision}\n"));
            }
            Command::Key { id, state } => {
                let revision = self.node().key(*id, key_state(state)?);
                return Ok(format!("revision {revision}\n"));
            }
            Command::Forget(id) => {
                let revision = self.node().append(Change::ForgetKey { id: *id });
                return Ok(format!("revision {revision}\n"));
            }
            Command::SignWith(id) => {
                self.node().key_id = *id;
                return Ok(String::new());
            }
            Command::Keep(count) => {
                let dropped = self.node().history.truncate_front(*count);
                return Ok(format!("dropped {}\n", dropped));
            }
            Command::Pass(ms) => {
                self.now += ms;
                self.nodes.values_mut().for_each(|node| node.tick_ms += ms);
                return Ok(String::new());
            }
            Command::CutOff(ms) => {
                self.now += ms;
                return Ok(String::new());
            }
            Command::Verifier { pinned } => {
                let pinned = pinned.iter().map(|id| (*id, public_key(*id))).collect();
                self.follower = Follower::new(StandIn, pinned);
                self.now = 0;
                return Ok(String::new());
            }
            Command::Restart => {
                let view = self.follower.view().ok_or("nothing is stored")?.clone();
                self.follower = Follower::resume(StandIn, BTreeMap::new(), view);
                return Ok(String::new());
            }
            Command::Denies(name) => {
                let name = Identity::parse(name)?;
                let view = self.follower.view().ok_or("no view")?;
                let query = Query {
                    identities: &[name],
                    ..Query::default()
                };
                return Ok(if view.set.check(&query).is_some() {
                    "denied\n"
                } else {
                    "no rule\n"
                }
                .to_owned());
            }
            Command::Status => {
                let view = self
                    .follower
                    .view()
                    .map_or("nothing known".to_owned(), |view| {
                        format!(
                            "epoch {}, revision {}, {} rules",
                            view.epoch,
                            view.revision,
                            view.set.len()
                        )
                    });
                let age = self.follower.freshness().age(Monotonic(self.now));
                let age = age.map_or("age unknown".to_owned(), |age| {
                    format!("{} ms old", age.as_millis())
                });
                return Ok(format!("{view}, {age}\n"));
            }
            Command::Answer => {
                let hello = self.hello.clone().ok_or("no hello")?;
                let mut output = String::new();
                for event in self.node().answer(&hello) {
                    if let Event::Welcome(signed) = &event {
                        writeln!(output, "node answers: {:?}", signed.welcome.mode)?;
                    }
                    output += &self.handle(event)?;
                }
                return Ok(output);
            }
            Command::Connect => Event::Connected { nonce: NONCE },
            Command::Welcome(mode) => self.node().welcome(match mode.as_str() {
                "deltas" => Mode::Deltas,
                "snapshot" => Mode::Snapshot,
                "buckets" => Mode::Buckets,
                other => return Err(format!("no mode `{other}`").into()),
            }),
            Command::Chunk(number) => self.node().chunk(*number),
            Command::SnapshotEnd { but } => {
                let head = self.node().head();
                let checkpoint = self.signed(head, but.as_deref())?;
                match self.node().snapshot_end() {
                    Event::SnapshotEnd {
                        frontier,
                        policy_digest,
                        ..
                    } => Event::SnapshotEnd {
                        checkpoint,
                        frontier,
                        policy_digest,
                    },
                    other => other,
                }
            }
            Command::Delta { from, to, but } => self.delta(*from, *to, but.as_deref())?,
            Command::Heartbeat { but } => {
                let head = self.node().head();
                Event::Heartbeat(self.signed(head, but.as_deref())?)
            }
            Command::HoldHeartbeat => {
                self.held = Some(self.node().heartbeat());
                return Ok(String::new());
            }
            Command::Deliver => self.held.take().ok_or("nothing is on its way")?,
            Command::Reset { reason, after_ms } => {
                let retry_after = Duration::from_millis(*after_ms);
                Event::Reset {
                    reason: reset_reason(reason)?,
                    retry_after,
                }
            }
            Command::Disconnect => Event::Disconnected,
            Command::Malformed => Event::Malformed,
        };
        self.handle(event)
    }
}

fn run(script: &str) {
    goldenscript::run(&mut Scene::new(), format!("scripts/{script}.txt")).unwrap();
}

#[test]
fn a_verifier_applies_every_revision_in_order() {
    run("follow");
}

#[test]
fn knowledge_ages_by_the_verifiers_own_clock() {
    run("freshness");
}

#[test]
fn forged_and_forked_messages_change_nothing() {
    run("forgery");
}

#[test]
fn a_verifier_never_goes_backwards() {
    run("rollback");
}

#[test]
fn feed_keys_are_believed_as_the_feed_says() {
    run("feed_keys");
}

#[test]
fn unknown_entries_are_never_skipped() {
    run("upgrade");
}

#[test]
fn messages_out_of_turn_end_the_stream() {
    run("out_of_turn");
}

#[test]
fn a_checkpoint_has_one_encoding_and_one_version() {
    let authority = FeedNode::new();
    let checkpoint = authority.checkpoint_at(authority.head());
    let bytes = checkpoint.to_bytes();
    assert!(bytes.starts_with(b"hessra checkpoint v1\n"));
    assert_eq!(Checkpoint::from_bytes(&bytes), Ok(checkpoint));
    for length in 0..bytes.len() {
        assert!(
            Checkpoint::from_bytes(&bytes[..length]).is_err(),
            "{length} bytes of {}",
            hex(&bytes)
        );
    }
    assert!(Checkpoint::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
    let newer: Vec<u8> = bytes
        .iter()
        .enumerate()
        .map(|(at, byte)| if at == 21 { 2 } else { *byte })
        .collect();
    assert_eq!(
        Checkpoint::from_bytes(&newer),
        Err(hessra_revocation::DecodeError::Unknown(2))
    );
    assert_eq!(FEED_KEY, authority.signed().key_id);
}
