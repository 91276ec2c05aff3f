//! A key on green that is computed from blue's.

use super::Case;

/// Keys change on blue, in a row and around a circle, with and without the large values beside them: green's follow.
#[tokio::test(flavor = "multi_thread")]
async fn keys_change_under_a_key_that_is_computed() {
    let blue = "CREATE TABLE item (id int PRIMARY KEY, n int NOT NULL, big text NOT NULL); ALTER TABLE item ALTER big SET STORAGE EXTERNAL; \
                INSERT INTO item SELECT n, n, repeat(md5(n::text), 100) FROM generate_series(1, 100) n";
    let green =
        "CREATE TABLE item (item_key text PRIMARY KEY, n int NOT NULL, big text NOT NULL, size int NOT NULL)";
    let Some(mut case) = Case::open("new-key", blue, green).await else {
        return;
    };
    let entry = "  - from: '@.item'\n    columns:\n      item_key: \"'eu-' || id\"\n      n: n\n      big: big\n      size: length(big)\n";
    let expected = "SELECT format('eu-%s', id), n, big, octet_length(big) FROM item";
    let migration = case.migration(entry);
    let changes = [
        "UPDATE item SET id = id + 1000 WHERE id % 10 = 0",
        "UPDATE item SET n = n + 1 WHERE id % 7 = 0",
        "BEGIN; UPDATE item SET id = 0 WHERE id = 1; UPDATE item SET id = 1 WHERE id = 2; UPDATE item SET id = 2 WHERE id = 0; COMMIT",
        "UPDATE item SET id = -id, n = -n WHERE id BETWEEN 11 AND 15",
        "BEGIN; DELETE FROM item WHERE id = 3; INSERT INTO item VALUES (3, 3, 'new'); UPDATE item SET id = 300 + n WHERE id = 3; COMMIT",
        "BEGIN; UPDATE item SET id = id - 5000 WHERE id < 0; UPDATE item SET big = repeat(md5(big), 100) WHERE id < 0; \
         UPDATE item SET id = id + 5000 WHERE id < 0; COMMIT",
        "DELETE FROM item WHERE id IN (303, 7, 9, 1010)",
        "INSERT INTO item VALUES (3, 4, 'after')",
    ];
    let sidecar = case.twice(&migration, &changes, ("SELECT * FROM item", expected)).await;
    case.close(sidecar).await;
}
