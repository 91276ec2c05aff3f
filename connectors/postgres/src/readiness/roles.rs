//! Roles: those that blue's application uses exist on green, may do as much, and belong to the same groups.
//!
//! Passwords are not compared: no ordinary role may read them, and an equal one is hashed differently on each server.

use understudy_contract::Failure;

use super::Look;
use super::lacks::Lacks;
use super::pairs::all_on_blue;
use super::roster::roster;
use crate::ident::quote_ident;
use crate::wire::{Client, Row};

struct Role {
    name: String,
    login: bool,
    superuser: bool,
    bypasses: bool,
    /// Negative for none.
    connections: i32,
    expired: bool,
}

const COLUMNS: &str = "r.rolname, r.rolcanlogin, r.rolsuper, r.rolbypassrls, r.rolconnlimit, \
                       coalesce(r.rolvaliduntil <= now(), false)";

pub(super) async fn look(look: &mut Look<'_>, out: &mut Lacks) -> Result<(), Failure> {
    let oids = all_on_blue(&look.pairs()?);
    let wanted = format!(
        "WITH {} SELECT {COLUMNS} FROM roster JOIN pg_catalog.pg_roles r USING (oid) ORDER BY 1",
        roster(&oids)
    );
    let on_blue = roles(look.blue, &wanted).await?;
    let on_green = roles(look.green, &format!("SELECT {COLUMNS} FROM pg_catalog.pg_roles r")).await?;
    for role in &on_blue {
        let subject = format!("role {}", role.name);
        match on_green.iter().find(|other| other.name == role.name) {
            None => out.add(subject, "is not on green", create(role)),
            Some(other) => check_alike(&subject, role, other, out),
        }
    }
    check_groups(look, &oids, out).await
}

async fn roles(client: &mut Client, sql: &str) -> Result<Vec<Role>, Failure> {
    client.query(sql).await?.iter().map(role).collect()
}

fn role(row: &Row) -> Result<Role, Failure> {
    Ok(Role {
        name: row.required(0)?.to_owned(),
        login: row.is_true(1),
        superuser: row.is_true(2),
        bypasses: row.is_true(3),
        connections: row.parse(4)?,
        expired: row.is_true(5),
    })
}

fn create(role: &Role) -> String {
    let limit =
        if role.connections < 0 { String::new() } else { format!(" CONNECTION LIMIT {}", role.connections) };
    let word = |holds, word: &'static str| if holds { word } else { "" };
    format!(
        "CREATE ROLE {} {}{}{}{limit}{}",
        quote_ident(&role.name),
        if role.login { "LOGIN" } else { "NOLOGIN" },
        word(role.superuser, " SUPERUSER"),
        word(role.bypasses, " BYPASSRLS"),
        word(role.login, ", and give it its password")
    )
}

fn check_alike(subject: &str, blue: &Role, green: &Role, out: &mut Lacks) {
    let alter = |clause: &str| format!("ALTER ROLE {} {clause}", quote_ident(&blue.name));
    for (ours, theirs, attribute) in [
        (blue.login, green.login, "LOGIN"),
        (blue.superuser, green.superuser, "SUPERUSER"),
        (blue.bypasses, green.bypasses, "BYPASSRLS"),
    ] {
        if ours && !theirs {
            out.add(subject, format!("has {attribute} on blue, and not on green"), alter(attribute));
        } else if theirs && !ours {
            let reason = format!("has {attribute} on green, and not on blue");
            out.add(subject, reason, alter(&format!("NO{attribute}")));
        }
    }
    let limit = |connections| if connections < 0 { i32::MAX } else { connections };
    if limit(green.connections) < limit(blue.connections) {
        let reason = format!("may open no more than {} connections on green", green.connections);
        out.add(subject, reason, alter(&format!("CONNECTION LIMIT {}", blue.connections)));
    }
    if green.expired && !blue.expired {
        out.add(subject, "has a password on green that is no longer valid", alter("VALID UNTIL 'infinity'"));
    }
}

/// Rights that come by membership are not granted by name.
async fn check_groups(look: &mut Look<'_>, oids: &str, out: &mut Lacks) -> Result<(), Failure> {
    let members = "SELECT m.rolname, g.rolname FROM pg_catalog.pg_auth_members a \
                   JOIN pg_catalog.pg_roles m ON m.oid = a.member JOIN pg_catalog.pg_roles g ON g.oid = a.roleid";
    let wanted = format!(
        "WITH {} {members} WHERE a.member IN (SELECT oid FROM roster) GROUP BY 1, 2 ORDER BY 1, 2",
        roster(oids)
    );
    let on_green = look.green.query(members).await?;
    for row in look.blue.query(&wanted).await? {
        let (member, group) = (row.required(0)?, row.required(1)?);
        if !on_green.iter().any(|other| (other.text(0), other.text(1)) == (Some(member), Some(group))) {
            let remedy = format!("GRANT {} TO {}", quote_ident(group), quote_ident(member));
            let subject = format!("role {member} in group {group}");
            out.add(subject, "is a member on blue, and not on green", remedy);
        }
    }
    Ok(())
}
