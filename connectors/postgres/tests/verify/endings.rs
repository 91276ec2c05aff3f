//! How a read can end without rows: each way is told, none is an empty range, and the session goes on.

use std::time::Duration;

use understudy_contract::{Answer, BlueRows, Class, Detail, GreenRows, KeyRange, NotRead, RowSeen, Which};
use understudy_model::{Lsn, Nonce};
use understudy_postgres::verify::ReadLimits;

use crate::databases::connect;
use crate::harness::{Both, PREFIX, ROUTE, all, both, copied, limited, names, query, route};

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT g, 'v' || g FROM generate_series(1, 100) g;";

fn schema() -> String {
    format!("{TABLE} {}", copied("t"))
}

/// What every kind of read on both sides answers.
async fn answers(both: &mut Both) -> Vec<Answer<()>> {
    let whole = KeyRange::default();
    let named = names(&[&["1"], &["2"]]);
    let mut answers =
        vec![both.blue_digest(&whole).await.map(drop), both.green_digest(&whole).await.map(drop)];
    for which in [all(), named] {
        answers.push(blue(both, &which).await.map(drop));
        answers.push(green(both, &which).await.map(drop));
    }
    answers
}

async fn blue(both: &mut Both, which: &Which) -> Answer<Vec<RowSeen>> {
    both.blue.rows(ROUTE, which, Detail::Digests).await.unwrap().map(|read| read.value)
}

async fn green(both: &mut Both, which: &Which) -> Answer<Vec<RowSeen>> {
    both.green.rows(ROUTE, which, Detail::Digests, Lsn::ZERO).await.unwrap().map(|read| read.value)
}

/// No session of a reader is left in a transaction: it would hold vacuum up.
async fn at_rest(both: &mut Both) {
    let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
        AND pid <> pg_backend_pid() AND xact_start IS NOT NULL";
    assert_eq!(both.text(open).await, "0");
}

/// Ends every session on the database but the test's own.
pub(crate) async fn end_sessions(both: &mut Both) {
    let end = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity \
        WHERE datname = current_database() AND pid <> pg_backend_pid()";
    both.text(end).await;
}

/// Failure: a read that takes too long is called off, and is not an empty range.
#[tokio::test]
async fn what_takes_too_long_is_too_slow() {
    let limits = ReadLimits { statement: Duration::from_millis(100), ..ReadLimits::default() };
    let mut slow = route("t", &["id", "v"], &["id"]);
    for side in [&mut slow.blue, &mut slow.green] {
        side.columns[1].compared = Some("(SELECT pg_sleep(\"id\" + 1))::text".to_owned());
    }
    let Some(mut both) = limited("slow", &schema(), vec![slow], limits).await else { return };
    for answer in answers(&mut both).await {
        assert_eq!(answer, Err(NotRead::TooSlow));
    }
    at_rest(&mut both).await;
    // Nothing of this row is slow.
    let quick = "UPDATE t SET id = -2 WHERE id = 1; UPDATE t_green SET id = -2 WHERE id = 1";
    both.admin.batch(quick).await.unwrap();
    assert_eq!(blue(&mut both, &names(&[&["-2"]])).await.unwrap().len(), 1);
    assert_eq!(green(&mut both, &names(&[&["-2"]])).await.unwrap().len(), 1);
}

/// Failure: finding rows by a computed key takes as long as the table is large, however few are asked for.
#[tokio::test]
async fn a_thorough_read_has_a_limit_of_its_own() {
    let mut slow = route("t", &["id", "v"], &["id"]);
    slow.keys = understudy_contract::KeyRelation::Computed;
    slow.blue.green_key = vec!["(SELECT \"id\" FROM pg_sleep(0.005 + \"id\" * 0))".to_owned()];
    let which = Which::Thorough(vec![crate::harness::key(&["7"])]);
    for (name, statement, thorough, found) in
        [("hasty", 30_000, 100, None), ("thorough", 100, 30_000, Some(1))]
    {
        let (statement, thorough) = (Duration::from_millis(statement), Duration::from_millis(thorough));
        let limits = ReadLimits { statement, thorough, ..ReadLimits::default() };
        let Some(mut both) = limited(name, &schema(), vec![slow.clone()], limits).await else { return };
        let rows = blue(&mut both, &which).await;
        assert_eq!(rows.map(|rows| rows.len()), found.ok_or(NotRead::TooSlow));
        at_rest(&mut both).await;
        let longest = blue(&mut both, &all()).await.map(|rows| rows.len());
        assert_eq!(longest, if found.is_none() { Ok(100) } else { Err(NotRead::TooSlow) }, "as before");
    }
}

