//! Answers and their moments, and everything that is none.

use std::time::Duration;

use understudy_contract::{BlueProbe, Class, GreenProbe, NotAnswered, ProbeAnswer, ProbeParams};
use understudy_model::{Lsn, Xid};
use understudy_postgres::probes::ProbeLimits;
use understudy_postgres::wire::Client;

use crate::databases::{connect, shared};
use crate::harness::{ORDERS, PREFIX, limits, ordered, pair, pair_within, params, query};

/// Parameters that a query samples on blue are given to both sides as texts, whatever types their queries want, and nulls stay
/// nulls; equal tables agree.
#[tokio::test]
async fn sampled_parameters_are_asked_on_both_sides() {
    let Some(cluster) = shared() else { return };
    let mut pair = pair(cluster, "sampled", ORDERS).await;
    let sql = "SELECT customer, NULL::text FROM orders GROUP BY 1 ORDER BY 1 -- all of them";
    let sets = pair.ask_blue.sample(sql).await.unwrap().unwrap();
    assert_eq!(sets.len(), 3);
    assert_eq!(sets[1].texts().collect::<Vec<_>>(), [Some("1"), None]);
    for set in &sets {
        let wanted = query("SELECT id, note FROM orders WHERE customer = $1 AND $2::text IS NULL");
        let (blue, green) = pair.both(&wanted, set).await;
        assert!(blue.agrees(&green) && blue.rows() >= 3, "{blue:?} {green:?}");
    }
    let many = pair.ask_blue.sample("SELECT generate_series(1, 5000)").await.unwrap().unwrap();
    assert_eq!(many.len(), 1_000);
    let wrong = pair.ask_blue.sample("SELECT $1::int").await.unwrap();
    assert!(matches!(wrong, Err(NotAnswered::Refused(_))), "{wrong:?}");
}

/// A write of somebody else on green shows as a difference, with its row and its column, and without its value.
#[tokio::test]
async fn a_foreign_write_on_green_is_a_difference() {
    let Some(cluster) = shared() else { return };
    let mut pair = pair(cluster, "foreign_write", ORDERS).await;
    pair.green.batch("UPDATE orders SET note = 'secret' WHERE id = 4").await.unwrap();
    let wanted = ordered("SELECT id, note FROM orders WHERE customer = $1 ORDER BY id");
    let (blue, green) = pair.both(&wanted, &params(&["1"])).await;
    let difference = blue.difference(&green).expect("they differ");
    assert_eq!((difference.row, difference.column), (Some(2), Some(2)));
    assert_eq!((difference.rows_blue, difference.rows_green), (4, 4));
    assert!(!format!("{green:?} {difference:?}").contains("secret"));
    let (blue, green) = pair.both(&wanted, &params(&["2"])).await;
    assert!(blue.agrees(&green), "other parameters do not meet that row");
}

/// Rows without an order may come in any; under ORDER BY they may not, and it is told that only their order is another.
#[tokio::test]
async fn order_counts_only_under_order_by() {
    let Some(cluster) = shared() else { return };
    let mut pair = pair(cluster, "order_counts", ORDERS).await;
    pair.green.batch("UPDATE orders SET note = note WHERE id < 5").await.unwrap();
    let (blue, green) = pair.both(&query("SELECT id FROM orders"), &ProbeParams::default()).await;
    assert!(blue.agrees(&green));
    let none = ProbeParams::default();
    let blue = pair.on_blue(&ordered("SELECT id FROM orders ORDER BY id"), &none).await.unwrap().answer;
    let green =
        pair.on_green(&ordered("SELECT id FROM orders ORDER BY id DESC"), &none).await.unwrap().answer;
    let difference = blue.difference(&green).unwrap();
    assert_eq!((difference.row, difference.order_only), (Some(1), true));
}

