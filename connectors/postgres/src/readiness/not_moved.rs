//! What replication does not carry: each object is named, so that somebody has to say that it may stay behind.
//!
//! Objects that hold no rows are left out where green has one of the same name; what they do is not compared.

use rustc_hash::FxHashSet;
use understudy_contract::{Failure, Found, ReadinessCheck};

use super::lacks::Lacks;
use super::pairs::{Pair, family};
use super::{Look, ReadinessPlan};
use crate::preflight::TableDescription;
use crate::preflight::side::Side;
use crate::preflight::unmoved::{Left, crossing_keys, left_objects, left_tables};
use crate::wire::Client;

/// What an object of each kind is called, and whether one of the same name on green stands for it.
const KINDS: [(&str, &str, bool); 10] = [
    ("tables-outside", "table", false),
    ("unlogged-tables", "table", false),
    ("foreign-tables", "foreign table", true),
    ("views", "view", true),
    ("materialized-views", "materialised view", true),
    ("other-slots", "replication slot", false),
    ("other-publications", "publication", true),
    ("subscriptions", "subscription", false),
    ("event-triggers", "event trigger", true),
    ("large-objects", "large objects", false),
];

pub(super) async fn look(look: &mut Look<'_>, out: &mut Lacks) -> Result<(), Failure> {
    let (pairs, scene) = (look.pairs()?, look.scene()?);
    let moved = moved(&pairs);
    let mut left = left_tables(&scene.blue, &moved);
    // Listed against nothing moved, green's objects are all that it has.
    let mut there = left_tables(&scene.green, &[]);
    // None has no name.
    let ours = look.plan.feed.name().unwrap_or_default();
    let ours = (ours, ours);
    left.extend(left_objects(look.blue, ours, &moved).await?);
    there.extend(left_objects(look.green, ours, &[]).await?);
    left.iter().for_each(|left| tell(left, &there, out));
    for key in crossing_keys(look.blue, &moved).await?.iter().filter(|key| !key.inside) {
        let reason = format!("refers from outside the migration to {}, which is inside", key.to);
        let remedy = "after the flip nothing checks it: migrate both tables, or neither";
        out.add(format!("foreign key {} on {}", key.name, key.from), reason, remedy);
    }
    for (kind, sql) in OBJECTS {
        let on_green = names(look.green, sql).await?.into_iter().collect::<FxHashSet<_>>();
        for name in names(look.blue, sql).await?.iter().filter(|name| !on_green.contains(*name)) {
            out.add(format!("{kind} {name}"), "is on blue and not on green", "create it on green");
        }
    }
    tell_attached(look, &pairs, out).await
}

/// What holds rows.
const WITH_ROWS: [&str; 3] = ["tables-outside", "unlogged-tables", "large-objects"];

/// The same where green takes rows and nothing else. The connection must be outside a transaction.
pub(super) async fn look_alone(blue: &mut Client, plan: &ReadinessPlan) -> Result<Found, Failure> {
    let side =
        Side::read("blue", blue).await.map_err(|failure| failure.while_doing("look at blue's tables"))?;
    let is_moved = |table: &&TableDescription| plan.routes.iter().any(|route| route.source == table.name);
    let moved = side.tables.iter().filter(is_moved).flat_map(|table| family(&side.tables, table));
    let moved = moved.collect::<Vec<_>>();
    let mut left = left_tables(&side, &moved);
    let ours = plan.feed.name().unwrap_or_default();
    left.extend(left_objects(blue, (ours, ours), &moved).await?);
    let mut lacks = Lacks::default();
    left.iter().filter(|left| WITH_ROWS.contains(&left.code)).for_each(|left| tell(left, &[], &mut lacks));
    Ok(lacks.found(ReadinessCheck::NotMoved))
}

fn moved<'a>(pairs: &[Pair<'a>]) -> Vec<&'a TableDescription> {
    pairs.iter().flat_map(|pair| pair.on_blue.iter().copied()).collect()
}

