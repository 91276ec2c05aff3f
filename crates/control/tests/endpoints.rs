//! Every answer, asked for over a real socket.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use understudy_control::{
    Bulletin, BulletinHandle, ByEnd, ByKind, GateCheck, GateDocument, GateVerdict, Metrics, MismatchEntry,
    PartitionStatus, Phase, SlotStatus, Status, StatusHandle, TableStatus, ThroughStatus, VerifyDocument,
    VerifyTable, WalStatus, serve,
};
use understudy_model::{Checkpoint, Lsn, Watermarks};
use understudy_observe::{Op, Recorder};

struct Server {
    address: std::net::SocketAddr,
    status: StatusHandle,
    bulletin: BulletinHandle,
    stop: oneshot::Sender<()>,
    task: JoinSet<std::io::Result<()>>,
}

impl Server {
    async fn start(metrics: Metrics) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let status = Status::new("shop-v2", "1.2.3", Duration::from_secs(1));
        let bulletin = Bulletin::new(&["verified", "cutover"], true, Duration::from_secs(5));
        let (stop, stopped) = oneshot::channel::<()>();
        let mut task = JoinSet::new();
        task.spawn(serve(listener, status.clone(), bulletin.clone(), metrics, async {
            let _ = stopped.await;
        }));
        Server { address, status, bulletin, stop, task }
    }

    async fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path, "").await
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

fn fill(status: &Status) {
    let mut marks = Watermarks::resume_at(Checkpoint::at_commit_end(Lsn::new(0x100)));
    marks.receive(Lsn::new(0x300));
    marks.persist(Checkpoint::at_commit_end(Lsn::new(0x200)));
    status.watermarks(marks);
    status.blue_end(Lsn::new(0x400));
    status.phase(Phase::Copying);
    status.source_connected(true);
    status.target_connected(true);
    status.update(|report| {
        report.tables = vec![TableStatus {
            source: "public.users".to_owned(),
            target: "app.customers".to_owned(),
            rows_estimate: Some(1000),
            ..TableStatus::default()
        }];
        report.slot = Some(SlotStatus {
            name: "understudy_shop_v2".to_owned(),
            active: true,
            wal_status: Some(WalStatus::Extended),
            retained_bytes: 4096,
            safe_bytes: None,
        });
    });
    status.table(0, |table| table.rows_copied = 250);
}

