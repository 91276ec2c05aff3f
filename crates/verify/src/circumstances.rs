//! What verification has to know of the world around it: the clock, the copy, and how busy both sides are.

use std::collections::BTreeSet;
use std::future::Future;

use understudy_model::RouteId;

/// Milliseconds of a clock that never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Millis(pub u64);

impl Millis {
    /// Milliseconds from `earlier` to this moment; zero when it is not earlier.
    pub const fn since(self, earlier: Millis) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The caller's clock.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Millis;

    /// The next beat, every 20 ms. Cancel-safe.
    fn tick(&mut self) -> impl Future<Output = ()> + Send;
}

/// How busy blue is and how far green is behind, as last measured. `None` where it is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Sessions of others that are active on blue.
    pub active_sessions: Option<u64>,
    /// How far the furthest standby of blue is behind, in milliseconds.
    pub replica_lag_ms: Option<u64>,
    /// How far green is behind, in milliseconds.
    pub lag_ms: Option<u64>,
}

/// What verification has to know of the world around it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Circumstances {
    /// Routes whose first copy is not complete: nothing of them is compared. `None` while that is not known.
    pub incomplete: Option<BTreeSet<RouteId>>,
    /// How busy both sides are.
    pub load: Load,
}