/// Promise 9: a table that somebody holds is waited for a moment and then left alone.
#[tokio::test]
async fn a_held_table_is_busy() {
    // The time limit of statements is below that of locks, and must not make it look slow.
    let limits = ReadLimits { statement: Duration::from_millis(500), ..ReadLimits::default() };
    let tables = vec![route("t", &["id", "v"], &["id"])];
    let Some(mut both) = limited("busy", &schema(), tables, limits).await else { return };
    both.admin.batch("BEGIN; LOCK TABLE t, t_green").await.unwrap();
    assert_eq!(both.blue_digest(&KeyRange::default()).await.unwrap_err(), NotRead::Busy);
    assert_eq!(blue(&mut both, &names(&[&["1"]])).await.unwrap_err(), NotRead::Busy);
    assert_eq!(both.green_digest(&KeyRange::default()).await.unwrap_err(), NotRead::Busy);
    assert_eq!(both.blue.boundary(ROUTE, None, 5).await.unwrap().unwrap_err(), NotRead::Busy);
    both.admin.batch("ROLLBACK").await.unwrap();
    at_rest(&mut both).await;
    assert!(answers(&mut both).await.iter().all(Result::is_ok));
}

/// Promise 5: a table that is not what it was is told as such, whatever has become of it, and is read again once it is back.
#[tokio::test]
async fn a_changed_table_is_told() {
    let Some(mut both) = both("changing", &schema(), vec![route("t", &["id", "v"], &["id"])]).await else {
        return;
    };
    assert!(answers(&mut both).await.iter().all(Result::is_ok));
    for (away, back) in [
        ("RENAME COLUMN v TO w", "RENAME COLUMN w TO v"),
        ("RENAME COLUMN id TO w", "RENAME COLUMN w TO id"),
        ("SET SCHEMA away", ""),
    ] {
        let alter = |table: &str, change: &str| format!("ALTER TABLE {table} {change};");
        let both_tables = |change: &str| format!("{} {}", alter("t", change), alter("t_green", change));
        both.admin.batch("CREATE SCHEMA IF NOT EXISTS away").await.unwrap();
        both.admin.batch(&both_tables(away)).await.unwrap();
        for answer in answers(&mut both).await {
            assert!(matches!(answer, Err(NotRead::Changed(_))), "{away}: {answer:?}");
        }
        at_rest(&mut both).await;
        let back = match back {
            "" => {
                "ALTER TABLE away.t SET SCHEMA public; ALTER TABLE away.t_green SET SCHEMA public".to_owned()
            }
            back => both_tables(back),
        };
        both.admin.batch(&back).await.unwrap();
        assert!(answers(&mut both).await.iter().all(Result::is_ok), "after {away}");
    }
    // The type of the key is looked up anew once an answer says that something is amiss.
    both.admin.batch("ALTER TABLE t ALTER id TYPE text USING 'k' || id").await.unwrap();
    let first = blue(&mut both, &names(&[&["k1"]])).await;
    let again = blue(&mut both, &names(&[&["k1"]])).await;
    assert!(matches!(first, Err(NotRead::Changed(_) | NotRead::Unreadable(_))), "{first:?}");
    assert_eq!(again.unwrap().len(), 1);
}

/// Promise 6: a row that cannot be computed is told with what is amiss, and without its values.
#[tokio::test]
async fn what_cannot_be_computed_is_unreadable() {
    let mut odd = route("t", &["id", "v"], &["id"]);
    odd.blue.columns[1] = query("CAST(\"v\" AS int)");
    odd.green.columns[1] = query("1 / (\"id\" - 4711)");
    let schema =
        format!("{TABLE} UPDATE t SET v = id; INSERT INTO t VALUES (4711, 'secret4711'); {}", copied("t"));
    let Some(mut both) = both("unreadable", &schema, vec![odd]).await else { return };
    let whole = KeyRange::default();
    let blues = [
        both.blue_digest(&whole).await.map(drop),
        blue(&mut both, &all()).await.map(drop),
        blue(&mut both, &names(&[&["1"], &["4711"]])).await.map(drop),
    ];
    let greens = [both.green_digest(&whole).await.map(drop), green(&mut both, &all()).await.map(drop)];
    for (answers, sqlstate) in [(&blues[..], "22P02"), (&greens[..], "22012")] {
        for answer in answers {
            let Err(NotRead::Unreadable(why)) = answer else { panic!("{answer:?}") };
            assert!(why.contains(sqlstate) && !why.contains("4711") && !why.contains("secret"), "{why}");
        }
    }
    at_rest(&mut both).await;
    assert_eq!(blue(&mut both, &names(&[&["1"]])).await.unwrap().len(), 1);
}

