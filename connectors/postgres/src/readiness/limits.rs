//! Limits: green's are no lower than blue's, and what is set for the database and its roles is set alike.
//!
//! Values of such settings are compared and not shown, time limits apart: some keep secrets there.

use understudy_contract::Failure;

use super::Look;
use super::lacks::Lacks;
use crate::ident::quote_ident;
use crate::preflight::side::Side;
use crate::wire::{Client, Row};

/// Settings of the server that must not be lower.
const COUNTS: [&str; 3] = ["max_connections", "max_prepared_transactions", "max_locks_per_transaction"];
/// Settings that end what takes longer; 0 for never.
const TIMES: [&str; 5] = [
    "statement_timeout",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "lock_timeout",
    "transaction_timeout",
];

pub(super) async fn look(look: &mut Look<'_>, out: &mut Lacks) -> Result<(), Failure> {
    let scene = look.scene()?;
    for name in COUNTS {
        check_count(name, &scene.blue, &scene.green, out);
    }
    let database = scene.green.database.clone();
    let (blue, green) = (settings(look.blue).await?, settings(look.green).await?);
    for ours in &blue {
        let theirs = green.iter().find(|other| (&other.role, &other.name) == (&ours.role, &ours.name));
        check_setting(ours, theirs.map(|theirs| theirs.value.as_str()), &database, out);
    }
    for theirs in green.iter().filter(|theirs| TIMES.contains(&theirs.name.as_str())) {
        let is_ours = blue.iter().any(|ours| (&ours.role, &ours.name) == (&theirs.role, &theirs.name));
        if !is_ours && millis(&theirs.value) != Some(0) {
            let reason = format!("is {} on green, and not set on blue", theirs.value);
            out.add(theirs.subject(), reason, theirs.alter(&database, "RESET", ""));
        }
    }
    Ok(())
}

fn check_count(name: &str, blue: &Side, green: &Side, out: &mut Lacks) {
    if let (Some(ours), Some(theirs)) = (blue.number(name), green.number(name))
        && theirs < ours
    {
        let remedy = format!("ALTER SYSTEM SET {name} = {ours}, then restart green");
        out.add(format!("setting {name}"), format!("is {theirs} on green and {ours} on blue"), remedy);
    }
}

/// One setting of the database, of a role, or of a role in the database.
struct Setting {
    /// `None` for every role.
    role: Option<(String, bool)>,
    name: String,
    value: String,
}

/// Those that sessions of this database start with, our own aside.
async fn settings(client: &mut Client) -> Result<Vec<Setting>, Failure> {
    let sql = "SELECT r.rolname, s.setdatabase <> 0, split_part(c.text, '=', 1), \
                 substr(c.text, strpos(c.text, '=') + 1) \
               FROM pg_catalog.pg_db_role_setting s CROSS JOIN LATERAL unnest(s.setconfig) AS c (text) \
               LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole \
               WHERE s.setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())) \
               AND r.rolname IS DISTINCT FROM current_user \
               AND (r.oid IS NULL OR (r.rolcanlogin \
                 AND pg_catalog.has_database_privilege(r.oid, current_database(), 'CONNECT'))) ORDER BY 1, 2, 3";
    client.query(sql).await?.iter().map(setting).collect()
}

fn setting(row: &Row) -> Result<Setting, Failure> {
    Ok(Setting {
        role: row.text(0).map(|name| (name.to_owned(), row.is_true(1))),
        name: row.required(2)?.to_owned(),
        value: row.text(3).unwrap_or_default().to_owned(),
    })
}

impl Setting {
    fn subject(&self) -> String {
        match &self.role {
            None => format!("setting {} of the database", self.name),
            Some((role, false)) => format!("setting {} of role {role}", self.name),
            Some((role, true)) => format!("setting {} of role {role} in the database", self.name),
        }
    }

    fn alter(&self, database: &str, verb: &str, to: &str) -> String {
        let database = quote_ident(database);
        let whose = match &self.role {
            None => format!("DATABASE {database}"),
            Some((role, false)) => format!("ROLE {}", quote_ident(role)),
            Some((role, true)) => format!("ROLE {} IN DATABASE {database}", quote_ident(role)),
        };
        // A setting of an extension has a dot between two names.
        let name = self.name.split('.').map(quote_ident).collect::<Vec<_>>().join(".");
        format!("ALTER {whose} {verb} {name}{to}")
    }
}

fn check_setting(ours: &Setting, theirs: Option<&str>, database: &str, out: &mut Lacks) {
    if theirs == Some(ours.value.as_str()) {
        return;
    }
    let (reason, to) = if TIMES.contains(&ours.name.as_str()) {
        if theirs.is_some_and(|theirs| no_lower(theirs, &ours.value)) {
            return;
        }
        let there = theirs.map_or("not set".to_owned(), str::to_owned);
        (format!("is {there} on green and {} on blue", ours.value), format!(" = '{}'", ours.value))
    } else {
        let what = if theirs.is_some() { "has another value on green" } else { "is not set on green" };
        (what.to_owned(), " to what blue has".to_owned())
    };
    out.add(ours.subject(), reason, ours.alter(database, "SET", &to));
}

fn no_lower(theirs: &str, ours: &str) -> bool {
    match (millis(theirs), millis(ours)) {
        (Some(0), Some(_)) => true,
        (Some(theirs), Some(ours)) => ours != 0 && theirs >= ours,
        _ => false,
    }
}

/// `30s` as milliseconds; a bare number counts these.
fn millis(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number = number.parse::<u64>().ok()?;
    let factor = match unit.trim() {
        "us" => return Some(number / 1000),
        "" | "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A time limit written in another unit is not taken for a lower one; none at all is the highest.
    #[test]
    fn time_limits_are_compared_across_units() {
        assert!(
            no_lower("30s", "30000") && no_lower("1min", "30s") && no_lower("0", "30s") && no_lower("0", "0")
        );
        assert!(!no_lower("29s", "30000") && !no_lower("1h", "0") && !no_lower("soon", "1s"));
    }
}
