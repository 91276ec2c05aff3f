//! The state table: who owns a migration, where it stands, and all that it remembers.
//!
//! Whatever is written is written under the condition that this instance still owns the migration: the checkpoint in the owner's
//! own item, everything else in transactions that check it.

mod forms;

mod forget;
mod swept;

use std::time::{SystemTime, UNIX_EPOCH};

use aws_sdk_dynamodb::types::{AttributeValue, ConditionCheck, Delete, Put, TransactWriteItem};
use understudy_contract::{Cursor, Lineage};
use understudy_model::{Checkpoint, Xid};

use crate::calls::{Calls, Transacted, Written};
use crate::definitions::{TableDefinition, TableKey};
use crate::error::Error;
use crate::estimate::Billing;
use crate::layout::{Guard, Item, KeyKind};

use forms::ranges;
pub(crate) use forms::{
    DoneForm, Fields, Form, MIGRATION, Note, Notes, OF, OWNER, Progress, Reading, RouteForm, UnitForm, Why,
    aside, departed, heal, heal_of, surprise,
};
pub(crate) use swept::Swept;

/// How many notes go into one transaction, beside the check of the owner. DynamoDB takes 100 parts and 4 MB; a note has some 8 KB
/// at most, of keys that Postgres' indexes take.
const NOTES_AT_ONCE: usize = 99;

/// How often a claim is tried again because another one came between.
const CLAIMS_MOST: u32 = 8;

/// The state of one migration, for one instance.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) table: String,
    pub(crate) migration: String,
    /// What marks this instance as the owner.
    pub(crate) token: String,
}

/// What a claim finds.
pub(crate) struct Claimed {
    /// Of this run: greater than any before.
    pub(crate) epoch: u32,
    pub(crate) progress: Option<Progress>,
    /// By what each tells of.
    pub(crate) forms: Vec<(String, Form)>,
}

/// Where green stands once the changes before are written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reached<'a> {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) unseen: Option<&'a [Xid]>,
    pub(crate) cursor: Option<&'a Cursor>,
}

impl State {
    /// A new token: the connection's own half first, then the process's.
    pub(crate) fn new(table: &str, migration: &str, instance: u64) -> State {
        let token = format!("{:016x}{instance:016x}", rand::random::<u64>());
        State { table: table.to_owned(), migration: migration.to_owned(), token }
    }

    /// Whether an owner is this process, under whatever connection.
    fn is_ours(&self, owner: &str) -> bool {
        owner.len() == self.token.len() && owner.get(16..) == self.token.get(16..)
    }

    fn key(&self, of: &str) -> Item {
        Fields::default().text(MIGRATION, &self.migration).text(OF, of).0
    }

    fn unreadable(&self, what: &'static str) -> Error {
        Error::Unreadable { table: self.table.clone(), what }
    }

    /// Makes this instance the owner, and reads all that is remembered. `reclaim`: only if this process was the last one.
    pub(crate) async fn claim(&self, calls: &Calls, reclaim: bool) -> Result<Claimed, Error> {
        for _ in 0..CLAIMS_MOST {
            let owner = match calls.get(&self.table, self.key(OWNER)).await {
                Err(Error::NoTable { .. }) if !reclaim => {
                    definition(&self.table).make(calls.client()).await?;
                    continue;
                }
                owner => owner?,
            };
            let former = owner.as_ref().and_then(|owner| Reading(owner).text("token").map(str::to_owned));
            if reclaim && !former.as_deref().is_some_and(|owner| self.is_ours(owner)) {
                return Err(Error::Superseded);
            }
            let before = owner.as_ref().map_or(Some(0), |owner| Reading(owner).number::<u32>("epoch"));
            let before = before.ok_or_else(|| self.unreadable("the run's number"))?;
            // A state that was lost or forgotten does not take the versions of items with it: time goes on where it began.
            let epoch = before.saturating_add(1).max(seconds_now());
            let mut item = owner.unwrap_or_else(|| self.key(OWNER));
            let progress = Reading(&item).progress().map_err(|what| self.unreadable(what))?;
            let ours = Fields::default().text("token", &self.token).number("epoch", u64::from(epoch)).0;
            item.extend(ours);
            // The whole item is put, so the checkpoint that was read must still be the one.
            let guard = whole(former.as_deref(), progress.as_ref().map(|progress| progress.checkpoint));
            match calls.put(&self.table, item, guard).await? {
                Written::Done(_) => {}
                Written::Unmet(found) if self.owns(found.as_ref()) => {}
                Written::Unmet(_) | Written::NoRoom => continue,
            }
            let forms = self.forms(calls).await?;
            return Ok(Claimed { epoch, progress, forms });
        }
        Err(Error::Unsteady { table: self.table.clone(), item: OWNER.to_owned() })
    }

