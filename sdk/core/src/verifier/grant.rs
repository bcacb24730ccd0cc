//! Grant: the demands of an authorization, and whether they are met.
//!
//! Demands are read from checks and rules, and each is met either by evidence of the caller or by a block signed with
//! the key that the demand names. Biscuit would count the caller's word for a demand on somebody's signature: facts of
//! the authorizer are always trusted. So signatures are looked for here, and Datalog runs after as a second opinion.
//!
//! A later block holds nothing but restrictions, or facts that a demand waits for under the key it waits for. Other
//! facts are refused, because someone else could read them.

use super::request::{Evidence, SingleUse};
use super::spend::Spend;
use crate::attest::{attested_services, chain_nodes};
use crate::token::{Block, CheckShape, NotTaken, PolicyBudget, RuleShape};
use crate::{
    ChainError, DenyReason, Designation, PolicyChecks, ServiceNode, ThirdPartyKey, Token, path,
};

/// Result of an authorization whose demands are all met.
#[derive(Debug, Default)]
pub(super) struct Grant {
    /// Components that attested or signed, in the order of their blocks.
    pub attested: Vec<String>,
    /// Facets that a single use uses up.
    pub spends: Vec<Spend>,
    /// True when it holds checks of a holder's own making.
    pub policy_checks: bool,
}

/// Reads a token for a right to `resource`.
pub(super) fn read(
    token: &Token,
    resource: &str,
    evidence: &Evidence,
    policy_checks: PolicyChecks,
) -> Result<Grant, DenyReason> {
    let demands = Demands::of(token, policy_checks)?;
    for block in token.blocks().iter().skip(1) {
        demands.check_facts(block)?;
    }
    let mut grant = Grant {
        policy_checks: !demands.budget.is_untouched(),
        ..Grant::default()
    };
    demands.check_domain(evidence)?;
    demands.check_chain(token, resource, evidence, &mut grant)?;
    demands.check_signoffs(token, &mut grant)?;
    demands.check_prefix(token, evidence)?;
    demands.check_activation(token)?;
    demands.check_designations(token, evidence, &mut grant)?;
    Ok(grant)
}

/// Prefixes that a token was restricted to. Datalog is told all of them for a path that lies under all of them.
pub(super) fn prefixes(token: &Token) -> impl Iterator<Item = &str> {
    let checks = token.blocks().iter().flat_map(|block| &block.checks);
    checks.filter_map(|check| match check {
        CheckShape::Prefix(prefix) => Some(prefix.as_str()),
        _ => None,
    })
}

/// Demands of a token.
#[derive(Default)]
struct Demands {
    nodes: Vec<ServiceNode>,
    signoffs: Vec<ServiceNode>,
    domains: Vec<String>,
    attestors: Vec<ThirdPartyKey>,
    activators: Vec<ThirdPartyKey>,
    prefixes: Vec<String>,
    designations: Vec<Demanded>,
    budget: PolicyBudget,
}

struct Demanded {
    designation: Designation,
    /// Key whose word counts; `None` = the caller's.
    attestor: Option<ThirdPartyKey>,
}

impl Demands {
    fn of(token: &Token, policy_checks: PolicyChecks) -> Result<Self, DenyReason> {
        let mut demands = Self::of_authority(token.authority())?;
        for block in token.blocks().iter().skip(1) {
            if !block.rules.is_empty() || block.scoped {
                return Err(later("has rules"));
            }
            for check in &block.checks {
                demands.take_later(check, policy_checks)?;
            }
        }
        Ok(demands)
    }

