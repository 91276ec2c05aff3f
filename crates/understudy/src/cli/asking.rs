//! What the verbs share that read the ledger of verification on green and leave requests there for the sidecar.

use std::io::{IsTerminal as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use understudy_contract::{Ask, Failure};
use understudy_model::TableName;

use super::exit::{CliError, Exit};
use super::ledger::Ledger;
use super::sides::load;
use crate::settings::{self, Settings};

/// How long a running sidecar may take to answer a request.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// How often green is looked at while something is awaited.
pub(super) const GLANCE: Duration = Duration::from_millis(250);

/// How often progress is told where it cannot be written over.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// The migration of a file, and the ledger on its green.
pub(super) struct Books {
    pub(super) file: String,
    pub(super) settings: Settings,
    pub(super) ledger: Ledger,
}

impl Books {
    /// Reads the file and connects to green, in the name of a verb.
    pub(super) async fn open(file: &Path, verb: &str) -> Result<Books, CliError> {
        let settings = load(file)?;
        let file = file.display().to_string();
        let name = settings.name.application_name(verb);
        let ledger = Ledger::connect(&settings, &name).await;
        let ledger = ledger.map_err(|failure| CliError::of(&failure, &file))?;
        Ok(Books { file, settings, ledger })
    }

    /// The migration's name.
    pub(super) fn migration(&self) -> &str {
        self.settings.name.as_str()
    }

    /// A failure of green, as the user reads it.
    pub(super) fn failed(&self, failure: &Failure) -> CliError {
        CliError::of(failure, &self.file)
    }

    /// Leaves a request and waits for its answer. One that nobody takes is withdrawn, so that it is not carried out at some
    /// later time when nobody expects it any more.
    pub(super) async fn ask(&mut self, ask: &Ask) -> Result<String, CliError> {
        let request = self.ledger.ask(ask, &os_user()).await;
        let request = request.map_err(|failure| self.failed(&failure))?;
        let deadline = Instant::now() + ANSWER_PATIENCE;
        loop {
            let answer = self.ledger.answer(request).await;
            if let Some(answer) = answer.map_err(|failure| self.failed(&failure))? {
                return Ok(answer);
            }
            if Instant::now() >= deadline {
                break;
            }
            sleep(GLANCE).await;
        }
        let withdrawn = self.ledger.withdraw(request).await;
        if let Some(answer) = withdrawn.map_err(|failure| self.failed(&failure))? {
            return Ok(answer);
        }
        let what = format!(
            "no sidecar of migration {} has answered within {} s; the request was withdrawn",
            self.settings.name,
            ANSWER_PATIENCE.as_secs()
        );
        Err(CliError::new(Exit::Internal, what, format!("understudy run {}", self.file))
            .remedy("is one running, and does `verify.enabled` of its migration file say true?"))
    }

    /// Ends the connection in order.
    pub(super) async fn close(self) {
        self.ledger.close().await;
    }
}

/// Reads names of tables as they were typed.
pub(super) fn tables(typed: &[String], file: &str, verb: &str) -> Result<Vec<TableName>, CliError> {
    let table = |text: &String| {
        settings::table_name(text).ok_or_else(|| {
            let what = format!("--table {text}: not of the form schema.table");
            CliError::new(Exit::Configuration, what, format!("understudy {verb} {file} --help"))
        })
    };
    typed.iter().map(table).collect()
}

/// Whether a route is among those that were asked for; without any, every one is.
pub(super) fn is_wanted(wanted: &[TableName], source: &TableName, target: &TableName) -> bool {
    wanted.is_empty() || wanted.contains(source) || wanted.contains(target)
}

/// Where the sidecar of this migration is asked from this machine.
pub(super) fn control_address(settings: &Settings) -> String {
    let mut listen = settings.control.listen;
    if listen.ip().is_unspecified() {
        listen.set_ip(match listen.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    listen.to_string()
}

/// Who runs this program, by the name that the system has for them.
pub(super) fn os_user() -> String {
    let named = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    named.filter(|name| !name.is_empty()).unwrap_or_else(|| {
        use std::os::unix::fs::MetadataExt as _;
        // Containers set no variable, and often know no name.
        let Ok(uid) = std::fs::metadata("/proc/self").map(|own| own.uid()) else {
            return "unknown".to_owned();
        };
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        name_of(uid, &passwd).unwrap_or_else(|| format!("uid {uid}"))
    })
}

fn name_of(uid: u32, passwd: &str) -> Option<String> {
    let mut lines = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let of = lines.find(|line| line.get(2).is_some_and(|number| number.parse() == Ok(uid)));
    Some((*of?.first()?).to_owned())
}

/// A number of milliseconds for people: `42s`, `3m 5s`, `2h 10m`, `3d 4h`.
pub(super) fn span(ms: u64) -> String {
    let seconds = ms / 1_000;
    match (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, s) => format!("{s}s"),
        (0, 0, m, s) => format!("{m}m {s}s"),
        (0, h, m, _) => format!("{h}h {m}m"),
        (d, h, ..) => format!("{d}d {h}h"),
    }
}

/// The same for programs.
pub(super) fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}

/// Progress on stderr: written over on a terminal, now and then a line elsewhere.
pub(super) struct Progress {
    over: bool,
    told: Option<Instant>,
}

impl Progress {
    pub(super) fn new() -> Progress {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Progress { over: std::io::stderr().is_terminal() && !dumb, told: None }
    }

    /// Tells how far something is, unless it is too early to say so again.
    pub(super) fn tell(&mut self, how_far: impl FnOnce() -> String) {
        if !self.over && self.told.is_some_and(|told| told.elapsed() < PROGRESS_EVERY) {
            return;
        }
        self.told = Some(Instant::now());
        let mut err = std::io::stderr().lock();
        // A terminal that went away changes nothing about the outcome.
        let _ = if self.over { write!(err, "\r\x1b[K{}", how_far()) } else { writeln!(err, "{}", how_far()) };
        let _ = err.flush();
    }

    /// Leaves the line to whoever writes next.
    pub(super) fn end(self) {
        if self.over && self.told.is_some() {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short() {
        let spans = [999, 42_000, 185_000, 7_800_000, 273_600_000].map(span);
        assert_eq!(spans, ["0s", "42s", "3m 5s", "2h 10m", "3d 4h"]);
    }

    /// A waiver names who is answerable for it.
    #[test]
    fn users_are_named_by_the_system() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nana:x:1000:1000::/home/ana:/bin/sh\n";
        assert_eq!(name_of(1000, passwd).as_deref(), Some("ana"));
        assert_eq!(name_of(7, passwd), None);
    }

    #[test]
    fn tables_are_chosen_by_either_name() {
        let (blue, green) = (TableName::new("public", "users"), TableName::new("app", "customers"));
        assert!(is_wanted(&[], &blue, &green));
        assert!(is_wanted(std::slice::from_ref(&green), &blue, &green));
        assert!(!is_wanted(&[TableName::new("public", "orders")], &blue, &green));
        assert_eq!(tables(&["users".to_owned()], "a.yaml", "verify").unwrap_err().exit, Exit::Configuration);
    }
}
