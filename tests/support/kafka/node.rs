//! One node: its settings, its data, its process.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::programs::Programs;
use super::secure::{self, Listener};
use super::wire;
use crate::ports::Port;
use crate::process::Process;
use crate::wait::until_within;

/// How long a node may take to start, the recovery of its log included.
const PATIENCE: Duration = Duration::from_secs(120);

/// Small and quick to notice: short sessions, so that a killed node or client is missed within seconds.
const SMALL: [(&str, &str); 24] = [
    ("process.roles", "broker,controller"),
    ("controller.listener.names", "CONTROLLER"),
    ("inter.broker.listener.name", "PLAIN"),
    ("auto.create.topics.enable", "false"),
    ("broker.heartbeat.interval.ms", "500"),
    ("group.initial.rebalance.delay.ms", "0"),
    ("group.min.session.timeout.ms", "1000"),
    ("group.consumer.min.session.timeout.ms", "1000"),
    ("group.consumer.session.timeout.ms", "6000"),
    ("group.consumer.min.heartbeat.interval.ms", "500"),
    ("group.consumer.heartbeat.interval.ms", "1000"),
    ("offsets.topic.num.partitions", "4"),
    ("offsets.topic.segment.bytes", "16777216"),
    ("transaction.state.log.num.partitions", "4"),
    ("transaction.state.log.segment.bytes", "16777216"),
    ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "1000"),
    ("log.segment.bytes", "67108864"),
    ("log.index.size.max.bytes", "1048576"),
    ("log.initial.task.delay.ms", "1000"),
    ("log.retention.check.interval.ms", "1000"),
    ("log.cleaner.backoff.ms", "1000"),
    ("log.cleaner.dedupe.buffer.size", "4194304"),
    ("num.io.threads", "4"),
    ("num.network.threads", "2"),
];

/// What goes wrong is there to be read; the settings, hundreds of lines, are not.
const LOG: &str = "\
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{HH:mm:ss.SSS} %p %c{1}: %m%n
logger.settings.name = org.apache.kafka.common.config
logger.settings.level = warn
";

/// What a cluster is to be.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    /// How many nodes.
    pub(super) count: usize,
    /// Settings on top of ours.
    pub(super) settings: &'a [(&'a str, &'a str)],
    /// With the listeners, users and rights of `secure`.
    pub(super) secure: bool,
}

/// A node, whether it runs or not.
#[derive(Debug)]
pub(super) struct Node {
    id: usize,
    controller: Port,
    listeners: Vec<(Listener, Port)>,
    /// While it runs.
    pub(super) process: Option<Process>,
}

/// Writes the settings of all nodes below `folder` and formats their data.
pub(super) async fn lay_out(programs: &Programs, folder: &Path, plan: &Plan<'_>) -> Vec<Node> {
    let offered: &[Listener] = if plan.secure { &Listener::ALL } else { &[Listener::Plain] };
    let node = |id| Node {
        id,
        controller: Port::reserve(),
        listeners: offered.iter().map(|listener| (*listener, Port::reserve())).collect(),
        process: None,
    };
    let nodes: Vec<Node> = (1..=plan.count).map(node).collect();
    let voters = nodes.iter().map(|node| format!("{}@127.0.0.1:{}", node.id, node.controller.number()));
    let voters = voters.collect::<Vec<_>>().join(",");
    fs::write(folder.join("log4j2.properties"), LOG).expect("write the settings of the log");
    for node in &nodes {
        fs::write(node.settings_file(folder), node.settings(folder, plan, &voters))
            .expect("write the settings of a node");
    }
    // All at once: each takes a second, most of which is Java's start.
    let format = |node: &Node| node.format(programs, folder, plan);
    let mut formatting: Vec<Process> = nodes.iter().map(format).collect();
    for process in &mut formatting {
        let exit = process.exit(PATIENCE).await;
        assert_eq!(exit.code, Some(0), "format Kafka's storage:\n{}{}", exit.stdout, exit.stderr);
    }
    nodes
}

impl Node {
    /// The port of one of its listeners.
    pub(super) fn port(&self, listener: Listener) -> u16 {
        let found = self.listeners.iter().find(|(offered, _)| *offered == listener);
        let (_, port) = found.unwrap_or_else(|| panic!("this cluster has no listener {listener:?}"));
        port.number()
    }

    /// Starts its process and does not wait for it.
    pub(super) fn start(&mut self, programs: &Programs, folder: &Path) {
        assert!(self.process.is_none(), "Kafka's node {} runs already", self.id);
        let settings = self.settings_file(folder).display().to_string();
        let name = format!("kafka-{}", self.id);
        self.process = Some(run(programs, folder, &name, "kafka.Kafka", &[&settings]));
    }

