//! Proof of a feed's caller: a client certificate, or an identity token; asked at the door and as long as its stream runs.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hessra_consensus::feed::Claim;
use hessra_proto::status::{Failure, Reason};
use hessra_revocation::{Freshness, Identity, Monotonic, UnixSeconds};
use hessra_sdk_core::{
    DomainClaim, Keyring, Knowledge, Now, PolicyChecks, Request, StalenessPolicy, TokenVerifier,
    Verdict, Verified, VerifierConfig,
};
use http::header::AUTHORIZATION;
use http::{Extensions, HeaderMap};

use super::AddressAllowance;
use crate::callers::may_speak;
use crate::policy::{Policies, PolicyView, without_scheme};
use crate::tls::{AddressBlock, CallerAddress, PeerCertificate};
use crate::world::Consensus;

/// Longest token that is looked at, as of every bearer.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Door of the feed: takes what a caller shows before anything that it says is read. Cheap to clone.
#[derive(Clone)]
pub(super) struct FeedDoor {
    consensus: Consensus,
    policies: Policies,
    allowance: AddressAllowance,
    verifier: TokenVerifier,
}

/// Caller of one stream, with what it showed.
struct Caller {
    door: FeedDoor,
    address: String,
    shown: Shown,
}

enum Shown {
    Nothing,
    Certificate {
        certificate: PeerCertificate,
        identity: String,
    },
    Token {
        token: String,
        identity: String,
        /// Outcome of the last check; checked again against what is known by then.
        verified: Box<Mutex<Verified>>,
    },
}

impl FeedDoor {
    pub(super) fn new(
        consensus: Consensus,
        policies: Policies,
        allowance: AddressAllowance,
    ) -> Self {
        let config = VerifierConfig {
            // A node without its quorum makes nobody fresh, so it need not send anybody away.
            staleness: StalenessPolicy::BestEffort,
            // They ask for a purpose, which a stream has not, and would be evaluated twice a second for each.
            policy_checks: PolicyChecks::Refuse,
            ..VerifierConfig::default()
        };
        Self {
            consensus,
            policies,
            allowance,
            verifier: TokenVerifier::new(config),
        }
    }

