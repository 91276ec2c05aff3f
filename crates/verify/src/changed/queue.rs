//! The changed rows of one route, oldest first: found by key, and held in little more memory than their keys take.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use hashbrown::HashTable;
use rustc_hash::{FxBuildHasher, FxHashMap};
use understudy_model::{Key, Lsn};

use super::Noted;
use super::packed::{Packed, green_of, name_of};
use crate::circumstances::Millis;

/// Rows whose memory is taken and given back together.
const SEGMENT_ROWS: usize = 1_024;

/// Rows in the order in which they were noted first. A key is there once.
#[derive(Debug, Default)]
pub(super) struct Queue {
    rows: Rows,
    /// The numbers of all rows, by their keys on green.
    index: HashTable<u32>,
    /// What blue calls rows now that it called otherwise when they were noted first, by number.
    renamed: FxHashMap<u32, Key>,
    bytes: usize,
}

/// The rows by number. Numbers go on as rows are noted, and wrap.
#[derive(Debug, Default)]
struct Rows {
    /// All but the last are full.
    segments: VecDeque<Segment>,
    /// The number of the first row of the first segment.
    base: u32,
    /// How many rows of the first segment have been taken.
    taken: usize,
    /// How many are left.
    len: usize,
}

/// Rows with their names in one piece, which no other buffer backs.
#[derive(Debug, Default)]
struct Segment {
    slots: Vec<Slot>,
    names: Vec<u8>,
}

/// What is known of one row; [`Noted`] without its name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub(super) after: Lsn,
    pub(super) last: Lsn,
    pub(super) since: Millis,
    /// Where its name ends among those of the segment, and the next one begins.
    end: usize,
}

impl Slot {
    pub(super) fn new(after: Lsn, last: Lsn, since: Millis) -> Slot {
        Slot { after, last, since, end: 0 }
    }
}

impl Queue {
    /// What a row adds to [`Queue::bytes`].
    pub(super) fn cost(name: &Packed) -> usize {
        size_of::<Slot>() + size_of::<u32>() + name.bytes().len()
    }

    /// Rows held.
    pub(super) fn len(&self) -> usize {
        self.rows.len
    }

    /// Bytes that the rows take, but for room that is kept for more.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of the row with this key on green.
    pub(super) fn find(&self, name: &Packed) -> Option<u32> {
        let is_it = |number: &u32| self.rows.name(*number).map(green_of) == Some(name.green());
        self.index.find(hash(name.green()), is_it).copied()
    }

    /// A row has changed again.
    pub(super) fn touch(&mut self, number: u32, at: Lsn) {
        if let Some(slot) = self.rows.slot_mut(number) {
            slot.last = slot.last.max(at);
        }
    }

    /// What it takes to call a row as blue calls it now; zero where it is called so already. `name` is the same, packed.
    pub(super) fn rename_cost(&self, number: u32, name: &Packed, blue: &Key) -> usize {
        let known = match self.renamed.get(&number) {
            Some(renamed) => renamed == blue,
            None => self.rows.name(number) == Some(name.bytes()),
        };
        if known { 0 } else { renamed_bytes(blue) }
    }

    /// Calls a row as blue does now.
    pub(super) fn rename(&mut self, number: u32, blue: &Key) {
        // A key of its own: the one that came may be a part of something large.
        let own = Key::from_texts(blue.texts());
        self.bytes += renamed_bytes(&own);
        let before = self.renamed.insert(number, own);
        self.bytes -= before.as_ref().map_or(0, renamed_bytes);
    }

    /// Notes a row that is not here.
    pub(super) fn push(&mut self, name: &Packed, slot: Slot) {
        let number = self.rows.push(name.bytes(), slot);
        let rows = &self.rows;
        let hash_of = |number: &u32| hash(rows.name(*number).map_or(&[][..], green_of));
        self.index.insert_unique(hash(name.green()), number, hash_of);
        self.bytes += Queue::cost(name);
    }

    /// The row that was noted first.
    pub(super) fn first(&self) -> Option<&Slot> {
        self.rows.segments.front()?.slots.get(self.rows.taken)
    }

    /// Takes the row that was noted first.
    pub(super) fn pop(&mut self) -> Option<Noted> {
        let slot = *self.first()?;
        let number = self.rows.first_number();
        let packed = self.rows.name(number)?;
        let mut name = name_of(packed);
        if let Ok(entry) = self.index.find_entry(hash(green_of(packed)), |one| *one == number) {
            entry.remove();
        }
        self.bytes -= size_of::<Slot>() + size_of::<u32>() + packed.len();
        if let Some(renamed) = self.renamed.remove(&number) {
            self.bytes -= renamed_bytes(&renamed);
            name.blue = Some(renamed);
        }
        self.rows.drop_first();
        Some(Noted { name, after: slot.after, last: slot.last, since: slot.since })
    }

    /// Bytes allocated, but for names that have changed.
    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        let of = |segment: &Segment| segment.slots.capacity() * size_of::<Slot>() + segment.names.capacity();
        self.rows.segments.iter().map(of).sum::<usize>()
            + self.rows.segments.capacity() * size_of::<Segment>()
            + self.index.allocation_size()
    }
}

