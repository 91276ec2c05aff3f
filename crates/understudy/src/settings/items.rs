//! What an entry of `tables` says of items on DynamoDB: table, key, part and attributes of each row.

use std::collections::BTreeMap;

use understudy_dynamodb::layout::{KeyKind, NullForm, Path};
use understudy_dynamodb::types::Form;
use understudy_transform::{ColumnSource, Prefix, Requested, Template};

use super::dynamo::{DynamoSettings, ItemTable, KeyName};
use super::raw::RawTable;
use super::raw_items::{Pairs, RawAttribute, RawItems, RawKeyText, RawPart, form, null_form};
use super::resolve::Resolver;
use super::sql::Sql;
use super::text::{self, TablePattern};

/// The column of a route that says whose part of an item a row is.
pub(crate) const PART: &str = "_part";

/// How attributes are stored, by their paths; `None` for what the file leaves to their types.
pub type Forms = BTreeMap<String, (Option<Form>, Option<NullForm>)>;

/// Where the rows of an entry lie on DynamoDB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemSettings {
    /// The table.
    pub table: String,
    /// What the items are; `None`: what the table on blue is called.
    pub item: Option<String>,
    /// The partition key.
    pub pk: Filled,
    /// The sort key, where the table has one.
    pub sk: Option<Filled>,
    /// The part that rows fill; `None` where each row is an item.
    pub part: Option<PartSettings>,
    /// How attributes are stored, where the file says it.
    pub forms: Forms,
    /// What becomes of null in all others.
    pub nulls: NullForm,
}

impl ItemSettings {
    /// What makes the key of an item and the name of its part, in this order.
    pub fn filled(&self) -> impl Iterator<Item = &Filled> {
        let part = self.part.iter().map(|part| &part.name);
        std::iter::once(&self.pk).chain(&self.sk).chain(part)
    }
}

/// The part of an item that rows fill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartSettings {
    /// Its name.
    pub name: Filled,
    /// The map below which parts are entries.
    pub at: Option<String>,
}

/// What fills a key attribute or the name of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filled {
    /// The attribute.
    pub name: String,
    /// Its type.
    pub kind: KeyKind,
    /// What fills it.
    pub from: FilledFrom,
}

/// A template, or SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilledFrom {
    /// A text with columns of blue in it.
    Template(Template),
    /// SQL over blue's columns.
    Sql(String),
}

impl Filled {
    /// What the route is asked for.
    pub fn requested(&self) -> Requested {
        let name = self.name.clone();
        match &self.from {
            FilledFrom::Template(template) => match (self.kind, template.only_column()) {
                (KeyKind::N | KeyKind::B, Some(column)) => {
                    Requested::Column(name, ColumnSource::Column(column.to_owned()))
                }
                _ if template.prefix().is_all => {
                    Requested::Column(name, ColumnSource::Constant(Some(template.prefix().text)))
                }
                _ => Requested::Sql(name, template.sql()),
            },
            FilledFrom::Sql(sql) => Requested::Sql(name, sql.clone()),
        }
    }

    /// What every value begins with.
    pub fn prefix(&self) -> Prefix {
        match &self.from {
            FilledFrom::Template(template) => template.prefix(),
            FilledFrom::Sql(sql) => Prefix::of_sql(sql),
        }
    }
}

/// What an entry says of items, and the SQL in it by the column of the route that it fills.
pub(super) struct ReadItems {
    pub(super) items: ItemSettings,
    pub(super) attributes: Option<Vec<Requested>>,
    pub(super) values: Vec<(String, Sql)>,
}

