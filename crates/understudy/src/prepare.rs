//! Before anything is streamed: saved state, slot, publication and mapping are compared, and any gap is refused.

use std::collections::{BTreeSet, HashSet};

use understudy_contract::{Class, Failure, Saved};
use understudy_model::{Lsn, RouteId, TableName};
use understudy_postgres::source::slot::SlotState;
use understudy_transform::RouteSpec;

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
        .remedy(start_over()));
    };
    if slot.is_lost() {
        let cause = slot.invalidation_reason.as_deref().unwrap_or("wal_removed");
        return Err(diverged(format!(
            "blue has dropped the log that the slot `{}` still needed ({cause}); changes since {} are lost to it",
            name, saved.checkpoint
        ))
        .remedy(start_over()));
    }
    if let Some(confirmed) = slot.confirmed
        && confirmed > saved.checkpoint.lsn()
    {
        return Err(diverged(format!(
            "the slot `{}` has been moved forward to {confirmed}, beyond what green holds ({}): the changes between are \
             lost to it",
            name, saved.checkpoint
        ))
        .remedy(start_over()));
    }
    Ok(Beginning::GoOn)
}

fn diverged(what: String) -> Failure {
    Failure::new(Class::Diverged, what)
}

fn start_over() -> &'static str {
    "start over with: understudy abort FILE, empty green's tables, then understudy run FILE"
}

/// How the file's routes compare with what green remembers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouteChanges {
    /// Routes that green has never seen.
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
            Some(_) if again => changes.recopied.push(route.id),
            // Columns came in and nothing else changed: their values in rows copied before are still to be fetched.
            Some(known) if route.extends(&known.fingerprint) => changes.recopied.push(route.id),
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

/// What must be done to the publication.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublicationChanges {
    /// Tables to be added.
    pub add: Vec<TableName>,
    /// Tables to be dropped.
    pub drop: Vec<TableName>,
}

/// Compares the publication with the routes. A table that has been followed must still be in it.
pub fn compare_publication(
    saved: &Saved,
    routes: &[RouteSpec],
    published: &[TableName],
) -> Result<PublicationChanges, Failure> {
    let published: HashSet<_> = published.iter().collect();
    let wanted: BTreeSet<_> = routes.iter().map(|route| &route.source).collect();
    let followed =
        |name: &&TableName| saved.routes.iter().any(|known| known.route.is_some() && known.source == **name);
    if let Some(lost) = wanted.iter().copied().filter(followed).find(|name| !published.contains(*name)) {
        return Err(diverged(format!(
            "{lost} has been taken out of the publication, so changes to it have been missed"
        ))
        .remedy(format!(
            "take {lost} out of the migration file, run once, then put it back: it is published and copied anew"
        )));
    }
    let add = wanted.iter().filter(|name| !published.contains(*name)).map(|name| (*name).clone());
    let drop = published.iter().filter(|name| !wanted.contains(*name)).map(|name| (*name).clone());
    Ok(PublicationChanges { add: add.collect(), drop: drop.collect() })
}

#[cfg(test)]
mod tests {
    use understudy_contract::{Lineage, SavedRoute};
    use understudy_model::Checkpoint;
    use understudy_transform::BlueTable;

    use super::*;

    fn lineage() -> Lineage {
        Lineage { system_id: 7, timeline: 2, database: "shop".into(), slot: "understudy_shop".into() }
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
        let table = BlueTable {
            name: TableName::new("public", name),
            columns: vec!["id".into()],
            key: vec!["id".into()],
        };
        RouteSpec::compile(RouteId(0), &table, table.name.clone(), None).unwrap()
    }

    fn saved(checkpoint: u64) -> Saved {
        let spec = route("t");
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
            }],
            units: Vec::new(),
            heals: Vec::new(),
            quarantined: 0,
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

    #[test]
    fn columns_that_come_in_have_their_table_copied_again() {
        let wider = BlueTable {
            name: TableName::new("public", "t"),
            columns: vec!["id".into(), "more".into()],
            key: vec!["id".into()],
        };
        let wider = RouteSpec::compile(RouteId(0), &wider, wider.name.clone(), None).unwrap();
        let changes = compare_routes(&saved(100), &[wider], &[]).unwrap();
        assert_eq!(changes, RouteChanges { added: vec![], recopied: vec![RouteId(0)] });
    }

    /// F46: a table that was published late, or not at all for a while, is never silently incomplete.
    #[test]
    fn publication_and_file_are_brought_together() {
        let routes = [route("t")];
        assert!(compare_publication(&saved(100), &routes, &[]).is_err());
        let (t, old) = (TableName::new("public", "t"), TableName::new("public", "old"));
        let changes = compare_publication(&saved(100), &routes, &[t, old.clone()]).unwrap();
        assert_eq!(changes, PublicationChanges { add: vec![], drop: vec![old] });
    }
}
