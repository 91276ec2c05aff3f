//! Blue and green as throw-away clusters.

use std::sync::LazyLock;
use std::sync::mpsc::sync_channel;
use std::thread;

use tokio::runtime::Builder;
use understudy::demo::cluster::{Cluster, Scratch};
use understudy::demo::installation::Installation;

use crate::session::Session;

/// Small servers: many run at once. Durability is left out where no server crashes.
const SMALL: [(&str, &str); 5] = [
    ("shared_buffers", "32MB"),
    ("max_slot_wal_keep_size", "4GB"),
    ("max_connections", "60"),
    ("autovacuum_naptime", "5s"),
    ("log_min_messages", "warning"),
];

/// The database that tests use on both sides.
pub(crate) const DATABASE: &str = "shop";

/// Two clusters and a folder, gone with this value.
#[derive(Debug)]
pub struct Pair {
    /// The live server.
    pub blue: Cluster,
    /// The shadow server.
    pub green: Cluster,
    /// For files and logs.
    pub scratch: Scratch,
}

impl Pair {
    /// Two clusters of these major versions that survive no crash. `None` when one is missing and may be skipped.
    pub async fn start(blue: u32, green: u32) -> Option<Pair> {
        Pair::start_with(blue, green, &[("fsync", "off")], &[("fsync", "off")]).await
    }

    /// Two clusters that are as durable as in production.
    pub async fn durable(blue: u32, green: u32) -> Option<Pair> {
        Pair::start_with(blue, green, &[], &[]).await
    }

    /// Two clusters with additional server settings.
    pub async fn start_with(
        blue: u32,
        green: u32,
        blue_settings: &[(&str, &str)],
        green_settings: &[(&str, &str)],
    ) -> Option<Pair> {
        let (blue_programs, green_programs) = (installation(blue)?, installation(green)?);
        let scratch = Scratch::create("tests").expect("a throw-away folder");
        let blue = cluster(&blue_programs, &scratch, "blue", blue_settings).await;
        let green = cluster(&green_programs, &scratch, "green", green_settings).await;
        Some(Pair { blue, green, scratch })
    }

    /// Two clusters for tests that harm nothing, started once and shared; each test works in a schema of its own.
    pub fn shared() -> Option<&'static Pair> {
        static SHARED: LazyLock<Option<&'static Pair>> = LazyLock::new(|| {
            let (sender, receiver) = sync_channel(1);
            // Servers end with the thread that started them, so theirs stays until the process ends.
            thread::spawn(move || {
                let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
                let pair = runtime.block_on(Pair::start(15, 18)).map(|pair| &*Box::leak(Box::new(pair)));
                sender.send(pair).expect("somebody waits for the pair");
                loop {
                    thread::park();
                }
            });
            receiver.recv().expect("the pair starts")
        });
        *SHARED
    }

    /// A session on blue's database.
    pub async fn on_blue(&self) -> Session {
        Session::open(&self.blue, DATABASE).await
    }

    /// A session on green's database.
    pub async fn on_green(&self) -> Session {
        Session::open(&self.green, DATABASE).await
    }

    /// Runs the same statements on both sides.
    pub async fn on_both(&self, sql: &str) {
        self.on_blue().await.batch(sql).await;
        self.on_green().await.batch(sql).await;
    }
}

async fn cluster(
    programs: &Installation,
    scratch: &Scratch,
    name: &str,
    settings: &[(&str, &str)],
) -> Cluster {
    let settings: Vec<(&str, &str)> = SMALL.iter().chain(settings).copied().collect();
    let cluster = Cluster::create(programs, scratch, name, &settings).await;
    let cluster = cluster.unwrap_or_else(|failure| panic!("start {name}: {failure}"));
    Session::open(&cluster, "postgres").await.batch(&format!("CREATE DATABASE {DATABASE}")).await;
    cluster
}

/// The server of a major version. A missing one fails the test, unless ALLOW_SKIP=1: then the test is named as skipped.
fn installation(major: u32) -> Option<Installation> {
    match Installation::of_major(major) {
        Ok(found) => Some(found),
        Err(failure) => {
            assert!(
                std::env::var("ALLOW_SKIP").is_ok_and(|value| value == "1"),
                "{failure}: run dev/servers, or set ALLOW_SKIP=1 to go on without Postgres {major}",
            );
            let test = std::thread::current().name().unwrap_or("a test").to_owned();
            println!("SKIPPED {test}: Postgres {major} is missing");
            None
        }
    }
}

/// A server's processes: the first one and its children.
pub fn all_processes(cluster: &Cluster) -> Vec<u32> {
    let first = cluster.server_pid().expect("a running server");
    let mut found = vec![first];
    for entry in std::fs::read_dir("/proc").expect("list processes").flatten() {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // After the command in parentheses: state, then the parent's id.
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        if let (Some(parent), Ok(pid)) = (parent, entry.file_name().to_string_lossy().parse()) {
            let parent: u32 = parent;
            if parent == first {
                found.push(pid);
            }
        }
    }
    found
}
