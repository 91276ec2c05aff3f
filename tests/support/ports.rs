//! Ports that stay ours across restarts of what listens on them.

use understudy::demo::port;

/// A port on the loopback interface, reserved among all our processes of this machine.
#[derive(Debug)]
pub struct Port(port::Port);

impl Port {
    /// Reserves a free port.
    pub fn reserve() -> Port {
        Port(port::Port::reserve().unwrap_or_else(|failure| panic!("reserve a port: {failure}")))
    }

    /// The port's number.
    pub const fn number(&self) -> u16 {
        self.0.number()
    }
}
