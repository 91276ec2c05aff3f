//! Forms with a grammar of their own: CASE, IN, BETWEEN, LIKE, ANY, arrays, and calls that are spelled out in words.

use sqlparser::ast::{
    AccessExpr, Array as ArraySyntax, BinaryOperator, CeilFloorKind, Expr, Spanned, Subscript, TrimWhereField,
};

use super::call::{null_of, types_of};
use super::cast::{self, Context};
use super::{Resolver, not_supported, untyped};
use crate::expr::datum::Datum;
use crate::expr::error::Problem;
use crate::expr::node::{Comparison, Derived, Kind, Node, Pair};
use crate::expr::types::SqlType;

impl Resolver<'_> {
    /// Two values and their equality, each as the operator takes it.
    fn equality(&self, left: Node, right: Node, expr: &Expr) -> Result<Pair, Problem> {
        let [left, right] = match [&left.ty, &right.ty] {
            [SqlType::Unknown, SqlType::Unknown] => {
                [self.implicitly(left, &SqlType::Text, expr)?, self.implicitly(right, &SqlType::Text, expr)?]
            }
            _ => [left, right],
        };
        let types = [left.ty.clone(), right.ty.clone()];
        let derived = cast::derive(&[left.clone(), right.clone()]);
        let compare = self.comparison("=", [&types[0], &types[1]], &derived, expr)?;
        let mut operands = Vec::with_capacity(2);
        for (node, slot) in [left, right].into_iter().zip(compare.function.args) {
            let other = types.iter().find(|ty| **ty != SqlType::Unknown).unwrap_or(&SqlType::Text);
            let ty = match slot.fixed() {
                Some(ty) => ty,
                None if node.ty == SqlType::Unknown => other.clone(),
                None => node.ty.clone(),
            };
            operands.push(self.implicitly(node, &ty, expr)?);
        }
        let mut nodes = operands.into_iter();
        match (nodes.next(), nodes.next()) {
            (Some(left), Some(right)) => {
                let compare = Comparison { types: [left.ty.clone(), right.ty.clone()], ..compare };
                Ok(Pair { compare, left, right })
            }
            _ => Err(not_supported(expr, "this comparison")),
        }
    }

    pub(super) fn is_distinct(
        &self,
        left: &Expr,
        right: &Expr,
        negated: bool,
        expr: &Expr,
    ) -> Result<Node, Problem> {
        let equal = Box::new(self.equality(self.resolve(left)?, self.resolve(right)?, expr)?);
        Ok(Node::truth(Kind::IsDistinct { equal, negated }))
    }

    /// IN, BETWEEN, and an operator with ANY or ALL.
    pub(super) fn membership(&self, expr: &Expr) -> Result<Node, Problem> {
        match expr {
            Expr::InList { expr: inner, list, negated } => {
                let mut nodes = vec![self.resolve(inner)?];
                for item in list {
                    nodes.push(self.resolve(item)?);
                }
                let mut nodes = self.as_common(nodes, "IN", expr)?.into_iter();
                let left = nodes.next().unwrap_or_else(|| null_of(SqlType::Text));
                let equal = |right| self.operator_on("=", vec![left.clone(), right], &[], expr);
                let found = Node::truth(Kind::Or(nodes.map(equal).collect::<Result<_, _>>()?));
                Ok(negate(found, *negated))
            }
            Expr::Between { expr: inner, negated, low, high } => {
                let above = self.operator(">=", &[inner, low], expr)?;
                let below = self.operator("<=", &[inner, high], expr)?;
                Ok(negate(Node::truth(Kind::And(vec![above, below])), *negated))
            }
            Expr::AnyOp { left, compare_op, right, is_some: _ } => {
                self.quantified(left, compare_op, right, false, expr)
            }
            Expr::AllOp { left, compare_op, right } => self.quantified(left, compare_op, right, true, expr),
            other => Err(not_supported(other, "this form")),
        }
    }

    fn quantified(
        &self,
        left: &Expr,
        op: &BinaryOperator,
        right: &Expr,
        is_all: bool,
        expr: &Expr,
    ) -> Result<Node, Problem> {
        let mut left = self.resolve(left)?;
        let mut array = match right {
            Expr::Nested(inner) => self.resolve(inner)?,
            other => self.resolve(other)?,
        };
        if array.ty == SqlType::Unknown {
            array = self.implicitly(array, &left.ty.base().clone().array_of(), expr)?;
        }
        let Some(element) = array.ty.element().cloned() else {
            return Err(Problem::new(right.span(), "op ANY/ALL (array) requires array on right side"));
        };
        if left.ty == SqlType::Unknown {
            left = self.implicitly(left, &element, expr)?;
        }
        let element = Node { collation: array.collation.clone(), ..Node::new(Kind::Column(0), element) };
        let nodes = self.as_common(vec![left, element], "ANY/ALL", expr)?;
        let derived = cast::derive(&nodes);
        let types = types_of(&nodes);
        let sign = op.to_string();
        let sign = if sign == "!=" { "<>" } else { &sign };
        let compare = self.comparison(sign, [&types[0], &types[1]], &derived, expr)?;
        let array = self.implicitly(array, &types[1].clone().array_of(), expr)?;
        let left = nodes.into_iter().next().unwrap_or_else(|| null_of(SqlType::Text));
        Ok(Node::truth(Kind::Quantified { left: Box::new(left), compare, array: Box::new(array), is_all }))
    }

    /// LIKE and ILIKE.
    pub(super) fn like(&self, expr: &Expr) -> Result<Node, Problem> {
        let (sign, negated, any, inner, pattern, escape) = match expr {
            Expr::Like { negated, any, expr, pattern, escape_char } => {
                ("~~", negated, any, expr, pattern, escape_char)
            }
            Expr::ILike { negated, any, expr, pattern, escape_char } => {
                ("~~*", negated, any, expr, pattern, escape_char)
            }
            other => return Err(not_supported(other, "this form")),
        };
        if *any {
            return Err(not_supported(expr, "LIKE ANY without brackets"));
        }
        let mut right = self.resolve(pattern)?;
        if let Some(escape) = escape {
            let escape = self.resolve(escape)?;
            right = self.call_nodes("like_escape", vec![right, escape], &[], expr)?;
        }
        let found = self.operator_on(sign, vec![self.resolve(inner)?, right], &[inner, pattern], expr)?;
        Ok(negate(found, *negated))
    }

    /// CASE with and without an operand.
    pub(super) fn case(&self, expr: &Expr) -> Result<Node, Problem> {
        let Expr::Case { operand, conditions, else_result, .. } = expr else {
            return Err(not_supported(expr, "this form"));
        };
        // A literal here is a text, whatever it is compared with.
        let operand = operand
            .as_ref()
            .map(|operand| match self.resolve(operand)? {
                node if node.ty == SqlType::Unknown => self.implicitly(node, &SqlType::Text, operand),
                node => Ok(node),
            })
            .transpose()?;
        let (mut tests, mut results) = (Vec::new(), Vec::new());
        for when in conditions {
            tests.push(match &operand {
                None => self.condition(&when.condition, "CASE/WHEN")?,
                Some(operand) => {
                    let right = self.resolve(&when.condition)?;
                    self.operator_on("=", vec![operand.clone(), right], &[], expr)?
                }
            });
            results.push(self.resolve(&when.result)?);
        }
        let otherwise = match else_result {
            Some(otherwise) => self.resolve(otherwise)?,
            None => untyped(Datum::Null),
        };
        // Of types that become each other by themselves the first is taken, and ELSE comes first.
        results.insert(0, otherwise);
        let results = self.as_common(results, "CASE", expr)?;
        let (ty, collation) = (results[0].ty.clone(), cast::derive(&results));
        let mut results = results.into_iter();
        let otherwise = results.next().map(Box::new);
        let branches = tests.into_iter().zip(results).collect();
        Ok(Node { collation, ..Node::new(Kind::Case { branches, otherwise }, ty) })
    }

    /// Calls that the grammar of Postgres knows by name.
    pub(super) fn keyword_call(&self, name: &str, args: &[&Expr], expr: &Expr) -> Result<Node, Problem> {
        let nodes = args.iter().map(|arg| self.resolve(arg)).collect::<Result<Vec<_>, _>>()?;
        if nodes.is_empty() || (name == "nullif" && nodes.len() != 2) {
            return Err(Problem::new(expr.span(), format!("`{name}` has the wrong number of arguments")));
        }
        if name == "nullif" {
            return self.null_if(nodes, expr);
        }
        let nodes = self.as_common(nodes, &name.to_uppercase(), expr)?;
        let (ty, collation) = (nodes[0].ty.clone(), cast::derive(&nodes));
        let kind = if name == "coalesce" {
            Kind::Coalesce(nodes)
        } else {
            let less = self.comparison("<", [&ty, &ty], &collation, expr)?;
            Kind::Extreme { args: nodes, less, is_greatest: name == "greatest" }
        };
        Ok(Node { collation, ..Node::new(kind, ty) })
    }

    /// The result is the first argument as the equality takes it.
    fn null_if(&self, nodes: Vec<Node>, expr: &Expr) -> Result<Node, Problem> {
        let mut nodes = nodes.into_iter();
        let (Some(left), Some(right)) = (nodes.next(), nodes.next()) else {
            return Err(not_supported(expr, "this form"));
        };
        let equal = Box::new(self.equality(left, right, expr)?);
        let result = Box::new(equal.left.clone());
        let (ty, modifier, collation) = (result.ty.clone(), result.modifier, result.collation.clone());
        Ok(Node { modifier, collation, ..Node::new(Kind::NullIf { equal, result }, ty) })
    }

    /// `ARRAY[...]`
    pub(super) fn array(&self, array: &ArraySyntax, expr: &Expr) -> Result<Node, Problem> {
        if array.elem.is_empty() {
            return Err(Problem::new(expr.span(), "cannot determine the type of an empty array")
                .remedy("cast it, as in ARRAY[]::text[]"));
        }
        self.array_as(array, None, expr)
    }

    /// The same with elements of a given type.
    pub(super) fn array_as(
        &self,
        array: &ArraySyntax,
        element: Option<&SqlType>,
        expr: &Expr,
    ) -> Result<Node, Problem> {
        if !array.named {
            return Err(not_supported(expr, "an array without the word ARRAY in front"));
        }
        let mut elements = Vec::with_capacity(array.elem.len());
        for elem in &array.elem {
            elements.push(match elem {
                // Inside another array the word may be left out.
                Expr::Array(inner) => {
                    self.array_as(&ArraySyntax { named: true, ..inner.clone() }, element, elem)?
                }
                other => self.resolve(other)?,
            });
        }
        let is_nested = array.elem.iter().any(|elem| matches!(elem, Expr::Array(_)))
            || elements.iter().any(|node| node.ty.element().is_some());
        let elements = match element {
            Some(element) => {
                let wanted = if is_nested { element.clone().array_of() } else { element.clone() };
                let cast = |node| self.coerced(node, &wanted, Context::Explicit, expr);
                elements.into_iter().map(cast).collect::<Result<Vec<_>, _>>()?
            }
            None => self.as_common(elements, "ARRAY", expr)?,
        };
        let item = elements.first().map(|node| node.ty.clone());
        let ty = match (item, element) {
            (Some(item), _) if is_nested => item,
            (Some(item), _) => item.array_of(),
            (None, Some(element)) => element.clone().array_of(),
            (None, None) => return Err(not_supported(expr, "an empty array")),
        };
        let collation = cast::derive(&elements);
        Ok(Node { collation, ..Node::new(Kind::Array { elements, is_nested }, ty) })
    }

    /// `array[1]` and `json['key']`
    pub(super) fn subscript(&self, root: &Expr, chain: &[AccessExpr], expr: &Expr) -> Result<Node, Problem> {
        let mut node = self.resolve(root)?;
        let mut indexes = Vec::with_capacity(chain.len());
        for access in chain {
            let AccessExpr::Subscript(Subscript::Index { index }) = access else {
                return Err(not_supported(expr, "a slice, or a field of a composite"));
            };
            indexes.push((self.resolve(index)?, index));
        }
        if *node.ty.base() == SqlType::Jsonb {
            for (index, at) in indexes {
                node = self.operator_on("->", vec![node, index], &[root, at], expr)?;
            }
            return Ok(node);
        }
        let Some(element) = node.ty.element().cloned() else {
            return Err(Problem::new(
                expr.span(),
                format!("cannot subscript type {} because it does not support subscripting", node.ty),
            ));
        };
        let indexes = indexes
            .into_iter()
            .map(|(index, at)| self.coerced(index, &SqlType::Int4, Context::Assignment, at));
        let indexes = indexes.collect::<Result<_, _>>()?;
        let collation = node.collation.clone();
        let kind = Kind::Subscript { array: Box::new(node), indexes };
        Ok(Node { collation, ..Node::new(kind, element) })
    }

    /// EXTRACT, POSITION, SUBSTRING, TRIM, OVERLAY, CEIL and FLOOR.
    pub(super) fn spelled_out(&self, expr: &Expr) -> Result<Node, Problem> {
        match expr {
            Expr::Extract { field, expr: inner, .. } => {
                let field = untyped(Datum::text(field.to_string().to_ascii_lowercase().trim_matches('\'')));
                self.call_nodes("extract", vec![field, self.resolve(inner)?], &[], expr)
            }
            Expr::Ceil { expr: inner, field: CeilFloorKind::DateTimeField(_) } if !has_field(expr) => {
                self.named_call("ceil", &[inner], expr)
            }
            Expr::Floor { expr: inner, field: CeilFloorKind::DateTimeField(_) } if !has_field(expr) => {
                self.named_call("floor", &[inner], expr)
            }
            Expr::Position { expr: inner, r#in } => self.named_call("position", &[r#in, inner], expr),
            Expr::Substring { expr: inner, substring_from, substring_for, shorthand, .. } => {
                let one = Expr::value(sqlparser::ast::Value::Number("1".to_owned(), false));
                let mut args: Vec<&Expr> = vec![inner.as_ref(), substring_from.as_deref().unwrap_or(&one)];
                args.extend(substring_for.as_deref());
                // `substr` alone has no form with a pattern.
                self.named_call(if *shorthand { "substr" } else { "substring" }, &args, expr)
            }
            Expr::Trim { trim_where, trim_what, expr: inner, trim_characters } => {
                let name = match trim_where {
                    None | Some(TrimWhereField::Both) => "btrim",
                    Some(TrimWhereField::Leading) => "ltrim",
                    Some(TrimWhereField::Trailing) => "rtrim",
                };
                let mut args: Vec<&Expr> = vec![inner.as_ref()];
                args.extend(trim_what.as_deref());
                args.extend(trim_characters.iter().flatten());
                self.named_call(name, &args, expr)
            }
            Expr::Overlay { expr: inner, overlay_what, overlay_from, overlay_for } => {
                let mut args: Vec<&Expr> = vec![inner.as_ref(), overlay_what.as_ref(), overlay_from.as_ref()];
                args.extend(overlay_for.as_deref());
                self.named_call("overlay", &args, expr)
            }
            other => Err(not_supported(other, "this form")),
        }
    }
}

/// Whether CEIL or FLOOR was given a field, which Postgres does not know.
fn has_field(expr: &Expr) -> bool {
    use sqlparser::ast::DateTimeField::NoDateTime;
    match expr {
        Expr::Ceil { field, .. } | Expr::Floor { field, .. } => {
            *field != CeilFloorKind::DateTimeField(NoDateTime)
        }
        _ => false,
    }
}

fn negate(node: Node, negated: bool) -> Node {
    if !negated {
        return node;
    }
    Node { collation: Derived::None, ..Node::truth(Kind::Not(Box::new(node))) }
}
