//! The `probes` section of the migration file: pairs of queries whose answers on both sides are compared.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::tokenizer::{Token, Tokenizer, Whitespace};

use super::problem::Place;
use super::raw::Span;
use super::resolve::Resolver;
use super::text::Refusal;
use super::yaml::Placed;

/// The shortest time between two askings.
const EVERY_MIN: Duration = Duration::from_millis(100);

/// The longest name.
const NAME_CHARS: usize = 36;

/// A pair of queries that must give the same answer on both sides.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Probe")]
pub(super) struct RawProbe {
    /// Names it in reports and metrics: lower-case letters, digits and hyphens.
    #[schemars(regex(pattern = r"^[a-z][a-z0-9-]{0,35}$"))]
    pub(super) name: Placed<String>,
    /// The query on blue, with `$1`, `$2` … for parameters.
    pub(super) blue: Placed<String>,
    /// The query on green, with the same parameters.
    pub(super) green: Placed<String>,
    /// A query on blue that samples parameters: each row is one set of them. Left out: the queries take none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) params: Option<Placed<String>>,
    /// How often it is asked.
    #[serde(default = "every")]
    pub(super) every: Placed<Span>,
    /// Whether the order of rows matters. Left out: it does where a query ends in ORDER BY.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ordered: Option<bool>,
}

fn every() -> Placed<Span> {
    Placed::from(Span("1s".to_owned()))
}

/// A pair of queries that must give the same answer on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeSettings {
    /// Its name.
    pub name: String,
    /// The query on blue.
    pub blue: String,
    /// The query on green.
    pub green: String,
    /// The query on blue that samples parameters.
    pub params: Option<String>,
    /// How often it is asked.
    pub every: Duration,
    /// Whether the order of rows matters.
    pub ordered: bool,
}

impl Resolver<'_> {
    pub(super) fn probes(&mut self, raw: &[RawProbe]) -> Vec<ProbeSettings> {
        let mut probes: Vec<ProbeSettings> = Vec::with_capacity(raw.len());
        for (at, one) in raw.iter().enumerate() {
            let path = format!("probes[{at}]");
            let same = |other: &RawProbe| other.name.value == one.name.value;
            if raw[..at].iter().any(same) {
                let what = format!("there are two probes named `{}`", one.name.value);
                self.report(one.name.place, &format!("{path}.name"), what, "give each a name of its own");
            }
            probes.extend(self.probe(one, &path));
        }
        probes
    }

    fn probe(&mut self, raw: &RawProbe, path: &str) -> Option<ProbeSettings> {
        let name = check_name(&raw.name.value).map(|()| raw.name.value.clone());
        let name = self.accept(name, raw.name.place, &format!("{path}.name"));
        let every = self.span(&raw.every, &format!("{path}.every"));
        if every.is_some_and(|every| every < EVERY_MIN) {
            let what = format!("is shorter than {} ms", EVERY_MIN.as_millis());
            self.report(raw.every.place, &format!("{path}.every"), what, "give both servers some rest");
        }
        let blue = self.query(&raw.blue, &format!("{path}.blue"));
        let green = self.query(&raw.green, &format!("{path}.green"));
        let params = raw.params.as_ref().map(|sql| self.query(sql, &format!("{path}.params")));
        let (blue, green) = (blue?, green?);
        let ordered = raw.ordered.unwrap_or(blue.ordered || green.ordered);
        let params = match params {
            Some(params) => Some(params?.sql),
            None => None,
        };
        Some(ProbeSettings { name: name?, blue: blue.sql, green: green.sql, params, every: every?, ordered })
    }

    fn query(&mut self, sql: &Placed<String>, path: &str) -> Option<Query> {
        let place: Option<Place> = sql.place;
        let filled = self.filled(sql, path)?;
        self.accept(Query::read(&filled), place, path)
    }
}

fn check_name(name: &str) -> Result<(), Refusal> {
    let is_part = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    if name.starts_with(|letter: char| letter.is_ascii_lowercase())
        && name.chars().all(is_part)
        && name.len() <= NAME_CHARS
    {
        return Ok(());
    }
    let remedy = format!(
        "use lower-case letters, digits and hyphens, a letter first, and at most {NAME_CHARS} of them"
    );
    Err((format!("`{name}` is no name for a probe"), remedy))
}

