//! Texts, codes and messages from Postgres 15 and 18.

use std::collections::HashMap;

use understudy_model::TableName;

use crate::expr::{Collation, Expression, Scope};

/// The text of an expression over no columns, or the code and message of its failure.
fn scope() -> Scope {
    let table = TableName { schema: "public".to_owned(), name: "t".to_owned() };
    let collation = Collation::bytes();
    Scope { table, columns: Vec::new(), types: HashMap::new(), collation, mask_key: None }
}

fn found(text: &str) -> String {
    match Expression::compile(text, &scope()).unwrap().evaluate(&[]) {
        Ok(found) => found.unwrap_or_else(|| "null".to_owned()),
        Err(error) => format!("{} {}", error.state(), error.message_with_values()),
    }
}

fn check(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(found(text), *expected, "{text}");
    }
}

/// A result without room fails; it never wraps around.
#[test]
fn integers_overflow_and_divide_as_on_the_server() {
    check(&[
        ("32767::int2 + 1::int2", "22003 smallint out of range"),
        ("2147483647 + 1", "22003 integer out of range"),
        ("2147483647 + 1::int8", "2147483648"),
        ("9223372036854775807 * 2", "22003 bigint out of range"),
        ("-('-32768'::int2)", "22003 smallint out of range"),
        ("abs('-2147483648'::int4)", "22003 integer out of range"),
        ("'-2147483648'::int4 / -1", "22003 integer out of range"),
        ("'-9223372036854775808'::int8 / -1", "22003 bigint out of range"),
        ("'-9223372036854775808'::int8 % -1", "0"),
        ("-7 / 2", "-3"),
        ("-7 % 2", "-1"),
        ("1 / 0", "22012 division by zero"),
        ("mod(1::int2, 0::int2)", "22012 division by zero"),
        ("gcd('-2147483648'::int4, 0)", "22003 integer out of range"),
        ("lcm('-2147483648'::int4, 0)", "0"),
        ("lcm(4, -6)", "12"),
        ("factorial(5)", "120"),
    ]);
}

/// Shifts by more than the width, and by less than nothing, do what processors do.
#[test]
fn bits_move_as_on_the_server() {
    check(&[
        ("1 << 33", "2"),
        ("1 << -1", "-2147483648"),
        ("1::int2 << 15", "-32768"),
        ("1::int2 << 17", "0"),
        ("1::int8 << 65", "2"),
        ("'-8'::int2 >> 33", "-4"),
        ("5 # 3", "6"),
        ("~5::int2", "-6"),
        ("to_hex(-1)", "ffffffff"),
        ("to_hex(-1::int8)", "ffffffffffffffff"),
    ]);
}

/// Infinity and zero are results only where an operand or the rules of the server say so.
#[test]
fn floats_fail_where_the_server_does() {
    check(&[
        ("1e300::float8 * 1e300::float8", "22003 value out of range: overflow"),
        ("1e-300::float8 / 1e300::float8", "22003 value out of range: underflow"),
        ("1e38::float4 * 10::float4", "22003 value out of range: overflow"),
        ("1e38::float4 * 10::float8", "9.999999680285692e+38"),
        ("'NaN'::float8 / 0", "NaN"),
        ("'Infinity'::float8 / 0", "22012 division by zero"),
        ("'Infinity'::float8 - 'Infinity'::float8", "NaN"),
        ("0.1::float4 + 0.1::float8", "0.20000000149011612"),
        ("round(2.5::float8)", "2"),
        ("round('-0.4'::float8)", "-0"),
        ("sign('NaN'::float8)", "0"),
        ("sqrt('-1'::float8)", "2201F cannot take square root of a negative number"),
        ("2 ^ 10", "1024"),
        ("0::float8 ^ -1", "2201F zero raised to a negative power is undefined"),
        (
            "power('-8'::float8, 0.5::float8)",
            "2201F a negative number raised to a non-integer power yields a complex result",
        ),
        ("'-2'::float8 ^ 'NaN'::float8", "NaN"),
        ("10::float8 ^ 400", "22003 value out of range: overflow"),
    ]);
}

/// Without overloads of its own a number would silently be taken for another type.
#[test]
fn overloads_are_chosen_as_on_the_server() {
    check(&[
        ("1 / 3::numeric", "0.33333333333333333333"),
        ("1 / 3.0::float4", "0.3333333333333333"),
        ("1.0 + 1::float4", "2"),
        ("round(2.5)", "3"),
        ("round(2::int4)", "2"),
        ("ceil(2.10)", "3"),
        ("round(255, -1)", "260"),
        ("trunc(12.345, 2)", "12.34"),
        ("'5.5' + 3.0", "8.5"),
        ("abs('-5.50')", "5.5"),
        ("-(2.50)", "-2.50"),
        ("@ (-2.50)", "2.50"),
        ("scale('NaN'::numeric)", "null"),
        ("div(7.5, 2)", "3"),
        ("7.5 % 2", "1.5"),
        ("trim_scale(1.500)", "1.5"),
    ]);
    let refused = Expression::compile("2.0 ^ 3", &scope()).unwrap_err();
    assert!(refused.what.contains("numeric") && refused.what.contains("version"), "{}", refused.what);
}

/// Where a cast rounds, which way, and what it refuses.
#[test]
fn casts_round_and_refuse_as_on_the_server() {
    check(&[
        ("2.5::numeric::int4", "3"),
        ("'-2.5'::numeric::int4", "-3"),
        ("2.5::float8::int4", "2"),
        ("2147483647.49::float8::int4", "2147483647"),
        ("2147483647.5::float8::int4", "22003 integer out of range"),
        ("9223372036854775807::float8::int8", "22003 bigint out of range"),
        ("'NaN'::float8::int2", "22003 smallint out of range"),
        ("'NaN'::numeric::int2", "0A000 cannot convert NaN to smallint"),
        ("'Infinity'::numeric::int8", "0A000 cannot convert infinity to bigint"),
        ("100000::int2", "22003 smallint out of range"),
        ("16777217::float4::numeric", "16777200"),
        ("0.1::float4::float8", "0.10000000149011612"),
        ("1e300::float8::float4", "22003 value out of range: overflow"),
        (
            "1e40::numeric::float4",
            "22003 \"10000000000000000000000000000000000000000\" is out of range for type real",
        ),
        ("true::int4 + 1", "2"),
        ("12.345::numeric(4, 1)", "12.3"),
        ("1234.5::numeric(4, 1)", "22003 numeric field overflow"),
    ]);
}
