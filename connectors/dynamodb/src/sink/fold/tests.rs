//! What several changes to one row become, and what each of them finds.

use std::sync::Arc;

use understudy_model::{Key, Lsn, Position, RouteId, Tuple, TupleBuilder, Value};

use super::*;
use crate::layout::{
    ItemLayout, KeyAttribute, KeyKind, LayoutPlan, NullForm, Path, Placed, Standing, Version,
};
use crate::types::ColumnType;

/// Columns: id, n, doc, `_part`.
fn layout() -> Arc<ItemLayout> {
    let ty = ColumnType::Text;
    let placed = |column, path| Placed {
        column,
        path: Path::parse(path).unwrap(),
        form: ty.default_form(),
        ty: ty.clone(),
        null: NullForm::Omit,
        index: None,
    };
    let plan = LayoutPlan {
        table: "items".to_owned(),
        pk: KeyAttribute::new("id", 0, (KeyKind::S, &ty)).unwrap(),
        sk: None,
        columns: vec![placed(1, "n"), placed(2, "doc")],
        part: None,
        part_column: 3,
        tag: "items".to_owned(),
        ttl: None,
        blue_key: None,
    };
    Arc::new(ItemLayout::new(plan).unwrap())
}

/// A row of the key `1`; what is left out was not sent.
fn row(n: Option<&str>, doc: Option<&str>) -> Tuple {
    let mut builder = TupleBuilder::default();
    for text in [Some("1"), n, doc, Some("items")] {
        builder.push(&text.map_or(Value::Unchanged, |text| Value::Text(text.as_bytes().into())));
    }
    builder.finish()
}

fn op(at: usize, first: First, body: Option<Tuple>) -> Op {
    let layout = layout();
    let key = Key::from_texts([&b"1"[..], b"items"]);
    let position = Position { commit: Lsn::new(9), ordinal: at as u64 };
    let place = (Version::change(1, position), position);
    let body = match body.map(|row| layout.read(&row).unwrap()) {
        None => Body::Gone,
        Some(row) if row.is_whole() => Body::Put(row),
        Some(row) => Body::Patch(row),
    };
    Op {
        item: layout.item_key(&key).unwrap(),
        layout,
        route: RouteId(0),
        number: 0,
        key,
        part: None,
        first,
        is_new: false,
        from: place,
        body,
        upto: place,
        at,
        heal: None,
    }
}

/// The one row of a wave, with the texts of `n` and `doc` where all of it is written.
fn only(wave: &mut Wave) -> (Op, Option<[String; 2]>) {
    let op = wave.take().pop().unwrap();
    let texts = match &op.body {
        Body::Put(row) => {
            let item = op.layout.item_of(row.clone(), op.upto.0).unwrap();
            assert_eq!(op.layout.standing(Some(&item), None), Standing::There(op.upto.0));
            Some(["n", "doc"].map(|name| item[name].as_s().unwrap().clone()))
        }
        Body::Patch(_) | Body::Gone => None,
    };
    (op, texts)
}

/// One write has what the last changes left and the version of the last, and expects what the first one finds.
#[test]
fn changes_to_one_row_become_one_write() {
    let mut wave = Wave::default();
    let whole = |n, doc| Some(row(Some(n), Some(doc)));
    for (at, (first, body)) in [
        (First::Free, whole("a", "x")),
        (First::There, Some(row(Some("b"), None))),
        (First::There, None),
        (First::Free, whole("c", "y")),
        (First::There, Some(row(None, Some("z")))),
    ]
    .into_iter()
    .enumerate()
    {
        assert!(matches!(wave.add(op(at, first, body)).unwrap(), Fold::Fits), "change {at}");
    }
    let (op, texts) = only(&mut wave);
    assert_eq!(texts, Some(["c", "z"].map(str::to_owned)));
    assert_eq!((op.first, op.from.1.ordinal, op.upto.1.ordinal, op.at), (First::Free, 0, 4, 4));
    assert!(wave.is_empty() && matches!(wave.known(&op.item, None), Known::Nothing));
}

