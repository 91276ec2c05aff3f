//! Rows come back byte for byte, stock consumers find what they expect, and what is wrong is refused without being shown.

use proptest::prelude::*;
use serde_json::Value as Json;
use understudy_model::{
    Key, OldImage, RelationId, ReplicaIdentity, SourceChange, TableName, Tuple, TupleBuilder, Value,
};

use super::super::error::CodecError;
use super::super::wire::arbitrary;
use super::*;

/// A column: its name, its type, and whether it is of the key.
type Shape<'a> = (&'a str, u32, bool);

const TEXT: u32 = 25;

fn schema(table: TableName, columns: &[Shape<'_>]) -> SchemaRecord {
    let column = |(name, type_oid, in_key): &Shape<'_>| SchemaColumn {
        name: (*name).to_owned(),
        type_oid: *type_oid,
        type_modifier: -1,
        type_name: None,
        in_identity: *in_key,
        in_key: *in_key,
    };
    let columns = columns.iter().map(column).collect();
    SchemaRecord { table, id: RelationId(16_385), version: 3, identity: ReplicaIdentity::Default, columns }
}

fn codec(columns: &[Shape<'_>]) -> TableCodec {
    TableCodec::new(&schema(TableName::new("public", "orders"), columns), "shop", "blue").unwrap()
}

/// A table with a column of each kind.
fn orders() -> TableCodec {
    codec(&[("id", 20, true), ("paid", 16, false), ("price", 701, false), ("note", TEXT, false)])
}

fn tuple(values: &[Option<&str>]) -> Tuple {
    let mut tuple = TupleBuilder::default();
    values.iter().for_each(|value| tuple.push(&value.map_or(Value::Null, text)));
    tuple.finish()
}

fn text(text: &str) -> Value<'_> {
    Value::Text(text.as_bytes().into())
}

fn key(texts: &[&str]) -> Key {
    Key::from_texts(texts.iter().map(|text| text.as_bytes()))
}

fn stamp() -> Stamp {
    Stamp {
        commit: Lsn::new(0x16_B374_D848),
        previous_end: Lsn::new(0x16_B374_D800),
        ordinal: 7,
        table_ordinal: 2,
        tx_size: 9,
        xid: 700,
        commit_time_us: 1_500,
        now_us: 1_700_000_000_123_456,
        group: 12,
    }
}

/// The records as a broker hands them out: headers, key, value.
type Read = (DataHeaders, Option<Vec<u8>>, Option<Vec<u8>>);

fn read(records: &Records) -> Vec<Read> {
    let headers = |record: &DataRecord<'_>| {
        DataHeaders::read(record.headers().map(|(name, value)| (name, Some(value))))
    };
    let read = |record: DataRecord<'_>| {
        (headers(&record).unwrap(), record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec))
    };
    records.iter().map(read).collect()
}

fn written(write: impl FnOnce(&mut Records) -> Result<(), CodecError>) -> Records {
    let mut records = Records::default();
    write(&mut records).unwrap();
    records
}

/// What the records say, one by one.
fn events(codec: &TableCodec, records: &Records) -> Vec<RowEvent> {
    let decode =
        |(headers, key, value): &Read| codec.decode(headers, key.as_deref(), value.as_deref()).unwrap();
    read(records).iter().map(decode).collect()
}

/// The changes that the records come to.
fn changes(codec: &TableCodec, records: &Records) -> Vec<SourceChange> {
    let mut all = read(records);
    all.sort_by_key(|(headers, _, _)| headers.order());
    let mut joiner = Joiner::default();
    let mut changes = Vec::new();
    for (headers, key, value) in &all {
        let event = codec.decode(headers, key.as_deref(), value.as_deref()).unwrap();
        changes.extend(joiner.change(codec.schema(), headers.order(), event).unwrap());
    }
    joiner.end_group().unwrap();
    changes
}

fn json(bytes: Option<&[u8]>) -> Json {
    serde_json::from_slice(bytes.unwrap()).unwrap()
}

fn type_oid() -> impl Strategy<Value = u32> {
    prop::sample::select(vec![16, 20, 21, 23, 700, 701, 1700, TEXT, 3802, 114, 17, 1184])
}

/// A table, a row of it, which of its values are not sent, and the keys before.
#[derive(Debug)]
struct Case {
    codec: TableCodec,
    row: Tuple,
    partial: Tuple,
    old_key: Key,
}

