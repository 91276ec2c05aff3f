//! Statements against the bookkeeping that belong to one migration and its present owner.

use std::borrow::Cow;

use understudy_contract::{Class, Cursor, Failure};
use understudy_model::{Checkpoint, HealKey, Key, Position, Refusal, Xid};

use super::target::Target;
use crate::error::server_error;
use crate::ident::quote_literal;
use crate::wire::{Client, Row};

/// The longest name of a migration.
const NAME_BYTES: usize = 36;

/// How many heals are recorded in one statement.
const ROWS_AT_ONCE: usize = 1_000;

/// The migration's name and the token of the instance that owns it.
#[derive(Debug, Clone)]
pub(super) struct Books {
    pub(super) migration: String,
    pub(super) token: String,
}

/// The parts of `application_name` that tell our sessions apart. At most five letters each: with the longest name of a
/// migration and the token the whole fits, and Postgres cuts nothing off that a later instance looks for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Role {
    Apply,
    Chunks,
    Flush,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::Apply => "apply",
            Role::Chunks => "chunk",
            Role::Flush => "flush",
        }
    }
}

/// What green stands at once a transaction of ours is committed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reached<'a> {
    /// Everything before it is applied.
    pub(super) checkpoint: Checkpoint,
    /// Transactions not yet seen visible there; `None` when too many to list, or not known.
    pub(super) unseen: Option<&'a [Xid]>,
    /// Where to go on in a log; `None` leaves what is recorded, which is further back at most.
    pub(super) cursor: Option<&'a Cursor>,
}