fn tell(left: &Left, there: &[Left], out: &mut Lacks) {
    // Sequences have a check of their own.
    let Some((code, kind, stands)) = KINDS.iter().find(|(code, ..)| *code == left.code) else { return };
    let likes = there.iter().filter(|there| there.code == *code).flat_map(|there| &there.names);
    let likes = likes.collect::<FxHashSet<_>>();
    let guard = |name: &&String| *code == "event-triggers" && is_guard(name);
    for name in
        left.names.iter().filter(|name| !guard(name)).filter(|name| !(*stands && likes.contains(name)))
    {
        if *code == "large-objects" {
            out.add("large objects", format!("{name} are on blue, and are not carried over"), left.remedy);
        } else {
            out.add(format!("{kind} {name}"), "stays on blue", left.remedy);
        }
    }
}

/// What arming puts on blue is ours.
fn is_guard(name: &str) -> bool {
    name.starts_with("understudy")
}

/// Kinds of which one query gives the names, on both sides alike; extensions bring their own.
const OBJECTS: [(&str, &str); 3] = [
    (
        "function",
        "SELECT n.nspname || '.' || p.proname || '(' || pg_catalog.pg_get_function_identity_arguments(p.oid) || ')' \
         FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
         WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname NOT IN ('information_schema', 'understudy') \
         AND p.proname NOT LIKE 'understudy%' \
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_proc'::regclass \
           AND d.objid = p.oid AND d.deptype IN ('e', 'i')) ORDER BY 1",
    ),
    (
        "type",
        "SELECT n.nspname || '.' || t.typname FROM pg_catalog.pg_type t \
         JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid \
         WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname NOT IN ('information_schema', 'understudy') \
         AND (t.typtype IN ('e', 'd', 'r') OR c.relkind = 'c') \
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_type'::regclass \
           AND d.objid = t.oid AND d.deptype = 'e') ORDER BY 1",
    ),
    (
        "statistics",
        "SELECT n.nspname || '.' || s.stxname FROM pg_catalog.pg_statistic_ext s \
         JOIN pg_catalog.pg_namespace n ON n.oid = s.stxnamespace ORDER BY 1",
    ),
];

/// Triggers and rules that fire on blue, and those of green; a partition's copy of its parent's counts as the parent's.
fn attached_sql(oids: &str) -> String {
    format!(
        "SELECT t.tgrelid, 'trigger', t.tgname FROM pg_catalog.pg_trigger t WHERE t.tgrelid = ANY ('{oids}'::oid[]) \
         AND NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgparentid = 0 \
         UNION ALL SELECT r.ev_class, 'rule', r.rulename FROM pg_catalog.pg_rewrite r \
         WHERE r.ev_class = ANY ('{oids}'::oid[]) AND r.ev_enabled <> 'D' ORDER BY 1, 2, 3"
    )
}

async fn tell_attached(look: &mut Look<'_>, pairs: &[Pair<'_>], out: &mut Lacks) -> Result<(), Failure> {
    let on_blue = look.blue.query(&attached_sql(&super::pairs::all_on_blue(pairs))).await?;
    let on_green = look.green.query(&attached_sql(&super::pairs::all_on_green(pairs))).await?;
    for row in &on_blue {
        let (table, kind, name) = (row.parse::<u32>(0)?, row.required(1)?, row.required(2)?);
        for pair in pairs {
            let Some(on) = pair.on_blue.iter().find(|one| one.oid == table) else { continue };
            let targets = pair.on_green.iter().map(|table| table.oid.to_string()).collect::<Vec<_>>();
            let has_like = on_green.iter().any(|other| {
                let there = targets.iter().any(|oid| other.text(0) == Some(oid));
                there && (other.text(1), other.text(2)) == (Some(kind), Some(name))
            });
            if !has_like && !is_guard(name) {
                let reason = format!("is not on green's {}", pair.green.name);
                out.add(
                    format!("{kind} {name} on {}", on.name),
                    reason,
                    "create it on green if it is still needed",
                );
            }
        }
    }
    Ok(())
}

async fn names(client: &mut Client, sql: &str) -> Result<Vec<String>, Failure> {
    let rows = client.query(sql).await?;
    Ok(rows.iter().filter_map(|row| row.text(0).map(str::to_owned)).collect())
}
