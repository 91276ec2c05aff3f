//! Which lanes this process has, and what is to become of each when it ends, is given up, or comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use understudy_contract::{Class, Failure};
use understudy_kafka::SESSION_MAX;

use crate::supervise::{Shutdown, ShutdownTrigger, shutdown_channel};

/// So often in a row a lane is tried again by itself before everything is connected and compiled anew.
const TRIES_MAX: u32 = 3;

/// A lane that ran for this long has done its work: what fails then is the first of a row.
const STEADY: Duration = Duration::from_secs(60);

/// The first pause before a lane is tried again; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(250);

/// What is to become of a lane that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing: it was given up.
    Nothing,
    /// It has come back meanwhile, and is begun.
    Begin,
    /// Another owner has taken it: it is claimed anew where it still is ours after this time.
    Claim(Duration),
    /// It failed, may pass, and is begun again after this time.
    Again(Duration),
}

/// A lane that this process applies.
struct Held {
    stop: ShutdownTrigger,
    tries: u32,
    since: Instant,
    /// It has ended, and is begun again after a pause.
    pauses: bool,
    /// It is given up, has not ended, and is ours again.
    returns: bool,
}

/// The lanes of this process. `S` is who waits for some that are given up: it is let go once they have ended.
pub(super) struct Roster<S> {
    held: BTreeMap<u32, Held>,
    revoked: Vec<(BTreeSet<u32>, S)>,
}

impl<S> Roster<S> {
    pub(super) fn new() -> Roster<S> {
        Roster { held: BTreeMap::new(), revoked: Vec::new() }
    }

    /// A lane is ours. Whether it is to be begun: one that was given up and has not ended yet is, once it has.
    pub(super) fn assigned(&mut self, number: u32) -> bool {
        let is_given_up = self.is_given_up(number);
        match self.held.get_mut(&number) {
            Some(held) if is_given_up => {
                held.returns = true;
                false
            }
            Some(_) | None => true,
        }
    }

    /// A lane begins. Gives what stops it.
    pub(super) fn begins(&mut self, number: u32, tries: u32) -> Shutdown {
        let (stop, stopped) = shutdown_channel();
        let since = Instant::now();
        self.held.insert(number, Held { stop, tries, since, pauses: false, returns: false });
        stopped
    }

    /// Lanes are given up. What runs of them is stopped.
    pub(super) fn revoked(&mut self, numbers: Vec<u32>, stopped: S) {
        let mut ours = BTreeSet::new();
        for number in numbers {
            if self.held.get(&number).is_some_and(|held| held.pauses) {
                self.held.remove(&number);
            }
            if let Some(held) = self.held.get_mut(&number) {
                held.returns = false;
                held.stop.pull();
                ours.insert(number);
            }
        }
        self.revoked.push((ours, stopped));
        self.let_go();
    }

    /// A lane has ended; `failed` says why, where it did not end in order.
    pub(super) fn ended(
        &mut self,
        number: u32,
        failed: Option<Failure>,
        now: Instant,
    ) -> Result<Next, Failure> {
        let is_given_up = self.is_given_up(number);
        let failure = match (failed, self.held.get_mut(&number)) {
            (Some(failure), Some(held)) if !is_given_up => {
                if now.saturating_duration_since(held.since) > STEADY {
                    held.tries = 0;
                }
                failure
            }
            (_, held) => {
                let returns = held.is_some_and(|held| held.returns);
                self.held.remove(&number);
                self.let_go();
                return Ok(if returns { Next::Begin } else { Next::Nothing });
            }
        };
        let Some(held) = self.held.get_mut(&number) else { return Err(failure) };
        let next = match failure.class() {
            // By then whoever is ours in error has heard of it.
            Class::Superseded => Next::Claim(SESSION_MAX * 2),
            Class::Transient if held.tries < TRIES_MAX => Next::Again(PAUSE * 2_u32.pow(held.tries)),
            _ => return Err(failure),
        };
        held.pauses = true;
        tracing::warn!(lane = number, error = %failure, "the lane is begun again");
        Ok(next)
    }

    /// The pause after a lane is over. Where it still is ours: how often it has been tried.
    pub(super) fn rested(&self, number: u32) -> Option<u32> {
        self.held.get(&number).filter(|held| held.pauses).map(|held| held.tries)
    }

    /// Every lane is asked to end.
    pub(super) fn stop(&self) {
        self.held.values().for_each(|held| held.stop.pull());
    }

    /// Every lane has ended.
    pub(super) fn clear(&mut self) {
        self.held.clear();
        self.revoked.clear();
    }

    fn is_given_up(&self, number: u32) -> bool {
        self.revoked.iter().any(|(numbers, _)| numbers.contains(&number))
    }

    /// Lets go of those whose lanes have all ended.
    fn let_go(&mut self) {
        let held = &self.held;
        self.revoked.retain(|(numbers, _)| numbers.iter().any(|number| held.contains_key(number)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn passing() -> Option<Failure> {
        Some(Failure::new(Class::Transient, "a broker is away"))
    }

    /// A failure that passes now and then, weeks apart, must not end a worker; one that comes again at once has everything
    /// looked at anew.
    #[test]
    fn only_failures_in_a_row_end_an_attempt() {
        let mut roster = Roster::<()>::new();
        let fail_after = |roster: &mut Roster<()>, ran: Duration| {
            let ended = roster.ended(3, passing(), Instant::now() + ran);
            let tries = roster.rested(3);
            ended.map(|_| drop(roster.begins(3, tries.unwrap_or_default() + 1)))
        };
        drop(roster.begins(3, 0));
        for _ in 0..10 {
            fail_after(&mut roster, STEADY * 2).unwrap();
        }
        let in_a_row = (0..10).take_while(|_| fail_after(&mut roster, Duration::ZERO).is_ok()).count();
        assert!(in_a_row <= TRIES_MAX as usize, "{in_a_row}");
    }

    /// A lane that comes back before it has ended must not run twice at once in one process, and whoever waits for its end
    /// hears of that end.
    #[test]
    fn a_lane_that_comes_back_is_begun_once_it_has_ended() {
        let mut roster = Roster::new();
        assert!(roster.assigned(1));
        let _stopped = roster.begins(1, 0);
        let waiting = Arc::new(());
        roster.revoked(vec![1, 2], Arc::clone(&waiting));
        assert!(!roster.assigned(1), "it runs still");
        assert_eq!(Arc::strong_count(&waiting), 2);
        assert_eq!(roster.ended(1, passing(), Instant::now()).unwrap(), Next::Begin);
        assert_eq!(Arc::strong_count(&waiting), 1);
        let _stopped = roster.begins(1, 0);
        roster.revoked(vec![1], Arc::clone(&waiting));
        assert!(!roster.assigned(1));
        roster.revoked(vec![1], Arc::clone(&waiting));
        assert_eq!(roster.ended(1, None, Instant::now()).unwrap(), Next::Nothing);
        assert_eq!(Arc::strong_count(&waiting), 1);
        assert!(roster.assigned(1));
    }

    /// A lane that is given up while it rests is another's at once, and is not begun here again.
    #[test]
    fn a_lane_that_rests_is_given_up_at_once() {
        let mut roster = Roster::new();
        let _stopped = roster.begins(1, 0);
        assert!(matches!(roster.ended(1, passing(), Instant::now()).unwrap(), Next::Again(_)));
        let waiting = Arc::new(());
        roster.revoked(vec![1], Arc::clone(&waiting));
        assert_eq!((Arc::strong_count(&waiting), roster.rested(1)), (1, None));
    }
}
