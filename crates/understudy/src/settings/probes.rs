//! The `probes` section of the migration file: pairs of queries whose answers on both sides are compared.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::raw::Span;
use super::resolve::Resolver;
use super::yaml::Placed;

/// A pair of queries that must give the same answer on both sides.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Probe")]
pub(super) struct RawProbe {
    /// Names it in reports and metrics: lower-case letters, digits and hyphens.
    #[schemars(regex(pattern = r"^[a-z][a-z0-9-]{0,35}$"))]
    pub(super) name: Placed<String>,
    /// The query on blue, with `$1`, `$2` … for parameters.
    pub(super) blue: Placed<String>,
    /// The query on green, with the same parameters.
    pub(super) green: Placed<String>,
    /// A query on blue that samples parameters: each row is one set of them. Left out: the queries take none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) params: Option<Placed<String>>,
    /// How often it is asked.
    #[serde(default = "every")]
    pub(super) every: Placed<Span>,
}

fn every() -> Placed<Span> {
    Placed::from(Span("1s".to_owned()))
}

/// A pair of queries that must give the same answer on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeSettings {
    /// Its name.
    pub name: String,
    /// The query on blue.
    pub blue: String,
    /// The query on green.
    pub green: String,
    /// The query on blue that samples parameters.
    pub params: Option<String>,
    /// How often it is asked.
    pub every: Duration,
}

impl Resolver<'_> {
    pub(super) fn probes(&mut self, raw: &[RawProbe]) -> Vec<ProbeSettings> {
        let mut probes: Vec<ProbeSettings> = Vec::with_capacity(raw.len());
        for (at, one) in raw.iter().enumerate() {
            let path = format!("probes[{at}]");
            if probes.iter().any(|other| other.name == one.name.value) {
                let what = format!("there are two probes named `{}`", one.name.value);
                self.report(one.name.place, &format!("{path}.name"), what, "give each a name of its own");
            }
            let every = self.span(&one.every, &format!("{path}.every"));
            let blue = self.filled(&one.blue, &format!("{path}.blue"));
            let green = self.filled(&one.green, &format!("{path}.green"));
            let params = one.params.as_ref().map(|sql| self.filled(sql, &format!("{path}.params")));
            if let (Some(every), Some(blue), Some(green)) = (every, blue, green) {
                let (name, params) = (one.name.value.clone(), params.flatten());
                probes.push(ProbeSettings { name, blue, green, params, every });
            }
        }
        probes
    }
}
