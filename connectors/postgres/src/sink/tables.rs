//! Reads what green's catalog says of the tables that routes fill, and refuses what could not be filled exactly.

use std::collections::HashMap;

use understudy_contract::{Class, Failure, GreenTable};

use super::target::{Target, Traits};
use crate::ident::{quote_ident, quote_literal, quote_table};
use crate::wire::Client;

/// One column as the catalog describes it.
struct Column {
    drawn: bool,
    generated: bool,
    text_is_exact: bool,
}

/// One index of a table or of one of its partitions.
struct Index {
    own: bool,
    /// Unique, checked at once, over plain columns, for all rows.
    plain_unique: bool,
    columns: Vec<String>,
    valid: bool,
}

/// Describes every table of the routes, in their order. `replica_role` tells which triggers are alive.
pub(super) async fn describe(
    client: &mut Client,
    tables: Vec<GreenTable>,
    replica_role: bool,
) -> Result<Vec<Target>, Failure> {
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    let names = tables
        .iter()
        .enumerate()
        .map(|(n, table)| format!("({n}, {})", quote_literal(&quote_table(&table.name))))
        .collect::<Vec<_>>()
        .join(", ");
    let mut traits = relations(client, &names, &tables).await?;
    let list = traits
        .iter()
        .enumerate()
        .map(|(n, t)| format!("({n}, {}::oid)", t.oid))
        .collect::<Vec<_>>()
        .join(", ");
    let columns = columns(client, &list, &mut traits).await?;
    let indexes = indexes(client, &list).await?;
    triggers(client, &list, &mut traits, replica_role).await?;
    foreign_keys(client, &list, &mut traits, replica_role).await?;
    if !replica_role {
        spreading_deletes(client, &list, &mut traits).await?;
    }

    // How many routes fill a table, and whether all of them know which rows are theirs.
    let mut seen: HashMap<u32, (usize, bool)> = HashMap::new();
    for (traits, table) in traits.iter().zip(&tables) {
        let (routes, apart) = seen.entry(traits.oid).or_insert((0, true));
        *routes += 1;
        *apart &= table.predicate.is_some();
    }
    let mut targets = Vec::with_capacity(tables.len());
    for ((n, table), mut traits) in tables.into_iter().enumerate().zip(traits) {
        let (routes, apart) = seen.get(&traits.oid).copied().unwrap_or_default();
        (traits.shared, traits.apart) = (routes > 1, apart);
        let drawn = check_columns(&table, &columns, n, &mut traits)?;
        check_indexes(&table, indexes.get(&n).map_or(&[][..], Vec::as_slice), &mut traits)?;
        targets.push(Target::new(table, &drawn, traits));
    }
    Ok(targets)
}

fn refuse(table: &GreenTable, what: impl std::fmt::Display, remedy: impl Into<String>) -> Failure {
    Failure::new(Class::Configuration, format!("{} on green {what}", table.name)).remedy(remedy)
}

async fn relations(client: &mut Client, names: &str, tables: &[GreenTable]) -> Result<Vec<Traits>, Failure> {
    let sql = format!(
        "SELECT t.n, c.oid, c.relkind, pg_relation_is_updatable(c.oid, false) & 28, \
         has_table_privilege(c.oid, 'TRUNCATE') AND c.relkind <> 'v', \
         EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = c.oid AND g.tgtype & 64 <> 0) \
         FROM (VALUES {names}) AS t (n, name) LEFT JOIN pg_class c ON c.oid = to_regclass(t.name) ORDER BY t.n"
    );
    let mut found = Vec::with_capacity(tables.len());
    for (row, table) in client.query(&sql).await?.iter().zip(tables) {
        let Some(kind) = row.text(2) else {
            return Err(refuse(
                table,
                "does not exist",
                "create the table on green, or correct `to` in the migration file",
            ));
        };
        let is_view = kind == "v";
        if !matches!(kind, "r" | "p" | "v")
            || (is_view && (row.parse::<i32>(3)? != 28 || row.text(5) == Some("t")))
        {
            let remedy =
                "fill a table; a view only when it is automatically updatable and has no INSTEAD OF triggers";
            return Err(refuse(table, "is not a table that rows can be put into", remedy));
        }
        let may_truncate = row.text(4) == Some("t");
        found.push(Traits { oid: row.parse(1)?, is_view, may_truncate, ..Traits::default() });
    }
    Ok(found)
}

