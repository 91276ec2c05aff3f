//! What layouts write, as the server takes it: conditions hold, values come back, limits are where we say.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::AttributeValue::{L, M, N, Null, S};
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use understudy_dynamodb::layout::{
    Beginning, ITEM_BYTES_MAX, Item, ItemLayout, KeyAttribute, KeyKind, LayoutPlan, NullForm, Part, Path,
    Placed, Removal, Seen, UpdateParts, Version, bury, item_size,
};
use understudy_dynamodb::types::{ColumnType, DEPTH_MAX, Form, canonical, encode};
use understudy_model::{Key, Lsn, Tuple, TupleBuilder, Value};
use understudy_tests::Dynamo;

use super::{TIMEOUT, client, create_table};

/// The time until which tombstones stay; nothing here waits for it.
const UNTIL_S: u64 = 4_000_000_000;

const UNSENT: &str = "(unsent)";

fn version(at: u64) -> Version {
    Version::chunk(1, Lsn::new(at))
}

fn placed(column: usize, path: &str, ty: ColumnType) -> Placed {
    let path = Path::parse(path).expect("a path");
    Placed { column, path, form: ty.default_form(), ty, null: NullForm::Omit, index: None }
}

/// Columns: pk, `_part`, name, address.city, address.zip, tags[0], tags[1].
fn layout(table: &str, part: Option<Part>) -> ItemLayout {
    let pk = KeyAttribute::new("pk", 0, (KeyKind::S, &ColumnType::Text)).expect("a key");
    let plan = LayoutPlan {
        table: table.to_owned(),
        pk,
        sk: None,
        columns: vec![
            placed(2, "name", ColumnType::Text),
            placed(3, "address.city", ColumnType::Text),
            placed(4, "address.zip", ColumnType::Int),
            placed(5, "tags[0]", ColumnType::Text),
            placed(6, "tags[1]", ColumnType::Numeric),
        ],
        part,
        part_column: 1,
        tag: "people".to_owned(),
        ttl: Some("expires_at".to_owned()),
        blue_key: None,
    };
    ItemLayout::new(plan).expect("a layout")
}

fn row(texts: &[Option<&str>]) -> Tuple {
    let mut builder = TupleBuilder::default();
    for text in texts {
        builder.push(&match text {
            None => Value::Null,
            Some(UNSENT) => Value::Unchanged,
            Some(text) => Value::Text(text.as_bytes().into()),
        });
    }
    builder.finish()
}

/// Puts an item under the layout's condition; otherwise the code of what was refused.
async fn put(client: &Client, layout: &ItemLayout, item: Item, at: u64) -> Result<(), String> {
    let guard = layout.guard(version(at));
    let put = client
        .put_item()
        .table_name(&layout.plan().table)
        .set_item(Some(item))
        .condition_expression(guard.condition)
        .set_expression_attribute_names(Some(guard.names))
        .set_expression_attribute_values(Some(guard.values));
    put.send().await.map(|_| ()).map_err(|error| error.code().unwrap_or_default().to_owned())
}

/// Does an update and tells the item after it; otherwise the code of what was refused.
async fn update(client: &Client, parts: UpdateParts) -> Result<Item, String> {
    let update = client
        .update_item()
        .table_name(parts.key.table())
        .set_key(Some(parts.key.to_av()))
        .update_expression(parts.expression)
        .condition_expression(parts.condition)
        .set_expression_attribute_names(Some(parts.names))
        .set_expression_attribute_values(Some(parts.values))
        .return_values(ReturnValue::AllNew);
    let done = update.send().await.map_err(|error| error.code().unwrap_or_default().to_owned())?;
    Ok(done.attributes.expect("the item after the update"))
}

