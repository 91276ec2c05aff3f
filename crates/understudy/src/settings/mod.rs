//! The migration file: read once into `Settings`, a form that cannot be wrong.
//!
//! `yaml` reads text into values with places, `raw` is what a person writes, `shape` compares the two by the schema, and
//! `resolve` and `tables` turn what is left into [`Settings`]. Every problem is reported at once, with line and column.

mod debezium;
mod dynamo;
mod gate;
mod items;
mod probes;
mod problem;
mod raw;
mod raw_items;
mod resolve;
mod scalar;
mod shape;
mod sql;
mod tables;
mod text;
mod through;
mod verify;
mod warnings;
mod yaml;

#[cfg(test)]
mod items_tests;
#[cfg(test)]
mod sql_tests;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use understudy_contract::{Class, Failure};
use understudy_kafka::KafkaSettings;
use understudy_model::TableName;
use understudy_postgres::wire::{ConnectOptions, Secret};
use understudy_transform::ColumnSource;

use crate::project::{self, Located};

pub use dynamo::{DynamoSettings, IndexSettings, ItemTable, KeyName};
pub use gate::{GateSettings, PrometheusCheck};
pub(crate) use items::PART;
pub use items::{Filled, FilledFrom, Forms, ItemSettings, PartSettings};
pub use probes::ProbeSettings;
pub use problem::{Caret, Place, Problem, SettingsError};
pub use sql::Sql;
pub use tables::TableSettings;
pub use text::{TablePattern, Target};
pub use verify::VerifySettings;

/// A migration, ready to be run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The file that it was read from, as the user named it.
    pub file: String,
    /// Names the slot, the publication and the bookkeeping.
    pub name: MigrationName,
    /// The live database, with its password.
    pub blue: ConnectOptions,
    /// The shadow store, with its password.
    pub green: GreenSettings,
    /// The log between the two; `None`: straight into green.
    pub through: Option<KafkaSettings>,
    /// Which tables move, in the order of the file. Patterns meet blue's catalog in
    /// [`Settings::entries_for`].
    pub tables: Vec<TableSettings>,
    /// The key for `mask`. It is there whenever an entry calls it and secrets are read.
    pub mask_key: Option<Secret>,
    /// What to do with rows that green's tables already hold.
    pub existing_rows: ExistingRows,
    /// What becomes of the rows of a partition that is detached or dropped on blue.
    pub on_detach: OnDetach,
    /// The first copy.
    pub copy: CopySettings,
    /// Applying changes to green.
    pub apply: ApplySettings,
    /// Following blue.
    pub stream: StreamSettings,
    /// How much write-ahead log blue may keep for us.
    pub wal: WalSettings,
    /// Standbys of green, by application name, that must have flushed a change before blue may forget it.
    pub standbys: Vec<String>,
    /// Continuous comparison of both sides.
    pub verify: VerifySettings,
    /// Pairs of queries whose answers are compared.
    pub probes: Vec<ProbeSettings>,
    /// What must hold before the flip.
    pub gate: GateSettings,
    /// The HTTP interface.
    pub control: ControlSettings,
    /// Which version of a project it is; `None` for a file by itself.
    pub project: Option<project::Version>,
}

/// The store that is to take over.
#[derive(Debug, Clone)]
pub enum GreenSettings {
    /// Another Postgres, with its password.
    Postgres(ConnectOptions),
    /// Tables of DynamoDB.
    Dynamo(Box<DynamoSettings>),
}

impl fmt::Display for GreenSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GreenSettings::Postgres(options) => options.fmt(f),
            GreenSettings::Dynamo(dynamo) => f.write_str(&dynamo.place()),
        }
    }
}

/// What to do with rows that green's tables already hold before the first copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExistingRows {
    /// Refuse to start.
    Refuse,
    /// Overwrite those with a key of blue and keep the others.
    Adopt,
}

/// What becomes of the rows of a partition that is detached or dropped on blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDetach {
    /// Replication stops with a message.
    Stop,
    /// They are deleted from green.
    Delete,
}

/// The first copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySettings {
    /// Connections that read from blue at the same time.
    pub readers: usize,
    /// Most bytes of rows in one chunk.
    pub chunk_bytes: usize,
    /// Most heap blocks in one chunk.
    pub chunk_blocks: u32,
    /// Most bytes read per second, over all readers.
    pub bytes_per_second: Option<u64>,
}

/// Applying changes to green.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplySettings {
    /// Connections that write copied rows at the same time.
    pub writers: usize,
    /// Most changes in one transaction on green, unless one transaction of blue has more.
    pub batch_changes: usize,
    /// Most bytes of changes in one transaction on green, unless one transaction of blue has more.
    pub batch_bytes: usize,
    /// How long a stop on request waits for green to take what is under way.
    pub stop_grace: Duration,
    /// What to do with a change that green refuses.
    pub on_error: OnError,
    /// Whether `session_replication_role = replica` is used on green.
    pub replica_role: ReplicaRole,
}

