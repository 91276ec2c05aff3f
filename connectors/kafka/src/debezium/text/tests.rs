//! Values of records, against what Postgres writes for them.

use super::super::shape::Field;
use super::*;

fn field(kind: &str, name: Option<&str>) -> Field {
    Field { kind: kind.into(), name: name.map(Into::into), ..Field::default() }
}

fn text(kind: &Kind, field: Option<&Field>, json: &str, declared: &Declared) -> String {
    match read(kind, field, json, declared) {
        Ok(Slot::Text(text)) => text.into_owned(),
        Ok(Slot::Null) => "null".to_owned(),
        Ok(Slot::Unsent) => "unsent".to_owned(),
        Err(unfit) => format!("refused: {}", unfit.why),
    }
}

/// Every one of these is read, with the schema that names its form.
fn all(kind: &Kind, form: (&str, Option<&str>), cases: &[(&str, &str)]) {
    let field = field(form.0, form.1);
    for (json, expected) in cases {
        assert_eq!(text(kind, Some(&field), json, &Declared::default()), *expected, "{kind:?} {json}");
    }
}

/// Guards that a value reaches green as it was on blue, for each type in the form that a connector gives it by default.
#[test]
fn values_are_what_postgres_writes() {
    all(&Kind::Bool, ("boolean", None), &[("true", "t"), ("false", "f"), ("null", "null")]);
    all(&Kind::Int, ("int64", None), &[("-9223372036854775808", "-9223372036854775808"), ("0", "0")]);
    let double = Kind::Float { is_single: false };
    all(
        &double,
        ("double", None),
        &[
            ("0.1", "0.1"),
            ("1.0", "1"),
            ("1.0E10", "10000000000"),
            ("1.0E15", "1e+15"),
            ("-1.5E-7", "-1.5e-07"),
            ("1.0E-4", "0.0001"),
            ("123456.75", "123456.75"),
            ("-0.0", "-0"),
            ("\"NaN\"", "NaN"),
            ("\"-Infinity\"", "-Infinity"),
        ],
    );
    all(&Kind::Float { is_single: true }, ("float", None), &[("1000000.0", "1e+06"), ("0.3", "0.3")]);
    all(&Kind::Text, ("string", None), &[(r#""a\"b\u00e9""#, "a\"b\u{e9}"), (r#""""#, "")]);
    all(&Kind::Numeric, ("string", None), &[("\"1.50\"", "1.50"), ("\"NAN\"", "NaN")]);
    let variable = Some("io.debezium.data.VariableScaleDecimal");
    all(
        &Kind::Numeric,
        ("struct", variable),
        &[(r#"{"scale":2,"value":"Dg=="}"#, "0.14"), (r#"{"scale":-2,"value":"Dg=="}"#, "1400")],
    );
    all(&Kind::Bytea, ("bytes", None), &[("\"Af8=\"", "\\x01ff"), ("\"\"", "\\x")]);
    all(
        &Kind::Bits { length: Some(10) },
        ("bytes", Some("io.debezium.data.Bits")),
        &[("\"BQM=\"", "1100000101")],
    );
    all(&Kind::Bits { length: Some(1) }, ("boolean", None), &[("true", "1")]);
    all(&Kind::Point, ("struct", None), &[(r#"{"x":1.5,"y":-2.0,"wkb":"","srid":null}"#, "(1.5,-2)")]);
}

/// Guards decimals in two's complement: a sign or a scale that is lost is another amount of money.
#[test]
fn decimals_keep_their_sign_and_scale() {
    let decimal = Field { scale: Some(2), ..field("bytes", Some("org.apache.kafka.connect.data.Decimal")) };
    let of = |json: &str| text(&Kind::Numeric, Some(&decimal), json, &Declared::default());
    for (json, expected) in [
        ("\"Dg==\"", "0.14"),
        ("\"kg==\"", "-1.10"),
        ("\"AA==\"", "0.00"),
        ("\"AJY=\"", "1.50"),
        ("\"/w==\"", "-0.01"),
        // 2^64, beyond what any whole number of a machine holds.
        ("\"AQAAAAAAAAAA\"", "184467440737095516.16"),
        ("\"gA==\"", "-1.28"),
    ] {
        assert_eq!(of(json), expected, "{json}");
    }
}

/// Guards moments of every precision, before 1970 and before Christ, and those that never are.
#[test]
fn moments_are_what_postgres_writes() {
    all(
        &Kind::Date,
        ("int32", Some("io.debezium.time.Date")),
        &[
            ("18262", "2020-01-01"),
            ("-1", "1969-12-31"),
            ("-719469", "0001-02-29 BC"),
            ("-2147472691", "-infinity"),
            ("-2147472692", "infinity"),
        ],
    );
    all(
        &Kind::Date,
        ("string", Some("io.debezium.time.IsoDate")),
        &[
            ("\"2020-01-01Z\"", "2020-01-01"),
            ("\"-5877611-06-21Z\"", "infinity"),
            ("\"-5877611-06-22Z\"", "-infinity"),
        ],
    );
    let micro = Some("io.debezium.time.MicroTimestamp");
    all(
        &Kind::Timestamp { digits: 6 },
        ("int64", micro),
        &[
            ("1577840523123456", "2020-01-01 01:02:03.123456"),
            ("-63517780800000000", "0044-03-15 12:00:00 BC"),
            ("-1", "1969-12-31 23:59:59.999999"),
            ("9223372036825200000", "infinity"),
        ],
    );
    all(
        &Kind::Timestamp { digits: 3 },
        ("int64", Some("io.debezium.time.Timestamp")),
        &[("1577840523120", "2020-01-01 01:02:03.12")],
    );
    all(
        &Kind::Timestamp { digits: 6 },
        ("string", Some("io.debezium.time.IsoTimestamp")),
        &[
            ("\"2020-01-01T01:02:03.123456Z\"", "2020-01-01 01:02:03.123456"),
            ("\"-0043-03-15T12:00:00Z\"", "0044-03-15 12:00:00 BC"),
            ("\"+294247-01-10T04:00:25.2Z\"", "infinity"),
            ("\"+12020-01-01T00:00:00Z\"", "12020-01-01 00:00:00"),
        ],
    );
    all(
        &Kind::TimestampTz,
        ("string", Some("io.debezium.time.ZonedTimestamp")),
        &[
            ("\"2026-11-22T02:16:11.588652Z\"", "2026-11-22 02:16:11.588652+00"),
            ("\"1970-01-01T00:00:00.000000Z\"", "1970-01-01 00:00:00+00"),
            ("\"-0043-03-15T12:00:00.000000Z\"", "0044-03-15 12:00:00+00 BC"),
            ("\"2020-01-01T01:02:03+01:30\"", "2020-01-01 01:02:03+01:30"),
            ("\"-infinity\"", "-infinity"),
        ],
    );
}

/// Guards times of day up to the last one, and intervals, which pass as they are.
#[test]
fn times_and_intervals_are_what_postgres_reads() {
    all(
        &Kind::Time { digits: 6 },
        ("int64", Some("io.debezium.time.MicroTime")),
        &[("3723000000", "01:02:03"), ("86400000000", "24:00:00"), ("1", "00:00:00.000001")],
    );
    all(&Kind::Time { digits: 0 }, ("int32", Some("io.debezium.time.Time")), &[("3723000", "01:02:03")]);
    all(
        &Kind::Time { digits: 6 },
        ("string", Some("io.debezium.time.IsoTime")),
        &[("\"01:02:03Z\"", "01:02:03")],
    );
    all(
        &Kind::Interval,
        ("string", Some("io.debezium.time.Interval")),
        &[("\"P0Y1M2DT0H0M0S\"", "P0Y1M2DT0H0M0S")],
    );
}

/// Guards arrays and maps of texts that look like the signs around them.
#[test]
fn what_holds_others_is_quoted() {
    let texts = Kind::Array(Box::new(Kind::Text));
    all(
        &texts,
        ("array", None),
        &[(r#"["a,b","","NULL",null,"c\\d","{"]"#, r#"{"a,b","","NULL",NULL,"c\\d","{"}"#), ("[]", "{}")],
    );
    all(&Kind::Array(Box::new(Kind::Int)), ("array", None), &[("[1,2]", "{1,2}")]);
    all(&Kind::Hstore, ("string", None), &[(r#""{\"a\":\"1\",\"b\":null}""#, r#""a"=>"1", "b"=>NULL"#)]);
    all(&Kind::Hstore, ("map", None), &[(r#"{"a":"x\"y"}"#, r#""a"=>"x\"y""#)]);
    let dates = Kind::Array(Box::new(Kind::Date));
    let items = Some(Box::new(field("int32", Some("io.debezium.time.Date"))));
    let of_dates = Field { items, ..field("array", None) };
    assert_eq!(text(&dates, Some(&of_dates), "[18262]", &Declared::default()), "{2020-01-01}");
}

/// Promise 1: what blue did not send is left alone on green, in whatever form the marker comes, and is no text of a row.
#[test]
fn what_was_not_sent_is_told_from_texts() {
    let none = Declared::default();
    for kind in [Kind::Text, Kind::Numeric, Kind::Hstore] {
        assert_eq!(text(&kind, None, "\"__debezium_unavailable_value\"", &none), "unsent", "{kind:?}");
    }
    let bytes = field("bytes", None);
    let encoded = "\"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==\"";
    assert_eq!(text(&Kind::Bytea, Some(&bytes), encoded, &none), "unsent");
    let texts = Kind::Array(Box::new(Kind::Text));
    assert_eq!(text(&texts, None, "[\"__debezium_unavailable_value\"]", &none), "unsent");
    let numbers =
        format!("[{}]", UNAVAILABLE.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(","));
    assert_eq!(text(&Kind::Array(Box::new(Kind::Int)), None, &numbers, &none), "unsent");
}

/// Guards that nothing is guessed: a number whose unit is not told, a decimal that lost digits, an interval without its months.
#[test]
fn what_does_not_tell_its_value_is_refused() {
    let none = Declared::default();
    let refused = |kind: &Kind, field: Option<&Field>, json: &str| {
        let found = read(kind, field, json, &none);
        assert!(found.is_err(), "{kind:?} {json}: {found:?}");
        assert!(found.is_err_and(|unfit| !unfit.remedy.is_empty()));
    };
    let timestamp = Kind::Timestamp { digits: 6 };
    refused(&timestamp, None, "1577840523123456");
    refused(
        &timestamp,
        Some(&field("int64", Some("org.apache.kafka.connect.data.Timestamp"))),
        "1577840523123",
    );
    refused(&Kind::Time { digits: 6 }, None, "1");
    refused(&Kind::Numeric, None, "\"Dg==\"");
    refused(&Kind::Numeric, Some(&field("double", None)), "0.14");
    refused(&Kind::Bytea, None, "\"01ff\"");
    refused(&Kind::Bytea, Some(&field("string", None)), "\"01ff\"");
    refused(&Kind::Interval, Some(&field("int64", Some("io.debezium.time.MicroDuration"))), "2802600000000");
    refused(&Kind::TimeTz, None, "\"10:00:00Z\"");
    refused(&Kind::Bits { length: None }, Some(&field("bytes", Some("io.debezium.data.Bits"))), "\"BQ==\"");
    refused(&Kind::Array(Box::new(Kind::Int)), None, "[[1],[2]]");
    refused(&Kind::Opaque("box".to_owned()), Some(&field("string", None)), "\"x\"");
    refused(&Kind::Bool, None, "1");
    refused(&Kind::Int, None, "1.5");
}

/// Guards that what a person has said of the connector is how its records are read.
#[test]
fn what_is_declared_is_how_it_is_read() {
    let declared = Declared {
        decimals: Some(DecimalForm::String),
        times: Some(TimeForm::Adaptive),
        binaries: Some(BinaryForm::Hex),
        replaces_null: None,
    };
    let of = |kind: &Kind, json: &str| text(kind, None, json, &declared);
    assert_eq!(of(&Kind::Numeric, "\"-1.10\""), "-1.10");
    assert_eq!(of(&Kind::Timestamp { digits: 6 }, "1577840523123456"), "2020-01-01 01:02:03.123456");
    assert_eq!(of(&Kind::Timestamp { digits: 0 }, "1577840523000"), "2020-01-01 01:02:03");
    assert_eq!(of(&Kind::Time { digits: 2 }, "3723000"), "01:02:03");
    assert_eq!(of(&Kind::Bytea, "\"01ff\""), "\\x01ff");
}

/// Guards dates that a snapshot gets wrong (seen with 3.5.0: two days off before Christ, and `-infinity` as a number of its own):
/// they are read from blue, and others are not.
#[test]
fn what_a_snapshot_gets_wrong_is_not_taken() {
    let date = field("int32", Some("io.debezium.time.Date"));
    let milli = field("int64", Some("io.debezium.time.Timestamp"));
    fn of<'a>(kind: &Kind, field: &Field, json: &'a str) -> Result<Slot<'a>, Unfit> {
        read_snapshot(kind, Some(field), json, &Declared::default())
    }
    let timestamp = Kind::Timestamp { digits: 3 };
    assert_eq!(of(&Kind::Date, &date, "-625821272"), Ok(Slot::Unsent));
    assert_eq!(of(&timestamp, &milli, "-63517953600000"), Ok(Slot::Unsent));
    assert_eq!(of(&Kind::Date, &date, "-200000"), Ok(Slot::Unsent));
    assert_eq!(of(&Kind::Date, &date, "18262"), Ok(Slot::owned("2020-01-01".to_owned())));
    let items = Some(Box::new(date.clone()));
    let array = Field { items, ..field("array", None) };
    let dates = Kind::Array(Box::new(Kind::Date));
    assert_eq!(of(&dates, &array, "[18262,-200000]"), Ok(Slot::Unsent));
    assert_eq!(of(&dates, &array, "[18262]"), Ok(Slot::owned("{2020-01-01}".to_owned())));
    let text = read_snapshot(&Kind::Text, None, "\"0001 BC\"", &Declared::default());
    assert_eq!(text, Ok(Slot::owned("0001 BC".to_owned())));
}
