//! How routes are emptied: by TRUNCATE of exactly their tables, or row by row where green's foreign keys forbid it.

use understudy_contract::{Class, Failure};
use understudy_model::RouteId;

use super::target::Target;

/// Statements that remove every row of these routes, in one transaction. `replica_role`: nothing else guards the
/// tables that refer to them.
pub(super) fn truncate_sql(
    targets: &[Target],
    routes: &[RouteId],
    replica_role: bool,
) -> Result<Vec<String>, Failure> {
    let emptied = routes.iter().filter_map(|route| targets.get(route.index())).collect::<Vec<_>>();
    let oids = emptied.iter().map(|target| target.traits.oid).collect::<Vec<_>>();
    for target in &emptied {
        alone(target)?;
        let unmapped = |oid: &u32| !targets.iter().any(|other| other.traits.oid == *oid);
        if replica_role && target.traits.referenced_by.iter().any(unmapped) {
            let cause =
                format!("a table outside the migration has a foreign key to {} on green", target.green.name);
            let remedy =
                "drop that foreign key on green, or add the table to the migration; nothing has been emptied";
            return Err(Failure::new(Class::Data, cause).remedy(remedy).while_doing("truncate as blue did"));
        }
    }
    let whole = emptied.iter().all(|target| {
        target.traits.may_truncate && target.traits.referenced_by.iter().all(|oid| oids.contains(oid))
    });
    if whole && !emptied.is_empty() {
        let tables = emptied.iter().map(|target| target.table.as_str()).collect::<Vec<_>>().join(", ");
        return Ok(vec![format!("TRUNCATE {tables}")]);
    }
    Ok(emptied.iter().map(|target| format!("DELETE FROM {}", target.table)).collect())
}

/// The statement that removes the rows of one leaf.
pub(super) fn truncate_leaf_sql(target: &Target, predicate: &str) -> Result<String, Failure> {
    alone(target)?;
    Ok(target.truncate_leaf_sql(predicate))
}

/// Where several routes fill a table, nothing tells whose rows are whose.
fn alone(target: &Target) -> Result<(), Failure> {
    if !target.traits.shared {
        return Ok(());
    }
    let cause = format!(
        "blue emptied {}, but other tables fill {} on green too",
        target.green.source, target.green.name
    );
    let remedy =
        "delete the rows that came from it on green by hand, then copy the table again with --recopy";
    Err(Failure::new(Class::Data, cause).remedy(remedy))
}
