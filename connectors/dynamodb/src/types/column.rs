//! The types of columns as far as they decide how values are stored.

use super::Form;

/// A column's type, with all that are stored alike as one. Domains count as what they are over.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// Whole numbers, `oid` among them.
    Int,
    /// `numeric`
    Numeric,
    /// `real` and `double precision`
    Float,
    /// `boolean`
    Bool,
    /// `bytea`
    Bytea,
    /// `timestamp with time zone`
    TimestampTz,
    /// `timestamp without time zone`
    Timestamp,
    /// `date`
    Date,
    /// `json` and `jsonb`
    Json,
    /// An array.
    Array(Box<ColumnType>),
    /// Everything else: enums, `uuid`, strings, and types whose values are nothing but their texts to us.
    Text,
}

impl ColumnType {
    /// The type by its name as SQL or the catalog writes it, with or without a modifier in brackets.
    pub fn named(name: &str) -> ColumnType {
        let name = name.trim().to_ascii_lowercase();
        let name = name.strip_prefix("pg_catalog.").unwrap_or(&name);
        // An array of boxes has separators of its own.
        if matches!(name, "box[]" | "_box") {
            return ColumnType::Text;
        }
        let element = name.strip_suffix("[]").or_else(|| name.strip_prefix('_'));
        if let Some(element) = element {
            return match ColumnType::named(element) {
                // Any number of dimensions is one type.
                array @ ColumnType::Array(_) => array,
                plain => ColumnType::Array(Box::new(plain)),
            };
        }
        match without_modifier(name).as_str() {
            "int2" | "smallint" | "int4" | "int" | "integer" | "int8" | "bigint" | "oid" => ColumnType::Int,
            "numeric" | "decimal" => ColumnType::Numeric,
            "float4" | "real" | "float8" | "double precision" => ColumnType::Float,
            "bool" | "boolean" => ColumnType::Bool,
            "bytea" => ColumnType::Bytea,
            "timestamptz" | "timestamp with time zone" => ColumnType::TimestampTz,
            "timestamp" | "timestamp without time zone" => ColumnType::Timestamp,
            "date" => ColumnType::Date,
            "json" | "jsonb" => ColumnType::Json,
            _ => ColumnType::Text,
        }
    }

    /// The type by its object id. `None` for what a database made itself, of which only a catalog knows what it is over.
    pub fn of_oid(oid: u32) -> Option<ColumnType> {
        /// Below it are the types that every server has.
        const OWN_FROM: u32 = 16_384;
        let array = |element| ColumnType::Array(Box::new(element));
        Some(match oid {
            20 | 21 | 23 | 26 => ColumnType::Int,
            1700 => ColumnType::Numeric,
            700 | 701 => ColumnType::Float,
            16 => ColumnType::Bool,
            17 => ColumnType::Bytea,
            1184 => ColumnType::TimestampTz,
            1114 => ColumnType::Timestamp,
            1082 => ColumnType::Date,
            114 | 3802 => ColumnType::Json,
            1005 | 1007 | 1016 | 1028 => array(ColumnType::Int),
            1231 => array(ColumnType::Numeric),
            1021 | 1022 => array(ColumnType::Float),
            1000 => array(ColumnType::Bool),
            1001 => array(ColumnType::Bytea),
            1185 => array(ColumnType::TimestampTz),
            1115 => array(ColumnType::Timestamp),
            1182 => array(ColumnType::Date),
            199 | 3807 => array(ColumnType::Json),
            // Strings, uuid, addresses, times of day, intervals, money, bits, xml.
            1002 | 1003 | 1009 | 1014 | 1015 | 2951 | 1040 | 1041 | 651 | 775 | 1183 | 1270 | 1187 | 791
            | 1561 | 1563 | 143 => array(ColumnType::Text),
            OWN_FROM.. => return None,
            _ => ColumnType::Text,
        })
    }

    /// The form that values take unless the file chooses another.
    pub fn default_form(&self) -> Form {
        self.forms().first().copied().unwrap_or(Form::S)
    }

    /// Every form that values can take, the default first.
    pub fn forms(&self) -> &'static [Form] {
        match self {
            ColumnType::Int | ColumnType::Numeric | ColumnType::Float => &[Form::N, Form::S],
            ColumnType::Bool => &[Form::Bool, Form::S],
            ColumnType::Bytea => &[Form::B, Form::S],
            ColumnType::TimestampTz | ColumnType::Timestamp | ColumnType::Date => {
                &[Form::S, Form::Epoch, Form::Text]
            }
            ColumnType::Json => &[Form::M, Form::L, Form::JsonText, Form::S],
            ColumnType::Array(element) => match **element {
                ColumnType::Int | ColumnType::Numeric | ColumnType::Float => {
                    &[Form::L, Form::Ns, Form::Ss, Form::S]
                }
                ColumnType::Bytea => &[Form::L, Form::Bs, Form::Ss, Form::S],
                _ => &[Form::L, Form::Ss, Form::S],
            },
            ColumnType::Text => &[Form::S],
        }
    }
}

/// `timestamp(3) with time zone` without its `(3)`.
fn without_modifier(name: &str) -> String {
    match name.split_once('(') {
        Some((before, behind)) => {
            let behind = behind.split_once(')').map_or("", |(_, behind)| behind);
            format!("{}{behind}", before.trim_end())
        }
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A type that is taken for another is stored in another form, and sorts or compares otherwise.
    #[test]
    fn types_are_known_by_both_of_their_names() {
        use ColumnType::{Array, Bool, Bytea, Date, Float, Int, Json, Numeric, Text, Timestamp, TimestampTz};
        for (name, oid, expected) in [
            ("integer", 23, Int),
            ("int8", 20, Int),
            ("oid", 26, Int),
            ("numeric(10,2)", 1700, Numeric),
            ("double precision", 701, Float),
            ("real", 700, Float),
            ("boolean", 16, Bool),
            ("bytea", 17, Bytea),
            ("timestamp(3) with time zone", 1184, TimestampTz),
            ("timestamp (3) without time zone", 1114, Timestamp),
            ("date", 1082, Date),
            ("jsonb", 3802, Json),
            ("json", 114, Json),
            ("character(4)", 1042, Text),
            ("interval", 1186, Text),
            ("public.mood", 25, Text),
            ("uuid", 2950, Text),
            ("_numeric", 1231, Array(Box::new(Numeric))),
            ("timestamp with time zone[]", 1185, Array(Box::new(TimestampTz))),
            ("character varying(3)[]", 1015, Array(Box::new(Text))),
            ("integer[][]", 1007, Array(Box::new(Int))),
            ("box[]", 1020, Text),
        ] {
            assert_eq!(ColumnType::named(name), expected, "{name}");
            assert_eq!(ColumnType::of_oid(oid), Some(expected), "{oid}");
        }
        assert_eq!(ColumnType::of_oid(16_384), None);
    }
}
