//! What an apply wants to be read again, as the requests topic holds it.

use serde::{Deserialize, Serialize};
use understudy_contract::Wanted;
use understudy_model::TableName;

use super::error::CodecError;
use super::wire::{self, Format, KeyWire, NameWire};

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The green that asks.
    pub target: String,
    /// What it asks for.
    pub asked: Asked,
}

/// What an apply asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// A row is to be read again.
    Row(Wanted),
    /// A table is to be copied into the log anew.
    Table {
        /// Which.
        table: TableName,
        /// Whoever asks reads on behind this group: a copy that was planned after it will do. `None`: only a new one does.
        since: Option<u64>,
    },
}

#[derive(Serialize, Deserialize)]
struct RequestWire {
    v: Format,
    target: String,
    table: NameWire,
    /// Left out: all of the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<KeyWire>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<u64>,
}

impl Request {
    /// The value of its record, which has no key.
    pub fn to_json(&self) -> Vec<u8> {
        let (table, key, since) = match &self.asked {
            Asked::Row(row) => ((&row.table).into(), Some(KeyWire(row.key.clone())), None),
            Asked::Table { table, since } => (table.into(), None, *since),
        };
        wire::write(&RequestWire { v: Format, target: self.target.clone(), table, key, since })
    }

    /// Reads the value of a record.
    pub fn from_json(value: &[u8]) -> Result<Request, CodecError> {
        let RequestWire { v: Format, target, table, key, since } = wire::read("a request", value)?;
        let table = table.into();
        let asked = match key {
            Some(key) => Asked::Row(Wanted { table, key: key.0 }),
            None => Asked::Table { table, since },
        };
        Ok(Request { target, asked })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use understudy_model::{Key, TableName};

    use super::super::wire::arbitrary;
    use super::*;

    proptest! {
        /// F23: the row that lacks a part is the one that is read again, whatever its key.
        #[test]
        fn requests_come_back_as_they_were(
            target in arbitrary::text(),
            table in arbitrary::table(),
            key in arbitrary::key(),
            since in any::<Option<u64>>(),
        ) {
            for asked in [Asked::Table { table: table.clone(), since }, Asked::Row(Wanted { table, key })] {
                let request = Request { target: target.clone(), asked };
                prop_assert_eq!(Request::from_json(&request.to_json()), Ok(request));
            }
        }
    }

    /// Guards the form, which captures and applies of other releases read.
    #[test]
    fn requests_are_written_so() {
        let row =
            Wanted { table: TableName::new("public", "orders"), key: Key::from_texts([&b"1"[..], b"\xff"]) };
        let orders = |since| Asked::Table { table: row.table.clone(), since };
        let (whole, behind) = (orders(None), orders(Some(7)));
        let json =
            |asked| String::from_utf8(Request { target: "green".to_owned(), asked }.to_json()).unwrap();
        let expected = r#"{"v":1,"target":"green","table":["public","orders"],"key":["1",[255]]}"#;
        assert_eq!(json(Asked::Row(row)), expected);
        assert_eq!(json(whole), r#"{"v":1,"target":"green","table":["public","orders"]}"#);
        assert_eq!(json(behind), r#"{"v":1,"target":"green","table":["public","orders"],"since":7}"#);
    }
}
