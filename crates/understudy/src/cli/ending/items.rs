//! The same where green is DynamoDB: items stay, and what is remembered of the migration goes.

use understudy_contract::Failure;
use understudy_dynamodb::{self as dynamodb, Forget, SinkSettings};
use understudy_postgres::source::slot;
use understudy_postgres::wire::Client;

use super::{Books, Ending, Kind, Log, lasting_sessions, missed, remove_from_blue};
use crate::cli::exit::CliError;
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
        let log = Log::look(settings).await;
        let objections =
            Box::pin(self.objections_to_items(&mut blue, (&green, dynamo), settings, log.as_ref())).await;
        self.may_go_on(&objections.map_err(failed)?, &file)?;
        self.confirm(settings, &file, output)?;
        let removed = Box::pin(self.remove_items(&mut blue, (green, dynamo), settings)).await;
        let removed = removed.map_err(failed)?;
        blue.close().await;
        self.conclude(settings, (removed, log), &file, output).await
    }

    async fn objections_to_items(
        &self,
        blue: &mut Client,
        (green, dynamo): (&dynamodb::Client, &DynamoSettings),
        settings: &Settings,
        log: Option<&Log<'_>>,
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
        if let Some(log) = log {
            objections.extend(self.objection_of_log(blue, settings, log).await);
        }
        if self.kind == Kind::Abort {
            return Ok(objections);
        }
        let remembered = look::remembered(green, dynamo, settings.name.as_str()).await?;
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
        objections.extend(missed(blue, settings, (log, &look::as_known(remembered))).await?);
        Ok(objections)
    }

    /// Removes what there is, blue's first: from then on nothing is kept there for us.
    async fn remove_items(
        &self,
        blue: &mut Client,
        (green, dynamo): (dynamodb::Client, &DynamoSettings),
        settings: &Settings,
    ) -> Result<Vec<String>, Failure> {
        let mut removed = remove_from_blue(blue, settings).await?;
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
