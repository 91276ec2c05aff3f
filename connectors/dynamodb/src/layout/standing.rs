//! How a row stands in the store, and how a write expects it to stand.

use aws_sdk_dynamodb::types::AttributeValue;

use super::path::{DELETED, TAG, VERSION};
use super::write::dead_parts;
use super::{Item, ItemLayout, Version, own_name};

/// What a write expects of the row that it finds. In every case what is there has to be ours, and earlier.
#[derive(Debug, Clone, PartialEq)]
pub enum Expect {
    /// It may be there or not.
    Any,
    /// It is there.
    There,
    /// It is not there, or a tombstone is.
    Gone,
    /// It has no version of ours, but this attribute in its place, or none at all.
    Unversioned(Option<AttributeValue>),
}

/// How a row stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Standing {
    /// Nothing of it is there.
    Absent,
    /// It was deleted by this version.
    Deleted(Version),
    /// It was written by this version.
    There(Version),
    /// It is there without a version of ours; with what stands in its place.
    Unversioned(Option<AttributeValue>),
    /// Its item is another's, by the tag.
    Others,
}

impl Standing {
    /// The version under which it was written or deleted.
    pub fn version(&self) -> Option<Version> {
        match self {
            Standing::There(version) | Standing::Deleted(version) => Some(*version),
            Standing::Absent | Standing::Unversioned(_) | Standing::Others => None,
        }
    }

    /// Whether the row is there, by whoever.
    pub fn is_there(&self) -> bool {
        matches!(self, Standing::There(_) | Standing::Unversioned(_))
    }
}

impl ItemLayout {
    /// How the row of a part, or of the whole item, stands in what a read shows under its key.
    pub fn standing(&self, item: Option<&Item>, part: Option<&str>) -> Standing {
        let Some(item) = item else { return Standing::Absent };
        let tag = item.get(TAG);
        if tag.is_some_and(|tag| tag.as_s() != Ok(&self.plan.tag)) {
            return Standing::Others;
        }
        let found = item.get(&own_name(VERSION, part));
        match (found.and_then(Version::from_av), part) {
            (Some(version), Some(part)) if dead_parts(item).contains(&part) => Standing::Deleted(version),
            (Some(version), None) if item.contains_key(DELETED) => Standing::Deleted(version),
            (Some(version), _) => Standing::There(version),
            // Of an item of parts that it shares, nothing of this part was ever there.
            (None, Some(_)) if found.is_none() => Standing::Absent,
            (None, _) => Standing::Unversioned(found.cloned()),
        }
    }
}
