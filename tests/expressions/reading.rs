//! The guard over blue's own reading, beside servers: what it would hold against expressions that both sides read alike.

use understudy::guard::{Disagreement, Guarded, guard};
use understudy::mapping::Described;
use understudy_model::TableName;
use understudy_postgres::wire::Client;
use understudy_tests::{Pair, Session};
use understudy_transform::expr::{MaskKey, Scope, SqlType};

use crate::generate::{Generator, functions};
use crate::server::Server;
use crate::{asked, seed};

/// How many random expressions are shown to the guard: every function of the table is among them.
const USUAL: usize = 1_500;

/// So many at a time, under one transaction.
const BATCH: usize = 250;

/// Columns of the types that the random expressions lack: with lengths, domains, and types that only pass through.
const TABLE: &str = "CREATE TYPE public.\"Mood\" AS ENUM ('sad', 'ok');
    CREATE DOMAIN public.amount AS numeric(10, 2); CREATE DOMAIN public.word AS varchar(9);
    CREATE TABLE public.written (id int PRIMARY KEY, a int, b int, big bigint, f float8, t boolean, c text, d text,
      v varchar(9), p char(5), n numeric(10, 2), amount public.amount, word public.word, mood public.\"Mood\",
      moods public.\"Mood\"[], words public.word[], l int[], s text[], j jsonb, k jsonb, raw bytea,
      day date, at timestamp, moment timestamptz, span interval, clock time, place point, \"char\" \"char\", own name,
      range int4range, address inet, u uuid)";

