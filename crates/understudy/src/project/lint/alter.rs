//! The actions of `ALTER TABLE`.

use super::{Look, Moment, Rule};
use crate::project::words::{Cursor, Name, Piece, Word, holds, outside, parts};
use crate::settings::Place;

/// Functions whose result one statement computes once, or from its arguments alone: a default of theirs rewrites nothing.
const STEADY: [&str; 30] = [
    "now",
    "transaction_timestamp",
    "statement_timestamp",
    "date_trunc",
    "date_part",
    "make_date",
    "make_interval",
    "make_timestamptz",
    "to_timestamp",
    "to_date",
    "age",
    "lower",
    "upper",
    "initcap",
    "concat",
    "length",
    "coalesce",
    "nullif",
    "greatest",
    "least",
    "md5",
    "abs",
    "round",
    "timezone",
    "jsonb_build_object",
    "jsonb_build_array",
    "to_jsonb",
    "to_json",
    "current_setting",
    "cast",
];

/// Types whose values come from a sequence.
const SERIAL: [&str; 6] = ["serial", "bigserial", "smallserial", "serial2", "serial4", "serial8"];

impl Look {
    /// Looks at each action of one statement.
    pub(super) fn alter(&mut self, table: &Name, actions: &[Piece]) {
        for action in parts(actions) {
            let Some(place) = action.first().map(|piece| piece.place) else { continue };
            let mut words = Cursor::new(action);
            if words.eat(&["add"]) {
                self.add(table, words, place);
                continue;
            }
            if words.eat(&["validate", "constraint"]) {
                self.validated(table, words);
                continue;
            }
            if self.is_ours(table) {
                continue;
            }
            if words.eat(&["alter"]) {
                self.alter_column(table, words, place);
            } else if words.eat(&["rename"]) {
                self.rename(table, words, place);
            } else if words.eat(&["drop"]) && !words.sees(&["constraint"]) && self.moment == Moment::Expand {
                words.eat(&["column"]);
                words.eat(&["if", "exists"]);
                let column = name_of(words);
                self.report(
                    Rule::DropColumn,
                    place,
                    format!("column {column} of {table} goes, with its values"),
                );
            }
        }
    }

    fn add(&mut self, table: &Name, mut words: Cursor<'_>, place: Place) {
        let constraint = if words.eat(&["constraint"]) { words.name().map(|name| name.name) } else { None };
        let rest = words.rest();
        if words.sees(&["primary", "key"]) {
            self.keyless.retain(|(keyless, ..)| !keyless.fits(table));
        }
        let not_valid = holds(rest, &["not", "valid"]);
        if words.sees(&["check"])
            && let (Some(constraint), true) = (constraint, not_valid)
            && let Some(column) = checked_not_null(rest)
        {
            self.not_null.push((table.clone(), constraint, column, false));
        }
        if self.is_ours(table) {
            return;
        }
        let using_index = holds(rest, &["using", "index"]) && !holds(rest, &["using", "index", "tablespace"]);
        if words.sees(&["foreign", "key"]) {
            if !not_valid {
                self.foreign_key(table, place);
            }
        } else if words.sees(&["check"]) {
            if !not_valid {
                self.check(table, place);
            }
        } else if words.sees(&["primary", "key"]) || words.sees(&["unique"]) {
            if !using_index {
                self.key(table, place);
            }
        } else if words.sees(&["exclude"]) {
            let what =
                format!("{table} can be neither read nor written until the constraint's index is built");
            self.report(Rule::AddExclude, place, what);
        } else if words.sees(&["not", "null"]) {
            if !not_valid {
                self.set_not_null(table, place);
            }
        } else {
            self.add_column(table, words, place);
        }
    }

