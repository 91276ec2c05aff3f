//! Times at which nothing is flipped: fixed ones, and hours of the week in a time zone.

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

/// A time at which nothing is flipped.
#[derive(Debug, Clone, PartialEq)]
pub struct Freeze {
    /// When.
    pub window: Window,
    /// Why.
    pub reason: String,
}

/// When nothing is flipped.
#[derive(Debug, Clone, PartialEq)]
pub enum Window {
    /// Once, from a moment up to another.
    Fixed {
        /// Its first moment.
        from: Timestamp,
        /// The first moment after it.
        to: Timestamp,
    },
    /// Every week.
    Weekly(Weekly),
}

/// Hours of every week, by the clocks of a place.
#[derive(Debug, Clone, PartialEq)]
pub struct Weekly {
    from: (Weekday, Time),
    to: (Weekday, Time),
    zone: TimeZone,
}

impl Weekly {
    /// Reads `Fri 16:00-Mon 08:00` by the clocks of a zone such as `Europe/Berlin`; or says what is wrong.
    pub fn parse(text: &str, zone: &str) -> Result<Weekly, String> {
        let zone = TimeZone::get(zone).map_err(|_| format!("`{zone}` is not a time zone"))?;
        let ends = text.split_once('-').ok_or_else(|| format!("`{text}` has no `-` between its ends"))?;
        let (from, to) = (moment(ends.0)?, moment(ends.1)?);
        if from == to {
            return Err(format!("`{text}` ends when it begins"));
        }
        Ok(Weekly { from, to, zone })
    }

    /// The end of the window that this moment lies in; `None` when it lies in none.
    fn until(&self, at: Timestamp) -> Option<Timestamp> {
        let local = at.to_zoned(self.zone.clone());
        let now = (local.weekday(), local.time());
        let (from, to, at_minute) = (minute(self.from), minute(self.to), minute(now));
        let inside =
            if from < to { (from..to).contains(&at_minute) } else { at_minute >= from || at_minute < to };
        if !inside {
            return None;
        }
        let days = (self.to.0.to_monday_zero_offset() - now.0.to_monday_zero_offset()).rem_euclid(7);
        let days = if days == 0 && self.to.1 <= now.1 { 7 } else { days };
        let end = local.date().checked_add(i64::from(days).days()).ok()?.to_datetime(self.to.1);
        // A window whose end no calendar holds goes on for ever.
        Some(end.to_zoned(self.zone.clone()).map_or(Timestamp::MAX, |end| end.timestamp()))
    }
}

/// Minutes from the beginning of Monday.
fn minute((day, time): (Weekday, Time)) -> i32 {
    i32::from(day.to_monday_zero_offset()) * 1_440 + i32::from(time.hour()) * 60 + i32::from(time.minute())
}

/// `Fri 16:00`.
fn moment(text: &str) -> Result<(Weekday, Time), String> {
    let wrong = || format!("`{}` is not a day and a time like `Fri 16:00`", text.trim());
    let (day, time) = text.trim().split_once(' ').ok_or_else(wrong)?;
    let day = match day.to_ascii_lowercase().as_str() {
        "mon" | "monday" => Weekday::Monday,
        "tue" | "tuesday" => Weekday::Tuesday,
        "wed" | "wednesday" => Weekday::Wednesday,
        "thu" | "thursday" => Weekday::Thursday,
        "fri" | "friday" => Weekday::Friday,
        "sat" | "saturday" => Weekday::Saturday,
        "sun" | "sunday" => Weekday::Sunday,
        _ => return Err(wrong()),
    };
    let (hour, minute) = time.trim().split_once(':').ok_or_else(wrong)?;
    let digits = |text: &str| {
        let plain = text.len() <= 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| text.parse::<i8>().ok()).flatten()
    };
    let (hour, minute) = (digits(hour).ok_or_else(wrong)?, digits(minute).ok_or_else(wrong)?);
    Ok((day, Time::new(hour, minute, 0, 0).map_err(|_| wrong())?))
}

