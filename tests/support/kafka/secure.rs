//! Listeners with encryption and passwords, the users behind them, and their certificates.

use std::path::Path;
use std::process::{Command, Stdio};

/// A user who may do everything.
pub const USER: &str = "understudy";

/// A user who is known and has no rights.
pub const STRANGER: &str = "stranger";

/// The password of both users.
pub const PASSWORD: &str = "not-a-secret";

/// The doors of a broker. Users come by PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512. The scratch folder holds `authority.pem`, which
/// signed the server's certificate for `localhost` and 127.0.0.1, `stranger.pem`, which signed nothing, and `client.pem` with
/// `client.key` for the user that [`USER`] names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// Everybody, unencrypted, with all rights.
    Plain,
    /// Users, unencrypted.
    Sasl,
    /// Encrypted; who shows a certificate is the user it names, anybody else has all rights.
    Tls,
    /// Users, encrypted.
    SaslTls,
}

impl Listener {
    /// The open one first: by that the tests themselves ask.
    pub(super) const ALL: [Listener; 4] = [Listener::Plain, Listener::Sasl, Listener::Tls, Listener::SaslTls];

    /// Its name in the broker's settings.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Listener::Plain => "PLAIN",
            Listener::Sasl => "SASL",
            Listener::Tls => "TLS",
            Listener::SaslTls => "SASLTLS",
        }
    }

    /// What Kafka calls its kind, in settings of brokers and of clients.
    pub const fn protocol(self) -> &'static str {
        match self {
            Listener::Plain => "PLAINTEXT",
            Listener::Sasl => "SASL_PLAINTEXT",
            Listener::Tls => "SSL",
            Listener::SaslTls => "SASL_SSL",
        }
    }
}

/// The broker's settings for these listeners.
pub(super) fn settings(folder: &Path) -> Vec<(String, String)> {
    let modules = "org.apache.kafka.common.security";
    let plain = format!(
        "{modules}.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\" user_{STRANGER}=\"{PASSWORD}\";"
    );
    let scram = format!("{modules}.scram.ScramLoginModule required;");
    let mut settings = vec![
        ("sasl.enabled.mechanisms".to_owned(), "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512".to_owned()),
        ("ssl.keystore.type".to_owned(), "PEM".to_owned()),
        ("ssl.keystore.location".to_owned(), folder.join("broker.pem").display().to_string()),
        ("ssl.truststore.type".to_owned(), "PEM".to_owned()),
        ("ssl.truststore.location".to_owned(), folder.join("authority.pem").display().to_string()),
        ("listener.name.tls.ssl.client.auth".to_owned(), "requested".to_owned()),
        ("ssl.principal.mapping.rules".to_owned(), "RULE:^CN=(.*?)$/$1/,DEFAULT".to_owned()),
        (
            "authorizer.class.name".to_owned(),
            "org.apache.kafka.metadata.authorizer.StandardAuthorizer".to_owned(),
        ),
        // The nodes themselves come unencrypted and without a name, as the tests do.
        ("super.users".to_owned(), format!("User:ANONYMOUS;User:{USER}")),
    ];
    for listener in ["sasl", "sasltls"] {
        let key = |mechanism: &str| format!("listener.name.{listener}.{mechanism}.sasl.jaas.config");
        settings.push((key("plain"), plain.clone()));
        settings.push((key("scram-sha-256"), scram.clone()));
        settings.push((key("scram-sha-512"), scram.clone()));
    }
    settings
}

/// Users as the storage is formatted with them.
pub(super) fn scram_users() -> Vec<String> {
    let users = [USER, STRANGER].into_iter();
    let both = users.flat_map(|user| ["SCRAM-SHA-256", "SCRAM-SHA-512"].map(|mechanism| (user, mechanism)));
    both.map(|(user, mechanism)| format!("{mechanism}=[name={user},password={PASSWORD}]")).collect()
}

/// Certificates by openssl: an authority, what it signed for the broker and for a client, and an unrelated authority.
pub(super) fn make_certificates(folder: &Path) {
    let script = format!(
        "set -e; cd \"$1\"
        ca() {{ openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=$1 -keyout $1.key -out $1.pem \
          -addext basicConstraints=critical,CA:TRUE; }}
        ca authority; ca {STRANGER}
        signed() {{ openssl req -newkey rsa:2048 -nodes -subj /CN=$2 -keyout $1.key -out $1.csr
          printf 'subjectAltName=DNS:localhost,IP:127.0.0.1' > san
          openssl x509 -req -in $1.csr -CA authority.pem -CAkey authority.key -CAcreateserial -days 2 -sha256 \
            -extfile san -out $1.pem; }}
        signed server localhost; signed client {USER}
        cat server.key server.pem > broker.pem"
    );
    let output = Command::new("sh").args(["-c", &script, "sh"]).arg(folder).stdin(Stdio::null()).output();
    let output = output.expect("run sh");
    assert!(output.status.success(), "openssl failed: {}", String::from_utf8_lossy(&output.stderr));
}
