//! The only place that writes to stdout and stderr: data to the one, messages to the other.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;

use super::args::OutputFormat;
use super::exit::{CliError, Exit};

/// Where data and messages go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    /// How data is written.
    pub(super) format: OutputFormat,
}

impl Output {
    /// Writes data.
    pub(super) fn data(&self, text: impl Display) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        written(write!(out, "{text}").and_then(|()| out.flush()))
    }

    /// Writes one JSON document.
    pub(super) fn json(&self, document: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(document).map_err(|error| {
            CliError::new(Exit::Internal, format!("cannot write JSON: {error}"), "understudy --help")
        })?;
        self.data(text + "\n")
    }

    /// Writes a JSON document on one line.
    pub(super) fn json_line(&self, document: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string(document).map_err(|error| {
            CliError::new(Exit::Internal, format!("cannot write JSON: {error}"), "understudy --help")
        })?;
        self.data(text + "\n")
    }

    /// Writes a message. One that cannot be written is lost: there is no other place for it.
    pub(super) fn message(&self, text: impl Display) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Whether data is wanted as JSON.
    pub(super) fn is_json(&self) -> bool {
        self.format == OutputFormat::Json
    }

    /// Whether stdout is a terminal on which lines may be written over.
    pub(super) fn is_terminal(&self) -> bool {
        io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
    }
}

/// A reader that went away is a normal end.
fn written(result: io::Result<()>) -> Result<(), CliError> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(CliError::new(Exit::Done, "", "")),
        Err(error) => Err(CliError::new(
            Exit::Internal,
            format!("cannot write to stdout: {error}"),
            "understudy --help",
        )),
        Ok(()) => Ok(()),
    }
}

/// Whether stderr may be coloured.
pub(super) fn colours() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stderr().is_terminal() && !refused
}

/// Rows in aligned columns under a header. Columns that hold only numbers are aligned to the right.
pub(super) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let cell = |row: &[String], column: usize| row.get(column).cloned().unwrap_or_default();
    let wide = |column: usize| {
        let longest = rows.iter().map(|row| cell(row, column).chars().count()).max().unwrap_or(0);
        longest.max(header[column].chars().count())
    };
    let numeric = |column: usize| {
        let number =
            |row: &Vec<String>| cell(row, column).starts_with(|c: char| c.is_ascii_digit() || c == '-');
        !rows.is_empty() && rows.iter().all(number)
    };
    let shape = (0..header.len()).map(|column| (wide(column), numeric(column))).collect::<Vec<_>>();
    let line = |cells: &[String]| {
        let aligned = shape.iter().enumerate().map(|(column, (width, right))| {
            let text = cell(cells, column);
            if *right { format!("{text:>width$}") } else { format!("{text:<width$}") }
        });
        let mut line = aligned.collect::<Vec<_>>().join("  ").trim_end().to_owned();
        line.push('\n');
        line
    };
    let header = header.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    std::iter::once(line(&header)).chain(rows.iter().map(|row| line(row))).collect()
}

/// A number of bytes for people: `16.0 MiB`.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A figure that may be unknown.
pub(super) fn known<T: Display>(figure: Option<T>) -> String {
    figure.map_or_else(|| "unknown".to_owned(), |figure| figure.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["long".to_owned(), "1000".to_owned()]];
        assert_eq!(table(&["NAME", "ROWS"], &rows), "NAME  ROWS\na        1\nlong  1000\n");
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(16 << 20), "16.0 MiB");
        assert_eq!(bytes(u64::MAX), "16384.0 PiB");
    }
}
