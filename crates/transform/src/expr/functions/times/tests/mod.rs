//! Expressions that both Postgres 15 and 18 evaluate as written here, or refuse with the SQLSTATE behind the mark.

mod patterns;

use std::borrow::Cow;

use understudy_model::TableName;

use crate::expr::{Collation, Expression, Modifier, Scope, ScopeColumn, SqlType};

type Case<'c> = (&'c str, &'c [(&'c str, &'c str)], &'c str);

/// The text of an expression's value over the columns `c0`, `c1` and so on.
fn evaluated(text: &str, columns: &[(&str, &str)]) -> String {
    let column = |(at, (ty, _)): (usize, &(&str, &str))| ScopeColumn {
        name: format!("c{at}"),
        ty: SqlType::builtin(ty).unwrap(),
        modifier: Modifier::NONE,
        collation: None,
    };
    let scope = Scope {
        table: TableName { schema: "public".to_owned(), name: "t".to_owned() },
        columns: columns.iter().enumerate().map(column).collect(),
        types: Default::default(),
        collation: Collation::bytes(),
        mask_key: None,
    };
    let row: Vec<_> = columns.iter().map(|(_, value)| Some(Cow::Borrowed(*value))).collect();
    let expression = Expression::compile(text, &scope).unwrap_or_else(|problem| panic!("{text}: {problem}"));
    match expression.evaluate(&row) {
        Ok(value) => value.unwrap_or_else(|| "null".to_owned()),
        Err(error) => format!("!{}", error.state()),
    }
}

