//! Findings about servers, slots, publications and encodings.

use std::sync::Arc;

use understudy_contract::Severity::{Error, Info, NotMoved, Warning};
use understudy_postgres::preflight::check_always;
use understudy_postgres::source::publication;
use understudy_postgres::wire::ConnectOptions;

use crate::databases::connect;
use crate::harness::{PLAIN, case, case_on};
use crate::support::{Cluster, Setup, until};

#[tokio::test]
async fn a_server_without_replication_is_told_what_to_set() {
    let settings = "wal_level = replica\nmax_wal_senders = 0\nmax_replication_slots = 1\nwal_sender_timeout = 0\n\
                    max_slot_wal_keep_size = '64MB'";
    let Some(cluster) = Cluster::start_with(&Setup { settings: settings.into(), hba: None }) else {
        return;
    };
    let case = case_on(Arc::new(cluster), "server", PLAIN, PLAIN).await.unwrap().route("t", &["id", "v"]);
    connect(&case.blue).await.query("SELECT pg_create_physical_replication_slot('taken')").await.unwrap();
    let finding = case.expect(Error, "wal-level-too-low", "blue setting wal_level").await;
    assert!(finding.remedy.contains("ALTER SYSTEM SET wal_level"), "{finding}");
    case.expect(Error, "replication-slots-exhausted", "blue setting max_replication_slots").await;
    case.expect(Error, "wal-senders-exhausted", "blue setting max_wal_senders").await;
    case.expect(Info, "wal-sender-timeout-off", "blue setting wal_sender_timeout").await;
    case.expect(Warning, "wal-retention-small", "blue setting max_slot_wal_keep_size").await;
    case.expect(NotMoved, "other-slots", "blue replication slots").await;
}

#[tokio::test]
async fn unlimited_wal_needs_a_recorded_waiver() {
    let Some(mut case) = case("waiver", PLAIN, PLAIN).await else {
        return;
    };
    case.expect(Info, "wal-retention-waived", "blue setting max_slot_wal_keep_size").await;
    case.plan.wal_waiver = false;
    case.expect(Error, "wal-retention-unlimited", "blue setting max_slot_wal_keep_size").await;
}

/// As a standby for which commits wait, green could stop blue: refused before the start and at every later one.
#[tokio::test]
async fn commits_that_would_wait_for_us_are_refused() {
    let Some(cluster) = Cluster::start() else { return };
    let case = case_on(Arc::new(cluster), "waits", PLAIN, PLAIN).await.unwrap().route("t", &["id", "v"]);
    let subject = "blue setting synchronous_standby_names";
    let mut blue = connect(&case.blue).await;
    let mut set = async |names: &str| {
        case.cluster.append("postgresql.conf", &format!("synchronous_standby_names = '{names}'"));
        case.cluster.control("reload");
        until("the setting holds", async || {
            let now = connect(&case.blue).await.query("SHOW synchronous_standby_names").await.unwrap();
            now[0].text(0) == Some(names)
        })
        .await;
        check_always(&mut blue, &case.plan).await.unwrap()
    };
    assert_eq!(set("FIRST 1 (real, \"understudy/waits/chunk\")").await, []);
    case.expect_not("commits-wait-for-us").await;
    for names in ["*", "ANY 1 (real, \"Understudy/Waits/Stream\")"] {
        let later = set(names).await;
        let finding = case.expect(Error, "commits-wait-for-us", subject).await;
        assert_eq!(later, std::slice::from_ref(&finding));
        assert!(finding.remedy.contains("name the real standbys"), "{finding}");
    }
}

/// Whoever counts blue's memory learns before the start that a session may take more of it than blue's own setting says.
#[tokio::test]
async fn more_memory_for_decoding_is_told() {
    let Some(mut case) = case("decoding", PLAIN, PLAIN).await else {
        return;
    };
    case.plan.decoding_memory_bytes = 64 << 20;
    case.expect_not("decoding-memory-raised").await;
    case.plan.decoding_memory_bytes = 256 << 20;
    let finding = case.expect(Info, "decoding-memory-raised", "blue setting logical_decoding_work_mem").await;
    assert!(finding.what.contains("is 64 MiB") && finding.what.contains("to 256 MiB"), "{finding}");
}

