//! Ports that stay ours across restarts of what listens on them.

use std::fs::{self, File};
use std::net::TcpListener;

use rand::RngExt;

/// Below the range from which the kernel hands out ports, so that no client connection takes one in between.
const RANGE: std::ops::Range<u16> = 20_000..30_000;

/// A port on the loopback interface, reserved among all test processes of this machine by a locked file.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// Reserves a free port.
    pub fn reserve() -> Port {
        let folder = std::env::temp_dir().join("understudy-ports");
        fs::create_dir_all(&folder).expect("create the folder of port locks");
        for _ in 0..1000 {
            let number = rand::rng().random_range(RANGE);
            let lock = File::create(folder.join(number.to_string())).expect("create a port lock");
            if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", number)).is_ok() {
                return Port { number, _lock: lock };
            }
        }
        panic!("no free port among {RANGE:?}");
    }

    /// The port's number.
    pub fn number(&self) -> u16 {
        self.number
    }
}
