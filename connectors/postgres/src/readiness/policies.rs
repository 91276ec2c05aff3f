//! Row security: switched on alike, and with the same policies.

use understudy_contract::Failure;

use super::Look;
use super::lacks::Lacks;
use super::pairs::{Pair, all_on_blue, all_on_green};
use crate::ident::{quote_ident, quote_table};
use crate::wire::{Client, Row};

/// One policy of a table.
struct Policy {
    table: u32,
    name: String,
    /// Permissive or not, command, roles.
    manner: (bool, String, String),
    /// What rows it lets through, and what rows it lets in.
    conditions: (Option<String>, Option<String>),
    columns: Vec<String>,
    /// Whether it reads another table or calls a function: then names of other things are in its text.
    reaches_out: bool,
}

struct Switch {
    table: u32,
    on: bool,
    forced: bool,
}

pub(super) async fn look(look: &mut Look<'_>, out: &mut Lacks) -> Result<(), Failure> {
    let pairs = look.pairs()?;
    let (blue, green) = (all_on_blue(&pairs), all_on_green(&pairs));
    let switches = (switches(look.blue, &blue).await?, switches(look.green, &green).await?);
    let policies = (policies(look.blue, &blue).await?, policies(look.green, &green).await?);
    for pair in &pairs {
        let of =
            |all: &'_ [Switch], oid| all.iter().find(|one| one.table == oid).map(|one| (one.on, one.forced));
        let (ours, theirs) = (of(&switches.0, pair.blue.oid), of(&switches.1, pair.green.oid));
        if let (Some(ours), Some(theirs)) = (ours, theirs) {
            check_switches(pair, ours, theirs, out);
        }
        check_policies(pair, &policies, out);
        let alone = pairs.iter().filter(|other| other.green.oid == pair.green.oid).count() == 1;
        if alone {
            tell_extra(pair, &policies, out);
        }
    }
    Ok(())
}

async fn switches(client: &mut Client, oids: &str) -> Result<Vec<Switch>, Failure> {
    let sql = format!(
        "SELECT c.oid, c.relrowsecurity, c.relforcerowsecurity FROM pg_catalog.pg_class c \
         WHERE c.oid = ANY ('{oids}'::oid[])"
    );
    let switch = |row: &Row| Ok(Switch { table: row.parse(0)?, on: row.is_true(1), forced: row.is_true(2) });
    client.query(&sql).await?.iter().map(switch).collect()
}

/// Between names of columns; no name holds it.
const SEPARATOR: char = '\u{1}';

async fn policies(client: &mut Client, oids: &str) -> Result<Vec<Policy>, Failure> {
    let sql = format!(
        "SELECT p.polrelid, p.polname, p.polpermissive, p.polcmd, \
           (SELECT string_agg(coalesce(r.rolname, 'public'), ', ' ORDER BY r.rolname) \
             FROM unnest(p.polroles) AS u (oid) LEFT JOIN pg_catalog.pg_roles r ON r.oid = u.oid), \
           pg_catalog.pg_get_expr(p.polqual, p.polrelid), pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid), \
           (SELECT string_agg(DISTINCT a.attname, chr(1)) FROM pg_catalog.pg_depend d \
             JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid \
             WHERE d.classid = 'pg_catalog.pg_policy'::regclass AND d.objid = p.oid \
             AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = p.polrelid), \
           EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_policy'::regclass \
             AND d.objid = p.oid AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid <> p.polrelid) \
         FROM pg_catalog.pg_policy p WHERE p.polrelid = ANY ('{oids}'::oid[]) ORDER BY p.polname"
    );
    client.query(&sql).await?.iter().map(policy).collect()
}

fn policy(row: &Row) -> Result<Policy, Failure> {
    let text = |at| row.text(at).map(str::to_owned);
    let columns = row.text(7).unwrap_or_default().split(SEPARATOR);
    Ok(Policy {
        table: row.parse(0)?,
        name: row.required(1)?.to_owned(),
        manner: (row.is_true(2), row.required(3)?.to_owned(), text(4).unwrap_or_default()),
        conditions: (text(5), text(6)),
        columns: columns.filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        reaches_out: row.is_true(8),
    })
}

