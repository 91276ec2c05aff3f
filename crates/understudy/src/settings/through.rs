//! The `through` section of the migration file: a log between blue and green.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use understudy_kafka::{
    ClientCertificate, Compression, Consistency, KafkaSettings, Sasl, SaslMechanism, Secret,
    TOPIC_PREFIX_LEN_MAX, Tls, Verify, topic_prefix_is_valid,
};
use understudy_postgres::sink::LANED_NAME_MAX;

use super::debezium::RawDebezium;
use super::problem::{Place, Problem};
use super::raw::RawSecret;
use super::resolve::Resolver;
use super::text::{self, Refusal};
use super::yaml::Placed;
use super::{MigrationName, Secrets};

/// A log between blue and green. Left out: changes go straight into green.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Through")]
pub(super) struct RawThrough {
    /// Topics of Kafka, which a capture fills and an apply reads.
    pub(super) kafka: RawKafka,
}

/// Topics of Kafka, which a capture fills and an apply reads.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Kafka")]
pub(super) struct RawKafka {
    /// Brokers to ask first, each `host:port`; they name the others.
    #[schemars(length(min = 1))]
    brokers: Placed<Vec<Placed<String>>>,
    /// What the name of every topic starts with: `<prefix>.<schema>.<table>`. Left out: the migration's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    topic_prefix: Option<Placed<String>>,
    /// Partitions of the topic of each table. They cannot be changed later. With `consistency: key` at most 64: each is a lane, with
    /// memory, three connections on green and clients of Kafka of its own.
    #[serde(default = "partitions")]
    #[schemars(range(min = 1, max = 1_000))]
    partitions: Placed<u64>,
    /// Copies of each partition among the brokers. Left out: as the brokers have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    replication_factor: Option<Placed<u64>>,
    /// For how long records are kept: an apply that stands still for longer has to begin anew. Or `forever`.
    #[serde(default = "retention")]
    retention: Placed<Retention>,
    /// How records are compressed.
    #[serde(default)]
    compression: RawCompression,
    /// In which order changes take effect on green. Into DynamoDB only `transaction`.
    #[serde(default = "transaction")]
    consistency: Placed<RawConsistency>,
    /// Encrypted connections, with the authorities that the machine trusts where nothing else is given. Left out: not
    /// encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls: Option<RawTls>,
    /// As whom to log in. Left out: as nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sasl: Option<RawSasl>,
    /// Whose records the topics hold.
    #[serde(default, skip_serializing_if = "is_ours")]
    format: RawFormat,
    /// With `format: debezium`, how the connector is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    debezium: Option<RawDebezium>,
}

/// Whose records topics hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "KafkaFormat")]
enum RawFormat {
    /// Those of a capture of ours.
    #[default]
    Understudy,
    /// Those of Debezium's connector for Postgres, as JSON. They are only read: `--role apply`.
    Debezium,
}

fn is_ours(format: &RawFormat) -> bool {
    *format == RawFormat::Understudy
}

/// In which order changes take effect on green.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "KafkaConsistency")]
enum RawConsistency {
    /// Whole transactions in the order of their commits, by one worker.
    #[default]
    Transaction,
    /// The changes of each row in their order, by as many workers as there are: they share out the partitions among
    /// themselves. Rows that a transaction changes together may appear on green one after the other. Green may have no unique
    /// index beside the keys, and may not be DynamoDB.
    Key,
}

/// Encrypted connections. All files are PEM.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "KafkaTls")]
struct RawTls {
    /// A file with the authorities that may have signed the brokers' certificates. Left out: those that the machine trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca: Option<Placed<String>>,
    /// A file with the certificate to show. It needs `key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cert: Option<Placed<String>>,
    /// A file with the private key of `cert`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<Placed<String>>,
    /// What the private key is encrypted with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_password: Option<Placed<RawSecret>>,
    /// What is asked of the brokers' certificates.
    #[serde(default)]
    verify: RawVerify,
}

