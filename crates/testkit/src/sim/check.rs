//! The routes of a simulated migration, and whether green holds exactly what they make of blue's rows.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use understudy_contract::GreenTable;
use understudy_model::Key;
use understudy_transform::{ColumnSource, RouteSpec};

use super::mapping::{Mapping, Outcome, Row};
use crate::blue::{Blue, Cell, RowMap, Shape};
use crate::green::{Green, GreenRow, GreenRows};

/// Stands where blue has another value by now.
const OUTDATED: Bytes = Bytes::from_static(b"out of date");

/// The table that a route fills.
pub(super) fn green_table(route: &RouteSpec) -> GreenTable {
    let source = |column: &understudy_transform::RouteColumn| match &column.from {
        ColumnSource::Column(name) => Some(name.clone()),
        ColumnSource::Constant(_) | ColumnSource::Computed(_) => None,
    };
    GreenTable {
        route: route.id,
        source: route.source.clone(),
        name: route.target.clone(),
        columns: route.columns.iter().map(|column| column.name.clone()).collect(),
        source_columns: route.columns.iter().map(source).collect(),
        key: route.key.clone(),
        filtered: route.filter.is_some(),
        predicate: None,
        fingerprint: route.fingerprint(),
    }
}

/// Green equals blue, every route is complete, nothing waits to be healed and nothing was ever amiss. When it `adopts` rows
/// that were there before anything was copied, those whose blue row had gone before its leaf was followed may stay, and
/// are met by a later row of their key. A row that cannot be computed is set aside, and nobody vouches for one that is.
pub(super) fn equal(
    (blue, green): (&Blue, &Green),
    (routes, tables, mappings): (&[RouteSpec], &[usize], &[Mapping]),
    adopts: bool,
) -> Result<(), String> {
    let aside = green.set_aside().into_iter().collect::<BTreeSet<_>>();
    for ((route, table), mapping) in routes.iter().zip(tables).zip(mappings) {
        if !green.is_complete(route.id) {
            return Err(format!("{} is not complete", route.source));
        }
        let is_aside = |key: &Key| aside.contains(&(route.id, key.clone()));
        let Outcomes { rows: mut expected, refused } =
            outcomes(blue, *table, (route, *mapping), blue.rows(*table));
        let mut found = green.rows(route.id).clone();
        if adopts {
            found.retain(|key, row| expected.contains_key(key) || *row != outdated(route, row));
        }
        if let Some(key) = refused.iter().find(|key| !is_aside(key)) {
            return Err(format!("{}: {} is not set aside", route.target, super::trace::key(key)));
        }
        if !mapping.may_fail() && aside.iter().any(|(of, _)| *of == route.id) {
            return Err(format!("rows of {} are set aside for nothing", route.target));
        }
        found.retain(|key, _| !is_aside(key));
        expected.retain(|key, _| !is_aside(key));
        if found != expected {
            return Err(format!("{} differs: {}", route.target, difference(&found, &expected)));
        }
    }
    let (heals, mismatches) = (green.heals().len(), green.mismatches());
    if heals > 0 || (mismatches > 0 && !adopts) {
        return Err(format!("{heals} heals are pending, {mismatches} mismatches were met"));
    }
    apart(green, routes)
}

/// Routes that fill the same table have no row in common.
fn apart(green: &Green, routes: &[RouteSpec]) -> Result<(), String> {
    let mut taken = BTreeMap::new();
    for route in routes {
        for key in green.rows(route.id).keys() {
            if let Some(other) = taken.insert((&route.target, key.clone()), route.id) {
                return Err(format!("{:?} and {other:?} both have {}", route.id, super::trace::key(key)));
            }
        }
    }
    Ok(())
}

/// What a route's rows of blue come to.
pub(super) struct Outcomes {
    pub(super) rows: GreenRows,
    pub(super) refused: Vec<Key>,
}

