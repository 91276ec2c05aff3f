//! Layouts: what is refused, what is written, and that it reads as the row that it was.

use aws_sdk_dynamodb::primitives::Blob;
use proptest::prelude::*;
use understudy_model::{Lsn, Position, Tuple, TupleBuilder, Value};

use super::*;
use crate::types::canonical;

const VERSION: Version = Version::change(1, Position { commit: Lsn::new(0x10), ordinal: 0 });

fn key(name: &str, column: usize) -> KeyAttribute {
    KeyAttribute::new(name, column, (KeyKind::S, &ColumnType::Text)).unwrap()
}

fn placed(column: usize, path: &str, ty: ColumnType) -> Placed {
    let form = ty.default_form();
    Placed { column, path: Path::parse(path).unwrap(), ty, form, null: NullForm::Omit, index: None }
}

/// Columns: pk, sk, `_part`, name, address.city, address.zip, tags[0], tags[1], total, nick as null.
fn plan() -> LayoutPlan {
    let mut columns = vec![
        placed(3, "name", ColumnType::Text),
        placed(4, "address.city", ColumnType::Text),
        placed(5, "address.zip", ColumnType::Int),
        placed(6, "tags[0]", ColumnType::Text),
        placed(7, "tags[1]", ColumnType::Text),
        placed(8, "total", ColumnType::Numeric),
        placed(9, "nick", ColumnType::Text),
    ];
    columns[6].null = NullForm::Null;
    LayoutPlan {
        table: "shop".into(),
        pk: key("pk", 0),
        sk: Some(key("sk", 1)),
        columns,
        part: None,
        part_column: 2,
        tag: "orders".into(),
        ttl: Some("expires_at".into()),
        blue_key: Some(vec![3]),
    }
}

fn part(name: &str, is_all: bool, at: Option<&str>) -> Part {
    let name = Beginning { text: name.to_owned(), is_all };
    Part { name, at: at.map(str::to_owned), ttl_is_filled: false }
}

fn layout(part: Option<Part>) -> ItemLayout {
    ItemLayout::new(LayoutPlan { part, ..plan() }).unwrap()
}

const UNSENT: &str = "(unsent)";

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

const ROW: [Option<&str>; 10] = [
    Some("C#1"),
    Some("O#2"),
    Some("orders"),
    Some("Ann"),
    Some("Bonn"),
    None,
    None,
    Some("new"),
    Some("1.50"),
    None,
];

