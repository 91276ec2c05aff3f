//! Fewer digits, or more.

use num_bigint::{BigInt, Sign};

use super::{
    Numeric, POWERS_OF_TEN, SCALE_MAX, WHOLE_DIGITS_MAX, power_of_ten, scaled_up, without_last_zeros,
};
use crate::expr::error::{EvalError, SqlState};

/// What becomes of digits that are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rounding {
    /// To the nearest, and away from zero from the middle.
    HalfAway,
    /// Towards zero.
    Truncate,
    /// To the next that is less.
    Down,
    /// To the next that is greater.
    Up,
}

impl Rounding {
    /// How far the quotient moves, given the sign of what was dropped and whether that is half of a unit or more.
    fn step(self, sign: i8, is_half: bool) -> i8 {
        match self {
            Rounding::HalfAway if is_half => sign,
            Rounding::Down => sign.min(0),
            Rounding::Up => sign.max(0),
            Rounding::HalfAway | Rounding::Truncate => 0,
        }
    }
}

impl Numeric {
    /// With so many digits behind the point. A negative scale rounds in front of it.
    pub(crate) fn rounded(&self, scale: i64, how: Rounding) -> Result<Numeric, EvalError> {
        let scale = scale.clamp(-(WHOLE_DIGITS_MAX as i64), SCALE_MAX.into());
        let shown = scale.max(0) as u16;
        if let Some((coefficient, from)) = self.as_small() {
            let dropped = i64::from(from) - scale;
            let found = if dropped <= 0 {
                scaled_up(coefficient, shown - from)
            } else {
                let quotient = divided_small(coefficient, dropped as usize, how);
                u16::try_from((-scale).max(0)).ok().and_then(|zeros| scaled_up(quotient, zeros))
            };
            if let Some(found) = found {
                return Numeric::small(found, shown);
            }
        }
        let Some((coefficient, from)) = self.parts() else { return Ok(self.clone()) };
        let dropped = i64::from(from) - scale;
        if dropped <= 0 {
            return Numeric::new(coefficient * power_of_ten((-dropped) as u32), shown);
        }
        let quotient = divided(&coefficient, &power_of_ten(dropped as u32), how);
        Numeric::new(quotient * power_of_ten((-scale).max(0) as u32), shown)
    }

    /// Brought to `numeric(precision, scale)`.
    pub(crate) fn fitted(self, precision: u16, scale: i16) -> Result<Numeric, EvalError> {
        let overflow = || EvalError::new(SqlState::OUT_OF_RANGE, "numeric field overflow");
        if self.is_nan() {
            return Ok(self);
        }
        if !self.is_finite() {
            return Err(overflow());
        }
        let same = u16::try_from(scale).is_ok_and(|scale| self.scale() == Some(scale));
        let fitted = if same { self } else { self.rounded(scale.into(), Rounding::HalfAway)? };
        // A negative scale leaves zeros in front of the point, which the precision does not count.
        let most = u32::from(precision) + u32::from(scale.min(0).unsigned_abs());
        let fits = match (fitted.as_small(), POWERS_OF_TEN.get(most as usize)) {
            (Some((coefficient, _)), Some(limit)) => coefficient.abs() < *limit,
            (Some(_), None) => true,
            (None, _) => fitted
                .parts()
                .is_some_and(|(coefficient, _)| coefficient.magnitude() < power_of_ten(most).magnitude()),
        };
        if fits { Ok(fitted) } else { Err(overflow()) }
    }

    /// The least scale that shows all of its value.
    pub(crate) fn min_scale(&self) -> Option<u16> {
        self.trimmed().scale()
    }

    /// Without zeros at the end of what is behind the point.
    pub(crate) fn trimmed(&self) -> Numeric {
        let Some((coefficient, scale)) = self.parts() else { return self.clone() };
        if self.is_zero() {
            return Numeric::ZERO;
        }
        let (coefficient, dropped) = without_last_zeros(coefficient, scale.into());
        Numeric::new(coefficient, scale - dropped as u16).unwrap_or_else(|_| self.clone())
    }
}

