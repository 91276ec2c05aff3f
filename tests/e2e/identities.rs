//! Every replica identity and kind of key, keys that change, large values that stay, and what green adds of its own.

use understudy_tests::{Migration, Pair, Same, Sidecar, assert_same};

/// Tables by how blue identifies their rows.
const TABLES: &str = "
    CREATE TABLE plain (id bigint PRIMARY KEY, note text);
    CREATE TABLE composite (a int, b text, c date, note text, PRIMARY KEY (b, a));
    CREATE TABLE by_index (code text NOT NULL UNIQUE, note text);
    ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_code_key;
    CREATE TABLE whole (id int PRIMARY KEY, note text, large text);
    ALTER TABLE whole REPLICA IDENTITY FULL;
    CREATE TABLE wide_key (code text PRIMARY KEY, note text);
    CREATE TABLE \"Odd \"\"name\"\" (ü)\" (\"Key \"\"k\"\"\" int PRIMARY KEY, \"select\" text);
    CREATE TABLE large (id int PRIMARY KEY, title text, body text, more bytea);
    ALTER TABLE large ALTER body SET STORAGE EXTERNAL, ALTER more SET STORAGE EXTERNAL;
    CREATE TABLE always (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, twice int GENERATED ALWAYS AS (price * 2) STORED, price int);
    CREATE TABLE swaps (id int PRIMARY KEY, place int NOT NULL UNIQUE DEFERRABLE INITIALLY DEFERRED);
    CREATE TABLE empty_rows (id int PRIMARY KEY, a text, b text);
";

const NAMES: [&str; 10] = [
    "plain",
    "composite",
    "by_index",
    "whole",
    "wide_key",
    "\"Odd \"\"name\"\" (ü)\"",
    "large",
    "always",
    "swaps",
    "empty_rows",
];

const ROWS: &str = r#"
    INSERT INTO plain SELECT n, 'p' || n FROM generate_series(1, 2000) n;
    INSERT INTO composite SELECT n, 'b' || n % 7, '2025-01-01', E'tab\t newline\n backslash \\ ' || n FROM generate_series(1, 2000) n;
    INSERT INTO by_index SELECT 'code' || n, 'i' FROM generate_series(1, 2000) n;
    INSERT INTO whole SELECT n, 'w', repeat(md5(n::text), 200) FROM generate_series(1, 300) n;
    INSERT INTO wide_key SELECT repeat(md5(n::text), 40) || n, 'k' FROM generate_series(1, 200) n;
    INSERT INTO "Odd ""name"" (ü)" SELECT n, 'o' FROM generate_series(1, 200) n;
    INSERT INTO large SELECT n, 't', (SELECT string_agg(md5(n || '/' || p), '') FROM generate_series(1, 300) p), decode(repeat(md5(n::text), 300), 'hex') FROM generate_series(1, 200) n;
    INSERT INTO always (price) SELECT n FROM generate_series(1, 500) n;
    INSERT INTO swaps SELECT n, n FROM generate_series(1, 200) n;
    INSERT INTO empty_rows SELECT n, CASE n % 3 WHEN 0 THEN '' WHEN 1 THEN '\N' END, NULL FROM generate_series(1, 200) n;
"#;

const CHANGES: &str = r#"
    UPDATE plain SET note = 'changed' WHERE id % 3 = 0;
    UPDATE plain SET id = id + 100000 WHERE id % 5 = 0;
    DELETE FROM plain WHERE id % 7 = 0;
    BEGIN; DELETE FROM plain WHERE id = 1; INSERT INTO plain VALUES (1, 'again'); UPDATE plain SET id = -1 WHERE id = 1; UPDATE plain SET id = 1 WHERE id = -1; COMMIT;
    UPDATE composite SET b = 'z' || b, note = NULL WHERE a % 2 = 0;
    UPDATE by_index SET code = code || 'x' WHERE code LIKE '%1';
    DELETE FROM by_index WHERE code LIKE '%2';
    UPDATE whole SET note = 'large stays' WHERE id % 2 = 0;
    UPDATE whole SET id = -id WHERE id % 3 = 0;
    DELETE FROM whole WHERE id % 10 = 1;
    UPDATE wide_key SET note = 'changed' WHERE note = 'k';
    UPDATE wide_key SET code = 'new' || code WHERE code LIKE '%3';
    UPDATE "Odd ""name"" (ü)" SET "select" = 'changed', "Key ""k""" = - "Key ""k""";
    UPDATE large SET title = 'body and more stay';
    UPDATE large SET id = id + 1000 WHERE id % 2 = 0;
    UPDATE large SET body = 'short now' WHERE id % 5 = 0;
    UPDATE large SET more = NULL WHERE id % 7 = 0;
    UPDATE always SET price = price + 1; INSERT INTO always (price) SELECT n FROM generate_series(1, 50) n;
    BEGIN; UPDATE swaps SET place = 201 - place; COMMIT;
    UPDATE empty_rows SET a = b, b = a;
    TRUNCATE composite, by_index;
    INSERT INTO composite VALUES (1, 'after', '2025-02-02', NULL);
