//! Column by column: that both ends exist, that green's type takes blue's texts, and that null is allowed where it comes.

use understudy_contract::Findings;

use super::describe::{ColumnDescription, Generated, Identity, TableDescription};
use super::keys::green_key;
use super::plan::{PlannedSource, PlannedTable};
use super::side::Side;
use super::types::{Fit, Types, fit, is_cluster_bound};
use crate::ident::{quote_ident, quote_table};

/// The two ends of one mapped column.
struct Pair<'a> {
    route: &'a PlannedTable,
    from: &'a ColumnDescription,
    to: &'a ColumnDescription,
}

/// Object ids of the types of the mapped columns, on blue and on green.
pub(super) fn mapped_types(routes: &[PlannedTable], blue: &Side, green: &Side) -> (Vec<u32>, Vec<u32>) {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for route in routes {
        for planned in &route.columns {
            let from = match &planned.source {
                PlannedSource::Column(name) => blue.table(&route.source).and_then(|table| table.column(name)),
                PlannedSource::Constant(_) | PlannedSource::Computed { .. } => None,
            };
            let to = green.table(&route.target).and_then(|table| table.column(&planned.target));
            ours.extend(from.map(|column| column.type_oid));
            theirs.extend(to.map(|column| column.type_oid));
        }
    }
    (ours, theirs)
}

/// Every mapped column. Returns the extensions whose types blue's columns have.
pub(super) fn check_columns(
    routes: &[PlannedTable],
    (blue, blue_types): (&Side, &Types),
    (green, green_types): (&Side, &Types),
    out: &mut Findings,
) -> Vec<String> {
    let mut extensions = Vec::new();
    for route in routes {
        let (Some(source), Some(target)) = (blue.table(&route.source), green.table(&route.target)) else {
            continue;
        };
        for planned in &route.columns {
            let to = target_column(target, &planned.target, green, out);
            if let Some(to) = to {
                check_settable(route, source, (target, to), green, out);
            }
            match &planned.source {
                PlannedSource::Column(name) => {
                    let from = source_column(source, name, blue, out);
                    let (Some(from), Some(to)) = (from, to) else {
                        continue;
                    };
                    let pair = Pair { route, from, to };
                    check_types(&pair, blue_types, green_types, (blue, green), out);
                    check_null(&pair, source, green, out);
                    let used = blue_types.find(from.type_oid, |kind| kind.extension.is_some());
                    extensions
                        .extend(used.and_then(|kind| kind.extension.as_ref()).map(|(name, _)| name.clone()));
                }
                PlannedSource::Constant(None) if to.is_some_and(|column| column.not_null) => out.error(
                    "null-into-not-null",
                    green.column_of(&target.name, &planned.target),
                    "is NOT NULL, and the migration file fills it with null",
                    "give it a value in the migration file",
                ),
                // That its type goes into green's is checked where it is compiled.
                PlannedSource::Constant(_) | PlannedSource::Computed { .. } => {}
            }
        }
    }
    extensions
}

fn source_column<'a>(
    table: &'a TableDescription,
    name: &str,
    blue: &Side,
    out: &mut Findings,
) -> Option<&'a ColumnDescription> {
    let subject = blue.column_of(&table.name, name);
    let Some(column) = table.column(name) else {
        out.error(
            "source-column-missing",
            subject,
            "does not exist",
            "correct `columns` in the migration file",
        );
        return None;
    };
    if column.generated != Generated::No {
        let what = "is a generated column: changes to it are not published";
        out.error("source-column-generated", subject, what, "leave it out, and let green generate its own");
        return None;
    }
    Some(column)
}

fn target_column<'a>(
    table: &'a TableDescription,
    name: &str,
    green: &Side,
    out: &mut Findings,
) -> Option<&'a ColumnDescription> {
    let subject = green.column_of(&table.name, name);
    let Some(column) = table.column(name) else {
        let remedy = "add it on green, or leave it out in the migration file";
        out.error("target-column-missing", subject, "does not exist", remedy);
        return None;
    };
    if column.generated != Generated::No {
        let what = "is a generated column: nothing can be written to it";
        out.error("target-column-generated", subject, what, "leave it out in the migration file");
        return None;
    }
    Some(column)
}

