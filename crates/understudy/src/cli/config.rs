//! `understudy config`: the schema, and files by themselves or, when asked, beside their servers.

use std::path::Path;

use serde_json::{Value, json};
use understudy_contract::{Failure, Finding, Severity};

use super::args::{ConfigCheckArgs, ConfigVerb};
use super::check::{finding_json, look, text};
use super::exit::{CliError, Exit};
use super::output::Output;
use crate::settings::{self, GreenSettings, Problem, Secrets, Settings};

/// Carries out a verb of `config`.
pub(super) async fn config(verb: &ConfigVerb, output: Output) -> Result<(), CliError> {
    match verb {
        ConfigVerb::Schema => output.data(settings::schema()),
        ConfigVerb::Render(args) => {
            output.data(settings::render(&args.file).map_err(|error| CliError::of_settings(&error))?)
        }
        ConfigVerb::Check(args) => check(args, output).await,
    }
}

/// What is to be said of one file.
struct Checked {
    file: String,
    settings: Option<Settings>,
    /// What is wrong with it.
    problems: Vec<Problem>,
    /// What is probably not meant.
    warnings: Vec<Problem>,
    /// What is good and could be shorter.
    notes: Vec<Problem>,
    /// What its servers lack, where they were asked.
    findings: Option<Result<Vec<Finding>, Failure>>,
}

async fn check(args: &ConfigCheckArgs, output: Output) -> Result<(), CliError> {
    let mut all = args.files.iter().map(|file| read(file, args.connect)).collect::<Vec<_>>();
    warn_of_namesakes(&mut all);
    if args.connect {
        for one in &mut all {
            if let Some(settings) = &one.settings {
                one.findings = Some(look(settings).await);
            }
        }
    }
    let (mut errors, mut exit) = (Vec::new(), Exit::Done);
    for one in &all {
        one.tell(args.strict, output, &mut errors)?;
        exit = worse(exit, one.exit(args.strict));
    }
    if output.is_json() {
        let files = all.iter().map(|one| one.json(args.strict)).collect::<Vec<_>>();
        let good = exit == Exit::Done;
        output.json(&json!({ "schema": "understudy/v1/config-check", "good": good, "files": files }))?;
    }
    if exit == Exit::Done {
        return Ok(());
    }
    let mut next = "understudy config check".to_owned();
    all.iter().for_each(|one| next += &format!(" {}", one.file));
    next += if args.connect { " --connect" } else { "" };
    next += if args.strict { " --strict" } else { "" };
    Err(CliError::new(exit, errors.join("\n"), next))
}

fn read(file: &Path, connect: bool) -> Checked {
    let secrets = if connect { Secrets::Read } else { Secrets::LeaveOut };
    let mut one = Checked {
        file: file.display().to_string(),
        settings: None,
        problems: Vec::new(),
        warnings: Vec::new(),
        notes: Vec::new(),
        findings: None,
    };
    match settings::load(file, secrets) {
        Ok(settings) => {
            one.warnings = settings.warnings();
            one.notes = settings.notes();
            one.settings = Some(settings);
        }
        Err(error) => one.problems = error.problems,
    }
    one
}

/// Two files of one name that meet on a server would share slot, publication or bookkeeping there.
fn warn_of_namesakes(all: &mut [Checked]) {
    for at in 1..all.len() {
        let (before, rest) = all.split_at_mut(at);
        let Some((one, settings)) =
            rest.first_mut().and_then(|one| Some((&mut one.warnings, one.settings.as_ref()?)))
        else {
            continue;
        };
        let meets = |other: &&Checked| other.settings.as_ref().is_some_and(|other| meet(settings, other));
        if let Some(other) = before.iter().find(meets) {
            let what = format!("`{}` is also the name in {}, on the same server", settings.name, other.file);
            let remedy = "give one of the two migrations another name".to_owned();
            one.push(Problem {
                place: None,
                path: "name".to_owned(),
                what,
                remedy: Some(remedy),
                caret: None,
            });
        }
    }
}

fn meet(one: &Settings, other: &Settings) -> bool {
    let place = |side: &understudy_postgres::wire::ConnectOptions| {
        (side.host.clone(), side.port, side.database.clone())
    };
    one.name == other.name && (place(&one.blue) == place(&other.blue) || meet_on_green(one, other))
}

