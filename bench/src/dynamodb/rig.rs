//! Blue, DynamoDB Local in memory, and the sidecar between them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client as Dynamo;
use understudy::demo::cluster::{Cluster, Scratch};
use understudy::demo::port::Port;
use understudy::demo::sidecar::{Sidecar, SidecarFiles};
use understudy_contract::{Class, Failure};
use understudy_dynamodb::estimate::Billing;
use understudy_dynamodb::layout::KeyKind;
use understudy_dynamodb::{ClientSettings, Keys, Secret, TableDefinition, TableKey, connect};
use understudy_model::Lsn;
use understudy_postgres::wire::{Client, ConnectOptions};

use super::page::Spent;
use super::plain::AT_ONCE;
use crate::options::Options;
use crate::rig::{DATABASE, SETTINGS, wait_for_zero};

/// The server lets in whoever says a name.
const NAME: &str = "bench";

/// How old the figures on the page of metrics may be, and a little more.
const FIGURES_AGE_MAX: Duration = Duration::from_millis(2_500);

/// One migration: what is called after it is its own.
#[derive(Debug, Clone)]
pub(super) struct Run {
    /// Its name.
    pub(super) name: String,
    /// How rows of its first copy are put, as the file says.
    pub(super) first_copy: &'static str,
}

impl Run {
    /// The table that it fills with orders.
    pub(super) fn orders(&self) -> String {
        format!("{}-orders", self.name)
    }

    /// The table that it fills with marks.
    pub(super) fn marks(&self) -> String {
        format!("{}-marks", self.name)
    }

    /// The table that the plain writer fills beside it.
    pub(super) fn plain(&self) -> String {
        format!("{}-plain", self.name)
    }

    fn state(&self) -> String {
        format!("{}-state", self.name)
    }

    fn slot(&self) -> String {
        format!("understudy_{}", self.name.replace('-', "_"))
    }
}

/// The servers, and the sidecar while it runs.
pub(super) struct Rig {
    // Dropped in this order: the sidecar before its servers, the servers before their files.
    sidecar: Option<Sidecar>,
    blue: Cluster,
    server: understudy_tests::Dynamo,
    /// By which tables are made, filled and read.
    pub(super) dynamo: Dynamo,
    files: SidecarFiles,
    patience: Duration,
    mark: i64,
    /// The most memory that any sidecar has held, in MiB.
    pub(super) peak: f64,
    _scratch: Scratch,
}

impl Rig {
    /// Starts the servers, and runs `schema` on blue.
    pub(super) async fn build(options: &Options, schema: &str) -> Result<Rig, Failure> {
        let mut scratch = Scratch::create("bench")?;
        if options.keep {
            scratch.keep();
        }
        let missing =
            || Failure::new(Class::Configuration, "DynamoDB Local is missing").remedy("run dev/servers");
        let server = understudy_tests::Dynamo::start().await.ok_or_else(missing)?;
        let blue = Cluster::create(&options.installation()?, &scratch, "blue", SETTINGS).await?;
        Client::connect(&blue.options(DATABASE)?).await?.batch(schema).await?;
        let keys = Keys { id: NAME.to_owned(), secret: Secret::new(NAME) };
        let endpoint = Some(server.endpoint());
        let settings = ClientSettings { endpoint, keys: Some(keys), ..ClientSettings::default() };
        let dynamo = Box::pin(connect(&settings)).await?;
        let files = SidecarFiles {
            program: options.program()?,
            migration: scratch.path().join("items.yaml"),
            log: scratch.path().join("understudy.log"),
            port: Arc::new(Port::reserve()?),
        };
        let patience = options.patience();
        Ok(Rig {
            sidecar: None,
            blue,
            server,
            dynamo,
            files,
            patience,
            mark: 0,
            peak: 0.0,
            _scratch: scratch,
        })
    }

    /// How to connect to blue.
    pub(super) fn blue_options(&self) -> Result<ConnectOptions, Failure> {
        self.blue.options(DATABASE)
    }

    /// A connection to blue.
    pub(super) async fn on_blue(&self) -> Result<Client, Failure> {
        Client::connect(&self.blue_options()?).await
    }

    /// Vacuums blue and writes everything out, so that none of it falls into a measurement.
    pub(super) async fn settle(&self) -> Result<(), Failure> {
        let mut blue = self.on_blue().await?;
        blue.batch("VACUUM ANALYZE").await?;
        blue.batch("CHECKPOINT").await
    }

    /// Creates a table with one text as its key.
    pub(super) async fn create(&self, table: &str) -> Result<(), Failure> {
        let definition = TableDefinition {
            name: table.to_owned(),
            key: TableKey { pk: ("pk".to_owned(), KeyKind::S), sk: None },
            indexes: Vec::new(),
            ttl: None,
            billing: Billing::OnDemand,
        };
        Box::pin(definition.create(&self.dynamo)).await
    }

