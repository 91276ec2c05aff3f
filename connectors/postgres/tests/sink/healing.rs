//! Rows of which only a part was sent, over rows that may be out of date: each is read again, wherever it moves.

use understudy_contract::{Applied, ChangeSink, Class, LedgerEntry};
use understudy_model::{HealKey, RouteId, RowChange, Tuple};
use understudy_postgres::sink::{OnError, PostgresSink, ReplicaRole, SinkSettings};

use crate::green::{Green, UNSENT, delete, each, heal, heal_key, insert, rekey, row, table, unit, update};

const SQL: &str =
    "CREATE TABLE items (id int PRIMARY KEY, name text, n int CONSTRAINT small CHECK (n < 100))";
const COLUMNS: [&str; 3] = ["id", "name", "n"];
const ITEMS: RouteId = RouteId(0);
const WAITING: &str = "SELECT string_agg(key[1], ' ' ORDER BY key[1]::int) FROM understudy.heals";

/// A route that has been copied and is copied again, with rows 0 to 99.
async fn renewed(name: &str, settings: impl Fn(&mut SinkSettings)) -> Option<(Green, PostgresSink)> {
    let mut green = Green::with(name, SQL).await?;
    let mut given = green.settings();
    settings(&mut given);
    let mut sink = green.sink_with(given, vec![table(0, "items", &COLUMNS)], true).await;
    let rows = green.batch(vec![each(0..100, |n| insert(0, &[n, "old", "1"]))]);
    assert_eq!(sink.apply(rows).await.unwrap(), Applied::default());
    sink.record(LedgerEntry::Plan(unit(0))).await.unwrap();
    Some((green, sink))
}

async fn again(green: &Green) -> PostgresSink {
    PostgresSink::connect(&green.options, green.settings(), vec![table(0, "items", &COLUMNS)]).await.unwrap()
}

async fn place(green: &Green, sink: &mut PostgresSink, keys: &[&str], rows: Vec<Tuple>) {
    sink.place(green.chunk(9, 0, heal(keys), rows)).await.unwrap();
}

fn healed(keys: &[&str]) -> Vec<(RouteId, HealKey)> {
    keys.iter().map(|text| (ITEMS, heal_key(text, text))).collect()
}

fn partial(id: &str) -> RowChange {
    update(0, &[id, "new", UNSENT])
}

fn moved(from: &str, to: &str) -> RowChange {
    rekey(0, from, &[to, "new", UNSENT])
}

/// Promise 1: the read of a row that has moved meanwhile finds it gone, so the row is read under its new key: in every
/// form, on and on, across batches and restarts, and also once the copy is complete.
#[tokio::test]
async fn a_row_that_leaves_a_key_to_be_read_is_read_under_its_new_one() {
    for (form, many, mismatches) in [("few", 0, 0), ("many", 100, 0), ("one_by_one", 0, 1)] {
        let Some((mut green, mut sink)) = renewed(&format!("heal_moved_{form}"), |_| {}).await else {
            return;
        };
        let first = green.batch(vec![vec![partial("1"), partial("2"), partial("1")]]);
        assert_eq!(sink.apply(first).await.unwrap().heals, healed(&["1", "2"]));
        sink.record(LedgerEntry::Complete(ITEMS)).await.unwrap();

        let batch = green.batch(vec![
            each(1000..1000 + many, |n| insert(0, &[n, "x", "1"])),
            vec![moved("1", "201"), moved("201", "202")],
            vec![
                moved("202", "203"),
                moved("50", "51000"),
                partial("60"),
                rekey(0, "2", &["204", "full", "1"]),
            ],
            each(0..mismatches, |_| delete(0, "7777")),
            each(1000..1000 + many, |n| delete(0, n)),
        ]);
        let applied = sink.apply(batch).await.unwrap();
        assert_eq!(
            (applied.heals, applied.mismatches),
            (healed(&["201", "202", "203"]), mismatches.into()),
            "{form}"
        );

        let parts = [vec![moved("203", "205")], vec![moved("205", "206")]];
        for (changes, key) in parts.into_iter().zip(["205", "206"]) {
            let part = green.part(changes);
            assert_eq!(sink.apply(part).await.unwrap().heals, healed(&[key]), "{form}");
        }
        let end = green.batch(vec![vec![moved("206", "207")]]);
        assert_eq!(sink.apply(end).await.unwrap().heals, healed(&["207"]), "{form}");

        drop(sink);
        let mut sink = again(&green).await;
        sink.claim().await.unwrap();
        let next = green.batch(vec![vec![moved("207", "208")]]);
        assert_eq!(sink.apply(next).await.unwrap().heals, healed(&["208"]), "{form}");
        assert_eq!(green.rows(WAITING).await, "1 2 201 202 203 205 206 207 208", "{form}");
    }
}

