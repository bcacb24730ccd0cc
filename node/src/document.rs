//! Reads a TOML document so that an error says where: file, line, column, and the nearest known key for a typo.
//!
//! The configuration of a node is read through here; the policy has a reader of its own, which goes on after a mistake.
//! The one-line form of an error (`node.toml:3:1: unknown key …`) goes to logs; the form with the quoted line goes to a
//! terminal.

use std::ops::Range;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use hessra_policy::nearest;

/// What is wrong with a document, and where.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}:{}:{}: {}", .0.file, .0.line, .0.column, .0.sentence)]
pub struct DocumentError(Box<Place>);

/// Boxed, because it quotes the whole text and most results are no errors.
#[derive(Clone, Debug)]
struct Place {
    file: String,
    /// Counted from 1.
    line: usize,
    /// Counted from 1, in characters.
    column: usize,
    /// What is wrong and what to do, without the place.
    sentence: String,
    text: NamedSource<String>,
    span: Range<usize>,
}

impl Diagnostic for DocumentError {
    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.0.text)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = LabeledSpan::new_with_span(Some("here".to_owned()), self.0.span.clone());
        Some(Box::new(std::iter::once(label)))
    }
}

/// A parsed document that still knows where each of its keys stands.
pub struct Document<'a> {
    file: &'a str,
    text: &'a str,
    root: Spanned<DeTable<'a>>,
}

impl<'a> Document<'a> {
    /// Parses the syntax. `file` is how errors name it.
    ///
    /// # Errors
    /// The text is not TOML.
    pub fn parse(file: &'a str, text: &'a str) -> Result<Self, DocumentError> {
        let root = DeTable::parse(text)
            .map_err(|error| at(file, text, error.span(), error.message().to_owned()))?;
        Ok(Self { file, text, root })
    }

    /// Reads the document into a type that refuses unknown keys.
    ///
    /// # Errors
    /// An unknown key, with the nearest known one; a missing key; a value of another type.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, DocumentError> {
        toml::from_str(self.text).map_err(|error| {
            let sentence = with_nearest_key(error.message());
            at(self.file, self.text, error.span(), sentence)
        })
    }

    /// An error about the key of this path: `["limits", "connections_max"]`; a number is a position in an array. Points
    /// at the nearest thing that exists when the key is absent.
    #[must_use]
    pub fn error(&self, path: &[&str], sentence: String) -> DocumentError {
        at(self.file, self.text, Some(self.span(path)), sentence)
    }

    fn span(&self, path: &[&str]) -> Range<usize> {
        let Some((first, rest)) = path.split_first() else {
            return 0..0;
        };
        let Some((mut span, mut value)) = member(self.root.get_ref(), first) else {
            return 0..0;
        };
        for step in rest {
            let Some((found, below)) = child(value, step) else {
                break;
            };
            (span, value) = (found, below);
        }
        span
    }
}

fn member<'t, 'a>(table: &'t DeTable<'a>, name: &str) -> Option<(Range<usize>, &'t DeValue<'a>)> {
    let (key, value) = table.iter().find(|(key, _)| key.get_ref() == name)?;
    // A table's span is that of its header or of nothing at all; the key's own is always where people look.
    let span = if value.get_ref().is_table() || value.get_ref().is_array() {
        key.span()
    } else {
        value.span()
    };
    Some((span, value.get_ref()))
}

fn child<'t, 'a>(value: &'t DeValue<'a>, step: &str) -> Option<(Range<usize>, &'t DeValue<'a>)> {
    match value {
        DeValue::Table(table) => member(table, step),
        DeValue::Array(array) => {
            let item = array.get(step.parse::<usize>().ok()?)?;
            Some((item.span(), item.get_ref()))
        }
        _ => None,
    }
}

fn at(file: &str, text: &str, span: Option<Range<usize>>, sentence: String) -> DocumentError {
    let span = span.unwrap_or(0..0);
    let before = text.get(..span.start).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    DocumentError(Box::new(Place {
        file: file.to_owned(),
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        sentence,
        text: NamedSource::new(file, text.to_owned()),
        span,
    }))
}

/// Turns serde's "unknown field `a`, expected one of `b`, `c`" into a sentence that names the nearest known key.
fn with_nearest_key(message: &str) -> String {
    let Some(rest) = message.strip_prefix("unknown field `") else {
        return message.trim_end().to_owned();
    };
    let mut quoted = rest.split('`').step_by(2);
    let unknown = quoted.next().unwrap_or_default();
    let known: Vec<&str> = rest.split('`').skip(2).step_by(2).collect();
    match nearest(unknown, &known) {
        Some(near) => format!("unknown key `{unknown}`. Did you mean `{near}`?"),
        None => format!("unknown key `{unknown}`. Known here: {}.", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Sample {
        listen: Option<String>,
        limits: Option<Limits>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Limits {
        connections_max: u32,
    }

    fn refusal(text: &str) -> String {
        Document::parse("a.toml", text)
            .and_then(|document| document.read::<Sample>())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_typo_is_refused_with_its_place_and_the_nearest_key() {
        assert_eq!(
            refusal("# c\nlisetn = 1\n"),
            "a.toml:2:1: unknown key `lisetn`. Did you mean `listen`?"
        );
        assert_eq!(
            refusal("[limits]\nconections_max = 3"),
            "a.toml:2:1: unknown key `conections_max`. Did you mean `connections_max`?"
        );
    }

    #[test]
    fn a_key_that_resembles_nothing_is_refused_with_the_known_ones() {
        assert_eq!(
            refusal("zzz = 1"),
            "a.toml:1:1: unknown key `zzz`. Known here: listen, limits."
        );
    }

    #[test]
    fn a_value_of_another_type_is_refused_where_it_stands() {
        assert_eq!(
            refusal("[limits]\nconnections_max = \"many\""),
            "a.toml:2:19: invalid type: string \"many\", expected u32"
        );
    }

    #[test]
    fn broken_syntax_is_refused_where_it_breaks() {
        assert!(
            refusal("a = 1\nb =").starts_with("a.toml:2:"),
            "{}",
            refusal("a = 1\nb =")
        );
    }

    #[test]
    fn an_error_about_a_path_points_at_the_value_or_the_nearest_thing_above() {
        let document = Document::parse("a.toml", "[limits]\nconnections_max = 0\n").unwrap();
        let place = |path: &[&str]| {
            let error = document.error(path, String::new());
            (error.0.line, error.0.column)
        };
        assert_eq!(place(&["limits", "connections_max"]), (2, 19));
        assert_eq!(place(&["limits", "absent"]), (1, 2));
        assert_eq!(place(&["absent"]), (1, 1));
    }
}
