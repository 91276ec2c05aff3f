//! A proxy in front of the server: what goes wrong with which calls, and how many there were.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::{Dynamo, relay};

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The table has no capacity left: refused with `ProvisionedThroughputExceededException`.
    Exceeded,
    /// One partition is asked for too much: refused with the same, and with that reason.
    Hot,
    /// Too many calls at once: refused with `ThrottlingException`.
    Throttled,
    /// Refused with `ExpiredTokenException`.
    Expired,
    /// Refused as an error of the server, which has done nothing.
    ServerError,
    /// A part of the batch is not done, and said not to be. Other calls than those on batches are left alone.
    Unprocessed,
    /// The connection is reset, and nothing is done.
    Reset,
    /// The connection is reset once it is done.
    ResetAfter,
    /// It is done, and the answer never comes.
    Swallowed,
    /// No answer comes, and it is done only so much later.
    Late(Duration),
    /// It is done, and the answer comes so much later.
    Slow(Duration),
}

impl Fault {
    /// Its name in the counts.
    pub const fn name(self) -> &'static str {
        match self {
            Fault::Exceeded => "exceeded",
            Fault::Hot => "hot",
            Fault::Throttled => "throttled",
            Fault::Expired => "expired",
            Fault::ServerError => "server_error",
            Fault::Unprocessed => "unprocessed",
            Fault::Reset => "reset",
            Fault::ResetAfter => "reset_after",
            Fault::Swallowed => "swallowed",
            Fault::Late(_) => "late",
            Fault::Slow(_) => "slow",
        }
    }

    fn concerns(self, operation: &str) -> bool {
        self != Fault::Unprocessed || matches!(operation, "BatchWriteItem" | "BatchGetItem")
    }
}

/// Which of the calls that a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// So many, from now on.
    Next(u32),
    /// About one of so many, drawn by the proxy's seed.
    OneIn(u32),
    /// All.
    Always,
}

/// The calls of one operation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Calls {
    /// How many came.
    pub came: u64,
    /// How many of them were given to the server, and answered by it.
    pub done: u64,
    /// What went wrong with them, by [`Fault::name`].
    pub faults: BTreeMap<&'static str, u64>,
    /// Capacity units that the server counted for them.
    pub units: f64,
}

/// A proxy on a port of its own. It is gone with this value, and so are calls that are late.
#[derive(Debug)]
pub struct DynamoProxy {
    address: SocketAddr,
    state: Shared,
    _serving: JoinSet<()>,
}

/// What connections share.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) server: u16,
    state: Arc<Mutex<State>>,
    /// Calls that are late. They outlive the connection that they came by.
    late: Arc<Mutex<JoinSet<()>>>,
}

#[derive(Debug)]
struct State {
    rules: Vec<Rule>,
    calls: BTreeMap<String, Calls>,
    dice: StdRng,
}

#[derive(Debug)]
struct Rule {
    operation: Option<String>,
    fault: Fault,
    when: When,
}

impl DynamoProxy {
    /// A proxy through which everything passes until rules are added. The seed decides which calls a [`When::OneIn`] means, and
    /// which parts of batches are left undone.
    pub async fn start(dynamo: &Dynamo, seed: u64) -> DynamoProxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("the proxy's address");
        let dice = StdRng::seed_from_u64(seed);
        let state = State { rules: Vec::new(), calls: BTreeMap::new(), dice };
        let state =
            Shared { server: dynamo.port(), state: Arc::new(Mutex::new(state)), late: Arc::default() };
        let mut serving = JoinSet::new();
        serving.spawn(relay::serve(listener, state.clone()));
        DynamoProxy { address, state, _serving: serving }
    }

    /// Its address, for `endpoint`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on this goes wrong with these calls of an operation, by its name in the protocol; `None`: of any. Of several
    /// rules that a call meets, the one added first counts.
    pub fn fail(&self, operation: Option<&str>, fault: Fault, when: When) {
        let operation = operation.map(str::to_owned);
        self.state.lock().rules.push(Rule { operation, fault, when });
    }

    /// From now on nothing goes wrong, but for what is late already.
    pub fn heal(&self) {
        self.state.lock().rules.clear();
    }

    /// How many calls are late, and not done yet.
    pub fn late(&self) -> usize {
        let mut late = self.state.late.lock().unwrap_or_else(PoisonError::into_inner);
        while late.try_join_next().is_some() {}
        late.len()
    }

    /// The calls of an operation so far.
    pub fn calls(&self, operation: &str) -> Calls {
        self.state.lock().calls.get(operation).cloned().unwrap_or_default()
    }

    /// All calls so far, by operation.
    pub fn all_calls(&self) -> BTreeMap<String, Calls> {
        self.state.lock().calls.clone()
    }

    /// Counts from zero again.
    pub fn count_anew(&self) {
        self.state.lock().calls.clear();
    }

    /// How often something went wrong so far, over all operations.
    pub fn faults(&self, name: &str) -> u64 {
        self.state.lock().calls.values().filter_map(|calls| calls.faults.get(name)).sum()
    }
}

impl Shared {
    /// A call has come: what is to go wrong with it.
    pub(super) fn meet(&self, operation: &str) -> Option<Fault> {
        let State { rules, calls, dice } = &mut *self.lock();
        let fault = rules.iter_mut().find_map(|rule| rule.strikes(operation, dice));
        rules.retain(|rule| rule.when != When::Next(0));
        let calls = calls.entry(operation.to_owned()).or_default();
        calls.came += 1;
        if let Some(fault) = fault {
            *calls.faults.entry(fault.name()).or_default() += 1;
        }
        fault
    }

    /// The server has answered a call.
    pub(super) fn answered(&self, operation: &str, units: f64) {
        let mut state = self.lock();
        let calls = state.calls.entry(operation.to_owned()).or_default();
        calls.done += 1;
        calls.units += units;
    }

    /// A coin.
    pub(super) fn toss(&self) -> bool {
        self.lock().dice.random_bool(0.5)
    }

    /// Does something that outlives the connection.
    pub(super) fn later(&self, doing: impl Future<Output = ()> + Send + 'static) {
        self.late.lock().unwrap_or_else(PoisonError::into_inner).spawn(doing);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rule {
    fn strikes(&mut self, operation: &str, dice: &mut StdRng) -> Option<Fault> {
        let is_meant = self.operation.as_deref().is_none_or(|meant| meant == operation);
        if !is_meant || !self.fault.concerns(operation) {
            return None;
        }
        let strikes = match &mut self.when {
            When::Always => true,
            When::OneIn(many) => dice.random_range(0..(*many).max(1)) == 0,
            When::Next(0) => false,
            When::Next(left) => {
                *left -= 1;
                true
            }
        };
        strikes.then_some(self.fault)
    }
}
