//! Groups come back as they were, and stay as small as they promise.

use proptest::prelude::*;
use understudy_contract::{ColumnMarks, Unit};
use understudy_model::{Key, ReplicaIdentity, RouteId, UnitId};

use super::super::wire::arbitrary::{self, lsn, range};
use super::*;

fn relation() -> impl Strategy<Value = RelationId> {
    any::<u32>().prop_map(RelationId)
}

fn checkpoint() -> impl Strategy<Value = Checkpoint> {
    lsn().prop_map(Checkpoint::at_commit_end)
}

prop_compose! {
    fn part()(
        commit in lsn(),
        (from_ordinal, changes, time_us, xid) in any::<(u64, u64, i64, u32)>(),
        end in prop::option::of(lsn()),
    ) -> Part {
        Part { commit, from_ordinal, changes, end, time_us, xid }
    }
}

fn truncated() -> impl Strategy<Value = Truncated> {
    let tables = prop::collection::vec(relation(), 0..3).prop_map(LeafOrTables::Tables);
    let leaf = (relation(), arbitrary::text());
    let leaf = leaf.prop_map(|(table, predicate)| LeafOrTables::Leaf { table, predicate });
    (lsn(), any::<u64>(), prop_oneof![tables, leaf])
        .prop_map(|(commit, ordinal, what)| Truncated { position: Position { commit, ordinal }, what })
}

fn keys() -> impl Strategy<Value = Vec<Key>> {
    prop::collection::vec(arbitrary::key(), 0..3)
}

fn kind() -> impl Strategy<Value = LoggedKind> {
    prop_oneof![
        (relation(), range()).prop_map(|(unit, range)| LoggedKind::Copy { unit, range }),
        (keys(), keys()).prop_map(|(keys, gone)| LoggedKind::Heal { keys, gone }),
    ]
}

prop_compose! {
    fn unit()(
        (oid, root, filenode, blocks, block_bytes) in any::<(u32, u32, u32, u32, u32)>(),
        (fingerprint, membership, rows_estimate) in any::<(u64, u64, Option<u64>)>(),
        name in arbitrary::table(),
        marks in any::<Option<(u64, u64, u64)>>(),
        full in any::<bool>(),
        predicate in prop::option::of(arbitrary::text()),
    ) -> Unit {
        Unit {
            id: UnitId::new(oid, RouteId(0)),
            route: RouteId(0),
            root: UnitId::new(root, RouteId(0)),
            name,
            filenode,
            fingerprint,
            marks: marks.map(|(places, written, keys)| ColumnMarks { places, written, keys }),
            membership,
            blocks,
            block_bytes,
            rows_estimate,
            identity: if full { ReplicaIdentity::Full } else { ReplicaIdentity::Index },
            predicate,
        }
    }
}

fn entry() -> impl Strategy<Value = LoggedEntry> {
    prop_oneof![
        (relation(), any::<bool>()).prop_map(|(table, is_void)| LoggedEntry::Join { table, is_void }),
        unit().prop_map(LoggedEntry::Plan),
        unit().prop_map(LoggedEntry::Refresh),
        (relation(), relation()).prop_map(|(unit, table)| LoggedEntry::Forget { unit, table }),
        relation().prop_map(|table| LoggedEntry::Complete { table }),
    ]
}

fn work() -> impl Strategy<Value = Work> {
    let parts = prop::collection::vec(part(), 0..4);
    let truncates = prop::collection::vec(truncated(), 0..3);
    prop_oneof![
        Just(Work::None),
        (parts, truncates).prop_map(|(parts, truncates)| Work::Batch { parts, truncates }),
        (relation(), checkpoint(), kind(), any::<u64>()).prop_map(|(table, at, kind, rows)| Work::Chunk {
            table,
            at,
            kind,
            rows
        }),
        prop::collection::vec(entry(), 0..3).prop_map(Work::Entries),
    ]
}

prop_compose! {
    fn table()(
        name in arbitrary::table(),
        (id, version) in any::<(u32, u32)>(),
        records in prop::collection::vec(any::<(u32, u64)>(), 0..4),
    ) -> GroupTable {
        GroupTable { name, id: RelationId(id), version, records }
    }
}

prop_compose! {
    fn beat()((nonce, sent_us) in any::<(u128, i64)>(), at in checkpoint()) -> Beat {
        Beat { nonce: Nonce(nonce), sent_us, at }
    }
}

prop_compose! {
    fn group()(
        number in any::<u64>(),
        tables in prop::collection::vec(table(), 0..3),
        work in work(),
        reached in prop::option::of(lsn()),
        beats in prop::collection::vec(beat(), 0..3),
    ) -> Group {
        Group { number, tables, work, reached, beats }
    }
}

