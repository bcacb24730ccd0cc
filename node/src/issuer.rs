//! Decides on requests for tokens, and mints.
//!
//! ```text
//! who asks? ─ serving? ─ too often? ─ permitted by the policy? ─ revoked? ─ mint
//!   401          503         429              403                   401
//! ```
//! Minting needs no log entry: any node mints while its state is fresh, that is, while it has heard lately that a quorum
//! stands behind what it knows. A node that is cut off stops. What a lagging node mints carries its old revision, so a
//! rule that it had not heard of denies the token wherever the rule is known.
//!
//! An identity token that is exchanged is checked like at any verifier, revocation first. The ids of its blocks go into
//! the new token as ancestors, and so does the certificate it came over: revoking one of them kills both.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use data_encoding::HEXLOWER;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use opentelemetry::KeyValue;
use rand::rngs::OsRng;
use tracing::info;

use hessra_revocation::{
    FeedId, Freshness, Identity, KeyPurpose, KeyState, Query, RuleKind, Target, TokenId,
    UnixSeconds, View,
};
use hessra_sdk_core::keyring::public_key_to_pem;
use hessra_sdk_core::{
    AuthorizationParameters, DomainClaim, IdentityParameters, Keyring, Knowledge, MintError,
    Minted, Now, PolicyChecks, Purpose, Request, StalenessPolicy, TokenShape, Verdict, Verified,
    Verifier, VerifierConfig, mint_authorization, mint_identity,
};
use hessra_state::State;

use crate::api::problem::{Kind, Problem};
use crate::api::tls::PeerCertificate;
use crate::audit::trail;
use crate::edge::Clock;
use crate::keys::jwks::{JwkSet, jwks};
use crate::policy::{Denied, Policies, PolicyView, ResourceKind, without_scheme};
use crate::signer::{Keyholder, SigningError, TokenSigner, active_key};
use crate::telemetry::metrics;

/// Keys of the rate limiter are swept when there are more: names in the policy, not in requests, bound them.
const LIMITED_MAX: usize = 10_000;

/// What an issuer stands on.
pub struct IssuerParts {
    /// The state as last applied here.
    pub state: Arc<dyn Fn() -> Arc<State> + Send + Sync>,
    /// Age of the last confirmation of the quorum; `None` before the first.
    pub freshness: Arc<dyn Fn() -> Option<Duration> + Send + Sync>,
    /// The policy of a state.
    pub policies: Policies,
    /// The keys that sign.
    pub keys: Keyholder,
    /// Time.
    pub clock: Clock,
    /// Older knowledge mints nothing.
    pub stale_max: Duration,
    /// Of one identity, per second and at once.
    pub requests_per_second: NonZeroU32,
}

/// Who asks, as far as the connection and the header say.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Caller {
    pub certificate: Option<PeerCertificate>,
    pub bearer: Option<String>,
}

/// A token for its caller.
#[derive(Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Issued {
    pub token: String,
    /// Seconds.
    pub expires_in: u64,
    /// As the policy spells it.
    pub identity: String,
}

/// A public key as clients take it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct PublicKeyPem {
    pub id: u32,
    pub purpose: KeyPurpose,
    pub state: KeyState,
    pub pem: String,
}

/// Decides and mints. One per node.
pub struct Issuer {
    parts: IssuerParts,
    verifier: Verifier,
    limiter: DefaultKeyedRateLimiter<String>,
    keyring: ArcSwapOption<(FeedId, u64, Keyring)>,
}

/// What one request is decided on: taken once, so that all of the decision is about one revision.
struct Moment {
    state: Arc<State>,
    policy: Arc<PolicyView>,
    age: Duration,
    now: Now,
}

impl Moment {
    fn view(&self) -> &View {
        self.state.view()
    }

    fn wall(&self) -> UnixSeconds {
        self.now.wall
    }
}

/// Who asks, proved.
struct Asking {
    actor: Identity,
    subject: Identity,
    /// Ids of the exchanged identity token and of what it came from; none over a certificate.
    parents: Vec<TokenId>,
    certificate: Option<[u8; 32]>,
}

impl Issuer {
    /// An issuer over its parts.
    #[must_use]
    pub fn new(parts: IssuerParts) -> Self {
        let config = VerifierConfig {
            staleness: StalenessPolicy::Strict {
                max: parts.stale_max,
            },
            policy_checks: PolicyChecks::Evaluate,
            ..VerifierConfig::default()
        };
        let limiter = RateLimiter::keyed(Quota::per_second(parts.requests_per_second));
        Self {
            parts,
            verifier: Verifier::new(config),
            limiter,
            keyring: ArcSwapOption::empty(),
        }
    }

