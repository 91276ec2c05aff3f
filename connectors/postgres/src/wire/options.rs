//! Where to connect, as whom, and how the connection is protected.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use understudy_contract::Failure;

use super::url;

/// The place a server listens at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A host name or address.
    Tcp(String),
    /// The directory of a Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Tcp(name) if name.contains(':') => write!(f, "[{name}]"),
            Host::Tcp(name) => f.write_str(name),
            Host::Unix(directory) => write!(f, "{}", directory.display()),
        }
    }
}

/// A password. Neither `Debug` nor `Display` shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret text.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How much protection a connection asks for, as `sslmode` of libpq.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// Never encrypted.
    Disable,
    /// Encrypted when the server can, without checking who it is.
    Prefer,
    /// Encrypted. Who the server is gets checked only when a root certificate is named.
    Require,
    /// Encrypted, and the certificate leads to a trusted root.
    VerifyCa,
    /// Encrypted, the certificate leads to a trusted root, and it names the host.
    VerifyFull,
}

impl FromStr for TlsMode {
    type Err = ();

    fn from_str(text: &str) -> Result<TlsMode, ()> {
        match text {
            "disable" => Ok(TlsMode::Disable),
            "prefer" => Ok(TlsMode::Prefer),
            "require" => Ok(TlsMode::Require),
            "verify-ca" => Ok(TlsMode::VerifyCa),
            "verify-full" => Ok(TlsMode::VerifyFull),
            _ => Err(()),
        }
    }
}

/// Everything needed to open a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectOptions {
    /// Where the server listens.
    pub host: Host,
    /// Its port; for a Unix socket the number in the socket's name.
    pub port: u16,
    /// The role to log in as.
    pub user: String,
    /// The database.
    pub database: String,
    /// The password; when missing, the password file is asked.
    pub password: Option<Secret>,
    /// How the connection is protected. Unix sockets are never encrypted.
    pub tls: TlsMode,
    /// A file of root certificates to trust instead of those of the system.
    pub root_cert: Option<PathBuf>,
    /// Refuse a login that is not bound to the TLS channel.
    pub require_channel_binding: bool,
    /// A password file to use instead of the one that `PGPASSFILE` or the home directory names.
    pub passfile: Option<PathBuf>,
    /// The name under which the server lists the session.
    pub application_name: String,
    /// How long connecting and logging in may take.
    pub connect_timeout: Duration,
    /// Leave the search path to the defaults of the role and the database, as an application has it, instead of an empty one.
    pub default_search_path: bool,
}

impl ConnectOptions {
    /// Options with everything optional at its default.
    pub fn new(
        host: Host,
        port: u16,
        user: impl Into<String>,
        database: impl Into<String>,
    ) -> ConnectOptions {
        ConnectOptions {
            host,
            port,
            user: user.into(),
            database: database.into(),
            password: None,
            tls: TlsMode::Prefer,
            root_cert: None,
            require_channel_binding: false,
            passfile: None,
            application_name: "understudy".to_owned(),
            connect_timeout: Duration::from_secs(10),
            default_search_path: false,
        }
    }

    /// Options from a `postgres://` address, as libpq reads it.
    pub fn parse(address: &str) -> Result<ConnectOptions, Failure> {
        url::parse(address)
    }

    /// The same with another password.
    #[must_use]
    pub fn with_password(mut self, password: Secret) -> Self {
        self.password = Some(password);
        self
    }

    /// The same with the search path that an application of this role has.
    #[must_use]
    pub fn with_default_search_path(mut self) -> Self {
        self.default_search_path = true;
        self
    }

    /// The same under another application name.
    #[must_use]
    pub fn with_application_name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.application_name);
        self
    }
}

impl fmt::Display for ConnectOptions {
    /// The target as `user@host:port/database`, for messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}:{}/{}", self.user, self.host, self.port, self.database)
    }
}
