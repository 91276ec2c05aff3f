//! Which casts there are, which of them happen by themselves, and the common type of several values.

use sqlparser::ast::{CastKind, Expr, ObjectName, Spanned};

use super::{Resolver, literal, not_supported};
use crate::expr::datum::Datum;
use crate::expr::error::Problem;
use crate::expr::functions;
use crate::expr::node::{Derived, Kind, Node};
use crate::expr::scope::Collation;
use crate::expr::types::{Category, Modifier, SqlType};

/// What asks for a cast. Each allows what those before it allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Context {
    /// A call or an operator.
    Implicit,
    /// A value that is stored in a column.
    Assignment,
    /// `CAST` or `::`.
    Explicit,
}

/// How a value of one type becomes one of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    /// The bytes mean the same in both.
    Relabel,
    /// By the function `cast` of the table.
    Function,
    /// By its text.
    ThroughText,
    /// Element by element.
    Each,
}

/// The way from one type to another, if there is one in this context.
pub(crate) fn path(from: &SqlType, to: &SqlType, context: Context) -> Option<Path> {
    use SqlType::{Bpchar, Text, Varchar};
    let (from, to) = (from.base(), to.base());
    if from == to {
        return Some(Path::Relabel);
    }
    match (from, to) {
        (Text | Varchar, Text | Varchar | Bpchar) => return Some(Path::Relabel),
        // Its trailing blanks mean nothing, and are taken away.
        (Bpchar, Text | Varchar) => return Some(Path::Function),
        (SqlType::Cidr, SqlType::Inet) => return Some(Path::Relabel),
        (SqlType::Array(from), SqlType::Array(to)) => return path(from, to, context).map(|_| Path::Each),
        _ => {}
    }
    if functions::cast(from, to).is_some_and(|(_, least)| context >= least) {
        return Some(Path::Function);
    }
    // Every type can be stored as text, and read from text when asked to.
    let to_string = matches!(to.category(), Category::String) && context >= Context::Assignment;
    let from_string = matches!(from.category(), Category::String) && context == Context::Explicit;
    (to_string || from_string).then_some(Path::ThroughText)
}

