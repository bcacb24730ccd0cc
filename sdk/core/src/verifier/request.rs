//! What is asked of a token, and what the caller knows that the token may ask for.

use hessra_revocation::Identity;

use crate::{Designation, ServiceNode};

/// What is asked of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Does it prove who acts?
    Identity {
        /// The actor as the caller names it; `None` = the one derived from the token.
        expected: Option<Identity>,
        /// What the identity is used for; policy checks in delegations may ask for it.
        purpose: Option<Purpose>,
        /// What the caller says about domains.
        domain: DomainClaim,
    },
    /// Does it grant an operation?
    Authorization {
        /// Who asks; `None` = the subject that the token was issued to (whoever holds it).
        subject: Option<Identity>,
        /// On what.
        resource: String,
        /// What is to be done.
        operation: String,
        /// What else the caller knows; a token that asks for more is refused.
        evidence: Evidence,
    },
    /// Is its session free of these exposures?
    Context {
        /// Labels that must not have been met.
        excluded: Vec<String>,
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

/// What the caller says about the domain that an identity may be restricted to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DomainClaim {
    /// Nothing: a restricted identity is refused.
    #[default]
    Unconfirmed,
    /// This is the domain. Identities without a restriction pass too.
    Confirmed(String),
    /// This is the domain, and only identities restricted to it pass.
    Required(String),
    /// The caller decides afterwards by [`Verified::domain`](crate::Verified::domain).
    OfToken,
}

/// What the caller of a check knows beyond who, what and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The domain that this verifier stands in.
    pub domain: Option<String>,
    /// Which service of a chain asks: those before it must have attested. `None` = all must.
    pub component: Option<String>,
    /// The chain as it is configured here, which must be that of the token. `None` = the token's, which is signed.
    pub nodes: Option<Vec<ServiceNode>>,
    /// Which object of the resource; must lie under every prefix that the token was restricted to.
    pub path: Option<String>,
    /// What this request is about, label by label. A verifier names itself as `anchor`.
    pub designations: Vec<Designation>,
    /// Labels that the token must be bound by.
    pub required: Vec<String>,
    /// What becomes of a token that is good once.
    pub single_use: SingleUse,
}

impl Evidence {
    /// That the request is about `value` in the dimension `label`.
    #[must_use]
    pub fn designation(mut self, label: impl Into<String>, value: impl Into<String>) -> Self {
        self.designations.push(Designation::new(label, value));
        self
    }

    /// That this verifier is `name`.
    #[must_use]
    pub fn anchor(self, name: impl Into<String>) -> Self {
        self.designation(Designation::ANCHOR, name)
    }
}

/// What becomes of a token that is good once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SingleUse {
    /// Refused: a verifier without the cluster's ledger cannot know whether it was used.
    #[default]
    Refuse,
    /// Passed, and the caller spends every one of [`Verified::to_spend`](crate::Verified::to_spend) in the cluster's
    /// ledger before it permits anything.
    Report,
}

impl Request {
    /// Whoever the token says acts.
    #[must_use]
    pub fn bearer() -> Self {
        Self::Identity {
            expected: None,
            purpose: None,
            domain: DomainClaim::default(),
        }
    }

    /// The actor named, exactly.
    #[must_use]
    pub fn identity(actor: Identity) -> Self {
        Self::Identity {
            expected: Some(actor),
            purpose: None,
            domain: DomainClaim::default(),
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
            evidence: Evidence::default(),
        }
    }

    /// An operation on a resource by whoever holds the token.
    #[must_use]
    pub fn capability(resource: impl Into<String>, operation: impl Into<String>) -> Self {
        Self::Authorization {
            subject: None,
            resource: resource.into(),
            operation: operation.into(),
            evidence: Evidence::default(),
        }
    }

    /// The same with what the caller knows. Of other requests than authorizations: unchanged.
    #[must_use]
    pub fn with(mut self, known: Evidence) -> Self {
        if let Self::Authorization { evidence, .. } = &mut self {
            *evidence = known;
        }
        self
    }

    /// The same with a claim about the domain. Of other requests than identities: unchanged.
    #[must_use]
    pub fn in_domain(mut self, claim: DomainClaim) -> Self {
        if let Self::Identity { domain, .. } = &mut self {
            *domain = claim;
        }
        self
    }
}
