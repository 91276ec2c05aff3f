//! The types that expressions are tried with, and for each the values at which implementations go wrong.

use std::sync::{Arc, LazyLock};

use understudy_transform::expr::functions::Slot;
use understudy_transform::expr::{EnumType, NamedType, SqlType};

/// A type, its name in SQL, and the texts of its edge values.
pub(crate) struct Kind {
    pub(crate) ty: SqlType,
    pub(crate) sql: &'static str,
    pub(crate) edges: &'static [&'static str],
}

/// An enum whose labels are not in the order of their letters.
pub(crate) fn mood() -> SqlType {
    let name = NamedType { schema: Some("public".to_owned()), name: "mood".to_owned() };
    let labels = ["sad", "ok", "Happy day"].map(str::to_owned).to_vec();
    SqlType::Enum(Arc::new(EnumType { name, labels }))
}

pub(crate) static KINDS: LazyLock<Vec<Kind>> = LazyLock::new(|| {
    let mut kinds = Vec::new();
    let mut add = |ty, sql, edges| kinds.push(Kind { ty, sql, edges });
    add(SqlType::Bool, "boolean", &["t", "f"]);
    add(SqlType::Int2, "smallint", &["-32768", "-2", "-1", "0", "1", "2", "7", "32767"]);
    add(SqlType::Int4, "integer", &["-2147483648", "-3", "-1", "0", "1", "2", "3", "10", "31", "2147483647"]);
    add(
        SqlType::Int8,
        "bigint",
        &["-9223372036854775808", "-2147483649", "-1", "0", "1", "5", "63", "9223372036854775807"],
    );
    add(SqlType::Numeric, "numeric", NUMERICS);
    add(
        SqlType::Float4,
        "real",
        &["-Infinity", "-1", "-0", "0", "0.1", "1", "2.5", "16777217", "1e-45", "3.4028235e38", "NaN"],
    );
    add(SqlType::Float8, "double precision", FLOATS);
    add(SqlType::Text, "text", TEXTS);
    add(SqlType::Varchar, "character varying", &["", "a", " b ", "Ünïcødé", "1"]);
    add(SqlType::Bpchar, "bpchar", &["", "a", "a  ", " b ", "ab\n", "é "]);
    add(SqlType::Bytea, "bytea", &["\\x", "\\x00", "\\x61", "\\x5c27ff", "\\xc3a9", "\\x0102030405060708"]);
    add(SqlType::Date, "date", DATES);
    add(
        SqlType::Time,
        "time",
        &["00:00:00", "00:00:00.000001", "12:34:56.789", "23:59:59.999999", "24:00:00"],
    );
    add(
        SqlType::TimeTz,
        "timetz",
        &["00:00:00+00", "12:00:00+02", "10:00:00+00", "24:00:00-15:59", "23:59:59.5+15:59:59"],
    );
    add(SqlType::Timestamp, "timestamp", TIMESTAMPS);
    add(SqlType::TimestampTz, "timestamptz", TIMESTAMPS);
    add(SqlType::Interval, "interval", INTERVALS);
    add(
        SqlType::Uuid,
        "uuid",
        &[
            "00000000-0000-0000-0000-000000000000",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
        ],
    );
    add(SqlType::Json, "json", JSONS);
    add(SqlType::Jsonb, "jsonb", JSONBS);
    add(
        SqlType::Inet,
        "inet",
        &["0.0.0.0/0", "10.0.0.1", "10.0.0.1/8", "10.0.0.2/16", "::1", "2001:db8::1/32", "::ffff:1.2.3.4"],
    );
    add(SqlType::Cidr, "cidr", &["10.0.0.0/8", "10.0.0.0/16", "10.0.0.1/32", "2001:db8::/32"]);
    add(mood(), "public.mood", &["sad", "ok", "Happy day"]);
    add(
        SqlType::Int4.array_of(),
        "integer[]",
        &["{}", "{1}", "{1,NULL,2,1}", "[2:3]={1,2}", "{{1,2},{3,4}}", "{NULL}", "{2147483647}"],
    );
    add(
        SqlType::Text.array_of(),
        "text[]",
        &[
            "{}",
            "{a}",
            "{a,b}",
            "{0}",
            "{a,0}",
            "{a,NULL}",
            "{\"\",\"NULL\",\"x y\"}",
            "{{a},{b}}",
            "[0:1]={b,-1}",
        ],
    );
    add(SqlType::Numeric.array_of(), "numeric[]", &["{}", "{1.0,1}", "{NaN,NULL,-0.50}"]);
    add(
        SqlType::TimestampTz.array_of(),
        "timestamptz[]",
        &["{}", "{2020-02-29 12:00:00+00}", "{infinity,NULL}"],
    );
    add(SqlType::Jsonb.array_of(), "jsonb[]", &["{}", "{1,\"{\\\"a\\\": 1}\"}", "{NULL,\"[]\"}"]);
    add(mood().array_of(), "public.mood[]", &["{}", "{ok,sad}", "{NULL,\"Happy day\"}"]);
    kinds
});

