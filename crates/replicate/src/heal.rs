//! Rows of which only a part was sent and that green does not have: read again by key, and merged column by column.

use std::collections::{BTreeMap, VecDeque};

use rustc_hash::FxHashMap;
use understudy_model::{HealKey, Key, RouteId, Tuple, TupleBuilder, Value};

use crate::rules::{Rule, Rules};
use crate::window::Touch;

/// The heals of a migration, from the report of a missing row until the row has been committed on green.
#[derive(Debug, Default)]
pub(crate) struct Heals {
    waiting: BTreeMap<RouteId, VecDeque<HealKey>>,
    state: FxHashMap<(RouteId, HealKey), HealState>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HealState {
    /// Not in any window.
    Waiting,
    /// In a window, or placed and not yet committed.
    UnderWay,
    /// As before, and reported again meanwhile: whether the window covers that report is not known.
    ReportedAgain,
}

impl Heals {
    /// Green lacks a row of which only a part was sent.
    pub(crate) fn report(&mut self, route: RouteId, key: HealKey) {
        match self.state.get_mut(&(route, key.clone())) {
            Some(state @ HealState::UnderWay) => *state = HealState::ReportedAgain,
            Some(HealState::Waiting | HealState::ReportedAgain) => {}
            None => {
                self.state.insert((route, key.clone()), HealState::Waiting);
                self.waiting.entry(route).or_default().push_back(key);
            }
        }
    }

    /// Takes at most `keys_max` keys of one route for a window.
    pub(crate) fn next(&mut self, keys_max: usize) -> Option<(RouteId, HealKeys)> {
        let (route, waiting) = self.waiting.iter_mut().find(|(_, waiting)| !waiting.is_empty())?;
        let route = *route;
        let keys = waiting.drain(..waiting.len().min(keys_max)).collect::<Vec<_>>();
        for key in &keys {
            self.state.insert((route, key.clone()), HealState::UnderWay);
        }
        Some((route, HealKeys::new(keys)))
    }

    /// A window ended without its rows: its keys need another.
    pub(crate) fn again(&mut self, route: RouteId, keys: impl IntoIterator<Item = HealKey>) {
        for key in keys {
            self.state.insert((route, key.clone()), HealState::Waiting);
            self.waiting.entry(route).or_default().push_back(key);
        }
    }

    /// The keys' rows have been committed on green.
    pub(crate) fn done(&mut self, route: RouteId, keys: impl IntoIterator<Item = HealKey>) {
        for key in keys {
            if self.state.remove(&(route, key.clone())) == Some(HealState::ReportedAgain) {
                self.report(route, key);
            }
        }
    }

    /// Rows that are not yet whole.
    pub(crate) fn pending(&self) -> usize {
        self.state.len()
    }
}

/// The rows of one heal window by their keys on blue, and what invisible transactions did to each.
#[derive(Debug, Default)]
pub(crate) struct HealKeys {
    keys: FxHashMap<Key, HealRow>,
}

/// One of them.
#[derive(Debug)]
struct HealRow {
    /// The keys on green that it was reported under.
    green: Vec<Key>,
    touched: Touched,
}

/// What invisible transactions in the window did to a key.
#[derive(Debug, Clone)]
enum Touched {
    /// Nothing: the row read is the truth.
    No,
    /// Columns were sent that win over those read; in the order in which chunks are read.
    Partly(Tuple),
    /// The stream alone determines the row, or its absence.
    Settled,
    /// The row came from another key with a part of its columns, or green was told nothing of it: only another read can tell.
    Unclear,
}

/// What a heal window comes to at its marker.
#[derive(Debug, Default)]
pub(crate) struct HealOutcome {
    /// Whole rows of blue, as chunks are read.
    pub(crate) rows: Vec<Tuple>,
    /// Keys that need nothing more once the rows are written.
    pub(crate) settled: Vec<HealKey>,
    /// Keys that need another window.
    pub(crate) again: Vec<HealKey>,
    /// Keys on green of rows that blue does not have at the marker.
    pub(crate) gone: Vec<Key>,
}

impl HealKeys {
    fn new(keys: Vec<HealKey>) -> HealKeys {
        let mut rows: FxHashMap<Key, HealRow> = FxHashMap::default();
        for HealKey { green, blue } in keys {
            let row = HealRow { green: Vec::new(), touched: Touched::No };
            rows.entry(blue).or_insert(row).green.push(green);
        }
        HealKeys { keys: rows }
    }

