//! What fails on every row, whatever the row is: found when a route is compiled, and not when its first row arrives.

use super::Expression;
use super::datum::Datum;
use super::error::{EvalError, Place, Problem, SqlState};
use super::eval::TextRow;
use super::functions::Call;
use super::node::{Kind, Node};
use super::types::SqlType;
use super::value::Interval;

/// Functions that read one of their arguments as a pattern or as the name of an encoding.
const READERS: [&str; 12] = [
    "~",
    "~*",
    "!~",
    "!~*",
    "regexp_replace",
    "regexp_match",
    "regexp_like",
    "regexp_count",
    "encode",
    "decode",
    "convert_to",
    "convert_from",
];

impl Expression {
    /// The expression, unless it fails on every row, or on every row in which nothing is null. Branches that a row need not
    /// reach, as those of CASE and COALESCE, are left alone.
    pub(crate) fn unless_it_always_fails(self) -> Result<Expression, Problem> {
        let Some(error) = failure(&self.root) else { return Ok(self) };
        let lines = self.text.lines().count().max(1);
        let column_end = (lines == 1).then(|| self.text.chars().count() as u64 + 1);
        let place = Place { line: 1, column: 1, column_end };
        // Nothing but the expression's own constants went into it.
        let what = format!("{} (SQLSTATE {}), whatever the row", error.message_with_values(), error.state());
        Err(Problem::new(place, what))
    }
}

fn is_constant(node: &Node) -> bool {
    let mut constant = true;
    node.each_column(&mut |_| constant = false);
    constant
}

fn failure(node: &Node) -> Option<EvalError> {
    if is_constant(node) {
        return node.eval(&TextRow(&[])).err();
    }
    reached_always(node).into_iter().find_map(failure).or_else(|| unreadable(node))
}

/// The parts that are evaluated whenever the node is.
fn reached_always(node: &Node) -> Vec<&Node> {
    let mut parts = Vec::new();
    match &node.kind {
        Kind::And(args) | Kind::Or(args) | Kind::Coalesce(args) => parts.extend(args.first()),
        Kind::Case { branches, .. } => parts.extend(branches.first().map(|(condition, _)| condition)),
        Kind::NullIf { equal, .. } | Kind::IsDistinct { equal, .. } => {
            parts.extend([&equal.left, &equal.right]);
        }
        Kind::Call { args, .. } | Kind::Extreme { args, .. } => parts.extend(args),
        Kind::Array { elements, .. } => parts.extend(elements),
        Kind::Relabel(arg) | Kind::ThroughText(arg) | Kind::Not(arg) => parts.push(arg),
        Kind::Fit { arg, .. } | Kind::IsNull { arg, .. } | Kind::IsTruth { arg, .. } => parts.push(arg),
        Kind::Each { array, .. } => parts.push(array),
        Kind::Quantified { left, array, .. } => parts.extend([&**left, &**array]),
        Kind::Subscript { array, .. } => parts.push(array),
        Kind::Column(_) | Kind::Constant(_) => {}
    }
    parts
}

/// Whether a call refuses its constants: a pattern, a format, a unit, the name of a time zone. It is tried with a value
/// that no such call refuses in place of the row's.
fn unreadable(node: &Node) -> Option<EvalError> {
    let Kind::Call { function, args, types, case } = &node.kind else { return None };
    let is_reader = READERS.contains(&function.name);
    let mut values = Vec::with_capacity(args.len());
    for arg in args {
        values.push(if is_constant(arg) {
            arg.eval(&TextRow(&[])).ok()?
        } else {
            harmless(arg.ty.base(), is_reader)?
        });
    }
    if values.iter().any(Datum::is_null) {
        return None;
    }
    let call = Call { args: types, result: &node.ty, modifier: node.modifier, case: *case };
    let error = (function.compute)(call, &values).err()?;
    let of_constants = [SqlState::INVALID_REGEX, SqlState::INVALID_PARAMETER, SqlState::NOT_SUPPORTED];
    of_constants.contains(&error.state()).then_some(error)
}

fn harmless(ty: &SqlType, is_reader: bool) -> Option<Datum<'static>> {
    Some(match ty {
        SqlType::Date => Datum::Date(0),
        SqlType::Time => Datum::Time(0),
        SqlType::TimeTz => Datum::TimeTz(0, 0),
        SqlType::Timestamp | SqlType::TimestampTz => Datum::Timestamp(0),
        SqlType::Interval => Datum::Interval(Interval::default()),
        SqlType::Text | SqlType::Varchar if is_reader => Datum::text(""),
        SqlType::Bytea if is_reader => Datum::Bytes(Vec::new().into()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use understudy_model::TableName;

    use super::*;
    use crate::expr::{Collation, Modifier, Scope, ScopeColumn};

    fn found(expression: &str) -> Option<String> {
        let column = |(name, ty): (&str, SqlType)| ScopeColumn {
            name: name.to_owned(),
            collation: ty.is_string().then(Collation::bytes),
            ty,
            modifier: Modifier::NONE,
        };
        let columns = [
            ("a", SqlType::Int4),
            ("c", SqlType::Text),
            ("x", SqlType::Timestamp),
            ("b", SqlType::Bytea),
            ("l", SqlType::Int4.array_of()),
        ];
        let scope = Scope {
            table: TableName::new("public", "t"),
            columns: columns.map(column).into(),
            types: Default::default(),
            collation: Collation::bytes(),
            mask_key: None,
        };
        let compiled = Expression::compile(expression, &scope).unwrap_or_else(|problem| panic!("{problem}"));
        compiled.unless_it_always_fails().err().map(|problem| problem.what)
    }

    /// Otherwise every row would go to quarantine, or the run stop at its first.
    #[test]
    fn what_fails_on_every_row_is_found() {
        for (text, code) in [
            ("1 / 0", "22012"),
            ("a + 1 / 0", "22012"),
            ("coalesce(1 / 0, a)", "22012"),
            ("CASE WHEN 1 / 0 > a THEN 1 END", "22012"),
            ("c ~ '('", "2201B"),
            ("regexp_replace(c, '[', 'x')", "2201B"),
            ("NOT (lower(c) ~ '*')", "2201B"),
            ("date_trunc('fortnight', x)", "22023"),
            ("x AT TIME ZONE 'Nowhere/Land'", "22023"),
            ("encode(b, 'base99')", "22023"),
        ] {
            let what = found(text).unwrap_or_else(|| panic!("{text}: not found"));
            assert!(what.contains(code), "{text}: {what}");
        }
    }

    /// A row need not reach what fails, and what fails on some rows may hold on others.
    #[test]
    fn what_holds_on_some_rows_is_left_alone() {
        for text in [
            "CASE WHEN a > 0 THEN a ELSE 1 / 0 END",
            "coalesce(a, 1 / 0)",
            "a > 0 OR 1 / 0 > 0",
            "a / 0",
            "split_part(c, ',', a)",
            "l[1] + 1",
            "c::int",
            "c ~ c",
            "c ~ '^(a|b)$'",
            "regexp_replace(c, 'a', NULL)",
            "date_trunc('day', x)",
            "x AT TIME ZONE 'Europe/Berlin'",
            "x AT TIME ZONE c",
            "encode(b, 'hex')",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }

    /// The message says what the constants are, and where.
    #[test]
    fn the_problem_quotes_the_expression() {
        let what = found("date_trunc('fortnight', x)").unwrap();
        assert!(what.contains("fortnight"), "{what}");
    }
}
