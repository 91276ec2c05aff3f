//! Plans of both sides side by side: where green reads a whole table that blue finds its rows in through an index.

use understudy_contract::ScannedRelation;

/// Relations with fewer rows are read as a whole by any good plan.
const ROWS_MIN: u64 = 1_000;

/// Regressions told of one probe.
const TOLD_MAX: usize = 10;

/// What is worse on green, as sentences.
///
/// A relation is matched with the one of the same name on blue. Where blue has none of that name, it is a regression when
/// blue reads something through an index and no large relation as a whole that has no match either.
pub fn regressions(blue: &[ScannedRelation], green: &[ScannedRelation]) -> Vec<String> {
    let on_blue = |name: &str| blue.iter().any(|other| other.name == name);
    let on_green = |name: &str| green.iter().any(|other| other.name == name);
    let large = |one: &ScannedRelation| one.sequential && one.rows >= ROWS_MIN;
    let blue_uses_an_index = blue.iter().any(|one| !one.sequential);
    let blue_scans_another = blue.iter().any(|one| large(one) && !on_green(&one.name));
    let mut found: Vec<String> = Vec::new();
    for one in green.iter().filter(|one| large(one)) {
        let worse = match on_blue(&one.name) {
            true => blue.iter().filter(|other| other.name == one.name).all(|other| !other.sequential),
            false => blue_uses_an_index && !blue_scans_another,
        };
        let text = format!(
            "green reads {} from its beginning to its end (about {} rows), where blue uses an index",
            one.name, one.rows
        );
        if worse && !found.contains(&text) {
            found.push(text);
        }
    }
    found.truncate(TOLD_MAX);
    found
}