    /// What is remembered, by what each tells of; without the owner.
    pub(crate) async fn forms(&self, calls: &Calls) -> Result<Vec<(String, Form)>, Error> {
        let (mut forms, mut from) = (Vec::new(), None);
        loop {
            let this = AttributeValue::S(self.migration.clone());
            let (items, next) = calls.query(&self.table, (MIGRATION, this), from).await?;
            for item in items {
                let reading = Reading(&item);
                let of = reading.text(OF).filter(|of| *of != OWNER);
                if let Some(of) = of {
                    let form = reading.form().ok_or_else(|| self.unreadable("what a migration remembers"))?;
                    forms.push((of.to_owned(), form));
                }
            }
            match next {
                Some(next) => from = Some(next),
                None => return Ok(forms),
            }
        }
    }

    fn owns(&self, owner: Option<&Item>) -> bool {
        owner.is_some_and(|owner| Reading(owner).text("token") == Some(&self.token))
    }

    /// Fails unless this instance owns the migration at this moment.
    pub(crate) async fn check(&self, calls: &Calls) -> Result<(), Error> {
        let owner = calls.get(&self.table, self.key(OWNER)).await?;
        if self.owns(owner.as_ref()) { Ok(()) } else { Err(Error::Superseded) }
    }

    /// Records the start of a migration, or of its life under a new slot, in the run of a number; `from` is the checkpoint before, if
    /// there was one.
    pub(crate) async fn begin(
        &self,
        calls: &Calls,
        (lineage, epoch): (&Lineage, u32),
        (from, checkpoint): (Option<Checkpoint>, Checkpoint),
    ) -> Result<(), Error> {
        let fields = Fields::default()
            .number("begun", u64::from(epoch))
            .number("system_id", lineage.system_id)
            .number("timeline", u64::from(lineage.timeline))
            .text("database", &lineage.database)
            .text("slot", &lineage.slot)
            .number("checkpoint", checkpoint.lsn().raw());
        let fields = match &lineage.publication {
            Some(publication) => fields.text("publication", publication),
            None => fields,
        };
        let removed: &[&str] =
            if lineage.publication.is_some() { &["unseen"] } else { &["unseen", "publication"] };
        self.move_on(calls, (fields.0, removed), (from, checkpoint)).await
    }

    /// Records the version of the publication that is counted on from now on, at the checkpoint where green stands.
    pub(crate) async fn publish(
        &self,
        calls: &Calls,
        publication: &str,
        at: Checkpoint,
    ) -> Result<(), Error> {
        let fields = Fields::default().text("publication", publication);
        self.move_on(calls, (fields.0, &[]), (Some(at), at)).await
    }

    /// How far the migration is, whoever owns it; `None`: it has not begun.
    pub(crate) async fn progress(&self, calls: &Calls) -> Result<Option<Progress>, Error> {
        let Some(owner) = calls.get(&self.table, self.key(OWNER)).await? else { return Ok(None) };
        Reading(&owner).progress().map_err(|what| self.unreadable(what))
    }

    /// Moves the checkpoint, while this instance owns the migration and nobody else has moved it.
    pub(crate) async fn advance(
        &self,
        calls: &Calls,
        from: Checkpoint,
        reached: Reached<'_>,
    ) -> Result<(), Error> {
        let mut fields = Fields::default().number("checkpoint", reached.checkpoint.lsn().raw());
        let unseen = reached.unseen.and_then(ranges);
        fields = fields.maybe_text("unseen", unseen.as_deref());
        if let Some(cursor) = reached.cursor {
            fields = fields.bytes("cursor", &cursor.0);
        }
        let removed: &[&str] = if unseen.is_some() { &[] } else { &["unseen"] };
        self.move_on(calls, (fields.0, removed), (Some(from), reached.checkpoint)).await
    }

    /// Changes the owner's item, while it is ours and has the checkpoint from which we go on: an attempt that comes late finds
    /// another one.
    async fn move_on(
        &self,
        calls: &Calls,
        change: (Item, &[&str]),
        (from, to): (Option<Checkpoint>, Checkpoint),
    ) -> Result<(), Error> {
        let found = match self.change(calls, change, from).await? {
            Written::Done(_) => return Ok(()),
            Written::Unmet(found) => found,
            Written::NoRoom => None,
        };
        match found.as_ref().filter(|found| self.owns(Some(found))) {
            // An attempt of ours of which we have heard nothing.
            Some(found) if Reading(found).number("checkpoint") == Some(to.lsn().raw()) => Ok(()),
            Some(_) => Err(Error::Disturbed { table: self.table.clone() }),
            None => Err(Error::Superseded),
        }
    }

