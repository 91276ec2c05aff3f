//! Places in blue's write-ahead log: byte addresses, event identities and checkpoints.

use std::fmt;
use std::str::FromStr;

/// A byte address in a Postgres write-ahead log, written `X/Y` in hexadecimal. Zero means "nowhere yet".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(u64);

impl Lsn {
    /// The address before every other.
    pub const ZERO: Lsn = Lsn(0);

    /// Wraps a raw 64-bit address.
    pub const fn new(raw: u64) -> Lsn {
        Lsn(raw)
    }

    /// The raw 64-bit address, as the protocol carries it.
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// Bytes from `earlier` to `self`; zero when `earlier` is not earlier.
    pub const fn bytes_since(self, earlier: Lsn) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not a write-ahead log address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseLsnError(String);

impl fmt::Display for ParseLsnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a log position of the form X/Y", self.0)
    }
}

impl std::error::Error for ParseLsnError {}

impl FromStr for Lsn {
    type Err = ParseLsnError;

    fn from_str(text: &str) -> Result<Lsn, ParseLsnError> {
        let bad = || ParseLsnError(text.to_owned());
        let (high, low) = text.split_once('/').ok_or_else(bad)?;
        let high = u32::from_str_radix(high, 16).map_err(|_| bad())?;
        let low = u32::from_str_radix(low, 16).map_err(|_| bad())?;
        Ok(Lsn(u64::from(high) << 32 | u64::from(low)))
    }
}

/// The identity of one event: where its transaction committed, and its place inside that transaction.
///
/// Header addresses of the protocol repeat, so they never identify anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Address of the commit record, from the body of the Begin message.
    pub commit: Lsn,
    /// Zero-based place of the event in its transaction.
    pub ordinal: u64,
}

/// The end address of a commit: everything before it has taken effect, nothing after it has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Checkpoint(Lsn);

impl Checkpoint {
    /// A checkpoint from the end address in the body of a Commit message.
    pub const fn at_commit_end(end: Lsn) -> Checkpoint {
        Checkpoint(end)
    }

    /// The end address.
    pub const fn lsn(self) -> Lsn {
        self.0
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lsn_text_round_trips() {
        for text in ["0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF"] {
            assert_eq!(text.parse::<Lsn>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn malformed_lsn_is_refused() {
        for text in ["", "1", "1/", "/1", "G/1", "1/123456789"] {
            assert!(text.parse::<Lsn>().is_err(), "{text}");
        }
    }
}