/// Divides by a power of ten.
fn divided_small(coefficient: i128, power: usize, how: Rounding) -> i128 {
    let sign = coefficient.signum() as i8;
    // More than all digits are dropped, and they are less than half.
    let Some(divisor) = POWERS_OF_TEN.get(power) else { return how.step(sign, false).into() };
    let (quotient, rest) = match (i64::try_from(coefficient), i64::try_from(*divisor)) {
        (Ok(short), Ok(divisor)) => (i128::from(short / divisor), i128::from(short % divisor)),
        _ => (coefficient / divisor, coefficient % divisor),
    };
    if rest == 0 {
        return quotient;
    }
    let is_half = rest.unsigned_abs() >= divisor.unsigned_abs() - rest.unsigned_abs();
    quotient + i128::from(how.step(sign, is_half))
}

/// Divides integers.
pub(super) fn divided(number: &BigInt, divisor: &BigInt, how: Rounding) -> BigInt {
    let (quotient, rest) = (number / divisor, number % divisor);
    if rest.sign() == Sign::NoSign {
        return quotient;
    }
    let sign = if number.sign() == divisor.sign() { 1 } else { -1 };
    let is_half = rest.magnitude() * 2_u32 >= *divisor.magnitude();
    quotient + how.step(sign, is_half)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Numeric {
        text.parse().unwrap()
    }

    /// Texts from Postgres 15 and 18.
    #[test]
    fn rounding_is_that_of_the_server() {
        use Rounding::{Down, HalfAway, Truncate, Up};
        let cases = [
            ("2.5", 0, HalfAway, "3"),
            ("-2.45", 1, HalfAway, "-2.5"),
            ("255", -1, HalfAway, "260"),
            ("499.9", -3, HalfAway, "0"),
            ("500", -3, HalfAway, "1000"),
            ("5.5", 2, HalfAway, "5.50"),
            ("-2.99", 1, Truncate, "-2.9"),
            ("255", -1, Truncate, "250"),
            ("-0.5", 0, Up, "0"),
            ("2.1", 0, Up, "3"),
            ("-2.1", 0, Down, "-3"),
            ("1e-50", 0, Up, "1"),
            ("-1e-50", 0, Down, "-1"),
            ("5e-50", 49, HalfAway, "0.0000000000000000000000000000000000000000000000001"),
            ("NaN", 2, HalfAway, "NaN"),
            ("-Infinity", 2, Up, "-Infinity"),
        ];
        for (number, scale, how, expected) in cases {
            assert_eq!(of(number).rounded(scale, how).unwrap().to_string(), expected, "{number}");
        }
    }

    /// A value that does not fit its column must not be stored as another.
    #[test]
    fn a_precision_rounds_and_refuses_as_the_server_does() {
        let fit = |number: &str, precision, scale| {
            of(number).fitted(precision, scale).map(|found| found.to_string())
        };
        assert_eq!(fit("155", 2, -1).unwrap(), "160");
        assert_eq!(fit("0.0051", 2, 4).unwrap(), "0.0051");
        assert_eq!(fit("99.994", 4, 2).unwrap(), "99.99");
        assert_eq!(fit("1", 50, 40).unwrap(), "1.0000000000000000000000000000000000000000");
        assert_eq!(fit("NaN", 4, 2).unwrap(), "NaN");
        for (number, precision, scale) in
            [("99.995", 4, 2), ("995", 2, -1), ("0.01", 2, 4), ("1e45", 45, 0), ("Infinity", 4, 2)]
        {
            let error = fit(number, precision, scale).unwrap_err();
            assert_eq!(error.state(), SqlState::OUT_OF_RANGE, "{number}");
            assert_eq!(error.message_with_values(), "numeric field overflow");
        }
    }
}
