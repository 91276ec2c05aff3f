//! What is wrong with a migration file, and where.

use std::fmt;

/// A place in the file, both counted from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Line.
    pub line: u64,
    /// Column, in characters.
    pub column: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// One thing that is wrong with the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where; `None` for what concerns the file as a whole.
    pub place: Option<Place>,
    /// The key path, such as `tables[1].columns`; empty for the file as a whole.
    pub path: String,
    /// What is wrong, as a sentence without its full stop.
    pub what: String,
    /// What to write instead, if that can be said.
    pub remedy: Option<String>,
    /// The line that it is in, where SQL stands in it.
    pub caret: Option<Box<Caret>>,
}

/// A line of the file, and what is marked in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caret {
    /// The line's number.
    pub line: u64,
    /// What may be shown of it.
    pub text: String,
    /// The first marked column of `text`, counted from one.
    pub column: u64,
    /// How many columns are marked.
    pub width: u64,
}

impl fmt::Display for Caret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        let shown = |letter: char| if letter.is_control() && letter != '\t' { ' ' } else { letter };
        let text = self.text.chars().map(shown).collect::<String>();
        let before = usize::try_from(self.column).unwrap_or(usize::MAX).saturating_sub(1);
        let blank = |letter: char| if letter == '\t' { '\t' } else { ' ' };
        // A place behind the end of the line is one column behind it.
        let indent = text.chars().chain([' ']).take(before).map(blank).collect::<String>();
        let marks = "^".repeat(usize::try_from(self.width).unwrap_or(1).max(1));
        write!(f, "  {number} | {text}\n  {:width$} | {indent}{marks}", "", width = number.len())
    }
}

impl Problem {
    /// A problem at a place.
    pub(crate) fn at(
        place: impl Into<Option<Place>>,
        path: impl Into<String>,
        what: impl Into<String>,
    ) -> Problem {
        Problem { place: place.into(), path: path.into(), what: what.into(), remedy: None, caret: None }
    }

    /// Adds what to write instead.
    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Problem {
        self.remedy = Some(remedy.into());
        self
    }
}

/// Everything that is wrong with one migration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    /// The file, as the user named it.
    pub file: String,
    /// The problems, in the order of the file. Never empty.
    pub problems: Vec<Problem>,
}

impl SettingsError {
    pub(super) fn new(file: &str, mut problems: Vec<Problem>) -> SettingsError {
        problems.sort_by_key(|problem| problem.place);
        problems.dedup();
        SettingsError { file: file.to_owned(), problems }
    }
}

impl Problem {
    /// The problem as a line, with the place and the remedy on lines of their own, behind the name of its file.
    pub fn in_file(&self, file: &str) -> String {
        let place = if self.place.is_some() { ":" } else { ": " };
        format!("{file}{place}{self}")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = self.place {
            write!(f, "{place}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.what)?;
        if let Some(caret) = &self.caret {
            write!(f, "\n{caret}")?;
        }
        match &self.remedy {
            Some(remedy) => write!(f, "\n  remedy: {remedy}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.problems.iter().map(|problem| problem.in_file(&self.file)).collect::<Vec<_>>();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for SettingsError {}
