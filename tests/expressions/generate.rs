//! Typed expressions at random: calls of every function, forms of the grammar, literals, columns.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use understudy_transform::expr::SqlType;
use understudy_transform::expr::functions::{Function, Slot, families};

use crate::edges::{KINDS, hints, kind, mood, slot_type};
use crate::server::{columns, quoted};

/// An expression that knows its parts, so that a failing one can be taken apart.
#[derive(Debug, Clone)]
pub(crate) struct Term {
    parts: Vec<Part>,
    /// What it is: a function with its arguments, or a form.
    pub(crate) label: String,
}

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Literal(String),
    Untyped(String),
    Term(Term),
}

impl Term {
    fn leaf(text: String) -> Term {
        Term { parts: vec![Part::Text(text)], label: String::new() }
    }

    fn literal(text: String) -> Term {
        Term { parts: vec![Part::Literal(text)], label: String::new() }
    }

    /// A template in which each `{}` stands for a part.
    fn form(label: &str, template: &str, terms: Vec<Term>) -> Term {
        let mut parts = Vec::new();
        let mut terms = terms.into_iter();
        for (at, text) in template.split("{}").enumerate() {
            if at > 0 {
                parts.extend(terms.next().map(Part::Term));
            }
            parts.push(Part::Text(text.to_owned()));
        }
        Term { parts, label: label.to_owned() }
    }

    /// Its text.
    pub(crate) fn sql(&self) -> String {
        self.written(&str::to_owned)
    }

    /// Its text with every literal as a query of its own, so that a server computes nothing before its turn.
    pub(crate) fn sql_without_constants(&self) -> String {
        // Behind ANY a bare query would be one of rows.
        self.written(&|literal| format!("coalesce((SELECT {literal}))"))
    }

    fn written(&self, literal: &dyn Fn(&str) -> String) -> String {
        let text = |part: &Part| match part {
            Part::Text(text) | Part::Untyped(text) => text.clone(),
            Part::Literal(text) => literal(text),
            Part::Term(term) => term.written(literal),
        };
        self.parts.iter().map(text).collect()
    }

    /// The parts that are calls or forms themselves.
    pub(crate) fn inner(&self) -> impl Iterator<Item = &Term> {
        self.parts.iter().filter_map(|part| match part {
            Part::Term(term) if !term.label.is_empty() => Some(term),
            _ => None,
        })
    }

    /// Whether a literal in it has no type of its own, and so stays a constant.
    pub(crate) fn has_untyped(&self) -> bool {
        self.parts.iter().any(|part| match part {
            Part::Untyped(_) => true,
            Part::Term(term) => term.has_untyped(),
            Part::Text(_) | Part::Literal(_) => false,
        })
    }

    /// The same, and the parts of these, down to the last.
    pub(crate) fn all_inner(&self) -> Vec<&Term> {
        self.inner().flat_map(|term| std::iter::once(term).chain(term.all_inner())).collect()
    }
}

/// Every function of the table that is computed, except those that a server of this version does not have.
pub(crate) fn functions(version: u32) -> Vec<&'static Function> {
    let all = families().flat_map(|(_, functions)| functions);
    let is_known = |function: &Function| version >= 18 || !NOT_ON_15.contains(&function.name);
    all.filter(|function| function.refused.is_none() && is_known(function)).collect()
}

/// Functions that came after Postgres 15.
const NOT_ON_15: &[&str] = &[
    "array_sample",
    "array_shuffle",
    "array_reverse",
    "array_sort",
    "casefold",
    "crc32",
    "crc32c",
    "erf",
    "erfc",
    "gamma",
    "lgamma",
    "reverse_bytea",
    "to_bin",
    "to_oct",
    "unicode_assigned",
    "uuid_extract_timestamp",
    "uuid_extract_version",
    "date_add",
    "date_subtract",
];

/// A function as the reference names it.
pub(crate) fn label(function: &Function) -> String {
    format!("{function:?}")
}

/// A call with the given arguments, in words where the grammar has words for it.
pub(crate) fn call(function: &Function, args: Vec<Term>) -> Term {
    let name = function.name;
    let count = args.len();
    let plain = || format!("{name}({})", vec!["{}"; count].join(", "));
    let template = match (name, count) {
        _ if function.is_operator() && count == 1 => format!("({name} {{}})"),
        _ if function.is_operator() => format!("({{}} {name} {{}})"),
        ("position", 2) => {
            return Term::form(&label(function), "position({} IN {})", args.into_iter().rev().collect());
        }
        ("overlay", 3) => "overlay({} PLACING {} FROM {})".to_owned(),
        ("overlay", 4) => "overlay({} PLACING {} FROM {} FOR {})".to_owned(),
        ("extract" | "overlaps" | "normalize" | "is_normalized", _) => format!("pg_catalog.{}", plain()),
        _ => plain(),
    };
    Term::form(&label(function), &template, args)
}

