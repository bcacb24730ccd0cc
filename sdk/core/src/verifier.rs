//! One token, one request, one verdict.
//!
//! Order: parse, key, signatures, facts, actor, rules, end, checks, age. Denial needs no freshness and permission does,
//! so the age of the knowledge is asked last: revoked stays denied with the feed down, and good ages into unknown.

use std::time::Duration;

use hessra_revocation::{Freshness, Identity, Monotonic, Query, UnixSeconds, View};

use crate::keyring::Signed;
use crate::{DenyReason, Keyring, Limits, Token, UnknownReason, Verdict, Verified};

mod checks;
mod claims;

use claims::Claims;

/// What is asked of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Does it prove who acts?
    Identity {
        /// The actor as the caller names it; `None` = the one derived from the token.
        expected: Option<Identity>,
        /// What the identity is used for; policy checks in delegations may ask for it.
        purpose: Option<Purpose>,
    },
    /// Does it grant an operation?
    Authorization {
        /// Who asks; `None` = the subject that the token was issued to (whoever holds it).
        subject: Option<Identity>,
        /// On what.
        resource: String,
        /// What is to be done.
        operation: String,
    },
}

/// What an identity is used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purpose {
    /// On what.
    pub resource: String,
    /// What is to be done.
    pub operation: String,
}

impl Request {
    /// Whoever the token says acts.
    #[must_use]
    pub fn bearer() -> Self {
        Self::Identity {
            expected: None,
            purpose: None,
        }
    }

    /// The actor named, exactly.
    #[must_use]
    pub fn identity(actor: Identity) -> Self {
        Self::Identity {
            expected: Some(actor),
            purpose: None,
        }
    }

    /// An operation on a resource by a subject.
    #[must_use]
    pub fn authorization(
        subject: Identity,
        resource: impl Into<String>,
        operation: impl Into<String>,
    ) -> Self {
        Self::Authorization {
            subject: Some(subject),
            resource: resource.into(),
            operation: operation.into(),
        }
    }
}

/// How old knowledge may be. Bounds never exceed the cluster's own `fresh_for`: the strictest that applies wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StalenessPolicy {
    /// Permits only while the knowledge is at most `max` old.
    Strict {
        /// Oldest knowledge.
        max: Duration,
    },
    /// As strict, and permits with older knowledge while the token itself has little life left.
    Bounded {
        /// Oldest knowledge.
        max: Duration,
        /// Longest remaining life of a token that is permitted with older knowledge.
        token_life_max: Duration,
    },
    /// Permits with knowledge of any age, and says so in [`Verified::is_stale`].
    BestEffort,
}

impl Default for StalenessPolicy {
    /// Strict, 5 s: five missed heartbeats.
    fn default() -> Self {
        Self::Strict {
            max: Duration::from_secs(5),
        }
    }
}

/// What to do with checks in later blocks that are neither a delegation nor a bound in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PolicyChecks {
    /// Refuse the token.
    #[default]
    Refuse,
    /// Evaluate them; they can only restrict. Checks that speak about `actor` or `subject` are refused still.
    Evaluate,
}

/// How a verifier decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifierConfig {
    /// How far clocks may differ; a lock lasts so much longer. Default 5 s. Tokens end without tolerance.
    pub skew_seconds: u64,
    /// Size limits.
    pub limits: Limits,
    /// How old knowledge may be.
    pub staleness: StalenessPolicy,
    /// Checks of a holder's own making.
    pub policy_checks: PolicyChecks,
    /// Longest that Datalog may run. Default 100 ms: Biscuit's own 1 ms refuses valid tokens on a busy host.
    pub datalog_time_max: Duration,
}

impl Default for VerifierConfig {
    fn default() -> Self {
        Self {
            skew_seconds: 5,
            limits: Limits::default(),
            staleness: StalenessPolicy::default(),
            policy_checks: PolicyChecks::default(),
            datalog_time_max: Duration::from_millis(100),
        }
    }
}

/// Everything a verifier may believe.
#[derive(Clone, Copy, Debug)]
pub struct Knowledge<'a> {
    /// Keys that sign tokens.
    pub keyring: &'a Keyring,
    /// What the feed has said; `None` = nothing.
    pub view: Option<&'a View>,
    /// How far the view is known to be complete.
    pub freshness: Option<Freshness>,
}

