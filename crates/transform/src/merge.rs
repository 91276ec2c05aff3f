//! Routes into one table of green: whether their rows can be told apart, and by what.

use crate::expr::fixed::equal_is_same;
use crate::expr::render::{quoted_literal, quoted_name};
use crate::expr::{SqlType, text};
use crate::route::{ColumnSource, GreenShape, RouteColumn, RouteSpec};

/// Two routes that may write the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clash {
    /// The place of the one among those given.
    pub first: usize,
    /// The place of the other.
    pub second: usize,
}

/// Whether no two of these routes, all with the same target, can write the same key: each two have different constants in a
/// column that both have in green's key. Green's types, where known, tell which constants are different values.
pub fn told_apart(routes: &[&RouteSpec], green: Option<&GreenShape>) -> Result<(), Clash> {
    for (first, one) in routes.iter().enumerate() {
        for (second, other) in routes.iter().enumerate().skip(first + 1) {
            if !differ(one, other, green) {
                return Err(Clash { first, second });
            }
        }
    }
    Ok(())
}

impl RouteSpec {
    /// SQL over green's columns that is true for exactly this route's rows where [`told_apart`] says so: the constants in
    /// green's key. `None` when there are none.
    pub fn predicate(&self) -> Option<String> {
        let equal =
            |(name, value): (&str, String)| format!("{} = {}", quoted_name(name), quoted_literal(&value));
        let parts = self.discriminators().map(equal).collect::<Vec<_>>();
        (!parts.is_empty()).then(|| parts.join(" AND "))
    }

    /// Columns of green's key that are the same in every row, with that value.
    fn discriminators(&self) -> impl Iterator<Item = (&str, String)> {
        let columns = self.key.iter().filter_map(|at| self.columns.get(*at));
        columns.filter_map(|column| Some((column.name.as_str(), constant(column)?)))
    }
}

fn constant(column: &RouteColumn) -> Option<String> {
    match &column.from {
        ColumnSource::Constant(value) => value.clone(),
        ColumnSource::Computed(computed) if computed.inputs.is_empty() => {
            computed.expression.evaluate(&[]).ok().flatten()
        }
        ColumnSource::Column(_) | ColumnSource::Computed(_) => None,
    }
}

fn differ(one: &RouteSpec, other: &RouteSpec, green: Option<&GreenShape>) -> bool {
    let others = other.discriminators().collect::<Vec<_>>();
    let pair = |(name, value): (&str, String)| {
        let (_, against) = others.iter().find(|(other, _)| *other == name)?;
        Some((name.to_owned(), value, against.clone()))
    };
    one.discriminators().filter_map(pair).any(|(name, value, against)| {
        let column = green.and_then(|green| green.columns.iter().find(|column| column.name == name));
        match column {
            None => value != against,
            Some(column) => {
                let stored = |value: &str| {
                    let datum = text::input(&column.ty, column.modifier, value).ok()?;
                    Some(comparable(&text::output(&datum, &column.ty), &column.ty))
                };
                let is_text_exact = equal_is_same(&column.ty) || *column.ty.base() == SqlType::Bpchar;
                match (stored(&value), stored(&against)) {
                    (Some(value), Some(against)) => is_text_exact && value != against,
                    _ => false,
                }
            }
        }
    })
}

