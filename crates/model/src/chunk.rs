//! Pieces of a table's first copy: which blocks, under which number, at which mark in the stream.

use std::fmt;
use std::str::FromStr;

use crate::table::{RelationId, RouteId};

/// A row address on blue: block, then line within the block. Line 0 stands before every row of its block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ctid {
    /// Heap block.
    pub block: u32,
    /// Line pointer, from 1; 0 as a bound before all.
    pub line: u16,
}

impl Ctid {
    /// Before every row of `block`.
    pub const fn start_of(block: u32) -> Ctid {
        Ctid { block, line: 0 }
    }
}

impl fmt::Display for Ctid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({},{})", self.block, self.line)
    }
}

impl FromStr for Ctid {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Ctid, &'static str> {
        let parse = || {
            let (block, line) = text.strip_prefix('(')?.strip_suffix(')')?.split_once(',')?;
            Some(Ctid { block: block.parse().ok()?, line: line.parse().ok()? })
        };
        parse().ok_or("not a row address of the form (block,line)")
    }
}

/// The rows from `from` (included) to `to` (excluded) of one table or leaf partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlockRange {
    /// First address.
    pub from: Ctid,
    /// First address beyond.
    pub to: Ctid,
}

impl BlockRange {
    /// Highest line number that a heap block of any page size can hold.
    const LAST_LINE: u16 = 2048;

    /// Two ranges that cover this one, or none when it holds a single address.
    pub fn halves(self) -> Option<(BlockRange, BlockRange)> {
        let blocks = self.to.block.saturating_sub(self.from.block);
        let middle = if blocks > 1 {
            Ctid::start_of(self.from.block + blocks / 2)
        } else {
            let end = if blocks == 1 && self.to.line == 0 { Self::LAST_LINE } else { self.to.line };
            if blocks == 1 && self.to.line != 0 {
                Ctid::start_of(self.to.block)
            } else if end > self.from.line + 1 {
                Ctid { block: self.from.block, line: self.from.line + (end - self.from.line) / 2 }
            } else {
                return None;
            }
        };
        Some((BlockRange { from: self.from, to: middle }, BlockRange { from: middle, to: self.to }))
    }
}

/// A table or leaf partition that one route copies on its own. A table that several routes take is a unit of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitId {
    /// Object id on blue.
    pub oid: u32,
    /// The route that copies it.
    pub route: RouteId,
}

impl UnitId {
    /// The unit of a table for a route.
    pub const fn new(oid: u32, route: RouteId) -> UnitId {
        UnitId { oid, route }
    }

    /// The table, as the stream names it.
    pub const fn relation(self) -> RelationId {
        RelationId(self.oid)
    }
}

/// The number of a chunk within a run of the sidecar; never reused within that run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkId(pub u64);

/// The random content of a marker, by which it is recognised in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Nonce(pub u128);

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for Nonce {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Nonce, Self::Err> {
        u128::from_str_radix(text, 16).map(Nonce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_cover_the_range_down_to_one_address() {
        let whole = BlockRange { from: Ctid::start_of(3), to: Ctid { block: 9, line: 4 } };
        let mut todo = vec![whole];
        let mut leaves = Vec::new();
        while let Some(range) = todo.pop() {
            match range.halves() {
                Some((low, high)) => {
                    assert!(low.from < low.to && high.from < high.to && low.to == high.from);
                    assert_eq!((low.from, high.to), (range.from, range.to));
                    todo.extend([high, low]);
                }
                None => leaves.push(range),
            }
        }
        assert!(leaves.windows(2).all(|pair| pair[0].to == pair[1].from));
        assert_eq!((leaves[0].from, leaves[leaves.len() - 1].to), (whole.from, whole.to));
    }
}
