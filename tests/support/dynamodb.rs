//! DynamoDB Local as a throw-away server on a loopback port, gone with us, and a proxy in front of it through which calls fail.

mod answers;
mod batches;
mod proxy;
mod relay;

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;

use crate::process::{Process, Signal};
use crate::wait::until_within;
use crate::{Port, Scratch, http, jars};

pub use proxy::{Calls, DynamoProxy, Fault, When};

/// How long the server may take to answer; Java takes its time on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// The program in the jars.
const PROGRAM: &str = "com.amazonaws.services.dynamodbv2.local.main.ServerRunner";

/// A server whose tables are the same for every region and for whatever credentials.
#[derive(Debug)]
pub struct Dynamo {
    port: Port,
    arguments: Vec<String>,
    scratch: Scratch,
    process: Option<Process>,
}

impl Dynamo {
    /// Starts one that keeps everything in memory. `None` when it is missing and may be skipped; so with all others.
    pub async fn start() -> Option<Dynamo> {
        Dynamo::keeping(&["-inMemory"]).await
    }

    /// Starts one whose tables outlive its process, and are gone with this value.
    pub async fn start_durable() -> Option<Dynamo> {
        Dynamo::keeping(&["-dbPath", "."]).await
    }

    /// One that is started once and shared by tests that leave it alone; each works on tables with a [`prefix`](Dynamo::prefix)
    /// of its own.
    pub fn shared() -> Option<&'static Dynamo> {
        static SHARED: LazyLock<Option<&'static Dynamo>> = LazyLock::new(|| {
            let (sender, receiver) = sync_channel(1);
            // A runtime of its own, since the caller's waits here.
            thread::spawn(move || {
                let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
                let dynamo = runtime.block_on(Dynamo::start()).map(|dynamo| &*Box::leak(Box::new(dynamo)));
                sender.send(dynamo).expect("somebody waits for the server");
            });
            receiver.recv().expect("the server starts")
        });
        *SHARED
    }

    /// The beginning of names of tables that no other test of this process has.
    pub fn prefix(test: &str) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        format!("{test}-{}-", NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Its address, for `endpoint`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }

    /// Kills it: what it has not written by then is lost.
    pub fn kill(&mut self) {
        let running = self.process.take();
        assert!(running.expect("a running server").kill(), "DynamoDB Local had ended by itself");
    }

    /// Starts it again on its port, and waits until it answers.
    pub async fn start_again(&mut self) {
        assert!(self.process.is_none(), "DynamoDB Local runs already");
        let arguments = self.arguments.iter().map(String::as_str).collect::<Vec<_>>();
        let java = std::path::Path::new("java");
        let mut process = Process::start("dynamodb", self.scratch.path(), java, &arguments, &[]);
        let port = self.port();
        until_within(PATIENCE, "DynamoDB Local answers", async || {
            if let Some(status) = process.ended() {
                panic!("DynamoDB Local ended with {status}:\n{}\n{}", process.output(), process.errors());
            }
            // It refuses who does not say who he is, and by that it is alive.
            http::ask(port, "POST", "/").await.filter(|(code, _)| *code == 400)
        })
        .await;
        self.process = Some(process);
    }

    /// Sends a signal: `Stop` freezes it, `Cont` lets it go on.
    pub fn signal(&self, signal: Signal) {
        self.process.as_ref().expect("a running server").signal(signal);
    }

    fn port(&self) -> u16 {
        self.port.number()
    }

    async fn keeping(how: &[&str]) -> Option<Dynamo> {
        let libs = jars::homes(&["dynamodb-local-"])?.remove(0).join("libs");
        let (libs, port) = (libs.display(), Port::reserve());
        let mut arguments: Vec<String> =
            ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-Xms64m", "-Xmx512m"]
                .map(str::to_owned)
                .to_vec();
        arguments.push(format!("-Djava.library.path={libs}"));
        arguments.extend(["-cp".to_owned(), format!("{libs}/*"), PROGRAM.to_owned()]);
        arguments.extend(["-sharedDb", "-disableTelemetry", "-port"].map(str::to_owned));
        arguments.push(port.number().to_string());
        arguments.extend(how.iter().map(|each| (*each).to_owned()));
        let scratch = Scratch::create("tests").expect("a throw-away folder");
        let mut dynamo = Dynamo { port, arguments, scratch, process: None };
        dynamo.start_again().await;
        Some(dynamo)
    }
}
