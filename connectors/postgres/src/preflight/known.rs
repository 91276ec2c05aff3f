//! What green's bookkeeping says of a migration, read without owning it and without changing anything.

use understudy_contract::Failure;
use understudy_model::TableName;

use super::side::one;
use crate::error::has_sqlstate;
use crate::ident::quote_literal;
use crate::source::followed::{Followed, FollowedTable};
use crate::wire::Client;

/// What green remembers of a migration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Whether blue has been followed from some checkpoint on.
    pub started: bool,
    /// The version of the publication, as it was made.
    pub publication: Option<String>,
    /// The routes it has seen.
    pub routes: Vec<KnownRoute>,
}

/// One route as it was last run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownRoute {
    /// The table on blue.
    pub source: TableName,
    /// The table on green.
    pub target: TableName,
    /// Digest of the mapping at that time.
    pub fingerprint: String,
    /// Whether its copy is complete.
    pub complete: bool,
    /// The version of its place in the publication, once it is followed.
    pub published: Option<String>,
}

impl Known {
    /// A route by its two ends.
    pub fn route(&self, source: &TableName, target: &TableName) -> Option<&KnownRoute> {
        self.routes.iter().find(|route| route.source == *source && route.target == *target)
    }

    /// Whether every route between these two ends is copied completely, and there is one.
    pub fn is_complete(&self, source: &TableName, target: &TableName) -> bool {
        let between = |route: &&KnownRoute| route.source == *source && route.target == *target;
        self.route(source, target).is_some() && self.routes.iter().filter(between).all(|route| route.complete)
    }

    /// The publication of this name as green counts on it.
    pub fn followed(&self, publication: &str) -> Followed {
        let table = |route: &KnownRoute| {
            let (source, target) = (route.source.clone(), route.target.clone());
            Some(FollowedTable { source, target, version: route.published.clone()? })
        };
        Followed {
            publication: publication.to_owned(),
            version: self.publication.clone(),
            tables: self.routes.iter().filter_map(table).collect(),
            by_log: false,
        }
    }
}

/// Reads the bookkeeping. Without the right to look nothing is known: the missing right is reported elsewhere.
pub async fn known(client: &mut Client, migration: &str) -> Result<Known, Failure> {
    let there = one(client
        .query(
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = 'understudy' AND c.relname = 'migration')",
        )
        .await?)?;
    if !there.is_true(0) {
        return Ok(Known::default());
    }
    match read(client, migration).await {
        Err(failure) if has_sqlstate(&failure, "42501") => Ok(Known::default()),
        // The last migration on this green has just been ended, and the bookkeeping went with it.
        Err(failure) if has_sqlstate(&failure, "42P01") => Ok(Known::default()),
        other => other.map_err(|failure| failure.while_doing("read the bookkeeping on green")),
    }
}

async fn read(client: &mut Client, migration: &str) -> Result<Known, Failure> {
    let name = quote_literal(migration);
    let rows = client
        .query(&format!(
            "SELECT bool_or(checkpoint > '0/0'), max(publication) FROM understudy.migration \
             WHERE name = {name} OR pg_catalog.starts_with(name, {name} || '#') HAVING count(*) > 0"
        ))
        .await?;
    let Some(row) = rows.first() else {
        return Ok(Known::default());
    };
    let routes = client
        .query(&format!(
            "SELECT source_schema, source_name, target_schema, target_name, min(fingerprint), bool_and(complete), \
             min(published) FROM understudy.routes \
             WHERE migration = {name} OR pg_catalog.starts_with(migration, {name} || '#') \
             GROUP BY 1, 2, 3, 4 ORDER BY min(route)"
        ))
        .await?;
    let route = |row: &crate::wire::Row| {
        Ok(KnownRoute {
            source: TableName::new(row.required(0)?, row.required(1)?),
            target: TableName::new(row.required(2)?, row.required(3)?),
            fingerprint: row.required(4)?.to_owned(),
            complete: row.is_true(5),
            published: row.text(6).map(str::to_owned),
        })
    };
    Ok(Known {
        started: row.is_true(0),
        publication: row.text(1).map(str::to_owned),
        routes: routes.iter().map(route).collect::<Result<_, Failure>>()?,
    })
}
