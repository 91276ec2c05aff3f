//! `understudy check`: every requirement on both sides, with its remedy.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use understudy_contract::{Cursor, Failure, Finding, Severity};
use understudy_kafka::{Consistency, DebeziumSettings, KafkaSettings};
use understudy_postgres::preflight::{self, Known, PlannedTable, PreflightPlan, TableDescription};
use understudy_postgres::sink::{LaneBooks, SinkSettings};
use understudy_postgres::source::followed::{Fate, Followed, FollowedTable, Left};
use understudy_postgres::source::publication::{self, PublicationState};
use understudy_postgres::wire::Client;

use super::args::FileArgs;
use super::exit::{CliError, Exit};
use super::items::Looked;
use super::output::Output;
use super::sides::{Sides, load};
use crate::assemble::{self, lanes::fit};
use crate::comparing;
use crate::mapping::{self, Both, Drawn};
use crate::opinion;
use crate::project::ToMake;
use crate::publishing;
use crate::routes::{self, Taken};
use crate::settings::Settings;

/// The code of a finding about a table that the next run forgets.
pub(super) const TABLE_LEFT: &str = "table-left-blue";

/// The code of a finding about a mapping that nothing can be told of before green's table is there.
pub(super) const UNDRAWN: &str = "mapping-awaits-table";

/// Connections on green that a lane takes.
const CONNECTIONS_OF_LANE: i64 = 3;

/// Looks, prints what was found, and fails when an error is among it.
pub(super) async fn check(args: &FileArgs, output: Output) -> Result<(), CliError> {
    let file = args.file.display().to_string();
    let settings = load(&args.file)?;
    let findings = look(&settings).await.map_err(|failure| CliError::of(&failure, &file))?;
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    if output.is_json() {
        output.json(&json(&settings, &findings))?;
    } else {
        output.data(text(&findings))?;
    }
    if errors == 0 {
        output.message(format!("next: understudy plan {file}"));
        return Ok(());
    }
    let what = format!("{errors} of the {} findings must be mended first", findings.len());
    Err(CliError::new(Exit::Configuration, what, format!("understudy check {file}")))
}

/// What stands in a migration's way.
pub(super) async fn look(settings: &Settings) -> Result<Vec<Finding>, Failure> {
    if let Some(dynamo) = settings.green_dynamo() {
        let looked = Box::pin(Looked::at(settings, dynamo, "check")).await?;
        let findings = looked.findings;
        looked.blue.close().await;
        return Ok(findings);
    }
    let mut sides = Sides::connect(settings, "check").await?;
    let both = sides.describe_both().await?;
    let to_make = ToMake::look(&mut sides.green, settings).await?;
    let findings = findings(&mut sides, settings, &both, to_make).await?;
    sides.close().await;
    Ok(findings)
}

/// The same on connections that are there.
pub(super) async fn findings(
    sides: &mut Sides,
    settings: &Settings,
    both: &Both,
    to_make: ToMake<'_>,
) -> Result<Vec<Finding>, Failure> {
    crate::project::refuse(&mut sides.green, settings).await?;
    let tables = both.blue.tables.as_slice();
    let taken = routes::taken(settings, tables)?;
    let plan = routes::preflight_plan(settings, &taken, both)?;
    let findings = preflight::check(&mut sides.blue, &mut sides.green, &plan).await?;
    let mut findings = to_make.settle(findings, &plan.tables);
    // That a table has no key has been found already; the others are told what else does not fit.
    let keyed = taken.into_iter().filter(|one| one.table.key.is_some()).collect::<Vec<_>>();
    let (drawn, undrawn) = draw(settings, &keyed, both, to_make)?;
    findings.extend(undrawn);
    comparing::compared_routes(settings, &drawn, both)?;
    let drawn = drawn.iter().collect::<Vec<_>>();
    findings.extend(opinion::second_opinion(&mut sides.blue, &drawn).await?);
    let known = preflight::known(&mut sides.green, &plan.migration).await?;
    findings.extend(of_publication(settings, &mut sides.blue, (&plan, tables), &known).await?);
    findings.extend(crate::project::findings(settings.project.as_ref()));
    if let Some(kafka) = &settings.through {
        let mut books = LaneBooks::new(settings.green_postgres()?, settings.name.as_str());
        let places = books.look().await?.map(|seen| seen.places).unwrap_or_default();
        findings.extend(of_log((settings, kafka), (&plan.tables, &drawn), both, &places).await);
        if kafka.consistency == Consistency::Key {
            let specs = drawn.iter().map(|one| one.spec.clone()).collect::<Vec<_>>();
            let sink = SinkSettings {
                replica_role: assemble::replica_role(settings),
                ..SinkSettings::new(settings.name.as_str())
            };
            findings.extend(fit::findings(settings.green_postgres()?, sink, &specs).await?);
            findings.extend(crowded(kafka.partitions, free_connections(&mut sides.green).await?));
        }
    }
    findings.sort_by_key(|finding| finding.severity);
    Ok(findings)
}

