//! The publication before the stream starts: made, compared with what green counts on, and brought in line with the file.

use understudy_contract::{Class, Failure, Finding, Lineage, Saved, SavedRoute, Severity, Unit};
use understudy_model::RouteId;
use understudy_postgres::ident::quote_table;
use understudy_postgres::preflight::{self, Known, PlannedTable, PreflightPlan, TableDescription};
use understudy_postgres::source::followed::{Followed, FollowedTable};
use understudy_postgres::source::publication::{self, PublicationState, PublishedTable};
use understudy_postgres::wire::Client;
use understudy_transform::RouteSpec;

use crate::assemble::{Attempt, Keeper};
use crate::mapping::Drawn;
use crate::prepare::{self, PublicationChanges};
use crate::{opinion, routes, settings};

/// Why a table of green must be empty: its route is new.
const JOINS: &str = "joins the migration";

/// Why a table of green must be empty: see [`prepare::to_be_emptied`].
const STALE: &str = "is copied anew because its key was rewritten, its mapping gives rows other keys, or a partition of it was away \
                     on blue";

impl Attempt<'_> {
    /// Before anything is created, everything must be in place; later, what joins must be.
    pub(crate) async fn preflight(
        &self,
        blue: &mut Client,
        plan: &PreflightPlan,
        drawn: &[Drawn<'_>],
    ) -> Result<(), Failure> {
        let green = Client::connect(&self.green("control")?).await;
        let mut green = green.map_err(|failure| failure.while_doing("connect to green"))?;
        let mut known = preflight::known(&mut green, &plan.migration).await?;
        let findings = if known.started {
            self.forget_missed(blue, plan, &mut known).await?;
            let routes = drawn.iter().map(|one| one.spec.clone()).collect::<Vec<_>>();
            let ids = prepare::unfamiliar(&known, &routes);
            let joining = ids.iter().map(|id| plan.tables[id.index()].clone()).collect::<Vec<PlannedTable>>();
            let mut findings = preflight::check_always(blue, plan).await?;
            if !joining.is_empty() {
                findings.extend(preflight::check_joining(blue, &mut green, plan, &known, &joining).await?);
                let drawn = drawn.iter().filter(|one| ids.contains(&one.spec.id)).collect::<Vec<_>>();
                findings.extend(opinion::second_opinion(blue, &drawn).await?);
            }
            findings
        } else {
            let mut findings = preflight::check(blue, &mut green, plan).await?;
            let drawn = drawn.iter().collect::<Vec<_>>();
            findings.extend(opinion::second_opinion(blue, &drawn).await?);
            findings
        };
        green.close().await;
        refuse(findings)
    }

    /// Tables whose changes were missed join anew, so they are looked at like new ones. A refusal comes later, once it is
    /// known that blue is the server that green knows.
    pub(crate) async fn forget_missed(
        &self,
        blue: &mut Client,
        plan: &PreflightPlan,
        known: &mut Known,
    ) -> Result<(), Failure> {
        let there = publication::inspect(blue, &plan.publication).await?;
        let followed = plan.followed(known);
        if let Ok(missed) = prepare::missed(&followed, there.as_ref(), &self.options.recopy) {
            known.routes.retain(|route| !missed.contains(&route.source));
        }
        Ok(())
    }

    /// Warns of tables that are forgotten because blue has them no more.
    pub(crate) async fn tell_of_left(
        &self,
        blue: &mut Client,
        on_blue: &[TableDescription],
        saved: &Saved,
    ) -> Result<(), Failure> {
        let there = publication::inspect(blue, &self.settings.name.slot()).await?;
        let known = prepare::no_longer_routed(saved);
        for left in routes::left(self.settings, (on_blue, there.as_ref()), known)? {
            tracing::warn!("{left}, so it is followed no more: {}", left.aftermath());
        }
        Ok(())
    }

    /// Makes the publication anew. Its versions are read before the slot is made, so that whatever happens to it from the
    /// slot's first change on is noticed.
    pub(crate) async fn make_publication<K: Keeper>(
        &self,
        blue: &mut Client,
        sink: &mut K,
        (routes, tables): (&[RouteSpec], &[PublishedTable]),
    ) -> Result<PublicationState, Failure> {
        let name = self.settings.name.slot();
        publication::drop(blue, &name).await?;
        publication::create(blue, &name, tables).await?;
        let made = publication::inspect(blue, &name).await?.ok_or_else(|| gone(&name))?;
        made.expect(&name, tables)?;
        sink.set_published(versions(routes, &made));
        Ok(made)
    }

    /// Compares the publication with what green counts on. Tables whose changes were missed are forgotten where an operator
    /// has asked for a new copy, so that they join anew.
    pub(crate) async fn close_gap<K: Keeper>(
        &self,
        blue: &mut Client,
        sink: &mut K,
        (saved, routes): (&mut Saved, &[RouteSpec]),
    ) -> Result<(), Failure> {
        let name = self.settings.name.slot();
        let there = publication::inspect(blue, &name).await?;
        let followed = prepare::followed(saved, &name, !K::HOLDS_ROWS);
        let missed = prepare::missed(&followed, there.as_ref(), &self.options.recopy)?;
        let version = there.ok_or_else(|| gone(&name))?.version;
        let anew = routes.iter().filter(|route| missed.contains(&route.source)).map(|route| route.id);
        let anew = anew.collect::<Vec<_>>();
        if anew.is_empty() && saved.lineage.publication.as_ref() == Some(&version) {
            return Ok(());
        }
        // Rows that blue has deleted meanwhile would stay for ever, whatever the file says of rows that are there. A log has those
        // who read it remove them.
        if K::HOLDS_ROWS {
            self.must_be_empty(sink, (saved, routes), (&anew, JOINS)).await?;
        }
        self.recording::<K, _>(sink.forget_routes(&anew, &version)).await?;
        prepare::forget(saved, &anew);
        saved.lineage.publication = Some(version);
        Ok(())
    }

    /// Brings the publication in line with the file. Returns whether tables were added, and what is followed from now on.
    pub(crate) async fn publish<K: Keeper>(
        &self,
        blue: &mut Client,
        sink: &mut K,
        (saved, routes, tables): (&Saved, &[RouteSpec], &[PublishedTable]),
    ) -> Result<(bool, Followed), Failure> {
        let name = self.settings.name.slot();
        let there = publication::inspect(blue, &name).await?.ok_or_else(|| gone(&name))?;
        let changes = prepare::compare_publication(routes, &there);
        if changes != PublicationChanges::default() {
            publication::set_tables(blue, &name, tables).await?;
        }
        let now = publication::inspect(blue, &name).await?.ok_or_else(|| gone(&name))?;
        // The tables that are followed already have kept their places, unless somebody else was at it meanwhile.
        prepare::missed(&prepare::followed(saved, &name, !K::HOLDS_ROWS), Some(&now), &[])?;
        now.expect(&name, tables)?;
        let versions = versions(routes, &now);
        let table = |(route, version): &(RouteId, String)| FollowedTable {
            source: routes[route.index()].source.clone(),
            target: routes[route.index()].target.clone(),
            version: version.clone(),
        };
        let followed = Followed {
            publication: name,
            version: Some(now.version),
            tables: versions.iter().map(table).collect(),
            by_log: !K::HOLDS_ROWS,
        };
        sink.set_published(versions);
        Ok((!changes.add.is_empty() || !changes.mend.is_empty(), followed))
    }

    /// A table that joins later starts empty on green, or rows that blue has deleted before would stay there for ever.
    pub(crate) async fn may_join<K: Keeper>(
        &self,
        sink: &mut K,
        (saved, routes): (&Saved, &[RouteSpec]),
        added: &[RouteId],
    ) -> Result<(), Failure> {
        if self.settings.existing_rows == settings::ExistingRows::Adopt {
            return Ok(());
        }
        let adopt = "or set `existing_rows: adopt` if they are blue's, then run again";
        self.must_be_empty(sink, (saved, routes), (added, JOINS)).await.map_err(|failure| {
            match failure.remedy_text() {
                Some(remedy) => {
                    Failure::new(failure.class(), failure.to_string()).remedy(format!("{remedy}, {adopt}"))
                }
                None => failure,
            }
        })
    }

    /// Where an operator asks for a new copy because rows had to be removed first, it is seen to that they are.
    pub(crate) async fn may_copy_again<K: Keeper>(
        &self,
        sink: &mut K,
        (saved, routes): (&Saved, &[RouteSpec]),
        (recopied, units): (&[RouteId], &[Unit]),
    ) -> Result<(), Failure> {
        let by_hand = |id: &&RouteId| self.options.recopy.contains(&routes[id.index()].source);
        let asked = recopied.iter().filter(by_hand).copied().collect::<Vec<_>>();
        let full = prepare::to_be_emptied(saved, (routes, units), &asked, self.settings.on_detach);
        self.must_be_empty(sink, (saved, routes), (&full, STALE)).await
    }

    async fn must_be_empty<K: Keeper>(
        &self,
        sink: &mut K,
        (saved, routes): (&Saved, &[RouteSpec]),
        (which, why): (&[RouteId], &str),
    ) -> Result<(), Failure> {
        let mut unasked = Vec::new();
        for route in which {
            match sink.holds_rows(*route).await? {
                None => unasked.push(*route),
                Some(false) => {}
                Some(true) => {
                    let route = &routes[route.index()];
                    let what =
                        format!("{} {why}, but {} already holds items of it", route.source, route.target);
                    return Err(
                        Failure::new(Class::Configuration, what).remedy("remove those items on DynamoDB")
                    );
                }
            }
        }
        let which = unasked;
        if which.is_empty() {
            return Ok(());
        }
        let mut green = Client::connect(&self.green("control")?).await?;
        for route in which.iter().map(|id| &routes[id.index()]) {
            let own = prepare::rows_in_the_way(saved, routes, route);
            let own = own.map_or_else(String::new, |own| format!(" WHERE {own}"));
            let table = quote_table(&route.target);
            let sql = format!("SELECT EXISTS (SELECT FROM {table}{own})");
            let rows = green.query(&sql).await?;
            if rows.first().is_some_and(|row| row.is_true(0)) {
                return Err(Failure::new(
                    Class::Configuration,
                    format!("{} {why}, but {} on green already holds rows", route.source, route.target),
                )
                .remedy(format!(
                    "remove those rows on green: {}",
                    if own.is_empty() {
                        format!("TRUNCATE {table}")
                    } else {
                        format!("DELETE FROM {table}{own}")
                    }
                )));
            }
        }
        green.close().await;
        Ok(())
    }
}

