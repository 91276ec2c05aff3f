//! From the text of an expression to its compiled form: names are looked up, types found, casts made explicit.

mod call;
mod cast;
mod forms;
mod literal;

use sqlparser::ast::{BinaryOperator, Expr, Ident, Spanned, UnaryOperator};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::datum::Datum;
use super::error::{Place, Problem};
use super::node::{Derived, Kind, Node};
use super::scope::Scope;
use super::types::{Modifier, SqlType};

pub(crate) use cast::Context;

/// Expressions nest no deeper: the stack is finite.
const DEPTH_MAX: usize = 100;

/// Parses one expression and nothing behind it.
pub(crate) fn parse(text: &str) -> Result<Expr, Problem> {
    let at_start = || Place { line: 1, column: 1, column_end: None };
    let wrong = |error: &dyn std::fmt::Display| {
        let (what, place) = placed(&error.to_string());
        Problem::new(place.unwrap_or_else(at_start), what)
    };
    let dialect = PostgreSqlDialect {};
    let parser = Parser::new(&dialect).with_recursion_limit(DEPTH_MAX);
    let mut parser = parser.try_with_sql(text).map_err(|error| wrong(&error))?;
    let expr = parser.parse_expr().map_err(|error| wrong(&error))?;
    let next = parser.peek_token();
    if next.token != Token::EOF {
        return Err(Problem::new(next.span, format!("`{}` does not belong to the expression", next.token)));
    }
    Ok(expr)
}

/// The parser puts the place behind its message.
fn placed(message: &str) -> (String, Option<Place>) {
    let message = message.trim_start_matches("sql parser error: ");
    let Some((what, place)) = message.rsplit_once(" at Line: ") else {
        return (message.to_owned(), None);
    };
    let mut numbers = place.split(", Column: ").map(|number| number.trim().parse::<u64>().ok());
    let place = match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(line), Some(column)) => Some(Place { line, column, column_end: None }),
        _ => None,
    };
    (what.to_owned(), place)
}

/// Looks names up and finds types.
pub(crate) struct Resolver<'s> {
    pub(crate) scope: &'s Scope,
}

