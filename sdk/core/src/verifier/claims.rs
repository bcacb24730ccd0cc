//! What a signed token claims, for one request: class, actor, and every name and id that a rule can be about.

use hessra_revocation::{Identity, UnixSeconds};

use crate::token::{Block, CheckShape};
use crate::verifier::{PolicyChecks, Request, VerifierConfig};
use crate::{Chain, ChainError, DenyReason, Token, TokenClass, TokenFacts, Verified};

/// Facts of a token together with who acts.
pub(super) struct Claims {
    facts: TokenFacts,
    actor: Identity,
    chain: Vec<Identity>,
    delegable: bool,
    policy_checks: bool,
    class: TokenClass,
}

impl Claims {
    pub fn of(
        token: &Token,
        request: &Request,
        config: &VerifierConfig,
    ) -> Result<Self, DenyReason> {
        let facts = token.facts()?;
        match request {
            Request::Identity { expected, .. } => {
                check_class(&facts, TokenClass::Identity)?;
                Self::of_identity(token, facts, expected.as_ref(), config)
            }
            Request::Authorization {
                subject,
                resource,
                operation,
            } => {
                check_class(&facts, TokenClass::Authorization)?;
                let subject = granted_subject(&facts, subject.as_ref(), resource, operation)?;
                Self::of_authorization(token, facts, subject, config.policy_checks)
            }
        }
    }

    fn of_identity(
        token: &Token,
        facts: TokenFacts,
        expected: Option<&Identity>,
        config: &VerifierConfig,
    ) -> Result<Self, DenyReason> {
        let chain = Chain::derive(token, &facts, &config.limits, config.policy_checks)?;
        let actor = expected.unwrap_or(chain.actor());
        if !chain.permits(actor) {
            return Err(DenyReason::ActorMismatch {
                expected: actor.clone(),
                actual: chain.actor().clone(),
            });
        }
        Ok(Self {
            facts,
            actor: actor.clone(),
            delegable: chain.is_delegable(),
            policy_checks: chain.has_policy_checks(),
            chain: chain.identities().to_vec(),
            class: TokenClass::Identity,
        })
    }

    fn of_authorization(
        token: &Token,
        facts: TokenFacts,
        subject: Identity,
        policy_checks: PolicyChecks,
    ) -> Result<Self, DenyReason> {
        check_grant(token.authority())?;
        let mut evaluates = false;
        for block in token.blocks().iter().skip(1) {
            evaluates |= check_narrowing(block, policy_checks)?;
        }
        Ok(Self {
            facts,
            actor: subject.clone(),
            chain: vec![subject],
            delegable: false,
            policy_checks: evaluates,
            class: TokenClass::Authorization,
        })
    }

    /// Together with the key that signed the token.
    pub fn into_verified(self, token: &Token, key: &[u8; 32], key_id: Option<u32>) -> Verified {
        let token_ids = token.revocation_ids().to_vec();
        let subject = self.chain.first().unwrap_or(&self.actor).clone();
        // A bound of the checks and the recorded one are the same in what we mint; the earlier one decides.
        let ends = [token.expires_at(), self.facts.expires_at.map(|at| at.0)];
        Verified {
            class: self.class,
            identities: self.identities(),
            actor: self.actor,
            subject,
            chain: self.chain,
            delegable: self.delegable,
            expires_at: UnixSeconds(ends.into_iter().flatten().min().unwrap_or(0)),
            rev: self.facts.rev,
            all_ids: [token_ids.as_slice(), &self.facts.parents].concat(),
            token_ids,
            ancestor_ids: self.facts.parents,
            root_key: *key,
            root_key_id: key_id,
            third_party_keys: token
                .blocks()
                .iter()
                .filter_map(|block| Some(block.external_key?.to_bytes()))
                .collect(),
            certificate: self.facts.certificate,
            reusable: !self.policy_checks,
            checked_at: None,
            age: None,
            stale: false,
        }
    }

