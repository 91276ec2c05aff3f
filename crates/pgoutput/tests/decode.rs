//! The decoder against an independent encoder, and against bytes that no server would send.

use bytes::{BufMut, Bytes, BytesMut};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use understudy_model::{
    Column, Lsn, OldImage, Relation, RelationId, ReplicaIdentity, SourceChange, TableName, Tuple,
    TupleBuilder, Value,
};
use understudy_pgoutput::{DecodeError, Message, decode, decode_frame};

#[derive(Debug, Clone)]
enum Field {
    Null,
    Unchanged,
    Text(Vec<u8>),
}

fn fields() -> impl Strategy<Value = Vec<Field>> {
    let text = vec(any::<u8>(), 0..40).prop_map(Field::Text);
    vec(prop_oneof![Just(Field::Null), Just(Field::Unchanged), text], 0..8)
}

fn tuple() -> impl Strategy<Value = Tuple> {
    fields().prop_map(|fields| {
        let mut builder = TupleBuilder::default();
        for field in &fields {
            builder.push(&match field {
                Field::Null => Value::Null,
                Field::Unchanged => Value::Unchanged,
                Field::Text(text) => Value::Text(text.into()),
            });
        }
        builder.finish()
    })
}

fn old_image() -> impl Strategy<Value = OldImage> {
    prop_oneof![tuple().prop_map(OldImage::Identity), tuple().prop_map(OldImage::Full)]
}

fn relation() -> impl Strategy<Value = Relation> {
    let identity = prop_oneof![
        Just(ReplicaIdentity::Default),
        Just(ReplicaIdentity::Index),
        Just(ReplicaIdentity::Full),
        Just(ReplicaIdentity::Nothing)
    ];
    let column = ("[^\0]{0,9}", any::<u32>(), any::<i32>(), any::<bool>()).prop_map(
        |(name, type_oid, type_modifier, in_identity)| Column { name, type_oid, type_modifier, in_identity },
    );
    (any::<u32>(), "[^\0]{1,9}", "[^\0]{0,9}", identity, vec(column, 0..6)).prop_map(
        |(id, schema, name, identity, columns)| Relation {
            id: RelationId(id),
            name: TableName { schema, name },
            identity,
            columns,
        },
    )
}

fn message() -> impl Strategy<Value = Message> {
    let lsn = || any::<u64>().prop_map(Lsn::new);
    let id = || any::<u32>().prop_map(RelationId);
    prop_oneof![
        (lsn(), any::<i64>(), any::<u32>()).prop_map(|(commit, commit_time_us, xid)| Message::Begin {
            commit,
            commit_time_us,
            xid
        }),
        (lsn(), lsn(), any::<i64>()).prop_map(|(commit, end, commit_time_us)| Message::Commit {
            commit,
            end,
            commit_time_us
        }),
        Just(Message::Origin),
        Just(Message::Type),
        relation().prop_map(Message::Relation),
        (id(), tuple()).prop_map(|(relation, new)| Message::Change(SourceChange::Insert { relation, new })),
        (id(), option::of(old_image()), tuple())
            .prop_map(|(relation, old, new)| Message::Change(SourceChange::Update { relation, old, new })),
        (id(), old_image())
            .prop_map(|(relation, old)| Message::Change(SourceChange::Delete { relation, old })),
        vec(id(), 0..5).prop_map(|relations| Message::Change(SourceChange::Truncate { relations })),
        ("[^\0]{0,9}", vec(any::<u8>(), 0..40), any::<bool>()).prop_map(
            |(prefix, content, transactional)| {
                Message::Logical { prefix, content: content.into(), transactional }
            }
        ),
    ]
}

fn put_text(out: &mut BytesMut, text: &str) {
    out.put_slice(text.as_bytes());
    out.put_u8(0);
}

fn put_tuple(out: &mut BytesMut, kind: u8, tuple: &Tuple) {
    out.put_u8(kind);
    out.put_u16(tuple.values().count() as u16);
    for value in tuple.values() {
        match value {
            Value::Null => out.put_u8(b'n'),
            Value::Unchanged => out.put_u8(b'u'),
            Value::Text(text) => {
                out.put_u8(b't');
                out.put_u32(text.len() as u32);
                out.put_slice(&text);
            }
        }
    }
}

fn put_old(out: &mut BytesMut, old: &OldImage) {
    match old {
        OldImage::Identity(tuple) => put_tuple(out, b'K', tuple),
        OldImage::Full(tuple) => put_tuple(out, b'O', tuple),
    }
}

