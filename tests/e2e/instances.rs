//! Two instances of one migration: the newer one owns it, the older one stops without harm.

use understudy_tests::{Exit, Migration, Pair, Port, Shop, Sidecar, Signal, through, understudy, until};

/// Whether the migration's progress row on green moves from here on.
async fn wait_for_progress(pair: &Pair, sidecar: &mut Sidecar) {
    let mut green = pair.on_green().await;
    let read = "SELECT checkpoint::text FROM understudy.migration";
    let before = green.column(read).await;
    until("the checkpoint moves", async || {
        sidecar.assert_running();
        (green.column(read).await != before).then_some(())
    })
    .await;
}

/// One instance is stopped by SIGSTOP, replaced, and continued: it finds out, stops with its own exit code, and nothing
/// is lost or doubled. Once in the copy, once in the follow.
async fn frozen_and_replaced(in_copy: bool) {
    let Some(pair) = Pair::start(15, 18).await else {
        return;
    };
    let mut shop = Shop::open(&pair, 15_000).await;
    shop.start_load(&pair, 100.0).await;
    let slow = "copy: { chunk_bytes: 64KiB, chunk_blocks: 8, bytes_per_second: 2MiB }";
    let migration = Migration::of_shop(&pair, "frozen").with(if in_copy { slow } else { "" });
    let mut older = Sidecar::start(&migration);
    if in_copy {
        wait_for_claim(&pair, &mut older).await;
    } else {
        older.wait_copied().await;
    }
    wait_for_progress(&pair, &mut older).await;
    older.signal(Signal::Stop);
    let mut newer = Sidecar::start(&migration);
    wait_for_progress(&pair, &mut newer).await;
    older.signal(Signal::Cont);
    let exit = older.exit().await;
    assert_eq!(exit.code, Some(9), "the older instance asks for an operator:\n{}", exit.stderr);
    assert!(exit.stderr.contains("another instance"), "it says why it stopped:\n{}", exit.stderr);
    wait_for_progress(&pair, &mut newer).await;
    shop.prove(&pair, &mut newer).await;
    newer.stop().await;
}

