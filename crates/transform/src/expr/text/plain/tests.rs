//! Texts, codes and messages from Postgres 15 and 18.

use crate::expr::error::EvalError;
use crate::expr::text::{fit, input, output};
use crate::expr::types::{EnumType, Modifier, NamedType, SqlType};

fn shown(result: Result<String, EvalError>) -> String {
    result.unwrap_or_else(|error| format!("{} {}", error.state(), error.message_with_values()))
}

/// The text of a type, read and written again.
fn again(ty: &SqlType, text: &str) -> String {
    shown(input(ty, Modifier::NONE, text).map(|value| output(&value, ty).into_owned()))
}

fn fitted(ty: &SqlType, length: i32, text: &str, is_explicit: bool) -> String {
    let value = input(ty, Modifier::NONE, text).unwrap();
    let fitted = fit(value, ty, Modifier::of_characters(length), is_explicit);
    shown(fitted.map(|value| output(&value, ty).into_owned()))
}

/// Only blanks are cut off without being asked; characters are counted, not bytes.
#[test]
fn strings_fit_their_length() {
    let long = "22001 value too long for type character varying(2)";
    assert_eq!(fitted(&SqlType::Varchar, 2, "héllo", true), "hé");
    assert_eq!(fitted(&SqlType::Varchar, 2, "héllo", false), long);
    assert_eq!(fitted(&SqlType::Varchar, 2, "hé   ", false), "hé");
    assert_eq!(fitted(&SqlType::Varchar, 2, "h", false), "h");
    assert_eq!(fitted(&SqlType::Bpchar, 3, "é", false), "é  ");
    assert_eq!(fitted(&SqlType::Bpchar, 2, "hé ", false), "hé");
    assert_eq!(fitted(&SqlType::Bpchar, 2, "héx", false), "22001 value too long for type character(2)");
}

/// A label is taken as it is written, and a wrong one fails here instead of on green.
#[test]
fn labels_are_those_of_the_enum() {
    let name = NamedType { schema: Some("public".to_owned()), name: "mood".to_owned() };
    let ty = SqlType::Enum(EnumType { name, labels: vec!["sad".to_owned(), "so so".to_owned()] }.into());
    assert_eq!(again(&ty, "so so"), "so so");
    assert_eq!(again(&ty, "Sad"), "22P02 invalid input value for enum mood: \"Sad\"");
}

/// Old rows and dumps hold the escaped form, new ones hexadecimal.
#[test]
fn bytes_are_read_in_both_forms() {
    let cases = [
        (r"\x 01 AB", r"\x01ab"),
        (r"\x0", "22023 invalid hexadecimal data: odd number of digits"),
        (r"\x0é", "22023 invalid hexadecimal digit: \"é\""),
        (r"a\\b\377é", r"\x615c62ffc3a9"),
        (r"\X01", "22P02 invalid input syntax for type bytea"),
        (r"a\477", "22P02 invalid input syntax for type bytea"),
    ];
    cases.iter().for_each(|(text, expected)| assert_eq!(again(&SqlType::Bytea, text), *expected, "{text}"));
}

/// Hyphens may stand behind any four digits, braces come in pairs.
#[test]
fn identifiers_are_read_in_all_forms() {
    let uuid = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    for text in [uuid, "{A0EEBC999C0B4EF8BB6D6BB9BD380A11}", "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11"] {
        assert_eq!(again(&SqlType::Uuid, text), uuid);
    }
    for text in ["{a0eebc999c0b4ef8bb6d6bb9bd380a11", "a0-eebc999c0b4ef8bb6d6bb9bd380a11", " ", "{}"] {
        let expected = format!("22P02 invalid input syntax for type uuid: \"{text}\"");
        assert_eq!(again(&SqlType::Uuid, text), expected);
    }
}

/// Each text with what `inet` and `cidr` make of it; a question mark is a text that the type does not read.
#[test]
fn addresses_are_read_and_written_as_on_the_server() {
    let cases = [
        ("1.2.3.4", "1.2.3.4", "1.2.3.4/32"),
        ("001.02.3.4/024", "1.2.3.4/24", "?"),
        ("10.1/8", "10.1.0.0/8", "?"),
        ("10/8", "10.0.0.0/8", "10.0.0.0/8"),
        ("10/16", "?", "10.0.0.0/16"),
        ("192.168", "?", "192.168.0.0/24"),
        ("224", "?", "224.0.0.0/4"),
        ("225.1", "?", "225.1.0.0/16"),
        ("240", "?", "240.0.0.0/32"),
        ("1.2.3.4/33", "?", "?"),
        (" 1.2.3.4", "?", "?"),
        ("1.2.3.", "?", "?"),
        ("2001:DB8::/32", "2001:db8::/32", "2001:db8::/32"),
        ("::1/64", "::1/64", "?"),
        ("::ffff:1.2.3", "::ffff:1.2.3.0", "::ffff:1.2.3.0/128"),
        ("::1..2", "::1.0.2.0", "::1.0.2.0/128"),
        ("::0.1.0.0", "::0.1.0.0", "::0.1.0.0/128"),
        ("::0.0.0.1", "::1", "::1/128"),
        ("::fffe:1.2.3.4", "::fffe:102:304", "::fffe:102:304/128"),
        ("1:0:0:2:0:0:0:3", "1:0:0:2::3", "1:0:0:2::3/128"),
        ("0:0:1:0:0:1:0:0", "::1:0:0:1:0:0", "::1:0:0:1:0:0/128"),
        ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0", "1:2:3:4:5:6:7:0/128"),
        ("0:0::0:0:5:6:7:8", "?", "?"),
        ("1::2:/128", "1::2", "1::2/128"),
        ("::/064", "?", "?"),
        ("::00001", "?", "?"),
    ];
    for (text, inet, cidr) in cases {
        for (ty, expected) in [(SqlType::Inet, inet), (SqlType::Cidr, cidr)] {
            let found = again(&ty, text);
            let found = if found.starts_with("22P02 ") { "?" } else { &found };
            assert_eq!(found, expected, "{ty} {text}");
        }
    }
}
