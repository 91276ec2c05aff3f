//! Blue's slot, and transactions that stand in the way.

use std::sync::Arc;
use std::time::Duration;

use understudy_contract::{Found, ReadinessCheck};
use understudy_postgres::readiness::Feed;

use crate::databases::connect;
use crate::harness::{case, case_on};
use crate::support::{Cluster, Setup, until};

/// A slot that is missing, unread, or about to be lost holds the flip: the stream behind it is not to be relied on.
#[tokio::test]
async fn a_slot_that_is_not_safe_is_told() {
    let start = |settings: &str| Cluster::start_with(&Setup { settings: settings.to_owned(), hba: None });
    let (Some(blue), Some(green)) = (start("max_slot_wal_keep_size = 32MB"), start("")) else { return };
    let case = case_on([Arc::new(blue), Arc::new(green)], "slots", "", "").await.unwrap();
    let slot = ReadinessCheck::Slot;
    case.expect(slot, &[("slot understudy_slots", "is not on blue")]).await;
    case.on_blue("SELECT pg_create_logical_replication_slot('understudy_slots', 'pgoutput')").await;
    let unread = ("slot understudy_slots", "is not being read");
    case.expect(slot, &[unread, ("slot understudy_slots", "is lost once blue writes")]).await;
    let mut blue = connect(&case.blue).await;
    for _ in 0..6 {
        blue.batch("CREATE TABLE IF NOT EXISTS filler (v text); INSERT INTO filler VALUES ('v')")
            .await
            .unwrap();
        blue.query("SELECT pg_switch_wal()").await.unwrap();
    }
    blue.batch("CHECKPOINT").await.unwrap();
    case.expect(slot, &[("slot understudy_slots", "is lost")]).await;
}

/// Through a log the slot is that of whoever fills it: the remedy is theirs, one that nobody tells holds nothing, and one that
/// is not known yet is not taken for safe.
#[tokio::test]
async fn the_slot_of_whoever_fills_the_log_is_looked_at() {
    let Some(mut case) = case("feeds", "", "").await else { return };
    let slot = ReadinessCheck::Slot;
    case.plan.feed = Feed::Others("understudy_other".to_owned());
    let lacks = case.expect(slot, &[("slot understudy_other", "is not on blue")]).await;
    assert!(lacks[0].remedy.as_deref().is_some_and(|remedy| remedy.contains("whoever fills the log")));
    case.plan.feed = Feed::Untold;
    case.expect(slot, &[]).await;
    case.plan.feed = Feed::Unknown("the brokers are away".to_owned());
    assert_eq!(
        case.found(slot).await,
        Found::Unknown("could not check slot: the brokers are away".to_owned())
    );
}

/// Closing the fence waits for whoever writes: an old transaction that wrote, idles or holds a writer's lock is told, by
/// a subject without its process, and never with its query. One that only reads is not, and neither is ours.
#[tokio::test]
async fn old_transactions_that_hinder_are_told() {
    let Some(mut case) = case("oldies", "CREATE TABLE t (id int PRIMARY KEY, v text)", "").await else {
        return;
    };
    case.plan.max_transaction_age = Duration::ZERO;
    let begin = async |application: &str, sql: &str| {
        let mut client = connect(&case.blue.clone().with_application_name(application)).await;
        client.batch(sql).await.unwrap();
        client
    };
    let long = ReadinessCheck::LongTransactions;
    case.expect(long, &[]).await;
    let _ours = begin("understudy/oldies/stream", "BEGIN; INSERT INTO t VALUES (1, 'secret')").await;
    case.expect(long, &[]).await;
    let _writer = begin("nightly", "BEGIN; INSERT INTO t VALUES (2, 'secret')").await;
    let _idle = begin("", "BEGIN; SELECT 1").await;
    let lacks = case
        .expect(
            long,
            &[
                ("transaction of postgres by application 'nightly'", "idle in transaction"),
                ("transaction of postgres", "idle in transaction"),
            ],
        )
        .await;
    assert!(lacks[0].remedy.as_ref().unwrap().contains("SELECT pg_terminate_backend("), "{lacks:?}");
    assert!(!format!("{lacks:?}").contains("secret"), "{lacks:?}");
    case.plan.max_transaction_age = Duration::from_secs(3600);
    case.expect(long, &[]).await;
}

/// A transaction that runs a statement is told once it has written; as long as it only reads, the fence need not wait.
#[tokio::test]
async fn of_running_transactions_those_that_wrote_are_told() {
    let Some(mut case) = case("running", "CREATE TABLE t (id int)", "").await else { return };
    case.plan.max_transaction_age = Duration::ZERO;
    let mut holder = connect(&case.blue).await;
    holder.batch("SELECT pg_advisory_lock(1)").await.unwrap();
    let mut running = tokio::task::JoinSet::new();
    for (application, first) in [
        ("reads", "SELECT count(*) FROM t"),
        ("writes", "INSERT INTO t VALUES (1)"),
        ("numbered", "SELECT pg_current_xact_id()"),
        ("locks", "LOCK TABLE t IN ROW EXCLUSIVE MODE"),
    ] {
        let options = case.blue.clone().with_application_name(application);
        running.spawn(async move {
            let sql = format!("BEGIN; {first}; SELECT pg_advisory_xact_lock(1)");
            connect(&options).await.batch(&sql).await
        });
    }
    until("all four wait", async || {
        let sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = \
                   (SELECT oid FROM pg_database WHERE datname = 'running')";
        connect(&case.blue).await.query(sql).await.unwrap()[0].text(0) == Some("4")
    })
    .await;
    let mut lacks = case.lacks(ReadinessCheck::LongTransactions).await;
    lacks.sort_by(|one, other| one.subject.cmp(&other.subject));
    let subjects = lacks.iter().map(|lack| lack.subject.as_str()).collect::<Vec<_>>();
    let by = |application| format!("transaction of postgres by application '{application}'");
    assert_eq!(subjects, [by("locks"), by("numbered"), by("writes")], "{lacks:#?}");
    holder.close().await;
    while running.join_next().await.is_some() {}
}

/// A role that is not shown how old others' transactions are cannot say that none is.
#[tokio::test]
async fn hidden_transactions_make_the_check_unknown() {
    let Some(case) = case("hidden", "", "").await else { return };
    let other = case.blue.clone().with_application_name("application");
    let case = case.with_role("hidden_role").await;
    let _other = connect(&other).await;
    let found = case.found(ReadinessCheck::LongTransactions).await;
    let Found::Unknown(reason) = &found else { panic!("{found:?}") };
    assert!(reason.contains("GRANT pg_read_all_stats TO \"hidden_role\""), "{reason}");
    case.on_blue("GRANT pg_read_all_stats TO hidden_role").await;
    case.expect(ReadinessCheck::LongTransactions, &[]).await;
}

/// A prepared transaction keeps its locks for ever: the fence could not be closed.
#[tokio::test]
async fn prepared_transactions_are_told() {
    let Some(case) = case("prepared", "CREATE TABLE t (id int)", "").await else { return };
    case.on_blue("BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'left over'").await;
    let lacks = case.lacks(ReadinessCheck::PreparedTransactions).await;
    case.on_blue("ROLLBACK PREPARED 'left over'").await;
    assert_eq!(lacks.len(), 1, "{lacks:?}");
    assert_eq!(lacks[0].subject, "prepared transaction left over");
    assert_eq!(
        lacks[0].remedy.as_deref(),
        Some("COMMIT PREPARED 'left over', or ROLLBACK PREPARED 'left over'")
    );
    case.expect(ReadinessCheck::PreparedTransactions, &[]).await;
}
