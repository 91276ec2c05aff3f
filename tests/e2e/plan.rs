//! `understudy plan` on the demo's shop, whole, as an operator reads it before anything is created.

use understudy_tests::{Migration, Pair, Port, Shop, Snapshot, through, understudy};

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
    if through().is_some() {
        // Beside what the snapshot has, a plan lists topics there, whose names are those of this run.
        assert!(exit.stdout.contains("understudy.order"), "{}", exit.stdout);
        return;
    }
    Snapshot::of(SNAPSHOT).compare(&settled(&exit.stdout, &pair));
}

/// Without what differs from run to run: ports, and the sizes of tables.
fn settled(plan: &str, pair: &Pair) -> String {
    let plan =
        plan.replace(&pair.blue.port().to_string(), "5432").replace(&pair.green.port().to_string(), "5433");
    let mut text = String::with_capacity(plan.len());
    for line in plan.lines() {
        let is_of_sizes = line.starts_with("BLUE ") || line.contains("  next.") || line.contains(" routes, ");
        text.push_str(&if is_of_sizes { without_size(line) } else { line.to_owned() });
        text.push('\n');
    }
    text
}

/// A line with a dash in place of a size, and without the blanks that line it up.
fn without_size(line: &str) -> String {
    if let Some((left, right)) = line.split_once(" SIZE ") {
        return format!("{}  SIZE {right}", left.trim_end());
    }
    let unit = [" B", " KiB", " MiB"].into_iter().find_map(|unit| Some((line.find(unit)?, unit)));
    let (at, unit) = unit.unwrap_or_else(|| panic!("a size in: {line}"));
    let left = line[..at].trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
    let gap = if left.ends_with(", ") { " " } else { "  " };
    format!("{}{gap}size{}", left.trim_end(), &line[at + unit.len()..])
}
