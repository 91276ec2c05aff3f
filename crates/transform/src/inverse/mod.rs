//! The way back: which columns of blue's table can be given back from a row of green, and how.

mod lossless;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use understudy_model::Refusal;

use crate::expr::fixed::CastStep;
use crate::expr::{EvalError, Expression, Modifier, Problem, Scope, SqlType, text};
use crate::route::{BlueTable, ColumnSource, Computed, MappingError, RouteSpec};

/// How one column of blue's table is given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Return {
    /// The column of blue.
    pub column: String,
    /// How, if at all.
    pub kind: ReturnKind,
}

/// Whether a column of blue can be given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReturnKind {
    /// Exactly, and that follows from the mapping.
    Lossless(Lossless),
    /// By an expression under `back`, over columns of green.
    Declared(Computed),
    /// Not at all.
    Lost,
}

/// Why a column can be given back exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lossless {
    /// This column of green holds it unchanged.
    Column(String),
    /// This column of green holds it as a type that keeps every value.
    Cast {
        /// The column of green.
        column: String,
        /// Its type.
        ty: SqlType,
    },
    /// The condition of the route holds for this value only; `None` is null.
    Fixed(Option<String>),
}

/// As `plan` shows it.
impl fmt::Display for Return {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ReturnKind::Lossless(Lossless::Column(column)) => write!(f, "lossless: {column}"),
            ReturnKind::Lossless(Lossless::Cast { column, ty }) => write!(f, "lossless: {column}, from {ty}"),
            ReturnKind::Lossless(Lossless::Fixed(None)) => f.write_str("lossless: always null"),
            ReturnKind::Lossless(Lossless::Fixed(Some(_))) => f.write_str("lossless: fixed by `where`"),
            ReturnKind::Declared(computed) => write!(f, "declared: {}", computed.expression.text()),
            ReturnKind::Lost => f.write_str("lost on rollback"),
        }
    }
}

/// The way back of a route.
#[derive(Debug, Clone)]
pub struct Inverse {
    returns: Vec<Return>,
    /// The types of blue's columns, beside `returns`; `None` where they are not known.
    types: Vec<Option<(SqlType, Modifier)>>,
    /// The columns of green that the route fills, in its order.
    filled: Vec<String>,
    /// For each column that an expression under `back` may name its place in `filled`.
    places: Vec<Option<usize>>,
}

impl RouteSpec {
    /// How each column of blue's table is given back. What does not follow from the mapping is told by `back`: columns of
    /// blue, each with SQL over green's columns. `green` is needed for those; without it types are taken to be the same on
    /// both sides.
    pub fn inverse(
        &self,
        blue: &BlueTable,
        green: Option<&Scope>,
        back: &[(String, String)],
    ) -> Result<Inverse, MappingError> {
        if let Some((column, _)) = back.iter().find(|(column, _)| !blue.columns.contains(column)) {
            return Err(MappingError::NoSuchColumn { table: blue.name.clone(), column: column.clone() });
        }
        let mut returns = Vec::with_capacity(blue.columns.len());
        let mut types = Vec::with_capacity(blue.columns.len());
        for column in &blue.columns {
            let ty = type_of(blue.scope.as_ref(), column);
            let kind = match back.iter().find(|(name, _)| name == column) {
                Some((_, text)) => ReturnKind::Declared(self.declared((column, ty.as_ref()), green, text)?),
                None => self.derived(column, blue, green).map_or(ReturnKind::Lost, ReturnKind::Lossless),
            };
            returns.push(Return { column: column.clone(), kind });
            types.push(ty);
        }
        let filled = self.columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>();
        let place = |name: &String| filled.iter().position(|filled| filled == name);
        let places = green.map(|green| green.columns.iter().map(|column| place(&column.name)).collect());
        Ok(Inverse { returns, types, places: places.unwrap_or_default(), filled })
    }

    fn declared(
        &self,
        (column, ty): (&str, Option<&(SqlType, Modifier)>),
        green: Option<&Scope>,
        text: &str,
    ) -> Result<Computed, MappingError> {
        let compiled = match (green, ty) {
            (None, _) => Err(Problem::untyped(&self.target)),
            (Some(green), Some((ty, modifier))) => Expression::compile_for(text, green, (ty, *modifier)),
            (Some(green), None) => Expression::compile(text, green),
        };
        let expression =
            compiled.and_then(Expression::unless_it_always_fails).map_err(|problem| MappingError::Back {
                column: column.to_owned(),
                text: text.to_owned(),
                problem: Box::new(problem),
            })?;
        let named =
            |at: usize| green.and_then(|green| green.columns.get(at)).map(|column| column.name.clone());
        let inputs = expression.inputs().into_iter().filter_map(named).collect();
        Ok(Computed { expression: Arc::new(expression), inputs })
    }

