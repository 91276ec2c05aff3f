//! What the sink knows of a route: where its rows lie, and how far its copy is.

use std::collections::BTreeMap;
use std::sync::Arc;

use understudy_contract::{Class, Failure, GreenTable};
use understudy_model::{BlockRange, Key, RouteId, Tuple, UnitId};

use crate::layout::ItemLayout;
use crate::state::{RouteForm, UnitForm};

/// A route of the migration, and how its rows lie in items. The columns of the table are those of the layout, in its order, and
/// its key is the columns of the item's key and of the part, ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DynamoTable {
    /// The route; the name of its table is that on DynamoDB, in no schema.
    pub green: GreenTable,
    /// How its rows lie in items.
    pub layout: ItemLayout,
}

/// Tells which rows of a route a leaf of blue's table holds.
pub trait Leaves: Send + Sync {
    /// Whether the leaf's condition, SQL over blue's columns, holds for a row, by the canonical texts of the route's columns.
    /// `None`: it cannot be told. The row is then read again from blue.
    fn holds(&self, route: RouteId, condition: &str, row: &[Option<String>]) -> Option<bool>;
}

/// The answer of who can evaluate no conditions.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLeaves;

impl Leaves for NoLeaves {
    fn holds(&self, _: RouteId, _: &str, _: &[Option<String>]) -> Option<bool> {
        None
    }
}

/// A unit that is planned.
#[derive(Debug, Clone)]
pub(super) struct Planned {
    pub(super) form: UnitForm,
    /// The ranges that are done.
    pub(super) done: Vec<BlockRange>,
    pub(super) rows_done: u64,
}

/// A route in this run.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) green: GreenTable,
    pub(super) layout: Arc<ItemLayout>,
    /// Its number in the state table.
    pub(super) number: u32,
    /// Whether it is known there.
    pub(super) registered: bool,
    pub(super) complete: bool,
    /// Whether the copy that is not complete writes over rows that were there before it.
    pub(super) renewed: bool,
    /// Whether its table had no item when its copy was planned.
    pub(super) alone: bool,
    /// The state of its source's place in the publication.
    pub(super) published: Option<String>,
    /// Whether this instance has written rows of it since its copy was last planned, so that nobody need look for some.
    pub(super) has_rows: bool,
    pub(super) units: BTreeMap<UnitId, Planned>,
}

impl Target {
    fn new(table: DynamoTable) -> Target {
        Target {
            number: u32::from(table.green.route.0),
            green: table.green,
            layout: Arc::new(table.layout),
            registered: false,
            complete: false,
            renewed: false,
            alone: false,
            published: None,
            has_rows: false,
            units: BTreeMap::new(),
        }
    }

    pub(super) fn route(&self) -> RouteId {
        self.green.route
    }

    /// Whether a first copy is under way: what is there beside its rows is none of the route's.
    pub(super) fn is_new(&self) -> bool {
        !self.renewed && !self.complete
    }

    /// Whether a copy goes over rows that were there before it.
    pub(super) fn is_renewed(&self) -> bool {
        self.renewed && !self.complete
    }

    /// The key of a row.
    pub(super) fn key_of(&self, row: &Tuple) -> Result<Key, Failure> {
        row.key(&self.green.key).ok_or_else(|| {
            Failure::new(Class::Internal, format!("a row for {} does not carry its key", self.green.name))
        })
    }

    pub(super) fn form(&self) -> RouteForm {
        RouteForm {
            number: self.number,
            source: self.green.source.clone(),
            target: self.green.name.clone(),
            fingerprint: self.green.fingerprint.clone(),
            complete: self.complete,
            renewed: self.renewed,
            alone: self.alone,
            published: self.published.clone(),
        }
    }
}

/// The targets in the order of their routes, which have to be told apart.
pub(super) fn targets(mut tables: Vec<DynamoTable>) -> Result<Vec<Target>, Failure> {
    tables.sort_by_key(|table| table.green.route);
    if tables.iter().enumerate().any(|(n, table)| table.green.route.index() != n) {
        return Err(Failure::new(Class::Internal, "routes are not numbered from zero without gaps"));
    }
    for table in &tables {
        let plan = table.layout.plan();
        let mut key = vec![plan.pk.column, plan.part_column];
        key.extend(plan.sk.as_ref().map(|sk| sk.column));
        key.sort_unstable();
        if table.green.key != key {
            let cause = format!("the key of {} is not that of its items", table.green.name);
            return Err(Failure::new(Class::Internal, cause));
        }
    }
    let layouts = tables.iter().map(|table| &table.layout).collect::<Vec<_>>();
    crate::layout::told_apart(&layouts).map_err(|clash| {
        let names = [clash.first, clash.second].map(|at| tables[at].green.source.to_string());
        let cause = format!("{}: the routes from {} and {}", clash.what, names[0], names[1]);
        Failure::new(Class::Configuration, cause).remedy(clash.remedy)
    })?;
    Ok(tables.into_iter().map(Target::new).collect())
}

/// A change is of a route that the migration does not have.
pub(super) fn unknown_route() -> Failure {
    Failure::new(Class::Internal, "a change belongs to a route that the sink does not know")
}
