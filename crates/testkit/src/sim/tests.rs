//! The property over a sample of seeds, and for each rule a test that it is needed.

use std::collections::BTreeMap;

use understudy_replicate::{Rule, Rules};

use super::{Class, CounterExample, Seen, run};

/// Seeds of the sample that `cargo test` always runs.
const SAMPLE: u64 = 4_000;

/// Of the runs of a class, the share in percent that must meet what the class is about.
const SHARE_MIN_PERCENT: u64 = 70;

/// Seeds within which a broken rule must show.
const PATIENCE: u64 = 1_500;

/// The seeds to be run: `UNDERSTUDY_SEEDS=from..to` asks for a campaign instead of the sample.
pub(super) fn seeds(sample: u64) -> std::ops::Range<u64> {
    let asked = std::env::var("UNDERSTUDY_SEEDS").ok();
    let parsed = asked.as_deref().and_then(|text| {
        let (from, to) = text.split_once("..")?;
        Some(from.parse().ok()?..to.parse().ok()?)
    });
    assert_eq!(asked.is_some(), parsed.is_some(), "UNDERSTUDY_SEEDS must read from..to");
    parsed.unwrap_or(0..sample)
}

/// The class of a seed: `UNDERSTUDY_CLASS` gives a campaign to one alone.
pub(super) fn class_of(seed: u64) -> Class {
    let Ok(asked) = std::env::var("UNDERSTUDY_CLASS") else {
        return Class::of_seed(seed);
    };
    let named = Class::ALL.into_iter().find(|class| format!("{class:?}") == asked);
    named.unwrap_or_else(|| panic!("UNDERSTUDY_CLASS must be one of {:?}", Class::ALL))
}

/// Whether a run has met what its class is about.
fn meets(class: Class, seen: &Seen) -> bool {
    match class {
        Class::LateVisibility => seen.streamed_before_visible > 0,
        Class::SlotBirth => seen.born_into > 0,
        Class::Rewrite => seen.rewrites > 0,
        Class::Restart => seen.restarts > 0,
        Class::Partitions => seen.leaves > 0,
        Class::Truncate => seen.truncates > 0,
        Class::Heal => seen.heals > 0,
        Class::LaterTable => seen.later_tables > 0,
        Class::Recopy => seen.recopies > 0 && seen.heals > 0,
        Class::Split => seen.splits > 0 && seen.changes > 0,
        Class::Filter => seen.unknown > 0 && seen.left_out > 0,
        Class::Computed => seen.rereads > 0,
        Class::Rekeyed => seen.rekeyed > 0 && seen.changes > 0,
        Class::Refused => seen.refused > 0,
        Class::Repair => seen.damaged > 0,
        Class::Mixed => seen.changes > 0 && seen.placed > 0,
    }
}

/// For every interleaving green ends equal to blue: complete, nothing to heal, no mismatch, and in bounded time.
#[test]
fn green_equals_blue() {
    let seeds = seeds(SAMPLE);
    let mut tally: BTreeMap<Class, (u64, u64)> = BTreeMap::new();
    let mut total = Seen::default();
    let mut wrong = Vec::new();
    for seed in seeds.clone() {
        let class = class_of(seed);
        match run(seed, class, &Rules::all(), false) {
            Ok(seen) => {
                let (runs, met) = tally.entry(class).or_default();
                (*runs, *met) = (*runs + 1, *met + u64::from(meets(class, &seen)));
                total.add(&seen);
            }
            Err(example) => wrong.push(example),
        }
    }
    println!("{tally:?} {total:?}");
    show(&wrong);
    assert!(wrong.is_empty(), "{} of the runs {seeds:?} are wrong", wrong.len());
    if seeds == (0..SAMPLE) {
        assert_eq!(tally.len(), Class::ALL.len());
        for (class, (runs, met)) in tally {
            assert!(met * 100 >= runs * SHARE_MIN_PERCENT, "{class:?}: {met} of {runs} runs meet it");
        }
        let Seen { split_transactions, too_large, placed, heals, .. } = total;
        assert!(split_transactions > SAMPLE && too_large > SAMPLE / 10 && placed > SAMPLE && heals > SAMPLE);
    }
}

/// Prints counter-examples, and the first one step by step when `UNDERSTUDY_TRACE` is set.
fn show(wrong: &[CounterExample]) {
    for example in wrong.iter().take(20) {
        println!("seed {} ({:?}): {}", example.seed, example.class, example.why);
    }
    if let Some(first) = wrong.first().filter(|_| std::env::var_os("UNDERSTUDY_TRACE").is_some())
        && let Err(traced) = run(first.seed, first.class, &Rules::all(), true)
    {
        traced.trace.iter().for_each(|line| println!("{line}"));
    }
}

/// With the rule broken, some seed of the class fails; up to that seed, all hold with every rule in force.
fn is_needed(rule: Rule, class: Class) {
    let broken = (0..PATIENCE).find_map(|seed| run(seed, class, &Rules::without(rule), false).err());
    let Some(broken) = broken else {
        panic!("{rule:?} broken shows in none of {PATIENCE} seeds of {class:?}")
    };
    println!("{rule:?} broken, {class:?}, seed {}: {}", broken.seed, broken.why);
    for seed in 0..=broken.seed {
        let whole = run(seed, class, &Rules::all(), false);
        assert!(whole.is_ok(), "with every rule in force: {whole:?}");
    }
}

