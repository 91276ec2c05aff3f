//! What the items of a ledger hold, and back.

use aws_sdk_dynamodb::types::AttributeValue;
use sha2::{Digest, Sha256};
use understudy_contract::{
    Ask, Cause, ComparedRoute, KeyRange, MismatchId, MismatchKind, MismatchRecord, PassRecord, RangeDigest,
    RangeRecord, Resolution, RowName, Sweep, Waiver,
};
use understudy_model::{Key, Lsn, RouteId, TableName, Xid};

use super::{KnownRoute, Upto};
use crate::layout::Item;
use crate::state::{Fields, Note, Reading};

pub(super) const UPTO: &str = "upto";
pub(super) const ROUTE: &str = "route#";
pub(super) const RANGE: &str = "range#";
pub(super) const MISMATCH: &str = "mismatch#";
pub(super) const ENDED: &str = "ended#";
pub(super) const REQUEST: &str = "request#";
pub(super) const ANSWER: &str = "answer#";

const SWEEPS: [(Sweep, &str); 3] = [(Sweep::Both, "both"), (Sweep::Blue, "blue"), (Sweep::Green, "green")];

/// When a mismatch was found, and what was done about it, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) found: u64,
    pub(super) repair_asked: Option<u64>,
    pub(super) waived: Option<u64>,
}

/// A mismatch as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) record: MismatchRecord,
    pub(super) source: TableName,
    pub(super) target: TableName,
    pub(super) times: Times,
    pub(super) resolved: Option<(Resolution, u64)>,
}

pub(super) fn route_of(number: u32) -> String {
    format!("{ROUTE}{number:05}")
}

/// A range is known by a digest of its lower bound, which may be longer than a sort key.
pub(super) fn range_of(known: &KnownRoute, sweep: Sweep, after: Option<&Key>) -> String {
    let mut digest = Sha256::new();
    for text in after.iter().flat_map(|after| after.texts()) {
        digest.update((text.len() as u64).to_be_bytes());
        digest.update(text);
    }
    let bound = match after {
        Some(_) => digest.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect(),
        None => "first".to_owned(),
    };
    let sweep = SWEEPS.iter().find(|(one, _)| *one == sweep).map_or("both", |(_, name)| name);
    format!("{RANGE}{:05}#{:016x}#{sweep}#{bound}", known.number, known.plan)
}

pub(super) fn mismatch_of(id: MismatchId) -> String {
    format!("{MISMATCH}{:020}", id.0)
}

pub(super) fn ended_of(id: MismatchId) -> String {
    format!("{ENDED}{:020}", id.0)
}

pub(super) fn request_of(id: u64) -> String {
    format!("{REQUEST}{id:020}")
}

pub(super) fn answer_of(id: u64) -> String {
    format!("{ANSWER}{id:020}")
}

pub(super) fn upto(upto: &Upto) -> Note {
    let surprises =
        upto.surprises.iter().map(|(number, of)| (number.to_string(), AttributeValue::S(of.clone())));
    let mut fields =
        Fields::default().number("changed", upto.changed.raw()).number("last_mismatch", upto.last_mismatch);
    fields.0.insert("surprises".to_owned(), AttributeValue::M(surprises.collect()));
    Note::Put(fields.0)
}

pub(super) fn upto_in(item: &Item) -> Option<Upto> {
    let reading = Reading(item);
    let surprise =
        |(number, of): (&String, &AttributeValue)| Some((number.parse().ok()?, of.as_s().ok()?.clone()));
    Some(Upto {
        changed: Lsn::new(reading.number("changed")?),
        last_mismatch: reading.number("last_mismatch")?,
        surprises: item.get("surprises")?.as_m().ok()?.iter().map(surprise).collect::<Option<_>>()?,
    })
}

pub(super) fn route(compared: &ComparedRoute, known: &KnownRoute, pass: &PassRecord, now_ms: u64) -> Note {
    let mut fields = Fields::default()
        .number("route", u64::from(known.number))
        .table("source", &compared.source)
        .table("target", &compared.target)
        .text("fingerprint", &known.fingerprint)
        .number("plan", known.plan)
        .number("pass", pass.number)
        .number("completed", pass.completed)
        .number("dirty_upto", pass.dirty_upto.raw());
    if let Some(age_ms) = pass.completed_age_ms {
        fields = fields.number("completed_at_ms", now_ms.saturating_sub(age_ms));
    }
    Note::Put(fields.0)
}

