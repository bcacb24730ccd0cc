//! Revocations: targets and rules, the tokens that a rule covers, and the feed of rules as it is served and followed
//! without a hole.
//!
//! Pure: no sockets, no clock, no randomness, no async. `now` is always an argument.
//!
//! | module | its story |
//! |---|---|
//! | [`id`] | identities as canonical segment paths |
//! | [`time`] | revisions, epochs and instants |
//! | [`rule`] | targets of revocations as people name them ([`Target`]), rules as verifiers hold them ([`Rule`]) |
//! | [`set`] | all rules at one revision: look-ups, buckets, `state_root` |
//! | [`entry`] | the feed's log: one entry per revision |
//! | [`view`] | set, keys and position: the content of a feed up to one revision |
//! | [`merkle`] | RFC 6962 right frontier for `log_root` |
//! | [`checkpoint`] | the signed statement "complete through R as of this instant" |
//! | [`publisher`] | the serving half of the protocol |
//! | [`follower`] | the verifier's half of the protocol |

mod bytes;
pub mod checkpoint;
mod decode_error;
pub mod entry;
pub mod follower;
pub mod id;
pub mod merkle;
pub mod publisher;
pub mod rule;
pub mod set;
pub mod time;
pub mod view;

pub use checkpoint::{Checkpoint, SignedCheckpoint};
pub use decode_error::DecodeError;
pub use entry::{Change, FeedEntry, KeyPurpose, KeyState, PublicKeyRecord};
pub use follower::{Action, Alarm, Event, Follower, Freshness, VerifySignature};
pub use id::{Identity, IdentityError, canonical_dns_name, canonical_spelling};
pub use publisher::{History, Publisher};
pub use rule::{
    Cutoff, Digest, FeedSalt, Rule, RuleKind, SignerKey, SignerKeyError, Target, TokenId,
    TokenIdError,
};
pub use set::{Denial, HashedQuery, Query, RevocationSet};
pub use time::{Epoch, FeedId, FeedIdError, Monotonic, Revision, UnixMillis, UnixSeconds};
pub use view::{View, ViewError};

/// A SHA-256 digest.
pub type Hash = [u8; 32];
