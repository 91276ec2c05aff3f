//! What a database's catalog says, as expressions and routes understand it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use understudy_model::ReplicaIdentity;
use understudy_postgres::preflight::{
    CollationFacts, CollationProvider, ColumnDescription, DatabaseFacts, Generated, TableDescription,
    TypeFacts, TypeKind,
};
use understudy_transform::expr::functions::CaseRule;
use understudy_transform::expr::{
    Collation, DomainType, EnumType, Modifier, NamedType, Scope, ScopeColumn, SqlType,
};
use understudy_transform::{BlueTable, GreenColumn, GreenShape};

/// The types and collations of one database.
#[derive(Debug, Clone)]
pub struct Catalog {
    types: HashMap<u32, SqlType>,
    /// Object ids of the types whose values have a collation.
    collatable: HashSet<u32>,
    /// Its enums and domains.
    named: HashMap<NamedType, SqlType>,
    collation: Collation,
    collations: HashMap<u32, Collation>,
}

impl Catalog {
    /// The catalog that these facts describe.
    pub fn new(facts: &DatabaseFacts) -> Catalog {
        let mut types = HashMap::new();
        let mut named = HashMap::new();
        for one in &facts.types {
            let ty = sql_type(facts, one.oid);
            if let SqlType::Enum(_) | SqlType::Domain(_) = ty {
                named.insert(name_of(one), ty.clone());
            }
            types.insert(one.oid, ty);
        }
        let is_utf8 = facts.encoding == "UTF8";
        let of = |one: &CollationFacts, is_default| collation(one, is_default, is_utf8);
        Catalog {
            types,
            collatable: facts.types.iter().filter(|one| one.collatable).map(|one| one.oid).collect(),
            named,
            collation: of(&facts.collation, true),
            collations: facts.collations.iter().map(|one| (one.oid, of(one, false))).collect(),
        }
    }

    /// A table of blue as routes see it: what the stream carries of it.
    pub fn blue_table(&self, table: &TableDescription) -> BlueTable {
        BlueTable {
            name: table.name.clone(),
            columns: carried(table).map(|column| column.name.clone()).collect(),
            types: carried(table).map(|column| (column.type_oid, column.type_modifier)).collect(),
            key: table.key.clone().unwrap_or_default(),
            identity_is_full: table.identity == ReplicaIdentity::Full,
            scope: Some(self.scope(table)),
        }
    }

    /// What expressions over a table's columns may name. The key of `mask` is not the catalog's to give.
    pub fn scope(&self, table: &TableDescription) -> Scope {
        Scope {
            table: table.name.clone(),
            columns: carried(table).map(|column| self.scope_column(column)).collect(),
            types: self.named.clone(),
            collation: self.collation.clone(),
            mask_key: None,
        }
    }

    /// A table of green as routes into it see it. `blue` is the catalog that their expressions are compiled against.
    pub fn green_shape(&self, table: &TableDescription, blue: &Catalog) -> GreenShape {
        let column = |column: &ColumnDescription| {
            let ty = self.type_of(column);
            let (ty, modifier) = taken_by(&ty, Modifier(column.type_modifier), blue);
            GreenColumn { name: column.name.clone(), ty, modifier }
        };
        let keys = table.unique.iter().filter(|index| index.usable_as_key);
        GreenShape {
            columns: table.columns.iter().map(column).collect(),
            keys: keys.map(|index| index.columns.clone()).collect(),
        }
    }

    fn scope_column(&self, column: &ColumnDescription) -> ScopeColumn {
        let chosen = column.collation.map(|oid| self.collations.get(&oid).cloned().unwrap_or_else(unknown));
        let usual = || self.collatable.contains(&column.type_oid).then(|| self.collation.clone());
        ScopeColumn {
            name: column.name.clone(),
            ty: self.type_of(column),
            modifier: Modifier(column.type_modifier),
            collation: chosen.or_else(usual),
        }
    }

    /// A type that came to be after the facts were read is known by its name alone.
    fn type_of(&self, column: &ColumnDescription) -> SqlType {
        let opaque = || {
            let name = column.type_name.clone();
            SqlType::Opaque(Arc::new(NamedType { schema: None, name }))
        };
        self.types.get(&column.type_oid).cloned().unwrap_or_else(opaque)
    }
}

/// The columns that the stream carries: generated ones are not published.
fn carried(table: &TableDescription) -> impl Iterator<Item = &ColumnDescription> {
    table.columns.iter().filter(|column| column.generated == Generated::No)
}

fn name_of(one: &TypeFacts) -> NamedType {
    let schema = (one.schema != "pg_catalog").then(|| one.schema.clone());
    NamedType { schema, name: one.name.clone() }
}

