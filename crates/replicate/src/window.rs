//! Windows: chunks that have been asked for and wait for their marker, and what the stream touches meanwhile.

use rustc_hash::FxHashSet;
use understudy_model::{BlockRange, ChunkId, HealKey, Key, Nonce, RouteId, Snapshot, Tuple, UnitId, Xid};

use crate::heal::{HealKeys, HealOutcome};
use crate::rules::{Rule, Rules};

/// Rough cost of a remembered key beyond its bytes.
const KEY_OVERHEAD_BYTES: usize = 64;

/// One chunk between the request for its rows and its marker in the stream.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) id: ChunkId,
    pub(crate) nonce: Nonce,
    pub(crate) route: RouteId,
    pub(crate) unit: UnitId,
    pub(crate) work: WindowWork,
    /// Streamed before the window opened and not yet seen visible: the snapshot must show them.
    must_see: Vec<Xid>,
    state: State,
    memory_bytes: usize,
    memory_bytes_max: usize,
    overflowed: bool,
}

/// What the window is for.
#[derive(Debug)]
pub(crate) enum WindowWork {
    /// A range of a first copy.
    Copy(BlockRange),
    /// Rows to be read again by key.
    Heal(HealKeys),
}

/// Which of two phases a window is in.
#[derive(Debug)]
enum State {
    /// The snapshot is not known yet, so everything is remembered with its transaction.
    Opening { seen: Vec<(Xid, Touch)> },
    /// The rows are here; only invisible transactions matter, and for a copy only the window's own keys.
    Read {
        snapshot: Snapshot,
        rows: Vec<Tuple>,
        own: Option<FxHashSet<Key>>,
        touched: FxHashSet<Key>,
        emptied: bool,
    },
}

/// What one change did, as far as a window cares: by keys of blue.
#[derive(Debug, Clone)]
pub(crate) enum Touch {
    /// These keys are not what the snapshot shows.
    Keys { old: Option<Key>, new: Option<Key> },
    /// A row of which a part was sent, under a key that did not change; in the order in which chunks are read.
    /// It is not `applied` to green where its change only asks for another read.
    Partial { key: Key, row: Tuple, applied: bool },
    /// The row of these keys, before and after, is not what the snapshot shows, and green is told nothing about it or about
    /// the key that it had: the condition leaves it out, as it did before.
    Untold { old: Option<Key>, new: Option<Key> },
    /// No change: whatever green has under the key by now, put there by somebody else, is to be written over.
    Asked { key: Key },
    /// Every row of the unit, or of the route when none is named, is gone.
    Emptied { unit: Option<UnitId> },
}

/// How a window's rows can be used.
#[derive(Debug)]
pub(crate) enum Placement {
    /// Rows of a copy, without those whose key was touched.
    Copy { range: BlockRange, rows: Vec<Tuple> },
    /// Rows of a heal, merged; `settled` keys need nothing more, `again` ones another window.
    Heal(HealOutcome),
    /// The rows are of no use: what the window was for must be read again, in smaller parts if it held too much.
    Discard { window: Box<Window>, smaller: bool },
}

/// Everything a new window is made of.
pub(crate) struct WindowStart {
    pub(crate) id: ChunkId,
    pub(crate) nonce: Nonce,
    pub(crate) route: RouteId,
    pub(crate) unit: UnitId,
    pub(crate) work: WindowWork,
    pub(crate) must_see: Vec<Xid>,
    pub(crate) memory_bytes_max: usize,
}

impl WindowStart {
    /// A start to be completed: what does not depend on the chunk.
    pub(crate) fn template(must_see: Vec<Xid>, memory_bytes_max: usize) -> WindowStart {
        WindowStart {
            id: ChunkId(0),
            nonce: Nonce(0),
            route: RouteId(0),
            unit: UnitId::new(0, RouteId(0)),
            work: WindowWork::Heal(HealKeys::default()),
            must_see,
            memory_bytes_max,
        }
    }
}

impl Window {
    pub(crate) fn open(start: WindowStart) -> Window {
        let WindowStart { id, nonce, route, unit, work, must_see, memory_bytes_max } = start;
        let state = State::Opening { seen: Vec::new() };
        Window {
            id,
            nonce,
            route,
            unit,
            work,
            must_see,
            state,
            memory_bytes: 0,
            memory_bytes_max,
            overflowed: false,
        }
    }

    /// Whether the window has its rows and only waits for its marker.
    pub(crate) fn is_read(&self) -> bool {
        matches!(self.state, State::Read { .. })
    }