async fn columns(
    client: &mut Client,
    list: &str,
    traits: &mut [Traits],
) -> Result<HashMap<(usize, String), Column>, Failure> {
    // Types whose input and output are one to one, so that keys can be compared as text. Others (numeric, float,
    // interval, citext, bpchar) have several texts for one value.
    let sql = format!(
        "SELECT t.n, a.attname, a.attidentity = 'a', a.attgenerated <> '', \
         (b.oid IN (16, 17, 18, 19, 20, 21, 23, 25, 26, 1043, 1082, 1083, 1114, 1184, 2950) OR b.typtype = 'e') \
         AND coalesce(l.collisdeterministic, true) \
         FROM (VALUES {list}) AS t (n, oid) JOIN pg_attribute a ON a.attrelid = t.oid \
         JOIN pg_type y ON y.oid = a.atttypid \
         JOIN pg_type b ON b.oid = CASE WHEN y.typtype = 'd' THEN y.typbasetype ELSE y.oid END \
         LEFT JOIN pg_collation l ON l.oid = a.attcollation \
         WHERE a.attnum > 0 AND NOT a.attisdropped ORDER BY t.n, a.attnum"
    );
    let mut found = HashMap::new();
    for row in client.query(&sql).await? {
        let flag = |at| row.text(at) == Some("t");
        let column = Column { drawn: flag(2), generated: flag(3), text_is_exact: flag(4) };
        let (n, name) = (row.parse::<usize>(0)?, row.required(1)?);
        if let Some(table) = traits.get_mut(n).filter(|_| !column.generated) {
            table.writable.push(quote_ident(name));
        }
        found.insert((n, name.to_owned()), column);
    }
    Ok(found)
}

async fn indexes(client: &mut Client, list: &str) -> Result<HashMap<usize, Vec<Index>>, Failure> {
    let sql = format!(
        "SELECT t.n, i.indrelid = t.oid, i.indisunique AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL, \
         i.indisvalid AND i.indisready, a.attname \
         FROM (VALUES {list}) AS t (n, oid) \
         CROSS JOIN LATERAL (SELECT t.oid UNION SELECT relid FROM pg_partition_tree(t.oid)) AS p (oid) \
         JOIN pg_index i ON i.indrelid = p.oid AND (i.indisunique OR i.indisexclusion) \
         CROSS JOIN LATERAL generate_series(0, i.indnkeyatts - 1) AS k (n) \
         LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k.n] \
         ORDER BY t.n, i.indexrelid, k.n"
    );
    let keyed = sql.replacen("SELECT t.n,", "SELECT t.n, i.indexrelid,", 1);
    let mut found: HashMap<usize, Vec<Index>> = HashMap::new();
    let mut last = None;
    for row in client.query(&keyed).await? {
        let at = (row.parse::<usize>(0)?, row.parse::<u32>(1)?);
        let of_table = found.entry(at.0).or_default();
        if last.replace(at) != Some(at) {
            let flag = |at| row.text(at) == Some("t");
            of_table.push(Index { own: flag(2), plain_unique: flag(3), valid: flag(4), columns: Vec::new() });
        }
        if let (Some(index), Some(column)) = (of_table.last_mut(), row.text(5)) {
            index.columns.push(column.to_owned());
        }
    }
    Ok(found)
}

/// Trigger states that fire in the role that we apply in.
fn alive(replica_role: bool) -> &'static str {
    if replica_role { "('A', 'R')" } else { "('A', 'O')" }
}

async fn triggers(
    client: &mut Client,
    list: &str,
    traits: &mut [Traits],
    replica_role: bool,
) -> Result<(), Failure> {
    let alive = alive(replica_role);
    let sql = format!(
        "SELECT t.n, bool_or(NOT g.tgisinternal), bool_or(g.tgisinternal) FROM (VALUES {list}) AS t (n, oid) \
         CROSS JOIN LATERAL (SELECT t.oid UNION SELECT relid FROM pg_partition_tree(t.oid)) AS p (oid) \
         JOIN pg_trigger g ON g.tgrelid = p.oid AND g.tgenabled IN {alive} GROUP BY t.n"
    );
    for row in client.query(&sql).await? {
        if let Some(table) = traits.get_mut(row.parse::<usize>(0)?) {
            table.user_triggers = row.text(1) == Some("t");
            table.constraint_triggers = row.text(2) == Some("t");
        }
    }
    // What is alive below a view is not looked at: its changes keep their order.
    traits
        .iter_mut()
        .filter(|table| table.is_view)
        .for_each(|table| table.constraint_triggers |= !replica_role);
    Ok(())
}

