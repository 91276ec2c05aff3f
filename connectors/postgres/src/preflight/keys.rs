//! By which columns of green a route names its rows, and whether that tells all rows of blue apart.

use understudy_contract::Findings;
use understudy_model::ReplicaIdentity;

use super::describe::TableDescription;
use super::plan::{PlannedSource, PlannedTable};
use super::side::Side;
use crate::ident::{quote_ident, quote_table};

/// How rows of a route are named on green.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum GreenKey {
    /// By blue's key, passed on.
    Passed(Vec<String>),
    /// By a key of green's own.
    Own(Vec<String>),
}

impl GreenKey {
    /// Its columns on green.
    pub(super) fn columns(&self) -> &[String] {
        match self {
            GreenKey::Passed(columns) | GreenKey::Own(columns) => columns,
        }
    }
}

/// The key that the route will use. `None` where it has none: then there is an error about that.
pub(super) fn green_key(
    route: &PlannedTable,
    source: &TableDescription,
    target: &TableDescription,
) -> Option<GreenKey> {
    let image = image(route, source)?.ok();
    if let Some(image) = image.filter(|image| target.key_index(image).is_some()) {
        return Some(GreenKey::Passed(image));
    }
    let own = &target.unique.iter().find(|index| index.usable_as_key)?.columns;
    own.iter().all(|name| is_sent(route, source, name)).then(|| GreenKey::Own(own.clone()))
}

/// Green's columns that take blue's key unchanged, or the first column of blue's key that none takes.
fn image<'a>(route: &PlannedTable, source: &'a TableDescription) -> Option<Result<Vec<String>, &'a str>> {
    let key = source.key.as_ref()?;
    let taken = |column: &'a String| route.target_of(column).map(str::to_owned).ok_or(column.as_str());
    Some(key.iter().map(taken).collect())
}

/// Whether a column of green is made of nothing but what blue sends of an old row.
fn is_sent(route: &PlannedTable, source: &TableDescription, column: &str) -> bool {
    route.source_of(column).is_some_and(|from| unsent(source, from).is_none())
}

/// A column of blue that is not sent with an update or delete.
fn unsent<'a>(source: &TableDescription, from: &'a PlannedSource) -> Option<&'a str> {
    let is_sent = |input: &&String| {
        source.identity == ReplicaIdentity::Full || source.key.iter().flatten().any(|name| name == *input)
    };
    from.inputs().iter().find(|input| !is_sent(input)).map(String::as_str)
}

/// Rows are found on green by a key: that needs a unique index there, over what blue sends of every row.
pub(super) fn check_key(
    route: &PlannedTable,
    source: &TableDescription,
    target: &TableDescription,
    (blue, green): (&Side, &Side),
    out: &mut Findings,
) {
    let Some(image) = image(route, source) else { return };
    match green_key(route, source, target) {
        Some(GreenKey::Passed(_)) => return,
        Some(GreenKey::Own(own)) => return check_own(route, (source, image), (target, &own), green, out),
        None => {}
    }
    let own = target.unique.iter().find(|index| index.usable_as_key);
    match (image, own) {
        (Ok(image), _) => no_index(source, target, &image, green, out),
        (Err(column), None) => key_not_mapped(source, target, column, green, out),
        (Err(_), Some(own)) => {
            for name in &own.columns {
                check_own_column(route, (source, target), name, (blue, green), out);
            }
        }
    }
}

fn key_not_mapped(
    source: &TableDescription,
    target: &TableDescription,
    column: &str,
    green: &Side,
    out: &mut Findings,
) {
    out.error(
        "key-not-mapped",
        green.of(&target.name),
        format!("column {column} is part of the key of {} and fills no column here", source.name),
        "map every key column in the migration file",
    );
}

fn no_index(
    source: &TableDescription,
    target: &TableDescription,
    image: &[String],
    green: &Side,
    out: &mut Findings,
) {
    if image.iter().any(|name| target.column(name).is_none()) {
        return;
    }
    let columns = image.iter().map(|name| quote_ident(name)).collect::<Vec<_>>().join(", ");
    let table = quote_table(&target.name);
    let remedy = if target.unique.iter().any(|index| index.primary) {
        let not_null = image.iter().map(|name| format!(", ALTER COLUMN {} SET NOT NULL", quote_ident(name)));
        format!("ALTER TABLE {table} ADD UNIQUE ({columns}){}", not_null.collect::<String>())
    } else {
        format!("ALTER TABLE {table} ADD PRIMARY KEY ({columns})")
    };
    let what = format!(
        "no unique index over exactly ({}), the key of {}, that is valid, immediate, not partial, and free of nulls",
        image.join(", "),
        source.name
    );
    out.error("target-key-not-unique", green.of(&target.name), what, remedy);
}

/// A column of green's own key that cannot be told from what blue sends.
fn check_own_column(
    route: &PlannedTable,
    (source, target): (&TableDescription, &TableDescription),
    name: &str,
    (blue, green): (&Side, &Side),
    out: &mut Findings,
) {
    let subject = green.column_of(&target.name, name);
    let Some(from) = route.source_of(name) else {
        let what = format!("is part of the key, and nothing from {} fills it", source.name);
        let remedy =
            "fill it in the migration file, or give green a unique index over the images of blue's key";
        out.error("key-not-filled", subject, what, remedy);
        return;
    };
    let Some(input) = unsent(source, from) else { return };
    let what = format!(
        "is part of the key and made of {}, which blue does not send with an update or delete",
        blue.column_of(&source.name, input)
    );
    let remedy = format!(
        "ALTER TABLE {} REPLICA IDENTITY FULL, or give green a unique index over the images of blue's key",
        quote_table(&source.name)
    );
    out.error("key-not-carried", subject, what, remedy);
}

/// Two rows of blue that come to the same key on green would be one row there.
fn check_own(
    route: &PlannedTable,
    (source, image): (&TableDescription, Result<Vec<String>, &str>),
    (target, own): (&TableDescription, &[String]),
    green: &Side,
    out: &mut Findings,
) {
    let from = own.iter().filter_map(|name| route.source_of(name)).collect::<Vec<_>>();
    let is_passed = |name: &String| from.iter().any(|from| **from == PlannedSource::Column(name.clone()));
    let is_read = |name: &String| from.iter().any(|from| from.inputs().contains(name));
    let mut keys = source.unique.iter().filter(|index| index.usable_as_key).map(|index| &index.columns);
    if keys.clone().any(|key| key.iter().all(is_passed)) {
        return;
    }
    let subject = green.of(&target.name);
    let names = own.join(", ");
    if keys.any(|key| key.iter().all(is_read)) {
        let what = format!(
            "has the key ({names}), which is computed from the key of {}: rows for which it comes out the same would be one row here",
            source.name
        );
        let remedy = "make sure that different rows of blue come to different keys";
        out.warning("key-computed", subject, what, remedy);
        return;
    }
    if !route.filtered() {
        match image {
            Ok(image) => no_index(source, target, &image, green, out),
            Err(column) => key_not_mapped(source, target, column, green, out),
        }
        return;
    }
    let what = format!(
        "has the key ({names}), which says less than the key of {}: rows that agree in it would be one row here",
        source.name
    );
    let remedy = "make sure that the condition under `where` leaves one row of blue for each, and that it reads columns of \
                  blue's key alone or the table has REPLICA IDENTITY FULL";
    out.warning("key-narrowed", subject, what, remedy);
}
