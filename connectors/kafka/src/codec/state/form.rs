//! The bookkeeping as keys and JSON. What the key says, the value does not repeat.

use serde::{Deserialize, Serialize};
use understudy_contract::{Lineage, SavedUnit, Wanted};
use understudy_model::{BlockRange, Checkpoint, Ctid, RelationId, RouteId, UnitId, Xid};

use super::super::error::CodecError;
use super::super::wire::{self, Address, AsText, Format, KeyWire, MarksWire, NameWire};
use super::{DoneRange, Owner, Progress, RouteState, StateKey, StateRecord, UnitState};

pub(super) const WHAT: &str = "a record of the capture's state";

/// A key as text, such as `done/16385/public.orders/(0,0)`.
pub(super) fn key_to_text(key: &StateKey) -> String {
    let table = |mut text: String, table| {
        wire::push_table(&mut text, table);
        text
    };
    match key {
        StateKey::Owner => "owner".to_owned(),
        StateKey::Claim => "claim".to_owned(),
        StateKey::Progress => "progress".to_owned(),
        StateKey::Unseen { part } => format!("unseen/{part}"),
        StateKey::Route { source } => table("route/".to_owned(), source),
        StateKey::Unit { source, unit } => table(format!("unit/{unit}/"), source),
        StateKey::Done { source, unit, from } => format!("{}/{from}", table(format!("done/{unit}/"), source)),
        StateKey::Heal { source, key } => {
            let key = wire::write(&KeyWire(key.clone()));
            format!("{}/{}", table("heal/".to_owned(), source), String::from_utf8_lossy(&key))
        }
        StateKey::Departed(relation) => format!("departed/{}", relation.0),
        StateKey::Schema { table: name } => table("schema/".to_owned(), name),
    }
}

/// Whether a key that cannot be read is of a kind that a later release may have added: a word, and what it is about.
pub(super) fn is_of_unknown_kind(text: &str) -> bool {
    const KNOWN: [&str; 10] =
        ["owner", "claim", "progress", "unseen", "route", "unit", "done", "heal", "departed", "schema"];
    let kind = text.split_once('/').map_or(text, |(kind, _)| kind);
    !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_lowercase()) && !KNOWN.contains(&kind)
}

/// Reads a key.
pub(super) fn key_from_text(text: &str) -> Option<StateKey> {
    let whole = |text| wire::take_table(text).filter(|(_, rest)| rest.is_empty()).map(|(table, _)| table);
    let (kind, rest) = text.split_once('/').unwrap_or((text, ""));
    Some(match kind {
        "owner" if rest.is_empty() => StateKey::Owner,
        "claim" if rest.is_empty() => StateKey::Claim,
        "progress" if rest.is_empty() => StateKey::Progress,
        "unseen" => StateKey::Unseen { part: rest.parse().ok()? },
        "route" => StateKey::Route { source: whole(rest)? },
        "unit" => {
            let (unit, source) = rest.split_once('/')?;
            StateKey::Unit { source: whole(source)?, unit: unit.parse().ok()? }
        }
        "done" => {
            let (unit, rest) = rest.split_once('/')?;
            let (source, from) = wire::take_table(rest)?;
            StateKey::Done { source, unit: unit.parse().ok()?, from: from.strip_prefix('/')?.parse().ok()? }
        }
        "heal" => {
            let (source, key) = wire::take_table(rest)?;
            let KeyWire(key) = wire::read(WHAT, key.strip_prefix('/')?.as_bytes()).ok()?;
            StateKey::Heal { source, key }
        }
        "departed" => StateKey::Departed(RelationId(rest.parse().ok()?)),
        "schema" => StateKey::Schema { table: whole(rest)? },
        _ => return None,
    })
}

#[derive(Serialize, Deserialize)]
struct OwnerWire {
    v: Format,
    migration: String,
    slot: String,
    database: String,
    system_id: u64,
    token: u64,
}

#[derive(Serialize, Deserialize)]
struct ClaimWire {
    v: Format,
    token: u64,
}

#[derive(Serialize, Deserialize)]
struct ProgressWire {
    v: Format,
    system_id: u64,
    timeline: u32,
    database: String,
    slot: String,
    publication: Option<String>,
    checkpoint: Address,
    /// `None` when they are too many to list.
    unseen: Option<Vec<u64>>,
    /// In how many records of their own they are.
    parts: u32,
    group: u64,
    requests: i64,
}

#[derive(Serialize, Deserialize)]
struct UnseenWire {
    v: Format,
    group: u64,
    xids: Vec<u64>,
}

