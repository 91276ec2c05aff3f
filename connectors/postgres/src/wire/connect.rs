//! Opening a connection: socket, encryption, login, and a clear word when one of them fails.

use std::io;

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use understudy_contract::{Class, Failure};

use super::auth::{self, Session};
use super::link::Link;
use super::options::{ConnectOptions, Host, Secret, TlsMode};
use super::socket::{self, Socket};
use super::{passfile, tls};
use crate::error::{has_sqlstate, server_error};

/// A link that is logged in.
pub(super) async fn connect(options: &ConnectOptions, replication: bool) -> Result<(Link, Session), Failure> {
    let password = passfile::password(options)?;
    let patience = options.connect_timeout;
    let attempt = attempt(options, password.as_ref(), replication);
    let result = tokio::time::timeout(patience, attempt).await.unwrap_or_else(|_| {
        Err(Failure::new(Class::Transient, format!("no answer within {} s", patience.as_secs()))
            .remedy("check host and port, and that no firewall drops the packets"))
    });
    result.map_err(|failure| explain(failure, options).while_doing(format!("connect to {options}")))
}

async fn attempt(
    options: &ConnectOptions,
    password: Option<&Secret>,
    replication: bool,
) -> Result<(Link, Session), Failure> {
    let first = log_in_once(options, password, replication).await;
    match first {
        // As libpq does: a server that offers TLS and then does not want this login over it may want it without.
        Err(failure) if options.tls == TlsMode::Prefer && may_want_plain(&failure) => {
            let plain = ConnectOptions { tls: TlsMode::Disable, ..options.clone() };
            log_in_once(&plain, password, replication)
                .await
                .map_err(|second| if second.class() == Class::Transient { second } else { failure })
        }
        other => other,
    }
}

fn may_want_plain(failure: &Failure) -> bool {
    has_sqlstate(failure, "28000") || failure.to_string().contains("TLS handshake")
}

async fn log_in_once(
    options: &ConnectOptions,
    password: Option<&Secret>,
    replication: bool,
) -> Result<(Link, Session), Failure> {
    let socket = open(options).await?;
    let binding = match &socket {
        Socket::Tls(stream) => tls::channel_binding(stream),
        Socket::Tcp(_) | Socket::Unix(_) => None,
    };
    let mut link = Link::new(socket);
    let session = auth::log_in(&mut link, options, password, binding, replication).await?;
    Ok((link, session))
}

/// A stream to the server, encrypted when the options and the server agree on it.
pub(super) async fn open(options: &ConnectOptions) -> Result<Socket, Failure> {
    let socket = socket::open(&options.host, options.port).await.map_err(unreachable)?;
    let (mut stream, name) = match (socket, &options.host, options.tls) {
        (Socket::Tcp(stream), Host::Tcp(name), mode) if mode != TlsMode::Disable => (stream, name),
        (socket, _, _) => return Ok(socket),
    };
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    stream.write_all(&request).await.map_err(unreachable)?;
    // One byte and no more: anything after it must already be part of the handshake.
    match stream.read_u8().await.map_err(unreachable)? {
        b'S' => Ok(Socket::Tls(Box::new(tls::encrypt(stream, name, options).await?))),
        b'N' if options.tls == TlsMode::Prefer => Ok(Socket::Tcp(stream)),
        b'N' => Err(Failure::new(Class::Configuration, "the server does not offer TLS")
            .remedy("switch TLS on at the server (ssl = on), or use sslmode=prefer or disable")),
        _ => Err(Failure::new(Class::Configuration, "what answers there is not a Postgres server")
            .remedy("check host and port")),
    }
}

fn unreachable(error: io::Error) -> Failure {
    let remedy = match error.kind() {
        io::ErrorKind::ConnectionRefused => "check that the server runs and listens at this host and port",
        io::ErrorKind::NotFound => "check that the server runs and has its Unix socket in this directory",
        io::ErrorKind::PermissionDenied => "let this user enter the directory of the Unix socket",
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            "the server may be starting, stopping or full: look at its log"
        }
        _ => "check the host name, the port and the network in between",
    };
    Failure::new(Class::Transient, error.to_string()).caused_by(error).remedy(remedy)
}

/// Adds the remedy to what a server says when it refuses a login.
fn explain(failure: Failure, options: &ConnectOptions) -> Failure {
    let Some(error) = server_error(&failure) else {
        return failure;
    };
    let (user, database) = (&options.user, &options.database);
    let remedy = match error.sqlstate.as_str() {
        "28P01" => format!("check the password of \"{user}\" in the migration file or the password file"),
        "28000" if error.message.contains("no encryption") => {
            "use sslmode=require or stricter, or let pg_hba.conf admit unencrypted connections".to_owned()
        }
        "28000" if error.message.contains("pg_hba.conf") => format!(
            "add a line to pg_hba.conf on the server and reload it: host {database} {user} ADDRESS scram-sha-256"
        ),
        "28000" => format!("check on the server that role \"{user}\" exists and may log in"),
        "3D000" => format!("create the database \"{database}\" or correct the name in the address"),
        "42501" => format!(
            "grant what is missing on the server; a replication connection needs ALTER ROLE \"{user}\" REPLICATION"
        ),
        "53300" if error.message.contains("wal_senders") => {
            "raise max_wal_senders on the server, or stop a replication client that is not needed".to_owned()
        }
        "53300" => "raise max_connections on the server, or close sessions that are not needed".to_owned(),
        "08P01" | "0A000" => {
            "connect to the server itself: a connection pooler may not pass this on".to_owned()
        }
        _ => return failure,
    };
    failure.remedy(remedy)
}
