//! The ledger of verification on a real server.

use std::sync::Arc;

use understudy_contract::{
    Ask, Class, ComparedRoute, LedgerWrite, MismatchKind, Resolution, VerifyLedger, WhichMismatches,
};
use understudy_dynamodb::{CallSettings, DynamoBooks, DynamoVerifyLedger, LedgerSettings, SinkSettings};
use understudy_model::RowChange;
use understudy_testkit::suite::{LedgerUnderTest, run_ledger_suite};
use understudy_tests::{Dynamo, DynamoProxy, Fault, When};

use super::script::{ITEMS, row, start, transaction};
use super::{OnError, Shape, Store, TIMEOUT, client};
use understudy_contract::ChangeSink;

/// Tells the process that owns the migration.
const INSTANCE: u64 = 7;

impl Store {
    fn ledger_routes(&self) -> Arc<[ComparedRoute]> {
        self.stored().into_iter().map(|route| route.compared).collect()
    }

    pub(super) async fn ledger(&self, instance: u64) -> DynamoVerifyLedger {
        let client = Box::pin(client(self.endpoint.clone(), TIMEOUT)).await;
        let settings = LedgerSettings {
            migration: "suite".to_owned(),
            state_table: self.table("state"),
            calls: CallSettings::default(),
            instance,
        };
        DynamoVerifyLedger::new(client, settings, self.ledger_routes())
    }

    pub(super) async fn books(&self) -> DynamoBooks {
        let client = Box::pin(client(self.endpoint.clone(), TIMEOUT)).await;
        DynamoBooks::new(client, ("suite", &self.table("state")), CallSettings::default())
    }
}

impl LedgerUnderTest for Store {
    type Ledger = DynamoVerifyLedger;

    async fn connect(&self) -> DynamoVerifyLedger {
        self.ledger(INSTANCE).await
    }

    async fn close(&self, _: DynamoVerifyLedger) {}

    async fn ask(&self, ask: &Ask) -> u64 {
        self.books().await.ask(ask, "me").await.expect("a request")
    }

    async fn answer(&self, request: u64) -> Option<String> {
        self.books().await.answer(request).await.expect("an answer")
    }

    async fn withdraw(&self, request: u64) -> Option<String> {
        self.books().await.withdraw(request).await.expect("an answer")
    }
}

/// A store whose migration this process owns.
async fn begun(dynamo: &Dynamo, test: &str) -> Store {
    let store = Store::new(dynamo, test, Shape::Items, OnError::Stop).await;
    let settings = SinkSettings { instance: INSTANCE, ..store.settings() };
    let mut sink = store.connect_as(settings).await;
    start(&mut sink).await.expect("a start");
    store
}

/// Every sentence of the contract holds.
#[tokio::test(flavor = "multi_thread")]
async fn every_sentence_of_the_ledger_is_kept() {
    let Some(dynamo) = Dynamo::shared() else { return };
    let make = async |case: &'static str| begun(dynamo, &case.chars().take(60).collect::<String>()).await;
    Box::pin(run_ledger_suite(make)).await.unwrap();
}

/// The ledger belongs to whoever owns the migration, and there to the last verifier: nobody else writes it.
#[tokio::test(flavor = "multi_thread")]
async fn one_verifier_writes() {
    let Some(dynamo) = Dynamo::shared() else { return };
    let store = begun(dynamo, "verifiers").await;
    let mut former = store.ledger(INSTANCE).await;
    former.claim().await.expect("the ledger");
    let refused = store.ledger(8).await.claim().await.expect_err("another process");
    assert_eq!(refused.class(), Class::Transient, "{refused}");
    store.ledger(INSTANCE).await.claim().await.expect("the ledger");
    let plan = LedgerWrite::Plan { route: ITEMS, fingerprint: "f".to_owned() };
    let refused = former.write(&[plan]).await.expect_err("a verifier that was replaced");
    assert_eq!(refused.class(), Class::Superseded, "{refused}");
}

/// A call of many entries that breaks off in the middle takes effect as a whole with the next claim, or not at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_breaks_off_is_whole_or_nothing() {
    let Some(dynamo) = Dynamo::shared() else { return };
    let (mut nothing, mut whole) = (0, 0);
    for allowed in 0..12 {
        let store = begun(dynamo, &format!("broken{allowed}")).await;
        let proxy = DynamoProxy::start(dynamo, 3).await;
        let direct = store.endpoint.clone();
        let store = Store { endpoint: proxy.endpoint(), ..store };
        let mut ledger = store.ledger(INSTANCE).await;
        ledger.claim().await.expect("the ledger");
        let plan = LedgerWrite::Plan { route: ITEMS, fingerprint: "f".to_owned() };
        ledger.write(std::slice::from_ref(&plan)).await.expect("a plan");
        let ranges = (0..400_u64).map(|n| {
            let after = (n > 0).then(|| super::script::key(&format!("{n:04}")));
            let range = understudy_contract::KeyRange { after, upto: None };
            let record = understudy_contract::RangeRecord {
                sweep: understudy_contract::Sweep::Green,
                range,
                rows: 1,
                digest: Default::default(),
                verified: None,
                horizon: None,
                age_ms: 0,
            };
            LedgerWrite::Range(ITEMS, record)
        });
        let before = proxy.calls("TransactWriteItems").came;
        let ranges = ranges.collect::<Vec<_>>();
        tokio::select! {
            biased;
            _ = ledger.write(&ranges) => {}
            () = async {
                loop {
                    if proxy.calls("TransactWriteItems").came >= before + allowed {
                        proxy.fail(Some("TransactWriteItems"), Fault::Expired, When::Always);
                        std::future::pending::<()>().await;
                    }
                    tokio::task::yield_now().await;
                }
            } => {}
        }
        let store = Store { endpoint: direct, ..store };
        let saved = store.ledger(INSTANCE).await.claim().await.expect("the ledger");
        match saved.routes[0].ranges.len() {
            0 => nothing += 1,
            400 => whole += 1,
            some => panic!("{some} ranges after {allowed} calls"),
        }
    }
    assert!(nothing > 0 && whole > 0, "{nothing} and {whole}");
}

