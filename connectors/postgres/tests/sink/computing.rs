//! Rows whose values cannot be computed: a clean stop that names them without a value of theirs, or quarantine.

use understudy_contract::{Applied, ChangeSink, Class, GreenTable, LedgerEntry, PlacedKind};
use understudy_model::{BlockRange, Ctid, RouteId, RowChange, UnitId};
use understudy_postgres::sink::{LaneBooks, OnError, PostgresSink, lane_name};

use crate::green::{
    Green, delete, each, heal, insert, key, refusal, reread, row, table, uncomputed, unit, update,
};

const SQL: &str = "CREATE TABLE items (id int PRIMARY KEY, name text)";
const SHOW: &str = "SELECT string_agg(id || name, ' ' ORDER BY id) FROM public.items";
const ASIDE: &str = "SELECT concat_ws('|', key[1], ordinal, sqlstate, reason) FROM understudy.quarantine WHERE NOT settled ORDER BY id";
const REASON: &str = "22012|the expression of column `name` fails: division by zero (SQLSTATE 22012)";
const EARLIER: &str = "an earlier change to this row was set aside";

fn tables() -> Vec<GreenTable> {
    vec![table(0, "items", &["id", "name"])]
}

async fn quarantining(green: &mut Green, complete: bool) -> PostgresSink {
    let mut settings = green.settings();
    settings.on_error = OnError::Quarantine;
    green.sink_with(settings, tables(), complete).await
}

/// Everything that an operator is told, and nothing of the row.
async fn is_told(green: &mut Green, text: &str, remedy: Option<&str>) {
    let hash = "SELECT left(encode(sha256(convert_to('471123', 'UTF8')), 'hex'), 16)";
    let hash = green.rows(hash).await;
    for part in ["public.items", "`name`", "division by zero", "22012", hash.as_str()] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("471123"), "{text}");
    let remedy = remedy.unwrap();
    assert!(
        remedy.contains("correct the expression in the migration file")
            && remedy.contains("`on_error: quarantine`"),
        "{remedy}"
    );
}

/// F26, promises 2 and 8: replication stops before the transaction of the row, those before it are committed, and the row is
/// named by table, column, SQLSTATE, place and the hash of its key.
#[tokio::test]
async fn a_row_that_cannot_be_computed_stops_cleanly_before_its_transaction() {
    for many in [0, 100] {
        let Some(mut green) = Green::with(&format!("uncomputed_{many}"), SQL).await else { return };
        let mut sink = green.sink(tables()).await;
        let batch = green.batch(vec![
            each(1000..1000 + many, |n| insert(0, &[n, "x"])),
            vec![insert(0, &["1", "one"])],
            vec![insert(0, &["2", "two"]), uncomputed(0, None, "471123")],
            vec![insert(0, &["3", "three"])],
        ]);
        let (before, refused) = (batch.commits[1].checkpoint, batch.commits[2].position.commit);
        let failure = sink.apply(batch).await.unwrap_err();
        assert_eq!(failure.class(), Class::Data);
        let position = failure.position().unwrap();
        assert_eq!((position.commit, position.ordinal), (refused, 1));
        is_told(&mut green, &failure.to_string(), failure.remedy_text()).await;
        assert_eq!(green.rows("SELECT count(*) FROM public.items").await, (many + 1).to_string());
        let mut again = PostgresSink::connect(&green.options, green.settings(), tables()).await.unwrap();
        assert_eq!(again.claim().await.unwrap().unwrap().checkpoint, before);
    }
}

/// F26: with quarantine it is set aside with its reason under all of its keys, and so is what follows it; what green holds
/// of it stays.
#[tokio::test]
async fn rows_that_cannot_be_computed_are_set_aside_with_what_follows_them() {
    for many in [0, 100] {
        let Some(mut green) = Green::with(&format!("uncomputed_aside_{many}"), SQL).await else { return };
        let mut sink = quarantining(&mut green, true).await;
        let batch = green.batch(vec![
            each(1000..1000 + many, |n| insert(0, &[n, "x"])),
            vec![insert(0, &["1", "one"]), insert(0, &["2", "two"])],
            vec![uncomputed(0, None, "1"), uncomputed(0, Some("5"), "6"), update(0, &["2", "changed"])],
            vec![update(0, &["1", "later"]), delete(0, "6"), uncomputed(0, None, "5")],
            each(1000..1000 + many, |n| delete(0, n)),
        ]);
        assert_eq!(sink.apply(batch).await.unwrap(), Applied { quarantined: 5, ..Applied::default() });
        assert_eq!(green.rows(SHOW).await, "1one 2changed");
        let wanted =
            format!("1|0|{REASON}\n5|1|{REASON}\n6|1|{EARLIER}\n1|0|{EARLIER}\n6|1|{EARLIER}\n5|2|{EARLIER}");
        assert_eq!(green.rows(ASIDE).await, wanted);
        let next = green.batch(vec![vec![update(0, &["1", "later"]), insert(0, &["3", "three"])]]);
        assert_eq!(sink.apply(next).await.unwrap(), Applied { quarantined: 1, ..Applied::default() });
        assert_eq!(green.rows(SHOW).await, "1one 2changed 3three");
    }
}

