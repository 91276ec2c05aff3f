//! How routes are emptied: row by row, each with a tombstone, so that nothing which comes late brings a row back.

use understudy_contract::{Class, Failure};
use understudy_model::{HealKey, RouteId, RowChange};

use aws_sdk_dynamodb::types::AttributeValue;

use super::applier::{Applier, Halt, Pass, Step};
use super::write::First;
use crate::layout::{Seen, TAG};

/// What becomes of a row when a leaf is emptied.
enum Fate {
    Stays,
    Goes,
    /// Whether it goes has to be asked of blue.
    Asked(HealKey),
}

impl Applier {
    /// Removes the rows that a change means.
    pub(super) async fn empty(
        &mut self,
        pass: &mut Pass<'_>,
        at: usize,
        change: &RowChange,
    ) -> Result<(), Halt> {
        match change {
            RowChange::Truncate { routes } => {
                for route in routes {
                    self.rows(pass, at, (*route, None)).await?;
                    self.settle_route(*route);
                }
            }
            RowChange::TruncateLeaf { route, predicate } => {
                self.rows(pass, at, (*route, Some(predicate))).await?;
            }
            _ => {}
        }
        Ok(())
    }

    async fn rows(
        &mut self,
        pass: &mut Pass<'_>,
        at: usize,
        (route, predicate): (RouteId, Option<&str>),
    ) -> Result<(), Halt> {
        let layout = std::sync::Arc::clone(&self.target(route)?.layout);
        let tag = AttributeValue::S(layout.plan().tag.clone());
        let mut from = None;
        loop {
            let page = self.shared.calls.scan(&layout.plan().table, (TAG, tag.clone()), from).await?;
            for seen in page.0.iter().flat_map(|item| layout.rows(item)).filter(|seen| !seen.is_tombstone) {
                match self.fate(route, predicate, &seen)? {
                    Fate::Stays => {}
                    Fate::Goes => {
                        let step = Step { at, first: First::Any, heal: None };
                        self.gone(pass, step, (route, &seen.key)).await?;
                    }
                    Fate::Asked(key) if self.heals.covers(route, &key) => {}
                    Fate::Asked(key) => self.read_again(pass, at, (route, key))?,
                }
            }
            // A page at a time, so that no more than that is held.
            self.flush(pass).await?;
            match page.1 {
                Some(next) => from = Some(next),
                None => return Ok(()),
            }
        }
    }

    fn fate(&self, route: RouteId, predicate: Option<&str>, seen: &Seen) -> Result<Fate, Failure> {
        let Some(predicate) = predicate else { return Ok(Fate::Goes) };
        let texts = seen.columns.iter().cloned().collect::<Result<Vec<_>, _>>();
        match texts.ok().and_then(|texts| self.leaves.holds(route, predicate, &texts)) {
            Some(true) => Ok(Fate::Goes),
            Some(false) => Ok(Fate::Stays),
            None => match &seen.blue_key {
                Some(blue) => Ok(Fate::Asked(HealKey { green: seen.key.clone(), blue: blue.clone() })),
                None => Err(untold(&self.target(route)?.green.source.to_string())),
            },
        }
    }
}

fn untold(source: &str) -> Failure {
    let cause = format!(
        "blue emptied a partition of {source}, and nothing tells which items on DynamoDB came from it"
    );
    Failure::new(Class::SchemaChange, cause).remedy(
        "copy the table again with --recopy, or map every column of its key and of its partitions as it is",
    )
}
