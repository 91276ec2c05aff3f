//! A route: one table of blue into one table of green, column by column.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use understudy_model::{RouteId, TableName};

use crate::columns::{condition, map_columns};
use crate::expr::{Expression, Modifier, Problem, Scope, SqlType};

/// What a route needs to know of a table on blue.
#[derive(Debug, Clone)]
pub struct BlueTable {
    /// Its name.
    pub name: TableName,
    /// Names of the columns that the stream carries, in order.
    pub columns: Vec<String>,
    /// Object id and modifier of the type of each of `columns`; empty where types do not matter.
    pub types: Vec<(u32, i32)>,
    /// Names of the columns that identify a row.
    pub key: Vec<String>,
    /// Whether updates and deletes carry the whole old row.
    pub identity_is_full: bool,
    /// What expressions may name: `columns` with their types, in the same order. `None` where none can be compiled.
    pub scope: Option<Scope>,
}

impl BlueTable {
    /// A table of which only names are known: it can be passed on, and nothing computed from it.
    pub fn named(name: TableName, columns: &[&str], key: &[&str]) -> BlueTable {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        BlueTable {
            name,
            columns: owned(columns),
            types: Vec::new(),
            key: owned(key),
            identity_is_full: false,
            scope: None,
        }
    }
}

/// What a route needs to know of its table on green.
#[derive(Debug, Clone, Default)]
pub struct GreenShape {
    /// Its columns.
    pub columns: Vec<GreenColumn>,
    /// Columns of its unique indexes that can name a row, the primary key first.
    pub keys: Vec<Vec<String>>,
}

/// A column of green.
#[derive(Debug, Clone)]
pub struct GreenColumn {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: SqlType,
    /// What stands in brackets behind the type.
    pub modifier: Modifier,
}

/// One entry of a mapping as the migration file gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requested {
    /// Fill this green column from a column of blue, or with a constant.
    Column(String, ColumnSource),
    /// Fill this green column with the value of an SQL expression over blue's columns.
    Sql(String, String),
    /// Take every column of blue that no other entry uses, under its own name.
    Rest,
}

/// The mapping of one route as the migration file gives it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mapping<'a> {
    /// The columns of green; `None` takes every column of blue under its own name.
    pub columns: Option<&'a [Requested]>,
    /// SQL over blue's columns that is true for the rows that exist on green; `None` for all.
    pub filter: Option<&'a str>,
}

/// Where a green column's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnSource {
    /// A column of blue, unchanged.
    Column(String),
    /// The same text, or null, in every row.
    Constant(Option<String>),
    /// The value of an expression.
    Computed(Computed),
}

/// An expression over columns of blue, compiled.
#[derive(Debug, Clone)]
pub struct Computed {
    /// Compiled against all columns that the stream carries.
    pub expression: Arc<Expression>,
    /// The names of the columns that it reads, each once; empty for one that is the same in every row.
    pub inputs: Vec<String>,
}

impl PartialEq for Computed {
    fn eq(&self, other: &Computed) -> bool {
        self.expression.identity() == other.expression.identity()
            && self.expression.ty() == other.expression.ty()
            && self.inputs == other.inputs
    }
}

impl Eq for Computed {}

/// One column of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteColumn {
    /// Column on green.
    pub name: String,
    /// Where its value comes from.
    pub from: ColumnSource,
}