    /// Actor, subject, every delegation, every subject of a right.
    fn identities(&self) -> Vec<Identity> {
        let rights = self.facts.rights.iter();
        let rights = rights.filter_map(|right| Identity::parse(&right.subject).ok());
        let mut names: Vec<_> = self.chain.iter().cloned().chain(rights).collect();
        names.push(self.actor.clone());
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// A subject makes an identity, a right makes an authorization; both, neither, or a context make nothing.
fn check_class(facts: &TokenFacts, wanted: TokenClass) -> Result<(), DenyReason> {
    let class = match (
        facts.context,
        facts.subjects.is_empty(),
        facts.rights.is_empty(),
    ) {
        (false, false, true) => Ok(TokenClass::Identity),
        (false, true, false) => Ok(TokenClass::Authorization),
        (true, ..) => Err("a context token"),
        (false, true, true) => Err("a token without subject and right"),
        (false, false, false) => Err("a token with both subject and right"),
    };
    let found = match class {
        Ok(class)
            if facts
                .class
                .as_deref()
                .is_some_and(|named| named != class.as_str()) =>
        {
            "a token that says it is of another class than it is".to_owned()
        }
        Ok(class) if class == wanted => return Ok(()),
        Ok(class) => format!("an {class} token"),
        Err(words) => words.to_owned(),
    };
    Err(DenyReason::WrongClass { found, wanted })
}

/// The subject of the right that fits; all subjects must be canonical, because rules are asked about all.
fn granted_subject(
    facts: &TokenFacts,
    subject: Option<&Identity>,
    resource: &str,
    operation: &str,
) -> Result<Identity, DenyReason> {
    let mut granted = None;
    for right in &facts.rights {
        let owner = Identity::parse(&right.subject).map_err(DenyReason::MalformedIdentity)?;
        let fits = right.resource == resource && right.operation == operation;
        if fits && subject.is_none_or(|subject| *subject == owner) {
            granted.get_or_insert(owner);
        }
    }
    granted.ok_or(DenyReason::NotGranted)
}

/// The universal, A and C shapes: the head that binds resource and operation, and an end.
///
/// A right without the head is accepted for anything by published verifiers, so nobody may be used to it.
fn check_grant(authority: &Block) -> Result<(), DenyReason> {
    let shape = |what: &str| {
        Err(DenyReason::UnsupportedShape(format!(
            "the token is not a plain authorization: {what}"
        )))
    };
    if !authority.rules.is_empty() || authority.scoped {
        return shape("its authority block has rules, as a service chain has");
    }
    let mut has_head = false;
    for check in &authority.checks {
        match check {
            CheckShape::RightOfSubject | CheckShape::RightOfAnyone => has_head = true,
            CheckShape::Before(_) | CheckShape::SubjectIs(_) => {}
            CheckShape::Domain(_) => return Err(ChainError::DomainRequired.into()),
            _ => {
                return shape("its authority block has a check that this version cannot satisfy");
            }
        }
    }
    match (has_head, authority.expires_at()) {
        (false, _) => shape("it does not bind its resource and operation"),
        (true, None) => shape("it does not end"),
        (true, Some(_)) => Ok(()),
    }
}

/// A later block bounds the time, or holds further checks where those are evaluated (then the answer is true).
fn check_narrowing(block: &Block, policy_checks: PolicyChecks) -> Result<bool, DenyReason> {
    let shape = |what: &str| {
        Err(DenyReason::UnsupportedShape(format!(
            "a later block {what}"
        )))
    };
    if !block.only_restricts() {
        return shape("has facts or rules");
    }
    let mut evaluates = false;
    for check in &block.checks {
        match check {
            CheckShape::Before(_) => {}
            CheckShape::Other { tame: true } if policy_checks == PolicyChecks::Evaluate => {
                evaluates = true
            }
            _ => return shape("has a check of unknown meaning"),
        }
    }
    Ok(evaluates)
}
