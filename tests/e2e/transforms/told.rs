//! Keys of green that say less than those of blue, that some rows lack, or that are made otherwise from one run to the next.

use understudy_tests::Sidecar;

use super::Case;

/// Promise 1: where the condition leaves one row of blue for each key of green, what happens to the others never touches it.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_left_out_may_share_a_key_with_one_that_is_not() {
    let blue = "CREATE TABLE item (id int, lang text, name text, PRIMARY KEY (id, lang)); \
                INSERT INTO item SELECT n, l, l || n FROM generate_series(1, 50) n, unnest(ARRAY['de', 'en', 'fr']) l";
    let green = "CREATE TABLE item (id int PRIMARY KEY, name text)";
    let Some(mut case) = Case::open("narrow", blue, green).await else {
        return;
    };
    let migration =
        case.migration("  - from: '@.item'\n    where: lang = 'en'\n    columns: { id: id, name: name }\n");
    let expected = "SELECT id, name FROM item WHERE lang = 'en'";
    let changes = [
        "UPDATE item SET name = name || '!' WHERE lang = 'de' AND id < 10",
        "DELETE FROM item WHERE lang = 'fr' AND id BETWEEN 20 AND 30",
        "UPDATE item SET name = name || '?' WHERE id = 40",
        "INSERT INTO item VALUES (20, 'fr', 'encore')",
        "UPDATE item SET lang = 'it' WHERE lang = 'fr' AND id = 41",
        "UPDATE item SET lang = 'es' WHERE lang = 'it'",
        "DELETE FROM item WHERE id = 42 AND lang <> 'en'",
    ];
    let mut sidecar = case.twice(&migration, &changes[..6], ("SELECT * FROM item", expected)).await;
    case.change(&changes[6..]).await;
    case.settle(&mut sidecar).await;
    case.same("SELECT * FROM item", expected).await;
    sidecar.stop().await;
    let mut sidecar = Sidecar::start_with(&migration, &["--recopy", "narrow.item"]);
    sidecar.wait_copied().await;
    case.settle(&mut sidecar).await;
    case.same("SELECT * FROM item", expected).await;
    case.close(sidecar).await;
}

/// A row that the condition leaves out needs no key on green: what an error's remedy says helps.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_left_out_need_no_key() {
    let blue = "CREATE TABLE item (id int PRIMARY KEY, name text); \
                INSERT INTO item SELECT n, 'item ' || n FROM generate_series(0, 50) n";
    let green = "CREATE TABLE item (share int PRIMARY KEY, name text)";
    let Some(mut case) = Case::open("keyless", blue, green).await else {
        return;
    };
    let entry = "  - from: '@.item'\n    where: id <> 0 AND id <> 13\n    columns: { share: \"nullif(id, 13) + 0 / id\", name: name }\n";
    let migration = case.migration(entry);
    let expected = "SELECT id, name FROM item WHERE id NOT IN (0, 13)";
    let mut sidecar = case.follow(&migration).await;
    case.same("SELECT * FROM item", expected).await;
    case.change(&[
        "UPDATE item SET name = 'x' WHERE id IN (0, 13, 14)",
        "UPDATE item SET id = 1000 + id WHERE id IN (0, 13)",
        "UPDATE item SET id = id - 1000 WHERE id IN (1000, 1013)",
        "UPDATE item SET id = CASE id WHEN 20 THEN 100 ELSE id END WHERE id < 30",
        "DELETE FROM item WHERE id = 13",
        "UPDATE item SET id = 13 WHERE id = 21",
    ])
    .await;
    case.settle(&mut sidecar).await;
    case.same("SELECT * FROM item", expected).await;
    case.close(sidecar).await;
}

