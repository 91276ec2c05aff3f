//! Blue and green as Postgres servers: the replication stream, chunk reads, apply, bookkeeping and preflight.

pub mod wire;

pub mod source;

pub mod sink;

pub mod verify_ledger;

pub mod verify;

pub mod preflight;

pub mod probes;

pub mod readiness;

pub mod versions;

pub mod error;
pub mod ident;
pub mod load;
