//! Throw-away Postgres clusters on loopback ports: started for a demo, a test or a benchmark, and gone with us.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use understudy_contract::{Class, Failure};
use understudy_postgres::wire::{ConnectOptions, Secret};

use super::installation::{Account, Installation};
use super::port::Port;

/// The super-user of every throw-away cluster.
pub const SUPERUSER: &str = "understudy";

/// How long a server may take to start, crash recovery included, or to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory of our own below the temporary directory, removed with everything in it when dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    keep: bool,
}

impl Scratch {
    /// Creates it, and removes those that killed processes have left behind.
    pub fn create(purpose: &str) -> Result<Scratch, Failure> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("understudy-{purpose}-");
        remove_orphans(&prefix);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("{prefix}{}-{number}", std::process::id()));
        fs::create_dir_all(&path).map_err(|error| local("create a temporary directory", &path, &error))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o711))
            .map_err(|error| local("open the temporary directory to the server", &path, &error))?;
        Ok(Scratch { path, keep: false })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves it in place at the end.
    pub const fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.keep {
            drop(fs::remove_dir_all(&self.path));
        }
    }
}

/// Directories whose process is gone. Their servers have ended with it.
fn remove_orphans(prefix: &str) {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid =
            name.to_str().and_then(|name| name.strip_prefix(prefix)).and_then(|rest| rest.split('-').next());
        let gone =
            pid.is_some_and(|pid| pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists());
        if gone && Path::new("/proc/self").exists() {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

/// How to stop a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Clients are disconnected, everything is written.
    Fast,
    /// As if the power failed: the next start recovers.
    Immediate,
}

impl Stop {
    const fn signal(self) -> &'static str {
        match self {
            Stop::Fast => "INT",
            Stop::Immediate => "QUIT",
        }
    }
}

/// One server with its data directory.
#[derive(Debug)]
pub struct Cluster {
    name: String,
    installation: Installation,
    home: PathBuf,
    port: Port,
    password: String,
    server: Option<Child>,
}

impl Cluster {
    /// Creates a cluster below `scratch` and starts it. `settings` come on top of those that replication needs.
    pub async fn create(
        installation: &Installation,
        scratch: &Scratch,
        name: &str,
        settings: &[(&str, &str)],
    ) -> Result<Cluster, Failure> {
        let home = scratch.path().join(name);
        fs::create_dir_all(&home).map_err(|error| local("create a directory", &home, &error))?;
        give_to(installation.account(), &home)?;
        let password = format!("{:016x}{:016x}", rand::random::<u64>(), rand::random::<u64>());
        let cluster = Cluster {
            name: name.to_owned(),
            installation: installation.clone(),
            home,
            port: Port::reserve()?,
            password,
            server: None,
        };
        cluster.initialise(settings).await?;
        let mut cluster = cluster;
        cluster.start().await?;
        Ok(cluster)
    }

