//! Blue to green through Kafka, beside Debezium with its JDBC sink through the same broker: first copy, backlogs, delay, memory.

use std::time::Duration;

use understudy_contract::{Class, Failure};
use understudy_tests::Kafka;

use crate::debezium::{Debezium, PARTITIONS};
use crate::drain::{self, Backlog, Sizes};
use crate::latency;
use crate::options::Options;
use crate::report::{Against, Figure, Target};
use crate::rig::{Rig, Who};
use crate::say;

/// Row by row for the delay.
const PROBES: &str = "CREATE TABLE bench.probes (id bigint PRIMARY KEY);";

/// Transactions a second while the delay is measured: both sides keep up with them.
const RATE: u32 = 200;

/// How much faster than Debezium it should be.
const FASTER: f64 = 5.0;

/// Measures all of it on one set of servers.
pub(crate) async fn kafka(options: &Options) -> Result<Vec<Figure>, Failure> {
    let sizes = Sizes {
        branches: ((3.0 * options.scale) as u64).max(1),
        transactions: options.scaled(20_000),
        insert: options.scaled(300_000),
        update: options.scaled(150_000),
    };
    let mut rig = build(options).await?;
    drain::fill(&rig, sizes).await?;
    let beside = |what: String, unit, target| Figure::new(what, unit, target).against(Against::Debezium);
    let mut memory = beside("peak memory of the process".to_owned(), "MiB", Target::Open);
    let mut figures = vec![copy(&mut rig, options, sizes).await?];
    let mut peaks = Peaks::default();
    figures.extend(backlogs(&mut rig, options, sizes, &mut peaks).await?);
    figures.extend(delays(&mut rig, options, &mut peaks).await?);
    if options.measures(Who::Debezium) {
        memory.add(Who::Debezium, rig.debezium()?.peak_memory() as f64 / 1024.0 / 1024.0);
        rig.debezium()?.stop().await;
    }
    if options.measures(Who::Understudy) {
        memory.add(Who::Understudy, peaks.0);
    }
    figures.push(memory);
    Ok(figures)
}

/// The most memory that any of our processes has held, in MiB.
#[derive(Debug, Default)]
struct Peaks(f64);

impl Peaks {
    fn note(&mut self, rig: &mut Rig, who: Who) -> Result<(), Failure> {
        if who == Who::Understudy {
            let peak = rig.sidecar()?.peak_memory().unwrap_or_default();
            self.0 = self.0.max(peak as f64 / 1024.0 / 1024.0);
        }
        Ok(())
    }
}

async fn build(options: &Options) -> Result<Rig, Failure> {
    // Segments and files of its own, but nothing that hastens one side more than the other.
    let broker = Kafka::measured(&[]).await;
    let missing = || Failure::new(Class::Configuration, "Kafka is missing").remedy("run dev/servers");
    let broker = broker.ok_or_else(missing)?;
    let through = format!(
        "through: {{ kafka: {{ brokers: [\"{}\"], topic_prefix: understudy-bench, partitions: {PARTITIONS} }} }}\n",
        broker.bootstrap()
    );
    let tables: Vec<&'static str> = drain::TABLES.iter().copied().chain(["bench.probes"]).collect();
    // The fastest way of Debezium's sink to write takes no timestamps without a zone.
    let schema = format!("{}{PROBES}", drain::SCHEMA.replace("mtime timestamp,", "mtime timestamptz,"));
    let mut rig = Rig::build(options, &tables, &schema, &through).await?;
    rig.give(Debezium::new(broker));
    Ok(rig)
}

