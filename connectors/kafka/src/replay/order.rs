//! What all groups of the log come to, as far as a replay asks: where it may begin and end, and how much lies between.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use understudy_contract::LoggedEntry;
use understudy_model::{CivilDate, Lsn, RelationId, TableName};

use super::scan::Scanned;
use crate::codec::{Group, Work};
use crate::log::{Place, digest};

/// Samples of how many records there are; beyond that every other one is dropped.
const SAMPLES_MAX: usize = 8_192;

/// From where a log is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayFrom {
    /// From its beginning.
    Start,
    /// From the last place at or before this address of blue.
    Lsn(Lsn),
    /// From what had been written by this time, milliseconds since 1970-01-01 UTC.
    Time(i64),
    /// From behind the group up to which green has taken it.
    Group(u64),
}

/// A place between two groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The group before it; zero at the start of the log.
    pub group: u64,
    /// Blue's address: everything before it is in the log before this place.
    pub at: Lsn,
    /// When the group before it was written, milliseconds since 1970-01-01 UTC; of the oldest place, the one after it.
    pub time_ms: i64,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (written at {})", self.at, time_text(self.time_ms))
    }
}

/// A time as RFC 3339 in UTC, to the second.
fn time_text(time_ms: i64) -> String {
    let seconds = time_ms.div_euclid(1_000);
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let CivilDate { year, month, day } = CivilDate::from_unix_days(days);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// What was seen of a table.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// For each partition the first group behind the beginning that has records of it, and how many that one has.
    pub(super) first: BTreeMap<u32, (u64, u64)>,
    /// Before the group in which the copy of a table or leaf was planned last.
    pub(super) plans: HashMap<u32, Mark>,
    /// The group in which it was complete last.
    pub(super) completed: Option<u64>,
    /// The shapes in which its rows are.
    pub(super) versions: BTreeSet<u32>,
    counted: u64,
    counted_at_end: u64,
}

impl Seen {
    /// Records between the beginning and the end.
    pub(super) fn records(&self) -> u64 {
        self.counted_at_end
    }

    fn begin_anew(&mut self) {
        self.first.clear();
        self.versions.clear();
        (self.counted, self.counted_at_end) = (0, 0);
    }
}

/// The record of a group, as a place names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    offset: i64,
    digest: u64,
}

/// Takes group after group.
#[derive(Debug)]
pub(super) struct OrderFold {
    from: ReplayFrom,
    numbers: HashMap<TableName, usize>,
    tables: Vec<Seen>,
    by_id: HashMap<RelationId, usize>,
    oldest: Option<Mark>,
    begin: Option<(Mark, Known)>,
    end: Option<Mark>,
    /// After the last group.
    now: Mark,
    last: Known,
    is_open: bool,
    samples: Vec<(u64, u64)>,
    stride: u64,
}

/// What they come to.
#[derive(Debug)]
pub(super) struct Folded {
    pub(super) oldest: Mark,
    /// `None`: the log does not reach back to there.
    pub(super) begin: Option<Mark>,
    known: Known,
    pub(super) end: Mark,
    pub(super) tables: Vec<Seen>,
    pub(super) samples: Vec<(u64, u64)>,
}

impl Folded {
    /// The beginning as a place, without the offsets of the tables.
    pub(super) fn place(&self, prefix: &str, cluster: Option<String>) -> Place {
        let mut place = Place::start(prefix, cluster);
        place.group = self.begin.as_ref().map_or(0, |begin| begin.group);
        (place.order, place.digest) = (self.known.offset, self.known.digest);
        place
    }
}

impl OrderFold {
    pub(super) fn new(tables: &[TableName], from: ReplayFrom) -> OrderFold {
        OrderFold {
            from,
            numbers: tables.iter().cloned().zip(0..).collect(),
            tables: vec![Seen::default(); tables.len()],
            by_id: HashMap::new(),
            oldest: None,
            begin: None,
            end: None,
            now: Mark { group: 0, at: Lsn::ZERO, time_ms: 0 },
            last: Known { offset: -1, digest: 0 },
            is_open: false,
            samples: Vec::new(),
            stride: 1,
        }
    }

