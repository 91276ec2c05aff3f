//! Values of every family: the same rows have the same digest on both sides and on every version of the server.

use understudy_contract::{CompareRule, KeyRange, RangeDigest};

use crate::harness::{all, both, copied, names, route};

const SCHEMA: &str = r#"
    CREATE TYPE color AS ENUM ('red', 'it''s "green"');
    CREATE DOMAIN code AS char(5);
    CREATE TYPE point3 AS (x int, note text, deep numeric[]);
    CREATE TABLE t (id int PRIMARY KEY, small smallint, big bigint, n numeric, n2 numeric(10, 2), flag boolean,
      body text, short varchar(20), fixed char(6), raw bytea, doc json, docb jsonb, many int[], words text[],
      at timestamptz, plain timestamp, day date, hour time, span interval, hue color, coded code, spot point3,
      f4 real, f8 double precision, ident uuid, addr inet, bits bit varying(9), within int4range, cash money, x xml);
    INSERT INTO t (id) VALUES (1);
    INSERT INTO t (id, body, short, fixed, raw, words) VALUES (2, '', '', '', '', '{}');
    INSERT INTO t VALUES (3, -32768, 9223372036854775807, 1.500, 1.5, true, E'a,b(c)"d\\e\nf\t''g', 'ä€𝄞', 'ab', '\x00ff5c22',
      '{"b": 1,  "a": [1, 2]}', '{"b": 1,  "a": [1, 2]}', '{1,NULL,-3}', ARRAY['', NULL, 'NULL', 'a"b', 'c,d', '{}', E'\\'],
      '2024-02-29 23:59:59.999999+05:30', '0044-03-15 12:00 BC', 'infinity', '24:00', '1 year -2 mons 3 days 04:05:06.789',
      'it''s "green"', 'ab', ROW(1, 'x,"y"', '{1.0,NULL}'), 'NaN', '-Infinity',
      '00000000-0000-0000-0000-00000000ff00', '10.1.2.3/8', '10101', '[1,5)', '-12.34', '<a b="c">d</a>'),
     (4, 0, 0, 'NaN', 0, false, '(,)', ',', '  ', '\x', 'null', 'null', '{}', '{NULL}', '-infinity', 'infinity', '-infinity',
      '00:00', '0', 'red', '', ROW(NULL, '', NULL), '-0', '0.1', 'ffffffff-ffff-ffff-ffff-ffffffffffff', '::1', '', 'empty', '0', ''),
     (5, 1, 1, 1e100, 0.00, NULL, '\N', '\\', '''', '\x5c4e', '""', '"\\u00e9"', '[2:3]={1,2}', '{{a,b},{c,d}}',
      '1900-01-01 00:00:00+00', '9999-12-31', '2000-01-01', '12:34:56.7', '-00:00:01', 'red', 'x y', NULL, 1e-45, 5e-324,
      NULL, NULL, NULL, '(,)', '1.00', NULL);
"#;

const COLUMNS: &[&str] = &[
    "id", "small", "big", "n", "n2", "flag", "body", "short", "fixed", "raw", "doc", "docb", "many", "words",
    "at", "plain", "day", "hour", "span", "hue", "coded", "spot", "f4", "f8", "ident", "addr", "bits",
    "within", "cash", "x",
];

/// What every supported server makes of these rows. Blue and green may be of different versions.
const EVERYWHERE: RangeDigest =
    RangeDigest { rows: 5, upper: -8_330_917_867_013_206_888, lower: 2_798_415_879_067_155_379 };

/// Promise 2: the same row has the same digest, whatever its values and whatever defaults the servers' roles have.
#[tokio::test]
async fn every_family_has_the_same_digest_on_both_sides() {
    let schema = format!("{SCHEMA} {}", copied("t"));
    let Some(mut both) = both("families", &schema, vec![route("t", COLUMNS, &["id"])]).await else { return };
    let whole = KeyRange::default();
    let digest = both.blue_digest(&whole).await.unwrap();
    assert_eq!(digest, both.green_digest(&whole).await.unwrap());
    assert_eq!(digest, EVERYWHERE, "another digest than other servers have for the same rows");
    let (blue, green) = (both.blue_values(&all()).await, both.green_values(&all()).await);
    assert_eq!(blue.iter().map(|row| row.digest).collect::<RangeDigest>(), digest);
    for (blue, green) in blue.iter().zip(&green) {
        assert_eq!((&blue.name, blue.digest, &blue.values), (&green.name, green.digest, &green.values));
    }
    // Texts are as the stream has them: blanks of character(n) included, null told from empty.
    let texts = |row: usize, column: &str| {
        let at = COLUMNS.iter().position(|name| *name == column).unwrap();
        blue[row].values.as_ref().unwrap()[at].text.clone()
    };
    assert_eq!(texts(2, "fixed").as_deref(), Some("ab    "));
    assert_eq!(texts(2, "body").as_deref(), Some("a,b(c)\"d\\e\nf\t'g"));
    assert_eq!((texts(0, "body"), texts(1, "body").as_deref()), (None, Some("")));
    assert_eq!(texts(3, "f4").as_deref(), Some("-0"));
}

/// Failure: a column that counts always as equal is neither compared nor a reason to miss a row that is not there.
#[tokio::test]
async fn what_is_ignored_is_not_compared() {
    let schema = format!(
        "CREATE TABLE t (id int PRIMARY KEY, note text); INSERT INTO t VALUES (1, 'a'), (2, 'b'); {} \
         UPDATE t_green SET note = 'other'",
        copied("t")
    );
    let mut ignoring = route("t", &["id", "note"], &["id"]);
    let ignore = |route: &mut understudy_contract::ComparedRoute, at: usize| {
        route.columns[at].rule = CompareRule::Ignore;
        route.blue.columns[at].compared = None;
        route.green.columns[at].compared = None;
    };
    ignore(&mut ignoring, 1);
    let whole = KeyRange::default();
    let Some(mut one) = both("ignoring", &schema, vec![ignoring.clone()]).await else { return };
    assert_eq!(one.blue_digest(&whole).await, one.green_digest(&whole).await);
    let values = one.green_values(&names(&[&["1"]])).await[0].values.clone().unwrap();
    assert_eq!((values[1].text.as_deref(), &values[1].compared), (Some("other"), &None));
    ignore(&mut ignoring, 0);
    let Some(mut none) = both("ignoring_all", &schema, vec![ignoring]).await else { return };
    assert_eq!(none.blue_digest(&whole).await, none.green_digest(&whole).await);
    none.admin.batch("DELETE FROM t_green WHERE id = 2").await.unwrap();
    assert_ne!(none.blue_digest(&whole).await, none.green_digest(&whole).await);
}

/// Failure: a session without the key of a mask would compute other values, and one that lost its connection too.
#[tokio::test]
async fn settings_are_there_in_every_session() {
    let schema = format!("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1); {}", copied("t"));
    let mut masked = route("t", &["id"], &["id"]);
    masked.blue.settings = vec![("understudy.verify_test".to_owned(), "it's secret".to_owned())];
    masked.blue.columns[0].compared = Some("current_setting('understudy.verify_test')".to_owned());
    let Some(mut both) = both("settings", &schema, vec![masked]).await else { return };
    let compared =
        |rows: Vec<understudy_contract::RowSeen>| rows[0].values.as_ref().unwrap()[0].compared.clone();
    assert_eq!(compared(both.blue_values(&all()).await).as_deref(), Some("it's secret"));
    crate::endings::end_sessions(&mut both).await;
    assert!(
        understudy_contract::BlueRows::digest(&mut both.blue, crate::harness::ROUTE, &KeyRange::default())
            .await
            .is_err()
    );
    assert_eq!(compared(both.blue_values(&all()).await).as_deref(), Some("it's secret"));
}

/// Failure: a server that stores texts in another encoding would have other bytes for the same text.
#[tokio::test]
async fn another_encoding_has_the_same_digest() {
    let schema = format!(
        "CREATE TABLE t (id int PRIMARY KEY, note text); INSERT INTO t VALUES (1, 'Grüße'), (2, ''); {}",
        copied("t")
    );
    let route = || vec![route("t", &["id", "note"], &["id"])];
    let Some(cluster) = crate::databases::shared() else { return };
    cluster
        .client()
        .await
        .batch("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
        .await
        .unwrap();
    let options = understudy_postgres::wire::ConnectOptions { database: "latin".into(), ..cluster.options() };
    let limits = understudy_postgres::verify::ReadLimits::default();
    let mut latin = crate::harness::on(cluster, options, &schema, route(), limits).await;
    let Some(mut utf8) = both("utf8", &schema, route()).await else { return };
    let whole = KeyRange::default();
    assert_eq!(latin.blue_digest(&whole).await, utf8.green_digest(&whole).await);
}
