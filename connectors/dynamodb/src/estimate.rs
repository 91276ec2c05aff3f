//! What a migration into a table takes: sizes of items, capacity, hours and money, from samples and counts.

use std::collections::HashMap;

use crate::layout::{Item, STORED_BYTES_EXTRA, item_size, value_size};

/// What one write unit writes.
const WRITE_UNIT_BYTES: usize = 1024;

/// What one unit of a consistent read reads.
const READ_UNIT_BYTES: usize = 4096;

/// What a new table on demand takes in a second; more comes with use.
const ON_DEMAND_PER_S: Rate = Rate { write: 4000.0, read: 12_000.0 };

const SECONDS_PER_HOUR: f64 = 3600.0;
const HOURS_PER_MONTH: f64 = 730.0;
const BYTES_PER_GB: f64 = 1_073_741_824.0;

/// List prices of a region in US dollars, of the standard table class.
#[derive(Debug, Clone, PartialEq)]
pub struct Prices {
    /// The region.
    pub region: &'static str,
    /// A million write units on demand.
    pub write_million: f64,
    /// A million read units on demand.
    pub read_million: f64,
    /// A provisioned write unit for an hour.
    pub write_hour: f64,
    /// A provisioned read unit for an hour.
    pub read_hour: f64,
    /// A gigabyte stored for a month.
    pub gb_month: f64,
}

/// When [`PRICES`] were taken from the list.
pub const PRICES_AS_OF: &str = "2024-11";

/// The prices that are known. Most other regions cost more.
pub const PRICES: [Prices; 3] = [same("us-east-1"), same("us-east-2"), same("us-west-2")];

/// The American regions of which the list says the same.
const fn same(region: &'static str) -> Prices {
    Prices {
        region,
        write_million: 0.625,
        read_million: 0.125,
        write_hour: 0.000_65,
        read_hour: 0.000_13,
        gb_month: 0.25,
    }
}

impl Prices {
    /// Those of a region, or where they are not known, those of us-east-1: `region` says whose they are.
    pub fn of(region: &str) -> &'static Prices {
        PRICES.iter().find(|prices| prices.region == region).unwrap_or(&PRICES[0])
    }
}

/// How a table is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Billing {
    /// By what is used.
    OnDemand,
    /// By what is reserved, for the table and for each of its indexes.
    Provisioned {
        /// Units read in a second.
        read: u32,
        /// Units written in a second.
        write: u32,
    },
}

/// A global secondary index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Its name.
    pub name: String,
    /// The attributes of its key.
    pub key: Vec<String>,
    /// What it holds of an item.
    pub project: Projection,
}

/// What an index holds of an item, besides the keys of table and index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Projection {
    /// Everything.
    All,
    /// Nothing.
    Keys,
    /// These attributes.
    Attributes(Vec<String>),
}

/// What is to be written into a table.
#[derive(Debug, Clone)]
pub struct TableLoad<'a> {
    /// The attributes of its key.
    pub key: Vec<String>,
    /// Its indexes.
    pub indexes: &'a [Index],
    /// How it is paid for.
    pub billing: Billing,
    /// Whether changes are written in transactions, at twice the units.
    pub in_transactions: bool,
    /// Read units that verification may take in a second; `None` for all that there are.
    pub scan_units_per_s: Option<f64>,
    /// The routes into it.
    pub routes: &'a [RouteLoad<'a>],
}

/// What is to be written of a route.
#[derive(Debug, Clone)]
pub struct RouteLoad<'a> {
    /// Items of some of its rows; of a part, items with that part alone.
    pub samples: &'a [Item],
    /// Rows on blue.
    pub rows: f64,
    /// Rows that blue inserts, updates or deletes in a second.
    pub changes_per_s: f64,
}

/// Bytes of items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sizes {
    /// Half of the items have no more.
    pub p50: usize,
    /// 95 of 100 items have no more.
    pub p95: usize,
    /// No item of the sample has more.
    pub max: usize,
}

/// What a route takes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RouteEstimate {
    /// Bytes of its items.
    pub sizes: Sizes,
    /// Write units of a row on the table.
    pub write_units_per_row: f64,
    /// Write units of a row on each index, in their order: less than one where it is sparse.
    pub index_units_per_row: Vec<f64>,
    /// Units of a consistent read of a row.
    pub read_units_per_row: f64,
    /// Bytes stored, without indexes.
    pub bytes: f64,
}

