//! Literals, and the names of types.

use sqlparser::ast::{
    ArrayElemTypeDef, CharacterLength, DataType, ExactNumberInfo, Expr, Interval, ObjectName, ObjectNamePart,
    Spanned, TimezoneInfo, TypedString, Value, ValueWithSpan,
};

use super::{Resolver, folded, not_supported, untyped};
use crate::expr::datum::Datum;
use crate::expr::error::Problem;
use crate::expr::node::{Kind, Node};
use crate::expr::text;
use crate::expr::types::{Modifier, SqlType};

/// A literal by itself.
pub(super) fn value(value: &ValueWithSpan) -> Result<Node, Problem> {
    match &value.value {
        Value::Null => Ok(untyped(Datum::Null)),
        Value::Boolean(truth) => Ok(Node::truth(Kind::Constant(Datum::Bool(*truth)))),
        Value::Number(digits, _) => number(digits, value),
        Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => {
            Ok(untyped(Datum::text(text.clone())))
        }
        Value::UnicodeStringLiteral(text) => Ok(untyped(Datum::text(text.clone()))),
        Value::DollarQuotedString(quoted) => Ok(untyped(Datum::text(quoted.value.clone()))),
        _ => Err(not_supported(&Expr::Value(value.clone()), "this kind of literal")),
    }
}

/// Whether it is a number without a sign.
pub(super) fn is_number(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(ValueWithSpan { value: Value::Number(..), .. }))
}

/// A number with a minus in front.
pub(super) fn negative(expr: &Expr) -> Result<Node, Problem> {
    match expr {
        Expr::Value(inner) => match &inner.value {
            Value::Number(digits, _) => number(&format!("-{digits}"), inner),
            _ => value(inner),
        },
        other => Err(not_supported(other, "this kind of number")),
    }
}

/// The smallest of integer, bigint and numeric that holds it, as Postgres chooses.
fn number(digits: &str, at: &ValueWithSpan) -> Result<Node, Problem> {
    let ty = match digits.parse::<i64>() {
        Ok(value) if i32::try_from(value).is_ok() => SqlType::Int4,
        Ok(_) => SqlType::Int8,
        Err(_) => SqlType::Numeric,
    };
    constant(&ty, Modifier::NONE, digits, at.span)
}

/// A constant of a known type, from its text.
pub(super) fn constant(
    ty: &SqlType,
    modifier: Modifier,
    written: &str,
    span: sqlparser::tokenizer::Span,
) -> Result<Node, Problem> {
    // What an expression says is no row's value, so the message may quote it.
    let datum = text::input(ty, modifier, written)
        .map_err(|error| Problem::new(span, error.message_with_values().to_owned()))?;
    Ok(Node { modifier, ..Node::new(Kind::Constant(datum.into_owned()), ty.clone()) })
}

