//! What is written of expressions. Postgres 15 and 18 explain each pair of texts alike.

use std::collections::HashMap;
use std::sync::Arc;

use understudy_model::TableName;

use super::*;
use crate::expr::{Collation, EnumType, MaskKey, ScopeColumn};

/// A table with a column of each letter, and an enum in its schema.
pub(crate) fn scope() -> Scope {
    let column = |(name, ty): (&str, SqlType)| ScopeColumn {
        name: name.to_owned(),
        collation: ty.is_string().then(Collation::bytes),
        ty,
        modifier: Modifier::NONE,
    };
    let mood = |schema: &str| {
        let name = NamedType { schema: Some(schema.to_owned()), name: "mood".to_owned() };
        let labels = vec!["sad".to_owned(), "ok".to_owned()];
        (name.clone(), SqlType::Enum(Arc::new(EnumType { name, labels })))
    };
    let types = HashMap::from([mood("app"), mood("public")]);
    let columns = [
        ("a", SqlType::Int4),
        ("b", SqlType::Int4),
        ("c", SqlType::Text),
        ("d", SqlType::Text),
        ("t", SqlType::Bool),
        ("j", SqlType::Jsonb),
        ("k", SqlType::Jsonb),
        ("x", SqlType::Timestamp),
        ("l", SqlType::Int4.array_of()),
        ("m", types[&mood("app").0].clone()),
        ("Order", SqlType::Text),
    ];
    Scope {
        table: TableName::new("app", "s"),
        columns: columns.map(column).into(),
        types,
        collation: Collation::bytes(),
        mask_key: Some(MaskKey::new(b"key")),
    }
}