/// Fails when an error is among the findings.
pub(crate) fn refuse(findings: Vec<Finding>) -> Result<(), Failure> {
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
    let errors = errors.map(|f| format!("{}: {} ({})", f.subject, f.what, f.remedy)).collect::<Vec<_>>();
    if errors.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Class::Configuration, errors.join("\n"))
        .remedy("mend these, then see: understudy check FILE"))
}

/// The publication as whoever streams through it counts on it: green itself, or the capture whose log green reads.
pub(crate) async fn counted_on(settings: &settings::Settings, known: &Known) -> Result<Followed, Failure> {
    let followed = known.followed(&settings.name.slot());
    let Some(kafka) = settings.own_log() else { return Ok(followed) };
    let counted = understudy_kafka::counted_on(kafka).await?;
    let place = |table: FollowedTable| {
        let version = counted.tables.get(&table.source)?.clone();
        Some(FollowedTable { version, ..table })
    };
    let tables = followed.tables.into_iter().filter_map(place).collect();
    Ok(Followed { version: counted.publication.clone(), tables, by_log: true, ..followed })
}

/// What green remembers once a migration has begun with this publication.
pub(crate) fn begun(
    lineage: Lineage,
    checkpoint: understudy_model::Checkpoint,
    (routes, made): (&[RouteSpec], &PublicationState),
) -> Saved {
    let versions = versions(routes, made);
    let route = |spec: &RouteSpec| SavedRoute {
        route: Some(spec.id),
        source: spec.source.clone(),
        target: spec.target.clone(),
        fingerprint: spec.fingerprint(),
        complete: false,
        published: versions.iter().find(|(id, _)| *id == spec.id).map(|(_, version)| version.clone()),
    };
    Saved {
        lineage,
        checkpoint,
        unseen: Some(Vec::new()),
        routes: routes.iter().map(route).collect(),
        units: vec![],
        departed: vec![],
        heals: vec![],
        cursor: None,
    }
}

/// The version of each route's place in the publication.
fn versions(routes: &[RouteSpec], there: &PublicationState) -> Vec<(RouteId, String)> {
    let place = |route: &RouteSpec| {
        let place = there.tables.iter().find(|table| table.name == route.source)?;
        Some((route.id, place.version.clone()))
    };
    routes.iter().filter_map(place).collect()
}

fn gone(name: &str) -> Failure {
    Failure::new(Class::Diverged, format!("the publication {name} is gone from blue"))
        .remedy(publication::START_OVER)
}
