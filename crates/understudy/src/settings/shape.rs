//! Keys and shapes of a file against the schema: everything unknown, missing, empty or of the wrong kind, at once.
//!
//! Understands the part of JSON Schema that the raw types produce, and answers in the words of this file's user.

use serde_json::Value as Json;

use super::problem::{Place, Problem};
use super::yaml::{Node, Placed};

/// Keys of the file's full format that this version does not carry out: where they stand, and what they are for.
const LATER: [(&str, &str, &str); 1] = [("", "flip", "the flip")];

/// How alike a key must be to a known one to be suggested.
const LIKENESS_MIN: f64 = 0.75;

/// Everything about the keys and shapes that is wrong.
pub(super) fn check(root: &Placed<Node>, schema: &Json) -> Vec<Problem> {
    let mut walk = Walk { root: schema, problems: Vec::new() };
    match &root.value {
        Node::Map(_) => walk.node(root, schema, ""),
        Node::Null => walk
            .problems
            .push(Problem::at(None, "", "the file is empty").remedy("draft one with: understudy init")),
        _ => walk.problems.push(
            Problem::at(root.place, "", "the file is not a mapping of keys")
                .remedy("begin with `version: 1`; draft one with: understudy init"),
        ),
    }
    walk.problems
}

struct Walk<'a> {
    root: &'a Json,
    problems: Vec<Problem>,
}

impl<'a> Walk<'a> {
    fn report(&mut self, place: Option<Place>, path: &str, what: String, remedy: impl Into<String>) {
        self.problems.push(Problem::at(place, path, what).remedy(remedy));
    }

