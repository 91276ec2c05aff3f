//! Decimal numbers as DynamoDB keeps them: by value, without the scale that a text shows.

use super::NotFit;

/// Significant digits that a number keeps.
const DIGITS_MAX: usize = 38;

/// Powers of ten of the first digit that a number may have.
const POWERS: std::ops::RangeInclusive<i64> = -130..=125;

/// The number without an exponent, without zeros that mean nothing, and without the sign of a zero. Equal numbers have
/// equal texts.
pub(super) fn canonical(text: &str) -> Result<String, NotFit> {
    let decimal = Decimal::read(text)?;
    decimal.fits()?;
    Ok(decimal.plain())
}

/// A number taken apart: `0.digits * 10^point`, no digits for zero.
struct Decimal {
    is_negative: bool,
    digits: String,
    point: i64,
}

impl Decimal {
    fn read(text: &str) -> Result<Decimal, NotFit> {
        let (is_negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        if ["nan", "infinity", "inf"].iter().any(|word| rest.eq_ignore_ascii_case(word)) {
            return Err(NotFit::new("NaN and infinity are no numbers to DynamoDB: `form: S` keeps them"));
        }
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, read_exponent(exponent)?),
            None => (rest, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits = String::with_capacity(whole.len() + fraction.len());
        digits.push_str(whole);
        digits.push_str(fraction);
        if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(no_number());
        }
        let zeros = digits.bytes().take_while(|digit| *digit == b'0').count();
        let point = (whole.len() as i64 - zeros as i64).saturating_add(exponent);
        let digits = digits[zeros..].trim_end_matches('0').to_owned();
        Ok(Decimal { is_negative, digits, point })
    }

    fn fits(&self) -> Result<(), NotFit> {
        if self.digits.len() > DIGITS_MAX {
            return Err(NotFit::new("a number with more than 38 significant digits: `form: S` keeps it"));
        }
        if !self.digits.is_empty() && !POWERS.contains(&self.point.saturating_sub(1)) {
            return Err(NotFit::new(
                "a number beyond 9.99e125, or nearer to zero than 1e-130: `form: S` keeps it",
            ));
        }
        Ok(())
    }

    /// Only of a number that fits: its length is bounded then.
    fn plain(&self) -> String {
        if self.digits.is_empty() {
            return "0".to_owned();
        }
        let mut out = String::with_capacity(self.digits.len() + 4);
        if self.is_negative {
            out.push('-');
        }
        let len = self.digits.len() as i64;
        if self.point <= 0 {
            out.push_str("0.");
            out.extend((self.point..0).map(|_| '0'));
            out.push_str(&self.digits);
        } else if self.point >= len {
            out.push_str(&self.digits);
            out.extend((len..self.point).map(|_| '0'));
        } else {
            let (whole, fraction) = self.digits.split_at(self.point as usize);
            out.push_str(whole);
            out.push('.');
            out.push_str(fraction);
        }
        out
    }
}

fn no_number() -> NotFit {
    NotFit::new("not a number")
}

/// What is too large for the type is too large for any number that fits.
fn read_exponent(text: &str) -> Result<i64, NotFit> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(no_number());
    }
    let size = digits.parse::<i64>().unwrap_or(i64::MAX / 4).min(i64::MAX / 4);
    Ok(if text.starts_with('-') { -size } else { size })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Promise 2: numbers that are equal never show as a difference, and others always do.
    #[test]
    fn a_number_has_one_text() {
        for (text, expected) in [
            ("0", "0"),
            ("-0", "0"),
            ("0.000", "0"),
            ("1.50", "1.5"),
            ("-1.50", "-1.5"),
            ("007", "7"),
            ("1e+20", "100000000000000000000"),
            ("1.5e-07", "0.00000015"),
            ("-12.5E1", "-125"),
            ("100", "100"),
            ("0.001", "0.001"),
            ("0e999999999999999999999", "0"),
            (".5", "0.5"),
            ("5.", "5"),
        ] {
            assert_eq!(canonical(text).as_deref(), Ok(expected), "{text}");
        }
    }

    /// What DynamoDB would round or refuse is refused here, where the row is still known.
    #[test]
    fn the_limits_are_those_of_dynamodb() {
        let digits = |count: usize| "9".repeat(count);
        assert!(canonical(&digits(38)).is_ok() && canonical(&digits(39)).is_err());
        assert!(canonical(&format!("0.{}", digits(38))).is_ok());
        assert!(canonical(&format!("1.{}", digits(38))).is_err());
        assert!(canonical(&format!("{}000", digits(38))).is_ok(), "zeros at the end are not significant");
        assert!(canonical("9.99e125").is_ok() && canonical("1e126").is_err());
        assert!(canonical("1e-130").is_ok() && canonical("9.9e-131").is_err());
        for text in ["NaN", "Infinity", "-Infinity", "", "-", ".", "1e", "e5", "1.2.3", "0x10", "1 ", "1e5.0"]
        {
            assert!(canonical(text).is_err(), "{text}");
        }
    }

    proptest! {
        /// The text that is stored is read as the same number again, whatever its scale was.
        #[test]
        fn canonical_texts_stay(whole in -999_999_999_999_i64.., fraction in "[0-9]{0,12}", power in -90_i32..90) {
            let once = canonical(&format!("{whole}.{fraction}e{power}"));
            if let Ok(once) = once {
                prop_assert_eq!(canonical(&once), Ok(once.clone()));
                prop_assert_eq!(canonical(&format!("{once}{}", if once.contains('.') { "00" } else { ".00" })), Ok(once));
            }
        }
    }
}
