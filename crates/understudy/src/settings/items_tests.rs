//! Entries for DynamoDB: what is read of a good file, and what is wrong by the message that the user reads.

use understudy_dynamodb::estimate::{Billing, Projection};
use understudy_dynamodb::layout::{KeyKind, NullForm};
use understudy_dynamodb::types::Form;
use understudy_transform::{ColumnSource, Requested};

use super::tests::{read, refused};
use crate::project::{Script, Version};

const HEAD: &str = "version: 1
name: shop-v2
blue: { url: postgres://understudy@blue/shop }
green:
  dynamodb:
    region: eu-central-1
    tables: [{ name: shop, partition_key: { name: pk }, sort_key: { name: sk, type: N }, ttl: gone }]
";

fn with(rest: &str) -> String {
    format!("{HEAD}{rest}")
}

fn entry(items: &str) -> String {
    with(&format!("tables:\n  - from: public.users\n    dynamodb: {items}\n"))
}

/// A choice that is read as another one puts rows elsewhere, or stores them otherwise.
#[test]
fn every_key_of_items_is_read() {
    let settings = read(&entry(
        "{ table: shop, key: { pk: 'USER#{id}', sk: { sql: id + 1 } }, item: user, part: { name: head }, nulls: keep, \
         attributes: { name: \"first || last\", address.city: city, level: 42, born: { sql: born, form: epoch, nulls: omit }, \
         '*': '*' } }",
    ))
    .unwrap();
    let dynamo = settings.green_dynamo().unwrap();
    assert_eq!((dynamo.state_table.as_str(), dynamo.calls.at_once), ("understudy", 128));
    assert_eq!(dynamo.client.region.as_deref(), Some("eu-central-1"));
    let table = &dynamo.tables[0];
    assert_eq!((table.sk.as_ref().unwrap().kind, table.billing), (KeyKind::N, Billing::OnDemand));
    let entry = &settings.tables[0];
    let items = entry.items.as_ref().unwrap();
    assert_eq!(
        (items.table.as_str(), items.item.as_deref(), items.nulls),
        ("shop", Some("user"), NullForm::Null)
    );
    assert_eq!(items.pk.requested(), Requested::Sql("pk".into(), "'USER#' || (\"id\")::text".into()));
    assert_eq!(items.sk.as_ref().unwrap().requested(), Requested::Sql("sk".into(), "id + 1".into()));
    assert_eq!(items.forms["born"], (Some(Form::Epoch), Some(NullForm::Omit)));
    let sql = |name: &str, sql: &str| Requested::Sql(name.to_owned(), sql.to_owned());
    let city = Requested::Column("address.city".into(), ColumnSource::Column("city".into()));
    let born = Requested::Column("born".into(), ColumnSource::Column("born".into()));
    let columns = vec![sql("name", "first || last"), city, sql("level", "42"), born, Requested::Rest];
    assert_eq!(entry.columns.as_ref(), Some(&columns));
}

#[test]
fn indexes_and_capacity_are_read() {
    let text = with("tables: [{ from: a.b, dynamodb: { table: shop, key: { pk: x, sk: '{n}' } } }]\n").replace(
        "ttl: gone",
        "billing: { provisioned: { read: 5, write: 7 } }, indexes: [{ name: by_mail, partition_key: { name: mail }, project: \
         { attributes: [a] } }]",
    );
    let settings = read(&text).unwrap();
    let table = &settings.green_dynamo().unwrap().tables[0];
    assert_eq!(table.billing, Billing::Provisioned { read: 5, write: 7 });
    assert_eq!(table.indexes[0].project, Projection::Attributes(vec!["a".to_owned()]));
}

/// Each mistake is told at its place, with what to write instead.
#[test]
fn what_is_wrong_with_items_is_told_at_its_place() {
    let good = "table: shop, key: { pk: '{id}', sk: '{n}' }";
    for (items, told) in [
        ("{ table: shp, key: { pk: a, sk: '{n}' } }", "10:24: tables[0].dynamodb.table: `shp` is not listed"),
        ("{ table: shop, key: { pk: a } }", "nothing fills `sk` of the key of table `shop`"),
        ("{ table: shop, key: { pk: a, sk: '{n}', x: b } }", "`x` is not in the key of table `shop`"),
        (
            "{ table: shop, key: { pk: 'U#{id', sk: '{n}' } }",
            "10:44: tables[0].dynamodb.key.pk: a `{` without its `}`",
        ),
        ("{ table: shop, key: { pk: a, sk: 'A#{n}' } }", "a text fills no number and no bytes"),
        (&format!("{{ {good}, part: {{ name: 'L#{{n}}' }} }}"), "name a map for the parts"),
        (&format!("{{ {good}, attributes: {{ _v: a }} }}"), "is a name of Understudy's own attributes"),
        (&format!("{{ {good}, attributes: {{ 'a..b': a }} }}"), "a name in its path is empty"),
        (&format!("{{ {good}, attributes: {{ a: lower(b }} }}"), "tables[0].dynamodb.attributes.a"),
        (&format!("{{ {good}, attributes: {{ a: {{ sql: b, form: epok }} }} }}"), "did you mean `epoch`?"),
        (&format!("{{ {good}, attributs: {{ a: b }} }}"), "did you mean `attributes`?"),
    ] {
        let message = refused(&entry(items));
        assert!(message.contains(told), "{items}: {message}");
    }
}

/// What does not go with DynamoDB is refused, rather than without effect.
#[test]
fn what_is_about_postgres_is_refused_beside_items() {
    let good = "dynamodb: { table: shop, key: { pk: '{id}', sk: '{n}' } }";
    for (more, told) in [
        ("to: a.c", "name the table under `dynamodb.table`"),
        ("columns: { a: b }", "fill attributes under `dynamodb.attributes`"),
        ("back: { a: b }", "the way back from DynamoDB is not part of this version"),
    ] {
        let message = refused(&with(&format!("tables:\n  - from: a.b\n    {good}\n    {more}\n")));
        assert!(message.contains(told), "{more}: {message}");
    }
    for (section, told) in [
        (
            "through: { kafka: { brokers: ['k:9092'], consistency: key } }",
            "11:55: through.kafka.consistency: several workers side by side do not fill DynamoDB",
        ),
        ("probes: [{ name: p, blue: SELECT 1, green: SELECT 1 }]", "DynamoDB answers none"),
        ("apply: { replica_role: never }", "is about triggers of Postgres"),
    ] {
        let message = refused(&with(&format!("tables:\n  - from: a.b\n    {good}\n{section}\n")));
        assert!(message.contains(told), "{section}: {message}");
    }
    let message = refused(&with("tables: [{ from: a.b }]\n"));
    assert!(message.contains("does not say where its rows lie on DynamoDB"), "{message}");
    let message = refused(&with(&format!("tables:\n  - from: a.*\n    {good}\n")));
    assert!(message.contains("list the tables one by one"), "{message}");
    let message = refused(&super::tests::with(&format!("tables:\n  - from: a.b\n    {good}\n")));
    assert!(message.contains("is about items of DynamoDB, and green is Postgres"), "{message}");
}

/// One worker takes a log in its order; that it is refused where it works would be as bad as what does not work being taken.
#[test]
fn a_log_before_items_is_read() {
    let good = "dynamodb: { table: shop, key: { pk: '{id}', sk: '{n}' } }";
    for more in ["", ", consistency: transaction", ", format: debezium, debezium: { slot: dbz }"] {
        let through = format!("through: {{ kafka: {{ brokers: ['k:9092']{more} }} }}\n");
        let settings = read(&with(&format!("tables:\n  - from: a.b\n    {good}\n{through}"))).unwrap();
        let kafka = settings.through.as_ref().unwrap();
        assert_eq!(kafka.consistency, understudy_kafka::Consistency::Transaction, "{more}");
        assert!(settings.green_dynamo().is_some());
    }
}

/// A store that is named and not told of is a problem that is told, as is an address that would show credentials.
#[test]
fn a_store_without_its_settings_is_told() {
    for store in ["postgres", "dynamodb"] {
        let head = format!("version: 1\nname: a\nblue: {{ url: postgres://u@h/d }}\ngreen:\n  {store}:\n");
        let message = refused(&format!("{head}tables: [{{ from: a.b }}]\n"));
        assert!(message.contains(&format!("green.{store}: is empty")), "{message}");
    }
    let text = entry("{ table: shop, key: { pk: '{id}', sk: '{n}' } }");
    for address in ["http://key:secret@localhost:8000", "https://key@h/x"] {
        let region = format!("endpoint: '{address}'");
        let message = refused(&text.replace("region: eu-central-1", &region));
        assert!(
            message.contains("the address holds credentials") && !message.contains("secret"),
            "{message}"
        );
    }
}

/// SQL that was written for green, and that nobody runs, is no part of a project whose green is DynamoDB.
#[test]
fn scripts_of_a_project_are_refused_beside_items() {
    let mut settings = read(&entry("{ table: shop, key: { pk: '{id}', sk: '{n}' } }")).unwrap();
    let script = |file: &str| Some(Script::read(file, "SELECT 1").unwrap());
    let version = Version {
        number: 1,
        directory: "001_a".to_owned(),
        file_sha256: String::new(),
        expand: None,
        contract: None,
    };
    settings.project = Some(version.clone());
    assert_eq!(super::unrun(&settings), None);
    for version in [
        Version { expand: script("001_a/a.sql"), ..version.clone() },
        Version { contract: script("001_a/a.sql"), ..version },
    ] {
        settings.project = Some(version);
        assert!(super::unrun(&settings).unwrap().what.contains("001_a/a.sql is SQL"));
    }
}
