//! The sidecar as a child process, exactly as an operator would run it, watched over its own HTTP interface.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use understudy_contract::{Class, Failure};
use understudy_control::{StatusReport, TableState, VerifyDocument};
use understudy_model::Lsn;

use super::cluster::signal;
use super::installation::tied_to_us;
use super::port::Port;

/// How long the sidecar may take to finish after it was asked to.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a sidecar's program, file and messages are.
#[derive(Debug, Clone)]
pub struct SidecarFiles {
    /// The program; this one, as a rule.
    pub program: PathBuf,
    /// The migration file.
    pub migration: PathBuf,
    /// Receives what it says.
    pub log: PathBuf,
    /// The port of its HTTP interface.
    pub port: Arc<Port>,
}

impl SidecarFiles {
    /// Host and port of its HTTP interface, as the migration file says.
    pub fn listen(&self) -> String {
        format!("127.0.0.1:{}", self.port.number())
    }
}

/// A running `understudy run FILE`.
#[derive(Debug)]
pub struct Sidecar {
    child: Child,
    files: SidecarFiles,
}

impl Sidecar {
    /// Starts it.
    pub fn start(files: SidecarFiles) -> Result<Sidecar, Failure> {
        Sidecar::start_among(files, &[])
    }

    /// Starts it with additional environment variables.
    pub fn start_among(files: SidecarFiles, environment: &[(&str, &str)]) -> Result<Sidecar, Failure> {
        let log = File::options().create(true).append(true).open(&files.log);
        let log = log.map_err(|error| local("open", &files.log, &error))?;
        let log_too = log.try_clone().map_err(|error| local("open", &files.log, &error))?;
        let mut command = tied_to_us(&files.program, "TERM");
        command
            .arg("run")
            .arg(&files.migration)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(log_too)
            .process_group(0);
        let child = command.spawn().map_err(|error| local("start", &files.program, &error))?;
        Ok(Sidecar { child, files })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it says of itself now; `None` while it does not answer. Fails once it has ended.
    pub async fn status(&mut self) -> Result<Option<View>, Failure> {
        let body = self.document("/v1/status").await?;
        Ok(body.and_then(|body| serde_json::from_str(&body).ok()).map(View))
    }

    /// What it knows of both sides' rows; `None` while it does not answer. Fails once it has ended.
    pub async fn verification(&mut self) -> Result<Option<VerifyDocument>, Failure> {
        let body = self.document("/v1/verify").await?;
        Ok(body.and_then(|body| serde_json::from_str(&body).ok()))
    }

    /// Its page of metrics; `None` while it does not answer. Fails once it has ended.
    pub async fn metrics(&mut self) -> Result<Option<String>, Failure> {
        self.document("/metrics").await
    }

    async fn document(&mut self, path: &str) -> Result<Option<String>, Failure> {
        if let Ok(Some(status)) = self.child.try_wait() {
            return Err(self.ended(status));
        }
        let asked = tokio::time::timeout(Duration::from_secs(2), get(&self.files.listen(), path)).await;
        Ok(asked.ok().flatten())
    }

    /// Asks again and again until `ready` says yes.
    pub async fn until(
        &mut self,
        patience: Duration,
        mut ready: impl FnMut(&View) -> bool,
    ) -> Result<View, Failure> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(view) = self.status().await?.filter(|view| ready(view)) {
                return Ok(view);
            }
            if Instant::now() > deadline {
                return Err(Failure::new(Class::Transient, "the sidecar did not get there in time")
                    .remedy(self.hint()));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends it as an operator would, and checks that it ended well.
    pub async fn stop(mut self) -> Result<(), Failure> {
        signal(self.child.id(), "TERM");
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(self.ended(status)),
                Ok(None) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(5)).await,
                Ok(None) | Err(_) => return Err(Failure::new(Class::Internal, "the sidecar does not end")),
            }
        }
    }

    /// Kills it without any warning.
    pub fn kill(mut self) {
        self.kill_now();
    }

    /// The most memory that it has ever held, in bytes.
    pub fn peak_memory(&self) -> Option<u64> {
        peak_memory(self.child.id())
    }

    fn kill_now(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    fn ended(&self, status: ExitStatus) -> Failure {
        let log = std::fs::read_to_string(&self.files.log).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(3).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        let message = format!("the sidecar ended with {status}: {}", last.join(" / "));
        Failure::new(Class::Internal, message).remedy(self.hint())
    }

    fn hint(&self) -> String {
        format!("read {}", self.files.log.display())
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.kill_now();
        }
    }
}

/// The most memory that a process has ever held, in bytes, as the kernel counts it.
pub fn peak_memory(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// The sidecar's report.
#[derive(Debug, Clone)]
pub struct View(StatusReport);

impl View {
    /// The whole report.
    pub const fn report(&self) -> &StatusReport {
        &self.0
    }

    /// Everything before this address has been applied on green.
    pub fn applied(&self) -> Lsn {
        self.0.positions.as_ref().and_then(|marks| marks.applied.parse().ok()).unwrap_or_default()
    }

    /// Rows copied so far, and how many there are as far as known.
    pub fn copied(&self) -> (u64, u64) {
        let copied = self.0.tables.iter().map(|table| table.rows_copied).sum();
        let estimate = self.0.tables.iter().filter_map(|table| table.rows_estimate).sum();
        (copied, estimate)
    }

    /// Whether every one of `tables` tables has been copied.
    pub fn copy_is_complete(&self, tables: usize) -> bool {
        self.0.tables.iter().filter(|table| table.state == TableState::Following).count() >= tables
    }

    /// Mismatches, changes set aside and rows still to be read again.
    pub const fn troubles(&self) -> u64 {
        self.0.mismatches + self.0.quarantined + self.0.heals
    }
}

/// A plain GET; `None` whatever goes wrong, since the caller asks again.
async fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    let answer = String::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.lines().next()?.contains(" 200 ").then(|| body.to_owned())
}

fn local(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Class::Configuration, format!("could not {what} {}: {error}", path.display()))
}