/// What to do with a change that green refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// Stop there.
    Stop,
    /// Set the row aside with its reason, and go on.
    Quarantine,
}

/// Whether green's triggers and foreign keys are kept from firing on our writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicaRole {
    /// Where the role is permitted to set it.
    Auto,
    /// Never.
    Never,
}

/// Following blue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSettings {
    /// How often a marker is sent through the stream.
    pub heartbeat: Duration,
    /// Silence after which the connection is given up.
    pub stall_timeout: Duration,
    /// How often blue is told what it may forget, at the latest.
    pub status_interval: Duration,
    /// How long creating the slot may wait for older transactions.
    pub slot_create_timeout: Duration,
    /// Memory in which blue may gather open transactions, in bytes.
    pub decoding_memory: u64,
}

/// How much write-ahead log blue may keep for us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalSettings {
    /// Warn when the slot keeps more bytes than this.
    pub budget: Option<u64>,
    /// Why blue may do without `max_slot_wal_keep_size`.
    pub waiver: Option<String>,
}

/// The HTTP interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlSettings {
    /// Where it listens.
    pub listen: SocketAddr,
}

/// The name of a migration: lower-case letters, digits and hyphens, short enough for every name made from it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MigrationName(String);

impl MigrationName {
    /// Longest name: `understudy/<name>/<role>` must fit into the 63 bytes of an application name.
    pub const LEN_MAX: usize = 36;

    /// Checks a name.
    pub fn parse(text: &str) -> Option<MigrationName> {
        let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let good = text.len() <= Self::LEN_MAX
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.chars().all(letter);
        good.then(|| MigrationName(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name that the slot and the publication bear on blue.
    pub fn slot(&self) -> String {
        format!("understudy_{}", self.0.replace('-', "_"))
    }

    /// The application name of a connection in a given role.
    pub fn application_name(&self, role: &str) -> String {
        format!("understudy/{}/{role}", self.0)
    }
}

impl fmt::Display for MigrationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Settings {
    /// The entries that take a table of blue: all that name it, or else the first pattern that matches it, with every
    /// other entry of that very pattern.
    pub fn entries_for(&self, table: &TableName) -> Vec<&TableSettings> {
        let names_it = |entry: &&TableSettings| matches!(&entry.from, TablePattern::Table(_));
        let takes = |entry: &&TableSettings| entry.from.matches(table);
        let first =
            self.tables.iter().filter(takes).find(names_it).or_else(|| self.tables.iter().find(takes));
        let from = first.map(|first| &first.from);
        self.tables.iter().filter(|entry| Some(&entry.from) == from).collect()
    }

    /// Green's connection. Fails where green is DynamoDB, for what is done with SQL alone.
    pub fn green_postgres(&self) -> Result<&ConnectOptions, Failure> {
        match &self.green {
            GreenSettings::Postgres(options) => Ok(options),
            GreenSettings::Dynamo(_) => {
                let cause = "green is DynamoDB, and this asks green by SQL";
                Err(Failure::new(Class::Configuration, cause)
                    .remedy("see `understudy --help` for what else there is"))
            }
        }
    }

    /// How green is reached where it is DynamoDB.
    pub fn green_dynamo(&self) -> Option<&DynamoSettings> {
        match &self.green {
            GreenSettings::Postgres(_) => None,
            GreenSettings::Dynamo(dynamo) => Some(dynamo),
        }
    }
}

/// Whether secrets are looked up while a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// Passwords are read, and it is a problem when one is not there.
    Read,
    /// Passwords are left out: enough to check or print a file away from where it runs.
    LeaveOut,
}

/// What reading a file takes from around it.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Environment variables, for `${NAME}` and `{ env: NAME }`.
    pub variables: HashMap<String, String>,
    /// The folder that relative paths of secret files start from.
    pub folder: PathBuf,
    /// Whether secrets are looked up.
    pub secrets: Secrets,
}

impl Surroundings {
    /// Those of this process, for a given file.
    pub fn of(file: &Path, secrets: Secrets) -> Surroundings {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let folder = file.parent().map_or_else(PathBuf::new, Path::to_path_buf);
        Surroundings { variables: std::env::vars_os().filter_map(text).collect(), folder, secrets }
    }
}

/// Reads and checks a migration file, or that of a version of a project.
pub fn load(path: &Path, secrets: Secrets) -> Result<Settings, SettingsError> {
    let Located { file, text, version } = locate(path, secrets)?;
    let name = file.display().to_string();
    let settings = parse(&name, &text, &Surroundings::of(&file, secrets))?;
    let settings = Settings { project: version, ..settings };
    match unrun(&settings) {
        Some(problem) => Err(SettingsError::new(&name, vec![problem])),
        None => Ok(settings),
    }
}

/// A script of the project that nothing would run.
fn unrun(settings: &Settings) -> Option<Problem> {
    let version = settings.project.as_ref().filter(|_| settings.green_dynamo().is_some())?;
    let script = version.expand.as_ref().or(version.contract.as_ref())?;
    let what = format!("{} is SQL, of which DynamoDB runs none", script.file);
    let remedy = "remove it; tables of DynamoDB are created by `understudy plan --create-tables`";
    Some(Problem::at(None, "green.dynamodb", what).remedy(remedy))
}

/// Checks the text of a migration file; `file` is the name used in messages.
pub fn parse(file: &str, text: &str, surroundings: &Surroundings) -> Result<Settings, SettingsError> {
    let raw = read_raw(file, text, surroundings);
    let (raw, mut problems) = raw.map_err(|problems| SettingsError::new(file, problems))?;
    match resolve::resolve(raw, text, surroundings) {
        Ok(settings) if problems.is_empty() => Ok(Settings { file: file.to_owned(), ..settings }),
        Ok(_) => Err(SettingsError::new(file, problems)),
        Err(more) => {
            problems.extend(more);
            Err(SettingsError::new(file, problems))
        }
    }
}

/// The file as it takes effect: variables replaced, defaults filled in. Secrets stay references.
pub fn render(path: &Path) -> Result<String, SettingsError> {
    let Located { file, text, .. } = locate(path, Secrets::LeaveOut)?;
    let (name, surroundings) = (file.display().to_string(), Surroundings::of(&file, Secrets::LeaveOut));
    parse(&name, &text, &surroundings)?;
    let failed = |problems| SettingsError::new(&name, problems);
    let (raw, _) = read_raw(&name, &text, &surroundings).map_err(failed)?;
    yaml::write(&raw).map_err(|what| failed(vec![Problem::at(None, "", what)]))
}

/// The JSON schema of the migration file (2020-12), pretty-printed.
pub fn schema() -> String {
    let mut text = serde_json::to_string_pretty(&schema_json()).unwrap_or_default();
    text.push('\n');
    text
}

fn schema_json() -> serde_json::Value {
    let generator = schemars::generate::SchemaSettings::draft2020_12().into_generator();
    generator.into_root_schema_for::<raw::RawSettings>().to_value()
}

/// The file that a path stands for.
fn locate(path: &Path, secrets: Secrets) -> Result<Located, SettingsError> {
    let variables = Surroundings::of(path, secrets).variables;
    project::locate(path, |text| name_in(text, &variables))
}

/// The name in the text of a migration file, whatever else stands there.
fn name_in(text: &str, variables: &HashMap<String, String>) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Named {
        name: Option<String>,
    }
    yaml::read::<Named>(text, variables).ok()?.name
}

