//! One route of a plan, for people and for programs.

use serde_json::{Value as Json, json};
use understudy_contract::ComparedRoute;
use understudy_transform::{ColumnSource, Lossless, ReturnKind, RouteColumn};

use super::layout::{WIDTH, filled, sql, type_name, value, with_sql};
use super::sample::{Sample, Samples};
use crate::comparing::{key_words, special_rules};
use crate::mapping::Drawn;
use crate::project::ToMake;

/// What stands where green cannot tell yet.
const TO_BE_MADE: &str = "made by expand.sql";

/// One route of the plan.
pub(super) struct Route<'a> {
    pub(super) drawn: Drawn<'a>,
    /// How it is compared.
    pub(super) compared: ComparedRoute,
    /// `None` where none were asked for.
    pub(super) samples: Option<Samples>,
    /// What green is yet to be given.
    pub(super) to_make: ToMake<'a>,
}

impl Route<'_> {
    /// Whether rows are passed on as they are, under the same names.
    fn is_plain(&self) -> bool {
        let spec = &self.drawn.spec;
        let same = |column: &RouteColumn| column.from == ColumnSource::Column(column.name.clone());
        spec.filter.is_none() && spec.columns.iter().all(same)
    }

    /// Whether a sampled row is not what blue makes of it, or cannot be computed at all.
    pub(super) fn is_doubtful(&self) -> bool {
        self.samples.as_ref().is_some_and(|samples| !samples.differ.is_empty() || !samples.refused.is_empty())
    }

    /// Whether green's table is yet to be made.
    fn is_awaited(&self) -> bool {
        self.drawn.green.is_none() && self.to_make.table(&self.drawn.spec.target)
    }

    /// The columns of green's key.
    fn key(&self) -> Vec<&str> {
        let spec = &self.drawn.spec;
        spec.key.iter().map(|at| spec.columns[*at].name.as_str()).collect()
    }

    /// The same for people; a table that is yet to be made has none that is known.
    pub(super) fn key_text(&self) -> String {
        if self.is_awaited() { TO_BE_MADE.to_owned() } else { self.key().join(", ") }
    }

    pub(super) fn text(&self) -> String {
        let spec = &self.drawn.spec;
        let mut lines = vec![String::new(), format!("{} -> {}", spec.source, spec.target)];
        let mut filter = spec.filter.iter().flat_map(|filter| sql(filter.expression.text(), WIDTH - 8));
        lines.extend(filter.next().map(|line| format!("  where {line}")));
        lines.extend(filter.map(|line| format!("        {line}")));
        lines.extend(self.columns());
        let left_out = self.left_out();
        if !left_out.is_empty() {
            let names = left_out.join(", ");
            let words =
                names.split_inclusive(", ").map(|name| name.trim_end().to_owned()).collect::<Vec<_>>();
            lines.extend(under("left out: ", &words));
        }
        lines.extend(self.comparison());
        lines.extend(self.way_back());
        lines.extend(self.findings().into_iter().map(|line| format!("  {line}")));
        for sample in self.samples.iter().flat_map(|samples| &samples.shown) {
            if self.is_plain() {
                lines.extend(under("row     ", &shown(&sample.after)));
            } else {
                lines.extend(under("before  ", &shown(&sample.before)));
                lines.extend(under("after   ", &shown(&sample.after)));
            }
        }
        lines.iter().map(|line| format!("{line}\n")).collect()
    }

    /// What fills each column of green.
    fn columns(&self) -> Vec<String> {
        let columns = &self.drawn.spec.columns;
        if self.is_plain() {
            let plural = if columns.len() == 1 { "" } else { "s" };
            let made = if self.is_awaited() { format!("; the table is {TO_BE_MADE}") } else { String::new() };
            return vec![format!("  {} column{plural} unchanged{made}", columns.len())];
        }
        let rows = columns.iter().enumerate().map(|one| self.column_row(one)).collect::<Vec<_>>();
        with_sql(&["COLUMN", "TYPE", "FROM"], &rows)
    }

    fn column_row(&self, (at, column): (usize, &RouteColumn)) -> Vec<String> {
        let is_key = self.drawn.spec.key.contains(&at) && !self.is_awaited();
        let key = if is_key { " (key)" } else { "" };
        let from = match &column.from {
            ColumnSource::Column(name) if *name == column.name => "unchanged".to_owned(),
            ColumnSource::Column(name) => name.clone(),
            ColumnSource::Constant(Some(value)) => format!("'{}'", value.replace('\'', "''")),
            ColumnSource::Constant(None) => "NULL".to_owned(),
            ColumnSource::Computed(computed) => match computed.inputs.as_slice() {
                [name] if computed.expression.text() == quote_always(name) => format!("{name}, cast"),
                _ => computed.expression.text().to_owned(),
            },
        };
        let ty = self.type_of(column).unwrap_or_else(|| {
            let target = &self.drawn.spec.target;
            let is_made = self.is_awaited() || self.to_make.column(target, &column.name);
            if is_made { TO_BE_MADE } else { "missing" }.to_owned()
        });
        vec![format!("{}{key}", column.name), ty, from]
    }

    /// The type on green.
    fn type_of(&self, column: &RouteColumn) -> Option<String> {
        let green = self.drawn.green.as_ref()?;
        let stored = green.columns.iter().find(|known| known.name == column.name)?;
        Some(type_name(&stored.ty, stored.modifier))
    }

    fn left_out(&self) -> Vec<String> {
        let mut left_out = self.drawn.spec.left_out.iter().flatten().cloned().collect::<Vec<_>>();
        left_out.sort();
        left_out
    }

    /// How both sides are compared, and by which rules where that is not by the same text.
    fn comparison(&self) -> Vec<String> {
        if self.is_awaited() {
            return Vec::new();
        }
        let mut words = vec![format!("{};", key_words(&self.drawn.spec, self.compared.keys))];
        words.extend(special_rules(&self.compared).iter().map(|(column, rule)| format!("{column}: {rule},")));
        if let Some(last) = words.last_mut() {
            last.pop();
        }
        under("compared ", &words)
    }

    /// What a rollback gives back of each column of blue, and what it cannot.
    fn way_back(&self) -> Vec<String> {
        let columns = self.drawn.inverse.columns();
        if columns.iter().all(|one| matches!(one.kind, ReturnKind::Lossless(_))) {
            return vec!["  on rollback every column of blue comes back as it was".to_owned()];
        }
        let rows = columns.iter().map(|one| vec![one.column.clone(), one.to_string()]).collect::<Vec<_>>();
        let mut lines = with_sql(&["ON BLUE", "COMES BACK"], &rows);
        if columns.iter().any(|one| one.kind == ReturnKind::Lost) {
            lines.push(
                "  what is lost can be declared under `back`, where green's columns tell it".to_owned(),
            );
        }
        lines
    }

    /// What the sampled rows tell.
    fn findings(&self) -> Vec<String> {
        let Some(Samples { rows, differ, refused, not_returned, .. }) = &self.samples else {
            return Vec::new();
        };
        if self.is_plain() {
            return Vec::new();
        }
        if *rows == 0 && refused.is_empty() {
            return vec!["no rows to try it on".to_owned()];
        }
        let plural = if *rows == 1 { "" } else { "s" };
        let some = |counts: &[(String, u64)]| {
            let one = |(what, count): &(String, u64)| format!("{what} ({count} of {rows})");
            counts.iter().map(one).collect::<Vec<_>>().join("; ")
        };
        let mut lines = Vec::new();
        let mut good = Vec::new();
        if !differ.is_empty() {
            lines.push(format!("DIFFERS: blue itself computes other values: {}", some(differ)));
        }
        if !refused.is_empty() {
            lines.push(format!("FAILS on sampled rows: {}", some(refused)));
        }
        if lines.is_empty() {
            good.push("blue itself computes the same values");
        }
        if !not_returned.is_empty() {
            lines.push(format!("NOT AS IT WAS when it comes back: {}", some(not_returned)));
        } else if self.drawn.inverse.columns().iter().any(|one| one.kind != ReturnKind::Lost) {
            good.push("what comes back is as it was");
        }
        if !good.is_empty() {
            lines.insert(0, format!("{rows} row{plural} sampled: {}", good.join(", and ")));
        }
        lines
    }

    pub(super) fn json(&self) -> Json {
        let spec = &self.drawn.spec;
        let columns = spec.columns.iter().map(|column| {
            let stored = self.type_of(column);
            match &column.from {
                ColumnSource::Column(name) => {
                    json!({ "green": column.name, "green_type": stored, "blue": name })
                }
                ColumnSource::Constant(value) => {
                    json!({ "green": column.name, "green_type": stored, "constant": value })
                }
                ColumnSource::Computed(computed) => json!({
                    "green": column.name, "green_type": stored, "sql": computed.expression.text(),
                    "type": computed.expression.ty().to_string(), "reads": computed.inputs,
                }),
            }
        });
        let back = self.drawn.inverse.columns().iter().map(|one| match &one.kind {
            ReturnKind::Lossless(Lossless::Column(green) | Lossless::Cast { column: green, .. }) => {
                json!({ "blue": one.column, "kind": "lossless", "green": green })
            }
            ReturnKind::Lossless(Lossless::Fixed(value)) => {
                json!({ "blue": one.column, "kind": "lossless", "constant": value })
            }
            ReturnKind::Declared(computed) => {
                json!({ "blue": one.column, "kind": "declared", "sql": computed.expression.text() })
            }
            ReturnKind::Lost => json!({ "blue": one.column, "kind": "lost" }),
        });
        let object = |row: &[(String, Option<String>)]| {
            row.iter().map(|(name, value)| (name.clone(), json!(value))).collect::<serde_json::Map<_, _>>()
        };
        let samples = self.samples.iter().flat_map(|samples| &samples.shown).map(
            |sample: &Sample| json!({ "before": object(&sample.before), "after": object(&sample.after) }),
        );
        let counts = |counts: &[(String, u64)]| {
            counts.iter().map(|(what, rows)| json!({ "what": what, "rows": rows })).collect::<Vec<_>>()
        };
        let compared = self.samples.as_ref().map(|samples| {
            json!({
                "rows": samples.rows, "differ": counts(&samples.differ),
                "refused": counts(&samples.refused), "not_returned": counts(&samples.not_returned),
            })
        });
        json!({
            "blue": spec.source.to_string(), "green": spec.target.to_string(),
            "rows_estimate": self.drawn.taken.table.rows_estimate, "bytes": self.drawn.taken.table.bytes,
            "key": spec.key_source, "green_key": (!self.is_awaited()).then(|| self.key()),
            "made_by_expand": self.is_awaited(),
            "where": spec.filter.as_ref().map(|filter| filter.expression.text()),
            "query": spec.query(self.drawn.green.as_ref(), self.drawn.blue.scope.as_ref()),
            "columns": columns.collect::<Vec<_>>(), "back": back.collect::<Vec<_>>(),
            "compared": compared,
            "comparison": {
                "keys": format!("{:?}", self.compared.keys).to_lowercase(),
                "rules": special_rules(&self.compared).iter()
                    .map(|(column, rule)| (column.clone(), json!(rule.to_string())))
                    .collect::<serde_json::Map<_, _>>(),
            },
            "samples": samples.collect::<Vec<_>>(),
        })
    }
}

/// Words behind a title, on as many lines as they need.
fn under(title: &str, words: &[String]) -> Vec<String> {
    let indent = " ".repeat(title.chars().count() + 2);
    let lines = filled(words, WIDTH - indent.len(), "");
    let one = |(at, line): (usize, String)| {
        if at == 0 { format!("  {title}{line}") } else { format!("{indent}{line}") }
    };
    lines.into_iter().enumerate().map(one).collect()
}

fn shown(row: &[(String, Option<String>)]) -> Vec<String> {
    row.iter().map(|(name, text)| format!("{name}={}", value(text.as_deref()))).collect()
}

/// The text of a cast that green's type implies.
fn quote_always(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
