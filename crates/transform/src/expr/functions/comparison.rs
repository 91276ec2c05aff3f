//! Comparison of values.

use std::cmp::Ordering;

use super::{Call, Function, Slot};
use crate::expr::datum::Datum;
use crate::expr::error::{EvalError, SqlState};
use crate::expr::types::SqlType;
use crate::expr::value::{Array, Interval};

/// The code `undefined_function`, by which a server says that a type has no order.
const UNDEFINED: SqlState = SqlState(*b"42883");

/// The order of two values that are not null, as the operators of their type have it. `ty` is the type of both, or of the
/// first where two of a family are compared.
pub(crate) fn compare(ty: &SqlType, left: &Datum<'_>, right: &Datum<'_>) -> Ordering {
    match (left, right) {
        (Datum::Bool(left), Datum::Bool(right)) => left.cmp(right),
        (Datum::Int(left), Datum::Int(right)) => left.cmp(right),
        (Datum::Float4(left), Datum::Float4(right)) => floats(f64::from(*left), f64::from(*right)),
        (Datum::Float4(left), Datum::Float8(right)) => floats(f64::from(*left), *right),
        (Datum::Float8(left), Datum::Float4(right)) => floats(*left, f64::from(*right)),
        (Datum::Float8(left), Datum::Float8(right)) => floats(*left, *right),
        (Datum::Numeric(left), Datum::Numeric(right)) => left.compare(right),
        (Datum::Text(left), Datum::Text(right)) => texts(ty.base(), left, right),
        (Datum::Bytes(left), Datum::Bytes(right)) => left.cmp(right),
        (Datum::Time(left), Datum::Time(right)) => left.cmp(right),
        (Datum::TimeTz(left, left_zone), Datum::TimeTz(right, right_zone)) => {
            Interval::timetz_key(*left, *left_zone).cmp(&Interval::timetz_key(*right, *right_zone))
        }
        (Datum::Date(_) | Datum::Timestamp(_), Datum::Date(_) | Datum::Timestamp(_)) => {
            instant(left).cmp(&instant(right))
        }
        (Datum::Interval(left), Datum::Interval(right)) => left.order_key().cmp(&right.order_key()),
        (Datum::Uuid(left), Datum::Uuid(right)) => left.cmp(right),
        (Datum::Jsonb(left), Datum::Jsonb(right)) => left.compare(right),
        (Datum::Inet(left), Datum::Inet(right)) => left.cmp(right),
        (Datum::Array(left), Datum::Array(right)) => arrays(ty, left, right),
        _ => Ordering::Equal,
    }
}

/// The same where null is equal to null and greater than everything else, as inside of arrays.
pub(crate) fn compare_nulls_last(ty: &SqlType, left: &Datum<'_>, right: &Datum<'_>) -> Ordering {
    match (left.is_null(), right.is_null()) {
        (false, false) => compare(ty, left, right),
        (left, right) => left.cmp(&right),
    }
}

/// Fails for a type whose values cannot be compared.
pub(crate) fn comparable(ty: &SqlType) -> Result<(), EvalError> {
    match ty.base() {
        SqlType::Json | SqlType::Opaque(_) => Err(EvalError::new(
            UNDEFINED,
            "could not identify a comparison function for the type of the elements",
        )),
        SqlType::Array(element) => comparable(element),
        _ => Ok(()),
    }
}

/// Not-a-number is equal to itself and greater than the rest; zero has no sign.
fn floats(left: f64, right: f64) -> Ordering {
    left.partial_cmp(&right).unwrap_or_else(|| left.is_nan().cmp(&right.is_nan()))
}

fn texts(ty: &SqlType, left: &str, right: &str) -> Ordering {
    match ty {
        SqlType::Enum(labels) => {
            let place = |text: &str| labels.labels.iter().position(|label| label == text);
            place(left).cmp(&place(right))
        }
        // Blanks at the end mean nothing.
        SqlType::Bpchar => left.trim_end_matches(' ').as_bytes().cmp(right.trim_end_matches(' ').as_bytes()),
        _ => left.as_bytes().cmp(right.as_bytes()),
    }
}

