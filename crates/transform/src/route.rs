//! A route: one table of blue into one table of green, column by column.

use std::collections::HashSet;

use understudy_model::{RouteId, TableName};

/// What a route needs to know of a table on blue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlueTable {
    /// Its name.
    pub name: TableName,
    /// Names of the columns that the stream carries, in order.
    pub columns: Vec<String>,
    /// Names of the columns that identify a row.
    pub key: Vec<String>,
}

/// One entry of a mapping as the migration file gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requested {
    /// Fill this green column from that source.
    Column(String, ColumnSource),
    /// Take every column of blue that no other entry uses, under its own name.
    Rest,
}

/// Where a green column's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnSource {
    /// A column of blue, unchanged.
    Column(String),
    /// The same text, or null, in every row.
    Constant(Option<String>),
}

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
    /// Which of `columns` form the key, ascending.
    pub key: Vec<usize>,
    /// Blue's key columns, in the order of `key`.
    pub key_source: Vec<String>,
    /// Columns of blue that the mapping leaves out on purpose; `None` when it takes every column there is,
    /// so that a column added later does not fit.
    pub left_out: Option<HashSet<String>>,
}

impl RouteSpec {
    /// Compiles a mapping against the table that it is for. `None` maps every column to its own name.
    pub fn compile(
        id: RouteId,
        table: &BlueTable,
        target: TableName,
        requested: Option<&[Requested]>,
    ) -> Result<RouteSpec, MappingError> {
        let requested = requested.unwrap_or(&[Requested::Rest]);
        let columns = expand(table, requested)?;
        let mut filled = HashSet::new();
        for column in &columns {
            if !filled.insert(column.name.as_str()) {
                return Err(MappingError::FilledTwice { table: target, column: column.name.clone() });
            }
        }
        if table.key.is_empty() {
            return Err(MappingError::NoKey { table: table.name.clone() });
        }
        let mut key = Vec::with_capacity(table.key.len());
        for name in &table.key {
            let carried = columns.iter().position(|c| c.from == ColumnSource::Column(name.clone()));
            let at = carried.ok_or_else(|| MappingError::KeyLeftOut {
                table: table.name.clone(),
                column: name.clone(),
            })?;
            key.push((at, name.clone()));
        }
        key.sort_unstable();
        let (key, key_source) = key.into_iter().unzip();
        let takes_rest = requested.contains(&Requested::Rest);
        let used = used_columns(&columns);
        let left_out = (!takes_rest)
            .then(|| table.columns.iter().filter(|name| !used.contains(name.as_str())).cloned().collect());
        Ok(RouteSpec { id, source: table.name.clone(), target, columns, key, key_source, left_out })
    }

    /// The columns of blue that a chunk is read with, in the order of the route's tuples.
    pub fn source_columns(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for column in &self.columns {
            if let ColumnSource::Column(name) = &column.from
                && !names.contains(name)
            {
                names.push(name.clone());
            }
        }
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
            };
            entries.push(format!("{key}{:?}: {from}; ", column.name));
        }
        entries
    }
}

/// The columns of green that a mapping fills, whether or not the table has a usable key.
pub fn map_columns(
    table: &BlueTable,
    target: &TableName,
    requested: &[Requested],
) -> Result<Vec<RouteColumn>, MappingError> {
    let columns = expand(table, requested)?;
    let mut filled = HashSet::new();
    for column in &columns {
        if !filled.insert(column.name.as_str()) {
            return Err(MappingError::FilledTwice { table: target.clone(), column: column.name.clone() });
        }
    }
    Ok(columns)
}

fn used_columns(columns: &[RouteColumn]) -> HashSet<&str> {
    let named = columns.iter().filter_map(|column| match &column.from {
        ColumnSource::Column(name) => Some(name.as_str()),
        ColumnSource::Constant(_) => None,
    });
    named.collect()
}

/// The mapping's columns, with the rest expanded where it stands.
fn expand(table: &BlueTable, requested: &[Requested]) -> Result<Vec<RouteColumn>, MappingError> {
    let named = requested.iter().filter_map(|entry| match entry {
        Requested::Column(name, from) => Some((name, from)),
        Requested::Rest => None,
    });
    let mut taken = HashSet::new();
    for (name, from) in named {
        match from {
            ColumnSource::Column(source) if !table.columns.contains(source) => {
                return Err(MappingError::NoSuchColumn { table: table.name.clone(), column: source.clone() });
            }
            ColumnSource::Column(source) => taken.insert(source.as_str()),
            ColumnSource::Constant(_) => taken.insert(name.as_str()),
        };
    }
    let mut columns = Vec::new();
    for entry in requested {
        match entry {
            Requested::Column(name, from) => {
                columns.push(RouteColumn { name: name.clone(), from: from.clone() });
            }
            Requested::Rest => {
                let rest = table.columns.iter().filter(|name| !taken.contains(name.as_str()));
                columns.extend(rest.map(|name| RouteColumn {
                    name: name.clone(),
                    from: ColumnSource::Column(name.clone()),
                }));
            }
        }
    }
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> BlueTable {
        BlueTable {
            name: TableName::new("public", "users"),
            columns: ["id", "name", "email", "age"].map(str::to_owned).to_vec(),
            key: vec!["id".to_owned()],
        }
    }

    fn compile(requested: Option<&[Requested]>) -> Result<RouteSpec, MappingError> {
        RouteSpec::compile(RouteId(0), &table(), TableName::new("app", "customers"), requested)
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
