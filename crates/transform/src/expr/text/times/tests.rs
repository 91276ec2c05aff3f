//! Texts that both Postgres 15 and 18 read as written here, or refuse with the SQLSTATE behind the mark.

use super::*;

/// What a value of this type written so is shown as.
fn shown(ty: &SqlType, modifier: Modifier, text: &str) -> String {
    let value = time_in(ty, text).and_then(|value| fit_time(value, ty, modifier));
    value.map_or_else(|error| format!("!{}", error.state()), |value| time_out(&value, ty))
}

fn check(ty: &SqlType, table: &[(&str, &str)]) {
    for (text, expected) in table {
        assert_eq!(shown(ty, Modifier::NONE, text), *expected, "{ty} {text:?}");
    }
}

/// A form that is read differently would be another date on green.
#[test]
fn dates_are_read_in_every_form() {
    let table = [
        ("1999-01-08", "1999-01-08"),
        ("January 8, 1999", "1999-01-08"),
        ("1/8/1999", "1999-01-08"),
        ("1/18/1999", "1999-01-18"),
        ("01/02/03", "2003-01-02"),
        ("1999-Jan-08", "1999-01-08"),
        ("Jan-08-1999", "1999-01-08"),
        ("08-Jan-1999", "1999-01-08"),
        ("99-Jan-08", "!22008"),
        ("08-Jan-99", "1999-01-08"),
        ("Jan-08-99", "1999-01-08"),
        ("19990108", "1999-01-08"),
        ("990108", "1999-01-08"),
        ("1999.008", "1999-01-08"),
        ("J2451187", "1999-01-08"),
        ("January 8, 99 BC", "0099-01-08 BC"),
        ("0044-03-15 BC", "0044-03-15 BC"),
        ("2020-02-30", "!22008"),
        ("2020-13-01", "!22008"),
        ("5874897-12-31", "5874897-12-31"),
        ("5874898-01-01", "!22008"),
        ("4714-11-24 BC", "4714-11-24 BC"),
        ("4714-11-23 BC", "!22008"),
        ("infinity", "infinity"),
        ("-infinity", "-infinity"),
        ("epoch", "1970-01-01"),
        ("10000-01-01", "10000-01-01"),
        ("0000-01-01", "!22008"),
        ("2020-1", "!22007"),
        ("Thu Jan 02 2020", "2020-01-02"),
        ("2020-01-01 25:00", "!22008"),
        ("1/2/69", "2069-01-02"),
        ("1/2/70", "1970-01-02"),
        ("6.december.on1338", "!22007"),
        ("", "!22007"),
    ];
    check(&SqlType::Date, &table);
}

/// Limits of the clock, and what may stand around it.
#[test]
fn times_are_read_in_every_form() {
    let table = [
        ("04:05:06.789", "04:05:06.789"),
        ("04:05", "04:05:00"),
        ("040506", "04:05:06"),
        ("04:05 AM", "04:05:00"),
        ("04:05 PM", "16:05:00"),
        ("12:00 AM", "00:00:00"),
        ("24:00:00", "24:00:00"),
        ("24:00:01", "!22008"),
        ("23:59:60", "24:00:00"),
        ("23:59:59.9999999", "24:00:00"),
        ("10:20:30.5 +05", "10:20:30.5"),
        ("2003-04-12 04:05:06 America/New_York", "04:05:06"),
        ("04:05:06 America/New_York", "!22007"),
        ("04:05.5", "00:04:05.5"),
        ("10", "!22007"),
        ("T10:20", "10:20:00"),
    ];
    check(&SqlType::Time, &table);
}

/// A zone without a date has an offset only where it never changed.
#[test]
fn zoned_times_are_read_in_every_form() {
    let table = [
        ("04:05:06.789-8", "04:05:06.789-08"),
        ("04:05:06+05:30", "04:05:06+05:30"),
        ("040506-08", "04:05:06-08"),
        ("04:05:06 PST", "04:05:06-08"),
        ("04:05:06.5 UTC", "04:05:06.5+00"),
        ("10:00+15:59:59", "10:00:00+15:59:59"),
        ("10:00+16", "!22009"),
        ("2003-04-12 04:05:06 America/New_York", "04:05:06-04"),
        ("10:00 Foo/Bar", "!22023"),
        ("allballs", "00:00:00+00"),
        ("10:00 CET DST", "10:00:00+02"),
    ];
    check(&SqlType::TimeTz, &table);
}

