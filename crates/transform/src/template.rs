//! Templates of texts with columns in them, such as `CUSTOMER#{customer_id}`, and the SQL that they stand for.

use sqlparser::ast::{BinaryOperator, CastKind, DataType, Expr, Value};

use crate::expr::render::{quoted_literal, quoted_name};
use crate::expr::{Place, Problem, parsed};

/// A text with columns of blue in it. `{{` and `}}` stand for the brackets themselves.
///
/// It comes to null where one of its columns is null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Column { name: String, place: Place },
}

/// What every value of an expression begins with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prefix {
    /// The text that values begin with.
    pub text: String,
    /// Whether it is the whole value.
    pub is_all: bool,
}

impl Template {
    /// Takes a text apart. Places in problems count from its start.
    pub fn parse(text: &str) -> Result<Template, Problem> {
        let mut reader = Reader { letters: text.chars().peekable(), line: 1, column: 1 };
        let mut pieces = Vec::new();
        let mut plain = String::new();
        loop {
            let place = reader.place();
            match reader.next() {
                None => break,
                Some('{') if !reader.takes('{') => {
                    if !plain.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut plain)));
                    }
                    pieces.push(reader.column(place)?);
                }
                Some('}') if !reader.takes('}') => {
                    return Err(Problem::new(place, "a `}` without its `{`")
                        .remedy("write `}}` for the letter itself"));
                }
                Some('\0') => {
                    return Err(Problem::new(place, "a zero byte, which no text of Postgres has")
                        .remedy("take it out"));
                }
                Some(letter) => plain.push(letter),
            }
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        if pieces.is_empty() {
            let place = Place { line: 1, column: 1, column_end: None };
            return Err(Problem::new(place, "the template is empty")
                .remedy("write text and columns, such as `CUSTOMER#{customer_id}`"));
        }
        Ok(Template { pieces })
    }

    /// Whether the table has all of its columns.
    pub fn check(&self, columns: &[String]) -> Result<(), Problem> {
        for piece in &self.pieces {
            if let Piece::Column { name, place } = piece
                && !columns.contains(name)
            {
                let problem = Problem::new(*place, format!("the table has no column `{name}`"));
                return Err(problem.remedy(remedy_for(name, columns)));
            }
        }
        Ok(())
    }

    /// The columns in it, in their order.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Column { name, .. } => Some(name.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// The column that it is nothing but, whose value may be taken as it is.
    pub fn only_column(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [Piece::Column { name, .. }] => Some(name),
            _ => None,
        }
    }

    /// What every value begins with.
    pub fn prefix(&self) -> Prefix {
        match self.pieces.as_slice() {
            [Piece::Text(text), rest @ ..] => Prefix { text: text.clone(), is_all: rest.is_empty() },
            _ => Prefix::default(),
        }
    }

    /// The SQL expression that it stands for.
    pub fn sql(&self) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => quoted_literal(text),
            Piece::Column { name, .. } => format!("({})::text", quoted_name(name)),
        };
        self.pieces.iter().map(piece).collect::<Vec<_>>().join(" || ")
    }
}

impl Prefix {
    /// What the values of an SQL expression begin with, as far as its text shows: the literals that it joins first.
    pub fn of_sql(text: &str) -> Prefix {
        parsed(text).map(|expr| prefix_of(&expr)).unwrap_or_default()
    }
}

fn prefix_of(expr: &Expr) -> Prefix {
    match expr {
        Expr::Nested(inner) => prefix_of(inner),
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => {
                Prefix { text: text.clone(), is_all: true }
            }
            _ => Prefix::default(),
        },
        Expr::Cast {
            kind: CastKind::Cast | CastKind::DoubleColon, expr, data_type: DataType::Text, ..
        } => prefix_of(expr),
        Expr::BinaryOp { left, op: BinaryOperator::StringConcat, right } => {
            let left = prefix_of(left);
            if !left.is_all {
                return left;
            }
            let right = prefix_of(right);
            Prefix { text: left.text + &right.text, is_all: right.is_all }
        }
        _ => Prefix::default(),
    }
}

fn remedy_for(name: &str, columns: &[String]) -> String {
    /// Names less alike than this are not meant.
    const ALIKE: f64 = 0.8;
    if name.contains(|letter: char| "()|:' ".contains(letter)) {
        return "a template takes names of columns: write an expression as `sql`".to_owned();
    }
    let scored = columns.iter().map(|column| (strsim::jaro_winkler(name, column), column));
    match scored.max_by(|one, other| one.0.total_cmp(&other.0)) {
        Some((score, column)) if score >= ALIKE => format!("did you mean `{{{column}}}`?"),
        _ => format!("its columns are {}", columns.join(", ")),
    }
}

struct Reader<'t> {
    letters: std::iter::Peekable<std::str::Chars<'t>>,
    line: u64,
    column: u64,
}

