//! The plan of a migration into items: tables with their definitions, how rows lie in items, what that takes, and which rights.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};
use understudy_contract::{Failure, Finding, Severity};
use understudy_dynamodb::estimate::{Index, PRICES_AS_OF, Prices, RouteLoad, TableEstimate, TableLoad};
use understudy_dynamodb::layout::{Item, NullForm};
use understudy_dynamodb::types::Form;
use understudy_dynamodb::{Client, given_up};

use super::PlanArgs;
use super::{in_log, log_text, on_blue};
use crate::cli::exit::{CliError, Exit};
use crate::cli::items::{Looked, Sampled};
use crate::cli::output::{Output, bytes, known, table};
use crate::green::{definitions, policy};
use crate::settings::{DynamoSettings, ItemTable, Settings};

/// The code of a finding about a table that is to be created.
const TABLE_MISSING: &str = "green_table_missing";

/// The code of a finding about a table whose time to live is off.
const TTL_OFF: &str = "green_ttl_off";

/// Prints the plan. Creates the tables that are missing, where that was asked for, after their definitions were shown.
pub(super) async fn plan(
    settings: &Settings,
    dynamo: &DynamoSettings,
    args: &PlanArgs,
    output: Output,
) -> Result<(), CliError> {
    let file = args.file.file.display().to_string();
    let failed = |failure| CliError::of(&failure, &file);
    let looked = Box::pin(Looked::at(settings, dynamo, "plan")).await.map_err(failed)?;
    let shown = if args.no_samples { 0 } else { args.samples as usize };
    if output.is_json() {
        output.json(&as_json(settings, dynamo, (&looked, shown)))?;
    } else {
        output.data(as_text(settings, dynamo, (&looked, shown)))?;
    }
    let Looked { blue, green, findings, .. } = looked;
    blue.close().await;
    if args.create_tables {
        let against = findings.iter().filter(|one| stands_against_tables(one)).count();
        if against > 0 {
            let what = format!("no table was created: errors to be mended first: {against}");
            return Err(CliError::new(Exit::Configuration, what, format!("understudy check {file}")));
        }
        Box::pin(create_tables(&green, dynamo, &findings, output)).await.map_err(failed)?;
    }
    let errors = findings.iter().any(|finding| finding.severity == Severity::Error);
    let next = if errors { "check" } else { "run" };
    output.message(format!("next: understudy {next} {file}"));
    Ok(())
}

/// Whether tables are not to be created: that they are missing is no reason.
fn stands_against_tables(finding: &Finding) -> bool {
    finding.severity == Severity::Error && finding.code != TABLE_MISSING
}

/// Creates the tables that are missing, and turns time to live on where it is off.
async fn create_tables(
    green: &Client,
    dynamo: &DynamoSettings,
    findings: &[Finding],
    output: Output,
) -> Result<(), Failure> {
    for table in definitions::of(dynamo) {
        let subject = format!("green table {}", table.name);
        let is_off = findings.iter().any(|one| one.code == TTL_OFF && one.subject == subject);
        let is_there = Box::pin(table.is_there(green)).await?;
        if is_there && !is_off {
            continue;
        }
        Box::pin(table.create(green)).await?;
        output.message(match is_there {
            true => format!("turned time to live on for table {}", table.name),
            false => format!("created table {}", table.name),
        });
    }
    Ok(())
}