fn put_change(out: &mut BytesMut, change: &SourceChange) {
    match change {
        SourceChange::Insert { relation, new } => {
            out.put_u8(b'I');
            out.put_u32(relation.0);
            put_tuple(out, b'N', new);
        }
        SourceChange::Update { relation, old, new } => {
            out.put_u8(b'U');
            out.put_u32(relation.0);
            if let Some(old) = old {
                put_old(out, old);
            }
            put_tuple(out, b'N', new);
        }
        SourceChange::Delete { relation, old } => {
            out.put_u8(b'D');
            out.put_u32(relation.0);
            put_old(out, old);
        }
        SourceChange::Truncate { relations } => {
            out.put_u8(b'T');
            out.put_u32(relations.len() as u32);
            out.put_u8(0);
            relations.iter().for_each(|relation| out.put_u32(relation.0));
        }
    }
}

fn put_relation(out: &mut BytesMut, relation: &Relation) {
    out.put_u8(b'R');
    out.put_u32(relation.id.0);
    put_text(out, &relation.name.schema);
    put_text(out, &relation.name.name);
    out.put_u8(match relation.identity {
        ReplicaIdentity::Default => b'd',
        ReplicaIdentity::Index => b'i',
        ReplicaIdentity::Full => b'f',
        ReplicaIdentity::Nothing => b'n',
    });
    out.put_u16(relation.columns.len() as u16);
    for column in &relation.columns {
        out.put_u8(column.in_identity.into());
        put_text(out, &column.name);
        out.put_u32(column.type_oid);
        out.put_i32(column.type_modifier);
    }
}

fn encode(message: &Message) -> Bytes {
    let mut out = BytesMut::new();
    match message {
        Message::Begin { commit, commit_time_us, xid } => {
            out.put_u8(b'B');
            out.put_u64(commit.raw());
            out.put_i64(*commit_time_us);
            out.put_u32(*xid);
        }
        Message::Commit { commit, end, commit_time_us } => {
            out.put_slice(b"C\0");
            out.put_u64(commit.raw());
            out.put_u64(end.raw());
            out.put_i64(*commit_time_us);
        }
        Message::Origin => out.put_slice(b"O\0\0\0\0\0\0\0\x01name\0"),
        Message::Type => out.put_slice(b"Y\0\0\0\x01public\0mood\0"),
        Message::Relation(relation) => put_relation(&mut out, relation),
        Message::Change(change) => put_change(&mut out, change),
        Message::Logical { prefix, content, transactional } => {
            out.put_u8(b'M');
            out.put_u8((*transactional).into());
            out.put_u64(9);
            put_text(&mut out, prefix);
            out.put_u32(content.len() as u32);
            out.put_slice(content);
        }
    }
    out.freeze()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn every_message_survives_the_round_trip(message in message()) {
        prop_assert_eq!(decode(encode(&message)), Ok(message));
    }

    #[test]
    fn every_truncation_and_extension_is_refused(message in message(), cut in any::<prop::sample::Index>()) {
        let whole = encode(&message);
        prop_assert!(decode(whole.slice(..cut.index(whole.len()))).is_err());
        let mut longer = whole.to_vec();
        longer.push(0);
        prop_assert!(decode(longer.into()).is_err());
    }

    #[test]
    fn mutated_messages_never_panic(message in message(), hits in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut bytes = encode(&message).to_vec();
        for (at, byte) in hits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(Message::Change(SourceChange::Insert { new, .. })) = decode(bytes.into()) {
            // What was accepted can be walked to its end.
            new.values().for_each(drop);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        let bytes = Bytes::from(bytes);
        let _ = decode_frame(bytes.clone());
        let _ = decode(bytes);
    }
}

#[test]
fn what_was_not_asked_for_is_refused_by_name() {
    let binary = b"I\0\0\0\x01N\0\x03nt\0\0\0\x01xb\0\0\0\x01x";
    assert_eq!(decode(Bytes::from_static(binary)), Err(DecodeError::Binary { column: 3 }));
    assert_eq!(decode(Bytes::from_static(b"S\0\0\0\x01\x01")), Err(DecodeError::Version { tag: 'S' }));
    assert_eq!(
        decode(Bytes::from_static(b"I\0\0\0\x01N\0\x01z")),
        Err(DecodeError::Kind { what: "a column", kind: b'z' })
    );
    assert_eq!(decode(Bytes::from_static(b"B")), Err(DecodeError::Short { what: "a begin" }));
}

#[test]
fn tuples_share_the_bytes_of_the_message() {
    let message = Bytes::from_static(b"U\0\0\0\x01K\0\x01t\0\0\0\x01aN\0\x01t\0\0\0\x01b");
    let Ok(Message::Change(SourceChange::Update { old: Some(OldImage::Identity(old)), new, .. })) =
        decode(message.clone())
    else {
        panic!("an update with an old key");
    };
    let inside = |tuple: &Tuple| match tuple.get(0) {
        Some(Value::Text(std::borrow::Cow::Borrowed(text))) => {
            message.as_ptr_range().contains(&text.as_ptr())
        }
        _ => false,
    };
    assert!(inside(&old) && inside(&new));
}
