//! The `verify` section of the migration file, and `compare` of a table.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use understudy_contract::CompareRule;

use super::raw::Span;
use super::resolve::Resolver;
use super::yaml::Placed;

/// Continuous comparison of both sides.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Verify")]
#[serde(default)]
pub(super) struct RawVerify {
    /// Whether green is compared with blue at all. Without it the gate stays closed.
    pub(super) enabled: bool,
    /// Connections to each side that compare at the same time.
    #[schemars(range(min = 1, max = 16))]
    pub(super) workers: Placed<u64>,
    /// About how many rows are compared at once.
    #[schemars(range(min = 100, max = 1_000_000))]
    pub(super) range_rows: Placed<u64>,
    /// Throttle: most rows compared per second in full passes, over all connections.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rows_per_second: Option<Placed<u64>>,
    /// Throttle: the share of time, from 0.001 to 1, for which full passes may keep each of their connections to blue
    /// busy. With two connections and 0.5 they take at most one of blue's cores.
    #[schemars(range(min = 0.001, max = 1.0))]
    pub(super) busy: Placed<f64>,
    /// Throttle: full passes wait while more sessions than this are active on blue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_active_sessions: Option<Placed<u64>>,
    /// Throttle: full passes wait while a standby of blue is further behind than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_replica_lag: Option<Placed<Span>>,
    /// Throttle: ranges are made smaller when reading one takes longer than this.
    pub(super) max_read_time: Placed<Span>,
    /// Throttle: full passes wait while green is further behind than this.
    pub(super) yield_at_lag: Placed<Span>,
    /// Pause between full passes. There is none while something has not been verified.
    pub(super) pass_pause: Placed<Span>,
    /// Changed rows that are remembered until they have been checked. When there are more, their tables are verified anew.
    #[schemars(range(min = 1_000, max = 10_000_000))]
    pub(super) changed_rows: Placed<u64>,
}

impl Default for RawVerify {
    fn default() -> RawVerify {
        let span = |text: &str| Placed::from(Span(text.to_owned()));
        RawVerify {
            enabled: true,
            workers: 2.into(),
            range_rows: 50_000.into(),
            rows_per_second: None,
            busy: 0.5.into(),
            max_active_sessions: None,
            max_replica_lag: None,
            max_read_time: span("2s"),
            yield_at_lag: span("5s"),
            pass_pause: span("1m"),
            changed_rows: 200_000.into(),
        }
    }
}

/// Continuous comparison of both sides.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifySettings {
    /// Whether green is compared with blue at all.
    pub enabled: bool,
    /// Connections to each side.
    pub workers: usize,
    /// About how many rows are compared at once.
    pub range_rows: u64,
    /// Most rows per second in full passes.
    pub rows_per_second: Option<u64>,
    /// The share of time for which full passes may keep each connection to blue busy.
    pub busy: f64,
    /// Full passes wait while more sessions are active on blue.
    pub max_active_sessions: Option<u64>,
    /// Full passes wait while a standby of blue is further behind.
    pub max_replica_lag: Option<Duration>,
    /// Ranges are made smaller when reading one takes longer.
    pub max_read_time: Duration,
    /// Full passes wait while green is further behind.
    pub yield_at_lag: Duration,
    /// Pause between full passes.
    pub pass_pause: Duration,
    /// Changed rows that are remembered until they have been checked.
    pub changed_rows: usize,
}

/// When two values of a column count as equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "CompareWord")]
pub(super) enum RawCompareWord {
    /// The same text. The default, but for `character(n)`, where blanks at the end mean nothing.
    Exact,
    /// Always: the column is not compared.
    Ignore,
    /// The same text but for blanks at its end.
    Trim,
    /// The same text but for case.
    Fold,
    /// The same document, whatever the order of its keys and its blanks.
    Json,
    /// The same number to 15 significant digits.
    Float,
}

/// When two values of a column count as equal: a word, or `{ tolerance: 0.01 }`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "Compare")]
pub(super) enum RawCompare {
    /// By a rule that needs no figure.
    Word(RawCompareWord),
    /// Numbers that differ by a little.
    Tolerance(RawTolerance),
}

/// Numbers that differ by this much at most count as equal.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Tolerance")]
pub(super) struct RawTolerance {
    /// By how much at most; above zero.
    pub(super) tolerance: serde_json::Number,
}