/// A literal of a type.
pub(crate) fn literal(ty: &SqlType, text: &str) -> Term {
    Term::literal(format!("{}::{}", quoted(text), sql_name(ty)))
}

/// A value cast to a type of this name.
pub(crate) fn cast(term: &Term, to: &str) -> Term {
    Term::form(&format!("cast to {to}"), &format!("({{}})::{to}"), vec![term.clone()])
}

/// The name of a type in SQL.
pub(crate) fn sql_name(ty: &SqlType) -> String {
    kind(ty).map_or_else(|| ty.to_string(), |kind| kind.sql.to_owned())
}

/// The texts that a literal of a type is made of.
pub(crate) fn edges(ty: &SqlType) -> &'static [&'static str] {
    kind(ty).map_or(&["{}", "{NULL}"], |kind| kind.edges)
}

/// Types that slots for several types are tried with.
pub(crate) fn element_types(function: &Function) -> Vec<SqlType> {
    let has = |slot| function.args.contains(&slot);
    if has(Slot::ElementArray) {
        return KINDS.iter().filter_map(|kind| kind.ty.element().cloned()).collect();
    }
    let count = if has(Slot::Element) { KINDS.len() } else { 1 };
    KINDS.iter().take(count).map(|kind| kind.ty.clone()).collect()
}

/// Makes expressions. The same seed makes the same ones.
pub(crate) struct Generator {
    random: StdRng,
    functions: Vec<&'static Function>,
    next: usize,
}

impl Generator {
    pub(crate) fn new(seed: u64, version: u32) -> Generator {
        Generator { random: StdRng::seed_from_u64(seed), functions: functions(version), next: 0 }
    }

    fn below(&mut self, count: usize) -> usize {
        self.random.random_range(0..count.max(1))
    }

