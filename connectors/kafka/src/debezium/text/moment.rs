//! Dates, times of the day and moments, from numbers since 1970 or ISO texts to what Postgres writes.

use std::borrow::Cow;

use understudy_model::CivilDate;

use super::super::fault::Unfit;
use super::super::shape::Field;
use super::{Declared, TimeForm};

const SECOND_US: i128 = 1_000_000;
const DAY_US: i128 = 86_400 * SECOND_US;

/// What Debezium makes of `infinity`, in microseconds since 1970.
const INFINITY_US: i128 = 9_223_372_036_825_200_000;
/// What it makes of `-infinity`.
const MINUS_INFINITY_US: i128 = -9_223_372_036_832_400_000;

/// What it makes of them as days, of which the later ones begin again at the least.
const INFINITY_DAYS: i128 = -2_147_472_692;
const MINUS_INFINITY_DAYS: i128 = -2_147_472_691;

/// The first year that both calendars count alike.
const SURE_YEAR: u32 = 1583;

/// The first and the last day that Postgres has, since 1970.
const DAYS: std::ops::RangeInclusive<i128> = -2_440_588..=2_145_042_905;

/// A unit of time in a record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Milli,
    Micro,
    Nano,
}

impl Unit {
    fn in_us(self, count: i128) -> Option<i128> {
        match self {
            Unit::Milli => Some(count * 1_000),
            Unit::Micro => Some(count),
            Unit::Nano => (count % 1_000 == 0).then_some(count / 1_000),
        }
    }
}

fn wrong(what: &str) -> Unfit {
    Unfit::malformed(what)
}

fn count(json: &str, what: &str) -> Result<i128, Unfit> {
    json.parse::<i64>().map(i128::from).map_err(|_| wrong(what))
}

/// A `date`.
pub(super) fn date(json: &str, text: Option<Cow<'_, str>>, field: Option<&Field>) -> Result<String, Unfit> {
    if let Some(text) = text {
        match &*text {
            "-5877611-06-21Z" => return Ok("infinity".to_owned()),
            "-5877611-06-22Z" => return Ok("-infinity".to_owned()),
            _ => {}
        }
        let (day, era) = iso_date(text.trim_end_matches('Z')).ok_or_else(|| wrong("a date"))?;
        return Ok(format!("{day}{era}"));
    }
    let name = field.and_then(|field| field.name.as_deref());
    if !matches!(name, None | Some("io.debezium.time.Date" | "org.apache.kafka.connect.data.Date")) {
        return Err(wrong("a date"));
    }
    let days = count(json, "a date")?;
    match days {
        INFINITY_DAYS => return Ok("infinity".to_owned()),
        MINUS_INFINITY_DAYS => return Ok("-infinity".to_owned()),
        _ => {}
    }
    let (day, era) = civil(days).ok_or_else(|| wrong("a date"))?;
    Ok(format!("{day}{era}"))
}

