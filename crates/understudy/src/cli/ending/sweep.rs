//! The last sweep of a migration into DynamoDB: tombstones go, and on request what is ours beside rows.

use std::sync::{Mutex, PoisonError};

use understudy_contract::{Class, Failure};
use understudy_dynamodb::{self as dynamodb, DynamoTable, SinkSettings, SweepSettings, Swept};
use understudy_postgres::wire::Client;

use super::{Books, Ending, Kind};
use crate::cli::asking::Progress;
use crate::green::items;
use crate::mapping::{self, Both, Described};
use crate::routes;
use crate::settings::Settings;

impl Ending<'_> {
    /// Sweeps where the migration is complete and its bookkeeping goes, and says what was removed. Whoever insists on the end gets
    /// it without a sweep where blue no longer shows which items are meant.
    pub(super) async fn sweep(
        &self,
        blue: &mut Client,
        (green, sink): (&dynamodb::Client, &SinkSettings),
        settings: &Settings,
    ) -> Result<Vec<String>, Failure> {
        if self.kind == Kind::Abort || self.books == Books::Keep {
            return Ok(Vec::new());
        }
        let tables = match tables(blue, settings).await {
            Ok(tables) => tables,
            Err(failure) if self.args.force => {
                tracing::warn!(error = %failure, "tombstones stay: which items are the migration's cannot be told");
                return Ok(Vec::new());
            }
            Err(failure) => return Err(failure),
        };
        let how = SweepSettings { attributes: self.strips, ..SweepSettings::default() };
        let progress = Mutex::new(Progress::new());
        let tell = move |swept: Swept| {
            progress.lock().unwrap_or_else(PoisonError::into_inner).tell(|| how_far(swept));
        };
        let swept = Box::pin(dynamodb::sweep(green.clone(), sink, &tables, how, tell)).await?;
        if swept.left > 0 && !self.args.force {
            let cause = format!(
                "{} items on DynamoDB still have a mark of the migration or are tombstones",
                swept.left
            );
            return Err(Failure::new(Class::Transient, cause).remedy(
                "run the same command again, which goes on with them; with --force they stay, and nothing tells any more \
                 whose they are",
            ));
        }
        Ok(told(swept))
    }
}

/// Where the items of the migration are.
async fn tables(blue: &mut Client, settings: &Settings) -> Result<Vec<DynamoTable>, Failure> {
    let both = Both::of_blue(Described::read(blue).await?);
    let taken = routes::taken(settings, &both.blue.tables)?;
    items::tables(settings, &mapping::draw(settings, &taken, &both)?)
}

fn how_far(swept: Swept) -> String {
    let Swept { segments, segments_done, tombstones, .. } = swept;
    format!("sweeping: {segments_done} of {segments} segments, {tombstones} tombstones removed")
}

fn told(swept: Swept) -> Vec<String> {
    let counted = [
        (swept.tombstones, "tombstones of deleted rows on DynamoDB"),
        (swept.stripped, "marks of the migration on items of DynamoDB"),
    ];
    let removed = counted.into_iter().filter(|(count, _)| *count > 0);
    removed.map(|(count, what)| format!("{count} {what}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_removed_is_told() {
        let swept = Swept { segments: 4, segments_done: 1, tombstones: 7, ..Swept::default() };
        assert_eq!(told(swept), ["7 tombstones of deleted rows on DynamoDB"]);
        assert_eq!(how_far(swept), "sweeping: 1 of 4 segments, 7 tombstones removed");
        assert_eq!(told(Swept::default()), Vec::<String>::new());
    }
}