    /// Can this node mint now?
    ///
    /// # Errors
    /// Why not.
    pub fn serving(&self) -> Result<(), Problem> {
        self.moment().map(|_| ())
    }

    /// PEM of the key that signs tokens now, and all keys that the state has.
    ///
    /// # Errors
    /// The cluster has no keys yet.
    pub fn public_keys(&self) -> Result<(String, Vec<PublicKeyPem>), Problem> {
        let state = (self.parts.state)();
        let none = || {
            Problem::new(
                Kind::Unavailable,
                "not_initialized",
                "this cluster has no keys yet: try again soon",
            )
        };
        let active = active_key(&state, KeyPurpose::Token).ok_or_else(none)?;
        let pem = public_key_to_pem(&active.public_key).map_err(|_| none())?;
        let keys = state.keys().values().filter_map(|key| {
            let pem = public_key_to_pem(&key.public_key).ok()?;
            Some(PublicKeyPem {
                id: key.id,
                purpose: key.purpose,
                state: key.state,
                pem,
            })
        });
        Ok((pem, keys.collect()))
    }

    /// The keys whose tokens are believed, as other systems read them.
    ///
    /// # Errors
    /// The cluster has no keys yet.
    pub fn jwks(&self) -> Result<JwkSet, Problem> {
        let state = (self.parts.state)();
        if !state.is_initialized() {
            let sentence = "this cluster has no keys yet: try again soon";
            return Err(Problem::new(Kind::Unavailable, "not_initialized", sentence));
        }
        Ok(jwks(&state))
    }

    /// An identity token for the client that a certificate names.
    ///
    /// `identifier`: nothing, the identity itself, or, as the published command line sends it, a wished lifetime in
    /// seconds written as digits.
    ///
    /// # Errors
    /// Why there is none.
    pub fn identity_token(
        &self,
        certificate: Option<&PeerCertificate>,
        identifier: Option<&str>,
    ) -> Result<Issued, Problem> {
        let outcome = self.decide_identity(certificate, identifier);
        record("identity", method(certificate.is_some(), false), &outcome);
        outcome
    }

    /// An authorization token for an operation on a resource.
    ///
    /// # Errors
    /// Why there is none.
    pub fn authorization_token(
        &self,
        caller: &Caller,
        resource: &str,
        operation: &str,
    ) -> Result<Issued, Problem> {
        let outcome = self.decide_authorization(caller, resource, operation);
        record(
            "authorization",
            method(caller.certificate.is_some(), caller.bearer.is_some()),
            &outcome,
        );
        outcome
    }

    fn decide_identity(
        &self,
        certificate: Option<&PeerCertificate>,
        identifier: Option<&str>,
    ) -> Result<Issued, Problem> {
        let moment = self.moment()?;
        let certificate = certificate.ok_or_else(no_certificate)?;
        let principal = moment
            .policy
            .principal(certificate)
            .map_err(|denied| refused(&denied))?;
        trail::note(|noted| {
            noted.proved(&principal.identity, "mtls");
            noted.subject(&principal.identity);
            noted.revision = moment.view().revision.0;
        });
        self.limit(&principal.identity)?;
        if !principal.client.identity_tokens {
            return Err(refused(&Denied::NoIdentityTokens(
                principal.identity.to_string(),
            )));
        }
        let longest = principal.client.identity_token_duration;
        let ttl = wished_ttl(identifier, &principal.identity, longest)?;
        not_revoked(&moment, &principal.identity, certificate)?;
        let parameters = IdentityParameters {
            subject: principal.identity.clone(),
            delegatable: principal.client.delegable,
            issued_at: moment.wall(),
            expires_at: UnixSeconds(moment.wall().0.saturating_add(ttl)),
            rev: moment.view().revision,
            parents: Vec::new(),
            cert: Some(certificate.sha256),
            refreshed: None,
        };
        let minted = mint_identity(&self.signer()?, &parameters, &mut OsRng)
            .map_err(|error| not_minted(&error))?;
        info!(identity = %principal.identity, ttl, revision = moment.view().revision.0, "identity token issued");
        Ok(issued(minted, ttl, &principal.identity))
    }

