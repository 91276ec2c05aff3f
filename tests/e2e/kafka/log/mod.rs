//! The log on a real broker: an apply reads what a capture has committed, from any place on, and notices what is lost.

mod asking;
mod faults;
mod reading;

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::{Offset, TopicPartitionList};
use understudy_contract::{
    Batch, ChangeLog, ChangeSink, Cursor, Failure, LedgerEntry, Lineage, LogEvent, PlacedChunk, PlacedKind,
    Unit,
};
use understudy_kafka::codec::Owner;
use understudy_kafka::{CapturedTable, Claimant, KafkaLog, KafkaSettings, KafkaSink, TopicNames};
use understudy_model::{
    Before, BlockRange, Checkpoint, ChunkId, Column, CommitMark, Ctid, HealKey, Key, Lsn, Position, Relation,
    RelationId, ReplicaIdentity, RouteId, RowChange, TableName, Tuple, TupleBuilder, UnitId, Value, Xid,
};
use understudy_tests::Kafka;

const ITEMS: RouteId = RouteId(0);
const PLACES: RouteId = RouteId(1);

/// How long anything may take that a broker or a log has to do.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long what looks like a loss is doubted: for no longer than a test may wait, since most of these are losses.
const DOUBT_MAX: Duration = Duration::from_secs(3);

/// A migration of its own on some broker.
struct Subject {
    settings: KafkaSettings,
    names: TopicNames,
}

impl Subject {
    fn on(kafka: &Kafka, test: &str) -> Subject {
        let prefix = Kafka::prefix(test);
        let settings = KafkaSettings::new(vec![kafka.bootstrap()], &prefix);
        let settings = KafkaSettings { partitions: 3, patience: DOUBT_MAX, ..settings };
        Subject { settings, names: TopicNames::new(prefix) }
    }

    /// A capture that has claimed, and begun if it is the first.
    async fn capture(&self) -> KafkaSink {
        let tables = vec![captured(ITEMS), captured(PLACES)];
        let Lineage { system_id, database, slot, .. } = lineage();
        let owner = Owner { migration: "suite".to_owned(), slot, database, system_id, token: 1 };
        let claimant = Claimant { owner, has_owned: false, confirmed: None };
        let mut sink = KafkaSink::connect(&self.settings, claimant, tables).await.unwrap();
        if sink.claim().await.unwrap().is_none() {
            sink.begin(&lineage(), checkpoint(0)).await.unwrap();
        }
        sink
    }

    async fn open(&self, from: Option<&Cursor>) -> Result<KafkaLog, Failure> {
        let tables = [TableName::new("public", "items"), TableName::new("public", "places")];
        KafkaLog::open(&self.settings, &tables, from.cloned()).await
    }

    /// Everything up to the end of so many groups.
    async fn read(&self, from: Option<&Cursor>, groups: usize) -> Vec<LogEvent> {
        let mut log = self.open(from).await.unwrap();
        take(&mut log, groups).await.unwrap()
    }

    /// What reading comes to that must fail.
    async fn failure(&self, from: Option<&Cursor>) -> Failure {
        match self.open(from).await {
            Err(failure) => failure,
            Ok(mut log) => take(&mut log, usize::MAX).await.unwrap_err(),
        }
    }

    /// Four groups after the one with which everything begins, and the places after them.
    async fn written(&self) -> Vec<Cursor> {
        let mut sink = self.capture().await;
        for number in 1..5 {
            let changes = (0..9).map(|id| insert(ITEMS, number * 10 + id)).collect();
            sink.apply(transaction(number, 0, changes)).await.unwrap();
        }
        places_of(&self.read(None, 5).await).split_off(1)
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.settings.brokers.join(","));
        config.create().unwrap()
    }

    fn items(&self) -> String {
        self.names.table(&TableName::new("public", "items"))
    }

    /// Deletes what stands before an offset, as brokers do with what is past its time.
    async fn shorten(&self, topic: &str, partition: i32, before: Offset) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, before).unwrap();
        let deleted = self.admin().delete_records(&list, &AdminOptions::new()).await.unwrap();
        deleted.elements().iter().for_each(|element| element.error().unwrap());
    }
}

/// Reads to the end of so many groups.
async fn take(log: &mut KafkaLog, groups: usize) -> Result<Vec<LogEvent>, Failure> {
    let (mut events, mut ended) = (Vec::new(), 0);
    while ended < groups {
        let next = tokio::time::timeout(PATIENCE, log.next()).await;
        let event = next.unwrap_or_else(|_| panic!("nothing comes after {ended} groups"))?;
        ended += usize::from(matches!(event, LogEvent::Whole { .. }));
        events.push(event);
    }
    Ok(events)
}

