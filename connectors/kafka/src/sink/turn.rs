//! Whose turn it is to write, where several captures set about it: that of the one that was started last.
//!
//! Kafka lets whoever began last write, whoever that is. One that only tries again would send away a newer one, and might then
//! not come to its end. So nobody begins before it has put a note into the topic of the bookkeeping that it is about to
//! (`StateRecord::Claim`, outside of transactions, so that all see it at once and in one order), and only where no other note
//! stands behind its own:
//!
//! 1. The books are read: whose log it is, and whether somebody who set about it later has put its name there. Then that one
//!    writes, and we are superseded. Nothing has been touched.
//! 2. A process that has no note yet puts it there, once. An older process gives way from then on, once it is sent away.
//! 3. Who finds a later note and not yet its name waits for it, as long as patience is set. Killed or given up, that one never
//!    comes; then the older one goes on, and its note still says that it is the older.
//! 4. `init_transactions` sends everybody else away.
//! 5. The notes are read once more. Who was overtaken since its last look writes nothing, and gives way.
//! 6. The log is finished, read and checked; last of all the name is put into the books. From then on, and not before, older
//!    processes are superseded.
//!
//! An older one that was overtaken between 1 and 4 may have sent the newer one away. That one finds no note behind its own when it is
//! told so, takes it for a hiccup, and is tried again, which sends the older one away for good.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use understudy_model::TableName;

use super::left::own;
use super::transaction::{LOOK_PAUSE, Pen};
use crate::client::{ANSWER_MAX, Watcher};
use crate::codec::{StateKey, StateRecord};
use crate::error::Error;
use crate::names::TopicNames;
use crate::owner::{Claimant, Whose};
use crate::read_all::{Stretch, Told, read};
use crate::settings::KafkaSettings;
use crate::settled::Surveyor;

/// Whose turn it is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Turn {
    /// We have left no note yet.
    Unsaid,
    /// Ours: nobody has left a note after us.
    Ours,
    /// That of the last of these: they have left notes after us. None of them has put its name into the books.
    Theirs(Vec<u64>),
    /// Somebody else's who was started later, and whose name is in the books.
    Over,
}

/// What the bookkeeping tells of who writes, and who is about to. Every look reads what has come since the one before.
pub(super) struct Register {
    surveyor: Surveyor,
    /// The offsets up to which it has been read: committed records, and all.
    read: (i64, i64),
    whose: Whose,
    /// Tables that the books know.
    tables: BTreeSet<TableName>,
    /// Whoever has left a note, by its token, in their order. Compaction leaves the last one of all, and everything since the last
    /// segment was closed.
    notes: Vec<u64>,
}

impl Register {
    pub(super) fn new(settings: &KafkaSettings) -> Result<Register, Error> {
        Ok(Register {
            surveyor: Surveyor::new(settings)?,
            read: (0, 0),
            whose: Whose::default(),
            tables: BTreeSet::new(),
            notes: Vec::new(),
        })
    }

    /// What it asks brokers by.
    pub(super) fn surveyor(&self) -> &Surveyor {
        &self.surveyor
    }

