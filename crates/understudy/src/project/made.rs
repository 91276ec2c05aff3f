//! What a version's expand.sql is still to make on green: until it has been run, nobody misses that.

use std::collections::{BTreeMap, BTreeSet};

use understudy_contract::{Failure, Finding, Severity};
use understudy_model::TableName;
use understudy_postgres::preflight::PlannedTable;
use understudy_postgres::wire::Client;

use super::expand::pending;
use super::script::{Script, Statement};
use super::words::{Cursor, Piece, parts};
use super::{EXPAND, Name, Version};
use crate::settings::Settings;

/// The code of what stands in for a table or a column that green lacks and is going to be given.
const MADE: &str = "made-by-expand";

/// Where preflight tells that green has no such table, and that a table of green has no such column.
const MISSING: [&str; 2] = ["target-missing", "target-column-missing"];

/// What a run would give green before anything else.
#[derive(Debug, Clone, Copy, Default)]
pub struct ToMake<'v> {
    version: Option<&'v Version>,
}

impl<'v> ToMake<'v> {
    /// Asks green whether it has been given it already.
    pub async fn look(green: &mut Client, settings: &'v Settings) -> Result<ToMake<'v>, Failure> {
        let is_pending = pending(green, settings).await?;
        Ok(ToMake { version: settings.project.as_ref().filter(|_| is_pending) })
    }

    /// The file, as people name it, and how many statements it has; `None` where nothing is to be made.
    pub fn file(&self) -> Option<(String, usize)> {
        let version = self.version?;
        let script = version.expand.as_ref()?;
        Some((format!("{}/{EXPAND}", version.directory), script.statements.len()))
    }

    fn script(&self) -> Option<&'v Script> {
        self.version.and_then(|version| version.expand.as_ref())
    }

    /// Whether it makes this table.
    pub fn table(&self, table: &TableName) -> bool {
        self.script().is_some_and(|script| script.makes_table(&name_of(table)))
    }

    /// Whether it gives this table, which is there, this column.
    pub fn column(&self, table: &TableName, column: &str) -> bool {
        self.script().is_some_and(|script| script.makes_column(&name_of(table), column))
    }

    /// Whether it makes this table, or changes it.
    pub fn changes(&self, table: &TableName) -> bool {
        let name = name_of(table);
        let alters =
            |statement: &Statement| statement.alters().is_some_and(|(altered, _)| altered.fits(&name));
        self.script().is_some_and(|script| script.makes_table(&name) || script.statements.iter().any(alters))
    }

    /// Findings as they are once the file has been run: what it makes is not missing. Anything else stays.
    pub fn settle(&self, findings: Vec<Finding>, planned: &[PlannedTable]) -> Vec<Finding> {
        let Some((file, _)) = self.file() else { return findings };
        let mut made: BTreeMap<&TableName, BTreeSet<&str>> = BTreeMap::new();
        let mut left = Vec::with_capacity(findings.len());
        for finding in findings {
            match self.made(&finding, planned) {
                Some((table, column)) => made.entry(table).or_default().extend(column),
                None => left.push(finding),
            }
        }
        left.extend(made.into_iter().map(|(table, columns)| told(&file, table, &columns)));
        left
    }

    /// The table of green, and its column, that this finding misses and the file makes.
    fn made<'p>(
        &self,
        finding: &Finding,
        planned: &'p [PlannedTable],
    ) -> Option<(&'p TableName, Option<&'p str>)> {
        if !MISSING.contains(&finding.code) {
            return None;
        }
        for one in planned {
            let table = &one.target;
            if finding.subject == format!("green table {table}") {
                return self.table(table).then_some((table, None));
            }
            let is_meant = |column: &&str| finding.subject == format!("green column {table}.{column}");
            if let Some(column) = one.columns.iter().map(|column| column.target.as_str()).find(is_meant) {
                return self.column(table, column).then_some((table, Some(column)));
            }
        }
        None
    }
}

fn told(file: &str, table: &TableName, columns: &BTreeSet<&str>) -> Finding {
    let names = columns.iter().copied().collect::<Vec<_>>().join(", ");
    let what = match columns.len() {
        0 => format!("is to be made by {file}"),
        1 => format!("column {names} is to be made by {file}"),
        _ => format!("columns {names} are to be made by {file}"),
    };
    let subject = format!("green table {table}");
    Finding { severity: Severity::Info, code: MADE, subject, what, remedy: String::new() }
}

fn name_of(table: &TableName) -> Name {
    Name { schema: Some(table.schema.clone()), name: table.name.clone() }
}

impl Script {
    /// Whether a statement creates this table, or gives another one its name.
    fn makes_table(&self, table: &Name) -> bool {
        self.statements.iter().any(|statement| statement.makes().is_some_and(|made| made.fits(table)))
    }

    /// Whether a statement adds this column to this table, or gives another one its name.
    fn makes_column(&self, table: &Name, column: &str) -> bool {
        let adds = |statement: &Statement| {
            let Some((altered, actions)) = statement.alters() else { return false };
            altered.fits(table) && parts(actions).into_iter().any(|action| adds_column(action, column))
        };
        self.statements.iter().any(adds)
    }
}

impl Statement {
    /// The table that is there behind it, and was not before.
    fn makes(&self) -> Option<Name> {
        let mut words = Cursor::new(&self.pieces);
        if words.eat(&["create"]) {
            words.eat_any(&["unlogged"]);
            if !words.eat(&["table"]) {
                return None;
            }
            words.eat(&["if", "not", "exists"]);
            return words.name();
        }
        let (table, actions) = self.alters()?;
        let mut words = Cursor::new(actions);
        if words.eat(&["rename", "to"]) {
            return Some(Name { name: words.name()?.name, ..table });
        }
        let schema = words.eat(&["set", "schema"]).then(|| words.name())??;
        Some(Name { schema: Some(schema.name), ..table })
    }

