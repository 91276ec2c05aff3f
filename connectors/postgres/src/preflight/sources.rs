//! Blue's tables: that they exist, can be read and published, and that their rows can be named.

use understudy_contract::{Failure, Findings};
use understudy_model::{ReplicaIdentity, TableName};

use super::describe::{Generated, Persistence, TableDescription, TableKind};
use super::plan::PlannedTable;
use super::side::{Side, oids, sources};
use crate::ident::{quote_ident, quote_table};
use crate::wire::Client;

/// Kind, persistence and identity of every table of the plan and of its leaves.
pub(super) fn check_sources(routes: &[PlannedTable], blue: &Side, out: &mut Findings) {
    let mut missing = routes.iter().map(|table| &table.source).filter(|name| blue.table(name).is_none());
    let mut seen = Vec::new();
    for name in missing.by_ref() {
        if !seen.contains(&name) {
            seen.push(name);
            let remedy = "correct `from` in the migration file";
            out.error("source-missing", blue.of(name), "does not exist, or is a system table", remedy);
        }
    }
    for (table, leaves) in sources(routes, blue) {
        if !check_kind(table, blue, out) {
            continue;
        }
        let mut sound = true;
        for leaf in &leaves {
            sound &= leaf.oid == table.oid || check_kind(leaf, blue, out);
            sound &= check_identity(leaf, blue, out);
        }
        if sound && table.key.is_none() {
            check_root_key(table, blue, out);
        }
        if table.has_heirs {
            let what = "other tables inherit from it; their rows are not its own, and move only with routes of their own";
            out.info("has-heirs", blue.of(&table.name), what);
        }
        check_key_collation(table, blue, out);
    }
}

fn check_kind(table: &TableDescription, blue: &Side, out: &mut Findings) -> bool {
    let subject = blue.of(&table.name);
    let (what, remedy) = match (table.kind, table.persistence) {
        (TableKind::Ordinary | TableKind::Partitioned, Persistence::Permanent) => return true,
        (TableKind::Ordinary | TableKind::Partitioned, Persistence::Unlogged) => {
            let remedy = format!("ALTER TABLE {} SET LOGGED", quote_table(&table.name));
            out.error(
                "source-unlogged",
                subject,
                "is unlogged: its changes are not in the write-ahead log",
                remedy,
            );
            return false;
        }
        (TableKind::Ordinary | TableKind::Partitioned, Persistence::Temporary) => {
            ("is temporary", "leave it out")
        }
        (TableKind::Foreign, _) => {
            ("is a foreign table: its rows are on another server", "migrate them from there")
        }
        (TableKind::View, _) => ("is a view", "name the tables it is made of"),
        (TableKind::MaterializedView, _) => {
            ("is a materialised view", "create it on green and refresh it there")
        }
    };
    out.error("source-not-a-table", subject, what, remedy);
    false
}

/// Whether updates and deletes of the table can be published. Says the exact statement that makes it so.
fn check_identity(table: &TableDescription, blue: &Side, out: &mut Findings) -> bool {
    if table.key.is_some() {
        return true;
    }
    let subject = blue.of(&table.name);
    let name = quote_table(&table.name);
    let plain = |index: &&super::describe::UniqueIndex| {
        index.usable_as_key
            && index
                .columns
                .iter()
                .all(|column| table.column(column).is_some_and(|c| c.generated == Generated::No))
    };
    let usable = table.unique.iter().find(plain);
    let generated = table.columns.iter().filter(|column| column.generated != Generated::No);
    let generated = generated.map(|column| column.name.as_str()).collect::<Vec<_>>();
    let remedy = match usable {
        Some(index) if index.primary => format!("ALTER TABLE {name} REPLICA IDENTITY DEFAULT"),
        Some(index) => {
            format!("ALTER TABLE {name} REPLICA IDENTITY USING INDEX {}", quote_ident(&index.name))
        }
        None => format!(
            "ALTER TABLE {name} ADD PRIMARY KEY (...); or CREATE UNIQUE INDEX over columns that are NOT NULL and \
             ALTER TABLE {name} REPLICA IDENTITY USING INDEX ..."
        ),
    };
    let by_full_row = table.identity == ReplicaIdentity::Full && blue.version >= 180_000;
    if !generated.is_empty()
        && (by_full_row
            || table.identity != ReplicaIdentity::Nothing && table.identity != ReplicaIdentity::Full)
    {
        let what = format!(
            "its replica identity contains generated columns ({}), which are not published: once published, blue would \
             refuse the application's updates and deletes",
            generated.join(", ")
        );
        out.error("identity-with-generated-column", subject, what, remedy);
    } else {
        let what = match table.identity {
            ReplicaIdentity::Full => {
                "has no unique index over columns that are NOT NULL: its rows cannot be told apart"
            }
            _ => {
                "has no usable replica identity: once published, blue would refuse the application's updates and deletes"
            }
        };
        out.error("no-usable-identity", subject, what, remedy);
    }
    false
}