impl Resolver<'_> {
    pub(super) fn verify(&mut self, raw: &RawVerify) -> Option<VerifySettings> {
        let max_read_time = self.span(&raw.max_read_time, "verify.max_read_time");
        let yield_at_lag = self.span(&raw.yield_at_lag, "verify.yield_at_lag");
        let pass_pause = self.span(&raw.pass_pause, "verify.pass_pause");
        let replica_lag = raw.max_replica_lag.as_ref().map(|lag| self.span(lag, "verify.max_replica_lag"));
        let busy = raw.busy.value;
        if !(0.001..=1.0).contains(&busy) {
            let what = format!("`{busy}` is not a share of time");
            self.report(raw.busy.place, "verify.busy", what, "write a number from 0.001 to 1");
        }
        Some(VerifySettings {
            enabled: raw.enabled,
            workers: super::resolve::count(raw.workers.value),
            range_rows: raw.range_rows.value,
            rows_per_second: raw.rows_per_second.as_ref().map(|rows| rows.value),
            busy,
            max_active_sessions: raw.max_active_sessions.as_ref().map(|sessions| sessions.value),
            max_replica_lag: replica_lag.flatten(),
            max_read_time: max_read_time?,
            yield_at_lag: yield_at_lag?,
            pass_pause: pass_pause?,
            changed_rows: super::resolve::count(raw.changed_rows.value),
        })
    }

    /// The rules of one table, by column of green.
    pub(super) fn compare(
        &mut self,
        raw: &std::collections::BTreeMap<String, Placed<RawCompare>>,
        path: &str,
    ) -> Vec<(String, CompareRule)> {
        let mut rules = Vec::with_capacity(raw.len());
        for (column, rule) in raw {
            let path = format!("{path}.{column}");
            let rule = match &rule.value {
                RawCompare::Word(RawCompareWord::Exact) => CompareRule::Exact,
                RawCompare::Word(RawCompareWord::Ignore) => CompareRule::Ignore,
                RawCompare::Word(RawCompareWord::Trim) => CompareRule::Trim,
                RawCompare::Word(RawCompareWord::Fold) => CompareRule::Fold,
                RawCompare::Word(RawCompareWord::Json) => CompareRule::Json,
                RawCompare::Word(RawCompareWord::Float) => CompareRule::Float,
                RawCompare::Tolerance(RawTolerance { tolerance }) => {
                    let text = tolerance.to_string();
                    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
                    if !is_plain || !tolerance.as_f64().is_some_and(|most| most > 0.0) {
                        let what = "a tolerance is a number above zero, without an exponent";
                        self.report(rule.place, &path, what, "write it like 0.01");
                        continue;
                    }
                    CompareRule::Tolerance(text)
                }
            };
            rules.push((column.clone(), rule));
        }
        rules
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Secrets, Settings, Surroundings, parse};
    use super::*;

    fn read(text: &str, compare: &str) -> Result<Settings, String> {
        let file = format!(
            "version: 1\nname: shop\nblue: {{ url: postgres://a@blue/shop }}\ngreen: {{ postgres: {{ url: \
             postgres://a@green/shop }} }}\ntables:\n  - from: public.t\n    compare: {compare}\n{text}"
        );
        let surroundings = Surroundings {
            variables: Default::default(),
            folder: "/nonexistent".into(),
            secrets: Secrets::Read,
        };
        parse("shop.yaml", &file, &surroundings).map_err(|error| error.to_string())
    }

    /// A rule that is read as another one hides a difference, or shows one that nobody minds.
    #[test]
    fn each_column_has_the_rule_that_stands_there() {
        let rules = "{ a: ignore, b: { tolerance: 0.01 }, c: trim, d: fold, e: json, f: float, g: exact }";
        let settings = read("", rules).unwrap();
        let wanted = [
            ("a", CompareRule::Ignore),
            ("b", CompareRule::Tolerance("0.01".to_owned())),
            ("c", CompareRule::Trim),
            ("d", CompareRule::Fold),
            ("e", CompareRule::Json),
            ("f", CompareRule::Float),
            ("g", CompareRule::Exact),
        ];
        assert_eq!(settings.tables[0].compare, wanted.map(|(column, rule)| (column.to_owned(), rule)));
    }

    /// What is no rule is refused at its place, with the one that was meant.
    #[test]
    fn what_is_no_rule_is_refused() {
        for (rules, what) in [
            ("{ a: ignroe }", "7:19: tables[0].compare.a: `ignroe` is not a choice here"),
            ("{ a: ignroe }", "did you mean `ignore`?"),
            ("{ a: tolerence }", "did you mean `{ tolerance: ... }`?"),
            ("{ a: 17 }", "write one of: exact, ignore, trim, fold, json, float, { tolerance: ... }"),
            ("{ a: { tolerence: 1 } }", "did you mean `tolerance`?"),
            ("{ a: {} }", "key `tolerance` is missing"),
            ("{ a: { tolerance: little } }", "compare.a.tolerance: must be a number, not text"),
            ("{ a: { tolerance: 0 } }", "a tolerance is a number above zero"),
            ("{ a: { tolerance: -0.5 } }", "a tolerance is a number above zero"),
            ("{ a: [ignore] }", "`a list` is not a choice here"),
        ] {
            let message = read("", rules).map(|settings| format!("accepted: {:?}", settings.tables));
            let message = message.unwrap_or_else(|message| message);
            assert!(message.contains(what), "{rules}: {message}");
        }
    }

    /// A throttle that throttles nothing, or everything, is refused at once.
    #[test]
    fn a_share_of_time_is_above_zero_and_at_most_one() {
        assert_eq!(read("verify: { busy: 0.25 }\n", "{}").unwrap().verify.busy, 0.25);
        for busy in ["0", "0.0001", "1.5", "-1", "half"] {
            let message = read(&format!("verify: {{ busy: {busy} }}\n"), "{}").unwrap_err();
            assert!(message.contains("verify.busy"), "{message}");
        }
    }
}
