//! What a replay would read, whether the log has it, and whether green is ready for it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use understudy_contract::{Class, Cursor, Failure, Finding, Severity};
use understudy_kafka::{KafkaSettings, Mark, ReplayFrom, Survey};
use understudy_model::TableName;
use understudy_postgres::preflight::{self};
use understudy_postgres::wire::Client;

use crate::cli::check::finding_json;
use crate::cli::sides::Sides;
use crate::mapping;
use crate::project::ToMake;
use crate::publishing;
use crate::routes;
use crate::settings::Settings;

/// How long it is watched whether a capture is at work. One that is writes with every heartbeat.
const CAPTURE_LOOK: Duration = Duration::from_secs(10);

/// The same for a capture that is taken to be set as this file is.
pub(super) fn capture_look(settings: &Settings) -> Duration {
    CAPTURE_LOOK.max(settings.stream.heartbeat.saturating_mul(3))
}

/// The code of findings on expressions over values that blue may not send again.
const HEALS_EXPECTED: &str = "heals-expected";

/// What was found.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) survey: Survey,
    /// The tables of blue and green, route by route.
    pub(super) routes: Vec<(TableName, TableName)>,
    findings: Vec<Finding>,
    /// The group up to which green has taken the log; `None`: it is new to it.
    begun: Option<u64>,
    /// Changes that leave out values which this mapping's expressions read.
    short: Vec<(TableName, u64)>,
    /// Whether a capture is at work, where that matters.
    capture: bool,
}

impl Look {
    /// Looks at everything.
    pub(super) async fn at(
        settings: &Settings,
        kafka: &KafkaSettings,
        from: ReplayFrom,
    ) -> Result<Look, Failure> {
        let mut sides = Sides::connect(settings, "replay").await?;
        let begun = taken_so_far(&mut sides.green, settings.name.as_str()).await?;
        let (routes, findings) = findings(&mut sides, settings, begun.is_none()).await?;
        sides.close().await;
        let tables = routes.iter().map(|(source, _)| source.clone()).collect::<BTreeSet<_>>();
        let tables = tables.into_iter().collect::<Vec<_>>();
        let from = begun.map_or(from, ReplayFrom::Group);
        let survey = understudy_kafka::survey(kafka, &tables, from).await?;
        let mut short = Vec::new();
        for table in &tables {
            let subject = format!("blue table {table}");
            if findings.iter().any(|found| found.code == HEALS_EXPECTED && found.subject == subject) {
                let changes = understudy_kafka::partial_records(kafka, &survey, table).await?;
                short.extend((changes > 0).then(|| (table.clone(), changes)));
            }
        }
        let mut look = Look { survey, routes, findings, begun, short, capture: false };
        if look.needs_capture() {
            look.capture = understudy_kafka::is_written(kafka, capture_look(settings)).await?;
        }
        Ok(look)
    }

    /// Whether green has taken nothing yet.
    pub(super) fn is_new(&self) -> bool {
        self.begun.is_none()
    }

    fn needs_capture(&self) -> bool {
        !self.short.is_empty() || self.survey.tables.iter().any(|table| table.partial > 0)
    }

    /// Why this cannot be carried out.
    pub(super) fn objection(&self, follow: bool) -> Result<(), Failure> {
        publishing::refuse(self.findings.clone())?;
        let copying = self.survey.tables.iter().filter(|table| !table.is_complete);
        let copying = copying.map(|table| table.table.to_string()).collect::<Vec<_>>();
        if !copying.is_empty() && !follow {
            return Err(Failure::new(
                Class::Configuration,
                format!("the log does not hold all of {} yet", copying.join(", ")),
            )
            .remedy(
                "wait until the capture has copied what is missing, or go on with what comes: understudy replay FILE --follow",
            ));
        }
        if self.capture || !self.needs_capture() {
            return Ok(());
        }
        let partial = self.survey.tables.iter().filter(|table| table.partial > 0);
        let partial = partial.map(|table| {
            format!("{} rows of {} are in the log without some of their values", table.partial, table.table)
        });
        let short = self.short.iter().map(|(table, changes)| {
            format!("{changes} changes of {table} leave out values that expressions of this mapping may read")
        });
        let what = partial.chain(short).collect::<Vec<_>>().join("; ");
        Err(Failure::new(
            Class::Diverged,
            format!("{what}; only blue has them, and no capture is at work that could read them again"),
        )
        .remedy(
            "start the capture that fills the log (understudy run FILE --role capture), or leave these tables or expressions \
             out of the mapping",
        ))
    }