"#;

/// The same tables on both sides, through copy and through stream.
#[tokio::test(flavor = "multi_thread")]
async fn every_identity_and_key() {
    for (blue, green) in [(15, 18), (18, 15)] {
        let Some(pair) = Pair::start(blue, green).await else {
            return;
        };
        pair.on_both(TABLES).await;
        let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
        blue.batch(ROWS).await;
        let mut sidecar = Sidecar::start(&Migration::between(&pair, "identities").table("public.*"));
        sidecar.wait_copied().await;
        let tables: Vec<Same> = NAMES.iter().map(|name| Same::table(name)).collect();
        sidecar.wait_caught_up(&mut blue, &mut green).await;
        assert_same(&mut blue, &mut green, &tables).await;
        blue.batch(CHANGES).await;
        sidecar.wait_caught_up(&mut blue, &mut green).await;
        assert_same(&mut blue, &mut green, &tables).await;
        let status = sidecar.status().await.expect("a status");
        assert_eq!((&status["mismatches"], &status["quarantined"]), (&0.into(), &0.into()), "{status}");
        sidecar.stop().await;
    }
}

/// Green's own foreign keys and triggers neither block nor repeat what blue has done (F25).
#[tokio::test(flavor = "multi_thread")]
async fn foreign_keys_and_triggers_on_green() {
    let Some(pair) = Pair::start(15, 18).await else {
        return;
    };
    pair.on_both(
        "CREATE TABLE parent (id int PRIMARY KEY, children int NOT NULL DEFAULT 0);
         CREATE TABLE child (id int PRIMARY KEY, parent int NOT NULL REFERENCES parent);
         CREATE FUNCTION count_children() RETURNS trigger LANGUAGE plpgsql AS
           $$BEGIN UPDATE public.parent SET children = children + 1 WHERE id = NEW.parent; RETURN NEW; END$$;
         CREATE TRIGGER counted AFTER INSERT ON child FOR EACH ROW EXECUTE FUNCTION count_children()",
    )
    .await;
    let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
    blue.batch("INSERT INTO parent SELECT n FROM generate_series(1, 100) n").await;
    blue.batch("INSERT INTO child SELECT n, 1 + n % 100 FROM generate_series(1, 1000) n").await;
    let mut sidecar = Sidecar::start(&Migration::between(&pair, "family").table("public.*"));
    sidecar.wait_copied().await;
    blue.batch("INSERT INTO parent SELECT n FROM generate_series(101, 200) n").await;
    blue.batch("INSERT INTO child SELECT n, n % 200 + 1 FROM generate_series(1001, 2000) n").await;
    blue.batch("DELETE FROM child WHERE id % 2 = 0; DELETE FROM parent p WHERE NOT EXISTS (SELECT FROM child WHERE parent = p.id)")
        .await;
    sidecar.wait_caught_up(&mut blue, &mut green).await;
    assert_same(&mut blue, &mut green, &[Same::table("parent"), Same::table("child")]).await;
    sidecar.stop().await;
}

