//! How Kafka is reached and what its topics are to be like, as values that cannot be wrong.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use rdkafka::ClientConfig;

use crate::debezium::DebeziumSettings;

/// A password. Its `Debug` says nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a password.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(withheld)")
    }
}

/// Where Kafka is, and what the topics of a migration are to be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaSettings {
    /// Brokers to ask first, each `host:port`. At least one.
    pub brokers: Vec<String>,
    /// What the name of every topic starts with. See [`topic_prefix_is_valid`].
    pub topic_prefix: String,
    /// Partitions of the topic of each table, from 1.
    pub partitions: u16,
    /// Replicas of each partition, from 1; `None` as the brokers have it.
    pub replication_factor: Option<u16>,
    /// For how long the topics of tables keep their records; `None` for ever.
    pub retention: Option<Duration>,
    /// How record batches are compressed.
    pub compression: Compression,
    /// How long brokers may take to agree on what topics hold, before what does not fit is taken for a loss, and how long a newer
    /// capture may take to take the log over, before it is taken for dead.
    pub patience: Duration,
    /// In which order changes take effect on green.
    pub consistency: Consistency,
    /// `None`: connections are not encrypted.
    pub tls: Option<Tls>,
    /// `None`: nobody logs in.
    pub sasl: Option<Sasl>,
    /// The topics are Debezium's: an apply reads them, and nothing else of ours touches them. `None`: they are ours.
    pub debezium: Option<DebeziumSettings>,
}

impl KafkaSettings {
    /// Settings for these brokers and this prefix, everything else as it is by default.
    pub fn new(brokers: Vec<String>, topic_prefix: impl Into<String>) -> KafkaSettings {
        KafkaSettings {
            brokers,
            topic_prefix: topic_prefix.into(),
            partitions: 1,
            replication_factor: None,
            retention: Some(KafkaSettings::RETENTION_DEFAULT),
            compression: Compression::Lz4,
            patience: KafkaSettings::PATIENCE_DEFAULT,
            consistency: Consistency::Transaction,
            tls: None,
            sasl: None,
            debezium: None,
        }
    }

    /// How long records are kept unless something else is set: long enough to mend an apply that stands still.
    pub const RETENTION_DEFAULT: Duration = Duration::from_secs(7 * 24 * 3_600);

    /// How long brokers may take to agree unless something else is set: longer than they take to find a new leader for a partition,
    /// and for that one to learn how much of it the others have.
    pub const PATIENCE_DEFAULT: Duration = Duration::from_secs(60);

    /// The part that every client has in common.
    pub(crate) fn client_config(&self, client_id: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.brokers.join(","));
        config.set("client.id", client_id);
        // One connection that idles is no reason to log a line each time a broker closes it.
        config.set("log.connection.close", "false");
        // A topic that is missing is a failure: made by a broker in passing, it would be taken for the one that was there.
        config.set("allow.auto.create.topics", "false");
        let protocol = match (&self.tls, &self.sasl) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        config.set("security.protocol", protocol);
        if let Some(tls) = &self.tls {
            tls.set(&mut config);
        }
        if let Some(sasl) = &self.sasl {
            config.set("sasl.mechanism", sasl.mechanism.name());
            config.set("sasl.username", &sasl.user);
            config.set("sasl.password", sasl.password.reveal());
        }
        config
    }
}

/// In which order changes take effect on green.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Consistency {
    /// Whole transactions, as they were committed: one worker applies them.
    #[default]
    Transaction,
    /// The changes of each row in their order: as many workers as there are partitions may apply them.
    Key,
}

/// How record batches are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    None,
    /// Slow, for consumers that know nothing else.
    Gzip,
    /// Fast, the default.
    #[default]
    Lz4,
    /// Smaller, at more computing time.
    Zstd,
}

impl Compression {
    pub(crate) fn codec(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}

/// How connections are encrypted. All files are PEM.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// The authorities that may have signed the brokers' certificates; `None` for those that the machine trusts.
    pub ca_file: Option<PathBuf>,
    /// The certificate that we show.
    pub client: Option<ClientCertificate>,
    /// What is asked of the brokers' certificates.
    pub verify: Verify,
}

/// A certificate that we show, and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate, with those between it and its authority.
    pub cert_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
    /// What the key is encrypted with.
    pub key_password: Option<Secret>,
}

/// What is asked of a broker's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verify {
    /// That an authority we trust has signed it, and that it names the host we connect to.
    #[default]
    Full,
    /// That an authority we trust has signed it.
    Ca,
    /// Nothing.
    None,
}

