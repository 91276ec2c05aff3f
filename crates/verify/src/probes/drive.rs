//! One step through the connectors: whatever is due first is done, and what came of it is kept.

use std::time::Duration;

use understudy_contract::{BlueProbe, Failure, GreenProbe, NotAnswered, ProbeParams, ScannedRelation, Tried};

use super::plans::regressions;
use super::report::ProbeSide;
use super::settling::{Settling, Step, Verdict};
use super::state::{Asked, Next, ProbePlan, Probes, Span, Task};
use crate::Millis;

/// What a step came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stepped {
    /// Nothing is due before this moment.
    Wait(Millis),
    /// Parameters were sampled, or plans looked at.
    Prepared,
    /// The probe of this number was asked.
    Asked {
        /// Which.
        probe: usize,
        /// What came of it.
        asked: Asked,
        /// How long each answer took.
        took: Vec<(ProbeSide, Duration)>,
    },
}

/// Does what is due first. Fails when a connection does; then nothing of the step is kept, and it is done anew.
pub async fn step<B: BlueProbe, G: GreenProbe>(
    probes: &mut Probes,
    (blue, green): (&mut B, &mut G),
    now: impl Fn() -> Millis,
) -> Result<Stepped, Failure> {
    let began = now();
    let (probe, task) = match probes.next(began) {
        Next::Wait(until) => return Ok(Stepped::Wait(until)),
        Next::Do(probe, task) => (probe, task),
    };
    let plan = probes.plan(probe).clone();
    match task {
        Task::Sample => {
            let sampled = blue.sample(plan.params.as_deref().unwrap_or_default()).await?;
            let (ended, took) = (now(), Duration::from_millis(now().since(began)));
            probes.sampled(probe, ended, took, sampled);
            Ok(Stepped::Prepared)
        }
        Task::Explain => {
            let plans = both_plans(&plan, blue, green).await?;
            probes.explained(probe, now(), plans.map(|(blue, green)| regressions(&blue, &green)));
            Ok(Stepped::Prepared)
        }
        Task::Ask(params) => {
            let mut took = Vec::new();
            let asked = ask(&plan, &params, (blue, green), &mut took).await?;
            let ended = now();
            took.iter().for_each(|(side, took)| probes.answered(probe, ended, *side, *took));
            let busy = took.iter().map(|(_, took)| *took).sum();
            probes.asked(probe, Span { began, ended, busy }, &params, asked.clone());
            Ok(Stepped::Asked { probe, asked, took })
        }
    }
}

async fn both_plans<B: BlueProbe, G: GreenProbe>(
    plan: &ProbePlan,
    blue: &mut B,
    green: &mut G,
) -> Result<Tried<(Vec<ScannedRelation>, Vec<ScannedRelation>)>, Failure> {
    let on_blue = match blue.plan(&plan.blue).await? {
        Ok(plan) => plan,
        Err(refused) => return Ok(Err(refused)),
    };
    Ok(green.plan(&plan.green).await?.map(|on_green| (on_blue, on_green)))
}

/// Asks until it is settled.
async fn ask<B: BlueProbe, G: GreenProbe>(
    plan: &ProbePlan,
    params: &ProbeParams,
    (blue, green): (&mut B, &mut G),
    took: &mut Vec<(ProbeSide, Duration)>,
) -> Result<Asked, Failure> {
    let mut settling = Settling::default();
    let mut step = Step::Blue;
    let not = |side, refused: NotAnswered| Ok(Asked::NotAnswered(side, refused));
    loop {
        step = match step {
            Step::Blue => match blue.ask(&plan.blue, params).await? {
                Ok(answer) => {
                    took.push((ProbeSide::Blue, answer.took));
                    settling.blue(answer)
                }
                Err(refused) => return not(ProbeSide::Blue, refused),
            },
            Step::Green(at_least) => match green.ask(&plan.green, params, at_least).await? {
                Ok(answer) => {
                    took.push((ProbeSide::Green, answer.took));
                    settling.green(answer)
                }
                Err(refused) => return not(ProbeSide::Green, refused),
            },
            Step::Done(Verdict::Agrees) => return Ok(Asked::Agrees),
            Step::Done(Verdict::Differs(difference)) => return Ok(Asked::Differs(difference)),
            Step::Done(Verdict::Unsettled) => return Ok(Asked::Unsettled),
        };
    }
}
