//! What goes wrong with an expression: problems of its text, found when it is compiled, and failures on a row.

use std::fmt;

use sqlparser::tokenizer::Span;

/// The five letters by which SQL names an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SqlState(pub [u8; 5]);

impl SqlState {
    /// `numeric_value_out_of_range`
    pub const OUT_OF_RANGE: SqlState = SqlState(*b"22003");
    /// `division_by_zero`
    pub const DIVISION_BY_ZERO: SqlState = SqlState(*b"22012");
    /// `invalid_text_representation`
    pub const INVALID_TEXT: SqlState = SqlState(*b"22P02");
    /// `invalid_parameter_value`
    pub const INVALID_PARAMETER: SqlState = SqlState(*b"22023");
    /// `string_data_right_truncation`
    pub const TRUNCATION: SqlState = SqlState(*b"22001");
    /// `invalid_datetime_format`
    pub const INVALID_DATETIME: SqlState = SqlState(*b"22007");
    /// `datetime_field_overflow`
    pub const DATETIME_OVERFLOW: SqlState = SqlState(*b"22008");
    /// `array_subscript_error`
    pub const SUBSCRIPT: SqlState = SqlState(*b"2202E");
    /// `invalid_regular_expression`
    pub const INVALID_REGEX: SqlState = SqlState(*b"2201B");
    /// `invalid_escape_sequence`
    pub const INVALID_ESCAPE: SqlState = SqlState(*b"22025");
    /// `character_not_in_repertoire`
    pub const NOT_IN_REPERTOIRE: SqlState = SqlState(*b"22021");
    /// `null_value_not_allowed`
    pub const NULL_NOT_ALLOWED: SqlState = SqlState(*b"22004");
    /// `feature_not_supported`
    pub const NOT_SUPPORTED: SqlState = SqlState(*b"0A000");
    /// `program_limit_exceeded`
    pub const LIMIT_EXCEEDED: SqlState = SqlState(*b"54000");
    /// `check_violation`
    pub const CHECK_VIOLATION: SqlState = SqlState(*b"23514");
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|letter| write!(f, "{}", char::from(*letter)))
    }
}

/// An expression that fails on a row, as Postgres would. `Display` and `Debug` never show a value of the row.
#[derive(Clone, PartialEq, Eq)]
pub struct EvalError {
    state: SqlState,
    what: &'static str,
    message: Box<str>,
    is_outdated: bool,
}

impl EvalError {
    /// A failure whose message holds no value.
    pub fn new(state: SqlState, what: &'static str) -> EvalError {
        EvalError { state, what, message: what.into(), is_outdated: false }
    }

    /// A failure whose message, as Postgres words it, may quote a value of the row. `what` says the same without it.
    pub fn quoting(state: SqlState, what: &'static str, message: impl Into<Box<str>>) -> EvalError {
        EvalError { state, what, message: message.into(), is_outdated: false }
    }

    /// The same where it tells that a type is not what it was when the expression was compiled.
    pub(crate) fn of_outdated_type(self) -> EvalError {
        EvalError { is_outdated: true, ..self }
    }

    /// Whether the expression has to be compiled again, and nothing is said against the row.
    pub(crate) fn is_of_outdated_type(&self) -> bool {
        self.is_outdated
    }

    /// The error's code.
    pub fn state(&self) -> SqlState {
        self.state
    }

    /// What went wrong, without any value.
    pub fn without_values(&self) -> &'static str {
        self.what
    }

    /// The message of Postgres. It may quote a value, so it belongs next to the row and nowhere else.
    pub fn message_with_values(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.what, self.state)
    }
}

impl fmt::Debug for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for EvalError {}

/// A place in the text of an expression; both ends count from one, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// Line of the first character.
    pub line: u64,
    /// Column of the first character.
    pub column: u64,
    /// Column behind the last character, where it stands in the same line.
    pub column_end: Option<u64>,
}

impl From<Span> for Place {
    fn from(span: Span) -> Place {
        let column_end = (span.start.line == span.end.line).then_some(span.end.column);
        Place { line: span.start.line.max(1), column: span.start.column.max(1), column_end }
    }
}

/// An expression that cannot be taken: what, where, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Problem {
    /// What is wrong, naming the function, type or column.
    pub what: String,
    /// What to do about it.
    pub remedy: Option<String>,
    /// Where, counted from the start of the expression.
    pub place: Place,
}

impl Problem {
    pub(crate) fn new(place: impl Into<Place>, what: impl Into<String>) -> Problem {
        Problem { what: what.into(), remedy: None, place: place.into() }
    }

    /// An expression over a table of which only names are known.
    pub(crate) fn untyped(table: &understudy_model::TableName) -> Problem {
        let place = Place { line: 1, column: 1, column_end: None };
        Problem::new(place, format!("the types of the columns of {table} are not known"))
    }

    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Problem {
        self.remedy = Some(remedy.into());
        self
    }

    /// The expression with a caret under the place, on two lines.
    pub fn with_caret(&self, expression: &str) -> String {
        let line = expression.lines().nth(self.place.line as usize - 1).unwrap_or_default();
        let before = self.place.column as usize - 1;
        let width = self.place.column_end.map_or(1, |end| (end as usize).saturating_sub(before + 1).max(1));
        let indent: String =
            line.chars().take(before).map(|letter| if letter == '\t' { '\t' } else { ' ' }).collect();
        format!("{line}\n{indent}{}", "^".repeat(width))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_place() {
        let place = Place { line: 2, column: 3, column_end: Some(6) };
        let problem = Problem { what: "no such column".into(), remedy: None, place };
        assert_eq!(problem.with_caret("a +\n\tabcd"), "\tabcd\n\t ^^^");
    }

    /// Promise 8: values stay out of logs and errors.
    #[test]
    fn failures_do_not_show_values() {
        let state = SqlState::INVALID_TEXT;
        let message = "invalid input syntax for type integer: \"secret\"";
        let error = EvalError::quoting(state, "invalid input syntax for type integer", message);
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("22P02") && !shown.contains("secret"), "{shown}");
        assert!(error.message_with_values().contains("secret"));
    }
}
