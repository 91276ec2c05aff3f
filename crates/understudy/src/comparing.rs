//! Routes as they are compared: both sides' SQL, by which keys, and by which rule each column counts as equal.

use understudy_contract::{
    ColumnQuery, CompareRule, ComparedColumn, ComparedRoute, Failure, KeyPart, KeyRelation, SideQuery,
};
use understudy_model::TableName;
use understudy_postgres::ident::{quote_ident, quote_literal, quote_table};
use understudy_postgres::preflight::{TableDescription, TableKind};
use understudy_transform::expr::{Modifier, SqlType};
use understudy_transform::{ColumnSource, RouteSpec};

use crate::mapping::{Both, Drawn, gathered};
use crate::settings::{Problem, Settings};

/// The routes as they are compared, in their order; fails with every rule that names no column.
pub fn compared_routes(
    settings: &Settings,
    drawn: &[Drawn<'_>],
    both: &Both,
) -> Result<Vec<ComparedRoute>, Failure> {
    let verifies = settings.verify.enabled;
    gathered(&settings.file, drawn.iter().map(|one| compared(one, both, verifies)))
}

/// Routes into items as they are compared, in their order. Blue tells its values as they are; whoever reads the items puts both into
/// one form, and reads green in its own way.
pub(crate) fn compared_into_items(
    settings: &Settings,
    drawn: &[Drawn<'_>],
) -> Result<Vec<ComparedRoute>, Failure> {
    let compared = |one: &Drawn<'_>| {
        let rules = rules(one)?;
        let as_it_is = vec![CompareRule::Exact; rules.len()];
        let order = Order::into_items(&one.spec);
        let blue = blue_side(one, &as_it_is, &order);
        Ok(route(one, rules, order.relation, (blue.clone(), blue)))
    };
    gathered(&settings.file, drawn.iter().map(compared))
}

fn compared(one: &Drawn<'_>, both: &Both, verifies: bool) -> Result<ComparedRoute, Problem> {
    let rules = rules(one)?;
    let order = Order::of(one, both);
    if verifies && order.relation != KeyRelation::Computed {
        same_texts(one)?;
    }
    let sides = (blue_side(one, &rules, &order), green_side(one, both, &rules, &order));
    Ok(route(one, rules, order.relation, sides))
}

fn route(
    one: &Drawn<'_>,
    rules: Vec<CompareRule>,
    relation: KeyRelation,
    (blue, green): (SideQuery, SideQuery),
) -> ComparedRoute {
    let spec = &one.spec;
    let columns = spec.columns.iter().zip(rules);
    let columns: Vec<_> =
        columns.map(|(column, rule)| ComparedColumn { name: column.name.clone(), rule }).collect();
    let told = columns.iter().map(|column| format!("{:?}: {}; ", column.name, column.rule));
    let fingerprint = format!("{relation:?} {}{}", spec.fingerprint(), told.collect::<String>());
    ComparedRoute {
        route: spec.id,
        source: spec.source.clone(),
        target: spec.target.clone(),
        keys: relation,
        columns,
        key: spec.key.clone(),
        blue,
        green,
        rows_estimate: one.taken.table.rows_estimate,
        fingerprint,
    }
}

/// The rule of each column: the one that the file gives, or what its type asks for.
fn rules(one: &Drawn<'_>) -> Result<Vec<CompareRule>, Problem> {
    let given = &one.taken.entry.compare;
    let names = one.spec.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>();
    let by_pattern = one.taken.entry.filter.is_none() && one.taken.entry.columns.is_none();
    if let Some((column, _)) = given.iter().find(|(column, _)| !names.contains(&column.as_str()))
        && !(by_pattern && one.taken.entry.takes_several())
    {
        let what = format!("`{column}` is not a column that is filled on green");
        let remedy = format!("the columns of {} are: {}", one.spec.target, names.join(", "));
        return Err(Problem::at(one.taken.entry.place, "compare", what).remedy(remedy));
    }
    let rule = |name: &&str| {
        let own = given.iter().find(|(column, _)| column == name).map(|(_, rule)| rule.clone());
        own.unwrap_or_else(|| if is_padded(one, name) { CompareRule::Trim } else { CompareRule::Exact })
    };
    let rules = names.iter().map(rule).collect::<Vec<_>>();
    let in_key = |at: &&usize| rules[**at] == CompareRule::Ignore;
    if let Some(at) = one.spec.key.iter().find(in_key) {
        let what = format!("`{}` is part of green's key, and cannot be ignored", names[*at]);
        return Err(Problem::at(one.taken.entry.place, "compare", what).remedy("take the line out"));
    }
    Ok(rules)
}

/// Rows are known by the texts of their keys: a key that green writes in another way would name no row of blue.
fn same_texts(one: &Drawn<'_>) -> Result<(), Problem> {
    for (at, name) in one.spec.key.iter().zip(&one.spec.key_source) {
        let column = &one.spec.columns[*at].name;
        let blue =
            one.blue.scope.as_ref().and_then(|scope| scope.columns.iter().find(|known| known.name == *name));
        let green =
            one.green.as_ref().and_then(|green| green.columns.iter().find(|known| known.name == *column));
        let (Some(blue), Some(green)) = (blue, green) else { continue };
        if !writes_alike((&blue.ty, blue.modifier), (&green.ty, green.modifier)) {
            let what = format!(
                "green writes the key column `{column}` as another text than blue writes `{name}`, so that rows cannot be \
                 compared by it"
            );
            let remedy = "give green's column the type and the scale that blue's has, or set `verify: { enabled: false }`";
            return Err(Problem::at(one.taken.entry.place, "", what).remedy(remedy));
        }
    }
    Ok(())
}

/// Whether a value of the one type has the same text when the other stores it.
fn writes_alike((blue, of_blue): (&SqlType, Modifier), (green, of_green): (&SqlType, Modifier)) -> bool {
    let scale = |modifier: Modifier| modifier.precision_and_scale().map(|(_, scale)| scale);
    match (blue.base(), green.base()) {
        (SqlType::Numeric, SqlType::Numeric) => {
            scale(of_green).is_none() || scale(of_blue) == scale(of_green)
        }
        (SqlType::Int2 | SqlType::Int4 | SqlType::Int8, SqlType::Numeric) => {
            scale(of_green).is_none_or(|scale| scale == 0)
        }
        (SqlType::Bpchar, SqlType::Bpchar) => of_blue == of_green,
        (SqlType::Text | SqlType::Varchar, SqlType::Bpchar) => false,
        (SqlType::Date, SqlType::Timestamp | SqlType::TimestampTz)
        | (SqlType::Timestamp, SqlType::TimestampTz) => false,
        _ => true,
    }
}

/// Whether green fills a column up with blanks.
fn is_padded(one: &Drawn<'_>, name: &str) -> bool {
    let stored = one.green.as_ref().and_then(|green| green.columns.iter().find(|known| known.name == name));
    stored.is_some_and(|stored| *stored.ty.base() == SqlType::Bpchar)
}

/// By which keys both sides are read, and how these relate.
struct Order {
    relation: KeyRelation,
    /// Blue's key columns in the order in which it is read, each with its place in the route's source key.
    blue: Vec<(String, usize)>,
    /// Green's key columns in the order in which it is read, each with its place in the route's key.
    green: Vec<(String, usize)>,
}

impl Order {
    /// Items have an order that nothing on blue has.
    fn into_items(spec: &RouteSpec) -> Order {
        let placed =
            |names: Vec<String>| names.into_iter().enumerate().map(|(at, name)| (name, at)).collect();
        let green = spec.key.iter().map(|at| spec.columns[*at].name.clone()).collect();
        Order { relation: KeyRelation::Computed, blue: placed(spec.key_source.clone()), green: placed(green) }
    }

    fn of(one: &Drawn<'_>, both: &Both) -> Order {
        let spec = &one.spec;
        let green_names = spec.key.iter().map(|at| spec.columns[*at].name.clone()).collect::<Vec<_>>();
        let green_table = both.green.table(&spec.target);
        let blue = by_index(Some(one.taken.table), &spec.key_source);
        let green = by_index(green_table, &green_names);
        if !spec.passes_key() {
            return Order { relation: KeyRelation::Computed, blue, green };
        }
        // What is passed on has the same place in both keys, so that the order of both indexes can be told by places.
        let places = |order: &[(String, usize)]| order.iter().map(|(_, place)| *place).collect::<Vec<_>>();
        let alike = places(&blue) == places(&green)
            && blue.iter().zip(&green).all(|((blue, _), (green, _))| sorts_alike(one, both, blue, green));
        if alike {
            return Order { relation: KeyRelation::Aligned, blue, green };
        }
        Order { relation: KeyRelation::Passed, blue, green }
    }
}

/// The columns of a key in the order of the index over them, each with its place in the key.
fn by_index(table: Option<&TableDescription>, key: &[String]) -> Vec<(String, usize)> {
    let over_key = |columns: &&Vec<String>| {
        columns.len() == key.len() && columns.iter().all(|column| key.contains(column))
    };
    let indexes = table.into_iter().flat_map(|table| &table.unique).map(|index| &index.columns);
    let order = indexes.into_iter().find(over_key).map_or(key, Vec::as_slice);
    let place = |column: &String| key.iter().position(|own| own == column);
    order.iter().filter_map(|column| Some((column.clone(), place(column)?))).collect()
}

/// Whether both sides sort the values of a key column alike.
fn sorts_alike(one: &Drawn<'_>, both: &Both, blue: &str, green: &str) -> bool {
    let green_table = both.green.table(&one.spec.target);
    let green_scope = green_table.map(|table| both.green.catalog.scope(table));
    let column = |scope: Option<&understudy_transform::expr::Scope>, name: &str| {
        scope.and_then(|scope| scope.columns.iter().find(|column| column.name == name).cloned())
    };
    let (Some(blue), Some(green)) =
        (column(one.blue.scope.as_ref(), blue), column(green_scope.as_ref(), green))
    else {
        return false;
    };
    let by_bytes = |column: &understudy_transform::expr::ScopeColumn| {
        column
            .collation
            .as_ref()
            .is_some_and(|collation| collation.sorts_by_bytes && collation.is_deterministic)
    };
    let is_int = |ty: &SqlType| matches!(ty, SqlType::Int2 | SqlType::Int4 | SqlType::Int8);
    let is_text = |ty: &SqlType| matches!(ty, SqlType::Text | SqlType::Varchar);
    match (blue.ty.base(), green.ty.base()) {
        (one, other) if is_int(one) && is_int(other) => true,
        (one, other) if is_text(one) && is_text(other) => by_bytes(&blue) && by_bytes(&green),
        (one, other) => {
            one == other
                && matches!(
                    one,
                    SqlType::Bool
                        | SqlType::Numeric
                        | SqlType::Bytea
                        | SqlType::Date
                        | SqlType::Time
                        | SqlType::Timestamp
                        | SqlType::TimestampTz
                        | SqlType::Uuid
                )
        }
    }
}

fn blue_side(one: &Drawn<'_>, rules: &[CompareRule], order: &Order) -> SideQuery {
    let spec = &one.spec;
    let scope = one.blue.scope.as_ref();
    let values = spec.value_sql(one.green.as_ref(), scope);
    let mask = scope.and_then(|scope| scope.mask_key.as_ref());
    let settings = mask.map(|key| key.settings().into_iter().map(|(name, value)| (name.to_owned(), value)));
    SideQuery {
        table: spec.source.clone(),
        from: from_sql(one.taken.table),
        condition: spec.filter_sql(scope),
        key: parts(&spec.source, &order.blue),
        green_key: spec.key.iter().map(|at| values[*at].clone()).collect(),
        key_order: order.blue.iter().map(|(_, place)| *place).collect(),
        columns: queries(values, rules),
        settings: settings.into_iter().flatten().collect(),
        versioned: is_heap(one.taken.table),
    }
}

fn green_side(one: &Drawn<'_>, both: &Both, rules: &[CompareRule], order: &Order) -> SideQuery {
    let spec = &one.spec;
    let table = both.green.table(&spec.target);
    let values: Vec<_> = spec.columns.iter().map(|column| quote_ident(&column.name)).collect();
    SideQuery {
        table: spec.target.clone(),
        from: table.map_or_else(|| quote_table(&spec.target), from_sql),
        condition: spec.predicate().filter(|_| one.shared).map(|predicate| format!("({predicate})")),
        key: parts(&spec.target, &order.green),
        green_key: spec.key.iter().map(|at| values[*at].clone()).collect(),
        key_order: order.green.iter().map(|(_, place)| *place).collect(),
        columns: queries(values, rules),
        settings: Vec::new(),
        versioned: table.is_some_and(is_heap),
    }
}

fn parts(table: &TableName, order: &[(String, usize)]) -> Vec<KeyPart> {
    let part = |(name, _): &(String, usize)| KeyPart {
        sql: format!("{}.{}", quote_ident(&table.name), quote_ident(name)),
        name: name.clone(),
    };
    order.iter().map(part).collect()
}

fn queries(values: Vec<String>, rules: &[CompareRule]) -> Vec<ColumnQuery> {
    let query =
        |(value, rule): (String, &CompareRule)| ColumnQuery { compared: compared_sql(&value, rule), value };
    values.into_iter().zip(rules).map(query).collect()
}

/// The form of a value that is the same on both servers wherever the rule says equal.
fn compared_sql(value: &str, rule: &CompareRule) -> Option<String> {
    match rule {
        CompareRule::Exact => Some(value.to_owned()),
        CompareRule::Ignore => None,
        // Of two values in the same cell of this width neither is further from the other than the width.
        CompareRule::Tolerance(most) => {
            let most = quote_literal(most);
            Some(format!("round(CAST({value} AS numeric) / CAST({most} AS numeric))"))
        }
        CompareRule::Trim => Some(format!("rtrim(CAST({value} AS text))")),
        // Only with this collation do all servers change the same letters.
        CompareRule::Fold => Some(format!("lower(CAST({value} AS text) COLLATE \"C\")")),
        CompareRule::Json => Some(format!("CAST(CAST(CAST({value} AS text) AS jsonb) AS text)")),
        CompareRule::Float => Some(format!("CAST(CAST({value} AS double precision) AS numeric)")),
    }
}

/// The table without those that inherit from it, but with its partitions.
fn from_sql(table: &TableDescription) -> String {
    match table.kind {
        TableKind::Ordinary => format!("ONLY {}", quote_table(&table.name)),
        _ => quote_table(&table.name),
    }
}

/// Whether rows have system columns.
fn is_heap(table: &TableDescription) -> bool {
    matches!(table.kind, TableKind::Ordinary | TableKind::Partitioned)
}

/// The rules of a route's columns that are not compared exactly, for people.
pub fn special_rules(route: &ComparedRoute) -> Vec<(String, CompareRule)> {
    let special = |column: &&ComparedColumn| column.rule != CompareRule::Exact;
    route.columns.iter().filter(special).map(|column| (column.name.clone(), column.rule.clone())).collect()
}

/// Whether a route's key is passed on, for people.
pub fn key_words(spec: &RouteSpec, relation: KeyRelation) -> &'static str {
    match relation {
        KeyRelation::Aligned => "by ranges of the key",
        KeyRelation::Passed => "row by row, as the sides sort the key differently",
        KeyRelation::Computed
            if spec.key.iter().all(|at| matches!(spec.columns[*at].from, ColumnSource::Column(_))) =>
        {
            "row by row, under another key"
        }
        KeyRelation::Computed => "row by row, under a computed key",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise 3: rows under keys that the sides write differently would all look missing and extra.
    #[test]
    fn keys_that_are_written_differently_are_told() {
        let scale = |scale: i32| Modifier((12 << 16 | scale) + 4);
        let none = Modifier::NONE;
        for (blue, green, alike) in [
            ((SqlType::Numeric, scale(2)), (SqlType::Numeric, scale(2)), true),
            ((SqlType::Numeric, scale(1)), (SqlType::Numeric, scale(2)), false),
            ((SqlType::Numeric, scale(1)), (SqlType::Numeric, none), true),
            ((SqlType::Int4, none), (SqlType::Numeric, scale(2)), false),
            ((SqlType::Int4, none), (SqlType::Numeric, scale(0)), true),
            ((SqlType::Int4, none), (SqlType::Int8, none), true),
            ((SqlType::Text, none), (SqlType::Bpchar, Modifier(9)), false),
            ((SqlType::Bpchar, Modifier(9)), (SqlType::Bpchar, Modifier(14)), false),
            ((SqlType::Date, none), (SqlType::Timestamp, none), false),
            ((SqlType::Uuid, none), (SqlType::Text, none), true),
        ] {
            let found = writes_alike((&blue.0, blue.1), (&green.0, green.1));
            assert_eq!(found, alike, "{} into {}", blue.0, green.0);
        }
    }
}
