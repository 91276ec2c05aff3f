//! Whatever subset of the evidence is missing, old or bad, and whenever: the gate is not open.

use proptest::prelude::*;
use understudy_contract::{Found, ReadinessCheck};
use understudy_cutover::{
    Dated, Evidence, Gate, GateName, Millis, ProbeOutcome, ReplicationState, Verification,
};

use crate::scene::{INTERVAL, SOAK, first, good, kinds, lacks, policy, replication};

type Bad = fn(&mut Evidence);

/// Ways to be bad, beside being missing or old.
const BAD: &[Bad] = &[
    |e| replication(e, |r| r.state = ReplicationState::Failed),
    |e| replication(e, |r| r.green_connected = false),
    |e| e.tables.iter_mut().for_each(|tables| tables.value[1].complete = false),
    |e| e.heals.iter_mut().for_each(|heals| heals.value = 1),
    |e| e.quarantined.iter_mut().for_each(|aside| aside.value = 1),
    |e| e.lag_seconds.iter_mut().for_each(|lag| lag.value = None),
    |e| e.lag_seconds.iter_mut().for_each(|lag| lag.value = Some(1e9)),
    |e| e.faults.iter_mut().for_each(|faults| faults.value.push("lose_row".to_owned())),
    |e| e.verification.iter_mut().for_each(|found| found.value = Verification::Disabled),
    |e| first(e, |table| table.open = 1),
    |e| first(e, |table| table.pending = 1),
    |e| first(e, |table| table.suspended = 1),
    |e| first(e, |table| table.wrong_digests = 1),
    |e| first(e, |table| table.coverage = 0.5),
    |e| first(e, |table| table.oldest_age_ms = None),
    |e| first(e, |table| table.blocked = Some("no key".to_owned())),
    |e| {
        if e.readiness.contains_key(&ReadinessCheck::Limits) {
            lacks(e, ReadinessCheck::Limits, &["max_connections"]);
        }
    },
    |e| e.readiness.values_mut().for_each(|one| one.value = Found::Unknown("no".to_owned())),
    |e| e.probes.values_mut().for_each(|one| one.value.outcome = ProbeOutcome::Agrees(0)),
    |e| e.queries.values_mut().for_each(|one| one.value = Ok(f64::NAN)),
    |e| e.wall = Some(Dated::new(Millis(u64::MAX), "2026-11-21T12:00:00Z".parse().unwrap())),
];

/// Which evidence is missing, old or bad; at least one is.
fn spoils() -> impl Strategy<Value = Vec<(u8, usize)>> {
    let one = prop_oneof![
        (Just(0_u8), 0..kinds().len()),
        (Just(1_u8), 0..kinds().len()),
        (Just(2_u8), 0..BAD.len()),
    ];
    prop::collection::vec(one, 1..6)
}

fn spoil(evidence: &mut Evidence, spoils: &[(u8, usize)], now: Millis) {
    let kinds = kinds();
    // Bad first: nothing that is missing or old may come back through it.
    for (_, at) in spoils.iter().filter(|(how, _)| *how == 2) {
        BAD[*at](evidence);
    }
    for (how, at) in spoils.iter().filter(|(how, _)| *how < 2) {
        let (_, limit, spoil) = &kinds[*at];
        spoil(evidence, (*how == 1).then(|| Millis(now.0 - limit - 1)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Promise 3, "no false calm": spoiled evidence holds an open gate at once and keeps it from opening for a soak after
    /// the last spoiled sample, whatever it was and however long it lasted.
    #[test]
    fn spoiled_evidence_never_opens_the_gate(spoils in spoils(), lasts in 1_u64..5, before in 0_u64..130) {
        let policy = policy();
        let mut gate = Gate::new(GateName::Cutover, INTERVAL);
        let mut now = Millis(1_000_000);
        for _ in 0..before {
            now.0 += INTERVAL;
            gate.sample(&policy, &good(now), now);
        }
        for _ in 0..lasts {
            now.0 += INTERVAL;
            let mut evidence = good(now);
            spoil(&mut evidence, &spoils, now);
            let verdict = gate.sample(&policy, &evidence, now);
            prop_assert!(!verdict.ready, "open with {spoils:?}");
            prop_assert!(!verdict.reason.is_empty() && !verdict.reason.contains('\n'));
        }
        // A peak of the lag alone is allowed once in a hundred samples; everything else begins the soak anew.
        let forgiven = spoils.iter().all(|one| *one == (2, 6)) && lasts == 1 && before > 98;
        for at in 0..SOAK / INTERVAL {
            now.0 += INTERVAL;
            let ready = gate.sample(&policy, &good(now), now).ready;
            prop_assert!(forgiven || !ready, "open {at} samples after {spoils:?}");
        }
        now.0 += INTERVAL;
        prop_assert!(gate.sample(&policy, &good(now), now).ready, "never opens again");
    }
}
