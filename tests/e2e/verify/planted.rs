//! Every planted defect is found within one pass, classified, repaired, and then gone.

use serde_json::Value;
use understudy_tests::{Migration, Pair, Same, Session, Sidecar, assert_same, until};

use super::{open, routes, verb, wait_clean, wait_verify};

const ON_BOTH: &str = "CREATE SCHEMA plant; CREATE TABLE plant.users (id bigint PRIMARY KEY, name text NOT NULL, email text, \
    score double precision, body text); ALTER TABLE plant.users ALTER body SET STORAGE EXTERNAL;";

/// Rows of the table.
const ROWS_COUNT: u64 = 1_200;

const ROWS: &str = "INSERT INTO plant.users SELECT n, 'name ' || n, 'user' || n || '@example.org', n / 7.0, \
    repeat(md5(n::text), 100) FROM generate_series(1, 1200) n;";

const TABLES: &str = "  - from: plant.users\n";

/// Quick passes over small ranges, so that one holds the damage and others do not.
const QUICK: &str = "verify: { range_rows: 500, pass_pause: 1s, busy: 1.0 }";

/// A pair, and a sidecar that has verified every row once.
struct Garden {
    pair: Pair,
    migration: Migration,
    sidecar: Sidecar,
    blue: Session,
    green: Session,
}

impl Garden {
    async fn grow(name: &str, fault: Option<&str>) -> Option<Garden> {
        Garden::grow_with(name, fault, "").await
    }

    async fn grow_with(name: &str, fault: Option<&str>, more: &str) -> Option<Garden> {
        let settings = [("fsync", "off"), ("track_commit_timestamp", "on")];
        let pair = Pair::start_with(15, 18, &[("fsync", "off")], &settings).await?;
        pair.on_both(ON_BOTH).await;
        pair.on_blue().await.batch(ROWS).await;
        let migration = Migration::between(&pair, name).entry(TABLES).with(QUICK).with(more);
        let mut sidecar = Garden::start(&migration, fault);
        sidecar.wait_copied().await;
        let (blue, green) = (pair.on_blue().await, pair.on_green().await);
        Some(Garden { pair, migration, sidecar, blue, green })
    }

    fn start(migration: &Migration, fault: Option<&str>) -> Sidecar {
        match fault {
            Some(fault) => Sidecar::start_faulty(migration, fault),
            None => Sidecar::start(migration),
        }
    }

    /// The mismatches, once there are so many.
    async fn mismatches(&mut self, count: u64) -> Vec<Value> {
        wait_verify(&mut self.sidecar, "the planted mismatches are found", |report| open(report) == count)
            .await;
        let list = verb(&self.migration, &self.sidecar, &["mismatches", "list"], &["--output", "json"]).await;
        assert_eq!(list.code, Some(0), "{}", list.stderr);
        let list: Value = serde_json::from_str(&list.stdout).expect("JSON");
        list["mismatches"].as_array().expect("a list").clone()
    }

    /// Repairs what is open, and sees both sides equal.
    async fn repair(mut self) {
        let dry = verb(&self.migration, &self.sidecar, &["repair"], &["--all"]).await;
        assert_eq!(dry.code, Some(0), "{}", dry.stderr);
        let report = super::report(&self.sidecar).await.expect("a report");
        assert!(open(&report) > 0, "a dry run repairs nothing: {report:#}");
        let done = verb(&self.migration, &self.sidecar, &["repair"], &["--all", "--apply"]).await;
        assert_eq!(done.code, Some(0), "{}\n{}", done.stdout, done.stderr);
        wait_clean(&mut self.sidecar, 1).await;
        assert_same(&mut self.blue, &mut self.green, &[Same::table("plant.users")]).await;
        let open = "SELECT count(*) FROM understudy.verify_mismatches WHERE resolved_at IS NULL";
        assert_eq!(self.green.number(open).await, 0);
        self.sidecar.stop().await;
        drop(self.pair);
    }
}

fn of_kind<'a>(list: &'a [Value], kind: &str) -> Vec<&'a Value> {
    list.iter().filter(|one| one["kind"] == kind).collect()
}

