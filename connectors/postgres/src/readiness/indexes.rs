//! Indexes: each of blue's has its like on green, and every one on green can be used.

use understudy_contract::Failure;

use super::Look;
use super::index_rows::{Index, read};
use super::lacks::Lacks;
use super::pairs::{Pair, all_on_blue, all_on_green};
use crate::ident::{quote_ident, quote_table};
use crate::preflight::{TableDescription, TableKind};

/// An index over columns that are not passed on unchanged is not looked for: what green needs instead, its owner knows.
/// Sort directions are not compared.
pub(super) async fn look(look: &mut Look<'_>, out: &mut Lacks) -> Result<(), Failure> {
    let pairs = look.pairs()?;
    let on_blue = read(look.blue, &all_on_blue(&pairs)).await?;
    let on_green = read(look.green, &all_on_green(&pairs)).await?;
    for pair in &pairs {
        for index in on_blue.iter().filter(|index| index.usable && !index.inherited && !index.exclusion) {
            let Some(table) = pair.on_blue.iter().find(|table| table.oid == index.table) else { continue };
            if pair.all_passed(&index.columns).is_some() {
                check_like(pair, table, index, &on_green, out);
            }
        }
    }
    on_green.iter().filter(|index| !index.usable).for_each(|index| tell_unusable(index, out));
    Ok(())
}

fn check_like(pair: &Pair<'_>, table: &TableDescription, index: &Index, on_green: &[Index], out: &mut Lacks) {
    // A partition's own index is matched by one of the whole table, or of the partition of that name.
    let places = pair.on_green.iter().filter(|place| {
        place.oid == pair.green.oid || (table.oid != pair.blue.oid && place.name.name == table.name.name)
    });
    let places = places.map(|place| place.oid).collect::<Vec<_>>();
    let mut candidates = on_green.iter().filter(|green| places.contains(&green.table));
    if candidates.any(|green| is_like(pair, index, green)) {
        return;
    }
    let unique = if index.unique { "unique " } else { "" };
    let reason = format!("has no {unique}like on green's {}", pair.green.name);
    let name_taken = on_green
        .iter()
        .any(|green| green.name.name == index.name.name && green.name.schema == pair.green.name.schema);
    out.add(format!("index {}", index.name), reason, create(pair, index, name_taken));
}

/// A unique index has to have the same keys: fewer refuse what blue allows, more allow what blue refuses.
fn is_like(pair: &Pair<'_>, blue: &Index, green: &Index) -> bool {
    let alike = pair.reads_alike(&blue.columns);
    let same_length = blue.keys.len() == green.keys.len();
    let as_strict =
        !blue.unique || (green.unique && same_length && blue.nulls_distinct == green.nulls_distinct);
    let keys = blue.keys.len() <= green.keys.len()
        && blue.keys.iter().zip(&green.keys).all(|(ours, theirs)| match (&ours.column, &theirs.column) {
            (Some(ours_on), Some(theirs_on)) => {
                pair.passed(ours_on) == Some(theirs_on) && (!alike || ours.class == theirs.class)
            }
            (None, None) => !alike || ours.text == theirs.text,
            _ => false,
        });
    let rows = match (&blue.predicate, &green.predicate) {
        (Some(ours), Some(theirs)) => !alike || ours == theirs,
        (ours, theirs) => ours.is_none() && theirs.is_none(),
    };
    // Texts that cannot be compared must at least read the same columns.
    let reads = alike || blue.is_plain() || {
        let mut mapped = pair.all_passed(&blue.columns).unwrap_or_default();
        mapped.sort();
        mapped == green.columns
    };
    blue.method == green.method && as_strict && keys && rows && reads
}

/// The statement that creates it, or words where expressions have to be rewritten by hand.
fn create(pair: &Pair<'_>, index: &Index, name_taken: bool) -> String {
    let alike = pair.reads_alike(&index.columns);
    if !alike && !index.is_plain() {
        return format!("create its like on {}, over the columns as they are named there", pair.green.name);
    }
    let key = |key: &super::index_rows::Key| {
        let column = key.column.as_deref().and_then(|column| pair.passed(column)).map(quote_ident);
        let text = column.unwrap_or_else(|| format!("({})", key.text));
        key.class.as_ref().filter(|_| alike).map_or(text.clone(), |class| format!("{text} {class}"))
    };
    let keys = index.keys.iter().map(key).collect::<Vec<_>>().join(", ");
    let included = pair.all_passed(&index.included).unwrap_or_default();
    let included = included.iter().map(|column| quote_ident(column)).collect::<Vec<_>>().join(", ");
    // A partitioned table's index cannot be built concurrently.
    let how = if pair.green.kind == TableKind::Partitioned { "" } else { "CONCURRENTLY " };
    let name = if name_taken { String::new() } else { format!("{} ", quote_ident(&index.name.name)) };
    let mut sql = format!(
        "CREATE {}INDEX {how}{name}ON {} USING {} ({keys})",
        if index.unique { "UNIQUE " } else { "" },
        quote_table(&pair.green.name),
        quote_ident(&index.method)
    );
    if !included.is_empty() {
        sql += &format!(" INCLUDE ({included})");
    }
    if !index.nulls_distinct {
        sql += " NULLS NOT DISTINCT";
    }
    index.predicate.iter().for_each(|predicate| sql += &format!(" WHERE {predicate}"));
    sql
}

fn tell_unusable(index: &Index, out: &mut Lacks) {
    let name = quote_table(&index.name);
    let left_over = index.name.name.contains("_ccnew") || index.name.name.contains("_ccold");
    let remedy = if index.partitioned {
        format!("create it on each partition, and ALTER INDEX {name} ATTACH PARTITION each")
    } else if left_over {
        format!("DROP INDEX CONCURRENTLY {name}")
    } else {
        format!("REINDEX INDEX CONCURRENTLY {name}")
    };
    out.add(format!("green index {}", index.name), "is not valid: queries do not use it", remedy);
}
