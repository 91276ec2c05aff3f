//! What a call holds, as notes: of several about the same thing, the last one counts.

use std::collections::HashMap;

use understudy_contract::{
    Class, ComparedRoute, Failure, LedgerWrite, MismatchId, MismatchRecord, PassRecord, Resolution,
};
use understudy_model::{RouteId, TableName};

use super::forms::{
    Kept, RANGE, Times, UPTO, answer_of, ended_of, mismatch, mismatch_in, mismatch_of, range, range_of,
    request_of, route, route_of, upto,
};
use super::{DynamoVerifyLedger, Held, KnownRoute, journal, now_ms};
use crate::layout::Item;
use crate::state::{Fields, MIGRATION, Note, Notes, OF};

/// Notes in the making.
struct Making<'m> {
    routes: &'m [ComparedRoute],
    held: &'m mut Held,
    notes: Notes,
    now_ms: u64,
    /// Mismatches that have come to an end, as they are kept.
    kept: HashMap<MismatchId, Kept>,
    /// Requests that are answered.
    answered: Vec<u64>,
}

impl DynamoVerifyLedger {
    /// Writes all entries, or none.
    pub(super) async fn keep(&self, held: &mut Held, entries: &[LedgerWrite]) -> Result<(), Failure> {
        let kept = self.ending(entries).await?;
        let mut making = Making {
            routes: &self.routes,
            held,
            notes: Notes::new(),
            now_ms: now_ms(),
            kept,
            answered: Vec::new(),
        };
        entries.iter().try_for_each(|entry| making.entry(entry))?;
        let Making { held, mut notes, answered, .. } = making;
        notes.insert(UPTO.to_owned(), upto(&held.upto));
        journal::write(&self.state, &self.calls, notes).await?;
        answered.iter().for_each(|request| {
            held.told.remove(request);
        });
        Ok(())
    }

    /// The mismatches that entries end, as they are kept.
    async fn ending(&self, entries: &[LedgerWrite]) -> Result<HashMap<MismatchId, Kept>, Failure> {
        let key = |entry: &LedgerWrite| match entry {
            LedgerWrite::Resolved(id, _) => Some(*id),
            _ => None,
        };
        let mut ids = entries.iter().filter_map(key).collect::<Vec<_>>();
        ids.sort_unstable();
        ids.dedup();
        let key = |id: &MismatchId| {
            Fields::default().text(MIGRATION, &self.state.migration).text(OF, &mismatch_of(*id)).0
        };
        let items: Vec<Item> = self.calls.get_all(&self.state.table, ids.iter().map(key).collect()).await?;
        let mut kept = HashMap::new();
        for item in &items {
            let read = mismatch_in(item).ok_or_else(|| self.unreadable("a mismatch"))?;
            kept.insert(read.record.id, read);
        }
        Ok(kept)
    }
}

impl Making<'_> {
    fn entry(&mut self, entry: &LedgerWrite) -> Result<(), Failure> {
        match entry {
            LedgerWrite::Plan { route, fingerprint } => self.plan(*route, fingerprint)?,
            LedgerWrite::Range(of, record) => {
                let place = range_of(self.known(*of)?, record.sweep, record.range.after.as_ref());
                self.notes.insert(place, range(record, self.now_ms));
            }
            LedgerWrite::Forget(of, sweep, after) => {
                let place = range_of(self.known(*of)?, *sweep, after.as_ref());
                self.notes.insert(place, Note::Remove);
            }
            LedgerWrite::Pass(of, pass) => {
                let known = self.known(*of)?;
                let note = route(self.compared(*of)?, known, pass, self.now_ms);
                self.notes.insert(route_of(known.number), note);
            }
            LedgerWrite::ChangedUpto(lsn) => self.held.upto.changed = *lsn,
            LedgerWrite::Mismatch(record) => self.mismatch(record)?,
            LedgerWrite::Resolved(id, resolution) => self.resolve(*id, *resolution),
            LedgerWrite::Answered(request, answer) => {
                self.notes.insert(request_of(*request), Note::Remove);
                let note = Fields::default().text("answer", answer).number("answered_at_ms", self.now_ms).0;
                self.notes.insert(answer_of(*request), Note::Put(note));
                self.answered.push(*request);
            }
        }
        Ok(())
    }

    fn compared(&self, of: RouteId) -> Result<&ComparedRoute, Failure> {
        self.routes.iter().find(|one| one.route == of).ok_or_else(|| {
            Failure::new(Class::Internal, "an entry of the ledger is about a route that is not compared")
        })
    }

    fn known(&self, of: RouteId) -> Result<&KnownRoute, Failure> {
        self.held.known.get(&of).ok_or_else(|| {
            Failure::new(Class::Internal, "an entry of the ledger is about a route that is not planned")
        })
    }

    /// Ranges of an earlier plan count for nothing, and are taken away at the next claim.
    fn plan(&mut self, of: RouteId, fingerprint: &str) -> Result<(), Failure> {
        let before = self.held.known.get(&of).cloned();
        let number = before.as_ref().map_or(self.held.next, |before| before.number);
        self.held.next = self.held.next.max(number + 1);
        if let Some(before) = before {
            let own = format!("{RANGE}{:05}#{:016x}#", before.number, before.plan);
            self.notes.retain(|place, _| !place.starts_with(&own));
        }
        let known = KnownRoute { number, plan: rand::random(), fingerprint: fingerprint.to_owned() };
        let note = route(self.compared(of)?, &known, &PassRecord::default(), self.now_ms);
        self.notes.insert(route_of(number), note);
        self.held.known.insert(of, known);
        Ok(())
    }

    fn mismatch(&mut self, record: &MismatchRecord) -> Result<(), Failure> {
        let tables: (TableName, TableName) = {
            let compared = self.compared(record.route)?;
            (compared.source.clone(), compared.target.clone())
        };
        let now = self.now_ms;
        let before = self.held.times.get(&record.id).copied();
        let before = before.unwrap_or(Times { found: now, ..Times::default() });
        let times = Times {
            found: before.found,
            repair_asked: record.repair_asked.then(|| before.repair_asked.unwrap_or(now)),
            waived: record.waived.is_some().then(|| before.waived.unwrap_or(now)),
        };
        self.held.times.insert(record.id, times);
        self.held.upto.last_mismatch = self.held.upto.last_mismatch.max(record.id.0);
        let (source, target) = tables;
        let kept = Kept { record: record.clone(), source, target, times, resolved: None };
        self.notes.insert(mismatch_of(record.id), mismatch(&kept));
        self.notes.remove(&ended_of(record.id));
        self.kept.insert(record.id, kept);
        Ok(())
    }

    fn resolve(&mut self, id: MismatchId, resolution: Resolution) {
        let Some(mut kept) = self.kept.get(&id).cloned() else { return };
        kept.resolved = Some((resolution, self.now_ms));
        self.notes.insert(mismatch_of(id), Note::Remove);
        self.notes.insert(ended_of(id), mismatch(&kept));
        self.held.times.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::super::forms::{MISMATCH, REQUEST};
    use super::*;

    /// What people are told in the order of its numbers is read in that of its texts.
    #[test]
    fn numbers_sort_as_texts() {
        for (one, other) in [(9, 10), (99, 100), (0, u64::MAX)] {
            assert!(request_of(one) < request_of(other));
            assert!(mismatch_of(MismatchId(one)) < mismatch_of(MismatchId(other)));
        }
        assert!(request_of(1).starts_with(REQUEST) && mismatch_of(MismatchId(1)).starts_with(MISMATCH));
    }
}
