//! How a server means to answer a query: which relations it reads as a whole, and which through an index.

use understudy_contract::{Failure, ProbeQuery, ScannedRelation};

use super::session::{Connection, Stepped};
use crate::wire::Row;

/// The name under which a query is prepared to be explained.
const NAME: &str = "understudy_explained";

/// The plan goes back to the server to be taken apart. A table that was never analyzed is estimated by its size, as the
/// planner does.
const RELATIONS: &str = "SELECT node ->> 'Schema', node ->> 'Relation Name', \
       pg_catalog.bool_or(node ->> 'Node Type' = 'Seq Scan'), \
       pg_catalog.max(CASE WHEN c.reltuples > 0 AND c.relpages > 0 \
         THEN c.reltuples * (pg_catalog.pg_relation_size(c.oid) / 8192.0) / c.relpages \
         ELSE pg_catalog.pg_relation_size(c.oid) / 100.0 END)::bigint \
     FROM (SELECT DISTINCT node FROM pg_catalog.jsonb_path_query($1::pg_catalog.jsonb, \
         '$.** ? (exists (@.\"Relation Name\"))') AS node) AS nodes \
     JOIN pg_catalog.pg_namespace AS n ON n.nspname = node ->> 'Schema' \
     JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = node ->> 'Relation Name' \
     WHERE node ->> 'Node Type' IN ('Seq Scan', 'Index Scan', 'Index Only Scan', 'Bitmap Heap Scan') \
     GROUP BY 1, 2 ORDER BY 1, 2";

/// The relations that the query's generic plan reads, in a transaction of its own that is still open afterwards.
pub(super) async fn scanned(
    connection: &mut Connection,
    query: &ProbeQuery,
) -> Stepped<Vec<ScannedRelation>> {
    connection.begin("SELECT", &[]).await?;
    let takes = connection.prepared(&query.sql).await?.parameter_types().len();
    let client = &mut connection.client;
    client.batch("SET LOCAL plan_cache_mode = force_generic_plan").await?;
    // Not undone with the transaction: left over from one that failed, it is in the way.
    let left = "SELECT FROM pg_catalog.pg_prepared_statements WHERE name = $1";
    if !client.query_with(left, &[Some(NAME)]).await?.is_empty() {
        client.batch(&format!("DEALLOCATE {NAME}")).await?;
    }
    client.query_with(&format!("PREPARE {NAME} AS {}", query.sql), &[]).await?;
    let nulls = vec!["NULL"; takes].join(", ");
    let arguments = if takes > 0 { format!("({nulls})") } else { String::new() };
    let plan = client.query(&format!("EXPLAIN (FORMAT JSON, VERBOSE) EXECUTE {NAME}{arguments}")).await?;
    client.batch(&format!("DEALLOCATE {NAME}; SET LOCAL search_path = ''")).await?;
    let plan = plan.iter().filter_map(|row| row.text(0)).collect::<Vec<_>>().join("\n");
    let rows = client.query_with(RELATIONS, &[Some(plan.as_str())]).await?;
    Ok(rows.iter().map(relation).collect::<Result<_, _>>()?)
}

fn relation(row: &Row) -> Result<ScannedRelation, Failure> {
    let name = format!("{}.{}", row.required(0)?, row.required(1)?);
    Ok(ScannedRelation { name, rows: row.parse(3)?, sequential: row.is_true(2) })
}
