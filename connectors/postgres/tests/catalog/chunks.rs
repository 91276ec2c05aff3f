//! What chunks hold, and how reading one can end.

use std::time::Duration;

use understudy_contract::{ChunkOutcome, ChunkReader, ChunkRequest, ChunkScope};
use understudy_model::{BlockRange, Ctid, Xid};

use crate::databases::{connect, database, shared};
use crate::harness::{blue, by_keys, first_column, texts, whole};

#[tokio::test]
async fn a_chunk_holds_its_rows_byte_for_byte() {
    let Some(cluster) = shared() else { return };
    let schema = "CREATE TABLE notes (id int PRIMARY KEY, body text, \"odd \"\"name\" text);
        INSERT INTO notes VALUES (1, E'tab\\tline\\nback\\\\slash\\r', ''), (2, NULL, '\\N'), (3, 'plain', 'x');
        CREATE TABLE empty (id int PRIMARY KEY)";
    let mut blue = blue(database(&cluster, "bytes").await, schema, &["notes", "empty"]).await;
    let unit = blue.unit("notes").await;
    let chunk = blue.read(&whole(unit.id, &["odd \"name", "id", "body"])).await;
    let rows = chunk.rows.iter().map(texts).collect::<Vec<_>>();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(rows[0], [some(""), some("1"), some("tab\tline\nback\\slash\r")]);
    assert_eq!(rows[1], [some("\\N"), some("2"), None]);
    assert_eq!(rows[2], [some("x"), some("3"), some("plain")]);
    assert_eq!((chunk.filenode, chunk.fingerprint), (unit.filenode, unit.fingerprint));

    let empty = blue.unit("empty").await;
    assert_eq!(empty.blocks, 0);
    assert!(blue.read(&whole(empty.id, &["id"])).await.rows.is_empty());
}

#[tokio::test]
async fn ranges_cover_a_table_once_and_are_read_by_address() {
    let Some(cluster) = shared() else { return };
    let schema = "CREATE TABLE t (id int PRIMARY KEY, pad text);
        INSERT INTO t SELECT g, repeat('x', 100) FROM generate_series(1, 1000) g; ANALYZE t";
    let mut blue = blue(database(&cluster, "ranges").await, schema, &["t"]).await;
    let unit = blue.unit("t").await;
    assert_eq!((unit.block_bytes, unit.rows_estimate), (8192, Some(1000)));
    assert!(unit.blocks > 10);
    let mut all = Vec::new();
    let mut from = Ctid::start_of(0);
    for to in [Ctid { block: 2, line: 7 }, Ctid::start_of(9), Ctid::start_of(unit.blocks)] {
        let scope = ChunkScope::Blocks(BlockRange { from, to });
        let chunk = blue.read(&ChunkRequest { scope, ..whole(unit.id, &["id"]) }).await;
        all.extend(first_column(&chunk).into_iter().map(|id| id.parse::<u32>().unwrap()));
        from = to;
    }
    all.sort_unstable();
    assert_eq!(all, (1..=1000).collect::<Vec<_>>());

    // With the reader's own setting the plan is a TID range scan even over the whole table.
    blue.client.batch("SET enable_seqscan = off").await.unwrap();
    let plan =
        "EXPLAIN SELECT id FROM ONLY public.t WHERE ctid >= '(0,0)'::tid AND ctid < '(4294967295,0)'::tid";
    let plan = blue.client.query(plan).await.unwrap();
    assert!(plan[0].text(0).unwrap().contains("Tid Range Scan"), "{:?}", plan[0].text(0));
}

