//! Which tables and leaf partitions a migration's routes consist of, found without waiting for anyone's table lock.

use rustc_hash::{FxHashMap, FxHasher};
use std::hash::{Hash, Hasher};

use understudy_contract::{Class, Failure, Unit};
use understudy_model::{ReplicaIdentity, RouteId, TableName, UnitId};

use super::fingerprint;
use crate::error::has_sqlstate;
use crate::ident::quote_literal;
use crate::wire::{Client, Row};

/// Lists units, and remembers what is costly to ask for again.
pub(crate) struct Units {
    /// The listing, for a fixed set of routes. Takes no table lock.
    listing: String,
    /// For each leaf the state of its tree that its predicate was read under, and the predicate.
    predicates: FxHashMap<UnitId, (u64, Option<String>)>,
    /// The last measured size of each unit, with the filenode it belongs to.
    sizes: FxHashMap<UnitId, (u32, u32)>,
}

/// A unit as the listing shows it.
struct Listed {
    unit: Unit,
    /// Changes whenever its `pg_class` row is written anew.
    version: String,
}

impl Listed {
    /// Whether it is a leaf below its route's table.
    fn is_leaf(&self) -> bool {
        self.unit.id != self.unit.root
    }
}

impl Units {
    /// A lister for these routes and their tables on blue.
    pub(crate) fn new(routes: &[(RouteId, TableName)]) -> Units {
        Units { listing: listing_sql(routes), predicates: FxHashMap::default(), sizes: FxHashMap::default() }
    }

    /// Every unit as it is now.
    pub(crate) async fn list(&mut self, client: &mut Client) -> Result<Vec<Unit>, Failure> {
        let rows = client.query(&self.listing).await?;
        let mut listed = rows.iter().map(listed).collect::<Result<Vec<_>, _>>()?;
        self.measure(client, &mut listed).await?;
        self.describe_leaves(client, &mut listed).await?;
        let known = listed.iter().map(|one| one.unit.id).collect::<rustc_hash::FxHashSet<_>>();
        self.sizes.retain(|unit, _| known.contains(unit));
        self.predicates.retain(|unit, _| known.contains(unit));
        Ok(listed.into_iter().map(|one| one.unit).collect())
    }

    /// Fills in heap sizes. Measuring waits for exclusive table locks, so it gives up soon and then leaves locked tables
    /// out: those keep their last size, rounded up, since a range that reaches too far costs nothing.
    async fn measure(&mut self, client: &mut Client, listed: &mut [Listed]) -> Result<(), Failure> {
        let all = listed.iter().map(|one| one.unit.id).collect::<Vec<_>>();
        let mut measured = measure(client, &all).await;
        if measured.as_ref().is_err_and(lock_timed_out) {
            let locked = exclusively_locked(client).await?;
            let free = all.iter().copied().filter(|unit| !locked.contains(unit)).collect::<Vec<_>>();
            measured = measure(client, &free).await;
        }
        let measured = measured?;
        for Listed { unit, .. } in listed {
            if let Some(blocks) = measured.get(&unit.id) {
                unit.blocks = *blocks;
                self.sizes.insert(unit.id, (unit.filenode, *blocks));
                continue;
            }
            match self.sizes.get(&unit.id) {
                Some((filenode, blocks)) if *filenode == unit.filenode => {
                    unit.blocks = blocks.saturating_add(blocks / 8).saturating_add(128);
                }
                _ => return Err(cannot_measure(&unit.name)),
            }
        }
        Ok(())
    }

    /// Fills in the predicates of leaves, asking only where a tree has changed: a default partition's depends on all
    /// of its siblings, so any change in a tree counts for each of its leaves.
    async fn describe_leaves(&mut self, client: &mut Client, listed: &mut [Listed]) -> Result<(), Failure> {
        let mut trees = FxHashMap::<RouteId, FxHasher>::default();
        for one in listed.iter().filter(|one| one.is_leaf()) {
            (one.unit.id, one.unit.fingerprint, &one.version).hash(trees.entry(one.unit.route).or_default());
        }
        let trees =
            trees.into_iter().map(|(route, hash)| (route, hash.finish())).collect::<FxHashMap<_, _>>();
        let state = |one: &Listed| trees.get(&one.unit.route).copied().unwrap_or_default();
        let stale = listed
            .iter()
            .filter(|one| {
                one.is_leaf() && self.predicates.get(&one.unit.id).is_none_or(|known| known.0 != state(one))
            })
            .map(|one| (one.unit.id, state(one)))
            .collect::<FxHashMap<_, _>>();
        if !stale.is_empty() {
            let sql = format!(
                "SELECT u.oid, pg_catalog.pg_get_partition_constraintdef(u.oid) FROM unnest('{}'::oid[]) AS u(oid)",
                oid_array(stale.keys())
            );
            let rows = match client.query(&sql).await {
                // A locked leaf hides its predicate for as long; the next listing asks again.
                Err(failure) if lock_timed_out(&failure) => Vec::new(),
                other => other?,
            };
            for row in rows {
                let unit = UnitId(row.parse(0)?);
                let usable = row.text(1).filter(|text| !text.contains("satisfies_hash_partition"));
                self.predicates.insert(unit, (stale[&unit], usable.map(str::to_owned)));
            }
        }
        for one in listed.iter_mut().filter(|one| one.is_leaf()) {
            let current = self.predicates.get(&one.unit.id).filter(|known| known.0 == state(one));
            one.unit.predicate = current.and_then(|known| known.1.clone());
        }
        Ok(())
    }
}

