//! Whether two texts are one value in two forms: to fewer digits, in another zone, in another case.

use std::str::FromStr;

use understudy_transform::expr::Numeric;

use crate::compare::distance;

/// A number that ends in zeros before its point was rounded there only if it has this many digits that count.
const DIGITS_MIN: usize = 6;

/// Numbers of this many digits that count are binary ones in full, and may differ in the last.
const BINARY_DIGITS_MIN: usize = 15;

const SECOND: i64 = 1_000_000;
const QUARTER: i64 = 15 * 60 * SECOND;
const ZONES_MAX: i64 = 14 * 60 * 60 * SECOND;

/// Whether one is the other to fewer digits, rounded or cut off.
pub(super) fn same_number(one: &str, other: &str) -> bool {
    match (Moment::scan(one), Moment::scan(other)) {
        (Some(one), Some(other)) => one.is_rounded(&other) || other.is_rounded(&one),
        _ => {
            let numbers = Numeric::from_str(one).ok().zip(Numeric::from_str(other).ok());
            numbers.is_some_and(|(one, other)| is_rounded(&one, &other).unwrap_or(false))
        }
    }
}

/// Whether both read the same but for case, blanks, marks put apart from their letters, or a zone.
pub(super) fn same_text(one: &str, other: &str) -> bool {
    match (Moment::scan(one), Moment::scan(other)) {
        (Some(one), Some(other)) => one.is_elsewhere(&other),
        _ => is_alike(one, other),
    }
}

/// Where a number's last digit that counts is, as digits behind the point, and how many count. `None` unless finite.
fn digits(number: &Numeric) -> Option<(i64, usize)> {
    let (coefficient, scale) = number.parts()?;
    let written = coefficient.to_string();
    let counting = written.trim_start_matches('-').trim_end_matches('0');
    let zeros = written.len() - written.trim_end_matches('0').len();
    if counting.is_empty() {
        return Some((0, 0));
    }
    Some((i64::from(scale) - zeros as i64, counting.len()))
}

fn is_rounded(one: &Numeric, other: &Numeric) -> Option<bool> {
    let apart = distance(one, other)?;
    let ((behind, count), (other_behind, other_count)) = (digits(one)?, digits(other)?);
    if count.min(other_count) >= BINARY_DIGITS_MIN {
        let last = format!("1e{}", 2 - behind.min(other_behind));
        return Some(apart <= Numeric::from_str(&last).ok()?);
    }
    let (coarse, fine) = if behind < other_behind { (one, other) } else { (other, one) };
    let (behind, count) = digits(coarse)?;
    if behind == digits(fine)?.0 || (behind < 0 && count < DIGITS_MIN) {
        return Some(false);
    }
    let half = Numeric::from_str(&format!("5e{}", -behind - 1)).ok()?;
    let unit = Numeric::from_str(&format!("1e{}", -behind)).ok()?;
    let towards_zero = if fine.is_negative() { coarse > fine } else { coarse < fine };
    let is_turned = coarse.is_negative() != fine.is_negative() && !coarse.is_zero();
    Some(apart <= half || (towards_zero && !is_turned && apart < unit))
}

/// A time of day, with or without a day and an offset.
struct Moment {
    /// As written, in millionths of a second.
    written: i64,
    has_day: bool,
    /// How far the zone is ahead, in millionths of a second.
    offset: Option<i64>,
    /// Digits behind the second.
    behind: u32,
}

