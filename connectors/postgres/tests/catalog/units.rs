//! Units, snapshots and barriers, and who holds them up.

use understudy_contract::{BlueCatalog, ChunkOutcome, ChunkReader, Class};
use understudy_model::{Nonce, ReplicaIdentity, RouteId, UnitId, Xid};
use understudy_postgres::source::catalog::PostgresCatalog;

use crate::databases::{connect, database, shared};
use crate::harness::{PREFIX, blue, by_keys, first_column, listed, whole};

#[tokio::test]
async fn partitions_are_units_and_heirs_are_not() {
    let Some(cluster) = shared() else { return };
    let schema = "CREATE TABLE p (id int, region text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
        CREATE TABLE p_eu PARTITION OF p FOR VALUES IN ('eu') PARTITION BY RANGE (id);
        CREATE TABLE p_eu_1 PARTITION OF p_eu FOR VALUES FROM (1) TO (100);
        CREATE TABLE p_rest PARTITION OF p DEFAULT PARTITION BY HASH (id);
        CREATE TABLE p_rest_0 PARTITION OF p_rest FOR VALUES WITH (MODULUS 1, REMAINDER 0);
        INSERT INTO p VALUES (1, 'eu'), (2, 'eu'), (3, 'us');
        CREATE TABLE base (id int PRIMARY KEY, v int); CREATE TABLE heir () INHERITS (base);
        ALTER TABLE heir ADD PRIMARY KEY (id);
        INSERT INTO base VALUES (1, 1); INSERT INTO heir VALUES (2, 2)";
    let mut blue = blue(database(&cluster, "partitions").await, schema, &["p", "base", "nowhere"]).await;
    let units = blue.catalog.units().await.unwrap();
    let names = units.iter().map(|unit| (unit.route.0, unit.name.name.as_str())).collect::<Vec<_>>();
    assert_eq!(names, [(0, "p_eu_1"), (0, "p_rest_0"), (1, "base")]);
    let predicate = units[0].predicate.as_deref().unwrap();
    assert!(predicate.contains("'eu'") && predicate.contains("< 100"), "{predicate}");
    assert_eq!(units[1].predicate, None, "a hash partition's rows are told by blue's own hash only");
    assert_eq!(units[2].predicate, None);
    assert_eq!((units[2].root, units[0].root == units[0].id), (units[2].id, false));
    assert_eq!(first_column(&blue.read(&whole(units[0].id, &["id"])).await), ["1", "2"]);
    assert_eq!(first_column(&blue.read(&whole(units[2].id, &["id"])).await), ["1"]);

    // By key the root is read with all its leaves; it has no file of its own.
    let keys: &[&[&str]] = &[&["1", "eu"], &["3", "us"]];
    let chunk = blue.read(&by_keys(units[0].root, &["id"], &["id", "region"], keys)).await;
    assert_eq!((first_column(&chunk), chunk.filenode), (vec!["1".to_owned(), "3".to_owned()], 0));
    assert_eq!(
        first_column(&blue.read(&by_keys(units[2].id, &["id"], &["id"], &[&["1"], &["2"]])).await),
        ["1"]
    );
}

#[tokio::test]
async fn f33_attached_and_detached_leaves_come_and_go() {
    let Some(cluster) = shared() else { return };
    let schema = "CREATE TABLE p (id int, region text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
        CREATE TABLE p_eu PARTITION OF p FOR VALUES IN ('eu'); CREATE TABLE p_def PARTITION OF p DEFAULT";
    let mut blue = blue(database(&cluster, "attach").await, schema, &["p"]).await;
    // A default partition's predicate follows its siblings.
    let before = blue.unit("p_def").await.predicate.unwrap();
    blue.client.batch("CREATE TABLE p_us PARTITION OF p FOR VALUES IN ('us')").await.unwrap();
    let after = blue.unit("p_def").await.predicate.unwrap();
    assert!(!before.contains("'us'") && after.contains("'us'"), "{before} / {after}");
    assert!(blue.unit("p_us").await.predicate.is_some());
    blue.client.batch("ALTER TABLE p DETACH PARTITION p_eu").await.unwrap();
    let names =
        blue.catalog.units().await.unwrap().into_iter().map(|unit| unit.name.name).collect::<Vec<_>>();
    assert_eq!(names, ["p_def", "p_us"]);
}

