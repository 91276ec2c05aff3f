//! Mappings: the entries of the file compiled against both catalogs, with every problem at its place in the file.

use std::collections::BTreeMap;

use understudy_contract::{Class, Failure, GreenTable};
use understudy_model::{RouteId, TableName};
use understudy_postgres::preflight::{self, TableDescription};
use understudy_postgres::wire::Client;
use understudy_transform::expr::{MaskKey, Scope};
use understudy_transform::{
    BlueTable, ColumnSource, GreenShape, Inverse, Mapping, MappingError, Requested, RouteColumn, RouteSpec,
    condition, map_columns, told_apart,
};

use crate::green::items::{self, Asked};
use crate::routes::Taken;
use crate::scope::Catalog;
use crate::settings::{Problem, Settings};

/// A database as its catalog describes it.
#[derive(Debug, Clone)]
pub struct Described {
    /// Its tables.
    pub tables: Vec<TableDescription>,
    /// Its types and collations.
    pub catalog: Catalog,
}

impl Described {
    /// Reads the catalog, under one snapshot.
    pub async fn read(client: &mut Client) -> Result<Described, Failure> {
        let (tables, facts) = preflight::describe_database(client).await?;
        Ok(Described { tables, catalog: Catalog::new(&facts) })
    }

    /// The table of that name.
    pub(crate) fn table(&self, name: &TableName) -> Option<&TableDescription> {
        self.tables.iter().find(|table| table.name == *name)
    }
}

/// Both databases.
#[derive(Debug, Clone)]
pub struct Both {
    /// The live one.
    pub blue: Described,
    /// The one that is to take over.
    pub green: Described,
}

impl Both {
    /// Blue alone, where green has no catalog.
    pub(crate) fn of_blue(blue: Described) -> Both {
        let green = Described { tables: Vec::new(), catalog: blue.catalog.clone() };
        Both { blue, green }
    }
}

/// A route, and what it was compiled from.
#[derive(Debug, Clone)]
pub struct Drawn<'a> {
    /// The table on blue and the entry that takes it.
    pub taken: Taken<'a>,
    /// The compiled form.
    pub spec: RouteSpec,
    /// The table on blue as expressions see it.
    pub blue: BlueTable,
    /// The table on green; `None` where it is missing, which preflight tells.
    pub green: Option<GreenShape>,
    /// The way back.
    pub inverse: Inverse,
    /// Whether other routes fill the same table.
    pub shared: bool,
}

/// What one entry is compiled against.
struct Against {
    blue: BlueTable,
    green: Option<GreenShape>,
    green_scope: Option<Scope>,
}

impl Against {
    fn of(settings: &Settings, one: &Taken<'_>, both: &Both) -> Against {
        let mut blue = both.blue.catalog.blue_table(one.table);
        if let Some(scope) = &mut blue.scope {
            scope.mask_key = settings.mask_key.as_ref().map(|key| MaskKey::new(key.expose()));
        }
        if let Some(items) = &one.entry.items {
            return Against { blue, green: Some(items::shape(items)), green_scope: None };
        }
        let table = both.green.table(&one.target);
        let green = table.map(|table| both.green.catalog.green_shape(table, &both.blue.catalog));
        Against { blue, green, green_scope: table.map(|table| both.green.catalog.scope(table)) }
    }

    /// What the entry asks for, column by column; `None`: every column of blue under its own name.
    fn requested(&self, one: &Taken<'_>) -> Result<Option<Vec<Requested>>, Problem> {
        let Some(items) = &one.entry.items else { return Ok(one.entry.columns.clone()) };
        items::requested(one.entry, items, &self.blue).map(Some).map_err(|asked| match asked {
            Asked::Told(told) => *told,
            Asked::Mapping(error) => problem(one, *error),
        })
    }
}

