//! Parts of JSON: fields, elements, paths, and what is known of the whole.

use std::sync::Arc;

use crate::expr::datum::Datum;
use crate::expr::error::{EvalError, SqlState};
use crate::expr::functions::Call;
use crate::expr::value::{Escapes, Json, RawJson, RawKind};

type Result<T> = std::result::Result<T, EvalError>;

/// Reads an index as C does: blanks and a sign may stand in front, nothing behind.
pub(super) fn index(text: &str) -> Option<i32> {
    let text = text.trim_start_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
    text.parse().ok()
}

/// The place of an index that counts from the end where it is negative.
pub(super) fn place(index: i64, len: usize) -> Option<usize> {
    let index = if index < 0 { index + len as i64 } else { index };
    usize::try_from(index).ok().filter(|at| *at < len)
}

pub(super) fn jsonb<'d>(datum: &'d Datum<'_>) -> &'d Json {
    match datum {
        Datum::Jsonb(json) => json,
        _ => &Json::Null,
    }
}

pub(super) fn string<'d>(datum: &'d Datum<'_>) -> &'d str {
    match datum {
        Datum::Text(text) => text,
        _ => "",
    }
}

fn whole<'a>(json: Option<&Json>) -> Datum<'a> {
    json.map_or(Datum::Null, |json| Datum::Jsonb(Arc::new(json.clone())))
}

fn as_text<'a>(json: Option<&Json>) -> Datum<'a> {
    json.and_then(Json::as_text).map_or(Datum::Null, Datum::text)
}

/// A scalar counts as an array of one element.
fn element(json: &Json, index: i64) -> Option<&Json> {
    match json {
        Json::Array(elements) => place(index, elements.len()).and_then(|at| elements.get(at)),
        Json::Object(_) => None,
        scalar => place(index, 1).map(|_| scalar),
    }
}

/// What a key or an index leads to.
fn step<'j>(args: &'j [Datum<'_>]) -> Option<&'j Json> {
    match &args[1] {
        Datum::Int(index) => element(jsonb(&args[0]), *index),
        key => jsonb(&args[0]).field(string(key)),
    }
}

pub(super) fn jsonb_get<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    Ok(whole(step(args)))
}

pub(super) fn jsonb_get_text<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    Ok(as_text(step(args)))
}

/// The steps of a path: an array of texts, or all arguments behind the first. `None` when one of them is null.
fn steps<'d>(args: &'d [Datum<'_>]) -> Option<Vec<&'d str>> {
    let text = |datum: &'d Datum<'_>| match datum {
        Datum::Text(text) => Some(text.as_ref()),
        _ => None,
    };
    match args {
        [_, Datum::Array(path)] => path.elements().iter().map(text).collect(),
        [_, path @ ..] => path.iter().map(text).collect(),
        [] => None,
    }
}

fn follow<'j>(args: &'j [Datum<'_>]) -> Option<&'j Json> {
    let mut found = jsonb(&args[0]);
    for step in steps(args)? {
        found = match found {
            Json::Object(_) => found.field(step)?,
            Json::Array(elements) => elements.get(place(i64::from(index(step)?), elements.len())?)?,
            _ => return None,
        };
    }
    Some(found)
}

pub(super) fn jsonb_path<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    Ok(whole(follow(args)))
}

pub(super) fn jsonb_path_text<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    Ok(as_text(follow(args)))
}

fn parse<'d>(args: &'d [Datum<'_>]) -> Result<RawJson<'d>> {
    RawJson::parse(string(&args[0]), Escapes::Read)
}

/// What a path leads to. Of several fields with the same key the last counts that leads to the end.
fn find<'r, 't>(raw: &'r RawJson<'t>, path: &[&str]) -> Option<&'r RawJson<'t>> {
    let [step, rest @ ..] = path else { return Some(raw) };
    match &raw.kind {
        RawKind::Object(fields) => {
            fields.iter().rev().filter(|(key, _)| key == step).find_map(|(_, value)| find(value, rest))
        }
        RawKind::Array(elements) => {
            find(elements.get(place(i64::from(index(step)?), elements.len())?)?, rest)
        }
        _ => None,
    }
}

fn raw_whole<'a>(raw: Option<&RawJson<'_>>) -> Datum<'a> {
    raw.map_or(Datum::Null, |raw| Datum::text(raw.text))
}

