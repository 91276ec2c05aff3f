//! A look at both sides where green is DynamoDB: what stands in a migration's way, and what items become of some rows of blue.

use std::collections::BTreeMap;
use std::sync::Arc;

use understudy_contract::{Failure, Finding, Severity};
use understudy_dynamodb::layout::{Item, ItemLayout, Version, item_size};
use understudy_dynamodb::{self as dynamodb, DynamoSink, NoLeaves, SinkSettings};
use understudy_model::{Lsn, Position, TableName, Tuple, TupleBuilder, Value};
use understudy_postgres::preflight::{self, Known, PreflightPlan, TableKind};
use understudy_postgres::source::slot;
use understudy_postgres::wire::Client;
use understudy_transform::ColumnSource;

use super::check;
use super::plan::sample::{self, Samples};
use crate::green::comparing::stored_routes;
use crate::green::{items, look};
use crate::mapping::{self, Both, Described, Drawn};
use crate::opinion;
use crate::routes;
use crate::settings::{DynamoSettings, OnError, Settings};

/// So many rows of each table are read.
const ROWS: u32 = 1_000;

/// So many bytes of the items of each route are kept.
const KEPT_BYTES: usize = 4 << 20;

/// A migration into items, looked at.
pub(super) struct Looked {
    pub(super) blue: Client,
    pub(super) green: dynamodb::Client,
    pub(super) findings: Vec<Finding>,
    pub(super) routes: Vec<Sampled>,
}

/// A route, and what becomes of some of its rows.
pub(super) struct Sampled {
    pub(super) source: TableName,
    pub(super) target: String,
    pub(super) layout: ItemLayout,
    /// The columns of the route, each with what fills it.
    pub(super) columns: Vec<(String, String)>,
    pub(super) rows_estimate: Option<u64>,
    /// Items of the first rows, as many as may be kept.
    pub(super) items: Vec<Item>,
}

impl Looked {
    /// Looks, under an application name.
    pub(super) async fn at(
        settings: &Settings,
        dynamo: &DynamoSettings,
        role: &str,
    ) -> Result<Looked, Failure> {
        let options = settings.blue.clone().with_application_name(&settings.name.application_name(role));
        let blue = Client::connect(&options).await;
        let mut blue = blue.map_err(|failure| failure.while_doing("connect to blue"))?;
        let both = Both::of_blue(Described::read(&mut blue).await?);
        let taken = routes::taken(settings, &both.blue.tables)?;
        let plan = routes::preflight_plan(settings, &taken, &both)?;
        let green = Box::pin(dynamodb::connect(&dynamo.client)).await;
        let green = green.map_err(|failure| failure.while_doing("connect to green"))?;
        let remembered = look::remembered(&green, dynamo, settings.name.as_str()).await?;
        let (begun, place) = (remembered.begun, remembered.cursor.clone());
        let known = look::as_known(remembered);
        let mut findings = Box::pin(look::findings(&green, dynamo, known.started)).await?;
        let is_fit = findings.iter().all(|finding| finding.severity != Severity::Error);
        let tables = both.blue.tables.as_slice();
        findings.extend(check::of_publication(settings, &mut blue, (&plan, tables), &known).await?);
        findings.extend(on_blue(settings, &mut blue, &plan, &known).await?);
        // That a table has no key has been found already; the others are told what else does not fit.
        let keyed = taken.into_iter().filter(|one| one.table.key.is_some()).collect::<Vec<_>>();
        let drawn = mapping::draw(settings, &keyed, &both)?;
        if is_fit && !begun {
            findings.extend(in_the_way(settings, (&green, dynamo), &drawn).await?);
        }
        let stored = stored_routes(settings, &drawn)?;
        let all = drawn.iter().collect::<Vec<_>>();
        findings.extend(opinion::second_opinion(&mut blue, &all).await?);
        if let Some(kafka) = &settings.through {
            findings.extend(check::of_log((settings, kafka), (&plan.tables, &all), &both, &[place]).await);
        }
        let key = drawn.first().and_then(|one| one.blue.scope.as_ref()?.mask_key.as_ref());
        sample::set_mask_key(&mut blue, key).await?;
        let mut routes = Vec::with_capacity(drawn.len());
        for (one, stored) in drawn.iter().zip(stored) {
            let samples = sample::read(&mut blue, one, ROWS).await?;
            routes.push(sampled(one, stored.layout, &samples, (settings.apply.on_error, &mut findings)));
        }
        findings.sort_by_key(|finding| finding.severity);
        Ok(Looked { blue, green, findings, routes })
    }
}

/// What blue lacks. Whoever fills a log has begun once his slot is there; one that Debezium fills is none of ours.
async fn on_blue(
    settings: &Settings,
    blue: &mut Client,
    plan: &PreflightPlan,
    known: &Known,
) -> Result<Vec<Finding>, Failure> {
    let started = match (&settings.through, settings.own_log()) {
        (None, _) => known.started,
        (Some(_), Some(_)) => slot::inspect(blue, &plan.slot).await?.is_some(),
        (Some(_), None) => return preflight::check_joining_of_blue(blue, &plan.tables).await,
    };
    preflight::check_blue(blue, plan, started, &plan.tables).await
}

