//! What an operator names in a request: [`v1::Target`] and [`Target`].

use super::{ConvertError, Identity, Target, TokenId, array, v1};

impl From<Target> for v1::Target {
    /// A lock goes as its subtree: that it is a lock is said by `until` of the request.
    fn from(target: Target) -> Self {
        use v1::target::Kind;
        let kind = match target {
            Target::Token(id) => Kind::TokenId(id.as_bytes().to_vec()),
            Target::Subtree(identity) | Target::Lock(identity) => {
                Kind::Subtree(identity.as_str().to_owned())
            }
            Target::Exact(identity) => Kind::Exact(identity.as_str().to_owned()),
            Target::Key(id) => Kind::KeyId(id),
            Target::Certificate(fingerprint) => Kind::Certificate(fingerprint.to_vec()),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<v1::Target> for Target {
    type Error = ConvertError;

    fn try_from(wire: v1::Target) -> Result<Self, ConvertError> {
        use v1::target::Kind;
        match wire.kind.ok_or(ConvertError::Missing("target"))? {
            Kind::TokenId(bytes) => token_id(&bytes).map(Self::Token),
            Kind::Subtree(text) => identity("target.subtree", &text).map(Self::Subtree),
            Kind::Exact(text) => identity("target.exact", &text).map(Self::Exact),
            Kind::KeyId(id) => Ok(Self::Key(id)),
            Kind::Certificate(bytes) => array("target.certificate", &bytes).map(Self::Certificate),
        }
    }
}

fn identity(field: &'static str, text: &str) -> Result<Identity, ConvertError> {
    Identity::parse(text).map_err(|source| ConvertError::Identity { field, source })
}

fn token_id(bytes: &[u8]) -> Result<TokenId, ConvertError> {
    let wrong = |error: hessra_revocation::rule::TokenIdError| error.to_string();
    TokenId::new(bytes).map_err(|error| ConvertError::Rule {
        field: "target.token_id",
        rule: wrong(error),
    })
}
