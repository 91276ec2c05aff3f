//! Values of JSON as Postgres writes them, told by the column's type on blue and by what the record's schema says.

mod binary;
mod moment;
mod nested;
mod number;

use std::borrow::Cow;

use understudy_contract::Class;

use super::fault::Unfit;
use super::shape::Field;

/// What Debezium writes for a value that blue did not send.
const UNAVAILABLE: &str = "__debezium_unavailable_value";

/// How values of a column are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// `boolean`.
    Bool,
    /// Whole numbers.
    Int,
    /// `real` and `double precision`.
    Float {
        /// The first of them.
        is_single: bool,
    },
    /// `numeric`.
    Numeric,
    /// `money`, which may come as a decimal.
    Money,
    /// Whatever comes as the text that Postgres writes.
    Text,
    /// `bytea`.
    Bytea,
    /// `date`.
    Date,
    /// `time without time zone`, with so many digits behind the second.
    Time {
        /// How many.
        digits: u8,
    },
    /// `timestamp without time zone`, with so many digits behind the second.
    Timestamp {
        /// How many.
        digits: u8,
    },
    /// `timestamp with time zone`.
    TimestampTz,
    /// `time with time zone`, of which Debezium drops the zone.
    TimeTz,
    /// `interval`.
    Interval,
    /// `bit` and `bit varying`.
    Bits {
        /// The length that the type fixes; `None` where it varies.
        length: Option<u32>,
    },
    /// `hstore`.
    Hstore,
    /// `point`.
    Point,
    /// Vectors of numbers.
    Vector,
    /// An array of these.
    Array(Box<Kind>),
    /// A type that the connector knows nothing of, under this name.
    Opaque(String),
}

/// What records without a schema are taken to hold, by the names of the connector's settings. `None`: not said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Declared {
    /// `decimal.handling.mode`.
    pub decimals: Option<DecimalForm>,
    /// `time.precision.mode`.
    pub times: Option<TimeForm>,
    /// `binary.handling.mode`.
    pub binaries: Option<BinaryForm>,
    /// The converter's `replace.null.with.default`, which is true unless it is set.
    pub replaces_null: Option<bool>,
}

/// `decimal.handling.mode`, as far as values stay what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecimalForm {
    /// `string`.
    String,
}

/// `time.precision.mode`, as far as values stay what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeForm {
    /// `adaptive`: milliseconds for columns of up to three digits, else microseconds.
    Adaptive,
    /// `adaptive_time_microseconds`: the same, with times of the day always in microseconds.
    AdaptiveTimeMicroseconds,
    /// `isostring`.
    IsoString,
    /// `microseconds`.
    Microseconds,
    /// `nanoseconds`.
    Nanoseconds,
}

/// `binary.handling.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BinaryForm {
    /// `bytes` and `base64`, which look the same in JSON.
    Base64,
    /// `base64-url-safe`.
    Base64UrlSafe,
    /// `hex`.
    Hex,
}

/// A value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Slot<'a> {
    Null,
    /// Blue did not send it.
    Unsent,
    /// As Postgres reads it.
    Text(Cow<'a, str>),
}

impl<'a> Slot<'a> {
    fn owned(text: String) -> Slot<'a> {
        Slot::Text(Cow::Owned(text))
    }
}

/// Reads one value: its JSON, what the record's schema says of it, and what is declared for records without one.
pub(super) fn read<'a>(
    kind: &Kind,
    field: Option<&Field>,
    json: &'a str,
    declared: &Declared,
) -> Result<Slot<'a>, Unfit> {
    if json == "null" {
        return Ok(Slot::Null);
    }
    if let Kind::Array(element) = kind {
        return nested::array(element, field, json, declared);
    }
    let text = string(json)?;
    if text.as_deref().is_some_and(is_unavailable) {
        return Ok(Slot::Unsent);
    }
    match kind {
        Kind::Bool => boolean(json).map(Slot::Text),
        Kind::Int => number::integer(json).map(Slot::Text),
        Kind::Float { is_single } => number::float(json, text, *is_single).map(Slot::owned),
        Kind::Numeric => number::decimal(json, text, field, declared).map(Slot::Text),
        Kind::Money => money(json, text, field),
        Kind::Text => plain(json, text).map(Slot::Text),
        Kind::Bytea => binary::bytea(text, field, declared).map(Slot::owned),
        Kind::Date => moment::date(json, text, field).map(Slot::owned),
        Kind::Time { digits } => moment::time((json, text), field, *digits, declared).map(Slot::owned),
        Kind::Timestamp { digits } => {
            moment::timestamp((json, text), field, *digits, declared).map(Slot::owned)
        }
        Kind::TimestampTz => moment::timestamptz(text).map(Slot::owned),
        Kind::TimeTz => Err(time_zone_lost()),
        Kind::Interval => interval(text, field),
        Kind::Bits { length } => binary::bits(json, text, (field, *length)).map(Slot::owned),
        Kind::Hstore => nested::hstore(json, text),
        Kind::Point => nested::point(json).map(Slot::owned),
        Kind::Vector => nested::vector(json, text).map(Slot::Text),
        Kind::Opaque(name) => binary::opaque(name, text, field).map(Slot::owned),
        Kind::Array(_) => Err(Unfit::malformed("an array in an array")),
    }
}

