//! How many rows are set aside, by sinks that do so: counted once each, until they are settled.

use understudy_contract::{ChangeSink, LedgerEntry, PlacedChunk, PlacedKind};
use understudy_model::{BlockRange, Ctid, RowChange};

use super::routes::{refusal, refused};
use super::*;

/// A sink that has set aside `items` 1 to 4, of which it holds the first three. `None`: by its policy it stops there.
async fn with_rows_aside<S: SinkUnderTest>(store: &S) -> Result<Option<S::Sink>, String> {
    let mut sink = complete(store).await?;
    counts(&sink, 0, "before anything was set aside")?;
    let rows = [["1", "a", "x"], ["2", "b", "y"], ["3", "c", "z"]];
    sink.apply(transaction(1, rows.map(|row| insert(ITEMS, row)).to_vec())).await.map_err(failed)?;
    counts(&sink, 0, "after changes that were applied")?;
    let changes = vec![refused(None, "1"), refused(Some("2"), "4"), refused(None, "3")];
    if sink.apply(transaction(2, changes)).await.is_err() {
        let mut sink = store.connect().await;
        sink.claim().await.map_err(failed)?;
        counts(&sink, 0, "where a row that cannot be computed stops the run")?;
        return Ok(None);
    }
    counts(&sink, 4, "two keys, and one that was given up for another")?;
    let later = vec![update(ITEMS, ["1", "d", "w"]), update(ITEMS, ["4", "e", "v"])];
    sink.apply(transaction(3, later)).await.map_err(failed)?;
    counts(&sink, 4, "later changes of the same rows")?;
    Ok(Some(sink))
}

fn counts<K: ChangeSink>(sink: &K, expected: u64, when: &str) -> Verdict {
    let found = sink.aside();
    ensure(found == expected, format!("{when}: {found} rows are aside instead of {expected}"))
}

/// As a chunk settles them, and for whoever claims later.
pub(super) async fn rows_that_are_aside_count_until_chunks_settle_them<S: SinkUnderTest>(
    store: &S,
) -> Verdict {
    let Some(mut sink) = with_rows_aside(store).await? else { return Ok(()) };
    let rereads = ["1", "2"].map(|text| RowChange::Reread { route: ITEMS, key: heal(text) });
    sink.apply(transaction(4, rereads.to_vec())).await.map_err(failed)?;
    counts(&sink, 4, "rows that wait to be read again")?;
    let kind = PlacedKind::Heal { keys: vec![heal("1"), heal("2")] };
    let chunk = placed(1, checkpoint(4), kind, vec![row(["1", "d", "w"])]);
    sink.place(PlacedChunk { left_out: vec![key(&["2"])], ..chunk }).await.map_err(failed)?;
    sink.placed().await.map_err(failed)?;
    counts(&sink, 2, "one row that was written, one that was removed")?;
    drop(sink);
    let mut sink = store.connect().await;
    counts(&sink, 0, "before a claim")?;
    sink.claim().await.map_err(failed)?;
    counts(&sink, 2, "for a later instance")?;
    sink.record(LedgerEntry::Plan(unit(ITEMS))).await.map_err(failed)?;
    let range = BlockRange { from: Ctid::start_of(0), to: Ctid::start_of(2) };
    let kind = PlacedKind::Copy { unit: unit(ITEMS).id, range };
    let chunk = placed(2, checkpoint(4), kind, vec![row(["4", "e", "v"])]);
    let refused = vec![(key(&["3"]), refusal()), (key(&["5"]), refusal())];
    sink.place(PlacedChunk { refused, ..chunk }).await.map_err(failed)?;
    sink.placed().await.map_err(failed)?;
    counts(&sink, 2, "a copy that settles one row, and sets aside another beside one that is")?;
    drop(sink);
    let mut sink = store.connect().await;
    sink.claim().await.map_err(failed)?;
    counts(&sink, 2, "for the instance after a copy")
}

/// As their table is emptied, and not before that is committed; what was never committed was never aside.
pub(super) async fn rows_that_are_aside_count_until_their_table_is_emptied<S: SinkUnderTest>(
    store: &S,
) -> Verdict {
    let Some(mut sink) = with_rows_aside(store).await? else { return Ok(()) };
    sink.apply(part(4, 0, vec![refused(None, "6")])).await.map_err(failed)?;
    drop(sink);
    let mut sink = store.connect().await;
    sink.claim().await.map_err(failed)?;
    counts(&sink, 4, "after a transaction that was not committed")?;
    let emptied = vec![RowChange::Truncate { routes: vec![ITEMS] }];
    sink.apply(part(4, 0, emptied)).await.map_err(failed)?;
    counts(&sink, 4, "while the transaction that empties their table is open")?;
    let end = Batch { first_ordinal: 1, ..transaction(4, vec![refused(None, "7")]) };
    sink.apply(end).await.map_err(failed)?;
    counts(&sink, 1, "a row that came behind the truncation")?;
    sink.apply(transaction(5, vec![RowChange::Truncate { routes: vec![PLACES] }])).await.map_err(failed)?;
    counts(&sink, 1, "after another table was emptied")?;
    sink.apply(transaction(6, vec![RowChange::Truncate { routes: vec![ITEMS] }])).await.map_err(failed)?;
    counts(&sink, 0, "after the table was emptied")
}
