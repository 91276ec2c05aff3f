//! Single cases, sight by sight: what the simulation meets too rarely to show, or cannot meet.

use understudy_contract::{
    Awaits, BlueMoment, CompareRule, ComparedColumn, GreenMoment, KeyRelation, MismatchKind, RowDigest,
    RowName, RowSeen, RowVersion, SeenValue,
};
use understudy_model::{Checkpoint, Key, Lsn, Xid};
use understudy_verify::settle::{Case, Horizon, Ruling, Sight};

const AGAIN: Ruling = Ruling::Again { thorough: false };

fn columns(rule: CompareRule) -> Vec<ComparedColumn> {
    vec![ComparedColumn { name: "a".into(), rule }]
}

/// A row with this value in this version; its values only with `Some`.
fn row(value: u8, version: u32, values: bool) -> Option<RowSeen> {
    let text = || Some(value.to_string().into());
    Some(RowSeen {
        name: RowName { green: Key::from_texts([&b"1"[..]]), blue: None },
        digest: RowDigest(value.into()),
        version: Some(RowVersion { text: version.to_string().into(), xid: version }),
        values: values.then(|| vec![SeenValue { text: text(), compared: text() }]),
        foreign: None,
    })
}

/// A sight of both rows where blue's log and green were here, with nothing in between.
fn sight(at: u64, on_blue: Option<RowSeen>, on_green: Option<RowSeen>) -> Sight {
    let snapshot = "100:100:".parse().unwrap();
    Sight {
        blue: BlueMoment { snapshot, lsn: Lsn::new(at) },
        green: GreenMoment { checkpoint: Checkpoint::at_commit_end(Lsn::new(at)), unseen: Some(Vec::new()) },
        on_blue,
        on_green,
        awaited: None,
        thorough: true,
        ambiguous: false,
    }
}

/// A difference is ruled on the second sight, and with its values on the third; values once read are remembered.
#[test]
fn a_difference_takes_two_sights_and_its_values() {
    let exact = columns(CompareRule::Exact);
    let mut case = Case::new(KeyRelation::Aligned);
    assert_eq!(case.see(sight(10, row(1, 5, false), row(2, 6, false)), &exact), AGAIN);
    assert_eq!(case.see(sight(11, row(1, 5, false), row(2, 6, false)), &exact), Ruling::Confirm);
    let Ruling::Differs(difference) = case.see(sight(12, row(1, 5, true), row(2, 6, true)), &exact) else {
        panic!("not ruled");
    };
    assert_eq!((difference.kind, difference.columns), (MismatchKind::Differs, vec!["a".to_owned()]));
    assert_eq!((difference.at, case.attempts()), (Lsn::new(12), 3));

    let mut case = Case::new(KeyRelation::Aligned);
    assert_eq!(case.see(sight(10, row(1, 5, true), None), &exact), AGAIN);
    let Ruling::Differs(difference) = case.see(sight(11, row(1, 5, false), None), &exact) else {
        panic!("not ruled");
    };
    assert_eq!(difference.kind, MismatchKind::Missing);
    assert!(difference.on_blue.unwrap().values.is_some());
}

/// Digests of values within a tolerance differ: only values decide.
#[test]
fn a_tolerance_is_a_matter_of_values() {
    let tolerant = columns(CompareRule::Tolerance("1".into()));
    let mut case = Case::new(KeyRelation::Aligned);
    assert_eq!(case.see(sight(10, row(1, 5, false), row(2, 6, false)), &tolerant), AGAIN);
    assert_eq!(case.see(sight(11, row(1, 5, false), row(2, 6, false)), &tolerant), Ruling::Confirm);
    let at = Lsn::new(12);
    assert_eq!(case.see(sight(12, row(1, 5, true), row(2, 6, true)), &tolerant), Ruling::Equal { at });
}

/// Of two rows with one key on green either may look right: such a key is never equal, and blue is searched in full.
#[test]
fn a_key_of_two_rows_is_never_equal() {
    let exact = columns(CompareRule::Exact);
    let mut case = Case::new(KeyRelation::Computed);
    for at in 10..20 {
        let two = Sight { ambiguous: true, ..sight(at, row(1, 5, false), row(1, 6, false)) };
        assert_eq!(case.see(two, &exact), Ruling::Again { thorough: true });
    }
}

