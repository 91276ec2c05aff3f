//! Patterns by which `to_char` writes and `to_timestamp` and `to_date` read.

use std::borrow::Cow;

use crate::expr::error::{EvalError, SqlState};

/// What a word of a pattern stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Item {
    /// BC and AD, with points or without.
    Era(bool),
    /// AM and PM, with points or without.
    Half(bool),
    Century,
    DayName,
    DayShort,
    DayOfYear,
    Day,
    Weekday,
    /// So many digits of a second.
    Fraction(u32),
    Exact,
    Hour12,
    Hour24,
    IsoDayOfYear,
    IsoWeekday,
    IsoWeek,
    /// So many digits of the year by ISO 8601.
    IsoYear(u32),
    Julian,
    Minute,
    Month,
    MonthName,
    MonthShort,
    Millis,
    Offset,
    Quarter,
    SecondOfDay,
    Second,
    Zone,
    Micros,
    Week,
    WeekOfMonth,
    YearComma,
    /// So many digits of the year.
    Year(u32),
    /// Known to Postgres, not to us.
    Refused,
}

/// How the letters of a word are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Letters {
    Upper,
    Capital,
    Lower,
}

/// One word of a pattern, with what stands around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) item: Item,
    pub(super) text: &'static str,
    pub(super) letters: Letters,
    /// FM: without padding.
    pub(super) is_bare: bool,
    /// TH or th: with an ordinal's ending, in lower case or not.
    pub(super) ordinal: Option<bool>,
}

impl Word {
    /// As it was written, without what stands around it.
    pub(super) fn name(&self) -> Cow<'static, str> {
        match self.letters {
            Letters::Upper => Cow::Borrowed(self.text),
            Letters::Capital => Cow::Owned(self.text[..1].to_owned() + &self.text[1..].to_ascii_lowercase()),
            Letters::Lower => Cow::Owned(self.text.to_ascii_lowercase()),
        }
    }
}

/// One piece of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    Word(Word),
    Space(char),
    Separator(char),
    /// Any other letter, and whatever is quoted.
    Letter(char),
}

/// Words in upper case; of two that begin alike the longer comes first.
const WORDS: &[(&str, Item)] = &[
    ("A.D.", Item::Era(true)),
    ("A.M.", Item::Half(true)),
    ("AD", Item::Era(false)),
    ("AM", Item::Half(false)),
    ("B.C.", Item::Era(true)),
    ("BC", Item::Era(false)),
    ("CC", Item::Century),
    ("DAY", Item::DayName),
    ("DDD", Item::DayOfYear),
    ("DD", Item::Day),
    ("DY", Item::DayShort),
    ("D", Item::Weekday),
    ("FF1", Item::Fraction(1)),
    ("FF2", Item::Fraction(2)),
    ("FF3", Item::Fraction(3)),
    ("FF4", Item::Fraction(4)),
    ("FF5", Item::Fraction(5)),
    ("FF6", Item::Fraction(6)),
    ("FX", Item::Exact),
    ("HH24", Item::Hour24),
    ("HH12", Item::Hour12),
    ("HH", Item::Hour12),
    ("IDDD", Item::IsoDayOfYear),
    ("ID", Item::IsoWeekday),
    ("IW", Item::IsoWeek),
    ("IYYY", Item::IsoYear(4)),
    ("IYY", Item::IsoYear(3)),
    ("IY", Item::IsoYear(2)),
    ("I", Item::IsoYear(1)),
    ("J", Item::Julian),
    ("MI", Item::Minute),
    ("MM", Item::Month),
    ("MONTH", Item::MonthName),
    ("MON", Item::MonthShort),
    ("MS", Item::Millis),
    ("OF", Item::Offset),
    ("P.M.", Item::Half(true)),
    ("PM", Item::Half(false)),
    ("Q", Item::Quarter),
    ("RM", Item::Refused),
    ("SSSSS", Item::SecondOfDay),
    ("SSSS", Item::SecondOfDay),
    ("SS", Item::Second),
    ("TZH", Item::Refused),
    ("TZM", Item::Refused),
    ("TZ", Item::Zone),
    ("US", Item::Micros),
    ("WW", Item::Week),
    ("W", Item::WeekOfMonth),
    ("Y,YYY", Item::YearComma),
    ("YYYY", Item::Year(4)),
    ("YYY", Item::Year(3)),
    ("YY", Item::Year(2)),
    ("Y", Item::Year(1)),
];

