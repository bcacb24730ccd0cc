//! `[clients.domain]`: roles of the members of a realm.

use std::collections::BTreeMap;

use hessra_revocation::Identity;
use hessra_settings::{Faults, Section, near_or_known};

use super::names::{Resources, identity, is_name, rights};
use crate::realm::{Realm, Role};

type Roles = BTreeMap<String, Role>;

/// `realm`: whose domain it is; `None` when that could not be read, or is a DNS name.
pub(super) fn load(
    section: &mut Section<'_, '_>,
    realm: Option<&Identity>,
    resources: &Resources,
    faults: &mut Faults<'_>,
) -> Option<Realm> {
    let mut domain = section.section("domain", faults)?;
    if realm.is_none() {
        let message = "only a client of type `san_uri` can be a realm";
        faults.add(domain.span.clone(), message, "");
    }
    let mut roles = Roles::new();
    let default_role = domain.section("default_role", faults);
    let default_role = default_role.map(|section| role(section, resources, faults));
    for section in domain.sections("roles", faults) {
        let span = section.span.clone();
        let role = role(section, resources, faults);
        let Some(name) = role.name.clone() else {
            continue;
        };
        if roles.insert(name.clone(), role).is_some() {
            faults.add(
                span,
                format!("role `{name}` is defined twice"),
                "Remove one",
            );
        }
    }
    let default_role = default_role.unwrap_or_default();
    if let Some(name) = &default_role.name {
        roles
            .entry(name.clone())
            .or_insert_with(|| default_role.clone());
    }
    let assigned = assignments(&mut domain, realm, &roles, faults);
    domain.close(faults);
    Some(Realm {
        default_role,
        assigned,
    })
}

fn role(mut section: Section<'_, '_>, resources: &Resources, faults: &mut Faults<'_>) -> Role {
    let name = section.required_text("name", faults);
    let name = name.filter(|name| is_name(name, faults));
    let span = name
        .as_ref()
        .map_or(section.span.clone(), |name| name.span.clone());
    let (rights, _) = rights(&mut section, "resources", resources, faults);
    section.close(faults);
    Role {
        name: name.map(|name| name.value),
        line: faults.line(&span),
        rights,
    }
}

fn assignments(
    domain: &mut Section<'_, '_>,
    realm: Option<&Identity>,
    roles: &Roles,
    faults: &mut Faults<'_>,
) -> BTreeMap<String, Role> {
    let mut assigned: BTreeMap<String, Role> = BTreeMap::new();
    for mut section in domain.sections("role_assignments", faults) {
        let subject = section.required_text("subject", faults);
        let name = section.required_text("role", faults);
        section.close(faults);
        let (Some(subject), Some(name)) = (subject, name) else {
            continue;
        };
        let role = roles.get(&name.value);
        if role.is_none() {
            let known: Vec<&str> = roles.keys().map(String::as_str).collect();
            let message = format!("role `{}` is not defined", name.value);
            faults.add(name.span, message, near_or_known(&name.value, &known));
        }
        let Some(member) = identity(&subject, faults) else {
            continue;
        };
        let is_member =
            |realm: &Identity| member.is_at_or_below(realm) && member.path() != realm.path();
        if let Some(realm) = realm.filter(|realm| !is_member(realm)) {
            let message = format!("`{member}` is not below its realm `{realm}`");
            faults.add(subject.span.clone(), message, "");
        }
        let role = role.cloned().unwrap_or_default();
        let mut known = assigned.keys();
        if known.any(|known| known.eq_ignore_ascii_case(member.path())) {
            let message = format!("`{member}` has two roles: give it one");
            faults.add(subject.span, message, "");
        } else {
            assigned.insert(member.path().to_owned(), role);
        }
    }
    assigned
}