/// Why a change is set aside.
#[derive(Debug, Clone, Copy)]
pub(super) enum Why<'a> {
    /// Green refuses it.
    Refused(&'a Failure),
    /// Its values cannot be computed.
    Uncomputed(&'a Refusal),
}

impl Books {
    /// A new token: the connections' own half first, then the process's.
    pub(super) fn new(migration: String, instance: u64) -> Books {
        Books { migration, token: format!("{:016x}{instance:016x}", rand::random::<u64>()) }
    }

    /// Whether an owner is this process, under whatever connections.
    pub(super) fn is_ours(&self, owner: &str) -> bool {
        owner.len() == self.token.len() && owner.get(16..) == self.token.get(16..)
    }

    fn this(&self) -> String {
        format!("name = {} AND owner = {}", quote_literal(&self.migration), quote_literal(&self.token))
    }

    /// Finds one row while this instance owns the migration, and keeps others from taking it until the end of the
    /// transaction.
    pub(super) fn fence(&self) -> String {
        format!("SELECT FROM understudy.migration WHERE {} FOR KEY SHARE", self.this())
    }

    /// The same for the transaction that moves the checkpoint later on.
    pub(super) fn fence_at(&self, checkpoint: Checkpoint) -> String {
        format!(
            "SELECT FROM understudy.migration WHERE {} AND checkpoint = '{checkpoint}' FOR NO KEY UPDATE",
            self.this()
        )
    }

    /// Moves the checkpoint. Affects one row while this instance owns the migration and nobody else has moved it.
    pub(super) fn advance(&self, from: Checkpoint, reached: Reached<'_>) -> String {
        let to = reached.checkpoint;
        let unseen = match reached.unseen {
            Some(xids) => format!("'{}'", ranges(xids)),
            None => "NULL".to_owned(),
        };
        let cursor = match reached.cursor {
            Some(cursor) => format!(", cursor = decode('{:x}', 'hex')", cursor.0),
            None => String::new(),
        };
        format!(
            "UPDATE understudy.migration SET checkpoint = '{to}', unseen = {unseen}{cursor} \
             WHERE {} AND checkpoint = '{from}'",
            self.this()
        )
    }

    /// Names a session so that a later instance can tell it from its own.
    pub(super) fn application_name(&self, role: Role) -> String {
        let token = self.token.get(..8).unwrap_or(&self.token);
        format!("{}{}/{token}", self.application_prefix(), role.name())
    }

    pub(super) fn application_prefix(&self) -> String {
        let mut end = self.migration.len().min(NAME_BYTES);
        while !self.migration.is_char_boundary(end) {
            end -= 1;
        }
        format!("understudy/{}/", &self.migration[..end])
    }

    /// Why a fence found no row.
    pub(super) async fn refused(&self, client: &mut Client) -> Failure {
        let sql = format!(
            "SELECT owner = {} FROM understudy.migration WHERE name = {}",
            quote_literal(&self.token),
            quote_literal(&self.migration)
        );
        match client.query(&sql).await {
            Err(failure) => failure,
            Ok(rows) if rows.first().is_some_and(|row| row.text(0) == Some("t")) => Failure::new(
                Class::Diverged,
                "the checkpoint on green is not the one that this instance recorded",
            )
            .remedy(
                "someone changed the table understudy.migration on green: find out who before running again",
            ),
            Ok(_) => superseded(),
        }
    }

    /// Records a route once, inside the open transaction.
    pub(super) async fn register(&self, client: &mut Client, target: &Target) -> Result<(), Failure> {
        if target.registered {
            return Ok(());
        }
        let (source, name) = (&target.green.source, &target.green.name);
        let number = target.number.to_string();
        let params = [
            &self.migration,
            &number,
            &source.schema,
            &source.name,
            &name.schema,
            &name.name,
            &target.green.fingerprint,
        ];
        let sql = "INSERT INTO understudy.routes \
            (migration, route, source_schema, source_name, target_schema, target_name, fingerprint) \
            VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";
        client.execute_with(sql, &params.map(|param| Some(param.as_str()))).await.map(drop)
    }

    /// Records in which state its source's place in the publication is followed, inside the open transaction.
    pub(super) async fn note_published(&self, client: &mut Client, target: &Target) -> Result<(), Failure> {
        let Some(published) = &target.published else {
            return Ok(());
        };
        let number = target.number.to_string();
        let sql = "UPDATE understudy.routes SET published = $3 WHERE migration = $1 AND route = $2";
        let params = [&self.migration, &number, published];
        client.execute_with(sql, &params.map(|param| Some(param.as_str()))).await.map(drop)
    }

    async fn note(
        &self,
        client: &mut Client,
        sql: &str,
        target: &Target,
        key: &Key,
        at: Position,
    ) -> Result<(), Failure> {
        self.register(client, target).await?;
        let (route, key) = (target.number.to_string(), array(key));
        let (lsn, ordinal) = (at.commit.to_string(), at.ordinal.to_string());
        let params = [Some(self.migration.as_str()), Some(&route), Some(&key), Some(&lsn), Some(&ordinal)];
        client.execute_with(sql, &params).await.map(drop)
    }

    /// Records that rows have to be read again by key.
    pub(super) async fn heal(
        &self,
        client: &mut Client,
        target: &Target,
        rows: &[(HealKey, Position)],
    ) -> Result<(), Failure> {
        self.register(client, target).await?;
        let sql = "INSERT INTO understudy.heals (migration, route, key, blue_key, commit_lsn, ordinal) \
            SELECT $1, $2, key::text[], blue_key::text[], commit_lsn, ordinal \
            FROM unnest($3::text[], $4::text[], $5::pg_lsn[], $6::bigint[]) AS new (key, blue_key, commit_lsn, ordinal) \
            ON CONFLICT DO NOTHING";
        let route = target.number.to_string();
        for some in rows.chunks(ROWS_AT_ONCE) {
            let keys = arrays(some.iter().map(|(key, _)| &key.green));
            let blue = arrays(some.iter().map(|(key, _)| &key.blue));
            let list = |texts: Vec<String>| format!("{{{}}}", texts.join(","));
            let commits = list(some.iter().map(|(_, at)| at.commit.to_string()).collect());
            let ordinals = list(some.iter().map(|(_, at)| at.ordinal.to_string()).collect());
            let params = [&self.migration, &route, &keys, &blue, &commits, &ordinals];
            client.execute_with(sql, &params.map(|param| Some(param.as_str()))).await?;
        }
        Ok(())
    }

    /// Records that a row was not as a completed copy promises.
    pub(super) async fn mismatch(
        &self,
        client: &mut Client,
        target: &Target,
        key: &Key,
        kind: &str,
        at: Position,
    ) -> Result<(), Failure> {
        let sql = format!(
            "INSERT INTO understudy.mismatches (migration, route, key, kind, commit_lsn, ordinal) \
             VALUES ($1, $2, $3, {}, $4, $5)",
            quote_literal(kind)
        );
        self.note(client, &sql, target, key, at).await
    }

    /// Sets a change aside. Without a reason it follows an earlier one of its key.
    pub(super) async fn quarantine(
        &self,
        client: &mut Client,
        target: &Target,
        key: &Key,
        at: Position,
        why: Option<Why<'_>>,
    ) -> Result<(), Failure> {
        let null_or = |text: Option<&str>| text.map_or("NULL".to_owned(), quote_literal);
        let (sqlstate, constraint, reason) = match why {
            None => (None, None, "an earlier change to this row was set aside".to_owned()),
            Some(Why::Refused(failure)) => {
                let error = server_error(failure);
                let constraint = error.and_then(|error| error.constraint.as_deref());
                (error.map(|error| error.sqlstate.as_str()), constraint, failure.to_string())
            }
            Some(Why::Uncomputed(refusal)) => (Some(refusal.sqlstate.as_str()), None, refusal.to_string()),
        };
        let sql = format!(
            "INSERT INTO understudy.quarantine (migration, route, key, commit_lsn, ordinal, sqlstate, constraint_name, reason) \
             VALUES ($1, $2, $3, $4, $5, {}, {}, {})",
            null_or(sqlstate),
            null_or(constraint),
            quote_literal(&reason),
        );
        self.note(client, &sql, target, key, at).await
    }

    /// Settles whatever is set aside for a route, in every lane, since its rows are gone.
    pub(super) async fn settle_route(&self, client: &mut Client, target: &Target) -> Result<(), Failure> {
        let sql = "UPDATE understudy.quarantine AS q SET settled = true \
            FROM understudy.routes AS own, understudy.routes AS r \
            WHERE NOT q.settled AND own.migration = $1 AND own.route = $2 AND (q.migration, q.route) = (r.migration, r.route) \
            AND (r.migration = $1 OR pg_catalog.starts_with(r.migration, $1 || '#')) \
            AND (r.source_schema, r.source_name, r.target_schema, r.target_name) \
              = (own.source_schema, own.source_name, own.target_schema, own.target_name)";
        let route = target.number.to_string();
        client.execute_with(sql, &[Some(self.migration.as_str()), Some(&route)]).await.map(drop)
    }

    /// Settles heals: their rows need not be read again.
    pub(super) async fn settle_heals(
        &self,
        client: &mut Client,
        target: &Target,
        keys: &[HealKey],
    ) -> Result<(), Failure> {
        if keys.is_empty() {
            return Ok(());
        }
        let sql = "DELETE FROM understudy.heals WHERE migration = $1 AND route = $2 AND (key, blue_key) IN \
            (SELECT k.key::text[], k.blue::text[] FROM unnest($3::text[], $4::text[]) AS k (key, blue))";
        let route = target.number.to_string();
        let (green, blue) =
            (arrays(keys.iter().map(|key| &key.green)), arrays(keys.iter().map(|key| &key.blue)));
        let params = [&self.migration, &route, &green, &blue];
        client.execute_with(sql, &params.map(|param| Some(param.as_str()))).await.map(drop)
    }

    /// Settles what was set aside for these keys: their rows are on green as they are on blue.
    pub(super) async fn settle_aside(
        &self,
        client: &mut Client,
        target: &Target,
        keys: &[Key],
    ) -> Result<(), Failure> {
        if keys.is_empty() {
            return Ok(());
        }
        let sql = "UPDATE understudy.quarantine SET settled = true WHERE migration = $1 AND route = $2 \
            AND key IN (SELECT key::text[] FROM unnest($3::text[]) AS key)";
        // As parameters: what the text of a statement holds may end up in the log of green.
        let (route, keys) = (target.number.to_string(), arrays(keys.iter()));
        let params = [&self.migration, &route, &keys];
        client.execute_with(sql, &params.map(|param| Some(param.as_str()))).await.map(drop)
    }
}

/// Ascending ids as `7,9-12`: nearly always few ranges, however many the ids.
fn ranges(xids: &[Xid]) -> String {
    let mut parts: Vec<(u64, u64)> = Vec::new();
    for xid in xids.iter().map(|xid| xid.raw()) {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == xid => *last = xid,
            Some(_) | None => parts.push((xid, xid)),
        }
    }
    let part = |(first, last)| if first == last { format!("{first}") } else { format!("{first}-{last}") };
    parts.into_iter().map(part).collect::<Vec<_>>().join(",")
}

