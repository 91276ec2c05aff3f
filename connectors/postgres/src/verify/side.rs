//! A connection to one side that is lent to one call at a time, and transactions on it that have ended on every path.

use std::collections::HashMap;
use std::sync::Arc;

use understudy_contract::{
    Answer, Class, ComparedRoute, Detail, Failure, KeyRange, KeyRelation, NotRead, RangeDigest, RowSeen,
    SideQuery, Which,
};
use understudy_model::{Key, RouteId, Tuple};

use super::ReadLimits;
use super::keys::{self, KeyColumn};
use super::rows::{self, Names, RowShape};
use super::sql::{Picked, Side};
use super::stop::{Step, Stop};
use crate::wire::{Client, ConnectOptions, TransactionState};

/// Which of the two servers is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Color {
    Blue,
    Green,
}

/// Waiting for the table lock happens before there is a snapshot, and in short turns.
const SETTINGS: &str = "SET synchronous_commit = local; SET jit = off; SET lock_timeout = '1s'; \
                        SET idle_in_transaction_session_timeout = '1min'";
/// What reading takes of blue's processors is bounded by the number of connections.
const BLUE_SETTINGS: &str = "SET max_parallel_workers_per_gather = 0";

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Where to connect, what is compared, and the connection while nobody uses it.
pub(super) struct Connection {
    color: Color,
    options: ConnectOptions,
    routes: Arc<[ComparedRoute]>,
    limits: ReadLimits,
    idle: Option<Open>,
}

/// A session and what it knows.
pub(super) struct Open {
    pub(super) client: Client,
    utf8: bool,
    keys: HashMap<RouteId, Arc<[KeyColumn]>>,
}

/// One read of a route, and the session that it has to itself.
pub(super) struct Reading {
    pub(super) open: Open,
    color: Color,
    limits: ReadLimits,
    routes: Arc<[ComparedRoute]>,
    at: usize,
    key: Arc<[KeyColumn]>,
}

impl Connection {
    pub(super) async fn connect(
        color: Color,
        options: &ConnectOptions,
        routes: Arc<[ComparedRoute]>,
        limits: ReadLimits,
    ) -> Result<Connection, Failure> {
        let mut connection = Connection { color, options: options.clone(), routes, limits, idle: None };
        let open = connection.lend().await?;
        connection.idle = Some(open);
        Ok(connection)
    }

    pub(super) fn limits(&self) -> &ReadLimits {
        &self.limits
    }

    pub(super) fn route(&self, route: RouteId) -> Result<&ComparedRoute, Failure> {
        Ok(&self.routes[self.index(route)?])
    }

    fn index(&self, route: RouteId) -> Result<usize, Failure> {
        let at = self.routes.iter().position(|known| known.route == route);
        at.ok_or_else(|| Failure::new(Class::Internal, "a route is to be read that is not compared"))
    }

    /// The connection, for one call. A call that fails or is dropped keeps it, and the next one gets a new one.
    pub(super) async fn lend(&mut self) -> Result<Open, Failure> {
        match self.idle.take() {
            Some(open) => Ok(open),
            None => self.open().await.map_err(|failure| failure.while_doing(self.doing("connect to"))),
        }
    }

    pub(super) fn give_back(&mut self, open: Open) {
        self.idle = Some(open);
    }

    async fn open(&self) -> Result<Open, Failure> {
        let mut client = Client::connect(&self.options).await?;
        let time = self.limits.statement.as_millis().max(1);
        let own = if self.color == Color::Blue { BLUE_SETTINGS } else { "" };
        client.batch(&format!("{SETTINGS}; SET statement_timeout = {time}; {own}")).await?;
        let mut settings =
            self.routes.iter().flat_map(|route| &side_of(route, self.color).settings).collect::<Vec<_>>();
        settings.sort_unstable();
        settings.dedup();
        for (name, value) in settings {
            // As parameters, as they may be secret: the text of a statement is seen by others.
            let set = "SELECT pg_catalog.set_config($1::text, $2::text, false)";
            client.query_with(set, &[Some(name), Some(value)]).await?;
        }
        let encoding = client.query("SELECT pg_catalog.current_setting('server_encoding') = 'UTF8'").await?;
        let utf8 = encoding.first().is_some_and(|row| row.is_true(0));
        Ok(Open { client, utf8, keys: HashMap::new() })
    }

