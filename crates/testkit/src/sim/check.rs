//! The routes of a simulated migration, and whether green holds exactly what they make of blue's rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use understudy_contract::GreenTable;
use understudy_model::{Key, RouteId, TableName};
use understudy_transform::{BlueTable, ColumnSource, Requested, RouteSpec};

use crate::blue::{Blue, Cell, TableKind};
use crate::green::{Green, GreenRow, GreenRows};

/// Stands where blue has another value by now.
const OUTDATED: Bytes = Bytes::from_static(b"out of date");

/// The route of a table: every column as it is, or turned about with a constant added.
pub(super) fn route(blue: &Blue, table: usize, route: u16) -> RouteSpec {
    let (spec, shape) = (&blue.tables()[table], blue.shape(table));
    let source = BlueTable {
        name: spec.name.clone(),
        columns: shape.columns.iter().map(|(name, _)| (*name).to_owned()).collect(),
        key: shape.key.iter().rev().map(|at| shape.columns[*at].0.to_owned()).collect(),
    };
    let turned = [
        Requested::Column("origin".to_owned(), ColumnSource::Constant(Some("blue".to_owned()))),
        Requested::Column("second".to_owned(), ColumnSource::Column("b".to_owned())),
        Requested::Rest,
    ];
    let requested = (spec.kind == TableKind::Composite).then_some(&turned[..]);
    let target = TableName::new("app", spec.name.name.clone());
    let compiled = RouteSpec::compile(RouteId(route), &source, target.clone(), requested);
    assert!(compiled.is_ok(), "the simulated tables have mappings that fit");
    compiled.unwrap_or_else(|_| RouteSpec {
        id: RouteId(route),
        source: source.name,
        target,
        columns: Vec::new(),
        key: Vec::new(),
        key_source: Vec::new(),
        left_out: None,
    })
}

/// The table that a route fills.
pub(super) fn green_table(route: &RouteSpec) -> GreenTable {
    let source = |column: &understudy_transform::RouteColumn| match &column.from {
        ColumnSource::Column(name) => Some(name.clone()),
        ColumnSource::Constant(_) => None,
    };
    GreenTable {
        route: route.id,
        source: route.source.clone(),
        name: route.target.clone(),
        columns: route.columns.iter().map(|column| column.name.clone()).collect(),
        source_columns: route.columns.iter().map(source).collect(),
        key: route.key.clone(),
        fingerprint: route.fingerprint(),
    }
}

/// Green equals blue, every route is complete, nothing waits to be healed and nothing was ever amiss. When it `adopts` rows
/// that were there before anything was copied, those whose blue row had gone before its leaf was followed may stay, and
/// are met by a later row of their key.
pub(super) fn equal(
    (blue, green): (&Blue, &Green),
    routes: &[RouteSpec],
    tables: &[usize],
    adopts: bool,
) -> Result<(), String> {
    for (route, table) in routes.iter().zip(tables) {
        if !green.is_complete(route.id) {
            return Err(format!("{} is not complete", route.source));
        }
        let expected = expected(blue, *table, route);
        let mut found = green.rows(route.id).clone();
        if adopts {
            found.retain(|key, row| expected.contains_key(key) || *row != outdated(route, row));
        }
        if found != expected {
            return Err(format!("{} differs: {}", route.source, difference(&found, &expected)));
        }
    }
    let (heals, mismatches) = (green.heals().len(), green.mismatches());
    if heals > 0 || (mismatches > 0 && !adopts) {
        return Err(format!("{heals} heals are pending, {mismatches} mismatches were met"));
    }
    Ok(())
}

pub(super) fn expected(blue: &Blue, table: usize, route: &RouteSpec) -> GreenRows {
    let shape = blue.shape(table);
    let value = |cells: &[Cell], source: &ColumnSource| match source {
        ColumnSource::Column(name) => {
            shape.columns.iter().position(|(column, _)| column == name).and_then(|at| cells[at].clone())
        }
        ColumnSource::Constant(text) => text.clone().map(Bytes::from),
    };
    let mut rows = BTreeMap::new();
    for cells in blue.rows(table).into_values() {
        let row: GreenRow = route.columns.iter().map(|column| value(&cells, &column.from)).collect();
        let key = Key::from_texts(route.key.iter().map(|at| row[*at].as_deref().unwrap_or_default()));
        rows.insert(key, Arc::clone(&row));
    }
    rows
}

/// The key of blue's row that green has under a key of its own.
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
