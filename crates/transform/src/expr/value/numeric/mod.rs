//! Decimal numbers of any size, exact, with the scale that Postgres would show.

mod arithmetic;
mod convert;
mod root;
mod round;
mod text;

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use num_bigint::{BigInt, Sign};

use crate::expr::error::{EvalError, SqlState};

pub(crate) use arithmetic::division_by_zero;
pub(crate) use root::{INVALID_POWER, negative_root};
pub(crate) use round::Rounding;

/// Digits that a number can have in front of its point.
const WHOLE_DIGITS_MAX: u64 = 131_072;
/// Digits that a number can have behind its point.
const SCALE_MAX: u16 = 16_383;
/// Digits behind the point that a division or a root shows at most.
const SHOWN_SCALE_MAX: i32 = 1000;
/// Digits that a division or a root finds at least.
const SIGNIFICANT_DIGITS_MIN: i32 = 16;

/// A `numeric`. Equality, order and hash go by its value: 1.0 equals 1.00. `NaN` equals itself and is greater than all
/// others.
#[derive(Clone)]
pub struct Numeric(Form);

#[derive(Clone)]
enum Form {
    /// Whatever fits into 128 bits, in halves: the alignment of an `i128` would make every value larger.
    Small {
        high: i64,
        low: u64,
        scale: u16,
    },
    /// The rest.
    Big(Arc<Big>),
    NaN,
    Infinity,
    NegativeInfinity,
}

/// A coefficient that does not fit into 128 bits.
struct Big {
    coefficient: BigInt,
    scale: u16,
}

/// A number that is finite, in the form that is at hand.
enum Finite<'n> {
    Small(i128, u16),
    Big(&'n BigInt, u16),
}

impl Numeric {
    /// Not a number.
    pub const NAN: Numeric = Numeric(Form::NaN);
    /// Greater than every finite number.
    pub const INFINITY: Numeric = Numeric(Form::Infinity);
    /// Less than every finite number.
    pub const NEGATIVE_INFINITY: Numeric = Numeric(Form::NegativeInfinity);
    /// Nothing, without digits behind the point.
    pub const ZERO: Numeric = Numeric(Form::Small { high: 0, low: 0, scale: 0 });

    /// `coefficient` / 10^`scale`, which shows `scale` digits behind its point. Fails where Postgres has no room for it.
    pub fn new(coefficient: BigInt, scale: u16) -> Result<Numeric, EvalError> {
        if let Ok(small) = i128::try_from(&coefficient) {
            return Numeric::small(small, scale);
        }
        let whole_max = WHOLE_DIGITS_MAX + u64::from(scale);
        // 3.32 bits hold less than a digit, so only what is near the limit has to be counted.
        let is_near = coefficient.bits() > whole_max / 100 * 332;
        if scale > SCALE_MAX || (is_near && decimal_digits(&coefficient) > whole_max) {
            return Err(overflow());
        }
        Ok(Numeric(Form::Big(Arc::new(Big { coefficient, scale }))))
    }

    fn small(coefficient: i128, scale: u16) -> Result<Numeric, EvalError> {
        if scale > SCALE_MAX {
            return Err(overflow());
        }
        let (high, low) = ((coefficient >> 64) as i64, coefficient as u64);
        Ok(Numeric(Form::Small { high, low, scale }))
    }

    /// The digits without the point, and how many of them stand behind it; nothing unless finite.
    pub fn parts(&self) -> Option<(BigInt, u16)> {
        self.finite().map(|finite| match finite {
            Finite::Small(coefficient, scale) => (coefficient.into(), scale),
            Finite::Big(coefficient, scale) => (coefficient.clone(), scale),
        })
    }

    /// Whether it is neither `NaN` nor infinite.
    pub fn is_finite(&self) -> bool {
        matches!(self.0, Form::Small { .. } | Form::Big(_))
    }

    /// Whether it is `NaN`.
    pub fn is_nan(&self) -> bool {
        matches!(self.0, Form::NaN)
    }

    /// Whether it is zero.
    pub fn is_zero(&self) -> bool {
        self.as_small().is_some_and(|(coefficient, _)| coefficient == 0)
    }

    /// Whether it is less than zero.
    pub fn is_negative(&self) -> bool {
        match &self.0 {
            Form::Small { high, .. } => *high < 0,
            Form::Big(big) => big.coefficient.sign() == Sign::Minus,
            Form::NegativeInfinity => true,
            Form::NaN | Form::Infinity => false,
        }
    }

    /// Digits behind the point, unless it is `NaN` or infinite.
    pub fn scale(&self) -> Option<u16> {
        match &self.0 {
            Form::Small { scale, .. } => Some(*scale),
            Form::Big(big) => Some(big.scale),
            Form::NaN | Form::Infinity | Form::NegativeInfinity => None,
        }
    }

    fn as_small(&self) -> Option<(i128, u16)> {
        match &self.0 {
            Form::Small { high, low, scale } => Some((i128::from(*high) << 64 | i128::from(*low), *scale)),
            _ => None,
        }
    }

