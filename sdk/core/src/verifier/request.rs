//! Request: the question about a token, and the evidence that the caller has for the token's demands.

use hessra_revocation::Identity;

use crate::{Designation, ServiceNode};

/// Question about a token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// Identity: whether the token proves who acts.
    Identity {
        /// Actor that the caller names; `None` = the one derived from the token.
        expected: Option<Identity>,
        /// Purpose of the identity; policy checks in delegations may ask for it.
        purpose: Option<Purpose>,
        /// Claim of the caller about domains.
        domain: DomainClaim,
    },
    /// Authorization: whether the token grants an operation.
    Authorization {
        /// Subject that asks; `None` = the one that the token was issued to, for any holder.
        subject: Option<Identity>,
        /// Resource.
        resource: String,
        /// Operation.
        operation: String,
        /// Evidence of the caller; a token that asks for more is refused.
        evidence: Evidence,
    },
    /// Context: whether the session is free of these exposures.
    Context {
        /// Labels that the session must not have met.
        excluded: Vec<String>,
    },
}

/// Purpose of an identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Purpose {
    /// Resource.
    pub resource: String,
    /// Operation.
    pub operation: String,
}

/// Claim of the caller about the domain that an identity may be restricted to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum DomainClaim {
    /// No claim: a restricted identity is refused.
    #[default]
    Unconfirmed,
    /// Domain that the caller confirms. Identities without a restriction pass too.
    Confirmed(String),
    /// Domain that the caller requires: only identities restricted to it pass.
    Required(String),
    /// Domain of the token: the caller decides afterwards by [`Verified::domain`](crate::Verified::domain).
    OfToken,
}

/// Evidence of the caller, beyond subject, resource and operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Evidence {
    /// Domain of this verifier.
    pub domain: Option<String>,
    /// Service of a chain that asks: those before it must have attested. `None` = all must.
    pub component: Option<String>,
    /// Chain as it is configured here, which must be that of the token. `None` = the token's, which is signed.
    pub nodes: Option<Vec<ServiceNode>>,
    /// Path of the object; must lie under every prefix that the token was restricted to.
    pub path: Option<String>,
    /// Designations of this request, label by label. A verifier names itself as `anchor`.
    pub designations: Vec<Designation>,
    /// Labels that the token must be bound by.
    pub required: Vec<String>,
    /// Treatment of a single-use token.
    pub single_use: SingleUse,
}

impl Evidence {
    /// Adds that the request is about `value` in the dimension `label`.
    #[must_use]
    pub fn designation(mut self, label: impl Into<String>, value: impl Into<String>) -> Self {
        self.designations.push(Designation::new(label, value));
        self
    }

    /// Bytes that it takes, about.
    fn bytes(&self) -> usize {
        let single = [&self.domain, &self.component, &self.path];
        let single = single.into_iter().flatten().map(String::len);
        let nodes = self.nodes.iter().flatten();
        let nodes = nodes.map(|node| size_of::<ServiceNode>() + node.component.len());
        let designations = self.designations.iter();
        let designations = designations.map(|one| of_list(&one.label) + of_list(&one.value));
        let required = self.required.iter().map(|label| of_list(label));
        single
            .chain(nodes)
            .chain(designations)
            .chain(required)
            .sum()
    }

    /// Adds that this verifier is `name`.
    #[must_use]
    pub fn anchor(self, name: impl Into<String>) -> Self {
        self.designation(Designation::ANCHOR, name)
    }
}

/// Treatment of a single-use token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SingleUse {
    /// Refused: a verifier without the cluster's ledger cannot know whether it was used.
    #[default]
    Refuse,
    /// Passed, and the caller spends every one of [`Verified::to_spend`](crate::Verified::to_spend) in the cluster's
    /// ledger before it permits anything.
    Report,
}

/// Bytes of a text in a list, with its place there.
fn of_list(text: &str) -> usize {
    size_of::<String>() + text.len()
}

impl Request {
    /// Request for the identity of any bearer.
    #[must_use]
    pub fn bearer() -> Self {
        Self::Identity {
            expected: None,
            purpose: None,
            domain: DomainClaim::default(),
        }
    }

    /// Request for the identity of the named actor, exactly.
    #[must_use]
    pub fn identity(actor: Identity) -> Self {
        Self::Identity {
            expected: Some(actor),
            purpose: None,
            domain: DomainClaim::default(),
        }
    }

    /// Request for an operation on a resource by a subject.
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

    /// Request for an operation on a resource by any holder of the token.
    #[must_use]
    pub fn capability(resource: impl Into<String>, operation: impl Into<String>) -> Self {
        Self::Authorization {
            subject: None,
            resource: resource.into(),
            operation: operation.into(),
            evidence: Evidence::default(),
        }
    }

    /// Bytes that it takes, about.
    pub(crate) fn bytes(&self) -> usize {
        let name = |name: &Option<Identity>| name.as_ref().map_or(0, |name| name.as_str().len());
        match self {
            Self::Identity {
                expected,
                purpose,
                domain,
            } => {
                let purpose = purpose.as_ref();
                let purpose = purpose.map_or(0, |it| it.resource.len() + it.operation.len());
                let domain = match domain {
                    DomainClaim::Confirmed(domain) | DomainClaim::Required(domain) => domain.len(),
                    DomainClaim::OfToken | DomainClaim::Unconfirmed => 0,
                };
                name(expected) + purpose + domain
            }
            Self::Authorization {
                subject,
                resource,
                operation,
                evidence,
            } => name(subject) + resource.len() + operation.len() + evidence.bytes(),
            Self::Context { excluded } => excluded.iter().map(|label| of_list(label)).sum(),
        }
    }

    /// Sets the evidence. Requests other than authorizations stay unchanged.
    #[must_use]
    pub fn with(mut self, known: Evidence) -> Self {
        if let Self::Authorization { evidence, .. } = &mut self {
            *evidence = known;
        }
        self
    }

    /// Sets the claim about the domain. Requests other than identities stay unchanged.
    #[must_use]
    pub fn in_domain(mut self, claim: DomainClaim) -> Self {
        if let Self::Identity { domain, .. } = &mut self {
            *domain = claim;
        }
        self
    }
}
