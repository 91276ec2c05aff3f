//! Child processes that never outlive the test process, with their output in files.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use crate::wait::until_within;

/// A signal to a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Ask to stop.
    Term,
    /// Ask to stop, as from a keyboard.
    Int,
    /// Ask to stop without cleaning up.
    Quit,
    /// Stop at once.
    Kill,
    /// Freeze.
    Stop,
    /// Go on after a freeze.
    Cont,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Signal::Term => "TERM",
            Signal::Int => "INT",
            Signal::Quit => "QUIT",
            Signal::Kill => "KILL",
            Signal::Stop => "STOP",
            Signal::Cont => "CONT",
        }
    }

    /// Sends it to a process by its id.
    pub fn send(self, pid: u32) -> bool {
        let command = format!("kill -{} {pid}", self.name());
        Command::new("sh").args(["-c", &command]).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
    }
}

/// How a child ended, with all that it printed.
#[derive(Debug)]
pub struct Exit {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

/// A running child. It is killed when this value goes.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// A child is killed when the thread that started it ends, so one thread that never ends starts them all.
type Order = (Command, SyncSender<std::io::Result<Child>>);

#[allow(clippy::disallowed_methods, reason = "a bounded channel between two threads of a test process")]
static SPAWNER: LazyLock<SyncSender<Order>> = LazyLock::new(|| {
    let (sender, receiver) = sync_channel::<Order>(1);
    thread::spawn(move || {
        for (mut command, reply) in receiver {
            reply.send(command.spawn()).ok();
        }
    });
    sender
});

impl Process {
    /// Starts `program` with additional environment variables. Its output goes to `<name>.out` and `<name>.err` in `folder`.
    pub fn start(
        name: &str,
        folder: &Path,
        program: &Path,
        args: &[&str],
        environment: &[(&str, &str)],
    ) -> Process {
        let stdout = folder.join(format!("{name}.out"));
        let stderr = folder.join(format!("{name}.err"));
        let append = |path: &Path| File::options().create(true).append(true).open(path).expect("open a log");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(args).envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(append(&stdout)).stderr(append(&stderr)).current_dir(folder);
        let (reply, answer) = sync_channel(1);
        SPAWNER.send((command, reply)).expect("the spawning thread lives");
        let child = answer.recv().expect("the spawning thread answers").unwrap_or_else(|error| {
            panic!("start {name} ({}): {error}", program.display());
        });
        Process { name: name.to_owned(), child, stdout, stderr }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        assert!(signal.send(self.pid()), "{} is gone: cannot send {signal:?}\n{}", self.name, self.errors());
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("wait for a child")
    }

    /// Waits until it has ended.
    pub async fn exit(&mut self, patience: Duration) -> Exit {
        let what = format!("{} ends", self.name);
        let status =
            until_within(patience, &what, async || self.child.try_wait().expect("wait for a child")).await;
        Exit { code: status.code(), stdout: self.output(), stderr: self.errors() }
    }

    /// Kills it and waits until it is gone. Whether it was still running.
    pub fn kill(&mut self) -> bool {
        self.child.kill().expect("kill a child");
        let status = self.child.wait().expect("wait for a child");
        status.signal() == Some(9)
    }

    /// What it wrote to standard output so far.
    pub fn output(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap_or_default()
    }

    /// What it wrote to standard error so far.
    pub fn errors(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// A field of /proc/PID/status that is given in kB, in bytes: `VmHWM` is the most memory that was ever resident.
    pub fn memory_bytes(&self, field: &str) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("read the child's status");
        let line = status.lines().find(|line| line.starts_with(field)).expect("a known field");
        let kilobytes: u64 = line.split_whitespace().nth(1).expect("a value").parse().expect("a number");
        kilobytes * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; either way nothing is left behind.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
