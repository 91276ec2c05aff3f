//! Medians, ratios and the tables for the documentation.

use std::fmt::Write as _;

use understudy_contract::{Class, Failure};

use crate::options::Options;
use crate::rig::Who;

/// One figure, measured on both sides in several rounds. Smaller is better, but for rates.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    what: String,
    unit: &'static str,
    target: Target,
    against: Against,
    /// What ours is compared with.
    native: Vec<f64>,
    ours: Vec<f64>,
}

/// What ours is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Against {
    /// Postgres' own replication.
    Postgres,
    /// Rows that pass through.
    PassedThrough,
    /// Debezium with its JDBC sink.
    Debezium,
    /// A loop that puts the same rows into DynamoDB.
    PlainWriter,
}

impl Against {
    /// All of them, in the order of their tables.
    const ALL: [Against; 4] =
        [Against::Postgres, Against::PassedThrough, Against::Debezium, Against::PlainWriter];

    /// The heads of both sides in a table.
    const fn heads(self) -> &'static str {
        match self {
            Against::Postgres => "Postgres' own | Understudy",
            Against::PassedThrough => "passed through | with expressions",
            Against::Debezium => "Debezium | Understudy",
            Against::PlainWriter => "plain writer | Understudy",
        }
    }
}

/// What section 8 of the design asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// At least this many times as fast as Postgres.
    Ratio(f64),
    /// At most this much.
    AtMost(f64),
    /// With expressions at least this part of the speed at which rows pass through.
    Keeps(f64),
    /// A rate of at least this much.
    AtLeast(f64),
    /// A rate at least this many times that of the other side.
    Faster(f64),
    /// None; shown beside others.
    Open,
    /// None, of a rate.
    OpenRate,
}

impl Target {
    /// What a figure with this target is compared with, as a rule.
    const fn usually_against(self) -> Against {
        match self {
            Target::Keeps(_) | Target::AtLeast(_) | Target::Open => Against::PassedThrough,
            Target::Ratio(_) | Target::AtMost(_) => Against::Postgres,
            Target::Faster(_) => Against::Debezium,
            Target::OpenRate => Against::PlainWriter,
        }
    }
}

impl Figure {
    /// A figure without measurements.
    pub(crate) fn new(what: impl Into<String>, unit: &'static str, target: Target) -> Figure {
        let against = target.usually_against();
        Figure { what: what.into(), unit, target, against, native: Vec::new(), ours: Vec::new() }
    }

    /// The same compared with another side.
    pub(crate) const fn against(mut self, against: Against) -> Figure {
        self.against = against;
        self
    }

    /// Adds a measurement.
    pub(crate) fn add(&mut self, who: Who, value: f64) {
        match (who, self.target) {
            (Who::Native | Who::Debezium, _) | (Who::Understudy, Target::Keeps(_)) => self.native.push(value),
            (Who::Understudy | Who::Expressions, _) => self.ours.push(value),
        }
    }

    /// The figure on a line of progress.
    pub(crate) fn summary(&self) -> String {
        format!("{}: {}", self.what, self.cell(&self.ours))
    }

    fn row(&self) -> String {
        let (native, ours) = (median(&self.native), median(&self.ours));
        let ratio = native.zip(ours).map(|(native, ours)| match self.target {
            Target::Faster(_) | Target::OpenRate => ours / native,
            _ => native / ours,
        });
        let (target, reached) = match self.target {
            Target::Ratio(least) | Target::Faster(least) => {
                (format!("{least}x"), ratio.map(|ratio| ratio >= least))
            }
            Target::AtMost(most) => (format!("{most} {}", self.unit), ours.map(|ours| ours <= most)),
            Target::Keeps(part) => (format!("{part}x"), ratio.map(|ratio| ratio >= part)),
            Target::AtLeast(least) => {
                (format!("at least {least} {}", self.unit), ours.map(|ours| ours >= least))
            }
            Target::Open | Target::OpenRate => ("-".to_owned(), None),
        };
        let reached = reached.map_or("", |reached| if reached { "yes" } else { "no" });
        let ratio = ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}x"));
        format!(
            "| {} | {} | {} | {ratio} | {target} | {reached} |",
            self.what,
            self.cell(&self.native),
            self.cell(&self.ours)
        )
    }

    /// The median with the range of all rounds.
    fn cell(&self, values: &[f64]) -> String {
        let Some(middle) = median(values) else {
            return "-".to_owned();
        };
        let (least, most) = values
            .iter()
            .fold((f64::MAX, f64::MIN), |(least, most), each| (least.min(*each), most.max(*each)));
        match values.len() {
            1 => format!("{middle:.2} {}", self.unit),
            _ => format!("{middle:.2} {} ({least:.2} to {most:.2})", self.unit),
        }
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some((upper + sorted.get(sorted.len() / 2 - 1)?) / 2.0)
}

