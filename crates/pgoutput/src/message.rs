//! The messages of pgoutput protocol 1.

use bytes::Bytes;
use understudy_model::{
    Column, Lsn, OldImage, Relation, RelationId, ReplicaIdentity, SourceChange, TableName, Tuple,
};

use crate::DecodeError;
use crate::reader::Reader;

/// One message of the change stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A committed transaction starts.
    Begin {
        /// Address of its commit record.
        commit: Lsn,
        /// Commit time, microseconds since 2000-01-01 UTC.
        commit_time_us: i64,
        /// Its top-level id.
        xid: u32,
    },
    /// The open transaction ends.
    Commit {
        /// Address of its commit record.
        commit: Lsn,
        /// Where the next transaction can start.
        end: Lsn,
        /// Commit time, microseconds since 2000-01-01 UTC.
        commit_time_us: i64,
    },
    /// The open transaction was replicated to blue from elsewhere.
    Origin,
    /// The shape of a table, before the first change that needs it and again at any time.
    Relation(Relation),
    /// The name of a type that a relation will mention. Relations carry object ids, which is all that is needed.
    Type,
    /// A row changed, or tables were emptied.
    Change(SourceChange),
    /// A logical message.
    Logical {
        /// The namespace its writer chose.
        prefix: String,
        /// Its content.
        content: Bytes,
        /// Whether it belongs to the open transaction.
        transactional: bool,
    },
}

/// Reads one message, which must fill the bytes exactly.
pub fn decode(bytes: Bytes) -> Result<Message, DecodeError> {
    let mut reader = Reader::new(bytes, "a replication message");
    match reader.u8()? {
        b'I' => insert(reader.bytes),
        b'U' => update(reader.bytes),
        b'D' => delete(reader.bytes),
        b'B' => begin(reader.bytes),
        b'C' => commit(reader.bytes),
        b'R' => relation(reader.bytes),
        b'T' => truncate(reader.bytes),
        b'M' => logical(reader.bytes),
        b'O' => origin(reader.bytes),
        b'Y' => type_name(reader.bytes),
        tag @ (b'S' | b'E' | b'c' | b'A' | b'b' | b'P' | b'K' | b'r' | b'p') => {
            Err(DecodeError::Version { tag: tag.into() })
        }
        kind => Err(DecodeError::Kind { what: "a replication message", kind }),
    }
}

fn insert(bytes: Bytes) -> Result<Message, DecodeError> {
    let mut reader = Reader::new(bytes, "an insert");
    let relation = RelationId(reader.u32()?);
    match reader.u8()? {
        b'N' => {}
        kind => {
            return Err(DecodeError::Kind { what: "the row of an insert", kind });
        }
    }
    let new = tuple(&mut reader)?;
    reader.end(Message::Change(SourceChange::Insert { relation, new }))
}

fn update(bytes: Bytes) -> Result<Message, DecodeError> {
    let mut reader = Reader::new(bytes, "an update");
    let relation = RelationId(reader.u32()?);
    let mut kind = reader.u8()?;
    let mut old = None;
    if matches!(kind, b'K' | b'O') {
        old = Some(old_image(kind, &mut reader)?);
        kind = reader.u8()?;
    }
    if kind != b'N' {
        return Err(DecodeError::Kind { what: "the row of an update", kind });
    }
    let new = tuple(&mut reader)?;
    reader.end(Message::Change(SourceChange::Update { relation, old, new }))
}

fn delete(bytes: Bytes) -> Result<Message, DecodeError> {
    let mut reader = Reader::new(bytes, "a delete");
    let relation = RelationId(reader.u32()?);
    let kind = reader.u8()?;
    let old = old_image(kind, &mut reader)?;
    reader.end(Message::Change(SourceChange::Delete { relation, old }))
}

fn old_image(kind: u8, reader: &mut Reader) -> Result<OldImage, DecodeError> {
    match kind {
        b'K' => tuple(reader).map(OldImage::Identity),
        b'O' => tuple(reader).map(OldImage::Full),
        kind => Err(DecodeError::Kind { what: "an old row", kind }),
    }
}

fn tuple(reader: &mut Reader) -> Result<Tuple, DecodeError> {
    let columns = reader.u16()?;
    Tuple::take_wire(&mut reader.bytes, columns).ok_or_else(|| why_malformed(&reader.bytes, columns))
}

