//! Timestamps and dates read by a pattern.

use super::pattern::{self, DAYS, Item, MONTHS, Piece, Word, is_separator, is_space};
use super::{Out, wrong};
use crate::expr::datum::Datum;
use crate::expr::error::{EvalError, SqlState};
use crate::expr::functions::Call;
use crate::expr::text::times::calendar::{self, EPOCH_JULIAN, Moment, SECOND};
use crate::expr::text::times::{rounded, timestamp_out_of_range};

/// What was read. Zero is what was not.
#[derive(Debug, Default)]
struct Read {
    is_iso: Option<bool>,
    is_twelve_hours: bool,
    is_exact: bool,
    pm: i64,
    hour: i64,
    minute: i64,
    second: i64,
    second_of_day: i64,
    millis: i64,
    micros: i64,
    /// The digits of the last FF1 to FF6.
    fraction_digits: Option<u32>,
    weekday: i64,
    day: i64,
    day_of_year: i64,
    month: i64,
    year: i64,
    year_digits: u32,
    bc: i64,
    week: i64,
    week_of_month: i64,
    century: i64,
    julian: i64,
}

/// Which parts of a date were given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Given {
    year: bool,
    month: bool,
    day: bool,
}

impl Given {
    const DATE: Given = Given { year: true, month: true, day: true };
}

/// `to_timestamp(text, text)`
pub(super) fn to_timestamp<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    let [Datum::Text(text), Datum::Text(pattern)] = args else { return wrong() };
    let read = Read::by(text, pattern)?;
    let micros = read.moment(text)?.timestamp(0).ok_or_else(timestamp_out_of_range)?;
    let micros = rounded(micros, read.fraction_digits.unwrap_or(6)).ok_or_else(timestamp_out_of_range)?;
    Ok(Datum::Timestamp(micros))
}

/// `to_date(text, text)`
pub(super) fn to_date<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Out<'a> {
    let [Datum::Text(text), Datum::Text(pattern)] = args else { return wrong() };
    let Moment { year, month, day, .. } = Read::by(text, pattern)?.moment(text)?;
    calendar::date_of(year, month, day).map(Datum::Date).ok_or_else(|| {
        let what = "date out of range";
        EvalError::quoting(SqlState::DATETIME_OVERFLOW, what, format!("{what}: \"{text}\""))
    })
}

fn bad(what: &'static str) -> EvalError {
    EvalError::new(SqlState::INVALID_DATETIME, what)
}

/// A text that does not suit a word of the pattern.
fn invalid(value: &str, name: &str) -> EvalError {
    EvalError::quoting(
        SqlState::INVALID_DATETIME,
        "invalid value for a formatting field",
        format!("invalid value \"{value}\" for \"{name}\""),
    )
}

fn too_far(text: &str) -> EvalError {
    let what = "date/time field value out of range";
    EvalError::quoting(SqlState::DATETIME_OVERFLOW, what, format!("{what}: \"{text}\""))
}

/// What is left of the text.
struct Source<'t> {
    rest: &'t str,
}