fn with(changes: &[(usize, Option<&'static str>)]) -> Tuple {
    let mut texts = ROW;
    changes.iter().for_each(|(at, text)| texts[*at] = *text);
    row(&texts)
}

fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

/// The expression with its names spelled out.
fn spelled(update: &UpdateParts) -> String {
    let text = format!("{} IF {}", update.expression, update.condition);
    let mut pieces = text.split('#');
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (digits, rest) = piece.split_at(piece.bytes().take_while(u8::is_ascii_digit).count());
        out.push_str(&update.names[&format!("#{digits}")]);
        out.push_str(rest);
    }
    out
}

/// Every value lies where its path says, null as the plan says, and the bookkeeping beside them.
#[test]
fn a_row_is_an_item() {
    let item = layout(None).item(&row(&ROW), VERSION).unwrap();
    let map = |fields: &[(&str, AttributeValue)]| {
        AttributeValue::M(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
    };
    let mut expected = HashMap::from([
        ("pk", text("C#1")),
        ("sk", text("O#2")),
        ("name", text("Ann")),
        ("address", map(&[("city", text("Bonn"))])),
        ("tags", AttributeValue::L(vec![AttributeValue::Null(true), text("new")])),
        ("total", AttributeValue::N("1.5".into())),
        ("nick", AttributeValue::Null(true)),
        ("_v", VERSION.to_av()),
        ("_t", text("orders")),
    ]);
    expected.insert("_h", item["_h"].clone());
    assert_eq!(item, expected.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
}

/// The way back: keys, values, version, and blue's name of the row.
#[test]
fn an_item_is_seen_as_its_row() {
    let layout = layout(None);
    let mut item = layout.item(&row(&ROW), VERSION).unwrap();
    let key = row(&ROW).key(&[0, 1, 2]).unwrap();
    let seen = layout.seen(&item, &key).unwrap();
    assert_eq!(layout.rows(&item), std::slice::from_ref(&seen));
    assert_eq!((&seen.key, seen.version, seen.is_tombstone), (&key, Some(VERSION), false));
    assert_eq!((seen.is_ours, seen.is_foreign), (true, Some(false)));
    let texts = seen.columns.iter().map(|column| column.as_ref().unwrap().as_deref()).collect::<Vec<_>>();
    let mut expected = ROW;
    expected[8] = Some("1.5");
    assert_eq!(texts, expected);
    assert_eq!(seen.blue_key, Some(Key::from_texts([&b"Ann"[..]])));
    item.insert("expires_at".into(), AttributeValue::N("77".into()));
    let changed = layout.seen(&item, &key).unwrap();
    assert_eq!((changed.is_foreign, changed.expires_s), (Some(true), Some(77)));
    assert_ne!(changed.mark, seen.mark);
}

/// Promise 2: what others do to an item is seen, whatever they do to it.
#[test]
fn foreign_writes_are_seen() {
    let layout = layout(None);
    let item = layout.item(&row(&ROW), VERSION).unwrap();
    let seen = |name: &str, value: Option<AttributeValue>| {
        let mut item = item.clone();
        match value {
            Some(value) => item.insert(name.into(), value),
            None => item.remove(name),
        };
        layout.rows(&item).pop()
    };
    for (name, value, column) in [
        ("name", Some(AttributeValue::N("1".into())), Some(3)),
        ("name", Some(AttributeValue::Null(true)), Some(3)),
        ("nick", None, Some(9)),
        ("tags", None, Some(6)),
        ("tags", Some(AttributeValue::L(vec![text("a")])), Some(7)),
        ("address", Some(text("Bonn")), Some(4)),
        ("name", None, None),
        ("more", Some(text("x")), None),
    ] {
        let seen = seen(name, value).unwrap();
        assert_eq!(seen.is_foreign, Some(true), "{name}");
        assert_eq!(seen.columns.iter().position(Result::is_err), column, "{name}");
    }
    assert!(!seen("_t", None).unwrap().is_ours, "an item that nobody tagged is told by its key");
    assert_eq!(seen("_t", Some(text("others"))), None);
    assert_eq!(seen("_v", Some(text("1"))).unwrap().version, None);
    assert_eq!(seen("_h", None).unwrap().is_foreign, None);
    let scaled = seen("total", Some(AttributeValue::N("1.50".into()))).unwrap();
    assert_eq!(scaled.is_foreign, Some(false), "numbers have no scale");
}

/// Promise 7: what DynamoDB would refuse is told with the column and without the value.
#[test]
fn rows_that_do_not_fit_name_their_column() {
    let layout = layout(None);
    let large = Box::leak("x".repeat(ITEM_BYTES_MAX).into_boxed_str());
    let long = Box::leak("x".repeat(1025).into_boxed_str());
    for (at, value, column) in [
        (8, Some("NaN"), Some("total")),
        (5, Some("seven"), Some("address.zip")),
        (0, Some(""), Some("pk")),
        (1, Some(&*long), Some("sk")),
        (0, None, Some("pk")),
        (3, Some(&*large), None),
        (3, Some(UNSENT), None),
    ] {
        let refused = layout.item(&with(&[(at, value)]), VERSION).unwrap_err();
        assert_eq!(refused.column.as_deref(), column, "{refused}");
    }
    assert!(layout.item(&row(&ROW[..9]), VERSION).is_err());
    assert!(layout.item_key(&Key::from_texts([&b"a"[..], b"b"])).is_err());
}

/// A value that was not sent keeps its place; what was sent is written leaf by leaf, and a digest that covers more is gone.
#[test]
fn an_update_writes_what_was_sent() {
    let update =
        layout(None).update(&with(&[(4, Some(UNSENT)), (6, Some(UNSENT)), (3, None)]), VERSION).unwrap();
    let spelled = spelled(&update);
    for part in ["tags[1] = ", "total = ", "nick = ", "REMOVE _h, address.zip, name", "_v = ", "_t = "] {
        assert!(spelled.contains(part), "{part}: {spelled}");
    }
    for part in ["address =", "address.city", "tags[0]", "tags ="] {
        assert!(!spelled.contains(part), "{part}: {spelled}");
    }
    assert!(spelled.contains("_v < ") && spelled.contains("AND NOT attribute_exists(_d)"), "{spelled}");
    assert_eq!(update.key, layout(None).item_key(&row(&ROW).key(&[0, 1, 2]).unwrap()).unwrap());
    assert!(!format!("{update:?}").contains("new"), "values are told to nobody");
}

/// Every name and value that a request declares is used, and every one that is used is declared: DynamoDB refuses both.
#[test]
fn requests_declare_what_they_use() {
    let parts = [None, Some(part("orders", true, None)), Some(part("orders", false, Some("lines")))];
    for layout in parts.map(layout) {
        let key = row(&ROW).key(&[0, 1, 2]).unwrap();
        let mut updates = vec![
            layout.update(&row(&ROW), VERSION).unwrap(),
            layout.update(&with(&[(4, Some(UNSENT)), (8, Some(UNSENT))]), VERSION).unwrap(),
            layout.update(&with(&[3, 4, 5, 6, 7, 8, 9].map(|at| (at, Some(UNSENT)))), VERSION).unwrap(),
        ];
        updates.extend(layout.room(&layout.item_key(&key).unwrap()));
        if let Removal::Update(update) = layout.removal(&key, VERSION, 9).unwrap() {
            updates.push(*update);
        }
        let guard = layout.guard(VERSION);
        let item_key = layout.item_key(&key).unwrap();
        updates.push(UpdateParts {
            key: item_key,
            expression: String::new(),
            condition: guard.condition,
            names: guard.names,
            values: guard.values,
        });
        for update in updates {
            let words = format!("{} {}", update.expression, update.condition);
            let words = words.split(|letter: char| !letter.is_ascii_alphanumeric() && !"#:".contains(letter));
            let used =
                words.filter(|word| word.starts_with(['#', ':'])).collect::<std::collections::BTreeSet<_>>();
            let declared = update.names.keys().chain(update.values.keys()).map(String::as_str);
            assert_eq!(used, declared.collect(), "{update:?}");
        }
    }
}

/// Removing a whole row leaves what fences later arrivals off: version, tag and time, and nothing of the row.
#[test]
fn a_tombstone_holds_nothing_of_the_row() {
    let layout = layout(None);
    let key = row(&ROW).key(&[0, 1, 2]).unwrap();
    let Removal::Put(item) = layout.removal(&key, VERSION, 99).unwrap() else {
        panic!("a whole item is put")
    };
    let mut names = item.keys().map(String::as_str).collect::<Vec<_>>();
    names.sort_unstable();
    assert_eq!(names, ["_d", "_t", "_v", "expires_at", "pk", "sk"]);
    let seen = layout.seen(&item, &key).unwrap();
    assert!(seen.is_tombstone && seen.version == Some(VERSION));
    assert!(seen.columns[3..].iter().all(|column| *column == Ok(None)), "nothing of it is odd");
}

/// Parts of one item do not touch each other, and only when the last one goes does the item.
#[test]
fn parts_live_and_die_by_themselves() {
    let layout = layout(Some(part("line#", false, Some("lines"))));
    let parts = ["line#1", "line#2"].map(|name| {
        let row = with(&[(2, Some(name))]);
        (row.key(&[0, 1, 2]).unwrap(), layout.item(&row, VERSION).unwrap())
    });
    let mut item = parts[0].1.clone();
    let AttributeValue::M(lines) = &parts[1].1["lines"] else { panic!("a map") };
    let Some(AttributeValue::M(all)) = item.get_mut("lines") else { panic!("a map") };
    all.extend(lines.clone());
    for name in ["_v.line#2", "_h.line#2"] {
        item.insert(name.into(), parts[1].1[name].clone());
    }
    let keys = |item: &Item| {
        layout.rows(item).into_iter().map(|seen| (seen.key, seen.is_tombstone)).collect::<Vec<_>>()
    };
    let [(first, _), (second, _)] = &parts;
    assert_eq!(keys(&item), [(first.clone(), false), (second.clone(), false)]);
    assert!(layout.rows(&item).iter().all(|seen| seen.is_foreign == Some(false)));
    assert_eq!(bury([&layout], &item, 9), None);

    let Removal::Update(removal) = layout.removal(first, VERSION, 9).unwrap() else {
        panic!("a part is taken out")
    };
    let text = spelled(&removal);
    assert!(text.contains("REMOVE _h.line#1, lines.line#1") && text.contains("ADD _dp"), "{text}");
    item.insert("_dp".into(), AttributeValue::Ss(vec!["line#1".into()]));
    let revived = &layout.rows(&item)[0];
    assert!(!revived.is_tombstone && revived.is_foreign == Some(true), "somebody has put it back");
    if let Some(AttributeValue::M(lines)) = item.get_mut("lines") {
        lines.remove("line#1");
    }
    assert_eq!(keys(&item), [(first.clone(), true), (second.clone(), false)]);
    assert_eq!(bury([&layout], &item, 9), None);

    item.insert("_dp".into(), AttributeValue::Ss(vec!["line#2".into(), "line#1".into()]));
    assert_eq!(bury([&layout], &item, 9), None, "something is left in the map");
    item.insert("lines".into(), AttributeValue::M(Item::new()));
    let burial = spelled(&bury([&layout], &item, 9).unwrap());
    assert!(burial.contains("_v.line#1 = ") && burial.contains("_v.line#2 = "), "{burial}");
    assert!(burial.contains("SET _d = ") && burial.contains("REMOVE lines"), "{burial}");
    item.insert("_d".into(), AttributeValue::N("9".into()));
    assert_eq!(bury([&layout], &item, 9), None);
    let again = spelled(&layout.update(&with(&[(2, Some("line#1"))]), VERSION).unwrap());
    assert!(again.contains("DELETE _dp") && again.contains("_d, expires_at"), "{again}");
}

/// DynamoDB removes an item with all of its parts: rows of which nobody said that they end would go with the one that does.
#[test]
fn what_ends_shares_no_item_with_what_stays() {
    let filling = |name: &str, at| {
        let mut plan = LayoutPlan { part: Some(part(name, true, at)), ..plan() };
        plan.columns = vec![Placed { form: Form::Epoch, ..placed(3, "expires_at", ColumnType::Date) }];
        ItemLayout::new(plan).unwrap()
    };
    let lines = ItemLayout::new(LayoutPlan { part: Some(part("line#", false, Some("lines"))), ..plan() });
    let clash = told_apart(&[&filling("order", None), &lines.unwrap()]).unwrap_err();
    assert!(clash.what.contains("fills its time to live"), "{clash}");
    assert!(filling("order", None).may_end() && !filling("order", Some("below")).may_end());
}

/// A value of another part that TTL reads is not taken by a tombstone that is taken back.
#[test]
fn the_ttl_of_a_shared_item_is_its_parts() {
    let mut filling = LayoutPlan { part: Some(part("order", true, None)), ..plan() };
    filling.columns.push(Placed { form: Form::Epoch, ..placed(10, "expires_at", ColumnType::Date) });
    let other = LayoutPlan { part: Some(part("line#", false, Some("lines"))), ..plan() };
    let mut plans = [filling.clone(), other];
    settle_ttl(&mut plans);
    let [settled, other] = plans.map(|plan| ItemLayout::new(plan).unwrap());
    let full = spelled(&other.update(&row(&ROW), VERSION).unwrap());
    assert!(!full.contains("expires_at"), "{full}");
    let mut texts = ROW.to_vec();
    texts.push(Some("2024-01-01"));
    for layout in [settled, ItemLayout::new(filling).unwrap()] {
        let full = spelled(&layout.update(&row(&texts), VERSION).unwrap());
        assert_eq!(full.matches("expires_at").count(), 1, "{full}");
    }
}

/// What cannot be stored as the file says is refused before any row, with what to do.
#[test]
fn plans_that_cannot_be_are_refused() {
    type Change = fn(&mut LayoutPlan);
    let changes: [(&str, Change); 13] = [
        ("name", |plan| plan.columns[0].form = Form::N),
        ("pk", |plan| plan.columns[0].path = Path::parse("pk").unwrap()),
        ("address", |plan| plan.columns[0].path = Path::parse("address").unwrap()),
        ("total", |plan| plan.columns[0].path = Path::parse("total").unwrap()),
        ("expires_at", |plan| plan.columns[0].path = Path::parse("expires_at").unwrap()),
        ("nick", |plan| plan.columns[6].index = Some(KeyRole::Sort)),
        ("address.city", |plan| plan.columns[1].index = Some(KeyRole::Partition)),
        ("nick", |plan| (plan.columns[6].ty, plan.columns[6].form) = (ColumnType::Json, Form::M)),
        ("tags[0]", |plan| (plan.columns[3].ty, plan.columns[3].form) = (ColumnType::Json, Form::M)),
        ("line#", |plan| plan.part = Some(part("line#", false, None))),
        ("pk", |plan| plan.part = Some(part("line#", false, Some("pk")))),
        ("a.b", |plan| plan.part = Some(part("line#", false, Some("a.b")))),
        ("_v", |plan| plan.part = Some(part("line#", false, Some("_v")))),
    ];
    for (column, change) in changes {
        let mut plan = plan();
        change(&mut plan);
        let error = ItemLayout::new(plan).unwrap_err();
        assert_eq!(error.column.as_deref(), Some(column), "{error}");
        assert!(!error.remedy.is_empty());
    }
    assert!(ItemLayout::new(LayoutPlan { part_column: 3, ..plan() }).is_err());
}

/// What is around a document counts as what is in it: the server counts both.
#[test]
fn a_document_is_as_deep_as_its_place() {
    let row_of = |levels: usize| {
        let document = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let texts = [Some("C#1"), Some("O#2"), Some("orders"), Some(document.as_str())];
        row(&texts)
    };
    for (path, at, around) in [("name", None, 0), ("a.b", None, 1), ("name", Some("lines"), 2)] {
        let part = at.map(|at| part("orders", true, Some(at)));
        let columns = vec![placed(3, path, ColumnType::Json)];
        let layout = ItemLayout::new(LayoutPlan { part, columns, blue_key: None, ..plan() }).unwrap();
        let [fits, refused] =
            [31 - around, 32 - around].map(|levels| layout.update(&row_of(levels), VERSION));
        assert!(fits.is_ok(), "{path}");
        assert_eq!(refused.unwrap_err().column.as_deref(), Some(path));
    }
}

/// The key of an index must be taken by DynamoDB: an empty one would be refused with the whole item.
#[test]
fn keys_of_indexes_keep_to_the_limits() {
    let mut plan = plan();
    plan.columns[0].index = Some(KeyRole::Sort);
    let layout = ItemLayout::new(plan).unwrap();
    assert!(layout.item(&with(&[(3, None)]), VERSION).is_ok_and(|item| !item.contains_key("name")));
    assert_eq!(layout.item(&with(&[(3, Some(""))]), VERSION).unwrap_err().column.as_deref(), Some("name"));
}

/// Promise 1: two routes that could write one item, or one attribute of it, are refused.
#[test]
fn routes_into_one_table_are_told_apart() {
    let whole = |pk: &str, tag: &str| {
        let begins = Beginning { text: pk.to_owned(), is_all: false };
        let pk = key("pk", 0).beginning(begins);
        ItemLayout::new(LayoutPlan { pk, tag: tag.into(), ..plan() }).unwrap()
    };
    let shared = |name: &str, is_all, at, tag: &str| {
        let plan = LayoutPlan { part: Some(part(name, is_all, at)), tag: tag.into(), ..plan() };
        ItemLayout::new(plan).unwrap()
    };
    let (orders, customers) = (whole("O#", "orders"), whole("C#", "customers"));
    let line = shared("line#", false, Some("lines"), "orders");
    for (one, other, may_be) in [
        (&orders, &customers, true),
        (&orders, &whole("", "x"), false),
        (&orders, &whole("C#", "orders"), false),
        (&line, &shared("order", true, None, "orders"), true),
        (&line, &shared("line#1", true, Some("lines"), "orders"), false),
        (&line, &shared("note#", false, Some("lines"), "orders"), true),
        (&line, &shared("order", true, None, "others"), false),
        (&shared("a", true, None, "t"), &shared("b", true, None, "t"), false),
        (&line, &orders, false),
    ] {
        let told = told_apart(&[one, other]);
        assert_eq!(told.is_ok(), may_be, "{told:?}");
    }
    let clash = told_apart(&[&customers, &orders, &whole("O#1", "more")]).unwrap_err();
    assert_eq!((clash.first, clash.second), (1, 2));
    let elsewhere = ItemLayout::new(LayoutPlan { table: "other".into(), ..plan() }).unwrap();
    assert_eq!(told_apart(&[&orders, &elsewhere]), Ok(()));
}

fn value_of(ty: &ColumnType) -> BoxedStrategy<Option<String>> {
    let text = match ty {
        ColumnType::Int => any::<i64>().prop_map(|number| number.to_string()).boxed(),
        ColumnType::Numeric => "-?[0-9]{1,20}(\\.[0-9]{1,10})?".boxed(),
        _ => "[a-z ä]{0,8}".boxed(),
    };
    proptest::option::of(text).boxed()
}

proptest! {
    /// Promise 2: whatever a row holds, its item reads as that row, and an item that only DynamoDB touched is not foreign.
    #[test]
    fn rows_come_back(
        name in value_of(&ColumnType::Text), city in value_of(&ColumnType::Text), zip in value_of(&ColumnType::Int),
        first in value_of(&ColumnType::Text), second in value_of(&ColumnType::Text),
        total in value_of(&ColumnType::Numeric), nick in value_of(&ColumnType::Text),
        at in prop_oneof![Just(None), Just(Some("lines"))], is_part: bool,
    ) {
        let texts = [&name, &city, &zip, &first, &second, &total, &nick].map(|text| text.as_deref());
        let mut all = vec![Some("p"), Some("s"), Some("orders")];
        all.extend(texts);
        let layout = layout(is_part.then(|| part("orders", true, at)));
        let row = row(&all);
        let item = layout.item(&row, VERSION).unwrap();
        prop_assert!(item_size(&item) < ITEM_BYTES_MAX);
        let seen = layout.seen(&item, &row.key(&[0, 1, 2]).unwrap()).unwrap();
        prop_assert_eq!(layout.rows(&item), vec![seen.clone()]);
        prop_assert_eq!(seen.is_foreign, Some(false));
        for (placed, text) in layout.plan().columns.iter().zip(texts) {
            let expected = text.map(|text| canonical(&placed.ty, placed.form, text).unwrap());
            prop_assert_eq!(seen.columns[placed.column].clone(), Ok(expected));
        }
    }

    /// No item, whoever wrote it, breaks the way back.
    #[test]
    fn no_item_breaks_it(names in proptest::collection::hash_map(
        proptest::sample::select(vec!["pk", "sk", "name", "address", "tags", "total", "nick", "lines", "_v", "_h", "_t", "_d", "_dp"]),
        prop_oneof![
            Just(AttributeValue::S("orders".into())), Just(AttributeValue::N("1".into())),
            Just(AttributeValue::Null(true)), Just(AttributeValue::L(vec![])), Just(AttributeValue::Bool(true)),
            Just(AttributeValue::M(HashMap::from([("orders".to_owned(), AttributeValue::Null(true))]))),
            Just(AttributeValue::B(Blob::new(*b"x"))), Just(AttributeValue::Ss(vec!["orders".into()])),
        ], 0..13)) {
        let item: Item = names.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let key = Key::from_texts([&b"p"[..], b"s", b"orders"]);
        for part in [None, Some(part("orders", true, None)), Some(part("o", false, Some("lines")))] {
            let layout = layout(part);
            let _ = (layout.rows(&item), layout.seen(&item, &key).is_ok(), bury([&layout], &item, 9));
        }
    }
}
