//! What a run is about: the tables, the acts of blue, the limits of the core and the accidents, all drawn from a seed.

use understudy_replicate::{CoreSettings, DetachPolicy, Rules};

use super::mapping::{self, Mapping};
use super::sidecar::{STEPS, Step};
use crate::blue::TableKind;
use crate::dice::Dice;
use crate::workload::{Act, Weights, traffic};

/// A class of scenarios. Every run belongs to one; the sample holds a fixed share of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Commits are streamed long before snapshots show them.
    LateVisibility,
    /// The slot is created while transactions run and commits are invisible.
    SlotBirth,
    /// Tables are rewritten and altered while they are copied.
    Rewrite,
    /// The sidecar, blue and green are stopped and started.
    Restart,
    /// Leaves come and go, rows move between them.
    Partitions,
    /// Tables and leaves are emptied.
    Truncate,
    /// Rows of which only a part is sent are missing on green.
    Heal,
    /// A table joins the migration while it runs.
    LaterTable,
    /// Tables are copied over rows of green that are out of date.
    Recopy,
    /// Several routes take one table.
    Split,
    /// Routes take the rows that meet a condition, and rows come to meet it and cease to.
    Filter,
    /// Values of green are computed, also from what is not always sent.
    Computed,
    /// Rows have another key on green than on blue.
    Rekeyed,
    /// Expressions fail on some rows.
    Refused,
    /// Somebody damages rows of green, which are then read again.
    Repair,
    /// Everything at once.
    Mixed,
}

impl Class {
    /// Every class.
    pub const ALL: [Class; 16] = [
        Class::LateVisibility,
        Class::SlotBirth,
        Class::Rewrite,
        Class::Restart,
        Class::Partitions,
        Class::Truncate,
        Class::Heal,
        Class::LaterTable,
        Class::Recopy,
        Class::Split,
        Class::Filter,
        Class::Computed,
        Class::Rekeyed,
        Class::Refused,
        Class::Repair,
        Class::Mixed,
    ];

    /// The class of a seed in a sample.
    pub fn of_seed(seed: u64) -> Class {
        Class::ALL[(seed % Class::ALL.len() as u64) as usize]
    }
}

/// Everything that is drawn before a run starts.
#[derive(Debug, Clone)]
pub(super) struct Scenario {
    pub(super) tables: Vec<TableKind>,
    /// For each table the mappings of its routes.
    pub(super) mappings: Vec<Vec<Mapping>>,
    /// How many of the tables join later.
    pub(super) later: usize,
    pub(super) weights: Weights,
    /// Acts on blue before the slot is created.
    pub(super) acts_before: usize,
    /// Steps of the sidecar before blue goes on, without reads: what stands in the way of windows falls meanwhile.
    pub(super) head_start: usize,
    /// Steps until blue comes to rest.
    pub(super) steps: usize,
    /// Stops and starts, at most.
    pub(super) restarts: usize,
    /// In how many of a hundred stops green's rows of a table go out of date, and the table is copied again.
    pub(super) recopies: u32,
    /// In how many of a hundred steps a row of green is damaged.
    pub(super) damages: u32,
    /// For how many steps that goes on once blue has come to rest.
    pub(super) rest_damaged: usize,
    /// Nothing is read for a while once everything is copied, so that what is to be healed stays so.
    pub(super) rests: bool,
    /// Green holds rows of blue's keys before anything has been copied.
    pub(super) adopts: bool,
    pub(super) settings: CoreSettings,
    pub(super) readers: usize,
    /// Whether the stream shows transactions without changes of ours, as version 14 does.
    pub(super) show_empty: bool,
    /// How eager blue is against the pipeline.
    pub(super) blue_share: u32,
    /// How likely each step of the sidecar is while blue is busy: every run has a rhythm of its own.
    pub(super) pace: Vec<u32>,
}

impl Scenario {
    pub(super) fn draw(class: Class, dice: &mut Dice, rules: Rules) -> Scenario {
        let tables = tables(class, dice);
        let mappings = mapping::draw(class, &tables, &mut dice.clone().split());
        let restarting = matches!(
            class,
            Class::Restart | Class::Mixed | Class::LaterTable | Class::LateVisibility | Class::Recopy
        );
        Scenario {
            later: usize::from(class == Class::LaterTable || (class == Class::Mixed && dice.percent(30))),
            weights: weights(class, &tables, dice),
            acts_before: if class == Class::SlotBirth || dice.percent(40) { 10 + dice.below(40) } else { 0 },
            head_start: if class == Class::Heal || dice.percent(60) { dice.below(80) } else { 0 },
            steps: (150 + dice.below(350))
                * if matches!(class, Class::Recopy | Class::Repair) {
                    4 - usize::from(class == Class::Recopy)
                } else {
                    1
                },
            restarts: if class == Class::Recopy {
                1 + dice.below(2)
            } else if restarting {
                1 + dice.below(4)
            } else {
                usize::from(dice.percent(25))
            },
            recopies: match class {
                Class::Recopy => 80,
                Class::Mixed => 30,
                Class::Filter => 40,
                _ => 0,
            },
            damages: match class {
                Class::Repair => 6,
                Class::Mixed | Class::Rekeyed | Class::Filter | Class::Computed | Class::Partitions => 1,
                _ => 0,
            },
            rest_damaged: 1_500,
            rests: class == Class::Recopy && dice.percent(60),
            adopts: class == Class::Recopy && dice.percent(40),
            settings: settings(dice, rules),
            readers: 1 + dice.below(3),
            show_empty: dice.percent(30),
            blue_share: [10, 25, 40, 55]
                [dice.below(if matches!(class, Class::Recopy | Class::Repair) { 2 } else { 4 })],
            pace: pace(class, dice),
            tables,
            mappings,
        }
    }
}

