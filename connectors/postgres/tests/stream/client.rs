//! Statements, pipelines and copies.

use std::time::Duration;

use understudy_contract::Class;
use understudy_postgres::error::{has_sqlstate, server_error};
use understudy_postgres::wire::{Client, Pipeline, TransactionState};

use crate::support::Cluster;

#[tokio::test]
async fn every_connection_pins_what_shapes_text() {
    let Some(cluster) = Cluster::start() else { return };
    let mut admin = cluster.client().await;
    let defaults = "ALTER ROLE postgres SET \"DateStyle\" = 'German'; ALTER ROLE postgres SET \"TimeZone\" = 'Asia/Tokyo'; \
                    ALTER ROLE postgres SET extra_float_digits = 0; ALTER ROLE postgres SET bytea_output = 'escape'; \
                    ALTER ROLE postgres SET search_path = 'public'; ALTER ROLE postgres SET \"IntervalStyle\" = 'iso_8601'";
    admin.batch(defaults).await.unwrap();
    let sql = "SELECT pg_catalog.concat_ws('|', pg_catalog.current_setting('client_encoding'), \
               pg_catalog.current_setting('row_security'), pg_catalog.current_setting('search_path'), \
               pg_catalog.current_setting('lc_monetary'), timestamptz '2020-01-02 03:04:05.6+00', interval '1 day 2 hours', \
               0.1::float8 + 0.2::float8, '\\xff'::bytea)";
    let wanted = "UTF8|off||C|2020-01-02 03:04:05.6+00|1 day 02:00:00|0.30000000000000004|\\xff";
    for mut client in [
        Client::connect(&cluster.options()).await.unwrap(),
        Client::connect_replication(&cluster.options()).await.unwrap(),
    ] {
        assert_eq!(client.query(sql).await.unwrap()[0].text(0), Some(wanted));
        assert!(client.server_version() >= 140_000 && client.backend_pid() > 0);
        client.close().await;
    }
}

#[tokio::test]
async fn statements_return_rows_counts_and_errors_and_go_on() {
    let Some(cluster) = Cluster::start() else { return };
    let mut client = cluster.client().await;
    client
        .batch("CREATE TABLE public.t (id int PRIMARY KEY, v text); INSERT INTO public.t VALUES (1, 'a')")
        .await
        .unwrap();
    let affected =
        client.execute_with("INSERT INTO public.t VALUES ($1, $2), (3, NULL)", &[Some("2"), None]).await;
    assert_eq!(affected.unwrap(), 2);
    let rows = client
        .query_with("SELECT id, v FROM public.t WHERE id <= $1 ORDER BY 1", &[Some("2")])
        .await
        .unwrap();
    assert_eq!((rows.len(), rows[0].text(1), rows[1].text(1)), (2, Some("a"), None));

    let failure =
        client.execute_with("INSERT INTO public.t VALUES ($1, 'x')", &[Some("1")]).await.unwrap_err();
    assert_eq!(failure.class(), Class::Data);
    let error = server_error(&failure).unwrap();
    assert_eq!((error.table.as_deref(), error.constraint.as_deref()), (Some("t"), Some("t_pkey")));
    let failure = client.query_with("SELECT $1::int", &[Some("secret")]).await.unwrap_err();
    assert!(has_sqlstate(&failure, "22P02") && !format!("{failure:?}").contains("secret"), "{failure:?}");

    let statement = client.prepare("UPDATE public.t SET v = $2 WHERE id = $1").await.unwrap();
    assert_eq!(statement.parameter_types(), [23, 25]);
    let failure = client.prepare("SELECT nothing FROM nowhere").await.unwrap_err();
    assert_eq!(failure.class(), Class::Configuration);
    client.close_statement(statement).await.unwrap();
    let failure = client.query_with("SELECT $1", &[Some("zero\0byte")]).await;
    assert!(failure.is_err() && !client.is_broken());
    assert_eq!(client.query("SELECT 1").await.unwrap()[0].parse::<i32>(0).unwrap(), 1);
}

