//! Which function or operator a call means, among those of the same name.

use sqlparser::ast::{
    Expr, Function as CallSyntax, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments,
    ObjectNamePart, Spanned,
};

use super::cast::{self, Context};
use super::{Resolver, folded, not_deterministic, not_supported};
use crate::expr::datum::Datum;
use crate::expr::error::Problem;
use crate::expr::functions::{self, CaseRule, Function, Slot};
use crate::expr::mask;
use crate::expr::node::{Comparison, Derived, Kind, Node};
use crate::expr::types::{Category, SqlType};

/// Functions whose value is another each time, or depends on the session, and that are refused by name.
const NOT_DETERMINISTIC: [&str; 22] = [
    "now",
    "clock_timestamp",
    "statement_timestamp",
    "transaction_timestamp",
    "timeofday",
    "random",
    "random_normal",
    "setseed",
    "gen_random_uuid",
    "uuidv4",
    "uuidv7",
    "uuid_generate_v1",
    "uuid_generate_v1mc",
    "uuid_generate_v4",
    "nextval",
    "currval",
    "lastval",
    "setval",
    "txid_current",
    "pg_current_xact_id",
    "current_setting",
    "pg_backend_pid",
];

impl Resolver<'_> {
    /// A call by name.
    pub(super) fn function(&self, call: &CallSyntax, expr: &Expr) -> Result<Node, Problem> {
        let mut parts = call.name.0.iter().map(|part| match part {
            ObjectNamePart::Identifier(name) => Some(folded(name)),
            ObjectNamePart::Function(_) => None,
        });
        let name = match (parts.next().flatten(), parts.next()) {
            (Some(name), None) => name,
            (Some(schema), Some(Some(name))) if schema == "pg_catalog" => name,
            _ => return Err(not_supported(expr, "a function outside pg_catalog")),
        };
        let plain = call.over.is_none()
            && call.filter.is_none()
            && call.null_treatment.is_none()
            && call.within_group.is_empty()
            && call.parameters == FunctionArguments::None;
        if !plain {
            return Err(not_supported(expr, "an aggregate or window function"));
        }
        if NOT_DETERMINISTIC.contains(&name.as_str()) {
            return Err(not_deterministic(expr, &name));
        }
        let args = match &call.args {
            FunctionArguments::List(list) => arguments(list, expr)?,
            FunctionArguments::None => Vec::new(),
            FunctionArguments::Subquery(_) => {
                return Err(not_supported(expr, "a query inside an expression"));
            }
        };
        match name.as_str() {
            "coalesce" | "nullif" | "greatest" | "least" => self.keyword_call(&name, &args, expr),
            mask::NAME if call.name.0.len() == 1 => self.mask(&args, expr),
            _ => self.named_call(&name, &args, expr),
        }
    }

    /// `mask(x)`, over the text of any value.
    fn mask(&self, args: &[&Expr], expr: &Expr) -> Result<Node, Problem> {
        let [arg] = args else {
            return Err(Problem::new(expr.span(), "`mask` takes one argument"));
        };
        let Some(key) = &self.scope.mask_key else {
            return Err(Problem::new(expr.span(), "`mask` has no key")
                .remedy("set `mask: { key: { file: ... } }` in the settings"));
        };
        let text = self.coerced(self.resolve(arg)?, &SqlType::Text, Context::Explicit, arg)?;
        Ok(key.call(text))
    }

    /// A call of a function of the table.
    pub(super) fn named_call(&self, name: &str, args: &[&Expr], expr: &Expr) -> Result<Node, Problem> {
        let nodes = args.iter().map(|arg| self.resolve(arg)).collect::<Result<Vec<_>, _>>()?;
        self.call_nodes(name, nodes, args, expr)
    }

    /// The same with arguments that are compiled already; `exprs` tells where they stand.
    pub(super) fn call_nodes(
        &self,
        name: &str,
        nodes: Vec<Node>,
        exprs: &[&Expr],
        expr: &Expr,
    ) -> Result<Node, Problem> {
        let known = functions::named(name);
        if known.is_empty() {
            // A type's name is a cast as well.
            if let ([node], Some(ty)) = (nodes.as_slice(), self.scope.named_type(None, name)) {
                return self.coerced(node.clone(), &ty, Context::Explicit, expr);
            }
            let similar = functions::similar(name);
            let problem =
                Problem::new(expr.span(), format!("the function `{name}` is not supported in expressions"));
            return Err(match similar {
                Some(other) => problem.remedy(format!("did you mean `{other}`?")),
                None => problem.remedy("see the reference of expressions for those that are"),
            });
        }
        let function = select(known, &types_of(&nodes), false)
            .map_err(|why| why.problem(name, &types_of(&nodes), expr))?;
        self.built(function, nodes, exprs, expr)
    }

    /// An operator in front of one operand, or between two.
    pub(super) fn operator(&self, sign: &str, operands: &[&Expr], expr: &Expr) -> Result<Node, Problem> {
        let nodes = operands.iter().map(|operand| self.resolve(operand)).collect::<Result<Vec<_>, _>>()?;
        self.operator_on(sign, nodes, operands, expr)
    }

    /// The same with operands that are compiled already.
    pub(super) fn operator_on(
        &self,
        sign: &str,
        nodes: Vec<Node>,
        exprs: &[&Expr],
        expr: &Expr,
    ) -> Result<Node, Problem> {
        let known = functions::named(sign);
        let function = select(known, &types_of(&nodes), true)
            .map_err(|why| why.problem(sign, &types_of(&nodes), expr))?;
        self.built(function, nodes, exprs, expr)
    }

    /// The operator between two values that are known by their types alone.
    pub(super) fn comparison(
        &self,
        sign: &str,
        types: [&SqlType; 2],
        collation: &Derived,
        expr: &Expr,
    ) -> Result<Comparison, Problem> {
        let types = types.map(Clone::clone);
        let function =
            select(functions::named(sign), &types, true).map_err(|why| why.problem(sign, &types, expr))?;
        self.collation_suffices(function, collation, &types, expr)?;
        Ok(Comparison { function, types })
    }

    /// The call itself: arguments cast, collation derived and checked.
    fn built(
        &self,
        function: &'static Function,
        nodes: Vec<Node>,
        exprs: &[&Expr],
        expr: &Expr,
    ) -> Result<Node, Problem> {
        let types = types_of(&nodes);
        if let Some(why) = function.refused {
            let listed = types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let what = format!("`{}` of {listed} is not supported in expressions: {why}", function.name);
            return Err(Problem::new(expr.span(), what)
                .remedy("cast its operands to double precision if that is exact enough"));
        }
        let stands_for = Polymorphic::find(function, &types);
        let mut args = Vec::with_capacity(nodes.len());
        for (at, node) in nodes.into_iter().enumerate() {
            let place = exprs.get(at).copied().unwrap_or(expr);
            let slot = slot_at(function, at);
            args.push(match stands_for.slot(slot) {
                Some(ty) => self.implicitly(node, &ty, place)?,
                // Where anything may stand, a literal is a text.
                None if node.ty == SqlType::Unknown && slot == Slot::Any => {
                    self.implicitly(node, &SqlType::Text, place)?
                }
                None if node.ty == SqlType::Unknown => return Err(undetermined(function, expr)),
                None => node,
            });
        }
        let derived = cast::derive(&args);
        let case = self.collation_suffices(function, &derived, &types_of(&args), expr)?;
        let ty = stands_for.slot(function.result).ok_or_else(|| undetermined(function, expr))?;
        let collation = self.collation_of(&ty, &derived);
        let types = types_of(&args);
        let mut node = Node::new(Kind::Call { function, args, types, case }, ty);
        node.collation = collation;
        Ok(node)
    }

    /// Refuses what depends on a collation that only the server has. Returns how letters change their case.
    fn collation_suffices(
        &self,
        function: &Function,
        derived: &Derived,
        types: &[SqlType],
        expr: &Expr,
    ) -> Result<CaseRule, Problem> {
        let name = function.name;
        let is_json = |ty: &SqlType| *ty.element().unwrap_or(ty).base() == SqlType::Jsonb;
        let collation = match derived {
            // The strings in it sort as the database does.
            Derived::None if function.needs_order && types.iter().any(is_json) => &self.scope.collation,
            Derived::Implicit(collation) | Derived::Explicit(collation) => collation,
            Derived::None => return Ok(CaseRule::default()),
            Derived::Conflict if function.needs_case || function.needs_order => {
                return Err(Problem::new(
                    expr.span(),
                    format!("`{name}` has operands of different collations"),
                )
                .remedy("put COLLATE \"C\" behind one of them"));
            }
            Derived::Conflict => return Ok(CaseRule::default()),
        };
        let by_server = |what: &str| {
            Problem::new(
                expr.span(),
                format!("`{name}` {what} by the collation {}, which only the server has", collation.name),
            )
            .remedy("put COLLATE \"C\" behind its operand if bytes may decide")
        };
        if function.needs_order && !collation.sorts_by_bytes {
            return Err(by_server("sorts"));
        }
        if !collation.is_deterministic {
            return Err(by_server("compares"));
        }
        match collation.case {
            Some(rule) => Ok(rule),
            None if function.needs_case => Err(by_server("changes letters")),
            None => Ok(CaseRule::default()),
        }
    }
}

