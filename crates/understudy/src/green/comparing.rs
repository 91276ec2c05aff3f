//! Routes into items as they are compared.

use understudy_contract::Failure;
use understudy_dynamodb::StoredRoute;

use super::items;
use crate::comparing;
use crate::mapping::Drawn;
use crate::settings::Settings;

/// The routes as they are compared, each with how its rows lie in items, in their order.
pub(crate) fn stored_routes(settings: &Settings, drawn: &[Drawn<'_>]) -> Result<Vec<StoredRoute>, Failure> {
    let compared = comparing::compared_into_items(settings, drawn)?;
    let layouts = items::layouts(settings, drawn)?;
    let routes = compared.into_iter().zip(layouts);
    Ok(routes.map(|(compared, layout)| StoredRoute { compared, layout }).collect())
}
