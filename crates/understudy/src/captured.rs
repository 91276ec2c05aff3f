//! Tables that go into a log as they are, compared with how they were.

use understudy_contract::{Failure, Saved};
use understudy_model::TableName;
use understudy_transform::RouteSpec;

use crate::prepare::{RouteChanges, compare_routes};

/// Compares the tables with what a capture remembers. Nobody maps them here, so that one which has lost columns goes on without
/// them, and one that has others besides is copied again: what either means is for those to say who read the log.
pub(crate) fn compare_tables(
    saved: &Saved,
    tables: &[RouteSpec],
    recopy: &[TableName],
) -> Result<RouteChanges, Failure> {
    let mut adapted = saved.clone();
    let mut others = Vec::new();
    for known in adapted.routes.iter_mut().filter(|known| known.published.is_some()) {
        let Some(now) = tables.iter().find(|table| Some(table.id) == known.route) else { continue };
        let is_same = known.fingerprint == now.fingerprint() || now.extends(&known.fingerprint);
        if is_same || !now.keeps_keys_of(&known.fingerprint) {
            continue;
        }
        if !now.narrows(&known.fingerprint) {
            others.push(now.id);
        }
        known.fingerprint = now.fingerprint();
    }
    let mut changes = compare_routes(&adapted, tables, recopy)?;
    others.retain(|id| !changes.recopied.contains(id));
    changes.recopied.extend(others);
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use understudy_model::RouteId;
    use understudy_transform::{BlueTable, Mapping};

    use super::*;
    use crate::prepare::tests::saved_of;

    fn table(columns: &[&str], key: &[&str]) -> RouteSpec {
        let table = BlueTable::named(TableName::new("public", "t"), columns, key);
        RouteSpec::compile(RouteId(0), &table, (table.name.clone(), None), Mapping::default()).unwrap()
    }

    /// A column that is dropped on blue must not stop a capture: whether anybody needs it is known to those who map it. Rows that
    /// lack a column's values are copied again, and a key that is another one stays for an operator to see to.
    #[test]
    fn a_capture_takes_tables_as_they_are() {
        let known = saved_of(&table(&["id", "n", "note"], &["id"]), 100);
        let again = |columns: &[&str], key: &[&str]| {
            let compared = compare_tables(&known, &[table(columns, key)], &[]);
            compared.map(|changes| changes.recopied).map_err(|failure| failure.to_string()).ok()
        };
        assert_eq!(again(&["id", "n", "note"], &["id"]), Some(vec![]));
        assert_eq!(again(&["id", "n"], &["id"]), Some(vec![]), "it goes on without what is gone");
        assert_eq!(again(&["id", "n", "note", "more"], &["id"]), Some(vec![RouteId(0)]));
        assert_eq!(again(&["id", "n", "more"], &["id"]), Some(vec![RouteId(0)]));
        assert!(again(&["id", "n", "note"], &["id", "n"]).is_none());
    }
}