fn arguments<'e>(list: &'e FunctionArgumentList, expr: &Expr) -> Result<Vec<&'e Expr>, Problem> {
    if list.duplicate_treatment.is_some() || !list.clauses.is_empty() {
        return Err(not_supported(expr, "an aggregate"));
    }
    let argument = |arg: &'e FunctionArg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)) => Ok(arg),
        _ => Err(not_supported(expr, "an argument by name")),
    };
    list.args.iter().map(argument).collect()
}

pub(super) fn types_of(nodes: &[Node]) -> Vec<SqlType> {
    nodes.iter().map(|node| node.ty.clone()).collect()
}

fn undetermined(function: &Function, expr: &Expr) -> Problem {
    Problem::new(expr.span(), format!("could not determine the type of `{}`", function.name))
        .remedy("cast an argument to the type that is meant")
}

/// What the argument at this place may be.
fn slot_at(function: &Function, at: usize) -> Slot {
    function.args.get(at).or(function.args.last()).copied().unwrap_or(Slot::Any)
}

/// Why no function was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unselected {
    /// None fits.
    None,
    /// More than one fits equally well.
    Several,
}

impl Unselected {
    fn problem(self, name: &str, types: &[SqlType], expr: &Expr) -> Problem {
        let listed = types.iter().map(ToString::to_string).collect::<Vec<_>>();
        let what = match (name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'), listed.as_slice())
        {
            (false, [one]) => format!("operator {name} {one}"),
            (false, [left, right]) => format!("operator {left} {name} {right}"),
            _ => format!("function {name}({})", listed.join(", ")),
        };
        match self {
            Unselected::None => Problem::new(expr.span(), format!("{what} is not supported in expressions"))
                .remedy("cast the operands to types for which it is; see the reference of expressions"),
            Unselected::Several => Problem::new(expr.span(), format!("{what} is ambiguous"))
                .remedy("cast an operand to the type that is meant"),
        }
    }
}

/// Selects by the rules of Postgres, chapter "Type Conversion" of its manual.
pub(crate) fn select(
    known: &[&'static Function],
    types: &[SqlType],
    is_operator: bool,
) -> Result<&'static Function, Unselected> {
    let by_count = known.iter().copied().filter(|function| takes(function, types.len()));
    let mut fitting = by_count.filter(|function| accepts(function, types)).collect::<Vec<_>>();
    if let Some(exact) = fitting.iter().find(|function| exact_count(function, types) == types.len()) {
        return Ok(exact);
    }
    // An operator with one literal is first tried with the type of the other operand.
    if is_operator && let [left, right] = types {
        let assumed = match (left, right) {
            (SqlType::Unknown, other) | (other, SqlType::Unknown) => other.base(),
            _ => &SqlType::Unknown,
        };
        let both = [assumed.clone(), assumed.clone()];
        let exact = |function: &&&'static Function| exact_count(function, &both) == 2;
        if *assumed != SqlType::Unknown
            && let Some(found) = fitting.iter().find(exact)
        {
            return Ok(found);
        }
    }
    if fitting.is_empty() {
        return Err(Unselected::None);
    }
    keep_best(&mut fitting, |function| exact_count(function, types));
    keep_best(&mut fitting, |function| preferred_count(function, types));
    if let [only] = fitting.as_slice() {
        return Ok(only);
    }
    by_literals(fitting, types)
}

fn takes(function: &Function, count: usize) -> bool {
    if function.is_variadic { count >= function.args.len() } else { count == function.args.len() }
}

fn accepts(function: &Function, types: &[SqlType]) -> bool {
    let stands_for = Polymorphic::find(function, types);
    stands_for.is_consistent
        && types.iter().enumerate().all(|(at, ty)| {
            let slot = slot_at(function, at);
            // An operator that takes anything takes no array: `text || anynonarray`.
            let takes_any = slot == Slot::Any && !(function.is_operator() && ty.element().is_some());
            *ty == SqlType::Unknown
                || takes_any
                || stands_for.slot(slot).is_some_and(|to| cast::path(ty, &to, Context::Implicit).is_some())
        })
}

fn exact_count(function: &Function, types: &[SqlType]) -> usize {
    let is_exact =
        |(at, ty): &(usize, &SqlType)| slot_at(function, *at).fixed().is_some_and(|slot| slot == *ty.base());
    types.iter().enumerate().filter(is_exact).count()
}

fn preferred_count(function: &Function, types: &[SqlType]) -> usize {
    let counts = |(at, ty): &(usize, &SqlType)| {
        let Some(slot) = slot_at(function, *at).fixed() else { return false };
        **ty != SqlType::Unknown
            && (slot == *ty.base() || (slot.is_preferred() && slot.category() == ty.category()))
    };
    types.iter().enumerate().filter(counts).count()
}

fn keep_best(fitting: &mut Vec<&'static Function>, score: impl Fn(&Function) -> usize) {
    let best = fitting.iter().map(|function| score(function)).max().unwrap_or(0);
    fitting.retain(|function| score(function) == best);
}

/// The last rules: what literals without a type may be.
fn by_literals(fitting: Vec<&'static Function>, types: &[SqlType]) -> Result<&'static Function, Unselected> {
    let fitting = by_categories(fitting.clone(), types).unwrap_or(fitting);
    if let [only] = fitting.as_slice() {
        return Ok(only);
    }
    // All that have a type have the same: literals are taken for it.
    let mut typed = types.iter().filter(|ty| **ty != SqlType::Unknown).map(SqlType::base);
    if let Some(first) = typed.next()
        && typed.all(|ty| ty == first)
    {
        let assumed = vec![first.clone(); types.len()];
        let mut same = fitting.iter().filter(|function| accepts(function, &assumed));
        if let (Some(only), None) = (same.next(), same.next()) {
            return Ok(only);
        }
    }
    Err(Unselected::Several)
}

/// Those that take each literal as the category that is chosen for it. `None` when one of them has none.
fn by_categories(mut fitting: Vec<&'static Function>, types: &[SqlType]) -> Option<Vec<&'static Function>> {
    for (at, _) in types.iter().enumerate().filter(|(_, ty)| **ty == SqlType::Unknown) {
        let slots = fitting.iter().filter_map(|function| slot_at(function, at).fixed()).collect::<Vec<_>>();
        let categories = slots.iter().map(SqlType::category).collect::<Vec<_>>();
        let wanted = if categories.contains(&Category::String) {
            Category::String
        } else if categories.windows(2).all(|pair| pair[0] == pair[1]) && !categories.is_empty() {
            categories[0]
        } else {
            return None;
        };
        let has_preferred = slots.iter().any(|slot| slot.category() == wanted && slot.is_preferred());
        let keeps = |function: &&'static Function| {
            slot_at(function, at)
                .fixed()
                .is_some_and(|slot| slot.category() == wanted && (!has_preferred || slot.is_preferred()))
        };
        if fitting.iter().any(keeps) {
            fitting.retain(keeps);
        }
    }
    Some(fitting)
}

/// Functions whose arguments are brought to a type that they have in common; those of the others must have the same.
const FINDS_COMMON: [&str; 8] = [
    "||",
    "array_append",
    "array_cat",
    "array_position",
    "array_positions",
    "array_prepend",
    "array_remove",
    "array_replace",
];

/// The one of two types that the other becomes by itself.
fn wider(left: &SqlType, right: &SqlType) -> Option<SqlType> {
    let becomes = |from, to| cast::path(from, to, Context::Implicit).is_some();
    match (becomes(left, right), becomes(right, left)) {
        _ if left.category() != right.category() => None,
        (true, true) if right.is_preferred() => Some(right.clone()),
        (_, true) => Some(left.clone()),
        (true, false) => Some(right.clone()),
        (false, false) => None,
    }
}

/// What the slots that stand for several types stand for in one call.
struct Polymorphic {
    element: Option<SqlType>,
    is_consistent: bool,
}

impl Polymorphic {
    fn find(function: &Function, types: &[SqlType]) -> Polymorphic {
        let mut found = Polymorphic { element: None, is_consistent: true };
        let finds_common = FINDS_COMMON.contains(&function.name);
        for (at, ty) in types.iter().enumerate().filter(|(_, ty)| **ty != SqlType::Unknown) {
            let element = match slot_at(function, at) {
                Slot::Element => ty.base().clone(),
                Slot::ElementArray => match ty.element() {
                    Some(element) => element.base().clone(),
                    None => {
                        found.is_consistent = false;
                        continue;
                    }
                },
                Slot::Enum if matches!(ty.base(), SqlType::Enum(_)) => ty.base().clone(),
                Slot::Enum => {
                    found.is_consistent = false;
                    continue;
                }
                _ => continue,
            };
            let common = match &found.element {
                None => Some(element),
                Some(known) if *known == element => Some(element),
                Some(known) if finds_common => wider(known, &element),
                Some(_) => None,
            };
            found.is_consistent &= common.is_some();
            found.element = common.or(found.element);
        }
        if found.element.is_none() && finds_common {
            found.element = Some(SqlType::Text);
        }
        found
    }

    /// The type of a slot. `None` for anything, and for what only literals have been given.
    fn slot(&self, slot: Slot) -> Option<SqlType> {
        match slot {
            Slot::Element | Slot::Enum => self.element.clone(),
            Slot::ElementArray => self.element.clone().map(SqlType::array_of),
            Slot::Any => None,
            other => other.fixed(),
        }
    }
}

/// A literal null of a type.
pub(super) fn null_of(ty: SqlType) -> Node {
    Node::new(Kind::Constant(Datum::Null), ty)
}