/// The ids of a text that [`Books::advance`] wrote.
pub(crate) fn xids(text: &str) -> Result<Vec<Xid>, Failure> {
    let unreadable = || Failure::new(Class::Diverged, "the saved transaction ids on green are not readable");
    let mut xids = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) =
            (first.parse().map_err(|_| unreadable())?, last.parse().map_err(|_| unreadable())?);
        xids.extend((first..=last).map(Xid::new));
    }
    Ok(xids)
}

/// A cursor from the hexadecimal digits that [`CURSOR_SQL`] gives.
pub(super) fn cursor(digits: &str) -> Result<Cursor, Failure> {
    let unreadable = || Failure::new(Class::Diverged, "the saved place in the log on green is not readable");
    let byte = |at: usize| {
        let pair = digits.get(at..at + 2).ok_or_else(unreadable)?;
        u8::from_str_radix(pair, 16).map_err(|_| unreadable())
    };
    let bytes = (0..digits.len()).step_by(2).map(byte).collect::<Result<Vec<u8>, _>>()?;
    Ok(Cursor(bytes.into()))
}

/// The cursor as text, whatever the session says of such columns.
pub(super) const CURSOR_SQL: &str = "encode(cursor, 'hex')";

/// Another instance has claimed the migration.
pub(super) fn superseded() -> Failure {
    Failure::new(Class::Superseded, "another instance has taken over this migration on green")
        .remedy("leave the other instance running, or stop it and start this one again")
}

