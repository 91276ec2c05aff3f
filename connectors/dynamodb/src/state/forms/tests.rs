//! What is written is what is read.

use understudy_contract::Unit;
use understudy_model::{ReplicaIdentity, RouteId, UnitId};

use super::*;

/// An item as the state table gives it back.
fn stored((of, note): (String, Note)) -> Item {
    let Note::Put(fields) = note else { panic!("a removal") };
    Fields(fields).text(MIGRATION, "shop").text(OF, &of).0
}

fn key(texts: &[&[u8]]) -> Key {
    Key::from_texts(texts.iter().copied())
}

fn at(commit: u64, ordinal: u64) -> Position {
    Position { commit: Lsn::new(commit), ordinal }
}

fn unit(marks: Option<ColumnMarks>) -> UnitForm {
    let unit = Unit {
        id: UnitId::new(20_000, RouteId(3)),
        route: RouteId(3),
        root: UnitId::new(20_000, RouteId(3)),
        name: TableName::new("public", "orders"),
        filenode: 31,
        fingerprint: u64::MAX - 5,
        marks,
        membership: u64::MAX - 2,
        blocks: 12,
        block_bytes: 8_192,
        rows_estimate: None,
        identity: ReplicaIdentity::Default,
        predicate: marks.map(|_| "(region = 'east')".to_owned()),
    };
    UnitForm::new(&unit, 7, u64::MAX)
}

/// What a run forgets or misreads it copies again, or never heals.
#[test]
fn forms_come_back() {
    let marks = ColumnMarks { places: u64::MAX, written: 7, keys: u64::MAX - 1 };
    for unit in [unit(Some(marks)), unit(None)] {
        assert_eq!(Reading(&stored(unit.note())).form(), Some(Form::Unit(unit)));
    }
    for published in [None, Some("16500.741".to_owned())] {
        let route = RouteForm {
            number: 7,
            source: TableName::new("public", "a#b"),
            target: TableName::new("", "shop"),
            fingerprint: "as it is".to_owned(),
            complete: true,
            renewed: false,
            alone: true,
            published,
        };
        assert_eq!(Reading(&stored(route.note())).form(), Some(Form::Route(route)));
    }
    let range = BlockRange { from: Ctid::start_of(3), to: Ctid { block: 4, line: 9 } };
    let done = DoneForm { route: 7, oid: u32::MAX, plan: 5, range, rows: u64::MAX };
    assert_eq!(Reading(&stored(done.note())).form(), Some(Form::Done(done)));
    let heal_key = HealKey { green: key(&[b"a", b""]), blue: key(&[b"\x00\xff"]) };
    let found = Reading(&stored(heal(7, &heal_key, at(9, 1)))).form();
    assert_eq!(found, Some(Form::Heal { route: 7, key: heal_key }));
    let why = Why { column: None, sqlstate: Some("22P02".to_owned()), reason: "no number".to_owned() };
    let one = key(&[b"1"]);
    let found = Reading(&stored(aside(7, &one, at(9, 1), &why))).form();
    assert_eq!(found, Some(Form::Aside { route: 7, key: one.clone() }));
    assert_eq!(
        Reading(&stored(surprise(7, &one, at(9, 1), "extra"))).form(),
        Some(Form::Surprise { route: 7 })
    );
    assert_eq!(Reading(&stored(departed(5))).form(), Some(Form::Departed(RelationId(5))));
}

/// Two things under one name would overwrite each other, and the same one twice would count twice.
#[test]
fn each_thing_has_a_name_of_its_own() {
    let why = Why { column: None, sqlstate: None, reason: String::new() };
    let (one, other) = (key(&[b"ab", b"c"]), key(&[b"a", b"bc"]));
    let heal_name =
        |green: &Key, blue: &Key| heal_of(7, &HealKey { green: green.clone(), blue: blue.clone() });
    let names = [
        heal_name(&one, &one),
        heal_name(&one, &other),
        heal_name(&other, &one),
        aside(7, &one, at(1, 1), &why).0,
        aside(7, &one, at(1, 2), &why).0,
        aside(7, &other, at(1, 1), &why).0,
        surprise(7, &one, at(1, 1), "extra").0,
        surprise(7, &one, at(1, 2), "extra").0,
        surprise(8, &one, at(1, 2), "extra").0,
    ];
    assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), names.len());
    assert_eq!(surprise(7, &one, at(1, 1), "extra").0, surprise(7, &one, at(1, 1), "missing").0);
}

/// The owner's item tells where to go on, or that nothing has begun; what is not readable is no beginning.
#[test]
fn progress_comes_back() {
    let fields = || {
        Fields::default()
            .number("system_id", u64::MAX)
            .number("timeline", 3)
            .text("database", "shop")
            .text("slot", "understudy")
            .number("checkpoint", u64::MAX)
    };
    assert_eq!(Reading(&Fields::default().text("token", "t").0).progress(), Ok(None));
    let found = Reading(&fields().0).progress().unwrap().unwrap();
    assert_eq!((found.unseen, found.cursor, found.lineage.publication), (None, None, None));
    assert_eq!(found.checkpoint.lsn(), Lsn::new(u64::MAX));
    let full = fields().text("unseen", "7,9-12").bytes("cursor", b"\x00\xff").text("publication", "p");
    let found = Reading(&full.0).progress().unwrap().unwrap();
    assert_eq!(found.unseen, Some([7, 9, 10, 11, 12].map(Xid::new).to_vec()));
    assert_eq!(found.cursor.unwrap().0.as_ref(), b"\x00\xff");
    assert!(Reading(&fields().text("unseen", "7,x").0).progress().is_err());
}

/// A list that would not fit its item is as good as none, and one that does is kept exactly.
#[test]
fn unseen_transactions_are_kept_short() {
    let xids = |from: u64, step: usize, count: usize| {
        (from..).step_by(step).take(count).map(Xid::new).collect::<Vec<_>>()
    };
    assert_eq!(ranges(&xids(7, 1, 100_000)).as_deref(), Some("7-100006"));
    assert_eq!(ranges(&[]).as_deref(), Some(""));
    let some = xids(u64::MAX / 2, 2, 100);
    assert_eq!(super::xids(&ranges(&some).unwrap()), Some(some));
    assert_eq!(ranges(&xids(u64::MAX / 2, 2, 100_000)), None);
}

/// What others write into the table is not taken for anything.
#[test]
fn foreign_items_are_not_readable() {
    for of in ["unit#1#2", "elsewhere#1", "owner", ""] {
        assert_eq!(Reading(&stored((of.to_owned(), Note::Put(Item::new())))).form(), None, "{of}");
    }
}
