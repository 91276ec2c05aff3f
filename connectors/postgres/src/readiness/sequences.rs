//! Sequences: green has each that the migration needs, and there is room for the numbers that the flip skips.

use understudy_contract::{Class, Failure};
use understudy_model::TableName;

use super::Look;
use super::lacks::Lacks;
use super::sequence_rows::{Fed, Matched, Sequence, Sequences, matched};
use crate::ident::{quote_ident, quote_literal, quote_table};
use crate::preflight::{Identity, TableDescription};

/// Object ids of `smallint` and `integer`, as every server has them.
const SMALLINT: u32 = 21;
const INTEGER: u32 = 23;

pub(super) async fn look(look: &mut Look<'_>, out: &mut Lacks) -> Result<(), Failure> {
    let pairs = look.pairs()?;
    let (blue, green) = (Sequences::read(look.blue).await?, Sequences::read(look.green).await?);
    for one in matched(&pairs, &blue, &green) {
        if !one.blue.may_read {
            let (user, name) = (&look.scene()?.blue.user, quote_table(&one.blue.name));
            let what = format!("role {user} may not read sequence {} on blue", one.blue.name);
            return Err(Failure::new(Class::Configuration, what)
                .remedy(format!("on blue: GRANT SELECT ON SEQUENCE {name} TO {}", quote_ident(user))));
        }
        let subject = format!("sequence {}", one.blue.name);
        match one.green {
            None => out.add(&subject, "has no like on green", create(&one)),
            Some(like) => check_like(&subject, one.blue, like, &look.scene()?.green.user, out),
        }
        check_room(&subject, &one, look.plan.sequence_headroom, out);
    }
    Ok(())
}

/// Whether green's counts as blue's does, and whether the flip may set it.
fn check_like(subject: &str, blue: &Sequence, green: &Sequence, user: &str, out: &mut Lacks) {
    let name = quote_table(&green.name);
    if green.increment != blue.increment {
        let (theirs, ours) = (green.increment, blue.increment);
        let reason = format!("counts by {theirs} on green (as {}), and by {ours} on blue", green.name);
        out.add(subject, reason, format!("ALTER SEQUENCE {name} INCREMENT BY {ours}"));
    }
    if green.cycles != blue.cycles {
        let (what, clause) = if green.cycles { ("starts", "NO CYCLE") } else { ("does not start", "CYCLE") };
        let reason = format!("{what} over at its end on green (as {}), unlike on blue", green.name);
        out.add(subject, reason, format!("ALTER SEQUENCE {name} {clause}"));
    }
    if !green.may_set {
        let reason = format!("may not be set by role {user} on green (as {})", green.name);
        out.add(subject, reason, format!("GRANT UPDATE ON SEQUENCE {name} TO {}", quote_ident(user)));
    }
}

/// Numbers between two bounds, and the statement that widens them.
struct Bounds {
    what: String,
    min: i64,
    max: i64,
    remedy: String,
}

/// The headroom counts draws, so a sequence that counts in steps needs as many steps. Blue's own bounds count too: after
/// a rollback it goes on from green's numbers.
fn check_room(subject: &str, one: &Matched<'_>, headroom: u64, out: &mut Lacks) {
    let last = i128::from(one.blue.last.unwrap_or(one.blue.start));
    let needed = last + i128::from(headroom) * i128::from(one.blue.increment);
    for bounds in bounds(one) {
        if (i128::from(bounds.min)..=i128::from(bounds.max)).contains(&needed) {
            continue;
        }
        let over = if one.blue.cycles { " and starts over then" } else { "" };
        let reason = format!("has not room for {headroom} more numbers: {} ends before{over}", bounds.what);
        out.add(subject, reason, bounds.remedy);
    }
}

fn bounds(one: &Matched<'_>) -> Vec<Bounds> {
    let sequence = |side: &str, sequence: &Sequence| Bounds {
        what: format!("{side}'s sequence {}", sequence.name),
        min: sequence.min,
        max: sequence.max,
        remedy: widen(side, sequence),
    };
    let mut all = vec![sequence("blue", one.blue)];
    all.extend(one.green.map(|green| sequence("green", green)));
    if let Some(Fed { pair, on_blue, on_green }) = &one.fed {
        all.extend(column("blue", pair.blue, on_blue));
        all.extend(column("green", pair.green, on_green));
    }
    all
}

fn widen(side: &str, sequence: &Sequence) -> String {
    let bound = if sequence.increment < 0 { "NO MINVALUE" } else { "NO MAXVALUE" };
    let name = quote_table(&sequence.name);
    if sequence.type_name == "bigint" {
        return format!("on {side}: ALTER SEQUENCE {name} {bound}");
    }
    format!("on {side}: ALTER SEQUENCE {name} AS bigint {bound}")
}

fn column(side: &str, table: &TableDescription, column: &str) -> Option<Bounds> {
    let (min, max) = match table.column(column)?.type_oid {
        SMALLINT => (i64::from(i16::MIN), i64::from(i16::MAX)),
        INTEGER => (i64::from(i32::MIN), i64::from(i32::MAX)),
        _ => return None,
    };
    let (name, quoted) = (quote_table(&table.name), quote_ident(column));
    Some(Bounds {
        what: format!("{side}'s column {}.{column}", table.name),
        min,
        max,
        remedy: format!("on {side}: ALTER TABLE {name} ALTER COLUMN {quoted} TYPE bigint"),
    })
}

/// The statements that create green's.
fn create(one: &Matched<'_>) -> String {
    let Some(Fed { pair, on_blue, on_green }) = &one.fed else {
        return format!("CREATE SEQUENCE {} {}", quote_table(&one.blue.name), options(one.blue));
    };
    let (table, column) = (quote_table(&pair.green.name), quote_ident(on_green));
    let identity = pair.blue.column(on_blue).map_or(Identity::No, |column| column.identity);
    if identity != Identity::No {
        let options = options(one.blue);
        return format!(
            "ALTER TABLE {table} ALTER COLUMN {column} ADD GENERATED BY DEFAULT AS IDENTITY ({options})"
        );
    }
    let name = quote_table(&TableName::new(&*pair.green.name.schema, &*one.blue.name.name));
    format!(
        "CREATE SEQUENCE {name} {} OWNED BY {table}.{column}; \
         ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT nextval({}::regclass)",
        options(one.blue),
        quote_literal(&name).trim_start()
    )
}

fn options(sequence: &Sequence) -> String {
    let Sequence { increment, min, max, start, .. } = sequence;
    let cycle = if sequence.cycles { " CYCLE" } else { "" };
    format!("INCREMENT BY {increment} MINVALUE {min} MAXVALUE {max} START WITH {start}{cycle}")
}
