//! Capabilities: an authorization that is bound to what it is about, waits for somebody's word, or is good once.
//!
//! The policy says what an operation requires: designations, a single use, a context. A context that is shown grows by
//! what the resource exposes a session to, and is replaced before the capability is given out: the replicated latest
//! version counts, so that nobody goes back to before it saw something.

use data_encoding::HEXLOWER;
use hessra_revocation::UnixSeconds;
use hessra_sdk_core::{
    ActivationTerms, CapabilityDemands, Designation, Signer, ThirdPartyKey, TokenShape, activate,
    mint_capability,
};
use rand::RngCore as _;
use rand::rngs::OsRng;
use tracing::info;

use super::authorization::{Wish, parameters};
use super::caller::{Asking, purpose};
use super::context::{Growth, Shown};
use super::gate::Moment;
use super::outcome::{method, record};
use super::permission::permitted;
use super::refusal::not_minted;
use super::signoff::{grants, not_signed};
use super::{Caller, Issued, Issuer, issued};
use crate::api::problem::{Kind, Problem};
use crate::policy::{OperationRules, ResourceKind};

/// Says that this authority itself activates a latent capability.
const AUTHORITY: &str = "authority";

/// What a capability is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct CapabilityWish {
    pub wish: Wish,
    /// Label and value.
    pub designations: Vec<(String, String)>,
    /// Label, value, and the key of who says so.
    pub attested: Vec<(String, String, String)>,
    /// The one verifier that it is for.
    pub anchor: Option<String>,
    /// Inert until the holder of this key activates it; `authority`: until this cluster does.
    pub activator_key: Option<String>,
    /// The latest context of the caller's session.
    pub context: Option<String>,
    /// Seconds; a wish.
    pub duration: Option<u64>,
}

/// A capability, and the step that must be agreed on before it is given out.
pub struct Capability {
    /// For its caller.
    pub issued: Issued,
    /// It is good once.
    pub single_use: bool,
    /// How the caller's session grows; `None` when it does not.
    pub growth: Option<Growth>,
}

impl Issuer {
    /// A capability for an operation on a resource. It must not leave this node before its growth is agreed on.
    ///
    /// # Errors
    /// Why there is none.
    pub fn capability(
        &self,
        caller: &Caller,
        wish: &CapabilityWish,
    ) -> Result<Capability, Problem> {
        let outcome = self.decide_capability(caller, wish);
        record(
            "capability",
            method(caller.certificate.is_some(), caller.bearer.is_some()),
            &outcome,
        );
        outcome
    }

    /// Activates a latent capability of somebody else, when it waits for this authority.
    ///
    /// # Errors
    /// Why it is not activated.
    pub fn activated(&self, caller: &Caller, token: &str, wish: &Wish) -> Result<String, Problem> {
        let outcome = self.decide_activation(caller, token, wish);
        record(
            "activation",
            method(caller.certificate.is_some(), caller.bearer.is_some()),
            &outcome,
        );
        outcome
    }

    fn decide_capability(
        &self,
        caller: &Caller,
        capability: &CapabilityWish,
    ) -> Result<Capability, Problem> {
        let moment = self.moment()?;
        let wish = &capability.wish;
        let purpose = purpose(&wish.resource, &wish.operation);
        let asking = self.identify(&moment, caller, Some(purpose))?;
        self.limit(&asking.subject)?;
        permitted(&moment.policy, &asking, wish)?;
        plain(&moment, wish)?;
        let rules = moment
            .policy
            .resource(&wish.resource)
            .rules_of(&wish.operation);
        let context = self.shown_context(&moment, &asking, capability, &rules)?;
        let ttl = ttl(&moment, capability)?;
        let demands = self.demands(capability, &rules)?;
        let mut parameters = parameters(&moment, &asking, wish, ttl);
        if parameters.shape == TokenShape::Authz {
            // Verifiers of capabilities name no subject, and would refuse that shape.
            parameters.shape = TokenShape::Universal;
        }
        if let Some(shown) = &context {
            parameters.parents.extend(shown.ids());
        }
        let minted = mint_capability(&self.signer()?, &parameters, &demands, &mut OsRng)
            .map_err(|error| not_minted(&error))?;
        info!(actor = %asking.actor, resource = wish.resource, operation = wish.operation, single_use = rules.single_use, revision = moment.view().revision.0, "capability issued");
        let labels = &moment.policy.resource(&wish.resource).classifications;
        let growth = context
            .map(|shown| shown.growth(&moment, labels, &wish.resource))
            .transpose()?
            .flatten();
        Ok(Capability {
            issued: issued(minted, ttl, &asking.actor),
            single_use: rules.single_use,
            growth: growth.map(|growth| self.mintable(growth)).transpose()?,
        })
    }

