//! Reading `postgres://` addresses.

use std::path::PathBuf;
use std::time::Duration;

use understudy_contract::{Class, Failure};

use super::options::{ConnectOptions, Host, Secret};

const SUPPORTED: &str = "host, port, user, password, dbname, sslmode, sslrootcert, channel_binding, passfile, \
                         application_name and connect_timeout";
const SHAPE: &str = "write it as postgres://user@host:5432/database";

/// Options from an address. The message of a failure never repeats the address, as it may hold a password.
pub(super) fn parse(address: &str) -> Result<ConnectOptions, Failure> {
    let rest =
        address.strip_prefix("postgres://").or_else(|| address.strip_prefix("postgresql://")).ok_or_else(
            || wrong("a server address must start with postgres:// or postgresql://").remedy(SHAPE),
        )?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, place) = authority.rsplit_once('@').unwrap_or(("", authority));
    let mut parts = Parts::default();
    if !login.is_empty() {
        let (user, password) = login.split_once(':').map_or((login, None), |(u, p)| (u, Some(p)));
        parts.user = Some(decode(user, "the user")?);
        parts.password = password.map(|p| decode(p, "the password")).transpose()?;
    }
    parts.place(place)?;
    if !path.is_empty() {
        parts.database = Some(decode(path, "the database")?);
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or_else(|| {
            wrong(format!("the parameter `{pair}` of a server address has no value"))
                .remedy("write key=value")
        })?;
        parts.parameter(key, decode(value, key)?)?;
    }
    parts.finish()
}

#[derive(Default)]
struct Parts {
    host: Option<String>,
    port: Option<u16>,
    user: Option<String>,
    password: Option<String>,
    database: Option<String>,
    /// Parameters that have a default, applied in the order in which they came.
    others: Vec<(String, String)>,
}

