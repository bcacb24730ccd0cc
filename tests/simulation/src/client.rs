//! A client: revokes, lifts, changes the policy and checks, retries what it got no answer to, and tells the oracle what
//! it was told.

use std::sync::Arc;
use std::time::Duration;

use hessra_consensus::WriteError;
use hessra_revocation::{Cutoff, Identity, Revision, Target, TokenId};
use hessra_state::{
    Applied, Author, Command, Lift, PolicyChange, PolicyOrigin, RequestId, Revoke, State,
};
use rand::Rng;
use tokio::time::{Instant, timeout};

use crate::cluster::Cluster;
use crate::journal::Trust;
use crate::node::{Life, Node};
use crate::oracle::Reading;
use crate::people::{CLIENT, author, author_elsewhere, policy};
use crate::runtime::random;

/// Time for which a client waits for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Attempts with the same request id before the outcome stays unknown.
const ATTEMPTS_MAX: usize = 4;

/// Client that asks nodes at random.
pub struct Client {
    id: u64,
    cluster: Arc<Cluster>,
    has_right_clock: bool,
    /// Requests that were answered, asked again now and then: one effect, one answer.
    answered: Vec<Wanted>,
}

/// A request for a change. A retry carries the same id.
#[derive(Clone)]
struct Wanted {
    author: Author,
    request: RequestId,
    command: Command,
}

/// Answer of one try.
enum Answer {
    Done(Applied),
    /// Refusal: nothing was written.
    Refused,
    /// No answer of use: it may have been written, or not.
    Unknown,
}

impl Client {
    /// A client with a number of its own, from 2000 on.
    pub fn new(id: u64, cluster: Arc<Cluster>) -> Self {
        Self {
            id,
            cluster,
            has_right_clock: false,
            answered: Vec::new(),
        }
    }

    /// A client whose machine has the true time. Others have that of some node, which may be off.
    pub fn with_right_clock(id: u64, cluster: Arc<Cluster>) -> Self {
        Self {
            has_right_clock: true,
            ..Self::new(id, cluster)
        }
    }

    /// Time as it signs, in Unix seconds.
    fn now(&self) -> u64 {
        let node = self.cluster.any_node();
        match self.has_right_clock {
            true => node.clock.true_wall(),
            false => node.clock.wall(),
        }
        .seconds()
        .0
    }

    /// Works until the world stops it.
    pub async fn work(mut self) {
        loop {
            tokio::time::sleep(Duration::from_millis(random().gen_range(5..120))).await;
            match random().gen_range(0..100) {
                0..45 => self.revoke().await,
                45..52 => self.lift().await,
                52..58 => self.apply_policy().await,
                58..66 => self.ask_again().await,
                _ => self.check().await,
            };
        }
    }

    /// Revokes something at random. True when it was acknowledged.
    pub async fn revoke(&mut self) -> bool {
        let count = random().gen_range(1..4);
        let targets: Vec<Target> = (0..count).map(|_| any_target()).collect();
        let revoke = Revoke {
            targets,
            permanent: random().gen_bool(0.3),
            until: None,
            reason: "test".to_owned(),
            ticket: String::new(),
            message: String::new(),
        };
        self.submit(Command::Revoke(revoke)).await
    }

    async fn lift(&mut self) -> bool {
        let Some(state) = self.cluster.any_node().state() else {
            return false;
        };
        let permanent = state
            .revocations()
            .values()
            .filter(|revocation| revocation.cutoff == Cutoff::Permanent);
        let candidates: Vec<Revision> = permanent.map(|revocation| revocation.revision).collect();
        if candidates.is_empty() {
            return false;
        }
        let revision = candidates[random().gen_range(0..candidates.len())];
        self.submit(Command::Lift(Lift {
            revision,
            of: None,
            restore: false,
            reason: "test".to_owned(),
        }))
        .await
    }

    async fn apply_policy(&mut self) -> bool {
        let Some(state) = self.cluster.any_node().state() else {
            return false;
        };
        let based_on = state.policy().0;
        let policy = policy(random().gen_range(0..u32::MAX));
        self.submit(Command::ApplyPolicy {
            based_on,
            policy,
            change: PolicyChange {
                origin: PolicyOrigin::Operator,
                ..PolicyChange::default()
            },
        })
        .await
    }

