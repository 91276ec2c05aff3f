//! Texts, codes and messages from Postgres 15 and 18 under the collation C.UTF-8.

use std::collections::HashMap;

use understudy_model::TableName;

use crate::expr::functions::CaseRule;
use crate::expr::{Collation, Expression, Scope};

/// The text of an expression over no columns, or the code and message of its failure.
fn found(text: &str) -> String {
    let table = TableName { schema: "public".to_owned(), name: "t".to_owned() };
    let collation =
        Collation { name: "C.UTF-8".to_owned(), case: Some(CaseRule::Simple), ..Collation::bytes() };
    let scope = Scope { table, columns: Vec::new(), types: HashMap::new(), collation, mask_key: None };
    match Expression::compile(text, &scope).unwrap().evaluate(&[]) {
        Ok(found) => found.unwrap_or_else(|| "null".to_owned()),
        Err(error) => format!("{} {}", error.state(), error.message_with_values()),
    }
}

fn check(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(found(text), *expected, "{text}");
    }
}

/// The manual's own examples, and repetitions of nothing.
#[test]
fn parentheses_take_what_the_server_gives_them() {
    check(&[
        ("substring('XY1234Z', 'Y*([0-9]{1,3})')", "123"),
        ("substring('XY1234Z', 'Y*?([0-9]{1,3})')", "1"),
        ("substring('foobar', '(x)?foo')", "null"),
        (r"regexp_match('abc01234xyz', '(.*)(\d+)(.*)')", "{abc0123,4,xyz}"),
        (r"regexp_match('abc01234xyz', '(.*?)(\d+)(.*)')", r#"{abc,0,""}"#),
        (r"regexp_match('abc01234xyz', '(?:(.*?)(\d+)(.*)){1,1}')", "{abc,01234,xyz}"),
        ("regexp_match('foobarbequebaz', 'ba.')", "{bar}"),
        ("regexp_match('abcd', '(a|ab)(c|bcd)(d*)')", "{ab,c,d}"),
        ("regexp_match('ab', '((a)|b)*')", "{b,NULL}"),
        ("regexp_match('', '(a*)*')", r#"{""}"#),
        ("regexp_match('', '(a+)?')", "{NULL}"),
        ("regexp_match('', '(b*?)*?')", "{NULL}"),
        ("regexp_match('b', '(a*|b)?b')", r#"{""}"#),
        ("regexp_match('aab', '(a*?)*b')", "{a}"),
        ("regexp_match('aaa', '(a){0}(a)')", "{NULL,a}"),
        ("regexp_match('aab', '(a|())*b')", "{a,NULL}"),
        ("regexp_match('bab', '(?:(){1,1}?a?){1}')", r#"{""}"#),
        ("regexp_match('aB', 'b', 'i')", "{B}"),
        ("regexp_match('aB', 'b', 'g')", r#"22023 regexp_match() does not support the "global" option"#),
    ]);
}

/// Words, lines and classes; the collation knows letters beyond ASCII.
#[test]
fn conditions_and_classes_hold_where_the_server_says() {
    check(&[
        (r"'foo bar' ~ '\mbar'", "t"),
        (r"'foobar' ~ 'foo\M'", "f"),
        (r"'foo bar' ~ 'fo\Yo'", "t"),
        (r"'' ~ '\Y'", "t"),
        (r"E'a\nb' ~ 'a.b'", "t"),
        (r"E'a\nb' ~ '(?n)a[^x]b'", "f"),
        (r"E'a\nb' ~ '(?n)a\Wb'", "t"),
        (r"E'a\nb' ~ '(?p)^b'", "f"),
        (r"E'a\nb' ~ '(?w)^b'", "t"),
        (r"E'a\n' ~ 'a$'", "f"),
        (r"'é' ~ '\w'", "t"),
        (r#"'é' ~ '\w' collate "C""#, "f"),
        (r"'²' ~ '\w'", "f"),
        ("'É' ~* 'é'", "t"),
        ("'é' ~* '[À-Ü]'", "t"),
        ("'k' ~* 'K'", "t"),
        ("'K' ~* 'k'", "t"),
        ("'é' ~ '[[:upper:]]'", "f"),
        ("'é' ~* '[[:upper:]]'", "t"),
        (r"'x' ~ '[\D]'", "t"),
        ("'a{,3}' ~ 'a{,3}'", "t"),
        ("']' ~ '[]]'", "t"),
        ("'-' ~ '[a-]'", "t"),
        ("'b' ~ '[^]a]'", "t"),
    ]);
}

/// What the server refuses is refused in its words.
#[test]
fn wrong_expressions_are_refused() {
    check(&[
        ("'a' ~ '*a'", "2201B invalid regular expression: quantifier operand invalid"),
        ("'a' ~ '^*a'", "2201B invalid regular expression: quantifier operand invalid"),
        ("'a' ~ 'a**'", "2201B invalid regular expression: quantifier operand invalid"),
        ("'a' ~ '(*a)'", "2201B invalid regular expression: quantifier operand invalid"),
        ("'a' ~ 'a)'", "2201B invalid regular expression: parentheses () not balanced"),
        ("'a' ~ '(a'", "2201B invalid regular expression: parentheses () not balanced"),
        ("'a' ~ '[a'", "2201B invalid regular expression: brackets [] not balanced"),
        ("'a' ~ '[b-a]'", "2201B invalid regular expression: invalid character range"),
        (r"'a' ~ '[a-\d]'", "2201B invalid regular expression: invalid character range"),
        ("'a' ~ '[[:foo:]]'", "2201B invalid regular expression: invalid character class"),
        ("'a' ~ 'a{2,1}'", "2201B invalid regular expression: invalid repetition count(s)"),
        ("'a' ~ 'a{256}'", "2201B invalid regular expression: invalid repetition count(s)"),
        ("'a' ~ 'a{1'", "2201B invalid regular expression: braces {} not balanced"),
        (r"'a' ~ 'a\'", r"2201B invalid regular expression: invalid escape \ sequence"),
        (r"'a' ~ '\q'", r"2201B invalid regular expression: invalid escape \ sequence"),
        ("'a' ~ '(?z)a'", "2201B invalid regular expression: invalid embedded option"),
    ]);
}

/// Empty matches advance by one character, and one right behind another match counts.
#[test]
fn every_match_is_found() {
    check(&[
        (r"regexp_replace('foobarbaz', 'b(..)', '[\&\\\0\1\2\x]', 'g')", r"foo[bar\\0ar\x][baz\\0az\x]"),
        ("regexp_replace('abc', 'x*', '-', 'g')", "-a-b-c-"),
        ("regexp_replace('baaac', 'a*', 'x', 'g')", "xbxxcx"),
        ("regexp_replace('<b>x</b>', '<.*?>', '', 'g')", "x"),
        (r"regexp_replace('héllo wörld', '(\w)(\w*)', '\2\1', 'g')", "élloh örldw"),
        ("regexp_replace('abcabc', 'b', 'X', 3)", "abcaXc"),
        ("regexp_replace('A PostgreSQL function', 'a|e|i|o|u', 'X', 1, 3, 'i')", "A PostgrXSQL function"),
        ("regexp_replace('abc', 'b', 'X', 1, -1)", r#"22023 invalid value for parameter "n": -1"#),
        ("regexp_replace('abc', 'b', 'X', '1')", r#"22023 invalid regular expression option: "1""#),
        (r"regexp_split_to_array('the quick', '\s*')", "{t,h,e,q,u,i,c,k}"),
        ("regexp_split_to_array('a,b,,c,', ',')", r#"{a,b,"",c,""}"#),
        ("regexp_split_to_array('abbc', 'b*')", "{a,c}"),
        ("regexp_split_to_array('', '')", r#"{""}"#),
        ("regexp_count('ABC', '', 4)", "1"),
        ("regexp_count('aaa', 'a*')", "2"),
        ("regexp_like('Hello', 'h', 'i')", "t"),
        ("regexp_substr('ABCDEF', 'c(.)(..)', 1, 1, 'i', 2)", "EF"),
        ("regexp_substr('ABABAB', 'A.', 2, 5)", "null"),
        ("regexp_instr('ABCDEFGHI', '(c..)(...)', 1, 1, 1, 'i', 2)", "9"),
        ("regexp_instr('abcabc', 'a', 1, 2, 1)", "5"),
    ]);
}

/// What is not matched exactly is not matched at all: the failure says so instead of guessing.
#[test]
fn what_is_not_supported_is_refused() {
    for pattern in [r"(a)\1", "a(?=b)", "***=a", r"a\x61", "(?x)a", "[[.a.]]"] {
        assert!(found(&format!("'a' ~ '{pattern}'")).starts_with("0A000 "), "{pattern}");
    }
    assert!(found(r"E'\u00a0' ~ '\s'").starts_with("0A000 "));
}

/// A text of any length is read once: a pattern that backtracking takes forever for ends at once.
#[test]
fn time_grows_with_the_text_only() {
    let text = "a".repeat(20_000);
    assert_eq!(found(&format!("'{text}' ~ '(a*)*b'")), "f");
    assert_eq!(found(&format!("length(regexp_replace('{text}', '(a|aa)+$', '<\\1>'))")), "3");
}
