//! The only module that knows the YAML library: text into values that remember where they stood.

use std::collections::HashMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};
use serde_saphyr::{Error, Location, MessageFormatter as _, Spanned, UserMessageFormatter};

use super::problem::{Place, Problem};

/// Most variables that one file can miss before reading gives up.
const MISSING_MAX: usize = 50;

/// A value and the place where it stands; no place when it is a default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) place: Option<Place>,
    /// Whether nothing at all was written where the value belongs.
    pub(super) blank: bool,
}

impl<T> From<T> for Placed<T> {
    fn from(value: T) -> Placed<T> {
        Placed { value, place: None, blank: false }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Placed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Placed<T>, D::Error> {
        let spanned = Spanned::<T>::deserialize(deserializer)?;
        let at = spanned.referenced;
        Ok(Placed { value: spanned.value, place: place_of(at), blank: at.span().is_empty() })
    }
}

impl<T: Serialize> Serialize for Placed<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<T: JsonSchema> JsonSchema for Placed<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

fn place_of(location: Location) -> Option<Place> {
    (location.line() > 0).then(|| Place { line: location.line(), column: location.column() })
}

/// Any value, before it is known what belongs there.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Whole(i128),
    Fraction(f64),
    Text(String),
    List(Vec<Placed<Node>>),
    Map(Vec<(Placed<String>, Placed<Node>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Whole(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Whole(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Fraction(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = access.next_key()? {
            entries.push((key, access.next_value()?));
        }
        Ok(Node::Map(entries))
    }
}

/// Reads one document. `${NAME}`, `${NAME:-default}` and the other compose forms are replaced in plain scalars from
/// `variables`, after parsing, so that a value can never bring structure with it.
pub(super) fn read<T: DeserializeOwned>(
    text: &str,
    variables: &HashMap<String, String>,
) -> Result<T, Vec<Problem>> {
    let mut variables = variables.clone();
    let mut missing = Vec::new();
    loop {
        let options = serde_saphyr::options! { with_snippet: false, strict_booleans: true, no_schema: false };
        let error =
            match serde_saphyr::from_str_with_options(text, options.with_properties(variables.clone())) {
                Ok(value) if missing.is_empty() => return Ok(value),
                Ok(_) => return Err(missing),
                Err(error) => error,
            };
        match missing_variable(&error) {
            // Going on as if it were set brings the other missing ones to light.
            Some((name, problem)) if missing.len() < MISSING_MAX => {
                variables.insert(name, "-".to_owned());
                missing.push(problem);
            }
            _ if missing.is_empty() => return Err(vec![problem_of(&error, text)]),
            _ => return Err(missing),
        }
    }
}

/// Writes a value as YAML.
pub(super) fn write<T: Serialize>(value: &T) -> Result<String, String> {
    let options = serde_saphyr::ser_options! { no_lang_directive: true };
    serde_saphyr::to_string_with_options(value, options).map_err(|error| error.to_string())
}

fn missing_variable(error: &Error) -> Option<(String, Problem)> {
    let (name, hint) = match error.without_snippet() {
        Error::UnresolvedProperty { name, .. } => (name, None),
        Error::PropertyRequiredButUnset { name, message, .. }
        | Error::PropertyRequiredButEmpty { name, message, .. } => (name, Some(message.as_str())),
        _ => return None,
    };
    let place = error.location().and_then(place_of);
    let problem = Problem::at(place, "", format!("the environment variable `{name}` is not set")).remedy(
        match hint.filter(|hint| !hint.is_empty()) {
            Some(hint) => hint.to_owned(),
            None => {
                format!("set it, or give a default: ${{{name}:-...}}; $${{{name}}} keeps the text as it is")
            }
        },
    );
    Some((name.clone(), problem))
}

fn problem_of(error: &Error, text: &str) -> Problem {
    let bare = error.without_snippet();
    let place = error.location().and_then(place_of);
    if let Error::DuplicateMappingKey { key, .. } = bare {
        let key = key.as_deref().unwrap_or("");
        return Problem::at(place, "", format!("key `{key}` is given twice")).remedy("keep one of the two");
    }
    let line = place.and_then(|place| text.lines().nth(usize::try_from(place.line).ok()?.checked_sub(1)?));
    let what = UserMessageFormatter.format_message(bare).replace(char::is_control, " ");
    let remedy = if line.is_some_and(|line| line.contains("${")) {
        "`${...}` cannot stand inside { } or [ ]: give its key a line of its own"
    } else if what.contains("trailing content") || what.contains("mapping values") {
        "SQL that begins with a quote, or holds a colon before a space, stands behind `|` on lines of its own, or in quotes as \
         a whole"
    } else {
        "mend the syntax; indentation is by spaces"
    };
    Problem::at(place, "", format!("not valid YAML: {what}")).remedy(remedy)
}