/// Green is not asked in a snapshot older than blue's answer, and its answer comes with what it owes and has not seen visible.
#[tokio::test]
async fn green_answers_at_a_known_moment() {
    let Some(cluster) = shared() else { return };
    let mut pair = pair(cluster, "known_moment", ORDERS).await;
    let (wanted, none) = (query("SELECT count(*) FROM orders"), ProbeParams::default());
    pair.blue.batch("INSERT INTO orders VALUES (11, 2, '')").await.unwrap();
    let blue = pair.on_blue(&wanted, &none).await.unwrap();
    let early = pair.ask_green.ask(&wanted, &none, blue.moment.lsn).await.unwrap();
    assert_eq!(early, Err(NotAnswered::NotYet));
    pair.caught_up().await;
    let heal = "UPDATE understudy.migration SET unseen = '7-8,10'; \
         INSERT INTO understudy.heals VALUES ('probed', 0, '{1}', '{1}', '0/1', 0)";
    pair.green.batch(heal).await.unwrap();
    let green = pair.ask_green.ask(&wanted, &none, blue.moment.lsn).await.unwrap().unwrap();
    assert!(green.moment.checkpoint.lsn() >= blue.moment.lsn && green.owed);
    assert_eq!(green.moment.unseen, Some([7, 8, 10].map(Xid::new).to_vec()));
    assert!(!blue.answer.agrees(&green.answer));
}

/// Nothing is compared before the first copy is complete, nor before the migration has begun.
#[tokio::test]
async fn green_is_not_asked_before_it_is_copied() {
    let Some(cluster) = shared() else { return };
    let mut pair = pair(cluster, "not_copied", ORDERS).await;
    let (wanted, none) = (query("SELECT 1"), ProbeParams::default());
    let route = "INSERT INTO understudy.routes (migration, route, source_schema, source_name, target_schema, \
         target_name, fingerprint) VALUES ('probed', 0, 'public', 'orders', 'public', 'orders', '')";
    pair.green.batch(route).await.unwrap();
    assert_eq!(pair.on_green(&wanted, &none).await, Err(NotAnswered::NotCopied));
    pair.green.batch("UPDATE understudy.routes SET complete = true").await.unwrap();
    assert!(pair.on_green(&wanted, &none).await.is_ok());
    pair.green.batch("UPDATE understudy.migration SET checkpoint = NULL").await.unwrap();
    assert_eq!(pair.on_green(&wanted, &none).await, Err(NotAnswered::NotCopied));
    pair.green.batch("DROP SCHEMA understudy CASCADE").await.unwrap();
    assert_eq!(pair.on_green(&wanted, &none).await, Err(NotAnswered::NotCopied));
}

/// A query that takes too long is called off and is no answer; the next one is answered on the same connection.
#[tokio::test]
async fn a_slow_query_is_called_off() {
    let Some(cluster) = shared() else { return };
    let limits = ProbeLimits { statement: Duration::from_millis(50), ..limits() };
    let mut pair = pair_within(cluster, "slow", ORDERS, limits).await;
    let none = ProbeParams::default();
    let slow = query("SELECT pg_sleep(60)");
    assert_eq!(pair.on_blue(&slow, &none).await, Err(NotAnswered::TooSlow(50)));
    assert_eq!(pair.on_green(&slow, &none).await, Err(NotAnswered::TooSlow(50)));
    assert!(pair.on_blue(&query("SELECT 1"), &none).await.is_ok());
}

/// An error on one side is told with its SQLSTATE and without values, and the connection goes on.
#[tokio::test]
async fn an_error_on_one_side_is_told_without_values() {
    let Some(cluster) = shared() else { return };
    let mut pair = pair(cluster, "errors", ORDERS).await;
    pair.green.batch("DROP TABLE orders; CREATE TABLE orders (id text)").await.unwrap();
    let refused = |answer| match answer {
        Err(NotAnswered::Refused(why)) => why,
        other => panic!("not refused: {other:?}"),
    };
    let wanted = query("SELECT note FROM orders WHERE id::text = $1");
    let id = params(&["3"]);
    assert!(pair.on_blue(&wanted, &id).await.is_ok());
    let why = refused(pair.on_green(&wanted, &id).await.map(|answer| answer.answer));
    assert!(why.contains("42703") && why.contains("note"), "{why}");
    let numbers = query("SELECT $1::int");
    let why = refused(pair.on_blue(&numbers, &params(&["4711x"])).await.map(|answer| answer.answer));
    assert!(why.contains("22P02") && !why.contains("4711"), "{why}");
    let more = query("SELECT $1::int + $2::int");
    let why = refused(pair.on_blue(&more, &params(&["1"])).await.map(|answer| answer.answer));
    assert!(why.contains("2 parameters"), "{why}");
    pair.green.batch("ALTER TABLE orders ADD note text").await.unwrap();
    assert!(pair.on_green(&wanted, &id).await.is_ok());
    assert!(pair.on_blue(&query("SELECT $1::int"), &params(&["1", "2"])).await.is_ok());
}

