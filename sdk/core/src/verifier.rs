//! One token, one request, one verdict.
//!
//! Order: parse, key, signatures, facts, actor, rules, end, checks, age. Denial needs no freshness and permission does,
//! so the age of the knowledge is asked last: revoked stays denied with the feed down, and good ages into unknown.

use hessra_revocation::{KeyPurpose, KeyState, Query, UnixSeconds, View};

use crate::keyring::Signed;
use crate::reason::Refusal;
use crate::{DenyReason, Keyring, Token, UnknownReason};

mod age;
mod checks;
mod claims;
mod config;
mod exposure;
mod grant;
mod knowledge;
mod request;
mod verdict;
mod verified;

use claims::Claims;
pub use config::{StalenessPolicy, VerifierConfig};
pub use knowledge::{Knowledge, Now};
pub use request::{DomainClaim, Evidence, Purpose, Request, SingleUse};
pub use verdict::Verdict;
pub use verified::{Spend, Verified};

/// Checks tokens. Holds no state: equal arguments give equal verdicts.
#[derive(Clone, Debug, Default)]
pub struct TokenVerifier {
    config: VerifierConfig,
}

impl TokenVerifier {
    /// Decides as configured.
    #[must_use]
    pub fn new(config: VerifierConfig) -> Self {
        Self { config }
    }

    /// As configured.
    #[must_use]
    pub fn config(&self) -> &VerifierConfig {
        &self.config
    }

    /// Does the token permit the request, as far as is known at `now`?
    pub fn verify(
        &self,
        token: &str,
        request: &Request,
        knowledge: &Knowledge<'_>,
        now: Now,
    ) -> Verdict {
        let verified = self.establish(token, request, knowledge.keyring, knowledge.view, now.wall);
        self.permit(verified, knowledge, now)
    }

    /// Does the token permit the request, revocations aside?
    ///
    /// For tools and tests: a revoked token passes. [`Verified::checked_at`] is `None`.
    pub fn verify_offline(
        &self,
        token: &str,
        request: &Request,
        keyring: &Keyring,
        now: UnixSeconds,
    ) -> Verdict {
        match self.establish(token, request, keyring, None, now) {
            Ok(verified) => Verdict::Allow(verified),
            Err(refusal) => refusal.into(),
        }
    }

    /// Checks again what was verified before for the same request: end, key, rules, age; no signature, no Datalog.
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
        if !verified.reusable {
            return None;
        }
        let checked = self
            .check_rules(verified, knowledge.view, now.wall)
            .and_then(|()| check_end(verified, now.wall));
        let established = match checked {
            Ok(()) => Ok(verified.clone()),
            Err(reason) => Err(Refusal::Deny(reason)),
        };
        Some(self.permit(established, knowledge, now))
    }

    /// All that can deny.
    fn establish(
        &self,
        token: &str,
        request: &Request,
        keyring: &Keyring,
        view: Option<&View>,
        now: UnixSeconds,
    ) -> Result<Verified, Refusal> {
        let (token, signed, verified) = self
            .read(token, request, keyring, view)
            .map_err(Refusal::Deny)?;
        self.check_rules(&verified, view, now)
            .and_then(|()| check_end(&verified, now))
            .map_err(Refusal::Deny)?;
        let facts = checks::facts(&token, request, &verified, now);
        checks::run(&signed.biscuit, facts, self.config.datalog_time_max)?;
        Ok(verified)
    }

    /// Structure and end; neither rules nor Datalog.
    pub(crate) fn read_unexpired(
        &self,
        token: &str,
        request: &Request,
        keyring: &Keyring,
        now: UnixSeconds,
    ) -> Result<(Signed, Verified), DenyReason> {
        let (_, signed, verified) = self.read(token, request, keyring, None)?;
        check_end(&verified, now)?;
        Ok((signed, verified))
    }

    /// Parse, key, signatures, facts, actor.
    fn read(
        &self,
        text: &str,
        request: &Request,
        keyring: &Keyring,
        view: Option<&View>,
    ) -> Result<(Token, Signed, Verified), DenyReason> {
        let token = Token::parse(text, &self.config.limits)?;
        let signed = keyring.verify(&token)?;
        let claims = Claims::of(&token, request, &signed.key, &self.config)?;
        let key_id = view.map_or(signed.key_id, |view| signed.id_in(view));
        let verified = claims.into_verified(&token, &signed.key, key_id);
        Ok((token, signed, verified))
    }

    fn check_rules(
        &self,
        verified: &Verified,
        view: Option<&View>,
        now: UnixSeconds,
    ) -> Result<(), DenyReason> {
        let Some(view) = view else { return Ok(()) };
        if let Some(key_id) = revoked_key(view, &verified.root_key) {
            return Err(DenyReason::KeyRevoked { key_id });
        }
        let query = Query {
            identities: &verified.identities,
            actor: Some(&verified.actor),
            token_ids: &verified.all_ids,
            root_key: verified.root_key_id,
            third_party_keys: &verified.third_party_keys,
            certificate: verified.certificate,
            rev: verified.rev,
            now,
            skew_seconds: self.config.skew_seconds,
        };
        match view.set.check(&query) {
            None => Ok(()),
            Some(denial) => Err(DenyReason::Revoked {
                by: denial.rule.kind,
            }),
        }
    }

    /// Age: what turns a good token into a permission, or into unknown.
    fn permit(
        &self,
        established: Result<Verified, Refusal>,
        knowledge: &Knowledge<'_>,
        now: Now,
    ) -> Verdict {
        let policy = self.config.staleness;
        let doubt = age::doubt(knowledge, policy, now.monotonic);
        let mut verified = match (established, knowledge.view) {
            (Ok(verified), Some(view)) => verified.asked_at(view.revision),
            (Ok(_), None) => return Verdict::Unknown(UnknownReason::RevocationNotChecked),
            // A key that is not known may be a new one, of which a quiet feed has not told.
            (Err(Refusal::Deny(reason @ DenyReason::UnknownKey { .. })), Some(_)) => {
                return doubt.map_or(Verdict::Deny(reason), Verdict::Unknown);
            }
            (Err(refusal), _) => return refusal.into(),
        };
        verified.age = age::of(knowledge, now.monotonic);
        match age::behind(&verified).or(doubt) {
            None => verified.stale = false,
            Some(reason) if age::tolerates(policy, &reason, &verified, now.wall) => {
                verified.stale = true;
            }
            Some(reason) => return Verdict::Unknown(reason),
        }
        Verdict::Allow(verified)
    }
}

fn check_end(verified: &Verified, now: UnixSeconds) -> Result<(), DenyReason> {
    if now < verified.expires_at {
        Ok(())
    } else {
        Err(DenyReason::Expired {
            at: verified.expires_at,
        })
    }
}

/// A keyring can be older than the view: what the feed says of the key itself decides.
fn revoked_key(view: &View, key: &[u8; 32]) -> Option<u32> {
    let mut records = view.keys.values();
    records
        .find(|record| {
            record.purpose == KeyPurpose::Token
                && record.state == KeyState::Revoked
                && record.public_key == *key
        })
        .map(|record| record.id)
}
