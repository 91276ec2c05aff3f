//! The text forms in which the ledger keeps keys, lists and words.

use std::borrow::Cow;

use sha2::{Digest, Sha256};
use understudy_contract::{Cause, Class, Failure, MismatchKind, Resolution, Sweep};
use understudy_model::Key;

/// A list as the text of an array: `None` is null.
#[derive(Debug)]
pub(super) struct List(String);

impl List {
    pub(super) fn new() -> List {
        List("{".to_owned())
    }

    pub(super) fn push(&mut self, item: Option<&str>) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        let Some(item) = item else { return self.0.push_str("NULL") };
        self.0.push('"');
        for letter in item.chars() {
            if matches!(letter, '"' | '\\') {
                self.0.push('\\');
            }
            self.0.push(letter);
        }
        self.0.push('"');
    }

    pub(super) fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// Texts as the text of an array.
pub(super) fn list<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    let mut list = List::new();
    items.into_iter().for_each(|item| list.push(Some(item.as_ref())));
    list.finish()
}

/// A key as the text of an array.
pub(super) fn key(key: &Key) -> String {
    list(key.texts().map(String::from_utf8_lossy))
}

/// What stands in the text of an array of texts, as the server writes it.
pub(super) fn items(text: &str) -> Result<Vec<String>, Failure> {
    parse(text).ok_or_else(|| Failure::new(Class::Diverged, "a list in the ledger on green is not readable"))
}

fn parse(text: &str) -> Option<Vec<String>> {
    let mut rest = text.strip_prefix('{')?.strip_suffix('}')?;
    let mut items = Vec::new();
    if rest.is_empty() {
        return Some(items);
    }
    loop {
        let after = if let Some(quoted) = rest.strip_prefix('"') {
            let mut item = String::new();
            let mut letters = quoted.char_indices();
            loop {
                match letters.next()? {
                    (at, '"') => {
                        items.push(item);
                        break quoted.get(at + 1..)?;
                    }
                    (_, '\\') => item.push(letters.next()?.1),
                    (_, letter) => item.push(letter),
                }
            }
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            let (item, after) = rest.split_at(end);
            // No list of the ledger holds a null.
            if item.is_empty() || item == "NULL" {
                return None;
            }
            items.push(item.to_owned());
            after
        };
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => return after.is_empty().then_some(items),
        }
    }
}

/// The key in the text of an array.
pub(super) fn key_of(text: &str) -> Result<Key, Failure> {
    Ok(Key::from_texts(items(text)?.iter().map(|text| text.as_bytes())))
}

/// What a range is known by: a digest of its lower bound, as the text of a `uuid`.
pub(super) fn bound(after: Option<&Key>) -> Cow<'static, str> {
    let Some(after) = after else { return Cow::Borrowed("00000000-0000-0000-0000-000000000000") };
    let digest = Sha256::digest(key(after));
    Cow::Owned(digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect())
}

pub(super) const SWEEPS: [(Sweep, &str); 3] =
    [(Sweep::Both, "both"), (Sweep::Blue, "blue"), (Sweep::Green, "green")];

pub(super) const fn sweep(sweep: Sweep) -> &'static str {
    match sweep {
        Sweep::Both => "both",
        Sweep::Blue => "blue",
        Sweep::Green => "green",
    }
}

fn unknown(what: &str) -> Failure {
    Failure::new(
        Class::Diverged,
        format!("the ledger on green holds a {what} that this program does not know"),
    )
    .remedy("run the version of understudy that wrote it, or a newer one")
}

pub(super) fn sweep_of(text: &str) -> Result<Sweep, Failure> {
    let found = SWEEPS.iter().find(|(_, name)| *name == text);
    found.map(|(sweep, _)| *sweep).ok_or_else(|| unknown("way of comparing"))
}

pub(super) fn kind_of(text: &str) -> Result<MismatchKind, Failure> {
    let found = MismatchKind::ALL.into_iter().find(|kind| kind.as_str() == text);
    found.ok_or_else(|| unknown("kind of mismatch"))
}

pub(super) fn cause_of(text: &str) -> Result<Cause, Failure> {
    Cause::ALL.into_iter().find(|cause| cause.as_str() == text).ok_or_else(|| unknown("cause"))
}

pub(super) fn resolution_of(text: &str) -> Result<Resolution, Failure> {
    let found = Resolution::ALL.into_iter().find(|one| one.as_str() == text);
    found.ok_or_else(|| unknown("end of a mismatch"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key that comes back as another one would lose its range, or name another row.
    #[test]
    fn lists_come_back_as_they_were() {
        for texts in [&[][..], &[""], &["a"], &["a,b", "{c}", "\"d\"\\", " e ", "NULL", "ü\n"]] {
            let written = list(texts.iter());
            assert_eq!(items(&written).unwrap(), texts, "{written}");
        }
        assert_eq!(items("{a,\"b c\",d}").unwrap(), ["a", "b c", "d"]);
        for bad in ["", "{", "{a", "{\"a}", "{NULL}", "{a,}", "{\"a\"b}"] {
            assert!(items(bad).is_err(), "{bad}");
        }
        let mut some = List::new();
        [Some("a"), None].into_iter().for_each(|item| some.push(item));
        assert_eq!(some.finish(), "{\"a\",NULL}");
    }

    #[test]
    fn every_word_is_read_back() {
        for (one, name) in SWEEPS {
            assert_eq!((sweep(one), sweep_of(name).unwrap()), (name, one));
        }
        assert!(MismatchKind::ALL.into_iter().all(|one| kind_of(one.as_str()).unwrap() == one));
        assert!(Cause::ALL.into_iter().all(|one| cause_of(one.as_str()).unwrap() == one));
        assert!(Resolution::ALL.into_iter().all(|one| resolution_of(one.as_str()).unwrap() == one));
        assert!(sweep_of("x").is_err() && kind_of("x").is_err() && cause_of("x").is_err());
    }
}
