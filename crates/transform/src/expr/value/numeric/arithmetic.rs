//! Sums, products, quotients, and the scales that Postgres gives them.

use std::cmp::Ordering;

use num_bigint::{BigInt, BigUint};

use super::round::{Rounding, divided};
use super::{
    Finite, Numeric, POWERS_OF_TEN, SCALE_MAX, SHOWN_SCALE_MAX, SIGNIFICANT_DIGITS_MIN, decimal_digits,
    overflow, power_of_ten, scaled_up,
};
use crate::expr::error::{EvalError, SqlState};

/// The greatest number that has a factorial with room in a `numeric`.
const FACTORIAL_MAX: i64 = 32_177;

impl Numeric {
    pub(crate) fn negated(&self) -> Numeric {
        match self.finite() {
            Some(Finite::Small(coefficient, scale)) => coefficient.checked_neg().map_or_else(
                || Numeric::new(-BigInt::from(coefficient), scale),
                |negated| Numeric::small(negated, scale),
            ),
            Some(Finite::Big(coefficient, scale)) => Numeric::new(-coefficient, scale),
            None => Ok(match self.rank() {
                1 => Numeric::NEGATIVE_INFINITY,
                -1 => Numeric::INFINITY,
                _ => Numeric::NAN,
            }),
        }
        // What has room keeps it with the other sign.
        .unwrap_or(Numeric::NAN)
    }

    pub(crate) fn absolute(&self) -> Numeric {
        if self.is_negative() { self.negated() } else { self.clone() }
    }

    /// -1, 0 or 1, or NaN.
    pub(crate) fn signum(&self) -> Numeric {
        if self.is_nan() {
            return Numeric::NAN;
        }
        Numeric::from(self.direction())
    }

    fn direction(&self) -> i64 {
        match self.cmp(&Numeric::ZERO) {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        }
    }

    /// An infinity with the sign of `direction`; NaN for none.
    fn infinite(direction: i64) -> Numeric {
        match direction.cmp(&0) {
            Ordering::Less => Numeric::NEGATIVE_INFINITY,
            Ordering::Equal => Numeric::NAN,
            Ordering::Greater => Numeric::INFINITY,
        }
    }

    /// Both coefficients at the scale of the finer one, where they fit.
    fn aligned_small(&self, other: &Numeric) -> Option<(i128, i128, u16)> {
        let ((left, left_scale), (right, right_scale)) = (self.as_small()?, other.as_small()?);
        let scale = left_scale.max(right_scale);
        Some((scaled_up(left, scale - left_scale)?, scaled_up(right, scale - right_scale)?, scale))
    }

    /// The same in any size; nothing unless both are finite.
    fn aligned(&self, other: &Numeric) -> Option<(BigInt, BigInt, u16)> {
        let ((left, left_scale), (right, right_scale)) = (self.parts()?, other.parts()?);
        let scale = left_scale.max(right_scale);
        Some((left * power_of_ten(scale - left_scale), right * power_of_ten(scale - right_scale), scale))
    }

    pub(crate) fn plus(&self, other: &Numeric) -> Result<Numeric, EvalError> {
        if let Some((left, right, scale)) = self.aligned_small(other)
            && let Some(sum) = left.checked_add(right)
        {
            return Numeric::small(sum, scale);
        }
        if let Some((left, right, scale)) = self.aligned(other) {
            return Numeric::new(left + right, scale);
        }
        Ok(match (self.rank(), other.rank()) {
            (2, _) | (_, 2) | (1, -1) | (-1, 1) => Numeric::NAN,
            (0, infinite) | (infinite, _) => Numeric::infinite(infinite.into()),
        })
    }

    pub(crate) fn minus(&self, other: &Numeric) -> Result<Numeric, EvalError> {
        if let Some((left, right, scale)) = self.aligned_small(other)
            && let Some(difference) = left.checked_sub(right)
        {
            return Numeric::small(difference, scale);
        }
        self.plus(&other.negated())
    }

