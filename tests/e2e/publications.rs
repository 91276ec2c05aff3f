//! The publication belongs to the migration: whoever else changes it, and for however short a time, no change is lost in
//! silence, and the way back is told (F46).

use understudy::demo::cluster::Stop;
use understudy_tests::{
    Migration, Pair, Port, Same, Session, Sidecar, Signal, assert_same, through, understudy, until,
};

/// Two followed tables in a schema of their own on the shared servers.
struct Case {
    name: &'static str,
    pair: &'static Pair,
    blue: Session,
    green: Session,
    /// There is a partitioned table too.
    has_tree: bool,
}

const TABLES: [&str; 2] = ["item", "other"];

/// Whether the migrations go through a log. Greens behind one empty what was missed by themselves, each when it comes to that
/// place: nobody else knows how many there are, and where they are.
fn is_through_a_log() -> bool {
    through().is_some()
}

impl Case {
    /// The tables are copied, and the sidecar follows them.
    async fn followed(name: &'static str) -> Option<(Case, Sidecar)> {
        let pair = Pair::shared()?;
        let schema = name.replace('-', "_");
        let tables =
            TABLES.map(|table| format!("CREATE TABLE {schema}.{table} (id int PRIMARY KEY, n int);"));
        pair.on_both(&format!("CREATE SCHEMA IF NOT EXISTS {schema}; {}", tables.concat())).await;
        let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
        for session in [&mut blue, &mut green] {
            session.batch(&format!("SET search_path = {schema}")).await;
        }
        for table in TABLES {
            blue.batch(&format!("INSERT INTO {table} SELECT n, 0 FROM generate_series(1, 1000) n")).await;
        }
        let mut case = Case { name, pair, blue, green, has_tree: false };
        let mut sidecar = Sidecar::start(&case.migration());
        sidecar.wait_copied().await;
        sidecar.wait_caught_up(&mut case.blue, &mut case.green).await;
        Some((case, sidecar))
    }

    fn migration(&self) -> Migration {
        let schema = self.name.replace('-', "_");
        let migration = Migration::between(self.pair, self.name);
        let tree = self.has_tree.then_some("tree");
        TABLES
            .into_iter()
            .chain(tree)
            .fold(migration, |migration, table| migration.table(&format!("{schema}.{table}")))
    }

    /// The table as the command line names it.
    fn full(&self, table: &str) -> String {
        format!("{}.{table}", self.name.replace('-', "_"))
    }

    async fn alter(&mut self, what: &str) {
        self.blue.batch(&format!("ALTER PUBLICATION {} {what}", self.migration().slot())).await;
    }

    /// Changes of every kind, those of deletion included, which no copy brings back.
    async fn change(&mut self, table: &str, n: u32) {
        let sql = format!(
            "UPDATE {table} SET n = {n} WHERE id % 3 = 0; DELETE FROM {table} WHERE id % 100 = {n}; \
             INSERT INTO {table} VALUES (5000 + {n}, {n})"
        );
        self.blue.batch(&sql).await;
    }

    /// The sidecar refuses, with exit code 9 and these words.
    async fn refused(&self, more: &[&str], words: &[&str]) {
        let exit = Sidecar::start_with(&self.migration(), more).exit().await;
        assert_eq!(exit.code, Some(9), "{}", exit.stderr);
        for word in words {
            assert!(exit.stderr.contains(word), "`{word}` is not in:\n{}", exit.stderr);
        }
    }

    /// The sidecar goes on with these arguments, and then without them, and green ends equal.
    async fn goes_on(&mut self, more: &[&str]) {
        for more in [more, &[]] {
            let mut sidecar = Sidecar::start_with(&self.migration(), more);
            sidecar.wait_copied().await;
            for table in TABLES {
                self.change(table, 7).await;
            }
            sidecar.wait_caught_up(&mut self.blue, &mut self.green).await;
            sidecar.stop().await;
            assert_same(&mut self.blue, &mut self.green, &TABLES.map(Same::table)).await;
            self.blue.batch("DELETE FROM item WHERE id > 5000; DELETE FROM other WHERE id > 5000").await;
        }
        self.give_up().await;
    }

