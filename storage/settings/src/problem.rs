//! Problems of a document, or of several that belong together: every one at once, each with its place.
//!
//! The one-line form of a problem (`clients.toml:3:1: unknown key …`) goes to logs and over the network; on a terminal
//! each is a miette diagnostic with the quoted line.

use std::fmt;
use std::ops::Range;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};

/// Problems said at once. A text with more of them has one mistake many times.
pub const PROBLEMS_MAX: usize = 20;

/// Problem of a document: one thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it was named.
    pub file: String,
    /// Line, counted from 1.
    pub line: usize,
    /// Column, counted from 1, in characters.
    pub column: usize,
    /// Place in the text, in bytes: what the marker is put under.
    pub span: Range<usize>,
    /// Sentence about what is wrong; no full stop.
    pub message: String,
    /// Hint what to do, or the nearest valid word. May be empty.
    pub hint: String,
}

impl Problem {
    /// Problem at a place of a text; line and column are counted from its bytes.
    #[must_use]
    pub fn new(
        file: &str,
        text: &str,
        span: Range<usize>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        let before = text.get(..span.start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            span,
            message: message.into(),
            hint: hint.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file, line, column, ..
        } = self;
        write!(f, "{file}:{line}:{column}: {}", self.message)?;
        if self.hint.is_empty() {
            Ok(())
        } else {
            write!(f, ". {}", self.hint)
        }
    }
}

/// Problems for which documents are not used: one to [`PROBLEMS_MAX`], in the order of the files.
#[derive(Clone, Debug)]
pub struct Problems {
    reports: Vec<Report>,
    more: usize,
}

impl Problems {
    /// Problems found in these texts, each with the name of its file.
    #[must_use]
    pub fn new(problems: Vec<Problem>, texts: &[(&str, &str)]) -> Self {
        let more = problems.len().saturating_sub(PROBLEMS_MAX);
        let text = |file: &str| texts.iter().find(|(name, _)| *name == file);
        let reports = problems.into_iter().take(PROBLEMS_MAX).map(|problem| {
            let text = text(&problem.file).map_or("", |(_, text)| text);
            let text = NamedSource::new(&problem.file, text.to_owned());
            Report { problem, text }
        });
        Self {
            reports: reports.collect(),
            more,
        }
    }

    /// The problems, without the texts that they quote.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.reports.iter().map(|report| &report.problem)
    }

    /// Problems beyond [`PROBLEMS_MAX`].
    #[must_use]
    pub fn more(&self) -> usize {
        self.more
    }

    /// Each problem as a diagnostic that quotes its line.
    pub fn diagnostics(&self) -> impl Iterator<Item = &(dyn Diagnostic + Send + Sync + 'static)> {
        self.reports.iter().map(|report| report as _)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.problems().enumerate() {
            let newline = if position == 0 { "" } else { "\n" };
            write!(f, "{newline}{problem}")?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

impl std::error::Error for Problems {}

impl Diagnostic for Problems {
    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.reports.first().and_then(Diagnostic::source_code)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.reports.first().and_then(Diagnostic::labels)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        let others = self.reports.iter().skip(1);
        Some(Box::new(others.map(|report| report as &dyn Diagnostic)))
    }
}

/// One problem with the text that it quotes.
#[derive(Clone, Debug)]
struct Report {
    problem: Problem,
    text: NamedSource<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem.message)
    }
}

impl std::error::Error for Report {}

impl Diagnostic for Report {
    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.text)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = LabeledSpan::new_with_span(Some("here".to_owned()), self.problem.span.clone());
        Some(Box::new(std::iter::once(label)))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let hint = &self.problem.hint;
        (!hint.is_empty()).then(|| Box::new(hint) as _)
    }
}
