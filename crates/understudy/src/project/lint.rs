//! What the field warns of in the SQL of a migration: long locks, rewrites of tables, what cannot be undone or resumed.
//!
//! The rules read words and not a syntax tree, so that a statement which no parser but Postgres' own knows is still
//! looked at. Bodies of functions and `DO` blocks are texts to them and stay unread. Nothing is said about a table that
//! the same file creates: nobody waits for it.

mod alter;
mod rule;

#[cfg(test)]
mod tests;

pub use rule::Rule;

use super::script::{Impossible, Kind, Script, Statement};
use super::words::{Cursor, Name, Piece, Word, outside};
use crate::settings::Place;

/// Opens a comment that allows a finding on the line below it.
const ALLOW: &str = "understudy:allow";

/// For which moment a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before the copy: the application may use green already, and blue goes on.
    Expand,
    /// After `finish`: what only blue needed goes.
    Contract,
}

/// One thing to know about a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which rule found it.
    pub rule: Rule,
    /// Where.
    pub place: Place,
    /// What is the case, as a sentence without its full stop.
    pub what: String,
    /// The reason that the file gives for it.
    pub allowed: Option<String>,
}

/// Looks at every statement of a file. Findings come in the order of the file.
pub fn lint(script: &Script, moment: Moment) -> Vec<Finding> {
    let mut look = Look { moment, ..Look::default() };
    for statement in &script.statements {
        look.at(statement);
    }
    look.keyless();
    let Look { mut findings, lines, .. } = look;
    for (finding, line) in findings.iter_mut().zip(lines) {
        finding.allowed = allowed(script, finding.rule, finding.place.line)
            .or_else(|| allowed(script, finding.rule, line))
            .filter(|_| !finding.rule.is_fatal());
    }
    findings.extend(misread(script));
    findings.sort_by_key(|finding| finding.place);
    findings
}

/// The reason for which the comments right above a line allow a rule.
fn allowed(script: &Script, rule: Rule, line: u64) -> Option<String> {
    let above = (1..line).rev().map_while(|line| script.comments.get(&line));
    let mut reasons = above.filter_map(|(_, comment)| {
        let (code, reason) = permission(comment)?;
        (code == rule.code() && !reason.is_empty()).then(|| reason.to_owned())
    });
    reasons.next()
}

/// Code and reason of a comment that allows something.
fn permission(comment: &str) -> Option<(&str, &str)> {
    let rest = comment.strip_prefix(ALLOW)?.trim();
    let (code, reason) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    Some((code, reason.trim()))
}

/// Comments that were meant to allow something and allow nothing.
fn misread(script: &Script) -> Vec<Finding> {
    let one = |(place, comment): &(Place, String)| {
        let (code, reason) = permission(comment)?;
        let what = match Rule::ALL.iter().find(|rule| rule.code() == code) {
            None => format!("there is no rule `{code}`"),
            Some(rule) if rule.is_fatal() => format!("`{code}` cannot be allowed"),
            Some(_) if reason.is_empty() => format!("`{code}` is to be allowed without a reason"),
            Some(_) => return None,
        };
        Some(Finding { rule: Rule::AllowanceWithoutEffect, place: *place, what, allowed: None })
    };
    script.comments.values().filter_map(one).collect()
}

/// What has been seen of a file so far.
struct Look {
    moment: Moment,
    findings: Vec<Finding>,
    /// The line on which the statement of each finding begins.
    lines: Vec<u64>,
    line: u64,
    created: Vec<Name>,
    indexes: Vec<Name>,
    /// Created without a primary key so far.
    keyless: Vec<(Name, Place, u64)>,
    /// Constraints that were added as `CHECK (column IS NOT NULL) NOT VALID`: table, constraint, column, validated.
    not_null: Vec<(Name, String, String, bool)>,
    in_transaction: bool,
}

impl Default for Look {
    fn default() -> Look {
        Look {
            moment: Moment::Expand,
            findings: Vec::new(),
            lines: Vec::new(),
            line: 1,
            created: Vec::new(),
            indexes: Vec::new(),
            keyless: Vec::new(),
            not_null: Vec::new(),
            in_transaction: false,
        }
    }
}

impl Look {
    fn report(&mut self, rule: Rule, place: Place, what: impl Into<String>) {
        self.findings.push(Finding { rule, place, what: what.into(), allowed: None });
        self.lines.push(self.line);
    }

