//! Drains the same backlog twice: through a route that passes rows on, and through one with five typical expressions.

use std::time::Instant;

use understudy_contract::Failure;

use crate::customers::{self, FIVE};
use crate::drain::{CLIENTS, at_once};
use crate::options::Options;
use crate::report::{Figure, Target};
use crate::rig::{Rig, Who};
use crate::say;

const TABLE: &str = "bench.customers";

/// What the route with expressions fills.
const ON_GREEN: &str = "DROP TABLE bench.customers;
    CREATE TABLE bench.customers (id bigint PRIMARY KEY, name text NOT NULL, address text NOT NULL, total numeric NOT NULL,
        state text NOT NULL, profile jsonb NOT NULL, note text);";

/// Rows that are there before the first backlog.
const STOCK: u64 = 200_000;

/// One client's share of small transactions, each committed by itself: two updates and an insert.
const ORDERS: &str = "
    CREATE PROCEDURE bench.orders(transactions int, first bigint, seed float) LANGUAGE plpgsql AS $$
    DECLARE a bigint; b bigint; d int;
    BEGIN
        PERFORM pg_catalog.setseed(seed);
        FOR n IN 1 .. transactions LOOP
            a := 1 + pg_catalog.floor(pg_catalog.random() * 200000);
            b := 1 + pg_catalog.floor(pg_catalog.random() * 200000);
            d := pg_catalog.floor(pg_catalog.random() * 10000);
            UPDATE bench.customers SET total_cents = total_cents + d WHERE id = a;
            UPDATE bench.customers SET status = d % 4 WHERE id = b;
            INSERT INTO bench.customers VALUES (first + n, 'First' || d, 'Last' || n, 'First' || d || '@Example.com',
                'City ' || d % 500, d * 37, d % 4, now(), md5(n::text));
            COMMIT;
        END LOOP;
    END $$;";

/// One kind of backlog.
#[derive(Debug, Clone, Copy)]
enum Backlog {
    Transactions,
    Insert,
    Update,
}

/// Measures the three kinds of backlog.
pub(crate) async fn expressions(options: &Options) -> Result<Vec<Figure>, Failure> {
    let sides = [Who::Understudy, Who::Expressions];
    if !options.measures(Who::Understudy) {
        return Ok(Vec::new());
    }
    let schema = format!("CREATE TABLE bench.customers {};", customers::ON_BLUE);
    let mut rig = Rig::build(options, &[TABLE], &schema, "").await?;
    rig.on_green(Who::Expressions).await?.batch(ON_GREEN).await?;
    let columns = FIVE.iter().map(|(name, _, sql)| (*name, *sql)).collect::<Vec<_>>();
    rig.write_migration(Who::Expressions, &[(TABLE, &columns)], "")?;
    let mut blue = rig.on_blue().await?;
    blue.batch(ORDERS).await?;
    blue.batch(&customers::insert(TABLE, 0, STOCK)).await?;
    rig.settle().await?;
    for who in sides {
        let took = rig.attach(who).await?;
        say(&format!("expressions: {} has its first copy after {:.1} s", who.label(), took.as_secs_f64()));
        rig.pause(who).await?;
    }
    let (transactions, rows, updated) =
        (options.scaled(100_000), options.scaled(1_000_000), options.scaled(500_000));
    let figure =
        |what: String| Figure::new(format!("drain {what}, five expressions"), "s", Target::Keeps(0.8));
    let mut figures = vec![
        figure(format!("{transactions} transactions")),
        figure(format!("an insert of {rows} rows")),
        figure(format!("an update of {updated} rows")),
    ];
    for round in 0..options.rounds {
        let kinds = [Backlog::Transactions, Backlog::Insert, Backlog::Update];
        for (figure, kind) in figures.iter_mut().zip(kinds) {
            build_backlog(&rig, options, kind, round as u64).await?;
            let marker = rig.mark().await?;
            let mut order = sides;
            if round % 2 == 1 {
                order.reverse();
            }
            for who in order {
                let took = drained(&mut rig, who, marker).await?;
                let work = rig.work_done(who).await?;
                say(&format!(
                    "expressions: round {}, {kind:?}: {} {took:.2} s (processor: {work})",
                    round + 1,
                    who.label()
                ));
                figure.add(who, took);
                rig.pause(who).await?;
            }
        }
    }
    Ok(figures)
}

/// Seconds from the start of a follower until it shows the marker.
async fn drained(rig: &mut Rig, who: Who, marker: i64) -> Result<f64, Failure> {
    let began = Instant::now();
    rig.resume(who).await?;
    rig.until_marker(who, marker).await?;
    Ok(began.elapsed().as_secs_f64())
}

async fn build_backlog(rig: &Rig, options: &Options, kind: Backlog, round: u64) -> Result<(), Failure> {
    let mut blue = rig.on_blue().await?;
    let (transactions, rows) = (options.scaled(100_000), options.scaled(1_000_000));
    // Behind the stock, each round has room for what it inserts: first the large insert, then the transactions.
    let first = STOCK + round * (rows + transactions);
    match kind {
        Backlog::Transactions => {
            let share = transactions / CLIENTS;
            let call = |number: u64| {
                let seed = (round * CLIENTS + number) as f64 / 1000.0;
                format!("CALL bench.orders({share}, {}, {seed})", first + rows + number * share)
            };
            at_once(rig, (0..CLIENTS).map(call)).await?;
        }
        Backlog::Insert => blue.batch(&customers::insert(TABLE, first, rows)).await?,
        Backlog::Update => {
            let last = first + options.scaled(500_000);
            blue.batch(&format!(
                "UPDATE {TABLE} SET total_cents = total_cents + 1, status = (status + 1) % 4 \
                 WHERE id > {first} AND id <= {last}"
            ))
            .await?;
        }
    }
    rig.settle().await
}
