//! Established: the first half of a check. Signatures, class, facts and actor; neither end, rules, checks nor age.

use std::ops::Deref;

use biscuit_auth::Biscuit;

use hessra_revocation::{UnixSeconds, View};

use super::claims::Claims;
use super::config::VerifierConfig;
use super::request::Request;
use crate::keyring::Signed;
use crate::{DenyReason, Keyring, Token};

/// Proof that a token is signed with a key of the keyring, is of the class that the request asks for, and stands for an
/// actor. Made by [`Established::read`] only. It permits nothing: [`Verified`](super::Verified) does.
pub(crate) struct Established {
    token: Token,
    signed: Signed,
    claims: Claims,
}

impl Established {
    /// Reads a token: parse, key, signatures, class, facts, actor.
    pub(super) fn read(
        text: &str,
        request: &Request,
        keyring: &Keyring,
        view: Option<&View>,
        config: &VerifierConfig,
    ) -> Result<Self, DenyReason> {
        let token = Token::parse(text, &config.limits)?;
        let signed = keyring.verify(&token)?;
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
        let established = Self::read(text, request, keyring, None, config)?;
        established.check_end(now)?;
        Ok(established)
    }

    pub(super) fn token(&self) -> &Token {
        &self.token
    }

    pub(crate) fn biscuit(&self) -> &Biscuit {
        self.signed.biscuit()
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