    /// Creates the tables of a run, and writes its migration file.
    pub(super) async fn prepare(&self, run: &Run) -> Result<(), Failure> {
        for table in [run.orders(), run.marks(), run.plain()] {
            self.create(&table).await?;
        }
        let table = |name: &str| format!("      - {{ name: {name}, partition_key: {{ name: pk }} }}\n");
        let entry = |from: &str, to: &str, key: &str| {
            format!(
                "  - from: bench.{from}\n    dynamodb: {{ table: {to}, key: {{ pk: '{key}#{{id}}' }} }}\n"
            )
        };
        // What the plain writer does is measured against the same work; comparing both sides is no part of it.
        let text = format!(
            "version: 1\nname: {}\nblue:\n  url: {}\n  password: {{ file: {} }}\ngreen:\n  dynamodb:\n    endpoint: {}\n    \
             state_table: {}\n    first_copy: {}\n    at_once: {AT_ONCE}\n    tables:\n{}{}tables:\n{}{}control:\n  listen: {}\n\
             verify: {{ enabled: false }}\n",
            run.name,
            self.blue.url(DATABASE),
            self.blue.password_file().display(),
            self.server.endpoint(),
            run.state(),
            run.first_copy,
            table(&run.orders()),
            table(&run.marks()),
            entry("orders", &run.orders(), "ORDER"),
            entry("marks", &run.marks(), "MARK"),
            self.files.listen(),
        );
        let path = &self.files.migration;
        std::fs::write(path, text).map_err(|error| {
            Failure::new(Class::Internal, format!("could not write {}: {error}", path.display()))
        })
    }

    /// Starts the sidecar.
    pub(super) fn start(&mut self) -> Result<(), Failure> {
        let environment = [("AWS_ACCESS_KEY_ID", NAME), ("AWS_SECRET_ACCESS_KEY", NAME)];
        self.sidecar = Some(Sidecar::start_among(self.files.clone(), &environment)?);
        Ok(())
    }

    fn sidecar(&mut self) -> Result<&mut Sidecar, Failure> {
        self.sidecar.as_mut().ok_or_else(|| Failure::new(Class::Internal, "the sidecar is not running"))
    }

    /// Waits until both tables are copied.
    pub(super) async fn until_copied(&mut self) -> Result<Instant, Failure> {
        let patience = self.patience;
        self.sidecar()?.until(patience, |view| view.copy_is_complete(2)).await?;
        Ok(Instant::now())
    }

    /// Commits a row on blue behind everything else. Returns a place that green has reached once it shows that row.
    pub(super) async fn mark(&mut self) -> Result<Lsn, Failure> {
        self.mark -= 1;
        let mut blue = self.on_blue().await?;
        let rows = blue.query("SELECT pg_catalog.pg_current_wal_insert_lsn()").await?;
        blue.batch(&format!("INSERT INTO bench.marks VALUES ({})", self.mark)).await?;
        let told = rows.first().and_then(|row| row.text(0)).and_then(|lsn| lsn.parse().ok());
        told.ok_or_else(|| Failure::new(Class::Internal, "blue does not tell its place"))
    }

    /// Waits until green has applied everything up to a place.
    pub(super) async fn until_applied(&mut self, place: Lsn) -> Result<Instant, Failure> {
        let patience = self.patience;
        self.sidecar()?.until(patience, |view| view.applied() > place).await?;
        Ok(Instant::now())
    }

    /// What the sidecar's calls have come to since it was started.
    pub(super) async fn spent(&mut self) -> Result<Spent, Failure> {
        tokio::time::sleep(FIGURES_AGE_MAX).await;
        let page = self.sidecar()?.metrics().await?;
        Spent::of(&page.unwrap_or_default())
    }

    /// How many items a table has, and the sum of their counters.
    pub(super) async fn counted(&self, table: &str) -> Result<(u64, u64), Failure> {
        let (mut sums, mut from) = ((0, 0), None);
        loop {
            let scan = self.dynamo.scan().table_name(table).consistent_read(true).projection_expression("#c");
            let scan = scan.expression_attribute_names("#c", "counter").set_exclusive_start_key(from);
            let page = Box::pin(scan.send()).await;
            let page =
                page.map_err(|error| Failure::new(Class::Transient, format!("a scan failed: {error}")))?;
            for item in page.items.unwrap_or_default() {
                let counter = item.get("counter").and_then(|value| value.as_n().ok()?.parse::<u64>().ok());
                sums = (sums.0 + 1, sums.1 + counter.unwrap_or_default());
            }
            match page.last_evaluated_key {
                Some(next) => from = Some(next),
                None => return Ok(sums),
            }
        }
    }

    /// Stops the sidecar; its slot stays.
    pub(super) async fn pause(&mut self, run: &Run) -> Result<(), Failure> {
        let Some(sidecar) = self.sidecar.take() else { return Ok(()) };
        self.peak = self.peak.max(sidecar.peak_memory().unwrap_or_default() as f64 / 1024.0 / 1024.0);
        sidecar.stop().await?;
        let active = format!(
            "SELECT count(*) FROM pg_catalog.pg_replication_slots WHERE active AND slot_name = '{}'",
            run.slot()
        );
        wait_for_zero(&mut self.on_blue().await?, &active, self.patience).await.map(drop)
    }

    /// Ends a run for good, and removes its tables.
    pub(super) async fn end(&mut self, run: &Run) -> Result<(), Failure> {
        self.pause(run).await?;
        let mut blue = self.on_blue().await?;
        let slot = run.slot();
        blue.batch(&format!(
            "SELECT pg_catalog.pg_drop_replication_slot(slot_name) FROM pg_catalog.pg_replication_slots WHERE slot_name = '{slot}'; \
             DROP PUBLICATION IF EXISTS {slot}"
        ))
        .await?;
        for table in [run.orders(), run.marks(), run.plain(), run.state()] {
            // The table of state is there only where a sidecar has run.
            drop(Box::pin(self.dynamo.delete_table().table_name(table).send()).await);
        }
        Ok(())
    }
}
