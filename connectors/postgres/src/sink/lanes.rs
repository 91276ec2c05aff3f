//! Lanes: several sinks that fill the same green side by side, each with books of its own under the migration's name and its
//! number. Here is what is known of all of them together.

use std::collections::BTreeMap;

use understudy_contract::{Class, Cursor, Failure, GreenTable};
use understudy_model::{Checkpoint, Lsn, TableName};

use super::books::{CURSOR_SQL, cursor};
use super::settings::SinkSettings;
use super::{PostgresSink, schema};
use crate::error::has_sqlstate;
use crate::wire::{Client, ConnectOptions};

/// Picks the books of a migration, `$1`, and of its lanes from `name`. No name of a migration holds such a sign.
pub(crate) const LANES: &str = "(name = $1 OR pg_catalog.starts_with(name, $1 || '#'))";

/// The longest name of a migration that has lanes: with the number of one it still fits the names of sessions.
pub const LANED_NAME_MAX: usize = 32;

/// Under which name the books of a lane are kept. Those of the first are the migration's.
pub fn lane_name(migration: &str, number: u32) -> String {
    match number {
        0 => migration.to_owned(),
        _ => format!("{migration}#{number}"),
    }
}

/// How far the lanes of a migration are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LanesSeen {
    /// Where each lane goes on in the log, by number; `None` where it has not begun.
    pub places: Vec<Option<Cursor>>,
    /// Everything before it is on green, whichever lane it belongs to; `None` while one has not begun.
    pub checkpoint: Option<Checkpoint>,
    /// Routes, by their ends, of which every lane has copied everything.
    pub complete: Vec<(TableName, TableName)>,
    /// Rows that wait to be read again.
    pub heals: u64,
    /// Rows that are set aside.
    pub aside: u64,
}

/// Looks at the books of all lanes. Owns nothing and changes nothing.
pub struct LaneBooks {
    options: ConnectOptions,
    migration: String,
    client: Option<Client>,
}

impl LaneBooks {
    /// Connects with the first look.
    pub fn new(options: &ConnectOptions, migration: impl Into<String>) -> LaneBooks {
        LaneBooks { options: options.clone(), migration: migration.into(), client: None }
    }

    /// Makes room for the books of all lanes, so that none is left out of what is said of them together before it begins.
    pub async fn lay_out(&mut self, of: u32) -> Result<(), Failure> {
        let name = self.migration.clone();
        let client = self.client().await?;
        client.batch("BEGIN").await?;
        schema::ensure(client).await?;
        let sql = "INSERT INTO understudy.migration (name, owner) \
            SELECT CASE n WHEN 0 THEN $1 ELSE $1 || '#' || n END, '' \
            FROM pg_catalog.generate_series(0, $2::int) AS n ON CONFLICT DO NOTHING";
        let last = of.saturating_sub(1).to_string();
        client.execute_with(sql, &[Some(name.as_str()), Some(last.as_str())]).await?;
        client.batch("COMMIT").await
    }

    /// Looks once. `None`: there are no books of the migration.
    pub async fn look(&mut self) -> Result<Option<LanesSeen>, Failure> {
        let name = self.migration.clone();
        let looked = look(self.client().await?, &name).await;
        if looked.is_err() {
            self.client = None;
        }
        looked.map_err(|failure| failure.while_doing("look how far the lanes are on green"))
    }

    async fn client(&mut self) -> Result<&mut Client, Failure> {
        match self.client {
            Some(ref mut client) => Ok(client),
            None => Ok(self.client.insert(Client::connect(&self.options).await?)),
        }
    }
}

