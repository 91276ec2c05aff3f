//! What arrives: every kind of change, once, in order, whatever interrupts the reading.

use std::time::Duration;

use tokio::time::timeout;
use understudy_contract::{ChangeStream, Confirm, StreamEvent};
use understudy_model::Checkpoint;

use understudy_postgres::source::stream::StartStream;

use crate::harness::{Blue, Streaming, request};
use crate::support::until;

#[tokio::test]
async fn every_kind_of_change_arrives_in_order() {
    let Some(mut blue) = Blue::start("").await else {
        return;
    };
    let mut streaming = blue.stream(blue.start).await.unwrap();
    blue.run("INSERT INTO public.t VALUES (1, 'one', pg_catalog.repeat('x', 5000)), (2, NULL, '')").await;
    blue.run(
        "BEGIN; UPDATE public.t SET v = 'eins' WHERE id = 1; UPDATE public.t SET id = 3 WHERE id = 2; \
              SELECT pg_catalog.pg_logical_emit_message(true, 'understudy/t', 'nonce'); \
              DELETE FROM public.t WHERE id = 3; COMMIT",
    )
    .await;
    blue.run("ALTER TABLE public.t REPLICA IDENTITY FULL").await;
    blue.run("UPDATE public.t SET v = NULL WHERE id = 1").await;
    blue.run("DELETE FROM public.t").await;
    blue.run("TRUNCATE public.t").await;
    assert_eq!(streaming.transaction().await.0, ["insert 1,one,5000 bytes", "insert 2,null,"]);
    assert_eq!(
        streaming.transaction().await.0,
        [
            "update 1,eins,unchanged",
            "update key 2,null,null to 3,null,",
            "message understudy/t nonce true",
            "delete key 3,null,null"
        ]
    );
    assert_eq!(streaming.transaction().await.0, ["update row 1,eins,5000 bytes to 1,null,unchanged"]);
    assert_eq!(streaming.transaction().await.0, ["delete row 1,null,5000 bytes"]);
    assert_eq!(streaming.transaction().await.0, ["truncate 1"]);

    blue.run(
        "SELECT pg_catalog.pg_logical_emit_message(false, 'p', 'at once'); INSERT INTO public.t VALUES (9)",
    )
    .await;
    let StreamEvent::Message { transactional: false, prefix, .. } = streaming.next().await else {
        panic!("no message outside a transaction")
    };
    assert_eq!(prefix, "p");
    assert_eq!(streaming.transaction().await.0, ["insert 9,null,null"]);
}

#[tokio::test]
async fn a_resumed_stream_repeats_nothing_and_leaves_nothing_out() {
    let Some(mut blue) = Blue::start("").await else {
        return;
    };
    for id in 1..=5 {
        blue.run(&format!("INSERT INTO public.t VALUES ({id})")).await;
    }
    let mut from = blue.start;
    for id in 1..=5 {
        // Each stream reads further than it keeps: only what was checkpointed must not come again.
        let mut streaming = blue.stream(from).await.unwrap();
        let (seen, end) = streaming.transaction().await;
        assert_eq!(seen, [format!("insert {id},null,null")]);
        if id < 5 {
            streaming.transaction().await;
        }
        // Confirming is optional: the checkpoint alone decides.
        if id % 2 == 0 {
            streaming.confirm.confirm(end.lsn());
        }
        from = end;
        drop(streaming);
        blue.slot_is_free().await;
    }
}

#[tokio::test]
async fn large_rows_and_long_transactions_pass_through() {
    let Some(mut blue) = Blue::start("").await else {
        return;
    };
    let mut streaming = blue.stream(blue.start).await.unwrap();
    blue.run("INSERT INTO public.t SELECT i, i::text FROM pg_catalog.generate_series(1, 50000) i").await;
    blue.run("INSERT INTO public.t VALUES (0, NULL, pg_catalog.repeat('x', 9000000))").await;
    let (seen, _) = streaming.transaction().await;
    assert!(seen.len() == 50_000 && seen[49_999] == "insert 50000,50000,null", "{}", seen.len());
    assert_eq!(streaming.transaction().await.0, ["insert 0,null,9000000 bytes"]);
}

/// Promise 6: a large transaction is kept in the memory that was allowed, and does not cost blue's disk; a server that
/// allows more by itself is left alone.
#[tokio::test]
async fn the_memory_that_is_allowed_keeps_large_transactions_off_the_disk() {
    let Some(mut blue) = Blue::start("logical_decoding_work_mem = 64kB").await else {
        return;
    };
    blue.run("INSERT INTO public.t SELECT n, n FROM pg_catalog.generate_series(1, 5000) n").await;
    let mut spilled = Vec::new();
    for (decoded, decoding_memory_bytes) in [(1, 0), (2, 64 << 20)] {
        let request = StartStream { decoding_memory_bytes, ..request(blue.start) };
        let mut streaming = Streaming::start(&blue.options(), &request).await.unwrap();
        assert_eq!(streaming.transaction().await.0.len(), 5000);
        drop(streaming);
        blue.slot_is_free().await;
        let figures = "SELECT total_txns, spill_txns FROM pg_catalog.pg_stat_replication_slots";
        until("the transaction is counted", || async {
            let rows = blue.cluster.client().await.query(figures).await.unwrap();
            rows[0].parse::<i64>(0).unwrap() >= decoded
        })
        .await;
        spilled.push(blue.admin.query(figures).await.unwrap()[0].parse::<i64>(1).unwrap());
    }
    assert_eq!(spilled, [1, 1], "on disk once without the memory, and not again with it");
}

