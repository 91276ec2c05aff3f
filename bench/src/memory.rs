//! The most memory that a follower ever holds, while one very large transaction arrives in the middle of a copy.

use std::time::{Duration, Instant};

use understudy::demo::sidecar::peak_memory;
use understudy_contract::{Class, Failure};

use crate::options::Options;
use crate::report::{Figure, Target};
use crate::rig::{Rig, Who};
use crate::say;

const SCHEMA: &str = "
    CREATE TABLE bench.base (id bigint PRIMARY KEY, note text NOT NULL);
    CREATE TABLE bench.flood (id bigint PRIMARY KEY, counter int NOT NULL, note text NOT NULL);";

const TABLES: &[&str] = &["bench.base", "bench.flood"];

/// Slow enough that chunks of the copy are read and placed as long as the transaction takes.
const SLOW_COPY: &str = "copy:\n  bytes_per_second: 1MiB\n";

/// Measures both sides once: memory has no warm state.
pub(crate) async fn memory(options: &Options) -> Result<Vec<Figure>, Failure> {
    let mut rig = Rig::build(options, TABLES, SCHEMA, SLOW_COPY).await?;
    let rows = options.scaled(10_000_000);
    // About 300 bytes a row: with the slow copy, longer than the transaction takes to arrive.
    rig.on_blue()
        .await?
        .batch(&format!(
            "INSERT INTO bench.base SELECT n, pg_catalog.repeat(pg_catalog.md5(n::text), 8) \
             FROM pg_catalog.generate_series(1, {}) n",
            options.scaled(1_500_000)
        ))
        .await?;
    let mut figure = Figure::new(
        format!("peak memory, a transaction of {rows} rows during a copy"),
        "MiB",
        Target::AtMost(150.0),
    );
    for who in options.order(0) {
        let began = rig.attach_without_waiting(who).await?;
        wait_for_start(&mut rig, who).await?;
        rig.on_blue()
            .await?
            .batch(&format!(
                "TRUNCATE bench.flood; INSERT INTO bench.flood SELECT n, 0, pg_catalog.md5(n::text) \
                 FROM pg_catalog.generate_series(1, {rows}) n"
            ))
            .await?;
        say(&format!(
            "memory: {} has {rows} rows before it after {:.0} s",
            who.label(),
            began.elapsed().as_secs_f64()
        ));
        let marker = rig.mark().await?;
        let peak = watch(&mut rig, who, marker).await?;
        say(&format!("memory: {} held {:.0} MiB at most", who.label(), peak));
        figure.add(who, peak);
        rig.detach(who).await?;
    }
    Ok(vec![figure])
}

/// The flood comes once the follower's slot exists.
async fn wait_for_start(rig: &mut Rig, who: Who) -> Result<(), Failure> {
    match who {
        Who::Native | Who::Debezium => Ok(()),
        Who::Understudy | Who::Expressions => {
            let copying = |view: &understudy::demo::sidecar::View| view.copied().0 > 0;
            rig.sidecar()?.until(Duration::from_secs(60), copying).await.map(drop)
        }
    }
}

/// Waits for the marker, and says what the follower held at most until then, in MiB.
async fn watch(rig: &mut Rig, who: Who, marker: i64) -> Result<f64, Failure> {
    let deadline = Instant::now() + Duration::from_secs(900);
    let mut green = rig.on_green(who).await?;
    let mut peak = 0;
    while Instant::now() < deadline {
        peak = peak.max(held(rig, &mut green, who).await?);
        let rows = green.query(&format!("SELECT count(*) FROM bench.markers WHERE id = {marker}")).await?;
        if rows.first().and_then(|row| row.text(0)) == Some("1") {
            return Ok(peak as f64 / 1024.0 / 1024.0);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(Failure::new(Class::Transient, "the transaction did not arrive in time"))
}

/// Postgres' workers map the shared buffers of their server, so their figure says little; it is given all the same.
async fn held(
    rig: &mut Rig,
    green: &mut understudy_postgres::wire::Client,
    who: Who,
) -> Result<u64, Failure> {
    match who {
        Who::Understudy | Who::Expressions => {
            let sidecar = rig.sidecar()?;
            // Fails when the sidecar has ended, so that nobody waits for it.
            sidecar.status().await?;
            Ok(sidecar.peak_memory().unwrap_or_default())
        }
        Who::Native => {
            let mut most = 0;
            for row in
                green.query("SELECT pid FROM pg_catalog.pg_stat_subscription WHERE pid IS NOT NULL").await?
            {
                most = most.max(peak_memory(row.parse(0)?).unwrap_or_default());
            }
            Ok(most)
        }
        Who::Debezium => Ok(rig.debezium()?.peak_memory()),
    }
}
