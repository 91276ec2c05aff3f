//! Runs a campaign: the property tests and the end-to-end tests with large counts, for one commit, on record.
//!
//! `make campaign` starts it. What has passed on this commit is not run again; another commit starts anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "it stops at the first surprise")]
#![allow(clippy::print_stdout, reason = "it says what it does")]

use std::collections::VecDeque;
use std::process::{Command, ExitCode, Output, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use serde_json::{Map, Value, json};
use understudy_tests::{Figures, Record, Size};

/// The property over random interleavings, by its name in the report and in its package.
const PROPERTY: &str = "green_equals_blue";

/// Seeds of the property that one process runs, and all of them.
struct Seeds {
    slice: u64,
    all: u64,
}

/// The end-to-end tests that keep records, in the order in which they run: which tests, how many at a time, and what they record.
const STEPS: [Step; 5] = [
    // Alone, since its memory and its time are measured.
    Step {
        filters: &["a_huge_transaction_beside_open_copy_windows"],
        items: &["huge_transaction"],
        ..Step::ALONE
    },
    Step { filters: &["_green_is_waited_for"], items: &["green_locked", "green_frozen"], ..Step::TWO },
    Step {
        filters: &["crash::"],
        items: &[
            "kill_15_15",
            "kill_18_18",
            "kill_15_18",
            "servers_crash_15_15",
            "servers_crash_18_18",
            "servers_crash_15_18",
            "servers_crash_18_15",
        ],
        ..Step::TWO
    },
    Step {
        filters: &["crash::the_sidecar_is_killed"],
        items: &["kill_15_15_through_kafka", "kill_18_18_through_kafka", "kill_15_18_through_kafka"],
        through: "kafka",
        ..Step::TWO
    },
    // What holds straight from blue to green holds with a log between. These tests keep no records of their own.
    Step {
        filters: &["types::", "transforms::", "follow::", "verify::", "schema::", "partitions::"],
        items: &["suites_through_kafka"],
        through: "kafka",
        is_one: true,
        ..Step::TWO
    },
];

/// Some of the end-to-end tests.
struct Step {
    filters: &'static [&'static str],
    at_a_time: &'static str,
    items: &'static [&'static str],
    /// The log that their migrations go through; nothing where they go straight from blue to green.
    through: &'static str,
    /// Whether all of them are one item of the record.
    is_one: bool,
}

impl Step {
    const ALONE: Step = Step { filters: &[], at_a_time: "1", items: &[], through: "", is_one: false };
    const TWO: Step = Step { at_a_time: "2", ..Step::ALONE };
}

