//! The bookkeeping comes back as it was, whatever of its past a compacted topic still holds.

use proptest::prelude::*;
use understudy_contract::{ColumnMarks, SavedUnit, Wanted};
use understudy_model::{HealKey, Key, Lsn, RelationId, RouteId, UnitId};

use super::super::CodecError;
use super::super::wire::arbitrary::{key, lsn, range, table, text};
use super::record::UNSEEN_PART_MAX;
use super::*;

prop_compose! {
    fn progress()(
        (system_id, timeline, group, requests) in any::<(u64, u32, u64, i64)>(),
        (database, slot) in (text(), text()),
        publication in prop::option::of(text()),
        checkpoint in lsn(),
        unseen in prop::option::of(prop::collection::vec(any::<u64>().prop_map(Xid::new), 0..4)),
    ) -> Progress {
        let lineage = Lineage { system_id, timeline, database, slot, publication };
        Progress { lineage, checkpoint: Checkpoint::at_commit_end(checkpoint), unseen, group, requests }
    }
}

prop_compose! {
    fn unit()(
        source in table(),
        (generation, oid, filenode, blocks, fingerprint, membership) in any::<(u64, u32, u32, u32, u64, u64)>(),
        name in table(),
        marks in any::<Option<(u64, u64, u64)>>(),
        predicate in prop::option::of(text()),
    ) -> UnitState {
        let unit = SavedUnit {
            id: UnitId::new(oid, RouteId(0)),
            route: RouteId(0),
            name,
            filenode,
            fingerprint,
            marks: marks.map(|(places, written, keys)| ColumnMarks { places, written, keys }),
            membership,
            blocks,
            predicate,
            done: Vec::new(),
            rows_done: 0,
        };
        UnitState { source, generation, unit }
    }
}

prop_compose! {
    fn done()(source in table(), (unit, generation, rows) in any::<(u32, u64, u64)>(), range in range()) -> DoneRange {
        DoneRange { source, unit, generation, range, rows }
    }
}

prop_compose! {
    fn route()(
        source in table(),
        fingerprint in text(),
        (complete, renewed, void) in any::<(bool, bool, bool)>(),
        published in prop::option::of(text()),
    ) -> RouteState {
        RouteState { source, fingerprint, complete, renewed, void, published }
    }
}

fn record() -> impl Strategy<Value = StateRecord> {
    let xids = prop::collection::vec(any::<u64>().prop_map(Xid::new), 0..4);
    let record = prop_oneof![
        ((text(), text(), text()), any::<(u64, u64)>()).prop_map(
            |((migration, slot, database), (system_id, token))| StateRecord::Owner(Owner {
                migration,
                slot,
                database,
                system_id,
                token
            })
        ),
        any::<u64>().prop_map(|token| StateRecord::Claim { token }),
        (progress(), any::<u32>()).prop_map(|(progress, parts)| StateRecord::Progress { progress, parts }),
        (any::<u32>(), any::<u64>(), xids).prop_map(|(part, group, xids)| StateRecord::Unseen {
            part,
            group,
            xids
        }),
        route().prop_map(StateRecord::Route),
        unit().prop_map(StateRecord::Unit),
        done().prop_map(StateRecord::Done),
        (table(), key()).prop_map(|(table, key)| StateRecord::Heal(Wanted { table, key })),
        any::<u32>().prop_map(|oid| StateRecord::Departed(RelationId(oid))),
        (table(), any::<u32>()).prop_map(|(table, version)| StateRecord::Schema { table, version }),
    ];
    (record, any::<bool>())
        .prop_map(|(record, gone)| if gone { StateRecord::Gone(record.about()) } else { record })
}

proptest! {
    /// Checklist 3: what the capture has recorded comes back as it was, and nothing is dropped by compaction because
    /// something else has the same key.
    #[test]
    fn records_come_back_as_they_were(one in record(), other in record()) {
        prop_assert_eq!(one.key() == other.key(), one.about() == other.about());
        prop_assert_eq!(StateRecord::read(&one.key(), one.value().as_deref()), Ok(one));
    }
}

fn orders() -> TableName {
    TableName::new("public", "orders")
}

fn at_start() -> Progress {
    let lineage =
        Lineage { system_id: 7, timeline: 1, database: "shop".into(), slot: "s".into(), publication: None };
    let checkpoint = Checkpoint::at_commit_end(Lsn::new(100));
    Progress { lineage, checkpoint, unseen: None, group: 9, requests: 4 }
}

fn unit_of(source: &TableName, oid: u32, generation: u64) -> UnitState {
    let unit = SavedUnit {
        id: UnitId::new(oid, RouteId(0)),
        route: RouteId(0),
        name: source.clone(),
        filenode: 5,
        fingerprint: 6,
        marks: None,
        membership: 0,
        blocks: 10,
        predicate: None,
        done: Vec::new(),
        rows_done: 0,
    };
    UnitState { source: source.clone(), generation, unit }
}

