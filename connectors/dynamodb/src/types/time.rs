//! Dates and timestamps: from the ISO style of Postgres to texts of ISO-8601 that sort, and to seconds.

use understudy_model::CivilDate;

use super::NotFit;

/// Which of the types a text is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    TimestampTz,
    Timestamp,
    Date,
}

const SECONDS_PER_DAY: i64 = 86_400;

/// The text that is stored: UTC with `Z` for what has a zone, always six digits of a second, four of a year.
pub(super) fn iso(kind: Kind, text: &str) -> Result<String, NotFit> {
    let Moment { seconds, micros } = moment(kind, text)?;
    let CivilDate { year, month, day } = CivilDate::from_unix_days(seconds.div_euclid(SECONDS_PER_DAY));
    if !(1..=9999).contains(&year) {
        return Err(NotFit::new(
            "a time before the year 1 or after 9999 does not sort as text: `form: text` keeps it",
        ));
    }
    let date = format!("{year:04}-{month:02}-{day:02}");
    if kind == Kind::Date {
        return Ok(date);
    }
    let seconds = seconds.rem_euclid(SECONDS_PER_DAY);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let zone = if kind == Kind::TimestampTz { "Z" } else { "" };
    Ok(format!("{date}T{hour:02}:{minute:02}:{second:02}.{micros:06}{zone}"))
}

/// Whole seconds since 1970 in UTC, as TTL counts them; a fraction is cut off.
pub(super) fn epoch_seconds(kind: Kind, text: &str) -> Result<i64, NotFit> {
    Ok(moment(kind, text)?.seconds)
}

/// A text of [`iso`] as Postgres writes the same moment in UTC.
pub(super) fn as_postgres(kind: Kind, iso: &str) -> String {
    let (text, zone) = match iso.strip_suffix('Z') {
        Some(text) => (text, "+00"),
        None => (iso, ""),
    };
    // There always is a point, so no zero of a whole second is taken.
    let text = if kind == Kind::Date { text } else { text.trim_end_matches('0').trim_end_matches('.') };
    format!("{}{zone}", text.replacen('T', " ", 1))
}

/// A point in time.
struct Moment {
    /// Whole seconds since 1970 in UTC.
    seconds: i64,
    /// Microseconds after those, less than a million.
    micros: i64,
}

fn moment(kind: Kind, text: &str) -> Result<Moment, NotFit> {
    if text.ends_with("infinity") {
        return Err(NotFit::new("infinity has no place among times: `form: text` keeps it"));
    }
    let mut reader = Reader { rest: text };
    let moment = reader.moment(kind);
    moment.filter(|_| reader.rest.is_empty()).ok_or_else(|| NotFit::new("not a date or time in ISO style"))
}

struct Reader<'t> {
    rest: &'t str,
}

impl<'t> Reader<'t> {
    fn moment(&mut self, kind: Kind) -> Option<Moment> {
        let year = self.digits(4, 7)?;
        self.expect("-")?;
        let month = self.between(1, 12)?;
        self.expect("-")?;
        let day = self.between(1, 31)?;
        let (of_day, micros) = if kind == Kind::Date { (0, 0) } else { self.time_of_day()? };
        let zone = if kind == Kind::TimestampTz { self.zone()? } else { 0 };
        let year = match self.rest.strip_suffix(" BC") {
            Some(rest) => {
                self.rest = rest;
                1 - year
            }
            None => year,
        };
        let date = CivilDate { year, month, day };
        let seconds = date.unix_days() * SECONDS_PER_DAY + of_day - zone;
        date.exists().then_some(Moment { seconds, micros })
    }

    /// Seconds since midnight, and microseconds after those.
    fn time_of_day(&mut self) -> Option<(i64, i64)> {
        self.expect(" ").or_else(|| self.expect("T"))?;
        let hour = self.between(0, 23)?;
        self.expect(":")?;
        let minute = self.between(0, 59)?;
        self.expect(":")?;
        let second = self.between(0, 59)?;
        let mut fraction = 0;
        if self.expect(".").is_some() {
            let digits = self.span();
            fraction =
                format!("{digits:0<6}").parse::<i64>().ok().filter(|_| (1..=6).contains(&digits.len()))?;
        }
        Some(((hour * 60 + minute) * 60 + second, fraction))
    }

    /// Seconds east of Greenwich.
    fn zone(&mut self) -> Option<i64> {
        if self.expect("Z").is_some() {
            return Some(0);
        }
        let sign = if self.expect("+").is_some() { 1 } else { self.expect("-").map(|()| -1)? };
        let mut seconds = self.between(0, 15)? * 3600;
        for unit in [60, 1] {
            if self.expect(":").is_none() {
                break;
            }
            seconds += self.between(0, 59)? * unit;
        }
        Some(sign * seconds)
    }

