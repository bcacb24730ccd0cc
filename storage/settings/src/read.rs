//! Reads a TOML document so that every mistake is found and each has its place.
//!
//! serde stops at the first mistake and forgets where it was once a value is a plain type. Here a [`Section`] is asked
//! for its keys one by one; what is missing, of another type or out of range goes to the [`Faults`] and reading goes on;
//! [`Section::close`] reports the keys that were not asked for, with the nearest one that was.

use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::nearest;
use crate::problem::{Problem, Problems};

/// The problems of one file, as they are found.
#[derive(Debug)]
pub struct Faults<'t> {
    file: &'t str,
    text: &'t str,
    found: Vec<Problem>,
}

impl<'t> Faults<'t> {
    /// Makes an empty list. `file` is how problems name the text.
    #[must_use]
    pub fn new(file: &'t str, text: &'t str) -> Self {
        Self {
            file,
            text,
            found: Vec::new(),
        }
    }

    /// Adds one more problem. `message`: what is wrong, without a full stop. `hint`: what to do; may be empty.
    pub fn add(&mut self, span: Range<usize>, message: impl Into<String>, hint: impl Into<String>) {
        let problem = Problem::new(self.file, self.text, span, message, hint);
        self.found.push(problem);
    }

    /// The line of a place, counted from 1.
    #[must_use]
    pub fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.get(..span.start).unwrap_or_default();
        before.matches('\n').count() + 1
    }

    /// True when nothing has been found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// True when a problem begins inside this place.
    #[must_use]
    pub fn any_within(&self, place: &Range<usize>) -> bool {
        let begins = |problem: &Problem| place.contains(&problem.span.start);
        self.found.iter().any(begins)
    }

    /// The problems of this file alone, with its text.
    #[must_use]
    pub fn into_problems(self) -> Problems {
        let (file, text) = (self.file, self.text);
        Problems::new(self.into_found(), &[(file, text)])
    }

    /// The problems, in the order of their places.
    #[must_use]
    pub fn into_found(mut self) -> Vec<Problem> {
        self.found.sort_by_key(|problem| problem.span.start);
        self.found
    }
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Place of the value, in bytes.
    pub span: Range<usize>,
}

/// A parsed document that knows where each of its keys stands.
#[derive(Debug)]
pub struct Document<'t> {
    root: Spanned<DeTable<'t>>,
}

impl<'t> Document<'t> {
    /// Parses a text; all its errors of syntax are added to `faults`, and what could be read is there.
    #[must_use]
    pub fn parse(text: &'t str, faults: &mut Faults<'_>) -> Self {
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            faults.add(span, error.message().trim_end(), "");
        }
        Self { root }
    }

    /// The whole of it as a section.
    #[must_use]
    pub fn section(&self) -> Section<'_, 't> {
        Section::new(self.root.get_ref(), 0..0)
    }

    /// Place where people look for the value of a path, such as `["limits", "connections_max"]`; a number is a position
    /// in a list. When it is absent, the nearest thing above it that is there.
    #[must_use]
    pub fn place(&self, path: &[&str]) -> Range<usize> {
        let found = self.walk(path).last();
        found.map_or(0..0, |(place, _)| place)
    }

    /// All of the value of a path; `None` when it is absent.
    #[must_use]
    pub fn extent(&self, path: &[&str]) -> Option<Range<usize>> {
        let (_, value) = self.walk(path).nth(path.len().checked_sub(1)?)?;
        Some(value.span())
    }

    /// Place and value of each part of a path, as far as it exists.
    fn walk<'p>(
        &self,
        path: &'p [&str],
    ) -> impl Iterator<Item = (Range<usize>, &Spanned<DeValue<'t>>)> + use<'_, 'p, 't> {
        let mut above: Option<&DeValue<'t>> = None;
        path.iter().enumerate().map_while(move |(depth, step)| {
            let (place, value) = match (depth, above) {
                (0, _) => member(self.root.get_ref(), step)?,
                (_, Some(DeValue::Table(table))) => member(table, step)?,
                (_, Some(DeValue::Array(items))) => {
                    let item = items.get(step.parse::<usize>().ok()?)?;
                    (item.span(), item)
                }
                _ => return None,
            };
            above = Some(value.get_ref());
            Some((place, value))
        })
    }
}