#[tokio::test]
async fn a_dropped_read_loses_no_bytes() {
    // F13: the future of `next` is dropped at every opportunity while rows trickle in.
    let Some(mut blue) = Blue::start("").await else {
        return;
    };
    let mut streaming = blue.stream(blue.start).await.unwrap();
    blue.run(
        "INSERT INTO public.t SELECT i, pg_catalog.repeat('y', i) FROM pg_catalog.generate_series(1, 3000) i",
    )
    .await;
    let (mut rows, mut dropped) = (0, 0);
    loop {
        // Polled once and dropped: a read that has begun goes on in the next future.
        let event = match futures_util::FutureExt::now_or_never(streaming.stream.next()) {
            Some(event) => event.unwrap(),
            None => {
                dropped += 1;
                assert!(dropped < 1_000_000, "the stream stopped after {rows} rows");
                tokio::task::yield_now().await;
                continue;
            }
        };
        match event {
            StreamEvent::Change(_) => rows += 1,
            StreamEvent::Commit { .. } => break,
            _ => {}
        }
    }
    assert!(rows == 3_000 && dropped > 0, "{rows} rows, {dropped} futures dropped");
}

#[tokio::test]
async fn silence_is_a_failure_only_when_a_sign_of_life_was_asked_for_and_did_not_come() {
    // F45: a connection that died without a word must not look like an idle one.
    let Some(mut blue) = Blue::start("").await else {
        return;
    };
    let relay = relay(&blue).await;
    let mut request = crate::harness::request(blue.start);
    request.stall_timeout = Duration::from_millis(900);
    let mut options = blue.options();
    options.host = understudy_postgres::wire::Host::Tcp("127.0.0.1".into());
    options.port = relay.port;
    let mut streaming = crate::harness::Streaming::start(&options, &request).await.unwrap();
    // Alive but idle: asked, it answers, for longer than the limit.
    let idle = timeout(Duration::from_secs(2), async {
        loop {
            streaming.stream.next().await.unwrap();
        }
    });
    assert!(idle.await.is_err());
    relay.cut.send(true).unwrap();
    let failure = timeout(Duration::from_secs(10), async {
        loop {
            if let Err(failure) = streaming.stream.next().await {
                return failure;
            }
        }
    });
    let failure = failure.await.expect("the silence was never noticed");
    assert!(failure.to_string().contains("sent nothing"), "{failure}");
    blue.run("SELECT 1").await;
}

struct Relay {
    port: u16,
    cut: tokio::sync::watch::Sender<bool>,
    _task: tokio::task::JoinSet<()>,
}

/// Passes bytes between a client and the server until it is told to swallow them, connections left open.
async fn relay(blue: &Blue) -> Relay {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (cut, told) = tokio::sync::watch::channel(false);
    let server = blue.cluster.port;
    let mut task = tokio::task::JoinSet::new();
    task.spawn(async move {
        let mut pairs = tokio::task::JoinSet::new();
        while let Ok((mut client, _)) = listener.accept().await {
            let mut told = told.clone();
            let mut server = tokio::net::TcpStream::connect(("127.0.0.1", server)).await.unwrap();
            pairs.spawn(async move {
                let cut = async { told.wait_for(|cut| *cut).await.map(drop) };
                let passed = tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut client, &mut server) => true,
                    _ = cut => false,
                };
                if !passed {
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    Relay { port, cut, _task: task }
}

#[tokio::test]
async fn the_end_of_the_server_ends_the_stream_as_transient() {
    let Some(blue) = Blue::start("").await else { return };
    let mut streaming = blue.stream(blue.start).await.unwrap();
    blue.cluster.control("stop");
    let failure = loop {
        match streaming.stream.next().await {
            Ok(StreamEvent::Keepalive { .. }) => {}
            Ok(event) => panic!("{event:?}"),
            Err(failure) => break failure,
        }
    };
    assert_eq!(failure.class(), understudy_contract::Class::Transient, "{failure}");
    blue.cluster.control("start");
    // What was confirmed or not: the checkpoint is still where the stream goes on.
    let mut again = blue.stream(Checkpoint::at_commit_end(blue.start.lsn())).await.unwrap();
    let mut admin = blue.cluster.client().await;
    admin.batch("INSERT INTO public.t VALUES (1)").await.unwrap();
    assert_eq!(again.transaction().await.0, ["insert 1,null,null"]);
}