    /// The stream shows a change of this window's route.
    pub(crate) fn observe(
        &mut self,
        rules: &Rules,
        xid: Xid,
        touch: &Touch,
        key_of: impl Fn(&Tuple) -> Option<Key>,
    ) {
        if self.overflowed || !self.concerns(touch) {
            return;
        }
        match &mut self.state {
            State::Opening { seen } => {
                self.memory_bytes += touch.bytes();
                if self.memory_bytes > self.memory_bytes_max {
                    seen.clear();
                    self.overflowed = true;
                } else {
                    seen.push((xid, touch.clone()));
                }
            }
            State::Read { snapshot, .. } => {
                if !snapshot.sees(xid) {
                    self.touch(rules, touch, key_of);
                }
            }
        }
    }

    /// Somebody asks for a row to be read again: a window that has it already may not know what green has of it.
    pub(crate) fn ask(&mut self, rules: &Rules, key: &HealKey) {
        // No snapshot shows what no transaction of blue has done.
        self.observe(rules, Xid::new(u64::MAX), &Touch::Asked { key: key.blue.clone() }, |_| None);
    }

    fn concerns(&self, touch: &Touch) -> bool {
        match (touch, &self.work) {
            (Touch::Emptied { unit: Some(unit) }, WindowWork::Copy(_)) => *unit == self.unit,
            (Touch::Asked { .. }, WindowWork::Copy(_)) => false,
            (Touch::Emptied { .. }, _) | (_, WindowWork::Copy(_)) => true,
            (touch, WindowWork::Heal(keys)) => touch.keys().any(|key| keys.contains(key)),
        }
    }

    /// The rows have arrived. `false`: the snapshot is too old for this window, which must be opened again.
    pub(crate) fn read(
        &mut self,
        rules: &Rules,
        snapshot: Snapshot,
        rows: Vec<Tuple>,
        key_of: impl Fn(&Tuple) -> Option<Key>,
    ) -> bool {
        if self.must_see.iter().any(|xid| !snapshot.sees(*xid)) {
            return false;
        }
        let read = State::Read { snapshot, rows, own: None, touched: FxHashSet::default(), emptied: false };
        let State::Opening { seen } = std::mem::replace(&mut self.state, read) else {
            return false;
        };
        self.memory_bytes = 0;
        for (xid, touch) in seen {
            if let State::Read { snapshot, .. } = &self.state
                && !snapshot.sees(xid)
            {
                self.touch(rules, &touch, &key_of);
            }
        }
        true
    }

    /// A change that the snapshot does not show.
    fn touch(&mut self, rules: &Rules, touch: &Touch, key_of: impl Fn(&Tuple) -> Option<Key>) {
        let State::Read { rows, own, touched, emptied, .. } = &mut self.state else {
            return;
        };
        match (touch, &mut self.work) {
            (Touch::Emptied { .. }, _) => *emptied |= rules.holds(Rule::Truncate),
            (touch, WindowWork::Heal(keys)) => keys.touch(rules, touch),
            (touch, WindowWork::Copy(_)) if rules.holds(Rule::TouchedKeys) => {
                let own = own.get_or_insert_with(|| rows.iter().filter_map(key_of).collect());
                touched.extend(touch.keys().filter(|key| own.contains(*key)).cloned());
            }
            (_, WindowWork::Copy(_)) => {}
        }
    }

    /// The marker has come: what remains of the window's rows.
    pub(crate) fn place(mut self, rules: &Rules, key_of: impl Fn(&Tuple) -> Option<Key>) -> Placement {
        let smaller = self.overflowed && rules.holds(Rule::Overflow);
        let state = std::mem::replace(&mut self.state, State::Opening { seen: Vec::new() });
        let (mut rows, touched) = match state {
            State::Read { rows, touched, emptied: false, .. } if !smaller => (rows, touched),
            State::Read { .. } | State::Opening { .. } => {
                return Placement::Discard { window: Box::new(self), smaller };
            }
        };
        match self.work {
            WindowWork::Copy(range) => {
                if !touched.is_empty() {
                    rows.retain(|row| key_of(row).is_none_or(|key| !touched.contains(&key)));
                }
                Placement::Copy { range, rows }
            }
            WindowWork::Heal(keys) => Placement::Heal(keys.merge(rules, rows, key_of)),
        }
    }
}

impl Touch {
    /// The same of a change that tells green nothing.
    pub(crate) fn untold(self) -> Touch {
        match self {
            Touch::Keys { old, new } => Touch::Untold { old, new },
            other => other,
        }
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        let (old, new) = match self {
            Touch::Keys { old, new } | Touch::Untold { old, new } => (old.as_ref(), new.as_ref()),
            Touch::Partial { key, .. } | Touch::Asked { key } => (None, Some(key)),
            Touch::Emptied { .. } => (None, None),
        };
        old.into_iter().chain(new)
    }

    fn bytes(&self) -> usize {
        let row = if let Touch::Partial { row, .. } = self { row.bytes_len() } else { 0 };
        self.keys().map(|key| key.bytes_len() + KEY_OVERHEAD_BYTES).sum::<usize>() + row + KEY_OVERHEAD_BYTES
    }
}
