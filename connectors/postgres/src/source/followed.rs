//! Whether anybody else has touched the publication since tables are followed through it: what was committed on blue
//! meanwhile may never have been sent, although the publication is again as it was.

use std::collections::BTreeSet;
use std::fmt;

use understudy_contract::{Class, Failure};
use understudy_model::TableName;

use super::publication::{PublicationState, START_OVER};
use crate::ident::{quote_literal, quote_table};
use crate::wire::Client;

/// A publication as green remembers it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Followed {
    /// Its name.
    pub publication: String,
    /// Its version when this migration made it, or last accepted it.
    pub version: Option<String>,
    /// The tables whose changes green counts on.
    pub tables: Vec<FollowedTable>,
    /// Whether they go into a log, which tells every green behind it which rows are void.
    pub by_log: bool,
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
    /// These tables can be followed no further. Of one that has another name nothing has been missed.
    Left(Vec<Left>),
}

/// A followed table that blue no longer has, at least not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// The table.
    pub table: FollowedTable,
    /// What has become of it.
    pub fate: Fate,
}

/// What has become of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is not there any more. Mostly it was dropped; one that was taken out of the publication and then renamed looks the
    /// same, and of that one changes have been missed.
    Gone,
    /// It has another name, or is in another schema.
    Renamed(TableName),
    /// It is still there, and moves no more by itself: it became a partition, or an extension's.
    Absorbed,
}

impl Left {
    /// A table that is not there under its name, as far as the publication tells.
    pub fn absent(table: FollowedTable, there: Option<&PublicationState>) -> Left {
        let place = there.and_then(|there| there.tables.iter().find(|place| place.version == table.version));
        let renamed = place.filter(|place| place.name != table.source);
        let fate = renamed.map_or(Fate::Gone, |place| Fate::Renamed(place.name.clone()));
        Left { table, fate }
    }

    /// What green keeps of it, and what must be done should it come back.
    pub fn aftermath(&self) -> String {
        let target = &self.table.target;
        format!(
            "its rows stay in {target} on green; should it come back, it is copied anew, for which {target} must be \
             empty, unless `existing_rows` is `adopt`"
        )
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = &self.table.source;
        match &self.fate {
            Fate::Gone => write!(f, "{source} is gone from blue"),
            Fate::Renamed(name) => write!(f, "{source} was renamed to {name} on blue"),
            Fate::Absorbed => write!(f, "{source} is no longer a table by itself on blue"),
        }
    }
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
        if known != now.version {
            return Some(Gap::Tables { altered: true, tables: self.tables.clone() });
        }
        let is_in_place =
            |table: &&FollowedTable| now.tables.iter().any(|place| place.version == table.version);
        let tables = self.tables.iter().filter(|table| !is_in_place(table)).cloned().collect::<Vec<_>>();
        if !tables.is_empty() {
            return Some(Gap::Tables { altered: false, tables });
        }
        let renamed = self.renamed(now);
        (!renamed.is_empty()).then_some(Gap::Left(renamed))
    }

    /// The same, and tables that are gone from blue are told from those that somebody has taken out and that are still
    /// there.
    pub async fn gap_on(
        &self,
        blue: &mut Client,
        now: Option<&PublicationState>,
    ) -> Result<Option<Gap>, Failure> {
        let gap = self.gap(now);
        let (Some(Gap::Tables { altered: false, tables }), Some(there)) = (&gap, now) else {
            return Ok(gap);
        };
        let (mut touched, mut left) = (Vec::new(), self.renamed(there));
        for table in tables {
            if exists(blue, &table.source).await? {
                touched.push(table.clone());
            } else {
                left.push(Left { table: table.clone(), fate: Fate::Gone });
            }
        }
        let missed = !touched.is_empty();
        Ok(Some(if missed { Gap::Tables { altered: false, tables: touched } } else { Gap::Left(left) }))
    }

    /// Tables whose place in the publication is as it was, under another name.
    fn renamed(&self, there: &PublicationState) -> Vec<Left> {
        let absent = self.tables.iter().map(|table| Left::absent(table.clone(), Some(there)));
        absent.filter(|left| left.fate != Fate::Gone).collect()
    }
}

