//! Changes drawn at random with what they make of `items`, and a run that goes on until all of them are applied.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use understudy_contract::{Applied, Batch, ChangeSink, Class, LedgerEntry, Lineage, PlacedChunk, PlacedKind};
use understudy_model::{
    Before, Checkpoint, ChunkId, CommitMark, HealKey, Key, Lsn, Position, RouteId, RowChange, Tuple,
    TupleBuilder, Value, Xid,
};
use understudy_testkit::suite::SuiteRows;

use super::Store;
use super::tagged::Tagged;

pub(super) const ITEMS: RouteId = RouteId(0);

/// How many keys there are: few, so that changes meet.
const KEYS: u32 = 12;

/// How often a run may start anew. Whatever goes wrong passes long before.
const RUNS_MOST: u32 = 400;

/// Rows of `items` by their ids: `n` and `doc`.
pub(super) type Rows = BTreeMap<String, [String; 2]>;

/// Transactions, and what they make.
pub(super) struct Script {
    pub(super) transactions: Vec<Vec<RowChange>>,
    pub(super) rows: Rows,
}

/// What came to light on the way.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) runs: u32,
    pub(super) mismatches: u64,
    pub(super) heals: usize,
    /// The classes of failures that ended runs.
    pub(super) ends: Vec<Class>,
}

impl Script {
    /// Transactions of some changes each, drawn by a seed.
    pub(super) fn draw(seed: u64, transactions: usize, changes: usize) -> Script {
        let mut dice = StdRng::seed_from_u64(seed);
        let mut script = Script { transactions: Vec::new(), rows: Rows::new() };
        let mut serial = 0;
        for _ in 0..transactions {
            let changes = (0..changes).map(|_| {
                serial += 1;
                step(&mut dice, &mut script.rows, serial)
            });
            let changes = changes.collect();
            script.transactions.push(changes);
        }
        script
    }

    /// As they are in the store.
    pub(super) fn expected(&self) -> SuiteRows {
        let row = |(id, [n, doc]): (&String, &[String; 2])| {
            let texts = [id, n, doc].map(|text| Some(text.clone().into_bytes()));
            (key(id), texts.to_vec())
        };
        self.rows.iter().map(row).collect()
    }

    /// Applies the transactions one by one until all of them are applied, with a new sink after each failure, and then has read
    /// again what waits for it.
    pub(super) async fn run(&self, store: &Store) -> Seen {
        let mut seen = Seen::default();
        loop {
            seen.runs += 1;
            assert!(seen.runs < RUNS_MOST, "it never ends: {:?}", seen.ends.last());
            let mut sink = store.connect().await;
            match self.go_on(&mut sink, &mut seen).await {
                Ok(()) => return seen,
                Err(failure) => {
                    assert_eq!(failure.class(), Class::Transient, "{failure}");
                    seen.ends.push(failure.class());
                }
            }
        }
    }

    pub(super) async fn go_on(
        &self,
        sink: &mut Tagged,
        seen: &mut Seen,
    ) -> Result<(), understudy_contract::Failure> {
        let applied = start(sink).await?;
        for number in applied..self.transactions.len() as u64 {
            let batch = transaction(number + 1, self.transactions[number as usize].clone());
            let Applied { heals, mismatches, quarantined } = sink.apply(batch).await?;
            assert_eq!(quarantined, 0);
            seen.mismatches += mismatches;
            seen.heals += heals.len();
        }
        self.heal(sink).await
    }

    /// Has every row read again that waits, as the pipeline would.
    async fn heal(&self, sink: &mut Tagged) -> Result<(), understudy_contract::Failure> {
        let saved = sink.claim().await?.expect("it has begun");
        let keys = saved.heals.iter().map(|(_, key)| key.clone()).collect::<Vec<_>>();
        if keys.is_empty() {
            return Ok(());
        }
        let rows = keys.iter().filter_map(|key| {
            let id = id_of(&key.green);
            let [n, doc] = self.rows.get(&id)?;
            Some(row([&id, n, doc]))
        });
        let chunk = PlacedChunk {
            id: ChunkId(1),
            route: ITEMS,
            at: saved.checkpoint,
            rows: rows.collect(),
            left_out: keys.iter().map(|key| &key.green).filter(|key| !self.has(key)).cloned().collect(),
            kind: PlacedKind::Heal { keys },
            refused: Vec::new(),
        };
        sink.place(chunk).await?;
        sink.placed().await.map(drop)
    }

