//! Numbers: whole ones, floating ones, and decimals in each form that Debezium gives them.

use std::borrow::Cow;

use serde::Deserialize;

use super::super::fault::Unfit;
use super::super::shape::Field;
use super::binary::base64;
use super::{DecimalForm, Declared, string};

const DECIMAL: &str = "org.apache.kafka.connect.data.Decimal";
const VARIABLE: &str = "io.debezium.data.VariableScaleDecimal";

pub(super) fn integer(json: &str) -> Result<Cow<'_, str>, Unfit> {
    let digits = json.strip_prefix('-').unwrap_or(json);
    let is_whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_whole.then_some(Cow::Borrowed(json)).ok_or_else(|| Unfit::malformed("a whole number"))
}

/// A floating number, written as Postgres writes it.
pub(super) fn float(json: &str, text: Option<Cow<'_, str>>, is_single: bool) -> Result<String, Unfit> {
    let wrong = || Unfit::malformed("a number");
    let text = text.as_deref().unwrap_or(json);
    match text {
        "NaN" | "Infinity" | "-Infinity" => return Ok(text.to_owned()),
        _ if !text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) => return Err(wrong()),
        _ => {}
    }
    // The shortest digits that lead back, which is what Postgres writes too.
    let (shortest, point_max) = match is_single {
        true => (format!("{:e}", text.parse::<f32>().map_err(|_| wrong())?), 6),
        false => (format!("{:e}", text.parse::<f64>().map_err(|_| wrong())?), 15),
    };
    let (digits, exponent) = shortest.split_once('e').ok_or_else(wrong)?;
    let exponent = exponent.parse::<i32>().map_err(|_| wrong())?;
    if exponent < -4 || exponent >= point_max {
        let sign = if exponent < 0 { '-' } else { '+' };
        return Ok(format!("{digits}e{sign}{:02}", exponent.abs()));
    }
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    let digits = digits.replace('.', "");
    Ok(format!("{sign}{}", with_point(&digits, digits.len() as i64 - 1 - i64::from(exponent))))
}

/// A decimal. One that went through a floating number is refused.
pub(super) fn decimal<'a>(
    json: &'a str,
    text: Option<Cow<'a, str>>,
    field: Option<&Field>,
    declared: &Declared,
) -> Result<Cow<'a, str>, Unfit> {
    let wrong = || Unfit::malformed("a decimal");
    if json.starts_with('{') {
        #[derive(Deserialize)]
        struct Variable<'a> {
            scale: i64,
            #[serde(borrow)]
            value: Cow<'a, str>,
        }
        let Variable { scale, value } = serde_json::from_str(json).map_err(|_| wrong())?;
        return unscaled(&value, scale).map(Cow::Owned);
    }
    match (text, field.map(|field| field.name.as_deref())) {
        (Some(text), Some(Some(DECIMAL))) => {
            let scale = field.and_then(|field| field.scale).ok_or_else(wrong)?;
            unscaled(&text, scale).map(Cow::Owned)
        }
        (Some(text), Some(None)) => as_written(text),
        (Some(text), None) if declared.decimals == Some(DecimalForm::String) => as_written(text),
        (Some(_), None) => Err(Unfit::settings(
            "is a decimal in a record without a schema, which does not tell how it is written",
            "say `debezium: { decimal_handling_mode: string }` under `through.kafka` if decimal.handling.mode is that (which \
             needs no new beginning); else set value.converter.schemas.enable=true, or decimal.handling.mode=string",
        )),
        (None, _) => Err(Unfit::settings(
            "is a decimal that went through a floating number, which loses digits",
            "set decimal.handling.mode=string in the connector",
        )),
        (Some(_), Some(Some(VARIABLE | _))) => Err(wrong()),
    }
}

/// A decimal as Postgres writes it, but for the capitals of what is none.
fn as_written(text: Cow<'_, str>) -> Result<Cow<'_, str>, Unfit> {
    match &*text {
        "NAN" | "NaN" => return Ok(Cow::Borrowed("NaN")),
        "POSITIVE_INFINITY" | "Infinity" => return Ok(Cow::Borrowed("Infinity")),
        "NEGATIVE_INFINITY" | "-Infinity" => return Ok(Cow::Borrowed("-Infinity")),
        _ => {}
    }
    let is_number =
        text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'E' | b'e'));
    is_number.then_some(text).ok_or_else(|| Unfit::malformed("a decimal"))
}

/// An unscaled number in two's complement, as base64.
fn unscaled(text: &str, scale: i64) -> Result<String, Unfit> {
    let wrong = || Unfit::malformed("a decimal");
    let mut bytes = base64(text, false).ok_or_else(wrong)?;
    let is_negative = *bytes.first().ok_or_else(wrong)? >= 0x80;
    if is_negative {
        bytes.iter_mut().for_each(|byte| *byte = !*byte);
        for byte in bytes.iter_mut().rev() {
            let (sum, over) = byte.overflowing_add(1);
            *byte = sum;
            if !over {
                break;
            }
        }
    }
    // Digits in groups of nine, the lowest first.
    let mut groups: Vec<u32> = vec![0];
    for byte in bytes {
        let mut carry = u64::from(byte);
        for group in &mut groups {
            let value = u64::from(*group) * 256 + carry;
            *group = (value % 1_000_000_000) as u32;
            carry = value / 1_000_000_000;
        }
        if carry > 0 {
            groups.push(carry as u32);
        }
    }
    let mut digits = groups.pop().unwrap_or_default().to_string();
    groups.iter().rev().for_each(|group| digits.push_str(&format!("{group:09}")));
    let sign = if is_negative { "-" } else { "" };
    if !(-100_000..=100_000).contains(&scale) {
        return Err(wrong());
    }
    Ok(format!("{sign}{}", with_point(&digits, scale)))
}

/// Digits with the point before so many of the last ones, or with zeros behind them.
fn with_point(digits: &str, scale: i64) -> String {
    if scale <= 0 {
        let zeros = if digits == "0" { 0 } else { scale.unsigned_abs() as usize };
        return format!("{digits}{}", "0".repeat(zeros));
    }
    let scale = scale as usize;
    let padded = format!("{}{digits}", "0".repeat((scale + 1).saturating_sub(digits.len())));
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    format!("{whole}.{fraction}")
}

/// The elements of a vector are numbers of JSON.
pub(super) fn is_number(json: &str) -> bool {
    matches!(string(json), Ok(None)) && float(json, None, false).is_ok()
}
