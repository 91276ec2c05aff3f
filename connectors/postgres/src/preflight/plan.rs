//! What a migration is going to need, as preflight has to know it.

use understudy_model::TableName;

use super::known::Known;
use crate::source::followed::{Followed, FollowedTable};

/// A migration about to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreflightPlan {
    /// Its name.
    pub migration: String,
    /// The replication slot on blue.
    pub slot: String,
    /// The publication on blue.
    pub publication: String,
    /// The application name of the session that streams from blue.
    pub reader: String,
    /// What goes where.
    pub tables: Vec<PlannedTable>,
    /// Whether triggers and foreign keys on green are to be held off while rows are applied.
    pub replica_role: ReplicaRole,
    /// What rows that green already holds mean.
    pub existing_rows: ExistingRows,
    /// Whether the migration file records that blue may keep write-ahead log without limit.
    pub wal_waiver: bool,
    /// How much memory of blue's a large transaction may be gathered in.
    pub decoding_memory_bytes: u64,
    /// Whether a log lies between the two: then green does not know how slot and publication must be.
    pub by_log: bool,
}

impl PreflightPlan {
    /// The publication as green counts on it, for the routes that the plan still has.
    pub fn followed(&self, known: &Known) -> Followed {
        let mut followed = known.followed(&self.publication);
        let is_planned = |one: &FollowedTable| {
            self.tables.iter().any(|table| table.source == one.source && table.target == one.target)
        };
        followed.tables.retain(is_planned);
        followed
    }
}

/// One route. Several may share a table on blue, or a table on green.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedTable {
    /// The table on blue.
    pub source: TableName,
    /// The table on green.
    pub target: TableName,
    /// The columns of green that the route fills.
    pub columns: Vec<PlannedColumn>,
    /// The columns of blue that the condition under `where` reads; `None` when every row goes there.
    pub filter: Option<Vec<String>>,
}

/// One column of green and what fills it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedColumn {
    /// The column of green.
    pub target: String,
    /// What fills it.
    pub source: PlannedSource,
}

/// What fills a column of green.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlannedSource {
    /// A column of blue.
    Column(String),
    /// The same value in every row; `None` for null.
    Constant(Option<String>),
    /// The value of an expression.
    Computed {
        /// Its type as SQL writes it.
        ty: String,
        /// The columns of blue that it reads, each once.
        inputs: Vec<String>,
    },
}

impl PlannedSource {
    /// The columns of blue that it is made of.
    pub fn inputs(&self) -> &[String] {
        match self {
            PlannedSource::Column(name) => std::slice::from_ref(name),
            PlannedSource::Constant(_) => &[],
            PlannedSource::Computed { inputs, .. } => inputs,
        }
    }
}

/// Whether to apply under `session_replication_role = replica`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReplicaRole {
    /// Where green permits it.
    Auto,
    /// Not at all.
    Never,
}

/// What rows that green already holds mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExistingRows {
    /// A mistake.
    Refuse,
    /// They are blue's and may be overwritten.
    Adopt,
}

impl PlannedTable {
    /// Whether only the rows that meet a condition go there.
    pub fn filtered(&self) -> bool {
        self.filter.is_some()
    }

    /// What fills a column of green, if anything does.
    pub fn source_of(&self, target: &str) -> Option<&PlannedSource> {
        self.columns.iter().find(|column| column.target == target).map(|column| &column.source)
    }

    /// The column of green that takes a column of blue unchanged.
    pub fn target_of(&self, source: &str) -> Option<&str> {
        let found = self
            .columns
            .iter()
            .find(|column| matches!(&column.source, PlannedSource::Column(name) if name == source));
        found.map(|column| column.target.as_str())
    }
}