#[tokio::test]
async fn too_many_bytes_end_the_read_and_the_reader_goes_on() {
    let Some(cluster) = shared() else { return };
    let schema = "CREATE TABLE wide (id int PRIMARY KEY, body text);
        INSERT INTO wide SELECT g, repeat('x', 2000000) FROM generate_series(1, 20) g";
    let mut blue = blue(database(&cluster, "large").await, schema, &["wide"]).await;
    let unit = blue.unit("wide").await;
    let request = ChunkRequest { bytes_max: 3_000_000, ..whole(unit.id, &["id", "body"]) };
    assert_eq!(blue.reader.read(&request).await.unwrap(), ChunkOutcome::TooLarge);
    let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_xmin IS NOT NULL \
                AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
    assert_eq!(blue.client.query(open).await.unwrap()[0].text(0), Some("0"), "no snapshot outlives the call");
    // A single row is never too large.
    let one = by_keys(unit.id, &["id", "body"], &["id"], &[&["7"]]);
    assert_eq!(blue.read(&ChunkRequest { bytes_max: 10, ..one }).await.rows.len(), 1);
    assert_eq!(blue.read(&whole(unit.id, &["id"])).await.rows.len(), 20);
}

#[tokio::test]
async fn a_table_or_column_that_vanished_is_gone_and_a_renamed_table_is_found() {
    let Some(cluster) = shared() else { return };
    let schema = "CREATE TABLE t (id int PRIMARY KEY, a int, b int); INSERT INTO t VALUES (1, 2, 3)";
    let mut blue = blue(database(&cluster, "gone").await, schema, &["t"]).await;
    let unit = blue.unit("t").await.id;
    assert_eq!(blue.read(&whole(unit, &["id", "b"])).await.rows.len(), 1);
    // Another table takes the name: rows must come from the one that was asked for.
    blue.client.batch("ALTER TABLE t RENAME TO old; CREATE TABLE t (id int, b int)").await.unwrap();
    assert_eq!(blue.read(&whole(unit, &["id", "b"])).await.rows.len(), 1);
    blue.client.batch("CREATE SCHEMA away; ALTER TABLE old SET SCHEMA away").await.unwrap();
    assert_eq!(blue.read(&whole(unit, &["id", "b"])).await.rows.len(), 1);
    blue.client.batch("ALTER TABLE away.old DROP COLUMN b").await.unwrap();
    assert_eq!(blue.reader.read(&whole(unit, &["id", "b"])).await.unwrap(), ChunkOutcome::Gone);
    let by_key = by_keys(unit, &["id"], &["b"], &[&["3"]]);
    assert_eq!(blue.reader.read(&by_key).await.unwrap(), ChunkOutcome::Gone);
    blue.client.batch("DROP SCHEMA away CASCADE").await.unwrap();
    assert_eq!(blue.reader.read(&whole(unit, &["id"])).await.unwrap(), ChunkOutcome::Gone);
}

#[tokio::test]
async fn keys_find_their_rows_by_exact_text() {
    let Some(cluster) = shared() else { return };
    let schema = "CREATE TYPE color AS ENUM ('red', 'green');
        CREATE DOMAIN code AS char(5);
        CREATE TABLE k (a text, b numeric, c color, d code, v int, PRIMARY KEY (a, b, c, d));
        INSERT INTO k VALUES (E'it''s \\\\ \"odd\"', 1.0, 'red', 'ab', 1), ('plain', 2, 'green', 'cd', 2), ('other', 3, 'red', 'ef', 3);
        CREATE EXTENSION IF NOT EXISTS citext WITH SCHEMA public;
        CREATE TABLE folded (name public.citext PRIMARY KEY); INSERT INTO folded VALUES ('Ann'), ('bob')";
    let mut blue = blue(database(&cluster, "keys").await, schema, &["k", "folded"]).await;
    let unit = blue.unit("k").await.id;
    let key = ["d", "a", "b", "c"];
    let keys: &[&[&str]] = &[
        &["ab   ", "it's \\ \"odd\"", "1.0", "red"],
        &["cd   ", "plain", "2", "green"],
        &["cd   ", "plain", "2", "green"],
        // Equal to a row's key and not the same text: another key as far as the stream is concerned.
        &["ef   ", "other", "3.00", "red"],
        &["zz   ", "nowhere", "9", "red"],
    ];
    assert_eq!(first_column(&blue.read(&by_keys(unit, &["v"], &key, keys)).await), ["1", "2"]);
    assert!(blue.read(&by_keys(unit, &["v"], &key, &[])).await.rows.is_empty());
    let folded = blue.unit("folded").await.id;
    let keys: &[&[&str]] = &[&["Ann"], &["Bob"]];
    assert_eq!(first_column(&blue.read(&by_keys(folded, &["name"], &["name"], keys)).await), ["Ann"]);
}