/// What is said of the publication, and of tables that have left it. `known` is what green remembers.
pub(super) async fn of_publication(
    settings: &Settings,
    blue: &mut Client,
    (plan, tables): (&PreflightPlan, &[TableDescription]),
    known: &Known,
) -> Result<Vec<Finding>, Failure> {
    let there = publication::inspect(blue, &plan.publication).await?;
    // That a log cannot be looked at is found by who looks at that.
    let followed = publishing::counted_on(settings, known).await;
    let followed = followed.unwrap_or_else(|_| known.followed(&plan.publication));
    let is_looked_at = followed.by_log && known.started;
    let touched = is_looked_at.then(|| touched(plan, &followed, there.as_ref())).flatten();
    let left = routes::left(settings, (tables, there.as_ref()), followed.tables)?;
    Ok(touched.into_iter().chain(left.iter().map(forgotten)).collect())
}

/// What is said of the log between blue and green. `places` are those in it that green has come to.
pub(super) async fn of_log(
    (settings, kafka): (&Settings, &KafkaSettings),
    (tables, drawn): (&[PlannedTable], &[&Drawn<'_>]),
    both: &Both,
    places: &[Option<Cursor>],
) -> Vec<Finding> {
    let Some(debezium) = &kafka.debezium else {
        let mut findings = log(kafka, tables).await;
        findings.extend(begun_otherwise((settings, kafka), places));
        return findings;
    };
    let mut findings =
        drawn.iter().filter_map(|one| assemble::debezium::needs_old_rows(one)).collect::<Vec<_>>();
    findings.extend(topics_of_debezium((kafka, debezium), drawn, both).await);
    findings
}

/// How many more connections green takes from who has no privileges.
async fn free_connections(green: &mut Client) -> Result<i64, Failure> {
    let sql = "SELECT pg_catalog.current_setting('max_connections')::bigint \
                      - pg_catalog.current_setting('superuser_reserved_connections')::bigint \
                      - (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend')";
    let rows = green.query(sql).await?;
    rows.first().map_or(Ok(0), |row| row.parse(0))
}

/// Whether green has too few connections for a process that is alone with all lanes.
fn crowded(lanes: u16, free: i64) -> Option<Finding> {
    let needed = CONNECTIONS_OF_LANE * i64::from(lanes);
    (needed > free).then(|| Finding {
        severity: Severity::Warning,
        code: "lanes-crowded",
        subject: "green".to_owned(),
        what: format!(
            "has {free} connections free, and a process that is alone with all {lanes} lanes takes {needed} of them"
        ),
        remedy: "raise max_connections on green, or set fewer `partitions` under `through.kafka`".to_owned(),
    })
}

/// What has been missed of a publication that a capture streams through, as far as its tables are still to be taken.
fn touched(plan: &PreflightPlan, followed: &Followed, there: Option<&PublicationState>) -> Option<Finding> {
    // One that is gone has been found by who looks at slot and publication.
    let there = there?;
    let is_planned = |one: &&FollowedTable| plan.tables.iter().any(|table| table.source == one.source);
    let tables = followed.tables.iter().filter(is_planned).cloned().collect();
    let followed = Followed { tables, ..followed.clone() };
    let failure = there.expect_options(&plan.publication).err();
    let failure = failure.or_else(|| followed.gap(Some(there)).map(|gap| followed.failure(&gap)))?;
    Some(Finding {
        severity: Severity::Error,
        code: "publication-changed",
        subject: format!("blue publication {}", plan.publication),
        what: failure.to_string(),
        remedy: failure.remedy_text().unwrap_or_default().to_owned(),
    })
}

/// What is said of topics that Debezium writes.
async fn topics_of_debezium(
    (kafka, debezium): (&KafkaSettings, &DebeziumSettings),
    drawn: &[&Drawn<'_>],
    both: &Both,
) -> Vec<Finding> {
    let drawn = drawn.iter().map(|one| (*one).clone()).collect::<Vec<_>>();
    let tables = crate::assemble::debezium::tables(&drawn, &both.blue);
    understudy_kafka::debezium_preflight::preflight(kafka, debezium, &tables).await
}

/// What is said of topics of our own.
async fn log(kafka: &KafkaSettings, tables: &[PlannedTable]) -> Vec<Finding> {
    let tables = tables.iter().map(|table| table.source.clone()).collect::<BTreeSet<_>>();
    let tables = tables.into_iter().collect::<Vec<_>>();
    understudy_kafka::preflight::preflight(kafka, &tables).await
}

/// What is against going on with a green that was begun through a log: as it was, a run refuses it.
fn begun_otherwise(
    (settings, kafka): (&Settings, &KafkaSettings),
    places: &[Option<Cursor>],
) -> Option<Finding> {
    let lanes = (kafka.consistency == Consistency::Key).then(|| u32::from(kafka.partitions));
    let failure = understudy_kafka::may_go_on(kafka, places, lanes).err()?;
    Some(Finding {
        severity: Severity::Error,
        code: "green-begun-otherwise",
        subject: format!("green of migration {}", settings.name),
        what: failure.to_string(),
        remedy: failure.remedy_text().unwrap_or_default().to_owned(),
    })
}

/// The compiled routes. Those into tables that expand.sql is yet to make or change are compiled where that can be done without
/// it; of the others a finding tells what is against them so far.
pub(super) fn draw<'a>(
    settings: &Settings,
    taken: &[Taken<'a>],
    both: &Both,
    to_make: ToMake<'_>,
) -> Result<(Vec<Drawn<'a>>, Vec<Finding>), Failure> {
    let is_awaited = |one: &Taken<'_>| to_make.changes(&one.target);
    let (later, now): (Vec<_>, Vec<_>) = taken.iter().cloned().partition(is_awaited);
    let mut drawn = mapping::draw(settings, &now, both)?;
    let mut undrawn = Vec::new();
    for one in later {
        match mapping::draw(settings, std::slice::from_ref(&one), both) {
            Ok(one) => drawn.extend(one),
            Err(failure) => undrawn.push(Finding {
                severity: Severity::Info,
                code: UNDRAWN,
                subject: format!("mapping of {} to {}", one.table.name, one.target),
                what: format!(
                    "can be checked only once expand.sql has been run; as green is now: {}",
                    failure.to_string().lines().next().unwrap_or_default()
                ),
                remedy: String::new(),
            }),
        }
    }
    let place = |one: &Drawn<'_>| {
        let is_same =
            |taken: &Taken<'_>| taken.table.name == one.spec.source && taken.target == one.spec.target;
        taken.iter().position(is_same)
    };
    drawn.sort_by_key(place);
    Ok((drawn, undrawn))
}

/// A followed table that the next run forgets.
pub(super) fn forgotten(left: &Left) -> Finding {
    Finding {
        severity: Severity::Warning,
        code: TABLE_LEFT,
        subject: format!("blue table {}", left.table.source),
        what: format!("{left}: the next run forgets it; {}", left.aftermath()),
        remedy: match left.fate {
            // Nothing brings back a table that was dropped.
            Fate::Gone => String::new(),
            Fate::Renamed(_) | Fate::Absorbed => {
                "if that was not meant, bring it back as it was before the next run: nothing is missed then"
                    .to_owned()
            }
        },
    }
}

const GROUPS: [(Severity, &str, &str); 4] = [
    (Severity::Error, "error", "Must be mended"),
    (Severity::Warning, "warning", "May stop it later"),
    (Severity::Info, "info", "Worth knowing"),
    (Severity::NotMoved, "not_moved", "Does not move"),
];

/// Findings for people, the gravest first.
pub(super) fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for (severity, _, title) in GROUPS {
        let group = findings.iter().filter(|finding| finding.severity == severity).collect::<Vec<_>>();
        if group.is_empty() {
            continue;
        }
        let _ = writeln!(text, "{title}:");
        for finding in group {
            let _ = writeln!(text, "  {}: {}", finding.subject, finding.what);
            if !finding.remedy.is_empty() {
                let _ = writeln!(text, "    remedy: {}", finding.remedy);
            }
        }
        text.push('\n');
    }
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    text.push_str(if errors == 0 { "Ready: nothing stands in the way.\n" } else { "Not ready.\n" });
    text
}

fn json(settings: &Settings, findings: &[Finding]) -> serde_json::Value {
    let ready = findings.iter().all(|finding| finding.severity != Severity::Error);
    serde_json::json!({
        "schema": "understudy/v1/check", "migration": settings.name.as_str(), "ready": ready,
        "findings": findings.iter().map(finding_json).collect::<Vec<_>>(),
    })
}

/// A finding for programs.
pub(super) fn finding_json(finding: &Finding) -> serde_json::Value {
    let word = GROUPS.iter().find(|group| group.0 == finding.severity).map(|group| group.1);
    serde_json::json!({
        "severity": word, "code": finding.code, "subject": finding.subject,
        "what": finding.what, "remedy": finding.remedy,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(severity: Severity, remedy: &str) -> Finding {
        Finding {
            severity,
            code: "some-code",
            subject: "blue table public.t".to_owned(),
            what: "has no key".to_owned(),
            remedy: remedy.to_owned(),
        }
    }

    /// Guards a worker that is left alone with all lanes: green would refuse the last of them again and again, and the first ones
    /// would start over with it.
    #[test]
    fn lanes_that_green_has_no_connections_for_are_told() {
        assert_eq!(crowded(12, 36), None);
        let told = crowded(12, 35).expect("one too few");
        assert_eq!(told.severity, Severity::Warning);
        assert!(told.what.contains("35 connections free") && told.what.contains("takes 36"), "{}", told.what);
    }

    #[test]
    fn findings_are_grouped_with_their_remedies() {
        let shown = text(&[finding(Severity::Error, "give it one"), finding(Severity::NotMoved, "")]);
        assert_eq!(
            shown,
            "Must be mended:\n  blue table public.t: has no key\n    remedy: give it one\n\n\
             Does not move:\n  blue table public.t: has no key\n\nNot ready.\n"
        );
        assert_eq!(text(&[]), "Ready: nothing stands in the way.\n");
    }
}
