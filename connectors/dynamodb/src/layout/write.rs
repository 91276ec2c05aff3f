//! What is written of a row: a whole item, an update of what was sent, a tombstone.

use std::collections::HashMap;
use std::fmt;

use aws_sdk_dynamodb::types::AttributeValue;
use sha2::{Digest, Sha256};
use understudy_model::{Key, Tuple};

use super::path::{DEAD_PARTS, DELETED, DIGEST, Node, TAG, VERSION};
use super::row::{Row, Sent};
use super::{Expect, Item, ItemKey, ItemLayout, NullForm, Version, is_own, own_name, size};
use crate::types::{NotFit, feed};

/// The longest text of an expression in bytes.
pub(super) const EXPRESSION_BYTES_MAX: usize = 4096;

/// A condition with what it names.
#[derive(Clone, PartialEq)]
pub struct Guard {
    /// Its text.
    pub condition: String,
    /// What its `#` names stand for.
    pub names: HashMap<String, String>,
    /// What its `:` names stand for.
    pub values: HashMap<String, AttributeValue>,
}

/// An update of one item. Its `Debug` never shows values.
#[derive(Clone, PartialEq)]
pub struct UpdateParts {
    /// The item.
    pub key: ItemKey,
    /// What is changed.
    pub expression: String,
    /// What must hold: that the write is later than what is there, and the item ours.
    pub condition: String,
    /// What the `#` names of both stand for.
    pub names: HashMap<String, String>,
    /// What the `:` names of both stand for.
    pub values: HashMap<String, AttributeValue>,
}

/// Which version a write finds, beyond that it is earlier than its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finds {
    /// This one or a later one.
    From(Version),
    /// This one.
    Exactly(Version),
}

impl UpdateParts {
    /// Adds to the condition which version is found.
    pub(crate) fn and_finds(&mut self, part: Option<&str>, finds: Finds) {
        let (is, version) = match finds {
            Finds::From(version) => (">=", version),
            Finds::Exactly(version) => ("=", version),
        };
        self.condition = format!("({}) AND #found {is} :found", self.condition);
        self.names.insert("#found".to_owned(), own_name(VERSION, part));
        self.values.insert(":found".to_owned(), version.to_av());
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("condition", &self.condition).finish_non_exhaustive()
    }
}

impl fmt::Debug for UpdateParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpdateParts")
            .field("key", &self.key)
            .field("expression", &self.expression)
            .field("condition", &self.condition)
            .finish_non_exhaustive()
    }
}

/// How a row is removed.
#[derive(Clone, PartialEq)]
pub enum Removal {
    /// By a tombstone in its place, under the condition of [`ItemLayout::guard`].
    Put(Item),
    /// By taking its part out of the item; [`super::bury`] says what follows.
    Update(Box<UpdateParts>),
}

impl ItemLayout {
    /// The item of a row with every value: of a part, the item with nothing but that part.
    pub fn item(&self, row: &Tuple, version: Version) -> Result<Item, NotFit> {
        self.item_of(self.read(row)?, version)
    }

    /// The same for a row that was read before.
    pub fn item_of(&self, mut row: Row, version: Version) -> Result<Item, NotFit> {
        if !row.is_whole() {
            return Err(NotFit::new("a value of it was not sent"));
        }
        let filled = self.filled(&mut row);
        let part = row.part.as_deref();
        let mut item = row.key.to_av();
        let of_part = part.map(|_| digest(&filled));
        match (self.at(), part) {
            (Some(at), Some(part)) => {
                let parts = HashMap::from([(part.to_owned(), AttributeValue::M(filled))]);
                item.insert(at.to_owned(), AttributeValue::M(parts));
            }
            _ => item.extend(filled),
        }
        let digest = of_part.unwrap_or_else(|| digest(&item));
        item.insert(own_name(VERSION, part), version.to_av());
        item.insert(own_name(DIGEST, part), bytes(&digest));
        item.insert(TAG.to_owned(), AttributeValue::S(self.plan.tag.clone()));
        size::check(size::item_size(&item))?;
        Ok(item)
    }

