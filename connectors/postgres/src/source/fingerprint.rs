//! The digest of a table's columns by which a change of schema is noticed, the same for chunks and for the catalog.

use understudy_contract::{Class, Failure};

/// SQL for the digest of a table, given an expression for its object id: 16 hexadecimal digits.
///
/// Over name, type and modifier of the live columns in order. Generated columns are left out, as they are not published;
/// types count by object id, so that renaming a type, which changes no value, changes nothing here. The root of a
/// partition counts too: a chunk of a leaf that has been detached holds rows that its route no longer has.
pub(crate) fn sql(table: &str) -> String {
    format!(
        "(SELECT left(encode(sha256(convert_to(\
           coalesce(pg_catalog.pg_partition_root({table})::oid::text, '') || ' ' || coalesce(string_agg(\
           quote_ident(a.attname) || ' ' || a.atttypid || ' ' || a.atttypmod, ',' ORDER BY a.attnum), ''), 'UTF8')), 'hex'), 16) \
         FROM pg_catalog.pg_attribute a \
         WHERE a.attrelid = {table} AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '')"
    )
}

/// The digest as a number.
pub(crate) fn parse(digits: &str) -> Result<u64, Failure> {
    u64::from_str_radix(digits, 16)
        .map_err(|_| Failure::new(Class::Internal, "a schema digest is not 16 hexadecimal digits"))
}
