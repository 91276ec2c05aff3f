//! SQL scalar expressions over the columns of one table: parsed, checked against the catalog, compiled once, and evaluated
//! on rows with the semantics of Postgres.

mod constant;
mod datum;
mod error;
mod eval;
pub(crate) mod fixed;
pub mod functions;
mod mask;
mod node;
pub(crate) mod render;
mod resolve;
mod scope;
pub(crate) mod text;
mod types;
mod value;

use std::borrow::Cow;
use std::fmt;

pub use datum::Datum;
pub use error::{EvalError, Place, Problem, SqlState};
pub use mask::MaskKey;
pub use render::{bracketed, own_text};
pub use scope::{Collation, Scope, ScopeColumn};
pub use types::{DomainType, EnumType, Modifier, NamedType, SqlType};
pub use value::{Array, Inet, Interval, Json, Numeric};

pub(crate) use eval::Columns;
use eval::TextRow;
use node::Node;
pub(crate) use resolve::parse as parsed;
use resolve::{Context, Resolver};

/// A compiled expression.
#[derive(Clone)]
pub struct Expression {
    text: String,
    root: Node,
    mask_mark: Option<String>,
}

/// The compiled form may hold the key of `mask`.
impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expression").field("text", &self.text).field("ty", &self.root.ty).finish()
    }
}

impl Expression {
    /// Compiles the text of an expression over the columns of a table.
    pub fn compile(text: &str, scope: &Scope) -> Result<Expression, Problem> {
        let parsed = resolve::parse(text)?;
        let resolver = Resolver { scope };
        let root = resolver.resolve(&parsed)?;
        let root = if root.ty == SqlType::Unknown {
            resolver.implicitly(root, &SqlType::Text, &parsed)?
        } else {
            root
        };
        Ok(Expression::new(text, root, scope))
    }

    /// The same as what a column of this type stores.
    pub fn compile_for(
        text: &str,
        scope: &Scope,
        (ty, modifier): (&SqlType, Modifier),
    ) -> Result<Expression, Problem> {
        let parsed = resolve::parse(text)?;
        let resolver = Resolver { scope };
        let root = resolver.resolve(&parsed)?;
        let root = resolver.coerced(root, ty, Context::Assignment, &parsed)?;
        let root = resolver.fitted(root, modifier, false);
        Ok(Expression::new(text, root, scope))
    }

    /// Compiles a condition: what it comes to is true, false or null.
    pub fn compile_condition(text: &str, scope: &Scope) -> Result<Expression, Problem> {
        let parsed = resolve::parse(text)?;
        let root = Resolver { scope }.condition(&parsed, "WHERE")?;
        Ok(Expression::new(text, root, scope))
    }

    /// The places of the columns that it reads, ascending.
    pub fn inputs(&self) -> Vec<usize> {
        let mut places = Vec::new();
        self.root.each_column(&mut |at| places.push(at));
        places.sort_unstable();
        places.dedup();
        places
    }

    /// The value on a row; its text is that of [`Expression::output`].
    pub(crate) fn value<'a>(&'a self, row: &impl Columns<'a>) -> Result<Datum<'a>, EvalError> {
        self.root.eval(row)
    }

    /// The text of a value of this expression that is not null.
    pub(crate) fn output<'v>(&self, value: &'v Datum<'_>) -> Cow<'v, str> {
        text::output(value, &self.root.ty)
    }

    fn new(text: &str, root: Node, scope: &Scope) -> Expression {
        let key = scope.mask_key.as_ref().filter(|_| root.calls(mask::NAME));
        Expression { text: text.to_owned(), mask_mark: key.map(MaskKey::mark), root }
    }

    /// Its text, and where it masks something that differs whenever the key does and does not tell it.
    pub(crate) fn identity(&self) -> Cow<'_, str> {
        match &self.mask_mark {
            Some(mark) => Cow::Owned(format!("{} under key {mark}", self.text)),
            None => Cow::Borrowed(&self.text),
        }
    }

    /// The expression as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The type of its value.
    pub fn ty(&self) -> &SqlType {
        &self.root.ty
    }

    /// The text of its value on a row, given as the text of each column of the scope; `None` is null.
    pub fn evaluate(&self, row: &[Option<Cow<'_, str>>]) -> Result<Option<String>, EvalError> {
        let mut out = String::new();
        Ok(self.write(&TextRow(row), &mut out)?.then_some(out))
    }
}

/// Whether a text is one SQL expression, whatever its names mean. What is wrong is marked to its end.
pub fn check_syntax(text: &str) -> Result<(), Problem> {
    let Err(mut problem) = resolve::parse(text) else {
        return Ok(());
    };
    match problem.what.rsplit_once("found: ") {
        Some((_, "EOF")) => {
            let (line, last) = text.split('\n').enumerate().last().unwrap_or_default();
            let column = last.trim_end().chars().count() as u64 + 1;
            problem.place = Place { line: line as u64 + 1, column, column_end: None };
            problem.what = "the expression ends where more of it is expected".to_owned();
        }
        Some((_, found)) if problem.place.column_end.is_none() => {
            problem.place.column_end = Some(problem.place.column + found.chars().count() as u64);
        }
        _ => {}
    }
    Err(problem)
}
