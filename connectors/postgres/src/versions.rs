//! Versions of a project on green: what is recorded of each, and the SQL that green is given before a version's copy.
//!
//! The SQL is run once. Where all of it fits into one transaction, its record commits with it. Otherwise each statement is
//! recorded as it finishes: in its own transaction where it has one; where it has none, the record says beforehand that it
//! begins, and after a crash green itself tells what became of it.

mod record;
mod run;

#[cfg(test)]
mod tests;

use understudy_contract::{Class, Failure};

use crate::ident::quote_ident;

pub use record::{Recorded, recorded};
pub use run::{Outcome, bring_up};

/// A version as its files describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The name of the migration that it is.
    pub migration: String,
    /// Its place in the project.
    pub number: u32,
    /// The directory, without its path.
    pub directory: String,
    /// SHA-256 of the migration file, in hexadecimal.
    pub file_sha256: String,
    /// What green is given before the copy.
    pub expand: Option<Expand>,
    /// SHA-256 of what is run at the end, in hexadecimal.
    pub contract_sha256: Option<String>,
}

/// A file of SQL to be run once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expand {
    /// The file, as messages name it.
    pub file: String,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// Whether all of it fits into one transaction.
    pub whole: bool,
    /// The statements, in order.
    pub steps: Vec<Step>,
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its text.
    pub sql: String,
    /// The line on which it begins.
    pub line: u64,
    /// How it is run.
    pub how: How,
}

/// How a statement is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// In a transaction.
    Plain,
    /// It sets something for the session: a session that goes on behind it sets it again.
    Session,
    /// Outside transactions; whether it has finished shows in the index that it builds.
    CreateIndex {
        /// The index, quoted, with its schema where one is given.
        index: String,
        /// Its table, likewise.
        table: String,
    },
    /// Outside transactions; once it has finished there is nothing left to be dropped.
    DropIndex,
    /// Outside transactions, as often as need be.
    Repeatable,
}

/// A name as SQL writes it, with its schema where one is given.
pub fn quote_name(schema: Option<&str>, name: &str) -> String {
    match schema {
        Some(schema) => format!("{}.{}", quote_ident(schema), quote_ident(name)),
        None => quote_ident(name),
    }
}

/// As much of a checksum as a person compares.
fn short(sha256: Option<&str>) -> &str {
    sha256.map_or("no file", |sha256| sha256.get(..12).unwrap_or(sha256))
}

/// Whether a version may go on from what is recorded of it.
pub fn compare(version: &Version, recorded: &Recorded) -> Result<(), Failure> {
    let refused = |cause: String, remedy: &str| Err(Failure::new(Class::Configuration, cause).remedy(remedy));
    if recorded.number != version.number {
        let cause = format!(
            "migration {} is recorded on green as version {}, and {} makes it version {}",
            version.migration, recorded.number, version.directory, version.number
        );
        return refused(cause, "give it its number back, or give a new version a migration name of its own");
    }
    let now = version.expand.as_ref().map(|expand| expand.sha256.as_str());
    let then = recorded.expand_sha256.as_deref();
    if now == then {
        return Ok(());
    }
    let checksums = format!("recorded {}, now {}", short(then), short(now));
    if recorded.expanded {
        let cause =
            format!("expand.sql of {} has changed since green was given it ({checksums})", version.directory);
        return refused(
            cause,
            "undo the change, and put what green shall have beyond it into the expand.sql of a new version: the next \
             numbered directory, with a migration name of its own",
        );
    }
    let finished = recorded.statements_done;
    let same = version.expand.as_ref().is_some_and(|expand| {
        usize::try_from(finished).is_ok_and(|done| done <= expand.steps.len())
            && (finished == 0 || recorded.done_sha256.as_deref() == Some(expand.digest(finished).as_str()))
    });
    if same {
        return Ok(());
    }
    let cause = format!(
        "the first {finished} statements of expand.sql of {} have been run on green and are not those of the file any more \
         ({checksums})",
        version.directory
    );
    refused(
        cause,
        "undo the change to these statements; those behind them may change until they have been run",
    )
}

impl Expand {
    /// Tells the first statements from any others.
    fn digest(&self, statements: u32) -> String {
        use sha2::{Digest as _, Sha256};
        let mut hasher = Sha256::new();
        let count = usize::try_from(statements).unwrap_or(usize::MAX);
        for step in self.steps.iter().take(count) {
            hasher.update((step.sql.len() as u64).to_be_bytes());
            hasher.update(step.sql.as_bytes());
        }
        hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