/// A row may take a key whose own read is placed already: it is reported once more.
#[tokio::test]
async fn a_row_that_takes_a_key_to_be_read_is_reported_again() {
    let Some((mut green, mut sink)) = renewed("heal_taken", |_| {}).await else { return };
    let first = green.batch(vec![vec![partial("1"), partial("2")]]);
    sink.apply(first).await.unwrap();
    let next = green.batch(vec![vec![delete(0, "2"), moved("1", "2"), partial("2")]]);
    assert_eq!(sink.apply(next).await.unwrap().heals, healed(&["2"]));
}

/// Promise 1: a heal is over once its chunk is committed, whether or not anybody has asked for the outcome: what comes
/// after it is reported again, and asking afterwards does not take that back.
#[tokio::test]
async fn a_heal_that_is_done_covers_nothing_that_comes_after() {
    let Some((mut green, mut sink)) = renewed("heal_done", |_| {}).await else { return };
    let first = green.batch(vec![vec![partial("1")]]);
    sink.apply(first).await.unwrap();
    place(&green, &mut sink, &["1"], vec![row(&["1", "whole", "5"])]).await;
    let later = green.batch(vec![vec![partial("1")]]);
    assert_eq!(
        sink.apply(later).await.unwrap().heals,
        healed(&["1"]),
        "the chunk is there before the change"
    );
    assert_eq!(green.rows(WAITING).await, "1");
    assert_eq!(sink.placed().await.unwrap().rows, 1);
    sink.record(LedgerEntry::Complete(ITEMS)).await.unwrap();
    let next = green.batch(vec![vec![moved("1", "201")]]);
    assert_eq!(sink.apply(next).await.unwrap().heals, healed(&["201"]), "it still waits");
    assert_eq!(green.rows(WAITING).await, "1 201");
}

/// F26: rows of a chunk that were set aside are known to the changes after it, whether or not anybody has asked.
#[tokio::test]
async fn rows_that_a_chunk_sets_aside_are_known_to_later_changes() {
    let quarantine = |settings: &mut SinkSettings| settings.on_error = OnError::Quarantine;
    let Some((mut green, mut sink)) = renewed("heal_aside", quarantine).await else { return };
    let first = green.batch(vec![vec![partial("1")]]);
    sink.apply(first).await.unwrap();
    place(&green, &mut sink, &["1"], vec![row(&["1", "bad", "4711"])]).await;
    let later = green.batch(vec![vec![update(0, &["1", "later", "1"])]]);
    assert_eq!(sink.apply(later).await.unwrap().quarantined, 1);
    assert_eq!(sink.placed().await.unwrap().rows, 0);
    assert_eq!(green.rows("SELECT name FROM public.items WHERE id = 1").await, "new");
}

