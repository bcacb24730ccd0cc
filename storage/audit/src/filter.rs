//! Filter of records by conditions: `event=authz.denied actor.subject=urn:hessra:alice since=2026-03-14T00:00:00.000Z`.
//!
//! A condition is a field, `=` or `!=`, and a value; all conditions must hold. A field is a path with dots, as in the
//! JSON. A value with `*` at its end is a prefix. `target.token_ids` holds when one of its items does. `since` and
//! `until` bound the time. A word that names a whole group may stand for its fields: `subject` is the actor's or the
//! target's, `token` one of the ids. An identity is found in every spelling that is its own.

use hessra_revocation::{Identity, canonical_spelling};
use serde_json::Value;

/// Conditions of one question.
pub const CONDITIONS_MAX: usize = 16;

/// Error of a text that is no condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum FilterError {
    #[error("`{0}` is no condition: write FIELD=VALUE, for example event=authz.denied")]
    NoCondition(String),
    #[error("`{0}` is no field of a record: see `hessra audit search --help` for the fields")]
    UnknownField(String),
    #[error("there are more than {CONDITIONS_MAX} conditions: ask for fewer at a time")]
    TooMany,
    #[error("`{0}` is no instant: write it as 2026-03-14T15:09:26.535Z")]
    NoInstant(String),
}

/// Names of fields; those of `change` are free.
const FIELDS: &[&str] = &[
    "v",
    "seq",
    "id",
    "ts",
    "node",
    "chain",
    "raft.term",
    "raft.index",
    "revision",
    "event",
    "outcome",
    "reason",
    "actor.subject",
    "actor.auth",
    "actor.cert_fp",
    "actor.ip",
    "action",
    "target.type",
    "target.subject",
    "target.id",
    "target.resource",
    "target.operation",
    "target.token_ids",
    "request.id",
    "request.api",
    "request.trace_id",
    "ticket",
    "message",
];
const SUBJECT: &[&str] = &["actor.subject", "target.subject"];
const TOKEN: &[&str] = &["target.token_ids"];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Equals(String),
    Differs(String),
    Begins(String),
    NotBefore(String),
    Before(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Condition {
    /// One of them must pass the test.
    fields: Vec<String>,
    test: Test,
}

/// All conditions of a question. Without any, every record is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    conditions: Vec<Condition>,
}

impl Filter {
    /// Reads conditions as people write them.
    ///
    /// # Errors
    /// See [`FilterError`].
    pub fn parse<S: AsRef<str>>(
        conditions: impl IntoIterator<Item = S>,
    ) -> Result<Self, FilterError> {
        let conditions: Vec<Condition> = conditions
            .into_iter()
            .map(|text| condition(text.as_ref()))
            .collect::<Result<_, _>>()?;
        if conditions.len() > CONDITIONS_MAX {
            return Err(FilterError::TooMany);
        }
        Ok(Self { conditions })
    }

    /// True when this record is meant.
    #[must_use]
    pub fn matches(&self, record: &Value) -> bool {
        self.conditions
            .iter()
            .all(|condition| condition.holds(record))
    }
}

impl Condition {
    fn is_about_identities(&self) -> bool {
        is_about_identities(&self.fields)
    }

    fn holds(&self, record: &Value) -> bool {
        let passes = |text: &str| match &self.test {
            Test::Equals(wanted) => text == wanted,
            Test::Differs(unwanted) => text != unwanted,
            Test::Begins(prefix) => text.starts_with(prefix.as_str()),
            Test::NotBefore(instant) => text >= instant.as_str(),
            Test::Before(instant) => text < instant.as_str(),
        };
        let spell = |text: String| match self.is_about_identities() {
            true => path_of(&text),
            false => text,
        };
        let texts = self.fields.iter().map(|field| texts(record, field));
        let texts = texts.map(|texts| texts.into_iter().map(spell).collect::<Vec<_>>());
        match self.test {
            // Not equal means that none is equal, also when there is nothing.
            Test::Differs(_) => texts.into_iter().flatten().all(|text| passes(&text)),
            _ => texts.into_iter().flatten().any(|text| passes(&text)),
        }
    }
}

fn condition(text: &str) -> Result<Condition, FilterError> {
    let none = || FilterError::NoCondition(short(text));
    let (field, value) = text.split_once('=').ok_or_else(none)?;
    let (field, differs) = match field.strip_suffix('!') {
        Some(field) => (field, true),
        None => (field, false),
    };
    let value = value.to_owned();
    if field == "since" || field == "until" {
        crate::time::millis(&value).ok_or_else(|| FilterError::NoInstant(short(&value)))?;
    }
    let fields = fields(field)?;
    let value = match is_about_identities(&fields) {
        true => path_of(&value),
        false => value,
    };
    let test = match (field, differs, value.strip_suffix('*')) {
        ("since", false, _) => Test::NotBefore(value),
        ("until", false, _) => Test::Before(value),
        ("since" | "until", true, _) => return Err(none()),
        (_, true, _) => Test::Differs(value),
        (_, false, Some(prefix)) => Test::Begins(prefix.to_owned()),
        (_, false, None) => Test::Equals(value),
    };
    Ok(Condition { fields, test })
}

fn is_about_identities(fields: &[String]) -> bool {
    fields.iter().all(|field| SUBJECT.contains(&field.as_str()))
}

/// Path of an identity, so that all spellings of one are equal; the beginning of one, or another text, in its canonical
/// spelling.
fn path_of(text: &str) -> String {
    let text = canonical_spelling(text);
    match Identity::parse(text.trim_end_matches([':', '*'])) {
        Ok(identity) => text[identity.as_str().len() - identity.path().len()..].to_owned(),
        Err(_) => text,
    }
}

fn fields(name: &str) -> Result<Vec<String>, FilterError> {
    let names: &[&str] = match name {
        "subject" => SUBJECT,
        "token" => TOKEN,
        "since" | "until" => &["ts"],
        _ if FIELDS.contains(&name) || name.starts_with("change.") => &[name],
        _ => return Err(FilterError::UnknownField(short(name))),
    };
    Ok(names.iter().map(|name| (*name).to_owned()).collect())
}

fn short(text: &str) -> String {
    text.chars().take(100).collect()
}

/// The scalars at a path.
fn texts(record: &Value, path: &str) -> Vec<String> {
    let mut value = record;
    for part in path.split('.') {
        match value.get(part) {
            Some(inner) => value = inner,
            None => return Vec::new(),
        }
    }
    match value {
        Value::Array(items) => items.iter().filter_map(scalar).collect(),
        other => scalar(other).into_iter().collect(),
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