impl Source<'_> {
    fn skip_letter(&mut self) {
        let mut letters = self.rest.chars();
        letters.next();
        self.rest = letters.as_str();
    }

    fn skip_spaces(&mut self) -> i64 {
        let trimmed = self.rest.trim_start_matches(is_space);
        let count = self.rest.len() - trimmed.len();
        self.rest = trimmed;
        count as i64
    }

    /// An integer: as long as it goes where `is_open`, otherwise of exactly this many bytes. Returns how long it was, too.
    fn integer(&mut self, name: &str, len: usize, is_open: bool) -> Result<(i64, usize), EvalError> {
        let before = self.rest.len();
        self.skip_spaces();
        let end = if is_open { self.rest.len() } else { len.min(self.rest.len()) };
        if !is_open && self.rest.len() < len {
            return Err(EvalError::quoting(
                SqlState::INVALID_DATETIME,
                "source string too short for a formatting field",
                format!("source string too short for \"{name}\" formatting field"),
            ));
        }
        let field = &self.rest.as_bytes()[..end];
        let spaces = field.iter().take_while(|byte| is_space(**byte as char)).count();
        let sign = usize::from(matches!(field.get(spaces), Some(b'+' | b'-')));
        let digits = field[spaces + sign..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let used = if digits == 0 { 0 } else { spaces + sign + digits };
        if used == 0 || (!is_open && used < len) {
            let shown = &self.rest.as_bytes()[..len.min(self.rest.len())];
            return Err(invalid(&String::from_utf8_lossy(shown), name));
        }
        let number = &self.rest[spaces..used];
        let range = || {
            EvalError::quoting(
                SqlState::DATETIME_OVERFLOW,
                "value in source string is out of range",
                format!("value for \"{name}\" in source string is out of range"),
            )
        };
        let value = number.parse::<i64>().ok().filter(|value| i32::try_from(*value).is_ok());
        let value = value.ok_or_else(range)?;
        self.rest = &self.rest[used..];
        Ok((value, before - self.rest.len()))
    }

    /// The place of the first of these that the text begins with, in letters of any case.
    fn one_of(&mut self, word: &str, names: &[&str]) -> Result<i64, EvalError> {
        let begins = |name: &&str| {
            self.rest
                .as_bytes()
                .get(..name.len())
                .is_some_and(|front| front.eq_ignore_ascii_case(name.as_bytes()))
        };
        let Some(place) = names.iter().position(begins) else {
            return Err(invalid(self.rest.split(is_space).next().unwrap_or_default(), word));
        };
        self.rest = &self.rest[names[place].len()..];
        Ok(place as i64)
    }
}

/// Gives a field its value, which it may have got before.
fn set(name: &str, field: &mut i64, value: i64) -> Result<(), EvalError> {
    if *field != 0 && *field != value {
        return Err(EvalError::quoting(
            SqlState::INVALID_DATETIME,
            "conflicting values for a field in formatting string",
            format!("conflicting values for \"{name}\" field in formatting string"),
        ));
    }
    *field = value;
    Ok(())
}

/// Whether a number ends at the next piece in any case.
fn is_open(word: &Word, next: Option<&Piece>) -> bool {
    let is_digit = match next {
        _ if word.is_bare || word.ordinal.is_some() => false,
        None => false,
        Some(Piece::Word(next)) => !matches!(
            next.item,
            Item::Era(_)
                | Item::Half(_)
                | Item::DayName
                | Item::DayShort
                | Item::MonthName
                | Item::MonthShort
                | Item::Exact
                | Item::Zone
                | Item::Offset
        ),
        Some(Piece::Letter(letter) | Piece::Space(letter) | Piece::Separator(letter)) => {
            letter.is_ascii_digit()
        }
    };
    !is_digit
}

impl Read {
    fn by(text: &str, pattern: &str) -> Result<Read, EvalError> {
        let pieces = pattern::parse(pattern)?;
        let mut read = Read::default();
        let mut source = Source { rest: text };
        // Letters of the text that were skipped beyond what the pattern asked for.
        let mut extra = 0;
        for (at, piece) in pieces.iter().enumerate() {
            if source.rest.is_empty() {
                break;
            }
            let is_field = matches!(piece, Piece::Word(word) if word.item != Item::Exact);
            let is_other = at == 0 && !matches!(piece, Piece::Word(_));
            if !read.is_exact && (is_field || is_other) {
                extra += source.skip_spaces();
            }
            if source.rest.is_empty() && at == 0 && !matches!(piece, Piece::Word(_)) {
                break;
            }
            match piece {
                Piece::Space(_) | Piece::Separator(_) if read.is_exact => source.skip_letter(),
                Piece::Space(_) | Piece::Separator(_) => {
                    extra -= 1;
                    if source.rest.starts_with(|letter| is_space(letter) || is_separator(letter)) {
                        source.skip_letter();
                        extra += 1;
                    }
                }
                Piece::Letter(_) if !read.is_exact && extra > 0 => extra -= 1,
                Piece::Letter(_) => source.skip_letter(),
                Piece::Word(word) => {
                    read.field(word, pieces.get(at + 1), &mut source)?;
                    if !read.is_exact {
                        extra = source.skip_spaces();
                    }
                }
            }
        }
        Ok(read)
    }

