//! `inet` and `cidr` as text.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::invalid;
use crate::expr::datum::Datum;
use crate::expr::error::{EvalError, SqlState};
use crate::expr::value::Inet;

/// Reads an address and the length of its network. A `cidr` may leave out octets, and has no bits behind its network.
pub(in crate::expr::text) fn inet_in(text: &str, is_cidr: bool) -> Result<Datum<'_>, EvalError> {
    let what =
        if is_cidr { "invalid input syntax for type cidr" } else { "invalid input syntax for type inet" };
    if is_cidr && (text.starts_with("0x") || text.starts_with("0X")) {
        return Err(EvalError::new(SqlState::NOT_SUPPORTED, "hexadecimal cidr is not supported"));
    }
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let inet = if address.contains(':') { v6(address, bits) } else { v4(address, bits, is_cidr) };
    let inet = inet.ok_or_else(|| invalid(text, what))?;
    if is_cidr && inet != inet.network() {
        let message = format!("invalid cidr value: \"{text}\"");
        return Err(EvalError::quoting(SqlState::INVALID_TEXT, "invalid cidr value", message));
    }
    Ok(Datum::Inet(inet))
}

fn v4(address: &str, bits: Option<&str>, is_cidr: bool) -> Option<Inet> {
    let mut octets = [0; 4];
    let mut count = 0;
    for part in address.split('.') {
        *octets.get_mut(count)? = number(part)?;
        count += 1;
    }
    let bits = match bits {
        Some(digits) => number(digits).filter(|bits| *bits <= 32)?,
        None if count == 4 => 32,
        None if is_cidr => class_bits(octets[0], count),
        None => return None,
    };
    // An address must be written as far as its network goes.
    if !is_cidr && usize::from(bits).div_ceil(8).max(1) > count {
        return None;
    }
    Some(Inet { address: IpAddr::V4(Ipv4Addr::from(octets)), bits })
}

/// The length of a network whose address alone is written: by its class, or as far as it is written.
fn class_bits(first: u8, count: usize) -> u8 {
    let by_class = match first {
        240.. => 32,
        224.. => 8,
        192.. => 24,
        128.. => 16,
        _ => 8,
    };
    let bits = by_class.max(count as u8 * 8);
    if bits == 8 && first == 224 { 4 } else { bits }
}

/// Digits, any count of zeros in front.
fn number(digits: &str) -> Option<u8> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() { Some(0) } else { digits.parse().ok() }
}

/// A number without zeros in front.
fn exact_number(digits: &str) -> Option<u8> {
    number(digits).filter(|_| digits == "0" || !digits.starts_with('0'))
}

fn v6(address: &str, bits: Option<&str>) -> Option<Inet> {
    let has_bits = bits.is_some();
    // A colon between the address and the slash means nothing.
    let (address, bits) = match bits {
        Some(digits) => {
            let is_trailing = address.ends_with(':') && !address.ends_with("::") && !address.contains('.');
            let address = if is_trailing { &address[..address.len() - 1] } else { address };
            (address, exact_number(digits).filter(|bits| *bits <= 128)?)
        }
        None => (address, 128),
    };
    let words = match address.split_once("::") {
        Some((front, back)) => {
            let (front, back) = (words(front, None)?, words(back, Some(has_bits))?);
            let missing = 8_usize.checked_sub(front.len() + back.len()).filter(|missing| *missing > 0)?;
            [front, vec![0; missing], back].concat()
        }
        None => words(address, Some(has_bits))?,
    };
    let words: [u16; 8] = words.try_into().ok()?;
    Some(Inet { address: IpAddr::V6(Ipv6Addr::from(words)), bits })
}

/// Words between colons. The last may be an address of version 4 unless `v4` is `None`; octets may be missing in it, but the
/// last only where bits follow, which is what `v4` tells.
fn words(text: &str, v4: Option<bool>) -> Option<Vec<u16>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let mut words = Vec::with_capacity(8);
    let mut parts = text.split(':').peekable();
    while let Some(part) = parts.next() {
        if part.contains('.') {
            let has_bits = v4.filter(|_| parts.peek().is_none())?;
            if part.ends_with('.') && !has_bits {
                return None;
            }
            let mut octets = [0; 4];
            for (at, digits) in part.split('.').enumerate() {
                *octets.get_mut(at)? = if digits.is_empty() { 0 } else { exact_number(digits)? };
            }
            words.push(u16::from_be_bytes([octets[0], octets[1]]));
            words.push(u16::from_be_bytes([octets[2], octets[3]]));
        } else if part.len() <= 4 && part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            words.push(u16::from_str_radix(part, 16).ok()?);
        } else {
            return None;
        }
    }
    Some(words)
}

/// Writes an address. A `cidr` always shows the length of its network, an `inet` only when it is no single address.
pub(in crate::expr::text) fn inet_out(inet: &Inet, is_cidr: bool) -> String {
    let (mut text, all) = match inet.address {
        IpAddr::V4(address) => (address.to_string(), 32),
        IpAddr::V6(address) => (v6_out(address.segments()), 128),
    };
    if is_cidr || inet.bits != all {
        // Writing to a string does not fail.
        let _ = write!(text, "/{}", inet.bits);
    }
    text
}

/// The longest run of at least two zero words is left out, the first of equal ones.
fn v6_out(words: [u16; 8]) -> String {
    let mut best = 0..0;
    let mut at = 0;
    while at < words.len() {
        let len = words[at..].iter().take_while(|word| **word == 0).count();
        if len >= 2 && len > best.len() {
            best = at..at + len;
        }
        at += len.max(1);
    }
    let ends_in_v4 = best == (0..6) || (best == (0..5) && words[5] == 0xffff);
    let mut text = String::new();
    for (at, word) in words.iter().enumerate() {
        if best.contains(&at) {
            if at == best.start {
                text.push(':');
            }
            continue;
        }
        if at > 0 {
            text.push(':');
        }
        if at == 6 && ends_in_v4 {
            let ([a, b], [c, d]) = (words[6].to_be_bytes(), words[7].to_be_bytes());
            let _ = write!(text, "{a}.{b}.{c}.{d}");
            return text;
        }
        let _ = write!(text, "{word:x}");
    }
    if !best.is_empty() && best.end == words.len() {
        text.push(':');
    }
    text
}