/// A mapping that does not fit the table it is for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// A column of the mapping is not on blue.
    #[error("{table} has no column `{column}` on blue")]
    NoSuchColumn {
        /// The table on blue.
        table: TableName,
        /// The missing column.
        column: String,
    },
    /// Two entries fill the same column.
    #[error("column `{column}` of {table} is filled twice")]
    FilledTwice {
        /// The table on green.
        table: TableName,
        /// The column.
        column: String,
    },
    /// A key column is not carried over, so rows could not be named on green.
    #[error("key column `{column}` of {table} is left out: every key column must be carried over")]
    KeyLeftOut {
        /// The table on blue.
        table: TableName,
        /// The column.
        column: String,
    },
    /// An expression that does not compile.
    #[error("{problem}")]
    Expression {
        /// The column of green that it is for; `None` for the condition under `where`.
        column: Option<String>,
        /// Its text.
        text: String,
        /// What is wrong with it, and where.
        problem: Box<Problem>,
    },
    /// The key of green's table has a column that cannot be told from what an update or delete says of the old row.
    #[error(
        "column `{column}` of the key of {table} on green is computed from `{input}`, which blue does not send with an \
         update or delete"
    )]
    KeyNotCarried {
        /// The table on green.
        table: TableName,
        /// The key column on green.
        column: String,
        /// The column of blue.
        input: String,
    },
    /// Nothing fills a column of the key of green's table.
    #[error("no column of {table} fills the key column `{column}` of {target} on green")]
    KeyNotFilled {
        /// The table on blue.
        table: TableName,
        /// The table on green.
        target: TableName,
        /// The key column on green.
        column: String,
    },
    /// An entry of `back` that does not compile.
    #[error("back.{column}: {problem}")]
    Back {
        /// The column of blue that it is for.
        column: String,
        /// Its text.
        text: String,
        /// What is wrong with it, and where.
        problem: Box<Problem>,
    },
    /// Green's key says less than blue's, and what blue sends of an old row does not tell whether it was on green.
    #[error(
        "the key of {table} on green says less than that of {source_table}, so rows that `where` leaves out may have the key of \
         one that it does not; and `where` reads `{input}`, which blue does not send with an update or delete"
    )]
    KeyNarrowed {
        /// The table on blue.
        source_table: TableName,
        /// The table on green.
        table: TableName,
        /// The column of blue.
        input: String,
    },
    /// The table has no usable key.
    #[error("{table} has no usable key on blue")]
    NoKey {
        /// The table on blue.
        table: TableName,
    },
}

/// A compiled route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSpec {
    /// Its number.
    pub id: RouteId,
    /// The table on blue.
    pub source: TableName,
    /// The table on green.
    pub target: TableName,
    /// The columns of green that it fills, in the order of the route's tuples.
    pub columns: Vec<RouteColumn>,
    /// Which of `columns` form green's key, ascending.
    pub key: Vec<usize>,
    /// Blue's key columns. Where the key is passed on as it is, in the order of `key`.
    pub key_source: Vec<String>,
    /// Which rows of blue exist on green; `None` for all.
    pub filter: Option<Computed>,
    /// Object id and modifier of the type of each of [`RouteSpec::source_columns`]; `None` where it does not matter. A route
    /// that computes nothing takes rows with other types all the same, but not those of a chunk.
    pub source_types: Option<Vec<(u32, i32)>>,
    /// Columns of blue that the mapping leaves out on purpose; `None` when it takes every column there is,
    /// so that a column added later does not fit.
    pub left_out: Option<HashSet<String>>,
    /// How values are stored where green's types do not tell it: stored otherwise, it is another mapping.
    pub stored: Stored,
}

/// How values are stored where the types of green do not tell it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stored {
    /// What holds for whole rows, a sentence each.
    pub rows: Vec<String>,
    /// What holds for the values of a column, by its name.
    pub columns: BTreeMap<String, String>,
}

impl RouteSpec {
    /// Compiles a mapping against the table that it is for. What green's table asks for is taken into account where it is
    /// known: its types, and its key.
    pub fn compile(
        id: RouteId,
        table: &BlueTable,
        (target, green): (TableName, Option<&GreenShape>),
        mapping: Mapping<'_>,
    ) -> Result<RouteSpec, MappingError> {
        let requested = mapping.columns.unwrap_or(&[Requested::Rest]);
        let columns = map_columns(table, (&target, green), requested)?;
        if table.key.is_empty() {
            return Err(MappingError::NoKey { table: table.name.clone() });
        }
        let filter = mapping.filter.map(|text| condition(table, text)).transpose()?;
        let (key, key_source) = key_of(table, (&target, green), &columns)?;
        let takes_rest = requested.contains(&Requested::Rest);
        let mut spec = RouteSpec {
            id,
            source: table.name.clone(),
            target,
            columns,
            key,
            key_source,
            filter,
            source_types: None,
            left_out: None,
            stored: Stored::default(),
        };
        if spec.narrows_key() && !table.identity_is_full {
            let filter = spec.filter.iter().flat_map(|filter| &filter.inputs);
            if let Some(input) = filter.into_iter().find(|name| !spec.key_source.contains(name)) {
                let (source_table, input) = (spec.source, input.clone());
                return Err(MappingError::KeyNarrowed { source_table, table: spec.target, input });
            }
        }
        let used = spec.source_columns();
        if !takes_rest {
            let unused = table.columns.iter().filter(|name| !used.contains(name));
            spec.left_out = Some(unused.cloned().collect());
        }
        if spec.computes() {
            let type_of = |name: &String| {
                let at = table.columns.iter().position(|column| column == name);
                at.and_then(|at| table.types.get(at)).copied()
            };
            spec.source_types = used.iter().map(type_of).collect();
        }
        Ok(spec)
    }

