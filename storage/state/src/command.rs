//! Every write, with its time and author inside.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use hessra_revocation::{FeedId, FeedSalt, Revision, Target, UnixMillis, UnixSeconds};

use crate::policy::{Policy, PolicyChange};
use crate::sealed_key::SealedKey;

/// Chosen at random by the client; a retry with the same id has one effect and gets the first answer. The zero id is
/// refused: it is what a client sends that forgot to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub [u8; 16]);

impl RequestId {
    /// True for the id that nobody chose.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.0 == [0; 16]
    }
}

/// A command with everything its application depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamped {
    /// The proposer's wall clock. The state's clock is the latest of all stamps.
    pub at: UnixMillis,
    /// Identity of who asked, as its certificate says; a node's own name for its own commands.
    pub by: String,
    /// Names the request, for retries.
    pub request: RequestId,
    /// What is asked.
    pub command: Command,
}

/// What can change the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// First command of a cluster. Anything before it is refused.
    Init(Init),
    /// Revokes one to [`crate::limits::TARGETS_MAX`] targets, all or none.
    Revoke(Revoke),
    /// Lifts one revocation.
    Lift(Lift),
    /// Compare-and-set on the policy's revision.
    ApplyPolicy {
        /// Revision of the policy that the new one was made from.
        based_on: Revision,
        /// The new policy.
        policy: Policy,
        /// Why, and where it comes from.
        change: PolicyChange,
    },
    /// Moves a key through its states.
    Key(KeyCommand),
    /// Puts an action where a second person can approve it.
    Ask(PendingAction),
    /// Approves a pending action, which does it.
    Approve(PendingId),
    /// Takes a pending action back.
    Cancel(PendingId),
    /// Removes locks, spent facets and sessions that ended before `now`, and before the state's clock; retired keys whose tokens have all expired,
    /// and pending actions that nobody approved in time.
    Collect {
        /// Wall clock of the node that asks.
        now: UnixSeconds,
    },
    /// Uses up what may be used once: the first wins.
    Spend(Spend),
    /// Moves the context of a session to its next version.
    Context(ContextStep),
    /// Switches on the behaviour of a newer state machine.
    RaiseVersion(u32),
}

/// How a cluster begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Init {
    /// Names the feed and the cluster: random, not zero.
    pub feed_id: FeedId,
    /// Random, so that digests of names cannot be computed beforehand.
    pub salt: FeedSalt,
    /// Exactly one active token key, exactly one active feed key, further keys prepared.
    pub keys: Vec<SealedKey>,
    /// The first policy.
    pub policy: Policy,
}

/// What to revoke, and what people should know about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoke {
    /// One to [`crate::limits::TARGETS_MAX`]. A [`Target::Lock`] needs `until`; other kinds must not have it.
    pub targets: Vec<Target>,
    /// Subtrees and identities: whatever the token carries, not only what was issued so far. Tokens, certificates and
    /// keys are always revoked for good.
    pub permanent: bool,
    /// End of a lock, after the state's clock.
    pub until: Option<UnixSeconds>,
    /// A short code, at most [`crate::limits::REASON_BYTES_MAX`] bytes.
    pub reason: String,
    /// Where the story is told, at most [`crate::limits::TICKET_BYTES_MAX`] bytes.
    pub ticket: String,
    /// For those who are denied, at most [`crate::limits::MESSAGE_BYTES_MAX`] bytes.
    pub message: String,
}

/// What to lift.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lift {
    /// The revision that made the revocation.
    pub revision: Revision,
    /// Tokens issued before live again. The policy may demand two people for it, see [`crate::pending`].
    pub restore: bool,
    /// Why, at most [`crate::limits::REASON_BYTES_MAX`] bytes.
    pub reason: String,
}

/// What to do to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyCommand {
    /// A new key, published before it signs.
    Prepare(SealedKey),
    /// It signs from now on; the one that signed before retires.
    Activate {
        /// Which key.
        id: u32,
        /// Refused unless it has been published for as long, on the state's clock. `None`: an emergency.
        published_for_min: Option<Duration>,
    },
    /// It signs no more, what it signed stays valid.
    Retire(u32),
    /// Whatever it signed is denied; its private half is forgotten.
    Revoke(u32),
    /// The private halves of some keys in other envelopes: the key-encryption key changes, the keys do not.
    Rewrap(Vec<Envelope>),
}

/// The sealed private half of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Which key.
    pub id: u32,
    /// At most [`crate::limits::SEALED_BYTES_MAX`] bytes.
    pub sealed: Vec<u8>,
}

/// What needs two people: whatever can undo safety or hurt everyone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PendingAction {
    /// A revocation near the root, at most [`crate::limits::PENDING_TARGETS_MAX`] targets.
    Revoke(Revoke),
    /// A lift after which tokens issued before live again.
    Lift(Lift),
    /// Everything that a key signed is denied.
    RevokeKey(u32),
}

/// The name of a pending action: `ap_17`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PendingId(pub u64);

/// Why a text is not the name of a pending action.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a pending action; it looks like `ap_17`, copy it from the list of approvals")]
pub struct PendingIdError(String);

impl fmt::Display for PendingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ap_{}", self.0)
    }
}

impl FromStr for PendingId {
    type Err = PendingIdError;

    /// Accepts exactly what [`fmt::Display`] writes.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.strip_prefix("ap_").and_then(|id| id.parse().ok());
        let id = number.map(Self).filter(|id| id.to_string() == text);
        id.ok_or_else(|| PendingIdError(text.chars().take(64).collect()))
    }
}

/// Names one thing that may be used once: a digest that whoever verified the token made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FacetId(pub [u8; 32]);

/// Uses a facet up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spend {
    /// Which.
    pub facet: FacetId,
    /// From this instant on nobody accepts it. The same in every request about one facet: that of the authority block,
    /// which no holder can shorten.
    pub expires_at: UnixSeconds,
}

/// Names one session; random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub [u8; 16]);

/// From one version of a context to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextStep {
    /// Which session.
    pub session: SessionId,
    /// The version that the step was made from; 0 begins the session.
    pub from: u64,
    /// End of the session. The same in all its steps.
    pub expires_at: UnixSeconds,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pending_action_has_one_name() {
        assert_eq!("ap_17".parse(), Ok(PendingId(17)));
        for text in ["", "ap_", "17", "ap_017", "ap_+1", "AP_1", "ap_1 "] {
            assert!(text.parse::<PendingId>().is_err(), "{text}");
        }
    }
}
