//! What is asked of a token.

use hessra_revocation::Identity;

/// What is asked of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Does it prove who acts?
    Identity {
        /// The actor as the caller names it; `None` = the one derived from the token.
        expected: Option<Identity>,
        /// What the identity is used for; policy checks in delegations may ask for it.
        purpose: Option<Purpose>,
    },
    /// Does it grant an operation?
    Authorization {
        /// Who asks; `None` = the subject that the token was issued to (whoever holds it).
        subject: Option<Identity>,
        /// On what.
        resource: String,
        /// What is to be done.
        operation: String,
    },
}

/// What an identity is used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purpose {
    /// On what.
    pub resource: String,
    /// What is to be done.
    pub operation: String,
}

impl Request {
    /// Whoever the token says acts.
    #[must_use]
    pub fn bearer() -> Self {
        Self::Identity {
            expected: None,
            purpose: None,
        }
    }

    /// The actor named, exactly.
    #[must_use]
    pub fn identity(actor: Identity) -> Self {
        Self::Identity {
            expected: Some(actor),
            purpose: None,
        }
    }

    /// An operation on a resource by a subject.
    #[must_use]
    pub fn authorization(
        subject: Identity,
        resource: impl Into<String>,
        operation: impl Into<String>,
    ) -> Self {
        Self::Authorization {
            subject: Some(subject),
            resource: resource.into(),
            operation: operation.into(),
        }
    }
}
