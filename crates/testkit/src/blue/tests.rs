//! The simulator against itself: the stream alone must rebuild what readers see.

use std::collections::{BTreeMap, HashMap};

use understudy_contract::{ChunkOutcome, ChunkRequest, ChunkScope, StreamEvent};
use understudy_model::{
    BlockRange, ChunkId, Ctid, Key, OldImage, RelationId, RouteId, SourceChange, Tuple, UnitId, Value, Xid,
};

use super::{Blue, Cell, RowMap, TableKind};
use crate::dice::Dice;
use crate::workload::{self, Act};

/// Tables rebuilt from the stream, strictly: an insert finds nothing, an update and a delete find their row.
struct Replica {
    tables: Vec<RowMap>,
    route: HashMap<RelationId, usize>,
    regions: HashMap<RelationId, Vec<&'static str>>,
}

impl Replica {
    fn of(blue: &Blue) -> Replica {
        let attached = || {
            let heaps = blue.heaps.iter().enumerate();
            heaps.filter_map(|(at, heap)| Some((at, RelationId(heap.oid), heap.table?)))
        };
        Replica {
            tables: (0..blue.tables.len()).map(|table| blue.rows(table)).collect(),
            route: attached().map(|(_, relation, table)| (relation, table)).collect(),
            regions: attached().map(|(at, relation, _)| (relation, blue.regions(at))).collect(),
        }
    }

    fn apply(&mut self, blue: &Blue, change: &SourceChange) {
        let key = |table: usize, tuple: &Tuple| tuple.key(&blue.shape(table).key).expect("a key");
        match change {
            SourceChange::Insert { relation, new } => {
                let table = self.route[relation];
                assert!(self.tables[table].insert(key(table, new), cells(new, None)).is_none());
            }
            SourceChange::Update { relation, old, new } => {
                let table = self.route[relation];
                let old_key = old.as_ref().map_or_else(|| key(table, new), |old| key(table, image(old)));
                let before = self.tables[table].remove(&old_key).expect("the row to be updated");
                assert!(self.tables[table].insert(key(table, new), cells(new, Some(&before))).is_none());
            }
            SourceChange::Delete { relation, old } => {
                let table = self.route[relation];
                assert!(self.tables[table].remove(&key(table, image(old))).is_some());
            }
            SourceChange::Truncate { relations } => {
                for relation in relations {
                    let (table, regions) = (self.route[relation], &self.regions[relation]);
                    let column = blue.shape(table).bound_column();
                    self.tables[table].retain(|_, row| {
                        let is = |region: &&str, at: usize| row[at].as_deref() == Some(region.as_bytes());
                        column.is_some_and(|at| !regions.iter().any(|region| is(region, at)))
                    });
                }
            }
        }
    }
}

fn image(old: &OldImage) -> &Tuple {
    match old {
        OldImage::Identity(tuple) | OldImage::Full(tuple) => tuple,
    }
}

fn cells(new: &Tuple, before: Option<&Vec<Cell>>) -> Vec<Cell> {
    let one = |(at, value): (usize, Value<'_>)| match value {
        Value::Null => None,
        Value::Text(text) => Some(text.into_owned().into()),
        Value::Unchanged => before.expect("a row to take the value from")[at].clone(),
    };
    new.values().enumerate().map(one).collect()
}

fn run(seed: u64, extra: &[(Act, u32)]) -> (Blue, Dice, Replica, usize) {
    let mut dice = Dice::new(seed);
    let mut blue = Blue::new(seed, &TableKind::ALL, 0);
    let from = blue.create_slot();
    let mut replica = Replica::of(&blue);
    let mut weights = workload::traffic();
    weights.extend_from_slice(extra);
    for _ in 0..300 {
        workload::step(&mut blue, &mut dice, &weights);
    }
    workload::settle_all(&mut blue, &mut dice);
    let mut feed = blue.stream(from, dice.percent(50));
    let mut changes = 0;
    while let Some(event) = feed.next(&blue, &mut dice) {
        if let StreamEvent::Change(change) = event {
            changes += 1;
            if !extra.iter().any(|(act, _)| matches!(act, Act::Attach | Act::AlterType)) {
                replica.apply(&blue, &change);
            }
        }
    }
    (blue, dice, replica, changes)
}

