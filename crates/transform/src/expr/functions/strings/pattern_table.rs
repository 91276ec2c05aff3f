//! The table of what takes a pattern: LIKE and regular expressions.

use super::super::Function;
use super::super::Slot::{Bool, Bpchar, Bytea, Int4, Text, TextArray};
use super::{patterns, regex};

pub(in super::super) const PATTERNS: &[Function] = &[
    Function::new(
        "substring",
        &[Text, Text],
        Text,
        regex::substring,
        "What the first parentheses of a regular expression match, or all of it.",
    )
    .by_case(),
    Function::new("~~", &[Text, Text], Bool, patterns::like, "Whether the text is like the pattern."),
    Function::new("~~", &[Bpchar, Text], Bool, patterns::like, "Whether the text is like the pattern."),
    Function::new("~~", &[Bytea, Bytea], Bool, patterns::like_bytes, "Whether the text is like the pattern."),
    Function::new(
        "!~~",
        &[Text, Text],
        Bool,
        patterns::not_like,
        "Whether the text is not like the pattern.",
    ),
    Function::new(
        "!~~",
        &[Bpchar, Text],
        Bool,
        patterns::not_like,
        "Whether the text is not like the pattern.",
    ),
    Function::new(
        "!~~",
        &[Bytea, Bytea],
        Bool,
        patterns::not_like_bytes,
        "Whether the text is not like the pattern.",
    ),
    Function::new(
        "~~*",
        &[Text, Text],
        Bool,
        patterns::ilike,
        "Whether the text is like the pattern in any case.",
    )
    .by_case(),
    Function::new(
        "~~*",
        &[Bpchar, Text],
        Bool,
        patterns::ilike,
        "Whether the text is like the pattern in any case.",
    )
    .by_case(),
    Function::new(
        "!~~*",
        &[Text, Text],
        Bool,
        patterns::not_ilike,
        "Whether the text is not like the pattern in any case.",
    )
    .by_case(),
    Function::new(
        "!~~*",
        &[Bpchar, Text],
        Bool,
        patterns::not_ilike,
        "Whether the text is not like the pattern in any case.",
    )
    .by_case(),
    Function::new(
        "like_escape",
        &[Text, Text],
        Text,
        patterns::like_escape,
        "The pattern with a backslash in place of its escape character.",
    ),
    Function::new("~", &[Text, Text], Bool, regex::matches, "Whether a regular expression matches.")
        .by_case(),
    Function::new("~", &[Bpchar, Text], Bool, regex::matches, "Whether a regular expression matches.")
        .by_case(),
    Function::new("!~", &[Text, Text], Bool, regex::differs, "Whether a regular expression does not match.")
        .by_case(),
    Function::new(
        "!~",
        &[Bpchar, Text],
        Bool,
        regex::differs,
        "Whether a regular expression does not match.",
    )
    .by_case(),
    Function::new(
        "~*",
        &[Text, Text],
        Bool,
        regex::matches_any_case,
        "Whether a regular expression matches in any case.",
    )
    .by_case(),
    Function::new(
        "~*",
        &[Bpchar, Text],
        Bool,
        regex::matches_any_case,
        "Whether a regular expression matches in any case.",
    )
    .by_case(),
    Function::new(
        "!~*",
        &[Text, Text],
        Bool,
        regex::differs_any_case,
        "Whether a regular expression does not match in any case.",
    )
    .by_case(),
    Function::new(
        "!~*",
        &[Bpchar, Text],
        Bool,
        regex::differs_any_case,
        "Whether a regular expression does not match in any case.",
    )
    .by_case(),
    Function::new(
        "regexp_like",
        &[Text, Text],
        Bool,
        regex::regexp_like,
        "Whether a regular expression matches.",
    )
    .by_case(),
    Function::new(
        "regexp_match",
        &[Text, Text],
        TextArray,
        regex::regexp_match,
        "What the parentheses of the first match hold.",
    )
    .by_case(),
    Function::new(
        "regexp_split_to_array",
        &[Text, Text],
        TextArray,
        regex::regexp_split_to_array,
        "The parts between matches.",
    )
    .by_case(),
    Function::new(
        "regexp_like",
        &[Text, Text, Text],
        Bool,
        regex::regexp_like,
        "Whether a regular expression matches, with flags.",
    )
    .by_case(),
    Function::new(
        "regexp_match",
        &[Text, Text, Text],
        TextArray,
        regex::regexp_match,
        "What the parentheses of the first match hold, with flags.",
    )
    .by_case(),
    Function::new(
        "regexp_split_to_array",
        &[Text, Text, Text],
        TextArray,
        regex::regexp_split_to_array,
        "The parts between matches, with flags.",
    )
    .by_case(),
    Function::new(
        "regexp_replace",
        &[Text, Text, Text],
        Text,
        regex::regexp_replace,
        "The first match replaced.",
    )
    .by_case(),
    Function::new(
        "regexp_replace",
        &[Text, Text, Text, Text],
        Text,
        regex::regexp_replace,
        "The first match replaced, or with the flag `g` all of them.",
    )
    .by_case(),
    Function::new(
        "regexp_replace",
        &[Text, Text, Text, Int4],
        Text,
        regex::regexp_replace_from,
        "The match from a character on replaced.",
    )
    .by_case(),
    Function::new(
        "regexp_replace",
        &[Text, Text, Text, Int4, Int4],
        Text,
        regex::regexp_replace_from,
        "The match of a number from a character on, or all with zero, replaced.",
    )
    .by_case(),
    Function::new(
        "regexp_replace",
        &[Text, Text, Text, Int4, Int4, Text],
        Text,
        regex::regexp_replace_from,
        "The match of a number from a character on, or all with zero, replaced, with flags.",
    )
    .by_case(),
    Function::new("regexp_count", &[Text, Text], Int4, regex::regexp_count, "How many matches.").by_case(),
    Function::new(
        "regexp_count",
        &[Text, Text, Int4],
        Int4,
        regex::regexp_count,
        "How many matches from a character on.",
    )
    .by_case(),
    Function::new(
        "regexp_count",
        &[Text, Text, Int4, Text],
        Int4,
        regex::regexp_count,
        "How many matches from a character on, with flags.",
    )
    .by_case(),
    Function::new("regexp_substr", &[Text, Text], Text, regex::regexp_substr, "The first match.").by_case(),
    Function::new(
        "regexp_substr",
        &[Text, Text, Int4],
        Text,
        regex::regexp_substr,
        "The first match from a character on.",
    )
    .by_case(),
    Function::new(
        "regexp_substr",
        &[Text, Text, Int4, Int4],
        Text,
        regex::regexp_substr,
        "The match of a number.",
    )
    .by_case(),
    Function::new(
        "regexp_substr",
        &[Text, Text, Int4, Int4, Text],
        Text,
        regex::regexp_substr,
        "The match of a number, with flags.",
    )
    .by_case(),
    Function::new(
        "regexp_substr",
        &[Text, Text, Int4, Int4, Text, Int4],
        Text,
        regex::regexp_substr,
        "What parentheses hold in the match of a number.",
    )
    .by_case(),
    Function::new("regexp_instr", &[Text, Text], Int4, regex::regexp_instr, "Where the first match is.")
        .by_case(),
    Function::new(
        "regexp_instr",
        &[Text, Text, Int4],
        Int4,
        regex::regexp_instr,
        "Where the first match from a character on is.",
    )
    .by_case(),
    Function::new(
        "regexp_instr",
        &[Text, Text, Int4, Int4],
        Int4,
        regex::regexp_instr,
        "Where the match of a number is.",
    )
    .by_case(),
    Function::new(
        "regexp_instr",
        &[Text, Text, Int4, Int4, Int4],
        Int4,
        regex::regexp_instr,
        "Where the match of a number begins, or with one ends.",
    )
    .by_case(),
    Function::new(
        "regexp_instr",
        &[Text, Text, Int4, Int4, Int4, Text],
        Int4,
        regex::regexp_instr,
        "The same with flags.",
    )
    .by_case(),
    Function::new(
        "regexp_instr",
        &[Text, Text, Int4, Int4, Int4, Text, Int4],
        Int4,
        regex::regexp_instr,
        "The same of parentheses.",
    )
    .by_case(),
];