    /// Demands of the authority block of a universal, A or C shape: the head that binds resource and operation, an end,
    /// and published demands.
    ///
    /// A right without the head is refused: published verifiers accept it for anything, and no client may come to rely
    /// on it.
    fn of_authority(authority: &Block) -> Result<Self, DenyReason> {
        let mut demands = Self {
            nodes: chain_nodes(authority),
            ..Self::default()
        };
        let foreign = |rule: &RuleShape| !matches!(rule, RuleShape::ChainNode { .. });
        if authority.rules.iter().any(foreign) || authority.scoped {
            return Err(head(
                "its authority block has rules that are not of a service chain",
            ));
        }
        let mut has_head = false;
        for check in &authority.checks {
            match check {
                CheckShape::RightOfSubject | CheckShape::RightOfAnyone => has_head = true,
                CheckShape::SubjectIs(_) => {}
                CheckShape::Signoff { component, key } => demands.signoffs.push(ServiceNode {
                    component: component.clone(),
                    key: *key,
                }),
                CheckShape::PrefixAdded(key) => demands.attestors.push(*key),
                CheckShape::Activation(key) => demands.activators.push(*key),
                other => {
                    let known = demands.take(other);
                    if !known {
                        let what =
                            "its authority block has a check that this version cannot satisfy";
                        return Err(head(what));
                    }
                }
            }
        }
        match (has_head, authority.expires_at()) {
            (false, _) => Err(head("it does not bind its resource and operation")),
            (true, None) => Err(head("it does not end")),
            (true, Some(_)) => Ok(demands),
        }
    }

    /// Takes a restriction that may stand in any block. False for any other check.
    fn take(&mut self, check: &CheckShape) -> bool {
        match check {
            CheckShape::Before(_) => {}
            CheckShape::Domain(domain) => self.domains.push(domain.clone()),
            CheckShape::Prefix(prefix) => self.prefixes.push(prefix.clone()),
            CheckShape::Designation {
                label,
                value,
                attestor,
            } => self.designations.push(Demanded {
                designation: Designation::new(label, value),
                attestor: *attestor,
            }),
            _ => return false,
        }
        true
    }

    fn take_later(
        &mut self,
        check: &CheckShape,
        policy_checks: PolicyChecks,
    ) -> Result<(), DenyReason> {
        match check {
            CheckShape::Other(check) => {
                let taken = self.budget.take(check, policy_checks);
                taken.map_err(DenyReason::from)
            }
            other if self.take(other) => Ok(()),
            _ => Err(NotTaken::Meaning.into()),
        }
    }

    /// Checks that every fact of a later block is one that a demand waits for, under its key.
    fn check_facts(&self, block: &Block) -> Result<(), DenyReason> {
        if block.facts.is_empty() {
            return Ok(());
        }
        let Some(key) = block.external_key else {
            return Err(later("has facts"));
        };
        let awaited = block.facts.iter().all(|fact| match fact.name.as_str() {
            // The order is checked later; here it matters that no other key attests.
            "service" => self.nodes.iter().any(|node| node.key == key),
            "namespace" => self.signoffs.iter().any(|party| party.key == key),
            "prefix_added" => self.attestors.contains(&key),
            "activation" => self.activators.contains(&key),
            "designation" => self
                .designations
                .iter()
                .any(|one| one.attestor == Some(key)),
            _ => false,
        });
        if awaited {
            Ok(())
        } else {
            Err(later(
                "has facts that the token does not wait for under its key",
            ))
        }
    }

    fn check_domain(&self, evidence: &Evidence) -> Result<(), DenyReason> {
        let confirmed = |domain: &String| evidence.domain.as_ref() == Some(domain);
        if self.domains.iter().all(confirmed) {
            Ok(())
        } else {
            Err(ChainError::DomainRequired.into())
        }
    }

    fn check_chain(
        &self,
        token: &Token,
        resource: &str,
        evidence: &Evidence,
        grant: &mut Grant,
    ) -> Result<(), DenyReason> {
        if evidence
            .nodes
            .as_ref()
            .is_some_and(|nodes| *nodes != self.nodes)
        {
            return Err(DenyReason::ChainDiffers);
        }
        let needed = self.needed(evidence.component.as_deref())?;
        let attested = attested_services(token, &self.nodes, resource)?;
        let names = self.nodes.iter().map(|node| node.component.clone());
        grant.attested.extend(names.take(attested));
        match self.nodes[..needed].get(attested) {
            None => Ok(()),
            Some(missing) => Err(DenyReason::ChainIncomplete {
                component: missing.component.clone(),
            }),
        }
    }

    /// Number of services that must have attested before `component`.
    fn needed(&self, component: Option<&str>) -> Result<usize, DenyReason> {
        let Some(component) = component else {
            return Ok(self.nodes.len());
        };
        let place = self
            .nodes
            .iter()
            .position(|node| node.component == component);
        place.ok_or_else(|| DenyReason::NotInChain {
            component: component.to_owned(),
        })
    }

