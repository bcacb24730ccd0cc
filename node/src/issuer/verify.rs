//! Verification of a token with what this node knows.

use std::sync::Arc;

use hessra_revocation::{Freshness, Monotonic, View};
use hessra_sdk_core::{
    DenyReason, Keyring, Knowledge, Opened, Request, UnknownReason, Verdict, Verified,
};

use super::Issuer;
use super::admission::Basis;
use super::allowance::Payer;
use crate::problem::{Kind, Problem};
use crate::signer::{KeySet, keyset_of};

impl Issuer {
    /// Verifies a token for a request, at somebody's cost; returns what it proves.
    ///
    /// # Errors
    /// The problem that `refused` makes of a denial; that this node cannot tell; and that who pays asks too often.
    pub(super) fn verify(
        &self,
        basis: &Basis,
        token: &str,
        (request, payer): (&Request, Payer),
        refused: impl FnOnce(&DenyReason) -> Problem,
    ) -> Result<Verified, Problem> {
        let keyring = self.keyring(basis.view());
        // The age was taken before `now`: the token is checked with knowledge that is at least as old as it is.
        let age_ms = u64::try_from(basis.age.as_millis()).unwrap_or(u64::MAX);
        let as_of = Monotonic(basis.now.monotonic.0.saturating_sub(age_ms));
        let knowledge = Knowledge {
            keyring: &keyring.1,
            view: Some(basis.view()),
            freshness: Some(Freshness {
                as_of: Some(as_of),
                fresh_for: self.parts.stale_max,
            }),
        };
        let opened = self.verifier.open(token, &keyring.1);
        // Who pays is known from here on; what its holders wrote is not evaluated yet.
        if let Some(subject) = opened.as_ref().ok().and_then(Opened::subject) {
            self.limit_subject(&subject, payer)?;
        }
        match self.verifier.judge(opened, request, &knowledge, basis.now) {
            Verdict::Allow(verified) => Ok(verified),
            Verdict::Deny(reason) => Err(refused(&reason)),
            Verdict::Unknown(reason) => Err(cannot_tell(&reason)),
        }
    }

    /// The keys of a view; read once per change of keys.
    pub(super) fn keyring(&self, view: &View) -> Arc<(KeySet, Keyring)> {
        let cached = self.keyring.load_full();
        if let Some(cached) = cached.filter(|cached| cached.0 == keyset_of(view)) {
            return cached;
        }
        let fresh = Arc::new((keyset_of(view), Keyring::from_view(view)));
        self.keyring.store(Some(Arc::clone(&fresh)));
        fresh
    }
}

/// Refusal of a token that should name the caller, and does not.
pub(super) fn not_identified(reason: &DenyReason) -> Problem {
    Problem::new(Kind::Unauthenticated, reason.code(), reason.to_string())
}

fn cannot_tell(reason: &UnknownReason) -> Problem {
    Problem::new(Kind::Unavailable, reason.code(), reason.to_string())
}