/// One query, as far as it can be told without a server. What it really is, the server decides: it is asked in a transaction
/// that cannot write.
struct Query {
    /// Without what ends a statement.
    sql: String,
    /// Whether it has an ORDER BY outside of all brackets.
    ordered: bool,
}

impl Query {
    fn read(text: &str) -> Result<Query, Refusal> {
        let unreadable =
            || ("is not SQL that can be read".to_owned(), "look for a quote that is not closed".to_owned());
        let mut tokens = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize().map_err(|_| unreadable())?;
        let is_blank = |token: &Token| matches!(token, Token::Whitespace(_));
        let is_end = |token: &Token| matches!(token, Token::Whitespace(_) | Token::SemiColon);
        let ended = tokens.contains(&Token::SemiColon);
        if ended {
            while tokens.last().is_some_and(is_end) {
                tokens.pop();
            }
        }
        if tokens.contains(&Token::SemiColon) {
            let remedy = "give each its own probe".to_owned();
            return Err(("holds more than one statement".to_owned(), remedy));
        }
        let sql = match ended {
            true => tokens.iter().map(written).collect(),
            false => text.trim_end().to_owned(),
        };
        tokens.retain(|token| !is_blank(token));
        let first = tokens.iter().find(|token| **token != Token::LParen).map(word).unwrap_or_default();
        if !["select", "with", "values", "table"].contains(&first.as_str()) {
            let remedy = "begin it with SELECT, WITH, VALUES or TABLE".to_owned();
            return Err(("is not a query".to_owned(), remedy));
        }
        Ok(Query { sql, ordered: is_ordered(&tokens) })
    }
}

/// A token as it goes to the server again: comments to the end of a line keep their line break.
fn written(token: &Token) -> String {
    match token {
        Token::Whitespace(Whitespace::SingleLineComment { .. }) => "\n".to_owned(),
        other => other.to_string(),
    }
}

/// The word in lower case; empty for what is none, and for a quoted name.
fn word(token: &Token) -> String {
    match token {
        Token::Word(word) if word.quote_style.is_none() => word.value.to_ascii_lowercase(),
        _ => String::new(),
    }
}

fn is_ordered(tokens: &[Token]) -> bool {
    let mut depth = 0_i32;
    tokens.windows(2).any(|pair| {
        match pair[0] {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            _ => {}
        }
        depth == 0 && word(&pair[0]) == "order" && word(&pair[1]) == "by"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (String, bool) {
        let query = Query::read(text).unwrap_or_else(|(what, _)| panic!("{text}: {what}"));
        (query.sql, query.ordered)
    }

    /// The order of rows matters where the query itself has one, and not where a part of it does.
    #[test]
    fn order_by_counts_outside_of_brackets() {
        for text in ["select 1 Order  BY 1", "WITH a AS (SELECT 1) SELECT * FROM a ORDER/* */BY 1 LIMIT 2"] {
            assert!(read(text).1, "{text}");
        }
        for text in [
            "SELECT row_number() OVER (ORDER BY id) FROM t",
            "SELECT * FROM (SELECT 1 ORDER BY 1) AS x",
            "SELECT 'order by' -- order by",
            "TABLE t",
            "VALUES (1)",
            "(SELECT 1)",
        ] {
            assert!(!read(text).1, "{text}");
        }
    }

    /// One query that reads: no second statement is asked, and none that only writes.
    #[test]
    fn only_a_single_query_is_a_probe() {
        for (text, wanted) in [
            ("DELETE FROM t", "is not a query"),
            ("COMMIT", "is not a query"),
            ("\"select\"", "is not a query"),
            ("SELECT 1; DROP TABLE t", "holds more than one statement"),
            ("SELECT 'a", "is not SQL that can be read"),
        ] {
            assert_eq!(Query::read(text).map(|query| query.sql).unwrap_err().0, wanted, "{text}");
        }
        assert_eq!(
            read("SELECT ';', $1, a->>'b' FROM t -- ; \n WHERE x ;\n").0,
            "SELECT ';', $1, a->>'b' FROM t \n\n WHERE x"
        );
        assert_eq!(read("SELECT E'\\n', $$;$$ FROM t\n").0, "SELECT E'\\n', $$;$$ FROM t");
    }

    /// A name is a label of metrics.
    #[test]
    fn names_are_labels() {
        for name in ["p", "orders-of-a-customer", "a1"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "1a", "A", "a_b", "a b", &"a".repeat(37)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
