//! Whether routes into one table keep out of each other's items, and parts of one item out of each other's attributes.

use std::fmt;

use super::{Beginning, ItemLayout, LayoutPlan, Part};

/// Two routes that would write over each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clash {
    /// The place of the one among those given.
    pub first: usize,
    /// The place of the other.
    pub second: usize,
    /// What both would do.
    pub what: String,
    /// What to do about it.
    pub remedy: &'static str,
}

impl fmt::Display for Clash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// Whether no two of these routes write the same item, or if they share items, the same attribute.
pub fn told_apart(layouts: &[&ItemLayout]) -> Result<(), Clash> {
    for (first, one) in layouts.iter().enumerate() {
        for (second, other) in layouts.iter().enumerate().skip(first + 1) {
            if one.plan.table == other.plan.table {
                clash(one, other).map_err(|(what, remedy)| Clash { first, second, what, remedy })?;
            }
        }
    }
    Ok(())
}

/// Tells parts whether any of those that share their items fills the attribute of the TTL: a tombstone that used it too
/// could not be taken back without taking that value.
pub fn settle_ttl(plans: &mut [LayoutPlan]) {
    let fills = |plan: &&LayoutPlan| plan.part.is_some() && fills_ttl(plan);
    let filled =
        plans.iter().filter(fills).map(|plan| (plan.table.clone(), plan.tag.clone())).collect::<Vec<_>>();
    for plan in plans {
        if let Some(part) = &mut plan.part {
            part.ttl_is_filled |= filled.iter().any(|(table, tag)| (table, tag) == (&plan.table, &plan.tag));
        }
    }
}

type Why = (String, &'static str);

fn clash(one: &ItemLayout, other: &ItemLayout) -> Result<(), Why> {
    let (plan, against) = (&one.plan, &other.plan);
    let table = &plan.table;
    let schema = |plan: &LayoutPlan| {
        let sk = plan.sk.as_ref().map(|sk| (sk.name.clone(), sk.kind));
        (plan.pk.name.clone(), plan.pk.kind, sk)
    };
    if schema(plan) != schema(against) {
        return Err((
            format!("the key of table {table} is said to be two things"),
            "name the same attributes under `key`",
        ));
    }
    let never_meet = {
        let sks = plan.sk.as_ref().zip(against.sk.as_ref());
        !plan.pk.begins.may_equal(&against.pk.begins)
            || sks.is_some_and(|(sk, against)| !sk.begins.may_equal(&against.begins))
    };
    match (&plan.part, &against.part) {
        (Some(part), Some(other_part)) if plan.tag == against.tag => {
            parts_clash(table, (part, other_part))?;
            expiry_clash(one, other)?;
            attributes_clash((one, part), (other, other_part))
        }
        _ if never_meet && plan.tag != against.tag => Ok(()),
        _ if never_meet => Err((
            format!("two routes into table {table} have the same tag, and whole items"),
            "give one of them another name, or both a `part`",
        )),
        _ => Err((
            format!("two routes may write the same item of table {table}"),
            "give the key of one a prefix of its own, or both a `part`",
        )),
    }
}

fn parts_clash(table: &str, (part, other): (&Part, &Part)) -> Result<(), Why> {
    let may_equal = |one: &Beginning, other: &Beginning| one.may_equal(other);
    if may_equal(&part.name, &other.name) {
        let what = format!("two routes may write the same part of an item of table {table}");
        return Err((what, "give each `part` a name of its own, or a prefix"));
    }
    Ok(())
}

/// DynamoDB removes whole items: rows of which nobody said that they end would go with the one that does.
fn expiry_clash(one: &ItemLayout, other: &ItemLayout) -> Result<(), Why> {
    let ends = |layout: &ItemLayout| fills_ttl(&layout.plan);
    if ends(one) == ends(other) {
        return Ok(());
    }
    Err((
        format!(
            "of two routes that share items of table {} one fills its time to live, which ends the rows of both",
            one.plan.table
        ),
        "leave that attribute out, or give the rows of the other items of their own",
    ))
}

/// Whether rows of a route say when their item may go.
pub(super) fn fills_ttl(plan: &LayoutPlan) -> bool {
    let is_of_item = plan.part.as_ref().is_none_or(|part| part.at.is_none());
    is_of_item && plan.columns.iter().any(|placed| Some(placed.path.root()) == plan.ttl.as_deref())
}

fn attributes_clash(
    (one, part): (&ItemLayout, &Part),
    (other, other_part): (&ItemLayout, &Part),
) -> Result<(), Why> {
    let roots = |layout: &ItemLayout, part: &Part| match &part.at {
        Some(at) => vec![at.clone()],
        None => layout.shape.keys().cloned().collect::<Vec<_>>(),
    };
    if part.at.is_some() && part.at == other_part.at {
        return Ok(());
    }
    let others = roots(other, other_part);
    match roots(one, part).into_iter().find(|root| others.contains(root)) {
        Some(root) => Err((
            format!("two parts of an item of table {} fill its attribute `{root}`", one.plan.table),
            "give the attribute of one another name",
        )),
        None => Ok(()),
    }
}
