//! What routes with a condition, with computed values or with another key ask of green, and routes that share a table.

use understudy_contract::{Applied, ChangeSink, Class, LedgerEntry, PlacedChunk, PlacedKind};
use understudy_model::{Before, BlockRange, ChunkId, Ctid, HealKey, Refusal, RowChange};

use super::*;

/// A change of which nobody knows whether its row was on green.
fn unknown(change: RowChange) -> RowChange {
    match change {
        RowChange::Update { route, old_key, new, blue_key, .. } => {
            RowChange::Update { route, old_key, new, blue_key, before: Before::Unknown }
        }
        RowChange::Delete { route, key, .. } => RowChange::Delete { route, key, before: Before::Unknown },
        other => other,
    }
}

pub(super) fn refusal() -> Refusal {
    Refusal {
        column: Some("n".to_owned()),
        sqlstate: "22P02".to_owned(),
        reason: "invalid input syntax for type integer".to_owned(),
    }
}

pub(super) fn refused(old: Option<&str>, text: &str) -> RowChange {
    let old_key = old.map(|old| key(&[old]));
    RowChange::Refused { route: ITEMS, old_key, key: key(&[text]), refusal: Box::new(refusal()) }
}

/// Nothing is amiss, and these rows of `items` are reported.
fn fits(applied: &Applied, heals: &[HealKey], what: &str) -> Verdict {
    let expected = heals.iter().map(|key| (ITEMS, key.clone())).collect::<Vec<_>>();
    ensure(applied.heals == expected, format!("{what}: {} rows are reported", applied.heals.len()))?;
    ensure(applied.mismatches == 0, format!("{what} counts as a mismatch"))
}

pub(super) async fn rows_of_unknown_past_are_taken_as_they_come<S: SinkUnderTest>(store: &S) -> Verdict {
    let mut sink = complete(store).await?;
    let start = vec![insert(ITEMS, ["1", "a", "x"]), insert(ITEMS, ["4", "d", "w"])];
    sink.apply(transaction(1, start)).await.map_err(failed)?;
    let changes = vec![
        unknown(update(ITEMS, ["1", "b", "y"])),
        unknown(update(ITEMS, ["2", "c", "z"])),
        unknown(delete(ITEMS, &["3"])),
        unknown(delete(ITEMS, &["4"])),
        unknown(moved("5", ["6", "e", "v"])),
        unknown(moved("1", ["7", "f", "u"])),
    ];
    let applied = sink.apply(transaction(2, changes)).await.map_err(failed)?;
    fits(&applied, &[], "a row that may be there or not")?;
    holds(store, ITEMS, &[["2", "c", "z"], ["6", "e", "v"], ["7", "f", "u"]]).await
}

pub(super) async fn partial_rows_of_unknown_past_are_read_again<S: SinkUnderTest>(store: &S) -> Verdict {
    let mut sink = complete(store).await?;
    sink.apply(transaction(1, vec![insert(ITEMS, ["1", "a", "x"])])).await.map_err(failed)?;
    let changes = vec![
        unknown(update(ITEMS, ["1", "b", UNSENT])),
        unknown(update(ITEMS, ["2", "c", UNSENT])),
        unknown(moved("8", ["9", "d", UNSENT])),
    ];
    let applied = sink.apply(transaction(2, changes)).await.map_err(failed)?;
    fits(&applied, &[heal("2"), heal("9")], "a part of a row that may be there or not")?;
    holds(store, ITEMS, &[["1", "b", "x"]]).await
}

pub(super) async fn what_is_known_to_be_there_is_expected_again<S: SinkUnderTest>(store: &S) -> Verdict {
    let mut sink = complete(store).await?;
    let changes = vec![unknown(update(ITEMS, ["1", "a", "x"])), unknown(delete(ITEMS, &["2"]))];
    let applied = sink.apply(transaction(1, changes)).await.map_err(failed)?;
    fits(&applied, &[], "a row that may be there or not")?;
    let changes = vec![update(ITEMS, ["3", "b", "y"]), delete(ITEMS, &["4"]), insert(ITEMS, ["1", "c", "z"])];
    let applied = sink.apply(transaction(2, changes)).await.map_err(failed)?;
    ensure(applied.mismatches == 3, format!("{} mismatches are counted instead of 3", applied.mismatches))?;
    holds(store, ITEMS, &[["1", "c", "z"], ["3", "b", "y"]]).await
}