/// The raw form, and the problems that leave it readable.
fn read_raw(
    file: &str,
    text: &str,
    surroundings: &Surroundings,
) -> Result<(raw::RawSettings, Vec<Problem>), Vec<Problem>> {
    let tree = yaml::read(text, &surroundings.variables)?;
    let problems = shape::check(&tree, &schema_json());
    match yaml::read(text, &surroundings.variables) {
        Ok(raw) => Ok((raw, problems)),
        Err(more) if problems.is_empty() => Err(more),
        Err(_) => {
            tracing::trace!(file, "the file's shape leaves its values unread");
            Err(problems)
        }
    }
}

/// Reads a duration, `1h30m`. The error says what to write instead.
pub fn duration(text: &str) -> Result<Duration, String> {
    text::duration(text).map_err(|(what, remedy)| format!("{what}: {remedy}"))
}

/// Reads the name of one table, `schema.table`.
pub fn table_name(text: &str) -> Option<TableName> {
    match text::table_pattern(text) {
        Ok(TablePattern::Table(name)) => Some(name),
        Ok(TablePattern::Prefix { .. }) | Err(_) => None,
    }
}

/// What fills a column, when it is written like this; `None` when it is an expression or would be refused.
pub fn column_source(text: &str) -> Option<ColumnSource> {
    text::column_source(text).ok().flatten()
}

/// A connection URL with the password taken out, for texts that are kept.
pub fn url_without_password(url: &str) -> String {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let (scheme, rest) = base.split_once("://").unwrap_or(("postgres", base));
    let (authority, path) =
        rest.split_once('/').map_or((rest, None), |(authority, path)| (authority, Some(path)));
    let authority = match authority.rsplit_once('@') {
        Some((user, host)) => format!("{}@{host}", user.split(':').next().unwrap_or("")),
        None => authority.to_owned(),
    };
    let kept = query
        .split('&')
        .filter(|pair| !pair.is_empty() && !pair.starts_with("password="))
        .collect::<Vec<_>>();
    let mut url = format!("{scheme}://{authority}");
    if let Some(path) = path {
        url.push('/');
        url.push_str(path);
    }
    if !kept.is_empty() {
        url.push('?');
        url.push_str(&kept.join("&"));
    }
    url
}
