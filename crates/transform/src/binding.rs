//! A route bound to the columns in which rows arrive, and the transform of one row.

mod cells;

use std::borrow::Cow;
use std::sync::Arc;

use understudy_model::{Column, Key, Refusal, TableName, Tuple, TupleBuilder, Value, push_copy_escaped};

use crate::expr::{Datum, EvalError, Expression};
use crate::route::{ColumnSource, Computed, RouteColumn, RouteSpec};

use cells::{Cells, RowOf, with_cells};

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
    Computed(Box<Formula>),
}

/// An expression bound to the places of the columns that it reads.
#[derive(Debug, Clone)]
struct Formula {
    /// The column of green that it fills; `None` for the condition.
    column: Option<String>,
    expression: Arc<Expression>,
    /// For each column that the expression may name its place in the row; some place for those that it does not read.
    places: Box<[usize]>,
    /// Where the columns that it reads stand.
    inputs: Box<[usize]>,
    /// How many columns of a row have to be looked at for it.
    reach: usize,
}

/// What a value of an expression may take more than the columns that it is computed from. A guess: where it is not enough
/// the row is moved once while it is put together.
const BYTES_COMPUTED: usize = 12;

/// Room that nearly every computed value finds without asking for more.
const BYTES_SCRATCH: usize = 128;

/// What a row of blue comes to on green.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mapped {
    /// This row. What was not sent, and what is computed from nothing but that, is unchanged.
    Row(Tuple),
    /// Nobody can tell: a value is computed from columns of which some were sent and some were not, or from a label that its
    /// enum did not have when the expression was compiled.
    Unknown,
}

/// A route bound to an order of columns: turns rows of blue into rows of green.
#[derive(Debug, Clone)]
pub struct Binding {
    /// `None` when rows pass through as they are.
    picks: Option<Vec<Pick>>,
    filter: Option<Formula>,
    /// Where blue's key stands in rows of blue.
    key_from: Vec<usize>,
    /// What green's key is made of, in its order; `None` when it is blue's.
    key_picks: Option<Vec<Pick>>,
    /// Where the route's source columns stand in rows of blue.
    inputs: Vec<usize>,
    /// How many columns of a row have to be looked at for the row on green.
    reach: usize,
    /// The same for its key.
    key_reach: usize,
    bytes_added: usize,
    /// Whether expressions were compiled for other types than rows arrive with.
    types_differ: bool,
    /// See [`RouteSpec::narrows_key`].
    narrows_key: bool,
    /// Whether blue's key alone does not tell all that has to be known of an old row.
    needs_old_rows: bool,
}

impl RouteSpec {
    /// Binds the route to rows with these columns, all of the table's.
    pub fn bind(&self, columns: &[Column]) -> Result<Binding, BindError> {
        let names = columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>();
        if let Some(column) = names.iter().find(|name| !self.accounts_for(name)) {
            return Err(BindError::ColumnNew { table: self.source.clone(), column: (*column).to_owned() });
        }
        let mut binding = self.bind_part(&names)?;
        if let Some(types) = self.source_types.as_ref().filter(|_| self.computes()) {
            let arrive = binding.inputs.iter().map(|at| &columns[*at]);
            let same = arrive.zip(types).all(|(column, ty)| (column.type_oid, column.type_modifier) == *ty);
            binding.types_differ = !same;
        }
        Ok(binding)
    }

