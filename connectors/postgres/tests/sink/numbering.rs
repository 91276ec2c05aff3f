//! Columns that green numbers itself, GENERATED ALWAYS AS IDENTITY: exact in the key, refused outside of it.

use understudy_contract::{Applied, ChangeSink, Class, LedgerEntry, PlacedKind};
use understudy_model::{BlockRange, Ctid, RouteId, UnitId};
use understudy_postgres::sink::PostgresSink;

use crate::forms::same_in_every_form;
use crate::green::{Green, UNSENT, delete, each, insert, rekey, row, table, unit, update};

const KEYED: &str =
    "CREATE TABLE items (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, note text)";
const COLUMNS: [&str; 3] = ["id", "name", "note"];
const SHOW: &str = "SELECT concat_ws('|', id, name, note) FROM public.items ORDER BY id";

/// F22: new rows, changes, changed keys and deletes of such a key end the same, few and many.
#[tokio::test]
async fn a_key_that_green_numbers_takes_blues_values_in_every_form() {
    same_in_every_form("forms_identity", KEYED, false).await;
}

/// F22: while such a table is copied, its rows are written over those that are there, by the stream and by chunks, one
/// by one and in sets, and its keys change.
#[tokio::test]
async fn rows_with_a_key_that_green_numbers_are_written_over_others() {
    for many in [2, 200_u32] {
        let Some(mut green) = Green::with(&format!("numbered_over_{many}"), KEYED).await else {
            return;
        };
        let stale = format!(
            "INSERT INTO public.items OVERRIDING SYSTEM VALUE SELECT n, 'stale', 'stale' FROM generate_series(0, {}) n",
            2 * many - 1
        );
        green.admin.batch(&stale).await.unwrap();
        let settings = green.settings();
        let mut sink = green.sink_with(settings, vec![table(0, "items", &COLUMNS)], false).await;
        sink.record(LedgerEntry::Plan(unit(0))).await.unwrap();
        let range = BlockRange { from: Ctid::start_of(0), to: Ctid::start_of(1) };
        let kind = PlacedKind::Copy { unit: UnitId::new(4_000_000_000, RouteId(0)), range };
        let rows = (0..many).map(|n| row(&[&n.to_string(), "read", "read"])).collect();
        sink.place(green.chunk(1, 0, kind, rows)).await.unwrap();
        assert_eq!(sink.placed().await.unwrap().rows, u64::from(many));
        let streamed = green.batch(vec![each(many..2 * many, |n| insert(0, &[n, "new", "new"]))]);
        assert_eq!(sink.apply(streamed).await.unwrap(), Applied::default());
        let counts =
            "SELECT name || count(*) FROM public.items WHERE name = note GROUP BY name ORDER BY name";
        assert_eq!(green.rows(counts).await, format!("new{many}\nread{many}"));

        let changed = green.batch(vec![
            each(0..many, |n| update(0, &[n, "changed", "changed"])),
            vec![rekey(0, "0", &["9000", "moved", "moved"]), delete(0, "1")],
        ]);
        assert_eq!(sink.apply(changed).await.unwrap(), Applied::default());
        let rest = if many > 2 { format!("changed{}\n", many - 2) } else { String::new() };
        assert_eq!(green.rows(counts).await, format!("{rest}moved1\nnew{many}"));
        assert_eq!(green.rows("SELECT id FROM public.items WHERE name = 'moved'").await, "9000");
    }
}

/// Promise 2: a row that takes another key of that kind keeps what was not sent and what only green holds.
#[tokio::test]
async fn a_changed_key_that_green_numbers_keeps_the_rest_of_its_row() {
    let sql = format!("{KEYED}; ALTER TABLE items ADD own int DEFAULT 7");
    let Some(mut green) = Green::with("numbered_own", &sql).await else {
        return;
    };
    let mut sink = green.sink(vec![table(0, "items", &COLUMNS)]).await;
    let first = green.batch(vec![vec![insert(0, &["1", "one", "large"]), insert(0, &["2", "two", "large"])]]);
    assert_eq!(sink.apply(first).await.unwrap(), Applied::default());
    green.admin.batch("UPDATE public.items SET own = 8").await.unwrap();
    let moved = green.batch(vec![
        vec![rekey(0, "1", &["3", "moved", UNSENT])],
        vec![rekey(0, "2", &["9", "way", UNSENT]), rekey(0, "3", &["2", "swapped", UNSENT])],
    ]);
    assert_eq!(sink.apply(moved).await.unwrap(), Applied::default());
    let found = "SELECT concat_ws('|', id, name, note, own) FROM public.items ORDER BY id";
    assert_eq!(green.rows(found).await, "2|swapped|large|8\n9|way|large|8");
}

