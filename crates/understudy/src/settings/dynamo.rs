//! The `green.dynamodb` section of the migration file: how DynamoDB is reached, and which tables it has.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use understudy_dynamodb::estimate::{Billing, Projection};
use understudy_dynamodb::layout::KeyKind;
use understudy_dynamodb::{Batches, CallSettings, ClientSettings, Role, Secret, Transactions};

use super::MigrationName;
use super::raw::{RawReplicaRole, RawSecret, RawSettings, Span};
use super::resolve::{Resolver, count};
use super::text::Refusal;
use super::yaml::Placed;

/// How long the name of a table or an index may be.
const NAME_LEN: std::ops::RangeInclusive<usize> = 3..=255;

/// Green as tables of DynamoDB. Credentials are found as AWS's own tools find them.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "GreenDynamo")]
pub(super) struct RawDynamo {
    /// The region. Left out: as AWS's own tools find it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    region: Option<Placed<String>>,
    /// The address of whatever else speaks DynamoDB's protocol, such as DynamoDB Local: `http://localhost:8000`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    endpoint: Option<Placed<String>>,
    /// The profile in AWS's files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    profile: Option<Placed<String>>,
    /// A role to be assumed with the credentials that are found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    assume_role: Option<RawRole>,
    /// How long one attempt at a call may take.
    #[serde(default = "timeout")]
    timeout: Placed<Span>,
    /// How long a call is tried again before the run starts over.
    #[serde(default = "patience")]
    patience: Placed<Span>,
    /// Most calls to one table that are under way at once. Fewer are while the table throttles.
    #[serde(default = "at_once")]
    #[schemars(range(min = 1, max = 4_096))]
    at_once: Placed<u64>,
    /// The table that remembers what has been done. It is created where it is missing; several migrations may share it.
    #[serde(default = "state_table")]
    state_table: Placed<String>,
    /// How long a deleted row is remembered by a tombstone, so that a write that comes late does not bring it back.
    #[serde(default = "tombstones")]
    tombstones: Placed<Span>,
    /// Whether rows of a first copy are put 25 at a time.
    #[serde(default)]
    first_copy: RawFirstCopy,
    /// How transactions of blue become visible.
    #[serde(default)]
    transactions: RawTransactions,
    /// The tables that items go into.
    #[schemars(length(min = 1))]
    tables: Placed<Vec<RawDynamoTable>>,
}

/// A role to be assumed.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "DynamoRole")]
struct RawRole {
    /// Its ARN.
    arn: Placed<String>,
    /// What its trust policy may ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    external_id: Option<Placed<RawSecret>>,
    /// What the session is called in AWS's records. Left out: `understudy-` and the migration's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session: Option<Placed<String>>,
}

/// How transactions of blue become visible on DynamoDB. `understudy plan` says what readers cannot rely on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "DynamoTransactions")]
enum RawTransactions {
    /// Row by row, many side by side.
    #[default]
    Rows,
    /// All at once as far as DynamoDB's own transactions go, one after the other, for twice the capacity.
    Whole,
}

/// How rows of a first copy are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "DynamoFirstCopy")]
enum RawFirstCopy {
    /// Each by itself, under the condition that what is there is earlier.
    #[default]
    Conditional,
    /// In batches of 25 without a condition, where a route had no rows before and each row is an item. An instance that was
    /// frozen in the middle of a copy, and wakes up later, may then put back rows of that copy as they were.
    Batches,
}

/// A table of DynamoDB.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "DynamoTable")]
struct RawDynamoTable {
    /// Its name.
    name: Placed<String>,
    /// Its partition key.
    partition_key: RawKeyAttribute,
    /// Its sort key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sort_key: Option<RawKeyAttribute>,
    /// The attribute of its TTL, in which tombstones say until when they stay. Left out: they stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ttl: Option<Placed<String>>,
    /// How it is paid for.
    #[serde(default)]
    billing: RawBilling,
    /// Its global secondary indexes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    indexes: Vec<RawIndex>,
}

/// An attribute of a key.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "DynamoKeyAttribute")]
struct RawKeyAttribute {
    /// The attribute.
    name: Placed<String>,
    /// Its type.
    #[serde(default, rename = "type")]
    kind: RawKeyKind,
}

/// The type of a key attribute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[schemars(rename = "DynamoKeyType")]
enum RawKeyKind {
    /// A string.
    #[default]
    S,
    /// A number.
    N,
    /// Bytes.
    B,
}

/// How a table is paid for: `on_demand`, or `{ provisioned: { read: 5, write: 50 } }`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "DynamoBilling")]
enum RawBilling {
    /// By a word.
    Word(RawBillingWord),
    /// By what is reserved.
    Provisioned(RawProvisioned),
}