/// Promise 3: a row that is gone from blue may still be on green when its delete was set aside: reading its key again
/// settles nothing of that.
#[tokio::test]
async fn a_heal_without_a_row_settles_nothing_that_was_set_aside() {
    let quarantine = |settings: &mut SinkSettings| settings.on_error = OnError::Quarantine;
    let Some((mut green, mut sink)) = renewed("heal_gone", quarantine).await else { return };
    let batch = green.batch(vec![
        vec![update(0, &["1", "bad", "4711"]), update(0, &["2", "bad", "4711"])],
        vec![partial("1"), partial("2"), delete(0, "1")],
    ]);
    let applied = sink.apply(batch).await.unwrap();
    assert_eq!((applied.quarantined, applied.heals), (5, healed(&["1", "2"])));
    place(&green, &mut sink, &["1", "2"], vec![row(&["2", "whole", "5"])]).await;
    sink.placed().await.unwrap();
    assert_eq!(green.rows(WAITING).await, "NULL");
    let open = "SELECT string_agg(DISTINCT key[1], ' ') FROM understudy.quarantine WHERE NOT settled";
    assert_eq!(green.rows(open).await, "1");
    let later = green.batch(vec![vec![insert(0, &["1", "anew", "1"]), update(0, &["2", "fine", "1"])]]);
    assert_eq!(sink.apply(later).await.unwrap().quarantined, 1);
    assert_eq!(
        green.rows("SELECT string_agg(name, ' ' ORDER BY id) FROM public.items WHERE id IN (1, 2)").await,
        "old fine"
    );
}

/// Promise 1: when green refuses at the commit and everything is applied once more, heals are recorded once more too.
#[tokio::test]
async fn heals_outlive_a_commit_that_green_refuses() {
    let sql = "CREATE TABLE parents (id int PRIMARY KEY); CREATE TABLE items (id int PRIMARY KEY, name text, \
        n int REFERENCES parents DEFERRABLE INITIALLY DEFERRED); INSERT INTO items VALUES (1, 'old', NULL)";
    let Some(mut green) = Green::with("heal_refused", sql).await else { return };
    let mut settings = green.settings();
    settings.replica_role = ReplicaRole::Never;
    let mut sink = green.sink_with(settings, vec![table(0, "items", &COLUMNS)], true).await;
    sink.record(LedgerEntry::Plan(unit(0))).await.unwrap();
    let batch = green.batch(vec![vec![partial("1")], vec![insert(0, &["2", "orphan", "8"])]]);
    assert_eq!(sink.apply(batch).await.unwrap_err().class(), Class::Data);
    assert_eq!(
        green.rows("SELECT name FROM public.items").await,
        "new",
        "the first transaction is committed"
    );
    assert_eq!(again(&green).await.claim().await.unwrap().unwrap().heals, healed(&["1"]));
}

/// Promise 1: rows that green held before the first copy may hold anything in what an update does not send.
#[tokio::test]
async fn rows_that_green_held_before_the_first_copy_are_read_again() {
    let sql = format!("{SQL}; INSERT INTO items VALUES (1, 'adopted', 1)");
    let Some(mut green) = Green::with("heal_adopted", &sql).await else { return };
    let settings = green.settings();
    let mut sink = green.sink_with(settings, vec![table(0, "items", &COLUMNS)], false).await;
    sink.record(LedgerEntry::Plan(unit(0))).await.unwrap();
    let batch = green.batch(vec![vec![partial("1")]]);
    assert_eq!(sink.apply(batch).await.unwrap().heals, healed(&["1"]));
}

/// Promise 1: whatever a key is made of, it waits as it is, and is settled.
#[tokio::test]
async fn keys_of_any_text_wait_and_are_settled() {
    let sql = "CREATE TABLE items (id text PRIMARY KEY, name text, n int)";
    let Some(mut green) = Green::with("heal_texts", sql).await else { return };
    let settings = green.settings();
    let mut sink = green.sink_with(settings, vec![table(0, "items", &COLUMNS)], false).await;
    let keys = ["a'b", "\"quoted\"", "back\\slash", "{1,2}", "", "NULL ", "tab\tline\n"];
    let batch = green.batch(vec![keys.iter().map(|id| partial(id)).collect()]);
    assert_eq!(sink.apply(batch).await.unwrap().heals, healed(&keys));
    drop(sink);
    let mut sink = again(&green).await;
    let mut waiting = sink.claim().await.unwrap().unwrap().heals;
    let mut wanted = healed(&keys);
    waiting.sort();
    wanted.sort();
    assert_eq!(waiting, wanted);
    place(&green, &mut sink, &keys, Vec::new()).await;
    sink.placed().await.unwrap();
    assert_eq!(green.rows(WAITING.replace("::int", "").as_str()).await, "NULL");
}
