//! A place in the log, as it travels with green's checkpoint: JSON, with what tells this log from another of the same name.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use understudy_contract::Cursor;

/// The form of cursors that is written. Others are refused.
const FORM: u32 = 1;

/// Everything up to the end of one group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Place {
    pub(super) form: u32,
    /// The prefix of the topics.
    pub(crate) prefix: String,
    /// The cluster, where it tells its name.
    pub(crate) cluster: Option<String>,
    /// The group that was the last to be taken.
    pub(crate) group: u64,
    /// The offset of its record in the order topic.
    pub(crate) order: i64,
    /// Digest of that record: offsets of a topic that was made anew look alike.
    pub(crate) digest: u64,
    /// By topic the offset of the next record of each partition, `None` where none was taken yet.
    pub(crate) topics: BTreeMap<String, Vec<Option<i64>>>,
    /// Which of how many lanes it is the place of; `None` where one reader takes everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lane: Option<(u32, u32)>,
    /// The next group empties tables in the transaction with this commit: everything before that is on green, of this group
    /// too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fence: Option<u64>,
    /// Of a lane, by topic a digest of what decides about the partition of a row beside its values: names and forms of key
    /// columns.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) keys: BTreeMap<String, u64>,
}

/// Why bytes are no cursor of ours.
#[derive(Debug)]
pub(crate) enum NotACursor {
    /// It has another form.
    Form(u32),
    /// It has none that is known.
    Malformed(serde_json::Error),
}

impl Place {
    /// Before the first group.
    pub(crate) fn start(prefix: impl Into<String>, cluster: Option<String>) -> Place {
        Place {
            form: FORM,
            prefix: prefix.into(),
            cluster,
            group: 0,
            order: -1,
            digest: 0,
            topics: BTreeMap::new(),
            lane: None,
            fence: None,
            keys: BTreeMap::new(),
        }
    }

    /// The offset of the next record of a partition; `None` where none was taken yet.
    pub(crate) fn next(&self, topic: &str, partition: u32) -> Option<i64> {
        *self.topics.get(topic)?.get(partition as usize)?
    }

    /// As others carry it.
    pub(crate) fn to_cursor(&self) -> Cursor {
        // Neither a map with text for keys nor a number can fail to be written.
        Cursor(Bytes::from(serde_json::to_vec(self).unwrap_or_default()))
    }

    /// Reads a cursor back.
    pub(crate) fn parse(cursor: &Cursor) -> Result<Place, NotACursor> {
        #[derive(Deserialize)]
        struct Form {
            form: u32,
        }
        let Form { form } = serde_json::from_slice(&cursor.0).map_err(NotACursor::Malformed)?;
        if form != FORM {
            return Err(NotACursor::Form(form));
        }
        serde_json::from_slice(&cursor.0).map_err(NotACursor::Malformed)
    }
}

/// A digest that stays the same from version to version: FNV-1a.
pub(crate) fn digest(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards that a cursor written by one version is read by the next: its text is part of green's bookkeeping.
    #[test]
    fn a_cursor_has_this_text() {
        let mut place = Place::start("shop", Some("abc".to_owned()));
        (place.group, place.order, place.digest) = (7, 12, u64::MAX);
        place.topics.insert("shop.public.t".to_owned(), vec![Some(3), None]);
        let cursor = place.to_cursor();
        let text = r#"{"form":1,"prefix":"shop","cluster":"abc","group":7,"order":12,"digest":18446744073709551615,"topics":{"shop.public.t":[3,null]}}"#;
        assert_eq!(cursor.0, text.as_bytes());
        assert_eq!(Place::parse(&cursor).ok(), Some(place));
        assert_eq!(digest(b"understudy"), digest(b"understudy"));
        assert_eq!(digest(b"a"), 0xaf63_dc4c_8601_ec8c);
    }

    /// Guards that a cursor of a later version is not taken for one that is understood.
    #[test]
    fn other_forms_are_refused() {
        let parse = |text: &'static str| Place::parse(&Cursor(Bytes::from_static(text.as_bytes())));
        assert!(matches!(parse(r#"{"form":2,"offsets":[]}"#), Err(NotACursor::Form(2))));
        assert!(matches!(parse(r#"{"form":1}"#), Err(NotACursor::Malformed(_))));
        assert!(matches!(parse("7"), Err(NotACursor::Malformed(_))));
    }
}