    /// The context that was shown, when it is the caller's latest and keeps it from nothing here.
    fn shown_context(
        &self,
        moment: &Moment,
        asking: &Asking,
        capability: &CapabilityWish,
        rules: &OperationRules,
    ) -> Result<Option<Shown>, Problem> {
        let Some(context) = &capability.context else {
            if rules.context_required {
                let sentence = "this needs the context of your session: ask /request_context for one and send it";
                return Err(Problem::new(Kind::Denied, "context_required", sentence));
            }
            return Ok(None);
        };
        let resource = &capability.wish.resource;
        let shown = self.context(moment, asking, context)?;
        if moment
            .policy
            .is_blocked_by_exposure(shown.exposures(), resource)
        {
            let sentence =
                format!("your session was exposed to what must be kept from `{resource}`");
            return Err(Problem::new(Kind::Denied, "exposed", sentence));
        }
        Ok(Some(shown))
    }

    fn demands(
        &self,
        capability: &CapabilityWish,
        rules: &OperationRules,
    ) -> Result<CapabilityDemands, Problem> {
        let designations = capability.designations.iter();
        let attested = capability.attested.iter().map(|(label, value, by)| {
            Ok((
                Designation::new(label, value),
                third_party_key("public_key", by)?,
            ))
        });
        let activator = match capability.activator_key.as_deref() {
            None => None,
            Some(AUTHORITY) => Some(own_key(&self.signer()?)?),
            Some(key) => Some(third_party_key("activator_key", key)?),
        };
        Ok(CapabilityDemands {
            designations: designations
                .map(|(label, value)| Designation::new(label, value))
                .collect(),
            attested: attested.collect::<Result<_, Problem>>()?,
            anchor: capability.anchor.clone(),
            activator,
            facet: rules.single_use.then(random_facet),
            required: rules.required_designations.clone(),
        })
    }

    fn decide_activation(
        &self,
        caller: &Caller,
        token: &str,
        wish: &Wish,
    ) -> Result<String, Problem> {
        let moment = self.moment()?;
        let purpose = purpose(&wish.resource, &wish.operation);
        let asking = self.identify(&moment, caller, Some(purpose))?;
        self.limit(&asking.subject)?;
        permitted(&moment.policy, &asking, wish)?;
        let holder = grants(&moment, token, wish)?;
        if holder.is_at_or_below(&asking.subject) {
            let sentence =
                "who holds a capability cannot activate it: somebody else who may do the same can";
            return Err(Problem::new(Kind::Denied, "own_capability", sentence));
        }
        let keyring = self.keyring(moment.view());
        let terms = ActivationTerms::default();
        let activated = activate(
            token,
            &keyring.2,
            &terms,
            &self.signer()?,
            moment.wall(),
            &mut OsRng,
        );
        let activated = activated.map_err(|error| not_signed(&error))?;
        info!(by = %asking.actor, %holder, resource = wish.resource, operation = wish.operation, "capability activated");
        Ok(activated)
    }
}

fn plain(moment: &Moment, wish: &Wish) -> Result<(), Problem> {
    let resource = moment.policy.resource(&wish.resource);
    if resource.kind == ResourceKind::Singleton {
        return Ok(());
    }
    let kind = resource.kind.name().replace('_', " ");
    let sentence = format!(
        "`{}` is a {kind}: ask /request_token for its tokens",
        wish.resource
    );
    Err(Problem::new(Kind::Denied, "wrong_resource_kind", sentence))
}

fn ttl(moment: &Moment, capability: &CapabilityWish) -> Result<u64, Problem> {
    let longest = moment
        .policy
        .authorization_duration_of(&capability.wish.resource);
    match capability.duration {
        Some(0) => {
            let sentence = "a token of 0 seconds is none: ask for at least 1";
            Err(Problem::new(Kind::Invalid, "invalid_ttl", sentence))
        }
        Some(wish) => Ok(wish.min(longest)),
        None => Ok(longest),
    }
}

fn own_key(signer: &impl Signer) -> Result<ThirdPartyKey, Problem> {
    ThirdPartyKey::ed25519(&signer.public_key()).map_err(|_| {
        let sentence = "this node could not sign: ask another node";
        Problem::new(Kind::Unavailable, "not_minted", sentence)
    })
}

fn third_party_key(field: &str, text: &str) -> Result<ThirdPartyKey, Problem> {
    text.parse().map_err(|_| {
        let sentence = format!(
            "`{field}` is not a key: send ed25519/ or secp256r1/ and its hexadecimal digits"
        );
        Problem::new(Kind::Invalid, "invalid", sentence)
    })
}

/// 128 bits: no two capabilities share a use, and nobody spends one that it was not shown.
fn random_facet() -> String {
    let mut bytes = [0; 16];
    OsRng.fill_bytes(&mut bytes);
    HEXLOWER.encode(&bytes)
}

/// The end of a session that begins now.
pub(super) fn session_end(moment: &Moment, seconds: u64) -> UnixSeconds {
    UnixSeconds(moment.wall().0.saturating_add(seconds))
}