#[tokio::test]
async fn the_snapshot_is_taken_after_the_lock() {
    let Some(cluster) = shared() else { return };
    let schema = "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)";
    let mut blue = blue(database(&cluster, "order_of_lock").await, schema, &["t"]).await;
    let unit = blue.unit("t").await.id;
    blue.client.batch("BEGIN; TRUNCATE t; INSERT INTO t VALUES (2)").await.unwrap();
    let xid = blue.client.query("SELECT pg_current_xact_id()").await.unwrap()[0].parse::<u64>(0).unwrap();
    let mut watcher = connect(&blue.options).await;
    let release = async {
        // The chunk waits for the lock: only then does the writer commit.
        let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessShareLock' \
                       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        while watcher.query(waiting).await.unwrap()[0].text(0) == Some("0") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        blue.client.batch("COMMIT").await.unwrap();
    };
    let request = whole(unit, &["id"]);
    let (outcome, ()) = tokio::join!(blue.reader.read(&request), release);
    let ChunkOutcome::Read(chunk) = outcome.unwrap() else { panic!("not read") };
    assert!(chunk.snapshot.sees(Xid::new(xid)));
    assert_eq!(
        first_column(&chunk),
        ["2"],
        "a snapshot older than the lock would find the truncated table empty"
    );
}

/// Promise 1: an expression compiled for one type must not see the texts of another, so a chunk says first that the types are
/// no longer those, whichever way it is read.
#[tokio::test]
async fn columns_of_another_type_are_not_read() {
    let Some(cluster) = shared() else { return };
    let schema = "CREATE TABLE p (id int PRIMARY KEY, \"it's\" varchar(5)) PARTITION BY RANGE (id);
        CREATE TABLE p_1 PARTITION OF p DEFAULT; INSERT INTO p VALUES (1, 'x')";
    let mut blue = blue(database(&cluster, "typed").await, schema, &["p"]).await;
    let unit = blue.unit("p_1").await;
    let (int, varchar, text) = ((23, -1), (1043, 9), (25, -1));
    let columns = ["it's", "id"];
    let typed = |types: &[(u32, i32)]| {
        let types = Some(types.to_vec());
        let by_keys = by_keys(unit.root, &columns, &["id"], &[&["1"]]);
        [ChunkRequest { types: types.clone(), ..whole(unit.id, &columns) }, ChunkRequest { types, ..by_keys }]
    };
    for request in typed(&[varchar, int]) {
        assert_eq!(blue.read(&request).await.rows.len(), 1);
    }
    for types in [[text, int], [varchar, (20, -1)], [(1043, 10), int], [int, varchar]] {
        for request in typed(&types) {
            let outcome = blue.reader.read(&request).await.unwrap();
            assert_eq!(outcome, ChunkOutcome::Gone, "{types:?}");
        }
    }
    blue.client.batch("ALTER TABLE p ALTER \"it's\" TYPE text").await.unwrap();
    for request in typed(&[varchar, int]) {
        assert_eq!(blue.reader.read(&request).await.unwrap(), ChunkOutcome::Gone);
    }
    for request in typed(&[text, int]) {
        assert_eq!(blue.read(&request).await.rows.len(), 1);
    }
    for request in typed(&[text]) {
        assert!(blue.reader.read(&request).await.is_err(), "as many types as columns");
    }
}

#[tokio::test]
async fn a_dropped_read_leaves_the_reader_usable() {
    let Some(cluster) = shared() else { return };
    let schema = "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)";
    let mut blue = blue(database(&cluster, "dropped").await, schema, &["t"]).await;
    let unit = blue.unit("t").await.id;
    blue.client.batch("BEGIN; LOCK TABLE t").await.unwrap();
    let request = whole(unit, &["id"]);
    assert!(tokio::time::timeout(Duration::from_millis(50), blue.reader.read(&request)).await.is_err());
    blue.client.batch("ROLLBACK").await.unwrap();
    assert_eq!(blue.read(&request).await.rows.len(), 1);
}
