//! Rows that are read from blue by key, until it is known where among the changes they belong.
//!
//! A row is read while changes come in. Once every change that blue had committed by the end of the read has come too, a
//! row whose key was not among those that came meanwhile is what blue has at that very point. Of the others the changes
//! themselves tell, or they are asked for once more.

use std::collections::{HashMap, HashSet, VecDeque};

use understudy_contract::{LoggedChunk, LoggedKind, Wanted};
use understudy_model::{Checkpoint, Key, Lsn, RelationId, TableName};

use super::DebeziumTable;
use super::blue::RowsRead;

/// Keys that are read at once.
const KEYS_MAX: usize = 200;

/// What is asked for, read, and not placed yet.
#[derive(Debug, Default)]
pub(super) struct Windows {
    asked: VecDeque<Wanted>,
    /// What is being read.
    open: Option<Window>,
    /// What has been read.
    read: VecDeque<(Window, RowsRead)>,
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
        let under_way = self.open.iter().chain(self.read.iter().map(|(window, _)| window));
        for window in under_way {
            waiting.extend(window.keys.iter().map(|key| (window.table.clone(), key.clone())));
        }
        self.asked
            .extend(rows.into_iter().filter(|row| waiting.insert((row.table.clone(), row.key.clone()))));
    }

    /// Whether nothing more should be asked for now.
    pub(super) fn is_full(&self) -> bool {
        self.asked.len() > 10_000 || self.read.len() > 100
    }

    /// What is to be read next. From here on changes of these rows count.
    pub(super) fn begin(&mut self) -> Option<(TableName, Vec<Key>)> {
        if self.open.is_some() || self.read.len() > 100 {
            return None;
        }
        let table = self.asked.front()?.table.clone();
        let mut keys = Vec::new();
        self.asked.retain(|one| {
            let taken = one.table == table && keys.len() < KEYS_MAX;
            if taken {
                keys.push(one.key.clone());
            }
            !taken
        });
        self.open = Some(Window { table: table.clone(), keys: keys.clone(), touched: HashSet::new() });
        Some((table, keys))
    }

    /// What was to be read has been; `None`: it could not be, and is to be read again.
    pub(super) fn end(&mut self, read: Option<RowsRead>) {
        let Some(window) = self.open.take() else { return };
        match read {
            Some(read) => self.read.push_back((window, read)),
            None => {
                let Window { table, keys, .. } = window;
                self.asked.extend(keys.into_iter().map(|key| Wanted { table: table.clone(), key }));
            }
        }
    }

    /// A change has come: of one row, or of all of a table.
    pub(super) fn touch(&mut self, table: &TableName, key: Option<&Key>) {
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
