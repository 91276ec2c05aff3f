//! What the verifier writes is there after a restart, whole, and only one verifier writes it.

use understudy_contract::{
    Class, LedgerWrite, MismatchId, Resolution, SavedVerification, Sweep, VerifyLedger, Waiver,
};
use understudy_model::{Lsn, RouteId};
use understudy_postgres::sink::{SinkSettings, forget};

use crate::books::{Books, begin, key, mismatch, pass, range, routes};
use crate::support::until;

fn plan(route: u16) -> LedgerWrite {
    LedgerWrite::Plan { route: RouteId(route), fingerprint: "c1".to_owned() }
}

/// Ages grow by themselves, and ranges come in no order.
fn settled(mut saved: SavedVerification) -> SavedVerification {
    for route in &mut saved.routes {
        assert!(route.pass.completed_age_ms.is_none_or(|age| age < 60_000));
        route.pass.completed_age_ms = route.pass.completed_age_ms.map(|_| 0);
        for range in &mut route.ranges {
            assert!(range.age_ms < 60_000, "{}", range.age_ms);
            range.age_ms = 0;
        }
        route.ranges.sort_by_key(|range| (range.sweep, range.range.after.clone()));
    }
    saved
}

/// Promise: nothing that was verified, found or decided is forgotten by a restart, and nothing comes back as another thing.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_is_read_back_by_the_next_one() {
    let Some(books) = Books::open("kept").await else { return };
    let mut ledger = books.ledger().await;
    let first = ledger.claim().await.unwrap();
    let expected = SavedVerification { checkpoint: Lsn::new(0x2000), ..SavedVerification::default() };
    assert_eq!(first, expected, "a ledger that nobody has written to is empty");

    let odd: &[&str] = &["NULL", "{\"x\\\",y}"];
    let ranges = [
        range(Sweep::Blue, None, Some(odd)),
        range(Sweep::Blue, Some(odd), None),
        range(Sweep::Green, None, None),
    ];
    let mut unverified = range(Sweep::Both, None, None);
    (unverified.verified, unverified.horizon) = (None, None);
    let waived = {
        let waiver = Waiver { by: "me".to_owned(), reason: "known, and \"fine\"".to_owned() };
        understudy_contract::MismatchRecord { waived: Some(waiver), repair_asked: true, ..mismatch(2) }
    };
    let mut entries = vec![plan(0), plan(1), LedgerWrite::Pass(RouteId(0), pass(4, 3))];
    entries.extend(ranges.iter().map(|range| LedgerWrite::Range(RouteId(0), range.clone())));
    entries.push(LedgerWrite::Range(RouteId(1), unverified.clone()));
    entries.push(LedgerWrite::ChangedUpto(Lsn::new(0x1999)));
    entries.extend([mismatch(1), waived.clone(), mismatch(3)].map(LedgerWrite::Mismatch));
    entries.push(LedgerWrite::Resolved(MismatchId(3), Resolution::Converged));
    ledger.write(&entries).await.unwrap();
    ledger.close().await;

    let mut next = books.ledger().await;
    let saved = settled(next.claim().await.unwrap());
    assert_eq!(saved.routes.len(), 2);
    assert_eq!((saved.routes[0].route, saved.routes[0].fingerprint.as_str()), (RouteId(0), "c1"));
    assert_eq!(saved.routes[0].pass, pass(4, 3));
    assert_eq!(saved.routes[0].ranges, ranges);
    assert_eq!(
        (saved.routes[1].pass.clone(), saved.routes[1].ranges.clone()),
        (pass(0, 0).unmarked(), vec![unverified])
    );
    assert_eq!(saved.mismatches, [mismatch(1), waived]);
    assert_eq!((saved.last_mismatch, saved.changed_upto), (3, Lsn::new(0x1999)));
}

trait Unmarked {
    fn unmarked(self) -> Self;
}

impl Unmarked for understudy_contract::PassRecord {
    fn unmarked(self) -> Self {
        understudy_contract::PassRecord { dirty_upto: Lsn::ZERO, ..self }
    }
}