impl Resolver<'_> {
    /// Compiles an expression.
    pub(crate) fn resolve(&self, expr: &Expr) -> Result<Node, Problem> {
        match expr {
            Expr::Nested(inner) => self.resolve(inner),
            Expr::Identifier(name) => self.column(std::slice::from_ref(name), expr),
            Expr::CompoundIdentifier(names) => self.column(names, expr),
            Expr::Value(value) => literal::value(value),
            Expr::TypedString(typed) => self.typed_string(typed, expr),
            Expr::Interval(interval) => self.interval(interval, expr),
            Expr::Cast { .. } => self.cast(expr),
            Expr::Collate { expr: inner, collation } => self.collate(inner, collation, expr),
            Expr::UnaryOp { op, expr: inner } => self.unary(*op, inner, expr),
            Expr::BinaryOp { left, op, right } => self.binary(left, op, right, expr),
            Expr::IsNull(inner) => self.is_null(inner, false),
            Expr::IsNotNull(inner) => self.is_null(inner, true),
            Expr::IsTrue(inner) => self.is_truth(inner, Some(true), false),
            Expr::IsNotTrue(inner) => self.is_truth(inner, Some(true), true),
            Expr::IsFalse(inner) => self.is_truth(inner, Some(false), false),
            Expr::IsNotFalse(inner) => self.is_truth(inner, Some(false), true),
            Expr::IsUnknown(inner) => self.is_truth(inner, None, false),
            Expr::IsNotUnknown(inner) => self.is_truth(inner, None, true),
            Expr::IsDistinctFrom(left, right) => self.is_distinct(left, right, false, expr),
            Expr::IsNotDistinctFrom(left, right) => self.is_distinct(left, right, true, expr),
            Expr::InList { .. } | Expr::Between { .. } | Expr::AnyOp { .. } | Expr::AllOp { .. } => {
                self.membership(expr)
            }
            Expr::Like { .. } | Expr::ILike { .. } => self.like(expr),
            Expr::Case { .. } => self.case(expr),
            Expr::Function(function) => self.function(function, expr),
            Expr::Array(array) => self.array(array, expr),
            Expr::CompoundFieldAccess { root, access_chain } => self.subscript(root, access_chain, expr),
            Expr::AtTimeZone { timestamp, time_zone } => {
                self.named_call("timezone", &[time_zone, timestamp], expr)
            }
            Expr::Extract { .. }
            | Expr::Ceil { .. }
            | Expr::Floor { .. }
            | Expr::Position { .. }
            | Expr::Substring { .. }
            | Expr::Trim { .. }
            | Expr::Overlay { .. } => self.spelled_out(expr),
            other => Err(not_supported(other, "this form of expression")),
        }
    }

    /// A column, by its name alone or with that of its table in front.
    fn column(&self, names: &[Ident], expr: &Expr) -> Result<Node, Problem> {
        let (table, name) = match names {
            [name] => (None, name),
            [table, name] => (Some(table), name),
            _ => return Err(not_supported(expr, "a name of more than two parts")),
        };
        let source = &self.scope.table;
        if let Some(table) = table.filter(|table| folded(table) != source.name) {
            return Err(Problem::new(
                expr.span(),
                format!("`{table}` is not the table that this route reads"),
            )
            .remedy(format!("name columns of {source} alone, as in `{name}`")));
        }
        let wanted = folded(name);
        let Some(at) = self.scope.find(&wanted) else {
            if let Some(node) = keyword_value(name) {
                return node.ok_or_else(|| not_deterministic(expr, &wanted));
            }
            let known = self.scope.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>();
            return Err(Problem::new(expr.span(), format!("{source} has no column `{wanted}`"))
                .remedy(format!("its columns are: {}", known.join(", "))));
        };
        let column = &self.scope.columns[at];
        Ok(Node {
            kind: Kind::Column(at),
            ty: column.ty.clone(),
            modifier: column.modifier,
            collation: column.collation.clone().map_or(Derived::None, Derived::Implicit),
        })
    }

    fn unary(&self, op: UnaryOperator, inner: &Expr, expr: &Expr) -> Result<Node, Problem> {
        match op {
            UnaryOperator::Not => Ok(Node::truth(Kind::Not(Box::new(self.condition(inner, "NOT")?)))),
            // A number and its sign are one literal, or the least integer of each type could not be written.
            // The parser binds a sign less tightly than a power, and Postgres more tightly.
            UnaryOperator::Minus | UnaryOperator::Plus if is_power(inner) => Err(needs_brackets(expr)),
            UnaryOperator::Minus if literal::is_number(inner) => literal::negative(inner),
            UnaryOperator::Minus => self.operator("-", &[inner], expr),
            UnaryOperator::Plus => self.operator("+", &[inner], expr),
            UnaryOperator::BitwiseNot => self.operator("~", &[inner], expr),
            UnaryOperator::PGAbs => self.operator("@", &[inner], expr),
            _ => Err(not_supported(expr, &format!("the operator `{op}`"))),
        }
    }

    fn binary(&self, left: &Expr, op: &BinaryOperator, right: &Expr, expr: &Expr) -> Result<Node, Problem> {
        // The parser binds these more tightly than any operator between two operands, and Postgres less tightly than most.
        if [left, right].into_iter().any(is_loose_prefix) {
            return Err(needs_brackets(expr));
        }
        // In Postgres operators without a rank of their own bind from the left; the parser lets some wait for others. And a
        // chain of comparisons means nothing there.
        if (is_plain_operator(op) && is_binary(right, is_plain_operator))
            || (is_comparison(op) && [left, right].into_iter().any(|side| is_binary(side, is_comparison)))
        {
            return Err(needs_brackets(expr));
        }
        match op {
            BinaryOperator::And => self.logic(expr, true),
            BinaryOperator::Or => self.logic(expr, false),
            other => {
                let sign = other.to_string();
                let sign = if sign == "!=" { "<>" } else { &sign };
                self.operator(sign, &[left, right], expr)
            }
        }
    }

    /// A chain of AND, or of OR, as one node.
    fn logic(&self, expr: &Expr, is_and: bool) -> Result<Node, Problem> {
        let wanted = if is_and { BinaryOperator::And } else { BinaryOperator::Or };
        let (mut operands, mut rest) = (Vec::new(), expr);
        while let Expr::BinaryOp { left, op, right } = rest
            && *op == wanted
        {
            operands.push(right.as_ref());
            rest = left;
        }
        operands.push(rest);
        let name = if is_and { "AND" } else { "OR" };
        let nodes = operands.into_iter().rev().map(|operand| self.condition(operand, name));
        let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
        Ok(Node::truth(if is_and { Kind::And(nodes) } else { Kind::Or(nodes) }))
    }

    /// An expression that must be true, false or null.
    pub(crate) fn condition(&self, expr: &Expr, of: &str) -> Result<Node, Problem> {
        let node = self.resolve(expr)?;
        if node.ty == SqlType::Unknown || *node.ty.base() == SqlType::Bool {
            return self.implicitly(node, &SqlType::Bool, expr);
        }
        Err(Problem::new(expr.span(), format!("argument of {of} must be type boolean, not type {}", node.ty)))
    }

    fn is_null(&self, inner: &Expr, negated: bool) -> Result<Node, Problem> {
        Ok(Node::truth(Kind::IsNull { arg: Box::new(self.resolve(inner)?), negated }))
    }

    fn is_truth(&self, inner: &Expr, truth: Option<bool>, negated: bool) -> Result<Node, Problem> {
        let arg = Box::new(self.condition(inner, "IS")?);
        Ok(Node::truth(Kind::IsTruth { arg, truth, negated }))
    }
}

