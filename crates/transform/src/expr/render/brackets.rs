//! An expression as it is understood here, with brackets around everything that an operator is applied to.
//!
//! A server that finds the same in this text and in the user's own binds operators as the parser here does.

use sqlparser::ast::{
    AccessExpr, Array, BinaryOperator, CaseWhen, DataType, Expr, FunctionArg, FunctionArgExpr,
    FunctionArguments, Interval, ObjectNamePart, Spanned, Subscript, TrimWhereField, Value,
};

use super::{casts_to, masked, quoted_literal, quoted_name, quoted_path, type_name};
use crate::expr::error::Problem;
use crate::expr::mask;
use crate::expr::resolve::{Resolver, folded, not_supported, parse};
use crate::expr::scope::Scope;

/// The expression with brackets around every application of an operator, all names in quotes, and types by their full
/// names. `EXPLAIN` of this and of the user's own text differ where a server reads that text differently.
pub fn bracketed(text: &str, scope: &Scope) -> Result<String, Problem> {
    let parsed = parse(text)?;
    // What is written below is what this takes.
    Resolver { scope }.resolve(&parsed)?;
    Writer { scope }.written(&parsed)
}

struct Writer<'s> {
    scope: &'s Scope,
}

type Written = Result<String, Problem>;

impl Writer<'_> {
    fn written(&self, expr: &Expr) -> Written {
        let w = |expr: &Expr| self.written(expr);
        Ok(match expr {
            Expr::Nested(inner) => w(inner)?,
            Expr::Identifier(name) => quoted_name(&folded(name)),
            Expr::CompoundIdentifier(names) => quoted_path(
                &names.iter().map(folded).collect::<Vec<_>>().iter().map(String::as_str).collect::<Vec<_>>(),
            ),
            Expr::Value(value) => literal(&value.value, expr)?,
            Expr::TypedString(typed) => {
                self.cast(&literal(&typed.value.value, expr)?, &typed.data_type, expr)?
            }
            Expr::Interval(interval) => self.interval(interval, expr)?,
            Expr::Cast { expr: inner, data_type, .. } => self.cast(&w(inner)?, data_type, expr)?,
            Expr::Collate { expr: inner, collation } => format!("({} COLLATE {collation})", w(inner)?),
            Expr::UnaryOp { op, expr: inner } => format!("({op} {})", w(inner)?),
            Expr::BinaryOp { op: BinaryOperator::And | BinaryOperator::Or, .. } => self.chain(expr)?,
            Expr::BinaryOp { left, op, right } => format!("({} {op} {})", w(left)?, w(right)?),
            Expr::IsNull(inner) => format!("({} IS NULL)", w(inner)?),
            Expr::IsNotNull(inner) => format!("({} IS NOT NULL)", w(inner)?),
            Expr::IsTrue(inner) => format!("({} IS TRUE)", w(inner)?),
            Expr::IsNotTrue(inner) => format!("({} IS NOT TRUE)", w(inner)?),
            Expr::IsFalse(inner) => format!("({} IS FALSE)", w(inner)?),
            Expr::IsNotFalse(inner) => format!("({} IS NOT FALSE)", w(inner)?),
            Expr::IsUnknown(inner) => format!("({} IS UNKNOWN)", w(inner)?),
            Expr::IsNotUnknown(inner) => format!("({} IS NOT UNKNOWN)", w(inner)?),
            Expr::IsDistinctFrom(left, right) => format!("({} IS DISTINCT FROM {})", w(left)?, w(right)?),
            Expr::IsNotDistinctFrom(left, right) => {
                format!("({} IS NOT DISTINCT FROM {})", w(left)?, w(right)?)
            }
            Expr::AtTimeZone { timestamp, time_zone } => {
                format!("({} AT TIME ZONE {})", w(timestamp)?, w(time_zone)?)
            }
            Expr::Array(array) => self.array(array)?,
            Expr::CompoundFieldAccess { root, access_chain } => self.subscripts(root, access_chain, expr)?,
            Expr::Function(call) => self.call(call, expr)?,
            Expr::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref())?
            }
            other => self.form(other)?,
        })
    }

    /// Membership, patterns, and calls that are spelled out in words.
    fn form(&self, expr: &Expr) -> Written {
        let w = |expr: &Expr| self.written(expr);
        let not = |negated: bool| if negated { "NOT " } else { "" };
        Ok(match expr {
            Expr::InList { expr: inner, list, negated } => {
                format!("({} {}IN ({}))", w(inner)?, not(*negated), self.list(list)?)
            }
            Expr::Between { expr: inner, negated, low, high } => {
                format!("({} {}BETWEEN {} AND {})", w(inner)?, not(*negated), w(low)?, w(high)?)
            }
            Expr::AnyOp { left, compare_op, right, .. } => {
                format!("({} {compare_op} ANY ({}))", w(left)?, w(right)?)
            }
            Expr::AllOp { left, compare_op, right } => {
                format!("({} {compare_op} ALL ({}))", w(left)?, w(right)?)
            }
            Expr::Like { negated, expr: inner, pattern, escape_char, .. } => {
                self.like((inner, "LIKE", pattern), *negated, escape_char.as_deref())?
            }
            Expr::ILike { negated, expr: inner, pattern, escape_char, .. } => {
                self.like((inner, "ILIKE", pattern), *negated, escape_char.as_deref())?
            }
            Expr::Extract { field, expr: inner, .. } => {
                let field = field.to_string().to_ascii_lowercase();
                format!("EXTRACT({} FROM {})", quoted_literal(field.trim_matches('\'')), w(inner)?)
            }
            Expr::Ceil { expr: inner, .. } => format!("ceil({})", w(inner)?),
            Expr::Floor { expr: inner, .. } => format!("floor({})", w(inner)?),
            Expr::Position { expr: inner, r#in } => format!("POSITION({} IN {})", w(inner)?, w(r#in)?),
            Expr::Substring { .. } => self.substring(expr)?,
            Expr::Trim { .. } => self.trim(expr)?,
            Expr::Overlay { expr: inner, overlay_what, overlay_from, overlay_for } => {
                let count = self.behind(" FOR ", overlay_for.as_deref())?;
                format!(
                    "OVERLAY({} PLACING {} FROM {}{count})",
                    w(inner)?,
                    w(overlay_what)?,
                    w(overlay_from)?
                )
            }
            other => return Err(not_supported(other, "this form of expression")),
        })
    }

    fn list(&self, exprs: &[Expr]) -> Written {
        Ok(exprs.iter().map(|expr| self.written(expr)).collect::<Result<Vec<_>, _>>()?.join(", "))
    }

    fn behind(&self, word: &str, expr: Option<&Expr>) -> Written {
        expr.map_or(Ok(String::new()), |expr| Ok(format!("{word}{}", self.written(expr)?)))
    }

    /// A chain of AND, or of OR, in one pair of brackets: long ones would nest too deeply.
    fn chain(&self, expr: &Expr) -> Written {
        let Expr::BinaryOp { op: wanted, .. } = expr else { return self.written(expr) };
        let (mut operands, mut rest) = (Vec::new(), expr);
        while let Expr::BinaryOp { left, op, right } = rest
            && op == wanted
        {
            operands.push(self.written(right)?);
            rest = left;
        }
        operands.push(self.written(rest)?);
        operands.reverse();
        Ok(format!("({})", operands.join(&format!(" {wanted} "))))
    }

    fn cast(&self, inner: &str, data_type: &DataType, expr: &Expr) -> Written {
        let (ty, modifier) = Resolver { scope: self.scope }.type_name(data_type, expr)?;
        Ok(format!("CAST({inner} AS {})", type_name(&ty, modifier)))
    }

    fn interval(&self, interval: &Interval, expr: &Expr) -> Written {
        let digits = interval.leading_precision.or(interval.fractional_seconds_precision);
        let ty = DataType::Interval { fields: None, precision: digits };
        self.cast(&self.written(&interval.value)?, &ty, expr)
    }

    /// Inside another array the word may be left out.
    fn array(&self, array: &Array) -> Written {
        Ok(format!("ARRAY[{}]", self.list(&array.elem)?))
    }

    fn subscripts(&self, root: &Expr, chain: &[AccessExpr], expr: &Expr) -> Written {
        let mut out = format!("({})", self.written(root)?);
        for access in chain {
            let AccessExpr::Subscript(Subscript::Index { index }) = access else {
                return Err(not_supported(expr, "a slice, or a field of a composite"));
            };
            out.push_str(&format!("[{}]", self.written(index)?));
        }
        Ok(out)
    }

    fn call(&self, call: &sqlparser::ast::Function, expr: &Expr) -> Written {
        if let Some(arg) = masked(call) {
            return Ok(mask::sql(&self.written(arg)?));
        }
        let mut args = Vec::new();
        if let FunctionArguments::List(list) = &call.args {
            for arg in &list.args {
                let FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)) = arg else {
                    return Err(not_supported(expr, "an argument by name"));
                };
                args.push(self.written(arg)?);
            }
        }
        let Some(ObjectNamePart::Identifier(name)) = call.name.0.last() else {
            return Err(not_supported(expr, "a function without a name"));
        };
        let name = folded(name);
        let name = match (name.as_str(), casts_to(call, self.scope)) {
            // The grammar knows these words, and no function of that name is in the catalog.
            ("coalesce" | "nullif" | "greatest" | "least", _) => name,
            (_, Some(schema)) => quoted_path(&[schema, &name]),
            (_, None) => quoted_path(&["pg_catalog", &name]),
        };
        Ok(format!("{name}({})", args.join(", ")))
    }

    fn case(&self, operand: Option<&Expr>, conditions: &[CaseWhen], otherwise: Option<&Expr>) -> Written {
        let mut out = format!("(CASE{}", self.behind(" ", operand)?);
        for when in conditions {
            let (condition, result) = (self.written(&when.condition)?, self.written(&when.result)?);
            out.push_str(&format!(" WHEN {condition} THEN {result}"));
        }
        Ok(format!("{out}{} END)", self.behind(" ELSE ", otherwise)?))
    }

    fn like(
        &self,
        (subject, word, pattern): (&Expr, &str, &Expr),
        negated: bool,
        escape: Option<&Expr>,
    ) -> Written {
        let not = if negated { "NOT " } else { "" };
        let (subject, pattern) = (self.written(subject)?, self.written(pattern)?);
        Ok(format!("({subject} {not}{word} {pattern}{})", self.behind(" ESCAPE ", escape)?))
    }

    fn substring(&self, expr: &Expr) -> Written {
        let Expr::Substring { expr: inner, substring_from, substring_for, special, shorthand } = expr else {
            return Err(not_supported(expr, "this form"));
        };
        let (from, count) = if *special { (", ", ", ") } else { (" FROM ", " FOR ") };
        Ok(format!(
            "{}({}{}{})",
            if *shorthand { "substr" } else { "SUBSTRING" },
            self.written(inner)?,
            self.behind(from, substring_from.as_deref())?,
            self.behind(count, substring_for.as_deref())?
        ))
    }

    fn trim(&self, expr: &Expr) -> Written {
        let Expr::Trim { trim_where, trim_what, expr: inner, trim_characters } = expr else {
            return Err(not_supported(expr, "this form"));
        };
        let side = match trim_where {
            None => "",
            Some(TrimWhereField::Both) => "BOTH ",
            Some(TrimWhereField::Leading) => "LEADING ",
            Some(TrimWhereField::Trailing) => "TRAILING ",
        };
        let inner = self.written(inner)?;
        let from = match trim_what {
            Some(what) => format!("{} FROM {inner}", self.written(what)?),
            None => inner,
        };
        let more = match trim_characters {
            Some(list) => format!(", {}", self.list(list)?),
            None => String::new(),
        };
        Ok(format!("TRIM({side}{from}{more})"))
    }
}

fn literal(value: &Value, expr: &Expr) -> Written {
    Ok(match value {
        Value::Null => "NULL".to_owned(),
        Value::Boolean(truth) => if *truth { "TRUE" } else { "FALSE" }.to_owned(),
        Value::Number(digits, _) => digits.clone(),
        Value::SingleQuotedString(text)
        | Value::EscapedStringLiteral(text)
        | Value::UnicodeStringLiteral(text) => quoted_literal(text),
        Value::DollarQuotedString(quoted) => quoted_literal(&quoted.value),
        _ => return Err(Problem::new(expr.span(), "this kind of literal is not supported in expressions")),
    })
}
