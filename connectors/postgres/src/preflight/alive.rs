//! What on green would act by itself on the rows that are applied: triggers, and foreign keys with and without actions.

use std::collections::BTreeMap;

use understudy_contract::{Failure, Findings};
use understudy_model::TableName;

use super::foreign_key::ForeignKey;
use super::known::Known;
use super::plan::{PlannedTable, PreflightPlan, ReplicaRole};
use super::side::{Side, oids, targets};
use crate::ident::{quote_ident, quote_table};
use crate::wire::Client;

/// What decides whether something of green acts on our writes.
pub(super) struct Role<'a> {
    /// Whether we apply under `session_replication_role = replica`.
    replica: bool,
    /// What would make it so; empty when it is.
    grant: String,
    green: &'a Side,
}

impl<'a> Role<'a> {
    /// Tried rather than derived from rights: some services permit it by means of their own. Nothing outlives the rollback.
    async fn of(client: &mut Client, plan: &PreflightPlan, green: &'a Side) -> Result<Role<'a>, Failure> {
        client.batch("BEGIN").await?;
        let permitted = client.batch("SET LOCAL session_replication_role = replica").await.is_ok();
        client.batch("ROLLBACK").await?;
        let mut ways = Vec::new();
        if plan.replica_role == ReplicaRole::Never {
            ways.push("set `apply: { replica_role: auto }`".to_owned());
        }
        if !permitted && green.version >= 150_000 {
            let user = quote_ident(&green.user);
            ways.push(format!("GRANT SET ON PARAMETER session_replication_role TO {user}"));
        } else if !permitted {
            ways.push("let a superuser apply on green".to_owned());
        }
        Ok(Role { replica: ways.is_empty(), grant: ways.join(" and "), green })
    }

    /// Whether a trigger in a state of `pg_trigger.tgenabled` fires.
    fn fires(&self, enabled: char) -> bool {
        enabled == 'A' || enabled == if self.replica { 'R' } else { 'O' }
    }

    /// What helps: the role where it would, or else a statement.
    fn remedy(&self, always: bool, statement: &str) -> String {
        if always || self.grant.is_empty() {
            return statement.to_owned();
        }
        format!("{}; or {statement}", self.grant)
    }
}

/// Triggers and foreign keys. Where `joining` is given, only those that concern the tables of these routes.
pub(super) async fn check_alive(
    client: &mut Client,
    plan: &PreflightPlan,
    green: &Side,
    (known, joining): (&Known, Option<&[PlannedTable]>),
    out: &mut Findings,
) -> Result<(), Failure> {
    let role = Role::of(client, plan, green).await?;
    check_triggers(client, joining.unwrap_or(&plan.tables), &role, out).await?;
    let all = targets(&plan.tables, green);
    let name_of = |oid: u32| all.iter().find(|table| table.oid == oid).map(|table| &table.name);
    let joins = |target: &TableName| {
        joining.is_none_or(|joining| joining.iter().any(|route| route.target == *target))
    };
    let incomplete = |target: &TableName| {
        let mut routes = plan.tables.iter().filter(|route| route.target == *target);
        routes.any(|route| !known.is_complete(&route.source, &route.target))
    };
    let unsure = |child: &TableName, parent: &TableName| unsure(&plan.tables, child, parent);
    for key in ForeignKey::read(client, &oids(all.iter().copied())).await? {
        let ends = [key.child, key.parent].map(|end| end.and_then(name_of));
        let is_of_interest = ends.iter().flatten().any(|target| joins(target));
        if is_of_interest && key.states.chars().any(|state| role.fires(state)) {
            check_foreign_key(&key, ends, (&incomplete, &unsure), &role, out);
        }
    }
    if !role.replica {
        out.info(
            "replica-role-unavailable",
            format!("green role {}", green.user),
            "triggers and foreign keys of green stay active while rows are applied",
        );
    }
    Ok(())
}

async fn check_triggers(
    client: &mut Client,
    routes: &[PlannedTable],
    role: &Role<'_>,
    out: &mut Findings,
) -> Result<(), Failure> {
    let tables = targets(routes, role.green);
    let rows = client
        .query(&format!(
            "WITH {} SELECT m.root, n.nspname, c.relname, t.tgname, t.tgenabled FROM ours m \
             JOIN pg_catalog.pg_trigger t ON t.tgrelid = m.member AND NOT t.tgisinternal \
               AND (t.tgparentid = 0 OR m.member = m.root) \
             JOIN pg_catalog.pg_class c ON c.oid = m.member JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             ORDER BY 1, 2, 3, 4",
            super::foreign_key::ours(&oids(tables.iter().copied()))
        ))
        .await?;
    let mut firing: BTreeMap<(u32, TableName), Vec<(String, char)>> = BTreeMap::new();
    for row in &rows {
        let state = row.text(4).and_then(|text| text.chars().next()).unwrap_or('D');
        if role.fires(state) {
            let table = TableName::new(row.required(1)?, row.required(2)?);
            let triggers = firing.entry((row.parse(0)?, table)).or_default();
            triggers.push((row.required(3)?.to_owned(), state));
        }
    }
    for ((_, table), triggers) in firing {
        let names = triggers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
        let what = format!("triggers fire on rows that blue's triggers have already dealt with: {names}");
        let always = triggers.iter().all(|(_, state)| *state != 'O');
        let remedy = role.remedy(always, &without_triggers(&table, &triggers));
        out.warning("trigger-on-green", role.green.of(&table), what, remedy);
    }
    Ok(())
}

/// Statements that switch triggers off until the flip and then back on as they were.
fn without_triggers(table: &TableName, triggers: &[(String, char)]) -> String {
    let table = quote_table(table);
    let each = |verb: &dyn Fn(char) -> &'static str| {
        let one = |(name, state): &(String, char)| format!("{} TRIGGER {}", verb(*state), quote_ident(name));
        triggers.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    let back = each(&|state| match state {
        'A' => "ENABLE ALWAYS",
        'R' => "ENABLE REPLICA",
        _ => "ENABLE",
    });
    format!(
        "ALTER TABLE {table} {} until the flip, and then ALTER TABLE {table} {back}",
        each(&|_| "DISABLE")
    )
}

/// Tells of a foreign key's two tables why it may refuse rows.
type Unsure<'a> = &'a dyn Fn(&TableName, &TableName) -> Option<String>;

/// Why rows may be refused although blue's own are sound: a row that others lead to is left out, or comes from the same row of
/// blue as they do.
fn unsure<'a>(routes: &'a [PlannedTable], child: &'a TableName, parent: &'a TableName) -> Option<String> {
    let into = |target: &'a TableName| routes.iter().filter(move |route| route.target == *target);
    if into(parent).any(PlannedTable::filtered) {
        return Some(format!(
            "is checked, and a condition under `where` leaves rows of {parent} out: those that lead to them are refused"
        ));
    }
    let shared = into(child)
        .find(|route| child != parent && into(parent).any(|other| other.source == route.source))?;
    Some(format!(
        "is checked, and both ends are filled from {}: a row may arrive before the one that it leads to",
        shared.source
    ))
}

