//! What exists on blue and is not carried over.

use understudy_contract::{Failure, Findings, Severity};
use understudy_model::TableName;

use super::describe::{Persistence, TableDescription, TableKind};
use super::plan::PreflightPlan;
use super::side::{Side, oids, sources};
use super::words::some_of;
use crate::ident::quote_literal;
use crate::wire::{Client, Row};

/// Things of one kind that stay on blue.
pub(crate) struct Left {
    /// A stable name for the kind.
    pub(crate) code: &'static str,
    /// The kind, as the subject of a finding about all of them.
    pub(crate) subject: &'static str,
    /// Each of them.
    pub(crate) names: Vec<String>,
    /// What to do about them.
    pub(crate) remedy: &'static str,
}

/// A foreign key with one end inside the migration and the other outside.
pub(crate) struct Crossing {
    /// Its name.
    pub(crate) name: String,
    /// The table that it belongs to.
    pub(crate) from: TableName,
    /// The table that it refers to.
    pub(crate) to: TableName,
    /// Whether it belongs to a table that moves.
    pub(crate) inside: bool,
}

/// Everything of that kind.
pub(super) async fn check_unmoved(
    client: &mut Client,
    plan: &PreflightPlan,
    blue: &Side,
    out: &mut Findings,
) -> Result<(), Failure> {
    let moved = sources(&plan.tables, blue)
        .into_iter()
        .flat_map(|(root, leaves)| std::iter::once(root).chain(leaves));
    let moved = moved.collect::<Vec<_>>();
    add(left_tables(blue, &moved), out);
    for key in crossing_keys(client, &moved).await? {
        let (from, to) = (key.from, key.to);
        let what = if key.inside {
            format!("refers to {to}, which is outside the migration")
        } else {
            format!("refers from outside the migration to {to}, which is inside")
        };
        let subject = format!("blue foreign key {} of {from}", key.name);
        let remedy = "after the flip nothing checks it: migrate both tables, or neither";
        out.add(Severity::NotMoved, "foreign-key-crosses-edge", subject, what, remedy);
    }
    add(left_objects(client, (&plan.slot, &plan.publication), &moved).await?, out);
    Ok(())
}

fn add(kinds: Vec<Left>, out: &mut Findings) {
    for kind in kinds {
        let severity = if kind.code == "sequences" { Severity::Info } else { Severity::NotMoved };
        out.add(severity, kind.code, kind.subject, some_of(kind.names), kind.remedy);
    }
}

/// Tables and views outside, by kind.
pub(crate) fn left_tables(blue: &Side, moved: &[&TableDescription]) -> Vec<Left> {
    let outside = blue.tables.iter().filter(|table| {
        let whole = !table.is_partition || table.parent.is_none();
        whole && !table.in_extension && moved.iter().all(|other| other.oid != table.oid)
    });
    // A single partition may be migrated by itself; then the tree it belongs to still stays behind.
    let of = |holds: &dyn Fn(&TableDescription) -> bool| {
        let named = outside.clone().filter(|table| holds(table)).map(|table| table.name.to_string());
        named.collect::<Vec<_>>()
    };
    let is_table =
        |table: &TableDescription| matches!(table.kind, TableKind::Ordinary | TableKind::Partitioned);
    let unlogged = |table: &TableDescription| is_table(table) && table.persistence != Persistence::Permanent;
    let kinds = [
        (
            "tables-outside",
            "blue tables",
            of(&|table| is_table(table) && !unlogged(table)),
            "add them to the migration file if green needs them",
        ),
        ("unlogged-tables", "blue unlogged tables", of(&unlogged), "fill them on green by other means"),
        (
            "foreign-tables",
            "blue foreign tables",
            of(&|table| table.kind == TableKind::Foreign),
            "create them on green",
        ),
        ("views", "blue views", of(&|table| table.kind == TableKind::View), "create them on green"),
        (
            "materialized-views",
            "blue materialised views",
            of(&|table| table.kind == TableKind::MaterializedView),
            "create them on green, and refresh them before the flip",
        ),
    ];
    let left = kinds.map(|(code, subject, names, remedy)| Left { code, subject, names, remedy });
    left.into_iter().filter(|left| !left.names.is_empty()).collect()
}

