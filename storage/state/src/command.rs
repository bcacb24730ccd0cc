//! Commands: every write, with its time and author inside.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use hessra_revocation::{FeedId, FeedSalt, Identity, Revision, Target, UnixMillis, UnixSeconds};

use crate::author::Author;
use crate::policy::{Policy, PolicyChange};
use crate::sealed_key::SealedKey;
use crate::starts::Start;
use crate::witness::Witness;

/// Id of a request, chosen at random by the client: a retry with the same id has one effect and gets the first answer.
/// The zero id is refused: a client sends it that forgot to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub [u8; 16]);

impl RequestId {
    /// True for the zero id.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.0 == [0; 16]
    }
}

/// Command with everything that applying it depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamped {
    /// Wall clock of the leader. The state's clock is the latest of all stamps since it was set back last.
    pub at: UnixMillis,
    /// Author: an operator with the proof of it, or a node with its duty.
    pub author: Author,
    /// Id of the request, for retries.
    pub request: RequestId,
    /// Command.
    pub command: Command,
}

/// Change of the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// First command of a cluster. Anything before it is refused.
    Init(Init),
    /// Revokes one to [`crate::limits::TARGETS_MAX`] targets, all or none.
    Revoke(Revoke),
    /// Lifts one revocation.
    Lift(Lift),
    /// Removes what one operator has revoked.
    Undo(Undo),
    /// Compare-and-set on the policy's revision.
    ApplyPolicy {
        /// Revision of the policy that the new one was made from.
        based_on: Revision,
        /// The new policy.
        policy: Policy,
        /// Reason and origin of the change.
        change: PolicyChange,
    },
    /// Moves a key through its states.
    Key(KeyCommand),
    /// Puts an action where a second person can approve it.
    Ask(PendingAction),
    /// Approves a pending action, and thereby does it.
    Approve(Approval),
    /// Takes a pending action back.
    Cancel(PendingId),
    /// Removes locks, spent facets and sessions that ended before `now` and before the state's clock, retired keys
    /// whose tokens have all expired, and pending actions that were not approved in time.
    Collect {
        /// Wall clock of the node that asks.
        now: UnixSeconds,
    },
    /// Spends a facet: the first use wins.
    Spend(Spend),
    /// Moves the context of a session to its next version.
    Context(ContextStep),
    /// Makes the head of a node's audit chain known to every member.
    Witness(Witness),
    /// Records the start of the node that makes it, so that its store is known again.
    Started(Start),
    /// Accepts that the audit chains of a node are lost: it may begin new ones.
    AcceptAuditLoss {
        /// Id of the node.
        node: u64,
        /// Ticket that tells the story, at most [`crate::limits::TICKET_BYTES_MAX`] bytes.
        ticket: String,
    },
    /// Sets the clock back to the time of the entry, after the clocks of the machines jumped ahead.
    SetClockBack {
        /// How often it will have been set back then: a signed command does it once, whatever the clock says later.
        number: u64,
        /// Ticket that tells the story, at most [`crate::limits::TICKET_BYTES_MAX`] bytes.
        ticket: String,
    },
    /// Permits a change of the members, which follows as an entry of its own.
    Members(MemberChange),
    /// Switches on the behaviour of a newer state machine.
    RaiseVersion(u32),
}

/// Content with which a cluster begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Init {
    /// Id of the feed and of the cluster: random, not zero.
    pub feed_id: FeedId,
    /// Salt of the digests of names: random, so that they cannot be computed beforehand.
    pub salt: FeedSalt,
    /// Keys: exactly one active token key, exactly one active feed key, further keys prepared.
    pub keys: Vec<SealedKey>,
    /// First policy.
    pub policy: Policy,
}

/// Revocation of targets, with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoke {
    /// Targets, one to [`crate::limits::TARGETS_MAX`]. A [`Target::Lock`] needs `until`; other kinds must not have it.
    pub targets: Vec<Target>,
    /// Denies subtrees and identities whatever revision a token carries, and not only tokens issued so far. Tokens,
    /// certificates and keys are always revoked for good.
    pub permanent: bool,
    /// End of a lock, after the state's clock.
    pub until: Option<UnixSeconds>,
    /// Short code of the reason, at most [`crate::limits::REASON_BYTES_MAX`] bytes.
    pub reason: String,
    /// Ticket that tells the story, at most [`crate::limits::TICKET_BYTES_MAX`] bytes.
    pub ticket: String,
    /// Message for people who are denied, at most [`crate::limits::MESSAGE_BYTES_MAX`] bytes.
    pub message: String,
}

/// Lift of one revocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lift {
    /// Revision that made the revocation.
    pub revision: Revision,
    /// Identity that the author takes it to be about; refused when it is about something else, so that no node can point a
    /// name at another revocation. `None`: the author named the revision alone.
    pub of: Option<Identity>,
    /// Restores tokens issued before. The policy may demand two people for it, see [`crate::pending`].
    pub restore: bool,
    /// Reason, at most [`crate::limits::REASON_BYTES_MAX`] bytes.
    pub reason: String,
}

