//! The migration file exactly as a person writes it: keys, shapes, defaults and their documentation.
//!
//! The JSON schema is generated from these types, and the same schema decides which keys and shapes are accepted.
//! What the values mean is decided in `resolve`.

use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{SerializeMap as _, Serializer};
use serde::{Deserialize as DeriveDeserialize, Serialize};

use super::dynamo::RawDynamo;
use super::gate::RawGate;
use super::probes::RawProbe;
use super::raw_items::RawItems;
use super::through::RawThrough;
use super::verify::{RawCompare, RawVerify};
use super::yaml::Placed;

/// A migration: which tables of blue go where on green, and how the sidecar behaves.
#[derive(Debug, Clone, DeriveDeserialize, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(rename = "Migration")]
pub(super) struct RawSettings {
    /// Version of this file's format.
    #[schemars(range(min = 1, max = 1))]
    pub(super) version: Placed<u64>,
    /// Names the slot, the publication and the bookkeeping: lower-case letters, digits and hyphens.
    #[schemars(regex(pattern = r"^[a-z][a-z0-9-]{0,35}$"))]
    pub(super) name: Placed<String>,
    /// The live database, source of truth.
    pub(super) blue: RawServer,
    /// The shadow store that is to take over.
    pub(super) green: RawGreen,
    /// A log between the two, so that blue need not keep what green has not taken yet. Left out: straight into green.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) through: Option<RawThrough>,
    /// Which tables move, and how.
    #[schemars(length(min = 1))]
    pub(super) tables: Placed<Vec<RawTable>>,
    /// What `mask(...)` in expressions needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) mask: Option<RawMask>,
    /// What to do with rows that green's tables already hold before the first copy.
    #[serde(default)]
    pub(super) existing_rows: RawExistingRows,
    /// Partitioned tables.
    #[serde(default)]
    pub(super) partitions: RawPartitions,
    /// The first copy.
    #[serde(default)]
    pub(super) copy: RawCopy,
    /// Applying changes to green.
    #[serde(default)]
    pub(super) apply: RawApply,
    /// Following blue.
    #[serde(default)]
    pub(super) stream: RawStream,
    /// How much write-ahead log blue may keep for us.
    #[serde(default)]
    pub(super) wal: RawWal,
    /// Continuous comparison of both sides.
    #[serde(default)]
    pub(super) verify: RawVerify,
    /// Pairs of queries whose answers on both sides are compared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) probes: Vec<RawProbe>,
    /// What must hold, and for how long, before the flip.
    #[serde(default)]
    pub(super) gate: RawGate,
    /// The HTTP interface: probes, metrics, status.
    #[serde(default)]
    pub(super) control: RawControl,
}

/// A Postgres server and how to log in.
#[derive(Debug, Clone, DeriveDeserialize, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(rename = "Server")]
pub(super) struct RawServer {
    /// Connection URL without a password: `postgres://user@host:port/database?sslmode=verify-full`.
    pub(super) url: Placed<String>,
    /// Where the password is kept. Without it, libpq's password file is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) password: Option<Placed<RawSecret>>,
}

/// Where a secret is kept; the secret itself never stands in this file. Give exactly one of the two.
#[derive(Debug, Clone, DeriveDeserialize, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, extend("x-secret" = true, "minProperties" = 1, "maxProperties" = 1))]
#[schemars(rename = "Secret")]
pub(super) struct RawSecret {
    /// A file that holds nothing but the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<Placed<String>>,
    /// An environment variable that holds the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) env: Option<Placed<String>>,
}

/// The store that is to take over: exactly one of these.
#[derive(Debug, Clone, DeriveDeserialize, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, extend("minProperties" = 1, "maxProperties" = 1))]
#[schemars(rename = "Green")]
pub(super) struct RawGreen {
    /// Another Postgres.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) postgres: Option<RawGreenPostgres>,
    /// DynamoDB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) dynamodb: Option<RawDynamo>,
}

/// Green as a Postgres server.
#[derive(Debug, Clone, DeriveDeserialize, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(rename = "GreenPostgres")]
pub(super) struct RawGreenPostgres {
    /// Connection URL without a password.
    pub(super) url: Placed<String>,
    /// Where the password is kept. Without it, libpq's password file is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) password: Option<Placed<RawSecret>>,
    /// Standbys of green, by application name, that must have flushed a change before blue may forget it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) standbys: Vec<Placed<String>>,
}

