//! Rows that are not as a change expects: normal while a table is copied, a recorded mismatch afterwards.

use understudy_contract::{Applied, ChangeSink, LedgerEntry};
use understudy_model::RouteId;

use crate::green::{Green, UNSENT, delete, each, heal_key, insert, rekey, table, unit, update};

const SQL: &str = "CREATE TABLE items (id int PRIMARY KEY, name text, note text)";
const SHOW: &str = "SELECT concat_ws('|', id, name, note) FROM public.items ORDER BY id";
const MISMATCHES: &str = "SELECT kind || '|' || key[1] || '|' || commit_lsn || '|' || ordinal FROM understudy.mismatches ORDER BY id";
const COLUMNS: [&str; 3] = ["id", "name", "note"];

/// F27: after the copy an update or delete of a missing row, and an insert onto an existing one, are recorded, then
/// mended; alone and in the middle of a large batch.
#[tokio::test]
async fn rows_that_are_not_as_promised_are_recorded_and_mended() {
    for many in [0, 100] {
        let Some(mut green) = Green::with(&format!("missing_{many}"), SQL).await else {
            return;
        };
        let mut sink = green.sink(vec![table(0, "items", &COLUMNS)]).await;
        green.admin.batch("INSERT INTO public.items VALUES (1, 'there', 'already')").await.unwrap();
        let batch = green.batch(vec![
            each(1000..1000 + many, |n| insert(0, &[n, n, "x"])),
            vec![update(0, &["7", "seven", "full"]), delete(0, "8")],
            vec![insert(0, &["1", "one", "mended"]), update(0, &["9", "nine", UNSENT])],
            vec![rekey(0, "5", &["6", "six", "full"])],
            each(1000..1000 + many, |n| delete(0, n)),
        ]);
        let commits = batch.commits.clone();
        let applied = sink.apply(batch).await.unwrap();
        assert_eq!(
            applied,
            Applied { heals: vec![(RouteId(0), heal_key("9", "9"))], mismatches: 5, quarantined: 0 }
        );
        assert_eq!(green.rows(SHOW).await, "1|one|mended\n6|six|full\n7|seven|full");
        let at = |nth: usize| commits[nth].position.commit;
        let wanted = format!(
            "missing|7|{a}|0\nmissing|8|{a}|1\nextra|1|{b}|0\nmissing|9|{b}|1\nmissing|5|{c}|0",
            a = at(1),
            b = at(2),
            c = at(3)
        );
        assert_eq!(green.rows(MISMATCHES).await, wanted);

        // A row that waits to be read again is no second mismatch.
        let next = green.batch(vec![vec![update(0, &["9", "nine", UNSENT])], vec![delete(0, "9")]]);
        let applied = sink.apply(next).await.unwrap();
        assert_eq!((applied.mismatches, applied.heals.len()), (0, 1));
        assert_eq!(green.rows("SELECT key::text FROM understudy.heals").await, "{9}");
    }
}

