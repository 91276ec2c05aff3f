//! Logging in: passwords, TLS modes, and what is said when it does not work.

use std::process::{Command, Stdio};

use understudy_contract::{Class, Failure};
use understudy_postgres::error::has_sqlstate;
use understudy_postgres::wire::{Client, ConnectOptions, Host, Secret};

use crate::support::{Cluster, Setup};

async fn refused(options: &ConnectOptions) -> Failure {
    match Client::connect(options).await {
        Ok(_) => panic!("{options} was let in"),
        Err(failure) => {
            assert!(failure.remedy_text().is_some(), "no remedy: {failure}");
            assert!(failure.to_string().starts_with("could not connect to "), "{failure}");
            failure
        }
    }
}

fn hba(lines: &str) -> Option<String> {
    Some(format!("local all postgres trust\nlocal replication all trust\n{lines}\n"))
}

#[tokio::test]
async fn passwords_are_proved_by_every_method_and_wrong_ones_refused() {
    let lines = "host all scrammed 127.0.0.1/32 scram-sha-256\nhost all hashed 127.0.0.1/32 md5\n\
                 host all plain 127.0.0.1/32 password\nhost all nobody 127.0.0.1/32 trust";
    let setup = Setup { hba: hba(lines), ..Setup::default() };
    let Some(cluster) = Cluster::start_with(&setup) else {
        return;
    };
    let mut admin = cluster.client().await;
    let roles = "SET password_encryption = 'scram-sha-256'; CREATE ROLE scrammed LOGIN PASSWORD 'p@ss: wörd'; \
                 CREATE ROLE plain LOGIN PASSWORD 'p@ss: wörd'; SET password_encryption = 'md5'; \
                 CREATE ROLE hashed LOGIN PASSWORD 'p@ss: wörd'; CREATE ROLE stranger LOGIN PASSWORD 'x'";
    admin.batch(roles).await.unwrap();
    for role in ["scrammed", "hashed", "plain"] {
        let options = cluster.tcp(role, "").with_password(Secret::new("p@ss: wörd"));
        let mut client = Client::connect(&options).await.unwrap();
        assert_eq!(client.query("SELECT current_user").await.unwrap()[0].text(0), Some(role));

        let failure = refused(&options.clone().with_password(Secret::new("wrong"))).await;
        assert!(has_sqlstate(&failure, "28P01") && failure.class() == Class::Configuration, "{failure}");
        assert!(failure.to_string().contains("password authentication failed"), "{failure}");

        let failure = refused(&cluster.tcp(role, "passfile=/dev/null")).await;
        assert!(failure.to_string().contains("asks for a password"), "{failure}");

        let entry = format!("127.0.0.1:{}:*:{role}:p@ss\\: wörd\n", cluster.port);
        let passfile = cluster.put(&format!("passfile-{role}"), entry.as_bytes());
        Client::connect(&cluster.tcp(role, &format!("passfile={}", passfile.display()))).await.unwrap();
    }
    let failure = refused(&cluster.tcp("stranger", "").with_password(Secret::new("x"))).await;
    assert!(failure.remedy_text().unwrap().contains("pg_hba.conf"), "{failure:?}");
    let failure = refused(&cluster.tcp("nobody", "")).await;
    assert!(failure.remedy_text().unwrap().contains("\"nobody\""), "{failure:?}");
}

