//! Chunks: which to read next, what came of a read, and where its rows are placed.

use understudy_contract::{
    ChunkOutcome, ChunkRequest, ChunkRows, ChunkScope, Failure, PlacedChunk, PlacedKind,
};
use understudy_model::{Checkpoint, ChunkId, Key, Tuple};
use understudy_transform::Binding;

use super::{Core, PlacedNote, ReadJob};
use crate::green_rows::{GreenRows, green_rows, names_one_row};
use crate::rules::{Rule, Rules};
use crate::window::{Placement, Window, WindowStart, WindowWork};

impl Core {
    /// The next chunk to read, when a reader is free. A heal comes first, since it holds back a row; while one is under
    /// way the copy has its turn, so that neither waits for the other's end.
    pub fn next_read(&mut self) -> Option<ReadJob> {
        let under_way = self.windows.len() + self.placed.len();
        if under_way >= self.settings.windows_max
            || !self.visibility.may_open()
            || !self.unmeasured.is_empty()
        {
            return None;
        }
        let healing = self.windows.values().any(|window| matches!(window.work, WindowWork::Heal(_)))
            || self.placed.values().any(|note| matches!(note, PlacedNote::Heal { .. }));
        if healing {
            self.next_copy().or_else(|| self.next_heal())
        } else {
            self.next_heal().or_else(|| self.next_copy())
        }
    }

    fn next_heal(&mut self) -> Option<ReadJob> {
        let (route, keys) = self.heals.next(self.heal_keys_max)?;
        let Some(unit) = self.plan.root_of(route) else {
            self.heals.again(route, keys.to_vec());
            return None;
        };
        let (id, nonce) = self.new_nonce();
        let columns = self.routes[route.index()].key_source.clone();
        let scope = ChunkScope::Keys { columns, keys: keys.blue() };
        let work = WindowWork::Heal(keys);
        Some(self.open(WindowStart { id, nonce, route, unit, work, ..self.window_start() }, scope))
    }

    fn next_copy(&mut self) -> Option<ReadJob> {
        // A leaf that takes over the range of a detached one is read once the rows of that one are gone.
        let detaching = self.detaching.values().map(|unit| unit.route).collect::<Vec<_>>();
        let (id, nonce) = self.new_nonce();
        let (unit, range) = self.plan.next(id, |route| !detaching.contains(&route))?;
        let (route, unit) = (unit.route, unit.id);
        let work = WindowWork::Copy(range);
        let start = WindowStart { id, nonce, route, unit, work, ..self.window_start() };
        Some(self.open(start, ChunkScope::Blocks(range)))
    }

    fn window_start(&self) -> WindowStart {
        WindowStart::template(self.visibility.must_see(), self.settings.window_bytes_max)
    }

    fn open(&mut self, start: WindowStart, scope: ChunkScope) -> ReadJob {
        let spec = &self.routes[start.route.index()];
        let request = ChunkRequest {
            id: start.id,
            unit: start.unit,
            columns: spec.source_columns(),
            types: spec.source_types.clone().filter(|_| self.settings.rules.holds(Rule::Types)),
            scope,
            bytes_max: self.settings.chunk_bytes_max,
        };
        let nonce = start.nonce;
        self.windows.insert(start.id, Window::open(start));
        ReadJob { request, nonce }
    }

    /// A chunk has been read. `true`: its marker must be emitted now.
    pub fn on_chunk(&mut self, id: ChunkId, outcome: ChunkOutcome) -> bool {
        let Some(window) = self.windows.remove(&id) else {
            return false;
        };
        match outcome {
            ChunkOutcome::Read(read) => self.on_rows(window, read),
            ChunkOutcome::TooLarge => {
                self.discard(window, true);
                false
            }
            ChunkOutcome::Busy => {
                self.plan.suspect(window.unit);
                self.discard(window, false);
                false
            }
            ChunkOutcome::Gone => {
                self.unreadable.insert(window.unit);
                self.plan.suspect(window.unit);
                self.need_look();
                self.discard(window, false);
                false
            }
        }
    }

