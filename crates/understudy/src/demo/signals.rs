//! The signals that ask for the end, listened for from the start: as the first process of a container, a program
//! that does not listen is not even ended by them.

use tokio::signal::unix::{Signal, SignalKind, signal};
use understudy_contract::{Class, Failure};

/// Ctrl-C and SIGTERM.
#[derive(Debug)]
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Takes both over.
    pub(super) fn listen() -> Result<Signals, Failure> {
        let unusable =
            |error| Failure::new(Class::Internal, format!("could not listen for signals: {error}"));
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt()).map_err(unusable)?,
            terminate: signal(SignalKind::terminate()).map_err(unusable)?,
        })
    }

    /// Resolves when either arrives. Cancel-safe.
    pub(super) async fn any(&mut self) {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
