//! `understudy plan`: what a run would create and move, table by table. Looks, and creates nothing.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};
use understudy_contract::Failure;
use understudy_postgres::ident::{quote_ident, quote_table};
use understudy_postgres::preflight::{Finding, Severity};
use understudy_postgres::wire::Client;
use understudy_transform::{ColumnSource, RouteSpec};

use super::args::PlanArgs;
use super::check::{TABLE_LEFT, findings};
use super::exit::CliError;
use super::output::{Output, bytes, known, table};
use super::sides::{Sides, load};
use crate::routes::{self, Taken};
use crate::settings::Settings;

/// Longer values are cut: a plan is read by people.
const VALUE_CHARS_MAX: usize = 60;

/// Findings that say what a run does, rather than what it needs.
const EFFECTS: [&str; 2] = [TABLE_LEFT, "decoding-memory-raised"];

/// Prints the plan.
pub(super) async fn plan(args: &PlanArgs, output: Output) -> Result<(), CliError> {
    let file = args.file.file.display().to_string();
    let settings = load(&args.file.file)?;
    let samples = if args.no_samples { 0 } else { args.samples };
    let plan = Plan::draw_up(&settings, samples).await.map_err(|failure| CliError::of(&failure, &file))?;
    if output.is_json() {
        output.json(&plan.json(&settings))?
    } else {
        output.data(plan.text(&settings))?
    }
    let next = if plan.errors == 0 { "run" } else { "check" };
    output.message(format!("next: understudy {next} {file}"));
    Ok(())
}

/// One table of the plan.
struct Route {
    spec: RouteSpec,
    bytes: u64,
    rows_estimate: Option<u64>,
    /// Sample rows in the route's columns: as blue has them, and as green will.
    samples: Vec<Sample>,
}

struct Sample {
    before: Vec<(String, Option<String>)>,
    after: Vec<(String, Option<String>)>,
}

struct Plan {
    routes: Vec<Route>,
    /// What a run would do beside creating and moving.
    effects: Vec<Finding>,
    not_moved: Vec<Finding>,
    errors: usize,
}

impl Plan {
    async fn draw_up(settings: &Settings, samples: u32) -> Result<Plan, Failure> {
        let mut sides = Sides::connect(settings, "plan").await?;
        let tables = sides.describe_blue().await?;
        let taken = routes::taken(settings, &tables)?;
        let findings = findings(&mut sides, settings, &tables).await?;
        let mut routes = Vec::with_capacity(taken.len());
        for (spec, one) in routes::compile(&taken)?.into_iter().zip(&taken) {
            let samples = read_samples(&mut sides.blue, &spec, samples).await?;
            let Taken { table, .. } = one;
            routes.push(Route { spec, bytes: table.bytes, rows_estimate: table.rows_estimate, samples });
        }
        sides.close().await;
        let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
        let (not_moved, others) =
            findings.into_iter().partition::<Vec<_>, _>(|finding| finding.severity == Severity::NotMoved);
        let effects = others.into_iter().filter(|finding| EFFECTS.contains(&finding.code)).collect();
        Ok(Plan { routes, effects, not_moved, errors })
    }

    fn text(&self, settings: &Settings) -> String {
        let mut text = format!("Migration {}\n\nCreated on blue ({}):\n", settings.name, settings.blue);
        for object in on_blue(settings) {
            let _ = writeln!(text, "  {object}");
        }
        let _ = writeln!(text, "Created on green ({}):", settings.green_postgres());
        for object in on_green(settings) {
            let _ = writeln!(text, "  {object}");
        }
        text.push('\n');
        let rows = self.routes.iter().map(|route| {
            let spec = &route.spec;
            let rows = known(route.rows_estimate);
            vec![
                spec.source.to_string(),
                spec.target.to_string(),
                rows,
                bytes(route.bytes),
                spec.key_source.join(", "),
            ]
        });
        text.push_str(&table(
            &["BLUE", "GREEN", "ROWS (ESTIMATE)", "SIZE", "KEY"],
            &rows.collect::<Vec<_>>(),
        ));
        let total = self.routes.iter().map(|route| route.bytes).sum::<u64>();
        let _ = writeln!(text, "{} tables, {}{}", self.routes.len(), bytes(total), pace(settings, total));
        for route in &self.routes {
            text.push_str(&route.text());
        }
        for (title, findings) in [("Worth knowing", &self.effects), ("Does not move", &self.not_moved)] {
            if !findings.is_empty() {
                let _ = writeln!(text, "\n{title}:");
            }
            for finding in findings {
                let _ = writeln!(text, "  {}: {}", finding.subject, finding.what);
            }
        }
        if self.errors > 0 {
            let _ = writeln!(text, "\nNot ready: `understudy check` lists {} errors.", self.errors);
        }
        text
    }

    fn json(&self, settings: &Settings) -> Json {
        let findings = |findings: &[Finding]| {
            let one = |finding: &Finding| json!({ "code": finding.code, "subject": finding.subject, "what": finding.what });
            findings.iter().map(one).collect::<Vec<_>>()
        };
        json!({
            "schema": "understudy/v1/plan",
            "migration": settings.name.as_str(),
            "created": { "blue": on_blue(settings), "green": on_green(settings) },
            "tables": self.routes.iter().map(Route::json).collect::<Vec<_>>(),
            "effects": findings(&self.effects),
            "not_moved": findings(&self.not_moved),
            "errors": self.errors,
        })
    }
}