fn check(cases: &[Case<'_>]) {
    for (text, columns, expected) in cases {
        assert_eq!(evaluated(text, columns), *expected, "{text} {columns:?}");
    }
}

/// A month that ends sooner, a range left, or an infinity that moves would put other dates into green.
#[test]
fn arithmetic_is_that_of_postgres() {
    check(&[
        ("c0 + c1", &[("date", "2020-02-28"), ("int4", "2")], "2020-03-01"),
        ("c0 + c1", &[("date", "5874897-12-31"), ("int4", "1")], "!22008"),
        ("c0 + c1", &[("date", "infinity"), ("int4", "1")], "infinity"),
        ("c0 - c1", &[("date", "2020-03-01"), ("date", "2020-02-01")], "29"),
        ("c0 - c1", &[("date", "infinity"), ("date", "2020-02-01")], "!22008"),
        ("c0 + c1", &[("date", "2020-03-01"), ("time", "24:00")], "2020-03-02 00:00:00"),
        ("c0 + c1", &[("date", "2020-03-01"), ("timetz", "10:00+05:30")], "2020-03-01 04:30:00+00"),
        ("c0 + c1", &[("date", "294277-01-01"), ("timetz", "10:00+15")], "!22008"),
        ("c0 + c1", &[("timestamp", "2020-01-31 10:00"), ("interval", "1 mon")], "2020-02-29 10:00:00"),
        ("c0 - c1", &[("timestamp", "2020-03-31 10:00"), ("interval", "1 mon 1 day")], "2020-02-28 10:00:00"),
        (
            "c0 + c1",
            &[("timestamptz", "2020-12-31 10:00"), ("interval", "-13 mons 1 day -10:00")],
            "2019-12-01 00:00:00+00",
        ),
        ("c0 + c1", &[("timestamp", "infinity"), ("interval", "1 day")], "infinity"),
        ("c0 + c1", &[("timestamp", "294276-12-31"), ("interval", "1 day")], "!22008"),
        ("c0 + c1", &[("timestamp", "2020-01-01"), ("interval", "178956970 years")], "!22008"),
        ("c0 + c1", &[("date", "2020-01-01"), ("interval", "1.5 hours")], "2020-01-01 01:30:00"),
        ("c0 + c1", &[("time", "23:00"), ("interval", "2 days 02:00")], "01:00:00"),
        ("c0 - c1", &[("time", "00:30"), ("interval", "01:00")], "23:30:00"),
        ("c0 + c1", &[("timetz", "23:00+02"), ("interval", "02:00")], "01:00:00+02"),
        ("c0 - c1", &[("time", "10:00"), ("time", "11:00:00.5")], "-01:00:00.5"),
        ("c0 - c1", &[("timestamp", "2020-01-01"), ("timestamp", "2020-03-01 12:00")], "-60 days -12:00:00"),
        (
            "c0 - c1",
            &[("timestamptz", "294276-12-31"), ("timestamptz", "294275-12-31 00:00:00.000001")],
            "365 days 23:59:59.999999",
        ),
        ("age(c0, c1)", &[("timestamp", "2020-03-01"), ("timestamp", "2019-12-31 12:00")], "2 mons 12:00:00"),
        (
            "age(c0, c1)",
            &[("timestamp", "2019-12-31 12:00"), ("timestamp", "2020-03-01")],
            "-2 mons -12:00:00",
        ),
        ("age(c0, c1)", &[("date", "2020-02-29"), ("date", "2001-08-31")], "18 years 5 mons 29 days"),
    ]);
}

/// What is left of a month becomes days and what is left of a day becomes time, in doubles, to the last microsecond.
#[test]
fn intervals_scale_and_justify_as_in_postgres() {
    check(&[
        ("c0 + c1", &[("interval", "1 mon"), ("interval", "-1 day 05:00")], "1 mon -1 days +05:00:00"),
        ("c0 + c1", &[("interval", "2147483647 days"), ("interval", "1 day")], "!22008"),
        ("- c0", &[("interval", "1 mon -2 days 03:00")], "-1 mons +2 days -03:00:00"),
        ("- c0", &[("interval", "-2147483648 mons")], "!22008"),
        ("c0 * c1", &[("interval", "1 day"), ("float8", "1.5")], "1 day 12:00:00"),
        ("c0 * c1", &[("interval", "1 mon"), ("float8", "0.1")], "3 days"),
        (
            "c0 * c1",
            &[("interval", "1 year 2 mons 3 days 04:05:06.7"), ("float8", "-0.33")],
            "-4 mons -19 days -15:30:29.211",
        ),
        ("c0 * c1", &[("interval", "1 mon"), ("float8", "1e20")], "!22008"),
        ("c0 * c1", &[("interval", "1 mon"), ("float8", "NaN")], "!22008"),
        ("c0 / c1", &[("interval", "1 mon 1 day"), ("float8", "7")], "4 days 10:17:08.546743"),
        ("c0 / c1", &[("interval", "1 mon"), ("float8", "0")], "!22012"),
        ("c0 / c1", &[("interval", "1 mon"), ("float8", "1e-10")], "!22008"),
        ("c0 / c1", &[("interval", "1 year 00:00:01"), ("float8", "Infinity")], "00:00:00"),
        ("justify_hours(c0)", &[("interval", "1 day -25 hours")], "-01:00:00"),
        ("justify_days(c0)", &[("interval", "1 mon -65 days")], "-1 mons -5 days"),
        ("justify_interval(c0)", &[("interval", "1 mon -1 hour")], "29 days 23:00:00"),
        ("justify_interval(c0)", &[("interval", "2147483647 mons 60 days")], "!22008"),
        ("make_interval(1, 2, 3, 4, 5, 6, 7.8)", &[], "1 year 2 mons 25 days 05:06:07.8"),
        ("make_interval()", &[], "00:00:00"),
    ]);
}

/// A numeric shows its scale: one digit more or less is another text.
#[test]
fn fields_have_the_scales_of_postgres() {
    check(&[
        ("extract(microseconds from c0)", &[("timestamp", "2020-01-05 10:11:12.131415")], "12131415"),
        ("extract(milliseconds from c0)", &[("timestamp", "2020-01-05 10:11:12.131415")], "12131.415"),
        ("extract(second from c0)", &[("timestamp", "2020-01-05 10:11:12.131415")], "12.131415"),
        ("extract(minute from c0)", &[("timestamp", "2020-01-05 10:11:12.131415")], "11"),
        ("extract(hour from c0)", &[("timestamp", "2020-01-05 10:11:12.131415")], "10"),
        ("extract(day from c0)", &[("timestamp", "2020-01-05 10:11:12.131415")], "5"),
        ("extract(dow from c0)", &[("timestamp", "2020-01-05 10:11:12.131415")], "0"),
        ("extract(isodow from c0)", &[("timestamp", "2020-01-05 10:11:12.131415")], "7"),
        ("extract(doy from c0)", &[("timestamp", "2020-01-05 10:11:12.131415")], "5"),
        ("extract(week from c0)", &[("timestamp", "2020-01-05 10:11:12.131415")], "1"),
        ("extract(month from c0)", &[("timestamp", "2020-01-05 10:11:12.131415")], "1"),
        ("extract(quarter from c0)", &[("timestamp", "2020-01-05 10:11:12.131415")], "1"),
        ("extract(year from c0)", &[("timestamp", "2020-01-05 10:11:12.131415")], "2020"),
        ("extract(isoyear from c0)", &[("timestamp", "2020-01-05 10:11:12.131415")], "2020"),
        ("extract(decade from c0)", &[("timestamp", "2020-01-05 10:11:12.131415")], "202"),
        ("extract(century from c0)", &[("timestamp", "2020-01-05 10:11:12.131415")], "21"),
        ("extract(millennium from c0)", &[("timestamp", "2020-01-05 10:11:12.131415")], "3"),
        ("extract(epoch from c0)", &[("timestamp", "2020-01-05 10:11:12.131415")], "1578219072.131415"),
        (
            "extract(julian from c0)",
            &[("timestamp", "2020-01-05 10:11:12.131415")],
            "2458854.42444596545138888889",
        ),
        ("extract(year from c0)", &[("date", "0044-03-15 BC")], "-44"),
        ("extract(century from c0)", &[("date", "0044-03-15 BC")], "-1"),
        ("extract(decade from c0)", &[("date", "0044-03-15 BC")], "-5"),
        ("extract(isoyear from c0)", &[("date", "0001-01-01 BC")], "-2"),
        ("extract(epoch from c0)", &[("date", "2020-01-01")], "1577836800"),
        ("extract(julian from c0)", &[("date", "2020-01-01")], "2458850"),
        ("extract(julian from c0)", &[("timestamp", "2020-01-01")], "2458850.0000000000000000000000000000"),
        ("extract(hour from c0)", &[("date", "2020-01-01")], "!0A000"),
        ("date_part('hour', c0)", &[("date", "2020-01-01")], "0"),
        ("extract(year from c0)", &[("timestamp", "-infinity")], "-Infinity"),
        ("extract(month from c0)", &[("timestamp", "infinity")], "null"),
        ("extract(timezone from c0)", &[("timestamp", "2020-01-01")], "!0A000"),
        ("extract(timezone from c0)", &[("timestamptz", "2020-01-01")], "0"),
        ("extract(timezone from c0)", &[("timetz", "10:00-05:30:15")], "-19815"),
        ("extract(timezone_minute from c0)", &[("timetz", "10:00-05:30:15")], "-30"),
        ("extract(epoch from c0)", &[("timetz", "10:00+01")], "32400.000000"),
        ("extract(day from c0)", &[("time", "10:00")], "!0A000"),
        ("extract(epoch from c0)", &[("interval", "1 year 1 mon 1 day 1.5 s")], "34236001.500000"),
        ("extract(month from c0)", &[("interval", "-13 mons")], "-1"),
        ("extract(hour from c0)", &[("interval", "-100:20:30.5")], "-100"),
        ("extract(second from c0)", &[("interval", "-100:20:30.5")], "-30.500000"),
        ("extract(quarter from c0)", &[("interval", "5 mons")], "2"),
        ("date_part('second', c0)", &[("time", "10:00:01.5")], "1.5"),
        ("date_part('epoch', c0)", &[("timestamptz", "2020-01-01 00:00:00.123456")], "1577836800.123456"),
        ("date_part('nothing', c0)", &[("timestamp", "2020-01-01")], "!22023"),
        ("date_part('now', c0)", &[("timestamp", "2020-01-01")], "!0A000"),
        ("date_part('now', c0)", &[("time", "10:00")], "!22023"),
    ]);
}

/// Each unit cuts off what is below it.
#[test]
fn timestamps_are_cut_off_as_in_postgres() {
    let table = [
        ("microseconds", "2020-05-06 10:11:12.131415"),
        ("milliseconds", "2020-05-06 10:11:12.131"),
        ("second", "2020-05-06 10:11:12"),
        ("minute", "2020-05-06 10:11:00"),
        ("hour", "2020-05-06 10:00:00"),
        ("day", "2020-05-06 00:00:00"),
        ("week", "2020-05-04 00:00:00"),
        ("month", "2020-05-01 00:00:00"),
        ("quarter", "2020-04-01 00:00:00"),
        ("year", "2020-01-01 00:00:00"),
        ("decade", "2020-01-01 00:00:00"),
        ("century", "2001-01-01 00:00:00"),
        ("millennium", "2001-01-01 00:00:00"),
    ];
    for (unit, expected) in table {
        let columns = [("text", unit), ("timestamp", "2020-05-06 10:11:12.131415")];
        check(&[("date_trunc(c0, c1)", &columns, expected)]);
    }
}

/// Years before Christ, zones and intervals are cut off by rules of their own.
#[test]
fn truncation_and_bins_are_those_of_postgres() {
    check(&[
        (
            "date_trunc(c0, c1)",
            &[("text", "decade"), ("timestamp", "0044-03-15 BC")],
            "0051-01-01 00:00:00 BC",
        ),
        (
            "date_trunc(c0, c1)",
            &[("text", "century"), ("timestamp", "0044-03-15 BC")],
            "0100-01-01 00:00:00 BC",
        ),
        ("date_trunc(c0, c1)", &[("text", "dow"), ("timestamp", "2020-01-01")], "!22023"),
        ("date_trunc(c0, c1)", &[("text", "timezone"), ("timestamp", "2020-01-01")], "!0A000"),
        ("date_trunc(c0, c1)", &[("text", "Month"), ("date", "2020-05-06")], "2020-05-01 00:00:00+00"),
        (
            "date_trunc(c0, c1, c2)",
            &[("text", "day"), ("timestamptz", "2020-07-01 23:00"), ("text", "Europe/Berlin")],
            "2020-07-01 22:00:00+00",
        ),
        (
            "date_trunc(c0, c1, c2)",
            &[("text", "hour"), ("timestamptz", "2020-07-01 23:10"), ("text", "Asia/Kolkata")],
            "2020-07-01 22:30:00+00",
        ),
        (
            "date_trunc(c0, c1, c2)",
            &[("text", "day"), ("timestamptz", "2020-07-01 23:10"), ("text", "Nowhere")],
            "!22023",
        ),
        ("date_trunc(c0, c1)", &[("text", "quarter"), ("interval", "-5 mons 3 days")], "-3 mons"),
        ("date_trunc(c0, c1)", &[("text", "week"), ("interval", "3 days")], "!0A000"),
        ("date_trunc(c0, c1)", &[("text", "ms"), ("interval", "-1.23456 s")], "-00:00:01.234"),
        (
            "date_bin(c0, c1, c2)",
            &[("interval", "15 min"), ("timestamp", "2000-02-11 15:44:17"), ("timestamp", "2001-01-01")],
            "2000-02-11 15:30:00",
        ),
        (
            "date_bin(c0, c1, c2)",
            &[
                ("interval", "178 days"),
                ("timestamp", "2000-01-01"),
                ("timestamp", "294276-12-31 23:59:59.999999"),
            ],
            "1999-08-18 23:59:59.999999",
        ),
        (
            "date_bin(c0, c1, c2)",
            &[("interval", "1 mon"), ("timestamp", "2000-02-11"), ("timestamp", "2001-01-01")],
            "!0A000",
        ),
        (
            "date_bin(c0, c1, c2)",
            &[("interval", "-1 day"), ("timestamp", "2000-02-11"), ("timestamp", "2001-01-01")],
            "!22008",
        ),
    ]);
}

/// A time that is skipped or comes twice has the offset that Postgres takes.
#[test]
fn zones_are_those_of_the_database() {
    check(&[
        (
            "timezone(c0, c1)",
            &[("text", "Europe/Berlin"), ("timestamp", "2020-07-01 12:00")],
            "2020-07-01 10:00:00+00",
        ),
        (
            "timezone(c0, c1)",
            &[("text", "europe/berlin"), ("timestamptz", "2020-01-01 12:00")],
            "2020-01-01 13:00:00",
        ),
        (
            "timezone(c0, c1)",
            &[("text", "America/New_York"), ("timestamp", "2020-03-08 02:30")],
            "2020-03-08 07:30:00+00",
        ),
        (
            "timezone(c0, c1)",
            &[("text", "America/New_York"), ("timestamp", "2020-11-01 01:30")],
            "2020-11-01 06:30:00+00",
        ),
        ("timezone(c0, c1)", &[("text", "EST"), ("timestamp", "2020-07-01 12:00")], "2020-07-01 17:00:00+00"),
        (
            "timezone(c0, c1)",
            &[("text", "Asia/Kathmandu"), ("timestamptz", "1980-01-01 12:00")],
            "1980-01-01 17:30:00",
        ),
        (
            "timezone(c0, c1)",
            &[("text", "Australia/Lord_Howe"), ("timestamp", "2020-10-04 02:15")],
            "2020-10-03 15:45:00+00",
        ),
        (
            "timezone(c0, c1)",
            &[("text", "Pacific/Apia"), ("timestamp", "2011-12-30 12:00")],
            "2011-12-30 22:00:00+00",
        ),
        ("timezone(c0, c1)", &[("text", "Nowhere"), ("timestamp", "2020-01-01")], "!22023"),
        ("timezone(c0, c1)", &[("text", "Nowhere"), ("timestamp", "infinity")], "infinity"),
        (
            "timezone(c0, c1)",
            &[("text", "America/New_York"), ("timestamptz", "200000-07-01 12:00")],
            "200000-07-01 08:00:00",
        ),
        ("timezone(c0, c1)", &[("text", "Etc/GMT+5"), ("timetz", "10:00+02")], "03:00:00-05"),
        ("timezone(c0, c1)", &[("text", "EST"), ("timetz", "01:00+02")], "18:00:00-05"),
        (
            "timezone(c0, c1)",
            &[("interval", "01:30:00.5"), ("timestamp", "2020-01-01")],
            "2019-12-31 22:30:00+00",
        ),
        ("timezone(c0, c1)", &[("interval", "-01:30"), ("timetz", "23:00+02")], "19:30:00-01:30"),
        ("timezone(c0, c1)", &[("interval", "1 day"), ("timestamp", "2020-01-01")], "!22023"),
        (
            "c0 at time zone 'UTC' at time zone 'Asia/Tokyo'",
            &[("timestamp", "2020-01-01")],
            "2020-01-01 09:00:00",
        ),
    ]);
}

/// Limits and rounding of the functions that make dates of numbers.
#[test]
fn values_are_made_of_numbers_as_in_postgres() {
    check(&[
        ("make_date(c0, c1, c2)", &[("int4", "-44"), ("int4", "3"), ("int4", "15")], "0044-03-15 BC"),
        ("make_date(c0, c1, c2)", &[("int4", "0"), ("int4", "3"), ("int4", "15")], "!22008"),
        ("make_date(c0, c1, c2)", &[("int4", "2021"), ("int4", "2"), ("int4", "29")], "!22008"),
        ("make_time(c0, c1, c2)", &[("int4", "10"), ("int4", "20"), ("float8", "59.9999999")], "10:21:00"),
        ("make_time(c0, c1, c2)", &[("int4", "24"), ("int4", "0"), ("float8", "0")], "24:00:00"),
        ("make_time(c0, c1, c2)", &[("int4", "24"), ("int4", "0"), ("float8", "1")], "!22008"),
        ("make_timestamp(2020, 2, 29, 23, 59, c0)", &[("float8", "60")], "2020-03-01 00:00:00"),
        (
            "make_timestamptz(2020, 7, 1, 1, 2, 3.5, c0)",
            &[("text", "Europe/Berlin")],
            "2020-06-30 23:02:03.5+00",
        ),
        ("make_timestamptz(2020, 7, 1, 1, 2, 3.5, c0)", &[("text", "+05:30")], "2020-06-30 19:32:03.5+00"),
        ("make_timestamptz(2020, 7, 1, 1, 2, 3.5, c0)", &[("text", "5")], "!22023"),
        ("make_timestamptz(2020, 7, 1, 1, 2, 3.5, c0)", &[("text", "+16")], "!22023"),
        ("to_timestamp(c0)", &[("float8", "1.5")], "1970-01-01 00:00:01.5+00"),
        ("to_timestamp(c0)", &[("float8", "-1.0000005")], "1969-12-31 23:59:59+00"),
        ("to_timestamp(c0)", &[("float8", "-Infinity")], "-infinity"),
        ("to_timestamp(c0)", &[("float8", "NaN")], "!22008"),
        ("to_timestamp(c0)", &[("float8", "1e20")], "!22008"),
    ]);
}

/// The infinities have no time of day, and the ranges of dates and timestamps differ.
#[test]
fn casts_are_those_of_postgres() {
    check(&[
        ("c0::timestamp", &[("date", "2020-01-01")], "2020-01-01 00:00:00"),
        ("c0::timestamptz", &[("date", "infinity")], "infinity"),
        ("c0::timestamp", &[("date", "5874897-12-31")], "!22008"),
        ("c0::date", &[("timestamp", "1999-12-31 23:59:59")], "1999-12-31"),
        ("c0::date", &[("timestamptz", "-infinity")], "-infinity"),
        ("c0::time", &[("timestamp", "0044-03-15 01:02:03 BC")], "01:02:03"),
        ("c0::time", &[("timestamp", "infinity")], "null"),
        ("c0::timetz", &[("timestamptz", "2020-01-01 10:00:00.5")], "10:00:00.5+00"),
        ("c0::timestamptz", &[("timestamp", "2020-01-01 10:00")], "2020-01-01 10:00:00+00"),
        ("c0::interval", &[("time", "10:00")], "10:00:00"),
        ("c0::timetz", &[("time", "10:00")], "10:00:00+00"),
        ("c0::time", &[("timetz", "10:00+05")], "10:00:00"),
        ("c0::time", &[("interval", "1 day 25:00")], "01:00:00"),
        ("c0::time", &[("interval", "-1:00")], "23:00:00"),
        ("c0::timestamp(0)", &[("timestamptz", "2020-01-01 10:00:00.5")], "2020-01-01 10:00:01"),
    ]);
}

/// What depends on the clock or on the release of the server is refused, never guessed.
#[test]
fn what_servers_disagree_on_is_refused() {
    let cases: [Case<'_>; 9] = [
        ("c0 - c1", &[("timestamp", "infinity"), ("timestamp", "2020-01-01")], "!0A000"),
        ("c0 * c1", &[("interval", "1 day"), ("float8", "Infinity")], "!0A000"),
        ("extract(week from c0)", &[("interval", "8 days")], "!0A000"),
        ("extract(quarter from c0)", &[("interval", "-1 mons")], "!0A000"),
        ("make_interval(c0)", &[("int4", "2147483647")], "!0A000"),
        ("timezone(c0, c1)", &[("text", "Europe/Berlin"), ("timetz", "10:00+00")], "!0A000"),
        ("timezone(c0, c1)", &[("text", "FOO5"), ("timestamp", "2020-01-01")], "!0A000"),
        ("to_char(c0, c1)", &[("timestamp", "2020-01-01"), ("text", "RM")], "!0A000"),
        ("to_timestamp(c0, c1)", &[("text", "2020 UTC"), ("text", "YYYY TZ")], "!0A000"),
    ];
    check(&cases);
}
