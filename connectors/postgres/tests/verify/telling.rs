//! Digests tell rows apart: on random rows, exactly those with the same values have the same digest.

use std::collections::HashMap;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use understudy_contract::{BlueRows, Detail, RowDigest};
use understudy_model::RouteId;
use understudy_postgres::ident::quote_literal;

use crate::harness::{all, both, copied, route};

const PAIRS: usize = 5_000;
const BATCHES: usize = 3;

type Cells = [Option<String>; 3];

/// Texts in which everything that holds a record together may stand, so that columns could be mistaken for each other.
fn cell(random: &mut SmallRng) -> Option<String> {
    const PIECES: [&str; 10] = ["", "\"", ",", "(", ")", "\\", "a", "NULL", "\n", "\"\""];
    if random.random_range(0..4) == 0 {
        return None;
    }
    Some((0..random.random_range(0..4)).map(|_| PIECES[random.random_range(0..PIECES.len())]).collect())
}

/// The same, or the same shifted, parted elsewhere, or with null for empty.
fn neighbour(row: &Cells, random: &mut SmallRng) -> Cells {
    let [a, b, c] = row.clone();
    match random.random_range(0..6) {
        0 | 1 => [a, b, c],
        2 => [b, c, a],
        3 => [a.clone().zip(b.clone()).map(|(a, b)| format!("{a},{b}")), c.clone(), None],
        4 => [a, b.filter(|text| !text.is_empty()), c.or(Some(String::new()))],
        _ => [cell(random), b, c],
    }
}

fn values(rows: &[Cells]) -> String {
    let text = |cell: &Option<String>| cell.as_deref().map_or("NULL".to_owned(), quote_literal);
    let row = |(id, cells): (usize, &Cells)| format!("({id}, {})", cells.each_ref().map(text).join(", "));
    rows.iter().enumerate().map(row).collect::<Vec<_>>().join(", ")
}

/// Promise 2: a digest is equal if and only if the row is. UNDERSTUDY_SEED=n repeats a run.
#[tokio::test]
async fn digests_are_equal_exactly_where_rows_are() {
    let schema = "CREATE TABLE t (id int PRIMARY KEY, a text, b text, c text);
        CREATE TABLE u (id int PRIMARY KEY, a text, b text, c text);";
    let schema = format!("{schema} {} {}", copied("t"), copied("u"));
    let mut routes =
        vec![route("t", &["id", "a", "b", "c"], &["id"]), route("u", &["id", "a", "b", "c"], &["id"])];
    routes[1].route = RouteId(1);
    for route in &mut routes {
        route.blue.columns[0].compared = None;
    }
    let Some(mut both) = both("telling", &schema, routes).await else { return };
    let seed = std::env::var("UNDERSTUDY_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(rand::random::<u64>);
    eprintln!("digests: UNDERSTUDY_SEED={seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let mut digests = HashMap::<Cells, RowDigest>::new();
    let mut alike = 0;
    for _ in 0..BATCHES {
        let left = (0..PAIRS).map(|_| [0; 3].map(|_| cell(&mut random))).collect::<Vec<_>>();
        let right = left.iter().map(|row| neighbour(row, &mut random)).collect::<Vec<_>>();
        let fill = format!(
            "TRUNCATE t, u; INSERT INTO t VALUES {}; INSERT INTO u VALUES {}",
            values(&left),
            values(&right)
        );
        both.admin.batch(&fill).await.unwrap();
        let mut seen = Vec::new();
        for (route, rows) in [(RouteId(0), &left), (RouteId(1), &right)] {
            let read = both.blue.rows(route, &all(), Detail::Digests).await.unwrap().unwrap().value;
            assert_eq!(read.len(), PAIRS);
            let mut of_id = vec![RowDigest(0); PAIRS];
            for row in read {
                let id: usize = crate::harness::shown(&row.name.green).parse().unwrap();
                of_id[id] = row.digest;
                let known = digests.entry(rows[id].clone()).or_insert(row.digest);
                assert_eq!(*known, row.digest, "two digests of one row, seed {seed}");
            }
            seen.push(of_id);
        }
        for (at, (one, other)) in left.iter().zip(&right).enumerate() {
            assert_eq!(one == other, seen[0][at] == seen[1][at], "{one:?} and {other:?}, seed {seed}");
            alike += usize::from(one == other);
        }
    }
    let mut distinct = digests.values().collect::<Vec<_>>();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), digests.len(), "one digest of two rows, seed {seed}");
    assert!(alike > PAIRS / 2 && digests.len() > PAIRS, "the rows are too plain to tell anything");
}
