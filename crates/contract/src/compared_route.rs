//! What is compared of a route: both sides' queries, how their keys relate, and by which rule each column counts as equal.

use std::fmt;

use understudy_model::{RouteId, TableName};

/// How the keys of both sides relate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyRelation {
    /// The same values in the same order on both sides: an interval of keys holds the same rows on both.
    Aligned,
    /// The same values, which the sides order differently, or not by an index of the same columns.
    Passed,
    /// Green's key is computed from blue's row.
    Computed,
}

/// When two values of a column count as equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum CompareRule {
    /// The same text.
    #[default]
    Exact,
    /// Always.
    Ignore,
    /// Numbers that differ by this much at most: a decimal number above zero.
    Tolerance(String),
    /// The same text but for blanks at its end, as `character(n)` pads it.
    Trim,
    /// The same text but for case.
    Fold,
    /// The same document, whatever the order of its keys and its blanks.
    Json,
    /// The same to 15 significant digits.
    Float,
}

impl fmt::Display for CompareRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CompareRule::Exact => f.write_str("exact"),
            CompareRule::Ignore => f.write_str("ignore"),
            CompareRule::Tolerance(most) => write!(f, "tolerance {most}"),
            CompareRule::Trim => f.write_str("trim"),
            CompareRule::Fold => f.write_str("fold"),
            CompareRule::Json => f.write_str("json"),
            CompareRule::Float => f.write_str("float"),
        }
    }
}

/// One column of a route as it is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComparedColumn {
    /// Its name on green.
    pub name: String,
    /// When two values of it count as equal.
    pub rule: CompareRule,
}

/// A column by which one side looks rows up and cuts ranges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPart {
    /// SQL that names the column, qualified with the table's name.
    pub sql: String,
    /// The column's name, unquoted.
    pub name: String,
}

/// One value of a route as one side computes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnQuery {
    /// SQL of the value as green stores it.
    pub value: String,
    /// SQL of what is compared: the value itself, or a form of it that is the same wherever the rule says equal. For
    /// [`CompareRule::Tolerance`] it may differ between values that count as equal, and never agrees between others.
    /// `None` where the column is ignored.
    pub compared: Option<String>,
}

/// How one side computes the rows of a route. All SQL is complete: it means the same under any `search_path`.
#[derive(Clone, PartialEq, Eq)]
pub struct SideQuery {
    /// The table that is read.
    pub table: TableName,
    /// What stands behind FROM.
    pub from: String,
    /// SQL that is true for the route's rows; `None` for all.
    pub condition: Option<String>,
    /// This side's own key columns, in the order of its index. Where the relation is not [`KeyRelation::Computed`] both
    /// sides list the same columns in the same order.
    pub key: Vec<KeyPart>,
    /// For each column of green's key, in the order of the route's key: SQL of it on this side.
    pub green_key: Vec<String>,
    /// For each of `key`: its place in the key by which this side names rows, which is the route's source key on blue and
    /// the route's key on green.
    pub key_order: Vec<usize>,
    /// The values, in the order of the route's columns.
    pub columns: Vec<ColumnQuery>,
    /// Settings that the session needs, by name. They may be secret.
    pub settings: Vec<(String, String)>,
    /// Whether rows have system columns that tell one version from another: views have none.
    pub versioned: bool,
}

impl fmt::Debug for SideQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SideQuery")
            .field("table", &self.table)
            .field("from", &self.from)
            .field("condition", &self.condition)
            .field("key", &self.key)
            .field("columns", &self.columns)
            .finish_non_exhaustive()
    }
}

/// A route as it is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComparedRoute {
    /// Its number.
    pub route: RouteId,
    /// The table on blue.
    pub source: TableName,
    /// The table on green.
    pub target: TableName,
    /// How the keys relate.
    pub keys: KeyRelation,
    /// The columns, in the order of the route's.
    pub columns: Vec<ComparedColumn>,
    /// Which of `columns` form green's key, ascending; the order of every key on green.
    pub key: Vec<usize>,
    /// How blue computes the rows.
    pub blue: SideQuery,
    /// How green has them.
    pub green: SideQuery,
    /// The planner's estimate of blue's rows; `None` when unknown.
    pub rows_estimate: Option<u64>,
    /// Differs whenever the mapping or a rule differs: what was verified under another one counts for nothing.
    pub fingerprint: String,
}
