//! The sink on a real server: it keeps the contract, and what it writes ends right whatever goes wrong with calls.

mod buried;
mod copies;
mod faults;
mod figures;
mod forgotten;
mod leaves;
mod ledger;
mod owners;
mod reading;
mod refusals;
mod script;
mod suite;
mod swept;
mod tagged;
mod whole;

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use understudy_contract::GreenTable;
use understudy_dynamodb::layout::{
    Beginning, Item, ItemLayout, KeyAttribute, KeyKind, LayoutPlan, NullForm, Part, Path, Placed,
};
use understudy_dynamodb::types::ColumnType;
use understudy_dynamodb::{Batches, DynamoSink, DynamoTable, Leaves, OnError, SinkSettings, Transactions};
use understudy_model::{Key, RouteId, TableName};
use understudy_testkit::suite::{SuiteRows, suite_tables};
use understudy_tests::Dynamo;
use understudy_transform::expr::{Collation, Expression, Modifier, Scope, ScopeColumn, SqlType};

use super::{TIMEOUT, client};
use tagged::Tagged;

/// How rows lie in items.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Each is an item.
    Items,
    /// Each is a part of an item, below a map.
    Parts,
}

/// A store of its own: tables and a state table with a prefix.
struct Store {
    /// Past whatever is in between.
    direct: Client,
    /// Where sinks connect to.
    endpoint: String,
    prefix: String,
    shape: Shape,
    on_error: OnError,
    batches: Batches,
    transactions: Transactions,
    leaves: Arc<dyn Leaves>,
    /// Whether items tell the keys of blue.
    tells_blue: bool,
    /// How long sinks wait for an answer.
    timeout: Duration,
}

impl Store {
    async fn new(dynamo: &Dynamo, test: &str, shape: Shape, on_error: OnError) -> Store {
        // What AWS's clients wait for is large, and a test's stack is not.
        let direct = Box::pin(client(dynamo.endpoint(), TIMEOUT)).await;
        let prefix = Dynamo::prefix(test);
        let (endpoint, batches, timeout) = (dynamo.endpoint(), Batches::Never, TIMEOUT);
        let leaves = Arc::new(Conditions);
        let store = Store {
            direct,
            endpoint,
            prefix,
            shape,
            on_error,
            batches,
            transactions: Transactions::Rows,
            leaves,
            tells_blue: false,
            timeout,
        };
        for name in ["items", "places", "merged"] {
            store.create(name).await;
        }
        store
    }