    pub(crate) fn times(&self, other: &Numeric) -> Result<Numeric, EvalError> {
        let product = match (self.finite(), other.finite()) {
            (Some(Finite::Small(left, left_scale)), Some(Finite::Small(right, right_scale))) => {
                match left.checked_mul(right) {
                    Some(product) if left_scale + right_scale <= SCALE_MAX => {
                        return Numeric::small(product, left_scale + right_scale);
                    }
                    _ => (BigInt::from(left) * right, left_scale + right_scale),
                }
            }
            (Some(_), Some(_)) => match (self.parts(), other.parts()) {
                (Some((left, left_scale)), Some((right, right_scale))) => {
                    (left * right, left_scale + right_scale)
                }
                _ => return Err(overflow()),
            },
            _ if self.is_nan() || other.is_nan() => return Ok(Numeric::NAN),
            _ => return Ok(Numeric::infinite(self.direction() * other.direction())),
        };
        let (product, scale) = product;
        let dropped = scale.saturating_sub(SCALE_MAX);
        if dropped == 0 {
            return Numeric::new(product, scale);
        }
        Numeric::new(divided(&product, &power_of_ten(dropped), Rounding::HalfAway), SCALE_MAX)
    }

    /// The quotient, with as many digits as Postgres finds: sixteen that count, or more where an operand shows more.
    pub(crate) fn divided_by(&self, other: &Numeric) -> Result<Numeric, EvalError> {
        if let Some(special) = self.special_quotient(other)? {
            return Ok(special);
        }
        let (Some(left), Some(right)) = (self.finite(), other.finite()) else { return Ok(Numeric::NAN) };
        let (left_lead, right_lead) = (Lead::of(&left), Lead::of(&right));
        let weight = left_lead.weight - right_lead.weight - i32::from(left_lead.group <= right_lead.group);
        let shown = i32::from(left.scale().max(right.scale()));
        let scale = (SIGNIFICANT_DIGITS_MIN - weight * 4).max(shown).clamp(0, SHOWN_SCALE_MAX);
        self.quotient(other, scale as u16, Rounding::HalfAway)
    }

    /// The whole quotient, truncated.
    pub(crate) fn whole_quotient(&self, other: &Numeric) -> Result<Numeric, EvalError> {
        match self.special_quotient(other)? {
            Some(special) => Ok(special),
            None => self.quotient(other, 0, Rounding::Truncate),
        }
    }

    /// Quotients with zero, infinities and NaN.
    fn special_quotient(&self, other: &Numeric) -> Result<Option<Numeric>, EvalError> {
        if self.is_nan() || other.is_nan() {
            return Ok(Some(Numeric::NAN));
        }
        if other.is_zero() {
            return Err(division_by_zero());
        }
        Ok(match (self.is_finite(), other.is_finite()) {
            (true, true) => None,
            (true, false) => Some(Numeric::ZERO),
            (false, true) => Some(Numeric::infinite(self.direction() * other.direction())),
            (false, false) => Some(Numeric::NAN),
        })
    }

    pub(super) fn quotient(&self, other: &Numeric, scale: u16, how: Rounding) -> Result<Numeric, EvalError> {
        // left / 10^l / (right / 10^r) * 10^scale = left * 10^(scale + r - l) / right
        let power = |l: u16, r: u16| i64::from(scale) + i64::from(r) - i64::from(l);
        if let (Some((left, l)), Some((right, r))) = (self.as_small(), other.as_small())
            && let Ok(up) = u16::try_from(power(l, r))
            && let Some(left) = scaled_up(left, up)
            && let (Some(quotient), Some(rest)) = (left.checked_div(right), left.checked_rem(right))
        {
            let is_half = rest.unsigned_abs() >= right.unsigned_abs() - rest.unsigned_abs();
            let away = how == Rounding::HalfAway && rest != 0 && is_half;
            let step = if left.is_negative() == right.is_negative() { 1 } else { -1 };
            return Numeric::small(if away { quotient + step } else { quotient }, scale);
        }
        let (Some((left, l)), Some((right, r))) = (self.parts(), other.parts()) else {
            return Ok(Numeric::NAN);
        };
        let power = power(l, r);
        let factor = power_of_ten(power.unsigned_abs() as u32);
        let (left, right) = if power >= 0 { (left * factor, right) } else { (left, right * factor) };
        Numeric::new(divided(&left, &right, how), scale)
    }

