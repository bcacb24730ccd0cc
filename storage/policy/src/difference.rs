//! Difference that a new policy makes: who gains or loses which right, and which settings differ.
//!
//! Rights are compared as they work, not as they are written: taking a right from a parent takes it from everything
//! below, and the difference says so for each identity that the policy names.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::HEXLOWER;
use hessra_revocation::Identity;
use sha2::{Digest as _, Sha256};

use crate::resource::{OperationRules, Resource};
use crate::rights::right_text;
use crate::view::{Client, PolicyView};

/// Difference between two policies; sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Rights of clients, members and operators.
    pub rights: Vec<RightsChange>,
    /// Changes of everything else.
    pub settings: Vec<SettingChange>,
}

/// Rights that one client, member or operator gains and loses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RightsChange {
    /// An identity, `*.example` pattern, `any other member of REALM`, or `operator IDENTITY`.
    pub who: String,
    /// Rights gained: `resource:operation`, or the rights of an operator.
    pub gains: Vec<String>,
    /// Rights lost, as `gains`.
    pub loses: Vec<String>,
}

/// A setting that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingChange {
    /// Name of the setting: whose, and which.
    pub setting: String,
    /// `None`: it is new.
    pub old: Option<String>,
    /// `None`: it is gone.
    pub new: Option<String>,
}

impl Difference {
    /// True when the two policies mean the same, whatever their texts look like.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rights.is_empty() && self.settings.is_empty()
    }
}

/// Difference that replacing `old` by `new` makes.
#[must_use]
pub fn difference(old: &PolicyView, new: &PolicyView) -> Difference {
    let names: BTreeSet<Identity> = [old, new]
        .into_iter()
        .flat_map(PolicyView::named_identities)
        .map(|name| Identity::parse(name.path()).unwrap_or(name))
        .collect();
    Difference {
        rights: rights_changes(&rights(old, &names), &rights(new, &names)),
        settings: setting_changes(&settings(old), &settings(new)),
    }
}

type Held = BTreeMap<String, BTreeSet<String>>;
type Settings = BTreeMap<String, String>;

fn rights(view: &PolicyView, names: &BTreeSet<Identity>) -> Held {
    let mut held = Held::new();
    for name in names {
        let effective = view.effective_rights(name).unwrap_or_default();
        held.insert(
            name.path().to_owned(),
            effective.iter().map(right_text).collect(),
        );
    }
    for (path, (_, client)) in &view.clients {
        if let Some(realm) = &client.realm {
            let default = realm.default_role.rights.iter().map(right_text);
            held.insert(format!("any other member of {path}"), default.collect());
        }
    }
    for (pattern, client) in &view.dns_clients {
        held.insert(
            pattern.clone(),
            client.rights.iter().map(right_text).collect(),
        );
    }
    for (name, operator) in &view.operators {
        let rights = operator.rights.iter().map(|right| right.name().to_owned());
        held.insert(format!("operator {name}"), rights.collect());
    }
    held
}

fn rights_changes(old: &Held, new: &Held) -> Vec<RightsChange> {
    let nothing = BTreeSet::new();
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let changes = names.into_iter().map(|who| {
        let before = old.get(who).unwrap_or(&nothing);
        let after = new.get(who).unwrap_or(&nothing);
        RightsChange {
            who: who.clone(),
            gains: after.difference(before).cloned().collect(),
            loses: before.difference(after).cloned().collect(),
        }
    });
    changes
        .filter(|change| !change.gains.is_empty() || !change.loses.is_empty())
        .collect()
}

fn setting_changes(old: &Settings, new: &Settings) -> Vec<SettingChange> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let changes = names.into_iter().map(|setting| SettingChange {
        setting: setting.clone(),
        old: old.get(setting).cloned(),
        new: new.get(setting).cloned(),
    });
    changes.filter(|change| change.old != change.new).collect()
}