/// The places among events, each with how many events come before what follows it.
fn places(events: &[LogEvent]) -> Vec<(usize, Cursor)> {
    let places = events.iter().enumerate().filter_map(|(at, event)| match event {
        LogEvent::Whole { cursor } => Some((at + 1, cursor.clone())),
        _ => None,
    });
    places.collect()
}

fn places_of(events: &[LogEvent]) -> Vec<Cursor> {
    places(events).into_iter().map(|(_, place)| place).collect()
}

/// Events without announcements, which every session makes anew.
fn plain(events: &[LogEvent]) -> Vec<&LogEvent> {
    events.iter().filter(|event| !matches!(event, LogEvent::Table(_))).collect()
}

fn captured(route: RouteId) -> CapturedTable {
    let (name, key) = if route == ITEMS { ("items", vec![0]) } else { ("places", vec![0, 1]) };
    let column = |(at, name): (usize, &str)| Column {
        name: name.to_owned(),
        type_oid: 25,
        type_modifier: -1,
        in_identity: key.contains(&at),
    };
    let relation = Relation {
        id: RelationId(20_000 + u32::from(route.0)),
        name: TableName::new("public", name),
        identity: ReplicaIdentity::Default,
        columns: ["id", "n"].into_iter().enumerate().map(column).collect(),
    };
    CapturedTable { route, relation, key, fingerprint: "as it is".to_owned() }
}

fn row(id: u64, n: &str) -> Tuple {
    let mut row = TupleBuilder::default();
    row.push(&Value::Text(id.to_string().into_bytes().into()));
    row.push(&Value::Text(n.as_bytes().into()));
    row.finish()
}

fn key(id: u64) -> Key {
    Key::from_texts([id.to_string().as_bytes()])
}

fn insert(route: RouteId, id: u64) -> RowChange {
    RowChange::Insert { route, new: row(id, "fresh") }
}

fn moved(from: u64, to: u64) -> RowChange {
    let (old_key, new) = (Some(key(from)), row(to, "moved"));
    RowChange::Update { route: ITEMS, old_key, new, blue_key: None, before: Before::There }
}

fn deleted(id: u64) -> RowChange {
    RowChange::Delete { route: ITEMS, key: key(id), before: Before::There }
}

/// The end of the `number`th transaction; the zeroth is where the migration begins.
fn checkpoint(number: u64) -> Checkpoint {
    Checkpoint::at_commit_end(Lsn::new(0x1000 + number * 0x100))
}

fn commit_of(number: u64) -> Lsn {
    Lsn::new(checkpoint(number).lsn().raw() - 0x30)
}

/// The rest of the `number`th transaction, `first_ordinal` changes of which were told before.
fn transaction(number: u64, first_ordinal: u64, changes: Vec<RowChange>) -> Batch {
    let mark = CommitMark {
        changes_before: changes.len(),
        position: Position { commit: commit_of(number), ordinal: first_ordinal + changes.len() as u64 },
        checkpoint: checkpoint(number),
        commit_time_us: 7,
        xid: Xid::new(500 + number),
    };
    Batch { changes, first_ordinal, commits: vec![mark], unseen: Some(Vec::new()), ..Batch::default() }
}

/// The first changes of the `number`th transaction, with more to come.
fn part(number: u64, changes: Vec<RowChange>) -> Batch {
    Batch { changes, open: Some(commit_of(number)), ..Batch::default() }
}

fn chunk(at: u64, kind: PlacedKind, rows: Vec<Tuple>) -> PlacedChunk {
    let (id, at) = (ChunkId(at), checkpoint(at));
    PlacedChunk { id, route: ITEMS, at, kind, rows, left_out: Vec::new(), refused: Vec::new() }
}

fn copy() -> PlacedKind {
    let range = BlockRange { from: Ctid::start_of(0), to: Ctid::start_of(12) };
    PlacedKind::Copy { unit: UnitId::new(20_000, ITEMS), range }
}

fn plan() -> LedgerEntry {
    LedgerEntry::Plan(Unit {
        id: UnitId::new(20_000, ITEMS),
        route: ITEMS,
        root: UnitId::new(20_000, ITEMS),
        name: TableName::new("public", "items"),
        filenode: 31,
        fingerprint: 5,
        marks: None,
        membership: 0,
        blocks: 12,
        block_bytes: 8_192,
        rows_estimate: None,
        identity: ReplicaIdentity::Default,
        predicate: None,
    })
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