/// What is asked of a broker's certificate.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "KafkaVerify")]
enum RawVerify {
    /// That an authority has signed it, and that it names the host.
    #[default]
    Full,
    /// That an authority has signed it.
    Ca,
    /// Nothing.
    None,
}

/// As whom to log in.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "KafkaSasl")]
struct RawSasl {
    /// How the password is proved.
    mechanism: RawMechanism,
    /// The user.
    user: Placed<String>,
    /// Where the password is kept.
    password: Placed<RawSecret>,
}

/// How a password is proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[schemars(rename = "KafkaMechanism")]
enum RawMechanism {
    /// It is sent as it is: only over TLS.
    #[serde(rename = "plain")]
    Plain,
    /// By a challenge with SHA-256.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// By a challenge with SHA-512.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

/// How records are compressed.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "KafkaCompression")]
enum RawCompression {
    /// Not at all.
    None,
    /// Slow, for consumers that know nothing else.
    Gzip,
    /// Fast.
    #[default]
    Lz4,
    /// Smaller, at more computing time.
    Zstd,
}

/// A duration with its unit, or `forever`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[schemars(inline, extend("pattern" = r"^(forever|([0-9]+(ms|s|m|h|d))+)$|\$\{"))]
struct Retention(String);

fn transaction() -> Placed<RawConsistency> {
    RawConsistency::Transaction.into()
}

fn partitions() -> Placed<u64> {
    1.into()
}

fn retention() -> Placed<Retention> {
    Retention("7d".to_owned()).into()
}

/// The most lanes that one process may have to run: what each of them takes adds up.
const LANES_MAX: u64 = 64;

/// The shortest retention: brokers remove records by the segment, and an apply must outlive a restart.
const RETENTION_MIN: Duration = Duration::from_secs(60 * 60);

impl Resolver<'_> {
    /// The way to Kafka. `name` is the migration's; `into_items`: green is DynamoDB.
    pub(super) fn through(
        &mut self,
        raw: &RawThrough,
        name: &MigrationName,
        into_items: bool,
    ) -> Option<KafkaSettings> {
        let raw = &raw.kafka;
        let path = "through.kafka";
        let brokers = raw.brokers.value.iter().enumerate().map(|(at, broker)| {
            self.accept(address(&broker.value), broker.place, &format!("{path}.brokers[{at}]"))
        });
        let brokers = brokers.collect::<Vec<_>>().into_iter().collect::<Option<Vec<_>>>();
        let prefix = match &raw.topic_prefix {
            Some(prefix) => {
                self.accept(topic_prefix(&prefix.value), prefix.place, &format!("{path}.topic_prefix"))
            }
            None => Some(name.as_str().to_owned()),
        };
        let kept = &raw.retention;
        let retention = self.accept(time_kept(&kept.value.0), kept.place, &format!("{path}.retention"));
        let is_debezium = raw.format == RawFormat::Debezium;
        let consistency = self.consistency(&raw.consistency, (is_debezium, into_items), name, path);
        self.lanes(raw, path)?;
        let tls = raw.tls.as_ref().map(|tls| self.tls(tls, &format!("{path}.tls")));
        let sasl = raw.sasl.as_ref().map(|sasl| self.sasl(sasl, &format!("{path}.sasl")));
        let debezium = self.debezium((raw.format == RawFormat::Debezium, raw.debezium.as_ref()), path);
        Some(KafkaSettings {
            brokers: brokers?,
            topic_prefix: prefix?,
            partitions: u16::try_from(raw.partitions.value).unwrap_or(u16::MAX),
            replication_factor: raw
                .replication_factor
                .as_ref()
                .map(|factor| u16::try_from(factor.value).unwrap_or(u16::MAX)),
            retention: retention?,
            compression: match raw.compression {
                RawCompression::None => Compression::None,
                RawCompression::Gzip => Compression::Gzip,
                RawCompression::Lz4 => Compression::Lz4,
                RawCompression::Zstd => Compression::Zstd,
            },
            patience: KafkaSettings::PATIENCE_DEFAULT,
            consistency: consistency?,
            tls: tls.map_or(Some(None), |tls| tls.map(Some))?,
            sasl: sasl.map_or(Some(None), |sasl| sasl.map(Some))?,
            debezium: debezium?,
        })
    }