    /// Whether the key of green is that of blue, column by column and unchanged.
    pub fn passes_key(&self) -> bool {
        let passed =
            |(at, blue): (&usize, &String)| self.columns[*at].from == ColumnSource::Column(blue.clone());
        self.key.len() == self.key_source.len() && self.key.iter().zip(&self.key_source).all(passed)
    }

    /// The columns of blue that decide by which keys a row goes, on either side.
    pub fn key_inputs(&self) -> Vec<String> {
        let mut names = self.key_source.clone();
        for at in &self.key {
            let inputs = match &self.columns[*at].from {
                ColumnSource::Column(name) => std::slice::from_ref(name),
                ColumnSource::Computed(computed) => computed.inputs.as_slice(),
                ColumnSource::Constant(_) => &[],
            };
            for name in inputs.iter().filter(|name| !self.key_source.contains(name)) {
                if !names.contains(name) {
                    names.push(name.clone());
                }
            }
        }
        names
    }

    /// Whether blue's key alone tells the key of a row on green.
    pub fn tells_key(&self) -> bool {
        self.key_inputs().len() == self.key_source.len()
    }

    /// Whether blue's key alone tells if a row meets the condition.
    pub fn tells_filter(&self) -> bool {
        let told = |filter: &Computed| filter.inputs.iter().all(|name| self.key_source.contains(name));
        self.filter.as_ref().is_none_or(told)
    }

    /// Whether green's key says less than blue's, so that it takes the condition to leave one row of blue for each: what
    /// happens to the others must not touch that one.
    pub fn narrows_key(&self) -> bool {
        let in_key = |name: &String| {
            self.key.iter().any(|at| match &self.columns[*at].from {
                ColumnSource::Column(source) => source == name,
                ColumnSource::Computed(computed) => computed.inputs.contains(name),
                ColumnSource::Constant(_) => false,
            })
        };
        self.filter.is_some() && !self.key_source.iter().all(in_key)
    }

    /// Whether anything is computed from a row's values.
    pub fn computes(&self) -> bool {
        self.filter.is_some()
            || self.columns.iter().any(|column| matches!(column.from, ColumnSource::Computed(_)))
    }

    /// The columns of blue that a chunk is read with: all that the route needs, its key among them.
    pub fn source_columns(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        let mut add = |name: &String| {
            if !names.contains(name) {
                names.push(name.clone());
            }
        };
        for column in &self.columns {
            match &column.from {
                ColumnSource::Column(name) => add(name),
                ColumnSource::Computed(computed) => computed.inputs.iter().for_each(&mut add),
                ColumnSource::Constant(_) => {}
            }
        }
        self.filter.iter().flat_map(|filter| &filter.inputs).for_each(&mut add);
        self.key_source.iter().for_each(&mut add);
        names
    }

    /// A text that differs whenever the mapping differs.
    pub fn fingerprint(&self) -> String {
        self.entries().concat()
    }

    /// Whether an earlier mapping, given by its fingerprint, gave rows the same keys on green.
    pub fn keeps_keys_of(&self, earlier: &str) -> bool {
        let mut rest = earlier;
        let mut own = 0;
        for entry in self.entries().iter().filter(|entry| entry.starts_with('*')) {
            let Some(at) = rest.find(entry.as_str()) else { return false };
            rest = &rest[at + entry.len()..];
            own += 1;
        }
        // Where it takes the condition to tell which row of blue a key means, another one may mean another.
        let condition = self.filter.as_ref().filter(|_| self.narrows_key()).map(where_entry);
        if condition.is_some_and(|condition| !earlier.ends_with(&condition)) {
            return false;
        }
        // What looks like a further key column inside a text only asks for more care than is needed.
        earlier.matches("; *\"").count() + usize::from(earlier.starts_with("*\"")) == own
    }

    /// Whether an earlier mapping, given by its fingerprint, is this one without some of its columns. One without its condition
    /// is another, since rows would have to go, and so is one whose rows are stored otherwise.
    pub fn extends(&self, earlier: &str) -> bool {
        let mut rest = earlier;
        for entry in self.entries() {
            rest = rest.strip_prefix(entry.as_str()).unwrap_or(rest);
        }
        rest.is_empty() && earlier != self.fingerprint() && earlier.ends_with(&self.whole_entries().concat())
    }

