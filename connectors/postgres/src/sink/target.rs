//! A route's table on green as the sink sees it: quoted names, what its catalog entry allows, and the SQL it needs.

use understudy_contract::GreenTable;
use understudy_model::Before;

use super::runs::Presence;
use crate::ident::{quote_ident, quote_table};

/// One column that a route fills.
#[derive(Debug, Clone)]
pub(super) struct TargetColumn {
    /// Its quoted name.
    pub(super) name: String,
    /// Whether green insists on drawing it itself (GENERATED ALWAYS AS IDENTITY): it can be inserted, never set. Only
    /// columns of the key are.
    pub(super) drawn: bool,
    /// Whether it is part of the key.
    pub(super) in_key: bool,
}

/// What green's catalog says of a table.
#[derive(Debug, Clone, Default)]
pub(super) struct Traits {
    /// Object id.
    pub(super) oid: u32,
    /// A view: rows go in by statement only.
    pub(super) is_view: bool,
    /// Rows live in its partitions.
    pub(super) is_partitioned: bool,
    /// A unique or exclusion index other than the key's could tell the order of changes apart.
    pub(super) other_unique: bool,
    /// Two texts of a key are equal exactly when the values are.
    pub(super) key_text_is_exact: bool,
    /// Triggers of users fire on our changes.
    pub(super) user_triggers: bool,
    /// Triggers of constraints fire on our changes.
    pub(super) constraint_triggers: bool,
    /// A live foreign key changes or removes rows here by itself, before blue's own change arrives.
    pub(super) cascades: bool,
    /// Deleting a row here has a live foreign key delete or change rows that refer to it.
    pub(super) deletes_spread: bool,
    /// Whether the role may TRUNCATE it.
    pub(super) may_truncate: bool,
    /// Tables whose foreign keys refer to it.
    pub(super) referenced_by: Vec<u32>,
    /// Another route fills the same table.
    pub(super) shared: bool,
    /// If so, a condition tells whose rows are whose: no two routes have a key in common.
    pub(super) apart: bool,
    /// Every column that can be written, those of no route included; quoted.
    pub(super) writable: Vec<String>,
}

/// A route's table on green.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// As the route describes it.
    pub(super) green: GreenTable,
    /// Its quoted name.
    pub(super) table: String,
    /// In the order of the route's tuples.
    pub(super) columns: Vec<TargetColumn>,
    /// What the catalog says.
    pub(super) traits: Traits,
    /// Its number in the bookkeeping.
    pub(super) number: i32,
    /// Whether the bookkeeping holds it already.
    pub(super) registered: bool,
    /// Whether its copy is complete.
    pub(super) complete: bool,
    /// Whether the copy that is not complete goes over rows that were there before it, whatever brought them.
    pub(super) renewed: bool,
    /// The state of its source's place in the publication, as recorded with it.
    pub(super) published: Option<String>,
    /// How many more batches are applied row by row, after one that could not be applied in sets.
    pub(super) cautious: u32,
    /// How many more chunks are written over existing rows right away.
    pub(super) overwriting: u32,
}

impl Target {
    /// A target without anything known of its copy.
    pub(super) fn new(green: GreenTable, drawn: &[bool], traits: Traits) -> Target {
        let columns = green.columns.iter().enumerate().map(|(at, name)| TargetColumn {
            name: quote_ident(name),
            drawn: drawn.get(at).copied().unwrap_or(false),
            in_key: green.key.contains(&at),
        });
        Target {
            table: quote_table(&green.name),
            columns: columns.collect(),
            traits,
            number: 0,
            registered: false,
            complete: false,
            renewed: false,
            published: None,
            cautious: 0,
            overwriting: 0,
            green,
        }
    }

    /// Whether the route is being copied over rows that were there before.
    pub(super) fn is_renewed(&self) -> bool {
        self.renewed && !self.complete
    }

    /// Whether rows-affected must be exactly what the change expects.
    pub(super) fn strict(&self) -> bool {
        self.complete && !self.traits.cascades
    }

