//! A route as one query: the rows of green as blue computes them by itself.

use crate::expr::render::{as_stored, own_text, quoted_literal, quoted_name, quoted_path};
use crate::expr::{Modifier, Scope, SqlType};
use crate::route::{ColumnSource, Computed, GreenShape, RouteColumn, RouteSpec};

impl RouteSpec {
    /// A query on blue that yields the rows of green, in the order of the route's columns and under their names. It means
    /// the same under any `search_path`. Where it masks, the session has to know the key: [`MaskKey::settings`].
    ///
    /// Columns that are passed on stand as blue has them. Computed values and constants are cast to green's type where that
    /// is one of Postgres itself. A length is not asked for in a cast, which would cut off what green refuses.
    ///
    /// [`MaskKey::settings`]: crate::expr::MaskKey::settings
    pub fn query(&self, green: Option<&GreenShape>, scope: Option<&Scope>) -> String {
        let values = self.value_sql(green, scope);
        let named =
            |(value, column): (String, &RouteColumn)| format!("{value} AS {}", quoted_name(&column.name));
        let columns = values.into_iter().zip(&self.columns).map(named).collect::<Vec<_>>().join(", ");
        let filter = self.filter_sql(scope).map(|filter| format!(" WHERE {filter}"));
        format!(
            "SELECT {columns} FROM {}{}",
            quoted_path(&[&self.source.schema, &self.source.name]),
            filter.unwrap_or_default()
        )
    }

    /// The values of that query, each as SQL over blue's columns.
    pub fn value_sql(&self, green: Option<&GreenShape>, scope: Option<&Scope>) -> Vec<String> {
        let value = |column: &RouteColumn| {
            let stored = green.and_then(|green| green.columns.iter().find(|known| known.name == column.name));
            let stored = stored.map(|known| (&known.ty, known.modifier));
            value_sql(&column.from, stored, scope)
        };
        self.columns.iter().map(value).collect()
    }

    /// The condition of that query in brackets; `None` where every row is taken.
    pub fn filter_sql(&self, scope: Option<&Scope>) -> Option<String> {
        self.filter.as_ref().map(|filter| text_of(filter, scope))
    }

    /// Blue's key columns as SQL, in the order of the route's source key, for `ORDER BY` and conditions on
    /// [`RouteSpec::query`]. They name the table, as a column of the result may have the same name.
    pub fn key_sql(&self) -> Vec<String> {
        self.key_source.iter().map(|name| quoted_path(&[&self.source.name, name])).collect()
    }
}

fn value_sql(from: &ColumnSource, stored: Option<(&SqlType, Modifier)>, scope: Option<&Scope>) -> String {
    let sql = match from {
        ColumnSource::Column(name) => return quoted_name(name),
        ColumnSource::Constant(None) => "NULL".to_owned(),
        ColumnSource::Constant(Some(text)) => quoted_literal(text),
        ColumnSource::Computed(computed) => text_of(computed, scope),
    };
    match stored {
        Some((ty, modifier)) => as_stored(&sql, ty, modifier),
        None => sql,
    }
}

/// What has been compiled is parsed again without fail.
fn text_of(computed: &Computed, scope: Option<&Scope>) -> String {
    let text = computed.expression.text();
    scope.and_then(|scope| own_text(text, scope).ok()).unwrap_or_else(|| format!("({text}\n)"))
}

#[cfg(test)]
mod tests;
