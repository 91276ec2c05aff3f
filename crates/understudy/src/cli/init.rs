//! `understudy init`: a first migration file.

use understudy_contract::Failure;
use understudy_postgres::wire::ConnectOptions;

use super::args::InitArgs;
use super::draft::Draft;
use super::exit::{CliError, Exit};
use super::output::Output;
use super::sides::Sides;
use crate::settings::{self, MigrationName};

/// Describes both databases and prints a draft.
pub(super) async fn init(args: &InitArgs, output: Output) -> Result<(), CliError> {
    let next = "understudy init --help";
    let name = MigrationName::parse(&args.name).ok_or_else(|| {
        let longest = MigrationName::LEN_MAX;
        CliError::new(Exit::Configuration, format!("--name {}: not a migration name", args.name), next)
            .remedy(format!(
                "lower-case letters, digits and hyphens, a letter first, at most {longest} in all"
            ))
    })?;
    let look = async {
        let (blue, green) = (options("--blue", &args.blue)?, options("--green", &args.green)?);
        let mut sides = Sides::connect_to(&blue, &green, &name.application_name("init")).await?;
        let described = (sides.describe_blue().await?, sides.describe_green().await?);
        sides.close().await;
        Ok::<_, Failure>(described)
    };
    let (blue, green) = look
        .await
        .map_err(|failure: Failure| CliError { next: next.to_owned(), ..CliError::of(&failure, "") })?;
    let (blue_url, green_url) =
        (settings::url_without_password(&args.blue), settings::url_without_password(&args.green));
    let draft =
        Draft { name: name.as_str(), blue_url: &blue_url, green_url: &green_url, blue: &blue, green: &green };
    output.data(draft.text())?;
    output.message("next: understudy check FILE");
    Ok(())
}

fn options(option: &str, url: &str) -> Result<ConnectOptions, Failure> {
    ConnectOptions::parse(url).map_err(|failure| failure.while_doing(format!("read {option}")))
}