/// A key's value, and where people look for it: a table's own span is that of its header or of nothing at all, so it is
/// the key's.
fn member<'t, 'i>(
    table: &'t DeTable<'i>,
    name: &str,
) -> Option<(Range<usize>, &'t Spanned<DeValue<'i>>)> {
    let (key, value) = table.iter().find(|(key, _)| key.get_ref() == name)?;
    let place = if value.get_ref().is_table() || value.get_ref().is_array() {
        key.span()
    } else {
        value.span()
    };
    Some((place, value))
}

/// One table that is being read.
///
/// Each method that reads a key adds to `faults` what is wrong with its value and answers `None`, as it does for a key
/// that is absent.
#[derive(Debug)]
pub struct Section<'d, 'i> {
    table: &'d DeTable<'i>,
    /// Place where the table begins, in bytes.
    pub span: Range<usize>,
    asked: Vec<&'static str>,
}

impl<'d, 'i> Section<'d, 'i> {
    fn new(table: &'d DeTable<'i>, span: Range<usize>) -> Self {
        Self {
            table,
            span,
            asked: Vec::new(),
        }
    }

    /// Place of the key, or of the table when it is absent.
    #[must_use]
    pub fn place(&self, key: &str) -> Range<usize> {
        member(self.table, key).map_or(self.span.clone(), |(place, _)| place)
    }

