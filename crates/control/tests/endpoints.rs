//! The four answers, asked for over a real socket.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use understudy_control::{Metrics, Phase, SlotStatus, Status, StatusHandle, TableStatus, WalStatus, serve};
use understudy_model::{Checkpoint, Lsn, Watermarks};
use understudy_observe::{Op, Recorder};

struct Server {
    address: std::net::SocketAddr,
    status: StatusHandle,
    stop: oneshot::Sender<()>,
    task: JoinSet<std::io::Result<()>>,
}

impl Server {
    async fn start(metrics: Metrics) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let status = Status::new("shop-v2", "1.2.3", Duration::from_secs(1));
        let (stop, stopped) = oneshot::channel::<()>();
        let mut task = JoinSet::new();
        task.spawn(serve(listener, status.clone(), metrics, async {
            let _ = stopped.await;
        }));
        Server { address, status, stop, task }
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
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
        "changes_total": 0, "transactions_total": 0, "last_error": null,
    });
    assert_eq!(json, expected);
}

#[tokio::test]
async fn metrics_carry_the_status_and_what_was_recorded() {
    let server = Server::start(Metrics::install().unwrap()).await;
    fill(&server.status);
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
    ] {
        let found = page.lines().any(|shown| shown.eq_ignore_ascii_case(line));
        assert!(found, "{line}\nis not in\n{page}");
    }
    assert!(!page.contains("understudy_slot_safe_wal_bytes"), "without a limit there is no figure");
    let known = |name: &str| understudy_observe::names::ALL.iter().any(|metric| name == metric.name);
    for line in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = line.split(' ').next().unwrap();
        assert!(known(name), "{name} is exported under another name than the table gives it");
    }
}

#[tokio::test]
async fn serving_ends_when_asked() {
    let mut server = Server::start(Metrics::detached().unwrap()).await;
    assert_eq!(server.get("/livez").await.0, 200);
    server.stop.send(()).unwrap();
    server.task.join_next().await.unwrap().unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}
