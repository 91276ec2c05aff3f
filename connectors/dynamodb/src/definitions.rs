//! Tables as a migration asks for them: made where they are missing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::ProvideErrorMetadata as _;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType,
    Projection as AwsProjection, ProjectionType, ProvisionedThroughput, ScalarAttributeType,
    TableDescription, TableStatus, TimeToLiveSpecification,
};
use understudy_contract::Failure;

use crate::error::{Error, Fault, fault};
use crate::estimate::{Billing, Projection};
use crate::layout::KeyKind;

/// How long a table that we create may take until it can be used.
const CREATION: Duration = Duration::from_secs(300);

/// How often it is asked after.
const CREATION_POLL: Duration = Duration::from_millis(500);

/// The key of a table or an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableKey {
    /// The partition key.
    pub pk: (String, KeyKind),
    /// The sort key.
    pub sk: Option<(String, KeyKind)>,
}

/// A table as a migration asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableDefinition {
    /// Its name.
    pub name: String,
    /// Its key.
    pub key: TableKey,
    /// Its global secondary indexes: name, key, and what each holds.
    pub indexes: Vec<(String, TableKey, Projection)>,
    /// The attribute of its TTL.
    pub ttl: Option<String>,
    /// How it is paid for.
    pub billing: Billing,
}

impl TableKey {
    fn parts(&self) -> impl Iterator<Item = (&(String, KeyKind), KeyType)> {
        let sk = self.sk.iter().map(|sk| (sk, KeyType::Range));
        std::iter::once((&self.pk, KeyType::Hash)).chain(sk)
    }

    fn schema(&self) -> Vec<KeySchemaElement> {
        let one = |((name, _), role): (&(String, KeyKind), KeyType)| {
            KeySchemaElement::builder().attribute_name(name).key_type(role).build().ok()
        };
        self.parts().filter_map(one).collect()
    }
}

const fn scalar(kind: KeyKind) -> ScalarAttributeType {
    match kind {
        KeyKind::S => ScalarAttributeType::S,
        KeyKind::N => ScalarAttributeType::N,
        KeyKind::B => ScalarAttributeType::B,
    }
}

impl TableDefinition {
    /// Whether it is there, however it is.
    pub async fn is_there(&self, client: &Client) -> Result<bool, Failure> {
        Ok(self.look(client).await?.is_some())
    }

    async fn look(&self, client: &Client) -> Result<Option<TableDescription>, Error> {
        let found = Box::pin(client.describe_table().table_name(&self.name).send()).await;
        match found {
            Ok(found) => Ok(found.table),
            Err(error) if error.code() == Some("ResourceNotFoundException") => Ok(None),
            Err(error) => Err(self.failed(fault(&error, ("DescribeTable", &self.name)))),
        }
    }

    /// Creates it, and waits until it can be used. Others may be doing the same.
    pub async fn create(&self, client: &Client) -> Result<(), Failure> {
        Ok(self.make(client).await?)
    }

    pub(crate) async fn make(&self, client: &Client) -> Result<(), Error> {
        let mut creation =
            client.create_table().table_name(&self.name).set_key_schema(Some(self.key.schema()));
        let attributes = std::iter::once(&self.key).chain(self.indexes.iter().map(|(_, key, _)| key));
        let attributes = attributes.flat_map(TableKey::parts).map(|(part, _)| part.clone());
        for (name, kind) in attributes.collect::<BTreeMap<_, _>>() {
            let attribute = AttributeDefinition::builder().attribute_name(name).attribute_type(scalar(kind));
            creation = creation.attribute_definitions(attribute.build().map_err(|_| self.unsent())?);
        }
        creation = match self.throughput() {
            Some(units) => creation.billing_mode(BillingMode::Provisioned).provisioned_throughput(units),
            None => creation.billing_mode(BillingMode::PayPerRequest),
        };
        for index in &self.indexes {
            creation = creation.global_secondary_indexes(self.index(index)?);
        }
        if let Err(error) = Box::pin(creation.send()).await
            && error.code() != Some("ResourceInUseException")
        {
            return Err(self.failed(fault(&error, ("CreateTable", &self.name))));
        }
        self.await_use(client).await?;
        let Some(ttl) = &self.ttl else { return Ok(()) };
        let ttl = TimeToLiveSpecification::builder().attribute_name(ttl).enabled(true);
        let ttl = ttl.build().map_err(|_| self.unsent())?;
        let set = client.update_time_to_live().table_name(&self.name).time_to_live_specification(ttl);
        let set = Box::pin(set.send()).await;
        set.map(drop).map_err(|error| self.failed(fault(&error, ("UpdateTimeToLive", &self.name))))
    }

    fn index(
        &self,
        (name, key, project): &(String, TableKey, Projection),
    ) -> Result<GlobalSecondaryIndex, Error> {
        let projection = AwsProjection::builder();
        let projection = match project {
            Projection::All => projection.projection_type(ProjectionType::All),
            Projection::Keys => projection.projection_type(ProjectionType::KeysOnly),
            Projection::Attributes(names) => projection
                .projection_type(ProjectionType::Include)
                .set_non_key_attributes(Some(names.clone())),
        };
        let index = GlobalSecondaryIndex::builder()
            .index_name(name)
            .set_key_schema(Some(key.schema()))
            .projection(projection.build())
            .set_provisioned_throughput(self.throughput());
        index.build().map_err(|_| self.unsent())
    }

    fn throughput(&self) -> Option<ProvisionedThroughput> {
        let Billing::Provisioned { read, write } = self.billing else { return None };
        let units = ProvisionedThroughput::builder()
            .read_capacity_units(i64::from(read))
            .write_capacity_units(i64::from(write));
        units.build().ok()
    }

    /// A question that is not answered is asked again.
    async fn await_use(&self, client: &Client) -> Result<(), Error> {
        let until = Instant::now() + CREATION;
        while Instant::now() < until {
            match self.look(client).await {
                Ok(Some(there)) if there.table_status == Some(TableStatus::Active) => return Ok(()),
                Ok(_) | Err(Error::Throttled { .. } | Error::NoAnswer { .. }) => {}
                Err(other) => return Err(other),
            }
            tokio::time::sleep(CREATION_POLL).await;
        }
        Err(Error::NoAnswer { why: format!("table {} cannot be used yet", self.name) })
    }

    fn failed(&self, fault: Fault) -> Error {
        match fault {
            Fault::Failed(error) => error,
            Fault::Throttled => Error::Throttled { table: self.name.clone() },
            Fault::Unsure(why) => Error::NoAnswer { why },
            Fault::Unmet | Fault::NoRoom | Fault::Canceled => self.unsent(),
        }
    }

    fn unsent(&self) -> Error {
        let code = "not sent".to_owned();
        Error::Invalid { operation: "CreateTable", table: self.name.clone(), code }
    }
}