    fn has(&self, key: &Key) -> bool {
        self.rows.contains_key(&id_of(key))
    }
}

/// Claims, and begins with every route complete unless that was done. Returns how many transactions are applied.
pub(super) async fn start(sink: &mut Tagged) -> Result<u64, understudy_contract::Failure> {
    let saved = sink.claim().await?;
    let (begun, complete) = match &saved {
        Some(saved) => (true, saved.routes.iter().all(|route| route.complete)),
        None => (false, false),
    };
    if !begun {
        sink.begin(&lineage(), checkpoint(0)).await?;
    }
    if !complete {
        for route in 0..4 {
            sink.record(LedgerEntry::Complete(RouteId(route))).await?;
        }
    }
    Ok(saved.map_or(0, |saved| (saved.checkpoint.lsn().raw() - checkpoint(0).lsn().raw()) / 0x100))
}

/// A change that blue could make of these rows, done to them too.
fn step(dice: &mut StdRng, rows: &mut Rows, serial: u32) -> RowChange {
    let id = dice.random_range(0..KEYS).to_string();
    let (n, doc) = (format!("n{serial}"), format!("doc{serial}"));
    let Some(before) = rows.get(&id).cloned() else {
        rows.insert(id.clone(), [n.clone(), doc.clone()]);
        return RowChange::Insert { route: ITEMS, new: row([&id, &n, &doc]) };
    };
    let other = dice.random_range(0..KEYS).to_string();
    let moves = !rows.contains_key(&other) && dice.random_range(0..2) == 0;
    match dice.random_range(0..10) {
        0 if dice.random_range(0..4) == 0 => {
            rows.clear();
            RowChange::Truncate { routes: vec![ITEMS] }
        }
        0..=2 => {
            rows.remove(&id);
            RowChange::Delete { route: ITEMS, key: key(&id), before: Before::There }
        }
        kind => {
            let is_partial = kind < 7;
            let doc = if is_partial { before[1].clone() } else { doc };
            let to = if moves { other } else { id.clone() };
            rows.remove(&id);
            rows.insert(to.clone(), [n.clone(), doc.clone()]);
            RowChange::Update {
                route: ITEMS,
                old_key: moves.then(|| key(&id)),
                new: if is_partial { partial(&to, &n) } else { row([&to, &n, &doc]) },
                blue_key: None,
                before: Before::There,
            }
        }
    }
}

pub(super) fn key(id: &str) -> Key {
    Key::from_texts([id.as_bytes()])
}

fn id_of(key: &Key) -> String {
    let text = key.texts().next().expect("a key of one column");
    String::from_utf8(text.to_vec()).expect("a text")
}

pub(super) fn row(texts: [&str; 3]) -> Tuple {
    let mut builder = TupleBuilder::default();
    texts.iter().for_each(|text| builder.push(&Value::Text(text.as_bytes().into())));
    builder.finish()
}

/// A row of which `doc` was not sent.
pub(super) fn partial(id: &str, n: &str) -> Tuple {
    let mut builder = TupleBuilder::default();
    [id, n].iter().for_each(|text| builder.push(&Value::Text(text.as_bytes().into())));
    builder.push(&Value::Unchanged);
    builder.finish()
}

pub(super) fn heal(id: &str) -> HealKey {
    HealKey::same(key(id))
}

/// The end of the `number`th transaction; the zeroth is where it begins.
pub(super) fn checkpoint(number: u64) -> Checkpoint {
    Checkpoint::at_commit_end(Lsn::new(0x1000 + number * 0x100))
}

/// The `number`th transaction, whole.
pub(super) fn transaction(number: u64, changes: Vec<RowChange>) -> Batch {
    let commit = Lsn::new(checkpoint(number).lsn().raw() - 0x30);
    let mark = CommitMark {
        changes_before: changes.len(),
        position: Position { commit, ordinal: changes.len() as u64 },
        checkpoint: checkpoint(number),
        commit_time_us: 0,
        xid: Xid::new(500 + number),
    };
    Batch { changes, commits: vec![mark], unseen: Some(Vec::new()), ..Batch::default() }
}

pub(super) fn lineage() -> Lineage {
    Lineage {
        system_id: 42,
        timeline: 1,
        database: "shop".to_owned(),
        slot: "understudy".to_owned(),
        publication: None,
    }
}
