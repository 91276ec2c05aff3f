//! The headers of a data record.

use understudy_model::Lsn;

use super::super::error::CodecError;

/// The address of the commit record, or the checkpoint of a chunk.
pub(super) const LSN: &str = "understudy.lsn";
/// The place of the change in its transaction, or of the row in its chunk.
pub(super) const ORDINAL: &str = "understudy.ordinal";
/// How many changes the transaction has.
pub(super) const TX_SIZE: &str = "understudy.tx_size";
/// The version of the table's shape.
pub(super) const SCHEMA: &str = "understudy.schema";
/// The group.
pub(crate) const GROUP: &str = "understudy.group";
/// The columns that were not sent, counted from zero.
pub(super) const UNSENT: &str = "understudy.unsent";
/// There when `before` holds the whole old row.
pub(super) const BEFORE: &str = "understudy.before";
/// There on tombstones, and on records that say again what stands before them.
pub(crate) const TOMBSTONE: &str = "understudy.tombstone";
/// On the half of an update under the old key: the new one.
pub(super) const NEW_KEY: &str = "__debezium.newkey";
/// On the half of an update under the new key: the old one.
pub(super) const OLD_KEY: &str = "__debezium.oldkey";

/// What the headers of a data record say: all that is needed to put it in its place, and to find the shape of its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataHeaders {
    /// Address of the commit record; for rows of a chunk, the checkpoint at which they belong.
    pub commit: Lsn,
    /// Zero-based place of the change in its transaction, or of the row in its chunk.
    pub ordinal: u64,
    /// How many changes the transaction has; 0 when it was not known.
    pub tx_size: u64,
    /// The version of the shape of its table.
    pub schema: u32,
    /// The group that it was written with.
    pub group: u64,
    /// Whether it is a tombstone, which only compaction needs.
    pub tombstone: bool,
    /// Columns that were not sent.
    pub(super) unsent: Vec<u16>,
    /// Whether `before` is the whole old row.
    pub(super) whole_before: bool,
    /// Whether it is one half of an update that changes a key.
    pub(super) half: Half,
}

/// Which half of an update that changes a key a record is.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Half {
    /// None: the key stays.
    No,
    /// The one under the old key.
    Away,
    /// The one under the new key; the old one as JSON.
    Here(Vec<u8>),
}

impl std::fmt::Debug for Half {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Half::No => "No",
            Half::Away => "Away",
            Half::Here(_) => "Here",
        })
    }
}

/// The order of records within a group: by transaction, change, and within a change that is several records, their part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordOrder {
    /// Address of the commit record.
    pub commit: Lsn,
    /// The change.
    pub ordinal: u64,
    /// Which of its records.
    pub part: u8,
}

impl DataHeaders {
    /// Reads the headers of a record. Those that are not known are passed over.
    pub fn read<'a>(
        headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
    ) -> Result<DataHeaders, CodecError> {
        let mut found = Found::default();
        for (name, value) in headers {
            found.take(name, value.unwrap_or_default())?;
        }
        let missing = |name| CodecError::Header { name };
        Ok(DataHeaders {
            commit: found.commit.ok_or_else(|| missing(LSN))?,
            ordinal: found.ordinal.ok_or_else(|| missing(ORDINAL))?,
            tx_size: found.tx_size.ok_or_else(|| missing(TX_SIZE))?,
            schema: found.schema.ok_or_else(|| missing(SCHEMA))?,
            group: found.group.ok_or_else(|| missing(GROUP))?,
            tombstone: found.tombstone,
            unsent: found.unsent,
            whole_before: found.whole_before,
            half: found.half.unwrap_or(Half::No),
        })
    }

    /// Whether some columns were not sent.
    pub fn leaves_out(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Where the record stands in its group. Never goes down within a partition.
    pub fn order(&self) -> RecordOrder {
        let part = match (self.tombstone, &self.half) {
            (true, _) => 1,
            (false, Half::Here(_)) => 2,
            (false, Half::No | Half::Away) => 0,
        };
        RecordOrder { commit: self.commit, ordinal: self.ordinal, part }
    }
}

