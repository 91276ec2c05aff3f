//! Other time zones: AT TIME ZONE, and what else names a zone.

use super::{Out, wrong};
use crate::expr::datum::Datum;
use crate::expr::error::{EvalError, SqlState};
use crate::expr::functions::Call;
use crate::expr::text::times::calendar::{self, DAY, INFINITE, Moment, SECOND};
use crate::expr::text::times::write;
use crate::expr::text::times::zones::{self, Abbreviation, Missing};
use crate::expr::text::times::{shown, timestamp_out_of_range, unknown_zone};
use crate::expr::types::SqlType;

/// A zone that an argument names.
pub(super) enum Zone {
    /// Always so many seconds west.
    West(i64),
    /// By the rules of the database.
    Named(zones::Rules),
}

/// The zone of a name: abbreviations come first.
pub(super) fn named(name: &str) -> Result<Zone, EvalError> {
    match zones::abbreviation(&name.to_ascii_lowercase()) {
        Some(Abbreviation::East(east, _)) => return Ok(Zone::West(-i64::from(east))),
        Some(Abbreviation::Dynamic) => {
            let what = "a time zone abbreviation whose meaning changed over time is not supported";
            return Err(EvalError::new(SqlState::NOT_SUPPORTED, what));
        }
        None => {}
    }
    match zones::by_name(name) {
        Ok(zone) => Ok(Zone::Named(zone)),
        Err(Missing::Unknown) => Err(unknown_zone(name)),
        Err(Missing::Unsupported) => {
            let what = "a zone that is not one of the IANA database is not supported";
            Err(EvalError::new(SqlState::NOT_SUPPORTED, what))
        }
    }
}

fn beyond_data() -> EvalError {
    EvalError::new(SqlState::NOT_SUPPORTED, "this zone at this time is not supported")
}

impl Zone {
    /// The seconds that it lies west when its clocks show this.
    pub(super) fn west_of_local(&self, moment: &Moment) -> Result<i64, EvalError> {
        match self {
            Zone::West(west) => Ok(*west),
            Zone::Named(zone) => zones::local_west(zone, moment).ok_or_else(beyond_data),
        }
    }

    /// The seconds that it lies west at an instant.
    pub(super) fn west_at(&self, micros: i64) -> Result<i64, EvalError> {
        match self {
            Zone::West(west) => Ok(*west),
            Zone::Named(zone) => zones::east(zone, micros).map(|east| -east).ok_or_else(beyond_data),
        }
    }

    /// What its clocks show at an instant.
    pub(super) fn local(&self, micros: i64) -> Result<(Moment, i64), EvalError> {
        let west = self.west_at(micros)?;
        Ok((shown(micros, west), west))
    }
}

fn in_range(micros: Option<i64>) -> Result<Datum<'static>, EvalError> {
    let fits = micros.filter(|micros| calendar::timestamp_in_range(*micros));
    fits.map(Datum::Timestamp).ok_or_else(timestamp_out_of_range)
}

/// `timezone(text, ...)`
pub(super) fn by_name<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    match args {
        [_, Datum::Timestamp(micros)] if INFINITE.contains(micros) => Ok(Datum::Timestamp(*micros)),
        [Datum::Text(name), Datum::Timestamp(micros)] => {
            let zone = named(name)?;
            if *call.result.base() == SqlType::TimestampTz {
                let west = zone.west_of_local(&Moment::of(*micros))?;
                in_range(micros.checked_add(west * SECOND))
            } else {
                in_range(micros.checked_sub(zone.west_at(*micros)? * SECOND))
            }
        }
        [Datum::Text(name), Datum::TimeTz(time, west)] => {
            let to = match named(name)? {
                Zone::West(west) => west,
                Zone::Named(zone) => {
                    zones::constant_east(&zone).map(|east| -i64::from(east)).ok_or_else(|| {
                        let what = "a time without a date in a zone whose offset changed is not supported";
                        EvalError::new(SqlState::NOT_SUPPORTED, what)
                    })?
                }
            };
            Ok(turned(*time, *west, to))
        }
        _ => wrong(),
    }
}

fn turned(time: i64, from_west: i32, to_west: i64) -> Datum<'static> {
    let time = time + (i64::from(from_west) - to_west) * SECOND;
    let time = if (0..DAY).contains(&time) { time } else { time.rem_euclid(DAY) };
    Datum::TimeTz(time, to_west as i32)
}

/// `timezone(interval, ...)`
pub(super) fn by_interval<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    let [Datum::Interval(span), value] = args else { return wrong() };
    if matches!(value, Datum::Timestamp(micros) if INFINITE.contains(micros)) {
        return Ok(value.clone());
    }
    if span.months != 0 || span.days != 0 {
        let shown = write::interval(span);
        return Err(EvalError::quoting(
            SqlState::INVALID_PARAMETER,
            "interval time zone must not include months or days",
            format!("interval time zone \"{shown}\" must not include months or days"),
        ));
    }
    let Ok(east) = i32::try_from(span.micros / SECOND) else {
        return Err(EvalError::new(SqlState::NOT_SUPPORTED, "a time zone of so many years is not supported"));
    };
    let east = i64::from(east);
    match value {
        Datum::Timestamp(micros) if *call.result.base() == SqlType::TimestampTz => {
            in_range(micros.checked_sub(east * SECOND))
        }
        Datum::Timestamp(micros) => in_range(micros.checked_add(east * SECOND)),
        Datum::TimeTz(time, west) => Ok(turned(*time, *west, -east)),
        _ => wrong(),
    }
}
