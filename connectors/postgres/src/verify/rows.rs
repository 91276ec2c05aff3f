//! What is selected of each row, and rows from what comes back.

use understudy_contract::{
    Class, Detail, Failure, NotRead, RangeDigest, RowDigest, RowName, RowSeen, RowVersion, SeenValue,
};
use understudy_model::{Key, Tuple, Value};

use super::sql::Side;
use super::stop::Step;
use crate::wire::Row;

/// What is selected of each row, in order: the own key, green's key where it is another expression, digest, version, writer,
/// origin, values.
pub(super) struct RowShape<'a> {
    side: Side<'a>,
    /// How green's name of a row is told.
    names: Names,
    detail: Detail,
    /// Replication origins that are ours, where whose a row is can be told.
    origins: Option<&'a [u32]>,
}

/// How the names of a row are told from what is selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// On blue: both are computed.
    Both,
    /// On green: the same on blue.
    Passed,
    /// On green: blue's is not known.
    GreenAlone,
}

impl<'a> RowShape<'a> {
    pub(super) fn new(
        side: Side<'a>,
        names: Names,
        detail: Detail,
        origins: Option<&'a [u32]>,
    ) -> RowShape<'a> {
        let origins = origins.filter(|_| side.query.versioned);
        RowShape { side, names, detail, origins }
    }

    /// The expressions that are selected.
    pub(super) fn list(&self) -> String {
        let mut list = self.side.name_columns().into_iter().map(str::to_owned).collect::<Vec<_>>();
        if self.names == Names::Both {
            list.extend(self.side.query.green_key.iter().cloned());
        }
        list.extend([self.side.row_digest(), self.side.version()]);
        if self.origins.is_some() {
            list.push(self.side.origin());
        }
        if self.detail == Detail::Values {
            for column in &self.side.query.columns {
                list.push(column.value.clone());
                // A table may have nearly as many columns as a query may select: most are compared as they are.
                list.extend(column.compared.clone().filter(|compared| *compared != column.value));
            }
        }
        list.join(", ")
    }

    /// One row of what was selected.
    pub(super) fn read(&self, tuple: &Tuple) -> Step<RowSeen> {
        let values = tuple.values().map(text).collect::<Step<Vec<_>>>()?;
        let mut values = values.into_iter();
        let own = name(values.by_ref().take(self.side.key.len()))?;
        let name = match self.names {
            Names::Both => {
                let green = name(values.by_ref().take(self.side.query.green_key.len()))?;
                RowName { green, blue: Some(own) }
            }
            Names::Passed => RowName { green: own.clone(), blue: Some(own) },
            Names::GreenAlone => RowName { green: own, blue: None },
        };
        let digest = values.next().flatten().ok_or_else(malformed)?;
        let digest = RowDigest(u128::from_str_radix(&digest, 16).map_err(|_| malformed())?);
        let version = match (values.next().flatten(), values.next().flatten()) {
            (Some(text), Some(xid)) => Some(RowVersion { text, xid: xid.parse().map_err(|_| malformed())? }),
            _ => None,
        };
        let origin = self.origins.map(|ours| (ours, values.next().flatten()));
        let foreign = match origin {
            Some((ours, Some(origin))) => Some(!ours.contains(&origin.parse().map_err(|_| malformed())?)),
            _ => None,
        };
        let values = (self.detail == Detail::Values).then(|| self.values(values));
        Ok(RowSeen { name, digest, version, values, foreign })
    }

    fn values(&self, mut texts: impl Iterator<Item = Option<Box<str>>>) -> Vec<SeenValue> {
        let columns = self.side.query.columns.iter().map(|column| {
            let text = texts.next().flatten();
            let compared = match &column.compared {
                None => None,
                Some(sql) if *sql == column.value => text.clone(),
                Some(_) => texts.next().flatten(),
            };
            SeenValue { text, compared }
        });
        columns.collect()
    }
}

fn text(value: Value<'_>) -> Step<Option<Box<str>>> {
    match value {
        Value::Null | Value::Unchanged => Ok(None),
        Value::Text(bytes) => match String::from_utf8(bytes.into_owned()) {
            Ok(text) => Ok(Some(text.into())),
            Err(_) => Err(NotRead::Unreadable("a text that is not valid UTF-8".to_owned()).into()),
        },
    }
}

fn name(texts: impl Iterator<Item = Option<Box<str>>>) -> Step<Key> {
    let Some(texts) = texts.collect::<Option<Vec<_>>>() else {
        return Err(NotRead::Unreadable("the key of a row comes to null".to_owned()).into());
    };
    Ok(Key::from_texts(texts.iter().map(|text| text.as_bytes())))
}

/// The digest of a range.
pub(super) fn range_digest(row: Option<&Row>) -> Result<RangeDigest, Failure> {
    let row = row.ok_or_else(malformed)?;
    Ok(RangeDigest { rows: row.parse(0)?, upper: row.parse(1)?, lower: row.parse(2)? })
}

/// The key that a range ends with.
pub(super) fn boundary(row: Option<&Row>) -> Step<Option<Key>> {
    let Some(row) = row else { return Ok(None) };
    name((0..row.len()).map(|at| row.text(at).map(Box::from))).map(Some)
}

fn malformed() -> Failure {
    Failure::new(Class::Internal, "a row that was read for comparison has an unexpected form")
}
