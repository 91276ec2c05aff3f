//! What is remembered of a migration, as items of its state table and back.
//!
//! Each thing is an item of its own, so none grows with the migration: the owner with the checkpoint, a route, a unit, a range
//! that is done, a row to be read again, a surprise, a change that is set aside, a table that the migration has no more.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use sha2::{Digest, Sha256};
use understudy_contract::{ColumnMarks, Cursor, Lineage, Unit};
use understudy_model::{
    BlockRange, Checkpoint, Ctid, HealKey, Key, Lsn, Position, RelationId, TableName, Xid,
};

use crate::layout::Item;

/// The partition key: the migration's name.
pub(crate) const MIGRATION: &str = "migration";

/// The sort key: what an item tells of.
pub(crate) const OF: &str = "of";

/// What the owner's item tells of.
pub(crate) const OWNER: &str = "owner";

/// The most that the list of unseen transactions may take. A longer one is as good as none.
const UNSEEN_BYTES_MAX: usize = 256 * 1024;

/// A change of the state.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Note {
    /// An item is to be there, with these attributes.
    Put(Item),
    /// It is to be there no more.
    Remove,
}

/// Changes of the state that are still to be written, by what each tells of.
pub(crate) type Notes = BTreeMap<String, Note>;

/// A unit as it was planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnitForm {
    pub(crate) route: u32,
    pub(crate) oid: u32,
    pub(crate) name: TableName,
    pub(crate) filenode: u32,
    pub(crate) fingerprint: u64,
    pub(crate) marks: Option<ColumnMarks>,
    pub(crate) membership: u64,
    pub(crate) blocks: u32,
    pub(crate) predicate: Option<String>,
    /// Ranges count for the plan under which they were done.
    pub(crate) plan: u64,
}

/// A route as it was last run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RouteForm {
    pub(crate) number: u32,
    pub(crate) source: TableName,
    pub(crate) target: TableName,
    pub(crate) fingerprint: String,
    pub(crate) complete: bool,
    pub(crate) renewed: bool,
    pub(crate) alone: bool,
    pub(crate) published: Option<String>,
}

/// A part of a unit that is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DoneForm {
    pub(crate) route: u32,
    pub(crate) oid: u32,
    pub(crate) plan: u64,
    pub(crate) range: BlockRange,
    pub(crate) rows: u64,
}

/// One item of the state, read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Form {
    Route(RouteForm),
    Unit(UnitForm),
    Done(DoneForm),
    Heal {
        route: u32,
        key: HealKey,
    },
    Aside {
        route: u32,
        key: Key,
    },
    Surprise {
        route: u32,
    },
    Departed(RelationId),
    /// How far a sweep is.
    Sweep,
}

impl Form {
    /// The number of the route that it is of.
    pub(crate) fn route(&self) -> Option<u32> {
        Some(match self {
            Form::Route(route) => route.number,
            Form::Unit(unit) => unit.route,
            Form::Done(done) => done.route,
            Form::Heal { route, .. } | Form::Aside { route, .. } | Form::Surprise { route } => *route,
            Form::Departed(_) | Form::Sweep => return None,
        })
    }
}

/// What the owner's item holds besides the owner, once the migration has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) lineage: Lineage,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) unseen: Option<Vec<Xid>>,
    pub(crate) cursor: Option<Cursor>,
}

/// Builds an item.
#[derive(Default)]
pub(crate) struct Fields(pub(crate) Item);

impl Fields {
    pub(crate) fn text(mut self, name: &str, text: &str) -> Fields {
        self.0.insert(name.to_owned(), AttributeValue::S(text.to_owned()));
        self
    }

    pub(crate) fn number(mut self, name: &str, number: u64) -> Fields {
        self.0.insert(name.to_owned(), AttributeValue::N(number.to_string()));
        self
    }

    pub(crate) fn flag(mut self, name: &str, flag: bool) -> Fields {
        self.0.insert(name.to_owned(), AttributeValue::Bool(flag));
        self
    }

    pub(crate) fn maybe_text(self, name: &str, text: Option<&str>) -> Fields {
        match text {
            Some(text) => self.text(name, text),
            None => self,
        }
    }

    pub(crate) fn key(mut self, name: &str, key: &Key) -> Fields {
        let texts = key.texts().map(|text| AttributeValue::B(Blob::new(text))).collect();
        self.0.insert(name.to_owned(), AttributeValue::L(texts));
        self
    }

    pub(crate) fn table(self, name: &str, table: &TableName) -> Fields {
        self.text(&format!("{name}_schema"), &table.schema).text(&format!("{name}_name"), &table.name)
    }

    pub(crate) fn bytes(mut self, name: &str, bytes: &[u8]) -> Fields {
        self.0.insert(name.to_owned(), AttributeValue::B(Blob::new(bytes)));
        self
    }
}

/// Reads an item.
#[derive(Clone, Copy)]
pub(crate) struct Reading<'i>(pub(crate) &'i Item);

