//! Before anything is streamed: saved state, slot, publication and mapping are compared, and any gap is refused.

use std::collections::BTreeSet;

use understudy_contract::{Class, Failure, Saved, SavedRoute, SavedUnit, Unit};
use understudy_model::{Lsn, RouteId, TableName};
use understudy_postgres::preflight::Known;
use understudy_postgres::source::followed::{Followed, FollowedTable, Gap};
use understudy_postgres::source::publication::{PublicationState, START_OVER};
use understudy_postgres::source::slot::SlotState;
use understudy_transform::RouteSpec;

use crate::settings::OnDetach;

/// What to do about the slot and the bookkeeping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beginning {
    /// Nothing exists yet: create the publication and the slot.
    Fresh,
    /// An earlier start stopped while the slot was being created: drop what it left, then begin.
    Unfinished,
    /// Go on from what is remembered.
    GoOn,
}

/// Who remembers how far a migration has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Memory {
    /// Green.
    Green,
    /// The topics of this prefix.
    Log {
        /// The prefix.
        topic_prefix: String,
    },
}

impl Memory {
    /// Blue has a slot of the migration, of which nothing is remembered.
    fn forgotten(&self, name: &str) -> Failure {
        let (what, remedy) = match self {
            Memory::Green => (
                "green remembers nothing of this migration".to_owned(),
                "if green was replaced, remove the slot with: understudy abort FILE, then run again; if `green` names \
                 the wrong database, correct the migration file",
            ),
            Memory::Log { topic_prefix } => (
                format!("the topics of prefix {topic_prefix} hold nothing of this migration"),
                "if `brokers` or `topic_prefix` are not those that it was begun with, correct the migration file: nothing is \
                 lost; if its topics are gone, start over with: understudy abort FILE, empty green's tables, then \
                 understudy run FILE",
            ),
        };
        diverged(format!("blue has a slot `{name}`, but {what}")).remedy(remedy)
    }

    /// For a person.
    fn noun(&self) -> &'static str {
        match self {
            Memory::Green => "green holds",
            Memory::Log { .. } => "the log holds",
        }
    }
}

/// Compares what is remembered with blue's slot. That blue is the right cluster has been checked before.
pub fn beginning(
    (saved, memory): (Option<&Saved>, &Memory),
    name: &str,
    slot: Option<&SlotState>,
) -> Result<Beginning, Failure> {
    let Some(saved) = saved else {
        return match slot {
            None => Ok(Beginning::Fresh),
            Some(_) => Err(memory.forgotten(name)),
        };
    };
    if saved.checkpoint.lsn() == Lsn::ZERO {
        return Ok(Beginning::Unfinished);
    }
    let Some(slot) = slot else {
        return Err(diverged(format!(
            "the slot `{}` is gone from blue, and with it the changes since {}",
            name, saved.checkpoint
        ))
        .remedy(START_OVER));
    };
    if slot.is_lost() {
        let cause = slot.invalidation_reason.as_deref().unwrap_or("wal_removed");
        return Err(diverged(format!(
            "blue has dropped the log that the slot `{}` still needed ({cause}); changes since {} are lost to it",
            name, saved.checkpoint
        ))
        .remedy(START_OVER));
    }
    if let Some(confirmed) = slot.confirmed
        && confirmed > saved.checkpoint.lsn()
    {
        return Err(diverged(format!(
            "the slot `{}` has been moved forward to {confirmed}, beyond what {} ({}): the changes between are lost to it",
            name,
            memory.noun(),
            saved.checkpoint
        ))
        .remedy(START_OVER));
    }
    Ok(Beginning::GoOn)
}

fn diverged(what: String) -> Failure {
    Failure::new(Class::Diverged, what)
}

/// How the file's routes compare with what green remembers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouteChanges {
    /// Routes that green has never followed.
    pub added: Vec<RouteId>,
    /// Routes to be copied again.
    pub recopied: Vec<RouteId>,
}