/// What else stays there, by kind; the slot and the publication are ours.
pub(crate) async fn left_objects(
    client: &mut Client,
    (slot, publication): (&str, &str),
    moved: &[&TableDescription],
) -> Result<Vec<Left>, Failure> {
    let mut left = Vec::new();
    for (code, subject, sql, remedy) in listings(slot, publication, &oids(moved.iter().copied())) {
        let rows = client.query(&sql).await?;
        let names = rows.iter().filter_map(|row| row.text(0).map(str::to_owned)).collect::<Vec<_>>();
        if !names.is_empty() {
            left.push(Left { code, subject, names, remedy });
        }
    }
    Ok(left)
}

/// Foreign keys with one end inside the migration and the other outside.
pub(crate) async fn crossing_keys(
    client: &mut Client,
    moved: &[&TableDescription],
) -> Result<Vec<Crossing>, Failure> {
    let inside = oids(moved.iter().copied());
    let sql = format!(
        "SELECT k.conname, f.nspname, a.relname, t.nspname, b.relname, k.conrelid = ANY ('{inside}'::oid[]) \
         FROM pg_catalog.pg_constraint k \
         JOIN pg_catalog.pg_class a ON a.oid = k.conrelid JOIN pg_catalog.pg_namespace f ON f.oid = a.relnamespace \
         JOIN pg_catalog.pg_class b ON b.oid = k.confrelid JOIN pg_catalog.pg_namespace t ON t.oid = b.relnamespace \
         WHERE k.contype = 'f' AND k.conparentid = 0 \
         AND (k.conrelid = ANY ('{inside}'::oid[])) <> (k.confrelid = ANY ('{inside}'::oid[])) ORDER BY 2, 3, 1"
    );
    let rows = client.query(&sql).await?;
    let key = |row: &Row| {
        Ok(Crossing {
            name: row.required(0)?.to_owned(),
            from: TableName::new(row.required(1)?, row.required(2)?),
            to: TableName::new(row.required(3)?, row.required(4)?),
            inside: row.is_true(5),
        })
    };
    rows.iter().map(key).collect()
}

/// Kinds of which one query gives the names: code, subject, query, remedy.
fn listings(
    slot: &str,
    publication: &str,
    moved: &str,
) -> Vec<(&'static str, &'static str, String, &'static str)> {
    vec![
        (
            "sequences",
            "blue sequences",
            format!(
                "SELECT DISTINCT n.nspname || '.' || c.relname FROM pg_catalog.pg_class c \
                 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                 JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid \
                   AND d.refobjid = ANY ('{moved}'::oid[]) WHERE c.relkind = 'S' ORDER BY 1"
            ),
            "their values are not in the stream; they are set on green at the flip",
        ),
        (
            "large-objects",
            "blue large objects",
            "SELECT count(*) || ' of them' FROM pg_catalog.pg_largeobject_metadata HAVING count(*) > 0"
                .to_owned(),
            "carry them over by other means; columns that refer to them cannot move",
        ),
        (
            "other-slots",
            "blue replication slots",
            format!(
                "SELECT slot_name FROM pg_catalog.pg_replication_slots WHERE slot_name <> {} \
                 AND (database IS NULL OR database = current_database()) ORDER BY 1",
                quote_literal(slot)
            ),
            "their readers follow blue, not green: set them up anew at the flip",
        ),
        (
            "other-publications",
            "blue publications",
            format!(
                "SELECT pubname FROM pg_catalog.pg_publication WHERE pubname <> {} ORDER BY 1",
                quote_literal(publication)
            ),
            "create them on green if somebody subscribes to them",
        ),
        (
            "subscriptions",
            "blue subscriptions",
            "SELECT subname FROM pg_catalog.pg_subscription WHERE subdbid = \
               (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()) ORDER BY 1"
                .to_owned(),
            "their changes reach green through blue as long as blue takes writes, and not after the flip",
        ),
        (
            "event-triggers",
            "blue event triggers",
            "SELECT evtname FROM pg_catalog.pg_event_trigger WHERE evtenabled <> 'D' ORDER BY 1".to_owned(),
            "create them on green if it needs them",
        ),
    ]
}
