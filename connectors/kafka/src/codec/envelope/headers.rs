//! The headers of a data record.

use understudy_model::Lsn;

use super::super::error::CodecError;
use super::Stamp;
use super::json::{push_lsn, push_u64};

/// Where the record belongs: five numbers in one header, since a client pays for each header of each record by itself. They are
/// the address of the commit record or the checkpoint of a chunk, the place of the change in its transaction or of the row in
/// its chunk, how many changes the transaction has, the version of the table's shape, and the group.
pub(crate) const PLACE: &str = "understudy.place";
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
        let Place { commit, ordinal, tx_size, schema, group } = found.place.ok_or(malformed(PLACE))?;
        Ok(DataHeaders {
            commit,
            ordinal,
            tx_size,
            schema,
            group,
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
    place: Option<Place>,
    tombstone: bool,
    unsent: Vec<u16>,
    whole_before: bool,
    half: Option<Half>,
}

impl Found {
    fn take(&mut self, name: &str, value: &[u8]) -> Result<(), CodecError> {
        match name {
            PLACE => {
                let place = Place::read(value).ok_or(malformed(PLACE))?;
                if self.place.replace(place).is_some() {
                    return Err(malformed(PLACE));
                }
            }
            TOMBSTONE => self.tombstone = true,
            BEFORE => self.whole_before = true,
            UNSENT => {
                let columns = value.split(|byte| *byte == b',').map(|column| number(column, 10));
                self.unsent = columns.collect::<Option<_>>().ok_or(malformed(UNSENT))?;
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
            Some(_) => Err(malformed(name)),
        }
    }
}

/// What [`PLACE`] says.
struct Place {
    commit: Lsn,
    ordinal: u64,
    tx_size: u64,
    schema: u32,
    group: u64,
}

impl Place {
    fn read(value: &[u8]) -> Option<Place> {
        let mut words = value.split(|byte| *byte == b' ');
        let mut address = words.next()?.split(|byte| *byte == b'/');
        let (high, low) = (number::<u32>(address.next()?, 16)?, number::<u32>(address.next()?, 16)?);
        let place = Place {
            commit: Lsn::new(u64::from(high) << 32 | u64::from(low)),
            ordinal: number(words.next()?, 10)?,
            tx_size: number(words.next()?, 10)?,
            schema: number(words.next()?, 10)?,
            group: number(words.next()?, 10)?,
        };
        (address.next().is_none() && words.next().is_none()).then_some(place)
    }
}

/// Appends the value of [`PLACE`].
pub(super) fn push_place(out: &mut Vec<u8>, stamp: &Stamp, schema: u32) {
    push_lsn(out, stamp.commit);
    for number in [stamp.ordinal, stamp.tx_size, u64::from(schema), stamp.group] {
        out.push(b' ');
        push_u64(out, number);
    }
}

/// The value of [`PLACE`] for the same record in another group. `None` unless it is well-formed.
pub(crate) fn placed_in_group(value: &[u8], group: u64) -> Option<Vec<u8>> {
    let Place { commit, ordinal, tx_size, schema, .. } = Place::read(value)?;
    let mut place = Vec::new();
    push_place(&mut place, &Stamp { commit, ordinal, tx_size, group, ..Stamp::default() }, schema);
    Some(place)
}

/// What is written as digits, and nothing else.
fn number<T: TryFrom<u64>>(digits: &[u8], radix: u32) -> Option<T> {
    let first = digits.first().and_then(|digit| char::from(*digit).to_digit(radix))?;
    let number = digits[1..].iter().try_fold(u64::from(first), |number, digit| {
        let digit = char::from(*digit).to_digit(radix)?;
        number.checked_mul(u64::from(radix))?.checked_add(u64::from(digit))
    });
    number.and_then(|number| T::try_from(number).ok())
}

fn malformed(name: &'static str) -> CodecError {
    CodecError::Header { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: [&str; 5] = ["16/B374D848", "7", "0", "2", "18446744073709551615"];

    const WHOLE: [(&str, &str); 2] =
        [(PLACE, "16/B374D848 7 0 2 18446744073709551615"), ("traceparent", "of somebody else")];

    fn read(headers: &[(&str, &str)]) -> Result<DataHeaders, CodecError> {
        DataHeaders::read(headers.iter().map(|(name, value)| (*name, Some(value.as_bytes()))))
    }

    /// F11: a record whose place is not told is refused, never taken for the first.
    #[test]
    fn a_record_without_its_place_is_refused() {
        let headers = read(&WHOLE).unwrap();
        assert_eq!((headers.commit, headers.ordinal), ("16/B374D848".parse().unwrap(), 7));
        assert_eq!((headers.tx_size, headers.schema, headers.group), (0, 2, u64::MAX));
        assert!(!headers.tombstone);
        let refused = Err(malformed(PLACE));
        assert_eq!(read(&WHOLE[1..]), refused);
        assert_eq!(read(&[WHOLE[0], WHOLE[0]]), refused, "told twice");
        // One header for each number is another form than this one.
        let names = ["lsn", "ordinal", "tx_size", "schema", "group"].map(|name| format!("understudy.{name}"));
        let apart = names.iter().zip(WORDS).map(|(name, word)| (name.as_str(), word)).collect::<Vec<_>>();
        assert_eq!(read(&apart), refused);
        assert_eq!(DataHeaders::read([(PLACE, None)]), refused);
        for at in 0..WORDS.len() {
            let mut lacking = WORDS.to_vec();
            lacking.remove(at);
            assert_eq!(read(&[(PLACE, &lacking.join(" "))]), refused);
            for wrong in ["", "x", "-1", "+1", "1.5", "18446744073709551616", "7 ", " 7", "7\n", "\u{0667}"] {
                let mut words = WORDS;
                words[at] = wrong;
                assert_eq!(read(&[(PLACE, &words.join(" "))]), refused, "{at} {wrong}");
            }
        }
        for address in ["16", "16/", "/16", "1/2/3", "16/B374D8480", "100000000/0", "+1/2", "1/+2"] {
            let place = WHOLE[0].1.replace(WORDS[0], address);
            assert_eq!(read(&[(PLACE, &place)]), refused, "{address}");
        }
        let later = WHOLE[0].1.replace(" 2 ", " 4294967296 ");
        assert_eq!(read(&[(PLACE, &later)]), refused, "no version is so great");
        assert_eq!(read(&[WHOLE[0], (UNSENT, "1,,2")]), Err(malformed(UNSENT)));
    }

    /// Guards that a record that is written once more under another group keeps all else of its place.
    #[test]
    fn a_place_in_another_group_is_the_same_but_for_it() {
        let place = placed_in_group(WHOLE[0].1.as_bytes(), 12);
        assert_eq!(place.as_deref(), Some(&b"16/B374D848 7 0 2 12"[..]));
        assert_eq!(placed_in_group(b"16/B374D848 7 0 2", 12), None);
    }

    /// F24: within a change the row leaves its old key before it has the new one.
    #[test]
    fn the_parts_of_a_change_are_in_order() {
        let order = |extra: &[(&str, &str)]| read(&[&WHOLE[..1], extra].concat()).unwrap().order();
        let parts = [order(&[(NEW_KEY, "{}")]), order(&[(TOMBSTONE, "")]), order(&[(OLD_KEY, "{}")])];
        assert!(parts.is_sorted_by(|one, next| one < next), "{parts:?}");
        assert_eq!(order(&[]).part, 0);
        let both = [&WHOLE[..1], &[(NEW_KEY, "{}"), (OLD_KEY, "{}")]].concat();
        assert!(read(&both).is_err(), "a record is one half at most");
    }
}
