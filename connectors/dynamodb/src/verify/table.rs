//! Going through a table in the order that it has: that of a hash of the partition key, which nobody but DynamoDB computes.
//!
//! A range begins behind an item and ends with one, and either may be gone by now. A page can begin behind an item that is not
//! there. Where a range ends is seen by meeting its last item or, where that is gone, one of those that were first behind it.
//! Should these be gone as well, the range is read to the end of the table: that shows more rows than its own, each of which is
//! compared for itself.

use std::collections::HashSet;
use std::time::Instant;

use understudy_model::Key;

use super::route::Route;
use crate::calls::Calls;
use crate::error::Error;
use crate::layout::{Item, ItemKey};

/// How many items behind the end of a range are looked at, so that one of them is still there when it is met.
const BEHIND: i32 = 25;

/// Where a walk ends.
#[derive(Debug, Default)]
pub(super) struct End {
    last: Option<ItemKey>,
    behind: HashSet<ItemKey>,
}

/// What a walk comes to with an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It belongs to the range.
    Within,
    /// It is the last one that does.
    Last,
    /// It does not any more.
    Beyond,
}

impl End {
    /// The end of a range.
    pub(super) async fn of(calls: &Calls, route: &Route, upto: Option<&Key>) -> Result<End, Error> {
        let Some(upto) = upto else { return Ok(End::default()) };
        let last = route.layout.item_key(upto)?;
        let (items, _) = calls.page(last.table(), Some(last.to_av()), Some(BEHIND)).await?;
        let behind = items.iter().filter_map(|item| route.layout.key_of_item(item)).collect();
        Ok(End { last: Some(last), behind })
    }

    fn place(&self, key: Option<&ItemKey>) -> Place {
        let Some(key) = key else { return Place::Within };
        if Some(key) == self.last.as_ref() {
            Place::Last
        } else if self.behind.contains(key) {
            Place::Beyond
        } else {
            Place::Within
        }
    }
}

/// A walk through a range of a table.
pub(super) struct Walk<'w> {
    calls: &'w Calls,
    route: &'w Route,
    end: End,
    from: Option<Item>,
    is_over: bool,
    deadline: Instant,
}

/// What one step of a walk brings.
pub(super) enum Page {
    /// Items of the range.
    Items(Vec<Item>),
    /// There are no more.
    Over,
    /// It has taken too long.
    TooSlow,
}

impl<'w> Walk<'w> {
    /// A walk behind an item; `end` says how far.
    pub(super) fn new(
        calls: &'w Calls,
        route: &'w Route,
        (after, end): (Option<&Key>, End),
        deadline: Instant,
    ) -> Result<Walk<'w>, Error> {
        let after = after.map(|after| route.layout.item_key(after)).transpose()?;
        let from = after.map(|after| after.to_av());
        Ok(Walk { calls, route, end, from, is_over: false, deadline })
    }

    /// The next items.
    pub(super) async fn next(&mut self) -> Result<Page, Error> {
        if self.is_over {
            return Ok(Page::Over);
        }
        if Instant::now() > self.deadline {
            return Ok(Page::TooSlow);
        }
        let table = &self.route.layout.plan().table;
        let (mut items, next) = self.calls.page(table, self.from.take(), None).await?;
        let place = |item: &Item| self.end.place(self.route.layout.key_of_item(item).as_ref());
        let stop = items.iter().map(place).position(|place| place != Place::Within);
        if let Some(at) = stop {
            let keep = at + usize::from(place(&items[at]) == Place::Last);
            items.truncate(keep);
        }
        self.is_over = stop.is_some() || next.is_none();
        self.from = next;
        Ok(Page::Items(items))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A range that did not end where its last item is gone would hold the rest of the table.
    #[test]
    fn a_range_ends_with_its_last_item_or_before_those_behind_it() {
        let key = |id: &str| ItemKey::of_texts("t", ("pk", id), ("sk", "x"));
        let end = End { last: Some(key("b")), behind: HashSet::from([key("c"), key("d")]) };
        for (id, place) in
            [("a", Place::Within), ("b", Place::Last), ("c", Place::Beyond), ("d", Place::Beyond)]
        {
            assert_eq!(end.place(Some(&key(id))), place, "{id}");
        }
        assert_eq!(End::default().place(Some(&key("b"))), Place::Within);
    }
}
