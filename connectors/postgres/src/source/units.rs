//! Which tables and leaf partitions a migration's routes consist of, found without waiting for anyone's table lock.

use rustc_hash::{FxHashMap, FxHashSet, FxHasher};
use std::hash::{Hash, Hasher};

use understudy_contract::{Class, Failure, Unit};
use understudy_model::{ReplicaIdentity, RouteId, TableName, UnitId};

use super::fingerprint;
use super::session::Session;
use crate::error::has_sqlstate;
use crate::ident::quote_literal;
use crate::wire::{Client, Row};

/// A table of blue whose units are to be listed for a route. Several routes may take the same table.
#[derive(Debug, Clone)]
pub struct ListedTable {
    /// The route that gathers its rows.
    pub route: RouteId,
    /// Its name.
    pub name: TableName,
    /// The columns that the route reads.
    pub columns: Vec<String>,
    /// Those of them that make up its key.
    pub key: Vec<String>,
}

/// Lists units, and remembers what is costly to ask for again.
pub(crate) struct Units {
    /// The listing, for a fixed set of routes. Takes no table lock.
    listing: String,
    /// For each leaf the state of its tree that its predicate was read under, and the predicate.
    predicates: FxHashMap<UnitId, (u64, Option<String>)>,
    /// The last measured size of each table, by object id, with the filenode it belongs to.
    sizes: FxHashMap<u32, (u32, u32)>,
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
    /// A lister for the units of these tables.
    pub(crate) fn new(tables: &[ListedTable]) -> Units {
        Units { listing: listing_sql(tables), predicates: FxHashMap::default(), sizes: FxHashMap::default() }
    }

    /// Every unit as it is now.
    pub(super) async fn list(&mut self, session: &mut Session) -> Result<Vec<Unit>, Failure> {
        let mut client = session.lend().await?;
        let rows = client.query(&self.listing).await?;
        let mut listed = rows.iter().map(listed).collect::<Result<Vec<_>, _>>()?;
        self.measure(&mut client, &mut listed).await?;
        session.give_back(client);
        self.describe_leaves(session, &mut listed).await?;
        let known = listed.iter().map(|one| one.unit.id).collect::<FxHashSet<_>>();
        self.predicates.retain(|unit, _| known.contains(unit));
        let known = known.into_iter().map(|unit| unit.oid).collect::<FxHashSet<_>>();
        self.sizes.retain(|table, _| known.contains(table));
        Ok(listed.into_iter().map(|one| one.unit).collect())
    }

