//! What the fields of a date and time say together: numbers, dates, clocks and zones gathered into one moment.

use super::Failure;
use super::calendar::{EPOCH_JULIAN, Moment, SECOND, civil, days_of, month_days};
use super::words::{Word, word};
use super::zones;

/// Which parts are known, as bits.
pub(super) mod found {
    pub(crate) const YEAR: u32 = 1;
    pub(crate) const MONTH: u32 = 2;
    pub(crate) const DAY: u32 = 4;
    pub(crate) const DATE: u32 = YEAR | MONTH | DAY;
    pub(crate) const TIME: u32 = 8;
    pub(crate) const ZONE: u32 = 16;
    pub(crate) const DAY_OF_YEAR: u32 = 32;
    pub(crate) const HALF_DAY: u32 = 64;
    pub(crate) const ERA: u32 = 128;
    pub(crate) const WEEKDAY: u32 = 256;
    pub(crate) const DST: u32 = 512;
    pub(crate) const DYNAMIC: u32 = 1024;
    pub(crate) const DST_WORD: u32 = 2048;
}

/// The zone that was written.
#[derive(Debug, Clone, Default)]
pub(super) enum ZoneRead {
    /// None, or so many seconds west.
    #[default]
    None,
    West(i64),
    Named(zones::Rules),
    /// An abbreviation whose meaning changed over time.
    Dynamic,
}

/// All that was read so far.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) moment: Moment,
    pub(super) found: u32,
    pub(super) zone: ZoneRead,
    pub(super) is_julian: bool,
    is_two_digits: bool,
    pub(super) has_text_month: bool,
    is_before_christ: bool,
    is_afternoon: Option<bool>,
    day_of_year: i64,
}

/// The integer in front, and what is behind it. Without digits it is zero.
pub(super) fn leading_int(text: &str) -> Option<(i64, &str)> {
    let (value, rest) = leading_long(text)?;
    i32::try_from(value).ok().map(|value| (i64::from(value), rest))
}

/// The same in 64 bits.
pub(super) fn leading_long(text: &str) -> Option<(i64, &str)> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let count = unsigned.bytes().take_while(u8::is_ascii_digit).count();
    if count == 0 {
        return Some((0, text));
    }
    let end = text.len() - unsigned.len() + count;
    text[..end].parse().ok().map(|value| (value, &text[end..]))
}

/// What a point and digits are as a fraction.
pub(super) fn fraction(text: &str) -> Result<f64, Failure> {
    let digits = text.strip_prefix('.').ok_or(Failure::Format)?;
    if digits.is_empty() {
        return Ok(0.0);
    }
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Failure::Format);
    }
    format!("0{text}").parse().map_err(|_| Failure::Format)
}

fn micros(fraction: f64) -> i64 {
    (fraction * SECOND as f64).round_ties_even() as i64
}

/// Digits as C's `atoi` takes them, however many.
fn wrapped(digits: &str) -> i64 {
    let long = digits.parse::<i64>().unwrap_or(i64::MAX);
    i64::from(long as i32)
}

impl Parts {
    /// Adds what one field said. Nothing may be said twice.
    pub(super) fn add(&mut self, bits: u32) -> Result<(), Failure> {
        if self.found & bits != 0 {
            return Err(Failure::Format);
        }
        self.found |= bits;
        Ok(())
    }

    /// A month by its name.
    pub(super) fn month_word(&mut self, month: i64) -> u32 {
        let mut bits = found::MONTH;
        let numeric = self.found & found::MONTH != 0 && !self.has_text_month;
        if numeric && self.found & found::DAY == 0 && (1..=31).contains(&self.moment.month) {
            self.moment.day = self.moment.month;
            bits = found::DAY;
        }
        self.has_text_month = true;
        self.moment.month = month;
        bits
    }