#[tokio::test]
async fn what_is_not_there_is_named_with_a_remedy() {
    let Some(cluster) = Cluster::start() else { return };
    let mut options = cluster.options();
    options.database = "nowhere".to_owned();
    let failure = refused(&options).await;
    assert!(failure.to_string().contains("\"nowhere\" does not exist"), "{failure}");
    assert!(failure.remedy_text().unwrap().contains("create the database"));

    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let failure = refused(&ConnectOptions::new(Host::Tcp("127.0.0.1".into()), free, "u", "d")).await;
    assert!(
        failure.class() == Class::Transient && failure.remedy_text().unwrap().contains("listens"),
        "{failure}"
    );

    let failure =
        refused(&ConnectOptions::new(Host::Tcp("no-such-host.invalid".into()), 5432, "u", "d")).await;
    assert_eq!(failure.class(), Class::Transient, "{failure}");
    let failure = refused(&ConnectOptions::new(Host::Unix("/nowhere".into()), 5432, "u", "d")).await;
    assert!(failure.remedy_text().unwrap().contains("Unix socket"), "{failure}");

    let mut admin = cluster.client().await;
    admin.batch("CREATE ROLE weak LOGIN").await.unwrap();
    let mut options = cluster.options();
    options.user = "weak".to_owned();
    let Err(failure) = Client::connect_replication(&options).await else {
        panic!("let in without REPLICATION")
    };
    assert!(failure.remedy_text().unwrap().contains("REPLICATION"), "{failure:?}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_in_time() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let address = format!("postgres://u@127.0.0.1:{port}/d?connect_timeout=1");
    let failure = refused(&ConnectOptions::parse(&address).unwrap()).await;
    assert!(failure.to_string().contains("no answer within 1 s"), "{failure}");
    assert_eq!(failure.class(), Class::Transient);
}

/// Certificates by openssl: an authority, a server certificate of it for localhost, and an unrelated authority.
fn make_certificates(cluster: &Cluster) {
    let script = "set -e; cd \"$1\"\n\
        ca() { openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=$1 -keyout $1.key -out $1.pem \
          -addext basicConstraints=critical,CA:TRUE; }\n\
        ca authority; ca stranger\n\
        openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr\n\
        printf 'subjectAltName=DNS:localhost' > san\n\
        openssl x509 -req -in server.csr -CA authority.pem -CAkey authority.key -CAcreateserial -days 2 -sha384 \
          -extfile san -out server.pem";
    let output =
        Command::new("sh").args(["-c", script, "sh"]).arg(&cluster.directory).stdin(Stdio::null()).output();
    let output = output.unwrap();
    assert!(output.status.success(), "openssl failed: {}", String::from_utf8_lossy(&output.stderr));
    for file in ["server.pem", "server.key"] {
        cluster.put(file, &std::fs::read(cluster.directory.join(file)).unwrap());
    }
}

/// A cluster whose role `secure` may only come encrypted and whose role `open` only unencrypted.
async fn guarded_cluster() -> Option<Cluster> {
    let lines =
        "hostssl all secure 127.0.0.1/32 scram-sha-256\nhostnossl all open 127.0.0.1/32 scram-sha-256";
    let cluster = Cluster::start_with(&Setup { hba: hba(lines), ..Setup::default() })?;
    let roles = "CREATE ROLE secure LOGIN REPLICATION PASSWORD 'p'; CREATE ROLE open LOGIN PASSWORD 'p'";
    cluster.client().await.batch(roles).await.unwrap();
    Some(cluster)
}

fn switch_tls_on(cluster: &Cluster) {
    make_certificates(cluster);
    let file = |name: &str| cluster.directory.join(name).display().to_string();
    let (certificate, key) = (file("server.pem"), file("server.key"));
    cluster.append(
        "postgresql.conf",
        &format!("ssl = on\nssl_cert_file = '{certificate}'\nssl_key_file = '{key}'"),
    );
    cluster.control("restart");
}

#[tokio::test]
async fn each_tls_mode_lets_in_whom_it_should() {
    let Some(cluster) = guarded_cluster().await else {
        return;
    };
    Client::connect(&cluster.tcp("open:p", "sslmode=prefer")).await.unwrap();
    switch_tls_on(&cluster);
    let file = |name: &str| cluster.directory.join(name).display().to_string();
    let authority = file("authority.pem");
    let local = |parameters: &str| {
        let mut options = cluster.tcp("secure:p", parameters);
        options.host = Host::Tcp("localhost".into());
        options
    };
    for good in [
        cluster.tcp("secure:p", "sslmode=prefer"),
        cluster.tcp("secure:p", "sslmode=require&channel_binding=require"),
        cluster.tcp("secure:p", &format!("sslmode=verify-ca&sslrootcert={authority}")),
        local(&format!("sslmode=verify-full&sslrootcert={authority}")),
        local(&format!("sslmode=verify-full&sslrootcert={}", file("server.pem"))),
    ] {
        let mut client = Client::connect_replication(&good).await.unwrap();
        let sql = "SELECT ssl FROM pg_catalog.pg_stat_ssl WHERE pid = pg_catalog.pg_backend_pid()";
        assert!(client.query(sql).await.unwrap()[0].is_true(0), "{good:?}");
        // More than the buffers of an encrypted stream hold.
        let big = format!("SELECT pg_catalog.length('{}')", "x".repeat(3_000_000));
        assert_eq!(client.query(&big).await.unwrap()[0].text(0), Some("3000000"));
    }
    // As libpq: what only an unencrypted connection may do falls back to one.
    Client::connect(&cluster.tcp("open:p", "sslmode=prefer")).await.unwrap();
}

#[tokio::test]
async fn each_tls_mode_refuses_what_it_should() {
    let Some(cluster) = guarded_cluster().await else {
        return;
    };
    let failure = refused(&cluster.tcp("secure:p", "sslmode=require")).await;
    assert!(failure.to_string().contains("does not offer TLS"), "{failure}");
    switch_tls_on(&cluster);
    let file = |name: &str| cluster.directory.join(name).display().to_string();
    let (authority, stranger) = (file("authority.pem"), file("stranger.pem"));
    for (bad, said) in [
        (cluster.tcp("secure:p", "sslmode=disable"), "no encryption"),
        (
            cluster.tcp("secure:p", &format!("sslmode=verify-full&sslrootcert={authority}")),
            "not valid for name",
        ),
        (
            cluster.tcp("secure:p", &format!("sslmode=verify-ca&sslrootcert={stranger}")),
            "invalid peer certificate",
        ),
        (
            cluster.tcp("secure:p", &format!("sslmode=require&sslrootcert={stranger}")),
            "invalid peer certificate",
        ),
        (cluster.tcp("secure:p", "sslmode=verify-ca"), "certificate"),
        (cluster.tcp("secure:p", "sslmode=verify-ca&sslrootcert=/nowhere"), "/nowhere cannot be used"),
        (cluster.tcp("secure:x", "sslmode=require"), "password authentication failed"),
        (cluster.tcp("open:p", "sslmode=require"), "no pg_hba.conf entry"),
    ] {
        let failure = refused(&bad).await;
        assert_eq!(failure.class(), Class::Configuration, "{failure}");
        assert!(failure.to_string().contains(said), "{failure}");
    }
}