/// What these rows of blue come to, worked out without any of what is compiled.
pub(super) fn outcomes(
    blue: &Blue,
    table: usize,
    (route, mapping): (&RouteSpec, Mapping),
    rows: RowMap,
) -> Outcomes {
    let shape = blue.shape(table);
    let mut outcomes = Outcomes { rows: BTreeMap::new(), refused: Vec::new() };
    for cells in rows.into_values() {
        match outcome(&shape, (route, mapping), &cells) {
            Outcome::Row(row) => {
                let key = Key::from_texts(route.key.iter().map(|at| row[*at].as_deref().unwrap_or_default()));
                outcomes.rows.insert(key, row.into());
            }
            Outcome::LeftOut => {}
            Outcome::Refused => outcomes.refused.push(mapping.key_of(&Row { shape: &shape, cells: &cells })),
        }
    }
    outcomes
}

/// What one row of blue comes to.
pub(super) fn outcome(shape: &Shape, (route, mapping): (&RouteSpec, Mapping), cells: &[Cell]) -> Outcome {
    if mapping.is_plain() && !route.computes() {
        Outcome::Row(route.columns.iter().map(|column| passed(shape, cells, &column.from)).collect())
    } else {
        mapping.outcome(shape, cells)
    }
}

fn passed(shape: &Shape, cells: &[Cell], source: &ColumnSource) -> Cell {
    match source {
        ColumnSource::Column(name) => {
            shape.columns.iter().position(|(column, _)| column == name).and_then(|at| cells[at].clone())
        }
        ColumnSource::Constant(text) => text.clone().map(Bytes::from),
        ColumnSource::Computed(_) => None,
    }
}

/// A key as routes read it, in the order in which blue's table has its columns.
pub(super) fn blue_key(blue: &Blue, table: usize, route: &RouteSpec, key: &Key) -> Key {
    let shape = blue.shape(table);
    let texts = key.texts().collect::<Vec<_>>();
    let text = |at: &usize| {
        let (name, _) = shape.columns[*at];
        route.key_source.iter().position(|source| source == name).map_or(&b""[..], |at| texts[at])
    };
    Key::from_texts(shape.key.iter().map(text))
}

/// A row of green as it was before some of blue's values reached it: all but what tells whose row it is may be out of
/// date.
pub(super) fn outdated(route: &RouteSpec, row: &GreenRow) -> GreenRow {
    let stays = |at: usize| {
        let bound = ColumnSource::Column(crate::blue::BOUND.to_owned());
        route.key.contains(&at) || route.columns[at].from == bound
    };
    let one = |(at, cell): (usize, &Cell)| {
        if stays(at) { cell.clone() } else { Some(OUTDATED) }
    };
    row.iter().enumerate().map(one).collect()
}

/// Whether some value of a row is out of date.
pub(super) fn is_outdated(row: &GreenRow) -> bool {
    row.contains(&Some(OUTDATED))
}

fn difference(found: &GreenRows, expected: &GreenRows) -> String {
    let mut lines = Vec::new();
    for (key, row) in expected {
        match found.get(key) {
            None => lines.push(format!("{} is missing", super::trace::key(key))),
            Some(other) if other != row => {
                lines.push(format!(
                    "{} is {} and should be {}",
                    super::trace::key(key),
                    text(other),
                    text(row)
                ));
            }
            Some(_) => {}
        }
    }
    let extra = found.keys().filter(|key| !expected.contains_key(*key));
    lines.extend(extra.map(|key| format!("{} should not be there", super::trace::key(key))));
    lines.join("; ")
}

fn text(row: &GreenRow) -> String {
    let one = |cell: &Option<Bytes>| {
        cell.as_ref()
            .map_or("-".to_owned(), |text| String::from_utf8_lossy(text).trim_end_matches('x').to_owned())
    };
    format!("({})", row.iter().map(one).collect::<Vec<_>>().join(" "))
}