    /// True when the key is there.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.table.iter().any(|(known, _)| known.get_ref() == key)
    }

    /// A text.
    pub fn text(&mut self, key: &'static str, faults: &mut Faults<'_>) -> Option<Located<String>> {
        let value = self.value(key)?;
        text(value, faults)
    }

    /// A text that is parsed.
    pub fn parsed<T: FromStr<Err: fmt::Display>>(
        &mut self,
        key: &'static str,
        faults: &mut Faults<'_>,
    ) -> Option<T> {
        let text = self.text(key, faults)?;
        let parsed = text.value.parse();
        parsed
            .map_err(|error: T::Err| faults.add(text.span, error.to_string(), ""))
            .ok()
    }

    /// A text that must be there.
    pub fn required_text(
        &mut self,
        key: &'static str,
        faults: &mut Faults<'_>,
    ) -> Option<Located<String>> {
        if !self.has(key) {
            faults.add(self.span.clone(), format!("missing key `{key}`"), "");
        }
        self.text(key, faults)
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &'static str, faults: &mut Faults<'_>) -> Option<bool> {
        let value = self.value(key)?;
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            wrong_type(value, "`true` or `false`", faults);
        }
        flag
    }

    /// A whole number. `what` begins the sentence about one out of range.
    pub fn number(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        what: &str,
        faults: &mut Faults<'_>,
    ) -> Option<u64> {
        let value = self.value(key)?;
        let Some(integer) = value.get_ref().as_integer() else {
            wrong_type(value, "a whole number", faults);
            return None;
        };
        let number = i128::from_str_radix(integer.as_str(), integer.radix()).ok();
        let number = number.and_then(|number| u64::try_from(number).ok());
        if let Some(number) = number.filter(|number| range.contains(number)) {
            return Some(number);
        }
        let sentence = format!("{what} {} to {}", range.start(), range.end());
        faults.add(value.span(), sentence, "");
        None
    }

    /// One of a few words.
    pub fn word<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&'static str, T)],
        faults: &mut Faults<'_>,
    ) -> Option<T> {
        let text = self.text(key, faults)?;
        choice(&text, words, faults)
    }

    /// A list of texts.
    pub fn texts(&mut self, key: &'static str, faults: &mut Faults<'_>) -> Vec<Located<String>> {
        let items = self.items(key, faults);
        items.iter().filter_map(|item| text(item, faults)).collect()
    }

    /// One text, or a list of them.
    pub fn text_or_texts(
        &mut self,
        key: &'static str,
        faults: &mut Faults<'_>,
    ) -> Vec<Located<String>> {
        match self.value(key) {
            Some(value) if value.get_ref().is_str() => text(value, faults).into_iter().collect(),
            _ => self.texts(key, faults),
        }
    }

    /// A table.
    pub fn section(
        &mut self,
        key: &'static str,
        faults: &mut Faults<'_>,
    ) -> Option<Section<'d, 'i>> {
        let place = self.place(key);
        let value = self.value(key)?;
        section(value, place, faults)
    }

    /// A list of tables.
    pub fn sections(&mut self, key: &'static str, faults: &mut Faults<'_>) -> Vec<Section<'d, 'i>> {
        let items = self.items(key, faults);
        items
            .iter()
            .filter_map(|item| section(item, item.span(), faults))
            .collect()
    }

    /// A table of named tables.
    pub fn named(
        &mut self,
        key: &'static str,
        faults: &mut Faults<'_>,
    ) -> Vec<(Located<String>, Section<'d, 'i>)> {
        let Some(section_of) = self.section(key, faults) else {
            return Vec::new();
        };
        let entries = section_of.table.iter();
        entries
            .filter_map(|(name, value)| {
                let located = Located {
                    value: name.get_ref().clone().into_owned(),
                    span: name.span(),
                };
                Some((located, section(value, name.span(), faults)?))
            })
            .collect()
    }

    /// A table of named lists of texts.
    pub fn named_texts(
        &mut self,
        key: &'static str,
        faults: &mut Faults<'_>,
    ) -> Vec<(Located<String>, Vec<Located<String>>)> {
        let Some(section_of) = self.section(key, faults) else {
            return Vec::new();
        };
        let entries = section_of.table.iter();
        entries
            .map(|(name, value)| {
                let located = Located {
                    value: name.get_ref().clone().into_owned(),
                    span: name.span(),
                };
                let items = list(value, faults);
                let texts = items.iter().filter_map(|item| text(item, faults));
                (located, texts.collect())
            })
            .collect()
    }

    /// Reports the keys that were not asked for.
    pub fn close(self, faults: &mut Faults<'_>) {
        for (key, _) in self.table.iter() {
            let name: &str = key.get_ref();
            if !self.asked.contains(&name) {
                let hint = match nearest(name, &self.asked) {
                    Some(near) => format!("Did you mean `{near}`?"),
                    None => format!("Known here: {}.", self.asked.join(", ")),
                };
                faults.add(key.span(), format!("unknown key `{name}`"), hint);
            }
        }
    }

    fn value(&mut self, key: &'static str) -> Option<&'d Spanned<DeValue<'i>>> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        member(self.table, key).map(|(_, value)| value)
    }

    fn items(&mut self, key: &'static str, faults: &mut Faults<'_>) -> &'d [Spanned<DeValue<'i>>] {
        self.value(key).map_or(&[], |value| list(value, faults))
    }
}

