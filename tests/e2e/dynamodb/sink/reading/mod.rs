//! Reading items for comparison: what a reader tells of green is so, and it tells whatever is amiss.

mod amiss;
mod blue;
mod ranges;

use std::time::Duration;

use understudy_contract::{
    ChangeSink, ComparedColumn, ComparedRoute, Detail, GreenRead, GreenRows, KeyRelation, NotRead, RowName,
    RowSeen, SideQuery, Which,
};
use understudy_dynamodb::{
    CallSettings, DynamoGreenRows, DynamoTable, ReadLimits, ReaderSettings, StoredRoute,
};
use understudy_model::{Before, Key, Lsn, RouteId, RowChange, TableName};
use understudy_testkit::suite::suite_tables;

use super::script::{ITEMS, checkpoint, row, start, transaction};
use super::{Dynamo, OnError, Shape, Store, TIMEOUT, client};

const ONES: RouteId = RouteId(2);
const TWOS: RouteId = RouteId(3);

impl Store {
    /// The routes as they are compared.
    pub(super) fn stored(&self) -> Vec<StoredRoute> {
        suite_tables().into_iter().map(|green| stored(self.routed(green))).collect()
    }

    async fn reader(&self) -> DynamoGreenRows {
        self.reader_with(ReadLimits { patience: Duration::from_millis(50), ..ReadLimits::default() }).await
    }

    async fn reader_with(&self, limits: ReadLimits) -> DynamoGreenRows {
        let client = Box::pin(client(self.endpoint.clone(), TIMEOUT)).await;
        let calls = CallSettings { patience: Duration::from_secs(2), ..CallSettings::default() };
        let settings = ReaderSettings {
            state_table: self.table("state"),
            calls,
            limits,
            ..ReaderSettings::new("suite")
        };
        DynamoGreenRows::new(client, settings, &self.stored()).expect("a reader")
    }
}

fn stored(table: DynamoTable) -> StoredRoute {
    let DynamoTable { green, layout } = table;
    let column = |name: &String| ComparedColumn { name: name.clone(), rule: Default::default() };
    let nothing = SideQuery {
        table: TableName::new("", ""),
        from: String::new(),
        condition: None,
        key: Vec::new(),
        green_key: Vec::new(),
        key_order: Vec::new(),
        columns: Vec::new(),
        settings: Vec::new(),
        versioned: true,
    };
    let compared = ComparedRoute {
        route: green.route,
        source: green.source,
        target: green.name,
        keys: KeyRelation::Computed,
        columns: green.columns.iter().map(column).collect(),
        key: green.key,
        blue: nothing.clone(),
        green: nothing,
        rows_estimate: None,
        fingerprint: String::new(),
    };
    StoredRoute { compared, layout }
}

/// The key on green of a row of `items`.
pub(super) fn item_key(id: &str) -> Key {
    Key::from_texts([id.as_bytes(), b"items"])
}

fn named(key: Key) -> RowName {
    RowName { green: key, blue: None }
}

/// Rows of `items` by their ids.
async fn read(reader: &mut DynamoGreenRows, ids: &[&str]) -> GreenRead<Vec<RowSeen>> {
    let names = Which::Names(ids.iter().map(|id| named(item_key(id))).collect());
    reader.rows(ITEMS, &names, Detail::Values, Lsn::ZERO).await.expect("an answer").expect("rows")
}

fn texts(row: &RowSeen) -> Vec<Option<String>> {
    let values = row.values.as_ref().expect("values");
    values.iter().map(|value| value.text.as_deref().map(str::to_owned)).collect()
}

fn insert(texts: [&str; 3]) -> RowChange {
    RowChange::Insert { route: ITEMS, new: row(texts) }
}

/// A store in which the rows 1 to 3 of `items` have been written and 3 deleted again.
async fn filled(dynamo: &Dynamo, test: &str, shape: Shape) -> Store {
    let store = Store::new(dynamo, test, shape, OnError::Stop).await;
    let mut sink = store.connect().await;
    start(&mut sink).await.expect("a start");
    let rows = ["1", "2", "3"].map(|id| insert([id, "n", "doc"]));
    sink.apply(transaction(1, rows.to_vec())).await.expect("rows");
    let gone = RowChange::Delete { route: ITEMS, key: super::script::key("3"), before: Before::There };
    sink.apply(transaction(2, vec![gone])).await.expect("a deletion");
    store
}