    /// Binds the route to rows with at least the columns that it needs, whatever else there is.
    pub fn bind_names(&self, columns: &[String]) -> Result<Binding, BindError> {
        self.bind_part(&columns.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Binds the route to rows as chunks are read: [`RouteSpec::source_columns`], in that order.
    pub fn bind_chunk(&self) -> Result<Binding, BindError> {
        let columns = self.source_columns();
        self.bind_part(&columns.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn bind_part(&self, columns: &[&str]) -> Result<Binding, BindError> {
        let place = |name: &String| {
            columns
                .iter()
                .position(|column| column == name)
                .ok_or_else(|| BindError::ColumnGone { table: self.source.clone(), column: name.clone() })
        };
        let mut bytes_added = 0;
        let mut pick = |column: &RouteColumn| {
            Ok(match &column.from {
                ColumnSource::Column(name) => Pick::Column(place(name)?),
                ColumnSource::Constant(value) => {
                    bytes_added += 5 + value.as_ref().map_or(0, String::len);
                    constant(value.as_deref())
                }
                ColumnSource::Computed(computed) => {
                    bytes_added += BYTES_COMPUTED;
                    Pick::Computed(Box::new(formula(Some(&column.name), computed, place)?))
                }
            })
        };
        let picks = self.columns.iter().map(&mut pick).collect::<Result<Vec<_>, BindError>>()?;
        let key_picks = (!self.passes_key())
            .then(|| {
                self.key.iter().map(|at| pick(&self.columns[*at])).collect::<Result<Vec<_>, BindError>>()
            })
            .transpose()?;
        let filter = self.filter.as_ref().map(|filter| formula(None, filter, place)).transpose()?;
        let key_from = self.key_source.iter().map(place).collect::<Result<_, _>>()?;
        let inputs = self.source_columns().iter().map(place).collect::<Result<_, _>>()?;
        let in_order = |(at, pick): (usize, &Pick)| matches!(pick, Pick::Column(from) if *from == at);
        let pass_through = picks.len() == columns.len() && picks.iter().enumerate().all(in_order);
        Ok(Binding {
            reach: reach(&picks),
            key_reach: key_picks.as_deref().map_or(0, reach),
            picks: (!pass_through).then_some(picks),
            filter,
            key_from,
            key_picks,
            inputs,
            bytes_added,
            types_differ: false,
            narrows_key: self.narrows_key(),
            needs_old_rows: !self.tells_key() || (self.narrows_key() && !self.tells_filter()),
        })
    }

    /// Whether the mapping carries or leaves out a column on purpose.
    fn accounts_for(&self, name: &str) -> bool {
        match &self.left_out {
            None => self.source_columns().iter().any(|column| column == name),
            Some(left_out) => {
                left_out.contains(name) || self.source_columns().iter().any(|column| column == name)
            }
        }
    }
}

fn formula(
    column: Option<&str>,
    computed: &Computed,
    place: impl Fn(&String) -> Result<usize, BindError>,
) -> Result<Formula, BindError> {
    let inputs = computed.inputs.iter().map(place).collect::<Result<Box<[_]>, _>>()?;
    let scope = computed.expression.inputs();
    let mut places = vec![usize::MAX; scope.last().map_or(0, |last| last + 1)];
    for (at, place) in scope.into_iter().zip(&inputs) {
        places[at] = *place;
    }
    Ok(Formula {
        column: column.map(str::to_owned),
        expression: Arc::clone(&computed.expression),
        places: places.into(),
        reach: inputs.iter().max().map_or(0, |last| last + 1),
        inputs,
    })
}

/// How many columns of a row have to be looked at for these values.
fn reach(picks: &[Pick]) -> usize {
    let each = picks.iter().map(|pick| match pick {
        Pick::Column(at) => at + 1,
        Pick::Constant { .. } => 0,
        Pick::Computed(formula) => formula.reach,
    });
    each.max().unwrap_or(0)
}

fn constant(value: Option<&str>) -> Pick {
    let mut copy_field = Vec::new();
    match value {
        Some(text) => push_copy_escaped(&mut copy_field, text.as_bytes()),
        None => copy_field.extend_from_slice(b"\\N"),
    }
    Pick::Constant { text: value.map(|text| text.as_bytes().into()), copy_field: copy_field.into() }
}

/// Whether the values that an expression reads were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    All,
    Some,
    None,
}

impl Formula {
    fn sent(&self, cells: Cells<'_>) -> Sent {
        match self.inputs.iter().filter(|at| cells.is_unchanged(**at)).count() {
            0 => Sent::All,
            unsent if unsent == self.inputs.len() => Sent::None,
            _ => Sent::Some,
        }
    }

    fn value<'a>(&'a self, cells: Cells<'a>) -> Result<Datum<'a>, EvalError> {
        self.expression.value(&self.row(cells))
    }

    /// The text of the value, put together in `scratch`; none for null.
    fn text<'s>(&self, cells: Cells<'_>, scratch: &'s mut String) -> Result<Option<&'s str>, EvalError> {
        scratch.clear();
        scratch.reserve(BYTES_SCRATCH);
        Ok(self.expression.write(&self.row(cells), scratch)?.then_some(scratch))
    }

    fn row<'a>(&'a self, cells: Cells<'a>) -> RowOf<'a> {
        RowOf { cells, places: &self.places }
    }

    #[cold]
    fn refusal(&self, error: &EvalError) -> Refusal {
        Refusal {
            column: self.column.clone(),
            sqlstate: error.state().to_string(),
            reason: error.without_values().to_owned(),
        }
    }
}

impl Binding {
    /// The row for green. Fails when an expression does.
    pub fn up(&self, row: &Tuple) -> Result<Mapped, Refusal> {
        let Some(picks) = &self.picks else {
            return Ok(Mapped::Row(row.clone()));
        };
        let bytes = row.bytes_len() + self.bytes_added;
        with_cells(row, self.reach, |cells| match cells {
            Cells::Line(fields) => up_line(picks, fields, bytes),
            Cells::Wire(values) => up_wire(picks, values, bytes),
        })
    }

    /// Whether the row belongs on green. `None`: a value that this depends on was not sent, or is a label that its enum did not
    /// have when the condition was compiled.
    pub fn holds(&self, row: &Tuple) -> Result<Option<bool>, Refusal> {
        let Some(filter) = &self.filter else {
            return Ok(Some(true));
        };
        with_cells(row, filter.reach, |cells| {
            if filter.sent(cells) != Sent::All {
                return Ok(None);
            }
            match filter.value(cells) {
                Ok(value) => Ok(Some(matches!(value, Datum::Bool(true)))),
                Err(error) if error.is_of_outdated_type() => Ok(None),
                Err(error) => Err(filter.refusal(&error)),
            }
        })
    }

    /// Whether only a part of blue's rows belongs on green.
    pub fn filters(&self) -> bool {
        self.filter.is_some()
    }

    /// Whether rows arrive with other types than expressions were compiled for.
    pub fn types_differ(&self) -> bool {
        self.types_differ
    }

    /// Whether green's key says less than blue's: see [`RouteSpec::narrows_key`].
    pub fn narrows_key(&self) -> bool {
        self.narrows_key
    }

    /// Whether an update or delete must come with the whole old row: blue's key alone does not tell the row on green.
    pub fn needs_old_rows(&self) -> bool {
        self.needs_old_rows
    }

    /// The key of a row on blue, in the order of the route's source key. `None` when the row does not carry it.
    pub fn blue_key(&self, row: &Tuple) -> Option<Key> {
        row.key(&self.key_from)
    }

    /// Whether a row has the same key on green as on blue.
    pub fn passes_key(&self) -> bool {
        self.key_picks.is_none()
    }

    /// The key of a row on green. `None` when the row does not carry all that it is made of, or when a part of it is null.
    pub fn green_key(&self, row: &Tuple) -> Result<Option<Key>, Refusal> {
        let Some(picks) = &self.key_picks else {
            return Ok(self.blue_key(row));
        };
        with_cells(row, self.key_reach, |cells| {
            let mut texts = Vec::with_capacity(picks.len());
            for pick in picks {
                let text = match pick {
                    Pick::Column(at) => match cells.value(*at) {
                        Value::Text(text) => Some(text),
                        Value::Null | Value::Unchanged => None,
                    },
                    Pick::Constant { text, .. } => text.as_deref().map(Cow::Borrowed),
                    Pick::Computed(formula) if formula.sent(cells) != Sent::All => None,
                    Pick::Computed(formula) => match formula.value(cells).map_err(|e| formula.refusal(&e))? {
                        Datum::Null => None,
                        value => {
                            Some(Cow::Owned(formula.expression.output(&value).into_owned().into_bytes()))
                        }
                    },
                };
                let Some(text) = text else { return Ok(None) };
                texts.push(text);
            }
            Ok(Some(Key::from_texts(texts.iter().map(AsRef::as_ref))))
        })
    }

    /// Whether a column of blue belongs to blue's key.
    pub fn is_key(&self, column: usize) -> bool {
        self.key_from.contains(&column)
    }

    /// The row in the columns and the order in which chunks are read.
    pub fn inputs(&self, row: &Tuple) -> Tuple {
        let values = row.values().collect::<Vec<_>>();
        let mut out = TupleBuilder::with_capacity(row.bytes_len());
        for at in &self.inputs {
            out.push(values.get(*at).unwrap_or(&Value::Unchanged));
        }
        out.finish()
    }
}

fn up_wire(picks: &[Pick], values: &[Value<'_>], bytes: usize) -> Result<Mapped, Refusal> {
    let cells = Cells::Wire(values);
    let mut scratch = String::new();
    let mut out = TupleBuilder::with_capacity(bytes);
    for pick in picks {
        match pick {
            Pick::Column(at) => out.push(values.get(*at).unwrap_or(&Value::Unchanged)),
            Pick::Constant { text: Some(text), .. } => out.push(&Value::Text(Cow::Borrowed(text))),
            Pick::Constant { text: None, .. } => out.push(&Value::Null),
            Pick::Computed(formula) => match formula.sent(cells) {
                Sent::Some => return Ok(Mapped::Unknown),
                Sent::None => out.push(&Value::Unchanged),
                Sent::All => match formula.text(cells, &mut scratch) {
                    Ok(Some(text)) => out.push(&Value::Text(Cow::Borrowed(text.as_bytes()))),
                    Ok(None) => out.push(&Value::Null),
                    Err(error) if error.is_of_outdated_type() => return Ok(Mapped::Unknown),
                    Err(error) => return Err(formula.refusal(&error)),
                },
            },
        }
    }
    Ok(Mapped::Row(out.finish()))
}

fn up_line(picks: &[Pick], fields: &[&[u8]], bytes: usize) -> Result<Mapped, Refusal> {
    let cells = Cells::Line(fields);
    let mut scratch = String::new();
    let mut out = Vec::with_capacity(bytes);
    for (at, pick) in picks.iter().enumerate() {
        if at > 0 {
            out.push(b'\t');
        }
        match pick {
            Pick::Column(from) => out.extend_from_slice(fields.get(*from).copied().unwrap_or(b"\\N")),
            Pick::Constant { copy_field, .. } => out.extend_from_slice(copy_field),
            Pick::Computed(formula) => match formula.text(cells, &mut scratch) {
                Ok(Some(text)) => push_copy_escaped(&mut out, text.as_bytes()),
                Ok(None) => out.extend_from_slice(b"\\N"),
                Err(error) if error.is_of_outdated_type() => return Ok(Mapped::Unknown),
                Err(error) => return Err(formula.refusal(&error)),
            },
        }
    }
    Ok(Mapped::Row(Tuple::from_copy_line(out.into())))
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
mod tests;
