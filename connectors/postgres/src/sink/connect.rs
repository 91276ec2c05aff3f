//! Opens and sets up the sink's sessions, and finds out what green permits.

use std::collections::VecDeque;

use rustc_hash::FxHashSet;
use tokio::time::{Duration, Instant, sleep};
use understudy_contract::{ChunkDone, Class, Failure, GreenTable, Saved};
use understudy_model::Checkpoint;

use super::applier::Applier;
use super::books::{Books, Role, superseded};
use super::chunks::Writers;
use super::claim;
use super::heals::Heals;
use super::persist::Keeper;
use super::script::PINS;
use super::settings::{ReplicaRole, SinkSettings};
use super::stages::Stages;
use super::statements::Statements;
use super::tables;
use super::target::Target;
use crate::error::{has_sqlstate, server_error};
use crate::ident::quote_literal;
use crate::wire::{Client, ConnectOptions};

/// What every session of the sink runs first. Waiting for locks of others is not bounded: the stream can wait.
const SETUP: &str = "SET synchronous_commit = off; SET jit = off; \
    SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0; \
    SET temp_buffers = '32MB'; SET client_min_messages = warning";

/// How long a replication origin may still be held by a session that is being ended.
const ORIGIN_PATIENCE: Duration = Duration::from_secs(10);

/// Green as a Postgres database.
pub struct PostgresSink {
    pub(super) settings: SinkSettings,
    pub(super) options: ConnectOptions,
    pub(super) applier: Applier,
    pub(super) writers: Writers,
    /// Chunks that have been committed and not been handed out.
    pub(super) finished: VecDeque<ChunkDone>,
    pub(super) keeper: Keeper,
    /// Sessions for the writers, until the claim.
    writer_clients: Vec<Client>,
    pub(super) claimed: bool,
    /// Whether our writes carry a replication origin.
    origins: bool,
}

impl PostgresSink {
    /// Connects, and checks that every table can be filled exactly. Changes nothing on green.
    pub async fn connect(
        options: &ConnectOptions,
        settings: SinkSettings,
        mut tables: Vec<GreenTable>,
    ) -> Result<PostgresSink, Failure> {
        tables.sort_by_key(|table| table.route);
        if tables.iter().enumerate().any(|(n, table)| table.route.index() != n) {
            return Err(Failure::new(Class::Internal, "routes are not numbered from zero without gaps"));
        }
        let books = Books::new(settings.migration.clone(), settings.instance);
        let mut client = open(options, &books, Role::Apply).await?;
        let replica_role =
            settings.replica_role == ReplicaRole::Auto && take_replica_role(&mut client).await?;
        let targets = tables::describe(&mut client, tables, replica_role).await?;
        check_rights(&mut client).await?;
        if !targets.iter().any(|target| target.traits.is_partitioned) {
            // One plan for good; for partitions it would hold, and lock, every one of them.
            client.batch("SET plan_cache_mode = force_generic_plan").await?;
        }
        let pin_each = targets.iter().any(|target| target.traits.user_triggers);
        if !pin_each {
            let pins = PINS.map(|pin| format!("SET {pin} = off"));
            client.batch(&pins.join("; ")).await?;
        }
        let mut writer_clients = Vec::new();
        for _ in 0..settings.writers.max(1) {
            let mut writer = open(options, &books, Role::Chunks).await?;
            if replica_role {
                take_replica_role(&mut writer).await?;
            }
            writer_clients.push(writer);
        }
        let mut keeper = open(options, &books, Role::Flush).await?;
        keeper.batch("SET synchronous_commit = on").await?;
        let applier = Applier {
            client,
            books,
            targets,
            statements: Statements::default(),
            stages: Stages::default(),
            on_error: settings.on_error,
            replica_role,
            pin_each,
            applied: Checkpoint::default(),
            open: false,
            heals: Heals::default(),
            quarantined: FxHashSet::default(),
            emptied: 0,
            laned: settings.laned,
        };
        Ok(PostgresSink {
            keeper: Keeper::new(keeper, &settings),
            settings,
            options: options.clone(),
            applier,
            writers: Writers::default(),
            finished: VecDeque::new(),
            writer_clients,
            claimed: false,
            origins: false,
        })
    }

