//! Floating-point numbers as text: read as the C library does, shown with the fewest digits that tell a number from its
//! neighbours.

use num_bigint::BigInt;

use crate::expr::datum::Datum;
use crate::expr::error::{EvalError, SqlState};
use crate::expr::text::plain::{invalid, is_space};
use crate::expr::types::SqlType;

/// Beyond this exponent of two every number is infinite, or zero.
const BINARY_EXPONENT_MAX: i64 = 100_000;

/// Reads `real` or `double precision`.
pub(in crate::expr::text) fn float_in<'a>(ty: &SqlType, text: &'a str) -> Result<Datum<'a>, EvalError> {
    let is_single = *ty == SqlType::Float4;
    let no_float = || {
        let what = if is_single {
            "invalid input syntax for type real"
        } else {
            "invalid input syntax for type double precision"
        };
        invalid(text, what)
    };
    let begin = text.trim_start_matches(is_space);
    let Some((found, length)) = scan(begin) else { return Err(no_float()) };
    let value = found.as_datum(is_single).ok_or_else(no_float)?;
    let (is_infinite, is_zero) = match value {
        Datum::Float4(value) => (value.is_infinite(), value == 0.0),
        Datum::Float8(value) => (value.is_infinite(), value == 0.0),
        _ => (false, false),
    };
    if let Found::Number { is_zero: means_zero, .. } = found
        && (is_infinite || (is_zero && !means_zero))
    {
        let what = if is_single {
            "value is out of range for type real"
        } else {
            "value is out of range for type double precision"
        };
        let message = format!("\"{}\" is out of range for type {ty}", &begin[..length]);
        return Err(EvalError::quoting(SqlState::OUT_OF_RANGE, what, message));
    }
    if begin[length..].chars().all(is_space) { Ok(value) } else { Err(no_float()) }
}

/// What a text begins with.
enum Found {
    /// Digits in a form that Rust reads, and whether all of them are zero.
    Number {
        digits: String,
        is_zero: bool,
    },
    Infinity {
        is_negative: bool,
    },
    NaN,
}

impl Found {
    fn as_datum(&self, is_single: bool) -> Option<Datum<'static>> {
        let (double, single) = match self {
            Found::Number { digits, .. } if is_single => (0.0, digits.parse().ok()?),
            Found::Number { digits, .. } => (digits.parse().ok()?, 0.0),
            Found::Infinity { is_negative: false } => (f64::INFINITY, f32::INFINITY),
            Found::Infinity { is_negative: true } => (f64::NEG_INFINITY, f32::NEG_INFINITY),
            Found::NaN => (f64::NAN, f32::NAN),
        };
        Some(if is_single { Datum::Float4(single) } else { Datum::Float8(double) })
    }
}

/// The longest number that a text begins with, and its length.
fn scan(text: &str) -> Option<(Found, usize)> {
    let sign = usize::from(text.starts_with(['+', '-']));
    let is_negative = text.starts_with('-');
    let rest = &text[sign..];
    let begins = |word: &str| rest.get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word));
    for word in ["infinity", "inf"] {
        if begins(word) {
            return Some((Found::Infinity { is_negative }, sign + word.len()));
        }
    }
    if begins("nan") {
        // The library takes a payload in brackets, and ignores it.
        let payload = rest[3..].strip_prefix('(').and_then(|inner| inner.split_once(')'));
        let is_payload = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let length = payload
            .filter(|(inner, _)| inner.chars().all(is_payload))
            .map_or(0, |(inner, _)| inner.len() + 2);
        return Some((Found::NaN, sign + 3 + length));
    }
    if begins("0x")
        && let Some((digits, is_zero, length)) = hexadecimal(&rest[2..])
    {
        let digits = if is_negative { format!("-{digits}") } else { digits };
        return Some((Found::Number { digits, is_zero }, sign + 2 + length));
    }
    let (whole, fraction, mut length) = mantissa(rest, u8::is_ascii_digit)?;
    let is_zero = whole.bytes().chain(fraction.bytes()).all(|digit| digit == b'0');
    length += exponent(&rest[length..], b'e').map_or(0, |(_, length)| length);
    let digits = text[..sign + length].to_owned();
    Some((Found::Number { digits, is_zero }, sign + length))
}

