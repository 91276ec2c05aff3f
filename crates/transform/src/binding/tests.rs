//! Rows of both forms through routes of all kinds.

use understudy_model::RouteId;

use super::*;
use crate::expr::{Collation, Modifier, Scope, ScopeColumn, SqlType};
use crate::route::{BlueTable, GreenColumn, GreenShape, Mapping, Requested};

fn spec(requested: Option<&[Requested]>) -> RouteSpec {
    let table = BlueTable::named(TableName::new("public", "t"), &["a", "b", "c"], &["b", "a"]);
    let mapping = Mapping { columns: requested, filter: None };
    RouteSpec::compile(RouteId(0), &table, (table.name.clone(), None), mapping).unwrap()
}

fn columns(names: &[&str]) -> Vec<Column> {
    let column = |name: &&str| Column {
        name: (*name).to_owned(),
        type_oid: 25,
        type_modifier: -1,
        in_identity: false,
    };
    names.iter().map(column).collect()
}

fn up(binding: &Binding, row: &Tuple) -> Tuple {
    match binding.up(row).unwrap() {
        Mapped::Row(row) => row,
        Mapped::Unknown => panic!("nothing is computed"),
    }
}

fn wire(values: &[Value<'_>]) -> Tuple {
    let mut out = TupleBuilder::default();
    values.iter().for_each(|value| out.push(value));
    out.finish()
}

fn text(text: &str) -> Value<'_> {
    Value::Text(text.as_bytes().into())
}

#[test]
fn rows_in_route_order_pass_through_untouched() {
    let row = wire(&[text("1"), text("2"), Value::Unchanged]);
    assert_eq!(up(&spec(None).bind(&columns(&["a", "b", "c"])).unwrap(), &row), row);
}

#[test]
fn both_forms_are_projected_alike() {
    let requested = [
        Requested::Column("z".into(), ColumnSource::Constant(Some("x\ty".into()))),
        Requested::Column("n".into(), ColumnSource::Constant(None)),
        Requested::Rest,
    ];
    let binding = spec(Some(&requested)).bind(&columns(&["c", "a", "b"])).unwrap();
    let from_wire = up(&binding, &wire(&[Value::Null, text("1\n"), text("2")]));
    let from_line = up(&binding, &Tuple::from_copy_line(b"\\N\t1\\n\t2"[..].into()));
    let expected = [text("x\ty"), Value::Null, text("1\n"), text("2"), Value::Null];
    assert!(from_wire.values().eq(expected.clone()));
    assert!(from_line.values().eq(expected));
}

#[test]
fn keys_follow_the_order_of_the_route() {
    let binding = spec(None).bind(&columns(&["b", "c", "a"])).unwrap();
    let key = binding.blue_key(&wire(&[text("B"), Value::Null, text("A")])).unwrap();
    assert_eq!(key.texts().collect::<Vec<_>>(), [b"A", b"B"]);
}

#[test]
fn columns_that_come_and_go_are_noticed() {
    assert!(matches!(spec(None).bind(&columns(&["a", "b"])), Err(BindError::ColumnGone { .. })));
    assert!(matches!(spec(None).bind(&columns(&["a", "b", "c", "d"])), Err(BindError::ColumnNew { .. })));
    let partial = [Requested::Column("a".into(), ColumnSource::Column("a".into())), {
        Requested::Column("b".into(), ColumnSource::Column("b".into()))
    }];
    assert!(spec(Some(&partial)).bind(&columns(&["a", "b", "c"])).is_ok());
    assert!(matches!(
        spec(Some(&partial)).bind(&columns(&["a", "b", "d"])),
        Err(BindError::ColumnNew { .. })
    ));
}

#[test]
fn unsent_values_come_from_a_whole_old_row() {
    let filled = fill_unchanged(&wire(&[text("new"), Value::Unchanged]), &wire(&[text("old"), text("big")]));
    assert!(filled.values().eq([text("new"), text("big")]));
}

/// The columns of the table that expressions are computed from; `filler` makes it wider than what is walked without the heap.
const TYPED: [(&str, SqlType); 6] = [
    ("id", SqlType::Int8),
    ("first", SqlType::Text),
    ("last", SqlType::Varchar),
    ("cents", SqlType::Int4),
    ("note", SqlType::Text),
    ("kind", SqlType::Int4),
];

