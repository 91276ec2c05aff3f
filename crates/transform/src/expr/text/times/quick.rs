//! The short way for texts as Postgres itself writes them; whatever looks different is left to the general reading.

use super::calendar::{self, Moment};
use crate::expr::datum::Datum;
use crate::expr::types::SqlType;

/// The value, if the text is of the plainest form.
pub(super) fn read<'a>(ty: &SqlType, text: &str) -> Option<Datum<'a>> {
    let bytes = text.as_bytes();
    match ty {
        SqlType::Date if bytes.len() == 10 => {
            let moment = date(bytes)?;
            calendar::date_of(moment.year, moment.month, moment.day).map(Datum::Date)
        }
        SqlType::Time => {
            let (moment, rest) = time(bytes)?;
            rest.is_empty().then(|| Datum::Time(moment.time()))
        }
        SqlType::Timestamp | SqlType::TimestampTz if bytes.get(10) == Some(&b' ') => {
            let day = date(&bytes[..10])?;
            let (clock, zone) = time(&bytes[11..])?;
            let is_utc = zone.is_empty() || (*ty == SqlType::TimestampTz && zone == b"+00");
            let moment = Moment { year: day.year, month: day.month, day: day.day, ..clock };
            moment.timestamp(0).filter(|_| is_utc).map(Datum::Timestamp)
        }
        _ => None,
    }
}

fn two(bytes: &[u8]) -> Option<i64> {
    let [high @ b'0'..=b'9', low @ b'0'..=b'9'] = bytes else { return None };
    Some(i64::from(high - b'0') * 10 + i64::from(low - b'0'))
}

/// `YYYY-MM-DD`
fn date(bytes: &[u8]) -> Option<Moment> {
    let year = two(bytes.get(..2)?)? * 100 + two(&bytes[2..4])?;
    let (month, day) = (two(bytes.get(5..7)?)?, two(bytes.get(8..10)?)?);
    let fits = bytes[4] == b'-'
        && bytes[7] == b'-'
        && year > 0
        && (1..=12).contains(&month)
        && (1..=calendar::month_days(year, month)).contains(&day);
    fits.then(|| Moment { year, month, day, ..Moment::default() })
}

/// `HH:MM:SS` with up to six digits behind a point, and what is behind it.
fn time(bytes: &[u8]) -> Option<(Moment, &[u8])> {
    let (hour, minute, second) = (two(bytes.get(..2)?)?, two(bytes.get(3..5)?)?, two(bytes.get(6..8)?)?);
    if bytes[2] != b':' || bytes[5] != b':' || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (mut micros, mut rest) = (0, &bytes[8..]);
    if let Some(behind) = rest.strip_prefix(b".") {
        let count = behind.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(1..=6).contains(&count) {
            return None;
        }
        for place in 0..6 {
            let digit = behind[..count].get(place).map_or(0, |byte| byte - b'0');
            micros = micros * 10 + i64::from(digit);
        }
        rest = &behind[count..];
    }
    Some((Moment { hour, minute, second, micros, ..Moment::default() }, rest))
}
