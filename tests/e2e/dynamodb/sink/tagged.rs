//! A sink for tables that know nothing of parts: what a mapping adds to every row and key for DynamoDB is added here.

use std::borrow::Cow;
use std::future::Future;

use understudy_contract::{
    Applied, Batch, ChangeSink, ChunkDone, Failure, LedgerEntry, Lineage, PlacedChunk, PlacedKind, Saved,
};
use understudy_dynamodb::DynamoSink;
use understudy_model::{Checkpoint, HealKey, Key, RouteId, RowChange, Tuple, TupleBuilder, Value};

/// Adds the column `_part` behind the others, and to keys, and takes it away again.
pub(super) struct Tagged {
    pub(super) sink: DynamoSink,
    /// What the column holds, by route.
    pub(super) parts: Vec<String>,
}

impl Tagged {
    fn part(&self, route: RouteId) -> &str {
        &self.parts[route.index()]
    }

    fn key(&self, route: RouteId, key: &Key) -> Key {
        Key::from_texts(key.texts().chain([self.part(route).as_bytes()]))
    }

    fn row(&self, route: RouteId, row: &Tuple) -> Tuple {
        let mut builder = TupleBuilder::default();
        row.values().for_each(|value| builder.push(&value));
        builder.push(&Value::Text(Cow::Borrowed(self.part(route).as_bytes())));
        builder.finish()
    }

    fn heal(&self, route: RouteId, key: &HealKey) -> HealKey {
        HealKey { green: self.key(route, &key.green), blue: key.blue.clone() }
    }

    fn change(&self, change: RowChange) -> RowChange {
        match change {
            RowChange::Insert { route, new } => RowChange::Insert { route, new: self.row(route, &new) },
            RowChange::Update { route, old_key, new, blue_key, before } => {
                let key_columns = understudy_testkit::suite::suite_tables().swap_remove(route.index()).key;
                RowChange::Update {
                    route,
                    old_key: old_key.map(|old| self.key(route, &old)),
                    blue_key: blue_key.or_else(|| new.key(&key_columns)),
                    new: self.row(route, &new),
                    before,
                }
            }
            RowChange::Delete { route, key, before } => {
                RowChange::Delete { route, key: self.key(route, &key), before }
            }
            RowChange::Reread { route, key } => RowChange::Reread { route, key: self.heal(route, &key) },
            RowChange::Refused { route, old_key, key, refusal } => RowChange::Refused {
                route,
                old_key: old_key.map(|old| self.key(route, &old)),
                key: self.key(route, &key),
                refusal,
            },
            emptied @ (RowChange::Truncate { .. } | RowChange::TruncateLeaf { .. }) => emptied,
        }
    }
}

/// A key of green without its part.
fn untagged(key: &HealKey) -> HealKey {
    let texts = key.green.texts().collect::<Vec<_>>();
    HealKey { green: Key::from_texts(texts[..texts.len() - 1].iter().copied()), blue: key.blue.clone() }
}

fn untagged_all(heals: Vec<(RouteId, HealKey)>) -> Vec<(RouteId, HealKey)> {
    heals.into_iter().map(|(route, key)| (route, untagged(&key))).collect()
}

impl ChangeSink for Tagged {
    async fn claim(&mut self) -> Result<Option<Saved>, Failure> {
        let saved = self.sink.claim().await?;
        Ok(saved.map(|saved| Saved { heals: untagged_all(saved.heals), ..saved }))
    }

    async fn begin(&mut self, lineage: &Lineage, checkpoint: Checkpoint) -> Result<(), Failure> {
        self.sink.begin(lineage, checkpoint).await
    }

    async fn apply(&mut self, batch: Batch) -> Result<Applied, Failure> {
        let changes = batch.changes.iter().map(|change| self.change(change.clone())).collect();
        let applied = self.sink.apply(Batch { changes, ..batch }).await?;
        Ok(Applied { heals: untagged_all(applied.heals), ..applied })
    }

    async fn place(&mut self, chunk: PlacedChunk) -> Result<(), Failure> {
        let route = chunk.route;
        let kind = match &chunk.kind {
            PlacedKind::Copy { .. } => chunk.kind.clone(),
            PlacedKind::Heal { keys } => {
                PlacedKind::Heal { keys: keys.iter().map(|key| self.heal(route, key)).collect() }
            }
        };
        let rows = chunk.rows.iter().map(|row| self.row(route, row)).collect();
        let left_out = chunk.left_out.iter().map(|key| self.key(route, key)).collect();
        let refused = chunk.refused.iter().map(|(key, why)| (self.key(route, key), why.clone())).collect();
        self.sink.place(PlacedChunk { kind, rows, left_out, refused, ..chunk }).await
    }

    async fn placed(&mut self) -> Result<ChunkDone, Failure> {
        self.sink.placed().await
    }

    async fn record(&mut self, entry: LedgerEntry) -> Result<(), Failure> {
        self.sink.record(entry).await
    }

    fn persist(&mut self) -> impl Future<Output = Result<Checkpoint, Failure>> + Send + use<> {
        self.sink.persist()
    }

    fn aside(&self) -> u64 {
        self.sink.aside()
    }
}
