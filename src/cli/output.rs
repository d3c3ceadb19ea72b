//! The only file that prints: results to standard output, errors to standard error.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is the module that the rule points to"
)]

use std::io::Write;

/// A line of a result.
pub(super) fn line(text: &str) {
    // Whoever reads it may have enough, as `head` has.
    drop(writeln!(std::io::stdout(), "{text}"));
}

/// A part of a line, at once.
pub(super) fn part(text: &str) {
    print!("{text}");
    // A closed standard output is noticed by the next line.
    drop(std::io::stdout().flush());
}

/// An error.
pub(super) fn error(text: &str) {
    eprintln!("workflow-worker: {text}");
}

/// Rows with aligned columns.
pub(super) fn table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}", width = *width))
            .collect();
        line(cells.join("  ").trim_end());
    }
}
