//! Two databases and a plan between them, and what preflight finds.

#![allow(dead_code, unreachable_pub, reason = "helpers for the tests beside it")]

use std::sync::Arc;

use understudy_contract::{Failure, Finding, Severity};
use understudy_model::TableName;
use understudy_postgres::preflight::{
    ExistingRows, PlannedColumn, PlannedSource, PlannedTable, PreflightPlan, ReplicaRole, check,
};
use understudy_postgres::wire::{Client, ConnectOptions};

use crate::databases::{connect, database, shared};
use crate::support::Cluster;

/// Two databases and a plan between them.
pub struct Case {
    pub cluster: Arc<Cluster>,
    pub name: String,
    pub blue: ConnectOptions,
    pub green: ConnectOptions,
    pub plan: PreflightPlan,
}

/// A plan that has no tables yet, on two databases of the shared cluster.
pub async fn case(name: &str, on_blue: &str, on_green: &str) -> Option<Case> {
    case_on(shared()?, name, on_blue, on_green).await
}

pub async fn case_on(cluster: Arc<Cluster>, name: &str, on_blue: &str, on_green: &str) -> Option<Case> {
    let blue = database(&cluster, &format!("{name}_blue")).await;
    let green = database(&cluster, &format!("{name}_green")).await;
    connect(&blue).await.batch(on_blue).await.unwrap();
    connect(&green).await.batch(on_green).await.unwrap();
    let plan = PreflightPlan {
        migration: name.to_owned(),
        slot: format!("understudy_{name}"),
        publication: format!("understudy_{name}"),
        reader: format!("understudy/{name}/stream"),
        tables: Vec::new(),
        replica_role: ReplicaRole::Auto,
        existing_rows: ExistingRows::Refuse,
        wal_waiver: true,
        decoding_memory_bytes: 0,
        by_log: false,
    };
    Some(Case { cluster, name: name.to_owned(), blue, green, plan })
}

impl Case {
    /// Adds a route between tables of the same name. Columns are `name`, `green=blue`, `green:constant`, or
    /// `green~blue,blue` for an expression over these.
    pub fn route(self, table: &str, columns: &[&str]) -> Case {
        self.route_between(table, table, columns, None)
    }

    /// The same between other tables, with a condition over these columns of blue.
    pub fn route_between(mut self, from: &str, to: &str, columns: &[&str], filter: Option<&[&str]>) -> Case {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let column = |text: &&str| {
            if let Some((green, inputs)) = text.split_once('~') {
                let inputs = inputs.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
                return planned(green, PlannedSource::Computed { ty: "text".to_owned(), inputs });
            }
            match (text.split_once('='), text.split_once(':')) {
                (Some((green, blue)), _) => planned(green, PlannedSource::Column(blue.to_owned())),
                (_, Some((green, "null"))) => planned(green, PlannedSource::Constant(None)),
                (_, Some((green, value))) => planned(green, PlannedSource::Constant(Some(value.to_owned()))),
                _ => planned(text, PlannedSource::Column((*text).to_owned())),
            }
        };
        self.plan.tables.push(PlannedTable {
            source: table(from),
            target: table(to),
            columns: columns.iter().map(column).collect(),
            filter: filter.map(owned),
        });
        self
    }

    /// Connects both sides as a new role, which owns nothing and may do nothing unless `grants` says so.
    pub async fn with_role(mut self, attributes: &str, on_blue: &str, on_green: &str) -> Case {
        let role = format!("{}_role", self.name);
        let fill = |sql: &str| sql.replace("ROLE", &role);
        connect(&self.blue)
            .await
            .batch(&format!("CREATE ROLE {role} LOGIN {attributes}; {}", fill(on_blue)))
            .await
            .unwrap();
        connect(&self.green).await.batch(&fill(on_green)).await.unwrap();
        self.blue.user.clone_from(&role);
        self.green.user = role;
        self
    }

    /// Green's triggers and keys stay alive.
    pub fn never_replica(mut self) -> Case {
        self.plan.replica_role = ReplicaRole::Never;
        self
    }

    /// Lets green remember a migration that has started: the version of its publication, and the tables that are copied
    /// completely, each with the version of its place in it.
    pub async fn remember(&self, publication: Option<&str>, tables: &[(&str, Option<&str>)]) {
        let or_null = |text: Option<&str>| text.map_or("NULL".to_owned(), |text| format!("'{text}'"));
        let mut books = format!(
            "CREATE SCHEMA IF NOT EXISTS understudy; \
             CREATE TABLE IF NOT EXISTS understudy.migration (name text, checkpoint pg_lsn, publication text); \
             CREATE TABLE IF NOT EXISTS understudy.routes (migration text, route int, source_schema text, source_name text, \
               target_schema text, target_name text, fingerprint text, complete boolean, published text); \
             TRUNCATE understudy.migration, understudy.routes; \
             INSERT INTO understudy.migration VALUES ('{}', '0/10', {});",
            self.name,
            or_null(publication)
        );
        for (at, (table, version)) in tables.iter().enumerate() {
            books += &format!(
                "INSERT INTO understudy.routes VALUES ('{}', {at}, 'public', '{table}', 'public', '{table}', '', true, {});",
                self.name,
                or_null(*version)
            );
        }
        connect(&self.green).await.batch(&books).await.unwrap();
    }

    pub async fn findings(&self) -> Vec<Finding> {
        self.try_findings().await.unwrap()
    }

    pub async fn try_findings(&self) -> Result<Vec<Finding>, Failure> {
        let (mut blue, mut green) = (Client::connect(&self.blue).await?, Client::connect(&self.green).await?);
        check(&mut blue, &mut green, &self.plan).await
    }

    /// The finding of that code about that subject.
    pub async fn expect(&self, severity: Severity, code: &str, subject: &str) -> Finding {
        let findings = self.findings().await;
        let found = findings
            .iter()
            .find(|one| (one.severity, one.code, one.subject.as_str()) == (severity, code, subject));
        found
            .unwrap_or_else(|| panic!("no {severity} [{code}] about `{subject}` among {findings:#?}"))
            .clone()
    }

    pub async fn expect_not(&self, code: &str) {
        let findings = self.findings().await;
        assert!(findings.iter().all(|finding| finding.code != code), "{code} among {findings:#?}");
    }
}

pub fn planned(target: &str, source: PlannedSource) -> PlannedColumn {
    PlannedColumn { target: target.to_owned(), source }
}

pub fn table(name: &str) -> TableName {
    TableName::new("public", name)
}

pub const PLAIN: &str = "CREATE TABLE t (id int PRIMARY KEY, v text)";