    /// What green does not permit, or makes weaker, as sentences for a person.
    pub fn limits(&self) -> Vec<String> {
        let mut limits = Vec::new();
        let targets = &self.applier.targets;
        if !self.applier.replica_role {
            limits.push(
                "Triggers and foreign keys on green stay alive: changes are applied in their order, and more slowly."
                    .to_owned(),
            );
        }
        if self.claimed && !self.origins {
            limits.push(
                "Writes on green carry no replication origin, so a reverse feed cannot tell them by it."
                    .to_owned(),
            );
        }
        for target in targets.iter().filter(|target| target.traits.cascades) {
            limits.push(format!(
                "Rows affected are not checked for {}: a foreign key on green cascades into it.",
                target.green.name
            ));
        }
        for target in targets.iter().filter(|target| target.traits.user_triggers) {
            limits.push(format!("Triggers on {} fire for every change that is applied.", target.green.name));
        }
        limits
    }

    /// Ends older instances, takes ownership, and reads what was saved.
    pub(super) async fn take(&mut self) -> Result<Option<Saved>, Failure> {
        let applier = &mut self.applier;
        let reclaim = self.settings.reclaim;
        if reclaim {
            claim::still_owner(&mut applier.client, &applier.books).await?;
        }
        claim::evict(&mut applier.client, &applier.books).await?;
        let wanted = self.settings.origins;
        let mut origins =
            wanted && set_origin(&mut applier.client, &applier.books, &self.settings.origin(None)).await?;
        let claimed =
            claim::claim(&mut applier.client, &applier.books, &mut applier.targets, reclaim).await?;
        for (n, mut client) in std::mem::take(&mut self.writer_clients).into_iter().enumerate() {
            origins =
                origins && set_origin(&mut client, &applier.books, &self.settings.origin(Some(n))).await?;
            self.writers.add(client, applier.books.clone(), self.settings.on_error);
        }
        applier.applied = claimed.saved.as_ref().map(|saved| saved.checkpoint).unwrap_or_default();
        applier.heals = Heals::of(claimed.saved.iter().flat_map(|saved| saved.heals.iter().cloned()));
        applier.quarantined = claimed.quarantined.into_iter().collect();
        (self.claimed, self.origins) = (true, origins);
        Ok(claimed.saved)
    }

    /// Records that a route is to be copied again from the start, under the mapping as it is now. From then on every
    /// claim finds its units as planned and none of their rows as copied.
    pub async fn start_again(&mut self, route: understudy_model::RouteId) -> Result<(), Failure> {
        let result = self.applier.start_again(route).await;
        result.map_err(|failure| failure.while_doing("record that a table is copied again"))
    }

    /// Says in which state the tables of routes are in the publication. It is recorded with each route as soon as that is
    /// followed.
    pub fn set_published(&mut self, published: Vec<(understudy_model::RouteId, String)>) {
        for (route, state) in published {
            if let Some(target) = self.applier.targets.get_mut(route.index()) {
                target.published = Some(state);
            }
        }
    }

    /// Forgets that routes were ever followed, because changes of theirs were missed, and records the publication that
    /// they come through from now on.
    pub async fn forget_routes(
        &mut self,
        routes: &[understudy_model::RouteId],
        publication: &str,
    ) -> Result<(), Failure> {
        let result = self.applier.forget_routes(routes, publication).await;
        result.map_err(|failure| failure.while_doing("record that tables join anew"))
    }

    /// Forgets the routes that the migration had and has no more. Only once blue is known to be the server that they
    /// were copied from: another one may have fewer tables.
    pub async fn forget_absent(&mut self) -> Result<(), Failure> {
        let applier = &mut self.applier;
        let result = claim::forget_absent(&mut applier.client, &applier.books, &applier.targets).await;
        result.map_err(|failure| failure.while_doing("forget tables that the migration no longer has"))
    }

    /// Tells a failure from being superseded, like [`Judge::judge`]. Nobody supersedes a sink that has claimed nothing.
    pub async fn judge(&self, failure: Failure) -> Failure {
        if self.claimed { self.judge_alone().judge(failure).await } else { failure }
    }

