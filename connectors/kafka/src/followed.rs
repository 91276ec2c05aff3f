//! What a capture counts on in blue's publication, as its bookkeeping tells those who only look.

use std::collections::BTreeMap;

use understudy_contract::Failure;
use understudy_model::TableName;

use crate::codec::{StateKey, StateRecord};
use crate::error::Error;
use crate::owner::of_books;
use crate::read_all::{Told, read_all};
use crate::settings::KafkaSettings;

/// The publication as a capture knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CountedOn {
    /// Its version.
    pub publication: Option<String>,
    /// The version of each followed table's place in it.
    pub tables: BTreeMap<TableName, String>,
}

/// Reads what the capture of a migration has recorded. Nothing, where there is no bookkeeping.
pub async fn counted_on(settings: &KafkaSettings) -> Result<CountedOn, Failure> {
    let looked = of_books(settings, read).await;
    looked.map_err(|error| Failure::from(error).while_doing("read what the capture has recorded in Kafka"))
}

/// Blocks its thread. What cannot be read is left to who reads all of it.
fn read(settings: &KafkaSettings, topic: &str) -> Result<CountedOn, Error> {
    let mut known = CountedOn::default();
    read_all(settings, topic, |key, value| {
        known.take(key, value);
        Told::GoOn
    })?;
    Ok(known)
}

impl CountedOn {
    fn take(&mut self, key: &[u8], value: Option<&[u8]>) {
        match StateKey::from_bytes(key) {
            Ok(StateKey::Progress) => {
                if let Ok(StateRecord::Progress { progress, .. }) = StateRecord::read(key, value) {
                    self.publication = progress.lineage.publication;
                }
            }
            Ok(StateKey::Route { source }) => {
                let published = match StateRecord::read(key, value) {
                    Ok(StateRecord::Route(route)) => route.published,
                    Ok(_) | Err(_) => None,
                };
                match published {
                    Some(version) => self.tables.insert(source, version),
                    None => self.tables.remove(&source),
                };
            }
            Ok(_) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::RouteState;

    /// Guards that a table which the capture follows no more, or not yet again, is not looked for in the publication.
    #[test]
    fn what_is_followed_no_more_is_not_counted_on() {
        let route = |published: Option<&str>| {
            StateRecord::Route(RouteState {
                source: TableName::new("public", "item"),
                fingerprint: String::new(),
                complete: true,
                renewed: false,
                void: published.is_none(),
                published: published.map(str::to_owned),
            })
        };
        let mut known = CountedOn::default();
        let mut take = |record: &StateRecord| {
            known.take(&record.key(), record.value().as_deref());
            known.tables.len()
        };
        assert_eq!(take(&route(Some("1.2"))), 1);
        assert_eq!(take(&route(None)), 0);
        assert_eq!(take(&route(Some("1.3"))), 1);
        assert_eq!(take(&StateRecord::Gone(StateKey::Route { source: TableName::new("public", "item") })), 0);
    }
}
