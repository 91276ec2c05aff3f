//! Entries of the file as items: which columns a route into items has, and how these lie in them.

use std::collections::BTreeMap;

use understudy_contract::Failure;
use understudy_dynamodb::DynamoTable;
use understudy_dynamodb::layout::{
    Beginning, ItemLayout, KeyAttribute, KeyKind, KeyRole, LayoutError, LayoutPlan, NullForm, Part, Path,
    Placed, settle_ttl, told_apart,
};
use understudy_dynamodb::types::{ColumnType, Form};
use understudy_model::TableName;
use understudy_transform::expr::{Modifier, SqlType};
use understudy_transform::{
    BlueTable, ColumnSource, GreenColumn, GreenShape, MappingError, Requested, RouteSpec, Stored, map_columns,
};

use crate::mapping::{self, Drawn, gathered};
use crate::settings::{
    DynamoSettings, Filled, FilledFrom, ItemSettings, ItemTable, PART, Problem, Settings, TableSettings,
};

/// The schema that stands for DynamoDB in the name of where rows go.
const SCHEMA: &str = "dynamodb";

/// Where the rows of a table of blue go, in a name that no other entry has for them: the table, and where the file says it,
/// which items and which part of them.
pub(crate) fn target(items: &ItemSettings) -> TableName {
    let part = items.part.as_ref().map(|part| part.name.prefix().text);
    let more = items.item.iter().chain(&part).map(|name| format!("/{name}")).collect::<String>();
    TableName::new(SCHEMA, format!("{}{more}", items.table))
}

/// The key of a route into items, as a table of Postgres would have it.
pub(crate) fn shape(items: &ItemSettings) -> GreenShape {
    let column = |name: &str, kind: KeyKind| GreenColumn {
        name: name.to_owned(),
        ty: match kind {
            KeyKind::S => SqlType::Text,
            KeyKind::N => SqlType::Int8,
            KeyKind::B => SqlType::Bytea,
        },
        modifier: Modifier::NONE,
    };
    let keys = std::iter::once(&items.pk).chain(&items.sk);
    let mut columns = keys.map(|key| column(&key.name, key.kind)).collect::<Vec<_>>();
    columns.push(column(PART, KeyKind::S));
    let keys = vec![columns.iter().map(|column| column.name.clone()).collect()];
    GreenShape { columns, keys }
}

/// What the route of an entry is asked for: what makes its key, then its attributes. Every column of blue that no attribute
/// reads is one under its own name where the file says `"*"`, or nothing.
pub(crate) fn requested(
    entry: &TableSettings,
    items: &ItemSettings,
    blue: &BlueTable,
) -> Result<Vec<Requested>, Asked> {
    let part = match &items.part {
        Some(part) => part.name.requested(),
        None => {
            let tag = Some(tag(items, &blue.name));
            Requested::Column(PART.to_owned(), ColumnSource::Constant(tag))
        }
    };
    for filled in items.filled() {
        if let FilledFrom::Template(template) = &filled.from {
            let checked = template.check(&blue.columns);
            let told = |problem| Asked::Told(Box::new(entry.problem_in_template(&filled.name, &problem)));
            checked.map_err(told)?;
        }
    }
    let keys = std::iter::once(&items.pk).chain(&items.sk);
    let names = keys.clone().map(|key| key.name.as_str()).collect::<Vec<_>>();
    let mut requested = keys.map(Filled::requested).chain([part]).collect::<Vec<_>>();
    let asked = entry.columns.as_deref().unwrap_or(&[Requested::Rest]);
    let by_name = |one: &Requested, name: &str| match one {
        Requested::Column(own, _) | Requested::Sql(own, _) => own == name,
        Requested::Rest => false,
    };
    for one in asked {
        if *one != Requested::Rest {
            requested.push(one.clone());
            continue;
        }
        let all = map_columns(blue, (&target(items), None), asked)
            .map_err(|error| Asked::Mapping(Box::new(error)))?;
        let rest = all.into_iter().filter(|column| !asked.iter().any(|one| by_name(one, &column.name)));
        let rest = rest.filter(|column| !names.contains(&column.name.as_str()));
        requested.extend(rest.map(|column| Requested::Column(column.name, column.from)));
        // So that a column that comes later does not stay behind.
        requested.push(Requested::Rest);
    }
    Ok(requested)
}