/// The table as Markdown, with what it was measured on.
pub(crate) fn markdown(figures: &[Figure], options: &Options) -> Result<String, Failure> {
    let version = options.installation()?.version();
    let command: Vec<String> = std::env::args().skip(1).collect();
    let mut text = String::new();
    let is_dynamodb = figures.iter().all(|figure| figure.against == Against::PlainWriter);
    let servers = match is_dynamodb {
        true => "on blue, DynamoDB Local in memory as green, blue as installed but for shared_buffers,",
        false => "on all three servers, each as installed but for shared_buffers,",
    };
    let _ = writeln!(text, "Machine: {}. Postgres {}.{} {servers}", machine(), version.0, version.1);
    let _ = writeln!(
        text,
        "max_wal_size, checkpoint_timeout and autovacuum (off). Medians of {} rounds in alternating order, with the",
        options.rounds
    );
    let _ = writeln!(text, "range in brackets. Command: `understudy-bench {}`.\n", command.join(" "));
    text.push_str(&tables(figures));
    if let Some(file) = &options.markdown {
        std::fs::write(file, &text).map_err(|error| {
            Failure::new(Class::Configuration, format!("could not write {}: {error}", file.display()))
        })?;
    }
    Ok(text)
}

/// A table for each side that is compared with, but none that would be empty.
fn tables(figures: &[Figure]) -> String {
    let mut tables = Vec::new();
    for against in Against::ALL {
        let sides = against.heads();
        let rows = figures.iter().filter(|figure| figure.against == against);
        let rows = rows.map(|figure| figure.row() + "\n").collect::<String>();
        if !rows.is_empty() {
            tables.push(format!(
                "| what | {sides} | ratio | target | reached |\n|---|---|---|---|---|---|\n{rows}"
            ));
        }
    }
    tables.join("\n")
}

fn machine() -> String {
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    let field = |text: &str, name: &str| -> Option<String> {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let model = field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let memory = field(&read("/proc/meminfo"), "MemTotal")
        .and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    format!("{model}, {cores} cores, {} GiB of memory", memory.unwrap_or(0) / 1024 / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_counts() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn a_row_says_whether_the_target_is_reached() {
        let mut figure = Figure::new("drain", "s", Target::Ratio(2.0));
        figure.add(Who::Native, 8.0);
        figure.add(Who::Understudy, 4.0);
        assert_eq!(figure.row(), "| drain | 8.00 s | 4.00 s | 2.00x | 2x | yes |");
    }

    #[test]
    fn rates_are_compared_the_other_way_round() {
        let mut rate = Figure::new("backlog", "changes/s", Target::Faster(5.0));
        rate.add(Who::Debezium, 10.0);
        rate.add(Who::Understudy, 60.0);
        assert_eq!(rate.row(), "| backlog | 10.00 changes/s | 60.00 changes/s | 6.00x | 5x | yes |");
        assert!(tables(&[rate]).starts_with("| what | Debezium | Understudy | ratio |"));
    }

    /// Who reads a rate without a target must not take half as fast for twice as fast.
    #[test]
    fn rates_without_a_target_are_rates_all_the_same() {
        let mut rate = Figure::new("first copy", "rows/s", Target::OpenRate);
        rate.add(Who::Native, 60.0);
        rate.add(Who::Understudy, 30.0);
        assert_eq!(rate.row(), "| first copy | 60.00 rows/s | 30.00 rows/s | 0.50x | - |  |");
        assert!(tables(&[rate]).starts_with("| what | plain writer | Understudy | ratio |"));
    }

    #[test]
    fn expressions_are_compared_with_rows_that_pass_through() {
        let mut drain = Figure::new("drain", "s", Target::Keeps(0.8));
        drain.add(Who::Understudy, 8.0);
        drain.add(Who::Expressions, 16.0);
        let mut rate = Figure::new("evaluate", "M rows/s", Target::AtLeast(1.0));
        rate.add(Who::Expressions, 1.5);
        assert_eq!(
            tables(&[drain, rate]),
            "| what | passed through | with expressions | ratio | target | reached |\n|---|---|---|---|---|---|\n\
             | drain | 8.00 s | 16.00 s | 0.50x | 0.8x | no |\n\
             | evaluate | - | 1.50 M rows/s | - | at least 1 M rows/s | yes |\n"
        );
    }
}