    /// Whether this file has created the table.
    fn is_ours(&self, table: &Name) -> bool {
        self.created.iter().any(|own| own.fits(table))
    }

    fn at(&mut self, statement: &Statement) {
        self.line = statement.place.line;
        self.runs(statement);
        self.bookkeeping(&statement.pieces);
        let (mut words, place) = (Cursor::new(&statement.pieces), statement.place);
        if words.eat(&["create"]) {
            self.create(words, place);
        } else if words.eat(&["drop"]) {
            self.drop(words, place);
        } else if words.eat(&["alter", "table"]) {
            words.eat(&["if", "exists"]);
            words.eat(&["only"]);
            if let Some(table) = words.name() {
                words.eat_sign("*");
                self.alter(&table, words.rest());
            }
        } else if words.eat(&["lock"]) {
            words.eat(&["table"]);
            for table in words.names() {
                if !self.is_ours(&table) {
                    let what = format!("{table} is locked until the transaction ends");
                    self.report(Rule::LockTable, place, what);
                }
            }
        } else if words.eat(&["vacuum"]) {
            let options = words.rest().iter().take_while(|piece| !piece.is_sign(")"));
            if options.clone().any(|piece| piece.is("full")) {
                self.rewrite(last_name(words), place, "VACUUM FULL");
            }
        } else if words.eat(&["cluster"]) {
            self.rewrite(last_name(words), place, "CLUSTER");
        } else {
            self.write(&statement.pieces);
        }
    }

    /// Whether it can be run at all, and beside what.
    fn runs(&mut self, statement: &Statement) {
        let words = Cursor::new(&statement.pieces);
        if words.sees(&["begin"]) || words.sees(&["start", "transaction"]) {
            self.in_transaction = true;
        } else if ["commit", "end", "rollback", "abort"].iter().any(|word| words.sees(&[word])) {
            self.in_transaction = false;
        }
        let concurrently = statement.pieces.iter().find(|piece| piece.is("concurrently"));
        let alone = matches!(
            statement.kind(),
            Kind::CreateIndex { .. }
                | Kind::DropIndex
                | Kind::Impossible(Impossible::Unnamed)
                | Kind::Repeatable
        );
        if let Some(piece) = concurrently.filter(|_| alone && self.in_transaction) {
            self.report(
                Rule::ConcurrentlyInTransaction,
                piece.place,
                "CONCURRENTLY stands between BEGIN and COMMIT",
            );
        }
        let Kind::Impossible(why) = statement.kind() else { return };
        let (rule, what) = match why {
            Impossible::Control => (Rule::TransactionControl, "it begins or ends a transaction"),
            Impossible::Alone => (
                Rule::NotResumable,
                "it runs in no transaction, and after a crash nobody could tell whether it has finished",
            ),
            Impossible::Unnamed => (
                Rule::NotResumable,
                "the index has no name: after a crash nobody could tell whether it was finished",
            ),
            Impossible::Client => (Rule::ClientCommand, "it needs psql, or data from the client"),
        };
        self.report(rule, statement.place, what);
    }

    fn bookkeeping(&mut self, pieces: &[Piece]) {
        let is_ours = |piece: &Piece| matches!(&piece.word, Word::Plain(name) | Word::Quoted(name) if name == "understudy");
        let qualifies = |pair: &&[Piece]| {
            let after = pair.get(1).is_some_and(|next| next.is_sign("."));
            let schema = pair.first().is_some_and(|piece| piece.is("schema") || piece.is("exists"));
            (pair.first().is_some_and(is_ours) && after) || (schema && pair.get(1).is_some_and(is_ours))
        };
        if let Some(pair) = pieces.windows(2).find(qualifies) {
            self.report(Rule::TouchesBookkeeping, pair[0].place, "it names the schema understudy");
        }
    }

    fn create(&mut self, mut words: Cursor<'_>, place: Place) {
        let unique = words.eat(&["unique"]);
        if words.eat(&["index"]) {
            return self.create_index(words, place);
        }
        if unique {
            return;
        }
        let temporary = words.sees(&["temp"]) || words.sees(&["temporary"]);
        words.eat_any(&["global", "local", "temp", "temporary", "unlogged"]);
        if !words.eat(&["table"]) {
            return;
        }
        words.eat(&["if", "not", "exists"]);
        let Some(table) = words.name() else { return };
        let rest = words.rest();
        let inherits = words.sees(&["partition", "of"]) || copies_indexes(rest);
        if !temporary && !inherits && !super::words::holds(rest, &["primary", "key"]) {
            self.keyless.push((table.clone(), place, self.line));
        }
        self.created.push(table);
    }