async fn look(client: &mut Client, name: &str) -> Result<Option<LanesSeen>, Failure> {
    let sql = format!("SELECT name, checkpoint, {CURSOR_SQL} FROM understudy.migration WHERE {LANES}");
    let rows = match client.query_with(&sql, &[Some(name)]).await {
        Err(failure) if has_sqlstate(&failure, "42P01") || has_sqlstate(&failure, "3F000") => {
            return Ok(None);
        }
        rows => rows?,
    };
    let mut lanes = BTreeMap::new();
    for row in &rows {
        let of = row.required(0)?;
        let number = match of.strip_prefix(name).and_then(|rest| rest.strip_prefix('#')) {
            Some(number) => number.parse::<u32>().map_err(|_| no_lane(of))?,
            None => 0,
        };
        lanes.insert(number, (row.optional::<Lsn>(1)?, row.text(2).map(cursor).transpose()?));
    }
    if !lanes.contains_key(&0) {
        return Ok(None);
    }
    let checkpoints = lanes.values().map(|(checkpoint, _)| *checkpoint).collect::<Option<Vec<_>>>();
    let furthest_behind = checkpoints.and_then(|all| all.into_iter().min());
    let count = lanes.len().to_string();
    let places = lanes.into_values().map(|(_, place)| place).collect();
    let sql = "SELECT source_schema, source_name, target_schema, target_name FROM understudy.routes \
        WHERE migration = $1 OR pg_catalog.starts_with(migration, $1 || '#') \
        GROUP BY 1, 2, 3, 4 HAVING bool_and(complete) AND count(*) = $2::bigint";
    let mut complete = Vec::new();
    for row in client.query_with(sql, &[Some(name), Some(count.as_str())]).await? {
        let end = |at| Ok::<_, Failure>(TableName::new(row.required(at)?, row.required(at + 1)?));
        complete.push((end(0)?, end(2)?));
    }
    let sql = "SELECT (SELECT count(*) FROM understudy.heals \
          WHERE migration = $1 OR pg_catalog.starts_with(migration, $1 || '#')), \
        (SELECT count(DISTINCT (r.source_schema, r.source_name, r.target_schema, r.target_name, q.key)) \
          FROM understudy.quarantine AS q LEFT JOIN understudy.routes AS r USING (migration, route) \
          WHERE (migration = $1 OR pg_catalog.starts_with(migration, $1 || '#')) AND NOT q.settled)";
    let counts = client.query_with(sql, &[Some(name)]).await?;
    let count = |at| counts.first().map_or(Ok(0), |row| row.parse(at));
    Ok(Some(LanesSeen {
        places,
        checkpoint: furthest_behind.map(Checkpoint::at_commit_end),
        complete,
        heals: count(0)?,
        aside: count(1)?,
    }))
}

fn no_lane(name: &str) -> Failure {
    Failure::new(
        Class::Diverged,
        format!("the bookkeeping on green has a migration `{name}`, which is no lane"),
    )
}

/// Why lanes could not fill a table of green exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneObstacle {
    /// The table on green.
    pub table: TableName,
    /// What is the case.
    pub what: &'static str,
}

/// Looks for what lets the order of changes to different rows be told on green. Changes nothing there.
pub async fn lane_obstacles(
    options: &ConnectOptions,
    settings: SinkSettings,
    tables: Vec<GreenTable>,
) -> Result<Vec<LaneObstacle>, Failure> {
    let sink = PostgresSink::connect(options, settings, tables).await?;
    let mut found = Vec::new();
    for target in &sink.applier.targets {
        let traits = &target.traits;
        let obstacles = [
            (
                traits.other_unique,
                "has a unique or exclusion index beside its key: rows of several lanes meet in it",
            ),
            (
                !traits.key_text_is_exact,
                "has a key of a type in which one value has several texts: they may fall into several lanes",
            ),
            (
                traits.constraint_triggers && !sink.applier.replica_role,
                "has foreign keys that are alive while changes are applied: rows of several lanes refer to each other",
            ),
            (traits.shared && !traits.apart, "is filled by several entries whose rows nothing tells apart"),
        ];
        let here = obstacles.into_iter().filter(|(is_there, _)| *is_there);
        found.extend(here.map(|(_, what)| LaneObstacle { table: target.green.name.clone(), what }));
    }
    Ok(found)
}