    /// Waits until it answers, takes part itself and knows `members` nodes that do.
    pub(super) async fn until_it_answers(&mut self, members: usize) {
        let (id, port) = (self.id, self.port(Listener::Plain));
        let process = self.process.as_mut().expect("a started node");
        until_within(PATIENCE, &format!("Kafka's node {id} answers"), async || {
            if let Some(status) = process.ended() {
                let (log, errors) = (process.output(), process.errors());
                let last: Vec<&str> = log.lines().rev().take(20).collect();
                let last: Vec<&str> = last.into_iter().rev().collect();
                panic!("Kafka's node {id} ended with {status}:\n{}\n{errors}", last.join("\n"));
            }
            let brokers = wire::metadata(port, &[]).await?.brokers;
            let itself = brokers.iter().any(|broker| usize::try_from(*broker) == Ok(id));
            (itself && brokers.len() >= members).then_some(())
        })
        .await;
    }

    fn settings_file(&self, folder: &Path) -> PathBuf {
        folder.join(format!("kafka-{}.properties", self.id))
    }

    fn settings(&self, folder: &Path, plan: &Plan<'_>, voters: &str) -> String {
        let copies = plan.count.min(3).to_string();
        let enough = (plan.count.min(3) / 2 + 1).to_string();
        let open = self.listeners.iter().map(|(listener, port)| {
            (format!("{}://127.0.0.1:{}", listener.name(), port.number()), listener.protocol())
        });
        let offered: Vec<String> = open.clone().map(|(address, _)| address).collect();
        let protocols = open.map(|(address, protocol)| {
            format!("{}:{protocol}", address.split(':').next().expect("a listener's name"))
        });
        let protocols: Vec<String> = protocols.chain(["CONTROLLER:PLAINTEXT".to_owned()]).collect();
        let offered = offered.join(",");
        let controller = format!("CONTROLLER://127.0.0.1:{}", self.controller.number());
        // Nobody takes over from a node that is alone: one that a loaded machine holds up must not be taken for dead. After a kill
        // it is let in again only once its former session is over, and its start waits a minute for that.
        let missed_ms = if plan.count > 1 { "4000" } else { "15000" };
        let own = [
            ("broker.session.timeout.ms", missed_ms.to_owned()),
            ("node.id", self.id.to_string()),
            ("controller.quorum.voters", voters.to_owned()),
            ("listeners", format!("{offered},{controller}")),
            ("advertised.listeners", offered),
            ("listener.security.protocol.map", protocols.join(",")),
            ("log.dirs", self.data_folder(folder).display().to_string()),
            ("default.replication.factor", copies.clone()),
            ("offsets.topic.replication.factor", copies.clone()),
            ("transaction.state.log.replication.factor", copies),
            ("transaction.state.log.min.isr", enough.clone()),
            ("min.insync.replicas", enough),
        ];
        let ours = SMALL.iter().map(|(name, value)| (*name, (*value).to_owned())).chain(own);
        let secure = if plan.secure { secure::settings(folder) } else { Vec::new() };
        let theirs = plan.settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let ours = ours.map(|(name, value)| (name.to_owned(), value));
        // Of a name that comes twice the last value counts.
        ours.chain(secure).chain(theirs).map(|(name, value)| format!("{name}={value}\n")).collect()
    }

    fn data_folder(&self, folder: &Path) -> PathBuf {
        folder.join(format!("kafka-{}", self.id))
    }

    fn format(&self, programs: &Programs, folder: &Path, plan: &Plan<'_>) -> Process {
        let settings = self.settings_file(folder).display().to_string();
        // Sixteen bytes in base64; clusters of tests do not meet, so they share it.
        let mut arguments = vec!["format", "--cluster-id", "dW5kZXJzdHVkeS10ZXN0cw", "--config", &settings];
        let users = if plan.secure { secure::scram_users() } else { Vec::new() };
        arguments.extend(users.iter().flat_map(|user| ["--add-scram", user]));
        run(programs, folder, &format!("format-{}", self.id), "kafka.tools.StorageTool", &arguments)
    }
}

fn run(programs: &Programs, folder: &Path, name: &str, program: &str, arguments: &[&str]) -> Process {
    let java = programs.arguments(&folder.join("log4j2.properties"), "-Xmx512m", program);
    let all: Vec<&str> = java.iter().map(String::as_str).chain(arguments.iter().copied()).collect();
    Process::start(name, folder, Path::new("java"), &all, &[])
}
