//! The demonstration from its first server to its verdict.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::JoinSet;
use understudy_contract::{Class, Failure};
use understudy_model::Lsn;
use understudy_postgres::wire::{Client, ConnectOptions};

use super::args::DemoArgs;
use super::cluster::{Cluster, Scratch};
use super::compare::{Comparison, Ordered, compare};
use super::installation::Installation;
use super::loadgen::{Delays, Load, LoadSettings, Pace, Proof, Record, ledger_probe, measure};
use super::port::Port;
use super::proof::{Proved, prove};
use super::screen::{Screen, brief, per_second, thousands};
use super::shop::{self, Scale, Side, TABLES};
use super::sidecar::{Sidecar, SidecarFiles, View};
use super::signals::Signals;

/// How long any single step may take before the demonstration gives up.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often the screen is brought up to date.
const GLANCE: Duration = Duration::from_millis(100);

/// How the demonstration ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Green is equal to blue and every operation is there once.
    Equal,
    /// Something differs.
    Different,
    /// A signal ended it; everything has been removed.
    Interrupted,
}

impl Ending {
    /// The process's exit code.
    pub const fn exit_code(self) -> u8 {
        match self {
            Ending::Equal => 0,
            Ending::Different => 4,
            Ending::Interrupted => 130,
        }
    }
}

/// Runs it. Servers, sidecar and files are gone when this returns, whatever happens, unless they are to be kept.
pub async fn run(args: DemoArgs) -> Result<Ending, Failure> {
    let mut signals = Signals::listen()?;
    let mut screen = Screen::new();
    let ending = {
        let story = Box::pin(tell(&args, &mut screen));
        tokio::select! {
            biased;
            // 1. A signal drops the story, and with it all that it started.
            () = signals.any() => None,
            // 2. The story itself.
            ended = story => Some(ended?),
        }
    };
    if ending.is_none() {
        let ended = if args.keep {
            "everything that was started"
        } else {
            "everything that was started, files removed"
        };
        screen.step("stopped", ended);
    }
    Ok(ending.unwrap_or(Ending::Interrupted))
}

async fn tell(args: &DemoArgs, screen: &mut Screen) -> Result<Ending, Failure> {
    let mut stage = Stage::build(args, screen).await?;
    let load = stage.start_load(args, screen).await?;
    let moved = stage.move_the_shop(args, &load, screen).await;
    // The clients end before the servers do, also when the story failed; why a client failed comes first.
    let record = load.stop().await?;
    let settled = match moved {
        Ok(figures) => stage.settle(figures, &record, screen).await,
        Err(failure) => Err(failure),
    };
    match settled {
        Ok(figures) => stage.judge(&figures, &record, args, screen).await,
        Err(failure) => {
            stage.show_log(screen);
            Err(failure)
        }
    }
}

/// The two servers with the shop on them.
struct Stage {
    // Dropped in this order: first the sidecar, then the servers, then their files.
    sidecar: Option<Sidecar>,
    blue: Cluster,
    green: Cluster,
    files: SidecarFiles,
    scale: Scale,
    scratch: Scratch,
}

/// What was measured on the way.
#[derive(Debug, Default)]
struct Figures {
    copied: u64,
    copying: Duration,
    following: Duration,
    changes: u64,
    transactions: u64,
    delays: Delays,
    proved: Proved,
}

impl Stage {
    async fn build(args: &DemoArgs, screen: &mut Screen) -> Result<Stage, Failure> {
        let of = |major: Option<u32>| major.map_or_else(Installation::newest, Installation::of_major);
        let (for_blue, for_green) = (of(args.blue)?, of(args.green)?);
        let mut scratch = Scratch::create("demo")?;
        if args.keep {
            scratch.keep();
        }
        let (version, green_version) = (for_blue.version(), for_green.version());
        screen.step(
            "servers",
            &format!(
                "starting blue on Postgres {}.{} and green on Postgres {}.{}",
                version.0, version.1, green_version.0, green_version.1
            ),
        );
        let (blue, green) = tokio::join!(
            Cluster::create(&for_blue, &scratch, "blue", &[]),
            Cluster::create(&for_green, &scratch, "green", &[])
        );
        let (blue, green) = (blue?, green?);
        screen.step(
            "servers",
            &format!("blue listens on 127.0.0.1:{}, green on 127.0.0.1:{}", blue.port(), green.port()),
        );
        let scale = Scale::of_rows(args.rows);
        fill(&blue, &green, scale, screen).await?;
        let files = write_migration(&scratch, &blue, &green)?;
        Ok(Stage { sidecar: None, blue, green, files, scale, scratch })
    }