    fn check_signoffs(&self, token: &Token, grant: &mut Grant) -> Result<(), DenyReason> {
        for party in &self.signoffs {
            let mut later = token.blocks().iter().skip(1);
            if !later.any(|block| block.says(&party.key, "namespace", &party.component)) {
                return Err(DenyReason::SignoffMissing {
                    component: party.component.clone(),
                });
            }
            grant.attested.push(party.component.clone());
        }
        Ok(())
    }

    fn check_prefix(&self, token: &Token, evidence: &Evidence) -> Result<(), DenyReason> {
        let restricts = |block: &Block, key: &ThirdPartyKey| {
            let mut checks = block.checks.iter();
            block.external_key.as_ref() == Some(key)
                && block.has_fact("prefix_added")
                && checks.any(|check| matches!(check, CheckShape::Prefix(_)))
        };
        let later = &token.blocks()[1..];
        let attested = |key| later.iter().any(|block| restricts(block, key));
        if !self.attestors.iter().all(attested) {
            return Err(DenyReason::PrefixMissing);
        }
        let path = evidence.path.as_deref().unwrap_or_default();
        if self
            .prefixes
            .iter()
            .all(|prefix| path::covers(prefix, path))
        {
            Ok(())
        } else {
            Err(DenyReason::OutsidePrefix)
        }
    }

    fn check_activation(&self, token: &Token) -> Result<(), DenyReason> {
        let later = &token.blocks()[1..];
        let activated = |key: &ThirdPartyKey| {
            let mut signed = later
                .iter()
                .filter(|block| block.external_key == Some(*key));
            signed.any(|block| block.has_fact("activation"))
        };
        if self.activators.iter().all(activated) {
            Ok(())
        } else {
            Err(DenyReason::NotActivated)
        }
    }

    fn check_designations(
        &self,
        token: &Token,
        evidence: &Evidence,
        grant: &mut Grant,
    ) -> Result<(), DenyReason> {
        let missing = |label: &str| DenyReason::DesignationMissing {
            label: label.to_owned(),
        };
        for demanded in &self.designations {
            let met = demanded.is_met(token, evidence);
            if demanded.designation.label == Designation::FACET {
                grant.spends.push(demanded.spend(token));
                if !met && evidence.single_use == SingleUse::Refuse {
                    return Err(DenyReason::SingleUse);
                }
            } else if !met {
                return Err(missing(&demanded.designation.label));
            }
        }
        let bound = |label: &String| {
            let mut demanded = self.designations.iter();
            demanded.any(|one| one.designation.label == *label)
        };
        match evidence.required.iter().find(|label| !bound(label)) {
            None => Ok(()),
            Some(label) => Err(DenyReason::DesignationRequired {
                label: label.clone(),
            }),
        }
    }
}

impl Demanded {
    fn is_met(&self, token: &Token, evidence: &Evidence) -> bool {
        let Designation { label, value } = &self.designation;
        match self.attestor {
            // A facet is spent, not known: a caller's word for it would be good for ever.
            None if label == Designation::FACET => false,
            None => evidence.designations.contains(&self.designation),
            Some(key) => {
                let mut signed = token.blocks().iter().skip(1);
                signed
                    .any(|block| block.external_key == Some(key) && block.designates(label, value))
            }
        }
    }

    /// Spend of the facet, keyed by the authority block. A holder can append a later block once more, also one that
    /// somebody else signed, and each time it has another id.
    fn spend(&self, token: &Token) -> Spend {
        Spend {
            token: token.revocation_ids()[0].clone(),
            facet: self.designation.value.clone(),
        }
    }
}

impl From<NotTaken> for DenyReason {
    fn from(reason: NotTaken) -> Self {
        match reason {
            NotTaken::Meaning => later("has a check of unknown meaning"),
            NotTaken::Costly(costly) => Self::TooCostly(costly),
        }
    }
}

fn head(what: &str) -> DenyReason {
    DenyReason::UnsupportedShape(format!(
        "the token is not an authorization that this version understands: {what}"
    ))
}

fn later(what: &str) -> DenyReason {
    DenyReason::UnsupportedShape(format!("a later block {what}"))
}
