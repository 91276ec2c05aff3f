//! Everything that must hold on both servers before a migration may touch them, looked at without creating anything.
//!
//! `describe` says what tables a database has; `check` compares two databases with what a migration is going to need.

mod finding;
mod plan;

mod describe;
mod describe_sql;
mod side;

mod collations;
mod columns;
mod server;
mod slot;
mod sources;
mod targets;
mod types;
mod unmoved;

pub use finding::{Finding, Severity};
pub use plan::{ExistingRows, PlannedColumn, PlannedSource, PlannedTable, PreflightPlan, ReplicaRole};
pub use slot::has_started;

pub use describe::{
    ColumnDescription, Generated, Identity, Persistence, TableDescription, TableKind, UniqueIndex, describe,
    leaves,
};

use understudy_contract::Failure;

use crate::wire::Client;
use finding::Findings;
use side::{Side, sources, targets};
use types::Types;

/// Compares both databases with what the plan needs. Creates and changes nothing; the gravest findings come first.
///
/// Fails only when a server cannot be asked.
pub async fn check(
    blue: &mut Client,
    green: &mut Client,
    plan: &PreflightPlan,
) -> Result<Vec<Finding>, Failure> {
    let mut out = Findings::default();
    let on_blue = Side::read("blue", blue).await.map_err(|failure| failure.while_doing("look at blue"))?;
    let on_green =
        Side::read("green", green).await.map_err(|failure| failure.while_doing("look at green"))?;
    let started = slot::has_started(green, &plan.migration).await?;

    server::check_servers(&on_blue, &on_green, &mut out);
    server::check_replication(&on_blue, &mut out);
    server::check_green(green, plan, &on_green, &mut out).await?;
    slot::check_slot(blue, plan, &on_blue, started, &mut out).await?;
    let published = slot::check_publication(blue, plan, &on_blue, started, &mut out).await?;

    sources::check_sources(plan, &on_blue, &mut out);
    sources::check_source_rights(blue, plan, &on_blue, &published, &mut out).await?;
    targets::check_targets(plan, &on_blue, &on_green, &mut out);
    targets::check_target_access(green, plan, &on_green, started, &mut out).await?;

    let (types_of_blue, types_of_green) = columns::mapped_types(plan, &on_blue, &on_green);
    let types_of_blue = Types::read(blue, types_of_blue).await?;
    let types_of_green = Types::read(green, types_of_green).await?;
    let extensions =
        columns::check_columns(plan, (&on_blue, &types_of_blue), (&on_green, &types_of_green), &mut out);
    targets::check_extensions(blue, green, &extensions, &mut out).await?;

    let tables = sources(plan, &on_blue).into_iter().map(|(table, _)| table).collect::<Vec<_>>();
    collations::check_collations(blue, &on_blue, &tables, &mut out).await?;
    collations::check_collations(green, &on_green, &targets(plan, &on_green), &mut out).await?;
    unmoved::check_unmoved(blue, plan, &on_blue, &mut out).await?;
    Ok(out.sorted())
}
