//! JSON with parts added, replaced or taken away.

use std::sync::Arc;

use super::get::{index, jsonb, place, string, strings};
use crate::expr::datum::Datum;
use crate::expr::error::{EvalError, SqlState};
use crate::expr::functions::Call;
use crate::expr::value::{Escapes, Json, RawJson, RawKind, write_string};

type Result<T> = std::result::Result<T, EvalError>;

fn whole<'a>(json: Json) -> Result<Datum<'a>> {
    Ok(Datum::Jsonb(Arc::new(json)))
}

fn wrong(what: &'static str) -> EvalError {
    EvalError::new(SqlState::INVALID_PARAMETER, what)
}

/// `||`: two objects become one; everything else becomes one array.
pub(super) fn concatenate<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    let elements = |json: &Json| match json {
        Json::Array(elements) => elements.clone(),
        other => vec![other.clone()],
    };
    whole(match (jsonb(&args[0]), jsonb(&args[1])) {
        (Json::Object(left), Json::Object(right)) => {
            Json::object(left.iter().chain(right).cloned().collect())
        }
        (left, right) => Json::Array([elements(left), elements(right)].concat()),
    })
}

/// `-` with a key or with several.
pub(super) fn without_keys<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    let keys = match &args[1] {
        Datum::Array(array) if array.dimensions().len() > 1 => return Err(wrong_shape()),
        Datum::Array(_) => strings(&args[1]),
        key => vec![string(key)],
    };
    let is_key = |json: &Json| matches!(json, Json::String(text) if keys.contains(&text.as_str()));
    whole(match jsonb(&args[0]) {
        Json::Object(fields) => {
            let kept = fields.iter().filter(|(key, _)| !keys.contains(&key.as_str()));
            Json::Object(kept.cloned().collect())
        }
        Json::Array(elements) => {
            Json::Array(elements.iter().filter(|element| !is_key(element)).cloned().collect())
        }
        _ => return Err(wrong("cannot delete from scalar")),
    })
}

/// `-` with an index.
pub(super) fn without_index<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    let Datum::Int(at) = args[1] else { return Ok(Datum::Null) };
    match jsonb(&args[0]) {
        Json::Array(elements) => {
            let mut elements = elements.clone();
            if let Some(at) = place(at, elements.len()) {
                elements.remove(at);
            }
            whole(Json::Array(elements))
        }
        Json::Object(_) => Err(wrong("cannot delete from object using integer index")),
        _ => Err(wrong("cannot delete from scalar")),
    }
}