/// A query cannot write, and cannot be two.
#[tokio::test]
async fn a_query_cannot_write() {
    let Some(cluster) = shared() else { return };
    let mut pair = pair(cluster, "no_write", ORDERS).await;
    pair.blue
        .batch("CREATE FUNCTION wipe() RETURNS int LANGUAGE sql AS 'DELETE FROM orders RETURNING 1'")
        .await
        .unwrap();
    let none = ProbeParams::default();
    let deletes = "WITH gone AS (DELETE FROM orders RETURNING id) SELECT * FROM gone";
    for sql in ["SELECT wipe()", deletes, "SELECT 1; DELETE FROM orders", "SELECT nextval('s')"] {
        let answer = pair.on_blue(&query(sql), &none).await;
        assert!(matches!(answer, Err(NotAnswered::Refused(_))), "{sql}: {answer:?}");
    }
    assert_eq!(pair.blue.query("SELECT count(*) FROM orders").await.unwrap()[0].text(0), Some("10"));
}

/// Names are found as an application finds them: by the search path of the database, and not by our own empty one.
#[tokio::test]
async fn names_are_found_by_the_default_search_path() {
    let Some(cluster) = shared() else { return };
    let mut pair = pair(cluster, "search_path", "CREATE SCHEMA app; CREATE TABLE app.bills (id int)").await;
    let (wanted, none) = (query("SELECT id FROM bills"), ProbeParams::default());
    assert!(pair.on_blue(&wanted, &none).await.is_err(), "nothing finds it by default");
    assert!(pair.on_green(&wanted, &none).await.is_err());
    let alter = "ALTER DATABASE search_path_blue SET search_path = app; \
         ALTER DATABASE search_path_green SET search_path = app";
    pair.blue.batch(alter).await.unwrap();
    let own = pair.options.clone().with_application_name("a session of the defaults");
    let mut other = Client::connect(&own).await.unwrap();
    assert_eq!(other.query("SHOW search_path").await.unwrap()[0].text(0), Some(""), "others stay pinned");
    let end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
         WHERE datname LIKE 'search_path_%' AND application_name = 'probe'";
    pair.blue.query(end).await.unwrap();
    // These find their connections gone; the next ones are given new ones.
    assert!(pair.ask_blue.ask(&wanted, &none).await.is_err());
    assert!(pair.ask_green.ask(&wanted, &none, Lsn::ZERO).await.is_err());
    let (blue, green) = pair.both(&wanted, &none).await;
    assert!(blue.agrees(&green));
}

/// A lost connection is a failure that passes, and the next call has a new one.
#[tokio::test]
async fn a_lost_connection_is_made_again() {
    let Some(cluster) = shared() else { return };
    let mut pair = pair(cluster, "lost", ORDERS).await;
    let none = ProbeParams::default();
    let pid = query("SELECT pg_terminate_backend(pg_backend_pid())");
    let failure = pair.ask_blue.ask(&pid, &none).await.unwrap_err();
    assert_eq!(failure.class(), Class::Transient);
    assert!(pair.on_blue(&query("SELECT 1"), &none).await.is_ok());
}

