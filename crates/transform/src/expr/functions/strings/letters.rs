//! Letters: their other case, and which characters are words, digits and blanks. A collation decides, and what collations of
//! the same kind may see differently from one version of Unicode to the next is not guessed.

use std::borrow::Cow;

use super::super::{Call, CaseRule};
use super::text;
use crate::expr::datum::Datum;
use crate::expr::error::{EvalError, SqlState};

/// A character that collations of different versions see differently.
pub(super) fn unsure() -> EvalError {
    EvalError::new(
        SqlState::NOT_SUPPORTED,
        "the case or class of a rare character depends on the server's version",
    )
}

/// Letters that servers know since different versions of Unicode, or class differently.
const UNSURE: &[(u32, u32)] = &[
    (0x19b, 0x19b),
    (0x264, 0x264),
    (0x363, 0x36f),
    (0x88f, 0x897),
    (0xc04, 0xc04),
    (0xc5c, 0xc5c),
    (0xcdc, 0xcdc),
    (0xcf3, 0xcf3),
    (0xf82, 0xf83),
    (0x1c89, 0x1c8a),
    (0x1dd3, 0x1de6),
    (0xa7cb, 0xa7dc),
    (0xa7f1, 0xa7f1),
    (0x105c0, 0x105f3),
    (0x10940, 0x10959),
    (0x10d4a, 0x10d85),
    (0x10ec2, 0x10ec7),
    (0x10efa, 0x10efc),
    (0x11080, 0x11081),
    (0x1123f, 0x11241),
    (0x11380, 0x113d3),
    (0x11b60, 0x11b67),
    (0x11bc0, 0x11be0),
    (0x11db0, 0x11ddb),
    (0x11f00, 0x11f40),
    (0x1342f, 0x1342f),
    (0x13441, 0x13446),
    (0x13460, 0x143fa),
    (0x16100, 0x1612e),
    (0x16d40, 0x16d6c),
    (0x16ea0, 0x16ed3),
    (0x16ff2, 0x16ff6),
    (0x187f8, 0x187ff),
    (0x18cff, 0x18d1e),
    (0x18d80, 0x18df2),
    (0x1b132, 0x1b132),
    (0x1b155, 0x1b155),
    (0x1df25, 0x1df2a),
    (0x1e030, 0x1e06d),
    (0x1e08f, 0x1e08f),
    (0x1e4d0, 0x1e4eb),
    (0x1e5d0, 0x1e5f0),
    (0x1e6c0, 0x1e6ff),
    (0x2b739, 0x2b73f),
    (0x2cea2, 0x2cead),
    (0x2ebf0, 0x2ee5d),
    (0x31350, 0x33479),
];

/// Whether servers may disagree on a character.
fn is_unsure(letter: char) -> bool {
    let code = u32::from(letter);
    let at = UNSURE.partition_point(|(_, last)| *last < code);
    UNSURE.get(at).is_some_and(|(first, _)| *first <= code)
}

/// Blocks of letters and nothing else, on which all agree.
const LETTERS: &[(u32, u32)] = &[
    (0xc0, 0xd6),
    (0xd8, 0xf6),
    (0xf8, 0x2af),
    (0x388, 0x38a),
    (0x38e, 0x3a1),
    (0x3a3, 0x3ff),
    (0x400, 0x481),
    (0x48a, 0x52f),
    (0x3041, 0x3096),
    (0x30a1, 0x30fa),
    (0x4e00, 0x9fa5),
    (0xac00, 0xd7a3),
];

/// Blocks whose letters have had their cases for long.
const OLD_CASES: &[(u32, u32)] = &[
    (0x00, 0x587),
    (0x1e00, 0x218f),
    (0x24b6, 0x24e9),
    (0x2c60, 0x2c7f),
    (0xa640, 0xa69b),
    (0xa722, 0xa787),
    (0xfb00, 0xfb17),
    (0xff21, 0xff5a),
    (0x10400, 0x1044f),
];

