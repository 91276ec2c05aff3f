//! Logging in: the startup message with the session's pinned settings, and the answers to what the server asks.

use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{
    ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256,
};
use postgres_protocol::message::frontend;
use understudy_contract::{Class, Failure};

use super::link::{Frame, Link};
use super::message::{
    AUTHENTICATION, BACKEND_KEY, ERROR, NEGOTIATE_VERSION, NOTICE, PARAMETER_STATUS, READY, take_text,
    take_u32,
};
use super::options::{ConnectOptions, Secret};
use crate::error::{ServerError, protocol};

/// What shapes the text of values, and what must not be left to a role's or a database's defaults.
///
/// As startup parameters they need no round trip, outrank those defaults, and survive `RESET ALL` and `DISCARD ALL`.
/// With `row_security` off, rows hidden by a policy become an error. An empty search path leaves nothing to chance; only
/// statements of the user's own, which rely on the default, go without it.
const PINNED: [(&str, &str); 9] = [
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("TimeZone", "UTC"),
    ("lc_monetary", "C"),
    ("row_security", "off"),
    ("search_path", ""),
];

/// What a server says of a session at its start.
#[derive(Clone, Copy, Default)]
pub(super) struct Session {
    /// As `server_version_num` counts: 150018 for 15.18.
    pub(super) server_version: u32,
    pub(super) pid: i32,
    pub(super) secret_key: i32,
}

/// Logs in over an open link.
pub(super) async fn log_in(
    link: &mut Link,
    options: &ConnectOptions,
    password: Option<&Secret>,
    binding: Option<Vec<u8>>,
    replication: bool,
) -> Result<Session, Failure> {
    let own = [
        ("user", options.user.as_str()),
        ("database", options.database.as_str()),
        ("application_name", options.application_name.as_str()),
    ];
    let replication = replication.then_some(("replication", "database"));
    let is_pinned = |(name, _): &(&str, &str)| *name != "search_path" || !options.default_search_path;
    let pinned = PINNED.into_iter().filter(is_pinned);
    frontend::startup_message(own.into_iter().chain(replication).chain(pinned), &mut link.output)
        .map_err(|_| wrong("the user, the database or the application name holds a zero byte"))?;
    let mut login = Login { options, password, binding, scram: None, bound: false, proved: false };
    let mut session = Session::default();
    loop {
        let Frame { tag, body } = link.next().await?;
        let mut rest = &body[..];
        match tag {
            AUTHENTICATION => login.answer(rest, link)?,
            PARAMETER_STATUS => {
                if take_text(&mut rest) == Some("server_version") {
                    session.server_version = parse_version(take_text(&mut rest).unwrap_or_default());
                }
            }
            BACKEND_KEY => {
                let mut number =
                    || take_u32(&mut rest).map(u32::cast_signed).ok_or_else(|| protocol("a short key"));
                (session.pid, session.secret_key) = (number()?, number()?);
            }
            READY => return Ok(session),
            ERROR => return Err(ServerError::from_fields(&body).into_failure()),
            NOTICE | NEGOTIATE_VERSION => {}
            _ => return Err(protocol("a message that does not belong to a login")),
        }
    }
}

struct Login<'a> {
    options: &'a ConnectOptions,
    password: Option<&'a Secret>,
    binding: Option<Vec<u8>>,
    scram: Option<ScramSha256>,
    bound: bool,
    proved: bool,
}