/// What a side showed before it went back shows nothing of it now: a standby that took over, or reads in the wrong order.
#[test]
fn sights_from_before_a_side_went_back_are_forgotten() {
    let exact = columns(CompareRule::Exact);
    let different = |at| sight(at, row(1, 5, true), row(2, 6, true));
    let mut green_went_back = different(19);
    green_went_back.blue.lsn = Lsn::new(15);
    let mut snapshot_went_back = different(21);
    snapshot_went_back.blue.snapshot = "90:90:".parse().unwrap();
    let mut read_too_early = different(30);
    read_too_early.blue.lsn = Lsn::new(19);
    for back in [different(19), green_went_back, snapshot_went_back, read_too_early] {
        let mut case = Case::new(KeyRelation::Aligned);
        assert_eq!(case.see(different(20), &exact), AGAIN);
        assert_eq!(case.see(back, &exact), AGAIN);
        assert!(matches!(case.see(different(40), &exact), Ruling::Differs(_)));
    }
}

/// A value that changes while its row's version stays was changed by a definition: versions prove nothing across that.
#[test]
fn versions_prove_nothing_where_values_change_under_them() {
    let exact = columns(CompareRule::Exact);
    let mut case = Case::new(KeyRelation::Aligned);
    assert_eq!(case.see(sight(10, row(1, 5, true), row(2, 6, true)), &exact), AGAIN);
    assert_eq!(case.see(sight(11, row(3, 5, true), row(2, 6, true)), &exact), AGAIN);
}

/// Where nobody can list what blue does not show yet, and where rows have no versions, nothing is ever shown.
#[test]
fn nothing_is_shown_without_versions_or_the_unseen() {
    let exact = columns(CompareRule::Exact);
    let mut case = Case::new(KeyRelation::Aligned);
    for at in 10..20 {
        let mut unknown = sight(at, row(1, 5, true), row(2, 6, true));
        unknown.green.unseen = None;
        assert_eq!(case.see(unknown, &exact), AGAIN);
    }
    let bare = |value| row(value, 0, true).map(|row| RowSeen { version: None, ..row });
    let mut case = Case::new(KeyRelation::Aligned);
    for at in 10..20 {
        assert_eq!(case.see(sight(at, bare(1), bare(2)), &exact), AGAIN);
    }
}

/// A row that was owed at an earlier sight is not held against what green has now.
#[test]
fn a_debt_of_earlier_is_not_held_against_green() {
    let exact = columns(CompareRule::Exact);
    for owed in [Awaits::Heal, Awaits::Quarantine] {
        let mut case = Case::new(KeyRelation::Aligned);
        let earlier = Sight { awaited: Some(owed), ..sight(10, row(1, 5, true), None) };
        assert_eq!(case.see(earlier, &exact), AGAIN);
        assert_eq!(case.see(sight(11, row(1, 5, true), row(2, 6, true)), &exact), AGAIN);
    }
    let mut case = Case::new(KeyRelation::Aligned);
    let aside = |at| Sight { awaited: Some(Awaits::Quarantine), ..sight(at, row(1, 5, true), None) };
    assert_eq!(case.see(aside(10), &exact), AGAIN);
    assert!(matches!(case.see(aside(11), &exact), Ruling::Differs(of) if of.awaited.is_some()));
}

/// That a computed key is on neither side is believed at first sight, and of a known mismatch after a search only: the
/// row's old key on blue tells nothing of the row that has its key now.
#[test]
fn a_known_mismatch_is_not_over_before_blue_was_searched() {
    let exact = columns(CompareRule::Exact);
    let by_name = |at| Sight { thorough: false, ..sight(at, None, None) };
    let at = Lsn::new(10);
    assert_eq!(Case::new(KeyRelation::Computed).see(by_name(10), &exact), Ruling::Equal { at });
    let mut case = Case::of_mismatch(KeyRelation::Computed);
    assert_eq!(case.see(by_name(9), &exact), Ruling::Again { thorough: true });
    assert_eq!(case.see(sight(10, None, None), &exact), Ruling::Equal { at });
}

/// A transaction that is logged and not visible ends what a read covers, until a read shows it.
#[test]
fn a_horizon_ends_where_something_cannot_be_seen() {
    let blue = |snapshot: &str| BlueMoment { snapshot: snapshot.parse().unwrap(), lsn: Lsn::new(90) };
    let green = |at, unseen: &[u64]| GreenMoment {
        checkpoint: Checkpoint::at_commit_end(Lsn::new(at)),
        unseen: Some(unseen.iter().copied().map(Xid::new).collect()),
    };
    let mut horizon = Horizon::default();
    assert_eq!(horizon.of(&blue("100:100:")), None);
    horizon.green(&green(10, &[]));
    horizon.green(&green(20, &[50]));
    horizon.green(&GreenMoment { unseen: None, ..green(30, &[]) });
    assert_eq!(horizon.of(&blue("50:100:50")), Some(Lsn::new(10)));
    assert_eq!(horizon.of(&blue("100:100:")), Some(Lsn::new(20)));
    horizon.green(&green(15, &[]));
    assert_eq!(horizon.of(&blue("100:100:")), Some(Lsn::new(15)), "green went back");
}
