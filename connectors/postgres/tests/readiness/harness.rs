//! Two databases on two clusters, a migration between them, and what readiness finds.

#![allow(dead_code, unreachable_pub, reason = "helpers for the tests beside it")]

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use understudy_contract::{Found, Lack, Readiness, ReadinessCheck};
use understudy_model::TableName;
use understudy_postgres::readiness::{Feed, ReadinessPlan, ReadyRoute, examine, examine_blue};
use understudy_postgres::wire::{Client, ConnectOptions};

use crate::databases::{connect, database, shared};
use crate::support::Cluster;

/// Two databases and a migration between them.
pub struct Case {
    pub clusters: [Arc<Cluster>; 2],
    pub blue: ConnectOptions,
    pub green: ConnectOptions,
    pub plan: ReadinessPlan,
}

static GREEN: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());

/// Green's cluster is another than blue's: roles and settings of a server differ only then.
fn shared_green() -> Option<Arc<Cluster>> {
    let mut slot = GREEN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(cluster) = slot.upgrade() {
        return Some(cluster);
    }
    let cluster = Arc::new(Cluster::start()?);
    *slot = Arc::downgrade(&cluster);
    Some(cluster)
}

/// A migration without routes, between databases that were set up by these statements.
pub async fn case(name: &str, on_blue: &str, on_green: &str) -> Option<Case> {
    case_on([shared()?, shared_green()?], name, on_blue, on_green).await
}

pub async fn case_on(clusters: [Arc<Cluster>; 2], name: &str, on_blue: &str, on_green: &str) -> Option<Case> {
    let mut sides = Vec::new();
    for (cluster, sql) in clusters.iter().zip([on_blue, on_green]) {
        let options = database(cluster, name).await;
        // Roles of other tests in the same cluster are not this database's.
        let closed = format!("REVOKE ALL ON DATABASE {name} FROM PUBLIC");
        let mut client = connect(&options).await;
        client.batch(&closed).await.unwrap();
        for statement in sql.split(";;") {
            client.batch(statement).await.unwrap();
        }
        sides.push(options.with_application_name(&format!("understudy/{name}/gate")));
    }
    let green = sides.pop()?;
    let plan = ReadinessPlan {
        migration: name.to_owned(),
        feed: Feed::Own(format!("understudy_{name}")),
        routes: Vec::new(),
        max_transaction_age: Duration::from_secs(60),
        sequence_headroom: 1000,
    };
    Some(Case { clusters, blue: sides.pop()?, green, plan })
}

impl Case {
    /// Adds a route. Columns are `name`, or `blue=green`.
    pub fn route(mut self, from: &str, to: &str, columns: &[&str]) -> Case {
        let column = |text: &&str| {
            let (blue, green) = text.split_once('=').unwrap_or((text, text));
            (blue.to_owned(), green.to_owned())
        };
        self.plan.routes.push(ReadyRoute {
            source: table(from),
            target: table(to),
            columns: columns.iter().map(column).collect(),
            copied_before: true,
        });
        self
    }

    /// Connects both sides as a new role without rights.
    pub async fn with_role(mut self, role: &str) -> Case {
        for side in [&mut self.blue, &mut self.green] {
            let sql =
                format!("CREATE ROLE {role} LOGIN; GRANT CONNECT ON DATABASE {} TO {role}", side.database);
            connect(side).await.batch(&sql).await.unwrap();
            role.clone_into(&mut side.user);
        }
        self
    }

    pub async fn on_blue(&self, sql: &str) {
        superuser(&self.blue).await.batch(sql).await.unwrap();
    }

    pub async fn on_green(&self, sql: &str) {
        superuser(&self.green).await.batch(sql).await.unwrap();
    }

    pub async fn examined(&self) -> Vec<Readiness> {
        let (mut blue, mut green) =
            (Client::connect(&self.blue).await.unwrap(), Client::connect(&self.green).await.unwrap());
        examine(&mut blue, &mut green, &self.plan).await
    }

    /// Blue by itself, where green is no server.
    pub async fn examined_alone(&self, why_not: &str) -> Vec<Readiness> {
        let mut blue = Client::connect(&self.blue).await.unwrap();
        examine_blue(&mut blue, &self.plan, why_not).await
    }

    pub async fn found(&self, check: ReadinessCheck) -> Found {
        self.examined().await.into_iter().find(|one| one.check == check).unwrap().found
    }

    pub async fn lacks(&self, check: ReadinessCheck) -> Vec<Lack> {
        match self.found(check).await {
            Found::Good => Vec::new(),
            Found::Lacks(lacks) => lacks,
            Found::Unknown(reason) | Found::Inapplicable(reason) => panic!("{check:?} is not told: {reason}"),
        }
    }

    /// These and no others, each as its subject and words of its reason.
    pub async fn expect(&self, check: ReadinessCheck, expected: &[(&str, &str)]) -> Vec<Lack> {
        let lacks = self.lacks(check).await;
        let subjects = lacks.iter().map(|lack| lack.subject.as_str()).collect::<Vec<_>>();
        let wanted = expected.iter().map(|(subject, _)| *subject).collect::<Vec<_>>();
        assert_eq!(subjects, wanted, "{lacks:#?}");
        for (lack, (_, gist)) in lacks.iter().zip(expected) {
            assert!(lack.reason.contains(gist), "`{gist}` is not in {lack:#?}");
        }
        lacks
    }

    /// Runs the remedies on green, each as it is shown, after which nothing is lacking.
    pub async fn mend(&self, check: ReadinessCheck, lacks: &[Lack]) {
        let mut green = superuser(&self.green).await;
        for lack in lacks {
            let remedy = lack.remedy.as_deref().unwrap();
            let remedy = remedy.strip_suffix(", and give it its password").unwrap_or(remedy);
            green.batch(remedy).await.unwrap_or_else(|failure| panic!("{remedy}: {failure}"));
        }
        self.expect(check, &[]).await;
    }
}

async fn superuser(options: &ConnectOptions) -> Client {
    connect(&ConnectOptions { user: "postgres".to_owned(), ..options.clone() }).await
}

/// A table of `public`, or of the schema before the dot.
pub fn table(name: &str) -> TableName {
    let (schema, name) = name.split_once('.').unwrap_or(("public", name));
    TableName::new(schema, name)
}
