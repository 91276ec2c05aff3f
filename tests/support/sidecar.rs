//! The sidecar as users run it: a process, its exit code, and its HTTP interface.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::http;
use crate::migration::{Migration, through};
use crate::ports::Port;
use crate::process::{Exit, Process, Signal};
use crate::session::Session;
use crate::wait::{until, until_within};

/// How long a command that ends by itself may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// The program under test: UNDERSTUDY_BIN, or the release build of this project.
fn program() -> PathBuf {
    let named = std::env::var_os("UNDERSTUDY_BIN").map(PathBuf::from);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies inside the project");
    let program = named.unwrap_or_else(|| root.join("target/release/understudy"));
    assert!(program.exists(), "{} is missing: run `make test`", program.display());
    program
}

/// Runs a command of the program to its end.
pub async fn understudy(folder: &Path, args: &[&str]) -> Exit {
    understudy_with(folder, args, &[]).await
}

/// Runs a command of the program to its end, with additional environment variables.
pub async fn understudy_with(folder: &Path, args: &[&str], environment: &[(&str, &str)]) -> Exit {
    let name = format!("understudy-{}-{:08x}", args.first().unwrap_or(&"help"), rand::random::<u32>());
    Process::start(&name, folder, &program(), args, environment).exit(PATIENCE).await
}

/// A running `understudy run`.
#[derive(Debug)]
pub struct Sidecar {
    name: String,
    process: Process,
    port: Port,
    /// The migration file it was given.
    pub file: PathBuf,
}

impl Sidecar {
    /// Starts it. It may still be connecting, or about to fail, when this returns.
    pub fn start(migration: &Migration) -> Sidecar {
        Sidecar::start_with(migration, &[])
    }

    /// Starts it with a fault of its own making, as `UNDERSTUDY_TEST_FAULT` names it.
    pub fn start_faulty(migration: &Migration, fault: &str) -> Sidecar {
        Sidecar::start_in(migration, &[], &[("UNDERSTUDY_TEST_FAULT", fault)])
    }

    /// Starts it with additional arguments.
    pub fn start_with(migration: &Migration, more: &[&str]) -> Sidecar {
        Sidecar::start_in(migration, more, &[])
    }

    /// Starts `understudy replay` instead, which builds green anew from the log.
    pub fn replay(migration: &Migration, more: &[&str]) -> Sidecar {
        Sidecar::start_verb("replay", migration, more, &[])
    }

    /// Starts it with additional arguments and environment variables.
    pub fn start_in(migration: &Migration, more: &[&str], environment: &[(&str, &str)]) -> Sidecar {
        Sidecar::start_verb("run", migration, more, environment)
    }

    fn start_verb(verb: &str, migration: &Migration, more: &[&str], environment: &[(&str, &str)]) -> Sidecar {
        let port = Port::reserve();
        let file = migration.write(&port);
        let path = file.to_string_lossy().into_owned();
        let mut args = vec![verb, path.as_str()];
        args.extend(more);
        let name = format!("{}-{}", migration.name(), port.number());
        let process = Process::start(&name, migration.folder(), &program(), &args, environment);
        Sidecar { name: migration.name().to_owned(), process, port, file }
    }

    /// Host and port of its HTTP interface.
    pub fn control(&self) -> String {
        format!("127.0.0.1:{}", self.port.number())
    }

    /// The document at /v1/status. `None` while it does not answer.
    pub async fn status(&self) -> Option<Value> {
        let (code, body) = http::get(self.port.number(), "/v1/status").await?;
        (code == 200).then(|| serde_json::from_str(&body).expect("the status is JSON"))
    }

    /// Status code and body of any path. `None` while it does not answer.
    pub async fn get(&self, path: &str) -> Option<(u16, String)> {
        http::get(self.port.number(), path).await
    }

    /// Waits until the status satisfies `condition`. Fails at once when the process ends before.
    pub async fn wait_for(&mut self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        until(what, async || {
            self.assert_running();
            self.status().await.filter(&condition)
        })
        .await
    }

    /// Waits until every table's first copy is complete.
    pub async fn wait_copied(&mut self) {
        // A log has the rows written twice.
        let patience = if through().is_some() { 2 * PATIENCE } else { PATIENCE };
        self.wait_copied_within(patience).await;
    }

    /// The same for a copy that is large, or slow on purpose.
    pub async fn wait_copied_within(&mut self, patience: Duration) {
        until_within(patience, "every table is copied", async || {
            self.assert_running();
            self.all_copied().await.then_some(())
        })
        .await;
    }

    /// Whether every table's first copy is complete.
    pub async fn all_copied(&self) -> bool {
        self.status().await.is_some_and(|status| copied(&status))
    }

    /// Waits until everything that blue has committed up to now is on green. Blue's heartbeat moves the checkpoint on.
    pub async fn wait_caught_up(&mut self, blue: &mut Session, green: &mut Session) {
        let goal = blue.value("SELECT pg_current_wal_insert_lsn()").await;
        let reached = format!(
            "SELECT checkpoint >= '{goal}'::pg_lsn FROM understudy.migration WHERE name = '{}'",
            self.name
        );
        until_within(Duration::from_secs(300), "green has caught up with blue", async || {
            self.assert_running();
            green.try_column(&reached).await.ok()?.contains(&"t".to_owned()).then_some(())
        })
        .await;
    }

    /// Fails the test when the process has ended.
    pub fn assert_running(&mut self) {
        if let Some(status) = self.process.ended() {
            panic!("the sidecar ended ({status}):\n{}", self.process.errors());
        }
    }

    /// Whether the process has ended.
    pub fn has_ended(&mut self) -> bool {
        self.process.ended().is_some()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Kills it, as `kill -9` does.
    pub fn kill(mut self) {
        assert!(self.process.kill(), "it ended before it was killed:\n{}", self.process.errors());
    }

    /// Asks it to stop, and expects success.
    pub async fn stop(mut self) -> Exit {
        self.process.signal(Signal::Term);
        let exit = self.process.exit(PATIENCE).await;
        assert_eq!(exit.code, Some(0), "stopping on request succeeds:\n{}", exit.stderr);
        exit
    }

    /// Waits until it ends by itself.
    pub async fn exit(mut self) -> Exit {
        self.process.exit(PATIENCE).await
    }

    /// The memory that is resident now.
    pub fn memory_bytes(&self) -> u64 {
        self.process.memory_bytes("VmRSS:")
    }

    /// The most memory that was ever resident.
    pub fn peak_memory_bytes(&self) -> u64 {
        self.process.memory_bytes("VmHWM:")
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.process.errors()
    }
}

fn copied(status: &Value) -> bool {
    let tables = status["tables"].as_array().map(Vec::as_slice).unwrap_or_default();
    !tables.is_empty() && tables.iter().all(|table| table["state"] == "following")
}