/// A key as the text of a `text[]`.
pub(super) fn array(key: &Key) -> String {
    texts(key.texts().map(String::from_utf8_lossy))
}

/// Keys as the text of a `text[]`, each as the text of one.
pub(crate) fn arrays<'a>(keys: impl Iterator<Item = &'a Key>) -> String {
    texts(keys.map(|key| Cow::Owned(array(key))))
}

fn texts<'a>(texts: impl Iterator<Item = Cow<'a, str>>) -> String {
    let quoted = texts.map(|text| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")));
    format!("{{{}}}", quoted.collect::<Vec<_>>().join(","))
}

/// Keys from rows of (route, place in the key from 1, text), ordered so that the parts of a key follow each other.
pub(super) fn keys_from(rows: &[Row]) -> Result<Vec<(i32, Key)>, Failure> {
    let keys = texts_from(rows)?.into_iter();
    keys.map(|(row, texts)| Ok((row.parse(0)?, key_of(&texts)))).collect()
}

/// The same for keys on green that are followed by those on blue; each row says as its last how long the first is.
pub(super) fn heal_keys_from(rows: &[Row]) -> Result<Vec<(i32, HealKey)>, Failure> {
    let unreadable = || Failure::new(Class::Diverged, "the saved keys to be read again are not readable");
    let mut keys = Vec::new();
    for (row, texts) in texts_from(rows)? {
        let (green, blue) = texts.split_at_checked(row.parse(3)?).ok_or_else(unreadable)?;
        keys.push((row.parse(0)?, HealKey { green: key_of(green), blue: key_of(blue) }));
    }
    Ok(keys)
}

fn key_of(texts: &[&str]) -> Key {
    Key::from_texts(texts.iter().map(|text| text.as_bytes()))
}

/// The texts that follow each other, with the first row of each.
fn texts_from(rows: &[Row]) -> Result<Vec<(&Row, Vec<&str>)>, Failure> {
    let mut keys: Vec<(&Row, Vec<&str>)> = Vec::new();
    for row in rows {
        let (place, text) = (row.parse::<usize>(1)?, row.required(2)?);
        match keys.last_mut() {
            Some((_, texts)) if place > 1 => texts.push(text),
            _ => keys.push((row, vec![text])),
        }
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise 4: Postgres cuts names at 63 bytes, and a session whose name is cut is not found when it must be ended.
    #[test]
    fn sessions_of_the_longest_name_are_named_in_full() {
        let books = Books::new("m".repeat(NAME_BYTES), 1);
        for role in [Role::Apply, Role::Chunks, Role::Flush] {
            let name = books.application_name(role);
            assert!(name.len() <= 63, "{name}");
            assert!(name.contains(&books.migration) && name.ends_with(&books.token[..8]), "{name}");
        }
    }

    #[test]
    fn transaction_ids_round_trip_as_ranges() {
        for (ids, text) in [(vec![], ""), (vec![7], "7"), (vec![7, 9, 10, 11, 20, 21], "7,9-11,20-21")] {
            let ids = ids.into_iter().map(Xid::new).collect::<Vec<_>>();
            assert_eq!(ranges(&ids), text);
            assert_eq!(xids(text).unwrap(), ids);
        }
        assert!(xids("7,x").is_err());
    }
}