    fn decide_authorization(
        &self,
        caller: &Caller,
        resource: &str,
        operation: &str,
    ) -> Result<Issued, Problem> {
        let moment = self.moment()?;
        trail::note(|noted| {
            noted.purpose(resource, operation);
            noted.revision = moment.view().revision.0;
        });
        let asking = self.identify(&moment, caller, resource, operation)?;
        trail::note(|noted| {
            let auth = if caller.bearer.is_some() {
                "bearer"
            } else {
                "mtls"
            };
            noted.proved(&asking.actor, auth);
            noted.subject(&asking.subject);
        });
        self.limit(&asking.subject)?;
        permitted(
            &moment.policy,
            &asking,
            caller.bearer.is_some(),
            resource,
            operation,
        )?;
        singleton(&moment.policy, resource)?;
        let ttl = moment.policy.authorization_token_duration();
        let parameters = AuthorizationParameters {
            subject: asking.actor.clone(),
            resource: resource.to_owned(),
            operation: operation.to_owned(),
            issued_at: moment.wall(),
            expires_at: UnixSeconds(moment.wall().0.saturating_add(ttl)),
            rev: moment.view().revision,
            parents: asking.parents,
            cert: asking.certificate,
            shape: TokenShape::Universal,
        };
        let minted = mint_authorization(&self.signer()?, &parameters, &mut OsRng)
            .map_err(|error| not_minted(&error))?;
        info!(actor = %asking.actor, resource, operation, revision = moment.view().revision.0, "authorization token issued");
        Ok(issued(minted, ttl, &asking.actor))
    }

    /// Everything this decision is based on, or why nothing can be decided.
    fn moment(&self) -> Result<Moment, Problem> {
        let unavailable =
            |reason, sentence: &str| Err(Problem::new(Kind::Unavailable, reason, sentence));
        let state = (self.parts.state)();
        if !state.is_initialized() {
            return unavailable(
                "not_initialized",
                "this cluster has no keys and no policy yet: try again soon",
            );
        }
        let age = match (self.parts.freshness)() {
            Some(age) if age <= self.parts.stale_max => age,
            _ => {
                return unavailable(
                    "stale",
                    "this node has lost its cluster and issues nothing: ask another node",
                );
            }
        };
        let clock = self.parts.clock;
        let now = Now {
            wall: clock.wall().seconds(),
            monotonic: clock.monotonic(),
        };
        let policy = self.parts.policies.of(&state);
        Ok(Moment {
            state,
            policy,
            age,
            now,
        })
    }

    fn identify(
        &self,
        moment: &Moment,
        caller: &Caller,
        resource: &str,
        operation: &str,
    ) -> Result<Asking, Problem> {
        let Some(token) = &caller.bearer else {
            return identify_by_certificate(moment, caller.certificate.as_ref());
        };
        let purpose = Purpose {
            resource: resource.to_owned(),
            operation: operation.to_owned(),
        };
        let verified = self.verify(moment, token, purpose)?;
        trail::note(|noted| noted.presented(verified.token_ids()));
        if let Some(certificate) = &caller.certificate {
            same_identity(certificate, verified.actor())?;
        }
        Ok(Asking {
            actor: verified.actor().clone(),
            subject: verified.subject().clone(),
            parents: verified
                .token_ids()
                .iter()
                .chain(verified.ancestor_ids())
                .cloned()
                .collect(),
            certificate: verified.certificate(),
        })
    }

    /// Checks a presented identity token against what this node knows.
    fn verify(&self, moment: &Moment, token: &str, purpose: Purpose) -> Result<Verified, Problem> {
        let keyring = self.keyring(moment.view());
        // The age was taken before `now`: the token is checked with knowledge that is at least as old as it is.
        let age_ms = u64::try_from(moment.age.as_millis()).unwrap_or(u64::MAX);
        let as_of = hessra_revocation::Monotonic(moment.now.monotonic.0.saturating_sub(age_ms));
        let knowledge = Knowledge {
            keyring: &keyring.2,
            view: Some(moment.view()),
            freshness: Some(Freshness {
                as_of: Some(as_of),
                fresh_for: self.parts.stale_max,
            }),
        };
        let request = Request::Identity {
            expected: None,
            purpose: Some(purpose),
            domain: DomainClaim::default(),
        };
        match self
            .verifier
            .verify(token, &request, &knowledge, moment.now)
        {
            Verdict::Allow(verified) => Ok(verified),
            Verdict::Deny(reason) => Err(Problem::new(
                Kind::Unauthenticated,
                reason.code(),
                reason.to_string(),
            )),
            Verdict::Unknown(reason) => Err(Problem::new(
                Kind::Unavailable,
                reason.code(),
                reason.to_string(),
            )),
        }
    }

