//! Dates, times and intervals.

mod arithmetic;
mod at_zone;
mod casts;
mod fields;
mod from_char;
mod make;
mod pattern;
mod spans;
mod to_char;
mod truncate;

#[cfg(test)]
mod tests;

use super::Function;
use super::Slot::{Bool, Date, Float8, Int4, Interval, Numeric, Text, Time, TimeTz, Timestamp, TimestampTz};
use crate::expr::datum::Datum;
use crate::expr::error::{EvalError, SqlState};
use crate::expr::text::times::words::{self, Word};
use crate::expr::types::SqlType;

pub(super) use casts::CASTS;

type Out<'a> = Result<Datum<'a>, EvalError>;

fn unexpected() -> EvalError {
    EvalError::new(SqlState::NOT_SUPPORTED, "an argument of an unexpected type")
}

fn wrong<'a>() -> Out<'a> {
    Err(unexpected())
}

fn out_of(what: &'static str) -> EvalError {
    EvalError::new(SqlState::DATETIME_OVERFLOW, what)
}

/// A field that there is, but not of this type.
fn unsupported_unit(name: &str, ty: &SqlType) -> EvalError {
    EvalError::quoting(
        SqlState::NOT_SUPPORTED,
        "unit not supported for this type",
        format!("unit \"{}\" not supported for type {ty}", name.to_ascii_lowercase()),
    )
}

/// A word that is no field of `extract`. Special dates are of the kind that could be one.
fn refuse_unit(name: &str, lower: &str, ty: &SqlType) -> EvalError {
    let is_special = matches!(
        words::word(lower),
        Some(Word::Infinity | Word::NegativeInfinity | Word::Epoch | Word::AllBalls | Word::Now)
    );
    if is_special && !matches!(ty, SqlType::Time | SqlType::TimeTz | SqlType::Interval) {
        return unsupported_unit(name, ty);
    }
    unknown_unit(name, ty)
}

