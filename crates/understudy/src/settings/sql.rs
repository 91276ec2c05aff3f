//! A piece of SQL in the file: its text, where its characters stand, and what can be said of it without a database.

use understudy_transform::expr;

use super::problem::{Caret, Place, Problem};
use super::scalar;

/// A piece of SQL as it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sql {
    /// The SQL, exactly as it was written, without blanks behind it.
    pub text: String,
    /// Where its value starts in the file.
    pub place: Option<Place>,
    /// Where each character of `text` stands; `None` where that is not sure.
    places: Option<Vec<Place>>,
    /// The lines of the file that it stands in, and nothing of other values in them.
    lines: Vec<Line>,
    /// Where YAML took the rest of the SQL for a comment.
    cut_off: Option<Place>,
}

/// The part of a line of the file that may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    number: u64,
    text: String,
    /// How many columns `text` has less in front than the file's line; below zero where it has more.
    shift: i64,
}

impl Sql {
    /// The SQL of a value that starts at a place of the file, whose lines are given.
    pub(super) fn new(text: &str, place: Option<Place>, file: &[&str]) -> Sql {
        let text = text.trim_end();
        let places = place.and_then(|place| scalar::places(file, place, text)).filter(|all| !all.is_empty());
        let line_of = |number: u64| file.get(usize::try_from(number).ok()?.checked_sub(1)?).copied();
        let lines = match (&places, place) {
            (Some(places), _) => {
                let mut numbers = places.iter().map(|place| place.line).collect::<Vec<_>>();
                numbers.dedup();
                let shown = |number: u64| {
                    let columns =
                        || places.iter().filter(|place| place.line == number).map(|place| place.column);
                    Some(Line::around(number, line_of(number)?, (columns().min()?, columns().max()?)))
                };
                numbers.into_iter().filter_map(shown).collect()
            }
            (None, Some(place)) => {
                line_of(place.line).and_then(|line| Line::whole(place, line)).into_iter().collect()
            }
            (None, None) => Vec::new(),
        };
        let cut_off = places.as_ref().and_then(|places| {
            let last = places.last()?;
            cut_off(line_of(last.line)?, *last)
        });
        Sql { text: text.to_owned(), place, places, lines, cut_off }
    }

    /// A problem in a place of the text, shown where that stands in the file.
    pub(super) fn problem(&self, path: &str, problem: &expr::Problem) -> Problem {
        let (place, width) = self.in_file(problem.place);
        let what = problem.what.clone();
        let mut told =
            Problem { place, path: path.to_owned(), what, remedy: problem.remedy.clone(), caret: None };
        told.caret = place.and_then(|place| self.caret(place, width)).map(Box::new);
        told
    }

    /// A problem with the text as a whole.
    pub(super) fn problem_of_all(&self, path: &str, what: impl Into<String>) -> Problem {
        let first = self.text.lines().next().unwrap_or_default().chars().count() as u64;
        let place = expr::Place { line: 1, column: 1, column_end: Some(first + 1) };
        self.problem(path, &expr::Problem { what: what.into(), remedy: None, place })
    }

    /// What is wrong with the text itself, whatever its names mean.
    pub(super) fn check(&self, path: &str) -> Result<(), Problem> {
        if let Some(place) = self.cut_off {
            let problem = Problem::at(place, path, "YAML takes what follows ` #` for a comment")
                .remedy("put the whole expression in quotes, or behind `|` on lines of its own");
            return Err(problem);
        }
        expr::check_syntax(&self.text).map_err(|problem| self.problem(path, &problem))
    }

    /// Where a function of this name is called, if it is.
    pub(super) fn call_of(&self, name: &str) -> Option<expr::Place> {
        let called = |word: &Word| word.is_called && word.text.eq_ignore_ascii_case(name);
        let word = words(&self.text).into_iter().find(called)?;
        let before = self.text.chars().take(word.at).collect::<String>();
        let (line, column) = match before.rsplit_once('\n') {
            Some((_, last)) => (before.matches('\n').count() as u64 + 1, last.chars().count() as u64 + 1),
            None => (1, word.at as u64 + 1),
        };
        let column_end = Some(column + word.text.chars().count() as u64);
        Some(expr::Place { line, column, column_end })
    }

    /// Whether the text may name a column: the word stands somewhere outside of literals.
    pub(super) fn mentions(&self, column: &str) -> bool {
        words(&self.text).iter().any(|word| word.text == column || word.text.to_lowercase() == column)
    }

    /// The place in the file, and how many columns a caret is wide there.
    fn in_file(&self, at: expr::Place) -> (Option<Place>, u64) {
        let Some((places, last)) = self.places.as_ref().and_then(|places| Some((places, *places.last()?)))
        else {
            return (self.place, 1);
        };
        let lines = self.text.split('\n').take(index(at.line));
        let before = lines.map(|line| line.chars().count() + 1).sum::<usize>();
        let behind = Place { column: last.column + 1, ..last };
        let first = places.get(before + index(at.column)).copied().unwrap_or(behind);
        let end = at.column_end.map_or(0, |end| before + index(end));
        let ends = end.checked_sub(1).and_then(|last| places.get(last));
        let width = match ends {
            Some(ends) if ends.line == first.line => (ends.column + 1).saturating_sub(first.column).max(1),
            // It goes on in a later line: as far as this one goes.
            Some(_) => {
                let here = places.iter().filter(|place| place.line == first.line).map(|place| place.column);
                here.max().map_or(1, |end| (end + 1).saturating_sub(first.column).max(1))
            }
            None => 1,
        };
        (Some(first), width)
    }