/// Rows that the stream found otherwise are told once the checkpoint covers them, and once only.
#[tokio::test(flavor = "multi_thread")]
async fn surprises_are_told_once() {
    let Some(dynamo) = Dynamo::shared() else { return };
    let store = begun(dynamo, "surprises").await;
    let settings = SinkSettings { instance: INSTANCE, ..store.settings() };
    let mut sink = store.connect_as(settings).await;
    start(&mut sink).await.expect("a start");
    let mut ledger = store.ledger(INSTANCE).await;
    ledger.claim().await.expect("the ledger");
    let update = RowChange::Update {
        route: ITEMS,
        old_key: None,
        new: row(["1", "n", "doc"]),
        blue_key: None,
        before: understudy_model::Before::There,
    };
    let applied = sink.apply(transaction(1, vec![update])).await.expect("a change");
    assert_eq!(applied.mismatches, 1);
    let told = ledger.news().await.expect("news").surprises;
    let [(route, name, kind, _)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((*route, *kind), (ITEMS, MismatchKind::Missing));
    assert_eq!(name.green, super::reading::item_key("1"));
    assert_eq!(ledger.news().await.expect("news").surprises, []);
    let plan = LedgerWrite::Plan { route: ITEMS, fingerprint: "f".to_owned() };
    ledger.write(&[plan]).await.expect("a plan");
    let mut next = store.ledger(INSTANCE).await;
    next.claim().await.expect("the ledger");
    assert_eq!(next.news().await.expect("news").surprises, [], "what was told and recorded is told again");
}

/// What people read is what the verifier wrote.
#[tokio::test(flavor = "multi_thread")]
async fn people_read_what_was_written() {
    let Some(dynamo) = Dynamo::shared() else { return };
    let store = begun(dynamo, "people").await;
    let mut ledger = store.ledger(INSTANCE).await;
    ledger.claim().await.expect("the ledger");
    let since = DynamoBooks::time();
    let record = |id| understudy_contract::MismatchRecord {
        id: understudy_contract::MismatchId(id),
        route: ITEMS,
        name: understudy_contract::RowName { green: super::reading::item_key("1"), blue: None },
        kind: MismatchKind::Extra,
        columns: Vec::new(),
        cause: understudy_contract::Cause::ForeignWrite,
        digests: (String::new(), "d".to_owned()),
        found_at: understudy_model::Lsn::new(7),
        by_stream: false,
        repair_asked: false,
        waived: None,
    };
    let range = understudy_contract::RangeRecord {
        sweep: understudy_contract::Sweep::Blue,
        range: Default::default(),
        rows: 12,
        digest: Default::default(),
        verified: Some(understudy_model::Lsn::new(9)),
        horizon: None,
        age_ms: 0,
    };
    let entries = [
        LedgerWrite::Plan { route: ITEMS, fingerprint: "f".to_owned() },
        LedgerWrite::Range(ITEMS, range),
        LedgerWrite::Mismatch(record(1)),
        LedgerWrite::Mismatch(record(2)),
    ];
    ledger.write(&entries).await.expect("entries");
    let ended = LedgerWrite::Resolved(understudy_contract::MismatchId(1), Resolution::Repaired);
    ledger.write(&[ended]).await.expect("an end");
    let books = store.books().await;
    let progress = books.progress(&since).await.expect("progress");
    assert_eq!((progress.len(), progress[0].rows, progress[0].open), (1, 12, [0, 1, 0]));
    assert_eq!((progress[0].ranges, progress[0].ranges_verified), (1, 1));
    let standing = books.mismatches(WhichMismatches::Standing).await.expect("mismatches");
    assert_eq!(standing.iter().map(|one| one.id.0).collect::<Vec<_>>(), [2]);
    let all = books.mismatches(WhichMismatches::All).await.expect("mismatches");
    let ends = all.iter().map(|one| one.resolved.as_ref().map(|(how, _)| *how)).collect::<Vec<_>>();
    assert_eq!(ends, [Some(Resolution::Repaired), None]);
    let one = books.mismatch(understudy_contract::MismatchId(1)).await.expect("an answer");
    let ended = one.and_then(|one| one.resolved).map(|(how, _)| how);
    assert_eq!(ended, Some(Resolution::Repaired));
}
