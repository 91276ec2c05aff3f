//! The slot and the publication: whether they can be created, in what state they are, and what blue keeps for them.

use understudy_contract::{Failure, Findings, Severity};
use understudy_model::TableName;

use super::known::Known;
use super::plan::PreflightPlan;
use super::side::{Side, one};
use crate::ident::{quote_ident, quote_literal};
use crate::source::publication::{self, START_OVER};
use crate::wire::Client;

/// A writing transaction older than this holds the creation of the slot up for an uncertain time, in seconds.
const OLD_TRANSACTION_S: i64 = 10;
/// One older than this will not end by itself, in seconds.
const STUCK_TRANSACTION_S: i64 = 300;

/// Everything about the slot.
pub(super) async fn check_slot(
    client: &mut Client,
    plan: &PreflightPlan,
    blue: &Side,
    started: bool,
    out: &mut Findings,
) -> Result<(), Failure> {
    let exists = check_slot_state(client, plan, blue, started, out).await?;
    check_room(client, blue, exists, out).await?;
    check_retention(plan, blue, out);
    if !started {
        check_open_transactions(client, out).await?;
    }
    Ok(())
}

async fn check_slot_state(
    client: &mut Client,
    plan: &PreflightPlan,
    blue: &Side,
    started: bool,
    out: &mut Findings,
) -> Result<bool, Failure> {
    let rows = client.query(&format!(
        "SELECT s.plugin, s.database, s.active_pid, s.wal_status, a.application_name \
         FROM pg_catalog.pg_replication_slots s LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = s.active_pid \
         WHERE s.slot_name = {}",
        quote_literal(&plan.slot)
    )).await?;
    let subject = format!("blue slot {}", plan.slot);
    let drop = format!("SELECT pg_drop_replication_slot({})", quote_literal(&plan.slot));
    let Some(row) = rows.first() else {
        if started {
            out.error(
                "slot-missing",
                subject,
                "is gone, and with it the changes since the last checkpoint",
                "run `understudy abort`, then start anew",
            );
        }
        return Ok(false);
    };
    if row.text(0) != Some("pgoutput") || row.text(1) != Some(blue.database.as_str()) {
        let what = format!(
            "exists with plugin {} in database {}: it is not ours",
            row.text(0).unwrap_or("none"),
            row.text(1).unwrap_or("none")
        );
        out.error("slot-foreign", subject, what, "rename the migration, or drop the slot if nobody needs it");
    } else if row.text(3) == Some("lost") {
        out.error(
            "slot-lost",
            subject,
            "blue has removed the log that it needed",
            drop + ", then start anew",
        );
    } else if let Some(pid) = row.text(2) {
        let holder = row
            .text(4)
            .filter(|name| !name.is_empty())
            .map(|name| format!(" ('{name}')"))
            .unwrap_or_default();
        let what = format!("is being read by process {pid}{holder}");
        out.warning("slot-active", subject, what, "another instance runs; a new one takes over from it");
    } else if !started {
        let what = "exists although the migration has not started: an earlier attempt left it";
        out.warning("slot-left-over", subject, what, drop);
    }
    Ok(true)
}

async fn check_room(
    client: &mut Client,
    blue: &Side,
    slot_exists: bool,
    out: &mut Findings,
) -> Result<(), Failure> {
    let used = one(client
        .query(
            "SELECT (SELECT count(*) FROM pg_catalog.pg_replication_slots), \
           (SELECT count(*) FROM pg_catalog.pg_stat_replication)",
        )
        .await?)?;
    let (slots, senders) = (used.parse::<i64>(0)?, used.parse::<i64>(1)?);
    for (code, setting, used) in [
        ("replication-slots-exhausted", "max_replication_slots", slots - i64::from(slot_exists)),
        ("wal-senders-exhausted", "max_wal_senders", senders - i64::from(slot_exists)),
    ] {
        let limit = blue.number(setting).unwrap_or(0);
        if used >= limit {
            out.error(
                code,
                format!("blue setting {setting}"),
                format!("is {limit}, and {} are in use", used.max(0)),
                format!("ALTER SYSTEM SET {setting} = {}, then restart blue", limit + 4),
            );
        }
    }
    Ok(())
}

/// A sidecar that is dead guards nothing: only blue itself can then stop a slot from filling its disk.
fn check_retention(plan: &PreflightPlan, blue: &Side, out: &mut Findings) {
    let subject = "blue setting max_slot_wal_keep_size";
    match blue.number("max_slot_wal_keep_size") {
        Some(-1) | None if plan.wal_waiver => {
            out.info("wal-retention-waived", subject, "is not set; the migration file records that this is accepted");
        }
        Some(-1) | None => out.error(
            "wal-retention-unlimited",
            subject,
            "is not set: while nobody reads the slot blue keeps log until its disk is full",
            "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB' (what the disk can spare), then SELECT pg_reload_conf(); \
             or record a waiver in the migration file",
        ),
        Some(megabytes) if megabytes < 1024 => out.warning(
            "wal-retention-small",
            subject,
            format!("is {megabytes} MB: a short standstill of the sidecar costs the slot"),
            "give it as much as the disk can spare",
        ),
        Some(_) => {}
    }
    if blue.number("idle_replication_slot_timeout").is_some_and(|seconds| seconds > 0) {
        out.warning(
            "idle-slot-timeout",
            "blue setting idle_replication_slot_timeout",
            "is set: blue invalidates our slot when the sidecar is away for longer",
            "set it to 0 during the migration",
        );
    }
}

