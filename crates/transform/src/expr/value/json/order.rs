//! The order of `jsonb` values, and which of them contain which.

use std::cmp::Ordering;

use super::Json;

/// By what keys are sorted.
pub(super) fn key(key: &str) -> (usize, &[u8]) {
    (key.len(), key.as_bytes())
}

/// The place of a kind among the others.
fn rank(json: &Json) -> u8 {
    match json {
        Json::Null => 0,
        Json::String(_) => 1,
        Json::Number(_) => 2,
        Json::Bool(_) => 3,
        Json::Array(_) => 4,
        Json::Object(_) => 5,
    }
}

impl Json {
    /// The order that an index over `jsonb` has, where strings sort by their bytes. An empty array is less than every scalar
    /// when neither is part of another value, and greater when both are.
    pub(crate) fn compare(&self, other: &Json) -> Ordering {
        match (self, other) {
            (Json::Array(elements), scalar) if elements.is_empty() && scalar.is_scalar() => Ordering::Less,
            (scalar, Json::Array(elements)) if elements.is_empty() && scalar.is_scalar() => Ordering::Greater,
            _ => self.compare_nested(other),
        }
    }

    fn compare_nested(&self, other: &Json) -> Ordering {
        match (self, other) {
            (Json::Bool(left), Json::Bool(right)) => left.cmp(right),
            (Json::Number(left), Json::Number(right)) => left.compare(right),
            (Json::String(left), Json::String(right)) => left.as_bytes().cmp(right.as_bytes()),
            (Json::Array(left), Json::Array(right)) => {
                let mut pairs = left.iter().zip(right).map(|(left, right)| left.compare_nested(right));
                left.len().cmp(&right.len()).then_with(|| first_unequal(&mut pairs))
            }
            (Json::Object(left), Json::Object(right)) => {
                let mut pairs = left.iter().zip(right).map(|((left_key, left), (right_key, right))| {
                    left_key.as_bytes().cmp(right_key.as_bytes()).then_with(|| left.compare_nested(right))
                });
                left.len().cmp(&right.len()).then_with(|| first_unequal(&mut pairs))
            }
            _ => rank(self).cmp(&rank(other)),
        }
    }

    /// `@>`: whether every part of the other value has its like at the same place here. At the top alone an array contains a
    /// scalar that is among its elements.
    pub(crate) fn contains(&self, other: &Json) -> bool {
        match (self, other) {
            (Json::Array(elements), scalar) if scalar.is_scalar() => {
                elements.iter().any(|element| element.contains_nested(scalar))
            }
            _ => self.contains_nested(other),
        }
    }

    fn contains_nested(&self, other: &Json) -> bool {
        match (self, other) {
            (Json::Object(_), Json::Object(wanted)) => wanted
                .iter()
                .all(|(key, value)| self.field(key).is_some_and(|found| found.contains_nested(value))),
            (Json::Array(elements), Json::Array(wanted)) => {
                wanted.iter().all(|value| elements.iter().any(|element| element.contains_nested(value)))
            }
            _ => self.compare_nested(other) == Ordering::Equal,
        }
    }

    /// `?`: whether a text is a key, or an element, or the string itself.
    pub(crate) fn has(&self, text: &str) -> bool {
        let is_text = |json: &Json| matches!(json, Json::String(known) if known == text);
        match self {
            Json::Object(_) => self.field(text).is_some(),
            Json::Array(elements) => elements.iter().any(is_text),
            scalar => is_text(scalar),
        }
    }
}

fn first_unequal(pairs: &mut impl Iterator<Item = Ordering>) -> Ordering {
    pairs.find(|order| *order != Ordering::Equal).unwrap_or(Ordering::Equal)
}