    /// Removes what it has on the shared servers, whatever state that is in.
    async fn give_up(&mut self) {
        let file = self.migration().write(&Port::reserve()).to_string_lossy().into_owned();
        let args = ["abort", &file, "--yes", "--force"];
        let exit = understudy(self.pair.scratch.path(), &args).await;
        assert_eq!(exit.code, Some(0), "{}", exit.stderr);
        let left = format!(
            "SELECT slot_name FROM pg_replication_slots WHERE slot_name = '{0}' \
             UNION ALL SELECT pubname FROM pg_publication WHERE pubname = '{0}'",
            self.migration().slot()
        );
        assert_eq!(self.blue.column(&left).await, Vec::<String>::new());
    }
}

/// A table that was out of the publication for a while looks as if nothing had happened. Its changes were not sent, the
/// deleted rows least of all: it starts anew, from an empty table, and the others go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_taken_out_and_put_back_while_nobody_looked() {
    let Some((mut case, sidecar)) = Case::followed("put-back").await else {
        return;
    };
    sidecar.stop().await;
    let item = case.full("item");
    case.alter(&format!("DROP TABLE {item}")).await;
    case.change("item", 1).await;
    case.alter(&format!("ADD TABLE ONLY {item}")).await;
    case.change("other", 2).await;
    let recopy = ["--recopy", item.as_str()];
    let emptied =
        if is_through_a_log() { "empty those tables first" } else { "TRUNCATE \"put_back\".\"item\"" };
    let told = [item.as_str(), "out of the publication", emptied, &recopy.join(" ")];
    case.refused(&[], &told).await;
    case.refused(&["--recopy", &case.full("other")], &told).await;
    if !is_through_a_log() {
        // Rows that blue has deleted meanwhile would stay.
        let exit = Sidecar::start_with(&case.migration(), &recopy).exit().await;
        assert!(exit.code == Some(2) && exit.stderr.contains("already holds rows"), "{}", exit.stderr);
        case.refused(&[], &told).await;
        case.green.batch("TRUNCATE item").await;
    }
    case.goes_on(&recopy).await;
}

/// The same for what the publication sends: every table of it is concerned.
#[tokio::test(flavor = "multi_thread")]
async fn kinds_of_changes_left_out_for_a_while() {
    let Some((mut case, sidecar)) = Case::followed("kinds").await else {
        return;
    };
    sidecar.stop().await;
    case.alter("SET (publish = 'insert')").await;
    case.change("item", 1).await;
    case.refused(
        &[],
        &["not every kind of change", "ALTER PUBLICATION", "publish = 'insert, update, delete, truncate'"],
    )
    .await;
    case.alter("SET (publish = 'insert, update, delete, truncate')").await;
    let (item, other) = (case.full("item"), case.full("other"));
    let told = ["altered the publication", &format!("--recopy {item} --recopy {other}")];
    case.refused(&[], &told).await;
    case.refused(&["--recopy", &item], &told).await;
    case.green.batch("TRUNCATE item, other").await;
    case.goes_on(&["--recopy", &item, "--recopy", &other]).await;
}

/// What was committed while there was no publication cannot be sent any more, under whatever publication.
#[tokio::test(flavor = "multi_thread")]
async fn a_publication_that_was_dropped() {
    let Some((mut case, sidecar)) = Case::followed("pub-dropped").await else {
        return;
    };
    sidecar.stop().await;
    let (slot, item, other) = (case.migration().slot(), case.full("item"), case.full("other"));
    case.blue.batch(&format!("DROP PUBLICATION {slot}")).await;
    case.change("item", 1).await;
    case.refused(&[], &["the publication", "is gone from blue", "understudy abort"]).await;
    case.blue.batch(&format!("CREATE PUBLICATION {slot} FOR TABLE ONLY {item}, ONLY {other}")).await;
    let recopy = ["--recopy", item.as_str(), "--recopy", other.as_str()];
    for more in [&[][..], &recopy] {
        case.refused(more, &["dropped on blue and created again", "understudy abort"]).await;
    }
    case.give_up().await;
}