/// An existing row cannot take another value in a column that is GENERATED ALWAYS AS IDENTITY. In the key none has to: a
/// row that takes another key is put in anew.
fn check_settable(
    route: &PlannedTable,
    source: &TableDescription,
    (target, column): (&TableDescription, &ColumnDescription),
    green: &Side,
    out: &mut Findings,
) {
    // Without a key there is an error about that.
    let Some(key) = green_key(route, source, target) else { return };
    if column.identity != Identity::Always || key.columns().contains(&column.name) {
        return;
    }
    let what = "is GENERATED ALWAYS AS IDENTITY and not part of the key: rows that green holds could not take blue's \
                changes to it";
    let (table, name) = (quote_table(&target.name), quote_ident(&column.name));
    let alter = format!("ALTER TABLE {table} ALTER COLUMN {name} SET GENERATED");
    let remedy = format!("{alter} BY DEFAULT; after the flip {alter} ALWAYS");
    out.error("target-identity-always", green.column_of(&target.name, &column.name), what, remedy);
}

fn check_types(
    pair: &Pair<'_>,
    blue_types: &Types,
    green_types: &Types,
    (blue, green): (&Side, &Side),
    out: &mut Findings,
) {
    let Pair { route, from, to } = pair;
    let subject = green.column_of(&route.target, &to.name);
    let ends = format!(
        "has type {}, and {}.{} on blue has type {}",
        to.type_name, route.source, from.name, from.type_name
    );
    match fit(blue_types, (from.type_oid, from.type_modifier), green_types, (to.type_oid, to.type_modifier)) {
        Fit::Takes => {}
        Fit::LabelsMissing(labels) => {
            let what = format!("{ends}; it lacks the labels {}", labels.join(", "));
            let remedy = format!("ALTER TYPE {} ADD VALUE ... for each of them", to.type_name);
            out.error("enum-label-missing", subject, what, remedy);
            return;
        }
        Fit::Differs => {
            let what = format!("{ends}, whose values it does not all take unchanged");
            let remedy = format!("give green's column type {}, or one that is wider", from.type_name);
            out.error("type-mismatch", subject, what, remedy);
            return;
        }
    }
    let subject = blue.column_of(&route.source, &from.name);
    let bound = blue_types.find(from.type_oid, is_cluster_bound);
    if bound.is_some() && green_types.find(to.type_oid, is_cluster_bound).is_some() {
        let what = format!(
            "has type {}: such values name things of blue's own cluster and mean nothing on green",
            from.type_name
        );
        let remedy =
            "leave it out, or give green's column type text or bigint, which keeps them as plain data";
        out.error("cluster-bound-type", subject, what, remedy);
    } else if blue_types
        .find(from.type_oid, |kind| kind.name == "money" && kind.schema == "pg_catalog")
        .is_some()
    {
        let what =
            "has type money, whose text depends on lc_monetary; both sides are read and written with 'C'";
        out.warning(
            "locale-bound-type",
            subject,
            what,
            "make sure that both sides use as many decimal places",
        );
    }
}

fn check_null(pair: &Pair<'_>, source: &TableDescription, green: &Side, out: &mut Findings) {
    let Pair { route, from, to } = pair;
    // Key columns are free of nulls, whatever their declaration says.
    let in_key = source.key.as_ref().is_some_and(|key| key.contains(&from.name));
    if to.not_null && !from.not_null && !in_key {
        let subject = green.column_of(&route.target, &to.name);
        let what = format!("is NOT NULL, and {}.{} on blue may be null", route.source, from.name);
        out.warning(
            "nullable-into-not-null",
            subject,
            what,
            "make sure that blue holds no null there, or allow it on green",
        );
    }
}
