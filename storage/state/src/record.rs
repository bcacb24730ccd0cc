//! Records: the state in pieces, for snapshots.

use hessra_revocation::{
    Digest, Epoch, FeedId, FeedSalt, Hash, Revision, Rule, RuleKind, UnixMillis,
};

use crate::{
    Applied, ChainName, ContextVersion, FacetId, MemberChange, Pending, PendingId, PolicyVersion,
    RequestId, Revocation, SealedKey, SessionId, Spent, Start, Undoing, Witnessed,
};

/// Piece of the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Counters and positions; there is exactly one.
    Meta(Meta),
    /// Rule as verifiers hold it.
    Rule(Rule),
    /// Revocation as people see it.
    Revocation(Revocation),
    /// Key.
    Key(SealedKey),
    /// Version of the policy; the newest stands.
    Policy(PolicyVersion),
    /// First answer to a request.
    Request {
        /// Id of the request.
        id: RequestId,
        /// Digest of who asked for what.
        asked: [u8; 32],
        /// Time of the answer, on the state's clock.
        at: UnixMillis,
        /// Answer.
        applied: Applied,
        /// Order of arrival.
        sequence: u64,
    },
    /// Action that waits for a second person.
    Pending(Pending),
    /// Retained entry of the feed.
    FeedEntry {
        /// Revision of the entry.
        revision: Revision,
        /// Canonical bytes of a [`hessra_revocation::FeedEntry`].
        bytes: Vec<u8>,
    },
    /// Facet that was used.
    Spent(FacetId, Spent),
    /// Latest version of a session's context.
    Context(SessionId, ContextVersion),
    /// Newest head of an audit chain.
    Witnessed(Witnessed),
}

/// Counters and positions of the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Version of the state machine.
    pub version: u32,
    /// Id of the feed and of the cluster; zero before the cluster began.
    pub feed_id: FeedId,
    /// Salt of the rules' digests.
    pub salt: FeedSalt,
    /// Number of the feed's history.
    pub epoch: Epoch,
    /// Newest revision.
    pub revision: Revision,
    /// Clock of the state: the latest of all stamps since it was set back last.
    pub clock: UnixMillis,
    /// Settled time, see [`crate::State::settled`].
    pub settled: UnixMillis,
    /// Number of times that the clock was set back.
    pub clock_set_backs: u64,
    /// Version of the key set: +1 for every key entry.
    pub keyset_version: u64,
    /// SHA-256 of the policy.
    pub policy_digest: Hash,
    /// Revision of the policy.
    pub policy_revision: Revision,
    /// Number of versions of the policy that are kept.
    pub policy_versions: u64,
    /// Floor of the feed: entries above it are retained.
    pub floor: Revision,
    /// RFC 6962 frontier of the feed log at the floor: retained entries are replayed on top of it.
    pub floor_frontier: Vec<Hash>,
    /// Sequence of the next request.
    pub next_sequence: u64,
    /// Next key id: every id below was used.
    pub next_key_id: u32,
    /// Number of the next pending action.
    pub next_pending: u64,
    /// Number of pending actions: one that is lost must be noticed.
    pub pending: u64,
    /// Number of witnessed audit chains: one that is lost must be noticed.
    pub witnessed: u64,
    /// Change of the members that was permitted last.
    pub member_change: Option<MemberChange>,
    /// Operators whose revocations are being removed, in the order of their names.
    pub undoing: Vec<Undoing>,
    /// Newest start of every node that ever was a member, by node.
    pub starts: Vec<(u64, Start)>,
}

/// Name of a record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordKey {
    /// The only [`Meta`].
    Meta,
    /// Rule, by kind and digest.
    Rule(RuleKind, Digest),
    /// Revocation, by the revision that made it.
    Revocation(Revision),
    /// Key, by its id.
    Key(u32),
    /// Version of the policy, by the revision that put it there.
    Policy(Revision),
    /// Request, by its id.
    Request(RequestId),
    /// Pending action, by its number.
    Pending(PendingId),
    /// Feed entry, by revision.
    FeedEntry(Revision),
    /// Spent facet, by its id.
    Spent(FacetId),
    /// Context, by session.
    Context(SessionId),
    /// Witnessed head, by chain.
    Witnessed(ChainName),
}

impl Record {
    /// Name of the record.
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
            Self::Witnessed(witnessed) => RecordKey::Witnessed(witnessed.name.clone()),
        }
    }
}