fn blocks(from: u32, to: u32) -> BlockRange {
    BlockRange { from: Ctid::start_of(from), to: Ctid::start_of(to) }
}

fn fold(records: &[StateRecord]) -> Result<Option<FoldedState>, CodecError> {
    let mut fold = StateFold::default();
    for record in records {
        fold.apply(&record.key(), record.value().as_deref())?;
    }
    fold.finish(|source| (*source == orders()).then_some(RouteId(3)))
}

/// Checklist 3: a capture that starts again goes on exactly where the last one was, under this run's route numbers.
#[test]
fn the_state_is_what_the_last_records_say() {
    let route = RouteState {
        source: orders(),
        fingerprint: "f".into(),
        complete: false,
        renewed: true,
        void: false,
        published: Some("p".into()),
    };
    let wanted = |text: &[u8]| Wanted { table: orders(), key: Key::from_texts([text]) };
    let mut records = vec![
        StateRecord::Route(RouteState { complete: true, ..route.clone() }),
        StateRecord::Route(route.clone()),
        StateRecord::Unit(unit_of(&orders(), 1, 8)),
        StateRecord::Heal(wanted(b"1")),
        StateRecord::Heal(wanted(b"2")),
        StateRecord::Gone(StateRecord::Heal(wanted(b"1")).about()),
        StateRecord::Schema { table: orders(), version: 1 },
        StateRecord::Schema { table: orders(), version: 2 },
        StateRecord::Departed(RelationId(40)),
    ];
    assert_eq!(fold(&records), Ok(None), "nothing is begun without progress");
    records.extend(progress_records(&Progress { unseen: Some(vec![Xid::new(5)]), ..at_start() }));
    let state = fold(&records).unwrap().unwrap();
    assert_eq!((state.group, state.requests, state.schemas[&orders()]), (9, 4, 2));
    assert_eq!((state.saved.lineage, state.saved.checkpoint), (at_start().lineage, at_start().checkpoint));
    assert_eq!(state.saved.unseen, Some(vec![Xid::new(5)]));
    let saved = &state.saved.routes[0];
    assert_eq!((saved.route, saved.complete, &saved.target), (Some(RouteId(3)), false, &orders()));
    assert_eq!(state.routes[&RouteId(3)], route);
    assert_eq!(state.saved.units[0].id, UnitId::new(1, RouteId(3)));
    assert_eq!(state.saved.heals, [(RouteId(3), HealKey::same(wanted(b"2").key))]);
    assert_eq!(state.saved.departed, [RelationId(40)]);
    assert_eq!(state.absent, []);
}

/// F46: ranges of an earlier plan never count as copied, though compaction may keep their records for ever.
#[test]
fn ranges_of_an_earlier_plan_count_for_nothing() {
    let done = |generation, range, rows| {
        StateRecord::Done(DoneRange { source: orders(), unit: 1, generation, range, rows })
    };
    let mut records = vec![
        done(8, blocks(0, 5), 50),
        done(8, blocks(5, 9), 40),
        StateRecord::Unit(unit_of(&orders(), 1, 9)),
        done(9, blocks(0, 3), 30),
    ];
    records.extend(progress_records(&at_start()));
    let state = fold(&records).unwrap().unwrap();
    let unit = &state.saved.units[0];
    assert_eq!((unit.done.as_slice(), unit.rows_done), (&[blocks(0, 3)][..], 30));
    assert_eq!(state.done[&unit.id].generation(), 9);
}

/// F46: what is known of a table that left the migration is void, but for the versions that rows in the log refer to; its
/// last changes are known as those of a table that was followed.
#[test]
fn a_table_that_left_is_remembered_as_departed_only() {
    let left = TableName::new("public", "left");
    let unit = StateRecord::Unit(unit_of(&left, 2, 1));
    let done = DoneRange { source: left.clone(), unit: 2, generation: 1, range: blocks(0, 1), rows: 1 };
    let heal = StateRecord::Heal(Wanted { table: left.clone(), key: Key::from_texts([&b"1"[..]]) });
    let mut records = vec![unit, StateRecord::Done(done), heal];
    let mut keys = records.iter().map(StateRecord::about).collect::<Vec<_>>();
    records.push(StateRecord::Schema { table: left.clone(), version: 3 });
    records.extend(progress_records(&at_start()));
    let state = fold(&records).unwrap().unwrap();
    assert_eq!((state.saved.units.len(), state.saved.heals.len()), (0, 0));
    assert_eq!(state.saved.departed, [RelationId(2)]);
    assert_eq!(state.schemas[&left], 3);
    assert_eq!(state.absent, keys);
    records.extend(keys.drain(..).map(StateRecord::Gone));
    records.push(StateRecord::Departed(RelationId(2)));
    let state = fold(&records).unwrap().unwrap();
    assert_eq!((state.absent.len(), state.saved.departed.as_slice()), (0, &[RelationId(2)][..]));
}

