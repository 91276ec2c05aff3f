//! Types of mapped columns on both sides, and whether green's type takes every text that blue's type writes.

use rustc_hash::FxHashMap;
use understudy_contract::Failure;

use crate::wire::Client;

/// The types that some columns need, and the types these are made of.
pub(super) struct Types(FxHashMap<u32, Type>);

/// One type.
pub(super) struct Type {
    pub(super) schema: String,
    pub(super) name: String,
    /// `b` base, `e` enum, `c` composite, `d` domain, `r` range, `m` multirange, `p` pseudo.
    pub(super) kind: char,
    /// The extension that it belongs to, and that extension's version.
    pub(super) extension: Option<(String, String)>,
    element: Option<u32>,
    base: Option<(u32, i32)>,
    subtype: Option<u32>,
    labels: Vec<String>,
    attributes: Vec<(u32, i32)>,
}

/// Whether texts of one type are valid in another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fit {
    /// All of them.
    Takes,
    /// All but those enum labels.
    LabelsMissing(Vec<String>),
    /// Not, or not without a change of value.
    Differs,
}

/// Types whose values name things of one cluster and mean nothing on another.
const CLUSTER_BOUND: &[&str] = &[
    "oid",
    "xid",
    "xid8",
    "cid",
    "tid",
    "pg_lsn",
    "pg_snapshot",
    "txid_snapshot",
    "regclass",
    "regcollation",
    "regconfig",
    "regdictionary",
    "regnamespace",
    "regoper",
    "regoperator",
    "regproc",
    "regprocedure",
    "regrole",
    "regtype",
    "lo",
];

impl Types {
    /// Reads the given types and everything below them.
    pub(super) async fn read(
        client: &mut Client,
        oids: impl IntoIterator<Item = u32>,
    ) -> Result<Types, Failure> {
        let oids = oids.into_iter().map(|oid| oid.to_string()).collect::<Vec<_>>().join(",");
        let rows = client.query(&types_sql(&oids)).await?;
        let mut types = FxHashMap::default();
        for row in rows {
            let numbers = |column: usize| {
                let text = row.text(column).unwrap_or_default().to_owned();
                text.split(',').filter_map(|number| number.parse::<i64>().ok()).collect::<Vec<_>>()
            };
            let attributes = numbers(10);
            types.insert(
                row.parse(0)?,
                Type {
                    schema: row.required(1)?.to_owned(),
                    name: row.required(2)?.to_owned(),
                    kind: row.required(3)?.chars().next().unwrap_or('b'),
                    element: row.optional(4)?,
                    base: row.optional(5)?.zip(row.optional(6)?),
                    subtype: row.optional(7)?,
                    extension: row.text(8).map(str::to_owned).zip(row.text(9).map(str::to_owned)),
                    attributes: attributes
                        .chunks_exact(2)
                        .map(|pair| (pair[0] as u32, pair[1] as i32))
                        .collect(),
                    labels: Vec::new(),
                },
            );
        }
        let mut types = Types(types);
        types.read_labels(client).await?;
        Ok(types)
    }

    async fn read_labels(&mut self, client: &mut Client) -> Result<(), Failure> {
        let enums = self.0.iter().filter(|(_, kind)| kind.kind == 'e').map(|(oid, _)| oid.to_string());
        let enums = enums.collect::<Vec<_>>().join(",");
        let rows = client
            .query(&format!(
                "SELECT enumtypid, enumlabel FROM pg_catalog.pg_enum WHERE enumtypid = ANY ('{{{enums}}}'::oid[]) \
                 ORDER BY enumtypid, enumsortorder"
            ))
            .await?;
        for row in rows {
            if let Some(kind) = self.0.get_mut(&row.parse(0)?) {
                kind.labels.push(row.required(1)?.to_owned());
            }
        }
        Ok(())
    }

    /// The type with that object id.
    pub(super) fn get(&self, oid: u32) -> Option<&Type> {
        self.0.get(&oid)
    }

    /// The first of these types, the given one included, for which something holds.
    pub(super) fn find(&self, oid: u32, holds: impl Fn(&Type) -> bool) -> Option<&Type> {
        let mut todo = vec![oid];
        let mut seen = Vec::new();
        while let Some(oid) = todo.pop() {
            let Some(kind) = self.0.get(&oid).filter(|_| !seen.contains(&oid)) else {
                continue;
            };
            if holds(kind) {
                return Some(kind);
            }
            seen.push(oid);
            todo.extend(
                kind.element.iter().chain(&kind.subtype).chain(kind.base.as_ref().map(|(base, _)| base)),
            );
            todo.extend(kind.attributes.iter().map(|(attribute, _)| attribute));
        }
        None
    }