/// Work that is done once.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Work {
    /// Capacity units.
    pub units: f64,
    /// How long it takes at least at the table's capacity, or at that of its busiest index.
    pub hours: f64,
    /// What it costs in US dollars; with provisioned capacity, what is reserved costs meanwhile.
    pub cost: f64,
}

/// What a table takes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TableEstimate {
    /// Each route, in their order.
    pub routes: Vec<RouteEstimate>,
    /// The first copy.
    pub copy: Work,
    /// One full comparison of all routes: every row read by its key, and the table scanned once for each route.
    pub full_pass: Work,
    /// Write units in a second while changes are followed.
    pub stream_units_per_s: f64,
    /// What following changes costs in a month, in US dollars.
    pub stream_cost_month: f64,
    /// Bytes stored, with indexes.
    pub stored_bytes: f64,
    /// What they cost in a month, in US dollars.
    pub stored_cost_month: f64,
}

impl TableEstimate {
    /// The estimate at these prices.
    pub fn of(load: &TableLoad<'_>, prices: &Prices) -> TableEstimate {
        let routes = load.routes.iter().map(|route| RouteEstimate::of(load, route)).collect::<Vec<_>>();
        let pairs = || load.routes.iter().zip(&routes);
        let bytes = routes.iter().map(|route| route.bytes).sum::<f64>();
        let index_bytes =
            load.routes.iter().flat_map(|route| load.indexes.iter().map(|index| stored(load, index, route)));
        let stored_bytes = bytes + index_bytes.sum::<f64>();
        let transactions = if load.in_transactions { 2.0 } else { 1.0 };
        let per_change =
            |route: &RouteEstimate| route.write_units_per_row * transactions + route.index_units();
        let stream_units_per_s = pairs().map(|(load, route)| load.changes_per_s * per_change(route)).sum();
        let reads = pairs().map(|(load, route)| load.rows * route.read_units_per_row).sum::<f64>();
        let scans = routes.len() as f64 * bytes / READ_UNIT_BYTES as f64;
        TableEstimate {
            copy: copy(load, &routes, prices),
            full_pass: full_pass(load, reads + scans, prices),
            stream_units_per_s,
            stream_cost_month: stream_month(load, stream_units_per_s, prices),
            stored_bytes,
            stored_cost_month: stored_bytes / BYTES_PER_GB * prices.gb_month,
            routes,
        }
    }
}

impl RouteEstimate {
    fn of(load: &TableLoad<'_>, route: &RouteLoad<'_>) -> RouteEstimate {
        let mut sizes = route.samples.iter().map(item_size).collect::<Vec<_>>();
        sizes.sort_unstable();
        let write = |bytes: &usize| units(*bytes, WRITE_UNIT_BYTES);
        let read = |bytes: &usize| units(*bytes, READ_UNIT_BYTES);
        let in_index = |index: &Index| {
            let entries = route.samples.iter().map(|item| entry(load, index, item));
            mean(entries.map(|bytes| bytes.as_ref().map_or(0.0, write)))
        };
        RouteEstimate {
            write_units_per_row: mean(sizes.iter().map(write)),
            index_units_per_row: load.indexes.iter().map(in_index).collect(),
            read_units_per_row: mean(sizes.iter().map(read)),
            bytes: route.rows * mean(sizes.iter().map(|bytes| (bytes + STORED_BYTES_EXTRA) as f64)),
            sizes: Sizes {
                p50: rank(&sizes, 50),
                p95: rank(&sizes, 95),
                max: sizes.last().copied().unwrap_or_default(),
            },
        }
    }

    fn index_units(&self) -> f64 {
        self.index_units_per_row.iter().sum()
    }
}

/// Capacity in a second.
#[derive(Debug, Clone, Copy)]
struct Rate {
    write: f64,
    read: f64,
}

impl Billing {
    fn rate(self) -> Rate {
        match self {
            Billing::OnDemand => ON_DEMAND_PER_S,
            Billing::Provisioned { read, write } => Rate { write: f64::from(write), read: f64::from(read) },
        }
    }

    /// What is reserved costs by the hour, each index as much as the table.
    fn reserved_hour(self, indexes: usize, prices: &Prices) -> Option<f64> {
        match self {
            Billing::OnDemand => None,
            Billing::Provisioned { read, write } => {
                let one = f64::from(write) * prices.write_hour + f64::from(read) * prices.read_hour;
                Some(one * (1 + indexes) as f64)
            }
        }
    }
}