impl Reading<'_> {
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_s().ok().map(String::as_str)
    }

    pub(crate) fn number<N: std::str::FromStr>(&self, name: &str) -> Option<N> {
        self.0.get(name)?.as_n().ok()?.parse().ok()
    }

    pub(crate) fn flag(&self, name: &str) -> Option<bool> {
        self.0.get(name)?.as_bool().ok().copied()
    }

    pub(crate) fn key(&self, name: &str) -> Option<Key> {
        let texts = self.0.get(name)?.as_l().ok()?;
        let texts = texts.iter().map(|text| text.as_b().ok().map(AsRef::as_ref));
        Some(Key::from_texts(texts.collect::<Option<Vec<&[u8]>>>()?))
    }

    pub(crate) fn table(&self, name: &str) -> Option<TableName> {
        Some(TableName::new(self.text(&format!("{name}_schema"))?, self.text(&format!("{name}_name"))?))
    }

    /// What an item tells, as its sort key says. `None`: it is not readable.
    pub(crate) fn form(&self) -> Option<Form> {
        let of = self.text(OF)?;
        Some(match of.split_once('#')?.0 {
            "route" => Form::Route(self.route()?),
            "unit" => Form::Unit(self.unit()?),
            "done" => Form::Done(self.done()?),
            "heal" => {
                let key = HealKey { green: self.key("key")?, blue: self.key("blue")? };
                Form::Heal { route: self.number("route")?, key }
            }
            "aside" => Form::Aside { route: self.number("route")?, key: self.key("key")? },
            "surprise" => Form::Surprise { route: self.number("route")? },
            "sweep" => Form::Sweep,
            "departed" => Form::Departed(RelationId(self.number("oid")?)),
            _ => return None,
        })
    }

    fn route(&self) -> Option<RouteForm> {
        Some(RouteForm {
            number: self.number("route")?,
            source: self.table("source")?,
            target: self.table("target")?,
            fingerprint: self.text("fingerprint")?.to_owned(),
            complete: self.flag("complete")?,
            renewed: self.flag("renewed")?,
            alone: self.flag("alone").unwrap_or(false),
            published: self.text("published").map(str::to_owned),
        })
    }

    fn unit(&self) -> Option<UnitForm> {
        let marks = || {
            Some(ColumnMarks {
                places: self.number("places")?,
                written: self.number("written")?,
                keys: self.number("keys")?,
            })
        };
        Some(UnitForm {
            route: self.number("route")?,
            oid: self.number("oid")?,
            name: self.table("unit")?,
            filenode: self.number("filenode")?,
            fingerprint: self.number("fingerprint")?,
            marks: marks(),
            membership: self.number("membership")?,
            blocks: self.number("blocks")?,
            predicate: self.text("predicate").map(str::to_owned),
            plan: self.number("plan")?,
        })
    }

    fn done(&self) -> Option<DoneForm> {
        let row = |end: &str| self.text(end)?.parse::<Ctid>().ok();
        let range = BlockRange { from: row("from")?, to: row("to")? };
        Some(DoneForm {
            route: self.number("route")?,
            oid: self.number("oid")?,
            plan: self.number("plan")?,
            range,
            rows: self.number("rows")?,
        })
    }

    /// The progress in the owner's item; `None`: nothing has begun. An error: it is not readable.
    pub(crate) fn progress(&self) -> Result<Option<Progress>, &'static str> {
        if !self.0.contains_key("checkpoint") {
            return Ok(None);
        }
        let read = || {
            Some(Lineage {
                system_id: self.number("system_id")?,
                timeline: self.number("timeline")?,
                database: self.text("database")?.to_owned(),
                slot: self.text("slot")?.to_owned(),
                publication: self.text("publication").map(str::to_owned),
            })
        };
        let lineage = read().ok_or("the lineage")?;
        let checkpoint = self.number("checkpoint").ok_or("the checkpoint")?;
        let unseen = match self.text("unseen") {
            Some(text) => Some(xids(text).ok_or("the unseen transactions")?),
            None => None,
        };
        let cursor = self.0.get("cursor").and_then(|cursor| cursor.as_b().ok());
        Ok(Some(Progress {
            lineage,
            checkpoint: Checkpoint::at_commit_end(Lsn::new(checkpoint)),
            unseen,
            cursor: cursor.map(|cursor| Cursor(cursor.as_ref().to_vec().into())),
        }))
    }
}

impl RouteForm {
    pub(crate) fn note(&self) -> (String, Note) {
        let fields = Fields::default()
            .number("route", u64::from(self.number))
            .table("source", &self.source)
            .table("target", &self.target)
            .text("fingerprint", &self.fingerprint)
            .flag("complete", self.complete)
            .flag("renewed", self.renewed)
            .flag("alone", self.alone)
            .maybe_text("published", self.published.as_deref());
        (format!("route#{:05}", self.number), Note::Put(fields.0))
    }
}

impl UnitForm {
    pub(crate) fn new(unit: &Unit, route: u32, plan: u64) -> UnitForm {
        UnitForm {
            route,
            oid: unit.id.oid,
            name: unit.name.clone(),
            filenode: unit.filenode,
            fingerprint: unit.fingerprint,
            marks: unit.marks,
            membership: unit.membership,
            blocks: unit.blocks,
            predicate: unit.predicate.clone(),
            plan,
        }
    }