/// Walks a malformed tuple again to tell the one cause that an operator can do something about.
fn why_malformed(mut rest: &[u8], columns: u16) -> DecodeError {
    for column in 1..=usize::from(columns) {
        let Some((kind, after)) = rest.split_first() else {
            break;
        };
        match kind {
            b'n' | b'u' => rest = after,
            b't' => {
                let text = after.split_first_chunk::<4>();
                let Some(after) = text.and_then(|(len, text)| text.get(u32::from_be_bytes(*len) as usize..))
                else {
                    break;
                };
                rest = after;
            }
            b'b' => return DecodeError::Binary { column },
            kind => {
                return DecodeError::Kind { what: "a column", kind: *kind };
            }
        }
    }
    DecodeError::Tuple
}

fn begin(bytes: Bytes) -> Result<Message, DecodeError> {
    let mut reader = Reader::new(bytes, "a begin");
    let (commit, commit_time_us, xid) = (reader.lsn()?, reader.i64()?, reader.u32()?);
    reader.end(Message::Begin { commit, commit_time_us, xid })
}

fn commit(bytes: Bytes) -> Result<Message, DecodeError> {
    let mut reader = Reader::new(bytes, "a commit");
    let _flags = reader.u8()?;
    let (commit, end, commit_time_us) = (reader.lsn()?, reader.lsn()?, reader.i64()?);
    reader.end(Message::Commit { commit, end, commit_time_us })
}

fn origin(bytes: Bytes) -> Result<Message, DecodeError> {
    let mut reader = Reader::new(bytes, "an origin");
    reader.lsn()?;
    reader.skip_text()?;
    reader.end(Message::Origin)
}

fn type_name(bytes: Bytes) -> Result<Message, DecodeError> {
    let mut reader = Reader::new(bytes, "a type");
    reader.u32()?;
    reader.skip_text()?;
    reader.skip_text()?;
    reader.end(Message::Type)
}

fn relation(bytes: Bytes) -> Result<Message, DecodeError> {
    let mut reader = Reader::new(bytes, "a relation");
    let id = RelationId(reader.u32()?);
    let schema = reader.text()?;
    // The server leaves out the name of the schema that it calls its own.
    let schema = if schema.is_empty() { "pg_catalog".to_owned() } else { schema };
    let name = TableName { schema, name: reader.text()? };
    let identity = match reader.u8()? {
        b'd' => ReplicaIdentity::Default,
        b'i' => ReplicaIdentity::Index,
        b'f' => ReplicaIdentity::Full,
        b'n' => ReplicaIdentity::Nothing,
        kind => {
            return Err(DecodeError::Kind { what: "a replica identity", kind });
        }
    };
    let count = reader.u16()?;
    // What a message claims to hold is not reserved before it has been seen.
    let mut columns = Vec::with_capacity(usize::from(count).min(reader.bytes.len() / 10));
    for _ in 0..count {
        let in_identity = reader.u8()? & 1 == 1;
        let name = reader.text()?;
        let (type_oid, type_modifier) = (reader.u32()?, reader.u32()?.cast_signed());
        columns.push(Column { name, type_oid, type_modifier, in_identity });
    }
    reader.end(Message::Relation(Relation { id, name, identity, columns }))
}

fn truncate(bytes: Bytes) -> Result<Message, DecodeError> {
    let mut reader = Reader::new(bytes, "a truncate");
    let count = reader.u32()? as usize;
    let _options = reader.u8()?;
    let mut relations = Vec::with_capacity(count.min(reader.bytes.len() / 4));
    for _ in 0..count {
        relations.push(RelationId(reader.u32()?));
    }
    reader.end(Message::Change(SourceChange::Truncate { relations }))
}

fn logical(bytes: Bytes) -> Result<Message, DecodeError> {
    let mut reader = Reader::new(bytes, "a logical message");
    let flags = reader.u8()?;
    reader.lsn()?;
    let prefix = reader.text()?;
    let len = reader.u32()? as usize;
    let content = reader.take(len)?;
    reader.end(Message::Logical { prefix, content, transactional: flags & 1 == 1 })
}
