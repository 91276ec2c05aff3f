//! What is recorded on its own: the start of a migration, planned and forgotten units, completed routes.

use understudy_contract::{Class, ColumnMarks, Failure, LedgerEntry, Lineage, Unit};
use understudy_model::{Before, Checkpoint, Key, RouteId};

use super::applier::Applier;
use super::books::{Books, superseded};
use super::claim::forget_route;
use super::plan::{RowBody, RowOp};
use super::script::unknown_route;
use super::statements::RowStatement;
use super::target::Target;
use crate::wire::{Client, TransactionState};

impl Applier {
    /// Records the lineage and checkpoint from which the stream is followed.
    pub(super) async fn begin(&mut self, lineage: &Lineage, checkpoint: Checkpoint) -> Result<(), Failure> {
        self.enter().await?;
        let (system, timeline) = (lineage.system_id.to_string(), lineage.timeline.to_string());
        let lsn = checkpoint.to_string();
        let params = [
            &self.books.migration,
            &self.books.token,
            &system,
            &timeline,
            &lineage.database,
            &lineage.slot,
            &lsn,
        ];
        let mut params = params.map(|param| Some(param.as_str())).to_vec();
        params.push(lineage.publication.as_deref());
        let sql = "UPDATE understudy.migration SET system_id = $3, timeline = $4, database = $5, slot = $6, \
            checkpoint = $7, publication = $8, unseen = NULL WHERE name = $1 AND owner = $2";
        let affected = self.client.execute_with(sql, &params).await?;
        if affected != 1 {
            return Err(self.superseded().await);
        }
        for target in &self.targets {
            self.books.register(&mut self.client, target).await?;
            self.books.note_published(&mut self.client, target).await?;
        }
        self.client.batch("COMMIT").await?;
        self.targets.iter_mut().for_each(|target| target.registered = true);
        self.applied = checkpoint;
        Ok(())
    }

    /// Records that the copy of a route starts again: what is known of its units stays, but none of their rows count as
    /// copied, all in one transaction.
    pub(super) async fn start_again(&mut self, route: RouteId) -> Result<(), Failure> {
        self.enter().await?;
        self.set_complete(route, false).await?;
        let target = self.targets.get(route.index()).ok_or_else(unknown_route)?;
        let number = target.number.to_string();
        let sql = "DELETE FROM understudy.chunks_done WHERE migration = $1 AND route = $2";
        self.client.execute_with(sql, &[Some(&self.books.migration), Some(&number)]).await?;
        let removed = self.remove_aside(route).await?;
        self.client.batch("COMMIT").await?;
        if let Some(target) = self.targets.get_mut(route.index()) {
            (target.registered, target.complete) = (true, false);
        }
        removed.into_iter().for_each(|key| {
            self.quarantined.remove(&(route, key));
        });
        Ok(())
    }

    /// Removes the rows of which changes have been set aside, inside the open transaction: what is to be there comes with the
    /// new copy or with the stream. A row that green does not let go stays aside.
    async fn remove_aside(&mut self, route: RouteId) -> Result<Vec<Key>, Failure> {
        let aside = self.quarantined.iter().filter(|(aside, _)| *aside == route);
        let mut removed = Vec::new();
        for key in aside.map(|(_, key)| key.clone()).collect::<Vec<_>>() {
            let op = RowOp { at: 0, route, body: RowBody::Delete(key.clone()), before: Before::Unknown };
            match self.attempt(&op, RowStatement::Delete).await {
                Ok(_) => removed.push(key),
                Err(failure) if failure.class() == Class::Data && !self.client.is_broken() => {}
                Err(failure) => return Err(failure),
            }
        }
        let target = self.targets.get(route.index()).ok_or_else(unknown_route)?;
        self.books.settle_aside(&mut self.client, target, &removed).await?;
        Ok(removed)
    }

    /// Forgets routes whose changes were missed, and records the publication through which they are to come again, all in
    /// one transaction: from then on they are as if they had never been followed.
    pub(super) async fn forget_routes(
        &mut self,
        routes: &[RouteId],
        publication: &str,
    ) -> Result<(), Failure> {
        self.enter().await?;
        let sql = "UPDATE understudy.migration SET publication = $2 WHERE name = $1";
        self.client.execute_with(sql, &[Some(&self.books.migration), Some(publication)]).await?;
        for route in routes {
            let number = self.targets.get(route.index()).ok_or_else(unknown_route)?.number;
            forget_route(&mut self.client, &self.books.migration, number).await?;
        }
        self.client.batch("COMMIT").await?;
        for target in self.targets.iter_mut().filter(|target| routes.contains(&target.green.route)) {
            (target.registered, target.complete, target.renewed) = (false, false, false);
        }
        self.quarantined.retain(|(route, _)| !routes.contains(route));
        self.heals.forget(routes);
        Ok(())
    }

