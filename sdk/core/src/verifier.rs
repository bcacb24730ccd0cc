//! Verifier of tokens: one token, one request, one verdict.
//!
//! Order: parse, key, signatures, facts, actor, rules, end, checks, age. Denial needs no freshness and permission does,
//! so the age of the knowledge is asked last: revoked stays denied with the feed down, and good ages into unknown.

use hessra_revocation::{UnixSeconds, View};

use crate::{DenyReason, Keyring};

mod age;
mod checks;
mod claims;
mod config;
mod established;
mod exposure;
mod grant;
mod knowledge;
mod request;
mod spend;
mod verdict;
mod verified;

pub use config::{StalenessPolicy, VerifierConfig};
pub(crate) use established::Established;
pub use knowledge::{Knowledge, Now};
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
        let established = self.establish(token, request, knowledge.keyring, knowledge.view);
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
        let established = self.establish(token, request, keyring, None);
        verified::check_offline(established, request, now, &self.config).into()
    }

    /// Verifies again a token that passed before for the same request: end, key, rules, age; no signature, no Datalog.
    ///
    /// `None` when that is not enough, because the token has checks of its holder's own making: verify it anew. The
    /// caller must have compared the whole token and the whole request.
    #[must_use]
    pub fn recheck(
        &self,
        verified: &Verified,
        knowledge: &Knowledge<'_>,
        now: Now,
    ) -> Option<Verdict> {
        verified::check_again(verified, knowledge, now, &self.config).map(Verdict::from)
    }

    fn establish(
        &self,
        token: &str,
        request: &Request,
        keyring: &Keyring,
        view: Option<&View>,
    ) -> Result<Established, DenyReason> {
        Established::read(token, request, keyring, view, &self.config)
    }
}