    /// A word that means the same in a date and in a time.
    pub(super) fn plain_word(&mut self, word: Word) -> Result<u32, Failure> {
        match word {
            Word::Am | Word::Pm => {
                self.is_afternoon = Some(word == Word::Pm);
                Ok(found::HALF_DAY)
            }
            Word::Ad | Word::Bc => {
                self.is_before_christ = word == Word::Bc;
                Ok(found::ERA)
            }
            Word::Dst => {
                let west = match self.zone {
                    ZoneRead::West(west) => west,
                    _ => 0,
                };
                if !matches!(self.zone, ZoneRead::Named(_) | ZoneRead::Dynamic) {
                    self.zone = ZoneRead::West(west - 3600);
                }
                Ok(found::DST_WORD | found::DST)
            }
            Word::AllBalls => {
                (self.moment.hour, self.moment.minute, self.moment.second) = (0, 0, 0);
                self.zone = ZoneRead::West(0);
                Ok(found::TIME | found::ZONE)
            }
            Word::Now => Err(Failure::Unsupported("a time that depends on the clock is not supported")),
            Word::Label => Err(Failure::Unsupported("a labelled field of a date is not supported")),
            _ => Err(Failure::Format),
        }
    }

    /// A zone by an abbreviation, if the word is one.
    pub(super) fn abbreviation(&mut self, text: &str) -> Option<u32> {
        match zones::abbreviation(text)? {
            zones::Abbreviation::East(east, is_dst) => {
                self.zone = ZoneRead::West(-i64::from(east));
                Some(found::ZONE | if is_dst { found::DST } else { 0 })
            }
            zones::Abbreviation::Dynamic => {
                self.zone = ZoneRead::Dynamic;
                Some(found::ZONE | found::DYNAMIC)
            }
        }
    }

    /// A zone by its full name.
    pub(super) fn zone_name(&mut self, text: &str, otherwise: Failure) -> Result<u32, Failure> {
        match zones::by_name(text) {
            Ok(zone) => {
                self.zone = ZoneRead::Named(zone);
                Ok(found::ZONE)
            }
            Err(zones::Missing::Unknown) => Err(otherwise),
            Err(zones::Missing::Unsupported) => {
                Err(Failure::Unsupported("a zone that is not one of the IANA database is not supported"))
            }
        }
    }

    /// `+05:30`, `-0800`, `+05:30:15`
    pub(super) fn zone_offset(&mut self, text: &str) -> Result<u32, Failure> {
        let Some(unsigned) = text.strip_prefix(['+', '-']) else { return Err(Failure::Format) };
        let number = |text| leading_int(text).ok_or(Failure::Displacement);
        let (mut hour, mut rest) = number(unsigned)?;
        let (mut minute, mut second) = (0, 0);
        if let Some(behind) = rest.strip_prefix(':') {
            (minute, rest) = number(behind)?;
            if let Some(behind) = rest.strip_prefix(':') {
                (second, rest) = number(behind)?;
            }
        } else if rest.is_empty() && text.len() > 3 {
            (hour, minute) = (hour / 100, hour % 100);
        }
        let fits = (0..=15).contains(&hour) && (0..60).contains(&minute) && (0..60).contains(&second);
        if !fits {
            return Err(Failure::Displacement);
        }
        if !rest.is_empty() {
            return Err(Failure::Format);
        }
        let seconds = (hour * 60 + minute) * 60 + second;
        self.zone = ZoneRead::West(if text.starts_with('-') { seconds } else { -seconds });
        Ok(found::ZONE)
    }

    /// `10:20`, `10:20:30.5`
    pub(super) fn clock(&mut self, text: &str) -> Result<u32, Failure> {
        let clock = Clock::read(text)?;
        if clock.hour > i64::from(i32::MAX) {
            return Err(Failure::Field);
        }
        let moment = &mut self.moment;
        (moment.hour, moment.minute, moment.second, moment.micros) =
            (clock.hour, clock.minute, clock.second, clock.micros);
        Ok(found::TIME)
    }

    /// A Julian day.
    pub(super) fn julian(&mut self, day: i64) -> Result<(), Failure> {
        if day < 0 {
            return Err(Failure::Field);
        }
        (self.moment.year, self.moment.month, self.moment.day) = civil(day - EPOCH_JULIAN);
        self.is_julian = true;
        Ok(())
    }