/// Compares the routes. A mapping to which columns were added has its table copied again; one that changed otherwise is
/// refused unless that was asked for.
pub fn compare_routes(
    saved: &Saved,
    routes: &[RouteSpec],
    recopy: &[TableName],
) -> Result<RouteChanges, Failure> {
    if let Some(unknown) = recopy.iter().find(|name| !routes.iter().any(|route| route.source == **name)) {
        return Err(Failure::new(
            Class::Configuration,
            format!("--recopy {unknown}: the migration has no such table"),
        )
        .remedy("name a table of blue that the migration file takes"));
    }
    let mut changes = RouteChanges::default();
    for route in routes {
        let again = recopy.contains(&route.source);
        match saved.routes.iter().find(|known| known.route == Some(route.id)) {
            None => changes.added.push(route.id),
            // Known by name only: it was to join, and was never followed.
            Some(known) if known.published.is_none() => changes.added.push(route.id),
            Some(_) if again => changes.recopied.push(route.id),
            // Columns came in and nothing else changed: their values in rows copied before are still to be fetched.
            Some(known) if route.extends(&known.fingerprint) && route.keeps_keys_of(&known.fingerprint) => {
                changes.recopied.push(route.id);
            }
            Some(known) if known.fingerprint != route.fingerprint() => {
                return Err(Failure::new(
                    Class::Configuration,
                    format!("the mapping of {} has changed since its rows were copied", route.source),
                )
                .remedy(format!(
                    "undo the change, or copy the table again with: understudy run FILE --recopy {}",
                    route.source
                )));
            }
            Some(_) => {}
        }
    }
    Ok(changes)
}

/// The routes among `asked` of which green may hold rows that no new copy replaces, so that it must be empty: the key was
/// rewritten, or a leaf was away in between whose rows nobody deletes. An operator was told to remove them first.
///
/// So it is, too, where the mapping gives rows other keys on green than before.
pub fn to_be_emptied(
    saved: &Saved,
    (routes, units): (&[RouteSpec], &[Unit]),
    asked: &[RouteId],
    on_detach: OnDetach,
) -> Vec<RouteId> {
    let other_keys = |route: &RouteId| {
        let known = saved.routes.iter().find(|known| known.route == Some(*route));
        let spec = routes.iter().find(|spec| spec.id == *route);
        known.zip(spec).is_some_and(|(known, spec)| !spec.keeps_keys_of(&known.fingerprint))
    };
    let keeps = |known: &SavedUnit| match units.iter().find(|unit| unit.id == known.id) {
        Some(now) => {
            let stays = on_detach == OnDetach::Stop || known.predicate.is_none();
            is_key_rewritten(known, now) || (known.membership != now.membership && stays)
        }
        // With its condition, its rows are deleted or the run stops.
        None => known.predicate.is_none(),
    };
    let must = |route: &&RouteId| {
        other_keys(route) || saved.units.iter().any(|known| known.route == **route && keeps(known))
    };
    asked.iter().filter(must).copied().collect()
}

/// What tells the rows of green that a new copy of a route would have to replace; `None` when that is all of the table.
///
/// Where other routes fill the table too, theirs are left out. A mapping that gives other keys may have had another constant
/// there before, so that its former rows are told by what they are not.
pub fn rows_in_the_way(saved: &Saved, routes: &[RouteSpec], route: &RouteSpec) -> Option<String> {
    let others = routes.iter().filter(|other| other.id != route.id && other.target == route.target);
    let others = others.map(|other| Some(format!("({}) IS NOT TRUE", other.predicate()?)));
    let others = others.collect::<Option<Vec<_>>>().filter(|others| !others.is_empty())?.join(" AND ");
    let known = saved.routes.iter().find(|known| known.route == Some(route.id));
    let keeps = known.is_none_or(|known| route.keeps_keys_of(&known.fingerprint));
    if keeps { route.predicate() } else { Some(others) }
}

/// Whether the key columns may have other values than when they were copied. A note about them alone moves no row.
fn is_key_rewritten(known: &SavedUnit, now: &Unit) -> bool {
    let Some((then, marks)) = known.marks.zip(now.marks) else { return false };
    then.keys != marks.keys && (then.places != marks.places || known.filenode != now.filenode)
}

/// The publication as green counts on it, or a log: its own version, and that of each followed table's place in it.
pub fn followed(saved: &Saved, publication: &str, by_log: bool) -> Followed {
    Followed {
        publication: publication.to_owned(),
        version: saved.lineage.publication.clone(),
        tables: saved
            .routes
            .iter()
            .filter(|known| known.route.is_some())
            .filter_map(followed_table)
            .collect(),
        by_log,
    }
}