/// A range that was taken out, or a plan that was replaced, must not count as verified after a restart.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_replaced_is_gone() {
    let Some(books) = Books::open("replaced").await else { return };
    let mut ledger = books.ledger().await;
    ledger.claim().await.unwrap();
    let whole = range(Sweep::Both, None, Some(&["m", "1"]));
    let second = range(Sweep::Both, Some(&["m", "1"]), None);
    let entries = [&whole, &second].map(|range| LedgerWrite::Range(RouteId(0), range.clone()));
    ledger.write(&[plan(0)]).await.unwrap();
    ledger.write(&entries).await.unwrap();
    let joined =
        understudy_contract::RangeRecord { verified: None, horizon: None, ..range(Sweep::Both, None, None) };
    ledger
        .write(&[
            LedgerWrite::Forget(RouteId(0), Sweep::Both, Some(key(&["m", "1"]))),
            LedgerWrite::Range(RouteId(0), joined.clone()),
        ])
        .await
        .unwrap();
    let saved = ledger.claim().await.unwrap();
    assert_eq!(saved.routes[0].ranges, [joined]);
    ledger.write(&[LedgerWrite::Pass(RouteId(0), pass(2, 1)), plan(0)]).await.unwrap();
    let saved = ledger.claim().await.unwrap();
    assert_eq!((saved.routes[0].ranges.len(), saved.routes[0].pass.clone()), (0, Default::default()));
}

/// A mismatch that differs in another way than when it was waived is open again; one that is waived no longer counts as open.
#[tokio::test(flavor = "multi_thread")]
async fn a_waiver_ends_with_the_difference_it_was_for() {
    let Some(mut books) = Books::open("waived").await else { return };
    let mut ledger = books.ledger().await;
    ledger.claim().await.unwrap();
    let waiver = Waiver { by: "me".to_owned(), reason: "so".to_owned() };
    let waived = understudy_contract::MismatchRecord { waived: Some(waiver), ..mismatch(1) };
    ledger.write(&[LedgerWrite::Mismatch(mismatch(1))]).await.unwrap();
    ledger.write(&[LedgerWrite::Mismatch(waived.clone())]).await.unwrap();
    let state = "SELECT coalesce(resolution, 'open') FROM understudy.verify_mismatches";
    assert_eq!(books.text(state).await, "waived");
    assert_eq!(ledger.claim().await.unwrap().mismatches, [waived]);
    ledger.write(&[LedgerWrite::Mismatch(mismatch(1))]).await.unwrap();
    assert_eq!(books.text(state).await, "open");
    assert_eq!(ledger.claim().await.unwrap().mismatches, [mismatch(1)]);
}

/// Two verifiers would each overwrite what the other has found.
#[tokio::test(flavor = "multi_thread")]
async fn one_verifier_at_a_time_holds_it() {
    let Some(books) = Books::open("one_holder").await else { return };
    let (mut first, mut second) = (books.ledger().await, books.ledger().await);
    first.claim().await.unwrap();
    let refused = second.claim().await.unwrap_err();
    assert_eq!(refused.class(), Class::Transient, "{refused}");
    let told = refused.to_string();
    assert!(told.contains("another verifier holds it: understudy/ledger/books/"), "{told}");
    assert_eq!(second.write(&[plan(0)]).await.unwrap_err().class(), Class::Transient);
    first.write(&[plan(0)]).await.unwrap();
    first.close().await;
    until("the ledger is free", || async { books.ledger().await.claim().await.is_ok() }).await;
}

/// A connection that broke must not keep its own successor out, nor may it be written over without a new claim.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_claimed_anew() {
    let Some(mut books) = Books::open("reconnects").await else { return };
    let mut ledger = books.ledger().await;
    ledger.claim().await.unwrap();
    ledger.write(&[plan(0), LedgerWrite::ChangedUpto(Lsn::new(7))]).await.unwrap();
    let end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name LIKE '%/books/%'";
    assert_eq!(books.text(end).await, "t");
    assert_eq!(
        ledger.write(&[LedgerWrite::ChangedUpto(Lsn::new(8))]).await.unwrap_err().class(),
        Class::Transient
    );
    assert_eq!(ledger.news().await.unwrap_err().class(), Class::Transient, "it is not held any more");
    assert_eq!(ledger.claim().await.unwrap().changed_upto, Lsn::new(7));
    // Once more, while the server still believes in the session before.
    assert_eq!(ledger.claim().await.unwrap().changed_upto, Lsn::new(7));
    ledger.write(&[LedgerWrite::ChangedUpto(Lsn::new(8))]).await.unwrap();
}