/// The same for rows that were read: nothing of the chunk, or all but them, together with its progress; a heal of such a
/// row is not settled.
#[tokio::test]
async fn read_rows_that_cannot_be_computed_stop_their_chunk_or_are_set_aside() {
    let Some(mut green) = Green::with("uncomputed_chunk", SQL).await else { return };
    let settings = green.settings();
    let mut sink = green.sink_with(settings, tables(), false).await;
    sink.record(LedgerEntry::Plan(unit(0))).await.unwrap();
    let range = BlockRange { from: Ctid::start_of(0), to: Ctid::start_of(1) };
    let copy = PlacedKind::Copy { unit: UnitId::new(4_000_000_000, RouteId(0)), range };
    let mut chunk = green.chunk(1, 0, copy, vec![row(&["1", "one"])]);
    chunk.refused = vec![(key(&["471123"]), refusal())];
    sink.place(chunk.clone()).await.unwrap();
    let failure = sink.placed().await.unwrap_err();
    assert_eq!(failure.class(), Class::Data);
    is_told(&mut green, &failure.to_string(), failure.remedy_text()).await;
    assert_eq!(green.rows("SELECT count(*) FROM public.items").await, "0");
    assert_eq!(green.rows("SELECT count(*) FROM understudy.chunks_done").await, "0");

    let mut settings = green.settings();
    settings.on_error = OnError::Quarantine;
    let mut sink = PostgresSink::connect(&green.options, settings, tables()).await.unwrap();
    sink.claim().await.unwrap();
    let heals = green.batch(vec![vec![reread(0, "1", "1"), reread(0, "2", "2")]]);
    sink.apply(heals).await.unwrap();
    chunk.at = green.at();
    sink.place(chunk).await.unwrap();
    assert_eq!(sink.placed().await.unwrap().rows, 1);
    assert_eq!(green.rows(SHOW).await, "1one");
    assert_eq!(green.rows(ASIDE).await, format!("471123|0|{REASON}"));
    assert_eq!(green.rows("SELECT rows FROM understudy.chunks_done").await, "1");

    let mut chunk = green.chunk(2, 0, heal(&["1", "2"]), vec![row(&["1", "whole"])]);
    chunk.refused = vec![(key(&["2"]), refusal())];
    sink.place(chunk).await.unwrap();
    assert_eq!(sink.placed().await.unwrap().rows, 1);
    assert_eq!(green.rows("SELECT key[1] FROM understudy.heals").await, "2");
    // It is read again when it changes again, and with the next instance.
    let again = green.batch(vec![vec![reread(0, "2", "2")]]);
    assert_eq!(sink.apply(again).await.unwrap().heals.len(), 1);
    let later = green.batch(vec![vec![insert(0, &["2", "two"]), update(0, &["471123", "later"])]]);
    assert_eq!(sink.apply(later).await.unwrap(), Applied { quarantined: 2, ..Applied::default() });
    assert_eq!(green.rows(SHOW).await, "1whole");
}

/// Promise 2: a new copy takes what was set aside with it. What green had of such rows goes first, since blue may have removed
/// them meanwhile, and what follows is applied again.
#[tokio::test]
async fn a_new_copy_settles_what_was_set_aside() {
    let Some(mut green) = Green::with("copied_anew", SQL).await else { return };
    let mut sink = quarantining(&mut green, true).await;
    let batch = green.batch(vec![
        vec![insert(0, &["1", "one"]), insert(0, &["2", "two"]), insert(0, &["3", "three"])],
        vec![uncomputed(0, None, "1"), uncomputed(0, None, "2")],
        vec![delete(0, "1")],
    ]);
    sink.apply(batch).await.unwrap();
    assert_eq!(sink.aside(), 2);
    sink.start_again(RouteId(0)).await.unwrap();
    assert_eq!(sink.aside(), 0);
    assert_eq!((green.rows(SHOW).await.as_str(), green.rows(ASIDE).await.as_str()), ("3three", ""));
    let batch = green.batch(vec![vec![update(0, &["2", "again"])]]);
    let applied = sink.apply(batch).await.unwrap();
    assert_eq!((applied.quarantined, applied.mismatches), (0, 0));
    assert_eq!(green.rows(SHOW).await, "2again 3three");
}

