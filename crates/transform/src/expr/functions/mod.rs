//! The table of functions and operators: what each takes and gives, and how it is computed.

mod arrays;
mod comparison;
mod json;
mod numbers;
mod strings;
mod times;

use std::fmt;
use std::sync::LazyLock;

use rustc_hash::FxHashMap;

use super::datum::Datum;
use super::error::EvalError;
use super::resolve::Context;
use super::types::{Modifier, SqlType};

/// What a function's argument or result may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// `boolean`
    Bool,
    /// `smallint`
    Int2,
    /// `integer`
    Int4,
    /// `bigint`
    Int8,
    /// `numeric`
    Numeric,
    /// `real`
    Float4,
    /// `double precision`
    Float8,
    /// `text`
    Text,
    /// `character`
    Bpchar,
    /// `bytea`
    Bytea,
    /// `date`
    Date,
    /// `time`
    Time,
    /// `timetz`
    TimeTz,
    /// `timestamp`
    Timestamp,
    /// `timestamptz`
    TimestampTz,
    /// `interval`
    Interval,
    /// `uuid`
    Uuid,
    /// `json`
    Json,
    /// `jsonb`
    Jsonb,
    /// `inet`
    Inet,
    /// `cidr`; only casts name it.
    Cidr,
    /// `text[]`
    TextArray,
    /// `integer[]`
    Int4Array,
    /// `bytea[]`, `jsonb[]` and the like are reached through these: the same element type everywhere in one call.
    Element,
    /// An array of [`Slot::Element`].
    ElementArray,
    /// The same enum everywhere in one call.
    Enum,
    /// Anything, each argument by itself.
    Any,
}

impl Slot {
    /// The type that the slot stands for, unless it stands for several.
    pub(crate) fn fixed(self) -> Option<SqlType> {
        Some(match self {
            Slot::Bool => SqlType::Bool,
            Slot::Int2 => SqlType::Int2,
            Slot::Int4 => SqlType::Int4,
            Slot::Int8 => SqlType::Int8,
            Slot::Numeric => SqlType::Numeric,
            Slot::Float4 => SqlType::Float4,
            Slot::Float8 => SqlType::Float8,
            Slot::Text => SqlType::Text,
            Slot::Bpchar => SqlType::Bpchar,
            Slot::Bytea => SqlType::Bytea,
            Slot::Date => SqlType::Date,
            Slot::Time => SqlType::Time,
            Slot::TimeTz => SqlType::TimeTz,
            Slot::Timestamp => SqlType::Timestamp,
            Slot::TimestampTz => SqlType::TimestampTz,
            Slot::Interval => SqlType::Interval,
            Slot::Uuid => SqlType::Uuid,
            Slot::Json => SqlType::Json,
            Slot::Jsonb => SqlType::Jsonb,
            Slot::Inet => SqlType::Inet,
            Slot::Cidr => SqlType::Cidr,
            Slot::TextArray => SqlType::Text.array_of(),
            Slot::Int4Array => SqlType::Int4.array_of(),
            Slot::Element | Slot::ElementArray | Slot::Enum | Slot::Any => return None,
        })
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.fixed(), self) {
            (Some(ty), _) => ty.fmt(f),
            (None, Slot::Element) => f.write_str("element"),
            (None, Slot::ElementArray) => f.write_str("element[]"),
            (None, Slot::Enum) => f.write_str("enum"),
            (None, _) => f.write_str("any"),
        }
    }
}

/// What a call knows besides its arguments.
#[derive(Debug, Clone, Copy)]
pub struct Call<'e> {
    /// The types of the arguments as they are passed.
    pub args: &'e [SqlType],
    /// The type of the result.
    pub result: &'e SqlType,
    /// The modifier of the result; only casts have one.
    pub modifier: Modifier,
    /// How letters are changed from one case to the other.
    pub case: CaseRule,
}

/// How a collation changes the case of letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CaseRule {
    /// Only the letters of ASCII have a case.
    #[default]
    Ascii,
    /// Each letter becomes one other letter.
    Simple,
    /// A letter may become several, as in German.
    Full,
}

/// How a function is computed. Arguments are never null when the function is strict.
pub type Compute = for<'a, 'e> fn(Call<'e>, &[Datum<'a>]) -> Result<Datum<'a>, EvalError>;

/// One function or operator for one list of argument types.
pub struct Function {
    /// Its name in lower case, or the operator's sign.
    pub name: &'static str,
    /// What it takes. Operators take one (in front) or two.
    pub args: &'static [Slot],
    /// Whether the last argument may come any number of times, or as an array behind VARIADIC.
    pub is_variadic: bool,
    /// What it gives.
    pub result: Slot,
    /// Whether it is null as soon as an argument is.
    pub is_strict: bool,
    /// Whether its result depends on how its collation changes the case of letters.
    pub needs_case: bool,
    /// Whether its result depends on how its collation sorts.
    pub needs_order: bool,
    /// Why it is not offered although it is in the table, where leaving it out would make a call mean another overload.
    pub refused: Option<&'static str>,
    /// How it is computed.
    pub compute: Compute,
    /// One sentence for the reference.
    pub about: &'static str,
}

