//! From what a person wrote to settings that cannot be wrong; collects every problem on the way.

use std::net::SocketAddr;
use std::time::Duration;

use understudy_postgres::wire::{ConnectOptions, Secret};

use super::problem::{Place, Problem};
use super::raw::{
    RawApply, RawCopy, RawExistingRows, RawOnDetach, RawOnError, RawReplicaRole, RawSecret, RawSettings,
    RawStream, Size, Span,
};
use super::text::{self, Refusal};
use super::yaml::Placed;
use super::{
    ApplySettings, ControlSettings, CopySettings, ExistingRows, GreenSettings, MigrationName, OnDetach,
    OnError, ReplicaRole, Secrets, Settings, StreamSettings, Surroundings, WalSettings,
};

/// Turns the raw form of a file's text into settings.
pub(super) fn resolve(
    raw: RawSettings,
    text: &str,
    surroundings: &Surroundings,
) -> Result<Settings, Vec<Problem>> {
    let lines = text.lines().collect::<Vec<_>>();
    let mut to = Resolver { surroundings, lines: &lines, problems: Vec::new() };
    let name = to.name(&raw.name);
    let blue = to.server(&raw.blue.url, raw.blue.password.as_ref(), "blue");
    let into_items = raw.green.dynamodb.is_some();
    let through = raw.through.as_ref().zip(name.as_ref());
    let through = through.map(|(through, name)| to.through(through, name, into_items));
    let green = to.green(&raw, name.as_ref());
    let mask_key = raw.mask.as_ref().and_then(|mask| to.mask_key(mask));
    let tables = to.tables(&raw.tables.value, (raw.mask.is_some(), green.as_ref()));
    let copy = to.copy(&raw.copy);
    let apply = to.apply(&raw.apply);
    let stream = to.stream(&raw.stream);
    let budget = raw.wal.budget.as_ref().and_then(|size| to.size(size, "wal.budget"));
    let waiver = raw.wal.waiver.as_ref().and_then(|reason| to.filled(reason, "wal.waiver"));
    let listen = to.listen(&raw.control.listen);
    let verify = to.verify(&raw.verify);
    let gate = to.gate(&raw.gate);
    let probes = to.probes(&raw.probes);
    let standbys = to.standbys(&raw);
    let ready = (copy, apply, stream, verify, gate);
    match (name, blue, green, ready, listen) {
        (
            Some(name),
            Some(blue),
            Some(green),
            (Some(copy), Some(apply), Some(stream), Some(verify), Some(gate)),
            Some(listen),
        ) if to.problems.is_empty() => {
            let control = ControlSettings { listen };
            let wal = WalSettings { budget, waiver };
            Ok(Settings {
                file: String::new(),
                name,
                blue,
                green,
                through: through.flatten(),
                tables,
                mask_key,
                existing_rows: raw.existing_rows.into(),
                on_detach: raw.partitions.on_detach.into(),
                copy,
                apply,
                stream,
                wal,
                standbys,
                verify,
                probes,
                gate,
                control,
                project: None,
            })
        }
        _ => Err(to.problems),
    }
}

impl From<RawExistingRows> for ExistingRows {
    fn from(raw: RawExistingRows) -> ExistingRows {
        match raw {
            RawExistingRows::Refuse => ExistingRows::Refuse,
            RawExistingRows::Adopt => ExistingRows::Adopt,
        }
    }
}

impl From<RawOnDetach> for OnDetach {
    fn from(raw: RawOnDetach) -> OnDetach {
        match raw {
            RawOnDetach::Stop => OnDetach::Stop,
            RawOnDetach::Delete => OnDetach::Delete,
        }
    }
}

pub(super) struct Resolver<'a> {
    pub(super) surroundings: &'a Surroundings,
    /// The lines of the file.
    pub(super) lines: &'a [&'a str],
    pub(super) problems: Vec<Problem>,
}

