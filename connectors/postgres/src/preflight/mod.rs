//! Everything that must hold on both servers before a migration may touch them, looked at without creating anything.
//!
//! `describe` says what tables a database has; `check` compares two databases with what a migration is going to need.

mod plan;

mod describe;
mod describe_sql;
mod facts;
pub(crate) mod side;

mod alive;
mod collations;
mod columns;
mod foreign_key;
mod keys;
mod known;
mod partitions;
mod rereads;
mod server;
mod slot;
mod sources;
mod standbys;
mod targets;
mod types;
pub(crate) mod unmoved;
mod words;

pub use known::{Known, KnownRoute, known};
pub use plan::{ExistingRows, PlannedColumn, PlannedSource, PlannedTable, PreflightPlan, ReplicaRole};

pub use describe::{
    ColumnDescription, Generated, Identity, Persistence, TableDescription, TableKind, UniqueIndex, describe,
    describe_database, leaves,
};
pub use facts::{CollationFacts, CollationProvider, DatabaseFacts, TypeFacts, TypeKind};

use understudy_contract::{Failure, Finding, Findings};
use understudy_model::TableName;

use crate::source::publication;
use crate::wire::Client;
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
    let (on_blue, on_green) = sides(blue, green).await?;
    let known = known(green, &plan.migration).await?;

    server::check_servers(&on_blue, &on_green, &mut out);
    server::check_replication(&on_blue, plan.decoding_memory_bytes, &mut out);
    standbys::check_standbys(on_blue.setting(standbys::SETTING), &plan.reader, &mut out);
    server::check_green(green, &on_green, &mut out).await?;
    alive::check_alive(green, plan, &on_green, (&known, None), &mut out).await?;
    let of_blue = if plan.by_log { known_by_slot(blue, plan).await? } else { known.clone() };
    slot::check_slot(blue, plan, &on_blue, of_blue.started, &mut out).await?;
    let published = slot::check_publication(blue, plan, &on_blue, &of_blue, &mut out).await?;

    let routes = Routes { plan, tables: &plan.tables, published: &published, started: known.started };
    routes.check((blue, &on_blue), (green, &on_green), &mut out).await?;
    unmoved::check_unmoved(blue, plan, &on_blue, &mut out).await?;
    Ok(out.sorted())
}

/// The same for those routes alone that join a migration under way, or whose mapping has changed. `known` is what green
/// remembers of the others.
pub async fn check_joining(
    blue: &mut Client,
    green: &mut Client,
    plan: &PreflightPlan,
    known: &Known,
    joining: &[PlannedTable],
) -> Result<Vec<Finding>, Failure> {
    let mut out = Findings::default();
    let (on_blue, on_green) = sides(blue, green).await?;
    alive::check_alive(green, plan, &on_green, (known, Some(joining)), &mut out).await?;
    let published = publication::inspect(blue, &plan.publication).await?;
    let published = published.into_iter().flat_map(|there| there.tables).map(|table| table.name);
    let published = published.collect::<Vec<_>>();
    let routes = Routes { plan, tables: joining, published: &published, started: true };
    routes.check((blue, &on_blue), (green, &on_green), &mut out).await?;
    Ok(out.sorted())
}

/// What an apply needs: green, and how it fits to blue's tables. Slot, publication and rights on blue are the capture's.
pub async fn check_green(
    blue: &mut Client,
    green: &mut Client,
    plan: &PreflightPlan,
    known: &Known,
    joining: &[PlannedTable],
) -> Result<Vec<Finding>, Failure> {
    let mut out = Findings::default();
    let (on_blue, on_green) = sides(blue, green).await?;
    if !known.started {
        server::check_servers(&on_blue, &on_green, &mut out);
        server::check_green(green, &on_green, &mut out).await?;
    }
    alive::check_alive(green, plan, &on_green, (known, Some(joining)), &mut out).await?;
    let published = joining.iter().map(|table| table.source.clone()).collect::<Vec<_>>();
    let routes = Routes { plan, tables: joining, published: &published, started: known.started };
    routes.check((blue, &on_blue), (green, &on_green), &mut out).await?;
    Ok(out.sorted())
}

/// What a capture needs of blue alone: green may be away, and what it has to say is asked by whoever fills it. `joining` are
/// the tables that are not followed yet.
pub async fn check_blue(
    blue: &mut Client,
    plan: &PreflightPlan,
    started: bool,
    joining: &[PlannedTable],
) -> Result<Vec<Finding>, Failure> {
    let mut out = Findings::default();
    let on_blue = Side::read("blue", blue).await.map_err(|failure| failure.while_doing("look at blue"))?;
    standbys::check_standbys(on_blue.setting(standbys::SETTING), &plan.reader, &mut out);
    let mut published = Vec::new();
    if started {
        let there = publication::inspect(blue, &plan.publication).await?;
        published.extend(there.into_iter().flat_map(|there| there.tables).map(|table| table.name));
    } else {
        server::check_replication(&on_blue, plan.decoding_memory_bytes, &mut out);
        slot::check_slot(blue, plan, &on_blue, started, &mut out).await?;
        published = slot::check_publication(blue, plan, &on_blue, &Known::default(), &mut out).await?;
    }
    check_tables(blue, &on_blue, (joining, &published), &mut out).await?;
    Ok(out.sorted())
}

