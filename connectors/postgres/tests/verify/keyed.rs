//! Rows by their names: by exact text through the index, by blue's key or by green's.

use understudy_contract::{BlueRows, Detail, GreenRows, KeyRelation, NotRead, RowName, Which};
use understudy_model::Lsn;

use crate::harness::{ROUTE, all, both, copied, greens, key, names, query, route, shown};

const SCHEMA: &str = "CREATE EXTENSION citext WITH SCHEMA public; CREATE TYPE color AS ENUM ('red', 'green');
    CREATE DOMAIN code AS char(5);
    CREATE TABLE t (a text, b numeric, c color, d code, e citext, v int, PRIMARY KEY (a, b, c, d, e));
    INSERT INTO t VALUES (E'it''s \\\\ \"odd\", (x)\\n', 1.0, 'red', 'ab', 'Ann', 1), ('', 2, 'green', 'cd', 'bob', 2),
      ('other', 3, 'red', 'ef', 'Eve', 3);";

/// Promise 1: rows are named by the text of their keys. Equal by the type's operator is not enough: the stream tells 1.0
/// from 1.00, and so must whoever compares.
#[tokio::test]
async fn names_find_their_rows_by_exact_text() {
    let columns = ["a", "b", "c", "d", "e", "v"];
    let route = route("t", &columns, &["a", "b", "c", "d", "e"]);
    let schema = format!("{SCHEMA} {}", copied("t"));
    let Some(mut both) = both("named", &schema, vec![route]).await else { return };
    let asked = names(&[
        &["it's \\ \"odd\", (x)\n", "1.0", "red", "ab   ", "Ann"],
        &["", "2", "green", "cd   ", "bob"],
        &["", "2", "green", "cd   ", "bob"],
        // Equal to a key and not the same text.
        &["other", "3.00", "red", "ef   ", "Eve"],
        &["other", "3", "red", "ef   ", "EVE"],
        &["other", "3", "red", "ef", "Eve"],
        &["nowhere", "3", "red", "ef   ", "Eve"],
    ]);
    let wanted = ["it's \\ \"odd\", (x)\n|1.0|red|ab   |Ann", "|2|green|cd   |bob"];
    let mut wanted = wanted.map(str::to_owned).to_vec();
    wanted.sort();
    let blue = both.blue_rows(&asked).await;
    assert_eq!(greens(&blue), wanted);
    assert!(blue.iter().all(|row| row.name.blue.as_ref() == Some(&row.name.green)));
    let green = both.green_rows(&asked).await;
    assert_eq!(greens(&green), wanted);
    assert!(green.iter().all(|row| row.name.blue.as_ref() == Some(&row.name.green)));
    assert!(both.blue_rows(&Which::Names(Vec::new())).await.is_empty());
    assert!(both.green_rows(&names(&[])).await.is_empty());
    // What a read returns finds the same rows again.
    let again = both.blue_rows(&all()).await.into_iter().map(|row| row.name).collect();
    assert_eq!(both.green_rows(&Which::Names(again)).await.len(), 3);
}

/// Failure: a key that the column's type cannot hold is in no row, and must not keep the others from being read.
#[tokio::test]
async fn keys_that_a_type_cannot_hold_are_not_there() {
    let schema = format!(
        "CREATE TYPE color AS ENUM ('red'); CREATE TABLE t (id smallint, c color, PRIMARY KEY (id, c)); \
         INSERT INTO t SELECT g, 'red' FROM generate_series(1, 20) g; {}",
        copied("t")
    );
    let Some(mut both) = both("beyond", &schema, vec![route("t", &["id", "c"], &["id", "c"])]).await else {
        return;
    };
    let asked = names(&[&["1", "red"], &["99999", "red"], &["x", "red"], &["2", "blue"], &["3", "red"]]);
    assert_eq!(greens(&both.blue_rows(&asked).await), ["1|red", "3|red"]);
    assert_eq!(greens(&both.green_rows(&asked).await), ["1|red", "3|red"]);
    assert!(both.blue_rows(&names(&[&["99999", "red"]])).await.is_empty());
}

