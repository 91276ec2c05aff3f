//! Intervals read from their text: with units behind the numbers, in SQL's short form, or by ISO 8601.

use super::Failure;
use super::calendar::{DAY, HOUR, MINUTE, SECOND};
use super::parts::{Clock, fraction, leading_int, leading_long};
use super::split::{Field, Looks, split};
use super::words::{SpanWord, Unit, Word, span_word, word};
use crate::expr::value::Interval;

/// Room for the fields of a text.
const ROOM: usize = 256;

/// What was read so far. Years are kept apart from months, since each may use its own range.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    years: i32,
    months: i32,
    days: i32,
    micros: i64,
}

/// The interval of a text.
pub(super) fn interval(text: &str) -> Result<Interval, Failure> {
    let verbose = split(text, ROOM, |text| word(text).is_some()).and_then(|fields| Verbose::read(&fields));
    let sum = match verbose {
        Err(Failure::Format) => iso(text),
        other => other,
    };
    let sum = sum.map_err(|failure| match failure {
        Failure::Field => Failure::SpanField,
        other => other,
    })?;
    let months = i64::from(sum.years) * 12 + i64::from(sum.months);
    let months = i32::try_from(months).map_err(|_| Failure::SpanRange)?;
    Ok(Interval { months, days: sum.days, micros: sum.micros })
}

fn to_int(value: i64) -> Result<i32, Failure> {
    i32::try_from(value).map_err(|_| Failure::Field)
}

impl Sum {
    fn add_micros(&mut self, value: i64, part: f64, unit: i64) -> Result<(), Failure> {
        let whole = value.checked_mul(unit).and_then(|micros| self.micros.checked_add(micros));
        self.micros = whole.ok_or(Failure::Field)?;
        self.add_part(part, unit)
    }

    /// A fraction of a unit, in microseconds; half of one is dropped.
    fn add_part(&mut self, part: f64, unit: i64) -> Result<(), Failure> {
        let scaled = part * unit as f64;
        let mut micros = scaled as i64;
        let rest = scaled - micros as f64;
        if rest > 0.5 {
            micros += 1;
        } else if rest < -0.5 {
            micros -= 1;
        }
        self.micros = self.micros.checked_add(micros).ok_or(Failure::Field)?;
        Ok(())
    }

    fn add_days(&mut self, value: i64, unit: i32) -> Result<(), Failure> {
        let days = to_int(value)?.checked_mul(unit).and_then(|days| self.days.checked_add(days));
        self.days = days.ok_or(Failure::Field)?;
        Ok(())
    }

    /// A fraction of a unit that has whole days.
    fn add_day_part(&mut self, part: f64, unit: i32) -> Result<(), Failure> {
        let scaled = part * f64::from(unit);
        let days = scaled as i32;
        self.days = self.days.checked_add(days).ok_or(Failure::Field)?;
        self.add_part(scaled - f64::from(days), DAY)
    }

    fn add_months(&mut self, value: i64) -> Result<(), Failure> {
        self.months = self.months.checked_add(to_int(value)?).ok_or(Failure::Field)?;
        Ok(())
    }

    fn add_years(&mut self, value: i64, part: f64, unit: i32) -> Result<(), Failure> {
        let years = to_int(value)?.checked_mul(unit).and_then(|years| self.years.checked_add(years));
        self.years = years.ok_or(Failure::Field)?;
        let months = (part * f64::from(unit) * 12.0).round_ties_even() as i32;
        self.months = self.months.checked_add(months).ok_or(Failure::Field)?;
        Ok(())
    }

    fn add(&mut self, unit: Unit, value: i64, part: f64) -> Result<(), Failure> {
        match unit {
            Unit::Microseconds => self.add_micros(value, part, 1),
            Unit::Milliseconds => self.add_micros(value, part, 1000),
            Unit::Second => self.add_micros(value, part, SECOND),
            Unit::Minute => self.add_micros(value, part, MINUTE),
            Unit::Hour => self.add_micros(value, part, HOUR),
            Unit::Day => {
                self.add_days(value, 1)?;
                self.add_part(part, DAY)
            }
            Unit::Week => {
                self.add_days(value, 7)?;
                self.add_day_part(part, 7)
            }
            Unit::Month => {
                self.add_months(value)?;
                self.add_day_part(part, 30)
            }
            Unit::Year => self.add_years(value, part, 1),
            Unit::Decade => self.add_years(value, part, 10),
            Unit::Century => self.add_years(value, part, 100),
            Unit::Millennium => self.add_years(value, part, 1000),
            _ => Err(Failure::Format),
        }
    }

    fn negated(self) -> Result<Sum, Failure> {
        let int = |value: i32| value.checked_neg().ok_or(Failure::Field);
        let micros = self.micros.checked_neg().ok_or(Failure::Field)?;
        Ok(Sum { years: int(self.years)?, months: int(self.months)?, days: int(self.days)?, micros })
    }
}

