//! `bytea`: parts, digests, and its forms as text.

use std::borrow::Cow;

use md5::{Digest, Md5};
use sha2::{Sha224, Sha256, Sha384, Sha512};

use super::super::Call;
use super::basics::{overlaid, window};
use super::{bytes, text, whole};
use crate::expr::datum::Datum;
use crate::expr::error::{EvalError, SqlState};
use crate::expr::text::{bytes_of_escaped, bytes_of_hex, hex_of};

type Value<'a> = Result<Datum<'a>, EvalError>;

fn owned<'a>(bytes: impl Into<Vec<u8>>) -> Datum<'a> {
    Datum::Bytes(Cow::Owned(bytes.into()))
}

pub(super) fn length<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    Ok(Datum::Int(bytes(args, 0).len() as i64))
}

pub(super) fn bit_length<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    Ok(Datum::Int(bytes(args, 0).len() as i64 * 8))
}

pub(super) fn bit_count<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    Ok(Datum::Int(bytes(args, 0).iter().map(|byte| i64::from(byte.count_ones())).sum()))
}

pub(super) fn concatenate<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    Ok(owned([bytes(args, 0), bytes(args, 1)].concat()))
}

pub(super) fn substring<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    let subject = bytes(args, 0);
    let (start, end) = window(whole(args, 1), (args.len() > 2).then(|| whole(args, 2)))?;
    let end = end.unwrap_or(subject.len()).min(subject.len());
    Ok(owned(subject.get(start..end).unwrap_or_default()))
}

pub(super) fn overlay<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    let (subject, inserted, from) = (bytes(args, 0), bytes(args, 1), whole(args, 2));
    let len = if args.len() > 3 { whole(args, 3) } else { inserted.len() as i64 };
    let (end, behind) = overlaid(from, len)?;
    let front = &subject[..end.min(subject.len())];
    Ok(owned([front, inserted, subject.get(behind..).unwrap_or_default()].concat()))
}

fn trimmed<'a>(args: &[Datum<'_>], front: bool, back: bool) -> Datum<'a> {
    let (mut subject, unwanted) = (bytes(args, 0), bytes(args, 1));
    while let [first, rest @ ..] = subject
        && front
        && unwanted.contains(first)
    {
        subject = rest;
    }
    while let [rest @ .., last] = subject
        && back
        && unwanted.contains(last)
    {
        subject = rest;
    }
    owned(subject)
}

pub(super) fn btrim<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    Ok(trimmed(args, true, true))
}

pub(super) fn ltrim<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    Ok(trimmed(args, true, false))
}

pub(super) fn rtrim<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    Ok(trimmed(args, false, true))
}

pub(super) fn position<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    let (subject, wanted) = (bytes(args, 0), bytes(args, 1));
    if wanted.is_empty() {
        return Ok(Datum::Int(1));
    }
    let at = subject.windows(wanted.len()).position(|part| part == wanted);
    Ok(Datum::Int(at.map_or(0, |at| at as i64 + 1)))
}

/// The byte at a place counted from zero, and the bits above that count within it.
fn place(args: &[Datum<'_>], per_byte: i64) -> Result<(usize, u32), EvalError> {
    let (subject, wanted) = (bytes(args, 0), whole(args, 1));
    let most = subject.len() as i64 * per_byte - 1;
    if !(0..=most).contains(&wanted) {
        let message = format!("index {wanted} out of valid range, 0..{most}");
        return Err(EvalError::quoting(SqlState::SUBSCRIPT, "index out of valid range", message));
    }
    Ok(((wanted / per_byte) as usize, (wanted % per_byte) as u32))
}

pub(super) fn get_byte<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    let (at, _) = place(args, 1)?;
    Ok(Datum::Int(i64::from(bytes(args, 0)[at])))
}

pub(super) fn get_bit<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    let (at, bit) = place(args, 8)?;
    Ok(Datum::Int(i64::from(bytes(args, 0)[at] >> bit & 1)))
}

pub(super) fn set_byte<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    let (at, _) = place(args, 1)?;
    let mut changed = bytes(args, 0).to_vec();
    changed[at] = whole(args, 2).to_le_bytes()[0];
    Ok(owned(changed))
}

pub(super) fn set_bit<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    let (at, bit) = place(args, 8)?;
    let mut changed = bytes(args, 0).to_vec();
    match whole(args, 2) {
        0 => changed[at] &= !(1 << bit),
        1 => changed[at] |= 1 << bit,
        _ => return Err(EvalError::new(SqlState::INVALID_PARAMETER, "new bit must be 0 or 1")),
    }
    Ok(owned(changed))
}

pub(super) fn md5_of_text<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    Ok(Datum::text(hex_of(&Md5::digest(text(args, 0).as_bytes()))))
}

pub(super) fn md5_of_bytes<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    Ok(Datum::text(hex_of(&Md5::digest(bytes(args, 0)))))
}

pub(super) fn sha224<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    Ok(owned(Sha224::digest(bytes(args, 0)).to_vec()))
}

pub(super) fn sha256<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    Ok(owned(Sha256::digest(bytes(args, 0)).to_vec()))
}

pub(super) fn sha384<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    Ok(owned(Sha384::digest(bytes(args, 0)).to_vec()))
}

pub(super) fn sha512<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    Ok(owned(Sha512::digest(bytes(args, 0)).to_vec()))
}

