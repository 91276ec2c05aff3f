//! Green's rows, each read in one snapshot with the checkpoint that they are at.

use std::sync::Arc;

use tokio::time::{Duration, Instant, sleep};
use understudy_contract::{
    Answer, Awaited, Awaits, ComparedRoute, Detail, Failure, GreenMoment, GreenRead, GreenRows, KeyRange,
    NotRead, RangeDigest, RowSeen, Which,
};
use understudy_model::{Checkpoint, Key, Lsn, RouteId};

use super::ReadLimits;
use super::side::{Color, Connection, Reading, picked};
use super::sql::Picked;
use super::stop::{Step, Stop};
use crate::error::has_sqlstate;
use crate::sink;
use crate::wire::{Client, ConnectOptions};

/// Reads green's rows for comparison, on a connection of its own.
pub struct PostgresGreenRows {
    connection: Connection,
    migration: String,
}

/// How long green is left alone between two questions whether it is there yet.
const PAUSES: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(50)];

impl PostgresGreenRows {
    /// Connects. `migration` is the name that the bookkeeping is kept under.
    pub async fn connect(
        options: &ConnectOptions,
        migration: &str,
        routes: Arc<[ComparedRoute]>,
        limits: ReadLimits,
    ) -> Result<PostgresGreenRows, Failure> {
        let connection = Connection::connect(Color::Green, options, routes, limits).await?;
        Ok(PostgresGreenRows { connection, migration: migration.to_owned() })
    }

    /// A transaction whose snapshot shows at least everything before `at_least`.
    async fn begin(
        &mut self,
        route: RouteId,
        at_least: Lsn,
    ) -> Result<Answer<(Reading, GreenMoment)>, Failure> {
        let deadline = Instant::now() + self.connection.limits().green_patience;
        let [mut pause, longest] = PAUSES;
        loop {
            let mut reading = match self.connection.start(route).await? {
                Ok(reading) => reading,
                Err(why) => return Ok(Err(why)),
            };
            let why = match self.moment(&mut reading).await {
                Ok(Some(moment)) if moment.checkpoint.lsn() >= at_least => return Ok(Ok((reading, moment))),
                Ok(_) => NotRead::NotYet.into(),
                Err(stop) => stop,
            };
            match self.connection.finish::<()>(reading, Err(why)).await? {
                Err(NotRead::NotYet) => {}
                Err(other) => return Ok(Err(other)),
                Ok(()) => {}
            }
            // The table is not locked meanwhile: a TRUNCATE may be what is awaited.
            loop {
                if Instant::now() + pause > deadline {
                    return Ok(Err(NotRead::NotYet));
                }
                sleep(pause).await;
                pause = (pause * 2).min(longest);
                let mut open = self.connection.lend().await?;
                let known = checkpoint(&mut open.client, &self.migration).await?;
                self.connection.give_back(open);
                if known.is_some_and(|moment| moment.checkpoint.lsn() >= at_least) {
                    break;
                }
            }
        }
    }

    async fn moment(&self, reading: &mut Reading) -> Step<Option<GreenMoment>> {
        reading.begin().await?;
        checkpoint(&mut reading.open.client, &self.migration).await.map_err(Stop::from)
    }

    async fn rows_once(
        &mut self,
        route: RouteId,
        which: &Which,
        (picked, detail): (&Picked, Detail),
        at_least: Lsn,
    ) -> Result<Answer<GreenRead<Vec<RowSeen>>>, Failure> {
        let origins = match detail {
            Detail::Values => self.origins().await?,
            Detail::Digests => None,
        };
        let (mut reading, moment) = match self.begin(route, at_least).await? {
            Ok(begun) => begun,
            Err(why) => return Ok(Err(why)),
        };
        let read = async {
            let awaited = self.awaited(&mut reading, which).await?;
            let value = reading.rows(picked, detail, origins.as_deref()).await?;
            Ok(GreenRead { moment, value, awaited })
        };
        let read = read.await;
        self.connection.finish(reading, read).await
    }

    /// Our replication origins on green, where whose a row is can be told by them.
    async fn origins(&mut self) -> Result<Option<Vec<u32>>, Failure> {
        let mut open = self.connection.lend().await?;
        if open.client.server_version() < 140_000 {
            self.connection.give_back(open);
            return Ok(None);
        }
        let name = sink::origin(&self.migration, None);
        let sql = "SELECT o.roident::oid::bigint FROM pg_catalog.pg_replication_origin o \
            WHERE pg_catalog.current_setting('track_commit_timestamp')::bool \
              AND (o.roname = $1 OR pg_catalog.starts_with(o.roname, $1 || '/'))";
        let rows = open.client.query_with(sql, &[Some(name.as_str())]).await?;
        self.connection.give_back(open);
        let origins = rows.iter().map(|row| row.parse(0)).collect::<Result<Vec<_>, _>>()?;
        Ok(Some(origins).filter(|origins| !origins.is_empty()))
    }