    /// Fills in heap sizes. Measuring waits for exclusive table locks, so it gives up soon and then leaves locked tables
    /// out: those keep their last size, rounded up, since a range that reaches too far costs nothing.
    async fn measure(&mut self, client: &mut Client, listed: &mut [Listed]) -> Result<(), Failure> {
        let all = listed.iter().map(|one| one.unit.id.oid).collect::<FxHashSet<_>>();
        let mut measured = measure(client, &all).await;
        if measured.as_ref().is_err_and(lock_timed_out) {
            let locked = exclusively_locked(client).await?;
            let free = all.iter().copied().filter(|table| !locked.contains(table)).collect();
            measured = measure(client, &free).await;
        }
        let measured = measured?;
        for Listed { unit, .. } in listed {
            if let Some(blocks) = measured.get(&unit.id.oid) {
                unit.blocks = *blocks;
                self.sizes.insert(unit.id.oid, (unit.filenode, *blocks));
                continue;
            }
            match self.sizes.get(&unit.id.oid) {
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
    async fn describe_leaves(&mut self, session: &mut Session, listed: &mut [Listed]) -> Result<(), Failure> {
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
            // A server process keeps the conditions that it has told, and of a leaf below a default partition it does not
            // notice that the siblings of that one have changed: a new one knows none.
            session.lend().await?.close().await;
            let mut client = session.lend().await?;
            let leaves = stale.keys().map(|unit| unit.oid).collect::<FxHashSet<_>>();
            let rows = match client.query(&conditions_sql(&leaves)).await {
                // A locked leaf hides its predicate for as long; the next listing asks again.
                Err(failure) if lock_timed_out(&failure) => Vec::new(),
                other => other?,
            };
            for row in rows {
                let leaf = row.parse::<u32>(0)?;
                let told = condition(row.text(1), row.is_true(2), row.is_true(3));
                let usable = told.filter(|text| !text.contains("satisfies_hash_partition"));
                for (unit, state) in stale.iter().filter(|(unit, _)| unit.oid == leaf) {
                    self.predicates.insert(*unit, (*state, usable.clone()));
                }
            }
            session.give_back(client);
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
/// by function it could be newer than the size beside it, and a table rewritten in between would lose its last blocks. What
/// made a leaf a partition are the rows of `pg_inherits` on the way to its root: to detach it, or a table between, removes one.
fn listing_sql(tables: &[ListedTable]) -> String {
    let wanted = tables
        .iter()
        .map(|ListedTable { route, name, columns, key }| {
            let list = |names: &[String]| {
                names.iter().map(|name| quote_literal(name)).collect::<Vec<_>>().join(", ")
            };
            let (columns, key) = (list(columns), list(key));
            let (schema, name) = (quote_literal(&name.schema), quote_literal(&name.name));
            format!("({}, {schema}, {name}, ARRAY[{columns}]::name[], ARRAY[{key}]::name[])", route.0)
        })
        .collect::<Vec<_>>();
    let wanted = if wanted.is_empty() {
        "(NULL::int, NULL, NULL, NULL::name[], NULL::name[])".to_owned()
    } else {
        wanted.join(", ")
    };
    format!(
        "WITH RECURSIVE wanted(route, schema, name, columns, key) AS (VALUES {wanted}), \
         tree(route, columns, key, root, oid, chain) AS ( \
           SELECT w.route, w.columns, w.key, c.oid, c.oid, '' FROM wanted w \
           JOIN pg_catalog.pg_namespace n ON n.nspname = w.schema::name \
           JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.name::name \
           UNION ALL \
           SELECT t.route, t.columns, t.key, t.root, i.inhrelid, t.chain || ' ' || i.inhparent || ' ' || i.xmin FROM tree t \
           JOIN pg_catalog.pg_class p ON p.oid = t.oid AND p.relkind = 'p' \
           JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid AND NOT i.inhdetachpending) \
         SELECT c.oid, t.route, n.nspname, c.relname, c.relfilenode, {fingerprint}, \
           current_setting('block_size'), c.reltuples::bigint, \
           CASE WHEN c.relreplident = 'd' AND NOT EXISTS (SELECT FROM pg_catalog.pg_index x \
                  WHERE x.indrelid = c.oid AND x.indisprimary AND x.indimmediate AND x.indisvalid) THEN 'n' \
                WHEN c.relreplident = 'i' AND NOT EXISTS (SELECT FROM pg_catalog.pg_index x \
                  WHERE x.indrelid = c.oid AND x.indisreplident AND x.indisvalid) THEN 'n' \
                ELSE c.relreplident END, \
           t.root, c.xmin, m.places, m.written, m.keys, \
           CASE WHEN t.chain <> '' THEN {membership} END \
         FROM tree t JOIN pg_catalog.pg_class c ON c.oid = t.oid AND c.relkind = 'r' \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         CROSS JOIN LATERAL ({marks}) AS m \
         ORDER BY t.route, n.nspname COLLATE \"C\", c.relname COLLATE \"C\"",
        fingerprint = fingerprint::sql("c.oid"),
        membership = fingerprint::digest("t.chain"),
        marks = fingerprint::marks_sql("c.oid", "t.columns", "t.key"),
    )
}

/// Asks for the condition of each leaf, and for what only the tables around it tell: whether some level of it is a default
/// partition, and whether each is and has no siblings.
fn conditions_sql(leaves: &FxHashSet<u32>) -> String {
    format!(
        "SELECT u.oid, pg_catalog.pg_get_partition_constraintdef(u.oid), l.has_default, l.is_alone \
         FROM unnest('{}'::oid[]) AS u(oid) CROSS JOIN LATERAL ( \
           WITH RECURSIVE up(child, parent) AS ( \
             SELECT i.inhrelid, i.inhparent FROM pg_catalog.pg_inherits i WHERE i.inhrelid = u.oid \
             UNION ALL \
             SELECT i.inhrelid, i.inhparent FROM up JOIN pg_catalog.pg_inherits i ON i.inhrelid = up.parent) \
           SELECT bool_or(p.partdefid = up.child) AS has_default, bool_and(p.partdefid = up.child AND \
             (SELECT count(*) FROM pg_catalog.pg_inherits s WHERE s.inhparent = up.parent) = 1) AS is_alone \
           FROM up JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = up.parent) AS l",
        oid_array(leaves)
    )
}

/// The condition of a leaf. Postgres tells none of a default partition without siblings, as it takes every row, and none
/// either of a leaf that is detached at this moment: whether it is the former is seen in the tables around it, under a
/// snapshot that is no newer. Then it is the negation of nothing, so that it shows that siblings would change it.
fn condition(told: Option<&str>, has_default: bool, is_alone: bool) -> Option<String> {
    const NO_SIBLINGS: &str = "(NOT (false))";
    match told {
        Some(told) if has_default && !told.contains("NOT (") => Some(format!("({told} AND {NO_SIBLINGS})")),
        Some(told) => Some(told.to_owned()),
        None => is_alone.then(|| NO_SIBLINGS.to_owned()),
    }
}

fn listed(row: &Row) -> Result<Listed, Failure> {
    let route = RouteId(row.parse(1)?);
    let unit = Unit {
        id: UnitId::new(row.parse(0)?, route),
        route,
        root: UnitId::new(row.parse(9)?, route),
        name: TableName::new(row.required(2)?, row.required(3)?),
        filenode: row.parse(4)?,
        fingerprint: fingerprint::parse(row.required(5)?)?,
        marks: fingerprint::marks([row.text(11), row.text(12), row.text(13)])?,
        membership: row.text(14).map_or(Ok(0), fingerprint::parse)?,
        blocks: 0,
        block_bytes: row.parse(6)?,
        rows_estimate: u64::try_from(row.parse::<i64>(7)?).ok(),
        identity: identity_of(row.required(8)?),
        predicate: None,
    };
    Ok(Listed { unit, version: row.required(10)?.to_owned() })
}

async fn measure(client: &mut Client, tables: &FxHashSet<u32>) -> Result<FxHashMap<u32, u32>, Failure> {
    let sql = format!(
        "SELECT u.oid, pg_catalog.pg_relation_size(u.oid) / current_setting('block_size')::bigint \
         FROM unnest('{}'::oid[]) AS u(oid)",
        oid_array(tables)
    );
    let rows = client.query(&sql).await?;
    let mut sizes = FxHashMap::default();
    for row in rows {
        // A table that vanished since the listing has no size; its chunks will say that it is gone.
        sizes.insert(row.parse(0)?, row.optional(1)?.unwrap_or(0));
    }
    Ok(sizes)
}

/// Tables on which somebody holds, or waits for, a lock that shuts out readers.
async fn exclusively_locked(client: &mut Client) -> Result<Vec<u32>, Failure> {
    let rows = client
        .query(
            "SELECT DISTINCT relation FROM pg_catalog.pg_locks \
             WHERE locktype = 'relation' AND mode = 'AccessExclusiveLock' \
             AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())",
        )
        .await?;
    rows.iter().map(|row| row.parse(0)).collect()
}

fn oid_array(tables: &FxHashSet<u32>) -> String {
    let oids = tables.iter().map(u32::to_string).collect::<Vec<_>>();
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
