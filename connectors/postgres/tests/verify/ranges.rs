//! Ranges: cut by the index's order, without a gap and without overlap, whatever the key is made of.

use understudy_contract::{BlueRows, ComparedRoute, GreenRows, KeyRange, RangeDigest, Which};
use understudy_model::{Key, RouteId};

use crate::databases::connect;
use crate::harness::{Both, ROUTE, all, both, copied, greens, indexed, key, named, route, shown};
use crate::support::until;

/// Cuts a route into ranges by the boundaries of one side and compares them with the whole, on both sides.
async fn tile(both: &mut Both, rows: u64) -> Vec<KeyRange> {
    let (mut ranges, mut after) = (Vec::new(), None::<Key>);
    loop {
        let upto = both.blue.boundary(ROUTE, after.as_ref(), rows).await.unwrap().unwrap();
        assert_eq!(both.green.boundary(ROUTE, after.as_ref(), rows).await.unwrap().unwrap(), upto);
        ranges.push(KeyRange { after, upto: upto.clone() });
        after = upto;
        if after.is_none() {
            break;
        }
    }
    let whole = both.blue_digest(&KeyRange::default()).await.unwrap();
    assert_eq!(both.green_digest(&KeyRange::default()).await.unwrap(), whole);
    let mut sum = RangeDigest::default();
    let mut keys = Vec::new();
    for range in &ranges {
        let digest = both.blue_digest(range).await.unwrap();
        assert_eq!(both.green_digest(range).await.unwrap(), digest);
        assert!(range.upto.is_none() || digest.rows == rows, "{digest:?}");
        let read = both.blue_rows(&Which::Range(range.clone())).await;
        assert_eq!(read.iter().map(|row| row.digest).collect::<RangeDigest>(), digest);
        keys.extend(greens(&read));
        sum.rows += digest.rows;
        (sum.upper, sum.lower) = (sum.upper + digest.upper, sum.lower + digest.lower);
    }
    assert_eq!(sum, whole, "the ranges are not the table");
    keys.sort();
    assert_eq!(keys, greens(&both.blue_rows(&all()).await), "a row is in no range, or in two");
    ranges
}

async fn tiled(name: &str, schema: &str, route: ComparedRoute, rows: u64) -> Option<Vec<KeyRange>> {
    let mut both = both(name, &format!("{schema}; {}", copied("t")), vec![route]).await?;
    Some(tile(&mut both, rows).await)
}

/// Promise 2: every row is in exactly one range; the last is open, so that rows beyond every known key are in it.
#[tokio::test]
async fn ranges_of_one_column_are_the_table() {
    let schema = "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT g * 3, g FROM generate_series(-50, 50) g";
    let Some(ranges) = tiled("plain", schema, route("t", &["id", "v"], &["id"]), 10).await else { return };
    assert_eq!(ranges.len(), 11);
    assert_eq!(ranges[0], KeyRange { after: None, upto: Some(key(&["-123"])) });
    assert_eq!(ranges[10], KeyRange { after: Some(key(&["147"])), upto: None });
}

/// Failure: an index over (b, a) of a key that is named (a, b). Bounds in the order of the name would cut other rows off.
#[tokio::test]
async fn ranges_follow_the_order_of_the_index() {
    let schema = "CREATE TABLE t (a int, b text COLLATE \"C\", v int, PRIMARY KEY (b, a));
        INSERT INTO t SELECT g % 7, chr(65 + g / 7), g FROM generate_series(0, 90) g";
    let route = indexed("t", &["a", "b", "v"], &["b", "a"]);
    let Some(ranges) = tiled("ordered", schema, route, 10).await else { return };
    let bounds = ranges.iter().filter_map(|range| range.upto.as_ref()).map(shown).collect::<Vec<_>>();
    assert_eq!(bounds[..3], ["2|B", "5|C", "1|E"]);
}

/// Failure: a type of an extension has its operators where an empty search path does not find them.
#[tokio::test]
async fn keys_of_extension_types_and_of_several_kinds_have_ranges() {
    let schema = "CREATE SCHEMA ext; CREATE EXTENSION citext WITH SCHEMA ext; CREATE DOMAIN public.name AS ext.citext;
        CREATE TYPE color AS ENUM ('red', 'blue', 'green');
        CREATE TABLE t (n public.name, c color, d numeric(6, 2), f char(4), PRIMARY KEY (n, c, d, f));
        INSERT INTO t SELECT CASE g % 2 WHEN 0 THEN 'A' ELSE 'b' END || g % 5, (ARRAY['red', 'blue', 'green'])[1 + g % 3]::color,
          g % 7, left('xyz', g % 4) FROM generate_series(1, 100) g";
    let route = route("t", &["n", "c", "d", "f"], &["n", "c", "d", "f"]);
    let Some(ranges) = tiled("extended", schema, route, 9).await else { return };
    assert_eq!(ranges.len(), 12);
}

