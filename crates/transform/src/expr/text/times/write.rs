//! Dates, times and intervals written as text.

use super::calendar::{DAY, HOUR, INFINITE, MINUTE, SECOND, civil};
use crate::expr::value::Interval;

/// Digits with zeros in front, up to a width.
pub(crate) fn push_padded(out: &mut String, value: i64, width: usize) {
    let mut digits = [b'0'; 20];
    let (mut rest, mut count) = (value.unsigned_abs(), 0);
    while rest > 0 || count < width {
        count += 1;
        digits[20 - count] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    // Digits are ASCII, so nothing is ever left out.
    out.push_str(std::str::from_utf8(&digits[20 - count..]).unwrap_or_default());
}

/// Hours, minutes, seconds, and as many digits behind the point as there are.
pub(crate) fn push_time(out: &mut String, hour: i64, rest: i64) {
    push_padded(out, hour, 2);
    out.push(':');
    push_padded(out, rest / MINUTE, 2);
    out.push(':');
    push_padded(out, rest / SECOND % 60, 2);
    push_fraction(out, rest % SECOND);
}

fn push_fraction(out: &mut String, micros: i64) {
    if micros != 0 {
        out.push('.');
        push_padded(out, micros, 6);
        out.truncate(out.trim_end_matches('0').len());
    }
}

fn push_date(out: &mut String, days: i64) -> bool {
    let (year, month, day) = civil(days);
    push_padded(out, if year > 0 { year } else { 1 - year }, 4);
    out.push('-');
    push_padded(out, month, 2);
    out.push('-');
    push_padded(out, day, 2);
    year <= 0
}

/// A zone that lies so many seconds west.
fn push_zone(out: &mut String, west: i64) {
    out.push(if west <= 0 { '+' } else { '-' });
    let seconds = west.abs();
    push_padded(out, seconds / 3600, 2);
    if seconds % 3600 != 0 {
        out.push(':');
        push_padded(out, seconds / 60 % 60, 2);
    }
    if seconds % 60 != 0 {
        out.push(':');
        push_padded(out, seconds % 60, 2);
    }
}

pub(super) fn date(days: i32) -> String {
    match days {
        i32::MAX => return "infinity".to_owned(),
        i32::MIN => return "-infinity".to_owned(),
        _ => {}
    }
    let mut out = String::with_capacity(13);
    if push_date(&mut out, i64::from(days)) {
        out.push_str(" BC");
    }
    out
}

pub(super) fn time(micros: i64) -> String {
    let mut out = String::with_capacity(15);
    push_time(&mut out, micros / HOUR, micros % HOUR);
    out
}

pub(super) fn timetz(micros: i64, west: i32) -> String {
    let mut out = time(micros);
    push_zone(&mut out, i64::from(west));
    out
}

pub(super) fn timestamp(micros: i64, is_zoned: bool) -> String {
    if INFINITE.contains(&micros) {
        return if micros > 0 { "infinity" } else { "-infinity" }.to_owned();
    }
    let mut out = String::with_capacity(32);
    let is_before = push_date(&mut out, micros.div_euclid(DAY));
    out.push(' ');
    let of_day = micros.rem_euclid(DAY);
    push_time(&mut out, of_day / HOUR, of_day % HOUR);
    if is_zoned {
        out.push_str("+00");
    }
    if is_before {
        out.push_str(" BC");
    }
    out
}

/// In the style `postgres`: a field behind one that is negative shows its plus.
pub(crate) fn interval(span: &Interval) -> String {
    let mut out = String::new();
    let mut is_before = false;
    let units =
        [(span.months / 12, "year", "years"), (span.months % 12, "mon", "mons"), (span.days, "day", "days")];
    for (value, one, many) in units {
        if value != 0 {
            let space = if out.is_empty() { "" } else { " " };
            let plus = if is_before && value > 0 { "+" } else { "" };
            out.push_str(&format!("{space}{plus}{value} {}", if value == 1 { one } else { many }));
            is_before = value < 0;
        }
    }
    if out.is_empty() || span.micros != 0 {
        if !out.is_empty() {
            out.push(' ');
        }
        if span.micros < 0 {
            out.push('-');
        } else if is_before {
            out.push('+');
        }
        let micros = i128::from(span.micros).unsigned_abs();
        push_time(&mut out, (micros / HOUR as u128) as i64, (micros % HOUR as u128) as i64);
    }
    out
}