    /// Whether this mapping is an earlier one, given by its fingerprint, without some of its columns.
    pub fn narrows(&self, earlier: &str) -> bool {
        let mut rest = earlier;
        for entry in self.entries() {
            match rest.find(entry.as_str()) {
                Some(at) => rest = &rest[at + entry.len()..],
                None => return false,
            }
        }
        earlier != self.fingerprint()
    }

    fn entries(&self) -> Vec<String> {
        let mut entries = Vec::with_capacity(self.columns.len());
        for (at, column) in self.columns.iter().enumerate() {
            let key = if self.key.contains(&at) { "*" } else { "" };
            let from = match &column.from {
                ColumnSource::Column(name) => format!("{name:?}"),
                ColumnSource::Constant(Some(value)) => format!("= {value:?}"),
                ColumnSource::Constant(None) => "= null".to_owned(),
                ColumnSource::Computed(computed) => {
                    format!("({}) as {}", computed.expression.identity(), computed.expression.ty())
                }
            };
            let stored = self.stored.columns.get(&column.name);
            let stored = stored.map_or_else(String::new, |stored| format!(" stored {stored}"));
            entries.push(format!("{key}{:?}: {from}{stored}; ", column.name));
        }
        entries.extend(self.whole_entries());
        entries
    }

    /// What holds for whole rows.
    fn whole_entries(&self) -> Vec<String> {
        let stored = self.stored.rows.iter().map(|stored| format!("stored {stored}; "));
        stored.chain(self.filter.as_ref().map(where_entry)).collect()
    }
}

fn where_entry(filter: &Computed) -> String {
    format!("where {}; ", filter.expression.identity())
}

