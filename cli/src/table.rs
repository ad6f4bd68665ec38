//! Rows of text, aligned in columns.

/// Between two columns.
const GAP: &str = "  ";

/// Rows under a head; a row may carry notes, which are printed below it.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

#[derive(Debug, Clone)]
struct Row {
    cells: Vec<String>,
    notes: Vec<String>,
}

impl Table {
    /// No rows yet.
    pub(crate) fn new<C: Into<String>>(head: impl IntoIterator<Item = C>) -> Self {
        let mut table = Self { rows: Vec::new() };
        table.row(head, Vec::new());
        table
    }

    /// Adds a row, with lines to print below it.
    pub(crate) fn row<C: Into<String>>(&mut self, cells: impl IntoIterator<Item = C>, notes: Vec<String>) {
        self.rows.push(Row { cells: cells.into_iter().map(Into::into).collect(), notes });
    }

    /// The text, every line of it indented.
    pub(crate) fn render(&self, indent: &str) -> String {
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::from(indent);
            for (column, cell) in row.cells.iter().enumerate() {
                if column > 0 {
                    line.push_str(GAP);
                }
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', self.width(column).saturating_sub(width(cell))));
            }
            text.push_str(line.trim_end());
            text.push('\n');
            for note in &row.notes {
                text.push_str(&format!("{indent}{GAP}{note}\n"));
            }
        }
        text
    }

    fn width(&self, column: usize) -> usize {
        self.rows.iter().filter_map(|row| row.cells.get(column)).map(|cell| width(cell)).max().unwrap_or(0)
    }
}

/// Everything that is printed takes one place per character.
fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["name", "size"]);
        table.row(["é", "1"], vec!["a note".to_owned()]);
        table.row(["longer name", ""], Vec::new());
        assert_eq!(table.render("> "), "> name         size\n> é            1\n>   a note\n> longer name\n");
    }
}