/// Reads from the last field to the first, since units stand behind their numbers.
#[derive(Default)]
struct Verbose {
    sum: Sum,
    found: u32,
    /// The unit of the next number, and whether a word gave it.
    unit: Option<Unit>,
    is_named: bool,
    is_negated: bool,
}

const SECONDS: u32 = 0b111;

fn bits_of(unit: Unit, part: f64) -> u32 {
    match unit {
        Unit::Microseconds => 1,
        Unit::Milliseconds => 2,
        Unit::Second if part == 0.0 => 4,
        Unit::Second => SECONDS,
        other => 8 << (other as u32),
    }
}

impl Verbose {
    fn read(fields: &[Field]) -> Result<Sum, Failure> {
        let mut reader = Verbose::default();
        for (at, field) in fields.iter().enumerate().rev() {
            let bits = match field.looks {
                Looks::Time => reader.clock(&field.text, false)?,
                Looks::Signed => reader.signed(&field.text)?,
                Looks::Date | Looks::Number => reader.number(&field.text)?,
                Looks::Word | Looks::SignedWord => {
                    reader.word(&field.text, at + 1 == fields.len())?;
                    0
                }
            };
            if reader.found & bits != 0 {
                return Err(Failure::Format);
            }
            reader.found |= bits;
        }
        if reader.found == 0 {
            return Err(Failure::Format);
        }
        if reader.is_named {
            return Err(Failure::Unsupported("a unit without a number in front is not supported"));
        }
        if reader.is_negated { reader.sum.negated() } else { Ok(reader.sum) }
    }

    fn clock(&mut self, text: &str, is_negative: bool) -> Result<u32, Failure> {
        let clock = Clock::read(text)?;
        let micros = clock.hour.checked_mul(HOUR).and_then(|micros| {
            micros.checked_add(clock.minute * MINUTE + clock.second * SECOND + clock.micros)
        });
        let micros = micros.ok_or(Failure::Field)?;
        self.sum.micros = if is_negative { -micros } else { micros };
        self.unit = Some(Unit::Day);
        self.is_named = false;
        Ok(SECONDS | bits_of(Unit::Minute, 0.0) | bits_of(Unit::Hour, 0.0))
    }

    /// A clock or a number with its sign.
    fn signed(&mut self, text: &str) -> Result<u32, Failure> {
        if text[1..].contains(':')
            && let Ok(bits) = self.clock(&text[1..], text.starts_with('-'))
        {
            return Ok(bits);
        }
        self.number(text)
    }

    fn number(&mut self, text: &str) -> Result<u32, Failure> {
        let mut unit = self.unit.unwrap_or(Unit::Second);
        let (mut value, rest) = leading_long(text).ok_or(Failure::Field)?;
        let is_negative = text.starts_with('-');
        let mut part = 0.0;
        if let Some(months) = rest.strip_prefix('-') {
            let (months, behind) = leading_int(months).ok_or(Failure::Field)?;
            if !(0..12).contains(&months) {
                return Err(Failure::Field);
            }
            if !behind.is_empty() {
                return Err(Failure::Format);
            }
            unit = Unit::Month;
            let months = if is_negative { -months } else { months };
            let total = value.checked_mul(12).and_then(|value| value.checked_add(months));
            value = total.ok_or(Failure::Field)?;
        } else if rest.starts_with('.') {
            part = fraction(rest)?;
            part = if is_negative { -part } else { part };
        } else if !rest.is_empty() {
            return Err(Failure::Format);
        }
        self.is_named = false;
        self.sum.add(unit, value, part)?;
        // What stands in front of hours are days, unless it says otherwise.
        self.unit = Some(if unit == Unit::Hour { Unit::Day } else { unit });
        Ok(bits_of(unit, part))
    }

    fn word(&mut self, text: &str, is_last: bool) -> Result<(), Failure> {
        match span_word(text) {
            Some(SpanWord::Filler) => Ok(()),
            Some(SpanWord::Ago) if is_last => {
                self.is_negated = true;
                // A number right in front of it lacks its unit.
                self.unit = Some(Unit::Epoch);
                Ok(())
            }
            Some(SpanWord::Ago) => Err(Failure::Unsupported("AGO is supported at the end alone")),
            Some(SpanWord::Unit(_)) if self.is_named => {
                Err(Failure::Unsupported("a unit without a number in front is not supported"))
            }
            Some(SpanWord::Unit(unit)) => {
                self.unit = Some(unit);
                self.is_named = true;
                Ok(())
            }
            None if text.ends_with("infinity") => Err(Failure::Unsupported(
                "an infinite interval, which Postgres knows from 17 on, is not supported",
            )),
            None if matches!(word(text), Some(Word::Label | Word::Julian | Word::Filler)) => {
                Err(Failure::Unsupported("a word that servers disagree on is not supported"))
            }
            None => Err(Failure::Format),
        }
    }
}

