//! What came of a pass, for people and for programs.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value as Json, json};
use understudy_contract::{CompareRule, TableProgress};
use understudy_control::{VerifyDocument, VerifyTable};

use crate::cli::asking::{seconds, span};
use crate::cli::output::{known, table};
use crate::settings::Settings;

/// What the sidecar says of verification; `None` when the text is something else.
pub(super) fn said(body: &str) -> Option<VerifyDocument> {
    serde_json::from_str(body).ok()
}

/// What came of a pass.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub(super) migration: String,
    /// What the sidecar said to the request.
    pub(super) answer: String,
    /// Whether every range has been verified since it was asked for.
    pub(super) complete: bool,
    /// How long was waited at most.
    pub(super) wait: Duration,
    pub(super) tables: Vec<TableProgress>,
    /// What the sidecar alone knows; `None` when its interface could not be asked.
    pub(super) said: Option<VerifyDocument>,
    /// Columns that are not compared exactly, of each of `tables`.
    pub(super) rules: Vec<Vec<(String, String)>>,
}

impl Outcome {
    /// Rows that are not known to be equal, as far as they can be counted.
    pub(super) fn unsettled_total(&self) -> u64 {
        self.tables.iter().filter_map(|table| self.of(table)).map(|of| of.pending + of.suspended).sum()
    }

    fn of(&self, table: &TableProgress) -> Option<&VerifyTable> {
        let (source, target) = (table.source.to_string(), table.target.to_string());
        self.said.as_ref()?.tables.iter().find(|one| one.source == source && one.target == target)
    }

    /// Finds the rules: as the sidecar has them, or else those that the file names.
    pub(super) fn with_rules(mut self, settings: &Settings) -> Outcome {
        let of_file = |table: &TableProgress| {
            let entries = settings.entries_for(&table.source);
            let entry = entries.into_iter().find(|entry| entry.target_of(&table.source) == table.target);
            let named = entry.into_iter().flat_map(|entry| &entry.compare);
            let special = named.filter(|(_, rule)| *rule != CompareRule::Exact);
            special.map(|(column, rule)| (column.clone(), rule.to_string())).collect()
        };
        let told =
            |of: &VerifyTable| of.rules.iter().map(|one| (one.column.clone(), one.rule.clone())).collect();
        let rules = |table| self.of(table).map_or_else(|| of_file(table), told);
        self.rules = self.tables.iter().map(rules).collect();
        self
    }

    pub(super) fn text(&self) -> String {
        let row = |one: &TableProgress| {
            let of = self.of(one);
            vec![
                one.source.to_string(),
                one.target.to_string(),
                one.rows.to_string(),
                format!("{} %", percent(one.coverage())),
                one.completed_age_ms.map_or_else(|| "never".to_owned(), |age| format!("{} ago", span(age))),
                one.open_total().to_string(),
                one.waived.to_string(),
                known(of.map(|of| of.pending)),
                known(of.map(|of| of.suspended)),
            ]
        };
        let rows = self.tables.iter().map(row).collect::<Vec<_>>();
        let header =
            ["BLUE", "GREEN", "ROWS", "COVERAGE", "LAST PASS", "OPEN", "WAIVED", "PENDING", "SUSPENDED"];
        let mut text = table(&header, &rows);
        let special = self.tables.iter().zip(&self.rules).filter(|(_, rules)| !rules.is_empty());
        for (at, (one, rules)) in special.enumerate() {
            if at == 0 {
                text.push_str("\nNot compared exactly:\n");
            }
            let rules = rules.iter().map(|(column, rule)| format!("{column} ({rule})")).collect::<Vec<_>>();
            let _ = writeln!(text, "  {}: {}", one.target, rules.join(", "));
        }
        text
    }