    async fn create(&self, name: &str) {
        let mut creation =
            self.direct.create_table().table_name(self.table(name)).billing_mode(BillingMode::PayPerRequest);
        for (name, kind) in keys(name) {
            let key = KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
            let attribute =
                AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S);
            creation = creation
                .key_schema(key.expect("a key"))
                .attribute_definitions(attribute.build().expect("an attribute"));
        }
        Box::pin(creation.send()).await.expect("create a table");
    }

    fn table(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn settings(&self) -> SinkSettings {
        SinkSettings {
            state_table: self.table("state"),
            on_error: self.on_error,
            batches: self.batches,
            transactions: self.transactions,
            ..SinkSettings::new("suite")
        }
    }

    /// A new sink, which has claimed nothing yet.
    async fn connect(&self) -> Tagged {
        self.connect_as(self.settings()).await
    }

    async fn connect_as(&self, settings: SinkSettings) -> Tagged {
        let client = Box::pin(client(self.endpoint.clone(), self.timeout)).await;
        let sink = DynamoSink::new(client, settings, self.tables(), Arc::clone(&self.leaves));
        Tagged { sink: sink.expect("a sink"), parts: tags() }
    }

    fn tables(&self) -> Vec<DynamoTable> {
        suite_tables().into_iter().map(|green| self.routed(green)).collect()
    }

    fn routed(&self, green: GreenTable) -> DynamoTable {
        let layout = self.layout(&green);
        let part_column = green.columns.len();
        let mut columns = green.columns.clone();
        columns.push("_part".to_owned());
        let mut source_columns = green.source_columns.clone();
        source_columns.push(None);
        let mut key = green.key.clone();
        key.push(part_column);
        let name = TableName::new("", &layout.plan().table);
        DynamoTable { green: GreenTable { name, columns, source_columns, key, ..green }, layout }
    }

    /// Key columns are those of the item's key, in their order, and all others attributes of their names.
    fn layout(&self, green: &GreenTable) -> ItemLayout {
        let tag = tags().swap_remove(green.route.index());
        let attribute = |at: &usize| {
            let key = KeyAttribute::new(&green.columns[*at], *at, (KeyKind::S, &ColumnType::Text));
            // The routes into one table say who they are in their first column.
            let begins = match green.columns[*at].as_str() {
                "origin" => Beginning { text: tag.clone(), is_all: true },
                _ => Beginning::default(),
            };
            key.expect("a key").beginning(begins)
        };
        let mut keys = green.key.iter().map(attribute);
        let (pk, sk) = (keys.next().expect("a key"), keys.next());
        let others = (0..green.columns.len()).filter(|at| !green.key.contains(at));
        let placed = |column: usize| Placed {
            column,
            path: Path::parse(&green.columns[column]).expect("a path"),
            ty: ColumnType::Text,
            form: ColumnType::Text.default_form(),
            null: NullForm::Omit,
            index: None,
        };
        let name = Beginning { text: tag.clone(), is_all: true };
        let part = Part { name, at: Some("rows".to_owned()), ttl_is_filled: false };
        let plan = LayoutPlan {
            table: self.table(&green.name.name),
            pk,
            sk,
            columns: others.map(placed).collect(),
            part: (self.shape == Shape::Parts).then_some(part),
            part_column: green.columns.len(),
            tag,
            ttl: Some("expires_at".to_owned()),
            blue_key: self.tells_blue.then(|| green.key.clone()),
        };
        ItemLayout::new(plan).expect("a layout")
    }

    /// All items of a table.
    async fn items(&self, table: &str) -> Vec<Item> {
        let (mut items, mut from) = (Vec::new(), None);
        loop {
            let scan = self.direct.scan().table_name(table).consistent_read(true);
            let page = Box::pin(scan.set_exclusive_start_key(from).send()).await.expect("a scan");
            items.extend(page.items.unwrap_or_default());
            match page.last_evaluated_key {
                Some(next) => from = Some(next),
                None => return items,
            }
        }
    }

    /// How many surprises are recorded.
    async fn surprises(&self) -> usize {
        let items = self.items(&self.table("state")).await;
        let of = |item: &&Item| item["of"].as_s().expect("a text").starts_with("surprise#");
        items.iter().filter(of).count()
    }

    /// The rows of a route as its items have them. None of them may be somebody else's.
    async fn rows(&self, route: RouteId) -> SuiteRows {
        let green = suite_tables().swap_remove(route.index());
        let layout = self.layout(&green);
        let items = self.items(&layout.plan().table).await;
        let seen = items.iter().flat_map(|item| layout.rows(item)).filter(|seen| !seen.is_tombstone);
        let row = |seen: understudy_dynamodb::layout::Seen| {
            assert_ne!(seen.is_foreign, Some(true), "a digest does not fit what was written");
            let texts = seen.columns.into_iter().map(|text| text.expect("a text")).collect::<Vec<_>>();
            let key = green.key.iter().map(|at| texts[*at].as_deref().expect("a key").as_bytes());
            let key = Key::from_texts(key);
            let texts = texts.into_iter().take(green.columns.len());
            (key, texts.map(|text| text.map(String::into_bytes)).collect())
        };
        seen.map(row).collect()
    }
}

fn keys(table: &str) -> Vec<(&'static str, KeyType)> {
    let names: &[&'static str] = match table {
        "items" => &["id"],
        "places" => &["id", "region"],
        _ => &["origin", "id"],
    };
    names.iter().copied().zip([KeyType::Hash, KeyType::Range]).collect()
}

/// The routes' tags, which are their parts too.
fn tags() -> Vec<String> {
    suite_tables().into_iter().map(|table| table.source.name).collect()
}

/// Conditions as the expressions of mappings evaluate them; every column of the suite is a text.
struct Conditions;

impl Leaves for Conditions {
    fn holds(&self, route: RouteId, condition: &str, row: &[Option<String>]) -> Option<bool> {
        let table = suite_tables().swap_remove(route.index());
        let column = |name: &Option<String>| ScopeColumn {
            name: name.clone().unwrap_or_default(),
            ty: SqlType::Text,
            modifier: Modifier(-1),
            collation: Some(Collation::bytes()),
        };
        let scope = Scope {
            table: table.source,
            columns: table.source_columns.iter().map(column).collect(),
            types: Default::default(),
            collation: Collation::bytes(),
            mask_key: None,
        };
        let condition = Expression::compile_condition(condition, &scope).ok()?;
        let row = row.iter().take(scope.columns.len()).map(|text| text.as_deref().map(Into::into));
        condition.evaluate(&row.collect::<Vec<_>>()).ok().map(|text| text.as_deref() == Some("t"))
    }
}