/// Microseconds since 2000-01-01, wide enough for the last date; the infinities lie outside of all.
fn instant(value: &Datum<'_>) -> i128 {
    match value {
        Datum::Date(i32::MAX) | Datum::Timestamp(i64::MAX) => i128::MAX,
        Datum::Date(i32::MIN) | Datum::Timestamp(i64::MIN) => i128::MIN,
        Datum::Date(days) => i128::from(*days) * 86_400_000_000,
        Datum::Timestamp(micros) => i128::from(*micros),
        _ => 0,
    }
}

/// Element by element, then by count, then by shape.
fn arrays(ty: &SqlType, left: &Array, right: &Array) -> Ordering {
    let element = ty.element().unwrap_or(&SqlType::Text);
    let pairs = left.elements().iter().zip(right.elements());
    let mut orders = pairs.map(|(left, right)| compare_nulls_last(element, left, right));
    let by_elements = orders.find(|order| *order != Ordering::Equal).unwrap_or(Ordering::Equal);
    let lengths =
        |array: &Array| array.dimensions().iter().map(|dimension| dimension.len).collect::<Vec<_>>();
    let firsts =
        |array: &Array| array.dimensions().iter().map(|dimension| dimension.first).collect::<Vec<_>>();
    by_elements
        .then_with(|| left.elements().len().cmp(&right.elements().len()))
        .then_with(|| left.dimensions().len().cmp(&right.dimensions().len()))
        .then_with(|| lengths(left).cmp(&lengths(right)))
        .then_with(|| firsts(left).cmp(&firsts(right)))
}

fn order(call: Call<'_>, args: &[Datum<'_>]) -> Result<Ordering, EvalError> {
    let ([ty, ..], [left, right]) = (call.args, args) else { return Ok(Ordering::Equal) };
    comparable(ty)?;
    Ok(compare(ty, left, right))
}

fn equal<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>, EvalError> {
    Ok(Datum::Bool(order(call, args)?.is_eq()))
}

fn not_equal<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>, EvalError> {
    Ok(Datum::Bool(order(call, args)?.is_ne()))
}

fn less<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>, EvalError> {
    Ok(Datum::Bool(order(call, args)?.is_lt()))
}

fn less_or_equal<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>, EvalError> {
    Ok(Datum::Bool(order(call, args)?.is_le()))
}

fn greater<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>, EvalError> {
    Ok(Datum::Bool(order(call, args)?.is_gt()))
}

fn greater_or_equal<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>, EvalError> {
    Ok(Datum::Bool(order(call, args)?.is_ge()))
}

/// The six operators for each pair of types; the order of those behind the semicolon depends on their collation.
macro_rules! operators {
    ($($left:ident $right:ident),* ; $($text:ident)*) => {
        &[
            $(
                Function::new("=", &[Slot::$left, Slot::$right], Slot::Bool, equal, "Equal."),
                Function::new("<>", &[Slot::$left, Slot::$right], Slot::Bool, not_equal, "Not equal; also written `!=`."),
                Function::new("<", &[Slot::$left, Slot::$right], Slot::Bool, less, "Less."),
                Function::new("<=", &[Slot::$left, Slot::$right], Slot::Bool, less_or_equal, "Less or equal."),
                Function::new(">", &[Slot::$left, Slot::$right], Slot::Bool, greater, "Greater."),
                Function::new(">=", &[Slot::$left, Slot::$right], Slot::Bool, greater_or_equal, "Greater or equal."),
            )*
            $(
                Function::new("=", &[Slot::$text, Slot::$text], Slot::Bool, equal, "Equal."),
                Function::new("<>", &[Slot::$text, Slot::$text], Slot::Bool, not_equal, "Not equal; also written `!=`."),
                Function::new("<", &[Slot::$text, Slot::$text], Slot::Bool, less, "Less.").by_order(),
                Function::new("<=", &[Slot::$text, Slot::$text], Slot::Bool, less_or_equal, "Less or equal.").by_order(),
                Function::new(">", &[Slot::$text, Slot::$text], Slot::Bool, greater, "Greater.").by_order(),
                Function::new(">=", &[Slot::$text, Slot::$text], Slot::Bool, greater_or_equal, "Greater or equal.").by_order(),
            )*
        ]
    };
}

