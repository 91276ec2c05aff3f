//! What runs beside the pipeline of one attempt: verification, probes, and the look at both servers.

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use understudy_control::StatusHandle;
use understudy_replicate::Reread;

use super::surroundings::Surroundings;
use super::{Running, Shared, Subject, Verifying};
use crate::settings::Settings;

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
        (shared, status): (&Shared, StatusHandle),
        rereads: mpsc::Sender<Reread>,
    ) -> Beside {
        let role = settings.name.application_name("gate");
        let surroundings = Surroundings {
            blue: settings.blue.clone().with_application_name(&role),
            green: settings.green_postgres().clone().with_application_name(&role),
            plan: subject.readiness.clone(),
            status,
            circumstances: shared.circumstances.clone(),
            board: shared.board.clone(),
        };
        let mut others = JoinSet::new();
        others.spawn(surroundings.watch());
        let verifies = settings.verify.enabled;
        let verifying = verifies.then(|| Verifying::new(settings, subject, shared.clone()).start(rereads));
        Beside { verifying, others }
    }

    /// Ends it in order: what verification knows is written down first.
    pub(crate) async fn stop(mut self) {
        self.others.shutdown().await;
        if let Some(verifying) = self.verifying {
            verifying.stop().await;
        }
    }
}
