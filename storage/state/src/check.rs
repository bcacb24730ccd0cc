//! Checks between the records of one state. [`crate::rebuild`] runs them.

use std::collections::{BTreeMap, BTreeSet};

use hessra_revocation::{
    Change as FeedChange, Digest, Epoch, FeedEntry, KeyPurpose, KeyState, Revision, RuleKind,
    UnixSeconds,
};
use imbl::OrdMap;

use crate::invalid::{InvalidRecords, invalid, require};
use crate::limits::{CONTEXTS_MAX, KEYS_MAX, LEDGER_MAX, WITNESSED_MAX};
use crate::version::NEWEST;
use crate::{Meta, PolicyVersions, SealedKey, State};

pub(crate) fn meta(meta: &Meta) -> Result<(), InvalidRecords> {
    if meta.version > NEWEST {
        return Err(InvalidRecords::Upgrade {
            found: meta.version,
        });
    }
    // A restore from a backup, which begins another epoch, arrives with a newer version.
    // Counters that a lifetime of commands cannot reach; near the end of their range the next command would overflow.
    let plausible = meta
        .revision
        .0
        .max(meta.next_sequence)
        .max(meta.keyset_version)
        .max(meta.next_pending)
        .max(meta.clock_set_backs)
        < 1 << 62;
    require(plausible, || {
        format!("revision {} was never reached", meta.revision)
    })?;
    require(meta.version > 0 && meta.epoch == Epoch(1), || {
        format!(
            "version {} with epoch {} was never written",
            meta.version, meta.epoch
        )
    })?;
    require(meta.floor <= meta.revision, || {
        format!("floor {} is above revision {}", meta.floor, meta.revision)
    })
}

pub(crate) fn policies(meta: &Meta, policies: &PolicyVersions) -> Result<(), InvalidRecords> {
    let Some(current) = policies.newest() else {
        return require(meta.revision == Revision(0), || {
            "its policy is missing".to_owned()
        });
    };
    require(meta.revision > Revision(0), || {
        "it has a policy although the cluster has not begun".to_owned()
    })?;
    require(
        policies.len() as u64 == meta.policy_versions && policies.is_within_limits(),
        || {
            format!(
                "it keeps {} versions of the policy, not {}",
                policies.len(),
                meta.policy_versions
            )
        },
    )?;
    require(
        current.revision == meta.policy_revision && current.revision <= meta.revision,
        || {
            format!(
                "its policy is of revision {}, not {}",
                current.revision, meta.policy_revision
            )
        },
    )?;
    let sound = policies
        .iter()
        .all(|version| version.policy.check().is_ok());
    require(sound && current.policy.digest == meta.policy_digest, || {
        "its policy has another digest than the feed says".to_owned()
    })
}

pub(crate) fn keys(meta: &Meta, keys: &OrdMap<u32, SealedKey>) -> Result<(), InvalidRecords> {
    let within = keys.len() <= KEYS_MAX && keys.len() as u64 <= meta.keyset_version;
    require(within, || {
        format!(
            "it has {} keys but key set version {}",
            keys.len(),
            meta.keyset_version
        )
    })?;
    for key in keys.values() {
        let dated = key.changed_at > Revision(0) && key.changed_at <= meta.revision;
        require(dated, || {
            format!("key {} changed at revision {}", key.id, key.changed_at)
        })?;
        require(key.id < meta.next_key_id, || {
            format!("key {} is from the future", key.id)
        })?;
        let timed = key.published <= key.since && key.since <= meta.clock;
        require(timed, || {
            format!(
                "key {} was published after it changed, or later than now",
                key.id
            )
        })?;
        let sealed = key.sealed.is_empty() != key.needs_private_half();
        require(sealed, || {
            format!(
                "key {} has its private half exactly when it must not",
                key.id
            )
        })?;
    }
    for purpose in KeyPurpose::ALL {
        let active = keys
            .values()
            .filter(|key| key.purpose == purpose && key.state == KeyState::Active)
            .count();
        require(active <= 1, || {
            format!("{active} keys are active for {purpose:?}")
        })?;
    }
    Ok(())
}

