//! The publication: which tables blue streams, exactly and by name, and whether someone has changed it.

use std::collections::BTreeSet;

use understudy_contract::{Class, Failure};
use understudy_model::TableName;

use crate::error::has_sqlstate;
use crate::ident::{quote_ident, quote_literal, quote_table};
use crate::wire::{Client, Row};

/// What to do where it cannot be told which changes were missed.
pub const START_OVER: &str =
    "start over with: understudy abort FILE, empty green's tables, then understudy run FILE";

/// A table to be published.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublishedTable {
    /// Its name.
    pub name: TableName,
    /// Whether it is the root of a partition tree, which is published with all its leaves.
    pub partitioned: bool,
}

/// A publication as the catalog shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicationState {
    /// Object id and version of its row in the catalog, as `oid.xmin`: dropped and created again it has another id, and
    /// altered, even to what it was, another version. Tables that come and go leave it alone.
    pub version: String,
    /// Which of insert, update, delete and truncate are published, in this order.
    pub publishes: [bool; 4],
    /// Whether changes are announced under the partition root.
    pub via_root: bool,
    /// Whether every table of the database is published.
    pub all_tables: bool,
    /// Schemas that are published as a whole.
    pub schemas: Vec<String>,
    /// Tables that are published by name, in order of their names.
    pub tables: Vec<PublicationTable>,
}

/// One table of a publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicationTable {
    /// Object id and version of its place in the publication, as `oid.xmin`: a table that was taken out and put back has
    /// another one, and so has another table under the same name.
    pub version: String,
    /// Its name.
    pub name: TableName,
    /// Whether only some columns are published.
    pub some_columns: bool,
    /// Whether only some rows are published.
    pub some_rows: bool,
}

/// Creates a publication of exactly these tables. Preflight must have passed: publishing a table without an identity
/// makes its updates fail on blue.
pub async fn create(
    client: &mut Client,
    publication: &str,
    tables: &[PublishedTable],
) -> Result<(), Failure> {
    let sql = format!(
        "CREATE PUBLICATION {} FOR TABLE {} \
         WITH (publish = 'insert,update,delete,truncate', publish_via_partition_root = false)",
        quote_ident(publication),
        table_list(tables)
    );
    run(client, &sql, &format!("create publication {publication} on blue")).await
}

/// Makes a publication hold exactly these tables.
pub async fn set_tables(
    client: &mut Client,
    publication: &str,
    tables: &[PublishedTable],
) -> Result<(), Failure> {
    let sql = format!("ALTER PUBLICATION {} SET TABLE {}", quote_ident(publication), table_list(tables));
    run(client, &sql, &format!("alter publication {publication} on blue")).await
}

/// Drops a publication. False when there was none.
pub async fn drop(client: &mut Client, publication: &str) -> Result<bool, Failure> {
    let sql = format!("DROP PUBLICATION {}", quote_ident(publication));
    match run(client, &sql, &format!("drop publication {publication} on blue")).await {
        Ok(()) => Ok(true),
        Err(failure) if has_sqlstate(&failure, "42704") => Ok(false),
        Err(failure) => Err(failure),
    }
}

async fn run(client: &mut Client, sql: &str, what: &str) -> Result<(), Failure> {
    client.batch(sql).await.map_err(|failure| {
        let remedy = match () {
            () if has_sqlstate(&failure, "42710") => {
                "a publication of this name exists: `understudy abort` removes what an earlier run left"
            }
            () if has_sqlstate(&failure, "42501") => {
                "let blue's role own the tables (or a role it is a member of own them), and grant it CREATE on the database"
            }
            () => "run `understudy check` for what blue needs",
        };
        failure.while_doing(what).remedy(remedy)
    })
}

/// The tables as a publication lists them. Without ONLY a name would stand for its inheritance children too, whatever
/// they are at that moment; a partition root cannot be told apart from its leaves. A table that several routes take is
/// listed once: Postgres takes no table twice.
fn table_list(tables: &[PublishedTable]) -> String {
    let mut seen = BTreeSet::new();
    let names = tables
        .iter()
        .filter(|table| seen.insert(&table.name))
        .map(|table| format!("{}{}", if table.partitioned { "" } else { "ONLY " }, quote_table(&table.name)));
    names.collect::<Vec<_>>().join(", ")
}

/// Reads a publication. `None` when there is none of this name.
pub async fn inspect(client: &mut Client, publication: &str) -> Result<Option<PublicationState>, Failure> {
    let read = async {
        let name = quote_literal(publication);
        let sql = format!(
            "SELECT pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot, puballtables, oid || '.' || xmin \
             FROM pg_catalog.pg_publication WHERE pubname = {name}"
        );
        let rows = client.query(&sql).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let newer = client.server_version() >= 150_000;
        let partial = if newer { "prattrs IS NOT NULL, prqual IS NOT NULL" } else { "false, false" };
        let sql = format!(
            "SELECT r.oid || '.' || r.xmin, n.nspname, c.relname, {partial} FROM pg_catalog.pg_publication_rel r \
             JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid JOIN pg_catalog.pg_class c ON c.oid = r.prrelid \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE p.pubname = {name} ORDER BY 2, 3"
        );
        let tables = client.query(&sql).await?.iter().map(table).collect::<Result<_, _>>()?;
        let schemas = if newer { schemas(client, &name).await? } else { Vec::new() };
        Ok(Some(PublicationState {
            version: row.required(6)?.to_owned(),
            publishes: [row.is_true(0), row.is_true(1), row.is_true(2), row.is_true(3)],
            via_root: row.is_true(4),
            all_tables: row.is_true(5),
            schemas,
            tables,
        }))
    };
    read.await.map_err(|failure: Failure| failure.while_doing(format!("read publication {publication}")))
}

