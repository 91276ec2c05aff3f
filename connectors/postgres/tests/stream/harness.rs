//! A published table, a slot, and streams that read it.

use std::time::Duration;

use understudy_contract::{ChangeStream, Failure, StreamEvent};
use understudy_model::{Checkpoint, Lsn, OldImage, SourceChange, TableName, Tuple, Value};
use understudy_postgres::source::publication::{self, PublishedTable};
use understudy_postgres::source::slot::{self, CreateSlot};
use understudy_postgres::source::stream::{PostgresConfirm, PostgresStream, StartStream};
use understudy_postgres::wire::{Client, ConnectOptions};

use tokio::task::JoinSet;

use crate::support::{Cluster, Setup, until};

pub(crate) const NAME: &str = "understudy_t";

/// A cluster with table `public.t (id int PRIMARY KEY, v text, big text)`, published, and a slot.
pub(crate) struct Blue {
    pub(crate) cluster: Cluster,
    pub(crate) admin: Client,
    pub(crate) start: Checkpoint,
}

impl Blue {
    pub(crate) async fn start(settings: &str) -> Option<Blue> {
        let cluster = Cluster::start_with(&Setup { settings: settings.to_owned(), hba: None })?;
        let mut admin = cluster.client().await;
        admin
            .batch(
                "CREATE TABLE public.t (id int PRIMARY KEY, v text, big text); \
                 ALTER TABLE public.t ALTER big SET STORAGE EXTERNAL; CREATE TABLE public.other (id int)",
            )
            .await
            .unwrap();
        let tables = [PublishedTable { name: TableName::new("public", "t"), partitioned: false }];
        publication::create(&mut admin, NAME, &tables).await.unwrap();
        let start = create_slot(&cluster.options()).await.unwrap();
        Some(Blue { cluster, admin, start })
    }

    pub(crate) fn options(&self) -> ConnectOptions {
        self.cluster.options().with_application_name("understudy/t/stream")
    }

    pub(crate) async fn run(&mut self, sql: &str) {
        self.admin.batch(sql).await.unwrap();
    }

    pub(crate) async fn stream(&self, from: Checkpoint) -> Result<Streaming, Failure> {
        Streaming::start(&self.options(), &request(from)).await
    }

    pub(crate) async fn confirmed(&mut self) -> Lsn {
        slot::inspect(&mut self.admin, NAME).await.unwrap().unwrap().confirmed.unwrap()
    }

    pub(crate) async fn confirmed_reaches(&mut self, lsn: Lsn) {
        let mut admin = self.cluster.client().await;
        for _ in 0..1_000 {
            if slot::inspect(&mut admin, NAME).await.unwrap().unwrap().confirmed >= Some(lsn) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the slot never reached {lsn}");
    }

    /// Waits until nobody reads the slot.
    pub(crate) async fn slot_is_free(&self) {
        until("the slot is free", || async {
            let mut admin = self.cluster.client().await;
            slot::inspect(&mut admin, NAME).await.unwrap().unwrap().active_pid.is_none()
        })
        .await;
    }
}

pub(crate) async fn create_slot(options: &ConnectOptions) -> Result<Checkpoint, Failure> {
    slot::create(options, CreateSlot { slot: NAME, patience: Duration::from_secs(20), on_wait: &mut |_| {} })
        .await
}

pub(crate) fn request(from: Checkpoint) -> StartStream {
    StartStream {
        slot: NAME.to_owned(),
        publication: NAME.to_owned(),
        from,
        status_interval: Duration::from_secs(10),
        stall_timeout: Duration::from_secs(60),
        decoding_memory_bytes: 64 << 20,
    }
}

/// A stream whose feedback task runs.
pub(crate) struct Streaming {
    pub(crate) stream: PostgresStream,
    pub(crate) confirm: PostgresConfirm,
    pub(crate) tasks: JoinSet<Result<(), Failure>>,
}

impl Streaming {
    pub(crate) async fn start(options: &ConnectOptions, request: &StartStream) -> Result<Streaming, Failure> {
        let (stream, confirm, feedback) = PostgresStream::start(options, request.clone()).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(feedback.run());
        Ok(Streaming { stream, confirm, tasks })
    }

    /// The next event that is not a keepalive.
    pub(crate) async fn next(&mut self) -> StreamEvent {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(20), self.stream.next());
            let event = next.await.expect("an event in time").unwrap();
            if !matches!(event, StreamEvent::Keepalive { .. }) {
                return event;
            }
        }
    }

    /// The next whole transaction: its changes and messages in a readable form, and its end.
    pub(crate) async fn transaction(&mut self) -> (Vec<String>, Checkpoint) {
        let StreamEvent::Begin { commit: promised, xid, .. } = self.next().await else { panic!("no begin") };
        assert!(xid > 0);
        let mut seen = Vec::new();
        loop {
            match self.next().await {
                StreamEvent::Commit { commit, end } => {
                    assert!(commit == promised && end > commit);
                    return (seen, Checkpoint::at_commit_end(end));
                }
                StreamEvent::Relation(relation) => assert_eq!(relation.name, TableName::new("public", "t")),
                StreamEvent::Change(change) => seen.push(describe(&change)),
                StreamEvent::Message { prefix, content, transactional } => {
                    seen.push(format!(
                        "message {prefix} {} {transactional}",
                        String::from_utf8_lossy(&content)
                    ));
                }
                other => panic!("unexpected: {other:?}"),
            }
        }
    }
}

fn describe(change: &SourceChange) -> String {
    match change {
        SourceChange::Insert { new, .. } => format!("insert {}", values(new)),
        SourceChange::Update { old: None, new, .. } => format!("update {}", values(new)),
        SourceChange::Update { old: Some(old), new, .. } => {
            format!("update {} to {}", image(old), values(new))
        }
        SourceChange::Delete { old, .. } => format!("delete {}", image(old)),
        SourceChange::Truncate { relations } => format!("truncate {}", relations.len()),
    }
}

fn image(old: &OldImage) -> String {
    match old {
        OldImage::Identity(tuple) => format!("key {}", values(tuple)),
        OldImage::Full(tuple) => format!("row {}", values(tuple)),
    }
}

fn values(tuple: &Tuple) -> String {
    let shown = tuple.values().map(|value| match value {
        Value::Null => "null".to_owned(),
        Value::Unchanged => "unchanged".to_owned(),
        Value::Text(text) if text.len() > 20 => format!("{} bytes", text.len()),
        Value::Text(text) => String::from_utf8_lossy(&text).into_owned(),
    });
    shown.collect::<Vec<_>>().join(",")
}
