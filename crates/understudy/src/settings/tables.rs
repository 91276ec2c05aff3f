//! The entries of `tables`: what each takes and fills, and where its SQL stands for problems that are found later.

use understudy_contract::CompareRule;
use understudy_model::TableName;
use understudy_postgres::wire::Secret;
use understudy_transform::{Requested, expr};

use super::GreenSettings;
use super::items::{FilledFrom, ItemSettings, PART, ReadItems};
use super::problem::{Place, Problem};
use super::raw::{RawColumns, RawMask, RawSql, RawTable};
use super::resolve::Resolver;
use super::sql::Sql;
use super::text::{self, TablePattern, Target};
use super::yaml::Placed;

/// Fewest bytes of the key for `mask`.
const MASK_KEY_LEN_MIN: usize = 16;

/// How to come by a key for `mask`.
const MASK_KEY_REMEDY: &str = "make one with: openssl rand -hex 32";

/// One entry of `tables`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSettings {
    /// Which tables of blue.
    pub from: TablePattern,
    /// Where they go; `None`: the same name.
    pub to: Option<Target>,
    /// How columns are filled; `None`: every column, unchanged.
    pub columns: Option<Vec<Requested>>,
    /// Which rows of blue exist on green; `None`: all.
    pub filter: Option<Sql>,
    /// Columns of blue, and SQL over green's columns that gives them back.
    pub back: Vec<(String, Sql)>,
    /// Columns of green, and when two values of each count as equal.
    pub compare: Vec<(String, CompareRule)>,
    /// Where its rows lie on DynamoDB; `None` where green is Postgres. `columns` are the attributes then.
    pub items: Option<ItemSettings>,
    /// Where `from` stands in the file.
    pub place: Option<Place>,
    /// The value of each of `columns`, and of what makes the key of an item, as it stands in the file, by the column of green.
    pub(super) values: Vec<(String, Sql)>,
    /// Which entry of the file it is, counted from zero.
    pub(super) at: usize,
}

/// What fills an entry's table on green, or its items.
#[derive(Default)]
struct Filling {
    items: Option<ItemSettings>,
    columns: Option<Vec<Requested>>,
    values: Vec<(String, Sql)>,
}

impl TableSettings {
    /// Where a table of blue that this entry takes goes on green.
    pub fn target_of(&self, table: &TableName) -> TableName {
        if let Some(items) = &self.items {
            return crate::green::items::target(items);
        }
        match &self.to {
            None => table.clone(),
            Some(Target::Table(target)) => target.clone(),
            Some(Target::Schema(schema)) => TableName::new(schema, &table.name),
        }
    }

    /// Whether it is a pattern, that may take any number of tables.
    pub fn takes_several(&self) -> bool {
        matches!(self.from, TablePattern::Prefix { .. })
    }

    /// The condition under `where`, for compiling.
    pub fn filter_text(&self) -> Option<&str> {
        self.filter.as_ref().map(|sql| sql.text.as_str())
    }

    /// A problem with one of the entry's expressions, shown where that stands in the file: that of a column of green, the
    /// one under `where` for `None`, or `back.x` for what gives back blue's column `x`.
    pub fn problem_at(&self, column: Option<&str>, problem: &expr::Problem) -> Problem {
        let (path, sql) = self.sql_of(column);
        match sql {
            // What is compiled of a template is another text.
            Some(sql) if column.is_some_and(|column| self.is_template(column)) => {
                Problem { remedy: problem.remedy.clone(), ..sql.problem_of_all(&path, problem.what.clone()) }
            }
            Some(sql) => sql.problem(&path, problem),
            None => {
                let told = Problem::at(self.place, path, problem.what.clone());
                Problem { remedy: problem.remedy.clone(), ..told }
            }
        }
    }

    /// A problem with one of the entry's expressions as a whole; `column` as for [`TableSettings::problem_at`].
    pub fn problem_of(&self, column: Option<&str>, what: impl Into<String>) -> Problem {
        let (path, sql) = self.sql_of(column);
        match sql {
            Some(sql) => sql.problem_of_all(&path, what),
            None => Problem::at(self.place, path, what),
        }
    }

    /// Every piece of SQL in the entry with its path.
    pub(super) fn each_sql(&self) -> impl Iterator<Item = (String, &Sql)> {
        let at = self.at;
        let is_sql = |(name, _): &&(String, Sql)| !self.is_template(name);
        let columns = self.values.iter().filter(is_sql).map(|(name, sql)| (self.path_of(name), sql));
        let filter = self.filter.iter().map(move |sql| (format!("tables[{at}].where"), sql));
        let back = self.back.iter().map(move |(name, sql)| (format!("tables[{at}].back.{name}"), sql));
        columns.chain(filter).chain(back)
    }

