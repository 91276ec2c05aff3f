//! Whether two sights of one key show that green is wrong.

use understudy_contract::{CompareRule, ComparedColumn, RowSeen};

use super::{Case, EARLIER_MAX, Rule, Sight};
use crate::compare::differing;

impl Case {
    /// Whether green had applied all that blue showed.
    pub(super) fn is_usable(&self, sight: &Sight) -> bool {
        !self.holds(Rule::Reached) || sight.green.checkpoint.lsn() >= sight.blue.lsn
    }

    /// Whether a sight can have been made after another one, on the same servers.
    ///
    /// Blue's log is beyond everything that green had applied before, or blue is another server by now, or was read too
    /// early. Rows whose version stayed and whose content did not have been changed behind it.
    pub(super) fn follows(&self, last: &Sight, sight: &Sight) -> bool {
        let onward = sight.green.checkpoint >= last.green.checkpoint
            && sight.blue.lsn >= last.blue.lsn
            && sight.blue.lsn >= last.green.checkpoint.lsn()
            && sight.blue.snapshot.xmax() >= last.blue.snapshot.xmax();
        let rewritten = |before: &Option<RowSeen>, now: &Option<RowSeen>| {
            matches!((before, now), (Some(before), Some(now))
                if before.version.is_some() && before.version == now.version && before.digest != now.digest)
        };
        let in_place = rewritten(&last.on_blue, &sight.on_blue) || rewritten(&last.on_green, &sight.on_green);
        onward && !in_place
    }

    /// Rows that were read with values need not be again as long as their version stays.
    pub(super) fn recall_values(&self, sight: &mut Sight) {
        for earlier in self.earlier.iter().rev() {
            recall(&mut sight.on_blue, &earlier.on_blue);
            recall(&mut sight.on_green, &earlier.on_green);
        }
    }

    /// Keeps a sight that later ones can be held against, and forgets those that show nothing any more: a version that is
    /// gone never comes back. The oldest stays, since what was unseen then is visible first.
    pub(super) fn keep(&mut self, sight: Sight) {
        let mut kept = std::mem::take(&mut self.earlier);
        let stays = |before: &Option<RowSeen>, now: &Option<RowSeen>| {
            before.as_ref().zip(now.as_ref()).is_some_and(|(before, now)| self.is_same(before, now))
        };
        kept.retain(|earlier| {
            stays(&earlier.on_blue, &sight.on_blue) || stays(&earlier.on_green, &sight.on_green)
        });
        for earlier in &mut kept {
            forget(&mut earlier.on_blue, &sight.on_blue);
            forget(&mut earlier.on_green, &sight.on_green);
        }
        if kept.len() == EARLIER_MAX {
            kept.remove(1);
        }
        if !self.holds(Rule::Unseen) || sight.green.unseen.is_some() {
            kept.push_back(sight);
        }
        self.earlier = kept;
    }

    /// Whether this sight and an earlier one show that green is wrong, given that it is unequal by itself.
    pub(super) fn shown(&self, sight: &Sight, columns: &[ComparedColumn]) -> bool {
        self.earlier.iter().rev().any(|earlier| {
            self.is_beneath(earlier, sight)
                && (!self.holds(Rule::Awaited) || earlier.awaited == sight.awaited)
                && (self.by_blue(earlier, sight, columns) || self.by_green(earlier, sight))
        })
    }

    /// `applied(C_j) ⊆ visible(S_i)`.
    fn is_beneath(&self, earlier: &Sight, sight: &Sight) -> bool {
        let seen = |unseen: &Vec<_>| unseen.iter().all(|xid| sight.blue.snapshot.sees(*xid));
        !self.holds(Rule::Unseen) || earlier.green.unseen.as_ref().is_some_and(seen)
    }

    /// Blue's row stayed, and green's was not what it maps to.
    fn by_blue(&self, earlier: &Sight, sight: &Sight, columns: &[ComparedColumn]) -> bool {
        let (Some(before), Some(now)) = (&earlier.on_blue, &sight.on_blue) else {
            return false;
        };
        self.is_same(before, now)
            && match (&earlier.on_green, &sight.on_green) {
                (None, _) => true,
                // Green's row stayed as well: the sight itself tells whether it is what blue's maps to.
                (Some(was), Some(is)) if was.version.is_some() && was.version == is.version => true,
                (Some(was), _) => certainly_differ(columns, now, was),
            }
    }

    /// Green's row stayed, and blue had something else or nothing.
    fn by_green(&self, earlier: &Sight, sight: &Sight) -> bool {
        let (Some(before), Some(now)) = (&earlier.on_green, &sight.on_green) else {
            return false;
        };
        self.is_same(before, now) && (sight.on_blue.is_some() || !self.needs_search(sight))
    }

    fn is_same(&self, before: &RowSeen, now: &RowSeen) -> bool {
        if !self.holds(Rule::SameVersion) {
            return before.digest == now.digest;
        }
        before.version.is_some() && before.version == now.version
    }
}

/// Whether green's row, which is no longer there, was not what blue's maps to.
fn certainly_differ(columns: &[ComparedColumn], blue: &RowSeen, green: &RowSeen) -> bool {
    let by_value = |column: &ComparedColumn| matches!(column.rule, CompareRule::Tolerance(_));
    match (&blue.values, &green.values) {
        (Some(blue), Some(green)) => !differing(columns, blue, green).is_empty(),
        _ => blue.digest != green.digest && !columns.iter().any(by_value),
    }
}

fn recall(row: &mut Option<RowSeen>, earlier: &Option<RowSeen>) {
    if let (Some(row), Some(earlier)) = (row, earlier)
        && row.values.is_none()
        && row.version.is_some()
        && row.version == earlier.version
    {
        row.values.clone_from(&earlier.values);
    }
}

/// Values are kept once per version.
fn forget(earlier: &mut Option<RowSeen>, row: &Option<RowSeen>) {
    if let (Some(earlier), Some(row)) = (earlier, row)
        && row.version.is_some()
        && row.version == earlier.version
    {
        earlier.values = None;
    }
}
