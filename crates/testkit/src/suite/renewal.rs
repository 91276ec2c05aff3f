//! Copies over rows that are there already: what a partial update leaves alone may be out of date.

use understudy_contract::{Applied, ChangeSink, LedgerEntry, PlacedKind};

use super::*;

/// Two rows of a complete copy, and a new copy planned over them.
async fn renewed<S: SinkUnderTest>(store: &S) -> Result<S::Sink, String> {
    let mut sink = complete(store).await?;
    let rows = vec![insert(ITEMS, ["1", "a", "x"]), insert(ITEMS, ["2", "b", "y"])];
    sink.apply(transaction(1, rows)).await.map_err(failed)?;
    sink.record(LedgerEntry::Plan(unit(ITEMS))).await.map_err(failed)?;
    Ok(sink)
}

/// These keys of `items` are reported, and nothing is amiss.
fn reports(applied: &Applied, keys: &[&str], what: &str) -> Verdict {
    let expected = keys.iter().map(|text| (ITEMS, heal(text))).collect::<Vec<_>>();
    ensure(applied.heals == expected, format!("{what}: {} rows are reported", applied.heals.len()))?;
    ensure(applied.mismatches == 0, format!("{what} counts as a mismatch"))
}

pub(super) async fn partial_rows_of_a_new_copy_are_reported<S: SinkUnderTest>(store: &S) -> Verdict {
    let mut sink = renewed(store).await?;
    let changes = vec![update(ITEMS, ["1", "c", UNSENT]), insert(ITEMS, ["3", "d", "z"])];
    let applied = sink.apply(transaction(2, changes)).await.map_err(failed)?;
    reports(&applied, &["1"], "a partial update of a row that is there")?;
    let changes = vec![update(ITEMS, ["1", "e", UNSENT]), update(ITEMS, ["3", "f", "w"])];
    let applied = sink.apply(transaction(3, changes)).await.map_err(failed)?;
    reports(&applied, &[], "one of a row that waits already, and a whole one")?;
    let applied = sink.apply(transaction(4, vec![moved("2", ["4", "b", UNSENT])])).await.map_err(failed)?;
    reports(&applied, &["4"], "a partial update to another key")?;
    holds(store, ITEMS, &[["1", "e", "x"], ["3", "f", "w"], ["4", "b", "y"]]).await?;
    sink.record(LedgerEntry::Complete(ITEMS)).await.map_err(failed)?;
    let applied =
        sink.apply(transaction(5, vec![update(ITEMS, ["3", "g", UNSENT])])).await.map_err(failed)?;
    reports(&applied, &[], "a partial update once the copy is complete again")
}

pub(super) async fn rows_of_unknown_origin_are_out_of_date<S: SinkUnderTest>(store: &S) -> Verdict {
    let mut sink = begun(store).await?;
    sink.apply(transaction(1, vec![insert(ITEMS, ["1", "a", "x"])])).await.map_err(failed)?;
    sink.record(LedgerEntry::Plan(unit(ITEMS))).await.map_err(failed)?;
    drop(sink);
    let mut sink = store.connect().await;
    sink.claim().await.map_err(failed)?;
    let applied =
        sink.apply(transaction(2, vec![update(ITEMS, ["1", "b", UNSENT])])).await.map_err(failed)?;
    reports(&applied, &["1"], "a partial update of a row that was there before the first copy")
}

pub(super) async fn a_file_written_anew_puts_rows_out_of_date<S: SinkUnderTest>(store: &S) -> Verdict {
    let mut sink = begun(store).await?;
    for _ in 0..2 {
        sink.record(LedgerEntry::Plan(unit(ITEMS))).await.map_err(failed)?;
    }
    let changes = vec![insert(ITEMS, ["1", "a", "x"]), update(ITEMS, ["1", "b", UNSENT])];
    let applied = sink.apply(transaction(1, changes)).await.map_err(failed)?;
    reports(&applied, &[], "a partial update of a first copy")?;
    sink.apply(transaction(2, vec![delete(ITEMS, &["1"])])).await.map_err(failed)?;
    let rewritten = Unit { filenode: 99, ..unit(ITEMS) };
    sink.record(LedgerEntry::Plan(rewritten)).await.map_err(failed)?;
    let changes = vec![insert(ITEMS, ["1", "a", "x"]), update(ITEMS, ["1", "b", UNSENT])];
    let applied = sink.apply(transaction(3, changes)).await.map_err(failed)?;
    reports(&applied, &["1"], "a partial update after the file was written anew")
}

pub(super) async fn columns_added_again_put_rows_out_of_date<S: SinkUnderTest>(store: &S) -> Verdict {
    let mut sink = begun(store).await?;
    sink.record(LedgerEntry::Plan(unit(ITEMS))).await.map_err(failed)?;
    sink.record(LedgerEntry::Plan(Unit { fingerprint: 99, ..unit(ITEMS) })).await.map_err(failed)?;
    let changes = vec![insert(ITEMS, ["1", "a", "x"]), update(ITEMS, ["1", "b", UNSENT])];
    let applied = sink.apply(transaction(1, changes)).await.map_err(failed)?;
    reports(&applied, &["1"], "a partial update after a column was dropped and added again")
}

pub(super) async fn a_heal_goes_with_its_row<S: SinkUnderTest>(store: &S) -> Verdict {
    let mut sink = renewed(store).await?;
    sink.apply(transaction(2, vec![update(ITEMS, ["1", "c", UNSENT])])).await.map_err(failed)?;
    sink.record(LedgerEntry::Complete(ITEMS)).await.map_err(failed)?;
    let changes = vec![moved("1", ["5", "c", UNSENT]), moved("2", ["6", "b", UNSENT])];
    let applied = sink.apply(transaction(3, changes)).await.map_err(failed)?;
    reports(&applied, &["5"], "a partial update that takes a row away from a key that waits")?;
    drop(sink);
    let mut heals = saved(store).await?.heals;
    heals.sort();
    ensure(heals == [(ITEMS, heal("1")), (ITEMS, heal("5"))], "the heals are not remembered")
}

pub(super) async fn a_settled_key_waits_no_more<S: SinkUnderTest>(store: &S) -> Verdict {
    let mut sink = renewed(store).await?;
    sink.apply(transaction(2, vec![update(ITEMS, ["1", "c", UNSENT])])).await.map_err(failed)?;
    let kind = PlacedKind::Heal { keys: vec![heal("1")] };
    let rows = vec![row(["1", "c", "new"])];
    let chunk = placed(1, checkpoint(2), kind, rows);
    sink.place(chunk).await.map_err(failed)?;
    let applied =
        sink.apply(transaction(3, vec![update(ITEMS, ["1", "d", UNSENT])])).await.map_err(failed)?;
    reports(&applied, &["1"], "a partial update after the heal")?;
    sink.placed().await.map_err(failed)?;
    holds(store, ITEMS, &[["1", "d", "new"], ["2", "b", "y"]]).await?;
    let applied = sink.apply(transaction(4, vec![moved("1", ["7", "d", UNSENT])])).await.map_err(failed)?;
    reports(&applied, &["7"], "a heal that was reported after another was settled")?;
    drop(sink);
    let heals = saved(store).await?.heals;
    ensure(heals.contains(&(ITEMS, heal("1"))), "a heal is forgotten with an earlier one of its key")
}