/// The headers read so far.
#[derive(Default)]
struct Found {
    commit: Option<Lsn>,
    ordinal: Option<u64>,
    tx_size: Option<u64>,
    schema: Option<u32>,
    group: Option<u64>,
    tombstone: bool,
    unsent: Vec<u16>,
    whole_before: bool,
    half: Option<Half>,
}

impl Found {
    fn take(&mut self, name: &str, value: &[u8]) -> Result<(), CodecError> {
        match name {
            LSN => self.commit = Some(number(LSN, value)?),
            ORDINAL => self.ordinal = Some(number(ORDINAL, value)?),
            TX_SIZE => self.tx_size = Some(number(TX_SIZE, value)?),
            SCHEMA => self.schema = Some(number(SCHEMA, value)?),
            GROUP => self.group = Some(number(GROUP, value)?),
            TOMBSTONE => self.tombstone = true,
            BEFORE => self.whole_before = true,
            UNSENT => {
                let columns = value.split(|byte| *byte == b',').map(|column| number(UNSENT, column));
                self.unsent = columns.collect::<Result<_, _>>()?;
            }
            NEW_KEY => self.take_half(NEW_KEY, Half::Away)?,
            OLD_KEY => self.take_half(OLD_KEY, Half::Here(value.to_vec()))?,
            _ => {}
        }
        Ok(())
    }

    fn take_half(&mut self, name: &'static str, half: Half) -> Result<(), CodecError> {
        match self.half.replace(half) {
            None => Ok(()),
            Some(_) => Err(CodecError::Header { name }),
        }
    }
}

/// Parses what is written as digits, or as an address.
fn number<T: std::str::FromStr>(name: &'static str, value: &[u8]) -> Result<T, CodecError> {
    let text = std::str::from_utf8(value).ok();
    text.and_then(|text| text.parse().ok()).ok_or(CodecError::Header { name })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: [(&str, &str); 6] = [
        (LSN, "16/B374D848"),
        (ORDINAL, "7"),
        (TX_SIZE, "0"),
        (SCHEMA, "2"),
        (GROUP, "18446744073709551615"),
        ("traceparent", "of somebody else"),
    ];

    fn read(headers: &[(&str, &str)]) -> Result<DataHeaders, CodecError> {
        DataHeaders::read(headers.iter().map(|(name, value)| (*name, Some(value.as_bytes()))))
    }

    /// F11: a record whose place is not told is refused, never taken for the first.
    #[test]
    fn a_record_without_its_place_is_refused() {
        let headers = read(&WHOLE).unwrap();
        assert_eq!((headers.commit, headers.ordinal), ("16/B374D848".parse().unwrap(), 7));
        assert_eq!((headers.schema, headers.group, headers.tombstone), (2, u64::MAX, false));
        for (at, (name, _)) in WHOLE[..5].iter().enumerate() {
            let mut lacking = WHOLE;
            lacking[at].0 = "other";
            assert!(matches!(read(&lacking), Err(CodecError::Header { name: lack }) if lack == *name));
            for malformed in ["", "x", "-1", "1.5", "18446744073709551616", "7 "] {
                let mut wrong = WHOLE;
                wrong[at].1 = malformed;
                assert!(matches!(read(&wrong), Err(CodecError::Header { name: bad }) if bad == *name));
            }
        }
        let mut unsent = WHOLE;
        unsent[5] = (UNSENT, "1,,2");
        assert_eq!(read(&unsent), Err(CodecError::Header { name: UNSENT }));
    }

    /// F24: within a change the row leaves its old key before it has the new one.
    #[test]
    fn the_parts_of_a_change_are_in_order() {
        let order = |extra: &[(&str, &str)]| read(&[&WHOLE[..5], extra].concat()).unwrap().order();
        let parts = [order(&[(NEW_KEY, "{}")]), order(&[(TOMBSTONE, "")]), order(&[(OLD_KEY, "{}")])];
        assert!(parts.is_sorted_by(|one, next| one < next), "{parts:?}");
        assert_eq!(order(&[]).part, 0);
        let both = [&WHOLE[..5], &[(NEW_KEY, "{}"), (OLD_KEY, "{}")]].concat();
        assert!(read(&both).is_err(), "a record is one half at most");
    }
}