    /// Records an entry: inside the open transaction if there is one, otherwise durably, as blue may soon be told to
    /// forget what it rests on.
    pub(super) async fn record(&mut self, entry: &LedgerEntry) -> Result<(), Failure> {
        let alone = !self.open;
        if alone {
            self.enter().await?;
        }
        match entry {
            LedgerEntry::Plan(unit) => self.plan_unit(unit).await?,
            LedgerEntry::Refresh(unit) => self.refresh_unit(unit).await?,
            LedgerEntry::Forget(unit) => {
                let target = self.targets.get(unit.route.index()).ok_or_else(unknown_route)?;
                self.forget_unit(unit.oid, target.number).await?;
            }
            LedgerEntry::Complete(route) => self.set_complete(*route, true).await?,
        }
        if alone {
            self.client.batch("COMMIT").await?;
        }
        let (route, complete) = match entry {
            LedgerEntry::Plan(unit) => (unit.route, false),
            LedgerEntry::Complete(route) => (*route, true),
            LedgerEntry::Refresh(_) | LedgerEntry::Forget(_) => return Ok(()),
        };
        if let Some(target) = self.targets.get_mut(route.index()) {
            (target.registered, target.complete) = (true, complete);
        }
        Ok(())
    }

    async fn enter(&mut self) -> Result<(), Failure> {
        if !self.client.is_broken() && self.client.transaction() != TransactionState::Idle {
            return Err(Failure::new(
                Class::Internal,
                "an entry was to be recorded while a transaction was open",
            ));
        }
        self.client.batch("BEGIN; SET LOCAL synchronous_commit = on").await?;
        check_fence(&mut self.client, &self.books).await
    }

    async fn set_complete(&mut self, route: RouteId, complete: bool) -> Result<(), Failure> {
        let target = self.targets.get(route.index()).ok_or_else(unknown_route)?;
        self.books.register(&mut self.client, target).await?;
        let (number, complete) = (target.number.to_string(), complete.to_string());
        let params = [&self.books.migration, &number, &complete, &target.green.fingerprint];
        // Whatever brought rows that are there before a copy, nothing is known of what they hold.
        let sql = format!(
            "UPDATE understudy.routes SET complete = $3, fingerprint = $4, renewed = NOT $3 AND (renewed OR complete \
             OR EXISTS (SELECT FROM {}{})) WHERE migration = $1 AND route = $2 RETURNING renewed",
            target.table,
            target.own_rows()
        );
        let rows = self.client.query_with(&sql, &params.map(|param| Some(param.as_str()))).await?;
        let renewed = rows.first().is_some_and(|row| row.is_true(0));
        if let Some(target) = self.targets.get_mut(route.index()) {
            target.renewed = renewed;
        }
        match self.targets.get(route.index()) {
            Some(target) => self.books.note_published(&mut self.client, target).await,
            None => Ok(()),
        }
    }

    /// A unit whose file has been written anew since it was planned, or whose columns are others: the stream may still bring
    /// rows as they were before.
    async fn renew_rewritten(&mut self, unit: &Unit) -> Result<(), Failure> {
        let target = self.targets.get(unit.route.index()).ok_or_else(unknown_route)?;
        let (id, number) = (unit.id.oid.to_string(), target.number.to_string());
        let (filenode, fingerprint) = (unit.filenode.to_string(), unit.fingerprint.to_string());
        let params = [&self.books.migration, &number, &id, &filenode, &fingerprint];
        let params = params.map(|param| Some(param.as_str()));
        let sql = "UPDATE understudy.routes SET renewed = true WHERE migration = $1 AND route = $2 \
            AND EXISTS (SELECT FROM understudy.units AS u WHERE u.migration = $1 AND u.route = $2 \
            AND u.unit = $3 AND (u.filenode, u.fingerprint) <> ($4, $5))";
        let rewritten = self.client.execute_with(sql, &params).await? > 0;
        if let Some(target) = self.targets.get_mut(unit.route.index()) {
            target.renewed |= rewritten;
        }
        Ok(())
    }

