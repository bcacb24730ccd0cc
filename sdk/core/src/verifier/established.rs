//! Opened and established: the first half of a check. Signatures; then class, facts and actor. Neither end, rules, checks
//! nor age.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use biscuit_auth::Biscuit;

use hessra_revocation::{UnixSeconds, View};

use super::claims::Claims;
use super::comparison;
use super::config::VerifierConfig;
use super::request::Request;
use crate::keyring::Signed;
use crate::signatures::{Shown, Signatures};
use crate::{DenyReason, Keyring, Token};

/// Token whose signatures verify, with a key of the keyring. It permits nothing, and nothing about it was judged.
///
/// The authority block is the word of the authority: the payer of the judgement can be told from it first.
pub struct Opened {
    token: Token,
    signed: Signed,
}

impl Opened {
    pub(super) fn read(
        text: &str,
        keyring: &Keyring,
        memory: Option<&Signatures>,
        config: &VerifierConfig,
    ) -> Result<Self, DenyReason> {
        let token = Token::glance(text, &config.limits)?;
        // Any other token needs the library's own proof, for Datalog.
        let memory = memory.filter(|_| comparison::are_comparable(&token));
        let shown = memory.and_then(|memory| Shown::of(token.envelope(), memory));
        if shown.is_none() {
            token.biscuit()?;
        }
        let signed = keyring.verify_remembering(&token, shown.as_ref());
        // What the library does not read has that reason, whatever else is wrong with it.
        let signed = signed.or_else(|reason| token.biscuit().map(|_| Err(reason))?)?;
        Ok(Self { token, signed })
    }

    /// Subject that the authority issued the token to, as written; `None` when it names none, or more than one.
    #[must_use]
    pub fn subject(&self) -> Option<String> {
        let facts = self.token.facts().ok()?;
        let rights = facts.rights.into_iter().map(|right| right.subject);
        let mut subjects = facts
            .subjects
            .into_iter()
            .chain(facts.contexts)
            .chain(rights);
        let first = subjects.next()?;
        subjects.all(|other| other == first).then_some(first)
    }
}

/// Hides the token.
impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").finish_non_exhaustive()
    }
}

/// Proof that a token is signed with a key of the keyring, is of the class that the request asks for, and stands for an
/// actor. Made by [`Established::of`] only. It permits nothing: [`Verified`](super::Verified) does.
pub(crate) struct Established {
    token: Token,
    signed: Signed,
    claims: Claims,
}

impl Established {
    /// Reads an opened token: class, facts, actor.
    pub(super) fn of(
        opened: Opened,
        request: &Request,
        view: Option<&View>,
        config: &VerifierConfig,
    ) -> Result<Self, DenyReason> {
        let Opened { token, signed } = opened;
        let claims = Claims::of(&token, &signed, request, view, config)?;
        Ok(Self {
            token,
            signed,
            claims,
        })
    }

    /// Reads a token, and denies one that has ended at `now`.
    pub(crate) fn read_unexpired(
        text: &str,
        request: &Request,
        keyring: &Keyring,
        config: &VerifierConfig,
        now: UnixSeconds,
    ) -> Result<Self, DenyReason> {
        let opened = Opened::read(text, keyring, None, config)?;
        let established = Self::of(opened, request, None, config)?;
        established.check_time(now, config.skew_seconds)?;
        Ok(established)
    }

    pub(crate) fn token(&self) -> &Token {
        &self.token
    }

    /// The library's form of the token, with verified signatures; `None`: the library does not agree.
    pub(super) fn signed(&self) -> Option<Cow<'_, Biscuit>> {
        self.signed.biscuit(&self.token)
    }

    /// Claims, without their proof.
    pub(super) fn into_claims(self) -> Claims {
        self.claims
    }
}

/// The claims, to read.
impl Deref for Established {
    type Target = Claims;

    fn deref(&self) -> &Claims {
        &self.claims
    }
}
