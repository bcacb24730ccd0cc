//! Keys: public parts, sealed private parts, states. One table says which state may follow which.
//!
//! ```text
//! prepared ──activate──▶ active ──(successor activated)──▶ retired ──(all it signed expired)──▶ forgotten
//!     │                    │                                  │
//!     └──────revoke────────┴────────────revoke────────────────┴──▶ revoked, remembered for ever
//! ```
//!
//! A purpose has at most one active key. An id is never used twice: the next one is counted. A key signs only after it
//! has been published for as long as the command demands, measured on the state's clock, so that no verifier meets a
//! signature by a key that it has not heard of; only a command that says so skips that wait.

use std::collections::BTreeSet;
use std::time::Duration;

use hessra_revocation::{KeyPurpose, KeyState, UnixMillis};
use imbl::OrdMap;

use crate::command::{Envelope, KeyCommand};
use crate::limits::{KEY_ID_SKIP_MAX, KEYS_MAX, PREPARED_KEYS_MAX, SEALED_BYTES_MAX};
use crate::refusal::{Refusal, RefusalCode};
use crate::sealed_key::SealedKey;

/// True when `to` may follow `from`. Nothing else decides it.
#[must_use]
pub fn may_follow(from: KeyState, to: KeyState) -> bool {
    use KeyState::{Active, Prepared, Retired, Revoked};
    match (from, to) {
        (Prepared, Active) | (Active, Retired) => true,
        (Prepared | Active | Retired, Revoked) => true,
        (Prepared | Active | Retired | Revoked, _) => false,
    }
}

/// Keys of a state, with the clock and the next id that decisions need.
pub(crate) struct Keys<'a> {
    pub keys: &'a OrdMap<u32, SealedKey>,
    /// Next key id: every id below was used.
    pub next_id: u32,
    pub clock: UnixMillis,
}