    /// The condition of a put of a whole item: there is none, or an earlier one of ours.
    pub fn guard(&self, version: Version) -> Guard {
        self.guard_if(version, &Expect::Any)
    }

    /// The condition of a put of a whole item that is expected to be so.
    pub fn guard_if(&self, version: Version, expect: &Expect) -> Guard {
        let mut request = Request::default();
        let at = request.name(VERSION);
        let condition = if let Expect::Unversioned(seen) = expect {
            unversioned(&mut request, &at, seen.as_ref())
        } else {
            let tag = request.name(TAG);
            let version = request.value(version.to_av());
            let ours = request.value(AttributeValue::S(self.plan.tag.clone()));
            let earlier = format!("{at} < {version} AND {tag} = {ours}");
            match expect {
                Expect::There => format!("{earlier} AND attribute_not_exists({})", request.name(DELETED)),
                Expect::Gone => {
                    let (pk, deleted) = (request.name(&self.plan.pk.name), request.name(DELETED));
                    format!("attribute_not_exists({pk}) OR (attribute_exists({deleted}) AND {earlier})")
                }
                Expect::Any | Expect::Unversioned(_) => {
                    format!("attribute_not_exists({}) OR ({earlier})", request.name(&self.plan.pk.name))
                }
            }
        };
        Guard { condition, names: request.placeholders(), values: request.values }
    }

    /// The update that writes what was sent of a row. A whole row of a part makes its item where there is none; everything
    /// else finds the row there and fails where it is not. What was not sent is left alone.
    pub fn update(&self, row: &Tuple, version: Version) -> Result<UpdateParts, NotFit> {
        self.update_if(self.read(row)?, version, &Expect::Any)
    }

    /// The same for a row that was read before, and is expected to be so. Where not all of it was sent, it must be there.
    pub fn update_if(&self, mut row: Row, version: Version, expect: &Expect) -> Result<UpdateParts, NotFit> {
        let is_full = row.is_whole();
        let expect = if is_full { expect } else { &Expect::There };
        let mut request = Request::default();
        let part = row.part.clone();
        let (at, condition) = self.open(&mut request, (part.as_deref(), version), expect);
        let digest_at = request.name(&own_name(DIGEST, part.as_deref()));
        match (is_full, &part) {
            (true, Some(part)) => {
                let filled = self.filled(&mut row);
                let digest = request.value(bytes(&digest(&filled)));
                request.set.push(format!("{digest_at} = {digest}"));
                self.write_part(&mut request, part, filled);
            }
            _ => {
                // A digest over what was not sent is not known.
                request.remove.push(digest_at);
                let sent = |(_, node): &(&String, &Node)| count(node, &row.sent).any_sent();
                // Only what is used may be named.
                let roots = self.shape.iter().filter(sent).collect::<Vec<_>>();
                let base = if roots.is_empty() { None } else { self.base(&mut request, part.as_deref()) };
                for (name, node) in roots {
                    let place = below(base.as_deref(), &request.name(name));
                    self.write_node(&mut request, (&place, node), &mut row.sent, false);
                }
            }
        }
        request.set.push(at);
        size::check(request.values.values().map(size::value_size).sum())?;
        let update = request.finish(row.key, condition);
        if update.expression.len() > EXPRESSION_BYTES_MAX {
            return Err(NotFit::new("too many attributes are changed at once: gather them in a map"));
        }
        Ok(update)
    }

    /// How a row is removed; a tombstone stays until a time in seconds since 1970.
    pub fn removal(&self, key: &Key, version: Version, until_s: u64) -> Result<Removal, NotFit> {
        self.removal_if(key, (version, until_s), &Expect::Any)
    }

