//! Transaction ids and the snapshots that tell which of them a reader could see.

use std::fmt;
use std::str::FromStr;

/// A top-level transaction id of blue, widened to 64 bits so that it never wraps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Xid(u64);

impl Xid {
    /// Wraps a 64-bit id as `pg_current_snapshot()` prints it.
    pub const fn new(raw: u64) -> Xid {
        Xid(raw)
    }

    /// The 64-bit id.
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// Widens the 32-bit id that the stream carries, given a 64-bit id less than 2^31 transactions away.
    pub const fn widen(short: u32, near: Xid) -> Xid {
        let distance = short.wrapping_sub(near.0 as u32) as i32;
        Xid(near.0.wrapping_add_signed(distance as i64))
    }
}

impl fmt::Display for Xid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What one statement on blue could see, as `pg_current_snapshot()` describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    xmin: Xid,
    xmax: Xid,
    in_progress: Box<[Xid]>,
}

impl Snapshot {
    /// A snapshot that sees every id below `xmax` but those in progress.
    pub fn new(xmin: Xid, xmax: Xid, mut in_progress: Vec<Xid>) -> Snapshot {
        in_progress.sort_unstable();
        Snapshot { xmin, xmax, in_progress: in_progress.into() }
    }

    /// Whether the effects of a committed transaction were visible.
    pub fn sees(&self, xid: Xid) -> bool {
        xid < self.xmin || (xid < self.xmax && self.in_progress.binary_search(&xid).is_err())
    }

    /// Every id below this one had ended.
    pub const fn xmin(&self) -> Xid {
        self.xmin
    }

    /// No id from this one on had ended.
    pub const fn xmax(&self) -> Xid {
        self.xmax
    }

    /// Ids below `xmax` that had not ended, in ascending order.
    pub fn in_progress(&self) -> &[Xid] {
        &self.in_progress
    }
}

/// A text that is not a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseSnapshotError(String);

impl fmt::Display for ParseSnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a snapshot of the form xmin:xmax:list", self.0)
    }
}

impl std::error::Error for ParseSnapshotError {}

impl FromStr for Snapshot {
    type Err = ParseSnapshotError;

    fn from_str(text: &str) -> Result<Snapshot, ParseSnapshotError> {
        let bad = || ParseSnapshotError(text.to_owned());
        let id = |part: &str| part.parse().map(Xid).map_err(|_| bad());
        let mut parts = text.splitn(3, ':');
        let mut part = || parts.next().ok_or_else(bad);
        let (xmin, xmax, list) = (id(part()?)?, id(part()?)?, part()?);
        let in_progress = list.split(',').filter(|x| !x.is_empty()).map(id).collect::<Result<_, _>>()?;
        Ok(Snapshot::new(xmin, xmax, in_progress))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshot_sees_what_had_ended() {
        let snapshot: Snapshot = "100:105:101,103".parse().unwrap();
        let seen = (98..108).filter(|x| snapshot.sees(Xid(*x))).collect::<Vec<_>>();
        assert_eq!(seen, [98, 99, 100, 102, 104]);
    }

    #[test]
    fn short_ids_widen_across_the_wrap() {
        let near = Xid((3 << 32) | 5);
        assert_eq!(Xid::widen(7, near), Xid((3 << 32) | 7));
        assert_eq!(Xid::widen(u32::MAX, near), Xid((3 << 32) - 1));
        assert_eq!(Xid::widen(2, Xid((3 << 32) - 4)), Xid((3 << 32) | 2));
    }
}