    fn pick<'i, T>(&mut self, items: &'i [T]) -> &'i T {
        let at = self.below(items.len());
        &items[at]
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// The places of the values of another row.
    pub(crate) fn row(&mut self) -> Vec<usize> {
        KINDS.iter().map(|kind| self.below(kind.edges.len())).collect()
    }

    /// One more expression. Functions take turns at its top, a form among them now and then.
    pub(crate) fn expression(&mut self) -> Term {
        let depth = 1 + self.below(3);
        if self.chance(12) {
            let ty = self.any_type();
            return self.form(&ty, depth);
        }
        let function = self.functions[self.next % self.functions.len()];
        self.next += 1;
        let elements = element_types(function);
        let element = self.pick(&elements).clone();
        self.call(function, &element, depth)
    }

    fn any_type(&mut self) -> SqlType {
        let at = self.below(KINDS.len());
        KINDS[at].ty.clone()
    }

    fn call(&mut self, function: &'static Function, element: &SqlType, depth: usize) -> Term {
        let mut slots = function.args.to_vec();
        if let Some(last) = function.is_variadic.then(|| slots.last().copied()).flatten() {
            let more = self.below(3);
            slots.extend(vec![last; more]);
        }
        let args = slots.into_iter().enumerate().map(|(at, slot)| {
            let ty = slot_type(slot, element).unwrap_or_else(|| self.any_type());
            match hints(function.name, at, &ty) {
                Some(texts) if self.chance(85) => literal(&ty, self.pick::<&str>(texts)),
                _ => self.term(&ty, depth - 1),
            }
        });
        let args = args.collect();
        call(function, args)
    }

    /// An expression of a type.
    fn term(&mut self, ty: &SqlType, depth: usize) -> Term {
        if depth == 0 || self.chance(30) {
            return self.leaf(ty);
        }
        if self.chance(25) {
            return self.form(ty, depth);
        }
        let element = ty.element().cloned().unwrap_or_else(|| ty.clone());
        let gives = |function: &&Function| slot_type(function.result, &element).as_ref() == Some(ty);
        let fitting = self.functions.iter().copied().filter(gives).collect::<Vec<_>>();
        if fitting.is_empty() {
            return self.leaf(ty);
        }
        let function = *self.pick(&fitting);
        let is_bound = matches!(function.result, Slot::Element | Slot::ElementArray);
        let elements = if is_bound { vec![element] } else { element_types(function) };
        let element = self.pick(&elements).clone();
        self.call(function, &element, depth)
    }

    fn leaf(&mut self, ty: &SqlType) -> Term {
        let at = KINDS.iter().position(|kind| kind.ty == *ty);
        if let (Some(at), true) = (at, self.chance(55)) {
            let [value, null] = columns(at);
            return Term::leaf(if self.chance(12) { null } else { value });
        }
        if self.chance(4) {
            return Term::literal(format!("NULL::{}", sql_name(ty)));
        }
        let text = *self.pick(edges(ty));
        // Its type is that of its place.
        if self.chance(8) {
            return Term { parts: vec![Part::Untyped(quoted(text))], label: String::new() };
        }
        let is_plain_number = matches!(ty, SqlType::Int4) && text.parse::<u32>().is_ok();
        if is_plain_number && self.chance(60) { Term::leaf(text.to_owned()) } else { literal(ty, text) }
    }

    fn terms<const COUNT: usize>(&mut self, types: [&SqlType; COUNT], depth: usize) -> Vec<Term> {
        types.into_iter().map(|ty| self.term(ty, depth - 1)).collect()
    }

    /// One of the forms that have a grammar of their own, of a type if it has one.
    fn form(&mut self, ty: &SqlType, depth: usize) -> Term {
        let comparable = |ty: &SqlType| *ty != SqlType::Json;
        let other = self.any_type();
        let (boolean, text) = (&SqlType::Bool, &SqlType::Text);
        let choice = self.below(if *ty == SqlType::Bool { 14 } else { 5 });
        let (label, template, types): (&str, &str, Vec<&SqlType>) = match choice {
            0 => ("CASE", "CASE WHEN {} THEN {} ELSE {} END", vec![boolean, ty, ty]),
            1 => ("COALESCE", "coalesce({}, {})", vec![ty, ty]),
            2 if comparable(ty) => ("NULLIF", "nullif({}, {})", vec![ty, ty]),
            3 if comparable(ty) => ("GREATEST", "greatest({}, {}, {})", vec![ty, ty, ty]),
            4 if comparable(ty) => ("LEAST", "least({}, {})", vec![ty, ty]),
            5 if comparable(&other) => ("IN", "({} IN ({}, {}))", vec![&other, &other, &other]),
            6 if comparable(&other) => ("BETWEEN", "({} BETWEEN {} AND {})", vec![&other, &other, &other]),
            7 if comparable(&other) => ("IS DISTINCT FROM", "({} IS DISTINCT FROM {})", vec![&other, &other]),
            8 => ("AND", "({} AND {})", vec![boolean, boolean]),
            9 => ("OR", "({} OR NOT {})", vec![boolean, boolean]),
            10 => ("IS NULL", "({} IS NOT NULL)", vec![&other]),
            11 => ("IS TRUE", "({} IS NOT TRUE)", vec![boolean]),
            12 => {
                let pattern = literal(text, self.pick::<&str>(&["%", "a%", "_b%", "%é%", "a\\%"]));
                let left = self.term(text, depth - 1);
                return Term::form("LIKE", "({} LIKE {})", vec![left, pattern]);
            }
            _ => return self.array_form(ty, depth),
        };
        let terms = types.into_iter().map(|ty| self.term(ty, depth - 1)).collect();
        Term::form(label, template, terms)
    }

    fn array_form(&mut self, ty: &SqlType, depth: usize) -> Term {
        let elements = [SqlType::Int4, SqlType::Text, SqlType::Numeric, mood()];
        if *ty == SqlType::Bool {
            let element = self.pick(&elements).clone();
            let array = element.clone().array_of();
            let sign = *self.pick(&["=", "<>", "<", ">="]);
            let word = *self.pick(&["ANY", "ALL"]);
            let template = format!("({{}} {sign} {word} ({{}}))");
            return Term::form(word, &template, self.terms([&element, &array], depth));
        }
        if let Some(element) = ty.element().cloned() {
            return Term::form("ARRAY", "ARRAY[{}, {}]", self.terms([&element, &element], depth));
        }
        if elements.contains(ty) {
            let array = ty.clone().array_of();
            return Term::form("subscript", "({})[{}]", self.terms([&array, &SqlType::Int4], depth));
        }
        Term::form(
            "CASE",
            "CASE {} WHEN {} THEN {} END",
            self.terms([&SqlType::Int4, &SqlType::Int4, ty], depth),
        )
    }
}
