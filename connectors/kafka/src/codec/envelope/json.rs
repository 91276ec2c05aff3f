//! Pieces of JSON, written into a buffer.

use understudy_model::Lsn;

/// Appends text as a JSON string. It must be UTF-8 for the result to be JSON.
pub(super) fn push_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    let mut rest = text;
    loop {
        let (plain, special) = rest.split_at(plain_len(rest));
        out.extend_from_slice(plain);
        let Some((byte, after)) = special.split_first() else { break };
        let escape = ESCAPES[*byte as usize];
        out.extend_from_slice(&[b'\\', escape]);
        if escape == b'u' {
            let hex = |digit: u8| b"0123456789abcdef"[digit as usize];
            out.extend_from_slice(&[b'0', b'0', hex(byte >> 4), hex(byte & 15)]);
        }
        rest = after;
    }
    out.push(b'"');
}

/// How many bytes a text begins with that stand in a JSON string as they are.
pub(super) fn plain_len(text: &[u8]) -> usize {
    text.iter().position(|byte| ESCAPES[*byte as usize] != 0).unwrap_or(text.len())
}

/// For each byte the letter that stands for it after a backslash, `u` for those without one, 0 where none is needed.
const ESCAPES: [u8; 256] = {
    let mut escapes = [0; 256];
    let mut control = 0;
    while control < 0x20 {
        escapes[control] = b'u';
        control += 1;
    }
    escapes[8] = b'b';
    escapes[9] = b't';
    escapes[10] = b'n';
    escapes[12] = b'f';
    escapes[13] = b'r';
    escapes[b'"' as usize] = b'"';
    escapes[b'\\' as usize] = b'\\';
    escapes
};

/// Appends a number.
pub(super) fn push_u64(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends a number.
pub(super) fn push_i64(out: &mut Vec<u8>, number: i64) {
    if number < 0 {
        out.push(b'-');
    }
    push_u64(out, number.unsigned_abs());
}

/// Appends an address in the form `X/Y`.
pub(super) fn push_lsn(out: &mut Vec<u8>, lsn: Lsn) {
    push_hex(out, (lsn.raw() >> 32) as u32);
    out.push(b'/');
    push_hex(out, lsn.raw() as u32);
}

fn push_hex(out: &mut Vec<u8>, number: u32) {
    let digits = (32 - (number | 1).leading_zeros()).div_ceil(4);
    out.extend((0..digits).rev().map(|digit| b"0123456789ABCDEF"[(number >> (4 * digit) & 15) as usize]));
}

/// Whether text is a whole number of JSON as it stands.
pub(super) fn is_integer(text: &[u8]) -> bool {
    after_integer(text).is_some_and(<[u8]>::is_empty)
}

/// Whether text is a number of JSON as it stands.
pub(super) fn is_number(text: &[u8]) -> bool {
    let after_digits = |text: &[u8]| {
        let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        (digits > 0).then_some(digits)
    };
    let Some(mut rest) = after_integer(text) else { return false };
    if let [b'.', fraction @ ..] = rest {
        let Some(digits) = after_digits(fraction) else { return false };
        rest = &fraction[digits..];
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let exponent = match exponent {
            [b'+' | b'-', digits @ ..] => digits,
            digits => digits,
        };
        let Some(digits) = after_digits(exponent) else { return false };
        rest = &exponent[digits..];
    }
    rest.is_empty()
}

/// What follows a whole number.
fn after_integer(text: &[u8]) -> Option<&[u8]> {
    let text = match text {
        [b'-', digits @ ..] => digits,
        digits => digits,
    };
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let is_canonical = digits == 1 || (digits > 1 && text[0] != b'0');
    is_canonical.then(|| &text[digits..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::wire::arbitrary;
    use super::*;

    fn written(push: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).unwrap()
    }

    proptest! {
        /// F30: no text makes a record that others cannot read.
        #[test]
        fn strings_are_what_any_reader_of_json_reads(text in arbitrary::text()) {
            let json = written(|out| push_string(out, text.as_bytes()));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }

        /// F31: a number is written as one exactly when any reader of JSON takes it for one.
        #[test]
        fn numbers_are_those_of_json(text in prop_oneof![arbitrary::text(), "-?[01]{0,2}(\\.[01]{0,2})?(e[+-]?[01]{0,2})?"]) {
            let is_number_elsewhere = serde_json::from_str::<&serde_json::value::RawValue>(&text)
                .is_ok_and(|raw| raw.get() == text && text.starts_with(|first: char| first == '-' || first.is_ascii_digit()));
            prop_assert_eq!(is_number(text.as_bytes()), is_number_elsewhere);
            prop_assert_eq!(is_integer(text.as_bytes()), is_number_elsewhere && !text.contains(['.', 'e', 'E']));
        }

        /// F11: positions are written in the form in which they are read.
        #[test]
        fn positions_are_written_as_elsewhere(signed: i64, unsigned: u64, lsn in arbitrary::lsn()) {
            prop_assert_eq!(written(|out| push_i64(out, signed)), signed.to_string());
            prop_assert_eq!(written(|out| push_u64(out, unsigned)), unsigned.to_string());
            prop_assert_eq!(written(|out| push_lsn(out, lsn)), lsn.to_string());
        }
    }
}
