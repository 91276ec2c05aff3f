//! One owner at a time: claims, fences, crashes, and what is durable.

use understudy_contract::{ChangeSink, Class, LedgerEntry};
use understudy_model::{RouteId, Xid};
use understudy_postgres::sink::{PostgresSink, SinkSettings, forget};

use crate::green::{Green, each, heal, insert, lineage, row, table};
use crate::support::{Cluster, Setup};

const SQL: &str = "CREATE TABLE public.items (id int PRIMARY KEY, name text)";

fn tables() -> Vec<understudy_contract::GreenTable> {
    vec![table(0, "items", &["id", "name"])]
}

async fn next(green: &Green) -> PostgresSink {
    PostgresSink::connect(&green.options, green.settings(), tables()).await.unwrap()
}

#[tokio::test]
async fn a_claim_reads_back_what_was_committed() {
    let Some(mut green) = Green::with("claim_reads", SQL).await else {
        return;
    };
    let mut sink = green.sink(tables()).await;
    let batch = green.batch(vec![vec![insert(0, &["1", "a"])], vec![]]);
    sink.apply(batch).await.unwrap();
    drop(sink);
    let saved = next(&green).await.claim().await.unwrap().unwrap();
    assert_eq!(
        (saved.lineage, saved.checkpoint, saved.unseen),
        (lineage(), green.at(), Some(vec![Xid::new(7)]))
    );
    assert_eq!(saved.routes.len(), 1);
    assert_eq!((saved.routes[0].route, saved.routes[0].fingerprint.as_str()), (Some(RouteId(0)), "f1"));
    // A file without the table still sees that it was once there.
    let mut without = PostgresSink::connect(&green.options, green.settings(), Vec::new()).await.unwrap();
    assert_eq!(without.claim().await.unwrap().unwrap().routes[0].route, None);
    // So does one that matches fewer tables on a wrong server, and nothing is lost to it before that is refused.
    let mut again = next(&green).await;
    assert_eq!(again.claim().await.unwrap().unwrap().routes[0].route, Some(RouteId(0)));
    // An instance that is superseded meanwhile forgets nothing either.
    assert!(without.forget_absent().await.is_err());
    assert_eq!(green.rows("SELECT count(*) FROM understudy.routes").await, "1");
    let mut without = PostgresSink::connect(&green.options, green.settings(), Vec::new()).await.unwrap();
    without.claim().await.unwrap();
    without.forget_absent().await.unwrap();
    assert_eq!(next(&green).await.claim().await.unwrap().unwrap().routes, []);
}

/// A predecessor stopped in the middle of a transaction is sent away, and finds itself superseded when it wakes up.
#[tokio::test]
async fn a_superseded_instance_never_writes_again() {
    let Some(mut green) = Green::with("supersede", SQL).await else {
        return;
    };
    let mut old = green.sink(tables()).await;
    let part = green.part(each(0..100, |n| insert(0, &[n, "old"])));
    old.apply(part).await.unwrap();
    let mut new = next(&green).await;
    assert_eq!(new.claim().await.unwrap().unwrap().checkpoint, green.at());
    let late = green.part(vec![insert(0, &["100", "old"])]);
    assert_eq!(old.apply(late).await.unwrap_err().class(), Class::Superseded);
    let mut chunk = green.chunk(1, 0, heal(&[]), vec![row(&["1", "old"])]);
    chunk.at = understudy_model::Checkpoint::default();
    assert!(old.place(chunk).await.is_err());
    assert_eq!(old.persist().await.unwrap_err().class(), Class::Superseded);
    assert_eq!(old.record(LedgerEntry::Complete(RouteId(0))).await.unwrap_err().class(), Class::Superseded);
    let batch = green.batch(vec![vec![insert(0, &["1", "new"])]]);
    new.apply(batch).await.unwrap();
    assert_eq!(green.rows("SELECT name FROM public.items").await, "new");
}

/// The fence itself: even with its connections alive an instance that lost ownership commits nothing.
#[tokio::test]
async fn the_fence_holds_where_nobody_was_sent_away() {
    let Some(mut green) = Green::with("fence", SQL).await else {
        return;
    };
    let mut sink = green.sink(tables()).await;
    sink.record(LedgerEntry::Plan(crate::green::unit(0))).await.unwrap();
    let chunk = green.chunk(1, 0, heal(&[]), vec![row(&["1", "old"])]);
    green.admin.batch("UPDATE understudy.migration SET owner = 'someone else'").await.unwrap();
    for batch in [green.batch(vec![vec![insert(0, &["1", "a"])]]), green.part(vec![insert(0, &["1", "a"])])] {
        assert_eq!(sink.apply(batch).await.unwrap_err().class(), Class::Superseded);
    }
    sink.place(chunk).await.unwrap();
    assert_eq!(sink.placed().await.unwrap_err().class(), Class::Superseded);
    assert_eq!(sink.record(LedgerEntry::Complete(RouteId(0))).await.unwrap_err().class(), Class::Superseded);
    assert_eq!(green.rows("SELECT count(*) FROM public.items").await, "0");
}

/// A checkpoint that someone moved is no matter for retries.
#[tokio::test]
async fn a_checkpoint_moved_by_hand_is_noticed() {
    let Some(mut green) = Green::with("moved", SQL).await else {
        return;
    };
    let mut sink = green.sink(tables()).await;
    green.admin.batch("UPDATE understudy.migration SET checkpoint = '0/1'").await.unwrap();
    let batch = green.batch(vec![vec![insert(0, &["1", "a"])]]);
    assert_eq!(sink.apply(batch).await.unwrap_err().class(), Class::Diverged);
}

