//! One value while an expression is evaluated.

use std::borrow::Cow;
use std::sync::Arc;

use super::value::{Array, Inet, Interval, Json, Numeric};

/// A value of some [`SqlType`](super::SqlType), which the expression's compiled form knows.
#[derive(Debug, Clone, PartialEq)]
pub enum Datum<'a> {
    /// SQL null, of any type.
    Null,
    /// `boolean`
    Bool(bool),
    /// `smallint`, `integer`, `bigint`
    Int(i64),
    /// `real`
    Float4(f32),
    /// `double precision`
    Float8(f64),
    /// `numeric`
    Numeric(Numeric),
    /// The strings, `json`, a label of an enum, and values of opaque types, in their text form. `character` keeps its
    /// trailing blanks.
    Text(Cow<'a, str>),
    /// `bytea`
    Bytes(Cow<'a, [u8]>),
    /// `date`: days since 2000-01-01. `i32::MAX` and `i32::MIN` are the infinities.
    Date(i32),
    /// `time`: microseconds since midnight.
    Time(i64),
    /// `timetz`: microseconds since midnight there, and seconds that the zone lies west of Greenwich.
    TimeTz(i64, i32),
    /// `timestamp` and `timestamptz`: microseconds since 2000-01-01, for the latter in UTC. `i64::MAX` and `i64::MIN` are
    /// the infinities.
    Timestamp(i64),
    /// `interval`
    Interval(Interval),
    /// `uuid`
    Uuid([u8; 16]),
    /// `jsonb`
    Jsonb(Arc<Json>),
    /// `inet` and `cidr`
    Inet(Inet),
    /// An array.
    Array(Arc<Array>),
}

impl<'a> Datum<'a> {
    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        matches!(self, Datum::Null)
    }

    /// The same value, borrowing what it holds.
    pub fn borrowed(&self) -> Datum<'_> {
        match self {
            Datum::Text(text) => Datum::Text(Cow::Borrowed(text)),
            Datum::Bytes(bytes) => Datum::Bytes(Cow::Borrowed(bytes)),
            other => other.clone(),
        }
    }

    /// The same value, holding everything itself.
    pub fn into_owned(self) -> Datum<'static> {
        match self {
            Datum::Null => Datum::Null,
            Datum::Bool(value) => Datum::Bool(value),
            Datum::Int(value) => Datum::Int(value),
            Datum::Float4(value) => Datum::Float4(value),
            Datum::Float8(value) => Datum::Float8(value),
            Datum::Numeric(value) => Datum::Numeric(value),
            Datum::Text(text) => Datum::Text(Cow::Owned(text.into_owned())),
            Datum::Bytes(bytes) => Datum::Bytes(Cow::Owned(bytes.into_owned())),
            Datum::Date(value) => Datum::Date(value),
            Datum::Time(value) => Datum::Time(value),
            Datum::TimeTz(value, zone) => Datum::TimeTz(value, zone),
            Datum::Timestamp(value) => Datum::Timestamp(value),
            Datum::Interval(value) => Datum::Interval(value),
            Datum::Uuid(value) => Datum::Uuid(value),
            Datum::Jsonb(value) => Datum::Jsonb(value),
            Datum::Inet(value) => Datum::Inet(value),
            Datum::Array(value) => Datum::Array(value),
        }
    }

    /// An owned string.
    pub fn text(text: impl Into<String>) -> Datum<'a> {
        Datum::Text(Cow::Owned(text.into()))
    }
}
