//! From what a migration remembers to what a run goes on with.

use std::collections::BTreeMap;

use understudy_contract::{Saved, SavedRoute, SavedUnit};
use understudy_model::{HealKey, RelationId, RouteId, UnitId};

use super::books::{Aside, Heals};
use super::target::{Planned, Target};
use crate::state::{Claimed, Form, Note, Notes, departed};

/// What is found beyond what the contract asks for.
#[derive(Default)]
pub(super) struct Found {
    pub(super) saved: Option<Saved>,
    pub(super) heals: Heals,
    pub(super) aside: Aside,
    /// What makes the state forget routes that the migration no longer has.
    pub(super) absent: Notes,
}

/// Reads what is remembered. Targets learn their numbers, their units, and how far their copies are.
pub(super) fn read(claimed: Claimed, targets: &mut [Target]) -> Found {
    let mut found = Found::default();
    for target in targets.iter_mut() {
        (target.registered, target.complete, target.renewed) = (false, false, false);
        target.alone = false;
        target.units.clear();
    }
    let (routes, of_number) = routes(&claimed.forms, targets);
    let (mut heals, mut gone) = (Vec::<(RouteId, HealKey)>::new(), Vec::new());
    for (of, form) in &claimed.forms {
        let number = form.route();
        match (form, number.and_then(|number| of_number.get(&number).copied())) {
            (Form::Departed(table), _) => gone.push(*table),
            (Form::Sweep, _) => {}
            (_, None) => {
                found.absent.insert(of.clone(), Note::Remove);
                if let Form::Unit(unit) = form {
                    gone.push(RelationId(unit.oid));
                    found.absent.extend([departed(unit.oid)]);
                }
            }
            (Form::Unit(unit), Some(route)) => {
                let planned = Planned { form: unit.clone(), done: Vec::new(), rows_done: 0 };
                if let Some(target) = targets.get_mut(route.index()) {
                    target.units.insert(UnitId::new(unit.oid, route), planned);
                }
            }
            (Form::Heal { key, .. }, Some(route)) => {
                found.heals.add(route, key);
                heals.push((route, key.clone()));
            }
            (Form::Aside { key, .. }, Some(route)) => found.aside.add(route, key.clone(), of.clone()),
            (Form::Route(_) | Form::Done(_) | Form::Surprise { .. }, Some(_)) => {}
        }
    }
    done(&claimed.forms, &of_number, targets);
    gone.sort_unstable();
    gone.dedup();
    let units = targets.iter().flat_map(units).collect();
    found.saved = claimed.progress.map(|progress| Saved {
        lineage: progress.lineage,
        checkpoint: progress.checkpoint,
        unseen: progress.unseen,
        routes,
        units,
        departed: gone,
        heals,
        cursor: progress.cursor,
    });
    found
}

fn routes(forms: &[(String, Form)], targets: &mut [Target]) -> (Vec<SavedRoute>, BTreeMap<u32, RouteId>) {
    let (mut routes, mut of_number, mut next) = (Vec::new(), BTreeMap::new(), 0);
    for (_, form) in forms {
        let Form::Route(known) = form else { continue };
        next = next.max(known.number + 1);
        let is_it = |ours: &&mut Target| ours.green.source == known.source && ours.green.name == known.target;
        let ours = targets.iter_mut().find(is_it);
        let route = ours.as_ref().map(|ours| ours.route());
        if let Some(ours) = ours {
            (ours.number, ours.registered) = (known.number, true);
            (ours.complete, ours.renewed) = (known.complete, known.renewed);
            ours.alone = known.alone;
            of_number.insert(known.number, ours.route());
        }
        routes.push(SavedRoute {
            route,
            source: known.source.clone(),
            target: known.target.clone(),
            fingerprint: known.fingerprint.clone(),
            complete: known.complete,
            published: known.published.clone(),
        });
    }
    for target in targets.iter_mut().filter(|target| !target.registered) {
        target.number = next;
        of_number.insert(next, target.route());
        next += 1;
    }
    (routes, of_number)
}

/// The ranges that are done under the plans that count.
fn done(forms: &[(String, Form)], of_number: &BTreeMap<u32, RouteId>, targets: &mut [Target]) {
    for (_, form) in forms {
        let Form::Done(done) = form else { continue };
        let Some(route) = of_number.get(&done.route) else { continue };
        let target = targets.get_mut(route.index());
        let unit = target.and_then(|target| target.units.get_mut(&UnitId::new(done.oid, *route)));
        if let Some(unit) = unit.filter(|unit| unit.form.plan == done.plan) {
            unit.done.push(done.range);
            unit.rows_done += done.rows;
        }
    }
}

fn units(target: &Target) -> impl Iterator<Item = SavedUnit> {
    target.units.iter().map(|(id, planned)| SavedUnit {
        id: *id,
        route: id.route,
        name: planned.form.name.clone(),
        filenode: planned.form.filenode,
        fingerprint: planned.form.fingerprint,
        marks: planned.form.marks,
        membership: planned.form.membership,
        blocks: planned.form.blocks,
        predicate: planned.form.predicate.clone(),
        done: planned.done.clone(),
        rows_done: planned.rows_done,
    })
}