    /// The same for a change that knows this of the row before it.
    pub(super) fn expects(&self, before: Before) -> bool {
        before == Before::There && self.strict()
    }

    /// Whether net changes per key are the same as the changes one by one.
    pub(super) fn foldable(&self) -> bool {
        let traits = &self.traits;
        traits.key_text_is_exact && !traits.other_unique && !self.ordered() && !traits.is_view
    }

    /// Whether its changes must keep their order against those of other routes. Routes that fill the same table meet where
    /// nothing tells their keys apart, or where another index looks at more than the key.
    pub(super) fn ordered(&self) -> bool {
        let traits = &self.traits;
        let meets = traits.shared && (!traits.apart || traits.other_unique);
        traits.user_triggers || traits.constraint_triggers || meets
    }

    /// The condition, as part of a statement, that picks the rows of this route from the table; nothing where all are its own.
    pub(super) fn own_rows(&self) -> String {
        let predicate = self.green.predicate.as_ref().filter(|_| self.traits.shared);
        predicate.map(|predicate| format!(" WHERE ({predicate})")).unwrap_or_default()
    }

    /// Whether a constraint on it may be checked as late as at the end of a transaction.
    pub(super) fn defers(&self) -> bool {
        self.traits.constraint_triggers || self.traits.user_triggers
    }

    /// Whether green insists on drawing a column of the key itself: a row that takes another key is put in again.
    pub(super) fn draws_key(&self) -> bool {
        self.columns.iter().any(|column| column.drawn)
    }

    fn names(&self, prefix: &str, pick: impl Fn(usize, &TargetColumn) -> bool) -> String {
        let names = self.columns.iter().enumerate().filter(|(at, column)| pick(*at, column));
        names.map(|(_, column)| format!("{prefix}{}", column.name)).collect::<Vec<_>>().join(", ")
    }

    /// The key's columns in key order.
    pub(super) fn key_names(&self) -> Vec<&str> {
        self.green.key.iter().map(|at| self.columns[*at].name.as_str()).collect()
    }

