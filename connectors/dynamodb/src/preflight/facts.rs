//! How a table is, as DynamoDB describes it.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{
    BillingMode, IndexStatus, KeySchemaElement, KeyType, ScalarAttributeType, TableDescription, TableStatus,
    TimeToLiveStatus,
};
use understudy_contract::Failure;

use crate::error::{Error, Fault, fault};
use crate::layout::KeyKind;

/// A key attribute and its type.
pub(super) type KeyPart = (String, KeyKind);

/// A key: of the partition, and where there is one of the sort order.
pub(super) type KeyFacts = (Option<KeyPart>, Option<KeyPart>);

/// A table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) is_active: bool,
    pub(super) key: KeyFacts,
    pub(super) indexes: Vec<IndexFacts>,
    /// Units for reads and writes; `None`: it is paid for by the request.
    pub(super) units: Option<(i64, i64)>,
    /// The attribute of the time to live, where that is on.
    pub(super) ttl: Option<String>,
    /// Whether the time to live could be told.
    pub(super) ttl_is_known: bool,
    pub(super) has_stream: bool,
    /// Other regions that hold the table too.
    pub(super) replicas: Vec<String>,
    /// About how many items it has.
    pub(super) items: i64,
}

/// An index of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IndexFacts {
    pub(super) name: String,
    pub(super) key: KeyFacts,
    pub(super) is_active: bool,
    /// Whether it is part of the table's partitions, which may then hold no more than 10 GB each.
    pub(super) is_local: bool,
    pub(super) is_full: bool,
}

/// What looking at a table comes to.
#[derive(Debug)]
pub(super) enum Found {
    There(Box<Facts>),
    Missing,
    NotAllowed,
}

/// What an error of a call means.
pub(super) fn failed<E, R>(error: &SdkError<E, R>, (operation, table): (&'static str, &str)) -> Error
where
    E: ProvideErrorMetadata,
{
    match fault(error, (operation, table)) {
        Fault::Failed(error) => error,
        Fault::Throttled => Error::Throttled { table: table.to_owned() },
        Fault::Unsure(why) => Error::NoAnswer { why },
        Fault::Unmet | Fault::NoRoom | Fault::Canceled => {
            Error::Invalid { operation, table: table.to_owned(), code: "unexpected".to_owned() }
        }
    }
}

/// Looks at a table.
pub(super) async fn look(client: &Client, table: &str) -> Result<Found, Failure> {
    let described = match Box::pin(client.describe_table().table_name(table).send()).await {
        Ok(described) => described.table,
        Err(error) => match failed(&error, ("DescribeTable", table)) {
            Error::NoTable { .. } => return Ok(Found::Missing),
            Error::NotAllowed { .. } => return Ok(Found::NotAllowed),
            error => return Err(Failure::from(error).while_doing(format!("look at table {table}"))),
        },
    };
    let Some(described) = described else { return Ok(Found::Missing) };
    let mut facts = facts(&described);
    if let Ok(ttl) = Box::pin(client.describe_time_to_live().table_name(table).send()).await {
        let ttl = ttl.time_to_live_description;
        let is_on = |status: Option<&TimeToLiveStatus>| {
            matches!(status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling))
        };
        facts.ttl = ttl.filter(|ttl| is_on(ttl.time_to_live_status())).and_then(|ttl| ttl.attribute_name);
        facts.ttl_is_known = true;
    }
    Ok(Found::There(Box::new(facts)))
}

fn facts(table: &TableDescription) -> Facts {
    let part = |schema: &[KeySchemaElement], of: &KeyType| {
        let name = schema.iter().find(|part| part.key_type() == of)?.attribute_name();
        let defined = table.attribute_definitions().iter().find(|known| known.attribute_name() == name)?;
        let kind = match defined.attribute_type() {
            ScalarAttributeType::N => KeyKind::N,
            ScalarAttributeType::B => KeyKind::B,
            _ => KeyKind::S,
        };
        Some((name.to_owned(), kind))
    };
    let key = |schema: &[KeySchemaElement]| (part(schema, &KeyType::Hash), part(schema, &KeyType::Range));
    let is_full = |projection: Option<&aws_sdk_dynamodb::types::Projection>| {
        projection.and_then(|projection| projection.projection_type())
            == Some(&aws_sdk_dynamodb::types::ProjectionType::All)
    };
    let global = table.global_secondary_indexes().iter().map(|index| IndexFacts {
        name: index.index_name().unwrap_or_default().to_owned(),
        key: key(index.key_schema()),
        is_active: index.index_status() == Some(&IndexStatus::Active),
        is_local: false,
        is_full: is_full(index.projection()),
    });
    let local = table.local_secondary_indexes().iter().map(|index| IndexFacts {
        name: index.index_name().unwrap_or_default().to_owned(),
        key: key(index.key_schema()),
        is_active: true,
        is_local: true,
        is_full: is_full(index.projection()),
    });
    let on_demand = table.billing_mode_summary().and_then(|billing| billing.billing_mode())
        == Some(&BillingMode::PayPerRequest);
    let units = table
        .provisioned_throughput()
        .map(|units| (units.read_capacity_units().unwrap_or(0), units.write_capacity_units().unwrap_or(0)));
    Facts {
        is_active: matches!(table.table_status(), Some(TableStatus::Active | TableStatus::Updating)),
        key: key(table.key_schema()),
        indexes: global.chain(local).collect(),
        units: units.filter(|units| !on_demand && *units != (0, 0)),
        ttl: None,
        ttl_is_known: false,
        has_stream: table.stream_specification().is_some_and(|stream| stream.stream_enabled()),
        replicas: table.replicas().iter().filter_map(|replica| replica.region_name.clone()).collect(),
        items: table.item_count().unwrap_or(0),
    }
}
