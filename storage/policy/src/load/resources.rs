//! `resources.toml`: what tokens each resource needs, and templates for many of them.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::HEXLOWER_PERMISSIVE;
use hessra_settings::{Faults, Located, Section, near_or_known};

use super::clients::AUTHORIZATION_TOKEN_DURATIONS;
use super::names::{VERSION_KEY, is_name};
use crate::resource::{
    ChainNode, ExposureRule, OperationRules, Resource, ResourceKind, Signer, TokenShape,
};
use crate::structure::{COMPONENTS_MAX, DESIGNATIONS_MAX, EXPOSURES_MAX};
use crate::view::PolicyView;

/// Labels that a capability carries anyway (cap-schema 0.1.0 reserves them).
const RESERVED_LABELS: [&str; 2] = ["anchor", "facet"];
const KINDS: [(&str, ResourceKind); 3] = [
    ("singleton", ResourceKind::Singleton),
    ("service_chain", ResourceKind::ServiceChain),
    ("multi_party", ResourceKind::MultiParty),
];
const SHAPES: [(&str, TokenShape); 3] = [
    ("universal", TokenShape::Universal),
    ("authorization", TokenShape::Authorization),
    ("capability", TokenShape::Capability),
];

/// An entry as written: what it does not say comes from its template, then from the defaults.
#[derive(Clone, Default)]
struct Entry {
    kind: Option<ResourceKind>,
    shape: Option<TokenShape>,
    authorization_token_duration: Option<u64>,
    nodes: Option<Vec<ChainNode>>,
    signers: Option<Vec<Signer>>,
    required_designations: Option<Vec<String>>,
    single_use: Option<bool>,
    context_required: Option<bool>,
    operations: Option<BTreeMap<String, OperationRules>>,
    classifications: Option<Vec<String>>,
    template: Option<Located<String>>,
}

type Templates = BTreeMap<String, Entry>;

pub(super) fn load(mut file: Section<'_, '_>, view: &mut PolicyView, faults: &mut Faults<'_>) {
    file.text(VERSION_KEY, faults);
    let mut templates = Templates::new();
    for (name, section) in file.named("resource_templates", faults) {
        let entry = entry(section, faults);
        templates.insert(name.value, entry);
    }
    for (name, entry) in &templates {
        resolve(entry.clone(), &templates, Some(name), faults);
    }
    for (name, section) in file.named("resources", faults) {
        if !is_name(&name, faults) {
            continue;
        }
        let (place, line) = (section.span.clone(), faults.line(&name.span));
        let entry = entry(section, faults);
        let entry = resolve(entry, &templates, None, faults);
        let resource = resource(entry, line);
        if let Err(misfit) = parts_fit_kind(&resource) {
            faults.add(place.clone(), format!("`{}` {misfit}", name.value), "");
        }
        for excess in excesses(&resource) {
            faults.add(
                place.clone(),
                format!("`{}` {excess}", name.value),
                excess.hint(),
            );
        }
        view.resources.insert(name.value, resource);
    }
    view.exposure_rules = exposure_rules(&mut file, faults);
    file.close(faults);
}

fn entry(mut section: Section<'_, '_>, faults: &mut Faults<'_>) -> Entry {
    let lives = "an authorization token lives, in seconds,";
    let durations = AUTHORIZATION_TOKEN_DURATIONS;
    let entry = Entry {
        kind: section.word("type", &KINDS, faults),
        shape: section.word("shape", &SHAPES, faults),
        authorization_token_duration: section.number(
            "authorization_token_duration",
            durations,
            lives,
            faults,
        ),
        nodes: given(&mut section, "nodes", nodes, faults),
        signers: given(&mut section, "signers", signers, faults),
        required_designations: labels(&mut section, "required_designations", faults),
        single_use: section.flag("single_use", faults),
        context_required: section.flag("context_required", faults),
        operations: given(&mut section, "operations", operations, faults),
        classifications: labels(&mut section, "classifications", faults),
        template: section.text("template", faults),
    };
    section.close(faults);
    entry
}