    fn sql_of(&self, column: Option<&str>) -> (String, Option<&Sql>) {
        let entry = format!("tables[{}]", self.at);
        let named = |all: &[(String, Sql)], name: &str| all.iter().position(|(own, _)| own == name);
        let Some(name) = column else {
            return (format!("{entry}.where"), self.filter.as_ref());
        };
        if let Some(at) = named(&self.values, name) {
            return (self.path_of(name), Some(&self.values[at].1));
        }
        let given_back = name.strip_prefix("back.").and_then(|name| named(&self.back, name));
        if let Some(at) = given_back {
            return (format!("{entry}.{name}"), Some(&self.back[at].1));
        }
        (self.path_of(name), None)
    }

    /// A problem with a template, at its place in the file.
    pub(crate) fn problem_in_template(&self, column: &str, problem: &expr::Problem) -> Problem {
        match self.sql_of(Some(column)) {
            (path, Some(sql)) => sql.problem(&path, problem),
            (path, None) => Problem::at(self.place, path, problem.what.clone()),
        }
    }

    /// Whether a column of the route is filled by a template.
    fn is_template(&self, column: &str) -> bool {
        let filled = self.items.iter().flat_map(ItemSettings::filled);
        filled
            .filter(|filled| filled.name == column)
            .any(|filled| matches!(filled.from, FilledFrom::Template(_)))
    }

    /// Where what fills a column of the route stands in the file.
    fn path_of(&self, column: &str) -> String {
        let entry = format!("tables[{}]", self.at);
        match &self.items {
            None => format!("{entry}.columns.{column}"),
            Some(_) if column == PART => format!("{entry}.dynamodb.part.name"),
            Some(items) if items.filled().any(|filled| filled.name == column) => {
                format!("{entry}.dynamodb.key.{column}")
            }
            Some(_) => format!("{entry}.dynamodb.attributes.{column}"),
        }
    }
}

