//! A thin Postgres client: everything that talks to a server goes through here, byte for byte.
//!
//! `options` says where to connect, `client` runs statements, `pipeline` many of them in one round trip, `copy` moves
//! rows, and `replication` holds the two halves of a replication stream. The layers below are `link` (frames over a
//! socket), `auth`, `tls` and `socket`.

mod client;
mod copy;
mod pipeline;
mod replication;
mod row;

mod options;
mod passfile;
mod url;

mod auth;
mod cancel;
mod connect;
mod link;
mod message;
mod socket;
mod tls;

pub use client::{Client, Statement, TransactionState};
pub use copy::{CopyIn, CopyOut};
pub use pipeline::{Pipeline, PipelineFailure};
pub use replication::{CopyReader, CopyWriter};
pub use row::Row;

pub use cancel::CancelToken;
pub use options::{ConnectOptions, Host, Secret, TlsMode};