    fn consistency(
        &mut self,
        raw: &Placed<RawConsistency>,
        (is_debezium, into_items): (bool, bool),
        name: &MigrationName,
        path: &str,
    ) -> Option<Consistency> {
        match raw.value {
            RawConsistency::Transaction => Some(Consistency::Transaction),
            RawConsistency::Key if into_items => {
                let what = "several workers side by side do not fill DynamoDB in this version".to_owned();
                let remedy = "set `consistency: transaction`: one worker applies the log";
                self.report(raw.place, &format!("{path}.consistency"), what, remedy);
                None
            }
            RawConsistency::Key if is_debezium => {
                let what = "topics that Debezium writes are applied in whole transactions only".to_owned();
                self.report(raw.place, &format!("{path}.consistency"), what, "leave `consistency` out");
                None
            }
            RawConsistency::Key if name.as_str().len() > LANED_NAME_MAX => {
                let what = format!(
                    "with `consistency: key` the migration's name is longer than {LANED_NAME_MAX} bytes"
                );
                self.report(raw.place, &format!("{path}.consistency"), what, "give it a shorter name");
                None
            }
            RawConsistency::Key => Some(Consistency::Key),
        }
    }

    /// Whether there are no more lanes than one process can run.
    fn lanes(&mut self, raw: &RawKafka, path: &str) -> Option<()> {
        if raw.consistency.value != RawConsistency::Key || raw.partitions.value <= LANES_MAX {
            return Some(());
        }
        let what = format!(
            "with `consistency: key` {} partitions are too many: one process may have to apply all of them, each as a lane with \
             memory and connections of its own",
            raw.partitions.value
        );
        let remedy = format!("set at most {LANES_MAX}, or `consistency: transaction`");
        self.report(raw.partitions.place, &format!("{path}.partitions"), what, &remedy);
        None
    }

    fn tls(&mut self, raw: &RawTls, path: &str) -> Option<Tls> {
        let mut file = |text: &Option<Placed<String>>, key: &str| match text {
            Some(text) => self.pem(text, &format!("{path}.{key}")).map(Some),
            None => Some(None),
        };
        let (ca, cert, key) = (file(&raw.ca, "ca"), file(&raw.cert, "cert"), file(&raw.key, "key"));
        let password = raw.key_password.as_ref().map(|secret| {
            self.secret(secret, &format!("{path}.key_password"), "what the key is encrypted with", None)
        });
        let client = match (cert?, key?) {
            (Some(cert_file), Some(key_file)) => Some(ClientCertificate {
                cert_file,
                key_file,
                key_password: password.flatten().map(|secret| Secret::new(secret.expose())),
            }),
            (None, None) => None,
            (cert, _) => {
                let (there, missing) = if cert.is_some() { ("cert", "key") } else { ("key", "cert") };
                let place = raw.cert.as_ref().or(raw.key.as_ref()).and_then(|text| text.place);
                self.report(
                    place,
                    path,
                    format!("`{there}` is given without `{missing}`"),
                    "a certificate to show needs both",
                );
                return None;
            }
        };
        let verify = match raw.verify {
            RawVerify::Full => Verify::Full,
            RawVerify::Ca => Verify::Ca,
            RawVerify::None => Verify::None,
        };
        Some(Tls { ca_file: ca?, client, verify })
    }

    /// A file that must be there wherever secrets are. The broker's library would only say that it cannot connect.
    fn pem(&mut self, text: &Placed<String>, path: &str) -> Option<PathBuf> {
        let name = self.filled(text, path)?;
        let file = self.surroundings.folder.join(&name);
        if self.surroundings.secrets == Secrets::Read
            && let Err(error) = std::fs::File::open(&file)
        {
            let remedy = "put it there, or name another; a relative path starts at the migration file";
            self.report(text.place, path, format!("file `{name}` cannot be read: {error}"), remedy);
            return None;
        }
        Some(file)
    }