prop_compose! {
    fn case()(
        table in arbitrary::table(),
        names in prop::collection::btree_set(arbitrary::text(), 1..6),
        types in prop::collection::vec(type_oid(), 6),
        keys in prop::collection::vec(any::<bool>(), 6),
        values in prop::collection::vec(prop::option::weighted(0.9, arbitrary::text()), 6),
        unsent in prop::collection::vec(any::<bool>(), 6),
        old in prop::collection::vec(arbitrary::text(), 6),
    ) -> Case {
        // Their order is another one than that in which they sort.
        let names = names.into_iter().rev().collect::<Vec<_>>();
        let in_key = |at: usize| keys[at] || at + 1 == names.len();
        let columns = names.iter().enumerate().map(|(at, name)| (name.as_str(), types[at], in_key(at)));
        let columns = columns.collect::<Vec<_>>();
        let codec = TableCodec::new(&schema(table, &columns), "shop", "blue").unwrap();
        let (mut row, mut partial) = (TupleBuilder::default(), TupleBuilder::default());
        for at in 0..names.len() {
            let value = match &values[at] {
                Some(value) => text(value),
                None if in_key(at) => text(""),
                None => Value::Null,
            };
            row.push(&value);
            partial.push(if unsent[at] && !in_key(at) { &Value::Unchanged } else { &value });
        }
        let columns = codec.key.len();
        let old_key = Key::from_texts(old[..columns].iter().map(String::as_bytes));
        Case { codec, row: row.finish(), partial: partial.finish(), old_key }
    }
}

proptest! {
    /// Checklist 4, F23, F31: every text of Postgres comes back byte for byte through every kind of record, whatever its
    /// column's type and name; null, unsent and a text that looks like either stay what they are.
    #[test]
    fn rows_come_back_byte_for_byte(case in case()) {
        let Case { codec, row, partial, old_key } = &case;
        let relation = codec.schema.id;
        let same = |one: &Tuple, other: &Tuple| one.values().eq(other.values());
        let own_key = row.key(&codec.key).unwrap();

        let records = written(|out| codec.encode_insert(row, &stamp(), out));
        let inserted = changes(codec, &records);
        let [SourceChange::Insert { new, .. }] = &inserted[..] else { panic!() };
        prop_assert!(same(new, row));
        prop_assert_eq!(&codec.decode_key(records.iter().next().unwrap().key.unwrap()).unwrap(), &own_key);

        let records = written(|out| codec.encode_read(row, &stamp(), out));
        let read = events(codec, &records);
        let [RowEvent::Read { row: read }] = &read[..] else { panic!() };
        prop_assert!(same(read, row));

        let update = |old: Option<OldImage>, new: &Tuple| vec![SourceChange::Update { relation, old, new: new.clone() }];
        let records = written(|out| codec.encode_update((None, None), partial, &stamp(), out));
        prop_assert_eq!(changes(codec, &records), update(None, partial));
        let records = written(|out| codec.encode_update((None, Some(row)), partial, &stamp(), out));
        prop_assert_eq!(changes(codec, &records), update(Some(OldImage::Full(row.clone())), partial));

        let records = written(|out| codec.encode_delete(&own_key, None, &stamp(), out));
        let deleted = changes(codec, &records);
        let [SourceChange::Delete { old: OldImage::Identity(old), .. }] = &deleted[..] else { panic!() };
        prop_assert_eq!(old.key(&codec.key), Some(own_key.clone()));
        let records = written(|out| codec.encode_delete(&own_key, Some(row), &stamp(), out));
        let old = OldImage::Full(row.clone());
        prop_assert_eq!(changes(codec, &records), [SourceChange::Delete { relation, old }]);

        let records = written(|out| codec.encode_update((Some(old_key), None), partial, &stamp(), out));
        let moved = changes(codec, &records);
        let [SourceChange::Update { old, new, .. }] = &moved[..] else { panic!() };
        prop_assert!(same(new, partial));
        match old {
            Some(OldImage::Identity(old)) => prop_assert_eq!(old.key(&codec.key), Some(old_key.clone())),
            _ => prop_assert!(old.is_none() && *old_key == own_key),
        }
        let records = written(|out| codec.encode_update((Some(old_key), Some(row)), partial, &stamp(), out));
        prop_assert_eq!(changes(codec, &records), update(Some(OldImage::Full(row.clone())), partial));
    }

    /// F30: rows that came by COPY are written as those of the stream are.
    #[test]
    fn rows_of_chunks_are_written_as_those_of_the_stream(case in case()) {
        let mut line = Vec::new();
        case.row.push_copy_line(&mut line);
        let copied = Tuple::from_copy_line(line.into());
        let records = [&case.row, &copied].map(|row| written(|out| case.codec.encode_read(row, &stamp(), out)));
        prop_assert_eq!(read(&records[0]), read(&records[1]));
    }

    /// F30: no bytes of somebody else's make the reader fail in any other way than by an error.
    #[test]
    fn foreign_bytes_are_refused(case in case(), cut in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let records = written(|out| case.codec.encode_update((None, Some(&case.row)), &case.partial, &stamp(), out));
        let (headers, key, value) = read(&records).remove(0);
        let mut value = value.unwrap();
        let at = cut.index(value.len());
        prop_assert!(case.codec.decode(&headers, key.as_deref(), Some(&value[..at])).is_err());
        value[at] = byte;
        let _ = case.codec.decode(&headers, key.as_deref(), Some(&value));
    }
}