#[tokio::test]
async fn f40_slots_and_publications_of_our_name_are_looked_at() {
    let Some(case) = case("slots", PLAIN, PLAIN).await.map(|case| case.route("t", &["id", "v"])) else {
        return;
    };
    let mut blue = connect(&case.blue).await;
    let (slot, subject) = ("blue slot understudy_slots", "blue publication understudy_slots");
    blue.query("SELECT pg_create_logical_replication_slot('understudy_slots', 'pgoutput')").await.unwrap();
    blue.batch("CREATE PUBLICATION understudy_slots FOR TABLE t").await.unwrap();
    case.expect(Warning, "slot-left-over", slot).await;
    case.expect(Warning, "publication-left-over", subject).await;

    // The bookkeeping knows the migration: now both belong to it, and green's rows are its own.
    let mut green = connect(&case.green).await;
    green.batch("INSERT INTO t VALUES (1)").await.unwrap();
    case.expect(Error, "target-not-empty", "green table public.t").await;
    let there = publication::inspect(&mut blue, "understudy_slots").await.unwrap().unwrap();
    let place = there.tables[0].version.as_str();
    case.remember(Some(&there.version), &[("t", Some(place))]).await;
    for code in ["slot-left-over", "publication-left-over", "target-not-empty", "publication-changed"] {
        case.expect_not(code).await;
    }
    // What somebody has changed and put back is seen: changes may have been missed meanwhile.
    case.remember(Some(&there.version), &[("t", Some("1.1"))]).await;
    let finding = case.expect(Error, "publication-changed", subject).await;
    assert!(finding.remedy.contains("--recopy public.t"), "{finding}");
    blue.batch("ALTER PUBLICATION understudy_slots SET (publish = 'insert')").await.unwrap();
    let finding = case.expect(Error, "publication-changed", subject).await;
    assert!(finding.what.contains("not every kind of change"), "{finding}");
    blue.query("SELECT pg_drop_replication_slot('understudy_slots')").await.unwrap();
    blue.batch("DROP PUBLICATION understudy_slots").await.unwrap();
    case.expect(Error, "slot-missing", slot).await;
    case.expect(Error, "publication-missing", subject).await;

    blue.query("SELECT pg_create_physical_replication_slot('understudy_slots')").await.unwrap();
    blue.batch("CREATE PUBLICATION understudy_slots FOR ALL TABLES").await.unwrap();
    case.expect(Error, "slot-foreign", slot).await;
    case.expect(Error, "publication-foreign", subject).await;
    blue.query("SELECT pg_drop_replication_slot('understudy_slots')").await.unwrap();
}

#[tokio::test]
async fn f16_a_lost_slot_is_recognised() {
    let setup = Setup {
        settings: "max_slot_wal_keep_size = '1MB'\nmin_wal_size = '32MB'\nmax_wal_size = '32MB'".into(),
        hba: None,
    };
    let Some(cluster) = Cluster::start_with(&setup) else {
        return;
    };
    let case = case_on(Arc::new(cluster), "lost", PLAIN, PLAIN).await.unwrap().route("t", &["id", "v"]);
    let mut blue = connect(&case.blue).await;
    blue.query("SELECT pg_create_logical_replication_slot('understudy_lost', 'pgoutput')").await.unwrap();
    for _ in 0..6 {
        blue.batch("INSERT INTO t VALUES (1, 'x'); DELETE FROM t; SELECT pg_switch_wal(); CHECKPOINT")
            .await
            .unwrap();
    }
    case.expect(Error, "slot-lost", "blue slot understudy_lost").await;
}

#[tokio::test]
async fn f15_transactions_that_hold_the_slot_up_are_named() {
    let Some(cluster) = Cluster::start() else { return };
    let case = case_on(Arc::new(cluster), "holdup", PLAIN, PLAIN).await.unwrap();
    let mut blue = connect(&case.blue).await;
    blue.batch("BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'it''s'").await.unwrap();
    let finding = case.expect(Warning, "prepared-transaction", "blue prepared transaction 'it's'").await;
    assert!(finding.remedy.contains("ROLLBACK PREPARED 'it''s'"), "{finding}");
    // One that has just begun is no reason to speak.
    blue.batch("BEGIN; INSERT INTO t VALUES (2)").await.unwrap();
    case.expect_not("long-transaction").await;
}

#[tokio::test]
async fn encodings_locales_and_collation_versions_are_compared() {
    let blue = "CREATE COLLATION fold (PROVIDER = icu, LOCALE = 'und', DETERMINISTIC = false);
        CREATE TABLE t (id text COLLATE fold PRIMARY KEY, v text);
        UPDATE pg_collation SET collversion = 'long ago' WHERE collname = 'fold'";
    let Some(mut case) = case("collation", blue, PLAIN.replace("id int", "id text").as_str()).await else {
        return;
    };
    case = case.route("t", &["id", "v"]);
    case.expect(Warning, "collation-version-mismatch", "blue collation fold").await;
    case.expect(Warning, "nondeterministic-key", "blue column public.t.id").await;

    let mut admin = connect(&case.cluster.options()).await;
    let create = "CREATE DATABASE NAME TEMPLATE template0 ENCODING '?' LOCALE 'C'";
    for (name, encoding) in [("collation_ascii", "SQL_ASCII"), ("collation_latin", "LATIN1")] {
        admin.batch(&create.replace("NAME", name).replace('?', encoding)).await.unwrap();
    }
    let (utf8, named) =
        (case.green.clone(), |name: &str| ConnectOptions { database: name.into(), ..case.green.clone() });
    let (ascii, latin) = (named("collation_ascii"), named("collation_latin"));
    (case.blue, case.green) = (ascii.clone(), utf8.clone());
    case.expect(Warning, "encoding-unchecked", "blue").await;
    (case.blue, case.green) = (utf8.clone(), ascii);
    case.expect(Warning, "encoding-unchecked", "green").await;
    (case.blue, case.green) = (utf8.clone(), latin.clone());
    case.expect(Error, "encoding-narrower", "green").await;
    (case.blue, case.green) = (latin, utf8.clone());
    case.expect(Info, "encoding-differs", "green").await;
    (case.blue, case.green) = (utf8.clone(), utf8);
    case.expect(Error, "same-database", "blue and green").await;
}