    /// The same for a row that is expected to be so. Of a whole item the condition is that of [`ItemLayout::guard_if`].
    pub fn removal_if(
        &self,
        key: &Key,
        (version, until_s): (Version, u64),
        expect: &Expect,
    ) -> Result<Removal, NotFit> {
        let item_key = self.item_key(key)?;
        if self.plan.part.is_none() {
            let mut item = item_key.to_av();
            let until = AttributeValue::N(until_s.to_string());
            item.extend(self.ttl_of_tombstones().map(|ttl| (ttl.clone(), until.clone())));
            item.insert(DELETED.to_owned(), until);
            item.insert(VERSION.to_owned(), version.to_av());
            item.insert(TAG.to_owned(), AttributeValue::S(self.plan.tag.clone()));
            return Ok(Removal::Put(item));
        }
        let part = self.part_of(key)?;
        let mut request = Request::default();
        let (at, condition) = self.open(&mut request, (Some(&part), version), expect);
        request.set.push(at);
        let digest_at = request.name(&own_name(DIGEST, Some(&part)));
        request.remove.push(digest_at);
        if let Some(base) = self.base(&mut request, Some(&part)) {
            request.remove.push(base);
        } else {
            for name in self.shape.keys() {
                let name = request.name(name);
                request.remove.push(name);
            }
        }
        let (dead, parts) = (request.name(DEAD_PARTS), request.value(AttributeValue::Ss(vec![part])));
        request.add.push(format!("{dead} {parts}"));
        Ok(Removal::Update(Box::new(request.finish(item_key, condition))))
    }

    /// Makes the map below which parts lie, where an update fails because it is not there. `None` where parts have none.
    pub fn room(&self, key: &ItemKey) -> Option<UpdateParts> {
        let mut request = Request::default();
        let at = request.name(self.at()?);
        let empty = request.value(AttributeValue::M(HashMap::new()));
        let (tag, condition) = self.owned(&mut request);
        request.set.extend([format!("{at} = if_not_exists({at}, {empty})"), tag]);
        Some(request.finish(key.clone(), condition))
    }

    pub(super) fn at(&self) -> Option<&str> {
        self.plan.part.as_ref()?.at.as_deref()
    }

    /// The attributes that a row with every value fills: of the item, or of its part's map.
    fn filled(&self, row: &mut Row) -> Item {
        let mut item = Item::with_capacity(self.shape.len());
        for (name, node) in &self.shape {
            item.extend(self.build(node, &mut row.sent, false).map(|value| (name.clone(), value)));
        }
        item
    }

    /// Lists and maps are there even where all in them is null, so that a later update finds the place of every value.
    fn build(&self, node: &Node, sent: &mut [Sent], in_list: bool) -> Option<AttributeValue> {
        match node {
            Node::Leaf(leaf) => match std::mem::replace(&mut sent[*leaf], Sent::Null) {
                Sent::Value(value) => Some(value),
                Sent::Null | Sent::Unchanged => {
                    let is_kept = in_list || self.plan.columns[*leaf].null == NullForm::Null;
                    is_kept.then_some(AttributeValue::Null(true))
                }
            },
            Node::Map(fields) => {
                let field =
                    |(name, node): (&String, &Node)| Some((name.clone(), self.build(node, sent, false)?));
                Some(AttributeValue::M(fields.iter().filter_map(field).collect()))
            }
            Node::List(elements) => {
                let element = |node: &Node| self.build(node, sent, true);
                Some(AttributeValue::L(elements.iter().filter_map(element).collect()))
            }
        }
    }

    /// Writes what was sent of an attribute: as a whole where all of it was.
    fn write_node(
        &self,
        request: &mut Request,
        (place, node): (&str, &Node),
        sent: &mut [Sent],
        in_list: bool,
    ) {
        let counted = count(node, sent);
        if !counted.any_sent() {
            return;
        }
        if counted.unsent == 0 {
            match self.build(node, sent, in_list) {
                Some(value) => {
                    let value = request.value(value);
                    request.set.push(format!("{place} = {value}"));
                }
                None => request.remove.push(place.to_owned()),
            }
            return;
        }
        match node {
            Node::Leaf(_) => {}
            Node::Map(fields) => {
                for (name, field) in fields {
                    if count(field, sent).any_sent() {
                        let place = below(Some(place), &request.name(name));
                        self.write_node(request, (&place, field), sent, false);
                    }
                }
            }
            Node::List(elements) => {
                for (at, element) in elements.iter().enumerate() {
                    self.write_node(request, (&format!("{place}[{at}]"), element), sent, true);
                }
            }
        }
    }

