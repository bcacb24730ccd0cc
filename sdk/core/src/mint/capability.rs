//! Capabilities of the newest generation: a right that asks to be shown what it is about, to be activated, or to be
//! spent.

use biscuit_auth::builder::BlockBuilder;
use biscuit_auth::macros::check;
use rand::{CryptoRng, RngCore};

use super::authority::refused;
use super::authorization::mint_with;
use super::issue::{Minted, check_name};
use crate::designation::Designation;
use crate::signer::Signer;
use crate::{AuthorizationParameters, MintError, ThirdPartyKey};

/// Most designations of a capability. Origin: as many dimensions as a resource is described by, with room.
pub const DESIGNATIONS_MAX: usize = 16;

/// Demands of a capability beyond its right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapabilityDemands {
    /// Designations that the verifier must show of its request.
    pub designations: Vec<Designation>,
    /// Designations that the holder of a key must attest.
    pub attested: Vec<(Designation, ThirdPartyKey)>,
    /// Verifier that it is for, and no other.
    pub anchor: Option<String>,
    /// Key of the activator: the capability is inert until its holder activates it.
    pub activator: Option<ThirdPartyKey>,
    /// Facet of a single use, in the cluster's ledger. Unique among the capability's uses, and worth nothing to guess.
    pub facet: Option<String>,
    /// Labels that the schema requires of this operation; refused without.
    pub required: Vec<String>,
}

impl CapabilityDemands {
    /// Designations that a verifier must show, also the anchor.
    fn shown(&self) -> Vec<Designation> {
        let named = |(label, value): (&str, &Option<String>)| {
            value.clone().map(|value| Designation::new(label, value))
        };
        let own = [
            (Designation::ANCHOR, &self.anchor),
            (Designation::FACET, &self.facet),
        ];
        let own = own.into_iter().filter_map(named);
        self.designations.iter().cloned().chain(own).collect()
    }

    fn check(&self) -> Result<(), MintError> {
        let attested = self.attested.iter().map(|(designation, _)| designation);
        let given: Vec<&Designation> = self.designations.iter().chain(attested).collect();
        if given.len() > DESIGNATIONS_MAX {
            return Err(MintError::TooMany {
                what: "designations",
                count: given.len(),
                limit: DESIGNATIONS_MAX,
            });
        }
        for designation in &given {
            check_designation(designation)?;
        }
        for name in self.anchor.iter().chain(&self.facet) {
            check_name(name)?;
        }
        let missing = |label: &&String| given.iter().all(|one| one.label != **label);
        match self.required.iter().find(missing) {
            None => Ok(()),
            Some(label) => Err(MintError::DesignationRequired(label.clone())),
        }
    }
}

/// Mints a capability. The shape says which published verifiers it serves; the newest ones take all but `authz`.
///
/// # Errors
/// As [`mint_authorization`](super::mint_authorization), and [`MintError::DesignationRequired`],
/// [`MintError::Reserved`], [`MintError::TooMany`].
pub fn mint_capability(
    signer: &impl Signer,
    parameters: &AuthorizationParameters,
    demands: &CapabilityDemands,
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<Minted, MintError> {
    demands.check()?;
    let mut block = BlockBuilder::new();
    for designation in demands.shown() {
        block = shown_by_verifier(block, &designation)?;
    }
    for (designation, key) in &demands.attested {
        block = said_by(block, designation, key)?;
    }
    if let Some(activator) = &demands.activator {
        let key = activator.inner();
        let activated = check!("check if activation($a) trusting {key}");
        block = block.check(activated).map_err(refused)?;
    }
    mint_with(signer, parameters, block, rng)
}

/// Checks that label and value can be printed, and that a holder may use the label.
pub(crate) fn check_designation(designation: &Designation) -> Result<(), MintError> {
    check_name(&designation.label)?;
    check_name(&designation.value)?;
    match designation.label.as_str() {
        Designation::ANCHOR | Designation::FACET => {
            Err(MintError::Reserved(designation.label.clone()))
        }
        _ => Ok(()),
    }
}

/// `check if designation("label", "value")`.
pub(crate) fn shown_by_verifier(
    block: BlockBuilder,
    designation: &Designation,
) -> Result<BlockBuilder, MintError> {
    let (label, value) = (designation.label.as_str(), designation.value.as_str());
    let shown = check!("check if designation({label}, {value})");
    block.check(shown).map_err(refused)
}

/// `check if designation("label", "value") trusting key`.
pub(crate) fn said_by(
    block: BlockBuilder,
    designation: &Designation,
    key: &ThirdPartyKey,
) -> Result<BlockBuilder, MintError> {
    let (label, value, key) = (
        designation.label.as_str(),
        designation.value.as_str(),
        key.inner(),
    );
    let said = check!("check if designation({label}, {value}) trusting {key}");
    block.check(said).map_err(refused)
}
