//! Values of every type, there and back.

use proptest::prelude::*;

use super::*;

const ALL: [Form; 12] = [
    Form::S,
    Form::N,
    Form::B,
    Form::Bool,
    Form::M,
    Form::L,
    Form::Ss,
    Form::Ns,
    Form::Bs,
    Form::JsonText,
    Form::Epoch,
    Form::Text,
];

fn array(element: ColumnType) -> ColumnType {
    ColumnType::Array(Box::new(element))
}

/// What DynamoDB makes of a value that it is given: the scale of numbers is gone, and sets have no order.
fn stored(value: AttributeValue) -> AttributeValue {
    match value {
        AttributeValue::N(text) => AttributeValue::N(number::canonical(&text).unwrap()),
        AttributeValue::L(elements) => AttributeValue::L(elements.into_iter().map(stored).collect()),
        AttributeValue::M(fields) => {
            AttributeValue::M(fields.into_iter().map(|(name, value)| (name, stored(value))).collect())
        }
        AttributeValue::Ss(mut texts) => {
            texts.reverse();
            AttributeValue::Ss(texts)
        }
        AttributeValue::Ns(mut texts) => {
            texts.reverse();
            AttributeValue::Ns(texts)
        }
        AttributeValue::Bs(mut values) => {
            values.reverse();
            AttributeValue::Bs(values)
        }
        plain => plain,
    }
}

/// The value in its form and back, as canonical text.
fn through(ty: &ColumnType, form: Form, text: &str) -> Result<String, NotFit> {
    let there = encode(ty, form, text).map(stored);
    let canonical = canonical(ty, form, text);
    match there {
        Ok(value) => {
            let back = decode_canonical(&value, ty, form).expect("our own form");
            assert_eq!(canonical.as_deref(), Ok(back.as_str()), "{ty:?} as {}", form.name());
        }
        Err(_) => assert!(
            canonical.is_err(),
            "{ty:?} as {}: a value that cannot be stored has no text",
            form.name()
        ),
    }
    canonical
}

