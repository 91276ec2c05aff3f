//! Blue's rows, each read in a short transaction that tells what it could see.

use std::sync::Arc;

use understudy_contract::{
    Answer, BlueMoment, BlueRead, BlueRows, Class, ComparedRoute, Detail, Failure, KeyRange, NotRead,
    RangeDigest, RowSeen, Which,
};
use understudy_model::{Key, Nonce, RouteId};

use super::ReadLimits;
use super::side::{Color, Connection, Reading, picked};
use super::sql::Picked;
use super::stop::{Step, Stop};
use crate::source;
use crate::wire::ConnectOptions;

/// Reads blue's rows for comparison, on a connection of its own.
pub struct PostgresBlueRows {
    connection: Connection,
    prefix: String,
}

impl PostgresBlueRows {
    /// Connects. `prefix` names our messages.
    pub async fn connect(
        options: &ConnectOptions,
        prefix: impl Into<String>,
        routes: Arc<[ComparedRoute]>,
        limits: ReadLimits,
    ) -> Result<PostgresBlueRows, Failure> {
        let connection = Connection::connect(Color::Blue, options, routes, limits).await?;
        Ok(PostgresBlueRows { connection, prefix: prefix.into() })
    }

    async fn rows_once(
        &mut self,
        route: RouteId,
        picked: &Picked,
        detail: Detail,
    ) -> Result<Answer<BlueRead<Vec<RowSeen>>>, Failure> {
        let mut reading = match self.connection.start(route).await? {
            Ok(reading) => reading,
            Err(why) => return Ok(Err(why)),
        };
        let read = async {
            let moment = begin(&mut reading).await?;
            Ok(BlueRead { moment, value: reading.rows(picked, detail, None).await? })
        };
        let read = read.await;
        self.connection.finish(reading, read).await
    }
}

impl BlueRows for PostgresBlueRows {
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
    ) -> Result<Answer<BlueRead<RangeDigest>>, Failure> {
        let mut reading = match self.connection.start(route).await? {
            Ok(reading) => reading,
            Err(why) => return Ok(Err(why)),
        };
        let read = async {
            let moment = begin(&mut reading).await?;
            Ok(BlueRead { moment, value: reading.digest(range).await? })
        };
        let read = read.await;
        self.connection.finish(reading, read).await
    }

    async fn rows(
        &mut self,
        route: RouteId,
        which: &Which,
        detail: Detail,
    ) -> Result<Answer<BlueRead<Vec<RowSeen>>>, Failure> {
        let picked = picked(which, Color::Blue, self.connection.route(route)?.keys);
        let answer = self.rows_once(route, &picked, detail).await?;
        match (&answer, &picked) {
            (Err(NotRead::Unreadable(_)), Picked::Own(keys)) => {
                match self.connection.possible(route, keys).await? {
                    Some(possible) => self.rows_once(route, &Picked::Own(possible), detail).await,
                    None => Ok(answer),
                }
            }
            _ => Ok(answer),
        }
    }

    async fn mark(&mut self, nonce: Nonce) -> Result<(), Failure> {
        let mut open = self.connection.lend().await?;
        source::emit(&mut open.client, &self.prefix, nonce).await?;
        self.connection.give_back(open);
        Ok(())
    }
}

/// Begins the transaction and takes its snapshot. The address is asked for once there is one: whatever the snapshot shows
/// committed before it.
async fn begin(reading: &mut Reading) -> Step<BlueMoment> {
    reading.begin().await?;
    let moment = "SELECT pg_catalog.pg_current_snapshot(), pg_catalog.pg_current_wal_insert_lsn()";
    let rows = reading.open.client.query(moment).await?;
    let row = rows.first().ok_or_else(|| Failure::new(Class::Internal, "blue answered without a row"));
    let row = row.map_err(Stop::Failed)?;
    Ok(BlueMoment { snapshot: row.parse(0)?, lsn: row.parse(1)? })
}
