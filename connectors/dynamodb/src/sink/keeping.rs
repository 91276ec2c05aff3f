//! What a start asks of the sink beyond the contract: routes forgotten, rows looked for, failures told from being superseded.

use std::sync::Arc;

use understudy_contract::{Class, Failure};
use understudy_model::RouteId;

use super::DynamoSink;
use super::target::unknown_route;
use super::write::Shared;
use crate::error::Error;
use crate::state::{Form, Note, Notes};

impl DynamoSink {
    /// Forgets that routes were ever followed, and records the version of the publication that they come through from now on.
    /// Their items stay.
    pub async fn forget_routes(&mut self, routes: &[RouteId], publication: &str) -> Result<(), Failure> {
        let forgotten = Box::pin(self.forget_all_of(routes, publication)).await;
        forgotten.map_err(|failure| failure.while_doing("record that tables join anew"))
    }

    async fn forget_all_of(&mut self, routes: &[RouteId], publication: &str) -> Result<(), Failure> {
        self.check_claimed()?;
        self.settle_all().await?;
        let Shared { state, calls, .. } = &*self.applier.shared;
        let known = state.forms(calls).await?;
        let mut notes = Notes::new();
        for route in routes {
            let target = self.applier.targets.get_mut(route.index()).ok_or_else(unknown_route)?;
            for (of, form) in known.iter().filter(|(_, form)| form.route() == Some(target.number)) {
                notes.insert(of.clone(), Note::Remove);
                if let Form::Heal { key, .. } = form {
                    self.applier.heals.settle(*route, key);
                }
            }
            (target.registered, target.complete, target.renewed) = (false, false, false);
            target.alone = false;
            target.units.clear();
            self.applier.aside.settle_route(*route);
        }
        state.write(calls, notes).await?;
        Ok(state.publish(calls, publication, self.applier.applied).await?)
    }

    /// Whether there is any row of a route. Looks through its table.
    pub async fn holds_rows(&self, route: RouteId) -> Result<bool, Failure> {
        let found = Box::pin(self.applier.has_rows(route)).await;
        found.map_err(|failure| failure.while_doing("look for rows on DynamoDB"))
    }

    /// Whether it has taken the migration over.
    pub fn is_claimed(&self) -> bool {
        self.claimed
    }

    /// What judges failures for as long as somebody else has the sink.
    pub fn judge_alone(&self) -> Judge {
        Judge { shared: Arc::clone(&self.applier.shared) }
    }
}

/// Finds out whether a failure is due to a later instance, by asking who owns the migration.
#[derive(Debug, Clone)]
pub struct Judge {
    shared: Arc<Shared>,
}

impl Judge {
    /// A slot or a publication that has changed, or a connection that was ended, may be a later instance's doing: then this one
    /// must not come back, and nothing is amiss.
    pub async fn judge(&self, failure: Failure) -> Failure {
        if !matches!(failure.class(), Class::Transient | Class::Diverged | Class::Configuration) {
            return failure;
        }
        match self.shared.state.check(&self.shared.calls).await {
            Err(error @ Error::Superseded) => error.into(),
            _ => failure,
        }
    }
}