/// Each with brackets as Postgres binds its operators.
const PRECEDENCES: &[(&str, &str)] = &[
    ("c || d = c", r#"(("c" || "d") = "c")"#),
    ("NOT t IS NULL", r#"(NOT ("t" IS NULL))"#),
    ("a - b - a", r#"(("a" - "b") - "a")"#),
    ("-a::bigint", r#"(- CAST("a" AS bigint))"#),
    ("a::text || b", r#"(CAST("a" AS text) || "b")"#),
    ("c LIKE d || c", r#"("c" LIKE ("d" || "c"))"#),
    ("c NOT LIKE d || '%' ESCAPE '!'", r#"("c" NOT LIKE ("d" || '%') ESCAPE '!')"#),
    ("a BETWEEN b AND a + 1 AND t", r#"(("a" BETWEEN "b" AND ("a" + 1)) AND "t")"#),
    ("j - 'a' @> k", r#"(("j" - 'a') @> "k")"#),
    ("j @> (k -> 'x')", r#"("j" @> ("k" -> 'x'))"#),
    ("j ->> 'a' = c", r#"(("j" ->> 'a') = "c")"#),
    ("j -> 'a' ->> 'b'", r#"(("j" -> 'a') ->> 'b')"#),
    ("x AT TIME ZONE c || d", r#"(("x" AT TIME ZONE "c") || "d")"#),
    ("a + b * a ^ 2 ^ b", r#"("a" + ("b" * (("a" ^ 2) ^ "b")))"#),
    ("a = b IS NOT TRUE", r#"(("a" = "b") IS NOT TRUE)"#),
    ("t OR t AND NOT t", r#"("t" OR ("t" AND (NOT "t")))"#),
    ("a IN (b, a + 1) = t", r#"(("a" IN ("b", ("a" + 1))) = "t")"#),
    ("a = ANY(l) AND a <> ALL ('{1}')", r#"(("a" = ANY ("l")) AND ("a" <> ALL ('{1}')))"#),
    ("a IS DISTINCT FROM b + 1", r#"("a" IS DISTINCT FROM ("b" + 1))"#),
    ("a % b - 1 < a << 2", r#"((("a" % "b") - 1) < ("a" << 2))"#),
    ("l[1] + l[a + 1]", r#"(("l")[1] + ("l")[("a" + 1)])"#),
    ("c COLLATE \"C\" || d", r#"(("c" COLLATE "C") || "d")"#),
    ("- 5 - -3", r#"((- 5) - (- 3))"#),
    ("c || d ~ 'x'", r#"(("c" || "d") ~ 'x')"#),
    ("a | b & a", r#"(("a" | "b") & "a")"#),
];

/// The text that servers are asked about has to say what is evaluated here, and nothing else.
#[test]
fn operators_are_put_into_brackets() {
    for (text, expected) in PRECEDENCES {
        assert_eq!(bracketed(text, &scope()).as_deref(), Ok(*expected), "{text}");
    }
}

/// Servers bind `~` and `||` alike, from left to right, and do not chain comparisons: what the parser here reads otherwise is
/// refused, and never computed in another way than on the server.
#[test]
fn what_servers_bind_otherwise_is_refused() {
    for text in ["c ~ '^a' || d", "a = b = t", "a < b <> t"] {
        assert!(bracketed(text, &scope()).is_err_and(|problem| problem.remedy.is_some()), "{text}");
    }
    for text in ["(c ~ '^a') = t", "c ~ ('^a' || d)", "j ->> 'a' || c"] {
        assert!(bracketed(text, &scope()).is_ok(), "{text}");
    }
}

/// Calls keep the form in which they were written, since servers show it.
#[test]
fn calls_and_literals_are_written_as_they_were_meant() {
    for (text, expected) in [
        ("COALESCE(c, upper(d))", r#"coalesce("c", "pg_catalog"."upper"("d"))"#),
        ("substring(c from 2 for 3)", r#"SUBSTRING("c" FROM 2 FOR 3)"#),
        ("substring(c, 2, 3)", r#"SUBSTRING("c", 2, 3)"#),
        ("substr(c, 2)", r#"substr("c", 2)"#),
        ("trim(both 'x' from c)", r#"TRIM(BOTH 'x' FROM "c")"#),
        ("trim(c)", r#"TRIM("c")"#),
        ("position('a' in c)", r#"POSITION('a' IN "c")"#),
        ("overlay(c placing d from 2)", r#"OVERLAY("c" PLACING "d" FROM 2)"#),
        ("extract(YEAR from x)", r#"EXTRACT('year' FROM "x")"#),
        ("CASE a WHEN 1 THEN c ELSE d || 'x' END", r#"(CASE "a" WHEN 1 THEN "c" ELSE ("d" || 'x') END)"#),
        (
            "array_to_string(ARRAY[[a], [b]], ',')",
            r#""pg_catalog"."array_to_string"(ARRAY[ARRAY["a"], ARRAY["b"]], ',')"#,
        ),
        ("date '2020-01-01'", "CAST('2020-01-01' AS date)"),
        ("interval '1 day' + x", r#"(CAST('1 day' AS interval) + "x")"#),
        ("E'it''s\\n' || $$a'b$$", "('it''s\n' || 'a''b')"),
        ("'a\\b'", "E'a\\\\b'"),
        ("s.c || \"Order\" || S.C", r#"(("s"."c" || "Order") || "s"."c")"#),
        (
            "c::char || c::varchar(3) || c::bpchar",
            r#"((CAST("c" AS character(1)) || CAST("c" AS character varying(3))) || CAST("c" AS bpchar))"#,
        ),
        ("x::timestamptz(3)", r#"CAST("x" AS timestamp(3) with time zone)"#),
        ("a::numeric(10,2)", r#"CAST("a" AS numeric(10, 2))"#),
        ("'ok'::mood = m", r#"(CAST('ok' AS "app"."mood") = "m")"#),
        ("ARRAY['ok']::mood[]", r#"CAST(ARRAY['ok'] AS "app"."mood"[])"#),
    ] {
        assert_eq!(bracketed(text, &scope()).as_deref(), Ok(expected), "{text}");
    }
}

/// Under an empty search_path a type without its schema is unknown; everything else stays as the user wrote it.
#[test]
fn the_users_text_stays_but_for_names_of_types() {
    for (text, expected) in [
        ("  c  ||  d ", "(c  ||  d)"),
        ("c -- why\n || d -- because", "(c -- why\n || d -- because\n)"),
        ("'ok'::Mood = m", r#"('ok'::"app"."mood" = m)"#),
        ("'ok'::public.mood", "('ok'::public.mood)"),
        (
            "CASE WHEN t THEN ('ok'::\"mood\") ELSE\n  CAST('ok' AS mood) END",
            "(CASE WHEN t THEN ('ok'::\"app\".\"mood\") ELSE\n  CAST('ok' AS \"app\".\"mood\") END)",
        ),
        ("cardinality(ARRAY['ok']::mood[])", r#"(cardinality(ARRAY['ok']::"app"."mood"[]))"#),
        ("'é' || mood('ok')::text", r#"('é' || "app"."mood"('ok')::text)"#),
        ("a::int4 + '2'::numeric", "(a::int4 + '2'::numeric)"),
    ] {
        assert_eq!(own_text(text, &scope()).as_deref(), Ok(expected), "{text}");
    }
}

/// A server masks by itself, and no text of SQL holds a key.
#[test]
fn masks_are_spelled_out() {
    let spelled = mask_of("lower( (c) )");
    assert_eq!(
        own_text("coalesce(Mask (lower( (c) )), 'x')", &scope()),
        Ok(format!("(coalesce({spelled}, 'x'))"))
    );
    let nested = own_text("mask(mask(c) || mask('a)'))", &scope()).unwrap();
    assert_eq!(nested, format!("({})", mask_of(&format!("{} || {}", mask_of("c"), mask_of("'a)'")))));
    assert_eq!(bracketed("mask(c || d)", &scope()), Ok(mask_of(r#"("c" || "d")"#)));
    assert!(bracketed("mask(c || d)", &Scope { mask_key: None, ..scope() }).is_err());
}

fn mask_of(value: &str) -> String {
    crate::expr::mask::sql(value)
}

/// An explicit cast to a length cuts off what green would refuse.
#[test]
fn values_are_cast_as_they_are_stored() {
    let domain = SqlType::Domain(Arc::new(crate::expr::DomainType {
        name: NamedType { schema: Some("app".to_owned()), name: "price".to_owned() },
        base: SqlType::Numeric,
        modifier: Modifier::of_numeric(10, 2),
        is_constrained: true,
    }));
    let opaque = |schema: Option<&str>, name: &str| {
        SqlType::Opaque(Arc::new(NamedType { schema: schema.map(str::to_owned), name: name.to_owned() }))
    };
    for (ty, modifier, expected) in [
        (SqlType::Varchar, Modifier::of_characters(3), "CAST(x AS character varying)"),
        (SqlType::Varchar.array_of(), Modifier::of_characters(3), "CAST(x AS character varying[])"),
        (SqlType::Numeric, Modifier::of_numeric(10, 2), "CAST(x AS numeric(10, 2))"),
        (SqlType::Timestamp, Modifier(3), "CAST(x AS timestamp(3) without time zone)"),
        (SqlType::Int4.array_of(), Modifier::NONE, "CAST(x AS integer[])"),
        (domain, Modifier::NONE, "CAST(x AS numeric(10, 2))"),
        (scope().columns[9].ty.clone(), Modifier::NONE, "CAST(x AS text)"),
        (opaque(None, "bit"), Modifier(3), "CAST(x AS \"pg_catalog\".\"bit\")"),
        (opaque(None, "regclass"), Modifier::NONE, "CAST(x AS text)"),
        (opaque(Some("app"), "pair"), Modifier::NONE, "CAST(x AS text)"),
    ] {
        assert_eq!(as_stored("x", &ty, modifier), expected);
    }
    let padded = as_stored("x", &SqlType::Bpchar, Modifier::of_characters(5));
    assert_eq!(padded, "overlay(repeat(' ', 5) placing CAST(CAST(x AS bpchar) AS text) from 1)");
}
