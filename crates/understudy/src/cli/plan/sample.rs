//! Sample rows of a route: as blue has them, as green will, what blue itself makes of them, and whether they find back.

use std::borrow::Cow;

use understudy_contract::{Class, Failure};
use understudy_model::{Tuple, TupleBuilder, Value};
use understudy_postgres::ident::{quote_ident, quote_table};
use understudy_postgres::wire::{Client, Row};
use understudy_transform::expr::{MaskKey, SqlType};
use understudy_transform::{Binding, Mapped};

use crate::mapping::Drawn;

/// So many rows of each table are compared; the plan shows fewer.
const COMPARED_ROWS: u32 = 1_000;

/// One row, with names, before and after.
#[derive(Debug)]
pub(in crate::cli) struct Sample {
    pub(in crate::cli) before: Vec<(String, Option<String>)>,
    pub(in crate::cli) after: Vec<(String, Option<String>)>,
}

/// What came of the sampled rows of a route.
#[derive(Debug, Default)]
pub(in crate::cli) struct Samples {
    /// Those to be shown.
    pub(in crate::cli) shown: Vec<Sample>,
    /// Rows compared.
    pub(in crate::cli) rows: u64,
    /// Columns of green that blue itself computes differently, each with how many rows.
    pub(in crate::cli) differ: Vec<(String, u64)>,
    /// Rows that an expression fails on, by what fails.
    pub(in crate::cli) refused: Vec<(String, u64)>,
    /// Columns of blue whose value is another after the way there and back, each with how many rows.
    pub(in crate::cli) not_returned: Vec<(String, u64)>,
}

/// Lets a session evaluate `mask`.
pub(in crate::cli) async fn set_mask_key(blue: &mut Client, key: Option<&MaskKey>) -> Result<(), Failure> {
    let Some(key) = key else { return Ok(()) };
    for (name, value) in key.settings() {
        blue.query_with("SELECT set_config($1, $2, false)", &[Some(name), Some(&value)]).await?;
    }
    Ok(())
}

/// Reads the first rows by key under one snapshot, as they are and as blue maps them, and maps them here beside it.
pub(in crate::cli) async fn read(blue: &mut Client, one: &Drawn<'_>, shown: u32) -> Result<Samples, Failure> {
    let doing = || format!("read sample rows of {}", one.spec.source);
    blue.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let read = both(blue, one).await;
    blue.batch("ROLLBACK").await?;
    let (before, after) = read.map_err(|failure| failure.while_doing(doing()))?;
    compare(one, &before, &after, shown)
}

/// Rows of blue's columns, and rows of green's columns or why blue could not compute them.
type Answers = (Vec<Row>, Result<Vec<Row>, Failure>);

async fn both(blue: &mut Client, one: &Drawn<'_>) -> Result<Answers, Failure> {
    let order = one.spec.key_sql().join(", ");
    let columns = one.blue.columns.iter().map(|name| quote_ident(name)).collect::<Vec<_>>().join(", ");
    let query = one.spec.query(one.green.as_ref(), one.blue.scope.as_ref());
    // The same rows for both: everything behind FROM is the same.
    let from = format!(" FROM {}", quote_table(&one.spec.source));
    let tail = query.find(&from).map_or("", |at| &query[at + from.len()..]);
    let order = format!("ORDER BY {order} LIMIT {COMPARED_ROWS}");
    let before = blue.query(&format!("SELECT {columns}{from}{tail} {order}")).await?;
    blue.batch("SAVEPOINT understudy_sample").await?;
    let after = blue.query(&format!("{query} {order}")).await;
    match after {
        Err(failure) if failure.class() == Class::Data && !blue.is_broken() => {
            blue.batch("ROLLBACK TO understudy_sample").await?;
            Ok((before, Err(failure)))
        }
        after => Ok((before, Ok(after?))),
    }
}