    fn finite(&self) -> Option<Finite<'_>> {
        match &self.0 {
            Form::Big(big) => Some(Finite::Big(&big.coefficient, big.scale)),
            _ => self.as_small().map(|(coefficient, scale)| Finite::Small(coefficient, scale)),
        }
    }

    /// The order by value: NaN comes last.
    pub fn compare(&self, other: &Numeric) -> Ordering {
        self.cmp(other)
    }

    /// Where it stands among infinities and `NaN`.
    fn rank(&self) -> i8 {
        match self.0 {
            Form::NegativeInfinity => -1,
            Form::Small { .. } | Form::Big(_) => 0,
            Form::Infinity => 1,
            Form::NaN => 2,
        }
    }
}

impl Ord for Numeric {
    fn cmp(&self, other: &Numeric) -> Ordering {
        if let (Some((left, left_scale)), Some((right, right_scale))) = (self.as_small(), other.as_small()) {
            let scale = left_scale.max(right_scale);
            if let (Some(left), Some(right)) =
                (scaled_up(left, scale - left_scale), scaled_up(right, scale - right_scale))
            {
                return left.cmp(&right);
            }
        }
        match (self.parts(), other.parts()) {
            (Some((left, left_scale)), Some((right, right_scale))) => {
                if left.sign() != right.sign() {
                    return left.sign().cmp(&right.sign());
                }
                let scale = left_scale.max(right_scale);
                (left * power_of_ten(scale - left_scale)).cmp(&(right * power_of_ten(scale - right_scale)))
            }
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Numeric {
    fn partial_cmp(&self, other: &Numeric) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Numeric {
    fn eq(&self, other: &Numeric) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Numeric {}

impl Hash for Numeric {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.rank().hash(state);
        let Some((coefficient, scale)) = self.parts().filter(|_| !self.is_zero()) else { return };
        // Without its last zeros the coefficient is the same for all that are equal.
        let (coefficient, dropped) = without_last_zeros(coefficient, u64::MAX);
        (i64::from(scale) - dropped as i64).hash(state);
        coefficient.hash(state);
    }
}

impl fmt::Debug for Numeric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn overflow() -> EvalError {
    EvalError::new(SqlState::OUT_OF_RANGE, "value overflows numeric format")
}

/// The powers of ten that fit.
const POWERS_OF_TEN: [i128; 39] = {
    let mut powers = [1; 39];
    let mut at = 1;
    while at < powers.len() {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
};

fn scaled_up(coefficient: i128, by: u16) -> Option<i128> {
    if by == 0 || coefficient == 0 {
        return Some(coefficient);
    }
    coefficient.checked_mul(*POWERS_OF_TEN.get(usize::from(by))?)
}

fn power_of_ten(exponent: impl Into<u32>) -> BigInt {
    BigInt::from(10).pow(exponent.into())
}

/// How many digits an integer has; one for zero.
fn decimal_digits(number: &BigInt) -> u64 {
    let bits = number.bits();
    if bits == 0 {
        return 1;
    }
    // The logarithm of two from below: at most one too few, as long as numbers have less than a billion digits.
    let least = (u128::from(bits - 1) * 30_102_999_566 / 100_000_000_000) as u32;
    let is_more = *number.magnitude() >= *power_of_ten(least + 1).magnitude();
    u64::from(least) + 1 + u64::from(is_more)
}

/// Drops zeros at the end, at most so many, and tells how many they were.
fn without_last_zeros(mut coefficient: BigInt, most: u64) -> (BigInt, u64) {
    let zero = BigInt::ZERO;
    if coefficient == zero {
        return (coefficient, 0);
    }
    let mut dropped = 0;
    for step in [1024_u32, 64, 8, 1] {
        let divisor = power_of_ten(step);
        while dropped + u64::from(step) <= most && &coefficient % &divisor == zero {
            coefficient /= &divisor;
            dropped += u64::from(step);
        }
    }
    (coefficient, dropped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Numeric {
        text.parse().unwrap()
    }

    fn hash(number: &Numeric) -> u64 {
        let mut hasher = rustc_hash::FxHasher::default();
        number.hash(&mut hasher);
        hasher.finish()
    }

    /// Keys and DISTINCT go by value: a wrong order or hash would lose or double rows.
    #[test]
    fn order_and_hash_go_by_value() {
        let sorted = [
            "-Infinity",
            "-1e131071",
            "-1e50",
            "-1.5",
            "-1e-16383",
            "0",
            "1e-16383",
            "1e-50",
            "1.49999999999999999999999999999999999999999999",
            "1.5",
            "100000000000000000000000000000000000000.5",
            "1e60",
            "Infinity",
            "NaN",
        ];
        for (at, left) in sorted.iter().enumerate() {
            for (other, right) in sorted.iter().enumerate() {
                assert_eq!(of(left).cmp(&of(right)), at.cmp(&other), "{left} {right}");
            }
        }
        for (left, right) in
            [("1.0", "1.00"), ("0", "-0.000"), ("1e50", "1e50"), ("100", "1e2"), ("NaN", "nan")]
        {
            assert_eq!(of(left), of(right));
            assert_eq!(hash(&of(left)), hash(&of(right)), "{left} {right}");
        }
        let (small, big) = (of("1e30"), of("1000000000000000000000000000000.00000000000000000000"));
        assert!(matches!((&small.0, &big.0), (Form::Small { .. }, Form::Big(_))));
        assert_eq!((small.clone(), hash(&small)), (big.clone(), hash(&big)));
    }

    /// A value is copied for every row: it must stay small.
    #[test]
    fn a_value_takes_three_words() {
        assert!(size_of::<Numeric>() <= 24, "{}", size_of::<Numeric>());
    }
}