/// The columns that every route fills, whether or not its table has a key; fails with all problems at once.
pub fn columns(
    settings: &Settings,
    taken: &[Taken<'_>],
    both: &Both,
) -> Result<Vec<Vec<RouteColumn>>, Failure> {
    let one = |one: &Taken<'_>| {
        let against = Against::of(settings, one, both);
        let requested = against.requested(one)?.unwrap_or_else(|| vec![Requested::Rest]);
        map_columns(&against.blue, (&one.target, against.green.as_ref()), &requested)
            .map_err(|error| problem(one, error))
    };
    gathered(&settings.file, taken.iter().map(one))
}

/// The columns of blue that the condition of an entry reads; `None` where it takes every row.
pub fn filter_inputs(
    settings: &Settings,
    one: &Taken<'_>,
    both: &Both,
) -> Result<Option<Vec<String>>, Failure> {
    let Some(text) = one.entry.filter_text() else { return Ok(None) };
    let against = Against::of(settings, one, both);
    let read = condition(&against.blue, text).map_err(|error| problem(one, error));
    gathered(&settings.file, [read].into_iter()).map(|mut read| read.pop().map(|condition| condition.inputs))
}

/// The compiled routes, numbered in order; fails with all problems at once.
pub fn draw<'a>(settings: &Settings, taken: &[Taken<'a>], both: &Both) -> Result<Vec<Drawn<'a>>, Failure> {
    if taken.len() > usize::from(u16::MAX) {
        return Err(Failure::new(Class::Configuration, "a migration can have at most 65,535 routes")
            .remedy("split the migration file in two"));
    }
    let shared = |one: &Taken<'_>| taken.iter().filter(|other| other.target == one.target).count() > 1;
    let one = |(at, one): (usize, &Taken<'a>)| {
        let against = Against::of(settings, one, both);
        let requested = against.requested(one)?;
        let Against { blue, green, green_scope } = against;
        let mapping = Mapping { columns: requested.as_deref(), filter: one.entry.filter_text() };
        let id = RouteId(at as u16);
        let mut spec = RouteSpec::compile(id, &blue, (one.target.clone(), green.as_ref()), mapping)
            .map_err(|error| problem(one, error))?;
        spec.stored = one.entry.items.as_ref().map(items::stored).unwrap_or_default();
        let back = one.entry.back.iter().map(|(column, sql)| (column.clone(), sql.text.clone()));
        let inverse = spec
            .inverse(&blue, green_scope.as_ref(), &back.collect::<Vec<_>>())
            .map_err(|error| problem(one, error))?;
        Ok(Drawn { taken: one.clone(), spec, blue, green, inverse, shared: shared(one) })
    };
    let drawn = gathered(&settings.file, taken.iter().enumerate().map(one))?;
    // Items are told apart by their keys and parts, of which their layouts know.
    if settings.green_dynamo().is_none() {
        apart(&settings.file, &drawn)?;
    }
    Ok(drawn)
}

