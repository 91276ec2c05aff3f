//! Constraints: what blue refuses, green refuses, and what green declares has been checked. Column defaults count here
//! too: without one, the application's inserts fail or leave nulls.
//!
//! Unique and primary keys are compared as indexes; here only whether they may be checked late.

use understudy_contract::Failure;

use super::Look;
use super::constraint_rows::{Constraint, read};
use super::foreign_keys::{self, Ends};
use super::lacks::Lacks;
use super::pairs::{Pair, all_on_blue, all_on_green};
use crate::ident::{quote_ident, quote_table};
use crate::preflight::{Generated, Identity};

pub(super) async fn look(look: &mut Look<'_>, out: &mut Lacks) -> Result<(), Failure> {
    let pairs = look.pairs()?;
    let on_blue = read(look.blue, &all_on_blue(&pairs)).await?;
    let on_green = read(look.green, &all_on_green(&pairs)).await?;
    for one in on_green.iter().filter(|one| one.enforced && !one.validated && !one.inherited) {
        let (table, name) = (quote_table(&one.table), quote_ident(&one.name));
        let subject = format!("green constraint {} on {}", one.name, one.table);
        let remedy = format!("ALTER TABLE {table} VALIDATE CONSTRAINT {name}");
        out.add(subject, "is not validated: rows may violate it", remedy);
    }
    let green_of = |pair: &Pair<'_>| {
        let own = on_green.iter().filter(|one| one.table_oid == pair.green.oid && one.enforced);
        own.collect::<Vec<_>>()
    };
    for pair in &pairs {
        check_columns(pair, out);
        let (own, version) = (green_of(pair), look.green.server_version());
        let of_blue = on_blue.iter().filter(|one| one.table_oid == pair.blue.oid && one.enforced);
        for one in of_blue.filter(|one| !one.columns.is_empty()) {
            match one.kind {
                'c' | 'x' => check_condition(pair, one, &own, out),
                'u' | 'p' if one.deferrable => check_deferrable(pair, one, &own, out),
                'f' if !one.inherited => {
                    foreign_keys::check(&Ends { pair, pairs: &pairs, version }, one, &own, out);
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// What belongs to one column: not null, and a default.
fn check_columns(pair: &Pair<'_>, out: &mut Lacks) {
    let table = quote_table(&pair.green.name);
    for (blue, green) in pair.columns() {
        let column = quote_ident(&green.name);
        if blue.not_null && !green.not_null {
            let reason = format!("is not required of green's {}.{}", pair.green.name, green.name);
            let remedy = format!("ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL");
            out.add(format!("not null {}.{}", pair.blue.name, blue.name), reason, remedy);
        }
        let filled = blue.has_default && blue.generated == Generated::No || blue.identity != Identity::No;
        let likewise = green.has_default || green.identity != Identity::No;
        if filled && !likewise {
            let reason = format!("green's {}.{} has none", pair.green.name, green.name);
            let remedy =
                format!("ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT what blue's column has");
            out.add(format!("default {}.{}", pair.blue.name, blue.name), reason, remedy);
        }
    }
}

fn subject_of(one: &Constraint) -> String {
    format!("constraint {} on {}", one.name, one.table)
}

/// Texts are compared where columns have the same names and types; otherwise one over the same columns is enough.
fn check_condition(pair: &Pair<'_>, one: &Constraint, own: &[&Constraint], out: &mut Lacks) {
    let Some(mut mapped) = pair.all_passed(&one.columns) else { return };
    mapped.sort();
    let alike = pair.reads_alike(&one.columns);
    let over_same = |other: &&&Constraint| {
        let mut columns = other.columns.clone();
        columns.sort();
        other.kind == one.kind && columns == mapped
    };
    let mut likes = own.iter().filter(over_same);
    if likes.clone().any(|other| !alike || other.definition == one.definition) {
        return;
    }
    let reason = match likes.find(|other| other.name == one.name) {
        Some(_) => format!("reads differently on green's {}", pair.green.name),
        None => format!("has no like on green's {}", pair.green.name),
    };
    out.add(subject_of(one), reason, add(pair, one, alike));
}

fn add(pair: &Pair<'_>, one: &Constraint, alike: bool) -> String {
    let (table, name) = (quote_table(&pair.green.name), quote_ident(&one.name));
    match (alike, one.kind) {
        (true, 'c') => format!(
            "ALTER TABLE {table} ADD CONSTRAINT {name} {} NOT VALID; ALTER TABLE {table} VALIDATE CONSTRAINT {name}",
            one.definition
        ),
        (true, _) => format!("ALTER TABLE {table} ADD CONSTRAINT {name} {}", one.definition),
        (false, _) => {
            format!("add its like to {}, over the columns as they are named there", pair.green.name)
        }
    }
}

/// An application that relies on late checking fails where each statement is checked at once.
fn check_deferrable(pair: &Pair<'_>, one: &Constraint, own: &[&Constraint], out: &mut Lacks) {
    let Some(mapped) = pair.all_passed(&one.columns) else { return };
    let is_like = |other: &&Constraint| {
        matches!(other.kind, 'u' | 'p')
            && other.columns == mapped
            && other.deferrable
            && other.deferred == one.deferred
    };
    if !own.iter().any(is_like) {
        let (table, name) = (quote_table(&pair.green.name), quote_ident(&one.name));
        let columns = mapped.iter().map(|column| quote_ident(column)).collect::<Vec<_>>().join(", ");
        let late = if one.deferred { " INITIALLY DEFERRED" } else { "" };
        let what = if one.kind == 'p' { "PRIMARY KEY" } else { "UNIQUE" };
        let remedy = format!(
            "ALTER TABLE {table} ADD CONSTRAINT {name} {what} ({columns}) DEFERRABLE{late}, in its place"
        );
        out.add(subject_of(one), "may be checked late on blue, and not on green", remedy);
    }
}
