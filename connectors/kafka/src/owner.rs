//! Whose log it is, as the capture's bookkeeping tells: found out before anything of it is touched.

use rdkafka::producer::{Producer, ThreadedProducer};
use understudy_contract::{Class, Failure, Lineage};
use understudy_model::Lsn;

use crate::client::{Watcher, blocking, prober};
use crate::codec::{Owner, StateKey, StateRecord};
use crate::error::Error;
use crate::names::TopicNames;
use crate::read_all::{Told, read_all};
use crate::settings::KafkaSettings;
use crate::topics::{KNOWN_MAX, known, layout};

/// Who claims a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimant {
    /// The migration, and this process.
    pub owner: Owner,
    /// This process has written the log before: whoever writes it by now is a later one.
    pub has_owned: bool,
    /// Blue has been told that the log holds everything before it; `None` where blue has no slot.
    pub confirmed: Option<Lsn>,
}

/// What the bookkeeping of a log says of whose it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Whose {
    owner: Option<Owner>,
    lineage: Option<Lineage>,
}

impl Whose {
    /// The migration that a log belongs to, for a person, if that is another one than this; where blue's cluster is not asked
    /// about, by name, slot and database alone.
    pub fn another(&self, ours: &Owner, system_id: Option<u64>) -> Option<String> {
        let (name, slot, database, found) = match (&self.owner, &self.lineage) {
            (Some(owner), _) => (Some(&owner.migration), &owner.slot, &owner.database, owner.system_id),
            (None, Some(lineage)) => (None, &lineage.slot, &lineage.database, lineage.system_id),
            (None, None) => return None,
        };
        let is_named = name.is_none_or(|name| *name == ours.migration);
        if !is_named || (slot, database) != (&ours.slot, &ours.database) {
            let name = name.map_or("a migration".to_owned(), |name| format!("migration {name}"));
            return Some(format!("{name}, which takes database {database} from slot {slot}"));
        }
        system_id.filter(|wanted| *wanted != found).map(|wanted| {
            format!("the migration of this name from another server: system identifier {found}, not {wanted}")
        })
    }

    /// The migration's slot on blue; `None` where nobody has begun.
    pub fn slot(&self) -> Option<&str> {
        let of_owner = self.owner.as_ref().map(|owner| &owner.slot);
        of_owner.or(self.lineage.as_ref().map(|lineage| &lineage.slot)).map(String::as_str)
    }

    /// Whether another process has put its name into the books.
    pub(crate) fn is_another(&self, claimant: &Claimant) -> bool {
        self.owner.as_ref().is_some_and(|owner| owner.token != claimant.owner.token)
    }

    /// The process whose name is in the books.
    pub(crate) fn token(&self) -> Option<u64> {
        self.owner.as_ref().map(|owner| owner.token)
    }

    /// Whether a capture has begun.
    pub(crate) fn has_begun(&self) -> bool {
        self.lineage.is_some()
    }

