//! An expression that fails on a row: the run stops there or the row is set aside, and nobody sees its values.

use std::time::Duration;

use serde_json::Value;
use understudy_tests::{Migration, Sidecar, until_within};

use super::Case;

const ITEM: &str = "CREATE TABLE item (id int PRIMARY KEY, n int, note text); \
                    INSERT INTO item SELECT n, n, 'note' FROM generate_series(1, 100) n";

const GREEN: &str = "CREATE TABLE item (id int PRIMARY KEY, share int, number int, note text)";

/// Fails where n is 42: division by zero; and where the note is a number that is none.
const ENTRY: &str = "  - from: '@.item'\n    columns:\n      id: id\n      share: 1000 / (n - 42)\n      \
                     number: CASE WHEN note LIKE 'number %' THEN substr(note, 8)::int END\n      note: note\n";

const EXPECTED: &str = "SELECT id, 1000 / (n - 42), CASE WHEN note LIKE 'number %' THEN substr(note, 8)::int END, note FROM item";

/// A value that must not be seen anywhere.
const SECRET: &str = "number 31415926x";

/// Verified and soaked soon.
const GATE: &str = "verify: { pass_pause: 1s, busy: 1.0 }\ngate: { soak: 1s, max_lag: 30s }";

const ASIDE: &str = "apply: { on_error: quarantine }";

/// Opens a case in which no row fails as yet, save those that `first` adds.
async fn open(name: &'static str, first: &str) -> Option<(Case, Migration)> {
    let mut case = Case::open(name, ITEM, GREEN).await?;
    case.blue.batch("DELETE FROM item WHERE n = 42").await;
    case.blue.batch(first).await;
    let migration = case.migration(ENTRY);
    Some((case, migration))
}

/// Reads the reasons in quarantine that are not settled, by key.
async fn aside(case: &mut Case) -> Vec<String> {
    let open = format!(
        "SELECT concat_ws(' ', key, sqlstate, reason) FROM understudy.quarantine \
         WHERE migration = '{}' AND NOT settled ORDER BY key, id",
        case.name
    );
    case.green.column(&open).await
}

/// Waits until so many rows are said to be set aside.
async fn wait_aside(sidecar: &mut Sidecar, rows: u64) {
    let what = format!("{rows} rows are said to be aside");
    sidecar.wait_for(&what, |status| status["quarantined"] == rows).await;
}

/// Waits until the gate of what is copied and compared has this verdict. That of the cutover asks after tables of other tests.
async fn wait_gate(sidecar: &mut Sidecar, verdict: &str) -> Value {
    until_within(Duration::from_secs(120), &format!("the gate says {verdict}"), async || {
        sidecar.assert_running();
        let (_, body) = sidecar.get("/v1/gates/verified").await?;
        let document: Value = serde_json::from_str(&body).ok()?;
        (document["verdict"] == verdict).then_some(document)
    })
    .await
}

fn assert_named(stderr: &str, words: &[&str]) {
    for word in words {
        assert!(stderr.contains(word), "`{word}` is not in:\n{stderr}");
    }
    assert!(!stderr.contains("31415926"), "a row value was shown:\n{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
}

/// With `on_error: stop` the run ends at the row, and names table, key by its hash, column and error; mended, nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn the_stream_stops_at_a_row_that_cannot_be_computed() {
    let Some((mut case, migration)) = open("fails", "").await else {
        return;
    };
    let sidecar = case.follow(&migration).await;
    case.blue.batch("UPDATE item SET note = 'before'").await;
    case.blue.batch(&format!("INSERT INTO item VALUES (27182818, 1, '{SECRET}')")).await;
    case.blue.batch("UPDATE item SET note = 'after' WHERE id < 50").await;
    let exit = sidecar.exit().await;
    assert_eq!(exit.code, Some(9), "{}", exit.stderr);
    assert_named(&exit.stderr, &["fails.item", "`number`", "22P02", "key has the hash", "remedy:", "next:"]);
    assert!(!exit.stderr.contains("27182818"), "the key is shown by its hash:\n{}", exit.stderr);
    assert_eq!(case.green.number("SELECT count(*) FROM item WHERE note = 'before'").await, 99);
    // The error stays until blue's row or the expression is mended: the same place again.
    let exit = Sidecar::start(&migration).exit().await;
    assert_eq!(exit.code, Some(9), "{}", exit.stderr);
    let mended = ENTRY.replace("substr(note, 8)::int", "regexp_replace(note, '[^0-9]', '', 'g')::int");
    let expected = EXPECTED.replace("substr(note, 8)::int", "regexp_replace(note, '[^0-9]', '', 'g')::int");
    let migration = case.migration(&mended);
    let mut sidecar = Sidecar::start_with(&migration, &["--recopy", "fails.item"]);
    sidecar.wait_copied().await;
    case.settle(&mut sidecar).await;
    case.same("SELECT * FROM item", &expected).await;
    case.close(sidecar).await;
}