/// A list or table, when the key is there: an empty one replaces that of a template.
fn given<T>(
    section: &mut Section<'_, '_>,
    key: &str,
    read: impl Fn(&mut Section<'_, '_>, &mut Faults<'_>) -> T,
    faults: &mut Faults<'_>,
) -> Option<T> {
    let value = read(section, faults);
    section.has(key).then_some(value)
}

fn nodes(section: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> Vec<ChainNode> {
    let parts = section.sections("nodes", faults);
    let mut seen = BTreeSet::new();
    parts
        .into_iter()
        .filter_map(|mut part| {
            let component = component(&mut part, &mut seen, faults);
            let public_key = public_key(&mut part, faults);
            part.close(faults);
            Some(ChainNode {
                component: component?,
                public_key: public_key?,
            })
        })
        .collect()
}

fn signers(section: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> Vec<Signer> {
    let parts = section.sections("signers", faults);
    let mut seen = BTreeSet::new();
    parts
        .into_iter()
        .filter_map(|mut part| {
            let component = component(&mut part, &mut seen, faults);
            let service = part.required_text("authorization_service", faults);
            let service = service.filter(|service| is_name(service, faults));
            let public_key = public_key(&mut part, faults);
            part.close(faults);
            Some(Signer {
                component: component?,
                authorization_service: service?.value,
                public_key: public_key?,
            })
        })
        .collect()
}

fn component(
    part: &mut Section<'_, '_>,
    seen: &mut BTreeSet<String>,
    faults: &mut Faults<'_>,
) -> Option<String> {
    let name = part.required_text("component", faults)?;
    if !is_name(&name, faults) {
        return None;
    }
    if !seen.insert(name.value.clone()) {
        let message = format!("component `{}` is there twice", name.value);
        faults.add(name.span, message, "Give each a name of its own");
        return None;
    }
    Some(name.value)
}

fn public_key(part: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> Option<String> {
    let text = part.required_text("public_key", faults)?;
    let length = |hex: &str| {
        let bytes = HEXLOWER_PERMISSIVE.decode(hex.as_bytes());
        bytes.ok().map(|bytes| bytes.len())
    };
    let fits = match text.value.split_once('/') {
        Some(("ed25519", hex)) => length(hex) == Some(32),
        Some(("secp256r1", hex)) => length(hex) == Some(33),
        _ => false,
    };
    if !fits {
        let message = format!("`{}` is not a public key", text.value);
        let hint = "Write `ed25519/` and 64 hexadecimal digits, or `secp256r1/` and 66";
        faults.add(text.span, message, hint);
        return None;
    }
    Some(text.value)
}

fn labels(
    section: &mut Section<'_, '_>,
    key: &'static str,
    faults: &mut Faults<'_>,
) -> Option<Vec<String>> {
    let texts = section.texts(key, faults);
    if !section.has(key) {
        return None;
    }
    let mut labels = BTreeSet::new();
    for text in texts {
        if RESERVED_LABELS.contains(&text.value.as_str()) {
            let message = format!("the label `{}` is reserved", text.value);
            faults.add(text.span, message, "Choose another");
        } else if is_name(&text, faults) && !labels.insert(text.value.clone()) {
            faults.add(
                text.span,
                format!("`{}` is there twice", text.value),
                "Remove one",
            );
        }
    }
    Some(labels.into_iter().collect())
}

fn operations(
    section: &mut Section<'_, '_>,
    faults: &mut Faults<'_>,
) -> BTreeMap<String, OperationRules> {
    let mut operations = BTreeMap::new();
    for (name, mut section) in section.named("operations", faults) {
        let rules = OperationRules {
            required_designations: labels(&mut section, "required_designations", faults)
                .unwrap_or_default(),
            single_use: section.flag("single_use", faults).unwrap_or(false),
            context_required: section.flag("context_required", faults).unwrap_or(false),
        };
        section.close(faults);
        if is_name(&name, faults) {
            operations.insert(name.value, rules);
        }
    }
    operations
}

/// Fills in what the entry's templates say. `within`: the template that is being checked itself.
fn resolve(
    mut entry: Entry,
    templates: &Templates,
    within: Option<&str>,
    faults: &mut Faults<'_>,
) -> Entry {
    let mut passed: BTreeSet<&str> = within.into_iter().collect();
    while let Some(name) = entry.template.take() {
        let Some((known, template)) = templates.get_key_value(&name.value) else {
            // Said where the name stands: a resource is not blamed for its template.
            if passed.len() == usize::from(within.is_some()) {
                let words: Vec<&str> = templates.keys().map(String::as_str).collect();
                let message = format!("template `{}` is not defined", name.value);
                faults.add(name.span, message, near_or_known(&name.value, &words));
            }
            break;
        };
        if !passed.insert(known) {
            if within == Some(known) {
                let message = format!("template `{known}` leads back to itself");
                faults.add(name.span, message, "Remove one `template` of the circle");
            }
            break;
        }
        entry = entry.or(template.clone());
    }
    entry
}

impl Entry {
    fn or(self, template: Self) -> Self {
        Self {
            kind: self.kind.or(template.kind),
            shape: self.shape.or(template.shape),
            authorization_token_duration: self
                .authorization_token_duration
                .or(template.authorization_token_duration),
            nodes: self.nodes.or(template.nodes),
            signers: self.signers.or(template.signers),
            required_designations: self
                .required_designations
                .or(template.required_designations),
            single_use: self.single_use.or(template.single_use),
            context_required: self.context_required.or(template.context_required),
            operations: self.operations.or(template.operations),
            classifications: self.classifications.or(template.classifications),
            template: template.template,
        }
    }
}

fn resource(entry: Entry, line: usize) -> Resource {
    Resource {
        kind: entry.kind.unwrap_or_default(),
        shape: entry.shape.unwrap_or_default(),
        authorization_token_duration: entry.authorization_token_duration,
        nodes: entry.nodes.unwrap_or_default(),
        signers: entry.signers.unwrap_or_default(),
        rules: OperationRules {
            required_designations: entry.required_designations.unwrap_or_default(),
            single_use: entry.single_use.unwrap_or(false),
            context_required: entry.context_required.unwrap_or(false),
        },
        operations: entry.operations.unwrap_or_default(),
        classifications: entry.classifications.unwrap_or_default(),
        line,
    }
}

/// Parts or a shape that a kind of resource does not have. `Display` continues a sentence that names the resource.
#[derive(Debug, thiserror::Error)]
enum Misfit {
    #[error("is a singleton: no `nodes`, no `signers`")]
    Singleton,
    #[error("is a service chain: it needs `nodes` alone")]
    ServiceChain,
    #[error("is multi-party: it needs `signers` alone")]
    MultiParty,
    #[error(
        "has the shape `capability`, which knows neither chains nor parties: use another shape"
    )]
    Capability,
}

fn parts_fit_kind(resource: &Resource) -> Result<(), Misfit> {
    let (nodes, signers) = (!resource.nodes.is_empty(), !resource.signers.is_empty());
    match (resource.kind, nodes, signers) {
        (ResourceKind::Singleton, false, false)
        | (ResourceKind::ServiceChain, true, false)
        | (ResourceKind::MultiParty, false, true) => {}
        (ResourceKind::Singleton, ..) => return Err(Misfit::Singleton),
        (ResourceKind::ServiceChain, ..) => return Err(Misfit::ServiceChain),
        (ResourceKind::MultiParty, ..) => return Err(Misfit::MultiParty),
    }
    if resource.kind != ResourceKind::Singleton && resource.shape == TokenShape::Capability {
        return Err(Misfit::Capability);
    }
    Ok(())
}

/// More of something than a token holds: nobody could ever have a token for the resource. `Display` continues a sentence that
/// names it.
#[derive(Debug, thiserror::Error)]
enum Excess {
    #[error("has {count} {what}, and a token waits for at most {COMPONENTS_MAX}")]
    Components { what: &'static str, count: usize },
    #[error("has two of its {what} with one key: one signature would stand for both")]
    SharedKey { what: &'static str },
    #[error(
        "requires {count} designations{}, and a token is bound in at most {DESIGNATIONS_MAX}",
        of(.operation.as_deref())
    )]
    Designations {
        operation: Option<String>,
        count: usize,
    },
    #[error("has {count} classifications, and a session is exposed to at most {EXPOSURES_MAX}")]
    Classifications { count: usize },
}

impl Excess {
    fn hint(&self) -> &'static str {
        match self {
            Self::SharedKey { .. } => "Give each a key of its own",
            _ => "Name fewer",
        }
    }
}

fn of(operation: Option<&str>) -> String {
    operation.map_or_else(String::new, |operation| format!(" for `{operation}`"))
}

fn excesses(resource: &Resource) -> Vec<Excess> {
    let nodes = resource.nodes.iter().map(|node| &node.public_key).collect();
    let signers = resource.signers.iter();
    let signers = signers.map(|signer| &signer.public_key).collect();
    let mut found = [
        too_many_components("nodes", nodes),
        too_many_components("signers", signers),
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<_>>();
    let own = (None, resource.rules.required_designations.len());
    let operations = resource.operations.keys();
    let of_operations = operations.map(|operation| {
        let required = resource.rules_of(operation).required_designations;
        (Some(operation.clone()), required.len())
    });
    // What the resource requires of every operation is said once.
    let required = match own.1 > DESIGNATIONS_MAX {
        true => vec![own],
        false => of_operations.collect(),
    };
    let too_many = required
        .into_iter()
        .filter(|(_, count)| *count > DESIGNATIONS_MAX);
    found.extend(too_many.map(|(operation, count)| Excess::Designations { operation, count }));
    let count = resource.classifications.len();
    if count > EXPOSURES_MAX {
        found.push(Excess::Classifications { count });
    }
    found
}

fn too_many_components(what: &'static str, keys: Vec<&String>) -> Option<Excess> {
    let count = keys.len();
    // Digits of hexadecimal numbers may be written in either case.
    let different: BTreeSet<String> = keys.iter().map(|key| key.to_ascii_lowercase()).collect();
    if count > COMPONENTS_MAX {
        Some(Excess::Components { what, count })
    } else if different.len() < count {
        Some(Excess::SharedKey { what })
    } else {
        None
    }
}

fn exposure_rules(file: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> Vec<ExposureRule> {
    let mut rules = Vec::new();
    for mut section in file.sections("exposure_rules", faults) {
        let plain = |texts: Vec<Located<String>>| -> Vec<String> {
            texts.into_iter().map(|text| text.value).collect()
        };
        let words = [("any", false), ("all", true)];
        let rule = ExposureRule {
            labels: plain(section.texts("labels", faults)),
            all: section.word("match", &words, faults).unwrap_or(false),
            blocks: plain(section.texts("blocks", faults)),
        };
        if rule.labels.is_empty() || rule.blocks.is_empty() {
            let message =
                "an exposure rule needs `labels` and `blocks`, each with at least one pattern";
            faults.add(section.span.clone(), message, "");
        }
        section.close(faults);
        rules.push(rule);
    }
    rules
}