/// The tables that green has followed and that are no route any more.
pub fn no_longer_routed(saved: &Saved) -> Vec<FollowedTable> {
    saved.routes.iter().filter(|known| known.route.is_none()).filter_map(followed_table).collect()
}

fn followed_table(known: &SavedRoute) -> Option<FollowedTable> {
    let (source, target) = (known.source.clone(), known.target.clone());
    Some(FollowedTable { source, target, version: known.published.clone()? })
}

/// The followed tables whose changes may have been missed, when an operator has asked for a new copy of each of them;
/// otherwise the refusal that says which they are.
pub fn missed(
    followed: &Followed,
    there: Option<&PublicationState>,
    recopy: &[TableName],
) -> Result<Vec<TableName>, Failure> {
    if let Some(there) = there {
        there.expect_options(&followed.publication)?;
    }
    let Some(gap) = followed.gap(there) else {
        return Ok(Vec::new());
    };
    match &gap {
        Gap::Tables { tables, .. } if tables.iter().all(|table| recopy.contains(&table.source)) => {
            Ok(tables.iter().map(|table| table.source.clone()).collect())
        }
        Gap::Tables { .. } | Gap::Gone { .. } | Gap::Left(_) => Err(followed.failure(&gap)),
    }
}

/// Forgets routes that join anew, as green has.
pub fn forget(saved: &mut Saved, routes: &[RouteId]) {
    saved.routes.retain(|known| known.route.is_none_or(|route| !routes.contains(&route)));
    saved.units.retain(|unit| !routes.contains(&unit.route));
    saved.heals.retain(|(route, _)| !routes.contains(route));
}

/// Nothing of routes that are copied again counts as copied, as green has it from then on.
pub fn start_again(saved: &mut Saved, routes: &[RouteId]) {
    for known in saved.routes.iter_mut().filter(|known| known.route.is_some_and(|id| routes.contains(&id))) {
        known.complete = false;
    }
    for unit in saved.units.iter_mut().filter(|unit| routes.contains(&unit.route)) {
        (unit.rows_done, unit.done) = (0, Vec::new());
    }
}

/// Whether all rows of a route are still to come: they are planned, and none of them is on green.
pub fn is_to_come(saved: &Saved, route: RouteId) -> bool {
    let is_complete = saved.routes.iter().any(|known| known.route == Some(route) && known.complete);
    let mut units = saved.units.iter().filter(|unit| unit.route == route).peekable();
    !is_complete && units.peek().is_some() && units.all(|unit| unit.done.is_empty())
}

/// The routes that green does not follow as they are now: they join, or their mapping has changed.
pub fn unfamiliar(known: &Known, routes: &[RouteSpec]) -> Vec<RouteId> {
    let is_unfamiliar = |route: &&RouteSpec| {
        let known = known.route(&route.source, &route.target);
        known.is_none_or(|known| known.published.is_none() || known.fingerprint != route.fingerprint())
    };
    routes.iter().filter(is_unfamiliar).map(|route| route.id).collect()
}

/// What must be done to the publication.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublicationChanges {
    /// Tables to be added.
    pub add: Vec<TableName>,
    /// Tables to be dropped.
    pub drop: Vec<TableName>,
    /// Tables of which only a part is published.
    pub mend: Vec<TableName>,
}

/// Compares the publication with the routes. That no followed table has been touched has been seen before.
pub fn compare_publication(routes: &[RouteSpec], there: &PublicationState) -> PublicationChanges {
    let published = there.tables.iter().map(|table| &table.name).collect::<BTreeSet<_>>();
    let wanted = routes.iter().map(|route| &route.source).collect::<BTreeSet<_>>();
    let partial = there.tables.iter().filter(|table| table.is_partial() && wanted.contains(&table.name));
    PublicationChanges {
        add: wanted.difference(&published).map(|name| (*name).clone()).collect(),
        drop: published.difference(&wanted).map(|name| (*name).clone()).collect(),
        mend: partial.map(|table| table.name.clone()).collect(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
