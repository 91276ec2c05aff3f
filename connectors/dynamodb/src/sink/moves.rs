//! Rows that take another key: the old one goes, and the new one comes with what was not sent of it.

use understudy_contract::Failure;
use understudy_model::{Before, Key, RouteId, RowChange};

use super::applier::{Applier, Halt, Pass, Refused, Step, there};
use super::books::heal_key;
use super::fold::Known;
use super::target::Target;
use super::write::First;
use crate::error::Error;
use crate::layout::{ItemKey, Row, Standing};

/// The row that takes another key, as it was before.
enum Base {
    Row(Box<Row>),
    /// It is not there. Whether an earlier run has come further, and that is why.
    Missing {
        was_ahead: bool,
    },
    /// It is there, but perhaps as it was at another time, or written by somebody else.
    Doubtful,
}

impl Applier {
    pub(super) async fn moves(
        &mut self,
        pass: &mut Pass<'_>,
        at: usize,
        change: &RowChange,
    ) -> Result<(), Halt> {
        let RowChange::Update { route, old_key: Some(old), new, before, .. } = change else { return Ok(()) };
        let (target, version) = (self.target(*route)?, self.version(at)?);
        let (key, heal) = (target.key_of(new)?, heal_key(target.key_of(new)?, change));
        let mut row = match target.layout.read_checked(new, version) {
            Ok(row) => row,
            Err(not_fit) => return self.refuse(pass, at, Refused::NotTaken(not_fit.into())),
        };
        if row.is_whole() {
            return self.goes_and_comes(pass, at, (*route, old, *before), (key, row)).await;
        }
        match self.base(pass, at, (*route, old)).await? {
            Base::Row(base) => {
                row.take_from(&base);
                // What was written last before it may have told only now that the row has to be read again.
                if self.heals.contains(*route, old) && !self.heals.covers(*route, &heal) {
                    self.read_again(pass, at, (*route, heal))?;
                }
                if let Err(not_fit) = self.target(*route)?.layout.check_size(&row, version) {
                    return self.refuse(pass, at, Refused::NotTaken(not_fit.into()));
                }
                self.goes_and_comes(pass, at, (*route, old, *before), (key, row)).await
            }
            Base::Missing { was_ahead } => {
                if there(self.target(*route)?, *before) == First::There && !was_ahead {
                    self.note_surprise(pass, at, (*route, old), "missing")?;
                }
                Ok(self.read_again(pass, at, (*route, heal))?)
            }
            Base::Doubtful => {
                self.gone(pass, Step { at, first: First::Any, heal: None }, (*route, old)).await?;
                if !self.heals.covers(*route, &heal) {
                    self.read_again(pass, at, (*route, heal))?;
                }
                Ok(())
            }
        }
    }

    async fn goes_and_comes(
        &mut self,
        pass: &mut Pass<'_>,
        at: usize,
        (route, old, before): (RouteId, &Key, Before),
        (key, row): (Key, Row),
    ) -> Result<(), Halt> {
        let first = there(self.target(route)?, before);
        self.gone(pass, Step { at, first, heal: None }, (route, old)).await?;
        let first = if self.target(route)?.complete { First::Free } else { First::Any };
        self.put(pass, Step { at, first, heal: None }, (route, key, row)).await
    }

    /// The row that a change takes away from a key: as the changes before it leave it, or as it is stored.
    async fn base(
        &mut self,
        pass: &mut Pass<'_>,
        at: usize,
        (route, old): (RouteId, &Key),
    ) -> Result<Base, Halt> {
        let Ok((item, part)) = self.target(route)?.place_of(old) else {
            return Ok(Base::Missing { was_ahead: false });
        };
        match pass.wave.known(&item, part.as_deref()) {
            Known::Row(row) => return Ok(Base::Row(Box::new(row.clone()))),
            Known::Gone => return Ok(Base::Missing { was_ahead: false }),
            Known::Part => self.flush(pass).await?,
            Known::Nothing => match pass.whole.known(&item, part.as_deref()) {
                Known::Row(row) => return Ok(Base::Row(Box::new(row.clone()))),
                Known::Gone => return Ok(Base::Missing { was_ahead: false }),
                Known::Part => self.flush_whole(pass).await?,
                Known::Nothing => {}
            },
        }
        Ok(self.stored(at, (route, old, &item, part.as_deref())).await?)
    }

    async fn stored(
        &self,
        at: usize,
        (route, old, item, part): (RouteId, &Key, &ItemKey, Option<&str>),
    ) -> Result<Base, Failure> {
        let (target, version) = (self.target(route)?, self.version(at)?);
        let found = self.shared.calls.get(item.table(), item.to_av()).await?;
        Ok(match (target.layout.standing(found.as_ref(), part), &found) {
            (Standing::There(before), Some(found)) if !before.is_ahead_of(version) => {
                match target.layout.row_in(found, old) {
                    Ok(row) => Base::Row(Box::new(row)),
                    Err(_) => Base::Doubtful,
                }
            }
            (Standing::There(_) | Standing::Unversioned(_), _) => Base::Doubtful,
            (Standing::Deleted(before), _) => Base::Missing { was_ahead: before.is_ahead_of(version) },
            (Standing::Absent | Standing::Others, _) => Base::Missing { was_ahead: false },
        })
    }
}

impl Target {
    /// The item, and where rows are parts the part, that a key means.
    pub(super) fn place_of(&self, key: &Key) -> Result<(ItemKey, Option<String>), Error> {
        let item = self.layout.item_key(key)?;
        let part = self.layout.plan().part.as_ref().map(|_| self.layout.part_of(key)).transpose()?;
        Ok((item, part))
    }
}