proptest! {
    /// F1: a reader knows of every partition how many records it must have before it goes on, and in which order blue's
    /// transactions were, so every group comes back as it was; and a writer knows before it writes one that it is small
    /// enough.
    #[test]
    fn groups_come_back_as_they_were(group in group()) {
        let json = group.to_json().unwrap();
        prop_assert!(json.len() <= group.bytes_max(), "{} > {}", json.len(), group.bytes_max());
        prop_assert_eq!(Group::from_json(&json), Ok(group));
    }
}

/// Guards the form, which captures and applies of other releases read, and that a small group is a small record.
#[test]
fn groups_are_written_so() {
    let lsn = |text: &str| text.parse::<Lsn>().unwrap();
    let part = |commit: &str, end: Option<&str>| Part {
        commit: lsn(commit),
        from_ordinal: 0,
        changes: 2,
        end: end.map(lsn),
        time_us: 5,
        xid: 700,
    };
    let group = Group {
        number: 12,
        tables: vec![GroupTable {
            name: TableName::new("public", "orders"),
            id: RelationId(16_385),
            version: 1,
            records: vec![(0, 3), (2, 1)],
        }],
        work: Work::Batch {
            parts: vec![part("0/10", Some("0/18")), part("0/20", None)],
            truncates: Vec::new(),
        },
        reached: None,
        beats: Vec::new(),
    };
    let expected = r#"{"v":1,"n":12,"tables":[{"name":["public","orders"],"id":16385,"version":1,"records":[[0,3],[2,1]]}],"batch":{"parts":[["0/10",0,2,"0/18",5,700],["0/20",0,2,null,5,700]]}}"#;
    assert_eq!(String::from_utf8(group.to_json().unwrap()).unwrap(), expected);
    assert_eq!(group.record_key(), b"12");
}

/// F44: a group that a broker would refuse is told apart before it is sent, so that its batch can be split.
#[test]
fn a_group_that_is_too_large_is_refused() {
    let key = Key::from_texts([vec![b'k'; 2_000].as_slice()]);
    let group = |keys: usize| Group {
        number: 1,
        tables: Vec::new(),
        work: Work::Chunk {
            table: RelationId(1),
            at: Checkpoint::default(),
            kind: LoggedKind::Heal { keys: vec![key.clone(); keys], gone: Vec::new() },
            rows: 0,
        },
        reached: None,
        beats: Vec::new(),
    };
    assert!(group(400).to_json().is_ok() && group(400).bytes_max() <= GROUP_BYTES_MAX);
    let error = group(500).to_json().unwrap_err();
    assert!(matches!(error, CodecError::TooLarge { .. }) && group(500).bytes_max() > GROUP_BYTES_MAX);
}

/// F44: many of anything do not make a record larger than was foreseen, whatever numbers they hold.
#[test]
fn large_groups_are_no_larger_than_foreseen() {
    let (last, id) = (Lsn::new(u64::MAX), RelationId(u32::MAX));
    let position = Position { commit: last, ordinal: u64::MAX };
    let beat = Beat { nonce: Nonce(u128::MAX), sent_us: i64::MIN, at: Checkpoint::at_commit_end(last) };
    let part = Part {
        commit: last,
        from_ordinal: u64::MAX,
        changes: u64::MAX,
        end: Some(last),
        time_us: i64::MIN,
        xid: u32::MAX,
    };
    let emptied = Truncated { position, what: LeafOrTables::Tables(vec![id; 100]) };
    let records = vec![(u32::MAX, u64::MAX); 100];
    let table = GroupTable { name: TableName::new("s", "t"), id, version: u32::MAX, records };
    let group = |work: Work| Group {
        number: u64::MAX,
        tables: vec![table.clone(); 20],
        work,
        reached: Some(last),
        beats: vec![beat; 500],
    };
    let batch = Work::Batch { parts: vec![part; 1_000], truncates: vec![emptied; 100] };
    for group in [
        group(Work::None),
        group(batch),
        group(Work::Entries(vec![LoggedEntry::Complete { table: id }; 500])),
    ] {
        let (bytes, bytes_max) = (group.to_json().unwrap().len(), group.bytes_max());
        assert!(bytes <= bytes_max, "{bytes} > {bytes_max}");
    }
}

/// Guards that a group which says two things at once is not taken for either.
#[test]
fn a_group_with_two_kinds_of_work_is_refused() {
    let json = br#"{"v":1,"n":1,"batch":{"parts":[]},"entries":[]}"#;
    assert!(matches!(Group::from_json(json), Err(CodecError::Record { .. })));
}
