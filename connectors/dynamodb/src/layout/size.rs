//! Sizes as AWS counts them, and the limits that items have.

use aws_sdk_dynamodb::types::AttributeValue;

use super::Item;
use crate::types::{DEPTH_MAX, NotFit};

/// The bytes that an item may have, names included.
pub const ITEM_BYTES_MAX: usize = 400 * 1024;

/// What storage adds to each item.
pub const STORED_BYTES_EXTRA: usize = 100;

/// Bytes of an item: of its names and its values.
pub fn item_size(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + value_size(value)).sum()
}

/// Bytes of a value. Of a number AWS tells the size only roughly; this is the larger of what it may mean.
pub fn value_size(value: &AttributeValue) -> usize {
    /// Of a list or map, besides one byte for each element.
    const OVERHEAD: usize = 3;
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(text) => number_size(text),
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        AttributeValue::Ss(texts) => texts.iter().map(String::len).sum(),
        AttributeValue::Ns(texts) => texts.iter().map(|text| number_size(text)).sum(),
        AttributeValue::Bs(values) => values.iter().map(|value| value.as_ref().len()).sum(),
        AttributeValue::L(elements) => {
            OVERHEAD + elements.iter().map(|element| value_size(element) + 1).sum::<usize>()
        }
        AttributeValue::M(fields) => {
            OVERHEAD + fields.iter().map(|(name, field)| name.len() + value_size(field) + 1).sum::<usize>()
        }
        // Null and boolean, and what a later protocol may bring.
        _ => 1,
    }
}

/// One byte for two significant digits, one more, and one for the sign.
fn number_size(text: &str) -> usize {
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).collect::<Vec<_>>();
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    let behind = digits.iter().rev().take_while(|digit| **digit == b'0').count();
    let significant = digits.len().saturating_sub(zeros + behind);
    // A pair may be cut by the point, so an odd digit may stand at either end.
    significant / 2 + 2 + usize::from(mantissa.starts_with('-'))
}

/// Its levels: one, and those of the deepest value in it. What is empty counts as if it held something.
pub(super) fn levels(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::L(elements) => 1 + elements.iter().map(levels).max().unwrap_or(1),
        AttributeValue::M(fields) => 1 + fields.values().map(levels).max().unwrap_or(1),
        _ => 1,
    }
}

/// Whether DynamoDB takes so many bytes as an item.
pub(super) fn check(bytes: usize) -> Result<(), NotFit> {
    if bytes > ITEM_BYTES_MAX {
        let reason = "it has more than the 400 KB that DynamoDB takes: leave out or split what is large";
        return Err(NotFit::new(reason));
    }
    Ok(())
}

/// Whether DynamoDB nests so deep.
pub(super) fn check_levels(levels: usize) -> Result<(), NotFit> {
    if levels > DEPTH_MAX {
        let reason = "it is nested more than 32 levels deep: `form: json_text` keeps a document as text";
        return Err(NotFit::new(reason));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use aws_sdk_dynamodb::primitives::Blob;

    use super::*;

    /// The sizes that AWS's guide gives: an estimate that is too low lets an item through that is refused later.
    #[test]
    fn sizes_are_those_of_the_guide() {
        let text = |text: &str| AttributeValue::S(text.to_owned());
        for (value, bytes) in [
            (text("äb"), 3),
            (text(""), 0),
            (AttributeValue::N("0".into()), 2),
            (AttributeValue::N("1200".into()), 3),
            (AttributeValue::N("-0.0012".into()), 4),
            (AttributeValue::N("9".repeat(38)), 21),
            (AttributeValue::B(Blob::new(*b"abc")), 3),
            (AttributeValue::Null(true), 1),
            (AttributeValue::Bool(false), 1),
            (AttributeValue::L(vec![]), 3),
            (AttributeValue::L(vec![text("ab"), AttributeValue::Null(true)]), 3 + 3 + 2),
            (AttributeValue::M(HashMap::from([("ab".to_owned(), text("c"))])), 3 + 2 + 1 + 1),
            (AttributeValue::Ss(vec!["a".into(), "bc".into()]), 3),
        ] {
            assert_eq!(value_size(&value), bytes, "{value:?}");
        }
        assert_eq!(item_size(&HashMap::from([("pk".to_owned(), text("abc"))])), 5);
    }

    /// The limits are inclusive, and what is empty is as deep as if it were not.
    #[test]
    fn limits_are_exact() {
        assert!(check(ITEM_BYTES_MAX).is_ok() && check(ITEM_BYTES_MAX + 1).is_err());
        assert!(check_levels(32).is_ok() && check_levels(33).is_err());
        let inner = AttributeValue::M(HashMap::from([("a".to_owned(), AttributeValue::L(vec![]))]));
        assert_eq!(levels(&AttributeValue::L(vec![AttributeValue::Null(true), inner])), 4);
        assert_eq!(levels(&AttributeValue::Null(true)), 1);
    }
}
