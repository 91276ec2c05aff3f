//! Patterns that both Postgres 15 and 18 follow as written here, or refuse with the SQLSTATE behind the mark.

use super::check;

/// Padding, signs, ordinals and letters of every word.
#[test]
fn patterns_write_as_in_postgres() {
    check(&[
        (
            "to_char(c0, c1)",
            &[
                ("timestamp", "2020-01-05 23:04:05.067089"),
                (
                    "text",
                    "YYYY-YYY-YY-Y|Y,YYY|IYYY IYY IY I|BC ad A.D.|MONTH|Month|mon|MM|DAY|dy|DDD|IDDD|DD|D|ID|W|WW|IW|CC|J|Q",
                ),
            ],
            "2020-020-20-0|2,020|2020 020 20 0|AD ad A.D.|JANUARY  |January  |jan|01|SUNDAY   |sun|005|007|05|1|7|1|01|01|21|2458854|1",
        ),
        (
            "to_char(c0, c1)",
            &[
                ("timestamp", "2020-01-05 23:04:05.067089"),
                ("text", "HH HH12 HH24 MI SS MS US FF1 FF3 SSSS AM a.m. OF TZ"),
            ],
            "11 11 23 04 05 067 067089 0 067 83045 PM p.m. +00 ",
        ),
        (
            "to_char(c0, c1)",
            &[
                ("timestamptz", "2020-01-05 03:04:05"),
                ("text", "FMHH FMMI FMMS FMDDD FMMonth FMDay FMYYY FMOF TZ tz"),
            ],
            "3 4 000 5 January Sunday 20 +0 UTC utc",
        ),
        (
            "to_char(c0, c1)",
            &[("timestamp", "2020-01-22 03:04:05"), ("text", "DDth DDTH FMMMth YYYYth CCth MSth Monthth")],
            "22nd 22ND 1st 2020th 21st 000th January  ",
        ),
        (
            "to_char(c0, c1)",
            &[("timestamp", "0044-03-15 12:00 BC"), ("text", "YYYY YY BC CC IYYY IDDD J")],
            "0044 44 BC -01 0044 075 1705428",
        ),
        (
            "to_char(c0, c1)",
            &[("timestamp", "12345-03-15"), ("text", "YYYY YY Y,YYY \"YYYY\" \\\"YY Yyyy hELLO")],
            "12345 45 12,345 YYYY \"45 5345 hELLO",
        ),
        (
            "to_char(c0, c1)",
            &[
                ("interval", "-1 year -2 mons 3 days -40:05:06.789"),
                ("text", "YYYY YY MM DD HH HH24 MI SS MS SSSS AM DDD Q"),
            ],
            "-0001 -01 -02 03 -04 -40 -05 -06 -789 -144306 AM -417 0",
        ),
        ("to_char(c0, c1)", &[("interval", "1 day"), ("text", "Mon")], "!22007"),
        ("to_char(c0, c1)", &[("timestamp", "infinity"), ("text", "YYYY")], "null"),
        ("to_char(c0, c1)", &[("timestamp", "2020-01-01"), ("text", "")], "null"),
    ]);
}

