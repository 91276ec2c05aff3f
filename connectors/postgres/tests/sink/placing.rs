//! Placed chunks: committed with their progress, in order with the changes, over rows that are there already.

use understudy_contract::{Applied, ChangeSink, Class, LedgerEntry, PlacedChunk, PlacedKind};
use understudy_model::{BlockRange, Ctid, RouteId, Tuple, UnitId};
use understudy_postgres::sink::{OnError, PostgresSink, ReplicaRole};

use crate::green::{Green, delete, each, heal, insert, row, table, unit, update};

const SQL: &str = "CREATE TABLE items (id int PRIMARY KEY, name text, n int CHECK (n < 1000)); CREATE TABLE others (id int PRIMARY KEY)";
const UNIT: UnitId = UnitId::new(4_000_000_000, RouteId(0));

fn tables() -> Vec<understudy_contract::GreenTable> {
    vec![table(0, "items", &["id", "name", "n"]), table(1, "others", &["id"])]
}

fn range(from: u32) -> BlockRange {
    BlockRange { from: Ctid::start_of(from), to: Ctid { block: from + 1, line: 3 } }
}

fn lines(numbers: std::ops::Range<u32>) -> Vec<Tuple> {
    numbers.map(|n| Tuple::from_copy_line(format!("{n}\tread\\t{n}\t{n}").into())).collect()
}

async fn copying(name: &str) -> Option<(Green, PostgresSink)> {
    let mut green = Green::with(name, SQL).await?;
    let settings = green.settings();
    let mut sink = green.sink_with(settings, tables(), false).await;
    sink.record(LedgerEntry::Plan(unit(0))).await.unwrap();
    Some((green, sink))
}

fn chunk(green: &Green, id: u64, rows: Vec<Tuple>) -> PlacedChunk {
    let kind = PlacedKind::Copy { unit: UNIT, range: range(id as u32) };
    green.chunk(id, 0, kind, rows)
}

#[tokio::test]
async fn chunks_are_written_with_their_ranges_beside_each_other() {
    let Some((mut green, mut sink)) = copying("chunks_beside").await else {
        return;
    };
    for id in 0..5 {
        let from = id as u32 * 100;
        sink.place(chunk(&green, id, lines(from..from + 100))).await.unwrap();
    }
    let mut rows = 0;
    for _ in 0..5 {
        rows += sink.placed().await.unwrap().rows;
    }
    assert_eq!(rows, 500);
    assert_eq!(green.rows("SELECT count(*) || min(name) FROM public.items").await, "500read\t0");
    drop(sink);
    let mut sink = PostgresSink::connect(&green.options, green.settings(), tables()).await.unwrap();
    let saved = sink.claim().await.unwrap().unwrap();
    let mut done = saved.units[0].done.clone();
    done.sort_by_key(|range| range.from);
    assert_eq!(done, (0..5).map(range).collect::<Vec<_>>());
    let unit = unit(0);
    assert_eq!(
        (saved.units[0].filenode, saved.units[0].fingerprint, saved.units[0].blocks),
        (unit.filenode, unit.fingerprint, unit.blocks)
    );
    assert_eq!((&saved.units[0].predicate, saved.units[0].marks), (&unit.predicate, unit.marks));
    // Planned again, its ranges are forgotten; forgotten itself, it is gone.
    sink.record(LedgerEntry::Plan(unit)).await.unwrap();
    assert_eq!(green.rows("SELECT count(*) FROM understudy.chunks_done").await, "0");
    sink.record(LedgerEntry::Forget(UNIT)).await.unwrap();
    assert_eq!(green.rows("SELECT count(*) FROM understudy.units").await, "0");
}

/// Rows that streamed before their chunk was placed are overwritten: the chunk is the truth at its place.
#[tokio::test]
async fn a_chunk_overwrites_rows_that_are_there() {
    let Some((mut green, mut sink)) = copying("chunks_over").await else {
        return;
    };
    let batch = green.batch(vec![each(50..150, |n| insert(0, &[n, "stale", "1"]))]);
    sink.apply(batch).await.unwrap();
    for (id, numbers) in [(1, 0..100), (2, 100..200)] {
        sink.place(chunk(&green, id, lines(numbers))).await.unwrap();
        assert_eq!(sink.placed().await.unwrap().rows, 100);
    }
    assert_eq!(green.rows("SELECT count(*) FROM public.items WHERE name = E'read\\t' || id").await, "200");
}

