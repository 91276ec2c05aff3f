//! `understudy plan`: what a run would create and move, table by table. Looks, and creates nothing.

mod items;
mod layout;
mod route;
pub(super) mod sample;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Value as Json, json};
use understudy_contract::{Failure, Finding, Severity};
use understudy_kafka::TopicNames;
use understudy_model::TableName;

use super::args::PlanArgs;
use super::check::{TABLE_LEFT, UNDRAWN, draw, findings};
use super::exit::{CliError, Exit};
use super::output::{Output, bytes, known, table};
use super::sides::{Sides, load};
use crate::comparing;
use crate::mapping::Both;
use crate::project::ToMake;
use crate::routes;
use crate::settings::Settings;
use layout::paragraphs;
use route::Route;

/// Findings that say what a run does, rather than what it needs.
const EFFECTS: [&str; 4] = [TABLE_LEFT, UNDRAWN, "decoding-memory-raised", "heals-expected"];

/// Prints the plan.
pub(super) async fn plan(args: &PlanArgs, output: Output) -> Result<(), CliError> {
    let file = args.file.file.display().to_string();
    let settings = load(&args.file.file)?;
    let samples = (!args.no_samples).then_some(args.samples);
    if let Some(dynamo) = settings.green_dynamo() {
        return Box::pin(items::plan(&settings, dynamo, args, output)).await;
    }
    if args.create_tables {
        let what = "--create-tables: green is Postgres, where tables are made with its own tools";
        return Err(CliError::new(Exit::Configuration, what, format!("understudy plan {file}")));
    }
    let failed = |failure| CliError::of(&failure, &file);
    let mut sides = Sides::connect(&settings, "plan").await.map_err(failed)?;
    let both = sides.describe_both().await.map_err(failed)?;
    let plan = Plan::draw_up(&settings, &mut sides, (&both, samples)).await.map_err(failed)?;
    sides.close().await;
    if output.is_json() {
        output.json(&plan.json(&settings))?
    } else {
        output.data(plan.text(&settings))?
    }
    let doubtful = plan.routes.iter().any(Route::is_doubtful);
    let next = match (plan.errors, doubtful) {
        (0, false) => "run",
        (0, true) => "plan",
        _ => "check",
    };
    output.message(format!("next: understudy {next} {file}"));
    Ok(())
}

struct Plan<'a> {
    routes: Vec<Route<'a>>,
    /// What a run gives green before anything else.
    to_make: ToMake<'a>,
    /// What a run would do beside creating and moving.
    effects: Vec<Finding>,
    not_moved: Vec<Finding>,
    errors: usize,
}

impl<'a> Plan<'a> {
    async fn draw_up(
        settings: &'a Settings,
        sides: &mut Sides,
        (both, samples): (&'a Both, Option<u32>),
    ) -> Result<Plan<'a>, Failure> {
        let taken = routes::taken(settings, &both.blue.tables)?;
        let to_make = ToMake::look(&mut sides.green, settings).await?;
        let findings = findings(sides, settings, both, to_make).await?;
        // Which of them cannot be drawn is among the findings.
        let (drawn, _) = draw(settings, &taken, both, to_make)?;
        let key = drawn.first().and_then(|one| one.blue.scope.as_ref()?.mask_key.as_ref());
        sample::set_mask_key(&mut sides.blue, key).await?;
        let compared = comparing::compared_routes(settings, &drawn, both)?;
        let mut routes = Vec::with_capacity(drawn.len());
        for (drawn, compared) in drawn.into_iter().zip(compared) {
            let samples = match samples {
                Some(shown) => Some(sample::read(&mut sides.blue, &drawn, shown).await?),
                None => None,
            };
            routes.push(Route { drawn, compared, samples, to_make });
        }
        let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
        let (not_moved, others) =
            findings.into_iter().partition::<Vec<_>, _>(|finding| finding.severity == Severity::NotMoved);
        let effects = others.into_iter().filter(|finding| EFFECTS.contains(&finding.code)).collect();
        Ok(Plan { routes, to_make, effects, not_moved, errors })
    }