/// What happens at the end of a path.
#[derive(Debug, Clone, Copy)]
enum Change<'j> {
    /// The value is replaced, or added where there is none.
    Set(&'j Json),
    /// The value is replaced where there is one.
    Replace(&'j Json),
    /// The value is added in front of the one that is there.
    Before(&'j Json),
    /// The value is added behind the one that is there.
    After(&'j Json),
    /// The value is taken away.
    Delete,
}

impl<'j> Change<'j> {
    /// The value that is put where there is none.
    fn added(self) -> Option<&'j Json> {
        match self {
            Change::Set(new) | Change::Before(new) | Change::After(new) => Some(new),
            Change::Replace(_) | Change::Delete => None,
        }
    }
}

fn wrong_shape() -> EvalError {
    EvalError::new(SqlState::SUBSCRIPT, "wrong number of array subscripts")
}

fn changed<'a>(target: &Json, path: &Datum<'_>, change: Change<'_>) -> Result<Datum<'a>> {
    let Datum::Array(path) = path else { return Ok(Datum::Null) };
    if path.dimensions().len() > 1 {
        return Err(wrong_shape());
    }
    let is_empty = match target {
        Json::Array(elements) => elements.is_empty(),
        Json::Object(fields) => fields.is_empty(),
        _ => return Err(wrong("cannot change a path in scalar")),
    };
    let path = path.elements().iter().map(|step| (!step.is_null()).then(|| string(step)));
    let path = path.collect::<Vec<_>>();
    if path.is_empty() || (is_empty && change.added().is_none()) {
        return whole(target.clone());
    }
    whole(at_path(target, &path, change)?)
}

/// `path` has a step at least.
fn at_path(json: &Json, path: &[Option<&str>], change: Change<'_>) -> Result<Json> {
    let [step, rest @ ..] = path else { return Ok(json.clone()) };
    let Some(step) = step else {
        return Err(EvalError::new(SqlState::NULL_NOT_ALLOWED, "path element is null"));
    };
    match json {
        Json::Object(fields) => in_object(fields, (step, rest), change),
        Json::Array(elements) => in_array(elements, (step, rest), change),
        scalar => Ok(scalar.clone()),
    }
}

fn in_object(
    fields: &[(String, Json)],
    (step, rest): (&str, &[Option<&str>]),
    change: Change<'_>,
) -> Result<Json> {
    let mut fields = fields.to_vec();
    let found = fields.iter().position(|(key, _)| key == step);
    match (found, change) {
        (Some(at), _) if !rest.is_empty() => fields[at].1 = at_path(&fields[at].1, rest, change)?,
        (Some(_), Change::Before(_) | Change::After(_)) => return Err(wrong("cannot replace existing key")),
        (Some(at), Change::Set(new) | Change::Replace(new)) => fields[at].1 = new.clone(),
        (Some(at), Change::Delete) => {
            fields.remove(at);
        }
        (None, _) => {
            if let Some(new) = change.added().filter(|_| rest.is_empty()) {
                fields.push((step.to_owned(), new.clone()));
            }
        }
    }
    Ok(Json::object(fields))
}

fn in_array(elements: &[Json], (step, rest): (&str, &[Option<&str>]), change: Change<'_>) -> Result<Json> {
    let index = index(step).ok_or_else(|| {
        let what = "path element is not an integer";
        EvalError::quoting(SqlState::INVALID_TEXT, what, format!("{what}: \"{step}\""))
    })?;
    let mut elements = elements.to_vec();
    match place(i64::from(index), elements.len()) {
        Some(at) if !rest.is_empty() => elements[at] = at_path(&elements[at], rest, change)?,
        Some(at) => match change {
            Change::Set(new) | Change::Replace(new) => elements[at] = new.clone(),
            Change::Before(new) => elements.insert(at, new.clone()),
            Change::After(new) => elements.insert(at + 1, new.clone()),
            Change::Delete => {
                elements.remove(at);
            }
        },
        // Beyond an end the value is added at that end.
        None => {
            if let Some(new) = change.added().filter(|_| rest.is_empty()) {
                let at = if index < 0 { 0 } else { elements.len() };
                elements.insert(at, new.clone());
            }
        }
    }
    Ok(Json::Array(elements))
}

pub(super) fn delete_path<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    changed(jsonb(&args[0]), &args[1], Change::Delete)
}

pub(super) fn set<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    let new = jsonb(&args[2]);
    let only_replaces = args.get(3) == Some(&Datum::Bool(false));
    changed(jsonb(&args[0]), &args[1], if only_replaces { Change::Replace(new) } else { Change::Set(new) })
}

pub(super) fn insert<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    let new = jsonb(&args[2]);
    let is_after = args.get(3) == Some(&Datum::Bool(true));
    changed(jsonb(&args[0]), &args[1], if is_after { Change::After(new) } else { Change::Before(new) })
}

fn stripped(json: &Json) -> Json {
    match json {
        Json::Object(fields) => {
            let kept = fields.iter().filter(|(_, value)| *value != Json::Null);
            Json::Object(kept.map(|(key, value)| (key.clone(), stripped(value))).collect())
        }
        Json::Array(elements) => Json::Array(elements.iter().map(stripped).collect()),
        scalar => scalar.clone(),
    }
}

pub(super) fn jsonb_strip<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    whole(stripped(jsonb(&args[0])))
}

fn write_stripped(raw: &RawJson<'_>, to: &mut String) {
    let comma = |at: usize| if at == 0 { "" } else { "," };
    match &raw.kind {
        RawKind::Object(fields) => {
            to.push('{');
            let kept = fields.iter().filter(|(_, value)| value.kind != RawKind::Null);
            for (at, (key, value)) in kept.enumerate() {
                to.push_str(comma(at));
                write_string(key, to);
                to.push(':');
                write_stripped(value, to);
            }
            to.push('}');
        }
        RawKind::Array(elements) => {
            to.push('[');
            for (at, element) in elements.iter().enumerate() {
                to.push_str(comma(at));
                write_stripped(element, to);
            }
            to.push(']');
        }
        RawKind::String(text) => write_string(text, to),
        RawKind::Null | RawKind::Bool(_) | RawKind::Number => to.push_str(raw.text),
    }
}

pub(super) fn json_strip<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    let raw = RawJson::parse(string(&args[0]), Escapes::Read)?;
    let mut written = String::new();
    write_stripped(&raw, &mut written);
    Ok(Datum::text(written))
}