impl Keys<'_> {
    /// Decides a command: the keys as they must become, in the order of their feed entries. Empty: the key already has
    /// that state.
    pub(crate) fn decide(&self, command: &KeyCommand) -> Result<Vec<SealedKey>, Refusal> {
        match command {
            KeyCommand::Prepare(key) => self.prepare(key),
            KeyCommand::Activate {
                id,
                published_for_min,
                instead_of,
            } => {
                instead_of.map_or(Ok(()), |old| self.check_successor(old, *id))?;
                self.check_published(*id, *published_for_min)?;
                self.change(*id, KeyState::Active)
            }
            KeyCommand::Retire(id) => self.change(*id, KeyState::Retired),
            KeyCommand::Revoke(id) => self.change(*id, KeyState::Revoked),
            KeyCommand::Rewrap(envelopes) => self.rewrap(envelopes),
        }
    }

    /// Checks that a key is the one that signs when another one is retired: the first prepared one of its purpose.
    fn check_successor(&self, old: u32, id: u32) -> Result<(), Refusal> {
        let active = self
            .keys
            .get(&old)
            .filter(|key| key.state == KeyState::Active);
        let heir = active.and_then(|active| {
            let follows =
                |key: &&SealedKey| key.purpose == active.purpose && key.state == KeyState::Prepared;
            self.keys.values().find(follows)
        });
        if heir.is_some_and(|heir| heir.id == id) {
            return Ok(());
        }
        let message = format!(
            "key {id} is not the successor of key {old}; list the keys, and say which of them is to sign"
        );
        Err(Refusal::new(RefusalCode::Conflict, message))
    }

    fn prepare(&self, key: &SealedKey) -> Result<Vec<SealedKey>, Refusal> {
        if key.state != KeyState::Prepared {
            return Err(Refusal::invalid(format!(
                "key {} is new and must come as prepared; activate it later",
                key.id
            )));
        }
        self.check_new(key)?;
        let is_prepared =
            |other: &&SealedKey| other.purpose == key.purpose && other.state == KeyState::Prepared;
        if self.keys.values().filter(is_prepared).count() >= PREPARED_KEYS_MAX {
            let message = format!(
                "{PREPARED_KEYS_MAX} {} keys are prepared, the most that can be; activate or revoke one of them",
                key.purpose.word()
            );
            return Err(Refusal::new(RefusalCode::Limit, message));
        }
        Ok(vec![key.clone()])
    }

    fn check_new(&self, key: &SealedKey) -> Result<(), Refusal> {
        if self.keys.len() >= KEYS_MAX {
            let message = format!(
                "the cluster holds {KEYS_MAX} keys, the most it can; wait until retired ones are forgotten, or start a \
                 new cluster when nearly all are revoked"
            );
            return Err(Refusal::new(RefusalCode::Limit, message));
        }
        check_sealed(key.id, &key.sealed)?;
        self.check_id(key.id)?;
        match self
            .keys
            .values()
            .find(|known| known.public_key == key.public_key)
        {
            Some(known) => Err(Refusal::new(
                RefusalCode::Conflict,
                format!(
                    "key {} is key {} under another id; generate a new one",
                    key.id, known.id
                ),
            )),
            None => Ok(()),
        }
    }

    /// Checks a new id. An id names one key for ever: tokens and people remember it for longer than the state does.
    fn check_id(&self, id: u32) -> Result<(), Refusal> {
        if id < self.next_id {
            let message = format!("key id {id} is taken; choose an unused one");
            return Err(Refusal::new(RefusalCode::Conflict, message));
        }
        if id - self.next_id > KEY_ID_SKIP_MAX {
            return Err(Refusal::invalid(format!(
                "key id {id} is far beyond the next one, {}; choose that",
                self.next_id
            )));
        }
        Ok(())
    }

    /// Checks that a key has been published for long enough to sign: as long as the command demands, which is the bound
    /// beyond which no verifier relies on its knowledge. Nothing else decides it.
    fn check_published(&self, id: u32, min: Option<Duration>) -> Result<(), Refusal> {
        let (Some(key), Some(min)) = (self.keys.get(&id), min) else {
            return Ok(());
        };
        let published = Duration::from_millis(self.clock.0.saturating_sub(key.published.0));
        if key.state != KeyState::Prepared || published >= min {
            return Ok(());
        }
        let message = format!(
            "key {id} has been published for {} of {} ms, and a verifier that has not heard of it would deny what it \
             signs; wait for {} ms, or force it in an emergency",
            published.as_millis(),
            min.as_millis(),
            (min - published).as_millis()
        );
        Err(Refusal::new(RefusalCode::KeyState, message))
    }

    /// Puts other envelopes around the same private halves; verifiers notice nothing.
    fn rewrap(&self, envelopes: &[Envelope]) -> Result<Vec<SealedKey>, Refusal> {
        let ids: BTreeSet<u32> = envelopes.iter().map(|envelope| envelope.id).collect();
        if ids.len() != envelopes.len() || ids.is_empty() {
            return Err(Refusal::invalid(
                "a rewrap names each key once, and at least one; seal them again",
            ));
        }
        envelopes
            .iter()
            .map(|envelope| self.resealed(envelope))
            .collect()
    }

    fn resealed(&self, envelope: &Envelope) -> Result<SealedKey, Refusal> {
        let key = self.find(envelope.id)?;
        check_sealed(key.id, &envelope.sealed)?;
        if !key.needs_private_half() {
            let message = format!(
                "key {} is {} and has no private half any more; leave it out",
                key.id,
                key.state.word()
            );
            return Err(Refusal::new(RefusalCode::KeyState, message));
        }
        Ok(SealedKey {
            sealed: envelope.sealed.clone(),
            ..key.clone()
        })
    }

    fn find(&self, id: u32) -> Result<&SealedKey, Refusal> {
        self.keys.get(&id).ok_or_else(|| {
            Refusal::new(
                RefusalCode::NotFound,
                format!("no key has the id {id}; list the keys to see which exist"),
            )
        })
    }

    fn change(&self, id: u32, to: KeyState) -> Result<Vec<SealedKey>, Refusal> {
        let key = self.find(id)?;
        if key.state == to {
            return Ok(Vec::new());
        }
        if !may_follow(key.state, to) {
            return Err(refuse_step(key, to));
        }
        let mut changed = Vec::new();
        match to {
            // The predecessor first: at no revision are there two active keys of a purpose.
            KeyState::Active => changed.extend(
                active(self.keys, key.purpose).map(|old| old.with_state(KeyState::Retired)),
            ),
            KeyState::Retired => return Err(refuse_last(key, to)),
            KeyState::Revoked if is_last(self.keys, key) => return Err(refuse_last(key, to)),
            KeyState::Revoked | KeyState::Prepared => {}
        }
        changed.push(key.with_state(to));
        Ok(changed)
    }
}