async fn exists(blue: &mut Client, table: &TableName) -> Result<bool, Failure> {
    let sql = format!(
        "SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = {} AND c.relname = {}",
        quote_literal(&table.schema),
        quote_literal(&table.name)
    );
    Ok(!blue.query(&sql).await?.is_empty())
}

fn object_id(version: &str) -> &str {
    version.split('.').next().unwrap_or_default()
}

impl Followed {
    /// A gap as a failure, with what closes it.
    pub fn failure(&self, gap: &Gap) -> Failure {
        let publication = &self.publication;
        let diverged = |what: String| Failure::new(Class::Diverged, what);
        match gap {
            Gap::Gone { replaced } => {
                let how =
                    if *replaced { "was dropped on blue and created again" } else { "is gone from blue" };
                diverged(format!(
                    "the publication {publication} {how}: what was committed without it has been missed"
                ))
                .remedy(START_OVER)
            }
            Gap::Tables { altered, tables } => {
                let sources = distinct(tables.iter().map(|table| table.source.to_string()));
                let what = if *altered {
                    format!(
                        "someone has altered the publication {publication}, so changes to every table may have been missed"
                    )
                } else {
                    format!(
                        "someone has taken {} out of the publication {publication}, or has dropped and created it anew, so \
                         changes may have been missed",
                        first_of(&sources)
                    )
                };
                if sources.len() > NAMED {
                    return diverged(what).remedy(START_OVER);
                }
                let targets = distinct(tables.iter().map(|table| quote_table(&table.target)));
                let recopy = sources.iter().map(|name| format!(" --recopy {name}")).collect::<String>();
                if self.by_log {
                    return diverged(what).remedy(format!(
                        "copy what was missed anew: understudy run FILE{recopy}; the log has every green behind it empty those \
                         tables first"
                    ));
                }
                diverged(what).remedy(format!(
                    "empty what was missed on green, never with CASCADE: TRUNCATE {} (or DELETE FROM, where other tables refer to \
                     it); then copy it anew: understudy run FILE{recopy}",
                    targets.join(", ")
                ))
            }
            Gap::Left(left) => {
                let what = distinct(left.iter().map(Left::to_string));
                let names = left.iter().map(|one| &one.table.source).collect::<BTreeSet<_>>();
                let remedies = left.iter().map(|one| way_on(one, &names)).collect::<BTreeSet<_>>();
                let remedies = remedies.into_iter().take(NAMED).collect::<Vec<_>>();
                diverged(first_of(&what)).remedy(remedies.join("; "))
            }
        }
    }
}

/// How a migration goes on without a table, or with it. `names` are those under which tables of it were followed that have
/// left.
fn way_on(left: &Left, names: &BTreeSet<&TableName>) -> String {
    let FollowedTable { source, target, .. } = &left.table;
    match &left.fate {
        // Nothing else helps: the file takes either name, and would fill the wrong table.
        Fate::Renamed(name) if names.contains(name) => {
            "give tables that have swapped their names each its own back (by way of a third one) and run again, then nothing is \
             missed"
                .to_owned()
        }
        Fate::Renamed(name) => format!(
            "rename {name} back to {source} and run again, then nothing is missed; or let the migration file take {name} in \
             its place and run again, then it is copied anew into an empty table, and {target} keeps its rows"
        ),
        Fate::Gone | Fate::Absorbed => {
            "take what is gone out of the migration file, where it is named there, then run again; its rows stay on green, where \
             what it held last may be missing"
                .to_owned()
        }
    }
}

