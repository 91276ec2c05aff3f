//! Bytes and bits.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::super::fault::Unfit;
use super::super::shape::Field;
use super::{BinaryForm, Declared};

/// The name of a schema for bits.
const BITS: &str = "io.debezium.data.Bits";

/// A `bytea`, in hexadecimal.
pub(super) fn bytea(
    text: Option<Cow<'_, str>>,
    field: Option<&Field>,
    declared: &Declared,
) -> Result<String, Unfit> {
    let wrong = || Unfit::malformed("bytes");
    let text = text.ok_or_else(wrong)?;
    let form = match (field.map(|field| &*field.kind), declared.binaries) {
        (Some("bytes"), _) => BinaryForm::Base64,
        (_, Some(form)) => form,
        (_, None) => {
            return Err(Unfit::settings(
                "holds bytes as a text that does not tell how they are written",
                "say `debezium: { binary_handling_mode: ... }` under `through.kafka` as binary.handling.mode is (which needs \
                 no new beginning); or set binary.handling.mode=bytes and value.converter.schemas.enable=true",
            ));
        }
    };
    let bytes = match form {
        BinaryForm::Base64 => base64(&text, false),
        BinaryForm::Base64UrlSafe => base64(&text, true),
        BinaryForm::Hex => return is_hex(&text).then(|| format!("\\x{text}")).ok_or_else(wrong),
    };
    let bytes = bytes.ok_or_else(wrong)?;
    let mut hex = String::with_capacity(2 + bytes.len() * 2);
    hex.push_str("\\x");
    for byte in bytes {
        let _ = write!(hex, "{byte:02x}");
    }
    Ok(hex)
}

fn is_hex(text: &str) -> bool {
    text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A value of a type that the connector knows nothing of: the bytes of its text.
pub(super) fn opaque(name: &str, text: Option<Cow<'_, str>>, field: Option<&Field>) -> Result<String, Unfit> {
    let unknown = || {
        Unfit::settings(
            format!("is of type {name}, of which a record does not hold the text"),
            "set include.unknown.datatypes=true, binary.handling.mode=bytes and value.converter.schemas.enable=true in the \
             connector, or leave the column out with `columns`",
        )
    };
    match (text, field.map(|field| (&*field.kind, &field.name))) {
        (Some(text), Some(("bytes", None))) => {
            let bytes = base64(&text, false).ok_or_else(unknown)?;
            String::from_utf8(bytes).map_err(|_| unknown())
        }
        _ => Err(unknown()),
    }
}

/// Bits, the lowest byte first in a record.
pub(super) fn bits(
    json: &str,
    text: Option<Cow<'_, str>>,
    (field, fixed): (Option<&Field>, Option<u32>),
) -> Result<String, Unfit> {
    let wrong = || Unfit::malformed("bits");
    match json {
        "true" => return Ok("1".to_owned()),
        "false" => return Ok("0".to_owned()),
        _ => {}
    }
    let named = field.filter(|field| field.name.as_deref() == Some(BITS)).and_then(|field| field.length);
    let Some(length) = fixed.or(named.filter(|length| *length < i32::MAX as u32)).filter(|_| fixed.is_some())
    else {
        // How many zeros lead is not told.
        return Err(Unfit::settings(
            "is of a type of varying bits, of which Debezium does not write how many there are",
            "leave the column out with `columns`, or give it a fixed length on blue",
        ));
    };
    let bytes = base64(&text.ok_or_else(wrong)?, false).ok_or_else(wrong)?;
    let bit = |at: usize| bytes.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1);
    Ok((0..length as usize).rev().map(|at| if bit(at) { '1' } else { '0' }).collect())
}

/// Decodes base64. `None` when it is none.
pub(super) fn base64(text: &str, is_url_safe: bool) -> Option<Vec<u8>> {
    let value = |letter: u8| match (letter, is_url_safe) {
        (b'A'..=b'Z', _) => Some(letter - b'A'),
        (b'a'..=b'z', _) => Some(letter - b'a' + 26),
        (b'0'..=b'9', _) => Some(letter - b'0' + 52),
        (b'+', false) | (b'-', true) => Some(62),
        (b'/', false) | (b'_', true) => Some(63),
        _ => None,
    };
    let letters = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(letters.len() * 3 / 4);
    for four in letters.chunks(4) {
        let mut bits = 0u32;
        for letter in four {
            bits = bits << 6 | u32::from(value(*letter)?);
        }
        bits <<= 6 * (4 - four.len());
        let [_, a, b, c] = bits.to_be_bytes();
        let whole = [a, b, c];
        bytes.extend_from_slice(whole.get(..four.len().checked_sub(1).filter(|bytes| *bytes > 0)?)?);
    }
    Some(bytes)
}
