//! What users get wrong, or others change under us: one clear message with place and remedy, the right exit code, and
//! nothing changed or lost.

use understudy_tests::{Migration, Pair, Port, Same, Session, Sidecar, assert_same, understudy, until};

/// A schema of its own on the shared servers, with one table that could be moved.
struct Case {
    pair: &'static Pair,
    name: &'static str,
    blue: Session,
    green: Session,
}

impl Case {
    async fn open(name: &'static str) -> Option<Case> {
        let pair = Pair::shared()?;
        let schema = name.replace('-', "_");
        let create = format!(
            "CREATE SCHEMA {schema}; CREATE TABLE {schema}.item (id int PRIMARY KEY, n int, note text)"
        );
        pair.on_both(&create).await;
        let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
        for session in [&mut blue, &mut green] {
            session.batch(&format!("SET search_path = {schema}")).await;
        }
        blue.batch("INSERT INTO item SELECT n, n, 'note' FROM generate_series(1, 100) n").await;
        Some(Case { pair, name, blue, green })
    }

    fn schema(&self) -> String {
        self.name.replace('-', "_")
    }

    fn migration(&self) -> Migration {
        Migration::between(self.pair, self.name).table(&format!("{}.item", self.schema()))
    }

    /// The table is followed, and the sidecar has been stopped in order.
    async fn followed_and_stopped(&mut self, migration: &Migration) {
        let mut sidecar = Sidecar::start(migration);
        sidecar.wait_copied().await;
        sidecar.wait_caught_up(&mut self.blue, &mut self.green).await;
        sidecar.stop().await;
        // Blue notices a moment later that its reader is gone.
        let active =
            format!("SELECT active FROM pg_replication_slots WHERE slot_name = '{}'", migration.slot());
        until("the slot is free", async || (self.blue.value(&active).await == "f").then_some(())).await;
    }

    /// Neither side holds anything of this migration.
    async fn assert_untouched(&mut self) {
        let slot = self.migration().slot();
        let objects = format!(
            "SELECT slot_name FROM pg_replication_slots WHERE slot_name = '{slot}' \
             UNION ALL SELECT pubname FROM pg_publication WHERE pubname = '{slot}'"
        );
        assert_eq!(self.blue.column(&objects).await, Vec::<String>::new(), "nothing is left on blue");
        let known = format!("SELECT name FROM understudy.migration WHERE name = '{}'", self.name);
        // The bookkeeping may not exist at all.
        let known = self.green.try_column(&known).await.unwrap_or_default();
        assert_eq!(known, Vec::<String>::new(), "green remembers nothing");
    }
}

