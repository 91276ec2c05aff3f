//! What a database's catalog says of types and collations: plain facts, from which others tell what values mean.

use understudy_contract::{Class, Failure};

use super::describe_sql::OURS;
use crate::ident::quote_ident;
use crate::wire::{Client, Row};

/// Types and collations of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseFacts {
    /// The encoding that its texts are stored in: `UTF8`.
    pub encoding: String,
    /// The types of columns, all enums and domains outside the system schemas, and the types that these are made of;
    /// ordered by object id.
    pub types: Vec<TypeFacts>,
    /// The collation of the database, which a column has without choosing one.
    pub collation: CollationFacts,
    /// Those that columns have chosen instead, ordered by object id.
    pub collations: Vec<CollationFacts>,
}

/// A type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeFacts {
    /// Object id.
    pub oid: u32,
    /// The schema that it is in.
    pub schema: String,
    /// Its own name, as the catalog has it.
    pub name: String,
    /// What it is.
    pub kind: TypeKind,
    /// Whether its values have a collation.
    pub collatable: bool,
}

/// What a type is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypeKind {
    /// It has an input function of its own.
    Base,
    /// An enum, with its labels in order.
    Enum(Vec<String>),
    /// A restriction of another type.
    Domain {
        /// Object id of that type, which may be a domain itself.
        base: u32,
        /// The modifier that it fixes, -1 for none.
        modifier: i32,
        /// Whether it has a constraint of its own, NOT NULL included.
        constrained: bool,
    },
    /// An array of any number of dimensions.
    Array {
        /// Object id of the type of its elements.
        element: u32,
    },
    /// Composite types, ranges and multiranges.
    Other,
}

/// A collation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollationFacts {
    /// Object id.
    pub oid: u32,
    /// Its name as SQL writes it: `"C"`, `"public"."numbers"`.
    pub name: String,
    /// The library that sorts.
    pub provider: CollationProvider,
    /// Its locale, as ICU or Postgres itself calls it.
    pub locale: Option<String>,
    /// What the operating system's library sorts by.
    pub collate: Option<String>,
    /// What the operating system's library tells letters by.
    pub ctype: Option<String>,
    /// Whether equal means the same bytes.
    pub deterministic: bool,
}

/// The library behind a collation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CollationProvider {
    /// Postgres itself.
    Builtin,
    /// The operating system.
    Libc,
    /// ICU.
    Icu,
}

impl DatabaseFacts {
    /// The type with that object id.
    pub fn type_of(&self, oid: u32) -> Option<&TypeFacts> {
        let at = self.types.binary_search_by_key(&oid, |known| known.oid).ok()?;
        self.types.get(at)
    }
}

/// Reads them, in the transaction that is open.
pub(super) async fn read(client: &mut Client) -> Result<DatabaseFacts, Failure> {
    let mut types = Vec::<TypeFacts>::new();
    for row in client.query(&types_sql()).await? {
        let oid = row.parse(0)?;
        let known = types.last_mut().filter(|known| known.oid == oid);
        match (known.map(|known| &mut known.kind), row.text(8)) {
            (Some(TypeKind::Enum(labels)), Some(label)) => labels.push(label.to_owned()),
            _ => types.push(type_row(oid, &row)?),
        }
    }
    let version = client.server_version();
    let rows = client.query(&collations_sql(version)).await?;
    let mut collations = rows.iter().map(collation_row).collect::<Result<Vec<_>, _>>()?;
    let default = collations.iter().position(|known| known.oid == DEFAULT_COLLATION);
    let collation = default
        .map(|at| collations.remove(at))
        .ok_or_else(|| Failure::new(Class::Internal, "the server knows no collation of its database"))?;
    let encoding = rows.iter().find_map(|row| row.text(7)).unwrap_or_default().to_owned();
    Ok(DatabaseFacts { encoding, types, collation, collations })
}

/// The object id under which the catalog has the database's collation.
pub(super) const DEFAULT_COLLATION: u32 = 100;

