//! Numbers from their text and back.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use num_bigint::BigInt;

use super::{Numeric, WHOLE_DIGITS_MAX, overflow, power_of_ten, scaled_up};
use crate::expr::error::{EvalError, SqlState};

/// Exponents from here on are refused even of zero.
const EXPONENT_MAX: i64 = 1_073_741_823;

/// Reads what both supported versions of Postgres read: digits in other bases and underscores between digits are
/// known to the newer one only, and refused.
impl FromStr for Numeric {
    type Err = EvalError;

    fn from_str(text: &str) -> Result<Numeric, EvalError> {
        let trimmed =
            text.trim_matches(|letter| matches!(letter, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c'));
        let invalid = || {
            let what = "invalid input syntax for type numeric";
            EvalError::quoting(SqlState::INVALID_TEXT, what, format!("{what}: \"{text}\""))
        };
        match Written::scan(trimmed) {
            Some(written) => written.number(),
            None => word(trimmed).ok_or_else(invalid),
        }
    }
}

fn word(text: &str) -> Option<Numeric> {
    let (is_negative, word) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ if text.eq_ignore_ascii_case("nan") => return Some(Numeric::NAN),
        _ => (false, text),
    };
    let is_infinite = word.eq_ignore_ascii_case("infinity") || word.eq_ignore_ascii_case("inf");
    is_infinite.then_some(if is_negative { Numeric::NEGATIVE_INFINITY } else { Numeric::INFINITY })
}

/// The parts of a written number.
struct Written<'t> {
    is_negative: bool,
    whole: &'t str,
    fraction: &'t str,
    exponent: i64,
}

impl<'t> Written<'t> {
    /// Nothing unless the whole text is a number.
    fn scan(text: &'t str) -> Option<Written<'t>> {
        let (is_negative, text) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (whole, rest) = digits(text);
        let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), digits);
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let exponent = match rest.as_bytes().first() {
            None => 0,
            Some(b'e' | b'E') => exponent(&rest[1..])?,
            Some(_) => return None,
        };
        Some(Written { is_negative, whole, fraction, exponent })
    }

    fn number(&self) -> Result<Numeric, EvalError> {
        if self.exponent.abs() >= EXPONENT_MAX {
            return Err(overflow());
        }
        let scale = self.fraction.len() as i64 - self.exponent;
        // A positive exponent beyond the fraction's digits appends zeros.
        let shown = u16::try_from(scale.max(0)).map_err(|_| overflow())?;
        if self.whole.len() + self.fraction.len() <= 38 {
            let magnitude = self.bytes().fold(0_i128, |sum, digit| sum * 10 + i128::from(digit - b'0'));
            let coefficient = if self.is_negative { -magnitude } else { magnitude };
            if coefficient == 0 {
                return Numeric::small(0, shown);
            }
            let zeros = u16::try_from((-scale).max(0)).ok();
            if let Some(scaled) = zeros.and_then(|zeros| scaled_up(coefficient, zeros)) {
                return Numeric::small(scaled, shown);
            }
        }
        self.big(scale, shown)
    }

    fn big(&self, scale: i64, shown: u16) -> Result<Numeric, EvalError> {
        let digits = self.bytes().skip_while(|digit| *digit == b'0').collect::<Vec<_>>();
        let length = digits.len() as i64 - scale;
        if !digits.is_empty() && length > WHOLE_DIGITS_MAX as i64 {
            return Err(overflow());
        }
        let magnitude = BigInt::parse_bytes(&digits, 10).unwrap_or_default();
        let coefficient = if self.is_negative { -magnitude } else { magnitude };
        if scale < 0 && !digits.is_empty() {
            return Numeric::new(coefficient * power_of_ten((-scale) as u32), shown);
        }
        Numeric::new(coefficient, shown)
    }

    fn bytes(&self) -> impl Iterator<Item = u8> {
        self.whole.bytes().chain(self.fraction.bytes())
    }
}

/// The digits that a text begins with, and the rest.
fn digits(text: &str) -> (&str, &str) {
    let length = text.bytes().take_while(u8::is_ascii_digit).count();
    text.split_at(length)
}

