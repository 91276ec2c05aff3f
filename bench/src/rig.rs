//! Three clusters with the same tables: blue, a green fed by Postgres itself, and a green fed by Understudy.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use understudy::demo::cluster::{Cluster, SUPERUSER, Scratch};
use understudy::demo::port::Port;
use understudy::demo::sidecar::{Sidecar, SidecarFiles};
use understudy_contract::{Class, Failure};
use understudy_postgres::wire::{Client, ConnectOptions};

use crate::debezium::Debezium;
use crate::options::Options;

/// The database of every server.
pub(crate) const DATABASE: &str = "postgres";

/// Settings of all servers: room enough that checkpoints and vacuum do not decide the result.
pub(crate) const SETTINGS: &[(&str, &str)] = &[
    ("shared_buffers", "1GB"),
    ("max_wal_size", "16GB"),
    ("checkpoint_timeout", "30min"),
    ("autovacuum", "off"),
];

/// The tables that every benchmark uses besides its own.
const MARKERS: &str = "CREATE SCHEMA bench; CREATE TABLE bench.markers (id bigint PRIMARY KEY);";

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Who {
    /// Postgres' own publication and subscription; the plain writer, where green is DynamoDB
    Native,
    /// The sidecar
    Understudy,
    /// Debezium with its JDBC sink, in place of Postgres' own on the second green
    Debezium,
    /// The sidecar with expressions to evaluate, in place of Postgres' own on the second green
    #[value(skip)]
    Expressions,
}

impl Who {
    /// As the tables name it.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Who::Native => "Postgres",
            Who::Understudy => "Understudy",
            Who::Debezium => "Debezium",
            Who::Expressions => "Understudy with expressions",
        }
    }

    /// Its slot on blue.
    const fn slot(self) -> &'static str {
        match self {
            Who::Native => "native",
            Who::Understudy => "understudy_bench",
            Who::Debezium => crate::debezium::SLOT,
            Who::Expressions => "understudy_computing",
        }
    }
}

/// The three servers.
pub(crate) struct Rig {
    // Dropped in this order: the sidecar before its servers, the servers before their files.
    sidecar: Option<Sidecar>,
    debezium: Option<Debezium>,
    blue: Cluster,
    native: Cluster,
    ours: Cluster,
    files: SidecarFiles,
    computing: SidecarFiles,
    tables: Vec<&'static str>,
    marker: i64,
    patience: Duration,
    _scratch: Scratch,
}

