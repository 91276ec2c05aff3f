//! The brokers that the other tests rest on: they come back with their data, and let in whom they should.

use std::path::Path;
use std::process::{Command, Stdio};

use tokio::runtime::Builder;
use understudy_tests::{Kafka, Listener, PASSWORD, STRANGER, Signal, USER, until};

const ALL: [i32; 3] = [1, 2, 3];

/// Guards what the fault tests do to brokers: a node that is killed is missed, and one that is started again has its data,
/// takes part and catches up.
#[tokio::test]
async fn a_killed_node_comes_back_with_its_data() {
    let Some(mut kafka) = Kafka::start_nodes(3).await else {
        return;
    };
    kafka.create_topic("orders", 2).await;
    sees(&kafka, 1, &ALL).await;

    kafka.kill(2);
    sees(&kafka, 1, &[1, 3]).await;
    assert_eq!(kafka.members(2).await, None, "a killed node answers");

    kafka.start_node(2).await;
    for node in 1..=3 {
        sees(&kafka, node, &ALL).await;
    }
}

/// Guards a test that restarts the only node there is, in either way: its topics are still there.
#[tokio::test]
async fn a_single_node_keeps_its_topics_over_a_stop_and_a_kill() {
    let Some(mut kafka) = Kafka::start().await else {
        return;
    };
    kafka.create_topic("orders", 3).await;
    kafka.stop(1).await;
    kafka.start_node(1).await;
    kafka.kill(1);
    kafka.start_node(1).await;
    until("the topic is led again", async || {
        (kafka.in_sync(1, "orders").await? == vec![vec![1]; 3]).then_some(())
    })
    .await;
}

/// Guards the tests of faults in time: a frozen node is away, and takes part again when it goes on.
#[tokio::test]
async fn a_frozen_node_is_missed_and_returns() {
    let Some(kafka) = Kafka::start_nodes(3).await else {
        return;
    };
    kafka.create_topic("orders", 1).await;
    kafka.signal(3, Signal::Stop);
    sees(&kafka, 1, &[1, 2]).await;
    kafka.signal(3, Signal::Cont);
    sees(&kafka, 3, &ALL).await;
}

/// Guards the tests of TLS and of users: the broker shows a certificate that its authority signed for its address, and a
/// password is looked at.
#[tokio::test]
async fn the_guarded_listeners_are_guarded() {
    let Some(kafka) = Kafka::secured(&[]).await else {
        return;
    };
    for listener in [Listener::Tls, Listener::SaslTls] {
        let address = kafka.addresses(listener);
        assert!(greets(&address, &kafka.scratch().path().join("authority.pem")), "{listener:?}");
        assert!(!greets(&address, &kafka.scratch().path().join("stranger.pem")), "{listener:?}");
    }
    for user in [USER, STRANGER] {
        assert!(kafka.lets_in(user, PASSWORD).await, "{user}");
        assert!(!kafka.lets_in(user, "guessed").await, "{user}");
    }
}

/// Guards the tests that share a broker: it answers wherever they run, and none meets the topics of another.
#[test]
fn the_shared_broker_serves_tests_apart() {
    let Some(kafka) = Kafka::shared() else {
        return;
    };
    let (one, other) = (Kafka::prefix("orders"), Kafka::prefix("orders"));
    assert_ne!(one, other);
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        kafka.create_topic(&one, 1).await;
        assert_eq!(kafka.in_sync(1, &one).await, Some(vec![vec![1]]));
        assert_eq!(kafka.in_sync(1, &other).await, None, "a topic that nobody created");
    });
}

/// Waits until a node knows exactly these, and that they have all of the topic.
async fn sees(kafka: &Kafka, asked: usize, expected: &[i32]) {
    until(&format!("node {asked} sees {expected:?}"), async || {
        let mut members = kafka.members(asked).await?;
        members.sort_unstable();
        let in_sync = kafka.in_sync(asked, "orders").await?;
        let whole = in_sync.iter().all(|nodes| {
            let mut nodes = nodes.clone();
            nodes.sort_unstable();
            nodes == expected
        });
        (members == expected && whole && !in_sync.is_empty()).then_some(())
    })
    .await;
}

/// Whether a handshake with the server succeeds for somebody who trusts this authority alone.
fn greets(address: &str, authority: &Path) -> bool {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-verify_return_error", "-verify_ip", "127.0.0.1", "-connect", address]);
    command.arg("-CAfile").arg(authority);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().expect("run openssl").success()
}