#[tokio::test]
async fn a_pipeline_reports_the_step_that_failed_and_undoes_the_rest() {
    let Some(cluster) = Cluster::start() else { return };
    let mut client = cluster.client().await;
    client
        .batch(
            "CREATE TABLE public.t (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, v int CHECK (v < 9))",
        )
        .await
        .unwrap();
    let insert = client.prepare("INSERT INTO public.t VALUES ($1, $2)").await.unwrap();
    let mut pipeline = Pipeline::new();
    let add = |pipeline: &mut Pipeline, id: &str, v: &str| {
        pipeline.execute(&insert, [Some(id.as_bytes()), Some(v.as_bytes())]);
    };
    pipeline.simple("BEGIN");
    add(&mut pipeline, "1", "1");
    pipeline.copy_in("COPY public.t FROM STDIN", b"2\t2\n3\t3\n");
    pipeline.simple("UPDATE public.t SET v = v + 1");
    pipeline.simple("COMMIT");
    assert_eq!(pipeline.len(), 5);
    assert_eq!(client.run(&mut pipeline).await.unwrap(), [0, 1, 2, 3, 0]);
    assert!(pipeline.is_empty());

    add(&mut pipeline, "4", "4");
    add(&mut pipeline, "5", "9");
    pipeline.copy_in("COPY public.t FROM STDIN", b"6\t6\n");
    let failed = client.run(&mut pipeline).await.unwrap_err();
    assert!(failed.step == 1 && has_sqlstate(&failed.failure, "23514"), "{failed:?}");

    // A copy in the middle that fails must not let its data be taken for statements.
    add(&mut pipeline, "4", "4");
    pipeline.copy_in("COPY public.t FROM STDIN", b"7\tx\n".repeat(100_000).as_slice());
    pipeline.simple("SELECT 1");
    let failed = client.run(&mut pipeline).await.unwrap_err();
    assert!(failed.step == 1 && failed.failure.class() == Class::Data, "{failed:?}");

    // A deferred constraint fails at the end of the transaction, after every step.
    add(&mut pipeline, "1", "1");
    let failed = client.run(&mut pipeline).await.unwrap_err();
    assert!(failed.step == 1 && has_sqlstate(&failed.failure, "23505"), "{failed:?}");
    assert_eq!(client.transaction(), TransactionState::Idle);
    let rows = client.query("SELECT count(*) FROM public.t").await.unwrap();
    assert_eq!(rows[0].text(0), Some("3"));
}

#[tokio::test]
async fn a_huge_pipeline_whose_answers_are_huge_too_does_not_deadlock() {
    let Some(cluster) = Cluster::start() else { return };
    let mut client = cluster.client().await;
    let echo = client.prepare("SELECT $1::text FROM pg_catalog.generate_series(1, 4)").await.unwrap();
    let text = "x".repeat(20_000);
    let mut pipeline = Pipeline::new();
    for _ in 0..1_000 {
        pipeline.execute(&echo, [Some(text.as_bytes())]);
    }
    let mut rows = 0;
    let run = client.run_with(&mut pipeline, |_, row| {
        rows += 1;
        assert_eq!(row.text(0).map(str::len), Some(20_000));
        Ok(())
    });
    let affected = tokio::time::timeout(Duration::from_secs(60), run).await.expect("a deadlock").unwrap();
    assert_eq!((affected.len(), affected.iter().sum::<u64>(), rows), (1_000, 4_000, 4_000));
}

