//! What people read of the ledger: mismatches, how far passes are, and when a row was last verified. Nothing is locked.

use understudy_contract::{
    Class, ComparedRoute, Failure, KnownMismatch, MismatchId, TableProgress, WhichMismatches,
};
use understudy_model::{Key, Lsn, TableName};

use super::claim::{age_ms, names};
use super::requests::is_missing;
use super::texts::{cause_of, items, key, key_of, kind_of, list, resolution_of};
use crate::ident::quote_table;
use crate::wire::{Client, Row};

/// SQL of a time as RFC 3339.
fn time(column: &str) -> String {
    format!("to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')")
}

fn columns() -> String {
    format!(
        "id, source_schema, source_name, target_schema, target_name, key, blue_key, kind, columns, cause, found_lsn, {}, \
         {}, by_stream, {}, waived_by, waived_reason, {}, resolution, {}",
        time("found_at"),
        age_ms("found_at"),
        time("repair_asked_at"),
        time("waived_at"),
        time("resolved_at")
    )
}

fn known(row: &Row) -> Result<KnownMismatch, Failure> {
    let text = |at| row.text(at).map(str::to_owned);
    let resolution = row.text(18).map(resolution_of).transpose()?;
    Ok(KnownMismatch {
        id: MismatchId(row.parse(0)?),
        source: TableName::new(row.required(1)?, row.required(2)?),
        target: TableName::new(row.required(3)?, row.required(4)?),
        key: key_of(row.required(5)?)?,
        blue_key: row.text(6).map(key_of).transpose()?,
        kind: kind_of(row.required(7)?)?,
        columns: items(row.required(8)?)?,
        cause: cause_of(row.required(9)?)?,
        found_lsn: row.parse(10)?,
        found_at: row.required(11)?.to_owned(),
        age_ms: row.parse(12)?,
        by_stream: row.is_true(13),
        repair_asked_at: text(14),
        waived: text(15).zip(text(16)).zip(text(17)).map(|((by, reason), at)| (by, reason, at)),
        resolved: resolution.zip(text(19)),
    })
}

/// Runs a query of the ledger. Where the bookkeeping is not there, nothing is known.
async fn rows(client: &mut Client, sql: &str, params: &[Option<&str>]) -> Result<Vec<Row>, Failure> {
    match client.query_with(sql, params).await {
        Err(failure) if is_missing(&failure) => Ok(Vec::new()),
        rows => rows.map_err(|failure| failure.while_doing("read the ledger of verification on green")),
    }
}

/// The mismatches of a migration, in the order in which they were found.
pub async fn mismatches(
    client: &mut Client,
    migration: &str,
    which: WhichMismatches,
) -> Result<Vec<KnownMismatch>, Failure> {
    let standing = match which {
        WhichMismatches::Standing => " AND (resolution IS NULL OR resolution = 'waived')",
        WhichMismatches::All => "",
    };
    let sql = format!(
        "SELECT {} FROM understudy.verify_mismatches WHERE migration = $1{standing} ORDER BY id",
        columns()
    );
    rows(client, &sql, &[Some(migration)]).await?.iter().map(known).collect()
}

/// One mismatch.
pub async fn mismatch(
    client: &mut Client,
    migration: &str,
    id: MismatchId,
) -> Result<Option<KnownMismatch>, Failure> {
    let sql =
        format!("SELECT {} FROM understudy.verify_mismatches WHERE migration = $1 AND id = $2", columns());
    let found = rows(client, &sql, &[Some(migration), Some(&id.to_string())]).await?;
    found.first().map(known).transpose()
}

/// The time on green, as text that [`progress`] takes.
pub async fn server_time(client: &mut Client) -> Result<String, Failure> {
    let rows = client.query("SELECT clock_timestamp()").await?;
    let row = rows.first().ok_or_else(|| Failure::new(Class::Internal, "green does not tell the time"))?;
    row.required(0).map(str::to_owned)
}

