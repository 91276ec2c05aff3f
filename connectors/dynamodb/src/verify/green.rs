//! Green's rows out of its items, told as they are at a checkpoint.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use aws_sdk_dynamodb::Client;
use understudy_contract::{
    Answer, Awaited, Awaits, Detail, Failure, GreenRead, GreenRows, KeyRange, NotRead, RangeDigest, RowName,
    RowSeen, RowVersion, Which,
};
use understudy_model::{Key, Lsn, RouteId};

use super::blue::now_s;
use super::moment::{Books, Known, Owed};
use super::route::{Route, StoredRoute, route, routes};
use super::table::{End, Page, Walk};
use super::{ReadLimits, ReaderSettings};
use crate::calls::Calls;
use crate::error::Error;
use crate::layout::{ItemKey, Seen, item_size};
use crate::meter::Figures;

/// Reads green's rows for comparison. All reads are consistent: they show whatever was acknowledged before.
///
/// - A row that is further than the checkpoint which a read tells is told as awaited where it was asked for by name.
/// - Ranges are those of the table's own order, and hold whole items. Where the item that a range ends with is gone, the range ends
///   before those that were behind it; more rows than its own may come where these are gone as well.
/// - Tombstones are no rows, nor are items of other routes. Items that nobody tagged, or with a tag that no route of the migration
///   has, are rows of the route that such a key would be of, and written by somebody else.
/// - Rows whose time to live is over count as gone.
pub struct DynamoGreenRows {
    calls: Calls,
    books: Books,
    routes: Arc<[Route]>,
    limits: ReadLimits,
    /// The numbers of routes in the state table, as they become known.
    numbers: HashMap<RouteId, u32>,
}

/// Why a read ends without rows.
enum Stop {
    Not(NotRead),
    Failed(Failure),
}

type Step<T> = Result<T, Stop>;

/// What a read has gathered.
#[derive(Default)]
struct Gathered {
    rows: Vec<RowSeen>,
    bytes: usize,
    /// Rows that are further than the checkpoint, or that a later run than the known one has written.
    ahead: Vec<Key>,
    doubtful: Vec<Doubtful>,
}

/// A row of a run that is not known to have begun: of one that has begun meanwhile, or of nobody.
struct Doubtful {
    version: crate::layout::Version,
    key: Key,
    /// Its place among the rows, where it is one.
    at: Option<usize>,
}

/// What is done with each row of a read.
struct Taking<'t> {
    route: &'t Route,
    known: &'t Known,
    detail: Detail,
    now_s: i64,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        match error {
            // Replication goes on meanwhile, and comparing can wait.
            Error::Throttled { .. } => Stop::Not(NotRead::Busy),
            Error::NoTable { .. } | Error::Schema { .. } => Stop::Not(NotRead::Changed(error.to_string())),
            error => Stop::Failed(error.into()),
        }
    }
}

impl From<NotRead> for Stop {
    fn from(why: NotRead) -> Stop {
        Stop::Not(why)
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Failed(failure)
    }
}

/// The answer that a step is.
fn answer<T>(step: Step<T>) -> Result<Answer<T>, Failure> {
    match step {
        Ok(read) => Ok(Ok(read)),
        Err(Stop::Not(why)) => Ok(Err(why)),
        Err(Stop::Failed(failure)) => Err(failure.while_doing("read rows of green")),
    }
}

impl DynamoGreenRows {
    /// A reader of these routes. Nothing is asked of DynamoDB yet.
    pub fn new(
        client: Client,
        settings: ReaderSettings,
        stored: &[StoredRoute],
    ) -> Result<DynamoGreenRows, Failure> {
        Ok(DynamoGreenRows {
            calls: Calls::new(client, settings.calls),
            books: Books { table: settings.state_table, migration: settings.migration },
            routes: routes(stored)?,
            limits: settings.limits,
            numbers: HashMap::new(),
        })
    }

    /// What its calls have come to so far.
    pub fn figures(&self) -> Figures {
        self.calls.figures()
    }

