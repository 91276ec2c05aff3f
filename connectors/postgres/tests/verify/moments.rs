//! When rows were read: what blue's snapshot shows, and green's rows and checkpoint in one snapshot.

use std::time::Duration;

use understudy_contract::{BlueRows, Detail, GreenRows, KeyRange, NotRead};
use understudy_model::{Lsn, Xid};
use understudy_postgres::verify::ReadLimits;
use understudy_postgres::wire::{Client, ConnectOptions};

use crate::databases::connect;
use crate::harness::{FAR, ROUTE, all, both, copied, limited, names, route};
use crate::support::until;

fn schema() -> String {
    format!("CREATE TABLE t (id int PRIMARY KEY, v bigint); INSERT INTO t VALUES (1, 0); {}", copied("t"))
}

fn tables() -> Vec<understudy_contract::ComparedRoute> {
    vec![route("t", &["id", "v"], &["id"])]
}

async fn at(client: &mut Client, checkpoint: &str, unseen: &str) {
    let sql = format!("UPDATE understudy.migration SET checkpoint = '{checkpoint}', unseen = {unseen}");
    client.batch(&sql).await.unwrap();
}

/// Waits until a session of the database waits for a lock on a table.
async fn waiting(options: &ConnectOptions) {
    let sql = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessShareLock' \
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    until("a session waits for the lock", || async {
        connect(options).await.query(sql).await.unwrap()[0].text(0) != Some("0")
    })
    .await;
}

/// Promise 3: whatever blue's snapshot shows had committed before the address that green is waited for.
#[tokio::test]
async fn blues_address_is_beyond_what_it_shows() {
    let Some(mut both) = both("shown", &schema(), tables()).await else { return };
    let mut open = connect(&both.options).await;
    open.batch("BEGIN; INSERT INTO t VALUES (2, 0)").await.unwrap();
    let running = open.query("SELECT pg_current_xact_id()").await.unwrap()[0].parse::<u64>(0).unwrap();
    for n in 3..20 {
        both.admin.batch(&format!("BEGIN; INSERT INTO t VALUES ({n}, 0)")).await.unwrap();
        let xid = both.text("SELECT pg_current_xact_id()").await.parse::<u64>().unwrap();
        both.admin.batch("COMMIT").await.unwrap();
        let committed = both.text("SELECT pg_current_wal_insert_lsn()").await.parse::<Lsn>().unwrap();
        let read = both.blue.rows(ROUTE, &all(), Detail::Digests).await.unwrap().unwrap();
        assert!(read.moment.snapshot.sees(Xid::new(xid)) && !read.moment.snapshot.sees(Xid::new(running)));
        assert!(read.moment.lsn >= committed);
        assert_eq!(read.value.len(), n - 1, "all but the row that is not committed");
        let digest = both.blue.digest(ROUTE, &KeyRange::default()).await.unwrap().unwrap();
        assert_eq!(digest.value.rows, n as u64 - 1);
        assert!(digest.moment.lsn >= read.moment.lsn);
    }
}

/// Failure: an older snapshot than the lock would find a table empty that was just emptied and filled again.
#[tokio::test]
async fn snapshots_are_taken_after_the_lock() {
    let Some(mut both) = both("emptied", &schema(), tables()).await else { return };
    let mut writer = connect(&both.options).await;
    writer
        .batch("BEGIN; TRUNCATE t, t_green; INSERT INTO t VALUES (2, 0); INSERT INTO t_green VALUES (2, 0)")
        .await
        .unwrap();
    at(&mut writer, "1/0", "''").await;
    let options = both.options.clone();
    let release = async {
        waiting(&options).await;
        writer.batch("COMMIT").await.unwrap();
    };
    let whole = all();
    let (blue, green, ()) = tokio::join!(
        both.blue.rows(ROUTE, &whole, Detail::Digests),
        both.green.rows(ROUTE, &whole, Detail::Digests, Lsn::ZERO),
        release
    );
    let green = green.unwrap().unwrap();
    assert_eq!(crate::harness::greens(&blue.unwrap().unwrap().value), ["2"]);
    assert_eq!(crate::harness::greens(&green.value), ["2"]);
    assert_eq!(green.moment.checkpoint.lsn(), "1/0".parse().unwrap());
}