/// The designators and the alternative forms of ISO 8601.
fn iso(text: &str) -> Result<Sum, Failure> {
    let Some(mut rest) = text.strip_prefix('P').filter(|rest| !rest.is_empty()) else {
        return Err(Failure::Format);
    };
    let (mut sum, mut is_date, mut is_first) = (Sum::default(), true, true);
    while !rest.is_empty() {
        if let Some(behind) = rest.strip_prefix('T') {
            (rest, is_date, is_first) = (behind, false, true);
            continue;
        }
        let field = rest;
        let (value, part, behind) = iso_number(field)?;
        let unit = behind.bytes().next();
        let known = match (is_date, unit) {
            (true, Some(b'Y')) => Some(Unit::Year),
            (true, Some(b'M')) => Some(Unit::Month),
            (true, Some(b'W')) => Some(Unit::Week),
            (true, Some(b'D')) => Some(Unit::Day),
            (false, Some(b'H')) => Some(Unit::Hour),
            (false, Some(b'M')) => Some(Unit::Minute),
            (false, Some(b'S')) => Some(Unit::Second),
            _ => None,
        };
        if let Some(unit) = known {
            sum.add(unit, value, part)?;
            (rest, is_first) = (&behind[1..], false);
            continue;
        }
        let ends = matches!(unit, None | Some(b'T' | b'-' | b':'));
        if !ends || !is_first {
            return Err(Failure::Format);
        }
        if !is_date {
            iso_time(&mut sum, field)?;
            return Ok(sum);
        }
        rest = iso_date(&mut sum, field)?;
        if rest.is_empty() {
            return Ok(sum);
        }
    }
    Ok(sum)
}

/// `20200131` or `2020-01-31`, up to the `T`.
fn iso_date<'t>(sum: &mut Sum, field: &'t str) -> Result<&'t str, Failure> {
    let (value, part, mut rest) = iso_number(field)?;
    let is_at_end = rest.is_empty() || rest.starts_with('T');
    if is_at_end && digits_in_front(field) == 8 {
        sum.add_years(value / 10_000, 0.0, 1)?;
        sum.add_months(value / 100 % 100)?;
        sum.add(Unit::Day, value % 100, part)?;
        return Ok(rest);
    }
    sum.add(Unit::Year, value, part)?;
    for unit in [Unit::Month, Unit::Day] {
        let Some(behind) = rest.strip_prefix('-') else { break };
        let (value, part, behind) = iso_number(behind)?;
        sum.add(unit, value, part)?;
        rest = behind;
    }
    if rest.is_empty() || rest.starts_with('T') { Ok(rest) } else { Err(Failure::Format) }
}

/// `102030` or `10:20:30`.
fn iso_time(sum: &mut Sum, field: &str) -> Result<(), Failure> {
    let (value, part, mut rest) = iso_number(field)?;
    if rest.is_empty() && digits_in_front(field) == 6 {
        sum.add(Unit::Hour, value / 10_000, 0.0)?;
        sum.add(Unit::Minute, value / 100 % 100, 0.0)?;
        return sum.add(Unit::Second, value % 100, part);
    }
    sum.add(Unit::Hour, value, part)?;
    for unit in [Unit::Minute, Unit::Second] {
        let Some(behind) = rest.strip_prefix(':') else { break };
        let (value, part, behind) = iso_number(behind)?;
        sum.add(unit, value, part)?;
        rest = behind;
    }
    if rest.is_empty() { Ok(()) } else { Err(Failure::Format) }
}

fn digits_in_front(field: &str) -> usize {
    let digits = field.strip_prefix('-').unwrap_or(field);
    digits.bytes().take_while(u8::is_ascii_digit).count()
}

/// A number in front with its whole part and its fraction, and what is behind it.
fn iso_number(text: &str) -> Result<(i64, f64, &str), Failure> {
    if !text.starts_with(|letter: char| letter.is_ascii_digit() || letter == '-' || letter == '.') {
        return Err(Failure::Format);
    }
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let hexadecimal = unsigned.starts_with("0x") || unsigned.starts_with("0X");
    if hexadecimal || unsigned.starts_with(['i', 'I', 'n', 'N']) {
        return Err(Failure::Unsupported("a number of this form is not supported within an interval"));
    }
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let whole = digits(unsigned);
    let mut len = text.len() - unsigned.len() + whole;
    let mut count = whole;
    if text[len..].starts_with('.') {
        let behind = digits(&text[len + 1..]);
        count += behind;
        len += if count > 0 { 1 + behind } else { 0 };
    }
    if count == 0 {
        return Err(Failure::Format);
    }
    if let Some(exponent) = text[len..].strip_prefix(['e', 'E']) {
        let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        if digits(unsigned) > 0 {
            len += 1 + exponent.len() - unsigned.len() + digits(unsigned);
        }
    }
    let value: f64 = text[..len].parse().map_err(|_| Failure::Format)?;
    if value.is_infinite() {
        return Err(Failure::Format);
    }
    if value.abs() > 1.0e15 {
        return Err(Failure::Field);
    }
    Ok((value.trunc() as i64, value - value.trunc(), &text[len..]))
}
