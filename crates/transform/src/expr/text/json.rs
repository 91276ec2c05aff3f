//! JSON as text.

use std::borrow::Cow;
use std::sync::Arc;

use crate::expr::datum::Datum;
use crate::expr::error::EvalError;
use crate::expr::value::{Escapes, Json, RawJson};

/// Reads `json`, which is checked and kept as it was written.
pub(super) fn json_in(text: &str) -> Result<Datum<'_>, EvalError> {
    RawJson::parse(text, Escapes::Kept)?;
    Ok(Datum::Text(Cow::Borrowed(text)))
}

pub(super) fn jsonb_in(text: &str) -> Result<Datum<'_>, EvalError> {
    Ok(Datum::Jsonb(Arc::new(Json::parse(text)?)))
}

pub(super) fn jsonb_out(json: &Json) -> String {
    json.to_text()
}
