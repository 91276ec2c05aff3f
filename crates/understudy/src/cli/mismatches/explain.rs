//! `understudy mismatches explain`: reads the row on both sides now, and lays both beside each other.

use std::sync::Arc;
use std::time::Duration;

use understudy_contract::{
    Answer, BlueRows, Class, ComparedRoute, Detail, Failure, GreenRows, KnownMismatch, NotRead, RowName,
    Which,
};
use understudy_dynamodb::{self as dynamodb, DynamoGreenRows, StoredBlueRows, StoredRoute};
use understudy_model::Lsn;
use understudy_postgres::verify::{PostgresBlueRows, PostgresGreenRows, ReadLimits};
use understudy_postgres::wire::Client;

use super::explanation::{Explanation, Side};
use crate::cli::args::MismatchArgs;
use crate::cli::asking::Books;
use crate::cli::check::draw;
use crate::cli::exit::CliError;
use crate::cli::output::Output;
use crate::cli::sides::Sides;
use crate::comparing;
use crate::green::comparing::stored_routes;
use crate::mapping::{self, Both, Described};
use crate::project::ToMake;
use crate::routes;
use crate::settings::Settings;
use crate::verifying::reader_settings;

/// How long green may take to be where blue was when its row was read: beyond the next heartbeat, with time to apply it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Explains one mismatch.
pub(super) async fn explain(args: &MismatchArgs, output: Output) -> Result<(), CliError> {
    let mut books = Books::open(&args.file.file, "mismatches").await?;
    let known = super::one(&mut books, args.id).await?;
    let explained = look(&mut books, known).await.map_err(|failure| books.failed(&failure))?;
    let file = books.file.clone();
    books.close().await;
    if output.is_json() {
        output.json(&explained.json())?;
    } else {
        output.data(explained.text())?;
    }
    output.message(format!("next: {}", explained.next(&file)));
    Ok(())
}

async fn look(books: &mut Books, known: KnownMismatch) -> Result<Explanation, Failure> {
    let settings = &books.settings;
    let (routes, items) = match settings.green_dynamo() {
        Some(dynamo) => {
            let stored = Box::pin(stored(settings)).await?;
            let routes = stored.iter().map(|stored| stored.compared.clone()).collect();
            (routes, Some((dynamo, stored)))
        }
        None => (compared(settings).await?, None),
    };
    let routes: Arc<[ComparedRoute]> = routes.into();
    let between = |one: &&ComparedRoute| one.source == known.source && one.target == known.target;
    let route = routes.iter().find(between).cloned().ok_or_else(|| {
        let what =
            format!("the migration file has no mapping of {} to {} any more", known.source, known.target);
        Failure::new(Class::Configuration, what).remedy("bring it back, or leave the mismatch as it is")
    })?;
    let limits = ReadLimits { green_patience: settings.stream.heartbeat + PATIENCE, ..ReadLimits::default() };
    let name = settings.name.application_name("mismatches");
    let options = settings.blue.clone().with_application_name(&name);
    let blue = PostgresBlueRows::connect(&options, settings.name.slot(), routes.clone(), limits).await?;
    let (blue, green) = match items {
        Some((dynamo, stored)) => {
            let client = Box::pin(dynamodb::connect(&dynamo.client)).await;
            let client = client.map_err(|failure| failure.while_doing("connect to green"))?;
            let own = reader_settings(settings.name.as_str(), dynamo, limits);
            let green = DynamoGreenRows::new(client, own, &stored)?;
            Box::pin(read((StoredBlueRows::new(blue, &stored)?, green), &route, &known)).await?
        }
        None => {
            let options = settings.green_postgres()?.clone().with_application_name(&name);
            let name = settings.name.as_str();
            let green = PostgresGreenRows::connect(&options, name, routes.clone(), limits).await?;
            read((blue, green), &route, &known).await?
        }
    };
    let range = books.ledger.range_of(&route, &known.key).await?;
    Ok(Explanation { known, route, blue, green, range })
}

/// The routes of a migration file into items as they are compared.
async fn stored(settings: &Settings) -> Result<Vec<StoredRoute>, Failure> {
    let options = settings.blue.clone().with_application_name(&settings.name.application_name("mismatches"));
    let blue = Client::connect(&options).await;
    let mut blue = blue.map_err(|failure| failure.while_doing("connect to blue"))?;
    let both = Both::of_blue(Described::read(&mut blue).await?);
    blue.close().await;
    let taken = routes::taken(settings, &both.blue.tables)?;
    let keyed = taken.into_iter().filter(|one| one.table.key.is_some()).collect::<Vec<_>>();
    stored_routes(settings, &mapping::draw(settings, &keyed, &both)?)
}

/// The routes of a migration file as they are compared.
async fn compared(settings: &Settings) -> Result<Vec<ComparedRoute>, Failure> {
    let mut sides = Sides::connect(settings, "mismatches").await?;
    let both = sides.describe_both().await?;
    let to_make = ToMake::look(&mut sides.green, settings).await?;
    sides.close().await;
    let taken = routes::taken(settings, &both.blue.tables)?;
    let keyed = taken.into_iter().filter(|one| one.table.key.is_some()).collect::<Vec<_>>();
    let (drawn, _) = draw(settings, &keyed, &both, to_make)?;
    comparing::compared_routes(settings, &drawn, &both)
}

/// The row as both sides have it: blue's first, then green's once it has what blue had, if that comes soon.
async fn read(
    (mut blue, mut green): (impl BlueRows, impl GreenRows),
    route: &ComparedRoute,
    known: &KnownMismatch,
) -> Result<(Side, Side), Failure> {
    let row = RowName { green: known.key.clone(), blue: known.blue_key.clone() };
    let which = match row.blue {
        Some(_) => Which::Names(vec![row.clone()]),
        None => Which::Thorough(vec![row.green.clone()]),
    };
    let on_blue = blue.rows(route.route, &which, Detail::Values).await?;
    let names = Which::Names(vec![row]);
    let least = on_blue.as_ref().map_or(Lsn::ZERO, |read| read.moment.lsn);
    let mut on_green = green.rows(route.route, &names, Detail::Values, least).await?;
    if matches!(on_green, Err(NotRead::NotYet)) {
        on_green = green.rows(route.route, &names, Detail::Values, Lsn::ZERO).await?;
    }
    let blue = side(on_blue.map(|read| Side::of(read.value, &known.key, read.moment.lsn)));
    let green = side(on_green.map(|read| {
        let mut side = Side::of(read.value, &known.key, read.moment.checkpoint.lsn());
        side.awaited = read.awaited.iter().find(|awaited| awaited.key == known.key).map(|one| one.why);
        side
    }));
    Ok((blue, green))
}

/// What was read, or why nothing was.
fn side(answer: Answer<Side>) -> Side {
    answer.unwrap_or_else(|not| {
        Side::unread(match not {
            NotRead::Busy => "somebody holds the table exclusively, or it throttles reads".to_owned(),
            NotRead::TooSlow => "it took too long".to_owned(),
            NotRead::NotYet => "green has not begun to follow blue".to_owned(),
            NotRead::Changed(what) | NotRead::Unreadable(what) => what,
        })
    })
}
