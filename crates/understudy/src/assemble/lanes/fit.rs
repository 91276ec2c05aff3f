//! What stands in the way of several lanes: whatever lets the order of changes to different rows be told on green.

use understudy_contract::{Class, Failure, Finding, Severity};
use understudy_postgres::sink::{SinkSettings, lane_obstacles};
use understudy_postgres::wire::ConnectOptions;
use understudy_transform::{ColumnSource, RouteSpec};

use crate::mapping;

/// What helps against all of it.
const REMEDY: &str = "set `consistency: transaction` under `through.kafka`";

/// What of these routes does not fit. Changes nothing on green.
pub(crate) async fn findings(
    green: &ConnectOptions,
    settings: SinkSettings,
    routes: &[RouteSpec],
) -> Result<Vec<Finding>, Failure> {
    let error = |subject: String, what: String| Finding {
        severity: Severity::Error,
        code: "lanes-not-exact",
        subject,
        what,
        remedy: REMEDY.to_owned(),
    };
    let mut found = Vec::new();
    for route in routes.iter().filter(|route| !keeps_key(route)) {
        let subject = format!("mapping of {} to {}", route.source, route.target);
        let what = "does not pass blue's key on as it is: two keys of blue, in two lanes, may come to one row of green";
        found.push(error(subject, what.to_owned()));
    }
    match lane_obstacles(green, settings, mapping::green_tables(routes)).await {
        Ok(obstacles) => found.extend(obstacles.into_iter().map(|obstacle| {
            error(
                format!("green table {}", obstacle.table),
                format!("{}, with `consistency: key`", obstacle.what),
            )
        })),
        // What is amiss with a table itself is found by whoever looks at that.
        Err(failure) if failure.class() == Class::Configuration => {}
        Err(failure) => return Err(failure),
    }
    found.dedup();
    Ok(found)
}

/// Whether a row of green has every column of blue's key in its own key, unchanged.
fn keeps_key(route: &RouteSpec) -> bool {
    let passes = |name: &String| {
        route
            .key
            .iter()
            .any(|at| matches!(&route.columns[*at].from, ColumnSource::Column(from) if from == name))
    };
    let is_told = |at: &usize| !matches!(&route.columns[*at].from, ColumnSource::Computed(_));
    route.key_source.iter().all(passes) && route.key.iter().all(is_told)
}