#[tokio::test]
async fn probes_answer_for_the_loop_and_for_both_sides() {
    let server = Server::start(Metrics::detached().unwrap()).await;
    assert_eq!(server.get("/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(server.get("/readyz").await, (503, "not ok\n".to_owned()));
    server.status.source_connected(true);
    let (code, body) = server.get("/readyz?verbose").await;
    assert_eq!((code, body.as_str()), (503, "[+] settings\n[+] blue\n[-] green\n[+] pipeline\nnot ok\n"));
    server.status.target_connected(true);
    assert_eq!(server.get("/readyz").await.0, 200);
    assert_eq!(server.get("/nothing").await.0, 404);
}

#[tokio::test]
async fn the_status_is_json_of_a_named_shape() {
    let server = Server::start(Metrics::detached().unwrap()).await;
    fill(&server.status);
    let (code, body) = server.get("/v1/status").await;
    assert_eq!(code, 200);
    let mut json: serde_json::Value = serde_json::from_str(&body).unwrap();
    for stamp in ["started_at", "reported_at"] {
        assert!(json[stamp].as_str().unwrap().ends_with('Z'));
        json[stamp] = serde_json::Value::Null;
    }
    let expected = serde_json::json!({
        "schema": "understudy/v1/status", "migration": "shop-v2", "version": "1.2.3",
        "project": null, "started_at": null, "reported_at": null, "phase": "copying",
        "source_connected": true, "target_connected": true, "lag_bytes": 512, "lag_seconds": null,
        "positions": { "received": "0/300", "applied": "0/200", "durable": "0/200", "confirmed": "0/200" },
        "tables": [{
            "source": "public.users", "target": "app.customers", "state": "waiting", "rows_copied": 250,
            "rows_estimate": 1000, "chunks_done": 0, "chunks_total": null, "changes": 0,
        }],
        "heals": 0, "quarantined": 0, "mismatches": 0, "backpressure": false, "waiting_for": [],
        "slot": {
            "name": "understudy_shop_v2", "active": true, "wal_status": "extended", "retained_bytes": 4096,
            "safe_bytes": null,
        },
        "through": null, "changes_total": 0, "transactions_total": 0, "last_error": null,
        "verify": { "coverage_ratio": null, "open": 0, "pending": 0, "suspended": 0, "held_back": null },
        "gate": { "gate": "cutover", "verdict": "unknown", "reason": "it was not evaluated yet" },
    });
    assert_eq!(json, expected);
}

#[tokio::test]
async fn metrics_carry_the_status_and_what_was_recorded() {
    let server = Server::start(Metrics::install().unwrap()).await;
    fill(&server.status);
    let shown = |rows_checked| VerifyDocument {
        tables: vec![VerifyTable { rows_checked, ..verify_table() }],
        ..VerifyDocument::empty(true)
    };
    server.bulletin.post_verify(shown(100), Vec::new());
    server.bulletin.post_gates(vec![gate(GateVerdict::Pass, true, "so")], Duration::from_secs(60));
    server.get("/metrics").await;
    // The pipeline began anew, and counts from zero again.
    server.bulletin.post_verify(shown(20), Vec::new());
    let recorder = Recorder::new("shop-v2");
    recorder.events_applied("public.users", Op::Insert, 3);
    recorder.end_to_end(Duration::from_millis(3));
    let (code, page) = server.get("/metrics").await;
    assert_eq!(code, 200);
    for line in [
        "# TYPE understudy_events_applied_total counter",
        "understudy_events_applied_total{pipeline=\"shop-v2\",table=\"public.users\",op=\"insert\"} 3",
        "understudy_transactions_applied_total{pipeline=\"shop-v2\"} 0",
        "understudy_apply_lag_bytes{pipeline=\"shop-v2\"} 512",
        "understudy_apply_lag_seconds{pipeline=\"shop-v2\"} NaN",
        "understudy_phase{pipeline=\"shop-v2\",phase=\"copying\"} 1",
        "understudy_phase{pipeline=\"shop-v2\",phase=\"following\"} 0",
        "understudy_slot_wal_status{pipeline=\"shop-v2\",status=\"extended\"} 1",
        "understudy_slot_retained_wal_bytes{pipeline=\"shop-v2\"} 4096",
        "understudy_end_to_end_latency_seconds_bucket{pipeline=\"shop-v2\",le=\"0.005\"} 1",
        "understudy_build_info{pipeline=\"shop-v2\",version=\"1.2.3\"} 1",
        "understudy_gate_ready{pipeline=\"shop-v2\",gate=\"cutover\"} 1",
        "understudy_gate_check_ok{pipeline=\"shop-v2\",gate=\"cutover\",check=\"copy\"} 1",
        "understudy_verify_rows_checked_total{pipeline=\"shop-v2\",table=\"public.users\",mode=\"pass\"} 120",
        "understudy_verify_rows_checked_total{pipeline=\"shop-v2\",table=\"public.users\",mode=\"changed\"} 7",
        "understudy_mismatches_open{pipeline=\"shop-v2\",table=\"public.users\",kind=\"missing\"} 2",
        "understudy_mismatches_found_total{pipeline=\"shop-v2\",table=\"public.users\",kind=\"missing\"} 3",
        "understudy_mismatches_resolved_total{pipeline=\"shop-v2\",table=\"public.users\",how=\"converged\"} 1",
        "understudy_verify_pending_rows{pipeline=\"shop-v2\",table=\"public.users\"} 4",
        "understudy_verify_suspended_rows{pipeline=\"shop-v2\",table=\"public.users\"} 0",
        "understudy_verify_coverage_ratio{pipeline=\"shop-v2\",table=\"public.users\"} 0.5",
    ] {
        let found = page.lines().any(|shown| shown.eq_ignore_ascii_case(line));
        assert!(found, "{line}\nis not in\n{page}");
    }
    for name in
        ["understudy_gate_evaluated_timestamp_seconds", "understudy_verify_full_pass_timestamp_seconds"]
    {
        let line = page.lines().find(|line| line.starts_with(&format!("{name}{{"))).unwrap();
        let time: f64 = line.rsplit_once(' ').unwrap().1.parse().unwrap();
        assert!(time > 1.7e9, "{line}");
    }
    assert!(!page.contains("understudy_slot_safe_wal_bytes"), "without a limit there is no figure");
    let known = |name: &str| understudy_observe::names::ALL.iter().any(|metric| name == metric.name);
    for line in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = line.split(' ').next().unwrap();
        assert!(known(name), "{name} is exported under another name than the table gives it");
    }
    the_lag_of_a_partition_that_went_elsewhere_is_unknown(&server).await;
}

/// Promise 3: how far behind a partition of the log is, is unknown once nobody speaks of it any more, and no longer what it was.
async fn the_lag_of_a_partition_that_went_elsewhere_is_unknown(server: &Server) {
    let tell = |partitions: &[(u32, u64)]| {
        let partition = |&(partition, records_behind): &(u32, u64)| PartitionStatus {
            topic: "shop.public.users".to_owned(),
            partition,
            records_behind,
        };
        let partitions = Some(partitions.iter().map(partition).collect());
        server.status.update(|report| {
            report.through = Some(ThroughStatus {
                log: "kafka".to_owned(),
                topic_prefix: "shop".to_owned(),
                role: "apply".to_owned(),
                capture: None,
                captured: None,
                records_behind: None,
                partitions,
                lanes: None,
                requests_ignored: None,
            });
        });
    };
    let series = |partition: u32, lag: &str| {
        let labels = format!("pipeline=\"shop-v2\",topic=\"shop.public.users\",partition=\"{partition}\"");
        format!("understudy_log_partition_lag_records{{{labels}}} {lag}\n")
    };
    tell(&[(0, 0), (3, 7)]);
    let (_, page) = server.get("/metrics").await;
    assert!(page.contains(&series(0, "0")) && page.contains(&series(3, "7")), "{page}");
    tell(&[(3, 5)]);
    let (_, page) = server.get("/metrics").await;
    assert!(page.contains(&series(0, "NaN")) && page.contains(&series(3, "5")), "{page}");
}

fn gate(verdict: GateVerdict, ready: bool, reason: &str) -> GateDocument {
    let check = GateCheck {
        name: "copy".to_owned(),
        status: verdict,
        value: Some(0.0),
        op: Some("==".to_owned()),
        threshold: Some(0.0),
        unit: "tables".to_owned(),
        reason: "2 tables are copied".to_owned(),
        remedy: None,
        since: "2026-11-21T10:00:00.000Z".to_owned(),
    };
    GateDocument {
        verdict,
        ready,
        phase: "following".to_owned(),
        checks: vec![check],
        coverage_ratio: Some(1.0),
        ..GateDocument::unknown("cutover", reason)
    }
}

/// Argo Rollouts and people read the document; its shape is a promise to their expressions.
#[tokio::test]
async fn a_gate_is_json_of_a_named_shape() {
    let server = Server::start(Metrics::detached().unwrap()).await;
    server.bulletin.post_gates(vec![gate(GateVerdict::Pass, true, "it holds")], Duration::from_secs(60));
    let (code, body) = server.get("/v1/gates/cutover").await;
    assert_eq!(code, 200);
    let mut json: serde_json::Value = serde_json::from_str(&body).unwrap();
    for stamp in ["evaluated_at", "valid_until"] {
        assert!(json[stamp].as_str().unwrap().ends_with('Z'));
        json[stamp] = serde_json::Value::Null;
    }
    let expected = serde_json::json!({
        "schema": "understudy/v1/gate", "gate": "cutover", "verdict": "pass", "ready": true, "reason": "it holds",
        "phase": "following", "evaluated_at": null, "valid_until": null,
        "soak": { "seconds": 0.0, "left_seconds": 0.0 },
        "checks": [{
            "name": "copy", "status": "pass", "value": 0.0, "op": "==", "threshold": 0.0, "unit": "tables",
            "reason": "2 tables are copied", "remedy": null, "since": "2026-11-21T10:00:00.000Z",
        }],
        "lag": { "seconds": null, "bytes": null },
        "mismatches": { "open": null, "pending": null, "suspended": null }, "coverage_ratio": 1.0,
    });
    assert_eq!(json, expected);
    let (code, body) = server.get("/v1/gates").await;
    let list: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (code, &list["schema"], &list["gates"][0]["ready"]),
        (200, &"understudy/v1/gates".into(), &true.into())
    );
}

