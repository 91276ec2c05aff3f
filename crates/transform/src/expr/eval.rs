//! Evaluation of a compiled expression on one row.

use std::borrow::Cow;
use std::sync::Arc;

use super::datum::Datum;
use super::error::{EvalError, SqlState};
use super::functions::{Call, CaseRule};
use super::node::{Comparison, Kind, Node, Pair};
use super::text;
use super::types::{Modifier, SqlType};
use super::value::Array;

/// The row that an expression is evaluated on: the text of each column, none for null. Values that blue did not send
/// must not be asked for.
pub(crate) trait Columns<'a> {
    /// The value of a column.
    fn column(&self, at: usize, ty: &SqlType, modifier: Modifier) -> Result<Datum<'a>, EvalError>;
}

/// Rows as text.
pub(crate) struct TextRow<'a>(pub(crate) &'a [Option<Cow<'a, str>>]);

impl<'a> Columns<'a> for TextRow<'a> {
    fn column(&self, at: usize, ty: &SqlType, modifier: Modifier) -> Result<Datum<'a>, EvalError> {
        match self.0.get(at) {
            Some(Some(text)) => text::input(ty, modifier, text),
            _ => Ok(Datum::Null),
        }
    }
}

/// One element of an array, as the only column.
struct Element<'a>(Datum<'a>);

impl<'a> Columns<'a> for Element<'a> {
    fn column(&self, _: usize, _: &SqlType, _: Modifier) -> Result<Datum<'a>, EvalError> {
        Ok(self.0.clone())
    }
}

/// Most calls have no more arguments; those of the rest are kept on the heap.
const ARGS_INLINE: usize = 3;

impl Node {
    /// The value on a row.
    pub(crate) fn eval<'a>(&'a self, row: &impl Columns<'a>) -> Result<Datum<'a>, EvalError> {
        match &self.kind {
            Kind::Column(at) => row.column(*at, &self.ty, self.modifier),
            Kind::Constant(value) => Ok(value.borrowed()),
            Kind::Call { function, args, types, case } => {
                let call = Call { args: types, result: &self.ty, modifier: self.modifier, case: *case };
                let strict = function.is_strict;
                with_args(args, row, |values| {
                    if strict && values.iter().any(Datum::is_null) {
                        return Ok(Datum::Null);
                    }
                    (function.compute)(call, values)
                })
            }
            Kind::Relabel(arg) => arg.eval(row),
            Kind::ThroughText(arg) => self.through_text(arg, row),
            Kind::Each { array, each } => each_element(array, each, row),
            Kind::Fit { arg, is_explicit } => match arg.eval(row)? {
                Datum::Null => Ok(Datum::Null),
                value => text::fit(value, &self.ty, self.modifier, *is_explicit),
            },
            Kind::And(args) => logic(args, row, false),
            Kind::Or(args) => logic(args, row, true),
            Kind::Not(arg) => Ok(match arg.eval(row)? {
                Datum::Bool(value) => Datum::Bool(!value),
                _ => Datum::Null,
            }),
            Kind::IsNull { arg, negated } => Ok(Datum::Bool(arg.eval(row)?.is_null() != *negated)),
            Kind::IsTruth { arg, truth, negated } => {
                let found = match arg.eval(row)? {
                    Datum::Bool(value) => Some(value),
                    _ => None,
                };
                Ok(Datum::Bool((found == *truth) != *negated))
            }
            Kind::IsDistinct { equal, negated } => Ok(Datum::Bool(equal.is_distinct(row)? != *negated)),
            Kind::Case { branches, otherwise } => first_true(branches, otherwise.as_deref(), row),
            Kind::Coalesce(args) => {
                for arg in args {
                    let value = arg.eval(row)?;
                    if !value.is_null() {
                        return Ok(value);
                    }
                }
                Ok(Datum::Null)
            }
            Kind::NullIf { equal, result } => {
                if equal.is_distinct(row)? {
                    result.eval(row)
                } else {
                    Ok(Datum::Null)
                }
            }
            Kind::Extreme { args, less, is_greatest } => extreme(args, less, *is_greatest, row),
            Kind::Quantified { left, compare, array, is_all } => {
                quantified(left, compare, array, *is_all, row)
            }
            Kind::Array { elements, is_nested } => {
                let values = elements.iter().map(|node| node.eval(row)).collect::<Result<Vec<_>, _>>()?;
                let values = values.into_iter().map(Datum::into_owned).collect();
                let array = if *is_nested { Array::of_arrays(values)? } else { Array::of_elements(values) };
                Ok(Datum::Array(Arc::new(array)))
            }
            Kind::Subscript { array, indexes } => subscript(array, indexes, row),
        }
    }

    fn through_text<'a>(&'a self, arg: &'a Node, row: &impl Columns<'a>) -> Result<Datum<'a>, EvalError> {
        match arg.eval(row)? {
            Datum::Null => Ok(Datum::Null),
            value => {
                let written = text::output(&value, &arg.ty).into_owned();
                text::input(&self.ty, self.modifier, &written).map(Datum::into_owned)
            }
        }
    }
}

