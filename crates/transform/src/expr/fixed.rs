//! What a condition fixes: columns that have the same value in every row for which it is true; and which expressions
//! only cast one column.

use super::Expression;
use super::eval::TextRow;
use super::functions::Function;
use super::node::{Kind, Node};
use super::text;
use super::types::{Modifier, SqlType};

/// One step of a chain of casts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CastStep {
    pub(crate) ty: SqlType,
    pub(crate) modifier: Modifier,
}

impl Expression {
    /// Columns that have one value wherever the condition is true, by their places, with its text; `None` is null.
    pub(crate) fn fixes(&self) -> Vec<(usize, Option<String>)> {
        let mut found = Vec::new();
        fixes(&self.root, &mut found);
        found
    }

    /// The column that it is a cast of, and the types through which it goes, the column's first.
    pub(crate) fn casts(&self) -> Option<(usize, Vec<CastStep>)> {
        let mut steps = Vec::new();
        let at = cast_of(&self.root, &mut steps)?;
        Some((at, steps))
    }
}

fn fixes(node: &Node, found: &mut Vec<(usize, Option<String>)>) {
    let truth = |value: bool| Some(if value { "t" } else { "f" }.to_owned());
    match &node.kind {
        Kind::And(parts) => parts.iter().for_each(|part| fixes(part, found)),
        Kind::IsNull { arg, negated: false } => found.extend(column_of(arg).map(|at| (at, None))),
        Kind::Column(_) | Kind::Relabel(_) => found.extend(column_of(node).map(|at| (at, truth(true)))),
        Kind::Not(arg) => found.extend(column_of(arg).map(|at| (at, truth(false)))),
        Kind::IsTruth { arg, truth: wanted, negated: false } => {
            found.extend(column_of(arg).map(|at| (at, wanted.and_then(truth))));
        }
        Kind::Call { function, args, .. } => found.extend(equal_to(function, args)),
        _ => {}
    }
}

/// The column that a node is, under whatever name of its type.
fn column_of(node: &Node) -> Option<usize> {
    match &node.kind {
        Kind::Column(at) => Some(*at),
        Kind::Relabel(arg) => column_of(arg),
        _ => None,
    }
}

fn equal_to(function: &Function, args: &[Node]) -> Option<(usize, Option<String>)> {
    let [left, right] = args else { return None };
    let constant = |node: &Node| {
        let mut reads = false;
        node.each_column(&mut |_| reads = true);
        let value = (!reads).then(|| node.eval(&TextRow(&[])).ok()).flatten()?;
        (!value.is_null()).then(|| text::output(&value, &node.ty).into_owned())
    };
    let (at, ty, value, other) = match (column_of(left), column_of(right)) {
        (Some(at), None) => (at, &left.ty, constant(right)?, &right.ty),
        (None, Some(at)) => (at, &right.ty, constant(left)?, &left.ty),
        _ => return None,
    };
    // Where both are numbers of some length, their texts are alike.
    let alike = ty.base() == other.base() || (is_integer(ty) && is_integer(other));
    (function.name == "=" && alike && equal_is_same(ty)).then_some((at, Some(value)))
}

fn is_integer(ty: &SqlType) -> bool {
    matches!(ty.base(), SqlType::Int2 | SqlType::Int4 | SqlType::Int8)
}

/// Whether values that are equal have the same text.
pub(crate) fn equal_is_same(ty: &SqlType) -> bool {
    match ty.base() {
        SqlType::Bool
        | SqlType::Int2
        | SqlType::Int4
        | SqlType::Int8
        | SqlType::Text
        | SqlType::Varchar
        | SqlType::Bytea
        | SqlType::Date
        | SqlType::Time
        | SqlType::Timestamp
        | SqlType::TimestampTz
        | SqlType::Uuid
        | SqlType::Enum(_) => true,
        SqlType::Array(element) => equal_is_same(element) && element.element().is_none(),
        _ => false,
    }
}

fn cast_of(node: &Node, steps: &mut Vec<CastStep>) -> Option<usize> {
    let at = match &node.kind {
        Kind::Column(at) => Some(*at),
        Kind::Relabel(arg) | Kind::ThroughText(arg) | Kind::Fit { arg, .. } => cast_of(arg, steps),
        Kind::Each { array, .. } => cast_of(array, steps),
        Kind::Call { function, args, .. } if function.name == "cast" => cast_of(args.first()?, steps),
        _ => None,
    }?;
    // A cast to a type with a length is one step.
    let is_bare = |step: &CastStep| step.modifier == Modifier::NONE && step.ty == node.ty;
    if matches!(node.kind, Kind::Fit { .. }) && steps.len() > 1 && steps.last().is_some_and(is_bare) {
        steps.pop();
    }
    steps.push(CastStep { ty: node.ty.clone(), modifier: node.modifier });
    Some(at)
}
