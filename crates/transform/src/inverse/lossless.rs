//! Which types hold every value of another, so that its text can be read back from theirs.
//!
//! This is about rows that are on green: a value that green's type refuses never gets there.

use crate::expr::{Modifier, SqlType};

type Typed<'t> = (&'t SqlType, Modifier);

/// Whether a text that one type wrote comes back after another type has read and written it.
pub(super) fn passed(from: Typed<'_>, to: Typed<'_>) -> bool {
    keeps(below_domains(from), below_domains(to), false)
}

/// Whether the text of a value comes back from that of its cast.
pub(super) fn cast(from: Typed<'_>, to: Typed<'_>) -> bool {
    keeps(below_domains(from), below_domains(to), true)
}

fn below_domains<'t>((ty, modifier): Typed<'t>) -> Typed<'t> {
    match ty {
        SqlType::Domain(domain) if domain.modifier == Modifier::NONE => {
            below_domains((&domain.base, modifier))
        }
        SqlType::Domain(domain) => below_domains((&domain.base, domain.modifier)),
        other => (other, modifier),
    }
}

fn keeps((from, narrow): Typed<'_>, (to, wide): Typed<'_>, is_cast: bool) -> bool {
    use SqlType::{
        Bool, Bpchar, Cidr, Date, Enum, Float4, Float8, Inet, Int2, Int4, Int8, Json, Jsonb, Numeric, Text,
        Time, TimeTz, Timestamp, TimestampTz, Varchar,
    };
    let fraction = |modifier: Modifier| modifier.fraction_digits().unwrap_or(6);
    match (from, to) {
        (SqlType::Array(from), SqlType::Array(to)) => {
            keeps(below_domains((from, narrow)), below_domains((to, wide)), is_cast)
        }
        (from, to) if from == to => same_type(from, narrow, wide),
        (Text | Varchar | Bpchar, Text | Varchar | Bpchar) => strings((from, narrow), (to, wide), is_cast),
        // The label, or the text, is kept as it is or refused.
        (Text | Varchar, Json | Enum(_)) | (Enum(_), Enum(_)) => true,
        // A cast to a length cuts texts off; a text that is stored is refused.
        (SqlType::Unknown, _) => false,
        (_, Text | Varchar) => wide == Modifier::NONE || !is_cast,
        (Int2 | Int4 | Int8, Int2 | Int4 | Int8) => true,
        (Int2 | Int4 | Int8, Numeric) => {
            wide == Modifier::NONE || wide.precision_and_scale().is_some_and(|(_, scale)| scale == 0)
        }
        (Numeric, Int2 | Int4 | Int8) => narrow.precision_and_scale().is_some_and(|(_, scale)| scale == 0),
        (Int2, Float4 | Float8) | (Int4 | Float4, Float8) => true,
        // A number is read as a truth again, and a truth is not read as a number.
        (Bool, Int4) => is_cast,
        (Date, Timestamp | TimestampTz) => true,
        // Sessions are pinned to UTC.
        (Timestamp, TimestampTz) | (TimestampTz, Timestamp) | (Time, TimeTz) => {
            fraction(narrow) <= fraction(wide)
        }
        (Jsonb, Json) | (Cidr, Inet) => true,
        _ => false,
    }
}

fn same_type(ty: &SqlType, narrow: Modifier, wide: Modifier) -> bool {
    if narrow == wide || wide == Modifier::NONE {
        return true;
    }
    match ty {
        SqlType::Varchar | SqlType::Bpchar => no_shorter(narrow, wide),
        SqlType::Numeric => match (narrow.precision_and_scale(), wide.precision_and_scale()) {
            (Some((_, narrow)), Some((_, wide))) => narrow <= wide,
            _ => false,
        },
        SqlType::Time | SqlType::TimeTz | SqlType::Timestamp | SqlType::TimestampTz => {
            let digits = |modifier: Modifier| modifier.fraction_digits().unwrap_or(6);
            digits(narrow) <= digits(wide)
        }
        _ => false,
    }
}

/// Whether every text of the one length has the other. One that is too long by blanks alone is cut off, not refused.
fn no_shorter(narrow: Modifier, wide: Modifier) -> bool {
    narrow.characters().zip(wide.characters()).is_some_and(|(narrow, wide)| narrow <= wide)
}

fn strings((from, narrow): Typed<'_>, (to, wide): Typed<'_>, is_cast: bool) -> bool {
    let fits = wide == Modifier::NONE || no_shorter(narrow, wide);
    match (from, to) {
        // Texts are filled up with blanks that nobody can tell from their own.
        (_, SqlType::Bpchar) => wide == Modifier::NONE,
        // A cast takes the blanks away; a length puts them back.
        (SqlType::Bpchar, _) => fits && (narrow != Modifier::NONE || !is_cast),
        _ => fits,
    }
}
