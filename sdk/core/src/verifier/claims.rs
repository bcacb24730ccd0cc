//! What a signed token claims, for one request: class, actor, and every name and id that a rule can be about.

use hessra_revocation::{Identity, UnixSeconds};

use super::config::VerifierConfig;
use super::request::{DomainClaim, Request};
use super::verified::{Spend, Verified};
use super::{exposure, grant};
use crate::{Chain, ChainError, DenyReason, Session, Token, TokenClass, TokenFacts};

/// Facts of a token together with who acts.
pub(super) struct Claims {
    class: TokenClass,
    facts: TokenFacts,
    actor: Identity,
    chain: Vec<Identity>,
    delegable: bool,
    domain: Option<String>,
    attested: Vec<String>,
    spends: Vec<Spend>,
    exposures: Vec<String>,
    session: Option<Session>,
    policy_checks: bool,
}

impl Claims {
    pub fn of(
        token: &Token,
        request: &Request,
        root_key: &[u8; 32],
        config: &VerifierConfig,
    ) -> Result<Self, DenyReason> {
        let facts = token.facts()?;
        check_class(&facts, class_for(request))?;
        match request {
            Request::Identity {
                expected, domain, ..
            } => Self::of_identity(token, facts, expected.as_ref(), domain, config),
            Request::Authorization {
                subject,
                resource,
                operation,
                evidence,
            } => {
                let subject = granted_subject(&facts, subject.as_ref(), resource, operation)?;
                let grant = grant::read(token, resource, evidence, config.policy_checks)?;
                Ok(Self {
                    attested: grant.attested,
                    spends: grant.spends,
                    policy_checks: grant.policy_checks,
                    ..Self::plain(TokenClass::Authorization, facts, subject)
                })
            }
            Request::Context { excluded } => {
                let exposures = exposure::read(token, &facts, root_key)?;
                exposure::check(&exposures, excluded)?;
                let subject = exposure::subject(&facts)?;
                Ok(Self {
                    exposures,
                    session: facts.session,
                    ..Self::plain(TokenClass::Context, facts, subject)
                })
            }
        }
    }

    fn plain(class: TokenClass, facts: TokenFacts, subject: Identity) -> Self {
        Self {
            class,
            facts,
            actor: subject.clone(),
            chain: vec![subject],
            delegable: false,
            domain: None,
            attested: Vec::new(),
            spends: Vec::new(),
            exposures: Vec::new(),
            session: None,
            policy_checks: false,
        }
    }

    fn of_identity(
        token: &Token,
        facts: TokenFacts,
        expected: Option<&Identity>,
        domain: &DomainClaim,
        config: &VerifierConfig,
    ) -> Result<Self, DenyReason> {
        let chain = Chain::derive(token, &facts, &config.limits, config.policy_checks)?;
        check_domain(chain.domain(), domain)?;
        let actor = expected.unwrap_or(chain.actor());
        if !chain.permits(actor) {
            return Err(DenyReason::ActorMismatch {
                expected: actor.clone(),
                actual: chain.actor().clone(),
            });
        }
        Ok(Self {
            actor: actor.clone(),
            delegable: chain.is_delegable(),
            domain: chain.domain().map(str::to_owned),
            policy_checks: chain.has_policy_checks(),
            chain: chain.identities().to_vec(),
            ..Self::plain(TokenClass::Identity, facts, actor.clone())
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
            // Whether it was used already is asked each time, and so is what a holder's checks say.
            reusable: !self.policy_checks && self.spends.is_empty(),
            actor: self.actor,
            subject,
            chain: self.chain,
            delegable: self.delegable,
            domain: self.domain,
            roles: self.facts.roles,
            refreshed: self.facts.refreshed,
            issued_at: self.facts.issued_at,
            attested: self.attested,
            spends: self.spends,
            exposures: self.exposures,
            session: self.session,
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
        // The realm that minted a restricted identity stands above it, wherever its name lies.
        let domain = self.domain.as_deref().map(Identity::parse);
        names.extend(domain.and_then(Result::ok));
        names.sort_unstable();
        names.dedup();
        names
    }
}

fn class_for(request: &Request) -> TokenClass {
    match request {
        Request::Identity { .. } => TokenClass::Identity,
        Request::Authorization { .. } => TokenClass::Authorization,
        Request::Context { .. } => TokenClass::Context,
    }
}

/// No class passes for another, and a token that says it is of another class than it is passes for none.
fn check_class(facts: &TokenFacts, wanted: TokenClass) -> Result<(), DenyReason> {
    let named = |class: TokenClass| {
        facts
            .class
            .as_deref()
            .is_none_or(|name| name == class.as_str())
    };
    let found = match facts.structural_class() {
        Ok(class) if !named(class) => {
            "a token that says it is of another class than it is".to_owned()
        }
        Ok(class) if class == wanted => return Ok(()),
        Ok(class) => format!("{} token", class.with_article()),
        Err(words) => words.to_owned(),
    };
    Err(DenyReason::WrongClass { found, wanted })
}

fn check_domain(domain: Option<&str>, claim: &DomainClaim) -> Result<(), DenyReason> {
    match (domain, claim) {
        (None, DomainClaim::Required(wanted)) => Err(DenyReason::DomainMismatch {
            domain: wanted.clone(),
        }),
        (None, _) | (Some(_), DomainClaim::OfToken) => Ok(()),
        (Some(_), DomainClaim::Unconfirmed) => Err(ChainError::DomainRequired.into()),
        (Some(domain), DomainClaim::Confirmed(wanted) | DomainClaim::Required(wanted)) => {
            if domain == wanted {
                Ok(())
            } else {
                Err(DenyReason::DomainMismatch {
                    domain: wanted.clone(),
                })
            }
        }
    }
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