    fn sasl(&mut self, raw: &RawSasl, path: &str) -> Option<Sasl> {
        let user = self.filled(&raw.user, &format!("{path}.user"));
        let password = self.secret(&raw.password, &format!("{path}.password"), "the password", None);
        if password.is_none() && self.surroundings.secrets == Secrets::Read {
            return None;
        }
        Some(Sasl {
            mechanism: match raw.mechanism {
                RawMechanism::Plain => SaslMechanism::Plain,
                RawMechanism::ScramSha256 => SaslMechanism::ScramSha256,
                RawMechanism::ScramSha512 => SaslMechanism::ScramSha512,
            },
            user: user?,
            password: Secret::new(password.as_ref().map_or("", |secret| secret.expose())),
        })
    }
}

/// `kafka:9092`, `[::1]:9092`.
fn address(text: &str) -> Result<String, Refusal> {
    let refusal = || (format!("`{text}` is not a broker"), "write host:port, such as kafka:9092".to_owned());
    let (host, port) = text.rsplit_once(':').ok_or_else(refusal)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let named = match bare {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && !host.contains([':', '/', ',', '@', ' ']),
    };
    let numbered = port.parse::<u16>().is_ok_and(|port| port > 0);
    (named && numbered).then(|| text.to_owned()).ok_or_else(refusal)
}

fn topic_prefix(text: &str) -> Result<String, Refusal> {
    topic_prefix_is_valid(text).then(|| text.to_owned()).ok_or_else(|| {
        (
            format!("`{text}` cannot begin the name of a topic"),
            format!(
                "letters, digits, `_`, `-` and `.` between them, at most {TOPIC_PREFIX_LEN_MAX} in all, such as shop"
            ),
        )
    })
}

/// `7d`, or `forever`, which is `None`.
fn time_kept(text: &str) -> Result<Option<Duration>, Refusal> {
    if text.trim() == "forever" {
        return Ok(None);
    }
    let refusal = |(what, _)| (what, "write a number with its unit, such as 7d, or `forever`".to_owned());
    match text::duration(text).map_err(refusal)? {
        short if short < RETENTION_MIN => Err((
            format!("`{text}` is too short to bring an apply back that has stopped"),
            "keep records for an hour at least; days are usual".to_owned(),
        )),
        kept => Ok(Some(kept)),
    }
}