#[test]
fn the_stream_alone_rebuilds_every_table() {
    let mut changes = 0;
    for seed in 0..200 {
        let extra = [(Act::Truncate, 2), (Act::TruncateLeaf, 2), (Act::Rewrite, 3), (Act::AlterIdentity, 1)];
        let (blue, _, replica, count) = run(seed, &extra);
        changes += count;
        for table in 0..blue.tables.len() {
            assert_eq!(replica.tables[table], blue.rows(table), "seed {seed}, table {table}");
        }
    }
    assert!(changes > 5_000, "only {changes} changes were streamed");
}

#[test]
fn chunks_by_block_cover_exactly_the_visible_rows() {
    for seed in 0..100 {
        let (blue, ..) =
            run(seed, &[(Act::Rewrite, 3), (Act::Attach, 1), (Act::Detach, 1), (Act::AlterType, 1)]);
        for table in 0..blue.tables.len() {
            let shape = blue.shape(table);
            let columns: Vec<String> = shape.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
            let mut found: BTreeMap<Key, Vec<Cell>> = BTreeMap::new();
            for unit in blue.units(&[table]).expect("no locks are left") {
                for block in 0..unit.blocks {
                    let range = BlockRange { from: Ctid::start_of(block), to: Ctid::start_of(block + 1) };
                    let scope = ChunkScope::Blocks(range);
                    let request = ChunkRequest {
                        id: ChunkId(0),
                        unit: unit.id,
                        columns: columns.clone(),
                        types: None,
                        scope,
                        bytes_max: 9_999,
                    };
                    let Some(ChunkOutcome::Read(rows)) = blue.read(&request) else { panic!("seed {seed}") };
                    assert_eq!(rows.filenode, unit.filenode);
                    for row in rows.rows {
                        assert!(found.insert(row.key(&shape.key).unwrap(), cells(&row, None)).is_none());
                    }
                }
            }
            assert_eq!(found, blue.rows(table), "seed {seed}, table {table}");
        }
    }
}

#[test]
fn a_commit_is_streamed_before_snapshots_show_it() {
    let mut blue = Blue::new(1, &[TableKind::Plain], 0);
    let from = blue.create_slot();
    let xid = blue.begin();
    while !blue.write(xid, 0) {}
    blue.commit(xid);
    let mut feed = blue.stream(from, false);
    let begin = feed.next(&blue, &mut Dice::new(1));
    assert!(matches!(begin, Some(StreamEvent::Begin { xid: short, .. }) if Xid::widen(short, xid) == xid));
    assert!(!blue.snapshot().sees(xid));
    blue.settle(xid);
    assert!(blue.snapshot().sees(xid));
}

#[test]
fn a_session_started_again_repeats_the_same_positions() {
    let (blue, mut dice, ..) = run(7, &[]);
    let all = |feed: &mut super::Feed, dice: &mut Dice| {
        let mut events = Vec::new();
        while let Some(event) = feed.next(&blue, dice) {
            if !matches!(event, StreamEvent::Relation(_)) {
                events.push(event);
            }
        }
        events
    };
    let from = understudy_model::Checkpoint::at_commit_end(blue.confirmed());
    let whole = all(&mut blue.stream(from, false), &mut dice);
    let ends: Vec<usize> =
        (0..whole.len()).filter(|at| matches!(whole[*at], StreamEvent::Commit { .. })).collect();
    for at in ends {
        let StreamEvent::Commit { end, .. } = whole[at] else { continue };
        let from = understudy_model::Checkpoint::at_commit_end(end);
        let rest = all(&mut blue.stream(from, false), &mut dice);
        let begin = |event: &StreamEvent| matches!(event, StreamEvent::Begin { .. });
        let (first, first_again) =
            (whole[at + 1..].iter().find(|e| begin(e)), rest.iter().find(|e| begin(e)));
        assert_eq!(first, first_again);
    }
}

#[test]
fn barriers_and_snapshots_bound_what_is_running() {
    let mut blue = Blue::new(1, &[TableKind::Plain], 0);
    let (one, two) = (blue.begin(), blue.begin());
    assert!(blue.snapshot().xmax() <= one, "nothing has ended since");
    let barrier = blue.barrier();
    assert!(one < barrier && two < barrier);
    assert_eq!(blue.snapshot().in_progress(), [one, two]);
    let gone = ChunkRequest {
        id: ChunkId(1),
        unit: UnitId::new(1, RouteId(0)),
        columns: Vec::new(),
        types: None,
        scope: ChunkScope::Keys { columns: Vec::new(), keys: Vec::new() },
        bytes_max: 1,
    };
    assert_eq!(blue.read(&gone), Some(ChunkOutcome::Gone));
}
