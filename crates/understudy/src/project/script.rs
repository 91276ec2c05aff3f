//! SQL files of a project: read, split into statements, and told apart by how each can be run.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer, Whitespace};

use super::words::{Cursor, Name, Piece, Word};
use crate::settings::{Place, Problem};

/// One SQL file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// The file, as messages name it.
    pub file: String,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// Its statements, in order.
    pub statements: Vec<Statement>,
    /// Comments that open with `--`, by line.
    pub(super) comments: BTreeMap<u64, (Place, String)>,
}

/// One statement of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Its text, without the semicolon.
    pub text: String,
    /// Where it begins.
    pub place: Place,
    pub(super) pieces: Vec<Piece>,
}

/// How a statement can be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Inside a transaction.
    Plain,
    /// Inside a transaction, and it sets something for the rest of the session.
    Session,
    /// Inside a transaction of its own: what comes after it may use what it adds.
    AddsValue,
    /// `CREATE INDEX CONCURRENTLY`: only outside a transaction. What it leaves behind tells whether it finished.
    CreateIndex {
        /// The index.
        index: Name,
        /// Its table.
        table: Name,
    },
    /// `DROP INDEX CONCURRENTLY`: only outside a transaction; once done, nothing is left to be dropped.
    DropIndex,
    /// Only outside a transaction, and running it twice does no harm.
    Repeatable,
    /// A project cannot run it, for this reason.
    Impossible(Impossible),
}

/// Why a project cannot run a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Impossible {
    /// It begins or ends a transaction.
    Control,
    /// It runs in no transaction, and nobody could tell after a crash whether it has finished.
    Alone,
    /// An index that is created concurrently, without a name.
    Unnamed,
    /// It wants data from the client, or is a command of psql.
    Client,
}

/// How a file is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// All of it in one transaction.
    Whole,
    /// One statement after the other, each recorded.
    Stepwise,
}

impl Script {
    /// Reads the text of a file.
    pub fn read(file: &str, text: &str) -> Result<Script, Problem> {
        let sha256 = sha256(text.as_bytes());
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let tokens = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize_with_location();
        let tokens = tokens.map_err(|error| {
            let what = format!("is not SQL: {}", error.message.trim_end_matches('.'));
            Problem::at(place(error.location), "", what)
                .remedy("close the text, name or comment that begins there")
        })?;
        let mut script =
            Script { file: file.to_owned(), sha256, statements: Vec::new(), comments: BTreeMap::new() };
        let mut splitter = Splitter::new(text);
        for token in tokens {
            if let Token::Whitespace(white) = &token.token {
                if let Whitespace::SingleLineComment { comment, .. } = white {
                    let at = place(token.span.start);
                    script.comments.insert(at.line, (at, comment.trim().to_owned()));
                }
                continue;
            }
            script.statements.extend(splitter.take(&token));
        }
        script.statements.extend(splitter.end());
        Ok(script)
    }

    /// How it is run.
    pub fn form(&self) -> Form {
        let plain = |statement: &Statement| matches!(statement.kind(), Kind::Plain | Kind::Session);
        if self.statements.iter().all(plain) { Form::Whole } else { Form::Stepwise }
    }
}

/// SHA-256 in hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn place(at: Location) -> Place {
    Place { line: at.line.max(1), column: at.column.max(1) }
}

/// Gathers tokens into statements. A semicolon inside parentheses, or inside the body of an SQL function, ends none.
struct Splitter<'a> {
    lines: Vec<&'a str>,
    starts: Vec<usize>,
    text: &'a str,
    pieces: Vec<Piece>,
    /// Bytes of the statement.
    from: usize,
    upto: usize,
    parentheses: usize,
    /// `BEGIN ATOMIC` and `CASE` that are still open in the body of a function.
    open: usize,
}

