//! The words of dates, times and intervals.

/// What a word means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    Infinity,
    NegativeInfinity,
    Epoch,
    /// Midnight in UTC, by a name of its own.
    AllBalls,
    /// Depends on the clock.
    Now,
    Month(i64),
    Weekday,
    Am,
    Pm,
    Ad,
    Bc,
    /// Says nothing.
    Filler,
    /// Daylight saving time of the zone in front of it.
    Dst,
    /// Announces a Julian day.
    Julian,
    /// The `T` between date and time.
    T,
    /// Labels the number behind it, which only old servers take.
    Label,
}

/// The meaning of a word within a date or a time, in lower case.
pub(crate) fn word(text: &str) -> Option<Word> {
    Some(match text {
        "infinity" => Word::Infinity,
        "-infinity" => Word::NegativeInfinity,
        "epoch" => Word::Epoch,
        "allballs" => Word::AllBalls,
        "now" | "today" | "tomorrow" | "yesterday" => Word::Now,
        "sun" | "sunday" | "mon" | "monday" | "tue" | "tues" | "tuesday" | "wed" | "weds" | "wednesday"
        | "thu" | "thur" | "thurs" | "thursday" | "fri" | "friday" | "sat" | "saturday" => Word::Weekday,
        "am" => Word::Am,
        "pm" => Word::Pm,
        "ad" => Word::Ad,
        "bc" => Word::Bc,
        "at" | "on" => Word::Filler,
        "dst" => Word::Dst,
        "j" | "jd" | "julian" => Word::Julian,
        "t" => Word::T,
        "d" | "h" | "m" | "mm" | "s" | "y" | "dow" | "doy" | "isodow" | "isoyear" => Word::Label,
        _ => Word::Month(month(text)?),
    })
}

fn month(text: &str) -> Option<i64> {
    let place = MONTHS.iter().position(|name| *name == text || &name[..3] == text);
    match place {
        Some(place) => Some(place as i64 + 1),
        None if text == "sept" => Some(9),
        None => None,
    }
}

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// A unit of time, of intervals as of the fields of a timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Microseconds,
    Milliseconds,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
    Decade,
    Century,
    Millennium,
    Timezone,
    TimezoneHour,
    TimezoneMinute,
    Dow,
    Doy,
    IsoDow,
    IsoYear,
    Julian,
    Epoch,
}

/// A word of an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SpanWord {
    Unit(Unit),
    Ago,
    Filler,
}

/// The meaning of a word within an interval, in lower case. Only its first ten letters count.
pub(crate) fn span_word(text: &str) -> Option<SpanWord> {
    let unit = match text.get(..10).unwrap_or(text) {
        "@" => return Some(SpanWord::Filler),
        "ago" => return Some(SpanWord::Ago),
        "microsecon" | "us" | "usec" | "usecond" | "useconds" | "usecs" => Unit::Microseconds,
        "millisecon" | "ms" | "msec" | "msecond" | "mseconds" | "msecs" => Unit::Milliseconds,
        "s" | "sec" | "second" | "seconds" | "secs" => Unit::Second,
        "m" | "min" | "mins" | "minute" | "minutes" => Unit::Minute,
        "h" | "hour" | "hours" | "hr" | "hrs" => Unit::Hour,
        "d" | "day" | "days" => Unit::Day,
        "w" | "week" | "weeks" => Unit::Week,
        "mon" | "mons" | "month" | "months" => Unit::Month,
        "qtr" | "quarter" => Unit::Quarter,
        "y" | "year" | "years" | "yr" | "yrs" => Unit::Year,
        "dec" | "decade" | "decades" | "decs" => Unit::Decade,
        "c" | "cent" | "centuries" | "century" => Unit::Century,
        "mil" | "millennia" | "millennium" | "mils" => Unit::Millennium,
        "timezone" => Unit::Timezone,
        "timezone_h" => Unit::TimezoneHour,
        "timezone_m" => Unit::TimezoneMinute,
        _ => return None,
    };
    Some(SpanWord::Unit(unit))
}

/// The field that `extract` and `date_trunc` are asked for, in lower case.
pub(crate) fn unit(text: &str) -> Option<Unit> {
    match span_word(text) {
        Some(SpanWord::Unit(unit)) => return Some(unit),
        Some(_) => return None,
        None => {}
    }
    Some(match text {
        "dow" => Unit::Dow,
        "doy" => Unit::Doy,
        "isodow" => Unit::IsoDow,
        "isoyear" => Unit::IsoYear,
        "j" | "jd" | "julian" => Unit::Julian,
        "epoch" => Unit::Epoch,
        "mm" => Unit::Minute,
        _ => return None,
    })
}