fn is_power(expr: &Expr) -> bool {
    matches!(expr, Expr::BinaryOp { op: BinaryOperator::PGExp, .. })
}

/// Whether an operator ranks with those that have no place of their own in the order of operators: all but arithmetic,
/// comparison and logic.
fn is_plain_operator(op: &BinaryOperator) -> bool {
    use BinaryOperator as Op;
    let ranked = matches!(
        op,
        Op::And | Op::Or | Op::Plus | Op::Minus | Op::Multiply | Op::Divide | Op::Modulo | Op::PGExp
    );
    !ranked && !is_comparison(op)
}

/// Another such operator without brackets around it.
fn is_binary(side: &Expr, is_such: fn(&BinaryOperator) -> bool) -> bool {
    matches!(side, Expr::BinaryOp { op, .. } if is_such(op))
}

fn is_comparison(op: &BinaryOperator) -> bool {
    use BinaryOperator as Op;
    matches!(op, Op::Eq | Op::NotEq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq)
}

/// `~ x` and `@ x` without brackets around them.
fn is_loose_prefix(expr: &Expr) -> bool {
    matches!(expr, Expr::UnaryOp { op: UnaryOperator::BitwiseNot | UnaryOperator::PGAbs, .. })
}

fn needs_brackets(expr: &Expr) -> Problem {
    Problem::new(expr.span(), "which of these operators comes first is easily misread")
        .remedy("put brackets around what belongs together")
}

/// A name as Postgres folds it.
pub(crate) fn folded(name: &Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_ascii_lowercase() }
}

/// Words that the parser takes for names. `None` inside when their value changes from call to call.
fn keyword_value(name: &Ident) -> Option<Option<Node>> {
    if name.quote_style.is_some() {
        return None;
    }
    match name.value.to_ascii_lowercase().as_str() {
        "current_date" | "current_time" | "current_timestamp" | "localtime" | "localtimestamp"
        | "current_user" | "session_user" | "current_role" | "current_catalog" | "current_schema"
        | "user" => Some(None),
        _ => None,
    }
}

/// A constant that has no type yet.
pub(crate) fn untyped(value: Datum<'static>) -> Node {
    Node {
        kind: Kind::Constant(value),
        ty: SqlType::Unknown,
        modifier: Modifier::NONE,
        collation: Derived::None,
    }
}

pub(crate) fn not_supported(expr: &Expr, what: &str) -> Problem {
    Problem::new(expr.span(), format!("{what} is not supported in expressions"))
        .remedy("see the reference of expressions for what is")
}

pub(crate) fn not_deterministic(expr: &Expr, name: &str) -> Problem {
    Problem::new(
        expr.span(),
        format!("`{name}` gives another value each time, so a row could not be computed again"),
    )
    .remedy("use columns and constants only")
}