    /// Writes a part that has every value, and makes the item alive again.
    fn write_part(&self, request: &mut Request, part: &str, mut filled: Item) {
        if let Some(base) = self.base(request, Some(part)) {
            let map = request.value(AttributeValue::M(filled));
            request.set.push(format!("{base} = {map}"));
        } else {
            for name in self.shape.keys() {
                let place = request.name(name);
                match filled.remove(name) {
                    Some(value) => {
                        let value = request.value(value);
                        request.set.push(format!("{place} = {value}"));
                    }
                    None => request.remove.push(place),
                }
            }
        }
        for name in [Some(&DELETED.to_owned()), self.ttl_of_tombstones()].into_iter().flatten() {
            let name = request.name(name);
            request.remove.push(name);
        }
        let (dead, parts) =
            (request.name(DEAD_PARTS), request.value(AttributeValue::Ss(vec![part.to_owned()])));
        request.delete.push(format!("{dead} {parts}"));
    }

    /// The map of a part, below which its attributes are.
    fn base(&self, request: &mut Request, part: Option<&str>) -> Option<String> {
        let (at, part) = (self.at()?, part?);
        Some(format!("{}.{}", request.name(at), request.name(part)))
    }

    /// The setting of the version, and the condition under which it may be set.
    fn open(
        &self,
        request: &mut Request,
        (part, version): (Option<&str>, Version),
        expect: &Expect,
    ) -> (String, String) {
        let (tag, owned) = self.owned(request);
        request.set.push(tag);
        let at = request.name(&own_name(VERSION, part));
        let version = request.value(version.to_av());
        let setting = format!("{at} = {version}");
        let gone = |request: &mut Request| match part {
            Some(part) => {
                let dead = request.name(DEAD_PARTS);
                let part = request.value(AttributeValue::S(part.to_owned()));
                format!("contains({dead}, {part})")
            }
            None => format!("attribute_exists({})", request.name(DELETED)),
        };
        let condition = match expect {
            Expect::Unversioned(seen) => {
                let seen = unversioned(request, &at, seen.as_ref());
                format!("{seen} AND ({owned})")
            }
            Expect::There => {
                let gone = gone(request);
                format!("{at} < {version} AND NOT {gone} AND ({owned})")
            }
            Expect::Gone => {
                let gone = gone(request);
                format!("(attribute_not_exists({at}) OR ({at} < {version} AND {gone})) AND ({owned})")
            }
            Expect::Any => format!("(attribute_not_exists({at}) OR {at} < {version}) AND ({owned})"),
        };
        (setting, condition)
    }

    /// The setting of the tag, and the condition that the item is ours or nobody's.
    fn owned(&self, request: &mut Request) -> (String, String) {
        let tag = request.name(TAG);
        let ours = request.value(AttributeValue::S(self.plan.tag.clone()));
        (format!("{tag} = {ours}"), format!("attribute_not_exists({tag}) OR {tag} = {ours}"))
    }
}

/// The condition that a version is the one that was seen, which is none of ours, or that there is none.
fn unversioned(request: &mut Request, at: &str, seen: Option<&AttributeValue>) -> String {
    match seen {
        Some(seen) => format!("{at} = {}", request.value(seen.clone())),
        None => format!("attribute_not_exists({at})"),
    }
}

/// How many values a node has, and how many of them were not sent.
struct Count {
    leaves: usize,
    unsent: usize,
}

impl Count {
    fn any_sent(&self) -> bool {
        self.unsent < self.leaves
    }
}

