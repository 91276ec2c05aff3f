//! A run written down step by step, for a person who looks for the cause of a counter-example. Off unless asked for.

use std::fmt::Write as _;

use understudy_contract::{ChunkOutcome, LogEvent, LoggedKind, StreamEvent};
use understudy_model::{HealKey, Key, OldImage, RouteId, RowChange, SourceChange, Tuple, Value};
use understudy_replicate::Work;

/// Lines written so far, or nothing at all.
#[derive(Debug, Default)]
pub(super) struct Trace(Option<Vec<String>>);

impl Trace {
    pub(super) fn new(on: bool) -> Trace {
        Trace(on.then(Vec::new))
    }

    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.0 {
            lines.push(line());
        }
    }

    pub(super) fn into_lines(self) -> Vec<String> {
        self.0.unwrap_or_default()
    }
}

pub(super) fn event(event: &StreamEvent) -> String {
    match event {
        StreamEvent::Begin { commit, xid, .. } => format!("begin x{xid} at {commit}"),
        StreamEvent::Relation(relation) => format!("relation {} {}", relation.id.0, relation.name),
        StreamEvent::Change(change) => source_change(change),
        StreamEvent::Message { prefix, content, .. } => {
            format!("message {prefix} {}", String::from_utf8_lossy(content))
        }
        StreamEvent::Commit { end, .. } => format!("commit, end {end}"),
        StreamEvent::Keepalive { end } => format!("keepalive {end}"),
    }
}

pub(super) fn log_event(event: &LogEvent) -> String {
    match event {
        LogEvent::Begin { commit, xid, from_ordinal, .. } => {
            format!("begin x{xid} at {commit} from {from_ordinal}")
        }
        LogEvent::Table(relation) => format!("table {} {}", relation.id.0, relation.name),
        LogEvent::Change(change) => source_change(change),
        LogEvent::Commit { end, .. } => format!("commit, end {end}"),
        LogEvent::Rows(chunk) => {
            let rows = chunk.rows.iter().map(tuple).collect::<Vec<_>>().join(" ");
            let kind = match &chunk.kind {
                LoggedKind::Copy { unit, range } => format!("copy {} {}..{}", unit.0, range.from, range.to),
                LoggedKind::Heal { keys, gone } => {
                    let text = |keys: &[Key]| keys.iter().map(key).collect::<Vec<_>>().join(" ");
                    format!("heal {} gone {}", text(keys), text(gone))
                }
            };
            format!("rows of {} at {} {kind}: {rows}", chunk.table.0, chunk.at)
        }
        LogEvent::Whole { cursor } => format!("whole {}", String::from_utf8_lossy(&cursor.0)),
        other => format!("{other:?}"),
    }
}

fn source_change(change: &SourceChange) -> String {
    match change {
        SourceChange::Insert { relation, new } => format!("insert {} {}", relation.0, tuple(new)),
        SourceChange::Update { relation, old, new } => {
            let old = old.as_ref().map_or_else(String::new, |old| format!("{} -> ", image(old)));
            format!("update {} {old}{}", relation.0, tuple(new))
        }
        SourceChange::Delete { relation, old } => format!("delete {} {}", relation.0, image(old)),
        SourceChange::Truncate { relations } => format!("truncate {relations:?}"),
    }
}

pub(super) fn outcome(outcome: &ChunkOutcome) -> String {
    match outcome {
        ChunkOutcome::Read(read) => {
            let rows = read.rows.iter().map(tuple).collect::<Vec<_>>().join(" ");
            format!("file {} snapshot {:?} rows {rows}", read.filenode, read.snapshot)
        }
        other @ (ChunkOutcome::TooLarge | ChunkOutcome::Busy | ChunkOutcome::Gone) => format!("{other:?}"),
    }
}

pub(super) fn work(work: &Work) -> String {
    match work {
        Work::Batch(batch) => {
            let changes = batch.changes.iter().map(row_change).collect::<Vec<_>>().join("; ");
            format!("batch to {:?} unseen {:?}: {changes}", batch.checkpoint(), batch.unseen)
        }
        Work::Place(chunk) => {
            let rows = chunk.rows.iter().map(tuple).collect::<Vec<_>>().join(" ");
            let keys = |keys: &mut dyn Iterator<Item = &Key>| keys.map(key).collect::<Vec<_>>().join(" ");
            let left_out = keys(&mut chunk.left_out.iter());
            let refused = keys(&mut chunk.refused.iter().map(|(key, _)| key));
            format!(
                "place {:?} route {} at {:?} {}: {rows}, left out {left_out}, refused {refused}",
                chunk.id,
                chunk.route.0,
                chunk.at,
                kind(&chunk.kind)
            )
        }
        Work::Record(entry) => format!("record {entry:?}"),
    }
}

fn kind(kind: &understudy_contract::PlacedKind) -> String {
    match kind {
        understudy_contract::PlacedKind::Copy { unit, range } => {
            format!("copy {} {}..{}", unit.oid, range.from, range.to)
        }
        understudy_contract::PlacedKind::Heal { keys } => {
            format!("heal {}", keys.iter().map(heal_key).collect::<Vec<_>>().join(" "))
        }
    }
}

fn row_change(change: &RowChange) -> String {
    let route = |route: &RouteId| route.0;
    match change {
        RowChange::Insert { route: r, new } => format!("+{} {}", route(r), tuple(new)),
        RowChange::Update { route: r, old_key, new, before, .. } => {
            let from = old_key.as_ref().map_or_else(String::new, |old| format!("{} -> ", key(old)));
            format!("~{} {from}{} {before:?}", route(r), tuple(new))
        }
        RowChange::Delete { route: r, key: k, before } => format!("-{} {} {before:?}", route(r), key(k)),
        RowChange::Reread { route: r, key: k } => format!("?{} {}", route(r), heal_key(k)),
        RowChange::Refused { route: r, old_key, key: k, refusal } => {
            let from = old_key.as_ref().map_or_else(String::new, |old| format!("{} -> ", key(old)));
            format!("!{} {from}{} {}", route(r), key(k), refusal.sqlstate)
        }
        RowChange::Truncate { routes } => format!("truncate {routes:?}"),
        RowChange::TruncateLeaf { route: r, predicate } => format!("truncate {} {predicate}", route(r)),
    }
}

/// A key on green, and the one on blue where that is another.
pub(super) fn heal_key(heal: &HealKey) -> String {
    if heal.green == heal.blue {
        key(&heal.green)
    } else {
        format!("{}={}", key(&heal.green), key(&heal.blue))
    }
}

pub(super) fn key(key: &Key) -> String {
    tuple(&key.to_tuple())
}

fn image(old: &OldImage) -> String {
    match old {
        OldImage::Identity(old) => format!("id{}", tuple(old)),
        OldImage::Full(old) => format!("full{}", tuple(old)),
    }
}

pub(super) fn tuple(tuple: &Tuple) -> String {
    let mut out = String::from("(");
    for value in tuple.values() {
        let _ = match value {
            Value::Null => write!(out, "- "),
            Value::Unchanged => write!(out, "* "),
            Value::Text(text) => write!(out, "{} ", String::from_utf8_lossy(&text).trim_end_matches('x')),
        };
    }
    out.truncate(out.trim_end().len());
    out + ")"
}
