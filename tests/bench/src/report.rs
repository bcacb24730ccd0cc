//! Figures as they are printed: tables that can be pasted, medians with their spread.

use std::fmt;

use comfy_table::{CellAlignment, presets};

/// A table in Markdown; the first column is text, all others numbers.
pub(crate) struct Table(comfy_table::Table);

impl Table {
    /// Table with these headings.
    pub(crate) fn new(headings: &[&str]) -> Self {
        let mut table = comfy_table::Table::new();
        table
            .load_style(presets::ASCII_MARKDOWN)
            .set_header(headings.iter().copied());
        let columns = table.column_iter_mut().skip(1);
        columns.for_each(|column| column.set_cell_alignment(CellAlignment::Right));
        Self(table)
    }

    /// Adds one more row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.add_row(cells);
    }

    /// Prints it to stdout under a title.
    pub(crate) fn print(&self, title: &str) {
        println!("\n## {title}\n\n{}", self.0);
    }
}

/// The middle of several runs, and how far they lie apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    /// The middle one; of an even number, the lower of the two in the middle.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Spread of these figures; zeroes of none.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |position: usize| sorted.get(position).copied().unwrap_or_default();
        let last = sorted.len().saturating_sub(1);
        Self {
            median: at(last / 2),
            min: at(0),
            max: at(last),
        }
    }
}

/// Prints as many digits after the point as the precision says, two by default.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(2);
        write!(
            f,
            "{:.digits$} ({:.digits$}-{:.digits$})",
            self.median, self.min, self.max
        )
    }
}

/// Microseconds as milliseconds.
pub(crate) fn milliseconds(microseconds: u64) -> String {
    format!("{:.2}", microseconds as f64 / 1000.0)
}

/// Bytes as mebibytes.
pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{:.0} MiB", bytes as f64 / (1024.0 * 1024.0))
}

/// Prints to stderr, for a person who waits: stdout is the result alone.
pub(crate) fn prose(text: std::fmt::Arguments<'_>) {
    eprintln!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_the_middle_and_both_ends() {
        let spread = Spread::of([3.0, 1.0, 9.0, 2.0, 5.0]);
        assert_eq!(format!("{spread:.0}"), "3 (1-9)");
        assert_eq!(Spread::of([4.0, 2.0]).median, 2.0);
        assert_eq!(Spread::of([]).median, 0.0);
    }
}