pub(super) async fn rows_to_be_read_again_are_left_alone<S: SinkUnderTest>(store: &S) -> Verdict {
    let mut sink = complete(store).await?;
    let reread = |text: &str| RowChange::Reread { route: ITEMS, key: heal(text) };
    let changes = vec![insert(ITEMS, ["1", "a", "x"]), reread("1"), reread("2"), reread("1")];
    let applied = sink.apply(transaction(1, changes)).await.map_err(failed)?;
    fits(&applied, &[heal("1"), heal("2")], "rows to be read again")?;
    let applied = sink.apply(transaction(2, vec![reread("2")])).await.map_err(failed)?;
    fits(&applied, &[], "a row that waits already")?;
    holds(store, ITEMS, &[["1", "a", "x"]]).await?;
    let kind = PlacedKind::Heal { keys: vec![heal("1"), heal("2")] };
    let rows = vec![row(["2", "b", "y"])];
    sink.place(PlacedChunk { left_out: vec![key(&["1"])], ..placed(1, checkpoint(2), kind, rows) })
        .await
        .map_err(failed)?;
    sink.placed().await.map_err(failed)?;
    holds(store, ITEMS, &[["2", "b", "y"]]).await?;
    let applied = sink.apply(transaction(3, vec![reread("2")])).await.map_err(failed)?;
    fits(&applied, &[heal("2")], "a row that waits no more")?;
    drop(sink);
    ensure(saved(store).await?.heals == [(ITEMS, heal("2"))], "the heals are not remembered")
}

/// By its policy a sink sets rows aside or stops.
pub(super) async fn rows_that_cannot_be_computed_are_set_aside_or_stop_the_run<S: SinkUnderTest>(
    store: &S,
) -> Verdict {
    let mut sink = complete(store).await?;
    let start = vec![insert(ITEMS, ["1", "a", "x"]), insert(ITEMS, ["2", "b", "y"])];
    sink.apply(transaction(1, start)).await.map_err(failed)?;
    let changes = vec![refused(None, "1"), refused(Some("2"), "3"), update(ITEMS, ["1", "c", "z"])];
    match sink.apply(transaction(2, changes)).await {
        Ok(applied) => {
            fits(&applied, &[], "a row that cannot be computed")?;
            ensure(applied.quarantined == 3, format!("{} changes are set aside", applied.quarantined))?;
            ensure(sink.aside() == 3, format!("{} rows are aside", sink.aside()))?;
        }
        Err(failure) => {
            ensure(failure.class() == Class::Data, format!("it ends as {:?}", failure.class()))?;
            let text = failure.to_string();
            ensure(
                text.contains("22P02") && text.contains('n'),
                "the failure names neither state nor column",
            )?;
            drop(sink);
            ensure(saved(store).await?.checkpoint == checkpoint(1), "a part of it is committed")?;
        }
    }
    holds(store, ITEMS, &[["1", "a", "x"], ["2", "b", "y"]]).await
}

pub(super) async fn chunks_with_rows_that_cannot_be_computed_are_set_aside_or_stop_the_run<
    S: SinkUnderTest,
>(
    store: &S,
) -> Verdict {
    let mut sink = begun(store).await?;
    sink.record(LedgerEntry::Plan(unit(ITEMS))).await.map_err(failed)?;
    let range = BlockRange { from: Ctid::start_of(0), to: Ctid::start_of(2) };
    let kind = PlacedKind::Copy { unit: unit(ITEMS).id, range };
    let chunk = placed(1, checkpoint(0), kind, vec![row(["1", "a", "x"])]);
    sink.place(PlacedChunk { refused: vec![(key(&["2"]), refusal())], ..chunk }).await.map_err(failed)?;
    match sink.placed().await {
        Ok(done) => {
            ensure(done.rows == 1, format!("{} rows are said to be written", done.rows))?;
            let later = vec![update(ITEMS, ["2", "b", "y"])];
            let applied = sink.apply(transaction(1, later)).await.map_err(failed)?;
            ensure(applied.quarantined == 1, "a change of a row that is set aside is not")?;
            holds(store, ITEMS, &[["1", "a", "x"]]).await
        }
        Err(failure) => {
            ensure(failure.class() == Class::Data, format!("it ends as {:?}", failure.class()))?;
            holds(store, ITEMS, &[]).await
        }
    }
}

