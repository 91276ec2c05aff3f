//! JSON.

mod build;
mod casts;
mod change;
mod get;

#[cfg(test)]
mod tests;

use super::Function;
use super::Slot::{Any, Bool, Element, Int4, Json, Jsonb, Text, TextArray};

pub(super) use casts::CASTS;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("->", &[Json, Text], Json, get::json_get, "The value of a key."),
    Function::new(
        "->",
        &[Json, Int4],
        Json,
        get::json_get,
        "An element, counted from zero, or from the end where negative.",
    ),
    Function::new("->>", &[Json, Text], Text, get::json_get_text, "The value of a key as text."),
    Function::new("->>", &[Json, Int4], Text, get::json_get_text, "An element as text."),
    Function::new(
        "#>",
        &[Json, TextArray],
        Json,
        get::json_path,
        "What a path of keys and indexes leads to.",
    ),
    Function::new("#>>", &[Json, TextArray], Text, get::json_path_text, "The same as text."),
    Function::new("->", &[Jsonb, Text], Jsonb, get::jsonb_get, "The value of a key."),
    Function::new(
        "->",
        &[Jsonb, Int4],
        Jsonb,
        get::jsonb_get,
        "An element, counted from zero, or from the end where negative.",
    ),
    Function::new("->>", &[Jsonb, Text], Text, get::jsonb_get_text, "The value of a key as text."),
    Function::new("->>", &[Jsonb, Int4], Text, get::jsonb_get_text, "An element as text."),
    Function::new(
        "#>",
        &[Jsonb, TextArray],
        Jsonb,
        get::jsonb_path,
        "What a path of keys and indexes leads to.",
    ),
    Function::new("#>>", &[Jsonb, TextArray], Text, get::jsonb_path_text, "The same as text."),
    Function::new("@>", &[Jsonb, Jsonb], Bool, get::contains, "The first has every part of the second."),
    Function::new("<@", &[Jsonb, Jsonb], Bool, get::contained, "The second has every part of the first."),
    Function::new("?", &[Jsonb, Text], Bool, get::has, "A text is a key, or an element."),
    Function::new("?|", &[Jsonb, TextArray], Bool, get::has_any, "One of the texts is a key, or an element."),
    Function::new("?&", &[Jsonb, TextArray], Bool, get::has_all, "All of the texts are keys, or elements."),
    Function::new(
        "||",
        &[Jsonb, Jsonb],
        Jsonb,
        change::concatenate,
        "One object of two, where the second wins; one array of everything else.",
    ),
    Function::new(
        "-",
        &[Jsonb, Text],
        Jsonb,
        change::without_keys,
        "Without a key, or without the strings equal to it.",
    ),
    Function::new("-", &[Jsonb, TextArray], Jsonb, change::without_keys, "The same with several keys."),
    Function::new("-", &[Jsonb, Int4], Jsonb, change::without_index, "Without an element."),
    Function::new("#-", &[Jsonb, TextArray], Jsonb, change::delete_path, "Without what a path leads to."),
    Function::new("json_array_length", &[Json], Int4, get::json_length, "How many elements an array has."),
    Function::new("json_build_array", &[Any], Json, build::json_array, "An array of all arguments.")
        .takes_nulls()
        .variadic(),
    Function::new("json_build_array", &[], Json, build::json_array, "An empty array."),
    Function::new(
        "json_build_object",
        &[Any],
        Json,
        build::json_object,
        "An object of keys and values in turn.",
    )
    .takes_nulls()
    .variadic(),
    Function::new("json_build_object", &[], Json, build::json_object, "An empty object."),
    Function::new(
        "json_extract_path",
        &[Json, Text],
        Json,
        get::json_path,
        "What a path of keys and indexes leads to.",
    )
    .variadic(),
    Function::new("json_extract_path_text", &[Json, Text], Text, get::json_path_text, "The same as text.")
        .variadic(),
    Function::new(
        "json_strip_nulls",
        &[Json],
        Json,
        change::json_strip,
        "Without the fields of objects that are null.",
    ),
    Function::new("json_typeof", &[Json], Text, get::json_type, "What kind of value it is."),
    Function::new("to_json", &[Element], Json, build::to_json, "Any value as JSON."),
    Function::new("jsonb_array_length", &[Jsonb], Int4, get::jsonb_length, "How many elements an array has."),
    Function::new("jsonb_build_array", &[Any], Jsonb, build::jsonb_array, "An array of all arguments.")
        .takes_nulls()
        .variadic(),
    Function::new("jsonb_build_array", &[], Jsonb, build::jsonb_array, "An empty array."),
    Function::new(
        "jsonb_build_object",
        &[Any],
        Jsonb,
        build::jsonb_object,
        "An object of keys and values in turn.",
    )
    .takes_nulls()
    .variadic(),
    Function::new("jsonb_build_object", &[], Jsonb, build::jsonb_object, "An empty object."),
    Function::new(
        "jsonb_extract_path",
        &[Jsonb, Text],
        Jsonb,
        get::jsonb_path,
        "What a path of keys and indexes leads to.",
    )
    .variadic(),
    Function::new("jsonb_extract_path_text", &[Jsonb, Text], Text, get::jsonb_path_text, "The same as text.")
        .variadic(),
    Function::new(
        "jsonb_strip_nulls",
        &[Jsonb],
        Jsonb,
        change::jsonb_strip,
        "Without the fields of objects that are null.",
    ),
    Function::new("jsonb_typeof", &[Jsonb], Text, get::jsonb_type, "What kind of value it is."),
    Function::new("to_jsonb", &[Element], Jsonb, build::to_jsonb, "Any value as JSON."),
    Function::new(
        "jsonb_insert",
        &[Jsonb, TextArray, Jsonb],
        Jsonb,
        change::insert,
        "With a value added in front of what a path leads to.",
    ),
    Function::new(
        "jsonb_insert",
        &[Jsonb, TextArray, Jsonb, Bool],
        Jsonb,
        change::insert,
        "The same; behind it when the last argument is true.",
    ),
    Function::new(
        "jsonb_pretty",
        &[Jsonb],
        Text,
        get::pretty,
        "On lines of their own, four blanks for each level.",
    ),
    Function::new(
        "jsonb_set",
        &[Jsonb, TextArray, Jsonb],
        Jsonb,
        change::set,
        "With another value in place of what a path leads to, or added there.",
    ),
    Function::new(
        "jsonb_set",
        &[Jsonb, TextArray, Jsonb, Bool],
        Jsonb,
        change::set,
        "The same; nothing is added when the last argument is false.",
    ),
];