const NUMERICS: &[&str] = &[
    "NaN",
    "Infinity",
    "-Infinity",
    "0",
    "0.00",
    "1",
    "-1",
    "0.5",
    "-0.5",
    "1.5",
    "2.5",
    "10.00",
    "-12.345",
    "1e-20",
    "99999999999999999999.999999",
    "2147483648",
    "123456789012345678901234567890",
];

const FLOATS: &[&str] = &[
    "-Infinity",
    "-1e15",
    "-2.5",
    "-1",
    "-0",
    "0",
    "5e-324",
    "0.1",
    "0.5",
    "1",
    "2.5",
    "1e15",
    "1e16",
    "9007199254740993",
    "1.7976931348623157e308",
    "Infinity",
    "NaN",
];

const TEXTS: &[&str] = &[
    "",
    " ",
    "a",
    "A",
    "b",
    "abc",
    " abc  ",
    "aXbXc",
    "Ünïcødé ß",
    "漢字🦀",
    "e\u{301}",
    "it's",
    "\"q\"",
    "a\\b",
    "a%b_c",
    "line\nbreak\ttab",
    "1",
    "-1",
    "12.50",
    "NULL",
    "2020-02-29",
    "{a,b}",
    "{\"a\": [1, 2]}",
    "\\x6162",
    "t",
    "ok",
    "10.0.0.1",
    "1 day",
    "12:30",
    "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
];

const DATES: &[&str] = &[
    "-infinity",
    "4713-01-01 BC",
    "0044-03-15 BC",
    "0001-01-01",
    "1969-12-31",
    "1970-01-01",
    "2000-01-01",
    "2000-02-29",
    "2023-12-31",
    "2024-01-01",
    "9999-12-31",
    "5874897-12-31",
    "infinity",
];

const TIMESTAMPS: &[&str] = &[
    "-infinity",
    "4713-01-01 00:00:00 BC",
    "0044-03-15 12:00:00 BC",
    "0001-01-01 00:00:00",
    "1969-12-31 23:59:59.999999",
    "2000-01-01 00:00:00",
    "2000-02-29 12:34:56.789",
    "2024-12-30 01:02:03.4",
    "294276-12-31 23:59:59.999999",
    "infinity",
];

const INTERVALS: &[&str] = &[
    "0",
    "1 mon",
    "30 days",
    "-1 day",
    "1 day -00:00:00.000001",
    "1 year 2 mons 3 days 04:05:06.789",
    "-13 mons",
    "24:00:00",
    "00:00:00.5",
    "-1 year 5 days -03:00:00",
    "178000000 years",
];

const JSONS: &[&str] = &[
    "null",
    "1",
    "\"a\"",
    "[]",
    "{}",
    " {\"a\" : 1, \"a\":null} ",
    "{\"a\":{\"b\":[1,\"x\\u00e9\"]}}",
    "[1, null,[2]]",
    "\"\\u0000\"",
    "[{\"a\":1}]",
    "true",
];

const JSONBS: &[&str] = &[
    "null",
    "1",
    "1.50",
    "-0",
    "1e3",
    "\"a\"",
    "\"\"",
    "true",
    "[]",
    "{}",
    "{\"a\": 1}",
    "{\"a\": {\"b\": [1, \"é\\n\"]}, \"bb\": null}",
    "[1, null, [2], \"a\", \"a\"]",
    "[[]]",
    "{\"b\": [], \"0\": 2}",
    "[{\"a\": null}]",
];

/// The kind of a type.
pub(crate) fn kind(ty: &SqlType) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.ty == *ty)
}

/// The type that a slot stands for, when the slots that stand for several stand for `element`.
pub(crate) fn slot_type(slot: Slot, element: &SqlType) -> Option<SqlType> {
    match slot {
        Slot::Element => Some(element.clone()),
        Slot::ElementArray => Some(element.clone().array_of()),
        Slot::Enum => Some(mood()),
        Slot::TextArray => Some(SqlType::Text.array_of()),
        Slot::Int4Array => Some(SqlType::Int4.array_of()),
        Slot::Any => None,
        other => SqlType::builtin(&format!("{other:?}").to_lowercase()),
    }
}