/// After an answer the stream has something to pass on, also where nobody else writes.
#[tokio::test]
async fn a_marker_follows_an_answer() {
    let Some(cluster) = shared() else { return };
    let mut pair = pair(cluster, "marked", ORDERS).await;
    let slot = "SELECT pg_create_logical_replication_slot('probes_marked', 'test_decoding')";
    pair.blue.query(slot).await.unwrap();
    pair.on_blue(&query("SELECT 1"), &ProbeParams::default()).await.unwrap();
    let changes = "SELECT data FROM pg_logical_slot_get_changes('probes_marked', NULL, NULL)";
    let changes = pair.blue.query(changes).await.unwrap();
    let is_marker = |text: &str| text.contains(PREFIX) && text.contains("transactional: 1");
    assert_eq!(changes.iter().filter(|row| row.text(0).is_some_and(is_marker)).count(), 1);
    pair.blue.query("SELECT pg_drop_replication_slot('probes_marked')").await.unwrap();
}

/// A table that somebody holds is waited for shortly, and asking later answers.
#[tokio::test]
async fn a_locked_table_is_asked_again_later() {
    let Some(cluster) = shared() else { return };
    let limits = ProbeLimits { lock: Duration::from_millis(20), ..limits() };
    let mut pair = pair_within(cluster, "locked", ORDERS, limits).await;
    let (wanted, none) = (query("SELECT count(*) FROM orders"), ProbeParams::default());
    let mut holder = connect(&pair.options).await;
    holder.batch("BEGIN; LOCK TABLE orders").await.unwrap();
    assert_eq!(pair.on_blue(&wanted, &none).await, Err(NotAnswered::Busy));
    holder.batch("COMMIT").await.unwrap();
    assert!(pair.on_blue(&wanted, &none).await.is_ok());
}

/// A column that is added under a prepared query does not make it fail for good.
#[tokio::test]
async fn a_changed_table_is_prepared_anew() {
    let Some(cluster) = shared() else { return };
    let mut pair = pair(cluster, "reprepared", ORDERS).await;
    let (wanted, none) = (query("SELECT * FROM orders"), ProbeParams::default());
    pair.on_blue(&wanted, &none).await.unwrap();
    pair.blue.batch("ALTER TABLE orders ADD more int").await.unwrap();
    assert_eq!(pair.on_blue(&wanted, &none).await, Err(NotAnswered::Busy));
    assert!(pair.on_blue(&wanted, &none).await.is_ok());
}

/// An answer beyond what is kept row by row is compared by a digest of all its rows.
#[tokio::test]
async fn large_answers_are_compared_whole() {
    let Some(cluster) = shared() else { return };
    let mut pair = pair(cluster, "large", ORDERS).await;
    let none = ProbeParams::default();
    let rows = ProbeAnswer::ROWS_MAX + 1;
    let of = |last: u64| query(&format!("SELECT n, md5(n::text) FROM generate_series(1, {last}) AS n"));
    let (blue, green) = pair.both(&of(rows), &none).await;
    assert!(blue.agrees(&green) && blue.rows() == rows);
    let moved = query(&format!("SELECT n, md5(n::text) FROM generate_series(2, {rows} + 1) AS n"));
    let other = pair.on_green(&moved, &none).await.unwrap().answer;
    assert_eq!(blue.difference(&other).map(|difference| difference.row), Some(None));
}

/// A snapshot does not outlive the call, so that vacuum is not held up between askings.
#[tokio::test]
async fn no_transaction_stays_open() {
    let Some(cluster) = shared() else { return };
    let mut pair = pair(cluster, "no_open", ORDERS).await;
    let none = ProbeParams::default();
    for sql in ["SELECT 1", "SELECT 1 / 0", "SELECT no_such"] {
        let _ = pair.on_blue(&query(sql), &none).await;
        let _ = pair.on_green(&query(sql), &none).await;
    }
    let open = "SELECT count(*) FROM pg_stat_activity WHERE datname LIKE 'no_open_%' AND pid <> pg_backend_pid() \
         AND state <> 'idle'";
    assert_eq!(pair.blue.query(open).await.unwrap()[0].text(0), Some("0"));
}
