//! Facts of the authority block: the published ones and ours.
//!
//! Only the authority block is read: later blocks are written by holders.

use biscuit_auth::builder::{Predicate, Term};

use hessra_revocation::{Revision, TokenId, UnixSeconds};

use super::block::Block;
use super::limits::{ANCESTORS_MAX, ROLES_MAX};
use crate::TokenError;

/// Class of a token; none passes for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TokenClass {
    /// Identity: proves who acts.
    Identity,
    /// Authorization: grants an operation on a resource to a subject.
    Authorization,
    /// Context: names the exposures of a session.
    Context,
}

impl TokenClass {
    /// Word of the `hessra_class` fact.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Authorization => "authorization",
            Self::Context => "context",
        }
    }

    /// Word with its article, for a sentence.
    pub(crate) fn with_article(self) -> &'static str {
        match self {
            Self::Identity => "an identity",
            Self::Authorization => "an authorization",
            Self::Context => "a context",
        }
    }
}

impl std::fmt::Display for TokenClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Right: `right(subject, resource, operation)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    /// Identity that it is granted to.
    pub subject: String,
    /// Resource.
    pub resource: String,
    /// Operation that is permitted.
    pub operation: String,
}

/// Refresh history of an identity, so that refreshing ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refreshed {
    /// Number of refreshes between the first token and this one.
    pub count: u32,
    /// Instant at which the first token was issued.
    pub first_issued_at: UnixSeconds,
}

/// Session of a context token, and its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Session {
    /// Id of the session.
    pub id: [u8; 16],
    /// Version: grows with every context issued for the session; only the latest may be used.
    pub version: u64,
}

/// Facts of an authority block, as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenFacts {
    /// `subject(name)`, every one.
    pub subjects: Vec<String>,
    /// `right(subject, resource, operation)`, every one.
    pub rights: Vec<Right>,
    /// `hessra_class(name)`: the class that the minting node wrote; published tokens have none.
    pub class: Option<String>,
    /// `rev(number)`: revision applied by the minting node.
    pub rev: Option<Revision>,
    /// `iat(seconds)`: when it was issued.
    pub issued_at: Option<UnixSeconds>,
    /// `exp(seconds)`: when it ends.
    pub expires_at: Option<UnixSeconds>,
    /// `parent(id)`: block ids of the identity token that was exchanged for this one.
    pub parents: Vec<TokenId>,
    /// `cert(fingerprint)`: SHA-256 of the client certificate that it was issued over.
    pub certificate: Option<[u8; 32]>,
    /// `hessra_role(name)`: roles in its domain when it was minted.
    pub roles: Vec<String>,
    /// `hessra_refreshed(count, first)`: its refresh history, if it was refreshed.
    pub refreshed: Option<Refreshed>,
    /// `hessra_until(seconds)`: the end of everything that it is refreshed to.
    pub refreshable_until: Option<UnixSeconds>,
    /// `context(subject)`, every one.
    pub contexts: Vec<String>,
    /// `hessra_session(id, version)`: session of a context.
    pub session: Option<Session>,
}

impl TokenFacts {
    pub(super) fn read(authority: &Block) -> Result<Self, TokenError> {
        let mut facts = Self::default();
        for fact in &authority.facts {
            facts.take(fact)?;
        }
        if facts.parents.len() > ANCESTORS_MAX {
            return Err(misshapen("parent"));
        }
        if facts.roles.len() > ROLES_MAX {
            return Err(misshapen("hessra_role"));
        }
        Ok(facts)
    }

    /// Class that the facts make: a subject an identity, a right an authorization, a context a context.
    ///
    /// # Errors
    /// Description of the token in words: two classes make none, and neither do no facts.
    pub(crate) fn structural_class(&self) -> Result<TokenClass, &'static str> {
        let has = (
            !self.subjects.is_empty(),
            !self.rights.is_empty(),
            !self.contexts.is_empty(),
        );
        match has {
            (true, false, false) => Ok(TokenClass::Identity),
            (false, true, false) => Ok(TokenClass::Authorization),
            (false, false, true) => Ok(TokenClass::Context),
            (false, false, false) => Err("a token without subject, right and context"),
            _ => Err("a token of more than one class"),
        }
    }

    fn take(&mut self, fact: &Predicate) -> Result<(), TokenError> {
        let name = fact.name.as_str();
        match (name, fact.terms.as_slice()) {
            ("subject", [Term::Str(subject)]) => self.subjects.push(subject.clone()),
            (
                "right",
                [
                    Term::Str(subject),
                    Term::Str(resource),
                    Term::Str(operation),
                ],
            ) => {
                self.rights.push(Right {
                    subject: subject.clone(),
                    resource: resource.clone(),
                    operation: operation.clone(),
                });
            }
            ("hessra_class", [Term::Str(class)]) => once(&mut self.class, class.clone(), name)?,
            ("rev", [number]) => once(&mut self.rev, Revision(natural(number, name)?), name)?,
            ("iat", [number]) => {
                once(
                    &mut self.issued_at,
                    UnixSeconds(natural(number, name)?),
                    name,
                )?;
            }
            ("exp", [number]) => {
                once(
                    &mut self.expires_at,
                    UnixSeconds(natural(number, name)?),
                    name,
                )?;
            }
            ("parent", [Term::Bytes(id)]) => {
                let id = TokenId::new(id).map_err(|_| misshapen(name))?;
                self.parents.push(id);
            }
            ("cert", [Term::Bytes(fingerprint)]) => {
                let fingerprint = fingerprint.as_slice().try_into();
                let fingerprint = fingerprint.map_err(|_| misshapen(name))?;
                once(&mut self.certificate, fingerprint, name)?;
            }
            ("hessra_role", [Term::Str(role)]) => self.roles.push(role.clone()),
            ("hessra_refreshed", [count, first]) => {
                let count = u32::try_from(natural(count, name)?).map_err(|_| misshapen(name))?;
                let first_issued_at = UnixSeconds(natural(first, name)?);
                let refreshed = Refreshed {
                    count,
                    first_issued_at,
                };
                once(&mut self.refreshed, refreshed, name)?;
            }
            ("hessra_until", [number]) => {
                let until = UnixSeconds(natural(number, name)?);
                once(&mut self.refreshable_until, until, name)?;
            }
            ("context", [Term::Str(subject)]) => self.contexts.push(subject.clone()),
            ("hessra_session", [Term::Bytes(id), version]) => {
                let id = id.as_slice().try_into().map_err(|_| misshapen(name))?;
                let version = natural(version, name)?;
                once(&mut self.session, Session { id, version }, name)?;
            }
            // Names of ours with another shape could be read differently by someone else.
            (
                "subject" | "right" | "hessra_class" | "rev" | "iat" | "exp" | "parent" | "cert"
                | "hessra_role" | "hessra_refreshed" | "hessra_until" | "context"
                | "hessra_session",
                _,
            ) => {
                return Err(misshapen(name));
            }
            _ => {}
        }
        Ok(())
    }
}

fn once<T>(slot: &mut Option<T>, value: T, name: &str) -> Result<(), TokenError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(TokenError::Format(format!("its fact `{name}` comes twice"))),
    }
}

fn natural(term: &Term, name: &str) -> Result<u64, TokenError> {
    match term {
        Term::Integer(number) => u64::try_from(*number).map_err(|_| misshapen(name)),
        _ => Err(misshapen(name)),
    }
}

fn misshapen(name: &str) -> TokenError {
    TokenError::Format(format!("its fact `{name}` has another shape than ours"))
}
