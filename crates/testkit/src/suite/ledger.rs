//! The sentences of [`VerifyLedger`], as cases that run against any implementation.

use std::future::Future;

use understudy_contract::{
    Ask, Cause, Class, KeyRange, LedgerWrite, MismatchId, MismatchKind, MismatchRecord, PassRecord,
    RangeDigest, RangeRecord, Resolution, RowName, SavedComparison, SavedVerification, Sweep, VerifyLedger,
    Waiver,
};
use understudy_model::{Key, Lsn, RouteId, TableName, Xid};

use super::{ITEMS, PLACES, Verdict, ensure, failed, key};

/// More entries than any store writes in one piece.
const MANY: u64 = 450;

/// A ledger, and what people do with it. Its migration has begun, and the copies of its routes are complete.
pub trait LedgerUnderTest {
    /// The implementation.
    type Ledger: VerifyLedger;

    /// A new instance of the process that owns the migration, over the routes 0 and 1, which has claimed nothing yet.
    fn connect(&self) -> impl Future<Output = Self::Ledger>;

    /// Lets an instance go in order, so that another one can claim.
    fn close(&self, ledger: Self::Ledger) -> impl Future<Output = ()>;

    /// Leaves a request.
    fn ask(&self, ask: &Ask) -> impl Future<Output = u64>;

    /// The answer to a request.
    fn answer(&self, request: u64) -> impl Future<Output = Option<String>>;

    /// Takes a request back, and returns the answer if there is one.
    fn withdraw(&self, request: u64) -> impl Future<Output = Option<String>>;
}

