//! Dates and times read from the fields of their text.

use super::Failure;
use super::calendar::{DAY, Moment};
use super::parts::{Parts, ZoneRead, found, fraction, leading_int};
use super::split::{Field, Looks, split};
use super::words::{Word, word};
use super::zones;

/// Room for the fields of a text of a date or a time.
pub(super) const ROOM: usize = 129;
/// The same of a timestamp.
pub(super) const TIMESTAMP_ROOM: usize = 153;

/// Servers of different releases give different answers.
const DISAGREED: Failure = Failure::Unsupported("a time with a label in front is not supported");

/// What a text says.
#[derive(Debug, Clone)]
pub(super) enum Meaning {
    Moment(Moment, ZoneRead),
    Epoch,
    Infinity,
    NegativeInfinity,
}

/// What the field in front announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Announced {
    Julian,
    Time,
}

struct Reader<'f> {
    fields: &'f [Field],
    parts: Parts,
    announced: Option<Announced>,
    special: Option<Meaning>,
}

/// The date and time that a text says, for those that have a date.
pub(super) fn date_time(text: &str, room: usize) -> Result<Meaning, Failure> {
    let fields = split(text, room, |text| word(text).is_some())?;
    refuse_special(&fields)?;
    let mut reader = Reader { fields: &fields, parts: Parts::default(), announced: None, special: None };
    for at in 0..fields.len() {
        if let Some(bits) = reader.dated_field(at)? {
            reader.parts.add(bits)?;
        }
    }
    reader.nothing_announced()?;
    if let Some(special) = reader.special {
        return Ok(special);
    }
    let mut parts = reader.parts;
    parts.settle_date()?;
    parts.settle_half_day()?;
    if parts.found & found::DATE != found::DATE {
        return Err(Failure::Format);
    }
    check_zone(&parts)?;
    Ok(Meaning::Moment(parts.moment, parts.zone))
}

/// The time that a text says, for those that have no date, and the seconds that its zone lies west.
pub(super) fn time_only(text: &str, needs_zone: bool) -> Result<(i64, i64), Failure> {
    let fields = split(text, ROOM, |text| word(text).is_some())?;
    let mut reader = Reader { fields: &fields, parts: Parts::default(), announced: None, special: None };
    for at in 0..fields.len() {
        if let Some(bits) = reader.timed_field(at)? {
            reader.parts.add(bits)?;
        }
    }
    reader.nothing_announced()?;
    let mut parts = reader.parts;
    parts.settle_date()?;
    parts.settle_half_day()?;
    parts.check_clock()?;
    if parts.found & found::TIME == 0 {
        return Err(Failure::Format);
    }
    check_zone(&parts)?;
    let west = match &parts.zone {
        ZoneRead::None => 0,
        ZoneRead::West(west) => *west,
        ZoneRead::Named(zone) => match zones::constant_east(zone) {
            Some(east) => -i64::from(east),
            None if parts.found & found::DATE != found::DATE => return Err(Failure::Format),
            None => zones::local_west(zone, &parts.moment).ok_or(Failure::ZoneData)?,
        },
        ZoneRead::Dynamic if needs_zone => return Err(Failure::ZoneData),
        ZoneRead::Dynamic => 0,
    };
    Ok((parts.moment.time(), west))
}

/// Servers disagree on what may stand next to a special word, and on a plus in front of it.
fn refuse_special(fields: &[Field]) -> Result<(), Failure> {
    let is_special = |field: &Field| {
        let meaning = word(field.text.trim_start_matches('+'));
        matches!(meaning, Some(Word::Infinity | Word::NegativeInfinity | Word::Epoch))
    };
    match fields {
        [only] if !only.text.starts_with('+') => Ok(()),
        _ if fields.iter().any(is_special) => {
            Err(Failure::Unsupported("a special date with anything else next to it is not supported"))
        }
        _ => Ok(()),
    }
}

/// Daylight saving time is a word only behind an abbreviation.
fn check_zone(parts: &Parts) -> Result<(), Failure> {
    let is_modified = parts.found & found::DST_WORD != 0;
    let is_fixed = parts.found & found::ZONE != 0 && matches!(parts.zone, ZoneRead::West(_));
    if is_modified && !is_fixed { Err(Failure::Format) } else { Ok(()) }
}