/// Why an entry asks for what cannot be.
pub(crate) enum Asked {
    /// As it is told, at its place in the file.
    Told(Box<Problem>),
    /// By the rules of mappings.
    Mapping(Box<MappingError>),
}

/// Whose items they are.
fn tag(items: &ItemSettings, source: &TableName) -> String {
    items.item.clone().unwrap_or_else(|| source.to_string())
}

/// How values are stored where that is not what their types ask for: another choice is another mapping.
pub(crate) fn stored(items: &ItemSettings) -> Stored {
    let mut stored = Stored::default();
    if let Some(at) = items.part.as_ref().and_then(|part| part.at.as_ref()) {
        stored.rows.push(format!("below {at:?}"));
    }
    if items.nulls == NullForm::Null {
        stored.rows.push("nulls kept".to_owned());
    }
    for (path, (form, nulls)) in &items.forms {
        let form = form.map_or("", Form::name);
        let nulls = match nulls {
            Some(NullForm::Null) => " null kept",
            Some(NullForm::Omit) => " null omitted",
            None => "",
        };
        stored.columns.insert(path.clone(), format!("as {form}{nulls}"));
    }
    stored
}

/// The routes as the sink knows them; fails with every layout that cannot be, at its place in the file.
pub(crate) fn tables(settings: &Settings, drawn: &[Drawn<'_>]) -> Result<Vec<DynamoTable>, Failure> {
    let specs = drawn.iter().map(|one| one.spec.clone()).collect::<Vec<_>>();
    let layouts = layouts(settings, drawn)?;
    let tables = mapping::green_tables(&specs).into_iter().zip(layouts);
    Ok(tables.map(|(green, layout)| DynamoTable { green, layout }).collect())
}

/// How the rows of each route lie in items.
pub(crate) fn layouts(settings: &Settings, drawn: &[Drawn<'_>]) -> Result<Vec<ItemLayout>, Failure> {
    let Some(dynamo) = settings.green_dynamo() else { return Ok(Vec::new()) };
    let mut plans = gathered(&settings.file, drawn.iter().map(|one| plan(one, dynamo)))?;
    settle_ttl(&mut plans);
    let layouts = drawn
        .iter()
        .zip(plans)
        .map(|(one, plan)| ItemLayout::new(plan).map_err(|error| problem(one.taken.entry, error)));
    let layouts = gathered(&settings.file, layouts)?;
    let clash = told_apart(&layouts.iter().collect::<Vec<_>>()).map_err(|clash| {
        let (first, second) = (&drawn[clash.first].spec.source, drawn[clash.second].taken.entry);
        let what = format!("{}: this one and that from {first}", clash.what);
        Problem { remedy: Some(clash.remedy.to_owned()), ..Problem::at(second.place, "", what) }
    });
    gathered(&settings.file, [clash].into_iter())?;
    Ok(layouts)
}

fn plan(one: &Drawn<'_>, dynamo: &DynamoSettings) -> Result<LayoutPlan, Problem> {
    let entry = one.taken.entry;
    let table = entry.items.as_ref().and_then(|items| Some((items, dynamo.table(&items.table)?)));
    let Some((items, table)) = table else {
        return Err(Problem::at(entry.place, "", "does not say where its rows lie on DynamoDB"));
    };
    let spec = &one.spec;
    let at = |name: &str| spec.columns.iter().position(|column| column.name == name).unwrap_or_default();
    let key = |filled: &Filled| {
        let column = at(&filled.name);
        let ty = column_type(&one.blue, &spec.columns[column].from);
        let prefix = filled.prefix();
        let attribute = KeyAttribute::new(&filled.name, column, (filled.kind, &ty));
        let attribute = attribute.map_err(|error| problem(entry, error))?;
        Ok(attribute.beginning(Beginning { text: prefix.text, is_all: prefix.is_all }))
    };
    let indexed = indexed(table);
    let is_key =
        |column: usize| items.filled().any(|filled| at(&filled.name) == column) || column == at(PART);
    let others = (0..spec.columns.len()).filter(|column| !is_key(*column));
    let columns = others.map(|column| placed(one, (items, &indexed), column)).collect::<Result<_, _>>()?;
    let part = items.part.as_ref().map(|part| {
        let prefix = part.name.prefix();
        let name = Beginning { text: prefix.text, is_all: prefix.is_all };
        Part { name, at: part.at.clone(), ttl_is_filled: false }
    });
    let passed = |name: &String| {
        let from = ColumnSource::Column(name.clone());
        spec.columns.iter().position(|column| column.from == from)
    };
    Ok(LayoutPlan {
        table: items.table.clone(),
        pk: key(&items.pk)?,
        sk: items.sk.as_ref().map(key).transpose()?,
        columns,
        part,
        part_column: at(PART),
        tag: tag(items, &spec.source),
        ttl: table.ttl.clone(),
        blue_key: one.blue.key.iter().map(passed).collect(),
    })
}

fn placed(
    one: &Drawn<'_>,
    (items, indexed): (&ItemSettings, &BTreeMap<&str, (KeyRole, KeyKind)>),
    column: usize,
) -> Result<Placed, Problem> {
    let entry = one.taken.entry;
    let RouteSpec { columns, .. } = &one.spec;
    let name = columns[column].name.as_str();
    let ty = column_type(&one.blue, &columns[column].from);
    let (form, nulls) = items.forms.get(name).copied().unwrap_or_default();
    let form = form.unwrap_or_else(|| ty.default_form());
    let index = indexed.get(name);
    if let Some((_, kind)) = index.filter(|(_, kind)| !is_of(form, *kind)) {
        let what = format!("an index has it as {}, and it is stored as {}", kind.form().name(), form.name());
        let remedy = "choose another `form` for it, or another `type` in the index";
        return Err(entry.problem_of(Some(name), what).remedy(remedy));
    }
    Ok(Placed {
        column,
        path: Path::parse(name).map_err(|error| problem(entry, error))?,
        ty,
        form,
        null: nulls.unwrap_or(items.nulls),
        index: index.map(|(role, _)| *role),
    })
}

/// Whether values of a form are of the type that a key has.
fn is_of(form: Form, kind: KeyKind) -> bool {
    match kind {
        KeyKind::S => matches!(form, Form::S | Form::Text | Form::JsonText),
        KeyKind::N => matches!(form, Form::N | Form::Epoch),
        KeyKind::B => form == Form::B,
    }
}

/// The attributes of the keys of a table's indexes, each with the strictest of its roles.
fn indexed(table: &ItemTable) -> BTreeMap<&str, (KeyRole, KeyKind)> {
    let mut indexed = BTreeMap::new();
    for index in &table.indexes {
        let roles = [(KeyRole::Partition, Some(&index.pk)), (KeyRole::Sort, index.sk.as_ref())];
        for (role, key) in roles.into_iter().filter_map(|(role, key)| Some((role, key?))) {
            let known = indexed.entry(key.name.as_str()).or_insert((role, key.kind));
            if role == KeyRole::Sort {
                known.0 = KeyRole::Sort;
            }
        }
    }
    indexed
}

/// The type of what fills a column.
fn column_type(blue: &BlueTable, from: &ColumnSource) -> ColumnType {
    match from {
        ColumnSource::Column(name) => {
            let scope = blue.scope.as_ref();
            let column = scope.and_then(|scope| scope.columns.iter().find(|column| column.name == *name));
            column.map_or(ColumnType::Text, |column| type_of(&column.ty))
        }
        ColumnSource::Constant(_) => ColumnType::Text,
        ColumnSource::Computed(computed) => type_of(computed.expression.ty()),
    }
}

fn type_of(ty: &SqlType) -> ColumnType {
    match ty.base() {
        SqlType::Array(element) => match type_of(element) {
            // Any number of dimensions is one type.
            array @ ColumnType::Array(_) => array,
            plain => ColumnType::Array(Box::new(plain)),
        },
        // Of a type of a database's own its name says nothing.
        SqlType::Enum(_) => ColumnType::Text,
        SqlType::Opaque(named) if named.schema.is_some() => ColumnType::Text,
        other => ColumnType::named(&other.to_string()),
    }
}

/// A layout that cannot be, at its place in the file.
fn problem(entry: &TableSettings, error: LayoutError) -> Problem {
    let told = entry.problem_of(error.column.as_deref(), error.what);
    Problem { remedy: Some(error.remedy), ..told }
}