    /// A date in one field.
    pub(super) fn date(&mut self, text: &str) -> Result<u32, Failure> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            rest = rest.trim_start_matches(|letter: char| !letter.is_ascii_alphanumeric());
            let Some(first) = rest.bytes().next() else { return Err(Failure::Format) };
            let same =
                |byte: &u8| byte.is_ascii_digit() == first.is_ascii_digit() && byte.is_ascii_alphanumeric();
            let (piece, behind) = rest.split_at(rest.bytes().take_while(same).count());
            pieces.push(piece);
            rest = behind.get(1..).unwrap_or_default();
        }
        let before = self.found;
        let mut bits = 0;
        let mut numbers = Vec::new();
        // A month's name in another field does not count here.
        let mut is_named = false;
        for piece in pieces {
            if piece.starts_with(|letter: char| letter.is_ascii_digit()) {
                numbers.push(piece);
                continue;
            }
            match word(piece) {
                Some(Word::Month(month)) if (before | bits) & found::MONTH == 0 => {
                    self.moment.month = month;
                    is_named = true;
                    bits |= found::MONTH;
                }
                _ => return Err(Failure::Format),
            }
        }
        for number in numbers {
            let more = self.number(number, before | bits, is_named)?;
            if (before | bits) & more != 0 {
                return Err(Failure::Format);
            }
            bits |= more;
        }
        let date = (before | bits) & !(found::DAY_OF_YEAR | found::ZONE);
        if date == found::DATE { Ok(bits) } else { Err(Failure::Format) }
    }

    /// A number whose meaning follows from what is known already.
    pub(super) fn number(&mut self, text: &str, known: u32, named: bool) -> Result<u32, Failure> {
        let (value, rest) = leading_int(text).ok_or(Failure::Field)?;
        if rest.len() == text.len() {
            return Err(Failure::Format);
        }
        if rest.starts_with('.') {
            if text.len() - rest.len() > 2 {
                return self.long_number(text, known | found::DATE);
            }
            self.moment.micros = micros(fraction(rest)?);
        } else if !rest.is_empty() {
            return Err(Failure::Format);
        }
        let len = text.len();
        if len == 3 && known & found::DATE == found::YEAR && (1..=366).contains(&value) {
            self.day_of_year = value;
            return Ok(found::DAY_OF_YEAR | found::MONTH | found::DAY);
        }
        let bit = match known & found::DATE {
            0 if len >= 3 => found::YEAR,
            0 | found::YEAR | found::DAY => found::MONTH,
            found::MONTH if named && len >= 3 => found::YEAR,
            found::MONTH => found::DAY,
            bits if bits == found::YEAR | found::MONTH => {
                if named && len >= 3 && self.is_two_digits {
                    self.moment.day = self.moment.year;
                    self.moment.year = value;
                    self.is_two_digits = false;
                    return Ok(found::DAY);
                }
                found::DAY
            }
            bits if bits == found::MONTH | found::DAY => found::YEAR,
            found::DATE => return self.long_number(text, known),
            _ => return Err(Failure::Format),
        };
        match bit {
            found::YEAR => {
                self.moment.year = value;
                self.is_two_digits = len <= 2;
            }
            found::MONTH => self.moment.month = value,
            _ => self.moment.day = value,
        }
        Ok(bit)
    }

    /// Several numbers run together: `20200131`, `101530`, `1015`.
    pub(super) fn long_number(&mut self, text: &str, known: u32) -> Result<u32, Failure> {
        let mut digits = text;
        if let Some((whole, behind)) = text.split_once('.') {
            let count = behind.bytes().take_while(u8::is_ascii_digit).count();
            self.moment.micros = micros(fraction(&format!(".{}", &behind[..count]))?);
            digits = whole;
        } else if known & found::DATE != found::DATE && digits.len() >= 6 {
            let (year, rest) = digits.split_at(digits.len() - 4);
            self.moment.year = wrapped(year);
            self.moment.month = wrapped(&rest[..2]);
            self.moment.day = wrapped(&rest[2..]);
            if year.len() == 2 {
                self.is_two_digits = true;
            }
            return Ok(found::DATE);
        }
        if known & found::TIME == 0 && matches!(digits.len(), 4 | 6) {
            self.moment.hour = wrapped(&digits[..2]);
            self.moment.minute = wrapped(&digits[2..4]);
            self.moment.second = if digits.len() == 6 { wrapped(&digits[4..]) } else { 0 };
            return Ok(found::TIME);
        }
        Err(Failure::Format)
    }

    /// Checks the date, and brings its year to our count.
    pub(super) fn settle_date(&mut self) -> Result<(), Failure> {
        let (bits, moment) = (self.found, &mut self.moment);
        if bits & found::YEAR != 0 && !self.is_julian {
            if self.is_before_christ {
                if moment.year <= 0 {
                    return Err(Failure::Field);
                }
                moment.year = 1 - moment.year;
            } else if self.is_two_digits {
                match moment.year {
                    ..0 => return Err(Failure::Field),
                    0..70 => moment.year += 2000,
                    70..100 => moment.year += 1900,
                    _ => {}
                }
            } else if moment.year <= 0 {
                return Err(Failure::Field);
            }
        }
        if bits & found::DAY_OF_YEAR != 0 {
            let day = days_of(moment.year, 1, 1) + self.day_of_year - 1;
            (moment.year, moment.month, moment.day) = civil(day);
        }
        let bad_month = bits & found::MONTH != 0 && !(1..=12).contains(&moment.month);
        let bad_day = bits & found::DAY != 0 && !(1..=31).contains(&moment.day);
        let complete = bits & found::DATE == found::DATE;
        if bad_month || bad_day || (complete && moment.day > month_days(moment.year, moment.month)) {
            return Err(Failure::Field);
        }
        Ok(())
    }

    /// Applies AM or PM.
    pub(super) fn settle_half_day(&mut self) -> Result<(), Failure> {
        let hour = self.moment.hour;
        match self.is_afternoon {
            Some(_) if hour > 12 => return Err(Failure::Field),
            Some(false) if hour == 12 => self.moment.hour = 0,
            Some(true) if hour != 12 => self.moment.hour += 12,
            _ => {}
        }
        Ok(())
    }

    /// Fails when the time is past 24:00.
    pub(super) fn check_clock(&self) -> Result<(), Failure> {
        let Moment { hour, minute, second, micros, .. } = self.moment;
        let fits = (0..=24).contains(&hour)
            && (0..60).contains(&minute)
            && (0..=60).contains(&second)
            && (0..=SECOND).contains(&micros)
            && self.moment.time() <= super::calendar::DAY;
        if fits { Ok(()) } else { Err(Failure::Field) }
    }
}