    /// What a division leaves, with the sign of the dividend.
    pub(crate) fn remainder(&self, other: &Numeric) -> Result<Numeric, EvalError> {
        if self.is_nan() || other.is_nan() {
            return Ok(Numeric::NAN);
        }
        if other.is_zero() {
            return Err(division_by_zero());
        }
        if let Some((left, right, scale)) = self.aligned_small(other) {
            return Numeric::small(left.checked_rem(right).unwrap_or(0), scale);
        }
        match self.aligned(other) {
            Some((left, right, scale)) => Numeric::new(left % right, scale),
            None if self.is_finite() => Ok(self.clone()),
            None => Ok(Numeric::NAN),
        }
    }

    /// The greatest common divisor.
    pub(crate) fn common_divisor(&self, other: &Numeric) -> Result<Numeric, EvalError> {
        match self.aligned(other) {
            Some((left, right, scale)) => Numeric::new(common_divisor(left, right).into(), scale),
            None => Ok(Numeric::NAN),
        }
    }

    /// The least common multiple.
    pub(crate) fn common_multiple(&self, other: &Numeric) -> Result<Numeric, EvalError> {
        let Some((left, right, scale)) = self.aligned(other) else { return Ok(Numeric::NAN) };
        let product = left.magnitude() * right.magnitude();
        if product == BigUint::ZERO {
            return Numeric::small(0, scale);
        }
        Numeric::new((product / common_divisor(left, right)).into(), scale)
    }

    pub(crate) fn factorial(of: i64) -> Result<Numeric, EvalError> {
        if of < 0 {
            return Err(EvalError::new(
                SqlState::OUT_OF_RANGE,
                "factorial of a negative number is undefined",
            ));
        }
        if of > FACTORIAL_MAX {
            return Err(overflow());
        }
        Numeric::new((2..=of).fold(BigInt::from(1), |product, factor| product * factor), 0)
    }
}

pub(crate) fn division_by_zero() -> EvalError {
    EvalError::new(SqlState::DIVISION_BY_ZERO, "division by zero")
}

fn common_divisor(left: BigInt, right: BigInt) -> BigUint {
    let (mut left, mut right) = (left.magnitude().clone(), right.magnitude().clone());
    while right != BigUint::ZERO {
        (left, right) = (right.clone(), left % right);
    }
    left
}

/// How a number begins in digits of base 10000, which is how Postgres keeps and weighs it.
pub(super) struct Lead {
    /// The power of 10000 that the first digit counts.
    pub(super) weight: i32,
    /// The first digit that is not zero.
    pub(super) group: u32,
}

impl Lead {
    pub(super) fn of(number: &Finite<'_>) -> Lead {
        let (digits, scale) = match number {
            Finite::Small(0, _) => return Lead { weight: 0, group: 0 },
            Finite::Small(coefficient, scale) => (coefficient.unsigned_abs().ilog10() as i32 + 1, *scale),
            Finite::Big(coefficient, scale) => (decimal_digits(coefficient) as i32, *scale),
        };
        let power = digits - 1 - i32::from(scale);
        let weight = power.div_euclid(4);
        // One to four digits make the first group; a short number is filled up with zeros.
        let dropped = digits - (power.rem_euclid(4) + 1);
        let group = match number {
            Finite::Small(coefficient, _) if dropped >= 0 => {
                (coefficient.unsigned_abs() / POWERS_OF_TEN[dropped as usize].unsigned_abs()) as u32
            }
            Finite::Small(coefficient, _) => coefficient.unsigned_abs() as u32 * 10_u32.pow(-dropped as u32),
            Finite::Big(coefficient, _) => {
                let group = coefficient.magnitude() / power_of_ten(dropped.max(0) as u32).magnitude();
                u32::try_from(group).unwrap_or(0)
            }
        };
        Lead { weight, group }
    }
}

