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
    /// Go on from what green remembers.
    GoOn,
}

/// Compares what green remembers with blue's slot. That blue is the right cluster has been checked before.
pub fn beginning(saved: Option<&Saved>, name: &str, slot: Option<&SlotState>) -> Result<Beginning, Failure> {
    let Some(saved) = saved else {
        return match slot {
            None => Ok(Beginning::Fresh),
            Some(_) => Err(diverged(format!(
                "blue has a slot `{}`, but green remembers nothing of this migration",
                name
            ))
            .remedy(
                "if green was replaced, remove the slot with: understudy abort FILE, then run again; if `green` names \
                 the wrong database, correct the migration file",
            )),
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
            "the slot `{}` has been moved forward to {confirmed}, beyond what green holds ({}): the changes between are \
             lost to it",
            name, saved.checkpoint
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
pub(crate) mod tests {
    use understudy_contract::{ColumnMarks, Lineage};
    use understudy_model::{Checkpoint, ReplicaIdentity, UnitId};
    use understudy_postgres::preflight::KnownRoute;
    use understudy_postgres::source::publication::PublicationTable;
    use understudy_transform::expr::{Modifier, SqlType};
    use understudy_transform::{BlueTable, ColumnSource, GreenColumn, GreenShape, Mapping, Requested};

    use super::*;

    fn lineage() -> Lineage {
        Lineage {
            system_id: 7,
            timeline: 2,
            database: "shop".into(),
            slot: "understudy_shop".into(),
            publication: Some("10.700".into()),
        }
    }

    fn slot(confirmed: u64) -> SlotState {
        SlotState {
            plugin: Some("pgoutput".into()),
            database: Some("shop".into()),
            active_pid: None,
            restart: None,
            confirmed: Some(Lsn::new(confirmed)),
            wal_status: Some("reserved".into()),
            safe_wal_bytes: None,
            invalidation_reason: None,
            failover: false,
        }
    }

    fn route(name: &str) -> RouteSpec {
        of_table(&BlueTable::named(TableName::new("public", name), &["id"], &["id"]))
    }

    fn of_table(table: &BlueTable) -> RouteSpec {
        RouteSpec::compile(RouteId(0), table, (table.name.clone(), None), Mapping::default()).unwrap()
    }

    fn saved(checkpoint: u64) -> Saved {
        saved_of(&route("t"), checkpoint)
    }

    /// What is remembered of a route that is copied.
    pub(crate) fn saved_of(spec: &RouteSpec, checkpoint: u64) -> Saved {
        Saved {
            lineage: lineage(),
            checkpoint: Checkpoint::at_commit_end(Lsn::new(checkpoint)),
            unseen: None,
            routes: vec![SavedRoute {
                route: Some(RouteId(0)),
                source: spec.source.clone(),
                target: spec.target.clone(),
                fingerprint: spec.fingerprint(),
                complete: true,
                published: Some("11.700".into()),
            }],
            units: Vec::new(),
            departed: Vec::new(),
            heals: Vec::new(),
            cursor: None,
        }
    }

    #[test]
    fn a_slot_behind_or_at_the_checkpoint_goes_on() {
        for confirmed in [50, 100] {
            let found = beginning(Some(&saved(100)), "understudy_shop", Some(&slot(confirmed)));
            assert_eq!(found.unwrap(), Beginning::GoOn);
        }
        assert_eq!(beginning(None, "understudy_shop", None).unwrap(), Beginning::Fresh);
        assert_eq!(
            beginning(Some(&saved(0)), "understudy_shop", Some(&slot(9))).unwrap(),
            Beginning::Unfinished
        );
    }

    /// F9, F10: a slot that was recreated, moved or lost is a gap, and a gap is never skipped.
    #[test]
    fn every_gap_is_refused_with_a_remedy() {
        let lost = SlotState { wal_status: Some("lost".into()), ..slot(50) };
        let gaps = [
            beginning(None, "understudy_shop", Some(&slot(1))),
            beginning(Some(&saved(100)), "understudy_shop", None),
            beginning(Some(&saved(100)), "understudy_shop", Some(&lost)),
            beginning(Some(&saved(100)), "understudy_shop", Some(&slot(101))),
        ];
        for gap in gaps {
            let failure = gap.unwrap_err();
            assert_eq!(failure.class(), Class::Diverged, "{failure}");
            assert!(failure.remedy_text().is_some(), "{failure}");
        }
    }

    #[test]
    fn a_changed_mapping_needs_a_new_copy() {
        let mut known = saved(100);
        known.routes[0].fingerprint = "another".into();
        let routes = [route("t")];
        assert!(compare_routes(&known, &routes, &[]).is_err());
        let again = compare_routes(&known, &routes, &[TableName::new("public", "t")]).unwrap();
        assert_eq!(again.recopied, [RouteId(0)]);
        assert!(compare_routes(&known, &routes, &[TableName::new("public", "typo")]).is_err());
    }

    /// A failover has every route of the file recorded. One that was refused before, as green holds rows of it, still is.
    #[test]
    fn a_route_that_was_never_followed_still_joins() {
        let mut known = saved(100);
        known.routes[0].published = None;
        let joins = RouteChanges { added: vec![RouteId(0)], recopied: vec![] };
        assert_eq!(compare_routes(&known, &[route("t")], &[]).unwrap(), joins);
        known.routes[0].fingerprint = "another".into();
        let recopy = [TableName::new("public", "t")];
        assert_eq!(compare_routes(&known, &[route("t")], &recopy).unwrap(), joins);
    }

    #[test]
    fn columns_that_come_in_have_their_table_copied_again() {
        let wider = of_table(&BlueTable::named(TableName::new("public", "t"), &["id", "more"], &["id"]));
        let changes = compare_routes(&saved(100), &[wider], &[]).unwrap();
        assert_eq!(changes, RouteChanges { added: vec![], recopied: vec![RouteId(0)] });
    }

    fn unit() -> Unit {
        Unit {
            id: UnitId::new(20, RouteId(0)),
            route: RouteId(0),
            root: UnitId::new(10, RouteId(0)),
            name: TableName::new("public", "t_1"),
            filenode: 20,
            fingerprint: 1,
            marks: Some(ColumnMarks { places: 1, written: 1, keys: 1 }),
            membership: 1,
            blocks: 1,
            block_bytes: 8192,
            rows_estimate: None,
            identity: ReplicaIdentity::Default,
            predicate: Some("id < 9".into()),
        }
    }

    /// Promise 2: `--recopy` is no proof that the rows have gone which the operator was told to remove; and where nobody was
    /// told to, it works on a table that is full.
    #[test]
    fn what_no_copy_replaces_must_have_been_removed() {
        let known = SavedUnit {
            id: UnitId::new(20, RouteId(0)),
            route: RouteId(0),
            name: TableName::new("public", "t_1"),
            filenode: 20,
            fingerprint: 1,
            marks: unit().marks,
            membership: 1,
            blocks: 1,
            predicate: unit().predicate,
            done: Vec::new(),
            rows_done: 0,
        };
        let must = |predicate: Option<&str>, now: &[Unit], on_detach: OnDetach| {
            let known = SavedUnit { predicate: predicate.map(str::to_owned), ..known.clone() };
            let saved = Saved { units: vec![known], ..saved(100) };
            let routes = [route("t")];
            assert_eq!(to_be_emptied(&saved, (&routes, now), &[], on_detach), [], "nobody has asked");
            to_be_emptied(&saved, (&routes, now), &[RouteId(0)], on_detach) == [RouteId(0)]
        };
        let marks = |places, keys| Some(ColumnMarks { places, written: 2, keys });
        let (leaf, stop, delete) = (Some("id < 9"), OnDetach::Stop, OnDetach::Delete);
        assert!(!must(leaf, &[unit()], stop));
        let rewritten = Unit { filenode: 21, marks: marks(1, 1), ..unit() };
        assert!(!must(leaf, &[rewritten], stop), "another column was rewritten");
        let noted = Unit { marks: marks(1, 2), ..unit() };
        assert!(!must(leaf, std::slice::from_ref(&noted), stop), "no row has moved");
        assert!(must(leaf, &[Unit { filenode: 21, ..noted }], delete));
        assert!(must(leaf, &[Unit { marks: marks(2, 2), ..unit() }], delete), "added anew");
        let back = [Unit { membership: 2, ..unit() }];
        assert!(must(leaf, &back, stop) && !must(leaf, &back, delete), "its rows are deleted");
        assert!(must(None, &back, delete) && must(None, &[], delete), "nobody knows which they are");
        assert!(!must(leaf, &[], stop), "the run stops by itself");
    }

    /// Promise 2: a new copy writes no row under a key that the mapping no longer gives, and removes none.
    #[test]
    fn rows_under_other_keys_must_have_been_removed() {
        let renamed = Requested::Column("number".into(), ColumnSource::Column("id".into()));
        let mapping = Mapping { columns: Some(&[renamed]), filter: None };
        let table = BlueTable::named(TableName::new("public", "t"), &["id"], &["id"]);
        let target = (table.name.clone(), None);
        let other = RouteSpec::compile(RouteId(0), &table, target, mapping).unwrap();
        let asked =
            |route: RouteSpec| to_be_emptied(&saved(100), (&[route], &[]), &[RouteId(0)], OnDetach::Stop);
        assert_eq!((asked(route("t")), asked(other)), (vec![], vec![RouteId(0)]));
    }

    /// Promise 1: rows under the constant that a route had before are in the way of its new copy; those of its neighbours never.
    #[test]
    fn rows_under_a_former_constant_are_in_the_way() {
        let merged = |id: u16, kind: &str| {
            let kind = ColumnSource::Constant(Some(kind.to_owned()));
            let requested = [Requested::Column("kind".into(), kind), Requested::Rest];
            let table = BlueTable::named(TableName::new("public", format!("t{id}")), &["id"], &["id"]);
            let column = |name: &str, ty| GreenColumn { name: name.to_owned(), ty, modifier: Modifier::NONE };
            let green = GreenShape {
                columns: vec![column("kind", SqlType::Text), column("id", SqlType::Int4)],
                keys: vec![vec!["kind".to_owned(), "id".to_owned()]],
            };
            let mapping = Mapping { columns: Some(&requested), filter: None };
            let target = (TableName::new("public", "all"), Some(&green));
            RouteSpec::compile(RouteId(id), &table, target, mapping).unwrap()
        };
        let routes = [merged(0, "a"), merged(1, "b")];
        let saved_as = |spec: &RouteSpec| {
            let mut saved = saved(100);
            saved.routes[0].fingerprint = spec.fingerprint();
            saved
        };
        let own = rows_in_the_way(&saved_as(&routes[0]), &routes, &routes[0]);
        assert_eq!(own.as_deref(), Some("\"kind\" = 'a'"));
        let former = rows_in_the_way(&saved_as(&merged(0, "z")), &routes, &routes[0]);
        assert_eq!(former.as_deref(), Some("(\"kind\" = 'b') IS NOT TRUE"));
        assert_eq!(rows_in_the_way(&saved(100), &routes[..1], &routes[0]), None);
    }

    fn there(version: &str, tables: &[(&str, &str)]) -> PublicationState {
        let table = |(name, version): &(&str, &str)| PublicationTable {
            version: (*version).to_owned(),
            name: TableName::new("public", *name),
            some_columns: false,
            some_rows: false,
        };
        PublicationState {
            version: version.to_owned(),
            publishes: [true; 4],
            via_root: false,
            all_tables: false,
            schemas: vec![],
            tables: tables.iter().map(table).collect(),
        }
    }

    /// F46: a table that was published late, or not at all for a while, is never silently incomplete.
    #[test]
    fn publication_and_file_are_brought_together() {
        let routes = [route("t")];
        let (t, old) = (TableName::new("public", "t"), TableName::new("public", "old"));
        let changes = compare_publication(&routes, &there("10.700", &[("old", "1.1")]));
        assert_eq!(changes, PublicationChanges { add: vec![t.clone()], drop: vec![old], mend: vec![] });
        let mut partial = there("10.700", &[("t", "11.700")]);
        assert_eq!(compare_publication(&routes, &partial), PublicationChanges::default());
        partial.tables[0].some_rows = true;
        assert_eq!(compare_publication(&routes, &partial).mend, [t]);
    }

    /// Promise 2: a gap is closed by a new copy of all that it concerns, and of nothing less.
    #[test]
    fn what_was_missed_is_copied_anew_or_refused() {
        let (followed, t) = (followed(&saved(100), "p", false), TableName::new("public", "t"));
        let missed = |now: &PublicationState, recopy: &[TableName]| missed(&followed, Some(now), recopy);
        assert_eq!(missed(&there("10.700", &[("t", "11.700")]), &[]).unwrap(), []);
        let put_back = there("10.700", &[("t", "12.800")]);
        let refusal = missed(&put_back, &[]).unwrap_err();
        assert!(
            refusal.class() == Class::Diverged
                && refusal.remedy_text().unwrap().contains("--recopy public.t")
        );
        assert!(missed(&put_back, &[TableName::new("public", "other")]).is_err());
        assert_eq!(missed(&put_back, std::slice::from_ref(&t)).unwrap(), std::slice::from_ref(&t));
        let altered = there("10.900", &[("t", "11.700")]);
        assert_eq!(missed(&altered, std::slice::from_ref(&t)).unwrap(), std::slice::from_ref(&t));
        let still = PublicationState { publishes: [true, false, true, true], ..altered };
        assert!(missed(&still, std::slice::from_ref(&t)).is_err(), "a new copy would miss changes too");
        let replaced = there("20.900", &[("t", "21.900")]);
        assert!(missed(&replaced, std::slice::from_ref(&t)).is_err(), "blue cannot send what came before");

        let mut saved = saved(100);
        forget(&mut saved, &[RouteId(0)]);
        assert_eq!(compare_routes(&saved, &[route("t")], &[t]).unwrap().added, [RouteId(0)]);
    }

    /// A route is looked at before it joins and whenever its mapping has changed, and only then.
    #[test]
    fn preflight_is_for_what_is_new() {
        let spec = route("t");
        let known = KnownRoute {
            source: spec.source.clone(),
            target: spec.target.clone(),
            fingerprint: spec.fingerprint(),
            complete: true,
            published: Some("11.700".into()),
        };
        let mut known = Known { started: true, publication: None, routes: vec![known] };
        assert_eq!(unfamiliar(&known, std::slice::from_ref(&spec)), []);
        known.routes[0].fingerprint = "another".into();
        assert_eq!(unfamiliar(&known, std::slice::from_ref(&spec)), [RouteId(0)]);
        known.routes.clear();
        assert_eq!(unfamiliar(&known, &[spec]), [RouteId(0)]);
    }
}