    /// The keys of a view; read once per change of keys.
    fn keyring(&self, view: &View) -> Arc<(FeedId, u64, Keyring)> {
        let cached = self.keyring.load_full();
        if let Some(cached) =
            cached.filter(|cached| (cached.0, cached.1) == (view.feed_id, view.keyset_version))
        {
            return cached;
        }
        let fresh = Arc::new((view.feed_id, view.keyset_version, Keyring::from_view(view)));
        self.keyring.store(Some(Arc::clone(&fresh)));
        fresh
    }

    fn limit(&self, identity: &Identity) -> Result<(), Problem> {
        if self.limiter.len() > LIMITED_MAX {
            self.limiter.retain_recent();
        }
        self.limiter
            .check_key(&identity.path().to_owned())
            .map_err(|_| {
                metrics().requests_limited.add(1, &[]);
                Problem::new(
                    Kind::TooMany,
                    "rate_limited",
                    format!("`{identity}` asks too often: try again in a second"),
                )
            })
    }

    fn signer(&self) -> Result<TokenSigner, Problem> {
        self.parts.keys.token_signer().map_err(|error| match error {
            SigningError::NoActiveKey => {
                Problem::new(Kind::Unavailable, "no_key", "no signing key is active yet")
            }
            // The sentence names a file of this machine: it is in the log and in `/readyz`.
            SigningError::Sealed(_) => Problem::new(
                Kind::Unavailable,
                "keys_sealed",
                "this node cannot sign: ask another node",
            ),
        })
    }
}

fn identify_by_certificate(
    moment: &Moment,
    certificate: Option<&PeerCertificate>,
) -> Result<Asking, Problem> {
    let certificate = certificate.ok_or_else(|| {
        let sentence = "who are you? Present a client certificate, or an identity token as `Authorization: Bearer`";
        Problem::new(Kind::Unauthenticated, "unauthenticated", sentence)
    })?;
    let principal = moment
        .policy
        .principal(certificate)
        .map_err(|denied| refused(&denied))?;
    not_revoked(moment, &principal.identity, certificate)?;
    Ok(Asking {
        actor: principal.identity.clone(),
        subject: principal.identity,
        parents: Vec::new(),
        certificate: Some(certificate.sha256),
    })
}

/// Both were presented: they must say the same. The words are looked for by published clients.
fn same_identity(certificate: &PeerCertificate, actor: &Identity) -> Result<(), Problem> {
    let mut names = certificate.san_uris.iter().chain(&certificate.san_dns);
    if names.any(|name| without_scheme(name) == actor.path()) {
        return Ok(());
    }
    let sentence = format!(
        "Identity mismatch: the client certificate is not of `{actor}`, for whom the token is"
    );
    Err(Problem::new(
        Kind::Unauthenticated,
        "identity_mismatch",
        sentence,
    ))
}

/// Nothing is issued to whom a permanent rule or a live lock covers, nor over a certificate that is revoked.
fn not_revoked(
    moment: &Moment,
    identity: &Identity,
    certificate: &PeerCertificate,
) -> Result<(), Problem> {
    let query = Query {
        identities: std::slice::from_ref(identity),
        actor: Some(identity),
        certificate: Some(certificate.sha256),
        // What would be minted now: rules about what was issued so far do not cover it.
        rev: Some(moment.view().revision),
        now: moment.wall(),
        skew_seconds: VerifierConfig::default().skew_seconds,
        ..Query::default()
    };
    let denied = moment.view().set.check(&query).is_some()
        || certificate_is_revoked(&moment.state, certificate);
    if !denied {
        return Ok(());
    }
    Err(Problem::new(
        Kind::Unauthenticated,
        "revoked",
        format!("`{identity}` is revoked: nothing is issued to it"),
    ))
}

/// A certificate is not issued anew by us, so a revoked one stays refused until the revocation is lifted, even when the
/// rule is only about what was issued over it so far.
fn certificate_is_revoked(state: &State, certificate: &PeerCertificate) -> bool {
    let target = Target::Certificate(certificate.sha256);
    let set = &state.view().set;
    set.rule(RuleKind::Certificate, &target.digest(set.salt()))
        .is_some()
        && state
            .revocations()
            .values()
            .any(|revocation| revocation.target == target && revocation.lifted.is_none())
}

