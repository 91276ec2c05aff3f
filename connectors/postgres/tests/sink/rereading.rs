//! Rows of which too little was sent to tell what they are on green: written down in their order, and read again.

use understudy_contract::{Applied, ChangeSink, Class, PlacedKind};
use understudy_model::{HealKey, RouteId, RowChange};
use understudy_postgres::sink::{OnError, PostgresSink, ReplicaRole};

use crate::green::{
    Green, UNSENT, delete, each, heal, heal_key, insert, put_rekey, reread, row, table, update,
};

const SQL: &str =
    "CREATE TABLE items (id int PRIMARY KEY, name text, n int CONSTRAINT small CHECK (n < 100))";
const COLUMNS: [&str; 3] = ["id", "name", "n"];
const WAITING: &str =
    "SELECT string_agg(key[1] || '/' || blue_key[1], ' ' ORDER BY commit_lsn, ordinal) FROM understudy.heals";

fn heals(keys: &[(&str, &str)]) -> Vec<(RouteId, HealKey)> {
    keys.iter().map(|(green, blue)| (RouteId(0), heal_key(green, blue))).collect()
}

/// Promise 1: in every form the row is reported and recorded once, in the order of the changes, and green is left alone;
/// another row of blue that takes the same key is read on its own; a row that moves on is followed.
#[tokio::test]
async fn rows_to_be_read_again_are_reported_once_and_in_order() {
    for (form, many, extra) in [("few", 0, 0), ("many", 100, 0), ("one_by_one", 0, 1)] {
        let Some(mut green) = Green::with(&format!("reread_{form}"), SQL).await else { return };
        let mut sink = green.sink(vec![table(0, "items", &COLUMNS)]).await;
        let first = green.batch(vec![each(0..5, |n| insert(0, &[n, "old", "1"]))]);
        sink.apply(first).await.unwrap();
        let batch = green.batch(vec![
            each(1000..1000 + many, |n| insert(0, &[n, "x", "1"])),
            vec![reread(0, "3", "b3"), reread(0, "1", "b1"), reread(0, "3", "b3")],
            vec![reread(0, "9", "b9"), reread(0, "3", "other"), update(0, &["2", "new", "2"])],
            vec![put_rekey(0, "1", &["20", "moved", UNSENT])],
            each(0..extra, |_| delete(0, "7777")),
            each(1000..1000 + many, |n| delete(0, n)),
        ]);
        let applied = sink.apply(batch).await.unwrap();
        let wanted = heals(&[("3", "b3"), ("1", "b1"), ("9", "b9"), ("3", "other"), ("20", "20")]);
        assert_eq!((applied.heals, applied.mismatches), (wanted, extra.into()), "{form}");
        assert_eq!(green.rows(WAITING).await, "3/b3 1/b1 9/b9 3/other 20/20", "{form}");
        let show = "SELECT string_agg(id || name, ' ' ORDER BY id) FROM public.items";
        assert_eq!(green.rows(show).await, "0old 2new 3old 4old 20moved", "{form}");

        // Inside a transaction that goes on, and after a restart, they are still known.
        let part = green.part(vec![reread(0, "9", "b9"), reread(0, "4", "b4")]);
        assert_eq!(sink.apply(part).await.unwrap().heals, heals(&[("4", "b4")]), "{form}");
        let end = green.batch(vec![vec![reread(0, "4", "b4")]]);
        assert_eq!(sink.apply(end).await.unwrap(), Applied::default(), "{form}");
        drop(sink);
        let tables = vec![table(0, "items", &COLUMNS)];
        let mut sink = PostgresSink::connect(&green.options, green.settings(), tables).await.unwrap();
        assert_eq!(sink.claim().await.unwrap().unwrap().heals.len(), 6);

        // Only the row that was read is settled.
        let kind = PlacedKind::Heal { keys: vec![heal_key("3", "b3")] };
        sink.place(green.chunk(1, 0, kind, vec![row(&["3", "whole", "3"])])).await.unwrap();
        let next = green.batch(vec![vec![reread(0, "3", "b3"), reread(0, "3", "other")]]);
        assert_eq!(sink.apply(next).await.unwrap().heals, heals(&[("3", "b3")]), "{form}");
        assert_eq!(green.rows("SELECT name FROM public.items WHERE id = 3").await, "whole");
    }
}

/// Promise 1: when green refuses at the commit and everything is applied once more, they are recorded once more too.
#[tokio::test]
async fn rows_to_be_read_again_outlive_a_commit_that_green_refuses() {
    let sql = "CREATE TABLE parents (id int PRIMARY KEY); CREATE TABLE items (id int PRIMARY KEY, name text, \
        n int REFERENCES parents DEFERRABLE INITIALLY DEFERRED)";
    let Some(mut green) = Green::with("reread_refused", sql).await else { return };
    let mut settings = green.settings();
    settings.replica_role = ReplicaRole::Never;
    let mut sink = green.sink_with(settings, vec![table(0, "items", &COLUMNS)], true).await;
    let batch = green.batch(vec![vec![reread(0, "1", "b1")], vec![insert(0, &["2", "orphan", "8"])]]);
    assert_eq!(sink.apply(batch).await.unwrap_err().class(), Class::Data);
    assert_eq!(green.rows(WAITING).await, "1/b1");
}

/// Promise 3: a row that was set aside is read again all the same, and written whole with that: it is set aside no more.
#[tokio::test]
async fn a_row_that_was_set_aside_is_mended_by_reading_it_again() {
    let Some(mut green) = Green::with("reread_aside", SQL).await else { return };
    let mut settings = green.settings();
    settings.on_error = OnError::Quarantine;
    let mut sink = green.sink_with(settings, vec![table(0, "items", &COLUMNS)], true).await;
    let batch = green.batch(vec![
        vec![insert(0, &["1", "bad", "4711"]), insert(0, &["2", "bad", "4711"])],
        vec![reread(0, "1", "1"), reread(0, "2", "2")],
    ]);
    let applied = sink.apply(batch).await.unwrap();
    assert_eq!((applied.quarantined, applied.heals), (2, heals(&[("1", "1"), ("2", "2")])));
    let mut chunk = green.chunk(1, 0, heal(&["1", "2"]), vec![row(&["1", "whole", "1"])]);
    chunk.left_out = vec![heal_key("2", "2").green];
    sink.place(chunk).await.unwrap();
    sink.placed().await.unwrap();
    assert_eq!(green.rows("SELECT count(*) FROM understudy.quarantine WHERE NOT settled").await, "0");
    let changes: Vec<RowChange> = vec![update(0, &["1", "fine", "1"]), insert(0, &["2", "anew", "1"])];
    let later = green.batch(vec![changes]);
    assert_eq!(sink.apply(later).await.unwrap(), Applied::default());
    let show = "SELECT string_agg(name, ' ' ORDER BY id) FROM public.items";
    assert_eq!(green.rows(show).await, "fine anew");
}
