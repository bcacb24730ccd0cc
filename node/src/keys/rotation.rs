//! Keys that are old are replaced by the leader, unasked: a successor is prepared, published, and activated once every
//! verifier can know it.
//!
//! The steps are decided from the state alone ([`due`]), so a new leader goes on where the last one stopped, and
//! two leaders do no harm: the state machine takes one of two answers.

use std::time::Duration;

use hessra_revocation::{KeyPurpose, KeyState, UnixMillis};
use hessra_state::{Applied, Command, Duty, KeyCommand, SealedKey, State};
use opentelemetry::KeyValue;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::generate::new_key;
use super::ready_in;
use crate::seal::KekRing;
use crate::signer::active_key;
use crate::telemetry::Metrics;
use crate::world::Consensus;

/// Time between looks. A rotation is a matter of days; its steps are a few seconds apart.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A step for the keys of one purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is no successor yet.
    Prepare(KeyPurpose),
    /// The successor has been published for long enough.
    Activate(u32),
}

/// Times at which keys are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Time for which a key signs. `None`: until somebody replaces it.
    pub rotate_every: Option<Duration>,
    /// Time for which a successor must have been published.
    pub published_for_min: Duration,
}

/// Steps that are due now.
#[must_use]
pub fn due(state: &State, schedule: &Schedule, now: UnixMillis) -> Vec<Step> {
    let Some(every) = schedule.rotate_every else {
        return Vec::new();
    };
    let is_old = |key: &SealedKey| age(key, now) >= every;
    let old = |purpose: &KeyPurpose| active_key(state, *purpose).is_some_and(is_old);
    let step = |purpose| match successor(state, purpose) {
        None => Some(Step::Prepare(purpose)),
        Some(key) => ready_in(key, schedule.published_for_min, now)
            .is_zero()
            .then_some(Step::Activate(key.id)),
    };
    KeyPurpose::ALL
        .into_iter()
        .filter(old)
        .filter_map(step)
        .collect()
}

/// The prepared key that was published first.
#[must_use]
pub fn successor(state: &State, purpose: KeyPurpose) -> Option<&SealedKey> {
    let prepared = |key: &&SealedKey| key.purpose == purpose && key.state == KeyState::Prepared;
    state.keys().values().find(prepared)
}

fn age(key: &SealedKey, now: UnixMillis) -> Duration {
    Duration::from_millis(now.0.saturating_sub(key.since.0))
}

/// Takes the steps that are due while this node leads, and reports how old keys are; ends with `stop`.
pub async fn run(consensus: Consensus, keks: KekRing, schedule: Schedule, stop: CancellationToken) {
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = look.tick() => {}
            () = stop.cancelled() => return,
        }
        let (state, now) = (consensus.state(), consensus.world().clock.wall());
        report_ages(&consensus.world().metrics, &state, now);
        if consensus.raft().is_leader() && state.is_initialized() {
            for step in due(&state, &schedule, now) {
                take(&consensus, &keks, &schedule, step).await;
            }
        }
    }
}

fn report_ages(metrics: &Metrics, state: &State, now: UnixMillis) {
    for purpose in KeyPurpose::ALL {
        if let Some(key) = active_key(state, purpose) {
            let labels = [KeyValue::new("purpose", purpose.word())];
            metrics.key_age.record(age(key, now).as_secs(), &labels);
        }
    }
}

async fn take(consensus: &Consensus, keks: &KekRing, schedule: &Schedule, step: Step) {
    let command = match step {
        Step::Activate(id) => KeyCommand::Activate {
            id,
            instead_of: None,
            published_for_min: Some(schedule.published_for_min),
        },
        Step::Prepare(purpose) => {
            let id = consensus.state().unused_key_id();
            match new_key(keks, id, purpose, KeyState::Prepared) {
                Ok(key) => KeyCommand::Prepare(key),
                Err(error) => return warn!(%error, "no successor of an old key was prepared"),
            }
        }
    };
    let (asked, deadline) = (
        consensus.asked_by_node(Duty::Rotation),
        consensus.deadline(),
    );
    let committed = consensus
        .propose(Command::Key(command), asked, deadline)
        .await;
    match committed.map(|committed| committed.applied) {
        Ok(Applied::KeyChanged { id, state, .. }) => {
            info!(key = id, state = state.word(), "rotated by schedule");
        }
        Ok(other) => warn!(?step, ?other, "a step of the rotation was refused"),
        Err(error) => warn!(?step, %error, "a step of the rotation was not taken"),
    }
}

#[cfg(test)]
mod tests {
    use hessra_revocation::{FeedId, FeedSalt, PublicKeyRecord};
    use hessra_state::{Init, Machine, Policy};

    use super::*;
    use crate::anyone::apply;

    const DAY: Duration = Duration::from_secs(86_400);
    const BOUND: Duration = Duration::from_secs(10);

    fn key(id: u32, purpose: KeyPurpose, state: KeyState) -> SealedKey {
        let public_key = [u8::try_from(id).unwrap(); 32];
        let record = PublicKeyRecord {
            id,
            purpose,
            state,
            public_key,
        };
        SealedKey::new(record, vec![1])
    }

    fn begun() -> Machine {
        let mut state = Machine::new();
        let init = Init {
            feed_id: FeedId([1; 16]),
            salt: FeedSalt([2; 16]),
            keys: vec![
                key(1, KeyPurpose::Token, KeyState::Active),
                key(2, KeyPurpose::Feed, KeyState::Active),
            ],
            policy: Policy::new(String::new(), String::new()),
        };
        apply(&mut state, UnixMillis(0), Command::Init(init));
        state
    }

    fn after(duration: Duration) -> UnixMillis {
        UnixMillis(u64::try_from(duration.as_millis()).unwrap())
    }

    fn schedule(every: Option<Duration>) -> Schedule {
        Schedule {
            rotate_every: every,
            published_for_min: BOUND,
        }
    }

    #[test]
    fn nothing_is_due_before_the_time_and_never_without_a_schedule() {
        let state = begun();
        let almost = after(DAY - Duration::from_millis(1));
        assert_eq!(due(&state, &schedule(Some(DAY)), almost), []);
        assert_eq!(due(&state, &schedule(None), after(DAY * 1000)), []);
    }

    #[test]
    fn an_old_key_gets_a_successor_that_signs_once_it_can_be_known_everywhere() {
        let (mut state, schedule) = (begun(), schedule(Some(DAY)));
        let prepare = [
            Step::Prepare(KeyPurpose::Token),
            Step::Prepare(KeyPurpose::Feed),
        ];
        assert_eq!(due(&state, &schedule, after(DAY)), prepare);
        let token = key(4, KeyPurpose::Token, KeyState::Prepared);
        let command = Command::Key(KeyCommand::Prepare(token));
        apply(&mut state, after(DAY), command);
        let waiting = after(DAY + BOUND - Duration::from_millis(1));
        assert_eq!(due(&state, &schedule, waiting), prepare[1..]);
        let ready = due(&state, &schedule, after(DAY + BOUND));
        assert_eq!(ready, [Step::Activate(4), prepare[1]]);
        let activate = KeyCommand::Activate {
            id: 4,
            published_for_min: Some(BOUND),
            instead_of: None,
        };
        apply(&mut state, after(DAY + BOUND), Command::Key(activate));
        let later = after(DAY + BOUND * 2);
        assert_eq!(
            due(&state, &schedule, later),
            prepare[1..],
            "the new one is young"
        );
    }
}
