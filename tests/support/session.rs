//! SQL on a test server, as its super-user, with `public` on the search path.

use understudy::demo::cluster::Cluster;
use understudy_contract::Failure;
use understudy_postgres::wire::{Client, ConnectOptions};

/// A connection that fails the test when a statement fails.
pub struct Session(Client);

impl Session {
    /// Connects to a database of a cluster.
    pub async fn open(cluster: &Cluster, database: &str) -> Session {
        let options = cluster.options(database).expect("the options of a cluster");
        Session::try_open(&options)
            .await
            .unwrap_or_else(|failure| panic!("connect to {}: {failure}", cluster.name()))
    }

    /// Connects, unless the server refuses or is away.
    pub async fn try_open(options: &ConnectOptions) -> Result<Session, Failure> {
        let mut client = Client::connect(&options.clone().with_application_name("tests")).await?;
        client.batch("SET search_path = public").await?;
        Ok(Session(client))
    }

    /// Runs any number of statements.
    pub async fn batch(&mut self, sql: &str) {
        self.try_batch(sql).await.unwrap_or_else(|failure| panic!("{failure}\n{sql}"));
    }

    /// Runs statements that may fail.
    pub async fn try_batch(&mut self, sql: &str) -> Result<(), Failure> {
        self.0.batch(sql).await
    }

    /// The first column of every row; an empty text for null.
    pub async fn column(&mut self, sql: &str) -> Vec<String> {
        self.try_column(sql).await.unwrap_or_else(|failure| panic!("{failure}\n{sql}"))
    }

    /// The first column of every row of a query that may fail; an empty text for null.
    pub async fn try_column(&mut self, sql: &str) -> Result<Vec<String>, Failure> {
        let rows = self.0.query(sql).await?;
        Ok(rows.iter().map(|row| row.text(0).unwrap_or_default().to_owned()).collect())
    }

    /// The one value of a query.
    pub async fn value(&mut self, sql: &str) -> String {
        let column = self.column(sql).await;
        assert_eq!(column.len(), 1, "one row from {sql}");
        column.into_iter().next().unwrap_or_default()
    }

    /// The one number of a query.
    pub async fn number(&mut self, sql: &str) -> i64 {
        self.value(sql).await.parse().unwrap_or_else(|error| panic!("a number from {sql}: {error}"))
    }
}
