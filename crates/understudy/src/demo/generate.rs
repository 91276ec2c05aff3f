//! The load generator alone: creates the shop where asked, then changes it until it is told to stop.

use std::time::{Duration, Instant};

use understudy_contract::{Class, Failure};
use understudy_postgres::wire::{Client, ConnectOptions, Secret};

use super::args::LoadgenArgs;
use super::loadgen::{Journal, Load, LoadSettings};
use super::screen::{Screen, thousands};
use super::shop::{self, Scale};
use super::signals::Signals;

/// How long a server may take to appear: containers start in any order.
const SERVER_PATIENCE: Duration = Duration::from_secs(120);

/// Runs until the duration is over or a signal asks for the end.
pub async fn generate(args: LoadgenArgs) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let mut screen = Screen::new();
    let ready = tokio::select! {
        biased;
        // 1. Nobody waits for a server that may never come.
        () = signals.any() => return Ok(()),
        // 2. The shop, and the clients at work.
        ready = Box::pin(begin(&args, &mut screen)) => ready?,
    };
    let Some(load) = ready else { return Ok(()) };
    report_until_end(&load, args.duration, &mut signals, &mut screen).await;
    let record = load.stop().await?;
    screen.result("operations", &format!("{} committed", thousands(record.committed_count() as u64)));
    Ok(())
}

/// Waits for blue, creates what was asked for, and starts the load; `None` when creating was all.
async fn begin(args: &LoadgenArgs, screen: &mut Screen) -> Result<Option<Load>, Failure> {
    let blue = options(args, &args.url)?;
    screen.step("loadgen", "waits for blue");
    let mut client = connect_patiently(&blue).await?;
    prepare(args, &mut client, screen).await?;
    if args.init_only {
        return Ok(None);
    }
    let scale = Scale::of_shop(&mut client).await?;
    client.close().await;
    let journal = args.journal.as_deref().map(Journal::open).transpose()?;
    let settings = LoadSettings { clients: args.clients, rate: args.rate, scale, journal };
    let load = Load::start(&blue, settings).await?;
    screen.step("loadgen", &format!("{} clients, {} operations a second", args.clients, args.rate));
    Ok(Some(load))
}

fn options(args: &LoadgenArgs, url: &str) -> Result<ConnectOptions, Failure> {
    let options = ConnectOptions::parse(url)?.with_application_name("shop");
    let Some(file) = &args.password_file else {
        return Ok(options);
    };
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::new(
            Class::Configuration,
            format!("could not read the password file {}: {error}", file.display()),
        )
    })?;
    Ok(options.with_password(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned())))
}

/// Creates what was asked for and is not there yet.
async fn prepare(args: &LoadgenArgs, blue: &mut Client, screen: &mut Screen) -> Result<(), Failure> {
    if let Some(url) = &args.init_green {
        let mut green = connect_patiently(&options(args, url)?).await?;
        if !shop::exists_on_green(&mut green).await? {
            shop::create_green(&mut green).await?;
            screen.step("loadgen", "created green's tables");
        }
        green.close().await;
    }
    if (args.init || args.init_only) && !shop::exists_on_blue(blue).await? {
        shop::create_blue(blue).await?;
        Scale::of_rows(args.rows).seed(blue).await?;
        screen.step("loadgen", &format!("created the shop with about {} rows", thousands(args.rows)));
    }
    Ok(())
}

async fn connect_patiently(options: &ConnectOptions) -> Result<Client, Failure> {
    let deadline = Instant::now() + SERVER_PATIENCE;
    loop {
        match Client::connect(options).await {
            Ok(client) => return Ok(client),
            Err(failure) if failure.class() == Class::Transient && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Err(failure) => return Err(failure.while_doing("connect the load generator")),
        }
    }
}

async fn report_until_end(load: &Load, seconds: Option<u64>, signals: &mut Signals, screen: &mut Screen) {
    let counters = load.counters();
    let began = Instant::now();
    let mut seen = 0;
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    while !load.failed() && seconds.is_none_or(|seconds| began.elapsed() < Duration::from_secs(seconds)) {
        tokio::select! {
            biased;
            // 1. Whoever asks for the end gets it at once.
            () = signals.any() => return,
            // 2. Otherwise a line each second.
            _ = ticks.tick() => {}
        }
        let committed = counters.committed();
        let line = format!(
            "{} operations committed, {} in the last second, {} refused, {} reconnects",
            thousands(committed),
            committed - seen,
            counters.refused(),
            counters.reconnects(),
        );
        screen.progress("loadgen", &line);
        seen = committed;
    }
}