fn copy(load: &TableLoad<'_>, routes: &[RouteEstimate], prices: &Prices) -> Work {
    let pairs = || load.routes.iter().zip(routes);
    let table = pairs().map(|(load, route)| load.rows * route.write_units_per_row).sum::<f64>();
    let of_index =
        |at: usize| pairs().map(|(load, route)| load.rows * route.index_units_per_row[at]).sum::<f64>();
    let indexes = (0..load.indexes.len()).map(of_index).collect::<Vec<_>>();
    let busiest = indexes.iter().copied().fold(table, f64::max);
    let units = table + indexes.iter().sum::<f64>();
    let hours = busiest / load.billing.rate().write.max(1.0) / SECONDS_PER_HOUR;
    let reserved = load.billing.reserved_hour(load.indexes.len(), prices);
    let cost = reserved.map_or(units / 1e6 * prices.write_million, |hour| hour * hours);
    Work { units, hours, cost }
}

fn full_pass(load: &TableLoad<'_>, units: f64, prices: &Prices) -> Work {
    let rate = load.billing.rate().read;
    let rate = load.scan_units_per_s.map_or(rate, |most| most.min(rate));
    let hours = units / rate.max(1.0) / SECONDS_PER_HOUR;
    let reserved = load.billing.reserved_hour(load.indexes.len(), prices);
    let cost = reserved.map_or(units / 1e6 * prices.read_million, |hour| hour * hours);
    Work { units, hours, cost }
}

fn stream_month(load: &TableLoad<'_>, units_per_s: f64, prices: &Prices) -> f64 {
    let used = units_per_s * SECONDS_PER_HOUR * HOURS_PER_MONTH / 1e6 * prices.write_million;
    load.billing.reserved_hour(load.indexes.len(), prices).map_or(used, |hour| hour * HOURS_PER_MONTH)
}

/// Bytes of an item's entry in an index; `None` where it has none.
fn entry(load: &TableLoad<'_>, index: &Index, item: &Item) -> Option<usize> {
    if !index.key.iter().all(|name| item.contains_key(name)) {
        return None;
    }
    if index.project == Projection::All {
        return Some(item_size(item));
    }
    let more = match &index.project {
        Projection::Attributes(names) => names.as_slice(),
        Projection::All | Projection::Keys => &[],
    };
    let names = load.key.iter().chain(&index.key).chain(more);
    let held = names.filter_map(|name| item.get_key_value(name)).collect::<HashMap<_, _>>();
    Some(held.into_iter().map(|(name, value)| name.len() + value_size(value)).sum())
}

fn stored(load: &TableLoad<'_>, index: &Index, route: &RouteLoad<'_>) -> f64 {
    let entries = route.samples.iter().map(|item| entry(load, index, item));
    route.rows * mean(entries.map(|bytes| bytes.map_or(0.0, |bytes| (bytes + STORED_BYTES_EXTRA) as f64)))
}

fn units(bytes: usize, of: usize) -> f64 {
    bytes.div_ceil(of).max(1) as f64
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    if count == 0 { 0.0 } else { sum / f64::from(count) }
}

