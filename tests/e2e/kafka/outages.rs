//! Brokers that are killed and come back in the middle of the work, while workers and captures come and go.

use understudy_tests::{Kafka, Pair, Session, Sidecar, until};

use super::load::{LANES, ROWS, TABLES, Work, books_say, copied, migration, prove, shared_out};

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

    /// Kills a node, then one of the workers, of which another takes the place, and lets the node come back.
    async fn shake(&mut self, node: usize, workers: &mut Vec<Sidecar>, worker: impl Fn() -> Sidecar) {
        self.kafka.kill(node);
        workers.remove(0).kill();
        workers.push(worker());
        self.kafka.start_node(node).await;
        if workers.len() > 1 {
            shared_out(workers).await;
        }
    }
}

/// Each node is killed and comes back, one in the copy and two in the follow, and each time a worker is replaced; once the
/// capture is too, while a node is away.
async fn brokers_and_workers_come_and_go(consistency: &str, count: usize) {
    let Some(mut place) = Place::set_up().await else { return };
    let prefix = Kafka::prefix(consistency);
    let migration = migration(&place.pair, &place.kafka, (&prefix, consistency));
    let work = Work::start(place.pair.on_blue().await);
    let mut capture = Sidecar::start_with(&migration, &["--role", "capture"]);
    let worker = || Sidecar::start_with(&migration, &["--role", "apply"]);
    let mut workers = (0..count).map(|_| worker()).collect::<Vec<_>>();
    let books = if count > 1 { LANES } else { 1 };
    if count > 1 {
        shared_out(&mut workers).await;
    }
    let is_copying = format!("count(*) > {books} FROM understudy.chunks_done");
    until("the copy is under way", async || books_say(&mut place.green, &is_copying).await).await;
    let is_over = "bool_and(complete) FROM understudy.routes";
    assert_eq!(books_say(&mut place.green, is_over).await, None, "the copy is over before a node is killed");
    place.shake(1, &mut workers, worker).await;
    copied(&mut place.green, &mut workers, books).await;
    work.goes_on(100).await;
    place.shake(2, &mut workers, worker).await;
    work.goes_on(100).await;
    place.kafka.kill(3);
    work.goes_on(10).await;
    capture.kill();
    capture = Sidecar::start_with(&migration, &["--role", "capture"]);
    work.goes_on(100).await;
    place.kafka.start_node(3).await;
    capture.assert_running();
    prove(work, &mut workers, (&mut place.blue, &mut place.green)).await;
    capture.assert_running();
    for sidecar in workers.into_iter().chain([capture]) {
        sidecar.stop().await;
    }
}

/// Promise 1: brokers are killed and restarted in copy and in follow, and workers and captures with them; what is applied is whole
/// transactions, none is lost, and none counts twice.
#[tokio::test(flavor = "multi_thread")]
async fn brokers_are_killed_under_one_worker() {
    brokers_and_workers_come_and_go("transaction", 1).await;
}

/// The same with three workers, whose lanes go from one to the other each time.
#[tokio::test(flavor = "multi_thread")]
async fn brokers_are_killed_under_three_workers() {
    brokers_and_workers_come_and_go("key", 3).await;
}