/// Digits before and behind a point, and the length of all; at least one digit.
fn mantissa(text: &str, is_digit: impl Fn(&u8) -> bool) -> Option<(&str, &str, usize)> {
    let run = |text: &str| text.bytes().take_while(|digit| is_digit(digit)).count();
    let whole = run(text);
    let fraction = text[whole..].strip_prefix('.').map(|rest| (run(rest), 1)).unwrap_or((0, 0));
    let from = whole + fraction.1;
    let end = from + fraction.0;
    (whole + fraction.0 > 0).then(|| (&text[..whole], &text[from..end], end))
}

/// An exponent behind its letter, which saturates, and its length.
fn exponent(text: &str, letter: u8) -> Option<(i64, usize)> {
    let bytes = text.as_bytes();
    if bytes.first()?.to_ascii_lowercase() != letter {
        return None;
    }
    let sign = usize::from(matches!(bytes.get(1), Some(b'+' | b'-')));
    let digits = bytes[1 + sign..].iter().take_while(|digit| digit.is_ascii_digit());
    let add = |sum: i64, digit: &u8| (sum * 10 + i64::from(digit - b'0')).min(BINARY_EXPONENT_MAX * 10);
    let (count, value) = digits.fold((0, 0), |(count, sum), digit| (count + 1, add(sum, digit)));
    let value = if bytes.get(1) == Some(&b'-') { -value } else { value };
    (count > 0).then_some((value, 1 + sign + count))
}

/// A number in base sixteen, in base ten: every fraction of a power of two has an end there.
fn hexadecimal(text: &str) -> Option<(String, bool, usize)> {
    let (whole, fraction, mut length) = mantissa(text, u8::is_ascii_hexdigit)?;
    let number = BigInt::parse_bytes(format!("{whole}{fraction}").as_bytes(), 16)?;
    let (power, taken) = exponent(&text[length..], b'p').unwrap_or((0, 0));
    length += taken;
    let power = power - 4 * fraction.len() as i64;
    let is_zero = number == BigInt::ZERO;
    let digits = if power.abs() > BINARY_EXPONENT_MAX {
        format!("{}e{}", u8::from(!is_zero), power.signum() * BINARY_EXPONENT_MAX)
    } else if power >= 0 {
        (number << power).to_string()
    } else {
        format!("{}e{power}", number * BigInt::from(5).pow(power.unsigned_abs() as u32))
    };
    Some((digits, is_zero, length))
}

/// The shortest text of a `double precision` that reads as the same number.
pub(super) fn shown_f64(number: f64) -> String {
    if let Some(word) = word(number) {
        return word.to_owned();
    }
    let bits = number.to_bits();
    let (fraction, exponent) = (bits & ((1 << 52) - 1), (bits >> 52 & 0x7ff) as i32);
    let binary = Binary::new(fraction, exponent, 53, 1075);
    let round_trips = |text: &str| text.parse() == Ok(number.abs());
    let shortest = Shortest::find(format!("{:e}", number.abs()), &binary, number.abs(), round_trips);
    shortest.shown(number.is_sign_negative(), 15)
}

/// The same of a `real`.
pub(super) fn shown_f32(number: f32) -> String {
    if let Some(word) = word(number.into()) {
        return word.to_owned();
    }
    let bits = number.to_bits();
    let (fraction, exponent) = (u64::from(bits & ((1 << 23) - 1)), (bits >> 23 & 0xff) as i32);
    let binary = Binary::new(fraction, exponent, 24, 150);
    let round_trips = |text: &str| text.parse() == Ok(number.abs());
    let shortest = Shortest::find(format!("{:e}", number.abs()), &binary, number.abs().into(), round_trips);
    shortest.shown(number.is_sign_negative(), 6)
}

fn word(number: f64) -> Option<&'static str> {
    if number.is_nan() {
        Some("NaN")
    } else if number == f64::INFINITY {
        Some("Infinity")
    } else if number == f64::NEG_INFINITY {
        Some("-Infinity")
    } else if number == 0.0 {
        Some(if number.is_sign_negative() { "-0" } else { "0" })
    } else {
        None
    }
}

