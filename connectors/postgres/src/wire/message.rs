//! Message tags, and the few server messages whose bodies matter.

use bytes::Bytes;
use understudy_contract::Failure;

use crate::error::protocol;

pub(super) const AUTHENTICATION: u8 = b'R';
pub(super) const BACKEND_KEY: u8 = b'K';
pub(super) const COMMAND_COMPLETE: u8 = b'C';
pub(super) const COPY_BOTH: u8 = b'W';
pub(super) const COPY_DATA: u8 = b'd';
pub(super) const COPY_DONE: u8 = b'c';
pub(super) const COPY_IN: u8 = b'G';
pub(super) const COPY_OUT: u8 = b'H';
pub(super) const DATA_ROW: u8 = b'D';
pub(super) const EMPTY_QUERY: u8 = b'I';
pub(super) const ERROR: u8 = b'E';
pub(super) const NEGOTIATE_VERSION: u8 = b'v';
pub(super) const NOTICE: u8 = b'N';
pub(super) const NOTIFICATION: u8 = b'A';
pub(super) const PARAMETER_DESCRIPTION: u8 = b't';
pub(super) const PARAMETER_STATUS: u8 = b'S';
pub(super) const READY: u8 = b'Z';

/// How many rows a CommandComplete reports: the last word of its tag, if that is a number.
pub(super) fn rows_affected(body: &[u8]) -> u64 {
    let tag = body.strip_suffix(&[0]).unwrap_or(body);
    let number = tag.rsplit(|byte| *byte == b' ').next();
    number.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok()).unwrap_or(0)
}

/// Takes a 32-bit number off the front.
pub(super) fn take_u32(body: &mut &[u8]) -> Option<u32> {
    let (number, rest) = body.split_first_chunk::<4>()?;
    *body = rest;
    Some(u32::from_be_bytes(*number))
}

/// Takes a text that ends with a zero byte off the front.
pub(super) fn take_text<'a>(body: &mut &'a [u8]) -> Option<&'a str> {
    let end = memchr::memchr(0, body)?;
    let text = std::str::from_utf8(&body[..end]).ok()?;
    *body = &body[end + 1..];
    Some(text)
}

/// The object ids of a ParameterDescription.
pub(super) fn parameter_types(body: &Bytes) -> Result<Box<[u32]>, Failure> {
    let mut rest = body.get(2..).ok_or_else(|| protocol("a short parameter description"))?;
    let mut types = Vec::new();
    while let Some(oid) = take_u32(&mut rest) {
        types.push(oid);
    }
    Ok(types.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_tags_tell_rows() {
        for (tag, rows) in
            [(&b"INSERT 0 17\0"[..], 17), (b"COPY 3\0", 3), (b"BEGIN\0", 0), (b"", 0), (b"UPDATE x\0", 0)]
        {
            assert_eq!(rows_affected(tag), rows);
        }
    }
}