fn count(node: &Node, sent: &[Sent]) -> Count {
    let mut count = Count { leaves: 0, unsent: 0 };
    node.each_leaf(&mut |leaf| {
        count.leaves += 1;
        count.unsent += usize::from(matches!(sent[leaf], Sent::Unchanged));
    });
    count
}

fn below(base: Option<&str>, name: &str) -> String {
    base.map_or_else(|| name.to_owned(), |base| format!("{base}.{name}"))
}

/// Eight bytes that differ whenever attributes do.
pub(super) fn digest<'a>(attributes: impl IntoIterator<Item = (&'a String, &'a AttributeValue)>) -> [u8; 8] {
    let mut attributes = attributes.into_iter().filter(|(name, _)| !is_own(name)).collect::<Vec<_>>();
    attributes.sort_unstable_by_key(|(name, _)| *name);
    let mut digest = Sha256::new();
    for (name, value) in attributes {
        digest.update((name.len() as u64).to_be_bytes());
        digest.update(name.as_bytes());
        feed(value, &mut |bytes| digest.update(bytes));
    }
    let mut first = [0; 8];
    first.copy_from_slice(&digest.finalize()[..8]);
    first
}

/// The parts that an item ever had.
pub(super) fn version_parts(item: &Item) -> impl Iterator<Item = &str> {
    item.keys().filter_map(|name| name.strip_prefix(VERSION)?.strip_prefix('.'))
}

/// The parts of an item that are deleted.
pub(super) fn dead_parts(item: &Item) -> Vec<&str> {
    match item.get(DEAD_PARTS) {
        Some(AttributeValue::Ss(parts)) => parts.iter().map(String::as_str).collect(),
        _ => Vec::new(),
    }
}

fn bytes(bytes: &[u8]) -> AttributeValue {
    AttributeValue::B(aws_sdk_dynamodb::primitives::Blob::new(bytes))
}

/// A request in the making.
#[derive(Default)]
pub(super) struct Request {
    /// By what each stands for.
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
    set: Vec<String>,
    remove: Vec<String>,
    add: Vec<String>,
    delete: Vec<String>,
}

impl Request {
    /// Short, since expressions are.
    pub(super) fn name(&mut self, name: &str) -> String {
        let next = format!("#{}", self.names.len());
        self.names.entry(name.to_owned()).or_insert(next).clone()
    }

    /// Sets what a placeholder stands for to the value of another one.
    pub(super) fn set(&mut self, place: &str, value: &str) {
        self.set.push(format!("{place} = {value}"));
    }

    /// Takes out what a placeholder stands for.
    pub(super) fn remove(&mut self, place: &str) {
        self.remove.push(place.to_owned());
    }

    /// Takes elements out of a set.
    pub(super) fn delete_from(&mut self, set: &str, elements: AttributeValue) {
        let (set, elements) = (self.name(set), self.value(elements));
        self.delete.push(format!("{set} {elements}"));
    }

    pub(super) fn into_values(self) -> HashMap<String, AttributeValue> {
        self.values
    }

    pub(super) fn value(&mut self, value: AttributeValue) -> String {
        let name = format!(":{}", self.values.len());
        self.values.insert(name.clone(), value);
        name
    }

    pub(super) fn placeholders(&self) -> HashMap<String, String> {
        self.names.iter().map(|(name, placeholder)| (placeholder.clone(), name.clone())).collect()
    }

    pub(super) fn finish(self, key: ItemKey, condition: String) -> UpdateParts {
        let clauses =
            [("SET", &self.set), ("REMOVE", &self.remove), ("ADD", &self.add), ("DELETE", &self.delete)];
        let clauses = clauses.into_iter().filter(|(_, actions)| !actions.is_empty());
        let expression = clauses.map(|(verb, actions)| format!("{verb} {}", actions.join(", ")));
        let expression = expression.collect::<Vec<_>>().join(" ");
        UpdateParts { key, expression, condition, names: self.placeholders(), values: self.values }
    }
}