/// Where green does not permit to pass over foreign keys, those among the tables go until the rows are there, and those
/// that act by themselves until the flip, as preflight says; the others are kept to from then on (F25).
#[tokio::test(flavor = "multi_thread")]
async fn foreign_keys_that_cannot_be_passed_over() {
    let Some(pair) = Pair::start(15, 18).await else {
        return;
    };
    pair.on_both(
        "CREATE TABLE parent (id int PRIMARY KEY, above int);
         CREATE TABLE child (id int PRIMARY KEY, parent int NOT NULL);
         ALTER TABLE child ADD CONSTRAINT to_parent FOREIGN KEY (parent) REFERENCES parent;
         ALTER TABLE parent ADD CONSTRAINT to_itself FOREIGN KEY (above) REFERENCES parent ON DELETE CASCADE",
    )
    .await;
    let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
    blue.batch("INSERT INTO parent SELECT n, nullif(n / 2, 0) FROM generate_series(1, 2000) n").await;
    blue.batch("INSERT INTO child SELECT n, 1 + n % 2000 FROM generate_series(1, 4000) n").await;
    let migration =
        Migration::between(&pair, "keys").table("public.*").with("apply: { replica_role: never }");
    let exit = Sidecar::start(&migration).exit().await;
    assert_eq!(exit.code, Some(2), "{}", exit.stderr);
    for said in ["to_parent", "to_itself", "ON DELETE CASCADE", "replica_role: auto", "DROP CONSTRAINT"] {
        assert!(exit.stderr.contains(said), "`{said}` is not in:\n{}", exit.stderr);
    }
    green
        .batch("ALTER TABLE child DROP CONSTRAINT to_parent; ALTER TABLE parent DROP CONSTRAINT to_itself")
        .await;
    let mut sidecar = Sidecar::start(&migration);
    sidecar.wait_copied().await;
    green
        .batch("ALTER TABLE child ADD CONSTRAINT to_parent FOREIGN KEY (parent) REFERENCES parent NOT VALID")
        .await;
    green.batch("ALTER TABLE child VALIDATE CONSTRAINT to_parent").await;
    blue.batch(
        "BEGIN; INSERT INTO parent SELECT n, nullif(n - 1, 3000) FROM generate_series(3001, 3500) n;
         INSERT INTO child SELECT n + 10000, n FROM generate_series(3001, 3500) n;
         DELETE FROM child WHERE parent > 1000; DELETE FROM parent WHERE id BETWEEN 1001 AND 2000 AND above > 900; COMMIT",
    )
    .await;
    blue.batch("DELETE FROM child; DELETE FROM parent WHERE id = 2; INSERT INTO child VALUES (1, 1)").await;
    sidecar.wait_caught_up(&mut blue, &mut green).await;
    assert_same(&mut blue, &mut green, &[Same::table("parent"), Same::table("child")]).await;
    assert_eq!(green.number("SELECT count(*) FROM understudy.mismatches").await, 0);
    sidecar.stop().await;
}

/// Columns renamed, left out and filled with constants, through copy and stream; green's other columns keep defaults.
#[tokio::test(flavor = "multi_thread")]
async fn columns_are_renamed_left_out_and_added() {
    let Some(pair) = Pair::start(15, 18).await else {
        return;
    };
    let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
    blue.batch("CREATE TABLE person (id int PRIMARY KEY, name text, secret text)").await;
    green
        .batch(
            "CREATE SCHEMA app; CREATE TABLE app.human (human_id int PRIMARY KEY, full_name text, region text NOT NULL, \
             size int, made timestamptz DEFAULT 'epoch')",
        )
        .await;
    blue.batch("INSERT INTO person SELECT n, 'n' || n, 's' FROM generate_series(1, 500) n").await;
    let entry = "  - from: public.person\n    to: app.human\n    columns:\n      human_id: id\n      full_name: name\n      \
                 region: \"'eu'\"\n      size: 42\n";
    let mut sidecar = Sidecar::start(&Migration::between(&pair, "columns").entry(entry));
    sidecar.wait_copied().await;
    blue.batch("UPDATE person SET name = 'changed' WHERE id % 2 = 0; UPDATE person SET secret = 'still'")
        .await;
    blue.batch("INSERT INTO person VALUES (1000, 'late', 's'); DELETE FROM person WHERE id = 3; UPDATE person SET id = -4 WHERE id = 4")
        .await;
    sidecar.wait_caught_up(&mut blue, &mut green).await;
    let same = Same {
        blue: "SELECT id, name, 'eu', 42, 'epoch'::timestamptz FROM person".to_owned(),
        green: "SELECT * FROM app.human".to_owned(),
    };
    assert_same(&mut blue, &mut green, &[same]).await;
    sidecar.stop().await;
}
