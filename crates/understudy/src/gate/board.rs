//! Where verification, probes and the look at both servers put up what they know.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use understudy_contract::Readiness;
use understudy_verify::VerifyReport;
use understudy_verify::probes::ProbeReport;

/// What is known, each with the moment at which it was put up.
#[derive(Debug, Clone, Default)]
pub(super) struct Posted {
    /// What verification last said, or why it says nothing.
    pub(super) verify: Option<(Instant, Result<Arc<VerifyReport>, String>)>,
    /// What was found on both servers.
    pub(super) readiness: Option<(Instant, Arc<[Readiness]>)>,
    /// What is known of each probe.
    pub(super) probes: Option<(Instant, Arc<[ProbeReport]>)>,
}

/// Where verification, probes and the look at both servers put up what they know. It outlives every attempt of the pipeline;
/// what nobody renews goes out of date.
#[derive(Debug, Default)]
pub struct VerifyBoard {
    posted: Mutex<Posted>,
}

impl VerifyBoard {
    /// A board on which nothing has been put up.
    pub fn new() -> Arc<VerifyBoard> {
        Arc::default()
    }

    fn posted(&self) -> MutexGuard<'_, Posted> {
        // A panic elsewhere leaves what was put up before, which goes out of date by itself.
        self.posted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What verification knows just now. To be renewed every few seconds.
    pub fn verified(&self, report: &VerifyReport) {
        let report = Ok(Arc::new(report.clone()));
        self.posted().verify = Some((Instant::now(), report));
    }

    /// Verification has failed, and nothing it said counts any more. The text holds no values of rows.
    pub fn unverified(&self, why: impl Into<String>) {
        self.posted().verify = Some((Instant::now(), Err(why.into())));
    }

    /// What was found on both servers just now. To be renewed every minute or so.
    pub fn readiness(&self, found: Vec<Readiness>) {
        self.posted().readiness = Some((Instant::now(), found.into()));
    }

    /// What is known of every probe just now.
    pub fn probes(&self, reports: Vec<ProbeReport>) {
        self.posted().probes = Some((Instant::now(), reports.into()));
    }

    /// Everything that is put up.
    pub(super) fn look(&self) -> Posted {
        self.posted().clone()
    }
}
