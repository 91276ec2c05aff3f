//! What becomes of items without rows, and what is taken out of items when a migration ends: tombstones, what is ours beside rows,
//! or rows with all of it.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;
use understudy_model::Checkpoint;

use super::path::{DEAD_PARTS, DELETED, TAG, VERSION};
use super::write::{EXPRESSION_BYTES_MAX, Request, dead_parts, version_parts};
use super::{Guard, Item, ItemLayout, UpdateParts, Version, is_own, own_name};

/// How many attributes or parts one request names, so that its expressions stay below the longest that DynamoDB takes.
const NAMES_MAX: usize = 80;

/// The routes that share items of a table, by their tag.
pub(crate) struct Family<'l> {
    layouts: Vec<&'l ItemLayout>,
}

/// Which tombstones may go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound {
    /// Those of what is committed here and before it.
    pub(crate) checkpoint: Checkpoint,
    /// Those that say they stay until this time at most, in seconds since 1970. `None`: any.
    pub(crate) until_s: Option<u64>,
}

/// What is to be done to an item.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Remains {
    /// Nothing: it is none of ours, or has nothing that goes.
    Nothing,
    /// Nothing yet, although it has something that once goes.
    Stays,
    /// The item goes, as long as it is as it was seen.
    Item(Guard),
    /// Some of its attributes go. There may be more afterwards.
    Attributes(UpdateParts),
}

/// What becomes of the tag of an item that loses attributes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tag {
    Stays,
    /// With the last of them.
    GoesLast,
}

/// What makes a tombstone of an item of which no part is left, as long as nothing writes one meanwhile, whichever of the routes
/// into its table that is. `None` where a part or something of others is left, or it is a tombstone already.
pub fn bury<'l>(
    routes: impl IntoIterator<Item = &'l ItemLayout>,
    item: &Item,
    until_s: u64,
) -> Option<UpdateParts> {
    let families = Family::of_table(routes);
    families.iter().find(|family| family.has(item))?.burial(item, until_s)
}