impl<'a> Knowledge<'a> {
    /// Keys and nothing else: [`Verifier::verify`] then denies or does not know.
    #[must_use]
    pub fn offline(keyring: &'a Keyring) -> Self {
        Self {
            keyring,
            view: None,
            freshness: None,
        }
    }
}

/// The instant of a check, on both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Bounds tokens and locks.
    pub wall: UnixSeconds,
    /// Bounds the age of knowledge.
    pub monotonic: Monotonic,
}

/// Checks tokens. Holds no state: equal arguments give equal verdicts.
#[derive(Clone, Debug, Default)]
pub struct Verifier {
    config: VerifierConfig,
}

impl Verifier {
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
            Err(verdict) => verdict,
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
            Err(reason) => Err(Verdict::Deny(reason)),
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
    ) -> Result<Verified, Verdict> {
        let (signed, verified) = self
            .read(token, request, keyring, view)
            .map_err(Verdict::Deny)?;
        self.check_rules(&verified, view, now)
            .and_then(|()| check_end(&verified, now))
            .map_err(Verdict::Deny)?;
        checks::run(
            &signed.biscuit,
            request,
            &verified,
            now,
            self.config.datalog_time_max,
        )?;
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
        let (signed, verified) = self.read(token, request, keyring, None)?;
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
    ) -> Result<(Signed, Verified), DenyReason> {
        let token = Token::parse(text, &self.config.limits)?;
        let signed = keyring.verify(&token)?;
        let claims = Claims::of(&token, request, &self.config)?;
        let key_id = view.map_or(signed.key_id, |view| signed.id_in(view));
        let verified = claims.into_verified(&token, &signed.key, key_id);
        Ok((signed, verified))
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
        verified: Result<Verified, Verdict>,
        knowledge: &Knowledge<'_>,
        now: Now,
    ) -> Verdict {
        let mut verified = match verified {
            Ok(verified) => verified,
            Err(verdict) => return verdict,
        };
        let Some(view) = knowledge.view else {
            return Verdict::Unknown(UnknownReason::RevocationNotChecked);
        };
        verified.checked_at = Some(view.revision);
        verified.age = knowledge
            .freshness
            .and_then(|freshness| freshness.age(now.monotonic));
        match doubt(&verified, view, knowledge.freshness, self.config.staleness) {
            None => verified.stale = false,
            Some(reason) if !self.tolerates(&verified, &reason, now.wall) => {
                return Verdict::Unknown(reason);
            }
            Some(_) => verified.stale = true,
        }
        Verdict::Allow(verified)
    }

    fn tolerates(&self, verified: &Verified, reason: &UnknownReason, now: UnixSeconds) -> bool {
        match (self.config.staleness, reason) {
            (StalenessPolicy::BestEffort, _) => true,
            (StalenessPolicy::Bounded { token_life_max, .. }, UnknownReason::Stale { .. }) => {
                let life = verified.expires_at.0.saturating_sub(now.0);
                Duration::from_secs(life) <= token_life_max
            }
            _ => false,
        }
    }
}

/// What speaks against relying on the knowledge.
fn doubt(
    verified: &Verified,
    view: &View,
    freshness: Option<Freshness>,
    policy: StalenessPolicy,
) -> Option<UnknownReason> {
    if let Some(token) = verified.rev.filter(|rev| *rev > view.revision) {
        return Some(UnknownReason::Behind {
            token,
            verifier: view.revision,
        });
    }
    let Some(age) = verified.age else {
        return Some(UnknownReason::NeverSynced);
    };
    let wanted = freshness.map(|freshness| freshness.fresh_for);
    let age_max = age_max(policy, wanted);
    (age > age_max).then_some(UnknownReason::Stale { age, age_max })
}

/// The strictest bound that applies. A `fresh_for` of zero is one that was never said.
fn age_max(policy: StalenessPolicy, fresh_for: Option<Duration>) -> Duration {
    let own = match policy {
        StalenessPolicy::Strict { max } | StalenessPolicy::Bounded { max, .. } => max,
        StalenessPolicy::BestEffort => Duration::MAX,
    };
    match fresh_for {
        Some(wanted) if !wanted.is_zero() => own.min(wanted),
        _ => own,
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
    use hessra_revocation::{KeyPurpose, KeyState};
    let mut records = view.keys.values();
    records
        .find(|record| {
            record.purpose == KeyPurpose::Token
                && record.state == KeyState::Revoked
                && record.public_key == *key
        })
        .map(|record| record.id)
}