async fn read(client: &Client, layout: &ItemLayout, key: &Key) -> Seen {
    let item_key = layout.item_key(key).expect("a key").to_av();
    let get =
        client.get_item().table_name(&layout.plan().table).set_key(Some(item_key)).consistent_read(true);
    let item = get.send().await.expect("read an item").item.expect("an item");
    layout.seen(&item, key).expect("a row")
}

fn texts(seen: &Seen) -> Vec<Option<&str>> {
    seen.columns[2..].iter().map(|column| column.as_ref().expect("our own form").as_deref()).collect()
}

/// The code of what was refused.
fn code<T>(outcome: &Result<T, String>) -> Option<&str> {
    outcome.as_ref().err().map(String::as_str)
}

const REFUSED: Option<&str> = Some("ConditionalCheckFailedException");

/// Promise 3: a whole item is written by whatever is later, in whatever order writes arrive, and a deleted one stays so.
#[tokio::test]
async fn the_later_write_of_an_item_wins() {
    let Some(dynamo) = Dynamo::shared() else { return };
    let client = client(dynamo.endpoint(), TIMEOUT).await;
    let table = format!("{}items", Dynamo::prefix("layout"));
    create_table(&client, &table).await;
    let layout = layout(&table, None);
    let row_of = |name| row(&[Some("p"), Some("people"), Some(name), Some("Bonn"), None, None, Some("1.50")]);
    let key = row_of("a").key(&[0, 1]).expect("a key");
    let item = |name, at| layout.item(&row_of(name), version(at)).expect("an item");

    assert_eq!(put(&client, &layout, item("b", 20), 20).await, Ok(()));
    let older = put(&client, &layout, item("a", 10), 10).await;
    assert_eq!(code(&older), REFUSED);
    let partial =
        row(&[Some("p"), Some("people"), Some(UNSENT), None, Some("53111"), Some(UNSENT), Some("2")]);
    let updated = update(&client, layout.update(&partial, version(30)).expect("an update")).await;
    assert!(updated.is_ok(), "{updated:?}");
    let seen = read(&client, &layout, &key).await;
    assert_eq!(texts(&seen), [Some("b"), None, Some("53111"), None, Some("2")]);
    assert_eq!((seen.version, seen.is_foreign), (Some(version(30)), None));
    assert_eq!(put(&client, &layout, item("c", 40), 40).await, Ok(()));
    assert_eq!(read(&client, &layout, &key).await.is_foreign, Some(false));

    let Removal::Put(tombstone) = layout.removal(&key, version(50), UNTIL_S).expect("a removal") else {
        panic!("an item is put in its place");
    };
    assert_eq!(put(&client, &layout, tombstone, 50).await, Ok(()));
    let late = put(&client, &layout, item("c", 45), 45).await;
    assert!(late.is_err(), "a write that comes late revives nothing");
    let late = update(&client, layout.update(&partial, version(60)).expect("an update")).await;
    assert_eq!(code(&late), REFUSED);
    assert!(read(&client, &layout, &key).await.is_tombstone);
}

