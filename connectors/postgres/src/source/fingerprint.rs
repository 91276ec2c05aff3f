//! The digests by which changes of a table's columns are noticed: one for chunks and catalog alike, and the marks of those
//! that a route reads.

use understudy_contract::{Class, ColumnMarks, Failure};

/// SQL for the digest of a table, given an expression for its object id: 16 hexadecimal digits.
///
/// Over name, number, type and modifier of the live columns in order; by its number a column is told from one of the same
/// name that was dropped before. Generated columns are left out, as they are not published; types count by object id, so
/// that renaming a type, which changes no value, changes nothing here. The root of a partition counts too: a chunk of a
/// leaf that has been detached holds rows that its route no longer has.
pub(crate) fn sql(table: &str) -> String {
    let columns = "coalesce(string_agg(quote_ident(a.attname) || ' ' || a.attnum || ' ' || a.atttypid || ' ' || \
        a.atttypmod, ',' ORDER BY a.attnum), '')";
    let root = format!("coalesce(pg_catalog.pg_partition_root({table})::oid::text, '')");
    format!(
        "(SELECT {digest} FROM pg_catalog.pg_attribute a \
         WHERE a.attrelid = {table} AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '')",
        digest = digest(&format!("{root} || ' ' || {columns}"))
    )
}

/// A query for the marks of a table, given expressions for its object id and for the names of the columns that a route
/// reads and of those that make up its key, each a `name[]`: three digests, null while one of the columns is missing.
///
/// The first is over names, numbers and types: some types have another text for the same bytes, so that no row is written
/// anew when one becomes the other; `varchar` and `text` have the same. The second is also over modifiers and over the
/// transaction that wrote each description.
/// Every ALTER COLUMN ... TYPE writes it, to the same type too; VACUUM FULL, CLUSTER, TRUNCATE and ANALYZE do not, but that a
/// rewrite takes note of it where a constant default no longer has to be filled in.
///
/// The third is over names, numbers and that transaction for the key alone.
pub(crate) fn marks_sql(table: &str, columns: &str, key: &str) -> String {
    let list = |parts: &str, only: &str| {
        let all =
            format!("string_agg(quote_ident(a.attname) || ' ' || {parts}, ',' ORDER BY a.attname){only}");
        let all = format!("coalesce({all}, '')");
        format!("CASE WHEN count(*) = cardinality({columns}) THEN {} END", digest(&all))
    };
    format!(
        "SELECT {} AS places, {} AS written, {} AS keys FROM pg_catalog.pg_attribute a \
         WHERE a.attrelid = {table} AND a.attnum > 0 AND NOT a.attisdropped AND a.attname = ANY ({columns})",
        list("a.attnum || ' ' || CASE a.atttypid WHEN 1043 THEN 25 ELSE a.atttypid::bigint END", ""),
        list("a.attnum || ' ' || a.atttypid || ' ' || a.atttypmod || ' ' || a.xmin", ""),
        list("a.attnum || ' ' || a.xmin", &format!(" FILTER (WHERE a.attname = ANY ({key}))")),
    )
}

/// SQL for the digest of a text.
pub(crate) fn digest(text: &str) -> String {
    format!("left(encode(sha256(convert_to({text}, 'UTF8')), 'hex'), 16)")
}

/// The digest as a number.
pub(crate) fn parse(digits: &str) -> Result<u64, Failure> {
    u64::from_str_radix(digits, 16)
        .map_err(|_| Failure::new(Class::Internal, "a schema digest is not 16 hexadecimal digits"))
}

/// The marks from what the query for them returns.
pub(crate) fn marks(digits: [Option<&str>; 3]) -> Result<Option<ColumnMarks>, Failure> {
    let [Some(places), Some(written), Some(keys)] = digits else { return Ok(None) };
    Ok(Some(ColumnMarks { places: parse(places)?, written: parse(written)?, keys: parse(keys)? }))
}
