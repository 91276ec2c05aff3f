//! A route bound to the columns in which rows arrive, and the transform of one row.

use std::borrow::Cow;

use understudy_model::{Key, TableName, Tuple, TupleBuilder, Value, push_copy_escaped};

use crate::route::{ColumnSource, RouteSpec};

/// Rows that arrive in a shape that the route cannot take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// A column that the route needs is gone or renamed.
    #[error("column `{column}` of {table} is gone from blue, and green still needs it")]
    ColumnGone {
        /// The table on blue.
        table: TableName,
        /// The missing column.
        column: String,
    },
    /// A column has appeared that the mapping neither carries nor leaves out.
    #[error("column `{column}` of {table} is new on blue, and the mapping says nothing of it")]
    ColumnNew {
        /// The table on blue.
        table: TableName,
        /// The new column.
        column: String,
    },
}

#[derive(Debug, Clone)]
enum Pick {
    Column(usize),
    Constant { text: Option<Box<[u8]>>, copy_field: Box<[u8]> },
}

/// A route bound to an order of columns: turns rows of blue into rows of green.
#[derive(Debug, Clone)]
pub struct Binding {
    /// `None` when rows pass through as they are.
    picks: Option<Vec<Pick>>,
    key_from: Vec<usize>,
    bytes_added: usize,
}

impl RouteSpec {
    /// Binds the route to rows with these columns, all of the table's.
    pub fn bind<S: AsRef<str>>(&self, columns: &[S]) -> Result<Binding, BindError> {
        if let Some(column) = columns.iter().map(AsRef::as_ref).find(|name| !self.accounts_for(name)) {
            return Err(BindError::ColumnNew { table: self.source.clone(), column: column.to_owned() });
        }
        self.bind_part(columns)
    }

    /// Binds the route to rows as chunks are read: [`RouteSpec::source_columns`], in that order.
    pub fn bind_chunk(&self) -> Result<Binding, BindError> {
        self.bind_part(&self.source_columns())
    }

    fn bind_part<S: AsRef<str>>(&self, columns: &[S]) -> Result<Binding, BindError> {
        let place = |name: &String| {
            columns
                .iter()
                .position(|column| column.as_ref() == name)
                .ok_or_else(|| BindError::ColumnGone { table: self.source.clone(), column: name.clone() })
        };
        let mut picks = Vec::with_capacity(self.columns.len());
        let mut bytes_added = 0;
        for column in &self.columns {
            picks.push(match &column.from {
                ColumnSource::Column(name) => Pick::Column(place(name)?),
                ColumnSource::Constant(value) => {
                    bytes_added += 5 + value.as_ref().map_or(0, String::len);
                    constant(value.as_deref())
                }
            });
        }
        let key_from = self.key_source.iter().map(place).collect::<Result<_, _>>()?;
        let in_order = |(at, pick): (usize, &Pick)| matches!(pick, Pick::Column(from) if *from == at);
        let pass_through = picks.len() == columns.len() && picks.iter().enumerate().all(in_order);
        Ok(Binding { picks: (!pass_through).then_some(picks), key_from, bytes_added })
    }

    /// Whether the mapping carries or leaves out a column on purpose.
    fn accounts_for(&self, name: &str) -> bool {
        let carried = |source: &ColumnSource| matches!(source, ColumnSource::Column(from) if from == name);
        self.columns.iter().any(|column| carried(&column.from))
            || self.left_out.as_ref().is_some_and(|left_out| left_out.contains(name))
    }
}

fn constant(value: Option<&str>) -> Pick {
    let mut copy_field = Vec::new();
    match value {
        Some(text) => push_copy_escaped(&mut copy_field, text.as_bytes()),
        None => copy_field.extend_from_slice(b"\\N"),
    }
    Pick::Constant { text: value.map(|text| text.as_bytes().into()), copy_field: copy_field.into() }
}

impl Binding {
    /// The row for green. Unchanged values stay unchanged.
    pub fn up(&self, row: &Tuple) -> Tuple {
        let Some(picks) = &self.picks else {
            return row.clone();
        };
        match row.as_copy_line() {
            Some(line) => self.up_line(picks, line),
            None => self.up_wire(picks, row),
        }
    }

    /// The key of a row of blue, in the order of the route's key. `None` when the row does not carry it.
    pub fn key_of(&self, row: &Tuple) -> Option<Key> {
        row.key(&self.key_from)
    }

    /// Whether a column of blue belongs to the key.
    pub fn is_key(&self, column: usize) -> bool {
        self.key_from.contains(&column)
    }

