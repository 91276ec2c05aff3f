//! The checks of verification: whether both sides are proved to agree.

use super::Moment;
use crate::check::{Check, Status};
use crate::evidence::{ChangedRows, ComparedTable, Verification, fresh, fresh_for};
use crate::policy::Policy;
use crate::words::{count, list, percent, span};

/// What each check looks at, for when it is not known.
const ASKED: [(&str, &str); 9] = [
    ("verification", "what verification does"),
    ("mismatches", "how many rows differ"),
    ("foreign_writes", "whether somebody else writes to green"),
    ("pending", "how many rows are not settled"),
    ("suspended", "how many rows never settled"),
    ("digests", "whether digests are right"),
    ("coverage", "how much has been verified"),
    ("age", "how long ago rows were verified"),
    ("changed_rows", "how many changed rows wait for their check"),
];

pub(super) fn checks(moment: Moment<'_>, checks: &mut Vec<Check>) {
    let evidence = moment.evidence.verification.as_ref();
    let known = |what: &str| fresh(evidence, fresh_for::VERIFICATION, moment.now, what);
    let unknown = |why: &dyn Fn(&str) -> String| ASKED.map(|(name, what)| Check::unknown(name, why(what)));
    match known("") {
        Err(_) => checks.extend(unknown(&|what| known(what).err().unwrap_or_default())),
        Ok(Verification::Disabled) => {
            checks.extend(unknown(&|what| format!("{what} is not known: verification is switched off")));
            if let Some(first) = checks.iter_mut().find(|check| check.name == "verification") {
                first.status = Status::Fail;
                first.reason = "verification is switched off".to_owned();
                first.remedy = Some("set `verify.enabled: true` in the migration file".to_owned());
            }
        }
        Ok(Verification::Failing(failure)) => {
            checks.extend(unknown(&|what| format!("{what} is not known: verification failed: {failure}")));
        }
        Ok(Verification::Running { tables, .. }) if tables.is_empty() => {
            checks.extend(unknown(&|what| format!("{what} is not known: no table is compared yet")));
        }
        Ok(Verification::Running { tables, changed, held_back }) => {
            checks.push(running(moment, tables, held_back.as_deref()));
            checks.extend(differences(tables));
            checks.push(coverage(moment.policy, tables, held_back.as_deref()));
            checks.push(age(moment.policy, tables));
            checks.push(changed_rows(moment.policy, changed));
        }
    }
}

/// Every copied table is compared.
fn running(moment: Moment<'_>, tables: &[ComparedTable], held_back: Option<&str>) -> Check {
    let name = "verification";
    let blocked = |table: &&ComparedTable| table.blocked.is_some();
    if let Some(first) = tables.iter().find(blocked) {
        let why = first.blocked.as_deref().unwrap_or_default();
        let number = tables.iter().filter(blocked).count() as u64;
        let more = match number {
            1 => String::new(),
            _ => format!(" (and {})", count(number - 1, "more table", "more tables")),
        };
        return Check::fail(name, format!("{} cannot be compared: {why}{more}", first.name))
            .none_of(number, "blocked tables")
            .remedy("change its mapping so that it can be, as the reason says: understudy plan FILE");
    }
    let copied = moment.evidence.tables.as_ref().map_or(&[][..], |tables| &tables.value);
    let forgotten = copied
        .iter()
        .filter(|one| tables.iter().all(|table| table.name != one.name))
        .map(|one| one.name.as_str())
        .collect::<Vec<_>>();
    let number = forgotten.len() as u64;
    let check = match (forgotten.is_empty(), held_back) {
        (false, _) => Check::unknown(name, format!("not compared yet: {}", list(forgotten))),
        (true, None) => Check::pass(name, "every table is being compared"),
        (true, Some(why)) => {
            Check::pass(name, format!("every table is being compared; full passes wait: {why}"))
        }
    };
    check.none_of(number, "blocked tables")
}

/// Nothing differs, and nothing might.
fn differences(tables: &[ComparedTable]) -> Vec<Check> {
    let list_them = "list them: understudy mismatches list FILE";
    let open = Absent {
        name: "mismatches",
        none: "no row differs",
        some: ("row differs", "rows differ"),
        held: Status::Fail,
        remedy: Some("list and repair them: understudy mismatches list FILE, understudy repair FILE"),
    };
    let foreign = Absent {
        name: "foreign_writes",
        none: "nobody else is seen to write to green",
        some: ("row was written on green by somebody else", "rows were written on green by somebody else"),
        held: Status::Fail,
        remedy: Some("find who writes to green and stop it, then repair: understudy repair FILE"),
    };
    let pending = Absent {
        name: "pending",
        none: "every row that was read is settled",
        some: ("row is not settled yet", "rows are not settled yet"),
        held: Status::Pending,
        remedy: None,
    };
    let suspended = Absent {
        name: "suspended",
        none: "no row changes too often to be compared",
        some: ("row changes too often to be compared", "rows change too often to be compared"),
        held: Status::Fail,
        remedy: Some(list_them),
    };
    let digests = Absent {
        name: "digests",
        none: "every digest is what its rows add up to",
        some: ("digest is not what its rows add up to", "digests are not what their rows add up to"),
        held: Status::Fail,
        remedy: Some(
            "the table's digests cannot be relied on; report this, with the versions of both servers",
        ),
    };
    vec![
        open.check(tables, |table| table.open),
        foreign.check(tables, |table| table.foreign_writes),
        pending.check(tables, |table| table.pending),
        suspended.check(tables, |table| table.suspended),
        digests.check(tables, |table| table.wrong_digests),
    ]
}