    /// Records what is known of a unit now, beside what is done of it.
    async fn refresh_unit(&mut self, unit: &Unit) -> Result<(), Failure> {
        let target = self.targets.get(unit.route.index()).ok_or_else(unknown_route)?;
        let (id, number) = (unit.id.oid.to_string(), target.number.to_string());
        let (filenode, fingerprint) = (unit.filenode.to_string(), unit.fingerprint.to_string());
        let (name, migration) = (&unit.name, &self.books.migration);
        let params = [migration, &id, &number, &name.schema, &name.name, &filenode, &fingerprint];
        let mut params = params.map(|param| Some(param.as_str())).to_vec();
        let noted = noted(unit);
        params.extend(noted.iter().map(Option::as_deref));
        let sql = "UPDATE understudy.units SET schema = $4, name = $5, filenode = $6, fingerprint = $7, predicate = $8, \
            places = $9, written = $10, keys = $11, membership = $12 WHERE migration = $1 AND unit = $2 AND route = $3";
        self.client.execute_with(sql, &params).await.map(drop)
    }

    async fn forget_unit(&mut self, oid: u32, number: i32) -> Result<(), Failure> {
        let (id, number) = (oid.to_string(), number.to_string());
        for table in ["chunks_done", "units"] {
            let sql =
                format!("DELETE FROM understudy.{table} WHERE migration = $1 AND unit = $2 AND route = $3");
            self.client.execute_with(&sql, &[Some(&self.books.migration), Some(&id), Some(&number)]).await?;
        }
        Ok(())
    }

    async fn plan_unit(&mut self, unit: &Unit) -> Result<(), Failure> {
        self.set_complete(unit.route, false).await?;
        self.renew_rewritten(unit).await?;
        let target = self.targets.get(unit.route.index()).ok_or_else(unknown_route)?;
        let (id, number) = (unit.id.oid.to_string(), target.number.to_string());
        self.forget_unit(unit.id.oid, target.number).await?;
        let (filenode, fingerprint) = (unit.filenode.to_string(), unit.fingerprint.to_string());
        let blocks = unit.blocks.to_string();
        let (name, migration) = (&unit.name, &self.books.migration);
        let params = [migration, &id, &number, &name.schema, &name.name, &filenode, &fingerprint, &blocks];
        let mut params = params.map(|param| Some(param.as_str())).to_vec();
        let noted = noted(unit);
        params.extend(noted.iter().map(Option::as_deref));
        let sql = "INSERT INTO understudy.units \
            (migration, unit, route, schema, name, filenode, fingerprint, blocks, predicate, places, written, keys, membership) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
        self.client.execute_with(sql, &params).await.map(drop)
    }
}

/// What else is noted of a unit, as parameters: its condition, its marks, and what made it a partition.
fn noted(unit: &Unit) -> [Option<String>; 5] {
    let mark = |of: fn(&ColumnMarks) -> u64| unit.marks.as_ref().map(|marks| of(marks).to_string());
    [
        unit.predicate.clone(),
        mark(|marks| marks.places),
        mark(|marks| marks.written),
        mark(|marks| marks.keys),
        Some(unit.membership.to_string()),
    ]
}

/// Makes sure, inside an open transaction, that this instance owns the migration and keeps owning it until the end.
pub(super) async fn check_fence(client: &mut Client, books: &Books) -> Result<(), Failure> {
    if client.query(&books.fence()).await?.len() == 1 {
        return Ok(());
    }
    client.batch("ROLLBACK").await?;
    Err(superseded())
}

/// Records the done range of a chunk, inside its transaction.
pub(super) async fn range_done(
    client: &mut Client,
    books: &Books,
    target: &Target,
    done: (u32, understudy_model::BlockRange),
    rows: u64,
) -> Result<(), Failure> {
    let (unit, number) = (done.0.to_string(), target.number.to_string());
    let (from, to, rows) = (done.1.from.to_string(), done.1.to.to_string(), rows.to_string());
    let params = [&books.migration, &unit, &number, &from, &to, &rows];
    let sql = "INSERT INTO understudy.chunks_done (migration, unit, route, from_row, to_row, rows) \
        VALUES ($1, $2, $3, $4, $5, $6)";
    client.execute_with(sql, &params.map(|param| Some(param.as_str()))).await.map(drop)
}
