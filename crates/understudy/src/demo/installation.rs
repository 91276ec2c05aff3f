//! Finds the Postgres server programs on this machine, and the account that may run them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use understudy_contract::{Class, Failure};

/// The oldest release that is supported.
pub const OLDEST_MAJOR: u32 = 14;

/// Names one directory of server programs and leaves all others aside.
pub const BIN_VARIABLE: &str = "UNDERSTUDY_POSTGRES_BIN";

/// The server programs of one Postgres release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    bin: PathBuf,
    major: u32,
    minor: u32,
    account: Account,
}

impl Installation {
    /// The newest release on this machine.
    pub fn newest() -> Result<Installation, Failure> {
        let mut found = Installation::all()?;
        if found.is_empty() {
            Err(nothing_found("no Postgres server from 14 on was found"))
        } else {
            Ok(found.remove(0))
        }
    }

    /// The newest minor of one major release.
    pub fn of_major(major: u32) -> Result<Installation, Failure> {
        let found = Installation::all()?.into_iter().find(|each| each.major == major);
        found.ok_or_else(|| nothing_found(&format!("no Postgres {major} server was found")))
    }

    /// Every release that can be run from here, the newest first.
    pub fn all() -> Result<Vec<Installation>, Failure> {
        let account = Account::choose()?;
        let mut found: Vec<Installation> = Vec::new();
        for bin in candidates() {
            let Some((major, minor)) = version_of(&bin, &account) else {
                continue;
            };
            if major >= OLDEST_MAJOR
                && bin.join("initdb").exists()
                && !found.iter().any(|each| each.bin == bin)
            {
                found.push(Installation { bin, major, minor, account: account.clone() });
            }
        }
        found.sort_by_key(|each| std::cmp::Reverse((each.major, each.minor)));
        Ok(found)
    }

    /// Major and minor, as in 18.4.
    pub const fn version(&self) -> (u32, u32) {
        (self.major, self.minor)
    }

    /// Where its programs are.
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// Who runs them.
    pub(super) const fn account(&self) -> &Account {
        &self.account
    }

    /// One of its programs, ready to run under the account and to end when we do.
    pub(super) fn command(&self, program: &str) -> Command {
        self.account.command(&self.bin.join(program))
    }
}

/// Whom a server runs as: Postgres refuses the super-user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Account {
    /// Ourselves, an ordinary user.
    Own,
    /// Another account, since we are the super-user.
    Other {
        /// Its name.
        name: String,
        /// Its user id.
        uid: u32,
        /// Its group id.
        gid: u32,
    },
}

impl Account {
    fn choose() -> Result<Account, Failure> {
        if !we_are_root() {
            return Ok(Account::Own);
        }
        let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        ["postgres", "nobody"].iter().find_map(|name| entry(&accounts, name)).ok_or_else(|| {
            Failure::new(
                Class::Configuration,
                "Postgres refuses to run as root, and there is no other account",
            )
            .remedy("run the command as an ordinary user, or add an account named postgres")
        })
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = match (self, has_setpriv()) {
            (Account::Own, false) => Command::new(program),
            (Account::Own, true) => setpriv(&[], "QUIT", program),
            (Account::Other { uid, gid, .. }, true) => {
                let drop_rights =
                    [format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".to_owned()];
                setpriv(&drop_rights, "QUIT", program)
            }
            (Account::Other { name, .. }, false) => {
                let mut command = Command::new("runuser");
                command.args(["-u", name, "--"]).arg(program);
                command
            }
        };
        // The account may not be allowed into our own directory.
        command.current_dir("/").stdin(Stdio::null()).env_remove("PGDATA").env_remove("PGPORT");
        command
    }
}

/// A program that the kernel sends `signal` when we die, however we die.
pub(super) fn tied_to_us(program: &Path, signal: &str) -> Command {
    if has_setpriv() { setpriv(&[], signal, program) } else { Command::new(program) }
}

fn setpriv(rights: &[String], signal: &str, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(rights).args(["--pdeathsig", signal, "--"]).arg(program);
    command
}

fn has_setpriv() -> bool {
    on_path("setpriv").is_some()
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file())
}

/// The user id of the calling process, as the kernel reports it.
fn we_are_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    ids.and_then(|ids| ids.split_whitespace().nth(1)) == Some("0")
}

fn entry(accounts: &str, name: &str) -> Option<Account> {
    let mut fields = accounts.lines().map(|line| line.split(':')).find_map(|mut fields| {
        let found = fields.next() == Some(name);
        found.then_some(fields)
    })?;
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some(Account::Other { name: name.to_owned(), uid, gid })
}

/// Directories that may hold server programs.
fn candidates() -> Vec<PathBuf> {
    if let Some(bin) = std::env::var_os(BIN_VARIABLE) {
        return vec![PathBuf::from(bin)];
    }
    let mut found = Vec::new();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").stderr(Stdio::null()).output() {
        found.push(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    found.extend(on_path("postgres").and_then(|file| file.parent().map(Path::to_owned)));
    found.extend(bins_below(Path::new("/usr/lib/postgresql"), ""));
    found.extend(bins_below(Path::new("/usr"), "pgsql-"));
    if let Ok(here) = std::env::current_dir() {
        for directory in here.ancestors() {
            found.extend(bins_below(&directory.join(".servers"), "postgres-"));
        }
    }
    // Links to a program count as the directory that it stands in.
    let real = found.iter().filter_map(|bin| bin.join("postgres").canonicalize().ok());
    real.filter_map(|program| program.parent().map(Path::to_owned)).collect()
}

fn bins_below(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(parent) else {
        return Vec::new();
    };
    let wanted = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    wanted.map(|entry| entry.path().join("bin")).filter(|bin| bin.join("postgres").exists()).collect()
}

/// Asks the server program under the account that will run it: what the account cannot reach does not count.
fn version_of(bin: &Path, account: &Account) -> Option<(u32, u32)> {
    let output =
        account.command(&bin.join("postgres")).arg("--version").stderr(Stdio::null()).output().ok()?;
    parse_version(&String::from_utf8_lossy(&output.stdout))
}

/// `postgres (PostgreSQL) 18.4` and `postgres (PostgreSQL) 15.15 (Debian 15.15-0+deb12u1)`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let version = text.split_whitespace().nth(2)?;
    let mut parts = version.split(|c: char| !c.is_ascii_digit());
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
    Some((major, minor))
}

fn nothing_found(what: &str) -> Failure {
    Failure::new(Class::Configuration, what).remedy(format!(
        "install one (Debian and Ubuntu: apt install postgresql; Fedora: dnf install postgresql-server), \
         or name the directory of its programs in {BIN_VARIABLE}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_the_packages_print_them() {
        assert_eq!(parse_version("postgres (PostgreSQL) 18.4\n"), Some((18, 4)));
        assert_eq!(parse_version("postgres (PostgreSQL) 15.15 (Debian 15.15-0+deb12u1)"), Some((15, 15)));
        assert_eq!(parse_version("postgres (PostgreSQL) 19beta1"), Some((19, 0)));
        assert_eq!(parse_version("command not found"), None);
    }

    #[test]
    fn accounts_are_found_by_whole_name() {
        let accounts =
            "root:x:0:0:root:/root:/bin/bash\npostgres2:x:7:7::/:/bin/sh\npostgres:x:101:104::/:/bin/sh\n";
        let expected = Account::Other { name: "postgres".to_owned(), uid: 101, gid: 104 };
        assert_eq!(entry(accounts, "postgres"), Some(expected));
        assert_eq!(entry(accounts, "nobody"), None);
    }
}
