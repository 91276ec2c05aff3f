//! A project: a folder of numbered migrations, each with the SQL that green needs before it and may lose after it.
//!
//! `layout` finds the version that a path stands for, `script` reads its SQL and `lint` says what the field warns of in
//! it; none of them asks a server. `expand` brings green up to a version before its copy, and `show` tells people.

mod layout;
pub mod lint;
mod script;
mod words;

mod expand;
mod made;
mod show;

pub use expand::{bring_up, pending, refuse};
pub use layout::{CONTRACT, EXPAND, FILE, Located, locate};
pub use made::ToMake;
pub use script::{Form, Impossible, Kind, Script, Statement};
pub use show::{findings, json, line, status, text};
pub use words::Name;

/// One version of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Its number.
    pub number: u32,
    /// The name of its directory.
    pub directory: String,
    /// SHA-256 of its migration file.
    pub file_sha256: String,
    /// What green is given before the copy.
    pub expand: Option<Script>,
    /// What green is given after `finish`.
    pub contract: Option<Script>,
}