/// Spaces, separators and too few digits are read by rules that no manual spells out.
#[test]
fn patterns_read_as_in_postgres() {
    check(&[
        (
            "to_timestamp(c0, c1)",
            &[("text", "2020-01-31 10:20:30"), ("text", "YYYY-MM-DD HH24:MI:SS")],
            "2020-01-31 10:20:30+00",
        ),
        (
            "to_timestamp(c0, c1)",
            &[("text", "05 Dec 2000"), ("text", "DD Mon YYYY")],
            "2000-12-05 00:00:00+00",
        ),
        ("to_timestamp(c0, c1)", &[("text", "20200131"), ("text", "YYYYMMDD")], "2020-01-31 00:00:00+00"),
        ("to_timestamp(c0, c1)", &[("text", "2020131"), ("text", "YYYYMMDD")], "!22008"),
        (
            "to_timestamp(c0, c1)",
            &[("text", "12:30 am"), ("text", "HH12:MI AM")],
            "0001-01-01 00:30:00+00 BC",
        ),
        ("to_timestamp(c0, c1)", &[("text", "13:30 am"), ("text", "HH12:MI AM")], "!22007"),
        ("to_timestamp(c0, c1)", &[("text", "2020-366"), ("text", "YYYY-DDD")], "2020-12-31 00:00:00+00"),
        ("to_timestamp(c0, c1)", &[("text", "2021-366"), ("text", "YYYY-DDD")], "!22008"),
        ("to_timestamp(c0, c1)", &[("text", "2020-53-5"), ("text", "IYYY-IW-ID")], "2021-01-01 00:00:00+00"),
        ("to_timestamp(c0, c1)", &[("text", "2020-10 3"), ("text", "IYYY-IW DD")], "!22007"),
        ("to_timestamp(c0, c1)", &[("text", "20 5"), ("text", "CC YY")], "1905-01-01 00:00:00+00"),
        ("to_timestamp(c0, c1)", &[("text", "44 BC"), ("text", "YYYY BC")], "0044-01-01 00:00:00+00 BC"),
        ("to_timestamp(c0, c1)", &[("text", "12.5"), ("text", "SS.MS")], "0001-01-01 00:00:12.5+00 BC"),
        (
            "to_timestamp(c0, c1)",
            &[("text", "1:23456"), ("text", "SS:US")],
            "0001-01-01 00:00:01.23456+00 BC",
        ),
        ("to_timestamp(c0, c1)", &[("text", "123.9"), ("text", "FF2")], "0001-01-01 00:00:00.12+00 BC"),
        ("to_timestamp(c0, c1)", &[("text", "2451187"), ("text", "J")], "1999-01-08 00:00:00+00"),
        ("to_timestamp(c0, c1)", &[("text", "2020-02-30"), ("text", "YYYY-MM-DD")], "!22008"),
        ("to_timestamp(c0, c1)", &[("text", "31-9"), ("text", "DD/MM/YYY")], "0001-10-01 00:00:00+00 BC"),
        ("to_timestamp(c0, c1)", &[("text", "x"), ("text", "YYYY")], "!22007"),
        ("to_timestamp(c0, c1)", &[("text", "2020   1"), ("text", "YYYY MM")], "2020-01-01 00:00:00+00"),
        ("to_timestamp(c0, c1)", &[("text", "2020/1"), ("text", "FXYYYY MM")], "2020-01-01 00:00:00+00"),
        ("to_timestamp(c0, c1)", &[("text", "05th 6"), ("text", "DDth MM")], "0001-06-05 00:00:00+00 BC"),
        ("to_timestamp(c0, c1)", &[("text", "3600 5"), ("text", "SSSS SS")], "0001-01-01 01:00:05+00 BC"),
        ("to_timestamp(c0, c1)", &[("text", "Sunday xyz"), ("text", "Day Mon")], "!22007"),
        ("to_timestamp(c0, c1)", &[("text", "25"), ("text", "HH24")], "!22008"),
        ("to_timestamp(c0, c1)", &[("text", "69"), ("text", "YY")], "2069-01-01 00:00:00+00"),
        ("to_timestamp(c0, c1)", &[("text", "70"), ("text", "YY")], "1970-01-01 00:00:00+00"),
        ("to_timestamp(c0, c1)", &[("text", "1 1 2"), ("text", "Q W MM")], "0001-02-01 00:00:00+00 BC"),
        ("to_timestamp(c0, c1)", &[("text", "2020 2021"), ("text", "YYYY YYYY")], "!22007"),
        ("to_timestamp(c0, c1)", &[("text", "99999999999"), ("text", "J")], "!22008"),
        ("to_timestamp(c0, c1)", &[("text", "2020é05"), ("text", "YYYY\"x\"MM")], "2020-05-01 00:00:00+00"),
        ("to_date(c0, c1)", &[("text", "31 December 1999 xyz"), ("text", "DD MONTH YYYY")], "1999-12-31"),
        ("to_date(c0, c1)", &[("text", ""), ("text", "YYYY")], "0001-01-01 BC"),
    ]);
}
