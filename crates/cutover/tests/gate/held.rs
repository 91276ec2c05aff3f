//! Every kind of evidence missing, too old and bad: held, with the very sentence that the operator reads.

use understudy_contract::{Found, ReadinessCheck};
use understudy_cutover::{
    ChangedRows, Check, Dated, Evidence, Gate, GateName, Millis, ProbeOutcome, ReplicationState, Status,
    Verdict, Verification, evaluate,
};

use crate::scene::{changed, first, good, kinds, lacks, noon, policy, probed, replication};

const NOW: Millis = Millis(10_000_000);

fn check(evidence: &Evidence, name: &str) -> Check {
    let checks = evaluate(&policy(), evidence, NOW);
    checks.into_iter().find(|check| check.name == name).unwrap_or_else(|| panic!("no check {name}"))
}

/// A gate that had been open a moment before.
fn after_being_open(evidence: &Evidence) -> Verdict {
    let mut gate = Gate::new(GateName::Cutover, 1_000);
    let policy = policy();
    for at in (NOW.0 - 80_000..NOW.0).step_by(1_000) {
        gate.sample(&policy, &good(Millis(at)), Millis(at));
    }
    assert!(gate.sample(&policy, &good(Millis(NOW.0 - 1)), Millis(NOW.0 - 1)).ready, "the scene is not good");
    gate.sample(&policy, evidence, NOW)
}

fn assert_held(evidence: &Evidence, name: &str, status: Status, sentence: &str) {
    let found = check(evidence, name);
    assert_eq!((found.status, found.reason.as_str()), (status, sentence), "{name}");
    let verdict = after_being_open(evidence);
    assert!(!verdict.ready && verdict.verdict != Status::Pass, "{name} let the gate stay open");
    let shown = verdict.checks.iter().find(|check| check.name == name).unwrap();
    assert_eq!(shown.status, status, "{name}");
}

/// Promise 3: what is not known never counts as good. Each kind is left out in turn.
#[test]
fn missing_evidence_holds() {
    for (name, _, spoil) in kinds() {
        let mut evidence = good(NOW);
        spoil(&mut evidence, None);
        let sentence = format!("{} is not known yet", what(name));
        assert_held(&evidence, name, Status::Unknown, &sentence);
    }
}

/// Promise 3: what was good once does not count for ever. Each kind is as old as it may be, and then a moment older.
#[test]
fn stale_evidence_holds() {
    for (name, limit, spoil) in kinds() {
        let mut evidence = good(NOW);
        spoil(&mut evidence, Some(Millis(NOW.0 - limit)));
        assert_eq!(check(&evidence, name).status, Status::Pass, "{name} is held too early");
        spoil(&mut evidence, Some(Millis(NOW.0 - limit - 60_000)));
        let (age, limit) = (understudy_cutover::span(limit + 60_000), understudy_cutover::span(limit));
        let sentence = format!("{} was last known {age} ago, which counts for {limit} only", what(name));
        assert_held(&evidence, name, Status::Unknown, &sentence);
    }
}

/// How a check's evidence is called in sentences.
fn what(name: &str) -> String {
    match name {
        "replication" => "whether replication runs".to_owned(),
        "copy" => "whether every table is copied".to_owned(),
        "lag" => "how far green is behind".to_owned(),
        "heals" => "how many rows are to be read again".to_owned(),
        "quarantine" => "how many rows are set aside".to_owned(),
        "verification" => "what verification does".to_owned(),
        "probe/orders-of" => "whether the answers to probe orders-of agree".to_owned(),
        "prometheus/errors" => "the answer of Prometheus to errors".to_owned(),
        "freeze" => "the time of day".to_owned(),
        "test_fault" => "whether a test fault is armed".to_owned(),
        readiness => format!("what the servers say of `{readiness}`"),
    }
}

type Case = (&'static str, Box<dyn Fn(&mut Evidence)>, Status, &'static str);

fn case(
    name: &'static str,
    status: Status,
    sentence: &'static str,
    change: impl Fn(&mut Evidence) + 'static,
) -> Case {
    (name, Box::new(change), status, sentence)
}