/// Guards the form that consumers of Debezium expect of an update, and that its key is what they partition and join by.
#[test]
fn an_update_is_what_stock_consumers_expect() {
    let row = tuple(&[Some("1"), Some("t"), Some("2.50"), Some("a \"b\"\n")]);
    let records = written(|out| orders().encode_update((None, None), &row, &stamp(), out));
    let record = records.iter().next().unwrap();
    assert_eq!(record.key, Some(&br#"{"id":1}"#[..]));
    let expected = format!(
        r#"{{"op":"u","before":null,"after":{{"id":1,"paid":true,"price":2.50,"note":"a \"b\"\n"}},"source":{{"version":"{}","connector":"postgresql","name":"shop","ts_ms":946684800001,"snapshot":"false","db":"blue","sequence":"[\"97500059648\",\"97500059720\"]","schema":"public","table":"orders","txId":700,"lsn":97500059720,"xmin":null}},"ts_ms":1700000000123,"ts_us":1700000000123456,"ts_ns":1700000000123456000,"transaction":{{"id":"700:97500059720","total_order":8,"data_collection_order":3}}}}"#,
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(std::str::from_utf8(record.value.unwrap()).unwrap(), expected);
    let headers = record.headers().map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value)));
    assert_eq!(headers.collect::<Vec<_>>(), ["understudy.place=16/B374D848 7 9 3 12"]);
}

