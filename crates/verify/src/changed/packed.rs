//! A row's names as bytes: each text behind its length, and what blue calls the row only where that is not its key on green.

use understudy_contract::RowName;
use understudy_model::Key;

/// What blue calls a row, in the two lowest bits of the number that a packed name begins with; the rest is the length of its
/// key on green.
const SAME: usize = 0;
const UNKNOWN: usize = 1;
const OTHER: usize = 2;

/// The names of one row, packed.
#[derive(Debug, Default)]
pub(super) struct Packed {
    bytes: Vec<u8>,
    green: Vec<u8>,
}

impl Packed {
    /// Packs another row's names where the last ones were.
    pub(super) fn set(&mut self, name: &RowName) {
        self.green.clear();
        self.bytes.clear();
        push_key(&mut self.green, &name.green);
        let other = name.blue.as_ref().filter(|blue| **blue != name.green);
        let kind = match (&name.blue, other) {
            (None, _) => UNKNOWN,
            (Some(_), None) => SAME,
            (Some(_), Some(_)) => OTHER,
        };
        push_number(&mut self.bytes, self.green.len() << 2 | kind);
        self.bytes.extend_from_slice(&self.green);
        if let Some(blue) = other {
            push_key(&mut self.bytes, blue);
        }
    }

    /// All of it.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The key on green alone.
    pub(super) fn green(&self) -> &[u8] {
        &self.green
    }
}

/// The key on green of a packed name.
pub(super) fn green_of(packed: &[u8]) -> &[u8] {
    parts(packed).1
}

/// What was packed.
pub(super) fn name_of(packed: &[u8]) -> RowName {
    let (kind, green, blue) = parts(packed);
    let green = Key::from_texts(texts(green));
    let blue = match kind {
        SAME => Some(green.clone()),
        OTHER => Some(Key::from_texts(texts(blue))),
        _ => None,
    };
    RowName { green, blue }
}

/// What is said of blue's name, the key on green, and blue's name.
fn parts(packed: &[u8]) -> (usize, &[u8], &[u8]) {
    let (number, rest) = take_number(packed);
    let (green, blue) = rest.split_at(rest.len().min(number >> 2));
    (number & 3, green, blue)
}

fn texts(mut key: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, rest) = (!key.is_empty()).then(|| take_number(key))?;
        let (text, rest) = rest.split_at(rest.len().min(len));
        key = rest;
        Some(text)
    })
}

fn push_key(out: &mut Vec<u8>, key: &Key) {
    for text in key.texts() {
        push_number(out, text.len());
        out.extend_from_slice(text);
    }
}

/// Seven bits in each byte, the lowest first; the highest bit says that more follow.
fn push_number(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A number, and what follows it.
fn take_number(mut bytes: &[u8]) -> (usize, &[u8]) {
    let (mut number, mut shift) = (0, 0);
    while let Some((byte, rest)) = bytes.split_first() {
        number |= usize::from(byte & 0x7f) << shift;
        (shift, bytes) = (shift + 7, rest);
        if byte & 0x80 == 0 {
            break;
        }
    }
    (number, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row that comes back under another name than it was noted with would never be found, and count as checked.
    #[test]
    fn names_come_back_as_they_were() {
        let long = "k".repeat(70_000);
        let keys = [&[][..], &[""], &["1"], &["", "x"], &["x", ""], &[long.as_str(), "2", &long[..127]]];
        let key = |texts: &[&str]| Key::from_texts(texts.iter().map(|text| text.as_bytes()));
        let mut packed = Packed::default();
        for green in keys.map(key) {
            for blue in std::iter::once(None).chain(keys.map(|texts| Some(key(texts)))) {
                let name = RowName { green: green.clone(), blue };
                packed.set(&name);
                assert_eq!(name_of(packed.bytes()), name);
                assert_eq!(green_of(packed.bytes()), packed.green());
            }
        }
    }

    /// Keys that are put together from other texts are other keys, however the texts add up.
    #[test]
    fn keys_that_differ_are_packed_differently() {
        let packed = |texts: &[&str]| {
            let mut packed = Packed::default();
            packed.set(&RowName {
                green: Key::from_texts(texts.iter().map(|text| text.as_bytes())),
                blue: None,
            });
            packed.green().to_vec()
        };
        assert_ne!(packed(&["ab", "c"]), packed(&["a", "bc"]));
        assert_ne!(packed(&["", "a"]), packed(&["a", ""]));
        assert_ne!(packed(&["a"]), packed(&["a", ""]));
    }
}