/// F44: a list of unseen transactions that is too long for one record comes back whole, or not at all.
#[test]
fn long_lists_of_unseen_transactions_come_in_parts() {
    let xids = (0..2 * UNSEEN_PART_MAX as u64 + 1).map(|xid| Xid::new(u64::MAX - xid)).collect::<Vec<_>>();
    let mut records = progress_records(&Progress { unseen: Some(xids.clone()), ..at_start() });
    assert_eq!(records.len(), 4);
    assert!(records.iter().all(|record| record.value().unwrap().len() < super::super::GROUP_BYTES_MAX));
    let state = fold(&records).unwrap().unwrap();
    assert_eq!(state.saved.unseen, Some(xids));
    records.extend(progress_records(&Progress { unseen: Some(vec![Xid::new(3)]), group: 10, ..at_start() }));
    assert_eq!(fold(&records).unwrap().unwrap().saved.unseen, Some(vec![Xid::new(3)]));
    assert!(fold(&records[1..4]).is_err(), "a part is missing");
    let later =
        progress_records(&Progress { unseen: Some(vec![Xid::new(1); 50_000]), group: 11, ..at_start() });
    assert!(fold(&[&records[..4], &later[2..]].concat()).is_err(), "a part is of an earlier group");
}

proptest! {
    /// F17: however the chunks of a copy end, what is recorded of them is exactly what is done; and neighbours become one, so
    /// that a copied table leaves one record.
    #[test]
    fn done_ranges_come_to_what_was_done(
        cuts in prop::collection::btree_set(1_u32..40, 0..12),
        order in any::<prop::sample::Index>(),
        skipped in prop::collection::vec(any::<bool>(), 14),
    ) {
        let bounds = std::iter::once(0).chain(cuts).chain([40]).collect::<Vec<_>>();
        let mut ranges = bounds.windows(2).map(|pair| blocks(pair[0], pair[1])).collect::<Vec<_>>();
        let turn = order.index(ranges.len());
        ranges.rotate_left(turn);
        let half = ranges.len() / 2;
        ranges[..half].reverse();

        let mut done = DoneRanges::new(orders(), 1, 9);
        let mut records = vec![StateRecord::Unit(unit_of(&orders(), 1, 9))];
        let kept = ranges.iter().zip(&skipped).filter(|(_, skip)| !**skip).map(|(range, _)| *range);
        let kept = kept.collect::<Vec<_>>();
        for range in &kept {
            records.extend(done.add(*range, u64::from(range.to.block - range.from.block)));
            prop_assert_eq!(done.add(*range, 1), vec![], "nothing is counted twice");
        }
        records.extend(progress_records(&at_start()));
        let state = fold(&records).unwrap().unwrap();
        let unit = &state.saved.units[0];
        let covered = |ranges: &[BlockRange]| {
            (0..40).map(|block| ranges.iter().filter(|range| (range.from.block..range.to.block).contains(&block)).count())
                .collect::<Vec<_>>()
        };
        prop_assert_eq!(covered(&unit.done), covered(&kept));
        prop_assert_eq!(unit.rows_done as usize, covered(&kept).iter().sum::<usize>());
        prop_assert!(unit.done.windows(2).all(|pair| pair[0].to < pair[1].from), "neighbours are one");
        prop_assert_eq!(&state.done[&unit.id], &done);
    }
}

/// Guards that the topic is readable, and that bytes of others are refused without being shown.
#[test]
fn keys_are_readable_and_others_are_refused() {
    let text = |key: StateKey| String::from_utf8(key.to_bytes()).unwrap();
    let from = Ctid { block: 4, line: 0 };
    assert_eq!(
        text(StateKey::Done { source: orders(), unit: 16_385, from }),
        "done/16385/public.orders/(4,0)"
    );
    let key = Key::from_texts([&b"a/b"[..]]);
    assert_eq!(text(StateKey::Heal { source: orders(), key }), r#"heal/public.orders/["a/b"]"#);
    for key in
        ["", "secret", "unit/secret", "done/1/public.orders", "progress/1", "unseen/", "heal/a.b/secret"]
    {
        let error = StateRecord::read(key.as_bytes(), Some(b"{}")).unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}

/// Guards that what a later release has written into the books is not taken for damage, whose remedy gives the migration up; and
/// that damage is not taken for a later release.
#[test]
fn a_key_of_a_later_release_is_told_as_one() {
    let of = |key: &str| StateKey::from_bytes(key.as_bytes()).unwrap_err();
    for later in ["ballot", "ballot/public.t"] {
        let failure = understudy_contract::Failure::from(of(later));
        assert_eq!(failure.class(), understudy_contract::Class::Configuration, "{failure}");
        assert!(failure.remedy_text().unwrap_or_default().contains("release"), "{failure}");
    }
    for torn in ["", "route/", "unit/x/public.t", "Ballot", "owner/1", "42"] {
        assert!(matches!(of(torn), CodecError::Record { .. }), "{torn}");
    }
}
