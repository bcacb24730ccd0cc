//! What nodes replicate and keep, to protobuf ([`hessra_proto::v1::log`]) and back.
//!
//! Towards protobuf nothing can fail. From it everything is strict: a missing or unknown part is an error, never a
//! default. Protobuf drops unknown fields silently, so whoever decodes bytes encodes again and compares (`decode`): a
//! node that meets what it does not know stops and says *upgrade*; it never skips.

mod command;
mod entry;
mod pending;
mod policy;
mod record;

use hessra_proto::ConvertError;
use hessra_proto::v1::log;
use hessra_revocation::{DecodeError, KeyPurpose, KeyState, UnixMillis};
use hessra_state::SealedKey;
use prost::Message;

pub use command::{
    decode_applied, decode_stamped, encode_applied, encode_stamped, stamped_len, target_len,
};
pub use entry::{
    decode_entry, decode_log_id, decode_membership, decode_snapshot_meta, decode_vote,
    encode_entry, encode_log_id, encode_membership, encode_snapshot_meta, encode_vote,
};
pub use record::{decode_record, encode_record};

/// Why a message is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// It holds what only a newer binary knows.
    #[error(
        "`{0}` has a form that this version does not know: upgrade hessra-node on this machine"
    )]
    Unknown(&'static str),
    /// No version writes this.
    #[error("{0}; the sender or the disk is broken")]
    Invalid(String),
}

impl CodecError {
    fn invalid(field: &str, error: &dyn std::fmt::Display) -> Self {
        Self::Invalid(format!("`{field}` is not valid: {error}"))
    }

    fn undecodable(field: &'static str, error: &DecodeError) -> Self {
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

/// A message from its bytes, and only when all of them are understood.
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

fn array<const N: usize>(field: &'static str, bytes: &[u8]) -> Result<[u8; N], CodecError> {
    let wrong = |_| {
        CodecError::Invalid(format!(
            "`{field}` has {} bytes instead of {N}",
            bytes.len()
        ))
    };
    bytes.try_into().map_err(wrong)
}

fn encode_key(key: &SealedKey) -> log::SealedKey {
    let purpose = match key.purpose {
        KeyPurpose::Token => log::KeyPurpose::Token,
        KeyPurpose::Feed => log::KeyPurpose::Feed,
        KeyPurpose::Audit => log::KeyPurpose::Audit,
    };
    log::SealedKey {
        id: key.id,
        purpose: purpose.into(),
        state: encode_key_state(key.state).into(),
        public_key: key.public_key.to_vec(),
        sealed: key.sealed.clone(),
        changed_at: key.changed_at.0,
        published_ms: key.published.0,
        since_ms: key.since.0,
    }
}

fn decode_key(key: &log::SealedKey) -> Result<SealedKey, CodecError> {
    let purpose = match log::KeyPurpose::try_from(key.purpose) {
        Ok(log::KeyPurpose::Token) => KeyPurpose::Token,
        Ok(log::KeyPurpose::Feed) => KeyPurpose::Feed,
        Ok(log::KeyPurpose::Audit) => KeyPurpose::Audit,
        Ok(log::KeyPurpose::Unspecified) | Err(_) => {
            return Err(CodecError::Unknown("key purpose"));
        }
    };
    Ok(SealedKey {
        id: key.id,
        purpose,
        state: decode_key_state(key.state)?,
        public_key: array("public_key", &key.public_key)?,
        sealed: key.sealed.clone(),
        changed_at: hessra_revocation::Revision(key.changed_at),
        published: UnixMillis(key.published_ms),
        since: UnixMillis(key.since_ms),
    })
}

fn encode_key_state(state: KeyState) -> log::KeyState {
    match state {
        KeyState::Prepared => log::KeyState::Prepared,
        KeyState::Active => log::KeyState::Active,
        KeyState::Retired => log::KeyState::Retired,
        KeyState::Revoked => log::KeyState::Revoked,
    }
}

fn decode_key_state(state: i32) -> Result<KeyState, CodecError> {
    match log::KeyState::try_from(state) {
        Ok(log::KeyState::Prepared) => Ok(KeyState::Prepared),
        Ok(log::KeyState::Active) => Ok(KeyState::Active),
        Ok(log::KeyState::Retired) => Ok(KeyState::Retired),
        Ok(log::KeyState::Revoked) => Ok(KeyState::Revoked),
        Ok(log::KeyState::Unspecified) | Err(_) => Err(CodecError::Unknown("key state")),
    }
}
