//! Exit codes, and errors as the user reads them.

use std::fmt;
use std::process::ExitCode;

use understudy_contract::{Class, Failure};

use crate::settings::SettingsError;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// A defect of ours, or a server that stayed away.
    Internal,
    /// Usage or configuration.
    Configuration,
    /// The gate is closed.
    Held,
    /// Rows differ.
    Mismatches,
    /// It took too long.
    TimedOut,
    /// Given up before anything was changed.
    Aborted,
    /// Somebody must decide.
    OperatorNeeded,
    /// A signal ended it.
    Interrupted,
}

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Internal => 1,
            Exit::Configuration => 2,
            Exit::Held => 3,
            Exit::Mismatches => 4,
            Exit::TimedOut => 5,
            Exit::Aborted => 7,
            Exit::OperatorNeeded => 9,
            Exit::Interrupted => 130,
        }
    }

    /// The code of a class of failure.
    pub const fn of(class: Class) -> Exit {
        match class {
            Class::Configuration => Exit::Configuration,
            Class::Data | Class::SchemaChange | Class::Diverged | Class::Superseded => Exit::OperatorNeeded,
            Class::Transient | Class::Internal => Exit::Internal,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// An error on its way to the user.
#[derive(Debug)]
pub struct CliError {
    /// The exit code.
    pub exit: Exit,
    /// What went wrong; may have several lines.
    pub what: String,
    /// What the user does about it.
    pub remedy: Option<String>,
    /// The command to be typed next: the last line of the message.
    pub next: String,
}

impl CliError {
    /// An error with the command that comes next.
    pub fn new(exit: Exit, what: impl Into<String>, next: impl Into<String>) -> CliError {
        CliError { exit, what: what.into(), remedy: None, next: next.into() }
    }

    /// Says what to do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> CliError {
        self.remedy = Some(remedy.into());
        self
    }

    /// A failure of the pipeline or of a server, for a migration file.
    pub fn of(failure: &Failure, file: &str) -> CliError {
        CliError {
            exit: Exit::of(failure.class()),
            what: failure.to_string(),
            remedy: failure.remedy_text().map(str::to_owned),
            next: next_command(failure.class(), file),
        }
    }

    /// A file that could not be read.
    pub fn of_settings(error: &SettingsError) -> CliError {
        let next = format!("understudy config check {}", error.file);
        CliError::new(Exit::Configuration, error.to_string(), next)
    }
}

/// What is typed next after a failure of a class.
fn next_command(class: Class, file: &str) -> String {
    match class {
        Class::Configuration | Class::Transient | Class::Diverged => format!("understudy check {file}"),
        Class::SchemaChange => format!("understudy plan {file}"),
        Class::Superseded => "understudy status".to_owned(),
        Class::Data | Class::Internal => format!("understudy run {file}"),
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        if let Some(remedy) = &self.remedy {
            write!(f, "\nremedy: {remedy}")?;
        }
        write!(f, "\nnext: {}", self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_its_code() {
        for (class, code) in [
            (Class::Transient, 1),
            (Class::Configuration, 2),
            (Class::Data, 9),
            (Class::SchemaChange, 9),
            (Class::Diverged, 9),
            (Class::Superseded, 9),
            (Class::Internal, 1),
        ] {
            assert_eq!(Exit::of(class).code(), code, "{class:?}");
        }
    }

    #[test]
    fn the_last_line_names_the_next_command() {
        let failure = Failure::new(Class::Configuration, "wal_level is replica")
            .while_doing("create the slot")
            .remedy("ALTER SYSTEM SET wal_level = logical, then restart blue");
        let shown = CliError::of(&failure, "shop.yaml").to_string();
        assert_eq!(
            shown,
            "error: could not create the slot: wal_level is replica\n\
             remedy: ALTER SYSTEM SET wal_level = logical, then restart blue\nnext: understudy check shop.yaml"
        );
    }
}