    async fn start_load(&self, args: &DemoArgs, screen: &mut Screen) -> Result<Load, Failure> {
        let settings =
            LoadSettings { clients: args.clients, rate: args.rate, scale: self.scale, journal: None };
        let load = Load::start(&self.blue_options()?, settings).await?;
        screen.step(
            "load",
            &format!(
                "{} clients change the shop {} times a second, from here to the end",
                args.clients, args.rate
            ),
        );
        Ok(load)
    }

    /// Copies under load, then follows for as long as was asked.
    async fn move_the_shop(
        &mut self,
        args: &DemoArgs,
        load: &Load,
        screen: &mut Screen,
    ) -> Result<Figures, Failure> {
        screen.step(
            "sidecar",
            &format!(
                "understudy run {}   (http://{}/v1/status)",
                self.files.migration.display(),
                self.files.listen()
            ),
        );
        let began = Instant::now();
        self.sidecar = Some(Sidecar::start(self.files.clone())?);
        let view = self.watch_copy(load, screen).await?;
        let copying = began.elapsed();
        let copied = view.copied().0;
        screen.step(
            "copied",
            &format!(
                "{} rows in {}, {} rows/s, while {} changes were streamed",
                thousands(copied),
                brief(copying),
                per_second(copied, copying),
                thousands(view.report().changes_total)
            ),
        );
        let mut figures = Figures { copied, copying, ..Figures::default() };
        self.follow(args, load, &mut figures, screen).await?;
        let (files, green) = (self.files.clone(), self.green_options()?);
        figures.proved = Box::pin(prove(self.sidecar()?, &files, &green, screen)).await?;
        Ok(figures)
    }

