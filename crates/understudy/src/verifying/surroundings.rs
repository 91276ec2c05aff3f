//! What verification and the gate have to know of both servers beside their rows: how busy they are, and what green lacks.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use understudy_contract::{Failure, Finding, Found, Lack, ReadinessCheck};
use understudy_control::StatusHandle;
use understudy_dynamodb::{self as dynamodb, TableDefinition};
use understudy_kafka::{KafkaSettings, Progress};
use understudy_postgres::load::server_load;
use understudy_postgres::readiness::{self, Feed, ReadinessPlan, ReadyRoute};
use understudy_postgres::wire::{Client, ConnectOptions};
use understudy_transform::ColumnSource;
use understudy_verify::{Circumstances, Load};

use crate::gate::VerifyBoard;
use crate::mapping::Drawn;
use crate::settings::Settings;

/// How often the load is looked at.
const LOAD_EVERY: Duration = Duration::from_secs(1);

/// How often both servers are examined.
const EXAMINE_EVERY: Duration = Duration::from_secs(10);

/// Why what green could lack is not looked for.
const ITEMS: &str = "green is DynamoDB, which takes nothing of this kind";

/// How long any one look may take.
const LOOK_MAX: Duration = Duration::from_secs(30);

/// What both servers are examined for.
pub(super) fn readiness_plan(settings: &Settings, drawn: &[Drawn<'_>]) -> ReadinessPlan {
    let route = |one: &Drawn<'_>| {
        let passed = one.spec.columns.iter().filter_map(|column| match &column.from {
            ColumnSource::Column(blue) => Some((blue.clone(), column.name.clone())),
            ColumnSource::Constant(_) | ColumnSource::Computed(_) => None,
        });
        ReadyRoute {
            source: one.spec.source.clone(),
            target: one.spec.target.clone(),
            columns: passed.collect(),
            copied_before: false,
        }
    };
    ReadinessPlan {
        migration: settings.name.as_str().to_owned(),
        feed: feed(settings),
        routes: drawn.iter().map(route).collect(),
        max_transaction_age: settings.gate.max_transaction_age,
        sequence_headroom: settings.gate.sequence_headroom,
    }
}

/// The slot by which changes come. Through a log it is that of whoever fills it, which only the log may tell.
fn feed(settings: &Settings) -> Feed {
    let Some(kafka) = &settings.through else { return Feed::Own(settings.name.slot()) };
    match kafka.debezium.as_ref().map(|debezium| &debezium.progress) {
        None => Feed::Unknown("nobody has looked yet whose log it is".to_owned()),
        Some(Progress::Slot(name)) => Feed::Others(name.clone()),
        Some(Progress::Offsets(_)) => Feed::Untold,
    }
}

/// The same, once the log has told.
fn feed_of(slot: Option<&str>, own: &str) -> Feed {
    match slot {
        Some(slot) if slot == own => Feed::Own(own.to_owned()),
        Some(slot) => Feed::Others(slot.to_owned()),
        None => Feed::Unknown("nobody has begun to fill the log".to_owned()),
    }
}

/// What green is.
pub(super) enum Around {
    /// A server of Postgres.
    Server(ConnectOptions),
    /// DynamoDB, with its tables as they should be.
    Items(dynamodb::Client, Vec<TableDefinition>),
}

/// Blue, and green where it is a server.
type Connected = (Client, Option<Client>);

/// Looks around until it is dropped.
pub(super) struct Surroundings {
    /// The log that a capture of ours fills, and the name of our own slot; `None` without one.
    pub(super) log: Option<(KafkaSettings, String)>,
    pub(super) blue: ConnectOptions,
    pub(super) green: Around,
    pub(super) plan: ReadinessPlan,
    pub(super) status: StatusHandle,
    pub(super) circumstances: Arc<watch::Sender<Circumstances>>,
    pub(super) board: Arc<VerifyBoard>,
}

