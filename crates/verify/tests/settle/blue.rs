//! A model of blue: versions of rows, transactions that are logged and become visible later, and snapshots.

use understudy_contract::BlueMoment;
use understudy_model::{Lsn, Snapshot, Xid};
use understudy_testkit::Dice;

/// Keys there are, on blue as well as on green.
pub(crate) const KEYS: u8 = 6;

/// Values there are: few, so that rows come back to what they were.
pub(crate) const VALUES: usize = 3;

/// One version of a row.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    pub(crate) blue: u8,
    pub(crate) green: u8,
    pub(crate) value: u8,
    pub(crate) creator: u64,
    pub(crate) address: usize,
    remover: Option<u64>,
}

/// A transaction that is not visible yet. It holds its locks until it is.
#[derive(Debug)]
struct Transaction {
    xid: u64,
    blue: Vec<u8>,
    green: Vec<u8>,
    /// Logged no sooner than this one: it takes a key that the other one gives up.
    after: Option<u64>,
    is_logged: bool,
}

/// One commit of the log: the keys it touched, with what they hold from then on. A marker touches none.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) end: u64,
    pub(crate) xid: Option<u64>,
    pub(crate) effects: Vec<(u8, Option<u8>)>,
}

/// How a world's blue goes about its keys.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ways {
    /// Keys on green are computed: rows change and exchange them.
    pub(crate) computed: bool,
    /// Nothing on blue keeps keys on green unique: one that a transaction gives up is taken before that is visible.
    pub(crate) loose: bool,
}

/// Blue.
#[derive(Debug)]
pub(crate) struct Blue {
    ways: Ways,
    next_xid: u64,
    end: u64,
    versions: Vec<Version>,
    open: Vec<Transaction>,
    pub(crate) log: Vec<Commit>,
    /// A key on green that nobody may touch.
    pub(crate) frozen: Option<u8>,
}

impl Blue {
    pub(crate) fn new(ways: Ways) -> Blue {
        let (versions, open, log) = (Vec::new(), Vec::new(), Vec::new());
        Blue { ways, next_xid: 10, end: 100, versions, open, log, frozen: None }
    }

    /// Begins a transaction, which does what it does at once; nobody can see it.
    pub(crate) fn begin(&mut self, dice: &mut Dice) {
        let key = if dice.percent(50) { 0 } else { dice.below(usize::from(KEYS)) as u8 };
        if self.is_locked(key) {
            return;
        }
        let xid = self.next_xid;
        let mut transaction =
            Transaction { xid, blue: vec![key], green: Vec::new(), after: None, is_logged: false };
        let done = match self.current(key) {
            None => self.insert(dice, key, &mut transaction),
            Some(at) => self.change(dice, at, &mut transaction),
        };
        if done {
            self.next_xid += 1;
            self.open.push(transaction);
        }
    }

    fn insert(&mut self, dice: &mut Dice, key: u8, transaction: &mut Transaction) -> bool {
        let Some(green) = self.free_key(dice, key, transaction) else {
            return false;
        };
        transaction.green.push(green);
        self.write(transaction.xid, key, green, dice.below(VALUES) as u8);
        true
    }

    fn change(&mut self, dice: &mut Dice, at: usize, transaction: &mut Transaction) -> bool {
        let Version { blue, green, value, .. } = self.versions[at].clone();
        if self.is_taken(green) {
            return false;
        }
        transaction.green.push(green);
        match dice.weighted(&[4, 3, if self.ways.computed { 4 } else { 0 }]) {
            0 => self.write(transaction.xid, blue, green, dice.below(VALUES) as u8),
            1 => {}
            _ if dice.percent(50) => {
                let Some(other) = self.partner(dice, blue) else {
                    return false;
                };
                let with = self.versions[other].clone();
                transaction.blue.push(with.blue);
                transaction.green.push(with.green);
                self.versions[other].remover = Some(transaction.xid);
                self.write(transaction.xid, with.blue, green, with.value);
                self.write(transaction.xid, blue, with.green, value);
            }
            _ => match self.free_key(dice, blue, transaction) {
                Some(free) => {
                    transaction.green.push(free);
                    self.write(transaction.xid, blue, free, value);
                }
                None => return false,
            },
        }
        self.versions[at].remover = Some(transaction.xid);
        true
    }

    fn write(&mut self, creator: u64, blue: u8, green: u8, value: u8) {
        let address = self.versions.len();
        self.versions.push(Version { blue, green, value, creator, address, remover: None });
    }

