//! What blue is told, and when.

use std::time::Duration;

use understudy_contract::{ChangeStream, Confirm, StreamEvent};
use understudy_model::Lsn;
use understudy_postgres::source::slot;

use crate::harness::{Blue, NAME};

#[tokio::test]
async fn a_stream_that_nobody_reads_is_kept_alive() {
    // F12: with a timeout of one second, a sink that is blocked for four must not cost the connection.
    let Some(mut blue) = Blue::start("wal_sender_timeout = '1s'").await else {
        return;
    };
    let mut streaming = blue.stream(blue.start).await.unwrap();
    let before = slot::inspect(&mut blue.admin, NAME).await.unwrap().unwrap().active_pid;
    assert!(before.is_some());
    blue.run("INSERT INTO public.t SELECT i, pg_catalog.repeat('x', 500) FROM pg_catalog.generate_series(1, 100000) i").await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let after = slot::inspect(&mut blue.admin, NAME).await.unwrap().unwrap().active_pid;
    assert_eq!(before, after, "the walsender was replaced or is gone");
    assert_eq!(streaming.transaction().await.0.len(), 100_000);
    assert!(streaming.tasks.try_join_next().is_none(), "the feedback task has ended");
}

#[tokio::test]
async fn only_what_is_confirmed_is_forgotten_and_never_taken_back() {
    // F2, F8: received is not durable.
    let Some(mut blue) = Blue::start("").await else {
        return;
    };
    let mut streaming = blue.stream(blue.start).await.unwrap();
    blue.run("INSERT INTO public.t VALUES (1)").await;
    blue.run("INSERT INTO public.t VALUES (2)").await;
    let first = streaming.transaction().await.1;
    let second = streaming.transaction().await.1;
    streaming.confirm.confirm(first.lsn());
    blue.confirmed_reaches(first.lsn()).await;
    streaming.confirm.confirm(Lsn::new(1));
    assert_eq!(blue.confirmed().await, first.lsn());
    streaming.confirm.confirm(second.lsn());
    // The last confirmation arrives although the stream is dropped at once.
    drop(streaming.stream);
    while let Some(ended) = streaming.tasks.join_next().await {
        ended.unwrap().unwrap();
    }
    blue.confirmed_reaches(second.lsn()).await;
    assert_eq!(blue.confirmed().await, second.lsn());
}

#[tokio::test]
async fn an_idle_publication_lets_the_slot_advance() {
    // F7: keepalives tell how far blue has decoded, and confirming that moves the slot past unrelated work.
    let Some(mut blue) = Blue::start("wal_sender_timeout = '2s'").await else {
        return;
    };
    let mut request = crate::harness::request(blue.start);
    request.stall_timeout = Duration::from_secs(1);
    let mut streaming = crate::harness::Streaming::start(&blue.options(), &request).await.unwrap();
    blue.run("INSERT INTO public.other SELECT * FROM pg_catalog.generate_series(1, 100000)").await;
    let rows = blue.admin.query("SELECT pg_catalog.pg_current_wal_insert_lsn()").await.unwrap();
    let busy_until: Lsn = rows[0].parse(0).unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        assert!(tokio::time::Instant::now() < deadline, "no keepalive beyond {busy_until}");
        match streaming.stream.next().await.unwrap() {
            StreamEvent::Keepalive { end } => {
                streaming.confirm.confirm(end);
                if end >= busy_until {
                    break;
                }
            }
            StreamEvent::Begin { .. } | StreamEvent::Commit { .. } => {}
            other => panic!("unexpected: {other:?}"),
        }
    }
    blue.confirmed_reaches(busy_until).await;
}