impl Finite<'_> {
    pub(super) fn scale(&self) -> u16 {
        match self {
            Finite::Small(_, scale) | Finite::Big(_, scale) => *scale,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Operation = fn(&Numeric, &Numeric) -> Result<Numeric, EvalError>;

    fn check(operation: Operation, cases: &[(&str, &str, &str)]) {
        for (left, right, expected) in cases {
            let (left, right): (Numeric, Numeric) = (left.parse().unwrap(), right.parse().unwrap());
            assert_eq!(operation(&left, &right).unwrap().to_string(), *expected, "{left} {right}");
        }
    }

    /// Texts from Postgres 15 and 18, like all below.
    #[test]
    fn quotients_have_the_scale_of_the_server() {
        let cases = [
            ("1", "3", "0.33333333333333333333"),
            ("10", "3.0", "3.3333333333333333"),
            ("9999", "3.0", "3333.0000000000000000"),
            ("1", "30000.0", "0.000033333333333333333333"),
            ("1e-10", "3", "0.0000000000333333333333333333"),
            ("1e20", "3", "33333333333333333333"),
            ("0.00", "3", "0.00000000000000000000"),
            ("1.00000000000000000000000001", "3", "0.33333333333333333333333334"),
            ("20000", "30000.0", "0.66666666666666666667"),
            ("-30000", "20000.0", "-1.5000000000000000"),
            ("Infinity", "-2", "-Infinity"),
            ("-5.5", "Infinity", "0"),
            ("Infinity", "Infinity", "NaN"),
            ("NaN", "0", "NaN"),
        ];
        check(Numeric::divided_by, &cases);
        check(
            Numeric::whole_quotient,
            &[("-7.5", "2", "-3"), ("1.000", "0.3", "3"), ("-1", "Infinity", "0")],
        );
        let zero = |operation: Operation, left: &str| operation(&left.parse().unwrap(), &Numeric::ZERO);
        for operation in [Numeric::divided_by, Numeric::remainder, Numeric::whole_quotient] {
            assert_eq!(zero(operation, "Infinity").unwrap_err().state(), SqlState::DIVISION_BY_ZERO);
        }
    }

    /// Beyond 128 bits the other form takes over, and nothing is rounded.
    #[test]
    fn sums_and_products_are_exact_beyond_128_bits() {
        let cases = [
            ("1.5", "1.50", "3.00"),
            (
                "99999999999999999999999999999999999999",
                "99999999999999999999999999999999999999.9",
                "199999999999999999999999999999999999998.9",
            ),
            ("170141183460469231731687303715884105727", "1", "170141183460469231731687303715884105728"),
            ("Infinity", "-Infinity", "NaN"),
            ("-Infinity", "5", "-Infinity"),
        ];
        check(Numeric::plus, &cases);
        let cases = [
            ("-1.50", "2.0", "-3.000"),
            (
                "12345678901234567890",
                "-98765432109876543210.1",
                "-1219326311370217952238698369001386983689.0",
            ),
            ("Infinity", "0.00", "NaN"),
            ("Infinity", "-2", "-Infinity"),
        ];
        check(Numeric::times, &cases);
        let least = "-170141183460469231731687303715884105728".parse::<Numeric>().unwrap();
        assert_eq!(least.negated().to_string(), "170141183460469231731687303715884105728");
        let tiny = "1.5e-10000".parse::<Numeric>().unwrap();
        assert_eq!(tiny.times(&tiny).unwrap().scale(), Some(16_383));
        let huge = "1e131071".parse::<Numeric>().unwrap();
        assert_eq!(huge.times(&"10".parse().unwrap()).unwrap_err().state(), SqlState::OUT_OF_RANGE);
    }

    /// Signs and scales of what divides and what is left.
    #[test]
    fn remainders_and_divisors_are_those_of_the_server() {
        let cases = [("-5.5", "2.00", "-1.50"), ("Infinity", "5", "NaN"), ("5.50", "-Infinity", "5.50")];
        check(Numeric::remainder, &cases);
        let cases =
            [("12.50", "5", "2.50"), ("0.0", "0", "0.0"), ("-4.2", "6.30", "2.10"), ("Infinity", "1", "NaN")];
        check(Numeric::common_divisor, &cases);
        check(Numeric::common_multiple, &[("1.5", "2.00", "6.00"), ("0", "5.5", "0.0"), ("4", "-6", "12")]);
        assert_eq!(Numeric::factorial(25).unwrap().to_string(), "15511210043330985984000000");
        assert_eq!(Numeric::factorial(-1).unwrap_err().state(), SqlState::OUT_OF_RANGE);
        assert_eq!(Numeric::factorial(32_178).unwrap_err().state(), SqlState::OUT_OF_RANGE);
    }
}
