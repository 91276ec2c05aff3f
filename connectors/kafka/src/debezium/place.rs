//! A place in Debezium's topics, as it travels with green's checkpoint.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use understudy_contract::{Cursor, Failure};

use crate::error::Error;

/// The form of cursors that is written. Others are refused.
const FORM: u32 = 1;

/// For every partition the offset of the next record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Place {
    form: u32,
    /// Tells it from a place in a log of ours.
    format: String,
    /// The prefix of the topics.
    pub(super) prefix: String,
    /// The cluster, where it tells its name.
    pub(super) cluster: Option<String>,
    /// By table whether its copy is complete. Those that are not here have not begun.
    pub(super) tables: BTreeMap<String, bool>,
    /// By topic the offset of the next record of each partition.
    pub(super) topics: BTreeMap<String, Vec<i64>>,
}

const FORMAT: &str = "debezium";

impl Place {
    /// Before everything.
    pub(super) fn start(prefix: impl Into<String>) -> Place {
        Place {
            form: FORM,
            format: FORMAT.to_owned(),
            prefix: prefix.into(),
            cluster: None,
            tables: BTreeMap::new(),
            topics: BTreeMap::new(),
        }
    }

    /// The offset of the next record of a partition.
    pub(super) fn next(&self, topic: &str, partition: i32) -> Option<i64> {
        self.topics.get(topic)?.get(usize::try_from(partition).ok()?).copied()
    }

    /// As others carry it.
    pub(super) fn to_cursor(&self) -> Cursor {
        // Neither a map with text for keys nor a number can fail to be written.
        Cursor(Bytes::from(serde_json::to_vec(self).unwrap_or_default()))
    }

    /// Reads a cursor back.
    pub(super) fn of(prefix: &str, cursor: Option<&Cursor>) -> Result<Place, Failure> {
        let Some(cursor) = cursor else { return Ok(Place::start(prefix)) };
        let another = |why: &str| Failure::from(Error::AnotherLog { why: why.to_owned() });
        let place = serde_json::from_slice::<Place>(&cursor.0);
        let place =
            place.map_err(|error| another("its place is in no topics of Debezium").caused_by(error))?;
        if place.form != FORM || place.format != FORMAT {
            return Err(another("its place there has a form that this version does not know"));
        }
        if place.prefix != prefix {
            return Err(another(&format!(
                "its place is in the topics of prefix `{}`, not `{prefix}`",
                place.prefix
            )));
        }
        Ok(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards that a place is read by the next version, and that one in a log of ours is not taken for one here.
    #[test]
    fn a_place_has_this_text() {
        let mut place = Place::start("shop");
        place.tables.insert("public.t".to_owned(), true);
        place.topics.insert("shop.public.t".to_owned(), vec![3, 0]);
        let text = r#"{"form":1,"format":"debezium","prefix":"shop","cluster":null,"tables":{"public.t":true},"topics":{"shop.public.t":[3,0]}}"#;
        assert_eq!(place.to_cursor().0, text.as_bytes());
        assert_eq!(Place::of("shop", Some(&place.to_cursor())).ok(), Some(place.clone()));
        assert!(Place::of("other", Some(&place.to_cursor())).is_err());
        let ours =
            br#"{"form":1,"prefix":"shop","cluster":null,"group":7,"order":12,"digest":1,"topics":{}}"#;
        assert!(Place::of("shop", Some(&Cursor(Bytes::from_static(ours)))).is_err());
    }
}
