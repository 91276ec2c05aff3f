//! The types of blue that expressions understand, and those that only pass through.

use std::fmt;
use std::sync::Arc;

/// A type of Postgres.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SqlType {
    /// `boolean`
    Bool,
    /// `smallint`
    Int2,
    /// `integer`
    Int4,
    /// `bigint`
    Int8,
    /// `numeric`
    Numeric,
    /// `real`
    Float4,
    /// `double precision`
    Float8,
    /// `text`
    Text,
    /// `character varying`
    Varchar,
    /// `character`, whose trailing blanks mean nothing
    Bpchar,
    /// `bytea`
    Bytea,
    /// `date`
    Date,
    /// `time without time zone`
    Time,
    /// `time with time zone`
    TimeTz,
    /// `timestamp without time zone`
    Timestamp,
    /// `timestamp with time zone`
    TimestampTz,
    /// `interval`
    Interval,
    /// `uuid`
    Uuid,
    /// `json`, which keeps its text
    Json,
    /// `jsonb`, which keeps its value
    Jsonb,
    /// `inet`
    Inet,
    /// `cidr`
    Cidr,
    /// An enum.
    Enum(Arc<EnumType>),
    /// A domain.
    Domain(Arc<DomainType>),
    /// An array of any number of dimensions.
    Array(Arc<SqlType>),
    /// The type of a quoted literal, and of null, before its place has given it one.
    Unknown,
    /// A type whose values can be passed on and cast to text, and nothing else.
    Opaque(Arc<NamedType>),
}

/// A type known by its name in the catalog.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NamedType {
    /// Schema, which is left out for `pg_catalog`.
    pub schema: Option<String>,
    /// Its own name.
    pub name: String,
}

/// An enum and its labels.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EnumType {
    /// Its name.
    pub name: NamedType,
    /// Labels in their order.
    pub labels: Vec<String>,
}

/// A domain over another type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DomainType {
    /// Its name.
    pub name: NamedType,
    /// What it restricts; may be a domain itself.
    pub base: SqlType,
    /// The modifier that it fixes.
    pub modifier: Modifier,
    /// Whether values have to satisfy more than their base type, which only a server can check.
    pub is_constrained: bool,
}

/// What stands in brackets behind a type's name: a length, a precision. As the catalog's `atttypmod` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Modifier(pub i32);

impl Modifier {
    /// Nothing in brackets.
    pub const NONE: Modifier = Modifier(-1);

    /// The length of a `varchar(n)` or `char(n)`, in characters.
    pub fn characters(self) -> Option<usize> {
        usize::try_from(self.0 - 4).ok().filter(|_| self.0 >= 4)
    }

    /// Precision and scale of a `numeric(p, s)`, in decimal digits. The scale may be negative.
    pub fn precision_and_scale(self) -> Option<(u16, i16)> {
        if self.0 < 4 {
            return None;
        }
        let packed = self.0 - 4;
        let scale = ((packed & 0x7ff) ^ 1024) - 1024;
        Some(((packed >> 16) as u16, scale as i16))
    }

    /// The modifier of a `numeric(precision, scale)`.
    pub fn of_numeric(precision: u16, scale: i16) -> Modifier {
        Modifier(((i32::from(precision) << 16) | (i32::from(scale) & 0x7ff)) + 4)
    }

    /// The modifier of a type of so many characters.
    pub fn of_characters(count: i32) -> Modifier {
        Modifier(count + 4)
    }

    /// Digits behind the point of the seconds of a time, a timestamp or an interval.
    pub fn fraction_digits(self) -> Option<u32> {
        u32::try_from(self.0 & 0xffff).ok().filter(|digits| self.0 >= 0 && *digits <= 6)
    }
}

/// Groups of types among which a call prefers one over another, as `typcategory` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Category {
    /// Arrays.
    Array,
    /// Booleans.
    Boolean,
    /// Dates and times.
    DateTime,
    /// Enums.
    Enum,
    /// Network addresses.
    Network,
    /// Numbers.
    Numeric,
    /// Strings.
    String,
    /// Spans of time.
    Timespan,
    /// Quoted literals that have no type yet.
    Unknown,
    /// Everything else.
    User,
}

impl SqlType {
    /// The type below all domains.
    pub fn base(&self) -> &SqlType {
        match self {
            SqlType::Domain(domain) => domain.base.base(),
            other => other,
        }
    }

    /// What an array consists of.
    pub fn element(&self) -> Option<&SqlType> {
        match self.base() {
            SqlType::Array(element) => Some(element),
            _ => None,
        }
    }

    /// An array of this type.
    pub fn array_of(self) -> SqlType {
        SqlType::Array(Arc::new(self))
    }

    /// Whether it is one of the three kinds of strings, or a domain over one.
    pub fn is_string(&self) -> bool {
        matches!(self.base(), SqlType::Text | SqlType::Varchar | SqlType::Bpchar)
    }