    /// Begins to read a route, outside any transaction.
    pub(super) async fn start(&mut self, route: RouteId) -> Result<Answer<Reading>, Failure> {
        let at = self.index(route)?;
        let mut open = self.lend().await?;
        let key = match open.keys.get(&route) {
            Some(known) => known.clone(),
            None => match keys::look_up(&mut open.client, side_of(&self.routes[at], self.color)).await {
                Ok(columns) => {
                    let columns = Arc::<[KeyColumn]>::from(columns);
                    open.keys.insert(route, columns.clone());
                    columns
                }
                Err(stop) => return self.stopped(open, route, stop).await,
            },
        };
        let (color, limits, routes) = (self.color, self.limits, self.routes.clone());
        Ok(Ok(Reading { open, color, limits, routes, at, key }))
    }

    /// Ends a read and its transaction.
    pub(super) async fn finish<T>(
        &mut self,
        mut reading: Reading,
        result: Step<T>,
    ) -> Result<Answer<T>, Failure> {
        let route = reading.route().route;
        match result {
            Ok(value) => {
                let ended = reading.open.client.batch("COMMIT").await;
                ended.map_err(|failure| failure.while_doing(self.doing("end a read of")))?;
                self.give_back(reading.open);
                Ok(Ok(value))
            }
            Err(stop) => self.stopped(reading.open, route, stop).await,
        }
    }

    async fn stopped<T>(&mut self, mut open: Open, route: RouteId, stop: Stop) -> Result<Answer<T>, Failure> {
        let idle = open.client.transaction() == TransactionState::Idle;
        let usable = !open.client.is_broken() && (idle || open.client.batch("ROLLBACK").await.is_ok());
        if matches!(stop, Stop::Not(NotRead::Changed(_) | NotRead::Unreadable(_))) {
            // The types of the key may be what has changed.
            open.keys.remove(&route);
        }
        if usable {
            self.give_back(open);
        }
        match stop {
            Stop::Not(why) => Ok(Err(why)),
            Stop::Failed(failure) => {
                let table = &side_of(self.route(route)?, self.color).table;
                Err(failure
                    .while_doing(format!("{} for comparison", self.doing(&format!("read {table} on")))))
            }
        }
    }

    /// Where a range ends that is to hold so many rows.
    pub(super) async fn boundary(
        &mut self,
        route: RouteId,
        after: Option<&Key>,
        rows: u64,
    ) -> Result<Answer<Option<Key>>, Failure> {
        let mut reading = match self.start(route).await? {
            Ok(reading) => reading,
            Err(why) => return Ok(Err(why)),
        };
        let found = match reading.begin().await {
            Ok(()) => reading.boundary(after, rows).await,
            Err(stop) => Err(stop),
        };
        self.finish(reading, found).await
    }

    /// Those of some keys that can be on this side at all, where not all of them can.
    pub(super) async fn possible(
        &mut self,
        route: RouteId,
        keys: &[Key],
    ) -> Result<Option<Vec<Key>>, Failure> {
        let Ok(mut reading) = self.start(route).await? else { return Ok(None) };
        let possible = keys::possible(&mut reading.open.client, &reading.key, keys).await;
        match possible {
            Ok(possible) => {
                self.give_back(reading.open);
                Ok((possible.len() < keys.len()).then_some(possible))
            }
            Err(stop) => Ok(self.stopped::<()>(reading.open, route, stop).await?.err().and(None)),
        }
    }

    fn doing(&self, what: &str) -> String {
        match self.color {
            Color::Blue => format!("{what} blue"),
            Color::Green => format!("{what} green"),
        }
    }
}

