//! Strict decoding of one message, and the error of all decoding.

use hessra_proto::ConvertError;
use hessra_revocation::{DecodeError, Identity};
use prost::Message;

/// Error of a message that is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Part that only a newer binary knows.
    #[error(
        "`{0}` has a form that this version does not know: upgrade hessra-node on this machine"
    )]
    Unknown(&'static str),
    /// Content that no version writes.
    #[error("{0}; the sender or the disk is broken")]
    Invalid(String),
}

impl CodecError {
    pub(super) fn invalid(field: &str, error: &dyn std::fmt::Display) -> Self {
        Self::Invalid(format!("`{field}` is not valid: {error}"))
    }

    pub(super) fn undecodable(field: &'static str, error: &DecodeError) -> Self {
        match error {
            DecodeError::Unknown(_) => Self::Unknown(field),
            _ => Self::invalid(field, error),
        }
    }
}

impl From<ConvertError> for CodecError {
    fn from(error: ConvertError) -> Self {
        match error {
            ConvertError::Missing(field) | ConvertError::Unknown { field, .. } => {
                Self::Unknown(field)
            }
            broken => Self::Invalid(broken.to_string()),
        }
    }
}

/// Decodes a message, if every byte of it is understood.
pub(crate) fn decode<M: Message + Default>(
    what: &'static str,
    bytes: &[u8],
) -> Result<M, CodecError> {
    let message = M::decode(bytes).map_err(|error| CodecError::invalid(what, &error))?;
    if message.encode_to_vec() == bytes {
        Ok(message)
    } else {
        Err(CodecError::Unknown(what))
    }
}

pub(super) fn identity(text: &str) -> Result<Identity, CodecError> {
    Identity::parse(text).map_err(|error| CodecError::invalid("identity", &error))
}

pub(super) fn array<const N: usize>(
    field: &'static str,
    bytes: &[u8],
) -> Result<[u8; N], CodecError> {
    let wrong = |_| {
        CodecError::Invalid(format!(
            "`{field}` has {} bytes instead of {N}",
            bytes.len()
        ))
    };
    bytes.try_into().map_err(wrong)
}