fn typed(filler: usize) -> (BlueTable, Vec<Column>) {
    let mut all = TYPED.map(|(name, ty)| (name.to_owned(), ty)).to_vec();
    all.splice(1..1, (0..filler).map(|at| (format!("filler{at}"), SqlType::Text)));
    let names = all.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>();
    let mut table = BlueTable::named(TableName::new("public", "t"), &names, &["id"]);
    let collation = Collation { is_default: true, ..Collation::bytes() };
    let column = |(name, ty): &(String, SqlType)| ScopeColumn {
        name: name.clone(),
        ty: ty.clone(),
        modifier: Modifier::NONE,
        collation: matches!(ty, SqlType::Text | SqlType::Varchar).then(|| collation.clone()),
    };
    table.scope = Some(Scope {
        table: table.name.clone(),
        columns: all.iter().map(column).collect(),
        types: std::collections::HashMap::new(),
        mask_key: None,
        collation: collation.clone(),
    });
    let columns = columns(&names);
    (table, columns)
}

/// A route of the typed table; each entry is a green column and SQL. Green's key, if any, is these columns.
fn computing(filler: usize, entries: &[(&str, &str)], filter: Option<&str>, key: &[&str]) -> Binding {
    let (table, columns) = typed(filler);
    let entry = |(name, sql): &(&str, &str)| Requested::Sql((*name).to_owned(), (*sql).to_owned());
    let mut requested = entries.iter().map(entry).collect::<Vec<_>>();
    requested.push(Requested::Column("id".into(), ColumnSource::Column("id".into())));
    let mut shape = GreenShape::default();
    if !key.is_empty() {
        requested.push(Requested::Column("region".into(), ColumnSource::Constant(Some("eu".into()))));
        let green = |name: &&str| GreenColumn {
            name: (*name).to_owned(),
            ty: SqlType::Text,
            modifier: Modifier::NONE,
        };
        shape.columns = key.iter().map(green).collect();
        shape.keys = vec![key.iter().map(|name| (*name).to_owned()).collect()];
    }
    requested.push(Requested::Rest);
    let mapping = Mapping { columns: Some(&requested), filter };
    let target = (TableName::new("public", "g"), Some(&shape));
    RouteSpec::compile(RouteId(0), &table, target, mapping).unwrap().bind(&columns).unwrap()
}

/// A row of the typed table from these values, `None` being null.
fn typed_row(filler: usize, values: [Option<&str>; 6]) -> Tuple {
    let mut all = values.to_vec();
    all.splice(1..1, (0..filler).map(|_| Some("x")));
    wire(&all.into_iter().map(|value| value.map_or(Value::Null, text)).collect::<Vec<_>>())
}

fn as_line(row: &Tuple) -> Tuple {
    let mut line = Vec::new();
    row.push_copy_line(&mut line);
    Tuple::from_copy_line(line.into())
}

/// A row that is copied and one that is streamed must not differ on green, whatever their values hold, and however wide the
/// table is.
#[test]
fn both_forms_are_computed_alike() {
    let entries = [
        ("name", "first || ' ' || last"),
        ("state", "CASE kind WHEN 1 THEN first WHEN 2 THEN 'two\tparts' END"),
        ("any", "coalesce(note, first || '\\', 'none')"),
        ("total", "cents + 1"),
    ];
    let rows = [
        (
            [Some("1"), Some("a\tb\\"), Some("c\n"), Some("-2147483648"), None, Some("1")],
            [Some("a\tb\\ c\n"), Some("a\tb\\"), Some("a\tb\\\\"), Some("-2147483647")],
        ),
        (
            [Some("2"), None, Some("\\N"), Some(" 7 "), Some(""), Some("2")],
            [None, Some("two\tparts"), Some(""), Some("8")],
        ),
        ([Some("3"), None, None, None, None, None], [None, None, Some("none"), None]),
    ];
    for filler in [0, 20] {
        let binding = computing(filler, &entries, None, &[]);
        for (values, expected) in rows {
            let row = typed_row(filler, values);
            for row in [as_line(&row), row] {
                let found = up(&binding, &row);
                let expected = expected.map(|value| value.map_or(Value::Null, text));
                assert!(
                    found.values().take(4).eq(expected),
                    "{filler} {values:?} {}",
                    row.as_copy_line().is_some()
                );
                assert_eq!(found.get(4), Some(text(values[0].unwrap())));
                assert_eq!(found.values().count(), 5 + filler);
            }
        }
    }
}

