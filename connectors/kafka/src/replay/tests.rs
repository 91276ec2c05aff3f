//! What the groups of a log come to.

use understudy_contract::{LoggedEntry, LoggedKind, Unit};
use understudy_model::{
    BlockRange, Checkpoint, Ctid, Lsn, RelationId, ReplicaIdentity, RouteId, TableName, UnitId,
};

use super::order::{Folded, Mark, OrderFold, ReplayFrom};
use super::scan::Scanned;
use super::{Known, latest, may_begin};
use crate::codec::{Group, GroupTable, Part, Work};

fn table() -> TableName {
    TableName::new("public", "t")
}

fn group(number: u64, records: u64, work: Work) -> Group {
    let records = if records == 0 { Vec::new() } else { vec![(1, records)] };
    let table = GroupTable { name: table(), id: RelationId(10), version: 1, records };
    Group { number, tables: vec![table], work, reached: None, beats: Vec::new() }
}

fn part(commit: u64, from_ordinal: u64, changes: u64, end: Option<u64>) -> Part {
    let end = end.map(Lsn::new);
    Part { commit: Lsn::new(commit), from_ordinal, changes, end, time_us: 0, xid: 7 }
}

fn batch(number: u64, part: Part) -> Group {
    group(number, part.changes, Work::Batch { parts: vec![part], truncates: Vec::new() })
}

fn plan(number: u64) -> Group {
    let id = UnitId::new(10, RouteId(0));
    let unit = Unit {
        id,
        route: RouteId(0),
        root: id,
        name: table(),
        filenode: 10,
        fingerprint: 1,
        marks: None,
        membership: 0,
        blocks: 1,
        block_bytes: 8192,
        rows_estimate: None,
        identity: ReplicaIdentity::Default,
        predicate: None,
    };
    group(number, 0, Work::Entries(vec![LoggedEntry::Plan(unit)]))
}

fn chunk(number: u64, at: u64, rows: u64) -> Group {
    let range = BlockRange { from: Ctid { block: 0, line: 0 }, to: Ctid { block: 1, line: 0 } };
    let (at, kind) =
        (Checkpoint::at_commit_end(Lsn::new(at)), LoggedKind::Copy { unit: RelationId(10), range });
    group(number, rows, Work::Chunk { table: RelationId(10), at, kind, rows })
}

fn complete(number: u64) -> Group {
    group(number, 0, Work::Entries(vec![LoggedEntry::Complete { table: RelationId(10) }]))
}

fn fold(groups: &[Group], from: ReplayFrom) -> Result<Option<Folded>, String> {
    let mut fold = OrderFold::new(&[table()], from);
    for group in groups {
        let value = group.to_json().unwrap();
        let (number, value) = (group.number as i64, Some(value.as_slice()));
        fold.take(Scanned { offset: number * 2, time_ms: number * 1_000, key: None, value })?;
    }
    Ok(fold.finish())
}

/// Copied twice: the log of a table that somebody has asked to have copied again.
fn copied_twice() -> Vec<Group> {
    vec![
        plan(1),
        chunk(2, 100, 5),
        complete(3),
        batch(4, part(110, 0, 2, Some(120))),
        plan(5),
        chunk(6, 130, 6),
        complete(7),
        batch(8, part(140, 0, 3, None)),
    ]
}

fn known() -> Vec<Known> {
    vec![Known { is_complete: true, units: vec![10], heals: 0 }]
}

/// A replay ends where no transaction is open, and counts what lies before that.
#[test]
fn the_end_is_outside_any_transaction() {
    let folded = fold(&copied_twice(), ReplayFrom::Start).unwrap().unwrap();
    assert_eq!(folded.end, Mark { group: 7, at: Lsn::new(130), time_ms: 7_000 });
    assert_eq!(folded.tables[0].records(), 13, "the open transaction counts for nothing");
    assert_eq!(folded.oldest.group, 0);
}

