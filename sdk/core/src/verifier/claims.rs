//! Claims of a signed token, for one request: class, actor, and every name and id that a rule can be about.

use std::sync::OnceLock;

use hessra_revocation::{HashedQuery, Identity, Revision, TokenId, UnixSeconds, View};

use super::config::VerifierConfig;
use super::request::{DomainClaim, Request};
use super::spend::Spend;
use super::{exposure, grant};
use crate::keyring::Signed;
use crate::reason::LIFE_SECONDS_MAX;
use crate::{Chain, ChainError, DenyReason, Refreshed, Session, Token, TokenClass, TokenFacts};

/// Claims of a token about its holder, for one request. Whether they may be believed is not said here.
#[derive(Clone, Debug)]
pub(crate) struct Claims {
    pub class: TokenClass,
    pub actor: Identity,
    pub subject: Identity,
    pub chain: Vec<Identity>,
    /// Names that a rule can be about.
    pub identities: Vec<Identity>,
    pub delegable: bool,
    pub domain: Option<String>,
    pub roles: Vec<String>,
    pub refreshed: Option<Refreshed>,
    pub refreshable_until: Option<UnixSeconds>,
    /// True when a check of a holder's own making asks for the time.
    pub checks_of_time: bool,
    pub issued_at: Option<UnixSeconds>,
    pub attested: Vec<String>,
    pub spends: Vec<Spend>,
    pub exposures: Vec<String>,
    pub session: Option<Session>,
    pub expires_at: UnixSeconds,
    pub rev: Option<Revision>,
    pub token_ids: Vec<TokenId>,
    pub ancestor_ids: Vec<TokenId>,
    /// Own ids and those of ancestors.
    pub all_ids: Vec<TokenId>,
    pub root_key: [u8; 32],
    /// Id of the root key as the feed knows it, or else the keyring.
    pub root_key_id: Option<u32>,
    /// Id of the root key as the keyring has it.
    pub key_id: Option<u32>,
    /// Id of the root key as the token names it.
    pub named_key: Option<u32>,
    pub third_party_keys: Vec<Vec<u8>>,
    pub certificate: Option<[u8; 32]>,
    /// True when a check of the same request may be repeated without signatures and Datalog.
    pub reusable: bool,
    /// Names and ids above, as the feed hashes them; made when they are asked about first.
    pub hashed: OnceLock<HashedQuery>,
}

impl Claims {
    /// Reads the claims of a signed token. `view` names the root key, if the feed knows it.
    pub(crate) fn of(
        token: &Token,
        signed: &Signed,
        request: &Request,
        view: Option<&View>,
        config: &VerifierConfig,
    ) -> Result<Self, DenyReason> {
        let facts = token.facts()?;
        check_class(&facts, class_for(request))?;
        let holder = match request {
            Request::Identity {
                expected, domain, ..
            } => Holder::of_identity(token, &facts, expected.as_ref(), domain, config)?,
            Request::Authorization {
                subject,
                resource,
                operation,
                evidence,
            } => {
                let subject = granted_subject(&facts, subject.as_ref(), resource, operation)?;
                let grant = grant::read(token, resource, evidence, config.policy_checks)?;
                Holder {
                    attested: grant.attested,
                    spends: grant.spends,
                    policy_checks: grant.policy_checks,
                    ..Holder::plain(subject)
                }
            }
            Request::Context { excluded } => {
                let exposures = exposure::read(token, &facts, signed.key())?;
                exposure::check(&exposures, excluded)?;
                Holder {
                    exposures,
                    session: facts.session,
                    ..Holder::plain(exposure::subject(&facts)?)
                }
            }
        };
        let token_ids = token.revocation_ids().to_vec();
        // A bound of the checks and the recorded one are the same in tokens that we mint; the earlier one decides.
        let ends = [token.expires_at(), facts.expires_at.map(|at| at.0)];
        Ok(Self {
            class: class_for(request),
            identities: holder.identities(&facts),
            // Earlier uses and a holder's own checks are asked each time.
            reusable: !holder.policy_checks && holder.spends.is_empty(),
            subject: holder.chain.first().unwrap_or(&holder.actor).clone(),
            actor: holder.actor,
            chain: holder.chain,
            delegable: holder.delegable,
            domain: holder.domain,
            roles: facts.roles,
            refreshed: facts.refreshed,
            refreshable_until: facts.refreshable_until,
            checks_of_time: holder.checks_of_time,
            issued_at: facts.issued_at,
            attested: holder.attested,
            spends: holder.spends,
            exposures: holder.exposures,
            session: holder.session,
            expires_at: UnixSeconds(ends.into_iter().flatten().min().unwrap_or(0)),
            rev: facts.rev,
            all_ids: [token_ids.as_slice(), &facts.parents].concat(),
            token_ids,
            ancestor_ids: facts.parents,
            root_key: *signed.key(),
            root_key_id: view.map_or(signed.key_id(), |view| signed.id_in(view)),
            key_id: signed.key_id(),
            named_key: token.root_key_id(),
            third_party_keys: token.signer_keys(),
            certificate: facts.certificate,
            hashed: OnceLock::new(),
        })
    }