const FIELDS: &[&str] = &[
    "year",
    "month",
    "day",
    "hour",
    "minute",
    "second",
    "milliseconds",
    "microseconds",
    "epoch",
    "quarter",
    "week",
    "dow",
    "isodow",
    "doy",
    "isoyear",
    "decade",
    "century",
    "millennium",
    "julian",
    "timezone",
    "timezone_hour",
    "timezone_minute",
    "YEAR",
    "bogus",
];
const ZONES: &[&str] = &[
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "EST",
    "EST5EDT",
    "+02",
    "-03:30",
    "Nowhere/Land",
];
const PATTERNS: &[&str] = &[
    "",
    "a",
    "^a",
    "[a-c]+",
    "b$",
    "(a)(b)?",
    "a|X",
    "\\d+",
    "\\w*",
    "x*",
    ".",
    "(",
    "[[:alpha:]]",
    "(?i)A",
    "a{2}",
];
const FLAGS: &[&str] = &["", "g", "i", "gi", "n", "x", "q"];
const LIKES: &[&str] = &["", "%", "_", "a%", "%b_c", "a\\%b\\_c", "%é%", "a\\", "A%", "___"];
const ENCODINGS: &[&str] = &["hex", "base64", "escape", "HEX", "bogus"];
const CHARSETS: &[&str] = &["UTF8", "utf-8", "LATIN1", "SQL_ASCII", "bogus"];
const NUMBER_FORMATS: &[&str] =
    &["9", "999D99", "FM999.00", "000", "S9G999", "9.99EEEE", "RN", "L99", "99%", "PR99", "999MI", ""];
const DATE_FORMATS: &[&str] = &[
    "YYYY-MM-DD",
    "HH24:MI:SS.US",
    "Day, DD Month YYYY",
    "FMDay FMMonth",
    "IYYY-IW-ID",
    "J Q DDD D WW",
    "Mon DD, Y,YYY BC",
    "HH12:MI AM",
    "SSSS MS",
    "TZ OF",
    "\"text\" YY",
    "CC RM",
    "Dth",
    "",
];
const FORMATS: &[&str] = &["%s", "%s %s", "%I", "%L", "%%", "%5s|", "%-5s|", "%2$s", "%", "none", "%z"];
const SMALL: &[&str] = &["-2147483648", "-1", "0", "1", "2", "3", "5", "17"];
const SMALL_NUMERICS: &[&str] =
    &["NaN", "Infinity", "-Infinity", "0", "1", "-1", "0.5", "2", "-2", "3.25", "-0.75", "10", "12.5"];
const SMALL_FLOATS: &[&str] =
    &["NaN", "Infinity", "-Infinity", "0", "-0", "1", "-1", "0.5", "2", "-2.5", "10", "709", "1e-300"];
const FORMS: &[&str] = &["NFC", "NFD", "NFKC", "NFKD", "nfc", "bogus"];

/// Values for an argument that are of more use than those of its type.
pub(crate) fn hints(function: &str, at: usize, ty: &SqlType) -> Option<&'static [&'static str]> {
    let is_text = ty.is_string();
    let is_time = !is_text && ty.to_string().contains("time");
    match (function, at) {
        ("date_trunc" | "date_part" | "extract", 0) if is_text => Some(FIELDS),
        ("date_trunc", 2) | ("timezone", 0) if is_text => Some(ZONES),
        ("make_timestamptz", 6) => Some(ZONES),
        ("~" | "~*" | "!~" | "!~*", 1) => Some(PATTERNS),
        ("regexp_replace", 3) | ("regexp_match" | "regexp_matches" | "regexp_split_to_array", 2)
            if is_text =>
        {
            Some(FLAGS)
        }
        ("substring", 1) if is_text => Some(PATTERNS),
        (name, 1) if name.starts_with("regexp_") => Some(PATTERNS),
        ("~~" | "!~~" | "~~*" | "!~~*" | "like" | "notlike", 1) if is_text => Some(LIKES),
        ("like_escape" | "similar_to_escape" | "similar_escape", 0) => Some(LIKES),
        ("like_escape" | "similar_to_escape" | "similar_escape", 1) => Some(&["\\", "", "x", "#", "xx"]),
        ("encode" | "decode", 1) => Some(ENCODINGS),
        ("decode", 0) => Some(&["", "00ff", "YWJj", "\\\\x", "zz", "6 1", "YWI=", "abc"]),
        ("convert_from" | "convert_to" | "convert", 1 | 2) | ("length", 1) if is_text => Some(CHARSETS),
        ("to_char", 1) => Some(if is_time { DATE_FORMATS } else { NUMBER_FORMATS }),
        ("to_date" | "to_timestamp", 1) => Some(DATE_FORMATS),
        ("to_number", 1) => Some(NUMBER_FORMATS),
        ("format", 0) => Some(FORMATS),
        ("normalize" | "is_normalized", 1) => Some(FORMS),
        ("repeat" | "lpad" | "rpad", 1) | ("factorial", 0) => Some(SMALL),
        ("power" | "pow" | "^" | "exp" | "sinh" | "cosh" | "|/" | "||/", _) => Some(match ty {
            SqlType::Numeric => SMALL_NUMERICS,
            _ => SMALL_FLOATS,
        }),
        _ => None,
    }
}