/// Promises 2 and 3: whatever is bad in the pipeline holds the gate and is named.
#[test]
fn bad_evidence_of_the_pipeline_holds() {
    let cases = [
        case("test_fault", Status::Fail, "a test fault is armed: lose_row, wrong_digest", |e| {
            e.faults = Some(Dated::new(NOW, vec!["lose_row".to_owned(), "wrong_digest".to_owned()]));
        }),
        case("replication", Status::Fail, "replication stopped and needs a person: column dropped", |e| {
            replication(e, |r| {
                r.state = ReplicationState::Failed;
                r.last_error = Some("column dropped".to_owned());
            });
        }),
        case("replication", Status::Unknown, "a server is away, and is tried again", |e| {
            replication(e, |r| r.state = ReplicationState::Retrying);
        }),
        case("replication", Status::Pending, "replication is starting", |e| {
            replication(e, |r| r.state = ReplicationState::Starting);
        }),
        case("replication", Status::Fail, "the sidecar is stopping", |e| {
            replication(e, |r| r.state = ReplicationState::Stopping);
        }),
        case("replication", Status::Unknown, "blue's stream is not connected", |e| {
            replication(e, |r| r.blue_connected = false);
        }),
        case("replication", Status::Unknown, "green is not connected", |e| {
            replication(e, |r| r.green_connected = false);
        }),
        case(
            "copy",
            Status::Pending,
            "the first copy of 1 of 2 tables is not complete: public.users -> app.customers",
            |e| e.tables.as_mut().unwrap().value[0].complete = false,
        ),
        case("copy", Status::Unknown, "no table is known yet", |e| e.tables.as_mut().unwrap().value.clear()),
        case("lag", Status::Fail, "green is 2.5s behind, more than 1s", |e| {
            e.lag_seconds = Some(Dated::new(NOW, Some(2.5)));
        }),
        case("heals", Status::Pending, "2 rows wait to be read again from blue", |e| {
            e.heals = Some(Dated::new(NOW, 2));
        }),
        case("quarantine", Status::Fail, "1 row is set aside because green refused them", |e| {
            e.quarantined = Some(Dated::new(NOW, 1));
        }),
    ];
    all_held(cases);
    for lag in [None, Some(f64::NAN), Some(-1.0)] {
        let mut evidence = good(NOW);
        evidence.lag_seconds = Some(Dated::new(NOW, lag));
        let sentence = "how far green is behind is not known: no marker has come back";
        assert_held(&evidence, "lag", Status::Unknown, sentence);
    }
}

fn all_held(cases: impl IntoIterator<Item = Case>) {
    for (name, change, status, sentence) in cases {
        let mut evidence = good(NOW);
        change(&mut evidence);
        assert_held(&evidence, name, status, sentence);
    }
}

/// Promise 3: unverified, pending and suspended are states of their own and never count as equal.
#[test]
fn bad_evidence_of_verification_holds() {
    let users = |change: fn(&mut understudy_cutover::ComparedTable)| move |e: &mut Evidence| first(e, change);
    all_held([
        case("verification", Status::Fail, "verification is switched off", |e| {
            e.verification = Some(Dated::new(NOW, Verification::Disabled));
        }),
        case(
            "verification",
            Status::Fail,
            "public.users -> app.customers cannot be compared: its key is masked",
            users(|t| t.blocked = Some("its key is masked".to_owned())),
        ),
        case(
            "verification",
            Status::Unknown,
            "not compared yet: public.users -> app.customers",
            users(|t| t.name = "public.other -> public.other".to_owned()),
        ),
        case(
            "mismatches",
            Status::Fail,
            "2 rows differ: public.users -> app.customers (2)",
            users(|t| t.open = 2),
        ),
        case(
            "foreign_writes",
            Status::Fail,
            "1 row was written on green by somebody else: public.users -> app.customers (1)",
            users(|t| t.foreign_writes = 1),
        ),
        case(
            "pending",
            Status::Pending,
            "1 row is not settled yet: public.users -> app.customers (1)",
            users(|t| t.pending = 1),
        ),
        case(
            "suspended",
            Status::Fail,
            "4 rows change too often to be compared: public.users -> app.customers (4)",
            users(|t| t.suspended = 4),
        ),
        case(
            "digests",
            Status::Fail,
            "1 digest is not what its rows add up to: public.users -> app.customers (1)",
            users(|t| t.wrong_digests = 1),
        ),
    ]);
}

