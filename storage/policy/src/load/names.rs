//! Names, identities and rights: read the same way wherever they stand.

use std::collections::BTreeMap;
use std::ops::Range;

use hessra_revocation::Identity;
use hessra_settings::{Faults, Located, Section, near_or_known};

use crate::resource::Resource;
use crate::rights::Rights;

/// Names of resources and operations are keys of look-ups and parts of tokens: bounded and printable.
const NAME_MAX: usize = 256;

/// Key of the format's version, informative.
pub(super) const VERSION_KEY: &str = "version";

/// Place of each right of a list.
pub(super) type Places = BTreeMap<(String, String), Range<usize>>;

pub(super) type Resources = BTreeMap<String, Resource>;

/// A list of `{ name, operations }`, with the place of each right.
pub(super) fn rights(
    section: &mut Section<'_, '_>,
    key: &'static str,
    resources: &Resources,
    faults: &mut Faults<'_>,
) -> (Rights, Places) {
    let mut places = Places::new();
    for mut grant in section.sections(key, faults) {
        let name = grant.required_text("name", faults);
        let operations = grant.texts("operations", faults);
        if operations.is_empty() {
            let named = name.as_ref().map_or("it", |name| name.value.as_str());
            let message = format!("`{named}` has no operations: it grants nothing");
            faults.add(grant.place("operations"), message, "");
        }
        grant.close(faults);
        let Some(name) = name.filter(|name| is_name(name, faults)) else {
            continue;
        };
        for operation in operations {
            add_right(&name, operation, resources, &mut places, faults);
        }
    }
    (places.keys().cloned().collect(), places)
}

fn add_right(
    resource: &Located<String>,
    operation: Located<String>,
    resources: &Resources,
    places: &mut Places,
    faults: &mut Faults<'_>,
) {
    if !is_name(&operation, faults) {
        return;
    }
    if let Some(known) = resources
        .get(&resource.value)
        .filter(|known| !known.knows(&operation.value))
    {
        let words: Vec<&str> = known.operations.keys().map(String::as_str).collect();
        let message = format!(
            "`{}` is no operation of `{}`",
            operation.value, resource.value
        );
        let hint = near_or_known(&operation.value, &words);
        faults.add(operation.span, message, hint);
        return;
    }
    let right = (resource.value.clone(), operation.value);
    if places
        .insert(right.clone(), operation.span.clone())
        .is_some()
    {
        let message = format!("`{}` on `{}` is granted twice", right.1, right.0);
        faults.add(operation.span, message, "Remove one");
    }
}

pub(super) fn is_name(name: &Located<String>, faults: &mut Faults<'_>) -> bool {
    let text = &name.value;
    // Published clients read printed tokens, where a quote could end a name early: none is minted with such a name.
    let fits = |character: char| !character.is_control() && !matches!(character, '"' | '\\');
    let is_name = (1..=NAME_MAX).contains(&text.len()) && text.chars().all(fits);
    if !is_name {
        let message = format!(
            "a name has 1 to {NAME_MAX} bytes of printable characters without `\"` and `\\`"
        );
        faults.add(name.span.clone(), message, "");
    }
    is_name
}

pub(super) fn identity(text: &Located<String>, faults: &mut Faults<'_>) -> Option<Identity> {
    match Identity::parse(&text.value) {
        Ok(identity) => Some(identity),
        Err(error) => {
            let message = format!("`{}` is not an identity: {error}", text.value);
            faults.add(text.span.clone(), message, "");
            None
        }
    }
}

pub(super) fn identities(
    section: &mut Section<'_, '_>,
    key: &'static str,
    faults: &mut Faults<'_>,
) -> Vec<Identity> {
    let texts = section.text_or_texts(key, faults);
    texts
        .iter()
        .filter_map(|text| identity(text, faults))
        .collect()
}