    pub(crate) fn of(route: u32, oid: u32) -> String {
        format!("unit#{route:05}#{oid:010}")
    }

    pub(crate) fn note(&self) -> (String, Note) {
        let mut fields = Fields::default()
            .number("route", u64::from(self.route))
            .number("oid", u64::from(self.oid))
            .table("unit", &self.name)
            .number("filenode", u64::from(self.filenode))
            .number("fingerprint", self.fingerprint)
            .number("membership", self.membership)
            .number("blocks", u64::from(self.blocks))
            .maybe_text("predicate", self.predicate.as_deref())
            .number("plan", self.plan);
        if let Some(marks) = self.marks {
            fields = fields
                .number("places", marks.places)
                .number("written", marks.written)
                .number("keys", marks.keys);
        }
        (UnitForm::of(self.route, self.oid), Note::Put(fields.0))
    }
}

impl DoneForm {
    pub(crate) fn note(&self) -> (String, Note) {
        (self.of(), Note::Put(self.fields().0))
    }

    /// What its item tells of.
    pub(crate) fn of(&self) -> String {
        let DoneForm { route, oid, plan, range, .. } = self;
        format!("done#{route:05}#{oid:010}#{plan:020}#{}", range.from)
    }

    fn fields(&self) -> Fields {
        Fields::default()
            .number("route", u64::from(self.route))
            .number("oid", u64::from(self.oid))
            .number("plan", self.plan)
            .text("from", &self.range.from.to_string())
            .text("to", &self.range.to.to_string())
            .number("rows", self.rows)
    }
}

/// Sixteen bytes that stand for keys, in hexadecimal digits.
fn hash<'k>(keys: impl IntoIterator<Item = &'k Key>) -> String {
    let mut digest = Sha256::new();
    for key in keys {
        for text in key.texts() {
            digest.update((text.len() as u64).to_be_bytes());
            digest.update(text);
        }
        digest.update([0xff]);
    }
    digest.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// What the item of a row that is to be read again tells of.
pub(crate) fn heal_of(route: u32, key: &HealKey) -> String {
    format!("heal#{route:05}#{}", hash([&key.green, &key.blue]))
}

/// A row that is to be read again.
pub(crate) fn heal(route: u32, key: &HealKey, at: Position) -> (String, Note) {
    let fields =
        Fields::default().number("route", u64::from(route)).key("key", &key.green).key("blue", &key.blue);
    (heal_of(route, key), Note::Put(placed(fields, at).0))
}

/// A row that was not as a completed copy promises.
pub(crate) fn surprise(route: u32, key: &Key, at: Position, kind: &str) -> (String, Note) {
    let fields = Fields::default().number("route", u64::from(route)).key("key", key).text("kind", kind);
    (format!("surprise#{route:05}#{}#{}", place(at), hash([key])), Note::Put(placed(fields, at).0))
}

/// A change that is set aside.
pub(crate) fn aside(route: u32, key: &Key, at: Position, why: &Why) -> (String, Note) {
    let fields = Fields::default()
        .number("route", u64::from(route))
        .key("key", key)
        .text("reason", &why.reason)
        .maybe_text("column", why.column.as_deref())
        .maybe_text("sqlstate", why.sqlstate.as_deref());
    (format!("aside#{route:05}#{}#{}", hash([key]), place(at)), Note::Put(placed(fields, at).0))
}

/// A table that the migration has no more.
pub(crate) fn departed(oid: u32) -> (String, Note) {
    (format!("departed#{oid:010}"), Note::Put(Fields::default().number("oid", u64::from(oid)).0))
}

/// Why a change is set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Why {
    pub(crate) column: Option<String>,
    pub(crate) sqlstate: Option<String>,
    pub(crate) reason: String,
}

fn placed(fields: Fields, at: Position) -> Fields {
    fields.number("commit", at.commit.raw()).number("ordinal", at.ordinal)
}

fn place(at: Position) -> String {
    format!("{:016X}#{:020}", at.commit.raw(), at.ordinal)
}

/// Ascending ids as `7,9-12`: nearly always few ranges, however many the ids. `None`: too many even so.
pub(crate) fn ranges(xids: &[Xid]) -> Option<String> {
    let mut parts: Vec<(u64, u64)> = Vec::new();
    for xid in xids.iter().map(|xid| xid.raw()) {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == xid => *last = xid,
            Some(_) | None => parts.push((xid, xid)),
        }
    }
    let part = |(first, last)| if first == last { format!("{first}") } else { format!("{first}-{last}") };
    let text = parts.into_iter().map(part).collect::<Vec<_>>().join(",");
    (text.len() <= UNSEEN_BYTES_MAX).then_some(text)
}

/// The ids of a text that [`ranges`] made.
fn xids(text: &str) -> Option<Vec<Xid>> {
    let mut xids = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        xids.extend((first.parse().ok()?..=last.parse().ok()?).map(Xid::new));
    }
    Some(xids)
}

#[cfg(test)]
mod tests;
