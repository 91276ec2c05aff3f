//! To and from the other types of numbers.

use super::round::Rounding;
use super::{Numeric, POWERS_OF_TEN};
use crate::expr::error::EvalError;

impl From<i64> for Numeric {
    fn from(number: i64) -> Numeric {
        // A scale of zero always has room.
        Numeric::small(number.into(), 0).unwrap_or(Numeric::ZERO)
    }
}

impl Numeric {
    /// From `double precision`, of which fifteen digits count.
    pub(crate) fn from_f64(number: f64) -> Result<Numeric, EvalError> {
        Numeric::from_digits(number, 15)
    }

    /// From `real`, of which six digits count.
    pub(crate) fn from_f32(number: f32) -> Result<Numeric, EvalError> {
        Numeric::from_digits(number.into(), 6)
    }

    fn from_digits(number: f64, digits: usize) -> Result<Numeric, EvalError> {
        if number.is_nan() {
            return Ok(Numeric::NAN);
        }
        if number.is_infinite() {
            return Ok(if number > 0.0 { Numeric::INFINITY } else { Numeric::NEGATIVE_INFINITY });
        }
        let written = format!("{number:.0$e}", digits - 1);
        let (digits, exponent) = written.split_once('e').unwrap_or((&written, "0"));
        let digits = digits.trim_end_matches('0').trim_end_matches('.');
        format!("{digits}e{exponent}").parse()
    }

    /// The nearest integer, away from zero from the middle, if it fits.
    pub(crate) fn to_i64(&self) -> Option<i64> {
        let rounded = match self.scale()? {
            0 => self.as_small(),
            _ => self.rounded(0, Rounding::HalfAway).ok()?.as_small(),
        };
        rounded.and_then(|(whole, _)| i64::try_from(whole).ok())
    }

    /// The nearest `double precision`; nothing where that would be infinite or zero for another number.
    pub(crate) fn to_f64(&self) -> Option<f64> {
        /// Integers up to here, and powers of ten up to 22, are exact, so their quotient is rounded once.
        const EXACT_MAX: u128 = 1 << 53;
        match self.as_small() {
            Some((coefficient, scale @ 0..=22)) if coefficient.unsigned_abs() <= EXACT_MAX => {
                Some(coefficient as f64 / POWERS_OF_TEN[usize::from(scale)] as f64)
            }
            _ => {
                let found = self.shown().parse::<f64>().ok()?;
                (!self.is_finite() || (found.is_finite() && (found != 0.0 || self.is_zero())))
                    .then_some(found)
            }
        }
    }

    /// The nearest `real`; nothing where that would be infinite or zero for another number.
    pub(crate) fn to_f32(&self) -> Option<f32> {
        let found = self.shown().parse::<f32>().ok()?;
        (!self.is_finite() || (found.is_finite() && (found != 0.0 || self.is_zero()))).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts from Postgres 15 and 18.
    #[test]
    fn floats_keep_the_digits_that_count() {
        let cases = [
            (1e20, "100000000000000000000"),
            (1e-5, "0.00001"),
            (123_456_789.123_456_79, "123456789.123457"),
            (-0.0, "0"),
            (123_450.0, "123450"),
            (f64::INFINITY, "Infinity"),
            (f64::NAN, "NaN"),
        ];
        for (number, expected) in cases {
            assert_eq!(Numeric::from_f64(number).unwrap().to_string(), expected);
        }
        assert_eq!(Numeric::from_f32(1_234_567.8).unwrap().to_string(), "1234570");
        assert_eq!(Numeric::from_f32(0.1).unwrap().to_string(), "0.1");
    }

    /// What has no room must fail, never become a neighbour, an infinity or zero.
    #[test]
    fn numbers_become_the_nearest() {
        let of = |text: &str| text.parse::<Numeric>().unwrap();
        let integers = [("2.5", Some(3)), ("-2.5", Some(-3)), ("9223372036854775807.4", Some(i64::MAX))];
        for (text, expected) in integers {
            assert_eq!(of(text).to_i64(), expected);
        }
        for text in ["9223372036854775807.5", "NaN", "Infinity", "1e50"] {
            assert_eq!(of(text).to_i64(), None);
        }
        assert_eq!(of("0.1").to_f64(), Some(0.1));
        assert_eq!(of("123456789012345678901234567890.123").to_f64(), Some(1.234_567_890_123_456_8e29));
        assert_eq!(of("-Infinity").to_f64(), Some(f64::NEG_INFINITY));
        assert_eq!((of("1e400").to_f64(), of("1e-400").to_f64()), (None, None));
        assert_eq!((of("1e40").to_f32(), of("1e-60").to_f32(), of("0.00").to_f32()), (None, None, Some(0.0)));
    }
}