/// The identity that a `relreplident` letter stands for.
pub(crate) fn identity_of(letter: &str) -> ReplicaIdentity {
    match letter {
        "d" => ReplicaIdentity::Default,
        "i" => ReplicaIdentity::Index,
        "f" => ReplicaIdentity::Full,
        _ => ReplicaIdentity::Nothing,
    }
}

/// Walks down from each route's table. Everything comes from one snapshot of the catalog tables, the filenode too: read
/// by function it could be newer than the size beside it, and a table rewritten in between would lose its last blocks.
fn listing_sql(routes: &[(RouteId, TableName)]) -> String {
    let wanted = routes
        .iter()
        .map(|(route, table)| {
            format!("({}, {}, {})", route.0, quote_literal(&table.schema), quote_literal(&table.name))
        })
        .collect::<Vec<_>>();
    let wanted = if wanted.is_empty() { "(NULL::int, NULL, NULL)".to_owned() } else { wanted.join(", ") };
    format!(
        "WITH RECURSIVE wanted(route, schema, name) AS (VALUES {wanted}), \
         tree(route, root, oid) AS ( \
           SELECT w.route, c.oid, c.oid FROM wanted w \
           JOIN pg_catalog.pg_namespace n ON n.nspname = w.schema::name \
           JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.name::name \
           UNION ALL \
           SELECT t.route, t.root, i.inhrelid FROM tree t \
           JOIN pg_catalog.pg_class p ON p.oid = t.oid AND p.relkind = 'p' \
           JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid AND NOT i.inhdetachpending) \
         SELECT c.oid, t.route, n.nspname, c.relname, c.relfilenode, {fingerprint}, \
           current_setting('block_size'), c.reltuples::bigint, \
           CASE WHEN c.relreplident = 'd' AND NOT EXISTS (SELECT FROM pg_catalog.pg_index x \
                  WHERE x.indrelid = c.oid AND x.indisprimary AND x.indimmediate AND x.indisvalid) THEN 'n' \
                WHEN c.relreplident = 'i' AND NOT EXISTS (SELECT FROM pg_catalog.pg_index x \
                  WHERE x.indrelid = c.oid AND x.indisreplident AND x.indisvalid) THEN 'n' \
                ELSE c.relreplident END, \
           t.root, c.xmin \
         FROM tree t JOIN pg_catalog.pg_class c ON c.oid = t.oid AND c.relkind = 'r' \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         ORDER BY t.route, n.nspname COLLATE \"C\", c.relname COLLATE \"C\"",
        fingerprint = fingerprint::sql("c.oid")
    )
}

fn listed(row: &Row) -> Result<Listed, Failure> {
    let unit = Unit {
        id: UnitId(row.parse(0)?),
        route: RouteId(row.parse(1)?),
        root: UnitId(row.parse(9)?),
        name: TableName::new(row.required(2)?, row.required(3)?),
        filenode: row.parse(4)?,
        fingerprint: fingerprint::parse(row.required(5)?)?,
        blocks: 0,
        block_bytes: row.parse(6)?,
        rows_estimate: u64::try_from(row.parse::<i64>(7)?).ok(),
        identity: identity_of(row.required(8)?),
        predicate: None,
    };
    Ok(Listed { unit, version: row.required(10)?.to_owned() })
}

async fn measure(client: &mut Client, units: &[UnitId]) -> Result<FxHashMap<UnitId, u32>, Failure> {
    let sql = format!(
        "SELECT u.oid, pg_catalog.pg_relation_size(u.oid) / current_setting('block_size')::bigint \
         FROM unnest('{}'::oid[]) AS u(oid)",
        oid_array(units)
    );
    let rows = client.query(&sql).await?;
    let mut sizes = FxHashMap::default();
    for row in rows {
        // A table that vanished since the listing has no size; its chunks will say that it is gone.
        sizes.insert(UnitId(row.parse(0)?), row.optional(1)?.unwrap_or(0));
    }
    Ok(sizes)
}

/// Tables on which somebody holds, or waits for, a lock that shuts out readers.
async fn exclusively_locked(client: &mut Client) -> Result<Vec<UnitId>, Failure> {
    let rows = client
        .query(
            "SELECT DISTINCT relation FROM pg_catalog.pg_locks \
             WHERE locktype = 'relation' AND mode = 'AccessExclusiveLock' \
             AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())",
        )
        .await?;
    rows.iter().map(|row| Ok(UnitId(row.parse(0)?))).collect()
}

fn oid_array<'a>(units: impl IntoIterator<Item = &'a UnitId>) -> String {
    let oids = units.into_iter().map(|unit| unit.0.to_string()).collect::<Vec<_>>();
    format!("{{{}}}", oids.join(","))
}

fn lock_timed_out(failure: &Failure) -> bool {
    has_sqlstate(failure, "55P03")
}

fn cannot_measure(table: &TableName) -> Failure {
    Failure::new(
        Class::Transient,
        format!("{table} is locked exclusively, so its size cannot be read"),
    )
    .remedy(
        "wait for the statement that holds the lock (pg_locks names it); the sidecar tries again by itself",
    )
}