impl Resolver<'_> {
    pub(super) fn tables(
        &mut self,
        raw: &[RawTable],
        (has_mask_key, green): (bool, Option<&GreenSettings>),
    ) -> Vec<TableSettings> {
        let mut tables: Vec<TableSettings> = Vec::new();
        for (at, entry) in raw.iter().enumerate() {
            let Some(table) = self.table(entry, at, green) else {
                continue;
            };
            // Two routes between the same tables are told apart by what they fill; the very same one twice never is.
            let same = |other: &&TableSettings| {
                (&other.from, &other.to, &other.columns, &other.items)
                    == (&table.from, &table.to, &table.columns, &table.items)
                    && other.filter_text() == table.filter_text()
            };
            if let Some(first) = tables.iter().find(same) {
                let line = first.place.map_or_else(String::new, |place| format!(" in line {}", place.line));
                let what = format!("`{}` already goes to the same place{line}", table.from);
                self.report(table.place, &format!("tables[{at}]"), what, "keep one of the two");
            }
            if !has_mask_key {
                self.refuse_masks(&table);
            }
            tables.push(table);
        }
        tables
    }

    fn refuse_masks(&mut self, table: &TableSettings) {
        for (path, sql) in table.each_sql() {
            if let Some(place) = sql.call_of("mask") {
                let what = "`mask` needs a key, and the file names none".to_owned();
                let remedy = "add at the top level: mask: { key: { file: /run/secrets/mask } }; make a key with: openssl \
                              rand -hex 32";
                let problem = expr::Problem { what, remedy: Some(remedy.to_owned()), place };
                self.problems.push(sql.problem(&path, &problem));
            }
        }
    }

    fn table(&mut self, raw: &RawTable, at: usize, green: Option<&GreenSettings>) -> Option<TableSettings> {
        let path = format!("tables[{at}]");
        let from_path = format!("{path}.from");
        let from = self.accept(text::table_pattern(&raw.from.value), raw.from.place, &from_path);
        let to_path = format!("{path}.to");
        let to =
            raw.to.as_ref().map(|to| (self.accept(text::target(&to.value), to.place, &to_path), to.place));
        let Filling { items, columns, values } = self.filled_by(raw, (from.as_ref(), green), &path);
        let filter = raw.filter.as_ref().and_then(|sql| self.condition(sql, &format!("{path}.where")));
        let back = raw.back.as_ref().map(|back| self.back(&back.value, &format!("{path}.back")));
        let compare = self.compare(&raw.compare, &format!("{path}.compare"));
        let from = from?;
        if let (TablePattern::Prefix { schema, .. }, Some((Some(Target::Table(target)), place))) =
            (&from, &to)
        {
            let what = format!("the pattern `{from}` takes several tables, and `{target}` is one");
            let remedy = format!("write `{schema}.*` or another schema, or list the tables one by one");
            self.report(*place, &to_path, what, remedy);
        }
        // A target that could not be read has been reported: the entry is kept for the other checks.
        let to = to.and_then(|(target, _)| target);
        let back = back.unwrap_or_default();
        let place = raw.from.place;
        Some(TableSettings { from, to, columns, filter, back, compare, items, place, values, at })
    }

    /// What fills the entry's table on green, or its items.
    fn filled_by(
        &mut self,
        raw: &RawTable,
        (from, green): (Option<&TablePattern>, Option<&GreenSettings>),
        path: &str,
    ) -> Filling {
        if let Some(GreenSettings::Dynamo(dynamo)) = green {
            return match self.items(raw, (dynamo, from), path) {
                Some(ReadItems { items, attributes, values }) => {
                    Filling { items: Some(items), columns: attributes, values }
                }
                None => Filling::default(),
            };
        }
        if green.is_some() {
            self.no_items(raw, path);
        }
        let (columns, values) = match &raw.columns {
            Some(columns) => self.columns(&columns.value, &format!("{path}.columns")),
            None => (None, Vec::new()),
        };
        Filling { items: None, columns, values }
    }

    fn columns(&mut self, raw: &RawColumns, path: &str) -> (Option<Vec<Requested>>, Vec<(String, Sql)>) {
        let mut columns = Vec::with_capacity(raw.0.len());
        let mut values = Vec::with_capacity(raw.0.len());
        let problems_before = self.problems.len();
        for (green, source) in &raw.0 {
            let path = format!("{path}.{}", green.value);
            if source.blank {
                let remedy =
                    "write a column of blue, or NULL for an empty value; to leave it out, leave out the line";
                self.report(green.place, &path, "has no source", remedy);
                continue;
            }
            match (green.value.as_str(), source.value.as_deref().unwrap_or("NULL")) {
                ("*", "*") => columns.push(Requested::Rest),
                ("*", _) | (_, "*") => self.report(
                    source.place,
                    &path,
                    "`*` stands for the rest of the columns on both sides",
                    "write \"*\": \"*\"",
                ),
                (name, text) => {
                    let Some(sql) = self.sql(text, source.place, &path) else {
                        continue;
                    };
                    let from = self.accept(text::column_source(text), source.place, &path);
                    columns.extend(from.map(|from| match from {
                        Some(from) => Requested::Column(name.to_owned(), from),
                        None => Requested::Sql(name.to_owned(), sql.text.clone()),
                    }));
                    values.push((name.to_owned(), sql));
                }
            }
        }
        ((self.problems.len() == problems_before).then_some(columns), values)
    }

    fn condition(&mut self, raw: &Placed<RawSql>, path: &str) -> Option<Sql> {
        if raw.value.0.trim().is_empty() {
            self.report(
                raw.place,
                path,
                "is empty",
                "give a condition, or leave the key out: all rows move then",
            );
            return None;
        }
        self.sql(&raw.value.0, raw.place, path)
    }

    fn back(&mut self, raw: &RawColumns, path: &str) -> Vec<(String, Sql)> {
        let mut back = Vec::with_capacity(raw.0.len());
        for (blue, source) in &raw.0 {
            let path = format!("{path}.{}", blue.value);
            let text = source.value.as_deref().unwrap_or("NULL");
            if source.blank {
                let remedy = "write SQL over green's columns, or leave the line out";
                self.report(blue.place, &path, "has no source", remedy);
            } else if blue.value == "*" || text == "*" {
                let remedy = "name single columns of blue; what passes unchanged comes back by itself";
                self.report(source.place, &path, "`*` has no meaning here", remedy);
            } else if let Some(sql) = self.sql(text, source.place, &path) {
                back.push((blue.value.clone(), sql));
            }
        }
        back
    }

    /// The SQL of a value, or `None` and a problem.
    pub(super) fn sql(&mut self, text: &str, place: Option<Place>, path: &str) -> Option<Sql> {
        if text.trim().is_empty() {
            self.report(
                place,
                path,
                "is empty",
                "write SQL, or '' in quotes of its own for an empty text: \"''\"",
            );
            return None;
        }
        let sql = Sql::new(text, place, self.lines);
        match sql.check(path) {
            Ok(()) => Some(sql),
            Err(problem) => {
                self.problems.push(problem);
                None
            }
        }
    }

    /// The key for `mask`.
    pub(super) fn mask_key(&mut self, raw: &RawMask) -> Option<Secret> {
        let path = "mask.key";
        let key = self.secret(&raw.key, path, "the key", Some(MASK_KEY_REMEDY))?;
        let key = key.expose().trim();
        if key.len() < MASK_KEY_LEN_MIN {
            let what = format!("the key is shorter than {MASK_KEY_LEN_MIN} bytes, so masks could be guessed");
            self.report(raw.key.place, path, what, MASK_KEY_REMEDY);
            return None;
        }
        Some(Secret::new(key))
    }
}
