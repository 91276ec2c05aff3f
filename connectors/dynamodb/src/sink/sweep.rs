//! Removes tombstones, and at the end what is ours beside rows.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_dynamodb::Client;
use tokio::task::JoinSet;
use understudy_contract::{Class, Failure};

use super::settings::SinkSettings;
use super::target::DynamoTable;
use crate::calls::{Calls, Segment, Written};
use crate::error::Error;
use crate::layout::{Bound, Family, Guard, Item, ItemLayout, Remains};
use crate::state::{State, Swept as Note};

/// The most segments that a table is read in.
pub const SEGMENTS_MAX: u32 = 64;

/// How many items of a segment are changed at once at most.
const ITEMS_AT_ONCE: usize = 16;

/// How often an item may change while it is being swept, before it is left to the next sweep.
const ROUNDS_MOST: u32 = 8;

/// What a sweep removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SweepSettings {
    /// In how many segments each table is read side by side, from 1 to [`SEGMENTS_MAX`].
    pub segments: u32,
    /// Tombstones of less than this age stay. A call that was given up may come late for as long as its signature is good, which
    /// on AWS is 15 minutes at most, and then bring a row back of which nothing tells any more that it was deleted. Zero, as
    /// at the end: all go.
    pub older_than: Duration,
    /// Whether rows lose what is ours beside them, too: each is written once more. Nothing can be verified, repaired or applied
    /// afterwards.
    pub attributes: bool,
}

impl Default for SweepSettings {
    fn default() -> SweepSettings {
        SweepSettings { segments: 4, older_than: Duration::ZERO, attributes: false }
    }
}

/// How far a sweep is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Segments of all tables.
    pub segments: u32,
    /// Those that are done, with those that were before an interruption.
    pub segments_done: u32,
    /// Tombstones that were removed.
    pub tombstones: u64,
    /// Items that are rows, and have lost something of ours.
    pub stripped: u64,
    /// Items that have something left which goes once: it is too young, not committed, or was written meanwhile.
    pub left: u64,
}

/// Removes tombstones of what is committed, and on request what is ours beside rows, from the tables of a migration. An item goes
/// only as long as it is the tombstone that was seen: whatever is written meanwhile stays. How far it is, is told after every page;
/// and it is kept, so that a sweep with the same settings goes on where one before it was interrupted. May be repeated. Where
/// nothing is remembered of the migration, nothing is removed.
///
/// An older instance that was frozen in the midst of a batch, and wakes up once the tombstones are gone, may bring back rows that
/// were deleted. Let none be running when all of them go.
pub async fn sweep(
    client: Client,
    settings: &SinkSettings,
    tables: &[DynamoTable],
    sweep: SweepSettings,
    tell: impl Fn(Swept) + Send + Sync + 'static,
) -> Result<Swept, Failure> {
    let state = State::new(&settings.state_table, &settings.migration, settings.instance);
    let sweeper = Sweeper {
        calls: Calls::new(client, settings.calls),
        state,
        settings: sweep,
        tombstones: settings.tombstones,
        swept: Mutex::default(),
        tell: Box::new(tell),
    };
    let layouts = tables.iter().map(|table| table.layout.clone()).collect::<Vec<_>>();
    let done = Box::pin(Arc::new(sweeper).run(layouts)).await;
    done.map_err(|failure| failure.while_doing("remove tombstones from green"))
}

struct Sweeper {
    calls: Calls,
    state: State,
    settings: SweepSettings,
    /// How long tombstones say that they stay.
    tombstones: Duration,
    swept: Mutex<Swept>,
    tell: Box<dyn Fn(Swept) + Send + Sync>,
}

/// A segment of a table that is to be swept.
struct Part {
    table: String,
    /// The routes into it.
    layouts: Arc<Vec<ItemLayout>>,
    segment: Segment,
    from: Option<Item>,
}

/// What became of an item.
#[derive(Clone, Copy)]
enum Fate {
    Untouched,
    /// It was a tombstone, and is gone.
    Tombstone,
    /// It is a row, and has lost something of ours.
    Stripped,
    Left,
}

impl Sweeper {
    async fn run(self: Arc<Sweeper>, layouts: Vec<ItemLayout>) -> Result<Swept, Failure> {
        let Some(checkpoint) = self.state.checkpoint(&self.calls).await? else { return Ok(Swept::default()) };
        let bound = Bound { checkpoint, until_s: self.until_s() };
        let name = format!(
            "{:016X}#{}#{}",
            checkpoint.lsn().raw(),
            self.settings.older_than.as_secs(),
            self.settings.attributes
        );
        let known = self.state.swept(&self.calls).await?;
        let (parts, count) = self.parts(layouts, &name, &known);
        {
            let mut swept = self.lock();
            swept.segments = count;
            swept.segments_done = count.saturating_sub(u32::try_from(parts.len()).unwrap_or(count));
        }
        let mut under_way = JoinSet::new();
        for part in parts {
            let (sweeper, name) = (Arc::clone(&self), name.clone());
            under_way.spawn(async move { Box::pin(sweeper.part(part, bound, &name)).await });
        }
        while let Some(joined) = under_way.join_next().await {
            joined.map_err(|error| {
                Failure::new(Class::Internal, "a sweep ended unexpectedly").caused_by(error)
            })??;
        }
        // From here on the next one begins anew.
        self.state.forget_swept(&self.calls).await?;
        let swept = *self.lock();
        Ok(swept)
    }

