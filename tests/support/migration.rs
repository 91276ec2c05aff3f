//! Migration files for tests.

use std::fs;
use std::path::{Path, PathBuf};

use understudy::demo::shop::{Side, migration_file};

use crate::kafka::Kafka;
use crate::pair::{DATABASE, Pair};
use crate::ports::Port;

/// Which tables a file moves.
#[derive(Debug)]
enum Tables {
    /// Those of the demo's shop, into its new layout.
    Shop,
    /// Entries as they are written in the file.
    Listed(String),
}

/// A migration file in the making.
#[derive(Debug)]
pub struct Migration {
    name: String,
    blue_url: String,
    blue_password: PathBuf,
    green_url: String,
    green_password: PathBuf,
    standbys: Vec<String>,
    tables: Tables,
    more: String,
    folder: PathBuf,
    /// The `through` section, where the way goes through a log.
    through: Option<String>,
    /// What stands under `green`, where that is not the pair's.
    green: Option<String>,
}

/// The variable that sends every migration of the tests through a log: `kafka`, or nothing.
const THROUGH: &str = "UNDERSTUDY_TEST_THROUGH";

/// The log that the environment sends every migration through.
pub fn through() -> Option<&'static str> {
    let through = std::env::var(THROUGH).ok().filter(|through| !through.is_empty())?;
    assert_eq!(through, "kafka", "{THROUGH} names a log that there is not");
    Some("kafka")
}

/// The `through` section that the environment asks for, with topics of its own on the shared broker.
fn section(folder: &Path, name: &str) -> Option<String> {
    through()?;
    let kafka = Kafka::shared().expect("a broker, as every migration is to go through it");
    Some(through_kafka(&kafka.bootstrap(), &prefix(folder, name)))
}

/// A prefix that a second file of the same migration has too, and no other migration of any test.
fn prefix(folder: &Path, name: &str) -> String {
    format!("{}-{name}", folder.file_name().unwrap_or_default().to_string_lossy())
}

/// The `through` section for a broker, or for several.
fn through_kafka(brokers: &str, prefix: &str) -> String {
    // One broker holds one replica: asked for, that is a note, and no warning.
    let replicas = brokers.split(',').count().min(3);
    let brokers = brokers.split(',').map(|broker| format!("\"{broker}\"")).collect::<Vec<_>>().join(", ");
    format!(
        "through: {{ kafka: {{ brokers: [{brokers}], topic_prefix: {prefix}, partitions: 3, replication_factor: {replicas} }} }}\n"
    )
}

impl Migration {
    /// From blue to green of a pair, without tables yet.
    pub fn between(pair: &Pair, name: &str) -> Migration {
        Migration {
            name: name.to_owned(),
            blue_url: pair.blue.url(DATABASE),
            blue_password: pair.blue.password_file(),
            green_url: pair.green.url(DATABASE),
            green_password: pair.green.password_file(),
            standbys: Vec::new(),
            tables: Tables::Listed(String::new()),
            more: String::new(),
            folder: pair.scratch.path().to_owned(),
            through: section(pair.scratch.path(), name),
            green: None,
        }
    }

    /// From blue of a pair into what `green` says, straight.
    pub fn into_other(pair: &Pair, name: &str, green: &str) -> Migration {
        Migration { through: None, green: Some(green.to_owned()), ..Migration::between(pair, name) }
    }

    /// Through the topics of a broker, below a prefix of the migration's own.
    #[must_use]
    pub fn through(mut self, kafka: &Kafka) -> Migration {
        self.through = Some(through_kafka(&kafka.bootstrap(), &prefix(&self.folder, &self.name)));
        self
    }

    /// Through a log as the file says, whatever the environment asks for.
    #[must_use]
    pub fn through_as(mut self, yaml: &str) -> Migration {
        self.through = Some(format!("through: {yaml}\n"));
        self
    }

