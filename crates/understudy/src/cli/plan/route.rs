//! One route of a plan, for people and for programs.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};
use understudy_transform::{ColumnSource, ReturnKind, RouteColumn};

use super::sample::{Sample, Samples};
use crate::cli::output::table;
use crate::mapping::Drawn;

/// Longer values are cut: a plan is read by people.
const VALUE_CHARS_MAX: usize = 60;

/// One route of the plan.
pub(super) struct Route<'a> {
    pub(super) drawn: Drawn<'a>,
    pub(super) samples: Samples,
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
        !self.samples.differ.is_empty() || !self.samples.refused.is_empty()
    }

    pub(super) fn text(&self) -> String {
        let spec = &self.drawn.spec;
        let mut text = format!("\n{} -> {}\n", spec.source, spec.target);
        if let Some(filter) = &spec.filter {
            let _ = writeln!(text, "  where {}", filter.expression.text());
        }
        if self.is_plain() {
            let _ = writeln!(text, "  {} columns unchanged", spec.columns.len());
        } else {
            let rows = spec.columns.iter().enumerate().map(|(at, column)| self.column_row((at, column)));
            let listed = table(&["COLUMN", "FROM", "TYPE"], &rows.collect::<Vec<_>>());
            for line in listed.lines() {
                let _ = writeln!(text, "  {line}");
            }
        }
        let left_out = self.left_out();
        if !left_out.is_empty() {
            let _ = writeln!(text, "  left out: {}", left_out.join(", "));
        }
        for line in self.way_back() {
            let _ = writeln!(text, "  {line}");
        }
        for line in self.findings() {
            let _ = writeln!(text, "  {line}");
        }
        for sample in &self.samples.shown {
            let _ = writeln!(text, "  before  {}", shown(&sample.before));
            let _ = writeln!(text, "  after   {}", shown(&sample.after));
        }
        text
    }

    fn column_row(&self, (at, column): (usize, &RouteColumn)) -> Vec<String> {
        let key = if self.drawn.spec.key.contains(&at) { " (key)" } else { "" };
        let from = match &column.from {
            ColumnSource::Column(name) if *name == column.name => "unchanged".to_owned(),
            ColumnSource::Column(name) => name.clone(),
            ColumnSource::Constant(Some(value)) => format!("'{}'", value.replace('\'', "''")),
            ColumnSource::Constant(None) => "NULL".to_owned(),
            ColumnSource::Computed(computed) => {
                computed.expression.text().split_whitespace().collect::<Vec<_>>().join(" ")
            }
        };
        vec![format!("{}{key}", column.name), from, self.type_of(column)]
    }

    /// The type on green.
    fn type_of(&self, column: &RouteColumn) -> String {
        let green = self.drawn.green.as_ref();
        let stored = green.and_then(|green| green.columns.iter().find(|known| known.name == column.name));
        stored.map_or_else(|| "missing".to_owned(), |stored| stored.ty.to_string())
    }

    fn left_out(&self) -> Vec<String> {
        let mut left_out = self.drawn.spec.left_out.iter().flatten().cloned().collect::<Vec<_>>();
        left_out.sort();
        left_out
    }

    /// What a rollback gives back, and what it cannot.
    fn way_back(&self) -> Vec<String> {
        let columns = self.drawn.inverse.columns();
        let of = |wanted: fn(&ReturnKind) -> bool| {
            let some = columns.iter().filter(|one| wanted(&one.kind)).map(|one| one.column.as_str());
            some.collect::<Vec<_>>()
        };
        let lost = of(|kind| matches!(kind, ReturnKind::Lost));
        let declared = of(|kind| matches!(kind, ReturnKind::Declared(_)));
        if lost.is_empty() && declared.is_empty() {
            return vec!["on rollback: every column of blue is given back exactly".to_owned()];
        }
        let mut lines = vec!["on rollback:".to_owned()];
        let lossless = of(|kind| matches!(kind, ReturnKind::Lossless(_)));
        if !lossless.is_empty() {
            lines.push(format!("  given back exactly: {}", lossless.join(", ")));
        }
        if !declared.is_empty() {
            lines.push(format!("  declared under `back`: {}", declared.join(", ")));
        }
        if !lost.is_empty() {
            lines.push(format!(
                "  lost: {} (declare them under `back` where green's columns tell them)",
                lost.join(", ")
            ));
        }
        lines
    }

    /// What the sampled rows tell.
    fn findings(&self) -> Vec<String> {
        let Samples { rows, differ, refused, not_returned, .. } = &self.samples;
        if *rows == 0 || self.is_plain() {
            return Vec::new();
        }
        let mut lines = Vec::new();
        if differ.is_empty() && refused.is_empty() {
            lines.push(format!(
                "{rows} rows sampled: blue's own evaluation of the mapping agrees on all of them"
            ));
        }
        let some = |counts: &[(String, u64)]| {
            let one = |(what, count): &(String, u64)| format!("{what} ({count} of {rows})");
            counts.iter().map(one).collect::<Vec<_>>().join("; ")
        };
        if !differ.is_empty() {
            lines.push(format!("DIFFERS: blue itself computes other values: {}", some(differ)));
        }
        if !refused.is_empty() {
            lines.push(format!("FAILS on sampled rows: {}", some(refused)));
        }
        if not_returned.is_empty() {
            lines.push(format!("{rows} rows sampled: what is given back is what was there"));
        } else {
            lines.push(format!("NOT GIVEN BACK as it was: {}", some(not_returned)));
        }
        lines
    }

    pub(super) fn json(&self) -> Json {
        let spec = &self.drawn.spec;
        let columns = spec.columns.iter().map(|column| match &column.from {
            ColumnSource::Column(name) => json!({ "green": column.name, "blue": name }),
            ColumnSource::Constant(value) => json!({ "green": column.name, "constant": value }),
            ColumnSource::Computed(computed) => json!({
                "green": column.name, "sql": computed.expression.text(), "type": computed.expression.ty().to_string(),
                "reads": computed.inputs,
            }),
        });
        let back = self.drawn.inverse.columns().iter().map(|one| match &one.kind {
            ReturnKind::Lossless(_) => json!({ "blue": one.column, "kind": "lossless" }),
            ReturnKind::Declared(computed) => {
                json!({ "blue": one.column, "kind": "declared", "sql": computed.expression.text() })
            }
            ReturnKind::Lost => json!({ "blue": one.column, "kind": "lost" }),
        });
        let object = |row: &[(String, Option<String>)]| {
            row.iter().map(|(name, value)| (name.clone(), json!(value))).collect::<serde_json::Map<_, _>>()
        };
        let samples = self.samples.shown.iter();
        let samples = samples.map(
            |sample: &Sample| json!({ "before": object(&sample.before), "after": object(&sample.after) }),
        );
        let counts = |counts: &[(String, u64)]| {
            counts.iter().map(|(what, rows)| json!({ "what": what, "rows": rows })).collect::<Vec<_>>()
        };
        let key = spec.key.iter().map(|at| spec.columns[*at].name.as_str()).collect::<Vec<_>>();
        json!({
            "blue": spec.source.to_string(), "green": spec.target.to_string(),
            "rows_estimate": self.drawn.taken.table.rows_estimate, "bytes": self.drawn.taken.table.bytes,
            "key": spec.key_source, "green_key": key,
            "where": spec.filter.as_ref().map(|filter| filter.expression.text()),
            "query": spec.query(self.drawn.green.as_ref(), self.drawn.blue.scope.as_ref()),
            "columns": columns.collect::<Vec<_>>(), "back": back.collect::<Vec<_>>(),
            "compared": {
                "rows": self.samples.rows, "differ": counts(&self.samples.differ),
                "refused": counts(&self.samples.refused), "not_returned": counts(&self.samples.not_returned),
            },
            "samples": samples.collect::<Vec<_>>(),
        })
    }
}

fn shown(row: &[(String, Option<String>)]) -> String {
    let one = |(name, value): &(String, Option<String>)| {
        let value = value.as_deref().map_or_else(
            || "null".to_owned(),
            |value| {
                let cut = value.chars().take(VALUE_CHARS_MAX).collect::<String>();
                if cut.len() < value.len() { format!("{cut:?}...") } else { format!("{cut:?}") }
            },
        );
        format!("{name}={value}")
    };
    row.iter().map(one).collect::<Vec<_>>().join(" ")
}
