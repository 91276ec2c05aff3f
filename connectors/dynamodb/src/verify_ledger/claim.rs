//! Taking the ledger: by the process that owns the migration, and with everything that it holds.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use understudy_contract::{Class, Failure, Resolution, SavedComparison, SavedVerification};
use understudy_model::{Lsn, RouteId, TableName};

use super::forms::{
    MISMATCH, RANGE, ROUTE, UPTO, ended_of, mismatch, mismatch_in, range_in, route_in, upto_in,
};
use super::{DynamoVerifyLedger, Held, ended, journal, now_ms};
use crate::calls::{Calls, Written};
use crate::error::Error;
use crate::layout::{Guard, Item};
use crate::state::{Fields, MIGRATION, Note, Notes, OF, OWNER, Reading, State};

/// How often a claim is tried again because another one came between.
const CLAIMS_MOST: u32 = 8;

/// What the migration's own partition says.
struct Migration {
    /// The owner's token.
    owner: String,
    checkpoint: Lsn,
    /// The tables of routes of which the copy is not complete.
    incomplete: Vec<(TableName, TableName)>,
}

/// All items of the ledger whose sort key begins with a text.
pub(super) async fn pages(state: &State, calls: &Calls, beginning: &str) -> Result<Vec<Item>, Error> {
    let (mut all, mut from) = (Vec::new(), None);
    loop {
        let at = ((MIGRATION, state.migration.as_str()), (OF, beginning));
        let (items, next) = calls.beginning(&state.table, at, from).await?;
        all.extend(items);
        match next {
            Some(next) => from = Some(next),
            None => return Ok(all),
        }
    }
}

impl DynamoVerifyLedger {
    pub(super) async fn take_over(&mut self) -> Result<(SavedVerification, Held), Failure> {
        let migration = self.migration().await?;
        let ours = format!("{:016x}", self.instance);
        if migration.owner.get(16..) != Some(&ours) {
            let cause = "another instance owns the migration, and its verifier the ledger";
            return Err(Failure::new(Class::Transient, cause).remedy(
                "leave the other sidecar running, or stop it and wait until this one owns the migration",
            ));
        }
        self.take_token().await?;
        journal::recover(&self.state, &self.calls).await?;
        let mut held = Held::default();
        let routes = self.saved_routes(&migration, &mut held).await?;
        let mut saved = SavedVerification { routes, checkpoint: migration.checkpoint, ..Default::default() };
        saved.mismatches = self.saved_mismatches(&mut held).await?;
        if let Some(upto) = pages(&self.state, &self.calls, UPTO).await?.first() {
            held.upto = upto_in(upto).ok_or_else(|| self.unreadable("how far verification is"))?;
        }
        (saved.changed_upto, saved.last_mismatch) = (held.upto.changed, held.upto.last_mismatch);
        Ok((saved, held))
    }

    pub(super) fn unreadable(&self, what: &'static str) -> Error {
        Error::Unreadable { table: self.state.table.clone(), what }
    }

    async fn migration(&self) -> Result<Migration, Failure> {
        let key = Fields::default().text(MIGRATION, &self.migration).text(OF, OWNER).0;
        let owner = match self.calls.get(&self.state.table, key).await {
            Err(Error::NoTable { .. }) => None,
            owner => owner?,
        };
        let owner = owner.ok_or_else(ended)?;
        let reading = Reading(&owner);
        let mut found = Migration {
            owner: reading.text("token").unwrap_or_default().to_owned(),
            checkpoint: reading.number("checkpoint").map(Lsn::new).unwrap_or(Lsn::ZERO),
            incomplete: Vec::new(),
        };
        let books = State { migration: self.migration.clone(), ..self.state.clone() };
        for item in pages(&books, &self.calls, ROUTE).await? {
            let reading = Reading(&item);
            let tables = reading.table("source").zip(reading.table("target"));
            found.incomplete.extend(tables.filter(|_| reading.flag("complete") != Some(true)));
        }
        Ok(found)
    }

