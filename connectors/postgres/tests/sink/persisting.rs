//! What is made durable beside the changes: what it covers, what holds it back, and how it fails.

use std::fmt::{Debug, Write};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::span;
use understudy_contract::{ChangeSink, Class, Failure};
use understudy_model::{Checkpoint, Lsn};
use understudy_pgoutput::StatusUpdate;
use understudy_postgres::sink::PostgresSink;
use understudy_postgres::wire::Client;

use crate::green::{Green, insert, table};

const SQL: &str = "CREATE TABLE public.items (id int PRIMARY KEY, name text)";
const COUNT: &str = "SELECT count(*) FROM public.items";

fn tables() -> Vec<understudy_contract::GreenTable> {
    vec![table(0, "items", &["id", "name"])]
}

type Persist = Pin<Box<dyn Future<Output = Result<Checkpoint, Failure>> + Send>>;

/// Does something while a persist is under way, which must not end before.
async fn beside<T>(persist: &mut Persist, doing: impl Future<Output = T>) -> T {
    let both = async {
        tokio::select! {
            biased;
            over = persist => panic!("the persist has ended: {over:?}"),
            done = doing => done,
        }
    };
    tokio::time::timeout(Duration::from_secs(20), both).await.expect("changes go on beside a persist")
}

async fn apply_one(green: &mut Green, sink: &mut PostgresSink, id: &str) {
    let batch = green.batch(vec![vec![insert(0, &[id, "x"])]]);
    sink.apply(batch).await.unwrap();
}

/// Asks until the answer is this one.
async fn until(green: &mut Green, sql: &str, answer: &str) {
    while green.rows(sql).await != answer {
        tokio::task::yield_now().await;
    }
}

/// Keeps green from flushing for us until the transaction ends.
async fn hold_flush(green: &mut Green) {
    green.admin.batch("BEGIN; SELECT FROM understudy.flush FOR UPDATE").await.unwrap();
}

/// Whether the flush waits for the transaction of [`hold_flush`].
fn is_flushing(green: &Green) -> String {
    format!(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'understudy/{}/flush/%' \
         AND wait_event_type = 'Lock'",
        green.name
    )
}

/// Changes go on while green flushes, and what that covers is what had been applied when it was asked for.
#[tokio::test]
async fn changes_are_applied_while_green_flushes() {
    let Some(mut green) = Green::with("persist_beside", SQL).await else {
        return;
    };
    let mut sink = green.sink(tables()).await;
    apply_one(&mut green, &mut sink, "1").await;
    let covered = green.at();
    hold_flush(&mut green).await;
    let mut persist: Persist = Box::pin(sink.persist());
    let flushing = is_flushing(&green);
    beside(&mut persist, until(&mut green, &flushing, "1")).await;
    beside(&mut persist, apply_one(&mut green, &mut sink, "2")).await;
    beside(&mut persist, until(&mut green, COUNT, "2")).await;
    green.admin.batch("ROLLBACK").await.unwrap();
    assert_eq!(persist.await.unwrap(), covered);
    assert_eq!(sink.persist().await.unwrap(), green.at());
}

/// F20: the session that flushes is killed. Nothing counts as durable, and the next instance goes on from what was applied.
#[tokio::test]
async fn a_killed_flush_makes_nothing_durable() {
    let Some(mut green) = Green::with("persist_killed", SQL).await else {
        return;
    };
    let mut sink = green.sink(tables()).await;
    apply_one(&mut green, &mut sink, "1").await;
    hold_flush(&mut green).await;
    let mut persist: Persist = Box::pin(sink.persist());
    let flushing = is_flushing(&green);
    beside(&mut persist, until(&mut green, &flushing, "1")).await;
    let kill = flushing.replace("count(*)", "pg_terminate_backend(pid, 5000)");
    assert_eq!(green.rows(&kill).await, "t");
    assert_eq!(persist.await.unwrap_err().class(), Class::Transient);
    apply_one(&mut green, &mut sink, "2").await;
    assert_eq!(sink.persist().await.unwrap_err().class(), Class::Transient);
    drop(sink);
    green.admin.batch("ROLLBACK").await.unwrap();
    let mut next = PostgresSink::connect(&green.options, green.settings(), tables()).await.unwrap();
    assert_eq!(next.claim().await.unwrap().unwrap().checkpoint, green.at());
    assert_eq!(next.persist().await.unwrap(), green.at());
}

/// F8: where a standby counts, nothing is durable before it has flushed it, however long that takes; changes go on
/// meanwhile, and one warning names the standby.
#[tokio::test]
async fn a_standby_holds_back_what_is_durable_and_nothing_else() {
    let Some(mut green) = Green::with("standby", SQL).await else {
        return;
    };
    let told = Warnings::default();
    let _listening = tracing::subscriber::set_default(told.clone());
    let mut settings = green.settings();
    settings.standbys = vec!["understudy_green2".into()];
    settings.standby_patience = Duration::from_millis(50);
    let mut sink = green.sink_with(settings, tables(), true).await;
    apply_one(&mut green, &mut sink, "1").await;
    let covered = green.at();
    let mut persist: Persist = Box::pin(sink.persist());
    // It is not there.
    beside(&mut persist, apply_one(&mut green, &mut sink, "2")).await;
    beside(&mut persist, async {
        while told.all().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    beside(&mut persist, apply_one(&mut green, &mut sink, "3")).await;
    // It is there, and behind.
    let options = green.options.clone().with_application_name("understudy_green2");
    let standby = Client::connect_replication(&options).await.unwrap();
    let at = green.rows("SELECT pg_current_wal_flush_lsn()").await;
    let (_stream, mut says) =
        standby.copy_both(&format!("START_REPLICATION PHYSICAL {at}")).await.ok().unwrap();
    let flushed = |confirmed| StatusUpdate { confirmed, clock_us: 0, reply: false }.encode();
    says.send(&flushed(Lsn::new(1))).await.unwrap();
    let seen = "SELECT flush_lsn FROM pg_stat_replication WHERE application_name = 'understudy_green2'";
    beside(&mut persist, until(&mut green, seen, "0/1")).await;
    beside(&mut persist, apply_one(&mut green, &mut sink, "4")).await;
    assert_eq!(green.rows(COUNT).await, "4");
    // It has caught up.
    let distance = green.rows("SELECT pg_current_wal_flush_lsn() - '0/0'").await;
    says.send(&flushed(Lsn::new(distance.parse().unwrap()))).await.unwrap();
    assert_eq!(persist.await.unwrap(), covered);
    let told = told.all();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("understudy_green2") && told[0].contains("it is not connected"), "{told:?}");
}

/// Remembers the warnings of the thread that it listens to.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{field} {value:?}; ").unwrap();
    }
}
