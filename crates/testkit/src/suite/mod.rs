//! The sentences of [`ChangeSink`], as cases that run against any implementation: the in-memory one and real ones.
//!
//! An implementation gives a fresh store for each case, with the tables of [`suite_tables`] empty in it, and reads rows
//! back in its own way.

mod aside;
mod changes;
mod chunks;
mod ledger;
mod owners;
mod progress;
mod renewal;
mod routes;

#[cfg(test)]
mod tests;

pub use ledger::{LedgerUnderTest, run_ledger_suite};

use std::collections::BTreeMap;
use std::fmt::Display;
use std::future::Future;

use understudy_contract::{
    Batch, ChangeSink, ColumnMarks, Cursor, Failure, GreenTable, LedgerEntry, Lineage, PlacedChunk,
    PlacedKind, Saved, Unit,
};
use understudy_model::{
    Before, Checkpoint, ChunkId, CommitMark, HealKey, Key, Lsn, Position, ReplicaIdentity, RouteId,
    RowChange, TableName, Tuple, TupleBuilder, UnitId, Value, Xid,
};

/// The rows of a route by key: for each column its text, or null.
pub type SuiteRows = BTreeMap<Key, Vec<Option<Vec<u8>>>>;

/// A store, and the ways in which a case uses it.
pub trait SinkUnderTest {
    /// The implementation.
    type Sink: ChangeSink + 'static;

    /// Whether rows become visible together with the commit that they belong to. Where they do not, those of a transaction that
    /// is not committed may be there already, and are right once it has been applied again.
    const IS_ATOMIC: bool = true;

    /// Whether something that is committed is durable only a while later.
    const PERSISTS_LATER: bool = true;

    /// A new instance over the store, which has claimed nothing yet.
    fn connect(&self) -> impl Future<Output = Self::Sink>;

    /// The committed rows of a route.
    fn rows(&self, route: RouteId) -> impl Future<Output = SuiteRows>;
}

/// How a case ends when the sentence is not kept.
pub(crate) type Verdict = Result<(), String>;

