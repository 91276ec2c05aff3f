//! Quoting: names and literals as SQL writes them.

use super::super::Call;
use super::{cast_to_text, text};
use crate::expr::datum::Datum;
use crate::expr::error::{EvalError, SqlState};
use crate::expr::types::SqlType;

type Value<'a> = Result<Datum<'a>, EvalError>;

/// Words that are no names without quotes.
const RESERVED: &str = " all analyse analyze and any array as asc asymmetric authorization between bigint binary bit boolean \
    both case cast char character check coalesce collate collation column concurrently constraint create \
    cross current_catalog current_date current_role current_schema current_time current_timestamp \
    current_user dec decimal default deferrable desc distinct do else end except exists extract false \
    fetch float for foreign freeze from full grant greatest group grouping having ilike in initially \
    inner inout int integer intersect interval into is isnull join lateral leading least left like limit \
    localtime localtimestamp national natural nchar none normalize not notnull null nullif numeric \
    offset on only or order out outer overlaps overlay placing position precision primary real \
    references returning right row select session_user setof similar smallint some substring symmetric \
    table tablesample then time timestamp to trailing treat trim true union unique user using values \
    varchar variadic verbose when where window with xmlattributes xmlconcat xmlelement xmlexists \
    xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable ";

/// Words that some of the supported versions reserve and others do not.
const RESERVED_SOMEWHERE: &str = " json json_array json_arrayagg json_exists json_object json_objectagg json_query \
    json_scalar json_serialize json_table json_value merge_action system_user ";

pub(super) fn quoted_name(name: &str) -> Result<String, EvalError> {
    let mut bytes = name.bytes();
    let is_plain = bytes.next().is_some_and(|first| first.is_ascii_lowercase() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    let spaced = format!(" {name} ");
    if is_plain && RESERVED_SOMEWHERE.contains(&spaced) {
        return Err(EvalError::new(
            SqlState::NOT_SUPPORTED,
            "whether a name needs quotes depends on the server's version",
        ));
    }
    if is_plain && !RESERVED.contains(&spaced) {
        return Ok(name.to_owned());
    }
    Ok(format!("\"{}\"", name.replace('"', "\"\"")))
}

pub(super) fn quoted_literal(value: &str) -> String {
    let mark = if value.contains('\\') { "E" } else { "" };
    format!("{mark}'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
}

pub(super) fn quote_ident<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    quoted_name(text(args, 0)).map(Datum::text)
}

pub(super) fn quote_literal<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    let ty = call.args.first().unwrap_or(&SqlType::Text);
    Ok(args.first().map_or(Datum::Null, |value| Datum::text(quoted_literal(&cast_to_text(value, ty)))))
}

pub(super) fn quote_nullable<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Value<'a> {
    match args.first() {
        Some(Datum::Null) | None => Ok(Datum::text("NULL")),
        Some(_) => quote_literal(call, args),
    }
}