    async fn watch_copy(&mut self, load: &Load, screen: &mut Screen) -> Result<View, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            alive(load)?;
            if let Some(view) = self.sidecar()?.status().await? {
                if view.copy_is_complete(TABLES.len()) {
                    return Ok(view);
                }
                let (copied, estimate) = view.copied();
                let waits = view
                    .report()
                    .waiting_for
                    .first()
                    .map(|what| format!(", waits for {what}"))
                    .unwrap_or_default();
                screen.progress(
                    "copy",
                    &format!(
                        "{} of about {} rows, {} changes streamed beside it, {} operations on blue{waits}",
                        thousands(copied),
                        thousands(estimate.max(copied)),
                        thousands(view.report().changes_total),
                        thousands(load.counters().committed())
                    ),
                );
            }
            in_time(deadline, "copy the shop")?;
            tokio::time::sleep(GLANCE).await;
        }
    }

    async fn follow(
        &mut self,
        args: &DemoArgs,
        load: &Load,
        figures: &mut Figures,
        screen: &mut Screen,
    ) -> Result<(), Failure> {
        let began = Instant::now();
        let (stop, stopped) = oneshot::channel::<()>();
        let pace = Pace { first: load.probe_numbers(), every: Duration::from_millis(10), patience: PATIENCE };
        let (blue, green) = (self.blue_options()?, self.green_options()?);
        let mut probes = JoinSet::new();
        probes.spawn(async move {
            measure((&blue, &green), ledger_probe(), pace, async { drop(stopped.await) }).await
        });
        let until = began + Duration::from_secs(args.seconds);
        let mut to_be_killed = args.kill;
        while Instant::now() < until {
            alive(load)?;
            if let Some(view) = self.sidecar()?.status().await? {
                screen.progress(
                    "follow",
                    &format!(
                        "{}, {} changes streamed, {} operations on blue",
                        behind(&view),
                        thousands(view.report().changes_total),
                        thousands(load.counters().committed())
                    ),
                );
            }
            if to_be_killed && began.elapsed() * 2 > Duration::from_secs(args.seconds) {
                to_be_killed = false;
                self.kill_and_start_again(figures, screen).await?;
            }
            tokio::time::sleep(GLANCE).await;
        }
        drop(stop);
        while let Some(ended) = probes.join_next().await {
            let ended =
                ended.map_err(|error| Failure::new(Class::Internal, format!("the probe ended: {error}")))?;
            figures.delays = ended?;
        }
        figures.following = began.elapsed();
        Ok(())
    }

    async fn kill_and_start_again(
        &mut self,
        figures: &mut Figures,
        screen: &mut Screen,
    ) -> Result<(), Failure> {
        if let Some(mut sidecar) = self.sidecar.take() {
            // A sidecar counts from its own start; what it did since this look goes uncounted.
            if let Some(view) = sidecar.status().await? {
                figures.changes += view.report().changes_total;
                figures.transactions += view.report().transactions_total;
            }
            screen.step("kill -9", "the sidecar is killed under load, and started again");
            sidecar.kill();
        }
        self.sidecar = Some(Sidecar::start(self.files.clone())?);
        Ok(())
    }

    /// Waits until green has everything that blue committed, and ends the sidecar.
    async fn settle(
        &mut self,
        mut figures: Figures,
        record: &Record,
        screen: &mut Screen,
    ) -> Result<Figures, Failure> {
        let began = Instant::now();
        screen.step(
            "load",
            &format!("stopped: {} operations committed on blue", thousands(record.committed_count() as u64)),
        );
        let mut blue = Client::connect(&self.blue_options()?).await?;
        let rows = blue.query("SELECT pg_catalog.pg_current_wal_insert_lsn()").await?;
        let end: Lsn = rows.first().map_or(Ok(Lsn::ZERO), |row| row.parse(0))?;
        let view = self.sidecar()?.until(PATIENCE, |view| view.applied() >= end).await?;
        figures.changes += view.report().changes_total;
        figures.transactions += view.report().transactions_total;
        screen.step(
            "settled",
            &format!("green has everything up to {end}, {} after the load stopped", brief(began.elapsed())),
        );
        if view.troubles() > 0 {
            screen.step("attention", &format!("the sidecar reports {} rows in trouble", view.troubles()));
        }
        if let Some(sidecar) = self.sidecar.take() {
            sidecar.stop().await?;
        }
        Ok(figures)
    }

    /// The sidecar's last words, before its files are removed.
    fn show_log(&self, screen: &mut Screen) {
        let log = std::fs::read_to_string(&self.files.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        for line in &lines[lines.len().saturating_sub(12)..] {
            screen.step("sidecar", line);
        }
    }

    /// Compares every row and every operation, and says what was found.
    async fn judge(
        &self,
        figures: &Figures,
        record: &Record,
        args: &DemoArgs,
        screen: &mut Screen,
    ) -> Result<Ending, Failure> {
        let mut blue = Client::connect(&self.blue_options()?).await?;
        let mut green = Client::connect(&self.green_options()?).await?;
        let mut total = Comparison::default();
        for table in TABLES {
            screen.progress(
                "compare",
                &format!("{} with {}, {} rows so far", table.blue, table.green, thousands(total.equal)),
            );
            let (ours, theirs) = (table.blue_rows(), table.green_rows());
            let on_blue = Ordered { sql: &ours, key: table.key };
            let on_green = Ordered { sql: &theirs, key: table.key };
            let compared = compare((&mut blue, on_blue), (&mut green, on_green)).await?;
            if !compared.holds() {
                screen.step(
                    "differs",
                    &format!(
                        "{}: {} different, {} missing, {} extra",
                        table.green, compared.different, compared.missing, compared.extra
                    ),
                );
            }
            total.add(compared);
        }
        let proof = record.prove(&mut blue, &mut green).await?;
        screen.step(
            "compared",
            &format!("{} rows in {} tables, one by one", thousands(total.equal), TABLES.len()),
        );
        print(figures, total, proof, screen);
        if args.keep {
            screen.step("kept", &format!("{}", self.scratch.path().display()));
        }
        Ok(if total.holds() && proof.holds() { Ending::Equal } else { Ending::Different })
    }

    fn sidecar(&mut self) -> Result<&mut Sidecar, Failure> {
        self.sidecar.as_mut().ok_or_else(|| Failure::new(Class::Internal, "the sidecar is not running"))
    }

    fn blue_options(&self) -> Result<ConnectOptions, Failure> {
        self.blue.options("postgres")
    }

    fn green_options(&self) -> Result<ConnectOptions, Failure> {
        self.green.options("postgres")
    }
}

