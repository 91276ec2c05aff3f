//! The same where green is DynamoDB: items stay, and what is remembered of the migration goes.

use understudy_contract::Failure;
use understudy_dynamodb::{self as dynamodb, Forget, SinkSettings};
use understudy_postgres::source::{publication, slot};
use understudy_postgres::wire::Client;

use super::{Books, Ending, Kind, lasting_sessions};
use crate::cli::exit::{CliError, Exit};
use crate::cli::output::Output;
use crate::green::look;
use crate::settings::{DynamoSettings, Settings};

impl Ending<'_> {
    pub(super) async fn carry_out_items(
        &self,
        settings: &Settings,
        dynamo: &DynamoSettings,
        output: Output,
    ) -> Result<(), CliError> {
        let file = self.file.display().to_string();
        let failed = |failure: Failure| CliError::of(&failure, &file);
        let role = settings.name.application_name(self.verb());
        let blue = Client::connect(&settings.blue.clone().with_application_name(&role)).await;
        let mut blue = blue.map_err(|failure| failed(failure.while_doing("connect to blue")))?;
        let green = Box::pin(dynamodb::connect(&dynamo.client)).await;
        let green = green.map_err(|failure| failed(failure.while_doing("connect to green")))?;
        let objections = Box::pin(self.objections_to_items(&mut blue, (&green, dynamo), settings)).await;
        let objections = objections.map_err(failed)?;
        if !objections.is_empty() && !self.args.force {
            let what = format!("nothing was changed: {}", objections.join("; "));
            return Err(CliError::new(Exit::Aborted, what, "understudy status").remedy(format!(
                "stop the sidecar and settle this first, or go on all the same: understudy {} {file} --force",
                self.verb()
            )));
        }
        self.confirm(settings, &file, output)?;
        let removed = Box::pin(self.remove_items(&mut blue, (green, dynamo), settings)).await;
        let removed = removed.map_err(failed)?;
        blue.close().await;
        self.tell(settings, &removed, false, output)
    }

    async fn objections_to_items(
        &self,
        blue: &mut Client,
        (green, dynamo): (&dynamodb::Client, &DynamoSettings),
        settings: &Settings,
    ) -> Result<Vec<String>, Failure> {
        let mut objections = Vec::new();
        let name = settings.name.slot();
        if let Some(pid) = slot::inspect(blue, &name).await?.and_then(|slot| slot.active_pid) {
            objections.push(format!("a sidecar is running: process {pid} of blue reads the slot {name}"));
        } else {
            let sessions = lasting_sessions(blue, settings.name.as_str()).await?;
            if sessions > 0 {
                objections.push(format!("a sidecar is running: it has {sessions} sessions on blue"));
            }
        }
        if self.kind == Kind::Abort {
            return Ok(objections);
        }
        let books = look::books(green, dynamo, settings.name.as_str());
        let remembered = Box::pin(books.read()).await?;
        let open = remembered.routes.iter().filter(|route| !route.complete).count();
        for (count, what) in [
            (open, "tables that are not copied completely"),
            (remembered.heals, "rows that wait to be read again"),
            (remembered.aside, "quarantined changes"),
        ] {
            if count > 0 {
                objections.push(format!("{what}: {count}"));
            }
        }
        let known = Box::pin(look::known(green, dynamo, settings.name.as_str())).await?;
        let followed = known.followed(&name);
        if let Some(there) = publication::inspect(blue, &name).await? {
            let gap = followed.gap_on(blue, Some(&there)).await?;
            objections.extend(gap.map(|gap| followed.failure(&gap).to_string()));
        }
        Ok(objections)
    }

    /// Removes what there is, blue's first: from then on nothing is kept there for us.
    async fn remove_items(
        &self,
        blue: &mut Client,
        (green, dynamo): (dynamodb::Client, &DynamoSettings),
        settings: &Settings,
    ) -> Result<Vec<String>, Failure> {
        let name = settings.name.slot();
        let mut removed = Vec::new();
        if slot::drop(blue, &name, &format!("understudy/{}", settings.name)).await? {
            removed.push(format!("replication slot {name} on blue"));
        }
        if publication::drop(blue, &name).await? {
            removed.push(format!("publication {name} on blue"));
        }
        let sink = SinkSettings {
            state_table: dynamo.state_table.clone(),
            calls: dynamo.calls,
            tombstones: dynamo.tombstones,
            ..SinkSettings::new(settings.name.as_str())
        };
        removed.extend(self.sweep(blue, (&green, &sink), settings).await?);
        let what = Forget { rows: false, bookkeeping: self.books == Books::Remove };
        removed.extend(Box::pin(dynamodb::forget(green, &sink, &[], what)).await?);
        Ok(removed)
    }
}
