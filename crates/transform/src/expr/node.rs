//! The compiled form of an expression: every name looked up, every cast explicit.

use super::datum::Datum;
use super::functions::{CaseRule, Function};
use super::scope::Collation;
use super::types::{Modifier, SqlType};

/// A compiled expression and what is known of its value.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) ty: SqlType,
    pub(crate) modifier: Modifier,
    pub(crate) collation: Derived,
}

/// Where a value's collation comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Derived {
    /// Its type has none.
    None,
    /// From a column, or the database's own.
    Implicit(Collation),
    /// From a COLLATE clause.
    Explicit(Collation),
    /// Two columns disagree.
    Conflict,
}

/// What a node does.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// The value of a column, by its place in the row.
    Column(usize),
    /// Always the same.
    Constant(Datum<'static>),
    /// A function or operator.
    Call { function: &'static Function, args: Vec<Node>, types: Vec<SqlType>, case: CaseRule },
    /// Another type for the same value.
    Relabel(Box<Node>),
    /// To text and back, as the other type reads it.
    ThroughText(Box<Node>),
    /// The same cast for every element of an array; `each` is given the element as its only column.
    Each { array: Box<Node>, each: Box<Node> },
    /// The value brought to its modifier; what does not fit fails, unless it was asked for.
    Fit { arg: Box<Node>, is_explicit: bool },
    /// All of them.
    And(Vec<Node>),
    /// Any of them.
    Or(Vec<Node>),
    /// Not.
    Not(Box<Node>),
    /// `IS NULL`, negated or not.
    IsNull { arg: Box<Node>, negated: bool },
    /// `IS TRUE`, `IS FALSE`, `IS UNKNOWN` and their negations.
    IsTruth { arg: Box<Node>, truth: Option<bool>, negated: bool },
    /// `IS DISTINCT FROM`, over the equality of the two.
    IsDistinct { equal: Box<Pair>, negated: bool },
    /// The first branch whose condition is true.
    Case { branches: Vec<(Node, Node)>, otherwise: Option<Box<Node>> },
    /// The first that is not null.
    Coalesce(Vec<Node>),
    /// The first, unless both are equal.
    NullIf { equal: Box<Pair>, result: Box<Node> },
    /// The greatest or least of those that are not null; `less` tells whether the first of two is less.
    Extreme { args: Vec<Node>, less: Comparison, is_greatest: bool },
    /// `ANY` or `ALL` of an array, by an operator.
    Quantified { left: Box<Node>, compare: Comparison, array: Box<Node>, is_all: bool },
    /// An array from its elements, or from arrays of the same shape.
    Array { elements: Vec<Node>, is_nested: bool },
    /// One element of an array.
    Subscript { array: Box<Node>, indexes: Vec<Node> },
}

/// An operator on two operands that are already known.
#[derive(Debug, Clone)]
pub(crate) struct Comparison {
    pub(crate) function: &'static Function,
    pub(crate) types: [SqlType; 2],
}

/// Two operands and the operator between them.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) compare: Comparison,
    pub(crate) left: Node,
    pub(crate) right: Node,
}

impl Kind {
    /// Calls `see` with every node right below that is evaluated on the same row.
    pub(crate) fn each_part(&self, see: &mut dyn FnMut(&Node)) {
        match self {
            Kind::Column(_) | Kind::Constant(_) => {}
            Kind::Call { args, .. } | Kind::Extreme { args, .. } => args.iter().for_each(see),
            Kind::And(args) | Kind::Or(args) | Kind::Coalesce(args) => args.iter().for_each(see),
            Kind::Array { elements, .. } => elements.iter().for_each(see),
            Kind::Relabel(arg) | Kind::ThroughText(arg) | Kind::Not(arg) => see(arg),
            Kind::Fit { arg, .. } | Kind::IsNull { arg, .. } | Kind::IsTruth { arg, .. } => see(arg),
            // What is done to each element sees the element alone.
            Kind::Each { array, .. } => see(array),
            Kind::IsDistinct { equal, .. } => [&equal.left, &equal.right].into_iter().for_each(see),
            Kind::NullIf { equal, result } => {
                [&equal.left, &equal.right, &**result].into_iter().for_each(see);
            }
            Kind::Case { branches, otherwise } => {
                branches.iter().flat_map(|(when, then)| [when, then]).for_each(&mut *see);
                otherwise.iter().for_each(|node| see(node));
            }
            Kind::Quantified { left, array, .. } => [&**left, &**array].into_iter().for_each(see),
            Kind::Subscript { array, indexes } => {
                see(array);
                indexes.iter().for_each(see);
            }
        }
    }
}

impl Node {
    /// A node whose type has no modifier and whose value has no collation.
    pub(crate) fn new(kind: Kind, ty: SqlType) -> Node {
        Node { kind, ty, modifier: Modifier::NONE, collation: Derived::None }
    }

    /// A boolean.
    pub(crate) fn truth(kind: Kind) -> Node {
        Node::new(kind, SqlType::Bool)
    }

    /// Calls `found` with the place of every column that is read.
    pub(crate) fn each_column(&self, found: &mut impl FnMut(usize)) {
        if let Kind::Column(at) = self.kind {
            found(at);
        }
        self.kind.each_part(&mut |part| part.each_column(found));
    }

    /// Whether a function of this name is called in it.
    pub(crate) fn calls(&self, name: &str) -> bool {
        let mut found = matches!(&self.kind, Kind::Call { function, .. } if function.name == name);
        self.kind.each_part(&mut |part| found = found || part.calls(name));
        found
    }

    /// A literal that has no type yet.
    pub(crate) fn untyped_literal(&self) -> Option<Option<&str>> {
        match (&self.kind, &self.ty) {
            (Kind::Constant(Datum::Text(text)), SqlType::Unknown) => Some(Some(text)),
            (Kind::Constant(Datum::Null), SqlType::Unknown) => Some(None),
            _ => None,
        }
    }
}
