//! Admission: whether this node may issue at all, and whether anything may be issued to this identity.
//!
//! Every way to a token passes here: a node whose knowledge is older than its bound issues nothing, and nothing is issued
//! to whom a permanent rule or a live lock covers, nor over a certificate that is revoked.

use std::sync::Arc;
use std::time::Duration;

use hessra_revocation::{Identity, Query, RuleKind, Target, UnixSeconds, View};
use hessra_sdk_core::{Now, VerifierConfig};
use hessra_state::{Revocation, State};

use super::Issuer;
use crate::policy::PolicyView;
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

    /// The end of a token or a session that lives for so many seconds from now on.
    pub(super) fn after(&self, seconds: u64) -> UnixSeconds {
        UnixSeconds(self.wall().0.saturating_add(seconds))
    }
}

impl Issuer {
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

/// Refuses an identity that a permanent rule or a live lock covers, and a certificate that is revoked.
pub(super) fn not_revoked(
    basis: &Basis,
    identity: &Identity,
    certificate: Option<&PeerCertificate>,
) -> Result<(), Problem> {
    let fingerprint = certificate.map(|certificate| certificate.sha256);
    let query = Query {
        identities: std::slice::from_ref(identity),
        actor: Some(identity),
        certificate: fingerprint,
        // What would be minted now: rules about what was issued so far do not cover it.
        rev: Some(basis.view().revision),
        now: basis.wall(),
        skew_seconds: VerifierConfig::default().skew_seconds,
        ..Query::default()
    };
    if basis.view().set.check(&query).is_some() {
        return Err(revoked(identity));
    }
    match certificate {
        Some(certificate) => certificate_is_good(basis, identity, certificate),
        None => Ok(()),
    }
}

/// Refuses a revoked certificate. It is not issued anew by us, so it stays refused until the revocation is lifted, even
/// when the rule is only about what was issued over it so far.
pub(super) fn certificate_is_good(
    basis: &Basis,
    identity: &Identity,
    certificate: &PeerCertificate,
) -> Result<(), Problem> {
    let target = Target::Certificate(certificate.sha256);
    let set = &basis.view().set;
    let has_rule = set
        .rule(RuleKind::Certificate, &target.digest(set.salt()))
        .is_some();
    let stands =
        |revocation: &Revocation| revocation.target == target && revocation.lifted.is_none();
    let mut revocations = basis.state.revocations().values();
    if has_rule && revocations.any(|revocation| stands(revocation)) {
        return Err(revoked(identity));
    }
    Ok(())
}

fn revoked(identity: &Identity) -> Problem {
    let sentence = format!("`{identity}` is revoked: nothing is issued to it");
    Problem::new(Kind::Unauthenticated, "revoked", sentence)
}
