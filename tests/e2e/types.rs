//! Every built-in type, and types made of them, byte-equal on both sides through copy and through stream.

use std::fmt::Write as _;

use understudy_tests::{Migration, Pair, Same, Session, Sidecar, assert_same};

/// Types and values that other engines are known to bend: signs, bounds, special values, quoting, nesting.
const KINDS: &[(&str, &[&str])] = &[
    ("boolean", &["true", "false"]),
    ("smallint", &["-32768", "32767"]),
    ("integer", &["-2147483648", "2147483647"]),
    ("bigint", &["-9223372036854775808", "9223372036854775807"]),
    (
        "numeric",
        &[
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "2100000",
            "1.10",
            "0.000",
            "1e300",
            "-1e-300",
            "12345678901234567890.0123456789012345678901234567890",
        ],
    ),
    ("numeric(30,10)", &["1.1", "99999999999999999999.9999999999"]),
    ("numeric(3,-2)", &["12345"]),
    ("real", &["'NaN'", "'Infinity'", "'-0'", "3.4028235e38", "1.1754944e-38", "0.1", "16777217"]),
    (
        "double precision",
        &["'NaN'", "'-Infinity'", "'-0'", "1.7976931348623157e308", "5e-324", "0.1", "0.30000000000000004"],
    ),
    ("money", &["'-92233720368547758.08'", "'12.34'", "0"]),
    (
        "text",
        &[
            "''",
            r"'\N'",
            r"'\.'",
            r"E'\\ \b\f\n\r\t\v'",
            "'null'",
            "'NULL'",
            "'Ünïcødé 漢字 🦀'",
            r#"'"quoted" ''single'''"#,
            "repeat('long ', 50000)",
        ],
    ),
    ("varchar(10)", &["'short'", "'  spaces '"]),
    ("char(10)", &["'padded'", "''"]),
    ("\"char\"", &["'a'", "''", r"'\001'"]),
    ("name", &["'a_name'"]),
    ("bytea", &["''", r"'\x00ff'", "decode(repeat('00ff10', 20000), 'hex')"]),
    ("date", &["'infinity'", "'-infinity'", "'4713-01-01 BC'", "'5874897-12-31'", "'0001-01-01'"]),
    ("time", &["'24:00:00'", "'00:00:00.000001'"]),
    ("time(2)", &["'12:34:56.78'"]),
    ("timetz", &["'24:00:00+15:59'", "'12:34:56.123456-08:30:15'"]),
    ("timestamp", &["'infinity'", "'4713-01-01 00:00:00 BC'", "'294276-12-31 23:59:59.999999'"]),
    ("timestamp(3)", &["'2025-02-03 04:05:06.789'"]),
    (
        "timestamptz",
        &[
            "'-infinity'",
            "'0044-03-15 12:00:00+00 BC'",
            "'294276-12-31 23:59:59.999999+00'",
            "'2025-03-30 02:30:00 Europe/Berlin'",
        ],
    ),
    (
        "interval",
        &["'1 year -2 months 3 days -04:05:06.789'", "'178000000 years'", "'0'", "'-1 day +1 hour'"],
    ),
    ("interval day to second(2)", &["'3 days 04:05:06.78'"]),
    ("uuid", &["'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'"]),
    ("inet", &["'192.168.0.1/24'", "'::ffff:1.2.3.4'", "'10.0.0.1'"]),
    ("cidr", &["'10.0.0.0/8'", "'2001:db8::/32'"]),
    ("macaddr", &["'08:00:2b:01:02:03'"]),
    ("macaddr8", &["'08:00:2b:01:02:03:04:05'"]),
    ("bit(5)", &["B'10101'"]),
    ("varbit", &["B''", "B'1010101010101'"]),
    ("json", &[r#"'{"b": 1,   "a":[1, 2 ], "b": 2}'"#, "'1e400'", r#"'"\u0000"'"#, "'null'", "' [ ]\n'"]),
    (
        "jsonb",
        &[
            r#"'{"b": 1, "a": 1.10, "b": 2}'"#,
            "'null'",
            r#"'"text"'"#,
            "'1e400'",
            r#"'{"k": "\\ \" \u00e9"}'"#,
        ],
    ),
    ("jsonpath", &["'$.a[*] ? (@.b > 1)'"]),
    ("point", &["'(1.5,-2.5)'", "'(Infinity,NaN)'"]),
    ("line", &["'{1,2,3}'"]),
    ("lseg", &["'[(0,0),(1,1)]'"]),
    ("box", &["'(2,2),(1,1)'"]),
    ("path", &["'[(0,0),(1,1),(2,0)]'", "'((0,0),(1,1))'"]),
    ("polygon", &["'((0,0),(1,1),(1,0))'"]),
    ("circle", &["'<(1,2),3>'"]),
    ("tsvector", &[r"$$'it''s':1A 'back\\slash':2 fat:3B,4C$$", "''"]),
    ("tsquery", &["'fat & (rat | !cat:*) <-> dog'"]),
    ("refcursor", &["'a cursor'"]),
    ("int4range", &["'empty'", "'[1,10)'", "'(,5]'", "'(,)'"]),
    ("int8range", &["'[1,)'"]),
    ("numrange", &["'(1.10,2.200]'", "'[NaN,)'"]),
    ("daterange", &["'[infinity,)'", "'[2025-01-01,2025-02-01)'"]),
    ("tsrange", &[r#"'["2025-01-01 00:00:00","2025-01-02 00:00:00")'"#]),
    ("tstzrange", &[r#"'(,"2025-01-02 00:00:00+02"]'"#]),
    ("int4multirange", &["'{}'", "'{[1,3),[5,7)}'", "'{(,)}'"]),
    ("int8multirange", &["'{[1,3)}'"]),
    ("nummultirange", &["'{[1.0,1.5],(2,3)}'"]),
    ("datemultirange", &["'{[2025-01-01,2025-02-01)}'"]),
    ("tsmultirange", &["'{[2025-01-01,2025-01-02)}'"]),
    ("tstzmultirange", &["'{[2025-01-01,2025-01-02)}'"]),
    ("int[]", &["'{}'", "'{1,NULL,3}'", "'[-1:1]={7,8,9}'", "'[0:0][2:3]={{1,2}}'"]),
    ("text[]", &[r#"'{"",NULL,"NULL","a,b","{x}","quo\"te","back\\slash"," sp "}'"#, "'{{a,b},{c,d}}'"]),
    ("numeric[]", &["'{NaN,1.10,NULL}'"]),
    ("bytea[]", &[r"ARRAY['\x00ff'::bytea, NULL]"]),
    ("jsonb[]", &[r#"ARRAY['{"a": [1, "x"]}'::jsonb, 'null', NULL]"#]),
    ("timestamptz[]", &["ARRAY['infinity'::timestamptz, '2025-01-01 00:00+00']"]),
    ("box[]", &["'{(2,2),(1,1);(3,3),(2,2)}'"]),
    ("int4range[]", &[r#"'{"[1,2)",empty,NULL}'"#]),
    ("kinds.mood", &["'so, so'", "'sad \"quote\"'", "'ok'"]),
    ("kinds.mood[]", &[r#"'{"so, so",ok,NULL}'"#]),
    ("kinds.positive", &["7"]),
    ("kinds.names", &[r#"'{a,"b c"}'"#]),
    ("kinds.inner_pair", &["ROW(1, NULL)", r#"ROW(NULL, 'a,"b')"#]),
    ("kinds.outer_pair", &["ROW(ROW(1, 'x')::kinds.inner_pair, '{1,2}', 'ok')", "ROW(NULL, NULL, NULL)"]),
    ("kinds.inner_pair[]", &[r"ARRAY[ROW(1, 'a)b')::kinds.inner_pair, NULL, ROW(2, '\')]"]),
    ("kinds.floats", &["'[0.1,0.30000000000000004)'"]),
];

/// Types made of others.
const MADE: &str = "CREATE SCHEMA kinds;
    CREATE TYPE kinds.mood AS ENUM ('ok', 'so, so', 'sad \"quote\"');
    CREATE DOMAIN kinds.positive AS int CHECK (VALUE > 0);
    CREATE DOMAIN kinds.names AS text[] CHECK (array_length(VALUE, 1) > 0);
    CREATE TYPE kinds.inner_pair AS (a int, b text);
    CREATE TYPE kinds.outer_pair AS (p kinds.inner_pair, n int[], m kinds.mood);
    CREATE TYPE kinds.floats AS RANGE (subtype = float8);";

/// Types whose values name objects, transactions or places of one cluster. Green keeps them as plain text; a column of
/// their own type is refused by `check`.
const OF_ONE_CLUSTER: &[(&str, &str)] = &[
    ("pg_lsn", "'16/B374D848'"),
    ("pg_snapshot", "'10:20:10,14,15'"),
    ("txid_snapshot", "'10:20:10,14,15'"),
    ("oid", "4294967295"),
    ("tid", "'(1,2)'"),
    ("xid", "'7'"),
    ("xid8", "'18446744073709551615'"),
    ("cid", "'7'"),
    ("aclitem", "'understudy=r/understudy'"),
    ("oidvector", "'1 2'"),
    ("int2vector", "'1 2'"),
    ("regproc", "'now'"),
    ("regprocedure", "'lower(text)'"),
    ("regoper", "'||/'"),
    ("regoperator", "'+(integer,integer)'"),
    ("regclass", "'pg_class'"),
    ("regcollation", "'\"C\"'"),
    ("regtype", "'integer'"),
    ("regrole", "'understudy'"),
    ("regnamespace", "'public'"),
    ("regconfig", "'english'"),
    ("regdictionary", "'simple'"),
];

/// Built-in types without an input: nobody can have a column that holds them.
const LEFT_OUT: [&str; 7] = [
    "gtsvector",
    "pg_node_tree",
    "pg_ndistinct",
    "pg_dependencies",
    "pg_mcv_list",
    "pg_brin_bloom_summary",
    "pg_brin_minmax_multi_summary",
];

/// The kinds that both servers can hold: a server may be built without XML, and extensions may be missing.
async fn kinds(blue: &mut Session, green: &mut Session) -> Vec<(String, Vec<String>)> {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for (kind, values) in KINDS {
        found.push(((*kind).to_owned(), values.iter().map(|value| (*value).to_owned()).collect()));
    }
    for (kind, value) in OF_ONE_CLUSTER {
        found.push(((*kind).to_owned(), vec![(*value).to_owned()]));
    }
    let mut optional = vec![("xml", r#"'<a b="c&amp;d">e'||'</a>'"#)];
    for (extension, kind, value) in [
        ("citext", "public.citext", "'MiXed'"),
        ("hstore", "public.hstore", r#"'"a b"=>NULL, c=>"NULL", "q\""=>"=>"'"#),
        ("ltree", "public.ltree", "'Top.Science'"),
        ("cube", "public.cube", "'(1,2),(3,4)'"),
    ] {
        let create = format!("CREATE EXTENSION {extension} SCHEMA public");
        if blue.try_batch(&create).await.is_ok() && green.try_batch(&create).await.is_ok() {
            optional.push((kind, value));
        }
    }
    for (kind, value) in optional {
        let probe = format!("SELECT ({value})::{kind}");
        if blue.try_batch(&probe).await.is_ok() && green.try_batch(&probe).await.is_ok() {
            found.push((kind.to_owned(), vec![value.to_owned()]));
        }
    }
    found
}

fn inserts(kinds: &[(String, Vec<String>)], first: usize) -> String {
    let mut sql = String::new();
    for (number, (kind, values)) in kinds.iter().enumerate() {
        for (at, value) in values.iter().enumerate() {
            let _ = writeln!(sql, "INSERT INTO kinds.t{number} VALUES ({}, ({value})::{kind});", first + at);
        }
        let _ = writeln!(sql, "INSERT INTO kinds.t{number} VALUES ({}, NULL);", first + values.len());
    }
    sql
}

async fn every_type(blue: u32, green: u32) {
    let Some(pair) = Pair::start(blue, green).await else {
        return;
    };
    let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
    // Text is to be the same whatever the servers and databases prefer.
    blue.batch(
        "ALTER DATABASE shop SET datestyle = 'German'; ALTER DATABASE shop SET intervalstyle = 'iso_8601'",
    )
    .await;
    blue.batch(
        "ALTER DATABASE shop SET bytea_output = 'escape'; ALTER DATABASE shop SET extra_float_digits = -2",
    )
    .await;
    green
        .batch(
            "ALTER DATABASE shop SET datestyle = 'SQL, MDY'; ALTER DATABASE shop SET timezone = 'Asia/Tokyo'",
        )
        .await;
    let kinds = kinds(&mut blue, &mut green).await;
    let (mut on_blue, mut on_green) = (MADE.to_owned(), MADE.to_owned());
    for (number, (kind, _)) in kinds.iter().enumerate() {
        let plain = OF_ONE_CLUSTER.iter().any(|(each, _)| each == kind);
        let kept_as = if plain { "text" } else { kind };
        let _ = writeln!(on_blue, "CREATE TABLE kinds.t{number} (id int PRIMARY KEY, v {kind});");
        let _ = writeln!(on_green, "CREATE TABLE kinds.t{number} (id int PRIMARY KEY, v {kept_as});");
    }
    blue.batch(&on_blue).await;
    green.batch(&on_green).await;
    blue.batch(&inserts(&kinds, 0)).await;
    let mut sidecar = Sidecar::start(&Migration::between(&pair, "types").table("kinds.*"));
    sidecar.wait_copied().await;
    let rows = |number| format!("SELECT id, v::text FROM kinds.t{number}");
    let same = |number| Same { blue: rows(number), green: rows(number) };
    let all: Vec<Same> = (0..kinds.len()).map(same).collect();
    sidecar.wait_caught_up(&mut blue, &mut green).await;
    assert_same(&mut blue, &mut green, &all).await;
    blue.batch(&inserts(&kinds, 100)).await;
    for number in 0..kinds.len() {
        // Values move between rows, one becomes null, null becomes a value, and the key changes beside them.
        blue.batch(&format!(
            "UPDATE kinds.t{number} t SET v = (SELECT v FROM kinds.t{number} WHERE id = 0) WHERE id > 100 OR v IS NULL;
             UPDATE kinds.t{number} SET v = NULL WHERE id = 1; UPDATE kinds.t{number} SET id = -100 WHERE id = 100"
        ))
        .await;
    }
    sidecar.wait_caught_up(&mut blue, &mut green).await;
    assert_same(&mut blue, &mut green, &all).await;
    assert_eq!(missing(&mut blue).await, Vec::<String>::new(), "built-in types without a test");
    sidecar.stop().await;
}

/// Built-in types that no column has and that are not left out for a reason.
async fn missing(blue: &mut Session) -> Vec<String> {
    let types = blue
        .column(
            "SELECT typname FROM pg_type t WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype IN ('b', 'r', 'm') \
             AND typcategory <> 'A' AND typname <> 'xml' AND NOT EXISTS (SELECT FROM pg_attribute a JOIN pg_class c \
             ON c.oid = a.attrelid WHERE a.atttypid = t.oid AND c.relnamespace = 'kinds'::regnamespace AND c.relkind = 'r')",
        )
        .await;
    types.into_iter().filter(|name| !LEFT_OUT.contains(&name.as_str())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_from_15_to_18() {
    every_type(15, 18).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_from_18_to_15() {
    every_type(18, 15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_from_18_to_18() {
    every_type(18, 18).await;
}