impl Login<'_> {
    fn answer(&mut self, mut body: &[u8], link: &mut Link) -> Result<(), Failure> {
        let kind = take_u32(&mut body).ok_or_else(|| protocol("a short authentication request"))?;
        match kind {
            0 => self.accepted(),
            3 => {
                let password = self.password()?.expose();
                frontend::password_message(password.as_bytes(), &mut link.output).map_err(|_| zero_byte())
            }
            5 => {
                let salt = body.first_chunk::<4>().ok_or_else(|| protocol("a short salt"))?;
                let hash =
                    md5_hash(self.options.user.as_bytes(), self.password()?.expose().as_bytes(), *salt);
                frontend::password_message(hash.as_bytes(), &mut link.output).map_err(|_| zero_byte())
            }
            10 => self.start_scram(body, link),
            11 => {
                let scram = self.scram.as_mut().ok_or_else(|| protocol("a SCRAM message out of order"))?;
                scram.update(body).map_err(|error| protocol(format_args!("a SCRAM challenge: {error}")))?;
                frontend::sasl_response(scram.message(), &mut link.output).map_err(|error| protocol(&error))
            }
            12 => {
                let scram = self.scram.as_mut().ok_or_else(|| protocol("a SCRAM message out of order"))?;
                scram.finish(body).map_err(|_| {
                    wrong("the server could not prove that it knows the password")
                        .remedy("make sure that the address leads to the right server: another one may sit in between")
                })?;
                self.proved = true;
                Ok(())
            }
            _ => Err(wrong("the server asks for an authentication method that is not supported")
                .remedy("let pg_hba.conf ask for scram-sha-256 (md5, password and trust work too)")),
        }
    }

    fn accepted(&self) -> Result<(), Failure> {
        if self.options.require_channel_binding && !(self.bound && self.proved) {
            return Err(wrong("the server did not bind the login to the TLS channel")
                .remedy("let the server ask for scram-sha-256 over TLS, or drop channel_binding=require"));
        }
        if self.scram.is_some() && !self.proved {
            return Err(wrong("the server cut the SCRAM exchange short and proved nothing"));
        }
        Ok(())
    }

    fn start_scram(&mut self, mut body: &[u8], link: &mut Link) -> Result<(), Failure> {
        let (mut plain, mut plus) = (false, false);
        while let Some(mechanism) = take_text(&mut body).filter(|name| !name.is_empty()) {
            plain |= mechanism == SCRAM_SHA_256;
            plus |= mechanism == SCRAM_SHA_256_PLUS;
        }
        let (mechanism, binding) = match self.binding.take() {
            Some(digest) if plus => (SCRAM_SHA_256_PLUS, ChannelBinding::tls_server_end_point(digest)),
            // Says "I could have": a server that could have too notices that someone hid its offer.
            Some(_) if plain => (SCRAM_SHA_256, ChannelBinding::unrequested()),
            None if plain => (SCRAM_SHA_256, ChannelBinding::unsupported()),
            _ => return Err(wrong("the server offers no SCRAM mechanism that is supported")),
        };
        self.bound = mechanism == SCRAM_SHA_256_PLUS;
        let scram = ScramSha256::new(self.password()?.expose().as_bytes(), binding);
        frontend::sasl_initial_response(mechanism, scram.message(), &mut link.output)
            .map_err(|error| protocol(&error))?;
        self.scram = Some(scram);
        Ok(())
    }

    fn password(&self) -> Result<&Secret, Failure> {
        self.password.ok_or_else(|| {
            wrong(format!(
                "the server asks for a password for user \"{}\" and none was given",
                self.options.user
            ))
            .remedy(
                "give one in the migration file as password: { file: ... } or { env: ... }, or in ~/.pgpass",
            )
        })
    }
}

fn zero_byte() -> Failure {
    wrong("the password holds a zero byte")
}

fn wrong(cause: impl Into<String>) -> Failure {
    Failure::new(Class::Configuration, cause)
}

/// 15.18 becomes 150018; what follows the digits, such as `beta1` or a packager's note, is ignored.
fn parse_version(text: &str) -> u32 {
    let number = |text: &str| {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        text[..digits].parse::<u32>().unwrap_or(0)
    };
    let minor = text.split_once('.').map_or(0, |(_, minor)| number(minor));
    number(text) * 10_000 + minor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_counted_as_the_server_counts() {
        for (text, number) in
            [("15.18 (Debian 15.18-1)", 150_018), ("18beta1", 180_000), ("14.0", 140_000), ("", 0)]
        {
            assert_eq!(parse_version(text), number, "{text}");
        }
    }
}