/// A route, its passes, and its tables.
pub(super) fn route_in(item: &Item, now_ms: u64) -> Option<(KnownRoute, PassRecord, (TableName, TableName))> {
    let reading = Reading(item);
    let known = KnownRoute {
        number: reading.number("route")?,
        plan: reading.number("plan")?,
        fingerprint: reading.text("fingerprint")?.to_owned(),
    };
    let pass = PassRecord {
        number: reading.number("pass")?,
        completed: reading.number("completed")?,
        completed_age_ms: reading.number("completed_at_ms").map(|at: u64| now_ms.saturating_sub(at)),
        dirty_upto: Lsn::new(reading.number("dirty_upto")?),
    };
    Some((known, pass, (reading.table("source")?, reading.table("target")?)))
}

pub(super) fn range(range: &RangeRecord, now_ms: u64) -> Note {
    let sweep = SWEEPS.iter().find(|(one, _)| *one == range.sweep).map_or("both", |(_, name)| name);
    let mut fields = Fields::default()
        .text("sweep", sweep)
        .number("rows", range.rows)
        .number("digest_rows", range.digest.rows)
        .text("upper", &range.digest.upper.to_string())
        .text("lower", &range.digest.lower.to_string());
    if let Some(after) = &range.range.after {
        fields = fields.key("after", after);
    }
    if let Some(upto) = &range.range.upto {
        fields = fields.key("upto", upto);
    }
    if let Some(verified) = range.verified {
        fields = fields
            .number("verified", verified.raw())
            .number("verified_at_ms", now_ms.saturating_sub(range.age_ms));
    }
    if let Some(horizon) = range.horizon {
        fields = fields.number("horizon", horizon.raw());
    }
    Note::Put(fields.0)
}

pub(super) fn range_in(item: &Item, now_ms: u64) -> Option<RangeRecord> {
    let reading = Reading(item);
    let sweep = reading.text("sweep")?;
    let bound = |name: &str| match item.get(name) {
        Some(_) => reading.key(name).map(Some),
        None => Some(None),
    };
    let verified_at_ms = reading.number::<u64>("verified_at_ms");
    Some(RangeRecord {
        sweep: SWEEPS.iter().find(|(_, name)| *name == sweep)?.0,
        range: KeyRange { after: bound("after")?, upto: bound("upto")? },
        rows: reading.number("rows")?,
        digest: RangeDigest {
            rows: reading.number("digest_rows")?,
            upper: reading.text("upper")?.parse().ok()?,
            lower: reading.text("lower")?.parse().ok()?,
        },
        verified: reading.number("verified").map(Lsn::new),
        horizon: reading.number("horizon").map(Xid::new),
        age_ms: verified_at_ms.map_or(0, |at| now_ms.saturating_sub(at)),
    })
}

pub(super) fn mismatch(kept: &Kept) -> Note {
    let Kept { record, source, target, times, resolved } = kept;
    let columns = record.columns.iter().map(|column| AttributeValue::S(column.clone())).collect();
    let mut fields = Fields::default()
        .number("id", record.id.0)
        .table("source", source)
        .table("target", target)
        .key("key", &record.name.green)
        .text("kind", record.kind.as_str())
        .text("cause", record.cause.as_str())
        .text("blue_digest", &record.digests.0)
        .text("green_digest", &record.digests.1)
        .number("found_lsn", record.found_at.raw())
        .flag("by_stream", record.by_stream)
        .flag("repair_asked", record.repair_asked)
        .number("found_at_ms", times.found);
    fields.0.insert("columns".to_owned(), AttributeValue::L(columns));
    if let Some(blue) = &record.name.blue {
        fields = fields.key("blue_key", blue);
    }
    for (name, at_ms) in [("repair_asked_at_ms", times.repair_asked), ("waived_at_ms", times.waived)] {
        if let Some(at_ms) = at_ms {
            fields = fields.number(name, at_ms);
        }
    }
    if let Some(waiver) = &record.waived {
        fields = fields.text("waived_by", &waiver.by).text("waived_reason", &waiver.reason);
    }
    if let Some((resolution, at_ms)) = resolved {
        fields = fields.text("resolution", resolution.as_str()).number("resolved_at_ms", *at_ms);
    }
    Note::Put(fields.0)
}

