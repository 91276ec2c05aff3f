//! Blue: the replication stream with its slot and publication, chunks, and the catalog.

pub mod stream;

mod feedback;
pub mod followed;
pub mod lineage;
mod pacing;
pub mod publication;
pub mod slot;

pub mod catalog;
pub mod chunk_reader;

mod fingerprint;
mod keys;
mod session;
pub(crate) mod units;

pub(crate) use session::emit;
