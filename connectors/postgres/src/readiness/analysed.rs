//! Statistics of green's tables: without them the first minutes after the flip run on bad plans.

use understudy_contract::Failure;

use super::Look;
use super::lacks::Lacks;
use super::pairs::all_on_green;
use crate::ident::quote_table;
use crate::wire::Row;
use understudy_model::TableName;

pub(super) async fn look(look: &mut Look<'_>, out: &mut Lacks) -> Result<(), Failure> {
    let pairs = look.pairs()?;
    for pair in pairs.iter().filter(|pair| !pair.route.copied_before) {
        let what = "its first copy is not complete: statistics taken now would be outdated after it";
        out.add(format!("green table {}", pair.route.target), what, "wait for the copy");
    }
    let rows = look.green.query(&sql(&all_on_green(&pairs))).await?;
    rows.iter().try_for_each(|row| tell(row, out))
}

/// A partitioned table counts no changes of its own; what it inherits is analysed by hand only.
fn sql(oids: &str) -> String {
    format!(
        "SELECT n.nspname, c.relname, c.relkind = 'p', c.reltuples::bigint, \
           coalesce(s.last_analyze, s.last_autoanalyze) IS NOT NULL, \
           coalesce(s.n_mod_since_analyze, 0), coalesce(s.n_live_tup, 0) \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         LEFT JOIN pg_catalog.pg_stat_all_tables s ON s.relid = c.oid \
         WHERE c.oid = ANY ('{oids}'::oid[]) AND c.relkind IN ('r', 'p') ORDER BY 1, 2"
    )
}

fn tell(row: &Row, out: &mut Lacks) -> Result<(), Failure> {
    let table = TableName::new(row.required(0)?, row.required(1)?);
    let (partitioned, analysed) = (row.is_true(2), row.is_true(4));
    let (tuples, changed, live): (i64, i64, i64) = (row.parse(3)?, row.parse(5)?, row.parse(6)?);
    let reason = if tuples < 0 || !(analysed || partitioned) {
        "has never been analysed".to_owned()
    } else if outgrown(tuples, changed, live) {
        format!("was analysed with {tuples} rows and has {live} now")
    } else {
        return Ok(());
    };
    out.add(format!("green table {table}"), reason, format!("ANALYZE {}", quote_table(&table)));
    Ok(())
}

/// More rows have changed than there were, and there are more than twice as many. A small table whose few rows change
/// all the time is not meant: its statistics hold.
fn outgrown(tuples: i64, changed: i64, live: i64) -> bool {
    const SLACK: i64 = 50;
    changed > tuples + SLACK && live > 2 * tuples + SLACK
}
