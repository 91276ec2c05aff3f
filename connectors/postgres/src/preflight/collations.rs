//! Collations whose library has changed under the indexes that were built with it.

use understudy_contract::{Failure, Findings};

use super::describe::TableDescription;
use super::side::{Side, oids};
use crate::ident::quote_ident;
use crate::wire::Client;

/// The database's collation, and those that columns of these tables name.
pub(super) async fn check_collations(
    client: &mut Client,
    side: &Side,
    tables: &[&TableDescription],
    out: &mut Findings,
) -> Result<(), Failure> {
    if side.version >= 150_000 {
        let rows = client
            .query(
                "SELECT d.datcollversion, pg_catalog.pg_database_collation_actual_version(d.oid) \
                 FROM pg_catalog.pg_database d WHERE d.datname = current_database()",
            )
            .await?;
        for row in rows {
            let remedy = format!(
                "REINDEX DATABASE, then ALTER DATABASE {} REFRESH COLLATION VERSION",
                quote_ident(&side.database)
            );
            let subject = format!("{} database {}", side.label, side.database);
            mismatch(subject, row.text(0), row.text(1), &remedy, out);
        }
    }
    let rows = client
        .query(&format!(
            "SELECT DISTINCT n.nspname, l.collname, l.collversion, pg_catalog.pg_collation_actual_version(l.oid) \
             FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation \
             JOIN pg_catalog.pg_namespace n ON n.oid = l.collnamespace \
             WHERE a.attrelid = ANY ('{}'::oid[]) AND a.attnum > 0 AND NOT a.attisdropped AND l.collversion IS NOT NULL \
             ORDER BY 1, 2",
            oids(tables.iter().copied())
        ))
        .await?;
    for row in rows {
        let (schema, name) = (quote_ident(row.required(0)?), quote_ident(row.required(1)?));
        let remedy = format!("reindex what uses it, then ALTER COLLATION {schema}.{name} REFRESH VERSION");
        mismatch(
            format!("{} collation {}", side.label, row.required(1)?),
            row.text(2),
            row.text(3),
            &remedy,
            out,
        );
    }
    Ok(())
}

fn mismatch(subject: String, recorded: Option<&str>, actual: Option<&str>, remedy: &str, out: &mut Findings) {
    if let (Some(recorded), Some(actual)) = (recorded, actual)
        && recorded != actual
    {
        let what = format!(
            "was built with version {recorded} of its library, which now is {actual}: unique indexes over texts may be wrong"
        );
        out.warning("collation-version-mismatch", subject, what, remedy);
    }
}