/// Rows come with their values and the checkpoint that they are at, as ours; what was deleted is no row, and neither is what
/// never was.
#[tokio::test(flavor = "multi_thread")]
async fn rows_are_read_as_they_are_at_the_checkpoint() {
    let Some(dynamo) = Dynamo::shared() else { return };
    for shape in [Shape::Items, Shape::Parts] {
        let store = filled(dynamo, "read", shape).await;
        let mut reader = store.reader().await;
        let read = read(&mut reader, &["1", "3", "9"]).await;
        assert_eq!(read.moment.checkpoint, checkpoint(2));
        assert_eq!(read.moment.unseen, Some(Vec::new()));
        let [row] = &read.value[..] else { panic!("{} rows", read.value.len()) };
        assert_eq!(row.name.green, item_key("1"));
        let wanted = ["1", "n", "doc", "items"].map(|text| Some(text.to_owned()));
        assert_eq!((texts(row), row.foreign), (wanted.to_vec(), Some(false)));
        assert!(row.version.is_some() && read.awaited.is_empty());
        let late = Lsn::new(checkpoint(2).lsn().raw() + 1);
        let which = Which::Names(vec![named(item_key("1"))]);
        let none = reader.rows(ITEMS, &which, Detail::Digests, late).await.expect("an answer");
        assert_eq!(none.unwrap_err(), NotRead::NotYet, "what is not applied yet is not read");
    }
}

/// A row that is ahead of the checkpoint, there or gone, must not show that green is wrong: its transaction is not done.
#[tokio::test(flavor = "multi_thread")]
async fn rows_ahead_of_the_checkpoint_are_owed() {
    let Some(dynamo) = Dynamo::shared() else { return };
    for shape in [Shape::Items, Shape::Parts] {
        let store = filled(dynamo, "ahead", shape).await;
        let mut reader = store.reader().await;
        let mut sink = store.connect().await;
        start(&mut sink).await.expect("a start");
        let gone = RowChange::Delete { route: ITEMS, key: super::script::key("2"), before: Before::There };
        let whole = transaction(3, vec![insert(["4", "m", "doc"]), gone]);
        let open = Some(whole.commits[0].position.commit);
        let begun = understudy_contract::Batch { commits: Vec::new(), open, unseen: None, ..whole.clone() };
        sink.apply(begun).await.expect("the beginning of a transaction");
        let ahead = read(&mut reader, &["1", "2", "4"]).await;
        assert_eq!(ahead.moment.checkpoint, checkpoint(2));
        let mut owed = ahead.awaited.iter().map(|awaited| awaited.key.clone()).collect::<Vec<_>>();
        owed.sort_unstable();
        assert_eq!(owed, [item_key("2"), item_key("4")]);
        let end = understudy_contract::Batch { changes: Vec::new(), first_ordinal: 2, ..whole };
        let end = understudy_contract::Batch {
            commits: end
                .commits
                .iter()
                .map(|mark| understudy_model::CommitMark { changes_before: 0, ..*mark })
                .collect(),
            ..end
        };
        sink.apply(end).await.expect("the end of a transaction");
        let done = read(&mut reader, &["1", "2", "4"]).await;
        assert_eq!((done.moment.checkpoint, done.value.len()), (checkpoint(3), 2));
        assert!(done.awaited.is_empty(), "{:?}", done.awaited);
    }
}

/// Rows that replication owes are told as such, for as long as it does.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_wait_to_be_read_again_are_owed() {
    let Some(dynamo) = Dynamo::shared() else { return };
    let store = filled(dynamo, "owed", Shape::Items).await;
    let mut reader = store.reader().await;
    let mut sink = store.connect().await;
    start(&mut sink).await.expect("a start");
    let partial = RowChange::Update {
        route: ITEMS,
        old_key: None,
        new: super::script::partial("7", "n"),
        blue_key: None,
        before: Before::There,
    };
    sink.apply(transaction(3, vec![partial])).await.expect("a part of a row");
    let owed = read(&mut reader, &["1", "7"]).await;
    let [awaited] = &owed.awaited[..] else { panic!("{:?}", owed.awaited) };
    assert_eq!((&awaited.key, awaited.why), (&item_key("7"), understudy_contract::Awaits::Heal));
}