pub(super) async fn a_heal_removes_what_is_left_out<S: SinkUnderTest>(store: &S) -> Verdict {
    let mut sink = complete(store).await?;
    let changes = vec![
        insert(ITEMS, ["1", "a", "x"]),
        insert(ITEMS, ["2", "b", "y"]),
        RowChange::Reread { route: ITEMS, key: heal("1") },
        RowChange::Reread { route: ITEMS, key: heal("3") },
    ];
    sink.apply(transaction(1, changes)).await.map_err(failed)?;
    let kind = PlacedKind::Heal { keys: vec![heal("1"), heal("3")] };
    let left_out = vec![key(&["1"]), key(&["3"])];
    sink.place(PlacedChunk { left_out, ..placed(1, checkpoint(1), kind, Vec::new()) })
        .await
        .map_err(failed)?;
    let applied = sink.apply(transaction(2, vec![insert(ITEMS, ["1", "c", "z"])])).await.map_err(failed)?;
    fits(&applied, &[], "a row that comes after it was left out")?;
    sink.placed().await.map_err(failed)?;
    holds(store, ITEMS, &[["1", "c", "z"], ["2", "b", "y"]]).await?;
    drop(sink);
    ensure(saved(store).await?.heals.is_empty(), "the settled heals are still pending")
}

/// A repair: a row that blue does not have goes, with what was set aside of it; one that was changed or removed is as on
/// blue again. Rows of other keys stay.
pub(super) async fn a_heal_mends_what_somebody_else_did<S: SinkUnderTest>(store: &S) -> Verdict {
    let mut sink = complete(store).await?;
    let rows = [["1", "extra", "x"], ["2", "wrong", "y"], ["4", "d", "w"]];
    sink.apply(transaction(1, rows.map(|row| insert(ITEMS, row)).to_vec())).await.map_err(failed)?;
    let asides = sink.apply(transaction(2, vec![refused(None, "1")])).await.is_ok();
    if !asides {
        sink = store.connect().await;
        sink.claim().await.map_err(failed)?;
    }
    let rereads = ["1", "2", "3"].map(|text| RowChange::Reread { route: ITEMS, key: heal(text) });
    let applied = sink.apply(transaction(3, rereads.to_vec())).await.map_err(failed)?;
    fits(&applied, &[heal("1"), heal("2"), heal("3")], "rows to be read again")?;
    let kind = PlacedKind::Heal { keys: vec![heal("1"), heal("2"), heal("3")] };
    let rows = vec![row(["2", "b", "y"]), row(["3", "c", "z"])];
    sink.place(PlacedChunk { left_out: vec![key(&["1"])], ..placed(1, checkpoint(3), kind, rows) })
        .await
        .map_err(failed)?;
    sink.placed().await.map_err(failed)?;
    holds(store, ITEMS, &[["2", "b", "y"], ["3", "c", "z"], ["4", "d", "w"]]).await?;
    let applied = sink.apply(transaction(4, vec![insert(ITEMS, ["1", "a", "x"])])).await.map_err(failed)?;
    fits(&applied, &[], "a row that comes after its key was mended")?;
    ensure(applied.quarantined == 0, "a change is set aside of a row that was mended")?;
    holds(store, ITEMS, &[["1", "a", "x"], ["2", "b", "y"], ["3", "c", "z"], ["4", "d", "w"]]).await
}

pub(super) async fn a_copy_removes_what_is_left_out_only_over_rows<S: SinkUnderTest>(store: &S) -> Verdict {
    let mut sink = complete(store).await?;
    let rows = vec![insert(ITEMS, ["1", "a", "x"]), insert(ITEMS, ["2", "b", "y"])];
    sink.apply(transaction(1, rows)).await.map_err(failed)?;
    sink.record(LedgerEntry::Plan(unit(ITEMS))).await.map_err(failed)?;
    let range = BlockRange { from: Ctid::start_of(0), to: Ctid::start_of(2) };
    let kind = PlacedKind::Copy { unit: unit(ITEMS).id, range };
    let chunk = placed(1, checkpoint(1), kind, vec![row(["2", "c", "z"])]);
    let left_out = vec![key(&["1"]), key(&["4"])];
    sink.place(PlacedChunk { left_out, ..chunk }).await.map_err(failed)?;
    ensure(sink.placed().await.map_err(failed)?.rows == 1, "rows that are left out count as written")?;
    holds(store, ITEMS, &[["2", "c", "z"]]).await
}