/// The exponent of two of a number whose mantissa is made odd, and how many bits its type has for one.
struct Binary {
    exponent: i32,
    precision: u32,
}

impl Binary {
    fn new(fraction: u64, exponent: i32, precision: u32, bias: i32) -> Binary {
        let mantissa = if exponent == 0 { fraction } else { fraction | 1 << (precision - 1) };
        let exponent = exponent.max(1) - bias + mantissa.trailing_zeros() as i32;
        Binary { exponent, precision }
    }
}

/// Digits without zeros at the end, how many they are, and the power of ten that the first of them counts.
struct Shortest {
    digits: u64,
    length: i32,
    exponent: i32,
}

impl Shortest {
    /// From what Rust finds, which differs in two places. Postgres takes no digits that lie exactly between two numbers, even
    /// if they are read as the right one; and where two shortest texts are equally near, it takes the even one.
    fn find(rust: String, binary: &Binary, magnitude: f64, round_trips: impl Fn(&str) -> bool) -> Shortest {
        let found = Shortest::read(&rust);
        if found.is_between(binary.precision) {
            // Both types are told apart by seventeen digits.
            for more in found.length as usize..17 {
                let text = format!("{magnitude:.more$e}");
                let longer = Shortest::read(&text);
                if !longer.is_between(binary.precision) && round_trips(&text) {
                    return longer;
                }
            }
        }
        // Digits behind the point: those of an odd mantissa are as many as its negative exponent.
        let decimals = found.length - 1 - found.exponent;
        if decimals > 0 && binary.exponent == -(decimals + 1) {
            let text = format!("{magnitude:.0$e}", found.length as usize);
            let even = Shortest::read(&text).half_to_even();
            // Below a power of two numbers are nearer to each other, and the even text may be another's.
            if round_trips(&format!("{}e{}", even.digits, even.exponent + 1 - even.length)) {
                return even;
            }
        }
        found
    }

    /// From `1.25e-3`.
    fn read(text: &str) -> Shortest {
        let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
        let bytes = mantissa.bytes().filter(u8::is_ascii_digit);
        let digits = bytes.fold(0, |sum: u64, digit| sum * 10 + u64::from(digit - b'0'));
        Shortest::new(digits, exponent.parse().unwrap_or(0))
    }

    fn new(mut digits: u64, exponent: i32) -> Shortest {
        while digits >= 10 && digits.is_multiple_of(10) {
            digits /= 10;
        }
        let length = digits.checked_ilog10().unwrap_or(0) as i32 + 1;
        Shortest { digits, length, exponent }
    }

    /// Whether it lies exactly in the middle of two neighbours: then it takes one bit more than its type has.
    fn is_between(&self, precision: u32) -> bool {
        /// 5^24 has more bits than any mantissa.
        const POWER_MAX: u32 = 24;
        let power = self.exponent - (self.length - 1);
        if power.unsigned_abs() > POWER_MAX {
            return false;
        }
        let fives = 5_u64.pow(power.unsigned_abs());
        let odd = match power {
            0.. => u128::from(self.digits) * u128::from(fives),
            _ if !self.digits.is_multiple_of(fives) => return false,
            _ => u128::from(self.digits / fives),
        };
        u128::BITS - odd.leading_zeros() - odd.trailing_zeros() == precision + 1
    }

    /// Without the last digit, which is a five.
    fn half_to_even(self) -> Shortest {
        let digits = self.digits / 10;
        let even = digits + digits % 2;
        // Nines may have become a one and zeros.
        let grown = even.checked_ilog10().unwrap_or(0) as i32 + 2 - self.length;
        Shortest::new(even, self.exponent + grown)
    }