    /// Until when a tombstone says that it stays which is just old enough to go, in seconds since 1970.
    fn until_s(&self) -> Option<u64> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let until = now.saturating_add(self.tombstones).saturating_sub(self.settings.older_than);
        (!self.settings.older_than.is_zero()).then_some(until.as_secs())
    }

    /// The segments that are not done yet, and how many there are of all tables.
    fn parts(&self, layouts: Vec<ItemLayout>, name: &str, known: &[Note]) -> (Vec<Part>, u32) {
        let mut tables = BTreeMap::<String, Vec<ItemLayout>>::new();
        for layout in layouts {
            tables.entry(layout.plan().table.clone()).or_default().push(layout);
        }
        let of = self.settings.segments.clamp(1, SEGMENTS_MAX);
        let (mut parts, mut count) = (Vec::new(), 0);
        for (table, layouts) in tables {
            let layouts = Arc::new(layouts);
            for segment in
                (0..of).map(|number| Segment { number: number.cast_signed(), of: of.cast_signed() })
            {
                count += 1;
                let note = known.iter().find(|note| note.is_of(name, (&table, segment)));
                if note.is_some_and(|note| note.is_done()) {
                    continue;
                }
                let from = note.and_then(|note| note.from.clone());
                parts.push(Part { table: table.clone(), layouts: Arc::clone(&layouts), segment, from });
            }
        }
        (parts, count)
    }

    async fn part(self: Arc<Sweeper>, mut part: Part, bound: Bound, name: &str) -> Result<(), Failure> {
        loop {
            let place = (Some(part.segment), part.from.take());
            let page = self.calls.scan_segment(&part.table, self.filter(), place).await?;
            self.page(&part, page.0, bound).await?;
            let note = Note::new(name, (&part.table, part.segment), page.1.clone());
            self.state.note_swept(&self.calls, note).await?;
            let is_done = page.1.is_none();
            let now = {
                let mut swept = self.lock();
                swept.segments_done += u32::from(is_done);
                *swept
            };
            (self.tell)(now);
            if is_done {
                return Ok(());
            }
            part.from = page.1;
        }
    }

    /// The condition of the items that may have something to remove.
    fn filter(&self) -> Guard {
        let names: &[&str] = if self.settings.attributes { &["_t"] } else { &["_d", "_dp"] };
        let places = names.iter().enumerate().map(|(at, name)| (format!("#{at}"), (*name).to_owned()));
        let condition = (0..names.len()).map(|at| format!("attribute_exists(#{at})")).collect::<Vec<_>>();
        Guard { condition: condition.join(" OR "), names: places.collect(), values: Item::new() }
    }

    async fn page(self: &Arc<Sweeper>, part: &Part, items: Vec<Item>, bound: Bound) -> Result<(), Failure> {
        let mut under_way = JoinSet::new();
        for item in items {
            while under_way.len() >= ITEMS_AT_ONCE {
                self.next(&mut under_way).await?;
            }
            let (sweeper, layouts) = (Arc::clone(self), Arc::clone(&part.layouts));
            under_way.spawn(async move { Box::pin(sweeper.item(&layouts, item, bound)).await });
        }
        while !under_way.is_empty() {
            self.next(&mut under_way).await?;
        }
        Ok(())
    }

    async fn next(&self, under_way: &mut JoinSet<Result<Fate, Error>>) -> Result<(), Failure> {
        let broken = |error| Failure::new(Class::Internal, "a write ended unexpectedly").caused_by(error);
        let fate = under_way.join_next().await.transpose().map_err(broken)?.transpose()?;
        let mut swept = self.lock();
        match fate {
            Some(Fate::Tombstone) => swept.tombstones += 1,
            Some(Fate::Stripped) => swept.stripped += 1,
            Some(Fate::Left) => swept.left += 1,
            Some(Fate::Untouched) | None => {}
        }
        Ok(())
    }

    async fn item(&self, layouts: &[ItemLayout], mut item: Item, bound: Bound) -> Result<Fate, Error> {
        let families = Family::of_table(layouts);
        let family = families.iter().find(|family| family.has(&item));
        let key = layouts.iter().find_map(|layout| layout.key_of_item(&item));
        let (Some(family), Some(key)) = (family, key) else { return Ok(Fate::Untouched) };
        let mut fate = Fate::Untouched;
        for _ in 0..ROUNDS_MOST {
            let remains = if self.settings.attributes {
                family.stripped(&item, &bound)
            } else {
                family.swept(&item, &bound)
            };
            let found = match remains {
                Remains::Nothing => return Ok(fate),
                Remains::Stays => return Ok(Fate::Left),
                Remains::Item(guard) => match self.calls.delete(&key, guard).await? {
                    // Where nothing is there any more, an attempt before has done it.
                    Written::Done(_) | Written::NoRoom | Written::Unmet(None) => return Ok(Fate::Tombstone),
                    Written::Unmet(found) => found,
                },
                Remains::Attributes(update) => {
                    let returns = aws_sdk_dynamodb::types::ReturnValue::AllNew;
                    match self.calls.update(update, returns).await? {
                        Written::Done(now) => {
                            fate = Fate::Stripped;
                            now
                        }
                        Written::Unmet(found) => found,
                        Written::NoRoom => None,
                    }
                }
            };
            // What it is now, which is perhaps none of ours any more.
            item = match found.filter(|found| family.has(found)) {
                Some(found) => found,
                None => return Ok(fate),
            };
        }
        Ok(Fate::Left)
    }

    fn lock(&self) -> MutexGuard<'_, Swept> {
        // A panic elsewhere leaves figures that are old at worst.
        self.swept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