impl Rows {
    fn push(&mut self, name: &[u8], slot: Slot) -> u32 {
        let is_full = |segment: &Segment| segment.slots.len() >= SEGMENT_ROWS;
        if self.segments.back().is_none_or(is_full) {
            if let Some(full) = self.segments.back_mut() {
                full.names.shrink_to_fit();
            }
            self.segments.push_back(Segment::default());
        }
        let number = self.base.wrapping_add((self.taken + self.len) as u32);
        if let Some(segment) = self.segments.back_mut() {
            segment.names.extend_from_slice(name);
            segment.slots.push(Slot { end: segment.names.len(), ..slot });
            self.len += 1;
        }
        number
    }

    fn first_number(&self) -> u32 {
        self.base.wrapping_add(self.taken as u32)
    }

    fn drop_first(&mut self) {
        self.taken += 1;
        self.len -= 1;
        if self.taken >= SEGMENT_ROWS {
            self.segments.pop_front();
            self.base = self.base.wrapping_add(SEGMENT_ROWS as u32);
            self.taken = 0;
        }
    }

    /// The segment of a row, and its place there.
    fn place(&self, number: u32) -> (usize, usize) {
        let at = number.wrapping_sub(self.base) as usize;
        (at / SEGMENT_ROWS, at % SEGMENT_ROWS)
    }

    fn slot_mut(&mut self, number: u32) -> Option<&mut Slot> {
        let (segment, at) = self.place(number);
        self.segments.get_mut(segment)?.slots.get_mut(at)
    }

    /// A row's names, packed.
    fn name(&self, number: u32) -> Option<&[u8]> {
        let (segment, at) = self.place(number);
        let Segment { slots, names } = self.segments.get(segment)?;
        let start = at.checked_sub(1).and_then(|before| slots.get(before)).map_or(0, |slot| slot.end);
        names.get(start..slots.get(at)?.end)
    }
}

fn renamed_bytes(blue: &Key) -> usize {
    // The map keeps room, and a key is allocated in two pieces.
    4 * size_of::<Key>() + blue.bytes_len()
}

fn hash(green: &[u8]) -> u64 {
    FxBuildHasher.hash_one(green)
}

#[cfg(test)]
mod tests {
    use understudy_contract::RowName;

    use super::*;

    fn name(row: usize) -> RowName {
        let green = Key::from_texts([row.to_string().as_bytes()]);
        RowName { blue: Some(green.clone()), green }
    }

    fn packed(row: usize) -> Packed {
        let mut packed = Packed::default();
        packed.set(&name(row));
        packed
    }

    fn noted(at: u64) -> Slot {
        Slot::new(Lsn::new(at), Lsn::new(at + 1), Millis(at))
    }

    fn filled(rows: std::ops::Range<usize>) -> Queue {
        let mut queue = Queue::default();
        rows.for_each(|row| queue.push(&packed(row), noted(row as u64)));
        queue
    }

    /// Replication waits for nobody: what it changes before verification looks is held, and must be small (promise 7). A
    /// transaction of any size fills all the room there is, within the growth that its own memory is allowed.
    #[test]
    fn a_hundred_thousand_rows_take_few_megabytes() {
        let mut queue = filled(0..100_000);
        assert_eq!(size_of::<Slot>(), 32);
        let allocated = queue.allocated();
        assert!(allocated < 6 << 20, "{allocated} bytes");
        let (counted, most) = (queue.bytes(), allocated + (1 << 20));
        assert!((allocated / 2..most).contains(&counted), "{counted} bytes are counted of {allocated}");
        while queue.len() > 1_000 {
            queue.pop().unwrap();
        }
        let left = queue.allocated();
        assert!(left < 2 << 20, "{left} bytes are kept for what has gone");
    }

    /// A row that is not found would be noted twice, one that is found in another's place would never be checked.
    #[test]
    fn rows_are_found_in_every_segment_while_others_come_and_go() {
        let mut queue = filled(0..3_000);
        let mut first = 0;
        for round in 0..4 {
            for row in first..first + 700 {
                let expected = Noted {
                    name: name(row),
                    after: Lsn::new(row as u64),
                    last: Lsn::new(row as u64 + if round > 0 && row < 3_000 { 1_000_000 } else { 1 }),
                    since: Millis(row as u64),
                };
                assert_eq!(queue.pop(), Some(expected));
            }
            first += 700;
            for row in 0..first {
                assert_eq!(queue.find(&packed(row)), None);
            }
            let end = 3_000 + round * 500;
            for row in first..end {
                let number = queue.find(&packed(row)).unwrap();
                if row < 3_000 {
                    queue.touch(number, Lsn::new(row as u64 + 1_000_000));
                }
                assert_eq!(queue.rename_cost(number, &packed(row), &name(row).green), 0);
            }
            (end..end + 500).for_each(|row| queue.push(&packed(row), noted(row as u64)));
        }
        assert_eq!(queue.len(), 5_000 - 2_800);
        while queue.pop().is_some() {}
        assert_eq!((queue.len(), queue.bytes()), (0, 0));
    }

    /// Numbers of 32 bits wrap on a migration that runs for long.
    #[test]
    fn numbers_wrap() {
        let mut queue = Queue::default();
        queue.rows.base = u32::MAX - SEGMENT_ROWS as u32 + 1;
        (0..3_000).for_each(|row| queue.push(&packed(row), noted(row as u64)));
        for row in 0..3_000 {
            assert!(queue.find(&packed(2_999)).is_some());
            assert_eq!(queue.pop().map(|noted| noted.name), Some(name(row)));
        }
    }
}
