//! What the status says of the pipeline, and of who is alive.

use super::*;

#[test]
fn names_agree_with_json() {
    for phase in
        [Phase::Starting, Phase::Copying, Phase::Following, Phase::Retrying, Phase::Stopping, Phase::Failed]
    {
        assert_eq!(serde_json::json!(phase), phase.as_str());
    }
    for state in [TableState::Waiting, TableState::Copying, TableState::Following] {
        assert_eq!(serde_json::json!(state), state.as_str());
    }
    for name in WalStatus::NAMES {
        assert_eq!(serde_json::json!(WalStatus::parse(name)), name);
    }
}

#[test]
fn lag_in_bytes_needs_blues_end() {
    let status = Status::new("shop", "0", Duration::from_secs(1));
    let mut marks = Watermarks::default();
    marks.receive(Lsn::new(300));
    marks.persist(understudy_model::Checkpoint::at_commit_end(Lsn::new(200)));
    status.watermarks(marks);
    assert_eq!(status.report().lag_bytes, None);
    status.blue_end(Lsn::new(1000));
    let (report, extra) = status.snapshot();
    assert_eq!(report.lag_bytes, Some(800));
    assert_eq!((extra.received_lag, extra.confirmed_lag), (Some(700), Some(800)));
    assert_eq!(report.positions.unwrap().received, "0/12C");
}

#[test]
fn readiness_asks_for_both_sides_and_not_for_lag() {
    let status = Status::new("shop", "0", Duration::from_secs(1));
    assert!(!status.is_ready());
    status.source_connected(true);
    assert!(!status.is_ready());
    status.target_connected(true);
    status.blue_end(Lsn::new(u64::MAX));
    assert!(status.is_ready());
    status.phase(Phase::Failed);
    assert!(!status.is_ready());
}

#[test]
fn commit_times_count_from_the_year_2000() {
    let status = Status::new("shop", "0", Duration::from_secs(1));
    status.applied_commit_time(1_000_000);
    let shown = rfc3339(status.snapshot().1.applied_commit.unwrap());
    assert_eq!(shown, "2000-01-01T00:00:01.000Z");
}

/// What fills green and the capture wait for different things, and neither may hide what the other needs somebody for.
#[test]
fn both_parts_tell_what_they_wait_for() {
    let status = Status::new("shop", "0", Duration::from_secs(1));
    let waits = || status.report().waiting_for;
    status.waiting_for(vec!["a copy".to_owned()]);
    status.capture_waits_for(vec!["a transaction".to_owned()]);
    assert_eq!(waits(), ["a copy", "a transaction"]);
    status.capture_waits_for(Vec::new());
    assert_eq!(waits(), ["a copy"]);
    status.capture_waits_for(vec!["a transaction".to_owned()]);
    status.waiting_for(Vec::new());
    assert_eq!(waits(), ["a transaction"]);
    status.green_waits_for(vec!["a table".to_owned()]);
    status.waiting_for(Vec::new());
    assert_eq!(waits(), ["a table", "a transaction"]);
}

/// A capture that is alive must not vouch for an apply beside it that hangs, neither to whoever restarts dead processes
/// nor to the gate, which counts figures by their age.
#[test]
fn a_capture_does_not_vouch_for_the_apply() {
    let status = Status::new("shop", "0", Duration::from_secs(1));
    let long_ago = Instant::now().checked_sub(BEAT_MAX * 2).unwrap();
    let mut status = Arc::into_inner(status).unwrap();
    status.started = long_ago;
    status.capture_alive();
    assert!(!status.is_alive() && status.since_counted() >= BEAT_MAX);
    status.alive();
    assert!(status.is_alive() && status.since_counted() >= BEAT_MAX, "alive, with figures of before");
    status.beat();
    assert!(status.is_alive() && status.since_counted() < BEAT_MAX);
    status.capture.store(0, Ordering::Relaxed);
    assert!(!status.is_alive(), "the capture hangs");
}
