//! Time zones by name, from the database that is built in, and the abbreviations that Postgres knows by default.

use std::ops::Range;
use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use rustc_hash::FxHashMap;

use super::calendar::{DAY, Moment, SECOND, UNIX_EPOCH_DAYS};

static DATABASE: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// What an abbreviation stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Abbreviation {
    /// Seconds east, and whether that is daylight saving time.
    East(i32, bool),
    /// Another offset at other times.
    Dynamic,
}

/// Why a zone was not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Postgres does not know it either.
    Unknown,
    /// Postgres may know it: a rule in POSIX' spelling, or a file of the server's own.
    Unsupported,
}

/// A zone of the database, and the seconds since 1970 for which all releases and packages of it agree.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    zone: TimeZone,
    agreed: Range<i64>,
}

/// The zone of a name of the IANA database, in letters of any case.
pub(crate) fn by_name(name: &str) -> Result<Rules, Missing> {
    let lower = name.to_ascii_lowercase();
    let of_server = matches!(lower.as_str(), "localtime" | "posixrules" | "factory")
        || ["posix/", "right/", "systemv/"].iter().any(|folder| lower.starts_with(folder));
    if of_server {
        return Err(Missing::Unsupported);
    }
    match DATABASE.get(name) {
        Ok(zone) => Ok(Rules { zone, agreed: agreed(&lower) }),
        // A rule has at least one offset.
        Err(_) if name.bytes().any(|byte| byte.is_ascii_digit()) => Err(Missing::Unsupported),
        Err(_) => Err(Missing::Unknown),
    }
}

/// Seconds in 400 years, after which the calendar and all rules repeat.
const CYCLE: i64 = 146_097 * 86_400;
/// The last instant that the database computes.
const COMPUTED_MAX: i64 = 221_845_392_000;

/// Brings an instant into the years that the database computes. Returns what has to be added to come back.
fn within(seconds: i64) -> (i64, i64) {
    let cycles = if seconds > COMPUTED_MAX { (seconds - COMPUTED_MAX) / CYCLE + 1 } else { 0 };
    (seconds - cycles * CYCLE, cycles * CYCLE)
}

/// Seconds east at a number of seconds since 1970.
fn east_at(rules: &Rules, seconds: i64) -> Option<i64> {
    let instant = Timestamp::from_second(within(seconds).0).ok()?;
    Some(i64::from(rules.zone.to_offset(instant).seconds()))
}

/// The seconds that the zone lies east at a finite instant, given as microseconds since 2000.
pub(crate) fn east(rules: &Rules, timestamp: i64) -> Option<i64> {
    let seconds = timestamp.div_euclid(SECOND) - UNIX_EPOCH_DAYS * (DAY / SECOND);
    if rules.agreed.contains(&seconds) { east_at(rules, seconds) } else { None }
}

/// The seconds that the zone lies west when its clocks show this. A time that is skipped is counted by the offset
/// before the gap, one that comes twice by the second offset.
pub(crate) fn local_west(rules: &Rules, moment: &Moment) -> Option<i64> {
    let local = (moment.days() - UNIX_EPOCH_DAYS) * 86_400 + moment.time() / SECOND;
    let from = local - 86_400;
    if !rules.agreed.contains(&from) || !rules.agreed.contains(&(local + 86_400)) {
        return None;
    }
    let before = east_at(rules, from)?;
    let (near, shift) = within(from);
    let next = rules.zone.following(Timestamp::from_second(near).ok()?).next();
    let Some(next) = next else { return Some(-before) };
    let boundary = next.timestamp().as_second() + shift;
    let after = i64::from(next.offset().seconds());
    let (by_before, by_after) = (local - before, local - after);
    let is_before = if by_before < boundary && by_after < boundary {
        true
    } else if by_before > boundary && by_after >= boundary {
        false
    } else {
        by_before > by_after
    };
    Some(if is_before { -before } else { -after })
}

/// The offset of a zone that never had another one.
pub(crate) fn constant_east(rules: &Rules) -> Option<i32> {
    let always = rules.zone.preceding(Timestamp::MAX).next().is_none();
    always.then(|| rules.zone.to_offset(Timestamp::UNIX_EPOCH).seconds())
}

/// When all releases and packages of the database that servers run with agree on a zone.
fn agreed(lower: &str) -> Range<i64> {
    AGREED.get(lower).cloned().unwrap_or(i64::MIN..i64::MAX)
}

static AGREED: LazyLock<FxHashMap<&'static str, Range<i64>>> = LazyLock::new(|| {
    const YEAR_1976: i64 = 189_302_400;
    const YEAR_2022: i64 = 1_640_995_200;
    const JULY_2026: i64 = 1_782_864_000;
    let groups = [
        (MERGED, 0..i64::MAX),
        (MERGED_LATER, YEAR_1976..i64::MAX),
        (CHANGED_2022, i64::MIN..YEAR_2022),
        (CHANGED_2026, i64::MIN..JULY_2026),
    ];
    let zones =
        groups.into_iter().flat_map(|(names, times)| names.split(' ').map(move |name| (name, times.clone())));
    zones.collect()
});