    /// Fields of ISO weeks and of the calendar do not go together.
    fn convention(&mut self, item: Item) -> Result<(), EvalError> {
        let is_iso = match item {
            Item::IsoDayOfYear | Item::IsoWeekday | Item::IsoWeek | Item::IsoYear(_) => true,
            Item::DayOfYear
            | Item::Day
            | Item::Weekday
            | Item::Month
            | Item::MonthName
            | Item::MonthShort
            | Item::Week
            | Item::WeekOfMonth
            | Item::YearComma
            | Item::Year(_) => false,
            _ => return Ok(()),
        };
        if self.is_iso.is_some_and(|known| known != is_iso) {
            return Err(bad("invalid combination of date conventions"));
        }
        self.is_iso = Some(is_iso);
        Ok(())
    }

    fn field(&mut self, word: &Word, next: Option<&Piece>, source: &mut Source<'_>) -> Result<(), EvalError> {
        self.convention(word.item)?;
        let len = match word.item {
            Item::Hour12 | Item::Hour24 => 2,
            Item::Millis => 3,
            Item::Micros => 6,
            Item::Fraction(digits) => digits as usize,
            Item::IsoDayOfYear => 3,
            Item::IsoWeekday => 1,
            _ => word.text.len(),
        };
        let open = is_open(word, next);
        let name = word.name();
        let mut integer = || source.integer(&name, len, open);
        match word.item {
            Item::Exact => {
                self.is_exact = true;
                return Ok(());
            }
            Item::Hour12 => {
                set(&name, &mut self.hour, integer()?.0)?;
                self.is_twelve_hours = true;
            }
            Item::Hour24 => set(&name, &mut self.hour, integer()?.0)?,
            Item::Minute => set(&name, &mut self.minute, integer()?.0)?,
            Item::Second => set(&name, &mut self.second, integer()?.0)?,
            Item::SecondOfDay => set(&name, &mut self.second_of_day, integer()?.0)?,
            Item::Millis => {
                let (value, used) = integer()?;
                set(&name, &mut self.millis, value)?;
                self.millis *= scale_of(used, 3);
            }
            Item::Micros | Item::Fraction(_) => {
                let (value, used) = integer()?;
                if let Item::Fraction(digits) = word.item {
                    self.fraction_digits = Some(digits);
                }
                set(&name, &mut self.micros, value)?;
                self.micros *= scale_of(used, 6);
            }
            Item::Month => set(&name, &mut self.month, integer()?.0)?,
            Item::Day => set(&name, &mut self.day, integer()?.0)?,
            Item::DayOfYear | Item::IsoDayOfYear => set(&name, &mut self.day_of_year, integer()?.0)?,
            Item::Weekday => set(&name, &mut self.weekday, integer()?.0)?,
            Item::IsoWeekday => {
                set(&name, &mut self.weekday, integer()?.0)?;
                self.weekday = if self.weekday >= 7 { 1 } else { self.weekday + 1 };
            }
            Item::Week | Item::IsoWeek => set(&name, &mut self.week, integer()?.0)?,
            Item::WeekOfMonth => set(&name, &mut self.week_of_month, integer()?.0)?,
            Item::Quarter => _ = integer()?,
            Item::Century => set(&name, &mut self.century, integer()?.0)?,
            Item::Julian => set(&name, &mut self.julian, integer()?.0)?,
            Item::Year(digits) | Item::IsoYear(digits) => {
                let (value, used) = integer()?;
                set(&name, &mut self.year, value)?;
                if digits < 4 && used < 4 {
                    self.year = near_2020(self.year);
                }
                self.year_digits = digits;
            }
            _ => return self.named_field(word, source),
        }
        skip_ordinal(word, source);
        Ok(())
    }

