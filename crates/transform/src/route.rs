//! A route: one table of blue into one table of green, column by column.

use std::collections::HashSet;
use std::sync::Arc;

use understudy_model::{RouteId, TableName};

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
    /// Object id and modifier of the type of each of [`RouteSpec::source_columns`]; `None` where the route computes nothing.
    pub source_types: Option<Vec<(u32, i32)>>,
    /// Columns of blue that the mapping leaves out on purpose; `None` when it takes every column there is,
    /// so that a column added later does not fit.
    pub left_out: Option<HashSet<String>>,
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
        };
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

    /// Whether an earlier mapping, given by its fingerprint, is this one without some of its columns.
    pub fn extends(&self, earlier: &str) -> bool {
        let mut rest = earlier;
        for entry in self.entries() {
            rest = rest.strip_prefix(entry.as_str()).unwrap_or(rest);
        }
        rest.is_empty() && earlier != self.fingerprint()
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
            entries.push(format!("{key}{:?}: {from}; ", column.name));
        }
        if let Some(filter) = &self.filter {
            entries.push(format!("where {}; ", filter.expression.identity()));
        }
        entries
    }
}

/// The columns of green that a mapping fills, whether or not the table has a usable key.
pub fn map_columns(
    table: &BlueTable,
    (target, green): (&TableName, Option<&GreenShape>),
    requested: &[Requested],
) -> Result<Vec<RouteColumn>, MappingError> {
    let columns = expand(table, green, requested)?;
    let mut filled = HashSet::new();
    for column in &columns {
        if !filled.insert(column.name.as_str()) {
            return Err(MappingError::FilledTwice { table: target.clone(), column: column.name.clone() });
        }
    }
    Ok(columns)
}

/// Compiles the expression of a column. Its value is what green's column stores, where that is known.
fn computed(
    table: &BlueTable,
    green: Option<&GreenShape>,
    (column, text): (&str, &str),
) -> Result<Computed, MappingError> {
    let refused = |problem| MappingError::Expression {
        column: Some(column.to_owned()),
        text: text.to_owned(),
        problem: Box::new(problem),
    };
    let wanted = green.and_then(|green| green.columns.iter().find(|known| known.name == column));
    compiled(table, |scope| match wanted {
        Some(wanted) => Expression::compile_for(text, scope, (&wanted.ty, wanted.modifier)),
        None => Expression::compile(text, scope),
    })
    .map_err(refused)
}

/// Compiles the condition of a route.
pub fn condition(table: &BlueTable, text: &str) -> Result<Computed, MappingError> {
    let refused = |problem| MappingError::Expression {
        column: None,
        text: text.to_owned(),
        problem: Box::new(problem),
    };
    compiled(table, |scope| Expression::compile_condition(text, scope)).map_err(refused)
}

fn compiled(
    table: &BlueTable,
    compile: impl FnOnce(&Scope) -> Result<Expression, Problem>,
) -> Result<Computed, Problem> {
    let Some(scope) = &table.scope else {
        return Err(Problem::untyped(&table.name));
    };
    let expression = compile(scope)?.unless_it_always_fails()?;
    let inputs = expression.inputs().into_iter().map(|at| scope.columns[at].name.clone()).collect();
    Ok(Computed { expression: Arc::new(expression), inputs })
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

/// The mapping's columns, with the rest expanded where it stands.
fn expand(
    table: &BlueTable,
    green: Option<&GreenShape>,
    requested: &[Requested],
) -> Result<Vec<RouteColumn>, MappingError> {
    let mut named = Vec::with_capacity(requested.len());
    for entry in requested {
        named.push(match entry {
            Requested::Column(_, ColumnSource::Column(source)) if !table.columns.contains(source) => {
                return Err(MappingError::NoSuchColumn { table: table.name.clone(), column: source.clone() });
            }
            Requested::Column(name, from) => Some(passed(table, green, (name, from))),
            Requested::Sql(name, text) => {
                let from = ColumnSource::Computed(computed(table, green, (name, text))?);
                Some(RouteColumn { name: name.clone(), from })
            }
            Requested::Rest => None,
        });
    }
    let mut taken = HashSet::new();
    for column in named.iter().flatten() {
        match &column.from {
            ColumnSource::Column(source) => taken.insert(source.clone()),
            ColumnSource::Constant(_) => taken.insert(column.name.clone()),
            ColumnSource::Computed(computed) => {
                taken.extend(computed.inputs.iter().cloned());
                taken.insert(column.name.clone())
            }
        };
    }
    let mut columns = Vec::new();
    for entry in named {
        match entry {
            Some(column) => columns.push(column),
            None => {
                let rest = table.columns.iter().filter(|name| !taken.contains(*name));
                columns.extend(
                    rest.map(|name| passed(table, green, (name, &ColumnSource::Column(name.clone())))),
                );
            }
        }
    }
    Ok(columns)
}

/// A column that is taken as it is, or brought to the type that green's column has where its text would not do.
fn passed(table: &BlueTable, green: Option<&GreenShape>, (name, from): (&str, &ColumnSource)) -> RouteColumn {
    let as_is = RouteColumn { name: name.to_owned(), from: from.clone() };
    let ColumnSource::Column(source) = from else { return as_is };
    let wanted = green.and_then(|green| green.columns.iter().find(|known| known.name == name));
    let scope = table.scope.as_ref();
    let has = scope.and_then(|scope| scope.columns.iter().find(|column| column.name == *source));
    let (Some(wanted), Some(has)) = (wanted, has) else { return as_is };
    if reads_text_of(&has.ty, &wanted.ty) || table.key.contains(source) {
        return as_is;
    }
    let quoted = format!("\"{}\"", source.replace('"', "\"\""));
    match computed(table, green, (name, &quoted)) {
        Ok(cast) => RouteColumn { name: name.to_owned(), from: ColumnSource::Computed(cast) },
        // No such cast exists: whether green takes the text is for a server to say.
        Err(_) => as_is,
    }
}

/// Whether the text of one type, as it stands, is what a cast to the other would make of its value. Types of the user's
/// own, strings, arrays and JSON are taken to be, and are left to green's input.
fn reads_text_of(from: &SqlType, to: &SqlType) -> bool {
    use SqlType::{Date, Float4, Float8, Int2, Int4, Int8, Numeric, Time, TimeTz, Timestamp, TimestampTz};
    let computes = |ty: &SqlType| {
        matches!(
            ty,
            Int2 | Int4 | Int8 | Numeric | Float4 | Float8 | Date | Time | TimeTz | Timestamp | TimestampTz
        )
    };
    if from == to || !computes(from) || !computes(to) {
        return true;
    }
    matches!(
        (from, to),
        (Int2, Int4 | Int8 | Numeric | Float4 | Float8)
            | (Int4, Int8 | Numeric | Float8)
            | (Int8, Numeric)
            | (Date, Timestamp | TimestampTz)
    )
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
    }

    #[test]
    fn mappings_that_do_not_fit_are_refused() {
        assert!(matches!(compile(Some(&[column("id", "nope")])), Err(MappingError::NoSuchColumn { .. })));
        assert!(matches!(compile(Some(&[column("name", "name")])), Err(MappingError::KeyLeftOut { .. })));
        let twice = [column("id", "id"), column("a", "name"), column("a", "email")];
        assert!(matches!(compile(Some(&twice)), Err(MappingError::FilledTwice { .. })));
    }
}
