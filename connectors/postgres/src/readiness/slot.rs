//! Blue's slot: it is read, and blue keeps what it needs with room to spare.

use understudy_contract::{Class, Failure};

use super::Feed;
use super::lacks::Lacks;
use crate::ident::quote_literal;
use crate::source::slot::{SlotState, inspect};
use crate::wire::Client;

/// What is left once blue has let go of changes that green needs.
const BEGIN_ANEW: &str = "start over: understudy abort FILE, empty green's tables, then understudy run FILE";

/// The same where another migration, or another program, fills the log.
const ALL_ANEW: &str = "have whoever fills the log start over, with a log of another name; then start over from that one: \
                        understudy abort FILE, empty green's tables, then understudy run FILE";

/// Less room than this for more log is too little, whatever blue's limit is.
const LEAST_ROOM_BYTES: i64 = 64 << 20;

pub(super) async fn look(blue: &mut Client, feed: &Feed, out: &mut Lacks) -> Result<(), Failure> {
    let (name, anew, start) = match feed {
        Feed::Own(name) => (name, BEGIN_ANEW, "start `understudy run`"),
        Feed::Others(name) => (name, ALL_ANEW, "start whoever fills the log"),
        Feed::Untold => return Ok(()),
        Feed::Unknown(why) => return Err(Failure::new(Class::Transient, why.clone())),
    };
    let subject = format!("slot {name}");
    let Some(slot) = inspect(blue, name).await? else {
        out.add(subject, "is not on blue: changes since its last use are not in the stream", anew);
        return Ok(());
    };
    if slot.is_lost() || conflicts(blue, name).await? {
        let cause = slot.invalidation_reason.map_or(String::new(), |reason| format!(" ({reason})"));
        let reason = format!("is lost{cause}: blue has removed log that it needs");
        out.add(subject, reason, anew);
        return Ok(());
    }
    if slot.active_pid.is_none() {
        out.add(&subject, "is not being read", start);
    }
    check_kept(&subject, &slot, budget(blue).await?, out);
    Ok(())
}

fn check_kept(subject: &str, slot: &SlotState, budget_bytes: Option<i64>, out: &mut Lacks) {
    let remedy = "let green catch up, or raise max_slot_wal_keep_size on blue and reload it";
    if !matches!(slot.wal_status.as_deref(), Some("reserved" | "extended")) {
        let status = slot.wal_status.as_deref().unwrap_or("unknown");
        out.add(subject, format!("is not safe: the state of its log is `{status}`"), remedy);
        return;
    }
    let floor = budget_bytes.map_or(LEAST_ROOM_BYTES, |budget| (budget / 4).max(LEAST_ROOM_BYTES));
    if let Some(room) = slot.safe_wal_bytes.filter(|room| *room < floor) {
        let reason = format!("is lost once blue writes {} MiB more log", room >> 20);
        out.add(subject, reason, remedy);
    }
}

/// How much log blue keeps for slots at most.
async fn budget(blue: &mut Client) -> Result<Option<i64>, Failure> {
    let sql = "SELECT setting::bigint << 20 FROM pg_catalog.pg_settings \
               WHERE name = 'max_slot_wal_keep_size' AND setting::bigint >= 0";
    blue.query(sql).await?.first().map_or(Ok(None), |row| row.optional(0))
}

/// Postgres 16 says by this column what later ones say by the reason.
async fn conflicts(blue: &mut Client, slot: &str) -> Result<bool, Failure> {
    if blue.server_version() / 10_000 != 16 {
        return Ok(false);
    }
    let name = quote_literal(slot);
    let sql = format!("SELECT conflicting FROM pg_catalog.pg_replication_slots WHERE slot_name = {name}");
    Ok(blue.query(&sql).await?.first().is_some_and(|row| row.is_true(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use understudy_contract::{Found, ReadinessCheck};

    /// A slot close to the end of what blue keeps is told before it is lost.
    #[test]
    fn room_is_measured_against_the_budget() {
        let good = |status: &str, room, budget: Option<i64>| {
            let slot = SlotState {
                plugin: None,
                database: None,
                active_pid: Some(1),
                restart: None,
                confirmed: None,
                wal_status: Some(status.to_owned()),
                safe_wal_bytes: room,
                invalidation_reason: None,
                failover: false,
            };
            let mut out = Lacks::default();
            check_kept("slot s", &slot, budget, &mut out);
            out.found(ReadinessCheck::Slot) == Found::Good
        };
        let gib = 1 << 30;
        assert!(good("reserved", None, None) && good("extended", Some(3 * gib), Some(10 * gib)));
        assert!(!good("reserved", Some(2 * gib), Some(10 * gib)), "less than a quarter is left");
        assert!(!good("reserved", Some(LEAST_ROOM_BYTES - 1), Some(LEAST_ROOM_BYTES)));
        assert!(!good("unreserved", Some(gib), None));
    }
}