/// An exponent, which saturates.
fn exponent(text: &str) -> Option<i64> {
    let (is_negative, rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (found, rest) = digits(rest);
    if found.is_empty() || !rest.is_empty() {
        return None;
    }
    let value = found.bytes().fold(0_i64, |sum, digit| (sum * 10 + i64::from(digit - b'0')).min(1 << 40));
    Some(if is_negative { -value } else { value })
}

impl fmt::Display for Numeric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl Numeric {
    /// The text that Postgres shows.
    pub(crate) fn shown(&self) -> Cow<'static, str> {
        if let Some((coefficient, scale)) = self.as_small() {
            let mut buffer = [0; 40];
            let digits = write_digits(coefficient.unsigned_abs(), &mut buffer);
            return Cow::Owned(with_point(coefficient < 0, digits, scale.into()));
        }
        if let Some((coefficient, scale)) = self.parts() {
            let digits = coefficient.magnitude().to_string();
            return Cow::Owned(with_point(self.is_negative(), digits.as_bytes(), scale.into()));
        }
        Cow::Borrowed(match self.rank() {
            2 => "NaN",
            1 => "Infinity",
            _ => "-Infinity",
        })
    }
}

/// The digits of a number, at the end of a buffer.
fn write_digits(mut number: u128, buffer: &mut [u8; 40]) -> &[u8] {
    let mut at = buffer.len();
    while let Err(_) | Ok(10..) = u64::try_from(number) {
        // Division of 64 bits is many times faster than that of 128.
        let (rest, digit) = match u64::try_from(number) {
            Ok(short) => (u128::from(short / 10), (short % 10) as u8),
            Err(_) => (number / 10, (number % 10) as u8),
        };
        number = rest;
        at -= 1;
        buffer[at] = b'0' + digit;
    }
    at -= 1;
    buffer[at] = b'0' + number as u8;
    &buffer[at..]
}

fn with_point(is_negative: bool, digits: &[u8], scale: usize) -> String {
    let mut shown = Vec::with_capacity(digits.len().max(scale) + 3);
    if is_negative {
        shown.push(b'-');
    }
    if digits.len() > scale {
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        shown.extend_from_slice(whole);
        if !fraction.is_empty() {
            shown.push(b'.');
            shown.extend_from_slice(fraction);
        }
    } else {
        shown.extend_from_slice(b"0.");
        shown.resize(shown.len() + scale - digits.len(), b'0');
        shown.extend_from_slice(digits);
    }
    // Digits, a point and a sign are ASCII, so nothing is ever replaced.
    String::from_utf8(shown).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts as Postgres 15 and 18 read and show them.
    #[test]
    fn texts_are_read_and_shown_as_on_the_server() {
        let long = "9".repeat(60);
        let cases = [
            ("0", "0"),
            ("-0.00", "0.00"),
            (" +12.340\n", "12.340"),
            (".5", "0.5"),
            ("5.", "5"),
            ("1.e5", "100000"),
            (".5e1", "5"),
            ("1.50E1", "15.0"),
            ("1.5e-1", "0.15"),
            ("1e-10", "0.0000000001"),
            ("0e2000000", "0"),
            ("-170141183460469231731687303715884105728", "-170141183460469231731687303715884105728"),
            ("170141183460469231731687303715884105.728", "170141183460469231731687303715884105.728"),
            ("-inf", "-Infinity"),
            ("+iNfinity", "Infinity"),
            ("NAN", "NaN"),
            (&long, &long),
        ];
        for (text, shown) in cases {
            assert_eq!(text.parse::<Numeric>().unwrap().to_string(), shown, "{text}");
        }
        assert_eq!("1e131071".parse::<Numeric>().unwrap().to_string().len(), 131_072);
    }

    /// What one of the supported versions refuses is refused, in the words and with the code of the server.
    #[test]
    fn what_is_no_number_is_refused_as_on_the_server() {
        for text in [
            "", " ", ".", "e5", "1e", "1e+", "+nan", "infi", "- 1", "1 1", "1e 1", "0x10", "1_0", "--1",
            "1.2.3",
        ] {
            assert_eq!(text.parse::<Numeric>().unwrap_err().state(), SqlState::INVALID_TEXT, "{text}");
        }
        for text in
            ["1e131072", "1e-16384", "0e-16384", "1e1000000000", "1e99999999999999999999", "0e99999999999999"]
        {
            let error = text.parse::<Numeric>().unwrap_err();
            assert_eq!(error.state(), SqlState::OUT_OF_RANGE, "{text}");
            assert_eq!(error.message_with_values(), "value overflows numeric format");
        }
        assert!("12x".parse::<Numeric>().unwrap_err().message_with_values().ends_with("numeric: \"12x\""));
    }
}