/// A chunk takes effect before any later change to its route; other routes do not wait for it.
#[tokio::test]
async fn later_changes_to_its_route_wait_for_a_chunk() {
    let Some((mut green, mut sink)) = copying("chunks_order").await else {
        return;
    };
    green.admin.batch("BEGIN; LOCK TABLE public.items IN ACCESS EXCLUSIVE MODE").await.unwrap();
    sink.place(chunk(&green, 1, lines(0..10))).await.unwrap();
    let other = green.batch(vec![vec![insert(1, &["1"])]]);
    sink.apply(other).await.unwrap();
    let batch = green.batch(vec![vec![update(0, &["5", "newer", "5"]), delete(0, "6")]]);
    {
        let mut apply = std::pin::pin!(sink.apply(batch));
        let early = tokio::time::timeout(std::time::Duration::from_millis(200), &mut apply).await;
        assert!(early.is_err(), "the change must wait for the chunk");
        let open = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%' AND application_name LIKE '%/apply/%'";
        assert_eq!(green.rows(open).await, "0", "nothing is held open while waiting");
        green.admin.batch("ROLLBACK").await.unwrap();
        assert_eq!(apply.await.unwrap(), Applied::default());
    }
    assert_eq!(sink.placed().await.unwrap().rows, 10);
    assert_eq!(green.rows("SELECT name FROM public.items WHERE id IN (5, 6)").await, "newer");
}

/// F24: a row that is read again by key may be in the chunk of a copy too. Were both written at the same time, a unique index
/// other than the key's could refuse one of them. Copies themselves are written beside each other.
#[tokio::test]
async fn chunks_that_may_hold_the_same_row_wait_for_each_other() {
    let Some((mut green, mut sink)) = copying("chunks_meet").await else {
        return;
    };
    for (id, heals_first) in [(1, true), (5, false)] {
        let healing = green.chunk(id, 0, heal(&["5"]), lines(5..6));
        let copied = chunk(&green, id + 1, lines(0..10));
        let (first, second) = if heals_first { (healing, copied) } else { (copied, healing) };
        green.admin.batch("BEGIN; LOCK TABLE public.items IN ACCESS EXCLUSIVE MODE").await.unwrap();
        sink.place(first).await.unwrap();
        {
            let mut place = std::pin::pin!(sink.place(second));
            let early = tokio::time::timeout(std::time::Duration::from_millis(200), &mut place).await;
            assert!(early.is_err(), "the second chunk must wait for the first");
            green.admin.batch("ROLLBACK").await.unwrap();
            place.await.unwrap();
        }
        sink.placed().await.unwrap();
        sink.placed().await.unwrap();
    }
    assert_eq!(green.rows("SELECT count(*) FROM public.items").await, "10");
}

#[tokio::test]
async fn a_healed_row_is_settled_with_its_chunk() {
    let Some((mut green, mut sink)) = copying("chunks_heal").await else {
        return;
    };
    let batch = green.batch(vec![vec![
        update(0, &["1", "part", crate::green::UNSENT]),
        update(0, &["2", "part", crate::green::UNSENT]),
    ]]);
    assert_eq!(sink.apply(batch).await.unwrap().heals.len(), 2);
    let rows = vec![row(&["1", "whole", "1"])];
    sink.place(green.chunk(9, 0, heal(&["1", "2"]), rows)).await.unwrap();
    assert_eq!(sink.placed().await.unwrap().rows, 1);
    assert_eq!(green.rows("SELECT concat(id, name, n) FROM public.items").await, "1whole1");
    assert_eq!(green.rows("SELECT count(*) FROM understudy.heals").await, "0");
}

/// A chunk with a row that green refuses leaves nothing behind, or sets only that row aside.
#[tokio::test]
async fn refused_rows_of_a_chunk_stop_it_or_are_set_aside() {
    let Some((mut green, mut sink)) = copying("chunks_refused").await else {
        return;
    };
    let rows = || [lines(0..20), vec![row(&["20", "bad", "4711"])]].concat();
    sink.place(chunk(&green, 1, rows())).await.unwrap();
    let failure = sink.placed().await.unwrap_err();
    assert_eq!(failure.class(), Class::Data);
    assert!(
        failure.to_string().contains("write rows of public.items_blue to public.items")
            && !failure.to_string().contains("4711")
    );
    assert_eq!(green.rows("SELECT count(*) FROM public.items").await, "0");
    assert_eq!(green.rows("SELECT count(*) FROM understudy.chunks_done").await, "0");
    let mut settings = green.settings();
    settings.on_error = OnError::Quarantine;
    let mut sink = PostgresSink::connect(&green.options, settings, tables()).await.unwrap();
    sink.claim().await.unwrap();
    sink.place(chunk(&green, 2, rows())).await.unwrap();
    assert_eq!(sink.placed().await.unwrap().rows, 20);
    assert_eq!(green.rows("SELECT key[1] || sqlstate FROM understudy.quarantine").await, "2023514");
    let later = green.batch(vec![vec![update(0, &["20", "good", "1"])]]);
    assert_eq!(sink.apply(later).await.unwrap().quarantined, 1);
}

