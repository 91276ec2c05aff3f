//! What a migration file says that is allowed and probably not meant.

use std::net::IpAddr;

use understudy_postgres::wire::{ConnectOptions, Host, TlsMode};

use super::problem::Problem;
use super::text::TablePattern;
use super::{Settings, TableSettings};

impl Settings {
    /// What somebody should look at before the file is used, in the order of the file.
    pub fn warnings(&self) -> Vec<Problem> {
        let servers = [("blue.url", &self.blue), ("green.postgres.url", self.green_postgres())];
        let mut warnings =
            servers.iter().filter_map(|(path, server)| open_to_readers(path, server)).collect();
        take_nothing(&self.tables, &mut warnings);
        warnings
    }
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
        let wider = tables[..at].iter().find(|earlier| covers(&earlier.from, &entry.from));
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

    use super::super::{Secrets, Surroundings, parse};

    fn warnings(blue: &str, tables: &str) -> Vec<String> {
        let text = format!(
            "version: 1\nname: shop\nblue: {{ url: '{blue}' }}\n\
             green: {{ postgres: {{ url: 'postgres://u@localhost/shop' }} }}\ntables:\n{tables}"
        );
        let around =
            Surroundings { variables: HashMap::new(), folder: PathBuf::new(), secrets: Secrets::LeaveOut };
        let settings = parse("shop.yaml", &text, &around).expect("a good file");
        settings.warnings().into_iter().map(|warning| warning.to_string()).collect()
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
}
