//! What the load's clients know of their operations, and the proof that green has each committed one exactly once.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use understudy_contract::{Class, Failure};
use understudy_postgres::wire::Client;

use super::operation::{OperationId, Tracked};

/// Every operation of a run, by what its client was told.
#[derive(Debug, Default)]
pub struct Record {
    /// Blue acknowledged the commit.
    committed: Vec<OperationId>,
    /// The connection broke before the answer: blue alone knows.
    in_doubt: Vec<OperationId>,
    /// Rolled back.
    rolled_back: Vec<OperationId>,
    /// The highest counter that was acknowledged for each tracked row.
    revisions: HashMap<(Tracked, i64), i64>,
    journal: Option<Journal>,
}

impl Record {
    /// An empty record that also writes committed operations to a journal.
    pub fn with_journal(journal: Option<Journal>) -> Record {
        Record { journal, ..Record::default() }
    }

    pub(super) fn committed(
        &mut self,
        id: OperationId,
        counter: Option<(Tracked, i64, i64)>,
    ) -> Result<(), Failure> {
        self.committed.push(id);
        if let Some((tracked, subject, revision)) = counter {
            let known = self.revisions.entry((tracked, subject)).or_default();
            *known = revision.max(*known);
        }
        match &self.journal {
            Some(journal) => journal.append(id),
            None => Ok(()),
        }
    }

    pub(super) fn in_doubt(&mut self, id: OperationId) {
        self.in_doubt.push(id);
    }

    pub(super) fn rolled_back(&mut self, id: OperationId) {
        self.rolled_back.push(id);
    }

    pub(super) fn absorb(&mut self, other: Record) {
        self.committed.extend(other.committed);
        self.in_doubt.extend(other.in_doubt);
        self.rolled_back.extend(other.rolled_back);
        for (row, revision) in other.revisions {
            let known = self.revisions.entry(row).or_default();
            *known = revision.max(*known);
        }
    }

    /// How many operations blue acknowledged.
    pub fn committed_count(&self) -> usize {
        self.committed.len()
    }

    /// Compares with the ledgers and the counters. The load has ended and green has caught up.
    pub async fn prove(&self, blue: &mut Client, green: &mut Client) -> Result<Proof, Failure> {
        let on_green = ledger(green, "SELECT operation, count(*) FROM store.operations GROUP BY 1").await?;
        let on_blue = ledger(blue, "SELECT operation, count(*) FROM shop.operations GROUP BY 1").await?;
        let times = |id: &OperationId, side: &HashMap<OperationId, u64>| side.get(id).copied().unwrap_or(0);
        let mut proof = Proof { recorded: self.committed.len() as u64, ..Proof::default() };
        for id in &self.committed {
            proof.lost += u64::from(times(id, &on_green) == 0);
        }
        for id in &self.in_doubt {
            proof.lost += u64::from(times(id, &on_green) < times(id, &on_blue));
            proof.phantoms += u64::from(times(id, &on_green) > times(id, &on_blue));
        }
        for id in &self.rolled_back {
            proof.phantoms += u64::from(times(id, &on_green) > 0);
        }
        proof.duplicated = on_green.values().filter(|times| **times > 1).count() as u64;
        proof.stale = self.stale(green).await?;
        Ok(proof)
    }

    /// Tracked rows on green whose counter is behind what blue acknowledged.
    async fn stale(&self, green: &mut Client) -> Result<u64, Failure> {
        let mut stale = 0;
        for tracked in [Tracked::Customer, Tracked::Article] {
            let mut on_green: HashMap<i64, i64> = HashMap::new();
            for row in green.query(tracked.on_green()).await? {
                on_green.insert(row.parse(0)?, row.parse(1)?);
            }
            let ours = self.revisions.iter().filter(|((of, _), _)| *of == tracked);
            let behind = |subject: &i64, known: &i64| on_green.get(subject).is_none_or(|there| there < known);
            stale += ours.filter(|((_, subject), known)| behind(subject, known)).count() as u64;
        }
        Ok(stale)
    }
}

async fn ledger(client: &mut Client, sql: &str) -> Result<HashMap<OperationId, u64>, Failure> {
    let rows = client.query(sql).await.map_err(|failure| failure.while_doing("read the ledger"))?;
    let mut times = HashMap::with_capacity(rows.len());
    for row in rows {
        times.insert(OperationId::from_raw(row.parse(0)?), row.parse(1)?);
    }
    Ok(times)
}

/// What became of the recorded operations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Proof {
    /// Operations that blue acknowledged.
    pub recorded: u64,
    /// Of those, and of those in doubt that blue has, how many green lacks.
    pub lost: u64,
    /// Operations that green has more than once.
    pub duplicated: u64,
    /// Operations that green has and that never committed on blue.
    pub phantoms: u64,
    /// Rows on green that are older than an update that blue acknowledged.
    pub stale: u64,
}

impl Proof {
    /// Whether every operation is there exactly once, and nothing else.
    pub const fn holds(&self) -> bool {
        self.lost == 0 && self.duplicated == 0 && self.phantoms == 0 && self.stale == 0
    }
}

/// A file to which each acknowledged operation is appended at once, shared by the clients.
#[derive(Debug, Clone)]
pub struct Journal(Arc<Mutex<File>>);

impl Journal {
    /// Opens the file, keeping what it holds.
    pub fn open(path: &Path) -> Result<Journal, Failure> {
        let file = File::options().create(true).append(true).open(path);
        let file = file.map_err(|error| unwritable(&format!("open {}: {error}", path.display())))?;
        Ok(Journal(Arc::new(Mutex::new(file))))
    }

    fn append(&self, id: OperationId) -> Result<(), Failure> {
        let line = format!("{}\n", id.raw());
        let mut file = self.0.lock().map_err(|_| unwritable("append: another client failed"))?;
        file.write_all(line.as_bytes()).map_err(|error| unwritable(&format!("append: {error}")))
    }
}

fn unwritable(what: &str) -> Failure {
    Failure::new(Class::Configuration, format!("the journal of operations: could not {what}"))
}
