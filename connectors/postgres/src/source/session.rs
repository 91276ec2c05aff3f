//! An ordinary connection to blue that outlives cancelled calls: it is lent to one call at a time and replaced when a
//! call does not bring it back in order.

use understudy_contract::{Class, Failure};
use understudy_model::Nonce;

use crate::error::has_sqlstate;
use crate::wire::{Client, ConnectOptions};

/// Where to connect, how to set the session up, and the connection while nobody uses it.
pub(super) struct Session {
    options: ConnectOptions,
    setup: String,
    idle: Option<Client>,
}

impl Session {
    /// Connects and sets the session up.
    ///
    /// Markers must not hang on a synchronous standby that is away: they only need to be decoded, so a local flush does.
    pub(super) async fn connect(options: &ConnectOptions, settings: &str) -> Result<Session, Failure> {
        let setup = format!("SET synchronous_commit = local; SET jit = off; {settings}");
        let mut session = Session { options: options.clone(), setup, idle: None };
        let client = session.lend().await?;
        session.give_back(client);
        Ok(session)
    }

    /// The connection, for one call. A call that fails or is dropped keeps it, and the next one gets a new one.
    pub(super) async fn lend(&mut self) -> Result<Client, Failure> {
        if let Some(client) = self.idle.take() {
            return Ok(client);
        }
        let mut client = Client::connect(&self.options).await?;
        client.batch(&self.setup).await?;
        Ok(client)
    }

    /// Takes the connection back, outside any transaction.
    pub(super) fn give_back(&mut self, client: Client) {
        self.idle = Some(client);
    }
}

/// Commits a transactional message of ours.
pub(crate) async fn emit(client: &mut Client, prefix: &str, nonce: Nonce) -> Result<(), Failure> {
    let params = [Some(prefix), Some(&*nonce.to_string())];
    client
        .query_with("SELECT pg_catalog.pg_logical_emit_message(true, $1::text, $2::text)", &params)
        .await
        .map_err(|failure| retryable(failure).while_doing("emit a marker"))?;
    Ok(())
}

/// A statement that ran into our own time limit can be tried again.
pub(super) fn retryable(failure: Failure) -> Failure {
    if has_sqlstate(&failure, "57014") {
        return Failure::new(
            Class::Transient,
            "blue took longer over a statement than its time limit allows",
        );
    }
    failure
}
