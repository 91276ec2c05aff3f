//! Square roots.

use super::arithmetic::Lead;
use super::{Numeric, SHOWN_SCALE_MAX, power_of_ten};
use crate::expr::error::{EvalError, SqlState};

/// `invalid_argument_for_power_function`, which Postgres gives for roots as well.
pub(crate) const INVALID_POWER: SqlState = SqlState(*b"2201F");

pub(crate) fn negative_root() -> EvalError {
    EvalError::new(INVALID_POWER, "cannot take square root of a negative number")
}

impl Numeric {
    /// The square root, rounded to the digits that Postgres shows: those of the number itself or sixteen that count.
    pub(crate) fn square_root(&self) -> Result<Numeric, EvalError> {
        if self.is_negative() {
            return Err(negative_root());
        }
        let (Some(finite), Some((coefficient, from))) = (self.finite(), self.parts()) else {
            return Ok(self.clone());
        };
        let scale = (15 - 2 * Lead::of(&finite).weight).max(from.into()).clamp(0, SHOWN_SCALE_MAX);
        // The root of c / 10^from, times 10^scale, is that of c * 10^(2 * scale - from).
        let power = 2 * scale - i32::from(from);
        let factor = power_of_ten(power.unsigned_abs());
        let (number, divisor) =
            if power >= 0 { (coefficient * factor, 1.into()) } else { (coefficient, factor) };
        let root = (&number / &divisor).sqrt();
        let middle = &root * 2 + 1;
        let is_above = number * 4 >= &middle * &middle * divisor;
        Numeric::new(root + u8::from(is_above), scale as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts from Postgres 15 and 18.
    #[test]
    fn roots_have_the_digits_of_the_server() {
        let cases = [
            ("2.0", "1.414213562373095"),
            ("200.0", "14.142135623730950"),
            ("2e20", "14142135623.73095"),
            ("2e-3", "0.04472135954999579"),
            ("1e-8", "0.0001000000000000000"),
            ("1e-9", "0.000031622776601683793"),
            ("0.0000", "0.000000000000000"),
            ("99999999.0", "9999.9999499999999"),
            ("1e40", "100000000000000000000"),
            ("Infinity", "Infinity"),
            ("NaN", "NaN"),
        ];
        for (number, expected) in cases {
            assert_eq!(number.parse::<Numeric>().unwrap().square_root().unwrap().to_string(), expected);
        }
        assert_eq!(Numeric::NEGATIVE_INFINITY.square_root().unwrap_err().state(), INVALID_POWER);
    }
}
