//! Expressions over values that an update may leave unsent, so that the row has to be read again.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;
use understudy_contract::{Failure, Findings};
use understudy_model::{ReplicaIdentity, TableName};

use super::plan::{PlannedSource, PlannedTable};
use super::side::{Side, oids, sources};
use crate::ident::quote_table;
use crate::wire::Client;

/// One finding for each table of blue.
pub(super) async fn check_rereads(
    client: &mut Client,
    routes: &[PlannedTable],
    blue: &Side,
    out: &mut Findings,
) -> Result<(), Failure> {
    let is_computed = |route: &PlannedTable| {
        route.filtered() || route.columns.iter().any(|column| is_computed(&column.source))
    };
    let computing = routes.iter().filter(|route| is_computed(route)).cloned().collect::<Vec<_>>();
    let mut roots = FxHashMap::default();
    let mut keys = FxHashMap::default();
    let mut tables = Vec::new();
    for (root, leaves) in sources(&computing, blue) {
        for table in leaves.into_iter().filter(|table| table.identity != ReplicaIdentity::Full) {
            roots.insert(table.oid, &root.name);
            keys.insert(table.oid, table.key.as_deref().unwrap_or_default());
            tables.push(table);
        }
    }
    if tables.is_empty() {
        return Ok(());
    }
    let mut aside = BTreeMap::<&TableName, BTreeSet<String>>::new();
    for row in client.query(&stored_aside_sql(&oids(tables))).await? {
        let (table, column) = (row.parse::<u32>(0)?, row.required(1)?);
        // A key that is stored aside comes with the old row.
        if keys.get(&table).is_some_and(|key| key.iter().any(|name| name == column)) {
            continue;
        }
        if let Some(root) = roots.get(&table) {
            aside.entry(root).or_default().insert(column.to_owned());
        }
    }
    for (source, aside) in aside {
        let read =
            computing.iter().filter(|route| route.source == *source).flat_map(|route| unsure(route, &aside));
        let read = read.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>();
        if read.is_empty() {
            continue;
        }
        let what = format!(
            "expressions read {}, which blue does not send again with an update that leaves {} alone: such a row is read \
             again by key",
            read.join(", "),
            if read.len() == 1 { "it" } else { "them" }
        );
        let remedy = format!(
            "where such updates are frequent: ALTER TABLE {} REPLICA IDENTITY FULL (of a partitioned table: each partition)",
            quote_table(source)
        );
        out.warning("heals-expected", blue.of(source), what, remedy);
    }
    Ok(())
}

fn is_computed(source: &PlannedSource) -> bool {
    matches!(source, PlannedSource::Computed { .. })
}

/// Columns stored aside without which a value or the condition cannot be told. What is computed from such a column alone
/// stays as it is where the column does.
fn unsure<'a>(route: &'a PlannedTable, aside: &'a BTreeSet<String>) -> impl Iterator<Item = &'a str> {
    let values = route.columns.iter().filter(|column| is_computed(&column.source));
    let values = values.map(|column| column.source.inputs()).filter(|inputs| inputs.len() > 1);
    let read = values.chain(route.filter.as_deref()).flatten();
    read.filter(|name| aside.contains(*name)).map(String::as_str)
}

/// Columns of which a value may be stored outside of its row. One whose type keeps it short is not, in practice: a row has to
/// outgrow a quarter of a block first, and its longest values go.
fn stored_aside_sql(tables: &str) -> String {
    format!(
        "SELECT a.attrelid, a.attname FROM pg_catalog.pg_attribute a \
         JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
         CROSS JOIN LATERAL (SELECT \
           CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END AS type, \
           CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END AS modifier) AS b \
         WHERE a.attrelid = ANY ('{tables}'::oid[]) AND a.attnum > 0 AND NOT a.attisdropped AND a.attstorage <> 'p' \
         AND b.type NOT IN ('inet'::regtype, 'cidr'::regtype) \
         AND NOT (b.modifier >= 0 AND (b.type = 'numeric'::regtype \
           OR b.type IN ('varchar'::regtype, 'bpchar'::regtype) AND b.modifier <= 504 \
           OR b.type IN ('bit'::regtype, 'varbit'::regtype) AND b.modifier <= 4000))"
    )
}
