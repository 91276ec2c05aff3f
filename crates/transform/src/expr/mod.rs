//! SQL scalar expressions over the columns of one table: parsed, checked against the catalog, compiled once, and evaluated
//! on rows with the semantics of Postgres.

mod datum;
mod error;
mod eval;
pub mod functions;
mod node;
mod resolve;
mod scope;
mod text;
mod types;
mod value;

use std::borrow::Cow;

pub use datum::Datum;
pub use error::{EvalError, Place, Problem, SqlState};
pub use scope::{Collation, Scope, ScopeColumn};
pub use types::{DomainType, EnumType, Modifier, NamedType, SqlType};
pub use value::{Array, Inet, Interval, Json, Numeric};

use eval::TextRow;
use node::Node;
use resolve::{Context, Resolver};

/// A compiled expression.
#[derive(Debug, Clone)]
pub struct Expression {
    text: String,
    root: Node,
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
        Ok(Expression { text: text.to_owned(), root })
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
        Ok(Expression { text: text.to_owned(), root })
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
        let value = self.root.eval(&TextRow(row))?;
        Ok((!value.is_null()).then(|| text::output(&value, &self.root.ty).into_owned()))
    }
}
