//! Stubs: an authorization for somebody else, of no use until the holder of a key has bound it to a prefix.

use hessra_revocation::Identity;
use hessra_sdk_core::{ThirdPartyKey, mint_stub};
use rand::rngs::OsRng;
use tracing::info;

use super::authorization::{Wish, parameters};
use super::caller::{Asking, purpose};
use super::gate::{Moment, not_revoked};
use super::mint::shown;
use super::outcome::{method, record};
use super::refusal::{denied, not_minted};
use super::{Caller, Issued, Issuer, issued};
use crate::api::problem::{Kind, Problem};
use crate::audit::trail;
use crate::policy::ResourceKind;

/// What a stub is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct StubWish {
    pub target_identity: String,
    pub resource: String,
    pub operation: String,
    /// `ed25519/HEX` or `secp256r1/HEX`.
    pub prefix_attenuator_key: String,
    /// Seconds; a wish.
    pub duration: Option<u64>,
}

impl Issuer {
    /// A stub for the target, which the policy lets the caller ask for.
    ///
    /// # Errors
    /// Why there is none.
    pub fn stub(&self, caller: &Caller, wish: &StubWish) -> Result<Issued, Problem> {
        let outcome = self.decide_stub(caller, wish);
        record(
            "stub",
            method(caller.certificate.is_some(), caller.bearer.is_some()),
            &outcome,
        );
        outcome
    }

    fn decide_stub(&self, caller: &Caller, wish: &StubWish) -> Result<Issued, Problem> {
        let moment = self.moment()?;
        let purpose = purpose(&wish.resource, &wish.operation);
        let asking = self.identify(&moment, caller, Some(purpose))?;
        self.limit(&asking.subject)?;
        let target = target(&moment, &asking, wish)?;
        trail::note(|noted| noted.subject(&target));
        not_revoked(&moment, &target, caller.certificate.as_ref())?;
        let attestor: ThirdPartyKey = wish.prefix_attenuator_key.parse().map_err(|_| {
            let sentence = "`prefix_attenuator_key` is not a key: send ed25519/ or secp256r1/ and its hexadecimal digits";
            Problem::new(Kind::Invalid, "invalid", sentence)
        })?;
        let longest = moment.policy.limits().stub_duration_max;
        let ttl = match wish.duration {
            Some(0) => {
                let sentence = "a token of 0 seconds is none: ask for at least 1";
                return Err(Problem::new(Kind::Invalid, "invalid_ttl", sentence));
            }
            Some(duration) => duration.min(longest),
            None => moment
                .policy
                .authorization_duration_of(&wish.resource)
                .min(longest),
        };
        let (resource, operation) = (wish.resource.clone(), wish.operation.clone());
        let granted = Asking {
            actor: target.clone(),
            ..asking
        };
        let wish = Wish {
            resource,
            operation,
            domain: None,
        };
        let parameters = parameters(&moment, &granted, &wish, ttl);
        let minted = mint_stub(&self.signer()?, &parameters, &attestor, &mut OsRng)
            .map_err(|error| not_minted(&error))?;
        info!(by = %granted.subject, %target, resource = wish.resource, operation = wish.operation, "stub issued");
        Ok(issued(minted, ttl, &target))
    }
}

/// The target, for whom the caller may ask and who may do it.
fn target(moment: &Moment, asking: &Asking, wish: &StubWish) -> Result<Identity, Problem> {
    let target = Identity::parse(&wish.target_identity).map_err(|error| {
        let sentence = format!(
            "`{}` is not an identity: {error}",
            shown(&wish.target_identity)
        );
        Problem::new(Kind::Invalid, "malformed_identity", sentence)
    })?;
    let may = |identity: &Identity| {
        let client = moment.policy.client(identity);
        client.is_some_and(|client| client.may_request_stub_for(&target))
    };
    // Both: what a holder may not ask for, who it delegates to may not either.
    if !may(&asking.subject) || !may(&asking.actor) {
        let sentence = format!("`{}` may not ask for stubs for `{target}`", asking.actor);
        return Err(Problem::new(Kind::Denied, "not_permitted", sentence));
    }
    let policy = &moment.policy;
    policy
        .authorize(&target, &wish.resource, &wish.operation)
        .map_err(|refusal| denied(&refusal, policy, &target))?;
    match policy.resource_kind(&wish.resource) {
        ResourceKind::Singleton => Ok(target),
        kind => {
            let sentence = format!(
                "`{}` is a {}: stubs are for plain resources",
                wish.resource,
                kind.name().replace('_', " ")
            );
            Err(Problem::new(Kind::Denied, "wrong_resource_kind", sentence))
        }
    }
}
