//! One asking: green between two answers of blue, again and again until it is clear whether they differ.

use understudy_contract::{AnswerDifference, BlueAnswer, GreenAnswer};
use understudy_model::Lsn;

/// Rounds in a row that must show a difference before it counts. One round could fall between a change on blue and its
/// undoing.
const ROUNDS_TO_DIFFER: u32 = 3;

/// Rounds that blue may have moved in: after these, and those above, the asking is given up.
const ROUNDS_MOVED_MAX: u32 = 5;

/// What one asking comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Both sides gave the same answer.
    Agrees,
    /// They did not, and nothing that is under way explains it.
    Differs(AnswerDifference),
    /// Blue's answer, or green, kept changing: nothing is known.
    Unsettled,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Ask blue.
    Blue,
    /// Ask green in a snapshot that shows everything before this address.
    Green(Lsn),
    /// It is over.
    Done(Verdict),
}

/// An asking under way, with the same parameters throughout.
#[derive(Debug, Default)]
pub struct Settling {
    before: Option<BlueAnswer>,
    green: Option<GreenAnswer>,
    rounds: u32,
    differed_in_a_row: u32,
}

impl Settling {
    /// Takes blue's answer.
    pub fn blue(&mut self, after: BlueAnswer) -> Step {
        let at = after.moment.lsn;
        let (Some(before), Some(green)) = (self.before.replace(after), self.green.take()) else {
            return Step::Green(at);
        };
        let Some(after) = &self.before else { return Step::Blue };
        if after.answer.agrees(&green.answer) {
            return Step::Done(Verdict::Agrees);
        }
        self.rounds += 1;
        self.differed_in_a_row = match is_at_rest(&before, &green, after) {
            true => self.differed_in_a_row + 1,
            false => 0,
        };
        if self.differed_in_a_row == ROUNDS_TO_DIFFER {
            let difference = before.answer.difference(&green.answer);
            return Step::Done(difference.map_or(Verdict::Agrees, Verdict::Differs));
        }
        match self.rounds < ROUNDS_MOVED_MAX + ROUNDS_TO_DIFFER {
            true => Step::Green(at),
            false => Step::Done(Verdict::Unsettled),
        }
    }

    /// Takes green's answer.
    pub fn green(&mut self, green: GreenAnswer) -> Step {
        if self.before.as_ref().is_some_and(|blue| blue.answer.agrees(&green.answer)) {
            return Step::Done(Verdict::Agrees);
        }
        self.green = Some(green);
        Step::Blue
    }
}

/// Whether green showed no more than the later moment of blue, no less than the earlier one, and blue answered the same in
/// both.
fn is_at_rest(before: &BlueAnswer, green: &GreenAnswer, after: &BlueAnswer) -> bool {
    let sees_all = |unseen: &Vec<_>| unseen.iter().all(|xid| after.moment.snapshot.sees(*xid));
    !green.owed
        && green.moment.checkpoint.lsn() >= before.moment.lsn
        && green.moment.unseen.as_ref().is_some_and(sees_all)
        && before.answer.agrees(&after.answer)
}