    fn add_column(&mut self, table: &Name, mut words: Cursor<'_>, place: Place) {
        words.eat(&["column"]);
        words.eat(&["if", "not", "exists"]);
        let Some(Name { name: column, .. }) = words.name() else { return };
        let rest = words.rest();
        let plain = outside(rest).into_iter().cloned().collect::<Vec<_>>();
        let has = |word: &str| plain.iter().any(|piece| piece.is(word));
        let computed = has("generated") && !has("virtual");
        let serial = rest.first().is_some_and(|piece| SERIAL.iter().any(|word| piece.is(word)));
        let default = rest.iter().position(|piece| piece.is("default"));
        let default = default.filter(|_| has("default") && !has("generated"));
        if computed || serial {
            let what = format!("{table} is written anew to give every row its {column}");
            self.report(Rule::AddColumnRewrites, place, what);
        } else if let Some(function) = default.and_then(|at| volatile(&rest[at + 1..])) {
            let what = format!(
                "{table} is written anew: {function}(), the default of {column}, is computed for each row, or not known not to be"
            );
            self.report(Rule::AddColumnRewrites, place, what);
        }
        if holds(&plain, &["not", "null"]) && default.is_none() && !computed && !serial {
            let what = format!(
                "column {column} is NOT NULL without a DEFAULT: it fails as soon as {table} has a row"
            );
            self.report(Rule::AddNotNullWithoutDefault, place, what);
        }
        if has("references") {
            self.foreign_key(table, place);
        }
        if has("check") {
            self.check(table, place);
        }
        if has("unique") || holds(&plain, &["primary", "key"]) {
            self.key(table, place);
        }
    }

    fn foreign_key(&mut self, table: &Name, place: Place) {
        let what =
            format!("neither {table} nor the table it refers to takes writes until every row is checked");
        self.report(Rule::ForeignKeyValidated, place, what);
    }

    fn check(&mut self, table: &Name, place: Place) {
        let what = format!("{table} can be neither read nor written until every row is checked");
        self.report(Rule::CheckValidated, place, what);
    }

    fn key(&mut self, table: &Name, place: Place) {
        let what = format!("{table} can be neither read nor written until the key's index is built");
        self.report(Rule::AddKey, place, what);
    }

    fn set_not_null(&mut self, table: &Name, place: Place) {
        let what = format!("{table} can be neither read nor written until every row is checked for nulls");
        self.report(Rule::SetNotNull, place, what);
    }

    fn alter_column(&mut self, table: &Name, mut words: Cursor<'_>, place: Place) {
        if words.eat(&["constraint"]) {
            return;
        }
        words.eat(&["column"]);
        let Some(Name { name: column, .. }) = words.name() else { return };
        if words.sees(&["type"]) || words.sees(&["set", "data", "type"]) {
            let what = format!(
                "{table} is written anew, and nobody can read it meanwhile: column {column} gets another type"
            );
            self.report(Rule::AlterColumnType, place, what);
        } else if words.sees(&["set", "not", "null"]) {
            let proved = self
                .not_null
                .iter()
                .any(|(of, _, known, validated)| of.fits(table) && *known == column && *validated);
            if !proved {
                self.set_not_null(table, place);
            }
        }
    }

    fn rename(&mut self, table: &Name, mut words: Cursor<'_>, place: Place) {
        if words.sees(&["constraint"]) {
            return;
        }
        let what = if words.sees(&["to"]) {
            format!("whoever uses {table} under its name fails from then on")
        } else {
            words.eat(&["column"]);
            format!("whoever uses column {} of {table} under its name fails from then on", name_of(words))
        };
        self.report(Rule::Rename, place, what);
    }

    fn validated(&mut self, table: &Name, mut words: Cursor<'_>) {
        let Some(Name { name, .. }) = words.name() else { return };
        for (of, constraint, _, validated) in &mut self.not_null {
            *validated |= of.fits(table) && *constraint == name;
        }
    }
}

fn name_of(mut words: Cursor<'_>) -> String {
    words.name().map_or_else(String::new, |name| name.to_string())
}

/// The column of `CHECK (column IS NOT NULL)`.
fn checked_not_null(pieces: &[Piece]) -> Option<String> {
    let mut words = Cursor::new(pieces);
    words.eat(&["check"]);
    while words.eat_sign("(") {}
    let column = words.name()?.name;
    let closed = |piece: &Piece| piece.is_sign(")");
    (words.eat(&["is", "not", "null"]) && words.peek().is_some_and(closed)).then_some(column)
}

/// The first function of a default that may have another result for each row.
fn volatile(pieces: &[Piece]) -> Option<String> {
    let called = pieces.windows(2).filter(|pair| pair[1].is_sign("("));
    let mut names = called.filter_map(|pair| match &pair[0].word {
        Word::Plain(name) | Word::Quoted(name) => Some(name),
        Word::Literal | Word::Sign(_) => None,
    });
    let types = [
        "numeric",
        "decimal",
        "varchar",
        "char",
        "bpchar",
        "bit",
        "varbit",
        "timestamp",
        "timestamptz",
        "time",
        "check",
    ];
    let steady = |name: &str| STEADY.contains(&name) || types.contains(&name);
    names.find(|name| !steady(name)).cloned()
}