    /// As text; numbers from 10^`least` on have an exponent.
    fn shown(&self, is_negative: bool, least: i32) -> String {
        let mut shown = String::with_capacity(32);
        if is_negative {
            shown.push('-');
        }
        let digits = self.digits.to_string();
        match self.exponent {
            exponent @ 0.. if exponent < least => {
                let whole = exponent as usize + 1;
                let (before, behind) = digits.split_at(whole.min(digits.len()));
                shown.push_str(before);
                shown.extend(std::iter::repeat_n('0', whole - before.len()));
                if !behind.is_empty() {
                    shown.push('.');
                    shown.push_str(behind);
                }
            }
            exponent @ -4..0 => {
                shown.push_str("0.");
                shown.extend(std::iter::repeat_n('0', exponent.unsigned_abs() as usize - 1));
                shown.push_str(&digits);
            }
            exponent => {
                let (first, rest) = digits.split_at(1);
                shown.push_str(first);
                if !rest.is_empty() {
                    shown.push('.');
                    shown.push_str(rest);
                }
                let sign = if exponent < 0 { '-' } else { '+' };
                shown.push_str(&format!("e{sign}{:02}", exponent.unsigned_abs()));
            }
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts from Postgres 15 and 18, with `extra_float_digits` at 3.
    #[test]
    fn floats_are_shown_as_on_the_server() {
        let cases = [
            (0.1, "0.1"),
            (-0.0, "-0"),
            (1e14, "100000000000000"),
            (1e15, "1e+15"),
            (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
            (0.0001, "0.0001"),
            (0.000_01, "1e-05"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
            // Exactly between two numbers.
            (1e23, "9.999999999999999e+22"),
            (8.41e21, "8.409999999999999e+21"),
            // Two shortest texts are equally near.
            (4_503_599_627_370_497.0 / 4.0, "1.1258999068426242e+15"),
            (4_503_599_627_370_499.0 / 4.0, "1.1258999068426248e+15"),
            (4_503_599_627_370_497.0 / 8.0, "562949953421312.1"),
            (2_f64.powi(-24), "5.960464477539063e-08"),
        ];
        for (number, expected) in cases {
            assert_eq!(shown_f64(number), expected);
        }
        let cases = [
            (0.1, "0.1"),
            (999_999.0, "999999"),
            (1e6, "1e+06"),
            (0.000_01, "1e-05"),
            (1e-45, "1e-45"),
            (16_777_216.0, "1.6777216e+07"),
            (8_388_609.0 / 4.0, "2.0971522e+06"),
            (8_388_615.0 / 4.0, "2.0971538e+06"),
        ];
        for (number, expected) in cases {
            assert_eq!(shown_f32(number), expected);
        }
    }

    /// The C library reads more than digits, and what it does not read ends the number.
    #[test]
    fn floats_are_read_as_on_the_server() {
        let read = |text: &str| match float_in(&SqlType::Float8, text).unwrap() {
            Datum::Float8(value) => shown_f64(value),
            other => panic!("{other:?}"),
        };
        let cases = [
            (" 1.e5\t", "100000"),
            (".5", "0.5"),
            ("-0", "-0"),
            ("0e999999", "0"),
            ("1e-320", "1e-320"),
            ("0x10", "16"),
            ("-0x1p-3", "-0.125"),
            ("0x.8P1", "1"),
            ("nan(abc)", "NaN"),
            ("-NaN", "NaN"),
            ("+inf", "Infinity"),
            ("-iNFINITY", "-Infinity"),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text), expected, "{text}");
        }
        for text in ["", ".", "e5", "1e", "1d5", "1_0", "infi", "0x", "nan(", "1 1", "+ 1"] {
            assert_eq!(
                float_in(&SqlType::Float8, text).unwrap_err().state(),
                SqlState::INVALID_TEXT,
                "{text}"
            );
        }
        for (text, quoted) in
            [("1e400", "1e400"), (" -1e400x", "-1e400"), ("1e-400", "1e-400"), ("0x1p2000", "0x1p2000")]
        {
            let error = float_in(&SqlType::Float8, text).unwrap_err();
            let message = format!("\"{quoted}\" is out of range for type double precision");
            assert_eq!((error.state(), error.message_with_values()), (SqlState::OUT_OF_RANGE, &*message));
        }
        assert_eq!(float_in(&SqlType::Float4, "1e-45").unwrap(), Datum::Float4(1e-45));
        assert_eq!(float_in(&SqlType::Float4, "1e-46").unwrap_err().state(), SqlState::OUT_OF_RANGE);
    }
}
