//! From the text of an advanced regular expression to its parts. What is left out is refused: back references, look-around,
//! collating elements, octal and control escapes, and the options b, e, q and x.

use super::super::letters::{Class, simple_lower, simple_upper, unsure};
use crate::expr::error::{EvalError, SqlState};
use crate::expr::functions::CaseRule;

/// A part of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ast {
    Empty,
    /// One character of a set, by the set's number.
    Set(usize),
    /// A condition on a place.
    Assert(Assert),
    Concat(Vec<Ast>),
    Alternatives(Vec<Ast>),
    Repeat(Box<Ast>, Repeat),
    /// Parentheses, with their number if they capture.
    Group(Box<Ast>, Option<usize>),
}

/// How often, and whether rather more or rather fewer times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Repeat {
    pub(super) least: u32,
    /// No limit without it.
    pub(super) most: Option<u32>,
    /// None for a fixed count.
    pub(super) prefer: Option<Prefer>,
}

/// Which of several possible matches is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prefer {
    Longest,
    Shortest,
}

/// A condition on a place between two characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Assert {
    Start,
    End,
    LineStart,
    LineEnd,
    WordStart,
    WordEnd,
    WordEdge,
    NoWordEdge,
}

impl Assert {
    /// Whether it asks for characters of words.
    pub(super) fn needs_words(self) -> bool {
        matches!(self, Assert::WordStart | Assert::WordEnd | Assert::WordEdge | Assert::NoWordEdge)
    }
}

/// A set of characters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Set {
    ranges: Vec<(char, char)>,
    classes: Vec<SignedClass>,
    is_negated: bool,
    is_without_newline: bool,
}

impl Set {
    /// Whether a character belongs to it; `None` when servers disagree.
    pub(super) fn contains(&self, letter: char, rule: CaseRule) -> Option<bool> {
        if self.is_without_newline && letter == '\n' {
            return Some(false);
        }
        let mut found = self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&letter));
        for (class, is_outside) in &self.classes {
            found = found || class.contains(letter, rule)? != *is_outside;
        }
        Some(found != self.is_negated)
    }

    fn of(letter: char) -> Set {
        Set { ranges: vec![(letter, letter)], ..Set::default() }
    }

    fn with_class(mut self, class: SignedClass) -> Set {
        self.classes.push(class);
        self
    }
}

/// A class, and whether everything outside it is meant.
type SignedClass = (Class, bool);

/// What options change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Options {
    /// The case of letters means nothing.
    pub(super) in_any_case: bool,
    /// `.` and negated sets leave out the line end.
    pub(super) stops_at_newline: bool,
    /// `^` and `$` match at line ends.
    pub(super) anchors_at_newline: bool,
}

impl Options {
    /// Takes an option by its letter. `None` if there is no such option.
    pub(super) fn take(&mut self, letter: char) -> Option<Result<(), EvalError>> {
        match letter {
            'i' => self.in_any_case = true,
            'c' => self.in_any_case = false,
            'n' | 'm' => (self.stops_at_newline, self.anchors_at_newline) = (true, true),
            'p' => (self.stops_at_newline, self.anchors_at_newline) = (true, false),
            'w' => (self.stops_at_newline, self.anchors_at_newline) = (false, true),
            's' => (self.stops_at_newline, self.anchors_at_newline) = (false, false),
            't' => {}
            'b' | 'e' | 'q' | 'x' => return Some(Err(refused())),
            _ => return None,
        }
        Some(Ok(()))
    }
}

/// An expression in parts.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) ast: Ast,
    pub(super) sets: Vec<Set>,
    /// How many parentheses capture.
    pub(super) groups: usize,
}

pub(super) fn refused() -> EvalError {
    EvalError::new(SqlState::NOT_SUPPORTED, "this regular expression is not supported")
}

fn invalid(what: &'static str) -> EvalError {
    EvalError::new(SqlState::INVALID_REGEX, what)
}

/// More parentheses inside each other than anyone writes.
const DEPTH_MAX: usize = 50;

/// The greatest count in braces.
const REPEAT_MAX: u32 = 255;

/// Ranges whose letters are taken in both cases one by one.
const RANGE_MAX: u32 = 0x1000;

