//! From what a person wrote to settings that cannot be wrong; collects every problem on the way.

use std::net::SocketAddr;
use std::time::Duration;

use understudy_postgres::wire::{ConnectOptions, Secret};
use understudy_transform::Requested;

use super::problem::{Place, Problem};
use super::raw::{
    RawApply, RawColumns, RawCopy, RawExistingRows, RawOnDetach, RawOnError, RawReplicaRole, RawSecret,
    RawSettings, RawStream, RawTable, Size, Span,
};
use super::text::{self, Refusal, TablePattern, Target};
use super::yaml::Placed;
use super::{
    ApplySettings, ControlSettings, CopySettings, ExistingRows, GreenSettings, MigrationName, OnDetach,
    OnError, ReplicaRole, Secrets, Settings, StreamSettings, Surroundings, TableSettings, WalSettings,
};

/// Turns the raw form into settings.
pub(super) fn resolve(raw: RawSettings, surroundings: &Surroundings) -> Result<Settings, Vec<Problem>> {
    let mut to = Resolver { surroundings, problems: Vec::new() };
    let name = to.name(&raw.name);
    let blue = to.server(&raw.blue.url, raw.blue.password.as_ref(), "blue");
    let green = &raw.green.postgres;
    let green_server = to.server(&green.url, green.password.as_ref(), "green.postgres");
    let tables = to.tables(&raw.tables.value);
    let copy = to.copy(&raw.copy);
    let apply = to.apply(&raw.apply);
    let stream = to.stream(&raw.stream);
    let budget = raw.wal.budget.as_ref().and_then(|size| to.size(size, "wal.budget"));
    let waiver = raw.wal.waiver.as_ref().and_then(|reason| to.filled(reason, "wal.waiver"));
    let listen = to.listen(&raw.control.listen);
    let standby =
        |(at, name): (usize, &Placed<String>)| to.filled(name, &format!("green.postgres.standbys[{at}]"));
    let standbys = green.standbys.iter().enumerate().filter_map(standby).collect();
    let existing_rows = match raw.existing_rows {
        RawExistingRows::Refuse => ExistingRows::Refuse,
        RawExistingRows::Adopt => ExistingRows::Adopt,
    };
    let on_detach = match raw.partitions.on_detach {
        RawOnDetach::Stop => OnDetach::Stop,
        RawOnDetach::Delete => OnDetach::Delete,
    };
    match (name, blue, green_server, copy, apply, stream, listen) {
        (Some(name), Some(blue), Some(green), Some(copy), Some(apply), Some(stream), Some(listen))
            if to.problems.is_empty() =>
        {
            let (green, control) = (GreenSettings::Postgres(green), ControlSettings { listen });
            let wal = WalSettings { budget, waiver };
            Ok(Settings {
                name,
                blue,
                green,
                tables,
                existing_rows,
                on_detach,
                copy,
                apply,
                stream,
                wal,
                standbys,
                control,
            })
        }
        _ => Err(to.problems),
    }
}

struct Resolver<'a> {
    surroundings: &'a Surroundings,
    problems: Vec<Problem>,
}

impl Resolver<'_> {
    fn report(
        &mut self,
        place: Option<Place>,
        path: &str,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.problems.push(Problem::at(place, path, what).remedy(remedy));
    }

    /// The value, or `None` and a problem at its place.
    fn accept<T>(&mut self, result: Result<T, Refusal>, place: Option<Place>, path: &str) -> Option<T> {
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

    fn server(
        &mut self,
        url: &Placed<String>,
        password: Option<&Placed<RawSecret>>,
        path: &str,
    ) -> Option<ConnectOptions> {
        let secret = password.and_then(|secret| self.secret(secret, &format!("{path}.password")));
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
    fn secret(&mut self, secret: &Placed<RawSecret>, path: &str) -> Option<Secret> {
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
        match found.map(|text| text.trim_end_matches(['\r', '\n']).to_owned()) {
            Ok(text) if text.is_empty() => {
                self.report(place, path, format!("the {source} is empty"), "put the password there");
                None
            }
            Ok(text) => Some(Secret::new(text)),
            Err(what) => {
                self.report(place, path, what, "put the password there, or name another place");
                None
            }
        }
    }

    fn tables(&mut self, raw: &[RawTable]) -> Vec<TableSettings> {
        let mut tables: Vec<TableSettings> = Vec::new();
        for (at, entry) in raw.iter().enumerate() {
            let path = format!("tables[{at}]");
            let Some(table) = self.table(entry, &path) else {
                continue;
            };
            let first = tables.iter().find(|other| other.from == table.from && other.to == table.to);
            if let Some(first) = first {
                let line = first.place.map_or_else(String::new, |place| format!(" in line {}", place.line));
                let what = format!("`{}` already goes to the same place{line}", table.from);
                self.report(table.place, &path, what, "keep one of the two");
            }
            tables.push(table);
        }
        tables
    }

    fn table(&mut self, raw: &RawTable, path: &str) -> Option<TableSettings> {
        let from_path = format!("{path}.from");
        let from = self.accept(text::table_pattern(&raw.from.value), raw.from.place, &from_path);
        let to_path = format!("{path}.to");
        let to =
            raw.to.as_ref().map(|to| (self.accept(text::target(&to.value), to.place, &to_path), to.place));
        let columns =
            raw.columns.as_ref().map(|columns| self.columns(&columns.value, &format!("{path}.columns")));
        let from = from?;
        if let (TablePattern::Prefix { schema, .. }, Some((Some(Target::Table(target)), place))) =
            (&from, &to)
        {
            let what = format!("the pattern `{from}` takes several tables, and `{target}` is one");
            let remedy = format!("write `{schema}.*` or another schema, or list the tables one by one");
            self.report(*place, &to_path, what, remedy);
        }
        let to = to.map(|(target, _)| target);
        // A target that could not be read has been reported: the entry is kept for the other checks.
        Some(TableSettings { from, to: to.flatten(), columns: columns.flatten(), place: raw.from.place })
    }

    fn columns(&mut self, raw: &RawColumns, path: &str) -> Option<Vec<Requested>> {
        let mut columns = Vec::with_capacity(raw.0.len());
        let problems_before = self.problems.len();
        for (green, source) in &raw.0 {
            let path = format!("{path}.{}", green.value);
            if source.blank {
                let remedy =
                    "write a column of blue, or NULL for an empty value; to leave it out, leave out the line";
                self.report(green.place, &path, "has no source", remedy);
                continue;
            }
            let text = source.value.as_deref().unwrap_or("NULL");
            match (green.value.as_str(), text) {
                ("*", "*") => columns.push(Requested::Rest),
                ("*", _) | (_, "*") => self.report(
                    source.place,
                    &path,
                    "`*` stands for the rest of the columns on both sides",
                    "write \"*\": \"*\"",
                ),
                (name, text) => {
                    let from = self.accept(text::column_source(text), source.place, &path);
                    columns.extend(from.map(|from| Requested::Column(name.to_owned(), from)));
                }
            }
        }
        (self.problems.len() == problems_before).then_some(columns)
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

    fn span(&mut self, span: &Placed<Span>, path: &str) -> Option<Duration> {
        self.accept(text::duration(&span.value.0), span.place, path)
    }

    fn filled(&mut self, text: &Placed<String>, path: &str) -> Option<String> {
        if text.value.trim().is_empty() {
            self.report(text.place, path, "is empty", "give a value, or leave the key out");
            return None;
        }
        Some(text.value.clone())
    }
}

/// A size in the machine's own width; what does not fit is no limit at all.
fn count(value: u64) -> usize {
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
