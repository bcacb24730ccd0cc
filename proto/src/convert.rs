//! The only conversions between messages and the types of the product.
//!
//! Towards the wire a conversion cannot fail. From the wire it is strict: a field of the wrong length, an unknown
//! number or too many of something is an error with a sentence, never a default. What a message *means* (signatures,
//! order, freshness) is not decided here but in `hessra_revocation`.

use std::time::Duration;

use hessra_revocation::follower::{Mode, Welcome};
use hessra_revocation::publisher::{FEED_KEYS_MAX, Hello, ResetReason};
use hessra_revocation::{
    Epoch, Event, FeedId, FeedSalt, Hash, Identity, IdentityError, Revision, SignedCheckpoint,
    Target, TokenId,
};

use crate::v1::{self, feed};

mod downstream;
mod target;
mod upstream;

pub use downstream::to_downstream;
pub use upstream::{Acknowledgement, Greeting, OBSERVER, VerifierId, VerifierMessage};

/// Why a message from outside is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// A field of fixed size has another one.
    #[error("`{field}` must have {expected} bytes, this one has {actual}")]
    Length {
        /// Name of the field in the proto file.
        field: &'static str,
        /// What it must have.
        expected: usize,
        /// What it has.
        actual: usize,
    },
    /// A list or text is longer than any honest sender makes it.
    #[error("`{field}` may have at most {limit}, this one has {actual}")]
    TooMany {
        /// Name of the field in the proto file.
        field: &'static str,
        /// The limit.
        limit: usize,
        /// What it has.
        actual: usize,
    },
    /// A message without the part that gives it a meaning.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A number outside the known ones: a newer or a broken sender.
    #[error("`{field}` is {number}, which this version does not know: upgrade")]
    Unknown {
        /// Name of the field in the proto file.
        field: &'static str,
        /// What was sent.
        number: i64,
    },
    /// Not an identity in canonical form.
    #[error("`{field}`: {source}")]
    Identity {
        /// Name of the field in the proto file.
        field: &'static str,
        /// Which rule it breaks.
        source: IdentityError,
    },
    /// Any other broken rule.
    #[error("`{field}`: {rule}")]
    Rule {
        /// Name of the field in the proto file.
        field: &'static str,
        /// The rule, as a sentence.
        rule: String,
    },
}

fn array<const N: usize>(field: &'static str, bytes: &[u8]) -> Result<[u8; N], ConvertError> {
    bytes.try_into().map_err(|_| ConvertError::Length {
        field,
        expected: N,
        actual: bytes.len(),
    })
}

fn at_most(field: &'static str, limit: usize, actual: usize) -> Result<(), ConvertError> {
    if actual > limit {
        Err(ConvertError::TooMany {
            field,
            limit,
            actual,
        })
    } else {
        Ok(())
    }
}

fn hashes(field: &'static str, list: &[Vec<u8>]) -> Result<Vec<Hash>, ConvertError> {
    list.iter().map(|bytes| array(field, bytes)).collect()
}

impl From<SignedCheckpoint> for feed::Checkpoint {
    fn from(signed: SignedCheckpoint) -> Self {
        Self {
            body: signed.body,
            key_id: signed.key_id,
            signature: signed.signature.to_vec(),
        }
    }
}

impl TryFrom<feed::Checkpoint> for SignedCheckpoint {
    type Error = ConvertError;

    fn try_from(wire: feed::Checkpoint) -> Result<Self, ConvertError> {
        // 1 KiB: a checkpoint's body is about 200 bytes.
        at_most("checkpoint.body", 1024, wire.body.len())?;
        Ok(Self {
            signature: array("checkpoint.signature", &wire.signature)?,
            body: wire.body,
            key_id: wire.key_id,
        })
    }
}
