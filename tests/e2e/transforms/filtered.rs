//! `where`: rows that enter the condition are added, rows that leave it are removed, whatever the stream tells of them.

use understudy_tests::Sidecar;

use super::Case;

const ITEM: &str = "CREATE TABLE item (id int PRIMARY KEY, n int, note text)";

const ENTRY: &str = "  - from: '@.item'\n    where: n > 10 AND note <> 'hidden'\n";

const IN: &str = "SELECT id, n, note FROM item WHERE n >= 11 AND NOT note = 'hidden'";

/// Every way in and out of the condition, each a transaction of its own.
const MOVES: &[&str] = &[
    "UPDATE item SET n = 50 WHERE id = 1",
    "UPDATE item SET n = 5 WHERE id = 41",
    "UPDATE item SET note = 'inside' WHERE id = 42",
    "UPDATE item SET note = 'outside' WHERE id = 2",
    "UPDATE item SET note = 'hidden' WHERE id = 43",
    "UPDATE item SET note = 'shown' WHERE id = 43",
    "UPDATE item SET n = NULL WHERE id = 44",
    "UPDATE item SET note = NULL WHERE id = 45",
    "UPDATE item SET n = 12, note = 'from null' WHERE id = 44",
    "UPDATE item SET id = 1045, n = 1 WHERE id = 46",
    "UPDATE item SET id = 1003, n = 99 WHERE id = 3",
    "UPDATE item SET id = 1047 WHERE id = 47",
    "UPDATE item SET id = 1004 WHERE id = 4",
    "DELETE FROM item WHERE id = 48",
    "DELETE FROM item WHERE id = 5",
    "INSERT INTO item VALUES (2000, 77, 'new'), (2001, 7, 'new outside'), (2002, NULL, 'new null')",
    "BEGIN; UPDATE item SET n = 60 WHERE id = 6; UPDATE item SET n = 6 WHERE id = 6; UPDATE item SET n = 61 WHERE id = 6; COMMIT",
    "BEGIN; UPDATE item SET n = 9 WHERE id = 49; UPDATE item SET n = 90 WHERE id = 49; UPDATE item SET n = 8 WHERE id = 49; COMMIT",
    "BEGIN; UPDATE item SET n = 1 WHERE id = 50; DELETE FROM item WHERE id = 50; INSERT INTO item VALUES (50, 70, 'back'); COMMIT",
    "BEGIN; INSERT INTO item VALUES (3000, 20, 'brief'); UPDATE item SET n = 2 WHERE id = 3000; COMMIT",
    "BEGIN; INSERT INTO item VALUES (3001, 2, 'brief'); UPDATE item SET n = 20 WHERE id = 3001; COMMIT",
    "BEGIN; UPDATE item SET id = -51 WHERE id = 51; UPDATE item SET id = 51, n = 3 WHERE id = 52; UPDATE item SET id = 52 WHERE id = -51; COMMIT",
    "UPDATE item SET n = 30 - n WHERE id BETWEEN 10 AND 30",
    "UPDATE item SET n = 30 - n WHERE id BETWEEN 15 AND 25",
    "DELETE FROM item WHERE id BETWEEN 60 AND 70",
];

/// Each move is made while the sidecar follows, and once more in one go while it is stopped.
async fn in_and_out(name: &'static str, identity: &str) {
    let rows = "INSERT INTO item SELECT n, n, 'note' FROM generate_series(1, 100) n";
    let Some(mut case) = Case::open(name, &format!("{ITEM}; {rows}; {identity}"), ITEM).await else {
        return;
    };
    let migration = case.migration(ENTRY);
    let mut sidecar = case.follow(&migration).await;
    case.same("SELECT * FROM item", IN).await;
    case.change(MOVES).await;
    case.settle(&mut sidecar).await;
    case.same("SELECT * FROM item", IN).await;
    case.blue.batch(&format!("DELETE FROM item; {rows}")).await;
    case.settle(&mut sidecar).await;
    case.same("SELECT * FROM item", IN).await;
    sidecar.stop().await;
    case.change(MOVES).await;
    let mut sidecar = Sidecar::start(&migration);
    case.settle(&mut sidecar).await;
    case.same("SELECT * FROM item", IN).await;
    case.close(sidecar).await;
}

/// A row that leaves without an old image is removed by its key, whether or not green has it; none of it counts as mended.
#[tokio::test(flavor = "multi_thread")]
async fn rows_enter_and_leave_without_an_old_image() {
    in_and_out("in-and-out", "").await;
}

/// The same where blue tells the whole old row.
#[tokio::test(flavor = "multi_thread")]
async fn rows_enter_and_leave_with_the_old_row_at_hand() {
    in_and_out("in-and-out-full", "ALTER TABLE item REPLICA IDENTITY FULL").await;
}

const DOC: &str = "CREATE TABLE doc (id int PRIMARY KEY, n int NOT NULL, big text NOT NULL)";