/// A default partition without siblings takes every row, and Postgres tells no condition of it: truncating it must not
/// stop the run. It stays one whose condition changes as others come and go.
#[tokio::test]
async fn a_default_leaf_without_siblings_takes_every_row() {
    let Some(cluster) = shared() else { return };
    let schema = "CREATE TABLE p (id int, region text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
        CREATE TABLE p_def PARTITION OF p DEFAULT;
        CREATE TABLE q (id int, region text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
        CREATE TABLE q_eu PARTITION OF q FOR VALUES IN ('eu') PARTITION BY RANGE (id);
        CREATE TABLE q_eu_def PARTITION OF q_eu DEFAULT;
        CREATE TABLE r (id int PRIMARY KEY) PARTITION BY RANGE (id);
        CREATE TABLE r_def PARTITION OF r DEFAULT PARTITION BY RANGE (id);
        CREATE TABLE r_def_def PARTITION OF r_def DEFAULT;
        CREATE TABLE h (id int PRIMARY KEY) PARTITION BY HASH (id);
        CREATE TABLE h_all PARTITION OF h FOR VALUES WITH (MODULUS 1, REMAINDER 0)";
    let mut blue = blue(database(&cluster, "alone").await, schema, &["p", "q", "r", "h"]).await;
    let alone = blue.unit("p_def").await;
    assert_eq!((alone.predicate.as_deref(), alone.is_default_leaf()), (Some("(NOT (false))"), true));
    let row = blue.client.query("SELECT (NOT (false))").await.unwrap();
    assert!(row[0].is_true(0), "green evaluates it");
    let nested = blue.unit("q_eu_def").await;
    let predicate = nested.predicate.as_deref().unwrap();
    assert!(predicate.contains("'eu'") && nested.is_default_leaf(), "{predicate}");
    assert_eq!(blue.unit("r_def_def").await.predicate.as_deref(), Some("(NOT (false))"));
    assert_eq!(blue.unit("h_all").await.predicate, None);

    blue.client.batch("CREATE TABLE p_eu PARTITION OF p FOR VALUES IN ('eu')").await.unwrap();
    let beside = blue.unit("p_def").await;
    let predicate = beside.predicate.as_deref().unwrap();
    assert!(predicate.contains("'eu'") && beside.is_default_leaf(), "{predicate}");
    blue.client.batch("ALTER TABLE p DETACH PARTITION p_eu").await.unwrap();
    assert_eq!(blue.unit("p_def").await.predicate, alone.predicate);
    blue.client.batch("CREATE TABLE r_1 PARTITION OF r FOR VALUES FROM (1) TO (9)").await.unwrap();
    // Also where the process that told the condition before would not notice that it is another now.
    let predicate = blue.unit("r_def_def").await.predicate.unwrap();
    assert!(predicate.contains("NOT (") && predicate.contains("< 9"), "{predicate}");
}

/// A split: each route copies the table, and each leaf of it, as a unit of its own, and one that reads other columns is not
/// disturbed by what happens to these.
#[tokio::test]
async fn a_table_of_several_routes_is_a_unit_of_each() {
    let Some(cluster) = shared() else { return };
    let schema = "CREATE TABLE p (id int PRIMARY KEY, a text, b text) PARTITION BY RANGE (id);
        CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (id);
        CREATE TABLE p_1a PARTITION OF p_1 FOR VALUES FROM (0) TO (5);
        CREATE TABLE p_2 PARTITION OF p FOR VALUES FROM (10) TO (20);
        INSERT INTO p SELECT g, 'a', 'b' FROM generate_series(0, 4) g;
        CREATE TABLE t (id int PRIMARY KEY, a text, b text); INSERT INTO t VALUES (1, 'a', 'b')";
    let mut blue = blue(database(&cluster, "split").await, schema, &[]).await;
    let tables = [
        listed(0, "p", &["id", "a"]),
        listed(1, "t", &["id", "a"]),
        listed(2, "p", &["id", "b"]),
        listed(3, "t", &["id", "b"]),
        listed(4, "p_1", &["id", "a"]),
    ];
    let mut catalog = PostgresCatalog::connect(&blue.options, PREFIX, &tables).await.unwrap();
    let before = catalog.units().await.unwrap();
    let names = before.iter().map(|unit| (unit.route.0, unit.name.name.as_str())).collect::<Vec<_>>();
    assert_eq!(names, [(0, "p_1a"), (0, "p_2"), (1, "t"), (2, "p_1a"), (2, "p_2"), (3, "t"), (4, "p_1a")]);
    for unit in &before {
        assert_eq!((unit.id.route, unit.root.route), (unit.route, unit.route), "{unit:?}");
        assert_eq!(unit.blocks > 0, unit.name.name != "p_2", "each is measured: {unit:?}");
        assert_eq!(unit.predicate.is_some(), unit.id != unit.root, "each leaf is described: {unit:?}");
    }
    let leaf = |route| before.iter().find(|unit| unit.route == RouteId(route)).unwrap();
    assert_eq!((leaf(0).id.oid, leaf(0).predicate.clone()), (leaf(2).id.oid, leaf(2).predicate.clone()));
    assert_eq!((leaf(0).root.oid, leaf(0).fingerprint), (leaf(2).root.oid, leaf(2).fingerprint));
    assert_eq!(leaf(4).id, UnitId::new(leaf(0).id.oid, RouteId(4)));
    assert_ne!(leaf(4).root.oid, leaf(0).root.oid, "a table below the other's");

    // What is known of a locked table is known to all of its routes.
    blue.client.batch("BEGIN; LOCK TABLE t").await.unwrap();
    let locked = catalog.units().await.unwrap();
    let blocks = |route| locked.iter().find(|unit| unit.route == RouteId(route)).unwrap().blocks;
    assert_eq!((blocks(1) > 0, blocks(1)), (true, blocks(3)));
    blue.client.batch("ROLLBACK").await.unwrap();

    blue.client.batch("ALTER TABLE p ALTER a TYPE text USING upper(a)").await.unwrap();
    blue.client.batch("ALTER TABLE t DROP b").await.unwrap();
    let after = catalog.units().await.unwrap();
    for (before, now) in before.iter().zip(&after) {
        assert_eq!(before.id, now.id);
        let is_marked = before.marks == now.marks;
        assert_eq!(is_marked, [1, 2].contains(&now.route.0), "{now:?}");
    }
    for unit in &after {
        let column = if unit.route.0 == 2 { "b" } else { "a" };
        let rows = blue.read(&whole(unit.id, &["id", column])).await;
        assert_eq!(rows.rows.len(), [5, 0, 1, 5, 0, 1, 5][after.iter().position(|u| u == unit).unwrap()]);
    }
}

/// Promise 1: what gives the columns of a route other values without a word in the stream shows in their marks, and what
/// writes a table anew without that does not.
#[tokio::test]
async fn marks_tell_when_values_may_be_others() {
    let Some(cluster) = shared() else { return };
    let schema = "CREATE TABLE t (id int PRIMARY KEY, \"it's \"\"N\"\"\" text, note text, other int);
        INSERT INTO t VALUES (1, 'n', 'x', 2)";
    let mut blue = blue(database(&cluster, "marks").await, schema, &["t"]).await;
    let tables = [listed(0, "t", &["note", "id", "it's \"N\""])];
    let mut catalog = PostgresCatalog::connect(&blue.options, PREFIX, &tables).await.unwrap();
    let mut last = catalog.units().await.unwrap().remove(0);
    for (statement, file, fingerprint, places, written) in [
        ("VACUUM FULL t", true, false, false, false),
        ("CLUSTER t USING t_pkey", true, false, false, false),
        ("ANALYZE t", false, false, false, false),
        ("UPDATE t SET note = 'y'; VACUUM t", false, false, false, false),
        ("ALTER TABLE t ALTER other TYPE bigint", true, true, false, false),
        ("ALTER TABLE t ALTER note SET STATISTICS 10", false, false, false, true),
        ("ALTER TABLE t ALTER note TYPE text USING upper(note)", true, false, false, true),
        ("TRUNCATE t", true, false, false, false),
        ("ALTER TABLE t DROP note, ADD note text DEFAULT 'z'", false, true, true, true),
        ("INSERT INTO t VALUES (1)", false, false, false, false),
        // The default is filled in, and its description says so.
        ("VACUUM FULL t", true, false, false, true),
        ("VACUUM FULL t", true, false, false, false),
        (
            "ALTER TABLE t RENAME note TO x; ALTER TABLE t RENAME \"it's \"\"N\"\"\" TO note; \
          ALTER TABLE t RENAME x TO \"it's \"\"N\"\"\"",
            false,
            true,
            true,
            true,
        ),
    ] {
        for statement in statement.split("; ") {
            blue.client.batch(statement).await.unwrap();
        }
        let unit = catalog.units().await.unwrap().remove(0);
        let (then, now) = (last.marks.unwrap(), unit.marks.unwrap());
        assert_eq!(
            (unit.filenode != last.filenode, unit.fingerprint != last.fingerprint),
            (file, fingerprint),
            "file and fingerprint after {statement}"
        );
        let marks = (now.places != then.places, now.written != then.written);
        assert_eq!(marks, (places, written), "marks after {statement}");
        let chunk = blue.read(&whole(unit.id, &["id"])).await;
        assert_eq!((chunk.filenode, chunk.fingerprint), (unit.filenode, unit.fingerprint), "{statement}");
        last = unit;
    }
    blue.client.batch("ALTER TABLE t DROP note").await.unwrap();
    assert_eq!(catalog.units().await.unwrap()[0].marks, None, "a column is missing");
}

/// Promise 1: what writes the columns of the key shows, also when they keep their type, and what writes others does not.
#[tokio::test]
async fn marks_tell_when_the_key_was_written() {
    let Some(cluster) = shared() else { return };
    let schema = "CREATE TABLE t (id int PRIMARY KEY, note text); INSERT INTO t VALUES (1, 'x')";
    let mut blue = blue(database(&cluster, "keymarks").await, schema, &["t"]).await;
    let tables = [listed(0, "t", &["note", "id"])];
    let mut catalog = PostgresCatalog::connect(&blue.options, PREFIX, &tables).await.unwrap();
    let mut last = catalog.units().await.unwrap()[0].marks.unwrap();
    for (statement, keys) in [
        ("VACUUM FULL t", false),
        ("ALTER TABLE t ALTER note TYPE text USING upper(note)", false),
        ("ALTER TABLE t ALTER id TYPE int USING id + 10", true),
        ("ALTER TABLE t ALTER id SET STATISTICS 10", true),
        ("ALTER TABLE t DROP id, ADD id int PRIMARY KEY GENERATED ALWAYS AS IDENTITY", true),
    ] {
        blue.client.batch(statement).await.unwrap();
        let now = catalog.units().await.unwrap()[0].marks.unwrap();
        assert_eq!(now.keys != last.keys, keys, "{statement}");
        assert!(now.keys == last.keys || now.written != last.written, "{statement}");
        last = now;
    }
}

/// Promise 1: a leaf that was detached and attached again looks as it did, but for what made it a partition. What comes and
/// goes beside it is not that.
#[tokio::test]
async fn a_leaf_that_was_away_for_a_moment_shows() {
    let Some(cluster) = shared() else { return };
    let schema = "CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id);
        CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM (0) TO (10);
        CREATE TABLE p_2 PARTITION OF p FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (id);
        CREATE TABLE p_2a PARTITION OF p_2 FOR VALUES FROM (10) TO (15);
        CREATE TABLE p_2b PARTITION OF p_2 FOR VALUES FROM (15) TO (20);
        CREATE TABLE plain (id int PRIMARY KEY)";
    let mut blue = blue(database(&cluster, "membership").await, schema, &["p", "plain"]).await;
    assert_eq!(blue.unit("plain").await.membership, 0);
    for (statement, changed) in [
        ("CREATE TABLE p_3 PARTITION OF p FOR VALUES FROM (20) TO (30)", [false; 3]),
        (
            "TRUNCATE p_1; VACUUM FULL p_1; ALTER TABLE p_1 RENAME TO p_x; ALTER TABLE p_x RENAME TO p_1",
            [false; 3],
        ),
        ("ALTER TABLE p DETACH PARTITION p_3", [false; 3]),
        (
            "ALTER TABLE p DETACH PARTITION p_1; ALTER TABLE p ATTACH PARTITION p_1 FOR VALUES FROM (0) TO (10)",
            [true, false, false],
        ),
        (
            "ALTER TABLE p DETACH PARTITION p_2; ALTER TABLE p ATTACH PARTITION p_2 FOR VALUES FROM (10) TO (20)",
            [false, true, true],
        ),
        (
            "ALTER TABLE p_2 DETACH PARTITION p_2b; \
             ALTER TABLE p_2 ATTACH PARTITION p_2b FOR VALUES FROM (15) TO (20)",
            [false, false, true],
        ),
    ] {
        let leaves = ["p_1", "p_2a", "p_2b"];
        let mut before = Vec::new();
        for leaf in leaves {
            before.push(blue.unit(leaf).await);
        }
        for part in statement.split("; ") {
            blue.client.batch(part).await.unwrap();
        }
        for ((leaf, before), changed) in leaves.into_iter().zip(before).zip(changed) {
            let now = blue.unit(leaf).await;
            assert_eq!(now.membership != before.membership, changed, "{leaf} after {statement}");
            assert_eq!(now.fingerprint, before.fingerprint, "{leaf} after {statement}");
            assert_ne!(now.membership, 0);
        }
    }
}

#[tokio::test]
async fn rewrites_and_schema_changes_show_in_chunk_and_catalog_alike() {
    let Some(cluster) = shared() else { return };
    let schema =
        "CREATE TABLE t (id int PRIMARY KEY, a int, b varchar(5), g int GENERATED ALWAYS AS (a * 2) STORED);
        INSERT INTO t VALUES (1, 2, 'x')";
    let mut blue = blue(database(&cluster, "schema").await, schema, &["t"]).await;
    let mut last = blue.unit("t").await;
    for (statement, rewritten, changed) in [
        ("VACUUM FULL t", true, false),
        ("CLUSTER t USING t_pkey", true, false),
        ("TRUNCATE t", true, false),
        ("ANALYZE t", false, false),
        ("CREATE INDEX ON t (a)", false, false),
        ("ALTER TABLE t ALTER COLUMN a SET NOT NULL", false, false),
        ("ALTER TABLE t ALTER COLUMN b TYPE varchar(9)", false, true),
        ("ALTER TABLE t DROP COLUMN g", false, false),
        ("ALTER TABLE t ALTER COLUMN a TYPE bigint", true, true),
        ("ALTER TABLE t RENAME COLUMN a TO c", false, true),
        ("ALTER TABLE t DROP COLUMN b", false, true),
        ("ALTER TABLE t ADD COLUMN d int", false, true),
    ] {
        blue.client.batch(statement).await.unwrap();
        let unit = blue.unit("t").await;
        assert_eq!(unit.filenode != last.filenode, rewritten, "filenode after {statement}");
        assert_eq!(unit.fingerprint != last.fingerprint, changed, "fingerprint after {statement}");
        let chunk = blue.read(&whole(unit.id, &["id"])).await;
        assert_eq!(
            (chunk.filenode, chunk.fingerprint),
            (unit.filenode, unit.fingerprint),
            "chunk after {statement}"
        );
        last = unit;
    }
    for (statement, identity) in [
        ("ALTER TABLE t REPLICA IDENTITY FULL", ReplicaIdentity::Full),
        ("ALTER TABLE t REPLICA IDENTITY USING INDEX t_pkey", ReplicaIdentity::Index),
        ("ALTER TABLE t REPLICA IDENTITY NOTHING", ReplicaIdentity::Nothing),
        ("ALTER TABLE t REPLICA IDENTITY DEFAULT", ReplicaIdentity::Default),
        ("ALTER TABLE t DROP CONSTRAINT t_pkey", ReplicaIdentity::Nothing),
    ] {
        blue.client.batch(statement).await.unwrap();
        assert_eq!(blue.unit("t").await.identity, identity, "{statement}");
    }
}

#[tokio::test]
async fn a_table_that_stays_locked_is_waited_for_and_does_not_blind_the_catalog() {
    let Some(cluster) = shared() else { return };
    let schema = "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1);
        CREATE TABLE other (id int PRIMARY KEY); INSERT INTO other VALUES (1)";
    let mut blue = blue(database(&cluster, "locked").await, schema, &["t", "other"]).await;
    let before = blue.unit("t").await;
    blue.client.batch("SET application_name = 'holder'; BEGIN; LOCK TABLE t").await.unwrap();
    let outcome = blue.reader.read(&whole(before.id, &["id"])).await.unwrap();
    assert_eq!(outcome, ChunkOutcome::Busy, "a locked table is waited for, the run goes on");
    let during = blue.unit("t").await;
    assert!(during.blocks >= before.blocks, "a locked table's size is rounded up, never down");
    assert_eq!(blue.unit("other").await.blocks, 1);

    let tables = [listed(0, "t", &["id"])];
    let mut fresh = PostgresCatalog::connect(&blue.options, PREFIX, &tables).await.unwrap();
    let failure = fresh.units().await.unwrap_err();
    assert_eq!(failure.class(), Class::Transient);
    assert!(failure.to_string().contains("public.t is locked"), "{failure}");
    blue.client.batch("ROLLBACK").await.unwrap();
    assert_eq!(fresh.units().await.unwrap()[0].blocks, 1);
    assert_eq!(blue.read(&whole(before.id, &["id"])).await.rows.len(), 1);
}

#[tokio::test]
async fn barriers_and_snapshots_tell_who_is_waited_for() {
    let Some(cluster) = shared() else { return };
    let mut blue =
        blue(database(&cluster, "barrier").await, "CREATE TABLE t (id int PRIMARY KEY)", &["t"]).await;
    let options = blue.options.clone().with_application_name("writer");
    let mut writer = connect(&options).await;
    writer.batch("BEGIN; INSERT INTO t VALUES (1)").await.unwrap();
    let id = |row: &understudy_postgres::wire::Row| Xid::new(row.parse::<u64>(0).unwrap());
    let open = id(&writer.query("SELECT pg_current_xact_id()").await.unwrap()[0]);
    blue.client.batch("BEGIN; INSERT INTO t VALUES (2)").await.unwrap();
    let prepared = id(&blue.client.query("SELECT pg_current_xact_id()").await.unwrap()[0]);
    blue.client.batch("PREPARE TRANSACTION 'forgotten'").await.unwrap();

    let barrier = blue.catalog.barrier().await.unwrap();
    assert!(barrier > open && barrier > prepared);
    let snapshot = blue.catalog.snapshot().await.unwrap();
    assert!(snapshot.sees(barrier) && !snapshot.sees(open) && !snapshot.sees(prepared));
    let blockers = blue.catalog.blockers(&[open, prepared, barrier]).await.unwrap();
    assert_eq!(blockers.iter().map(|blocker| blocker.xid).collect::<Vec<_>>(), [open, prepared]);
    let texts = [&blockers[0].description, &blockers[1].description];
    assert!(texts[0].contains("'writer'") && texts[0].contains("idle in transaction"), "{texts:?}");
    assert!(texts[1].contains("prepared transaction 'forgotten' of postgres in barrier"), "{texts:?}");
    blue.client.batch("ROLLBACK PREPARED 'forgotten'").await.unwrap();
    writer.batch("ROLLBACK").await.unwrap();
    let snapshot = blue.catalog.snapshot().await.unwrap();
    assert!(snapshot.sees(open) && snapshot.sees(prepared));
    assert!(blue.catalog.blockers(&[open, prepared]).await.unwrap().is_empty());
}

#[tokio::test]
async fn markers_are_transactional_messages_with_the_nonce() {
    let Some(cluster) = shared() else { return };
    let mut blue =
        blue(database(&cluster, "markers").await, "CREATE TABLE t (id int PRIMARY KEY)", &["t"]).await;
    blue.client.batch("CREATE PUBLICATION p FOR TABLE t").await.unwrap();
    let slot = "SELECT pg_create_logical_replication_slot('markers', 'pgoutput')";
    blue.client.query(slot).await.unwrap();
    blue.reader.mark(Nonce(0xAB)).await.unwrap();
    blue.catalog.mark(Nonce(0xCD)).await.unwrap();
    let changes = "SELECT chr(get_byte(data, 0)), encode(data, 'escape') FROM pg_logical_slot_get_binary_changes(\
                   'markers', NULL, NULL, 'proto_version', '1', 'publication_names', 'p', 'messages', 'true')";
    let rows = blue.client.query(changes).await.unwrap();
    let kinds = rows.iter().map(|row| row.text(0).unwrap()).collect::<String>();
    assert_eq!(kinds, "BMCBMC");
    for (at, nonce) in [(1, Nonce(0xAB)), (4, Nonce(0xCD))] {
        let content = rows[at].text(1).unwrap();
        assert!(content.contains(PREFIX) && content.contains(&nonce.to_string()), "{content}");
    }
    blue.client.query("SELECT pg_drop_replication_slot('markers')").await.unwrap();
}
