//! Ownership and entries: who may write, and what is remembered of units and routes.

use understudy_contract::{ChangeSink, Class, ColumnMarks, Failure, LedgerEntry, PlacedKind};
use understudy_model::{BlockRange, Ctid};

use super::*;

fn superseded<T>(result: Result<T, Failure>, what: &str) -> Verdict {
    let class = result.err().map(|failure| failure.class());
    ensure(class == Some(Class::Superseded), format!("{what} by a former owner ends as {class:?}"))
}

pub(super) async fn the_last_claim_owns_the_migration<S: SinkUnderTest>(store: &S) -> Verdict {
    let mut former = begun(store).await?;
    former.apply(transaction(1, vec![insert(ITEMS, ["1", "a", "x"])])).await.map_err(failed)?;
    let mut owner = store.connect().await;
    ensure(owner.claim().await.map_err(failed)?.is_some(), "nothing is saved")?;
    superseded(former.apply(transaction(2, vec![delete(ITEMS, &["1"])])).await, "a batch")?;
    owner.apply(transaction(2, vec![insert(ITEMS, ["2", "b", "y"])])).await.map_err(failed)?;
    holds(store, ITEMS, &[["1", "a", "x"], ["2", "b", "y"]]).await
}

pub(super) async fn entries_are_remembered<S: SinkUnderTest>(store: &S) -> Verdict {
    let mut sink = complete(store).await?;
    sink.record(LedgerEntry::Plan(unit(ITEMS))).await.map_err(failed)?;
    sink.record(LedgerEntry::Plan(unit(PLACES))).await.map_err(failed)?;
    let range = BlockRange { from: Ctid::start_of(0), to: Ctid::start_of(2) };
    let kind = PlacedKind::Copy { unit: unit(ITEMS).id, range };
    let chunk = placed(1, checkpoint(0), kind, Vec::new());
    sink.place(chunk).await.map_err(failed)?;
    sink.placed().await.map_err(failed)?;
    sink.record(LedgerEntry::Forget(unit(PLACES).id)).await.map_err(failed)?;
    sink.record(LedgerEntry::Complete(PLACES)).await.map_err(failed)?;
    drop(sink);
    let saved = saved(store).await?;
    let complete = |route| saved.routes.iter().any(|known| known.route == Some(route) && known.complete);
    ensure(!complete(ITEMS), "a route is complete although a unit of it is planned")?;
    ensure(complete(PLACES), "a completed route is not remembered")?;
    ensure(saved.units.len() == 1, format!("{} units are remembered instead of 1", saved.units.len()))?;
    let (known, expected) = (&saved.units[0], unit(ITEMS));
    let same = (known.id, known.route, known.filenode, known.fingerprint, known.blocks)
        == (expected.id, expected.route, expected.filenode, expected.fingerprint, expected.blocks);
    let same = same && known.marks == expected.marks;
    ensure(same && known.predicate == expected.predicate, "a unit is not remembered as planned")?;
    ensure(known.name == expected.name && known.done == [range], "a unit's name or ranges are lost")
}

pub(super) async fn entries_join_the_open_transaction<S: SinkUnderTest>(store: &S) -> Verdict {
    let mut sink = complete(store).await?;
    sink.apply(part(1, 0, vec![insert(ITEMS, ["1", "a", "x"])])).await.map_err(failed)?;
    sink.record(LedgerEntry::Plan(unit(ITEMS))).await.map_err(failed)?;
    drop(sink);
    ensure(saved(store).await?.units.is_empty(), "an entry outlives the transaction it belongs to")?;
    let mut sink = store.connect().await;
    sink.claim().await.map_err(failed)?;
    sink.apply(part(1, 0, vec![insert(ITEMS, ["1", "a", "x"])])).await.map_err(failed)?;
    sink.record(LedgerEntry::Plan(unit(ITEMS))).await.map_err(failed)?;
    let mut end = transaction(1, vec![insert(ITEMS, ["1", "b", "y"])]);
    end.first_ordinal = 1;
    let applied = sink.apply(end).await.map_err(failed)?;
    ensure(applied.mismatches == 0, "a planned route is strict within the transaction that planned it")?;
    drop(sink);
    ensure(saved(store).await?.units.len() == 1, "an entry is lost with its transaction committed")?;
    holds(store, ITEMS, &[["1", "b", "y"]]).await
}

pub(super) async fn a_unit_is_known_as_it_is_now<S: SinkUnderTest>(store: &S) -> Verdict {
    let mut sink = begun(store).await?;
    sink.record(LedgerEntry::Plan(unit(ITEMS))).await.map_err(failed)?;
    let range = BlockRange { from: Ctid::start_of(0), to: Ctid::start_of(2) };
    let kind = PlacedKind::Copy { unit: unit(ITEMS).id, range };
    let rows = vec![row(["1", "a", "x"])];
    let chunk = placed(1, checkpoint(0), kind, rows);
    sink.place(chunk).await.map_err(failed)?;
    sink.record(LedgerEntry::Complete(ITEMS)).await.map_err(failed)?;
    let name = TableName::new("archive", "renamed");
    let marks = Some(ColumnMarks { places: 1, written: u64::MAX, keys: 2 });
    let now = Unit {
        name,
        filenode: 77,
        fingerprint: 5,
        marks,
        predicate: None,
        blocks: 1,
        membership: 8,
        ..unit(ITEMS)
    };
    sink.record(LedgerEntry::Refresh(now.clone())).await.map_err(failed)?;
    drop(sink);
    let saved = saved(store).await?;
    ensure(saved.routes.iter().any(|known| known.complete), "a copy is begun again by what is only noted")?;
    let known = &saved.units[0];
    let same = (&known.name, known.filenode, known.fingerprint, known.marks) == (&now.name, 77, 5, marks);
    ensure(same && known.membership == 8 && known.predicate.is_none(), "a unit is not known as it is now")?;
    let kept = (known.blocks, known.rows_done) == (unit(ITEMS).blocks, 1) && known.done == [range];
    ensure(kept, "what is done of a unit is lost")?;
    let mut sink = store.connect().await;
    sink.claim().await.map_err(failed)?;
    sink.record(LedgerEntry::Plan(Unit { marks: None, ..unit(ITEMS) })).await.map_err(failed)?;
    drop(sink);
    let known = crate::suite::saved(store).await?.units.swap_remove(0);
    ensure(known.marks.is_none(), "marks of a unit are made up")
}