/// The condition's column is large and most updates do not send it: what blue has decides, and never a guess.
async fn large_condition(name: &'static str, identity: &str) {
    let rows = "INSERT INTO doc SELECT n, 0, (ARRAY['in ', 'out '])[1 + n % 2] || (SELECT string_agg(md5(n || '/' || p), '') \
                FROM generate_series(1, 100) p) FROM generate_series(1, 60) n";
    let blue = format!("{DOC}; ALTER TABLE doc ALTER big SET STORAGE EXTERNAL; {rows}; {identity}");
    let Some(mut case) = Case::open(name, &blue, DOC).await else {
        return;
    };
    let entry = "  - from: '@.doc'\n    where: left(big, 2) = 'in' AND n < 1000\n";
    let inside = "SELECT * FROM doc WHERE big LIKE 'in%' AND NOT n >= 1000";
    let migration = case.migration(entry);
    let swap =
        "UPDATE doc SET big = CASE WHEN big LIKE 'in %' THEN 'out ' ELSE 'in ' END || repeat(md5(big), 100)";
    let changes = [
        "UPDATE doc SET n = n + 1 WHERE id % 3 = 0",
        "UPDATE doc SET n = n + 1000 WHERE id % 5 = 0",
        &format!("{swap} WHERE id % 7 = 0"),
        "UPDATE doc SET n = n + 1 WHERE id % 7 = 0",
        &format!(
            "BEGIN; {swap} WHERE id = 11; UPDATE doc SET n = n + 1 WHERE id = 11; {swap} WHERE id = 11; COMMIT"
        ),
        "UPDATE doc SET n = n - 1000 WHERE id % 10 = 0 AND n >= 1000",
        "UPDATE doc SET id = -id WHERE id % 4 = 0 OR id IN (-8, -12)",
        "UPDATE doc SET n = n + 1 WHERE id < 0",
        "DELETE FROM doc WHERE id IN (1, 2, -16)",
    ];
    let sidecar = case.twice(&migration, &changes, ("SELECT * FROM doc", inside)).await;
    case.close(sidecar).await;
}

/// Promise 1: an update that does not send the value on which the condition depends has the row read again.
#[tokio::test(flavor = "multi_thread")]
async fn a_condition_on_a_value_that_was_not_sent() {
    large_condition("large-condition", "").await;
}

/// Promise 1: a row that is being read again changes on, with and without the value that decides. The last change is not lost
/// with the others that the read replaces.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_changes_on_while_it_is_read_again() {
    let rows =
        "INSERT INTO doc SELECT n, 0, 'in ' || repeat(md5(n::text), 100) FROM generate_series(1, 600) n";
    let blue = format!("{DOC}; ALTER TABLE doc ALTER big SET STORAGE EXTERNAL; {rows}");
    let Some(mut case) = Case::open("reads-again", &blue, DOC).await else {
        return;
    };
    let migration = case.migration("  - from: '@.doc'\n    where: left(big, 2) = 'in'\n");
    let mut sidecar = case.follow(&migration).await;
    const SHARES: u32 = 6;
    // Each row once, so that nothing mends what is lost on the way: all of a share are to be read again, and change on at once.
    for share in 0..SHARES {
        case.change(&[&format!("UPDATE doc SET n = n + 1 WHERE id % {SHARES} = {share}")]).await;
        for id in (0..600).filter(|id| id % SHARES == share) {
            let rewrite = format!("UPDATE doc SET big = 'in ' || repeat(md5(big), 100) WHERE id = {id}");
            let touch = format!("UPDATE doc SET n = n + 1 WHERE id = {id}");
            case.change(&[&format!("BEGIN; {rewrite}; COMMIT; BEGIN; {touch}; COMMIT")]).await;
        }
    }
    case.settle(&mut sidecar).await;
    case.same("SELECT * FROM doc", "SELECT * FROM doc WHERE big LIKE 'in%'").await;
    case.close(sidecar).await;
}

/// With full identity the value comes with the old row.
#[tokio::test(flavor = "multi_thread")]
async fn a_condition_on_a_value_that_came_with_the_old_row() {
    large_condition("large-condition-full", "ALTER TABLE doc REPLICA IDENTITY FULL").await;
}

/// Promise 1: what is computed from a value that was not sent is never null and never stale.
#[tokio::test(flavor = "multi_thread")]
async fn a_column_computed_from_a_value_that_was_not_sent() {
    let blue = format!(
        "{DOC}; ALTER TABLE doc ALTER big SET STORAGE EXTERNAL; \
         INSERT INTO doc SELECT n, n, repeat(md5(n::text), 100) FROM generate_series(1, 60) n"
    );
    let green = "CREATE TABLE doc (id int PRIMARY KEY, opening text NOT NULL, both_of text NOT NULL, size int NOT NULL, n int NOT NULL)";
    let Some(mut case) = Case::open("large-input", &blue, green).await else {
        return;
    };
    let entry = "  - from: '@.doc'\n    columns:\n      id: id\n      opening: left(big, 12)\n      both_of: n || ':' || right(big, 5)\n      \
                 size: length(big)\n      n: n\n";
    let expected = "SELECT id, substr(big, 1, 12), concat_ws(':', n, substr(big, length(big) - 4)), char_length(big), n FROM doc";
    let migration = case.migration(entry);
    let changes = [
        "UPDATE doc SET n = -n WHERE id % 2 = 0",
        "UPDATE doc SET big = repeat(md5(big), 90 + id % 20) WHERE id % 3 = 0",
        "UPDATE doc SET n = n + 1000 WHERE id % 3 = 0",
        "UPDATE doc SET id = id + 100 WHERE id % 5 = 0 AND id < 100",
        "UPDATE doc SET n = n + 1 WHERE id > 100",
        "BEGIN; UPDATE doc SET n = 1 WHERE id = 7; DELETE FROM doc WHERE id = 7; INSERT INTO doc VALUES (7, 8, 'brief'); COMMIT",
        "BEGIN; INSERT INTO doc VALUES (500, 1, repeat('new ', 2000)) ON CONFLICT (id) DO UPDATE SET n = 2; \
         UPDATE doc SET n = 3 WHERE id = 500; COMMIT",
    ];
    let sidecar = case.twice(&migration, &changes, ("SELECT * FROM doc", expected)).await;
    case.close(sidecar).await;
}
