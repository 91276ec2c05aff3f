//! Two instances of one migration: the newer one owns it, the older one stops without harm.

use understudy_tests::{Migration, Pair, Shop, Sidecar, Signal, until};

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