fn compare(
    one: &Drawn<'_>,
    before: &[Row],
    after: &Result<Vec<Row>, Failure>,
    shown: u32,
) -> Result<Samples, Failure> {
    let binding = one
        .spec
        .bind_names(&one.blue.columns)
        .map_err(|mismatch| Failure::new(Class::Internal, mismatch.to_string()))?;
    let mut samples = Samples { rows: before.len() as u64, ..Samples::default() };
    if let Err(failure) = after {
        count(&mut samples.refused, &format!("blue's own evaluation: {failure}"));
    }
    for (at, row) in before.iter().enumerate() {
        let tuple = tuple_of(row, one.blue.columns.len());
        let green = match mapped(&binding, &tuple) {
            Ok(green) => green,
            Err(refusal) => {
                count(&mut samples.refused, &refusal);
                continue;
            }
        };
        let values = values_of(&green);
        if let Ok(after) = after {
            differing(one, &values, after.get(at)).for_each(|name| count(&mut samples.differ, name));
        }
        find_back(one, &values, row, &mut samples.not_returned);
        if samples.shown.len() < shown as usize {
            samples.shown.push(sample(one, row, values));
        }
    }
    Ok(samples)
}

fn mapped(binding: &Binding, row: &Tuple) -> Result<Tuple, String> {
    match binding.up(row) {
        Ok(Mapped::Row(row)) => Ok(row),
        // Every value is there.
        Ok(Mapped::Unknown) => Ok(row.clone()),
        Err(refusal) => Err(refusal.to_string()),
    }
}

fn tuple_of(row: &Row, columns: usize) -> Tuple {
    let mut out = TupleBuilder::default();
    for at in 0..columns {
        out.push(&row.text(at).map_or(Value::Null, |text| Value::Text(Cow::Borrowed(text.as_bytes()))));
    }
    out.finish()
}

fn values_of(row: &Tuple) -> Vec<Option<String>> {
    let text = |value: Value<'_>| match value {
        Value::Text(text) => Some(String::from_utf8_lossy(&text).into_owned()),
        Value::Null | Value::Unchanged => None,
    };
    row.values().map(text).collect()
}

/// The columns that blue computes differently.
fn differing<'d>(
    one: &'d Drawn<'_>,
    values: &'d [Option<String>],
    blue: Option<&'d Row>,
) -> impl Iterator<Item = &'d str> {
    one.spec.columns.iter().enumerate().filter_map(move |(at, column)| {
        let ours = values.get(at).and_then(Option::as_deref);
        let theirs = blue.and_then(|row| row.text(at));
        let padded = one.green.as_ref().is_some_and(|green| {
            let stored = green.columns.iter().find(|known| known.name == column.name);
            stored.is_some_and(|stored| *stored.ty.base() == SqlType::Bpchar)
        });
        let bare =
            |text: Option<&'d str>| if padded { text.map(|text| text.trim_end_matches(' ')) } else { text };
        (bare(ours) != bare(theirs)).then_some(column.name.as_str())
    })
}

/// The way there and back.
fn find_back(one: &Drawn<'_>, values: &[Option<String>], row: &Row, not_returned: &mut Vec<(String, u64)>) {
    let green = values.iter().map(|value| value.as_deref().map(Cow::Borrowed)).collect::<Vec<_>>();
    let given = match one.inverse.down(&green) {
        Ok(given) => given,
        Err(refusal) => return count(not_returned, &refusal.column.unwrap_or_default()),
    };
    for (column, value) in given {
        let at = one.blue.columns.iter().position(|name| name == column);
        if at.is_none_or(|at| row.text(at) != value.as_deref()) {
            count(not_returned, column);
        }
    }
}

fn count(counts: &mut Vec<(String, u64)>, what: &str) {
    match counts.iter_mut().find(|(known, _)| known == what) {
        Some((_, rows)) => *rows += 1,
        None => counts.push((what.to_owned(), 1)),
    }
}

fn sample(one: &Drawn<'_>, row: &Row, after: Vec<Option<String>>) -> Sample {
    let read = one.spec.source_columns();
    let columns = one.blue.columns.iter().enumerate().filter(|(_, name)| read.contains(name));
    let before = columns.map(|(at, name)| (name.clone(), row.text(at).map(str::to_owned)));
    let names = one.spec.columns.iter().map(|column| column.name.clone());
    Sample { before: before.collect(), after: names.zip(after).collect() }
}
