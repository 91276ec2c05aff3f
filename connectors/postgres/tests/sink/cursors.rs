//! The place in a log: recorded with the checkpoint that it belongs to, in every form of applying, and never ahead of it.

use understudy_contract::{Batch, ChangeSink, Class, Cursor, Saved};
use understudy_model::Lsn;
use understudy_postgres::sink::{OnError, PostgresSink};

use crate::green::{Green, each, insert, table};

const SQL: &str = "CREATE TABLE items (id int PRIMARY KEY, name varchar(5))";
const COLUMNS: [&str; 2] = ["id", "name"];

fn place(text: &'static str) -> Option<Cursor> {
    Some(Cursor(text.as_bytes().into()))
}

async fn saved(green: &Green) -> Saved {
    let tables = vec![table(0, "items", &COLUMNS)];
    let sink = PostgresSink::connect(&green.options, green.settings(), tables).await;
    sink.unwrap().claim().await.unwrap().unwrap()
}

/// Promise 1: an apply that stops at a refused row goes on from before it, also in the log: the transactions of that batch
/// that were kept come again and are known by the checkpoint.
#[tokio::test]
async fn a_stop_within_a_batch_leaves_the_place_where_it_was() {
    for many in [1, 100] {
        let Some(mut green) = Green::with(&format!("cursor_stop_{many}"), SQL).await else {
            return;
        };
        let mut sink = green.sink(vec![table(0, "items", &COLUMNS)]).await;
        let first = green.batch(vec![vec![insert(0, &["1", "one"])]]);
        sink.apply(Batch { cursor: place("first"), ..first }).await.unwrap();
        let good = each(1000..1000 + many, |n| insert(0, &[n, "x"]));
        let batch = green.batch(vec![good, vec![insert(0, &["2", "too long"])]]);
        let kept = batch.commits[0].checkpoint;
        let failure = sink.apply(Batch { cursor: place("second"), ..batch }).await.unwrap_err();
        assert_eq!(failure.class(), Class::Data);
        let saved = saved(&green).await;
        assert_eq!((saved.checkpoint, saved.cursor), (kept, place("first")));
    }
}

/// Where rows are set aside, changes are applied one by one: the place goes with them there too.
#[tokio::test]
async fn the_place_is_recorded_when_changes_are_applied_one_by_one() {
    let Some(mut green) = Green::with("cursor_exact", SQL).await else {
        return;
    };
    let mut settings = green.settings();
    settings.on_error = OnError::Quarantine;
    let mut sink = green.sink_with(settings, vec![table(0, "items", &COLUMNS)], true).await;
    let batch = green.batch(vec![vec![insert(0, &["1", "too long"])]]);
    assert_eq!(sink.apply(Batch { cursor: place("first"), ..batch }).await.unwrap().quarantined, 1);
    let saved = saved(&green).await;
    assert_eq!((saved.checkpoint, saved.cursor), (green.at(), place("first")));
}

/// Promise 1: the place of a batch that ends inside a transaction may be one that only the transaction's end reaches. It is
/// not recorded with the whole transactions before it; and a batch that names no place leaves the one that is recorded.
#[tokio::test]
async fn the_place_waits_for_the_end_of_an_open_transaction() {
    let Some(mut green) = Green::with("cursor_open", SQL).await else {
        return;
    };
    let mut sink = green.sink(vec![table(0, "items", &COLUMNS)]).await;
    let first = green.batch(vec![vec![insert(0, &["1", "one"])]]);
    sink.apply(Batch { cursor: place("first"), ..first }).await.unwrap();
    let mut batch = green.batch(vec![vec![insert(0, &["2", "two"])]]);
    batch.changes.push(insert(0, &["3", "three"]));
    batch.open = Some(Lsn::new(green.at().lsn().raw() + 8));
    sink.apply(Batch { cursor: place("second"), ..batch }).await.unwrap();
    drop(sink);
    let now = saved(&green).await;
    assert_eq!((now.checkpoint, now.cursor), (green.at(), place("first")));

    let tables = vec![table(0, "items", &COLUMNS)];
    let mut sink = PostgresSink::connect(&green.options, green.settings(), tables).await.unwrap();
    sink.claim().await.unwrap();
    let last = green.batch(vec![vec![insert(0, &["3", "three"])]]);
    sink.apply(last).await.unwrap();
    let now = saved(&green).await;
    assert_eq!((now.checkpoint, now.cursor), (green.at(), place("first")));
}