fn table(row: &Row) -> Result<PublicationTable, Failure> {
    Ok(PublicationTable {
        version: row.required(0)?.to_owned(),
        name: TableName::new(row.required(1)?, row.required(2)?),
        some_columns: row.is_true(3),
        some_rows: row.is_true(4),
    })
}

async fn schemas(client: &mut Client, name: &str) -> Result<Vec<String>, Failure> {
    let sql = format!(
        "SELECT n.nspname FROM pg_catalog.pg_publication_namespace s \
         JOIN pg_catalog.pg_publication p ON p.oid = s.pnpubid \
         JOIN pg_catalog.pg_namespace n ON n.oid = s.pnnspid WHERE p.pubname = {name} ORDER BY 1"
    );
    client.query(&sql).await?.iter().map(|row| row.required(0).map(str::to_owned)).collect()
}

impl PublicationState {
    /// Refuses a publication that does not publish exactly these tables, whole and by themselves.
    pub fn expect(&self, publication: &str, tables: &[PublishedTable]) -> Result<(), Failure> {
        let wanted = tables.iter().map(|table| &table.name).collect::<BTreeSet<_>>();
        let there = self.tables.iter().map(|table| &table.name).collect::<BTreeSet<_>>();
        let mut faults = Vec::new();
        faults.extend(wanted.difference(&there).map(|name| format!("{name} is missing")));
        faults.extend(there.difference(&wanted).map(|name| format!("{name} was added")));
        for table in self.tables.iter().filter(|table| table.is_partial()) {
            faults.push(format!("{} is published only in part", table.name));
        }
        if !faults.is_empty() {
            let what = not_as_made(publication, &faults);
            return Err(
                Failure::new(Class::Diverged, what).remedy("understudy run FILE tells what to do about it")
            );
        }
        self.expect_options(publication)
    }

    /// Refuses a publication that does not publish every kind of change of its tables, and those alone, by leaf.
    pub fn expect_options(&self, publication: &str) -> Result<(), Failure> {
        let (mut faults, mut remedies) = (Vec::new(), Vec::new());
        let alter = |what: &str| format!("ALTER PUBLICATION {} {what}", quote_ident(publication));
        if self.publishes != [true; 4] {
            faults.push("not every kind of change is published".to_owned());
            remedies.push(alter("SET (publish = 'insert, update, delete, truncate')"));
        }
        if self.via_root {
            faults.push("publish_via_partition_root is on".to_owned());
            remedies.push(alter("SET (publish_via_partition_root = false)"));
        }
        if !self.schemas.is_empty() {
            faults.push("whole schemas are published".to_owned());
            let schemas = self.schemas.iter().map(|schema| quote_ident(schema)).collect::<Vec<_>>();
            remedies.push(alter(&format!("DROP TABLES IN SCHEMA {}", schemas.join(", "))));
        }
        if self.all_tables {
            faults.push("all tables are published".to_owned());
            remedies.push(START_OVER.to_owned());
        }
        if faults.is_empty() {
            return Ok(());
        }
        let remedy =
            format!("on blue: {}; then understudy run FILE tells what was missed", remedies.join("; "));
        Err(Failure::new(Class::Diverged, not_as_made(publication, &faults)).remedy(remedy))
    }
}

impl PublicationTable {
    /// Whether some of its columns or rows are left out.
    pub fn is_partial(&self) -> bool {
        self.some_columns || self.some_rows
    }
}

fn not_as_made(publication: &str, faults: &[String]) -> String {
    format!("publication {publication} is not as this migration made it: {}", faults.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(tables: &[&str]) -> PublicationState {
        let table = |name: &&str| PublicationTable {
            version: "17000.700".into(),
            name: TableName::new("public", *name),
            some_columns: false,
            some_rows: false,
        };
        PublicationState {
            version: "16999.700".into(),
            publishes: [true; 4],
            via_root: false,
            all_tables: false,
            schemas: Vec::new(),
            tables: tables.iter().map(table).collect(),
        }
    }

    #[test]
    fn every_change_of_a_publication_is_noticed() {
        // F46: a table added later would miss its old rows.
        let wanted = ["a", "b"]
            .map(|name| PublishedTable { name: TableName::new("public", name), partitioned: false });
        let good = state(&["a", "b"]);
        assert!(good.expect("p", &wanted).is_ok());
        let mut partial = good.clone();
        partial.tables[0].some_rows = true;
        for (changed, said) in [
            (state(&["a"]), "public.b is missing"),
            (state(&["a", "b", "c"]), "public.c was added"),
            (partial, "public.a is published only in part"),
            (PublicationState { publishes: [true, true, false, true], ..good.clone() }, "not every kind"),
            (PublicationState { via_root: true, ..good.clone() }, "publish_via_partition_root"),
            (PublicationState { schemas: vec!["s".into()], ..good.clone() }, "whole schemas"),
        ] {
            let failure = changed.expect("p", &wanted).unwrap_err();
            assert!(failure.to_string().contains(said), "{failure}");
            assert!(failure.remedy_text().is_some());
        }
    }

    #[test]
    fn names_are_quoted_and_children_left_out() {
        let tables = [
            PublishedTable { name: TableName::new("S", "a b"), partitioned: false },
            PublishedTable { name: TableName::new("s", "root"), partitioned: true },
        ];
        assert_eq!(table_list(&tables), "ONLY \"S\".\"a b\", \"s\".\"root\"");
        // Split over several tables of green, it is still one table of blue.
        let twice = [tables[0].clone(), tables[1].clone(), tables[0].clone()];
        assert_eq!(table_list(&twice), table_list(&tables));
    }
}
