//! What goes at the end of a migration, and what stays whoever asks.

use understudy_model::{Checkpoint, Key, Lsn, Position, Tuple, TupleBuilder, Value};

use super::super::{Beginning, KeyAttribute, KeyKind, LayoutPlan, NullForm, Part, Path, Placed, Removal};
use super::*;
use crate::types::ColumnType;

/// Columns: id, n, `_part`.
fn layout(part: Option<&str>) -> ItemLayout {
    let ty = ColumnType::Text;
    let n = Placed {
        column: 1,
        path: Path::parse("n").unwrap(),
        form: ty.default_form(),
        ty: ty.clone(),
        null: NullForm::Omit,
        index: None,
    };
    let part = part.map(|name| Part {
        name: Beginning { text: name.to_owned(), is_all: true },
        at: Some("rows".to_owned()),
        ttl_is_filled: false,
    });
    let plan = LayoutPlan {
        table: "shop".to_owned(),
        pk: KeyAttribute::new("id", 0, (KeyKind::S, &ty)).unwrap(),
        sk: None,
        columns: vec![n],
        part,
        part_column: 2,
        tag: "shop".to_owned(),
        ttl: Some("expires".to_owned()),
        blue_key: None,
    };
    ItemLayout::new(plan).unwrap()
}

fn version(lsn: u64) -> Version {
    Version::change(1, Position { commit: Lsn::new(lsn), ordinal: 0 })
}

fn row(part: &str) -> Tuple {
    let mut builder = TupleBuilder::default();
    ["1", "n", part].iter().for_each(|text| builder.push(&Value::Text(text.as_bytes().into())));
    builder.finish()
}

/// A tombstone that says it stays until second 100, written by a change that commits at 7.
fn tombstone() -> Item {
    let removal = layout(None).removal(&Key::from_texts([&b"1"[..], b"shop"]), version(7), 100);
    match removal.unwrap() {
        Removal::Put(item) => item,
        Removal::Update(_) => panic!("a whole item"),
    }
}

fn bound(checkpoint: u64, until_s: Option<u64>) -> Bound {
    Bound { checkpoint: Checkpoint::at_commit_end(Lsn::new(checkpoint)), until_s }
}

fn family(layouts: &[ItemLayout]) -> Family<'_> {
    Family::of_table(layouts).pop().unwrap()
}

/// A change that is not committed is applied again, and a call may come late: what tells of a deletion stays until neither can be.
#[test]
fn a_tombstone_goes_once_it_is_due() {
    let (layouts, item) = ([layout(None)], tombstone());
    let family = family(&layouts);
    assert!(family.has(&item));
    for (bound, goes) in [
        (bound(8, None), true),
        (bound(7, None), false),
        (bound(8, Some(100)), true),
        (bound(8, Some(99)), false),
    ] {
        let expected = matches!(family.swept(&item, &bound), Remains::Item(_));
        assert_eq!(expected, goes, "{bound:?}");
        assert_eq!(family.swept(&item, &bound) == Remains::Stays, !goes);
    }
    let others = Item::from([("id".to_owned(), item["id"].clone())]);
    assert!(!family.has(&others));
    // What a row fills may come between the look at a tombstone and its removal.
    let Remains::Item(guard) = family.swept(&item, &bound(8, None)) else { panic!("it is due") };
    let n = guard.names.iter().find(|(_, name)| *name == "n").expect("a row's attribute");
    assert!(guard.condition.contains(&format!("attribute_not_exists({})", n.0)), "{}", guard.condition);
}

/// A row, and a tombstone that somebody has written into, is no tombstone. In the end it loses what is ours, with the time at
/// which it would have expired.
#[test]
fn what_is_more_than_a_tombstone_stays() {
    let layouts = [layout(None)];
    let family = family(&layouts);
    let living = layouts[0].item(&row("shop"), version(7)).unwrap();
    assert_eq!(family.swept(&living, &bound(8, None)), Remains::Nothing);
    let mut taken = tombstone();
    taken.insert("theirs".to_owned(), AttributeValue::Bool(true));
    let Remains::Attributes(update) = family.swept(&taken, &bound(8, None)) else { panic!("it expires") };
    let names = update.names.values().map(String::as_str).collect::<BTreeSet<_>>();
    assert_eq!(names, BTreeSet::from(["_d", "_t", "expires"]), "it is a row, and of ours as before");
    assert!(!update.expression.contains(&placeholder(&update, "_t")), "{}", update.expression);
    for item in [living, taken] {
        let Remains::Attributes(update) = family.stripped(&item, &bound(8, None)) else { panic!("{item:?}") };
        let names = update.names.values().map(String::as_str).collect::<BTreeSet<_>>();
        let ours = item.keys().filter(|name| name.starts_with('_') || *name == "expires");
        assert!(ours.into_iter().all(|name| names.contains(name.as_str())), "{names:?}");
        assert!(!names.contains("n") && !names.contains("theirs") && !names.contains("id"));
    }
}

/// Of an item that lives, what tells of its deleted parts goes, and only that.
#[test]
fn deleted_parts_of_a_living_item_go() {
    let layouts = [layout(Some("a")), layout(Some("b"))];
    let family = family(&layouts);
    let mut item = layouts[0].item(&row("a"), version(7)).unwrap();
    item.insert("_v.b".to_owned(), version(6).to_av());
    item.insert("_dp".to_owned(), AttributeValue::Ss(vec!["b".to_owned()]));
    let Remains::Attributes(update) = family.swept(&item, &bound(8, None)) else { panic!("nothing goes") };
    let names = update.names.values().map(String::as_str).collect::<BTreeSet<_>>();
    assert_eq!(names, BTreeSet::from(["_dp", "_t", "_v.b"]));
    assert_eq!(family.swept(&item, &bound(6, None)), Remains::Stays);
    assert_eq!(family.swept(&item, &bound(8, Some(u64::MAX))), Remains::Stays, "nothing tells its age");
    item.insert("_v.a".to_owned(), version(7).to_av());
    item.insert("_dp".to_owned(), AttributeValue::Ss(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(family.swept(&item, &bound(8, None)), Remains::Nothing, "it still has what a row fills");
}

/// Rows that others have changed are theirs.
#[test]
fn rows_of_others_are_not_removed() {
    let layouts = [layout(None)];
    let family = family(&layouts);
    let mut item = layouts[0].item(&row("shop"), version(7)).unwrap();
    assert!(matches!(family.without_rows(&item), Some(Remains::Item(_))));
    item.insert("n".to_owned(), AttributeValue::S("theirs".to_owned()));
    assert_eq!(family.without_rows(&item), None);
    assert!(matches!(family.without_rows(&tombstone()), Some(Remains::Item(_))));
}

/// What stands for a name in an update.
fn placeholder(update: &UpdateParts, name: &str) -> String {
    let found = update.names.iter().find(|(_, own)| *own == name);
    found.map(|(placeholder, _)| placeholder.clone()).unwrap_or_default()
}
