//! What a sink is told beyond the tables: whose changes it applies, and what it does with rows that green refuses.

use std::time::Duration;

/// What happens to a change that green refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// Stop before the transaction that holds it.
    Stop,
    /// Set it aside with its reason, and with it every later change to its key.
    Quarantine,
}

/// Whether triggers and foreign keys of green are passed over while changes are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicaRole {
    /// Where the role may set `session_replication_role`; otherwise changes are applied in their order.
    Auto,
    /// Never: green's triggers and foreign keys stay alive.
    Never,
}

/// The settings of a sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkSettings {
    /// The migration's name, under which the bookkeeping is kept.
    pub migration: String,
    /// How many placed chunks are written at once. At least one connection is opened for them.
    pub writers: usize,
    /// What happens to a change that green refuses.
    pub on_error: OnError,
    /// Whether green's triggers and foreign keys are passed over.
    pub replica_role: ReplicaRole,
    /// `application_name`s of the standbys of green that must have flushed what counts as durable.
    pub standbys: Vec<String>,
    /// How long a standby may hold back what counts as durable before a warning names it. Whoever waits for that looks alive
    /// no longer than 30 s by himself, so it comes before.
    pub standby_patience: Duration,
    /// Whether writes carry a replication origin where green permits it. Each session needs one of its own, and green has few.
    pub origins: bool,
    /// Tells this process from others that run the same migration.
    pub instance: u64,
    /// This process has owned the migration before: the claim then fails as superseded if another instance has become
    /// the owner since, because a process that lost the migration must not take it back.
    pub reclaim: bool,
    /// Several sinks fill green side by side, each a lane: the first one empties tables for all.
    pub laned: bool,
}

impl SinkSettings {
    /// Settings for a migration, with everything else at its default.
    pub fn new(migration: impl Into<String>) -> SinkSettings {
        SinkSettings {
            migration: migration.into(),
            writers: 2,
            on_error: OnError::Stop,
            replica_role: ReplicaRole::Auto,
            standbys: Vec::new(),
            standby_patience: Duration::from_secs(20),
            origins: true,
            instance: rand::random(),
            reclaim: false,
            laned: false,
        }
    }

    /// The name of the replication origin of a session: of the one that applies changes, or of a chunk writer.
    pub(super) fn origin(&self, writer: Option<usize>) -> String {
        origin(&self.migration, writer)
    }
}

/// The same for a migration by its name.
pub(crate) fn origin(migration: &str, writer: Option<usize>) -> String {
    let name = migration.replace('-', "_");
    match writer {
        // No name of a migration holds a slash, so no other migration can mean the same.
        Some(writer) => format!("understudy_{name}/{writer}"),
        None => format!("understudy_{name}"),
    }
}
