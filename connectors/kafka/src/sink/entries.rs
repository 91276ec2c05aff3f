//! What is recorded on its own: the start of a migration, planned and forgotten units, completed tables.

use understudy_contract::{Failure, LedgerEntry, Lineage, LoggedEntry, SavedUnit, Unit};
use understudy_model::{Checkpoint, RouteId, UnitId};

use super::KafkaSink;
use super::books::planned;
use super::groups::Tail;
use super::tables::Table;
use crate::codec::{StateRecord, Work};

/// The size of a heap block, where it was not recorded.
const BLOCK_BYTES: u32 = 8_192;

impl KafkaSink {
    pub(super) async fn write_beginning(
        &mut self,
        lineage: &Lineage,
        checkpoint: Checkpoint,
    ) -> Result<(), Failure> {
        self.ready().await?;
        self.books.lineage = Some(lineage.clone());
        (self.books.checkpoint, self.books.unseen) = (checkpoint, None);
        self.open = None;
        // Those that are to join later are followed when they do.
        let is_first = self.books.routes.is_empty();
        let followed =
            self.tables.iter().filter(|table| is_first || self.books.routes.contains_key(&table.route));
        let followed = followed.map(|table| (table.route, table.name.clone(), table.fingerprint.clone()));
        let followed = followed.collect::<Vec<_>>().into_iter();
        let state = followed.map(|(route, name, print)| self.books.follow(route, &name, &print)).collect();
        // Before there is a slot, nothing can be said of what blue holds.
        let reached = (checkpoint != Checkpoint::default()).then_some(checkpoint.lsn());
        self.write_bare(Work::None, &[], (Tail { reached, beats: Vec::new() }, state)).await
    }

    pub(super) async fn write_entry(&mut self, entry: &LedgerEntry) -> Result<(), Failure> {
        self.ready().await?;
        let route = match entry {
            LedgerEntry::Plan(unit) | LedgerEntry::Refresh(unit) => unit.route,
            LedgerEntry::Forget(unit) => unit.route,
            LedgerEntry::Complete(route) => *route,
        };
        let (place, table) = self.tables.of(route)?;
        let (name, id) = (table.name.clone(), table.id);
        let mut entries = Vec::new();
        if matches!(entry, LedgerEntry::Plan(_) | LedgerEntry::Complete(_)) {
            let joins = self.books.join(route).map(|is_void| LoggedEntry::Join { table: id, is_void });
            entries.extend(joins);
        }
        let (logged, state) = match entry {
            LedgerEntry::Plan(unit) => {
                let mut state = vec![self.follow(route, Some(false))?];
                state.extend(self.books.plan(&name, planned(unit)));
                (LoggedEntry::Plan(unit.clone()), state)
            }
            LedgerEntry::Refresh(unit) => {
                let state = self.books.refresh(&name, unit).into_iter().collect();
                (LoggedEntry::Refresh(unit.clone()), state)
            }
            LedgerEntry::Forget(unit) => {
                let logged = LoggedEntry::Forget { unit: unit.relation(), table: id };
                (logged, self.books.forget(&name, *unit))
            }
            LedgerEntry::Complete(route) => {
                (LoggedEntry::Complete { table: id }, vec![self.follow(*route, Some(true))?])
            }
        };
        entries.push(logged);
        self.notes.set_planned(route, self.books.planned_of(route));
        self.write_bare(Work::Entries(entries), &[place], (Tail::default(), state)).await
    }

    /// Records that a table is to be copied again from the start. From then on every claim finds its units as planned and
    /// none of their rows as copied.
    pub async fn start_again(&mut self, route: RouteId) -> Result<(), Failure> {
        let result = Box::pin(self.write_again(route)).await;
        result.map_err(|failure| failure.while_doing("record that a table is copied again"))
    }