impl Reader<'_> {
    fn place(&self) -> Place {
        Place { line: self.line, column: self.column, column_end: None }
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.letters.next()?;
        if letter == '\n' {
            (self.line, self.column) = (self.line + 1, 1);
        } else {
            self.column += 1;
        }
        Some(letter)
    }

    fn takes(&mut self, wanted: char) -> bool {
        self.letters.peek() == Some(&wanted) && self.next().is_some()
    }

    /// Behind a `{`.
    fn column(&mut self, start: Place) -> Result<Piece, Problem> {
        let mut name = String::new();
        loop {
            match self.next() {
                Some('}') => break,
                Some(letter) if letter != '{' && letter != '\n' => name.push(letter),
                _ => {
                    return Err(Problem::new(start, "a `{` without its `}`")
                        .remedy("write a column as `{name}`, and `{{` for the letter itself"));
                }
            }
        }
        let place = Place { column_end: Some(self.column), ..start };
        let name = name.trim().to_owned();
        if name.is_empty() {
            return Err(
                Problem::new(place, "no column is named in `{}`").remedy("write a column as `{name}`")
            );
        }
        Ok(Piece::Column { name, place })
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::collections::HashMap;

    use understudy_model::TableName;

    use super::*;
    use crate::expr::{Collation, Expression, Modifier, Scope, ScopeColumn, SqlType};

    fn scope() -> Scope {
        let column =
            |name: &str, ty| ScopeColumn { name: name.into(), ty, modifier: Modifier::NONE, collation: None };
        Scope {
            table: TableName::new("public", "t"),
            columns: vec![column("id", SqlType::Int4), column("e\"Mail", SqlType::Text)],
            types: HashMap::new(),
            collation: Collation::bytes(),
            mask_key: None,
        }
    }

    fn filled(template: &str, id: Option<&str>, mail: Option<&str>) -> Option<String> {
        let sql = Template::parse(template).unwrap().sql();
        let row = [id.map(Cow::Borrowed), mail.map(Cow::Borrowed)];
        Expression::compile(&sql, &scope()).expect(&sql).evaluate(&row).unwrap()
    }

    /// A key that is not what the template shows names another item; and a missing value makes none at all.
    #[test]
    fn a_template_is_filled_as_it_reads() {
        for (template, expected) in [
            ("CUSTOMER#{id}", "CUSTOMER#7"),
            ("{id}", "7"),
            ("{id}{id}", "77"),
            ("it's {e\"Mail}\\n", "it's a'b\\c\\n"),
            ("{{{ id }}}", "{7}"),
            ("constant", "constant"),
            ("a\nb{id}", "a\nb7"),
            ("-- {id} /*", "-- 7 /*"),
            ("ä#{id}$1", "ä#7$1"),
        ] {
            assert_eq!(filled(template, Some("7"), Some("a'b\\c")).as_deref(), Some(expected), "{template}");
        }
        assert_eq!(filled("{id}#{e\"Mail}", Some("7"), None), None);
    }

    /// A mistake is told with its place and what to write instead.
    #[test]
    fn mistakes_are_told_with_their_place() {
        for (template, line, column) in [
            ("", 1, 1),
            ("a{id", 1, 2),
            ("a\nbc{id", 2, 3),
            ("{a{b}", 1, 1),
            ("a}", 1, 2),
            ("x{}", 1, 2),
            ("x{ }", 1, 2),
            ("a\0", 1, 2),
        ] {
            let problem = Template::parse(template).unwrap_err();
            assert_eq!((problem.place.line, problem.place.column), (line, column), "{template:?}: {problem}");
            assert!(problem.remedy.is_some(), "{template:?}");
        }
    }

    /// A column that is not there is found before any row is, and the one that was meant is named.
    #[test]
    fn columns_are_known() {
        let known = ["customer_id".to_owned(), "email".to_owned()];
        let check = |text: &str| Template::parse(text).unwrap().check(&known);
        assert_eq!(check("C#{customer_id}{email}"), Ok(()));
        let problem = check("C#{custmer_id}").unwrap_err();
        assert_eq!(problem.place, Place { line: 1, column: 3, column_end: Some(15) });
        assert_eq!(problem.remedy.as_deref(), Some("did you mean `{customer_id}`?"));
        assert!(check("{lower(email)}").unwrap_err().remedy.is_some_and(|remedy| remedy.contains("`sql`")));
        let template = Template::parse("C#{customer_id}{email}").unwrap();
        assert_eq!(template.columns().collect::<Vec<_>>(), ["customer_id", "email"]);
        assert_eq!(template.only_column(), None);
        assert_eq!(Template::parse("{email}").unwrap().only_column(), Some("email"));
    }

    /// Routes share a table where their keys begin differently: a beginning that is not one would let them meet.
    #[test]
    fn beginnings_are_those_of_every_value() {
        let prefix = |text: &str, is_all| Prefix { text: text.to_owned(), is_all };
        for (template, expected) in
            [("C#{id}", prefix("C#", false)), ("C", prefix("C", true)), ("{id}#", prefix("", false))]
        {
            let template = Template::parse(template).unwrap();
            assert_eq!(template.prefix(), expected);
            assert_eq!(Prefix::of_sql(&template.sql()), expected);
        }
        for (sql, expected) in [
            ("'A' || '#' || lpad(id::text, 3, '0')", prefix("A#", false)),
            ("('A#'::text || id)", prefix("A#", false)),
            ("'A'", prefix("A", true)),
            ("'it''s' || E'\\\\'", prefix("it's\\", true)),
            ("id || 'A'", prefix("", false)),
            ("'A' || x = 'B'", prefix("", false)),
            ("upper('a' || id)", prefix("", false)),
            ("'A'::char(1) || id", prefix("", false)),
            ("coalesce('A'", prefix("", false)),
        ] {
            assert_eq!(Prefix::of_sql(sql), expected, "{sql}");
        }
    }
}
