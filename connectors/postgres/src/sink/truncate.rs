//! How routes are emptied: by TRUNCATE of exactly their tables where all of a table is theirs, else row by row; row by row
//! also where green's foreign keys forbid the other.

use understudy_contract::{Class, Failure};
use understudy_model::RouteId;

use super::target::Target;

/// Planner settings that favour few rows, and are not for emptying.
const FEW: [&str; 2] = ["enable_hashjoin", "enable_seqscan"];

/// Statements that remove every row of these routes, in one transaction. `replica_role`: nothing else guards the
/// tables that refer to them.
pub(super) fn truncate_sql(
    targets: &[Target],
    routes: &[RouteId],
    replica_role: bool,
) -> Result<Vec<String>, Failure> {
    let emptied = routes.iter().filter_map(|route| targets.get(route.index())).collect::<Vec<_>>();
    for target in &emptied {
        tells_apart(target)?;
        let unmapped = |oid: &u32| !targets.iter().any(|other| other.traits.oid == *oid);
        if replica_role && target.traits.referenced_by.iter().any(unmapped) {
            let cause =
                format!("a table outside the migration has a foreign key to {} on green", target.green.name);
            let remedy =
                "drop that foreign key on green, or add the table to the migration; nothing has been emptied";
            return Err(Failure::new(Class::Data, cause).remedy(remedy).while_doing("truncate as blue did"));
        }
    }
    let (mut whole, mut rest): (Vec<&Target>, Vec<&Target>) =
        emptied.into_iter().partition(|target| target.traits.may_truncate && is_all_its_own(target));
    let among = |oid: &u32| whole.iter().any(|target| target.traits.oid == *oid);
    if !whole.iter().all(|target| target.traits.referenced_by.iter().all(among)) {
        rest.append(&mut whole);
    }
    let mut statements = Vec::new();
    if !whole.is_empty() {
        let tables = whole.iter().map(|target| target.table.as_str()).collect::<Vec<_>>().join(", ");
        statements.push(format!("TRUNCATE {tables}"));
    }
    statements.extend(children_first(rest).into_iter().flat_map(delete_sql));
    Ok(statements)
}

/// The statements that remove the rows of one leaf.
pub(super) fn truncate_leaf_sql(target: &Target, predicate: &str) -> Result<Vec<String>, Failure> {
    tells_apart(target)?;
    Ok(many_rows(target.truncate_leaf_sql(predicate)))
}

/// Whether every row of the table belongs to the route, and blue's table was emptied with it.
fn is_all_its_own(target: &Target) -> bool {
    !target.traits.shared && !target.green.filtered
}

fn delete_sql(target: &Target) -> Vec<String> {
    let own = target.own_rows();
    let sql = format!("DELETE FROM {}{own}", target.table);
    if own.is_empty() { vec![sql] } else { many_rows(sql) }
}

/// A statement that looks for many rows, with the settings for few out of its way.
fn many_rows(sql: String) -> Vec<String> {
    let set = |how: &str| FEW.map(|pin| format!("SET LOCAL {pin} = {how}"));
    set("on").into_iter().chain([sql]).chain(set("off")).collect()
}

/// Tables in an order in which none is emptied before those that refer to it, as far as there is one.
fn children_first(mut targets: Vec<&Target>) -> Vec<&Target> {
    let mut ordered = Vec::with_capacity(targets.len());
    while !targets.is_empty() {
        let refers = |one: &Target, other: &Target| {
            one.traits.oid != other.traits.oid && other.traits.referenced_by.contains(&one.traits.oid)
        };
        let free = targets.iter().position(|target| !targets.iter().any(|other| refers(other, target)));
        ordered.push(targets.remove(free.unwrap_or(0)));
    }
    ordered
}

/// Where several routes fill a table and no condition says so, nothing tells whose rows are whose.
fn tells_apart(target: &Target) -> Result<(), Failure> {
    if !target.traits.shared || target.green.predicate.is_some() {
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