/// `ends` are the tables of the migration that it leads from and to; none for one of another kind.
fn check_foreign_key(
    key: &ForeignKey,
    ends: [Option<&TableName>; 2],
    (incomplete, unsure): (&dyn Fn(&TableName) -> bool, Unsure<'_>),
    role: &Role<'_>,
    out: &mut Findings,
) {
    let subject = format!("green foreign key {} of {}", key.name, key.table);
    let always = key.states.chars().all(|state| state != 'O');
    let (drop, add) = (key.drop_statement(), key.add_statement(role.green.version));
    let [child, parent] = ends;
    if let (Some(parent), Some(actions)) = (parent, key.actions()) {
        let what = format!(
            "{actions} acts on green by itself whenever a change of {parent} arrives, beside the same changes from blue"
        );
        let statement = format!(
            "give it up until the flip: {drop}; and then {add} (with NO ACTION it may come back as soon as the copy is complete)"
        );
        out.error("foreign-key-acts-on-green", subject, what, role.remedy(always, &statement));
        return;
    }
    match (child, parent) {
        (Some(_), Some(parent)) if incomplete(parent) => {
            let what = format!(
                "is checked while {parent} is being copied, and rows arrive in no order that it could follow"
            );
            let statement = format!("run now on green: {drop}; and once the copy is complete: {add}");
            out.error("foreign-key-on-green", subject, what, role.remedy(always, &statement));
        }
        (Some(child), Some(parent)) => match unsure(child, parent) {
            Some(what) => {
                let statement = format!("run now on green: {drop}; and after the flip: {add}");
                out.warning("foreign-key-on-green", subject, what, role.remedy(always, &statement));
            }
            None => {
                out.info(
                    "foreign-key-on-green",
                    subject,
                    "is checked on green too: rows arrive in blue's order",
                );
            }
        },
        (Some(_), None) => {
            let what = "is checked, and the table it leads to is not part of the migration";
            let remedy = role
                .remedy(always, "make sure that the rows it leads to are there before those of blue arrive");
            out.warning("foreign-key-on-green", subject, what, remedy);
        }
        _ => {
            let what = "is checked, and its rows are not part of the migration: those that they lead to cannot be deleted";
            let remedy = role.remedy(always, "keep its table empty until the flip");
            out.warning("foreign-key-on-green", subject, what, remedy);
        }
    }
}