/// Checks that each rule is what its revocations imply, and that each revoked target has its rule. Only a lock that
/// ended may have lost its rule, to a collection.
pub(crate) fn rules(state: &State) -> Result<(), InvalidRecords> {
    let salt = state.view.set.salt();
    let mut current = 0;
    for (kind, digest) in state.revocations.targets(salt) {
        let rule = state.view.set.rule(kind, &digest);
        let live = state
            .revocations
            .implied(salt, (kind, digest), state.settled.seconds());
        let ever = state
            .revocations
            .implied(salt, (kind, digest), UnixSeconds(0));
        let agrees = match (rule, live, ever) {
            (Some(rule), _, Some((_, ever))) => rule == ever,
            (None, None, _) => true,
            (Some(_), _, None) | (None, Some(_), _) => false,
        };
        require(agrees, || {
            format!("rule {kind:?} {digest:?} is not what its revocations imply")
        })?;
        current += usize::from(rule.is_some());
    }
    require(current == state.view.set.len(), || {
        "it has a rule that no revocation made".to_owned()
    })
}

/// Checks that the last retained entry about a rule, a key or the policy agrees with the state.
pub(crate) fn recent(
    state: &State,
    entries: &BTreeMap<Revision, Vec<u8>>,
) -> Result<(), InvalidRecords> {
    let mut said = BTreeSet::new();
    for (revision, bytes) in entries.iter().rev() {
        let change = decode(*revision, bytes)?.change;
        let (about, stands) = match &change {
            FeedChange::Put(rule) => {
                let stands = state.view.set.rule(rule.kind, &rule.digest) == Some(*rule);
                (About::Rule(rule.kind, rule.digest), stands)
            }
            FeedChange::Remove { kind, digest } => (
                About::Rule(*kind, *digest),
                state.view.set.rule(*kind, digest).is_none(),
            ),
            FeedChange::Key(key) => {
                let stands = state
                    .keys
                    .get(&key.id)
                    .is_some_and(|known| known.public() == *key && known.changed_at == *revision);
                (About::Key(key.id), stands)
            }
            FeedChange::ForgetKey { id } => (About::Key(*id), !state.keys.contains_key(id)),
            FeedChange::Policy { digest } => (
                About::Policy,
                state.policy().0 == *revision && state.policy().1.digest == *digest,
            ),
            FeedChange::Restore { .. } => {
                return Err(invalid(format!("feed entry {revision} restores a backup")));
            }
        };
        let is_last = said.insert(about);
        require(stands || !is_last, || {
            format!("what feed entry {revision} says does not stand")
        })?;
    }
    Ok(())
}

/// Checks that the ledger and the contexts are within their limits and hold nothing from the future.
pub(crate) fn timed(state: &State) -> Result<(), InvalidRecords> {
    let within = state.ledger.len() <= LEDGER_MAX && state.contexts.len() <= CONTEXTS_MAX;
    require(within, || {
        format!(
            "it has {} spent facets and {} sessions",
            state.ledger.len(),
            state.contexts.len()
        )
    })?;
    let dated = state
        .ledger
        .iter()
        .all(|(_, spent)| spent.at <= state.clock);
    require(dated, || "a facet was spent in the future".to_owned())?;
    let counted = state
        .contexts
        .iter()
        .all(|(_, context)| context.version > 0);
    require(counted, || "a session never began".to_owned())
}

/// Checks that no witnessed head is missing, or from the future.
pub(crate) fn witnessed(meta: &Meta, state: &State) -> Result<(), InvalidRecords> {
    let found = state.witnessed.len();
    let whole = found as u64 == meta.witnessed && found <= WITNESSED_MAX;
    require(whole, || {
        format!("it has {found} audit chains, not {}", meta.witnessed)
    })?;
    let mut heads = state.witnessed.iter();
    let dated = heads.all(|known| known.at <= state.clock && known.head.seq > 0);
    require(dated, || {
        "an audit chain was witnessed in the future".to_owned()
    })
}

fn decode(revision: Revision, bytes: &[u8]) -> Result<FeedEntry, InvalidRecords> {
    let entry = FeedEntry::from_bytes(bytes)
        .map_err(|error| invalid(format!("feed entry {revision}: {error}")))?;
    require(entry.revision == revision, || {
        format!("feed entry {revision} says that it is {}", entry.revision)
    })?;
    Ok(entry)
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum About {
    Rule(RuleKind, Digest),
    Key(u32),
    Policy,
}