    fn named_field(&mut self, word: &Word, source: &mut Source<'_>) -> Result<(), EvalError> {
        let short = |names: &[&'static str]| names.iter().map(|name| &name[..3]).collect::<Vec<_>>();
        let name = word.name();
        match word.item {
            Item::Half(has_points) => {
                let names = if has_points { ["a.m.", "p.m."] } else { ["am", "pm"] };
                let place = source.one_of(&name, &names)?;
                set(&name, &mut self.pm, place)?;
                self.is_twelve_hours = true;
            }
            Item::Era(has_points) => {
                let names = if has_points { ["a.d.", "b.c."] } else { ["ad", "bc"] };
                let place = source.one_of(&name, &names)?;
                set(&name, &mut self.bc, place)?;
            }
            Item::MonthName => set(&name, &mut self.month, source.one_of(&name, &MONTHS)? + 1)?,
            Item::MonthShort => set(&name, &mut self.month, source.one_of(&name, &short(&MONTHS))? + 1)?,
            Item::DayName => {
                set(&name, &mut self.weekday, source.one_of(&name, &DAYS)?)?;
                self.weekday += 1;
            }
            Item::DayShort => {
                set(&name, &mut self.weekday, source.one_of(&name, &short(&DAYS))?)?;
                self.weekday += 1;
            }
            _ => return Err(pattern::not_supported()),
        }
        Ok(())
    }

    /// All fields together.
    fn moment(&self, text: &str) -> Result<Moment, EvalError> {
        let mut moment = Moment { month: 1, day: 1, ..Moment::default() };
        self.refuse_overflow()?;
        self.set_time(&mut moment)?;
        let given = self.set_date(&mut moment)?;
        let Moment { year, month, day, hour, minute, second, micros } = moment;
        // Without a year, days are not held against the length of the month.
        let bad_date = (given.month && !(1..=12).contains(&month))
            || (given.day && !(1..=31).contains(&day))
            || (given == Given::DATE && day > calendar::month_days(year, month));
        let good_time = (0..24).contains(&hour)
            && (0..60).contains(&minute)
            && (0..60).contains(&second)
            && (0..SECOND).contains(&micros);
        if bad_date || !good_time {
            return Err(too_far(text));
        }
        Ok(moment)
    }

    /// Numbers so great that releases of the server differ on whether they overflow.
    fn refuse_overflow(&self) -> Result<(), EvalError> {
        const MOST: i64 = 1_000_000;
        let is_iso = self.is_iso == Some(true);
        let fits = |value: i64| value.abs() <= MOST;
        let fine = fits(self.week)
            && fits(self.week_of_month)
            && fits(self.century)
            && (0..=i64::from(i32::MAX)).contains(&self.julian)
            && i32::try_from(self.millis * 1000 + self.micros).is_ok()
            && (!is_iso || (fits(self.year) && fits(self.day_of_year)));
        if fine {
            Ok(())
        } else {
            Err(EvalError::new(SqlState::NOT_SUPPORTED, "a number so great is not supported"))
        }
    }

    fn set_time(&self, moment: &mut Moment) -> Result<(), EvalError> {
        let of_day = self.second_of_day;
        (moment.hour, moment.minute, moment.second) = (of_day / 3600, of_day % 3600 / 60, of_day % 60);
        let replace = |field: &mut i64, value: i64| *field = if value == 0 { *field } else { value };
        replace(&mut moment.hour, self.hour);
        replace(&mut moment.minute, self.minute);
        replace(&mut moment.second, self.second);
        if self.is_twelve_hours {
            if !(1..=12).contains(&moment.hour) {
                return Err(EvalError::quoting(
                    SqlState::INVALID_DATETIME,
                    "hour is invalid for the 12-hour clock",
                    format!("hour \"{}\" is invalid for the 12-hour clock", moment.hour),
                ));
            }
            if self.pm != 0 && moment.hour < 12 {
                moment.hour += 12;
            } else if self.pm == 0 && moment.hour == 12 {
                moment.hour = 0;
            }
        }
        moment.micros = self.millis * 1000 + self.micros;
        Ok(())
    }

    /// Returns what there was of a date.
    fn set_date(&self, moment: &mut Moment) -> Result<Given, EvalError> {
        let mut given = Given { year: self.year != 0 || self.century != 0, ..Given::default() };
        moment.year = self.year_read();
        if self.julian != 0 {
            (moment.year, moment.month, moment.day) = calendar::civil(self.julian - EPOCH_JULIAN);
            given = Given::DATE;
        }
        let is_iso = self.is_iso == Some(true);
        let mut day_of_year = self.day_of_year;
        if self.week != 0 && is_iso {
            let monday = calendar::iso_year_start(moment.year) + (self.week - 1) * 7;
            let offset = match self.weekday {
                0 => 0,
                day if day > 1 => day - 2,
                _ => 6,
            };
            (moment.year, moment.month, moment.day) = calendar::civil(monday + offset);
            given = Given::DATE;
        } else if self.week != 0 {
            day_of_year = (self.week - 1) * 7 + 1;
        }
        let day = if self.week_of_month != 0 { (self.week_of_month - 1) * 7 + 1 } else { self.day };
        if day != 0 {
            moment.day = day;
            given.day = true;
        }
        if self.month != 0 {
            moment.month = self.month;
            given.month = true;
        }
        if day_of_year != 0 && (moment.month <= 1 || moment.day <= 1) {
            given = if is_iso { Given::DATE } else { Given { month: true, day: true, ..given } };
            by_day_of_year(moment, day_of_year, is_iso, self.bc != 0)?;
        }
        Ok(given)
    }

    fn year_read(&self) -> i64 {
        let is_before = self.bc != 0;
        let century = if is_before { -self.century } else { self.century };
        if self.year != 0 {
            if self.century == 0 || self.year_digits > 2 {
                let year = if is_before { -self.year } else { self.year };
                return if year < 0 { year + 1 } else { year };
            }
            return match (self.year % 100, century >= 0) {
                (0, true) => century * 100,
                (0, false) => century * 100 + 1,
                (year, true) => year + (century - 1) * 100,
                (year, false) => (century + 1) * 100 - year + 1,
            };
        }
        match century {
            0 => 0,
            1.. => (century - 1) * 100 + 1,
            _ => century * 100 + 1,
        }
    }
}

fn by_day_of_year(moment: &mut Moment, day: i64, is_iso: bool, is_before: bool) -> Result<(), EvalError> {
    if moment.year == 0 && !is_before {
        return Err(bad("cannot calculate day of year without year information"));
    }
    if is_iso {
        (moment.year, moment.month, moment.day) =
            calendar::civil(calendar::iso_year_start(moment.year) + day - 1);
        return Ok(());
    }
    let (mut month, mut behind) = (1, 0);
    while month <= 12 && day > behind + calendar::month_days(moment.year, month) {
        behind += calendar::month_days(moment.year, month);
        month += 1;
    }
    if moment.month <= 1 {
        moment.month = month;
    }
    if moment.day <= 1 {
        moment.day = day - behind;
    }
    Ok(())
}

/// What digits behind the point count for when there are fewer than there could be.
fn scale_of(used: usize, most: u32) -> i64 {
    let used = used as u32;
    if (1..most).contains(&used) { 10_i64.pow(most - used) } else { 1 }
}

/// A shortened year is the one closest to 2020.
fn near_2020(year: i64) -> i64 {
    match year {
        ..70 => year + 2000,
        70..100 => year + 1900,
        100..520 => year + 2000,
        520..1000 => year + 1000,
        _ => year,
    }
}

fn skip_ordinal(word: &Word, source: &mut Source<'_>) {
    if word.ordinal.is_some() {
        source.skip_letter();
        source.skip_letter();
    }
}
