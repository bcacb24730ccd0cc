//! Callers with a certificate: whether one may speak now, asked at every port at each request and again while a stream runs.
//!
//! The question itself is in `hessra_rights`: the state machine asks the same.

use hessra_revocation::{Identity, UnixSeconds};
use hessra_rights::Certificate;
use hessra_state::State;

use crate::policy::PolicyView;
use crate::tls::{PeerCertificate, Standing};

pub use hessra_rights::{Silenced, is_revoked};

impl PeerCertificate {
    /// The certificate as rights are asked of it.
    #[must_use]
    pub fn proved(&self) -> Certificate<'_> {
        Certificate {
            sha256: self.sha256,
            uris: &self.san_uris,
            dns_names: &self.san_dns,
            ends_at: self.ends_at,
            may_name_operators: self.is_of_files,
        }
    }
}

/// Decides whether a caller may speak now.
///
/// # Errors
/// The certificate has ended, it or its identity is revoked, or it names two identities that the policy knows.
pub fn may_speak(
    certificate: &PeerCertificate,
    identity: &str,
    known: (&State, &PolicyView),
    now: UnixSeconds,
) -> Result<(), Silenced> {
    hessra_rights::may_speak(&certificate.proved(), identity, known, now)
}

/// Standing of a connection by its certificate: what it may take of the seats, and not what it may do.
#[must_use]
pub fn standing(
    certificate: &PeerCertificate,
    (state, policy): (&State, &PolicyView),
    now: UnixSeconds,
) -> Standing {
    let names = || certificate.san_uris.iter().chain(&certificate.san_dns);
    let operator = names().find(|name| policy.operator(name).is_some());
    let is_known = |name: &&String| {
        let is_client = |identity: Identity| policy.client(&identity).is_some();
        policy.owns_verifiers(name) || Identity::parse(name).is_ok_and(is_client)
    };
    let Some(known) = operator.or_else(|| names().find(is_known)) else {
        return Standing::Unproved;
    };
    match may_speak(certificate, known, (state, policy), now) {
        Err(_) => Standing::Unproved,
        Ok(()) if operator.is_some() => Standing::Kept,
        Ok(()) => Standing::Proved,
    }
}