/// The word that is meant, or a fault that names the nearest.
pub fn choice<T: Copy>(
    text: &Located<String>,
    words: &[(&'static str, T)],
    faults: &mut Faults<'_>,
) -> Option<T> {
    let found = words.iter().find(|(word, _)| *word == text.value);
    if found.is_none() {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let message = format!("`{}` is not known here", text.value);
        faults.add(
            text.span.clone(),
            message,
            near_or_known(&text.value, &known),
        );
    }
    found.map(|(_, meaning)| *meaning)
}

/// Hint for an unknown word: "Did you mean …?" when something is near, else what there is.
pub fn near_or_known(unknown: &str, known: &[&str]) -> String {
    match (nearest(unknown, known), known.is_empty()) {
        (Some(near), _) => format!("Did you mean `{near}`?"),
        (None, false) => format!("Known: {}", known.join(", ")),
        (None, true) => String::new(),
    }
}

fn text(value: &Spanned<DeValue<'_>>, faults: &mut Faults<'_>) -> Option<Located<String>> {
    let Some(text) = value.get_ref().as_str() else {
        wrong_type(value, "a text in quotes", faults);
        return None;
    };
    Some(Located {
        value: text.to_owned(),
        span: value.span(),
    })
}

fn list<'d, 'i>(
    value: &'d Spanned<DeValue<'i>>,
    faults: &mut Faults<'_>,
) -> &'d [Spanned<DeValue<'i>>] {
    match value.get_ref() {
        DeValue::Array(items) => items,
        _ => {
            wrong_type(value, "a list", faults);
            &[]
        }
    }
}

fn section<'d, 'i>(
    value: &'d Spanned<DeValue<'i>>,
    place: Range<usize>,
    faults: &mut Faults<'_>,
) -> Option<Section<'d, 'i>> {
    match value.get_ref() {
        DeValue::Table(table) => Some(Section::new(table, place)),
        _ => {
            wrong_type(value, "a table", faults);
            None
        }
    }
}

fn wrong_type(value: &Spanned<DeValue<'_>>, wanted: &str, faults: &mut Faults<'_>) {
    let message = format!("expected {wanted}, found {}", value.get_ref().type_str());
    faults.add(value.span(), message, "");
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# c\nlisten = \"a\"\nlimits = { most = 0 }\nlist = [{ id = 1 }, { id = 2 }]\n[deep.er]\nx = 1\n";

    fn line_and_column(span: &Range<usize>) -> (usize, usize) {
        let problem = Problem::new("", TEXT, span.clone(), "", "");
        (problem.line, problem.column)
    }

    #[test]
    fn a_place_is_the_value_or_the_nearest_thing_above_it() {
        let document = Document::parse(TEXT, &mut Faults::new("a.toml", TEXT));
        let place = |path: &[&str]| line_and_column(&document.place(path));
        assert_eq!(place(&["listen"]), (2, 10));
        assert_eq!(place(&["limits", "most"]), (3, 19));
        assert_eq!(place(&["limits", "absent"]), (3, 1));
        assert_eq!(place(&["list", "1", "id"]), (4, 28));
        assert_eq!(place(&["list", "7", "id"]), (4, 1));
        assert_eq!(place(&["deep", "er", "x"]), (6, 5));
        assert_eq!(place(&["absent"]), (1, 1));
    }

    #[test]
    fn an_extent_is_all_of_a_value_that_is_there() {
        let document = Document::parse(TEXT, &mut Faults::new("a.toml", TEXT));
        let extent = |path: &[&str]| document.extent(path).map(|span| &TEXT[span]);
        assert_eq!(extent(&["listen"]), Some("\"a\""));
        assert_eq!(extent(&["list"]), Some("[{ id = 1 }, { id = 2 }]"));
        assert_eq!(extent(&["list", "0", "id"]), Some("1"));
        assert_eq!(extent(&["limits", "absent"]), None);
        assert_eq!(extent(&[]), None);
    }

    #[test]
    fn every_mistake_is_found_in_the_order_of_places() {
        let text = "lisetn = 1\nzzz = 1\n[limits]\nmost = \"many\"\nleast = 7\n";
        let mut faults = Faults::new("a.toml", text);
        let document = Document::parse(text, &mut faults);
        let mut section = document.section();
        let mut limits = section.section("limits", &mut faults).expect("a table");
        section.text("listen", &mut faults);
        section.close(&mut faults);
        assert_eq!(limits.number("most", 0..=9, "at most", &mut faults), None);
        assert_eq!(limits.number("least", 0..=5, "from", &mut faults), None);
        limits.close(&mut faults);
        assert!(faults.any_within(&document.extent(&["limits", "least"]).unwrap()));
        assert!(!faults.any_within(&(3..5)));
        assert_eq!(
            faults.into_problems().to_string(),
            "a.toml:1:1: unknown key `lisetn`. Did you mean `listen`?\n\
             a.toml:2:1: unknown key `zzz`. Known here: limits, listen.\n\
             a.toml:4:8: expected a whole number, found string\n\
             a.toml:5:9: from 0 to 5"
        );
    }

    #[test]
    fn broken_syntax_is_a_problem_where_it_breaks() {
        let text = "a = 1\nb =";
        let mut faults = Faults::new("a.toml", text);
        let _ = Document::parse(text, &mut faults);
        let problems = faults.into_problems().to_string();
        assert!(problems.starts_with("a.toml:2:"), "{problems}");
    }
}
