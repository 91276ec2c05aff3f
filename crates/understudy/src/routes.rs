//! Routes: the entries of the migration file met with blue's catalog.

use std::collections::HashSet;

use understudy_contract::{Class, Failure};
use understudy_model::TableName;
use understudy_postgres::preflight::{
    ExistingRows, PlannedColumn, PlannedSource, PlannedTable, PreflightPlan, ReplicaRole, TableDescription,
    TableKind,
};
use understudy_postgres::source::followed::{Fate, FollowedTable, Left};
use understudy_postgres::source::publication::PublicationState;
use understudy_transform::ColumnSource;

use crate::mapping::{self, Both};
use crate::settings::{self, Settings, TablePattern, TableSettings};

/// One table of blue and the entry of the file that takes it.
#[derive(Debug, Clone)]
pub struct Taken<'a> {
    /// The table on blue.
    pub table: &'a TableDescription,
    /// Where it goes.
    pub target: TableName,
    /// The entry.
    pub entry: &'a TableSettings,
}

/// The tables of blue that the file takes, in the order of the file and then by name.
///
/// Fails with every entry that takes nothing, and every table that two entries take or fill.
pub fn taken<'a>(settings: &'a Settings, blue: &'a [TableDescription]) -> Result<Vec<Taken<'a>>, Failure> {
    let mut problems = Vec::new();
    let mut taken: Vec<Taken<'a>> = Vec::new();
    for entry in &settings.tables {
        let before = taken.len();
        let mine = |table: &&TableDescription| {
            is_movable(table, &entry.from)
                && settings.entries_for(&table.name).iter().any(|e| std::ptr::eq(*e, entry))
        };
        let mut tables = blue.iter().filter(mine).collect::<Vec<_>>();
        tables.sort_by(|a, b| a.name.cmp(&b.name));
        let take = |table: &'a TableDescription| Taken { target: entry.target_of(&table.name), table, entry };
        taken.extend(tables.into_iter().map(take));
        if taken.len() == before && !blue.iter().any(|table| entry.from.matches(&table.name)) {
            problems.push(format!("{}: blue has no table `{}`", place(entry), entry.from));
        }
    }
    problems.extend(twice(&taken));
    if problems.is_empty() {
        return Ok(taken);
    }
    Err(Failure::new(Class::Configuration, problems.join("\n"))
        .remedy("list blue's tables with: understudy init, and correct `tables` in the migration file"))
}

/// The tables that green has followed so far and that the file would still have, were they on blue as they were: the next
/// run forgets them.
pub(crate) fn left(
    settings: &Settings,
    (blue, there): (&[TableDescription], Option<&PublicationState>),
    followed: impl IntoIterator<Item = FollowedTable>,
) -> Result<Vec<Left>, Failure> {
    let taken = taken(settings, blue)?;
    let fate = |table: FollowedTable| {
        if taken.iter().any(|one| one.table.name == table.source) {
            return None;
        }
        let entries = settings.entries_for(&table.source);
        if entries.iter().all(|entry| entry.target_of(&table.source) != table.target) {
            return None;
        }
        if !blue.iter().any(|one| one.name == table.source) {
            return Some(Left::absent(table, there));
        }
        Some(Left { table, fate: Fate::Absorbed })
    };
    Ok(followed.into_iter().filter_map(fate).collect())
}

/// Partitions move with their root; views and foreign tables never match a pattern, but may be named, to be refused.
fn is_movable(table: &TableDescription, from: &TablePattern) -> bool {
    let by_name = matches!(from, TablePattern::Table(_));
    let kind = matches!(table.kind, TableKind::Ordinary | TableKind::Partitioned);
    by_name || (kind && !table.is_partition && !table.in_extension && table.name.schema != "understudy")
}

fn place(entry: &TableSettings) -> String {
    entry.place.map_or_else(|| "tables".to_owned(), |place| place.to_string())
}