/// Evaluates arguments and passes them on.
fn with_args<'a>(
    args: &'a [Node],
    row: &impl Columns<'a>,
    then: impl FnOnce(&[Datum<'a>]) -> Result<Datum<'a>, EvalError>,
) -> Result<Datum<'a>, EvalError> {
    if args.len() > ARGS_INLINE {
        let values = args.iter().map(|arg| arg.eval(row)).collect::<Result<Vec<_>, _>>()?;
        return then(&values);
    }
    let mut values: [Datum<'a>; ARGS_INLINE] = std::array::from_fn(|_| Datum::Null);
    for (value, arg) in values.iter_mut().zip(args) {
        *value = arg.eval(row)?;
    }
    then(&values[..args.len()])
}

fn first_true<'a>(
    branches: &'a [(Node, Node)],
    otherwise: Option<&'a Node>,
    row: &impl Columns<'a>,
) -> Result<Datum<'a>, EvalError> {
    for (condition, result) in branches {
        if condition.eval(row)? == Datum::Bool(true) {
            return result.eval(row);
        }
    }
    otherwise.map_or(Ok(Datum::Null), |node| node.eval(row))
}

/// AND ends at the first false, OR at the first true; null otherwise, if there was one.
fn logic<'a>(args: &'a [Node], row: &impl Columns<'a>, ends_at: bool) -> Result<Datum<'a>, EvalError> {
    let mut all_known = true;
    for arg in args {
        match arg.eval(row)? {
            Datum::Bool(value) if value == ends_at => return Ok(Datum::Bool(ends_at)),
            Datum::Bool(_) => {}
            _ => all_known = false,
        }
    }
    Ok(if all_known { Datum::Bool(!ends_at) } else { Datum::Null })
}

impl Comparison {
    pub(crate) fn apply<'a>(&self, left: Datum<'a>, right: Datum<'a>) -> Result<Datum<'a>, EvalError> {
        if left.is_null() || right.is_null() {
            return Ok(Datum::Null);
        }
        let call = Call {
            args: &self.types,
            result: &SqlType::Bool,
            modifier: Modifier::NONE,
            case: CaseRule::default(),
        };
        (self.function.compute)(call, &[left, right])
    }
}

impl Pair {
    fn is_distinct<'a>(&'a self, row: &impl Columns<'a>) -> Result<bool, EvalError> {
        let (left, right) = (self.left.eval(row)?, self.right.eval(row)?);
        match (left.is_null(), right.is_null()) {
            (true, true) => Ok(false),
            (true, false) | (false, true) => Ok(true),
            (false, false) => Ok(self.compare.apply(left, right)? != Datum::Bool(true)),
        }
    }
}

fn extreme<'a>(
    args: &'a [Node],
    less: &Comparison,
    is_greatest: bool,
    row: &impl Columns<'a>,
) -> Result<Datum<'a>, EvalError> {
    let mut found = Datum::Null;
    for arg in args {
        let value = arg.eval(row)?;
        if value.is_null() {
            continue;
        }
        let (left, right) = if is_greatest { (&found, &value) } else { (&value, &found) };
        if found.is_null() || less.apply(left.clone(), right.clone())? == Datum::Bool(true) {
            found = value;
        }
    }
    Ok(found)
}

fn quantified<'a>(
    left: &'a Node,
    compare: &Comparison,
    array: &'a Node,
    is_all: bool,
    row: &impl Columns<'a>,
) -> Result<Datum<'a>, EvalError> {
    let left = left.eval(row)?;
    let Datum::Array(array) = array.eval(row)? else { return Ok(Datum::Null) };
    let mut all_known = true;
    for element in array.elements() {
        match compare.apply(left.clone(), element.clone())? {
            Datum::Bool(value) if value != is_all => return Ok(Datum::Bool(value)),
            Datum::Bool(_) => {}
            _ => all_known = false,
        }
    }
    Ok(if all_known { Datum::Bool(is_all) } else { Datum::Null })
}

fn each_element<'a>(array: &'a Node, each: &'a Node, row: &impl Columns<'a>) -> Result<Datum<'a>, EvalError> {
    let Datum::Array(array) = array.eval(row)? else { return Ok(Datum::Null) };
    let cast = |element: &Datum<'static>| Ok(each.eval(&Element(element.clone()))?.into_owned());
    Ok(Datum::Array(Arc::new(array.map(cast)?)))
}

fn subscript<'a>(
    array: &'a Node,
    indexes: &'a [Node],
    row: &impl Columns<'a>,
) -> Result<Datum<'a>, EvalError> {
    let array = array.eval(row)?;
    let mut places = Vec::with_capacity(indexes.len());
    for index in indexes {
        match index.eval(row)? {
            Datum::Int(place) => places.push(place),
            _ => return Ok(Datum::Null),
        }
    }
    match array {
        Datum::Array(array) => Ok(array.get(&places).cloned().unwrap_or(Datum::Null)),
        Datum::Null => Ok(Datum::Null),
        _ => Err(EvalError::new(SqlState::SUBSCRIPT, "cannot subscript a value that is no array")),
    }
}