    fn caret(&self, place: Place, width: u64) -> Option<Caret> {
        let line = self.lines.iter().find(|line| line.number == place.line)?;
        let column = u64::try_from(i64::try_from(place.column).ok()? - line.shift).ok()?;
        Some(Caret { line: place.line, text: line.text.clone(), column, width })
    }
}

/// Where an operator that begins with `#` has become a comment, behind the last character of a value.
fn cut_off(line: &str, last: Place) -> Option<Place> {
    let behind = line.chars().skip(index(last.column) + 1).collect::<String>();
    let comment = behind.trim_start();
    let is_operator = comment.starts_with("#>") || (comment.starts_with("#-") && !comment.starts_with("#--"));
    let column = line.chars().count() - comment.chars().count() + 1;
    is_operator.then_some(Place { line: last.line, column: column as u64 })
}

/// A place counted from one as an index.
fn index(counted: u64) -> usize {
    usize::try_from(counted).unwrap_or(usize::MAX).saturating_sub(1)
}

impl Line {
    /// Shows the columns of a piece of SQL, its key if that stands alone before it, and the quote that closes it.
    fn around(number: u64, line: &str, (from, to): (u64, u64)) -> Line {
        let before = line.chars().take(index(from)).collect::<String>();
        let own = line.chars().skip(index(from)).take(index(to) + 1 - index(from)).collect::<String>();
        let closing = line.chars().nth(index(to) + 1).filter(|letter| matches!(letter, '\'' | '"'));
        let (front, shift) = match is_own_key(&before) {
            true => (before, 0),
            false => ("... ".to_owned(), i64::try_from(index(from)).unwrap_or(i64::MAX) - 4),
        };
        let text = format!("{front}{own}{}", closing.map(String::from).unwrap_or_default());
        Line { number, text: text.trim_end().to_owned(), shift }
    }

    /// The whole line where nothing but the value and its key stands in it.
    fn whole(place: Place, line: &str) -> Option<Line> {
        let before = line.chars().take(index(place.column)).collect::<String>();
        is_own_key(&before).then(|| Line { number: place.line, text: line.trim_end().to_owned(), shift: 0 })
    }
}

/// Whether a line begins with nothing but the key of the value that follows.
fn is_own_key(before: &str) -> bool {
    let key = before.trim_end_matches(['\'', '"']).trim();
    key.is_empty() || (key.ends_with(':') && !key.contains(['{', '[', ',']) && key.matches(": ").count() == 0)
}

/// A word outside of literals and comments.
struct Word {
    text: String,
    /// How many characters stand before it.
    at: usize,
    /// Whether a bracket opens behind it.
    is_called: bool,
}

/// The words of a piece of SQL, quoted names among them.
fn words(text: &str) -> Vec<Word> {
    let letters = text.chars().collect::<Vec<_>>();
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '$';
    let end_of = |from: usize, is_end: &dyn Fn(usize) -> bool| (from..letters.len()).find(|at| is_end(*at));
    let pair = |at: usize, pair: [char; 2]| letters.get(at..at + 2) == Some(pair.as_slice());
    let (mut words, mut at) = (Vec::new(), 0);
    while at < letters.len() {
        let end = match letters[at] {
            quote @ ('\'' | '"') => {
                let end = end_of(at + 1, &|at| letters[at] == quote).unwrap_or(letters.len());
                if quote == '"' {
                    words.push(Word { text: letters[at + 1..end].iter().collect(), at, is_called: false });
                }
                end + 1
            }
            '-' if pair(at, ['-', '-']) => end_of(at, &|at| letters[at] == '\n').unwrap_or(letters.len()),
            '/' if pair(at, ['/', '*']) => {
                end_of(at + 2, &|at| pair(at, ['*', '/'])).map_or(letters.len(), |at| at + 2)
            }
            letter if is_part(letter) => {
                let end = end_of(at, &|at| !is_part(letters[at])).unwrap_or(letters.len());
                let behind = letters[end..].iter().find(|letter| !letter.is_whitespace());
                let text = letters[at..end].iter().collect();
                words.push(Word { text, at, is_called: behind == Some(&'(') });
                end
            }
            _ => at + 1,
        };
        at = end;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sql(text: &str) -> Sql {
        Sql::new(text, None, &[])
    }

    /// A key is asked for where a value is masked, and not where the word stands in a literal.
    #[test]
    fn calls_are_told_from_other_words() {
        let place = |text: &str| sql(text).call_of("mask").map(|place| (place.line, place.column));
        assert_eq!(place("mask(a)"), Some((1, 1)));
        assert_eq!(place("a ||\n  Mask (b)"), Some((2, 3)));
        for quiet in ["mask", "unmask(a)", "'mask(a)'", "a -- mask(a)", "a /* mask(a) */", "\"mask\" + (1)"] {
            assert_eq!(place(quiet), None, "{quiet}");
        }
    }

    #[test]
    fn names_are_found_as_sql_reads_them() {
        for (text, column) in [("Lower(Email)", "email"), ("a || \"Odd Name\"", "Odd Name"), ("a.b", "b")] {
            assert!(sql(text).mentions(column), "{text}");
        }
        assert!(!sql("lower('email')").mentions("email"));
    }
}
