//! The tables of both sides, paired as the routes pair them.

use understudy_contract::{Class, Failure};
use understudy_model::TableName;

use super::{Look, ReadinessPlan, ReadyRoute};
use crate::preflight::side::Side;
use crate::preflight::{ColumnDescription, TableDescription};
use crate::wire::Client;

/// Both databases.
pub(super) struct Scene {
    pub(super) blue: Side,
    pub(super) green: Side,
}

/// One route with its tables.
pub(super) struct Pair<'a> {
    pub(super) route: &'a ReadyRoute,
    pub(super) blue: &'a TableDescription,
    pub(super) green: &'a TableDescription,
    /// The table on blue and its partitions at any depth.
    pub(super) on_blue: Vec<&'a TableDescription>,
    /// The table on green and its partitions at any depth.
    pub(super) on_green: Vec<&'a TableDescription>,
}

impl Scene {
    pub(super) async fn read(blue: &mut Client, green: &mut Client) -> Result<Scene, Failure> {
        let blue =
            Side::read("blue", blue).await.map_err(|failure| failure.while_doing("look at blue's tables"))?;
        let green = Side::read("green", green)
            .await
            .map_err(|failure| failure.while_doing("look at green's tables"))?;
        Ok(Scene { blue, green })
    }

    /// Every route with its tables. Fails when one has none: then nothing can be said of it.
    pub(super) fn pairs<'a>(&'a self, plan: &'a ReadinessPlan) -> Result<Vec<Pair<'a>>, Failure> {
        let table = |side: &'a Side, name: &TableName| {
            side.table(name).ok_or_else(|| {
                Failure::new(Class::Configuration, format!("table {name} is not on {}", side.label))
            })
        };
        let pair = |route: &'a ReadyRoute| {
            let (blue, green) = (table(&self.blue, &route.source)?, table(&self.green, &route.target)?);
            let (on_blue, on_green) = (family(&self.blue.tables, blue), family(&self.green.tables, green));
            Ok(Pair { route, blue, green, on_blue, on_green })
        };
        plan.routes.iter().map(pair).collect()
    }
}

impl<'a> Look<'a> {
    /// Every route with its tables.
    pub(super) fn pairs(&self) -> Result<Vec<Pair<'a>>, Failure> {
        let scene =
            self.scene.ok_or_else(|| Failure::new(Class::Internal, "the tables could not be read"))?;
        scene.pairs(self.plan)
    }
}

impl Pair<'_> {
    /// The column of green that a column of blue is passed on to.
    pub(super) fn passed(&self, column: &str) -> Option<&str> {
        self.route.columns.iter().find(|(blue, _)| blue == column).map(|(_, green)| green.as_str())
    }

    /// The same for all of them, in order; `None` unless each is passed on.
    pub(super) fn all_passed(&self, columns: &[String]) -> Option<Vec<String>> {
        columns.iter().map(|column| self.passed(column).map(str::to_owned)).collect()
    }

    /// Whether expressions over these columns read alike on both sides: same names, same types.
    pub(super) fn reads_alike(&self, columns: &[String]) -> bool {
        columns.iter().all(|column| {
            self.passed(column) == Some(column.as_str())
                && type_of(self.blue, column).is_some()
                && type_of(self.blue, column) == type_of(self.green, column)
        })
    }

    /// Columns that are passed on, as both sides describe them.
    pub(super) fn columns(&self) -> impl Iterator<Item = (&ColumnDescription, &ColumnDescription)> {
        let both =
            |(blue, green): &(String, String)| Some((self.blue.column(blue)?, self.green.column(green)?));
        self.route.columns.iter().filter_map(both)
    }
}

fn type_of<'a>(table: &'a TableDescription, column: &str) -> Option<&'a str> {
    table.column(column).map(|column| column.type_name.as_str())
}

/// A table and its partitions at any depth, the table first.
pub(super) fn family<'a>(
    tables: &'a [TableDescription],
    root: &'a TableDescription,
) -> Vec<&'a TableDescription> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(above) = found.get(next).map(|table| &table.name) {
        found.extend(tables.iter().filter(|table| table.parent.as_ref() == Some(above)));
        next += 1;
    }
    found
}

/// `{1,2}` as text for an `oid[]`, of blue's tables with their partitions.
pub(super) fn all_on_blue(pairs: &[Pair<'_>]) -> String {
    crate::preflight::side::oids(pairs.iter().flat_map(|pair| pair.on_blue.iter().copied()))
}

/// The same of green's.
pub(super) fn all_on_green(pairs: &[Pair<'_>]) -> String {
    crate::preflight::side::oids(pairs.iter().flat_map(|pair| pair.on_green.iter().copied()))
}