/// As people write them: the forms of the grammar, few brackets, and every kind of literal.
const WRITTEN: &[&str] = &[
    "a",
    "amount",
    "word",
    "mood",
    "moods",
    "words",
    "v",
    "p",
    "n",
    "place",
    "\"char\"",
    "own",
    "range",
    "raw",
    "'text'",
    "NULL",
    "1",
    "2147483648",
    "99999999999999999999",
    "1.50",
    "1e3",
    "true",
    "E'a\\nb'",
    "$$it's$$",
    "U&'\\0041'",
    "-1",
    "- a",
    "+a",
    "-1.5",
    "-a::bigint",
    "a + b * a - b",
    "a - b - a",
    "a / b % 2",
    "a * -b",
    "2 ^ 3 ^ 2",
    "f ^ 2 * 3",
    "|/ f",
    "@ a",
    "~a & b | a # b",
    "a << 1 + b",
    "a + b < b * a",
    "a <> b",
    "a != b",
    "NOT t",
    "NOT a = b",
    "NOT t AND t OR t",
    "t OR t AND NOT t",
    "t IS NOT TRUE AND t",
    "a = b AND c = d OR t",
    "NOT a IS NULL",
    "a + b IS NULL",
    "a IS NULL = t",
    "(a = b) IS UNKNOWN",
    "a IS DISTINCT FROM b + 1",
    "a IS NOT DISTINCT FROM b AND t",
    "a BETWEEN b AND a + 1 AND t",
    "a NOT BETWEEN 1 AND 2 OR t",
    "a IN (1, 2, b)",
    "NOT a IN (1, 2)",
    "c NOT IN ('x', d)",
    "mood IN ('sad', 'ok')",
    "mood = 'sad'",
    "mood < 'ok'",
    "c || d = d",
    "c || a",
    "a || c",
    "c || 'x' || a::text",
    "v || p",
    "p || 'x'",
    "p = 'x'",
    "v = 'x'",
    "v = c",
    "c LIKE d || '%'",
    "c NOT LIKE 'a!%' ESCAPE '!'",
    "c ILIKE 'A%' AND t",
    "c ~ '^a'",
    "c !~* d || 'x'",
    "c || d LIKE 'x%'",
    "c COLLATE \"C\" < d",
    "(c || d) COLLATE \"C\"",
    "c < d COLLATE \"C\"",
    "a::text || b::text",
    "a::bigint + 1",
    "a::numeric(5, 2)",
    "CAST(c AS varchar(3))",
    "c::varchar(3)",
    "c::char(3)",
    "c::char",
    "n::int",
    "amount::text",
    "amount + 1",
    "amount * 2",
    "-amount",
    "word || 'x'",
    "upper(word)",
    "length(word)",
    "coalesce(word, 'x')",
    "coalesce(word, c)",
    "coalesce(amount, 0)",
    "coalesce(v, 'x')",
    "coalesce(v, c)",
    "coalesce(p, 'x')",
    "nullif(word, 'x')",
    "nullif(v, 'x')",
    "nullif(p, c)",
    "nullif(a, 0)",
    "nullif(n, 0)",
    "nullif(amount, 0)",
    "greatest(amount, 1)",
    "greatest(a, big)",
    "least(a, 1.5)",
    "greatest(v, 'x')",
    "CASE WHEN t THEN word ELSE 'x' END",
    "CASE WHEN t THEN amount END",
    "CASE WHEN t THEN a ELSE big END",
    "CASE WHEN t THEN 1 ELSE 1.5 END",
    "CASE WHEN t THEN 'x' END",
    "CASE WHEN t THEN NULL ELSE v END",
    "CASE a WHEN 1 THEN 'x' WHEN b THEN d ELSE c END",
    "CASE mood WHEN 'sad' THEN 1 END",
    "CASE WHEN t THEN p ELSE v END",
    "c::public.\"Mood\"",
    "'sad'::public.\"Mood\"",
    "c::public.word",
    "n::public.amount",
    "mood::text",
    "moods[1]",
    "words[1]",
    "l[1] + 1",
    "s[a]",
    "(s)[1] || c",
    "ARRAY[a, b]",
    "ARRAY[a, big]",
    "ARRAY[1, 1.5]",
    "ARRAY['x', c]",
    "ARRAY[v, 'x']",
    "ARRAY[word]",
    "ARRAY[amount, 1]",
    "ARRAY[mood]",
    "ARRAY[ARRAY[1], ARRAY[2]]",
    "ARRAY[]::int[]",
    "l || 1",
    "1 || l",
    "l || l",
    "s || c",
    "array_append(s, c)",
    "a = ANY (l)",
    "a <> ALL (l)",
    "c = ANY (ARRAY['x', 'y'])",
    "mood = ANY (moods)",
    "array_to_string(words, ',')",
    "cardinality(moods)",
    "s @> ARRAY['x']",
    "l && ARRAY[1, 2]",
    "j -> 'a' ->> 'b'",
    "j ->> 'a' = c",
    "j #>> '{a,b}'",
    "j - 'a' @> k",
    "j ? 'a' AND t",
    "j || k -> 'x'",
    "j || '{}'",
    "(j ->> 'a')::int + 1",
    "j -> 0",
    "jsonb_build_object('a', a, 'c', c)",
    "jsonb_build_array(a, word, mood)",
    "to_jsonb(words)",
    "jsonb_set(j, '{a}', to_jsonb(c))",
    "j @> '{\"a\": 1}'",
    "upper(left(c, 1)) || substr(c, 2)",
    "substring(c from 2 for 3)",
    "substring(c for 3)",
    "substring(c, 2)",
    "substring(c from 'a(.)')",
    "trim(c)",
    "trim(both 'x' from c)",
    "trim(leading from c)",
    "trim(trailing 'x' from c)",
    "btrim(c, 'x')",
    "position('a' in c)",
    "strpos(c, 'a')",
    "overlay(c placing 'x' from 1 for 2)",
    "split_part(c, '-', 1)",
    "lpad(c, 5, '0')",
    "lpad(a::text, 5, '0')",
    "repeat(c, 2)",
    "concat(a, c, t)",
    "concat_ws('-', a, v, p)",
    "format('%s-%s', a, c)",
    "left(written.c, 1)",
    "md5(c)",
    "mask(c)",
    "mask(a) || 'x'",
    "left(mask(lower(c)), 8)",
    "encode(sha256(raw), 'hex')",
    "encode(raw, 'hex')",
    "raw || '\\x00'",
    "length(raw)",
    "regexp_replace(c, 'a', 'b', 'g')",
    "regexp_match(c, 'a')",
    "round(n, 1)",
    "round(n)",
    "round(f)",
    "trunc(n)",
    "ceil(n)",
    "ceil(f)",
    "floor(a)",
    "mod(a, 2)",
    "power(a, 2)",
    "sqrt(n)",
    "abs(amount)",
    "sign(a)",
    "a / 100.0",
    "a / 2",
    "f / 2",
    "n * 100",
    "(n * 100)::bigint",
    "a * 1.5",
    "day + 1",
    "day - day",
    "day + span",
    "at + interval '1 day'",
    "at - at",
    "moment - interval '1' day",
    "interval '1 hour' * a",
    "span / 2",
    "-span",
    "age(at, at)",
    "day < at",
    "day = moment::date",
    "clock + span",
    "date '2020-01-01'",
    "timestamp '2020-01-01 00:00:00'",
    "timestamp with time zone '2020-01-01 00:00:00+01'",
    "time '12:00'",
    "moment AT TIME ZONE 'Europe/Berlin'",
    "at AT TIME ZONE 'UTC'",
    "(moment AT TIME ZONE 'Europe/Berlin')::date",
    "at + interval '1 day' AT TIME ZONE 'UTC'",
    "day::timestamp AT TIME ZONE 'UTC'",
    "extract(year from day)",
    "extract(epoch from moment)",
    "extract('hour' from at)",
    "date_part('year', at)",
    "date_trunc('month', moment)",
    "date_trunc('month', at)",
    "to_char(at, 'YYYY-MM-DD')",
    "to_char(n, '999.99')",
    "make_date(a, 1, 1)",
    "to_timestamp(f)",
    "to_timestamp(a)",
    "(at, at) OVERLAPS (at, at)",
    "host(address)",
    "address << '10.0.0.0/8'",
    "u::text",
    "c::uuid",
    "place::text",
    "range::text",
    "own::text",
    "\"char\"::text",
    "a -- the end",
    "a /* + 1 */ + b",
    "\n  c ||\n  d\n",
    "\"a\" + WRITTEN.b",
    "(((a)))",
    "((a + b)) * 2",
];

