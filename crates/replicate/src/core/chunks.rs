//! Chunks: which to read next, what came of a read, and where its rows are placed.

use understudy_contract::{
    ChunkOutcome, ChunkRequest, ChunkRows, ChunkScope, Class, Failure, PlacedChunk, PlacedKind,
};
use understudy_model::{Checkpoint, ChunkId, Key, Refusal, RouteId, Tuple};
use understudy_transform::{Binding, ColumnSource, Mapped, RouteSpec};

use super::{Core, PlacedNote, ReadJob};
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
        let GreenRows { rows, mut left_out, refused } = self.green_rows(route, rows)?;
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

    /// Whole rows of blue as green has them.
    fn green_rows(&self, route: RouteId, rows: Vec<Tuple>) -> Result<GreenRows, Failure> {
        let binding = &self.chunk_bindings[route.index()];
        let mut green = GreenRows { rows: Vec::with_capacity(rows.len()), ..GreenRows::default() };
        for row in &rows {
            let refusal = match binding.holds(row) {
                Ok(Some(true)) => match binding.up(row) {
                    Ok(Mapped::Row(row)) => {
                        green.rows.push(row);
                        continue;
                    }
                    Ok(Mapped::Unknown) => return Err(self.outdated(route)),
                    Err(refusal) => refusal,
                },
                Ok(Some(false)) => {
                    // Without a key it is not on green; and another row may be what green has under its key.
                    let key =
                        if binding.narrows_key() { None } else { binding.green_key(row).ok().flatten() };
                    green.left_out.extend(key);
                    continue;
                }
                Ok(None) => return Err(self.outdated(route)),
                Err(refusal) => refusal,
            };
            green.refused.push((self.green_key(route, binding, row)?, refusal));
        }
        Ok(green)
    }

    /// A row that was read has every value, so one of them is a label that its enum did not have before.
    fn outdated(&self, route: RouteId) -> Failure {
        let source = &self.routes[route.index()].source;
        let cause =
            format!("an enum that {source} has on blue has new labels: its expressions are compiled again");
        Failure::new(Class::Transient, cause)
    }

    fn green_key(&self, route: RouteId, binding: &Binding, row: &Tuple) -> Result<Key, Failure> {
        let key = binding.green_key(row);
        key.map_err(crate::effect::Nameless::Refused)
            .and_then(|key| key.ok_or(crate::effect::Nameless::Null))
            .map_err(|why| why.failure(&self.routes[route.index()]))
    }
}

/// Whether blue's key stands in green's, column by column, so that no other row of blue can have the same key on green.
///
/// Then a row that blue does not have at the marker is none that green may have: nothing that was streamed before it is still
/// to come, and the chunk takes effect before anything later. Of other routes such a row is left where it is. Its key may be
/// another row's by now, and replication cannot know: what to do about it is told by comparing both sides, and left to whoever
/// looks after green.
fn names_one_row(spec: &RouteSpec) -> bool {
    let stands = |blue: &String| {
        let is_it =
            |at: &usize| matches!(&spec.columns[*at].from, ColumnSource::Column(name) if name == blue);
        spec.key.iter().any(is_it)
    };
    spec.key_source.iter().all(stands)
}

/// How windows of a route know a row, given as chunks are read.
pub(super) fn key_of<'a>(rules: &Rules, binding: &'a Binding) -> impl Fn(&Tuple) -> Option<Key> + use<'a> {
    let by_blue = rules.holds(Rule::BlueKeys);
    move |row| if by_blue { binding.blue_key(row) } else { binding.green_key(row).ok().flatten() }
}

/// What the rows of a chunk come to.
#[derive(Default)]
struct GreenRows {
    rows: Vec<Tuple>,
    left_out: Vec<Key>,
    refused: Vec<(Key, Refusal)>,
}