    /// Starts the server and waits until it takes connections.
    pub async fn start(&mut self) -> Result<(), Failure> {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log_file());
        let log = log.map_err(|error| local("open the server's log", &self.log_file(), &error))?;
        let log_too =
            log.try_clone().map_err(|error| local("open the server's log", &self.log_file(), &error))?;
        let mut command = self.installation.command("postgres");
        command.arg("-D").arg(self.data_directory()).stdout(log).stderr(log_too);
        // Away from the terminal's group: Ctrl-C reaches us, and we stop the servers in order.
        command.process_group(0);
        let child = command
            .spawn()
            .map_err(|error| local("start", &self.installation.bin().join("postgres"), &error))?;
        self.server = Some(child);
        self.until_ready().await
    }

    /// Stops the server and waits until it is gone.
    pub async fn stop(&mut self, how: Stop) -> Result<(), Failure> {
        let Some(server) = self.server.as_mut() else {
            return Ok(());
        };
        signal(server.id(), how.signal());
        let deadline = Instant::now() + PATIENCE;
        while server.try_wait().is_ok_and(|ended| ended.is_none()) {
            if Instant::now() > deadline {
                return Err(Failure::new(Class::Internal, format!("the {} server does not stop", self.name)));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.server = None;
        Ok(())
    }

    /// The name it was created under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its port on 127.0.0.1; the same after every start.
    pub const fn port(&self) -> u16 {
        self.port.number()
    }

    /// The password of [`SUPERUSER`].
    pub fn password(&self) -> &str {
        &self.password
    }

    /// A file that holds the password, for migration files; only we can read it.
    pub fn password_file(&self) -> PathBuf {
        self.home.with_extension("password")
    }

    /// An address without the password.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{SUPERUSER}@127.0.0.1:{}/{database}", self.port())
    }

    /// How to connect to one of its databases as [`SUPERUSER`].
    pub fn options(&self, database: &str) -> Result<ConnectOptions, Failure> {
        Ok(ConnectOptions::parse(&self.url(database))?.with_password(Secret::new(self.password.clone())))
    }

    /// Its data directory.
    pub fn data_directory(&self) -> PathBuf {
        self.home.join("data")
    }

    /// The server's log.
    pub fn log_file(&self) -> PathBuf {
        self.home.with_extension("log")
    }

    /// The process id of the server while it runs.
    pub fn server_pid(&self) -> Option<u32> {
        self.server.as_ref().map(Child::id)
    }

    async fn initialise(&self, settings: &[(&str, &str)]) -> Result<(), Failure> {
        let handed_over = self.home.join("password");
        for (file, account) in
            [(self.password_file(), &Account::Own), (handed_over.clone(), self.installation.account())]
        {
            fs::write(&file, format!("{}\n", self.password))
                .map_err(|error| local("write", &file, &error))?;
            let private = fs::Permissions::from_mode(0o600);
            fs::set_permissions(&file, private).map_err(|error| local("protect", &file, &error))?;
            give_to(account, &file)?;
        }
        let mut command = self.installation.command("initdb");
        command
            .arg("-D")
            .arg(self.data_directory())
            .arg("-U")
            .arg(SUPERUSER)
            .arg("--pwfile")
            .arg(&handed_over);
        command.args([
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
            "--no-instructions",
        ]);
        let output = tokio::process::Command::from(command).kill_on_drop(true).output().await;
        let output = output.map_err(|error| local("run", &self.installation.bin().join("initdb"), &error))?;
        drop(fs::remove_file(&handed_over));
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr);
            let last = message.lines().last().unwrap_or("no message").to_owned();
            return Err(Failure::new(Class::Configuration, format!("initdb failed: {last}")));
        }
        let file = self.data_directory().join("postgresql.auto.conf");
        fs::write(&file, self.configuration(settings)).map_err(|error| local("write", &file, &error))
    }

    fn configuration(&self, settings: &[(&str, &str)]) -> String {
        let port = self.port.number().to_string();
        let ours: [(&str, &str); 10] = [
            ("listen_addresses", "127.0.0.1"),
            ("port", &port),
            // Over TCP alone: the path of a socket below a long temporary directory may not fit.
            ("unix_socket_directories", ""),
            ("wal_level", "logical"),
            ("max_slot_wal_keep_size", "4GB"),
            ("max_wal_senders", "20"),
            ("max_replication_slots", "20"),
            ("max_connections", "200"),
            ("shared_buffers", "256MB"),
            ("max_wal_size", "4GB"),
        ];
        let lines = ours.iter().chain(settings).map(|(name, value)| format!("{name} = '{value}'\n"));
        lines.collect()
    }

    /// The last line of `postmaster.pid` tells what `pg_ctl` waits for, without a connection.
    async fn until_ready(&mut self) -> Result<(), Failure> {
        let file = self.data_directory().join("postmaster.pid");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let pid = self.server_pid().unwrap_or_default().to_string();
            let text = fs::read_to_string(&file).unwrap_or_default();
            // A file left by a server that crashed names another process.
            let own = text.lines().next().is_some_and(|first| first.trim() == pid);
            if own && text.lines().nth(7).is_some_and(|status| status.trim() == "ready") {
                return Ok(());
            }
            let ended =
                self.server.as_mut().is_some_and(|server| server.try_wait().is_ok_and(|end| end.is_some()));
            if ended || Instant::now() > deadline {
                return Err(self.did_not_start());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn did_not_start(&self) -> Failure {
        let log = fs::read_to_string(self.log_file()).unwrap_or_default();
        let fatal = log.lines().rev().find(|line| line.contains("FATAL") || line.contains("PANIC"));
        let last = fatal.or_else(|| log.lines().last()).unwrap_or("it left no message");
        Failure::new(Class::Configuration, format!("the {} server did not start: {last}", self.name))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let Some(mut server) = self.server.take() else {
            return;
        };
        signal(server.id(), Stop::Immediate.signal());
        let deadline = Instant::now() + Duration::from_secs(10);
        while server.try_wait().is_ok_and(|ended| ended.is_none()) {
            if Instant::now() > deadline {
                drop(server.kill());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Sends a signal to a process by its id, through the shell's own `kill`, which every system has.
pub fn signal(pid: u32, name: &str) {
    let mut command = Command::new("sh");
    command.args(["-c", "kill -s \"$1\" \"$2\"", "sh", name, &pid.to_string()]).stderr(Stdio::null());
    drop(command.status());
}

fn give_to(account: &Account, path: &Path) -> Result<(), Failure> {
    match account {
        Account::Own => Ok(()),
        Account::Other { uid, gid, .. } => chown(path, Some(*uid), Some(*gid))
            .map_err(|error| local("hand over to the server's account", path, &error)),
    }
}

fn local(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Class::Configuration, format!("could not {what} {}: {error}", path.display()))
}
