//! Error of a conversion from the wire, and the checks of fields that all conversions share.

use hessra_revocation::{Hash, IdentityError};

/// Error of a message from outside that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// Field of fixed size that has another one.
    #[error("`{field}` must have {expected} bytes, this one has {actual}")]
    Length {
        /// Name of the field in the proto file.
        field: &'static str,
        /// Bytes that it must have.
        expected: usize,
        /// Bytes that it has.
        actual: usize,
    },
    /// List or text that is longer than any honest sender makes it.
    #[error("`{field}` may have at most {limit}, this one has {actual}")]
    TooMany {
        /// Name of the field in the proto file.
        field: &'static str,
        /// Most that it may have.
        limit: usize,
        /// Number that it has.
        actual: usize,
    },
    /// Message without the part that gives it a meaning.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// Number outside the known ones: a newer or a broken sender.
    #[error("`{field}` is {number}, which this version does not know: upgrade")]
    Unknown {
        /// Name of the field in the proto file.
        field: &'static str,
        /// Number that was sent.
        number: i64,
    },
    /// Text that is not an identity in canonical form.
    #[error("`{field}`: {source}")]
    Identity {
        /// Name of the field in the proto file.
        field: &'static str,
        /// Rule of the form that it breaks.
        source: IdentityError,
    },
    /// Field that breaks another rule.
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