impl Default for RawBilling {
    fn default() -> RawBilling {
        RawBilling::Word(RawBillingWord::OnDemand)
    }
}

/// How a table is paid for, where that takes no figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "DynamoBillingWord")]
enum RawBillingWord {
    /// By what is used.
    OnDemand,
}

/// Reserved capacity.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "DynamoProvisioned")]
struct RawProvisioned {
    /// Capacity units, of the table and of each of its indexes.
    provisioned: RawUnits,
}

/// Capacity units.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "DynamoUnits")]
struct RawUnits {
    /// Units read in a second.
    #[schemars(range(min = 1, max = 1_000_000))]
    read: u64,
    /// Units written in a second.
    #[schemars(range(min = 1, max = 1_000_000))]
    write: u64,
}

/// A global secondary index.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "DynamoIndex")]
struct RawIndex {
    /// Its name.
    name: Placed<String>,
    /// Its partition key.
    partition_key: RawKeyAttribute,
    /// Its sort key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sort_key: Option<RawKeyAttribute>,
    /// What it holds of an item beside the keys.
    #[serde(default)]
    project: RawProject,
}

/// What an index holds of an item beside the keys: `all`, `keys`, or `{ attributes: [a, b] }`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "DynamoProjection")]
enum RawProject {
    /// By a word.
    Word(RawProjectWord),
    /// By a list.
    Attributes(RawProjected),
}

impl Default for RawProject {
    fn default() -> RawProject {
        RawProject::Word(RawProjectWord::All)
    }
}

/// What an index holds of an item, where that takes no list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "DynamoProjectionWord")]
enum RawProjectWord {
    /// Everything.
    All,
    /// Nothing but the keys of table and index.
    Keys,
}

/// Attributes that an index holds beside the keys.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "DynamoProjected")]
struct RawProjected {
    /// Their names.
    #[schemars(length(min = 1))]
    attributes: Vec<String>,
}

fn span(text: &str) -> Placed<Span> {
    Span(text.to_owned()).into()
}

fn timeout() -> Placed<Span> {
    span("10s")
}

fn patience() -> Placed<Span> {
    span("60s")
}

fn tombstones() -> Placed<Span> {
    span("7d")
}

fn at_once() -> Placed<u64> {
    128.into()
}

fn state_table() -> Placed<String> {
    "understudy".to_owned().into()
}

/// DynamoDB as green.
#[derive(Debug, Clone, PartialEq)]
pub struct DynamoSettings {
    /// How it is reached.
    pub client: ClientSettings,
    /// How calls are made.
    pub calls: CallSettings,
    /// The table that remembers what has been done.
    pub state_table: String,
    /// How long a deleted row is remembered.
    pub tombstones: Duration,
    /// Whether rows of a first copy are put in batches.
    pub batches: Batches,
    /// How transactions of blue become visible.
    pub transactions: Transactions,
    /// The tables that items go into.
    pub tables: Vec<ItemTable>,
}

/// A table of DynamoDB that items go into.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemTable {
    /// Its name.
    pub name: String,
    /// Its partition key.
    pub pk: KeyName,
    /// Its sort key.
    pub sk: Option<KeyName>,
    /// The attribute of its TTL.
    pub ttl: Option<String>,
    /// How it is paid for.
    pub billing: Billing,
    /// Its global secondary indexes.
    pub indexes: Vec<IndexSettings>,
}

/// An attribute of a key and its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyName {
    /// The attribute.
    pub name: String,
    /// Its type.
    pub kind: KeyKind,
}

/// A global secondary index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexSettings {
    /// Its name.
    pub name: String,
    /// Its partition key.
    pub pk: KeyName,
    /// Its sort key.
    pub sk: Option<KeyName>,
    /// What it holds of an item.
    pub project: Projection,
}

impl DynamoSettings {
    /// The table of a name.
    pub fn table(&self, name: &str) -> Option<&ItemTable> {
        self.tables.iter().find(|table| table.name == name)
    }

    /// Where it is, as people read it.
    pub fn place(&self) -> String {
        match (&self.client.endpoint, &self.client.region) {
            (Some(endpoint), _) => format!("DynamoDB at {endpoint}"),
            (None, Some(region)) => format!("DynamoDB in {region}"),
            (None, None) => "DynamoDB in the region of the environment".to_owned(),
        }
    }
}

/// How long a batch without an answer may still be done: longer than any attempt is waited for.
const IN_DOUBT: Duration = Duration::from_secs(60);