    pub(crate) fn contains(&self, blue: &Key) -> bool {
        self.keys.contains_key(blue)
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The keys on blue.
    pub(crate) fn blue(&self) -> Vec<Key> {
        self.keys.keys().cloned().collect()
    }

    pub(crate) fn to_vec(&self) -> Vec<HealKey> {
        self.keys.iter().flat_map(|(blue, row)| row.named(blue)).collect()
    }

    /// A change that the window's snapshot does not show.
    pub(crate) fn touch(&mut self, rules: &Rules, touch: &Touch) {
        match touch {
            Touch::Partial { key, row, applied } => {
                if let Some(healed) = self.keys.get_mut(key) {
                    healed.touched = match &healed.touched {
                        Touched::No => Touched::Partly(row.clone()),
                        Touched::Partly(earlier) => Touched::Partly(merge(row, earlier)),
                        // What came whole is on green, and this part of it is not.
                        Touched::Settled if !applied && rules.holds(Rule::RereadSettled) => Touched::Unclear,
                        Touched::Settled => Touched::Settled,
                        Touched::Unclear => Touched::Unclear,
                    };
                }
            }
            Touch::Keys { old, new } => {
                let moved = old.is_some() && new.is_some();
                if let Some(row) = old.as_ref().and_then(|key| self.keys.get_mut(key)) {
                    row.touched = Touched::Settled;
                }
                if let Some(row) = new.as_ref().and_then(|key| self.keys.get_mut(key)) {
                    row.touched = if moved { Touched::Unclear } else { Touched::Settled };
                }
            }
            Touch::Untold { old, new } => {
                for key in old.iter().chain(new) {
                    if let Some(row) = self.keys.get_mut(key) {
                        // Whatever green has under the key stays there, and should not be: another read tells.
                        let told = !rules.holds(Rule::HealUntold);
                        row.touched = if told { Touched::Settled } else { Touched::Unclear };
                    }
                }
            }
            Touch::Asked { key } => {
                // The changes that settle the row were applied before somebody damaged it. Any that are still to come are not.
                if let Some(row) = self.keys.get_mut(key)
                    && matches!(row.touched, Touched::Settled)
                    && rules.holds(Rule::AskedAgain)
                {
                    row.touched = Touched::Unclear;
                }
            }
            Touch::Emptied { .. } => {}
        }
    }

    /// Merges the rows read with what the stream sent meanwhile.
    pub(crate) fn merge(
        self,
        rules: &Rules,
        rows: Vec<Tuple>,
        key_of: impl Fn(&Tuple) -> Option<Key>,
    ) -> HealOutcome {
        let mut read: FxHashMap<Key, Tuple> =
            rows.into_iter().filter_map(|row| Some((key_of(&row)?, row))).collect();
        let mut outcome = HealOutcome::default();
        for (key, healed) in self.keys {
            let row = read.remove(&key);
            match &healed.touched {
                Touched::No => match row {
                    Some(row) => outcome.rows.push(row),
                    // The snapshot shows no such row, and no transaction up to the marker that it does not show has had one.
                    None => outcome.gone.extend(healed.green.iter().cloned()),
                },
                Touched::Partly(sent) => match row {
                    Some(row) if rules.holds(Rule::HealMerge) => outcome.rows.push(merge(sent, &row)),
                    Some(row) => outcome.rows.push(row),
                    None => {
                        outcome.again.extend(healed.named(&key));
                        continue;
                    }
                },
                Touched::Settled => {}
                Touched::Unclear => {
                    outcome.again.extend(healed.named(&key));
                    continue;
                }
            }
            outcome.settled.extend(healed.named(&key));
        }
        outcome
    }
}

impl HealRow {
    fn named(&self, blue: &Key) -> impl Iterator<Item = HealKey> {
        self.green.iter().map(|green| HealKey { green: green.clone(), blue: blue.clone() })
    }
}

/// `newer` with every value that was not sent taken from `older`.
fn merge(newer: &Tuple, older: &Tuple) -> Tuple {
    let mut out = TupleBuilder::with_capacity(newer.bytes_len() + older.bytes_len());
    for (newer, older) in newer.values().zip(older.values()) {
        out.push(if newer == Value::Unchanged { &older } else { &newer });
    }
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(values: &[Value<'_>]) -> Tuple {
        let mut out = TupleBuilder::default();
        values.iter().for_each(|value| out.push(value));
        out.finish()
    }

    /// A row came whole while its heal was under way, and then a part of it that green could not apply: the heal that is
    /// under way must not pass for an answer to that.
    #[test]
    fn a_part_that_only_asks_for_another_read_gets_one() {
        let one = || Value::Text(b"1"[..].into());
        let key = Key::from_texts([&b"1"[..]]);
        for (applied, rules, again) in [
            (false, Rules::all(), 1),
            (true, Rules::all(), 0),
            (false, Rules::without(Rule::RereadSettled), 0),
        ] {
            let mut keys = HealKeys::new(vec![HealKey::same(key.clone())]);
            keys.touch(&rules, &Touch::Keys { old: None, new: Some(key.clone()) });
            let row = tuple(&[one(), Value::Unchanged]);
            keys.touch(&rules, &Touch::Partial { key: key.clone(), row, applied });
            let outcome = keys.merge(&rules, vec![tuple(&[one(), one()])], |row| row.key(&[0]));
            assert_eq!((outcome.rows.len(), outcome.again.len()), (0, again));
        }
    }
}
