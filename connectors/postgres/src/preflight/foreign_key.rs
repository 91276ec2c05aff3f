//! A foreign key of green: which tables it ties, whether it is alive, and the statements that take it away and bring it back.

use understudy_contract::Failure;
use understudy_model::TableName;

use crate::ident::{quote_ident, quote_table};
use crate::wire::Client;

/// A foreign key, as it was declared: what partitions inherit of it counts as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ForeignKey {
    pub(super) name: String,
    /// The table that it belongs to.
    pub(super) table: TableName,
    partitioned: bool,
    /// As `pg_get_constraintdef` writes it.
    definition: String,
    on_delete: char,
    on_update: char,
    /// The table of the migration that holds its rows, or whose partition does.
    pub(super) child: Option<u32>,
    /// The table of the migration that it leads to, or to a partition of which.
    pub(super) parent: Option<u32>,
    /// The states of its triggers, as in `pg_trigger.tgenabled`.
    pub(super) states: String,
}

/// SQL for `ours (root, member)`: these tables, each with itself and its partitions.
pub(super) fn ours(oids: &str) -> String {
    format!(
        "ours (root, member) AS (SELECT o.oid, o.oid FROM unnest('{oids}'::oid[]) AS o (oid) UNION \
         SELECT o.oid, p.relid::oid FROM unnest('{oids}'::oid[]) AS o (oid), \
         LATERAL pg_catalog.pg_partition_tree(o.oid) AS p)"
    )
}

impl ForeignKey {
    /// Those that lead from or to these tables or their partitions.
    pub(super) async fn read(client: &mut Client, oids: &str) -> Result<Vec<ForeignKey>, Failure> {
        let rows = client
            .query(&format!(
                "WITH RECURSIVE {}, up (own, oid, parent) AS ( \
                   SELECT c.oid, c.oid, c.conparentid FROM pg_catalog.pg_constraint c WHERE c.contype = 'f' \
                   AND (c.conrelid IN (SELECT member FROM ours) OR c.confrelid IN (SELECT member FROM ours)) \
                   UNION ALL SELECT up.own, c.oid, c.conparentid \
                   FROM up JOIN pg_catalog.pg_constraint c ON c.oid = up.parent) \
                 SELECT f.conname, n.nspname, t.relname, t.relkind = 'p', pg_catalog.pg_get_constraintdef(f.oid), \
                   f.confdeltype, f.confupdtype, min(child.root::bigint), min(parent.root::bigint), \
                   string_agg(DISTINCT g.tgenabled::text, '') \
                 FROM up JOIN pg_catalog.pg_constraint f ON f.oid = up.oid AND up.parent = 0 \
                 JOIN pg_catalog.pg_constraint own ON own.oid = up.own \
                 JOIN pg_catalog.pg_class t ON t.oid = f.conrelid \
                 JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace \
                 LEFT JOIN pg_catalog.pg_trigger g ON g.tgconstraint = own.oid \
                 LEFT JOIN ours child ON child.member = own.conrelid \
                 LEFT JOIN ours parent ON parent.member = own.confrelid \
                 GROUP BY f.oid, f.conname, n.nspname, t.relname, t.relkind, f.confdeltype, f.confupdtype \
                 ORDER BY n.nspname, t.relname, f.conname",
                ours(oids)
            ))
            .await?;
        let letter = |row: &crate::wire::Row, at: usize| row.text(at).and_then(|text| text.chars().next());
        rows.iter()
            .map(|row| {
                Ok(ForeignKey {
                    name: row.required(0)?.to_owned(),
                    table: TableName::new(row.required(1)?, row.required(2)?),
                    partitioned: row.is_true(3),
                    definition: row.required(4)?.to_owned(),
                    on_delete: letter(row, 5).unwrap_or('a'),
                    on_update: letter(row, 6).unwrap_or('a'),
                    child: row.optional(7)?,
                    parent: row.optional(8)?,
                    states: row.text(9).unwrap_or_default().to_owned(),
                })
            })
            .collect()
    }

    /// What it does to its own rows when those that it leads to change. `None` when it only checks.
    pub(super) fn actions(&self) -> Option<String> {
        let action = |letter| match letter {
            'c' => Some("CASCADE"),
            'n' => Some("SET NULL"),
            'd' => Some("SET DEFAULT"),
            _ => None,
        };
        let on_delete = action(self.on_delete).map(|action| format!("ON DELETE {action}"));
        let on_update = action(self.on_update).map(|action| format!("ON UPDATE {action}"));
        let actions = on_delete.into_iter().chain(on_update).collect::<Vec<_>>();
        (!actions.is_empty()).then(|| actions.join(", "))
    }

    /// The statement that takes it away.
    pub(super) fn drop_statement(&self) -> String {
        format!("ALTER TABLE {} DROP CONSTRAINT {}", quote_table(&self.table), quote_ident(&self.name))
    }

    /// The statements that bring it back as it was, without a long lock where a server of this version can do that.
    pub(super) fn add_statement(&self, version: u32) -> String {
        let (table, name) = (quote_table(&self.table), quote_ident(&self.name));
        let definition = self.definition.trim_end_matches(" NOT VALID");
        let add = format!("ALTER TABLE {table} ADD CONSTRAINT {name} {definition}");
        if self.partitioned && version < 180_000 {
            return add;
        }
        format!("{add} NOT VALID; ALTER TABLE {table} VALIDATE CONSTRAINT {name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(definition: &str, partitioned: bool) -> ForeignKey {
        ForeignKey {
            name: "f k".to_owned(),
            table: TableName::new("s", "child"),
            partitioned,
            definition: definition.to_owned(),
            on_delete: 'n',
            on_update: 'a',
            child: None,
            parent: None,
            states: "O".to_owned(),
        }
    }

    /// The statements of a remedy can be run as they are shown, on every server.
    #[test]
    fn a_foreign_key_goes_and_comes_back() {
        let definition = "FOREIGN KEY (p) REFERENCES s.parent(id) ON DELETE SET NULL";
        let plain = key(&format!("{definition} NOT VALID"), false);
        assert_eq!(plain.actions().as_deref(), Some("ON DELETE SET NULL"));
        assert_eq!(plain.drop_statement(), "ALTER TABLE \"s\".\"child\" DROP CONSTRAINT \"f k\"");
        let add = format!("ALTER TABLE \"s\".\"child\" ADD CONSTRAINT \"f k\" {definition}");
        let checked = "NOT VALID; ALTER TABLE \"s\".\"child\" VALIDATE CONSTRAINT \"f k\"";
        assert_eq!(plain.add_statement(150_000), format!("{add} {checked}"));
        assert_eq!(key(definition, true).add_statement(170_000), add, "not on partitioned tables before 18");
        assert_eq!(key(definition, true).add_statement(180_000), format!("{add} {checked}"));
    }
}
