//! Brokers that are killed and come back in the middle of the work, while workers and captures come and go.

use std::slice;
use std::time::Duration;

use understudy_tests::{Kafka, Pair, Session, Sidecar, until, until_within};

use super::load::{ROWS, TABLES, Work, books_say, copied, migration, prove};

/// Three nodes, of which one may be away, and the two sides.
struct Place {
    kafka: Kafka,
    pair: Pair,
    blue: Session,
    green: Session,
}

impl Place {
    async fn set_up() -> Option<Place> {
        let kafka = Kafka::start_nodes(3).await?;
        let settings = [("fsync", "off"), ("max_connections", "150")];
        let pair = Pair::start_with(15, 18, &[("fsync", "off")], &settings).await?;
        pair.on_both(TABLES).await;
        pair.on_blue().await.batch(ROWS).await;
        let (blue, green) = (pair.on_blue().await, pair.on_green().await);
        Some(Place { kafka, pair, blue, green })
    }

    /// Kills a node, then the worker, of which another takes the place, and lets the node come back.
    async fn shake(&mut self, node: usize, worker: Sidecar, again: impl Fn() -> Sidecar) -> Sidecar {
        self.kafka.kill(node);
        worker.kill();
        let worker = again();
        self.kafka.start_node(node).await;
        worker
    }
}

/// Starts a capture as often as it takes, as whatever runs it does: one that finds partitions without a leader at its first
/// attempt ends, and says so.
async fn captures(again: impl Fn() -> Sidecar) -> Sidecar {
    let mut capture = again();
    until_within(Duration::from_secs(180), "a capture follows blue", async || {
        if capture.has_ended() {
            capture = again();
        }
        (capture.status().await?["phase"] == "following").then_some(())
    })
    .await;
    capture
}

/// Promise 1: each broker is killed and comes back, one in the copy and two in the follow, and twice a worker is replaced; once
/// the capture is too, while a broker is away. What is applied is whole transactions, none is lost, and none counts twice.
#[tokio::test(flavor = "multi_thread")]
async fn brokers_are_killed_in_copy_and_in_follow() {
    let Some(mut place) = Place::set_up().await else { return };
    let prefix = Kafka::prefix("outages");
    let migration = migration(&place.pair, &place.kafka, (&prefix, "transaction"));
    let work = Work::start(place.pair.on_blue().await);
    let capturing = || Sidecar::start_with(&migration, &["--role", "capture"]);
    let applying = || Sidecar::start_with(&migration, &["--role", "apply"]);
    let (mut capture, mut worker) = (capturing(), applying());
    let is_copying = "count(*) > 1 FROM understudy.chunks_done";
    until("the copy is under way", async || books_say(&mut place.green, is_copying).await).await;
    let is_over = "bool_and(complete) FROM understudy.routes";
    assert_eq!(books_say(&mut place.green, is_over).await, None, "the copy is over before a node is killed");
    worker = place.shake(1, worker, applying).await;
    copied(&mut place.green, slice::from_mut(&mut worker), 1).await;
    work.goes_on(100).await;
    worker = place.shake(2, worker, applying).await;
    work.goes_on(100).await;
    capture.assert_running();
    place.kafka.kill(3);
    work.goes_on(10).await;
    capture.kill();
    capture = captures(capturing).await;
    work.goes_on(100).await;
    place.kafka.start_node(3).await;
    prove(work, slice::from_mut(&mut worker), (&mut place.blue, &mut place.green)).await;
    capture.assert_running();
    worker.stop().await;
    capture.stop().await;
}