pub(super) fn parse(pattern: &str, options: Options, rule: CaseRule) -> Result<Parsed, EvalError> {
    let mut parser = Parser { rest: pattern, options, rule, sets: Vec::new(), groups: 0 };
    if pattern.starts_with("***") {
        return Err(refused());
    }
    parser.embedded_options()?;
    let ast = parser.alternatives(0)?;
    if !parser.rest.is_empty() {
        return Err(invalid("invalid regular expression: parentheses () not balanced"));
    }
    Ok(Parsed { ast, sets: parser.sets, groups: parser.groups })
}

struct Parser<'p> {
    rest: &'p str,
    options: Options,
    rule: CaseRule,
    sets: Vec<Set>,
    groups: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let mut letters = self.rest.chars();
        let letter = letters.next();
        self.rest = letters.as_str();
        letter
    }

    fn eat(&mut self, wanted: &str) -> bool {
        let found = self.rest.strip_prefix(wanted);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    /// Options at the very start, in parentheses.
    fn embedded_options(&mut self) -> Result<(), EvalError> {
        let Some(inside) = self.rest.strip_prefix("(?") else { return Ok(()) };
        if !inside.starts_with(|letter: char| letter.is_ascii_alphabetic()) {
            return Ok(());
        }
        let wrong = || invalid("invalid regular expression: invalid embedded option");
        let (letters, rest) = inside.split_once(')').ok_or_else(wrong)?;
        for letter in letters.chars() {
            self.options.take(letter).ok_or_else(wrong)??;
        }
        self.rest = rest;
        Ok(())
    }

    fn alternatives(&mut self, depth: usize) -> Result<Ast, EvalError> {
        if depth > DEPTH_MAX {
            return Err(refused());
        }
        let mut branches = vec![self.branch(depth)?];
        while self.eat("|") {
            branches.push(self.branch(depth)?);
        }
        Ok(match branches.len() {
            1 => branches.remove(0),
            _ => Ast::Alternatives(branches),
        })
    }

    fn branch(&mut self, depth: usize) -> Result<Ast, EvalError> {
        let mut items = Vec::new();
        while let Some(letter) = self.peek().filter(|letter| !matches!(letter, '|' | ')')) {
            let is_quantifier = matches!(letter, '*' | '+' | '?')
                || (letter == '{' && self.rest[1..].starts_with(|letter: char| letter.is_ascii_digit()));
            if is_quantifier {
                return Err(invalid("invalid regular expression: quantifier operand invalid"));
            }
            let atom = self.atom(depth)?;
            items.push(if matches!(atom, Ast::Assert(_)) { atom } else { self.quantified(atom)? });
        }
        Ok(Ast::Concat(items))
    }

    fn atom(&mut self, depth: usize) -> Result<Ast, EvalError> {
        let line = |at_line, at_text| if self.options.anchors_at_newline { at_line } else { at_text };
        let (start, end) = (line(Assert::LineStart, Assert::Start), line(Assert::LineEnd, Assert::End));
        match self.next() {
            Some('^') => Ok(Ast::Assert(start)),
            Some('$') => Ok(Ast::Assert(end)),
            Some('(') => self.group(depth),
            Some('[') => self.bracket(),
            Some('.') => {
                let any = Set { is_negated: true, ..Set::default() };
                Ok(self.set(Set { is_without_newline: self.options.stops_at_newline, ..any }))
            }
            Some('\\') => self.escape(),
            Some(letter) => self.literal(letter),
            None => Ok(Ast::Empty),
        }
    }

    fn group(&mut self, depth: usize) -> Result<Ast, EvalError> {
        let number = if self.eat("?:") {
            None
        } else if self.rest.starts_with('?') {
            let is_known = ["?=", "?!", "?<=", "?<!", "?#"].iter().any(|known| self.rest.starts_with(known));
            let wrong = invalid("invalid regular expression: quantifier operand invalid");
            return Err(if is_known { refused() } else { wrong });
        } else {
            self.groups += 1;
            Some(self.groups)
        };
        let inner = self.alternatives(depth + 1)?;
        if !self.eat(")") {
            return Err(invalid("invalid regular expression: parentheses () not balanced"));
        }
        Ok(Ast::Group(Box::new(inner), number))
    }

    fn set(&mut self, set: Set) -> Ast {
        let known = self.sets.iter().position(|known| *known == set);
        Ast::Set(known.unwrap_or_else(|| {
            self.sets.push(set);
            self.sets.len() - 1
        }))
    }

    fn literal(&mut self, letter: char) -> Result<Ast, EvalError> {
        let mut set = Set::of(letter);
        if self.options.in_any_case {
            self.add_cases(&mut set, letter)?;
        }
        Ok(self.set(set))
    }

    fn add_cases(&self, set: &mut Set, letter: char) -> Result<(), EvalError> {
        let cases = match self.rule {
            CaseRule::Ascii => [letter.to_ascii_lowercase(), letter.to_ascii_uppercase()],
            _ => [simple_lower(letter)?, simple_upper(letter)?],
        };
        set.ranges.extend(cases.iter().filter(|case| **case != letter).map(|case| (*case, *case)));
        Ok(())
    }

    fn quantified(&mut self, atom: Ast) -> Result<Ast, EvalError> {
        let braces =
            self.rest.starts_with('{') && self.rest[1..].starts_with(|letter: char| letter.is_ascii_digit());
        let (least, most, mut is_fixed) = match self.peek() {
            Some('*') => (0, None, false),
            Some('+') => (1, None, false),
            Some('?') => (0, Some(1), false),
            Some('{') if braces => (0, None, true),
            _ => return Ok(atom),
        };
        self.next();
        let (mut least, mut most) = (least, most);
        if is_fixed {
            (least, most, is_fixed) = self.bounds()?;
        }
        let prefer = if self.eat("?") { Prefer::Shortest } else { Prefer::Longest };
        if most == Some(0) {
            return Ok(Ast::Empty);
        }
        let repeat = Repeat { least, most, prefer: (!is_fixed).then_some(prefer) };
        Ok(Ast::Repeat(Box::new(atom), repeat))
    }

    /// What stands in braces: least, most, and whether that is one fixed number.
    fn bounds(&mut self) -> Result<(u32, Option<u32>, bool), EvalError> {
        let wrong = || invalid("invalid regular expression: invalid repetition count(s)");
        let least = self.count()?;
        if self.rest.is_empty() || self.rest == "," {
            return Err(invalid("invalid regular expression: braces {} not balanced"));
        }
        if self.eat("}") {
            return Ok((least, Some(least), true));
        }
        if !self.eat(",") {
            return Err(wrong());
        }
        if self.eat("}") {
            return Ok((least, None, false));
        }
        let most = self.count()?;
        if most < least || !self.eat("}") {
            return Err(wrong());
        }
        Ok((least, Some(most), false))
    }

    fn count(&mut self) -> Result<u32, EvalError> {
        let digits = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = self.rest.split_at(digits);
        self.rest = rest;
        let number = number.parse::<u32>().ok().filter(|number| *number <= REPEAT_MAX);
        number.ok_or_else(|| invalid("invalid regular expression: invalid repetition count(s)"))
    }

    fn escape(&mut self) -> Result<Ast, EvalError> {
        let wrong = || invalid("invalid regular expression: invalid escape \\ sequence");
        let letter = self.next().ok_or_else(wrong)?;
        let assert = match letter {
            'A' => Some(Assert::Start),
            'Z' => Some(Assert::End),
            'm' => Some(Assert::WordStart),
            'M' => Some(Assert::WordEnd),
            'y' => Some(Assert::WordEdge),
            'Y' => Some(Assert::NoWordEdge),
            '0'..='9' => return Err(refused()),
            _ => None,
        };
        if let Some(assert) = assert {
            return Ok(Ast::Assert(assert));
        }
        if let Some(class) = escaped_class(letter) {
            return Ok(self.set(Set::default().with_class(class)));
        }
        let literal = self.escaped_literal(letter)?;
        self.literal(literal)
    }

    fn escaped_literal(&mut self, letter: char) -> Result<char, EvalError> {
        let code = |rest: &str, len: usize| {
            let digits =
                rest.get(..len).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
            u32::from_str_radix(digits, 16).ok().and_then(char::from_u32).filter(|letter| *letter != '\0')
        };
        let wrong = || invalid("invalid regular expression: invalid escape \\ sequence");
        Ok(match letter {
            'a' => '\x07',
            'b' => '\x08',
            'B' => '\\',
            'e' => '\x1b',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            'u' | 'U' => {
                let len = if letter == 'u' { 4 } else { 8 };
                let found = code(self.rest, len).ok_or_else(refused)?;
                self.rest = &self.rest[len..];
                found
            }
            'c' | 'x' | '0'..='9' => return Err(refused()),
            letter if letter.is_ascii_alphanumeric() => return Err(wrong()),
            // Whether it is a letter, which has to be known here, is up to the collation.
            letter if !letter.is_ascii() && letter.is_alphanumeric() => return Err(refused()),
            letter => letter,
        })
    }

    fn bracket(&mut self) -> Result<Ast, EvalError> {
        let is_negated = self.eat("^");
        let is_without_newline = is_negated && self.options.stops_at_newline;
        let mut set = Set { is_negated, is_without_newline, ..Set::default() };
        let mut is_first = true;
        loop {
            let unbalanced = || invalid("invalid regular expression: brackets [] not balanced");
            let letter = self.next().ok_or_else(unbalanced)?;
            if letter == ']' && !is_first {
                break;
            }
            let is_last = self.rest.starts_with(']');
            if letter == '-' && !is_first && !is_last {
                return Err(invalid("invalid regular expression: invalid character range"));
            }
            is_first = false;
            match self.element(letter)? {
                Element::Class(class) => set = set.with_class(class),
                Element::Letter(first) => {
                    let last = self.range_end()?.unwrap_or(first);
                    self.add_range(&mut set, (first, last))?;
                }
            }
        }
        Ok(self.set(set))
    }

    /// What follows a hyphen, if one follows that is not the last of the brackets.
    fn range_end(&mut self) -> Result<Option<char>, EvalError> {
        if !self.rest.starts_with('-') || self.rest.starts_with("-]") {
            return Ok(None);
        }
        self.next();
        let wrong = || invalid("invalid regular expression: invalid character range");
        let letter =
            self.next().ok_or_else(|| invalid("invalid regular expression: brackets [] not balanced"))?;
        match self.element(letter)? {
            Element::Letter(last) => Ok(Some(last)),
            Element::Class(_) => Err(wrong()),
        }
    }

    fn add_range(&self, set: &mut Set, (first, last): (char, char)) -> Result<(), EvalError> {
        if first > last {
            return Err(invalid("invalid regular expression: invalid character range"));
        }
        set.ranges.push((first, last));
        if !self.options.in_any_case {
            return Ok(());
        }
        if u32::from(last) - u32::from(first) > RANGE_MAX {
            return Err(refused());
        }
        (first..=last).try_for_each(|letter| self.add_cases(set, letter))
    }

    /// A character or a class inside brackets.
    fn element(&mut self, letter: char) -> Result<Element, EvalError> {
        if letter == '\\' {
            let wrong = || invalid("invalid regular expression: invalid escape \\ sequence");
            let letter = self.next().ok_or_else(wrong)?;
            if let Some(class) = escaped_class(letter) {
                return Ok(Element::Class(class));
            }
            if matches!(letter, 'A' | 'Z' | 'm' | 'M' | 'y' | 'Y') {
                return Err(wrong());
            }
            return self.escaped_literal(letter).map(Element::Letter);
        }
        if letter != '[' || !self.rest.starts_with([':', '.', '=']) {
            return Ok(Element::Letter(letter));
        }
        if !self.eat(":") {
            return Err(refused());
        }
        let wrong = || invalid("invalid regular expression: invalid character class");
        let (name, rest) = self.rest.split_once(":]").ok_or_else(wrong)?;
        self.rest = rest;
        let class = match Class::named(name).ok_or_else(wrong)? {
            Class::Upper | Class::Lower if self.options.in_any_case => Class::Alpha,
            class => class,
        };
        Ok(Element::Class((class, false)))
    }
}

enum Element {
    Letter(char),
    Class(SignedClass),
}

/// A class by its letter behind a backslash.
fn escaped_class(letter: char) -> Option<SignedClass> {
    let class = match letter.to_ascii_lowercase() {
        'd' => Class::Digit,
        's' => Class::Space,
        'w' => Class::Word,
        _ => return None,
    };
    Some((class, letter.is_ascii_uppercase()))
}

/// Whether a character belongs to a word.
pub(super) fn is_word(letter: char, rule: CaseRule) -> Result<bool, EvalError> {
    Class::Word.contains(letter, rule).ok_or_else(unsure)
}
