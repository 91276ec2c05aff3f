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
        self.write_with(expand, "")
    }

    /// The same with more lines in the entry of the table.
    fn write_with(&self, expand: &str, entry: &str) -> String {
        let folder = self.project().join("001_first");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("expand.sql"), expand.replace("{s}", &self.schema())).unwrap();
        let file = self.migration().entry(entry).write(&Port::reserve());
        fs::copy(file, folder.join("understudy.yaml")).unwrap();
        self.project().to_string_lossy().into_owned()
    }

    /// Where the sidecar of the version listens.
    fn control(&self) -> String {
        let file = fs::read_to_string(self.project().join("001_first/understudy.yaml")).unwrap();
        let listen = file.lines().find_map(|line| line.trim().strip_prefix("listen: "));
        listen.expect("an address in the file").trim_matches(['"', '\'']).to_owned()
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
    let control = case.control();
    let begun = async {
        until("the index is being built", async || {
            (case.recorded("statement_begun").await == "4").then_some(())
        })
        .await;
        understudy(pair.scratch.path(), &["status", "--control", &control]).await
    };
    tokio::select! {
        // A process that nobody waits for any more is killed, as `kill -9` does.
        exit = understudy(pair.scratch.path(), &args) => panic!("the sidecar ended:\n{}", exit.stderr),
        status = begun => {
            let words = "serving version 1 of the project, 001_first\n";
            assert!(status.stdout.contains(words), "{}{}", status.stdout, status.stderr);
        }
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

/// What a run makes before anything else is not missing, and an error that a run would meet is not hidden by it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_version_is_yet_to_make_is_not_missing() {
    let Some(case) = Case::open("project-fresh").await else { return };
    let (scratch, schema) = (case.pair.scratch.path(), case.schema());
    let project = case.write(TABLE);
    let check = understudy(scratch, &["check", &project]).await;
    assert_eq!(check.code, Some(0), "{}{}", check.stdout, check.stderr);
    let told = format!("green table {schema}.item: is to be made by 001_first/expand.sql\n");
    assert!(check.stdout.contains(&told), "{}", check.stdout);

    let plan = understudy(scratch, &["plan", &project]).await;
    assert_eq!(plan.code, Some(0), "{}{}", plan.stdout, plan.stderr);
    let version = "  what 001_first/expand.sql says, 1 statement\n\nVersion 1 of the project (001_first)\n  expand.sql: 1 \
        statement, sha256 ";
    for words in
        [version, "2 columns unchanged; the table is made by expand.sql\n", "  row     id='2' n='2'\n"]
    {
        assert!(plan.stdout.contains(words), "`{words}` is not in:\n{}", plan.stdout);
    }
    // What other tests have made on blue is listed below.
    let routes = plan.stdout.split("Worth knowing").next().unwrap_or_default();
    assert!(!plan.stdout.contains("Not ready") && !routes.contains("missing"), "{}", plan.stdout);

    let project = case.write("CREATE TABLE {s}.other (id int PRIMARY KEY, n int);");
    let check = understudy(scratch, &["check", &project]).await;
    assert_eq!(check.code, Some(2), "{}{}", check.stdout, check.stderr);
    assert!(check.stdout.contains(&format!("green table {schema}.item: does not exist")), "{}", check.stdout);
}

/// A column that is yet to be added is shown as such, and one that nothing adds is missing; once all is there, nothing is
/// said of it any more.
#[tokio::test(flavor = "multi_thread")]
async fn columns_are_told_apart_by_what_adds_them() {
    let Some(mut case) = Case::open("project-columns").await else { return };
    let scratch = case.pair.scratch.path();
    case.green.batch("CREATE TABLE item (id int PRIMARY KEY)").await;
    let columns = "    columns: { id: id, twice: n * 2, half: n / 2 }\n";
    let expand = "ALTER TABLE {s}.item ADD COLUMN twice int";
    let project = case.write_with(expand, columns);
    let plan = understudy(scratch, &["plan", &project]).await;
    assert_eq!(plan.code, Some(0), "{}{}", plan.stdout, plan.stderr);
    for words in
        ["twice     made by expand.sql  n * 2", "half      missing             n / 2", "lists 1 error."]
    {
        assert!(plan.stdout.contains(words), "`{words}` is not in:\n{}", plan.stdout);
    }
    let project = case.write_with(&format!("{expand}, ADD half int"), columns);
    let check = understudy(scratch, &["check", &project]).await;
    assert_eq!(check.code, Some(0), "{}{}", check.stdout, check.stderr);
    assert!(check.stdout.contains("columns half, twice are to be made by"), "{}", check.stdout);
    // Of what the way back reads nothing is known yet.
    let project = case
        .write_with(&format!("{expand}, ADD half int"), &format!("{columns}    back: {{ n: twice / 2 }}\n"));
    let plan = understudy(scratch, &["plan", &project]).await;
    assert_eq!(plan.code, Some(0), "{}{}", plan.stdout, plan.stderr);
    assert!(plan.stdout.contains("can be checked only once expand.sql has been run"), "{}", plan.stdout);
    let exit = understudy(scratch, &["run", &project, "--until-caught-up"]).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let check = understudy(scratch, &["check", &project]).await;
    assert_eq!(check.code, Some(0), "{}{}", check.stdout, check.stderr);
    assert!(!check.stdout.contains("expand.sql"), "{}", check.stdout);
    assert_eq!(case.green.value("SELECT bool_and(twice = 2 * id AND half = id / 2) FROM item").await, "t");
    case.end().await;
}