/// Somebody writes green behind our back: a changed value, a row that is gone, one that should not be.
#[tokio::test(flavor = "multi_thread")]
async fn foreign_writes_are_found_named_and_repaired() {
    let Some(mut garden) = Garden::grow("foreign", None).await else { return };
    wait_clean(&mut garden.sidecar, 1).await;
    garden
        .green
        .batch(
            "UPDATE plant.users SET email = '' WHERE id = 7; UPDATE plant.users SET email = NULL WHERE id = 601; \
             DELETE FROM plant.users WHERE id IN (1, 1199); INSERT INTO plant.users VALUES (0, 'nobody', NULL, 0, ''), (9999, 'x', 'y', 1, 'z')",
        )
        .await;
    let list = garden.mismatches(6).await;
    let (differs, missing, extra) =
        (of_kind(&list, "differs"), of_kind(&list, "missing"), of_kind(&list, "extra"));
    assert_eq!((differs.len(), missing.len(), extra.len()), (2, 2, 2), "{list:#?}");
    for one in &list {
        assert_eq!(one["cause"], "foreign_write", "{one:#}");
    }
    assert!(differs.iter().all(|one| one["columns"] == serde_json::json!(["email"])), "{differs:#?}");
    let id = differs[0]["id"].to_string();
    let told = verb(&garden.migration, &garden.sidecar, &["mismatches", "explain"], &[&id]).await;
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    assert!(told.stdout.contains("email") && told.stdout.contains("@example.org"), "{}", told.stdout);
    garden.repair().await;
}

/// A change of blue never reaches green: the row is stale.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_change_is_found_and_repaired() {
    let Some(mut garden) = Garden::grow("lost", Some("lose=plant.users:1")).await else { return };
    garden.blue.batch("UPDATE plant.users SET name = 'newer' WHERE id = 700").await;
    let list = garden.mismatches(1).await;
    assert_eq!(list[0]["kind"], "differs", "{list:#?}");
    assert_eq!(list[0]["cause"], "missed_event", "{list:#?}");
    garden.repair().await;
}

/// A change is applied once more, after five newer ones: green falls back to what it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_doubled_change_is_found_and_repaired() {
    let Some(mut garden) = Garden::grow("doubled", Some("double=plant.users:1")).await else { return };
    // A row without large values, so that every change of it brings the whole row.
    garden.blue.batch("INSERT INTO plant.users VALUES (7000, 'first', 'f@example.org', 1, 'short')").await;
    for name in ["second", "third", "fourth", "fifth", "sixth"] {
        garden.blue.batch(&format!("UPDATE plant.users SET name = '{name}' WHERE id = 7000")).await;
    }
    let list = garden.mismatches(1).await;
    assert_eq!(list[0]["cause"], "missed_event", "{list:#?}");
    assert_eq!(
        (&list[0]["kind"], &list[0]["columns"]),
        (&"differs".into(), &serde_json::json!(["name"])),
        "{list:#?}"
    );
    garden.repair().await;
}

/// Replication computes every row in another way than blue itself does.
async fn a_broken_mapping(name: &str, fault: &str, columns: &[&str]) {
    let Some(mut garden) = Garden::grow(name, Some(fault)).await else { return };
    let list = garden.mismatches(ROWS_COUNT).await;
    assert!(list.iter().all(|one| one["columns"] == serde_json::json!(columns)), "{:#?}", list[0]);
    // Rows are explained one by one, the first of them before they are told of.
    let told = "SELECT DISTINCT cause FROM understudy.verify_mismatches";
    until("every row is explained", async || (garden.green.column(told).await == ["mapping"]).then_some(()))
        .await;
    garden.sidecar.stop().await;
    let mut healthy = Sidecar::start(&garden.migration);
    // What was found stays open over the restart, until each row has been read again.
    let open = wait_verify(&mut healthy, "the mismatches are known again", |report| open(report) > 0).await;
    assert_eq!(super::open(&open), ROWS_COUNT);
    garden = Garden { sidecar: healthy, ..garden };
    garden.repair().await;
}

/// Blue evaluates every expression itself: an error of our evaluator shows in each row, and is told to be the mapping's.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_evaluation_is_found_and_told_to_be_the_mapping() {
    a_broken_mapping("evaluated", "evaluate=plant.users.email", &["email"]).await;
}

/// Two columns that are taken for each other are found, though each value is there.
#[tokio::test(flavor = "multi_thread")]
async fn swapped_columns_are_found_and_told_to_be_the_mapping() {
    a_broken_mapping("swapped", "swap=plant.users.name.email", &["name", "email"]).await;
}

/// An update that leaves out a value in error leaves green's row stale in that column.
#[tokio::test(flavor = "multi_thread")]
async fn a_stale_column_is_found_and_repaired() {
    let Some(mut garden) = Garden::grow("stale", Some("stale=plant.users:1")).await else { return };
    let sql = "UPDATE plant.users SET name = 'newer', body = repeat(md5('newer'), 90) WHERE id = 700";
    garden.blue.batch(sql).await;
    let list = garden.mismatches(1).await;
    assert_eq!(list[0]["kind"], "differs", "{list:#?}");
    assert_eq!(list[0]["columns"], serde_json::json!(["body"]), "{list:#?}");
    assert_eq!(list[0]["cause"], "partial_row", "{list:#?}");
    garden.repair().await;
}

