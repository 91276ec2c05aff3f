//! Ports on loopback that stay ours from the moment they are chosen, across restarts of what listens on them.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rand::RngExt;
use understudy_contract::{Class, Failure};

/// Below the range that the kernel hands out: no client's connection takes one in between, and a client that tries
/// again and again cannot meet itself there.
const RANGE: std::ops::Range<u16> = 10_000..30_000;

/// How many ports are looked at before it gives up.
const TRIES: usize = 1000;

/// A port on the loopback interface, reserved among all our processes on this machine for as long as this value lives.
#[derive(Debug)]
pub struct Port {
    number: u16,
    /// Locked. The kernel lets go of it when the process ends, however it ends.
    _reservation: File,
}

impl Port {
    /// Reserves a port that nobody listens on.
    ///
    /// # Errors
    /// No port was free, or the folder of the reservations below the temporary directory cannot be written.
    pub fn reserve() -> Result<Port, Failure> {
        let folder = std::env::temp_dir().join("understudy-ports");
        share(&folder).map_err(|error| {
            let what = format!("could not create the directory {}: {error}", folder.display());
            Failure::new(Class::Configuration, what)
        })?;
        let mut tries = std::iter::repeat_with(|| rand::rng().random_range(RANGE)).take(TRIES);
        tries.find_map(|number| Port::take(&folder, number)).ok_or_else(|| {
            let what = format!("no free port on loopback between {} and {}", RANGE.start, RANGE.end);
            Failure::new(Class::Transient, what)
        })
    }

    /// The port's number.
    pub const fn number(&self) -> u16 {
        self.number
    }

    /// The reservation comes first: whoever has it is the only one of us who looks whether the port is free.
    fn take(folder: &Path, number: u16) -> Option<Port> {
        let path = folder.join(number.to_string());
        let ours = File::options().write(true).create(true).truncate(false).open(&path);
        // A file of another account can be read, which is enough to lock it.
        let reservation = ours.or_else(|_| File::open(&path)).ok()?;
        reservation.try_lock().ok()?;
        TcpListener::bind(("127.0.0.1", number)).ok()?;
        Some(Port { number, _reservation: reservation })
    }
}

/// Makes the folder, in which every account may reserve.
fn share(folder: &Path) -> std::io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards servers that are set up at the same time: a port that is chosen, but not yet listened on, is nobody else's.
    #[test]
    fn a_reserved_port_is_not_given_twice() {
        let folder = std::env::temp_dir().join(format!("understudy-ports-of-a-test-{}", std::process::id()));
        share(&folder).unwrap();
        let numbers = RANGE.start..RANGE.end;
        let first =
            numbers.into_iter().find_map(|number| Port::take(&folder, number)).expect("one port is free");
        let number = first.number();
        assert!(Port::take(&folder, number).is_none(), "it is reserved");
        drop(first);
        assert!(Port::take(&folder, number).is_some(), "it is free again");
        fs::remove_dir_all(&folder).unwrap();
    }
}