    /// Those of the rows asked for by name that replication knows it owes.
    async fn awaited(&self, reading: &mut Reading, which: &Which) -> Step<Vec<Awaited>> {
        let keys = match which {
            Which::Range(_) => return Ok(Vec::new()),
            Which::Names(names) => names.iter().map(|name| &name.green).collect::<Vec<_>>(),
            Which::Thorough(keys) => keys.iter().collect(),
        };
        let (source, target) = (reading.route().source.clone(), reading.route().target.clone());
        let listed = sink::key_arrays(keys.iter().copied());
        let params = [
            self.migration.as_str(),
            &source.schema,
            &source.name,
            &target.schema,
            &target.name,
            listed.as_str(),
        ];
        let rows = reading.open.client.query_with(AWAITED, &params.map(Some)).await?;
        let mut awaited = Vec::with_capacity(rows.len());
        for row in rows {
            let key = keys.get(row.parse::<usize>(0)?.wrapping_sub(1)).copied().cloned();
            let why = if row.is_true(1) { Awaits::Quarantine } else { Awaits::Heal };
            awaited.extend(key.map(|key| Awaited { key, why }));
        }
        Ok(awaited)
    }
}

/// Routes are recorded under numbers that outlive a run, so their tables tell which is meant.
const AWAITED: &str = "WITH named AS ( \
      SELECT n.place, n.key::text[] AS key FROM unnest($6::text[]) WITH ORDINALITY AS n (key, place)), \
    ours AS (SELECT r.migration, r.route FROM understudy.routes r \
      WHERE (r.migration = $1 OR pg_catalog.starts_with(r.migration, $1 || '#')) AND r.source_schema = $2 \
      AND r.source_name = $3 AND r.target_schema = $4 AND r.target_name = $5) \
    SELECT n.place, false FROM named n WHERE EXISTS (SELECT FROM ours, understudy.heals h \
      WHERE h.migration = ours.migration AND h.route = ours.route AND h.key = n.key) \
    UNION ALL SELECT n.place, true FROM named n WHERE EXISTS (SELECT FROM ours, understudy.quarantine q \
      WHERE q.migration = ours.migration AND q.route = ours.route AND q.key = n.key AND NOT q.settled) \
    ORDER BY 1, 2";

/// Where green is: as far as the lane that is furthest behind, and whatever blue may not show of what any of them has applied.
pub(crate) const MOMENT: &str = "CASE WHEN bool_and(checkpoint IS NOT NULL) THEN min(checkpoint) END, \
    CASE WHEN bool_and(unseen IS NOT NULL) THEN coalesce(string_agg(unseen, ','), '') END";

/// Where green is, as the snapshot shows it that the session has or takes. `None` while nothing has begun.
async fn checkpoint(client: &mut Client, migration: &str) -> Result<Option<GreenMoment>, Failure> {
    let sql = format!("SELECT {MOMENT} FROM understudy.migration WHERE {}", sink::LANES);
    let rows = match client.query_with(&sql, &[Some(migration)]).await {
        Ok(rows) => rows,
        Err(failure) if has_sqlstate(&failure, "42P01") || has_sqlstate(&failure, "3F000") => {
            return Ok(None);
        }
        Err(failure) => return Err(failure),
    };
    let Some(row) = rows.first() else { return Ok(None) };
    let Some(checkpoint) = row.optional::<Lsn>(0)? else { return Ok(None) };
    let unseen = row.text(1).map(sink::xids).transpose()?;
    Ok(Some(GreenMoment { checkpoint: Checkpoint::at_commit_end(checkpoint), unseen }))
}

impl GreenRows for PostgresGreenRows {
    async fn boundary(
        &mut self,
        route: RouteId,
        after: Option<&Key>,
        rows: u64,
    ) -> Result<Answer<Option<Key>>, Failure> {
        self.connection.boundary(route, after, rows).await
    }

    async fn digest(
        &mut self,
        route: RouteId,
        range: &KeyRange,
        at_least: Lsn,
    ) -> Result<Answer<GreenRead<RangeDigest>>, Failure> {
        let (mut reading, moment) = match self.begin(route, at_least).await? {
            Ok(begun) => begun,
            Err(why) => return Ok(Err(why)),
        };
        let value = reading.digest(range).await;
        let read = value.map(|value| GreenRead { moment, value, awaited: Vec::new() });
        self.connection.finish(reading, read).await
    }

    async fn rows(
        &mut self,
        route: RouteId,
        which: &Which,
        detail: Detail,
        at_least: Lsn,
    ) -> Result<Answer<GreenRead<Vec<RowSeen>>>, Failure> {
        let picked = picked(which, Color::Green, self.connection.route(route)?.keys);
        let answer = self.rows_once(route, which, (&picked, detail), at_least).await?;
        match (&answer, &picked) {
            (Err(NotRead::Unreadable(_)), Picked::Own(keys)) => {
                match self.connection.possible(route, keys).await? {
                    Some(possible) => {
                        let picked = Picked::Own(possible);
                        self.rows_once(route, which, (&picked, detail), at_least).await
                    }
                    None => Ok(answer),
                }
            }
            _ => Ok(answer),
        }
    }
}
