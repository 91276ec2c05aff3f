//! Several routes that fill one table: each knows its own rows, and none touches those of another.

use understudy_contract::{Applied, ChangeSink, GreenTable, LedgerEntry};
use understudy_model::{Key, RouteId, RowChange};
use understudy_postgres::sink::PostgresSink;

use crate::green::{Green, UNSENT, heal_key, insert, key, row, table, unit};

const SQL: &str = "CREATE TABLE merged (kind text, id int, name text, PRIMARY KEY (kind, id))";
const SHOW: &str = "SELECT string_agg(kind || id || name, ' ' ORDER BY kind, id) FROM public.merged";
const KINDS: [&str; 3] = ["a", "b", "c"];

fn routes() -> Vec<GreenTable> {
    let route = |(n, kind): (usize, &&str)| {
        let mut route = table(n as u16, "merged", &["kind", "id", "name"]);
        route.source.name = format!("blue_{kind}");
        route.source_columns[0] = None;
        route.key = vec![0, 1];
        route.predicate = Some(format!("kind = '{kind}'"));
        route
    };
    KINDS.iter().enumerate().map(route).collect()
}

fn change(n: u16, id: u32, name: &str, insert: bool) -> RowChange {
    let (route, new) = (RouteId(n), row(&[KINDS[usize::from(n)], &id.to_string(), name]));
    let before = understudy_model::Before::There;
    if insert {
        return RowChange::Insert { route, new };
    }
    RowChange::Update { route, old_key: None, new, blue_key: Some(key(&[&id.to_string()])), before }
}

fn named(kind: &str, id: u32) -> Key {
    key(&[kind, &id.to_string()])
}

/// Rows 1 and 2 of each route.
async fn filled(name: &str, more: &str) -> Option<(Green, PostgresSink)> {
    let mut green = Green::with(name, &format!("{SQL}; {more}")).await?;
    let mut sink = green.sink(routes()).await;
    let rows = (0..3).flat_map(|n| [change(n, 1, "x", true), change(n, 2, "y", true)]).collect();
    let batch = green.batch(vec![rows]);
    assert_eq!(sink.apply(batch).await.unwrap(), Applied::default());
    Some((green, sink))
}

/// F33: what empties one source removes exactly its rows, in order with what is around it; so do its leaves, and several at
/// once.
#[tokio::test]
async fn a_truncate_of_one_source_leaves_the_rows_of_others() {
    let Some((mut green, mut sink)) = filled("merge_truncate", "").await else { return };
    let all = vec![RouteId(0), RouteId(2)];
    let batch = green.batch(vec![
        vec![RowChange::Truncate { routes: vec![RouteId(1)] }, change(1, 3, "z", true)],
        vec![RowChange::TruncateLeaf { route: RouteId(2), predicate: "(id_blue < 2)".into() }],
    ]);
    assert_eq!(sink.apply(batch).await.unwrap(), Applied::default());
    assert_eq!(green.rows(SHOW).await, "a1x a2y b3z c2y");
    let batch = green.batch(vec![vec![RowChange::Truncate { routes: all }, change(0, 9, "n", true)]]);
    assert_eq!(sink.apply(batch).await.unwrap(), Applied::default());
    assert_eq!(green.rows(SHOW).await, "a9n b3z");
}

/// F33: TRUNCATE, which also takes rows that the condition leaves out and somebody else may have put there, is for a table
/// that is a route's alone and unfiltered; emptied with others, children go before their parents.
#[tokio::test]
async fn only_a_table_that_is_wholly_a_routes_is_truncated() {
    let sql = "CREATE TABLE plain (id int PRIMARY KEY); CREATE TABLE parents (id int PRIMARY KEY); \
        CREATE TABLE chosen (id int PRIMARY KEY, parent int REFERENCES parents)";
    let Some(mut green) = Green::with("merge_whole", sql).await else { return };
    let mut settings = green.settings();
    settings.replica_role = understudy_postgres::sink::ReplicaRole::Never;
    let mut chosen = table(2, "chosen", &["id", "parent"]);
    chosen.filtered = true;
    let tables = vec![table(0, "plain", &["id"]), table(1, "parents", &["id"]), chosen];
    let mut sink = green.sink_with(settings, tables, true).await;
    let files = "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class \
        WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND oid <> relfilenode";
    let batch = green.batch(vec![
        vec![insert(0, &["1"]), insert(1, &["1"]), insert(2, &["1", "1"])],
        vec![RowChange::Truncate { routes: (0..3).map(RouteId).collect() }],
    ]);
    assert_eq!(sink.apply(batch).await.unwrap(), Applied::default());
    let left = "SELECT (SELECT count(*) FROM plain) + (SELECT count(*) FROM parents) + (SELECT count(*) FROM chosen)";
    green.admin.batch("SET search_path = public").await.unwrap();
    assert_eq!(green.rows(left).await, "0");
    // The others are deleted from: a child that stays as a table keeps its parent from being truncated.
    assert_eq!(green.rows(files).await, "NULL");
    let batch = green.batch(vec![
        vec![insert(0, &["1"]), insert(2, &["1", "NULL"])],
        vec![RowChange::Truncate { routes: vec![RouteId(0), RouteId(2)] }],
    ]);
    assert_eq!(sink.apply(batch).await.unwrap(), Applied::default());
    assert_eq!((green.rows(left).await, green.rows(files).await), ("0".into(), "plain".into()));
}

