//! Speaking: decides whether the holder of a certificate may speak now.
//!
//! One question at every port and in the state machine, asked at each request and again while a stream runs: has the
//! certificate ended, is it revoked, is its identity, does it name one identity only? That its CA is trusted is asked where
//! the certificate is shown. What the caller may *do* is the policy's to say.

use std::collections::BTreeSet;

use hessra_policy::{PolicyView, without_scheme};
use hessra_revocation::{Identity, Query, Target, UnixSeconds};
use hessra_state::State;

/// Seconds after its end for which a lock still denies, as at verifiers: clocks differ.
const SKEW_SECONDS: u64 = 5;

/// Certificate that a caller has proved.
#[derive(Clone, Copy, Debug)]
pub struct Certificate<'a> {
    /// SHA-256 of the certificate, DER.
    pub sha256: [u8; 32],
    /// Subject alternative names of the kind URI.
    pub uris: &'a [String],
    /// Subject alternative names of the kind DNS.
    pub dns_names: &'a [String],
    /// End of its validity, in Unix seconds; 0 when that cannot be read.
    pub ends_at: u64,
    /// True when its authority may name operators: one of the node's files, not of the policy.
    pub may_name_operators: bool,
}

/// Reason why a caller may not speak now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Silenced {
    #[error("the client certificate has ended")]
    Ended,
    #[error("`{0}` is revoked")]
    Revoked(String),
    #[error(
        "the client certificate names `{0}` and `{1}`, and the policy knows both: a certificate is one caller's"
    )]
    TwoNames(String, String),
    #[error(
        "the authority of the client certificate is of the policy, which names clients: no certificate of it is the operator `{0}`'s"
    )]
    OtherAuthority(String),
}

impl Certificate<'_> {
    /// Identity of an operator with this certificate: as the policy spells it, or as the certificate does when the policy
    /// does not know it. `None`: it has no URI.
    #[must_use]
    pub fn operator(&self, policy: &PolicyView) -> Option<String> {
        let known = self.uris.iter().find_map(|name| policy.operator(name));
        let known = known.map(|operator| operator.identity.clone());
        known.or_else(|| self.uris.first().cloned())
    }
}

/// Decides whether a caller may speak now.
///
/// # Errors
/// The certificate has ended, it or its identity is revoked, or it names two identities that the policy knows.
pub fn may_speak(
    certificate: &Certificate<'_>,
    identity: &str,
    (state, policy): (&State, &PolicyView),
    now: UnixSeconds,
) -> Result<(), Silenced> {
    if certificate.ends_at <= now.0 {
        return Err(Silenced::Ended);
    }
    one_name(certificate, policy)?;
    if !certificate.may_name_operators {
        let named = certificate.uris.iter().chain(certificate.dns_names);
        if let Some(name) = named
            .into_iter()
            .find(|name| policy.operator(name).is_some())
        {
            return Err(Silenced::OtherAuthority(name.clone()));
        }
    }
    let is_covered = Identity::parse_spelled(identity)
        .is_ok_and(|identity| is_revoked(state, &identity, Some(certificate.sha256), now));
    match is_covered || is_certificate_revoked(state, certificate.sha256) {
        true => Err(Silenced::Revoked(identity.to_owned())),
        false => Ok(()),
    }
}

/// Checks that the policy knows at most one of a certificate's names, be it a client's, an operator's or a verifier's.
fn one_name(certificate: &Certificate<'_>, policy: &PolicyView) -> Result<(), Silenced> {
    let is_known = |name: &&String| {
        let is_client = |identity: Identity| policy.client(&identity).is_some();
        policy.operator(name).is_some()
            || policy.owns_verifiers(name)
            || Identity::parse(name).is_ok_and(is_client)
    };
    let names = certificate.uris.iter().chain(certificate.dns_names);
    let known: BTreeSet<&str> = names
        .filter(is_known)
        .map(|name| without_scheme(name))
        .collect();
    let mut known = known.into_iter();
    match (known.next(), known.next()) {
        (Some(one), Some(other)) => Err(Silenced::TwoNames(one.to_owned(), other.to_owned())),
        _ => Ok(()),
    }
}

/// True when a permanent rule or a live lock covers an identity. Rules about what was issued so far do not: nothing of it is
/// shown.
#[must_use]
pub fn is_revoked(
    state: &State,
    identity: &Identity,
    certificate: Option<[u8; 32]>,
    now: UnixSeconds,
) -> bool {
    let view = state.view();
    let query = Query {
        identities: std::slice::from_ref(identity),
        actor: Some(identity),
        certificate,
        rev: Some(view.revision),
        now,
        skew_seconds: SKEW_SECONDS,
        ..Query::default()
    };
    view.set.check(&query).is_some()
}

/// True when a certificate is revoked. It is not issued anew by us, so it stays refused until the revocation is lifted, even
/// when the rule is only about what was issued over it so far.
#[must_use]
pub fn is_certificate_revoked(state: &State, sha256: [u8; 32]) -> bool {
    let target = Target::Certificate(sha256);
    state
        .revocations_of(&target)
        .any(|revocation| revocation.lifted.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"
version = "0.2.0"

[[clients]]
identifier = { type = "san_uri", value = "urn:hessra:alice" }
identity_token_enabled = true
identity_token_duration = 3600
resources = []

[[operators]]
identity = "urn:hessra:operator"
rights = ["read"]
"#;

    fn spoken(names: &[&str], ends_at: u64) -> Result<(), Silenced> {
        let uris: Vec<String> = names.iter().map(ToString::to_string).collect();
        let certificate = Certificate {
            sha256: [7; 32],
            uris: &uris,
            dns_names: &[],
            ends_at,
            may_name_operators: true,
        };
        let policy = PolicyView::parse(POLICY, "").unwrap_or_else(|error| panic!("{error:?}"));
        may_speak(
            &certificate,
            names[0],
            (&State::default(), &policy),
            UnixSeconds(100),
        )
    }

    #[test]
    fn a_certificate_speaks_until_it_ends_also_on_a_connection_that_stays_open() {
        assert_eq!(spoken(&["urn:hessra:alice"], 101), Ok(()));
        assert_eq!(spoken(&["urn:hessra:alice"], 100), Err(Silenced::Ended));
    }

    #[test]
    fn an_authority_of_the_policy_names_clients_and_no_operator() {
        let policy = PolicyView::parse(POLICY, "").unwrap_or_else(|error| panic!("{error:?}"));
        let speaks = |name: &str| {
            let certificate = Certificate {
                sha256: [7; 32],
                uris: &[name.to_owned()],
                dns_names: &[],
                ends_at: 101,
                may_name_operators: false,
            };
            let known = (&State::default(), &policy);
            may_speak(&certificate, name, known, UnixSeconds(100))
        };
        assert_eq!(speaks("urn:hessra:alice"), Ok(()));
        let operator = speaks("uri:urn:hessra:operator");
        assert!(
            matches!(operator, Err(Silenced::OtherAuthority(_))),
            "{operator:?}"
        );
    }

    #[test]
    fn a_certificate_that_names_a_client_and_an_operator_is_neithers() {
        let both = spoken(&["urn:hessra:alice", "urn:hessra:operator"], 101);
        assert!(matches!(both, Err(Silenced::TwoNames(..))), "{both:?}");
        assert_eq!(
            spoken(&["urn:hessra:operator", "urn:hessra:unknown"], 101),
            Ok(())
        );
    }
}