/// Flagger, freno and probes understand codes only: 200 opens, and nothing else may.
#[tokio::test]
async fn a_check_answers_by_its_code() {
    let server = Server::start(Metrics::detached().unwrap()).await;
    let path = "/v1/gates/cutover/check";
    assert_eq!(server.get(path).await, (503, "unknown: it was not evaluated yet\n".to_owned()));
    for (verdict, ready, code, text) in [
        (GateVerdict::Pass, true, 200, "pass: so\n"),
        (GateVerdict::Pass, false, 503, "pass: so\n"),
        (GateVerdict::Fail, false, 412, "fail: so\n"),
        (GateVerdict::Pending, false, 412, "pending: so\n"),
        (GateVerdict::Unknown, false, 503, "unknown: so\n"),
    ] {
        server.bulletin.post_gates(vec![gate(verdict, ready, "so")], Duration::from_secs(60));
        assert_eq!(server.get(path).await, (code, text.to_owned()));
        assert_eq!(server.ask("POST", path, "{\"name\":\"shop\"}").await, (code, text.to_owned()));
        assert_eq!(server.ask("HEAD", path, "").await, (code, String::new()));
        assert_eq!(server.get("/v1/gates/cutover").await.0, 200);
    }
    for path in ["/v1/gates/rollback", "/v1/gates/rollback/check"] {
        let (code, body) = server.get(path).await;
        assert_eq!((code, body.as_str()), (404, "there is no gate of that name; there are: cutover\n"));
    }
}