    /// Claim of a request, from its connection and its headers.
    ///
    /// # Errors
    /// It shows a token that is not good, or tokens come too often from its address.
    pub(super) fn claim(
        &self,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Arc<dyn Claim>, Failure> {
        let address = extensions
            .get::<CallerAddress>()
            .map(|address| address.0.ip());
        let shown = match (extensions.get::<PeerCertificate>(), bearer(headers)?) {
            (Some(certificate), _) => self.certificate(certificate),
            (None, Some(token)) => {
                // Before the token is judged: its signatures cost, whoever made them.
                if !address.is_none_or(|address| (self.allowance)(address)) {
                    return Err(asks_too_often());
                }
                self.token(token)?
            }
            (None, None) => Shown::Nothing,
        };
        Ok(Arc::new(Caller {
            door: self.clone(),
            address: address.map_or_else(String::new, |address| {
                AddressBlock::from(address).to_string()
            }),
            shown,
        }))
    }

    fn certificate(&self, certificate: &PeerCertificate) -> Shown {
        let policy = self.policies.of(&self.consensus.state());
        let names = || certificate.san_uris.iter().chain(&certificate.san_dns);
        let named = names().find(|name| policy.names(name));
        match named.or_else(|| names().next()) {
            Some(name) => Shown::Certificate {
                certificate: certificate.clone(),
                identity: without_scheme(name).to_owned(),
            },
            None => Shown::Nothing,
        }
    }

    fn token(&self, token: &str) -> Result<Shown, Failure> {
        let verified = self.verify(token)?;
        let policy = self.policies.of(&self.consensus.state());
        if requires_a_certificate(&policy, verified.chain()) {
            return Err(just_in_time(verified.actor()));
        }
        Ok(Shown::Token {
            token: token.to_owned(),
            identity: verified.actor().path().to_owned(),
            verified: Box::new(Mutex::new(verified)),
        })
    }

    fn verify(&self, token: &str) -> Result<Verified, Failure> {
        self.know(|knowledge, now| self.verifier.verify(token, &request(), knowledge, now))
    }

    /// Asks with what this node knows now.
    fn know(&self, ask: impl FnOnce(&Knowledge<'_>, Now) -> Verdict) -> Result<Verified, Failure> {
        let age = self.consensus.freshness();
        let state = self.consensus.state();
        let clock = self.consensus.world().clock;
        let now = Now {
            wall: clock.wall().seconds(),
            monotonic: clock.monotonic(),
        };
        let keyring = Keyring::from_view(state.view());
        let as_of = age.map(|age| {
            let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
            Monotonic(now.monotonic.0.saturating_sub(age_ms))
        });
        let knowledge = Knowledge {
            keyring: &keyring,
            view: Some(state.view()),
            freshness: Some(Freshness {
                as_of,
                ..Freshness::default()
            }),
        };
        match ask(&knowledge, now) {
            Verdict::Allow(verified) => Ok(verified),
            Verdict::Deny(reason) => Err(Failure::new(
                Reason::Unauthenticated,
                format!("the identity token is not good: {reason}"),
            )
            .hint(
                "Get a new one with `hessra identity authenticate`, or show a client certificate.",
            )),
            Verdict::Unknown(reason) => Err(Failure::new(Reason::Unavailable, reason.to_string())),
        }
    }
}

impl Claim for Caller {
    fn identity(&self) -> Option<&str> {
        match &self.shown {
            Shown::Nothing => None,
            Shown::Certificate { identity, .. } | Shown::Token { identity, .. } => Some(identity),
        }
    }

    fn address(&self) -> &str {
        &self.address
    }

    fn ends_at(&self) -> Option<UnixSeconds> {
        match &self.shown {
            Shown::Nothing => None,
            Shown::Certificate { certificate, .. } => Some(UnixSeconds(certificate.ends_at)),
            Shown::Token { verified, .. } => {
                let verified = verified.lock().unwrap_or_else(PoisonError::into_inner);
                Some(verified.expires_at())
            }
        }
    }

    fn may_speak(&self) -> Result<(), Failure> {
        let door = &self.door;
        match &self.shown {
            Shown::Nothing => Ok(()),
            Shown::Certificate {
                certificate,
                identity,
            } => {
                let state = door.consensus.state();
                let policy = door.policies.of(&state);
                let now = door.consensus.world().clock.wall().seconds();
                may_speak(certificate, identity, (&state, &policy), now).map_err(|silenced| {
                    Failure::new(Reason::Unauthenticated, silenced.to_string())
                        .hint("Give the verifier another certificate, or ask an operator.")
                })
            }
            Shown::Token {
                token, verified, ..
            } => {
                let mut verified = verified.lock().unwrap_or_else(PoisonError::into_inner);
                *verified = door.know(|knowledge, now| {
                    let again = door.verifier.recheck(&verified, knowledge, now);
                    again.unwrap_or_else(|| door.verifier.verify(token, &request(), knowledge, now))
                })?;
                Ok(())
            }
        }
    }
}

fn request() -> Request {
    Request::Identity {
        expected: None,
        purpose: None,
        domain: DomainClaim::OfToken,
    }
}

fn asks_too_often() -> Failure {
    Failure::new(Reason::Limit, "your address asks too often with tokens")
        .hint("Try again in a second; a client certificate has no such limit.")
        .retry_after(Duration::from_secs(1))
}

/// True when tokens of such a chain must be limited to the seconds of one request, which no stream is.
fn requires_a_certificate(policy: &PolicyView, chain: &[Identity]) -> bool {
    let is_required = |identity: &Identity| {
        let client = policy.client(identity);
        client.is_some_and(|client| client.require_jit)
    };
    chain.iter().any(is_required)
}

fn just_in_time(actor: &Identity) -> Failure {
    let message = format!(
        "tokens of `{actor}` are good for seconds, and a stream of the feed lasts: none of them opens one"
    );
    Failure::new(Reason::NotPermitted, message).hint("Show a client certificate instead.")
}

/// Token of the header `authorization`, when there is one.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Failure> {
    let Some(value) = headers.get(AUTHORIZATION) else {
        return Ok(None);
    };
    let unreadable = || {
        let sentence = "the header `authorization` is not `Bearer` and an identity token";
        Failure::new(Reason::Unauthenticated, sentence)
    };
    let text = value.to_str().map_err(|_| unreadable())?;
    let (scheme, token) = text.split_once(' ').ok_or_else(unreadable)?;
    let is_token = scheme.eq_ignore_ascii_case("bearer") && token.len() <= TOKEN_BYTES_MAX;
    is_token.then_some(Some(token)).ok_or_else(unreadable)
}
