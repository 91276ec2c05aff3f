//! Several workers apply one log side by side, each the lanes that the group gives it.

use understudy_tests::{Kafka, Pair, Port, Sidecar, understudy, until};

use super::load::{LANES, ROWS, TABLES, Work, books_say, copied, migration, prove, shared_out};

/// Promise 1 and F41: three processes share twelve partitions; in copy and in follow one is killed and one comes in, under load
/// that moves keys between lanes and empties tables; green equals blue, no change was lost or applied twice, and nothing stays.
#[tokio::test(flavor = "multi_thread")]
async fn three_workers_share_twelve_partitions_while_one_is_killed_and_one_is_added() {
    let Some(kafka) = Kafka::shared() else { return };
    let settings = [("fsync", "off"), ("max_connections", "150")];
    let Some(pair) = Pair::start_with(15, 18, &[("fsync", "off")], &settings).await else { return };
    pair.on_both(TABLES).await;
    pair.on_blue().await.batch(ROWS).await;
    let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
    let prefix = Kafka::prefix("lanes");
    let migration = migration(&pair, kafka, (&prefix, "key"));
    let work = Work::start(pair.on_blue().await);

    let mut capture = Sidecar::start_with(&migration, &["--role", "capture"]);
    let worker = || Sidecar::start_with(&migration, &["--role", "apply"]);
    let mut workers = vec![worker(), worker(), worker()];
    shared_out(&mut workers).await;
    let is_copying = "count(*) > 12 FROM understudy.chunks_done WHERE starts_with(migration, 'lanes')";
    until("the copy is under way", async || books_say(&mut green, is_copying).await).await;
    workers.remove(1).kill();
    workers.push(worker());
    shared_out(&mut workers).await;

    copied(&mut green, &mut workers, LANES).await;
    refuses_the_other_way(&pair, kafka, &prefix).await;
    work.goes_on(200).await;
    workers.remove(0).kill();
    workers.push(worker());
    shared_out(&mut workers).await;
    work.goes_on(200).await;

    capture.assert_running();
    prove(work, &mut workers, (&mut blue, &mut green)).await;

    for worker in workers {
        worker.stop().await;
    }
    let file = capture.file.to_string_lossy().into_owned();
    capture.stop().await;
    let exit = understudy(migration.folder(), &["abort", &file, "--yes"]).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let left = "SELECT count(*) FROM pg_namespace WHERE nspname = 'understudy'";
    assert_eq!(green.number(left).await, 0, "the bookkeeping of a lane stays");
    let topic = format!("{prefix}.understudy.lanes");
    until("the topic of the lanes is gone", async || kafka.in_sync(1, &topic).await.is_none().then_some(()))
        .await;
}

/// Before anything is started: a green that lanes fill is not filled in whole transactions, and `check` says so.
async fn refuses_the_other_way(pair: &Pair, kafka: &Kafka, prefix: &str) {
    let other = migration(pair, kafka, (prefix, "transaction"));
    let file = other.write(&Port::reserve()).to_string_lossy().into_owned();
    let exit = understudy(other.folder(), &["check", &file]).await;
    assert_eq!(exit.code, Some(2), "{}", exit.stdout);
    assert!(exit.stdout.contains("green has been filled by 12 lanes"), "{}", exit.stdout);
}