impl Moment {
    /// `None` unless the whole text is one.
    fn scan(text: &str) -> Option<Moment> {
        let day =
            text.get(..10).and_then(days).filter(|_| matches!(text.as_bytes().get(10), Some(b' ' | b'T')));
        let time = if day.is_some() { &text[11..] } else { text };
        let clock = time.get(..8)?;
        let (hours, minutes, seconds) = (field(clock, 0)?, field(clock, 3)?, field(clock, 6)?);
        let is_clock = clock.as_bytes()[2] == b':' && clock.as_bytes()[5] == b':';
        let rest = &time[8..];
        let (fraction, zone) = match rest.strip_prefix('.') {
            Some(rest) => rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count()),
            None => ("", rest),
        };
        if !is_clock || fraction.len() > 6 {
            return None;
        }
        let behind = fraction.trim_end_matches('0').len() as u32;
        let millionths = format!("{fraction:0<6}").parse::<i64>().ok()?;
        let of_day = ((hours * 60 + minutes) * 60 + seconds) * SECOND + millionths;
        let written = day.unwrap_or(0) * 86_400 * SECOND + of_day;
        Some(Moment { written, has_day: day.is_some(), offset: offset(zone)?, behind })
    }

    /// The same clock for both: as written, or where both have a zone the moment itself.
    fn apart(&self, other: &Moment) -> i64 {
        let ahead = self.offset.zip(other.offset).map_or(0, |(one, other)| one - other);
        self.written - ahead - other.written
    }

    fn is_rounded(&self, fine: &Moment) -> bool {
        let unit = SECOND / 10_i64.pow(self.behind.min(6));
        let apart = self.apart(fine);
        let is_half = apart.abs() * 2 <= unit;
        self.has_day == fine.has_day && self.behind < fine.behind && (is_half || (-unit < apart && apart < 0))
    }

    fn is_elsewhere(&self, other: &Moment) -> bool {
        let apart = self.apart(other);
        self.has_day == other.has_day && apart % QUARTER == 0 && apart.abs() <= ZONES_MAX
    }
}

/// Two digits from a place on.
fn field(text: &str, at: usize) -> Option<i64> {
    let digits = text.get(at..at + 2)?;
    digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Days from the first of March of the year zero to a day written `2026-11-21`.
fn days(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.get(4) != Some(&b'-') || bytes.get(7) != Some(&b'-') {
        return None;
    }
    let year = field(text, 0)? * 100 + field(text, 2)?;
    let (month, day) = (field(text, 5)?, field(text, 8)?);
    // A year that begins in March ends with the day that leap years have more.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    Some(
        year * 365 + year.div_euclid(4) - year.div_euclid(100)
            + year.div_euclid(400)
            + (month * 153 + 2) / 5
            + day,
    )
}

/// How far a zone written `+05:45` is ahead; `Some(None)` for none, `None` for what is no zone.
fn offset(zone: &str) -> Option<Option<i64>> {
    let Some(sign) = zone.bytes().next() else {
        return Some(None);
    };
    if zone == "Z" {
        return Some(Some(0));
    }
    let sign = match sign {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let parts = zone[1..].split(':').map(|part| field(part, 0).filter(|_| part.len() == 2));
    let parts = parts.collect::<Option<Vec<i64>>>().filter(|parts| parts.len() <= 3)?;
    let seconds = parts.iter().zip([3_600, 60, 1]).map(|(part, unit)| part * unit).sum::<i64>();
    Some(Some(sign * seconds * SECOND))
}

/// Letter by letter, whatever their case; runs of blanks count as one, and none at the ends.
fn is_alike(one: &str, other: &str) -> bool {
    let (one, other) = (plain(one), plain(other));
    let (mut left, mut right) = (one.chars().peekable(), other.chars().peekable());
    loop {
        match (left.next(), right.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) => {
                let left_marks = std::iter::from_fn(|| left.next_if(|mark| is_mark(*mark))).count();
                let right_marks = std::iter::from_fn(|| right.next_if(|mark| is_mark(*mark))).count();
                let is_same = a == b && left_marks == right_marks;
                let is_put_apart = (is_composed(a) && b.is_ascii_alphabetic() && left_marks < right_marks)
                    || (is_composed(b) && a.is_ascii_alphabetic() && right_marks < left_marks);
                if !is_same && !is_put_apart {
                    return false;
                }
            }
            _ => return false,
        }
    }
}

fn plain(text: &str) -> String {
    let lower = text.to_lowercase();
    lower.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A mark that stands behind its letter.
fn is_mark(letter: char) -> bool {
    ('\u{300}'..='\u{36f}').contains(&letter)
}

/// A letter that can be written as a plain one with marks. Which one is not looked up: that all others agree tells enough.
fn is_composed(letter: char) -> bool {
    ('\u{c0}'..='\u{24f}').contains(&letter) || ('\u{1e00}'..='\u{1eff}').contains(&letter)
}