/// Id of the key that a command is about; `None` when it is about several.
pub(crate) fn id_of(command: &KeyCommand) -> Option<u32> {
    match command {
        KeyCommand::Prepare(key) => Some(key.id),
        KeyCommand::Activate { id, .. } | KeyCommand::Retire(id) | KeyCommand::Revoke(id) => {
            Some(*id)
        }
        KeyCommand::Rewrap(_) => None,
    }
}

/// Checks the keys of a new cluster: one active for tokens, one for the feed, at most one for the audit trail, no id or
/// public key twice, further keys prepared.
pub(crate) fn check_first(keys: &[SealedKey]) -> Result<(), Refusal> {
    for purpose in [KeyPurpose::Token, KeyPurpose::Feed] {
        let active = keys
            .iter()
            .filter(|key| key.purpose == purpose && key.state == KeyState::Active)
            .count();
        if active != 1 {
            return Err(Refusal::invalid(format!(
                "a cluster begins with exactly one active {} key, not {active}; generate one",
                purpose.word()
            )));
        }
    }
    let auditing = keys
        .iter()
        .filter(|key| key.purpose == KeyPurpose::Audit && key.state == KeyState::Active);
    if auditing.count() > 1 {
        return Err(Refusal::invalid(
            "a cluster begins with at most one active audit key; leave the others out",
        ));
    }
    if keys
        .iter()
        .any(|key| !matches!(key.state, KeyState::Active | KeyState::Prepared))
    {
        return Err(Refusal::invalid(
            "a cluster begins with active and prepared keys only; leave the others out",
        ));
    }
    let mut seen = OrdMap::new();
    for key in keys {
        let before = Keys {
            keys: &seen,
            next_id: 0,
            clock: UnixMillis(0),
        };
        before.check_new(key)?;
        if seen.insert(key.id, key.clone()).is_some() {
            let message = format!("key id {} is taken; choose an unused one", key.id);
            return Err(Refusal::new(RefusalCode::Conflict, message));
        }
    }
    Ok(())
}

fn active(keys: &OrdMap<u32, SealedKey>, purpose: KeyPurpose) -> Option<&SealedKey> {
    keys.values()
        .find(|key| key.purpose == purpose && key.state == KeyState::Active)
}

/// True when no other key of this purpose could sign, now or after an activation.
fn is_last(keys: &OrdMap<u32, SealedKey>, key: &SealedKey) -> bool {
    let can_sign = |key: &SealedKey| matches!(key.state, KeyState::Active | KeyState::Prepared);
    let is_other = |other: &SealedKey| other.purpose == key.purpose && other.id != key.id;
    can_sign(key)
        && !keys
            .values()
            .any(|other| is_other(other) && can_sign(other))
}

fn refuse_step(key: &SealedKey, to: KeyState) -> Refusal {
    let next = match key.state {
        KeyState::Prepared => "activate or revoke it",
        KeyState::Active => "activate its successor or revoke it",
        KeyState::Retired => "prepare a new key, or revoke this one",
        KeyState::Revoked => "prepare a new key",
    };
    let message = format!(
        "key {} is {} and cannot become {}; {next}",
        key.id,
        key.state.word(),
        to.word()
    );
    Refusal::new(RefusalCode::KeyState, message)
}

/// Refuses to remove the last key of a purpose. Without an active or at least a prepared key nothing could be signed,
/// and without a feed key every verifier would go stale. Preparing one takes a second, also in an emergency.
fn refuse_last(key: &SealedKey, to: KeyState) -> Refusal {
    let purpose = key.purpose.word();
    let next = match to {
        KeyState::Revoked => format!(
            "prepare a new {purpose} key first, then revoke this one and activate the new one"
        ),
        _ => format!("prepare a new {purpose} key and activate it: that retires this one"),
    };
    Refusal::new(
        RefusalCode::KeyState,
        format!(
            "key {} is the only {purpose} key that can sign; {next}",
            key.id
        ),
    )
}

fn check_sealed(id: u32, sealed: &[u8]) -> Result<(), Refusal> {
    if (1..=SEALED_BYTES_MAX).contains(&sealed.len()) {
        return Ok(());
    }
    let message = format!(
        "key {id} has {} sealed bytes, 1 to {SEALED_BYTES_MAX} are kept; seal the private key alone",
        sealed.len()
    );
    Err(Refusal::new(RefusalCode::Limit, message))
}