/// The disagreements of the guard, by the text that it was shown.
async fn disagreements(
    client: &mut Client,
    (table, scope): (&TableName, &Scope),
    texts: impl IntoIterator<Item = String>,
) -> (usize, Vec<Disagreement>) {
    let checks = texts.into_iter().filter_map(|text| Guarded::of(&text, &text, scope)).collect::<Vec<_>>();
    let mut found = Vec::new();
    for batch in checks.chunks(BATCH) {
        found.extend(guard(client, table, batch).await.expect("a server that answers"));
    }
    (checks.len(), found)
}

/// What is held against an expression that a server cannot do anything with, whoever reads it: it computes constants where
/// nobody has asked, and finds that they cannot be; or it knows more functions of a name than we do, and a literal without a
/// type does not say which.
fn is_of_the_server(told: &Disagreement) -> bool {
    const CLASSES: [&str; 3] = ["22", "0A", "2F"];
    const NOT_UNIQUE: &str = "42725";
    let state = told.sqlstate.as_deref().unwrap_or_default();
    state == NOT_UNIQUE || CLASSES.iter().any(|class| state.starts_with(class))
}

fn conclude(title: &str, count: usize, found: &[Disagreement]) {
    println!("{title}: {count} expressions");
    for told in found {
        println!("  {} {:?}\n    {}", told.message, told.sqlstate, told.label);
    }
    assert!(found.is_empty(), "{title}: {} of {count} are held against them", found.len());
}

/// What the guard is for: a column that has another type than we take it to have.
async fn another_type_is_told(client: &mut Client, table: &TableName, scope: &Scope) {
    let mut scope = scope.clone();
    let at = scope.columns.iter().position(|column| column.name == "a").expect("the column");
    scope.columns[at].ty = SqlType::Int8;
    let (_, found) = disagreements(client, (table, &scope), ["a + 1".to_owned()]).await;
    let told = found.iter().map(|told| told.message.as_str()).collect::<Vec<_>>();
    assert_eq!(told, ["Postgres gives this the type integer, and understudy bigint"]);
}

async fn all_are_read_alike(version: u32) {
    let Some(pair) = Pair::shared() else { return };
    let cluster = if version == 15 { &pair.blue } else { &pair.green };
    Session::open(cluster, "postgres").await.batch("CREATE DATABASE reading").await;
    let server = Server::prepare(Session::open(cluster, "reading").await).await;
    Session::open(cluster, "reading").await.batch(TABLE).await;
    let options = cluster.options("reading").expect("the options of a cluster");
    let mut client = Client::connect(&options).await.expect("a connection");

    let described = Described::read(&mut client).await.expect("a catalog");
    let name = TableName::new("public", "written");
    let table = described.tables.iter().find(|table| table.name == name).expect("the table");
    let scope = Scope { mask_key: Some(MaskKey::new(b"key")), ..described.catalog.scope(table) };
    let texts = WRITTEN.iter().map(|text| (*text).to_owned());
    let (count, found) = disagreements(&mut client, (&name, &scope), texts).await;
    conclude(&format!("expressions as people write them on {version}"), count, &found);
    assert!(count * 10 > WRITTEN.len() * 9, "most of them are understood: {count} of {}", WRITTEN.len());

    another_type_is_told(&mut client, &name, &scope).await;

    assert!(functions(version).len() < USUAL * 4 / 5, "every function has its turn");
    let mut generator = Generator::new(seed(version), version);
    let texts = (0..asked().min(USUAL)).map(|_| generator.expression().sql()).collect::<Vec<_>>();
    let random = (&TableName::new("public", "sample"), server.scope());
    let (count, found) = disagreements(&mut client, random, texts).await;
    let found = found.into_iter().filter(|told| !is_of_the_server(told)).collect::<Vec<_>>();
    conclude(&format!("random expressions shown to the guard of {version}"), count, &found);
}

/// Whoever writes an expression that we understand is not told that blue reads it differently, unless it does.
#[tokio::test(flavor = "current_thread")]
async fn the_guard_holds_nothing_against_what_is_read_alike_on_15() {
    all_are_read_alike(15).await;
}

/// The same on the newest release.
#[tokio::test(flavor = "current_thread")]
async fn the_guard_holds_nothing_against_what_is_read_alike_on_18() {
    all_are_read_alike(18).await;
}
