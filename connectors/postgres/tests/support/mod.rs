//! Private Postgres clusters for tests: started on a free port under a temporary directory, gone when dropped.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test binary compiles this file and uses its own part of it"
)]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use understudy_postgres::wire::{Client, ConnectOptions, Host};

static CLUSTERS: AtomicU32 = AtomicU32::new(0);

/// Where the server's programs are: `PG_BIN`, or the newest of Debian's packages.
///
/// `None` only where `ALLOW_SKIP=1` permits it, and then a line on standard error names what was skipped.
pub fn binaries() -> Option<PathBuf> {
    let given = std::env::var_os("PG_BIN").map(PathBuf::from);
    let mut found = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path().join("bin"))
        .collect::<Vec<_>>();
    found.sort();
    let bin = given.or_else(|| found.pop()).filter(|bin| bin.join("initdb").exists());
    if bin.is_none() {
        let allowed = std::env::var("ALLOW_SKIP").is_ok_and(|value| value == "1");
        assert!(
            allowed,
            "no Postgres server found: install one, or set PG_BIN; ALLOW_SKIP=1 skips these tests"
        );
        eprintln!(
            "SKIPPED for want of a Postgres server: {}",
            std::thread::current().name().unwrap_or("a test")
        );
    }
    bin
}

/// A running cluster with user `postgres` (trusted over the socket), and logical decoding switched on.
pub struct Cluster {
    pub port: u16,
    pub directory: PathBuf,
    bin: PathBuf,
}

/// What a cluster differs in from the ordinary.
#[derive(Default)]
pub struct Setup {
    /// Lines for postgresql.conf.
    pub settings: String,
    /// Replaces pg_hba.conf.
    pub hba: Option<String>,
}

impl Cluster {
    /// An ordinary cluster. `None` as for [`binaries`].
    pub fn start() -> Option<Cluster> {
        Cluster::start_with(&Setup::default())
    }

    /// A cluster with a difference. `None` as for [`binaries`].
    pub fn start_with(setup: &Setup) -> Option<Cluster> {
        let bin = binaries()?;
        let number = CLUSTERS.fetch_add(1, Ordering::Relaxed);
        let base = std::env::temp_dir().join("understudy-tests");
        let directory = base.join(format!("{}-{number}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let (uid, gid) = server_user();
        chown(&base, uid, gid).unwrap();
        chown(&directory, uid, gid).unwrap();
        let mut cluster = Cluster { port: 0, directory, bin };
        let data = cluster.data();
        cluster.run(
            "initdb",
            &["-D", &text(&data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
        );
        // Chosen just before it is listened on: until then it may go to somebody else.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        cluster.port = port;
        let settings = format!(
            "port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{}'\nwal_level = logical\n\
             fsync = off\nmax_wal_senders = 20\nmax_replication_slots = 20\nmax_prepared_transactions = 5\n\
             shared_buffers = 32MB\n{}\n",
            cluster.directory.display(),
            setup.settings
        );
        cluster.append("postgresql.conf", &settings);
        if let Some(hba) = &setup.hba {
            fs::write(data.join("pg_hba.conf"), hba).unwrap();
        }
        cluster.control("start");
        Some(cluster)
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Adds lines to a file of the data directory.
    pub fn append(&self, file: &str, lines: &str) {
        let path = self.data().join(file);
        let before = fs::read_to_string(&path).unwrap_or_default();
        fs::write(path, format!("{before}\n{lines}\n")).unwrap();
    }

    /// Puts a file beside the data, readable by the server alone.
    pub fn put(&self, name: &str, content: &[u8]) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.directory.join(name);
        fs::write(&path, content).unwrap();
        let (uid, gid) = server_user();
        chown(&path, uid, gid).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// `start`, `restart`, `reload`, or `stop` with `-m immediate`, as pg_ctl does it, and waits for the end of it.
    pub fn control(&self, verb: &str) {
        let (data, log) = (text(&self.data()), text(&self.directory.join("log")));
        let mut arguments = vec!["-D", &data, "-w", "-s", "-l", &log];
        if verb != "start" && verb != "reload" {
            arguments.extend(["-m", "immediate"]);
        }
        arguments.push(verb);
        self.run("pg_ctl", &arguments);
    }

    /// Options to connect as the superuser over the socket.
    pub fn options(&self) -> ConnectOptions {
        ConnectOptions::new(Host::Unix(self.directory.clone()), self.port, "postgres", "postgres")
    }

    /// Options from an address over TCP, with parameters behind the `?`.
    pub fn tcp(&self, login: &str, parameters: &str) -> ConnectOptions {
        let address = format!("postgres://{login}@127.0.0.1:{}/postgres?{parameters}", self.port);
        ConnectOptions::parse(&address).unwrap()
    }

    /// A connection as the superuser.
    pub async fn client(&self) -> Client {
        Client::connect(&self.options()).await.unwrap()
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let (uid, gid) = server_user();
        let mut command = Command::new(self.bin.join(program));
        command.args(arguments).current_dir(&self.directory).env_remove("LC_ALL").env("LC_ALL", "C");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        if is_root() {
            command.uid(uid.unwrap()).gid(gid.unwrap());
        }
        let status = command.status().unwrap();
        let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        assert!(status.success(), "{program} {arguments:?} failed: {log}");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let data = text(&self.data());
        let mut command = Command::new(self.bin.join("pg_ctl"));
        command.args(["-D", &data, "-s", "-w", "-m", "immediate", "stop"]);
        if is_root() {
            let (uid, gid) = server_user();
            command.uid(uid.unwrap()).gid(gid.unwrap());
        }
        let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Postgres refuses to run as root: its own user does, then.
fn server_user() -> (Option<u32>, Option<u32>) {
    if !is_root() {
        return (None, None);
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let line = users.lines().find(|line| line.starts_with("postgres:")).expect("a user named postgres");
    let mut ids = line.split(':').skip(2).map(|id| id.parse().unwrap());
    (ids.next(), ids.next())
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").unwrap().uid() == 0
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Waits for a condition that the server reaches by itself; panics with `what` after 20 seconds.
pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