/// A row that green refuses is set aside: it is missing for a known reason, and nothing else is called a mismatch.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_set_aside_is_told_as_such() {
    let Some(mut garden) = Garden::grow_with("aside", None, "apply: { on_error: quarantine }").await else {
        return;
    };
    garden.green.batch("ALTER TABLE plant.users ADD CONSTRAINT short CHECK (length(name) < 100)").await;
    garden
        .blue
        .batch(
            "BEGIN; UPDATE plant.users SET score = 2 WHERE id < 50; INSERT INTO plant.users VALUES (5000, repeat('x', 200)); \
             UPDATE plant.users SET score = 3 WHERE id < 50; COMMIT",
        )
        .await;
    let list = garden.mismatches(1).await;
    assert_eq!((&list[0]["kind"], &list[0]["cause"]), (&"missing".into(), &"set_aside".into()), "{list:#?}");
    garden.green.batch("ALTER TABLE plant.users DROP CONSTRAINT short").await;
    garden.repair().await;
}

/// A digest that is not what its rows add up to is noticed, and its range is not called verified.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_digest_is_found() {
    let Some(mut garden) = Garden::grow("digest", Some("digest=plant.users")).await else { return };
    let report = wait_verify(&mut garden.sidecar, "the wrong digest is found", |report| {
        routes(report).iter().any(|route| route["wrong_digests"].as_u64() > Some(0))
    })
    .await;
    assert_eq!(open(&report), 0, "rows that are equal are no mismatches: {report:#}");
    assert!(routes(&report).iter().all(|route| route["coverage_ratio"].as_f64() < Some(1.0)), "{report:#}");
    garden.sidecar.stop().await;
    let mut healthy = Sidecar::start(&garden.migration);
    wait_clean(&mut healthy, 1).await;
    healthy.stop().await;
}

/// A mismatch that somebody decides to live with no longer counts, with name and reason, until the row differs in another way.
#[tokio::test(flavor = "multi_thread")]
async fn a_waived_mismatch_is_told_and_comes_back_when_it_changes() {
    let Some(mut garden) = Garden::grow("waived", None).await else { return };
    wait_clean(&mut garden.sidecar, 1).await;
    garden.green.batch("UPDATE plant.users SET score = 0 WHERE id = 5").await;
    let list = garden.mismatches(1).await;
    let id = list[0]["id"].to_string();
    let waive = ["mismatches", "waive"];
    let done = verb(
        &garden.migration,
        &garden.sidecar,
        &waive,
        &[&id, "--reason", "known and harmless", "--by", "ada"],
    )
    .await;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    wait_verify(&mut garden.sidecar, "the waived one does not count", |report| open(report) == 0).await;
    let shown = verb(&garden.migration, &garden.sidecar, &["mismatches", "show"], &[&id]).await;
    assert!(shown.stdout.contains("ada") && shown.stdout.contains("known and harmless"), "{}", shown.stdout);
    garden.green.batch("UPDATE plant.users SET score = 1 WHERE id = 5").await;
    wait_verify(&mut garden.sidecar, "it differs in another way", |report| open(report) == 1).await;
    garden.repair().await;
}

/// What was found stays open over kill -9, until it is seen settled.
#[tokio::test(flavor = "multi_thread")]
async fn a_found_mismatch_survives_a_crash() {
    let Some(mut garden) = Garden::grow("crash", None).await else { return };
    wait_clean(&mut garden.sidecar, 1).await;
    garden.green.batch("DELETE FROM plant.users WHERE id = 77").await;
    garden.mismatches(1).await;
    garden.sidecar.kill();
    let mut sidecar = Sidecar::start(&garden.migration);
    let still = "SELECT count(*) FROM understudy.verify_mismatches WHERE resolved_at IS NULL";
    wait_verify(&mut sidecar, "the mismatch is known again", |report| open(report) == 1).await;
    assert_eq!(garden.green.number(still).await, 1);
    // Blue writes the row anew: the stream mends it, and the comparison sees that.
    garden.blue.batch("UPDATE plant.users SET name = 'again' WHERE id = 77").await;
    until("the mismatch has converged", async || (garden.green.number(still).await == 0).then_some(())).await;
    sidecar.stop().await;
}
