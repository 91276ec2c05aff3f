//! Foreign keys: those between migrated tables have their like on green; those that leave the migration are told.

use super::constraint_rows::{Constraint, Reference};
use super::lacks::Lacks;
use super::pairs::Pair;
use crate::ident::{quote_ident, quote_table};
use crate::preflight::TableKind;

/// Where a foreign key of blue may lead.
pub(super) struct Ends<'a> {
    /// The route of the table that it belongs to.
    pub(super) pair: &'a Pair<'a>,
    /// Every route.
    pub(super) pairs: &'a [Pair<'a>],
    /// Green's version.
    pub(super) version: u32,
}

pub(super) fn check(ends: &Ends<'_>, one: &Constraint, own: &[&Constraint], out: &mut Lacks) {
    let (Some(from), Some(refers)) = (ends.pair.all_passed(&one.columns), &one.refers) else { return };
    let subject = format!("foreign key {} on {}", one.name, one.table);
    let to = ends.pairs.iter().filter(|pair| pair.on_blue.iter().any(|table| table.name == refers.table));
    let to = to.collect::<Vec<_>>();
    if to.is_empty() {
        let reason =
            format!("refers to {}, which is outside the migration and not kept in step", refers.table);
        out.add(subject, reason, "migrate both tables, or acknowledge that green cannot hold to it");
        return;
    }
    // A key whose target columns are computed on green leads nowhere that could be named.
    let to = to.iter().filter_map(|pair| Some((pair, pair.all_passed(&refers.columns)?)));
    let to = to.map(|(pair, columns)| (pair.green, columns)).collect::<Vec<_>>();
    let found = own.iter().any(|other| {
        let leads = |there: &Reference| {
            there.manner == refers.manner
                && to.iter().any(|(table, columns)| {
                    let same = |from_there: &[String], to_there: &[String]| {
                        pairs_of(from_there, to_there) == pairs_of(&from, columns)
                    };
                    there.table == table.name && same(&other.columns, &there.columns)
                })
        };
        let late = (other.deferrable, other.deferred) == (one.deferrable, one.deferred);
        late && other.refers.as_ref().is_some_and(leads)
    });
    if let Some((table, columns)) = to.first().filter(|_| !found) {
        let reason = format!("has no like on green's {}", ends.pair.green.name);
        let target = format!("{} ({})", quote_table(&table.name), list(columns));
        out.add(subject, reason, add(ends, one, &from, &target));
    }
}

/// Which column leads to which: their order does not matter.
fn pairs_of<'a>(from: &'a [String], to: &'a [String]) -> Vec<(&'a String, &'a String)> {
    let mut pairs = from.iter().zip(to).collect::<Vec<_>>();
    pairs.sort();
    pairs
}

fn list(columns: &[String]) -> String {
    columns.iter().map(|column| quote_ident(column)).collect::<Vec<_>>().join(", ")
}

fn add(ends: &Ends<'_>, one: &Constraint, from: &[String], target: &str) -> String {
    let green = ends.pair.green;
    let (table, name) = (quote_table(&green.name), quote_ident(&one.name));
    // What follows the target in blue's definition holds on green too; lists of columns there are not translated.
    let manner = one.refers.as_ref().map(|refers| manner(&refers.manner)).unwrap_or_default();
    let late = match (one.deferrable, one.deferred) {
        (true, true) => " DEFERRABLE INITIALLY DEFERRED",
        (true, false) => " DEFERRABLE",
        (false, _) => "",
    };
    let add = format!(
        "ALTER TABLE {table} ADD CONSTRAINT {name} FOREIGN KEY ({}) REFERENCES {target}{manner}{late}",
        list(from)
    );
    if green.kind == TableKind::Partitioned && ends.version < 180_000 {
        return add;
    }
    format!("{add} NOT VALID; ALTER TABLE {table} VALIDATE CONSTRAINT {name}")
}

fn manner(letters: &str) -> String {
    let mut letters = letters.chars();
    let mut action = |event: &str| match letters.next() {
        Some('r') => format!(" ON {event} RESTRICT"),
        Some('c') => format!(" ON {event} CASCADE"),
        Some('n') => format!(" ON {event} SET NULL"),
        Some('d') => format!(" ON {event} SET DEFAULT"),
        _ => String::new(),
    };
    let (on_delete, on_update) = (action("DELETE"), action("UPDATE"));
    let full = if letters.next() == Some('f') { " MATCH FULL" } else { "" };
    format!("{full}{on_delete}{on_update}")
}
