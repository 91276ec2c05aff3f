//! Watches over records that a group counts and that do not come.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};

use super::assembler::Next;
use crate::client::{ANSWER_MAX, Watcher, blocking, reader_config};
use crate::error::Error;
use crate::settings::KafkaSettings;

/// How long a record may fail to come before somebody looks whether it is there.
const PATIENCE: Duration = Duration::from_secs(15);

/// Records that are waited for.
#[derive(Debug, Clone)]
pub(super) struct Awaited {
    topic: String,
    partition: i32,
    from: Option<i64>,
    left: u64,
}

impl Awaited {
    pub(super) fn of(next: Next<'_>) -> Awaited {
        let Next { topic, partition, from, left, .. } = next;
        Awaited { topic: topic.to_string(), partition: partition as i32, from, left }
    }
}

/// Comes back once it is certain that the records are not there. A group is seen only after all its records have been
/// written, so that waiting does not bring them.
pub(super) async fn missing(settings: KafkaSettings, awaited: Awaited) -> Error {
    loop {
        tokio::time::sleep(PATIENCE).await;
        let (settings, awaited) = (settings.clone(), awaited.clone());
        match blocking(move || look(&settings, &awaited)).await {
            Ok(()) => {}
            // The reader itself notices when Kafka is away.
            Err(Error::Unreachable { why }) => {
                tracing::debug!("records that do not come were not looked for: {why}")
            }
            Err(error) => return error,
        }
    }
}

/// Looks whether the partition reaches far enough. Blocks its thread.
fn look(settings: &KafkaSettings, awaited: &Awaited) -> Result<(), Error> {
    let mut config = reader_config(settings, &super::client_id(settings));
    config.remove("group.id");
    // Also what is committed, but not yet marked so in this partition.
    config.set("isolation.level", "read_uncommitted");
    let watcher = Watcher::default();
    let consumer: BaseConsumer<Watcher> =
        config.create_with_context(watcher.clone()).map_err(|error| Error::of(&error, "the Kafka client"))?;
    let bounds = consumer.fetch_watermarks(&awaited.topic, awaited.partition, ANSWER_MAX);
    let bounds = bounds.map_err(|error| watcher.judge(&error, &awaited.topic))?;
    judge(awaited, bounds)
}

fn judge(awaited: &Awaited, (low, high): (i64, i64)) -> Result<(), Error> {
    let Awaited { topic, partition, from, left } = awaited;
    // Up to here the partition holds nothing of the group: what was deleted before may have been marks of transactions.
    let start = from.unwrap_or(low).max(low);
    if u64::try_from(high - start).unwrap_or(0) >= *left {
        return Ok(());
    }
    let topic = topic.clone();
    let missing =
        format!("{left} records of partition {partition} are missing, which holds offsets {low} to {high}");
    if start > from.unwrap_or(0) {
        Err(Error::Expired { topic, why: missing })
    } else {
        Err(Error::Torn { topic, why: missing })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards that an apply does not wait for ever for records that were deleted, and waits for those on their way.
    #[test]
    fn records_are_missing_when_their_partition_cannot_hold_them() {
        let awaited = |from, left| Awaited { topic: "shop.public.t".to_owned(), partition: 2, from, left };
        assert_eq!(judge(&awaited(Some(5), 3), (0, 8)), Ok(()));
        assert!(matches!(judge(&awaited(Some(5), 3), (0, 7)), Err(Error::Torn { .. })));
        assert!(matches!(judge(&awaited(Some(5), 3), (0, 4)), Err(Error::Torn { .. })));
        assert!(matches!(judge(&awaited(Some(5), 3), (9, 9)), Err(Error::Expired { .. })));
        assert!(matches!(judge(&awaited(None, 3), (9, 9)), Err(Error::Expired { .. })));
        assert_eq!(judge(&awaited(Some(5), 3), (6, 20)), Ok(()));
    }
}