/// Promise 3: parts of one item are written without each other, the map around them comes when the first does, and the item
/// goes when the last does.
#[tokio::test]
async fn parts_of_an_item_are_written_by_themselves() {
    let Some(dynamo) = Dynamo::shared() else { return };
    let client = client(dynamo.endpoint(), TIMEOUT).await;
    let table = format!("{}parts", Dynamo::prefix("layout"));
    create_table(&client, &table).await;
    let name = Beginning { text: "line#".to_owned(), is_all: false };
    let lines = layout(&table, Some(Part { name, at: Some("lines".to_owned()), ttl_is_filled: false }));
    let line =
        |part, name| row(&[Some("p"), Some(part), Some(name), Some("Bonn"), Some("1"), Some("x"), None]);
    let write = |part, name, at| lines.update(&line(part, name), version(at)).expect("an update");
    let keys = ["line#1", "line#2"].map(|part| line(part, "a").key(&[0, 1]).expect("a key"));

    let without_map = update(&client, write("line#1", "a", 10)).await;
    assert_eq!(code(&without_map), Some("ValidationException"));
    let room = lines.room(&lines.item_key(&keys[0]).expect("a key")).expect("parts have a map");
    for (part, at) in [("line#1", 10), ("line#2", 20)] {
        update(&client, room.clone()).await.expect("the map is made, or left as it is");
        update(&client, write(part, "a", at)).await.expect("a part is written");
    }
    let older = update(&client, write("line#1", "old", 9)).await;
    assert_eq!(code(&older), REFUSED);
    let partial = row(&[Some("p"), Some("line#1"), Some("b"), Some(UNSENT), None, Some(UNSENT), Some("7")]);
    update(&client, lines.update(&partial, version(15)).expect("an update"))
        .await
        .expect("what was sent is written");
    assert_eq!(
        texts(&read(&client, &lines, &keys[0]).await),
        [Some("b"), Some("Bonn"), None, Some("x"), Some("7")]
    );
    let other = read(&client, &lines, &keys[1]).await;
    assert_eq!((other.is_foreign, other.version), (Some(false), Some(version(20))));

    let mut item = Item::new();
    for (key, at) in keys.iter().zip([30, 31]) {
        assert!(bury([&lines], &item, UNTIL_S).is_none());
        let Removal::Update(removal) = lines.removal(key, version(at), UNTIL_S).expect("a removal") else {
            panic!("a part is taken out");
        };
        item = update(&client, *removal).await.expect("a part is taken out");
    }
    let late = update(&client, write("line#1", "late", 29)).await;
    assert!(late.is_err() && lines.update(&partial, version(40)).is_ok());
    let late = update(&client, lines.update(&partial, version(40)).expect("an update")).await;
    assert_eq!(code(&late), REFUSED, "a part that is gone is not changed");
    let burial = bury([&lines], &item, UNTIL_S).expect("no part is left");
    let buried = update(&client, burial.clone()).await.expect("the item becomes a tombstone");
    assert!(buried.contains_key("_d") && buried.contains_key("expires_at") && !buried.contains_key("lines"));
    let room = lines.room(&lines.item_key(&keys[0]).expect("a key")).expect("parts have a map");
    update(&client, room).await.expect("the map is made");
    let alive = update(&client, write("line#2", "again", 50)).await.expect("a part comes back");
    assert!(!alive.contains_key("_d") && !alive.contains_key("expires_at"));
    assert!(
        update(&client, burial).await.is_err(),
        "what was decided before a part came back is not done after it"
    );
    assert!(
        !read(&client, &lines, &keys[1]).await.is_tombstone
            && read(&client, &lines, &keys[0]).await.is_tombstone
    );
}