/// Reads one value of a snapshot. There Debezium takes dates through a calendar that was another one before 1582, and days that
/// never are through numbers too small for them: such values are not trusted, and read again from blue.
pub(super) fn read_snapshot<'a>(
    kind: &Kind,
    field: Option<&Field>,
    json: &'a str,
    declared: &Declared,
) -> Result<Slot<'a>, Unfit> {
    let slot = read(kind, field, json, declared);
    let (is_date, is_array) = match kind {
        Kind::Array(element) => (is_date(element), true),
        kind => (is_date(kind), false),
    };
    match &slot {
        Err(Unfit { class: Class::Data, .. }) if is_date => Ok(Slot::Unsent),
        Ok(Slot::Text(text)) if is_date => {
            let strange = |text: &str| moment::is_ancient(text.trim_matches(['{', '}', '"']));
            let is_strange = if is_array { text.split(',').any(strange) } else { strange(text) };
            if is_strange { Ok(Slot::Unsent) } else { slot }
        }
        _ => slot,
    }
}

fn is_date(kind: &Kind) -> bool {
    matches!(kind, Kind::Date | Kind::Timestamp { .. } | Kind::TimestampTz)
}

/// What of a type cannot be got back however the connector is set.
pub(super) fn never_exact(kind: &Kind) -> Option<Unfit> {
    match kind {
        Kind::TimeTz => Some(time_zone_lost()),
        Kind::Array(element) => never_exact(element),
        _ => None,
    }
}

fn time_zone_lost() -> Unfit {
    Unfit::settings(
        "is a time with a time zone, of which Debezium writes the moment in UTC and not the zone",
        "leave the column out with `columns`, or move the table without Debezium: no setting of the connector keeps the zone",
    )
}

/// The text of a JSON string. `None`: it is something else.
fn string(json: &str) -> Result<Option<Cow<'_, str>>, Unfit> {
    let Some(inner) = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { return Ok(None) };
    if !inner.contains('\\') {
        return Ok(Some(Cow::Borrowed(inner)));
    }
    let text = serde_json::from_str::<String>(json).map_err(|_| Unfit::malformed("a string"))?;
    Ok(Some(Cow::Owned(text)))
}

/// The marker itself, or the same as bytes.
fn is_unavailable(text: &str) -> bool {
    text == UNAVAILABLE || text == "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="
}

fn boolean(json: &str) -> Result<Cow<'_, str>, Unfit> {
    match json {
        "true" => Ok(Cow::Borrowed("t")),
        "false" => Ok(Cow::Borrowed("f")),
        _ => Err(Unfit::malformed("a boolean")),
    }
}

/// A text as it is; a whole number where blue's column was one when the record was written.
fn plain<'a>(json: &'a str, text: Option<Cow<'a, str>>) -> Result<Cow<'a, str>, Unfit> {
    match text {
        Some(text) => Ok(text),
        None => number::integer(json).map_err(|_| Unfit::malformed("a text")),
    }
}

fn money<'a>(json: &'a str, text: Option<Cow<'a, str>>, field: Option<&Field>) -> Result<Slot<'a>, Unfit> {
    let amount = match text {
        Some(text) if field.is_none_or(|field| field.name.is_none()) => text,
        text => number::decimal(json, text, field, &Declared::default())?,
    };
    Ok(Slot::Text(amount))
}

fn interval<'a>(text: Option<Cow<'a, str>>, field: Option<&Field>) -> Result<Slot<'a>, Unfit> {
    let is_text = field.is_none_or(|field| field.name.as_deref() == Some("io.debezium.time.Interval"));
    match text {
        Some(text) if is_text && text.contains('P') => Ok(Slot::Text(text)),
        _ => Err(Unfit::settings(
            "is an interval in microseconds, which does not tell months from days",
            "set interval.handling.mode=string in the connector",
        )),
    }
}

#[cfg(test)]
mod tests;
