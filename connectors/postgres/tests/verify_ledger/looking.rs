//! What people read of the ledger.

use understudy_contract::{
    LedgerWrite, MismatchId, RangeRecord, Resolution, Sweep, VerifyLedger, Waiver, WhichMismatches,
};
use understudy_model::{Lsn, RouteId};
use understudy_postgres::verify_ledger::{mismatch, mismatches, progress, range_of, server_time};

use crate::books::{Books, MIGRATION, key, pass, range, routes};

fn record(id: u64) -> understudy_contract::MismatchRecord {
    crate::books::mismatch(id)
}

/// An operator decides by this list: nothing open may be missing from it, and nothing resolved may look open.
#[tokio::test(flavor = "multi_thread")]
async fn mismatches_are_listed_with_what_became_of_them() {
    let Some(mut books) = Books::open("listed").await else { return };
    assert_eq!(mismatches(&mut books.admin, MIGRATION, WhichMismatches::All).await.unwrap(), []);
    let mut ledger = books.ledger().await;
    ledger.claim().await.unwrap();
    let waiver = Waiver { by: "me".to_owned(), reason: "so".to_owned() };
    let waived = understudy_contract::MismatchRecord { waived: Some(waiver), ..record(2) };
    let entries = [record(1), waived, record(3)].map(LedgerWrite::Mismatch);
    ledger.write(&entries).await.unwrap();
    ledger.write(&[LedgerWrite::Resolved(MismatchId(3), Resolution::Repaired)]).await.unwrap();
    let standing = mismatches(&mut books.admin, MIGRATION, WhichMismatches::Standing).await.unwrap();
    assert_eq!(
        standing.iter().map(|one| (one.id.0, one.is_open())).collect::<Vec<_>>(),
        [(1, true), (2, false)]
    );
    let by = standing[1].waived.as_ref().unwrap();
    assert_eq!((by.0.as_str(), by.1.as_str()), ("me", "so"));
    let all = mismatches(&mut books.admin, MIGRATION, WhichMismatches::All).await.unwrap();
    assert_eq!(all[2].resolved.as_ref().unwrap().0, Resolution::Repaired);
    assert!(all[2].resolved.as_ref().unwrap().1.ends_with('Z'));
    let one = mismatch(&mut books.admin, MIGRATION, MismatchId(1)).await.unwrap().unwrap();
    assert_eq!((&one.key, &one.columns), (&record(1).name.green, &record(1).columns));
    assert_eq!(mismatch(&mut books.admin, MIGRATION, MismatchId(9)).await.unwrap(), None);
    let hash = "SELECT left(encode(sha256(convert_to(key[1] || ',' || key[2], 'UTF8')), 'hex'), 16) \
        FROM understudy.verify_mismatches WHERE id = 1";
    assert_eq!(books.text(hash).await, one.key_hash());
}

/// `verify` says that everything was verified anew on the strength of this.
#[tokio::test(flavor = "multi_thread")]
async fn a_pass_is_complete_once_every_range_was_verified_since() {
    let Some(mut books) = Books::open("progress").await else { return };
    let mut ledger = books.ledger().await;
    ledger.claim().await.unwrap();
    let halves = [range(Sweep::Both, None, Some(&["m", "1"])), range(Sweep::Both, Some(&["m", "1"]), None)];
    let write = |halves: &[RangeRecord]| {
        halves.iter().map(|half| LedgerWrite::Range(RouteId(0), half.clone())).collect::<Vec<_>>()
    };
    let planned = LedgerWrite::Plan { route: RouteId(0), fingerprint: "c1".to_owned() };
    ledger.write(&[planned, LedgerWrite::Pass(RouteId(0), pass(1, 1))]).await.unwrap();
    ledger.write(&write(&halves)).await.unwrap();
    ledger.write(&[LedgerWrite::Mismatch(record(1))]).await.unwrap();
    let since = server_time(&mut books.admin).await.unwrap();
    let before = progress(&mut books.admin, MIGRATION, &since).await.unwrap();
    let [before] = before.as_slice() else { panic!("one route") };
    assert_eq!((before.ranges, before.ranges_anew, before.ranges_verified, before.anew), (2, 0, 2, false));
    assert_eq!((before.rows, before.coverage(), before.open, before.open_total()), (24, 1.0, [0, 0, 1], 1));

    ledger.write(&[LedgerWrite::Pass(RouteId(0), pass(2, 2))]).await.unwrap();
    ledger.write(&write(&halves[..1])).await.unwrap();
    let half = progress(&mut books.admin, MIGRATION, &since).await.unwrap().remove(0);
    assert_eq!((half.ranges_anew, half.anew), (1, false), "another pass has ended, and a range was left out");
    ledger.write(&write(&halves[1..])).await.unwrap();
    let done = progress(&mut books.admin, MIGRATION, &since).await.unwrap().remove(0);
    assert_eq!((done.ranges_anew, done.anew, done.completed), (2, true, 2));

    let marked = understudy_contract::PassRecord { dirty_upto: Lsn::new(0x1235), ..pass(2, 2) };
    ledger.write(&[LedgerWrite::Pass(RouteId(0), marked)]).await.unwrap();
    let marked = progress(&mut books.admin, MIGRATION, &since).await.unwrap().remove(0);
    assert_eq!((marked.ranges_verified, marked.coverage()), (0, 0.0), "what was not followed does not count");
}

/// Ranges lie in the order of the index, by the types of its columns; a key is written in the route's order.
#[tokio::test(flavor = "multi_thread")]
async fn the_range_of_a_row_is_found_by_the_order_of_the_index() {
    let Some(mut books) = Books::open("located").await else { return };
    let mut ledger = books.ledger().await;
    ledger.claim().await.unwrap();
    // The index is over (b, a): by number first.
    let bounds = [None, Some(["z", "9"]), Some(["a", "10"])];
    let mut entries = vec![LedgerWrite::Plan { route: RouteId(0), fingerprint: "c1".to_owned() }];
    for (at, after) in bounds.iter().enumerate() {
        let upto = bounds.get(at + 1).and_then(Option::as_ref);
        let one = range(Sweep::Both, after.as_ref().map(|after| &after[..]), upto.map(|upto| &upto[..]));
        let one = RangeRecord { verified: Some(Lsn::new(at as u64 + 1)), ..one };
        entries.push(LedgerWrite::Range(RouteId(0), one));
    }
    ledger.write(&entries).await.unwrap();
    let route = routes().remove(0);
    for (of, lsn) in [
        (["zz", "8"], 1),
        (["z", "9"], 1),
        (["zz", "9"], 2),
        (["a", "10"], 2),
        (["b", "10"], 3),
        (["a", "100"], 3),
    ] {
        let found = range_of(&mut books.admin, MIGRATION, &route, &key(&of)).await.unwrap();
        assert_eq!(found.map(|(lsn, _)| lsn), Some(Lsn::new(lsn)), "{of:?}");
    }
    let other = routes().remove(1);
    assert_eq!(range_of(&mut books.admin, MIGRATION, &other, &key(&["1"])).await.unwrap(), None);
}