    fn text(&self, settings: &Settings) -> String {
        let mut text = format!("Migration {}\n\nCreated on blue ({}):\n", settings.name, settings.blue);
        for object in on_blue(settings) {
            let _ = writeln!(text, "  {object}");
        }
        text.push_str(&log_text(settings, self.sources()));
        let _ = writeln!(text, "Created on green ({}):", settings.green);
        for object in on_green(settings, self.to_make) {
            let _ = writeln!(text, "  {object}");
        }
        text.push('\n');
        if settings.project.is_some() {
            let _ = writeln!(text, "{}", crate::project::text(settings.project.as_ref()));
        }
        text.push_str(&self.overview(settings));
        for route in &self.routes {
            text.push_str(&route.text());
        }
        for (title, findings) in [("Worth knowing", &self.effects), ("Does not move", &self.not_moved)] {
            if !findings.is_empty() {
                let _ = writeln!(text, "\n{title}:");
            }
            for finding in findings {
                for line in paragraphs(&format!("{}: {}", finding.subject, finding.what)) {
                    let _ = writeln!(text, "{line}");
                }
            }
        }
        if self.routes.iter().any(Route::is_doubtful) {
            text.push_str(
                "\nNot ready: sampled rows are refused, or blue computes them differently (see above).\n",
            );
        }
        if self.errors > 0 {
            let plural = if self.errors == 1 { "" } else { "s" };
            let _ = writeln!(text, "\nNot ready: `understudy check` lists {} error{plural}.", self.errors);
        }
        text
    }

    /// Every route on one line, and how much there is to copy.
    fn overview(&self, settings: &Settings) -> String {
        let rows = self.routes.iter().map(|route| {
            let (spec, blue) = (&route.drawn.spec, route.drawn.taken.table);
            vec![
                spec.source.to_string(),
                spec.target.to_string(),
                known(blue.rows_estimate),
                bytes(blue.bytes),
                route.key_text(),
            ]
        });
        let header = ["BLUE", "GREEN", "ROWS (ESTIMATE)", "SIZE", "KEY"];
        let mut text = table(&header, &rows.collect::<Vec<_>>());
        let total = self.routes.iter().map(|route| route.drawn.taken.table.bytes).sum::<u64>();
        let plural = if self.routes.len() == 1 { "" } else { "s" };
        let _ =
            writeln!(text, "{} route{plural}, {}{}", self.routes.len(), bytes(total), pace(settings, total));
        text
    }

    /// The tables on blue.
    fn sources(&self) -> impl Iterator<Item = &TableName> {
        self.routes.iter().map(|route| &route.drawn.spec.source)
    }

    fn json(&self, settings: &Settings) -> Json {
        let findings = |findings: &[Finding]| {
            let one = |finding: &Finding| json!({ "code": finding.code, "subject": finding.subject, "what": finding.what });
            findings.iter().map(one).collect::<Vec<_>>()
        };
        let (blue, green) = (on_blue(settings), on_green(settings, self.to_make));
        json!({
            "schema": "understudy/v1/plan",
            "migration": settings.name.as_str(),
            "version": crate::project::json(settings.project.as_ref()),
            "created": { "blue": blue, "log": in_log(settings, self.sources()), "green": green },
            "tables": self.routes.iter().map(Route::json).collect::<Vec<_>>(),
            "effects": findings(&self.effects),
            "not_moved": findings(&self.not_moved),
            "errors": self.errors,
        })
    }
}

fn on_blue(settings: &Settings) -> Vec<String> {
    let name = settings.name.slot();
    match (&settings.through, settings.own_log()) {
        // Debezium has its own.
        (Some(_), None) => Vec::new(),
        _ => vec![format!("replication slot {name}"), format!("publication {name}")],
    }
}

/// The topics for these tables, unless they are there.
fn in_log<'t>(settings: &Settings, sources: impl Iterator<Item = &'t TableName>) -> Vec<String> {
    let Some(kafka) = settings.own_log() else { return Vec::new() };
    let names = TopicNames::new(&kafka.topic_prefix);
    let plural = if kafka.partitions == 1 { "" } else { "s" };
    let of_table = |table| format!("topic {} of {} partition{plural}", names.table(table), kafka.partitions);
    let own = [names.order(), names.schema(), names.state(), names.requests()];
    let tables = sources.collect::<BTreeSet<_>>();
    tables.into_iter().map(of_table).chain(own.map(|name| format!("topic {name}"))).collect()
}

/// The same as a section of a plan.
fn log_text<'t>(settings: &Settings, sources: impl Iterator<Item = &'t TableName>) -> String {
    let Some(kafka) = settings.own_log() else { return String::new() };
    let mut text = format!("Created in Kafka ({}):\n", kafka.brokers.join(", "));
    for object in in_log(settings, sources) {
        let _ = writeln!(text, "  {object}");
    }
    text
}

fn on_green(settings: &Settings, to_make: ToMake<'_>) -> Vec<String> {
    let origin = settings.name.slot();
    let mut created = vec![
        "schema understudy, with the bookkeeping".to_owned(),
        format!("replication origins {origin}*, where permitted"),
    ];
    created.extend(to_make.file().map(|(file, statements)| {
        let plural = if statements == 1 { "" } else { "s" };
        format!("what {file} says, {statements} statement{plural}")
    }));
    created
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
