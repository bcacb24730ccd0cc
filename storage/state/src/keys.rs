//! Keys: public parts, sealed private parts, states. One table says which state may follow which.
//!
//! ```text
//! prepared ──activate──▶ active ──(successor activated)──▶ retired
//!     │                    │                                  │
//!     └──────revoke────────┴────────────revoke────────────────┴──▶ revoked
//! ```
//!
//! A purpose has at most one active key. Keys are never forgotten, so that an id and a public key are never used twice.
//! How long a key must have been published before it may sign is the node's question: it needs a staleness bound.

use std::fmt;

use hessra_revocation::{KeyPurpose, KeyState, PublicKeyRecord, Revision};
use imbl::OrdMap;

use crate::applied::{Refusal, RefusalCode};
use crate::command::KeyCommand;
use crate::limits::{KEYS_MAX, SEALED_BYTES_MAX};

/// A key as the state holds it.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedKey {
    /// Names the key in tokens and checkpoints.
    pub id: u32,
    /// What it signs.
    pub purpose: KeyPurpose,
    /// Where it is in its life.
    pub state: KeyState,
    /// Ed25519.
    pub public_key: [u8; 32],
    /// Envelope of the private half, opaque here; empty once revoked.
    pub sealed: Vec<u8>,
    /// Revision at which it got its state. Ignored in commands.
    pub changed_at: Revision,
}

impl SealedKey {
    /// The half that the feed carries.
    #[must_use]
    pub fn public(&self) -> PublicKeyRecord {
        PublicKeyRecord {
            id: self.id,
            purpose: self.purpose,
            state: self.state,
            public_key: self.public_key,
        }
    }

    fn with_state(&self, state: KeyState) -> Self {
        let sealed = if state == KeyState::Revoked {
            Vec::new()
        } else {
            self.sealed.clone()
        };
        Self {
            state,
            sealed,
            ..self.clone()
        }
    }
}

/// Not even the sealed half: an envelope in a log line outlives the key that opens it.
impl fmt::Debug for SealedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedKey")
            .field("id", &self.id)
            .field("purpose", &self.purpose)
            .field("state", &self.state)
            .field("changed_at", &self.changed_at)
            .finish_non_exhaustive()
    }
}

/// May `to` follow `from`? The only place that knows.
#[must_use]
pub fn may_follow(from: KeyState, to: KeyState) -> bool {
    use KeyState::{Active, Prepared, Retired, Revoked};
    match (from, to) {
        (Prepared, Active) | (Active, Retired) => true,
        (Prepared | Active | Retired, Revoked) => true,
        (Prepared | Active | Retired | Revoked, _) => false,
    }
}

/// The keys as they must become, in the order of their feed entries. Empty: the key already has that state.
pub(crate) fn decide(
    keys: &OrdMap<u32, SealedKey>,
    command: &KeyCommand,
) -> Result<Vec<SealedKey>, Refusal> {
    match command {
        KeyCommand::Prepare(key) => prepare(keys, key),
        KeyCommand::Activate(id) => change(keys, *id, KeyState::Active),
        KeyCommand::Retire(id) => change(keys, *id, KeyState::Retired),
        KeyCommand::Revoke(id) => change(keys, *id, KeyState::Revoked),
    }
}

/// The key a command is about.
pub(crate) fn id_of(command: &KeyCommand) -> u32 {
    match command {
        KeyCommand::Prepare(key) => key.id,
        KeyCommand::Activate(id) | KeyCommand::Retire(id) | KeyCommand::Revoke(id) => *id,
    }
}

/// The keys of a new cluster: one active for tokens, one for the feed, at most one for the audit trail, no id or public
/// key twice, further keys prepared.
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
        check_new(&seen, key)?;
        seen.insert(key.id, key.clone());
    }
    Ok(())
}

fn prepare(keys: &OrdMap<u32, SealedKey>, key: &SealedKey) -> Result<Vec<SealedKey>, Refusal> {
    if key.state != KeyState::Prepared {
        return Err(Refusal::invalid(format!(
            "key {} is new and must come as prepared; activate it later",
            key.id
        )));
    }
    check_new(keys, key)?;
    Ok(vec![key.clone()])
}

fn check_new(keys: &OrdMap<u32, SealedKey>, key: &SealedKey) -> Result<(), Refusal> {
    if keys.len() >= KEYS_MAX {
        let message =
            format!("the cluster holds {KEYS_MAX} keys, the most it can; start a new cluster");
        return Err(Refusal::new(RefusalCode::Limit, message));
    }
    if key.sealed.is_empty() || key.sealed.len() > SEALED_BYTES_MAX {
        let message = format!(
            "key {} has {} sealed bytes, 1 to {SEALED_BYTES_MAX} are kept; seal the private key alone",
            key.id,
            key.sealed.len()
        );
        return Err(Refusal::new(RefusalCode::Limit, message));
    }
    if keys.contains_key(&key.id) {
        let message = format!("key id {} is taken; choose an unused one", key.id);
        return Err(Refusal::new(RefusalCode::Conflict, message));
    }
    match keys
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

fn change(keys: &OrdMap<u32, SealedKey>, id: u32, to: KeyState) -> Result<Vec<SealedKey>, Refusal> {
    let key = keys.get(&id).ok_or_else(|| {
        Refusal::new(
            RefusalCode::NotFound,
            format!("no key has the id {id}; list the keys to see which exist"),
        )
    })?;
    if key.state == to {
        return Ok(Vec::new());
    }
    if !may_follow(key.state, to) {
        return Err(refuse_step(key, to));
    }
    let mut changed = Vec::new();
    match to {
        // The predecessor first: at no revision are there two active keys of a purpose.
        KeyState::Active => {
            changed.extend(active(keys, key.purpose).map(|old| old.with_state(KeyState::Retired)))
        }
        KeyState::Retired => return Err(refuse_last(key, to)),
        KeyState::Revoked if is_last(keys, key) => return Err(refuse_last(key, to)),
        KeyState::Revoked | KeyState::Prepared => {}
    }
    changed.push(key.with_state(to));
    Ok(changed)
}

fn active(keys: &OrdMap<u32, SealedKey>, purpose: KeyPurpose) -> Option<&SealedKey> {
    keys.values()
        .find(|key| key.purpose == purpose && key.state == KeyState::Active)
}

/// Would nobody be left who signs for this purpose, or could after an activation?
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

/// Without an active or at least a prepared key nobody could sign, and for a feed key every verifier would go stale.
/// Preparing one takes a second, also in an emergency.
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