    /// Denies a token that has ended at `now`, that is from the future by more than the skew of clocks, or that lives for longer
    /// than any that is issued: a machine with a wrong clock made it.
    pub(crate) fn check_time(&self, now: UnixSeconds, skew_seconds: u64) -> Result<(), DenyReason> {
        if let Some(at) = self.issued_at {
            if at.0 > now.0.saturating_add(skew_seconds) {
                return Err(DenyReason::IssuedLater { at });
            }
            let seconds = self.expires_at.0.saturating_sub(at.0);
            if seconds > LIFE_SECONDS_MAX {
                return Err(DenyReason::LivesTooLong { seconds });
            }
        }
        if now < self.expires_at {
            Ok(())
        } else {
            Err(DenyReason::Expired {
                at: self.expires_at,
            })
        }
    }
}

/// Claims about the holder that a token of one class makes beyond the facts that all classes share.
struct Holder {
    actor: Identity,
    chain: Vec<Identity>,
    delegable: bool,
    domain: Option<String>,
    attested: Vec<String>,
    spends: Vec<Spend>,
    exposures: Vec<String>,
    session: Option<Session>,
    policy_checks: bool,
    checks_of_time: bool,
}

impl Holder {
    fn plain(subject: Identity) -> Self {
        Self {
            actor: subject.clone(),
            chain: vec![subject],
            delegable: false,
            domain: None,
            attested: Vec::new(),
            spends: Vec::new(),
            exposures: Vec::new(),
            session: None,
            policy_checks: false,
            checks_of_time: false,
        }
    }

    fn of_identity(
        token: &Token,
        facts: &TokenFacts,
        expected: Option<&Identity>,
        domain: &DomainClaim,
        config: &VerifierConfig,
    ) -> Result<Self, DenyReason> {
        let chain = Chain::derive(token, facts, &config.limits, config.policy_checks)?;
        check_domain(chain.domain(), domain)?;
        let actor = expected.unwrap_or(chain.actor());
        if !chain.permits(actor) {
            return Err(DenyReason::ActorMismatch {
                expected: actor.clone(),
                actual: chain.actor().clone(),
            });
        }
        Ok(Self {
            delegable: chain.is_delegable(),
            domain: chain.domain().map(str::to_owned),
            policy_checks: chain.has_policy_checks(),
            checks_of_time: chain.has_checks_of_time(),
            chain: chain.identities().to_vec(),
            ..Self::plain(actor.clone())
        })
    }

    /// Names that a rule can be about: actor, subject, every delegation, every subject of a right.
    fn identities(&self, facts: &TokenFacts) -> Vec<Identity> {
        let rights = facts.rights.iter();
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

/// Denies a token of another class: no class passes for another, and a token that says it is of another class than it
/// is passes for none.
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

/// Subject of the right that fits. All subjects must be canonical, because rules are asked about all.
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
