//! Large counts: the same tests many times over, resumable, with their outcome and figures on record.
//!
//! `make campaign` sets UNDERSTUDY_CAMPAIGN: `full` asks for the large counts, `tiny` tries the campaign itself.

use std::cell::RefCell;
use std::path::Path;
use std::time::Instant;

use serde_json::json;

use crate::migration::through;
use crate::record::{Figures, Record};

/// Seeds of a test in a tiny campaign, at most.
const TINY_SEEDS: u64 = 2;

/// How much is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// What every run of the tests does, with no record.
    Usual,
    /// Few seeds and small data, recorded.
    Tiny,
    /// The large counts, recorded.
    Full,
}

impl Size {
    /// What UNDERSTUDY_CAMPAIGN asks for.
    pub fn asked() -> Size {
        match std::env::var("UNDERSTUDY_CAMPAIGN").as_deref() {
            Ok("full" | "1") => Size::Full,
            Ok("tiny") => Size::Tiny,
            Ok("" | "0") | Err(_) => Size::Usual,
            Ok(other) => panic!("UNDERSTUDY_CAMPAIGN is {other}: say full or tiny"),
        }
    }

    /// The record of campaigns of this size.
    pub fn record(self) -> Option<Record> {
        let name = match self {
            Size::Usual => return None,
            Size::Tiny => "campaign-tiny.json",
            Size::Full => "campaign.json",
        };
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("inside the project");
        Some(Record::at(root.join("results").join(name)))
    }
}

/// Whether the large counts are asked for.
pub fn is_campaign() -> bool {
    Size::asked() == Size::Full
}

/// The seeds of one test: few in a usual run, many in a campaign, where those that passed on this commit are left out.
#[derive(Debug)]
pub struct Campaign {
    test: String,
    record: Option<Record>,
    wanted: u64,
    seeds: Vec<u64>,
    current: RefCell<Option<Current>>,
}

/// The seed whose turn it is.
#[derive(Debug)]
struct Current {
    seed: u64,
    began: Instant,
    figures: Figures,
}

impl Campaign {
    /// Seeds from 1 on: `usual` of them, or `large` in a campaign. UNDERSTUDY_SEED=n runs that one alone.
    /// What goes through a log is on record under a name of its own.
    pub fn of(test: &str, usual: u64, large: u64) -> Campaign {
        let test = &match through() {
            Some(log) => format!("{test}_through_{log}"),
            None => test.to_owned(),
        };
        let alone: Option<u64> = std::env::var("UNDERSTUDY_SEED").ok().and_then(|text| text.parse().ok());
        let size = Size::asked();
        let wanted = match size {
            Size::Usual => usual,
            Size::Tiny => large.min(TINY_SEEDS),
            Size::Full => large,
        };
        let record = if alone.is_some() { None } else { size.record() };
        let passed = |seed: u64| record.as_ref().is_some_and(|record| record.has(test, &seed.to_string()));
        let seeds = match alone {
            Some(seed) => vec![seed],
            None => (1..=wanted).filter(|seed| !passed(*seed)).collect(),
        };
        Campaign { test: test.to_owned(), record, wanted, seeds, current: RefCell::new(None) }
    }

    /// The seeds to run. Each is printed as its turn comes, for the case that it fails.
    pub fn seeds(&self) -> impl Iterator<Item = u64> {
        self.seeds.iter().copied().inspect(|&seed| {
            println!("{}: seed {seed}", self.test);
            let current = Current { seed, began: Instant::now(), figures: Figures::new() };
            self.current.replace(Some(current));
        })
    }

    /// Keeps a figure of the current seed; the largest, where it is measured several times.
    pub fn measured(&self, name: &str, figure: f64) {
        println!("{}: {name} {figure:.1}", self.test);
        if let Some(current) = self.current.borrow_mut().as_mut() {
            let so_far = current.figures.get(name).and_then(serde_json::Value::as_f64).unwrap_or(figure);
            current.figures.insert(name.to_owned(), json!(rounded(so_far.max(figure))));
        }
    }

    /// Records that a seed has passed, so that a campaign that is interrupted goes on from there.
    pub fn passed(&self, seed: u64) {
        let current = self.current.take().filter(|current| current.seed == seed);
        let current = current.expect("the seed that passed is the one whose turn it is");
        if let Some(record) = &self.record {
            record.passed(&self.test, self.wanted, &seed.to_string(), current.finished());
        }
    }
}

impl Current {
    fn finished(mut self) -> Figures {
        self.figures.insert("seconds".to_owned(), json!(rounded(self.began.elapsed().as_secs_f64())));
        self.figures
    }
}

impl Drop for Campaign {
    /// A test that stops in the middle of a seed has failed with it.
    fn drop(&mut self) {
        let current = self.current.take().filter(|_| std::thread::panicking());
        if let (Some(current), Some(record)) = (current, &self.record) {
            let seed = current.seed.to_string();
            record.failed(&self.test, self.wanted, &seed, current.finished());
        }
    }
}

/// With one digit after the point: more says nothing.
fn rounded(figure: f64) -> f64 {
    (figure * 10.0).round() / 10.0
}
