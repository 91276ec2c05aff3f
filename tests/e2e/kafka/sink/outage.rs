//! A broker that goes away in the middle, and brokers that do not let a capture in.

use understudy_contract::Class;
use understudy_kafka::{ClientCertificate, Sasl, SaslMechanism, Secret, Tls, Verify};
use understudy_tests::{Listener, PASSWORD, STRANGER, USER};

use super::topics::headers;
use super::*;

/// Guards that a broker which is away is waited for and comes to nothing worse: what was committed is there, what was not is
/// written by whoever goes on, and the numbers of groups have no gaps. Killed right after its answer, the broker may have left
/// the transaction unfinished in some partitions, and never finish it by itself.
#[tokio::test]
async fn a_killed_broker_is_waited_for() {
    let Some(mut kafka) = Kafka::start().await else { return };
    let subject = Subject::on(&kafka, "killed");
    let mut sink = subject.begun().await;
    sink.apply(transaction(1, vec![insert(ITEMS, &["1", "a", "x"])])).await.unwrap();
    kafka.kill(1);
    let failure = subject.connect().await.err().expect("nobody can be reached");
    assert_eq!(failure.class(), Class::Transient, "{failure}");
    let changes = || vec![insert(ITEMS, &["2", "b", "y"])];
    let (applied, ()) = tokio::join!(sink.apply(transaction(2, changes())), kafka.start_node(1));
    if let Err(failure) = &applied {
        assert_eq!(failure.class(), Class::Transient, "{failure}");
    }
    drop(sink);
    let (mut sink, saved) = subject.again().await;
    if applied.is_ok() {
        assert_eq!(saved.checkpoint, checkpoint(2), "what was said to be committed is lost");
    } else if saved.checkpoint == checkpoint(1) {
        sink.apply(transaction(2, changes())).await.unwrap();
    }
    sink.apply(transaction(3, vec![insert(ITEMS, &["3", "c", "z"])])).await.unwrap();
    subject.groups().await;
    let records = subject.topics.records(&subject.items(), 1).await;
    // What the broker has left unfinished is said once more, which readers pass over.
    let rows = records.iter().filter(|record| !headers(record).tombstone);
    assert_eq!(rows.count(), 3, "a row is lost, or is there twice");
}

/// Guards every way of encrypting and logging in, and that who is not let in is told so at once instead of trying for ever.
#[tokio::test]
async fn a_capture_is_let_in_or_told_why_not() {
    let Some(kafka) = Kafka::secured(&[]).await else { return };
    let folder = kafka.scratch().path();
    let sasl = |mechanism, user: &str, password: &str| {
        Some(Sasl { mechanism, user: user.to_owned(), password: Secret::new(password) })
    };
    let tls = |authority: &str| Some(Tls { ca_file: Some(folder.join(authority)), ..Tls::default() });
    let certificate = ClientCertificate {
        cert_file: folder.join("client.pem"),
        key_file: folder.join("client.key"),
        key_password: None,
    };
    let signed = tls("authority.pem").map(|tls| Tls { client: Some(certificate), ..tls });
    let good = PASSWORD;
    let ways = [
        (Listener::Sasl, None, sasl(SaslMechanism::Plain, USER, good), None),
        (Listener::Sasl, None, sasl(SaslMechanism::ScramSha256, USER, good), None),
        (Listener::SaslTls, tls("authority.pem"), sasl(SaslMechanism::ScramSha512, USER, good), None),
        (Listener::Tls, signed, None, None),
        (Listener::Sasl, None, sasl(SaslMechanism::ScramSha512, USER, "wrong"), Some(Class::Configuration)),
        (Listener::Sasl, None, sasl(SaslMechanism::ScramSha512, STRANGER, good), Some(Class::Configuration)),
        (
            Listener::SaslTls,
            tls(&format!("{STRANGER}.pem")),
            sasl(SaslMechanism::Plain, USER, good),
            Some(Class::Configuration),
        ),
    ];
    for (listener, tls, sasl, refused) in ways {
        let way = format!("{listener:?} {tls:?} {sasl:?}");
        let subject = Subject::on(&kafka, "access").with(|settings| {
            settings.brokers = vec![kafka.addresses(listener)];
            (settings.tls, settings.sasl) = (tls, sasl);
        });
        let claimed = async {
            let mut sink = subject.connect().await?;
            sink.claim().await?;
            sink.begin(&lineage(), checkpoint(0)).await
        };
        let class = claimed.await.err().map(|failure| failure.class());
        assert_eq!(class, refused, "{way}");
    }
    let unchecked = Some(Tls { verify: Verify::None, ..Tls::default() });
    let subject = Subject::on(&kafka, "unchecked").with(|settings| {
        settings.brokers = vec![kafka.addresses(Listener::SaslTls)];
        (settings.tls, settings.sasl) = (unchecked, sasl(SaslMechanism::Plain, USER, good));
    });
    drop(subject.connect().await.unwrap());
}
