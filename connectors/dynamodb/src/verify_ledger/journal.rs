//! Notes of one call take effect together: as one transaction where they fit in one, else by way of a journal.
//!
//! A journal holds the notes in parts. A single note says that it is whole: from then on its notes take effect, if need be at the
//! next claim. Before, none of them does.

use aws_sdk_dynamodb::types::AttributeValue;

use super::claim::pages;
use crate::calls::Calls;
use crate::error::Error;
use crate::layout::{Item, item_size};
use crate::state::{Fields, Note, Notes, OF, Reading, State};

/// So many notes are one transaction, with the check of who holds the ledger.
const TOGETHER: usize = 90;

/// So many bytes too; DynamoDB takes 4 MB.
const TOGETHER_BYTES: usize = 2 << 20;

/// The most bytes of notes in one part of a journal.
const PART_BYTES: usize = 256 << 10;

/// What says that a journal is whole.
const WHOLE: &str = "journal";
const PART: &str = "part#";

/// Has all notes take effect, or none, while the ledger is held under the state's token.
pub(super) async fn write(state: &State, calls: &Calls, notes: Notes) -> Result<(), Error> {
    if notes.len() <= TOGETHER && notes.values().map(bytes).sum::<usize>() <= TOGETHER_BYTES {
        return state.write(calls, notes).await;
    }
    let mut parts = Vec::new();
    for (n, part) in in_parts(&notes).into_iter().enumerate() {
        let of = format!("{PART}{n:06}");
        let note = Fields(Item::from([("notes".to_owned(), AttributeValue::L(part))])).0;
        // One by one, since a transaction takes no more bytes than some of them have.
        state.write(calls, Notes::from([(of.clone(), Note::Put(note))])).await?;
        parts.push(of);
    }
    let whole = Fields::default().number("parts", parts.len() as u64).0;
    state.write(calls, Notes::from([(WHOLE.to_owned(), Note::Put(whole))])).await?;
    finish(state, calls, notes, parts).await
}

/// Finishes what a journal holds, or forgets one that is not whole. Whoever held the ledger before may not have come to it.
pub(super) async fn recover(state: &State, calls: &Calls) -> Result<(), Error> {
    let unreadable = || Error::Unreadable { table: state.table.clone(), what: "a journal of verification" };
    let is_whole = pages(state, calls, WHOLE).await?.pop();
    let items = pages(state, calls, PART).await?;
    let of = items.iter().filter_map(|item| Reading(item).text(OF).map(str::to_owned));
    let of = of.collect::<Vec<_>>();
    let Some(whole) = is_whole else {
        return state.write(calls, of.into_iter().map(|of| (of, Note::Remove)).collect()).await;
    };
    // Parts beyond are of a journal before that was not forgotten in full.
    let count = Reading(&whole).number::<usize>("parts").ok_or_else(unreadable)?;
    let mut notes = Notes::new();
    for item in items.iter().take(count) {
        for note in item.get("notes").and_then(|notes| notes.as_l().ok()).ok_or_else(unreadable)? {
            notes.extend([note_in(note).ok_or_else(unreadable)?]);
        }
    }
    if items.len() < count {
        return Err(unreadable());
    }
    finish(state, calls, notes, of).await
}

async fn finish(state: &State, calls: &Calls, notes: Notes, parts: Vec<String>) -> Result<(), Error> {
    let mut some = Notes::new();
    let mut size = 0;
    for (of, note) in notes {
        size += bytes(&note);
        some.insert(of, note);
        if some.len() >= TOGETHER || size >= TOGETHER_BYTES / 2 {
            state.write(calls, std::mem::take(&mut some)).await?;
            size = 0;
        }
    }
    state.write(calls, some).await?;
    state.write(calls, Notes::from([(WHOLE.to_owned(), Note::Remove)])).await?;
    state.write(calls, parts.into_iter().map(|of| (of, Note::Remove)).collect()).await
}

fn bytes(note: &Note) -> usize {
    match note {
        Note::Put(item) => item_size(item),
        Note::Remove => 100,
    }
}

fn in_parts(notes: &Notes) -> Vec<Vec<AttributeValue>> {
    let (mut parts, mut part, mut size) = (Vec::new(), Vec::new(), 0);
    for (of, note) in notes {
        let mut fields = Fields::default().text(OF, of).0;
        if let Note::Put(item) = note {
            fields.insert("put".to_owned(), AttributeValue::M(item.clone()));
        }
        size += bytes(note) + of.len();
        part.push(AttributeValue::M(fields));
        if size >= PART_BYTES {
            parts.push(std::mem::take(&mut part));
            size = 0;
        }
    }
    if !part.is_empty() {
        parts.push(part);
    }
    parts
}

fn note_in(value: &AttributeValue) -> Option<(String, Note)> {
    let fields = value.as_m().ok()?;
    let of = fields.get(OF)?.as_s().ok()?.clone();
    let note = match fields.get("put") {
        Some(item) => Note::Put(item.as_m().ok()?.clone()),
        None => Note::Remove,
    };
    Some((of, note))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A note that is lost or changed on its way through a journal would be a call of which only a part takes effect.
    #[test]
    fn notes_come_back_from_a_journal_as_they_were() {
        let put =
            |n: usize| Note::Put(Fields::default().text("text", &"x".repeat(n)).number("n", n as u64).0);
        let notes =
            (0..400).map(|n| (format!("range#{n:05}"), if n % 7 == 0 { Note::Remove } else { put(n * 10) }));
        let notes = notes.collect::<Notes>();
        let parts = in_parts(&notes);
        assert!(parts.len() > 1, "{} parts", parts.len());
        let back = parts.iter().flatten().map(|note| note_in(note).expect("a note")).collect::<Notes>();
        assert_eq!(back, notes);
    }
}