/// As its call is written, with types in place of values.
impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.is_operator(), self.args) {
            (true, [operand]) => write!(f, "{} {operand}", self.name),
            (true, [left, right]) => write!(f, "{left} {} {right}", self.name),
            (_, args) => {
                let args = args.iter().map(ToString::to_string).collect::<Vec<_>>();
                let more = if self.is_variadic { ", ..." } else { "" };
                write!(f, "{}({}{more})", self.name, args.join(", "))
            }
        }
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} -> {}", self.result)
    }
}

impl Function {
    /// A strict function.
    pub(crate) const fn new(
        name: &'static str,
        args: &'static [Slot],
        result: Slot,
        compute: Compute,
        about: &'static str,
    ) -> Function {
        Function {
            name,
            args,
            is_variadic: false,
            result,
            is_strict: true,
            needs_case: false,
            needs_order: false,
            refused: None,
            compute,
            about,
        }
    }

    /// The same with nulls as arguments.
    pub(crate) const fn takes_nulls(mut self) -> Function {
        self.is_strict = false;
        self
    }

    /// The same with a last argument that may come any number of times.
    pub(crate) const fn variadic(mut self) -> Function {
        self.is_variadic = true;
        self
    }

    /// The same, kept out of reach.
    pub(crate) const fn refused(mut self, why: &'static str) -> Function {
        self.refused = Some(why);
        self
    }

    /// The same under a collation that says what the other case of a letter is.
    pub(crate) const fn by_case(mut self) -> Function {
        self.needs_case = true;
        self
    }

    /// The same under a collation that sorts by bytes.
    pub(crate) const fn by_order(mut self) -> Function {
        self.needs_order = true;
        self
    }

    /// Whether it is an operator.
    pub fn is_operator(&self) -> bool {
        !self.name.starts_with(|letter: char| letter.is_ascii_alphabetic())
    }
}

/// A cast that some context asks for by itself: from its only argument to its result.
pub(crate) struct Cast {
    /// How it is computed; its name is `cast`.
    pub(crate) function: Function,
    /// The least context that allows it.
    pub(crate) context: Context,
}

impl Cast {
    pub(crate) const fn new(context: Context, from: &'static [Slot], to: Slot, compute: Compute) -> Cast {
        Cast { function: Function::new("cast", from, to, compute, ""), context }
    }
}

/// The families of functions, in the order of the reference.
const FAMILIES: &[(&str, &[Function])] = &[
    ("Comparison", comparison::FUNCTIONS),
    ("Numbers", numbers::FUNCTIONS),
    ("Strings", strings::FUNCTIONS),
    ("Patterns", strings::PATTERNS),
    ("Dates and times", times::FUNCTIONS),
    ("JSON", json::FUNCTIONS),
    ("Arrays", arrays::FUNCTIONS),
];

/// The casts of each family.
const CASTS: &[&[Cast]] = &[numbers::CASTS, strings::CASTS, times::CASTS, json::CASTS];

static BY_NAME: LazyLock<FxHashMap<&'static str, Vec<&'static Function>>> = LazyLock::new(|| {
    let mut by_name = FxHashMap::<_, Vec<_>>::default();
    for function in families().flat_map(|(_, functions)| functions) {
        by_name.entry(function.name).or_default().push(function);
    }
    by_name
});

/// Every family with its functions, for the reference and for tests.
pub fn families() -> impl Iterator<Item = (&'static str, &'static [Function])> {
    FAMILIES.iter().copied()
}

/// Every function of a name, or operator of a sign.
pub(crate) fn named(name: &str) -> &'static [&'static Function] {
    BY_NAME.get(name).map_or(&[], Vec::as_slice)
}

/// The cast between two types that are no domains, and the least context that allows it.
pub(crate) fn cast(from: &SqlType, to: &SqlType) -> Option<(&'static Function, Context)> {
    // Both strings without a length of their own are cast alike.
    let to = if *to == SqlType::Varchar { &SqlType::Text } else { to };
    let fits = |cast: &&'static Cast| {
        let from_slot = cast.function.args.first().and_then(|slot| slot.fixed());
        from_slot.as_ref() == Some(from) && cast.function.result.fixed().as_ref() == Some(to)
    };
    CASTS.iter().flat_map(|casts| casts.iter()).find(fits).map(|cast| (&cast.function, cast.context))
}

/// The known function whose name looks most like this one.
pub(crate) fn similar(name: &str) -> Option<&'static str> {
    let scored = BY_NAME.keys().map(|known| (strsim::jaro_winkler(name, known), *known));
    scored.filter(|(score, _)| *score > 0.85).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}
