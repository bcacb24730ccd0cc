//! Keys and their states.

use hessra_proto::v1::log;
use hessra_revocation::{KeyPurpose, KeyState, Revision, UnixMillis};
use hessra_state::SealedKey;

use super::message::{CodecError, array};

pub(super) fn encode_key(key: &SealedKey) -> log::SealedKey {
    log::SealedKey {
        id: key.id,
        purpose: encode_purpose(key.purpose).into(),
        state: encode_key_state(key.state).into(),
        public_key: key.public_key.to_vec(),
        sealed: key.sealed.clone(),
        changed_at: key.changed_at.0,
        published_ms: key.published.0,
        since_ms: key.since.0,
    }
}

pub(super) fn decode_key(key: &log::SealedKey) -> Result<SealedKey, CodecError> {
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
        changed_at: Revision(key.changed_at),
        published: UnixMillis(key.published_ms),
        since: UnixMillis(key.since_ms),
    })
}

pub(super) fn encode_purpose(purpose: KeyPurpose) -> log::KeyPurpose {
    match purpose {
        KeyPurpose::Token => log::KeyPurpose::Token,
        KeyPurpose::Feed => log::KeyPurpose::Feed,
        KeyPurpose::Audit => log::KeyPurpose::Audit,
    }
}

pub(super) fn encode_key_state(state: KeyState) -> log::KeyState {
    match state {
        KeyState::Prepared => log::KeyState::Prepared,
        KeyState::Active => log::KeyState::Active,
        KeyState::Retired => log::KeyState::Retired,
        KeyState::Revoked => log::KeyState::Revoked,
    }
}

pub(super) fn decode_key_state(state: i32) -> Result<KeyState, CodecError> {
    match log::KeyState::try_from(state) {
        Ok(log::KeyState::Prepared) => Ok(KeyState::Prepared),
        Ok(log::KeyState::Active) => Ok(KeyState::Active),
        Ok(log::KeyState::Retired) => Ok(KeyState::Retired),
        Ok(log::KeyState::Revoked) => Ok(KeyState::Revoked),
        Ok(log::KeyState::Unspecified) | Err(_) => Err(CodecError::Unknown("key state")),
    }
}