fn print(figures: &Figures, total: Comparison, proof: Proof, screen: &mut Screen) {
    let delay = |share| figures.delays.quantile(share).map_or_else(|| "unknown".to_owned(), brief);
    screen.result(
        "rows copied",
        &format!(
            "{} in {} ({} rows/s)",
            thousands(figures.copied),
            brief(figures.copying),
            per_second(figures.copied, figures.copying)
        ),
    );
    screen.result(
        "changes streamed",
        &format!("{} in {} transactions", thousands(figures.changes), thousands(figures.transactions)),
    );
    screen.result(
        "commit to green",
        &format!(
            "p50 {}, p99 {} ({} probes)",
            delay(0.5),
            delay(0.99),
            thousands(figures.delays.count() as u64)
        ),
    );
    screen.result(
        "rows verified",
        &format!(
            "{} in each pass, beside the load; a planted mismatch found after {} and repaired in {}",
            thousands(figures.proved.rows),
            brief(figures.proved.found_after),
            brief(figures.proved.repaired_after)
        ),
    );
    screen.result(
        "rows compared",
        &format!(
            "{} equal, {} different, {} missing, {} extra",
            thousands(total.equal),
            total.different,
            total.missing,
            total.extra
        ),
    );
    screen.result(
        "operations",
        &format!(
            "{} recorded: lost {}, duplicated {}",
            thousands(proof.recorded),
            proof.lost + proof.stale,
            proof.duplicated + proof.phantoms
        ),
    );
}

async fn fill(blue: &Cluster, green: &Cluster, scale: Scale, screen: &mut Screen) -> Result<(), Failure> {
    let mut on_green = Client::connect(&green.options("postgres")?).await?;
    shop::create_green(&mut on_green).await?;
    let mut on_blue = Client::connect(&blue.options("postgres")?).await?;
    shop::create_blue(&mut on_blue).await?;
    screen.progress("shop", "filling blue");
    scale.seed(&mut on_blue).await?;
    let mut rows = 0;
    for table in TABLES {
        let counted = on_blue.query(&format!("SELECT count(*) FROM {}", table.blue)).await?;
        rows += counted.first().map_or(Ok(0), |row| row.parse::<u64>(0))?;
    }
    screen.step(
        "shop",
        &format!(
            "{} rows in {} tables on blue; green is empty and laid out anew",
            thousands(rows),
            TABLES.len()
        ),
    );
    Ok(())
}

fn write_migration(scratch: &Scratch, blue: &Cluster, green: &Cluster) -> Result<SidecarFiles, Failure> {
    let side =
        |cluster: &Cluster| Side { url: cluster.url("postgres"), password_file: cluster.password_file() };
    let local = |what: &str, error: std::io::Error| {
        Failure::new(Class::Internal, format!("could not {what}: {error}"))
    };
    let program: PathBuf = std::env::current_exe().map_err(|error| local("find our own program", error))?;
    let files = SidecarFiles {
        program,
        migration: scratch.path().join("shop.yaml"),
        log: scratch.path().join("understudy.log"),
        port: Arc::new(Port::reserve()?),
    };
    let text = shop::migration_file("shop-demo", &side(blue), &side(green), &files.listen());
    std::fs::write(&files.migration, text).map_err(|error| local("write the migration file", error))?;
    Ok(files)
}

/// How far green is behind, as far as the sidecar can tell.
fn behind(view: &View) -> String {
    let report = view.report();
    match (report.lag_bytes, report.lag_seconds) {
        (Some(bytes), _) => format!("{} bytes of log behind", thousands(bytes)),
        (None, Some(seconds)) => format!("{} behind", brief(Duration::from_secs_f64(seconds.max(0.0)))),
        (None, None) => "lag unknown yet".to_owned(),
    }
}

fn alive(load: &Load) -> Result<(), Failure> {
    if load.failed() { Err(Failure::new(Class::Internal, "a client of the load gave up")) } else { Ok(()) }
}

fn in_time(deadline: Instant, what: &str) -> Result<(), Failure> {
    if Instant::now() < deadline {
        return Ok(());
    }
    Err(Failure::new(Class::Transient, format!("it took too long to {what}")))
}
