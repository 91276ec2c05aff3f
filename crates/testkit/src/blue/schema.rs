//! The tables of the simulated blue: a few shapes that between them show every trait the core has to cope with.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use rustc_hash::FxHasher;
use understudy_contract::ColumnMarks;
use understudy_model::{Column, Relation, RelationId, ReplicaIdentity, TableName};

/// What a column is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ColumnKind {
    /// Part of the key.
    Key,
    /// The column that partitions are cut by.
    Bound,
    /// A small value that updates change.
    Small,
    /// A value stored out of line: not sent by an update that leaves it alone.
    Large,
}

/// Columns, key and identity of a table, as its current schema has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Names and kinds in order.
    pub columns: Vec<(&'static str, ColumnKind)>,
    /// Key columns, ascending.
    pub key: Vec<usize>,
    /// What changes say of the old row.
    pub identity: ReplicaIdentity,
    /// Counts changes of a column's type; the fingerprint and the relation's types follow it.
    pub revision: u32,
    /// For each column the number that it was given when it was added, and how often its description was written.
    descriptions: Vec<(u32, u32)>,
}

impl Shape {
    fn new(columns: &[(&'static str, ColumnKind)], key: &[usize], identity: ReplicaIdentity) -> Shape {
        let descriptions = (1..=columns.len() as u32).map(|number| (number, 0)).collect();
        Shape { columns: columns.to_vec(), key: key.to_vec(), identity, revision: 0, descriptions }
    }

    /// The place of the column that partitions are cut by.
    pub fn bound_column(&self) -> Option<usize> {
        self.columns.iter().position(|(name, _)| *name == BOUND)
    }

    /// The place of a column of a kind.
    pub fn find(&self, kind: ColumnKind) -> Option<usize> {
        self.columns.iter().position(|(_, it)| *it == kind)
    }

    /// The digest of its columns.
    pub fn fingerprint(&self) -> u64 {
        let numbers = self.descriptions.iter().map(|(number, _)| number).collect::<Vec<_>>();
        digest(&(&self.columns, numbers, self.revision))
    }

    /// The marks of its columns, all of which a route reads.
    pub fn marks(&self) -> ColumnMarks {
        let mut columns = self.columns.iter().zip(&self.descriptions).collect::<Vec<_>>();
        columns.sort_unstable_by_key(|((name, _), _)| *name);
        let places = columns.iter().map(|((name, _), (number, _))| (name, number)).collect::<Vec<_>>();
        let keys =
            self.key.iter().map(|at| (self.columns[*at].0, self.descriptions[*at])).collect::<Vec<_>>();
        let written = digest(&(&columns, self.revision));
        ColumnMarks { places: digest(&places), written, keys: digest(&keys) }
    }

    /// The description of a column is written.
    pub(super) fn write(&mut self, column: usize) {
        self.descriptions[column].1 += 1;
    }

    /// Drops a column outside the key and adds one like it, which takes the last place.
    pub(super) fn add_again(&mut self, column: usize) {
        let last = self.descriptions.iter().map(|(number, _)| *number).max().unwrap_or(0);
        self.descriptions.remove(column);
        self.descriptions.push((last + 1, 0));
        let it = self.columns.remove(column);
        self.columns.push(it);
        self.key.iter_mut().filter(|at| **at > column).for_each(|at| *at -= 1);
    }

    /// Object id and modifier of the type of a column.
    pub fn type_of(&self, column: usize) -> (u32, i32) {
        let altered = self.columns[column].1 == ColumnKind::Small && self.revision > 0;
        if altered { (1700, self.revision as i32 - 1) } else { (25, -1) }
    }

    /// The relation as the stream announces it.
    pub(super) fn relation(&self, oid: u32, name: TableName) -> Arc<Relation> {
        let columns = self.columns.iter().enumerate().map(|(at, (name, _))| Column {
            name: (*name).to_owned(),
            type_oid: self.type_of(at).0,
            type_modifier: self.type_of(at).1,
            in_identity: self.identity == ReplicaIdentity::Full || self.key.contains(&at),
        });
        Arc::new(Relation { id: RelationId(oid), name, identity: self.identity, columns: columns.collect() })
    }
}

fn digest(of: &impl Hash) -> u64 {
    let mut hasher = FxHasher::default();
    of.hash(&mut hasher);
    hasher.finish()
}

/// Name of the column that partitions are cut by.
pub const BOUND: &str = "region";

/// The values that a leaf can be bound to.
pub(super) const BOUNDS: [&str; 4] = ["east", "north", "south", "west"];

/// What the leaf is bound to that takes the rows which no other leaf wants.
pub(super) const DEFAULT: &str = "default";

/// A value that no leaf is bound to.
pub(super) const OTHER: &str = "other";

/// A kind of table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableKind {
    /// A single-column key and the default identity.
    Plain,
    /// A key of two columns that stand apart, with the whole old row in every change.
    Composite,
    /// Leaves cut by a column of the key: moving a row to another leaf changes its key.
    Partitioned,
    /// Leaves cut by a column outside the key: a row keeps its key when it moves.
    PartitionedApart,
}

impl TableKind {
    /// Every kind.
    pub const ALL: [TableKind; 4] =
        [TableKind::Plain, TableKind::Composite, TableKind::Partitioned, TableKind::PartitionedApart];

    /// Whether it has leaves.
    pub fn is_partitioned(self) -> bool {
        matches!(self, TableKind::Partitioned | TableKind::PartitionedApart)
    }

    /// Its columns and key.
    pub fn shape(self) -> Shape {
        use ColumnKind::{Bound, Key, Large, Small};
        match self {
            TableKind::Plain => {
                Shape::new(&[("id", Key), ("n", Small), ("doc", Large)], &[0], ReplicaIdentity::Default)
            }
            TableKind::Composite => Shape::new(
                &[("doc", Large), ("a", Key), ("n", Small), ("b", Key), ("note", Small)],
                &[1, 3],
                ReplicaIdentity::Full,
            ),
            TableKind::Partitioned => Shape::new(
                &[("id", Key), (BOUND, Key), ("doc", Large), ("n", Small)],
                &[0, 1],
                ReplicaIdentity::Default,
            ),
            TableKind::PartitionedApart => Shape::new(
                &[("n", Small), ("id", Key), (BOUND, Bound), ("doc", Large)],
                &[1],
                ReplicaIdentity::Index,
            ),
        }
    }
}

/// A table of the migration.
#[derive(Debug, Clone)]
pub struct TableSpec {
    /// Its name.
    pub name: TableName,
    /// Its kind.
    pub kind: TableKind,
    /// Its own object id; for a partitioned table that of the root.
    pub oid: u32,
    /// Whether the publication holds it from the start.
    pub published: bool,
}
