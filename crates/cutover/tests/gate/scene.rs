//! A scene in which everything is good, for tests to spoil.

use std::collections::BTreeMap;

use jiff::Timestamp;
use understudy_contract::{Found, Lack, ReadinessCheck};
use understudy_cutover::{
    Accepted, ChangedRows, ComparedTable, CopiedTable, Dated, Evidence, Freeze, Limit, Millis, Policy,
    ProbeOutcome, ProbePolicy, Probed, QueryPolicy, Replication, ReplicationState, Verification, Weekly,
    Window,
};

/// Samples are taken every second.
pub(crate) const INTERVAL: u64 = 1_000;

/// The soak of the scene.
pub(crate) const SOAK: u64 = 60_000;

pub(crate) fn policy() -> Policy {
    let weekly = Weekly::parse("Fri 16:00-Mon 08:00", "Europe/Berlin").unwrap();
    Policy {
        max_lag_seconds: 1.0,
        soak_ms: SOAK,
        coverage: 1.0,
        max_age_ms: 86_400_000,
        max_changed_ms: 60_000,
        queries: vec![
            QueryPolicy { name: "errors".to_owned(), limit: Limit::Below(0.01) },
            QueryPolicy { name: "replicas".to_owned(), limit: Limit::Above(2.0) },
        ],
        probes: vec![ProbePolicy { name: "orders-of".to_owned(), every_ms: 1_000 }],
        freezes: vec![Freeze { window: Window::Weekly(weekly), reason: "weekend".to_owned() }],
        accepted: vec![Accepted { what: "role batch".to_owned(), reason: "retired".to_owned() }],
    }
}

/// A Wednesday at noon.
pub(crate) fn noon() -> Timestamp {
    "2026-11-18T12:00:00Z".parse().unwrap()
}

pub(crate) fn table(name: &str) -> ComparedTable {
    ComparedTable {
        name: name.to_owned(),
        blocked: None,
        coverage: 1.0,
        oldest_age_ms: Some(600_000),
        open: 0,
        pending: 0,
        suspended: 0,
        foreign_writes: 0,
        wrong_digests: 0,
    }
}

pub(crate) const TABLES: [&str; 2] = ["public.users -> app.customers", "public.orders -> public.orders"];

/// Everything is known at `at`, and good.
pub(crate) fn good(at: Millis) -> Evidence {
    let replication = Replication {
        state: ReplicationState::Running,
        blue_connected: true,
        green_connected: true,
        last_error: None,
    };
    let copied = TABLES.map(|name| CopiedTable { name: name.to_owned(), complete: true });
    let verification = Verification::Running {
        tables: TABLES.map(table).to_vec(),
        changed: ChangedRows { waiting: 3, oldest_ms: Some(40), overflowed: false },
        held_back: None,
    };
    let readiness = ReadinessCheck::ALL.map(|check| (check, Dated::new(at, Found::Good)));
    let queries = [("errors", 0.001), ("replicas", 3.0)];
    Evidence {
        replication: Some(Dated::new(at, replication)),
        tables: Some(Dated::new(at, copied.to_vec())),
        lag_seconds: Some(Dated::new(at, Some(0.2))),
        heals: Some(Dated::new(at, 0)),
        quarantined: Some(Dated::new(at, 0)),
        verification: Some(Dated::new(at, verification)),
        readiness: BTreeMap::from(readiness),
        probes: BTreeMap::from([("orders-of".to_owned(), Dated::new(at, probed(ProbeOutcome::Agrees(17))))]),
        queries: queries.map(|(name, value)| (name.to_owned(), Dated::new(at, Ok(value)))).into(),
        wall: Some(Dated::new(at, noon())),
        faults: Some(Dated::new(at, Vec::new())),
    }
}

pub(crate) fn probed(outcome: ProbeOutcome) -> Probed {
    Probed { outcome, fresh_for_ms: 45_000 }
}