/// Failure: a range with more rows than fit is read in smaller pieces, never in part. A single row is always read.
#[tokio::test]
async fn too_many_rows_are_none() {
    let few = ReadLimits { rows_max: 99, ..ReadLimits::default() };
    let tables = || vec![route("t", &["id", "v"], &["id"])];
    let Some(mut both) = limited("many_rows", &schema(), tables(), few).await else { return };
    assert_eq!(blue(&mut both, &all()).await, Err(NotRead::TooSlow));
    assert_eq!(green(&mut both, &all()).await, Err(NotRead::TooSlow));
    at_rest(&mut both).await;
    both.admin.batch("DELETE FROM t WHERE id = 1").await.unwrap();
    assert_eq!(blue(&mut both, &all()).await.unwrap().len(), 99);
    let small = ReadLimits { bytes_max: 100, ..ReadLimits::default() };
    let Some(mut both) = limited("many_bytes", &schema(), tables(), small).await else { return };
    assert_eq!(blue(&mut both, &all()).await, Err(NotRead::TooSlow));
    both.admin.batch("UPDATE t SET v = repeat('x', 1000) WHERE id = 1").await.unwrap();
    let one = both.blue_values(&names(&[&["1"]])).await;
    assert_eq!(one[0].values.as_ref().unwrap()[1].text.as_ref().unwrap().len(), 1_000);
    at_rest(&mut both).await;
}

/// A lost connection is a failure that is tried again, on a new connection.
#[tokio::test]
async fn a_lost_connection_is_a_passing_failure() {
    let Some(mut both) = both("lost", &schema(), vec![route("t", &["id", "v"], &["id"])]).await else {
        return;
    };
    end_sessions(&mut both).await;
    let whole = KeyRange::default();
    assert_eq!(both.blue.digest(ROUTE, &whole).await.unwrap_err().class(), Class::Transient);
    assert_eq!(both.green.digest(ROUTE, &whole, Lsn::ZERO).await.unwrap_err().class(), Class::Transient);
    assert!(answers(&mut both).await.iter().all(Result::is_ok));
    // A read that is given up in its middle leaves nothing behind either.
    let mut other = connect(&both.options).await;
    other.batch("BEGIN; LOCK TABLE t").await.unwrap();
    let given_up = tokio::time::timeout(Duration::from_millis(50), both.blue.digest(ROUTE, &whole)).await;
    assert!(given_up.is_err());
    other.batch("ROLLBACK").await.unwrap();
    assert!(both.blue_digest(&whole).await.is_ok());
}

/// A role that may not read is for an operator to mend.
#[tokio::test]
async fn a_missing_right_is_a_failure() {
    let Some(mut both) = both("rights", &schema(), vec![route("t", &["id", "v"], &["id"])]).await else {
        return;
    };
    both.admin
        .batch("CREATE ROLE reader LOGIN; GRANT CREATE, USAGE ON SCHEMA public TO reader")
        .await
        .unwrap();
    let mut options = both.options.clone();
    options.user = "reader".to_owned();
    let routes = vec![route("t", &["id", "v"], &["id"])].into();
    let limits = ReadLimits::default();
    let mut reader = understudy_postgres::verify::PostgresBlueRows::connect(&options, PREFIX, routes, limits)
        .await
        .unwrap();
    let failure = reader.digest(ROUTE, &KeyRange::default()).await.unwrap_err();
    assert_eq!(failure.class(), Class::Configuration);
    both.admin.batch("GRANT SELECT ON t TO reader").await.unwrap();
    assert_eq!(reader.digest(ROUTE, &KeyRange::default()).await.unwrap().unwrap().value.rows, 100);
}

/// Promise 3: markers are what the stream is waited for with; each is committed and carries its content.
#[tokio::test]
async fn marks_are_in_the_stream() {
    let Some(mut both) = both("marked", &schema(), vec![route("t", &["id", "v"], &["id"])]).await else {
        return;
    };
    both.admin.batch("CREATE PUBLICATION p").await.unwrap();
    both.admin.batch("SELECT pg_create_logical_replication_slot('marked', 'pgoutput')").await.unwrap();
    let nonce = Nonce(0xabcdef);
    both.blue.mark(nonce).await.unwrap();
    let messages = format!(
        "SELECT count(*) FROM pg_logical_slot_get_binary_changes('marked', NULL, NULL, 'proto_version', '1', \
           'publication_names', 'p', 'messages', 'true') \
         WHERE get_byte(data, 0) = 77 AND position('{PREFIX}'::bytea IN data) > 0 AND position('{nonce}'::bytea IN data) > 0"
    );
    assert_eq!(both.text(&messages).await, "1");
    both.admin.batch("SELECT pg_drop_replication_slot('marked')").await.unwrap();
}