    async fn begin(&self, at_least: Lsn) -> Step<Known> {
        let known = self.books.at_least(&self.calls, at_least, self.limits.patience).await?;
        known.map_err(Stop::from)
    }

    async fn owed(&mut self, of: RouteId) -> Step<Owed> {
        let compared = &route(&self.routes, of)?.compared;
        let number = match self.numbers.get(&of) {
            Some(number) => *number,
            None => {
                let tables = (&compared.source, &compared.target);
                let number = self.books.number(&self.calls, tables).await?;
                let number = number.ok_or(NotRead::NotYet)?;
                self.numbers.insert(of, number);
                number
            }
        };
        Ok(self.books.owed(&self.calls, number).await?)
    }

    async fn end_of(&self, of: RouteId, after: Option<&Key>, rows: u64) -> Step<Option<Key>> {
        let (route, deadline) = (route(&self.routes, of)?, Instant::now() + self.limits.read);
        let mut walk = Walk::new(&self.calls, route, (after, End::default()), deadline)?;
        let mut count = 0;
        loop {
            let items = match walk.next().await? {
                Page::Items(items) => items,
                Page::Over => return Ok(None),
                Page::TooSlow => return Err(NotRead::TooSlow.into()),
            };
            for item in items {
                let found = route.rows_in(&item).into_iter().filter(|seen| !seen.is_tombstone);
                let found = found.map(|seen| seen.key).collect::<Vec<_>>();
                count += found.len() as u64;
                if let Some(last) = found.into_iter().next_back().filter(|_| count >= rows) {
                    return Ok(Some(last));
                }
            }
        }
    }

    async fn range(
        &self,
        of: RouteId,
        range: &KeyRange,
        detail: Detail,
        at_least: Lsn,
    ) -> Step<GreenRead<Vec<RowSeen>>> {
        let known = self.begin(at_least).await?;
        let (route, deadline) = (route(&self.routes, of)?, Instant::now() + self.limits.read);
        let end = End::of(&self.calls, route, range.upto.as_ref()).await?;
        let mut walk = Walk::new(&self.calls, route, (range.after.as_ref(), end), deadline)?;
        let taking = Taking { route, known: &known, detail, now_s: now_s() };
        let mut gathered = Gathered::default();
        loop {
            match walk.next().await? {
                Page::Items(items) => {
                    for item in &items {
                        let rows = route.rows_in(item);
                        gathered.bytes += if rows.is_empty() { 0 } else { item_size(item) };
                        rows.into_iter().for_each(|seen| gathered.take(&taking, seen));
                        self.check(&gathered)?;
                    }
                }
                Page::Over => break,
                Page::TooSlow => return Err(NotRead::TooSlow.into()),
            }
        }
        self.settle(&mut gathered).await?;
        Ok(GreenRead { moment: known.moment, value: gathered.rows, awaited: Vec::new() })
    }

    async fn named(
        &mut self,
        of: RouteId,
        keys: &HashSet<&Key>,
        detail: Detail,
        at_least: Lsn,
    ) -> Step<GreenRead<Vec<RowSeen>>> {
        let known = self.begin(at_least).await?;
        let owed = if keys.is_empty() { Owed::default() } else { self.owed(of).await? };
        let route = route(&self.routes, of)?;
        // A key that no item can have is one of no row.
        let places = keys.iter().filter_map(|key| route.layout.item_key(key).ok());
        let items = places.collect::<HashSet<ItemKey>>().iter().map(ItemKey::to_av).collect();
        let taking = Taking { route, known: &known, detail, now_s: now_s() };
        let mut gathered = Gathered::default();
        for item in self.calls.get_all(&route.layout.plan().table, items).await? {
            gathered.bytes += item_size(&item);
            let rows = route.rows_in(&item).into_iter().filter(|seen| keys.contains(&seen.key));
            rows.for_each(|seen| gathered.take(&taking, seen));
            self.check(&gathered)?;
        }
        self.settle(&mut gathered).await?;
        let mut awaited = keys.iter().filter_map(|key| owed.to(key)).collect::<Vec<_>>();
        for key in gathered.ahead {
            awaited.retain(|known| known.key != key);
            awaited.push(Awaited { key, why: Awaits::Heal });
        }
        Ok(GreenRead { moment: known.moment, value: gathered.rows, awaited })
    }

