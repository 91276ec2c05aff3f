//! Green as an apply comes by it, whichever store it is: looked at first, then filled.

use understudy_contract::{Cursor, Failure, Finding};
use understudy_model::RouteId;
use understudy_postgres::preflight::{self, Known, PlannedTable, PreflightPlan};
use understudy_postgres::sink::{LaneBooks, PostgresSink};
use understudy_postgres::wire::Client;

use super::{Attempt, Keeper};
use crate::comparing;
use crate::green::metering::Metering;
use crate::mapping::{Both, Described, Drawn};
use crate::prepare;
use crate::verifying::Subject;

/// A store that may be green.
pub(crate) trait Store {
    /// What takes the changes.
    type Sink: Keeper;

    /// Gives green what the project's version needs there.
    fn bring_up(&self, attempt: &Attempt<'_>) -> impl Future<Output = Result<(), Failure>>;

    /// What both catalogs say, as far as there are two.
    fn describe(
        &self,
        attempt: &Attempt<'_>,
        blue: &mut Client,
    ) -> impl Future<Output = Result<Both, Failure>>;

    /// What green remembers.
    fn known(&self, attempt: &Attempt<'_>) -> impl Future<Output = Result<Known, Failure>>;

    /// What green lacks, and what does not fit between blue and green for those that join.
    fn findings(
        &self,
        attempt: &Attempt<'_>,
        blue: &mut Client,
        what: (&PreflightPlan, &Known, &[PlannedTable]),
    ) -> impl Future<Output = Result<Vec<Finding>, Failure>>;

    /// The places in a log that green has come to, one for each of those who apply it.
    fn places(&self, attempt: &Attempt<'_>) -> impl Future<Output = Result<Vec<Option<Cursor>>, Failure>>;

    /// What verification compares.
    fn subject(&self, attempt: &Attempt<'_>, drawn: &[Drawn<'_>], both: &Both) -> Result<Subject, Failure>;

    /// Connects what takes the changes. Nothing is taken over yet. What is told of its calls is told for as long as the second lives.
    fn open(
        &self,
        attempt: &Attempt<'_>,
        drawn: &[Drawn<'_>],
    ) -> impl Future<Output = Result<(Self::Sink, Option<Metering>), Failure>>;
}

/// A database of Postgres.
pub(crate) struct Database;

impl Database {
    async fn connect(attempt: &Attempt<'_>) -> Result<Client, Failure> {
        let green = Client::connect(&attempt.green("control")?).await;
        green.map_err(|failure| failure.while_doing("connect to green"))
    }
}

impl Store for Database {
    type Sink = PostgresSink;

    async fn bring_up(&self, attempt: &Attempt<'_>) -> Result<(), Failure> {
        attempt.bring_up().await
    }

    async fn describe(&self, attempt: &Attempt<'_>, blue: &mut Client) -> Result<Both, Failure> {
        let mut green = Database::connect(attempt).await?;
        let both = Both { blue: Described::read(blue).await?, green: Described::read(&mut green).await? };
        green.close().await;
        Ok(both)
    }

    async fn known(&self, attempt: &Attempt<'_>) -> Result<Known, Failure> {
        let mut green = Database::connect(attempt).await?;
        let known = preflight::known(&mut green, attempt.settings.name.as_str()).await?;
        green.close().await;
        Ok(known)
    }

    async fn findings(
        &self,
        attempt: &Attempt<'_>,
        blue: &mut Client,
        (plan, known, joining): (&PreflightPlan, &Known, &[PlannedTable]),
    ) -> Result<Vec<Finding>, Failure> {
        let mut green = Database::connect(attempt).await?;
        let findings = preflight::check_green(blue, &mut green, plan, known, joining).await?;
        green.close().await;
        Ok(findings)
    }

    async fn places(&self, attempt: &Attempt<'_>) -> Result<Vec<Option<Cursor>>, Failure> {
        let mut books = LaneBooks::new(&attempt.green("lanes")?, attempt.settings.name.as_str());
        Ok(books.look().await?.map(|seen| seen.places).unwrap_or_default())
    }

    fn subject(&self, attempt: &Attempt<'_>, drawn: &[Drawn<'_>], both: &Both) -> Result<Subject, Failure> {
        let compared = comparing::compared_routes(attempt.settings, drawn, both)?;
        Ok(Subject::of(attempt.settings, drawn, compared))
    }

    async fn open(
        &self,
        attempt: &Attempt<'_>,
        drawn: &[Drawn<'_>],
    ) -> Result<(PostgresSink, Option<Metering>), Failure> {
        let routes = drawn.iter().map(|one| one.spec.clone()).collect::<Vec<_>>();
        Ok((attempt.connect_green(&routes).await?, None))
    }
}

/// The routes that are looked at like new ones: all of a migration that has not begun.
pub(crate) fn joining(known: &Known, drawn: &[Drawn<'_>]) -> Vec<RouteId> {
    if !known.started {
        return drawn.iter().map(|one| one.spec.id).collect();
    }
    let routes = drawn.iter().map(|one| one.spec.clone()).collect::<Vec<_>>();
    prepare::unfamiliar(known, &routes)
}
