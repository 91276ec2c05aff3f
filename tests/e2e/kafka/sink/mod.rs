//! A capture's sink on a real broker: what it commits is whole, is its own, and is found again.

mod faults;
mod given_up;
mod heals;
mod outage;
mod owners;
mod restarts;
mod short;
pub(super) mod topics;
mod turns;

use std::time::Duration;

use understudy_contract::{Batch, ChangeSink, Failure, Lineage, PlacedChunk, PlacedKind, Unit};
use understudy_kafka::codec::Owner;
use understudy_kafka::{CapturedTable, Claimant, KafkaSettings, KafkaSink};
use understudy_model::{
    Before, Checkpoint, ChunkId, Column, CommitMark, HealKey, Key, Lsn, Position, Relation, RelationId,
    ReplicaIdentity, RouteId, RowChange, TableName, Tuple, TupleBuilder, UnitId, Value, Xid,
};
use understudy_tests::Kafka;

use topics::Topics;

/// How long brokers have to agree, and other captures to come to an end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Stands for a value that was not sent.
const UNSENT: &str = "(unsent)";

const ITEMS: RouteId = RouteId(0);
const PLACES: RouteId = RouteId(1);

/// A migration of its own on some broker.
struct Subject {
    settings: KafkaSettings,
    topics: Topics,
}

impl Subject {
    fn on(kafka: &Kafka, test: &str) -> Subject {
        let prefix = Kafka::prefix(test);
        let settings = KafkaSettings::new(vec![kafka.bootstrap()], &prefix);
        let settings = KafkaSettings { patience: PATIENCE, ..settings };
        Subject { topics: Topics::new(&kafka.bootstrap(), &prefix), settings }
    }

    fn with(self, change: impl FnOnce(&mut KafkaSettings)) -> Subject {
        let mut settings = self.settings;
        change(&mut settings);
        Subject { settings, ..self }
    }

    /// A new capture, which has claimed nothing yet.
    async fn connect(&self) -> Result<KafkaSink, Failure> {
        self.connect_as(claimant(1, false)).await
    }

    /// The same for somebody else.
    async fn connect_as(&self, claimant: Claimant) -> Result<KafkaSink, Failure> {
        KafkaSink::connect(&self.settings, claimant, captured()).await
    }

    /// A capture that has claimed and begun.
    async fn begun(&self) -> KafkaSink {
        let mut sink = self.connect().await.unwrap();
        assert!(sink.claim().await.unwrap().is_none(), "a fresh prefix remembers a migration");
        sink.begin(&lineage(), checkpoint(0)).await.unwrap();
        sink
    }

    /// A capture that goes on where the last one was.
    async fn again(&self) -> (KafkaSink, understudy_contract::Saved) {
        let mut sink = self.connect().await.unwrap();
        let saved = sink.claim().await.unwrap().expect("the migration is remembered");
        (sink, saved)
    }

    async fn groups(&self) -> Vec<understudy_kafka::codec::Group> {
        self.topics.groups(i32::from(self.settings.partitions)).await
    }

    fn items(&self) -> String {
        self.topics.names.table(&TableName::new("public", "items"))
    }
}

/// A process, by its token, that has written the log before, or not.
fn claimant(token: u64, has_owned: bool) -> Claimant {
    let Lineage { system_id, database, slot, .. } = lineage();
    let owner = Owner { migration: "suite".to_owned(), slot, database, system_id, token };
    Claimant { owner, has_owned, confirmed: None }
}

fn captured() -> Vec<CapturedTable> {
    let table = |route: RouteId, name: &str, columns: &[(&str, u32)], key: &[usize]| CapturedTable {
        route,
        relation: Relation {
            id: RelationId(20_000 + u32::from(route.0)),
            name: TableName::new("public", name),
            identity: ReplicaIdentity::Default,
            columns: columns
                .iter()
                .enumerate()
                .map(|(at, (name, type_oid))| Column {
                    name: (*name).to_owned(),
                    type_oid: *type_oid,
                    type_modifier: -1,
                    in_identity: key.contains(&at),
                })
                .collect(),
        },
        key: key.to_vec(),
        fingerprint: "as it is".to_owned(),
    };
    vec![
        table(ITEMS, "items", &[("id", 23), ("n", 25), ("doc", 25)], &[0]),
        table(PLACES, "places", &[("id", 23), ("region", 25)], &[0, 1]),
    ]
}

fn row(values: &[&str]) -> Tuple {
    let mut row = TupleBuilder::default();
    for value in values {
        row.push(&if *value == UNSENT { Value::Unchanged } else { Value::Text(value.as_bytes().into()) });
    }
    row.finish()
}

fn key(texts: &[&str]) -> Key {
    Key::from_texts(texts.iter().map(|text| text.as_bytes()))
}

fn heal(text: &str) -> HealKey {
    HealKey::same(key(&[text]))
}

fn insert(route: RouteId, values: &[&str]) -> RowChange {
    RowChange::Insert { route, new: row(values) }
}

fn update(from: Option<&str>, values: [&str; 3]) -> RowChange {
    let old_key = from.map(|from| key(&[from]));
    RowChange::Update { route: ITEMS, old_key, new: row(&values), blue_key: None, before: Before::There }
}

/// The end of the `number`th transaction; the zeroth is where the migration begins.
fn checkpoint(number: u64) -> Checkpoint {
    Checkpoint::at_commit_end(Lsn::new(0x1000 + number * 0x100))
}

fn commit_of(number: u64) -> Lsn {
    Lsn::new(checkpoint(number).lsn().raw() - 0x30)
}

fn mark(number: u64, changes_before: usize) -> CommitMark {
    CommitMark {
        changes_before,
        position: Position { commit: commit_of(number), ordinal: changes_before as u64 },
        checkpoint: checkpoint(number),
        commit_time_us: 7,
        xid: Xid::new(500 + number),
    }
}

/// The `number`th transaction, whole.
fn transaction(number: u64, changes: Vec<RowChange>) -> Batch {
    let commits = vec![mark(number, changes.len())];
    Batch { changes, commits, unseen: Some(vec![Xid::new(500 + number)]), ..Batch::default() }
}

/// The `number`th transaction's changes from `first_ordinal` on, with more to come.
fn part(number: u64, first_ordinal: u64, changes: Vec<RowChange>) -> Batch {
    Batch { changes, first_ordinal, open: Some(commit_of(number)), ..Batch::default() }
}

fn lineage() -> Lineage {
    Lineage {
        system_id: 42,
        timeline: 3,
        database: "shop".to_owned(),
        slot: "understudy_suite".to_owned(),
        publication: Some("16500.741".to_owned()),
    }
}

fn unit() -> Unit {
    Unit {
        id: UnitId::new(20_000, ITEMS),
        route: ITEMS,
        root: UnitId::new(20_000, ITEMS),
        name: TableName::new("public", "items"),
        filenode: 31,
        fingerprint: u64::MAX - 5,
        marks: None,
        membership: 0,
        blocks: 12,
        block_bytes: 8_192,
        rows_estimate: None,
        identity: ReplicaIdentity::Default,
        predicate: None,
    }
}

fn placed(id: u64, at: Checkpoint, kind: PlacedKind, rows: Vec<Tuple>) -> PlacedChunk {
    PlacedChunk { id: ChunkId(id), route: ITEMS, at, kind, rows, left_out: Vec::new(), refused: Vec::new() }
}
