//! What a migration file says that is allowed and probably not meant.

use std::collections::HashMap;
use std::net::IpAddr;

use understudy_model::TableName;
use understudy_postgres::wire::{ConnectOptions, Host, TlsMode};
use understudy_transform::expr::{Collation, Expression, Scope};
use understudy_transform::{ColumnSource, Requested};

use super::problem::Problem;
use super::text::TablePattern;
use super::{Settings, TableSettings, through};

impl Settings {
    /// What somebody should look at before the file is used, in the order of the file.
    pub fn warnings(&self) -> Vec<Problem> {
        let green = self.green_postgres().ok().map(|green| ("green.postgres.url", green));
        let servers = std::iter::once(("blue.url", &self.blue)).chain(green);
        let mut warnings =
            servers.filter_map(|(path, server)| open_to_readers(path, server)).collect::<Vec<_>>();
        warnings.extend(self.through.as_ref().and_then(through::open_to_readers));
        take_nothing(&self.tables, &mut warnings);
        warnings.extend(self.tables.iter().filter_map(decides_nothing));
        warnings
    }

    /// What is good and could be left out, in the order of the file.
    pub fn notes(&self) -> Vec<Problem> {
        self.tables.iter().flat_map(given_back_anyway).collect()
    }
}

/// A condition that names no column comes to the same for every row.
fn decides_nothing(entry: &TableSettings) -> Option<Problem> {
    let scope = Scope {
        table: TableName::new("", ""),
        columns: Vec::new(),
        types: HashMap::new(),
        collation: Collation::bytes(),
        mask_key: None,
    };
    let condition = Expression::compile_condition(entry.filter_text()?, &scope).ok()?;
    let is_true = condition.evaluate(&[]).ok()?.is_some_and(|value| value == "t");
    let what =
        if is_true { "is true for every row: all of them move" } else { "is true for no row: none moves" };
    Some(entry.problem_of(None, what).remedy("write a condition over blue's columns, or leave `where` out"))
}

/// Columns under `back` that the entry passes unchanged.
fn given_back_anyway(entry: &TableSettings) -> Vec<Problem> {
    let requested = entry.columns.as_deref().unwrap_or(&[Requested::Rest]);
    let is_source = |one: &Requested, blue: &str| matches!(one, Requested::Column(_, ColumnSource::Column(name)) if name == blue);
    // What `"*"` takes: no column that another entry fills or reads.
    let is_used = |one: &Requested, blue: &str| match one {
        Requested::Column(green, _) | Requested::Sql(green, _) if green == blue => true,
        Requested::Sql(green, _) => {
            entry.values.iter().any(|(name, sql)| name == green && sql.mentions(blue))
        }
        _ => false,
    };
    let passes = |blue: &&(String, super::Sql)| {
        let blue = blue.0.as_str();
        requested.iter().any(|one| is_source(one, blue))
            || (requested.contains(&Requested::Rest) && !requested.iter().any(|one| is_used(one, blue)))
    };
    let note = |(blue, _): &(String, super::Sql)| {
        let what = format!("`{blue}` passes unchanged and comes back without it");
        entry.problem_of(Some(&format!("back.{blue}")), what).remedy("leave the line out")
    };
    entry.back.iter().filter(passes).map(note).collect()
}

fn open_to_readers(path: &str, server: &ConnectOptions) -> Option<Problem> {
    let (Host::Tcp(host), TlsMode::Disable | TlsMode::Prefer) = (&server.host, server.tls) else {
        return None;
    };
    let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    let what = if server.tls == TlsMode::Disable { "is not encrypted" } else { "need not be encrypted" };
    (!is_here).then(|| {
        Problem::at(None, path, format!("the connection to `{host}` {what}, and rows travel through it"))
            .remedy("add ?sslmode=verify-full to the URL")
    })
}

/// A table is taken by the first pattern that matches it: one behind a wider one never takes any.
fn take_nothing(tables: &[TableSettings], warnings: &mut Vec<Problem>) {
    for (at, entry) in tables.iter().enumerate() {
        let wider =
            tables[..at].iter().find(|other| other.from != entry.from && covers(&other.from, &entry.from));
        if let Some(wider) = wider {
            let line = wider.place.map_or_else(String::new, |place| format!(" in line {}", place.line));
            let what = format!(
                "`{}` takes nothing: `{}`{line} takes all of its tables first",
                entry.from, wider.from
            );
            let path = format!("tables[{at}].from");
            warnings.push(Problem::at(entry.place, path, what).remedy("put the narrower pattern first"));
        }
    }
}