/// Half of a call would be worse than none: a range that counts as verified without the mismatch that was found in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_written_whole_or_not_at_all() {
    let Some(mut books) = Books::open("whole").await else { return };
    let mut ledger = books.ledger().await;
    ledger.claim().await.unwrap();
    ledger.write(&[plan(0)]).await.unwrap();
    books.admin.batch("ALTER TABLE understudy.verify_mismatches ADD CHECK (id <> 2)").await.unwrap();
    let entries = [
        LedgerWrite::Range(RouteId(0), range(Sweep::Both, None, None)),
        LedgerWrite::ChangedUpto(Lsn::new(9)),
        LedgerWrite::Mismatch(mismatch(1)),
        LedgerWrite::Mismatch(mismatch(2)),
    ];
    ledger.write(&entries).await.unwrap_err();
    let saved = ledger.claim().await.unwrap();
    assert_eq!((saved.routes[0].ranges.len(), saved.mismatches.len()), (0, 0));
    assert_eq!((saved.changed_upto, saved.last_mismatch), (Lsn::ZERO, 0));
    ledger.write(&entries[..3]).await.unwrap();
    assert_eq!(ledger.claim().await.unwrap().routes[0].ranges.len(), 1);
}

/// Tables of thousands of ranges are read in one query each, and written in few.
#[tokio::test(flavor = "multi_thread")]
async fn many_ranges_are_kept() {
    let Some(books) = Books::open("many").await else { return };
    let mut ledger = books.ledger().await;
    ledger.claim().await.unwrap();
    let keys = (0..20_001).map(|at| format!("{at:07}")).collect::<Vec<_>>();
    let mut entries =
        vec![plan(1), LedgerWrite::Range(RouteId(1), range(Sweep::Both, None, Some(&[&keys[0]])))];
    for pair in keys.windows(2) {
        let one = range(Sweep::Both, Some(&[&pair[0]]), Some(&[&pair[1]]));
        entries.push(LedgerWrite::Range(RouteId(1), one));
    }
    let started = std::time::Instant::now();
    ledger.write(&entries).await.unwrap();
    let written = started.elapsed();
    let saved = ledger.claim().await.unwrap();
    assert_eq!(saved.routes[0].ranges.len(), 20_001);
    eprintln!("20,001 ranges: written in {written:?}, read after {:?}", started.elapsed());
    let all = keys
        .iter()
        .map(|one| LedgerWrite::Forget(RouteId(1), Sweep::Both, Some(key(&[one]))))
        .collect::<Vec<_>>();
    ledger.write(&all).await.unwrap();
    assert_eq!(ledger.claim().await.unwrap().routes[0].ranges.len(), 1);
}

/// A key may be as long as an index of its own permits, and still its range has to be known.
#[tokio::test(flavor = "multi_thread")]
async fn a_range_may_begin_at_a_long_key() {
    let Some(books) = Books::open("long_key").await else { return };
    let mut ledger = books.ledger().await;
    ledger.claim().await.unwrap();
    // What does not compress, and is nearly as long as an entry of an index can be.
    let long =
        (0..2_600_u64).map(|at| char::from(33 + (at * at * 7919 % 9973 % 90) as u8)).collect::<String>();
    let one = range(Sweep::Both, Some(&[&long, "1"]), None);
    ledger.write(&[plan(0), LedgerWrite::Range(RouteId(0), one.clone())]).await.unwrap();
    assert_eq!(settled(ledger.claim().await.unwrap()).routes[0].ranges, [one]);
}