    /// The type behind a domain, with the modifier that holds.
    fn resolve(&self, mut oid: u32, mut modifier: i32) -> (u32, i32) {
        while let Some((base, own)) = self.0.get(&oid).and_then(|kind| kind.base) {
            (oid, modifier) = (base, own);
        }
        (oid, modifier)
    }
}

/// Whether a column of `green`'s type takes every text that a column of `blue`'s type writes, without changing it.
pub(super) fn fit(blue: &Types, from: (u32, i32), green: &Types, to: (u32, i32)) -> Fit {
    let ((from, from_mod), (to, to_mod)) = (blue.resolve(from.0, from.1), green.resolve(to.0, to.1));
    let (Some(one), Some(other)) = (blue.get(from), green.get(to)) else {
        return Fit::Differs;
    };
    if takes_any_text(other, to_mod) {
        return Fit::Takes;
    }
    match (one.kind, other.kind) {
        ('e', 'e') => {
            let missing =
                one.labels.iter().filter(|label| !other.labels.contains(label)).cloned().collect::<Vec<_>>();
            if missing.is_empty() { Fit::Takes } else { Fit::LabelsMissing(missing) }
        }
        ('c', 'c') if one.attributes.len() == other.attributes.len() => {
            let pairs = one.attributes.iter().zip(&other.attributes);
            let fits = pairs.map(|(from, to)| fit(blue, *from, green, *to));
            fits.fold(Fit::Takes, |all, next| if all == Fit::Takes { next } else { all })
        }
        ('r', 'r') | ('m', 'm') => match (one.subtype, other.subtype) {
            (Some(from), Some(to)) if one.name == other.name => fit(blue, (from, -1), green, (to, -1)),
            _ => Fit::Differs,
        },
        ('b', 'b') => match (one.element, other.element) {
            // The two vector types write their elements in a form of their own.
            (Some(from), Some(to)) if one.name.ends_with("vector") == other.name.ends_with("vector") => {
                fit(blue, (from, from_mod), green, (to, to_mod))
            }
            (None, None) if base_fits((&one.name, from_mod), (&other.name, to_mod)) => Fit::Takes,
            _ => Fit::Differs,
        },
        _ => Fit::Differs,
    }
}

/// Whether values name things of one cluster.
pub(super) fn is_cluster_bound(kind: &Type) -> bool {
    CLUSTER_BOUND.contains(&kind.name.as_str()) && (kind.schema == "pg_catalog" || kind.name == "lo")
}

fn takes_any_text(kind: &Type, modifier: i32) -> bool {
    match kind.name.as_str() {
        "text" | "citext" => kind.element.is_none(),
        "varchar" => kind.element.is_none() && modifier < 0,
        _ => false,
    }
}

/// Base types by their catalog names, with modifiers.
fn base_fits((from, from_mod): (&str, i32), (to, to_mod): (&str, i32)) -> bool {
    if from == to {
        return from_mod == to_mod || modifier_fits(from, from_mod, to_mod);
    }
    let length = |modifier: i32| modifier - 4;
    match (from, to) {
        ("int2", "int4" | "int8" | "float4" | "float8")
        | ("int4", "int8" | "float8")
        | ("float4", "float8") => true,
        ("int2", "numeric") => numeric_holds(to_mod, 5),
        ("int4", "numeric") => numeric_holds(to_mod, 10),
        ("int8", "numeric") => numeric_holds(to_mod, 19),
        ("oid" | "xid" | "cid", "int8" | "numeric") => to == "int8" || numeric_holds(to_mod, 10),
        ("bpchar", "varchar") => from_mod >= 0 && length(from_mod) <= length(to_mod),
        ("name", "varchar") => length(to_mod) >= 63,
        ("bit", "varbit") => to_mod < 0 || (from_mod >= 0 && from_mod <= to_mod),
        ("jsonb", "json") | ("cidr", "inet") => true,
        _ => false,
    }
}

/// The same base type with another modifier. None at all takes everything.
fn modifier_fits(name: &str, from: i32, to: i32) -> bool {
    match name {
        _ if to < 0 => true,
        "varchar" | "varbit" => from >= 0 && from <= to,
        "numeric" => {
            let (precision, scale) = numeric_parts(to);
            let (from_precision, from_scale) = numeric_parts(from);
            from >= 0 && scale >= from_scale && precision - scale >= from_precision - from_scale
        }
        "time" | "timetz" | "timestamp" | "timestamptz" => to >= 6 || (from >= 0 && from <= to),
        _ => false,
    }
}

