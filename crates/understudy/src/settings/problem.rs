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
}

impl Problem {
    /// A problem at a place.
    pub(super) fn at(
        place: impl Into<Option<Place>>,
        path: impl Into<String>,
        what: impl Into<String>,
    ) -> Problem {
        Problem { place: place.into(), path: path.into(), what: what.into(), remedy: None }
    }

    /// Adds what to write instead.
    pub(super) fn remedy(mut self, remedy: impl Into<String>) -> Problem {
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

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&self.file)?;
            if let Some(place) = problem.place {
                write!(f, ":{place}")?;
            }
            f.write_str(": ")?;
            if !problem.path.is_empty() {
                write!(f, "{}: ", problem.path)?;
            }
            f.write_str(&problem.what)?;
            if let Some(remedy) = &problem.remedy {
                write!(f, "\n  remedy: {remedy}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for SettingsError {}