fn as_text(settings: &Settings, dynamo: &DynamoSettings, (looked, shown): (&Looked, usize)) -> String {
    let mut text = format!("Migration {}\n\nCreated on blue ({}):\n", settings.name, settings.blue);
    for object in on_blue(settings) {
        let _ = writeln!(text, "  {object}");
    }
    text.push_str(&log_text(settings, looked.routes.iter().map(|route| &route.source)));
    let _ = writeln!(text, "Created in {}:", dynamo.place());
    let _ = writeln!(text, "  table {}, with the bookkeeping, unless it is there", dynamo.state_table);
    for table in definitions::of(dynamo) {
        let _ = writeln!(text, "\nTable {}:", table.name);
        text.push_str(&indented(&definitions::json(&table)));
    }
    for route in &looked.routes {
        text.push_str(&route_text(route, shown));
    }
    for table in &dynamo.tables {
        text.push_str(&estimate_text(table, &estimate(dynamo, table, looked), dynamo));
    }
    text.push_str("\nRights that the sidecar needs on AWS:\n");
    text.push_str(&indented(&policy::json(dynamo)));
    text.push_str("\nWorth knowing:\n");
    for sentence in given_up(dynamo.transactions) {
        let _ = writeln!(text, "  - {sentence}");
    }
    let errors = looked.findings.iter().filter(|one| one.severity == Severity::Error).count();
    if errors > 0 {
        let plural = if errors == 1 { "" } else { "s" };
        let _ = writeln!(text, "\nNot ready: `understudy check` lists {errors} error{plural}.");
    }
    text
}

fn indented(json: &Json) -> String {
    let text = serde_json::to_string_pretty(json).unwrap_or_default();
    text.lines().map(|line| format!("  {line}\n")).collect()
}

fn route_text(route: &Sampled, shown: usize) -> String {
    let mut text = format!("\n{} -> {}\n", route.source, route.target);
    let rows = columns(route).into_iter().map(|column| {
        let [attribute, form, nulls, from] = column;
        vec![attribute, form, nulls, from]
    });
    let header = ["ATTRIBUTE", "FORM", "NULL", "FROM"];
    for line in table(&header, &rows.collect::<Vec<_>>()).lines() {
        let _ = writeln!(text, "  {line}");
    }
    for item in route.items.iter().take(shown) {
        let _ = writeln!(text, "  {}", item_json(item));
    }
    text
}

/// Attribute, form, what becomes of null, and what fills it.
fn columns(route: &Sampled) -> Vec<[String; 4]> {
    let plan = route.layout.plan();
    let from = |at: usize| route.columns.get(at).map_or_else(String::new, |(_, from)| from.clone());
    let keys = std::iter::once(&plan.pk).chain(&plan.sk);
    let mut rows = keys
        .map(|key| {
            [key.name.to_string(), key.kind.form().name().to_owned(), "never".to_owned(), from(key.column)]
        })
        .collect::<Vec<_>>();
    if let Some(part) = &plan.part {
        let at = part.at.as_deref().unwrap_or("the item");
        rows.push([format!("part of {at}"), "M".to_owned(), "never".to_owned(), from(plan.part_column)]);
    }
    for placed in &plan.columns {
        let null = if placed.null == NullForm::Omit { "omitted" } else { "kept" };
        let form: Form = placed.form;
        rows.push([placed.path.to_string(), form.name().to_owned(), null.to_owned(), from(placed.column)]);
    }
    rows
}

/// The estimate of a table, from what its routes' samples show.
fn estimate(dynamo: &DynamoSettings, of: &ItemTable, looked: &Looked) -> TableEstimate {
    let indexes = of.indexes.iter().map(|index| Index {
        name: index.name.clone(),
        key: std::iter::once(&index.pk).chain(&index.sk).map(|key| key.name.clone()).collect(),
        project: index.project.clone(),
    });
    let indexes = indexes.collect::<Vec<_>>();
    let routes = looked.routes.iter().filter(|route| route.layout.plan().table == of.name);
    let routes = routes.map(|route| RouteLoad {
        samples: &route.items,
        rows: route.rows_estimate.map_or(route.items.len() as f64, |rows| rows as f64),
        changes_per_s: 0.0,
    });
    let load = TableLoad {
        key: std::iter::once(&of.pk).chain(&of.sk).map(|key| key.name.clone()).collect(),
        indexes: &indexes,
        billing: of.billing,
        in_transactions: false,
        scan_units_per_s: None,
        routes: &routes.collect::<Vec<_>>(),
    };
    TableEstimate::of(&load, Prices::of(dynamo.client.region.as_deref().unwrap_or_default()))
}

