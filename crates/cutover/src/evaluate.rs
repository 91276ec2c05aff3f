//! One moment judged: every check of the policy against the evidence.

mod outside;
mod pipeline;
mod servers;
mod verification;

use crate::check::Check;
use crate::evidence::{Evidence, Millis};
use crate::policy::Policy;

/// What is known at one moment, and what it is held against.
#[derive(Clone, Copy)]
pub(crate) struct Moment<'a> {
    policy: &'a Policy,
    evidence: &'a Evidence,
    now: Millis,
}

/// Judges one moment. The checks of a policy are always the same ones in the same order, whatever is known.
pub fn evaluate(policy: &Policy, evidence: &Evidence, now: Millis) -> Vec<Check> {
    let moment = Moment { policy, evidence, now };
    let mut checks = Vec::new();
    pipeline::checks(moment, &mut checks);
    verification::checks(moment, &mut checks);
    servers::checks(moment, &mut checks);
    outside::checks(moment, &mut checks);
    for check in &mut checks {
        check.since = now;
    }
    checks
}