    fn create_index(&mut self, mut words: Cursor<'_>, place: Place) {
        let concurrently = words.eat(&["concurrently"]);
        words.eat(&["if", "not", "exists"]);
        let index = if words.sees(&["on"]) { None } else { words.name() };
        words.eat(&["on"]);
        words.eat(&["only"]);
        let Some(table) = words.name() else { return };
        if !concurrently && !self.is_ours(&table) {
            let what = format!("{table} takes no writes until the index is built");
            self.report(Rule::IndexNotConcurrent, place, what);
        }
        if self.is_ours(&table) {
            self.indexes.extend(index.map(|index| Name { schema: table.schema, ..index }));
        }
    }

    fn drop(&mut self, mut words: Cursor<'_>, place: Place) {
        if words.eat(&["index"]) {
            let concurrently = words.eat(&["concurrently"]);
            words.eat(&["if", "exists"]);
            for index in words.names() {
                if !concurrently && !self.indexes.iter().any(|own| own.fits(&index)) {
                    let what = format!(
                        "the table of {index} can be neither read nor written until every user of it is done"
                    );
                    self.report(Rule::DropIndexNotConcurrent, place, what);
                }
            }
        } else if self.moment == Moment::Expand && (words.eat(&["table"]) || words.eat(&["schema"])) {
            words.eat(&["if", "exists"]);
            for name in words.names() {
                if !self.is_ours(&name) {
                    self.report(Rule::DropTable, place, format!("{name} goes, with its rows"));
                }
            }
        }
    }

    fn rewrite(&mut self, table: Option<Name>, place: Place, verb: &str) {
        let name = match table {
            Some(table) if self.is_ours(&table) => return,
            Some(table) => table.to_string(),
            None => "every table".to_owned(),
        };
        self.report(
            Rule::RewritesTable,
            place,
            format!("{verb} writes {name} anew, and nobody can read it meanwhile"),
        );
    }

    /// `UPDATE` and `DELETE`, also behind `WITH`.
    fn write(&mut self, pieces: &[Piece]) {
        let plain = outside(pieces);
        let Some(verb) =
            plain.first().filter(|first| ["update", "delete", "with"].iter().any(|word| first.is(word)))
        else {
            return;
        };
        let verbs = plain.iter().enumerate().filter(|(_, piece)| piece.is("update") || piece.is("delete"));
        let starts = |at: usize| at == 0 || !["for", "key", "do"].iter().any(|word| plain[at - 1].is(word));
        let at = verbs.map(|(at, _)| at).find(|at| starts(*at));
        let Some(at) = at.filter(|at| verb.is("with") || *at == 0) else { return };
        let rest = plain[at..].iter().map(|piece| (*piece).clone()).collect::<Vec<_>>();
        let mut words = Cursor::new(&rest);
        let place = plain[at].place;
        words.skip();
        words.eat(&["from"]);
        words.eat(&["only"]);
        let Some(table) = words.name() else { return };
        if !self.is_ours(&table) && !rest.iter().any(|piece| piece.is("where")) {
            let what = format!("every row of {table} is written in one transaction");
            self.report(Rule::WriteWithoutWhere, place, what);
        }
    }

    /// Tables that were created and never given a primary key.
    fn keyless(&mut self) {
        for (table, place, line) in std::mem::take(&mut self.keyless) {
            self.line = line;
            self.report(Rule::TableWithoutPrimaryKey, place, format!("{table} has no primary key"));
        }
    }
}

/// Whether a new table takes over a key from another.
fn copies_indexes(pieces: &[Piece]) -> bool {
    super::words::holds(pieces, &["including", "all"])
        || super::words::holds(pieces, &["including", "indexes"])
}

/// The table behind the options of `VACUUM` and `CLUSTER`.
fn last_name(mut words: Cursor<'_>) -> Option<Name> {
    if words.eat_sign("(") {
        while words.peek().is_some_and(|piece| !piece.is_sign(")")) {
            words.skip();
        }
        words.skip();
    }
    words.eat_any(&["full", "freeze", "verbose", "analyze"]);
    words.name()
}