/// How far every route is, and how much of it has been verified since a time of [`server_time`].
pub async fn progress(
    client: &mut Client,
    migration: &str,
    since: &str,
) -> Result<Vec<TableProgress>, Failure> {
    let sql = format!(
        "SELECT r.source_schema, r.source_name, r.target_schema, r.target_name, r.pass, r.completed, {}, \
         coalesce(r.completed_at > $2 AND s.anew = s.ranges, false), coalesce(s.ranges, 0), coalesce(s.anew, 0), \
         coalesce(s.verified, 0), coalesce(s.rows, 0), coalesce(s.rows_verified, 0), coalesce(s.rows_seen, 0), \
         CASE WHEN s.ever = s.ranges THEN {} END, coalesce(m.missing, 0), coalesce(m.extra, 0), coalesce(m.differs, 0), \
         coalesce(m.waived, 0) FROM understudy.verify_routes AS r LEFT JOIN LATERAL (SELECT count(*) AS ranges, \
         count(*) FILTER (WHERE one.verified_at > $2::timestamptz) AS anew, \
         count(*) FILTER (WHERE one.verified >= r.dirty_upto) AS verified, count(one.verified) AS ever, \
         sum(one.rows) FILTER (WHERE one.sweep <> 'green') AS rows, \
         sum(one.rows) FILTER (WHERE one.verified >= r.dirty_upto) AS rows_verified, sum(one.rows) AS rows_seen, \
         min(one.verified_at) AS oldest FROM understudy.verify_ranges AS one \
         WHERE one.migration = r.migration AND one.route = r.route) AS s ON true \
         LEFT JOIN LATERAL (SELECT count(*) FILTER (WHERE resolution IS NULL AND kind = 'missing') AS missing, \
         count(*) FILTER (WHERE resolution IS NULL AND kind = 'extra') AS extra, \
         count(*) FILTER (WHERE resolution IS NULL AND kind = 'differs') AS differs, \
         count(*) FILTER (WHERE resolution = 'waived') AS waived FROM understudy.verify_mismatches AS one \
         WHERE one.migration = r.migration AND (resolution IS NULL OR resolution = 'waived') \
         AND (one.source_schema, one.source_name, one.target_schema, one.target_name) = \
         (r.source_schema, r.source_name, r.target_schema, r.target_name)) AS m ON true \
         WHERE r.migration = $1 ORDER BY r.route",
        age_ms("r.completed_at"),
        age_ms("s.oldest")
    );
    let one = |row: &Row| {
        Ok(TableProgress {
            source: TableName::new(row.required(0)?, row.required(1)?),
            target: TableName::new(row.required(2)?, row.required(3)?),
            pass: row.parse(4)?,
            completed: row.parse(5)?,
            completed_age_ms: row.optional(6)?,
            anew: row.is_true(7),
            ranges: row.parse(8)?,
            ranges_anew: row.parse(9)?,
            ranges_verified: row.parse(10)?,
            rows: row.parse(11)?,
            rows_verified: row.parse(12)?,
            rows_seen: row.parse(13)?,
            oldest_age_ms: row.optional(14)?,
            open: [row.parse(15)?, row.parse(16)?, row.parse(17)?],
            waived: row.parse(18)?,
        })
    };
    rows(client, &sql, &[Some(migration), Some(since)]).await?.iter().map(one).collect()
}

/// When the range that holds a row was last verified: where blue's log was, and milliseconds since. `None` where that is
/// not known.
pub async fn range_of(
    client: &mut Client,
    migration: &str,
    route: &ComparedRoute,
    of: &Key,
) -> Result<Option<(Lsn, u64)>, Failure> {
    let table = quote_table(&route.green.table);
    let names_of_key = list(route.green.key.iter().map(|part| part.name.as_str()));
    let sql = "SELECT format_type(a.atttypid, a.atttypmod), CASE WHEN c.oid IS NOT NULL THEN \
        quote_ident(n.nspname) || '.' || quote_ident(c.collname) END FROM unnest($2::text[]) WITH ORDINALITY AS k (name, place) \
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = to_regclass($1) AND a.attname = k.name AND NOT a.attisdropped \
        LEFT JOIN pg_catalog.pg_collation AS c ON c.oid = a.attcollation \
        LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = c.collnamespace ORDER BY k.place";
    let types = client.query_with(sql, &[Some(&table), Some(&names_of_key)]).await?;
    if types.is_empty() || types.len() != route.green.key_order.len() {
        return Ok(None);
    }
    // In the order of the index, while keys are written in the order of the route's key.
    let side = |array: &str| -> Result<String, Failure> {
        let mut parts = Vec::new();
        for (row, place) in types.iter().zip(&route.green.key_order) {
            let collate = row.text(1).map_or(String::new(), |name| format!(" COLLATE {name}"));
            parts.push(format!("({array})[{}]::{}{collate}", place + 1, row.required(0)?));
        }
        Ok(format!("ROW({})", parts.join(", ")))
    };
    let (row, after, upto) = (side("$6::text[]")?, side("s.after")?, side("s.upto")?);
    let sql = format!(
        "SELECT s.verified, {} FROM understudy.verify_routes AS r \
         JOIN understudy.verify_ranges AS s ON s.migration = r.migration AND s.route = r.route AND s.sweep <> 'blue' \
         WHERE r.migration = $1 AND (r.source_schema, r.source_name, r.target_schema, r.target_name) = ($2, $3, $4, $5) \
         AND s.verified IS NOT NULL AND (s.after IS NULL OR {row} > {after}) AND (s.upto IS NULL OR {row} <= {upto}) LIMIT 1",
        age_ms("s.verified_at")
    );
    let text = key(of);
    let mut params = vec![Some(migration)];
    params.extend(names(route).map(Some));
    params.push(Some(&text));
    let found = rows(client, &sql, &params).await?;
    found.first().map(|row| Ok((row.parse(0)?, row.parse(1)?))).transpose()
}