impl Resolver<'_> {
    pub(super) fn report(
        &mut self,
        place: Option<Place>,
        path: &str,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.problems.push(Problem::at(place, path, what).remedy(remedy));
    }

    /// The value, or `None` and a problem at its place.
    pub(super) fn accept<T>(
        &mut self,
        result: Result<T, Refusal>,
        place: Option<Place>,
        path: &str,
    ) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err((what, remedy)) => {
                self.report(place, path, what, remedy);
                None
            }
        }
    }

    fn name(&mut self, name: &Placed<String>) -> Option<MigrationName> {
        let parsed = MigrationName::parse(&name.value);
        if parsed.is_none() {
            let what = format!("`{}` is not a migration name", name.value);
            let remedy = format!(
                "lower-case letters, digits and hyphens, a letter first, at most {} in all",
                MigrationName::LEN_MAX
            );
            self.report(name.place, "name", what, remedy);
        }
        parsed
    }

    /// The store that is to take over. What does not go with it is refused.
    fn green(&mut self, raw: &RawSettings, name: Option<&MigrationName>) -> Option<GreenSettings> {
        match (&raw.green.postgres, &raw.green.dynamodb) {
            (Some(green), None) => {
                let server = self.server(&green.url, green.password.as_ref(), "green.postgres");
                server.map(GreenSettings::Postgres)
            }
            (None, Some(green)) => {
                self.beside_dynamo(raw);
                self.dynamo(green, name).map(|green| GreenSettings::Dynamo(Box::new(green)))
            }
            // Neither or both: the shape has been reported.
            _ => None,
        }
    }

    fn standbys(&mut self, raw: &RawSettings) -> Vec<String> {
        let standbys = raw.green.postgres.iter().flat_map(|green| &green.standbys).enumerate();
        standbys
            .filter_map(|(at, name)| self.filled(name, &format!("green.postgres.standbys[{at}]")))
            .collect()
    }

    fn server(
        &mut self,
        url: &Placed<String>,
        password: Option<&Placed<RawSecret>>,
        path: &str,
    ) -> Option<ConnectOptions> {
        let secret = password
            .and_then(|secret| self.secret(secret, &format!("{path}.password"), "the password", None));
        let path = format!("{path}.url");
        if holds_password(&url.value) {
            self.report(
                url.place,
                &path,
                "the URL holds a password",
                "take it out, and write where it is kept: password: { file: /run/secrets/name } or { env: NAME }",
            );
            return None;
        }
        match ConnectOptions::parse(&url.value) {
            Ok(options) => Some(match secret {
                Some(secret) => options.with_password(secret),
                None => options,
            }),
            Err(failure) => {
                let remedy = failure.remedy_text().unwrap_or("write postgres://user@host:port/database");
                self.problems.push(Problem::at(url.place, path, failure.to_string()).remedy(remedy));
                None
            }
        }
    }

    /// The secret; `None` when it is not looked up, or with a problem when it is not there.
    pub(super) fn secret(
        &mut self,
        secret: &Placed<RawSecret>,
        path: &str,
        name: &str,
        more: Option<&str>,
    ) -> Option<Secret> {
        if self.surroundings.secrets == Secrets::LeaveOut {
            return None;
        }
        let (found, place, source) = match (&secret.value.file, &secret.value.env) {
            (Some(file), None) => {
                let text = std::fs::read_to_string(self.surroundings.folder.join(&file.value));
                let text =
                    text.map_err(|error| format!("secret file `{}` cannot be read: {error}", file.value));
                (text, file.place, format!("file `{}`", file.value))
            }
            (None, Some(env)) => {
                let text = self.surroundings.variables.get(&env.value).cloned();
                let text = text.ok_or_else(|| format!("the environment variable `{}` is not set", env.value));
                (text, env.place, format!("environment variable `{}`", env.value))
            }
            // Neither or both: the shape has been reported.
            _ => return None,
        };
        let more = more.map_or_else(String::new, |more| format!("; {more}"));
        match found.map(|text| text.trim_end_matches(['\r', '\n']).to_owned()) {
            Ok(text) if text.is_empty() => {
                self.report(place, path, format!("the {source} is empty"), format!("put {name} there{more}"));
                None
            }
            Ok(text) => Some(Secret::new(text)),
            Err(what) => {
                self.report(place, path, what, format!("put {name} there, or name another place{more}"));
                None
            }
        }
    }

    fn copy(&mut self, raw: &RawCopy) -> Option<CopySettings> {
        let chunk_bytes = self.size(&raw.chunk_bytes, "copy.chunk_bytes");
        let limit = raw.bytes_per_second.as_ref().map(|size| self.size(size, "copy.bytes_per_second"));
        Some(CopySettings {
            readers: count(raw.readers.value),
            chunk_bytes: count(chunk_bytes?),
            chunk_blocks: u32::try_from(raw.chunk_blocks.value).unwrap_or(u32::MAX),
            bytes_per_second: limit.flatten(),
        })
    }

    fn apply(&mut self, raw: &RawApply) -> Option<ApplySettings> {
        Some(ApplySettings {
            writers: count(raw.writers.value),
            batch_changes: count(raw.batch_changes.value),
            batch_bytes: count(self.size(&raw.batch_bytes, "apply.batch_bytes")?),
            stop_grace: self.span(&raw.stop_grace, "apply.stop_grace")?,
            on_error: match raw.on_error {
                RawOnError::Stop => OnError::Stop,
                RawOnError::Quarantine => OnError::Quarantine,
            },
            replica_role: match raw.replica_role {
                RawReplicaRole::Auto => ReplicaRole::Auto,
                RawReplicaRole::Never => ReplicaRole::Never,
            },
        })
    }

    fn stream(&mut self, raw: &RawStream) -> Option<StreamSettings> {
        let heartbeat = self.span(&raw.heartbeat, "stream.heartbeat");
        let stall_timeout = self.span(&raw.stall_timeout, "stream.stall_timeout");
        let status_interval = self.span(&raw.status_interval, "stream.status_interval");
        let slot_create_timeout = self.span(&raw.slot_create_timeout, "stream.slot_create_timeout");
        let decoding_memory = self.size(&raw.decoding_memory, "stream.decoding_memory");
        if let (Some(heartbeat), Some(stall)) = (heartbeat, stall_timeout)
            && heartbeat >= stall
        {
            let place = raw.stall_timeout.place.or(raw.heartbeat.place);
            let what = "must be longer than `stream.heartbeat`, or every pause looks like a stall";
            self.report(place, "stream.stall_timeout", what, "several times the heartbeat is usual");
        }
        Some(StreamSettings {
            heartbeat: heartbeat?,
            stall_timeout: stall_timeout?,
            status_interval: status_interval?,
            slot_create_timeout: slot_create_timeout?,
            decoding_memory: decoding_memory?,
        })
    }

    fn listen(&mut self, listen: &Placed<String>) -> Option<SocketAddr> {
        let refusal = |_| {
            let remedy =
                "write an IP address and a port: 127.0.0.1:7070, or 0.0.0.0:7070 for every interface";
            (format!("`{}` is not an address to listen on", listen.value), remedy.to_owned())
        };
        self.accept(listen.value.parse().map_err(refusal), listen.place, "control.listen")
    }

    fn size(&mut self, size: &Placed<Size>, path: &str) -> Option<u64> {
        self.accept(text::size(&size.value.0), size.place, path)
    }

    pub(super) fn span(&mut self, span: &Placed<Span>, path: &str) -> Option<Duration> {
        self.accept(text::duration(&span.value.0), span.place, path)
    }

    pub(super) fn filled(&mut self, text: &Placed<String>, path: &str) -> Option<String> {
        if text.value.trim().is_empty() {
            self.report(text.place, path, "is empty", "give a value, or leave the key out");
            return None;
        }
        Some(text.value.clone())
    }
}

/// A size in the machine's own width; what does not fit is no limit at all.
pub(super) fn count(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// Whether a connection URL carries a password, in the user part or as a parameter.
fn holds_password(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = address.split('/').next().unwrap_or("");
    let in_user = authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'));
    in_user || query.split('&').any(|pair| pair.starts_with("password="))
}