impl Parts {
    fn place(&mut self, place: &str) -> Result<(), Failure> {
        if place.contains(',') {
            return Err(wrong("a server address names several hosts")
                .remedy("name the one that is the primary; a list would leave open which server is meant"));
        }
        let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, after)) => (address, after.strip_prefix(':')),
            None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
        };
        if !host.is_empty() {
            self.host = Some(decode(host, "the host")?);
        }
        if let Some(port) = port.filter(|port| !port.is_empty()) {
            self.port = Some(parse_port(port)?);
        }
        Ok(())
    }

    fn parameter(&mut self, key: &str, value: String) -> Result<(), Failure> {
        match key {
            "host" => self.host = Some(value),
            "port" => self.port = Some(parse_port(&value)?),
            "user" => self.user = Some(value),
            "password" => self.password = Some(value),
            "dbname" => self.database = Some(value),
            "sslmode" | "sslrootcert" | "channel_binding" | "passfile" | "application_name"
            | "connect_timeout" => {
                self.others.push((key.to_owned(), value));
            }
            _ => {
                return Err(wrong(format!("the parameter `{key}` of a server address is not supported"))
                    .remedy(format!("use only {SUPPORTED}")));
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<ConnectOptions, Failure> {
        let missing = |what: &str| wrong(format!("a server address names no {what}")).remedy(SHAPE);
        let host = self.host.filter(|host| !host.is_empty()).ok_or_else(|| missing("host"))?;
        let user = self.user.filter(|user| !user.is_empty()).ok_or_else(|| missing("user"))?;
        let host = if host.starts_with('/') { Host::Unix(PathBuf::from(host)) } else { Host::Tcp(host) };
        let database = self.database.filter(|name| !name.is_empty()).unwrap_or_else(|| user.clone());
        let mut options = ConnectOptions::new(host, self.port.unwrap_or(5432), user, database);
        options.password = self.password.filter(|password| !password.is_empty()).map(Secret::new);
        for (key, value) in self.others {
            apply(&mut options, &key, value)?;
        }
        Ok(options)
    }
}

fn apply(options: &mut ConnectOptions, key: &str, value: String) -> Result<(), Failure> {
    match key {
        "sslmode" => {
            options.tls = value.parse().map_err(|()| {
                wrong(format!("`{value}` is not a supported sslmode"))
                    .remedy("use disable, prefer, require, verify-ca or verify-full")
            })?;
        }
        "sslrootcert" => options.root_cert = (value != "system").then(|| PathBuf::from(value)),
        "channel_binding" => {
            options.require_channel_binding = match value.as_str() {
                "require" => true,
                "prefer" | "disable" => false,
                _ => return Err(wrong(format!("`{value}` is not a supported channel_binding"))),
            };
        }
        "passfile" => options.passfile = Some(PathBuf::from(value)),
        "application_name" => options.application_name = value,
        _ => {
            let seconds = value.parse().ok().filter(|seconds| *seconds > 0).ok_or_else(|| {
                wrong(format!("`{value}` is not a connect_timeout")).remedy("give whole seconds, at least 1")
            })?;
            options.connect_timeout = Duration::from_secs(seconds);
        }
    }
    Ok(())
}

fn parse_port(text: &str) -> Result<u16, Failure> {
    text.parse().ok().filter(|port| *port != 0).ok_or_else(|| {
        wrong("the port of a server address is not a number from 1 to 65535")
            .remedy("a colon or an @ in the password must be written as %3A or %40")
    })
}

fn decode(text: &str, what: &str) -> Result<String, Failure> {
    let bad = || {
        wrong(format!("{what} in a server address is not percent-encoded UTF-8"))
            .remedy("write a literal % as %25, and other special characters as % and two hexadecimal digits")
    };
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
        let (high, low) = (digit().ok_or_else(bad)?, digit().ok_or_else(bad)?);
        decoded.push((high * 16 + low) as u8);
    }
    if decoded.contains(&0) {
        return Err(bad());
    }
    String::from_utf8(decoded).map_err(|_| bad())
}

fn wrong(cause: impl Into<String>) -> Failure {
    Failure::new(Class::Configuration, cause)
}

#[cfg(test)]
mod tests {
    use super::super::TlsMode;
    use super::*;

    #[test]
    fn a_full_address_is_taken_apart() {
        let options = parse(
            "postgresql://us%40er:p%2Fw%25@db.example:6432/shop%20v2?sslmode=verify-full&sslrootcert=/ca.pem\
             &application_name=a%20b&connect_timeout=3&channel_binding=require&passfile=/p",
        )
        .unwrap();
        assert_eq!(options.host, Host::Tcp("db.example".into()));
        assert_eq!((options.port, &*options.user, &*options.database), (6432, "us@er", "shop v2"));
        assert_eq!(options.password.as_ref().unwrap().expose(), "p/w%");
        assert_eq!((options.tls, options.require_channel_binding), (TlsMode::VerifyFull, true));
        assert_eq!(options.root_cert, Some("/ca.pem".into()));
        assert_eq!(options.passfile, Some("/p".into()));
        assert_eq!((&*options.application_name, options.connect_timeout.as_secs()), ("a b", 3));
        assert!(!format!("{options:?} {options}").contains("p/w"), "a secret is never shown");
    }

    #[test]
    fn unix_sockets_and_ipv6_are_understood() {
        for address in
            ["postgres://u@%2Ftmp%2Fs/d", "postgres://u@/d?host=/tmp/s", "postgres:///d?user=u&host=/tmp/s"]
        {
            let options = parse(address).unwrap();
            assert_eq!(options.host, Host::Unix("/tmp/s".into()), "{address}");
            assert_eq!((&*options.database, &*options.user, options.port), ("d", "u", 5432));
        }
        let options = parse("postgres://u@[::1]:5433").unwrap();
        assert_eq!((options.host, options.port, &*options.database), (Host::Tcp("::1".into()), 5433, "u"));
    }

    #[test]
    fn every_refusal_has_a_clear_message_and_hides_the_password() {
        for (address, said) in [
            ("mysql://u:hush@h/d", "must start with postgres://"),
            ("host=h user=u password=hush", "must start with postgres://"),
            ("postgres://u:hush@/d", "names no host"),
            ("postgres://h/d", "names no user"),
            ("postgres://u:hush@h:0/d", "port"),
            ("postgres://u:hush@h:x/d", "port"),
            ("postgres://u:hush@a,b/d", "several hosts"),
            ("postgres://u:hush@h/d?sslmode=on", "`on` is not a supported sslmode"),
            ("postgres://u:hush@h/d?options=-c", "`options` of a server address is not supported"),
            ("postgres://u:hush@h/d?sslmode", "has no value"),
            ("postgres://u:hush@h/d?connect_timeout=0", "connect_timeout"),
            ("postgres://u:hush%@h/d", "the password in a server address is not percent-encoded"),
            ("postgres://u:hush@h/d%FF", "the database in a server address is not percent-encoded"),
        ] {
            let failure = parse(address).unwrap_err();
            assert_eq!(failure.class(), Class::Configuration);
            assert!(failure.to_string().contains(said), "{address}: {failure}");
            assert!(!format!("{failure:?}").contains("hush"), "{failure:?}");
        }
    }
}