    /// Looks for the first time, at a topic that may have been made a moment ago. Blocks its thread.
    pub(super) fn first_look(mut self, pen: &Pen) -> Result<Register, Error> {
        let began = Instant::now();
        loop {
            match self.look(pen) {
                Ok(()) => return Ok(self),
                Err(Error::Unreachable { .. })
                    if began.elapsed() < pen.settings.patience && !pen.is_abandoned() =>
                {
                    std::thread::sleep(LOOK_PAUSE);
                }
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) fn whose(&self) -> &Whose {
        &self.whose
    }

    /// The topics that a capture has written to: those of the log, and of the tables that the books know.
    pub(super) fn must_be_there(&self, pen: &Pen) -> BTreeSet<String> {
        if !self.whose.has_begun() {
            return BTreeSet::new();
        }
        let names = TopicNames::new(&pen.settings.topic_prefix);
        let of_tables = self.tables.iter().map(|table| names.table(table));
        let captured = of_tables.filter(|topic| pen.topics.tables.contains(topic));
        captured.chain(own(&pen.topics).into_iter().cloned()).collect()
    }

    /// Reads on, and refuses the log of another migration. Blocks its thread, as all of it.
    pub(super) fn look(&mut self, pen: &Pen) -> Result<(), Error> {
        let topic = pen.topics.state.as_str();
        let extent = match self.surveyor.look(&BTreeMap::from([(topic.to_owned(), 1)])) {
            Ok(extents) => extents.of(topic, 0),
            // It was there, or was made, a moment ago. Whether it is gone is seen to by whoever begins again.
            Err(Error::NoTopic { .. }) => None,
            Err(error) => return Err(error),
        };
        let unknown = || Error::Unreachable { why: format!("a broker does not know topic {topic} yet") };
        let extent = extent.ok_or_else(unknown)?;
        let (whose, tables, notes) = (&mut self.whose, &mut self.tables, &mut self.notes);
        let committed = Stretch { from: extent.low.max(self.read.0), ..Stretch::committed(topic, 0, extent) };
        read(&pen.settings, committed, |message| {
            let (key, value) = (message.key().unwrap_or_default(), message.payload());
            whose.take(key, value);
            if let Ok(StateKey::Route { source }) = StateKey::from_bytes(key) {
                match StateRecord::read(key, value) {
                    Ok(StateRecord::Route(_)) => tables.insert(source),
                    Ok(_) | Err(_) => tables.remove(&source),
                };
            }
            Told::GoOn
        })?;
        let (from, until) = (extent.low.max(self.read.1), extent.whole);
        let all = Stretch { topic, partition: 0, from, until, uncommitted: true };
        read(&pen.settings, all, |message| {
            let record = StateRecord::read(message.key().unwrap_or_default(), message.payload());
            if let Ok(StateRecord::Claim { token }) = record {
                notes.push(token);
            }
            Told::GoOn
        })?;
        self.read = (extent.stable.max(self.read.0), extent.whole.max(self.read.1));
        self.whose.check(&pen.claimant, &pen.settings.topic_prefix)
    }

    /// Waits until it is our turn, and sees to it that it comes. Gives those who are newer and are not waited for any longer.
    pub(super) fn await_turn(&mut self, pen: &Pen) -> Result<Vec<u64>, Error> {
        let (patience, mut left, mut waiting) = (pen.settings.patience, None, None);
        loop {
            self.look(pen)?;
            match turn(&self.notes, &self.whose, &pen.claimant) {
                Turn::Ours => return Ok(Vec::new()),
                Turn::Over => return Err(Error::Superseded),
                Turn::Unsaid => match left {
                    None => {
                        leave_note(pen)?;
                        left = Some(Instant::now());
                        continue;
                    }
                    Some(left) if left.elapsed() > patience => {
                        let why = "no broker shows what was written to it".to_owned();
                        return Err(Error::Unreachable { why });
                    }
                    Some(_) => {}
                },
                Turn::Theirs(newer) => {
                    let since: &mut Instant = waiting.get_or_insert_with(|| {
                        tracing::info!("a newer instance of this capture is about to write: waiting for it");
                        Instant::now()
                    });
                    if since.elapsed() > patience {
                        let waited_s = since.elapsed().as_secs();
                        tracing::warn!(
                            waited_s,
                            "a newer instance was about to write, and has not come to it: going on"
                        );
                        return Ok(newer);
                    }
                }
            }
            if pen.is_abandoned() {
                return Err(Error::Lapsed);
            }
            std::thread::sleep(LOOK_PAUSE.min(patience));
        }
    }

    /// Whether it is still our turn now that everybody else has been sent away, but for those who are newer and did not come.
    pub(super) fn is_still_ours(&mut self, pen: &Pen, passed: &[u64]) -> Result<(), Error> {
        self.look(pen)?;
        match turn(&self.notes, &self.whose, &pen.claimant) {
            Turn::Ours => Ok(()),
            Turn::Theirs(newer) if newer == passed => Ok(()),
            Turn::Theirs(_) | Turn::Unsaid => Err(Error::Lapsed),
            Turn::Over => Err(Error::Superseded),
        }
    }
}

/// What being sent away comes to.
pub(super) fn sent_away(pen: &Pen) -> Error {
    let looked = Register::new(&pen.settings).and_then(|mut register| {
        register.look(pen)?;
        Ok(turn(&register.notes, &register.whose, &pen.claimant))
    });
    match looked {
        Ok(Turn::Over) => Error::Superseded,
        // Whoever is about to write is waited for by the next try.
        Ok(Turn::Theirs(_) | Turn::Ours | Turn::Unsaid) => Error::Lapsed,
        Err(error) => error,
    }
}

/// Leaves a note that we are about to write. Whether it has arrived where this fails, the next look tells.
fn leave_note(pen: &Pen) -> Result<(), Error> {
    let topic = pen.topics.state.as_str();
    let watcher = Watcher::default();
    let mut config = pen.settings.client_config("understudy-claim");
    config.set("acks", "all").set("message.timeout.ms", ANSWER_MAX.as_millis().to_string());
    let producer = config.create_with_context(watcher.clone());
    let producer: ThreadedProducer<Watcher> =
        producer.map_err(|error| Error::of(&error, "the Kafka client"))?;
    let note = StateRecord::Claim { token: pen.claimant.owner.token };
    let (key, value) = (note.key(), note.value().unwrap_or_default());
    let record = BaseRecord::<[u8], [u8]>::to(topic).partition(0).key(&key).payload(&value);
    producer.send(record).map_err(|(error, _)| watcher.judge(&error, topic))?;
    let flushed = producer.flush(ANSWER_MAX * 2).map_err(|error| watcher.judge(&error, topic));
    watcher.undelivered().map_or(flushed, Err)
}

/// Whose turn it is, given the notes in their order.
fn turn(notes: &[u64], whose: &Whose, claimant: &Claimant) -> Turn {
    let ours = claimant.owner.token;
    if claimant.has_owned && whose.is_another(claimant) {
        return Turn::Over;
    }
    let newer = match notes.iter().rposition(|token| *token == ours) {
        Some(at) => &notes[at + 1..],
        // Compaction has left nothing of our note but those that came after it.
        None if claimant.has_owned && !notes.is_empty() => notes,
        None => return Turn::Unsaid,
    };
    match whose.token() {
        _ if newer.is_empty() => Turn::Ours,
        Some(owner) if newer.contains(&owner) => Turn::Over,
        _ => Turn::Theirs(newer.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Owner;

    fn owner(token: u64) -> Owner {
        let text = |text: &str| text.to_owned();
        Owner { migration: text("shop"), slot: text("shop"), database: text("db"), system_id: 7, token }
    }

    fn of(token: u64, has_owned: bool, notes: &[u64], named: Option<u64>) -> Turn {
        let mut whose = Whose::default();
        if let Some(named) = named.map(|token| StateRecord::Owner(owner(token))) {
            whose.take(&named.key(), named.value().as_deref());
        }
        turn(notes, &whose, &Claimant { owner: owner(token), has_owned, confirmed: None })
    }

    /// Guards that of several captures the one that was started last is left, and that no other ends before that one has come to
    /// write: whoever were told so earlier would leave nobody.
    #[test]
    fn the_last_to_be_started_writes() {
        // The first of all, before and after it has left its note.
        assert_eq!(of(1, false, &[], None), Turn::Unsaid);
        assert_eq!(of(1, false, &[1], None), Turn::Ours);
        // A newer one comes, and puts its name into the books.
        assert_eq!(of(2, false, &[1], Some(1)), Turn::Unsaid);
        assert_eq!(of(2, false, &[1, 2], Some(1)), Turn::Ours);
        assert_eq!(of(1, true, &[1, 2], Some(1)), Turn::Theirs(vec![2]));
        assert_eq!(of(1, true, &[1, 2], Some(2)), Turn::Over);
        assert_eq!(of(2, true, &[1, 2], Some(2)), Turn::Ours);
        // One that has never come to write is no other.
        assert_eq!(of(1, false, &[1, 2], None), Turn::Theirs(vec![2]));
        assert_eq!(of(1, false, &[1, 2], Some(2)), Turn::Over);
        // Of two that are newer one writes, whether or not the other comes to it.
        assert_eq!(of(1, true, &[1, 2, 3], Some(2)), Turn::Over);
        assert_eq!(of(2, true, &[1, 2, 3], Some(2)), Turn::Theirs(vec![3]));
    }

    /// Guards a newer capture that is slow: an older one, which has stopped waiting for it and writes, is no reason to end.
    #[test]
    fn an_older_one_that_writes_ends_no_newer_one() {
        assert_eq!(of(2, false, &[1, 2], Some(1)), Turn::Ours);
        assert_eq!(of(3, false, &[1, 3, 2], Some(1)), Turn::Theirs(vec![2]));
    }

    /// Guards that a capture which has been at work for long is told of a newer one also where compaction has removed its note, or
    /// where the log was begun before there were any.
    #[test]
    fn notes_that_are_gone_are_no_loss() {
        assert_eq!(of(1, true, &[3], Some(1)), Turn::Theirs(vec![3]));
        assert_eq!(of(1, true, &[3], Some(2)), Turn::Over);
        assert_eq!(of(1, true, &[], Some(2)), Turn::Over);
        assert_eq!(of(1, true, &[], Some(1)), Turn::Unsaid);
    }
}
