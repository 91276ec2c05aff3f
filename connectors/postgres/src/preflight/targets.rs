//! Green's tables: that they exist, can be written, name their rows by the same key, and hold nothing yet.

use understudy_contract::{Failure, Findings, Severity};
use understudy_model::TableName;

use super::describe::{Generated, Identity, Persistence, TableDescription, TableKind, UniqueIndex};
use super::keys::check_key;
use super::plan::{ExistingRows, PlannedSource, PlannedTable};
use super::side::{Side, oids, targets};
use super::words::some_of;
use crate::ident::{quote_ident, quote_table};
use crate::wire::Client;

/// Existence, kind and key of every table to be filled.
/// `all` are the routes that may share a table with these.
pub(super) fn check_targets(
    (routes, all): (&[PlannedTable], &[PlannedTable]),
    blue: &Side,
    green: &Side,
    out: &mut Findings,
) {
    let mut missing = Vec::new();
    for route in routes {
        let Some(target) = green.table(&route.target) else {
            if !missing.contains(&&route.target) {
                let remedy = "create it on green, or correct `to` in the migration file";
                out.error("target-missing", green.of(&route.target), "does not exist", remedy);
                missing.push(&route.target);
            }
            continue;
        };
        if !matches!(target.kind, TableKind::Ordinary | TableKind::Partitioned) {
            let what = "is not a table that rows can be written to";
            out.error(
                "target-not-a-table",
                green.of(&target.name),
                what,
                "correct `to` in the migration file",
            );
            continue;
        }
        if target.persistence == Persistence::Unlogged {
            let what = "is unlogged: a crash of green empties it";
            let remedy = format!("ALTER TABLE {} SET LOGGED", quote_table(&target.name));
            out.error("target-unlogged", green.of(&target.name), what, remedy);
        }
        check_unfilled(route, target, green, out);
        if let Some(source) = blue.table(&route.source) {
            check_key(route, source, target, (blue, green), out);
            check_other_unique((route, all), source, target, green, out);
        }
    }
}

/// Columns of green that nothing fills and that refuse to stay empty.
fn check_unfilled(route: &PlannedTable, target: &TableDescription, green: &Side, out: &mut Findings) {
    for column in &target.columns {
        let fills_itself =
            column.has_default || column.generated != Generated::No || column.identity != Identity::No;
        let filled = route.columns.iter().any(|planned| planned.target == column.name);
        if column.not_null && !fills_itself && !filled {
            let (table, name) = (quote_table(&target.name), quote_ident(&column.name));
            out.error(
                "target-column-unfilled",
                green.column_of(&target.name, &column.name),
                format!("is NOT NULL without a default, and nothing from {} fills it", route.source),
                format!(
                    "map it in the migration file, or ALTER TABLE {table} ALTER COLUMN {name} SET DEFAULT ..."
                ),
            );
        }
    }
}

/// Unique indexes that blue does not have may refuse what blue accepts.
///
/// A constant tells nothing apart within its route. Where several routes fill the table, it takes one to tell theirs apart.
fn check_other_unique(
    (route, all): (&PlannedTable, &[PlannedTable]),
    source: &TableDescription,
    target: &TableDescription,
    green: &Side,
    out: &mut Findings,
) {
    let own = |name: &String| route.source_of(name);
    let is_constant = |name: &String| matches!(own(name), Some(PlannedSource::Constant(Some(_))));
    let on_blue = |index: &UniqueIndex| {
        source.unique.iter().any(|theirs| {
            let told = index.columns.iter().filter(|name| !is_constant(name)).collect::<Vec<_>>();
            let is_told = |column: &String| {
                route.target_of(column).is_some_and(|name| told.iter().any(|ours| *ours == name))
            };
            theirs.columns.len() == told.len() && theirs.columns.iter().all(is_told)
        })
    };
    let is_alone = |index: &UniqueIndex| {
        let others = all.iter().filter(|other| other.target == route.target && *other != route);
        others
            .into_iter()
            .all(|other| index.columns.iter().any(|name| differ(own(name), other.source_of(name))))
    };
    let drawn = |index: &UniqueIndex| index.columns.iter().any(|name| own(name).is_none());
    for index in target.unique.iter().filter(|index| !drawn(index)) {
        let subject = green.of(&target.name);
        if !on_blue(index) {
            let what = format!("unique index {} has no counterpart on blue and may refuse rows", index.name);
            let remedy = "make sure that blue's rows satisfy it";
            out.warning("extra-unique-index", subject, what, remedy);
        } else if !is_alone(index) {
            let what = format!(
                "unique index {} may refuse rows: several tables of blue fill this table, and it holds for all of them together",
                index.name
            );
            let remedy = "make sure that no two of these tables have rows that agree in it";
            out.warning("extra-unique-index", subject, what, remedy);
        }
    }
}

/// Whether both are constants, and not the same.
fn differ(one: Option<&PlannedSource>, other: Option<&PlannedSource>) -> bool {
    match (one, other) {
        (Some(PlannedSource::Constant(Some(one))), Some(PlannedSource::Constant(Some(other)))) => {
            one != other
        }
        _ => false,
    }
}