/// The one letter that is this one in upper case.
pub(super) fn simple_upper(letter: char) -> Result<char, EvalError> {
    match letter {
        '\0'..='\x7f' => Ok(letter.to_ascii_uppercase()),
        // Letters with iota below have a title case of their own, which is their upper case when only one letter is meant.
        '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => {
            Ok(char::from_u32(u32::from(letter) + 8).unwrap_or(letter))
        }
        '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => Ok(char::from_u32(u32::from(letter) + 9).unwrap_or(letter)),
        _ => sure(letter, single(letter, letter.to_uppercase())),
    }
}

/// The one letter that is this one in lower case.
pub(super) fn simple_lower(letter: char) -> Result<char, EvalError> {
    match letter {
        '\0'..='\x7f' => Ok(letter.to_ascii_lowercase()),
        '\u{130}' => Ok('i'),
        _ => sure(letter, single(letter, letter.to_lowercase())),
    }
}

/// Another case that every server gives the letter, or the letter itself where none gives it one.
fn sure(letter: char, other: char) -> Result<char, EvalError> {
    let is_known = letter == other && !is_unsure(letter) || has_old_case(letter);
    if is_known { Ok(other) } else { Err(unsure()) }
}

/// Whether all versions of Unicode in use agree on the cases of a letter.
fn has_old_case(letter: char) -> bool {
    let code = u32::from(letter);
    !is_unsure(letter) && OLD_CASES.iter().any(|(first, last)| (*first..=*last).contains(&code))
}

fn single(letter: char, mut other: impl Iterator<Item = char>) -> char {
    match (other.next(), other.next()) {
        (Some(one), None) => one,
        _ => letter,
    }
}

/// A class of characters whose members a collation decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Class {
    Alnum,
    Alpha,
    Digit,
    Space,
    Upper,
    Lower,
    Punct,
    Xdigit,
    Blank,
    Cntrl,
    Print,
    Graph,
    Word,
}

impl Class {
    /// The class of this name.
    pub(super) fn named(name: &str) -> Option<Class> {
        Some(match name {
            "alnum" => Class::Alnum,
            "alpha" => Class::Alpha,
            "digit" => Class::Digit,
            "space" => Class::Space,
            "upper" => Class::Upper,
            "lower" => Class::Lower,
            "punct" => Class::Punct,
            "xdigit" => Class::Xdigit,
            "blank" => Class::Blank,
            "cntrl" => Class::Cntrl,
            "print" => Class::Print,
            "graph" => Class::Graph,
            "word" => Class::Word,
            _ => return None,
        })
    }

    /// Whether a character belongs to it; `None` when servers disagree.
    pub(super) fn contains(self, letter: char, rule: CaseRule) -> Option<bool> {
        if letter.is_ascii() {
            return Some(self.contains_ascii(letter));
        }
        if rule == CaseRule::Ascii {
            return Some(false);
        }
        let is_letter = || {
            let code = u32::from(letter);
            let in_block = LETTERS.iter().any(|(first, last)| (*first..=*last).contains(&code));
            match (letter.is_alphabetic(), in_block) {
                (true, true) => Some(true),
                (true, false) if rule == CaseRule::Full || is_unsure(letter) => None,
                (is_alphabetic, _) => Some(is_alphabetic),
            }
        };
        match self {
            // Fractions and raised digits are no digits; of the digits of other scripts some servers say so too.
            Class::Alnum | Class::Alpha | Class::Word if letter.is_numeric() && !letter.is_alphabetic() => {
                (u32::from(letter) < 0x100).then_some(false)
            }
            Class::Alnum | Class::Alpha | Class::Word => is_letter(),
            Class::Digit if letter.is_numeric() && rule == CaseRule::Full => None,
            Class::Digit => Some(false),
            Class::Space if matches!(letter, '\u{85}' | '\u{a0}' | '\u{2007}' | '\u{202f}') => None,
            Class::Space => Some(letter.is_whitespace()),
            Class::Upper | Class::Lower => {
                let is_letter = is_letter()?;
                let has_case = letter.is_uppercase() || letter.is_lowercase();
                let is_simple = letter.to_uppercase().ne([letter]) != letter.to_lowercase().ne([letter]);
                match (is_letter && has_case, is_simple) {
                    (true, true) if self == Class::Upper => Some(letter.is_uppercase()),
                    (true, true) => Some(letter.is_lowercase()),
                    (false, _) if !has_case && is_letter && !is_titled(letter) => Some(false),
                    (false, _) if !letter.is_alphabetic() => Some(false),
                    _ => None,
                }
            }
            Class::Xdigit if rule != CaseRule::Full => Some(false),
            // What is a letter is known to be visible and no mark.
            _ if is_letter() == Some(true) => Some(matches!(self, Class::Print | Class::Graph)),
            _ => None,
        }
    }

