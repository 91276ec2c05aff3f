//! What the two servers must offer, whatever the tables: version, replication, encodings, place for our bookkeeping.

use understudy_contract::{Failure, Findings};

use super::side::{Side, one};
use crate::ident::quote_ident;
use crate::wire::Client;

/// Oldest and newest server generations that this release is tested with.
const OLDEST: u32 = 14;
const NEWEST: u32 = 18;

/// Both servers.
pub(super) fn check_servers(blue: &Side, green: &Side, out: &mut Findings) {
    check_decoding(blue.version, out);
    for side in [blue, green] {
        check_version(side.label, side.version, out);
        if side.standby {
            out.error(
                "server-is-standby",
                side.label,
                "the server is a standby: it accepts neither our markers nor our writes",
                "connect to the primary",
            );
        }
    }
    if blue.system_id.is_some() && blue.system_id == green.system_id && blue.database == green.database {
        out.error(
            "same-database",
            "blue and green",
            format!("both are database {} of the same server", blue.database),
            "let green be another database",
        );
    }
    check_encodings(blue, green, out);
    if blue.locale != green.locale {
        let what = format!(
            "sorts texts by {}, blue by {}: queries may return rows in another order",
            green.locale, blue.locale
        );
        out.info("locale-differs", "green", what);
    }
    if green.setting("default_transaction_read_only") == "on" {
        let what = format!("transactions of role {} are read-only by default", green.user);
        let remedy =
            format!("ALTER ROLE {} SET default_transaction_read_only = off", quote_ident(&green.user));
        out.error("green-read-only", "green", what, remedy);
    }
}

fn check_version(label: &str, version: u32, out: &mut Findings) {
    let major = version / 10_000;
    if major < OLDEST {
        let what = format!("runs Postgres {major}; {OLDEST} is the oldest that is supported");
        out.error("server-version-unsupported", label, what, "upgrade the server first");
    } else if major > NEWEST {
        let what = format!("runs Postgres {major}; {NEWEST} is the newest that was tested");
        out.warning("server-version-untested", label, what, "rehearse on a copy first");
    }
}

/// Releases before these can leave changes of a table out of the stream when it joins a publication while transactions
/// that write to it are running (Postgres release notes of May 2025).
const DECODING_MENDED: [u32; 4] = [140_018, 150_013, 160_009, 170_005];

fn check_decoding(version: u32, out: &mut Findings) {
    let mended = DECODING_MENDED.iter().find(|mended| **mended / 10_000 == version / 10_000);
    if let Some(mended) = mended.filter(|mended| version < **mended) {
        let (major, minor) = (mended / 10_000, mended % 10_000);
        out.warning(
            "decoding-may-miss-joining-tables",
            "blue",
            format!("releases before {major}.{minor} can leave out changes of a table that joins a publication under load"),
            "install the newest minor release, or let tables join while nothing writes to them",
        );
    }
}

/// Text crosses as UTF-8. A SQL_ASCII database neither checks nor converts what it stores.
fn check_encodings(blue: &Side, green: &Side, out: &mut Findings) {
    match (blue.encoding.as_str(), green.encoding.as_str()) {
        (one, other) if one == other && one != "SQL_ASCII" => {}
        ("SQL_ASCII", _) => out.warning(
            "encoding-unchecked",
            "blue",
            format!("database {} has encoding SQL_ASCII: its texts may not be valid in any encoding, and green refuses \
                     those that are not valid UTF-8", blue.database),
            "look for such texts first, or set them aside with `on_error: quarantine`",
        ),
        (_, "SQL_ASCII") => out.warning(
            "encoding-unchecked",
            "green",
            format!("database {} has encoding SQL_ASCII: it will hold UTF-8 without knowing it", green.database),
            "create green with ENCODING 'UTF8'",
        ),
        (_, "UTF8") => out.info("encoding-differs", "green", format!("has encoding UTF8, blue {}", blue.encoding)),
        (one, other) => out.error(
            "encoding-narrower",
            "green",
            format!("has encoding {other}, which lacks characters that blue's {one} can hold"),
            "create green with ENCODING 'UTF8'",
        ),
    }
}