    /// What judges failures for as long as somebody else has the sink.
    pub fn judge_alone(&self) -> Judge {
        Judge { options: self.options.clone(), books: self.applier.books.clone() }
    }

    /// The targets, for a chunk's route.
    pub(super) fn target(&self, route: understudy_model::RouteId) -> Result<&Target, Failure> {
        self.applier.targets.get(route.index()).ok_or_else(super::script::unknown_route)
    }
}

/// Finds out whether a failure is due to a later instance of the migration.
pub struct Judge {
    options: ConnectOptions,
    books: Books,
}

impl Judge {
    /// A connection that was ended may have been ended by a later instance, and a slot or a publication that has changed, or
    /// is there unexpectedly, may be its doing: then this one must not come back, and nothing is amiss.
    pub async fn judge(&self, failure: Failure) -> Failure {
        if !matches!(failure.class(), Class::Transient | Class::Diverged | Class::Configuration) {
            return failure;
        }
        let sql = format!(
            "SELECT owner <> {} FROM understudy.migration WHERE name = {}",
            quote_literal(&self.books.token),
            quote_literal(&self.books.migration)
        );
        let Ok(mut client) = Client::connect(&self.options).await else {
            return failure;
        };
        match client.query(&sql).await {
            Ok(rows) if rows.first().is_some_and(|row| row.text(0) == Some("t")) => superseded(),
            _ => failure,
        }
    }
}

async fn open(options: &ConnectOptions, books: &Books, role: Role) -> Result<Client, Failure> {
    let options = options.clone().with_application_name(&books.application_name(role));
    let mut client =
        Client::connect(&options).await.map_err(|failure| failure.while_doing("connect to green"))?;
    client.batch(SETUP).await?;
    Ok(client)
}

/// Passes over triggers and foreign keys, where permitted.
async fn take_replica_role(client: &mut Client) -> Result<bool, Failure> {
    match client.batch("SET session_replication_role = replica").await {
        Ok(()) => Ok(true),
        Err(failure) if server_error(&failure).is_some() && !client.is_broken() => Ok(false),
        Err(failure) => Err(failure),
    }
}

async fn check_rights(client: &mut Client) -> Result<(), Failure> {
    let rows = client
        .query("SELECT has_database_privilege(current_database(), 'TEMPORARY'), pg_is_in_recovery(), current_database()")
        .await?;
    let Some(row) = rows.first() else { return Ok(()) };
    if row.text(1) == Some("t") {
        let cause = "green is a standby: it takes no writes";
        return Err(
            Failure::new(Class::Configuration, cause).remedy("give the address of green's primary server")
        );
    }
    if row.text(0) == Some("t") {
        return Ok(());
    }
    let remedy =
        format!("GRANT TEMPORARY ON DATABASE {} TO the role", crate::ident::quote_ident(row.required(2)?));
    Err(Failure::new(Class::Configuration, "the role may not create temporary tables on green")
        .remedy(remedy))
}

/// Marks everything that the session writes with an origin. `false` where green does not permit it.
async fn set_origin(client: &mut Client, books: &Books, name: &str) -> Result<bool, Failure> {
    let literal = quote_literal(name);
    let create = format!(
        "SELECT pg_replication_origin_create({literal}) WHERE pg_replication_origin_oid({literal}) IS NULL"
    );
    let setup = format!("SELECT pg_replication_origin_session_setup({literal})");
    let deadline = Instant::now() + ORIGIN_PATIENCE;
    loop {
        let result = match client.query(&create).await {
            Ok(_) => client.query(&setup).await,
            failed => failed,
        };
        match result {
            Ok(_) => return Ok(true),
            Err(failure) if client.is_broken() || server_error(&failure).is_none() => return Err(failure),
            // Held by a session of an earlier instance, which is on its way out.
            Err(failure) if has_sqlstate(&failure, "55006") => {
                if Instant::now() >= deadline {
                    let remedy = "end the session on green that holds the origin, then run again";
                    return Err(failure
                        .while_doing(format!("use the replication origin {name}"))
                        .remedy(remedy));
                }
                claim::evict(client, books).await?;
                sleep(Duration::from_millis(50)).await;
            }
            Err(_) => return Ok(false),
        }
    }
}
