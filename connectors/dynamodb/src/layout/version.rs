//! Which of two writes of a row is the later one: twenty bytes that DynamoDB compares.

use std::fmt;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use understudy_model::{Lsn, Position};

/// The version of a row, or of the part of an item that a route writes. Later ones are greater, here and as bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The run that wrote it. Each claim of green begins a later one: what is written again after it counts as later.
    pub epoch: u32,
    /// The commit record of a change, or the place in the stream at which a chunk was placed.
    pub lsn: Lsn,
    /// 0 for a row of a chunk, else the change's place in its transaction, from 1.
    place: u64,
}

impl Version {
    /// Length of its bytes.
    pub const BYTES: usize = 20;

    /// The version of a change.
    pub const fn change(epoch: u32, position: Position) -> Version {
        Version { epoch, lsn: position.commit, place: position.ordinal.saturating_add(1) }
    }

    /// The version of a row of a chunk. It is earlier than that of every change that commits there.
    pub const fn chunk(epoch: u32, at: Lsn) -> Version {
        Version { epoch, lsn: at, place: 0 }
    }

    /// Whether a row of a chunk was written, and not a change.
    pub const fn is_of_chunk(self) -> bool {
        self.place == 0
    }

    /// Whether a run before that of `other` wrote it, and came to that place of the stream or beyond it: then `other` is done
    /// again.
    pub fn is_ahead_of(self, other: Version) -> bool {
        self.epoch < other.epoch && (self.lsn, self.place) >= (other.lsn, other.place)
    }

    /// As an attribute.
    pub fn to_av(self) -> AttributeValue {
        AttributeValue::B(Blob::new(self.to_bytes()))
    }

    /// From an attribute; `None` for what no version of ours is.
    pub fn from_av(value: &AttributeValue) -> Option<Version> {
        let AttributeValue::B(bytes) = value else { return None };
        let (epoch, rest) = bytes.as_ref().split_first_chunk::<4>()?;
        let (lsn, rest) = rest.split_first_chunk::<8>()?;
        let (place, rest) = rest.split_first_chunk::<8>()?;
        rest.is_empty().then_some(Version {
            epoch: u32::from_be_bytes(*epoch),
            lsn: Lsn::new(u64::from_be_bytes(*lsn)),
            place: u64::from_be_bytes(*place),
        })
    }

    fn to_bytes(self) -> [u8; Version::BYTES] {
        let mut bytes = [0; Version::BYTES];
        bytes[..4].copy_from_slice(&self.epoch.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.lsn.raw().to_be_bytes());
        bytes[12..].copy_from_slice(&self.place.to_be_bytes());
        bytes
    }
}

/// `epoch/lsn/place`, where the place of a chunk's rows is 0.
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:X}/{}", self.epoch, self.lsn.raw(), self.place)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn versions() -> impl Strategy<Value = Version> {
        let few = || prop_oneof![Just(0), Just(1), Just(255), Just(256), any::<u64>()];
        (prop_oneof![Just(0), Just(1), Just(256), any::<u32>()], few(), few())
            .prop_map(|(epoch, lsn, place)| Version { epoch, lsn: Lsn::new(lsn), place })
    }

    proptest! {
        /// DynamoDB compares bytes: an order of theirs that is not ours would let an old write undo a new one.
        #[test]
        fn bytes_are_ordered_as_versions_are(one in versions(), other in versions()) {
            prop_assert_eq!(one.to_bytes().cmp(&other.to_bytes()), one.cmp(&other));
            prop_assert_eq!(Version::from_av(&one.to_av()), Some(one));
        }
    }

    /// A commit may start exactly where a chunk was placed: its changes are later than the chunk's rows.
    #[test]
    fn a_change_is_later_than_a_chunk_at_its_place() {
        let at = Lsn::new(7);
        let (chunk, change) =
            (Version::chunk(1, at), Version::change(1, Position { commit: at, ordinal: 0 }));
        assert!(chunk < change && chunk.is_of_chunk() && !change.is_of_chunk());
        assert!(
            change < Version::chunk(2, Lsn::ZERO),
            "a later claim writes again what an earlier one wrote"
        );
        assert_eq!(change.to_string(), "1/7/1");
    }

    /// What others write as version never counts as one.
    #[test]
    fn foreign_versions_are_none() {
        for bytes in [vec![], vec![0; 19], vec![0; 21]] {
            assert_eq!(Version::from_av(&AttributeValue::B(Blob::new(bytes))), None);
        }
        assert_eq!(Version::from_av(&AttributeValue::S("1".into())), None);
    }
}