/// Guards that stock consumers take a deletion, a changed key and a truncate for what they are.
#[test]
fn deletions_moves_and_truncates_are_what_stock_consumers_expect() {
    let codec = orders();
    let records = written(|out| codec.encode_delete(&key(&["1"]), None, &stamp(), out));
    let all = records.iter().collect::<Vec<_>>();
    let delete = json(all[0].value);
    assert_eq!(delete["before"], serde_json::json!({"id": 1, "paid": null, "price": null, "note": null}));
    assert_eq!((&delete["after"], &delete["op"]), (&Json::Null, &Json::from("d")));
    assert_eq!((all.len(), all[1].key, all[1].value), (2, all[0].key, None), "a tombstone follows");
    assert!(all[1].headers().any(|(name, _)| name == "understudy.tombstone"));

    let row = tuple(&[Some("2"), None, Some("NaN"), Some("")]);
    let records = written(|out| codec.encode_update((Some(&key(&["1"])), None), &row, &stamp(), out));
    let all = records.iter().collect::<Vec<_>>();
    let header = |record: &DataRecord<'_>, name| {
        record.headers().find(|(at, _)| *at == name).map(|(_, value)| value.to_vec())
    };
    assert_eq!(all.len(), 3);
    assert_eq!(header(&all[0], "__debezium.newkey"), Some(br#"{"id":2}"#.to_vec()));
    assert_eq!(all[1].value, None);
    assert_eq!(header(&all[2], "__debezium.oldkey"), Some(br#"{"id":1}"#.to_vec()));
    let create = json(all[2].value);
    assert_eq!((&create["op"], &create["before"]), (&Json::from("c"), &Json::Null));
    assert_eq!(create["after"], serde_json::json!({"id": 2, "paid": null, "price": "NaN", "note": ""}));

    let records = written(|out| {
        codec.encode_truncate(&stamp(), out);
        Ok(())
    });
    assert_eq!(events(&codec, &records), [RowEvent::Truncate]);
    let record = records.iter().next().unwrap();
    assert_eq!((record.key, &json(record.value)["op"]), (None, &Json::from("t")));
}

/// Guards that consumers never see a row vanish that only kept its key.
#[test]
fn a_key_that_stays_is_no_move() {
    let row = tuple(&[Some("1"), None, None, None]);
    let records = written(|out| orders().encode_update((Some(&key(&["1"])), None), &row, &stamp(), out));
    assert_eq!(events(&orders(), &records), [RowEvent::Update { old: None, new: row }]);
}

/// Guards that rows of a chunk are told apart from changes, as Debezium tells those of an incremental snapshot.
#[test]
fn rows_of_a_chunk_belong_to_no_transaction() {
    let row = tuple(&[Some("1"), None, None, None]);
    let records = written(|out| orders().encode_read(&row, &stamp(), out));
    let read = json(records.iter().next().unwrap().value);
    assert_eq!((&read["op"], &read["source"]["snapshot"]), (&Json::from("r"), &Json::from("incremental")));
    assert_eq!((&read["transaction"], &read["source"]["txId"]), (&Json::Null, &Json::Null));
}

/// F23: a value that was not sent is never taken for its marker, nor the marker's text for it.
#[test]
fn unsent_values_are_told_apart_from_their_marker() {
    let codec = codec(&[("id", 20, true), ("a", TEXT, false), ("b", TEXT, false)]);
    let mut row = TupleBuilder::default();
    [text("1"), text(UNAVAILABLE), Value::Unchanged].iter().for_each(|value| row.push(value));
    let row = row.finish();
    let records = written(|out| codec.encode_update((None, None), &row, &stamp(), out));
    let (mut headers, key, value) = read(&records).remove(0);
    let after = &json(value.as_deref())["after"];
    assert_eq!((&after["a"], &after["b"]), (&Json::from(UNAVAILABLE), &Json::from(UNAVAILABLE)));
    let decode = |headers: &DataHeaders| codec.decode(headers, key.as_deref(), value.as_deref());
    assert_eq!(decode(&headers), Ok(RowEvent::Update { old: None, new: row }));
    for wrong in [vec![0], vec![3]] {
        headers.unsent = wrong;
        assert_eq!(decode(&headers), Err(CodecError::Header { name: "understudy.unsent" }));
    }
}

/// F23: a row that must be whole is never written with a hole in it, and nothing of what is refused stays behind.
#[test]
fn rows_that_cannot_be_written_are_refused_whole() {
    let codec = orders();
    let mut partial = TupleBuilder::default();
    [text("1"), Value::Null, Value::Unchanged, Value::Null].iter().for_each(|value| partial.push(value));
    let partial = partial.finish();
    let latin = Tuple::from_copy_line(b"1\tt\t2\t\xE4"[..].to_vec().into());
    let whole = tuple(&[Some("1"), None, None, None]);
    let mut out = Records::default();
    codec.encode_insert(&whole, &stamp(), &mut out).unwrap();
    let before = (out.bytes_len(), out.len());
    let table = || TableName::new("public", "orders");
    let column = |name: &str| name.to_owned();
    let unsent = CodecError::Unsent { table: table(), column: column("price") };
    let no_key = CodecError::NoKey { table: table(), column: Some(column("id")) };
    let other = CodecError::OtherColumns { table: table() };
    let keyless = tuple(&[None, None, None, None]);
    assert_eq!(codec.encode_insert(&partial, &stamp(), &mut out), Err(unsent.clone()));
    assert_eq!(codec.encode_read(&partial, &stamp(), &mut out), Err(unsent.clone()));
    assert_eq!(codec.encode_delete(&key(&["1"]), Some(&partial), &stamp(), &mut out), Err(unsent));
    let not_utf8 = CodecError::NotUtf8 { table: table(), column: column("note") };
    assert_eq!(codec.encode_insert(&latin, &stamp(), &mut out), Err(not_utf8));
    let old = key(&["2"]);
    assert_eq!(codec.encode_update((None, None), &keyless, &stamp(), &mut out), Err(no_key.clone()));
    assert_eq!(codec.encode_update((Some(&old), None), &keyless, &stamp(), &mut out), Err(no_key.clone()));
    assert_eq!(codec.encode_delete(&key(&[]), None, &stamp(), &mut out), Err(no_key));
    for row in [tuple(&[Some("1")]), tuple(&[Some("1"), None, None, None, None])] {
        assert_eq!(codec.encode_insert(&row, &stamp(), &mut out), Err(other.clone()));
        assert_eq!(codec.encode_update((Some(&old), None), &row, &stamp(), &mut out), Err(other.clone()));
    }
    assert_eq!((out.bytes_len(), out.len()), before);
    let keyless = TableCodec::new(&schema(table(), &[("a", TEXT, false)]), "shop", "blue");
    assert_eq!(keyless.err(), Some(CodecError::NoKey { table: table(), column: None }));
}

/// F24: the halves of an update that changes a key are one change in whatever partitions they stand, or nothing goes on.
#[test]
fn half_of_an_update_is_never_taken_for_a_change() {
    let codec = orders();
    let row = tuple(&[Some("2"), None, None, None]);
    let records = written(|out| codec.encode_update((Some(&key(&["1"])), None), &row, &stamp(), out));
    let all = read(&records);
    let join = |records: &[&Read]| {
        let mut joiner = Joiner::default();
        for (headers, key, value) in records {
            let event = codec.decode(headers, key.as_deref(), value.as_deref()).unwrap();
            joiner.change(codec.schema(), headers.order(), event)?;
        }
        joiner.end_group()
    };
    let half = Err(CodecError::HalfUpdate { table: TableName::new("public", "orders") });
    let mut later = all[2].clone();
    later.0.ordinal += 1;
    let insert = read(&written(|out| codec.encode_insert(&row, &stamp(), out))).remove(0);
    assert_eq!(join(&[&all[0], &all[1], &all[2]]), Ok(()));
    assert_eq!(join(&[&all[0], &all[1]]), half);
    assert_eq!(join(&[&all[2]]), half);
    assert_eq!(join(&[&all[0], &later]), half);
    assert_eq!(join(&[&all[0], &insert, &all[2]]), half);
}

/// F30: what is wrong with a record is told by table and field, never by what it holds; columns that are not known are
/// passed over.
#[test]
fn wrong_records_are_refused_without_being_shown() {
    let codec = orders();
    let row = tuple(&[Some("1"), Some("t"), Some("2"), Some("x")]);
    let (headers, key, _) = read(&written(|out| codec.encode_insert(&row, &stamp(), out))).remove(0);
    let decode = |value: &str| codec.decode(&headers, key.as_deref(), Some(value.as_bytes()));
    let table = || TableName::new("public", "orders");
    let missing = |field: &str| Err(CodecError::Missing { table: table(), field: field.to_owned() });
    let wrong = |field: &str| Err(CodecError::WrongType { table: table(), field: field.to_owned() });

    let fine = r#" {"more":{"a":[1]},"after":{"note":"\u0078","new":[],"price":2,"paid":true,"id":"1"},"op":"\u0063"} "#;
    assert_eq!(decode(fine), Ok(RowEvent::Insert { new: row }));
    let after = |row: &str| decode(&format!(r#"{{"op":"c","after":{row}}}"#));
    assert_eq!(after(r#"{"id":1,"paid":true,"price":2}"#), missing("note"));
    assert_eq!(after("null"), missing("after"));
    assert_eq!(decode(r#"{"op":"c"}"#), missing("after"));
    assert_eq!(decode(r#"{"after":null}"#), missing("op"));
    assert_eq!(decode(r#"{"op":7,"after":null}"#), wrong("op"));
    assert_eq!(after(r#""secret""#), wrong("after"));
    assert_eq!(decode("[]"), wrong("value"));
    let with = |field: &str, value: &str| {
        let mut row = [("id", "1"), ("paid", "true"), ("price", "2"), ("note", "\"x\"")];
        row.iter_mut().filter(|(name, _)| *name == field).for_each(|(_, old)| *old = value);
        after(&format!("{{{}}}", row.map(|(name, value)| format!("\"{name}\":{value}")).join(",")))
    };
    for (field, value) in [
        ("id", "true"),
        ("id", "1.5"),
        ("id", "1e2"),
        ("paid", "1"),
        ("price", "[2]"),
        ("note", "7"),
        ("note", "{}"),
        ("note", "false"),
        ("note", r#""\ud800""#),
    ] {
        assert_eq!(with(field, value), wrong(field), "{value}");
    }
    assert_eq!(after(r#"{"id":1,"id":1,"paid":true,"price":2,"note":""}"#), wrong("after"));
    assert_eq!(decode(r#"{"op":"secret"}"#), Err(CodecError::WrongOperation { table: table() }));
    for bad in ["", "{", "{\"op\":\"c\"", "secret", "{}{}", "{\"op\":\"c\"}x"] {
        let error = decode(bad).unwrap_err();
        assert!(matches!(error, CodecError::NotJson { .. }), "{bad} {error}");
        assert!(!error.to_string().contains("secret"));
    }
    let tombstone = Err(CodecError::Header { name: "understudy.tombstone" });
    assert_eq!(codec.decode(&headers, key.as_deref(), None), tombstone);
}

/// Guards the quick way in, which looks at the end of a record only to know that it is whole: a record of another form, or one of
/// which anything is missing, is read by the strict way or refused.
#[test]
fn a_record_that_was_cut_off_is_refused_wherever() {
    // Names and texts that look like the end of a record.
    let table = TableName::new("pub,\"transaction\":null}", ",\"data_collection_order\":3}}");
    let shape = schema(table, &[("id", 20, true), ("transaction", TEXT, false)]);
    let codec = TableCodec::new(&shape, "shop", ",\"transaction\":null}").unwrap();
    let row = tuple(&[Some("1"), Some(",\"source\":{\"é\\")]);
    let refused = |write: &dyn Fn(&mut Records) -> Result<(), CodecError>| {
        let (headers, key, value) = read(&written(write)).remove(0);
        let value = value.unwrap();
        let decode = |value: &[u8]| codec.decode(&headers, key.as_deref(), Some(value));
        assert!(codec.written_fields(&value, headers.whole_before).is_some());
        assert!(decode(&value).is_ok());
        for len in 0..value.len() {
            assert!(matches!(decode(&value[..len]), Err(CodecError::NotJson { .. })), "{len}");
        }
        let row_at = value.windows(9).position(|bytes| bytes == b",\"source\"").unwrap_or(0);
        for at in 0..row_at {
            // Whatever the quick way takes, the strict one takes for the same.
            for byte in [b'"', b'\\', b',', b'}', b' ', b'0', b'x', 0x01, 0xC3] {
                let mut other = value.clone();
                other[at] = byte;
                let mut spaced = other.clone();
                spaced.push(b' ');
                assert!(codec.written_fields(&spaced, headers.whole_before).is_none());
                assert_eq!(decode(&other).ok(), decode(&spaced).ok(), "{at} {byte}");
            }
        }
    };
    refused(&|out| codec.encode_insert(&row, &stamp(), out));
    refused(&|out| codec.encode_read(&row, &stamp(), out));
    refused(&|out| codec.encode_update((None, Some(&row)), &row, &stamp(), out));
    refused(&|out| codec.encode_delete(&key(&["1"]), None, &stamp(), out));
}

/// F30: a deletion whose key cannot be read is refused, and so is one without.
#[test]
fn wrong_keys_are_refused() {
    let codec = codec(&[("a", 20, true), ("b", TEXT, true)]);
    let (headers, right, value) =
        read(&written(|out| codec.encode_delete(&key(&["1", "x"]), None, &stamp(), out))).remove(0);
    let decode = |key: Option<&[u8]>| codec.decode(&headers, key, value.as_deref());
    assert!(decode(right.as_deref()).is_ok());
    assert_eq!(codec.decode_key(br#"{"b":"x","more":1,"a":1}"#), Ok(key(&["1", "x"])));
    assert!(matches!(decode(None), Err(CodecError::Missing { .. })));
    for wrong in ["null", "7", "{}", r#"{"a":1}"#, r#"{"a":1,"b":null}"#, r#"{"a":1,"b":2}"#, "{", ""] {
        assert!(decode(Some(wrong.as_bytes())).is_err(), "{wrong}");
    }
}
