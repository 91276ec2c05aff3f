//! The user's own text of an expression, with the few words replaced that a server would not understand.

use sqlparser::ast::{DataType, Expr, Ident, ObjectName, ObjectNamePart};

use super::spans::{Spot, children, closing_bracket, spot_of};
use super::{casts_to, innermost, masked, quoted_path, schema_of};
use crate::expr::error::Problem;
use crate::expr::mask;
use crate::expr::resolve::{folded, parse};
use crate::expr::scope::Scope;

/// The text in brackets: names of types have their schema in front, and `mask` is spelled out.
pub fn own_text(text: &str, scope: &Scope) -> Result<String, Problem> {
    let parsed = parse(text)?;
    let mut edits = Vec::new();
    collect(&parsed, text, scope, &mut edits);
    edits.sort_by_key(|(spot, _)| spot.start);
    let mut out = String::with_capacity(text.len() + 2);
    let mut from = 0;
    for (spot, with) in edits {
        // What overlaps was not found where it stands.
        if let Some(between) = text.get(from..spot.start) {
            out.push_str(between);
            out.push_str(&with);
            from = spot.end;
        }
    }
    out.push_str(text.get(from..).unwrap_or_default());
    // A comment that ends with its line must not hide the bracket.
    let end = if out.contains("--") { "\n" } else { "" };
    Ok(format!("({}{end})", out.trim()))
}

type Edit = (Spot, String);

fn collect(expr: &Expr, text: &str, scope: &Scope, edits: &mut Vec<Edit>) {
    match expr {
        Expr::Cast { data_type, .. } => qualify_type(data_type, text, scope, edits),
        Expr::TypedString(typed) => qualify_type(&typed.data_type, text, scope, edits),
        Expr::Function(call) => match masked(call) {
            Some(_) => spell_out(&call.name, text, edits),
            None => {
                edits.extend(casts_to(call, scope).and_then(|schema| qualified(&call.name, schema, text)))
            }
        },
        _ => {}
    }
    children(expr, &mut |child| collect(child, text, scope, edits));
}

fn qualify_type(ty: &DataType, text: &str, scope: &Scope, edits: &mut Vec<Edit>) {
    if let DataType::Custom(name, _) = innermost(ty)
        && let Some(schema) = schema_of(name, scope)
    {
        edits.extend(qualified(name, schema, text));
    }
}

fn only_part(name: &ObjectName) -> Option<&Ident> {
    match name.0.as_slice() {
        [ObjectNamePart::Identifier(name)] => Some(name),
        _ => None,
    }
}

fn qualified(name: &ObjectName, schema: &str, text: &str) -> Option<Edit> {
    let name = only_part(name)?;
    Some((spot_of(name.span, text)?, quoted_path(&[schema, &folded(name)])))
}

/// What stands in front of the argument takes the place of `mask(`, and what stands behind it that of `)`.
fn spell_out(name: &ObjectName, text: &str, edits: &mut Vec<Edit>) {
    const ARGUMENT: &str = "\u{0}";
    let spelled = mask::sql(ARGUMENT);
    let (Some(name), Some((before, behind))) = (only_part(name), spelled.split_once(ARGUMENT)) else {
        return;
    };
    if let Some(name) = spot_of(name.span, text)
        && let Some((open, close)) = closing_bracket(text, name.end)
    {
        edits.push((Spot { start: name.start, end: open + 1 }, before.to_owned()));
        edits.push((Spot { start: close, end: close + 1 }, behind.to_owned()));
    }
}