fn type_row(oid: u32, row: &Row) -> Result<TypeFacts, Failure> {
    let kind = match row.required(3)? {
        "b" => row.optional(4)?.map_or(TypeKind::Base, |element| TypeKind::Array { element }),
        "e" => TypeKind::Enum(row.text(8).map(str::to_owned).into_iter().collect()),
        "d" => TypeKind::Domain { base: row.parse(5)?, modifier: row.parse(6)?, constrained: row.is_true(7) },
        _ => TypeKind::Other,
    };
    let (schema, name) = (row.required(1)?.to_owned(), row.required(2)?.to_owned());
    Ok(TypeFacts { oid, schema, name, kind, collatable: row.is_true(9) })
}

fn collation_row(row: &Row) -> Result<CollationFacts, Failure> {
    let (schema, name) = (row.required(1)?, quote_ident(row.required(2)?));
    let text = |at| row.text(at).filter(|text| !text.is_empty()).map(str::to_owned);
    Ok(CollationFacts {
        oid: row.parse(0)?,
        name: if schema == "pg_catalog" { name } else { format!("{}.{name}", quote_ident(schema)) },
        provider: match row.required(3)? {
            "b" => CollationProvider::Builtin,
            "i" => CollationProvider::Icu,
            _ => CollationProvider::Libc,
        },
        locale: text(4),
        collate: text(5),
        ctype: text(6),
        deterministic: row.is_true(8),
    })
}

/// One row for each type, and for an enum one for each of its labels. The two vector types of the catalog are written in a
/// form of their own and count as base types.
fn types_sql() -> String {
    format!(
        "WITH RECURSIVE used(oid) AS ( \
           SELECT start.oid FROM ( \
             SELECT a.atttypid FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE a.attnum > 0 AND NOT a.attisdropped AND {OURS} \
             UNION SELECT t.oid FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
             WHERE t.typtype IN ('e', 'd') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' \
           ) AS start(oid) \
           UNION \
           SELECT made_of.oid FROM used u JOIN pg_catalog.pg_type t ON t.oid = u.oid CROSS JOIN LATERAL ( \
             SELECT t.typbasetype UNION ALL SELECT t.typelem WHERE {IS_ARRAY}) AS made_of(oid) WHERE made_of.oid <> 0) \
         SELECT t.oid, n.nspname, t.typname, t.typtype, CASE WHEN {IS_ARRAY} THEN t.typelem END, \
           nullif(t.typbasetype, 0), t.typtypmod, t.typnotnull OR EXISTS (SELECT FROM pg_catalog.pg_constraint k \
             WHERE k.contypid = t.oid AND k.contype = 'c'), e.enumlabel, t.typcollation <> 0 \
         FROM used u JOIN pg_catalog.pg_type t ON t.oid = u.oid \
         JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
         LEFT JOIN pg_catalog.pg_enum e ON e.enumtypid = t.oid ORDER BY t.oid, e.enumsortorder"
    )
}

const IS_ARRAY: &str = "t.typlen = -1 AND t.typelem <> 0 AND t.typoutput = 'pg_catalog.array_out'::regproc";

/// The database's own, under the object id of its stand-in, and those that columns have.
fn collations_sql(version: u32) -> String {
    let (of_database, of_collation) = if version < 150_000 {
        ("'c', NULL", "CASE WHEN l.collprovider = 'i' THEN l.collcollate END")
    } else if version < 170_000 {
        ("d.datlocprovider, d.daticulocale", "l.colliculocale")
    } else {
        ("d.datlocprovider, d.datlocale", "l.colllocale")
    };
    format!(
        "SELECT {DEFAULT_COLLATION} AS oid, 'pg_catalog', 'default', {of_database}, d.datcollate, d.datctype, \
           pg_catalog.pg_encoding_to_char(d.encoding), true \
         FROM pg_catalog.pg_database d WHERE d.datname = current_database() \
         UNION ALL \
         SELECT l.oid, n.nspname, l.collname, l.collprovider, {of_collation}, l.collcollate, l.collctype, NULL, \
           l.collisdeterministic \
         FROM pg_catalog.pg_collation l JOIN pg_catalog.pg_namespace n ON n.oid = l.collnamespace \
         WHERE l.oid <> {DEFAULT_COLLATION} AND l.oid IN (SELECT a.attcollation FROM pg_catalog.pg_attribute a \
           JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
           WHERE a.attnum > 0 AND NOT a.attisdropped AND {OURS}) \
         ORDER BY oid"
    )
}