/// Something of which there must be none in any table.
struct Absent {
    name: &'static str,
    none: &'static str,
    some: (&'static str, &'static str),
    held: Status,
    remedy: Option<&'static str>,
}

impl Absent {
    fn check(&self, tables: &[ComparedTable], of: impl Fn(&ComparedTable) -> u64) -> Check {
        let there = tables.iter().filter(|table| of(table) > 0).collect::<Vec<_>>();
        let number = there.iter().fold(0_u64, |sum, table| sum.saturating_add(of(table)));
        if number == 0 {
            return Check::pass(self.name, self.none).none_of(0, "rows");
        }
        let names = there.iter().map(|table| format!("{} ({})", table.name, of(table))).collect::<Vec<_>>();
        let number_of = count(number, self.some.0, self.some.1);
        let reason = format!("{number_of}: {}", list(names.iter().map(String::as_str)));
        let check = Check::new(self.name, self.held, reason).none_of(number, "rows");
        match self.remedy {
            Some(remedy) => check.remedy(remedy),
            None => check,
        }
    }
}

/// Every table is verified to the share that is asked for: a large one does not stand in for a small one.
fn coverage(policy: &Policy, tables: &[ComparedTable], held_back: Option<&str>) -> Check {
    let name = "coverage";
    let asked = policy.coverage;
    if let Some(table) = tables.iter().find(|table| !(0.0..=1.0).contains(&table.coverage)) {
        let text = format!("how much of {} has been verified is not known", table.name);
        return Check::unknown(name, text).figure(None, ">=", asked, "ratio");
    }
    let least = tables.iter().map(|table| table.coverage).fold(1.0, f64::min);
    let behind = tables.iter().filter(|table| table.coverage < asked).collect::<Vec<_>>();
    let check = if behind.is_empty() {
        Check::pass(name, format!("at least {} of every table has been verified", percent(least)))
    } else {
        let names = behind.iter().map(|table| format!("{} ({})", table.name, percent(table.coverage)));
        let names = names.collect::<Vec<_>>();
        let mut text = format!(
            "less than {} has been verified of {}",
            percent(asked),
            list(names.iter().map(String::as_str))
        );
        if let Some(why) = held_back {
            text.push_str(&format!("; full passes wait: {why}"));
        }
        Check::pending(name, text)
    };
    check.figure(Some(least), ">=", asked, "ratio")
}

fn age(policy: &Policy, tables: &[ComparedTable]) -> Check {
    let name = "age";
    let most = policy.max_age_ms as f64 / 1_000.0;
    let figure = |check: Check, age: Option<u64>| {
        check.figure(age.map(|ms| ms as f64 / 1_000.0), "<=", most, "seconds")
    };
    // A share below one may be asked for; what was never verified has no age and is told by the coverage.
    let never = tables.iter().filter(|table| table.oldest_age_ms.is_none()).collect::<Vec<_>>();
    if !never.is_empty() && policy.coverage >= 1.0 {
        let names = list(never.iter().map(|table| table.name.as_str()));
        return figure(Check::pending(name, format!("some ranges were never verified: {names}")), None);
    }
    let oldest =
        tables.iter().filter_map(|table| Some((table.oldest_age_ms?, table))).max_by_key(|one| one.0);
    match oldest {
        None => figure(Check::pending(name, "nothing was verified in full yet"), None),
        Some((ms, table)) if ms > policy.max_age_ms => {
            let (ago, most) = (span(ms), span(policy.max_age_ms));
            let text = format!("a range of {} was last verified {ago} ago, more than {most}", table.name);
            figure(Check::pending(name, text), Some(ms))
        }
        Some((ms, _)) => {
            let text = format!("every range was verified within the last {}", span(ms));
            figure(Check::pass(name, text), Some(ms))
        }
    }
}

fn changed_rows(policy: &Policy, changed: &ChangedRows) -> Check {
    let name = "changed_rows";
    let most = policy.max_changed_ms as f64 / 1_000.0;
    let oldest = changed.oldest_ms.unwrap_or(0);
    let waiting =
        count(changed.waiting, "changed row waits for its check", "changed rows wait for their check");
    let check = if changed.overflowed {
        Check::pending(
            name,
            "more rows change than can be checked one by one; their tables are verified anew",
        )
        .remedy("raise `verify.changed_rows` in the migration file if this goes on")
    } else if changed.waiting > 0 && changed.oldest_ms.is_none() {
        Check::unknown(name, format!("{waiting}, and for how long is not known"))
    } else if oldest > policy.max_changed_ms {
        Check::pending(name, format!("{waiting}, the oldest for {}", span(oldest)))
    } else if changed.waiting == 0 {
        Check::pass(name, "every changed row has been checked")
    } else {
        Check::pass(name, format!("{waiting}, none for longer than {}", span(policy.max_changed_ms)))
    };
    check.figure(Some(oldest as f64 / 1_000.0), "<=", most, "seconds")
}