impl Surroundings {
    /// Looks around. A server that is away leaves what was known to grow old.
    pub(super) async fn watch(mut self) {
        let mut sides = None;
        let mut examined: Option<Instant> = None;
        let mut tick = tokio::time::interval(LOAD_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let is_due = examined.is_none_or(|at| at.elapsed() >= EXAMINE_EVERY);
            let lag = follow_lag(self.status.clone(), self.circumstances.clone());
            let look = tokio::select! {
                biased;
                look = tokio::time::timeout(LOOK_MAX, self.look(&mut sides, is_due)) => look,
                never = lag => match never {},
            };
            match look {
                Ok(Ok(())) => {
                    if is_due {
                        examined = Some(Instant::now());
                    }
                }
                Ok(Err(failure)) => {
                    tracing::debug!(error = %failure, "cannot look at both servers");
                    sides = None;
                    self.unknown_load();
                }
                Err(_) => {
                    sides = None;
                    self.unknown_load();
                }
            }
        }
    }

    async fn look(&mut self, sides: &mut Option<Connected>, examine: bool) -> Result<(), Failure> {
        let (blue, green) = match sides {
            Some(sides) => sides,
            None => sides.insert(self.connect().await?),
        };
        let load = server_load(blue).await?;
        let lag_ms = lag_ms(&self.status);
        self.circumstances.send_modify(|circumstances| {
            circumstances.load = Load {
                active_sessions: Some(load.active_sessions),
                replica_lag_ms: Some(load.replica_lag_ms),
                lag_ms,
            };
        });
        // What is said of a table depends on whether it is copied.
        if self.copied() || examine {
            self.find_feed().await;
            let mut found = match green {
                Some(green) => Box::pin(readiness::examine(blue, green, &self.plan)).await,
                None => Box::pin(readiness::examine_blue(blue, &self.plan, ITEMS)).await,
            };
            if let Around::Items(client, tables) = &self.green {
                let own = Box::pin(of_tables(client, tables)).await;
                found.iter_mut().filter(|one| one.check == ReadinessCheck::Indexes).for_each(|one| {
                    one.found = own.clone();
                });
            }
            self.board.readiness(found);
        }
        Ok(())
    }

    async fn connect(&self) -> Result<Connected, Failure> {
        let blue = Client::connect(&self.blue).await?;
        let green = match &self.green {
            Around::Server(green) => Some(Client::connect(green).await?),
            Around::Items(..) => None,
        };
        Ok((blue, green))
    }

    /// Asks the log whose slot fills it, until it has told: that stays so.
    async fn find_feed(&mut self) {
        let (Some((kafka, own)), Feed::Unknown(_)) = (&self.log, &self.plan.feed) else { return };
        self.plan.feed = match tokio::time::timeout(LOOK_MAX / 3, understudy_kafka::whose(kafka)).await {
            Ok(Ok(whose)) => feed_of(whose.slot(), own),
            Ok(Err(failure)) => Feed::Unknown(failure.to_string()),
            Err(_) => Feed::Unknown("the brokers do not tell whose log it is".to_owned()),
        };
    }

    /// Takes over which tables are copied. Returns whether that has changed.
    fn copied(&mut self) -> bool {
        let report = self.status.report();
        let mut changed = false;
        for route in &mut self.plan.routes {
            let name = route.source.to_string();
            let is_copied = report.tables.iter().any(|table| {
                table.source == name && table.state == understudy_control::TableState::Following
            });
            changed |= std::mem::replace(&mut route.copied_before, is_copied) != is_copied;
        }
        changed
    }

    fn unknown_load(&self) {
        let lag_ms = lag_ms(&self.status);
        self.circumstances.send_modify(|circumstances| {
            circumstances.load = Load { lag_ms, ..Load::default() };
        });
    }
}

/// What tables of DynamoDB, their indexes and their time to live lack.
async fn of_tables(client: &dynamodb::Client, tables: &[TableDefinition]) -> Found {
    let lack = |finding: Finding| Lack {
        subject: finding.subject,
        reason: finding.what,
        remedy: Some(finding.remedy).filter(|remedy| !remedy.is_empty()),
    };
    match Box::pin(dynamodb::preflight::unready(client, tables)).await {
        Ok(found) if found.is_empty() => Found::Good,
        Ok(found) => Found::Lacks(found.into_iter().map(lack).collect()),
        Err(failure) => Found::Unknown(failure.to_string()),
    }
}

