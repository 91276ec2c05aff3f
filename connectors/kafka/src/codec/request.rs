//! A row that an apply wants to be read again, as the requests topic holds it.

use serde::{Deserialize, Serialize};
use understudy_contract::Wanted;

use super::error::CodecError;
use super::wire::{self, Format, KeyWire, NameWire};

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The green that asks.
    pub target: String,
    /// The row.
    pub row: Wanted,
}

#[derive(Serialize, Deserialize)]
struct RequestWire {
    v: Format,
    target: String,
    table: NameWire,
    key: KeyWire,
}

impl Request {
    /// The value of its record, which has no key.
    pub fn to_json(&self) -> Vec<u8> {
        let (table, key) = ((&self.row.table).into(), KeyWire(self.row.key.clone()));
        wire::write(&RequestWire { v: Format, target: self.target.clone(), table, key })
    }

    /// Reads the value of a record.
    pub fn from_json(value: &[u8]) -> Result<Request, CodecError> {
        let RequestWire { v: Format, target, table, key } = wire::read("a request", value)?;
        Ok(Request { target, row: Wanted { table: table.into(), key: key.0 } })
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
        ) {
            let request = Request { target, row: Wanted { table, key } };
            prop_assert_eq!(Request::from_json(&request.to_json()), Ok(request));
        }
    }

    /// Guards the form, which captures and applies of other releases read.
    #[test]
    fn requests_are_written_so() {
        let row =
            Wanted { table: TableName::new("public", "orders"), key: Key::from_texts([&b"1"[..], b"\xff"]) };
        let json = Request { target: "green".to_owned(), row }.to_json();
        let expected = r#"{"v":1,"target":"green","table":["public","orders"],"key":["1",[255]]}"#;
        assert_eq!(String::from_utf8(json).unwrap(), expected);
    }
}