fn numeric_holds(modifier: i32, digits: i32) -> bool {
    let (precision, scale) = numeric_parts(modifier);
    modifier < 0 || (scale >= 0 && precision - scale >= digits)
}

/// Precision and scale; the scale is an 11-bit signed number from 15 on, and never negative before.
fn numeric_parts(modifier: i32) -> (i32, i32) {
    let packed = modifier - 4;
    ((packed >> 16) & 0xFFFF, ((packed & 0x7FF) ^ 1024) - 1024)
}

fn types_sql(oids: &str) -> String {
    format!(
        "WITH RECURSIVE below(oid) AS ( \
           SELECT unnest('{{{oids}}}'::oid[]) UNION \
           SELECT made_of.oid FROM below b JOIN pg_catalog.pg_type t ON t.oid = b.oid \
           CROSS JOIN LATERAL ( \
             SELECT t.typbasetype UNION ALL \
             SELECT t.typelem WHERE t.typcategory = 'A' UNION ALL \
             SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE t.oid IN (r.rngtypid, r.rngmultitypid) UNION ALL \
             SELECT a.atttypid FROM pg_catalog.pg_attribute a \
               WHERE a.attrelid = t.typrelid AND t.typtype = 'c' AND a.attnum > 0 AND NOT a.attisdropped \
           ) AS made_of(oid) WHERE made_of.oid <> 0) \
         SELECT t.oid, n.nspname, t.typname, t.typtype, CASE WHEN t.typcategory = 'A' THEN nullif(t.typelem, 0) END, \
           nullif(t.typbasetype, 0), t.typtypmod, \
           (SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE t.oid IN (r.rngtypid, r.rngmultitypid)), \
           e.extname, e.extversion, \
           (SELECT string_agg(a.atttypid || ',' || a.atttypmod, ',' ORDER BY a.attnum) FROM pg_catalog.pg_attribute a \
             WHERE a.attrelid = t.typrelid AND t.typtype = 'c' AND a.attnum > 0 AND NOT a.attisdropped) \
         FROM below b JOIN pg_catalog.pg_type t ON t.oid = b.oid JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
         LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_type'::regclass AND d.objid = t.oid \
           AND d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.deptype = 'e' \
         LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numeric(precision: i32, scale: i32) -> i32 {
        ((precision << 16) | (scale & 0x7FF)) + 4
    }

    #[test]
    fn widening_is_taken_and_narrowing_is_not() {
        let taken = [
            (("int4", -1), ("int8", -1)),
            (("int8", -1), ("numeric", -1)),
            (("int4", -1), ("numeric", numeric(12, 2))),
            (("varchar", 24), ("varchar", 34)),
            (("varchar", 24), ("varchar", -1)),
            (("numeric", numeric(8, 2)), ("numeric", numeric(10, 4))),
            (("numeric", numeric(8, 2)), ("numeric", -1)),
            (("timestamptz", 3), ("timestamptz", -1)),
            (("bit", 8), ("varbit", 8)),
            (("jsonb", -1), ("json", -1)),
        ];
        for (from, to) in taken {
            assert!(base_fits(from, to), "{from:?} into {to:?}");
        }
        let refused = [
            (("int8", -1), ("int4", -1)),
            (("int4", -1), ("numeric", numeric(9, 0))),
            (("int8", -1), ("float8", -1)),
            (("varchar", 34), ("varchar", 24)),
            (("varchar", -1), ("varchar", 24)),
            (("numeric", -1), ("numeric", numeric(8, 2))),
            (("numeric", numeric(8, 4)), ("numeric", numeric(10, 2))),
            (("timestamptz", -1), ("timestamptz", 3)),
            (("timestamp", -1), ("timestamptz", -1)),
            (("bpchar", 9), ("bpchar", 14)),
            (("json", -1), ("jsonb", -1)),
            (("text", -1), ("int4", -1)),
        ];
        for (from, to) in refused {
            assert!(!base_fits(from, to), "{from:?} into {to:?}");
        }
    }

    #[test]
    fn a_negative_scale_is_read_as_one() {
        assert_eq!(numeric_parts(numeric(3, -2)), (3, -2));
        assert_eq!(numeric_parts(numeric(38, 10)), (38, 10));
    }
}