impl Freeze {
    /// The end of the window that this moment lies in; `None` when it lies in none.
    pub fn until(&self, at: Timestamp) -> Option<Timestamp> {
        match &self.window {
            Window::Fixed { from, to } => (*from <= at && at < *to).then_some(*to),
            Window::Weekly(weekly) => weekly.until(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// A weekend must be frozen over its whole length, by the clocks of the place, also where it crosses the week's end.
    #[test]
    fn a_weekend_is_frozen_by_local_clocks() {
        let weekend = Weekly::parse("Fri 16:00-Mon 08:00", "Europe/Berlin").unwrap();
        // Berlin is one hour ahead of UTC in winter and two in summer.
        for (moment, end) in [
            ("2026-11-20T14:59:59Z", None),
            ("2026-11-20T15:00:00Z", Some("2026-11-23T07:00:00Z")),
            ("2026-11-22T12:00:00Z", Some("2026-11-23T07:00:00Z")),
            ("2026-11-23T06:59:59Z", Some("2026-11-23T07:00:00Z")),
            ("2026-11-23T07:00:00Z", None),
            ("2026-07-03T13:59:59Z", None),
            ("2026-07-03T14:00:00Z", Some("2026-07-06T06:00:00Z")),
        ] {
            assert_eq!(weekend.until(at(moment)), end.map(at), "{moment}");
        }
    }

    /// A window of one day must not be taken for the rest of the week, nor one that ends earlier on its day of beginning
    /// for nothing.
    #[test]
    fn short_and_nearly_whole_weeks() {
        let lunch = Weekly::parse("Wed 12:00-Wed 13:30", "UTC").unwrap();
        assert_eq!(lunch.until(at("2026-11-18T12:00:00Z")), Some(at("2026-11-18T13:30:00Z")));
        assert_eq!(lunch.until(at("2026-11-18T13:30:00Z")), None);
        assert_eq!(lunch.until(at("2026-11-19T12:30:00Z")), None);
        let but_lunch = Weekly::parse("Wed 13:30-Wed 12:00", "UTC").unwrap();
        assert_eq!(but_lunch.until(at("2026-11-18T14:00:00Z")), Some(at("2026-11-25T12:00:00Z")));
        assert_eq!(but_lunch.until(at("2026-11-18T12:30:00Z")), None);
    }

    /// What cannot be read is refused, not taken for no freeze.
    #[test]
    fn nonsense_is_refused() {
        for (text, zone, what) in [
            ("Fri 16:00", "UTC", "has no `-`"),
            ("Fri 16:00-Fri 16:00", "UTC", "ends when it begins"),
            ("Fre 16:00-Mon 08:00", "UTC", "`Fre 16:00` is not a day and a time"),
            ("Fri 25:00-Mon 08:00", "UTC", "`Fri 25:00` is not a day and a time"),
            ("Fri 16-Mon 08:00", "UTC", "`Fri 16` is not a day and a time"),
            ("Fri 16:00-Mon 08:00", "Mars/Olympus", "`Mars/Olympus` is not a time zone"),
        ] {
            let error = Weekly::parse(text, zone).unwrap_err();
            assert!(error.contains(what), "{text}: {error}");
        }
    }

    /// A fixed window ends at its end.
    #[test]
    fn a_fixed_window_holds_from_its_first_moment_to_its_last() {
        let (from, to) = (at("2026-12-18T00:00:00Z"), at("2027-01-04T00:00:00Z"));
        let freeze = Freeze { window: Window::Fixed { from, to }, reason: "holidays".to_owned() };
        assert_eq!(freeze.until(at("2026-12-17T23:59:59Z")), None);
        assert_eq!(freeze.until(from), Some(to));
        assert_eq!(freeze.until(to), None);
    }
}