/// A time as hours, minutes and seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clock {
    pub(super) hour: i64,
    pub(super) minute: i64,
    pub(super) second: i64,
    pub(super) micros: i64,
}

impl Clock {
    /// Two numbers and a fraction are minutes and seconds.
    pub(super) fn read(text: &str) -> Result<Clock, Failure> {
        let number = |text| leading_int(text).ok_or(Failure::Field);
        let (mut hour, rest) = leading_long(text).ok_or(Failure::Field)?;
        let Some(rest) = rest.strip_prefix(':') else { return Err(Failure::Format) };
        let (mut minute, rest) = number(rest)?;
        let (mut second, mut fractional) = (0, 0);
        if rest.starts_with('.') {
            fractional = micros(fraction(rest)?);
            (second, minute) = (minute, hour);
            hour = 0;
        } else if let Some(rest) = rest.strip_prefix(':') {
            let behind;
            (second, behind) = number(rest)?;
            if behind.starts_with('.') {
                fractional = micros(fraction(behind)?);
            } else if !behind.is_empty() {
                return Err(Failure::Format);
            }
        } else if !rest.is_empty() {
            return Err(Failure::Format);
        }
        let fits = hour >= 0 && (0..60).contains(&minute) && (0..=60).contains(&second);
        let clock = Clock { hour, minute, second, micros: fractional };
        if fits && fractional <= SECOND { Ok(clock) } else { Err(Failure::Field) }
    }
}
