//! `mask`: what stands for a sensitive value on green, a hash under a key that only the settings hold.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::datum::Datum;
use super::error::EvalError;
use super::functions::{Call, Function, Slot};
use super::node::{Kind, Node};
use super::text::hex_of;
use super::types::SqlType;

/// The name by which expressions call it.
pub(crate) const NAME: &str = "mask";

/// Settings of a session that hold the two halves of a key, so that no SQL text does.
const SETTINGS: [&str; 2] = ["understudy.mask_inner", "understudy.mask_outer"];

/// Bytes that SHA-256 takes at once; a key of HMAC is brought to this length.
const BLOCK: usize = 64;

/// A key under which values are masked. Nothing shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct MaskKey {
    inner: Arc<[u8; BLOCK]>,
    outer: Arc<[u8; BLOCK]>,
}

impl MaskKey {
    /// A key of any length.
    pub fn new(bytes: impl AsRef<[u8]>) -> MaskKey {
        let bytes = bytes.as_ref();
        let mut block = [0; BLOCK];
        if bytes.len() > BLOCK {
            block[..32].copy_from_slice(&Sha256::digest(bytes));
        } else {
            block[..bytes.len()].copy_from_slice(bytes);
        }
        MaskKey {
            inner: Arc::new(block.map(|byte| byte ^ 0x36)),
            outer: Arc::new(block.map(|byte| byte ^ 0x5c)),
        }
    }

    /// What a session has to be told, by `set_config` with parameters, before it runs SQL that masks: names and values.
    pub fn settings(&self) -> [(&'static str, String); 2] {
        [(SETTINGS[0], hex_of(&self.inner[..])), (SETTINGS[1], hex_of(&self.outer[..]))]
    }

    /// A text that differs whenever the key does, and that does not tell the key.
    pub(crate) fn mark(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(b"understudy mask key");
        hash.update(&self.inner[..]);
        hex_of(&hash.finalize()[..8])
    }

    /// A call of `mask` on a text.
    pub(crate) fn call(&self, text: Node) -> Node {
        let half = |bytes: &[u8; BLOCK]| {
            Node::new(Kind::Constant(Datum::Bytes(bytes.to_vec().into())), SqlType::Bytea)
        };
        let collation = text.collation.clone();
        let args = vec![text, half(&self.inner), half(&self.outer)];
        let types = vec![SqlType::Text, SqlType::Bytea, SqlType::Bytea];
        let kind = Kind::Call { function: &MASK, args, types, case: Default::default() };
        Node { collation, ..Node::new(kind, SqlType::Text) }
    }
}

impl fmt::Debug for MaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MaskKey(..)")
    }
}

/// The SQL that masks a value, given as SQL, in a session that was told the key. It is what [`MASK`] computes.
pub(crate) fn sql(value: &str) -> String {
    let [inner, outer] = SETTINGS.map(|name| format!("decode(current_setting('{name}'), 'hex')"));
    format!("encode(sha256({outer} || sha256({inner} || convert_to(CAST({value} AS text), 'UTF8'))), 'hex')")
}

/// Not in the table of functions: its key does not stand in the expression.
static MASK: Function = Function::new(
    NAME,
    &[Slot::Text, Slot::Bytea, Slot::Bytea],
    Slot::Text,
    masked,
    "HMAC-SHA-256 of the value's text under the key of the settings, in hexadecimal.",
);

fn masked<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>, EvalError> {
    let [Datum::Text(text), Datum::Bytes(inner), Datum::Bytes(outer)] = args else {
        return Ok(Datum::Null);
    };
    let mut hash = Sha256::new();
    hash.update(inner.as_ref());
    hash.update(text.as_bytes());
    let within = hash.finalize();
    let mut hash = Sha256::new();
    hash.update(outer.as_ref());
    hash.update(within);
    Ok(Datum::text(hex_of(&hash.finalize())))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use understudy_model::TableName;

    use super::*;
    use crate::expr::{Collation, Expression, Modifier, Scope, ScopeColumn};

    fn scope(key: Option<MaskKey>) -> Scope {
        let column = |name: &str, ty: SqlType, modifier| ScopeColumn {
            name: name.to_owned(),
            ty,
            modifier,
            collation: Some(Collation::bytes()),
        };
        Scope {
            table: TableName::new("public", "t"),
            columns: vec![
                column("email", SqlType::Text, Modifier::NONE),
                column("code", SqlType::Bpchar, Modifier::of_characters(5)),
                column("active", SqlType::Bool, Modifier::NONE),
            ],
            types: HashMap::new(),
            collation: Collation::bytes(),
            mask_key: key,
        }
    }

    fn found(text: &str, key: &[u8], row: [Option<&str>; 3]) -> Option<String> {
        let row = row.map(|value| value.map(Into::into));
        Expression::compile(text, &scope(Some(MaskKey::new(key)))).unwrap().evaluate(&row).unwrap()
    }

    /// Masks have to be those that any other implementation of HMAC gives: the vectors of RFC 4231.
    #[test]
    fn masks_are_those_of_the_standard() {
        let row = [Some("what do ya want for nothing?"), None, None];
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(found("mask(email)", b"Jefe", row).as_deref(), Some(expected));
        let row = [Some("Test Using Larger Than Block-Size Key - Hash Key First"), None, None];
        let expected = "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54";
        assert_eq!(found("mask(email)", &[0xaa; 131], row).as_deref(), Some(expected));
    }

    /// The value's text is what a cast to text writes, so that the same SQL gives the same mask on a server.
    #[test]
    fn any_value_is_masked_by_its_text() {
        let row = [Some("ab"), Some("ab   "), Some("t")];
        assert_eq!(found("mask(code)", b"k", row), found("mask(email)", b"k", row));
        assert_eq!(found("mask(active)", b"k", row), found("mask('true')", b"k", row));
        assert_eq!(found("mask(email) IS NULL", b"k", [None, None, None]).as_deref(), Some("t"));
    }

    /// Without a key a mask could be found by trying.
    #[test]
    fn no_key_no_mask() {
        let problem = Expression::compile("mask(email)", &scope(None)).unwrap_err();
        assert!(problem.remedy.as_deref().unwrap_or_default().contains("mask: { key: { file: ... } }"));
        let with_key = scope(Some(MaskKey::new(b"k")));
        for wrong in ["mask()", "mask(email, code)", "pg_catalog.mask(email)"] {
            assert!(Expression::compile(wrong, &with_key).is_err(), "{wrong}");
        }
    }

    /// Promise 8: a key stays out of logs, whatever is printed of a route.
    #[test]
    fn nothing_shows_the_key() {
        let key = MaskKey::new(b"secret");
        let expression = Expression::compile("mask(email)", &scope(Some(key.clone()))).unwrap();
        let shown = format!("{key:?} {:?} {expression:?}", scope(Some(key.clone())));
        let bytes = format!("{}, {}", key.inner[0], key.inner[1]);
        assert!(!shown.contains(&bytes) && !shown.contains("secret"), "{shown}");
        assert_ne!(key.mark(), MaskKey::new(b"other").mark());
        assert!(expression.identity().contains(&key.mark()));
        assert_eq!(Expression::compile("email", &scope(Some(key))).unwrap().identity(), "email");
    }
}
