//! The `gate` section of the migration file: what must hold, and for how long, before the flip.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use understudy_cutover::{Accepted, Freeze, Limit, Weekly, Window};

use super::problem::Place;
use super::raw::Span;
use super::resolve::Resolver;
use super::yaml::Placed;

/// What must hold, and for how long, before the flip.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Gate")]
#[serde(default)]
pub(super) struct RawGate {
    /// How far green may be behind at most, over the whole soak (99 % of samples).
    pub(super) max_lag: Placed<Span>,
    /// How long everything must have held without a break.
    pub(super) soak: Placed<Span>,
    /// The share of rows, above 0 and at most 1, that must have been verified.
    #[schemars(range(min = 0.001, max = 1.0))]
    pub(super) coverage: Placed<f64>,
    /// How long ago a row may have been verified at most.
    pub(super) max_age: Placed<Span>,
    /// How long a transaction on blue may have been open at most.
    pub(super) max_transaction_age: Placed<Span>,
    /// By how much each sequence is advanced at the flip: it must have that much room.
    pub(super) sequence_headroom: Placed<u64>,
    /// Queries to Prometheus servers whose answers must be below or above a bound.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) checks: Vec<RawCheck>,
    /// Times at which nothing is flipped.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) freeze: Vec<RawFreeze>,
    /// Findings on the servers that do no harm, each with the reason why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) accept: Vec<RawAccept>,
}

impl Default for RawGate {
    fn default() -> RawGate {
        let span = |text: &str| Placed::from(Span(text.to_owned()));
        RawGate {
            max_lag: span("1s"),
            soak: span("15m"),
            coverage: 1.0.into(),
            max_age: span("24h"),
            max_transaction_age: span("1m"),
            sequence_headroom: 1_000_000.into(),
            checks: Vec::new(),
            freeze: Vec::new(),
            accept: Vec::new(),
        }
    }
}

/// A query to a Prometheus server whose answer must be below or above a bound. Give exactly one of the two.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "GateCheck")]
pub(super) struct RawCheck {
    /// Names it in verdicts and metrics: lower-case letters, digits, hyphens and underscores. Left out: `check-1` and so on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z][a-z0-9_-]{0,35}$"))]
    pub(super) name: Option<Placed<String>>,
    /// The server: `http://prometheus:9090`. Its path `/api/v1/query` is asked every 15 seconds.
    pub(super) prometheus: Placed<String>,
    /// PromQL that gives one number: a scalar, or a vector of one series.
    pub(super) query: Placed<String>,
    /// The answer must be below this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) below: Option<Placed<f64>>,
    /// The answer must be above this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) above: Option<Placed<f64>>,
}

/// A time at which nothing is flipped: once, with `from` and `to`, or every week, with `weekly` and `zone`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Freeze")]
pub(super) struct RawFreeze {
    /// Its first moment: `2026-12-18T00:00:00+01:00`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<Placed<String>>,
    /// The first moment after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) to: Option<Placed<String>>,
    /// Hours of every week: `Fri 16:00-Mon 08:00`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) weekly: Option<Placed<String>>,
    /// By the clocks of which time zone: `Europe/Berlin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) zone: Option<Placed<String>>,
    /// Why. Shown to whoever is held by it.
    pub(super) reason: Placed<String>,
}

/// A finding on the servers that does no harm.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Accept")]
pub(super) struct RawAccept {
    /// What the finding is about, as the gate shows it: `index public.orders_email_idx`.
    pub(super) what: Placed<String>,
    /// Why it does no harm.
    pub(super) reason: Placed<String>,
}

/// What must hold, and for how long, before the flip.
#[derive(Debug, Clone, PartialEq)]
pub struct GateSettings {
    /// How far green may be behind at most.
    pub max_lag: Duration,
    /// How long everything must have held without a break.
    pub soak: Duration,
    /// The share of rows that must have been verified.
    pub coverage: f64,
    /// How long ago a row may have been verified at most.
    pub max_age: Duration,
    /// How long a transaction on blue may have been open at most.
    pub max_transaction_age: Duration,
    /// By how much each sequence is advanced at the flip.
    pub sequence_headroom: u64,
    /// Queries to Prometheus servers.
    pub checks: Vec<PrometheusCheck>,
    /// Times at which nothing is flipped.
    pub freezes: Vec<Freeze>,
    /// Findings on the servers that do no harm.
    pub accepted: Vec<Accepted>,
}