    /// Changes the owner's item.
    async fn change(
        &self,
        calls: &Calls,
        (set, remove): (Item, &[&str]),
        from: Option<Checkpoint>,
    ) -> Result<Written, Error> {
        let guard = whole(Some(&self.token), from);
        let mut update = crate::layout::UpdateParts {
            key: crate::layout::ItemKey::of_texts(&self.table, (MIGRATION, &self.migration), (OF, OWNER)),
            expression: String::new(),
            condition: guard.condition,
            names: guard.names,
            values: guard.values,
        };
        let mut settings = Vec::new();
        for (name, value) in set {
            settings.push(format!("#{name} = :{name}"));
            update.names.insert(format!("#{name}"), name.clone());
            update.values.insert(format!(":{name}"), value);
        }
        update.expression = format!("SET {}", settings.join(", "));
        if !remove.is_empty() {
            let names = remove.iter().map(|name| format!("#{name}")).collect::<Vec<_>>();
            update.expression.push_str(&format!(" REMOVE {}", names.join(", ")));
            update.names.extend(remove.iter().map(|name| (format!("#{name}"), (*name).to_owned())));
        }
        calls.update(update, aws_sdk_dynamodb::types::ReturnValue::None).await
    }

    /// Writes notes, as long as this instance owns the migration. So many at once as a transaction takes: of more, those that
    /// come first by their names may be written without the rest.
    pub(crate) async fn write(&self, calls: &Calls, notes: Notes) -> Result<(), Error> {
        let mut parts = notes.into_iter().map(|(of, note)| self.part(&of, note));
        loop {
            let some = parts.by_ref().take(NOTES_AT_ONCE).collect::<Result<Vec<_>, Error>>()?;
            if some.is_empty() {
                return Ok(());
            }
            let some = std::iter::once(self.still_owner()?).chain(some).collect();
            if calls.transact(&self.table, some).await? == Transacted::Unmet {
                return Err(Error::Superseded);
            }
        }
    }

    fn still_owner(&self) -> Result<TransactWriteItem, Error> {
        let check = ConditionCheck::builder()
            .table_name(&self.table)
            .set_key(Some(self.key(OWNER)))
            .condition_expression("#token = :token")
            .expression_attribute_names("#token", "token")
            .expression_attribute_values(":token", AttributeValue::S(self.token.clone()));
        let check = check.build().map_err(|_| self.unsent())?;
        Ok(TransactWriteItem::builder().condition_check(check).build())
    }

    fn part(&self, of: &str, note: Note) -> Result<TransactWriteItem, Error> {
        let part = TransactWriteItem::builder();
        Ok(match note {
            Note::Put(fields) => {
                let mut item = self.key(of);
                item.extend(fields);
                let put = Put::builder().table_name(&self.table).set_item(Some(item));
                part.put(put.build().map_err(|_| self.unsent())?)
            }
            Note::Remove => {
                let delete = Delete::builder().table_name(&self.table).set_key(Some(self.key(of)));
                part.delete(delete.build().map_err(|_| self.unsent())?)
            }
        }
        .build())
    }

    fn unsent(&self) -> Error {
        let code = "not sent".to_owned();
        Error::Invalid { operation: "TransactWriteItems", table: self.table.clone(), code }
    }
}

/// The table that keeps the state of migrations.
pub(crate) fn definition(table: &str) -> TableDefinition {
    let text = |name: &str| (name.to_owned(), KeyKind::S);
    TableDefinition {
        name: table.to_owned(),
        key: TableKey { pk: text(MIGRATION), sk: Some(text(OF)) },
        indexes: Vec::new(),
        ttl: None,
        billing: Billing::OnDemand,
    }
}

/// The condition that the owner's item is the one that is known.
fn whole(former: Option<&str>, checkpoint: Option<Checkpoint>) -> Guard {
    let names = |names: &[&str]| names.iter().map(|name| (format!("#{name}"), (*name).to_owned())).collect();
    let Some(former) = former else {
        let condition = "attribute_not_exists(#migration)".to_owned();
        return Guard { condition, names: names(&[MIGRATION]), values: Item::new() };
    };
    let mut values = Item::from([(":token".to_owned(), AttributeValue::S(former.to_owned()))]);
    let same = match checkpoint {
        Some(checkpoint) => {
            values.insert(":before".to_owned(), AttributeValue::N(checkpoint.lsn().raw().to_string()));
            "#checkpoint = :before"
        }
        None => "attribute_not_exists(#checkpoint)",
    };
    let condition = format!("#token = :token AND {same}");
    Guard { condition, names: names(&["token", "checkpoint"]), values }
}

/// Seconds since 1970, of which this has enough until 2106. So a migration that is begun anew does not fall behind versions of one
/// that was forgotten, unless that was claimed more than once a second all its life.
fn seconds_now() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}