pub(super) async fn heals_have_a_key_on_each_side<S: SinkUnderTest>(store: &S) -> Verdict {
    let mut sink = begun(store).await?;
    let named = |green: &str, blue: &[&str]| HealKey { green: key(&[green]), blue: key(blue) };
    let partial = |green: &str, blue: &[&str]| {
        let change = update(ITEMS, [green, "a", UNSENT]);
        let RowChange::Update { route, old_key, new, before, .. } = change else { return change };
        RowChange::Update { route, old_key, new, blue_key: Some(key(blue)), before }
    };
    let reread = |key: HealKey| RowChange::Reread { route: ITEMS, key };
    let (one, two) = (named("k1", &["1", "east"]), named("k2", &["2", "west"]));
    let changes = vec![partial("k1", &["1", "east"]), reread(one.clone()), reread(two.clone())];
    let applied = sink.apply(transaction(1, changes)).await.map_err(failed)?;
    fits(&applied, &[one.clone(), two.clone()], "rows with another key on blue")?;
    drop(sink);
    let mut heals = saved(store).await?.heals;
    heals.sort();
    ensure(heals == [(ITEMS, one.clone()), (ITEMS, two.clone())], "the keys on blue are not remembered")?;
    let mut sink = store.connect().await;
    sink.claim().await.map_err(failed)?;
    let kind = PlacedKind::Heal { keys: vec![one] };
    let rows = vec![row(["k1", "a", "x"])];
    sink.place(placed(1, checkpoint(1), kind, rows)).await.map_err(failed)?;
    sink.placed().await.map_err(failed)?;
    holds(store, ITEMS, &[["k1", "a", "x"]]).await?;
    drop(sink);
    ensure(saved(store).await?.heals == [(ITEMS, two)], "another heal is settled than was read")
}

pub(super) async fn routes_share_a_table<S: SinkUnderTest>(store: &S) -> Verdict {
    let mut sink = complete(store).await?;
    let changes = vec![
        insert(ONES, ["ones", "1", "east"]),
        insert(TWOS, ["twos", "1", "west"]),
        insert(TWOS, ["twos", "2", "west"]),
        update(ONES, ["ones", "1", "north"]),
        delete(TWOS, &["twos", "1"]),
    ];
    let applied = sink.apply(transaction(1, changes)).await.map_err(failed)?;
    ensure(applied.mismatches == 0 && applied.heals.is_empty(), "routes are in each other's way")?;
    holds(store, ONES, &[["ones", "1", "north"]]).await?;
    holds(store, TWOS, &[["twos", "2", "west"]]).await?;
    sink.record(LedgerEntry::Plan(unit(TWOS))).await.map_err(failed)?;
    let range = BlockRange { from: Ctid::start_of(0), to: Ctid::start_of(2) };
    let kind = PlacedKind::Copy { unit: unit(TWOS).id, range };
    let rows = vec![row(["twos", "1", "south"]), row(["twos", "2", "south"])];
    let (left_out, refused) = (Vec::new(), Vec::new());
    let chunk = PlacedChunk { id: ChunkId(1), route: TWOS, at: checkpoint(1), kind, rows, left_out, refused };
    sink.place(chunk).await.map_err(failed)?;
    sink.placed().await.map_err(failed)?;
    holds(store, ONES, &[["ones", "1", "north"]]).await?;
    holds(store, TWOS, &[["twos", "1", "south"], ["twos", "2", "south"]]).await
}

pub(super) async fn a_shared_table_loses_one_routes_rows<S: SinkUnderTest>(store: &S) -> Verdict {
    let mut sink = complete(store).await?;
    let changes = vec![
        insert(ONES, ["ones", "1", "east"]),
        insert(ONES, ["ones", "2", "west"]),
        insert(TWOS, ["twos", "1", "east"]),
        insert(TWOS, ["twos", "2", "west"]),
        RowChange::TruncateLeaf { route: ONES, predicate: "(region = 'east')".to_owned() },
    ];
    sink.apply(transaction(1, changes)).await.map_err(failed)?;
    holds(store, ONES, &[["ones", "2", "west"]]).await?;
    holds(store, TWOS, &[["twos", "1", "east"], ["twos", "2", "west"]]).await?;
    let changes = vec![RowChange::Truncate { routes: vec![TWOS] }, insert(TWOS, ["twos", "3", "east"])];
    let applied = sink.apply(transaction(2, changes)).await.map_err(failed)?;
    ensure(applied.mismatches == 0, "a truncation is counted as a mismatch")?;
    holds(store, ONES, &[["ones", "2", "west"]]).await?;
    holds(store, TWOS, &[["twos", "3", "east"]]).await
}