fn check_switches(pair: &Pair<'_>, ours: (bool, bool), theirs: (bool, bool), out: &mut Lacks) {
    let table = quote_table(&pair.green.name);
    let subject = format!("row security {}", pair.blue.name);
    let mut compare = |ours: bool, theirs: bool, what: &str, clauses: (&str, &str)| {
        if ours != theirs {
            let (here, there) = if ours { ("blue", "green") } else { ("green", "blue") };
            let clause = if ours { clauses.0 } else { clauses.1 };
            let reason = format!("is {what} on {here}, and not on {there}");
            out.add(&subject, reason, format!("ALTER TABLE {table} {clause} ROW LEVEL SECURITY"));
        }
    };
    compare(ours.0, theirs.0, "enabled", ("ENABLE", "DISABLE"));
    compare(ours.1, theirs.1, "forced on the owner", ("FORCE", "NO FORCE"));
}

/// Texts are compared where columns have the same names and types and nothing else is read; otherwise it is enough that
/// there is one of the same name, for the same command and roles.
fn check_policies(pair: &Pair<'_>, (blue, green): &(Vec<Policy>, Vec<Policy>), out: &mut Lacks) {
    for policy in blue.iter().filter(|policy| policy.table == pair.blue.oid) {
        let like = green.iter().find(|other| other.table == pair.green.oid && other.name == policy.name);
        let alike = pair.reads_alike(&policy.columns) && !policy.reaches_out;
        let reason = match like {
            None => format!("is not on green's {}", pair.green.name),
            Some(other) if other.manner != policy.manner => {
                format!("is for other commands or roles on green's {}", pair.green.name)
            }
            Some(other) if alike && other.conditions != policy.conditions => {
                format!("reads differently on green's {}", pair.green.name)
            }
            Some(_) => continue,
        };
        let remedy =
            if alike { create(pair, policy, like.is_some()) } else { "create its like there".to_owned() };
        out.add(format!("policy {} on {}", policy.name, pair.blue.name), reason, remedy);
    }
}

fn create(pair: &Pair<'_>, policy: &Policy, replaced: bool) -> String {
    let (table, name) = (quote_table(&pair.green.name), quote_ident(&policy.name));
    let (permissive, command, roles) = &policy.manner;
    let kind = if *permissive { "PERMISSIVE" } else { "RESTRICTIVE" };
    let command = match command.as_str() {
        "r" => "SELECT",
        "a" => "INSERT",
        "w" => "UPDATE",
        "d" => "DELETE",
        _ => "ALL",
    };
    let quoted = |role: &str| if role == "public" { "PUBLIC".to_owned() } else { quote_ident(role) };
    let roles = roles.split(", ").map(quoted).collect::<Vec<_>>().join(", ");
    let drop = if replaced { format!("DROP POLICY {name} ON {table}; ") } else { String::new() };
    let mut sql = format!("{drop}CREATE POLICY {name} ON {table} AS {kind} FOR {command} TO {roles}");
    let (lets_through, lets_in) = &policy.conditions;
    lets_through.iter().for_each(|text| sql += &format!(" USING ({text})"));
    lets_in.iter().for_each(|text| sql += &format!(" WITH CHECK ({text})"));
    sql
}

fn tell_extra(pair: &Pair<'_>, (blue, green): &(Vec<Policy>, Vec<Policy>), out: &mut Lacks) {
    for policy in green.iter().filter(|policy| policy.table == pair.green.oid) {
        if !blue.iter().any(|other| other.table == pair.blue.oid && other.name == policy.name) {
            let remedy =
                format!("DROP POLICY {} ON {}", quote_ident(&policy.name), quote_table(&pair.green.name));
            let subject = format!("green policy {} on {}", policy.name, pair.green.name);
            out.add(subject, "has no like on blue: other rows are seen there", remedy);
        }
    }
}