/// What an apply needs of blue alone, where green is no database: how the tables are that join. Slot, publication and rights are
/// the capture's.
pub async fn check_joining_of_blue(
    blue: &mut Client,
    joining: &[PlannedTable],
) -> Result<Vec<Finding>, Failure> {
    let mut out = Findings::default();
    let on_blue = Side::read("blue", blue).await.map_err(|failure| failure.while_doing("look at blue"))?;
    let published = joining.iter().map(|table| table.source.clone()).collect::<Vec<_>>();
    check_tables(blue, &on_blue, (joining, &published), &mut out).await?;
    Ok(out.sorted())
}

async fn check_tables(
    blue: &mut Client,
    on_blue: &Side,
    (joining, published): (&[PlannedTable], &[TableName]),
    out: &mut Findings,
) -> Result<(), Failure> {
    sources::check_sources(joining, on_blue, out);
    sources::check_source_rights(blue, joining, on_blue, published, out).await?;
    partitions::check_partitions(blue, joining, on_blue, out).await?;
    rereads::check_rereads(blue, joining, on_blue, out).await?;
    let tables = sources(joining, on_blue).into_iter().map(|(table, _)| table).collect::<Vec<_>>();
    collations::check_collations(blue, on_blue, &tables, out).await
}

/// The same for what can become wrong at any time while a migration is under way, whether or not something joins.
pub async fn check_always(blue: &mut Client, plan: &PreflightPlan) -> Result<Vec<Finding>, Failure> {
    let mut out = Findings::default();
    let rows = blue.query(&format!("SHOW {}", standbys::SETTING)).await?;
    let names = rows.first().and_then(|row| row.text(0)).unwrap_or_default();
    standbys::check_standbys(names, &plan.reader, &mut out);
    Ok(out.sorted())
}

/// What is known of a capture without asking its log: where its slot is, it has begun.
async fn known_by_slot(blue: &mut Client, plan: &PreflightPlan) -> Result<Known, Failure> {
    let started = crate::source::slot::inspect(blue, &plan.slot).await?.is_some();
    Ok(Known { started, ..Known::default() })
}

async fn sides(blue: &mut Client, green: &mut Client) -> Result<(Side, Side), Failure> {
    let on_blue = Side::read("blue", blue).await.map_err(|failure| failure.while_doing("look at blue"))?;
    let on_green =
        Side::read("green", green).await.map_err(|failure| failure.while_doing("look at green"))?;
    Ok((on_blue, on_green))
}

/// Routes to be looked at one by one.
struct Routes<'a> {
    plan: &'a PreflightPlan,
    tables: &'a [PlannedTable],
    /// The tables that the publication holds already.
    published: &'a [TableName],
    /// Whether rows on green may be our own.
    started: bool,
}

impl Routes<'_> {
    async fn check(
        &self,
        (blue, on_blue): (&mut Client, &Side),
        (green, on_green): (&mut Client, &Side),
        out: &mut Findings,
    ) -> Result<(), Failure> {
        sources::check_sources(self.tables, on_blue, out);
        sources::check_source_rights(blue, self.tables, on_blue, self.published, out).await?;
        partitions::check_partitions(blue, self.tables, on_blue, out).await?;
        rereads::check_rereads(blue, self.tables, on_blue, out).await?;
        targets::check_targets((self.tables, &self.plan.tables), on_blue, on_green, out);
        let existing = (!self.started).then_some(self.plan.existing_rows);
        targets::check_target_access(green, self.tables, on_green, existing, out).await?;

        let (types_of_blue, types_of_green) = columns::mapped_types(self.tables, on_blue, on_green);
        let types_of_blue = Types::read(blue, types_of_blue).await?;
        let types_of_green = Types::read(green, types_of_green).await?;
        let (ours, theirs) = ((on_blue, &types_of_blue), (on_green, &types_of_green));
        let extensions = columns::check_columns(self.tables, ours, theirs, out);
        targets::check_extensions(blue, green, &extensions, out).await?;

        let tables = sources(self.tables, on_blue).into_iter().map(|(table, _)| table).collect::<Vec<_>>();
        collations::check_collations(blue, on_blue, &tables, out).await?;
        collations::check_collations(green, on_green, &targets(self.tables, on_green), out).await
    }
}