/// The smallest value that so many of a hundred do not exceed.
fn rank(sorted: &[usize], percent: usize) -> usize {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::AttributeValue;

    use super::*;

    /// An item of so many bytes, with or without the key of the index.
    fn item(bytes: usize, is_indexed: bool) -> Item {
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let mut item = Item::from([("pk".to_owned(), text("abcd"))]);
        if is_indexed {
            item.insert("gpk".to_owned(), text("e"));
        }
        let rest = bytes - item_size(&item) - 1;
        item.insert("x".to_owned(), text(&"x".repeat(rest)));
        item
    }

    fn index(project: Projection) -> Index {
        Index { name: "by_e".into(), key: vec!["gpk".into()], project }
    }

    fn estimate(billing: Billing, indexes: &[Index], routes: &[RouteLoad<'_>]) -> TableEstimate {
        let load = TableLoad {
            key: vec!["pk".into()],
            indexes,
            billing,
            in_transactions: false,
            scan_units_per_s: Some(100.0),
            routes,
        };
        TableEstimate::of(&load, Prices::of("us-east-1"))
    }

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() <= expected.abs() * 1e-9, "{found} instead of {expected}");
    }

    /// Units are whole for each item, and a sparse index is written for the items that it has.
    #[test]
    fn units_are_those_of_each_item() {
        let samples = [item(1024, true), item(1025, true), item(5000, false), item(100, true)];
        let routes = [RouteLoad { samples: &samples, rows: 1000.0, changes_per_s: 10.0 }];
        for (project, per_index) in [
            (Projection::All, 1.0),
            (Projection::Keys, 0.75),
            (Projection::Attributes(vec!["x".into()]), 1.0),
        ] {
            let found = estimate(Billing::OnDemand, &[index(project)], &routes);
            let route = &found.routes[0];
            assert_eq!(route.sizes, Sizes { p50: 1024, p95: 5000, max: 5000 });
            close(route.write_units_per_row, (1.0 + 2.0 + 5.0 + 1.0) / 4.0);
            close(route.read_units_per_row, (1.0 + 1.0 + 2.0 + 1.0) / 4.0);
            close(route.index_units_per_row[0], per_index);
            let units = 1000.0 * (2.25 + per_index);
            close(found.copy.units, units);
            close(found.copy.cost, units / 1e6 * 0.625);
            close(found.copy.hours, 2250.0 / 4000.0 / 3600.0);
            close(found.stream_units_per_s, units / 100.0);
            close(found.stream_cost_month, units / 100.0 * 3600.0 * 730.0 / 1e6 * 0.625);
            let bytes = 1000.0 * (1024.0 + 1025.0 + 5000.0 + 100.0 + 400.0) / 4.0;
            close(route.bytes, bytes);
            close(found.full_pass.units, 1250.0 + bytes / 4096.0);
            close(found.full_pass.hours, (1250.0 + bytes / 4096.0) / 100.0 / 3600.0);
            assert!(found.stored_bytes > bytes && found.stored_cost_month > 0.0);
        }
    }

    /// A table that is scanned for each of its routes costs that much to compare.
    #[test]
    fn a_shared_table_is_scanned_for_each_route() {
        let samples = [item(996, false)];
        let route = RouteLoad { samples: &samples, rows: 4096.0, changes_per_s: 0.0 };
        let one = estimate(Billing::OnDemand, &[], std::slice::from_ref(&route));
        let two = estimate(Billing::OnDemand, &[], &[route.clone(), route]);
        close(one.full_pass.units, 4096.0 + 1096.0);
        close(two.full_pass.units, 2.0 * 4096.0 + 2.0 * 2.0 * 1096.0);
    }

    /// What is reserved is paid whether it is used or not, and bounds how fast anything goes.
    #[test]
    fn reserved_capacity_costs_by_the_hour() {
        let samples = [item(500, true)];
        let routes = [RouteLoad { samples: &samples, rows: 3600.0, changes_per_s: 1.0 }];
        let billing = Billing::Provisioned { read: 10, write: 2 };
        let found = estimate(billing, &[index(Projection::All)], &routes);
        let hour = (2.0 * 0.000_65 + 10.0 * 0.000_13) * 2.0;
        close(found.copy.hours, 0.5);
        close(found.copy.cost, hour * 0.5);
        close(found.stream_cost_month, hour * 730.0);
    }

    /// Transactions write at twice the units, on the table alone.
    #[test]
    fn transactions_cost_twice() {
        let (samples, indexes) = ([item(500, true)], [index(Projection::All)]);
        let routes = [RouteLoad { samples: &samples, rows: 1.0, changes_per_s: 1.0 }];
        let load = TableLoad {
            key: vec!["pk".into()],
            indexes: &indexes,
            billing: Billing::OnDemand,
            in_transactions: true,
            scan_units_per_s: None,
            routes: &routes,
        };
        close(TableEstimate::of(&load, Prices::of("us-east-1")).stream_units_per_s, 3.0);
    }

    /// An empty table is no reason to fail, and prices that are not known are named as whose they are.
    #[test]
    fn nothing_costs_nothing() {
        let routes = [RouteLoad { samples: &[], rows: 0.0, changes_per_s: 0.0 }];
        let found = estimate(Billing::OnDemand, &[index(Projection::All)], &routes);
        assert_eq!(
            (found.copy, found.full_pass, found.stored_bytes),
            (Work::default(), Work::default(), 0.0)
        );
        assert_eq!(Prices::of("mars-north-1").region, "us-east-1");
        assert_eq!(Prices::of("us-west-2").region, "us-west-2");
    }
}
