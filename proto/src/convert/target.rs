//! Targets of revocations, in requests ([`v1::Target`]) and in the log ([`v1::log::Target`]).
//!
//! The two messages have equal fields, and the log has one more: a request says by its `until` that a subtree is a lock,
//! the log by its field `lock`. The macro below writes both conversions from one text.

use hessra_revocation::{Identity, SignerKey, Target, TokenId};

use super::error::{ConvertError, array};
use crate::v1;

/// Conversions between [`Target`] and the message `Target` of a module. A lock is written in the field `$written`, and
/// read from the field `$read`, if there is one.
macro_rules! conversions {
    ($($module:ident)::+, locks in $written:ident $(and from $read:ident)?) => {
        impl From<&Target> for $($module)::+::Target {
            fn from(target: &Target) -> Self {
                use $($module)::+::target::Kind;
                let text = |identity: &Identity| identity.as_str().to_owned();
                let kind = match target {
                    Target::Token(id) => Kind::TokenId(id.as_bytes().to_vec()),
                    Target::Subtree(identity) => Kind::Subtree(text(identity)),
                    Target::Exact(identity) => Kind::Exact(text(identity)),
                    Target::Key(id) => Kind::KeyId(*id),
                    Target::Signer(key) => Kind::Signer(key.to_bytes()),
                    Target::Certificate(fingerprint) => Kind::Certificate(fingerprint.to_vec()),
                    Target::Lock(identity) => Kind::$written(text(identity)),
                };
                Self { kind: Some(kind) }
            }
        }

        impl TryFrom<&$($module)::+::Target> for Target {
            type Error = ConvertError;

            fn try_from(wire: &$($module)::+::Target) -> Result<Self, ConvertError> {
                use $($module)::+::target::Kind;
                let kind = wire.kind.as_ref();
                match kind.ok_or(ConvertError::Missing("target"))? {
                    Kind::TokenId(bytes) => token_id(bytes).map(Self::Token),
                    Kind::Subtree(text) => identity("target.subtree", text).map(Self::Subtree),
                    Kind::Exact(text) => identity("target.exact", text).map(Self::Exact),
                    Kind::KeyId(id) => Ok(Self::Key(*id)),
                    Kind::Signer(bytes) => signer(bytes).map(Self::Signer),
                    Kind::Certificate(bytes) => {
                        array("target.certificate", bytes).map(Self::Certificate)
                    }
                    $(Kind::$read(text) => identity("target.lock", text).map(Self::Lock),)?
                }
            }
        }
    };
}

conversions!(v1, locks in Subtree);
conversions!(v1::log, locks in Lock and from Lock);

fn identity(field: &'static str, text: &str) -> Result<Identity, ConvertError> {
    Identity::parse(text).map_err(|source| ConvertError::Identity { field, source })
}

fn token_id(bytes: &[u8]) -> Result<TokenId, ConvertError> {
    TokenId::new(bytes).map_err(|error| ConvertError::Rule {
        field: "target.token_id",
        rule: error.to_string(),
    })
}

fn signer(bytes: &[u8]) -> Result<SignerKey, ConvertError> {
    SignerKey::new(bytes).map_err(|error| ConvertError::Rule {
        field: "target.signer",
        rule: error.to_string(),
    })
}