    async fn submit(&mut self, command: Command) -> bool {
        let request = RequestId(random().r#gen());
        let now = self.now();
        // Certificates of people are renewed by an authority that not every node trusts yet.
        let is_ahead = self.cluster.journal().trust() != Trust::OfNone && random().gen_bool(0.5);
        let author = match is_ahead {
            true => author_elsewhere(CLIENT, request, &command, now),
            false => author(CLIENT, request, &command, now),
        };
        let wanted = Wanted {
            request,
            author,
            command,
        };
        self.cluster.journal().note_signed(&wanted.author);
        let acknowledged = self.insist(&wanted, true).await;
        if acknowledged {
            self.answered.push(wanted);
        }
        acknowledged
    }

    async fn ask_again(&mut self) -> bool {
        if self.answered.is_empty() {
            return false;
        }
        let again = self.answered[random().gen_range(0..self.answered.len())].clone();
        self.insist(&again, false).await
    }

    /// Asks until there is an answer, always with the same request id.
    async fn insist(&self, wanted: &Wanted, is_first: bool) -> bool {
        let oracle = &self.cluster.oracle();
        let invoked_after = oracle.newest_acknowledged();
        let mut may_be_written = !is_first;
        // The next try goes to the next server, as the SDK does.
        let first: usize = random().gen_range(0..1_000);
        for attempt in 0..ATTEMPTS_MAX {
            let node = self.cluster.node_at(first + attempt);
            // Who has the right time has the right list of servers too: machines that wait to be added are not on it.
            let knows_leader = |life: Life| life.consensus.raft().leader().is_some();
            if self.has_right_clock && !node.life().is_some_and(knows_leader) {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
            match timeout(ANSWER_MAX, self.ask(&node, wanted)).await {
                Ok(Answer::Done(applied)) => {
                    self.cluster
                        .journal()
                        .count(|counts| counts.acknowledged += 1);
                    match (&wanted.command, is_first) {
                        (Command::Revoke(revoke), true) => oracle.revoke_was_acknowledged(
                            wanted.request,
                            invoked_after,
                            &revoke.targets,
                            &applied,
                        ),
                        _ => oracle.write_was_acknowledged(wanted.request, &applied),
                    }
                    return true;
                }
                Ok(Answer::Refused) => {}
                Ok(Answer::Unknown) | Err(_) => may_be_written = true,
            }
            tokio::time::sleep(Duration::from_millis(random().gen_range(20..200))).await;
        }
        if may_be_written {
            self.cluster.journal().count(|counts| counts.unknown += 1);
        } else {
            self.cluster.journal().count(|counts| counts.refused += 1);
            oracle.write_was_refused(wanted.request);
        }
        false
    }

    async fn ask(&self, node: &Node, wanted: &Wanted) -> Answer {
        let Some(life) = node.life() else {
            return Answer::Unknown;
        };
        let Wanted {
            author,
            request,
            command,
        } = wanted.clone();
        let deadline = Instant::now() + ANSWER_MAX;
        let answered = life
            .ask(self.id, move |life| {
                life.propose(author, request, command, deadline)
            })
            .await;
        self.cluster.journal().trace(|| {
            let said = answered.as_ref().map(|answered| match answered {
                Ok(committed) => format!("committed at {}", committed.index),
                Err(error) => error.to_string(),
            });
            let said = said.unwrap_or_else(|| "nothing".to_owned());
            format!("client {} hears from node {}: {said}", self.id, node.id)
        });
        match answered {
            Some(Ok(committed)) => Answer::Done(committed.applied),
            Some(Err(
                WriteError::NoLeader
                | WriteError::NoRoom(_)
                | WriteError::ClockOff(_)
                | WriteError::Overloaded
                | WriteError::Unproved(_)
                | WriteError::Changing
                | WriteError::Unaudited(_),
            )) => Answer::Refused,
            Some(Err(WriteError::Unknown | WriteError::Stopped(_))) | None => Answer::Unknown,
        }
    }

    /// Makes one linearizable check. True when it was answered.
    async fn check(&mut self) -> bool {
        let identity = any_identity();
        let invoked_after = self.cluster.oracle().newest_acknowledged();
        let read = timeout(ANSWER_MAX, self.read()).await.ok().flatten();
        let reading = read.map(|state| reading(&state, &identity));
        match reading {
            Some(reading) => {
                self.cluster.journal().count(|counts| counts.checked += 1);
                self.cluster
                    .oracle()
                    .check_was_answered(&identity, invoked_after, reading);
            }
            None => self
                .cluster
                .journal()
                .count(|counts| counts.unanswered += 1),
        }
        reading.is_some()
    }

    async fn read(&self) -> Option<Arc<State>> {
        let life = self.cluster.any_node().life()?;
        let deadline = Instant::now() + ANSWER_MAX;
        let answered = life.ask(self.id, move |life| life.read(deadline)).await;
        answered?.ok()
    }
}

fn reading(state: &State, identity: &Identity) -> Reading {
    let view = state.view();
    let target = Target::Subtree(identity.clone());
    let digest = target.digest(view.set.salt());
    Reading {
        as_of: view.revision,
        revoked: view.set.rule(target.kind(), &digest).is_some(),
    }
}

fn any_identity() -> Identity {
    let mut text = format!("urn:sim:s{}", random().gen_range(0..12));
    if random().gen_bool(0.5) {
        text.push_str(&format!(":t{}", random().gen_range(0..4)));
    }
    Identity::parse(&text).expect("made of canonical segments")
}

fn any_target() -> Target {
    match random().gen_range(0..4) {
        0 => {
            let mut id = [0; 64];
            random().fill(&mut id);
            Target::Token(TokenId::new(&id).expect("64 bytes are a token id"))
        }
        1 => Target::Exact(any_identity()),
        _ => Target::Subtree(any_identity()),
    }
}
