//! Admission: whether this node may issue at all, and whether anything may be issued to this identity.
//!
//! Every way to a token passes here: a node whose knowledge is older than its bound issues nothing, and nothing is issued
//! to whom a permanent rule or a live lock covers, nor over a certificate that is revoked.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hessra_revocation::{Identity, Query, UnixSeconds, View};
use hessra_sdk_core::{Now, ThirdPartyKey};
use hessra_state::State;
use opentelemetry::KeyValue;

use super::Issuer;
use super::allowance::Payer;
use crate::callers::{self, Silenced};
use crate::policy::{PolicyView, without_scheme};
use crate::problem::{Kind, Problem};
use crate::request::RequestContext;
use crate::tls::PeerCertificate;

/// The basis of one decision: taken once, so that all of the decision is about one revision.
pub(super) struct Basis {
    /// Context of the request that is decided.
    pub(super) context: RequestContext,
    pub(super) state: Arc<State>,
    pub(super) policy: Arc<PolicyView>,
    pub(super) age: Duration,
    pub(super) now: Now,
}

impl Basis {
    pub(super) fn view(&self) -> &View {
        self.state.view()
    }

    pub(super) fn wall(&self) -> UnixSeconds {
        self.now.wall
    }
}

impl Issuer {
    /// Checks that requests come not too often from an address.
    ///
    /// # Errors
    /// They do.
    pub fn allows(&self, address: Option<IpAddr>) -> Result<(), Problem> {
        match address.is_none_or(|address| self.allowances.of_address(address)) {
            true => Ok(()),
            false => Err(self.limited("address", "your address asks too often")),
        }
    }

    /// Checks that an identity asks not too often.
    pub(super) fn limit(&self, identity: &Identity) -> Result<(), Problem> {
        self.limit_subject(identity.path(), Payer::Subject)
    }

    /// Checks that the subject of a token, whose signatures verify, has not used up its allowance.
    pub(super) fn limit_subject(&self, subject: &str, payer: Payer) -> Result<(), Problem> {
        let path = without_scheme(subject);
        match payer {
            Payer::Paid => Ok(()),
            Payer::Subject if self.allowances.of_identity(path) => Ok(()),
            Payer::Subject => Err(self.limited("identity", &format!("`{path}` asks too often"))),
            Payer::AskedAbout if self.allowances.of_questions(path) => Ok(()),
            Payer::AskedAbout => {
                let what = format!("tokens of `{path}` are asked about too often");
                Err(self.limited("subject", &what))
            }
        }
    }

    fn limited(&self, by: &'static str, what: &str) -> Problem {
        let metrics = &self.parts.metrics;
        metrics.requests_limited.add(1, &[KeyValue::new("by", by)]);
        let sentence = format!("{what}: try again in a second");
        Problem::new(Kind::TooMany, "rate_limited", sentence)
    }

    /// Everything that a decision is based on.
    ///
    /// # Errors
    /// Nothing can be decided here now.
    pub(super) fn basis(&self, context: &RequestContext) -> Result<Basis, Problem> {
        let (state, age) = self.knowledge()?;
        let clock = self.parts.clock;
        let now = Now {
            wall: clock.wall().seconds(),
            monotonic: clock.monotonic(),
        };
        let policy = self.parts.policies.of(&state);
        context.note(|noted| noted.revision = state.view().revision.0);
        Ok(Basis {
            context: context.clone(),
            state,
            policy,
            age,
            now,
        })
    }

    /// The state, and the age of what this node knows of it.
    ///
    /// # Errors
    /// There is no state yet, or it is older than its bound.
    pub(super) fn knowledge(&self) -> Result<(Arc<State>, Duration), Problem> {
        let unavailable =
            |reason, sentence: &str| Err(Problem::new(Kind::Unavailable, reason, sentence));
        if let Some(off) = (self.parts.clock_off)() {
            let sentence = format!("{off}: it issues nothing, ask another node");
            return Err(Problem::new(Kind::Unavailable, "clock_off", sentence));
        }
        let state = (self.parts.state)();
        if !state.is_initialized() {
            return unavailable(
                "not_initialized",
                "this cluster has no keys and no policy yet: try again soon",
            );
        }
        match (self.parts.freshness)() {
            Some(age) if age <= self.parts.stale_max => Ok((state, age)),
            _ => unavailable(
                "stale",
                "this node has lost its cluster and issues nothing: ask another node",
            ),
        }
    }
}

/// Refuses an identity that a permanent rule or a live lock covers, and a certificate that has ended, is revoked, or names
/// two callers.
pub(super) fn not_revoked(
    basis: &Basis,
    identity: &Identity,
    certificate: Option<&PeerCertificate>,
) -> Result<(), Problem> {
    match certificate {
        Some(certificate) => certificate_is_good(basis, identity, certificate),
        None if callers::is_revoked(&basis.state, identity, None, basis.wall()) => {
            Err(revoked(identity))
        }
        None => Ok(()),
    }
}

/// Refuses a certificate that has ended, is revoked, or names two callers, and an identity that is revoked.
pub(super) fn certificate_is_good(
    basis: &Basis,
    identity: &Identity,
    certificate: &PeerCertificate,
) -> Result<(), Problem> {
    let known = (&*basis.state, &*basis.policy);
    let silenced = callers::may_speak(certificate, identity.as_str(), known, basis.wall());
    silenced.map_err(|silenced| match silenced {
        Silenced::Revoked(_) => revoked(identity),
        Silenced::Ended | Silenced::TwoNames(..) | Silenced::OtherAuthority(_) => Problem::new(
            Kind::Unauthenticated,
            "unauthenticated",
            silenced.to_string(),
        ),
    })
}

/// Refuses to issue what would wait for the signature of a revoked key.
pub(super) fn signers_stand<'k>(
    basis: &Basis,
    keys: impl IntoIterator<Item = &'k ThirdPartyKey>,
) -> Result<(), Problem> {
    let mut keys = keys.into_iter();
    let revoked = keys.find(|key| {
        let query = Query {
            third_party_keys: &[key.to_bytes()],
            now: basis.wall(),
            ..Query::default()
        };
        basis.view().set.check(&query).is_some()
    });
    match revoked {
        None => Ok(()),
        Some(key) => {
            let sentence = format!(
                "`{key}`, whose signature this would wait for, is revoked: its owner needs a new key, and the policy its name"
            );
            Err(Problem::new(Kind::Denied, "signer_revoked", sentence))
        }
    }
}

fn revoked(identity: &Identity) -> Problem {
    let sentence = format!("`{identity}` is revoked: nothing is issued to it");
    Problem::new(Kind::Unauthenticated, "revoked", sentence)
}
