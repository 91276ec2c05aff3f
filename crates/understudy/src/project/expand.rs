//! Brings green up to a version: what a run does before anything else.

use understudy_contract::{Class, Failure};
use understudy_postgres::versions::{self, Expand, How, Outcome, Step, quote_name};
use understudy_postgres::wire::Client;

use super::lint::{Moment, lint};
use super::script::{Form, Kind, Script, Statement};
use super::{Name, Version, show};
use crate::settings::Settings;

/// The last part of the application name of the session that runs the SQL.
const ROLE: &str = "expand";

/// Gives green what the version's `expand.sql` says, unless it has it, and records which version this is. Does nothing
/// for a file by itself.
pub async fn bring_up(settings: &Settings) -> Result<(), Failure> {
    let Some(version) = &settings.project else { return Ok(()) };
    let green =
        settings.green_postgres()?.clone().with_application_name(&settings.name.application_name(ROLE));
    tracing::info!(version = version.number, directory = %version.directory, "{}", show::line(version));
    if let Some(script) = &version.expand {
        runnable(script)?;
    }
    let outcome = versions::bring_up(&green, &described(settings, version)).await?;
    if let Outcome::Now(statements) = outcome {
        tracing::info!(statements, "green has been given what expand.sql says");
    }
    Ok(())
}

/// Fails when green was given another `expand.sql` than the version's: what a run would refuse.
pub async fn refuse(green: &mut Client, settings: &Settings) -> Result<(), Failure> {
    let Some(version) = &settings.project else { return Ok(()) };
    match versions::recorded(green, settings.name.as_str()).await? {
        Some(recorded) => versions::compare(&described(settings, version), &recorded),
        None => Ok(()),
    }
}

/// Whether a run would still give green something: what it creates is missing until then.
pub async fn pending(green: &mut Client, settings: &Settings) -> Result<bool, Failure> {
    if settings.project.as_ref().is_none_or(|version| version.expand.is_none()) {
        return Ok(false);
    }
    let recorded = versions::recorded(green, settings.name.as_str()).await?;
    Ok(recorded.is_none_or(|recorded| !recorded.expanded))
}

/// Fails when a statement cannot be run at all, before the first one is.
fn runnable(script: &Script) -> Result<(), Failure> {
    let mut fatal = lint(script, Moment::Expand).into_iter().filter(|finding| finding.rule.is_fatal());
    let Some(first) = fatal.next() else { return Ok(()) };
    let (file, more) = (&script.file, fatal.count());
    let more = if more > 0 { format!(", and {more} more of the kind") } else { String::new() };
    let cause = format!("{file}:{}: {} ({}){more}", first.place, first.what, first.rule.code());
    Err(Failure::new(Class::Configuration, cause).remedy(first.rule.remedy()))
}

/// The version as green is to know it.
fn described(settings: &Settings, version: &Version) -> versions::Version {
    versions::Version {
        migration: settings.name.as_str().to_owned(),
        number: version.number,
        directory: version.directory.clone(),
        file_sha256: version.file_sha256.clone(),
        expand: version.expand.as_ref().map(described_script),
        contract_sha256: version.contract.as_ref().map(|script| script.sha256.clone()),
    }
}

fn described_script(script: &Script) -> Expand {
    Expand {
        file: script.file.clone(),
        sha256: script.sha256.clone(),
        whole: script.form() == Form::Whole,
        steps: script.statements.iter().map(step).collect(),
    }
}

fn step(statement: &Statement) -> Step {
    let quoted = |name: &Name| quote_name(name.schema.as_deref(), &name.name);
    let how = match statement.kind() {
        Kind::Session => How::Session,
        Kind::CreateIndex { index, table } => {
            How::CreateIndex { index: quoted(&index), table: quoted(&table) }
        }
        Kind::DropIndex => How::DropIndex,
        Kind::Repeatable => How::Repeatable,
        // What cannot be run has been refused before.
        Kind::Plain | Kind::AddsValue | Kind::Impossible(_) => How::Plain,
    };
    Step { sql: statement.text.clone(), line: statement.place.line, how }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing of a file is run when one of its statements cannot be.
    #[test]
    fn what_cannot_be_run_is_refused_before_the_first_statement() {
        let script = Script::read("001_a/expand.sql", "SELECT 1;\nCOMMIT;\n BEGIN").unwrap();
        let refusal = runnable(&script).unwrap_err();
        assert_eq!(refusal.class(), Class::Configuration);
        let text = refusal.to_string();
        assert!(text.starts_with("001_a/expand.sql:2:1: "), "{text}");
        assert!(text.ends_with("(transaction-control), and 1 more of the kind"), "{text}");
        assert!(runnable(&Script::read("e", "ALTER TABLE t DROP x").unwrap()).is_ok(), "a warning");
    }

    #[test]
    fn statements_are_handed_over_as_they_are_to_be_run() {
        let sql =
            "SET x.y = 1;\nCREATE INDEX CONCURRENTLY i ON app.t (x);\nALTER TYPE m ADD VALUE 'x';\nVACUUM t";
        let expand = described_script(&Script::read("e", sql).unwrap());
        assert!(!expand.whole);
        let index = How::CreateIndex { index: "\"app\".\"i\"".to_owned(), table: "\"app\".\"t\"".to_owned() };
        let how = expand.steps.iter().map(|step| step.how.clone()).collect::<Vec<_>>();
        assert_eq!(how, [How::Session, index, How::Plain, How::Repeatable]);
        assert_eq!(expand.steps[1].line, 2);
    }
}