/// A running sidecar notices too, also when everything is again as it was before it looked.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_taken_out_and_put_back_under_way() {
    let Some((mut case, sidecar)) = Case::followed("put-back-live").await else {
        return;
    };
    let item = case.full("item");
    case.alter(&format!("DROP TABLE {item}")).await;
    case.change("item", 1).await;
    case.alter(&format!("ADD TABLE ONLY {item}")).await;
    let exit = sidecar.exit().await;
    assert_eq!(exit.code, Some(9), "{}", exit.stderr);
    assert!(exit.stderr.contains(&format!("--recopy {item}")), "{}", exit.stderr);
    case.green.batch("TRUNCATE item").await;
    case.goes_on(&["--recopy", &item]).await;
}

/// A run that was to end once green has everything does not end well on a publication that was touched at the last
/// moment; nor is such a migration finished without a word.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_moment_counts() {
    let Some((mut case, sidecar)) = Case::followed("last-moment").await else {
        return;
    };
    let item = case.full("item");
    // Between two looks, which are further apart than this takes.
    case.alter(&format!("DROP TABLE {item}")).await;
    case.alter(&format!("ADD TABLE ONLY {item}")).await;
    sidecar.signal(Signal::Term);
    let file = sidecar.file.to_string_lossy().into_owned();
    let exit = sidecar.exit().await;
    assert_eq!(exit.code, Some(9), "{}", exit.stderr);
    let finish = understudy(case.pair.scratch.path(), &["finish", &file, "--yes"]).await;
    assert_eq!(finish.code, Some(7), "{}", finish.stderr);
    assert!(finish.stderr.contains(&item) && finish.stderr.contains("publication"), "{}", finish.stderr);
    case.give_up().await;
}

/// Whether the sidecar tells of something on blue that it waits for.
fn waits(status: &serde_json::Value) -> bool {
    let others = ["Kafka", "the capture"];
    let is_blue = |what: &serde_json::Value| {
        what.as_str().is_some_and(|what| !others.iter().any(|other| what.starts_with(other)))
    };
    status["waiting_for"].as_array().is_some_and(|waiting| waiting.iter().any(is_blue))
}

/// A transaction that was open while its table was out of the publication has changes that blue never sends. A new copy
/// waits for its end, also after a crash.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_missed_changes_are_fetched() {
    let Some((mut case, sidecar)) = Case::followed("refetch").await else {
        return;
    };
    sidecar.stop().await;
    let item = case.full("item");
    case.alter(&format!("DROP TABLE {item}")).await;
    let mut open = case.pair.on_blue().await;
    open.batch(&format!(
        "BEGIN; UPDATE {item} SET n = 99 WHERE id % 5 = 0; DELETE FROM {item} WHERE id % 7 = 0"
    ))
    .await;
    case.alter(&format!("ADD TABLE ONLY {item}")).await;
    case.green.batch("TRUNCATE item").await;
    let mut sidecar = Sidecar::start_with(&case.migration(), &["--recopy", &item]);
    if is_through_a_log() {
        // Green is told once the table joins anew; until then the capture alone knows that it is to.
        sidecar.wait_for("the table is to join anew", waits).await;
    } else {
        let known = "SELECT source_name FROM understudy.routes WHERE migration = 'refetch'";
        until("the table is to join anew", async || {
            (case.green.column(known).await == ["other"]).then_some(())
        })
        .await;
    }
    sidecar.kill();
    // What was asked for needs no second asking.
    let mut sidecar = Sidecar::start(&case.migration());
    sidecar.wait_for("it waits for the open transaction", waits).await;
    open.batch("COMMIT").await;
    sidecar.wait_copied().await;
    sidecar.wait_caught_up(&mut case.blue, &mut case.green).await;
    assert_same(&mut case.blue, &mut case.green, &TABLES.map(Same::table)).await;
    sidecar.stop().await;
    case.give_up().await;
}

/// Who notices first that a table is not there any more.
#[derive(Clone, Copy, PartialEq)]
enum First {
    /// Whichever looks first.
    Either,
    /// The look at the tables: a new partition asks for it, and the next look at the publication is far away.
    Tables,
}