/// Promise 3: what was not verified, or long ago, is not known to be equal, however little it is.
#[test]
fn unverified_and_old_ranges_hold() {
    let users = |change: fn(&mut understudy_cutover::ComparedTable)| move |e: &mut Evidence| first(e, change);
    all_held([
        case(
            "coverage",
            Status::Pending,
            "less than 100 % has been verified of public.users -> app.customers (99.9 %)",
            users(|t| t.coverage = 0.999_999),
        ),
        case(
            "coverage",
            Status::Unknown,
            "how much of public.users -> app.customers has been verified is not known",
            users(|t| t.coverage = f64::NAN),
        ),
        case(
            "age",
            Status::Pending,
            "a range of public.users -> app.customers was last verified 1d 1h ago, more than 1d",
            users(|t| t.oldest_age_ms = Some(90_000_000)),
        ),
        case(
            "age",
            Status::Pending,
            "some ranges were never verified: public.users -> app.customers",
            users(|t| t.oldest_age_ms = None),
        ),
    ]);
}

/// Promise 3: changed rows that cannot be followed, or wait for long, are not known to be equal.
#[test]
fn changed_rows_that_wait_hold() {
    let rows = |waiting, oldest_ms, overflowed| {
        move |e: &mut Evidence| changed(e, ChangedRows { waiting, oldest_ms, overflowed })
    };
    all_held([
        case(
            "changed_rows",
            Status::Pending,
            "more rows change than can be checked one by one; their tables are verified anew",
            rows(0, None, true),
        ),
        case(
            "changed_rows",
            Status::Pending,
            "9 changed rows wait for their check, the oldest for 1m 1s",
            rows(9, Some(61_000), false),
        ),
        case(
            "changed_rows",
            Status::Unknown,
            "1 changed row waits for its check, and for how long is not known",
            rows(1, None, false),
        ),
    ]);
}

/// One bad table must not hide behind many good ones, and what verification does not know is never taken for zero.
#[test]
fn verification_without_knowledge_holds_all_its_checks() {
    let mut evidence = good(NOW);
    evidence.verification = Some(Dated::new(NOW, Verification::Disabled));
    for name in
        ["mismatches", "foreign_writes", "pending", "suspended", "digests", "coverage", "age", "changed_rows"]
    {
        let found = check(&evidence, name);
        assert_eq!(found.status, Status::Unknown, "{name}");
        assert!(found.reason.ends_with("is not known: verification is switched off"), "{}", found.reason);
    }
    let failing = Verification::Failing("green is away".to_owned());
    evidence.verification = Some(Dated::new(NOW, failing));
    let sentence = "what verification does is not known: verification failed: green is away";
    assert_held(&evidence, "verification", Status::Unknown, sentence);
    let empty =
        Verification::Running { tables: Vec::new(), changed: ChangedRows::default(), held_back: None };
    evidence.verification = Some(Dated::new(NOW, empty));
    assert_held(
        &evidence,
        "mismatches",
        Status::Unknown,
        "how many rows differ is not known: no table is compared yet",
    );
}

/// What the servers lack holds the gate with subject and remedy, unless the file accepts that very subject.
#[test]
fn lacks_hold_until_accepted() {
    for of in ReadinessCheck::ALL {
        let mut evidence = good(NOW);
        lacks(&mut evidence, of, &["index public.a"]);
        assert_held(&evidence, of.as_str(), Status::Fail, "index public.a: is not there on green");
        let remedy = check(&evidence, of.as_str()).remedy.unwrap();
        assert!(remedy.starts_with("CREATE INDEX PUBLIC.A; or say why it does no harm"), "{remedy}");
        evidence.readiness.insert(of, Dated::new(NOW, Found::Unknown("not permitted".to_owned())));
        assert_held(&evidence, of.as_str(), Status::Unknown, "not permitted");
        evidence.readiness.insert(of, Dated::new(NOW, Found::Inapplicable("green holds items".to_owned())));
        let passed = check(&evidence, of.as_str());
        assert_eq!((passed.status, passed.reason.as_str()), (Status::Pass, "green holds items"));
    }
    let mut evidence = good(NOW);
    lacks(&mut evidence, ReadinessCheck::Roles, &["role batch", "role web"]);
    assert_held(&evidence, "roles", Status::Fail, "role web: is not there on green");
    lacks(&mut evidence, ReadinessCheck::Roles, &["role batch"]);
    let accepted = check(&evidence, "roles");
    assert_eq!(accepted.status, Status::Pass);
    assert_eq!(accepted.reason, "accepted in the migration file: role batch");
    assert!(after_being_open(&evidence).ready);
    lacks(&mut evidence, ReadinessCheck::Indexes, &["index a", "index b", "index c", "index d", "index e"]);
    let many = check(&evidence, "indexes");
    assert!(many.reason.ends_with("index c: is not there on green; and 2 more"), "{}", many.reason);
    assert_eq!(many.value, Some(5.0));
}

