//! Error of a conversion from the wire, and the checks of fields that all conversions share.

use hessra_revocation::{Hash, IdentityError};

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

pub(super) fn array<const N: usize>(
    field: &'static str,
    bytes: &[u8],
) -> Result<[u8; N], ConvertError> {
    bytes.try_into().map_err(|_| ConvertError::Length {
        field,
        expected: N,
        actual: bytes.len(),
    })
}

pub(super) fn at_most(
    field: &'static str,
    limit: usize,
    actual: usize,
) -> Result<(), ConvertError> {
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

pub(super) fn hashes(field: &'static str, list: &[Vec<u8>]) -> Result<Vec<Hash>, ConvertError> {
    list.iter().map(|bytes| array(field, bytes)).collect()
}