    fn contains_ascii(self, letter: char) -> bool {
        match self {
            Class::Alnum => letter.is_ascii_alphanumeric(),
            Class::Alpha => letter.is_ascii_alphabetic(),
            Class::Digit => letter.is_ascii_digit(),
            Class::Space => matches!(letter, ' ' | '\t'..='\r'),
            Class::Upper => letter.is_ascii_uppercase(),
            Class::Lower => letter.is_ascii_lowercase(),
            Class::Punct => letter.is_ascii_punctuation(),
            Class::Xdigit => letter.is_ascii_hexdigit(),
            Class::Blank => matches!(letter, ' ' | '\t'),
            Class::Cntrl => letter.is_ascii_control(),
            Class::Print => matches!(letter, ' '..='~'),
            Class::Graph => letter.is_ascii_graphic(),
            Class::Word => letter.is_ascii_alphanumeric() || letter == '_',
        }
    }
}

/// Neither upper nor lower case, yet with another case.
fn is_titled(letter: char) -> bool {
    letter.to_uppercase().ne([letter]) || letter.to_lowercase().ne([letter])
}

/// A text in lower case.
pub(super) fn lowered(text: &str, rule: CaseRule) -> Result<Cow<'_, str>, EvalError> {
    changed(text, rule, Case::Lower)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Upper,
    Lower,
}

fn changed(text: &str, rule: CaseRule, case: Case) -> Result<Cow<'_, str>, EvalError> {
    if rule == CaseRule::Ascii || text.is_ascii() {
        return Ok(Cow::Owned(match case {
            Case::Upper => text.to_ascii_uppercase(),
            Case::Lower => text.to_ascii_lowercase(),
        }));
    }
    if rule == CaseRule::Simple {
        let change = if case == Case::Upper { simple_upper } else { simple_lower };
        return text.chars().map(change).collect::<Result<String, _>>().map(Cow::Owned);
    }
    let is_changed = |letter: &char| match case {
        Case::Upper => letter.to_uppercase().ne([*letter]),
        Case::Lower => letter.to_lowercase().ne([*letter]),
    };
    if text.chars().any(|letter| is_unsure(letter) || (is_changed(&letter) && !has_old_case(letter))) {
        return Err(unsure());
    }
    Ok(Cow::Owned(match case {
        Case::Upper => text.to_uppercase(),
        Case::Lower => text.to_lowercase(),
    }))
}

pub(super) fn upper<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>, EvalError> {
    changed(text(args, 0), call.case, Case::Upper).map(|text| Datum::text(text.into_owned()))
}

pub(super) fn lower<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>, EvalError> {
    changed(text(args, 0), call.case, Case::Lower).map(|text| Datum::text(text.into_owned()))
}

/// The first letter of each word in upper case, the rest in lower case.
pub(super) fn initcap<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>, EvalError> {
    let rule = call.case;
    if rule == CaseRule::Full {
        return Err(EvalError::new(SqlState::NOT_SUPPORTED, "initcap is not supported for this collation"));
    }
    let upper = |letter: char| match rule {
        CaseRule::Ascii => Ok(letter.to_ascii_uppercase()),
        _ => simple_upper(letter),
    };
    let lower = |letter: char| match rule {
        CaseRule::Ascii => Ok(letter.to_ascii_lowercase()),
        _ => simple_lower(letter),
    };
    let mut is_inside = false;
    let mut changed = String::new();
    for letter in text(args, 0).chars() {
        let letter = if is_inside { lower(letter)? } else { upper(letter)? };
        is_inside = Class::Alnum.contains(letter, rule).ok_or_else(unsure)?;
        changed.push(letter);
    }
    Ok(Datum::text(changed))
}
