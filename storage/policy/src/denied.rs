//! Reasons for which a client gets no token.

/// Reason for which a client gets no token; the sentence may be shown to it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Denied {
    #[error("the certificate names no client of the policy")]
    UnknownCertificate,
    #[error("the certificate names more than one client of the policy")]
    AmbiguousCertificate,
    #[error("`{0}` is not a client of the policy")]
    UnknownIdentity(String),
    #[error("`{0}` may not have identity tokens")]
    NoIdentityTokens(String),
    #[error("`{actor}` may not `{operation}` on `{resource}`")]
    NotPermitted {
        actor: String,
        resource: String,
        operation: String,
    },
}

impl Denied {
    /// Stable word for machines.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Denied::UnknownCertificate | Denied::UnknownIdentity(_) => "unknown_client",
            Denied::AmbiguousCertificate => "ambiguous_certificate",
            Denied::NoIdentityTokens(_) => "identity_tokens_disabled",
            Denied::NotPermitted { .. } => "not_permitted",
        }
    }
}
