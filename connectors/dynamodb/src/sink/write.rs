//! One row is written: as it is expected to stand, and where it stands otherwise, as that calls for.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_dynamodb::types::ReturnValue;
use tokio::task::JoinSet;
use understudy_contract::{Class, Failure};
use understudy_model::{HealKey, Key, Position, RouteId};

use super::settings::{Batches, OnError, Transactions};
use crate::calls::{Calls, Written};
use crate::error::Error;
use crate::layout::{Expect, Item, ItemKey, ItemLayout, Removal, Row, Standing, UpdateParts, Version, bury};
use crate::state::{Notes, State, surprise};

/// How many rows are on their way at once at most. How many calls those are is for each table to say.
const ROWS_AT_ONCE: usize = 256;

/// How often a write may find its row in another state than it was told the moment before.
const ROUNDS_MOST: u32 = 8;

/// What all writes of a sink share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) calls: Calls,
    pub(super) state: State,
    pub(super) on_error: OnError,
    pub(super) tombstones: Duration,
    pub(super) batches: Batches,
    pub(super) transactions: Transactions,
    pub(super) adopts: bool,
    /// Those of all routes: some share items.
    pub(super) layouts: Vec<Arc<ItemLayout>>,
}

impl Shared {
    /// Until when a row that is deleted now is remembered, in seconds since 1970.
    pub(super) fn until_s(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        now.saturating_add(self.tombstones).as_secs()
    }
}

/// What a completed copy promises of the row that a change finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    /// Nothing.
    Any,
    /// That it is there.
    There,
    /// That it is not there.
    Free,
}

impl First {
    /// How the row is expected to stand, before anything else is known of it.
    pub(super) fn expect(self) -> Expect {
        match self {
            First::Any => Expect::Any,
            First::There => Expect::There,
            First::Free => Expect::Gone,
        }
    }
}

/// What becomes of a row.
#[derive(Debug, Clone)]
pub(super) enum Body {
    /// It is as a whole.
    Put(Row),
    /// It has these values beside those that were not sent.
    Patch(Row),
    /// It is gone.
    Gone,
}

/// One row, and what changes make of it together.
#[derive(Debug, Clone)]
pub(super) struct Op {
    pub(super) layout: Arc<ItemLayout>,
    pub(super) route: RouteId,
    /// The route's number in the state table.
    pub(super) number: u32,
    pub(super) key: Key,
    pub(super) item: ItemKey,
    pub(super) part: Option<String>,
    /// What the first of the changes finds.
    pub(super) first: First,
    /// Whether the route is in its first copy: what is there without a version was there before it.
    pub(super) is_new: bool,
    /// The version and the identity of the first.
    pub(super) from: (Version, Position),
    pub(super) body: Body,
    /// The version and the identity of the last.
    pub(super) upto: (Version, Position),
    /// The place of the last in its batch.
    pub(super) at: usize,
    /// By what the row is read again, should that be needed.
    pub(super) heal: Option<HealKey>,
}

/// What writing a row brought to light.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) op: Op,
    /// It was not as a completed copy promises. Recorded.
    pub(super) surprised: bool,
    /// It has to be read again.
    pub(super) heal: Heal,
    /// DynamoDB does not take it.
    pub(super) refused: Option<Error>,
}

impl Outcome {
    pub(super) fn new(op: Op) -> Outcome {
        Outcome { op, surprised: false, heal: Heal::No, refused: None }
    }
}

/// Why a row has to be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heal {
    /// It need not.
    No,
    /// A part of it was sent, and it is not there.
    Missing,
    /// A part of it was sent, and an earlier run has come further with it: what was not sent may be of another time.
    Ahead,
}

/// A request in the form that the row's item asks for.
pub(super) enum Request {
    Put(Item, crate::layout::Guard),
    Update(UpdateParts, ReturnValue),
}

/// What is to be done after a condition did not hold.
pub(super) enum Next {
    Again(Expect),
    Over,
}

/// Writes rows, all of different keys, side by side. The first failure is the one that is told.
pub(super) async fn write_all(
    shared: &Arc<Shared>,
    ops: impl IntoIterator<Item = Op>,
) -> Result<Vec<Outcome>, Failure> {
    let mut under_way = JoinSet::new();
    let mut outcomes = Vec::new();
    for op in ops {
        while under_way.len() >= ROWS_AT_ONCE {
            outcomes.extend(next(&mut under_way).await?);
        }
        let shared = Arc::clone(shared);
        under_way.spawn(async move { Box::pin(shared.write(op)).await });
    }
    while !under_way.is_empty() {
        outcomes.extend(next(&mut under_way).await?);
    }
    outcomes.sort_by_key(|outcome| outcome.op.at);
    Ok(outcomes)
}

async fn next(under_way: &mut JoinSet<Result<Outcome, Failure>>) -> Result<Option<Outcome>, Failure> {
    let broken = |error| Failure::new(Class::Internal, "a write ended unexpectedly").caused_by(error);
    under_way.join_next().await.transpose().map_err(broken)?.transpose()
}

impl Shared {
    async fn write(&self, op: Op) -> Result<Outcome, Failure> {
        let at = op.upto.1;
        let doing = format!("write to {}", op.item.table());
        self.rounds(op).await.map_err(|error| Failure::from(error).at(at).while_doing(doing))
    }

