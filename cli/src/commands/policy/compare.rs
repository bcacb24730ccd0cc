//! Changes that a policy would make: by meaning, and line by line.

use std::time::Duration;

use hessra_policy::{
    CLIENTS_FILE, Difference, PolicyView, RESOURCES_FILE, RightsChange, SettingChange, difference,
};
use hessra_sdk_rust::v1::ShowPolicyResponse;
use serde_json::{Value, json};
use similar::TextDiff;

use super::report::Guard;
use super::texts::Texts;

/// Time to compare two files well: large ones without a line in common take long, and are compared badly after it.
const DEADLINE: Duration = Duration::from_secs(2);

/// Comparison of the current policy with a new one.
pub(super) struct Comparison {
    /// Revision of the current policy.
    pub revision: u64,
    meaning: Difference,
    lines: [(&'static str, String); 2],
    guard: Guard,
}

impl Comparison {
    /// Comparison with `new`, which must be the view of the new texts. A current policy that this version cannot read
    /// is compared by its lines, and by meaning as if it permitted nothing.
    pub(super) fn new(shown: &ShowPolicyResponse, texts: &Texts, new: &PolicyView) -> Self {
        let old = shown.texts.clone().unwrap_or_default();
        let revision = shown.version.as_ref().map_or(0, |version| version.revision);
        let current = PolicyView::parse(&old.clients_toml, &old.resources_toml).unwrap_or_default();
        let lines =
            |name: &'static str, old: &str, new: &str| (name, unified(name, revision, old, new));
        Self {
            revision,
            meaning: difference(&current, new),
            guard: Guard::default(),
            lines: [
                lines(CLIENTS_FILE, &old.clients_toml, &texts.clients),
                lines(RESOURCES_FILE, &old.resources_toml, &texts.resources),
            ],
        }
    }

    /// The same comparison, with what the server says of its effects.
    pub(super) fn guarded(self, guard: Guard) -> Self {
        Self { guard, ..self }
    }

    /// True when not even a line differs.
    pub(super) fn is_empty(&self) -> bool {
        self.meaning.is_empty() && self.lines.iter().all(|(_, lines)| lines.is_empty())
    }

    /// Summary in one line: the number of changes.
    pub(super) fn summary(&self) -> String {
        let gained: usize = self
            .meaning
            .rights
            .iter()
            .map(|change| change.gains.len())
            .sum();
        let lost: usize = self
            .meaning
            .rights
            .iter()
            .map(|change| change.loses.len())
            .sum();
        let settings = self.meaning.settings.len();
        format!(
            "differs from revision {}: {gained} rights gained, {lost} lost, {settings} settings changed",
            self.revision
        )
    }

    /// Text for people: by meaning, then by lines.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for RightsChange { who, gains, loses } in &self.meaning.rights {
            text.push_str(&format!("{who}\n"));
            gains
                .iter()
                .for_each(|right| text.push_str(&format!("  + {right}\n")));
            loses
                .iter()
                .for_each(|right| text.push_str(&format!("  - {right}\n")));
        }
        for SettingChange { setting, old, new } in &self.meaning.settings {
            let shown =
                |value: &Option<String>| value.clone().unwrap_or_else(|| "(none)".to_owned());
            text.push_str(&format!("{setting}: {} → {}\n", shown(old), shown(new)));
        }
        for (_, lines) in self.lines.iter().filter(|(_, lines)| !lines.is_empty()) {
            text.push_str(&format!("\n{lines}"));
        }
        for weakening in &self.guard.weakenings {
            text.push_str(&format!("\nA second person must approve it: {weakening}."));
        }
        for lockout in &self.guard.lockouts {
            text.push_str(&format!("\nIt locks people out: {lockout}."));
        }
        text
    }

    /// JSON for programs.
    pub(super) fn to_json(&self) -> Value {
        let rights: Vec<Value> = self
            .meaning
            .rights
            .iter()
            .map(|change| json!({"who": change.who, "gains": change.gains, "loses": change.loses}))
            .collect();
        let settings: Vec<Value> = self
            .meaning
            .settings
            .iter()
            .map(|change| json!({"setting": change.setting, "old": change.old, "new": change.new}))
            .collect();
        let [(_, clients), (_, resources)] = &self.lines;
        json!({
            "differs": !self.is_empty(),
            "revision": self.revision,
            "rights": rights,
            "settings": settings,
            "weakenings": self.guard.weakenings,
            "lockouts": self.guard.lockouts,
            "text": {CLIENTS_FILE: clients, RESOURCES_FILE: resources},
        })
    }
}

fn unified(name: &str, revision: u64, old: &str, new: &str) -> String {
    let diff = TextDiff::configure().timeout(DEADLINE).diff_lines(old, new);
    let (before, after) = (
        format!("{name} (revision {revision})"),
        format!("{name} (new)"),
    );
    diff.unified_diff()
        .context_radius(3)
        .header(&before, &after)
        .to_string()
}
