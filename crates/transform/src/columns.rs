//! The columns of a route: expressions compiled, the rest expanded, and casts where green's types ask for them.

use std::collections::HashSet;
use std::sync::Arc;

use understudy_model::TableName;

use crate::expr::{Expression, Modifier, Problem, Scope, SqlType};
use crate::route::{BlueTable, ColumnSource, Computed, GreenShape, MappingError, Requested, RouteColumn};

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
    if table.key.contains(source) || !widens((&has.ty, has.modifier), (&wanted.ty, wanted.modifier)) {
        return as_is;
    }
    let quoted = format!("\"{}\"", source.replace('"', "\"\""));
    match computed(table, green, (name, &quoted)) {
        Ok(cast) => RouteColumn { name: name.to_owned(), from: ColumnSource::Computed(cast) },
        // No such cast exists: whether green takes the text is for a server to say.
        Err(_) => as_is,
    }
}

/// Whether every value of one type has its equal in the other, under another text: a cast gives what green will store, and
/// loses nothing. What could lose something, or fail, is asked for in the file or not done.
fn widens((from, has): (&SqlType, Modifier), (to, wanted): (&SqlType, Modifier)) -> bool {
    use SqlType::{Date, Float4, Float8, Int2, Int4, Int8, Numeric, Timestamp, TimestampTz};
    // Digits in front of the point and behind it.
    let digits = |modifier: Modifier| {
        let (precision, scale) = modifier.precision_and_scale()?;
        Some((i32::from(precision) - i32::from(scale), i32::from(scale)))
    };
    let has = match from {
        Int2 => Some((5, 0)),
        Int4 => Some((10, 0)),
        Int8 => Some((19, 0)),
        _ => digits(has),
    };
    match (from, to) {
        (Int2 | Int4 | Int8 | Numeric, Numeric) => has.zip(digits(wanted)).is_some_and(|(has, wanted)| {
            let (front, behind) = (wanted.0 >= has.0, wanted.1 > has.1);
            front && behind
        }),
        (Float4, Float8) | (Date, Timestamp | TimestampTz) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::{Collation, ScopeColumn};
    use crate::route::GreenColumn;

    fn table(ty: SqlType, modifier: Modifier) -> BlueTable {
        let name = TableName::new("public", "t");
        let column = ScopeColumn { name: "a".into(), ty, modifier, collation: None };
        let scope = Scope {
            table: name.clone(),
            columns: vec![column],
            types: std::collections::HashMap::new(),
            mask_key: None,
            collation: Collation::bytes(),
        };
        BlueTable { scope: Some(scope), ..BlueTable::named(name, &["a"], &[]) }
    }

    /// Whether a column is taken as it is by a green column of that type.
    fn is_passed(from: (SqlType, Modifier), to: (SqlType, Modifier)) -> bool {
        let column = GreenColumn { name: "a".into(), ty: to.0, modifier: to.1 };
        let green = GreenShape { columns: vec![column], keys: Vec::new() };
        let table = table(from.0, from.1);
        let columns = map_columns(&table, (&table.name, Some(&green)), &[Requested::Rest]).unwrap();
        columns[0].from == ColumnSource::Column("a".into())
    }

    /// What green stores is what is computed here and asked of blue, so that a comparison of texts raises no false alarm; and
    /// nothing is rounded or cut off unless the file says so.
    #[test]
    fn values_are_cast_where_their_text_changes_and_nothing_is_lost() {
        use SqlType::{Date, Float4, Float8, Int4, Int8, Numeric, Text, Timestamp, TimestampTz};
        let (none, cents, mills) = (Modifier::NONE, Modifier::of_numeric(12, 2), Modifier::of_numeric(14, 3));
        for (from, to, passed) in [
            ((Int4, none), (Int8, none), true),
            ((Int8, none), (Int4, none), true),
            ((Numeric, cents), (Numeric, none), true),
            ((Numeric, cents), (Numeric, Modifier::of_numeric(14, 2)), true),
            ((Numeric, cents), (Numeric, mills), false),
            ((Numeric, mills), (Numeric, cents), true),
            ((Numeric, cents), (Numeric, Modifier::of_numeric(12, 3)), true),
            ((Numeric, none), (Numeric, mills), true),
            ((Int4, none), (Numeric, mills), false),
            ((Int8, none), (Numeric, mills), true),
            ((Int4, none), (Numeric, Modifier::of_numeric(12, 0)), true),
            ((Float4, none), (Float8, none), false),
            ((Float8, none), (Numeric, none), true),
            ((Timestamp, none), (TimestampTz, none), true),
            ((Date, none), (Timestamp, none), false),
            ((Int4, none), (Text, none), true),
        ] {
            assert_eq!(is_passed(from.clone(), to.clone()), passed, "{from:?} to {to:?}");
        }
    }
}