/// Routes into one table must never write the same key.
fn apart(file: &str, drawn: &[Drawn<'_>]) -> Result<(), Failure> {
    let mut by_target: BTreeMap<&TableName, Vec<&Drawn<'_>>> = BTreeMap::new();
    for one in drawn {
        by_target.entry(&one.spec.target).or_default().push(one);
    }
    let clash = |(target, drawn): (&TableName, Vec<&Drawn<'_>>)| {
        let specs = drawn.iter().map(|one| &one.spec).collect::<Vec<_>>();
        let green = drawn.first().and_then(|one| one.green.as_ref());
        let clash = told_apart(&specs, green).err()?;
        let (first, second) = (drawn[clash.first], drawn[clash.second]);
        let key = second.spec.key.iter().map(|at| second.spec.columns[*at].name.as_str()).collect::<Vec<_>>();
        Some(
            Problem::at(
                second.taken.entry.place,
                "",
                format!(
                    "{} and {} may write the same key of {target}: nothing tells their rows apart",
                    first.spec.source, second.spec.source
                ),
            )
            .remedy(format!(
                "fill one column of green's key ({}), or one more such as `kind`, with another constant in each of the two: \
                 kind: \"'{}'\"",
                key.join(", "),
                second.spec.source.name
            )),
        )
    };
    gathered(file, by_target.into_iter().filter_map(clash).map(Err::<(), _>)).map(drop)
}

/// All results, or all problems as one failure.
pub(crate) fn gathered<T>(
    file: &str,
    results: impl Iterator<Item = Result<T, Problem>>,
) -> Result<Vec<T>, Failure> {
    let (mut good, mut problems) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(one) => good.push(one),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() {
        return Ok(good);
    }
    problems.sort_by_key(|problem| problem.place);
    problems.dedup();
    let told = problems.iter().map(|problem| problem.in_file(file)).collect::<Vec<_>>();
    let failure = Failure::new(Class::Configuration, told.join("\n"));
    Err(failure.remedy("correct the migration file, then see: understudy check FILE"))
}

/// A problem with a mapping, at its place in the file.
fn problem(one: &Taken<'_>, error: MappingError) -> Problem {
    let entry = one.entry;
    let whole = |column: &str| entry.problem_of(Some(column), error.to_string());
    match &error {
        MappingError::Expression { column, problem, .. } => entry.problem_at(column.as_deref(), problem),
        MappingError::NoSuchColumn { .. } => {
            let columns = one.table.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>();
            let named = entry.columns.iter().flatten().find_map(|requested| match requested {
                Requested::Column(green, ColumnSource::Column(blue)) if !columns.contains(&blue.as_str()) => {
                    Some(green.clone())
                }
                _ => None,
            });
            let lost = || entry.back.iter().find(|(column, _)| !columns.contains(&column.as_str()));
            let named = named.or_else(|| lost().map(|(column, _)| format!("back.{column}")));
            whole(named.as_deref().unwrap_or_default())
                .remedy(format!("its columns are: {}", columns.join(", ")))
        }
        MappingError::FilledTwice { column, .. } => whole(column).remedy("keep one of the two"),
        MappingError::KeyLeftOut { column, .. } => Problem::at(entry.place, "", error.to_string())
            .remedy(format!("add `{column}: {column}` to `columns` of this table")),
        MappingError::KeyNotCarried { column, input, table } => whole(column).remedy(format!(
            "compute the key of {table} from blue's key alone, or send whole old rows: ALTER TABLE {} REPLICA \
             IDENTITY FULL (`{input}` is in them then)",
            one.table.name
        )),
        MappingError::KeyNotFilled { column, .. } => Problem::at(entry.place, "", error.to_string())
            .remedy(format!("fill `{column}` under `columns` of this table")),
        MappingError::KeyNarrowed { .. } => Problem::at(entry.place, "", error.to_string()).remedy(format!(
            "ALTER TABLE {} REPLICA IDENTITY FULL, so that blue sends it; or give green's key all that blue's has",
            one.table.name
        )),
        MappingError::NoKey { table } => Problem::at(entry.place, "", error.to_string()).remedy(format!(
            "give it a primary key, or run ALTER TABLE {table} REPLICA IDENTITY USING INDEX with a unique index over \
             columns that are NOT NULL"
        )),
        #[allow(unreachable_patterns, reason = "further ways in which a mapping may not fit have no place of their own")]
        _ => Problem::at(entry.place, "", error.to_string()),
    }
}

/// What green's connector has to know of the routes.
pub fn green_tables(routes: &[RouteSpec]) -> Vec<GreenTable> {
    let shared =
        |route: &RouteSpec| routes.iter().any(|other| other.id != route.id && other.target == route.target);
    let one = |route: &RouteSpec| GreenTable {
        route: route.id,
        source: route.source.clone(),
        name: route.target.clone(),
        columns: route.columns.iter().map(|column| column.name.clone()).collect(),
        source_columns: route
            .columns
            .iter()
            .map(|column| match &column.from {
                ColumnSource::Column(name) => Some(name.clone()),
                ColumnSource::Constant(_) | ColumnSource::Computed(_) => None,
            })
            .collect(),
        key: route.key.clone(),
        filtered: route.filter.is_some(),
        predicate: route.predicate().filter(|_| shared(route)),
        fingerprint: route.fingerprint(),
    };
    routes.iter().map(one).collect()
}
