//! Where the parts of an expression stand in its text.

use sqlparser::ast::{AccessExpr, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Subscript};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::tokenizer::{Location, Span, Token, Tokenizer};

/// A part of a text, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// The place of a span. Lines and columns count from one, in characters.
pub(super) fn spot_of(span: Span, text: &str) -> Option<Spot> {
    let start = offset(span.start, text)?;
    let end = offset(span.end, text)?;
    (start < end).then_some(Spot { start, end })
}

fn offset(at: Location, text: &str) -> Option<usize> {
    let line_start = match at.line.checked_sub(2) {
        None => 0,
        Some(before) => text.match_indices('\n').nth(before as usize)?.0 + 1,
    };
    let in_line = at.column.checked_sub(1)? as usize;
    let rest = &text[line_start..];
    rest.char_indices().map(|(at, _)| at).chain([rest.len()]).nth(in_line).map(|at| line_start + at)
}

/// The first opening bracket behind a place, and the one that closes it.
pub(super) fn closing_bracket(text: &str, behind: usize) -> Option<(usize, usize)> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize_with_location().ok()?;
    let mut open = None;
    let mut depth = 0_usize;
    for token in tokens {
        let at = offset(token.span.start, text)?;
        if at < behind {
            continue;
        }
        match token.token {
            Token::LParen => {
                open.get_or_insert(at);
                depth += 1;
            }
            Token::RParen if depth == 1 => return open.map(|open| (open, at)),
            Token::RParen => depth = depth.checked_sub(1)?,
            _ => {}
        }
    }
    None
}

/// Calls `see` with every expression right below that expressions can have.
pub(super) fn children<'e>(expr: &'e Expr, see: &mut dyn FnMut(&'e Expr)) {
    match expr {
        Expr::Nested(inner)
        | Expr::IsNull(inner)
        | Expr::IsNotNull(inner)
        | Expr::IsTrue(inner)
        | Expr::IsNotTrue(inner)
        | Expr::IsFalse(inner)
        | Expr::IsNotFalse(inner)
        | Expr::IsUnknown(inner)
        | Expr::IsNotUnknown(inner)
        | Expr::UnaryOp { expr: inner, .. }
        | Expr::Cast { expr: inner, .. }
        | Expr::Collate { expr: inner, .. }
        | Expr::Extract { expr: inner, .. }
        | Expr::Ceil { expr: inner, .. }
        | Expr::Floor { expr: inner, .. } => see(inner),
        Expr::BinaryOp { left, right, .. }
        | Expr::IsDistinctFrom(left, right)
        | Expr::IsNotDistinctFrom(left, right)
        | Expr::AnyOp { left, right, .. }
        | Expr::AllOp { left, right, .. }
        | Expr::AtTimeZone { timestamp: left, time_zone: right }
        | Expr::Position { expr: left, r#in: right } => [left, right].into_iter().for_each(|part| see(part)),
        Expr::Array(array) => array.elem.iter().for_each(see),
        Expr::InList { expr, list, .. } => {
            see(expr);
            list.iter().for_each(see);
        }
        Expr::Between { expr, low, high, .. } => [expr, low, high].into_iter().for_each(|part| see(part)),
        other => children_of_forms(other, see),
    }
}

fn children_of_forms<'e>(expr: &'e Expr, see: &mut dyn FnMut(&'e Expr)) {
    match expr {
        Expr::Like { expr, pattern, escape_char, .. } | Expr::ILike { expr, pattern, escape_char, .. } => {
            [Some(expr), Some(pattern), escape_char.as_ref()]
                .into_iter()
                .flatten()
                .for_each(|part| see(part));
        }
        Expr::Substring { expr, substring_from, substring_for, .. } => {
            let parts = [Some(expr), substring_from.as_ref(), substring_for.as_ref()];
            parts.into_iter().flatten().for_each(|part| see(part));
        }
        Expr::Trim { expr, trim_what, trim_characters, .. } => {
            [Some(expr), trim_what.as_ref()].into_iter().flatten().for_each(|part| see(part));
            trim_characters.iter().flatten().for_each(see);
        }
        Expr::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
            let parts = [Some(expr), Some(overlay_what), Some(overlay_from), overlay_for.as_ref()];
            parts.into_iter().flatten().for_each(|part| see(part));
        }
        Expr::Case { operand, conditions, else_result, .. } => {
            operand.iter().for_each(|part| see(part));
            conditions.iter().flat_map(|when| [&when.condition, &when.result]).for_each(&mut *see);
            else_result.iter().for_each(|part| see(part));
        }
        Expr::CompoundFieldAccess { root, access_chain } => {
            see(root);
            for access in access_chain {
                if let AccessExpr::Subscript(Subscript::Index { index }) = access {
                    see(index);
                }
            }
        }
        Expr::Function(call) => {
            if let FunctionArguments::List(list) = &call.args {
                for arg in &list.args {
                    if let FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)) = arg {
                        see(arg);
                    }
                }
            }
        }
        _ => {}
    }
}