/// What travels between us and the brokers in clear.
pub(super) fn open_to_readers(kafka: &KafkaSettings) -> Option<Problem> {
    let is_here = |broker: &&String| {
        let host = broker.rsplit_once(':').map_or(broker.as_str(), |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    };
    let away = kafka.brokers.iter().find(|broker| !is_here(broker))?;
    let plain = kafka.sasl.as_ref().is_some_and(|sasl| sasl.mechanism == SaslMechanism::Plain);
    let what = match (&kafka.tls, plain) {
        (Some(_), _) => return None,
        (None, false) => "rows travel",
        (None, true) => "rows and the password travel",
    };
    let path = "through.kafka";
    Some(
        Problem::at(
            None::<Place>,
            path,
            format!("the connection to `{away}` is not encrypted, and {what} through it"),
        )
        .remedy("add `tls: {}`, with `ca` where the machine does not know the authority"),
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::{read, refused, with};
    use super::*;

    fn of(kafka: &str) -> String {
        with(&format!("tables: [{{ from: public.* }}]\nthrough:\n  kafka: {kafka}\n"))
    }

    /// What is left out is as documented, and what is given arrives.
    #[test]
    fn every_key_of_the_way_through_is_read() {
        let least = read(&of("{ brokers: ['kafka:9092'] }")).unwrap().through;
        assert_eq!(least, Some(KafkaSettings::new(vec!["kafka:9092".to_owned()], "shop-v2")));
        let full = read(&of("
    brokers: ['one:9092', '[::1]:9093']
    topic_prefix: eu.shop
    partitions: 12
    replication_factor: 3
    retention: forever
    compression: zstd
    tls: { verify: ca }
    sasl: { mechanism: scram-sha-512, user: understudy, password: { env: BLUE_PASSWORD } }"))
        .unwrap()
        .through;
        let expected = KafkaSettings {
            partitions: 12,
            replication_factor: Some(3),
            retention: None,
            compression: Compression::Zstd,
            tls: Some(Tls { verify: Verify::Ca, ..Tls::default() }),
            sasl: Some(Sasl {
                mechanism: SaslMechanism::ScramSha512,
                user: "understudy".to_owned(),
                password: Secret::new("hush"),
            }),
            ..KafkaSettings::new(vec!["one:9092".to_owned(), "[::1]:9093".to_owned()], "eu.shop")
        };
        assert_eq!(full, Some(expected));
        assert_eq!(read(&with("tables: [{ from: public.* }]\n")).unwrap().through, None);
    }

    /// A typo must not end in records that are kept for a moment, or in a connection that anybody can read.
    #[test]
    fn what_is_wrong_is_told_at_its_place() {
        let cases = [
            ("{}", "7:10: through.kafka: key `brokers` is missing"),
            ("{ brokers: [] }", "7:21: through.kafka.brokers: is empty"),
            ("{ brokers: [kafka] }", "7:22: through.kafka.brokers[0]: `kafka` is not a broker"),
            ("{ brokers: ['k:1'], partition: 3 }", "7:30: through.kafka: unknown key `partition`"),
            ("{ brokers: ['k:1'], partitions: 0 }", "7:42: through.kafka.partitions: 0 is out of range"),
            (
                "{ brokers: ['k:1'], partitions: 65, consistency: key }",
                "7:42: through.kafka.partitions: with `consistency: key` 65 partitions are too many",
            ),
            ("{ brokers: ['k:1'], topic_prefix: a b }", "7:44: through.kafka.topic_prefix: `a b` cannot"),
            ("{ brokers: ['k:1'], retention: 7 }", "7:41: through.kafka.retention: `7` is not a duration"),
            ("{ brokers: ['k:1'], retention: 1m }", "7:41: through.kafka.retention: `1m` is too short"),
            (
                "{ brokers: ['k:1'], tls: { verify: fully } }",
                "through.kafka.tls.verify: `fully` is not a choice",
            ),
            (
                "{ brokers: ['k:1'], tls: { cert: /dev/null } }",
                "through.kafka.tls: `cert` is given without `key`",
            ),
            (
                "{ brokers: ['k:1'], tls: { ca: none.pem } }",
                "through.kafka.tls.ca: file `none.pem` cannot be read",
            ),
            (
                "{ brokers: ['k:1'], sasl: { mechanism: plain, user: u, password: secret } }",
                "a secret does not stand",
            ),
        ];
        for (text, expected) in cases {
            let told = refused(&of(text));
            assert!(told.contains(expected) && told.contains("remedy: "), "{text}: {told}");
        }
    }

    /// Rows and passwords cross a network in clear only where somebody has been told.
    #[test]
    fn brokers_that_others_can_listen_to_are_told() {
        let told = |kafka: &str| {
            let settings = read(&of(kafka)).unwrap();
            open_to_readers(settings.through.as_ref().unwrap()).map(|problem| problem.what)
        };
        assert_eq!(told("{ brokers: ['127.0.0.1:9092', '[::1]:1', 'localhost:1'] }"), None);
        assert_eq!(told("{ brokers: ['kafka:9092'], tls: {} }"), None);
        assert!(
            told("{ brokers: ['localhost:1', 'kafka:9092'] }")
                .is_some_and(|what| what.contains("and rows travel"))
        );
        let plain = "{ brokers: ['kafka:9092'], sasl: { mechanism: plain, user: u, password: { env: BLUE_PASSWORD } } }";
        assert!(told(plain).is_some_and(|what| what.contains("the password")));
    }
}
