//! Large counts: the same tests many times over, resumable, with their outcome in results/campaign.json.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use serde_json::{Value, json};

static FILE: Mutex<()> = Mutex::new(());

/// Whether UNDERSTUDY_CAMPAIGN=1 asks for the large counts.
pub fn is_campaign() -> bool {
    std::env::var("UNDERSTUDY_CAMPAIGN").is_ok_and(|value| value == "1")
}

/// The seeds of one test: few in a usual run, many in a campaign, where those that passed on this commit are left out.
#[derive(Debug)]
pub struct Campaign {
    test: String,
    commit: String,
    seeds: Vec<u64>,
}

impl Campaign {
    /// Seeds from 1 on: `usual` of them, or `large` in a campaign. UNDERSTUDY_SEED=n runs that one alone.
    pub fn of(test: &str, usual: u64, large: u64) -> Campaign {
        if let Some(seed) = std::env::var("UNDERSTUDY_SEED").ok().and_then(|text| text.parse().ok()) {
            return Campaign { test: test.to_owned(), commit: String::new(), seeds: vec![seed] };
        }
        if !is_campaign() {
            return Campaign { test: test.to_owned(), commit: String::new(), seeds: (1..=usual).collect() };
        }
        let commit = commit();
        let results = load();
        let passed =
            |seed: u64| results[&commit][test]["passed"].as_array().is_some_and(|p| p.contains(&json!(seed)));
        let seeds = (1..=large).filter(|seed| !passed(*seed)).collect();
        Campaign { test: test.to_owned(), commit, seeds }
    }

    /// The seeds to run. Each is printed as its turn comes, for the case that it fails.
    pub fn seeds(&self) -> impl Iterator<Item = u64> {
        self.seeds.iter().copied().inspect(|seed| println!("{}: seed {seed}", self.test))
    }

    /// Records that a seed has passed, so that a campaign that is interrupted goes on from there.
    pub fn passed(&self, seed: u64) {
        if self.commit.is_empty() {
            return;
        }
        let _one_at_a_time = FILE.lock().expect("no test panics while it writes");
        let mut results = load();
        let passed = &mut results[&self.commit][&self.test]["passed"];
        if !passed.is_array() {
            *passed = json!([]);
        }
        passed.as_array_mut().expect("just made an array").push(json!(seed));
        let count = passed.as_array().map_or(0, Vec::len);
        results[&self.commit][&self.test]["count"] = json!(count);
        let text = serde_json::to_string_pretty(&results).expect("results are JSON");
        fs::create_dir_all(path().parent().expect("a folder")).expect("create results/");
        let fresh = path().with_extension("new");
        fs::write(&fresh, text).expect("write the results");
        fs::rename(&fresh, path()).expect("replace the results");
    }
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("inside the project").join("results/campaign.json")
}

fn load() -> Value {
    fs::read_to_string(path())
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_else(|| json!({}))
}

fn commit() -> String {
    let output = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    let text = output.ok().map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.filter(|text| !text.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}