async fn foreign_keys(
    client: &mut Client,
    list: &str,
    traits: &mut [Traits],
    replica_role: bool,
) -> Result<(), Failure> {
    let sql = format!(
        "SELECT t.n, f.conrelid <> t.oid, coalesce(pg_partition_root(f.conrelid)::oid, f.conrelid), \
         f.conrelid = p.oid AND (f.confdeltype IN ('c', 'n', 'd') OR f.confupdtype IN ('c', 'n', 'd')) \
         FROM (VALUES {list}) AS t (n, oid) \
         CROSS JOIN LATERAL (SELECT t.oid UNION SELECT relid FROM pg_partition_tree(t.oid)) AS p (oid) \
         JOIN pg_constraint f ON f.contype = 'f' AND (f.conrelid = p.oid OR f.confrelid = p.oid)"
    );
    for row in client.query(&sql).await? {
        let Some(table) = traits.get_mut(row.parse::<usize>(0)?) else {
            continue;
        };
        let child: u32 = row.parse(2)?;
        if row.text(1) == Some("t") && child != table.oid {
            table.referenced_by.push(child);
        }
        table.cascades |= row.text(3) == Some("t") && !replica_role;
    }
    Ok(())
}

/// Finds the tables where deleting a row has a foreign key delete or change others; for views, in what lies below.
async fn spreading_deletes(client: &mut Client, list: &str, traits: &mut [Traits]) -> Result<(), Failure> {
    let sql = format!(
        "WITH RECURSIVE below (n, oid) AS (SELECT t.n, t.oid FROM (VALUES {list}) AS t (n, oid) \
         UNION SELECT b.n, x.oid FROM below AS b CROSS JOIN LATERAL (SELECT relid::oid FROM pg_partition_tree(b.oid) \
         UNION ALL SELECT d.refobjid FROM pg_rewrite r JOIN pg_depend d ON d.objid = r.oid \
         AND d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass \
         WHERE r.ev_class = b.oid) AS x (oid)) \
         SELECT DISTINCT b.n FROM below AS b JOIN pg_constraint f ON f.confrelid = b.oid \
         WHERE f.contype = 'f' AND f.confdeltype IN ('c', 'n', 'd')"
    );
    for row in client.query(&sql).await? {
        if let Some(table) = traits.get_mut(row.parse::<usize>(0)?) {
            table.deletes_spread = true;
        }
    }
    Ok(())
}

fn check_columns(
    table: &GreenTable,
    columns: &HashMap<(usize, String), Column>,
    n: usize,
    traits: &mut Traits,
) -> Result<Vec<bool>, Failure> {
    let mut drawn = Vec::with_capacity(table.columns.len());
    traits.key_text_is_exact = true;
    for (at, name) in table.columns.iter().enumerate() {
        let Some(column) = columns.get(&(n, name.clone())) else {
            let what = format!("has no column {}", quote_ident(name));
            return Err(refuse(
                table,
                what,
                "add the column on green, or correct `columns` in the migration file",
            ));
        };
        if column.generated {
            let what = format!("computes its column {} itself", quote_ident(name));
            return Err(refuse(table, what, "leave the column out under `columns`: green computes it"));
        }
        if column.drawn && !table.key.contains(&at) {
            return Err(refuse_drawn(table, name));
        }
        drawn.push(column.drawn);
        traits.key_text_is_exact &= column.text_is_exact || !table.key.contains(&at);
    }
    Ok(drawn)
}

/// Postgres lets such a column be set to nothing but its next number: what blue changes there would not arrive.
fn refuse_drawn(table: &GreenTable, name: &str) -> Failure {
    let column = quote_ident(name);
    let alter = format!("ALTER TABLE {} ALTER COLUMN {column} SET GENERATED", quote_table(&table.name));
    let what =
        format!("lets nobody set its column {column}: it is GENERATED ALWAYS AS IDENTITY and not in the key");
    refuse(table, what, format!("{alter} BY DEFAULT; after the flip {alter} ALWAYS"))
}

fn check_indexes(table: &GreenTable, indexes: &[Index], traits: &mut Traits) -> Result<(), Failure> {
    let key = table.key.iter().filter_map(|at| table.columns.get(*at)).collect::<Vec<_>>();
    let holds_key = |index: &Index| index.plain_unique && key.iter().all(|name| index.columns.contains(name));
    let is_key =
        |index: &Index| index.own && index.valid && holds_key(index) && index.columns.len() == key.len();
    traits.other_unique = !indexes.iter().all(holds_key);
    if key.is_empty() || !(traits.is_view || indexes.iter().any(is_key)) {
        let names = key.iter().map(|name| quote_ident(name)).collect::<Vec<_>>().join(", ");
        let remedy = format!(
            "give green a primary key or an immediate unique index on ({names}): ALTER TABLE {} ADD PRIMARY KEY ({names})",
            quote_table(&table.name)
        );
        return Err(refuse(table, format!("has no unique index on exactly ({names})"), remedy));
    }
    Ok(())
}