/// Changes the first table as verification sees it.
pub(crate) fn first(evidence: &mut Evidence, change: impl FnOnce(&mut ComparedTable)) {
    if let Some(Dated { value: Verification::Running { tables, .. }, .. }) = &mut evidence.verification {
        change(&mut tables[0]);
    }
}

/// Changes what verification knows of changed rows.
pub(crate) fn changed(evidence: &mut Evidence, change: ChangedRows) {
    if let Some(Dated { value: Verification::Running { changed, .. }, .. }) = &mut evidence.verification {
        *changed = change;
    }
}

/// Changes how replication fares.
pub(crate) fn replication(evidence: &mut Evidence, change: impl FnOnce(&mut Replication)) {
    if let Some(replication) = &mut evidence.replication {
        change(&mut replication.value);
    }
}

/// Lets a check of the servers find these.
pub(crate) fn lacks(evidence: &mut Evidence, check: ReadinessCheck, subjects: &[&str]) {
    let lack = |subject: &&str| Lack {
        subject: (*subject).to_owned(),
        reason: "is not there on green".to_owned(),
        remedy: Some(format!("CREATE {}", subject.to_uppercase())),
    };
    let at = evidence.readiness[&check].at;
    let found = Found::Lacks(subjects.iter().map(lack).collect());
    evidence.readiness.insert(check, Dated::new(at, found));
}

/// Every kind of evidence, each with its check, made missing or as old as `at`.
pub(crate) type Spoil = Box<dyn Fn(&mut Evidence, Option<Millis>)>;

fn spoil<T>(item: &mut Option<Dated<T>>, at: Option<Millis>) {
    match (at, item.as_mut()) {
        (Some(at), Some(item)) => item.at = at,
        _ => *item = None,
    }
}

fn spoil_of<K: Ord, T>(items: &mut BTreeMap<K, Dated<T>>, key: &K, at: Option<Millis>) {
    match (at, items.get_mut(key)) {
        (Some(at), Some(item)) => item.at = at,
        _ => drop(items.remove(key)),
    }
}

pub(crate) fn kinds() -> Vec<(&'static str, u64, Spoil)> {
    use understudy_cutover::fresh_for;
    let mut kinds: Vec<(&'static str, u64, Spoil)> = vec![
        ("replication", fresh_for::PIPELINE, Box::new(|e, at| spoil(&mut e.replication, at))),
        ("copy", fresh_for::COUNTED, Box::new(|e, at| spoil(&mut e.tables, at))),
        ("lag", fresh_for::PIPELINE, Box::new(|e, at| spoil(&mut e.lag_seconds, at))),
        ("heals", fresh_for::COUNTED, Box::new(|e, at| spoil(&mut e.heals, at))),
        ("quarantine", fresh_for::COUNTED, Box::new(|e, at| spoil(&mut e.quarantined, at))),
        ("verification", fresh_for::VERIFICATION, Box::new(|e, at| spoil(&mut e.verification, at))),
        (
            "probe/orders-of",
            fresh_for::probe(1_000, 45_000),
            Box::new(|e, at| {
                spoil_of(&mut e.probes, &"orders-of".to_owned(), at);
            }),
        ),
        (
            "prometheus/errors",
            fresh_for::QUERY,
            Box::new(|e, at| {
                spoil_of(&mut e.queries, &"errors".to_owned(), at);
            }),
        ),
        ("freeze", fresh_for::WALL, Box::new(|e, at| spoil(&mut e.wall, at))),
        ("test_fault", fresh_for::PIPELINE, Box::new(|e, at| spoil(&mut e.faults, at))),
    ];
    for check in ReadinessCheck::ALL {
        let spoil: Spoil = Box::new(move |e, at| spoil_of(&mut e.readiness, &check, at));
        kinds.push((check.as_str(), fresh_for::READINESS, spoil));
    }
    kinds
}