    /// The schema itself, behind references and the alternative "or null".
    fn resolve(&self, schema: &'a Json) -> &'a Json {
        let schema = self.referred(schema);
        let alternative = self.forms(schema).first().copied();
        alternative.unwrap_or(schema)
    }

    fn referred(&self, schema: &'a Json) -> &'a Json {
        let referred = schema["$ref"].as_str().and_then(|path| self.root.pointer(path.strip_prefix('#')?));
        referred.map_or(schema, |schema| self.referred(schema))
    }

    /// The forms that a value may have where there is a choice, apart from null.
    fn forms(&self, schema: &'a Json) -> Vec<&'a Json> {
        let all = self.referred(schema)["anyOf"].as_array().into_iter().flatten();
        let mut forms = Vec::new();
        for one in all.filter(|one| one["type"] != "null") {
            match self.forms(one) {
                nested if nested.is_empty() => forms.push(self.referred(one)),
                nested => forms.extend(nested),
            }
        }
        forms
    }

    /// The form that a value is meant to have: a mapping where it is one, else the first.
    fn meant(&self, node: &Node, schema: &'a Json) -> &'a Json {
        let is_meant = |form: &&&Json| accepts(form, "object") == matches!(node, Node::Map(_));
        let forms = self.forms(schema);
        forms.iter().find(is_meant).copied().unwrap_or_else(|| self.resolve(schema))
    }

    fn node(&mut self, node: &Placed<Node>, outer: &'a Json, path: &str) {
        let schema = self.meant(&node.value, outer);
        if node.value == Node::Null {
            if !accepts(schema, "null") && !accepts_null(outer) {
                self.report(node.place, path, "is empty".to_owned(), "give a value, or leave the key out");
            }
        } else if let Some(words) = words(schema) {
            let mappings = self.forms(outer).into_iter().filter(|form| accepts(form, "object"));
            self.word(node, &words, &mappings.flat_map(keys).collect::<Vec<_>>(), path);
        } else if accepts(schema, "object") {
            self.mapping(node, schema, path);
        } else if accepts(schema, "array") {
            self.list(node, schema, path);
        } else {
            self.scalar(node, schema, path);
        }
    }

    fn mapping(&mut self, node: &Placed<Node>, schema: &'a Json, path: &str) {
        let Node::Map(entries) = &node.value else {
            if schema["x-secret"] == true {
                let what = "a secret does not stand in the file itself".to_owned();
                let remedy = "write where it is kept: { file: /run/secrets/name } or { env: NAME }";
                return self.report(node.place, path, what, remedy);
            }
            let what = format!("must be a mapping of keys, not {}", kind(&node.value));
            return self.report(node.place, path, what, known_keys(schema));
        };
        let is_choice = schema["maxProperties"] == 1;
        for (key, value) in entries {
            let below = join(path, &key.value);
            // Nothing is a choice of nothing, however well each alone could be left out.
            if is_choice && value.value == Node::Null && !schema["properties"][&key.value].is_null() {
                self.report(value.place, &below, "is empty".to_owned(), "give a value");
                continue;
            }
            match schema["properties"].get(&key.value) {
                Some(schema) => self.node(value, schema, &below),
                None if schema["additionalProperties"] == false => self.unknown_key(key, schema, path),
                None => self.node(value, &schema["additionalProperties"], &below),
            }
        }
        let given = |name: &str| entries.iter().any(|(key, _)| key.value == name);
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str) {
            let later = LATER.iter().any(|(at, key, _)| *at == pattern(path) && given(key));
            if !given(name) && !later {
                let place = if path.is_empty() { None } else { node.place };
                let about = self.describe(&schema["properties"][name]);
                self.report(place, path, format!("key `{name}` is missing"), about);
            }
        }
        let (min, max) = (schema["minProperties"].as_u64(), schema["maxProperties"].as_u64());
        let count = entries.len() as u64;
        if min.is_some_and(|min| count < min) || max.is_some_and(|max| count > max) {
            let remedy = if max.is_some() { known_keys(schema) } else { "list at least one".to_owned() };
            let what = if max.is_some() { "must hold exactly one key" } else { "is empty" };
            self.report(node.place, path, what.to_owned(), remedy);
        }
    }

    /// The first sentence of a key's documentation, as a remedy.
    fn describe(&self, schema: &'a Json) -> String {
        let own = schema["description"].as_str().or_else(|| self.resolve(schema)["description"].as_str());
        let text = own.unwrap_or("add it").replace('\n', " ");
        text.split_inclusive(". ").next().unwrap_or("add it").trim_end().to_owned()
    }

    fn unknown_key(&mut self, key: &Placed<String>, schema: &Json, path: &str) {
        let later = LATER.iter().find(|(at, name, _)| *at == pattern(path) && *name == key.value);
        if let Some((_, name, what)) = later {
            let what = format!("`{name}` ({what}) is not part of this version");
            return self.report(key.place, path, what, "leave it out for now");
        }
        let near = nearest(&key.value, keys(schema));
        let remedy = near.map_or_else(|| known_keys(schema), |near| format!("did you mean `{near}`?"));
        self.report(key.place, path, format!("unknown key `{}`", key.value), remedy);
    }

    fn list(&mut self, node: &Placed<Node>, schema: &'a Json, path: &str) {
        let Node::List(items) = &node.value else {
            let what = format!("must be a list, not {}", kind(&node.value));
            return self.report(node.place, path, what, "begin each item with `- `");
        };
        for (at, item) in items.iter().enumerate() {
            self.node(item, &schema["items"], &format!("{path}[{at}]"));
        }
        if schema["minItems"].as_u64().is_some_and(|min| (items.len() as u64) < min) {
            self.report(node.place, path, "is empty".to_owned(), "list at least one");
        }
    }

    /// A word of an enumeration; `keys` are those of the mapping that may stand in its place.
    fn word(&mut self, node: &Placed<Node>, words: &[&str], keys: &[&str], path: &str) {
        let given = match &node.value {
            Node::Text(text) => text.as_str(),
            other => kind(other),
        };
        if words.contains(&given) {
            return;
        }
        let mapping = |key: &str| format!("{{ {key}: ... }}");
        let remedy = match nearest(given, words.iter().chain(keys).copied()) {
            Some(near) if keys.contains(&near) => format!("did you mean `{}`?", mapping(near)),
            Some(near) => format!("did you mean `{near}`?"),
            None => {
                let mut choices: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
                choices.extend(keys.iter().map(|key| mapping(key)));
                format!("write one of: {}", choices.join(", "))
            }
        };
        self.report(node.place, path, format!("`{given}` is not a choice here"), remedy);
    }

    fn scalar(&mut self, node: &Placed<Node>, schema: &Json, path: &str) {
        match &node.value {
            Node::List(_) | Node::Map(_) => {
                let what = format!("must be a single value, not {}", kind(&node.value));
                self.report(node.place, path, what, "write the value after the colon");
            }
            Node::Whole(number) if accepts(schema, "integer") => {
                let above = |max: i64| *number > i128::from(max);
                let below = |min: i64| *number < i128::from(min);
                let (min, max) = (schema["minimum"].as_i64(), schema["maximum"].as_i64());
                if min.is_some_and(below) || max.is_some_and(above) {
                    let (min, max) = (min.unwrap_or(0), max.unwrap_or(i64::MAX));
                    let remedy =
                        if min == max { format!("write {min}") } else { format!("from {min} to {max}") };
                    self.report(node.place, path, format!("{number} is out of range"), remedy);
                }
            }
            _ if accepts(schema, "integer") => {
                let what = format!("must be a whole number, not {}", kind(&node.value));
                self.report(node.place, path, what, "write digits only");
            }
            Node::Whole(_) | Node::Fraction(_) => {}
            other if accepts(schema, "number") && !accepts(schema, "string") => {
                self.report(
                    node.place,
                    path,
                    format!("must be a number, not {}", kind(other)),
                    "write it like 0.5",
                );
            }
            _ => {}
        }
    }
}

fn accepts_null(schema: &Json) -> bool {
    schema["anyOf"].as_array().is_some_and(|all| all.iter().any(|one| one["type"] == "null"))
}

fn accepts(schema: &Json, name: &str) -> bool {
    match &schema["type"] {
        Json::String(one) => one == name,
        Json::Array(several) => several.iter().any(|one| one == name),
        _ => false,
    }
}

/// The words that an enumeration admits.
fn words(schema: &Json) -> Option<Vec<&str>> {
    if let Some(words) = schema["enum"].as_array() {
        return Some(words.iter().filter_map(Json::as_str).collect());
    }
    let alternatives = schema["oneOf"].as_array()?;
    Some(alternatives.iter().filter_map(|one| one["const"].as_str()).collect())
}

fn kind(node: &Node) -> &'static str {
    match node {
        Node::Null => "nothing",
        Node::Bool(_) => "true or false",
        Node::Whole(_) | Node::Fraction(_) => "a number",
        Node::Text(_) => "text",
        Node::List(_) => "a list",
        Node::Map(_) => "a mapping",
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// A path without the numbers of its items.
fn pattern(path: &str) -> String {
    path.chars().filter(|c| !c.is_ascii_digit()).collect()
}

fn keys(schema: &Json) -> impl Iterator<Item = &str> {
    schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.as_str())
}

fn known_keys(schema: &Json) -> String {
    format!("known keys here: {}", keys(schema).collect::<Vec<_>>().join(", "))
}

fn nearest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let rated = known.map(|name| (strsim::jaro_winkler(given, name), name));
    let best = rated.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= LIKENESS_MIN).then_some(best.1)
}
