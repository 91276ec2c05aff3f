//! Where each character of a YAML scalar's value stands in the file, so that a place in a value is a place in the file.
//!
//! The value is spelled out again from the file's lines and compared with what the YAML library read. Where the two differ
//! (variables, aliases, rare escapes) nothing is said at all.

use super::problem::Place;

/// The place of each character of a value that starts at a place, behind the header of a block; `None` where that is not
/// sure.
pub(super) fn places(lines: &[&str], start: Place, value: &str) -> Option<Vec<Place>> {
    let at = usize::try_from(start.line).ok()?.checked_sub(1)?;
    let column = usize::try_from(start.column).ok()?.checked_sub(1)?;
    let first = lines.get(at)?.chars().nth(column)?;
    let new = || Spelled { out: Vec::new(), wanted: value.chars().count() };
    let quote = matches!(first, '\'' | '"').then_some(first);
    let flow = || {
        let mut spelled = new();
        spelled.flow(lines, (at, column + usize::from(quote.is_some())), quote)?;
        spelled.of(value)
    };
    // A block may begin with a quote or an asterisk that is its own; only its header says what it is.
    let block = || {
        let header = lines[..at].iter().rposition(|line| !line.trim().is_empty())?;
        let style = lines[header].split_whitespace().rfind(|word| word.starts_with(['|', '>']))?;
        let mut spelled = new();
        spelled.block(lines, (header + 1, column), style.starts_with('>'));
        spelled.of(value)
    };
    block().or_else(|| if matches!(first, '&' | '*' | '!') { None } else { flow() })
}

struct Spelled {
    out: Vec<(char, Place)>,
    /// How many characters the value has.
    wanted: usize,
}

impl Spelled {
    fn push(&mut self, letter: char, (line, column): (usize, usize)) {
        self.out.push((letter, Place { line: line as u64 + 1, column: column as u64 + 1 }));
    }

    /// The places, if what was spelled out is the value.
    fn of(self, value: &str) -> Option<Vec<Place>> {
        let same = self.out.len() >= self.wanted
            && value.chars().zip(&self.out).all(|(wanted, (found, _))| wanted == *found);
        same.then(|| self.out.into_iter().take(self.wanted).map(|(_, place)| place).collect())
    }

    fn is_complete(&self) -> bool {
        self.out.len() >= self.wanted
    }

    /// A plain or quoted scalar from its first character on: lines are joined by a space, empty lines are line breaks.
    fn flow(&mut self, lines: &[&str], (first, from): (usize, usize), quote: Option<char>) -> Option<()> {
        let (mut breaks, mut line) = (0, first);
        loop {
            let letters = lines.get(line)?.chars().collect::<Vec<_>>();
            let blank = letters.iter().take_while(|letter| letter.is_whitespace()).count();
            let start = if line == first { from } else { blank };
            if line > first && blank == letters.len() {
                breaks += 1;
                line += 1;
                continue;
            }
            if line > first {
                self.join(breaks, false, (line, start));
                breaks = 0;
            }
            let mut kept = self.out.len();
            let mut column = start;
            while column < letters.len() && !(quote.is_none() && self.is_complete()) {
                let (letter, width) = match quote {
                    Some('\'') if letters[column] == '\'' => match letters.get(column + 1) {
                        Some('\'') => ('\'', 2),
                        _ => return Some(()),
                    },
                    Some('"') if letters[column] == '"' => return Some(()),
                    Some('"') if letters[column] == '\\' => escape(&letters[column + 1..])?,
                    _ => (letters[column], 1),
                };
                self.push(letter, (line, column));
                if width > 1 || !letter.is_whitespace() {
                    kept = self.out.len();
                }
                column += width;
            }
            if quote.is_none() && self.is_complete() {
                return Some(());
            }
            // Blanks before a line break are not part of the value.
            self.out.truncate(kept);
            line += 1;
        }
    }

    /// What stands between two lines of a folded value, placed where the second one begins.
    fn join(&mut self, breaks: usize, verbatim: bool, place: (usize, usize)) {
        let (letter, count) = match (breaks, verbatim) {
            (0, false) => (' ', 1),
            (count, false) => ('\n', count),
            (count, true) => ('\n', count + 1),
        };
        (0..count).for_each(|_| self.push(letter, place));
    }

