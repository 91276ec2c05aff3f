//! Watches over records that a group counts and that do not come.

use std::time::Duration;

use super::assembler::Next;
use crate::client::blocking;
use crate::error::Error;
use crate::settings::KafkaSettings;
use crate::settled::{Doubt, Extent, Surveyor};

/// How long a record may fail to come before somebody looks whether it is there, and the pause before each further look, unless
/// brokers have less time to agree.
const LOOK_AFTER: Duration = Duration::from_secs(15);

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

/// Comes back once it is certain that the records are not there, or that brokers do not show them. A group is seen only after
/// all its records have been written, so that waiting does not bring them.
pub(super) async fn missing(settings: KafkaSettings, awaited: Awaited) -> Error {
    let patience = settings.patience;
    let (mut doubt, mut pause) = (Doubt::new(patience), LOOK_AFTER);
    loop {
        tokio::time::sleep(pause).await;
        pause = LOOK_AFTER;
        let (settings, awaited) = (settings.clone(), awaited.clone());
        match blocking(move || look(&settings, &awaited)).await {
            Ok(()) => doubt = Doubt::new(patience),
            // The reader itself notices when Kafka is away.
            Err(Error::Unreachable { why }) => {
                tracing::debug!("records that do not come were not looked for: {why}")
            }
            Err(error) => {
                if let Some(error) = doubt.stays(error) {
                    return error;
                }
                pause = LOOK_AFTER.min(patience);
            }
        }
    }
}

/// Looks whether the partition reaches far enough. Blocks its thread.
fn look(settings: &KafkaSettings, awaited: &Awaited) -> Result<(), Error> {
    let topics = [(awaited.topic.clone(), awaited.partition as usize + 1)].into();
    let extents = Surveyor::new(settings)?.look(&topics)?;
    extents.of(&awaited.topic, awaited.partition).map_or(Ok(()), |extent| judge(awaited, extent))
}

fn judge(awaited: &Awaited, extent: Extent) -> Result<(), Error> {
    let Awaited { topic, partition, from, left } = awaited;
    let Extent { low, stable, whole } = extent;
    // Up to here the partition holds nothing of the group: what was deleted before may have been marks of transactions.
    let start = from.unwrap_or(low).max(low);
    let reaches = |end: i64| u64::try_from(end - start).unwrap_or(0) >= *left;
    let topic = topic.clone();
    if reaches(stable) {
        return Ok(());
    }
    if reaches(whole) {
        return Err(Error::Unfinished { topic });
    }
    let missing =
        format!("{left} records of partition {partition} are missing, which holds offsets {low} to {whole}");
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
        let judge = |awaited, (low, end)| judge(&awaited, Extent { low, stable: end, whole: end });
        assert_eq!(judge(awaited(Some(5), 3), (0, 8)), Ok(()));
        assert!(matches!(judge(awaited(Some(5), 3), (0, 7)), Err(Error::Torn { .. })));
        assert!(matches!(judge(awaited(Some(5), 3), (0, 4)), Err(Error::Torn { .. })));
        assert!(matches!(judge(awaited(Some(5), 3), (9, 9)), Err(Error::Expired { .. })));
        assert!(matches!(judge(awaited(None, 3), (9, 9)), Err(Error::Expired { .. })));
        assert_eq!(judge(awaited(Some(5), 3), (6, 20)), Ok(()));
    }

    /// Records that are there and that a broker does not show are not lost: whoever took them to be would have a person begin
    /// anew, while the next transaction of the capture shows them.
    #[test]
    fn records_that_are_not_shown_are_waited_for() {
        let awaited = Awaited { topic: "shop.public.t".to_owned(), partition: 2, from: Some(5), left: 3 };
        let extent = |stable| Extent { low: 0, stable, whole: 9 };
        assert!(matches!(judge(&awaited, extent(5)), Err(Error::Unfinished { .. })));
        assert_eq!(judge(&awaited, extent(8)), Ok(()));
    }
}