#[tokio::test]
async fn copies_carry_rows_both_ways_and_survive_errors() {
    let Some(cluster) = Cluster::start() else { return };
    let mut client = cluster.client().await;
    client.batch("CREATE TABLE public.t (id int PRIMARY KEY, v text)").await.unwrap();
    let mut sent = Vec::new();
    let mut copy = client.copy_in("COPY public.t FROM STDIN").await.unwrap();
    for id in 0..50_000 {
        let line = format!("{id}\t{}\n", "v".repeat(id % 100));
        sent.extend_from_slice(line.as_bytes());
        // Lines need not arrive whole.
        let (head, tail) = line.as_bytes().split_at(line.len() / 2);
        copy.send(head).await.unwrap();
        copy.send(tail).await.unwrap();
    }
    assert_eq!(copy.finish().await.unwrap(), 50_000);

    let mut received = Vec::new();
    let mut copy = client.copy_out("COPY (SELECT * FROM public.t ORDER BY id) TO STDOUT").await.unwrap();
    while let Some(line) = copy.next().await.unwrap() {
        assert_eq!(memchr(&line), Some(line.len() - 1), "one line at a time");
        received.extend_from_slice(&line);
    }
    assert!(copy.next().await.unwrap().is_none());
    assert!(received == sent, "what came back differs");

    let copy = client.copy_in("COPY public.t FROM STDIN").await.unwrap();
    assert_eq!(copy.finish().await.unwrap(), 0);
    let mut copy = client.copy_in("COPY public.t FROM STDIN").await.unwrap();
    copy.send(b"90000\tx\n").await.unwrap();
    copy.abort("called off").await.unwrap();
    let copy = client.copy_in("COPY public.nowhere FROM STDIN").await.unwrap();
    assert!(has_sqlstate(&copy.finish().await.unwrap_err(), "42P01"));
    assert!(client.copy_out("COPY public.nowhere TO STDOUT").await.is_err());
    assert!(client.copy_out("SELECT 1").await.is_err());
    assert_eq!(client.query("SELECT count(*) FROM public.t").await.unwrap()[0].text(0), Some("50000"));
}

fn memchr(line: &[u8]) -> Option<usize> {
    line.iter().position(|byte| *byte == b'\n')
}

#[tokio::test]
async fn a_copy_that_the_server_refuses_stops_early_and_leaves_the_connection_usable() {
    let Some(cluster) = Cluster::start() else { return };
    let mut client = cluster.client().await;
    client.batch("CREATE TABLE public.t (id int)").await.unwrap();
    let mut copy = client.copy_in("COPY public.t FROM STDIN").await.unwrap();
    let bad = b"not a number\n".repeat(10_000);
    let mut sends = 0;
    let failure = loop {
        match copy.send(&bad).await {
            Ok(()) => sends += 1,
            Err(failure) => break failure,
        }
        assert!(sends < 1_000, "the refusal was never noticed");
    };
    assert!(has_sqlstate(&failure, "22P02") && !failure.to_string().contains("not a number"), "{failure}");
    drop(copy);
    assert_eq!(client.query("SELECT count(*) FROM public.t").await.unwrap()[0].text(0), Some("0"));
}

#[tokio::test]
async fn copies_out_can_be_called_off() {
    let Some(cluster) = Cluster::start() else { return };
    let mut client = cluster.client().await;
    let endless =
        "COPY (SELECT pg_catalog.repeat('x', 1000) FROM pg_catalog.generate_series(1, 100000000)) TO STDOUT";
    let mut copy = client.copy_out(endless).await.unwrap();
    copy.next().await.unwrap();
    copy.cancel().await.unwrap();
    assert_eq!(client.query("SELECT 1").await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_dropped_call_poisons_the_connection_and_nothing_else() {
    let Some(cluster) = Cluster::start() else { return };
    let mut client = cluster.client().await;
    let long = client.query("SELECT pg_catalog.pg_sleep(30)");
    assert!(tokio::time::timeout(Duration::from_millis(50), long).await.is_err());
    assert!(client.is_broken());
    assert_eq!(client.query("SELECT 1").await.unwrap_err().class(), Class::Transient);
    client.cancel_token().cancel().await.unwrap();
}

#[tokio::test]
async fn the_last_words_of_a_dying_server_are_reported() {
    let Some(cluster) = Cluster::start() else { return };
    let (mut victim, mut admin) = (cluster.client().await, cluster.client().await);
    let kill = format!("SELECT pg_catalog.pg_terminate_backend({}, 5000)", victim.backend_pid());
    admin.batch(&kill).await.unwrap();
    let failure = victim.query("SELECT 1").await.unwrap_err();
    assert!(has_sqlstate(&failure, "57P01") && failure.class() == Class::Transient, "{failure}");
    assert_eq!(victim.query("SELECT 1").await.unwrap_err().class(), Class::Transient);
}
