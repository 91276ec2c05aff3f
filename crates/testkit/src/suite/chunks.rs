//! Placed chunks: what is committed with them, and where among the changes they take effect.

use understudy_contract::{ChangeSink, LedgerEntry, PlacedChunk, PlacedKind};
use understudy_model::{BlockRange, Ctid};

use super::*;

fn blocks(from: u32, to: u32) -> BlockRange {
    BlockRange { from: Ctid::start_of(from), to: Ctid::start_of(to) }
}

fn copy(id: u64, at: u64, range: BlockRange, rows: &[[&str; 3]]) -> PlacedChunk {
    let kind = PlacedKind::Copy { unit: unit(ITEMS).id, range };
    let rows = rows.iter().map(|values| row(*values)).collect();
    placed(id, checkpoint(at), kind, rows)
}

async fn planned<S: SinkUnderTest>(store: &S) -> Result<S::Sink, String> {
    let mut sink = begun(store).await?;
    sink.record(LedgerEntry::Plan(unit(ITEMS))).await.map_err(failed)?;
    Ok(sink)
}

pub(super) async fn rows_are_written_with_the_range_that_is_done<S: SinkUnderTest>(store: &S) -> Verdict {
    let mut sink = planned(store).await?;
    sink.apply(transaction(1, vec![insert(ITEMS, ["1", "a", "x"])])).await.map_err(failed)?;
    sink.place(copy(5, 1, blocks(0, 3), &[["1", "b", "y"], ["2", "c", "z"]])).await.map_err(failed)?;
    sink.place(copy(6, 1, blocks(3, 6), &[])).await.map_err(failed)?;
    let mut done = [sink.placed().await.map_err(failed)?, sink.placed().await.map_err(failed)?];
    done.sort_by_key(|done| done.id);
    let rows = done.iter().map(|done| (done.id.0, done.rows)).collect::<Vec<_>>();
    ensure(rows == [(5, 2), (6, 0)], format!("finished chunks are reported as {rows:?}"))?;
    holds(store, ITEMS, &[["1", "b", "y"], ["2", "c", "z"]]).await?;
    drop(sink);
    let units = saved(store).await?.units;
    ensure(units.iter().map(|unit| unit.rows_done).sum::<u64>() == 2, "the rows written are not remembered")?;
    let mut done = units.into_iter().flat_map(|unit| unit.done).collect::<Vec<_>>();
    done.sort_by_key(|range| range.from);
    ensure(done == [blocks(0, 3), blocks(3, 6)], "the ranges that are done are not remembered")
}

pub(super) async fn healed_rows_settle_their_heals<S: SinkUnderTest>(store: &S) -> Verdict {
    let mut sink = planned(store).await?;
    let partial = ["1", "2", "3"].map(|id| update(ITEMS, [id, "a", UNSENT])).to_vec();
    sink.apply(transaction(1, partial)).await.map_err(failed)?;
    let kind = PlacedKind::Heal { keys: vec![heal("1"), heal("2")] };
    let rows = vec![row(["1", "a", "x"])];
    let chunk = placed(1, checkpoint(1), kind, rows);
    sink.place(chunk).await.map_err(failed)?;
    sink.placed().await.map_err(failed)?;
    holds(store, ITEMS, &[["1", "a", "x"]]).await?;
    drop(sink);
    ensure(saved(store).await?.heals == [(ITEMS, heal("3"))], "the settled heals are still pending")
}

pub(super) async fn later_changes_win_over_a_chunk<S: SinkUnderTest>(store: &S) -> Verdict {
    let mut sink = planned(store).await?;
    sink.apply(transaction(1, Vec::new())).await.map_err(failed)?;
    sink.place(copy(1, 1, blocks(0, 1), &[["1", "old", "x"], ["2", "old", "y"]])).await.map_err(failed)?;
    let changes = vec![update(ITEMS, ["1", "new", UNSENT]), delete(ITEMS, &["2"])];
    let applied = sink.apply(transaction(2, changes)).await.map_err(failed)?;
    ensure(applied.heals.is_empty(), "a change does not find the row of a chunk before it")?;
    sink.placed().await.map_err(failed)?;
    holds(store, ITEMS, &[["1", "new", "x"]]).await
}

pub(super) async fn a_chunk_belongs_at_its_checkpoint<S: SinkUnderTest>(store: &S) -> Verdict {
    let mut sink = planned(store).await?;
    sink.apply(transaction(2, Vec::new())).await.map_err(failed)?;
    let early = sink.place(copy(1, 1, blocks(0, 1), &[["1", "a", "x"]])).await;
    ensure(early.is_err(), "a chunk of an earlier checkpoint is taken")?;
    holds(store, ITEMS, &[]).await
}

pub(super) async fn entries_wait_for_chunks<S: SinkUnderTest>(store: &S) -> Verdict {
    let mut sink = planned(store).await?;
    sink.place(copy(1, 0, blocks(0, 3), &[["1", "a", "x"]])).await.map_err(failed)?;
    sink.record(LedgerEntry::Plan(unit(ITEMS))).await.map_err(failed)?;
    sink.placed().await.map_err(failed)?;
    holds(store, ITEMS, &[["1", "a", "x"]]).await?;
    drop(sink);
    let done = saved(store).await?.units.into_iter().flat_map(|unit| unit.done).count();
    ensure(done == 0, "a chunk of an earlier plan counts towards the new one")
}