/// Promise 3: a verdict that nobody renews is gone, for people, for tools and for alerts.
#[tokio::test]
async fn a_stale_evaluator_is_unknown() {
    let server = Server::start(Metrics::detached().unwrap()).await;
    server.bulletin.post_gates(vec![gate(GateVerdict::Pass, true, "so")], Duration::ZERO);
    let (code, body) = server.get("/v1/gates/cutover/check").await;
    assert_eq!((code, body.contains("the evaluator does not run")), (503, true), "{body}");
    let document: GateDocument = serde_json::from_str(&server.get("/v1/gates/cutover").await.1).unwrap();
    assert_eq!((document.verdict, document.ready), (GateVerdict::Unknown, false));
    assert_eq!(document.checks[0].status, GateVerdict::Unknown);
}

/// Whoever writes a lot is told to wait while green is behind, and while nobody knows whether it is.
#[tokio::test]
async fn the_throttle_holds_while_green_is_behind() {
    let server = Server::start(Metrics::detached().unwrap()).await;
    assert_eq!(server.ask("HEAD", "/v1/throttle", "").await.0, 429, "an unknown lag is no leave to write");
    let now = Instant::now();
    server.status.marker_sent(now);
    server.status.marker_applied(now);
    let (code, body) = server.get("/v1/throttle").await;
    assert_eq!(code, 200, "{body}");
    let json: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&json["throttle"], &json["threshold_seconds"]), (&false.into(), &5.0.into()));
    server.status.update(|report| report.backpressure = true);
    assert_eq!(server.ask("HEAD", "/v1/throttle", "").await.0, 429);
    server.status.update(|report| report.backpressure = false);
    server.status.marker_sent(now.checked_sub(Duration::from_secs(6)).unwrap());
    assert_eq!(server.ask("HEAD", "/v1/throttle", "").await.0, 429);
}

fn verify_table() -> VerifyTable {
    VerifyTable {
        source: "public.users".to_owned(),
        target: "app.customers".to_owned(),
        state: "comparing".to_owned(),
        keys: "aligned".to_owned(),
        coverage_ratio: 0.5,
        last_pass_age_seconds: Some(30.0),
        open: ByKind { missing: 2, extra: 0, differs: 1 },
        pending: 4,
        rows_checked: 100,
        changes_checked: 7,
        found: ByKind { missing: 3, extra: 0, differs: 1 },
        resolved: ByEnd { converged: 1, ..ByEnd::default() },
        ..VerifyTable::default()
    }
}

/// What verification knows is told without keys and values.
#[tokio::test]
async fn verification_and_mismatches_are_told() {
    let server = Server::start(Metrics::detached().unwrap()).await;
    let (code, body) = server.get("/v1/verify").await;
    let empty: VerifyDocument = serde_json::from_str(&body).unwrap();
    assert_eq!((code, empty), (200, VerifyDocument::empty(true)));
    let document = VerifyDocument { tables: vec![verify_table()], ..VerifyDocument::empty(true) };
    let entry = MismatchEntry {
        id: 17,
        source: "public.users".to_owned(),
        target: "app.customers".to_owned(),
        key_hash: "0123456789abcdef".to_owned(),
        kind: "missing".to_owned(),
        cause: "missed_event".to_owned(),
        columns: Vec::new(),
        state: "open".to_owned(),
        found_by: "comparison".to_owned(),
        found_at: "0/1A0".to_owned(),
    };
    server.bulletin.post_verify(document.clone(), vec![entry]);
    let told: VerifyDocument = serde_json::from_str(&server.get("/v1/verify").await.1).unwrap();
    assert_eq!(told.schema, "understudy/v1/verify");
    assert_eq!(told, document);
    let json: serde_json::Value = serde_json::from_str(&server.get("/v1/mismatches").await.1).unwrap();
    let expected = serde_json::json!({
        "schema": "understudy/v1/mismatches", "open": 3,
        "mismatches": [{
            "id": 17, "source": "public.users", "target": "app.customers", "key_hash": "0123456789abcdef",
            "kind": "missing", "cause": "missed_event", "columns": [], "state": "open",
            "found_by": "comparison", "found_at": "0/1A0",
        }],
    });
    assert_eq!(json, expected);
}

#[tokio::test]
async fn serving_ends_when_asked() {
    let mut server = Server::start(Metrics::detached().unwrap()).await;
    assert_eq!(server.get("/livez").await.0, 200);
    server.stop.send(()).unwrap();
    server.task.join_next().await.unwrap().unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}
