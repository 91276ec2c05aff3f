//! `understudy config`: the schema, and files without any server.

use super::args::ConfigVerb;
use super::exit::CliError;
use super::output::Output;
use crate::settings::{self, Secrets};

/// Carries out a verb of `config`.
pub(super) fn config(verb: &ConfigVerb, output: Output) -> Result<(), CliError> {
    let failed = |error| CliError::of_settings(&error);
    match verb {
        ConfigVerb::Schema => output.data(settings::schema()),
        ConfigVerb::Render(args) => output.data(settings::render(&args.file).map_err(failed)?),
        ConfigVerb::Check(args) => {
            let settings = settings::load(&args.file, Secrets::LeaveOut).map_err(failed)?;
            let (file, name, entries) = (args.file.display(), &settings.name, settings.tables.len());
            if output.is_json() {
                let migration = name.as_str();
                return output.json(&serde_json::json!({
                    "schema": "understudy/v1/config-check", "migration": migration, "entries": entries,
                }));
            }
            output.data(format!("{file}: migration `{name}` with {entries} entries in `tables`: good\n"))
        }
    }
}