    async fn write_again(&mut self, route: RouteId) -> Result<(), Failure> {
        self.ready().await?;
        let (place, table) = self.tables.of(route)?;
        let name = table.name.clone();
        let units = self.books.units_of(route);
        // Readers who do not follow the table yet are told that they can from here on: what a leaf by itself does not tell.
        let joins = units.first().map(|_| LoggedEntry::Join { table: table.id, is_void: false });
        let plans = units.iter().map(|unit| LoggedEntry::Plan(as_planned(table, unit)));
        let logged = joins.into_iter().chain(plans).collect::<Vec<_>>();
        let mut state = vec![self.follow(route, Some(false))?];
        for unit in units {
            state.extend(self.books.plan(&name, SavedUnit { done: Vec::new(), rows_done: 0, ..unit }));
        }
        let work = if logged.is_empty() { Work::None } else { Work::Entries(logged) };
        self.notes.set_planned(route, self.books.planned_of(route));
        self.write_bare(work, &[place], (Tail::default(), state)).await
    }

    /// Says in which state the tables are in the publication. It is recorded with each table as soon as that is followed.
    pub fn set_published(&mut self, published: Vec<(RouteId, String)>) {
        self.books.set_published(published);
    }

    /// Forgets that tables were ever followed, because changes of theirs were missed, and records the publication that they
    /// come through from now on.
    pub async fn forget_routes(&mut self, routes: &[RouteId], publication: &str) -> Result<(), Failure> {
        let result = Box::pin(self.write_forgotten(routes, publication)).await;
        result.map_err(|failure| failure.while_doing("record that tables join anew"))
    }

    async fn write_forgotten(&mut self, routes: &[RouteId], publication: &str) -> Result<(), Failure> {
        self.ready().await?;
        if let Some(lineage) = &mut self.books.lineage {
            lineage.publication = Some(publication.to_owned());
        }
        let (mut logged, mut state, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for route in routes {
            let (place, table) = self.tables.of(*route)?;
            let forget = |unit: SavedUnit| LoggedEntry::Forget { unit: unit.id.relation(), table: table.id };
            logged.extend(self.books.units_of(*route).into_iter().map(forget));
            state.extend(self.books.forget_route(&table.name, *route));
            self.notes.set_planned(*route, None);
            places.push(place);
        }
        let work = if logged.is_empty() { Work::None } else { Work::Entries(logged) };
        self.write_bare(work, &places, (Tail::default(), state)).await
    }

    /// Forgets the tables that the migration had and has no more. Only once blue is known to be the server that they were
    /// copied from: another one may have fewer tables.
    pub async fn forget_absent(&mut self) -> Result<(), Failure> {
        self.ready().await?;
        let state = self.books.forget_absent();
        if state.is_empty() {
            return Ok(());
        }
        let result = Box::pin(self.write_bare(Work::None, &[], (Tail::default(), state))).await;
        result.map_err(|failure| failure.while_doing("forget tables that the migration no longer has"))
    }

    /// A table as it is followed from here on.
    fn follow(&mut self, route: RouteId, complete: Option<bool>) -> Result<StateRecord, Failure> {
        let (_, table) = self.tables.of(route)?;
        let (name, fingerprint) = (table.name.clone(), table.fingerprint.clone());
        self.books.follow(route, &name, &fingerprint);
        if let Some(complete) = complete {
            self.books.set_complete(route, complete);
        }
        Ok(self.books.follow(route, &name, &fingerprint))
    }

    /// Writes a group without rows, and the bookkeeping that goes with it.
    async fn write_bare(
        &mut self,
        work: Work,
        places: &[usize],
        (tail, mut state): (Tail, Vec<StateRecord>),
    ) -> Result<(), Failure> {
        let mut groups = self.groups();
        groups.bare(work, places, tail)?;
        let (last, groups) = groups.finish();
        self.start(last, groups, &mut state)?;
        self.settle().await
    }
}

/// A unit as it was planned before. What was not recorded of it is of no concern to a reader.
fn as_planned(table: &Table, unit: &SavedUnit) -> Unit {
    Unit {
        id: unit.id,
        route: unit.route,
        root: UnitId::new(table.id.0, unit.route),
        name: unit.name.clone(),
        filenode: unit.filenode,
        fingerprint: unit.fingerprint,
        marks: unit.marks,
        membership: unit.membership,
        blocks: unit.blocks,
        block_bytes: BLOCK_BYTES,
        rows_estimate: None,
        identity: table.relation.identity,
        predicate: unit.predicate.clone(),
    }
}
