//! Partitioned tables: whether the rows of one partition can be named on green.

use rustc_hash::FxHashMap;
use understudy_contract::{Failure, Findings};

use super::describe::TableKind;
use super::plan::PlannedTable;
use super::side::{Side, oids, sources};
use crate::wire::Client;

/// The rows of a partition that is emptied or detached are deleted by its condition, in green's columns: it can only be put
/// so where each column of the partition key arrives as it is.
pub(super) async fn check_partitions(
    client: &mut Client,
    routes: &[PlannedTable],
    blue: &Side,
    out: &mut Findings,
) -> Result<(), Failure> {
    let roots = sources(routes, blue).into_iter().map(|(root, _)| root);
    let roots = roots.filter(|root| root.kind == TableKind::Partitioned).collect::<Vec<_>>();
    if roots.is_empty() {
        return Ok(());
    }
    let mut columns = FxHashMap::<u32, Vec<String>>::default();
    for row in client.query(&partition_keys_sql(&oids(roots.iter().copied()))).await? {
        columns.entry(row.parse(0)?).or_default().push(row.required(1)?.to_owned());
    }
    for route in routes {
        let Some(root) = roots.iter().find(|root| root.name == route.source) else { continue };
        let of_root = columns.get(&root.oid).into_iter().flatten();
        let missing = of_root.filter(|name| route.target_of(name).is_none()).map(String::as_str);
        let missing = missing.collect::<Vec<_>>().join(", ");
        if missing.is_empty() {
            continue;
        }
        let what = format!(
            "is partitioned by {missing}, which {} does not take unchanged: when a partition is emptied or detached, \
             nothing tells which rows there were its own",
            route.target
        );
        let remedy = format!("pass {missing} on in `columns` of this table");
        out.error("leaf-unnamed", blue.of(&root.name), what, remedy);
    }
    Ok(())
}

/// The columns of the partition keys of these tables and of every partitioned table below, those within expressions
/// included: Postgres makes each of them depend on its table.
fn partition_keys_sql(roots: &str) -> String {
    format!(
        "SELECT DISTINCT o.oid, a.attname::text COLLATE \"C\" FROM unnest('{roots}'::oid[]) AS o(oid) \
         CROSS JOIN LATERAL pg_catalog.pg_partition_tree(o.oid) AS t \
         JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = t.relid \
         JOIN pg_catalog.pg_attribute a ON a.attrelid = t.relid AND a.attnum > 0 AND NOT a.attisdropped \
         WHERE a.attnum = ANY (p.partattrs) OR EXISTS (SELECT FROM pg_catalog.pg_depend d \
           WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = t.relid AND d.objsubid = a.attnum \
           AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = t.relid AND d.refobjsubid = 0 \
           AND d.deptype = 'i') \
         ORDER BY 1, 2"
    )
}
