//! One text for each value, whether it comes from Postgres or from an attribute.

use aws_sdk_dynamodb::types::AttributeValue;

use super::time::Kind;
use super::{ColumnType, Form, NotFit, Odd, bytes, check, encode, json, number, set, time};

/// The canonical text of a value of Postgres: the same as that of what is stored for it.
pub fn canonical(ty: &ColumnType, form: Form, text: &str) -> Result<String, NotFit> {
    check(ty, form)?;
    match (form, kind(ty)) {
        (Form::S, Some(kind)) => time::iso(kind, text),
        (Form::Epoch, Some(kind)) => Ok(time::epoch_seconds(kind, text)?.to_string()),
        (Form::N, _) => match number::canonical(text)? {
            fraction if *ty == ColumnType::Int && fraction.contains('.') => {
                Err(NotFit::new("a fraction where a whole number belongs"))
            }
            number => Ok(number),
        },
        (Form::Bool, _) => match text {
            "t" | "true" => Ok("t".to_owned()),
            "f" | "false" => Ok("f".to_owned()),
            _ => Err(NotFit::new("neither true nor false")),
        },
        (Form::B, _) => Ok(hex(&bytes(text)?)),
        (Form::Ss, _) => Ok(array_of(set(ty, Form::S, text)?.iter().map(|text| quoted(text)))),
        (Form::Ns, _) => Ok(array_of(set(ty, Form::N, text)?)),
        (Form::Bs, _) => Ok(array_of(set(ty, Form::B, text)?.iter().map(|text| quoted(text)))),
        (Form::M | Form::L, _) => {
            let odd = |_| NotFit::new("a value that its own form does not hold");
            decode_canonical(&encode(ty, form, text)?, ty, form).map_err(odd)
        }
        (Form::S | Form::Text | Form::JsonText | Form::Epoch, _) => Ok(text.to_owned()),
    }
}

/// The canonical text of an attribute that is not null.
pub fn decode_canonical(value: &AttributeValue, ty: &ColumnType, form: Form) -> Result<String, Odd> {
    match (form, value) {
        (Form::M | Form::L, document) if *ty == ColumnType::Json => json::write(document),
        (Form::L, AttributeValue::L(elements)) => list(elements, ty),
        (Form::S, AttributeValue::S(text)) => match kind(ty) {
            Some(kind) if time::iso(kind, text).as_ref() != Ok(text) => {
                Err(Odd::new("a time that is not in the form in which times are written"))
            }
            _ => Ok(text.clone()),
        },
        (Form::Text | Form::JsonText, AttributeValue::S(text)) => Ok(text.clone()),
        (Form::N | Form::Epoch, AttributeValue::N(text)) => {
            let number = number::canonical(text).map_err(|_| Odd::new("a number that is none"))?;
            let is_whole = *ty == ColumnType::Int || form == Form::Epoch;
            if is_whole && number.contains('.') {
                return Err(Odd::new("a fraction where a whole number belongs"));
            }
            Ok(number)
        }
        (Form::Bool, AttributeValue::Bool(value)) => Ok(if *value { "t" } else { "f" }.to_owned()),
        (Form::B, AttributeValue::B(value)) => Ok(hex(value.as_ref())),
        (Form::Ss, AttributeValue::Ss(texts)) => {
            let mut texts = texts.clone();
            texts.sort_unstable();
            Ok(array_of(texts.iter().map(|text| quoted(text))))
        }
        (Form::Ns, AttributeValue::Ns(texts)) => {
            let numbers = texts.iter().map(|text| number::canonical(text)).collect::<Result<Vec<_>, _>>();
            let mut numbers = numbers.map_err(|_| Odd::new("a number that is none"))?;
            numbers.sort_unstable();
            Ok(array_of(numbers))
        }
        (Form::Bs, AttributeValue::Bs(values)) => {
            let mut texts = values.iter().map(|value| hex(value.as_ref())).collect::<Vec<_>>();
            texts.sort_unstable();
            Ok(array_of(texts.iter().map(|text| quoted(text))))
        }
        _ => Err(Odd::new("a value of another type than that which is written")),
    }
}