/// Promise 2: from the middle a log is read only where every table is copied anew behind that; the refusal says where that is.
#[test]
fn the_middle_will_do_where_a_copy_begins() {
    let begin = |groups: &[Group], from| {
        let folded = fold(groups, from).unwrap().unwrap();
        let latest = latest(&[table()], &folded.tables, &known(), folded.oldest.clone());
        (may_begin(&folded, latest.as_ref(), from), folded)
    };
    let (there, _) = begin(&copied_twice(), ReplayFrom::Lsn(Lsn::new(125)));
    assert_eq!(
        there.unwrap().group,
        4,
        "the first place at the last address before it; the plan lies behind"
    );
    let groups = copied_twice();
    let (there, folded) = begin(&groups, ReplayFrom::Time(4_999));
    assert_eq!(there.unwrap().group, 4);
    assert_eq!(folded.tables[0].records(), 6, "what lies before does not count");
    let (late, _) = begin(&groups, ReplayFrom::Lsn(Lsn::new(135)));
    let late = late.unwrap_err();
    assert!(late.remedy_text().unwrap().contains("--from 0/78"), "{late}: {:?}", late.remedy_text());
    let (start, _) = begin(&groups, ReplayFrom::Start);
    assert_eq!(start.unwrap().group, 0);
}

/// Promise 2: a log whose oldest groups were deleted is refused, with how far it reaches back, and is read where that does
/// no harm.
#[test]
fn a_shortened_log_is_refused() {
    let shortened = &copied_twice()[3..];
    let folded = fold(shortened, ReplayFrom::Start).unwrap().unwrap();
    let latest = latest(&[table()], &folded.tables, &known(), folded.oldest.clone());
    let refused = may_begin(&folded, latest.as_ref(), ReplayFrom::Start).unwrap_err().to_string();
    assert!(refused.contains("first 3 groups") && refused.contains("1970-01-01T00:00:04Z"), "{refused}");
    let from = ReplayFrom::Lsn(Lsn::new(120));
    let folded = fold(shortened, from).unwrap().unwrap();
    assert_eq!(may_begin(&folded, latest.as_ref(), from).unwrap().group, 4);
    let from = ReplayFrom::Lsn(Lsn::new(90));
    assert!(may_begin(&fold(shortened, from).unwrap().unwrap(), latest.as_ref(), from).is_err());
}

/// Promise 1: who was stopped goes on behind what is on green, and only if what follows is still there.
#[test]
fn what_was_begun_goes_on_where_it_was() {
    let begin = |groups: &[Group], group| {
        let from = ReplayFrom::Group(group);
        may_begin(&fold(groups, from).unwrap().unwrap(), None, from).map(|begin| begin.group)
    };
    assert_eq!(begin(&copied_twice(), 6).ok(), Some(6), "no copy lies behind, and none has to");
    let gone = begin(&copied_twice()[3..], 2).unwrap_err();
    assert!(gone.to_string().contains("begins at"), "{gone}");
}

/// A log that lacks a group in the middle is none.
#[test]
fn a_missing_group_is_found() {
    let mut groups = copied_twice();
    groups.remove(3);
    assert!(fold(&groups, ReplayFrom::Start).unwrap_err().contains("group 5 where group 4"));
    assert!(fold(&[], ReplayFrom::Start).unwrap().is_none());
}

/// Promise 3 for a replay: what is shown as done goes up to all of it, and never beyond.
#[test]
fn what_is_done_comes_to_all_of_it() {
    let Folded { oldest, end, tables, samples, .. } =
        fold(&copied_twice(), ReplayFrom::Start).unwrap().unwrap();
    let tables = tables.iter().map(|seen| super::TableSurvey {
        table: table(),
        records: seen.records(),
        is_complete: true,
        partial: 0,
    });
    let survey = super::Survey {
        begin: oldest.clone(),
        oldest,
        end,
        latest: None,
        cursor: None,
        tables: tables.collect(),
        retention_ms: None,
        samples,
    };
    let done = [0, 1, 2, 3, 4, 5, 6, 7, 8, 99].map(|group| survey.records_until(group));
    assert_eq!(done, [0, 0, 5, 5, 7, 7, 13, 13, 13, 13]);
}