    /// Whoever held the ledger before writes nothing from here on.
    async fn take_token(&self) -> Result<(), Error> {
        let key = || Fields::default().text(MIGRATION, &self.state.migration).text(OF, OWNER);
        for _ in 0..CLAIMS_MOST {
            let holder = self.calls.get(&self.state.table, key().0).await?;
            let former = holder.as_ref().and_then(|holder| Reading(holder).text("token").map(str::to_owned));
            let names = |name: &str| HashMap::from([("#n".to_owned(), name.to_owned())]);
            let guard = match former {
                None => Guard {
                    condition: "attribute_not_exists(#n)".to_owned(),
                    names: names(MIGRATION),
                    values: HashMap::new(),
                },
                Some(former) => Guard {
                    condition: "#n = :former OR #n = :ours".to_owned(),
                    names: names("token"),
                    values: HashMap::from([
                        (":former".to_owned(), AttributeValue::S(former)),
                        (":ours".to_owned(), AttributeValue::S(self.state.token.clone())),
                    ]),
                },
            };
            let item = key().text("token", &self.state.token).0;
            match self.calls.put(&self.state.table, item, guard).await? {
                Written::Done(_) => return Ok(()),
                Written::Unmet(_) | Written::NoRoom => {}
            }
        }
        Err(Error::Unsteady { table: self.state.table.clone(), item: OWNER.to_owned() })
    }

    /// What is known of routes that the migration no longer has, or copies again, counts for nothing.
    async fn saved_routes(
        &self,
        migration: &Migration,
        held: &mut Held,
    ) -> Result<Vec<SavedComparison>, Failure> {
        let (now_ms, mut gone, mut routes) = (now_ms(), Notes::new(), Vec::<SavedComparison>::new());
        let mut of_plan = HashMap::new();
        for item in pages(&self.state, &self.calls, ROUTE).await? {
            let read = route_in(&item, now_ms).ok_or_else(|| self.unreadable("a route of verification"))?;
            let (known, pass, tables) = read;
            held.next = held.next.max(known.number + 1);
            let ours = self.routes.iter().find(|one| (&one.source, &one.target) == (&tables.0, &tables.1));
            match ours.filter(|_| !migration.incomplete.contains(&tables)) {
                Some(ours) => {
                    of_plan.insert((known.number, known.plan), routes.len());
                    let fingerprint = known.fingerprint.clone();
                    held.known.insert(ours.route, known);
                    routes.push(SavedComparison { route: ours.route, fingerprint, pass, ranges: Vec::new() });
                }
                None => {
                    let of = Reading(&item).text(OF).map(str::to_owned);
                    gone.extend(of.map(|of| (of, Note::Remove)));
                }
            }
        }
        for item in pages(&self.state, &self.calls, RANGE).await? {
            let of = Reading(&item).text(OF).unwrap_or_default().to_owned();
            let place = plan_in(&of).and_then(|plan| of_plan.get(&plan));
            let saved = place.and_then(|at| routes.get_mut(*at));
            match saved {
                Some(saved) => {
                    let range = range_in(&item, now_ms);
                    saved.ranges.push(range.ok_or_else(|| self.unreadable("a range of verification"))?);
                }
                None => gone.extend([(of, Note::Remove)]),
            }
        }
        self.state.write(&self.calls, gone).await?;
        Ok(routes)
    }

    async fn saved_mismatches(
        &self,
        held: &mut Held,
    ) -> Result<Vec<understudy_contract::MismatchRecord>, Failure> {
        let (mut found, mut gone) = (Vec::new(), Notes::new());
        for item in pages(&self.state, &self.calls, MISMATCH).await? {
            let kept = mismatch_in(&item);
            let mut kept = kept.ok_or_else(|| self.unreadable("a mismatch"))?;
            match self.route_of(held, &kept.source, &kept.target) {
                Some(route) => {
                    kept.record.route = route;
                    held.times.insert(kept.record.id, kept.times);
                    found.push(kept.record);
                }
                None => {
                    kept.resolved = Some((Resolution::Gone, now_ms()));
                    gone.extend([
                        (ended_of(kept.record.id), mismatch(&kept)),
                        (super::forms::mismatch_of(kept.record.id), Note::Remove),
                    ]);
                }
            }
        }
        // In the order of their names, those that have ended come before those that stand.
        self.state.write(&self.calls, gone).await?;
        Ok(found)
    }

    /// The route between two tables that the ledger knows.
    fn route_of(&self, held: &Held, source: &TableName, target: &TableName) -> Option<RouteId> {
        let ours = self.routes.iter().find(|one| (&one.source, &one.target) == (source, target))?;
        held.known.contains_key(&ours.route).then_some(ours.route)
    }
}

/// The route's number and the plan of a range, by its sort key.
pub(super) fn plan_in(of: &str) -> Option<(u32, u64)> {
    let mut parts = of.strip_prefix(RANGE)?.split('#');
    let number = parts.next()?.parse().ok()?;
    Some((number, u64::from_str_radix(parts.next()?, 16).ok()?))
}