/// A deferred constraint is dealt with like any other, not by a commit that fails: a clean stop that says what to do,
/// or only the rows in question set aside.
#[tokio::test]
async fn rows_of_a_chunk_that_a_deferred_constraint_refuses_are_treated_alike() {
    let sql = "CREATE TABLE others (id int PRIMARY KEY); INSERT INTO others VALUES (7); \
        CREATE TABLE items (id int PRIMARY KEY, name text, n int REFERENCES others DEFERRABLE INITIALLY DEFERRED)";
    let Some(mut green) = Green::with("chunks_deferred", sql).await else {
        return;
    };
    let mut settings = green.settings();
    settings.replica_role = ReplicaRole::Never;
    let mut sink = green.sink_with(settings.clone(), tables(), false).await;
    sink.record(LedgerEntry::Plan(unit(0))).await.unwrap();
    let rows = || vec![row(&["1", "child", "7"]), row(&["2", "orphan", "8"]), row(&["3", "free", "NULL"])];
    sink.place(chunk(&green, 1, rows())).await.unwrap();
    let failure = sink.placed().await.unwrap_err();
    assert_eq!(failure.class(), Class::Data);
    assert!(
        failure.to_string().contains("public.items") && failure.to_string().contains("23503"),
        "{failure}"
    );
    assert!(failure.remedy_text().unwrap().contains("on_error: quarantine"));
    settings.on_error = OnError::Quarantine;
    let mut sink = PostgresSink::connect(&green.options, settings, tables()).await.unwrap();
    sink.claim().await.unwrap();
    sink.place(chunk(&green, 2, rows())).await.unwrap();
    assert_eq!(sink.placed().await.unwrap().rows, 2);
    assert_eq!(green.rows("SELECT id FROM public.items ORDER BY 1").await, "1\n3");
    assert_eq!(green.rows("SELECT key[1] || sqlstate FROM understudy.quarantine").await, "223503");
}

/// A constraint below a view is not known beforehand: the commit that it refuses still says what to do.
#[tokio::test]
async fn a_refused_commit_of_a_chunk_has_a_remedy() {
    let sql = "CREATE TABLE others (id int PRIMARY KEY); CREATE TABLE below (id int PRIMARY KEY, name text, n int); \
        CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$; \
        CREATE CONSTRAINT TRIGGER late AFTER INSERT ON below DEFERRABLE INITIALLY DEFERRED \
        FOR EACH ROW EXECUTE FUNCTION no(); ALTER TABLE below ENABLE ALWAYS TRIGGER late; \
        CREATE VIEW items AS SELECT * FROM below";
    let Some(mut green) = Green::with("chunks_commit", sql).await else {
        return;
    };
    let settings = green.settings();
    let mut sink = green.sink_with(settings, tables(), false).await;
    sink.record(LedgerEntry::Plan(unit(0))).await.unwrap();
    sink.place(chunk(&green, 1, lines(0..3))).await.unwrap();
    let failure = sink.placed().await.unwrap_err();
    assert!(failure.to_string().contains("to public.items: commit"), "{failure}");
    assert!(failure.remedy_text().unwrap().contains("make green hold what the constraint asks for"));
}

/// A row that cannot be named cannot be set aside: the table and the remedy are told.
#[tokio::test]
async fn a_row_without_a_key_names_its_table_and_the_remedy() {
    let Some(mut green) = Green::with("chunks_nameless", SQL).await else {
        return;
    };
    let mut settings = green.settings();
    settings.on_error = OnError::Quarantine;
    let mut sink = green.sink_with(settings, tables(), false).await;
    sink.record(LedgerEntry::Plan(unit(0))).await.unwrap();
    sink.place(chunk(&green, 1, vec![row(&["NULL", "x", "1"])])).await.unwrap();
    let failure = sink.placed().await.unwrap_err();
    assert!(
        failure.to_string().contains("a row for public.items has a key column that is null"),
        "{failure}"
    );
    assert!(failure.remedy_text().unwrap().contains("replica identity"));
}

#[tokio::test]
async fn a_chunk_out_of_place_is_a_defect() {
    let Some((mut green, mut sink)) = copying("chunks_place").await else {
        return;
    };
    let early = chunk(&green, 1, lines(0..1));
    let batch = green.batch(vec![vec![]]);
    sink.apply(batch).await.unwrap();
    assert_eq!(sink.place(early).await.unwrap_err().class(), Class::Internal);
}

/// `placed` waits for ever while nothing is being written, and loses nothing when it is dropped.
#[tokio::test]
async fn waiting_for_a_chunk_is_cancel_safe() {
    let Some((mut green, mut sink)) = copying("chunks_cancel").await else {
        return;
    };
    let short = std::time::Duration::from_millis(1);
    assert!(tokio::time::timeout(short, sink.placed()).await.is_err());
    green.admin.batch("BEGIN; LOCK TABLE public.items IN ACCESS EXCLUSIVE MODE").await.unwrap();
    sink.place(chunk(&green, 1, lines(0..10))).await.unwrap();
    for _ in 0..20 {
        assert!(tokio::time::timeout(short, sink.placed()).await.is_err());
    }
    green.admin.batch("ROLLBACK").await.unwrap();
    assert_eq!(sink.placed().await.unwrap().rows, 10);
    assert_eq!(green.rows("SELECT count(*) FROM understudy.chunks_done").await, "1");
}
