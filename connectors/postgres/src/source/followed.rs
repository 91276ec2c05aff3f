//! Whether anybody else has touched the publication since tables are followed through it: what was committed on blue
//! meanwhile may never have been sent, although the publication is again as it was.

use understudy_contract::{Class, Failure};
use understudy_model::TableName;

use super::publication::{PublicationState, START_OVER};
use crate::ident::quote_table;

/// A publication as green remembers it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Followed {
    /// Its name.
    pub publication: String,
    /// Its version when this migration made it, or last accepted it.
    pub version: Option<String>,
    /// The tables whose changes green counts on.
    pub tables: Vec<FollowedTable>,
}

/// A table whose changes green counts on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowedTable {
    /// The table on blue.
    pub source: TableName,
    /// The table on green.
    pub target: TableName,
    /// The version of its place in the publication since it is followed.
    pub version: String,
}

/// What may have been missed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gap {
    /// The publication that was followed does not exist any more. Blue cannot send what was committed without it.
    Gone {
        /// Another one has its name.
        replaced: bool,
    },
    /// Changes to these tables.
    Tables {
        /// The publication as a whole was altered; otherwise the tables were taken out, or put back.
        altered: bool,
        /// The tables.
        tables: Vec<FollowedTable>,
    },
}

/// So many tables are named in a message; where more are concerned, starting over is less work.
const NAMED: usize = 12;

impl Followed {
    /// Compares with the publication as it is now. `None`: nobody has touched what is followed.
    pub fn gap(&self, now: Option<&PublicationState>) -> Option<Gap> {
        if self.tables.is_empty() {
            return None;
        }
        let Some(now) = now else {
            return Some(Gap::Gone { replaced: false });
        };
        let known = self.version.as_deref().unwrap_or_default();
        if object_id(known) != object_id(&now.version) {
            return Some(Gap::Gone { replaced: true });
        }
        let altered = known != now.version;
        let is_untouched = |table: &FollowedTable| {
            let place = now.tables.iter().find(|place| place.name == table.source);
            place.is_some_and(|place| place.version == table.version)
        };
        let tables = self.tables.iter().filter(|table| altered || !is_untouched(table));
        let tables = tables.cloned().collect::<Vec<_>>();
        (!tables.is_empty()).then_some(Gap::Tables { altered, tables })
    }
}

fn object_id(version: &str) -> &str {
    version.split('.').next().unwrap_or_default()
}

impl Gap {
    /// The gap as a failure, with what closes it.
    pub fn failure(&self, publication: &str) -> Failure {
        let diverged = |what: String| Failure::new(Class::Diverged, what);
        match self {
            Gap::Gone { replaced } => {
                let how =
                    if *replaced { "was dropped on blue and created again" } else { "is gone from blue" };
                diverged(format!(
                    "the publication {publication} {how}: what was committed without it has been missed"
                ))
                .remedy(START_OVER)
            }
            Gap::Tables { altered, tables } => {
                let sources = tables.iter().map(|table| table.source.to_string()).collect::<Vec<_>>();
                let what = if *altered {
                    format!(
                        "someone has altered the publication {publication}, so changes to every table may have been missed"
                    )
                } else {
                    format!(
                        "someone has taken {} out of the publication {publication}, so changes may have been missed",
                        first_of(&sources)
                    )
                };
                if sources.len() > NAMED {
                    return diverged(what).remedy(START_OVER);
                }
                let targets = tables.iter().map(|table| quote_table(&table.target)).collect::<Vec<_>>();
                let recopy = sources.iter().map(|name| format!(" --recopy {name}")).collect::<String>();
                diverged(what).remedy(format!(
                    "empty what was missed on green, never with CASCADE: TRUNCATE {} (or DELETE FROM, where other tables refer to \
                     it); then copy it anew: understudy run FILE{recopy}",
                    targets.join(", ")
                ))
            }
        }
    }
}

fn first_of(names: &[String]) -> String {
    match names.len().checked_sub(NAMED) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more tables", names[..NAMED].join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::publication::PublicationTable;

    fn name(table: &str) -> TableName {
        TableName::new("public", table)
    }

    fn followed(tables: &[(&str, &str)]) -> Followed {
        let one = |(table, version): &(&str, &str)| FollowedTable {
            source: name(table),
            target: TableName::new("app", *table),
            version: (*version).to_owned(),
        };
        Followed {
            publication: "p".into(),
            version: Some("10.700".into()),
            tables: tables.iter().map(one).collect(),
        }
    }

    fn now(version: &str, tables: &[(&str, &str)]) -> PublicationState {
        let one = |(table, version): &(&str, &str)| PublicationTable {
            version: (*version).to_owned(),
            name: name(table),
            some_columns: false,
            some_rows: false,
        };
        PublicationState {
            version: version.to_owned(),
            publishes: [true; 4],
            via_root: false,
            all_tables: false,
            schemas: Vec::new(),
            tables: tables.iter().map(one).collect(),
        }
    }

    /// Promise 2: what was changed and put back looks the same and is not.
    #[test]
    fn every_foreign_edit_leaves_a_gap_and_ours_leave_none() {
        let followed = followed(&[("a", "11.701"), ("b", "12.701")]);
        let gap = |version, tables| followed.gap(Some(&now(version, tables)));
        // Tables that join or leave with the migration file are none of the followed ones.
        assert_eq!(gap("10.700", &[("a", "11.701"), ("b", "12.701"), ("joins", "13.800")]), None);
        let concerned = |gap| match gap {
            Some(Gap::Tables { altered, tables }) => {
                (altered, tables.into_iter().map(|table| table.source.name).collect::<Vec<_>>())
            }
            other => panic!("{other:?}"),
        };
        let put_back = gap("10.700", &[("a", "11.701"), ("b", "20.800")]);
        assert_eq!(concerned(put_back), (false, vec!["b".to_owned()]));
        let taken_out = gap("10.700", &[("b", "12.701")]);
        assert_eq!(concerned(taken_out), (false, vec!["a".to_owned()]));
        let altered = gap("10.810", &[("a", "11.701"), ("b", "12.701")]);
        assert_eq!(concerned(altered), (true, vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(gap("30.900", &[("a", "31.900")]), Some(Gap::Gone { replaced: true }));
        assert_eq!(followed.gap(None), Some(Gap::Gone { replaced: false }));
        assert_eq!(
            Followed { tables: vec![], ..followed.clone() }.gap(None),
            None,
            "nobody counts on it yet"
        );
    }

    /// The message names the tables and the exact way out, whatever their number.
    #[test]
    fn a_gap_says_how_it_is_closed() {
        let two = followed(&[("a", "1.1"), ("b", "2.1")]);
        let failure = two.gap(Some(&now("10.700", &[]))).expect("a gap").failure("p");
        assert_eq!(failure.class(), Class::Diverged);
        let remedy = failure.remedy_text().expect("a remedy");
        assert!(failure.to_string().contains("public.a, public.b out of the publication p"), "{failure}");
        assert!(remedy.contains("TRUNCATE \"app\".\"a\", \"app\".\"b\""), "{remedy}");
        assert!(remedy.ends_with("understudy run FILE --recopy public.a --recopy public.b"), "{remedy}");
        let names = (0..40).map(|n| format!("t{n}")).collect::<Vec<_>>();
        let many = names.iter().map(|name| (name.as_str(), "1.1")).collect::<Vec<_>>();
        let failure = followed(&many).gap(Some(&now("10.700", &[]))).expect("a gap").failure("p");
        assert!(failure.to_string().contains("and 28 more tables"), "{failure}");
        assert_eq!(failure.remedy_text(), Some(START_OVER));
    }
}