/// Whether both keep their books in the same place on green.
fn meet_on_green(one: &Settings, other: &Settings) -> bool {
    match (&one.green, &other.green) {
        (GreenSettings::Postgres(one), GreenSettings::Postgres(other)) => {
            (&one.host, one.port, &one.database) == (&other.host, other.port, &other.database)
        }
        (GreenSettings::Dynamo(one), GreenSettings::Dynamo(other)) => {
            (&one.client, &one.state_table) == (&other.client, &other.state_table)
        }
        _ => false,
    }
}

impl Checked {
    fn exit(&self, strict: bool) -> Exit {
        let findings = match &self.findings {
            Some(Err(failure)) => return Exit::of(failure.class()),
            Some(Ok(findings)) => findings.as_slice(),
            None => &[],
        };
        let has = |severity| findings.iter().any(|finding| finding.severity == severity);
        let warned = strict && (!self.warnings.is_empty() || has(Severity::Warning));
        let bad = !self.problems.is_empty() || has(Severity::Error) || warned;
        if bad { Exit::Configuration } else { Exit::Done }
    }

    /// Writes what is good and what the servers lack as data; what keeps the file from being good goes into `errors`.
    fn tell(&self, strict: bool, output: Output, errors: &mut Vec<String>) -> Result<(), CliError> {
        let lines = |problems: &[Problem]| {
            problems.iter().map(|problem| problem.in_file(&self.file)).collect::<Vec<_>>()
        };
        errors.extend(lines(&self.problems));
        if strict {
            errors.extend(lines(&self.warnings));
        } else {
            lines(&self.warnings).iter().for_each(|line| output.message(format!("warning: {line}")));
        }
        lines(&self.notes).iter().for_each(|line| output.message(format!("note: {line}")));
        let Some(settings) = &self.settings else {
            return Ok(());
        };
        let bad = self.exit(strict) != Exit::Done;
        match &self.findings {
            Some(Err(failure)) => {
                let remedy =
                    failure.remedy_text().map_or_else(String::new, |remedy| format!("\n  remedy: {remedy}"));
                errors.push(format!("{}: {failure}{remedy}", self.file));
            }
            Some(Ok(findings)) => {
                let has = |severity| findings.iter().any(|finding| finding.severity == severity);
                if has(Severity::Error) {
                    errors.push(format!("{}: its servers are not ready", self.file));
                } else if strict && has(Severity::Warning) {
                    errors.push(format!("{}: there are warnings about its servers, and --strict", self.file));
                }
            }
            None => {}
        }
        if output.is_json() {
            return Ok(());
        }
        if !bad {
            let entries = settings.tables.len();
            let line =
                format!("{}: migration `{}` with {entries} entries in `tables`", self.file, settings.name);
            output.data(format!("{line}: good\n"))?;
        }
        match &self.findings {
            Some(Ok(findings)) => output.data(format!("{}:\n{}", self.file, text(findings))),
            _ => Ok(()),
        }
    }

    fn json(&self, strict: bool) -> Value {
        let settings = self.settings.as_ref();
        let problems = |problems: &[Problem]| problems.iter().map(problem_json).collect::<Vec<_>>();
        let (findings, failure) = match &self.findings {
            Some(Ok(findings)) => (Some(findings.iter().map(finding_json).collect::<Vec<_>>()), None),
            Some(Err(failure)) => (None, Some(failure.to_string())),
            None => (None, None),
        };
        json!({
            "file": self.file, "good": self.exit(strict) == Exit::Done,
            "migration": settings.map(|settings| settings.name.as_str()),
            "entries": settings.map(|settings| settings.tables.len()),
            "problems": problems(&self.problems), "warnings": problems(&self.warnings),
            "notes": problems(&self.notes),
            "findings": findings, "failure": failure,
        })
    }
}

fn problem_json(problem: &Problem) -> Value {
    json!({
        "line": problem.place.map(|place| place.line), "column": problem.place.map(|place| place.column),
        "path": problem.path, "what": problem.what, "remedy": problem.remedy,
        "snippet": problem.caret.as_ref().map(ToString::to_string),
    })
}

/// What must be mended counts for more than a server that could not be asked.
fn worse(one: Exit, other: Exit) -> Exit {
    match (one, other) {
        (Exit::Done, other) => other,
        (_, Exit::Configuration) => Exit::Configuration,
        (one, _) => one,
    }
}