    fn up_wire(&self, picks: &[Pick], row: &Tuple) -> Tuple {
        let values = row.values().collect::<Vec<_>>();
        let mut out = TupleBuilder::with_capacity(row.bytes_len() + self.bytes_added);
        for pick in picks {
            match pick {
                Pick::Column(at) => out.push(values.get(*at).unwrap_or(&Value::Unchanged)),
                Pick::Constant { text: Some(text), .. } => out.push(&Value::Text(Cow::Borrowed(text))),
                Pick::Constant { text: None, .. } => out.push(&Value::Null),
            }
        }
        out.finish()
    }

    fn up_line(&self, picks: &[Pick], line: &[u8]) -> Tuple {
        let fields = line.split(|byte| *byte == b'\t').collect::<Vec<_>>();
        let mut out = Vec::with_capacity(line.len() + self.bytes_added);
        for (at, pick) in picks.iter().enumerate() {
            if at > 0 {
                out.push(b'\t');
            }
            out.extend_from_slice(match pick {
                Pick::Column(from) => fields.get(*from).copied().unwrap_or(b"\\N"),
                Pick::Constant { copy_field, .. } => copy_field,
            });
        }
        Tuple::from_copy_line(out.into())
    }
}

/// The new row with every value that was not sent taken from the whole old row.
pub fn fill_unchanged(new: &Tuple, old: &Tuple) -> Tuple {
    if !new.has_unchanged() {
        return new.clone();
    }
    let mut out = TupleBuilder::with_capacity(old.bytes_len());
    for (new, old) in new.values().zip(old.values()) {
        out.push(if new == Value::Unchanged { &old } else { &new });
    }
    out.finish()
}

#[cfg(test)]
mod tests {
    use understudy_model::RouteId;

    use super::*;
    use crate::route::{BlueTable, Requested};

    fn spec(requested: Option<&[Requested]>) -> RouteSpec {
        let table = BlueTable {
            name: TableName::new("public", "t"),
            columns: ["a", "b", "c"].map(str::to_owned).to_vec(),
            key: vec!["b".to_owned(), "a".to_owned()],
        };
        RouteSpec::compile(RouteId(0), &table, table.name.clone(), requested).unwrap()
    }

    fn wire(values: &[Value<'_>]) -> Tuple {
        let mut out = TupleBuilder::default();
        values.iter().for_each(|value| out.push(value));
        out.finish()
    }

    fn text(text: &str) -> Value<'_> {
        Value::Text(text.as_bytes().into())
    }

    #[test]
    fn rows_in_route_order_pass_through_untouched() {
        let row = wire(&[text("1"), text("2"), Value::Unchanged]);
        assert_eq!(spec(None).bind(&["a", "b", "c"]).unwrap().up(&row), row);
    }

    #[test]
    fn both_forms_are_projected_alike() {
        let requested = [
            Requested::Column("z".into(), ColumnSource::Constant(Some("x\ty".into()))),
            Requested::Column("n".into(), ColumnSource::Constant(None)),
            Requested::Rest,
        ];
        let binding = spec(Some(&requested)).bind(&["c", "a", "b"]).unwrap();
        let from_wire = binding.up(&wire(&[Value::Null, text("1\n"), text("2")]));
        let from_line = binding.up(&Tuple::from_copy_line(b"\\N\t1\\n\t2"[..].into()));
        let expected = [text("x\ty"), Value::Null, text("1\n"), text("2"), Value::Null];
        assert!(from_wire.values().eq(expected.clone()));
        assert!(from_line.values().eq(expected));
    }

    #[test]
    fn keys_follow_the_order_of_the_route() {
        let binding = spec(None).bind(&["b", "c", "a"]).unwrap();
        let key = binding.key_of(&wire(&[text("B"), Value::Null, text("A")])).unwrap();
        assert_eq!(key.texts().collect::<Vec<_>>(), [b"A", b"B"]);
    }

    #[test]
    fn columns_that_come_and_go_are_noticed() {
        assert!(matches!(spec(None).bind(&["a", "b"]), Err(BindError::ColumnGone { .. })));
        assert!(matches!(spec(None).bind(&["a", "b", "c", "d"]), Err(BindError::ColumnNew { .. })));
        let partial = [Requested::Column("a".into(), ColumnSource::Column("a".into())), {
            Requested::Column("b".into(), ColumnSource::Column("b".into()))
        }];
        assert!(spec(Some(&partial)).bind(&["a", "b", "c"]).is_ok());
        assert!(matches!(spec(Some(&partial)).bind(&["a", "b", "d"]), Err(BindError::ColumnNew { .. })));
    }

    #[test]
    fn unsent_values_come_from_a_whole_old_row() {
        let filled =
            fill_unchanged(&wire(&[text("new"), Value::Unchanged]), &wire(&[text("old"), text("big")]));
        assert!(filled.values().eq([text("new"), text("big")]));
    }
}
