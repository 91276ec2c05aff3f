//! Where topics begin and end, and whether every transaction in them is finished, as brokers know it.
//!
//! A broker tells that a transaction is committed before its partitions show it. Killed in between, it finishes that once it is
//! back, unless it has come to forget it; and a capture that began before would take the log to be shorter than it is, and write
//! over what it has promised.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;

use crate::client::{Watcher, reader_config};
use crate::error::Error;
use crate::offsets::{Offsets, offsets, partitions_of};
use crate::settings::KafkaSettings;
use crate::topics::{Found, KNOWN_MAX, doubted, find, known};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Between two looks whether partitions show what is in them.
const GLANCE: Duration = Duration::from_millis(10);

/// How long partitions may take to show what is in them before that is remarkable.
const SLOW: Duration = Duration::from_secs(5);

/// Pause before what looks like a loss is looked at again.
pub(crate) const DOUBT_PAUSE: Duration = Duration::from_millis(500);

/// Something that looks like a loss, for as long as brokers may take to agree: one that has just begun to lead a partition may not
/// know all of it yet.
#[derive(Debug)]
pub(crate) struct Doubt {
    patience: Duration,
    since: Option<Instant>,
}

impl Doubt {
    pub(crate) fn new(patience: Duration) -> Doubt {
        Doubt { patience, since: None }
    }

    /// What is to be told; `None` where it may pass, and is to be looked at again after [`DOUBT_PAUSE`]. A loss comes with how
    /// long was waited.
    pub(crate) fn stays(&mut self, error: Error) -> Option<Error> {
        let mut error = error;
        let (Error::Torn { why, .. } | Error::Expired { why, .. }) = &mut error else { return Some(error) };
        let waited = self.since.get_or_insert_with(Instant::now).elapsed();
        if waited < self.patience {
            tracing::debug!(why, "the brokers are asked again");
            return None;
        }
        why.push_str(&format!("; the brokers were given {} s to agree on something else", waited.as_secs()));
        Some(error)
    }
}

/// Looks until that shows no loss, or until it stays. Blocks its thread.
pub(crate) fn agreed<T>(
    patience: Duration,
    is_wanted: impl Fn() -> bool,
    mut look: impl FnMut() -> Result<T, Error>,
) -> Result<T, Error> {
    let mut doubt = Doubt::new(patience);
    loop {
        match look() {
            Ok(found) => return Ok(found),
            Err(error) if !is_wanted() => return Err(error),
            Err(error) => match doubt.stays(error) {
                Some(error) => return Err(error),
                None => std::thread::sleep(DOUBT_PAUSE),
            },
        }
    }
}

/// What a partition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// The first offset that is still there.
    pub(crate) low: i64,
    /// Before this offset everything is committed or given up.
    pub(crate) stable: i64,
    /// The end.
    pub(crate) whole: i64,
}

impl Extent {
    /// Whether a transaction in it is not finished.
    pub(crate) fn hangs(&self) -> bool {
        self.stable < self.whole
    }
}

/// What partitions hold, by topic and partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Extents(BTreeMap<(String, i32), Extent>);

impl Extents {
    /// What a partition holds; `None` for one that nobody asked about.
    pub(crate) fn of(&self, topic: &str, partition: i32) -> Option<Extent> {
        self.0.get(&(topic.to_owned(), partition)).copied()
    }

    /// The partitions in which a transaction is not finished.
    pub(crate) fn hanging(&self) -> impl Iterator<Item = (&str, i32, Extent)> {
        let hanging = self.0.iter().filter(|(_, extent)| extent.hangs());
        hanging.map(|((topic, partition), extent)| (topic.as_str(), *partition, *extent))
    }
}

/// Asks brokers where topics begin and end. Blocks its thread, as all of it.
pub(crate) struct Surveyor {
    whole: BaseConsumer<Watcher>,
    committed: BaseConsumer<Watcher>,
    watcher: Watcher,
    /// How long brokers may be away.
    patience: Duration,
}

impl Surveyor {
    pub(crate) fn new(settings: &KafkaSettings) -> Result<Surveyor, Error> {
        let watcher = Watcher::default();
        let consumer = |isolation: &str| {
            let mut config = reader_config(settings, "understudy-reader");
            config.set("isolation.level", isolation);
            let consumer = config.create_with_context(watcher.clone());
            consumer.map_err(|error| Error::of(&error, "the Kafka client"))
        };
        Ok(Surveyor {
            whole: consumer("read_uncommitted")?,
            committed: consumer("read_committed")?,
            watcher: watcher.clone(),
            patience: settings.patience,
        })
    }

