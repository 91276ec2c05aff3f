//! Rows that blue has and the condition of their route leaves out: removed with the chunk that read them.

use understudy_contract::{ChangeSink, Class, GreenTable, LedgerEntry, PlacedChunk, PlacedKind};
use understudy_model::{BlockRange, Ctid, RouteId, UnitId};
use understudy_postgres::sink::{OnError, PostgresSink, ReplicaRole};

use crate::green::{Green, each, heal, insert, key, reread, row, table, unit};

const SQL: &str = "CREATE TABLE items (id int PRIMARY KEY, name text, n int CHECK (n < 1000)); \
    CREATE TABLE children (id int PRIMARY KEY, item int REFERENCES items ON DELETE RESTRICT)";
const SHOW: &str = "SELECT string_agg(id || name, ' ' ORDER BY id) FROM public.items";

fn tables() -> Vec<GreenTable> {
    vec![GreenTable { filtered: true, ..table(0, "items", &["id", "name", "n"]) }]
}

/// Rows 0 to 5, whose route is complete.
async fn filled(name: &str, role: ReplicaRole, on_error: OnError) -> Option<(Green, PostgresSink)> {
    let mut green = Green::with(name, SQL).await?;
    let mut settings = green.settings();
    (settings.replica_role, settings.on_error) = (role, on_error);
    let mut sink = green.sink_with(settings, tables(), true).await;
    let batch = green.batch(vec![each(0..6, |n| insert(0, &[n, "old", "1"]))]);
    sink.apply(batch).await.unwrap();
    Some((green, sink))
}

fn leaving(mut chunk: PlacedChunk, keys: &[&str]) -> PlacedChunk {
    chunk.left_out = keys.iter().map(|text| key(&[text])).collect();
    chunk
}

fn copy(green: &Green, id: u64) -> PlacedChunk {
    let range = BlockRange { from: Ctid::start_of(id as u32), to: Ctid::start_of(id as u32 + 1) };
    let kind = PlacedKind::Copy { unit: UnitId::new(4_000_000_000, RouteId(0)), range };
    green.chunk(id, 0, kind, vec![row(&["1", "read", "1"])])
}

/// Promise 1: a heal removes them, whether they are there or not, settles them, and takes no row away that it brings.
#[tokio::test]
async fn a_heal_removes_rows_that_are_left_out() {
    let Some((mut green, mut sink)) = filled("leave_heal", ReplicaRole::Auto, OnError::Stop).await else {
        return;
    };
    let batch = green.batch(vec![["1", "2", "3", "70"].map(|id| reread(0, id, id)).to_vec()]);
    sink.apply(batch).await.unwrap();
    let chunk = green.chunk(1, 0, heal(&["1", "2", "3", "70"]), vec![row(&["3", "whole", "3"])]);
    sink.place(leaving(chunk, &["1", "2", "3", "70"])).await.unwrap();
    assert_eq!(sink.placed().await.unwrap().rows, 1);
    assert_eq!(green.rows(SHOW).await, "0old 3whole 4old 5old");
    assert_eq!(green.rows("SELECT count(*) FROM understudy.heals").await, "0");
    // Without a row to write too.
    let chunk = leaving(green.chunk(2, 0, heal(&["4"]), Vec::new()), &["4"]);
    sink.place(chunk).await.unwrap();
    assert_eq!(sink.placed().await.unwrap().rows, 0);
    assert_eq!(green.rows(SHOW).await, "0old 3whole 5old");
}

/// A copy over rows that were there removes them; a first copy has nothing to look for.
#[tokio::test]
async fn a_copy_removes_rows_that_are_left_out_where_rows_were_before() {
    let Some((mut green, mut sink)) = filled("leave_renewed", ReplicaRole::Auto, OnError::Stop).await else {
        return;
    };
    sink.record(LedgerEntry::Plan(unit(0))).await.unwrap();
    sink.place(leaving(copy(&green, 1), &["2", "70"])).await.unwrap();
    assert_eq!(sink.placed().await.unwrap().rows, 1);
    assert_eq!(green.rows(SHOW).await, "0old 1read 3old 4old 5old");
    assert_eq!(green.rows("SELECT rows FROM understudy.chunks_done").await, "1");

    let Some(mut green) = Green::with("leave_first", SQL).await else { return };
    let settings = green.settings();
    let mut sink = green.sink_with(settings, tables(), false).await;
    sink.record(LedgerEntry::Plan(unit(0))).await.unwrap();
    green.admin.batch("INSERT INTO public.items VALUES (2, 'late', 1)").await.unwrap();
    sink.place(leaving(copy(&green, 1), &["2"])).await.unwrap();
    sink.placed().await.unwrap();
    assert_eq!(green.rows(SHOW).await, "1read 2late");
}

/// F26: a row that green does not let go stops the chunk, or is set aside while everything else of the chunk is done; so it
/// is when green refuses a row beside it.
#[tokio::test]
async fn rows_that_green_does_not_let_go_are_set_aside() {
    for (n, on_error) in [OnError::Stop, OnError::Quarantine].into_iter().enumerate() {
        let name = format!("leave_kept_{n}");
        let Some((mut green, mut sink)) = filled(&name, ReplicaRole::Never, on_error).await else { return };
        green.admin.batch("INSERT INTO public.children VALUES (1, 2)").await.unwrap();
        let batch = green.batch(vec![["1", "2", "3"].map(|id| reread(0, id, id)).to_vec()]);
        sink.apply(batch).await.unwrap();
        let rows = vec![row(&["3", "bad", "4711"]), row(&["5", "read", "5"])];
        let chunk = green.chunk(1, 0, heal(&["1", "2", "3", "5"]), rows);
        sink.place(leaving(chunk, &["1", "2"])).await.unwrap();
        if on_error == OnError::Stop {
            let failure = sink.placed().await.unwrap_err();
            assert_eq!(failure.class(), Class::Data);
            assert!(failure.remedy_text().unwrap().contains("on_error: quarantine"));
            assert_eq!(green.rows(SHOW).await, "0old 1old 2old 3old 4old 5old");
            continue;
        }
        assert_eq!(sink.placed().await.unwrap().rows, 1);
        assert_eq!(green.rows(SHOW).await, "0old 2old 3old 4old 5read");
        let aside =
            "SELECT string_agg(key[1] || '/' || sqlstate, ' ' ORDER BY id) FROM understudy.quarantine";
        assert_eq!(green.rows(aside).await, "2/23503 3/23514");
        let waiting = "SELECT string_agg(key[1], ' ' ORDER BY key[1]) FROM understudy.heals";
        assert_eq!(green.rows(waiting).await, "2 3");
    }
}