/// Runs every case, each on a store that `make` creates under the case's name, and says which sentence is not kept.
pub async fn run_ledger_suite<S, F>(make: impl Fn(&'static str) -> F) -> Result<(), String>
where
    S: LedgerUnderTest,
    F: Future<Output = S>,
{
    macro_rules! cases {
        ($($case:ident),* $(,)?) => {$(
            let store = make(stringify!($case)).await;
            $case(&store).await.map_err(|why| format!("{}: {why}", stringify!($case)))?;
        )*};
    }
    cases![
        what_was_written_is_claimed,
        what_was_written_last_counts,
        a_new_plan_forgets_ranges,
        many_entries_are_written_at_once,
        mismatches_stand_until_they_end,
        requests_are_told_once_and_answered,
        requests_that_are_withdrawn_are_not_told,
        nothing_is_written_without_a_claim,
    ];
    Ok(())
}

async fn claimed<S: LedgerUnderTest>(store: &S) -> Result<(S::Ledger, SavedVerification), String> {
    let mut ledger = store.connect().await;
    let saved = ledger.claim().await.map_err(failed)?;
    Ok((ledger, saved))
}

/// What a new instance finds once this one has let go.
async fn after<S: LedgerUnderTest>(store: &S, ledger: S::Ledger) -> Result<SavedVerification, String> {
    store.close(ledger).await;
    let (next, mut saved) = claimed(store).await?;
    store.close(next).await;
    saved.routes.sort_by_key(|route| route.route);
    saved.routes.iter_mut().for_each(|route| route.ranges.sort_by(|a, b| a.range.after.cmp(&b.range.after)));
    Ok(saved)
}

async fn write<S: LedgerUnderTest>(ledger: &mut S::Ledger, entries: &[LedgerWrite]) -> Verdict {
    ledger.write(entries).await.map_err(failed)
}

fn plan(route: RouteId, fingerprint: &str) -> LedgerWrite {
    LedgerWrite::Plan { route, fingerprint: fingerprint.to_owned() }
}

fn range(after: Option<Key>, upto: Option<Key>, verified: Option<u64>) -> RangeRecord {
    RangeRecord {
        sweep: Sweep::Green,
        range: KeyRange { after, upto },
        rows: 7,
        digest: RangeDigest { rows: 7, upper: i128::from(i64::MIN) * 9, lower: 5 },
        verified: verified.map(Lsn::new),
        horizon: verified.map(Xid::new),
        age_ms: 0,
    }
}

fn mismatch(id: u64) -> MismatchRecord {
    MismatchRecord {
        id: MismatchId(id),
        route: ITEMS,
        name: RowName { green: key(&["a,\"b\"", ""]), blue: Some(key(&["1"])) },
        kind: MismatchKind::Differs,
        columns: vec!["n".to_owned(), "doc".to_owned()],
        cause: Cause::ForeignWrite,
        digests: ("a1".to_owned(), String::new()),
        found_at: Lsn::new(77),
        by_stream: false,
        repair_asked: false,
        waived: None,
    }
}

/// The age of what was written a moment ago is not compared: it is a moment.
fn ageless(saved: &mut SavedVerification) {
    saved.routes.iter_mut().flat_map(|route| &mut route.ranges).for_each(|range| range.age_ms = 0);
}

async fn what_was_written_is_claimed<S: LedgerUnderTest>(store: &S) -> Verdict {
    let (mut ledger, fresh) = claimed(store).await?;
    ensure(fresh.routes.is_empty() && fresh.mismatches.is_empty(), "a fresh ledger holds something")?;
    ensure((fresh.last_mismatch, fresh.changed_upto) == (0, Lsn::ZERO), "a fresh ledger is somewhere")?;
    let ranges = [range(None, Some(key(&["b"])), Some(9)), range(Some(key(&["b"])), None, None)];
    let pass = PassRecord { number: 3, completed: 2, completed_age_ms: None, dirty_upto: Lsn::new(8) };
    let mut entries = vec![plan(ITEMS, "one"), plan(PLACES, "other"), LedgerWrite::Pass(ITEMS, pass.clone())];
    entries.extend(ranges.iter().map(|range| LedgerWrite::Range(ITEMS, range.clone())));
    entries.extend([LedgerWrite::ChangedUpto(Lsn::new(99)), LedgerWrite::Mismatch(mismatch(4))]);
    write::<S>(&mut ledger, &entries).await?;
    let mut saved = after(store, ledger).await?;
    ageless(&mut saved);
    let wanted =
        SavedComparison { route: ITEMS, fingerprint: "one".to_owned(), pass, ranges: ranges.to_vec() };
    ensure(saved.routes.first() == Some(&wanted), format!("{:?} came back", saved.routes.first()))?;
    ensure(saved.routes.len() == 2, "a route is missing")?;
    ensure(saved.mismatches == [mismatch(4)], "a mismatch came back as another one")?;
    ensure((saved.last_mismatch, saved.changed_upto) == (4, Lsn::new(99)), "it is not where it was")
}

async fn what_was_written_last_counts<S: LedgerUnderTest>(store: &S) -> Verdict {
    let (mut ledger, _) = claimed(store).await?;
    let bound = || Some(key(&["b"]));
    let entries = [
        plan(ITEMS, "one"),
        LedgerWrite::Range(ITEMS, range(None, bound(), None)),
        LedgerWrite::Range(ITEMS, range(bound(), None, None)),
        LedgerWrite::Range(ITEMS, range(None, None, Some(5))),
        LedgerWrite::Forget(ITEMS, Sweep::Green, bound()),
    ];
    write::<S>(&mut ledger, &entries).await?;
    let mut saved = after(store, ledger).await?;
    ageless(&mut saved);
    let found = saved.routes.first().map(|route| route.ranges.clone());
    ensure(found == Some(vec![range(None, None, Some(5))]), format!("{found:?} came back"))
}

async fn a_new_plan_forgets_ranges<S: LedgerUnderTest>(store: &S) -> Verdict {
    let (mut ledger, _) = claimed(store).await?;
    let pass = PassRecord { number: 3, completed: 2, ..PassRecord::default() };
    let entries = [
        plan(ITEMS, "one"),
        LedgerWrite::Range(ITEMS, range(None, None, Some(5))),
        LedgerWrite::Pass(ITEMS, pass),
    ];
    write::<S>(&mut ledger, &entries).await?;
    write::<S>(&mut ledger, &[plan(ITEMS, "two")]).await?;
    let saved = after(store, ledger).await?;
    let wanted = SavedComparison {
        route: ITEMS,
        fingerprint: "two".to_owned(),
        pass: PassRecord::default(),
        ranges: Vec::new(),
    };
    ensure(saved.routes == [wanted], format!("{:?} came back", saved.routes))
}

async fn many_entries_are_written_at_once<S: LedgerUnderTest>(store: &S) -> Verdict {
    let (mut ledger, _) = claimed(store).await?;
    let at = |n: u64| (n > 0).then(|| key(&[&format!("{n:05}")]));
    let mut entries = vec![plan(ITEMS, "one")];
    for n in 0..MANY {
        let upto = if n + 1 < MANY { at(n + 1) } else { None };
        entries.push(LedgerWrite::Range(ITEMS, range(at(n), upto, Some(n + 1))));
        entries.push(LedgerWrite::Mismatch(mismatch(n + 1)));
    }
    write::<S>(&mut ledger, &entries).await?;
    let ended = (1..=MANY).map(|id| LedgerWrite::Resolved(MismatchId(id), Resolution::Repaired));
    write::<S>(&mut ledger, &ended.take(300).collect::<Vec<_>>()).await?;
    let saved = after(store, ledger).await?;
    let ranges = saved.routes.first().map_or(0, |route| route.ranges.len() as u64);
    ensure(ranges == MANY, format!("{ranges} of {MANY} ranges came back"))?;
    let left = saved.mismatches.iter().map(|record| record.id.0).collect::<Vec<_>>();
    ensure(left == (301..=MANY).collect::<Vec<_>>(), format!("{} mismatches stand", left.len()))
}

async fn mismatches_stand_until_they_end<S: LedgerUnderTest>(store: &S) -> Verdict {
    let (mut ledger, _) = claimed(store).await?;
    let waiver = Waiver { by: "me".to_owned(), reason: "known".to_owned() };
    let waived = MismatchRecord { waived: Some(waiver), ..mismatch(2) };
    let asked = MismatchRecord { repair_asked: true, cause: Cause::Unknown, ..mismatch(3) };
    let mut entries = vec![plan(ITEMS, "one")];
    entries.extend((1..=3).map(|id| LedgerWrite::Mismatch(mismatch(id))));
    write::<S>(&mut ledger, &entries).await?;
    let changes = [
        LedgerWrite::Resolved(MismatchId(1), Resolution::Converged),
        LedgerWrite::Mismatch(waived.clone()),
        LedgerWrite::Mismatch(asked.clone()),
    ];
    write::<S>(&mut ledger, &changes).await?;
    let saved = after(store, ledger).await?;
    ensure(saved.mismatches == [waived, asked], "mismatches came back as others")?;
    ensure(saved.last_mismatch == 3, "a number would be used again")
}

async fn requests_are_told_once_and_answered<S: LedgerUnderTest>(store: &S) -> Verdict {
    let asks = [
        Ask::Repair(vec![MismatchId(7), MismatchId(8)]),
        Ask::Pass(vec![TableName::new("Shop", "order lines")]),
        Ask::Limits(vec![("rows_per_second".to_owned(), "5000".to_owned())]),
    ];
    let (mut ledger, _) = claimed(store).await?;
    let mut numbers = Vec::new();
    for ask in &asks {
        numbers.push(store.ask(ask).await);
    }
    let told = ledger.news().await.map_err(failed)?.requests;
    ensure(told.iter().map(|request| &request.ask).eq(&asks), format!("{told:?} was asked"))?;
    ensure(told.iter().map(|request| request.id).eq(numbers.iter().copied()), "other numbers were told")?;
    ensure(ledger.news().await.map_err(failed)?.requests.is_empty(), "a request is told twice")?;
    ensure(store.answer(numbers[0]).await.is_none(), "nobody has answered yet")?;
    write::<S>(&mut ledger, &[LedgerWrite::Answered(numbers[0], "done".to_owned())]).await?;
    ensure(store.answer(numbers[0]).await.as_deref() == Some("done"), "the answer did not arrive")?;
    ensure(store.withdraw(numbers[0]).await.as_deref() == Some("done"), "what is answered is taken back")?;
    store.close(ledger).await;
    let (mut next, _) = claimed(store).await?;
    let again = next.news().await.map_err(failed)?.requests;
    ensure(again.len() == 2, format!("{} requests wait for another verifier", again.len()))
}

async fn requests_that_are_withdrawn_are_not_told<S: LedgerUnderTest>(store: &S) -> Verdict {
    let (mut ledger, _) = claimed(store).await?;
    let number = store.ask(&Ask::Pass(Vec::new())).await;
    ensure(store.withdraw(number).await.is_none(), "nobody has answered")?;
    ensure(ledger.news().await.map_err(failed)?.requests.is_empty(), "it is told all the same")
}

async fn nothing_is_written_without_a_claim<S: LedgerUnderTest>(store: &S) -> Verdict {
    let mut ledger = store.connect().await;
    let failure = ledger.write(&[plan(ITEMS, "one")]).await.err();
    ensure(failure.map(|failure| failure.class()) == Some(Class::Transient), "it was written")
}
