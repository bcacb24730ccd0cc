//! The state as records: what a snapshot is made of.

use hessra_revocation::{
    Digest, Epoch, FeedId, FeedSalt, Hash, Revision, Rule, RuleKind, UnixMillis,
};

use crate::{
    Applied, ContextVersion, FacetId, Pending, PendingId, PolicyVersion, RequestId, Revocation,
    SealedKey, SessionId, Spent,
};

/// One piece of the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Everything small; there is exactly one.
    Meta(Meta),
    /// A rule as verifiers hold it.
    Rule(Rule),
    /// A revocation as people see it.
    Revocation(Revocation),
    /// A key.
    Key(SealedKey),
    /// A version of the policy; the newest stands.
    Policy(PolicyVersion),
    /// The first answer to a request.
    Request {
        /// The request.
        id: RequestId,
        /// When, on the state's clock.
        at: UnixMillis,
        /// The answer.
        applied: Applied,
        /// Order of arrival.
        sequence: u64,
    },
    /// What waits for a second person.
    Pending(Pending),
    /// A retained feed entry.
    FeedEntry {
        /// Its revision.
        revision: Revision,
        /// Canonical bytes of a [`hessra_revocation::FeedEntry`].
        bytes: Vec<u8>,
    },
    /// A facet that was used.
    Spent(FacetId, Spent),
    /// The latest version of a session's context.
    Context(SessionId, ContextVersion),
}

/// Everything small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Version of the state machine.
    pub version: u32,
    /// Names feed and cluster; zero before the cluster began.
    pub feed_id: FeedId,
    /// Salt of the rules' digests.
    pub salt: FeedSalt,
    /// Which history.
    pub epoch: Epoch,
    /// Newest revision.
    pub revision: Revision,
    /// The latest of all stamps.
    pub clock: UnixMillis,
    /// +1 for every key entry.
    pub keyset_version: u64,
    /// SHA-256 of the policy.
    pub policy_digest: Hash,
    /// Revision of the policy.
    pub policy_revision: Revision,
    /// Versions of the policy that are kept.
    pub policy_versions: u64,
    /// Feed entries above it are retained.
    pub floor: Revision,
    /// RFC 6962 frontier of the feed log at the floor: retained entries are replayed on top of it.
    pub floor_frontier: Vec<Hash>,
    /// Sequence of the next request.
    pub next_sequence: u64,
    /// Every key id below was used.
    pub next_key_id: u32,
    /// Number of the next pending action.
    pub next_pending: u64,
    /// How many actions are pending: one that is lost must be noticed.
    pub pending: u64,
}

/// Names a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordKey {
    /// The only [`Meta`].
    Meta,
    /// By kind and digest.
    Rule(RuleKind, Digest),
    /// By the revision that made it.
    Revocation(Revision),
    /// By key id.
    Key(u32),
    /// By the revision that put it there.
    Policy(Revision),
    /// By request id.
    Request(RequestId),
    /// By its number.
    Pending(PendingId),
    /// By revision.
    FeedEntry(Revision),
    /// By facet.
    Spent(FacetId),
    /// By session.
    Context(SessionId),
}

impl Record {
    /// Its name.
    #[must_use]
    pub fn key(&self) -> RecordKey {
        match self {
            Self::Meta(_) => RecordKey::Meta,
            Self::Rule(rule) => RecordKey::Rule(rule.kind, rule.digest),
            Self::Revocation(revocation) => RecordKey::Revocation(revocation.revision),
            Self::Key(key) => RecordKey::Key(key.id),
            Self::Policy(version) => RecordKey::Policy(version.revision),
            Self::Request { id, .. } => RecordKey::Request(*id),
            Self::Pending(pending) => RecordKey::Pending(pending.id),
            Self::FeedEntry { revision, .. } => RecordKey::FeedEntry(*revision),
            Self::Spent(facet, _) => RecordKey::Spent(*facet),
            Self::Context(session, _) => RecordKey::Context(*session),
        }
    }
}