    async fn rounds(&self, op: Op) -> Result<Outcome, Error> {
        let mut expect = op.first.expect();
        let mut outcome = Outcome::new(op);
        for _ in 0..ROUNDS_MOST {
            let written = match self.attempt(&outcome.op, &expect).await {
                Err(error) if error.is_of_row() => {
                    outcome.refused = Some(error);
                    return Ok(outcome);
                }
                written => written?,
            };
            match written {
                Written::Done(returned) => {
                    self.done(&mut outcome, returned).await?;
                    return Ok(outcome);
                }
                Written::NoRoom => self.make_room(&outcome.op).await?,
                Written::Unmet(found) => match self.unmet(&mut outcome, found.as_ref()).await? {
                    Next::Over => return Ok(outcome),
                    Next::Again(other) => expect = other,
                },
            }
        }
        let (table, item) = (outcome.op.item.table().to_owned(), outcome.op.item.hashed());
        Err(Error::Unsteady { table, item })
    }

    async fn attempt(&self, op: &Op, expect: &Expect) -> Result<Written, Error> {
        match self.request(op, expect)? {
            Request::Put(item, guard) => self.calls.put(op.item.table(), item, guard).await,
            Request::Update(update, returns) => self.calls.update(update, returns).await,
        }
    }

    pub(super) fn request(&self, op: &Op, expect: &Expect) -> Result<Request, Error> {
        let version = op.upto.0;
        Ok(match &op.body {
            Body::Put(row) if op.part.is_none() => {
                Request::Put(op.layout.item_of(row.clone(), version)?, op.layout.guard_if(version, expect))
            }
            Body::Put(row) => {
                Request::Update(op.layout.update_if(row.clone(), version, expect)?, ReturnValue::None)
            }
            Body::Patch(row) => {
                let update = op.layout.update_if(row.clone(), version, &Expect::There)?;
                Request::Update(update, ReturnValue::UpdatedOld)
            }
            Body::Gone => match op.layout.removal_if(&op.key, (version, self.until_s()), expect)? {
                Removal::Put(item) => Request::Put(item, op.layout.guard_if(version, expect)),
                Removal::Update(update) => Request::Update(*update, ReturnValue::AllNew),
            },
        })
    }

    /// A write is done, and something may follow from what it returned.
    async fn done(&self, outcome: &mut Outcome, returned: Option<Item>) -> Result<(), Error> {
        let op = &outcome.op;
        match (&op.body, returned) {
            (Body::Patch(_), Some(before)) => {
                let before = op.layout.standing(Some(&before), op.part.as_deref());
                if before.version().is_some_and(|before| before.is_ahead_of(op.upto.0)) {
                    outcome.heal = Heal::Ahead;
                }
            }
            (Body::Gone, Some(now)) => {
                self.bury(op, &now).await?;
            }
            (Body::Put(_) | Body::Patch(_) | Body::Gone, _) => {}
        }
        Ok(())
    }

    /// Makes a tombstone of an item of which no part is left.
    pub(super) async fn bury(&self, op: &Op, now: &Item) -> Result<(), Error> {
        let table = op.item.table();
        let into_table = self.layouts.iter().map(Arc::as_ref).filter(|layout| layout.plan().table == table);
        if let Some(burial) = bury(into_table, now, self.until_s()) {
            // Where its condition does not hold, a part of the item lives, or lives again.
            self.calls.update(burial, ReturnValue::None).await?;
        }
        Ok(())
    }

    pub(super) async fn make_room(&self, op: &Op) -> Result<(), Error> {
        if let Some(room) = op.layout.room(&op.item) {
            self.calls.update(room, ReturnValue::None).await?;
        }
        Ok(())
    }

    /// The row does not stand as expected: what that means, and what is to be done.
    pub(super) async fn unmet(&self, outcome: &mut Outcome, found: Option<&Item>) -> Result<Next, Error> {
        let op = &outcome.op;
        let standing = op.layout.standing(found, op.part.as_deref());
        if let Some(version) = standing.version() {
            if version.epoch > op.upto.0.epoch {
                return Err(Error::Superseded);
            }
            // Written already: by an attempt of which nothing was heard, or when it was applied before.
            if version.epoch == op.upto.0.epoch && version >= op.upto.0 {
                if matches!(op.body, Body::Patch(_)) {
                    // What it went over, only that attempt was told.
                    outcome.heal = Heal::Ahead;
                }
                return Ok(Next::Over);
            }
        }
        let is_strangers = op.is_new && !self.adopts && matches!(standing, Standing::Unversioned(_));
        if standing == Standing::Others || is_strangers {
            let (table, item) = (op.item.table().to_owned(), op.item.hashed());
            outcome.refused = Some(Error::Others { table, item });
            return Ok(Next::Over);
        }
        let done_before = standing.version().is_some_and(|version| version.is_ahead_of(op.from.0));
        let fits = match op.first {
            First::Any => true,
            First::There => matches!(standing, Standing::There(_)),
            First::Free => !standing.is_there(),
        };
        if !fits && !done_before && !outcome.surprised {
            let kind = if op.first == First::Free { "extra" } else { "missing" };
            // Before it is mended: afterwards nothing tells of it any more.
            let note = surprise(op.number, &op.key, op.from.1, kind);
            self.state.write(&self.calls, Notes::from([note])).await?;
            outcome.surprised = true;
        }
        if matches!(op.body, Body::Patch(_)) {
            if matches!(standing, Standing::There(_)) {
                return Ok(Next::Again(Expect::There));
            }
            outcome.heal = Heal::Missing;
            return Ok(Next::Over);
        }
        Ok(Next::Again(match standing {
            Standing::Unversioned(seen) => Expect::Unversioned(seen),
            _ => Expect::Any,
        }))
    }
}