    pub(super) fn json(&self) -> Json {
        let one = |(one, rules): (&TableProgress, &Vec<(String, String)>)| {
            let of = self.of(one);
            let rules = rules.iter().map(|(column, rule)| json!({ "column": column, "rule": rule }));
            json!({
                "source": one.source.to_string(),
                "target": one.target.to_string(),
                "complete": one.anew,
                "rows": one.rows,
                "coverage_ratio": one.coverage(),
                "ranges": one.ranges,
                "ranges_verified": one.ranges_verified,
                "pass": one.pass,
                "passes_completed": one.completed,
                "last_pass_age_seconds": one.completed_age_ms.map(seconds),
                "oldest_age_seconds": one.oldest_age_ms.map(seconds),
                "open": { "missing": one.open[0], "extra": one.open[1], "differs": one.open[2] },
                "waived": one.waived,
                "pending": of.map(|of| of.pending),
                "suspended": of.map(|of| of.suspended),
                "rules": rules.collect::<Vec<_>>(),
            })
        };
        json!({
            "schema": "understudy/v1/verify-outcome",
            "migration": self.migration,
            "answer": self.answer,
            "complete": self.complete,
            "tables": self.tables.iter().zip(&self.rules).map(one).collect::<Vec<_>>(),
        })
    }
}

/// A share as per cent, never rounded up to 100.
fn percent(share: f64) -> String {
    if share >= 1.0 { "100".to_owned() } else { format!("{:.1}", (share * 1_000.0).floor() / 10.0) }
}

#[cfg(test)]
pub(super) mod tests {
    use understudy_model::TableName;

    use super::*;

    pub(in crate::cli::verify) fn table() -> TableProgress {
        TableProgress {
            source: TableName::new("public", "users"),
            target: TableName::new("app", "customers"),
            pass: 3,
            completed: 2,
            completed_age_ms: Some(185_000),
            anew: false,
            ranges: 4,
            ranges_anew: 1,
            ranges_verified: 3,
            rows: 1_000,
            rows_verified: 999,
            rows_seen: 1_000,
            oldest_age_ms: Some(7),
            open: [1, 0, 0],
            waived: 2,
        }
    }

    pub(in crate::cli::verify) fn outcome() -> Outcome {
        Outcome {
            migration: "shop".to_owned(),
            answer: "pass 3 begins".to_owned(),
            complete: false,
            wait: Duration::from_secs(60),
            tables: vec![table()],
            said: None,
            rules: vec![vec![("balance".to_owned(), "tolerance 0.01".to_owned())]],
        }
    }

    #[test]
    fn what_the_sidecar_does_not_tell_is_unknown() {
        let expected = "\
BLUE          GREEN          ROWS  COVERAGE  LAST PASS   OPEN  WAIVED  PENDING  SUSPENDED
public.users  app.customers  1000    99.9 %  3m 5s ago      1       2  unknown  unknown

Not compared exactly:
  app.customers: balance (tolerance 0.01)
";
        let shown = outcome().text();
        let squeezed = |text: &str| {
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
        };
        assert_eq!(squeezed(&shown), squeezed(expected), "{shown}");
        assert_eq!(outcome().json()["tables"][0]["pending"], Json::Null);
    }

    #[test]
    fn what_the_sidecar_tells_is_shown() {
        let route = VerifyTable {
            source: "public.users".to_owned(),
            target: "app.customers".to_owned(),
            pending: 7,
            ..VerifyTable::default()
        };
        let mut document = VerifyDocument::empty(true);
        document.tables = vec![route];
        let said = said(&serde_json::to_string(&document).unwrap());
        assert!(said.is_some());
        let outcome = Outcome { said, ..outcome() };
        assert_eq!(
            (outcome.unsettled_total(), outcome.json()["tables"][0]["pending"].clone()),
            (7, json!(7))
        );
        assert!(["", "{}", "[]"].into_iter().all(|not| super::said(not).is_none()));
    }

    /// A coverage that is shown as 100 % is taken for whole.
    #[test]
    fn only_what_is_whole_is_shown_as_a_hundred() {
        assert_eq!([0.0, 0.5, 0.999_999, 1.0].map(percent), ["0.0", "50.0", "99.9", "100"]);
    }
}