fn estimate_text(of: &ItemTable, estimate: &TableEstimate, dynamo: &DynamoSettings) -> String {
    let prices = Prices::of(dynamo.client.region.as_deref().unwrap_or_default());
    let mut text = format!("\nWhat table {} takes, from sampled rows:\n", of.name);
    for route in &estimate.routes {
        let sizes = route.sizes;
        let _ = writeln!(
            text,
            "  items of {} (half of them at most), {} (95 of 100), {} (largest): {:.1} write units a row",
            bytes(sizes.p50 as u64),
            bytes(sizes.p95 as u64),
            bytes(sizes.max as u64),
            route.write_units_per_row + route.index_units_per_row.iter().sum::<f64>(),
        );
    }
    let _ = writeln!(
        text,
        "  first copy: {:.0} write units, {:.2} USD, at least {:.1} h; stored: {}, {:.2} USD a month",
        estimate.copy.units,
        estimate.copy.cost,
        estimate.copy.hours,
        bytes(estimate.stored_bytes as u64),
        estimate.stored_cost_month,
    );
    let _ = writeln!(text, "  at the list prices of {} of {PRICES_AS_OF}", prices.region);
    text
}

fn as_json(settings: &Settings, dynamo: &DynamoSettings, (looked, shown): (&Looked, usize)) -> Json {
    let route = |route: &Sampled| {
        let columns = columns(route).into_iter().map(|[attribute, form, nulls, from]| {
            json!({ "attribute": attribute, "form": form, "nulls": nulls, "from": from })
        });
        json!({
            "blue": route.source.to_string(), "green": route.target, "table": route.layout.plan().table,
            "rows_estimate": known(route.rows_estimate), "attributes": columns.collect::<Vec<_>>(),
            "samples": route.items.iter().take(shown).map(item_json).collect::<Vec<_>>(),
        })
    };
    let table = |of: &ItemTable| {
        let estimate = estimate(dynamo, of, looked);
        json!({
            "name": of.name,
            "first_copy": { "write_units": estimate.copy.units, "usd": estimate.copy.cost, "hours": estimate.copy.hours },
            "stored": { "bytes": estimate.stored_bytes, "usd_month": estimate.stored_cost_month },
        })
    };
    let effect =
        |what: &String| json!({ "code": "green-gives-up", "subject": "transactions of blue", "what": what });
    json!({
        "schema": "understudy/v1/item-plan",
        "migration": settings.name.as_str(),
        "created": {
            "blue": on_blue(settings),
            "log": in_log(settings, looked.routes.iter().map(|route| &route.source)),
            "green": [format!("table {}", dynamo.state_table)],
        },
        "definitions": definitions::of(dynamo).iter().map(definitions::json).collect::<Vec<_>>(),
        "routes": looked.routes.iter().map(route).collect::<Vec<_>>(),
        "tables": dynamo.tables.iter().map(table).collect::<Vec<_>>(),
        "policy": policy::json(dynamo),
        "effects": given_up(dynamo.transactions).iter().map(effect).collect::<Vec<_>>(),
        "errors": looked.findings.iter().filter(|one| one.severity == Severity::Error).count(),
    })
}

/// An item in DynamoDB's own JSON, without what is ours besides its attributes.
fn item_json(item: &Item) -> Json {
    let own = |name: &&String| !name.starts_with('_');
    let mut names = item.keys().filter(own).collect::<Vec<_>>();
    names.sort_unstable();
    names.into_iter().map(|name| (name.clone(), crate::green::definitions::value_json(&item[name]))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No table is made for a migration that cannot begin; that it is missing is what it is made for.
    #[test]
    fn errors_stand_against_new_tables() {
        let finding = |severity, code| Finding {
            severity,
            code,
            subject: String::new(),
            what: String::new(),
            remedy: String::new(),
        };
        let against = |severity, code| stands_against_tables(&finding(severity, code));
        assert!(against(Severity::Error, "rows-do-not-fit"));
        assert!(!against(Severity::Error, TABLE_MISSING) && !against(Severity::Warning, TTL_OFF));
    }
}