/// A table leaves under way. Returns the case, once the sidecar has said `words` and nothing that is not true.
async fn left(name: &'static str, first: First, change: &str, words: &[&str]) -> Option<Case> {
    let pair = Pair::shared()?;
    let schema = name.replace('-', "_");
    pair.on_both(&format!(
        "CREATE SCHEMA {schema}; CREATE TABLE {schema}.tree (id int PRIMARY KEY) PARTITION BY RANGE (id)"
    ))
    .await;
    let (mut case, sidecar) = Case::followed(name).await?;
    sidecar.stop().await;
    case.has_tree = true;
    let mut migration = case.migration();
    if first == First::Tables {
        migration = migration.with("stream: { heartbeat: 30s }");
    }
    let mut sidecar = Sidecar::start(&migration);
    sidecar.wait_copied().await;
    case.change("item", 1).await;
    let applied = "SELECT count(*) FROM item WHERE id = 5001";
    until("the change is on green", async || (case.green.value(applied).await == "1").then_some(())).await;
    case.blue.batch(change).await;
    if first == First::Tables {
        let leaf = "CREATE TABLE leaf PARTITION OF tree FOR VALUES FROM (0) TO (9)";
        case.green.batch(leaf).await;
        case.blue.batch(&format!("{leaf}; INSERT INTO tree VALUES (1)")).await;
    }
    let exit = sidecar.exit().await;
    assert_eq!(exit.code, Some(9), "{}", exit.stderr);
    for word in words {
        assert!(exit.stderr.contains(word), "`{word}` is not in:\n{}", exit.stderr);
    }
    for wrong in ["publication", "--recopy", "abort"] {
        assert!(!exit.stderr.contains(wrong), "`{wrong}` is in:\n{}", exit.stderr);
    }
    Some(case)
}

/// A table that is dropped under way was not taken out of anything: the message is the same whoever notices first, and
/// without the table the migration goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_dropped_under_way() {
    for (name, first) in [("drop-either", First::Either), ("drop-tables", First::Tables)] {
        let gone = format!("{}.item is gone from blue", name.replace('-', "_"));
        let words = [gone.as_str(), "out of the migration file", "its rows stay on green"];
        let Some(mut case) = left(name, first, "DROP TABLE item", &words).await else {
            return;
        };
        let migration =
            Migration::between(case.pair, name).table(&case.full("other")).table(&case.full("tree"));
        let mut sidecar = Sidecar::start(&migration);
        case.change("other", 2).await;
        sidecar.wait_caught_up(&mut case.blue, &mut case.green).await;
        assert!(!sidecar.log().contains(&gone), "the file takes it no more:\n{}", sidecar.log());
        sidecar.stop().await;
        assert_same(&mut case.blue, &mut case.green, &[Same::table("other")]).await;
        case.give_up().await;
    }
}

/// One that is renamed is still sent. Renamed back, nothing of it is missed.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_renamed_under_way() {
    for (name, first) in [("rename-either", First::Either), ("rename-tables", First::Tables)] {
        let schema = name.replace('-', "_");
        let renamed = format!("{schema}.item was renamed to {schema}.article on blue");
        let back = format!("rename {schema}.article back to {schema}.item");
        let change = "ALTER TABLE item RENAME TO article";
        let Some(mut case) = left(name, first, change, &[&renamed, &back]).await else {
            return;
        };
        case.change("article", 2).await;
        case.blue.batch("ALTER TABLE article RENAME TO item").await;
        case.goes_on(&[]).await;
    }
}

