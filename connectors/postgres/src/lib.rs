//! Blue and green as Postgres servers: the replication stream, chunk reads, apply, bookkeeping and preflight.

pub mod wire;

pub mod source;

pub mod sink;

pub mod preflight;

pub mod versions;

pub mod error;
pub mod ident;
