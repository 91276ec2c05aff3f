//! Rows that lanes have changed, for whoever compares both sides: read from the log itself, since other processes have lanes too.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use understudy_contract::{Class, RowName};
use understudy_kafka::{KafkaSettings, LanePlaces, Named, NamesLog};
use understudy_model::{Key, Lsn, RouteId, TableName};
use understudy_transform::{ColumnSource, RouteSpec};

use crate::verifying::Shared;

/// For so long lanes may have applied what nobody has told. After that everything counts as changed.
const UNTOLD_MAX: Duration = Duration::from_secs(5);

/// How often it is looked whether something goes untold.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The first pause before the log is opened again; each further one is twice as long, up to the longest.
const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Tells which rows lanes have changed.
pub(super) struct Telling {
    shared: Shared,
    routes: Vec<RouteNames>,
    /// Everything up to here has been told.
    told: Mutex<Lsn>,
}

/// How rows of a route are named by their keys in the log.
struct RouteNames {
    route: RouteId,
    source: TableName,
    /// For each column of blue's key, as the route has it, its place in the log's.
    blue: Vec<usize>,
    green: Vec<Piece>,
}

/// What a column of green's key holds.
enum Piece {
    /// The column of the log's key with this place.
    Passed(usize),
    /// The same in every row.
    Constant(Vec<u8>),
}

impl RouteNames {
    /// `None`: keys in the log do not tell those on green.
    fn of(route: &RouteSpec, in_log: &[String]) -> Option<RouteNames> {
        let place = |name: &String| in_log.iter().position(|known| known == name);
        let piece = |at: &usize| match &route.columns[*at].from {
            ColumnSource::Column(name) => place(name).map(Piece::Passed),
            ColumnSource::Constant(text) => Some(Piece::Constant(text.clone()?.into_bytes())),
            ColumnSource::Computed(_) => None,
        };
        Some(RouteNames {
            route: route.id,
            source: route.source.clone(),
            blue: route.key_source.iter().map(place).collect::<Option<_>>()?,
            green: route.key.iter().map(piece).collect::<Option<_>>()?,
        })
    }

    fn name(&self, key: &Key) -> Option<RowName> {
        let texts = key.texts().collect::<Vec<_>>();
        let piece = |piece: &'_ Piece| match piece {
            Piece::Passed(at) => texts.get(*at).map(|text| text.to_vec()),
            Piece::Constant(text) => Some(text.clone()),
        };
        let green = self.green.iter().map(piece).collect::<Option<Vec<_>>>()?;
        let blue = self.blue.iter().map(|at| texts.get(*at).copied()).collect::<Option<Vec<_>>>()?;
        let green = Key::from_texts(green.iter().map(Vec::as_slice));
        Some(RowName { green, blue: Some(Key::from_texts(blue)) })
    }
}

impl Telling {
    pub(super) fn new(
        shared: Shared,
        routes: &[RouteSpec],
        keys: &HashMap<TableName, Vec<String>>,
    ) -> Telling {
        let names = |route: &RouteSpec| {
            let in_log = keys.get(&route.source).unwrap_or(&route.key_source);
            RouteNames::of(route, in_log).unwrap_or_else(|| RouteNames {
                route: route.id,
                source: route.source.clone(),
                blue: Vec::new(),
                // Of no key: every change leaves the route unlisted.
                green: vec![Piece::Passed(usize::MAX)],
            })
        };
        Telling { shared, routes: routes.iter().map(names).collect(), told: Mutex::default() }
    }

    fn told(&self) -> MutexGuard<'_, Lsn> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that is compared counts as changed up to here.
    fn unknown(&self, upto: Lsn) {
        let changed = &self.shared.changed;
        self.routes.iter().for_each(|route| changed.note_unlisted(route.route, upto));
        changed.note([], upto, self.shared.now());
    }

    /// Tells of a stretch of the log that is on green.
    fn tell(&self, named: &Named) {
        let Named { upto, rows, unlisted } = named;
        let changed = &self.shared.changed;
        let is_open = changed.is_open();
        let mut listed = Vec::new();
        for route in &self.routes {
            let keys = rows.iter().filter(|(table, _)| *table == route.source);
            let name =
                |(_, key): &(TableName, Key)| Some((route.route, route.name(key).filter(|_| is_open)?));
            match keys.map(name).collect::<Option<Vec<_>>>() {
                Some(names) if !unlisted.contains(&route.source) => listed.extend(names),
                _ => changed.note_unlisted(route.route, *upto),
            }
        }
        changed.note(listed, *upto, self.shared.now());
        let mut told = self.told();
        *told = (*upto).max(*told);
    }

    /// Looks again and again whether lanes have applied what nobody tells.
    async fn watch(&self, applied: watch::Receiver<Lsn>) {
        let mut tick = tokio::time::interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut owed: Option<(Lsn, Instant)> = None;
        loop {
            tick.tick().await;
            let (applied, told) = (*applied.borrow(), *self.told());
            owed = owed.filter(|(upto, _)| *upto > told);
            match owed {
                Some((_, since)) if since.elapsed() >= UNTOLD_MAX => {
                    self.unknown(applied);
                    owed = None;
                }
                Some(_) => {}
                None => owed = (applied > told).then(|| (applied, Instant::now())),
            }
        }
    }

    /// Reads the log and tells, beginning anew after every failure.
    async fn read(
        &self,
        (kafka, tables): (KafkaSettings, Vec<TableName>),
        places: watch::Receiver<LanePlaces>,
    ) {
        let (mut from, mut pause) = (None, PAUSE);
        loop {
            let mut is_known = from.is_some();
            let opened = NamesLog::open(&kafka, &tables, (from.clone(), places.clone())).await;
            let failure = match opened {
                Err(failure) => failure,
                Ok(mut log) => loop {
                    match log.next().await {
                        Err(failure) => break failure,
                        Ok(named) => {
                            if !std::mem::replace(&mut is_known, true) {
                                self.unknown(named.upto);
                            }
                            self.tell(&named);
                            (from, pause) = (log.place(), PAUSE);
                        }
                    }
                },
            };
            if failure.class() != Class::Transient {
                from = None;
            }
            tracing::warn!(error = %failure, "cannot read which rows have changed: all are compared anew meanwhile");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

/// Tells which rows the lanes change, until it is dropped. `places` and `applied` tell how far all of them are on green.
pub(super) async fn tell(
    log: (KafkaSettings, Vec<TableName>),
    telling: Telling,
    (places, applied): (watch::Receiver<LanePlaces>, watch::Receiver<Lsn>),
) {
    tokio::join!(telling.read(log, places), telling.watch(applied));
}