    /// Takes the record of the next group. Fails with what is amiss.
    pub(super) fn take(&mut self, record: Scanned<'_>) -> Result<(), String> {
        let Scanned { offset, time_ms, value, .. } = record;
        let value = value.ok_or_else(|| format!("there is a tombstone at offset {offset}"))?;
        let group = Group::from_json(value).map_err(|error| format!("at offset {offset} {error}"))?;
        let number = group.number;
        if self.oldest.is_none() {
            let at = if number == 1 { Lsn::ZERO } else { first_address(&group) };
            self.now = Mark { group: number.saturating_sub(1), at, time_ms };
            self.last.offset = offset - 1;
            self.oldest = Some(self.now.clone());
        } else if number != self.now.group + 1 {
            return Err(format!("there is group {number} where group {} should be", self.now.group + 1));
        }
        self.may_begin_here();
        let before = self.now.clone();
        self.count(&group, &before);
        self.now = Mark { group: number, at: before.at.max(last_address(&group)), time_ms };
        self.last = Known { offset, digest: digest(value) };
        if let Work::Batch { parts, .. } = &group.work {
            self.is_open = parts.last().is_some_and(|part| part.end.is_none());
        }
        if !self.is_open {
            self.end = Some(self.now.clone());
            self.tables.iter_mut().for_each(|table| table.counted_at_end = table.counted);
            self.sample(number);
        }
        Ok(())
    }

    /// The place before the group that comes now may be the one asked for; the last one that may be is.
    fn may_begin_here(&mut self) {
        // Of several places at one address the first will do: what is recorded of a copy moves no address on.
        let known = self.begin.as_ref().map(|(begin, _)| begin);
        let qualifies = match self.from {
            ReplayFrom::Start => known.is_none(),
            ReplayFrom::Lsn(lsn) => self.now.at <= lsn && known.is_none_or(|known| known.at < self.now.at),
            ReplayFrom::Time(time_ms) => {
                self.now.time_ms <= time_ms && known.is_none_or(|known| known.time_ms < self.now.time_ms)
            }
            ReplayFrom::Group(group) => self.now.group <= group,
        };
        if qualifies && !self.is_open {
            self.begin = Some((self.now.clone(), self.last));
            self.tables.iter_mut().for_each(Seen::begin_anew);
            self.samples.clear();
            self.stride = 1;
        }
    }

    fn count(&mut self, group: &Group, before: &Mark) {
        for table in &group.tables {
            let Some(number) = self.numbers.get(&table.name).copied() else { continue };
            self.by_id.insert(table.id, number);
            let seen = &mut self.tables[number];
            if table.version > 0 {
                seen.versions.insert(table.version);
            }
            for (partition, records) in &table.records {
                seen.first.entry(*partition).or_insert((group.number, *records));
                seen.counted += records;
            }
        }
        let Work::Entries(entries) = &group.work else { return };
        for entry in entries {
            match entry {
                LoggedEntry::Plan(unit) => {
                    if let Some(number) = self.by_id.get(&unit.root.relation()) {
                        self.tables[*number].plans.insert(unit.id.oid, before.clone());
                    }
                }
                LoggedEntry::Complete { table } => {
                    if let Some(number) = self.by_id.get(table) {
                        self.tables[*number].completed = Some(group.number);
                    }
                }
                LoggedEntry::Join { table, is_void } => {
                    if let Some(number) = self.by_id.get(table).filter(|_| *is_void) {
                        self.tables[*number].plans.clear();
                        self.tables[*number].completed = None;
                    }
                }
                LoggedEntry::Refresh(_) | LoggedEntry::Forget { .. } => {}
            }
        }
    }

    fn sample(&mut self, group: u64) {
        if !group.is_multiple_of(self.stride) {
            return;
        }
        let counted = self.tables.iter().map(|table| table.counted).sum();
        self.samples.push((group, counted));
        if self.samples.len() >= SAMPLES_MAX {
            self.stride *= 2;
            let stride = self.stride;
            self.samples.retain(|(group, _)| group.is_multiple_of(stride));
        }
    }

    /// All have been taken. `None`: there was none.
    pub(super) fn finish(self) -> Option<Folded> {
        let (begin, known) = match self.begin {
            Some((begin, known)) => (Some(begin), known),
            None => (None, self.last),
        };
        Some(Folded {
            oldest: self.oldest?,
            begin,
            known,
            end: self.end?,
            tables: self.tables,
            samples: self.samples,
        })
    }
}

/// The first address that a group names.
fn first_address(group: &Group) -> Lsn {
    let of_work = match &group.work {
        Work::Batch { parts, .. } => parts.first().map(|part| part.commit),
        Work::Chunk { at, .. } => Some(at.lsn()),
        Work::Entries(_) | Work::None => None,
    };
    of_work.or(group.reached).or(group.beats.first().map(|beat| beat.at.lsn())).unwrap_or_default()
}

/// What has been reached at the end of a group.
fn last_address(group: &Group) -> Lsn {
    let of_work = match &group.work {
        Work::Batch { parts, .. } => parts.iter().filter_map(|part| part.end).max(),
        Work::Chunk { at, .. } => Some(at.lsn()),
        Work::Entries(_) | Work::None => None,
    };
    of_work.into_iter().chain(group.reached).max().unwrap_or_default()
}
