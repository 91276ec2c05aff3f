//! Copy and follow under load, from every supported version to the next ones.

use understudy_tests::{Migration, Pair, Shop, Sidecar};

/// The shop is copied into another layout while it changes, then followed, and ends equal row for row.
async fn copy_and_follow(blue: u32, green: u32) {
    let Some(pair) = Pair::start(blue, green).await else {
        return;
    };
    let mut shop = Shop::open(&pair, 20_000).await;
    shop.start_load(&pair, 150.0).await;
    let mut sidecar = Sidecar::start(&Migration::of_shop(&pair, "follow"));
    sidecar.wait_copied().await;
    let copied_at = shop.committed();
    sidecar.wait_for("the load goes on after the copy", |_| shop.committed() > copied_at + 300).await;
    shop.prove(&pair, &mut sidecar).await;
    let exit = sidecar.stop().await;
    assert!(!exit.stderr.contains("panicked"), "{}", exit.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn from_15_to_15() {
    copy_and_follow(15, 15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_15_to_18() {
    copy_and_follow(15, 18).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_18_to_18() {
    copy_and_follow(18, 18).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_14_to_17() {
    copy_and_follow(14, 17).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_16_to_15() {
    copy_and_follow(16, 15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_17_to_14() {
    copy_and_follow(17, 14).await;
}