/// A row of which nothing can be set is counted all the same: a set of such changes is no mismatch, a missing row is.
#[tokio::test]
async fn updates_of_nothing_but_a_key_that_green_numbers_find_their_rows() {
    let Some(mut green) = Green::with("numbered_alone", KEYED).await else {
        return;
    };
    let mut sink = green.sink(vec![table(0, "items", &["id"])]).await;
    let (inserts, updates) = (each(0..200, |n| insert(0, &[n])), |range| each(range, |n| update(0, &[n])));
    for changes in [inserts, updates(0..3), updates(0..200)] {
        let batch = green.batch(vec![changes]);
        assert_eq!(sink.apply(batch).await.unwrap(), Applied::default());
    }
    // A set goes without savepoints: its rows are locked by the transaction that saved the checkpoint itself.
    let in_set = "SELECT count(*) FROM public.items AS i JOIN understudy.migration AS m ON i.xmax = m.xmin";
    assert_eq!(green.rows(in_set).await, "200");
    let missing = green.batch(vec![updates(100..201)]);
    assert_eq!(sink.apply(missing).await.unwrap(), Applied { mismatches: 1, ..Applied::default() });
    assert_eq!(green.rows("SELECT key[1] FROM understudy.mismatches").await, "200");
}

/// Promise 2: outside the key green would keep an old number and nobody would notice. Refused when the sink connects, so
/// also where green has been changed since preflight; mended as the remedy says, every form changes it.
#[tokio::test]
async fn a_column_outside_the_key_that_green_numbers_is_refused() {
    let sql = "CREATE TABLE items (id int PRIMARY KEY, name int GENERATED ALWAYS AS IDENTITY, note text)";
    let Some(mut green) = Green::with("numbered_outside", sql).await else {
        return;
    };
    let tables = || vec![table(0, "items", &COLUMNS)];
    let failure = PostgresSink::connect(&green.options, green.settings(), tables()).await.err().unwrap();
    assert_eq!(failure.class(), Class::Configuration);
    let cause =
        "public.items on green lets nobody set its column \"name\": it is GENERATED ALWAYS AS IDENTITY";
    assert!(failure.to_string().contains(cause), "{failure}");
    let mend = "ALTER TABLE \"public\".\"items\" ALTER COLUMN \"name\" SET GENERATED BY DEFAULT";
    let undo = "ALTER TABLE \"public\".\"items\" ALTER COLUMN \"name\" SET GENERATED ALWAYS";
    assert_eq!(failure.remedy_text(), Some(format!("{mend}; after the flip {undo}").as_str()));

    green.admin.batch(mend).await.unwrap();
    green.admin.batch("INSERT INTO public.items VALUES (1, 10, 'stale')").await.unwrap();
    let settings = green.settings();
    let mut sink = green.sink_with(settings, tables(), false).await;
    let over = green.batch(vec![vec![insert(0, &["1", "11", "a"])]]);
    assert_eq!(sink.apply(over).await.unwrap(), Applied::default());
    assert_eq!(green.rows(SHOW).await, "1|11|a");
    sink.record(LedgerEntry::Complete(RouteId(0))).await.unwrap();
    let changed = green.batch(vec![vec![update(0, &["1", "12", UNSENT])]]);
    assert_eq!(sink.apply(changed).await.unwrap(), Applied::default());
    assert_eq!(green.rows(SHOW).await, "1|12|a");

    // Green's own number for a column that no route fills is of no concern.
    green.admin.batch(undo).await.unwrap();
    let mut fewer = table(0, "items", &["id", "note"]);
    fewer.fingerprint = "f2".into();
    PostgresSink::connect(&green.options, green.settings(), vec![fewer]).await.unwrap();
}