/// The first copy stops at such a row, too.
#[tokio::test(flavor = "multi_thread")]
async fn the_copy_stops_at_a_row_that_cannot_be_computed() {
    let first = "INSERT INTO item VALUES (27182818, 42, 'number 31415926')";
    let Some((case, migration)) = open("fails-first", first).await else {
        return;
    };
    let sidecar = Sidecar::start(&migration);
    let file = sidecar.file.to_string_lossy().into_owned();
    let exit = sidecar.exit().await;
    assert_eq!(exit.code, Some(9), "{}", exit.stderr);
    assert_named(
        &exit.stderr,
        &["fails_first.item", "`share`", "22012", "key has the hash", "remedy:", "next:"],
    );
    assert!(!exit.stderr.contains("27182818"), "the key is shown by its hash:\n{}", exit.stderr);
    case.abort(&file).await;
}

/// With `on_error: quarantine` the row is set aside with its reason, everything else goes on, and what green had of the row
/// does not pass for its present state.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_cannot_be_computed_are_set_aside() {
    let first =
        format!("INSERT INTO item VALUES (200, 42, 'zero'), (201, 1, '{SECRET}'), (202, 2, 'number 17')");
    let Some((mut case, migration)) = open("sets-aside", &first).await else {
        return;
    };
    let migration = migration.with(ASIDE);
    let mut sidecar = case.follow(&migration).await;
    let reasons = aside(&mut case).await;
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons[0].starts_with("{200} 22012 ") && reasons[0].contains("`share`"), "{reasons:?}");
    assert!(reasons[1].starts_with("{201} 22P02 ") && reasons[1].contains("`number`"), "{reasons:?}");
    let others = |ids: &str| format!("{EXPECTED} WHERE id NOT IN ({ids})");
    case.same("SELECT * FROM item", &others("200, 201")).await;
    case.blue
        .batch(&format!(
            "BEGIN; UPDATE item SET note = 'x' WHERE id < 10; INSERT INTO item VALUES (300, 1, '{SECRET}'); \
             UPDATE item SET n = 42 WHERE id = 5; INSERT INTO item VALUES (301, 3, 'number 5'); COMMIT"
        ))
        .await;
    case.blue.batch("UPDATE item SET note = 'y' WHERE id BETWEEN 6 AND 20").await;
    case.settle(&mut sidecar).await;
    let reasons = aside(&mut case).await;
    for key in ["{200} ", "{201} ", "{300} ", "{5} "] {
        assert!(reasons.iter().any(|reason| reason.starts_with(key)), "{key}: {reasons:?}");
    }
    assert!(reasons.iter().all(|reason| !reason.contains("31415926")), "{reasons:?}");
    case.same("SELECT * FROM item WHERE id <> 5", &others("200, 201, 300, 5")).await;
    assert!(!sidecar.log().contains("31415926"), "a row value was logged");
    // Rows of the copy count too, and each once however many changes of it there are.
    wait_aside(&mut sidecar, 4).await;
    case.blue.batch("UPDATE item SET note = 'z' WHERE id IN (5, 200)").await;
    case.settle(&mut sidecar).await;
    assert_eq!(sidecar.status().await.expect("a status")["quarantined"], 4);
    sidecar.stop().await;
    let mut sidecar = Sidecar::start(&migration);
    wait_aside(&mut sidecar, 4).await;
    case.close(sidecar).await;
}

/// Once the rows are mended on blue and the table is copied again, nothing is aside any more: neither what was set aside before,
/// nor what is only set aside while the new copy is under way, from changes that came while nobody followed. Promise 3: the gate
/// is held for as long as rows are aside, and opens when none is, without a restart.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_set_aside_come_back_with_a_new_copy() {
    let first = "INSERT INTO item VALUES (200, 42, 'zero')";
    let Some((mut case, migration)) = open("comes-back", first).await else {
        return;
    };
    let migration = migration.with(ASIDE).with(GATE);
    let mut sidecar = case.follow(&migration).await;
    case.blue.batch("UPDATE item SET n = 42 WHERE id = 5").await;
    case.settle(&mut sidecar).await;
    assert_eq!(aside(&mut case).await.len(), 2);
    wait_aside(&mut sidecar, 2).await;
    let held = wait_gate(&mut sidecar, "fail").await;
    assert!(held.to_string().contains("2 rows are set aside"), "{held:#}");
    sidecar.stop().await;
    case.blue.batch("UPDATE item SET n = 42 WHERE id = 6").await;
    case.blue.batch("UPDATE item SET n = 43 WHERE n = 42").await;
    let mut sidecar = Sidecar::start_with(&migration, &["--recopy", "comes_back.item"]);
    sidecar.wait_copied().await;
    case.settle(&mut sidecar).await;
    case.same("SELECT * FROM item", EXPECTED).await;
    assert_eq!(aside(&mut case).await, Vec::<String>::new());
    wait_aside(&mut sidecar, 0).await;
    wait_gate(&mut sidecar, "pass").await;
    // The same process, which has seen rows set aside and settled by the copy, sees others.
    case.blue.batch("UPDATE item SET n = 42 WHERE id = 7").await;
    wait_aside(&mut sidecar, 1).await;
    wait_gate(&mut sidecar, "fail").await;
    case.blue.batch("TRUNCATE item").await;
    wait_aside(&mut sidecar, 0).await;
    wait_gate(&mut sidecar, "pass").await;
    case.close(sidecar).await;
}