    fn overriding(&self) -> &'static str {
        if self.draws_key() { " OVERRIDING SYSTEM VALUE" } else { "" }
    }

    fn on_conflict_update(&self) -> String {
        let set = self
            .columns
            .iter()
            .filter(|column| !column.in_key)
            .map(|column| format!("{0} = EXCLUDED.{0}", column.name))
            .collect::<Vec<_>>()
            .join(", ");
        let act = if set.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {set}") };
        format!(" ON CONFLICT ({}) DO {act}", self.key_names().join(", "))
    }

    /// Inserts one row, all columns as parameters. With `upsert` an existing row takes the values; without it is left.
    pub(super) fn insert_sql(&self, upsert: bool) -> String {
        let places = (1..=self.columns.len()).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ");
        let conflict = if upsert {
            self.on_conflict_update()
        } else {
            format!(" ON CONFLICT ({}) DO NOTHING", self.key_names().join(", "))
        };
        let (columns, overriding) = (self.names("", |_, _| true), self.overriding());
        format!("INSERT INTO {} ({columns}){overriding} VALUES ({places}){conflict}", self.table)
    }

    /// An assignment that changes nothing, for rows that are to be found and counted all the same. `None` where green lets
    /// no column be set.
    fn idle(&self, prefix: &str) -> Option<String> {
        let free = self.columns.iter().find(|column| !column.drawn);
        free.map(|column| format!("{0} = {prefix}{0}", column.name))
    }

    /// Updates one row: parameters are the columns that were sent, in order, then for a changed key the old key.
    pub(super) fn update_sql(&self, presence: &Presence, rekey: bool) -> String {
        let sent = |at: usize| presence.as_ref().is_none_or(|sent| sent[at]);
        let (mut set, mut place) = (Vec::new(), 0);
        let mut places = vec![0; self.columns.len()];
        for (at, column) in self.columns.iter().enumerate().filter(|(at, _)| sent(*at)) {
            place += 1;
            places[at] = place;
            if rekey || !column.in_key {
                set.push(format!("{} = ${place}", column.name));
            }
        }
        let mut wanted = Vec::new();
        for (nth, at) in self.green.key.iter().enumerate() {
            let value = if rekey { place + 1 + nth } else { places[*at] };
            wanted.push(format!("{} = ${value}", self.columns[*at].name));
        }
        let wanted = wanted.join(" AND ");
        if set.is_empty() {
            let Some(idle) = self.idle("") else {
                return format!("SELECT FROM {} WHERE {wanted} FOR UPDATE", self.table);
            };
            set.push(idle);
        }
        format!("UPDATE {} SET {} WHERE {wanted}", self.table, set.join(", "))
    }

    fn by_key(&self) -> Vec<String> {
        let names = self.key_names().into_iter().enumerate();
        names.map(|(n, name)| format!("{name} = ${}", n + 1)).collect()
    }

    /// Deletes one row by its key.
    pub(super) fn delete_sql(&self) -> String {
        format!("DELETE FROM {} WHERE {}", self.table, self.by_key().join(" AND "))
    }

    /// Takes a row out under its old key and puts it in with new values, for a key that green insists on drawing itself;
    /// parameters as for a changed key. What was not sent stays, and so do the columns of green alone.
    pub(super) fn replace_sql(&self, presence: &Presence) -> String {
        let sent = |at: &usize| presence.as_ref().is_none_or(|sent| sent[*at]);
        let given = (0..self.columns.len()).filter(sent).collect::<Vec<_>>();
        let value = |name: &String| match given.iter().position(|at| self.columns[*at].name == *name) {
            Some(place) => format!("${}", place + 1),
            None => format!("gone.{name}"),
        };
        let old_key = self.key_names().into_iter().enumerate();
        let wanted = old_key.map(|(n, name)| format!("{name} = ${}", given.len() + 1 + n));
        format!(
            "WITH gone AS (DELETE FROM {0} WHERE {1} RETURNING *) \
             INSERT INTO {0} ({2}) OVERRIDING SYSTEM VALUE SELECT {3} FROM gone",
            self.table,
            wanted.collect::<Vec<_>>().join(" AND "),
            self.traits.writable.join(", "),
            self.traits.writable.iter().map(value).collect::<Vec<_>>().join(", "),
        )
    }

    /// Gives a row another key and new values, parameters as for that, or inserts it where there is none under the old key.
    /// What stands under the new key is never written over.
    pub(super) fn enter_sql(&self) -> String {
        let places = (1..=self.columns.len()).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ");
        // The update comes first: by it the parameters have the types of their columns.
        format!(
            "WITH moved AS ({} RETURNING 1) INSERT INTO {} ({}) SELECT {places} WHERE NOT EXISTS (SELECT FROM moved)",
            self.update_sql(&None, true),
            self.table,
            self.names("", |_, _| true),
        )
    }

    /// COPY of whole rows into the table itself.
    pub(super) fn copy_sql(&self) -> String {
        format!("COPY {} ({}) FROM STDIN", self.table, self.names("", |_, _| true))
    }

    /// Creates the temporary table `stage` for the columns that were sent, or for keys alone.
    pub(super) fn stage_sql(&self, stage: &str, shape: &Shape) -> String {
        let number = if shape.numbered() { "0 AS understudy_n, " } else { "" };
        let columns = self.names("", |at, column| shape.holds(at, column));
        let table = &self.table;
        format!(
            "CREATE TEMPORARY TABLE {stage} ON COMMIT DELETE ROWS AS SELECT {number}{columns} FROM {table} WITH NO DATA"
        )
    }

    fn joined(&self) -> String {
        let names = self.key_names().into_iter();
        names.map(|name| format!("g.{name} = s.{name}")).collect::<Vec<_>>().join(" AND ")
    }

    /// Updates from `stage`.
    pub(super) fn update_from_sql(&self, stage: &str, shape: &Shape) -> String {
        let set = self.columns.iter().enumerate();
        let set = set.filter(|(at, column)| shape.holds(*at, column) && !column.in_key);
        let mut set = set.map(|(_, column)| format!("{0} = s.{0}", column.name)).collect::<Vec<_>>();
        let (table, wanted) = (&self.table, self.joined());
        if set.is_empty() {
            let Some(idle) = self.idle("g.") else {
                return format!("SELECT FROM {table} AS g, {stage} AS s WHERE {wanted} FOR UPDATE OF g");
            };
            set.push(idle);
        }
        format!("UPDATE {table} AS g SET {} FROM {stage} AS s WHERE {wanted}", set.join(", "))
    }

    /// Inserts from `stage`, over existing rows.
    pub(super) fn upsert_from_sql(&self, stage: &str) -> String {
        let columns = self.names("", |_, _| true);
        let (overriding, conflict) = (self.overriding(), self.on_conflict_update());
        format!("INSERT INTO {} ({columns}){overriding} SELECT {columns} FROM {stage}{conflict}", self.table)
    }

    /// Inserts from `stage`, for what COPY cannot go into.
    pub(super) fn insert_from_sql(&self, stage: &str) -> String {
        let (columns, overriding) = (self.names("", |_, _| true), self.overriding());
        format!("INSERT INTO {} ({columns}){overriding} SELECT {columns} FROM {stage}", self.table)
    }

    /// Deletes the keys in `stage`.
    pub(super) fn delete_using_sql(&self, stage: &str) -> String {
        format!("DELETE FROM {} AS g USING {stage} AS s WHERE {}", self.table, self.joined())
    }

    /// The numbers of the staged rows that have no row on green.
    pub(super) fn missing_sql(&self, stage: &str) -> String {
        format!(
            "SELECT s.understudy_n FROM {stage} AS s WHERE NOT EXISTS (SELECT 1 FROM {} AS g WHERE {})",
            self.table,
            self.joined()
        )
    }

    /// Deletes the rows of one leaf: the predicate speaks of blue's columns, the condition of the route of green's.
    pub(super) fn truncate_leaf_sql(&self, predicate: &str) -> String {
        let keys = self.key_names();
        let mut inner = Vec::new();
        let mut known = Vec::new();
        for (column, blue) in self.columns.iter().zip(&self.green.source_columns) {
            if let Some(blue) = blue.as_ref().filter(|blue| !known.contains(blue)) {
                known.push(blue);
                inner.push(format!("{} AS {}", column.name, quote_ident(blue)));
            }
        }
        for (n, key) in keys.iter().enumerate() {
            inner.push(format!("{key} AS understudy_key_{n}"));
        }
        let picked = (0..keys.len()).map(|n| format!("understudy_key_{n}")).collect::<Vec<_>>().join(", ");
        format!(
            "DELETE FROM {0} WHERE ({1}) IN (SELECT {picked} FROM (SELECT {2} FROM {0}{3}) AS leaf WHERE {predicate})",
            self.table,
            keys.join(", "),
            inner.join(", "),
            self.own_rows(),
        )
    }
}

/// Which columns a stage holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Shape {
    /// The key alone.
    Key,
    /// Every column.
    Full,
    /// The columns that were sent, after the number of the row.
    Sent(Box<[bool]>),
}

impl Shape {
    /// The shape of updates with this presence.
    pub(super) fn of(presence: &Presence) -> Shape {
        presence.clone().map_or(Shape::Full, Shape::Sent)
    }

    /// Whether rows are numbered, so that those without a row on green can be named.
    pub(super) fn numbered(&self) -> bool {
        matches!(self, Shape::Sent(_))
    }

    fn holds(&self, at: usize, column: &TargetColumn) -> bool {
        match self {
            Shape::Key => column.in_key,
            Shape::Full => true,
            Shape::Sent(sent) => sent[at],
        }
    }
}