/// The creation of a slot waits for every transaction with an id, in any database of the server.
async fn check_open_transactions(client: &mut Client, out: &mut Findings) -> Result<(), Failure> {
    let rows = client
        .query(
            "SELECT l.pid, a.usename, a.application_name, p.gid, p.owner, p.database, \
           extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, p.prepared))::bigint \
         FROM pg_catalog.pg_locks l \
         LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
         LEFT JOIN pg_catalog.pg_prepared_xacts p ON l.pid IS NULL AND p.transaction = l.transactionid \
         WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted \
         AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()",
        )
        .await?;
    for row in rows {
        let age = row.optional::<i64>(6)?.unwrap_or(0);
        let severity = if age > STUCK_TRANSACTION_S { Severity::Error } else { Severity::Warning };
        if let Some(gid) = row.text(3) {
            let (owner, database) = (row.text(4).unwrap_or("?"), row.text(5).unwrap_or("?"));
            out.add(
                severity,
                "prepared-transaction",
                format!("blue prepared transaction '{gid}'"),
                format!(
                    "of {owner} in {database} has waited for {age} s; no slot can be created before it ends"
                ),
                format!(
                    "in database {database}: COMMIT PREPARED or ROLLBACK PREPARED {}",
                    quote_literal(gid)
                ),
            );
        } else if age > OLD_TRANSACTION_S {
            let pid = row.text(0).unwrap_or("?");
            let what = format!(
                "(user {}, application '{}') has written for {age} s; no slot can be created before it ends",
                row.text(1).unwrap_or("unknown"),
                row.text(2).unwrap_or_default()
            );
            let remedy = format!("let it end, or SELECT pg_terminate_backend({pid})");
            out.add(severity, "long-transaction", format!("blue process {pid}"), what, remedy);
        }
    }
    Ok(())
}

/// The publication's state. Returns the tables that it holds already: those need no right to be added.
pub(super) async fn check_publication(
    client: &mut Client,
    plan: &PreflightPlan,
    blue: &Side,
    known: &Known,
    out: &mut Findings,
) -> Result<Vec<TableName>, Failure> {
    let started = known.started;
    let name = quote_literal(&plan.publication);
    let rows = client.query(&format!(
        "SELECT p.puballtables, pg_catalog.pg_has_role(p.pubowner, 'USAGE') FROM pg_catalog.pg_publication p \
         WHERE p.pubname = {name}"
    )).await?;
    let subject = format!("blue publication {}", plan.publication);
    let Some(row) = rows.first() else {
        if !blue.may_create {
            out.error(
                "publication-right-missing",
                format!("blue role {}", blue.user),
                format!("may not create a publication in database {}", blue.database),
                format!(
                    "GRANT CREATE ON DATABASE {} TO {}",
                    quote_ident(&blue.database),
                    quote_ident(&blue.user)
                ),
            );
        }
        if started {
            let what = "is gone: changes since then are not in the stream";
            out.error("publication-missing", subject, what, START_OVER);
        }
        return Ok(Vec::new());
    };
    if row.is_true(0) {
        let what = "publishes all tables: blue would refuse updates of every table without an identity";
        let remedy = format!("DROP PUBLICATION {}, if nobody needs it", quote_ident(&plan.publication));
        out.error("publication-foreign", subject, what, remedy);
    } else if !row.is_true(1) {
        let what = format!("belongs to a role that {} is not a member of", blue.user);
        out.error(
            "publication-foreign",
            subject,
            what,
            if started {
                "join that role: a new owner would count as an alteration, and every table would be copied anew"
            } else {
                "rename the migration, or change the publication's owner"
            },
        );
    } else if !started {
        let what = "exists although the migration has not started: an earlier attempt left it";
        let remedy = format!("DROP PUBLICATION {}", quote_ident(&plan.publication));
        out.warning("publication-left-over", subject, what, remedy);
    } else if let Some(failure) = missed(client, plan, known).await?.filter(|_| !plan.by_log) {
        let remedy = failure.remedy_text().unwrap_or_default();
        out.error("publication-changed", subject, failure.to_string(), remedy);
    }
    let there = publication::inspect(client, &plan.publication).await?;
    Ok(there.into_iter().flat_map(|there| there.tables).map(|table| table.name).collect())
}

/// What has been missed through the publication, since it is followed.
async fn missed(
    client: &mut Client,
    plan: &PreflightPlan,
    known: &Known,
) -> Result<Option<Failure>, Failure> {
    let there = publication::inspect(client, &plan.publication).await?;
    let options = there.as_ref().map_or(Ok(()), |there| there.expect_options(&plan.publication));
    let followed = plan.followed(known);
    Ok(options.err().or_else(|| followed.gap(there.as_ref()).map(|gap| followed.failure(&gap))))
}