/// The text by which blue knows a value, from its canonical one. `None` where that does not tell it: numbers lose their
/// scale, and documents their form.
pub fn blue_text(ty: &ColumnType, form: Form, canonical: &str) -> Option<String> {
    match (form, kind(ty)) {
        (Form::S, Some(kind)) => Some(time::as_postgres(kind, canonical)),
        (Form::N, _) if *ty == ColumnType::Int => Some(canonical.to_owned()),
        (Form::S | Form::Text | Form::JsonText | Form::Bool | Form::B, _) => Some(canonical.to_owned()),
        (Form::N | Form::Epoch | Form::M | Form::L | Form::Ss | Form::Ns | Form::Bs, _) => None,
    }
}

/// Gives every value to `take` as bytes that differ whenever values do. What DynamoDB stores alike is alike here: numbers
/// by value, sets and maps in no order.
pub(crate) fn feed(value: &AttributeValue, take: &mut impl FnMut(&[u8])) {
    let mut framed = |tag: u8, bytes: &[u8]| {
        take(&[tag]);
        take(&(bytes.len() as u64).to_be_bytes());
        take(bytes);
    };
    let by_value = |text: &String| number::canonical(text).unwrap_or_else(|_| text.clone());
    match value {
        AttributeValue::Null(_) => framed(b'0', &[]),
        AttributeValue::Bool(value) => framed(b'?', &[u8::from(*value)]),
        AttributeValue::S(text) => framed(b'S', text.as_bytes()),
        AttributeValue::N(text) => framed(b'N', by_value(text).as_bytes()),
        AttributeValue::B(bytes) => framed(b'B', bytes.as_ref()),
        AttributeValue::L(elements) => {
            framed(b'L', &(elements.len() as u64).to_be_bytes());
            elements.iter().for_each(|element| feed(element, take));
        }
        AttributeValue::M(fields) => {
            framed(b'M', &(fields.len() as u64).to_be_bytes());
            let mut fields = fields.iter().collect::<Vec<_>>();
            fields.sort_unstable_by_key(|(name, _)| *name);
            for (name, field) in fields {
                feed(&AttributeValue::S(name.clone()), take);
                feed(field, take);
            }
        }
        AttributeValue::Ss(texts) => feed_set(b's', texts.iter().map(|text| text.clone().into_bytes()), take),
        AttributeValue::Ns(texts) => {
            feed_set(b'n', texts.iter().map(|text| by_value(text).into_bytes()), take);
        }
        AttributeValue::Bs(values) => {
            feed_set(b'b', values.iter().map(|value| value.as_ref().to_vec()), take);
        }
        // What a later protocol may bring was not written by us.
        _ => framed(b'!', &[]),
    }
}

fn feed_set(tag: u8, members: impl Iterator<Item = Vec<u8>>, take: &mut impl FnMut(&[u8])) {
    let mut members = members.collect::<Vec<_>>();
    members.sort_unstable();
    take(&[tag]);
    take(&(members.len() as u64).to_be_bytes());
    for member in members {
        take(&(member.len() as u64).to_be_bytes());
        take(&member);
    }
}

fn kind(ty: &ColumnType) -> Option<Kind> {
    match ty {
        ColumnType::TimestampTz => Some(Kind::TimestampTz),
        ColumnType::Timestamp => Some(Kind::Timestamp),
        ColumnType::Date => Some(Kind::Date),
        _ => None,
    }
}

fn list(elements: &[AttributeValue], ty: &ColumnType) -> Result<String, Odd> {
    let ColumnType::Array(element) = ty else {
        return Err(Odd::new("a list where none belongs"));
    };
    let form = element.default_form();
    let each = |value: &AttributeValue| match value {
        AttributeValue::Null(_) => Ok("null".to_owned()),
        value => {
            let text = decode_canonical(value, element, form)?;
            Ok(if matches!(form, Form::N | Form::M) { text } else { quoted(&text) })
        }
    };
    Ok(array_of(elements.iter().map(each).collect::<Result<Vec<_>, Odd>>()?))
}

fn array_of(elements: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", elements.into_iter().collect::<Vec<_>>().join(","))
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    json::push_string(&mut out, text);
    out
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(2 + bytes.len() * 2);
    out.push_str("\\x");
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    out
}