impl Rig {
    /// Starts the servers and creates `tables`, which `schema` defines, on each of them.
    pub(crate) async fn build(
        options: &Options,
        tables: &[&'static str],
        schema: &str,
        extra: &str,
    ) -> Result<Rig, Failure> {
        let installation = options.installation()?;
        let mut scratch = Scratch::create("bench")?;
        if options.keep {
            scratch.keep();
        }
        let (blue, native, ours) = tokio::join!(
            Cluster::create(&installation, &scratch, "blue", SETTINGS),
            Cluster::create(&installation, &scratch, "native", SETTINGS),
            Cluster::create(&installation, &scratch, "understudy", SETTINGS)
        );
        let (blue, native, ours) = (blue?, native?, ours?);
        for cluster in [&blue, &native, &ours] {
            let mut client = Client::connect(&cluster.options(DATABASE)?).await?;
            client.batch(MARKERS).await?;
            client.batch(schema).await?;
        }
        let program = options.program()?;
        let files = |name: &str| -> Result<SidecarFiles, Failure> {
            Ok(SidecarFiles {
                program: program.clone(),
                migration: scratch.path().join(format!("{name}.yaml")),
                log: scratch.path().join(format!("understudy-{name}.log")),
                port: Arc::new(Port::reserve()?),
            })
        };
        let (files, computing) = (files("bench")?, files("computing")?);
        let mut tables = tables.to_vec();
        tables.push("bench.markers");
        let patience = options.patience();
        let rig = Rig {
            sidecar: None,
            debezium: None,
            blue,
            native,
            ours,
            files,
            computing,
            tables,
            marker: 0,
            patience,
            _scratch: scratch,
        };
        rig.write_migration(Who::Understudy, &[], extra)?;
        Ok(rig)
    }

    /// A connection to blue.
    pub(crate) async fn on_blue(&self) -> Result<Client, Failure> {
        Client::connect(&self.blue.options(DATABASE)?).await
    }

    /// A connection to a green.
    pub(crate) async fn on_green(&self, who: Who) -> Result<Client, Failure> {
        Client::connect(&self.green_options(who)?).await
    }

    /// How to connect to blue.
    pub(crate) fn blue_options(&self) -> Result<ConnectOptions, Failure> {
        self.blue.options(DATABASE)
    }

    /// How to connect to a green.
    pub(crate) fn green_options(&self, who: Who) -> Result<ConnectOptions, Failure> {
        self.green(who).options(DATABASE)
    }

    fn green(&self, who: Who) -> &Cluster {
        match who {
            Who::Native | Who::Debezium | Who::Expressions => &self.native,
            Who::Understudy => &self.ours,
        }
    }

    fn files(&self, who: Who) -> &SidecarFiles {
        if who == Who::Expressions { &self.computing } else { &self.files }
    }

    /// The sidecar while it runs.
    pub(crate) fn sidecar(&mut self) -> Result<&mut Sidecar, Failure> {
        self.sidecar.as_mut().ok_or_else(|| Failure::new(Class::Internal, "the sidecar is not running"))
    }

    /// Debezium, where it has been given.
    pub(crate) fn debezium(&mut self) -> Result<&mut Debezium, Failure> {
        self.debezium
            .as_mut()
            .ok_or_else(|| Failure::new(Class::Internal, "Debezium is not part of this rig"))
    }

    /// Gives it a Debezium, which does not run yet.
    pub(crate) fn give(&mut self, debezium: Debezium) {
        self.debezium = Some(debezium);
    }

    /// Vacuums blue and writes everything out on all servers, so that none of it falls into a measurement.
    pub(crate) async fn settle(&self) -> Result<(), Failure> {
        self.on_blue().await?.batch("VACUUM ANALYZE").await?;
        for cluster in [&self.blue, &self.native, &self.ours] {
            Client::connect(&cluster.options(DATABASE)?).await?.batch("CHECKPOINT").await?;
        }
        Ok(())
    }

    /// Starts replication from nothing. Returns how long it took until every table was copied.
    pub(crate) async fn attach(&mut self, who: Who) -> Result<Duration, Failure> {
        let began = self.attach_without_waiting(who).await?;
        match who {
            Who::Native => {
                // From state `f` on the copied rows are committed.
                let missing = "SELECT count(*) FROM pg_catalog.pg_subscription_rel WHERE srsubstate NOT IN ('f', 's', 'r')";
                self.until_zero(Who::Native, missing).await?;
            }
            // Its sink says nothing of its own, so green is asked.
            Who::Debezium => self.until_rows_are_there().await?,
            Who::Understudy | Who::Expressions => {
                let tables = self.tables.len();
                let patience = self.patience;
                self.sidecar()?.until(patience, |view| view.copy_is_complete(tables)).await?;
            }
        }
        Ok(began.elapsed())
    }

    /// Starts replication from nothing. Returns when that was.
    pub(crate) async fn attach_without_waiting(&mut self, who: Who) -> Result<Instant, Failure> {
        match who {
            Who::Native => {}
            Who::Debezium => {
                let Rig { blue, native, tables, .. } = self;
                let debezium = self.debezium.as_mut();
                let debezium =
                    debezium.ok_or_else(|| Failure::new(Class::Internal, "no Debezium in this rig"))?;
                debezium.start((blue, native, DATABASE), tables).await?;
                return Ok(Instant::now());
            }
            Who::Understudy | Who::Expressions => {
                let began = Instant::now();
                self.sidecar = Some(Sidecar::start(self.files(who).clone())?);
                return Ok(began);
            }
        }
        let publish = format!("CREATE PUBLICATION native FOR TABLE {}", self.tables.join(", "));
        self.on_blue().await?.batch(&publish).await?;
        let subscribe = format!(
            "CREATE SUBSCRIPTION native CONNECTION 'host=127.0.0.1 port={} user={SUPERUSER} password={} dbname={DATABASE}' \
             PUBLICATION native",
            self.blue.port(),
            self.blue.password()
        );
        let mut green = self.on_green(who).await?;
        let began = Instant::now();
        green.batch(&subscribe).await?;
        Ok(began)
    }

    /// Ends replication for good, and empties the green.
    pub(crate) async fn detach(&mut self, who: Who) -> Result<(), Failure> {
        self.pause(who).await?;
        let mut green = self.on_green(who).await?;
        let mut blue = self.on_blue().await?;
        match who {
            Who::Native => {
                green.batch("DROP SUBSCRIPTION native").await?;
                blue.batch("DROP PUBLICATION native").await?;
            }
            Who::Debezium => {
                self.debezium()?.stop().await;
                let slot = who.slot();
                let gone = format!(
                    "SELECT count(*) FROM pg_catalog.pg_replication_slots WHERE active AND slot_name = '{slot}'"
                );
                wait_for_zero(&mut blue, &gone, self.patience).await?;
                blue.batch(&format!("SELECT pg_catalog.pg_drop_replication_slot('{slot}')")).await?;
                blue.batch(&format!("DROP PUBLICATION {slot}")).await?;
            }
            Who::Understudy | Who::Expressions => {
                let slot = who.slot();
                green.batch("DROP SCHEMA IF EXISTS understudy CASCADE").await?;
                blue.batch(&format!("SELECT pg_catalog.pg_drop_replication_slot('{slot}')")).await?;
                blue.batch(&format!("DROP PUBLICATION {slot}")).await?;
            }
        }
        green.batch(&format!("TRUNCATE {}", self.tables.join(", "))).await?;
        green.batch("CHECKPOINT").await
    }

    /// Stops the follower; its slot stays.
    pub(crate) async fn pause(&mut self, who: Who) -> Result<(), Failure> {
        match who {
            Who::Native => self.on_green(who).await?.batch("ALTER SUBSCRIPTION native DISABLE").await?,
            // Its connectors rest and keep their connections: starting a worker takes longer than what is measured.
            Who::Debezium => {
                self.debezium()?.pause().await;
                return Ok(());
            }
            Who::Understudy | Who::Expressions => {
                if let Some(sidecar) = self.sidecar.take() {
                    sidecar.stop().await?;
                }
            }
        }
        let active = format!(
            "SELECT count(*) FROM pg_catalog.pg_replication_slots WHERE active AND slot_name = '{}'",
            who.slot()
        );
        wait_for_zero(&mut self.on_blue().await?, &active, self.patience).await?;
        Ok(())
    }

    /// Lets the follower go on.
    pub(crate) async fn resume(&mut self, who: Who) -> Result<(), Failure> {
        match who {
            Who::Native => self.on_green(who).await?.batch("ALTER SUBSCRIPTION native ENABLE").await,
            Who::Debezium => {
                self.debezium()?.resume().await;
                Ok(())
            }
            Who::Understudy | Who::Expressions => {
                self.sidecar = Some(Sidecar::start(self.files(who).clone())?);
                Ok(())
            }
        }
    }

    /// Commits the next marker on blue.
    pub(crate) async fn mark(&mut self) -> Result<i64, Failure> {
        self.marker += 1;
        let sql = format!("INSERT INTO bench.markers VALUES ({})", self.marker);
        self.on_blue().await?.batch(&sql).await?;
        Ok(self.marker)
    }

    /// Processor time that a follower has used since it was started, told apart by process; in seconds. Unlike the
    /// time on the wall it says where the work is, also on a machine that does something else besides.
    pub(crate) async fn work_done(&mut self, who: Who) -> Result<String, Failure> {
        let senders = "SELECT pid FROM pg_catalog.pg_stat_replication";
        let blue = seconds_of(&mut self.on_blue().await?, senders).await?;
        let spilled = self.spilled(who).await?;
        let mut green = self.on_green(who).await?;
        Ok(match who {
            Who::Native => {
                let workers = "SELECT pid FROM pg_catalog.pg_stat_subscription WHERE pid IS NOT NULL";
                let applying = seconds_of(&mut green, workers).await?;
                format!("walsender {blue:.2}, apply worker {applying:.2}; spilled by blue so far: {spilled}")
            }
            Who::Debezium => {
                let own = processor_seconds(self.debezium()?.pid());
                format!(
                    "walsender {blue:.2}, Kafka Connect {own:.2}{}; spilled by blue so far: {spilled}",
                    self.broker_work()
                )
            }
            Who::Understudy | Who::Expressions => {
                let backends =
                    "SELECT pid FROM pg_catalog.pg_stat_activity WHERE application_name LIKE 'understudy/%'";
                let applying = seconds_of(&mut green, backends).await?;
                let own = processor_seconds(self.sidecar()?.pid());
                format!(
                    "walsender {blue:.2}, sidecar {own:.2}, green's backends {applying:.2}{}; spilled by blue so far: {spilled}",
                    self.broker_work()
                )
            }
        })
    }

    /// Processor time of the broker since it was started, where there is one.
    fn broker_work(&self) -> String {
        let broker = self.debezium.as_ref().map(|debezium| processor_seconds(debezium.broker_pid()));
        broker.map_or_else(String::new, |seconds| format!(", broker so far {seconds:.2}"))
    }

    /// What blue's walsender has written to disk because a transaction did not fit into its memory.
    async fn spilled(&self, who: Who) -> Result<String, Failure> {
        let sql = format!(
            "SELECT pg_catalog.pg_size_pretty(spill_bytes) FROM pg_catalog.pg_stat_replication_slots WHERE slot_name = '{}'",
            who.slot()
        );
        let rows = self.on_blue().await?.query(&sql).await?;
        Ok(rows.first().and_then(|row| row.text(0)).unwrap_or("unknown").to_owned())
    }

    /// Waits until a marker shows on a green, and so everything before it.
    pub(crate) async fn until_marker(&mut self, who: Who, marker: i64) -> Result<Instant, Failure> {
        let missing = format!("SELECT 1 - count(*) FROM bench.markers WHERE id = {marker}");
        self.until_zero(who, &missing).await
    }

    /// Waits until Debezium's green has as many rows as blue, which nobody changes meanwhile.
    async fn until_rows_are_there(&mut self) -> Result<(), Failure> {
        for table in self.tables.clone() {
            let rows = self.on_blue().await?.query(&format!("SELECT count(*) FROM {table}")).await?;
            let expected: i64 = rows.first().map_or(Ok(0), |row| row.parse(0))?;
            let missing = format!("SELECT {expected} - count(*) FROM {table}");
            self.until_zero(Who::Debezium, &missing).await?;
        }
        Ok(())
    }

    /// What a query gives on blue, as [`Rig::until_equal`] takes it.
    pub(crate) async fn on_blue_now(&self, sql: &str) -> Result<String, Failure> {
        let rows = self.on_blue().await?.query(sql).await?;
        Ok(rows.first().and_then(|row| row.text(0)).unwrap_or_default().to_owned())
    }

    /// Waits until a query gives on a green what it gives on blue, which nobody changes meanwhile. Returns when the query
    /// that saw it was asked: its own time is nobody's.
    pub(crate) async fn until_equal(
        &mut self,
        who: Who,
        (sql, expected): (&str, &str),
    ) -> Result<Instant, Failure> {
        let differs = format!("SELECT (({sql})::text IS DISTINCT FROM '{expected}')::int");
        self.until_zero(who, &differs).await
    }

    /// Waits until a query on a green answers with zero, and returns when that query was asked. Fails at once when the sidecar
    /// ends.
    async fn until_zero(&mut self, who: Who, sql: &str) -> Result<Instant, Failure> {
        let mut green = self.on_green(who).await?;
        let waiting = wait_for_zero(&mut green, sql, self.patience);
        let (sidecar, debezium) = (&mut self.sidecar, &mut self.debezium);
        let watching = async {
            loop {
                if let Some(sidecar) = sidecar {
                    sidecar.status().await?;
                }
                if let Some(debezium) = debezium {
                    debezium.check().await;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            arrived = waiting => arrived,
            ended = watching => ended,
        }
    }

    /// The migration file of a sidecar.
    pub(crate) fn migration(&self, who: Who) -> &std::path::Path {
        &self.files(who).migration
    }

    /// Writes the migration file of a sidecar. Tables are passed on as they are but for those whose columns are given, as
    /// pairs of a column on green and SQL over blue's; such a table carries its other columns as well.
    pub(crate) fn write_migration(
        &self,
        who: Who,
        columns: &[(&str, &[(&str, &str)])],
        extra: &str,
    ) -> Result<(), Failure> {
        let mut tables = String::new();
        for table in &self.tables {
            tables.push_str(&format!("  - from: {table}\n"));
            let Some((_, columns)) = columns.iter().find(|(of, _)| of == table) else { continue };
            tables.push_str("    columns:\n");
            for (column, sql) in *columns {
                tables.push_str(&format!("      {column}: \"{sql}\"\n"));
            }
            tables.push_str("      \"*\": \"*\"\n");
        }
        let (files, green) = (self.files(who), self.green(who));
        // What Postgres' own replication does is measured against the same work; comparing both sides has its own figure.
        let verify = if extra.contains("verify:") { "" } else { "verify: { enabled: false }\n" };
        let name = who.slot().trim_start_matches("understudy_");
        let text = format!(
            "version: 1\nname: {name}\nblue:\n  url: {}\n  password: {{ file: {} }}\ngreen:\n  postgres:\n    url: {}\n    \
             password: {{ file: {} }}\ntables:\n{tables}control:\n  listen: {}\n{verify}{extra}",
            self.blue.url(DATABASE),
            self.blue.password_file().display(),
            green.url(DATABASE),
            green.password_file().display(),
            files.listen(),
        );
        let path: &PathBuf = &files.migration;
        std::fs::write(path, text).map_err(|error| {
            Failure::new(Class::Internal, format!("could not write {}: {error}", path.display()))
        })
    }
}

async fn seconds_of(client: &mut Client, pids: &str) -> Result<f64, Failure> {
    let mut seconds = 0.0;
    for row in client.query(pids).await? {
        seconds += processor_seconds(row.parse(0)?);
    }
    Ok(seconds)
}

/// User and system time of a process, which the kernel counts in hundredths of a second; zero once it is gone.
fn processor_seconds(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in brackets may hold spaces: fields are counted behind it.
    let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Returns when the query was asked that gave zero.
pub(crate) async fn wait_for_zero(
    client: &mut Client,
    sql: &str,
    patience: Duration,
) -> Result<Instant, Failure> {
    let deadline = Instant::now() + patience;
    loop {
        let asked = Instant::now();
        let rows = client.query(sql).await?;
        let left: i64 = rows.first().map_or(Ok(0), |row| row.parse(0))?;
        if left == 0 {
            return Ok(asked);
        }
        if Instant::now() > deadline {
            return Err(Failure::new(Class::Transient, "the follower did not get there in time"));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