pub(super) const FUNCTIONS: &[Function] = operators!(
    Bool Bool,
    Int2 Int2, Int2 Int4, Int2 Int8,
    Int4 Int2, Int4 Int4, Int4 Int8,
    Int8 Int2, Int8 Int4, Int8 Int8,
    Numeric Numeric,
    Float4 Float4, Float4 Float8, Float8 Float4, Float8 Float8,
    Bytea Bytea,
    Date Date, Date Timestamp, Date TimestampTz,
    Timestamp Date, Timestamp Timestamp, Timestamp TimestampTz,
    TimestampTz Date, TimestampTz Timestamp, TimestampTz TimestampTz,
    Time Time, TimeTz TimeTz,
    Interval Interval,
    Uuid Uuid,
    Inet Inet,
    Enum Enum;
    Text Bpchar Jsonb ElementArray
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::text::input;
    use crate::expr::types::Modifier;

    /// Each text in a list is less than the next, as Postgres 15 and 18 say of its type.
    #[test]
    fn values_are_ordered_as_in_postgres() {
        let int_array = SqlType::Int4.array_of();
        let lists: [(&SqlType, &[&str]); 7] = [
            (&SqlType::Bool, &["f", "t"]),
            (&SqlType::Float8, &["-Infinity", "-1", "0", "5e-324", "Infinity", "NaN"]),
            (&SqlType::Text, &["", " ", "A", "B", "a", "a ", "é"]),
            (
                &SqlType::Inet,
                &["10.0.0.1/8", "10.0.0.2/8", "10.0.0.1/16", "10.0.0.1/24", "10.0.0.0", "::/0", "::"],
            ),
            (
                &int_array,
                &[
                    "{}",
                    "{1}",
                    "[2:2]={1}",
                    "[3:3]={1}",
                    "{{1}}",
                    "{1,0}",
                    "{{1,2}}",
                    "{{1},{2}}",
                    "{1,5}",
                    "{1,NULL}",
                ],
            ),
            (
                &SqlType::Jsonb,
                &[
                    "[]",
                    "null",
                    "\"aa\"",
                    "\"b\"",
                    "1",
                    "1.5",
                    "false",
                    "true",
                    "[null]",
                    "[\"a\"]",
                    "[1]",
                    "[[]]",
                    "[[1]]",
                    "[1,2]",
                    "{}",
                    "{\"aa\":1}",
                    "{\"b\":0}",
                    "{\"a\":1,\"b\":2}",
                ],
            ),
            (&SqlType::Bytea, &["\\x", "\\x00", "\\x0000", "\\xff"]),
        ];
        for (ty, texts) in lists {
            let values =
                texts.iter().map(|text| input(ty, Modifier::NONE, text).unwrap()).collect::<Vec<_>>();
            for (at, left) in values.iter().enumerate() {
                for (other, right) in values.iter().enumerate() {
                    assert_eq!(compare(ty, left, right), at.cmp(&other), "{} {}", texts[at], texts[other]);
                }
            }
        }
    }

    #[test]
    fn values_that_look_different_may_be_equal() {
        let pairs = [
            (SqlType::Float8, "-0", "0"),
            (SqlType::Float4, "NaN", "NaN"),
            (SqlType::Bpchar, "a  ", "a"),
            (SqlType::Jsonb, "{\"a\":1.0}", "{\"a\":1}"),
            (SqlType::Interval, "1 mon", "30 days"),
        ];
        for (ty, left, right) in pairs {
            let [left, right] = [left, right].map(|text| input(&ty, Modifier::NONE, text).unwrap());
            assert_eq!(compare(&ty, &left, &right), Ordering::Equal, "{ty}");
        }
        assert_eq!(
            compare(&SqlType::Date, &Datum::Date(i32::MAX), &Datum::Timestamp(i64::MAX)),
            Ordering::Equal
        );
        // The last date lies behind the last timestamp, yet before the end of time.
        assert_eq!(
            compare(&SqlType::Date, &Datum::Date(2_145_031_948), &Datum::Timestamp(i64::MAX)),
            Ordering::Less
        );
    }
}