impl Reader<'_> {
    /// A field that was announced and did not come is taken by old servers alone.
    fn nothing_announced(&self) -> Result<(), Failure> {
        match self.announced {
            None => Ok(()),
            Some(Announced::Time) => Err(Failure::Format),
            Some(Announced::Julian) => {
                Err(Failure::Unsupported("a label without a number behind it is not supported"))
            }
        }
    }

    /// What a field says in a text that has a date. `None` when it says nothing by itself.
    fn dated_field(&mut self, at: usize) -> Result<Option<u32>, Failure> {
        let Field { looks, text } = &self.fields[at];
        let known = self.parts.found;
        match looks {
            Looks::Date if self.announced == Some(Announced::Julian) => {
                self.announced = None;
                let (day, rest) = leading_int(text).ok_or(Failure::Field)?;
                self.parts.julian(day)?;
                self.parts.zone_offset(rest)?;
                Ok(Some(found::DATE | found::TIME | found::ZONE))
            }
            Looks::Date => {
                let has_day = known & (found::MONTH | found::DAY) == found::MONTH | found::DAY;
                if self.announced.is_none() && !has_day {
                    return self.parts.date(text).map(Some);
                }
                if !text.starts_with(|letter: char| letter.is_ascii_digit()) && self.announced.is_none() {
                    return self.parts.zone_name(text, Failure::Zone(text.clone())).map(Some);
                }
                self.announced = None;
                self.time_with_zone(text, known).map(Some)
            }
            Looks::Time => {
                self.time_may_follow()?;
                let bits = self.parts.clock(text)?;
                self.parts.check_clock()?;
                Ok(Some(bits))
            }
            Looks::Signed => self.parts.zone_offset(text).map(Some),
            Looks::Number if self.announced.is_some() => self.announced_number(text, known).map(Some),
            Looks::Number => {
                let point = text.find('.');
                let (no_date, no_time) = (known & found::DATE == 0, known & found::TIME == 0);
                match point {
                    Some(_) if no_date => self.parts.date(text).map(Some),
                    Some(point) if point > 2 => self.parts.long_number(text, known).map(Some),
                    _ if text.len() >= 6 && (no_date || no_time) => {
                        self.parts.long_number(text, known).map(Some)
                    }
                    _ => self.parts.number(text, known, self.parts.has_text_month).map(Some),
                }
            }
            Looks::Word | Looks::SignedWord => self.dated_word(at),
        }
    }

    fn time_may_follow(&mut self) -> Result<(), Failure> {
        if self.announced.take() == Some(Announced::Julian) { Err(Failure::Format) } else { Ok(()) }
    }

    /// `101530-08`
    fn time_with_zone(&mut self, text: &str, known: u32) -> Result<u32, Failure> {
        if known & found::TIME != 0 {
            return Err(Failure::Format);
        }
        let Some(dash) = text.find('-') else { return Err(Failure::Format) };
        self.parts.zone_offset(&text[dash..])?;
        Ok(self.parts.long_number(&text[..dash], known)? | found::ZONE)
    }

    fn announced_number(&mut self, text: &str, known: u32) -> Result<u32, Failure> {
        let (value, rest) = leading_int(text).ok_or(Failure::Field)?;
        if !rest.is_empty() && !rest.starts_with('.') {
            return Err(Failure::Format);
        }
        if self.announced.take() == Some(Announced::Time) {
            let bits = self.parts.long_number(text, known | found::DATE)?;
            return if bits == found::TIME { Ok(bits) } else { Err(Failure::Format) };
        }
        self.parts.julian(value)?;
        if rest.is_empty() {
            return Ok(found::DATE);
        }
        let time = (fraction(rest)? * DAY as f64) as i64;
        let Moment { year, month, day, .. } = self.parts.moment;
        self.parts.moment = Moment { year, month, day, ..Moment::of_time(time) };
        Ok(found::DATE | found::TIME)
    }

    fn dated_word(&mut self, at: usize) -> Result<Option<u32>, Failure> {
        let text = &self.fields[at].text;
        if let Some(bits) = self.parts.abbreviation(text) {
            return Ok(Some(bits));
        }
        let special = match word(text) {
            Some(Word::Filler) => return Ok(None),
            Some(Word::Month(month)) => return Ok(Some(self.parts.month_word(month))),
            Some(Word::Weekday) => return Ok(Some(found::WEEKDAY)),
            Some(Word::Julian) => return self.announce(Announced::Julian),
            Some(Word::T) => {
                if self.parts.found & found::DATE != found::DATE {
                    return Err(Failure::Format);
                }
                return self.announce_time(at);
            }
            Some(Word::Infinity) => Meaning::Infinity,
            Some(Word::NegativeInfinity) => Meaning::NegativeInfinity,
            Some(Word::Epoch) => Meaning::Epoch,
            Some(other) => return self.parts.plain_word(other).map(Some),
            None => return self.parts.zone_name(text, Failure::Format).map(Some),
        };
        self.special = Some(special);
        Ok(Some(found::DATE | found::TIME | found::ZONE))
    }

    /// Servers disagree on what two announcements mean.
    fn announce(&mut self, what: Announced) -> Result<Option<u32>, Failure> {
        if self.announced.is_some() {
            return Err(Failure::Unsupported("two labels for one number are not supported"));
        }
        self.announced = Some(what);
        Ok(None)
    }

    fn announce_time(&mut self, at: usize) -> Result<Option<u32>, Failure> {
        let next = self.fields.get(at + 1).map(|field| field.looks);
        match next {
            None => Err(Failure::Format),
            Some(Looks::Number | Looks::Time | Looks::Date) => self.announce(Announced::Time),
            Some(_) => Err(Failure::Unsupported("a T without a time behind it is not supported")),
        }
    }

    /// What a field says in a text of a time alone.
    fn timed_field(&mut self, at: usize) -> Result<Option<u32>, Failure> {
        let Field { looks, text } = &self.fields[at];
        let known = self.parts.found;
        let looks_of = |at: usize| self.fields.get(at).map(|field| field.looks);
        let ends_with_date = looks_of(self.fields.len() - 1) == Some(Looks::Date);
        let several = at == 0 && self.fields.len() >= 2;
        match looks {
            Looks::Date if several && (ends_with_date || looks_of(1) == Some(Looks::Time)) => {
                self.parts.date(text).map(Some)
            }
            Looks::Date | Looks::Time if self.announced == Some(Announced::Julian) => Err(DISAGREED),
            Looks::Date if self.announced.is_some() => Err(DISAGREED),
            Looks::Date if text.starts_with(|letter: char| letter.is_ascii_digit()) => {
                if known & found::TIME != 0 {
                    return Err(Failure::Format);
                }
                self.time_with_zone(text, known | found::DATE).map(Some)
            }
            Looks::Date => self.parts.zone_name(text, Failure::Zone(text.clone())).map(Some),
            Looks::Time => {
                self.time_may_follow()?;
                self.parts.clock(text).map(Some)
            }
            Looks::Signed => self.parts.zone_offset(text).map(Some),
            Looks::Number if self.announced.is_some() => self.announced_number(text, known).map(Some),
            Looks::Number => match text.find('.') {
                Some(_) if several && ends_with_date => self.parts.date(text).map(Some),
                Some(point) if point > 2 => self.parts.long_number(text, known | found::DATE).map(Some),
                Some(_) => Err(Failure::Format),
                None if text.len() > 4 => self.parts.long_number(text, known | found::DATE).map(Some),
                None => self.parts.number(text, known | found::DATE, false).map(Some),
            },
            Looks::Word | Looks::SignedWord => self.timed_word(at),
        }
    }

    fn timed_word(&mut self, at: usize) -> Result<Option<u32>, Failure> {
        let text = &self.fields[at].text;
        if let Some(bits) = self.parts.abbreviation(text) {
            return Ok(Some(bits));
        }
        match word(text) {
            Some(Word::Filler) => Ok(None),
            Some(Word::Julian) => self.announce(Announced::Julian),
            Some(Word::T) => self.announce_time(at),
            Some(other) => self.parts.plain_word(other).map(Some),
            None => self.parts.zone_name(text, Failure::Format).map(Some),
        }
    }
}