/// Promise 2: values of every type come back from the server as the values that they were.
#[tokio::test]
async fn values_come_back_from_the_server() {
    let Some(dynamo) = Dynamo::shared() else { return };
    let client = client(dynamo.endpoint(), TIMEOUT).await;
    let table = format!("{}types", Dynamo::prefix("layout"));
    create_table(&client, &table).await;
    let digits = "9".repeat(38);
    let array = |element| ColumnType::Array(Box::new(element));
    for (ty, form, text) in [
        (ColumnType::Int, Form::N, "-9223372036854775808"),
        (ColumnType::Numeric, Form::N, digits.as_str()),
        (ColumnType::Numeric, Form::N, "-0.00150"),
        (ColumnType::Numeric, Form::N, "9.99e125"),
        (ColumnType::Float, Form::N, "1e-130"),
        (ColumnType::Bool, Form::Bool, "f"),
        (ColumnType::Bytea, Form::B, "\\x"),
        (ColumnType::Bytea, Form::B, "\\x00ff"),
        (ColumnType::TimestampTz, Form::S, "2024-01-02 03:04:05.123456+05:30"),
        (ColumnType::TimestampTz, Form::Epoch, "2024-01-02 03:04:05+00"),
        (ColumnType::Json, Form::M, r#"{"a":[1.50,{"b":null},"",{}],"ä":"\u0000"}"#),
        (ColumnType::Text, Form::S, ""),
        (array(ColumnType::Text), Form::L, "{a,NULL,\"\"}"),
        (array(ColumnType::Text), Form::Ss, "{b,\"\",a}"),
        (array(ColumnType::Numeric), Form::Ns, "{10.0,9,1.50}"),
        (array(ColumnType::Bytea), Form::Bs, r#"{"\\x01","\\x"}"#),
    ] {
        let value = encode(&ty, form, text).expect(text);
        let item = Item::from([("pk".to_owned(), S("p".to_owned())), ("v".to_owned(), value)]);
        let written = client.put_item().table_name(&table).set_item(Some(item)).send().await;
        written.unwrap_or_else(|error| panic!("{ty:?} {}: {error:?}", form.name()));
        let key = S("p".to_owned());
        let read = client.get_item().table_name(&table).key("pk", key).consistent_read(true).send().await;
        let item = read.expect("read an item").item.expect("an item");
        let back = understudy_dynamodb::types::decode_canonical(&item["v"], &ty, form);
        assert_eq!(back.ok(), canonical(&ty, form, text).ok(), "{ty:?} {}: {text}", form.name());
    }
}

/// A limit that is drawn too wide lets a row through that the server refuses in the middle of a batch.
#[tokio::test]
async fn limits_are_where_the_server_has_them() {
    let Some(dynamo) = Dynamo::shared() else { return };
    // An item of many small pieces takes a server on a busy machine a while, and no answer would look like a refusal.
    let client = client(dynamo.endpoint(), TIMEOUT * 12).await;
    let table = format!("{}limits", Dynamo::prefix("layout"));
    create_table(&client, &table).await;
    let is_taken = async |pk: &str, value: AttributeValue| {
        let item = Item::from([("pk".to_owned(), S(pk.to_owned())), ("v".to_owned(), value)]);
        let size = item_size(&item);
        (client.put_item().table_name(&table).set_item(Some(item)).send().await.is_ok(), size)
    };
    // An attribute is one level; what is empty is as deep as if it held something.
    for (innermost, levels) in [(Null(true), 1), (L(Vec::new()), 2)] {
        let deep = |more| (0..more).fold(innermost.clone(), |inner, _| L(vec![inner]));
        assert!(is_taken("p", deep(DEPTH_MAX - levels)).await.0);
        assert!(!is_taken("p", deep(DEPTH_MAX - levels + 1)).await.0);
    }
    assert!(!is_taken("p", M(Item::from([(String::new(), Null(true))]))).await.0, "a name is never empty");
    let room = ITEM_BYTES_MAX - "pkpv".len();
    assert_eq!(is_taken("p", S("x".repeat(room))).await, (true, ITEM_BYTES_MAX));
    assert!(!is_taken("p", S("x".repeat(room + 1))).await.0);
    // What is made of small pieces is where the overheads of lists, maps and numbers show.
    let pieces = |count: usize| {
        let piece = |at: usize| {
            M(Item::from([("n".to_owned(), N(format!("-{at}.5"))), ("l".to_owned(), L(vec![Null(true)]))]))
        };
        L((0..count).map(piece).collect())
    };
    let most = (1..).map(|hundreds| hundreds * 100).take_while(|count| {
        let item = Item::from([("pk".to_owned(), S("p".to_owned())), ("v".to_owned(), pieces(*count))]);
        item_size(&item) <= ITEM_BYTES_MAX
    });
    assert!(is_taken("p", pieces(most.last().expect("some fit"))).await.0, "what we let through is taken");
    assert!(
        is_taken(&"x".repeat(2048), Null(true)).await.0 && !is_taken(&"x".repeat(2049), Null(true)).await.0
    );
}
