//! Truncates: exactly the tables that blue emptied, never others, in order with the changes around them.

use understudy_contract::{Applied, ChangeSink, Class};
use understudy_model::{RouteId, RowChange};

use crate::green::{Green, each, insert, table};

fn truncate(routes: &[u16]) -> RowChange {
    RowChange::Truncate { routes: routes.iter().map(|route| RouteId(*route)).collect() }
}

const COUNTS: &str =
    "SELECT (SELECT count(*) FROM public.parents) || '|' || (SELECT count(*) FROM public.children)";

async fn family(name: &str, more: &str) -> Option<(Green, understudy_postgres::sink::PostgresSink)> {
    let sql = format!(
        "CREATE TABLE parents (id int PRIMARY KEY); CREATE TABLE children (id int PRIMARY KEY, parent int REFERENCES parents); {more}"
    );
    let mut green = Green::with(name, &sql).await?;
    let sink = green.sink(vec![table(0, "parents", &["id"]), table(1, "children", &["id", "parent"])]).await;
    Some((green, sink))
}

#[tokio::test]
async fn truncates_stand_in_order_with_changes() {
    for many in [1, 100] {
        let Some((mut green, mut sink)) = family(&format!("truncate_{many}"), "").await else {
            return;
        };
        let batch = green.batch(vec![
            each(0..many, |n| insert(0, &[n])),
            each(0..many, |n| insert(1, &[n, n])),
            vec![truncate(&[0, 1]), insert(0, &["500"]), insert(1, &["1", "500"])],
            each(600..600 + many, |n| insert(0, &[n])),
        ]);
        assert_eq!(sink.apply(batch).await.unwrap(), Applied::default());
        assert_eq!(green.rows(COUNTS).await, format!("{}|1", many + 1));
        // One that others of the migration refer to, alone: TRUNCATE is not allowed, so its rows are deleted.
        let batch = green.batch(vec![vec![truncate(&[0])]]);
        assert_eq!(sink.apply(batch).await.unwrap(), Applied::default());
        assert_eq!(green.rows(COUNTS).await, "0|1");
    }
}

/// A table outside the migration is never emptied by cascade, nor left with dangling references.
#[tokio::test]
async fn a_table_that_outsiders_refer_to_is_not_emptied() {
    let more = "CREATE TABLE outside (parent int REFERENCES parents)";
    let Some((mut green, mut sink)) = family("truncate_outside", more).await else {
        return;
    };
    let batch = green.batch(vec![vec![insert(0, &["1"])], vec![truncate(&[0, 1])]]);
    let failure = sink.apply(batch).await.unwrap_err();
    assert_eq!(failure.class(), Class::Data);
    assert!(
        failure.to_string().contains("a table outside the migration has a foreign key to public.parents"),
        "{failure}"
    );
    assert!(failure.remedy_text().unwrap().contains("drop that foreign key"));
    assert_eq!(green.rows(COUNTS).await, "1|0");
}

/// The same in the middle of a transaction that an earlier batch began: the reason is told, not that of the undoing.
#[tokio::test]
async fn a_refused_truncate_of_a_giant_transaction_tells_its_reason() {
    let more = "CREATE TABLE outside (parent int REFERENCES parents)";
    let Some((mut green, mut sink)) = family("truncate_giant", more).await else {
        return;
    };
    let part = green.part(vec![insert(0, &["1"])]);
    sink.apply(part).await.unwrap();
    let part = green.part(vec![truncate(&[0, 1])]);
    let failure = sink.apply(part).await.unwrap_err();
    assert!(failure.to_string().contains("a table outside the migration"), "{failure}");
}

/// F33: a truncated leaf takes only its own rows, told by blue's partition bounds over blue's column names.
#[tokio::test]
async fn a_truncated_leaf_takes_only_its_rows() {
    let Some(mut green) =
        Green::with("truncate_leaf", "CREATE TABLE sales (id int PRIMARY KEY, region text)").await
    else {
        return;
    };
    let mut sink = green.sink(vec![table(0, "sales", &["id", "region"])]).await;
    let mut rows = each(0..50, |n| insert(0, &[n, "north"]));
    rows.extend(each(50..60, |n| insert(0, &[n, "south"])));
    let predicate = "((region_blue IS NOT NULL) AND (region_blue = 'north'::text))".to_owned();
    let leaf = RowChange::TruncateLeaf { route: RouteId(0), predicate };
    let batch = green.batch(vec![rows, vec![leaf, insert(0, &["1", "north"])]]);
    assert_eq!(sink.apply(batch).await.unwrap(), Applied::default());
    assert_eq!(
        green.rows("SELECT count(*) || min(region) || max(region) FROM public.sales").await,
        "11northsouth"
    );
}

#[tokio::test]
async fn a_table_that_several_routes_fill_is_not_emptied_for_one_of_them() {
    let Some(mut green) =
        Green::with("truncate_shared", "CREATE TABLE merged (id int PRIMARY KEY, a text)").await
    else {
        return;
    };
    let mut other = table(1, "merged", &["id", "a"]);
    other.source.name = "elsewhere".into();
    let mut sink = green.sink(vec![table(0, "merged", &["id", "a"]), other]).await;
    let batch = green.batch(vec![vec![insert(0, &["1", "x"]), insert(1, &["2", "y"])], vec![truncate(&[1])]]);
    let failure = sink.apply(batch).await.unwrap_err();
    assert!(failure.to_string().contains("other tables fill public.merged on green too"), "{failure}");
    assert_eq!(green.rows("SELECT count(*) FROM public.merged").await, "2");
}