#[derive(Serialize, Deserialize)]
struct RouteWire {
    v: Format,
    fingerprint: String,
    complete: bool,
    renewed: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    void: bool,
    published: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct UnitWire {
    v: Format,
    generation: u64,
    name: NameWire,
    filenode: u32,
    fingerprint: u64,
    marks: Option<MarksWire>,
    membership: u64,
    blocks: u32,
    predicate: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct DoneWire {
    v: Format,
    generation: u64,
    to: AsText<Ctid>,
    rows: u64,
}

#[derive(Serialize, Deserialize)]
struct SchemaWire {
    v: Format,
    version: u32,
}

/// Where the key says all there is to say.
#[derive(Serialize, Deserialize)]
struct NoticeWire {
    v: Format,
}

/// The value of a record.
pub(super) fn value(record: &StateRecord) -> Option<Vec<u8>> {
    let v = Format;
    Some(match record {
        StateRecord::Owner(owner) => wire::write(&owner_wire(owner)),
        StateRecord::Claim { token } => wire::write(&ClaimWire { v, token: *token }),
        StateRecord::Progress { progress, parts } => wire::write(&progress_wire(progress, *parts)),
        StateRecord::Unseen { part: _, group, xids } => {
            wire::write(&UnseenWire { v, group: *group, xids: xids.iter().map(|xid| xid.raw()).collect() })
        }
        StateRecord::Route(RouteState { source: _, fingerprint, complete, renewed, void, published }) => {
            let (fingerprint, published) = (fingerprint.clone(), published.clone());
            let (complete, renewed, void) = (*complete, *renewed, *void);
            wire::write(&RouteWire { v, fingerprint, complete, renewed, void, published })
        }
        StateRecord::Unit(UnitState { source: _, generation, unit }) => wire::write(&UnitWire {
            v,
            generation: *generation,
            name: (&unit.name).into(),
            filenode: unit.filenode,
            fingerprint: unit.fingerprint,
            marks: unit.marks.map(MarksWire::from),
            membership: unit.membership,
            blocks: unit.blocks,
            predicate: unit.predicate.clone(),
        }),
        StateRecord::Done(DoneRange { generation, range, rows, .. }) => {
            wire::write(&DoneWire { v, generation: *generation, to: AsText(range.to), rows: *rows })
        }
        StateRecord::Schema { table: _, version } => wire::write(&SchemaWire { v, version: *version }),
        StateRecord::Heal(_) | StateRecord::Departed(_) => wire::write(&NoticeWire { v }),
        StateRecord::Gone(_) => return None,
    })
}

/// Reads a record back.
pub(super) fn record(key: StateKey, value: &[u8]) -> Result<StateRecord, CodecError> {
    Ok(match key {
        StateKey::Owner => {
            let OwnerWire { v: Format, migration, slot, database, system_id, token } =
                wire::read(WHAT, value)?;
            StateRecord::Owner(Owner { migration, slot, database, system_id, token })
        }
        StateKey::Claim => {
            let ClaimWire { v: Format, token } = wire::read(WHAT, value)?;
            StateRecord::Claim { token }
        }
        StateKey::Progress => {
            let wire = wire::read::<ProgressWire>(WHAT, value)?;
            StateRecord::Progress { parts: wire.parts, progress: progress(wire) }
        }
        StateKey::Unseen { part } => {
            let UnseenWire { v: Format, group, xids } = wire::read(WHAT, value)?;
            StateRecord::Unseen { part, group, xids: xids.into_iter().map(Xid::new).collect() }
        }
        StateKey::Route { source } => {
            let RouteWire { v: Format, fingerprint, complete, renewed, void, published } =
                wire::read(WHAT, value)?;
            StateRecord::Route(RouteState { source, fingerprint, complete, renewed, void, published })
        }
        StateKey::Unit { source, unit } => {
            let wire = wire::read::<UnitWire>(WHAT, value)?;
            StateRecord::Unit(UnitState { source, generation: wire.generation, unit: saved_unit(unit, wire) })
        }
        StateKey::Done { source, unit, from } => {
            let DoneWire { v: Format, generation, to, rows } = wire::read(WHAT, value)?;
            let range = BlockRange { from, to: to.into_inner() };
            StateRecord::Done(DoneRange { source, unit, generation, range, rows })
        }
        StateKey::Heal { source, key } => {
            let NoticeWire { v: Format } = wire::read(WHAT, value)?;
            StateRecord::Heal(Wanted { table: source, key })
        }
        StateKey::Departed(relation) => {
            let NoticeWire { v: Format } = wire::read(WHAT, value)?;
            StateRecord::Departed(relation)
        }
        StateKey::Schema { table } => {
            let SchemaWire { v: Format, version } = wire::read(WHAT, value)?;
            StateRecord::Schema { table, version }
        }
    })
}

fn owner_wire(owner: &Owner) -> OwnerWire {
    let Owner { migration, slot, database, system_id, token } = owner.clone();
    OwnerWire { v: Format, migration, slot, database, system_id, token }
}

fn progress_wire(progress: &Progress, parts: u32) -> ProgressWire {
    let Progress { lineage, checkpoint, unseen, group, requests } = progress;
    ProgressWire {
        v: Format,
        system_id: lineage.system_id,
        timeline: lineage.timeline,
        database: lineage.database.clone(),
        slot: lineage.slot.clone(),
        publication: lineage.publication.clone(),
        checkpoint: AsText(checkpoint.lsn()),
        unseen: unseen.as_ref().map(|xids| xids.iter().map(|xid| xid.raw()).collect()),
        parts,
        group: *group,
        requests: *requests,
    }
}

fn progress(wire: ProgressWire) -> Progress {
    Progress {
        lineage: Lineage {
            system_id: wire.system_id,
            timeline: wire.timeline,
            database: wire.database,
            slot: wire.slot,
            publication: wire.publication,
        },
        checkpoint: Checkpoint::at_commit_end(wire.checkpoint.into_inner()),
        unseen: wire.unseen.map(|xids| xids.into_iter().map(Xid::new).collect()),
        group: wire.group,
        requests: wire.requests,
    }
}

/// A unit whose route has no number yet, and nothing done.
fn saved_unit(oid: u32, wire: UnitWire) -> SavedUnit {
    let route = RouteId(0);
    SavedUnit {
        id: UnitId::new(oid, route),
        route,
        name: wire.name.into(),
        filenode: wire.filenode,
        fingerprint: wire.fingerprint,
        marks: wire.marks.map(Into::into),
        membership: wire.membership,
        blocks: wire.blocks,
        predicate: wire.predicate,
        done: Vec::new(),
        rows_done: 0,
    }
}
