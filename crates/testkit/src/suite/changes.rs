//! Changes: before a route is complete, after it is, and in what order.

use understudy_contract::ChangeSink;
use understudy_model::RowChange;

use super::*;

pub(super) async fn before_completion_changes_upsert<S: SinkUnderTest>(store: &S) -> Verdict {
    let mut sink = begun(store).await?;
    sink.apply(transaction(1, vec![insert(ITEMS, ["1", "a", "x"])])).await.map_err(failed)?;
    let changes = vec![
        insert(ITEMS, ["1", "b", "y"]),
        update(ITEMS, ["2", "c", "z"]),
        delete(ITEMS, &["3"]),
        update(PLACES, ["4", "east", "d"]),
    ];
    let applied = sink.apply(transaction(2, changes)).await.map_err(failed)?;
    ensure(applied.mismatches == 0 && applied.heals.is_empty(), "a route that is not complete was strict")?;
    holds(store, ITEMS, &[["1", "b", "y"], ["2", "c", "z"]]).await?;
    holds(store, PLACES, &[["4", "east", "d"]]).await
}

pub(super) async fn partial_rows_that_are_missing_are_reported<S: SinkUnderTest>(store: &S) -> Verdict {
    let mut sink = begun(store).await?;
    let changes = vec![insert(ITEMS, ["2", "b", "y"]), update(ITEMS, ["1", "a", UNSENT])];
    let applied = sink.apply(transaction(1, changes)).await.map_err(failed)?;
    ensure(applied.heals == [(ITEMS, heal("1"))], "the row to be healed is not reported")?;
    ensure(applied.mismatches == 0, "a heal before completion is no mismatch")?;
    holds(store, ITEMS, &[["2", "b", "y"]]).await?;
    let changes = vec![moved("8", ["9", "a", UNSENT])];
    let applied = sink.apply(transaction(2, changes)).await.map_err(failed)?;
    ensure(applied.heals == [(ITEMS, heal("9"))], "the new key of a moved row is not reported")?;
    drop(sink);
    let mut heals = saved(store).await?.heals;
    heals.sort();
    ensure(heals == [(ITEMS, heal("1")), (ITEMS, heal("9"))], "the heals are not remembered")
}

pub(super) async fn after_completion_surprises_are_counted_and_mended<S: SinkUnderTest>(
    store: &S,
) -> Verdict {
    let mut sink = complete(store).await?;
    let start = vec![insert(ITEMS, ["1", "a", "x"]), insert(ITEMS, ["2", "b", "y"])];
    let applied = sink.apply(transaction(1, start)).await.map_err(failed)?;
    ensure(applied.mismatches == 0, "changes that fit are counted as mismatches")?;
    let changes = vec![
        insert(ITEMS, ["1", "c", "z"]),
        update(ITEMS, ["3", "d", "w"]),
        delete(ITEMS, &["4"]),
        update(ITEMS, ["2", "e", UNSENT]),
    ];
    let applied = sink.apply(transaction(2, changes)).await.map_err(failed)?;
    ensure(applied.mismatches == 3, format!("{} mismatches are counted instead of 3", applied.mismatches))?;
    holds(store, ITEMS, &[["1", "c", "z"], ["2", "e", "y"], ["3", "d", "w"]]).await
}

pub(super) async fn changes_take_effect_in_order<S: SinkUnderTest>(store: &S) -> Verdict {
    let mut sink = complete(store).await?;
    let changes = vec![
        insert(ITEMS, ["1", "a", "x"]),
        update(ITEMS, ["1", "b", UNSENT]),
        insert(PLACES, ["1", "east", "a"]),
        delete(ITEMS, &["1"]),
        insert(ITEMS, ["1", "c", "y"]),
        insert(ITEMS, ["2", "c", "y"]),
        update(ITEMS, ["1", UNSENT, "z"]),
        delete(ITEMS, &["2"]),
    ];
    let applied = sink.apply(transaction(1, changes)).await.map_err(failed)?;
    ensure(applied.mismatches == 0 && applied.heals.is_empty(), "changes in order do not fit")?;
    holds(store, ITEMS, &[["1", "c", "z"]]).await?;
    holds(store, PLACES, &[["1", "east", "a"]]).await
}

pub(super) async fn keys_move_with_what_was_not_sent<S: SinkUnderTest>(store: &S) -> Verdict {
    let mut sink = complete(store).await?;
    let changes = vec![
        insert(ITEMS, ["1", "a", "x"]),
        insert(ITEMS, ["2", "b", "y"]),
        moved("1", ["3", "a", UNSENT]),
        moved("2", ["1", UNSENT, UNSENT]),
        moved("3", ["2", "c", UNSENT]),
    ];
    let applied = sink.apply(transaction(1, changes)).await.map_err(failed)?;
    ensure(applied.mismatches == 0 && applied.heals.is_empty(), "moved rows do not fit")?;
    holds(store, ITEMS, &[["1", "b", "y"], ["2", "c", "x"]]).await
}

pub(super) async fn truncation_empties_routes_and_leaves<S: SinkUnderTest>(store: &S) -> Verdict {
    let mut sink = complete(store).await?;
    let changes = vec![
        insert(ITEMS, ["1", "a", "x"]),
        insert(PLACES, ["1", "east", "a"]),
        insert(PLACES, ["1", "west", "b"]),
        RowChange::TruncateLeaf { route: PLACES, predicate: "(region = 'east')".to_owned() },
        RowChange::Truncate { routes: vec![ITEMS] },
        insert(ITEMS, ["2", "b", "y"]),
    ];
    let applied = sink.apply(transaction(1, changes)).await.map_err(failed)?;
    ensure(applied.mismatches == 0, "a truncation is counted as a mismatch")?;
    holds(store, ITEMS, &[["2", "b", "y"]]).await?;
    holds(store, PLACES, &[["1", "west", "b"]]).await?;
    let both = vec![RowChange::Truncate { routes: vec![ITEMS, PLACES] }];
    sink.apply(transaction(2, both)).await.map_err(failed)?;
    holds(store, ITEMS, &[]).await?;
    holds(store, PLACES, &[]).await
}