    pub(crate) fn category(&self) -> Category {
        match self.base() {
            SqlType::Bool => Category::Boolean,
            SqlType::Int2
            | SqlType::Int4
            | SqlType::Int8
            | SqlType::Numeric
            | SqlType::Float4
            | SqlType::Float8 => Category::Numeric,
            SqlType::Text | SqlType::Varchar | SqlType::Bpchar => Category::String,
            SqlType::Date | SqlType::Time | SqlType::TimeTz | SqlType::Timestamp | SqlType::TimestampTz => {
                Category::DateTime
            }
            SqlType::Interval => Category::Timespan,
            SqlType::Inet | SqlType::Cidr => Category::Network,
            SqlType::Enum(_) => Category::Enum,
            SqlType::Array(_) => Category::Array,
            SqlType::Unknown => Category::Unknown,
            SqlType::Bytea | SqlType::Uuid | SqlType::Json | SqlType::Jsonb | SqlType::Opaque(_) => {
                Category::User
            }
            SqlType::Domain(_) => Category::User,
        }
    }

    /// Whether a call that can choose prefers this type among those of its category.
    pub(crate) fn is_preferred(&self) -> bool {
        matches!(
            self,
            SqlType::Bool
                | SqlType::Float8
                | SqlType::Text
                | SqlType::TimestampTz
                | SqlType::Interval
                | SqlType::Inet
        )
    }

    /// The built-in type of this name as SQL or the catalog writes it, in lower case.
    pub fn builtin(name: &str) -> Option<SqlType> {
        Some(match name {
            "bool" | "boolean" => SqlType::Bool,
            "int2" | "smallint" => SqlType::Int2,
            "int4" | "int" | "integer" => SqlType::Int4,
            "int8" | "bigint" => SqlType::Int8,
            "numeric" | "decimal" => SqlType::Numeric,
            "float4" | "real" => SqlType::Float4,
            "float8" | "double precision" => SqlType::Float8,
            "text" => SqlType::Text,
            "varchar" | "character varying" => SqlType::Varchar,
            "bpchar" | "char" | "character" => SqlType::Bpchar,
            "bytea" => SqlType::Bytea,
            "date" => SqlType::Date,
            "time" | "time without time zone" => SqlType::Time,
            "timetz" | "time with time zone" => SqlType::TimeTz,
            "timestamp" | "timestamp without time zone" => SqlType::Timestamp,
            "timestamptz" | "timestamp with time zone" => SqlType::TimestampTz,
            "interval" => SqlType::Interval,
            "uuid" => SqlType::Uuid,
            "json" => SqlType::Json,
            "jsonb" => SqlType::Jsonb,
            "inet" => SqlType::Inet,
            "cidr" => SqlType::Cidr,
            _ => return None,
        })
    }
}

impl fmt::Display for NamedType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// As messages and SQL name it, without its modifier.
impl fmt::Display for SqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SqlType::Bool => "boolean",
            SqlType::Int2 => "smallint",
            SqlType::Int4 => "integer",
            SqlType::Int8 => "bigint",
            SqlType::Numeric => "numeric",
            SqlType::Float4 => "real",
            SqlType::Float8 => "double precision",
            SqlType::Text => "text",
            SqlType::Varchar => "character varying",
            SqlType::Bpchar => "character",
            SqlType::Bytea => "bytea",
            SqlType::Date => "date",
            SqlType::Time => "time without time zone",
            SqlType::TimeTz => "time with time zone",
            SqlType::Timestamp => "timestamp without time zone",
            SqlType::TimestampTz => "timestamp with time zone",
            SqlType::Interval => "interval",
            SqlType::Uuid => "uuid",
            SqlType::Json => "json",
            SqlType::Jsonb => "jsonb",
            SqlType::Inet => "inet",
            SqlType::Cidr => "cidr",
            SqlType::Unknown => "unknown",
            SqlType::Enum(named) => return named.name.fmt(f),
            SqlType::Domain(named) => return named.name.fmt(f),
            SqlType::Opaque(named) => return named.fmt(f),
            SqlType::Array(element) => return write!(f, "{element}[]"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The packing is that of the catalog: a wrong scale would round values.
    #[test]
    fn modifiers_unpack_as_the_catalog_packs_them() {
        assert_eq!(Modifier(655_366).precision_and_scale(), Some((10, 2)));
        assert_eq!(Modifier::of_numeric(3, -2).precision_and_scale(), Some((3, -2)));
        assert_eq!(Modifier::NONE.precision_and_scale(), None);
        assert_eq!(Modifier(14).characters(), Some(10));
        assert_eq!(Modifier::NONE.characters(), None);
        assert_eq!(Modifier(3).fraction_digits(), Some(3));
        assert_eq!(Modifier::NONE.fraction_digits(), None);
    }
}
