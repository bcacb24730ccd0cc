//! Tables for people: headings in capitals, columns by the widest cell, no frame, so that `awk` reads them too.

use comfy_table::{CellAlignment, ContentArrangement, presets};

/// Table of rows under headings.
pub(crate) struct Table(comfy_table::Table);

impl Table {
    /// Table with these headings.
    pub(crate) fn new(headings: &[&str]) -> Self {
        let mut table = comfy_table::Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(headings.iter().map(|heading| heading.to_uppercase()));
        table.column_iter_mut().for_each(|column| {
            column.set_padding((0, 2));
        });
        Self(table)
    }

    /// Aligns a column to the right, where numbers read better.
    #[must_use]
    pub(crate) fn right(mut self, column: usize) -> Self {
        if let Some(column) = self.0.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        self
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.add_row(cells.into_iter().map(|cell| {
            if cell.is_empty() {
                "-".to_owned()
            } else {
                cell
            }
        }));
    }

    /// Text of the table, each line ended.
    pub(crate) fn text(&self) -> String {
        self.0
            .lines()
            .map(|line| format!("{}\n", line.trim_end()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_empty_cells_are_marked() {
        let mut table = Table::new(&["node", "lag"]).right(1);
        table.row(["1".to_owned(), "12345".to_owned()]);
        table.row(["22".to_owned(), String::new()]);
        assert_eq!(table.text(), "NODE    LAG\n1     12345\n22        -\n");
    }
}