fn side_of(route: &ComparedRoute, color: Color) -> &SideQuery {
    match color {
        Color::Blue => &route.blue,
        Color::Green => &route.green,
    }
}

/// The rows that are to be read, as the statements of a side know them.
pub(super) fn picked(which: &Which, color: Color, keys: KeyRelation) -> Picked {
    match which {
        Which::Range(range) => Picked::Range(range.clone()),
        Which::Names(names) if color == Color::Blue => {
            Picked::Own(names.iter().filter_map(|name| name.blue.clone()).collect())
        }
        Which::Names(names) => Picked::Own(names.iter().map(|name| name.green.clone()).collect()),
        Which::Thorough(keys_on_green) => match (color, keys) {
            (Color::Blue, KeyRelation::Computed) => Picked::Green(keys_on_green.clone()),
            _ => Picked::Own(keys_on_green.clone()),
        },
    }
}

impl Reading {
    pub(super) fn route(&self) -> &ComparedRoute {
        &self.routes[self.at]
    }

    fn side(&self) -> Side<'_> {
        Side { query: side_of(self.route(), self.color), key: &self.key, utf8: self.open.utf8 }
    }

    /// Begins the transaction and locks the table, so that the snapshot is taken after whoever emptied or rewrote the table:
    /// an older one would find it empty.
    pub(super) async fn begin(&mut self) -> Step<()> {
        let lock = format!("{BEGIN}; {}", self.side().lock());
        self.open.client.batch(&lock).await.map_err(Stop::waiting)
    }

    pub(super) async fn boundary(&mut self, after: Option<&Key>, rows: u64) -> Step<Option<Key>> {
        let sql = self.side().boundary(after, rows)?;
        rows::boundary(self.open.client.query(&sql).await?.first())
    }

    pub(super) async fn digest(&mut self, range: &KeyRange) -> Step<RangeDigest> {
        let sql = self.side().digest(range)?;
        Ok(rows::range_digest(self.open.client.query(&sql).await?.first())?)
    }

    /// Rows, all of them or none: what goes beyond the limits ends the read.
    pub(super) async fn rows(
        &mut self,
        picked: &Picked,
        detail: Detail,
        origins: Option<&[u32]>,
    ) -> Step<Vec<RowSeen>> {
        let names = match (self.color, self.route().keys) {
            (Color::Blue, _) => Names::Both,
            (Color::Green, KeyRelation::Computed) => Names::GreenAlone,
            (Color::Green, KeyRelation::Aligned | KeyRelation::Passed) => Names::Passed,
        };
        let side =
            Side { query: side_of(&self.routes[self.at], self.color), key: &self.key, utf8: self.open.utf8 };
        let shape = RowShape::new(side, names, detail, origins);
        let (settings, select) = side.select(&shape.list(), picked)?;
        let patience = match picked {
            Picked::Green(_) => {
                format!("SET LOCAL statement_timeout = {}; ", self.limits.thorough.as_millis().max(1))
            }
            Picked::Range(_) | Picked::Own(_) => String::new(),
        };
        let copy = format!("{patience}{settings}COPY ({select}) TO STDOUT");
        let mut copy = self.open.client.copy_out(&copy).await?;
        let (mut seen, mut bytes) = (Vec::new(), 0);
        while let Some(mut line) = copy.next().await? {
            line.truncate(line.len().saturating_sub(1));
            bytes += line.len();
            let too_many = seen.len() >= self.limits.rows_max.max(1)
                || (bytes > self.limits.bytes_max && !seen.is_empty());
            let row = match too_many {
                true => Err(NotRead::TooSlow.into()),
                false => shape.read(&Tuple::from_copy_line(line)),
            };
            match row {
                Ok(row) => seen.push(row),
                // What is left is called off: waiting for it would hold the snapshot.
                Err(stop) => {
                    copy.cancel().await?;
                    return Err(stop);
                }
            }
        }
        Ok(seen)
    }
}
