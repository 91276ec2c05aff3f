//! Records that are about to be sent, in one buffer that is used again and again.

use std::ops::Range;

/// The records of some changes.
#[derive(Debug, Default)]
pub struct Records {
    pub(super) bytes: Vec<u8>,
    records: Vec<Span>,
    headers: Vec<(&'static str, Range<usize>)>,
    /// Where the fields of the key stand in the row that is being written.
    pub(super) key_fields: Vec<Range<usize>>,
    /// The columns that were not sent in the row that is being written.
    pub(super) unsent: Vec<u16>,
}

/// Where a record stands in the buffer.
#[derive(Debug, Clone, Default)]
struct Span {
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    headers: Range<usize>,
}

/// One record.
#[derive(Debug, Clone, Copy)]
pub struct DataRecord<'a> {
    /// `None` for a truncate, which goes to partition 0.
    pub key: Option<&'a [u8]>,
    /// `None` for a tombstone.
    pub value: Option<&'a [u8]>,
    bytes: &'a [u8],
    headers: &'a [(&'static str, Range<usize>)],
}

/// How much of [`Records`] stood before a change.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    bytes: usize,
    records: usize,
    headers: usize,
}

impl Records {
    /// Forgets all records and keeps the memory.
    pub fn clear(&mut self) {
        self.truncate(Mark { bytes: 0, records: 0, headers: 0 });
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes of keys, values and headers held.
    pub fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// The records, oldest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = DataRecord<'_>> {
        self.records.iter().map(|span| DataRecord {
            key: span.key.clone().map(|key| &self.bytes[key]),
            value: span.value.clone().map(|value| &self.bytes[value]),
            bytes: &self.bytes,
            headers: &self.headers[span.headers.clone()],
        })
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { bytes: self.bytes.len(), records: self.records.len(), headers: self.headers.len() }
    }

    /// Takes back what was added after a mark.
    pub(super) fn truncate(&mut self, mark: Mark) {
        self.bytes.truncate(mark.bytes);
        self.records.truncate(mark.records);
        self.headers.truncate(mark.headers);
    }

    /// Adds a record over bytes that are in the buffer already; its headers follow.
    pub(super) fn push(&mut self, key: Option<Range<usize>>, value: Option<Range<usize>>) {
        let headers = self.headers.len()..self.headers.len();
        self.records.push(Span { key, value, headers });
    }

    /// Adds a header to the last record, whose bytes are in the buffer already.
    pub(super) fn push_header(&mut self, name: &'static str, value: Range<usize>) {
        self.headers.push((name, value));
        if let Some(span) = self.records.last_mut() {
            span.headers.end = self.headers.len();
        }
    }

    /// Adds to the last record the header that the one at a mark begins with.
    pub(super) fn push_header_again(&mut self, mark: Mark) {
        if let Some((name, value)) = self.headers.get(mark.headers).cloned() {
            self.push_header(name, value);
        }
    }
}

impl<'a> DataRecord<'a> {
    /// The headers, in order.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = (&'static str, &'a [u8])> + use<'a> {
        let bytes = self.bytes;
        self.headers.iter().map(move |(name, value)| (*name, &bytes[value.clone()]))
    }
}
