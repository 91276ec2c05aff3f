//! Rows that are read from blue by key, until it is known where among the changes they belong.
//!
//! A row is read while changes come in. Once every change that blue had committed by the end of the read has come too, a
//! row whose key was not among those that came meanwhile is what blue has at that very point. Of the others the changes
//! themselves tell, or they are asked for once more.

use std::collections::{HashMap, HashSet, VecDeque};

use understudy_contract::{Class, Failure, LoggedChunk, LoggedKind, Wanted};
use understudy_model::{Checkpoint, Key, Lsn, RelationId, TableName};

use super::DebeziumTable;
use super::blue::RowsRead;

/// Keys that are read at once.
const KEYS_MAX: usize = 200;

/// For how many ticks nothing is read, at most, after it could not be.
const PAUSE_MAX: u32 = 30;

/// What is asked for, read, and not placed yet.
#[derive(Debug)]
pub(super) struct Windows {
    asked: VecDeque<Wanted>,
    /// What is being read.
    open: Option<Window>,
    /// What has been read.
    read: VecDeque<(Window, RowsRead)>,
    /// The keys of all these, each in one window.
    under_way: HashMap<TableName, HashSet<Key>>,
    /// Keys that are read at once now: fewer where some of them cannot be.
    at_once: usize,
    /// Ticks until something may be read.
    pause: u32,
    /// How long the last pause was.
    paused: u32,
}

impl Default for Windows {
    fn default() -> Windows {
        Windows {
            asked: VecDeque::new(),
            open: None,
            read: VecDeque::new(),
            under_way: HashMap::new(),
            at_once: KEYS_MAX,
            pause: 0,
            paused: 0,
        }
    }
}

#[derive(Debug)]
struct Window {
    table: TableName,
    keys: Vec<Key>,
    /// Those of them that changes have come for since the read began.
    touched: HashSet<Key>,
}

impl Windows {
    /// Somebody wants rows. What waits already is not asked for twice.
    pub(super) fn ask(&mut self, rows: Vec<Wanted>) {
        let mut waiting = self.asked.iter().cloned().map(|one| (one.table, one.key)).collect::<HashSet<_>>();
        let is_under_way =
            |row: &Wanted| self.under_way.get(&row.table).is_some_and(|keys| keys.contains(&row.key));
        let is_new =
            |row: &Wanted| !is_under_way(row) && waiting.insert((row.table.clone(), row.key.clone()));
        self.asked.extend(rows.into_iter().filter(is_new));
    }

    /// Some time has passed.
    pub(super) fn on_tick(&mut self) {
        self.pause = self.pause.saturating_sub(1);
    }

    /// Whether nothing more should be asked for now.
    pub(super) fn is_full(&self) -> bool {
        self.asked.len() > 10_000 || self.read.len() > 100
    }

    /// What is to be read next. From here on changes of these rows count.
    pub(super) fn begin(&mut self) -> Option<(TableName, Vec<Key>)> {
        if self.open.is_some() || self.read.len() > 100 || self.pause > 0 {
            return None;
        }
        let table = self.asked.front()?.table.clone();
        let mut keys = Vec::new();
        self.asked.retain(|one| {
            let taken = one.table == table && keys.len() < self.at_once;
            if taken {
                keys.push(one.key.clone());
            }
            !taken
        });
        self.under_way.entry(table.clone()).or_default().extend(keys.iter().cloned());
        self.open = Some(Window { table: table.clone(), keys: keys.clone(), touched: HashSet::new() });
        Some((table, keys))
    }

    /// What was to be read has been, or could not be. What passes by itself is waited for; else the keys are read in ever smaller
    /// parts, until there is one that fails by itself.
    pub(super) fn end(&mut self, read: Result<RowsRead, Failure>) -> Result<(), Failure> {
        let Some(window) = self.open.take() else { return Ok(()) };
        let failure = match read {
            Ok(read) => {
                (self.pause, self.paused) = (0, 0);
                self.at_once = (self.at_once * 2).min(KEYS_MAX);
                self.read.push_back((window, read));
                return Ok(());
            }
            Err(failure) => failure,
        };
        self.forget(&window);
        let Window { table, keys, .. } = window;
        if failure.class() == Class::Transient {
            self.paused = (self.paused * 2).clamp(1, PAUSE_MAX);
            self.pause = self.paused;
            tracing::warn!(
                error = %failure,
                seconds = self.pause,
                "rows cannot be read from blue; they are asked for again"
            );
        } else if keys.len() > 1 {
            self.at_once = keys.len() / 2;
        } else {
            return Err(failure);
        }
        for key in keys.into_iter().rev() {
            self.asked.push_front(Wanted { table: table.clone(), key });
        }
        Ok(())
    }

    fn forget(&mut self, window: &Window) {
        if let Some(under_way) = self.under_way.get_mut(&window.table) {
            for key in &window.keys {
                under_way.remove(key);
            }
        }
    }