/// One table, or every table that a pattern names.
#[derive(Debug, Clone, DeriveDeserialize, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(rename = "Table")]
pub(super) struct RawTable {
    /// `schema.table` on blue, or a pattern: `schema.*`, `schema.prefix*`. A table named by an entry of its own is
    /// not taken by a pattern.
    pub(super) from: Placed<String>,
    /// `schema.table` on green, or `schema.*` to keep the names in another schema. Left out: as on blue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) to: Option<Placed<String>>,
    /// Which rows of blue exist on green: SQL over blue's columns, true for those. Rows that come to hold it are inserted,
    /// rows that cease to are deleted. Left out: all rows.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = ["deleted_at IS NULL", "country IN ('de', 'at') AND NOT is_test"]))]
    pub(super) filter: Option<Placed<RawSql>>,
    /// Green column: SQL over blue's columns that gives its value. A column (`id`), a constant (`"'eu'"`, `42`, `true`,
    /// `NULL`), any expression, or `"*": "*"` for the rest unchanged. Without `"*"` the columns that are not listed stay
    /// behind. Left out altogether: every column, unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = [
        { "customer_id": "id", "name": "first_name || ' ' || last_name", "*": "*" },
        { "id": "id", "email": "mask(lower(email))", "region": "'eu'", "closed_at": null },
    ]))]
    pub(super) columns: Option<Placed<RawColumns>>,
    /// Blue column: SQL over green's columns that gives it back on a rollback. Only for what cannot be derived: columns that
    /// pass unchanged or renamed come back by themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = [
        { "first_name": "split_part(name, ' ', 1)", "last_name": "split_part(name, ' ', 2)" },
    ]))]
    pub(super) back: Option<Placed<RawColumns>>,
    /// Where the rows lie, where green is DynamoDB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) dynamodb: Option<RawItems>,
    /// Green column: when two values of it count as equal. Left out: when their texts are the same.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("examples" = [{ "price": { "tolerance": 0.01 }, "note": "ignore" }]))]
    pub(super) compare: BTreeMap<String, Placed<RawCompare>>,
}

/// SQL: an expression of Postgres.
#[derive(Debug, Clone, PartialEq, Eq, DeriveDeserialize, Serialize)]
pub(super) struct RawSql(pub(super) String);

/// What `mask(...)` in expressions needs.
#[derive(Debug, Clone, DeriveDeserialize, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(rename = "Mask")]
pub(super) struct RawMask {
    /// Where the secret key is kept, of at least 16 bytes. The same value under the same key always has the same mask, so
    /// keep the key for as long as masks are compared. Make one with `openssl rand -hex 32`.
    pub(super) key: Placed<RawSecret>,
}

/// Columns and their SQL in the order of the file.
#[derive(Debug, Clone)]
pub(super) struct RawColumns(pub(super) Vec<(Placed<String>, Placed<Option<String>>)>);

/// What to do with rows that green's tables already hold before the first copy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, DeriveDeserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ExistingRows")]
pub(super) enum RawExistingRows {
    /// Refuse to start: the tables must be empty.
    #[default]
    Refuse,
    /// Overwrite those with a key of blue and keep the others.
    Adopt,
}

/// Partitioned tables.
#[derive(Debug, Clone, Default, DeriveDeserialize, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
#[schemars(rename = "Partitions")]
pub(super) struct RawPartitions {
    /// What becomes of the rows of a partition that is detached or dropped on blue.
    pub(super) on_detach: RawOnDetach,
}

/// What becomes of the rows of a partition that is detached or dropped on blue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, DeriveDeserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "OnDetach")]
pub(super) enum RawOnDetach {
    /// Stop there, and say why.
    #[default]
    Stop,
    /// Delete them from green.
    Delete,
}

/// The first copy.
#[derive(Debug, Clone, DeriveDeserialize, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
#[schemars(rename = "Copy")]
pub(super) struct RawCopy {
    /// Connections that read from blue at the same time.
    #[schemars(range(min = 1, max = 64))]
    pub(super) readers: Placed<u64>,
    /// Most bytes of rows in one chunk.
    pub(super) chunk_bytes: Placed<Size>,
    /// Most heap blocks in one chunk.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub(super) chunk_blocks: Placed<u64>,
    /// Throttle: most bytes read per second, over all readers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bytes_per_second: Option<Placed<Size>>,
}

/// Applying changes to green.
#[derive(Debug, Clone, DeriveDeserialize, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
#[schemars(rename = "Apply")]
pub(super) struct RawApply {
    /// Connections that write copied rows at the same time.
    #[schemars(range(min = 1, max = 64))]
    pub(super) writers: Placed<u64>,
    /// Most changes in one transaction on green, unless one transaction of blue has more.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(super) batch_changes: Placed<u64>,
    /// Most bytes of changes in one transaction on green, unless one transaction of blue has more.
    pub(super) batch_bytes: Placed<Size>,
    /// How long a stop on request waits for green to take what is under way.
    pub(super) stop_grace: Placed<Span>,
    /// What to do with a change that green refuses.
    pub(super) on_error: RawOnError,
    /// Whether green's triggers and foreign keys are kept from firing on our writes.
    pub(super) replica_role: RawReplicaRole,
}

/// What to do with a change that green refuses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, DeriveDeserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "OnError")]
pub(super) enum RawOnError {
    /// Stop there, and say why.
    #[default]
    Stop,
    /// Set the row aside with its reason, and go on.
    Quarantine,
}