    fn expect(&mut self, wanted: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(wanted)?;
        Some(())
    }

    /// The digits that come next.
    fn span(&mut self) -> &'t str {
        let end = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        digits
    }

    fn digits(&mut self, least: usize, most: usize) -> Option<i64> {
        let digits = self.span();
        (least..=most).contains(&digits.len()).then(|| digits.parse().ok()).flatten()
    }

    /// Two digits within bounds.
    fn between(&mut self, least: i64, most: i64) -> Option<i64> {
        self.digits(2, 2).filter(|number| (least..=most).contains(number))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Texts sort as the moments do, and one moment has one text.
    #[test]
    fn moments_are_written_in_one_way() {
        use Kind::{Date, Timestamp, TimestampTz};
        for (kind, text, expected) in [
            (TimestampTz, "2024-02-29 23:59:59.5+00", "2024-02-29T23:59:59.500000Z"),
            (TimestampTz, "2024-03-01 05:29:59.123456+05:30", "2024-02-29T23:59:59.123456Z"),
            (TimestampTz, "1883-11-18 12:03:57-04:56:02", "1883-11-18T16:59:59.000000Z"),
            (TimestampTz, "0001-01-01 00:00:00+00", "0001-01-01T00:00:00.000000Z"),
            (TimestampTz, "9999-12-31 23:59:59.999999+00", "9999-12-31T23:59:59.999999Z"),
            (Timestamp, "1999-12-31 23:59:59.000001", "1999-12-31T23:59:59.000001"),
            (Date, "2000-02-29", "2000-02-29"),
        ] {
            let written = iso(kind, text);
            assert_eq!(written.as_deref(), Ok(expected), "{text}");
            assert_eq!(iso(kind, expected).as_deref(), Ok(expected), "what was written is read again");
        }
    }

    /// What would sort wrongly, or means no moment, is refused rather than stored.
    #[test]
    fn what_has_no_text_that_sorts_is_refused() {
        use Kind::{Date, Timestamp, TimestampTz};
        for (kind, text) in [
            (TimestampTz, "infinity"),
            (Date, "-infinity"),
            (Date, "0044-03-15 BC"),
            (Timestamp, "10000-01-01 00:00:00"),
            (TimestampTz, "9999-12-31 23:00:00-02"),
            (TimestampTz, "0001-01-01 00:00:00+02"),
            (TimestampTz, "2024-01-01 00:00:00"),
            (Timestamp, "2024-01-01 00:00:00+00"),
            (Timestamp, "2023-02-29 00:00:00"),
            (Timestamp, "2024-01-01 00:00:00.1234567"),
            (Timestamp, "2024-01-01 24:00:00"),
            (Timestamp, "2024-01-01"),
            (Date, "24-01-01"),
            (Date, "2024-1-01"),
            (Date, ""),
        ] {
            assert!(iso(kind, text).is_err(), "{text}");
        }
    }

    /// TTL counts seconds, and an item must not vanish before its time: a fraction is cut off on both sides of 1970.
    #[test]
    fn seconds_are_those_of_unix() {
        for (kind, text, expected) in [
            (Kind::TimestampTz, "1970-01-01 00:00:00+00", 0),
            (Kind::TimestampTz, "1969-12-31 23:59:59.5+00", -1),
            (Kind::Timestamp, "2001-09-09 01:46:40.999", 1_000_000_000),
            (Kind::Date, "2024-01-01", 1_704_067_200),
            (Kind::Date, "0001-12-31 BC", -62_135_683_200),
        ] {
            assert_eq!(epoch_seconds(kind, text), Ok(expected), "{text}");
        }
        assert!(epoch_seconds(Kind::Timestamp, "infinity").is_err());
    }

    proptest! {
        /// Blue is asked by the very text that it would write.
        #[test]
        fn the_way_back_is_what_postgres_writes(days in -719_162_i64..2_932_896, seconds in 0..SECONDS_PER_DAY, micros in 0_i64..1_000_000) {
            let CivilDate { year, month, day } = CivilDate::from_unix_days(days);
            let fraction = format!("{micros:06}");
            let fraction = fraction.trim_end_matches('0');
            let point = if fraction.is_empty() { "" } else { "." };
            let clock = format!("{:02}:{:02}:{:02}{point}{fraction}", seconds / 3600, seconds / 60 % 60, seconds % 60);
            let date = format!("{year:04}-{month:02}-{day:02}");
            for (kind, text) in [
                (Kind::TimestampTz, format!("{date} {clock}+00")),
                (Kind::Timestamp, format!("{date} {clock}")),
                (Kind::Date, date.clone()),
            ] {
                let stored = iso(kind, &text).unwrap();
                prop_assert_eq!(as_postgres(kind, &stored), text);
            }
        }
    }
}