/// Which of the route's columns name a row on green, and blue's key columns.
///
/// That is blue's key, passed on, unless green has no unique index over it: then it is green's own key.
fn key_of(
    table: &BlueTable,
    (target, green): (&TableName, Option<&GreenShape>),
    columns: &[RouteColumn],
) -> Result<(Vec<usize>, Vec<String>), MappingError> {
    let carries = |blue: &String| columns.iter().position(|c| c.from == ColumnSource::Column(blue.clone()));
    let passed =
        table.key.iter().map(|name| Some((carries(name)?, name.clone()))).collect::<Option<Vec<_>>>();
    let is_key = |passed: &[(usize, String)]| {
        let mut names = passed.iter().map(|(at, _)| columns[*at].name.as_str()).collect::<Vec<_>>();
        names.sort_unstable();
        let same = |key: &&Vec<String>| {
            let mut key = key.iter().map(String::as_str).collect::<Vec<_>>();
            key.sort_unstable();
            key == names
        };
        green.is_none_or(|green| green.keys.is_empty() || green.keys.iter().find(same).is_some())
    };
    if let Some(mut passed) = passed.filter(|passed| is_key(passed)) {
        passed.sort_unstable();
        return Ok(passed.into_iter().unzip());
    }
    let Some(own) = green.and_then(|green| green.keys.first()) else {
        let column = table.key.iter().find(|name| carries(name).is_none()).cloned().unwrap_or_default();
        return Err(MappingError::KeyLeftOut { table: table.name.clone(), column });
    };
    let mut key = Vec::with_capacity(own.len());
    for name in own {
        let at = columns.iter().position(|column| column.name == *name).ok_or_else(|| {
            MappingError::KeyNotFilled {
                table: table.name.clone(),
                target: target.clone(),
                column: name.clone(),
            }
        })?;
        let inputs = match &columns[at].from {
            ColumnSource::Column(input) => std::slice::from_ref(input),
            ColumnSource::Constant(_) => &[],
            ColumnSource::Computed(computed) => computed.inputs.as_slice(),
        };
        let sent = |input: &&String| table.identity_is_full || table.key.contains(input);
        if let Some(input) = inputs.iter().find(|input| !sent(input)) {
            return Err(MappingError::KeyNotCarried {
                table: target.clone(),
                column: name.clone(),
                input: input.clone(),
            });
        }
        key.push(at);
    }
    key.sort_unstable();
    Ok((key, table.key.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> BlueTable {
        BlueTable::named(TableName::new("public", "users"), &["id", "name", "email", "age"], &["id"])
    }

    fn compile(requested: Option<&[Requested]>) -> Result<RouteSpec, MappingError> {
        let mapping = Mapping { columns: requested, filter: None };
        RouteSpec::compile(RouteId(0), &table(), (TableName::new("app", "customers"), None), mapping)
    }

    fn column(name: &str, from: &str) -> Requested {
        Requested::Column(name.to_owned(), ColumnSource::Column(from.to_owned()))
    }

    #[test]
    fn no_mapping_takes_every_column() {
        let spec = compile(None).unwrap();
        assert_eq!(spec.source_columns(), ["id", "name", "email", "age"]);
        assert_eq!((spec.key, spec.left_out), (vec![0], None));
    }

    #[test]
    fn rest_takes_what_no_entry_uses() {
        let constant = Requested::Column("region".to_owned(), ColumnSource::Constant(Some("eu".to_owned())));
        let spec = compile(Some(&[constant, Requested::Rest, column("customer_id", "id")])).unwrap();
        let names = spec.columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>();
        assert_eq!(names, ["region", "name", "email", "age", "customer_id"]);
        assert_eq!((spec.key, spec.key_source), (vec![4], vec!["id".to_owned()]));
    }

    #[test]
    fn columns_left_out_on_purpose_are_known() {
        let spec = compile(Some(&[column("id", "id"), column("mail", "email")])).unwrap();
        assert_eq!(spec.left_out, Some(HashSet::from(["name".to_owned(), "age".to_owned()])));
    }

    #[test]
    fn a_mapping_extends_those_with_fewer_columns() {
        let (narrow, wide) =
            (compile(Some(&[column("id", "id"), column("age", "age")])).unwrap(), compile(None).unwrap());
        assert!(wide.extends(&narrow.fingerprint()));
        assert!(!narrow.extends(&wide.fingerprint()) && !wide.extends(&wide.fingerprint()));
        let renamed = compile(Some(&[column("id", "id"), column("years", "age")])).unwrap();
        assert!(!wide.extends(&renamed.fingerprint()));
        assert!(narrow.narrows(&wide.fingerprint()) && !narrow.narrows(&narrow.fingerprint()));
        assert!(!wide.narrows(&narrow.fingerprint()) && !renamed.narrows(&wide.fingerprint()));
    }

    /// Rows that are there already would stay as they were stored.
    #[test]
    fn another_way_to_store_a_column_is_no_column_more() {
        let plain = compile(None).unwrap();
        let with = |rows: &[&str], columns: &[(&str, &str)]| {
            let columns = columns.iter().map(|(name, how)| ((*name).to_owned(), (*how).to_owned())).collect();
            let rows = rows.iter().map(|row| (*row).to_owned()).collect();
            RouteSpec { stored: Stored { rows, columns }, ..plain.clone() }
        };
        for other in [with(&["nulls kept"], &[]), with(&[], &[("age", "as S")])] {
            assert!(!other.extends(&plain.fingerprint()) && !plain.extends(&other.fingerprint()));
        }
        let narrow = compile(Some(&[column("id", "id"), column("age", "age")])).unwrap();
        let stored =
            |spec: RouteSpec| RouteSpec { stored: with(&["nulls kept"], &[("age", "as S")]).stored, ..spec };
        assert!(stored(plain.clone()).extends(&stored(narrow.clone()).fingerprint()));
        assert!(with(&[], &[("name", "as S")]).extends(&narrow.fingerprint()));
    }

    /// Promise 2: rows under keys that the mapping no longer gives are noticed.
    #[test]
    fn a_mapping_knows_whether_keys_stay() {
        let spec = compile(Some(&[column("id", "id"), column("mail", "email")])).unwrap();
        let other = compile(Some(&[column("id", "id"), column("age", "age")])).unwrap();
        let renamed = compile(Some(&[column("customer_id", "id"), column("mail", "email")])).unwrap();
        assert!(spec.keeps_keys_of(&other.fingerprint()) && spec.keeps_keys_of(&spec.fingerprint()));
        assert!(!renamed.keeps_keys_of(&spec.fingerprint()));
        let wider = RouteSpec { key: vec![0, 1], ..spec.clone() };
        assert!(!wider.keeps_keys_of(&spec.fingerprint()) && !spec.keeps_keys_of(&wider.fingerprint()));
    }

    #[test]
    fn mappings_that_do_not_fit_are_refused() {
        assert!(matches!(compile(Some(&[column("id", "nope")])), Err(MappingError::NoSuchColumn { .. })));
        assert!(matches!(compile(Some(&[column("name", "name")])), Err(MappingError::KeyLeftOut { .. })));
        let twice = [column("id", "id"), column("a", "name"), column("a", "email")];
        assert!(matches!(compile(Some(&twice)), Err(MappingError::FilledTwice { .. })));
    }
}