impl<'l> Family<'l> {
    /// The families of a table's routes.
    pub(crate) fn of_table<'a>(layouts: impl IntoIterator<Item = &'a ItemLayout>) -> Vec<Family<'a>> {
        let mut families = Vec::<Family<'a>>::new();
        for layout in layouts {
            match families.iter_mut().find(|family| family.tag() == layout.plan.tag) {
                Some(family) => family.layouts.push(layout),
                None => families.push(Family { layouts: vec![layout] }),
            }
        }
        families
    }

    fn tag(&self) -> &str {
        self.layouts.first().map_or("", |layout| &layout.plan.tag)
    }

    /// Whether an item is tagged as theirs.
    pub(crate) fn has(&self, item: &Item) -> bool {
        item.get(TAG).is_some_and(|tag| tag.as_s().is_ok_and(|tag| tag == self.tag()))
    }

    /// What a sweep does to an item of theirs: a tombstone goes, and so does what tells of deleted parts of a living item.
    pub(crate) fn swept(&self, item: &Item, bound: &Bound) -> Remains {
        let is_dead = item.contains_key(DELETED) || self.is_unburied(item);
        match (is_dead, self.is_bare(item)) {
            (true, true) if self.is_due(item, bound) => Remains::Item(self.as_seen(item)),
            (true, true) => Remains::Stays,
            // Somebody has written into a tombstone: it is a row of theirs now, which must not end with the tombstone's time.
            (true, false) => self.revived(item),
            (false, _) => self.dead_parts(item, bound),
        }
    }

    /// Takes out what says that an item is a tombstone.
    fn revived(&self, item: &Item) -> Remains {
        let marks = item.contains_key(DELETED).then_some(DELETED);
        let names = marks.into_iter().chain(self.expires_as_tombstone(item).map(String::as_str));
        let names = names.collect::<Vec<_>>();
        if names.is_empty() { Remains::Nothing } else { self.without(item, &names, Tag::Stays) }
    }

    /// What a sweep does to an item of theirs where nothing of ours is to be left beside rows.
    pub(crate) fn stripped(&self, item: &Item, bound: &Bound) -> Remains {
        if (item.contains_key(DELETED) || self.is_unburied(item)) && self.is_bare(item) {
            return self.swept(item, bound);
        }
        let own = item.keys().filter(|name| is_own(name) && *name != TAG).collect::<BTreeSet<_>>();
        let expires = self.expires_as_tombstone(item);
        let names = own.into_iter().chain(expires).map(String::as_str).collect::<Vec<_>>();
        self.without(item, &names, Tag::GoesLast)
    }

    /// What takes the rows out of an item, with all that is ours. `None`: it has rows that others have changed, as
    /// far as a digest tells, which a row that was last written in part has not.
    pub(crate) fn without_rows(&self, item: &Item) -> Option<Remains> {
        let rows = self.layouts.iter().flat_map(|layout| layout.rows(item));
        if rows.into_iter().any(|row| row.is_foreign == Some(true) && !row.is_tombstone) {
            return None;
        }
        if self.is_all_ours(item) {
            return Some(Remains::Item(self.as_seen(item)));
        }
        let roots = self.roots();
        let is_ours = |name: &&String| {
            **name != TAG && (is_own(name) || roots.contains(name.as_str()) && !self.is_key(name))
        };
        let ours = item.keys().filter(is_ours).collect::<BTreeSet<_>>();
        let names = ours.into_iter().chain(self.expires_as_tombstone(item)).map(String::as_str);
        Some(self.without(item, &names.collect::<Vec<_>>(), Tag::GoesLast))
    }

    /// That the parts that were seen are as they were does not do: one that was never there may be written beside the last removal.
    fn burial(&self, item: &Item, until_s: u64) -> Option<UpdateParts> {
        let is_due = self.is_unburied(item) && !item.contains_key(DELETED) && self.is_bare(item);
        let layout = self.layouts.first().filter(|_| is_due)?;
        let key = layout.key_of_item(item)?;
        let mut request = Request::default();
        let condition = self.seen_in(&mut request, item);
        let until = request.value(AttributeValue::N(until_s.to_string()));
        let ttl = self.layouts.iter().find_map(|layout| layout.ttl_of_tombstones());
        for name in [Some(DELETED), ttl.map(String::as_str)].into_iter().flatten() {
            let at = request.name(name);
            request.set(&at, &until);
        }
        for map in self.maps().into_iter().filter(|map| item.contains_key(*map)) {
            let at = request.name(map);
            request.remove(&at);
        }
        let burial = request.finish(key, condition);
        let is_short = burial.condition.len().max(burial.expression.len()) <= EXPRESSION_BYTES_MAX;
        Some(burial).filter(|_| is_short)
    }

    /// Whether all parts that it ever had are deleted, and yet it is not marked as a tombstone.
    fn is_unburied(&self, item: &Item) -> bool {
        let dead = dead_parts(item);
        let mut parts = version_parts(item).peekable();
        parts.peek().is_some() && parts.all(|part| dead.contains(&part))
    }

    /// Whether an item has nothing but what a tombstone has.
    fn is_bare(&self, item: &Item) -> bool {
        let maps = self.maps();
        let is_empty = |value: &AttributeValue| value.as_m().is_ok_and(|map| map.is_empty());
        let expires = self.expires_as_tombstone(item);
        item.iter().all(|(name, value)| {
            is_own(name)
                || self.is_key(name)
                || Some(name) == expires
                || maps.contains(name.as_str()) && is_empty(value)
        })
    }

    /// Whether an item has nothing but what these routes write.
    fn is_all_ours(&self, item: &Item) -> bool {
        let (roots, expires) = (self.roots(), self.expires_as_tombstone(item));
        let ours = |name: &String| {
            is_own(name) || self.is_key(name) || roots.contains(name.as_str()) || Some(name) == expires
        };
        item.keys().all(ours)
    }

    fn is_key(&self, name: &str) -> bool {
        self.layouts.first().is_some_and(|layout| {
            let plan = &layout.plan;
            *plan.pk.name == *name || plan.sk.as_ref().is_some_and(|sk| *sk.name == *name)
        })
    }

    /// The attribute of the TTL where it says when a tombstone may go.
    fn expires_as_tombstone<'i>(&self, item: &'i Item) -> Option<&'i String> {
        let ttl = self.layouts.iter().find_map(|layout| layout.ttl_of_tombstones())?;
        let (name, value) = item.get_key_value(ttl)?;
        (item.get(DELETED) == Some(value)).then_some(name)
    }

    /// The attributes that rows fill.
    fn roots(&self) -> BTreeSet<&str> {
        let of = |layout: &&'l ItemLayout| -> Vec<&'l str> {
            match layout.plan.part.as_ref().and_then(|part| part.at.as_deref()) {
                Some(at) => vec![at],
                None => layout.shape.keys().map(String::as_str).collect(),
            }
        };
        self.layouts.iter().flat_map(of).collect()
    }

    /// The maps below which parts lie.
    fn maps(&self) -> BTreeSet<&str> {
        self.layouts.iter().filter_map(|layout| layout.at()).collect()
    }

    fn is_due(&self, item: &Item, bound: &Bound) -> bool {
        let until = item.get(DELETED).and_then(|until| until.as_n().ok()?.parse::<u64>().ok());
        let is_old = bound.until_s.is_none_or(|most| until.is_some_and(|until| until <= most));
        let mut versions = versions(item).peekable();
        is_old && versions.peek().is_some() && versions.all(|(_, value)| bound.settles(value))
    }

    fn as_seen(&self, item: &Item) -> Guard {
        let mut request = Request::default();
        let condition = self.seen_in(&mut request, item);
        Guard { condition, names: request.placeholders(), values: request.into_values() }
    }

    /// The condition that an item is still as it was seen, as far as one tells, and has no attribute that rows fill beside those
    /// that it had.
    fn seen_in(&self, request: &mut Request, item: &Item) -> String {
        let tag = request.name(TAG);
        let mut conditions =
            vec![format!("{tag} = {}", request.value(AttributeValue::S(self.tag().to_owned())))];
        for name in [DELETED, DEAD_PARTS] {
            let at = request.name(name);
            conditions.push(match item.get(name) {
                Some(value) => format!("{at} = {}", request.value(value.clone())),
                None => format!("attribute_not_exists({at})"),
            });
        }
        for (name, value) in versions(item).take(NAMES_MAX) {
            let at = request.name(name);
            conditions.push(format!("{at} = {}", request.value(value.clone())));
        }
        for map in self.maps() {
            let at = request.name(map);
            let size = item.get(map).and_then(|map| map.as_m().ok()).map(std::collections::HashMap::len);
            conditions.push(match size {
                Some(size) => {
                    format!("size({at}) = {}", request.value(AttributeValue::N(size.to_string())))
                }
                None => format!("attribute_not_exists({at})"),
            });
        }
        // Of parts that were never there the version is what comes with them in any case.
        let unseen = self.unseen_versions(item);
        let unseen = unseen.iter().map(String::as_str);
        let lacks = self.roots().into_iter().filter(|name| !item.contains_key(*name));
        let lacks = unseen.chain(lacks).take(NAMES_MAX).collect::<Vec<_>>();
        for name in lacks {
            let at = request.name(name);
            conditions.push(format!("attribute_not_exists({at})"));
        }
        conditions.join(" AND ")
    }

    fn unseen_versions(&self, item: &Item) -> Vec<String> {
        let parts = self.layouts.iter().filter_map(|layout| layout.plan.part.as_ref());
        let names =
            parts.filter(|part| part.name.is_all).map(|part| own_name(VERSION, Some(&part.name.text)));
        names.filter(|name| !item.contains_key(name)).collect()
    }

    /// Takes the versions of deleted parts out of a living item, where those cannot come late any more.
    fn dead_parts(&self, item: &Item, bound: &Bound) -> Remains {
        let mut dead = dead_parts(item);
        dead.sort_unstable();
        if dead.is_empty() {
            return Remains::Nothing;
        }
        // Of a part nothing tells when it was deleted.
        let settled = |part: &&&str| {
            let version = item.get(&own_name(VERSION, Some(part)));
            bound.until_s.is_none() && version.is_none_or(|version| bound.settles(version))
        };
        let due = dead.iter().filter(settled).copied().take(NAMES_MAX).collect::<Vec<_>>();
        let (Some(key), false) =
            (self.layouts.first().and_then(|layout| layout.key_of_item(item)), due.is_empty())
        else {
            return Remains::Stays;
        };
        let mut request = Request::default();
        let tag = request.name(TAG);
        let mut conditions =
            vec![format!("{tag} = {}", request.value(AttributeValue::S(self.tag().to_owned())))];
        for part in &due {
            let name = own_name(VERSION, Some(part));
            let at = request.name(&name);
            conditions.push(match item.get(&name) {
                Some(value) => format!("{at} = {}", request.value(value.clone())),
                None => format!("attribute_not_exists({at})"),
            });
            request.remove(&at);
        }
        let gone = due.iter().map(|part| (*part).to_owned()).collect();
        request.delete_from(DEAD_PARTS, AttributeValue::Ss(gone));
        Remains::Attributes(request.finish(key, conditions.join(" AND ")))
    }

    /// Takes attributes out of an item.
    fn without(&self, item: &Item, names: &[&str], what_of: Tag) -> Remains {
        let Some(key) = self.layouts.first().and_then(|layout| layout.key_of_item(item)) else {
            return Remains::Nothing;
        };
        let mut request = Request::default();
        let tag = request.name(TAG);
        let ours = request.value(AttributeValue::S(self.tag().to_owned()));
        let deleted = request.name(DELETED);
        let dead = match item.get(DELETED) {
            Some(value) => format!("{deleted} = {}", request.value(value.clone())),
            None => format!("attribute_not_exists({deleted})"),
        };
        for name in names.iter().take(NAMES_MAX) {
            let at = request.name(name);
            request.remove(&at);
        }
        if what_of == Tag::GoesLast && names.len() <= NAMES_MAX {
            request.remove(&tag);
        }
        Remains::Attributes(request.finish(key, format!("{tag} = {ours} AND {dead}")))
    }
}

impl Bound {
    /// Whether what was written under this version is not written again.
    fn settles(&self, version: &AttributeValue) -> bool {
        Version::from_av(version).is_some_and(|version| {
            let end = self.checkpoint.lsn();
            version.lsn < end || version.is_of_chunk() && version.lsn == end
        })
    }
}

/// The versions of an item and of its parts, by their attributes.
fn versions(item: &Item) -> impl Iterator<Item = (&str, &AttributeValue)> {
    let is_version =
        |name: &str| name.strip_prefix(VERSION).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let mut found = item.iter().filter(|(name, _)| is_version(name)).collect::<Vec<_>>();
    found.sort_unstable_by_key(|(name, _)| *name);
    found.into_iter().map(|(name, value)| (name.as_str(), value))
}

#[cfg(test)]
mod tests;
