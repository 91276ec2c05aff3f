//! The words of one SQL statement, and a cursor over them.

use crate::settings::Place;

/// What a word is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// A name or a key word, in lower case.
    Plain(String),
    /// A name in double quotes, as it is written.
    Quoted(String),
    /// A literal.
    Literal,
    /// Anything else: `,` `(` `)` `.` and operators.
    Sign(String),
}

/// A word and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) word: Word,
    pub(super) place: Place,
}

/// The name of a table or an index, as far as the statement gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The schema, where one is given.
    pub schema: Option<String>,
    /// The name itself.
    pub name: String,
}

impl Name {
    /// Whether both may be the same object: a name without a schema fits any.
    pub(super) fn fits(&self, other: &Name) -> bool {
        let schemas = self.schema.as_ref().zip(other.schema.as_ref());
        self.name == other.name && schemas.is_none_or(|(one, two)| one == two)
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl Piece {
    /// Whether it is this key word.
    pub(super) fn is(&self, word: &str) -> bool {
        matches!(&self.word, Word::Plain(own) if own == word)
    }

    /// Whether it is this sign.
    pub(super) fn is_sign(&self, sign: &str) -> bool {
        matches!(&self.word, Word::Sign(own) if own == sign)
    }
}

/// Reads the pieces of a statement, or of a part of one, from left to right.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    rest: &'a [Piece],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(pieces: &'a [Piece]) -> Cursor<'a> {
        Cursor { rest: pieces }
    }

    /// What has not been read.
    pub(super) fn rest(&self) -> &'a [Piece] {
        self.rest
    }

    pub(super) fn peek(&self) -> Option<&'a Piece> {
        self.rest.first()
    }

    pub(super) fn skip(&mut self) {
        self.rest = self.rest.get(1..).unwrap_or_default();
    }

    /// Whether these words follow.
    pub(super) fn sees(&self, words: &[&str]) -> bool {
        self.rest.len() >= words.len() && self.rest.iter().zip(words).all(|(piece, word)| piece.is(word))
    }

    /// Reads these words if they follow.
    pub(super) fn eat(&mut self, words: &[&str]) -> bool {
        let there = self.sees(words);
        if there {
            self.rest = &self.rest[words.len()..];
        }
        there
    }

    /// Reads any number of these words.
    pub(super) fn eat_any(&mut self, words: &[&str]) {
        while words.iter().any(|word| self.eat(&[word])) {}
    }

    /// Reads a sign if it follows.
    pub(super) fn eat_sign(&mut self, sign: &str) -> bool {
        let there = self.peek().is_some_and(|piece| piece.is_sign(sign));
        if there {
            self.skip();
        }
        there
    }

    /// Reads a name with its schema, if one is given.
    pub(super) fn name(&mut self) -> Option<Name> {
        let mut parts = vec![self.part()?];
        while self.eat_sign(".") {
            parts.push(self.part()?);
        }
        let name = parts.pop()?;
        Some(Name { schema: parts.pop(), name })
    }

    /// Reads names that commas separate.
    pub(super) fn names(&mut self) -> Vec<Name> {
        let mut names = Vec::new();
        loop {
            self.eat(&["only"]);
            names.extend(self.name());
            self.eat_sign("*");
            if !self.eat_sign(",") {
                return names;
            }
        }
    }

    fn part(&mut self) -> Option<String> {
        let (Word::Plain(part) | Word::Quoted(part)) = &self.peek()?.word else { return None };
        self.skip();
        Some(part.clone())
    }
}

/// The pieces that stand in no parentheses, signs of parentheses left out.
pub(super) fn outside(pieces: &[Piece]) -> Vec<&Piece> {
    let mut depth = 0usize;
    let mut found = Vec::new();
    for piece in pieces {
        if piece.is_sign("(") {
            depth += 1;
        } else if piece.is_sign(")") {
            depth = depth.saturating_sub(1);
        } else if depth == 0 {
            found.push(piece);
        }
    }
    found
}

/// The parts between the commas that stand in no parentheses.
pub(super) fn parts(pieces: &[Piece]) -> Vec<&[Piece]> {
    let (mut depth, mut start, mut parts) = (0usize, 0, Vec::new());
    for (at, piece) in pieces.iter().enumerate() {
        if piece.is_sign("(") || piece.is_sign("[") {
            depth += 1;
        } else if piece.is_sign(")") || piece.is_sign("]") {
            depth = depth.saturating_sub(1);
        } else if depth == 0 && piece.is_sign(",") {
            parts.push(&pieces[start..at]);
            start = at + 1;
        }
    }
    parts.push(&pieces[start..]);
    parts
}

/// Whether these words stand one after the other somewhere.
pub(super) fn holds(pieces: &[Piece], words: &[&str]) -> bool {
    pieces.windows(words.len()).any(|window| Cursor::new(window).sees(words))
}