/// What the file names beside the data holds like everything else.
#[test]
fn bad_answers_and_freezes_hold() {
    let asked = |outcome: ProbeOutcome| {
        move |e: &mut Evidence| {
            e.probes.insert("orders-of".to_owned(), Dated::new(NOW, probed(outcome.clone())));
        }
    };
    let answered = |answer: Result<f64, String>| {
        move |e: &mut Evidence| {
            e.queries.insert("errors".to_owned(), Dated::new(NOW, answer.clone()));
        }
    };
    all_held([
        case(
            "probe/orders-of",
            Status::Fail,
            "both sides answer probe orders-of differently: 3 rows against 2",
            asked(ProbeOutcome::Differs("3 rows against 2".to_owned())),
        ),
        case(
            "probe/orders-of",
            Status::Fail,
            "green answers probe orders-of by a worse plan: a sequential scan",
            asked(ProbeOutcome::PlanRegression("a sequential scan".to_owned())),
        ),
        case(
            "probe/orders-of",
            Status::Unknown,
            "probe orders-of cannot be asked: no parameters",
            asked(ProbeOutcome::Failed("no parameters".to_owned())),
        ),
        case(
            "probe/orders-of",
            Status::Unknown,
            "probe orders-of was not compared yet",
            asked(ProbeOutcome::Agrees(0)),
        ),
        case("prometheus/errors", Status::Fail, "errors is 0.01 and must be below 0.01", answered(Ok(0.01))),
        case(
            "prometheus/errors",
            Status::Unknown,
            "the answer of Prometheus to errors is not a number",
            answered(Ok(f64::NAN)),
        ),
        case(
            "prometheus/errors",
            Status::Unknown,
            "the answer of Prometheus to errors cannot be used: no series",
            answered(Err("no series".to_owned())),
        ),
        case("freeze", Status::Fail, "frozen until 2026-11-23T07:00:00Z: weekend", |e| {
            e.wall = Some(Dated::new(NOW, "2026-11-21T12:00:00Z".parse().unwrap()))
        }),
        case(
            "prometheus/errors",
            Status::Unknown,
            "the answer of Prometheus to errors is not a number",
            answered(Ok(f64::NEG_INFINITY)),
        ),
        case("prometheus/replicas", Status::Fail, "replicas is 2 and must be above 2", |e| {
            e.queries.insert("replicas".to_owned(), Dated::new(NOW, Ok(2.0)));
        }),
    ]);
}

/// A check that is not in this list could not be asked for by name, and one that no test knows could be dropped unnoticed.
#[test]
fn every_gate_asks_its_checks() {
    let names = |gate: GateName| {
        let verdict = Gate::new(gate, 1_000).sample(&policy(), &good(NOW), NOW);
        verdict.checks.into_iter().map(|check| check.name).collect::<Vec<_>>()
    };
    let backfilled = ["test_fault", "replication", "copy", "heals", "quarantine"];
    assert_eq!(names(GateName::Backfilled), backfilled);
    let verification = [
        "verification",
        "mismatches",
        "foreign_writes",
        "pending",
        "suspended",
        "digests",
        "coverage",
        "age",
        "changed_rows",
    ];
    assert_eq!(names(GateName::Verified), [&backfilled[..], &verification].concat());
    let servers = ReadinessCheck::ALL.map(ReadinessCheck::as_str);
    let outside = ["probe/orders-of", "prometheus/errors", "prometheus/replicas", "freeze"];
    let all = [&backfilled[..], &["lag"], &verification, &servers, &outside].concat();
    assert_eq!(names(GateName::Cutover), all);
}

/// The reason on one line must be the worst thing, not the first.
#[test]
fn the_worst_reason_comes_first() {
    let mut evidence = good(NOW);
    evidence.heals = Some(Dated::new(NOW, 1));
    evidence.wall = Some(Dated::new(NOW, noon()));
    first(&mut evidence, |table| table.open = 1);
    evidence.lag_seconds = None;
    let verdict = after_being_open(&evidence);
    assert_eq!(verdict.verdict, Status::Fail);
    assert_eq!(verdict.reason, "1 row differs: public.users -> app.customers (1) (and 2 more checks)");
}
