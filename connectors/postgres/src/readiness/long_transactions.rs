//! Transactions on blue that have been open for long: closing the fence would wait for them.

use understudy_contract::{Class, Failure};

use super::ReadinessPlan;
use super::lacks::Lacks;
use crate::ident::{quote_ident, quote_literal};
use crate::wire::{Client, Row};

pub(super) async fn look(blue: &mut Client, plan: &ReadinessPlan, out: &mut Lacks) -> Result<(), Failure> {
    let ours = format!("understudy/{}/", plan.migration);
    check_rights(blue, &ours).await?;
    let rows = blue.query(&sql(&ours, plan.max_transaction_age.as_secs_f64())).await?;
    rows.iter().try_for_each(|row| tell(row, out))
}

fn tell(row: &Row, out: &mut Lacks) -> Result<(), Failure> {
    let (pid, age): (i32, i64) = (row.parse(0)?, row.parse(3)?);
    let by = |name: &str| if name.is_empty() { String::new() } else { format!(" by application '{name}'") };
    let subject = format!(
        "transaction of {}{}",
        row.text(1).unwrap_or("a server process"),
        by(row.text(2).unwrap_or(""))
    );
    let state = row.text(4).unwrap_or("active");
    let reason = format!("process {pid} has been in it for {age} s, and is {state}");
    out.add(subject, reason, format!("let it end, or SELECT pg_terminate_backend({pid})"));
    Ok(())
}

/// Those that have written, are idle, or hold a lock of writers; readers hinder nobody. The query is never asked for: it
/// may hold values.
fn sql(ours: &str, age_s: f64) -> String {
    format!(
        "SELECT a.pid, a.usename, a.application_name, \
           extract(epoch FROM clock_timestamp() - a.xact_start)::bigint, a.state \
         FROM pg_catalog.pg_stat_activity a \
         WHERE a.datname = current_database() AND a.pid <> pg_catalog.pg_backend_pid() \
         AND NOT starts_with(a.application_name, {}) \
         AND a.backend_type NOT IN ('walsender', 'autovacuum worker', 'autovacuum launcher') \
         AND a.xact_start < clock_timestamp() - {age_s} * interval '1 second' \
         AND (a.backend_xid IS NOT NULL OR a.state LIKE 'idle in transaction%' OR EXISTS ( \
           SELECT FROM pg_catalog.pg_locks l WHERE l.pid = a.pid AND l.locktype = 'relation' AND l.granted \
           AND l.relation >= 16384 AND l.mode NOT IN ('AccessShareLock', 'RowShareLock'))) \
         ORDER BY a.xact_start",
        quote_literal(ours)
    )
}

/// Without the right to see other roles' sessions their age is hidden, and an old one looks like none.
async fn check_rights(blue: &mut Client, ours: &str) -> Result<(), Failure> {
    let sql = format!(
        "SELECT current_user FROM pg_catalog.pg_stat_activity a WHERE a.datname = current_database() \
         AND NOT starts_with(a.application_name, {}) AND NOT pg_catalog.pg_has_role(a.usesysid, 'USAGE') \
         AND NOT pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE') LIMIT 1",
        quote_literal(ours)
    );
    let rows = blue.query(&sql).await?;
    let Some(role) = rows.first().and_then(|row| row.text(0)) else { return Ok(()) };
    let what = format!("role {role} does not see how long other roles' transactions have been open");
    Err(Failure::new(Class::Configuration, what)
        .remedy(format!("on blue: GRANT pg_read_all_stats TO {}", quote_ident(role))))
}