/// Promise 8: a partitioned table is one range space over all its leaves.
#[tokio::test]
async fn ranges_go_across_partitions() {
    let schema = "CREATE TABLE t (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (id);
        CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (50); CREATE TABLE t_2 PARTITION OF t DEFAULT;
        CREATE TABLE t_green (id int, day date, PRIMARY KEY (day, id));
        INSERT INTO t SELECT g, '2024-01-01'::date + g % 3 FROM generate_series(-20, 120) g;
        INSERT INTO t_green SELECT * FROM t";
    let Some(mut both) = both("parted", schema, vec![route("t", &["id", "day"], &["id", "day"])]).await
    else {
        return;
    };
    let ranges = tile(&mut both, 40).await;
    assert_eq!(ranges.len(), 4);
    let rows = both.blue_rows(&crate::harness::names(&[&["-3", "2024-01-01"], &["49", "2024-01-02"]])).await;
    let tables =
        rows.iter().map(|row| row.version.as_ref().unwrap().text.split(':').next().unwrap().to_owned());
    let mut tables = tables.collect::<Vec<_>>();
    tables.sort();
    tables.dedup();
    assert_eq!(tables.len(), 2, "rows of two leaves have versions of two tables");
}

/// A condition belongs to every read: what is not of the route is in no range of it.
#[tokio::test]
async fn ranges_hold_the_rows_of_the_route() {
    let schema = format!(
        "CREATE TABLE t (id int PRIMARY KEY, live boolean); INSERT INTO t SELECT g, g % 2 = 0 FROM generate_series(1, 50) g; {} \
         DELETE FROM t_green WHERE NOT live",
        copied("t")
    );
    let mut filtered = route("t", &["id", "live"], &["id"]);
    filtered.blue.condition = Some("\"live\"".to_owned());
    let Some(mut both) = both("conditioned", &schema, vec![filtered]).await else { return };
    assert_eq!(tile(&mut both, 10).await.len(), 3);
    assert!(both.blue_rows(&crate::harness::names(&[&["3"]])).await.is_empty());
}

/// Promise 9: neither a range nor rows by name make a server read a table from end to end, not even where that seems quicker: what others
/// read meanwhile would be pushed out of memory.
#[tokio::test]
async fn tables_are_read_by_their_index() {
    let schema = format!(
        "CREATE TABLE t (a int, b int, PRIMARY KEY (a, b)) WITH (autovacuum_enabled = off); \
         INSERT INTO t SELECT g, g FROM generate_series(1, 1000) g; {}",
        copied("t")
    );
    let Some(mut both) = both("indexed", &schema, vec![route("t", &["a", "b"], &["a", "b"])]).await else {
        return;
    };
    both.admin.batch("ANALYZE t_green").await.unwrap();
    let most = KeyRange { after: None, upto: Some(key(&["950", "950"])) };
    let many = (1..=1000).step_by(2).map(|n| named(&[&n.to_string(), &n.to_string()])).collect();
    let many = Which::Names(many);
    for _ in 0..3 {
        assert_eq!(both.green_digest(&most).await.unwrap().rows, 950);
        assert_eq!(both.green_rows(&Which::Range(most.clone())).await.len(), 950);
        assert_eq!(both.green_rows(&many).await.len(), 500);
        let after = most.upto.as_ref();
        assert_eq!(both.green.boundary(ROUTE, after, 5).await.unwrap().unwrap(), Some(key(&["955", "955"])));
    }
    // Sessions report what they have read when they end at the latest.
    crate::endings::end_sessions(&mut both).await;
    let read = "SELECT seq_tup_read || ' ' || idx_scan FROM pg_stat_user_tables WHERE relname = 't_green'";
    until("the index scans are counted", || async {
        let rows = connect(&both.options).await.query(read).await.unwrap();
        let scans = rows[0].text(0).unwrap().split(' ').nth(1).unwrap();
        scans.parse::<u64>().unwrap() >= 1_509
    })
    .await;
    let seen = both.text(read).await;
    let counts = seen.split(' ').map(|count| count.parse::<u64>().unwrap()).collect::<Vec<_>>();
    assert!(counts[0] == 0 && counts[1] >= 1_509, "{seen}");
}

/// A route that is not compared is a mistake of the caller, and not an empty table.
#[tokio::test]
async fn unknown_routes_are_refused() {
    let schema = format!("CREATE TABLE t (id int PRIMARY KEY); {}", copied("t"));
    let Some(mut both) = both("unknown", &schema, vec![route("t", &["id"], &["id"])]).await else { return };
    assert!(both.blue.digest(RouteId(7), &KeyRange::default()).await.is_err());
    assert_eq!(both.blue.boundary(ROUTE, None, 1).await.unwrap().unwrap(), None);
    assert_eq!(both.blue_digest(&KeyRange::default()).await.unwrap(), RangeDigest::default());
}