fn unknown_encoding(name: &str) -> EvalError {
    let message = format!("unrecognized encoding: \"{name}\"");
    EvalError::quoting(SqlState::INVALID_PARAMETER, "unrecognized encoding", message)
}

pub(super) fn encode<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    let (subject, name) = (bytes(args, 0), text(args, 1));
    Ok(Datum::text(match name.to_ascii_lowercase().as_str() {
        "hex" => hex_of(subject),
        "base64" => base64_of(subject),
        "escape" => escaped(subject),
        "base64url" | "base32hex" => return Err(not_everywhere()),
        _ => return Err(unknown_encoding(name)),
    }))
}

pub(super) fn decode<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    let (subject, name) = (text(args, 0), text(args, 1));
    Ok(owned(match name.to_ascii_lowercase().as_str() {
        "hex" => bytes_of_hex(subject)?,
        "base64" => bytes_of_base64(subject)?,
        "escape" => bytes_of_escaped(subject)?,
        "base64url" | "base32hex" => return Err(not_everywhere()),
        _ => return Err(unknown_encoding(name)),
    }))
}

fn not_everywhere() -> EvalError {
    EvalError::new(SqlState::NOT_SUPPORTED, "an encoding that only newer servers know is not supported")
}

/// Zero bytes and those above 127 as octal numbers, backslashes doubled, everything else as it is.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            0 | 128.. => text.push_str(&format!("\\{byte:03o}")),
            b'\\' => text.push_str("\\\\"),
            _ => text.push(char::from(*byte)),
        }
    }
    text
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Characters of a line of base64. A line end follows each whole line, unless its last group is no whole one.
const BASE64_LINE: usize = 76;

fn base64_of(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 4 / 3 + 4);
    let mut in_line = 0;
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (24 - 8 * group.len());
        for at in 0..4 {
            let digit = BASE64[(bits >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= group.len() { char::from(digit) } else { '=' });
        }
        in_line += 4;
        if in_line == BASE64_LINE && group.len() == 3 {
            text.push('\n');
            in_line = 0;
        }
    }
    text
}

fn bytes_of_base64(text: &str) -> Result<Vec<u8>, EvalError> {
    let wrong = |what| EvalError::new(SqlState::INVALID_PARAMETER, what);
    let (mut bytes, mut bits, mut count) = (Vec::with_capacity(text.len() * 3 / 4), 0_u32, 0);
    // How many bytes the group with the first `=` holds, and every group behind it.
    let mut held = None;
    for letter in text.chars().filter(|letter| !matches!(letter, ' ' | '\t' | '\n' | '\r')) {
        let digit = if letter == '=' {
            if held.is_none() {
                held = match count {
                    2 => Some(1),
                    3 => Some(2),
                    _ => return Err(wrong("unexpected \"=\" while decoding base64 sequence")),
                };
            }
            0
        } else {
            let digit = BASE64.iter().position(|known| char::from(*known) == letter);
            digit.ok_or_else(|| {
                let message = format!("invalid symbol \"{letter}\" found while decoding base64 sequence");
                let what = "invalid symbol found while decoding base64 sequence";
                EvalError::quoting(SqlState::INVALID_PARAMETER, what, message)
            })? as u32
        };
        bits = bits << 6 | digit;
        count += 1;
        if count == 4 {
            bytes.extend_from_slice(&bits.to_be_bytes()[1..][..held.unwrap_or(3)]);
            (bits, count) = (0, 0);
        }
    }
    if count != 0 {
        return Err(wrong("invalid base64 end sequence"));
    }
    Ok(bytes)
}

/// Only UTF-8 is known, under the names that Postgres takes for it.
fn is_utf8(name: &str) -> Result<(), EvalError> {
    let letters = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>();
    match letters.to_ascii_lowercase().as_str() {
        "utf8" | "unicode" => Ok(()),
        _ => Err(EvalError::new(SqlState::NOT_SUPPORTED, "an encoding other than UTF8 is not supported")),
    }
}

pub(super) fn convert_to<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    is_utf8(text(args, 1))?;
    Ok(owned(text(args, 0).as_bytes()))
}

pub(super) fn convert_from<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    is_utf8(text(args, 1))?;
    let bytes = bytes(args, 0);
    let zero = bytes.iter().position(|byte| *byte == 0);
    let text = std::str::from_utf8(bytes);
    let wrong = text.err().map(|error| error.valid_up_to()).into_iter().chain(zero).min();
    match (text, wrong) {
        (Ok(text), None) => Ok(Datum::text(text)),
        (_, wrong) => Err(not_utf8(&bytes[wrong.unwrap_or(0)..])),
    }
}

/// Names the bytes of what looks like one character.
fn not_utf8(bytes: &[u8]) -> EvalError {
    let len = match bytes.first() {
        Some(0xc0..0xe0) => 2,
        Some(0xe0..0xf0) => 3,
        Some(0xf0..0xf8) => 4,
        _ => 1,
    };
    let shown = bytes.iter().take(len).map(|byte| format!(" 0x{byte:02x}")).collect::<String>();
    let what = "invalid byte sequence for encoding \"UTF8\"";
    EvalError::quoting(SqlState::NOT_IN_REPERTOIRE, what, format!("{what}:{shown}"))
}
