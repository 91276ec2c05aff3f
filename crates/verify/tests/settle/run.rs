//! Cases settled in a world, and what must hold of every ruling.

use understudy_contract::{Awaits, Detail, KeyRelation, MismatchKind};
use understudy_model::Lsn;
use understudy_verify::settle::{Case, Difference, Rules, Ruling, Sight};

use crate::blue::KEYS;
use crate::world::{Look, World, key_of};

/// Keys settled one after the other in one world.
pub(crate) const CASES: u64 = 4;

/// Cases that may be equal at first sight before another key is tried.
const EQUAL_MAX: usize = 6;

/// Looks at a key that keeps changing, at most.
const LOOKS_MAX: u32 = 8;

/// Looks at a key that is left alone, while others are not.
const LOOKS_UNDISTURBED_MAX: u32 = 16;

/// What came up in runs, so that a property that holds of nothing is noticed.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Met {
    pub(crate) equal: u64,
    pub(crate) differs: [u64; 3],
    pub(crate) open: u64,
    pub(crate) set_aside: u64,
    pub(crate) covered: u64,
}

/// Settles keys of a world that never rests.
pub(crate) fn disturbed(seed: u64, rules: &Rules, met: &mut Met) -> Result<(), String> {
    disturb(&mut World::new(seed), rules, met)
}

/// The same where callers take blue's log position for what equality covers.
pub(crate) fn disturbed_without_horizon(seed: u64) -> Result<(), String> {
    let mut world = World::new(seed);
    world.trusts_position = true;
    disturb(&mut world, &Rules::all(), &mut Met::default())
}

fn disturb(world: &mut World, rules: &Rules, met: &mut Met) -> Result<(), String> {
    world.go_on(40);
    for _ in 0..CASES {
        world.go_on(12);
        let key = if world.dice.percent(50) { 0 } else { world.dice.below(usize::from(KEYS)) as u8 };
        world.green.begin_case();
        match settle(world, key, &|keys| Case::with_rules(keys, rules.clone()), LOOKS_MAX)? {
            None => met.open += 1,
            Some((Ruling::Differs(difference), _)) => {
                count(&difference, met);
                no_false_alarm(world, key, &difference)?;
            }
            Some((_, covered)) => {
                met.equal += 1;
                met.covered += u64::from(covered);
            }
        }
    }
    Ok(())
}

fn count(difference: &Difference, met: &mut Met) {
    let kind = MismatchKind::ALL.iter().position(|kind| *kind == difference.kind).unwrap();
    met.differs[kind] += 1;
    met.set_aside += u64::from(difference.awaited.is_some());
}

/// A row is only ruled different if green did not hold what the log left there, at some moment of the case, and nothing
/// excused that.
fn no_false_alarm(world: &World, key: u8, difference: &Difference) -> Result<(), String> {
    if difference.awaited == Some(Awaits::Heal) {
        return Err(format!("a row that waits to be read again was ruled different: {difference:?}"));
    }
    let aside = difference.awaited == Some(Awaits::Quarantine);
    if world.green.wrong.contains(&(key, aside)) {
        return Ok(());
    }
    Err(format!("key {key} was right all the time: {difference:?}"))
}

/// Looks at a key until it is settled. With the ruling comes whether equality covered the row's last change.
fn settle(
    world: &mut World,
    key: u8,
    begin: &dyn Fn(KeyRelation) -> Case,
    looks_max: u32,
) -> Result<Option<(Ruling, bool)>, String> {
    let (mut case, mut equal) = (begin(world.keys), 0);
    let blue = Some(if world.dice.percent(70) { key } else { world.dice.below(usize::from(KEYS)) as u8 });
    let mut look = Look { key, blue, thorough: false, detail: Detail::Digests };
    while case.attempts() < looks_max {
        if world.dice.percent(20) {
            look.detail = Detail::Values;
        }
        let (sight, covered) = world.look(look);
        if !world.trusts_position {
            horizon_is_seen(world, &sight, covered)?;
        }
        if let Some(found) = sight.on_blue.as_ref().and_then(|row| row.name.blue.clone()) {
            look.blue = (0..KEYS).find(|blue| key_of(*blue) == found);
        }
        match case.see(sight.clone(), &world.columns) {
            Ruling::Equal { .. } => {
                let covers = equality_is_true(world, key, &sight, covered)?;
                equal += 1;
                // What is equal at once is of less interest than what is not.
                if looks_max == LOOKS_MAX && case.attempts() == 1 && equal < EQUAL_MAX {
                    case = begin(world.keys);
                    world.go_on(6);
                    continue;
                }
                return Ok(Some((Ruling::Equal { at: sight.blue.lsn }, covers)));
            }
            Ruling::Again { thorough } => {
                look.thorough = thorough;
                look.detail = Detail::Digests;
            }
            Ruling::Confirm => look.detail = Detail::Values,
            Ruling::Differs(difference) => return Ok(Some((Ruling::Differs(difference), false))),
        }
        world.go_on(6);
    }
    Ok(None)
}