/// F20: killed in the middle of a transaction, nothing of it stays, and the next instance goes on before it.
#[tokio::test]
async fn a_killed_session_leaves_nothing_half() {
    let Some(mut green) = Green::with("killed", SQL).await else {
        return;
    };
    let mut sink = green.sink(tables()).await;
    let part = green.part(each(0..500, |n| insert(0, &[n, "part"])));
    sink.apply(part).await.unwrap();
    let kill = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name LIKE 'understudy/killed/apply/%'";
    assert_eq!(green.rows(kill).await, "t");
    let last = green.batch(vec![vec![insert(0, &["900", "last"])]]);
    assert_eq!(sink.apply(last.clone()).await.unwrap_err().class(), Class::Transient);
    assert_eq!(green.rows("SELECT count(*) FROM public.items").await, "0");
    let mut sink = next(&green).await;
    sink.claim().await.unwrap();
    sink.apply(last).await.unwrap();
    assert_eq!(green.rows("SELECT count(*) FROM public.items").await, "1");
}

/// F8: what `persist` names survives a crash of green.
#[tokio::test]
async fn what_is_persisted_survives_a_crash() {
    // Its own server: it is going to crash. Nothing else would flush its log.
    let setup = Setup { settings: "fsync = on\nwal_writer_delay = 10s\nautovacuum = off".into(), hba: None };
    let Some(cluster) = Cluster::start_with(&setup) else {
        return;
    };
    cluster.client().await.batch(SQL).await.unwrap();
    let settings = SinkSettings::new("crash");
    let mut green = Green::on(std::sync::Arc::new(cluster), "crash").await;
    let mut sink = green.sink_with(settings.clone(), tables(), true).await;
    let batch = green.batch(vec![each(0..500, |n| insert(0, &[n, "x"]))]);
    sink.apply(batch).await.unwrap();
    assert_eq!(sink.persist().await.unwrap(), green.at());
    green.cluster.control("restart");
    let batch = green.batch(vec![vec![insert(0, &["900", "late"])]]);
    assert_eq!(sink.apply(batch).await.unwrap_err().class(), Class::Transient);
    let mut sink = PostgresSink::connect(&green.options, settings, tables()).await.unwrap();
    let saved = sink.claim().await.unwrap().unwrap();
    let mut client = green.cluster.client().await;
    let count = client.query("SELECT count(*) FROM public.items").await.unwrap();
    assert_eq!(count[0].text(0), Some("500"));
    assert!(saved.checkpoint < green.at());
}

/// F38: our writes carry an origin, so that a reverse feed can pass over them.
#[tokio::test]
async fn writes_carry_a_replication_origin() {
    let Some(cluster) = Cluster::start() else { return };
    cluster.client().await.batch(SQL).await.unwrap();
    let mut green = Green::on(std::sync::Arc::new(cluster), "origin-1").await;
    let slot = "SELECT 1 FROM pg_create_logical_replication_slot('s', 'test_decoding')";
    green.rows(slot).await;
    let settings = green.settings();
    let mut sink = green.sink_with(settings, tables(), true).await;
    assert_eq!(sink.limits(), Vec::<String>::new());
    let batch = green.batch(vec![each(0..100, |n| insert(0, &[n, "x"])), vec![insert(0, &["900", "y"])]]);
    sink.apply(batch).await.unwrap();
    green.admin.batch("INSERT INTO public.items VALUES (901, 'foreign')").await.unwrap();
    let local = "SELECT count(*) FROM pg_logical_slot_peek_changes('s', NULL, NULL, 'only-local', '1') WHERE data LIKE '%public.items%'";
    assert_eq!(green.rows(local).await, "1");
    // The next instance takes the origin over.
    let mut sink = next(&green).await;
    sink.claim().await.unwrap();
    assert_eq!(sink.limits(), Vec::<String>::new());

    // Nothing of the migration is left afterwards but its rows, and its sessions are gone.
    let removed = forget(&green.options, &green.settings(), false).await.unwrap().join("\n");
    assert!(
        removed.contains("schema understudy with the bookkeeping")
            && removed.contains("origin understudy_origin_1/0"),
        "{removed}"
    );
    assert_eq!(green.rows("SELECT count(*) FROM pg_replication_origin").await, "0");
    assert_eq!(sink.persist().await.unwrap_err().class(), Class::Transient);
    assert_eq!(forget(&green.options, &green.settings(), false).await.unwrap(), Vec::<String>::new());
}

/// A role with few rights still applies, and what it lacks is told.
#[tokio::test]
async fn a_plain_role_applies_and_its_limits_are_told() {
    let sql = "CREATE ROLE plain LOGIN; GRANT ALL ON SCHEMA public TO plain; SET ROLE plain; \
        CREATE TABLE items (id int PRIMARY KEY, name text); RESET ROLE; CREATE SCHEMA understudy AUTHORIZATION plain";
    let Some(mut green) = Green::with("plain_role", sql).await else {
        return;
    };
    green.options.user = "plain".into();
    let settings = green.settings();
    // The schema is there, and creating it is not allowed: that must not be asked for.
    let mut sink = green.sink_with(settings, tables(), true).await;
    let limits = sink.limits().join("\n");
    assert!(limits.contains("stay alive") && limits.contains("no replication origin"), "{limits}");
    let batch = green.batch(vec![each(0..100, |n| insert(0, &[n, "x"]))]);
    sink.apply(batch).await.unwrap();
    assert_eq!(green.rows("SELECT count(*) FROM public.items").await, "100");
}
