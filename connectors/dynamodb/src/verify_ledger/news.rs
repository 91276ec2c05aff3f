//! What happened since the last look: requests that wait, and rows that the stream found not to be as promised.
//!
//! Surprises of one batch are recorded in any order, and all of them before the checkpoint that follows it. So those before the
//! checkpoint are told, in the order of their places in blue's log. Each look is at one route after the other, a few at a time.

use std::collections::HashSet;

use understudy_contract::{Failure, LedgerNews, MismatchKind, Request, RowName};
use understudy_model::{Lsn, RouteId};

use super::claim::pages;
use super::forms::{REQUEST, ask_in};
use super::{DynamoVerifyLedger, Held};
use crate::error::Error;
use crate::layout::Item;
use crate::state::{Fields, MIGRATION, OF, OWNER, Reading};

/// How many routes are looked at in one go.
const ROUTES_AT_ONCE: usize = 8;

impl DynamoVerifyLedger {
    pub(super) async fn look_for_news(&self, held: &mut Held) -> Result<LedgerNews, Failure> {
        let mut news = LedgerNews::default();
        let mut waiting = HashSet::new();
        for item in pages(&self.state, &self.calls, REQUEST).await? {
            let number = Reading(&item).text(OF).and_then(|of| of.strip_prefix(REQUEST)?.parse().ok());
            let Some(id) = number else { continue };
            waiting.insert(id);
            if held.told.contains(&id) {
                continue;
            }
            match ask_in(&item) {
                Some(ask) => news.requests.push(Request { id, ask }),
                None => {
                    tracing::warn!(
                        request = id,
                        "a request in the ledger is not one that this program knows"
                    );
                }
            }
        }
        held.told = waiting;
        self.surprises(held, &mut news).await?;
        Ok(news)
    }

    async fn surprises(&self, held: &mut Held, news: &mut LedgerNews) -> Result<(), Failure> {
        let key = Fields::default().text(MIGRATION, &self.migration).text(OF, OWNER).0;
        let owner = self.calls.get(&self.state.table, key).await?.ok_or_else(super::ended)?;
        let Some(checkpoint) = Reading(&owner).number::<u64>("checkpoint") else { return Ok(()) };
        for _ in 0..ROUTES_AT_ONCE.min(self.routes.len()) {
            held.turn = (held.turn + 1) % self.routes.len();
            let Some(route) = self.routes.get(held.turn).map(|route| route.route) else { continue };
            let Some(number) = self.number(held, route).await? else { continue };
            self.of_route(held, (route, number), Lsn::new(checkpoint), news).await?;
        }
        Ok(())
    }

    /// The number of a route in the migration's own partition.
    async fn number(&self, held: &mut Held, route: RouteId) -> Result<Option<u32>, Failure> {
        if let Some(number) = held.numbers.get(&route) {
            return Ok(Some(*number));
        }
        let books = crate::state::State { migration: self.migration.clone(), ..self.state.clone() };
        for item in pages(&books, &self.calls, "route#").await? {
            let reading = Reading(&item);
            let tables = reading.table("source").zip(reading.table("target"));
            let ours = tables.and_then(|(source, target)| {
                self.routes.iter().find(|one| (&one.source, &one.target) == (&source, &target))
            });
            if let Some((ours, number)) = ours.zip(reading.number("route")) {
                held.numbers.insert(ours.route, number);
            }
        }
        Ok(held.numbers.get(&route).copied())
    }

    async fn of_route(
        &self,
        held: &mut Held,
        (route, number): (RouteId, u32),
        checkpoint: Lsn,
        news: &mut LedgerNews,
    ) -> Result<(), Failure> {
        let prefix = format!("surprise#{number:05}#");
        // Behind the last one that was told, and before the first that the checkpoint does not cover.
        let from =
            held.upto.surprises.get(&number).map_or_else(|| prefix.clone(), |told| format!("{told}\u{1}"));
        let to = format!("{prefix}{:016X}", checkpoint.raw());
        if from > to {
            return Ok(());
        }
        let at = ((MIGRATION, self.migration.as_str()), (OF, from.as_str(), to.as_str()));
        for item in self.calls.between(&self.state.table, at).await?.0 {
            let (of, told) = surprise(&item)
                .ok_or(Error::Unreadable { table: self.state.table.clone(), what: "a surprise" })?;
            let (name, kind, lsn) = told;
            news.surprises.push((route, name, kind, lsn));
            held.upto.surprises.insert(number, of);
        }
        Ok(())
    }
}

type Told = (RowName, MismatchKind, Lsn);

fn surprise(item: &Item) -> Option<(String, Told)> {
    let reading = Reading(item);
    let kind = reading.text("kind")?;
    let kind = MismatchKind::ALL.into_iter().find(|one| one.as_str() == kind)?;
    let name = RowName { green: reading.key("key")?, blue: None };
    Some((reading.text(OF)?.to_owned(), (name, kind, Lsn::new(reading.number("commit")?))))
}