    fn check(&self, gathered: &Gathered) -> Step<()> {
        let rows = gathered.rows.len();
        let is_over = rows > self.limits.rows_max || (gathered.bytes > self.limits.bytes_max && rows > 1);
        if is_over { Err(NotRead::TooSlow.into()) } else { Ok(()) }
    }

    /// Decides about rows of runs that had not begun when the checkpoint was read.
    async fn settle(&self, gathered: &mut Gathered) -> Step<()> {
        if gathered.doubtful.is_empty() {
            return Ok(());
        }
        let now = self.books.known(&self.calls).await?.ok_or(NotRead::NotYet)?;
        for doubtful in std::mem::take(&mut gathered.doubtful) {
            if !now.is_of_later_run(doubtful.version) {
                gathered.ahead.push(doubtful.key);
            } else if let Some(row) = doubtful.at.and_then(|at| gathered.rows.get_mut(at)) {
                row.foreign = Some(true);
            }
        }
        Ok(())
    }

    async fn read(
        &mut self,
        of: RouteId,
        which: &Which,
        detail: Detail,
        at_least: Lsn,
    ) -> Step<GreenRead<Vec<RowSeen>>> {
        match which {
            Which::Range(range) => self.range(of, range, detail, at_least).await,
            Which::Names(names) => {
                let keys = names.iter().map(|name| &name.green).collect();
                self.named(of, &keys, detail, at_least).await
            }
            Which::Thorough(keys) => self.named(of, &keys.iter().collect(), detail, at_least).await,
        }
    }
}

impl Gathered {
    fn take(&mut self, taking: &Taking<'_>, seen: Seen) {
        let Taking { route, known, detail, now_s } = taking;
        let values = if seen.is_tombstone { None } else { route.of_green(&seen, *now_s) };
        let is_strange = !seen.is_ours || seen.version.is_none();
        if let Some(version) = seen.version.filter(|_| !is_strange) {
            if known.is_of_later_run(version) {
                let at = values.is_some().then_some(self.rows.len());
                self.doubtful.push(Doubtful { version, key: seen.key.clone(), at });
            } else if known.is_before(version) {
                self.ahead.push(seen.key.clone());
            }
        }
        let Some(values) = values else { return };
        self.rows.push(RowSeen {
            digest: route.digest(&values),
            // Whatever of ours touches a row gives it another version, so that the same mark twice is a row that we left alone.
            version: Some(RowVersion { text: seen.mark.into(), xid: 0 }),
            values: (*detail == Detail::Values).then_some(values),
            foreign: if is_strange { Some(true) } else { seen.is_foreign },
            name: RowName { green: seen.key, blue: seen.blue_key },
        });
    }
}

impl GreenRows for DynamoGreenRows {
    async fn boundary(
        &mut self,
        route: RouteId,
        after: Option<&Key>,
        rows: u64,
    ) -> Result<Answer<Option<Key>>, Failure> {
        answer(Box::pin(self.end_of(route, after, rows)).await)
    }

    async fn digest(
        &mut self,
        route: RouteId,
        range: &KeyRange,
        at_least: Lsn,
    ) -> Result<Answer<GreenRead<RangeDigest>>, Failure> {
        let read = answer(Box::pin(self.range(route, range, Detail::Digests, at_least)).await)?;
        Ok(read.map(|read| GreenRead {
            moment: read.moment,
            value: read.value.iter().map(|row| row.digest).collect(),
            awaited: Vec::new(),
        }))
    }

    async fn rows(
        &mut self,
        route: RouteId,
        which: &Which,
        detail: Detail,
        at_least: Lsn,
    ) -> Result<Answer<GreenRead<Vec<RowSeen>>>, Failure> {
        answer(Box::pin(self.read(route, which, detail, at_least)).await)
    }
}