    /// For people.
    pub(super) fn to_text(&self, kafka: &KafkaSettings) -> String {
        let Survey { begin, end, .. } = &self.survey;
        let start = if begin.group == 0 { "its start".to_owned() } else { begin.to_string() };
        let mut text = format!("log:    prefix {} in Kafka, from {start} to {end}\n", kafka.topic_prefix);
        let _ = writeln!(
            text,
            "reads:  {} records of {} tables",
            self.survey.records(),
            self.survey.tables.len()
        );
        for table in &self.survey.tables {
            let targets = self.routes.iter().filter(|(source, _)| *source == table.table);
            let targets = targets.map(|(_, target)| target.to_string()).collect::<Vec<_>>();
            let _ = writeln!(
                text,
                "        {} -> {}: {} records",
                table.table,
                targets.join(", "),
                table.records
            );
        }
        let green = match self.begun {
            None => "empty, and new to this migration".to_owned(),
            Some(group) => format!("goes on behind group {group}"),
        };
        let _ = writeln!(text, "green:  {green}");
        let kept = match (self.survey.retention_ms, self.gone_from()) {
            (Some(ms), Some(from)) => {
                format!("records for {} hours: what comes first may be gone from {from} on", ms / 3_600_000)
            }
            _ => "records for ever, or nobody may see for how long".to_owned(),
        };
        let _ = writeln!(text, "kept:   {kept}");
        for found in self.findings.iter().filter(|found| found.severity == Severity::Warning) {
            let _ = writeln!(text, "note:   {}: {}", found.subject, found.what);
        }
        text
    }

    /// When the first records to be read may be deleted.
    fn gone_from(&self) -> Option<Timestamp> {
        let kept = i64::try_from(self.survey.retention_ms?).ok()?;
        Timestamp::from_millisecond(self.survey.begin.time_ms.checked_add(kept)?).ok()
    }

    /// For programs.
    pub(super) fn to_json(&self, settings: &Settings) -> serde_json::Value {
        let tables = self.survey.tables.iter().map(|table| {
            let short =
                self.short.iter().find(|(of, _)| *of == table.table).map_or(0, |(_, changes)| *changes);
            serde_json::json!({
                "table": table.table.to_string(), "records": table.records, "complete": table.is_complete,
                "partial_rows": table.partial, "changes_without_values": short,
            })
        });
        serde_json::json!({
            "schema": "understudy/v1/replay-plan", "migration": settings.name.as_str(),
            "oldest": mark_json(&self.survey.oldest), "begin": mark_json(&self.survey.begin),
            "end": mark_json(&self.survey.end), "latest": self.survey.latest.as_ref().map(mark_json),
            "records": self.survey.records(), "tables": tables.collect::<Vec<_>>(),
            "resumes_behind_group": self.begun, "gone_from": self.gone_from().map(|time| time.to_string()),
            "findings": self.findings.iter().map(finding_json).collect::<Vec<_>>(),
        })
    }
}

pub(super) fn mark_json(mark: &Mark) -> serde_json::Value {
    let written = Timestamp::from_millisecond(mark.time_ms).ok().map(|time| time.to_string());
    serde_json::json!({ "group": mark.group, "position": mark.at.to_string(), "written_at": written })
}

/// The group up to which green has taken the log. `None`: no place in a log is recorded there.
pub(super) async fn taken_so_far(green: &mut Client, name: &str) -> Result<Option<u64>, Failure> {
    let there = green.query("SELECT pg_catalog.to_regclass('understudy.migration') IS NOT NULL").await?;
    if !there.first().is_some_and(|row| row.is_true(0)) {
        return Ok(None);
    }
    // A migration that is applied in several lanes has a place for each.
    let sql = "SELECT pg_catalog.encode(cursor, 'escape') FROM understudy.migration \
               WHERE (name = $1 OR pg_catalog.starts_with(name, $1 || '#')) AND cursor IS NOT NULL";
    let rows = green.query_with(sql, &[Some(name)]).await?;
    let groups = rows
        .iter()
        .filter_map(|row| row.text(0))
        .filter_map(|cursor| understudy_kafka::group_of(&Cursor(cursor.as_bytes().to_vec().into())));
    Ok(groups.min())
}

/// The routes, and what stands in their way on green.
async fn findings(
    sides: &mut Sides,
    settings: &Settings,
    is_new: bool,
) -> Result<(Vec<(TableName, TableName)>, Vec<Finding>), Failure> {
    let both = sides.describe_both().await?;
    let to_make = ToMake::look(&mut sides.green, settings).await?;
    let taken = routes::taken(settings, &both.blue.tables)?;
    let named = taken.iter().map(|one| (one.table.name.clone(), one.target.clone())).collect();
    let plan = routes::preflight_plan(settings, &taken, &both)?;
    let known = preflight::known(&mut sides.green, &plan.migration).await?;
    // What has begun was looked at then, and is looked at again where something joins.
    let joining = if is_new && !known.started { plan.tables.clone() } else { Vec::new() };
    let found = preflight::check_green(&mut sides.blue, &mut sides.green, &plan, &known, &joining).await?;
    let found = to_make.settle(found, &plan.tables);
    let keyed = taken.into_iter().filter(|one| !to_make.changes(&one.target)).collect::<Vec<_>>();
    mapping::draw(settings, &keyed, &both)?;
    Ok((named, found))
}