/// What was not sent must never be taken for null.
#[test]
fn values_that_were_not_sent_are_unchanged_or_unknown() {
    let entries = [("loud", "upper(note)"), ("one", "1 + 1")];
    let binding = computing(0, &entries, None, &[]);
    let unsent = [text("1"), text("a"), text("b"), text("2"), Value::Unchanged, text("3")];
    let expected = [Value::Unchanged, text("2"), text("1"), text("a"), text("b"), text("2"), text("3")];
    assert!(up(&binding, &wire(&unsent)).values().eq(expected));
    let mixed = computing(0, &[("both", "note || first")], None, &[]);
    assert_eq!(mixed.up(&wire(&unsent)), Ok(Mapped::Unknown));
    let all = [text("1"), Value::Unchanged, text("b"), text("2"), Value::Unchanged, text("3")];
    assert_eq!(up(&mixed, &wire(&all)).get(0), Some(Value::Unchanged));
}

/// A row is on green where its condition is true: neither false nor null is, and what was not sent decides nothing.
#[test]
fn conditions_hold_or_not_or_are_not_known() {
    let binding = computing(0, &[], Some("kind > 1 AND note IS DISTINCT FROM 'x'"), &[]);
    let cases = [
        (Some("2"), None, true),
        (Some("2"), Some("x"), false),
        (Some("1"), None, false),
        (None, None, false),
    ];
    for (kind, note, expected) in cases {
        let row = typed_row(0, [Some("1"), None, None, None, note, kind]);
        assert_eq!(binding.holds(&row), Ok(Some(expected)), "{kind:?} {note:?}");
        assert_eq!(binding.holds(&as_line(&row)), Ok(Some(expected)), "{kind:?} {note:?}");
    }
    let unsent = [text("1"), text("a"), text("b"), text("2"), Value::Unchanged, text("3")];
    assert_eq!(binding.holds(&wire(&unsent)), Ok(None));
    assert!(binding.filters() && !computing(0, &[], None, &[]).filters());
    assert_eq!(computing(0, &[], None, &[]).holds(&wire(&unsent)), Ok(Some(true)));
}

/// Rows are found on green by this key: one that differs between forms would leave a row behind.
#[test]
fn keys_are_made_of_expressions_and_constants() {
    let binding = computing(0, &[("code", "'c-' || (id * 2)")], None, &["code", "region"]);
    assert!(!binding.passes_key());
    let row = typed_row(0, [Some("21"), None, None, None, None, None]);
    let expected = Key::from_texts([&b"c-42"[..], b"eu"]);
    for row in [as_line(&row), row] {
        assert_eq!(binding.green_key(&row), Ok(Some(expected.clone())));
        assert_eq!(binding.blue_key(&row), Some(Key::from_texts([&b"21"[..]])));
    }
    let key_only = wire(&[text("21"), Value::Unchanged, Value::Null, Value::Null, Value::Null, Value::Null]);
    assert_eq!(binding.green_key(&key_only), Ok(Some(expected)));
    assert_eq!(binding.green_key(&wire(&[Value::Unchanged])), Ok(None));
    let nullable = computing(0, &[("code", "nullif(id, 21)::text")], None, &["code", "region"]);
    assert_eq!(nullable.green_key(&typed_row(0, [Some("21"), None, None, None, None, None])), Ok(None));
}

/// Promise 8: what a refusal says goes into logs and the quarantine's reason, so it names the column and never a value.
#[test]
fn an_expression_that_fails_is_a_refusal_without_values() {
    let number = [("number", "first::int")];
    let rows = typed_row(0, [Some("1"), Some("secret"), None, Some("0"), None, None]);
    let refused = |binding: &Binding, row: &Tuple| binding.up(row).unwrap_err();
    for row in [as_line(&rows), rows.clone()] {
        let refusal = refused(&computing(0, &number, None, &[]), &row);
        assert_eq!((refusal.column.as_deref(), refusal.sqlstate.as_str()), (Some("number"), "22P02"));
        assert!(!format!("{refusal:?} {refusal}").contains("secret"), "{refusal:?}");
        // A string that is null already does not hide what fails behind it.
        let refusal = refused(&computing(0, &[("text", "note || (1 / cents)::text")], None, &[]), &row);
        assert_eq!((refusal.column.as_deref(), refusal.sqlstate.as_str()), (Some("text"), "22012"));
        let refusal = computing(0, &[], Some("first::int > 0"), &[]).holds(&row).unwrap_err();
        assert_eq!((refusal.column, refusal.sqlstate.as_str()), (None, "22P02"));
    }
    let key = computing(0, &[("code", "(1 / (id - 1))::text")], None, &["code", "region"]);
    assert_eq!(key.green_key(&rows).unwrap_err().sqlstate, "22012");
    let wrong = wire(&[
        text("1"),
        Value::Text(b"\xff"[..].into()),
        Value::Null,
        Value::Null,
        Value::Null,
        Value::Null,
    ]);
    let refusal = refused(&computing(0, &[("name", "lower(first)")], None, &[]), &wrong);
    assert_eq!((refusal.column.as_deref(), refusal.sqlstate.as_str()), (Some("name"), "22021"));
}