/// A word that is no field.
fn unknown_unit(name: &str, ty: &SqlType) -> EvalError {
    EvalError::quoting(
        SqlState::INVALID_PARAMETER,
        "unit not recognized for this type",
        format!("unit \"{}\" not recognized for type {ty}", name.to_ascii_lowercase()),
    )
}

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("+", &[Date, Int4], Date, arithmetic::date_plus_days, "So many days later."),
    Function::new("+", &[Int4, Date], Date, arithmetic::date_plus_days, "So many days later."),
    Function::new("-", &[Date, Int4], Date, arithmetic::date_minus_days, "So many days earlier."),
    Function::new("-", &[Date, Date], Int4, arithmetic::date_minus_date, "Days between two dates."),
    Function::new("+", &[Date, Time], Timestamp, arithmetic::date_plus_time, "A date at a time."),
    Function::new("+", &[Time, Date], Timestamp, arithmetic::date_plus_time, "A date at a time."),
    Function::new("+", &[Date, TimeTz], TimestampTz, arithmetic::date_plus_timetz, "A date at a time."),
    Function::new("+", &[TimeTz, Date], TimestampTz, arithmetic::date_plus_timetz, "A date at a time."),
    Function::new("+", &[Date, Interval], Timestamp, arithmetic::plus_interval, "Later by an interval."),
    Function::new("+", &[Interval, Date], Timestamp, arithmetic::plus_interval, "Later by an interval."),
    Function::new("-", &[Date, Interval], Timestamp, arithmetic::minus_interval, "Earlier by an interval."),
    Function::new("+", &[Timestamp, Interval], Timestamp, arithmetic::plus_interval, "Later by an interval."),
    Function::new("+", &[Interval, Timestamp], Timestamp, arithmetic::plus_interval, "Later by an interval."),
    Function::new(
        "-",
        &[Timestamp, Interval],
        Timestamp,
        arithmetic::minus_interval,
        "Earlier by an interval.",
    ),
    Function::new(
        "+",
        &[TimestampTz, Interval],
        TimestampTz,
        arithmetic::plus_interval,
        "Later by an interval.",
    ),
    Function::new(
        "+",
        &[Interval, TimestampTz],
        TimestampTz,
        arithmetic::plus_interval,
        "Later by an interval.",
    ),
    Function::new(
        "-",
        &[TimestampTz, Interval],
        TimestampTz,
        arithmetic::minus_interval,
        "Earlier by an interval.",
    ),
    Function::new("+", &[Time, Interval], Time, arithmetic::plus_interval, "Later by an interval."),
    Function::new("+", &[Interval, Time], Time, arithmetic::plus_interval, "Later by an interval."),
    Function::new("-", &[Time, Interval], Time, arithmetic::time_minus_interval, "Earlier by an interval."),
    Function::new("+", &[TimeTz, Interval], TimeTz, arithmetic::plus_interval, "Later by an interval."),
    Function::new("+", &[Interval, TimeTz], TimeTz, arithmetic::plus_interval, "Later by an interval."),
    Function::new(
        "-",
        &[TimeTz, Interval],
        TimeTz,
        arithmetic::time_minus_interval,
        "Earlier by an interval.",
    ),
    Function::new(
        "-",
        &[Timestamp, Timestamp],
        Interval,
        arithmetic::minus_timestamp,
        "Days and time between two timestamps; infinite ones are refused.",
    ),
    Function::new(
        "-",
        &[TimestampTz, TimestampTz],
        Interval,
        arithmetic::minus_timestamp,
        "Days and time between two timestamps; infinite ones are refused.",
    ),
    Function::new("-", &[Time, Time], Interval, arithmetic::minus_time, "Time between two times."),
    Function::new("+", &[Interval, Interval], Interval, spans::plus, "The sum, field by field."),
    Function::new("-", &[Interval, Interval], Interval, spans::minus, "The difference, field by field."),
    Function::new("-", &[Interval], Interval, spans::negative, "The interval in the other direction."),
    Function::new("*", &[Interval, Float8], Interval, spans::times, "So many times the interval."),
    Function::new("*", &[Float8, Interval], Interval, spans::times, "So many times the interval."),
    Function::new("/", &[Interval, Float8], Interval, spans::divided, "A part of the interval."),
    Function::new(
        "age",
        &[Timestamp, Timestamp],
        Interval,
        arithmetic::age,
        "Years, months, days and time between two timestamps; infinite ones are refused.",
    ),
    Function::new(
        "age",
        &[TimestampTz, TimestampTz],
        Interval,
        arithmetic::age,
        "Years, months, days and time between two timestamps; infinite ones are refused.",
    ),
    Function::new("justify_days", &[Interval], Interval, spans::justify_days, "Every 30 days as a month."),
    Function::new("justify_hours", &[Interval], Interval, spans::justify_hours, "Every 24 hours as a day."),
    Function::new(
        "justify_interval",
        &[Interval],
        Interval,
        spans::justify_interval,
        "Every 24 hours as a day and every 30 days as a month, with the same sign everywhere.",
    ),
    Function::new(
        "date_bin",
        &[Interval, Timestamp, Timestamp],
        Timestamp,
        arithmetic::date_bin,
        "The start of the bin of this width that holds the second argument, counted from the third.",
    ),
    Function::new(
        "date_bin",
        &[Interval, TimestampTz, TimestampTz],
        TimestampTz,
        arithmetic::date_bin,
        "The start of the bin of this width that holds the second argument, counted from the third.",
    ),
    Function::new("date_trunc", &[Text, Timestamp], Timestamp, truncate::date_trunc, "Cut off at a unit."),
    Function::new(
        "date_trunc",
        &[Text, TimestampTz],
        TimestampTz,
        truncate::date_trunc,
        "Cut off at a unit.",
    ),
    Function::new("date_trunc", &[Text, Interval], Interval, truncate::date_trunc, "Cut off at a unit."),
    Function::new(
        "date_trunc",
        &[Text, TimestampTz, Text],
        TimestampTz,
        truncate::date_trunc,
        "Cut off at a unit as clocks of a zone show it.",
    ),
    Function::new("extract", &[Text, Date], Numeric, fields::extract, "One field, as a numeric."),
    Function::new("extract", &[Text, Time], Numeric, fields::extract, "One field, as a numeric."),
    Function::new("extract", &[Text, TimeTz], Numeric, fields::extract, "One field, as a numeric."),
    Function::new("extract", &[Text, Timestamp], Numeric, fields::extract, "One field, as a numeric."),
    Function::new("extract", &[Text, TimestampTz], Numeric, fields::extract, "One field, as a numeric."),
    Function::new("extract", &[Text, Interval], Numeric, fields::extract, "One field, as a numeric."),
    Function::new("date_part", &[Text, Date], Float8, fields::date_part, "One field, as a double."),
    Function::new("date_part", &[Text, Time], Float8, fields::date_part, "One field, as a double."),
    Function::new("date_part", &[Text, TimeTz], Float8, fields::date_part, "One field, as a double."),
    Function::new("date_part", &[Text, Timestamp], Float8, fields::date_part, "One field, as a double."),
    Function::new("date_part", &[Text, TimestampTz], Float8, fields::date_part, "One field, as a double."),
    Function::new("date_part", &[Text, Interval], Float8, fields::date_part, "One field, as a double."),
    Function::new("isfinite", &[Date], Bool, truncate::is_finite, "Whether it is not infinite."),
    Function::new("isfinite", &[Timestamp], Bool, truncate::is_finite, "Whether it is not infinite."),
    Function::new("isfinite", &[TimestampTz], Bool, truncate::is_finite, "Whether it is not infinite."),
    Function::new("isfinite", &[Interval], Bool, truncate::is_finite, "Whether it is not infinite."),
    Function::new(
        "make_date",
        &[Int4, Int4, Int4],
        Date,
        make::make_date,
        "A date from year, month and day; negative years are before Christ.",
    ),
    Function::new(
        "make_time",
        &[Int4, Int4, Float8],
        Time,
        make::make_time,
        "A time from hour, minute and second.",
    ),
    Function::new(
        "make_timestamp",
        &[Int4, Int4, Int4, Int4, Int4, Float8],
        Timestamp,
        make::make_timestamp,
        "A timestamp from year, month, day, hour, minute and second.",
    ),
    Function::new(
        "make_timestamptz",
        &[Int4, Int4, Int4, Int4, Int4, Float8],
        TimestampTz,
        make::make_timestamp,
        "The same in UTC.",
    ),
    Function::new(
        "make_timestamptz",
        &[Int4, Int4, Int4, Int4, Int4, Float8, Text],
        TimestampTz,
        make::make_timestamp,
        "The same in a zone.",
    ),
    Function::new(
        "make_interval",
        &[],
        Interval,
        spans::make,
        "An interval from years, months, weeks, days, hours, minutes and seconds.",
    ),
    Function::new(
        "make_interval",
        &[Int4],
        Interval,
        spans::make,
        "An interval from years, months, weeks, days, hours, minutes and seconds.",
    ),
    Function::new(
        "make_interval",
        &[Int4, Int4],
        Interval,
        spans::make,
        "An interval from years, months, weeks, days, hours, minutes and seconds.",
    ),
    Function::new(
        "make_interval",
        &[Int4, Int4, Int4],
        Interval,
        spans::make,
        "An interval from years, months, weeks, days, hours, minutes and seconds.",
    ),
    Function::new(
        "make_interval",
        &[Int4, Int4, Int4, Int4],
        Interval,
        spans::make,
        "An interval from years, months, weeks, days, hours, minutes and seconds.",
    ),
    Function::new(
        "make_interval",
        &[Int4, Int4, Int4, Int4, Int4],
        Interval,
        spans::make,
        "An interval from years, months, weeks, days, hours, minutes and seconds.",
    ),
    Function::new(
        "make_interval",
        &[Int4, Int4, Int4, Int4, Int4, Int4],
        Interval,
        spans::make,
        "An interval from years, months, weeks, days, hours, minutes and seconds.",
    ),
    Function::new(
        "make_interval",
        &[Int4, Int4, Int4, Int4, Int4, Int4, Float8],
        Interval,
        spans::make,
        "An interval from years, months, weeks, days, hours, minutes and seconds.",
    ),
    Function::new(
        "to_timestamp",
        &[Float8],
        TimestampTz,
        make::from_epoch,
        "Seconds since 1970 as a timestamp.",
    ),
    Function::new(
        "timezone",
        &[Text, Timestamp],
        TimestampTz,
        at_zone::by_name,
        "AT TIME ZONE, with the name of a zone.",
    ),
    Function::new(
        "timezone",
        &[Interval, Timestamp],
        TimestampTz,
        at_zone::by_interval,
        "AT TIME ZONE, with an interval east of UTC.",
    ),
    Function::new(
        "timezone",
        &[Text, TimestampTz],
        Timestamp,
        at_zone::by_name,
        "AT TIME ZONE, with the name of a zone.",
    ),
    Function::new(
        "timezone",
        &[Interval, TimestampTz],
        Timestamp,
        at_zone::by_interval,
        "AT TIME ZONE, with an interval east of UTC.",
    ),
    Function::new(
        "timezone",
        &[Text, TimeTz],
        TimeTz,
        at_zone::by_name,
        "AT TIME ZONE, with the name of a zone.",
    ),
    Function::new(
        "timezone",
        &[Interval, TimeTz],
        TimeTz,
        at_zone::by_interval,
        "AT TIME ZONE, with an interval east of UTC.",
    ),
    Function::new(
        "to_char",
        &[Timestamp, Text],
        Text,
        to_char::to_char,
        "Written by a pattern of the words YYYY YYY YY Y Y,YYY IYYY IYY IY I MM MON DD DDD D ID IDDD IW WW W CC J Q \
         HH24 HH12 MI SS MS US FF1 to FF6 SSSS AM BC MONTH DAY DY TZ OF, with FM and TH; others are refused.",
    ),
    Function::new("to_char", &[TimestampTz, Text], Text, to_char::to_char, "The same in UTC."),
    Function::new(
        "to_char",
        &[Interval, Text],
        Text,
        to_char::to_char,
        "Written by a pattern; words that need a date are refused.",
    ),
    Function::new(
        "to_timestamp",
        &[Text, Text],
        TimestampTz,
        from_char::to_timestamp,
        "Read by a pattern of the words of to_char, without TZ and OF.",
    ),
    Function::new("to_date", &[Text, Text], Date, from_char::to_date, "Read by a pattern, as to_timestamp."),
];