impl Resolver<'_> {
    pub(super) fn dynamo(
        &mut self,
        raw: &RawDynamo,
        migration: Option<&MigrationName>,
    ) -> Option<DynamoSettings> {
        let path = |key: &str| format!("green.dynamodb.{key}");
        let region = raw.region.as_ref().and_then(|region| self.filled(region, &path("region")));
        let profile = raw.profile.as_ref().and_then(|profile| self.filled(profile, &path("profile")));
        let endpoint = raw
            .endpoint
            .as_ref()
            .and_then(|endpoint| self.accept(address(&endpoint.value), endpoint.place, &path("endpoint")));
        let role = raw.assume_role.as_ref().map(|role| self.role(role, migration));
        let timeout = self.span(&raw.timeout, &path("timeout"));
        let patience = self.span(&raw.patience, &path("patience"));
        let tombstones = self.span(&raw.tombstones, &path("tombstones"));
        let state_table = self.dynamo_name(&raw.state_table, &path("state_table"));
        let tables = self.dynamo_tables(raw);
        if let (Some(state), Some(at)) = (
            &state_table,
            raw.tables.value.iter().position(|table| table.name.value == raw.state_table.value),
        ) {
            let what = format!("`{state}` is the table that remembers what has been done");
            let place = raw.tables.value[at].name.place;
            self.report(
                place,
                &path(&format!("tables[{at}].name")),
                what,
                "name another table, or another `state_table`",
            );
        }
        Some(DynamoSettings {
            client: ClientSettings {
                region,
                endpoint,
                profile,
                keys: None,
                role: role.flatten(),
                timeout: timeout?,
            },
            calls: CallSettings { patience: patience?, at_once: count(raw.at_once.value) },
            state_table: state_table?,
            tombstones: tombstones?,
            batches: match raw.first_copy {
                RawFirstCopy::Conditional => Batches::Never,
                RawFirstCopy::Batches => Batches::FirstCopy { in_doubt: IN_DOUBT },
            },
            transactions: match raw.transactions {
                RawTransactions::Rows => Transactions::Rows,
                RawTransactions::Whole => Transactions::Whole,
            },
            tables: tables?,
        })
    }

    fn role(&mut self, raw: &RawRole, migration: Option<&MigrationName>) -> Option<Role> {
        let arn = self.filled(&raw.arn, "green.dynamodb.assume_role.arn");
        let id = raw.external_id.as_ref().and_then(|id| {
            self.secret(id, "green.dynamodb.assume_role.external_id", "the external id", None)
        });
        let session = match &raw.session {
            Some(session) => self.filled(session, "green.dynamodb.assume_role.session"),
            None => migration.map(|name| format!("understudy-{name}")),
        };
        Some(Role { arn: arn?, external_id: id.map(|id| Secret::new(id.expose())), session: session? })
    }

    fn dynamo_tables(&mut self, raw: &RawDynamo) -> Option<Vec<ItemTable>> {
        let mut tables: Vec<ItemTable> = Vec::new();
        let mut are_good = true;
        for (at, raw) in raw.tables.value.iter().enumerate() {
            let path = format!("green.dynamodb.tables[{at}]");
            let Some(table) = self.dynamo_table(raw, &path) else {
                are_good = false;
                continue;
            };
            if tables.iter().any(|other| other.name == table.name) {
                let what = format!("table `{}` is listed twice", table.name);
                self.report(raw.name.place, &format!("{path}.name"), what, "keep one of the two");
            }
            tables.push(table);
        }
        are_good.then_some(tables)
    }

    fn dynamo_table(&mut self, raw: &RawDynamoTable, path: &str) -> Option<ItemTable> {
        let name = self.dynamo_name(&raw.name, &format!("{path}.name"));
        let (pk, sk) = self.dynamo_key((&raw.partition_key, raw.sort_key.as_ref()), path)?;
        let ttl = raw.ttl.as_ref().and_then(|ttl| self.attribute(ttl, &format!("{path}.ttl")));
        let mut indexes: Vec<IndexSettings> = Vec::new();
        for (at, raw) in raw.indexes.iter().enumerate() {
            let path = format!("{path}.indexes[{at}]");
            let index = self.dynamo_index(raw, &path)?;
            if indexes.iter().any(|other| other.name == index.name) {
                let what = format!("index `{}` is listed twice", index.name);
                self.report(raw.name.place, &format!("{path}.name"), what, "keep one of the two");
            }
            indexes.push(index);
        }
        if let Some(ttl) =
            ttl.as_ref().filter(|ttl| **ttl == pk.name || sk.as_ref().is_some_and(|sk| sk.name == **ttl))
        {
            let what = format!("`{ttl}` is in the table's key, and cannot say until when an item stays");
            let place = raw.ttl.as_ref().and_then(|ttl| ttl.place);
            self.report(place, &format!("{path}.ttl"), what, "name another attribute");
        }
        let billing = match &raw.billing {
            RawBilling::Word(RawBillingWord::OnDemand) => Billing::OnDemand,
            RawBilling::Provisioned(RawProvisioned { provisioned }) => {
                Billing::Provisioned { read: units(provisioned.read), write: units(provisioned.write) }
            }
        };
        Some(ItemTable { name: name?, pk, sk, ttl, billing, indexes })
    }

    fn dynamo_index(&mut self, raw: &RawIndex, path: &str) -> Option<IndexSettings> {
        let name = self.dynamo_name(&raw.name, &format!("{path}.name"));
        let (pk, sk) = self.dynamo_key((&raw.partition_key, raw.sort_key.as_ref()), path)?;
        let project = match &raw.project {
            RawProject::Word(RawProjectWord::All) => Projection::All,
            RawProject::Word(RawProjectWord::Keys) => Projection::Keys,
            RawProject::Attributes(RawProjected { attributes }) => Projection::Attributes(attributes.clone()),
        };
        Some(IndexSettings { name: name?, pk, sk, project })
    }

    fn dynamo_key(
        &mut self,
        (pk, sk): (&RawKeyAttribute, Option<&RawKeyAttribute>),
        path: &str,
    ) -> Option<(KeyName, Option<KeyName>)> {
        let mut key = |raw: &RawKeyAttribute, role: &str| {
            let name = self.attribute(&raw.name, &format!("{path}.{role}.name"))?;
            let kind = match raw.kind {
                RawKeyKind::S => KeyKind::S,
                RawKeyKind::N => KeyKind::N,
                RawKeyKind::B => KeyKind::B,
            };
            Some(KeyName { name, kind })
        };
        let (pk, sk) = (key(pk, "partition_key")?, sk.map(|sk| (key(sk, "sort_key"), &sk.name)));
        let Some((sk, given)) = sk else { return Some((pk, None)) };
        let sk = sk?;
        if sk.name == pk.name {
            let what = format!("`{}` is the partition key already", sk.name);
            self.report(given.place, &format!("{path}.sort_key.name"), what, "name another attribute");
        }
        Some((pk, Some(sk)))
    }

    /// The name of an attribute of the item itself.
    fn attribute(&mut self, name: &Placed<String>, path: &str) -> Option<String> {
        let parsed = understudy_dynamodb::layout::Path::parse(&name.value)
            .map_err(|error| (error.what.clone(), error.remedy));
        let parsed = self.accept(parsed, name.place, path)?;
        if !parsed.is_root() {
            let what = "must be an attribute of the item itself";
            self.report(name.place, path, what, "write a name without `.` and `[`");
            return None;
        }
        Some(name.value.clone())
    }

    pub(super) fn dynamo_name(&mut self, name: &Placed<String>, path: &str) -> Option<String> {
        self.accept(table_name(&name.value), name.place, path)
    }

    /// What the file says beside `green.dynamodb` that does not go with it.
    pub(super) fn beside_dynamo(&mut self, raw: &RawSettings) {
        let mut refuse = |place, path: &str, what: &str, remedy: &str| self.report(place, path, what, remedy);
        if let Some(probe) = raw.probes.first() {
            let what = "probes ask both sides in SQL, and DynamoDB answers none";
            refuse(probe.name.place, "probes", what, "leave them out");
        }
        if raw.apply.replica_role == RawReplicaRole::Never {
            let what = "is about triggers of Postgres, and green is DynamoDB";
            refuse(None, "apply.replica_role", what, "leave it out");
        }
    }
}

fn units(given: u64) -> u32 {
    u32::try_from(given).unwrap_or(u32::MAX)
}

fn table_name(text: &str) -> Result<String, Refusal> {
    let is_good = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.');
    if NAME_LEN.contains(&text.len()) && text.chars().all(is_good) {
        return Ok(text.to_owned());
    }
    let remedy = "3 to 255 letters, digits, `_`, `-` and `.`";
    Err((format!("`{text}` is not a name that DynamoDB takes"), remedy.to_owned()))
}

fn address(text: &str) -> Result<String, Refusal> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let authority = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
    if authority.is_some_and(|authority| authority.contains('@')) {
        let remedy =
            "take out what stands before the `@`: credentials are found as AWS's own tools find them";
        return Err(("the address holds credentials".to_owned(), remedy.to_owned()));
    }
    if rest.is_some_and(|rest| !rest.trim_matches('/').is_empty() && !rest.contains(char::is_whitespace)) {
        return Ok(text.to_owned());
    }
    let remedy = "write it like http://localhost:8000, or leave it out for AWS itself";
    Err((format!("`{text}` is not an address"), remedy.to_owned()))
}
