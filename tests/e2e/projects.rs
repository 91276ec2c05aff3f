//! Projects: green is given what a version needs once, whatever is killed or changed in between, and remembers which
//! version it has.

use std::fs;
use std::path::PathBuf;

use understudy_tests::{Exit, Migration, Pair, Port, Same, Session, assert_same, understudy, until};

/// A project with one version, whose table exists on blue alone.
struct Case {
    name: &'static str,
    pair: &'static Pair,
    blue: Session,
    green: Session,
}

impl Case {
    async fn open(name: &'static str) -> Option<Case> {
        let pair = Pair::shared()?;
        let schema = name.replace('-', "_");
        pair.on_both(&format!("CREATE SCHEMA {schema}")).await;
        let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
        for session in [&mut blue, &mut green] {
            session.batch(&format!("SET search_path = {schema}")).await;
        }
        blue.batch("CREATE TABLE item (id int PRIMARY KEY, n int)").await;
        blue.batch("INSERT INTO item SELECT n, n FROM generate_series(1, 100) n").await;
        Some(Case { name, pair, blue, green })
    }

    fn schema(&self) -> String {
        self.name.replace('-', "_")
    }

    fn project(&self) -> PathBuf {
        self.pair.scratch.path().join(format!("project-{}", self.name))
    }

    fn migration(&self) -> Migration {
        Migration::between(self.pair, self.name).table(&format!("{}.item", self.schema()))
    }

    /// Writes the version's files; `{s}` stands for the schema.
    fn write(&self, expand: &str) -> String {
        let folder = self.project().join("001_first");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("expand.sql"), expand.replace("{s}", &self.schema())).unwrap();
        let file = self.migration().write(&Port::reserve());
        fs::copy(file, folder.join("understudy.yaml")).unwrap();
        self.project().to_string_lossy().into_owned()
    }

    /// Runs the project until green has what blue has.
    async fn run(&self, expand: &str) -> Exit {
        let project = self.write(expand);
        understudy(self.pair.scratch.path(), &["run", &project, "--until-caught-up"]).await
    }

    async fn recorded(&mut self, what: &str) -> String {
        let sql = format!("SELECT {what} FROM understudy.versions WHERE migration = '{}'", self.name);
        self.green.try_column(&sql).await.unwrap_or_default().concat()
    }

    async fn end(mut self) {
        let project = self.project().to_string_lossy().into_owned();
        let exit = understudy(self.pair.scratch.path(), &["abort", &project, "--yes", "--force"]).await;
        assert_eq!(exit.code, Some(0), "{}", exit.stderr);
        assert_eq!(self.recorded("number").await, "1", "what green was given stays, and so does its record");
        let name = self.name;
        self.green.batch(&format!("DELETE FROM understudy.versions WHERE migration = '{name}'")).await;
    }
}

const TABLE: &str = "-- green's layout\nCREATE TABLE {s}.item (id int PRIMARY KEY, n int);\n";

/// Point 5 of the design: every run knows which version it serves, and green is not given the same SQL twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_makes_greens_tables_and_is_recorded() {
    let Some(mut case) = Case::open("project-first").await else { return };
    for _ in 0..2 {
        let exit = case.run(TABLE).await;
        assert_eq!(exit.code, Some(0), "{}", exit.stderr);
        assert!(exit.stderr.contains("serving version 1 of the project, 001_first"), "{}", exit.stderr);
        assert_same(&mut case.blue, &mut case.green, &[Same::table("item")]).await;
    }
    let facts = "concat_ws(' ', number, directory, statements_done, expanded_at IS NOT NULL, \
        length(file_sha256), length(expand_sha256), contract_sha256 IS NULL, contracted_at IS NULL)";
    assert_eq!(case.recorded(facts).await, "1 001_first 1 t 64 64 t t");

    let before = case.recorded("left(expand_sha256, 12)").await;
    let exit = case.run(&TABLE.replace("n int", "n bigint")).await;
    assert_eq!(exit.code, Some(2), "{}", exit.stderr);
    for words in ["has changed since green was given it", &format!("recorded {before}, now "), "new version"]
    {
        assert!(exit.stderr.contains(words), "`{words}` is not in:\n{}", exit.stderr);
    }
    case.write(TABLE);
    case.end().await;
}

/// A statement that fails leaves nothing of its file behind, and says where it stands.
#[tokio::test(flavor = "multi_thread")]
async fn a_failing_statement_leaves_nothing() {
    let Some(mut case) = Case::open("project-fails").await else { return };
    let exit = case.run(&format!("{TABLE}\nSELECT 1;\nALTER TABLE {{s}}.nothing\n  ADD x int;")).await;
    assert_eq!(exit.code, Some(2), "{}", exit.stderr);
    for words in [
        "001_first/expand.sql:5 on green",
        "nothing\" does not exist",
        "42P01",
        "nothing of it has been kept",
    ] {
        assert!(exit.stderr.contains(words), "`{words}` is not in:\n{}", exit.stderr);
    }
    assert_eq!(case.green.value("SELECT to_regclass('item') IS NULL").await, "t");
    assert_eq!(case.recorded("number").await, "");
    let slots =
        format!("SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{}'", case.migration().slot());
    assert_eq!(case.blue.number(&slots).await, 0, "blue has not been touched");
    let exit = case.run(TABLE).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    case.end().await;
}

/// Killed inside a statement that no transaction can hold: what has finished is not run again, and what the kill has left
/// half done is finished.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_expand_goes_on_behind_what_has_finished() {
    let Some(mut case) = Case::open("project-killed").await else { return };
    case.green.batch("CREATE TABLE busy (id int PRIMARY KEY); CREATE TABLE ran (statement int)").await;
    let expand = format!(
        "SET search_path = {{s}};\n{TABLE}INSERT INTO ran VALUES (1);\n\
         CREATE INDEX CONCURRENTLY by_id ON busy (id);\nINSERT INTO ran VALUES (2);\n"
    );
    let project = case.write(&expand);
    // An index that is built concurrently waits for whoever writes its table.
    let mut writer = case.pair.on_green().await;
    writer.batch(&format!("BEGIN; INSERT INTO {}.busy VALUES (1)", case.schema())).await;
    let (args, pair) = (["run", project.as_str()], case.pair);
    let begun = until("the index is being built", async || {
        (case.recorded("statement_begun").await == "4").then_some(())
    });
    tokio::select! {
        // A process that nobody waits for any more is killed, as `kill -9` does.
        exit = understudy(pair.scratch.path(), &args) => panic!("the sidecar ended:\n{}", exit.stderr),
        () = begun => {}
    }
    assert_eq!(case.recorded("statements_done").await, "3");
    writer.batch("ROLLBACK").await;

    let exit = understudy(case.pair.scratch.path(), &["run", &project, "--until-caught-up"]).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let ran = case.green.column("SELECT statement FROM ran ORDER BY 1").await;
    assert_eq!(ran, ["1", "2"], "each statement was run once");
    let whole = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'by_id'::regclass";
    assert_eq!(case.green.value(whole).await, "t");
    assert_eq!(case.recorded("statements_done").await, "5");
    case.end().await;
}