/// A `time without time zone`.
pub(super) fn time(
    (json, text): (&str, Option<Cow<'_, str>>),
    field: Option<&Field>,
    digits: u8,
    declared: &Declared,
) -> Result<String, Unfit> {
    if let Some(text) = text {
        return iso_time(text.trim_end_matches('Z')).ok_or_else(|| wrong("a time of the day"));
    }
    let unit = match field.map(|field| field.name.as_deref()) {
        Some(Some("io.debezium.time.Time")) => Unit::Milli,
        Some(Some("org.apache.kafka.connect.data.Time")) if digits <= 3 => Unit::Milli,
        Some(Some("org.apache.kafka.connect.data.Time")) => return Err(cut_short()),
        Some(Some("io.debezium.time.MicroTime")) => Unit::Micro,
        Some(Some("io.debezium.time.NanoTime")) => Unit::Nano,
        Some(_) => return Err(wrong("a time of the day")),
        None => match declared.times.ok_or_else(undeclared)? {
            TimeForm::Adaptive if digits <= 3 => Unit::Milli,
            TimeForm::Adaptive | TimeForm::AdaptiveTimeMicroseconds | TimeForm::Microseconds => Unit::Micro,
            TimeForm::Nanoseconds => Unit::Nano,
            TimeForm::IsoString => return Err(wrong("a time of the day")),
        },
    };
    let us = unit.in_us(count(json, "a time of the day")?);
    let us = us.filter(|us| (0..=DAY_US).contains(us)).ok_or_else(|| wrong("a time of the day"))?;
    Ok(clock(us))
}

/// A `timestamp without time zone`.
pub(super) fn timestamp(
    (json, text): (&str, Option<Cow<'_, str>>),
    field: Option<&Field>,
    digits: u8,
    declared: &Declared,
) -> Result<String, Unfit> {
    if let Some(text) = text {
        if let Some(infinite) = infinite(&text) {
            return Ok(infinite.to_owned());
        }
        return iso_moment(text.trim_end_matches('Z'), "").ok_or_else(|| wrong("a timestamp"));
    }
    let unit = match field.map(|field| field.name.as_deref()) {
        Some(Some("io.debezium.time.Timestamp")) => Unit::Milli,
        Some(Some("org.apache.kafka.connect.data.Timestamp")) if digits <= 3 => Unit::Milli,
        Some(Some("org.apache.kafka.connect.data.Timestamp")) => return Err(cut_short()),
        Some(Some("io.debezium.time.MicroTimestamp")) => Unit::Micro,
        Some(Some("io.debezium.time.NanoTimestamp")) => Unit::Nano,
        Some(_) => return Err(wrong("a timestamp")),
        None => match declared.times.ok_or_else(undeclared)? {
            TimeForm::Adaptive | TimeForm::AdaptiveTimeMicroseconds if digits <= 3 => Unit::Milli,
            TimeForm::Adaptive | TimeForm::AdaptiveTimeMicroseconds | TimeForm::Microseconds => Unit::Micro,
            TimeForm::Nanoseconds => Unit::Nano,
            TimeForm::IsoString => return Err(wrong("a timestamp")),
        },
    };
    let us = unit.in_us(count(json, "a timestamp")?).ok_or_else(|| wrong("a timestamp"))?;
    moment(us).ok_or_else(|| wrong("a timestamp"))
}

/// A `timestamp with time zone`.
pub(super) fn timestamptz(text: Option<Cow<'_, str>>) -> Result<String, Unfit> {
    let wrong = || wrong("a timestamp with a time zone");
    let text = text.ok_or_else(wrong)?;
    if let Some(infinite) = infinite(&text) {
        return Ok(infinite.to_owned());
    }
    if let Some(utc) = text.strip_suffix('Z') {
        return iso_moment(utc, "+00").ok_or_else(wrong);
    }
    let clock_from = text.find('T').ok_or_else(wrong)?;
    let zone = text[clock_from..].rfind(['+', '-']).map(|at| at + clock_from).ok_or_else(wrong)?;
    let offset = &text[zone..];
    let is_offset =
        offset[1..].bytes().all(|byte| byte.is_ascii_digit() || byte == b':') && offset.len() >= 3;
    let moment = iso_moment(&text[..zone], offset).filter(|_| is_offset);
    moment.ok_or_else(wrong)
}

/// What Debezium writes for moments that never are.
fn infinite(text: &str) -> Option<&'static str> {
    let bare = text.strip_suffix('Z').unwrap_or(text);
    let bare = if bare.contains('.') { bare.trim_end_matches('0') } else { bare };
    match bare {
        "infinity" | "+294247-01-10T04:00:25.2" => Some("infinity"),
        "-infinity" | "-290308-12-21T19:59:27.6" => Some("-infinity"),
        _ => None,
    }
}

fn undeclared() -> Unfit {
    Unfit::settings(
        "is a time in a record without a schema, which does not tell its unit",
        "say `debezium: { time_precision_mode: ... }` under `through.kafka` as time.precision.mode is (which needs no new \
         beginning); or set value.converter.schemas.enable=true",
    )
}

fn cut_short() -> Unfit {
    Unfit::settings(
        "is cut to milliseconds by the connector",
        "set time.precision.mode=adaptive in the connector (the other one, connect, drops digits)",
    )
}

/// A moment since 1970, in microseconds.
fn moment(us: i128) -> Option<String> {
    match us {
        INFINITY_US => return Some("infinity".to_owned()),
        MINUS_INFINITY_US => return Some("-infinity".to_owned()),
        _ => {}
    }
    let (day, era) = civil(us.div_euclid(DAY_US))?;
    Some(format!("{day} {}{era}", clock(us.rem_euclid(DAY_US))))
}

/// A time since midnight, in microseconds.
fn clock(us: i128) -> String {
    let seconds = us / SECOND_US;
    let whole = format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    match us % SECOND_US {
        0 => whole,
        us => format!("{whole}.{}", format!("{us:06}").trim_end_matches('0')),
    }
}

/// A day since 1970, and the era that goes to the end.
fn civil(days: i128) -> Option<(String, &'static str)> {
    if !DAYS.contains(&days) {
        return None;
    }
    let CivilDate { year, month, day } = CivilDate::from_unix_days(i64::try_from(days).ok()?);
    Some(named(year.into(), &format!("{month:02}-{day:02}")))
}

/// A year as Postgres writes it, with the rest of the date: there is no year zero.
fn named(year: i128, rest: &str) -> (String, &'static str) {
    if year > 0 { (format!("{year:04}-{rest}"), "") } else { (format!("{:04}-{rest}", 1 - year), " BC") }
}

/// `2020-01-31`, `+12020-01-31`, `-0043-03-15`.
fn iso_date(text: &str) -> Option<(String, &'static str)> {
    let (sign, bare) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let (year, rest) = bare.split_once('-')?;
    let year = year.parse::<u32>().ok()?;
    let is_day = matches!(rest.as_bytes(), [a, b, b'-', c, d] if [a, b, c, d].iter().all(|byte| byte.is_ascii_digit()));
    is_day.then(|| named(sign * i128::from(year), rest))
}

/// `10:15`, `10:15:30`, `10:15:30.250`.
fn iso_time(text: &str) -> Option<String> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = whole.split(':');
    let mut part = || parts.next().filter(|part| part.len() == 2)?.parse::<u32>().ok();
    let (hour, minute, second) = (part()?, part()?, part().unwrap_or(0));
    let fraction = fraction.trim_end_matches('0');
    let is_fine = fraction.len() <= 6 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    if hour > 24 || minute > 59 || second > 60 || !is_fine {
        return None;
    }
    let point = if fraction.is_empty() { "" } else { "." };
    Some(format!("{hour:02}:{minute:02}:{second:02}{point}{fraction}"))
}

fn iso_moment(text: &str, zone: &str) -> Option<String> {
    let (date, time) = text.split_once('T')?;
    let ((day, era), time) = (iso_date(date)?, iso_time(time)?);
    Some(format!("{day} {time}{zone}{era}"))
}

/// Whether a date as Postgres writes it, or a moment, is from a time before the calendar was changed.
pub(super) fn is_ancient(text: &str) -> bool {
    let year = text.split('-').next().and_then(|year| year.parse::<u32>().ok());
    text.ends_with(" BC") || year.is_some_and(|year| year < SURE_YEAR)
}
