//! Arrays of one dimension in the text that Postgres writes.

use super::NotFit;

/// The elements, null as `None`.
pub(super) fn elements(text: &str) -> Result<Vec<Option<String>>, NotFit> {
    if text.starts_with('[') {
        return Err(NotFit::new("an array whose bounds do not begin at 1: `form: S` keeps it"));
    }
    let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).ok_or_else(malformed)?;
    let mut elements = Vec::new();
    if inner.is_empty() {
        return Ok(elements);
    }
    let mut letters = inner.chars().peekable();
    loop {
        let mut element = String::new();
        let is_quoted = letters.next_if_eq(&'"').is_some();
        loop {
            match letters.next() {
                Some('"') if is_quoted => break,
                Some('\\') => element.push(letters.next().ok_or_else(malformed)?),
                Some('{' | '}') if !is_quoted => {
                    return Err(NotFit::new("an array of more than one dimension: `form: S` keeps it"));
                }
                None | Some('"') => return Err(malformed()),
                Some(',') if !is_quoted => return Err(malformed()),
                Some(letter) => element.push(letter),
            }
            if !is_quoted && matches!(letters.peek(), None | Some(',')) {
                break;
            }
        }
        let is_null = !is_quoted && element.eq_ignore_ascii_case("null");
        elements.push((!is_null).then_some(element));
        match letters.next() {
            None => return Ok(elements),
            Some(',') if letters.peek().is_some() => {}
            Some(_) => return Err(malformed()),
        }
    }
}

fn malformed() -> NotFit {
    NotFit::new("not an array")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Texts as Postgres writes them: null is not the word, and quotes hide every separator.
    #[test]
    fn elements_are_told_apart() {
        for (text, expected) in [
            ("{}", vec![]),
            ("{1,2}", vec![Some("1"), Some("2")]),
            (r#"{NULL,"NULL",""}"#, vec![None, Some("NULL"), Some("")]),
            (r#"{"a,b","c\"d\\","{e}",f g}"#, vec![Some("a,b"), Some("c\"d\\"), Some("{e}"), Some("f g")]),
        ] {
            let found = elements(text).unwrap();
            assert_eq!(found.iter().map(Option::as_deref).collect::<Vec<_>>(), expected, "{text}");
        }
    }

    /// A list has no bounds and one dimension: what has more would lose it.
    #[test]
    fn what_is_no_list_is_refused() {
        for text in [
            "[0:1]={1,2}",
            "{{1,2},{3,4}}",
            "",
            "{",
            "{1",
            "{1,}",
            "{,}",
            "{\"a}",
            "{\"a\"b}",
            "{a\"}",
            "{\\}",
        ] {
            assert!(elements(text).is_err(), "{text}");
        }
    }

    proptest! {
        /// Whatever an element holds, it comes back.
        #[test]
        fn quoted_elements_come_back(texts in proptest::collection::vec(any::<String>(), 1..5)) {
            let quoted = texts.iter().map(|text| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")));
            let array = format!("{{{}}}", quoted.collect::<Vec<_>>().join(","));
            prop_assert_eq!(elements(&array).unwrap(), texts.into_iter().map(Some).collect::<Vec<_>>());
        }
    }
}
