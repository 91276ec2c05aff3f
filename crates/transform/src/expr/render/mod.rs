//! Expressions, names, literals and types written as SQL that means the same under an empty `search_path`.

mod brackets;
mod own;
mod spans;

use sqlparser::ast::{DataType, Expr, ObjectName, ObjectNamePart};

pub use brackets::bracketed;
pub use own::own_text;

use super::functions;
use super::resolve::folded;
use super::scope::Scope;
use super::types::{DomainType, Modifier, NamedType, SqlType};

/// A name in quotes.
pub(crate) fn quoted_name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Several names, each in quotes, with points between them.
pub(crate) fn quoted_path(names: &[&str]) -> String {
    names.iter().map(|name| quoted_name(name)).collect::<Vec<_>>().join(".")
}

/// A literal, read alike whatever `standard_conforming_strings` says.
pub(crate) fn quoted_literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", doubled.replace('\\', "\\\\")) } else { format!("'{doubled}'") }
}

/// A type as a cast names it.
pub(crate) fn type_name(ty: &SqlType, modifier: Modifier) -> String {
    let named =
        |name: &NamedType| quoted_path(&[name.schema.as_deref().unwrap_or("pg_catalog"), name.name.as_str()]);
    match ty {
        SqlType::Enum(of) => named(&of.name),
        SqlType::Domain(of) => named(&of.name),
        // In quotes a type has no length of one by default.
        SqlType::Opaque(of) => named(of),
        SqlType::Array(element) => format!("{}[]", type_name(element, modifier)),
        // `character` alone is one of length one.
        SqlType::Bpchar if modifier == Modifier::NONE => "bpchar".to_owned(),
        plain => with_modifier(plain, modifier),
    }
}

fn with_modifier(ty: &SqlType, modifier: Modifier) -> String {
    let digits = modifier.fraction_digits().map(|digits| format!("({digits})")).unwrap_or_default();
    match ty {
        SqlType::Varchar | SqlType::Bpchar => match modifier.characters() {
            Some(count) => format!("{ty}({count})"),
            None => ty.to_string(),
        },
        SqlType::Numeric => match modifier.precision_and_scale() {
            Some((precision, scale)) => format!("numeric({precision}, {scale})"),
            None => ty.to_string(),
        },
        SqlType::Time => format!("time{digits} without time zone"),
        SqlType::TimeTz => format!("time{digits} with time zone"),
        SqlType::Timestamp => format!("timestamp{digits} without time zone"),
        SqlType::TimestampTz => format!("timestamp{digits} with time zone"),
        SqlType::Interval => format!("interval{digits}"),
        plain => plain.to_string(),
    }
}

/// A value, given as SQL, as a column of this type stores it. What would not fit is left as it is and not cut off, and
/// types that only green has are written as text.
pub(crate) fn as_stored(sql: &str, ty: &SqlType, modifier: Modifier) -> String {
    let modifier_of = |domain: &DomainType| {
        if domain.modifier == Modifier::NONE { modifier } else { domain.modifier }
    };
    match ty {
        SqlType::Domain(domain) => as_stored(sql, &domain.base, modifier_of(domain)),
        SqlType::Bpchar => match modifier.characters() {
            // Cut of its blanks and filled with blanks, but not cut off, as a cast to the length would.
            Some(count) => {
                format!("overlay(repeat(' ', {count}) placing CAST(CAST({sql} AS bpchar) AS text) from 1)")
            }
            None => format!("CAST({sql} AS bpchar)"),
        },
        _ => match stored_type(ty, modifier) {
            Some(name) => format!("CAST({sql} AS {name})"),
            None => format!("CAST({sql} AS text)"),
        },
    }
}

/// The type to cast to; `None` for one that blue need not have.
fn stored_type(ty: &SqlType, modifier: Modifier) -> Option<String> {
    match ty {
        SqlType::Enum(_) | SqlType::Unknown => None,
        // Texts of these name what a database holds.
        SqlType::Opaque(of) if of.schema.is_some() || of.name.starts_with("reg") => None,
        SqlType::Domain(domain) => stored_type(&domain.base, domain.modifier),
        SqlType::Array(element) => stored_type(element, modifier).map(|element| format!("{element}[]")),
        SqlType::Varchar | SqlType::Bpchar => Some(type_name(ty, Modifier::NONE)),
        plain => Some(type_name(plain, modifier)),
    }
}

/// Where a type is named without a schema and found in one: the schema.
fn schema_of<'s>(name: &ObjectName, scope: &'s Scope) -> Option<&'s str> {
    match name.0.as_slice() {
        [ObjectNamePart::Identifier(name)] => scope.schema_of_type(&folded(name)),
        _ => None,
    }
}

/// The name of the element, for an array of arrays and so on.
fn innermost(ty: &DataType) -> &DataType {
    use sqlparser::ast::ArrayElemTypeDef::SquareBracket;
    match ty {
        DataType::Array(SquareBracket(element, _)) => innermost(element),
        other => other,
    }
}

/// Whether a call is a cast to a type that is named as a function is.
fn casts_to<'s>(call: &sqlparser::ast::Function, scope: &'s Scope) -> Option<&'s str> {
    let [ObjectNamePart::Identifier(name)] = call.name.0.as_slice() else { return None };
    functions::named(&folded(name)).is_empty().then(|| schema_of(&call.name, scope)).flatten()
}

/// The argument of a call of `mask`.
fn masked(call: &sqlparser::ast::Function) -> Option<&Expr> {
    use sqlparser::ast::{FunctionArg, FunctionArgExpr, FunctionArguments};
    let [ObjectNamePart::Identifier(name)] = call.name.0.as_slice() else { return None };
    let FunctionArguments::List(list) = &call.args else { return None };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))] if folded(name) == super::mask::NAME => Some(arg),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