/// While the copy runs changes overwrite, a partial row without a row on green is to be healed, and nothing alarms.
#[tokio::test]
async fn while_a_copy_runs_changes_overwrite_or_heal() {
    for many in [3, 100] {
        let Some(mut green) = Green::with(&format!("copying_{many}"), SQL).await else {
            return;
        };
        let settings = green.settings();
        let mut sink = green.sink_with(settings, vec![table(0, "items", &COLUMNS)], false).await;
        green
            .admin
            .batch("INSERT INTO public.items SELECT n, 'copied', 'copied' FROM generate_series(0, 9) n")
            .await
            .unwrap();
        let batch = green.batch(vec![
            each(0..many, |n| insert(0, &[n, "insert", "over"])),
            each(0..many, |n| update(0, &[n, "again", UNSENT])),
            each(1000..1000 + many, |n| update(0, &[n, "full", "new"])),
            each(2000..2000 + many, |n| delete(0, n)),
            vec![rekey(0, "3000", &["3001", "moved", "full"]), rekey(0, "3002", &["3003", "moved", UNSENT])],
        ]);
        let applied = sink.apply(batch).await.unwrap();
        assert_eq!(
            applied,
            Applied { heals: vec![(RouteId(0), heal_key("3003", "3003"))], mismatches: 0, quarantined: 0 }
        );
        let partial = green.batch(vec![each(5000..5000 + many, |n| update(0, &[n, "part", UNSENT]))]);
        let applied = sink.apply(partial).await.unwrap();
        assert_eq!((applied.heals.len(), applied.mismatches), (many as usize, 0));
        let counts = "SELECT string_agg(name || '/' || note || '=' || count, ' ' ORDER BY name) FROM \
            (SELECT name, note, count(*) FROM public.items GROUP BY 1, 2) AS c";
        let left = 10u32.saturating_sub(many);
        let copied = if left > 0 { format!(" copied/copied={left}") } else { String::new() };
        assert_eq!(
            green.rows(counts).await,
            format!("again/over={many}{copied} full/new={many} moved/full=1")
        );
        assert_eq!(green.rows("SELECT count(*) FROM understudy.heals").await, (many + 1).to_string());
        assert_eq!(green.rows("SELECT count(*) FROM understudy.mismatches").await, "0");
    }
}

/// The large forms notice what the small ones do, though they count only totals: one row too few, one too many.
#[tokio::test]
async fn a_missing_and_an_extra_row_do_not_cancel_out() {
    let Some(mut green) = Green::with("cancel_out", SQL).await else {
        return;
    };
    let mut sink = green.sink(vec![table(0, "items", &COLUMNS)]).await;
    let start = green.batch(vec![each(0..100, |n| insert(0, &[n, "a", "b"]))]);
    sink.apply(start).await.unwrap();
    green
        .admin
        .batch("DELETE FROM public.items WHERE id = 5; INSERT INTO public.items VALUES (500, 'x', 'y')")
        .await
        .unwrap();
    let mut changes = each(0..100, |n| delete(0, n));
    changes.extend(each(450..550, |n| insert(0, &[n, "came", "and"])));
    changes.extend(each(450..550, |n| delete(0, n)));
    let batch = green.batch(vec![changes]);
    assert_eq!(sink.apply(batch).await.unwrap().mismatches, 2);
    let found = "SELECT string_agg(kind || key[1], ' ' ORDER BY id) FROM understudy.mismatches";
    assert_eq!(green.rows(found).await, "missing5 extra500");
    assert_eq!(green.rows("SELECT count(*) FROM public.items").await, "0");
}

/// A route is strict only from its completion on, and no longer once its copy starts again; a claim remembers it.
#[tokio::test]
async fn completion_is_recorded_and_taken_back() {
    let Some(mut green) = Green::with("completion", SQL).await else {
        return;
    };
    let mut sink = green.sink(vec![table(0, "items", &COLUMNS)]).await;
    let first = green.batch(vec![vec![delete(0, "1")]]);
    assert_eq!(sink.apply(first).await.unwrap().mismatches, 1);
    sink.record(LedgerEntry::Plan(unit(0))).await.unwrap();
    let second = green.batch(vec![vec![delete(0, "1")]]);
    assert_eq!(sink.apply(second).await.unwrap().mismatches, 0);
    sink.record(LedgerEntry::Complete(RouteId(0))).await.unwrap();
    drop(sink);
    let tables = vec![table(0, "items", &COLUMNS)];
    let mut sink = understudy_postgres::sink::PostgresSink::connect(&green.options, green.settings(), tables)
        .await
        .unwrap();
    assert!(sink.claim().await.unwrap().unwrap().routes[0].complete);
    let third = green.batch(vec![vec![delete(0, "1")]]);
    assert_eq!(sink.apply(third).await.unwrap().mismatches, 1);
}
