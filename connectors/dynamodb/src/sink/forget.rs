//! Removes what a migration has left on green: what is remembered of it, and on request the rows that it wrote.

use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use tokio::task::JoinSet;
use understudy_contract::{Class, Failure};

use super::settings::SinkSettings;
use super::target::DynamoTable;
use crate::calls::{Calls, Written};
use crate::error::Error;
use crate::layout::{Family, Guard, Item, ItemLayout, Remains, TAG};
use crate::state::State;
use crate::verify_ledger::partition;

/// How many items are removed at once at most.
const ITEMS_AT_ONCE: usize = 32;

/// How often an item may change while it is being removed.
const ROUNDS_MOST: u32 = 32;

/// What is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Forget {
    /// The rows that the migration wrote, by their tags, with their tombstones. Rows that others have changed since stay as far
    /// as their digests tell: one that was last written in part has none, and goes whoever changed it. What others keep in the
    /// same items stays.
    pub rows: bool,
    /// What is remembered: checkpoint, ledgers, quarantine, and what was verified.
    pub bookkeeping: bool,
}

/// Sends whoever owns the migration away, which finds that out with its next batch, and removes what is asked for, rows first. Tables
/// stay, also the one of states. May be repeated. Returns what was removed, as noun phrases for a person.
pub async fn forget(
    client: Client,
    settings: &SinkSettings,
    tables: &[DynamoTable],
    what: Forget,
) -> Result<Vec<String>, Failure> {
    let calls = Arc::new(Calls::new(client, settings.calls));
    let state = State::new(&settings.state_table, &settings.migration, settings.instance);
    let evicted = state.evict(&calls).await;
    evicted.map_err(|error| Failure::from(error).while_doing("take the migration from its owner"))?;
    let ledger = State::new(&settings.state_table, &partition(&settings.migration), settings.instance);
    let mut removed = Vec::new();
    if what.rows {
        let layouts = tables.iter().map(|table| table.layout.clone()).collect::<Vec<_>>();
        let told = Box::pin(rows(&calls, layouts)).await;
        removed.extend(told.map_err(|failure| failure.while_doing("remove rows from green"))?);
    }
    if what.bookkeeping {
        let count = Box::pin(bookkeeping(&calls, &state, &ledger)).await;
        let count =
            count.map_err(|error| Failure::from(error).while_doing("remove the bookkeeping on green"))?;
        if count > 0 {
            removed.push(format!(
                "{count} items of the bookkeeping in table {}, which itself stays",
                settings.state_table
            ));
        }
    }
    Ok(removed)
}

/// The ledger of verification last: nobody takes that without the migration.
async fn bookkeeping(calls: &Calls, state: &State, ledger: &State) -> Result<u64, Error> {
    let count = state.forget(calls).await?;
    ledger.evict(calls).await?;
    Ok(count + ledger.forget(calls).await?)
}

/// What became of an item.
#[derive(Clone, Copy)]
enum Fate {
    Removed,
    /// What is ours was taken out of it.
    Emptied,
    /// Others have changed it.
    Stays,
    NotOurs,
}

async fn rows(calls: &Arc<Calls>, layouts: Vec<ItemLayout>) -> Result<Vec<String>, Failure> {
    let mut tables = layouts.iter().map(|layout| layout.plan().table.clone()).collect::<Vec<_>>();
    tables.sort_unstable();
    tables.dedup();
    let mut told = Vec::new();
    for table in tables {
        let ours = layouts.iter().filter(|layout| layout.plan().table == table).cloned();
        let (removed, emptied, stay) = of_table(calls, &table, Arc::new(ours.collect())).await?;
        for (count, what) in [
            (removed, format!("items of table {table}")),
            (
                emptied,
                format!("items of table {table} that others share: what the migration wrote into them"),
            ),
        ] {
            if count > 0 {
                told.push(format!("{count} {what}"));
            }
        }
        if stay > 0 {
            tracing::warn!(table, items = stay, "items stay, since others have changed them");
        }
    }
    Ok(told)
}

async fn of_table(
    calls: &Arc<Calls>,
    table: &str,
    layouts: Arc<Vec<ItemLayout>>,
) -> Result<(u64, u64, u64), Failure> {
    let tagged = || Guard {
        condition: "attribute_exists(#t)".to_owned(),
        names: [("#t".to_owned(), TAG.to_owned())].into(),
        values: Item::new(),
    };
    let (mut counts, mut from) = ((0, 0, 0), None);
    loop {
        let (items, next) = match calls.scan_segment(table, tagged(), (None, from)).await {
            // Without the table there are no rows.
            Err(Error::NoTable { .. }) => return Ok(counts),
            page => page?,
        };
        let mut under_way = JoinSet::new();
        for item in items {
            while under_way.len() >= ITEMS_AT_ONCE {
                count(&mut counts, &mut under_way).await?;
            }
            let (calls, layouts) = (Arc::clone(calls), Arc::clone(&layouts));
            under_way.spawn(async move { Box::pin(remove(&calls, &layouts, item)).await });
        }
        while !under_way.is_empty() {
            count(&mut counts, &mut under_way).await?;
        }
        match next {
            Some(next) => from = Some(next),
            None => return Ok(counts),
        }
    }
}

async fn count(
    (removed, emptied, stay): &mut (u64, u64, u64),
    under_way: &mut JoinSet<Result<Fate, Error>>,
) -> Result<(), Failure> {
    let broken = |error| Failure::new(Class::Internal, "a write ended unexpectedly").caused_by(error);
    match under_way.join_next().await.transpose().map_err(broken)?.transpose()? {
        Some(Fate::Removed) => *removed += 1,
        Some(Fate::Emptied) => *emptied += 1,
        Some(Fate::Stays) => *stay += 1,
        Some(Fate::NotOurs) | None => {}
    }
    Ok(())
}

async fn remove(calls: &Calls, layouts: &[ItemLayout], mut item: Item) -> Result<Fate, Error> {
    let families = Family::of_table(layouts);
    let Some(family) = families.iter().find(|family| family.has(&item)) else { return Ok(Fate::NotOurs) };
    let Some(key) = layouts.iter().find_map(|layout| layout.key_of_item(&item)) else {
        return Ok(Fate::NotOurs);
    };
    for _ in 0..ROUNDS_MOST {
        let written = match family.without_rows(&item) {
            None => return Ok(Fate::Stays),
            Some(Remains::Nothing | Remains::Stays) => return Ok(Fate::NotOurs),
            Some(Remains::Item(guard)) => match calls.delete(&key, guard).await? {
                Written::Done(_) => return Ok(Fate::Removed),
                written => written,
            },
            Some(Remains::Attributes(update)) => {
                calls.update(update, aws_sdk_dynamodb::types::ReturnValue::AllNew).await?
            }
        };
        item = match written {
            // An attempt before has done it.
            Written::Unmet(None) | Written::NoRoom => return Ok(Fate::Removed),
            Written::Done(Some(now)) | Written::Unmet(Some(now)) if family.has(&now) => now,
            Written::Done(_) | Written::Unmet(Some(_)) => return Ok(Fate::Emptied),
        };
    }
    Err(Error::Unsteady { table: key.table().to_owned(), item: key.hashed() })
}