/// Each of these once, in order: a table that several routes take, or fill, is one table.
fn distinct(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    names.filter(|name| seen.insert(name.clone())).collect()
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

    fn failure_of(followed: &Followed, there: Option<&PublicationState>) -> Failure {
        followed.failure(&followed.gap(there).expect("a gap"))
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
            by_log: false,
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
        let renamed = gap("10.700", &[("z", "11.701"), ("b", "12.701")]).expect("a gap");
        assert!(
            matches!(&renamed, Gap::Left(left) if left.len() == 1 && left[0].fate == Fate::Renamed(name("z"))),
            "{renamed:?}"
        );
        assert_eq!(gap("30.900", &[("a", "31.900")]), Some(Gap::Gone { replaced: true }));
        assert_eq!(followed.gap(None), Some(Gap::Gone { replaced: false }));
        assert_eq!(
            Followed { tables: vec![], ..followed.clone() }.gap(None),
            None,
            "nobody counts on it yet"
        );
    }

    /// A table that is gone was not taken out of anything: nobody is told to copy it anew.
    #[test]
    fn what_left_is_told_from_what_was_missed() {
        let tables = followed(&[("a", "11.701"), ("b", "12.701")]).tables;
        let there = now("10.700", &[("z", "12.701")]);
        let left = tables.into_iter().map(|table| Left::absent(table, Some(&there))).collect::<Vec<_>>();
        let failure = followed(&[]).failure(&Gap::Left(left));
        assert_eq!(
            failure.to_string(),
            "public.a is gone from blue, public.b was renamed to public.z on blue"
        );
        let remedy = failure.remedy_text().expect("a remedy");
        assert!(
            remedy.contains("rename public.z back to public.b") && !remedy.contains("--recopy"),
            "{remedy}"
        );
    }

    /// Tables that have swapped their names cannot be renamed back one by one, and no other file helps.
    #[test]
    fn swapped_names_are_to_be_swapped_back() {
        let followed = followed(&[("a", "11.701"), ("b", "12.701"), ("c", "13.701")]);
        let there = now("10.700", &[("b", "11.701"), ("a", "12.701"), ("c", "13.701")]);
        let failure = failure_of(&followed, Some(&there));
        assert_eq!(
            failure.to_string(),
            "public.a was renamed to public.b on blue, public.b was renamed to public.a on blue"
        );
        let remedy = failure.remedy_text().expect("a remedy");
        assert!(
            remedy.starts_with("give tables that have swapped their names each its own back"),
            "{remedy}"
        );
        assert!(!remedy.contains("in its place") && !remedy.contains("; "), "{remedy}");
    }

    /// A table that is split over two of green, and two that are merged into one, are each named once.
    #[test]
    fn a_table_of_several_routes_is_named_once() {
        let mut split = followed(&[("a", "1.1"), ("a", "1.1"), ("b", "2.1")]);
        split.tables[0].target = TableName::new("app", "b");
        let failure = failure_of(&split, Some(&now("10.700", &[])));
        let remedy = failure.remedy_text().expect("a remedy");
        assert!(failure.to_string().contains("taken public.a, public.b out of"), "{failure}");
        assert!(remedy.contains("TRUNCATE \"app\".\"b\", \"app\".\"a\" (or"), "{remedy}");
        assert!(remedy.ends_with("understudy run FILE --recopy public.a --recopy public.b"), "{remedy}");
        let there = now("10.700", &[("z", "1.1")]);
        let left = split.tables.into_iter().map(|table| Left::absent(table, Some(&there))).collect();
        let failure = followed(&[]).failure(&Gap::Left(left));
        assert_eq!(failure.to_string().matches("public.a was renamed").count(), 1, "{failure}");
    }

    /// The message names the tables and the exact way out, whatever their number.
    #[test]
    fn a_gap_says_how_it_is_closed() {
        let two = followed(&[("a", "1.1"), ("b", "2.1")]);
        let failure = failure_of(&two, Some(&now("10.700", &[])));
        assert_eq!(failure.class(), Class::Diverged);
        let remedy = failure.remedy_text().expect("a remedy");
        assert!(failure.to_string().contains("public.a, public.b out of the publication p"), "{failure}");
        assert!(remedy.contains("TRUNCATE \"app\".\"a\", \"app\".\"b\""), "{remedy}");
        assert!(remedy.ends_with("understudy run FILE --recopy public.a --recopy public.b"), "{remedy}");
        let names = (0..40).map(|n| format!("t{n}")).collect::<Vec<_>>();
        let many = names.iter().map(|name| (name.as_str(), "1.1")).collect::<Vec<_>>();
        let failure = failure_of(&followed(&many), Some(&now("10.700", &[])));
        assert!(failure.to_string().contains("and 28 more tables"), "{failure}");
        assert_eq!(failure.remedy_text(), Some(START_OVER));
    }
}