/// Removal of what one operator has revoked alone, for an operator whose certificate was stolen or who meant harm. What
/// that operator made together with a second one stays, and so does what others have revoked of the same targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undo {
    /// Operator, as the revocations name it.
    pub operator: String,
    /// Time from which on, on the state's clock; 0: all.
    pub since: UnixMillis,
    /// Short code of the reason, at most [`crate::limits::REASON_BYTES_MAX`] bytes.
    pub reason: String,
    /// Ticket that tells the story, at most [`crate::limits::TICKET_BYTES_MAX`] bytes.
    pub ticket: String,
}

/// Change of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyCommand {
    /// Adds a new key, published before it signs.
    Prepare(SealedKey),
    /// Lets a key sign from now on; the one that signed before retires.
    Activate {
        /// Id of the key.
        id: u32,
        /// Least time since its publication, on the state's clock; refused before. `None`: an emergency.
        published_for_min: Option<Duration>,
        /// Key whose retirement was asked for, and whose successor this one is.
        instead_of: Option<u32>,
    },
    /// Retires a key: it signs no more, and its signatures stay valid.
    Retire(u32),
    /// Revokes a key: all its signatures are denied, and its private half is forgotten.
    Revoke(u32),
    /// Replaces the envelopes of some private halves: the key-encryption key changes, the keys do not.
    Rewrap(Vec<Envelope>),
}

/// Sealed private half of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Id of the key.
    pub id: u32,
    /// Envelope, at most [`crate::limits::SEALED_BYTES_MAX`] bytes.
    pub sealed: Vec<u8>,
}

/// Action that needs two people, because it can undo safety or hurt everyone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PendingAction {
    /// Revocation near the root, at most [`crate::limits::PENDING_TARGETS_MAX`] targets.
    Revoke(Revoke),
    /// Lift after which tokens issued before live again.
    Lift(Lift),
    /// Revocation of a key, by its id: everything that it signed is denied.
    RevokeKey(u32),
    /// Policy that weakens the rule of two persons.
    ApplyPolicy {
        /// Revision of the policy that the new one was made from.
        based_on: Revision,
        /// The new policy.
        policy: Policy,
        /// Reason and origin of the change.
        change: PolicyChange,
    },
    /// Change of the members.
    Members(MemberChange),
    /// Removal of what one operator has revoked.
    Undo(Undo),
}

/// Approval of a pending action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Approval {
    /// Name of the pending action.
    pub id: PendingId,
    /// Digest of the action that the approver has read; refused when another one has that name.
    pub action: [u8; 32],
}

/// Change of the members, or of the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// Adds a member that receives everything and does not vote.
    Add {
        /// Id of the node.
        id: u64,
        /// `host:port` for the other members.
        peer_address: String,
        /// `host:port` for clients.
        public_address: String,
    },
    /// Lets a member vote.
    Promote(u64),
    /// Removes a member for ever.
    Remove(u64),
    /// Hands leadership over.
    TransferTo(u64),
}

impl MemberChange {
    /// Id of the node that it is about.
    #[must_use]
    pub fn id(&self) -> u64 {
        match self {
            Self::Add { id, .. } | Self::Promote(id) | Self::Remove(id) | Self::TransferTo(id) => {
                *id
            }
        }
    }
}

/// Name of a pending action: `ap_17`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PendingId(pub u64);

/// Error of a text that is not the name of a pending action.
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

    /// Reads exactly the texts that [`fmt::Display`] writes.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.strip_prefix("ap_").and_then(|id| id.parse().ok());
        let id = number.map(Self).filter(|id| id.to_string() == text);
        id.ok_or_else(|| PendingIdError(text.chars().take(64).collect()))
    }
}

/// Id of a single-use facet: a digest made by the node that verified the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FacetId(pub [u8; 32]);

/// Judgement that a use or a step rests on: nothing that was revoked since may pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Identity that uses.
    pub subject: Identity,
    /// Revision that its token carries; that of the judgement, where it showed a certificate.
    pub rev: Revision,
}

/// Use of a facet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spend {
    /// Id of the facet.
    pub facet: FacetId,
    /// Instant from which on the capability is refused everywhere. The same in every request about one facet: that of
    /// the authority block, which no holder can shorten.
    pub expires_at: UnixSeconds,
    /// Judgement that it rests on.
    pub judged: Judged,
}

/// Id of a session; random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub [u8; 16]);

/// Step from one version of a context to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextStep {
    /// Id of the session.
    pub session: SessionId,
    /// Version that the step was made from; 0 begins the session.
    pub from: u64,
    /// End of the session. The same in all its steps.
    pub expires_at: UnixSeconds,
    /// Judgement that it rests on.
    pub judged: Judged,
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