    fn on_rows(&mut self, mut window: Window, read: ChunkRows) -> bool {
        let ChunkRows { snapshot, filenode, fingerprint, rows } = read;
        if let WindowWork::Copy(_) = window.work
            && self.settings.rules.holds(Rule::Rewrite)
        {
            let as_planned = |unit: &understudy_contract::Unit| {
                unit.filenode == filenode && unit.fingerprint == fingerprint
            };
            if !self.plan.unit(window.unit).is_some_and(as_planned) {
                self.plan.suspect(window.unit);
                self.wants_units = true;
                self.discard(window, false);
                return false;
            }
        }
        let key_of = key_of(&self.settings.rules, &self.chunk_bindings[window.route.index()]);
        let current = window.read(&self.settings.rules, snapshot.clone(), rows, key_of);
        self.on_snapshot(&snapshot);
        if current {
            self.windows.insert(window.id, window);
        } else {
            self.discard(window, false);
        }
        current
    }

    /// The window's rows are of no use: they are read again.
    pub(super) fn discard(&mut self, window: Window, smaller: bool) {
        match window.work {
            WindowWork::Copy(_) if smaller => self.plan.again_smaller(window.unit, window.id),
            WindowWork::Copy(_) => self.plan.again(window.unit, window.id),
            WindowWork::Heal(keys) => {
                if smaller {
                    self.heal_keys_max = (keys.len() / 2).max(1);
                }
                self.heals.again(window.route, keys.to_vec());
            }
        }
    }

    /// The marker of a window that has its rows.
    pub(super) fn place(&mut self, id: ChunkId, at: Checkpoint) -> Result<Option<PlacedChunk>, Failure> {
        let Some(window) = self.windows.remove(&id) else { return Ok(None) };
        let (route, unit) = (window.route, window.unit);
        let planned = matches!(window.work, WindowWork::Heal(_)) || self.plan.is_under_way(unit, id);
        if !planned {
            return Ok(None);
        }
        let rules = &self.settings.rules;
        let placement = window.place(rules, key_of(rules, &self.chunk_bindings[route.index()]));
        let mut gone = Vec::new();
        let (kind, rows, note) = match placement {
            Placement::Copy { range, rows } => {
                (PlacedKind::Copy { unit, range }, rows, PlacedNote::Copy { unit })
            }
            Placement::Heal(outcome) => {
                self.heal_keys_max = super::heal_keys_start();
                self.heals.again(route, outcome.again);
                if rules.holds(Rule::HealGone) && names_one_row(&self.routes[route.index()]) {
                    gone = outcome.gone;
                }
                let keys = outcome.settled;
                (PlacedKind::Heal { keys: keys.clone() }, outcome.rows, PlacedNote::Heal { route, keys })
            }
            Placement::Discard { window, smaller } => {
                self.discard(*window, smaller);
                return Ok(None);
            }
        };
        let spec = &self.routes[route.index()];
        let GreenRows { rows, mut left_out, refused } =
            green_rows(spec, &self.chunk_bindings[route.index()], &rows)?;
        let rule = match kind {
            PlacedKind::Heal { .. } => Rule::HealCondition,
            PlacedKind::Copy { .. } => Rule::CopyCondition,
        };
        if !self.settings.rules.holds(rule) {
            left_out.clear();
        }
        left_out.extend(gone);
        self.placed.insert(id, note);
        Ok(Some(PlacedChunk { id, route, at, kind, rows, left_out, refused }))
    }
}

/// How windows of a route know a row, given as chunks are read.
pub(super) fn key_of<'a>(rules: &Rules, binding: &'a Binding) -> impl Fn(&Tuple) -> Option<Key> + use<'a> {
    let by_blue = rules.holds(Rule::BlueKeys);
    move |row| if by_blue { binding.blue_key(row) } else { binding.green_key(row).ok().flatten() }
}
