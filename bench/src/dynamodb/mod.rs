//! Blue into DynamoDB Local, beside a plain writer that puts the same rows into the same server: first copy, backlogs, delay, what calls
//! there are and what they take.

mod delay;
mod page;
mod plain;
mod rig;

use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use understudy_contract::{Class, Failure};
use understudy_postgres::wire::Client;

use crate::options::Options;
use crate::report::{Against, Figure, Target};
use crate::rig::Who;
use crate::say;
use page::Spent;
use rig::{Rig, Run};

/// What is moved, and a client's share of small transactions, each committed by itself: two updates and an insert.
const SCHEMA: &str = "
    CREATE SCHEMA bench;
    CREATE TABLE bench.orders (id bigint PRIMARY KEY, customer int NOT NULL, name text NOT NULL, amount numeric(12,2) NOT NULL,
        counter int NOT NULL, changed_at timestamptz NOT NULL, note text NOT NULL);
    CREATE TABLE bench.marks (id bigint PRIMARY KEY);
    CREATE PROCEDURE bench.work(transactions int, first bigint, stock bigint, seed float) LANGUAGE plpgsql AS $$
    DECLARE a bigint; b bigint;
    BEGIN
        PERFORM pg_catalog.setseed(seed);
        FOR n IN 1 .. transactions LOOP
            a := 1 + pg_catalog.floor(pg_catalog.random() * stock);
            b := 1 + pg_catalog.floor(pg_catalog.random() * stock);
            UPDATE bench.orders SET counter = counter + 1 WHERE id = a;
            UPDATE bench.orders SET amount = amount + 1 WHERE id = b;
            INSERT INTO bench.orders VALUES (first + n, n % 9973, 'name ' || n, n / 7.0, 0, pg_catalog.now(), pg_catalog.md5(n::text));
            COMMIT;
        END LOOP;
    END $$;";

/// As the migration file calls a first copy that puts many rows in one call; the other has a condition for each.
const BATCHES: &str = "batches";

/// Clients that build the backlog of small transactions.
const CLIENTS: u64 = 4;

/// Rows by which the server is warmed up before anything is measured: what runs on Java is slow at first.
const WARM_UP: u64 = 10_000;

/// How much there is.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    /// Rows before a first copy.
    stock: u64,
    /// Small transactions of a backlog.
    transactions: u64,
    /// Rows of its large insert.
    insert: u64,
    /// Rows of its large update, of those that the insert has made.
    update: u64,
}

/// One kind of backlog.
#[derive(Debug, Clone, Copy)]
enum Backlog {
    Transactions,
    Insert,
    Update,
}

/// The figures of one thing that is measured: rows a second, calls for each row, units of capacity for each row.
struct Three([Figure; 3]);

impl Three {
    fn new(what: &str) -> Three {
        let figure =
            |what: String, unit, target| Figure::new(what, unit, target).against(Against::PlainWriter);
        Three([
            figure(what.to_owned(), "rows/s", Target::OpenRate),
            figure(format!("{what}: calls per row"), "calls", Target::Open),
            figure(format!("{what}: capacity per row"), "write units", Target::Open),
        ])
    }

    fn add(&mut self, who: Who, rows: u64, (took, spent): (Duration, Spent)) {
        let (calls, units) = spent.per_row(rows);
        let Three([rate, calls_per_row, units_per_row]) = self;
        rate.add(who, rows as f64 / took.as_secs_f64());
        calls_per_row.add(who, calls);
        units_per_row.add(who, units);
    }
}