/// Words that begin with a capital.
const CAPITALS: &[(&str, &str, Item)] = &[
    ("Day", "DAY", Item::DayName),
    ("Dy", "DY", Item::DayShort),
    ("Month", "MONTH", Item::MonthName),
    ("Mon", "MON", Item::MonthShort),
];

/// A pattern that we do not follow.
pub(super) fn not_supported() -> EvalError {
    let what = "a pattern with SP, TM, RM, TZH, TZM, or one that does not suit the value, is not supported";
    EvalError::new(SqlState::NOT_SUPPORTED, what)
}

fn word_at(rest: &str) -> Option<(Item, &'static str, Letters)> {
    let capital = CAPITALS.iter().find(|(written, ..)| rest.starts_with(written));
    if let Some((_, text, item)) = capital {
        return Some((*item, text, Letters::Capital));
    }
    let first = rest.as_bytes().first()?.to_ascii_uppercase();
    let alike = WORDS.iter().filter(|(text, _)| text.as_bytes().first() == Some(&first));
    let (text, item) = alike.into_iter().find(|(text, _)| {
        rest.get(..text.len()).is_some_and(|front| {
            front == *text
                || (front.eq_ignore_ascii_case(text) && !front.bytes().any(|byte| byte.is_ascii_uppercase()))
        })
    })?;
    let is_upper = rest.starts_with(text);
    Some((*item, text, if is_upper { Letters::Upper } else { Letters::Lower }))
}

/// The pieces of a pattern.
pub(super) fn parse(pattern: &str) -> Result<Vec<Piece>, EvalError> {
    let mut pieces = Vec::with_capacity(16);
    let mut rest = pattern;
    while !rest.is_empty() {
        let mut is_bare = false;
        if let Some(behind) = rest.strip_prefix("FM").or_else(|| rest.strip_prefix("fm")) {
            (is_bare, rest) = (true, behind);
        } else if rest.starts_with("TM") || rest.starts_with("tm") {
            return Err(not_supported());
        }
        if let Some((item, text, letters)) = word_at(rest) {
            rest = &rest[text.len()..];
            let ending = |end: &str| rest.strip_prefix(end);
            let mut ordinal = None;
            if let Some(behind) = ending("TH") {
                (ordinal, rest) = (Some(false), behind);
            } else if let Some(behind) = ending("th") {
                (ordinal, rest) = (Some(true), behind);
            } else if ending("SP").is_some() || item == Item::Refused {
                return Err(not_supported());
            }
            if item == Item::Refused {
                return Err(not_supported());
            }
            pieces.push(Piece::Word(Word { item, text, letters, is_bare, ordinal }));
        } else if let Some(quoted) = rest.strip_prefix('"') {
            rest = quoted_letters(quoted, &mut pieces);
        } else {
            if rest.starts_with("\\\"") {
                rest = &rest[1..];
            }
            let mut letters = rest.chars();
            let Some(letter) = letters.next() else { break };
            rest = letters.as_str();
            pieces.push(if is_separator(letter) {
                Piece::Separator(letter)
            } else if is_space(letter) {
                Piece::Space(letter)
            } else {
                Piece::Letter(letter)
            });
        }
    }
    Ok(pieces)
}

fn quoted_letters<'p>(quoted: &'p str, pieces: &mut Vec<Piece>) -> &'p str {
    let mut letters = quoted.chars();
    while let Some(mut letter) = letters.next() {
        if letter == '"' {
            break;
        }
        if letter == '\\' {
            letter = letters.next().unwrap_or(letter);
        }
        pieces.push(Piece::Letter(letter));
    }
    letters.as_str()
}

/// What C takes for a space.
pub(super) fn is_space(letter: char) -> bool {
    letter == ' ' || ('\t'..='\r').contains(&letter)
}

/// Punctuation.
pub(super) fn is_separator(letter: char) -> bool {
    letter.is_ascii_punctuation()
}

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

pub(super) const DAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