/// Promise 1: rows of another route are no rows from before: the parts that come while a route is copied for the first time
/// need not be read again. Its own are.
#[tokio::test]
async fn rows_of_another_route_make_no_copy_a_second_one() {
    let Some(mut green) = Green::with("merge_renewed", SQL).await else { return };
    let settings = green.settings();
    let mut sink = green.sink_with(settings, routes(), false).await;
    green.admin.batch("INSERT INTO public.merged VALUES ('a', 1, 'old')").await.unwrap();
    for n in 0..2 {
        sink.record(LedgerEntry::Plan(unit(n))).await.unwrap();
    }
    let first = green.batch(vec![vec![change(1, 1, "b", true)]]);
    sink.apply(first).await.unwrap();
    let parts = green.batch(vec![vec![change(0, 1, UNSENT, false), change(1, 1, UNSENT, false)]]);
    let heal = understudy_model::HealKey { green: named("a", 1), blue: heal_key("1", "1").blue };
    assert_eq!(sink.apply(parts).await.unwrap().heals, [(RouteId(0), heal)]);
}

/// Their rows never meet, so the routes are applied each in sets and folded, however their changes alternate; but not where
/// another index looks at all of them, or where nothing tells them apart.
#[tokio::test]
async fn routes_that_are_told_apart_go_in_sets() {
    let cases = [
        ("apart", "", true),
        ("unique", "CREATE UNIQUE INDEX ON merged (name)", true),
        ("unknown", "", false),
    ];
    for (name, more, known) in cases {
        let Some(mut green) = Green::with(&format!("merge_sets_{name}"), &format!("{SQL}; {more}")).await
        else {
            return;
        };
        let mut tables = routes();
        if !known {
            tables[1].predicate = None;
        }
        let mut sink = green.sink(tables).await;
        let changes = (0..100).flat_map(|id| {
            let all = move |insert, name: &'static str| {
                (0..3).map(move |n| change(n, id, &format!("{name}{n}{id}"), insert))
            };
            all(true, "came").chain(all(false, "changed"))
        });
        let batch = green.batch(vec![changes.collect()]);
        assert_eq!(sink.apply(batch).await.unwrap(), Applied::default());
        let counts = "SELECT string_agg(kind || count, ' ' ORDER BY kind) FROM \
            (SELECT kind, count(*) FROM public.merged WHERE name LIKE 'changed%' GROUP BY kind) AS c";
        assert_eq!(green.rows(counts).await, "a100 b100 c100", "{name}");
        // Rows that one statement has written share its number.
        let statements = green.rows("SELECT count(DISTINCT cmin::text) FROM public.merged").await;
        let few = statements.parse::<u32>().unwrap() <= 3;
        assert_eq!(few, name == "apart", "{name}: {statements}");
    }
}

/// Promise 1: a set of changes to one route is checked by itself, and mended where it must be, beside those of others.
#[tokio::test]
async fn a_missing_row_of_one_route_is_found_beside_another() {
    let Some((mut green, mut sink)) = filled("merge_missing", "").await else { return };
    let mut changes = (10..110).map(|id| change(0, id, "new", true)).collect::<Vec<_>>();
    changes.extend((10..110).map(|id| change(1, id, "new", true)));
    changes.push(change(2, 10, UNSENT, false));
    let batch = green.batch(vec![changes]);
    let applied = sink.apply(batch).await.unwrap();
    let heal = understudy_model::HealKey { green: named("c", 10), blue: key(&["10"]) };
    assert_eq!(applied, Applied { heals: vec![(RouteId(2), heal)], mismatches: 1, quarantined: 0 });
    assert_eq!(green.rows("SELECT count(*) FROM public.merged").await, "206");
}