impl Tls {
    fn set(&self, config: &mut ClientConfig) {
        if let Some(ca) = &self.ca_file {
            config.set("ssl.ca.location", ca.display().to_string());
        }
        if let Some(client) = &self.client {
            config.set("ssl.certificate.location", client.cert_file.display().to_string());
            config.set("ssl.key.location", client.key_file.display().to_string());
            if let Some(password) = &client.key_password {
                config.set("ssl.key.password", password.reveal());
            }
        }
        let (certificate, host) = match self.verify {
            Verify::Full => ("true", "https"),
            Verify::Ca => ("true", "none"),
            Verify::None => ("false", "none"),
        };
        config.set("enable.ssl.certificate.verification", certificate);
        config.set("ssl.endpoint.identification.algorithm", host);
    }
}

/// As whom we log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sasl {
    /// How the password is proved.
    pub mechanism: SaslMechanism,
    /// The user.
    pub user: String,
    /// The password.
    pub password: Secret,
}

/// How a password is proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaslMechanism {
    /// It is sent as it is, so that it needs an encrypted connection.
    Plain,
    /// By a challenge with SHA-256.
    ScramSha256,
    /// By a challenge with SHA-512.
    ScramSha512,
}

impl SaslMechanism {
    fn name(self) -> &'static str {
        match self {
            SaslMechanism::Plain => "PLAIN",
            SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
            SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// How long a prefix may be: the longest that leaves room for a schema and a table of Postgres in the 249 letters that Kafka
/// allows a name.
pub const TOPIC_PREFIX_LEN_MAX: usize = 100;

/// Whether a prefix is made of the letters that Kafka takes in the name of a topic, and short enough to leave room for the
/// rest.
pub fn topic_prefix_is_valid(prefix: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let whole = prefix.split('.').all(|part| !part.is_empty());
    whole && prefix.len() <= TOPIC_PREFIX_LEN_MAX && prefix.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secured() -> KafkaSettings {
        KafkaSettings {
            tls: Some(Tls {
                ca_file: Some("ca.pem".into()),
                client: Some(ClientCertificate {
                    cert_file: "client.pem".into(),
                    key_file: "client.key".into(),
                    key_password: Some(Secret::new("locksmith")),
                }),
                verify: Verify::Full,
            }),
            sasl: Some(Sasl {
                mechanism: SaslMechanism::ScramSha512,
                user: "capture".to_owned(),
                password: Secret::new("open sesame"),
            }),
            ..KafkaSettings::new(vec!["one:9092".to_owned(), "two:9092".to_owned()], "shop")
        }
    }

    /// Guards that no password reaches a log by way of `Debug`.
    #[test]
    fn debug_withholds_secrets() {
        let shown = format!("{:?}", secured());
        assert!(!shown.contains("sesame") && !shown.contains("locksmith"), "{shown}");
    }

    /// Guards that a client is as safe as the settings say.
    #[test]
    fn settings_reach_the_client() {
        let config = secured().client_config("understudy");
        let expected = [
            ("bootstrap.servers", "one:9092,two:9092"),
            ("security.protocol", "sasl_ssl"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.username", "capture"),
            ("sasl.password", "open sesame"),
            ("ssl.ca.location", "ca.pem"),
            ("ssl.certificate.location", "client.pem"),
            ("ssl.key.location", "client.key"),
            ("ssl.key.password", "locksmith"),
            ("enable.ssl.certificate.verification", "true"),
            ("ssl.endpoint.identification.algorithm", "https"),
            ("allow.auto.create.topics", "false"),
        ];
        for (name, value) in expected {
            assert_eq!(config.get(name), Some(value), "{name}");
        }
        let without = |tls, sasl| KafkaSettings { tls, sasl, ..secured() }.client_config("understudy");
        assert_eq!(without(None, None).get("security.protocol"), Some("plaintext"));
        assert_eq!(without(None, secured().sasl).get("security.protocol"), Some("sasl_plaintext"));
        assert_eq!(without(secured().tls, None).get("security.protocol"), Some("ssl"));
    }

    /// Guards that a prefix which Kafka would refuse is refused before anything is created.
    #[test]
    fn prefixes_are_what_kafka_takes() {
        for good in ["shop", "eu.shop-1", "a_b"] {
            assert!(topic_prefix_is_valid(good), "{good}");
        }
        let long = "x".repeat(TOPIC_PREFIX_LEN_MAX + 1);
        for bad in ["", ".", "a..b", "a.", "sh op", "größe", long.as_str()] {
            assert!(!topic_prefix_is_valid(bad), "{bad}");
        }
    }
}