/// Items that may not be there before the first copy.
async fn in_the_way(
    settings: &Settings,
    (green, dynamo): (&dynamodb::Client, &DynamoSettings),
    drawn: &[Drawn<'_>],
) -> Result<Vec<Finding>, Failure> {
    let sink = SinkSettings {
        state_table: dynamo.state_table.clone(),
        calls: dynamo.calls,
        ..SinkSettings::new(settings.name.as_str())
    };
    let tables = items::tables(settings, drawn)?;
    let sink = DynamoSink::new(green.clone(), sink, tables, Arc::new(NoLeaves))?;
    let routes = drawn.iter().map(|one| &one.spec);
    Box::pin(look::in_the_way(&sink, routes, settings.existing_rows)).await
}

/// The items of some rows. What does not fit is found.
fn sampled(
    one: &Drawn<'_>,
    layout: ItemLayout,
    samples: &Samples,
    (on_error, findings): (OnError, &mut Vec<Finding>),
) -> Sampled {
    let (mut items, mut bytes, mut unfit) = (Vec::new(), 0, BTreeMap::<String, u64>::new());
    let version = Version::change(1, Position { commit: Lsn::new(1), ordinal: 0 });
    for sample in &samples.shown {
        match layout.item(&tuple(&sample.after), version) {
            Ok(item) => {
                bytes += item_size(&item);
                if bytes <= KEPT_BYTES || items.is_empty() {
                    items.push(item);
                }
            }
            Err(not_fit) => *unfit.entry(not_fit.to_string()).or_default() += 1,
        }
    }
    let refused = samples.refused.iter().map(|(what, rows)| (what.clone(), *rows));
    for (what, rows) in unfit.into_iter().chain(refused) {
        findings.push(unfit_rows(
            one,
            on_error,
            format!("{what}: {rows} of the {} sampled rows", samples.rows),
        ));
    }
    findings.extend(differing(one, samples));
    findings.extend(untold(one, &layout));
    let filled = one.spec.columns.iter().map(|column| {
        let from = match &column.from {
            ColumnSource::Column(name) => name.clone(),
            ColumnSource::Constant(value) => {
                value.as_ref().map_or_else(|| "NULL".to_owned(), |value| format!("'{value}'"))
            }
            ColumnSource::Computed(computed) => computed.expression.text().to_owned(),
        };
        (column.name.clone(), from)
    });
    Sampled {
        source: one.spec.source.clone(),
        target: one.spec.target.to_string(),
        layout,
        columns: filled.collect(),
        rows_estimate: one.taken.table.rows_estimate,
        items,
    }
}

/// Rows that fit no item stop a run, unless they are set aside.
fn unfit_rows(one: &Drawn<'_>, on_error: OnError, what: String) -> Finding {
    let remedy = "change what fills it or its `form`, or leave such rows out with `where`";
    let (severity, remedy) = match on_error {
        OnError::Stop => {
            let aside = ", or set them aside with `apply: { on_error: quarantine }`";
            (Severity::Error, format!("{remedy}{aside}"))
        }
        OnError::Quarantine => (Severity::Warning, remedy.to_owned()),
    };
    Finding {
        severity,
        code: "rows-do-not-fit",
        subject: format!("rows of {}", one.spec.source),
        what,
        remedy,
    }
}

/// Values that blue itself computes otherwise.
fn differing(one: &Drawn<'_>, samples: &Samples) -> Option<Finding> {
    let columns = samples.differ.iter().map(|(column, rows)| format!("{column} ({rows} rows)"));
    let columns = columns.collect::<Vec<_>>().join(", ");
    (!columns.is_empty()).then(|| Finding {
        severity: Severity::Warning,
        code: "values-differ",
        subject: format!("rows of {}", one.spec.source),
        what: format!("blue itself computes other values in the {} sampled rows: {columns}", samples.rows),
        remedy: "write these expressions otherwise".to_owned(),
    })
}

/// Which items came from a partition is told by blue's key in them alone.
fn untold(one: &Drawn<'_>, layout: &ItemLayout) -> Option<Finding> {
    let is_untold = one.taken.table.kind == TableKind::Partitioned && layout.plan().blue_key.is_none();
    is_untold.then(|| Finding {
        severity: Severity::Warning,
        code: "partitions-not-told",
        subject: format!("blue table {}", one.spec.source),
        what: "its items do not hold its key as it is: once blue empties a partition, the run stops until the table is \
               copied anew"
            .to_owned(),
        remedy: "fill an attribute with each column of its key, as it is".to_owned(),
    })
}

fn tuple(row: &[(String, Option<String>)]) -> Tuple {
    let mut out = TupleBuilder::default();
    for (_, value) in row {
        out.push(&value.as_ref().map_or(Value::Null, |text| Value::Text(text.as_bytes().into())));
    }
    out.finish()
}