/// Rights on green's tables, row security, and rows that are there already, where those are not ours.
pub(super) async fn check_target_access(
    client: &mut Client,
    routes: &[PlannedTable],
    green: &Side,
    existing: Option<ExistingRows>,
    out: &mut Findings,
) -> Result<(), Failure> {
    let tables = targets(routes, green);
    let rows = client.query(&format!(
        "SELECT c.oid, pg_catalog.has_schema_privilege(c.relnamespace, 'USAGE'), \
           array_to_string(ARRAY(SELECT wanted FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS w(wanted) \
             WHERE NOT pg_catalog.has_table_privilege(c.oid, wanted)), ', '), \
           pg_catalog.has_table_privilege(c.oid, 'TRUNCATE'), pg_catalog.row_security_active(c.oid) \
         FROM pg_catalog.pg_class c WHERE c.oid = ANY ('{}'::oid[])",
        oids(tables.iter().copied())
    )).await?;
    let user = quote_ident(&green.user);
    for row in rows {
        let oid = row.parse::<u32>(0)?;
        let Some(table) = tables.iter().find(|table| table.oid == oid) else {
            continue;
        };
        let (subject, name) = (green.of(&table.name), quote_table(&table.name));
        let rights = row.text(2).unwrap_or_default();
        let schema = row.is_true(1);
        if !schema {
            let schema = quote_ident(&table.name.schema);
            let what = format!("role {} may not use its schema", green.user);
            let remedy = format!("GRANT USAGE ON SCHEMA {schema} TO {user}");
            out.error("write-right-missing", subject.as_str(), what, remedy);
        }
        if !rights.is_empty() {
            let what = format!("role {} lacks the rights {rights}", green.user);
            out.error(
                "write-right-missing",
                subject.as_str(),
                what,
                format!("GRANT {rights} ON {name} TO {user}"),
            );
        }
        if !row.is_true(3) {
            let what = format!("role {} may not truncate it: a TRUNCATE on blue would stop here", green.user);
            let remedy = format!("GRANT TRUNCATE ON {name} TO {user}");
            out.warning("truncate-right-missing", subject.as_str(), what, remedy);
        }
        if row.is_true(4) {
            let what = format!("row security applies to role {}", green.user);
            out.error("row-security", subject, what, format!("ALTER ROLE {user} BYPASSRLS"));
        }
        let writable = matches!(table.kind, TableKind::Ordinary | TableKind::Partitioned);
        if let Some(existing) = existing
            && writable
            && schema
            && !rights.contains("SELECT")
            && !row.is_true(4)
        {
            check_empty(client, existing, &table.name, green, out).await?;
        }
    }
    Ok(())
}

async fn check_empty(
    client: &mut Client,
    existing: ExistingRows,
    table: &TableName,
    green: &Side,
    out: &mut Findings,
) -> Result<(), Failure> {
    let rows = client.query(&format!("SELECT EXISTS (SELECT FROM {})", quote_table(table))).await?;
    if rows.first().and_then(|row| row.text(0)) != Some("t") {
        return Ok(());
    }
    let what = "holds rows already";
    match existing {
        ExistingRows::Adopt => {
            let what =
                format!("{what}; they count as blue's and are overwritten, and any that blue lacks stay");
            out.info("target-rows-adopted", green.of(table), what);
        }
        ExistingRows::Refuse => {
            let remedy = format!(
                "TRUNCATE {} if they are not needed, or set `existing_rows: adopt`",
                quote_table(table)
            );
            out.error("target-not-empty", green.of(table), what, remedy);
        }
    }
    Ok(())
}

/// Extensions whose types the migration uses, and those that green does not have.
pub(super) async fn check_extensions(
    blue_client: &mut Client,
    green_client: &mut Client,
    used: &[String],
    out: &mut Findings,
) -> Result<(), Failure> {
    let sql =
        "SELECT extname, extversion FROM pg_catalog.pg_extension WHERE extname <> 'plpgsql' ORDER BY extname";
    let (blue, green) = (blue_client.query(sql).await?, green_client.query(sql).await?);
    let mut unused = Vec::new();
    for row in &blue {
        let (name, version) = (row.required(0)?, row.required(1)?);
        let there = green.iter().find(|other| other.text(0) == Some(name)).and_then(|other| other.text(1));
        let subject = format!("green extension {name}");
        match there {
            None if used.iter().any(|extension| extension == name) => {
                let what = "is missing, and columns of the migration have its types on blue";
                out.warning(
                    "extension-missing",
                    subject,
                    what,
                    format!("CREATE EXTENSION {} on green", quote_ident(name)),
                );
            }
            None => unused.push(name.to_owned()),
            Some(other) if other != version && used.iter().any(|extension| extension == name) => {
                let what = format!("has version {other}, blue {version}: texts of its types may differ");
                let remedy = format!("ALTER EXTENSION {} UPDATE", quote_ident(name));
                out.warning("extension-version-differs", subject, what, remedy);
            }
            Some(_) => {}
        }
    }
    if !unused.is_empty() {
        let severity = Severity::NotMoved;
        out.add(severity, "extensions", "blue extensions", format!("green lacks {}", some_of(unused)), "");
    }
    Ok(())
}