    /// Which of these topics there are. Looks until that is whole, or until every broker has had its time to know of them.
    pub(crate) fn topics<'a>(
        &self,
        wanted: impl Iterator<Item = &'a str> + Clone,
        is_whole: impl Fn(&BTreeMap<String, Found>) -> bool,
    ) -> Result<BTreeMap<String, Found>, Error> {
        known(KNOWN_MAX, || find(self.whole.client(), wanted.clone(), &self.watcher), is_whole)
    }

    /// What topics hold now, given how many partitions each has. Brokers are asked for all partitions at once.
    pub(crate) fn look(&self, topics: &BTreeMap<String, usize>) -> Result<Extents, Error> {
        let mut extents = BTreeMap::new();
        if topics.is_empty() {
            return Ok(Extents(extents));
        }
        // In this order, so that what is written meanwhile never looks finished.
        let stable = self.offsets(&self.committed, topics, Offset::End)?;
        let whole = self.offsets(&self.whole, topics, Offset::End)?;
        let lows = self.offsets(&self.whole, topics, Offset::Beginning)?;
        for (at, low) in lows {
            if let (Some(stable), Some(whole)) = (stable.get(&at), whole.get(&at)) {
                extents.insert(at, Extent { low, stable: *stable, whole: *whole });
            }
        }
        Ok(Extents(extents))
    }

    /// Where these partitions end, with what readers are yet to be shown.
    pub(crate) fn wholes(&self, partitions: &BTreeSet<(String, i32)>) -> Result<Offsets, Error> {
        self.ends(&self.whole, partitions, Offset::End)
    }

    /// Looks until every transaction in these topics is finished, or until that has taken too long since the first look that
    /// found one which is not. Gives what the last look has found. Brokers that are away are waited for while that is wanted.
    pub(crate) fn await_settled(
        &self,
        topics: &BTreeMap<String, usize>,
        patience: Duration,
        is_wanted: impl Fn() -> bool,
    ) -> Result<Extents, Error> {
        let began = Instant::now();
        let mut hanging_since = None;
        loop {
            match self.look(topics) {
                Ok(extents) if extents.hanging().next().is_none() => return Ok(extents),
                Ok(extents) => {
                    let since: &mut Instant = hanging_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > patience || !is_wanted() {
                        return Ok(extents);
                    }
                }
                Err(Error::Unreachable { .. }) if began.elapsed() < self.patience && is_wanted() => {}
                Err(error) => return Err(error),
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Waits until these partitions show everything that is in them now. `stuck` is told when that takes long. Brokers that are
    /// away are waited for while that is wanted.
    pub(crate) fn await_shown(
        &self,
        partitions: &BTreeSet<(String, i32)>,
        stuck: impl Fn(),
        is_wanted: impl Fn() -> bool,
    ) -> Result<(), Error> {
        let began = Instant::now();
        let mut slow_since = Instant::now();
        let mut whole = None;
        loop {
            let mut is_shown = || -> Result<bool, Error> {
                let whole = match &whole {
                    Some(whole) => whole,
                    None => whole.insert(self.ends(&self.whole, partitions, Offset::End)?),
                };
                let stable = self.ends(&self.committed, partitions, Offset::End)?;
                Ok(whole.iter().all(|(at, end)| stable.get(at) >= Some(end)))
            };
            match is_shown() {
                Ok(true) => return Ok(()),
                Ok(false) if slow_since.elapsed() > SLOW => {
                    stuck();
                    slow_since = Instant::now();
                }
                Ok(false) => {}
                Err(Error::Unreachable { .. }) if began.elapsed() < self.patience => {}
                Err(error) => return Err(error),
            }
            if !is_wanted() {
                let why = "nobody waits any more for what brokers show".to_owned();
                return Err(Error::Unreachable { why });
            }
            std::thread::sleep(GLANCE);
        }
    }

    fn offsets(
        &self,
        consumer: &BaseConsumer<Watcher>,
        topics: &BTreeMap<String, usize>,
        end: Offset,
    ) -> Result<Offsets, Error> {
        let sizes = topics.iter().map(|(topic, partitions)| (topic, *partitions));
        self.ends(consumer, &partitions_of(sizes).collect(), end)
    }

    fn ends(
        &self,
        consumer: &BaseConsumer<Watcher>,
        partitions: &BTreeSet<(String, i32)>,
        end: Offset,
    ) -> Result<Offsets, Error> {
        let judge = |error: &KafkaError, subject: &str| {
            let names = partitions.iter().map(|(topic, _)| topic.as_str()).collect::<BTreeSet<_>>();
            let judged = self.watcher.judge(error, subject);
            doubted(judged, (self.whole.client(), &self.watcher), names.into_iter())
        };
        offsets(consumer, (partitions.iter().cloned(), end), judge)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn torn() -> Error {
        Error::Torn { topic: "shop.understudy.order".to_owned(), why: "it ends with group 5".to_owned() }
    }

    /// Guards that a log which a new leader shows too short for a while is not given up as lost, which has a person begin anew.
    #[test]
    fn brokers_have_time_to_agree() {
        let looks = Cell::new(0);
        let look = || {
            looks.set(looks.get() + 1);
            if looks.get() < 3 { Err(torn()) } else { Ok(looks.get()) }
        };
        assert_eq!(agreed(Duration::from_secs(60), || true, look), Ok(3));
    }

    /// Guards that a loss is told in the end, with how long was waited, and that nothing but a loss is waited for here.
    #[test]
    fn a_loss_is_told_once_patience_is_over() {
        let lost = agreed(Duration::from_millis(1_100), || true, || Err::<(), _>(torn())).unwrap_err();
        assert!(lost.to_string().contains("group 5; the brokers were given 1 s"), "{lost}");
        let login = Error::Login { why: String::new() };
        let looks = Cell::new(0);
        let look = || {
            looks.set(looks.get() + 1);
            Err::<(), _>(login.clone())
        };
        assert_eq!(agreed(Duration::from_secs(60), || true, look), Err(login.clone()));
        assert_eq!(looks.get(), 1);
        assert!(agreed(Duration::from_secs(60), || false, || Err::<(), _>(torn())).is_err(), "nobody waits");
    }
}