/// What does not fit is told without asking the store, and the last change counts all the same.
#[test]
fn changes_that_do_not_fit_are_told() {
    let mut wave = Wave::default();
    let whole = |n| Some(row(Some(n), Some("x")));
    wave.add(op(0, First::Free, whole("a"))).unwrap();
    assert!(matches!(wave.add(op(1, First::Free, whole("b"))).unwrap(), Fold::Extra));
    assert!(matches!(wave.add(op(2, First::There, None)).unwrap(), Fold::Fits));
    assert!(matches!(wave.add(op(3, First::There, None)).unwrap(), Fold::Missing));
    assert!(matches!(wave.add(op(4, First::Any, None)).unwrap(), Fold::Fits));
    let partial = || Some(row(Some("c"), None));
    let nothing = wave.add(op(5, First::There, partial())).unwrap();
    assert!(matches!(nothing, Fold::Nothing { is_expected: true }));
    let nothing = wave.add(op(6, First::Any, partial())).unwrap();
    assert!(matches!(nothing, Fold::Nothing { is_expected: false }));
    assert!(matches!(wave.add(op(7, First::There, whole("d"))).unwrap(), Fold::Missing));
    assert_eq!(only(&mut wave).1, Some(["d", "x"].map(str::to_owned)));
}

/// Parts are gathered, and are all of a row once every value was sent; whether there is a row only the store can tell.
#[test]
fn parts_of_a_row_are_gathered() {
    let mut wave = Wave::default();
    wave.add(op(0, First::There, Some(row(Some("a"), None)))).unwrap();
    let free = wave.add(op(1, First::Free, Some(row(Some("b"), Some("y"))))).unwrap();
    assert!(matches!(free, Fold::Wait(_)));
    wave.add(op(2, First::There, Some(row(Some("c"), None)))).unwrap();
    let item = op(0, First::Any, None).item;
    assert!(matches!(wave.known(&item, None), Known::Part));
    wave.add(op(3, First::There, Some(row(None, Some("z"))))).unwrap();
    let (op, texts) = only(&mut wave);
    assert_eq!((op.first, texts), (First::There, Some(["c", "z"].map(str::to_owned))));
}

/// What DynamoDB would refuse, or what depends on rows that are not written yet, is not put into one transaction.
#[test]
fn a_transaction_takes_what_dynamodb_does() {
    let of = |id: usize, part: Option<&str>| {
        let key = Key::from_texts([id.to_string().as_bytes(), b"items"]);
        let item = layout().item_key(&key).unwrap();
        Op { key, item, part: part.map(str::to_owned), ..op(id, First::Any, Some(row(Some("a"), Some("x")))) }
    };
    let wave = |ops: Vec<Op>| {
        let mut wave = Wave::default();
        ops.into_iter().for_each(|op| assert!(matches!(wave.add(op).unwrap(), Fold::Fits)));
        wave
    };
    let many = |from: usize, to: usize| wave((from..to).map(|id| of(id, None)).collect());
    assert!(many(0, 100).fits() && !many(0, 101).fits());
    assert!(many(0, 60).takes(&many(60, 100)) && !many(0, 60).takes(&many(60, 101)));
    assert!(many(0, 60).takes(&many(0, 60)), "rows that are changed again count once");
    let parts = |names: &[&str]| wave(names.iter().map(|name| of(1, Some(name))).collect());
    assert!(parts(&["a"]).fits() && !parts(&["a", "b"]).fits(), "one item is written once");
    assert!(parts(&["a"]).takes(&parts(&["a"])) && !parts(&["a"]).takes(&parts(&["b"])));
    let patched = wave(vec![op(1, First::There, Some(row(Some("a"), None)))]);
    let inserted = wave(vec![op(2, First::Free, Some(row(Some("b"), Some("y"))))]);
    assert!(!patched.takes(&inserted), "whether the row was there is not known yet");
}