/// Trailing blanks of `character` mean nothing.
fn comparable(text: &str, ty: &SqlType) -> String {
    if *ty.base() == SqlType::Bpchar { text.trim_end_matches(' ').to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use understudy_model::{RouteId, TableName};

    use super::*;
    use crate::expr::Modifier;
    use crate::route::{BlueTable, GreenColumn, Mapping, Requested};

    fn green(ty: SqlType) -> GreenShape {
        let column = |name: &str, ty| GreenColumn { name: name.to_owned(), ty, modifier: Modifier::NONE };
        GreenShape {
            columns: vec![column("kind", ty), column("id", SqlType::Int4)],
            keys: vec![vec!["kind".to_owned(), "id".to_owned()]],
        }
    }

    fn route(kind: Option<&str>, green: &GreenShape) -> RouteSpec {
        let table = BlueTable::named(TableName::new("public", "t"), &["id", "kind"], &["id"]);
        let from = match kind {
            Some("(column)") => ColumnSource::Column("id".to_owned()),
            kind => ColumnSource::Constant(kind.map(str::to_owned)),
        };
        let id = ColumnSource::Column("id".to_owned());
        let requested = [Requested::Column("kind".into(), from), Requested::Column("id".into(), id)];
        let mapping = Mapping { columns: Some(&requested), filter: None };
        let target = (TableName::new("public", "all"), Some(green));
        RouteSpec::compile(RouteId(0), &table, target, mapping).unwrap()
    }

    /// Two routes that write the same key would overwrite one another's rows.
    #[test]
    fn routes_are_told_apart_by_values_and_not_by_texts() {
        for (ty, one, other, expected) in [
            (SqlType::Text, Some("a"), Some("b"), true),
            (SqlType::Text, Some("a"), Some("a"), false),
            (SqlType::Text, Some("a"), None, false),
            (SqlType::Text, Some("a"), Some("(column)"), false),
            (SqlType::Int4, Some("1"), Some("01"), false),
            (SqlType::Int4, Some("1"), Some("2"), true),
            (SqlType::Bpchar, Some("a"), Some("a "), false),
            (SqlType::Numeric, Some("1"), Some("1.0"), false),
        ] {
            let green = green(ty.clone());
            let (one, other) = (route(one, &green), route(other, &green));
            let found = told_apart(&[&one, &other], Some(&green));
            assert_eq!(found.is_ok(), expected, "{ty}: {:?} {:?}", one.predicate(), other.predicate());
        }
    }

    /// The message names the two that have to be changed.
    #[test]
    fn the_clash_is_named() {
        let green = green(SqlType::Text);
        let routes = ["a", "b", "b"].map(|kind| route(Some(kind), &green));
        let found = told_apart(&routes.iter().collect::<Vec<_>>(), Some(&green));
        assert_eq!(found, Err(Clash { first: 1, second: 2 }));
    }

    /// TRUNCATE of one source deletes by this.
    #[test]
    fn the_predicate_is_that_of_the_constants() {
        let green = green(SqlType::Text);
        assert_eq!(route(Some("it's"), &green).predicate().as_deref(), Some("\"kind\" = 'it''s'"));
        assert_eq!(route(Some("(column)"), &green).predicate(), None);
        assert_eq!(route(None, &green).predicate(), None);
    }

    /// A constant may be written as an expression: what counts is its value.
    #[test]
    fn a_computed_constant_tells_rows_apart() {
        let green = green(SqlType::Text);
        let mut table = BlueTable::named(TableName::new("public", "t"), &["id"], &["id"]);
        let id = crate::expr::ScopeColumn {
            name: "id".to_owned(),
            ty: SqlType::Int4,
            modifier: Modifier::NONE,
            collation: None,
        };
        table.scope = Some(crate::expr::Scope {
            table: table.name.clone(),
            columns: vec![id],
            types: Default::default(),
            collation: crate::expr::Collation::bytes(),
            mask_key: None,
        });
        let requested = [
            Requested::Sql("kind".into(), "upper('a') || 1".into()),
            Requested::Column("id".into(), ColumnSource::Column("id".to_owned())),
        ];
        let mapping = Mapping { columns: Some(&requested), filter: None };
        let target = (TableName::new("public", "all"), Some(&green));
        let computed = RouteSpec::compile(RouteId(0), &table, target, mapping).unwrap();
        assert_eq!(computed.predicate().as_deref(), Some("\"kind\" = 'A1'"));
        assert!(told_apart(&[&computed, &route(Some("A1"), &green)], Some(&green)).is_err());
        assert!(told_apart(&[&computed, &route(Some("a1"), &green)], Some(&green)).is_ok());
    }
}