impl Resolver<'_> {
    /// `date '2020-01-01'` and the like.
    pub(super) fn typed_string(&self, typed: &TypedString, expr: &Expr) -> Result<Node, Problem> {
        let (ty, modifier) = self.type_name(&typed.data_type, expr)?;
        let written = match &typed.value.value {
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => text,
            _ => return Err(not_supported(expr, "this kind of literal")),
        };
        let node = constant(&ty, Modifier::NONE, written, expr.span())?;
        Ok(self.fitted(node, modifier, true))
    }

    /// `interval '1 day'`; a field behind it, as in `interval '1' day`, is not taken.
    pub(super) fn interval(&self, interval: &Interval, expr: &Expr) -> Result<Node, Problem> {
        if interval.leading_field.is_some() || interval.last_field.is_some() {
            return Err(not_supported(expr, "an interval with its unit behind the literal")
                .remedy("write the unit into the literal, as in interval '1 day'"));
        }
        match interval.value.as_ref() {
            Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(written), .. }) => {
                let node = constant(&SqlType::Interval, Modifier::NONE, written, expr.span())?;
                let digits = interval.leading_precision.or(interval.fractional_seconds_precision);
                Ok(self.fitted(node, fraction_modifier(digits), true))
            }
            _ => Err(not_supported(expr, "an interval that is not a literal")),
        }
    }

    /// A type by its name, and what stands in brackets behind it.
    pub(crate) fn type_name(&self, name: &DataType, expr: &Expr) -> Result<(SqlType, Modifier), Problem> {
        let unknown =
            || Problem::new(expr.span(), format!("the type `{name}` is not supported in expressions"));
        let plain = |ty: SqlType| Ok((ty, Modifier::NONE));
        match name {
            DataType::Bool | DataType::Boolean => plain(SqlType::Bool),
            DataType::SmallInt(None) | DataType::Int2(None) => plain(SqlType::Int2),
            DataType::Int(None) | DataType::Integer(None) | DataType::Int4(None) => plain(SqlType::Int4),
            DataType::BigInt(None) | DataType::Int8(None) => plain(SqlType::Int8),
            DataType::Real | DataType::Float4 => plain(SqlType::Float4),
            DataType::DoublePrecision | DataType::Float8 => plain(SqlType::Float8),
            DataType::Numeric(info) | DataType::Decimal(info) | DataType::Dec(info) => {
                Ok((SqlType::Numeric, numeric_modifier(*info).ok_or_else(unknown)?))
            }
            DataType::Text => plain(SqlType::Text),
            DataType::Varchar(length)
            | DataType::CharacterVarying(length)
            | DataType::CharVarying(length) => {
                Ok((SqlType::Varchar, character_modifier(*length, None).ok_or_else(unknown)?))
            }
            DataType::Char(length) | DataType::Character(length) => {
                Ok((SqlType::Bpchar, character_modifier(*length, Some(1)).ok_or_else(unknown)?))
            }
            DataType::Bytea => plain(SqlType::Bytea),
            DataType::Date => plain(SqlType::Date),
            DataType::Time(digits, zone) => {
                Ok((zoned(*zone, SqlType::Time, SqlType::TimeTz), fraction_modifier(*digits)))
            }
            DataType::Timestamp(digits, zone) => {
                Ok((zoned(*zone, SqlType::Timestamp, SqlType::TimestampTz), fraction_modifier(*digits)))
            }
            DataType::Interval { fields: None, precision } => {
                Ok((SqlType::Interval, fraction_modifier(*precision)))
            }
            DataType::Uuid => plain(SqlType::Uuid),
            DataType::JSON => plain(SqlType::Json),
            DataType::JSONB => plain(SqlType::Jsonb),
            DataType::Array(ArrayElemTypeDef::SquareBracket(element, _)) => {
                let (element, modifier) = self.type_name(element, expr)?;
                Ok((element.array_of(), modifier))
            }
            DataType::Custom(name, modifiers) if modifiers.is_empty() => {
                self.custom_type(name).map(|ty| (ty, Modifier::NONE)).ok_or_else(unknown)
            }
            _ => Err(unknown()),
        }
    }

    fn custom_type(&self, name: &ObjectName) -> Option<SqlType> {
        let part = |part: &ObjectNamePart| match part {
            ObjectNamePart::Identifier(name) => Some(folded(name)),
            ObjectNamePart::Function(_) => None,
        };
        match name.0.as_slice() {
            [name] => self.scope.named_type(None, &part(name)?),
            [schema, name] => self.scope.named_type(Some(&part(schema)?), &part(name)?),
            _ => None,
        }
    }
}

fn numeric_modifier(info: ExactNumberInfo) -> Option<Modifier> {
    let (precision, scale) = match info {
        ExactNumberInfo::None => return Some(Modifier::NONE),
        ExactNumberInfo::Precision(precision) => (precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (precision, scale),
    };
    let fits = (1..=1000).contains(&precision) && (-1000..=1000).contains(&scale);
    fits.then(|| Modifier::of_numeric(precision as u16, scale as i16))
}

fn character_modifier(length: Option<CharacterLength>, otherwise: Option<i32>) -> Option<Modifier> {
    match length {
        None => Some(otherwise.map_or(Modifier::NONE, Modifier::of_characters)),
        Some(CharacterLength::IntegerLength { length, unit: None }) => i32::try_from(length)
            .ok()
            .filter(|length| (1..=10_485_760).contains(length))
            .map(Modifier::of_characters),
        Some(_) => None,
    }
}

fn fraction_modifier(digits: Option<u64>) -> Modifier {
    digits.map_or(Modifier::NONE, |digits| Modifier(digits.min(6) as i32))
}

fn zoned(zone: TimezoneInfo, without: SqlType, with: SqlType) -> SqlType {
    match zone {
        TimezoneInfo::None | TimezoneInfo::WithoutTimeZone => without,
        TimezoneInfo::WithTimeZone | TimezoneInfo::Tz => with,
    }
}