#[test]
fn rows_touched_by_invisible_transactions_are_dropped() {
    is_needed(Rule::TouchedKeys, Class::Heal);
}

#[test]
fn a_chunk_that_cannot_see_what_was_streamed_before_it_is_read_again() {
    is_needed(Rule::LateVisible, Class::LateVisibility);
}

#[test]
fn commits_that_the_slot_was_born_into_are_waited_for() {
    is_needed(Rule::SlotBirth, Class::SlotBirth);
}

#[test]
fn transactions_that_a_joining_table_was_published_into_are_waited_for() {
    is_needed(Rule::PublicationChange, Class::LaterTable);
}

#[test]
fn transactions_not_yet_seen_survive_a_restart() {
    is_needed(Rule::SavedUnseen, Class::LateVisibility);
}

#[test]
fn a_rewritten_table_is_copied_again() {
    is_needed(Rule::Rewrite, Class::Rewrite);
}

#[test]
fn a_table_with_columns_written_anew_is_copied_again() {
    is_needed(Rule::Marks, Class::Rewrite);
}

#[test]
fn a_truncation_in_the_window_discards_the_chunk() {
    is_needed(Rule::Truncate, Class::Truncate);
}

#[test]
fn a_chunk_is_placed_after_the_batch_before_it() {
    is_needed(Rule::Order, Class::LateVisibility);
}

#[test]
fn partial_rows_that_are_missing_are_healed() {
    is_needed(Rule::Heal, Class::Heal);
}

#[test]
fn partial_rows_are_healed_while_a_table_is_copied_again() {
    is_needed(Rule::Renewal, Class::Recopy);
}

#[test]
fn a_heal_moves_with_the_key_of_its_row() {
    is_needed(Rule::MovedHeal, Class::Recopy);
}

#[test]
fn values_sent_while_a_heal_is_under_way_win() {
    is_needed(Rule::HealMerge, Class::Heal);
}

#[test]
fn a_window_that_overflowed_is_never_placed() {
    is_needed(Rule::Overflow, Class::SlotBirth);
}

#[test]
fn an_attached_leaf_is_copied() {
    is_needed(Rule::AttachedLeaf, Class::Partitions);
}

#[test]
fn the_rows_of_a_detached_leaf_are_removed() {
    is_needed(Rule::DetachedLeaf, Class::Partitions);
}

#[test]
fn truncating_a_leaf_removes_its_rows() {
    is_needed(Rule::LeafTruncate, Class::Truncate);
}

#[test]
fn truncating_a_default_leaf_removes_what_other_leaves_took_over() {
    is_needed(Rule::DefaultLeaf, Class::Partitions);
}

#[test]
fn a_route_is_strict_only_once_it_is_copied() {
    is_needed(Rule::Strictness, Class::Restart);
}

#[test]
fn a_change_goes_to_every_route_of_its_table() {
    is_needed(Rule::EveryRoute, Class::Split);
}

#[test]
fn a_row_that_leaves_the_condition_goes() {
    is_needed(Rule::Exit, Class::Filter);
}

#[test]
fn a_row_of_unknown_past_is_no_mismatch() {
    is_needed(Rule::UnknownBefore, Class::Filter);
}

#[test]
fn old_images_tell_nothing_of_rows_that_an_earlier_condition_let_in() {
    is_needed(Rule::EarlierCondition, Class::Filter);
}

#[test]
fn a_heal_removes_what_the_condition_leaves_out() {
    is_needed(Rule::HealCondition, Class::Filter);
}

/// Promise 2: a row that somebody else put on green is gone once it has been read again, and one that he changed or
/// removed is as on blue.
#[test]
fn a_row_that_is_gone_from_blue_goes_when_it_is_read_again() {
    is_needed(Rule::HealGone, Class::Repair);
}

/// A row that the condition leaves out changes while it is read again: green is told nothing, and must not keep what it has.
#[test]
fn a_row_of_which_green_is_told_nothing_is_read_once_more() {
    is_needed(Rule::HealUntold, Class::Repair);
}

/// A row is damaged after a change that came whole, and before the heal that the change has settled.
#[test]
fn a_row_that_is_asked_for_while_it_is_healed_is_read_once_more() {
    is_needed(Rule::AskedAgain, Class::Repair);
}

#[test]
fn a_copy_over_rows_removes_what_the_condition_leaves_out() {
    is_needed(Rule::CopyCondition, Class::Filter);
}

#[test]
fn rows_that_cannot_be_told_are_read_again() {
    is_needed(Rule::Reread, Class::Computed);
}

#[test]
fn rows_that_cannot_be_computed_are_set_aside() {
    is_needed(Rule::Refused, Class::Refused);
}

#[test]
fn windows_know_rows_by_their_keys_on_blue() {
    is_needed(Rule::BlueKeys, Class::Rekeyed);
}

#[test]
fn a_route_that_computes_reads_only_the_types_it_is_compiled_for() {
    is_needed(Rule::Types, Class::Computed);
}

/// A run is its seed: the same steps, the same end.
#[test]
fn runs_repeat_themselves() {
    for seed in 0..20 {
        let class = Class::of_seed(seed);
        let (one, two) = (run(seed, class, &Rules::all(), false), run(seed, class, &Rules::all(), false));
        assert_eq!(one.ok(), two.ok());
    }
}