    /// The lines of a block, from the first on, without what they are indented by.
    fn block(&mut self, lines: &[&str], (first, indent): (usize, usize), folded: bool) {
        let blank = |line: &str| line.trim().is_empty();
        let indent_of = |line: &str| line.chars().take_while(|letter| *letter == ' ').count();
        let (mut breaks, mut before) = (0, None);
        for (at, line) in lines.iter().enumerate().skip(first) {
            if self.is_complete() {
                break;
            }
            if blank(line) {
                breaks += 1;
                continue;
            }
            if indent_of(line) < indent {
                break;
            }
            let is_deeper = line.chars().nth(indent).is_some_and(char::is_whitespace);
            match before {
                None => (0..breaks).for_each(|_| self.push('\n', (at, indent))),
                Some(was_deeper) => self.join(breaks, !folded || is_deeper || was_deeper, (at, indent)),
            }
            (breaks, before) = (0, Some(is_deeper));
            for (column, letter) in line.chars().enumerate().skip(indent) {
                self.push(letter, (at, column));
            }
        }
    }
}

/// What an escape in double quotes stands for, and how many characters it takes with its backslash; `None` for the rare ones.
fn escape(behind: &[char]) -> Option<(char, usize)> {
    let hex = |count: usize| {
        let digits = behind.get(1..=count)?.iter().collect::<String>();
        Some((char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?, count + 2))
    };
    match behind.first()? {
        'n' => Some(('\n', 2)),
        't' => Some(('\t', 2)),
        'x' => hex(2),
        'u' => hex(4),
        same @ ('"' | '\\' | '/' | ' ') => Some((*same, 2)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file, where the value starts, the value, and the places of its letters `x`.
    type Case = (&'static str, (u64, u64), &'static str, &'static [(u64, u64)]);

    /// The places of the letters `x` in a value.
    fn marked(text: &str, (line, column): (u64, u64), value: &str) -> Option<Vec<(u64, u64)>> {
        let lines = text.lines().collect::<Vec<_>>();
        let places = places(&lines, Place { line, column }, value)?;
        let marked = value.chars().zip(places).filter(|(letter, _)| *letter == 'x');
        Some(marked.map(|(_, place)| (place.line, place.column)).collect())
    }

    /// A caret under the wrong word is worse than none: every style of scalar is followed to the letter.
    #[test]
    fn each_style_is_followed() {
        let cases: [Case; 9] = [
            ("a: b + x # x", (1, 4), "b + x", &[(1, 8)]),
            ("a: b +\n   x  \n\n  + x", (1, 4), "b + x\n+ x", &[(2, 4), (4, 5)]),
            ("a: 'b || ''x'' || x'", (1, 4), "b || 'x' || x", &[(1, 12), (1, 19)]),
            ("a: 'b \n   x'", (1, 4), "b x", &[(2, 4)]),
            ("a: \"\\\"b\\\" || \\u00e9x\"", (1, 4), "\"b\" || \u{e9}x", &[(1, 20)]),
            ("a: |\n  b\n\n    x\n  x\nc: d", (2, 3), "b\n\n  x\nx\n", &[(4, 5), (5, 3)]),
            (
                "a: > # c\n  b\n  x\n\n  x\n    x\n  x\n",
                (2, 3),
                "b x\nx\n  x\nx\n",
                &[(3, 3), (5, 3), (6, 5), (7, 3)],
            ),
            ("a: |-\n  'b' || x\n", (2, 3), "'b' || x", &[(2, 10)]),
            ("a: >-\n\n  x", (3, 3), "\nx", &[(3, 3)]),
        ];
        for (text, start, value, expected) in cases {
            let value = value.trim_end();
            assert_eq!(marked(text, start, value).as_deref(), Some(expected), "{text}");
        }
    }

    /// Where the file's text is not the value, no place is better than a wrong one.
    #[test]
    fn what_is_unsure_has_no_places() {
        for (text, value) in [
            ("a: ${B} + x", "b + x"),
            ("a: *anchor", "x"),
            ("a: &anchor x", "x"),
            ("a: \"\\Nx\"", "\u{85}x"),
            ("a: x", "x + longer"),
        ] {
            assert_eq!(marked(text, (1, 4), value), None, "{text}");
        }
    }
}
