//! The sequences of a database, what they feed, and which one on green stands for one on blue.

use rustc_hash::FxHashSet;
use understudy_contract::Failure;
use understudy_model::TableName;

use super::pairs::Pair;
use crate::wire::{Client, Row};

/// One sequence.
pub(super) struct Sequence {
    pub(super) oid: u32,
    pub(super) name: TableName,
    pub(super) increment: i64,
    pub(super) min: i64,
    pub(super) max: i64,
    pub(super) start: i64,
    pub(super) cycles: bool,
    pub(super) type_name: String,
    /// `None` when no number has been drawn, or when its value may not be read.
    pub(super) last: Option<i64>,
    pub(super) may_read: bool,
    pub(super) may_set: bool,
    in_extension: bool,
}

/// The sequences of a database, and which columns they feed.
pub(super) struct Sequences {
    all: Vec<Sequence>,
    /// Sequence, table, column.
    uses: Vec<(u32, u32, String)>,
}

/// A column that is fed, on both sides.
pub(super) struct Fed<'a> {
    pub(super) pair: &'a Pair<'a>,
    pub(super) on_blue: &'a str,
    pub(super) on_green: &'a str,
}

/// A sequence of blue that the migration needs, and what stands for it on green.
pub(super) struct Matched<'a> {
    pub(super) blue: &'a Sequence,
    pub(super) green: Option<&'a Sequence>,
    pub(super) fed: Option<Fed<'a>>,
}

impl Sequences {
    pub(super) async fn read(client: &mut Client) -> Result<Sequences, Failure> {
        let all = client.query(SEQUENCES).await?.iter().map(sequence).collect::<Result<_, _>>()?;
        let used = |row: &Row| Ok((row.parse(0)?, row.parse(1)?, row.required(2)?.to_owned()));
        let uses = client.query(USES).await?.iter().map(used).collect::<Result<_, Failure>>()?;
        Ok(Sequences { all, uses })
    }

    fn by_oid(&self, oid: u32) -> Option<&Sequence> {
        self.all.iter().find(|sequence| sequence.oid == oid)
    }

    fn by_name(&self, schema: &str, name: &str) -> Option<&Sequence> {
        self.all.iter().find(|sequence| sequence.name.schema == schema && sequence.name.name == name)
    }

    /// The one that feeds a column of these tables.
    fn feeding(&self, tables: &FxHashSet<u32>, column: &str) -> Option<&Sequence> {
        let found = self.uses.iter().find(|(_, table, used)| tables.contains(table) && used == column);
        found.and_then(|(sequence, _, _)| self.by_oid(*sequence))
    }
}

/// Sequences that feed columns which are passed on, and those that feed none but lie in a schema of migrated tables.
pub(super) fn matched<'a>(
    pairs: &'a [Pair<'a>],
    blue: &'a Sequences,
    green: &'a Sequences,
) -> Vec<Matched<'a>> {
    let mut found = Vec::new();
    let mut seen = FxHashSet::default();
    for pair in pairs {
        let sources = pair.on_blue.iter().map(|table| table.oid).collect::<FxHashSet<_>>();
        let targets = pair.on_green.iter().map(|table| table.oid).collect::<FxHashSet<_>>();
        for (oid, _, column) in blue.uses.iter().filter(|(_, table, _)| sources.contains(table)) {
            let (Some(on_green), Some(sequence)) = (pair.passed(column), blue.by_oid(*oid)) else { continue };
            if !seen.insert((*oid, pair.green.oid, on_green)) {
                continue;
            }
            let stands = green.feeding(&targets, on_green);
            let stands = stands.or_else(|| namesake(green, sequence, pairs));
            let fed = Fed { pair, on_blue: column, on_green };
            found.push(Matched { blue: sequence, green: stands, fed: Some(fed) });
        }
    }
    let is_used = |sequence: &Sequence| blue.uses.iter().any(|(oid, ..)| *oid == sequence.oid);
    let is_near =
        |sequence: &Sequence| pairs.iter().any(|pair| pair.blue.name.schema == sequence.name.schema);
    let free = blue.all.iter().filter(|one| !one.in_extension && is_near(one) && !is_used(one));
    found.extend(free.map(|one| Matched { blue: one, green: namesake(green, one, pairs), fed: None }));
    found
}

/// The one of the same name, in the same schema or in one that tables of that schema go to.
fn namesake<'a>(green: &'a Sequences, blue: &Sequence, pairs: &[Pair<'_>]) -> Option<&'a Sequence> {
    let TableName { schema, name } = &blue.name;
    let mut schemas = pairs.iter().filter(|pair| pair.blue.name.schema == *schema);
    green
        .by_name(schema, name)
        .or_else(|| schemas.find_map(|pair| green.by_name(&pair.green.name.schema, name)))
}

const SEQUENCES: &str = "SELECT c.oid, n.nspname, c.relname, s.seqincrement, s.seqmin, s.seqmax, s.seqstart, s.seqcycle, \
       pg_catalog.format_type(s.seqtypid, NULL), \
       CASE WHEN pg_catalog.has_sequence_privilege(c.oid, 'SELECT, USAGE') \
         THEN pg_catalog.pg_sequence_last_value(c.oid) END, \
       pg_catalog.has_sequence_privilege(c.oid, 'SELECT, USAGE'), \
       pg_catalog.has_sequence_privilege(c.oid, 'UPDATE'), \
       EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass \
         AND d.objid = c.oid AND d.deptype = 'e') \
     FROM pg_catalog.pg_sequence s JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid \
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relpersistence <> 't' AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' \
     AND n.nspname <> 'understudy' AND c.relname NOT LIKE 'understudy\\_%' ORDER BY n.nspname, c.relname";

/// By ownership, as serial and identity columns have it, and by default expressions.
const USES: &str = "SELECT d.objid, d.refobjid, a.attname FROM pg_catalog.pg_depend d \
       JOIN pg_catalog.pg_sequence s ON s.seqrelid = d.objid \
       JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid \
     WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass \
     AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0 \
     UNION SELECT d.refobjid, f.adrelid, a.attname FROM pg_catalog.pg_depend d \
       JOIN pg_catalog.pg_sequence s ON s.seqrelid = d.refobjid \
       JOIN pg_catalog.pg_attrdef f ON f.oid = d.objid \
       JOIN pg_catalog.pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum \
     WHERE d.classid = 'pg_catalog.pg_attrdef'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass \
     ORDER BY 1, 2, 3";

fn sequence(row: &Row) -> Result<Sequence, Failure> {
    Ok(Sequence {
        oid: row.parse(0)?,
        name: TableName::new(row.required(1)?, row.required(2)?),
        increment: row.parse(3)?,
        min: row.parse(4)?,
        max: row.parse(5)?,
        start: row.parse(6)?,
        cycles: row.is_true(7),
        type_name: row.required(8)?.to_owned(),
        last: row.optional(9)?,
        may_read: row.is_true(10),
        may_set: row.is_true(11),
        in_extension: row.is_true(12),
    })
}