/// Runs the sidecar until it refuses, and checks exit code and message. Returns the message.
async fn refused(migration: &Migration, code: i32, words: &[&str]) -> String {
    let exit = Sidecar::start(migration).exit().await;
    assert_eq!(exit.code, Some(code), "{}", exit.stderr);
    for word in words {
        assert!(exit.stderr.contains(word), "`{word}` is not in:\n{}", exit.stderr);
    }
    assert!(!exit.stderr.contains("panicked"), "{}", exit.stderr);
    let last = exit.stderr.trim_end().lines().last().unwrap_or_default();
    assert!(!last.is_empty(), "the last line says what to do next");
    exit.stderr
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password() {
    let Some(mut case) = Case::open("wrong-password").await else {
        return;
    };
    let migration = case.migration().blue_password("not the password");
    let message = refused(&migration, 2, &["blue", "password"]).await;
    assert!(!message.contains("not the password"), "{message}");
    case.assert_untouched().await;
    let migration = case.migration().green_password("not the password");
    refused(&migration, 2, &["green", "password"]).await;
    case.assert_untouched().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_file_that_is_missing() {
    let Some(mut case) = Case::open("no-password-file").await else {
        return;
    };
    let migration = case.migration().blue_password_file("/nowhere/password");
    refused(&migration, 2, &["/nowhere/password"]).await;
    case.assert_untouched().await;
}

/// A server that is away at the very start is waited for, but not for ever.
#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_host() {
    let Some(mut case) = Case::open("unreachable").await else {
        return;
    };
    let port = Port::reserve();
    let nowhere = format!("postgres://understudy@127.0.0.1:{}/shop", port.number());
    for migration in [case.migration().blue_url(&nowhere), case.migration().green_url(&nowhere)] {
        let file = migration.write(&Port::reserve());
        let exit = understudy(case.pair.scratch.path(), &["check", &file.to_string_lossy()]).await;
        let message = exit.stderr + &exit.stdout;
        assert!(message.contains(&port.number().to_string()), "the address is named:\n{message}");
        assert_ne!(exit.code, Some(0), "{message}");
    }
    let message = refused(&case.migration().blue_url(&nowhere), 1, &["blue", "refused"]).await;
    assert!(message.contains(&port.number().to_string()), "the address is named:\n{message}");
    case.assert_untouched().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_name_that_does_not_exist() {
    let Some(case) = Case::open("no-such-host").await else {
        return;
    };
    let nowhere = "postgres://understudy@no-such-host.invalid:5432/shop";
    let file = case.migration().blue_url(nowhere).write(&Port::reserve());
    let exit = understudy(case.pair.scratch.path(), &["check", &file.to_string_lossy()]).await;
    assert_ne!(exit.code, Some(0));
    assert!((exit.stderr.clone() + &exit.stdout).contains("no-such-host.invalid"), "{}", exit.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_does_not_exist() {
    let Some(mut case) = Case::open("no-database").await else {
        return;
    };
    let url = case.pair.green.url("elsewhere");
    refused(&case.migration().green_url(&url), 2, &["elsewhere"]).await;
    case.assert_untouched().await;
}

/// A role without rights is told each one that it lacks, at once.
#[tokio::test(flavor = "multi_thread")]
async fn missing_rights() {
    let Some(mut case) = Case::open("rights").await else {
        return;
    };
    for side in [&mut case.blue, &mut case.green] {
        side.batch("CREATE ROLE weak LOGIN PASSWORD 'weak'; GRANT USAGE ON SCHEMA rights TO weak").await;
    }
    let weak = |url: String| url.replace("understudy@", "weak@");
    let migration = case.migration().blue_url(&weak(case.pair.blue.url("shop"))).blue_password("weak");
    refused(&migration, 2, &["weak", "may not replicate", "rights.item"]).await;
    let migration = case.migration().green_url(&weak(case.pair.green.url("shop"))).green_password("weak");
    refused(&migration, 2, &["weak"]).await;
    case.assert_untouched().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wal_level_too_low() {
    let low = [("fsync", "off"), ("wal_level", "replica")];
    let Some(pair) = Pair::start_with(15, 15, &low, &[("fsync", "off")]).await else {
        return;
    };
    pair.on_both("CREATE TABLE item (id int PRIMARY KEY)").await;
    let migration = Migration::between(&pair, "low").table("public.item");
    refused(&migration, 2, &["wal_level", "replica", "logical", "restart"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_is_missing() {
    let Some(mut case) = Case::open("slot-missing").await else {
        return;
    };
    let migration = case.migration();
    case.followed_and_stopped(&migration).await;
    case.blue.batch(&format!("SELECT pg_drop_replication_slot('{}')", migration.slot())).await;
    refused(&migration, 9, &["slot", "is gone", "understudy abort"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_blue_has_given_up() {
    let tight = [
        ("fsync", "off"),
        ("max_slot_wal_keep_size", "1MB"),
        ("max_wal_size", "32MB"),
        ("min_wal_size", "32MB"),
    ];
    let Some(pair) = Pair::start_with(15, 15, &tight, &[("fsync", "off")]).await else {
        return;
    };
    pair.on_both("CREATE TABLE item (id int PRIMARY KEY)").await;
    let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
    let migration = Migration::between(&pair, "lost").table("public.item");
    let mut sidecar = Sidecar::start(&migration);
    sidecar.wait_copied().await;
    sidecar.wait_caught_up(&mut blue, &mut green).await;
    sidecar.stop().await;
    blue.batch("CREATE TABLE filler (t text)").await;
    until("blue has given the slot up", async || {
        blue.batch("INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 30000) n").await;
        blue.batch("SELECT pg_switch_wal()").await;
        blue.batch("CHECKPOINT").await;
        (blue.value("SELECT wal_status FROM pg_replication_slots").await == "lost").then_some(())
    })
    .await;
    refused(&migration, 9, &["understudy_lost", "understudy abort"]).await;
}

/// Another program reads the slot. It is not ours to end.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_another_program_holds() {
    let Some(mut case) = Case::open("slot-held").await else {
        return;
    };
    let migration = case.migration();
    case.followed_and_stopped(&migration).await;
    let slot = migration.slot();
    let connection = format!(
        "host=127.0.0.1 port={} user=understudy password={} dbname=shop application_name=stranger",
        case.pair.blue.port(),
        case.pair.blue.password()
    );
    let options = ["-o", "proto_version=1", "-o", &format!("publication_names={slot}")].map(str::to_owned);
    // What it does not flush it does not confirm: the slot stays where it is.
    let mut args: Vec<&str> = vec!["-S", &slot, "--start", "-F", "0", "-f", "/dev/null", "-d", &connection];
    args.extend(options.iter().map(String::as_str));
    let program = std::path::Path::new("/usr/lib/postgresql/15/bin/pg_recvlogical");
    let mut stranger =
        understudy_tests::Process::start("stranger", case.pair.scratch.path(), program, &args, &[]);
    let active = format!("SELECT active FROM pg_replication_slots WHERE slot_name = '{slot}'");
    until("the stranger holds the slot", async || {
        assert!(stranger.ended().is_none(), "{}", stranger.errors());
        (case.blue.value(&active).await == "t").then_some(())
    })
    .await;
    let exit = Sidecar::start(&migration).exit().await;
    assert_eq!(exit.code, Some(2), "{}", exit.stderr);
    assert!(
        exit.stderr.contains(&slot) && exit.stderr.contains("stranger"),
        "the holder is named:\n{}",
        exit.stderr
    );
    assert!(stranger.ended().is_none(), "the stranger was ended");
    // Once it is gone, the migration goes on without loss.
    stranger.kill();
    case.blue.batch("UPDATE item SET note = 'later'").await;
    case.followed_and_stopped(&migration).await;
    let item = Same::table("item");
    assert_same(&mut case.blue, &mut case.green, &[item]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_was_moved_forward() {
    let Some(mut case) = Case::open("slot-moved").await else {
        return;
    };
    let migration = case.migration();
    case.followed_and_stopped(&migration).await;
    case.blue.batch("UPDATE item SET n = n + 1").await;
    case.blue
        .batch(&format!("SELECT pg_replication_slot_advance('{}', pg_current_wal_lsn())", migration.slot()))
        .await;
    refused(&migration, 9, &["moved forward", "understudy abort"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_of_another_cluster() {
    let Some(mut case) = Case::open("other-cluster").await else {
        return;
    };
    let migration = case.migration();
    case.followed_and_stopped(&migration).await;
    let Some(other) = Pair::start(15, 15).await else {
        return;
    };
    other.on_blue().await.batch("CREATE SCHEMA other_cluster; CREATE TABLE other_cluster.item (id int PRIMARY KEY, n int, note text)").await;
    let migration = case.migration().blue_url(&other.blue.url("shop")).blue_password(other.blue.password());
    refused(&migration, 9, &["another cluster", "understudy abort"]).await;
}

/// A wrong blue may have fewer tables. Nothing is forgotten for that: the right one goes on where it was.
#[tokio::test(flavor = "multi_thread")]
async fn another_cluster_with_fewer_tables() {
    let Some(mut case) = Case::open("fewer-tables").await else {
        return;
    };
    case.pair.on_both("CREATE TABLE fewer_tables.more (id int PRIMARY KEY, n int)").await;
    case.blue.batch("INSERT INTO more SELECT n, n FROM generate_series(1, 100) n").await;
    let all = || Migration::between(case.pair, "fewer-tables").table("fewer_tables.*");
    let right = all();
    case.followed_and_stopped(&right).await;
    // Whoever starts owns the migration from then on; everything else is to stay.
    let remembered = "SELECT (to_jsonb(m) - 'owner' - 'claimed_at')::text FROM understudy.migration m \
                        WHERE name = 'fewer-tables' \
                      UNION ALL SELECT r::text FROM understudy.routes r WHERE migration = 'fewer-tables' \
                      UNION ALL SELECT u::text FROM understudy.units u WHERE migration = 'fewer-tables' \
                      UNION ALL SELECT c::text FROM understudy.chunks_done c WHERE migration = 'fewer-tables' ORDER BY 1";
    let before = case.green.column(remembered).await;
    let Some(other) = Pair::start(15, 15).await else {
        return;
    };
    let schema =
        "CREATE SCHEMA fewer_tables; CREATE TABLE fewer_tables.item (id int PRIMARY KEY, n int, note text)";
    other.on_blue().await.batch(schema).await;
    let wrong = all().blue_url(&other.blue.url("shop")).blue_password(other.blue.password());
    refused(&wrong, 9, &["blue is another cluster", "point blue at the server"]).await;
    assert_eq!(case.green.column(remembered).await, before);
    case.blue
        .batch("UPDATE item SET note = 'later'; UPDATE more SET n = -n; DELETE FROM more WHERE id = 7")
        .await;
    let right = Migration::between(case.pair, "fewer-tables").table("fewer_tables.*");
    case.followed_and_stopped(&right).await;
    assert_same(&mut case.blue, &mut case.green, &[Same::table("item"), Same::table("more")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_blue_does_not_have() {
    let Some(mut case) = Case::open("no-table").await else {
        return;
    };
    let migration = Migration::between(case.pair, "no-table").table("no_table.itme");
    refused(&migration, 2, &["no_table.itme"]).await;
    case.assert_untouched().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_key() {
    let Some(mut case) = Case::open("no-key").await else {
        return;
    };
    case.pair.on_both("CREATE TABLE no_key.log (line text)").await;
    let migration = Migration::between(case.pair, "no-key").table("no_key.log");
    refused(&migration, 2, &["no_key.log", "key"]).await;
    case.assert_untouched().await;
    // Publishing it would have made blue refuse the application's updates (F35).
    case.blue.batch("INSERT INTO log VALUES ('x'); UPDATE log SET line = 'y'; DELETE FROM log").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_green_table_that_does_not_fit() {
    for (name, change, words) in [
        ("fit-table", "DROP TABLE item", &["fit_table.item"][..]),
        ("fit-column", "ALTER TABLE item DROP COLUMN note", &["fit_column.item", "note"][..]),
        (
            "fit-type",
            "ALTER TABLE item ALTER note TYPE int USING 0",
            &["fit_type.item", "note", "integer"][..],
        ),
        ("fit-null", "ALTER TABLE item ADD COLUMN more int NOT NULL", &["fit_null.item", "more"][..]),
        ("fit-key", "ALTER TABLE item DROP CONSTRAINT item_pkey", &["fit_key.item", "key"][..]),
        (
            "fit-generated",
            "ALTER TABLE item DROP note; ALTER TABLE item ADD note text GENERATED ALWAYS AS ('x') STORED",
            &["fit_generated.item", "note"][..],
        ),
    ] {
        let Some(mut case) = Case::open(name).await else {
            return;
        };
        case.green.batch(change).await;
        let migration = case.migration();
        refused(&migration, 2, words).await;
        case.assert_untouched().await;
    }
}

/// What joins later is looked at as closely as what was there first, and before anything is touched for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_joins_later_and_does_not_fit() {
    let Some(mut case) = Case::open("fit-later").await else {
        return;
    };
    case.followed_and_stopped(&case.migration()).await;
    case.blue.batch("CREATE TABLE late (id int PRIMARY KEY, n bigint, s text)").await;
    case.green.batch("CREATE TABLE late (id int PRIMARY KEY, n int, s text, needed int NOT NULL)").await;
    let slot = case.migration().slot();
    let published = format!(
        "SELECT p.oid || '.' || p.xmin || '/' || r.oid || '.' || r.xmin FROM pg_publication p \
         JOIN pg_publication_rel r ON r.prpubid = p.oid WHERE pubname = '{slot}'"
    );
    let remembered = "SELECT m::text || r::text FROM understudy.migration m JOIN understudy.routes r ON r.migration = m.name \
                      WHERE m.name = 'fit-later'";
    let before = (case.blue.column(&published).await, case.green.column(remembered).await);
    let both = case.migration().table("fit_later.late");
    refused(
        &both,
        2,
        &["fit_later.late.n", "integer", "bigint", "fit_later.late.needed", "understudy check"],
    )
    .await;
    let after = (case.blue.column(&published).await, case.green.column(remembered).await);
    assert_eq!(after, before, "nothing was created or changed");
    case.green.batch("ALTER TABLE late ALTER n TYPE bigint, DROP needed").await;
    case.blue.batch("INSERT INTO late VALUES (1, 5000000000, 'late'); UPDATE item SET note = 'later'").await;
    case.followed_and_stopped(&both).await;
    assert_same(&mut case.blue, &mut case.green, &[Same::table("item"), Same::table("late")]).await;
    // A mapping that changes is new too.
    case.green.batch("ALTER TABLE late ADD more int NOT NULL DEFAULT 0").await;
    case.blue.batch("ALTER TABLE late ADD more text").await;
    refused(&both, 2, &["fit_later.late.more", "integer", "text"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_green_that_holds_rows() {
    let Some(mut case) = Case::open("holds-rows").await else {
        return;
    };
    case.green.batch("INSERT INTO item VALUES (1, -1, 'ours'), (1000, -1, 'theirs')").await;
    refused(&case.migration(), 2, &["holds_rows.item", "existing_rows"]).await;
    case.assert_untouched().await;
    assert_eq!(case.green.number("SELECT count(*) FROM item").await, 2, "nothing was changed");
    // Adopted on request: rows with a key of blue are overwritten, the others stay.
    let migration = case.migration().with("existing_rows: adopt");
    case.followed_and_stopped(&migration).await;
    assert_eq!(case.green.number("SELECT count(*) FROM item").await, 101);
    assert_eq!(case.green.value("SELECT note FROM item WHERE id = 1").await, "note");
}

/// A row that green refuses stops the stream right there, without showing the row; mended, nothing is lost.
async fn violation(name: &'static str, constraint: &str, change: &str, mend: &str, words: &[&str]) {
    let Some(mut case) = Case::open(name).await else {
        return;
    };
    case.green.batch(constraint).await;
    let migration = case.migration();
    let mut sidecar = Sidecar::start(&migration);
    sidecar.wait_copied().await;
    case.blue.batch("UPDATE item SET note = 'before'").await;
    case.blue.batch(change).await;
    case.blue.batch("UPDATE item SET note = 'after' WHERE id < 50").await;
    let exit = sidecar.exit().await;
    assert_eq!(exit.code, Some(9), "{}", exit.stderr);
    for word in words {
        assert!(exit.stderr.contains(word), "`{word}` is not in:\n{}", exit.stderr);
    }
    assert!(!exit.stderr.contains("31415926"), "a row value was shown:\n{}", exit.stderr);
    assert_eq!(
        case.green.number("SELECT count(*) FROM item WHERE note = 'before'").await,
        100,
        "what preceded is there"
    );
    case.green.batch(mend).await;
    case.followed_and_stopped(&migration).await;
    assert_same(&mut case.blue, &mut case.green, &[Same::table("item")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_violation_in_the_stream() {
    violation(
        "check-stream",
        "ALTER TABLE item ADD CONSTRAINT small CHECK (n < 1000000)",
        "INSERT INTO item VALUES (1000, 31415926, 'new')",
        "ALTER TABLE item DROP CONSTRAINT small",
        &["check_stream.item", "small"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_null_that_green_refuses_in_the_stream() {
    violation(
        "null-stream",
        "ALTER TABLE item ALTER n SET NOT NULL",
        "UPDATE item SET n = NULL WHERE id = 7",
        "ALTER TABLE item ALTER n DROP NOT NULL",
        &["null_stream.item", "column n"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unique_value_that_green_has_already() {
    violation(
        "unique-stream",
        "CREATE UNIQUE INDEX only_one ON item (n)",
        "INSERT INTO item VALUES (31415926, 5, 'twice')",
        "DROP INDEX unique_stream.only_one",
        &["unique_stream.item", "only_one"],
    )
    .await;
}

/// The same in the first copy.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_violation_in_the_copy() {
    let Some(mut case) = Case::open("check-copy").await else {
        return;
    };
    case.blue.batch("INSERT INTO item VALUES (1000, 31415926, 'old')").await;
    case.green.batch("ALTER TABLE item ADD CONSTRAINT small CHECK (n < 1000000)").await;
    let migration = case.migration();
    let message = refused(&migration, 9, &["check_copy.item", "small"]).await;
    assert!(!message.contains("31415926"), "a row value was shown:\n{message}");
    case.green.batch("ALTER TABLE item DROP CONSTRAINT small").await;
    case.followed_and_stopped(&migration).await;
    assert_same(&mut case.blue, &mut case.green, &[Same::table("item")]).await;
}

/// With `on_error: quarantine` the row is set aside and counted, and everything else goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_in_quarantine() {
    let Some(mut case) = Case::open("quarantine").await else {
        return;
    };
    case.green.batch("ALTER TABLE item ADD CONSTRAINT small CHECK (n < 1000000)").await;
    let migration = case.migration().with("apply: { on_error: quarantine }");
    let mut sidecar = Sidecar::start(&migration);
    sidecar.wait_copied().await;
    case.blue
        .batch("BEGIN; UPDATE item SET note = 'x'; INSERT INTO item VALUES (1000, 31415926, 'bad'); INSERT INTO item VALUES (1001, 1, 'good'); COMMIT")
        .await;
    sidecar.wait_for("the row is counted", |status| status["quarantined"] == 1).await;
    case.blue.batch("UPDATE item SET note = 'y' WHERE id = 5").await;
    sidecar.wait_caught_up(&mut case.blue, &mut case.green).await;
    let others = "SELECT * FROM item WHERE id <> 1000".to_owned();
    assert_same(&mut case.blue, &mut case.green, &[Same { blue: others.clone(), green: others }]).await;
    assert_eq!(case.green.number("SELECT count(*) FROM item WHERE id = 1000").await, 0);
    assert!(!sidecar.log().contains("31415926"), "a row value was logged");
    sidecar.stop().await;
}

/// A blue that does not check its texts may hold what no encoding knows (F30).
#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_encoding() {
    let Some(pair) = Pair::start(15, 18).await else {
        return;
    };
    let mut control = Session::open(&pair.blue, "postgres").await;
    control.batch("CREATE DATABASE loose ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0").await;
    let mut blue = Session::open(&pair.blue, "loose").await;
    blue.batch("CREATE TABLE item (id int PRIMARY KEY, note text); INSERT INTO item VALUES (1, 'fine')")
        .await;
    blue.batch("INSERT INTO item VALUES (31415926, convert_from('\\xff'::bytea, 'SQL_ASCII'))").await;
    pair.on_green().await.batch("CREATE TABLE item (id int PRIMARY KEY, note text)").await;
    let migration = Migration::between(&pair, "loose").table("public.item").blue_url(&pair.blue.url("loose"));
    let message = refused(&migration, 9, &["public.item"]).await;
    assert!(!message.contains("31415926") && !message.contains("0xff"), "a row value was shown:\n{message}");
}
