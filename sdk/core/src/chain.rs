//! Chain of an identity token: the actor, derived from structure, never from text.
//!
//! The authority block names one subject. Each later block either narrows to a name at or below the one before, or only
//! bounds the time, or (if the caller says so) holds further checks. Anything else is refused: a verifier that inspects
//! text lets `alice` become `bob`.

use hessra_revocation::{Identity, IdentityError};

use crate::token::{Block, CheckShape, NotTaken, PolicyBudget, PolicyChecks, RuleShape};
use crate::{Costly, Limits, Token, TokenFacts};

/// Names of an identity token: subject first, then every delegation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    identities: Vec<Identity>,
    delegable: bool,
    budget: PolicyBudget,
    domain: Option<String>,
}

impl Chain {
    /// Derives the chain of an identity token whose facts are `facts`.
    ///
    /// # Errors
    /// [`ChainError`], one variant per way in which a token is not an identity.
    pub fn derive(
        token: &Token,
        facts: &TokenFacts,
        limits: &Limits,
        policy_checks: PolicyChecks,
    ) -> Result<Self, ChainError> {
        let mut chain = Self::of_authority(token.authority(), facts)?;
        let mut delegations = 0;
        for block in token.blocks().iter().skip(1) {
            let Some((name, delegable)) = chain.read_later(block, policy_checks)? else {
                continue;
            };
            delegations += 1;
            if delegations > limits.delegation_depth_max {
                let limit = limits.delegation_depth_max;
                return Err(ChainError::TooDeep { limit });
            }
            chain.narrow(name, delegable)?;
        }
        Ok(chain)
    }

    /// Subject of the authority block.
    #[must_use]
    pub fn subject(&self) -> &Identity {
        self.identities
            .first()
            .expect("a chain starts with its subject")
    }

    /// Actor when no actor is named: the last delegation, else the subject.
    #[must_use]
    pub fn actor(&self) -> &Identity {
        self.identities
            .last()
            .expect("a chain starts with its subject")
    }

    /// All names: subject first, derived actor last.
    #[must_use]
    pub fn identities(&self) -> &[Identity] {
        &self.identities
    }

    /// True when the derived actor may delegate, and stand for names below it.
    #[must_use]
    pub fn is_delegable(&self) -> bool {
        self.delegable
    }

    /// Domain that the identity is restricted to.
    #[must_use]
    pub fn domain(&self) -> Option<&str> {
        self.domain.as_deref()
    }

    /// True when a later block holds checks of its holder's own making.
    pub(crate) fn has_policy_checks(&self) -> bool {
        !self.budget.is_untouched()
    }

    /// True when such a check asks for the time.
    pub(crate) fn has_checks_of_time(&self) -> bool {
        self.budget.is_of_time()
    }

    /// True when the token may be used as `actor`: the derived one, or one below it where that is allowed.
    #[must_use]
    pub fn permits(&self, actor: &Identity) -> bool {
        actor == self.actor() || (self.delegable && is_below(actor, self.actor()))
    }

    fn of_authority(authority: &Block, facts: &TokenFacts) -> Result<Self, ChainError> {
        let domain = domain_of(authority)?;
        let [subject] = facts.subjects.as_slice() else {
            return Err(ChainError::Shape("it does not have exactly one subject"));
        };
        if authority.expires_at().is_none() {
            return Err(ChainError::Shape("its authority block does not end"));
        }
        let delegable = authority_guard(authority, subject)?;
        Ok(Self {
            identities: vec![parse(subject)?],
            delegable,
            budget: PolicyBudget::default(),
            domain,
        })
    }