/// A route of the typed table whose key is `id` and `kind`, to a table whose key is `id`, and what blue sends of old rows.
fn narrowed(filter: &str, entry: &str, identity_is_full: bool) -> Result<RouteSpec, crate::MappingError> {
    let (mut table, _) = typed(0);
    table.key = vec!["id".into(), "kind".into()];
    table.identity_is_full = identity_is_full;
    let id = GreenColumn { name: "id".into(), ty: SqlType::Int8, modifier: Modifier::NONE };
    let shape = GreenShape { columns: vec![id], keys: vec![vec!["id".into()]] };
    let requested = [Requested::Sql("total".into(), entry.into()), Requested::Rest];
    let mapping = Mapping { columns: Some(&requested), filter: Some(filter) };
    RouteSpec::compile(RouteId(0), &table, (TableName::new("public", "g"), Some(&shape)), mapping)
}

/// Promise 1: where green's key says less than blue's, it has to be known of every old row whether it was the one on green.
#[test]
fn a_key_that_says_less_needs_to_know_which_row_was_meant() {
    let told = narrowed("kind = 1", "cents + 1", false).unwrap();
    assert!(told.narrows_key() && told.tells_filter() && told.tells_key());
    assert!(matches!(
        narrowed("cents > 0", "cents + 1", false),
        Err(crate::MappingError::KeyNarrowed { input, .. }) if input == "cents"
    ));
    assert!(narrowed("cents > 0", "cents + 1", true).is_ok());
    let other = narrowed("kind = 2", "cents + 1", false).unwrap();
    let wider = narrowed("kind = 1", "cents + 2", false).unwrap();
    assert!(!other.keeps_keys_of(&told.fingerprint()), "other rows stand under the same keys");
    assert!(wider.keeps_keys_of(&told.fingerprint()));
}

/// A condition that comes in takes rows away: nobody has asked for that who has added a column.
#[test]
fn a_condition_that_comes_in_is_no_further_column() {
    let route = |filter| {
        let (table, _) = typed(0);
        let mapping = Mapping { columns: Some(&[Requested::Rest]), filter };
        RouteSpec::compile(RouteId(0), &table, (table.name.clone(), None), mapping).unwrap()
    };
    assert!(!route(Some("cents > 0")).extends(&route(None).fingerprint()));
}

/// An enum may have gained a label since the expression was compiled: nothing is said against the row, which is read again.
#[test]
fn a_label_that_is_not_known_makes_a_row_unknown() {
    let (mut table, columns) = typed(0);
    let name = crate::expr::NamedType { schema: None, name: "mood".into() };
    let labels = vec!["sad".into(), "ok".into()];
    let mood = SqlType::Enum(std::sync::Arc::new(crate::expr::EnumType { name, labels }));
    let note = table.scope.as_mut().and_then(|scope| scope.columns.get_mut(4)).unwrap();
    (note.ty, note.collation) = (mood, None);
    let requested = [Requested::Sql("loud".into(), "upper(note::text)".into()), Requested::Rest];
    let mapping = Mapping { columns: Some(&requested), filter: Some("note <> 'ok'") };
    let spec = RouteSpec::compile(RouteId(0), &table, (table.name.clone(), None), mapping).unwrap();
    let binding = spec.bind(&columns).unwrap();
    let row = |note| typed_row(0, [Some("1"), None, None, None, note, None]);
    for form in [|row: Tuple| row, |row: Tuple| as_line(&row)] {
        assert_eq!(binding.holds(&form(row(Some("sad")))), Ok(Some(true)));
        assert_eq!(binding.holds(&form(row(Some("happy")))), Ok(None));
        assert_eq!(binding.up(&form(row(Some("happy")))), Ok(Mapped::Unknown));
    }
}