/// Blue as a source of logical replication.
pub(super) fn check_replication(blue: &Side, decoding_memory_bytes: u64, out: &mut Findings) {
    if blue.setting("wal_level") != "logical" {
        out.error(
            "wal-level-too-low",
            "blue setting wal_level",
            format!("is `{}`; reading changes needs `logical`", blue.setting("wal_level")),
            "ALTER SYSTEM SET wal_level = 'logical', then restart blue",
        );
    }
    if !blue.may_replicate {
        out.error(
            "replication-right-missing",
            format!("blue role {}", blue.user),
            "may not replicate",
            format!(
                "ALTER ROLE {} REPLICATION (on Amazon RDS: GRANT rds_replication TO it)",
                quote_ident(&blue.user)
            ),
        );
    }
    if blue.number("wal_sender_timeout") == Some(0) {
        let what = "is 0: blue does not notice a reader that is gone, and keeps the slot occupied";
        out.info("wal-sender-timeout-off", "blue setting wal_sender_timeout", what);
    }
    check_decoding_memory(blue, decoding_memory_bytes, out);
}

/// Blue sets a transaction that does not fit aside on its disk, so it counts what its sessions may take.
fn check_decoding_memory(blue: &Side, wanted_bytes: u64, out: &mut Findings) {
    let setting = "logical_decoding_work_mem";
    let wanted_kib = wanted_bytes / 1024;
    let own_kib = blue.number(setting).and_then(|kib| u64::try_from(kib).ok());
    if let Some(own_kib) = own_kib.filter(|own| *own < wanted_kib) {
        let (own, wanted) = (own_kib / 1024, wanted_kib / 1024);
        let what = format!(
            "is {own} MiB; for the one session that streams it is raised to {wanted} MiB, so a large transaction may take up \
             that much of blue's memory (`stream.decoding_memory` sets it)"
        );
        out.info("decoding-memory-raised", format!("blue setting {setting}"), what);
    }
}

/// Green as a place to write to: bookkeeping schema, replication origin.
pub(super) async fn check_green(
    client: &mut Client,
    green: &Side,
    out: &mut Findings,
) -> Result<(), Failure> {
    let schema = one(client.query(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'understudy'), \
           EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname = 'understudy' \
             AND pg_catalog.has_schema_privilege(n.oid, 'CREATE') AND pg_catalog.has_schema_privilege(n.oid, 'USAGE'))",
    ).await?)?;
    let (exists, usable) = (schema.is_true(0), schema.is_true(1));
    let user = quote_ident(&green.user);
    if exists && !usable {
        let what = format!("exists, and role {} may not use it", green.user);
        let remedy = format!("GRANT CREATE, USAGE ON SCHEMA understudy TO {user}");
        out.error("bookkeeping-right-missing", "green schema understudy", what, remedy);
    } else if !exists && !green.may_create {
        let what = format!("does not exist, and role {} may not create it", green.user);
        let remedy = format!("CREATE SCHEMA understudy AUTHORIZATION {user}");
        out.error("bookkeeping-right-missing", "green schema understudy", what, remedy);
    }
    check_origin(client, green, out).await
}

async fn check_origin(client: &mut Client, green: &Side, out: &mut Findings) -> Result<(), Failure> {
    let missing = client
        .query(
            "SELECT p.proname FROM pg_catalog.pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace \
         AND p.proname IN ('pg_replication_origin_create', 'pg_replication_origin_session_setup', \
           'pg_replication_origin_session_reset', 'pg_replication_origin_xact_setup') \
         AND NOT pg_catalog.has_function_privilege(p.oid, 'EXECUTE')",
        )
        .await?;
    let limit = green.number("max_active_replication_origins").or(green.number("max_replication_slots"));
    if missing.is_empty() && limit != Some(0) {
        return Ok(());
    }
    let what = "replication origins are not at our disposal: our writes carry no mark of where they come from, and a \
                later way back tells them apart by position instead";
    out.info("origin-unavailable", format!("green role {}", green.user), what);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_outside_the_tested_generations_are_named() {
        let codes = |version| {
            let mut out = Findings::default();
            check_version("blue", version, &mut out);
            out.sorted().into_iter().map(|finding| finding.code).collect::<Vec<_>>()
        };
        assert_eq!(codes(130_012), ["server-version-unsupported"]);
        assert_eq!(codes(140_000), [""; 0]);
        assert_eq!(codes(180_004), [""; 0]);
        assert_eq!(codes(190_000), ["server-version-untested"]);
    }

    #[test]
    fn only_releases_before_the_mend_are_warned_of() {
        for (version, warned) in [
            (140_017, true),
            (140_018, false),
            (150_012, true),
            (170_004, true),
            (170_010, false),
            (180_000, false),
        ] {
            let mut out = Findings::default();
            check_decoding(version, &mut out);
            assert_eq!(!out.sorted().is_empty(), warned, "{version}");
        }
    }
}