    /// Name that a later block narrows to, if it is a delegation.
    fn read_later<'a>(
        &mut self,
        block: &'a Block,
        policy_checks: PolicyChecks,
    ) -> Result<Option<(&'a str, bool)>, ChainError> {
        if !block.only_restricts() {
            return Err(ChainError::Shape("a later block has facts or rules"));
        }
        let mut narrowed = None;
        for check in &block.checks {
            match check {
                CheckShape::Before(_) => {}
                CheckShape::Actor { name, delegable } if narrowed.is_none() => {
                    narrowed = Some((name.as_str(), *delegable));
                }
                CheckShape::Domain(_) => return Err(ChainError::DomainRequired),
                CheckShape::Other(check) => self.budget.take(check, policy_checks)?,
                _ => return Err(NotTaken::Meaning.into()),
            }
        }
        Ok(narrowed)
    }

    fn narrow(&mut self, name: &str, delegable: bool) -> Result<(), ChainError> {
        let child = parse(name)?;
        let parent = self.actor().clone();
        if !self.delegable {
            return Err(ChainError::NotDelegable { parent });
        }
        self.delegable = delegable;
        // A holder may bind a token to its own name once more, with less time.
        if child == parent {
            return Ok(());
        }
        if !is_below(&child, &parent) {
            return Err(ChainError::Sideways { child, parent });
        }
        self.identities.push(child);
        Ok(())
    }
}

/// Checks that there is exactly one check on the actor, about the subject, and else only time.
fn authority_guard(authority: &Block, subject: &str) -> Result<bool, ChainError> {
    let mut guard = None;
    for check in &authority.checks {
        match check {
            CheckShape::Before(_) | CheckShape::Domain(_) => {}
            CheckShape::Actor { name, delegable } if guard.is_none() && name == subject => {
                guard = Some(*delegable);
            }
            _ => {
                return Err(ChainError::Shape(
                    "its authority block has a check of unknown meaning",
                ));
            }
        }
    }
    guard.ok_or(ChainError::Shape("it does not bind its actor"))
}

/// Domain of the published restriction: one check on the domain, and the rule that tells verifiers the subject is in
/// it.
fn domain_of(authority: &Block) -> Result<Option<String>, ChainError> {
    let domains: Vec<&String> = authority.checks.iter().filter_map(domain_check).collect();
    match (
        authority.rules.as_slice(),
        domains.as_slice(),
        authority.scoped,
    ) {
        ([], [], false) => Ok(None),
        ([RuleShape::SubjectInDomain], [domain], false) => Ok(Some((*domain).clone())),
        _ => Err(ChainError::Shape("its authority block has rules")),
    }
}

fn domain_check(check: &CheckShape) -> Option<&String> {
    match check {
        CheckShape::Domain(domain) => Some(domain),
        _ => None,
    }
}

/// True when `child` is strictly below `parent`, byte for byte, as Biscuit's own check sees it.
pub(crate) fn is_below(child: &Identity, parent: &Identity) -> bool {
    let rest = child.as_str().strip_prefix(parent.as_str());
    rest.is_some_and(|rest| rest.starts_with(':'))
}

fn parse(name: &str) -> Result<Identity, ChainError> {
    Ok(Identity::parse(name)?)
}

impl From<NotTaken> for ChainError {
    fn from(reason: NotTaken) -> Self {
        match reason {
            NotTaken::Meaning => Self::Shape("a later block has a check of unknown meaning"),
            NotTaken::Costly(costly) => Self::Costly(costly),
        }
    }
}

/// Error of a token that is not an identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// Token of another shape than the published one.
    #[error("the token is not an identity that this version understands: {0}")]
    Shape(&'static str),
    /// Identity that is restricted to a domain which the caller does not confirm.
    #[error(
        "the token is restricted to a domain that is not confirmed here: use it in its domain, or an unrestricted one"
    )]
    DomainRequired,
    /// Name that is not canonical.
    #[error("a name in the token is not an identity: {0}")]
    Identity(#[from] IdentityError),
    /// Delegation that is not at or below the one before.
    #[error("`{child}` is not below `{parent}`, from which it was delegated")]
    Sideways {
        /// Name of the delegation.
        child: Identity,
        /// Name that it should be below.
        parent: Identity,
    },
    /// Delegation of an identity that was issued without that right.
    #[error("`{parent}` was issued without the right to delegate")]
    NotDelegable {
        /// Name that was delegated.
        parent: Identity,
    },
    /// Check of a holder's making that costs more than verifiers give.
    #[error("a holder added a check that verifiers do not evaluate: {0}")]
    Costly(Costly),
    /// More delegations than [`Limits::delegation_depth_max`].
    #[error("the identity was delegated more than {limit} times")]
    TooDeep {
        /// Most delegations.
        limit: usize,
    },
}
