//! Asking a server to give up what a session is doing.

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use understudy_contract::{Class, Failure};

use super::auth::Session;
use super::connect;
use super::options::ConnectOptions;
use crate::error::lost;

/// The right to cancel what one session is doing at the moment.
#[derive(Clone)]
pub struct CancelToken {
    pub(super) options: ConnectOptions,
    pub(super) session: Session,
}

impl CancelToken {
    /// Asks for it, over a connection of its own. The session's statement, if there is one, fails with 57014; a request
    /// that comes too late hits whatever runs then, or nothing.
    pub async fn cancel(&self) -> Result<(), Failure> {
        let mut request = BytesMut::new();
        frontend::cancel_request(self.session.pid, self.session.secret_key, &mut request);
        let exchange = async {
            let mut socket = connect::open(&self.options).await?;
            socket.write_all(&request).await.map_err(lost)?;
            socket.flush().await.map_err(lost)?;
            // The server closes once it has passed the request on. How it closes says nothing.
            let _ = socket.read(&mut [0; 16]).await;
            Ok(())
        };
        let timeout = || Failure::new(Class::Transient, "no answer to a cancel request");
        tokio::time::timeout(self.options.connect_timeout, exchange).await.unwrap_or_else(|_| Err(timeout()))
    }
}