async fn wait_for_claim(pair: &Pair, sidecar: &mut Sidecar) {
    let mut green = pair.on_green().await;
    until("the migration is claimed", async || {
        sidecar.assert_running();
        let rows = green.try_column("SELECT name FROM understudy.migration").await.ok()?;
        (!rows.is_empty()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_frozen_in_the_copy_is_replaced() {
    frozen_and_replaced(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_frozen_in_the_follow_is_replaced() {
    frozen_and_replaced(false).await;
}

const TABLES: &str =
    "CREATE TABLE item (id int PRIMARY KEY, n int); CREATE TABLE other (id int PRIMARY KEY, n int)";

/// It says that it was superseded, and of nothing that somebody might then mend or give up.
fn assert_superseded(exit: &Exit) {
    assert_eq!(exit.code, Some(9), "{}", exit.stderr);
    assert!(exit.stderr.contains("another instance"), "it says why it stopped:\n{}", exit.stderr);
    let (_, error) = exit.stderr.rsplit_once("error:").expect("an error");
    for word in ["publication", "the slot", "missed", "abort", "--recopy"] {
        assert!(!error.contains(word), "`{word}` is in:\n{error}");
    }
}

/// Promise 2: a successor with another file has altered the publication and moved the slot on. The instance that wakes up
/// behind it takes neither for a gap.
#[tokio::test(flavor = "multi_thread")]
async fn a_successor_with_another_file_is_no_gap() {
    let Some(pair) = Pair::start(15, 18).await else {
        return;
    };
    pair.on_both(TABLES).await;
    let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
    let narrow = || Migration::between(&pair, "successor").table("public.item");
    let mut older = Sidecar::start(&narrow().table("public.other"));
    older.wait_copied().await;
    older.wait_caught_up(&mut blue, &mut green).await;
    older.signal(Signal::Stop);
    let mut newer = Sidecar::start(&narrow());
    newer.wait_copied().await;
    blue.batch("INSERT INTO item VALUES (1, 1)").await;
    newer.wait_caught_up(&mut blue, &mut green).await;
    assert_eq!(blue.column("SELECT tablename FROM pg_publication_tables").await, ["item"]);
    older.signal(Signal::Cont);
    assert_superseded(&older.exit().await);
    wait_for_progress(&pair, &mut newer).await;
    newer.stop().await;
}

/// While green takes no writes, what a successor did on blue is all that shows of it: green is asked who owns the
/// migration before that is called a gap.
#[tokio::test(flavor = "multi_thread")]
async fn green_is_asked_before_a_gap_is_reported() {
    let Some(pair) = Pair::start(15, 18).await else {
        return;
    };
    pair.on_both(TABLES).await;
    let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
    let migration = Migration::between(&pair, "asked").table("public.item").table("public.other");
    let mut older = Sidecar::start(&migration.with("apply: { stop_grace: 1s }"));
    older.wait_copied().await;
    older.wait_caught_up(&mut blue, &mut green).await;
    let open = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'understudy/%' AND xact_start IS NOT NULL";
    until("it is stopped between two transactions", async || {
        older.signal(Signal::Stop);
        if green.value(open).await == "0" {
            return Some(());
        }
        older.signal(Signal::Cont);
        None
    })
    .await;
    // As a successor does it, which then finds green busy.
    green.batch("UPDATE understudy.migration SET owner = repeat('f', 32)").await;
    green.batch("BEGIN; LOCK TABLE understudy.migration IN EXCLUSIVE MODE").await;
    let newer = if through().is_some() {
        // What happens to the publication is the doing of whoever owns the log.
        let narrow = Migration::between(&pair, "asked").table("public.item");
        let newer = Sidecar::start_with(&narrow, &["--role", "capture"]);
        until("the successor has altered the publication", async || {
            let tables = blue.column("SELECT tablename FROM pg_publication_tables").await;
            (tables == ["item"]).then_some(())
        })
        .await;
        Some(newer)
    } else {
        blue.batch("ALTER PUBLICATION understudy_asked DROP TABLE other").await;
        None
    };
    older.signal(Signal::Cont);
    assert_superseded(&older.exit().await);
    green.batch("ROLLBACK").await;
    if let Some(newer) = newer {
        newer.stop().await;
    }
}

/// What a start waits for before it streams is told, and the wait does not look like death.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_waits_for_a_standby_says_so() {
    let Some(pair) = Pair::shared() else { return };
    pair.on_both("CREATE SCHEMA waits; CREATE TABLE waits.item (id int PRIMARY KEY, n int)").await;
    let migration = Migration::between(pair, "waits")
        .table("waits.item")
        .standby("nobody")
        .with("apply: { stop_grace: 1s }");
    let mut sidecar = Sidecar::start(&migration);
    sidecar.wait_copied().await;
    sidecar.signal(Signal::Term);
    sidecar.exit().await;
    let mut sidecar = Sidecar::start(&migration);
    if through().is_some() {
        // What green has is not confirmed to blue, since the log has it: no start need wait for the standby.
        pair.on_blue().await.batch("INSERT INTO waits.item VALUES (1, 1)").await;
        let mut green = pair.on_green().await;
        let rows = "SELECT count(*) FROM waits.item";
        until("it follows", async || (green.value(rows).await == "1").then_some(())).await;
        end_waiting(pair, &migration, sidecar).await;
        return;
    }
    sidecar
        .wait_for("it tells what it waits for", |status| {
            let waiting = status["waiting_for"].as_array();
            waiting.is_some_and(|all| {
                all.iter().any(|one| one.as_str().is_some_and(|one| one.contains("standby")))
            })
        })
        .await;
    end_waiting(pair, &migration, sidecar).await;
}

/// Leaves nothing on the shared servers.
async fn end_waiting(pair: &Pair, migration: &Migration, sidecar: Sidecar) {
    sidecar.kill();
    let file = migration.write(&Port::reserve()).to_string_lossy().into_owned();
    let abort = understudy(pair.scratch.path(), &["abort", &file, "--yes", "--force"]).await;
    assert_eq!(abort.code, Some(0), "{}", abort.stderr);
}