    /// The demo's shop from blue to its new layout on green.
    pub fn of_shop(pair: &Pair, name: &str) -> Migration {
        Migration { tables: Tables::Shop, ..Migration::between(pair, name) }
    }

    /// Adds a table, or all that a pattern names, under the same names.
    #[must_use]
    pub fn table(self, from: &str) -> Migration {
        self.entry(&format!("  - from: {from}\n"))
    }

    /// Adds an entry of `tables` as it is written in the file.
    #[must_use]
    pub fn entry(mut self, yaml: &str) -> Migration {
        match &mut self.tables {
            Tables::Listed(entries) => entries.push_str(yaml),
            Tables::Shop => panic!("the shop's tables are fixed"),
        }
        self
    }

    /// Adds sections as they are written in the file.
    #[must_use]
    pub fn with(mut self, yaml: &str) -> Migration {
        self.more.push_str(yaml);
        self.more.push('\n');
        self
    }

    /// Another address for blue.
    #[must_use]
    pub fn blue_url(mut self, url: &str) -> Migration {
        url.clone_into(&mut self.blue_url);
        self
    }

    /// Another address for green.
    #[must_use]
    pub fn green_url(mut self, url: &str) -> Migration {
        url.clone_into(&mut self.green_url);
        self
    }

    /// A standby of green that must have flushed what counts as durable.
    #[must_use]
    pub fn standby(mut self, name: &str) -> Migration {
        self.standbys.push(name.to_owned());
        self
    }

    /// Another password for blue.
    #[must_use]
    pub fn blue_password(mut self, password: &str) -> Migration {
        self.blue_password = self.password_file("blue", password);
        self
    }

    /// Another password for green.
    #[must_use]
    pub fn green_password(mut self, password: &str) -> Migration {
        self.green_password = self.password_file("green", password);
        self
    }

    /// Another file for blue's password.
    #[must_use]
    pub fn blue_password_file(mut self, file: &str) -> Migration {
        self.blue_password = PathBuf::from(file);
        self
    }

    fn password_file(&self, side: &str, password: &str) -> PathBuf {
        let file = self.folder.join(format!("{}-{side}.password", self.name));
        fs::write(&file, password).expect("write a password file");
        file
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder for the file and the logs.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The slot's and the publication's name.
    pub fn slot(&self) -> String {
        format!("understudy_{}", self.name.replace('-', "_"))
    }

    /// Writes the file, for a sidecar that listens on `port`.
    pub fn write(&self, port: &Port) -> PathBuf {
        let side =
            |url: &str, password: &Path| Side { url: url.to_owned(), password_file: password.to_owned() };
        let (blue, green) =
            (side(&self.blue_url, &self.blue_password), side(&self.green_url, &self.green_password));
        let listen = format!("127.0.0.1:{}", port.number());
        let whole = migration_file(&self.name, &blue, &green, &listen);
        let text = match &self.tables {
            Tables::Shop => whole,
            Tables::Listed(entries) => {
                let (head, rest) = whole.split_once("tables:\n").expect("a list of tables");
                let (_, tail) = rest.split_once("\ncontrol:").expect("a control section");
                format!("{head}tables:\n{entries}control:{tail}")
            }
        };
        let standbys = format!("\n    standbys: [{}]\ntables:\n", self.standbys.join(", "));
        let text = text.replacen("\ntables:\n", &standbys, 1);
        let text = match &self.green {
            Some(green) => {
                let (head, rest) = text.split_once("\ngreen:\n").expect("a green section");
                let (_, tail) = rest.split_once("\ntables:\n").expect("a list of tables");
                format!("{head}\ngreen:\n{green}tables:\n{tail}")
            }
            None => text,
        };
        let through = self.through.as_deref().unwrap_or_default();
        let text = format!("{text}{through}{}", self.more);
        let file = self.folder.join(format!("{}-{}.yaml", self.name, port.number()));
        fs::write(&file, text).expect("write a migration file");
        file
    }
}
