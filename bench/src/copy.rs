//! The first copy of one large table, from nothing to complete.

use understudy_contract::Failure;

use crate::options::Options;
use crate::report::{Figure, Target};
use crate::rig::Rig;
use crate::say;

const SCHEMA: &str = "
    CREATE TABLE bench.big (id bigint PRIMARY KEY, customer int NOT NULL, name text NOT NULL, amount numeric(12,2) NOT NULL,
        changed_at timestamptz NOT NULL, note text);";

/// Measures the copy; between two measurements everything is removed again.
pub(crate) async fn copy(options: &Options) -> Result<Vec<Figure>, Failure> {
    let mut rig = Rig::build(options, &["bench.big"], SCHEMA, "").await?;
    let rows = options.scaled(5_000_000);
    let mut blue = rig.on_blue().await?;
    blue.batch(&format!(
        "INSERT INTO bench.big SELECT n, n % 100003, 'name ' || n, n / 7.0, pg_catalog.now() - n * interval '1 second', \
         pg_catalog.md5(n::text) FROM pg_catalog.generate_series(1, {rows}) n"
    ))
    .await?;
    rig.settle().await?;
    let mut figure = Figure::new(format!("first copy of {rows} rows"), "s", Target::Ratio(1.2));
    for round in 0..options.rounds {
        for who in options.order(round) {
            let took = rig.attach(who).await?.as_secs_f64();
            say(&format!("copy: round {}: {} {took:.2} s", round + 1, who.label()));
            figure.add(who, took);
            rig.detach(who).await?;
        }
    }
    Ok(vec![figure])
}
