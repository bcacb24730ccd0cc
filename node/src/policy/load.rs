//! From two texts to a checked policy, or to the first thing that is wrong and where.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::HEXLOWER_PERMISSIVE;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use hessra_revocation::Identity;

use super::file::{
    ClientEntry, ClientsFile, DomainEntry, IdentifierKind, OperatorEntry, ResourceEntry,
    ResourceGrant, ResourcesFile, RoleEntry,
};
use super::{Client, Operator, PolicyView, Realm, ResourceKind, Rights, without_scheme};
use crate::document::{Document, DocumentError};

/// What is wrong with a policy, and where.
pub type PolicyError = DocumentError;

/// Names of resources and operations are keys of look-ups and parts of tokens: bounded and printable.
const NAME_MAX: usize = 256;
/// Seconds: an identity token of more than 30 days is a permanent secret.
const IDENTITY_TOKEN_DURATION_MAX: u64 = 30 * 86_400;
/// Seconds.
const AUTHORIZATION_TOKEN_DURATION_RANGE: std::ops::RangeInclusive<u64> = 10..=3_600;

type Fault = (Vec<String>, String);

pub(super) fn view(clients_toml: &str, resources_toml: &str) -> Result<PolicyView, PolicyError> {
    let clients = Document::parse("clients.toml", clients_toml)?;
    let resources = Document::parse("resources.toml", resources_toml)?;
    let at = |document: &Document<'_>, (path, sentence): Fault| {
        document.error(
            &path.iter().map(String::as_str).collect::<Vec<_>>(),
            sentence,
        )
    };
    let file: ClientsFile = clients.read()?;
    let mut view = clients_view(file).map_err(|fault| at(&clients, fault))?;
    view.resources = resource_kinds(resources.read()?).map_err(|fault| at(&resources, fault))?;
    Ok(view)
}

fn clients_view(file: ClientsFile) -> Result<PolicyView, Fault> {
    let mut view = PolicyView {
        authorities: authorities(
            file.cacerts
                .as_ref()
                .map_or("", |authorities| &authorities.cert_chain),
        )?,
        min_revocation_depth: file.limits.min_revocation_depth,
        authorization_token_duration: file.limits.authorization_token_duration,
        two_person: file.limits.two_person,
        ..PolicyView::default()
    };
    if !(1..=16).contains(&view.min_revocation_depth) {
        return Err(fault(
            "limits.min_revocation_depth",
            "a depth is from 1 to 16 segments",
        ));
    }
    if !AUTHORIZATION_TOKEN_DURATION_RANGE.contains(&view.authorization_token_duration) {
        return Err(fault(
            "limits.authorization_token_duration",
            "an authorization token lives 10 to 3600 seconds",
        ));
    }
    let mut places = BTreeMap::new();
    for (position, entry) in file.clients.into_iter().enumerate() {
        add_client(&mut view, &mut places, position, entry)?;
    }
    for (position, entry) in file.operators.into_iter().enumerate() {
        add_operator(&mut view, position, entry)?;
    }
    delegates_stay_within_their_parents(&view, &places)?;
    Ok(view)
}

fn authorities(pem: &str) -> Result<Vec<CertificateDer<'static>>, Fault> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| {
            fault(
                "cacerts.cert_chain",
                &format!("not a PEM bundle of certificates: {error}"),
            )
        })
}

/// `places`: position of each client in the file, by path.
fn add_client(
    view: &mut PolicyView,
    places: &mut BTreeMap<String, usize>,
    position: usize,
    entry: ClientEntry,
) -> Result<(), Fault> {
    let value = entry.identifier.value.clone();
    let value_place = format!("clients.{position}.identifier.value");
    if entry.identifier.kind == IdentifierKind::SanDns {
        let client = client(position, None, entry)?;
        check_dns_pattern(&value).map_err(|sentence| fault(&value_place, &sentence))?;
        if view
            .dns_clients
            .iter()
            .any(|(known, _)| known.eq_ignore_ascii_case(&value))
        {
            return Err(fault(
                &value_place,
                &format!("`{value}` has an entry already"),
            ));
        }
        view.dns_clients.push((value, client));
        return Ok(());
    }
    let identity = Identity::parse(&value).map_err(|error| {
        fault(
            &value_place,
            &format!("`{value}` is not an identity: {error}"),
        )
    })?;
    let client = client(position, Some(&identity), entry)?;
    let path = identity.path().to_owned();
    if let Some((known, _)) = view.clients.get(&path) {
        let sentence = format!("`{value}` and `{known}` are the same identity: remove one entry");
        return Err(fault(&value_place, &sentence));
    }
    places.insert(path.clone(), position);
    view.clients.insert(path, (identity, client));
    Ok(())
}