/// Promise 1: under another key a new copy writes other rows; those under the former keys have to go first.
#[tokio::test(flavor = "multi_thread")]
async fn another_key_is_copied_into_an_empty_table() {
    let blue = "CREATE TABLE item (id int PRIMARY KEY, name text); \
                INSERT INTO item SELECT n, 'item ' || n FROM generate_series(1, 50) n";
    let green = "CREATE TABLE item (item_key text PRIMARY KEY, name text)";
    let Some(mut case) = Case::open("other-key", blue, green).await else {
        return;
    };
    let entry = "  - from: '@.item'\n    columns: { item_key: \"'eu-' || id\", name: name }\n";
    let migration = case.migration(entry);
    let sidecar = case.follow(&migration).await;
    sidecar.stop().await;
    let migration = case.migration(&entry.replace("eu-", "us-"));
    let exit = Sidecar::start_with(&migration, &["--recopy", "other_key.item"]).exit().await;
    assert!(exit.stderr.contains("TRUNCATE"), "{}", exit.stderr);
    case.green.batch("TRUNCATE item").await;
    let mut sidecar = Sidecar::start_with(&migration, &["--recopy", "other_key.item"]);
    sidecar.wait_copied().await;
    case.settle(&mut sidecar).await;
    case.same("SELECT * FROM item", "SELECT 'us-' || id, name FROM item").await;
    case.close(sidecar).await;
}

/// Promise 1: a key that is made of more than blue tells of old rows stops the run, and never names another row.
#[tokio::test(flavor = "multi_thread")]
async fn an_identity_that_no_longer_tells_the_key_stops_the_run() {
    let blue = "CREATE TABLE item (id int PRIMARY KEY, code text NOT NULL UNIQUE, name text); ALTER TABLE item REPLICA IDENTITY FULL; \
                INSERT INTO item SELECT n, 'c' || n, 'item ' || n FROM generate_series(1, 50) n";
    let green = "CREATE TABLE item (code text PRIMARY KEY, name text)";
    let Some(mut case) = Case::open("less-told", blue, green).await else {
        return;
    };
    let migration =
        case.migration("  - from: '@.item'\n    columns: { code: \"coalesce(code, 'none')\", name: name }\n");
    let mut sidecar = case.follow(&migration).await;
    case.change(&["UPDATE item SET code = 'd' || id WHERE id < 10"]).await;
    case.settle(&mut sidecar).await;
    case.same("SELECT * FROM item", "SELECT code, name FROM item").await;
    case.change(&[
        "ALTER TABLE item REPLICA IDENTITY DEFAULT",
        "UPDATE item SET code = 'e' || id WHERE id < 10",
    ])
    .await;
    let file = sidecar.file.to_string_lossy().into_owned();
    let exit = sidecar.exit().await;
    assert!(exit.stderr.contains("REPLICA IDENTITY FULL"), "{}", exit.stderr);
    assert_eq!(case.green.number("SELECT count(*) FROM item").await, 50);
    case.abort(&file).await;
}

/// A label that an enum gains while the sidecar follows is one of its values.
#[tokio::test(flavor = "multi_thread")]
async fn an_enum_gains_a_label() {
    let blue = "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE item (id int PRIMARY KEY, m mood); \
                INSERT INTO item SELECT n, 'sad' FROM generate_series(1, 50) n";
    let green = "CREATE TABLE item (id int PRIMARY KEY, m text)";
    let Some(mut case) = Case::open("moods", blue, green).await else {
        return;
    };
    let migration = case.migration(
        "  - from: '@.item'\n    where: m <> 'ok'\n    columns: { id: id, m: \"'is ' || m::text\" }\n",
    );
    let mut sidecar = case.follow(&migration).await;
    case.change(&["ALTER TYPE mood ADD VALUE 'happy'", "UPDATE item SET m = 'happy' WHERE id < 10"]).await;
    case.settle(&mut sidecar).await;
    case.same("SELECT * FROM item", "SELECT id, 'is ' || m::text FROM item WHERE m <> 'ok'").await;
    case.close(sidecar).await;
}