fn raw_text<'a>(raw: Option<&RawJson<'_>>) -> Datum<'a> {
    match raw.map(|raw| (&raw.kind, raw.text)) {
        None | Some((RawKind::Null, _)) => Datum::Null,
        Some((RawKind::String(text), _)) => Datum::text(text.as_ref()),
        Some((_, text)) => Datum::text(text),
    }
}

fn raw_step<'r, 't>(raw: &'r RawJson<'t>, step: &Datum<'_>) -> Option<&'r RawJson<'t>> {
    match (&raw.kind, step) {
        (RawKind::Array(elements), Datum::Int(index)) => {
            place(*index, elements.len()).and_then(|at| elements.get(at))
        }
        (RawKind::Object(_), Datum::Text(key)) => find(raw, &[key]),
        _ => None,
    }
}

pub(super) fn json_get<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    Ok(raw_whole(raw_step(&parse(args)?, &args[1])))
}

pub(super) fn json_get_text<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    Ok(raw_text(raw_step(&parse(args)?, &args[1])))
}

pub(super) fn json_path<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    let Some(path) = steps(args) else { return Ok(Datum::Null) };
    Ok(raw_whole(find(&parse(args)?, &path)))
}

pub(super) fn json_path_text<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    let Some(path) = steps(args) else { return Ok(Datum::Null) };
    Ok(raw_text(find(&parse(args)?, &path)))
}

pub(super) fn contains<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    Ok(Datum::Bool(jsonb(&args[0]).contains(jsonb(&args[1]))))
}

pub(super) fn contained<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    Ok(Datum::Bool(jsonb(&args[1]).contains(jsonb(&args[0]))))
}

pub(super) fn has<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    Ok(Datum::Bool(jsonb(&args[0]).has(string(&args[1]))))
}

/// The texts of an array without its nulls.
pub(super) fn strings<'d>(datum: &'d Datum<'_>) -> Vec<&'d str> {
    let Datum::Array(array) = datum else { return Vec::new() };
    array.elements().iter().filter(|element| !element.is_null()).map(string).collect()
}

pub(super) fn has_any<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    Ok(Datum::Bool(strings(&args[1]).iter().any(|text| jsonb(&args[0]).has(text))))
}

pub(super) fn has_all<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    Ok(Datum::Bool(strings(&args[1]).iter().all(|text| jsonb(&args[0]).has(text))))
}

pub(super) fn jsonb_type<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    Ok(Datum::text(jsonb(&args[0]).type_name()))
}

pub(super) fn json_type<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    Ok(Datum::text(RawJson::parse(string(&args[0]), Escapes::Kept)?.type_name()))
}

fn no_array<'a>(is_scalar: bool) -> Result<Datum<'a>> {
    let what = if is_scalar {
        "cannot get array length of a scalar"
    } else {
        "cannot get array length of a non-array"
    };
    Err(EvalError::new(SqlState::INVALID_PARAMETER, what))
}

pub(super) fn jsonb_length<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    match jsonb(&args[0]) {
        Json::Array(elements) => Ok(Datum::Int(elements.len() as i64)),
        other => no_array(other.is_scalar()),
    }
}

pub(super) fn json_length<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    match RawJson::parse(string(&args[0]), Escapes::Kept)?.kind {
        RawKind::Array(elements) => Ok(Datum::Int(elements.len() as i64)),
        other => no_array(!matches!(other, RawKind::Object(_))),
    }
}

pub(super) fn pretty<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    Ok(Datum::text(jsonb(&args[0]).to_pretty()))
}
