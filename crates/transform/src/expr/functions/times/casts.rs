//! Casts between dates, times and intervals, in a session at UTC.

use super::truncate::time_of_day;
use super::{Out, out_of, wrong};
use crate::expr::datum::Datum;
use crate::expr::functions::Slot::{Date, Interval, Time, TimeTz, Timestamp, TimestampTz};
use crate::expr::functions::{Call, Cast};
use crate::expr::resolve::Context::{Assignment, Implicit};
use crate::expr::text::times::calendar::{self, DAY, INFINITE};
use crate::expr::text::times::midnight;
use crate::expr::value;

pub(in crate::expr::functions) const CASTS: &[Cast] = &[
    Cast::new(Implicit, &[Date], Timestamp, date_to_timestamp),
    Cast::new(Implicit, &[Date], TimestampTz, date_to_timestamp),
    Cast::new(Implicit, &[Time], Interval, time_to_interval),
    Cast::new(Implicit, &[Time], TimeTz, time_to_timetz),
    Cast::new(Implicit, &[Timestamp], TimestampTz, same),
    Cast::new(Assignment, &[Timestamp], Date, timestamp_to_date),
    Cast::new(Assignment, &[Timestamp], Time, timestamp_to_time),
    Cast::new(Assignment, &[TimestampTz], Timestamp, same),
    Cast::new(Assignment, &[TimestampTz], Date, timestamp_to_date),
    Cast::new(Assignment, &[TimestampTz], Time, timestamp_to_time),
    Cast::new(Assignment, &[TimestampTz], TimeTz, timestamp_to_timetz),
    Cast::new(Assignment, &[TimeTz], Time, timetz_to_time),
    Cast::new(Assignment, &[Interval], Time, interval_to_time),
];

fn same<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    args.first().cloned().map_or_else(wrong, Ok)
}

fn date_to_timestamp<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    let [Datum::Date(days)] = args else { return wrong() };
    midnight(*days).map(Datum::Timestamp)
}

fn timestamp_to_date<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    match args {
        [Datum::Timestamp(i64::MAX)] => Ok(Datum::Date(i32::MAX)),
        [Datum::Timestamp(i64::MIN)] => Ok(Datum::Date(i32::MIN)),
        [Datum::Timestamp(micros)] => calendar::date_in_range(micros.div_euclid(DAY))
            .map(Datum::Date)
            .ok_or_else(|| out_of("timestamp out of range")),
        _ => wrong(),
    }
}

fn timestamp_to_time<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    let [Datum::Timestamp(micros)] = args else { return wrong() };
    Ok(time_of_day(*micros).map_or(Datum::Null, Datum::Time))
}

fn timestamp_to_timetz<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    let [Datum::Timestamp(micros)] = args else { return wrong() };
    debug_assert!(INFINITE.contains(micros) || calendar::timestamp_in_range(*micros));
    Ok(time_of_day(*micros).map_or(Datum::Null, |time| Datum::TimeTz(time, 0)))
}

fn time_to_timetz<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    let [Datum::Time(time)] = args else { return wrong() };
    Ok(Datum::TimeTz(*time, 0))
}

fn timetz_to_time<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    let [Datum::TimeTz(time, _)] = args else { return wrong() };
    Ok(Datum::Time(*time))
}

fn time_to_interval<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    let [Datum::Time(micros)] = args else { return wrong() };
    Ok(Datum::Interval(value::Interval { micros: *micros, ..value::Interval::default() }))
}

fn interval_to_time<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    let [Datum::Interval(span)] = args else { return wrong() };
    Ok(Datum::Time(span.micros.rem_euclid(DAY)))
}