/// Promise 2: what is set aside while the new copy is under way, from changes that the copy is newer than, goes with the chunk
/// that holds the row: nobody would look at it again.
#[tokio::test]
async fn a_copy_settles_what_was_set_aside_before_its_rows_were_read() {
    let Some(mut green) = Green::with("aside_in_copy", SQL).await else { return };
    let mut sink = quarantining(&mut green, false).await;
    let unit = unit(0);
    let copy = |from, to| {
        let range = BlockRange { from: Ctid::start_of(from), to: Ctid::start_of(to) };
        PlacedKind::Copy { unit: UnitId::new(4_000_000_000, RouteId(0)), range }
    };
    sink.record(LedgerEntry::Plan(unit)).await.unwrap();
    let before = green.batch(vec![
        vec![uncomputed(0, None, "1"), uncomputed(0, None, "2"), uncomputed(0, None, "3")],
        vec![update(0, &["1", "later"])],
    ]);
    assert_eq!(sink.apply(before).await.unwrap().quarantined, 4);
    let mut chunk = green.chunk(1, 0, copy(0, 1), vec![row(&["1", "copied"])]);
    chunk.refused = vec![(key(&["2"]), refusal())];
    sink.place(chunk).await.unwrap();
    assert_eq!(sink.placed().await.unwrap().rows, 1);
    let wanted = format!("2|1|{REASON}\n3|2|{REASON}\n2|0|{REASON}");
    assert_eq!(green.rows(ASIDE).await, wanted, "what the chunk does not write stays aside");
    assert_eq!(sink.aside(), 2);
    let after = green.batch(vec![vec![update(0, &["1", "after"]), update(0, &["2", "after"])]]);
    assert_eq!(sink.apply(after).await.unwrap().quarantined, 1);
    assert_eq!(green.rows(SHOW).await, "1after");
}

/// Promise 2: with lanes the first one empties tables for all. What another had set aside for them is settled with that, and a row
/// that comes anew under such a key is written: it would be set aside for ever, for the sake of a row that is gone. Promise 3: over
/// all lanes a row counts once, and no longer once it is settled, or the gate would be held for nothing.
#[tokio::test]
async fn the_lane_that_empties_a_table_settles_what_others_had_set_aside() {
    let Some(mut green) = Green::with("aside_in_lanes", SQL).await else { return };
    let lane = |green: &Green, number: u32| {
        let mut settings = green.settings();
        settings.migration = lane_name(&settings.migration, number);
        (settings.on_error, settings.laned) = (OnError::Quarantine, true);
        settings
    };
    let (settings, other) = (lane(&green, 0), lane(&green, 1));
    let mut first = green.sink_with(settings, tables(), true).await;
    let mut second = green.sink_with(other, tables(), true).await;
    let mut books = LaneBooks::new(&green.options, green.settings().migration);
    let batch = green.batch(vec![
        vec![uncomputed(0, None, "1"), insert(0, &["2", "two"])],
        vec![update(0, &["1", "later"])],
    ]);
    assert_eq!(second.apply(batch).await.unwrap().quarantined, 2);
    assert_eq!(books.look().await.unwrap().unwrap().aside, 1);
    let batch = green.batch(vec![vec![uncomputed(0, Some("1"), "3")]]);
    assert_eq!(first.apply(batch).await.unwrap().quarantined, 1);
    assert_eq!(books.look().await.unwrap().unwrap().aside, 2);
    let emptied = green.batch(vec![vec![RowChange::Truncate { routes: vec![RouteId(0)] }]]);
    first.apply(emptied).await.unwrap();
    assert_eq!(books.look().await.unwrap().unwrap().aside, 0);
    assert_eq!(green.rows("SELECT count(*) FROM understudy.quarantine WHERE NOT settled").await, "0");
    let anew = green.batch(vec![vec![insert(0, &["1", "anew"])]]);
    assert_eq!(second.apply(anew).await.unwrap(), Applied::default());
    assert_eq!(green.rows(SHOW).await, "1anew");
}
