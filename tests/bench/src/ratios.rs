//! Ratios of a run, and those that the repository keeps: what got slower is named, by a command and not by a test.
//!
//! A ratio is that of one run on one machine, ours to the peer's. Figures of two machines say nothing about each other;
//! their ratios nearly do.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::failure::BenchError;
use crate::report::{Spread, Table};

/// Share by which a ratio may be worse before it is named. Origin: rounds of one run differ by as much.
const TOLERANCE: f64 = 0.1;

/// Direction in which a ratio is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Better {
    Higher,
    Lower,
}

/// A ratio as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// Median of the rounds.
    ratio: f64,
    better: Better,
}

/// Ratios of one run, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ratios(BTreeMap<String, Kept>);

impl Ratios {
    /// Adds one.
    pub(crate) fn add(&mut self, name: String, ratio: Spread, better: Better) {
        // Three digits: more would make every saved table another one.
        let ratio = (ratio.median * 1e3).round() / 1e3;
        self.0.insert(name, Kept { ratio, better });
    }

    /// Puts those of this run into the kept table, in the place of earlier ones.
    ///
    /// # Errors
    /// The table cannot be read or written.
    pub(crate) fn save(&self, path: &Path) -> Result<(), BenchError> {
        let mut kept = read(path)?;
        kept.extend(self.0.clone());
        let text = toml::to_string(&kept).map_err(|error| BenchError::Tool(error.to_string()))?;
        std::fs::write(path, format!("{HEAD}{text}"))
            .map_err(|error| BenchError::file(path, &error))
    }

    /// Prints those of this run beside the kept ones.
    ///
    /// # Errors
    /// [`BenchError::Worse`] names those that are worse by more than a tenth; or the table cannot be read.
    pub(crate) fn check(&self, path: &Path) -> Result<(), BenchError> {
        let kept = read(path)?;
        let mut table = Table::new(&["ratio", "kept", "now", ""]);
        let mut worse = Vec::new();
        for (name, now) in &self.0 {
            let known = kept.get(name);
            let said = match known {
                None => "new",
                Some(known) if is_worse(*known, *now) => {
                    worse.push(format!("{name}: {} instead of {}", now.ratio, known.ratio));
                    "WORSE"
                }
                Some(_) => "",
            };
            let known = known.map_or_else(|| "-".to_owned(), |known| known.ratio.to_string());
            table.row([name.clone(), known, now.ratio.to_string(), said.to_owned()]);
        }
        table.print("Ratios beside those that are kept");
        match worse.is_empty() {
            true => Ok(()),
            false => Err(BenchError::Worse(worse.join("\n  "))),
        }
    }
}

/// Beginning of the table's file.
const HEAD: &str = "\
# Ratios of one run: ours to the peer's, medians of the rounds. Made by `bench COMMAND --save`, compared by
# `bench COMMAND --check`. Whoever changes a figure says in the commit why it changed.

";

fn read(path: &Path) -> Result<BTreeMap<String, Kept>, BenchError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(BenchError::file(path, &error)),
    };
    toml::from_str(&text)
        .map_err(|error| BenchError::Tool(format!("`{}`: {error}", path.display())))
}

fn is_worse(kept: Kept, now: Kept) -> bool {
    match kept.better {
        Better::Higher => now.ratio < kept.ratio * (1.0 - TOLERANCE),
        Better::Lower => now.ratio > kept.ratio * (1.0 + TOLERANCE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratios(rate: f64, p50: f64) -> Ratios {
        let mut ratios = Ratios::default();
        ratios.add("rate".to_owned(), Spread::of([rate]), Better::Higher);
        ratios.add("p50".to_owned(), Spread::of([p50]), Better::Lower);
        ratios
    }

    #[test]
    fn what_is_worse_by_more_than_a_tenth_is_named_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("ratios.toml");
        assert!(ratios(1.0, 2.0).check(&path).is_ok(), "all are new");
        ratios(1.0, 2.0).save(&path).expect("saved");
        for (rate, p50) in [(1.0, 2.0), (0.91, 2.19), (9.0, 0.1)] {
            assert!(ratios(rate, p50).check(&path).is_ok(), "{rate} {p50}");
        }
        let slower = ratios(0.89, 2.0).check(&path).expect_err("it is slower");
        assert!(
            slower.to_string().contains("rate: 0.89 instead of 1"),
            "{slower}"
        );
        let later = ratios(1.0, 2.21).check(&path).expect_err("it is later");
        assert!(later.to_string().contains("p50"), "{later}");
        assert!(!later.to_string().contains("rate:"), "{later}");
    }

    #[test]
    fn saving_keeps_what_another_command_has_measured() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("ratios.toml");
        ratios(1.0, 2.0).save(&path).expect("saved");
        let mut other = Ratios::default();
        other.add(
            "other, 64 clients".to_owned(),
            Spread::of([3.0]),
            Better::Lower,
        );
        other.save(&path).expect("saved");
        let kept = read(&path).expect("it is read again");
        assert_eq!(
            kept.keys().collect::<Vec<_>>(),
            ["other, 64 clients", "p50", "rate"]
        );
    }
}
