//! TRUNCATE of a source deletes exactly its route's rows.

use super::Case;

/// One of two tables that were merged is emptied: its rows go, and those of the other stay.
#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_merged_tables_is_truncated() {
    let blue = "CREATE TABLE web (id int PRIMARY KEY, path text); CREATE TABLE app (id int PRIMARY KEY, screen text); \
                INSERT INTO web SELECT n, 'p' || n FROM generate_series(1, 50) n; \
                INSERT INTO app SELECT n, 's' || n FROM generate_series(1, 60) n";
    let green = "CREATE TABLE visit (kind text, id int, place text, PRIMARY KEY (kind, id))";
    let Some(mut case) = Case::open("merged", blue, green).await else {
        return;
    };
    let entry = "  - from: '@.web'\n    to: '@.visit'\n    columns: { kind: \"'web'\", id: id, place: path }\n  \
                 - from: '@.app'\n    to: '@.visit'\n    columns: { kind: \"'app'\", id: id, place: upper(screen) }\n";
    let both = "SELECT 'web', id, path FROM web UNION ALL SELECT 'app', id, upper(screen) FROM app";
    let migration = case.migration(entry);
    let changes = [
        "TRUNCATE web",
        "INSERT INTO web SELECT n, 'again' || n FROM generate_series(40, 45) n",
        "BEGIN; INSERT INTO app VALUES (1000, 'x'); TRUNCATE app; INSERT INTO app VALUES (7, 'y'), (8, 'z'); COMMIT",
        "UPDATE app SET screen = 'later' WHERE id = 8",
    ];
    let mut sidecar = case.twice(&migration, &changes, ("SELECT * FROM visit", both)).await;
    assert_eq!(case.green.number("SELECT count(*) FROM visit").await, 8);
    case.blue.batch("TRUNCATE app, web").await;
    case.settle(&mut sidecar).await;
    assert_eq!(case.green.number("SELECT count(*) FROM visit").await, 0);
    case.close(sidecar).await;
}

/// A route that takes a part of a table, alone on green, is emptied with it; so are both parts of a table that was split.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_which_a_part_moved_is_truncated() {
    let item = "CREATE TABLE item (id int PRIMARY KEY, n int)";
    let rows = "INSERT INTO item SELECT n, n FROM generate_series(1, 50) n";
    let green = "CREATE TABLE few (id int PRIMARY KEY, n int); CREATE TABLE many (id int PRIMARY KEY, n int)";
    let Some(mut case) = Case::open("part", &format!("{item}; {rows}"), green).await else {
        return;
    };
    let entry = "  - from: '@.item'\n    to: '@.few'\n    where: n <= 20\n  - from: '@.item'\n    to: '@.many'\n    where: n > 20\n";
    let migration = case.migration(entry);
    let mut sidecar = case.follow(&migration).await;
    for change in [
        "SELECT 1",
        "TRUNCATE item",
        &format!(
            "{rows}; TRUNCATE item; INSERT INTO item VALUES (1, 1), (2, 99); UPDATE item SET n = 100 - n"
        ),
        "UPDATE item SET n = n + 100 WHERE n < 50",
    ] {
        case.blue.batch(change).await;
        case.settle(&mut sidecar).await;
        case.same("SELECT * FROM few", "SELECT * FROM item WHERE n <= 20").await;
        case.same("SELECT * FROM many", "SELECT * FROM item WHERE n > 20").await;
    }
    case.close(sidecar).await;
}

/// Two parts of one partitioned table, told apart by a condition: emptying a leaf removes its rows from both, and no others.
#[tokio::test(flavor = "multi_thread")]
async fn a_leaf_is_truncated_of_a_table_that_was_split() {
    let blue = "CREATE TABLE item (region text, id int, n int, PRIMARY KEY (region, id)) PARTITION BY LIST (region); \
                CREATE TABLE north PARTITION OF item FOR VALUES IN ('north'); \
                CREATE TABLE south PARTITION OF item FOR VALUES IN ('south'); \
                INSERT INTO item SELECT (ARRAY['north', 'south'])[1 + n % 2], n, n % 10 FROM generate_series(1, 80) n";
    let table =
        |name: &str| format!("CREATE TABLE {name} (place text, id int, n bigint, PRIMARY KEY (place, id));");
    let Some(mut case) = Case::open("leaf", blue, &(table("few") + &table("many"))).await else {
        return;
    };
    let columns = "    columns: { place: region, id: id, n: n * 2 }\n";
    let entry = format!(
        "  - from: '@.item'\n    to: '@.few'\n    where: n < 5\n{columns}  - from: '@.item'\n    to: '@.many'\n    where: n >= 5\n{columns}"
    );
    let migration = case.migration(&entry);
    let mut sidecar = case.follow(&migration).await;
    for change in [
        "SELECT 1",
        "TRUNCATE south",
        "INSERT INTO item VALUES ('south', 1, 1), ('south', 2, 9)",
        "TRUNCATE item",
    ] {
        case.blue.batch(change).await;
        case.settle(&mut sidecar).await;
        case.same("SELECT * FROM few", "SELECT region, id, n + n FROM item WHERE n < 5").await;
        case.same("SELECT * FROM many", "SELECT region, id, n + n FROM item WHERE n >= 5").await;
    }
    case.close(sidecar).await;
}