/// A zone is checked, and then means nothing.
#[test]
fn timestamps_are_read_in_every_form() {
    let table = [
        ("1999-01-08 04:05:06", "1999-01-08 04:05:06"),
        ("1999-01-08 04:05:06 -8:00", "1999-01-08 04:05:06"),
        ("19990108T040506", "1999-01-08 04:05:06"),
        ("1999-01-08T04:05:06.123456789", "1999-01-08 04:05:06.123457"),
        ("January 8 04:05:06 1999 PST", "1999-01-08 04:05:06"),
        ("0044-03-15 10:00:00.5 BC", "0044-03-15 10:00:00.5 BC"),
        ("294276-12-31 23:59:59.999999", "294276-12-31 23:59:59.999999"),
        ("294277-01-01", "!22008"),
        ("4714-11-24 00:00:00 BC", "4714-11-24 00:00:00 BC"),
        ("12345-01-01 00:00", "12345-01-01 00:00:00"),
        ("-infinity", "-infinity"),
        ("20200101 256161", "2020-01-02 02:02:01"),
        ("2020-01-01 24:00", "2020-01-02 00:00:00"),
        ("2020-01-01 23:59:60", "2020-01-02 00:00:00"),
        ("2020-01-01 13:00 PM", "!22008"),
        ("J2451187.5", "1999-01-08 12:00:00"),
        ("1999-008 10:00", "1999-01-08 10:00:00"),
        ("Sat 8 Jan 2000 12:13:14", "2000-01-08 12:13:14"),
    ];
    check(&SqlType::Timestamp, &table);
}

/// Zones by offset, abbreviation and name, in summer and winter and past the range of the database.
#[test]
fn zoned_timestamps_are_read_in_every_form() {
    let table = [
        ("1999-01-08 04:05:06+00", "1999-01-08 04:05:06+00"),
        ("1999-01-08 04:05:06 -8:00", "1999-01-08 12:05:06+00"),
        ("1999-01-08 04:05:06Z", "1999-01-08 04:05:06+00"),
        ("2020-07-01 12:00 Europe/Berlin", "2020-07-01 10:00:00+00"),
        ("2020-01-01 12:00 europe/berlin", "2020-01-01 11:00:00+00"),
        ("2020-03-08 02:30 America/New_York", "2020-03-08 07:30:00+00"),
        ("2020-11-01 01:30 America/New_York", "2020-11-01 06:30:00+00"),
        ("2020-01-01 12:00 EST", "2020-01-01 17:00:00+00"),
        ("2020-07-01 12:00 CEST", "2020-07-01 10:00:00+00"),
        ("2020-01-01 10:00 +16", "!22009"),
        ("2020-01-01 10:00 Foo/Bar", "!22023"),
        ("2020-01-01 10:00 foo", "!22007"),
        ("2020-01-01 10:00+05:30:15", "2020-01-01 04:29:45+00"),
        ("90000-07-01 12:00 America/New_York", "90000-07-01 16:00:00+00"),
        ("4714-11-24 00:00 BC +01", "!22008"),
        ("1900-01-01 00:00 Europe/Paris", "1899-12-31 23:50:39+00"),
    ];
    check(&SqlType::TimestampTz, &table);
}

/// Units behind numbers, the short form of SQL, and ISO 8601, with the ranges of each field.
#[test]
fn intervals_are_read_in_every_form() {
    let table = [
        ("1-2", "1 year 2 mons"),
        ("3 4:05:06", "3 days 04:05:06"),
        ("1 year 2 months 3 days 4 hours 5 minutes 6 seconds", "1 year 2 mons 3 days 04:05:06"),
        ("P1Y2M3DT4H5M6S", "1 year 2 mons 3 days 04:05:06"),
        ("P0001-02-03T04:05:06", "1 year 2 mons 3 days 04:05:06"),
        ("1 year 2 mons -3 days 04:05:06.7", "1 year 2 mons -3 days +04:05:06.7"),
        ("-1 year -2 mons +3 days -04:05:06", "-1 years -2 mons +3 days -04:05:06"),
        ("@ 1 minute ago", "-00:01:00"),
        ("1.5 weeks", "10 days 12:00:00"),
        ("0.1 months", "3 days"),
        ("1.7 years", "1 year 8 mons"),
        ("-0.5 day", "-12:00:00"),
        ("1 century 2 decades", "120 years"),
        ("100 milliseconds 5 us", "00:00:00.100005"),
        ("2147483647 years", "!22008"),
        ("2147483648 days", "!22015"),
        ("1-13", "!22015"),
        ("P1.5D", "1 day 12:00:00"),
        ("PT36H", "36:00:00"),
        ("P20200131T101530", "2020 years 1 mon 31 days 10:15:30"),
        ("1 day 2 day", "!22007"),
        ("fortnight", "!22007"),
        ("1", "00:00:01"),
        ("", "!22007"),
        ("04:05", "04:05:00"),
        ("4:5.5", "00:04:05.5"),
        ("-1:2:3", "-01:02:03"),
        ("178956970 years 7 mons", "178956970 years 7 mons"),
        ("2562047788:00:54.775807", "2562047788:00:54.775807"),
        ("1 mon -1 day 00:00:00.000001", "1 mon -1 days +00:00:00.000001"),
        ("P-1Y", "-1 years"),
        ("1e3 s", "!22007"),
        ("1 ago", "!22007"),
        ("-3 days", "-3 days"),
    ];
    check(&SqlType::Interval, &table);
}