impl Resolver<'_> {
    /// `CAST(x AS type)` and `x::type`.
    pub(super) fn cast(&self, expr: &Expr) -> Result<Node, Problem> {
        let Expr::Cast { kind: CastKind::Cast | CastKind::DoubleColon, expr: inner, data_type, format: None } =
            expr
        else {
            return Err(not_supported(expr, "this kind of cast"));
        };
        let (ty, modifier) = self.type_name(data_type, expr)?;
        let node = match inner.as_ref() {
            // An empty array, and one of literals, take the type that they are cast to.
            Expr::Array(array) if ty.element().is_some() => self.array_as(array, ty.element(), inner)?,
            inner => self.resolve(inner)?,
        };
        let node = self.coerced(node, &ty, Context::Explicit, expr)?;
        Ok(self.fitted(node, modifier, true))
    }

    /// The value as another type, where that happens by itself.
    pub(crate) fn implicitly(&self, node: Node, to: &SqlType, expr: &Expr) -> Result<Node, Problem> {
        self.coerced(node, to, Context::Implicit, expr)
    }

    /// The value as another type.
    pub(crate) fn coerced(
        &self,
        node: Node,
        to: &SqlType,
        context: Context,
        expr: &Expr,
    ) -> Result<Node, Problem> {
        if let Some(literal) = node.untyped_literal() {
            let mut typed = match literal {
                None => Node::new(Kind::Constant(Datum::Null), to.clone()),
                Some(written) => literal::constant(to, Modifier::NONE, written, expr.span())?,
            };
            typed.collation = self.collation_of(to, &Derived::None);
            return self.checked_by_domain(typed, to, expr);
        }
        if node.ty == *to {
            return Ok(node);
        }
        let Some(path) = path(&node.ty, to, context) else {
            return Err(Problem::new(expr.span(), format!("cannot cast type {} to {to}", node.ty)));
        };
        let collation = self.collation_of(to, &node.collation);
        let modifier =
            if path == Path::Relabel && node.ty.base() == to.base() { node.modifier } else { Modifier::NONE };
        let kind = match path {
            Path::Relabel => Kind::Relabel(Box::new(node)),
            Path::ThroughText => Kind::ThroughText(Box::new(node)),
            Path::Function => cast_call(node, to, expr)?,
            Path::Each => {
                let (Some(from), Some(element)) = (node.ty.element().cloned(), to.element()) else {
                    return Err(Problem::new(expr.span(), format!("cannot cast type {} to {to}", node.ty)));
                };
                let each = self.coerced(Node::new(Kind::Column(0), from), element, context, expr)?;
                Kind::Each { array: Box::new(node), each: Box::new(each) }
            }
        };
        let cast = Node { kind, ty: to.clone(), modifier, collation };
        self.checked_by_domain(cast, to, expr)
    }

    /// A value cast to a domain has to satisfy it, which only a server can tell.
    fn checked_by_domain(&self, node: Node, to: &SqlType, expr: &Expr) -> Result<Node, Problem> {
        let SqlType::Domain(domain) = to else { return Ok(node) };
        if domain.is_constrained {
            return Err(Problem::new(
                expr.span(),
                format!("a cast to the domain {to}, which has constraints, is not supported in expressions"),
            )
            .remedy(format!("cast to {} instead; green checks the domain when the row arrives", to.base())));
        }
        Ok(self.fitted(node, domain.modifier, true))
    }

    /// The value brought to a modifier: a length, a precision.
    pub(crate) fn fitted(&self, node: Node, modifier: Modifier, is_explicit: bool) -> Node {
        if modifier == Modifier::NONE || node.modifier == modifier {
            return node;
        }
        let (ty, collation) = (node.ty.clone(), node.collation.clone());
        if let Some(element) = ty.element().cloned() {
            let each = Box::new(self.fitted(Node::new(Kind::Column(0), element), modifier, is_explicit));
            return Node { kind: Kind::Each { array: Box::new(node), each }, ty, modifier, collation };
        }
        Node { kind: Kind::Fit { arg: Box::new(node), is_explicit }, ty, modifier, collation }
    }

    /// A collation for a value of this type that comes from one with that collation.
    pub(crate) fn collation_of(&self, ty: &SqlType, from: &Derived) -> Derived {
        match from {
            _ if !ty.element().unwrap_or(ty).is_string() => Derived::None,
            Derived::None => Derived::Implicit(self.scope.collation.clone()),
            other => other.clone(),
        }
    }

    pub(super) fn collate(&self, inner: &Expr, name: &ObjectName, expr: &Expr) -> Result<Node, Problem> {
        let wanted = name.0.last().map(ToString::to_string).unwrap_or_default();
        let collation = match wanted.trim_matches('"') {
            "C" | "POSIX" | "ucs_basic" => Collation { name: wanted.clone(), ..Collation::bytes() },
            "default" => self.scope.collation.clone(),
            _ => {
                return Err(not_supported(expr, &format!("the collation {wanted}"))
                    .remedy("use COLLATE \"C\", which sorts by bytes"));
            }
        };
        let node = self.resolve(inner)?;
        let node =
            if node.ty == SqlType::Unknown { self.implicitly(node, &SqlType::Text, expr)? } else { node };
        if !node.ty.is_string() {
            return Err(Problem::new(
                expr.span(),
                format!("collations are not supported by type {}", node.ty),
            ));
        }
        Ok(Node { collation: Derived::Explicit(collation), ..node })
    }

    /// The type that several values have in common, as UNION and CASE find it.
    pub(crate) fn common_type(&self, nodes: &[&Node], of: &str, expr: &Expr) -> Result<SqlType, Problem> {
        let known = nodes.iter().map(|node| &node.ty).filter(|ty| **ty != SqlType::Unknown);
        let known = known.collect::<Vec<_>>();
        let Some(first) = known.first() else { return Ok(SqlType::Text) };
        // Beside a literal without a type, a domain is what it is over.
        if nodes.iter().all(|node| node.ty == **first) {
            return Ok((*first).clone());
        }
        let mut found = first.base();
        for next in known.iter().skip(1).map(|ty| ty.base()) {
            if next == found {
                continue;
            }
            if next.category() != found.category() {
                return Err(Problem::new(
                    expr.span(),
                    format!("{of} types {found} and {next} cannot be matched"),
                ));
            }
            let onwards = path(found, next, Context::Implicit).is_some();
            let back = path(next, found, Context::Implicit).is_some();
            if !found.is_preferred() && onwards && !back {
                found = next;
            }
        }
        Ok(found.clone())
    }

    /// Several values as the type that they have in common.
    pub(crate) fn as_common(&self, nodes: Vec<Node>, of: &str, expr: &Expr) -> Result<Vec<Node>, Problem> {
        let ty = self.common_type(&nodes.iter().collect::<Vec<_>>(), of, expr)?;
        nodes.into_iter().map(|node| self.implicitly(node, &ty, expr)).collect()
    }
}

fn cast_call(node: Node, to: &SqlType, expr: &Expr) -> Result<Kind, Problem> {
    let none = || Problem::new(expr.span(), format!("cannot cast type {} to {to}", node.ty));
    let (function, _) = functions::cast(node.ty.base(), to.base()).ok_or_else(none)?;
    let types = vec![node.ty.clone()];
    Ok(Kind::Call { function, args: vec![node], types, case: functions::CaseRule::default() })
}

/// The collation of a value made from several.
pub(crate) fn derive(nodes: &[Node]) -> Derived {
    let mut derived = Derived::None;
    for node in nodes {
        derived = match (derived, &node.collation) {
            (Derived::None, other) => other.clone(),
            (known, Derived::None) => known,
            (Derived::Explicit(known), Derived::Explicit(other)) if known != *other => Derived::Conflict,
            (Derived::Explicit(known), _) => Derived::Explicit(known),
            (_, Derived::Explicit(other)) => Derived::Explicit(other.clone()),
            // That of the database gives way to one that a column chose.
            (Derived::Implicit(known), Derived::Implicit(other)) if known == *other || other.is_default => {
                Derived::Implicit(known)
            }
            (Derived::Implicit(known), Derived::Implicit(other)) if known.is_default => {
                Derived::Implicit(other.clone())
            }
            _ => Derived::Conflict,
        };
    }
    derived
}
