//! `[[verifiers]]`: which ids of verifiers belong to which identity.

use hessra_settings::{Faults, Located, Section};

use super::names::identity;
use crate::names::without_scheme;
use crate::verifier::IdPattern;
use crate::view::PolicyView;

pub(super) fn load(file: &mut Section<'_, '_>, view: &mut PolicyView, faults: &mut Faults<'_>) {
    for mut section in file.sections("verifiers", faults) {
        let name = section.required_text("identity", faults);
        let ids = section.texts("ids", faults);
        if ids.is_empty() {
            let message = "a verifier's entry names its ids: it ties nothing without";
            faults.add(
                section.place("ids"),
                message,
                "Write `ids = [\"orders-*\"]`",
            );
        }
        section.close(faults);
        let Some(name) = name.filter(|name| identity(name, faults).is_some()) else {
            continue;
        };
        for id in ids {
            tie(&id, without_scheme(&name.value), view, faults);
        }
    }
}

fn tie(id: &Located<String>, owner: &str, view: &mut PolicyView, faults: &mut Faults<'_>) {
    let Some(pattern) = IdPattern::parse(&id.value) else {
        let message = format!(
            "`{}` matches no verifier: an id has 1 to 64 letters, digits, `.`, `_` or `-`, and `*` stands at the end alone",
            id.value
        );
        return faults.add(id.span.clone(), message, "");
    };
    if let Err(other) = view.verifiers.tie(pattern, owner) {
        let message = format!("`{}` has ids that belong to `{other}` already", id.value);
        faults.add(id.span.clone(), message, "An id belongs to one identity");
    }
}
