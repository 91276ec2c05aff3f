//! Both databases, connected for a look.

use understudy_contract::Failure;
use understudy_postgres::preflight::{TableDescription, describe};
use understudy_postgres::wire::{Client, ConnectOptions};

use super::exit::CliError;
use crate::mapping::{Both, Described};
use crate::settings::{self, Secrets, Settings};

/// A connection to each side.
pub(super) struct Sides {
    pub(super) blue: Client,
    pub(super) green: Client,
}

impl Sides {
    /// Connects to both.
    pub(super) async fn connect(settings: &Settings, role: &str) -> Result<Sides, Failure> {
        let name = settings.name.application_name(role);
        Sides::connect_to(&settings.blue, settings.green_postgres()?, &name).await
    }

    /// Connects to both under an application name.
    pub(super) async fn connect_to(
        blue: &ConnectOptions,
        green: &ConnectOptions,
        application_name: &str,
    ) -> Result<Sides, Failure> {
        let connect = async |options: &ConnectOptions, side: &str| {
            let options = options.clone().with_application_name(application_name);
            let connected = Client::connect(&options).await;
            connected.map_err(|failure| failure.while_doing(format!("connect to {side} ({options})")))
        };
        // One after the other: with both away, the first message is enough.
        Ok(Sides { blue: connect(blue, "blue").await?, green: connect(green, "green").await? })
    }

    /// What tables blue has.
    pub(super) async fn describe_blue(&mut self) -> Result<Vec<TableDescription>, Failure> {
        describe(&mut self.blue).await.map_err(|failure| failure.while_doing("look at blue"))
    }

    /// What tables green has.
    pub(super) async fn describe_green(&mut self) -> Result<Vec<TableDescription>, Failure> {
        describe(&mut self.green).await.map_err(|failure| failure.while_doing("look at green"))
    }

    /// What both catalogs say.
    pub(super) async fn describe_both(&mut self) -> Result<Both, Failure> {
        let blue = Described::read(&mut self.blue).await;
        let green = Described::read(&mut self.green).await;
        Ok(Both {
            blue: blue.map_err(|failure| failure.while_doing("look at blue"))?,
            green: green.map_err(|failure| failure.while_doing("look at green"))?,
        })
    }

    /// Ends both connections in order.
    pub(super) async fn close(self) {
        self.blue.close().await;
        self.green.close().await;
    }
}

/// Reads a migration file, secrets included.
pub(super) fn load(file: &std::path::Path) -> Result<Settings, CliError> {
    settings::load(file, Secrets::Read).map_err(|error| CliError::of_settings(&error))
}
