//! The facts of one side that several checks need, read once.

use rustc_hash::FxHashMap;
use understudy_contract::{Class, Failure};
use understudy_model::TableName;

use super::describe::{TableDescription, TableKind, describe, leaves};
use super::plan::PlannedTable;
use crate::wire::{Client, Row};

/// One server, one database, one role.
pub(crate) struct Side {
    /// `blue` or `green`.
    pub(crate) label: &'static str,
    pub(crate) version: u32,
    pub(crate) user: String,
    pub(crate) may_replicate: bool,
    pub(crate) database: String,
    pub(crate) encoding: String,
    pub(crate) locale: String,
    pub(crate) standby: bool,
    pub(crate) may_create: bool,
    pub(crate) system_id: Option<String>,
    /// Server settings by name, in the unit that `pg_settings` uses.
    pub(crate) settings: FxHashMap<String, String>,
    pub(crate) tables: Vec<TableDescription>,
}

impl Side {
    /// Reads them.
    pub(crate) async fn read(label: &'static str, client: &mut Client) -> Result<Side, Failure> {
        let row = one(client.query(FACTS).await?)?;
        let settings = client.query("SELECT name, setting FROM pg_catalog.pg_settings").await?;
        let settings = settings
            .iter()
            .map(|row| Ok((row.required(0)?.to_owned(), row.text(1).unwrap_or_default().to_owned())))
            .collect::<Result<_, Failure>>()?;
        // Some services hide it; then two names for one server go unnoticed, and nothing else depends on it.
        let system_id = client.query("SELECT system_identifier FROM pg_catalog.pg_control_system()").await;
        let system_id = system_id.ok().and_then(|rows| rows.first()?.text(0).map(str::to_owned));
        Ok(Side {
            label,
            version: client.server_version(),
            user: row.required(0)?.to_owned(),
            may_replicate: row.is_true(1),
            database: row.required(2)?.to_owned(),
            encoding: row.required(3)?.to_owned(),
            locale: row.required(4)?.to_owned(),
            standby: row.is_true(5),
            may_create: row.is_true(6),
            system_id,
            settings,
            tables: describe(client).await?,
        })
    }

    /// A server setting, empty when the server does not know it.
    pub(crate) fn setting(&self, name: &str) -> &str {
        self.settings.get(name).map_or("", String::as_str)
    }

    /// A numeric server setting.
    pub(crate) fn number(&self, name: &str) -> Option<i64> {
        self.setting(name).parse().ok()
    }

    /// A table by name.
    pub(crate) fn table(&self, name: &TableName) -> Option<&TableDescription> {
        self.tables.iter().find(|table| &table.name == name)
    }

    /// `blue table public.orders`.
    pub(crate) fn of(&self, table: &TableName) -> String {
        format!("{} table {table}", self.label)
    }

    /// `blue column public.orders.id`.
    pub(crate) fn column_of(&self, table: &TableName, column: &str) -> String {
        format!("{} column {table}.{column}", self.label)
    }
}

/// A table of the plan as blue has it, and the tables that hold its rows: itself, or its leaves.
pub(crate) fn sources<'a>(
    routes: &[PlannedTable],
    blue: &'a Side,
) -> Vec<(&'a TableDescription, Vec<&'a TableDescription>)> {
    let mut names = routes.iter().map(|table| &table.source).collect::<Vec<_>>();
    names.sort();
    names.dedup();
    let with_leaves = |table: &'a TableDescription| match table.kind {
        TableKind::Partitioned => (table, leaves(&blue.tables, &table.name)),
        _ => (table, vec![table]),
    };
    names.into_iter().filter_map(|name| blue.table(name)).map(with_leaves).collect()
}

/// The tables of green that the plan fills.
pub(crate) fn targets<'a>(routes: &[PlannedTable], green: &'a Side) -> Vec<&'a TableDescription> {
    let mut names = routes.iter().map(|table| &table.target).collect::<Vec<_>>();
    names.sort();
    names.dedup();
    names.into_iter().filter_map(|name| green.table(name)).collect()
}

/// `{1,2,3}` as text for an `oid[]`.
pub(crate) fn oids<'a>(tables: impl IntoIterator<Item = &'a TableDescription>) -> String {
    let oids = tables.into_iter().map(|table| table.oid.to_string()).collect::<Vec<_>>();
    format!("{{{}}}", oids.join(","))
}

/// The only row of an answer.
pub(crate) fn one(rows: Vec<Row>) -> Result<Row, Failure> {
    rows.into_iter().next().ok_or_else(|| Failure::new(Class::Internal, "the server answered without a row"))
}

/// `rds_replication` stands for the role attribute on a service that does not hand the attribute out.
const FACTS: &str = "SELECT current_user, r.rolsuper OR r.rolreplication OR EXISTS (SELECT FROM pg_catalog.pg_roles m \
         WHERE m.rolname = 'rds_replication' AND pg_catalog.pg_has_role(m.oid, 'MEMBER')), \
       current_database(), pg_catalog.pg_encoding_to_char(d.encoding), d.datcollate, \
       pg_catalog.pg_is_in_recovery(), pg_catalog.has_database_privilege(d.oid, 'CREATE') \
     FROM pg_catalog.pg_database d, pg_catalog.pg_roles r \
     WHERE d.datname = current_database() AND r.rolname = current_user";
