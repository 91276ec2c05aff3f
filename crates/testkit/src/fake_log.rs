//! A log in memory, as a capture writes it and applies read it: groups that are there as a whole or not at all.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use understudy_contract::{
    Batch, Class, Cursor, Failure, LedgerEntry, LogEvent, LoggedChunk, LoggedEntry, LoggedKind, PlacedChunk,
    PlacedKind, Unit,
};
use understudy_model::{
    Key, OldImage, Relation, RelationId, RouteId, RowChange, SourceChange, Tuple, TupleBuilder, Value,
};

/// The log. The routes in what it is told are the capture's own: one for each table of blue.
#[derive(Debug, Default)]
pub struct FakeLog {
    tables: Vec<FakeTable>,
    groups: Vec<Vec<LogEvent>>,
    /// Changes that a group holds at most.
    group_changes_max: usize,
}

#[derive(Debug)]
struct FakeTable {
    relation: Arc<Relation>,
    key: Vec<usize>,
    /// Readers have been told that it is followed.
    has_joined: bool,
}

/// One reader of the log.
#[derive(Debug)]
pub struct LogFeed {
    group: usize,
    queue: VecDeque<LogEvent>,
    announced: HashMap<RelationId, Arc<Relation>>,
}

impl FakeLog {
    /// An empty log whose groups hold so many changes at most.
    pub fn new(group_changes_max: usize) -> FakeLog {
        FakeLog { group_changes_max: group_changes_max.max(1), ..FakeLog::default() }
    }

    /// The table of the capture's next route, with the places of its key.
    pub fn add_table(&mut self, relation: Relation, key: Vec<usize>) {
        self.tables.push(FakeTable { relation: Arc::new(relation), key, has_joined: false });
    }

    /// How many groups there are.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// A reader that starts at a place, or at the beginning.
    pub fn read(&self, from: Option<&Cursor>) -> LogFeed {
        let group = from.and_then(|place| std::str::from_utf8(&place.0).ok()?.parse().ok());
        LogFeed { group: group.unwrap_or(0), queue: VecDeque::new(), announced: HashMap::new() }
    }

    /// Writes what a batch holds, in as many groups as it takes.
    pub(crate) fn batch(&mut self, batch: &Batch) -> Result<(), Failure> {
        let mut group = Vec::new();
        let (mut changes, mut at, mut before) = (0, 0, batch.first_ordinal);
        for mark in &batch.commits {
            let (commit, end) = (mark.position.commit, mark.checkpoint.lsn());
            let begin = |from_ordinal| LogEvent::Begin {
                commit,
                commit_time_us: mark.commit_time_us,
                xid: mark.xid.raw() as u32,
                from_ordinal,
            };
            let own = (at..mark.changes_before).map(|place| self.change(batch, place));
            let own = own.collect::<Result<Vec<_>, _>>()?;
            // Only the first one of a batch may have been begun by an earlier batch.
            let first = std::mem::take(&mut before);
            at = mark.changes_before;
            if mark.position.ordinal == 0 && own.iter().all(Option::is_none) {
                group.push(LogEvent::Reached { end });
                continue;
            }
            group.push(begin(first));
            for (ordinal, change) in (first..).zip(own) {
                if changes == self.group_changes_max {
                    self.groups.push(std::mem::take(&mut group));
                    group.push(begin(ordinal));
                    changes = 0;
                }
                group.extend(change);
                changes += 1;
            }
            group.push(LogEvent::Commit { commit, end });
        }
        if let Some(commit) = batch.open {
            group.push(LogEvent::Begin { commit, commit_time_us: 0, xid: 0, from_ordinal: before });
            for place in at..batch.changes.len() {
                group.extend(self.change(batch, place)?);
            }
        }
        self.groups.push(group);
        Ok(())
    }

    /// Writes the rows of a chunk.
    pub(crate) fn chunk(&mut self, chunk: &PlacedChunk) {
        let kind = match &chunk.kind {
            PlacedKind::Copy { unit, range } => LoggedKind::Copy { unit: unit.relation(), range: *range },
            PlacedKind::Heal { keys } => LoggedKind::Heal {
                keys: keys.iter().map(|key| key.blue.clone()).collect(),
                gone: chunk.left_out.clone(),
            },
        };
        let table = self.table(chunk.route).relation.id;
        let chunk = LoggedChunk { table, at: chunk.at, kind, rows: chunk.rows.clone() };
        self.groups.push(vec![LogEvent::Rows(chunk)]);
    }

    /// Writes what is recorded of the copy.
    pub(crate) fn entry(&mut self, entry: &LedgerEntry) {
        let mut group = Vec::new();
        if let LedgerEntry::Plan(Unit { route, .. }) | LedgerEntry::Complete(route) = entry
            && let Some(table) = self.tables.get_mut(route.index())
            && !std::mem::replace(&mut table.has_joined, true)
        {
            let join = LoggedEntry::Join { table: table.relation.id, is_void: false };
            group.push(LogEvent::Entry(join));
        }
        let table = |route| self.table(route).relation.id;
        let entry = match entry {
            LedgerEntry::Plan(unit) => LoggedEntry::Plan(unit.clone()),
            LedgerEntry::Refresh(unit) => LoggedEntry::Refresh(unit.clone()),
            LedgerEntry::Forget(unit) => {
                LoggedEntry::Forget { unit: unit.relation(), table: table(unit.route) }
            }
            LedgerEntry::Complete(route) => LoggedEntry::Complete { table: table(*route) },
        };
        group.push(LogEvent::Entry(entry));
        self.groups.push(group);
    }