/// A mismatch; its route is for the caller to say.
pub(super) fn mismatch_in(item: &Item) -> Option<Kept> {
    let reading = Reading(item);
    let (kind, cause) = (reading.text("kind")?, reading.text("cause")?);
    let columns = item.get("columns")?.as_l().ok()?.iter().map(|column| column.as_s().ok().cloned());
    let waived = reading.text("waived_by").zip(reading.text("waived_reason"));
    let resolution =
        reading.text("resolution").map(|text| Resolution::ALL.into_iter().find(|one| one.as_str() == text));
    let resolved = match resolution {
        None => None,
        Some(resolution) => Some((resolution?, reading.number("resolved_at_ms")?)),
    };
    Some(Kept {
        record: MismatchRecord {
            id: MismatchId(reading.number("id")?),
            route: RouteId(0),
            name: RowName { green: reading.key("key")?, blue: reading.key("blue_key") },
            kind: MismatchKind::ALL.into_iter().find(|one| one.as_str() == kind)?,
            columns: columns.collect::<Option<_>>()?,
            cause: Cause::ALL.into_iter().find(|one| one.as_str() == cause)?,
            digests: (reading.text("blue_digest")?.to_owned(), reading.text("green_digest")?.to_owned()),
            found_at: Lsn::new(reading.number("found_lsn")?),
            by_stream: reading.flag("by_stream")?,
            repair_asked: reading.flag("repair_asked")?,
            waived: waived.map(|(by, reason)| Waiver { by: by.to_owned(), reason: reason.to_owned() }),
        },
        source: reading.table("source")?,
        target: reading.table("target")?,
        times: Times {
            found: reading.number("found_at_ms")?,
            repair_asked: reading.number("repair_asked_at_ms"),
            waived: reading.number("waived_at_ms"),
        },
        resolved,
    })
}

/// What is asked, as a kind and texts.
pub(super) fn ask(ask: &Ask, by: &str) -> Note {
    let (kind, body) = match ask {
        Ask::Repair(ids) => ("repair", ids.iter().map(MismatchId::to_string).collect()),
        Ask::Waive(id, waiver) => ("waive", vec![id.to_string(), waiver.by.clone(), waiver.reason.clone()]),
        Ask::Pass(tables) => {
            ("pass", tables.iter().flat_map(|table| [table.schema.clone(), table.name.clone()]).collect())
        }
        Ask::Limits(limits) => {
            ("limits", limits.iter().flat_map(|(name, value)| [name.clone(), value.clone()]).collect())
        }
    };
    let mut fields = Fields::default().text("kind", kind).text("asked_by", by);
    fields.0.insert("body".to_owned(), AttributeValue::L(body.into_iter().map(AttributeValue::S).collect()));
    Note::Put(fields.0)
}

/// `None`: it is not a request that is known here.
pub(super) fn ask_in(item: &Item) -> Option<Ask> {
    let body = item.get("body")?.as_l().ok()?.iter().map(|text| text.as_s().ok().cloned());
    let body = body.collect::<Option<Vec<_>>>()?;
    let id = |text: &String| Some(MismatchId(text.parse().ok()?));
    let pairs = || {
        let pair = |pair: &[String]| Some((pair.first()?.clone(), pair.get(1)?.clone()));
        body.chunks(2).map(pair).collect::<Option<Vec<_>>>()
    };
    match (Reading(item).text("kind")?, &body[..]) {
        ("repair", ids) => Some(Ask::Repair(ids.iter().map(id).collect::<Option<_>>()?)),
        ("waive", [of, by, reason]) => {
            Some(Ask::Waive(id(of)?, Waiver { by: by.clone(), reason: reason.clone() }))
        }
        ("pass", _) => {
            Some(Ask::Pass(pairs()?.into_iter().map(|(schema, name)| TableName::new(schema, name)).collect()))
        }
        ("limits", _) => Some(Ask::Limits(pairs()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(note: Note) -> Item {
        match note {
            Note::Put(item) => item,
            Note::Remove => Item::new(),
        }
    }

    /// Promise of the ledger: what is asked arrives as it was asked.
    #[test]
    fn requests_are_read_back_as_they_were_written() {
        for asked in [
            Ask::Repair(vec![MismatchId(7), MismatchId(8)]),
            Ask::Waive(MismatchId(7), Waiver { by: "me, \"I\"".to_owned(), reason: String::new() }),
            Ask::Pass(vec![]),
            Ask::Pass(vec![TableName::new("Shop", "order lines"), TableName::new("public", "t")]),
            Ask::Limits(vec![("rows_per_second".to_owned(), "5000".to_owned())]),
        ] {
            assert_eq!(ask_in(&item(ask(&asked, "me"))), Some(asked));
        }
        let other = Fields::default().text("kind", "else").0;
        assert_eq!(ask_in(&other), None);
    }

    /// A range that came back as another one would leave rows uncovered, or verified that are not.
    #[test]
    fn ranges_are_read_back_as_they_were_written() {
        let key = |text: &str| Key::from_texts([text.as_bytes(), b""]);
        for (after, upto, verified) in
            [(None, Some(key("a")), Some(Lsn::new(9))), (Some(key("a")), None, None)]
        {
            let digest = RangeDigest { rows: 3, upper: i128::from(i64::MIN) * 3, lower: 7 };
            let written = RangeRecord {
                sweep: Sweep::Green,
                range: KeyRange { after, upto },
                rows: 3,
                digest,
                verified,
                horizon: verified.map(|_| Xid::new(5)),
                age_ms: if verified.is_some() { 40 } else { 0 },
            };
            assert_eq!(range_in(&item(range(&written, 1_000)), 1_000), Some(written));
        }
    }
}
