//! A partition of a table under a capture that is killed again and again, also while it recovers, and under brokers that forget
//! marks.

use proptest::prelude::*;

use super::*;

/// What stands at an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    /// The n-th of the records that a group has here.
    Record(u64, u64),
    /// What was written to be given up.
    Dummy,
    Mark(Mark),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Committed,
    GivenUp,
}

/// Whether brokers write a mark where it belongs, or come to forget it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Brokers {
    Remember,
    Forget,
}

/// What happens next.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// A group with so many records is committed.
    Group { count: u64, brokers: Brokers },
    /// A capture is killed after so many of the records of one.
    Killed { count: u64, written: u64, brokers: Brokers },
    /// A claim, which is killed after so many records that it writes; `None` for one that comes to its end.
    Claim { written: Option<u64>, brokers: Brokers },
}

/// The partition, and what the order tells.
#[derive(Debug, Default)]
struct Model {
    slots: Vec<Slot>,
    /// Groups that are committed, and the records that each has here.
    groups: BTreeMap<u64, u64>,
    /// The last of them that is more than what a recovery writes.
    work: u64,
}

impl Model {
    fn last(&self) -> u64 {
        self.groups.keys().next_back().copied().unwrap_or(0)
    }

    fn mark(&mut self, mark: Mark, brokers: Brokers) {
        if brokers == Brokers::Remember {
            self.slots.push(Slot::Mark(mark));
        }
    }

    fn records(&mut self, group: u64, count: u64) {
        self.slots.extend((0..count).map(|n| Slot::Record(group, n)));
    }

    /// Offset and group of all records, or of those that hang.
    fn lying(&self, hanging: bool) -> Vec<(i64, u64)> {
        let is_mark = |slot: &Slot| matches!(slot, Slot::Mark(_));
        let from = self.slots.iter().rposition(is_mark).map_or(0, |at| at + 1);
        let of = |(offset, slot): (usize, &Slot)| match slot {
            Slot::Record(group, _) => Some((offset as i64, *group)),
            Slot::Dummy => hanging.then_some((offset as i64, u64::MAX)),
            Slot::Mark(_) => None,
        };
        self.slots.iter().enumerate().skip(if hanging { from } else { 0 }).filter_map(of).collect()
    }

    fn hangs(&self) -> bool {
        !matches!(self.slots.last(), None | Some(Slot::Mark(_)))
    }

    /// What readers are shown.
    fn shown(&self) -> Vec<(u64, u64)> {
        let (mut shown, mut open) = (Vec::new(), Vec::new());
        for slot in &self.slots {
            match slot {
                Slot::Record(group, n) => open.push((*group, *n)),
                Slot::Dummy => {}
                Slot::Mark(Mark::Committed) => shown.append(&mut open),
                Slot::Mark(Mark::GivenUp) => open.clear(),
            }
        }
        shown
    }

    /// What was written last of groups, as `last_written` reads it.
    fn written(&self, counts: &Counts) -> Vec<Slot> {
        let record = |(offset, group): (i64, u64)| Lying {
            offset,
            group,
            touch: Some(Touch { partition: offset as u32, ..Touch::default() }),
        };
        let lying = self.lying(false).into_iter().map(record).collect::<Vec<_>>();
        match look(&lying, counts, (0, 0)) {
            Look::All(found) => found.iter().map(|touch| self.slots[touch.partition as usize]).collect(),
            Look::Further | Look::Lost => panic!("{counts:?} are not in {:?}", self.slots),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Group { count, brokers } => {
                // Nobody writes behind what hangs more than once: the capture has ended by then, and the next one claims.
                let group = self.last() + 1;
                self.records(group, count);
                self.mark(Mark::Committed, brokers);
                self.groups.insert(group, count);
                self.work = group;
            }
            Step::Killed { count, written, brokers } => {
                let group = self.last() + 1;
                self.records(group, written.min(count));
                if written > 0 {
                    self.mark(Mark::GivenUp, brokers);
                }
            }
            Step::Claim { written, brokers } => self.claim(written, brokers),
        }
    }

    /// Recovers and restores, as a claim does; it is killed at some place.
    fn claim(&mut self, written: Option<u64>, brokers: Brokers) {
        let mut left = written.unwrap_or(u64::MAX);
        if self.hangs() {
            let told = self.groups.clone();
            match ending(&self.lying(true), self.last(), &told) {
                Ending::Shown => {
                    let group = self.last() + 1;
                    if !self.writes(&mut left, vec![Slot::Record(group, 0)], brokers) {
                        return;
                    }
                    self.groups.insert(group, 1);
                }
                Ending::Hidden(counts) => {
                    let again = self.written(&counts);
                    if left == 0 {
                        return;
                    }
                    left -= 1;
                    self.slots.push(Slot::Dummy);
                    let is_known = left > 0;
                    self.mark(Mark::GivenUp, if is_known { Brokers::Remember } else { brokers });
                    if !is_known || !again.is_empty() && !self.writes(&mut left, again, brokers) {
                        return;
                    }
                }
            }
        }
        if self.hangs() {
            return;
        }
        let shown = self.shown().last().map_or(0, |(group, _)| *group);
        let missing = self.groups.range(self.work..).filter(|(group, _)| **group > shown);
        let missing = missing.map(|(group, count)| (*group, *count)).collect::<Counts>();
        if !missing.is_empty() {
            let again = self.written(&missing);
            self.writes(&mut left, again, brokers);
        }
    }