    fn table(&self, route: RouteId) -> &FakeTable {
        &self.tables[route.index()]
    }

    /// The event of a change. `None`: rows are read again, and what comes of that is all that the log tells.
    fn change(&self, batch: &Batch, place: usize) -> Result<Option<LogEvent>, Failure> {
        let id = |route: &RouteId| self.table(*route).relation.id;
        let whole = batch.raw.as_ref().and_then(|raw| raw.old_row(place)).cloned().map(OldImage::Full);
        let change = match &batch.changes[place] {
            RowChange::Insert { route, new } => {
                SourceChange::Insert { relation: id(route), new: new.clone() }
            }
            RowChange::Update { route, old_key, new, .. } => {
                let old = whole.or_else(|| old_key.as_ref().map(|key| self.image(*route, key)));
                SourceChange::Update { relation: id(route), old, new: new.clone() }
            }
            RowChange::Delete { route, key, .. } => {
                let old = whole.unwrap_or_else(|| self.image(*route, key));
                SourceChange::Delete { relation: id(route), old }
            }
            RowChange::Truncate { routes } => {
                SourceChange::Truncate { relations: routes.iter().map(id).collect() }
            }
            RowChange::TruncateLeaf { route, predicate } => {
                let (table, predicate) = (id(route), predicate.clone());
                return Ok(Some(LogEvent::TruncateLeaf { table, predicate }));
            }
            RowChange::Reread { .. } => return Ok(None),
            RowChange::Refused { .. } => {
                return Err(Failure::new(Class::Internal, "a capture computes nothing"));
            }
        };
        Ok(Some(LogEvent::Change(change)))
    }

    /// An old row of which blue has sent the key.
    fn image(&self, route: RouteId, key: &Key) -> OldImage {
        let FakeTable { relation, key: places, .. } = self.table(route);
        let texts = places.iter().zip(key.texts()).collect::<HashMap<_, _>>();
        let mut out = TupleBuilder::default();
        for at in 0..relation.columns.len() {
            out.push(&texts.get(&at).map_or(Value::Null, |text| Value::Text((*text).into())));
        }
        let image: Tuple = out.finish();
        OldImage::Identity(image)
    }

    fn relation_of(&self, table: RelationId) -> Option<&Arc<Relation>> {
        self.tables.iter().map(|table| &table.relation).find(|relation| relation.id == table)
    }
}

impl LogFeed {
    /// Whether everything written has been read.
    pub fn is_drained(&self, log: &FakeLog) -> bool {
        self.queue.is_empty() && self.group >= log.groups.len()
    }

    /// The next event, if the log holds one.
    pub fn next(&mut self, log: &FakeLog) -> Option<LogEvent> {
        if self.queue.is_empty() {
            for event in log.groups.get(self.group)? {
                for table in tables_of(event) {
                    let Some(relation) = log.relation_of(table) else { continue };
                    if self.announced.insert(table, relation.clone()).as_ref() != Some(relation) {
                        self.queue.push_back(LogEvent::Table(relation.clone()));
                    }
                }
                self.queue.push_back(event.clone());
            }
            self.group += 1;
            let cursor = Cursor(Bytes::from(self.group.to_string()));
            self.queue.push_back(LogEvent::Whole { cursor });
        }
        self.queue.pop_front()
    }
}

fn tables_of(event: &LogEvent) -> Vec<RelationId> {
    match event {
        LogEvent::Change(change) => match change {
            SourceChange::Insert { relation, .. }
            | SourceChange::Update { relation, .. }
            | SourceChange::Delete { relation, .. } => vec![*relation],
            SourceChange::Truncate { relations } => relations.clone(),
        },
        LogEvent::TruncateLeaf { table, .. } => vec![*table],
        LogEvent::Rows(chunk) => vec![chunk.table],
        LogEvent::Entry(LoggedEntry::Plan(unit) | LoggedEntry::Refresh(unit)) => vec![unit.root.relation()],
        LogEvent::Entry(
            LoggedEntry::Join { table, .. }
            | LoggedEntry::Forget { table, .. }
            | LoggedEntry::Complete { table },
        ) => vec![*table],
        LogEvent::Arrived { relation, .. } => vec![*relation],
        LogEvent::Table(_)
        | LogEvent::Begin { .. }
        | LogEvent::Elsewhere { .. }
        | LogEvent::Fence { .. }
        | LogEvent::Commit { .. }
        | LogEvent::Reached { .. }
        | LogEvent::Beat { .. }
        | LogEvent::Whole { .. } => Vec::new(),
    }
}