/// Settings: everything that is not a right, by a name that a person understands.
fn settings(view: &PolicyView) -> Settings {
    let mut all = Settings::new();
    let mut put = |whose: &str, setting: &str, value: String| {
        all.insert(format!("{whose} {setting}"), value);
    };
    for (identity, client) in view.clients.values() {
        put(identity.path(), "is spelled", identity.as_str().to_owned());
        client_settings(identity.path(), client, &mut put);
    }
    for (pattern, client) in &view.dns_clients {
        client_settings(pattern, client, &mut put);
    }
    for (name, operator) in &view.operators {
        put(
            &format!("operator {name}"),
            "under",
            joined(operator.under.iter().map(Identity::path)),
        );
    }
    for (ids, owner) in view.verifiers.iter() {
        put(&format!("verifiers {ids}"), "belong to", owner.to_owned());
    }
    for (name, resource) in &view.resources {
        resource_settings(&format!("resource {name}"), resource, &mut put);
    }
    for (position, rule) in view.exposure_rules.iter().enumerate() {
        put(
            "exposure rule",
            &(position + 1).to_string(),
            format!("{rule:?}"),
        );
    }
    for authority in &view.authorities {
        let fingerprint = HEXLOWER.encode(&Sha256::digest(authority.as_ref()));
        put("certificate authority", &fingerprint, "trusted".to_owned());
    }
    limit_settings(view, &mut put);
    all
}

fn client_settings(whose: &str, client: &Client, put: &mut impl FnMut(&str, &str, String)) {
    put(
        whose,
        "identity_token_enabled",
        client.identity_tokens.to_string(),
    );
    put(
        whose,
        "identity_token_duration",
        format!("{} s", client.identity_token_duration),
    );
    put(whose, "delegable", client.delegable.to_string());
    put(whose, "require_jit", client.require_jit.to_string());
    put(
        whose,
        "refresh_count_max",
        client.refresh.count_max.to_string(),
    );
    put(
        whose,
        "refresh_age_max",
        format!("{} s", client.refresh.age_max),
    );
    put(
        whose,
        "stub_targets",
        joined(client.stub_targets.iter().map(Identity::path)),
    );
    let realm = client.realm.iter();
    for (member, role) in realm.flat_map(|realm| &realm.assigned) {
        put(member, "role", role.name.clone().unwrap_or_default());
    }
}

fn resource_settings(whose: &str, resource: &Resource, put: &mut impl FnMut(&str, &str, String)) {
    put(whose, "type", resource.kind.name().to_owned());
    put(whose, "shape", resource.shape.name().to_owned());
    let duration = resource.authorization_token_duration;
    let duration =
        duration.map_or_else(|| "the limit".to_owned(), |seconds| format!("{seconds} s"));
    put(whose, "authorization_token_duration", duration);
    let nodes = resource.nodes.iter();
    put(
        whose,
        "nodes",
        joined(nodes.map(|node| format!("{} {}", node.component, node.public_key))),
    );
    let signers = resource.signers.iter();
    let signers = signers.map(|signer| {
        format!(
            "{} at {} {}",
            signer.component, signer.authorization_service, signer.public_key
        )
    });
    put(whose, "signers", joined(signers));
    put(whose, "rules", rules_text(&resource.rules));
    put(
        whose,
        "classifications",
        joined(resource.classifications.iter()),
    );
    for (operation, rules) in &resource.operations {
        put(whose, &format!("operation {operation}"), rules_text(rules));
    }
}

fn limit_settings(view: &PolicyView, put: &mut impl FnMut(&str, &str, String)) {
    let limits = &view.limits;
    put("limits", "two_person", limits.two_person.to_string());
    put(
        "limits",
        "min_revocation_depth",
        limits.min_revocation_depth.to_string(),
    );
    let seconds = limits.authorization_token_duration;
    put(
        "limits",
        "authorization_token_duration",
        format!("{seconds} s"),
    );
    put(
        "limits",
        "delegation_depth_max",
        limits.delegation_depth_max.to_string(),
    );
    put(
        "limits",
        "stub_duration_max",
        format!("{} s", limits.stub_duration_max),
    );
    put(
        "limits",
        "refresh_count_max",
        limits.refresh.count_max.to_string(),
    );
    put(
        "limits",
        "refresh_age_max",
        format!("{} s", limits.refresh.age_max),
    );
}

fn rules_text(rules: &OperationRules) -> String {
    let designations = rules.required_designations.iter();
    let words = designations
        .map(|label| format!("designation {label}"))
        .chain(rules.single_use.then(|| "single use".to_owned()))
        .chain(
            rules
                .context_required
                .then(|| "context required".to_owned()),
        );
    joined(words)
}

fn joined(words: impl Iterator<Item = impl AsRef<str>>) -> String {
    let words: Vec<String> = words.map(|word| word.as_ref().to_owned()).collect();
    if words.is_empty() {
        "none".to_owned()
    } else {
        words.join(", ")
    }
}