    /// Takes a committed record of the bookkeeping. What cannot be read is left to who reads all of it.
    pub(crate) fn take(&mut self, key: &[u8], value: Option<&[u8]>) {
        if matches!(StateKey::from_bytes(key), Ok(StateKey::Owner | StateKey::Progress)) {
            match StateRecord::read(key, value) {
                Ok(StateRecord::Owner(owner)) => self.owner = Some(owner),
                Ok(StateRecord::Progress { progress, .. }) => self.lineage = Some(progress.lineage),
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// Whether the books tell how far a capture is, and not whose it is. Every capture puts its name there before anything
    /// else, so that these are not those that it began.
    pub(crate) fn is_beheaded(&self) -> bool {
        self.owner.is_none() && self.lineage.is_some()
    }

    /// Whether this log is the claimant's migration's, or nobody's.
    pub(crate) fn check(&self, claimant: &Claimant, topic_prefix: &str) -> Result<(), Error> {
        match self.another(&claimant.owner, Some(claimant.owner.system_id)) {
            Some(whose) => Err(Error::Foreign { topic_prefix: topic_prefix.to_owned(), whose }),
            None => Ok(()),
        }
    }
}

/// Whose the log with these topics is, if there is one.
pub async fn whose(settings: &KafkaSettings) -> Result<Whose, Failure> {
    let looked = of_books(settings, read_owner).await;
    looked.map_err(|error| Failure::from(error).while_doing("look whose topics these are in Kafka"))
}

/// What reading the topic of the bookkeeping comes to; nothing, where there is none.
pub(crate) async fn of_books<T: Default + Send + 'static>(
    settings: &KafkaSettings,
    read: fn(&KafkaSettings, &str) -> Result<T, Error>,
) -> Result<T, Error> {
    let (prober, watcher): (ThreadedProducer<Watcher>, Watcher) = prober(settings)?;
    let settings = settings.clone();
    blocking(move || {
        let names = TopicNames::new(&settings.topic_prefix);
        let (state, order) = (names.state(), names.order());
        let look = || layout(prober.client()).map_err(|error| watcher.judge(&error, "the cluster"));
        // A broker that knows the rest may be late with it. What ends a migration leaves neither.
        let there =
            known(KNOWN_MAX, look, |there| there.contains_key(&state) || !there.contains_key(&order))?;
        if there.contains_key(&state) { read(&settings, &state) } else { Ok(T::default()) }
    })
    .await
}

/// Finds out whether a failure is due to a later instance of a capture.
#[derive(Debug, Clone)]
pub struct LogJudge {
    pub(crate) settings: KafkaSettings,
    pub(crate) claimant: Claimant,
}

impl LogJudge {
    /// Brokers send an older capture away when it writes, and the books do when it begins again. What it sees of blue before that,
    /// a slot or a publication that has changed, may be a later one's doing: then nothing is amiss.
    pub async fn judge(&self, failure: Failure) -> Failure {
        if !matches!(failure.class(), Class::Diverged | Class::Configuration) {
            return failure;
        }
        match whose(&self.settings).await {
            Ok(whose) if whose.is_another(&self.claimant) => Error::Superseded.into(),
            Ok(_) | Err(_) => failure,
        }
    }
}

/// Reads it from the topic of the bookkeeping. Blocks its thread.
fn read_owner(settings: &KafkaSettings, topic: &str) -> Result<Whose, Error> {
    let mut whose = Whose::default();
    read_all(settings, topic, |key, value| {
        whose.take(key, value);
        Told::GoOn
    })?;
    Ok(whose)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        let text = |text: &str| text.to_owned();
        Owner { migration: text("shop"), slot: text("shop"), database: text("db"), system_id: 7, token: 1 }
    }

    fn lineage() -> Lineage {
        Lineage { system_id: 7, timeline: 1, database: "db".into(), slot: "shop".into(), publication: None }
    }

    /// Guards that the log of another migration is neither written nor deleted, whether its books name it or are older.
    #[test]
    fn the_log_of_another_migration_is_known() {
        let whose = |owner: Owner| Whose { owner: Some(owner), lineage: Some(lineage()) };
        assert_eq!(whose(Owner { token: 2, ..owner() }).another(&owner(), Some(7)), None);
        assert!(whose(Owner { migration: "other".into(), ..owner() }).another(&owner(), None).is_some());
        assert!(whose(Owner { database: "other".into(), ..owner() }).another(&owner(), None).is_some());
        let moved = whose(Owner { system_id: 8, ..owner() });
        assert!(moved.another(&owner(), Some(7)).is_some() && moved.another(&owner(), None).is_none());
        let unnamed = |lineage| Whose { owner: None, lineage: Some(lineage) };
        assert_eq!(unnamed(lineage()).another(&owner(), Some(7)), None);
        assert!(unnamed(Lineage { slot: "other".into(), ..lineage() }).another(&owner(), None).is_some());
        assert_eq!(Whose::default().another(&owner(), Some(7)), None);
    }

    /// Guards that books which were made anew under a capture are known from those that one has begun: what they lack nobody
    /// can tell.
    #[test]
    fn books_without_a_name_are_not_those_that_were_begun() {
        assert!(Whose { owner: None, lineage: Some(lineage()) }.is_beheaded());
        assert!(!Whose { owner: Some(owner()), lineage: Some(lineage()) }.is_beheaded());
        assert!(!Whose { owner: Some(owner()), lineage: None }.is_beheaded());
        assert!(!Whose::default().is_beheaded());
    }
}