fn covers(wide: &TablePattern, narrow: &TablePattern) -> bool {
    match (wide, narrow) {
        (
            TablePattern::Prefix { schema, prefix },
            TablePattern::Prefix { schema: other_schema, prefix: other_prefix },
        ) => schema == other_schema && other_prefix.starts_with(prefix.as_str()),
        // A table that is named by an entry of its own is taken by no pattern.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::PathBuf;

    use super::super::{Secrets, Settings, Surroundings, parse};

    fn read(blue: &str, tables: &str) -> Settings {
        let text = format!(
            "version: 1\nname: shop\nblue: {{ url: '{blue}' }}\n\
             green: {{ postgres: {{ url: 'postgres://u@localhost/shop' }} }}\ntables:\n{tables}"
        );
        let around =
            Surroundings { variables: HashMap::new(), folder: PathBuf::new(), secrets: Secrets::LeaveOut };
        parse("shop.yaml", &text, &around).expect("a good file")
    }

    fn warnings(blue: &str, tables: &str) -> Vec<String> {
        read(blue, tables).warnings().iter().map(ToString::to_string).collect()
    }

    /// Rows and passwords cross a network in clear only where somebody has been told.
    #[test]
    fn connections_that_others_can_read_are_told() {
        let one = "  - from: a.b\n";
        for quiet in [
            "postgres://u@db/shop?sslmode=verify-full",
            "postgres://u@[::1]/shop",
            "postgres://u@127.0.0.1/d",
        ] {
            assert_eq!(warnings(quiet, one), [""; 0], "{quiet}");
        }
        let told = warnings("postgres://u@db/shop?sslmode=disable", one);
        assert!(told[0].starts_with("blue.url: the connection to `db` is not encrypted"), "{told:?}");
        assert!(warnings("postgres://u@db/shop", one)[0].contains("need not be encrypted"));
    }

    /// An entry that can never take a table looks as if its mapping were in force.
    #[test]
    fn patterns_behind_wider_ones_are_told() {
        let told =
            warnings("postgres://u@localhost/d", "  - from: a.*\n  - from: a.order*\n  - from: a.orders\n");
        assert_eq!(
            told,
            [
                "7:11: tables[1].from: `a.order*` takes nothing: `a.*` in line 6 takes all of its tables first\n  \
              remedy: put the narrower pattern first"
            ]
        );
        assert_eq!(
            warnings("postgres://u@localhost/d", "  - from: a.order*\n  - from: a.*\n  - from: b.order*\n"),
            [""; 0]
        );
    }

    /// A condition without columns moves everything or nothing, whatever its writer meant.
    #[test]
    fn conditions_that_decide_nothing_are_told() {
        let told = |condition: &str| {
            warnings("postgres://u@localhost/d", &format!("  - from: a.b\n    where: {condition}\n"))
        };
        assert_eq!(
            told("1 + 1 = 2"),
            [
                "7:12: tables[0].where: is true for every row: all of them move\n  7 |     where: 1 + 1 = 2\n    |            \
              ^^^^^^^^^\n  remedy: write a condition over blue's columns, or leave `where` out"
            ]
        );
        for never in ["false", "1 > 2", "NULL::boolean"] {
            assert!(told(never)[0].contains("is true for no row: none moves"), "{never}");
        }
        assert_eq!(told("gone IS NULL"), [""; 0]);
    }

    /// What comes back by itself needs no expression, and what an expression has used up does.
    #[test]
    fn ways_back_that_are_not_needed_are_noted() {
        let notes = |columns: &str| {
            let back = "    back: { id: cid, email: mail, name: full }\n";
            let settings = read("postgres://u@localhost/d", &format!("  - from: a.b\n{columns}{back}"));
            let notes = settings.notes().iter().map(|note| note.path.clone()).collect::<Vec<_>>();
            notes.iter().map(|path| path.trim_start_matches("tables[0].back.").to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(notes(""), ["id", "email", "name"]);
        assert_eq!(notes("    columns: { cid: id, mail: lower(Email), \"*\": \"*\" }\n"), ["id", "name"]);
        assert_eq!(notes("    columns: { cid: id + 1, mail: email }\n"), ["email"]);
        assert_eq!(notes("    columns: { cid: id + 1, email: \"'x'\", \"*\": \"*\" }\n"), ["name"]);
    }
}