    /// A row other than this one, with a key of its own that nobody is at.
    fn partner(&self, dice: &mut Dice, blue: u8) -> Option<usize> {
        let other = dice.below(usize::from(KEYS)) as u8;
        let at = self.current(other).filter(|_| other != blue && !self.is_locked(other))?;
        (!self.is_taken(self.versions[at].green)).then_some(at)
    }

    /// A key on green that a row with this key on blue can get.
    fn free_key(&self, dice: &mut Dice, blue: u8, transaction: &mut Transaction) -> Option<u8> {
        let key = if self.ways.computed { dice.below(usize::from(KEYS)) as u8 } else { blue };
        let holders =
            self.versions.iter().filter(|version| version.green == key && version.remover.is_none());
        if holders.count() > 0 || self.frozen == Some(key) {
            return None;
        }
        let mut owners = self.open.iter().filter(|open| open.green.contains(&key));
        match (owners.next(), owners.next()) {
            (None, _) => Some(key),
            (Some(owner), None) if self.ways.loose => {
                transaction.after = Some(owner.xid);
                Some(key)
            }
            _ => None,
        }
    }

    fn is_taken(&self, green: u8) -> bool {
        self.frozen == Some(green) || self.open.iter().any(|open| open.green.contains(&green))
    }

    fn is_locked(&self, blue: u8) -> bool {
        self.open.iter().any(|open| open.blue.contains(&blue))
    }

    /// The row with this key that the next transaction to lock it finds.
    fn current(&self, blue: u8) -> Option<usize> {
        self.versions.iter().rposition(|version| version.blue == blue && version.remover.is_none())
    }

    /// Logs the commit of a transaction.
    pub(crate) fn commit(&mut self, dice: &mut Dice) {
        let is_ready = |open: &&Transaction| {
            let waits = |xid| self.open.iter().any(|other| other.xid == xid && !other.is_logged);
            !open.is_logged && !open.after.is_some_and(waits)
        };
        let ready: Vec<u64> = self.open.iter().filter(is_ready).map(|open| open.xid).collect();
        let Some(xid) = dice.pick(&ready).copied() else {
            return;
        };
        let Some(open) = self.open.iter_mut().find(|open| open.xid == xid) else {
            return;
        };
        open.is_logged = true;
        let left = |key: &u8| {
            let mut made = self.versions.iter().filter(|version| version.creator == xid);
            (*key, made.find(|version| version.green == *key).map(|version| version.value))
        };
        let effects = open.green.iter().map(left).collect();
        self.log(dice, Some(xid), effects);
    }

    /// Commits a marker.
    pub(crate) fn mark(&mut self, dice: &mut Dice) {
        self.log(dice, None, Vec::new());
    }

    fn log(&mut self, dice: &mut Dice, xid: Option<u64>, effects: Vec<(u8, Option<u8>)>) {
        self.end += 1 + dice.below(3) as u64;
        self.log.push(Commit { end: self.end, xid, effects });
    }

    /// Makes a transaction visible that has been logged: any, or where a key is frozen, so that time has to pass, the oldest.
    pub(crate) fn show(&mut self, dice: &mut Dice) {
        let logged = (0..self.open.len()).filter(|at| self.open[*at].is_logged).collect::<Vec<_>>();
        let at = if self.frozen.is_some() { logged.first() } else { dice.pick(&logged) };
        if let Some(at) = at {
            self.open.remove(*at);
        }
    }

    /// Whether a transaction has not become visible.
    pub(crate) fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// What a new snapshot can see, and where the log is.
    pub(crate) fn moment(&self) -> BlueMoment {
        let open: Vec<Xid> = self.open.iter().map(|open| Xid::new(open.xid)).collect();
        let xmax = Xid::new(self.next_xid);
        let xmin = open.iter().min().copied().unwrap_or(xmax);
        BlueMoment { snapshot: Snapshot::new(xmin, xmax, open), lsn: Lsn::new(self.end) }
    }

    /// The versions that a snapshot shows.
    pub(crate) fn visible<'b>(&'b self, snapshot: &'b Snapshot) -> impl Iterator<Item = &'b Version> {
        let sees = |xid| snapshot.sees(Xid::new(xid));
        self.versions.iter().filter(move |one| sees(one.creator) && !one.remover.is_some_and(sees))
    }
}