/// Half goes away from zero, which is midnight of 2000-01-01 for timestamps.
#[test]
fn precision_is_rounded_as_in_postgres() {
    let table = [
        (SqlType::Timestamp, 0, "1999-12-31 23:59:59.5", "1999-12-31 23:59:59"),
        (SqlType::Timestamp, 0, "2000-01-01 00:00:00.5", "2000-01-01 00:00:01"),
        (SqlType::Timestamp, 3, "1969-01-01 00:00:00.0005", "1969-01-01 00:00:00"),
        (SqlType::Timestamp, 2, "-infinity", "-infinity"),
        (SqlType::Timestamp, 0, "294276-12-31 23:59:59.999999", "294277-01-01 00:00:00"),
        (SqlType::Time, 0, "23:59:59.5", "24:00:00"),
        (SqlType::TimeTz, 1, "10:00:00.05+02", "10:00:00.1+02"),
        (SqlType::TimestampTz, 5, "2020-01-01 00:00:00.000005+00", "2020-01-01 00:00:00.00001+00"),
        (SqlType::Interval, 0, "-1.5 s", "-00:00:02"),
        (SqlType::Interval, 1, "1 day 0.25 s", "1 day 00:00:00.3"),
        (SqlType::Interval, 6, "0.000001 s", "00:00:00.000001"),
    ];
    for (ty, digits, text, expected) in table {
        assert_eq!(shown(&ty, Modifier(digits), text), expected, "{ty}({digits}) {text}");
    }
}

/// What depends on the clock, on the release of the server or on its packages is refused, never guessed.
#[test]
fn what_servers_disagree_on_is_refused() {
    let table = [
        (SqlType::Date, "today"),
        (SqlType::Timestamp, "now"),
        (SqlType::Timestamp, "y2020 m1 d2"),
        (SqlType::Date, "+infinity"),
        (SqlType::Timestamp, "infinity 10:00"),
        (SqlType::Interval, "infinity"),
        (SqlType::Interval, "1 day ago 2 h"),
        (SqlType::Interval, "5 mm"),
        (SqlType::TimestampTz, "2020-01-01 10:00 MSK"),
        (SqlType::TimestampTz, "2020-01-01 10:00 UTC+3"),
        (SqlType::TimestampTz, "1950-01-01 10:00 Europe/Amsterdam"),
        (SqlType::TimestampTz, "2030-01-01 10:00 Africa/Casablanca"),
    ];
    for (ty, text) in table {
        assert_eq!(shown(&ty, Modifier::NONE, text), "!0A000", "{ty} {text}");
    }
}

/// The short way may not read anything differently.
#[test]
fn the_short_way_agrees_with_the_general_one() {
    for text in ["2020-02-29", "0001-01-01", "9999-12-31"] {
        let general = date_in(text).unwrap();
        assert_eq!(quick::read(&SqlType::Date, text), Some(general.unwrap()), "{text}");
    }
    for text in ["2020-02-29 01:02:03", "1969-12-31 23:59:59.000001", "2020-01-01 00:00:00.5"] {
        let general = timestamp_in(text, true).unwrap();
        assert_eq!(quick::read(&SqlType::TimestampTz, text), Some(general.unwrap()), "{text}");
    }
    let others =
        ["2020-02-30 01:02:03", "2020-02-29 24:00:00", "2020-02-29 01:02:03.1234567", "0000-01-01 00:00:00"];
    assert_eq!(others.map(|text| quick::read(&SqlType::Timestamp, text)), [None, None, None, None]);
}

/// A type of some fields cuts off what is below the last of them and keeps what is above the first.
#[test]
fn the_fields_of_an_interval_type_are_kept() {
    let table = [
        (327_679, "-1 years"),
        (196_607, "-1 years -2 mons"),
        (458_751, "-1 years -2 mons"),
        (589_823, "-1 years -2 mons +3 days"),
        (67_174_399, "-1 years -2 mons +3 days -04:00:00"),
        (134_283_263, "-1 years -2 mons +3 days -04:05:00"),
        (268_435_458, "-1 years -2 mons +3 days -04:05:06.79"),
        (67_698_687, "-1 years -2 mons +3 days -04:00:00"),
        (470_286_337, "-1 years -2 mons +3 days -04:05:06.8"),
        (402_718_719, "-1 years -2 mons +3 days -04:05:06.789"),
        (2_147_418_113, "-1 years -2 mons +3 days -04:05:06.8"),
    ];
    for (modifier, expected) in table {
        let text = "-1 year -2 mons 3 days -04:05:06.789";
        assert_eq!(shown(&SqlType::Interval, Modifier(modifier), text), expected, "{modifier}");
    }
}
