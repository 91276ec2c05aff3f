//! Where to go on in a log: which place a checkpoint may name, while chunks are being written and transactions are open.

use std::collections::BTreeMap;

use understudy_contract::Cursor;
use understudy_model::ChunkId;

/// The places of a log that have been passed, as far as they matter.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// The last one outside any transaction that is being taken. Who goes on from within one must have its end.
    outside: Option<Cursor>,
    /// What the last checkpoint handed out names.
    handed: Option<Cursor>,
    /// For each chunk that is not on green yet the place before it. It comes again from there.
    held: BTreeMap<ChunkId, Option<Cursor>>,
}

impl Places {
    /// Everything starts from here.
    pub(super) fn new(start: Option<Cursor>) -> Places {
        Places { outside: start.clone(), handed: start, held: BTreeMap::new() }
    }

    /// A place has been passed.
    pub(super) fn pass(&mut self, place: Cursor, is_outside: bool) {
        if is_outside {
            self.outside = Some(place);
        }
    }

    /// A chunk is handed out: until it is on green no checkpoint names a place beyond it.
    pub(super) fn hold(&mut self, chunk: ChunkId) {
        self.held.insert(chunk, self.outside.clone());
    }

    /// A chunk is on green.
    pub(super) fn release(&mut self, chunk: ChunkId) {
        self.held.remove(&chunk);
    }

    /// Whether every chunk is on green.
    pub(super) fn is_free(&self) -> bool {
        self.held.is_empty()
    }

    /// What a checkpoint names that is handed out now.
    pub(super) fn at_commit(&mut self) -> Option<Cursor> {
        let held = self.held.first_key_value().map(|(_, place)| place);
        self.handed = held.unwrap_or(&self.outside).clone();
        self.handed.clone()
    }

    /// The place before the transaction that is being taken, if there is one, and before what comes now, where no checkpoint
    /// has named it yet.
    pub(super) fn unnamed(&mut self) -> Option<Cursor> {
        if self.held.is_empty() && self.handed != self.outside {
            self.handed.clone_from(&self.outside);
            return self.outside.clone();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &'static str) -> Cursor {
        Cursor(bytes::Bytes::from_static(text.as_bytes()))
    }

    /// Promise 1: a chunk that was on its way when green crashed comes again, whatever was applied beside it; and what is
    /// on green does not.
    #[test]
    fn no_checkpoint_names_a_place_beyond_a_chunk_that_is_not_on_green() {
        let mut places = Places::new(Some(place("a")));
        places.hold(ChunkId(1));
        places.pass(place("b"), true);
        places.hold(ChunkId(2));
        places.pass(place("c"), true);
        assert_eq!(places.at_commit(), Some(place("a")));
        places.release(ChunkId(1));
        assert_eq!(places.at_commit(), Some(place("b")));
        assert!(!places.is_free());
        places.release(ChunkId(2));
        assert_eq!(places.at_commit(), Some(place("c")));
        assert!(places.is_free());
    }

    /// Who goes on from within a transaction has taken its end: until then only the place before it will do.
    #[test]
    fn within_a_transaction_the_place_before_it_counts() {
        let mut places = Places::new(None);
        places.pass(place("a"), true);
        places.pass(place("b"), false);
        assert_eq!(places.unnamed(), Some(place("a")));
        assert_eq!(places.unnamed(), None, "it has been named");
        places.pass(place("c"), true);
        assert_eq!(places.at_commit(), Some(place("c")));
    }
}