fn main() -> ExitCode {
    let size = Size::asked();
    let record = size.record().expect("UNDERSTUDY_CAMPAIGN says full or tiny: use `make campaign`");
    let seeds = match size {
        Size::Full => Seeds { slice: 20_000, all: 300_000 },
        Size::Usual | Size::Tiny => Seeds { slice: 500, all: 2_000 },
    };
    let commit = commit();
    println!("campaign for {commit}, on record in {}", record.path().display());
    if commit.contains("-dirty") {
        println!("there are changes that are not committed: this is no evidence for any commit");
    }
    record.begin(&commit, json!({ "size": format!("{size:?}").to_lowercase(), "machine": machine() }));
    for step in &STEPS {
        assert_eq!(self::commit(), commit, "the sources have changed: start the campaign again");
        end_to_end(&record, step);
    }
    properties(&record, &seeds);
    let complete = report(&record);
    record.update(|all| all["complete"] = json!(complete));
    if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The commit, and where files differ from it, a digest of how: a changed tree is never taken for the same one.
fn commit() -> String {
    let script = "set -e; commit=$(git rev-parse --short=12 HEAD); \
        changes=$(git status --porcelain; git diff HEAD); \
        if [ -n \"$changes\" ]; then commit=$commit-dirty-$(echo \"$changes\" | git hash-object --stdin | cut -c 1-8); fi; \
        echo $commit";
    let output = Command::new("sh").args(["-c", script]).output().expect("run git");
    assert!(output.status.success(), "git: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn machine() -> String {
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes: u64 =
        memory.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or_default();
    format!("{} cores, {} GiB", cores(), kilobytes / 1024 / 1024)
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Runs the slices of seeds that have not passed yet, one on each core.
fn properties(record: &Record, seeds: &Seeds) {
    let wanted = seeds.all.div_ceil(seeds.slice);
    let slices = (0..wanted).map(|n| format!("{}..{}", n * seeds.slice, (n + 1) * seeds.slice));
    let open: VecDeque<String> = slices.filter(|slice| !record.has(PROPERTY, slice)).collect();
    if open.is_empty() {
        return;
    }
    // Built before several processes want to build it at once.
    let built = property(&["--no-run"], "0..0");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let open = Mutex::new(open);
    let next = || open.lock().expect("no thread fails while it takes a slice").pop_front();
    thread::scope(|scope| {
        for _ in 0..cores() {
            scope.spawn(|| {
                while let Some(slice) = next() {
                    run_slice(record, wanted, &slice);
                }
            });
        }
    });
}

fn property(options: &[&str], seeds: &str) -> Output {
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--locked", "--release", "--package", "understudy-testkit", "--lib", PROPERTY]);
    cargo.args(options).args(["--", "--nocapture"]);
    cargo.env("UNDERSTUDY_SEEDS", seeds).stdin(Stdio::null()).output().expect("run cargo")
}

fn run_slice(record: &Record, wanted: u64, slice: &str) {
    let began = Instant::now();
    let output = property(&[], slice);
    let text = String::from_utf8_lossy(&output.stdout);
    let classes = classes(&text);
    let mut figures = Figures::new();
    figures.insert("seconds".to_owned(), json!(began.elapsed().as_secs()));
    figures.insert("classes".to_owned(), Value::Object(classes.clone()));
    if output.status.success() && !classes.is_empty() {
        println!("{PROPERTY}: seeds {slice} hold");
        record.passed(PROPERTY, wanted, slice, figures);
        return;
    }
    let wrong: Vec<&str> = text.lines().filter(|line| line.starts_with("seed ")).collect();
    println!("{PROPERTY}: seeds {slice} FAILED\n{}", wrong.join("\n"));
    figures.insert("wrong".to_owned(), json!(wrong));
    record.failed(PROPERTY, wanted, slice, figures);
}

/// The runs of each class, from the line `{Heal: (400, 390), ...}` that the property prints: runs, and those of them that
/// met what the class is about.
fn classes(text: &str) -> Map<String, Value> {
    let mut classes = Map::new();
    let Some((tally, _)) = text.lines().find_map(|line| line.strip_prefix('{')?.split_once('}')) else {
        return classes;
    };
    for part in tally.split("), ") {
        let Some((class, counts)) = part.trim_end_matches(')').split_once(": (") else { continue };
        for (what, count) in ["runs", "met"].iter().zip(counts.split(", ")) {
            classes.insert(format!("{class} {what}"), json!(count.parse::<u64>().unwrap_or_default()));
        }
    }
    classes
}

fn end_to_end(record: &Record, step: &Step) {
    if step.items.iter().all(|item| is_complete(&record.read()["items"][item])) {
        return;
    }
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--locked", "--package", "understudy-tests", "--test", "e2e", "--"]);
    cargo.args(step.filters).args(["--nocapture", "--test-threads", step.at_a_time]);
    cargo.env("UNDERSTUDY_TEST_THROUGH", step.through);
    let began = Instant::now();
    // How it ends is in the record; the rest still runs, so that one campaign shows everything that is broken.
    let status = cargo.stdin(Stdio::null()).status().expect("run cargo");
    println!("{}: {status}", step.filters.join(" "));
    for item in step.items.iter().filter(|_| step.is_one) {
        let mut figures = Figures::new();
        figures.insert("seconds".to_owned(), json!(began.elapsed().as_secs()));
        if status.success() {
            record.passed(item, 1, "all", figures);
        } else {
            record.failed(item, 1, "all", figures);
        }
    }
}

fn is_complete(item: &Value) -> bool {
    item["done"].is_u64() && item["done"] == item["wanted"]
}

/// Prints one line for each item. Whether all are complete and none has ever failed.
fn report(record: &Record) -> bool {
    let all = record.read();
    println!("== campaign for {}", all["commit"].as_str().unwrap_or_default());
    let mut complete = true;
    for name in [PROPERTY].iter().chain(STEPS.iter().flat_map(|step| step.items)) {
        let item = &all["items"][name];
        let failures = item["failures"].as_array().map_or(0, Vec::len);
        complete &= is_complete(item) && failures == 0;
        let done = item["done"].as_u64().unwrap_or_default();
        println!(
            "{name}: {done} of {}, {failures} failed, at most {}",
            item["wanted"],
            if item["most"].is_object() { item["most"].to_string() } else { "nothing measured".to_owned() }
        );
        if item["classes"].is_object() {
            println!("  {}", item["classes"]);
        }
    }
    println!("{}", if complete { "complete: everything has passed" } else { "not complete" });
    complete
}