/// Measures all of it on one set of servers.
pub(crate) async fn dynamodb(options: &Options) -> Result<Vec<Figure>, Failure> {
    let sizes = Sizes {
        stock: options.scaled(100_000),
        transactions: options.scaled(20_000),
        insert: options.scaled(50_000),
        update: options.scaled(25_000),
    };
    let Sizes { stock, transactions, insert, update } = sizes;
    let mut rig = Rig::build(options, SCHEMA).await?;
    rig.create("warm-up").await?;
    plain::copy(&rig.dynamo, "warm-up", WARM_UP).await?;
    plain::stream(&rig.dynamo, "warm-up", 1..=WARM_UP).await?;
    let mut copies = [
        Three::new(&format!("first copy of {stock} rows, one by one")),
        Three::new(&format!("first copy of {stock} rows in batches")),
    ];
    let mut backlogs = [
        Three::new(&format!("backlog of {transactions} transactions of 3 rows")),
        Three::new(&format!("backlog of an insert of {insert} rows")),
        Three::new(&format!("backlog of an update of {update} rows")),
    ];
    let mut delays = delay::figures();
    for round in 0..options.rounds {
        fill(&rig, sizes).await?;
        for (figures, first_copy) in copies.iter_mut().zip(["conditional", BATCHES]) {
            let run = Run { name: format!("{first_copy}-{round}"), first_copy };
            copy(&mut rig, options, (round, &run, sizes), figures).await?;
            if first_copy == BATCHES {
                drain(&mut rig, options, (round, &run, sizes), &mut backlogs).await?;
                delay::measure(&mut rig, options, (round, &run, stock), &mut delays).await?;
                check(&rig, options, &run).await?;
            }
            rig.end(&run).await?;
        }
    }
    let mut memory =
        Figure::new("peak memory of the sidecar", "MiB", Target::Open).against(Against::PlainWriter);
    if options.measures(Who::Understudy) {
        memory.add(Who::Understudy, rig.peak);
    }
    let mut figures = copies.into_iter().chain(backlogs).flat_map(|Three(three)| three).collect::<Vec<_>>();
    figures.extend(delays);
    figures.push(memory);
    Ok(figures)
}

/// As the lines of progress name it.
const fn label(who: Who) -> &'static str {
    match who {
        Who::Native => "plain writer",
        Who::Understudy | Who::Debezium | Who::Expressions => "Understudy",
    }
}

async fn fill(rig: &Rig, sizes: Sizes) -> Result<(), Failure> {
    let sql = format!("TRUNCATE bench.orders, bench.marks; {}", insert(0, sizes.stock));
    rig.on_blue().await?.batch(&sql).await?;
    rig.settle().await
}

/// SQL that inserts so many rows, numbered from behind `first`.
fn insert(first: u64, rows: u64) -> String {
    format!(
        "INSERT INTO bench.orders SELECT {first} + n, n % 9973, 'name ' || n, n / 7.0, n % 1000, pg_catalog.now(), \
         pg_catalog.md5(n::text) FROM pg_catalog.generate_series(1, {rows}) n"
    )
}

/// The first copy, from nothing to complete. The sidecar's start is counted.
async fn copy(
    rig: &mut Rig,
    options: &Options,
    (round, run, sizes): (usize, &Run, Sizes),
    figures: &mut Three,
) -> Result<(), Failure> {
    rig.prepare(run).await?;
    for who in options.order(round) {
        let measured = match who {
            Who::Native if run.first_copy == BATCHES => {
                plain::copy(&rig.dynamo, &run.plain(), sizes.stock).await?
            }
            Who::Native => plain::stream(&rig.dynamo, &run.plain(), 1..=sizes.stock).await?,
            Who::Understudy | Who::Debezium | Who::Expressions => {
                let began = Instant::now();
                rig.start()?;
                let ended = rig.until_copied().await?;
                (ended - began, rig.spent().await?)
            }
        };
        tell((round, &format!("copy, {}", run.first_copy)), who, measured);
        figures.add(who, sizes.stock, measured);
        rig.pause(run).await?;
    }
    Ok(())
}

/// One backlog after the other. The sidecar's start is counted.
async fn drain(
    rig: &mut Rig,
    options: &Options,
    (round, run, sizes): (usize, &Run, Sizes),
    figures: &mut [Three],
) -> Result<(), Failure> {
    for (figures, kind) in figures.iter_mut().zip([Backlog::Transactions, Backlog::Insert, Backlog::Update]) {
        build(rig, sizes, kind).await?;
        let place = rig.mark().await?;
        let rows = match kind {
            Backlog::Transactions => 3 * CLIENTS * (sizes.transactions / CLIENTS),
            Backlog::Insert => sizes.insert,
            Backlog::Update => sizes.update,
        };
        for who in options.order(round) {
            let measured = match who {
                Who::Native => plain_drain(rig, run, (kind, sizes, rows)).await?,
                Who::Understudy | Who::Debezium | Who::Expressions => {
                    let began = Instant::now();
                    rig.start()?;
                    let ended = rig.until_applied(place).await?;
                    (ended - began, rig.spent().await?)
                }
            };
            tell((round, &format!("{kind:?}")), who, measured);
            figures.add(who, rows, measured);
            rig.pause(run).await?;
        }
    }
    Ok(())
}

