//! What runs beside the pipeline of one attempt: verification, probes, and the look at both servers.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use understudy_contract::Failure;
use understudy_control::StatusHandle;
use understudy_observe::Recorder;
use understudy_postgres::probes::ProbeLimits;
use understudy_postgres::wire::ConnectOptions;
use understudy_replicate::Reread;

use super::surroundings::{Around, Surroundings};
use super::{Running, Shared, Subject};
use crate::gate::VerifyBoard;
use crate::green::definitions;
use crate::probing::{self, ProbeBoard, ProbingSettings};
use crate::settings::Settings;

/// How often what is known of the probes is put up.
const SHOW_EVERY: Duration = Duration::from_secs(1);

/// All of it, while it runs.
pub(crate) struct Beside {
    verifying: Option<Running>,
    others: JoinSet<()>,
}

impl Beside {
    /// Starts it. `rereads` takes rows that are to be read again.
    pub(crate) fn start(
        settings: &Settings,
        subject: Subject,
        (shared, status, recorder): (&Shared, StatusHandle, &Recorder),
        rereads: mpsc::Sender<Reread>,
    ) -> Result<Beside, Failure> {
        let role = settings.name.application_name("gate");
        let green = match &subject.items {
            Some(items) => Around::Items(items.client.clone(), definitions::of(&items.settings)),
            None => Around::Server(settings.green_postgres()?.clone().with_application_name(&role)),
        };
        let surroundings = Surroundings {
            log: settings.own_log().map(|kafka| (kafka.clone(), settings.name.slot())),
            blue: settings.blue.clone().with_application_name(&role),
            green,
            plan: subject.readiness.clone(),
            status,
            circumstances: shared.circumstances.clone(),
            board: shared.board.clone(),
        };
        let mut others = JoinSet::new();
        others.spawn(surroundings.watch());
        // The settings refuse probes where green holds items.
        if !settings.probes.is_empty() {
            let (green, shown) =
                (settings.green_postgres()?.clone(), (shared.board.clone(), recorder.clone()));
            others.spawn(Box::pin(ask_probes(settings.clone(), green, shown)));
        }
        let verifying = match settings.verify.enabled {
            true => Some(super::start(settings, subject, shared.clone(), rereads)?),
            false => None,
        };
        Ok(Beside { verifying, others })
    }

    /// Ends it in order: what verification knows is written down first.
    pub(crate) async fn stop(mut self) {
        self.others.shutdown().await;
        if let Some(verifying) = self.verifying {
            verifying.stop().await;
        }
    }
}

/// Asks the probes and puts up what is known of them, until it is dropped.
async fn ask_probes(
    settings: Settings,
    green: ConnectOptions,
    (shown, recorder): (Arc<VerifyBoard>, Recorder),
) {
    let role = settings.name.application_name("probe");
    let probing = ProbingSettings {
        blue: settings.blue.clone().with_application_name(&role),
        green: green.with_application_name(&role),
        migration: settings.name.as_str().to_owned(),
        prefix: format!("understudy/{}", settings.name),
        probes: settings.probes.clone(),
        limits: ProbeLimits::default(),
        seed: rand::rng().next_u64(),
        recorder,
    };
    let board = Arc::new(ProbeBoard::new(&settings.probes));
    let showing = async {
        let mut tick = tokio::time::interval(SHOW_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            shown.probes(board.reports());
        }
    };
    tokio::join!(probing::run(probing, board.clone(), std::future::pending()), showing);
}