/// The leaves have identities, but nothing makes rows unique among all of them.
fn check_root_key(table: &TableDescription, blue: &Side, out: &mut Findings) {
    let remedy = format!(
        "ALTER TABLE {} ADD PRIMARY KEY (...) over the partition key and what makes a row unique",
        quote_table(&table.name)
    );
    let what = "no unique index of the partitioned table itself agrees with the identities of its partitions, so a row \
                of one partition cannot be told from a row of another";
    out.error("no-usable-identity", blue.of(&table.name), what, remedy);
}

fn check_key_collation(table: &TableDescription, blue: &Side, out: &mut Findings) {
    for name in table.key.iter().flatten() {
        if table.column(name).is_some_and(|column| column.nondeterministic) {
            out.warning(
                "nondeterministic-key",
                blue.column_of(&table.name, name),
                "is part of the key and has a collation under which different texts are equal",
                "make sure green's column has the same collation",
            );
        }
    }
}

/// Rights on blue's tables, and row security that would hide rows from us.
pub(super) async fn check_source_rights(
    client: &mut Client,
    routes: &[PlannedTable],
    blue: &Side,
    published: &[TableName],
    out: &mut Findings,
) -> Result<(), Failure> {
    let tables = sources(routes, blue);
    let all = tables.iter().flat_map(|(root, leaves)| std::iter::once(*root).chain(leaves.iter().copied()));
    let mut all = all.collect::<Vec<_>>();
    all.sort_by_key(|table| table.oid);
    all.dedup_by_key(|table| table.oid);
    let rows = client
        .query(&format!(
            "SELECT c.oid, pg_catalog.has_schema_privilege(c.relnamespace, 'USAGE'), \
           pg_catalog.has_table_privilege(c.oid, 'SELECT'), pg_catalog.pg_has_role(c.relowner, 'USAGE'), \
           pg_catalog.row_security_active(c.oid), pg_catalog.pg_get_userbyid(c.relowner) \
         FROM pg_catalog.pg_class c WHERE c.oid = ANY ('{}'::oid[])",
            oids(all.iter().copied())
        ))
        .await?;
    let user = quote_ident(&blue.user);
    for row in rows {
        let oid = row.parse::<u32>(0)?;
        let Some(table) = all.iter().find(|table| table.oid == oid) else {
            continue;
        };
        let no = |column: usize| !row.is_true(column);
        let (subject, name) = (blue.of(&table.name), quote_table(&table.name));
        if no(1) || no(2) {
            let what = format!("role {} may not read it", blue.user);
            let remedy = format!(
                "GRANT USAGE ON SCHEMA {} TO {user}; GRANT SELECT ON {name} TO {user}",
                quote_ident(&table.name.schema)
            );
            out.error("select-right-missing", subject.as_str(), what, remedy);
        }
        let root = tables.iter().any(|(root, _)| root.oid == oid);
        if root && no(3) && !published.contains(&table.name) {
            let owner = row.text(5).unwrap_or("its owner");
            let what =
                format!("role {} may not add it to a publication, because it belongs to {owner}", blue.user);
            out.error(
                "ownership-missing",
                subject.as_str(),
                what,
                format!("GRANT {} TO {user}", quote_ident(owner)),
            );
        }
        if !no(4) {
            let what = format!("row security would hide rows from role {}", blue.user);
            out.error("row-security", subject, what, format!("ALTER ROLE {user} BYPASSRLS"));
        }
    }
    Ok(())
}
