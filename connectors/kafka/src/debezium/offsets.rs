//! Kafka Connect's own offsets, as far as they tell how far a connector has come with everything.
//!
//! Connect writes the offset of a record only once that record and all before it are in Kafka.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use understudy_model::Lsn;

/// How far a connector has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Come {
    /// Everything that blue committed before this address is in Kafka; `None` while the snapshot runs.
    pub(super) upto: Option<Lsn>,
}

#[derive(Deserialize)]
struct Partition<'a> {
    #[serde(borrow, default)]
    server: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Offset<'a> {
    #[serde(borrow, default)]
    snapshot: Option<&'a RawValue>,
    #[serde(default)]
    lsn: Option<u64>,
    #[serde(default)]
    lsn_commit: Option<u64>,
    #[serde(default)]
    last_snapshot_record: Option<bool>,
    #[serde(default)]
    snapshot_completed: Option<bool>,
}

/// What a record of the offsets topic says of the connector with this prefix. `None`: it is about another one, or resets it.
pub(super) fn read(prefix: &str, key: Option<&[u8]>, value: Option<&[u8]>) -> Option<Come> {
    let (_, partition) = serde_json::from_slice::<(Cow<'_, str>, Partition<'_>)>(key?).ok()?;
    if partition.server.as_deref() != Some(prefix) {
        return None;
    }
    let offset = serde_json::from_slice::<Offset<'_>>(value?).ok()?;
    let is_set = |raw: &RawValue| !matches!(raw.get(), "false" | "\"false\"" | "null");
    let is_over = offset.last_snapshot_record == Some(true) || offset.snapshot_completed == Some(true);
    if offset.snapshot.is_some_and(is_set) && !is_over {
        return Some(Come { upto: None });
    }
    // After the snapshot there is no commit yet, and its own place counts.
    let is_fresh = offset.snapshot.is_some();
    let upto = offset.lsn_commit.or(offset.lsn.filter(|_| is_fresh)).map(Lsn::new);
    upto.map(|upto| Come { upto: Some(upto) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str) -> Option<Come> {
        read("shop", Some(br#"["source",{"server":"shop"}]"#), Some(value.as_bytes()))
    }

    /// Guards the one figure that tells what green has reached: an address of a change would count changes of transactions
    /// that were committed after it, and a snapshot that still runs would count as done.
    #[test]
    fn only_what_is_whole_counts() {
        let upto = |lsn| Some(Come { upto: Some(Lsn::new(lsn)) });
        let streamed =
            r#"{"lsn_proc":30,"messageType":"INSERT","lsn_commit":20,"lsn":30,"txId":7,"ts_usec":1}"#;
        assert_eq!(of(streamed), upto(20));
        assert_eq!(
            of(r#"{"snapshot":true,"lsn":10,"last_snapshot_record":false}"#),
            Some(Come { upto: None })
        );
        assert_eq!(
            of(r#"{"snapshot":"INITIAL","lsn":10,"snapshot_completed":false}"#),
            Some(Come { upto: None })
        );
        assert_eq!(of(r#"{"snapshot":"INITIAL","lsn":10,"snapshot_completed":true}"#), upto(10));
        assert_eq!(of(r#"{"snapshot":true,"lsn":10,"last_snapshot_record":true}"#), upto(10));
        assert_eq!(of(r#"{"lsn":30,"txId":7}"#), None, "a change without the commit before it");
        assert_eq!(read("shop", Some(br#"["source",{"server":"other"}]"#), Some(streamed.as_bytes())), None);
        assert_eq!(
            read("shop", Some(br#"["source",{"server":"shop"}]"#), None),
            None,
            "a connector that was reset"
        );
    }
}
