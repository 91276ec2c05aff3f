//! Rights: whoever may use the migrated tables, their sequences, their schemas and the database on blue, may on green.
//!
//! On green it counts what a role can do, however it came by it. Superusers need no grants and are left out, and so are
//! our own role and the server's.

use understudy_contract::Failure;

use super::Look;
use super::lacks::Lacks;
use super::pairs::{Pair, all_on_blue};
use super::sequence_rows::{Sequences, matched};
use crate::ident::{quote_ident, quote_literal, quote_table};
use crate::wire::{Client, Row};

/// A right that green should have.
struct Right {
    /// What `has_..._privilege` is asked: table, column, sequence, schema or database.
    kind: &'static str,
    /// Object id, or name of a schema.
    object: String,
    column: String,
    grantee: String,
    privilege: String,
    /// As blue names the object.
    named: String,
    /// As a statement on green names it.
    quoted: String,
}

pub(super) async fn look(look: &mut Look<'_>, out: &mut Lacks) -> Result<(), Failure> {
    let pairs = look.pairs()?;
    let mut rights = tables(look.blue, &pairs).await?;
    rights.extend(columns(look.blue, &pairs).await?);
    rights.extend(sequences(look, &pairs).await?);
    rights.extend(schemas(look.blue, &pairs).await?);
    let database = look.scene()?.green.database.clone();
    rights.extend(databases(look.blue, &database).await?);
    // Servers before 17 do not know the right to maintain a table.
    let knows = look.green.server_version() >= 170_000;
    rights.retain(|right| knows || right.privilege != "MAINTAIN");
    for missing in missing(look.green, &rights).await? {
        let Some(right) = rights.get(missing) else { continue };
        let Right { privilege, named, grantee, quoted, column, .. } = right;
        let blue_column =
            if column.is_empty() { String::new() } else { format!(" ({})", quote_ident(column)) };
        let to = if grantee == "public" { "PUBLIC".to_owned() } else { quote_ident(grantee) };
        let subject = format!("grant {privilege} on {named} to {grantee}");
        out.add(
            subject,
            "is missing on green",
            format!("GRANT {privilege}{blue_column} ON {quoted} TO {to}"),
        );
    }
    Ok(())
}

/// Rights of `acl`, whose default is `default`, as rows of object, grantee, privilege.
fn rights_sql(object: &str, acl: &str, from: &str) -> String {
    format!(
        "SELECT DISTINCT {object}, coalesce(r.rolname, 'public'), x.privilege_type \
         FROM {from} CROSS JOIN LATERAL pg_catalog.aclexplode({acl}) x \
         LEFT JOIN pg_catalog.pg_roles r ON r.oid = x.grantee \
         WHERE (x.grantee = 0 OR (NOT r.rolsuper AND r.rolname NOT LIKE 'pg\\_%' AND r.rolname <> current_user))"
    )
}

fn granted(row: &Row) -> Result<(String, String), Failure> {
    Ok((row.required(1)?.to_owned(), row.required(2)?.to_owned()))
}

