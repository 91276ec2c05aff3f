//! Plans, as the servers make them.

use understudy_contract::{BlueProbe, GreenProbe, NotAnswered, ProbeParams, ScannedRelation};

use crate::databases::shared;
use crate::harness::{pair, params, query};

const LARGE: &str = "CREATE TABLE orders (id int PRIMARY KEY, customer int NOT NULL, note text); \
     CREATE INDEX orders_customer ON orders (customer); \
     INSERT INTO orders SELECT n, n % 1000, repeat('x', 50) FROM generate_series(1, 20000) AS n; \
     CREATE TABLE tiny (id int); ANALYZE orders, tiny";

fn of<'a>(plan: &'a [ScannedRelation], name: &str) -> &'a ScannedRelation {
    plan.iter().find(|one| one.name == name).unwrap_or_else(|| panic!("{name} is not in {plan:?}"))
}

/// A query that finds its rows through an index on blue and reads the whole table on green, for want of the index, is seen,
/// whatever its parameters would be; and about how many rows the table has, also where it was never analyzed.
#[tokio::test]
async fn a_missing_index_on_green_shows_in_the_plan() {
    let Some(cluster) = shared() else { return };
    let mut pair = pair(cluster, "missing_index", LARGE).await;
    pair.green.batch("DROP INDEX orders_customer").await.unwrap();
    let wanted = query("SELECT o.note FROM orders AS o, tiny AS t WHERE o.customer = $1 AND t.id = $2 -- so");
    let blue = pair.ask_blue.plan(&wanted).await.unwrap().unwrap();
    let green = pair.ask_green.plan(&wanted).await.unwrap().unwrap();
    let (on_blue, on_green) = (of(&blue, "public.orders"), of(&green, "public.orders"));
    assert_eq!((on_blue.sequential, on_green.sequential), (false, true), "{blue:?} {green:?}");
    assert!((19_000..21_000).contains(&on_blue.rows), "{on_blue:?}");
    assert!(of(&green, "public.tiny").rows < 1_000);
    pair.green.batch("CREATE TABLE fresh AS SELECT * FROM orders").await.unwrap();
    let fresh = pair.ask_green.plan(&query("SELECT * FROM fresh")).await.unwrap().unwrap();
    assert!(of(&fresh, "public.fresh").rows >= 1_000, "{fresh:?}");
}

/// Looking at a plan runs nothing, can be repeated, also after one that failed, and leaves asking as it was.
#[tokio::test]
async fn plans_are_only_looked_at() {
    let Some(cluster) = shared() else { return };
    let mut pair = pair(cluster, "only_looked_at", LARGE).await;
    let slow = query("SELECT count(*) FROM orders WHERE pg_sleep(60) IS NOT NULL AND id = $1");
    for _ in 0..2 {
        assert!(pair.ask_blue.plan(&slow).await.unwrap().is_ok());
        let refused = pair.ask_blue.plan(&query("SELECT no_such FROM orders")).await.unwrap();
        assert!(matches!(refused, Err(NotAnswered::Refused(_))), "{refused:?}");
    }
    assert!(pair.ask_blue.plan(&query("TABLE tiny")).await.unwrap().is_ok());
    let (by_id, none) = (query("SELECT note FROM orders WHERE id = $1"), ProbeParams::default());
    assert!(pair.on_blue(&by_id, &params(&["1"])).await.is_ok());
    assert!(pair.on_blue(&query("SELECT 1"), &none).await.is_ok());
}