impl<'a> Splitter<'a> {
    fn new(text: &'a str) -> Splitter<'a> {
        let lines = text.split('\n').collect::<Vec<_>>();
        let mut starts = Vec::with_capacity(lines.len());
        let mut start = 0;
        for line in &lines {
            starts.push(start);
            start += line.len() + 1;
        }
        Splitter { lines, starts, text, pieces: Vec::new(), from: 0, upto: 0, parentheses: 0, open: 0 }
    }

    /// The byte at a location.
    fn offset(&self, at: Location) -> usize {
        let line = usize::try_from(at.line.saturating_sub(1)).unwrap_or(usize::MAX);
        let column = usize::try_from(at.column.saturating_sub(1)).unwrap_or(usize::MAX);
        let (Some(text), Some(start)) = (self.lines.get(line), self.starts.get(line)) else {
            return self.text.len();
        };
        start + text.char_indices().nth(column).map_or(text.len(), |(byte, _)| byte)
    }

    fn take(&mut self, token: &TokenWithSpan) -> Option<Statement> {
        match &token.token {
            Token::SemiColon if self.parentheses == 0 && self.open == 0 => return self.end(),
            Token::EOF => return None,
            Token::LParen => self.parentheses += 1,
            Token::RParen => self.parentheses = self.parentheses.saturating_sub(1),
            _ => {}
        }
        if self.pieces.is_empty() {
            self.from = self.offset(token.span.start);
        }
        self.upto = self.offset(token.span.end);
        self.pieces.push(Piece { word: word(&token.token), place: place(token.span.start) });
        self.follow_body();
        None
    }

    fn follow_body(&mut self) {
        let [.., before, last] = self.pieces.as_slice() else { return };
        let atomic = before.is("begin") && last.is("atomic");
        if (atomic && self.is_routine()) || (self.open > 0 && last.is("case")) {
            self.open += 1;
        } else if self.open > 0 && last.is("end") {
            self.open -= 1;
        }
    }

    fn is_routine(&self) -> bool {
        let mut cursor = Cursor::new(&self.pieces);
        cursor.eat(&["create"]) && {
            cursor.eat(&["or", "replace"]);
            cursor.eat(&["function"]) || cursor.eat(&["procedure"])
        }
    }

    fn end(&mut self) -> Option<Statement> {
        (self.parentheses, self.open) = (0, 0);
        let pieces = std::mem::take(&mut self.pieces);
        let place = pieces.first()?.place;
        let text = self.text.get(self.from..self.upto).unwrap_or_default().to_owned();
        Some(Statement { text, place, pieces })
    }
}

fn word(token: &Token) -> Word {
    match token {
        Token::Word(word) if word.quote_style.is_some() => Word::Quoted(word.value.clone()),
        Token::Word(word) => Word::Plain(word.value.to_lowercase()),
        Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::DollarQuotedString(_)
        | Token::NationalStringLiteral(_)
        | Token::EscapedStringLiteral(_)
        | Token::UnicodeStringLiteral(_)
        | Token::SingleQuotedByteStringLiteral(_)
        | Token::HexStringLiteral(_) => Word::Literal,
        other => Word::Sign(other.to_string()),
    }
}

impl Statement {
    /// How it can be run.
    pub fn kind(&self) -> Kind {
        let mut words = Cursor::new(&self.pieces);
        let is = |first: &[&str]| words.sees(first);
        if words.peek().is_some_and(|piece| piece.is_sign("\\")) {
            return Kind::Impossible(Impossible::Client);
        }
        let control = ["begin", "commit", "rollback", "abort", "end", "start", "savepoint", "release"];
        if control.iter().any(|word| is(&[word])) || is(&["prepare", "transaction"]) {
            return Kind::Impossible(Impossible::Control);
        }
        if is(&["copy"]) && super::words::holds(&self.pieces, &["stdin"]) {
            return Kind::Impossible(Impossible::Client);
        }
        if (is(&["set"]) && !is(&["set", "local"]) && !is(&["set", "constraints"])) || is(&["reset"]) {
            return Kind::Session;
        }
        if is(&["alter", "type"]) && super::words::holds(&self.pieces, &["add", "value"]) {
            return Kind::AddsValue;
        }
        if is(&["create", "index"]) || is(&["create", "unique", "index"]) {
            words.eat_any(&["create", "unique", "index"]);
            return index(words);
        }
        if is(&["drop", "index", "concurrently"]) {
            return Kind::DropIndex;
        }
        if is(&["vacuum"]) || self.is_reindex_alone() {
            return Kind::Repeatable;
        }
        if self.is_alone() { Kind::Impossible(Impossible::Alone) } else { Kind::Plain }
    }

    fn is_reindex_alone(&self) -> bool {
        let words = Cursor::new(&self.pieces);
        let has = |word: &str| self.pieces.iter().any(|piece| piece.is(word));
        words.sees(&["reindex"]) && ["concurrently", "schema", "database", "system"].into_iter().any(has)
    }

