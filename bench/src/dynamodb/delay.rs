//! From commit on blue to visible in DynamoDB, while clients commit at a rate that the server keeps up with.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::AttributeValue;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use understudy_contract::{Class, Failure};
use understudy_postgres::wire::Client;

use super::rig::{Rig, Run};
use crate::options::Options;
use crate::report::{Against, Figure, Target};
use crate::rig::Who;
use crate::say;

/// Transactions a second, each an update of one row.
const RATE: u32 = 100;

/// Clients that commit them.
const CLIENTS: u32 = 4;

/// How often a row is committed whose way is timed.
const PROBE_EVERY: Duration = Duration::from_millis(20);

/// How long it is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A row on its way.
struct Sent {
    number: i64,
    at: Instant,
}

/// The figures, without measurements.
pub(super) fn figures() -> [Figure; 2] {
    ["p50", "p99"].map(|share| {
        let what = format!("commit to visible at {RATE} transactions/s, {share}");
        Figure::new(what, "ms", Target::Open).against(Against::PlainWriter)
    })
}

/// Measures it once. The plain writer has nothing like it: nobody tells it of commits.
pub(super) async fn measure(
    rig: &mut Rig,
    options: &Options,
    (round, run, stock): (usize, &Run, u64),
    figures: &mut [Figure; 2],
) -> Result<(), Failure> {
    if !options.measures(Who::Understudy) {
        return Ok(());
    }
    let place = rig.mark().await?;
    rig.start()?;
    rig.until_applied(place).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let client = Client::connect(&rig.blue_options()?).await?;
        clients.spawn(work(client, (u64::from(number), stock), Arc::clone(&stop)));
    }
    let (sender, receiver) = mpsc::channel(4096);
    let (blue, marks) = (rig.on_blue().await?, run.marks());
    let seconds = Duration::from_secs(options.seconds);
    let (written, seen) = tokio::join!(write(blue, sender, seconds), watch(rig, &marks, receiver));
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended.map_err(|error| Failure::new(Class::Internal, format!("a client ended: {error}")))??;
    }
    written?;
    let mut delays = seen?;
    delays.sort_unstable();
    // What the clients have committed last is to be there as well.
    let last = rig.mark().await?;
    rig.until_applied(last).await?;
    rig.pause(run).await?;
    let ms = |share: f64| {
        let at = (delays.len().saturating_sub(1) as f64 * share).round() as usize;
        delays.get(at).map_or(f64::NAN, |delay| delay.as_secs_f64() * 1000.0)
    };
    say(&format!(
        "dynamodb: round {}, delay: p50 {:.2} ms, p99 {:.2} ms, {} probes",
        round + 1,
        ms(0.5),
        ms(0.99),
        delays.len()
    ));
    let [median, tail] = figures;
    median.add(Who::Understudy, ms(0.5));
    tail.add(Who::Understudy, ms(0.99));
    Ok(())
}

/// One client's share of the load.
async fn work(mut client: Client, (number, stock): (u64, u64), stop: Arc<AtomicBool>) -> Result<(), Failure> {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) * CLIENTS / RATE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut count = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        count += 1;
        // Spread over the rows without a generator of random numbers; clients do not meet.
        let row = 1 + (count * 7919 * u64::from(CLIENTS) + number) % stock;
        client.batch(&format!("UPDATE bench.orders SET counter = counter + 1 WHERE id = {row}")).await?;
    }
    Ok(())
}

/// Commits a row every so often.
async fn write(mut blue: Client, sent: mpsc::Sender<Sent>, duration: Duration) -> Result<(), Failure> {
    let mut ticks = tokio::time::interval(PROBE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let began = Instant::now();
    let mut number = 0;
    while began.elapsed() < duration {
        ticks.tick().await;
        number += 1;
        blue.batch(&format!("INSERT INTO bench.marks VALUES ({number})")).await?;
        if sent.send(Sent { number, at: Instant::now() }).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Looks for one row after the other, and only while one is on its way: at once at first, then every millisecond.
async fn watch(rig: &Rig, table: &str, mut sent: mpsc::Receiver<Sent>) -> Result<Vec<Duration>, Failure> {
    let mut delays = Vec::new();
    while let Some(Sent { number, at }) = sent.recv().await {
        while !is_there(rig, table, number).await? {
            if at.elapsed() > PATIENCE {
                return Err(Failure::new(Class::Transient, "a row did not get to DynamoDB in time"));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        delays.push(at.elapsed());
    }
    Ok(delays)
}

async fn is_there(rig: &Rig, table: &str, number: i64) -> Result<bool, Failure> {
    let key = AttributeValue::S(format!("MARK#{number}"));
    let get = rig.dynamo.get_item().table_name(table).key("pk", key).consistent_read(true);
    let read = Box::pin(get.send()).await;
    let read = read.map_err(|error| Failure::new(Class::Transient, format!("a read failed: {error}")))?;
    Ok(read.item.is_some())
}