async fn tables(blue: &mut Client, pairs: &[Pair<'_>]) -> Result<Vec<Right>, Failure> {
    let acl = "coalesce(c.relacl, pg_catalog.acldefault('r', c.relowner))";
    let sql = rights_sql("c.oid", acl, "pg_catalog.pg_class c");
    let rows = blue.query(&format!("{sql} AND c.oid = ANY ('{}'::oid[])", all_on_blue(pairs))).await?;
    let mut rights = Vec::new();
    for row in rows {
        let oid = row.parse::<u32>(0)?;
        for pair in pairs.iter().filter(|pair| pair.blue.oid == oid) {
            let (grantee, privilege) = granted(&row)?;
            rights.push(Right {
                kind: "table",
                object: pair.green.oid.to_string(),
                column: String::new(),
                grantee,
                privilege,
                named: pair.blue.name.to_string(),
                quoted: quote_table(&pair.green.name),
            });
        }
    }
    Ok(rights)
}

async fn columns(blue: &mut Client, pairs: &[Pair<'_>]) -> Result<Vec<Right>, Failure> {
    let sql = rights_sql("a.attrelid", "a.attacl", "pg_catalog.pg_attribute a");
    let sql = sql.replacen("SELECT DISTINCT", "SELECT", 1).replacen(" FROM", ", a.attname FROM", 1);
    let rows = blue.query(&format!("{sql} AND a.attrelid = ANY ('{}'::oid[])", all_on_blue(pairs))).await?;
    let mut rights = Vec::new();
    for row in rows {
        let (oid, column) = (row.parse::<u32>(0)?, row.required(3)?);
        for pair in pairs.iter().filter(|pair| pair.blue.oid == oid) {
            let Some(green) = pair.passed(column) else { continue };
            let (grantee, privilege) = granted(&row)?;
            rights.push(Right {
                kind: "column",
                object: pair.green.oid.to_string(),
                column: green.to_owned(),
                grantee,
                privilege,
                named: format!("{}.{column}", pair.blue.name),
                quoted: quote_table(&pair.green.name),
            });
        }
    }
    Ok(rights)
}

async fn sequences(look: &mut Look<'_>, pairs: &[Pair<'_>]) -> Result<Vec<Right>, Failure> {
    let (blue, green) = (Sequences::read(look.blue).await?, Sequences::read(look.green).await?);
    let matched = matched(pairs, &blue, &green);
    let oids = matched.iter().map(|one| one.blue.oid.to_string()).collect::<Vec<_>>().join(",");
    let acl = "coalesce(c.relacl, pg_catalog.acldefault('s', c.relowner))";
    let sql = rights_sql("c.oid", acl, "pg_catalog.pg_class c");
    let rows = look.blue.query(&format!("{sql} AND c.oid = ANY ('{{{oids}}}'::oid[])")).await?;
    let mut rights = Vec::new();
    for row in rows {
        let oid = row.parse::<u32>(0)?;
        for one in matched.iter().filter(|one| one.blue.oid == oid) {
            let Some(like) = one.green else { continue };
            let (grantee, privilege) = granted(&row)?;
            rights.push(Right {
                kind: "sequence",
                object: like.oid.to_string(),
                column: String::new(),
                grantee,
                privilege,
                named: format!("sequence {}", one.blue.name),
                quoted: format!("SEQUENCE {}", quote_table(&like.name)),
            });
        }
    }
    Ok(rights)
}

/// Of a schema only that it may be used: what else may be created there is not the application's.
async fn schemas(blue: &mut Client, pairs: &[Pair<'_>]) -> Result<Vec<Right>, Failure> {
    let acl = "coalesce(n.nspacl, pg_catalog.acldefault('n', n.nspowner))";
    let rows = blue.query(&rights_sql("n.nspname", acl, "pg_catalog.pg_namespace n")).await?;
    let mut rights = Vec::new();
    for row in rows {
        let schema = row.required(0)?;
        let (grantee, privilege) = granted(&row)?;
        for pair in pairs.iter().filter(|pair| pair.blue.name.schema == schema && privilege == "USAGE") {
            rights.push(Right {
                kind: "schema",
                object: pair.green.name.schema.clone(),
                column: String::new(),
                grantee: grantee.clone(),
                privilege: privilege.clone(),
                named: format!("schema {schema}"),
                quoted: format!("SCHEMA {}", quote_ident(&pair.green.name.schema)),
            });
        }
    }
    Ok(rights)
}

async fn databases(blue: &mut Client, on_green: &str) -> Result<Vec<Right>, Failure> {
    let acl = "coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba))";
    let sql = rights_sql("d.datname", acl, "pg_catalog.pg_database d");
    let sql = format!("{sql} AND d.datname = current_database() AND x.privilege_type = 'CONNECT'");
    let right = |row: &Row| {
        let (grantee, privilege) = granted(row)?;
        Ok(Right {
            kind: "database",
            object: on_green.to_owned(),
            column: String::new(),
            grantee,
            privilege,
            named: "the database".to_owned(),
            quoted: format!("DATABASE {}", quote_ident(on_green)),
        })
    };
    blue.query(&sql).await?.iter().map(right).collect()
}

/// Which of them green lacks, by number.
async fn missing(green: &mut Client, rights: &[Right]) -> Result<Vec<usize>, Failure> {
    if rights.is_empty() {
        return Ok(Vec::new());
    }
    let row = |(number, right): (usize, &Right)| {
        let Right { kind, object, column, grantee, privilege, .. } = right;
        let [kind, object, column, grantee, privilege] =
            [kind, object.as_str(), column, grantee, privilege].map(quote_literal);
        format!("({number}, {kind}, {object}, {column}, {grantee}, {privilege})")
    };
    let wanted = rights.iter().enumerate().map(row).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "SELECT w.number FROM (SELECT v.*, CASE v.grantee WHEN 'public' THEN 0::oid \
             ELSE (SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname = v.grantee) END AS role \
           FROM (VALUES {wanted}) AS v (number, kind, object, field, grantee, privilege)) w \
         WHERE CASE w.kind \
           WHEN 'table' THEN pg_catalog.has_table_privilege(w.role, w.object::oid, w.privilege) \
           WHEN 'column' THEN pg_catalog.has_column_privilege(w.role, w.object::oid, w.field, w.privilege) \
           WHEN 'sequence' THEN pg_catalog.has_sequence_privilege(w.role, w.object::oid, w.privilege) \
           WHEN 'schema' THEN pg_catalog.has_schema_privilege(w.role, w.object, w.privilege) \
           ELSE pg_catalog.has_database_privilege(w.role, w.object, w.privilege) END IS NOT TRUE ORDER BY 1"
    );
    green.query(&sql).await?.iter().map(|row| row.parse(0)).collect()
}
