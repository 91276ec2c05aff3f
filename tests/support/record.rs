//! The file in which a campaign keeps what has passed and what failed, with its figures, for one commit.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde_json::{Map, Value, json};

/// Tests of one process write in turn. Processes do too: a campaign runs one after the other.
static WRITING: Mutex<()> = Mutex::new(());

/// What was measured in one run of an item, by name.
pub type Figures = Map<String, Value>;

/// Items by name; of each the runs that passed, the failures, and a summary of the figures.
#[derive(Debug, Clone)]
pub struct Record {
    path: PathBuf,
}

impl Record {
    /// The record in this file, which need not exist yet.
    pub fn at(path: PathBuf) -> Record {
        Record { path }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Goes on with the record of this commit. That of another commit is set aside under the other's name.
    pub fn begin(&self, commit: &str, about: Value) {
        let other = self.read()["commit"].as_str().map(str::to_owned).filter(|other| other != commit);
        if let Some(other) = other {
            let name = self.path.file_stem().expect("a file's name").to_string_lossy();
            let aside = self.path.with_file_name(format!("{name}-{other}.json"));
            fs::rename(&self.path, aside).expect("set the other record aside");
        }
        self.update(|all| {
            if all["commit"].is_null() {
                *all = json!({ "commit": commit, "about": about, "items": {} });
            }
        });
    }

    /// Whether this run of the item has passed.
    pub fn has(&self, item: &str, run: &str) -> bool {
        self.read()["items"][item]["runs"].get(run).is_some()
    }

    /// Adds a run that passed. `wanted` is how many of them the item takes.
    pub fn passed(&self, item: &str, wanted: u64, run: &str, figures: Figures) {
        self.update(|all| {
            let item = entry(all, item, wanted);
            item["runs"][run] = Value::Object(figures);
            let runs: Vec<Value> = item["runs"].as_object().expect("runs").values().cloned().collect();
            item["done"] = json!(runs.len());
            item["most"] = most(&runs);
            let classes = classes(&runs);
            if !classes.is_empty() {
                item["classes"] = json!(classes);
            }
        });
    }

    /// Adds a run that failed. It stays on record when the run passes later.
    pub fn failed(&self, item: &str, wanted: u64, run: &str, figures: Figures) {
        self.update(|all| {
            let failures = &mut entry(all, item, wanted)["failures"];
            let failure = json!({ "run": run, "figures": figures });
            failures.as_array_mut().expect("failures").push(failure);
        });
    }

    /// All of it; empty where there is no file yet.
    pub fn read(&self) -> Value {
        let text = fs::read_to_string(&self.path).unwrap_or_else(|_| "{}".to_owned());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", self.path.display()))
    }

    /// Changes it in one step: whoever reads it meanwhile, or after a crash, finds the old text or the new one.
    pub fn update(&self, change: impl FnOnce(&mut Value)) {
        // Whoever failed while it wrote has written nothing.
        let _in_turn = WRITING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut all = self.read();
        change(&mut all);
        let text = serde_json::to_string_pretty(&all).expect("a record is JSON") + "\n";
        fs::create_dir_all(self.path.parent().expect("a folder")).expect("create the folder of results");
        let fresh = self.path.with_extension("new");
        fs::write(&fresh, text).expect("write the record");
        fs::rename(&fresh, &self.path).expect("replace the record");
    }
}

fn entry<'a>(all: &'a mut Value, item: &str, wanted: u64) -> &'a mut Value {
    let entry = &mut all["items"][item];
    if entry.is_null() {
        *entry = json!({ "done": 0, "runs": {}, "failures": [] });
    }
    entry["wanted"] = json!(wanted);
    entry
}

/// The largest value of each figure over all runs.
fn most(runs: &[Value]) -> Value {
    let mut most = BTreeMap::<&String, f64>::new();
    for (name, value) in runs.iter().filter_map(Value::as_object).flatten() {
        if let Some(value) = value.as_f64() {
            let so_far = most.entry(name).or_insert(value);
            *so_far = so_far.max(value);
        }
    }
    json!(most)
}

/// The counts of each class, added up over all runs.
fn classes(runs: &[Value]) -> BTreeMap<&String, u64> {
    let mut sums = BTreeMap::new();
    for (class, count) in runs.iter().filter_map(|run| run["classes"].as_object()).flatten() {
        *sums.entry(class).or_default() += count.as_u64().unwrap_or_default();
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(value: Value) -> Figures {
        value.as_object().expect("figures").clone()
    }

    fn record(test: &str) -> Record {
        let folder = std::env::temp_dir().join(format!("understudy-record-{test}-{}", std::process::id()));
        fs::remove_dir_all(&folder).ok();
        Record::at(folder.join("campaign.json"))
    }

    /// An interrupted campaign goes on: what has passed is known, summed up, and not asked for again.
    #[test]
    fn what_has_passed_is_kept() {
        let record = record("kept");
        record.begin("one", json!({}));
        record.passed("kill", 2, "1", figures(json!({ "rss": 7.5, "classes": { "Heal": 3 } })));
        record.begin("one", json!({}));
        record.passed("kill", 2, "2", figures(json!({ "rss": 5, "classes": { "Heal": 4 } })));
        assert!(record.has("kill", "1") && !record.has("kill", "3"));
        let kill = &record.read()["items"]["kill"];
        assert_eq!((&kill["done"], &kill["wanted"]), (&json!(2), &json!(2)));
        assert_eq!((&kill["most"]["rss"], &kill["classes"]["Heal"]), (&json!(7.5), &json!(7)));
        fs::remove_dir_all(record.path().parent().expect("a folder")).ok();
    }

    /// Evidence never mixes two commits, and that of the other one is not lost.
    #[test]
    fn another_commit_starts_anew() {
        let record = record("anew");
        record.begin("one", json!({}));
        record.passed("kill", 2, "1", Figures::new());
        record.begin("two", json!({}));
        assert!(!record.has("kill", "1"));
        assert_eq!(record.read()["commit"], "two");
        let aside = Record::at(record.path().with_file_name("campaign-one.json"));
        assert!(aside.has("kill", "1"));
        fs::remove_dir_all(record.path().parent().expect("a folder")).ok();
    }

    /// A failure is evidence too: a later success of the same run does not wipe it out.
    #[test]
    fn failures_stay() {
        let record = record("failures");
        record.begin("one", json!({}));
        record.failed("kill", 2, "1", figures(json!({ "rss": 9 })));
        record.passed("kill", 2, "1", Figures::new());
        let kill = &record.read()["items"]["kill"];
        assert_eq!((&kill["failures"][0]["run"], &kill["done"]), (&json!("1"), &json!(1)));
        fs::remove_dir_all(record.path().parent().expect("a folder")).ok();
    }
}
