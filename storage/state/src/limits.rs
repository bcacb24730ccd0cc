//! Limits of the state. No operator can choose them well, and replicas must agree on them: they are constants, and
//! changing one needs a state machine version.

/// Targets of one revoke: the design's bulk case, about 5 MiB of longest identities, below the log entry limit.
pub const TARGETS_MAX: usize = 10_000;
/// Revocations that are remembered: about 2 GiB of a node's memory, and a seventh of the rules that a verifier takes
/// (28 million in a snapshot of 512 MiB).
pub const REVOCATIONS_MAX: usize = 4_000_000;
/// Revocations beyond which it is an alarm: half of what is taken.
pub const REVOCATIONS_ALARM: usize = REVOCATIONS_MAX / 2;
/// Revocations of one author that are remembered: a quarter, so that none takes what all share.
pub const REVOCATIONS_PER_AUTHOR_MAX: usize = REVOCATIONS_MAX / 4;
/// Revocations of identities with one base subject that are remembered: an eighth. One of the subtree does more.
pub const REVOCATIONS_PER_BASE_MAX: usize = REVOCATIONS_MAX / 8;
/// Revocations of subtrees, locks and keys that are taken beyond the others: what contains an incident is taken last.
pub const REVOCATIONS_KEPT: usize = 100_000;
/// Segments of a base subject: the least depth that a policy protects by default.
pub const BASE_SEGMENTS: usize = 3;
/// Operators whose revocations are being removed at one time.
pub const UNDOING_MAX: usize = 100;
/// Seconds after which nothing that a revocation was about is left: a token lives for 30 days at most, and a day covers
/// clocks and late nodes.
pub const REVOCATION_KEPT_SECONDS: u64 = 31 * 24 * 60 * 60;
/// Bytes of a reason: a code such as `compromise`, not a story.
pub const REASON_BYTES_MAX: usize = 64;
/// Bytes of a ticket: an issue key or a short link.
pub const TICKET_BYTES_MAX: usize = 128;
/// Bytes of a message for people.
pub const MESSAGE_BYTES_MAX: usize = 1024;
/// Bytes of an author: twice the longest identity, because node names and `uri:` spellings also appear here.
pub const AUTHOR_BYTES_MAX: usize = 1024;
/// Bytes of each policy text. Both together stay below gRPC's default message limit of 4 MiB.
pub const POLICY_BYTES_MAX: usize = 1024 * 1024;
/// Versions of the policy that are kept: two years of weekly changes.
pub const POLICY_VERSIONS_MAX: usize = 100;
/// Bytes of all kept versions, so that a hundred policies of the largest size do not fill every snapshot.
pub const POLICY_HISTORY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of a sealed private key: an Ed25519 seed, its envelope, and room for a KMS's wrapped data key.
pub const SEALED_BYTES_MAX: usize = 4096;
/// Keys at one time. Retired ones are forgotten, so revoked keys fill it, which are remembered for ever: 4,096 is 11
/// years of a revoked key a day, and 152 KiB in a verifier's snapshot.
pub const KEYS_MAX: usize = 4096;
/// Prepared keys of one purpose. One is enough for a rotation; more are spares.
pub const PREPARED_KEYS_MAX: usize = 16;
/// Key ids that a new key may leave out, so that no command uses up all of them at once.
pub const KEY_ID_SKIP_MAX: u32 = 1000;
/// A retired key is forgotten after 31 days: tokens live for 30 at most, and a day covers clocks and late nodes.
pub const RETIRED_KEPT_MILLIS: u64 = 31 * 24 * 60 * 60 * 1000;
/// Actions that wait for a second person at one time.
pub const PENDING_MAX: usize = 100;
/// Targets of a revocation that waits for a second person: the approver must be able to read them. All pending actions
/// together are about 5 MiB at most.
pub const PENDING_TARGETS_MAX: usize = 100;
/// Policies among the pending actions: one of each of a few operators and one of a repository, 8 MiB at most.
pub const PENDING_POLICIES_MAX: usize = 4;
/// A pending action can be approved for a day: the other operator may be asleep.
pub const PENDING_AGE_MILLIS_MAX: u64 = 24 * 60 * 60 * 1000;
/// Feed entries kept for resuming verifiers: 2^16 is eleven minutes at 100 revocations a second, and about 5 MiB. A
/// verifier that was away for longer gets the buckets that differ.
pub const HISTORY_MAX: usize = 65_536;
/// First answers kept: a day at one write a second, about 20 MiB.
pub const REQUESTS_MAX: usize = 100_000;
/// Age at which a first answer is forgotten: no client retries for longer than a day.
pub const REQUEST_AGE_MILLIS_MAX: u64 = 24 * 60 * 60 * 1000;
/// Milliseconds of one entry's step of the clock that settled time follows, twice: ten times the pause between collections,
/// so that an idle cluster's does not lag; and a jump removes nothing that would have lived for 20 minutes more.
pub const SETTLED_STEP_MILLIS: u64 = 10 * 60 * 1000;
/// Milliseconds that the clock is ahead of the leader's at least before it may be set back: what honest clocks differ by is no
/// jump.
pub const CLOCK_AHEAD_MILLIS_MIN: u64 = 10 * 1000;
/// Facets in the ledger that have not ended: 200,000 take about 30 MiB, and are 660 a second that live for 5 minutes.
pub const LEDGER_MAX: usize = 200_000;
/// Seconds that a facet may live for: a day. Single-use capabilities are used soon.
pub const LEDGER_SECONDS_MAX: u64 = 24 * 60 * 60;
/// Facets of one base subject in the ledger: a quarter, so that none takes what all share.
pub const LEDGER_PER_BASE_MAX: usize = LEDGER_MAX / 4;
/// Sessions with a context that have not ended, about 40 MiB.
pub const CONTEXTS_MAX: usize = 100_000;
/// Sessions of one base subject: a twentieth.
pub const CONTEXTS_PER_BASE_MAX: usize = CONTEXTS_MAX / 20;
/// Sessions that end with one revocation. Those of a subject that is revoked are refused in any case; this is what they take.
pub const SESSIONS_ENDED_MAX: usize = 10_000;
/// Seconds that a session may live for: a week.
pub const CONTEXT_SECONDS_MAX: u64 = 7 * 24 * 60 * 60;
/// Audit chains whose head is witnessed: two of each node that ever was, for 512 nodes.
pub const WITNESSED_MAX: usize = 1024;
/// Nodes that ever were members: their ids are never used again.
pub const NODES_EVER_MAX: usize = 512;
/// Bytes of a chain's name among those of its node.
pub const CHAIN_NAME_BYTES_MAX: usize = 16;
/// Revocations, facets and sessions removed by one collection, so that it never holds up a revoke for long (about 10 ms).
pub const COLLECTED_MAX: usize = 1000;