/// Under a pattern, a table that has left while nobody looked is followed no more. Nobody has to find that out by himself:
/// it is told before the next run, and in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_left_while_nobody_looked() {
    for (name, leave, fate) in [
        ("left-drop", "DROP TABLE item", "left_drop.item is gone from blue"),
        (
            "left-move",
            "CREATE SCHEMA left_elsewhere; ALTER TABLE item SET SCHEMA left_elsewhere",
            "left_move.item was renamed to left_elsewhere.item on blue",
        ),
        (
            "left-attach",
            "CREATE SCHEMA left_whole; CREATE TABLE left_whole.whole (id int PRIMARY KEY, n int) PARTITION BY RANGE (id); \
             ALTER TABLE left_whole.whole ATTACH PARTITION item FOR VALUES FROM (MINVALUE) TO (MAXVALUE)",
            "left_attach.item is no longer a table by itself on blue",
        ),
    ] {
        let Some((mut case, sidecar)) = Case::followed(name).await else {
            return;
        };
        sidecar.stop().await;
        let pattern = Migration::between(case.pair, name).table(&case.full("*"));
        let file = pattern.write(&Port::reserve()).to_string_lossy().into_owned();
        // The stream still has changes of it.
        case.change("item", 1).await;
        case.blue.batch(leave).await;
        let told = [fate, &format!("its rows stay in {} on green", case.full("item")), "copied anew"];
        let look = async |verb: &str| {
            let exit = understudy(case.pair.scratch.path(), &[verb, &file]).await;
            assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
            exit.stdout
        };
        for verb in ["check", "plan"] {
            // A plan breaks its lines.
            let stdout = look(verb).await.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(told.iter().all(|word| stdout.contains(word)), "{told:?} are not in:\n{stdout}");
        }
        let mut sidecar = Sidecar::start(&pattern);
        case.change("other", 3).await;
        sidecar.wait_caught_up(&mut case.blue, &mut case.green).await;
        assert!(
            told.iter().all(|word| sidecar.log().contains(word)),
            "{told:?} are not in:\n{}",
            sidecar.log()
        );
        sidecar.stop().await;
        assert!(!look("check").await.contains(fate), "it is told once");
        assert_same(&mut case.blue, &mut case.green, &[Same::table("other")]).await;
        // Should it come back, it comes back as it was told.
        let back = match name {
            "left-drop" => "CREATE TABLE item (id int PRIMARY KEY, n int); INSERT INTO item VALUES (1, 1)",
            "left-move" => "ALTER TABLE left_elsewhere.item SET SCHEMA left_move",
            _ => "ALTER TABLE left_whole.whole DETACH PARTITION item",
        };
        case.blue.batch(back).await;
        let exit = Sidecar::start(&pattern).exit().await;
        assert!(exit.code == Some(2) && exit.stderr.contains("already holds rows"), "{}", exit.stderr);
        case.green.batch("TRUNCATE item").await;
        case.goes_on(&[]).await;
    }
}

/// A standby takes blue's place, with slot and publication. What joins on the new timeline is looked at and copied like
/// everything else, however often it was refused before.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_joins_after_a_failover() {
    let Some(mut pair) = Pair::start(15, 18).await else {
        return;
    };
    pair.on_both(
        "CREATE TABLE item (id int PRIMARY KEY, n int); CREATE TABLE late (id int PRIMARY KEY, n int)",
    )
    .await;
    let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
    blue.batch(
        "INSERT INTO item SELECT n, 0 FROM generate_series(1, 1000) n; INSERT INTO late SELECT * FROM item",
    )
    .await;
    let item = |pair: &Pair| Migration::between(pair, "failover").table("public.item");
    let mut sidecar = Sidecar::start(&item(&pair));
    sidecar.wait_copied().await;
    sidecar.wait_caught_up(&mut blue, &mut green).await;
    sidecar.stop().await;
    // The same server as its own standby: what it has is what a standby with a synchronised slot has.
    pair.blue.stop(Stop::Fast).await.expect("blue stops");
    std::fs::write(pair.blue.data_directory().join("standby.signal"), "").expect("make blue a standby");
    pair.blue.start().await.expect("the standby starts");
    let mut blue = pair.on_blue().await;
    blue.batch("SELECT pg_promote()").await;
    blue.batch("UPDATE item SET n = 1 WHERE id % 3 = 0; DELETE FROM late WHERE id % 7 = 0").await;
    green.batch("INSERT INTO late VALUES (7, 7)").await;
    let both = item(&pair).table("public.late");
    for _ in 0..2 {
        let exit = Sidecar::start(&both).exit().await;
        assert!(exit.code == Some(2) && exit.stderr.contains("already holds rows"), "{}", exit.stderr);
        assert_eq!(green.column("SELECT timeline FROM understudy.migration").await, ["2"]);
    }
    green.batch("TRUNCATE late").await;
    let mut sidecar = Sidecar::start(&both);
    blue.batch("UPDATE item SET n = 2 WHERE id % 5 = 0; UPDATE late SET n = 2 WHERE id % 5 = 0").await;
    sidecar.wait_copied().await;
    sidecar.wait_caught_up(&mut blue, &mut green).await;
    assert_same(&mut blue, &mut green, &[Same::table("item"), Same::table("late")]).await;
    sidecar.stop().await;
}