fn on_blue(settings: &Settings) -> [String; 2] {
    let name = settings.name.slot();
    [format!("replication slot {name}"), format!("publication {name}")]
}

fn on_green(settings: &Settings) -> [String; 2] {
    let origin = settings.name.slot();
    [
        "schema understudy, with the bookkeeping".to_owned(),
        format!("replication origins {origin}*, where permitted"),
    ]
}

/// How long the first copy takes at the throttle, when there is one.
fn pace(settings: &Settings, total: u64) -> String {
    match settings.copy.bytes_per_second {
        Some(limit) => {
            let minutes = total.div_ceil(limit.max(1)).div_ceil(60);
            format!("; at {} per second the first copy takes at least {minutes} min", bytes(limit))
        }
        None => format!("; copied by {} readers without a throttle", settings.copy.readers),
    }
}

impl Route {
    /// The columns that change, one line each.
    fn changes(&self) -> Vec<String> {
        let spec = &self.spec;
        let changed = spec.columns.iter().filter_map(|column| match &column.from {
            ColumnSource::Column(name) if *name == column.name => None,
            ColumnSource::Column(name) => Some(format!("{} <- {name}", column.name)),
            ColumnSource::Constant(Some(value)) => Some(format!("{} <- constant {value:?}", column.name)),
            ColumnSource::Constant(None) => Some(format!("{} <- null", column.name)),
        });
        let mut lines = changed.collect::<Vec<_>>();
        let unchanged = spec.columns.len() - lines.len();
        if unchanged > 0 {
            lines.push(format!("{unchanged} columns unchanged"));
        }
        let mut left_out = spec.left_out.iter().flatten().cloned().collect::<Vec<_>>();
        left_out.sort();
        if !left_out.is_empty() {
            lines.push(format!("left out: {}", left_out.join(", ")));
        }
        lines
    }

    fn text(&self) -> String {
        let mut text = format!("\n{} -> {}\n", self.spec.source, self.spec.target);
        for line in self.changes() {
            let _ = writeln!(text, "  {line}");
        }
        for sample in &self.samples {
            let _ = writeln!(text, "  before  {}", shown(&sample.before));
            let _ = writeln!(text, "  after   {}", shown(&sample.after));
        }
        text
    }

    fn json(&self) -> Json {
        let spec = &self.spec;
        let columns = spec.columns.iter().map(|column| match &column.from {
            ColumnSource::Column(name) => json!({ "green": column.name, "blue": name }),
            ColumnSource::Constant(value) => json!({ "green": column.name, "constant": value }),
        });
        let object = |row: &[(String, Option<String>)]| {
            row.iter().map(|(name, value)| (name.clone(), json!(value))).collect::<serde_json::Map<_, _>>()
        };
        let samples = self
            .samples
            .iter()
            .map(|sample| json!({ "before": object(&sample.before), "after": object(&sample.after) }));
        json!({
            "blue": spec.source.to_string(), "green": spec.target.to_string(),
            "rows_estimate": self.rows_estimate, "bytes": self.bytes, "key": spec.key_source,
            "columns": columns.collect::<Vec<_>>(), "samples": samples.collect::<Vec<_>>(),
        })
    }
}

fn shown(row: &[(String, Option<String>)]) -> String {
    let one = |(name, value): &(String, Option<String>)| {
        let value = value.as_deref().map_or_else(
            || "null".to_owned(),
            |value| {
                let cut = value.chars().take(VALUE_CHARS_MAX).collect::<String>();
                if cut.len() < value.len() { format!("{cut:?}...") } else { format!("{cut:?}") }
            },
        );
        format!("{name}={value}")
    };
    row.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// A few rows, as they are and as they will be. Values are data here: whoever may run the plan may read the tables.
async fn read_samples(blue: &mut Client, spec: &RouteSpec, count: u32) -> Result<Vec<Sample>, Failure> {
    let columns = spec.source_columns();
    if count == 0 || columns.is_empty() {
        return Ok(Vec::new());
    }
    let list =
        columns.iter().map(|name| format!("{}::text", quote_ident(name))).collect::<Vec<_>>().join(", ");
    let sql = format!("SELECT {list} FROM {} LIMIT {count}", quote_table(&spec.source));
    let rows = blue
        .query(&sql)
        .await
        .map_err(|failure| failure.while_doing(format!("read sample rows of {}", spec.source)))?;
    let sample = |row: &understudy_postgres::wire::Row| {
        let before =
            columns.iter().enumerate().map(|(at, name)| (name.clone(), row.text(at).map(str::to_owned)));
        let before = before.collect::<Vec<_>>();
        let value = |source: &ColumnSource| match source {
            ColumnSource::Column(name) => {
                before.iter().find(|(column, _)| column == name).and_then(|(_, value)| value.clone())
            }
            ColumnSource::Constant(value) => value.clone(),
        };
        let after = spec.columns.iter().map(|column| (column.name.clone(), value(&column.from))).collect();
        Sample { before, after }
    };
    Ok(rows.iter().map(sample).collect())
}