fn client(
    position: usize,
    identity: Option<&Identity>,
    entry: ClientEntry,
) -> Result<Client, Fault> {
    let place = |key: &str| format!("clients.{position}.{key}");
    if !(1..=IDENTITY_TOKEN_DURATION_MAX).contains(&entry.identity_token_duration) {
        let sentence =
            format!("an identity token lives 1 to {IDENTITY_TOKEN_DURATION_MAX} seconds");
        return Err(fault(&place("identity_token_duration"), &sentence));
    }
    let realm = match (&entry.domain, identity) {
        (None, _) => None,
        (Some(domain), Some(identity)) => Some(realm(&place("domain"), identity, domain)?),
        (Some(_), None) => {
            return Err(fault(
                &place("domain"),
                "only a client of type `san_uri` can be a realm",
            ));
        }
    };
    Ok(Client {
        identity_tokens: entry.identity_token_enabled,
        identity_token_duration: entry.identity_token_duration,
        delegable: entry.delegable,
        rights: rights(&place("resources"), &entry.resources)?,
        realm,
    })
}

fn realm(place: &str, identity: &Identity, domain: &DomainEntry) -> Result<Realm, Fault> {
    let mut roles: BTreeMap<&str, Rights> = BTreeMap::new();
    let named =
        |role: &RoleEntry, place: &str| rights(&format!("{place}.resources"), &role.resources);
    let default_role = match &domain.default_role {
        Some(role) => named(role, &format!("{place}.default_role"))?,
        None => Rights::new(),
    };
    for (position, role) in domain.roles.iter().enumerate() {
        let place = format!("{place}.roles.{position}");
        if roles.insert(&role.name, named(role, &place)?).is_some() {
            return Err(fault(
                &place,
                &format!("role `{}` is defined twice", role.name),
            ));
        }
    }
    if let Some(role) = &domain.default_role {
        roles
            .entry(&role.name)
            .or_insert_with(|| default_role.clone());
    }
    let assigned = assignments(place, identity, domain, &roles)?;
    Ok(Realm {
        default_role,
        assigned,
    })
}

fn assignments(
    place: &str,
    realm: &Identity,
    domain: &DomainEntry,
    roles: &BTreeMap<&str, Rights>,
) -> Result<BTreeMap<String, Rights>, Fault> {
    let mut assigned = BTreeMap::new();
    for (position, assignment) in domain.role_assignments.iter().enumerate() {
        let place = |key: &str| format!("{place}.role_assignments.{position}.{key}");
        let subject = Identity::parse(&assignment.subject).map_err(|error| {
            fault(
                &place("subject"),
                &format!("`{}` is not an identity: {error}", assignment.subject),
            )
        })?;
        if !subject.is_at_or_below(realm) || subject.path() == realm.path() {
            return Err(fault(
                &place("subject"),
                &format!("`{subject}` is not below its realm `{realm}`"),
            ));
        }
        let Some(role) = roles.get(assignment.role.as_str()) else {
            let known: Vec<&str> = roles.keys().copied().collect();
            let sentence = format!(
                "role `{}` is not defined. Known: {}",
                assignment.role,
                known.join(", ")
            );
            return Err(fault(&place("role"), &sentence));
        };
        if assigned
            .insert(subject.path().to_owned(), role.clone())
            .is_some()
        {
            return Err(fault(
                &place("subject"),
                &format!("`{subject}` has two roles: give it one"),
            ));
        }
    }
    Ok(assigned)
}

fn rights(place: &str, grants: &[ResourceGrant]) -> Result<Rights, Fault> {
    let mut rights = Rights::new();
    for (position, grant) in grants.iter().enumerate() {
        let here = format!("{place}.{position}");
        if !is_name(&grant.name) || grant.operations.iter().any(|operation| !is_name(operation)) {
            return Err(fault(
                &here,
                "names of resources and operations are 1 to 256 printable characters",
            ));
        }
        if grant.operations.is_empty() {
            return Err(fault(
                &here,
                &format!("`{}` has no operations: it grants nothing", grant.name),
            ));
        }
        rights.extend(
            grant
                .operations
                .iter()
                .map(|operation| (grant.name.clone(), operation.clone())),
        );
    }
    Ok(rights)
}

fn add_operator(view: &mut PolicyView, position: usize, entry: OperatorEntry) -> Result<(), Fault> {
    let place = |key: &str| format!("operators.{position}.{key}");
    let canonical = |key: &str, text: &str| {
        Identity::parse(text).map_err(|error| {
            fault(
                &place(key),
                &format!("`{text}` is not an identity: {error}"),
            )
        })
    };
    canonical("identity", &entry.identity)?;
    let under = entry
        .under
        .as_deref()
        .map(|text| canonical("under", text))
        .transpose()?;
    if entry.rights.is_empty() {
        return Err(fault(
            &place("rights"),
            &format!("`{}` has no rights: remove the entry", entry.identity),
        ));
    }
    let name = without_scheme(&entry.identity).to_owned();
    if view.operators.contains_key(&name) {
        return Err(fault(
            &place("identity"),
            &format!("`{}` has an entry already", entry.identity),
        ));
    }
    view.operators.insert(
        name,
        Operator {
            identity: entry.identity,
            rights: entry.rights,
            under,
        },
    );
    Ok(())
}