/// Promise 2: every value of the contract comes back as the same value, under every form that its type can take.
#[test]
fn values_come_back() {
    use ColumnType::{Bool, Bytea, Date, Float, Int, Json, Numeric, Text, Timestamp, TimestampTz};
    let digits = "12345678901234567890123456789012345678";
    for (ty, form, text, expected) in [
        (Int, Form::N, "-9223372036854775808", "-9223372036854775808"),
        (Numeric, Form::N, "1.50", "1.5"),
        (Numeric, Form::S, "1.50", "1.50"),
        (Numeric, Form::N, digits, digits),
        (Numeric, Form::S, "NaN", "NaN"),
        (Float, Form::N, "-0", "0"),
        (Float, Form::N, "1.7e+30", "1700000000000000000000000000000"),
        (Float, Form::S, "Infinity", "Infinity"),
        (Bool, Form::Bool, "t", "t"),
        (Bool, Form::S, "f", "f"),
        (Bytea, Form::B, "\\xDEadBEEF", "\\xdeadbeef"),
        (Bytea, Form::B, "\\x", "\\x"),
        (TimestampTz, Form::S, "2024-01-02 03:04:05+00", "2024-01-02T03:04:05.000000Z"),
        (TimestampTz, Form::Epoch, "2024-01-02 03:04:05.9+00", "1704164645"),
        (TimestampTz, Form::Text, "infinity", "infinity"),
        (Timestamp, Form::Text, "0044-03-15 00:00:00 BC", "0044-03-15 00:00:00 BC"),
        (Date, Form::S, "2024-01-02", "2024-01-02"),
        (Json, Form::M, r#"{"b":[1.0,{"a":null}],"a":1,"a":2}"#, r#"{"a":2,"b":[1,{"a":null}]}"#),
        (Json, Form::L, "[1, 2.50]", "[1,2.5]"),
        (Json, Form::M, "null", "null"),
        (Json, Form::JsonText, "{ \"a\": 1e999 }", "{ \"a\": 1e999 }"),
        (Text, Form::S, "", ""),
        (Text, Form::S, "blank  ", "blank  "),
        (array(Int), Form::L, "{3,NULL,1}", "[3,null,1]"),
        (array(Text), Form::L, r#"{"",NULL,"NULL","a\"b"}"#, r#"["",null,"NULL","a\"b"]"#),
        (array(Text), Form::L, "{}", "[]"),
        (array(Text), Form::S, "[0:1]={a,b}", "[0:1]={a,b}"),
        (array(Text), Form::Ss, r#"{b,"",a}"#, r#"["","a","b"]"#),
        (array(Numeric), Form::Ns, "{10.0,9,-1.50}", "[-1.5,10,9]"),
        (array(Bytea), Form::Bs, r#"{"\\xff","\\x00"}"#, r#"["\\x00","\\xff"]"#),
        (array(Json), Form::L, r#"{"{\"a\": 1.0}",NULL}"#, r#"[{"a":1},null]"#),
        (array(TimestampTz), Form::L, r#"{"2024-01-02 03:04:05+00"}"#, r#"["2024-01-02T03:04:05.000000Z"]"#),
        (array(Bool), Form::L, "{t,f}", r#"["t","f"]"#),
    ] {
        assert_eq!(through(&ty, form, text).as_deref(), Ok(expected), "{ty:?} as {}: {text}", form.name());
    }
}

/// Promise 7: what cannot be kept is refused with a reason, and no reason tells the value.
#[test]
fn what_does_not_fit_is_refused_without_its_value() {
    use ColumnType::{Bool, Bytea, Date, Float, Int, Json, Numeric, Text, TimestampTz};
    let digits = "123456789012345678901234567890123456789";
    let in_json = format!("{{\"a\":{digits}}}");
    for (ty, form, text) in [
        (Numeric, Form::N, digits),
        (Numeric, Form::N, "NaN"),
        (Numeric, Form::N, "-Infinity"),
        (Float, Form::N, "1.7976931348623157e+308"),
        (Float, Form::N, "5e-324"),
        (Int, Form::N, "seven"),
        (Int, Form::N, "1.5"),
        (Bool, Form::Bool, "perhaps"),
        (Bytea, Form::B, "\\xabc"),
        (Bytea, Form::B, "escaped\\000"),
        (TimestampTz, Form::S, "infinity"),
        (TimestampTz, Form::S, "0044-03-15 00:00:00+00 BC"),
        (TimestampTz, Form::Epoch, "-infinity"),
        (Date, Form::S, "10000-01-01"),
        (Json, Form::M, in_json.as_str()),
        (array(Text), Form::L, "{{a},{b}}"),
        (array(Text), Form::L, "[2:3]={a,b}"),
        (array(Text), Form::Ss, "{a,NULL}"),
        (array(Text), Form::Ss, "{}"),
        (array(Text), Form::Ss, "{a,b,a}"),
        (array(Numeric), Form::Ns, "{1.0,1.00}"),
        (array(Bytea), Form::Bs, r#"{"\\xAB","\\xab"}"#),
        (array(Json), Form::L, r#"{"null"}"#),
        (Text, Form::N, "17"),
    ] {
        let refused = through(&ty, form, text).expect_err(text);
        // Words for what is no number may be in the reason; they tell nothing of a row.
        let is_telling = text.contains(|letter: char| letter.is_ascii_digit());
        assert!(!is_telling || !refused.reason.contains(text), "{refused}");
    }
}

/// A form that a type cannot take would be found at the first row only.
#[test]
fn forms_go_by_their_names() {
    for form in ALL {
        assert_eq!(Form::named(form.name()), Some(form));
        let refused = encode(&ColumnType::Text, form, "");
        assert_eq!(refused.is_ok(), form.fits(&ColumnType::Text), "{}", form.name());
    }
    assert_eq!(Form::named("s"), None);
}

/// Promise 2: what others wrote into an attribute is never taken for a value of ours.
#[test]
fn foreign_values_are_told() {
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let number = |text: &str| AttributeValue::N(text.to_owned());
    for (value, ty, form) in [
        (text("1"), ColumnType::Int, Form::N),
        (number("1.5"), ColumnType::Int, Form::N),
        (number("1.5"), ColumnType::Timestamp, Form::Epoch),
        (text("2024-01-02T03:04:05Z"), ColumnType::TimestampTz, Form::S),
        (text("2024-01-02 03:04:05+00"), ColumnType::TimestampTz, Form::S),
        (text("2024-13-02"), ColumnType::Date, Form::S),
        (AttributeValue::Ss(vec!["a".to_owned()]), array(ColumnType::Text), Form::L),
        (AttributeValue::L(vec![number("1")]), array(ColumnType::Text), Form::L),
        (AttributeValue::B(Blob::new(*b"a")), ColumnType::Json, Form::M),
        (AttributeValue::Null(true), ColumnType::Text, Form::S),
    ] {
        assert!(decode_canonical(&value, &ty, form).is_err(), "{value:?} as {}", form.name());
    }
}

/// Blue is asked for a row by a text that it knows; where only a similar one is left, it is not asked by it.
#[test]
fn blue_is_asked_by_its_own_text() {
    use ColumnType::{Bytea, Int, Numeric, Text, TimestampTz};
    for (ty, form, text, expected) in [
        (Int, Form::N, "7", Some("7")),
        (Text, Form::S, "a b", Some("a b")),
        (Bytea, Form::B, "\\x00ff", Some("\\x00ff")),
        (TimestampTz, Form::S, "2024-01-02 03:04:05.5+00", Some("2024-01-02 03:04:05.5+00")),
        (TimestampTz, Form::Epoch, "2024-01-02 03:04:05+00", None),
        (Numeric, Form::N, "1.50", None),
        (Numeric, Form::S, "1.50", Some("1.50")),
    ] {
        let canonical = canonical(&ty, form, text).unwrap();
        assert_eq!(blue_text(&ty, form, &canonical).as_deref(), expected, "{ty:?}");
    }
}

fn fed(value: &AttributeValue) -> Vec<u8> {
    let mut bytes = Vec::new();
    feed(value, &mut |piece| bytes.extend_from_slice(piece));
    bytes
}

fn values() -> impl Strategy<Value = AttributeValue> {
    let leaf = prop_oneof![
        "[a-c]{0,2}".prop_map(AttributeValue::S),
        "-?[0-9]{1,3}(\\.[0-9]{1,2})?".prop_map(AttributeValue::N),
        any::<bool>().prop_map(AttributeValue::Bool),
        Just(AttributeValue::Null(true)),
        proptest::collection::vec(any::<u8>(), 0..3).prop_map(|bytes| AttributeValue::B(Blob::new(bytes))),
        proptest::collection::hash_set("[a-c]{0,2}", 1..3)
            .prop_map(|set| AttributeValue::Ss(set.into_iter().collect())),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(AttributeValue::L),
            proptest::collection::hash_map("[a-c]{1,2}", inner, 0..3).prop_map(AttributeValue::M),
        ]
    })
}

/// JSON as servers send it, with numbers of any scale.
fn documents() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?(0|[1-9][0-9]{0,9})(\\.[0-9]{1,4})?(e-?[0-9]{1,2})?",
        "\"([a-z ä]|\\\\n|\\\\u00e4|\\\\\"){0,5}\"",
    ];
    leaf.prop_recursive(4, 20, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(|all| format!("[{}]", all.join(" , "))),
            proptest::collection::vec(("[a-c]{1,2}", inner), 0..4).prop_map(|fields| {
                let fields = fields.into_iter().map(|(name, value)| format!("\"{name}\": {value}"));
                format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
            }),
        ]
    })
}

proptest! {
    /// A digest that differs for what is stored alike would report every item as written by others; one that does not
    /// differ for what is not would report none.
    #[test]
    fn what_is_stored_alike_is_fed_alike(one in values(), other in values()) {
        prop_assert_eq!(fed(&one), fed(&stored(one.clone())));
        let same = stored(one.clone()) == stored(other.clone());
        if !same && fed(&one) == fed(&other) {
            // Only sets have more than one order.
            prop_assert_eq!(json_like(&one), json_like(&other));
        }
    }

    #[test]
    fn numbers_come_back(text in "-?[0-9]{1,42}(\\.[0-9]{0,42})?(e[+-]?[0-9]{1,3})?") {
        let _ = through(&ColumnType::Numeric, Form::N, &text);
        let _ = through(&array(ColumnType::Numeric), Form::Ns, &format!("{{{text},1.0}}"));
        prop_assert_eq!(through(&ColumnType::Numeric, Form::S, &text), Ok(text));
    }

    #[test]
    fn documents_come_back(text in documents()) {
        let _ = through(&ColumnType::Json, Form::M, &text);
        prop_assert_eq!(through(&ColumnType::Json, Form::JsonText, &text), Ok(text));
    }

    #[test]
    fn arrays_come_back(elements in proptest::collection::vec(proptest::option::of(any::<String>()), 0..5)) {
        let written = elements.iter().map(|element| match element {
            None => "NULL".to_owned(),
            Some(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        });
        let text = format!("{{{}}}", written.collect::<Vec<_>>().join(","));
        for form in [Form::L, Form::S] {
            prop_assert!(through(&array(ColumnType::Text), form, &text).is_ok());
        }
        let distinct = elements.iter().collect::<HashSet<_>>().len() == elements.len();
        let is_set = distinct && !elements.is_empty() && elements.iter().all(Option::is_some);
        prop_assert_eq!(through(&array(ColumnType::Text), Form::Ss, &text).is_ok(), is_set);
    }

    #[test]
    fn bytes_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
        let text = format!("\\x{}", bytes.iter().map(|byte| format!("{byte:02X}")).collect::<String>());
        prop_assert_eq!(through(&ColumnType::Bytea, Form::B, &text), Ok(text.to_lowercase()));
    }

    /// No text, whatever its type is said to be, makes the codec fail otherwise than by saying so.
    #[test]
    fn no_text_breaks_it(text in any::<String>(), form in proptest::sample::select(&ALL[..])) {
        for ty in [ColumnType::Int, ColumnType::Numeric, ColumnType::Bool, ColumnType::Bytea, ColumnType::Date, ColumnType::TimestampTz,
            ColumnType::Json, ColumnType::Text, array(ColumnType::Bytea), array(ColumnType::Json)] {
            if form.fits(&ty) {
                let _ = through(&ty, form, &text);
            }
        }
    }
}

/// A value as text with its sets in order.
fn json_like(value: &AttributeValue) -> String {
    match value {
        AttributeValue::Ss(texts) => {
            let mut texts = texts.clone();
            texts.sort();
            format!("set{texts:?}")
        }
        AttributeValue::L(all) => format!("{:?}", all.iter().map(json_like).collect::<Vec<_>>()),
        AttributeValue::M(fields) => {
            let mut all = fields.iter().map(|(name, field)| (name, json_like(field))).collect::<Vec<_>>();
            all.sort();
            format!("{all:?}")
        }
        AttributeValue::N(text) => format!("N{}", number::canonical(text).unwrap()),
        plain => format!("{plain:?}"),
    }
}