fn twice(taken: &[Taken<'_>]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut pairs = HashSet::new();
    for one in taken {
        if !pairs.insert((&one.table.name, &one.target)) {
            let (name, target) = (&one.table.name, &one.target);
            let remedy = match one.entry.items {
                Some(_) => "keep one of the two, or give one another `item` or `part`",
                None => "keep one of the two",
            };
            problems.push(format!("{}: {name} goes to {target} twice; {remedy}", place(one.entry)));
        }
    }
    problems
}

/// The role of the session that streams from blue.
pub(crate) const STREAM_ROLE: &str = "stream";

/// What preflight has to know.
pub fn preflight_plan(
    settings: &Settings,
    taken: &[Taken<'_>],
    both: &Both,
) -> Result<PreflightPlan, Failure> {
    let filled = mapping::columns(settings, taken, both)?;
    let mut tables = Vec::with_capacity(taken.len());
    for (one, columns) in taken.iter().zip(filled) {
        let columns = columns.into_iter().map(|column| PlannedColumn {
            target: column.name,
            source: match column.from {
                ColumnSource::Column(name) => PlannedSource::Column(name),
                ColumnSource::Constant(value) => PlannedSource::Constant(value),
                ColumnSource::Computed(computed) => PlannedSource::Computed {
                    ty: computed.expression.ty().to_string(),
                    inputs: computed.inputs,
                },
            },
        });
        tables.push(PlannedTable {
            source: one.table.name.clone(),
            target: one.target.clone(),
            columns: columns.collect(),
            filter: mapping::filter_inputs(settings, one, both)?,
        });
    }
    Ok(PreflightPlan { tables, ..plan_without_tables(settings) })
}

/// The same, apart from what goes where.
pub(crate) fn plan_without_tables(settings: &Settings) -> PreflightPlan {
    PreflightPlan {
        migration: settings.name.to_string(),
        slot: settings.name.slot(),
        publication: settings.name.slot(),
        reader: settings.name.application_name(STREAM_ROLE),
        tables: Vec::new(),
        replica_role: match settings.apply.replica_role {
            settings::ReplicaRole::Auto => ReplicaRole::Auto,
            settings::ReplicaRole::Never => ReplicaRole::Never,
        },
        existing_rows: match settings.existing_rows {
            settings::ExistingRows::Refuse => ExistingRows::Refuse,
            settings::ExistingRows::Adopt => ExistingRows::Adopt,
        },
        wal_waiver: settings.wal.waiver.is_some(),
        decoding_memory_bytes: settings.stream.decoding_memory,
        by_log: settings.through.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use understudy_model::ReplicaIdentity;
    use understudy_postgres::preflight::Persistence;

    use super::*;
    use crate::settings::{Secrets, Surroundings, parse};

    fn table(name: &str) -> TableDescription {
        TableDescription {
            oid: 1,
            name: TableName::new("public", name),
            kind: TableKind::Ordinary,
            persistence: Persistence::Permanent,
            columns: Vec::new(),
            identity: ReplicaIdentity::Default,
            key: Some(vec!["id".into()]),
            unique: Vec::new(),
            bytes: 0,
            rows_estimate: None,
            partition_children: false,
            is_partition: false,
            parent: None,
            has_heirs: false,
            row_security: false,
            in_extension: false,
        }
    }

    /// Whoever has taken a table out of the file is not warned that it is gone, nor told that it may come back; whoever
    /// still has it under a pattern is.
    #[test]
    fn only_what_the_file_would_still_have_is_said_to_have_left() {
        let surroundings =
            Surroundings { variables: HashMap::new(), folder: "/".into(), secrets: Secrets::LeaveOut };
        let left = |from: &str| {
            let file = format!(
                "version: 1\nname: s\nblue: {{ url: postgres://u@b/s }}\n\
                 green: {{ postgres: {{ url: postgres://u@g/s }} }}\ntables: [{{ from: {from} }}]\n"
            );
            let settings = parse("s.yaml", &file, &surroundings).expect("a good file");
            let followed = FollowedTable {
                source: TableName::new("public", "item"),
                target: TableName::new("public", "item"),
                version: "1.1".into(),
            };
            left(&settings, (&[table("other")], None), [followed]).expect("a list")
        };
        assert_eq!(left("public.other"), []);
        let under_pattern = left("public.*");
        assert!(under_pattern.len() == 1 && under_pattern[0].fate == Fate::Gone, "{under_pattern:?}");
    }
}