/// Promise 2: where green's key is computed, blue's rows are found by either key, and each side tells what it knows.
#[tokio::test]
async fn computed_keys_are_found_by_computing_them() {
    let schema = "CREATE TABLE t (id int PRIMARY KEY, email text);
        INSERT INTO t VALUES (1, 'Ann@X'), (2, 'bob@x'), (3, ''), (4, NULL);
        CREATE TABLE t_green (mail text PRIMARY KEY); INSERT INTO t_green VALUES ('ann@x'), ('bob@x'), ('')";
    let mut computed = route("t", &["id"], &["id"]);
    computed.keys = KeyRelation::Computed;
    computed.columns[0].name = "mail".to_owned();
    computed.blue.columns = vec![query("lower(\"email\")")];
    computed.blue.green_key = vec!["lower(\"email\")".to_owned()];
    computed.blue.condition = Some("\"email\" IS NOT NULL".to_owned());
    computed.green = route("t", &["mail"], &["mail"]).green;
    let Some(mut both) = both("computed", schema, vec![computed]).await else { return };
    let rows = both.blue_rows(&Which::Thorough(vec![key(&["ann@x"]), key(&[""]), key(&["Bob@x"])])).await;
    assert_eq!(greens(&rows), ["", "ann@x"]);
    let blue_keys = rows.iter().map(|row| shown(row.name.blue.as_ref().unwrap())).collect::<Vec<_>>();
    assert!(blue_keys.contains(&"1".to_owned()) && blue_keys.contains(&"3".to_owned()));
    assert!(both.blue_rows(&Which::Thorough(Vec::new())).await.is_empty());
    // A name that has no key on blue finds nothing there.
    let named =
        |green: &str, blue: Option<&str>| RowName { green: key(&[green]), blue: blue.map(|id| key(&[id])) };
    let asked = Which::Names(vec![named("ann@x", None), named("bob@x", Some("2"))]);
    assert_eq!(greens(&both.blue_rows(&asked).await), ["bob@x"]);
    let green = both.green_rows(&asked).await;
    assert_eq!(greens(&green), ["ann@x", "bob@x"]);
    assert!(green.iter().all(|row| row.name.blue.is_none()));
    assert_eq!(greens(&both.green_rows(&Which::Thorough(vec![key(&["ann@x"])])).await), ["ann@x"]);
    let digests = |rows: &[understudy_contract::RowSeen]| {
        let mut digests = rows.iter().map(|row| row.digest).collect::<Vec<_>>();
        digests.sort();
        digests
    };
    assert_eq!(digests(&both.blue_rows(&all()).await), digests(&both.green_rows(&all()).await));
}

/// Failure: blanks at the end of `character(n)` are part of a computed name too.
#[tokio::test]
async fn computed_names_keep_their_blanks() {
    let schema = "CREATE TABLE t (id int PRIMARY KEY, c char(4)); INSERT INTO t VALUES (1, 'ab');
        CREATE TABLE t_green (c char(4) PRIMARY KEY); INSERT INTO t_green VALUES ('ab')";
    let mut computed = route("t", &["id"], &["id"]);
    computed.keys = KeyRelation::Computed;
    computed.columns[0].name = "c".to_owned();
    computed.blue.columns = vec![query("\"c\"")];
    computed.blue.green_key = vec!["\"c\"".to_owned()];
    computed.green = route("t", &["c"], &["c"]).green;
    let Some(mut both) = both("blanks", schema, vec![computed]).await else { return };
    let green = both.green_rows(&all()).await.remove(0).name.green;
    assert_eq!(shown(&green), "ab  ");
    assert_eq!(both.blue_rows(&Which::Thorough(vec![green.clone()])).await[0].name.green, green);
    assert!(both.blue_rows(&Which::Thorough(vec![key(&["ab"])])).await.is_empty());
}

/// Failure: a row whose name on green comes to null is on neither list, so nothing may be said of its range.
#[tokio::test]
async fn a_name_that_comes_to_null_is_told() {
    let schema = format!(
        "CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t VALUES (1, 5), (2, NULL), (3, 7); {}",
        copied("t")
    );
    let mut computed = route("t", &["id", "n"], &["id"]);
    computed.keys = KeyRelation::Computed;
    computed.blue.green_key = vec!["\"n\"".to_owned()];
    let Some(mut both) = both("nulls", &schema, vec![computed]).await else { return };
    let answer = both.blue.rows(ROUTE, &all(), Detail::Digests).await.unwrap();
    assert!(matches!(answer, Err(NotRead::Unreadable(_))), "{answer:?}");
    assert_eq!(both.blue_rows(&names(&[&["1"]])).await.len(), 1, "the session is usable");
    let green = both.green.rows(ROUTE, &all(), Detail::Digests, Lsn::ZERO).await.unwrap();
    assert_eq!(green.unwrap().value.len(), 3);
}
