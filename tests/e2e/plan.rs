//! `understudy plan` on the demo's shop, whole, as an operator reads it before anything is created.

use understudy_tests::{Migration, Pair, Port, Shop, Snapshot, understudy};

use crate::transforms::{GREAT_BLUE, GREAT_GREEN, GREAT_TABLES, Masking};

/// Beside this file; `UPDATE_DOCS=1` writes it.
const SNAPSHOT: &str = "tests/e2e/plan.txt";

/// The plan is what people decide by: not a word of it changes unnoticed.
#[tokio::test(flavor = "multi_thread")]
async fn the_plan_as_an_operator_reads_it() {
    let Some(pair) = Pair::start(15, 18).await else {
        return;
    };
    Shop::on_blue(&pair, 3_000).await;
    let mut blue = pair.on_blue().await;
    blue.batch(GREAT_BLUE).await;
    // The shop's events lie around the day on which it is made.
    blue.batch("TRUNCATE shop.events; ANALYZE").await;
    pair.on_green().await.batch(GREAT_GREEN).await;
    let masking = Masking::of(&pair);
    let migration = Migration::between(&pair, "great").entry(GREAT_TABLES).with(&masking.section());
    let file = migration.write(&Port::reserve()).to_string_lossy().into_owned();
    let exit = understudy(pair.scratch.path(), &["plan", &file]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    assert!(!exit.stdout.contains(Masking::KEY), "the key was shown");
    Snapshot::of(SNAPSHOT).compare(&settled(&exit.stdout, &pair));
}

/// Without what differs from run to run: ports, and sizes in bytes.
fn settled(plan: &str, pair: &Pair) -> String {
    let plan =
        plan.replace(&pair.blue.port().to_string(), "5432").replace(&pair.green.port().to_string(), "5433");
    let mut text = String::with_capacity(plan.len());
    for line in plan.lines() {
        text.push_str(&without_sizes(line));
        text.push('\n');
    }
    text
}

/// A line with a dash in place of each size and of the blanks that line it up.
fn without_sizes(line: &str) -> String {
    let is_size = |number: &str, unit: &str| {
        let unit = unit.trim_end_matches([',', ';']);
        number.parse::<f64>().is_ok() && matches!(unit, "B" | "KiB" | "MiB" | "GiB" | "bytes")
    };
    let words = line.split(' ').collect::<Vec<_>>();
    let mut kept: Vec<&str> = Vec::with_capacity(words.len());
    for word in words {
        let number = kept.last().copied().unwrap_or_default();
        if is_size(number, word) {
            kept.pop();
            kept.push("(size)");
        } else {
            kept.push(word);
        }
    }
    kept.join(" ").trim_end().to_owned()
}