/// A rhythm. Where a heal shall outlive the copy, windows stay open for long.
fn pace(class: Class, dice: &mut Dice) -> Vec<u32> {
    let slow = class == Class::Recopy && dice.percent(50);
    let one = |(step, weight): &(Step, u32)| {
        if slow && *step == Step::Mark { 2 } else { weight * [1, 1, 2, 4][dice.below(4)] }
    };
    STEPS.iter().map(one).collect()
}

fn tables(class: Class, dice: &mut Dice) -> Vec<TableKind> {
    let partitioned = [TableKind::Partitioned, TableKind::PartitionedApart];
    // Where every change carries the whole old row nothing is left to heal.
    let kinds: &[TableKind] = match class {
        Class::Heal => &[TableKind::Plain, TableKind::Partitioned],
        Class::Recopy => {
            &[TableKind::Plain, TableKind::Plain, TableKind::Partitioned, TableKind::PartitionedApart]
        }
        _ => &TableKind::ALL,
    };
    let any = |dice: &mut Dice| kinds[dice.below(kinds.len())];
    let mut tables = match class {
        Class::Partitions => vec![partitioned[dice.below(2)]],
        Class::Mixed => vec![any(dice), partitioned[dice.below(2)]],
        Class::Rekeyed if dice.percent(25) => return vec![TableKind::Composite],
        Class::LaterTable | Class::Rekeyed => vec![any(dice), any(dice)],
        _ => vec![any(dice)],
    };
    if dice.percent(25) {
        tables.push(any(dice));
    }
    tables
}

fn weights(class: Class, tables: &[TableKind], dice: &mut Dice) -> Weights {
    let mut weights = traffic();
    let mut add = |more: &[(Act, u32)]| weights.extend_from_slice(more);
    let partitions =
        [(Act::Attach, 3), (Act::Detach, 2), (Act::Drop, 1), (Act::WriteApart, 2), (Act::TruncateLeaf, 3)];
    let rewrites =
        [(Act::Rewrite, 5), (Act::AlterType, 2), (Act::AddColumnAgain, 1), (Act::AlterIdentity, 1)];
    match class {
        Class::LateVisibility => {
            let slow = 6 + dice.below(15) as u32;
            weights.iter_mut().filter(|(act, _)| *act == Act::Settle).for_each(|(_, weight)| *weight = slow);
        }
        Class::SlotBirth | Class::Restart | Class::LaterTable | Class::Repair => {}
        Class::Split | Class::Filter | Class::Computed | Class::Rekeyed | Class::Refused => {
            // A key that a value outside of blue's key is part of does not outlive a change of that column's type.
            let alters = class != Class::Rekeyed || *tables != [TableKind::Composite];
            if alters && dice.percent(25) {
                add(&[(Act::AlterType, 2), (Act::AddColumnAgain, 1), (Act::AlterIdentity, 1)]);
            }
            if dice.percent(25) {
                add(&partitions);
                add(&[(Act::Truncate, 1), (Act::Rewrite, 1)]);
            }
        }
        Class::Heal => {
            if dice.percent(30) {
                add(&[(Act::AlterType, 1), (Act::AddColumnAgain, 1)]);
            }
        }
        Class::Rewrite => add(&rewrites),
        Class::Partitions => add(&partitions),
        Class::Recopy => {
            add(&[(Act::Single, 40), (Act::Settle, 40)]);
            if dice.percent(30) {
                add(&[(Act::Detach, 1), (Act::Rewrite, 1), (Act::Truncate, 1), (Act::AlterType, 1)]);
            }
        }
        Class::Truncate => add(&[(Act::Truncate, 6), (Act::TruncateLeaf, 4)]),
        Class::Mixed => {
            add(&partitions);
            add(&rewrites);
            add(&[(Act::Truncate, 1)]);
        }
    }
    weights
}

fn settings(dice: &mut Dice, rules: Rules) -> CoreSettings {
    CoreSettings {
        chunk_bytes: 8_192 * (1 + dice.below(2) as u64),
        chunk_bytes_max: if dice.percent(30) { 60 + dice.below(200) } else { 1 << 20 },
        window_bytes_max: if dice.percent(30) { 100 + dice.below(900) } else { 1 << 20 },
        windows_max: 1 + dice.below(4),
        batch_changes_max: 1 + dice.below(8),
        batch_bytes_max: 1 << 20,
        on_detach: DetachPolicy::Delete,
        raw: false,
        nonce_base: dice.wide() as u64,
        rules,
    }
}
