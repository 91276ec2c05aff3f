//! A full pass of verification over a table without any difference, beside two sessions that aggregate the same digests at
//! the same time, one on each server.

use std::process::Stdio;
use std::time::Instant;

use tokio::process::Command;
use understudy_contract::{Class, Failure};
use understudy_postgres::wire::Client;

use crate::options::Options;
use crate::report::{Figure, Target};
use crate::rig::{Rig, Who};
use crate::say;

const TABLE: &str = "bench.facts";

const SCHEMA: &str = "CREATE TABLE bench.facts (id bigint PRIMARY KEY, account bigint NOT NULL, amount numeric(12,2) NOT NULL, \
    rate double precision, at timestamptz NOT NULL, note text);";

/// The digest of every row, summed up.
const DIGESTS: &str = "SET max_parallel_workers_per_gather = 0; SET jit = off; \
    SELECT count(*), sum(('x' || left(d, 16))::bit(64)::bigint), sum(('x' || right(d, 16))::bit(64)::bigint) \
    FROM (SELECT md5(ROW(id, account, amount, rate, at, note)::text) AS d FROM bench.facts OFFSET 0) q";

/// As fast as it can, and never by itself.
const UNBOUND: &str = "verify: { busy: 1.0, pass_pause: 24h, range_rows: 100000, max_read_time: 10s }\n";

/// Measures passes.
pub(crate) async fn verify(options: &Options) -> Result<Vec<Figure>, Failure> {
    if !options.measures(Who::Understudy) {
        return Ok(Vec::new());
    }
    let rows = options.scaled(8_000_000);
    let mut rig = Rig::build(options, &[TABLE], SCHEMA, "").await?;
    rig.write_migration(Who::Understudy, &[], UNBOUND)?;
    let mut blue = rig.on_blue().await?;
    blue.batch(&format!(
        "INSERT INTO bench.facts SELECT n, n % 9973, (n % 100000) / 100.0, n / 7.0, '2026-01-01'::timestamptz + n * interval '1 second', \
         md5(n::text) FROM generate_series(1, {rows}) n"
    ))
    .await?;
    rig.settle().await?;
    let took = rig.attach(Who::Understudy).await?;
    say(&format!("verify: {rows} rows have their first copy after {:.1} s", took.as_secs_f64()));
    blue.batch("VACUUM ANALYZE bench.facts").await?;
    let mut green = rig.on_green(Who::Understudy).await?;
    green.batch("VACUUM ANALYZE bench.facts").await?;
    pass(&rig, options).await?;
    let mut figure =
        Figure::new(format!("verify {rows} equal rows (beside psql on both sides)"), "s", Target::Ratio(0.8));
    for round in 0..options.rounds {
        for who in options.order(round) {
            let took = match who {
                Who::Native | Who::Debezium => aggregate(&mut blue, &mut green).await?,
                Who::Understudy | Who::Expressions => pass(&rig, options).await?,
            };
            say(&format!("verify: round {}: {} {took:.2} s", round + 1, who.label()));
            figure.add(who, took);
        }
    }
    Ok(vec![figure])
}

/// Seconds until both sessions have aggregated every digest.
async fn aggregate(blue: &mut Client, green: &mut Client) -> Result<f64, Failure> {
    let began = Instant::now();
    let (on_blue, on_green) = tokio::join!(blue.batch(DIGESTS), green.batch(DIGESTS));
    on_blue.and(on_green)?;
    Ok(began.elapsed().as_secs_f64())
}

/// Seconds that an operator waits for a pass.
async fn pass(rig: &Rig, options: &Options) -> Result<f64, Failure> {
    let began = Instant::now();
    let run = Command::new(options.program()?)
        .arg("verify")
        .arg(rig.migration(Who::Understudy))
        .args(["--wait", "30m"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await;
    let ended =
        run.map_err(|error| Failure::new(Class::Internal, format!("could not start the program: {error}")))?;
    if ended.status.success() {
        return Ok(began.elapsed().as_secs_f64());
    }
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    Err(Failure::new(Class::Internal, format!("`understudy verify` ended with {}: {said}", ended.status)))
}