/// Passes on how far green is behind while a look takes long: verification yields to that whatever a server does.
async fn follow_lag(status: StatusHandle, circumstances: Arc<watch::Sender<Circumstances>>) -> Infallible {
    loop {
        tokio::time::sleep(LOAD_EVERY).await;
        let lag_ms = lag_ms(&status);
        circumstances.send_modify(|circumstances| circumstances.load.lag_ms = lag_ms);
    }
}

fn lag_ms(status: &StatusHandle) -> Option<u64> {
    status.report().lag_seconds.map(|lag| (lag.max(0.0) * 1_000.0) as u64)
}

#[cfg(test)]
mod tests {
    use understudy_control::Status;

    use super::*;

    /// What holds the gate is the slot of whoever captures. Looked for under the name of a second green, it is never there, and
    /// the remedy would cost that green all it has.
    #[test]
    fn the_slot_is_that_of_whoever_captures() {
        let settings = |through: &str| {
            let text = format!(
                "version: 1\nname: mart\nblue: {{ url: postgres://u@blue/shop }}\n\
                 green: {{ postgres: {{ url: postgres://u@green/mart }} }}\ntables: [{{ from: public.* }}]\n{through}"
            );
            let around = crate::settings::Surroundings {
                variables: std::collections::HashMap::new(),
                folder: std::path::PathBuf::new(),
                secrets: crate::settings::Secrets::LeaveOut,
            };
            crate::settings::parse("mart.yaml", &text, &around).unwrap()
        };
        let own = settings("").name.slot();
        assert_eq!(feed(&settings("")), Feed::Own(own.clone()));
        let kafka = |more: &str| {
            let text =
                format!("through: {{ kafka: {{ brokers: [\"k:9092\"], topic_prefix: shop{more} }} }}\n");
            feed(&settings(&text))
        };
        assert!(matches!(kafka(""), Feed::Unknown(_)));
        assert_eq!(kafka(", format: debezium, debezium: { slot: dbz }"), Feed::Others("dbz".to_owned()));
        assert_eq!(kafka(", format: debezium, debezium: { offsets_topic: offsets }"), Feed::Untold);
        assert_eq!(feed_of(Some(&own), &own), Feed::Own(own.clone()));
        assert_eq!(feed_of(Some("understudy_shop"), &own), Feed::Others("understudy_shop".to_owned()));
        assert!(matches!(feed_of(None, &own), Feed::Unknown(_)));
    }

    /// A server that takes connections and never answers must not freeze the figure that verification yields to.
    #[tokio::test]
    async fn the_lag_is_passed_on_while_a_server_does_not_answer() {
        let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("postgres://u@{}/db", mute.local_addr().unwrap());
        let side = ConnectOptions::parse(&address).unwrap();
        let status = Status::new("shop", "1", Duration::from_secs(1));
        let sent = Instant::now();
        let circumstances = Arc::new(watch::Sender::new(Circumstances::default()));
        let plan = ReadinessPlan {
            migration: "shop".to_owned(),
            feed: Feed::Own("shop".to_owned()),
            routes: Vec::new(),
            max_transaction_age: Duration::from_secs(60),
            sequence_headroom: 0,
        };
        let surroundings = Surroundings {
            log: None,
            blue: side.clone(),
            green: Around::Server(side),
            plan,
            status: status.clone(),
            circumstances: circumstances.clone(),
            board: VerifyBoard::new(),
        };
        let mut seen = circumstances.subscribe();
        let passed_on = async {
            status.marker_sent(sent);
            status.marker_applied(sent);
            seen.wait_for(|now| now.load.lag_ms.is_some()).await.map(|now| now.load).unwrap()
        };
        tokio::select! {
            () = surroundings.watch() => unreachable!("it ends only when it is dropped"),
            load = passed_on => assert_eq!(load.active_sessions, None),
            () = tokio::time::sleep(Duration::from_secs(5)) => panic!("the lag is not passed on"),
        }
    }
}
