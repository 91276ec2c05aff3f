//! Compares blue and green row by row: both sides are read in one order and merged by key.

use std::cmp::Ordering;

use bytes::Bytes;
use understudy_contract::Failure;
use understudy_postgres::wire::{Client, CopyOut};

/// What two sides of a table have in common, and what not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Rows that are equal in every column.
    pub equal: u64,
    /// Rows with a key of both sides and other values.
    pub different: u64,
    /// Rows that green lacks.
    pub missing: u64,
    /// Rows that only green has.
    pub extra: u64,
}

impl Comparison {
    /// Whether nothing differs.
    pub const fn holds(&self) -> bool {
        self.different == 0 && self.missing == 0 && self.extra == 0
    }

    /// Adds another table's counts.
    pub const fn add(&mut self, other: Comparison) {
        self.equal += other.equal;
        self.different += other.different;
        self.missing += other.missing;
        self.extra += other.extra;
    }
}

/// One side's query: its leading `key` columns are the key, and its rows come in the byte order of the key's text.
#[derive(Debug, Clone, Copy)]
pub struct Ordered<'a> {
    /// The query.
    pub sql: &'a str,
    /// How many leading columns form the key.
    pub key: usize,
}

/// Streams both queries and compares their rows.
pub async fn compare(
    blue: (&mut Client, Ordered<'_>),
    green: (&mut Client, Ordered<'_>),
) -> Result<Comparison, Failure> {
    let key = blue.1.key;
    let (mut blue, mut green) = (open(blue.0, blue.1).await?, open(green.0, green.1).await?);
    let mut result = Comparison::default();
    let (first, second) = tokio::join!(blue.next(), green.next());
    let (mut ours, mut theirs) = (first?, second?);
    loop {
        let order = match (&ours, &theirs) {
            (None, None) => return Ok(result),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(ours), Some(theirs)) => key_of(ours, key).cmp(key_of(theirs, key)),
        };
        match order {
            Ordering::Less => result.missing += 1,
            Ordering::Greater => result.extra += 1,
            Ordering::Equal if ours == theirs => result.equal += 1,
            Ordering::Equal => result.different += 1,
        }
        if order.is_le() {
            ours = blue.next().await?;
        }
        if order.is_ge() {
            theirs = green.next().await?;
        }
    }
}

async fn open<'a>(client: &'a mut Client, ordered: Ordered<'_>) -> Result<CopyOut<'a>, Failure> {
    client.copy_out(&format!("COPY ({}) TO STDOUT", ordered.sql)).await
}

/// The first `columns` columns of a line. The tab between them sorts before any character of a key.
fn key_of(line: &Bytes, columns: usize) -> &[u8] {
    let tabs = line.iter().enumerate().filter(|(_, byte)| **byte == b'\t');
    let end = tabs.map(|(at, _)| at).nth(columns.saturating_sub(1)).unwrap_or(line.len());
    line[..end].trim_ascii_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_the_leading_columns() {
        let line = Bytes::from_static(b"7\t2\tabc\n");
        assert_eq!(key_of(&line, 1), b"7");
        assert_eq!(key_of(&line, 2), b"7\t2");
        assert_eq!(key_of(&Bytes::from_static(b"7\t2\n"), 2), b"7\t2");
    }

    #[test]
    fn a_short_key_sorts_before_those_that_it_begins() {
        let (short, long) = (Bytes::from_static(b"1\t9\n"), Bytes::from_static(b"10\t1\n"));
        assert!(key_of(&short, 2) < key_of(&long, 2));
    }
}
