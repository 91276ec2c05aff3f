//! The write-ahead log as a replication slot decodes it, and sessions that stream it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use understudy_contract::StreamEvent;
use understudy_model::{Checkpoint, Lsn, Nonce, Relation, RelationId, SourceChange, Xid};

use super::Blue;
use crate::dice::Dice;

/// One change or message inside a transaction of the log.
#[derive(Debug, Clone)]
pub enum Logged {
    /// A published change, with the relations as they were at that moment.
    Change(Vec<Arc<Relation>>, SourceChange),
    /// A message of the transaction.
    Message(String, Bytes),
}

/// A committed transaction.
#[derive(Debug, Clone)]
pub struct Committed {
    pub(super) xid: Xid,
    pub(super) commit: Lsn,
    pub(super) end: Lsn,
    pub(super) changes: Vec<Logged>,
}

/// One record of the log that decoding shows.
#[derive(Debug, Clone)]
pub enum Record {
    /// A transaction, at its commit.
    Transaction(Committed),
    /// A message outside of any transaction: where it ends, its prefix and content.
    Loose(Lsn, String, Bytes),
}

impl Record {
    fn start(&self) -> Lsn {
        match self {
            Record::Transaction(it) => it.commit,
            Record::Loose(end, ..) => *end,
        }
    }

    fn end(&self) -> Lsn {
        match self {
            Record::Transaction(it) => it.end,
            Record::Loose(end, ..) => *end,
        }
    }
}

impl Blue {
    /// Commits a marker of ours; it is in the log at once, and its own transaction visible whenever it is settled.
    pub fn mark(&mut self, prefix: &str, nonce: Nonce) {
        let xid = self.begin();
        self.message(xid, prefix, Bytes::from(nonce.to_string()));
        self.commit(xid);
    }

    /// Writes a message inside a transaction.
    pub fn message(&mut self, xid: Xid, prefix: &str, content: Bytes) {
        if let Some(running) = self.running.get_mut(&xid) {
            running.changes.push(Logged::Message(prefix.to_owned(), content));
        }
    }

    /// Writes a message outside of any transaction.
    pub fn loose_message(&mut self, prefix: &str, content: Bytes) {
        let _ = self.advance(30);
        let at = self.end();
        self.log.push(Record::Loose(at, prefix.to_owned(), content));
    }

    /// Creates the slot: commits from here on are streamed, whole; those before are not, seen or unseen.
    pub fn create_slot(&mut self) -> Checkpoint {
        let start = self.advance(56);
        self.confirmed = start.raw();
        Checkpoint::at_commit_end(start)
    }

    /// Lets the slot forget what lies before an address. Goes neither back nor beyond the end of the log.
    pub fn confirm(&mut self, lsn: Lsn) {
        self.confirmed = self.confirmed.max(lsn.raw()).min(self.lsn);
    }

    /// What the slot keeps from.
    pub fn confirmed(&self) -> Lsn {
        Lsn::new(self.confirmed)
    }

    /// Starts a session at a checkpoint, or where the slot keeps from, whichever is later.
    pub fn stream(&self, from: Checkpoint, show_empty: bool) -> Feed {
        let start = from.lsn().max(self.confirmed());
        let next = self.log.partition_point(|record| record.start() < start);
        Feed { next, sent: start, queue: VecDeque::new(), announced: HashMap::new(), show_empty }
    }
}

/// One session of the stream.
#[derive(Debug)]
pub struct Feed {
    next: usize,
    sent: Lsn,
    queue: VecDeque<StreamEvent>,
    announced: HashMap<RelationId, Arc<Relation>>,
    show_empty: bool,
}

impl Feed {
    /// Whether everything in the log has been delivered.
    pub fn is_drained(&self, blue: &Blue) -> bool {
        self.queue.is_empty() && self.next == blue.log.len()
    }

    /// The next event, if the log holds one.
    pub fn next(&mut self, blue: &Blue, dice: &mut Dice) -> Option<StreamEvent> {
        while self.queue.is_empty() {
            let record = blue.log.get(self.next)?;
            self.next += 1;
            match record {
                Record::Transaction(committed) => self.load(committed, dice),
                Record::Loose(_, prefix, content) => self.queue.push_back(StreamEvent::Message {
                    prefix: prefix.clone(),
                    content: content.clone(),
                    transactional: false,
                }),
            }
            if self.queue.is_empty() {
                self.sent = record.end();
            }
        }
        let event = self.queue.pop_front();
        if self.queue.is_empty() {
            self.sent =
                self.next.checked_sub(1).and_then(|at| blue.log.get(at)).map_or(self.sent, Record::end);
        }
        event
    }

    /// A keepalive: blue has decoded up to the last record sent, or to the end of the log when nothing is left.
    pub fn keepalive(&self, blue: &Blue) -> StreamEvent {
        StreamEvent::Keepalive { end: if self.is_drained(blue) { blue.end() } else { self.sent } }
    }

    fn load(&mut self, committed: &Committed, dice: &mut Dice) {
        if committed.changes.is_empty() && !self.show_empty {
            return;
        }
        self.queue.push_back(StreamEvent::Begin {
            commit: committed.commit,
            commit_time_us: committed.commit.raw() as i64,
            xid: committed.xid.raw() as u32,
        });
        for logged in &committed.changes {
            match logged {
                Logged::Message(prefix, content) => self.queue.push_back(StreamEvent::Message {
                    prefix: prefix.clone(),
                    content: content.clone(),
                    transactional: true,
                }),
                Logged::Change(relations, change) => {
                    for relation in relations {
                        self.announce(relation, dice.percent(5));
                    }
                    self.queue.push_back(StreamEvent::Change(change.clone()));
                }
            }
        }
        self.queue.push_back(StreamEvent::Commit { commit: committed.commit, end: committed.end });
    }

    fn announce(&mut self, relation: &Arc<Relation>, again: bool) {
        if again || self.announced.get(&relation.id) != Some(relation) {
            self.announced.insert(relation.id, Arc::clone(relation));
            self.queue.push_back(StreamEvent::Relation(Arc::clone(relation)));
        }
    }
}