/// Whether `session_replication_role = replica` is used on green.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, DeriveDeserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ReplicaRole")]
pub(super) enum RawReplicaRole {
    /// Where the role is permitted to set it.
    #[default]
    Auto,
    /// Never: triggers fire and foreign keys are checked.
    Never,
}

/// Following blue.
#[derive(Debug, Clone, DeriveDeserialize, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
#[schemars(rename = "Stream")]
pub(super) struct RawStream {
    /// How often a marker is sent through the stream to prove how far it has come.
    pub(super) heartbeat: Placed<Span>,
    /// Silence after which the connection is given up and made anew.
    pub(super) stall_timeout: Placed<Span>,
    /// How often blue is told what it may forget, at the latest.
    pub(super) status_interval: Placed<Span>,
    /// How long creating the slot may wait for transactions on blue that were open before it.
    pub(super) slot_create_timeout: Placed<Span>,
    /// Memory in which blue may gather open transactions before it writes them to its disk and reads them back. Its own
    /// `logical_decoding_work_mem` counts where that is higher.
    pub(super) decoding_memory: Placed<Size>,
}

/// How much write-ahead log blue may keep for us.
#[derive(Debug, Clone, Default, DeriveDeserialize, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
#[schemars(rename = "Wal")]
pub(super) struct RawWal {
    /// Warn when the slot keeps more than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) budget: Option<Placed<Size>>,
    /// Why `max_slot_wal_keep_size` may stay unset on blue. Without a reason `check` asks for the limit, since a dead
    /// sidecar guards nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) waiver: Option<Placed<String>>,
}

/// The HTTP interface.
#[derive(Debug, Clone, DeriveDeserialize, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
#[schemars(rename = "Control")]
pub(super) struct RawControl {
    /// Address and port. Whoever reaches it sees names and figures, never rows.
    pub(super) listen: Placed<String>,
}

/// A duration with its unit: `500ms`, `5s`, `2m`, `1h30m`, `7d`.
#[derive(Debug, Clone, PartialEq, Eq, DeriveDeserialize, Serialize, JsonSchema)]
#[schemars(inline, extend("pattern" = r"^([0-9]+(ms|s|m|h|d))+$|\$\{"))]
pub(super) struct Span(pub(super) String);

/// A number of bytes with its unit: `64MiB`, `1GiB`, `500kB`, `1024B`.
#[derive(Debug, Clone, PartialEq, Eq, DeriveDeserialize, Serialize, JsonSchema)]
#[schemars(inline, extend("pattern" = r"^[0-9]+(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)$|\$\{"))]
pub(super) struct Size(pub(super) String);

fn size(text: &str) -> Placed<Size> {
    Size(text.to_owned()).into()
}

fn span(text: &str) -> Placed<Span> {
    Span(text.to_owned()).into()
}

impl Default for RawCopy {
    fn default() -> RawCopy {
        RawCopy {
            readers: 2.into(),
            chunk_bytes: size("8MiB"),
            chunk_blocks: 1024.into(),
            bytes_per_second: None,
        }
    }
}

impl Default for RawApply {
    fn default() -> RawApply {
        RawApply {
            writers: 2.into(),
            batch_changes: 10_000.into(),
            batch_bytes: size("8MiB"),
            stop_grace: span("30s"),
            on_error: RawOnError::default(),
            replica_role: RawReplicaRole::default(),
        }
    }
}

impl Default for RawStream {
    fn default() -> RawStream {
        RawStream {
            heartbeat: span("1s"),
            stall_timeout: span("60s"),
            status_interval: span("10s"),
            slot_create_timeout: span("60s"),
            decoding_memory: size("256MiB"),
        }
    }
}

impl Default for RawControl {
    fn default() -> RawControl {
        RawControl { listen: "127.0.0.1:7070".to_owned().into() }
    }
}

impl<'de> Deserialize<'de> for RawColumns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RawColumns, D::Error> {
        deserializer.deserialize_map(ColumnsVisitor)
    }
}

struct ColumnsVisitor;

impl<'de> Visitor<'de> for ColumnsVisitor {
    type Value = RawColumns;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping from columns to SQL")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<RawColumns, A::Error> {
        let mut entries = Vec::new();
        while let Some(green) = access.next_key()? {
            entries.push((green, access.next_value()?));
        }
        Ok(RawColumns(entries))
    }
}

impl Serialize for RawColumns {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (green, source) in &self.0 {
            map.serialize_entry(&green.value, &source.value)?;
        }
        map.end()
    }
}

impl JsonSchema for RawSql {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Sql".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "boolean"] })
    }
}

impl JsonSchema for RawColumns {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Columns".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "minProperties": 1,
            "additionalProperties": { "type": ["string", "number", "boolean", "null"] },
        })
    }
}