/// Zones that some packages keep apart before 1970 and others do not.
const MERGED: &str = "africa/accra africa/addis_ababa africa/asmara africa/bamako africa/bangui africa/banjul \
    africa/blantyre africa/brazzaville africa/bujumbura africa/conakry africa/dakar africa/dar_es_salaam \
    africa/djibouti africa/douala africa/freetown africa/gaborone africa/harare africa/kampala \
    africa/kigali africa/kinshasa africa/libreville africa/lome africa/luanda africa/lubumbashi \
    africa/lusaka africa/malabo africa/maseru africa/mbabane africa/mogadishu africa/niamey \
    africa/nouakchott africa/ouagadougou africa/porto-novo america/anguilla america/antigua \
    america/aruba america/atikokan america/blanc-sablon america/cayman america/creston america/curacao \
    america/dominica america/grenada america/guadeloupe america/montserrat america/nassau \
    america/port_of_spain america/st_kitts america/st_lucia america/st_thomas america/st_vincent \
    america/tortola antarctica/dumontdurville antarctica/mcmurdo antarctica/syowa asia/aden asia/bahrain \
    asia/brunei asia/kuala_lumpur asia/kuwait asia/muscat asia/phnom_penh asia/vientiane \
    atlantic/reykjavik atlantic/st_helena cst6cdt est5edt europe/amsterdam europe/copenhagen \
    europe/guernsey europe/isle_of_man europe/jersey europe/ljubljana europe/luxembourg europe/monaco \
    europe/oslo europe/sarajevo europe/skopje europe/stockholm europe/vaduz europe/zagreb \
    indian/antananarivo indian/christmas indian/cocos indian/comoro indian/kerguelen indian/mahe \
    indian/mayotte indian/reunion mst7mdt pst8pdt pacific/chuuk pacific/funafuti pacific/majuro \
    pacific/midway pacific/pohnpei pacific/saipan pacific/wake pacific/wallis";

/// The same before 1976.
const MERGED_LATER: &str = "america/ensenada america/santa_isabel america/tijuana mexico/bajanorte";

/// Zones whose rules since 2022 depend on the release.
const CHANGED_2022: &str = "europe/chisinau europe/tiraspol";

/// Zones whose rules since 2026 depend on the release.
const CHANGED_2026: &str = "africa/casablanca africa/el_aaiun america/edmonton america/inuvik \
    america/rainy_river america/vancouver america/winnipeg america/yellowknife canada/central canada/mountain \
    canada/pacific";

/// What an abbreviation in lower case stands for.
pub(crate) fn abbreviation(text: &str) -> Option<Abbreviation> {
    BY_TEXT.get(text).copied()
}

static BY_TEXT: LazyLock<FxHashMap<&'static str, Abbreviation>> = LazyLock::new(|| {
    let dynamic = DYNAMIC.split(' ').map(|text| (text, Abbreviation::Dynamic));
    let groups = |table: &'static [(i32, &'static str)], is_dst| {
        table.iter().flat_map(move |(seconds, texts)| {
            texts.split(' ').map(move |text| (text, Abbreviation::East(*seconds, is_dst)))
        })
    };
    dynamic.chain(groups(STANDARD, false)).chain(groups(SAVING, true)).collect()
});

/// Seconds east, and the abbreviations that always meant that.
const STANDARD: &[(i32, &str)] = &[
    (-36_000, "hst taht"),
    (-34_200, "mart"),
    (-32_400, "akst gamt"),
    (-28_800, "pst"),
    (-25_200, "mst"),
    (-21_600, "cst galt"),
    (-18_000, "act cot est pet"),
    (-14_400, "amt ast bot"),
    (-12_600, "nft nst"),
    (-10_800, "bra brt gft pmst uyt wgt"),
    (-7_200, "fnt"),
    (-3_600, "azot egt"),
    (0, "gmt uct ut utc wet z zulu"),
    (3_600, "cet met mez wat"),
    (7_200, "eet ist sast"),
    (10_800, "eat fet"),
    (12_600, "irt"),
    (14_400, "mut ret sct"),
    (16_200, "aft"),
    (18_000, "mvt pkt tft tjt uzt"),
    (20_700, "npt"),
    (21_600, "almt bdt btt xjt"),
    (23_400, "mmt"),
    (25_200, "cxt ict wast"),
    (28_800, "awst bnt bort cct hkt myt pht"),
    (31_500, "acwst"),
    (32_400, "jayt jst kst pwt"),
    (34_200, "acst cast"),
    (36_000, "aest chut ddut ligt mpt pgt trut yapt"),
    (37_800, "lhst"),
    (39_600, "pont vut"),
    (43_200, "fjt gilt mht nzst nzt tvt wakt wft"),
    (45_900, "chast"),
    (46_800, "tot"),
];

/// The same of daylight saving time.
const SAVING: &[(i32, &str)] = &[
    (-28_800, "akdt"),
    (-25_200, "pdt"),
    (-21_600, "mdt"),
    (-18_000, "cdt"),
    (-14_400, "edt"),
    (-10_800, "adt clst pyst"),
    (-9_000, "ndt"),
    (-7_200, "brst pmdt uyst wgst"),
    (-3_600, "fnst"),
    (0, "azost egst"),
    (3_600, "bst wetdst"),
    (7_200, "bdst cest cetdst mest mesz metdst"),
    (10_800, "eest eetdst idt"),
    (14_400, "msd"),
    (18_000, "must"),
    (21_600, "kgst pkst uzst yekst"),
    (25_200, "almst"),
    (28_800, "wadt"),
    (32_400, "awsst ulast wdt"),
    (36_000, "kdt"),
    (37_800, "acdt acsst cadt sadt"),
    (39_600, "aedt aesst"),
    (46_800, "fjst nzdt"),
    (49_500, "chadt"),
];

/// Abbreviations whose offset depends on the time.
const DYNAMIC: &str = "amst anast anat arst art azst azt ckt clt davt easst east fkst fkt gest get gyt iot irkst irkt \
    kgt kost krast krat lhdt lint lkt magst magt mawt msk novst novt nut omsst omst petst pett pyt \
    sgt tkt tmt ulat vet vlast vlat volt yakst yakt yekt";