/// As many puts of rows that are there already, or of new ones, as the backlog has.
async fn plain_drain(
    rig: &Rig,
    run: &Run,
    (kind, sizes, rows): (Backlog, Sizes, u64),
) -> Result<(Duration, Spent), Failure> {
    let first = behind(sizes, kind);
    let number = move |n: u64| match kind {
        // Two of three are spread over the stock.
        Backlog::Transactions if !n.is_multiple_of(3) => 1 + n.wrapping_mul(7919) % sizes.stock,
        Backlog::Transactions => first + 1 + n / 3,
        Backlog::Insert | Backlog::Update => first + 1 + n,
    };
    plain::stream(&rig.dynamo, &run.plain(), (0..rows).map(number)).await
}

/// The number behind which a backlog's new rows begin: first those of the transactions, then those of the insert.
const fn behind(sizes: Sizes, kind: Backlog) -> u64 {
    match kind {
        Backlog::Transactions => sizes.stock,
        Backlog::Insert | Backlog::Update => sizes.stock + sizes.transactions,
    }
}

async fn build(rig: &Rig, sizes: Sizes, kind: Backlog) -> Result<(), Failure> {
    let first = behind(sizes, kind);
    match kind {
        Backlog::Transactions => {
            let share = sizes.transactions / CLIENTS;
            let mut clients = JoinSet::new();
            for number in 0..CLIENTS {
                let mut client = Client::connect(&rig.blue_options()?).await?;
                let (first, seed) = (first + number * share, number as f64 / 1000.0);
                let sql = format!("CALL bench.work({share}, {first}, {}, {seed})", sizes.stock);
                clients.spawn(async move {
                    client.batch("SET synchronous_commit = off").await?;
                    client.batch(&sql).await
                });
            }
            while let Some(ended) = clients.join_next().await {
                ended
                    .map_err(|error| Failure::new(Class::Internal, format!("a client ended: {error}")))??;
            }
        }
        Backlog::Insert => rig.on_blue().await?.batch(&insert(first, sizes.insert)).await?,
        Backlog::Update => {
            let last = first + sizes.update;
            let sql = format!(
                "UPDATE bench.orders SET counter = counter + 1, amount = amount + 1 WHERE id > {first} AND id <= {last}"
            );
            rig.on_blue().await?.batch(&sql).await?;
        }
    }
    rig.settle().await
}

fn tell((round, what): (usize, &str), who: Who, (took, spent): (Duration, Spent)) {
    say(&format!(
        "dynamodb: round {}, {what}: {} {:.2} s, {} calls of which {} throttled, {:.0} write units, {:.0} read units",
        round + 1,
        label(who),
        took.as_secs_f64(),
        spent.calls,
        spent.throttled,
        spent.write_units,
        spent.read_units
    ));
}

/// Fails unless the sidecar's items are as many as blue's rows, with the same counters: figures of what is wrong are worth nothing.
async fn check(rig: &Rig, options: &Options, run: &Run) -> Result<(), Failure> {
    if !options.measures(Who::Understudy) {
        return Ok(());
    }
    let rows = rig.on_blue().await?.query("SELECT count(*), sum(counter) FROM bench.orders").await?;
    let row = rows.first().ok_or_else(|| Failure::new(Class::Internal, "blue does not count"))?;
    let wanted: (u64, u64) = (row.parse(0)?, row.parse(1)?);
    let found = rig.counted(&run.orders()).await?;
    if found == wanted {
        return Ok(());
    }
    let what = format!("items and counters {found:?} are not blue's {wanted:?}");
    Err(Failure::new(Class::Internal, what).while_doing("check what the sidecar has written"))
}
