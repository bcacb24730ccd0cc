//! `[[operators]]` and `[operator_roles]`: who administers, and what each may.

use std::collections::BTreeMap;

use hessra_settings::{Faults, Located, Section, choice, near_or_known};

use super::names::{identities, identity};
use crate::names::without_scheme;
use crate::operator::{BUILT_IN_ROLES, Operator, Right};
use crate::view::PolicyView;

type Roles = BTreeMap<String, Vec<Right>>;

pub(super) fn load(file: &mut Section<'_, '_>, view: &mut PolicyView, faults: &mut Faults<'_>) {
    let roles = roles(file, faults);
    for mut section in file.sections("operators", faults) {
        let name = section.required_text("identity", faults);
        let rights = operator_rights(&mut section, &roles, faults);
        let under = identities(&mut section, "under", faults);
        let places = [section.place("rights"), section.place("roles")];
        let has_own = section.has("rights");
        section.close(faults);
        let Some(name) = name else { continue };
        if rights.as_ref().is_some_and(Vec::is_empty) {
            let message = format!("`{}` has no rights: remove the entry", name.value);
            let [of_rights, of_roles] = places;
            faults.add(if has_own { of_rights } else { of_roles }, message, "");
        }
        if identity(&name, faults).is_none() {
            continue;
        }
        let operator = Operator {
            line: faults.line(&name.span),
            identity: name.value.clone(),
            rights: rights.unwrap_or_default(),
            under,
        };
        add(operator, &name, view, faults);
    }
}

fn roles(file: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> Roles {
    let built_in = BUILT_IN_ROLES.iter();
    let mut roles: Roles = built_in
        .map(|(name, rights)| ((*name).to_owned(), rights.to_vec()))
        .collect();
    for (name, words) in file.named_texts("operator_roles", faults) {
        let rights = words
            .iter()
            .filter_map(|word| choice(word, &right_words(), faults));
        let rights = rights.collect();
        if roles.insert(name.value.clone(), rights).is_some() {
            let message = format!("the role `{}` is built in: choose another name", name.value);
            faults.add(name.span, message, "");
        }
    }
    roles
}

/// `None`: something in them could not be read, which was said.
fn operator_rights(
    section: &mut Section<'_, '_>,
    roles: &Roles,
    faults: &mut Faults<'_>,
) -> Option<Vec<Right>> {
    let words = section.texts("rights", faults);
    let own: Vec<Option<Right>> = words
        .iter()
        .map(|word| choice(word, &right_words(), faults))
        .collect();
    let names = section.texts("roles", faults);
    let given: Vec<Option<&Vec<Right>>> =
        names.iter().map(|name| role(name, roles, faults)).collect();
    let mut rights: Vec<Right> = own.into_iter().collect::<Option<_>>()?;
    let given: Vec<&Vec<Right>> = given.into_iter().collect::<Option<_>>()?;
    rights.extend(given.into_iter().flatten());
    rights.sort();
    rights.dedup();
    Some(rights)
}

fn role<'r>(
    name: &Located<String>,
    roles: &'r Roles,
    faults: &mut Faults<'_>,
) -> Option<&'r Vec<Right>> {
    let role = roles.get(&name.value);
    if role.is_none() {
        let known: Vec<&str> = roles.keys().map(String::as_str).collect();
        let message = format!("role `{}` is not defined", name.value);
        faults.add(
            name.span.clone(),
            message,
            near_or_known(&name.value, &known),
        );
    }
    role
}

fn right_words() -> [(&'static str, Right); Right::ALL.len()] {
    Right::ALL.map(|right| (right.name(), right))
}

fn add(operator: Operator, name: &Located<String>, view: &mut PolicyView, faults: &mut Faults<'_>) {
    let path = without_scheme(&operator.identity).to_owned();
    let mut known = view.operators.keys();
    if known.any(|known| known.eq_ignore_ascii_case(&path)) {
        let message = format!("`{}` has an entry already", operator.identity);
        faults.add(name.span.clone(), message, "Remove one");
    } else {
        view.operators.insert(path, operator);
    }
}