fn sql_type(facts: &DatabaseFacts, oid: u32) -> SqlType {
    if let Some(builtin) = builtin(oid) {
        return builtin;
    }
    let Some(one) = facts.type_of(oid) else {
        return SqlType::Opaque(Arc::new(NamedType { schema: None, name: oid.to_string() }));
    };
    let name = name_of(one);
    match &one.kind {
        TypeKind::Enum(labels) => SqlType::Enum(Arc::new(EnumType { name, labels: labels.clone() })),
        TypeKind::Domain { base, modifier, constrained } => {
            let base = sql_type(facts, *base);
            // Values satisfy what is below a domain as well.
            let below = matches!(&base, SqlType::Domain(below) if below.is_constrained);
            let is_constrained = *constrained || below;
            SqlType::Domain(Arc::new(DomainType {
                name,
                base,
                modifier: Modifier(*modifier),
                is_constrained,
            }))
        }
        TypeKind::Array { element } => sql_type(facts, *element).array_of(),
        TypeKind::Base | TypeKind::Other => SqlType::Opaque(Arc::new(name)),
    }
}

/// Built-in types by their object ids, which never change. Their names would not do: `"char"` is not `char`.
fn builtin(oid: u32) -> Option<SqlType> {
    Some(match oid {
        16 => SqlType::Bool,
        17 => SqlType::Bytea,
        20 => SqlType::Int8,
        21 => SqlType::Int2,
        23 => SqlType::Int4,
        25 => SqlType::Text,
        114 => SqlType::Json,
        650 => SqlType::Cidr,
        700 => SqlType::Float4,
        701 => SqlType::Float8,
        869 => SqlType::Inet,
        1042 => SqlType::Bpchar,
        1043 => SqlType::Varchar,
        1082 => SqlType::Date,
        1083 => SqlType::Time,
        1114 => SqlType::Timestamp,
        1184 => SqlType::TimestampTz,
        1186 => SqlType::Interval,
        1266 => SqlType::TimeTz,
        1700 => SqlType::Numeric,
        2950 => SqlType::Uuid,
        3802 => SqlType::Jsonb,
        _ => return None,
    })
}

/// The type that a value is brought to for a column of green, whose own checks come on top of it.
///
/// Green checks its domains itself. Its enums are known to expressions only where blue has them too, with no label that
/// green lacks; the text of a label goes into others.
fn taken_by(ty: &SqlType, modifier: Modifier, blue: &Catalog) -> (SqlType, Modifier) {
    match ty {
        SqlType::Domain(domain) => taken_by(&domain.base, domain.modifier, blue),
        SqlType::Enum(own) => match blue.named.get(&own.name) {
            Some(SqlType::Enum(theirs)) if theirs.labels.iter().all(|label| own.labels.contains(label)) => {
                (SqlType::Enum(theirs.clone()), modifier)
            }
            _ => (SqlType::Text, Modifier::NONE),
        },
        SqlType::Array(element) => (taken_by(element, Modifier::NONE, blue).0.array_of(), modifier),
        SqlType::Opaque(named) if named.name == "citext" => (SqlType::Text, Modifier::NONE),
        other => (other.clone(), modifier),
    }
}

/// A collation of which nothing is known but that it is there.
fn unknown() -> Collation {
    Collation {
        name: "unknown".to_owned(),
        is_default: false,
        sorts_by_bytes: false,
        is_deterministic: false,
        case: None,
    }
}

fn collation(facts: &CollationFacts, is_default: bool, is_utf8: bool) -> Collation {
    let locale = facts.locale.as_deref().unwrap_or_default();
    let (collate, ctype) = (facts.collate.as_deref(), facts.ctype.as_deref());
    let (sorts_by_bytes, case) = match facts.provider {
        // Each of its locales sorts by code points, and UTF-8 keeps their order.
        CollationProvider::Builtin => (true, builtin_case(locale)),
        CollationProvider::Libc => (collate.is_some_and(is_c), ctype.and_then(libc_case)),
        CollationProvider::Icu => (false, icu_case(locale)),
    };
    Collation {
        name: facts.name.clone(),
        is_default,
        // In other encodings the server sorts by other bytes than those that it sends.
        sorts_by_bytes: sorts_by_bytes && is_utf8,
        is_deterministic: facts.deterministic,
        case: case.filter(|rule| is_utf8 || *rule == CaseRule::Ascii),
    }
}

fn is_c(locale: &str) -> bool {
    matches!(locale, "C" | "POSIX")
}

fn builtin_case(locale: &str) -> Option<CaseRule> {
    match locale {
        "C" => Some(CaseRule::Ascii),
        "C.UTF-8" | "C.UTF8" => Some(CaseRule::Simple),
        "PG_UNICODE_FAST" => Some(CaseRule::Full),
        _ => None,
    }
}

fn libc_case(locale: &str) -> Option<CaseRule> {
    match locale {
        _ if is_c(locale) => Some(CaseRule::Ascii),
        _ if locale.eq_ignore_ascii_case("C.UTF-8") || locale.eq_ignore_ascii_case("C.utf8") => {
            Some(CaseRule::Simple)
        }
        _ => None,
    }
}

/// Languages in which ICU gives letters another case than elsewhere.
const OTHER_CASES: [&str; 10] = ["tr", "tur", "az", "aze", "lt", "lit", "el", "ell", "hy", "hye"];

fn icu_case(locale: &str) -> Option<CaseRule> {
    let language = locale.split(['-', '_', '@']).next().unwrap_or_default().to_ascii_lowercase();
    (!OTHER_CASES.contains(&language.as_str())).then_some(CaseRule::Full)
}
