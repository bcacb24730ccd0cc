//! Resources: kind and shape of their tokens, their lifetime, and the rules of their operations.

use std::collections::BTreeMap;

use crate::names::glob_matches;

/// Kind of token that a resource needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ResourceKind {
    /// One token is enough. What is not in `resources.toml` is one.
    #[default]
    Singleton,
    ServiceChain,
    MultiParty,
}

impl ResourceKind {
    /// Name in the policy file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Singleton => "singleton",
            Self::ServiceChain => "service_chain",
            Self::MultiParty => "multi_party",
        }
    }
}

/// Shape of a token: which verifiers it is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenShape {
    /// Satisfies the verifiers of both generations.
    #[default]
    Universal,
    /// Shape that `hessra-token-authz` mints (generation A).
    Authorization,
    /// Shape that `hessra-cap-token` mints (generation C).
    Capability,
}

impl TokenShape {
    /// Name in the policy file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Universal => "universal",
            Self::Authorization => "authorization",
            Self::Capability => "capability",
        }
    }
}

/// A service that a request passes, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainNode {
    /// Name of the service.
    pub component: String,
    /// `ed25519/HEX` or `secp256r1/HEX`.
    pub public_key: String,
}

/// A party that must sign before a token is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// Name of the party.
    pub component: String,
    /// Address where it signs: `host:port` or `https://host:port/…`.
    pub authorization_service: String,
    /// `ed25519/HEX` or `secp256r1/HEX`.
    pub public_key: String,
}

/// Rules of one operation, or of all of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperationRules {
    /// Labels that a capability must be given a value for; sorted.
    pub required_designations: Vec<String>,
    /// True when a capability for it can be used once, anywhere in the cluster.
    pub single_use: bool,
    /// True when a capability for it is given out only to a session that shows its context token.
    pub context_required: bool,
}

/// Resource as `resources.toml` describes it, or with the defaults when it does not name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Kind of token.
    pub kind: ResourceKind,
    /// Shape of token.
    pub shape: TokenShape,
    /// Seconds; `None` = the policy's limit, see [`crate::PolicyView::authorization_duration_of`].
    pub authorization_token_duration: Option<u64>,
    /// Nodes of a service chain, in the order in which they are passed.
    pub nodes: Vec<ChainNode>,
    /// Signers of a multi-party resource.
    pub signers: Vec<Signer>,
    /// Rules of every operation.
    pub rules: OperationRules,
    /// Schema: what each operation adds to `rules`. With any, these are all operations that there are.
    pub operations: BTreeMap<String, OperationRules>,
    /// Labels that a session is exposed to when it gets a capability for this resource; sorted.
    pub classifications: Vec<String>,
    /// Line of its entry in `resources.toml`; 0 when it has none.
    pub line: usize,
}

impl Resource {
    pub(crate) fn unlisted() -> Self {
        Self {
            kind: ResourceKind::default(),
            shape: TokenShape::default(),
            authorization_token_duration: None,
            nodes: Vec::new(),
            signers: Vec::new(),
            rules: OperationRules::default(),
            operations: BTreeMap::new(),
            classifications: Vec::new(),
            line: 0,
        }
    }

    /// True when its schema has this operation. Without a schema, every operation is known.
    #[must_use]
    pub fn knows(&self, operation: &str) -> bool {
        self.operations.is_empty() || self.operations.contains_key(operation)
    }

    /// Rules of an operation: the resource's and the operation's own.
    #[must_use]
    pub fn rules_of(&self, operation: &str) -> OperationRules {
        let mut rules = self.rules.clone();
        if let Some(own) = self.operations.get(operation) {
            rules.single_use |= own.single_use;
            rules.context_required |= own.context_required;
            rules
                .required_designations
                .extend(own.required_designations.iter().cloned());
            rules.required_designations.sort();
            rules.required_designations.dedup();
        }
        rules
    }
}

/// Rule that a session that has seen these labels must not reach these resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExposureRule {
    /// Patterns of labels.
    pub(crate) labels: Vec<String>,
    /// True when all of the patterns must have been seen, not just one.
    pub(crate) all: bool,
    /// Patterns of resources.
    pub(crate) blocks: Vec<String>,
}

impl ExposureRule {
    pub(crate) fn blocks(&self, seen: &[String], resource: &str) -> bool {
        let is_seen = |pattern: &String| seen.iter().any(|label| glob_matches(pattern, label));
        let holds = if self.all {
            self.labels.iter().all(is_seen)
        } else {
            self.labels.iter().any(is_seen)
        };
        holds
            && self
                .blocks
                .iter()
                .any(|pattern| glob_matches(pattern, resource))
    }
}