impl Resolver<'_> {
    /// What an entry says of items, where green is DynamoDB.
    pub(super) fn items(
        &mut self,
        raw: &RawTable,
        (dynamo, from): (&DynamoSettings, Option<&TablePattern>),
        path: &str,
    ) -> Option<ReadItems> {
        self.beside_items(raw, path);
        let Some(items) = &raw.dynamodb else {
            let remedy = "add `dynamodb: { table: ..., key: ... }` to the entry";
            self.report(raw.from.place, path, "does not say where its rows lie on DynamoDB", remedy);
            return None;
        };
        if let Some(TablePattern::Prefix { .. }) = from {
            let what = "a pattern takes several tables, and each has items of its own on DynamoDB";
            self.report(raw.from.place, &format!("{path}.from"), what, "list the tables one by one");
        }
        let path = format!("{path}.dynamodb");
        let mut values = Vec::new();
        let table = self.item_table(items, dynamo, &path);
        let key = table.and_then(|table| self.item_key(items, table, (&path, &mut values)));
        let part = items.part.as_ref().map(|part| self.part(part, (&path, &mut values)));
        let item = items.item.as_ref().and_then(|item| self.filled(item, &format!("{path}.item")));
        let (attributes, forms) = match &items.attributes {
            Some(attributes) => {
                let read = self.attributes(&attributes.value, (&format!("{path}.attributes"), &mut values));
                (Some(read.0), read.1)
            }
            None => (None, BTreeMap::new()),
        };
        let part = match part {
            Some(part) => Some(part?),
            None => None,
        };
        let ((pk, sk), table) = (key?, table?.name.clone());
        let nulls = null_form(items.nulls);
        Some(ReadItems {
            items: ItemSettings { table, item, pk, sk, part, forms, nulls },
            attributes,
            values,
        })
    }

    /// Keys of the entry that are about tables of Postgres.
    fn beside_items(&mut self, raw: &RawTable, path: &str) {
        if let Some(to) = &raw.to {
            let what = "is about a table of Postgres, and green is DynamoDB";
            self.report(to.place, &format!("{path}.to"), what, "name the table under `dynamodb.table`");
        }
        if let Some(columns) = &raw.columns {
            let what = "is about a table of Postgres, and green is DynamoDB";
            let remedy = "fill attributes under `dynamodb.attributes`";
            self.report(columns.place, &format!("{path}.columns"), what, remedy);
        }
        if let Some(back) = &raw.back {
            let what = "the way back from DynamoDB is not part of this version";
            self.report(back.place, &format!("{path}.back"), what, "leave it out");
        }
    }

    fn item_table<'d>(
        &mut self,
        raw: &RawItems,
        dynamo: &'d DynamoSettings,
        path: &str,
    ) -> Option<&'d ItemTable> {
        let found = dynamo.table(&raw.table.value);
        if found.is_none() {
            let names = dynamo.tables.iter().map(|table| table.name.as_str()).collect::<Vec<_>>().join(", ");
            let what = format!("`{}` is not listed under `green.dynamodb.tables`", raw.table.value);
            self.report(
                raw.table.place,
                &format!("{path}.table"),
                what,
                format!("list it there, or name one of: {names}"),
            );
        }
        found
    }

    fn item_key(
        &mut self,
        raw: &RawItems,
        table: &ItemTable,
        (path, values): (&str, &mut Vec<(String, Sql)>),
    ) -> Option<(Filled, Option<Filled>)> {
        let names = std::iter::once(&table.pk).chain(&table.sk).map(|key| key.name.as_str());
        let names = names.collect::<Vec<_>>().join(", ");
        for (name, _) in &raw.key.0 {
            if !std::iter::once(&table.pk).chain(&table.sk).any(|key| key.name == name.value) {
                let what = format!("`{}` is not in the key of table `{}`", name.value, table.name);
                self.report(
                    name.place,
                    &format!("{path}.key.{}", name.value),
                    what,
                    format!("its key is: {names}"),
                );
            }
        }
        let mut fill = |key: &KeyName| {
            let given = raw.key.0.iter().find(|(name, _)| name.value == key.name);
            let Some((name, given)) = given else {
                let what = format!("nothing fills `{}` of the key of table `{}`", key.name, table.name);
                let remedy = format!("add it: key: {{ {}: \"...\" }}", key.name);
                self.report(raw.table.place, &format!("{path}.key"), what, remedy);
                return None;
            };
            let path = format!("{path}.key.{}", name.value);
            let (from, sql) = match &given.value {
                RawKeyText::Template(text) => {
                    let sql = Sql::new(text, given.place, self.lines);
                    (FilledFrom::Template(self.template((text, &sql), key.kind, &path)?), sql)
                }
                RawKeyText::Sql(raw) => {
                    let sql = self.sql(&raw.value.0, raw.place, &path)?;
                    (FilledFrom::Sql(sql.text.clone()), sql)
                }
            };
            values.push((key.name.clone(), sql));
            Some(Filled { name: key.name.clone(), kind: key.kind, from })
        };
        let pk = fill(&table.pk);
        let sk = table.sk.as_ref().map(&mut fill);
        match sk {
            Some(sk) => Some((pk?, Some(sk?))),
            None => Some((pk?, None)),
        }
    }

    fn template(&mut self, (text, sql): (&str, &Sql), kind: KeyKind, path: &str) -> Option<Template> {
        let template = match Template::parse(text) {
            Ok(template) => template,
            Err(problem) => {
                self.problems.push(sql.problem(path, &problem));
                return None;
            }
        };
        if kind != KeyKind::S && template.only_column().is_none() {
            let what = "a text fills no number and no bytes";
            let remedy = "write a single column, `{id}`, or an expression: { sql: ... }";
            self.problems.push(sql.problem_of_all(path, what).remedy(remedy));
            return None;
        }
        Some(template)
    }

    fn part(
        &mut self,
        raw: &RawPart,
        (path, values): (&str, &mut Vec<(String, Sql)>),
    ) -> Option<PartSettings> {
        let name_path = format!("{path}.part.name");
        let sql = Sql::new(&raw.name.value, raw.name.place, self.lines);
        let template = self.template((&raw.name.value, &sql), KeyKind::S, &name_path)?;
        if !template.prefix().is_all && raw.at.is_none() {
            let what = "each row has a part of its own, and all would fill the same attributes";
            self.report(
                raw.name.place,
                &name_path,
                what,
                "name a map for the parts: part: { name: ..., at: ... }",
            );
        }
        let at = match &raw.at {
            Some(at) => Some(self.filled(at, &format!("{path}.part.at"))?),
            None => None,
        };
        values.push((PART.to_owned(), sql));
        let name = Filled { name: PART.to_owned(), kind: KeyKind::S, from: FilledFrom::Template(template) };
        Some(PartSettings { name, at })
    }

    fn attributes(
        &mut self,
        raw: &Pairs<RawAttribute>,
        (path, values): (&str, &mut Vec<(String, Sql)>),
    ) -> (Vec<Requested>, Forms) {
        let (mut requested, mut forms) = (Vec::with_capacity(raw.0.len()), BTreeMap::new());
        for (name, given) in &raw.0 {
            let path = format!("{path}.{}", name.value);
            let (text, place, formed) = match &given.value {
                RawAttribute::Sql(_) if given.blank => {
                    let remedy = "write a column of blue or SQL; to leave it out, leave out the line";
                    self.report(name.place, &path, "has no source", remedy);
                    continue;
                }
                RawAttribute::Sql(text) => (text.as_deref().unwrap_or("NULL"), given.place, None),
                RawAttribute::Formed(formed) => (formed.sql.value.0.as_str(), formed.sql.place, Some(formed)),
            };
            if name.value == "*" || text == "*" {
                if name.value == text && formed.is_none() {
                    requested.push(Requested::Rest);
                } else {
                    let what = "`*` stands for the rest of the columns on both sides";
                    self.report(given.place, &path, what, "write \"*\": \"*\"");
                }
                continue;
            }
            let parsed = Path::parse(&name.value).map_err(|error| (error.what, error.remedy));
            let parsed = self.accept(parsed, name.place, &path);
            let Some(sql) = self.sql(text, place, &path) else { continue };
            if parsed.is_none() {
                continue;
            }
            // What is constant has its type from how it is written, and only an expression has one.
            requested.push(match text::column_source(&sql.text) {
                Ok(Some(from @ ColumnSource::Column(_))) => Requested::Column(name.value.clone(), from),
                _ => Requested::Sql(name.value.clone(), sql.text.clone()),
            });
            values.push((name.value.clone(), sql));
            if let Some(formed) = formed {
                forms.insert(name.value.clone(), (formed.form.map(form), formed.nulls.map(null_form)));
            }
        }
        (requested, forms)
    }

    /// An entry that says something of items, where green is not DynamoDB.
    pub(super) fn no_items(&mut self, raw: &RawTable, path: &str) {
        if let Some(items) = &raw.dynamodb {
            let what = "is about items of DynamoDB, and green is Postgres";
            self.report(
                items.table.place,
                &format!("{path}.dynamodb"),
                what,
                "leave it out, or name `green.dynamodb`",
            );
        }
    }
}