/// A right that an ancestor lacks could never be used: whoever wrote it believes otherwise.
fn delegates_stay_within_their_parents(
    view: &PolicyView,
    places: &BTreeMap<String, usize>,
) -> Result<(), Fault> {
    for (path, (identity, client)) in &view.clients {
        let effective = view.effective_rights(identity).unwrap_or_default();
        let Some((resource, operation)) = client.rights.difference(&effective).next() else {
            continue;
        };
        let place = format!(
            "clients.{}.resources",
            places.get(path).copied().unwrap_or_default()
        );
        let sentence = format!(
            "`{identity}` is given `{operation}` on `{resource}`, which an identity above it does not have. \
             Give it to that one too, or remove it here"
        );
        return Err(fault(&place, &sentence));
    }
    Ok(())
}

fn resource_kinds(file: ResourcesFile) -> Result<BTreeMap<String, ResourceKind>, Fault> {
    let mut kinds = BTreeMap::new();
    for (name, entry) in file.resources {
        check_resource(&name, &entry)
            .map_err(|sentence| (vec!["resources".to_owned(), name.clone()], sentence))?;
        kinds.insert(name, entry.kind);
    }
    Ok(kinds)
}

fn check_resource(name: &str, entry: &ResourceEntry) -> Result<(), String> {
    let (nodes, signers) = (!entry.nodes.is_empty(), !entry.signers.is_empty());
    match (entry.kind, nodes, signers) {
        (ResourceKind::Singleton, false, false) => {}
        (ResourceKind::ServiceChain, true, false) | (ResourceKind::MultiParty, false, true) => {}
        (ResourceKind::Singleton, ..) => {
            return Err(format!("`{name}` is a singleton: no `nodes`, no `signers`"));
        }
        (ResourceKind::ServiceChain, ..) => {
            return Err(format!(
                "`{name}` is a service chain: it needs `nodes` alone"
            ));
        }
        (ResourceKind::MultiParty, ..) => {
            return Err(format!("`{name}` is multi-party: it needs `signers` alone"));
        }
    }
    let parts = entry
        .nodes
        .iter()
        .map(|node| (&node.component, &node.public_key));
    let parts = parts.chain(
        entry
            .signers
            .iter()
            .map(|signer| (&signer.component, &signer.public_key)),
    );
    let mut components = BTreeSet::new();
    for (component, public_key) in parts {
        if !is_name(component) || !components.insert(component) {
            return Err(format!(
                "component `{component}` of `{name}` has no name of its own"
            ));
        }
        check_public_key(public_key)?;
    }
    match entry
        .signers
        .iter()
        .find(|signer| !is_name(&signer.authorization_service))
    {
        Some(signer) => Err(format!(
            "`{}` of `{name}` has no `authorization_service`",
            signer.component
        )),
        None => Ok(()),
    }
}

fn check_public_key(text: &str) -> Result<(), String> {
    let length = |hex: &str| {
        HEXLOWER_PERMISSIVE
            .decode(hex.as_bytes())
            .ok()
            .map(|bytes| bytes.len())
    };
    let fits = match text.split_once('/') {
        Some(("ed25519", hex)) => length(hex) == Some(32),
        Some(("secp256r1", hex)) => length(hex) == Some(33),
        _ => false,
    };
    if fits {
        Ok(())
    } else {
        Err(format!(
            "`{text}` is not a public key: write `ed25519/` and 64 hexadecimal digits"
        ))
    }
}

fn check_dns_pattern(pattern: &str) -> Result<(), String> {
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'*');
    let labels_fit = pattern
        .split('.')
        .all(|label| !label.is_empty() && label.matches('*').count() <= 1);
    // A pattern for a whole top-level domain names everyone.
    let bounded = pattern
        .split('.')
        .filter(|label| !label.contains('*'))
        .count()
        >= 2
        || !pattern.contains('*');
    if pattern.len() <= 253 && pattern.bytes().all(allowed) && labels_fit && bounded {
        return Ok(());
    }
    Err(format!(
        "`{pattern}` is not a DNS name: at most one `*` in a label, and two labels without one"
    ))
}

fn is_name(text: &str) -> bool {
    (1..=NAME_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn fault(place: &str, sentence: &str) -> Fault {
    (
        place.split('.').map(str::to_owned).collect(),
        sentence.to_owned(),
    )
}
