//! `understudy plan` on the demo's shop, whole, as an operator reads it before anything is created.

use understudy_tests::{Kafka, Migration, Pair, Port, Shop, Snapshot, through, understudy};

use crate::transforms::{GREAT_BLUE, GREAT_GREEN, GREAT_TABLES, Masking};

/// Beside this file; `UPDATE_DOCS=1` writes it.
const SNAPSHOT: &str = "tests/e2e/plan.txt";

/// The same through Kafka.
const SNAPSHOT_THROUGH: &str = "tests/e2e/plan-through.txt";

/// The plan is what people decide by: not a word of it changes unnoticed.
#[tokio::test(flavor = "multi_thread")]
async fn the_plan_as_an_operator_reads_it() {
    // Where every migration goes through a log, the test below sees to it.
    if through().is_none() {
        compare_plan(SNAPSHOT, None).await;
    }
}

/// The same where the way goes through Kafka: topics, and what is made in them.
#[tokio::test(flavor = "multi_thread")]
async fn the_plan_through_kafka_as_an_operator_reads_it() {
    if let Some(kafka) = Kafka::shared() {
        compare_plan(SNAPSHOT_THROUGH, Some(kafka)).await;
    }
}

async fn compare_plan(snapshot: &str, kafka: Option<&Kafka>) {
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
    let mut migration = Migration::between(&pair, "great").entry(GREAT_TABLES).with(&masking.section());
    if let Some(kafka) = kafka {
        let brokers = kafka.bootstrap();
        migration = migration.through_as(&format!(
            "{{ kafka: {{ brokers: [\"{brokers}\"], topic_prefix: planned, partitions: 3, replication_factor: 1 }} }}"
        ));
    }
    let file = migration.write(&Port::reserve()).to_string_lossy().into_owned();
    let exit = understudy(pair.scratch.path(), &["plan", &file]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    assert!(!exit.stdout.contains(Masking::KEY), "the key was shown");
    let plan = kafka.map_or_else(
        || exit.stdout.clone(),
        |kafka| exit.stdout.replace(&kafka.bootstrap(), "127.0.0.1:9092"),
    );
    Snapshot::of(snapshot).compare(&settled(&plan, &pair));
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
