//! Every number that bounds something in the state. Nobody can choose them well per cluster, and replicas must agree on
//! them: they are constants, and changing one needs a state machine version.

/// Targets of one revoke: the design's bulk case, about 5 MiB of longest identities, below the log entry limit.
pub const TARGETS_MAX: usize = 10_000;
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
/// Bytes of a sealed private key: an Ed25519 seed, its envelope, and room for a KMS's wrapped data key.
pub const SEALED_BYTES_MAX: usize = 4096;
/// Keys ever prepared. They are never forgotten, so that an id is never used twice; 1,024 is 85 years of monthly
/// rotation.
pub const KEYS_MAX: usize = 1024;
/// Feed entries kept for resuming verifiers: 2^16 is eleven minutes at 100 revocations a second, and about 5 MiB.
/// Who was away for longer gets the buckets that differ.
pub const HISTORY_MAX: usize = 65_536;
/// First answers kept: a day at one write a second, about 20 MiB.
pub const REQUESTS_MAX: usize = 100_000;
/// Age at which a first answer is forgotten: no client retries for longer than a day.
pub const REQUEST_AGE_MILLIS_MAX: u64 = 24 * 60 * 60 * 1000;
/// Locks removed by one collection, so that it never holds up a revoke for long (about 10 ms).
pub const COLLECTED_MAX: usize = 1000;
