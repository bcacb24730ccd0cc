//! Verifier of tokens: one token, one request, one verdict.
//!
//! Order: parse, key, signatures, facts, actor, rules, end, checks, age. Denial needs no freshness and permission does,
//! so the age of the knowledge is asked last: revoked stays denied with the feed down, and good ages into unknown.

use hessra_revocation::UnixSeconds;

use crate::{DenyReason, Keyring};

mod age;
mod checks;
mod claims;
mod comparison;
mod config;
mod established;
mod exposure;
mod grant;
mod knowledge;
mod memory;
mod remembering;
mod request;
mod spend;
mod verdict;
mod verified;

pub use config::{StalenessPolicy, VerifierConfig};
pub(crate) use established::Established;
pub use established::Opened;
pub use knowledge::{Knowledge, Now};
pub use memory::MemorySize;
pub use remembering::RememberingVerifier;
pub use request::{DomainClaim, Evidence, Purpose, Request, SingleUse};
pub use spend::Spend;
pub use verdict::Verdict;
pub use verified::Verified;

/// Verifier of tokens. Holds no state: equal arguments give equal verdicts.
#[derive(Clone, Debug, Default)]
pub struct TokenVerifier {
    config: VerifierConfig,
}

impl TokenVerifier {
    /// Verifier that decides as configured.
    #[must_use]
    pub fn new(config: VerifierConfig) -> Self {
        Self { config }
    }

    /// Configuration of the verifier.
    #[must_use]
    pub fn config(&self) -> &VerifierConfig {
        &self.config
    }

    /// Verifies a token for a request, as far as is known at `now`.
    pub fn verify(
        &self,
        token: &str,
        request: &Request,
        knowledge: &Knowledge<'_>,
        now: Now,
    ) -> Verdict {
        self.judge(self.open(token, knowledge.keyring), request, knowledge, now)
    }

    /// Opens a token: parses it, and verifies its signatures. The first half of [`Self::verify`], for callers that ask
    /// something about the token before they pay for the second.
    ///
    /// # Errors
    /// [`DenyReason`]; it belongs into [`Self::judge`], which knows when it is no denial yet.
    pub fn open(&self, token: &str, keyring: &Keyring) -> Result<Opened, DenyReason> {
        Opened::read(token, keyring, None, &self.config)
    }

    /// Judges what [`Self::open`] gave. `knowledge` has the same keyring.
    pub fn judge(
        &self,
        opened: Result<Opened, DenyReason>,
        request: &Request,
        knowledge: &Knowledge<'_>,
        now: Now,
    ) -> Verdict {
        let established = opened
            .and_then(|opened| Established::of(opened, request, knowledge.view, &self.config));
        verified::check(established, request, knowledge, now, &self.config).into()
    }

    /// Verifies a token for a request, revocations aside.
    ///
    /// For tools and tests: a revoked token passes. [`Verified::checked_at`] is `None`.
    pub fn verify_offline(
        &self,
        token: &str,
        request: &Request,
        keyring: &Keyring,
        now: UnixSeconds,
    ) -> Verdict {
        let opened = self.open(token, keyring);
        let established =
            opened.and_then(|opened| Established::of(opened, request, None, &self.config));
        verified::check_offline(established, request, now, &self.config).into()
    }

    /// Verifies again a token that passed before for the same request: end, key, rules, age; no signature, no Datalog.
    ///
    /// `None` when that is not enough, because the token has checks of its holder's own making, or the keyring has not its
    /// key any more: verify it anew. The caller must have compared the whole token and the whole request;
    /// [`RememberingVerifier`] does.
    #[must_use]
    pub fn recheck(
        &self,
        verified: &Verified,
        knowledge: &Knowledge<'_>,
        now: Now,
    ) -> Option<Verdict> {
        let claims = verified.claims();
        verified::check_again(claims, knowledge, now, &self.config).map(Verdict::from)
    }
}