    /// The table of an `ALTER TABLE`, and what is done to it.
    fn alters(&self) -> Option<(Name, &[Piece])> {
        let mut words = Cursor::new(&self.pieces);
        if !words.eat(&["alter", "table"]) {
            return None;
        }
        words.eat(&["if", "exists"]);
        words.eat(&["only"]);
        let table = words.name()?;
        words.eat_sign("*");
        Some((table, words.rest()))
    }
}

fn adds_column(action: &[Piece], column: &str) -> bool {
    let mut words = Cursor::new(action);
    if words.eat(&["add"]) {
        words.eat(&["column"]);
        words.eat(&["if", "not", "exists"]);
    } else if words.eat(&["rename"]) {
        words.eat(&["column"]);
        if words.name().is_none() || !words.eat(&["to"]) {
            return false;
        }
    } else {
        return false;
    }
    words.name().is_some_and(|name| name.schema.is_none() && name.name == column)
}

#[cfg(test)]
mod tests {
    use understudy_postgres::preflight::PlannedColumn;
    use understudy_postgres::preflight::PlannedSource;

    use super::*;

    fn version(expand: &str) -> Version {
        Version {
            number: 1,
            directory: "001_a".to_owned(),
            file_sha256: "0".repeat(64),
            expand: Some(Script::read("p/001_a/expand.sql", expand).unwrap()),
            contract: None,
        }
    }

    fn missing(code: &'static str, subject: &str) -> Finding {
        Finding {
            severity: Severity::Error,
            code,
            subject: subject.to_owned(),
            what: "does not exist".to_owned(),
            remedy: String::new(),
        }
    }

    fn planned(table: &str, columns: &[&str]) -> PlannedTable {
        let column = |name: &&str| PlannedColumn {
            target: (*name).to_owned(),
            source: PlannedSource::Column((*name).to_owned()),
        };
        PlannedTable {
            source: TableName::new("public", table),
            target: TableName::new("app", table),
            columns: columns.iter().map(column).collect(),
            filter: None,
        }
    }

    /// An error that a run would mend is none; one that a run would meet stays.
    #[test]
    fn only_what_the_file_makes_is_not_missing() {
        let makes = |sql: &str, table: &str| {
            let version = version(sql);
            ToMake { version: Some(&version) }.table(&TableName::new("app", table))
        };
        for sql in [
            "CREATE TABLE app.t (id int)",
            "SET search_path = app; create unlogged table if not exists T (id int)",
            "CREATE TABLE \"app\".\"t\" AS SELECT 1",
            "ALTER TABLE app.old RENAME TO t",
            "ALTER TABLE IF EXISTS public.t SET SCHEMA app",
        ] {
            assert!(makes(sql, "t"), "{sql}");
        }
        for sql in [
            "CREATE TABLE other.t (id int)",
            "CREATE TEMP TABLE t (id int)",
            "CREATE TABLE app.u (t int)",
            "ALTER TABLE app.t ADD x int",
            "ALTER TABLE app.u RENAME x TO t",
            "CREATE INDEX t ON app.u (x)",
            "COMMENT ON TABLE app.t IS 'CREATE TABLE app.t'",
            "SELECT 'CREATE TABLE app.t (id int)'",
        ] {
            assert!(!makes(sql, "t"), "{sql}");
        }
        let version = version(
            "ALTER TABLE app.t ADD COLUMN IF NOT EXISTS a int, ADD CONSTRAINT b CHECK (c > 0), ADD d numeric(3, 2); ALTER TABLE t RENAME COLUMN x TO e",
        );
        let to_make = ToMake { version: Some(&version) };
        let made = |column: &str| to_make.column(&TableName::new("app", "t"), column);
        assert_eq!(["a", "b", "c", "d", "e", "x"].map(made), [true, false, false, true, true, false]);
        assert!(!to_make.column(&TableName::new("app", "u"), "a"));
        assert!(
            to_make.changes(&TableName::new("app", "t")) && !to_make.changes(&TableName::new("app", "u"))
        );
    }

    #[test]
    fn a_table_is_told_of_once() {
        let version = version("CREATE TABLE app.new (id int); ALTER TABLE app.old ADD a int, ADD b int");
        let to_make = ToMake { version: Some(&version) };
        let planned = [planned("new", &["id"]), planned("old", &["a", "b", "c"]), planned("none", &["id"])];
        let findings = vec![
            missing("target-missing", "green table app.new"),
            missing("target-column-missing", "green column app.old.b"),
            missing("target-column-missing", "green column app.old.a"),
            missing("target-column-missing", "green column app.old.c"),
            missing("target-missing", "green table app.none"),
            missing("target-unlogged", "green table app.new"),
        ];
        let settled = to_make.settle(findings.clone(), &planned);
        let told = settled.iter().map(|one| format!("{:?} {} {}", one.severity, one.subject, one.what));
        let expected = [
            "Error green column app.old.c does not exist",
            "Error green table app.none does not exist",
            "Error green table app.new does not exist",
            "Info green table app.new is to be made by 001_a/expand.sql",
            "Info green table app.old columns a, b are to be made by 001_a/expand.sql",
        ];
        assert_eq!(told.collect::<Vec<_>>(), expected);
        assert_eq!(ToMake::default().settle(findings.clone(), &planned), findings, "nothing is pending");
    }
}