    /// Writes and commits, unless it is killed before. Whether it was not.
    fn writes(&mut self, left: &mut u64, slots: Vec<Slot>, brokers: Brokers) -> bool {
        let fitting = slots.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
        let is_whole = fitting == slots.len();
        self.slots.extend(slots.into_iter().take(fitting));
        *left -= fitting as u64;
        match is_whole {
            true => self.mark(Mark::Committed, if *left > 0 { Brokers::Remember } else { brokers }),
            false if fitting > 0 => self.mark(Mark::GivenUp, brokers),
            false => {}
        }
        is_whole
    }
}

fn brokers() -> impl Strategy<Value = Brokers> {
    prop_oneof![Just(Brokers::Remember), Just(Brokers::Forget)]
}

/// A capture at work, and what its end leaves; then claims that are killed.
fn life() -> impl Strategy<Value = Vec<Step>> {
    let group = (1..4u64).prop_map(|count| Step::Group { count, brokers: Brokers::Remember });
    let last = (1..4u64, brokers()).prop_map(|(count, brokers)| Step::Group { count, brokers });
    let killed = (1..4u64, 0..4u64, brokers());
    let killed = killed.prop_map(|(count, written, brokers)| Step::Killed { count, written, brokers });
    let claim = (0..6u64, brokers());
    let claim = claim.prop_map(|(written, brokers)| Step::Claim { written: Some(written), brokers });
    let end = Step::Claim { written: None, brokers: Brokers::Remember };
    let parts = (prop::collection::vec(group, 0..3), last, killed, prop::collection::vec(claim, 0..5));
    parts.prop_map(move |(groups, last, killed, claims)| {
        let steps = groups.into_iter().chain([last, killed]).chain(claims);
        steps.chain([end, end]).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// Guards that a log is whole again after any number of captures that were killed, also while they recovered: readers are
    /// shown every committed group once, in order, and nothing else.
    #[test]
    fn committed_groups_are_shown_once(lives in prop::collection::vec(life(), 1..4)) {
        let mut model = Model::default();
        for step in lives.concat() {
            model.step(step);
        }
        let all = model.groups.iter().flat_map(|(group, count)| (0..*count).map(|n| (*group, n)));
        prop_assert_eq!(model.shown(), all.collect::<Vec<_>>(), "{:?}", model);
    }
}

fn lying(groups: &[u64], from: i64) -> Vec<Lying> {
    let record = |(at, group): (usize, &u64)| Lying {
        offset: from + at as i64,
        group: *group,
        touch: Some(Touch::default()),
    };
    groups.iter().enumerate().map(record).collect()
}

/// Guards that a claim finds the loss of the last group where older ones have been deleted, and takes nothing for lost whose
/// time was over.
#[test]
fn a_loss_is_told_from_what_was_deleted() {
    let counts = Counts::from([(7, 2)]);
    let is_lost = |lying: &[Lying]| matches!(look(lying, &counts, (90, 90)), Look::Lost);
    let found = |lying: &[Lying]| match look(lying, &counts, (90, 90)) {
        Look::All(found) => found.len(),
        Look::Further | Look::Lost => panic!("something is missing"),
    };
    // What was written before it still stands, shown or not.
    assert!(is_lost(&lying(&[5, 6], 90)));
    assert!(is_lost(&lying(&[6, 7], 90)));
    // Nothing does.
    assert_eq!(found(&[]), 0);
    assert_eq!(found(&lying(&[7], 90)), 0);
    assert_eq!(found(&lying(&[8, 9], 90)), 0);
    assert_eq!(found(&lying(&[6, 7, 7], 90)), 2);
    // A partition that was never shortened holds everything; one that was not read to its beginning may.
    assert!(matches!(look(&[], &counts, (0, 0)), Look::Lost));
    assert!(matches!(look(&lying(&[6], 95), &counts, (95, 90)), Look::Further));
}

/// Guards that a copy which was interrupted is not taken for a part of the one before it.
#[test]
fn the_last_whole_copy_counts() {
    let records = [(0, 7), (1, 7), (2, 7), (4, 7), (5, 7), (8, 8)];
    let copy = |group, count| last_copy(&records, (group, count), |record| *record).map(|copy| copy[0].0);
    assert_eq!(copy(7, 3), Some(0));
    assert_eq!(copy(7, 2), Some(4));
    assert_eq!((copy(7, 1), copy(8, 1)), (None, Some(8)));
}
