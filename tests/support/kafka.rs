//! Apache Kafka as throw-away clusters: nodes that are broker and controller at once, on loopback ports, gone with us.

mod connect;
mod node;
mod programs;
mod secure;
mod wire;

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;

use tokio::runtime::Builder;

use crate::Scratch;
use crate::process::{Process, Signal};
use crate::wait::until;

use node::{Node, Plan};
use programs::{Pace, Programs};
use wire::Metadata;

pub use connect::{Connect, Connector, Schemas};
pub use secure::{Listener, PASSWORD, STRANGER, USER};
pub use wire::{On, Right};

/// A cluster of one or more nodes, numbered from 1. Its data outlive a node's process, and are gone with this value.
#[derive(Debug)]
pub struct Kafka {
    nodes: Vec<Node>,
    programs: Programs,
    scratch: Scratch,
}

impl Kafka {
    /// One node. `None` when Kafka is missing and may be skipped; so with all others.
    pub async fn start() -> Option<Kafka> {
        Kafka::start_with(1, &[]).await
    }

    /// As many nodes, of which one may be away: three take a write when two have it.
    pub async fn start_nodes(count: usize) -> Option<Kafka> {
        Kafka::start_with(count, &[]).await
    }

    /// As many nodes, with additional broker settings.
    pub async fn start_with(count: usize, settings: &[(&str, &str)]) -> Option<Kafka> {
        let programs = Programs::kafka(Pace::Quick)?;
        let scratch = Scratch::create("tests").expect("a throw-away folder");
        Some(Kafka::create(programs, scratch, Plan { count, settings, secure: false }).await)
    }

    /// One node that is measured, or is part of what is: it runs as Kafka's own scripts would start it.
    pub async fn measured(settings: &[(&str, &str)]) -> Option<Kafka> {
        let programs = Programs::kafka(Pace::Measured)?;
        let scratch = Scratch::create("bench").expect("a throw-away folder");
        Some(Kafka::create(programs, scratch, Plan { count: 1, settings, secure: false }).await)
    }

    /// One node that also has the listeners of [`Listener`], and lets [`USER`] do everything and [`STRANGER`] nothing.
    pub async fn secured(settings: &[(&str, &str)]) -> Option<Kafka> {
        let programs = Programs::kafka(Pace::Quick)?;
        let scratch = Scratch::create("tests").expect("a throw-away folder");
        secure::make_certificates(scratch.path());
        Some(Kafka::create(programs, scratch, Plan { count: 1, settings, secure: true }).await)
    }

