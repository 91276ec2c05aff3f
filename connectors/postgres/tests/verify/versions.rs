//! Versions of rows, and whose they are.

use std::cell::RefCell;
use std::sync::Arc;

use understudy_postgres::verify::ReadLimits;
use understudy_postgres::wire::{Client, ConnectOptions};

use crate::harness::{all, both, copied, names, on, route};
use crate::support::{Cluster, Setup, until};

/// Promise 2: the proof rests on a version being another after every change, and the same without one.
#[tokio::test]
async fn every_change_makes_another_version() {
    let schema = format!(
        "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, 1); {}",
        copied("t")
    );
    let mut viewed = route("t", &["id", "v"], &["id"]);
    viewed.green.versioned = false;
    let Some(mut both) = both("versions", &schema, vec![viewed]).await else { return };
    let one = names(&[&["1"]]);
    let first = both.blue_rows(&one).await.remove(0);
    assert_eq!(both.blue_rows(&one).await.remove(0), first);
    let mut versions = vec![first.version.clone().unwrap()];
    for change in
        ["UPDATE t SET v = 1 WHERE id = 1", "DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (1, 1)"]
    {
        both.admin.batch(&format!("BEGIN; {change}")).await.unwrap();
        let xid = both.text("SELECT pg_current_xact_id()").await.parse::<u64>().unwrap();
        both.admin.batch("COMMIT").await.unwrap();
        let row = both.blue_rows(&one).await.remove(0);
        assert_eq!((row.digest, row.foreign), (first.digest, None), "the values are the same");
        let version = row.version.unwrap();
        assert_eq!(version.xid, xid as u32);
        assert!(!versions.contains(&version), "{version:?}");
        versions.push(version);
    }
    assert!(both.green_rows(&one).await[0].version.is_none(), "a view has none");
}

/// Promise 3: a row that somebody else wrote on green is told from ours, where green keeps record of who wrote what.
#[tokio::test]
async fn rows_of_others_are_told_where_green_knows() {
    let setup = Setup { settings: "track_commit_timestamp = on".to_owned(), hba: None };
    let Some(cluster) = Cluster::start_with(&setup) else { return };
    let cluster = Arc::new(cluster);
    let options = cluster.options();
    let schema = format!("CREATE TABLE t (id int PRIMARY KEY, v int); {}", copied("t"));
    let tables = vec![route("t", &["id", "v"], &["id"])];
    let mut both = on(cluster, options.clone(), &schema, tables, ReadLimits::default()).await;
    let asked = names(&[&["1"], &["2"], &["3"]]);
    for (origin, id) in [("understudy_verify_test", 1), ("understudy_verify_test/0", 2)] {
        let mut ours = writing_as(&options, origin).await;
        ours.batch(&format!("INSERT INTO public.t_green VALUES ({id}, 0)")).await.unwrap();
    }
    both.admin.batch("INSERT INTO t_green VALUES (3, 0)").await.unwrap();
    let mut rows = both.green_values(&asked).await;
    rows.sort_by(|one, other| one.name.cmp(&other.name));
    assert_eq!(
        rows.iter().map(|row| row.foreign).collect::<Vec<_>>(),
        [Some(false), Some(false), Some(true)]
    );
    let quick = both.green_rows(&all()).await;
    assert!(quick.iter().all(|row| row.foreign.is_none()), "only asked for with values");
    both.admin.batch("VACUUM (FREEZE) t_green").await.unwrap();
    assert_eq!(both.green_values(&asked).await.len(), 3, "old rows do no harm");
    for origin in ["understudy_verify_test", "understudy_verify_test/0", "understudy_verify_test/1"] {
        let drop = format!("SELECT pg_replication_origin_drop('{origin}')");
        until("the origin is dropped", || {
            let (options, drop) = (options.clone(), drop.clone());
            async move { Client::connect(&options).await.unwrap().query(&drop).await.is_ok() }
        })
        .await;
    }
    let nobody = both.green_values(&asked).await;
    assert!(nobody.iter().all(|row| row.foreign.is_none()), "without origins of ours nobody is known");
}

/// A session whose writes carry one of the origins that the harness's sink has made, and is about to let go of.
async fn writing_as(options: &ConnectOptions, origin: &str) -> Client {
    let setup = format!("SELECT pg_replication_origin_session_setup('{origin}')");
    let client = RefCell::new(None);
    until("the origin is free", || async {
        let mut session = Client::connect(options).await.unwrap();
        let is_set = session.query(&setup).await.is_ok();
        client.replace(is_set.then_some(session));
        is_set
    })
    .await;
    client.into_inner().unwrap()
}

/// Without that record nothing is said.
#[tokio::test]
async fn whose_a_row_is_stays_open_where_green_does_not_know() {
    let schema = format!("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1); {}", copied("t"));
    let Some(mut both) = both("unrecorded", &schema, vec![route("t", &["id"], &["id"])]).await else {
        return;
    };
    assert_eq!(both.green_values(&all()).await[0].foreign, None);
}