fn permitted(
    policy: &PolicyView,
    asking: &Asking,
    bearer: bool,
    resource: &str,
    operation: &str,
) -> Result<(), Problem> {
    let decision = if bearer {
        policy.authorize_bearer(&asking.subject, &asking.actor, resource, operation)
    } else {
        policy.authorize(&asking.actor, resource, operation)
    };
    decision.map_err(|denied| refused(&denied))
}

fn singleton(policy: &PolicyView, resource: &str) -> Result<(), Problem> {
    let kind = match policy.resource_kind(resource) {
        ResourceKind::Singleton => return Ok(()),
        ResourceKind::ServiceChain => "a service chain",
        ResourceKind::MultiParty => "a multi-party resource",
    };
    let sentence =
        format!("`{resource}` is {kind}: tokens for it are not yet available in this version");
    Err(Problem::new(Kind::NotAvailable, "not_available", sentence))
}

/// Seconds. `longest` is what the policy grants.
fn wished_ttl(identifier: Option<&str>, identity: &Identity, longest: u64) -> Result<u64, Problem> {
    let Some(text) = identifier else {
        return Ok(longest);
    };
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number of more digits than u64 has is a wish for longer than anything granted.
        return match text.parse::<u64>().unwrap_or(u64::MAX) {
            0 => Err(Problem::new(
                Kind::Invalid,
                "invalid_ttl",
                "a token of 0 seconds is none: ask for at least 1",
            )),
            wish => Ok(wish.min(longest)),
        };
    }
    if without_scheme(text) == identity.path() {
        return Ok(longest);
    }
    let sentence = format!(
        "Identity mismatch: the client certificate is of `{identity}`, not of the identifier given"
    );
    Err(Problem::new(
        Kind::Unauthenticated,
        "identity_mismatch",
        sentence,
    ))
}

fn no_certificate() -> Problem {
    let sentence = "an identity token needs a client certificate that the policy names";
    Problem::new(Kind::Unauthenticated, "unauthenticated", sentence)
}

fn refused(denied: &Denied) -> Problem {
    let kind = match denied {
        Denied::UnknownCertificate | Denied::AmbiguousCertificate | Denied::UnknownIdentity(_) => {
            Kind::Unauthenticated
        }
        Denied::NoIdentityTokens(_) | Denied::NotPermitted { .. } => Kind::Denied,
    };
    Problem::new(kind, denied.code(), denied.to_string())
}

fn not_minted(error: &MintError) -> Problem {
    match error {
        MintError::Name(_) | MintError::Lifetime { .. } | MintError::TooManyParents { .. } => {
            Problem::new(Kind::Invalid, "invalid", error.to_string())
        }
        _ => {
            tracing::error!(%error, "token not minted");
            Problem::new(
                Kind::Unavailable,
                "not_minted",
                "this node could not sign: ask another node",
            )
        }
    }
}

fn issued(minted: Minted, expires_in: u64, identity: &Identity) -> Issued {
    let id = HEXLOWER.encode(minted.revocation_id.as_bytes());
    trail::note(|noted| {
        noted.minted([id]);
        noted.also("expires_in", expires_in);
    });
    Issued {
        token: minted.token,
        expires_in,
        identity: identity.to_string(),
    }
}

fn method(certificate: bool, bearer: bool) -> &'static str {
    match (bearer, certificate) {
        (true, _) => "bearer",
        (false, true) => "certificate",
        (false, false) => "none",
    }
}

fn record(kind: &'static str, method: &'static str, outcome: &Result<Issued, Problem>) {
    let label = |key, value: &'static str| KeyValue::new(key, value);
    let known = !matches!(outcome, Err(problem) if problem.kind == Kind::Unauthenticated);
    let authentication = if known { "identified" } else { "refused" };
    metrics().authentications.add(
        1,
        &[label("method", method), label("outcome", authentication)],
    );
    let (decision, reason) = match outcome {
        Ok(_) => {
            metrics().tokens_issued.add(1, &[label("kind", kind)]);
            ("issued", "ok")
        }
        Err(problem) => {
            info!(kind, reason = problem.reason, message = %problem.sentence, "token refused");
            (
                if problem.kind == Kind::Unavailable {
                    "unavailable"
                } else {
                    "denied"
                },
                problem.reason,
            )
        }
    };
    metrics()
        .decisions
        .add(1, &[label("outcome", decision), label("reason", reason)]);
}