    /// One node for tests that harm nothing, started once and shared; each test works below a [`prefix`](Kafka::prefix) of its own.
    pub fn shared() -> Option<&'static Kafka> {
        static SHARED: LazyLock<Option<&'static Kafka>> = LazyLock::new(|| {
            let (sender, receiver) = sync_channel(1);
            // A runtime of its own, since the caller's waits here.
            thread::spawn(move || {
                let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
                let kafka = runtime.block_on(Kafka::start()).map(|kafka| &*Box::leak(Box::new(kafka)));
                sender.send(kafka).expect("somebody waits for the broker");
            });
            receiver.recv().expect("the broker starts")
        });
        *SHARED
    }

    /// A name for topics, groups and transactions that no other test of this process has.
    pub fn prefix(test: &str) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        format!("{test}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The addresses of all nodes for clients without security, also of those that are down.
    pub fn bootstrap(&self) -> String {
        self.addresses(Listener::Plain)
    }

    /// The addresses of all nodes at one of their listeners; those with security are there after [`Kafka::secured`].
    pub fn addresses(&self, listener: Listener) -> String {
        let addresses = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port(listener)));
        addresses.collect::<Vec<_>>().join(",")
    }

    /// For files of clients. After [`Kafka::secured`] it holds the certificates: see [`Listener`].
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// Kills a node: nothing is handed over and nothing is written any more.
    pub fn kill(&mut self, node: usize) {
        let running = self.node_mut(node).process.take();
        assert!(running.expect("a running node").kill(), "Kafka's node {node} had ended by itself");
    }

    /// Asks a node to stop, which hands its partitions over, and waits until it has ended.
    pub async fn stop(&mut self, node: usize) {
        let mut running = self.node_mut(node).process.take().expect("a running node");
        running.signal(Signal::Term);
        until(&format!("Kafka's node {node} stops"), async || running.ended()).await;
    }

    /// Starts a node again on its data and ports, and waits until it takes part.
    pub async fn start_node(&mut self, node: usize) {
        self.nodes[node - 1].start(&self.programs, self.scratch.path());
        self.nodes[node - 1].until_it_answers(1).await;
    }

    /// Sends a signal to a node: `Stop` freezes it, `Cont` lets it go on.
    pub fn signal(&self, node: usize, signal: Signal) {
        self.process(node).signal(signal);
    }

    /// The process of a running node, to see its memory and its log.
    pub fn process(&self, node: usize) -> &Process {
        self.nodes[node - 1].process.as_ref().expect("a running node")
    }

    /// The nodes that take part, as a node knows them. `None` when it does not answer.
    pub async fn members(&self, asked: usize) -> Option<Vec<i32>> {
        Some(self.metadata(asked, &[]).await?.brokers)
    }

    /// Creates a topic that is on up to three nodes, and waits until every node that runs knows it.
    pub async fn create_topic(&self, topic: &str, partitions: i32) {
        let copies = i16::try_from(self.nodes.len().min(3)).expect("few nodes");
        let running = self.nodes.iter().filter(|node| node.process.is_some());
        let first = running.clone().next().expect("a running node");
        let error = wire::create_topic(first.port(Listener::Plain), topic, partitions, copies).await;
        assert_eq!(error, Some(0), "create topic {topic}: Kafka's error code");
        for node in running {
            until("the new topic is known", async || {
                let metadata = wire::metadata(node.port(Listener::Plain), &[topic]).await?;
                (metadata.in_sync.len() == usize::try_from(partitions).ok()?).then_some(())
            })
            .await;
        }
    }

    /// For every partition of a topic the nodes that have all of it, as a node knows them. `None` when it does not answer.
    pub async fn in_sync(&self, asked: usize, topic: &str) -> Option<Vec<Vec<i32>>> {
        Some(self.metadata(asked, &[topic]).await?.in_sync)
    }

    /// Whether the first node lets a user in with this password, at [`Listener::Sasl`].
    pub async fn lets_in(&self, user: &str, password: &str) -> bool {
        let port = self.nodes[0].port(Listener::Sasl);
        until("Kafka answers to a user", async || wire::lets_in(port, user, password).await).await
    }

    /// Lets a user do more than before, after [`Kafka::secured`].
    pub async fn allow(&self, user: &str, rights: &[(On<'_>, &[Right])]) {
        for (on, right) in rights.iter().flat_map(|(on, rights)| rights.iter().map(|right| (*on, *right))) {
            let error = wire::allow(self.nodes[0].port(Listener::Plain), user, (on, right)).await;
            assert_eq!(error, Some(0), "let {user} {right:?} on {on:?}: Kafka's error code");
        }
    }

    async fn metadata(&self, asked: usize, topics: &[&str]) -> Option<Metadata> {
        wire::metadata(self.nodes[asked - 1].port(Listener::Plain), topics).await
    }

    async fn create(programs: Programs, scratch: Scratch, plan: Plan<'_>) -> Kafka {
        let mut nodes = node::lay_out(&programs, scratch.path(), &plan).await;
        for node in &mut nodes {
            node.start(&programs, scratch.path());
        }
        for node in &mut nodes {
            node.until_it_answers(plan.count).await;
        }
        Kafka { nodes, programs, scratch }
    }

    fn node_mut(&mut self, node: usize) -> &mut Node {
        &mut self.nodes[node - 1]
    }
}