/// A query to a Prometheus server.
#[derive(Debug, Clone, PartialEq)]
pub struct PrometheusCheck {
    /// Its name.
    pub name: String,
    /// The server's address, without a slash at its end.
    pub url: String,
    /// PromQL.
    pub query: String,
    /// The bound of its answer.
    pub limit: Limit,
}

impl Resolver<'_> {
    pub(super) fn gate(&mut self, raw: &RawGate) -> Option<GateSettings> {
        let max_lag = self.span(&raw.max_lag, "gate.max_lag");
        let soak = self.span(&raw.soak, "gate.soak");
        let max_age = self.span(&raw.max_age, "gate.max_age");
        let max_transaction_age = self.span(&raw.max_transaction_age, "gate.max_transaction_age");
        let coverage = raw.coverage.value;
        if !(coverage > 0.0 && coverage <= 1.0) {
            let what = format!("`{coverage}` is not a share of rows");
            self.report(raw.coverage.place, "gate.coverage", what, "write a number above 0 and at most 1");
        }
        let checks = self.gate_checks(&raw.checks);
        let freeze = |(at, one): (usize, &RawFreeze)| self.freeze(one, &format!("gate.freeze[{at}]"));
        let freezes = raw.freeze.iter().enumerate().filter_map(freeze).collect();
        let accept = |(at, one): (usize, &RawAccept)| {
            let what = self.filled(&one.what, &format!("gate.accept[{at}].what"));
            let reason = self.filled(&one.reason, &format!("gate.accept[{at}].reason"));
            Some(Accepted { what: what?, reason: reason? })
        };
        let accepted = raw.accept.iter().enumerate().filter_map(accept).collect();
        Some(GateSettings {
            max_lag: max_lag?,
            soak: soak?,
            coverage,
            max_age: max_age?,
            max_transaction_age: max_transaction_age?,
            sequence_headroom: raw.sequence_headroom.value,
            checks,
            freezes,
            accepted,
        })
    }

    fn gate_checks(&mut self, raw: &[RawCheck]) -> Vec<PrometheusCheck> {
        let mut checks: Vec<PrometheusCheck> = Vec::with_capacity(raw.len());
        for (at, one) in raw.iter().enumerate() {
            let path = format!("gate.checks[{at}]");
            let name =
                one.name.as_ref().map_or_else(|| format!("check-{}", at + 1), |name| name.value.clone());
            if checks.iter().any(|other| other.name == name) {
                let place = one.name.as_ref().and_then(|name| name.place);
                let what = format!("there are two checks named `{name}`");
                self.report(place, &format!("{path}.name"), what, "give each a name of its own");
            }
            let url = self.prometheus(&one.prometheus, &format!("{path}.prometheus"));
            let query = self.filled(&one.query, &format!("{path}.query"));
            let limit = match (&one.below, &one.above) {
                (Some(bound), None) => Some(Limit::Below(bound.value)),
                (None, Some(bound)) => Some(Limit::Above(bound.value)),
                (Some(_), Some(_)) | (None, None) => {
                    let what = "a check has one bound: `below` or `above`";
                    let remedy = "write the bound that a good answer keeps, such as below: 0.01";
                    self.report(one.query.place, &path, what, remedy);
                    None
                }
            };
            if let (Some(url), Some(query), Some(limit)) = (url, query, limit) {
                checks.push(PrometheusCheck { name, url, query, limit });
            }
        }
        checks
    }

    fn prometheus(&mut self, url: &Placed<String>, path: &str) -> Option<String> {
        let text = url.value.trim();
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        let authority = rest.map(|rest| rest.split('/').next().unwrap_or(""));
        let plain = |rest: &str| !rest.contains(['?', '#']) && !rest.contains(char::is_whitespace);
        match authority {
            Some(authority) if authority.contains('@') => {
                let what = "the URL holds a user or a password";
                self.report(url.place, path, what, "take it out; the server is asked without");
                None
            }
            Some(authority) if !authority.is_empty() && rest.is_some_and(plain) => {
                Some(text.trim_end_matches('/').to_owned())
            }
            Some(_) | None => {
                let what = format!("`{text}` is not the URL of a Prometheus server");
                self.report(url.place, path, what, "write it like http://prometheus:9090");
                None
            }
        }
    }

    fn freeze(&mut self, raw: &RawFreeze, path: &str) -> Option<Freeze> {
        let reason = self.filled(&raw.reason, &format!("{path}.reason"));
        let window = match (&raw.from, &raw.to, &raw.weekly, &raw.zone) {
            (Some(from), Some(to), None, None) => self.fixed(from, to, path),
            (None, None, Some(weekly), Some(zone)) => {
                let refusal = |what| {
                    let remedy = "write it like weekly: \"Fri 16:00-Mon 08:00\", zone: Europe/Berlin";
                    (what, remedy.to_owned())
                };
                let parsed = Weekly::parse(&weekly.value, &zone.value).map_err(refusal);
                self.accept(parsed, weekly.place, &format!("{path}.weekly")).map(Window::Weekly)
            }
            _ => {
                let what = "a freeze has `from` and `to`, or `weekly` and `zone`";
                let remedy = "write both of one pair and none of the other";
                self.report(raw.reason.place, path, what, remedy);
                None
            }
        };
        Some(Freeze { window: window?, reason: reason? })
    }

    fn fixed(&mut self, from: &Placed<String>, to: &Placed<String>, path: &str) -> Option<Window> {
        let start = self.timestamp(&from.value, from.place, &format!("{path}.from"));
        let end = self.timestamp(&to.value, to.place, &format!("{path}.to"));
        let (from, end) = (start?, end?);
        if from >= end {
            let what = "the freeze ends before it begins";
            self.report(to.place, &format!("{path}.to"), what, "write the first moment after it");
            return None;
        }
        Some(Window::Fixed { from, to: end })
    }

    fn timestamp(&mut self, text: &str, place: Option<Place>, path: &str) -> Option<jiff::Timestamp> {
        let refusal = |_| {
            let what = format!("`{text}` is not a time with its zone");
            (what, "write it like 2026-12-18T00:00:00+01:00".to_owned())
        };
        self.accept(text.parse().map_err(refusal), place, path)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Secrets, Settings, Surroundings, parse};
    use super::*;

    fn read(gate: &str) -> Result<Settings, String> {
        let text = format!(
            "version: 1\nname: shop\nblue: {{ url: postgres://u@blue/shop }}\n\
             green: {{ postgres: {{ url: postgres://u@green/shop }} }}\ntables: [{{ from: public.* }}]\n{gate}"
        );
        let surroundings = Surroundings {
            variables: std::collections::HashMap::new(),
            folder: std::path::PathBuf::from("/nonexistent"),
            secrets: Secrets::LeaveOut,
        };
        parse("shop.yaml", &text, &surroundings).map_err(|error| error.to_string())
    }

    /// A file without the section gets what the documentation says, and nothing weaker.
    #[test]
    fn the_defaults_are_the_documented_ones() {
        let gate = read("").unwrap().gate;
        assert_eq!((gate.max_lag, gate.soak), (Duration::from_secs(1), Duration::from_secs(900)));
        assert_eq!((gate.coverage, gate.max_age), (1.0, Duration::from_secs(86_400)));
        assert_eq!((gate.max_transaction_age, gate.sequence_headroom), (Duration::from_secs(60), 1_000_000));
        assert!(gate.checks.is_empty() && gate.freezes.is_empty() && gate.accepted.is_empty());
    }

    /// A key that is written and not read would be a condition that silently does not hold anything.
    #[test]
    fn every_key_is_read() {
        let gate = read(
            "gate:
  max_lag: 2s
  soak: 1m
  coverage: 0.5
  max_age: 1h
  max_transaction_age: 5s
  sequence_headroom: 7
  checks:
    - { prometheus: http://prom:9090/base/, query: up, above: 0 }
    - { name: errors, prometheus: \"https://prom\", query: \"rate(e[5m])\", below: 0.01 }
  freeze:
    - { from: \"2026-12-18T00:00:00+01:00\", to: \"2027-01-04T00:00:00+01:00\", reason: holidays }
    - { weekly: \"Fri 16:00-Mon 08:00\", zone: Europe/Berlin, reason: weekend }
  accept:
    - { what: role batch, reason: retired }
",
        );
        let gate = gate.unwrap().gate;
        assert_eq!((gate.max_lag, gate.soak), (Duration::from_secs(2), Duration::from_secs(60)));
        assert_eq!((gate.coverage, gate.max_age), (0.5, Duration::from_secs(3600)));
        assert_eq!((gate.max_transaction_age, gate.sequence_headroom), (Duration::from_secs(5), 7));
        let check = |name: &str, url: &str, query: &str, limit| PrometheusCheck {
            name: name.to_owned(),
            url: url.to_owned(),
            query: query.to_owned(),
            limit,
        };
        let first = check("check-1", "http://prom:9090/base", "up", Limit::Above(0.0));
        let second = check("errors", "https://prom", "rate(e[5m])", Limit::Below(0.01));
        assert_eq!(gate.checks, [first, second]);
        let within = "2026-12-24T12:00:00Z".parse().unwrap();
        let ends = gate.freezes.iter().map(|freeze| freeze.until(within).map(|end| end.to_string()));
        assert_eq!(ends.collect::<Vec<_>>(), [Some("2027-01-03T23:00:00Z".to_owned()), None]);
        assert_eq!(gate.freezes[1].reason, "weekend");
        let accepted = Accepted { what: "role batch".to_owned(), reason: "retired".to_owned() };
        assert_eq!(gate.accepted, [accepted]);
    }

    /// What cannot be held against anything is refused at once, at its key, and not at the flip.
    #[test]
    fn what_makes_no_sense_is_refused() {
        let check = |rest: &str| format!("gate: {{ checks: [{{ {rest} }}] }}\n");
        let freeze = |rest: &str| format!("gate: {{ freeze: [{{ {rest} }}] }}\n");
        let pair = "a freeze has `from` and `to`, or `weekly` and `zone`";
        for (text, what) in [
            (check("prometheus: \"http://p\", query: up"), "a check has one bound: `below` or `above`"),
            (check("prometheus: \"http://p\", query: up, below: 1, above: 0"), "a check has one bound"),
            (check("prometheus: \"http://p\", query: up, below: .nan"), "is not a finite number"),
            (check("prometheus: \"ftp://p\", query: up, below: 1"), "is not the URL of a Prometheus server"),
            (check("prometheus: \"http://\", query: up, below: 1"), "is not the URL of a Prometheus server"),
            (
                check("prometheus: \"http://p?a\", query: up, below: 1"),
                "is not the URL of a Prometheus server",
            ),
            (check("prometheus: \"http://u:secret@p\", query: up, below: 1"), "holds a user or a password"),
            (check("prometheus: \"http://p\", query: \" \", below: 1"), "gate.checks[0].query"),
            (freeze("reason: r"), pair),
            (freeze("from: \"2026-12-18T00:00:00Z\", reason: r"), pair),
            (freeze("weekly: \"Fri 16:00-Mon 08:00\", reason: r"), pair),
            (freeze("weekly: \"Fri 16:00-Mon 08:00\", zone: Nowhere, reason: r"), "is not a time zone"),
            (freeze("weekly: weekends, zone: UTC, reason: r"), "has no `-` between its ends"),
            (freeze("from: yesterday, to: \"2026-12-18T00:00:00Z\", reason: r"), "gate.freeze[0].from"),
            (
                freeze("from: \"2026-12-18T00:00:00Z\", to: \"2026-12-18T00:00:00Z\", reason: r"),
                "the freeze ends before it begins",
            ),
            (
                freeze("from: \"2026-12-18T00:00:00Z\", to: \"2026-12-19T00:00:00Z\", reason: \"\""),
                "is empty",
            ),
            ("gate: { accept: [{ what: role batch, reason: \"\" }] }\n".to_owned(), "gate.accept[0].reason"),
            ("gate: { coverage: 0 }\n".to_owned(), "gate.coverage"),
            ("gate: { coverage: 1.5 }\n".to_owned(), "gate.coverage"),
        ] {
            let message = read(&text).map(|settings| format!("accepted: {:?}", settings.gate));
            let message = message.unwrap_or_else(|message| message);
            assert!(message.contains(what), "{text}: {message}");
            assert!(!message.contains("secret"), "{message}");
        }
        let twice = "gate:\n  checks:\n    - { name: a, prometheus: http://p, query: up, below: 1 }\n    \
                     - { name: a, prometheus: http://p, query: up, below: 1 }\n";
        assert!(read(twice).unwrap_err().contains("there are two checks named `a`"));
    }
}
