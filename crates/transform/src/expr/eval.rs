//! Evaluation of a compiled expression on one row.

use std::borrow::Cow;
use std::sync::Arc;

use super::Expression;
use super::datum::Datum;
use super::error::{EvalError, SqlState};
use super::functions::{Call, CaseRule, Function, Slot};
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

impl Expression {
    /// Appends the text of the value on a row; false, and nothing appended, for null.
    pub(crate) fn write<'a>(&'a self, row: &impl Columns<'a>, out: &mut String) -> Result<bool, EvalError> {
        self.root.write(row, out)
    }
}

impl Node {
    /// Appends the text of the value; false, and nothing appended, for null. Strings are put together where they go.
    fn write<'a>(&'a self, row: &impl Columns<'a>, out: &mut String) -> Result<bool, EvalError> {
        if is_string(&self.ty) {
            match &self.kind {
                Kind::Call { function, args, .. } if concatenates_texts(function) => {
                    let start = out.len();
                    let mut is_known = true;
                    // What stands behind a null is evaluated all the same: it may fail.
                    for arg in args {
                        is_known &= arg.write(row, out)?;
                    }
                    if !is_known {
                        out.truncate(start);
                    }
                    return Ok(is_known);
                }
                Kind::Case { branches, otherwise } => {
                    return match chosen(branches, otherwise.as_deref(), row)? {
                        Some(result) => result.write(row, out),
                        None => Ok(false),
                    };
                }
                Kind::Coalesce(args) => {
                    for arg in args {
                        if arg.write(row, out)? {
                            return Ok(true);
                        }
                    }
                    return Ok(false);
                }
                Kind::Relabel(arg) if is_string(&arg.ty) => return arg.write(row, out),
                _ => {}
            }
        }
        let value = self.eval(row)?;
        text::write(&value, &self.ty, out);
        Ok(!value.is_null())
    }

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
            Kind::Case { branches, otherwise } => {
                chosen(branches, otherwise.as_deref(), row)?.map_or(Ok(Datum::Null), |node| node.eval(row))
            }
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

/// Evaluates arguments and passes them on. Most calls have few, which take no room on the heap.
fn with_args<'a>(
    args: &'a [Node],
    row: &impl Columns<'a>,
    then: impl FnOnce(&[Datum<'a>]) -> Result<Datum<'a>, EvalError>,
) -> Result<Datum<'a>, EvalError> {
    match args {
        [one] => then(&[one.eval(row)?]),
        [one, two] => then(&[one.eval(row)?, two.eval(row)?]),
        [one, two, three] => then(&[one.eval(row)?, two.eval(row)?, three.eval(row)?]),
        [one, two, three, four] => then(&[one.eval(row)?, two.eval(row)?, three.eval(row)?, four.eval(row)?]),
        _ => {
            let mut values = Vec::with_capacity(args.len());
            for arg in args {
                values.push(arg.eval(row)?);
            }
            then(&values)
        }
    }
}

/// The result of the first branch whose condition is true.
fn chosen<'a>(
    branches: &'a [(Node, Node)],
    otherwise: Option<&'a Node>,
    row: &impl Columns<'a>,
) -> Result<Option<&'a Node>, EvalError> {
    for (condition, result) in branches {
        if matches!(condition.eval(row)?, Datum::Bool(true)) {
            return Ok(Some(result));
        }
    }
    Ok(otherwise)
}

/// Whether values are strings, whose text is that of the value whatever the type is.
fn is_string(ty: &SqlType) -> bool {
    matches!(ty.base(), SqlType::Text | SqlType::Varchar)
}

/// Whether it is `||` of two strings.
fn concatenates_texts(function: &Function) -> bool {
    function.name == "||" && matches!(function.args, [Slot::Text, Slot::Text])
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::{Collation, Scope, ScopeColumn};

    /// Texts put together where they go must be those of the values, nulls and failures included.
    #[test]
    fn what_is_written_is_the_text_of_the_value() {
        let column = |name: &str, ty: SqlType| ScopeColumn {
            name: name.to_owned(),
            collation: (!matches!(ty, SqlType::Int4)).then(Collation::bytes),
            ty,
            modifier: Modifier::NONE,
        };
        let scope = Scope {
            table: understudy_model::TableName::new("public", "t"),
            columns: vec![
                column("a", SqlType::Text),
                column("b", SqlType::Varchar),
                column("n", SqlType::Int4),
            ],
            types: std::collections::HashMap::new(),
            mask_key: None,
            collation: Collation::bytes(),
        };
        let expressions = [
            "a || b || 'x'",
            "(a || b)::varchar(3)",
            "CASE WHEN n > 1 THEN a || '-' || b WHEN n = 1 THEN b END",
            "coalesce(a || b, b, 'neither')",
            "a || (10 / n)::text",
            "coalesce(a, (10 / n)::text)",
            "a || n",
            "n",
            "n > 1",
            "n / 3.0",
            "lower(a) || CASE WHEN b IS NULL THEN '' ELSE b END",
            "upper(a || b)",
            "nullif(a, b) || ''",
            "array[a, b]",
        ];
        for text in expressions {
            let expression = Expression::compile(text, &scope).unwrap();
            for a in [None, Some(""), Some("Ab")] {
                for b in [None, Some("cd"), Some("Ab")] {
                    for n in [None, Some("0"), Some("1"), Some("-2147483648")] {
                        let row = [a, b, n].map(|value| value.map(Cow::Borrowed));
                        let value = expression.root.eval(&TextRow(&row)).map(|value| {
                            let shown = || text::output(&value, &expression.root.ty).into_owned();
                            (!value.is_null()).then(shown)
                        });
                        let mut written = "kept".to_owned();
                        let found = expression.write(&TextRow(&row), &mut written);
                        let found =
                            found.map(|is_known| is_known.then(|| written["kept".len()..].to_owned()));
                        assert_eq!(found, value, "{text} of {row:?}");
                        assert!(matches!(found, Ok(Some(_)) | Err(_)) || written == "kept", "{text}");
                    }
                }
            }
        }
    }
}