    /// A change has come: of one row, or of all of a table.
    pub(super) fn touch(&mut self, table: &TableName, key: Option<&Key>) {
        let Some(under_way) = self.under_way.get(table) else { return };
        if key.is_some_and(|key| !under_way.contains(key)) {
            return;
        }
        let windows = self.open.iter_mut().chain(self.read.iter_mut().map(|(window, _)| window));
        for window in windows.filter(|window| window.table == *table) {
            match key {
                Some(key) if window.keys.contains(key) => drop(window.touched.insert(key.clone())),
                Some(_) => {}
                None => window.touched.extend(window.keys.iter().cloned()),
            }
        }
    }

    /// Every change before this address has come: what was read by then has its place here.
    pub(super) fn settle(&mut self, reached: Lsn, tables: &[DebeziumTable]) -> Vec<LoggedChunk> {
        let mut chunks = Vec::new();
        while let Some((_, rows)) = self.read.front()
            && rows.at <= reached
            && let Some((window, rows)) = self.read.pop_front()
        {
            self.forget(&window);
            if let Some(table) = tables.iter().find(|table| table.relation.name == window.table) {
                chunks.push(window.place(rows, reached, table));
            }
        }
        chunks
    }
}

impl Window {
    fn place(self, read: RowsRead, reached: Lsn, table: &DebeziumTable) -> LoggedChunk {
        let named = read.rows.into_iter().filter_map(|row| Some((row.key(&table.key)?, row)));
        let mut rows = named.collect::<HashMap<_, _>>();
        rows.retain(|key, _| !self.touched.contains(key));
        let is_gone = |key: &&Key| !self.touched.contains(*key) && !rows.contains_key(*key);
        let gone = self.keys.iter().filter(is_gone).cloned().collect();
        let relation: RelationId = table.relation.id;
        LoggedChunk {
            table: relation,
            at: Checkpoint::at_commit_end(reached),
            kind: LoggedKind::Heal { keys: self.keys, gone },
            rows: rows.into_values().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(windows: &mut Windows, ids: std::ops::Range<usize>) {
        let table = TableName::new("public", "t");
        windows.ask(ids.map(|id| Wanted { table: table.clone(), key: key(id) }).collect());
    }

    fn key(id: usize) -> Key {
        Key::from_texts([id.to_string().as_bytes()])
    }

    fn failed(class: Class) -> Result<RowsRead, Failure> {
        Err(Failure::new(class, "blue says no"))
    }

    /// Guards blue while it is away or comes up: it is asked again after a second, then after two, and so on, never at once.
    #[test]
    fn blue_is_not_asked_again_at_once() {
        let mut windows = Windows::default();
        asked(&mut windows, 0..3);
        let mut pauses = Vec::new();
        for _ in 0..7 {
            assert!(windows.begin().is_some());
            windows.end(failed(Class::Transient)).unwrap();
            let mut ticks = 0;
            while windows.begin().is_none() {
                windows.on_tick();
                ticks += 1;
            }
            windows.end(failed(Class::Transient)).unwrap();
            pauses.push(ticks);
            windows.pause = 0;
        }
        assert_eq!(pauses, [1, 4, 16, 30, 30, 30, 30]);
        windows.begin().unwrap();
        windows.end(Ok(RowsRead { rows: Vec::new(), at: Lsn::ZERO })).unwrap();
        asked(&mut windows, 3..4);
        assert!(windows.begin().is_some(), "a read that went well ends it");
    }

    /// Guards against rows that nobody can ever read: they are no reason to try for ever without a word, and one of them does not
    /// keep the others from being read.
    #[test]
    fn what_stays_unreadable_ends_the_run() {
        for bad in [0, 99, 250] {
            let mut windows = Windows::default();
            asked(&mut windows, 0..251);
            let mut read = 0;
            let failure = loop {
                let Some((_, keys)) = windows.begin() else { panic!("nothing is left to be read") };
                let ended = match keys.contains(&key(bad)) {
                    true => windows.end(failed(Class::Data)),
                    false => {
                        read += keys.len();
                        windows.end(Ok(RowsRead { rows: Vec::new(), at: Lsn::ZERO }))
                    }
                };
                if let Err(failure) = ended {
                    break failure;
                }
            };
            assert_eq!(failure.class(), Class::Data);
            assert!(read >= bad, "{read} were read before the one at {bad}");
        }
    }

    /// Guards what a window is for: a change of one of its rows counts while it is read and until it is placed, and of no other.
    #[test]
    fn changes_of_rows_under_way_count() {
        let mut windows = Windows::default();
        let table = TableName::new("public", "t");
        asked(&mut windows, 0..2);
        windows.begin().unwrap();
        windows.touch(&table, Some(&key(0)));
        windows.touch(&table, Some(&key(7)));
        windows.end(Ok(RowsRead { rows: Vec::new(), at: Lsn::ZERO })).unwrap();
        windows.touch(&table, Some(&key(1)));
        assert_eq!(windows.read[0].0.touched, HashSet::from([key(0), key(1)]));
        asked(&mut windows, 0..2);
        assert!(windows.begin().is_none(), "they are under way");
        windows.settle(Lsn::ZERO, &[]);
        asked(&mut windows, 0..2);
        assert!(windows.begin().is_some(), "they are not any more");
    }
}