/// What a horizon covers was visible.
fn horizon_is_seen(world: &World, sight: &Sight, covered: Option<Lsn>) -> Result<(), String> {
    let covered = covered.unwrap_or_default();
    let missed = world.blue.log.iter().find(|commit| {
        let hidden = |xid| !sight.blue.snapshot.sees(understudy_model::Xid::new(xid));
        Lsn::new(commit.end) <= covered && commit.xid.is_some_and(hidden)
    });
    missed.map_or(Ok(()), |commit| Err(format!("{commit:?} is covered and cannot be seen")))
}

/// Equal rows were equal, and where the horizon covers the row's last change green was right.
fn equality_is_true(world: &World, key: u8, sight: &Sight, covered: Option<Lsn>) -> Result<bool, String> {
    let value = |row: &understudy_contract::RowSeen| (row.digest.0 >> 60) as u8;
    let is_equal = match (&sight.on_blue, &sight.on_green) {
        (None, None) => true,
        (Some(blue), Some(green)) => value(blue).abs_diff(value(green)) <= world.faults.tolerance,
        _ => false,
    };
    if !is_equal || sight.ambiguous {
        return Err(format!("unequal rows were ruled equal: {sight:?}"));
    }
    let touches = |commit: &&crate::blue::Commit| commit.effects.iter().any(|(one, _)| *one == key);
    let upto = sight.green.checkpoint.lsn();
    let last = world.blue.log.iter().rev().filter(|commit| Lsn::new(commit.end) <= upto).find(touches);
    let covers = last.is_none_or(|last| covered.is_some_and(|covered| Lsn::new(last.end) <= covered));
    let searched = sight.thorough || sight.on_blue.is_some();
    if covers && searched && world.green.is_wrong(key) {
        return Err(format!(
            "key {key} is wrong, was ruled equal, and its last change is covered: {sight:?}"
        ));
    }
    Ok(covers)
}

/// Plants a difference at a key that is left alone from then on, or none, and settles it while the world goes on.
pub(crate) fn undisturbed(seed: u64, met: &mut Met) -> Result<(), String> {
    let mut world = World::new(seed);
    world.go_on(60);
    world.settle_down();
    let key = world.dice.below(usize::from(KEYS)) as u8;
    world.blue.frozen = Some(key);
    world.readiness = world.readiness.max(4);
    if world.dice.percent(70) {
        world.green.intrude(&mut world.dice, key);
    }
    world.green.begin_case();
    let is_wrong = world.green.is_wrong(key);
    let is_missing = is_wrong && world.green.row(key).is_none();
    // A row that is not where it was looked for, and not on green either, is only missed when all of blue is searched.
    let came_to = settle(&mut world, key, &Case::of_mismatch, LOOKS_UNDISTURBED_MAX)?;
    let owed = world.green.owed.contains_key(&key);
    match came_to {
        Some((Ruling::Differs(difference), _)) if is_wrong => count(&difference, met),
        Some((Ruling::Equal { .. }, _)) if !is_wrong => met.equal += 1,
        // A row without a version that green lacks: nothing shows that it has not just come and gone.
        None if is_missing && !world.versioned => met.open += 1,
        other => return Err(format!("wrong: {is_wrong}, owed: {owed}, came to {other:?}")),
    }
    Ok(())
}