/// What was verified of a route that left the migration counts for nothing when it comes back: in between nobody followed it.
#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_left_is_forgotten() {
    let Some(mut books) = Books::open("departed").await else { return };
    let mut ledger = books.ledger().await;
    ledger.claim().await.unwrap();
    let whole = range(Sweep::Both, None, None);
    let entries =
        [plan(0), plan(1)].into_iter().chain([0, 1].map(|n| LedgerWrite::Range(RouteId(n), whole.clone())));
    ledger.write(&entries.collect::<Vec<_>>()).await.unwrap();
    ledger.write(&[LedgerWrite::Mismatch(mismatch(1))]).await.unwrap();
    ledger.close().await;
    let mut without = books.ledger_of(routes().split_off(1)).await;
    let saved = without.claim().await.unwrap();
    assert_eq!((saved.routes.len(), saved.mismatches.len(), saved.last_mismatch), (1, 0, 1));
    assert_eq!((saved.routes[0].route, saved.routes[0].ranges.len()), (RouteId(1), 1));
    assert_eq!(books.text("SELECT resolution FROM understudy.verify_mismatches").await, "gone");
    without.close().await;
    until("the ledger is free", || async { books.ledger().await.claim().await.is_ok() }).await;
    assert_eq!(books.text("SELECT count(*) FROM understudy.verify_ranges").await, "1");
}

/// The sink forgets routes whose changes were missed: then nothing is known of what their rows hold.
#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_the_sink_forgets_is_forgotten_here_too() {
    let Some(mut books) = Books::open("sink_forgets").await else { return };
    let mut ledger = books.ledger().await;
    ledger.claim().await.unwrap();
    let whole = range(Sweep::Both, None, None);
    let entries =
        [plan(0), plan(1)].into_iter().chain([0, 1].map(|n| LedgerWrite::Range(RouteId(n), whole.clone())));
    ledger.write(&entries.collect::<Vec<_>>()).await.unwrap();
    ledger.write(&[LedgerWrite::Mismatch(mismatch(1))]).await.unwrap();
    books.sink.forget_routes(&[RouteId(0)], "v2").await.unwrap();
    let saved = ledger.claim().await.unwrap();
    assert_eq!(saved.routes.iter().map(|route| route.route).collect::<Vec<_>>(), [RouteId(1)]);
    assert_eq!((saved.mismatches.len(), saved.last_mismatch), (0, 1));
    assert_eq!(books.text("SELECT count(*) FROM understudy.verify_ranges").await, "1");
}

/// An ending removes what verification left, and a verifier that goes on writing is told instead of leaving rows behind.
#[tokio::test(flavor = "multi_thread")]
async fn an_ending_takes_the_ledger_with_it() {
    let Some(mut books) = Books::open_as("ended", "ending").await else { return };
    let mut ledger = books.ledger().await;
    ledger.claim().await.unwrap();
    ledger.write(&[plan(0), LedgerWrite::Range(RouteId(0), range(Sweep::Both, None, None))]).await.unwrap();
    let settings = SinkSettings::new("ending");
    let removed = forget(&books.options, &settings, false).await.unwrap();
    assert!(removed.iter().any(|what| what.contains("sessions of this migration")), "{removed:?}");
    assert_eq!(books.text("SELECT count(*) FROM pg_namespace WHERE nspname = 'understudy'").await, "0");
    assert_eq!(
        ledger.write(&[plan(0)]).await.unwrap_err().class(),
        Class::Transient,
        "its session was ended"
    );
    assert_eq!(ledger.claim().await.unwrap_err().class(), Class::Superseded);

    // Beside another migration the tables stay, and the rows of the ended one go.
    books.sink = begin(&books.options, "ending").await;
    ledger.claim().await.unwrap();
    books.admin.batch("INSERT INTO understudy.migration (name, owner) VALUES ('other', 'x')").await.unwrap();
    ledger.write(&[plan(0), LedgerWrite::Mismatch(mismatch(1))]).await.unwrap();
    forget(&books.options, &settings, false).await.unwrap();
    for table in
        ["verify_state", "verify_routes", "verify_ranges", "verify_mismatches", "requests", "answers"]
    {
        assert_eq!(books.text(&format!("SELECT count(*) FROM understudy.{table}")).await, "0", "{table}");
    }
}

/// What a verifier writes after its migration's rows are gone would stay for ever.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_for_a_migration_that_is_gone() {
    let Some(mut books) = Books::open("gone").await else { return };
    let mut ledger = books.ledger().await;
    ledger.claim().await.unwrap();
    books.admin.batch("DELETE FROM understudy.verify_state").await.unwrap();
    assert_eq!(ledger.write(&[plan(0)]).await.unwrap_err().class(), Class::Superseded);
    assert_eq!(books.text("SELECT count(*) FROM understudy.verify_routes").await, "0");
}