/// Promise 3: green's rows are never read before green has applied what is asked for.
#[tokio::test]
async fn green_is_waited_for() {
    let limits = ReadLimits { green_patience: Duration::from_millis(80), ..ReadLimits::default() };
    let Some(mut both) = limited("waited", &schema(), tables(), limits).await else { return };
    at(&mut both.admin, "1/0", "NULL").await;
    let whole = KeyRange::default();
    let beyond = "1/1".parse::<Lsn>().unwrap();
    assert_eq!(both.green.digest(ROUTE, &whole, beyond).await.unwrap().unwrap_err(), NotRead::NotYet);
    let rows = both.green.rows(ROUTE, &names(&[&["1"]]), Detail::Digests, beyond).await.unwrap();
    assert_eq!(rows.unwrap_err(), NotRead::NotYet);
    let read = both.green.digest(ROUTE, &whole, "1/0".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!((read.moment.checkpoint.lsn(), read.moment.unseen), ("1/0".parse().unwrap(), None));
    at(&mut both.admin, "1/8", "'7,9-11'").await;
    let read = both.green.digest(ROUTE, &whole, beyond).await.unwrap().unwrap();
    let unseen = [7, 9, 10, 11].map(Xid::new).to_vec();
    assert_eq!((read.moment.checkpoint.lsn(), read.moment.unseen), ("1/8".parse().unwrap(), Some(unseen)));
    // Nothing has begun: nothing was read.
    both.admin.batch("UPDATE understudy.migration SET checkpoint = NULL").await.unwrap();
    assert_eq!(both.green.digest(ROUTE, &whole, Lsn::ZERO).await.unwrap().unwrap_err(), NotRead::NotYet);
    both.admin.batch("DROP SCHEMA understudy CASCADE").await.unwrap();
    assert_eq!(both.green.digest(ROUTE, &whole, Lsn::ZERO).await.unwrap().unwrap_err(), NotRead::NotYet);
}

/// Failure: a read that waits must not keep the TRUNCATE from being applied that it waits for.
#[tokio::test]
async fn waiting_for_green_holds_nothing() {
    let Some(mut both) = both("patient", &schema(), tables()).await else { return };
    at(&mut both.admin, "1/0", "''").await;
    let mut writer = connect(&both.options).await;
    let advance = async {
        // Several turns of the reader pass under this lock.
        writer
            .batch(
                "BEGIN; SET LOCAL lock_timeout = '5s'; TRUNCATE t_green; INSERT INTO t_green VALUES (9, 9)",
            )
            .await
            .unwrap();
        at(&mut writer, "2/0", "''").await;
        writer.batch("COMMIT").await.unwrap();
    };
    let whole = all();
    let read = both.green.rows(ROUTE, &whole, Detail::Digests, "2/0".parse().unwrap());
    let (read, ()) = tokio::join!(read, advance);
    assert_eq!(crate::harness::greens(&read.unwrap().unwrap().value), ["9"]);
}

/// Promise 3: rows and checkpoint are of one snapshot: a batch that is applied meanwhile is seen whole or not at all.
#[tokio::test]
async fn a_batch_is_seen_whole_or_not_at_all() {
    let Some(mut both) = both("halves", &schema(), tables()).await else { return };
    at(&mut both.admin, "0/0", "''").await;
    let mut writer = connect(&both.options).await;
    let (done, mut ended) = tokio::sync::watch::channel(false);
    let write = async {
        let mut n = 0u64;
        while !*ended.borrow_and_update() {
            n += 1;
            writer.batch(&format!(
                "BEGIN; UPDATE t_green SET v = {n}; UPDATE understudy.migration SET checkpoint = '{}', unseen = '{n}'; COMMIT",
                Lsn::new(n)
            )).await.unwrap();
        }
        n
    };
    let read = async {
        let mut seen = Lsn::ZERO;
        for _ in 0..300 {
            let read = both.green.rows(ROUTE, &all(), Detail::Values, seen).await.unwrap().unwrap();
            let value = read.value[0].values.as_ref().unwrap()[1].text.clone().unwrap();
            let checkpoint = read.moment.checkpoint.lsn();
            assert_eq!(value.parse::<u64>().unwrap(), checkpoint.raw());
            assert!(checkpoint >= seen);
            if checkpoint > Lsn::ZERO {
                assert_eq!(read.moment.unseen, Some(vec![Xid::new(checkpoint.raw())]));
            }
            seen = checkpoint;
        }
        done.send(true).unwrap();
    };
    let (written, ()) = tokio::join!(write, read);
    assert!(written > 100 && FAR > Lsn::new(written), "the writer has hardly written");
}