/// Runs every case, each on a store that `make` creates under the case's name, and says which sentence is not kept.
pub async fn run_sink_suite<S, F>(make: impl Fn(&'static str) -> F) -> Result<(), String>
where
    S: SinkUnderTest,
    F: Future<Output = S>,
{
    macro_rules! cases {
        ($($module:ident :: $case:ident),* $(,)?) => {$(
            let store = make(stringify!($case)).await;
            $module::$case(&store).await.map_err(|why| format!("{}: {why}", stringify!($case)))?;
        )*};
    }
    cases![
        progress::what_was_saved_is_claimed,
        progress::rows_and_progress_are_committed_together,
        progress::a_part_of_a_transaction_waits_for_its_end,
        progress::what_was_not_committed_is_forgotten,
        progress::the_place_in_a_log_is_committed_with_the_checkpoint,
        progress::persist_names_what_is_applied,
        progress::changes_are_applied_while_persisting,
        progress::persists_follow_each_other,
        changes::before_completion_changes_upsert,
        changes::partial_rows_that_are_missing_are_reported,
        changes::after_completion_surprises_are_counted_and_mended,
        changes::changes_take_effect_in_order,
        changes::keys_move_with_what_was_not_sent,
        changes::truncation_empties_routes_and_leaves,
        chunks::rows_are_written_with_the_range_that_is_done,
        chunks::healed_rows_settle_their_heals,
        chunks::later_changes_win_over_a_chunk,
        chunks::a_chunk_belongs_at_its_checkpoint,
        chunks::entries_wait_for_chunks,
        routes::rows_of_unknown_past_are_taken_as_they_come,
        routes::partial_rows_of_unknown_past_are_read_again,
        routes::what_is_known_to_be_there_is_expected_again,
        routes::rows_to_be_read_again_are_left_alone,
        routes::rows_that_cannot_be_computed_are_set_aside_or_stop_the_run,
        routes::chunks_with_rows_that_cannot_be_computed_are_set_aside_or_stop_the_run,
        aside::rows_that_are_aside_count_until_chunks_settle_them,
        aside::rows_that_are_aside_count_until_their_table_is_emptied,
        routes::a_heal_removes_what_is_left_out,
        routes::a_heal_mends_what_somebody_else_did,
        routes::a_copy_removes_what_is_left_out_only_over_rows,
        routes::heals_have_a_key_on_each_side,
        routes::routes_share_a_table,
        routes::a_shared_table_loses_one_routes_rows,
        renewal::partial_rows_of_a_new_copy_are_reported,
        renewal::rows_of_unknown_origin_are_out_of_date,
        renewal::a_file_written_anew_puts_rows_out_of_date,
        renewal::columns_added_again_put_rows_out_of_date,
        renewal::a_heal_goes_with_its_row,
        renewal::a_settled_key_waits_no_more,
        owners::the_last_claim_owns_the_migration,
        owners::entries_are_remembered,
        owners::entries_join_the_open_transaction,
        owners::a_unit_is_known_as_it_is_now,
    ];
    Ok(())
}

/// The tables that routes fill: `items` with a key of one column, `places` with a key of two and leaves by `region`, and
/// `merged`, which two routes fill that `origin` tells apart; one of them takes only rows that meet a condition.
pub fn suite_tables() -> Vec<GreenTable> {
    let table = |route: u16, name: &str, columns: [&str; 3], key: &[usize]| GreenTable {
        route: RouteId(route),
        source: TableName::new("public", name),
        name: TableName::new("public", name),
        columns: columns.map(str::to_owned).to_vec(),
        source_columns: columns.map(|column| Some(column.to_owned())).to_vec(),
        key: key.to_vec(),
        filtered: false,
        predicate: None,
        fingerprint: "as it is".to_owned(),
    };
    let one_of = |route: u16, origin: &str| {
        let table = table(route, "merged", ["origin", "id", "region"], &[0, 1]);
        GreenTable {
            source: TableName::new("public", origin),
            source_columns: vec![None, Some("id".to_owned()), Some("region".to_owned())],
            filtered: origin == "ones",
            predicate: Some(format!("(\"origin\" = '{origin}')")),
            ..table
        }
    };
    vec![
        table(0, "items", ["id", "n", "doc"], &[0]),
        table(1, "places", ["id", "region", "n"], &[0, 1]),
        one_of(2, "ones"),
        one_of(3, "twos"),
    ]
}

/// SQL that creates the tables of [`suite_tables`].
pub const SUITE_SQL: &str = "CREATE TABLE public.items (id text PRIMARY KEY, n text, doc text); \
                             CREATE TABLE public.places (id text, region text, n text, PRIMARY KEY (id, region)); \
                             CREATE TABLE public.merged (origin text, id text, region text, PRIMARY KEY (origin, id))";

pub(crate) const ITEMS: RouteId = RouteId(0);
pub(crate) const PLACES: RouteId = RouteId(1);
pub(crate) const ONES: RouteId = RouteId(2);
pub(crate) const TWOS: RouteId = RouteId(3);

/// Stands for a value that was not sent.
pub(crate) const UNSENT: &str = "(unsent)";

/// Fails a case unless something holds.
pub(crate) fn ensure(holds: bool, otherwise: impl Display) -> Verdict {
    if holds { Ok(()) } else { Err(otherwise.to_string()) }
}

/// A failure of the sink where none may happen.
pub(crate) fn failed(failure: Failure) -> String {
    failure.to_string()
}

pub(crate) fn row(values: [&str; 3]) -> Tuple {
    let mut row = TupleBuilder::default();
    for value in values {
        row.push(&if value == UNSENT { Value::Unchanged } else { Value::Text(value.as_bytes().into()) });
    }
    row.finish()
}

pub(crate) fn key(texts: &[&str]) -> Key {
    Key::from_texts(texts.iter().map(|text| text.as_bytes()))
}

pub(crate) fn insert(route: RouteId, values: [&str; 3]) -> RowChange {
    RowChange::Insert { route, new: row(values) }
}

pub(crate) fn update(route: RouteId, values: [&str; 3]) -> RowChange {
    RowChange::Update { route, old_key: None, new: row(values), blue_key: None, before: Before::There }
}

pub(crate) fn delete(route: RouteId, texts: &[&str]) -> RowChange {
    RowChange::Delete { route, key: key(texts), before: Before::There }
}

/// An update of `items` that takes a row to another key.
pub(crate) fn moved(from: &str, new: [&str; 3]) -> RowChange {
    let old_key = Some(key(&[from]));
    RowChange::Update { route: ITEMS, old_key, new: row(new), blue_key: None, before: Before::There }
}

/// The name of a row of `items` that is to be read again.
pub(crate) fn heal(text: &str) -> HealKey {
    HealKey::same(key(&[text]))
}

/// A chunk of `items` that leaves no row out.
pub(crate) fn placed(id: u64, at: Checkpoint, kind: PlacedKind, rows: Vec<Tuple>) -> PlacedChunk {
    let (left_out, refused) = (Vec::new(), Vec::new());
    PlacedChunk { id: ChunkId(id), route: ITEMS, at, kind, rows, left_out, refused }
}

/// The end of the `number`th transaction; the zeroth is where the migration begins.
pub(crate) fn checkpoint(number: u64) -> Checkpoint {
    Checkpoint::at_commit_end(Lsn::new(0x1000 + number * 0x100))
}

/// The `number`th transaction, whole.
pub(crate) fn transaction(number: u64, changes: Vec<RowChange>) -> Batch {
    let mark = CommitMark {
        changes_before: changes.len(),
        position: Position { commit: commit_of(number), ordinal: changes.len() as u64 },
        checkpoint: checkpoint(number),
        commit_time_us: 0,
        xid: Xid::new(500 + number),
    };
    let unseen = Some(vec![Xid::new(500 + number)]);
    Batch { changes, commits: vec![mark], unseen, ..Batch::default() }
}

/// The `number`th transaction's changes from `first_ordinal` on, with more to come.
pub(crate) fn part(number: u64, first_ordinal: u64, changes: Vec<RowChange>) -> Batch {
    Batch { changes, first_ordinal, open: Some(commit_of(number)), ..Batch::default() }
}

fn commit_of(number: u64) -> Lsn {
    Lsn::new(checkpoint(number).lsn().raw() - 0x30)
}

pub(crate) fn lineage() -> Lineage {
    Lineage {
        system_id: 42,
        timeline: 3,
        database: "shop".to_owned(),
        slot: "understudy_suite".to_owned(),
        publication: Some("16500.741".to_owned()),
    }
}

pub(crate) fn unit(route: RouteId) -> Unit {
    Unit {
        id: UnitId::new(20_000 + u32::from(route.0), route),
        route,
        root: UnitId::new(20_000 + u32::from(route.0), route),
        name: TableName::new("public", "unit"),
        filenode: 31,
        fingerprint: u64::MAX - 5,
        marks: Some(ColumnMarks { places: u64::MAX, written: 7, keys: u64::MAX - 1 }),
        membership: u64::MAX - 2,
        blocks: 12,
        block_bytes: 8_192,
        rows_estimate: None,
        identity: ReplicaIdentity::Default,
        predicate: Some("(region = 'east')".to_owned()),
    }
}

/// A sink that has claimed and begun.
pub(crate) async fn begun<S: SinkUnderTest>(store: &S) -> Result<S::Sink, String> {
    let mut sink = store.connect().await;
    ensure(sink.claim().await.map_err(failed)?.is_none(), "a fresh store remembers a migration")?;
    sink.begin(&lineage(), checkpoint(0)).await.map_err(failed)?;
    Ok(sink)
}

/// A sink that has claimed and begun, every route complete.
pub(crate) async fn complete<S: SinkUnderTest>(store: &S) -> Result<S::Sink, String> {
    let mut sink = begun(store).await?;
    for route in [ITEMS, PLACES, ONES, TWOS] {
        sink.record(LedgerEntry::Complete(route)).await.map_err(failed)?;
    }
    Ok(sink)
}

/// What a new instance finds saved. Takes the migration away from any other.
pub(crate) async fn saved<S: SinkUnderTest>(store: &S) -> Result<Saved, String> {
    let saved = store.connect().await.claim().await.map_err(failed)?;
    saved.ok_or_else(|| "nothing is saved".to_owned())
}

/// The rows of a route are these.
pub(crate) async fn holds<S: SinkUnderTest>(store: &S, route: RouteId, rows: &[[&str; 3]]) -> Verdict {
    let key_columns = suite_tables().swap_remove(route.index()).key;
    let named = |values: &[&str; 3]| {
        let key = key(&key_columns.iter().map(|at| values[*at]).collect::<Vec<_>>());
        (key, values.map(|value| Some(value.as_bytes().to_vec())).to_vec())
    };
    let expected: SuiteRows = rows.iter().map(named).collect();
    let found = store.rows(route).await;
    let differ = found.iter().filter(|(key, row)| expected.get(*key) != Some(*row)).count();
    ensure(
        found == expected,
        format!("route {} holds {} rows, {} expected, {differ} differ", route.0, found.len(), expected.len()),
    )
}