/// The first copy of everything, once on each side.
async fn copy(rig: &mut Rig, options: &Options, sizes: Sizes) -> Result<Figure, Failure> {
    let rows = sizes.rows();
    let faster = Target::Faster(FASTER);
    let mut figure =
        Figure::new(format!("first copy of {rows} rows"), "rows/s", faster).against(Against::Debezium);
    for who in options.order_beside(Who::Debezium, 0) {
        let took = rig.attach(who).await?.as_secs_f64();
        let work = rig.work_done(who).await?;
        say(&format!("kafka: first copy: {} {took:.2} s (processor: {work})", who.label()));
        figure.add(who, rows as f64 / took);
        rig.pause(who).await?;
    }
    Ok(figure)
}

async fn backlogs(
    rig: &mut Rig,
    options: &Options,
    sizes: Sizes,
    peaks: &mut Peaks,
) -> Result<Vec<Figure>, Failure> {
    let kinds = [
        (
            Backlog::Transactions,
            format!("backlog of {} TPC-B transactions", sizes.transactions),
            4 * sizes.transactions,
        ),
        (Backlog::Insert, format!("backlog of an insert of {} rows", sizes.insert), sizes.insert),
        (Backlog::Update, format!("backlog of an update of {} rows", sizes.update), sizes.update),
    ];
    let figure = |what: &String| {
        Figure::new(what.clone(), "changes/s", Target::Faster(FASTER)).against(Against::Debezium)
    };
    let mut figures: Vec<Figure> = kinds.iter().map(|(_, what, _)| figure(what)).collect();
    for round in 0..options.rounds {
        for (figure, (kind, _, changes)) in figures.iter_mut().zip(&kinds) {
            // A process that starts and a connector that goes on are both there once this one is on green.
            let first = rig.mark().await?;
            drain::build_backlog(rig, sizes, *kind, round as u64).await?;
            let last = rig.mark().await?;
            let expected = rig.on_blue_now(kind.digest()).await?;
            for who in options.order_beside(Who::Debezium, round) {
                rig.resume(who).await?;
                let began = rig.until_marker(who, first).await?;
                rig.until_marker(who, last).await?;
                // Tasks of a sink are not at the same place: the last marker is not the last row.
                let ended = rig.until_equal(who, (kind.digest(), &expected)).await?;
                let took = (ended - began).as_secs_f64();
                let work = rig.work_done(who).await?;
                say(&format!(
                    "kafka: round {}, {kind:?}: {} {took:.2} s (processor so far: {work})",
                    round + 1,
                    who.label()
                ));
                figure.add(who, *changes as f64 / took);
                peaks.note(rig, who)?;
                rig.pause(who).await?;
            }
        }
    }
    Ok(figures)
}

/// From commit on blue to visible on green, at a rate that both keep up with.
async fn delays(rig: &mut Rig, options: &Options, peaks: &mut Peaks) -> Result<Vec<Figure>, Failure> {
    let figure = |share: &str| {
        let what = format!("commit to green at {RATE} transactions/s, {share}");
        Figure::new(what, "ms", Target::Open).against(Against::Debezium)
    };
    let (mut median, mut tail) = (figure("p50"), figure("p99"));
    for round in 0..options.rounds {
        for (turn, who) in options.order_beside(Who::Debezium, round).into_iter().enumerate() {
            let marker = rig.mark().await?;
            rig.resume(who).await?;
            rig.until_marker(who, marker).await?;
            let first = ((round * 2 + turn) as i64) << 32 | 1;
            let duration = Duration::from_secs(options.seconds);
            let (delays, rate) = latency::measure_one(rig, who, (first, RATE), duration).await?;
            let ms = |share| delays.quantile(share).map_or(f64::NAN, |delay| delay.as_secs_f64() * 1000.0);
            say(&format!(
                "kafka: delay, round {}: {} p50 {:.2} ms, p99 {:.2} ms, {} probes, {rate:.0} transactions/s",
                round + 1,
                who.label(),
                ms(0.5),
                ms(0.99),
                delays.count()
            ));
            median.add(who, ms(0.5));
            tail.add(who, ms(0.99));
            peaks.note(rig, who)?;
            rig.pause(who).await?;
        }
    }
    Ok(vec![median, tail])
}
