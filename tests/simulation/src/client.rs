//! A client: revokes, lifts, changes the policy and checks, retries what it got no answer to, and tells the oracle what
//! it was told.

use std::sync::Arc;
use std::time::Duration;

use hessra_revocation::{Cutoff, Identity, Revision, Target, TokenId};
use hessra_state::{Applied, Command, Lift, Policy, PolicyChange, RequestId, Revoke, Stamped};
use rand::Rng;

use crate::clock::Clock;
use crate::oracle::Reading;
use crate::plant::Plant;
use crate::runtime::random;
use crate::world::Shared;

/// How long a client waits for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// How often it asks again with the same request id before the outcome stays unknown.
const ATTEMPTS_MAX: usize = 4;

/// Asks nodes at random.
pub struct Client {
    id: u64,
    clock: Clock,
    shared: Arc<Shared>,
    /// Requests that were answered, asked again now and then: one effect, one answer.
    answered: Vec<Stamped>,
}

impl Client {
    /// A client with a number of its own, from 2000 on.
    pub fn new(id: u64, shared: Arc<Shared>) -> Self {
        let clock = Clock::random(shared.beginning);
        Self {
            id,
            clock,
            shared,
            answered: Vec::new(),
        }
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

    /// One revocation of something at random. True when it was acknowledged.
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
        let Some(state) = self.shared.any_node().state() else {
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
            restore: false,
            reason: "test".to_owned(),
        }))
        .await
    }

    async fn apply_policy(&mut self) -> bool {
        let Some(state) = self.shared.any_node().state() else {
            return false;
        };
        let based_on = state.policy().0;
        let policy = Policy::new(
            format!("# {}", random().gen_range(0..u32::MAX)),
            String::new(),
        );
        self.submit(Command::ApplyPolicy {
            based_on,
            policy,
            change: PolicyChange::default(),
        })
        .await
    }

    async fn submit(&mut self, command: Command) -> bool {
        let request = RequestId(random().r#gen());
        let stamped = Stamped {
            at: self.clock.wall(),
            by: format!("urn:client:{}", self.id),
            request,
            command,
        };
        let acknowledged = self.insist(&stamped).await;
        if acknowledged {
            self.answered.push(stamped);
        }
        acknowledged
    }

    async fn ask_again(&mut self) -> bool {
        if self.answered.is_empty() {
            return false;
        }
        let again = self.answered[random().gen_range(0..self.answered.len())].clone();
        self.insist(&again).await
    }

    /// Asks until there is an answer, always with the same request id.
    async fn insist(&self, stamped: &Stamped) -> bool {
        let invoked_after = self.shared.oracle.newest_acknowledged();
        let first_time = !self
            .answered
            .iter()
            .any(|known| known.request == stamped.request);
        for _ in 0..ATTEMPTS_MAX {
            let answer = tokio::time::timeout(ANSWER_MAX, self.ask(stamped))
                .await
                .ok()
                .flatten();
            if let Some(applied) = answer {
                self.shared.count(|counts| counts.acknowledged += 1);
                match (&stamped.command, first_time) {
                    (Command::Revoke(revoke), true) => self.shared.oracle.revoke_was_acknowledged(
                        stamped.request,
                        invoked_after,
                        &revoke.targets,
                        &applied,
                    ),
                    _ => self
                        .shared
                        .oracle
                        .write_was_acknowledged(stamped.request, &applied),
                }
                return true;
            }
            tokio::time::sleep(Duration::from_millis(random().gen_range(20..200))).await;
        }
        self.shared.count(|counts| counts.unknown += 1);
        false
    }

    async fn ask(&self, stamped: &Stamped) -> Option<Applied> {
        let node = self.shared.any_node();
        self.shared.network.cross(self.id, node.id).await;
        let mut applied = node.propose(vec![stamped.clone()]).await?;
        self.shared.network.cross(node.id, self.id).await;
        applied.pop()
    }

    /// One linearizable check. True when it was answered.
    async fn check(&mut self) -> bool {
        let identity = any_identity();
        let invoked_after = self.shared.oracle.newest_acknowledged();
        let reading = tokio::time::timeout(ANSWER_MAX, self.read(&identity))
            .await
            .ok()
            .flatten();
        match reading {
            Some(reading) => {
                self.shared.count(|counts| counts.checked += 1);
                self.shared
                    .oracle
                    .check_was_answered(&identity, invoked_after, reading);
            }
            None => self.shared.count(|counts| counts.unanswered += 1),
        }
        reading.is_some()
    }

    async fn read(&self, identity: &Identity) -> Option<Reading> {
        let node = self.shared.any_node();
        self.shared.network.cross(self.id, node.id).await;
        let state = match self.shared.options.plant {
            Some(Plant::StaleRead) => node.state()?,
            _ => node.read_index().await?,
        };
        let view = state.view();
        let revoked = view
            .set
            .rule(
                hessra_revocation::RuleKind::Subtree,
                &Target::Subtree(identity.clone()).digest(view.set.salt()),
            )
            .is_some();
        let reading = Reading {
            as_of: view.revision,
            revoked,
        };
        self.shared.network.cross(node.id, self.id).await;
        Some(reading)
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
