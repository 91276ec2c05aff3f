//! What the command line says of a version.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};
use understudy_contract::{Finding, Severity};
use understudy_control::ProjectStatus;

use super::lint::{Finding as Lint, Moment, lint};
use super::script::Script;
use super::{CONTRACT, EXPAND, Version};

/// The code of what stands in for a rule that the file allows.
const ALLOWED: &str = "allowed-by-the-file";

/// Which version this is, on one line.
pub fn line(version: &Version) -> String {
    format!("serving version {} of the project, {}", version.number, version.directory)
}

/// Which version this is, as `status` shows it.
pub fn status(version: &Version) -> ProjectStatus {
    ProjectStatus { number: version.number, directory: version.directory.clone() }
}

fn scripts(version: &Version) -> impl Iterator<Item = (&'static str, Moment, &Script)> {
    let expand = version.expand.as_ref().map(|script| (EXPAND, Moment::Expand, script));
    let contract = version.contract.as_ref().map(|script| (CONTRACT, Moment::Contract, script));
    expand.into_iter().chain(contract)
}

/// Which version this is, and what is found in its SQL, for people. Empty for a file by itself.
pub fn text(version: Option<&Version>) -> String {
    let Some(version) = version else { return String::new() };
    let mut text = format!("Version {} of the project ({})\n", version.number, version.directory);
    for (name, moment, script) in scripts(version) {
        let statements = script.statements.len();
        let plural = if statements == 1 { "" } else { "s" };
        let _ = writeln!(text, "  {name}: {statements} statement{plural}, sha256 {}", &script.sha256[..12]);
        for one in lint(script, moment) {
            let word = match (&one.allowed, one.rule.is_fatal()) {
                (Some(_), _) => "allowed",
                (None, true) => "error",
                (None, false) => "warning",
            };
            let _ = writeln!(text, "    {}: {word}: {} [{}]", one.place, one.what, one.rule.code());
            let because = match &one.allowed {
                Some(reason) => format!("reason: {reason}"),
                None => format!("remedy: {}", one.rule.remedy()),
            };
            let _ = writeln!(text, "      {because}");
        }
    }
    text
}

/// The same for programs; null for a file by itself.
pub fn json(version: Option<&Version>) -> Json {
    let Some(version) = version else { return Json::Null };
    let files = scripts(version).map(|(name, moment, script)| {
        let findings = lint(script, moment).into_iter().map(|one| {
            json!({
                "code": one.rule.code(), "line": one.place.line, "column": one.place.column, "what": one.what,
                "remedy": one.rule.remedy(), "error": one.rule.is_fatal(), "allowed": one.allowed,
            })
        });
        json!({
            "file": name, "sha256": script.sha256, "statements": script.statements.len(),
            "findings": findings.collect::<Vec<_>>(),
        })
    });
    json!({
        "number": version.number, "directory": version.directory, "file_sha256": version.file_sha256,
        "sql": files.collect::<Vec<_>>(),
    })
}

/// What is found in the version's SQL, as `check` lists it beside what the servers lack.
pub fn findings(version: Option<&Version>) -> Vec<Finding> {
    let all = version.into_iter().flat_map(scripts);
    all.flat_map(|(_, moment, script)| lint(script, moment).into_iter().map(|one| finding(script, one)))
        .collect()
}

fn finding(script: &Script, one: Lint) -> Finding {
    let subject = format!("{}:{}", script.file, one.place);
    if let Some(reason) = one.allowed {
        let what = format!("{} ({}); the file says: {reason}", one.what, one.rule.code());
        return Finding { severity: Severity::Info, code: ALLOWED, subject, what, remedy: String::new() };
    }
    let severity = if one.rule.is_fatal() { Severity::Error } else { Severity::Warning };
    Finding { severity, code: one.rule.code(), subject, what: one.what, remedy: one.rule.remedy().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version() -> Version {
        let expand = "-- understudy:allow rename nobody uses it yet\nALTER TABLE t RENAME x TO y;\nBEGIN;\nDROP TABLE u";
        let script = |name: &str, sql: &str| Some(Script::read(name, sql).unwrap());
        Version {
            number: 2,
            directory: "002_b".to_owned(),
            file_sha256: "0".repeat(64),
            expand: script("p/002_b/expand.sql", expand),
            contract: script("p/002_b/contract.sql", "DROP TABLE u"),
        }
    }

    /// Whoever reads a plan sees which version it is of, and each place that needs a second look.
    #[test]
    fn a_plan_opens_with_its_version() {
        let shown = text(Some(&version()));
        let lines = shown.lines().collect::<Vec<_>>();
        assert_eq!(lines[0], "Version 2 of the project (002_b)");
        assert!(lines[1].starts_with("  expand.sql: 3 statements, sha256 "), "{shown}");
        assert!(lines[2].starts_with("    2:15: allowed: whoever uses column x of t"), "{shown}");
        assert_eq!(lines[3], "      reason: nobody uses it yet");
        assert!(
            lines[4].starts_with("    3:1: error: ") && lines[6].starts_with("    4:1: warning: "),
            "{shown}"
        );
        assert!(lines[8].starts_with("  contract.sql: 1 statement, ") && lines.len() == 9, "{shown}");
        assert_eq!((text(None), json(None)), (String::new(), Json::Null));
        assert_eq!(json(Some(&version()))["sql"][0]["findings"][2]["line"], 4);
    }

    #[test]
    fn findings_are_as_grave_as_their_rules() {
        let found = findings(Some(&version()));
        let grave = found.iter().map(|one| (one.severity, one.code)).collect::<Vec<_>>();
        let expected = [
            (Severity::Info, ALLOWED),
            (Severity::Error, "transaction-control"),
            (Severity::Warning, "drop-table"),
        ];
        assert_eq!(grave, expected);
        assert_eq!(found[1].subject, "p/002_b/expand.sql:3:1");
    }
}