    /// What follows from the mapping: the plainest way first.
    fn derived(&self, column: &str, blue: &BlueTable, green: Option<&Scope>) -> Option<Lossless> {
        let own = type_of(blue.scope.as_ref(), column);
        let mut by_cast = None;
        for filled in &self.columns {
            let stored = type_of(green, &filled.name);
            let keeps = match &filled.from {
                ColumnSource::Column(name) if name == column => match (&own, &stored) {
                    (Some(own), Some(stored)) if !same(own, stored) => {
                        lossless::passed((&own.0, own.1), (&stored.0, stored.1))
                    }
                    _ => return Some(Lossless::Column(filled.name.clone())),
                },
                ColumnSource::Computed(computed) => cast_keeps(computed, column, blue),
                ColumnSource::Column(_) | ColumnSource::Constant(_) => false,
            };
            if keeps && by_cast.is_none() {
                let ty = stored.map(|(ty, _)| ty).or_else(|| computed_type(&filled.from));
                by_cast = ty.map(|ty| Lossless::Cast { column: filled.name.clone(), ty });
            }
        }
        by_cast.or_else(|| self.fixed(column, blue).map(Lossless::Fixed))
    }

    fn fixed(&self, column: &str, blue: &BlueTable) -> Option<Option<String>> {
        let at = blue.scope.as_ref()?.find(column)?;
        let fixes = self.filter.as_ref()?.expression.fixes();
        fixes.into_iter().find(|(fixed, _)| *fixed == at).map(|(_, value)| value)
    }
}

fn computed_type(from: &ColumnSource) -> Option<SqlType> {
    match from {
        ColumnSource::Computed(computed) => Some(computed.expression.ty().clone()),
        ColumnSource::Column(_) | ColumnSource::Constant(_) => None,
    }
}

fn type_of(scope: Option<&Scope>, name: &str) -> Option<(SqlType, Modifier)> {
    let scope = scope?;
    let column = &scope.columns[scope.find(name)?];
    Some((column.ty.clone(), column.modifier))
}

/// Whether it is the same type; an enum or another type that has a name of its own is one that is called alike.
fn same((own, own_modifier): &(SqlType, Modifier), (stored, stored_modifier): &(SqlType, Modifier)) -> bool {
    own == stored && own_modifier == stored_modifier
}

/// Whether an expression is nothing but casts of this column that keep every value.
fn cast_keeps(computed: &Computed, column: &str, blue: &BlueTable) -> bool {
    let Some((at, steps)) = computed.expression.casts() else { return false };
    let is_of = blue.scope.as_ref().and_then(|scope| scope.find(column)) == Some(at);
    let keeps = |pair: &[CastStep]| match pair {
        [from, to] => lossless::cast((&from.ty, from.modifier), (&to.ty, to.modifier)),
        _ => true,
    };
    is_of && steps.windows(2).all(keeps)
}

impl Inverse {
    /// Every column of blue's table, in its order.
    pub fn columns(&self) -> &[Return] {
        &self.returns
    }

    /// The columns of blue that a row of green gives back, with their texts; `None` is null. The row has the route's
    /// columns in its order. What `back` computes from other columns of green is left out.
    pub fn down(&self, row: &[Option<Cow<'_, str>>]) -> Result<Vec<(&str, Option<String>)>, Refusal> {
        let mut given = Vec::with_capacity(self.returns.len());
        for (back, ty) in self.returns.iter().zip(&self.types) {
            let refused = |error: EvalError| Refusal {
                column: Some(back.column.clone()),
                sqlstate: error.state().to_string(),
                reason: error.without_values().to_owned(),
            };
            let value = match &back.kind {
                ReturnKind::Lost => None,
                ReturnKind::Lossless(Lossless::Fixed(value)) => Some(value.clone()),
                ReturnKind::Lossless(Lossless::Column(from) | Lossless::Cast { column: from, .. }) => {
                    Some(self.read(row, from, ty.as_ref()).map_err(refused)?)
                }
                ReturnKind::Declared(computed) => self.computed(row, computed).map_err(refused)?,
            };
            given.extend(value.map(|value| (back.column.as_str(), value)));
        }
        Ok(given)
    }

    /// A value of green as blue's type reads it.
    fn read(
        &self,
        row: &[Option<Cow<'_, str>>],
        from: &str,
        ty: Option<&(SqlType, Modifier)>,
    ) -> Result<Option<String>, EvalError> {
        let at = self.filled.iter().position(|filled| filled == from);
        let Some(text) = at.and_then(|at| row.get(at)).and_then(Option::as_deref) else {
            return Ok(None);
        };
        let Some((ty, modifier)) = ty else { return Ok(Some(text.to_owned())) };
        let value = text::input(ty, *modifier, text)?;
        Ok(Some(text::output(&value, ty).into_owned()))
    }

    fn computed(
        &self,
        row: &[Option<Cow<'_, str>>],
        computed: &Computed,
    ) -> Result<Option<Option<String>>, EvalError> {
        if !computed.inputs.iter().all(|input| self.filled.contains(input)) {
            return Ok(None);
        }
        let value = |place: &Option<usize>| place.and_then(|at| row.get(at)).cloned().flatten();
        let values = self.places.iter().map(value).collect::<Vec<_>>();
        computed.expression.evaluate(&values).map(Some)
    }
}

#[cfg(test)]
mod tests;