    fn is_alone(&self) -> bool {
        let words = Cursor::new(&self.pieces);
        let objects = ["database", "tablespace", "subscription"];
        let made = |verb: &str| objects.iter().any(|object| words.sees(&[verb, object]));
        let detach = words.sees(&["alter", "table"])
            && super::words::holds(&self.pieces, &["detach", "partition"])
            && self.pieces.last().is_some_and(|piece| piece.is("concurrently"));
        made("create")
            || made("drop")
            || words.sees(&["alter", "system"])
            || words.sees(&["alter", "subscription"])
            || (words.sees(&["cluster"]) && self.pieces.len() == 1)
            || detach
    }
}

/// Behind `CREATE INDEX`.
fn index(mut words: Cursor<'_>) -> Kind {
    if !words.eat(&["concurrently"]) {
        return Kind::Plain;
    }
    words.eat(&["if", "not", "exists"]);
    let index = if words.sees(&["on"]) { None } else { words.name() };
    words.eat(&["on"]);
    words.eat(&["only"]);
    match index.zip(words.name()) {
        // An index lies in the schema of its table, and is named without it.
        Some((index, table)) => {
            Kind::CreateIndex { index: Name { schema: table.schema.clone(), ..index }, table }
        }
        None => Kind::Impossible(Impossible::Unnamed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(sql: &str) -> Vec<(String, u64, u64)> {
        let script = Script::read("expand.sql", sql).unwrap();
        let one = |statement: Statement| (statement.text, statement.place.line, statement.place.column);
        script.statements.into_iter().map(one).collect()
    }

    fn kind(sql: &str) -> Kind {
        Script::read("expand.sql", sql).unwrap().statements[0].kind()
    }

    /// A semicolon in a text, a comment, a body or parentheses ends no statement: half a statement would be run.
    #[test]
    fn statements_end_where_postgres_ends_them() {
        let sql = "-- a; b\nSELECT 'x;''y', $$;$$, $t$ ; $$ $t$, E'\\';', \"a;b\" ; /* ; /* ; */ ; */\n;;\n  CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2);SELECT é, U&'\\0041;'";
        let expected = [
            ("SELECT 'x;''y', $$;$$, $t$ ; $$ $t$, E'\\';', \"a;b\"", 2, 1),
            ("CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)", 4, 3),
            ("SELECT é, U&'\\0041;'", 4, 59),
        ];
        let expected = expected.map(|(text, line, column)| (text.to_owned(), line, column));
        assert_eq!(texts(sql), expected);
        let body = "CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END";
        assert_eq!(texts(&format!("{body}; SELECT 3")).len(), 2);
        assert_eq!(texts("SELECT 1\r\n;\r\nSELECT 2\r\n")[1], ("SELECT 2".to_owned(), 3, 1));
        assert_eq!(texts("\u{feff}SELECT 1"), [("SELECT 1".to_owned(), 1, 1)]);
        assert_eq!(texts("  -- nothing\n"), []);
    }

    #[test]
    fn what_is_not_closed_is_refused_with_its_place() {
        for (sql, line) in [("SELECT 1;\nSELECT 'x", 2), ("\n\nSELECT $$ x", 3), ("SELECT \"x", 1)] {
            let problem = Script::read("expand.sql", sql).unwrap_err();
            assert_eq!(problem.place.unwrap().line, line, "{problem}");
        }
    }

    /// What Postgres refuses in a transaction must not be put into one, and nothing else be left without one.
    #[test]
    fn every_statement_knows_how_it_is_run() {
        let name = |schema: Option<&str>, name: &str| Name {
            schema: schema.map(str::to_owned),
            name: name.to_owned(),
        };
        let index = kind("CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS \"By X\" ON app.t (x)");
        let (by_x, t) = (name(Some("app"), "By X"), name(Some("app"), "t"));
        assert_eq!(index, Kind::CreateIndex { index: by_x, table: t });
        let kinds = [
            ("CREATE INDEX i ON t (x)", Kind::Plain),
            ("SET LOCAL work_mem = '1GB'", Kind::Plain),
            ("SET search_path = app", Kind::Session),
            ("RESET ROLE", Kind::Session),
            ("ALTER TYPE mood ADD VALUE 'glad'", Kind::AddsValue),
            ("drop index concurrently i", Kind::DropIndex),
            ("VACUUM (ANALYZE) t", Kind::Repeatable),
            ("REINDEX TABLE CONCURRENTLY t", Kind::Repeatable),
            ("REINDEX TABLE t", Kind::Plain),
            ("CREATE INDEX CONCURRENTLY ON t (x)", Kind::Impossible(Impossible::Unnamed)),
            ("COMMIT", Kind::Impossible(Impossible::Control)),
            ("ALTER TABLE t DETACH PARTITION p CONCURRENTLY", Kind::Impossible(Impossible::Alone)),
            ("CREATE DATABASE x", Kind::Impossible(Impossible::Alone)),
            ("COPY t FROM STDIN", Kind::Impossible(Impossible::Client)),
            ("\\set x 1", Kind::Impossible(Impossible::Client)),
        ];
        for (sql, expected) in kinds {
            assert_eq!(kind(sql), expected, "{sql}");
        }
    }

    #[test]
    fn one_statement_outside_a_transaction_takes_the_file_apart() {
        let form = |sql: &str| Script::read("expand.sql", sql).unwrap().form();
        assert_eq!(form("CREATE TABLE t (id int PRIMARY KEY); SET x.y = 1"), Form::Whole);
        assert_eq!(form("CREATE TABLE t (id int PRIMARY KEY); VACUUM t"), Form::Stepwise);
    }
}
