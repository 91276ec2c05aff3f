//! What happened since the last look: requests that wait, and rows that the stream found not to be as promised.

use std::collections::HashSet;

use understudy_contract::{ComparedRoute, Failure, KeyRelation, LedgerNews, RowName};
use understudy_model::Key;

use super::Held;
use super::claim::route_of;
use super::requests::request_of;
use super::texts::{key_of, kind_of};
use crate::wire::Client;

/// How many rows of the stream's are told at once.
const SURPRISES_AT_ONCE: usize = 1_000;

pub(super) async fn news(
    client: &mut Client,
    (migration, routes): (&str, &[ComparedRoute]),
    held: &mut Held,
) -> Result<LedgerNews, Failure> {
    let mut news = LedgerNews::default();
    let sql = "SELECT r.id, r.kind, r.body FROM understudy.requests AS r WHERE r.migration = $1 \
        AND NOT EXISTS (SELECT FROM understudy.answers AS a WHERE a.request = r.id) ORDER BY r.id";
    let mut waiting = HashSet::new();
    for row in client.query_with(sql, &[Some(migration)]).await? {
        let id = row.parse(0)?;
        waiting.insert(id);
        if held.told.contains(&id) {
            continue;
        }
        match request_of(&row) {
            Some(request) => news.requests.push(request),
            None => {
                tracing::warn!(request = id, "a request in the ledger is not one that this program knows")
            }
        }
    }
    held.told = waiting;

    // One session writes these, so the order of their numbers is the order in which they show.
    let sql = format!(
        "SELECT r.source_schema, r.source_name, r.target_schema, r.target_name, m.id, m.key, m.kind, m.commit_lsn \
         FROM understudy.mismatches AS m JOIN understudy.routes AS r ON r.migration = m.migration AND r.route = m.route \
         WHERE (m.migration = $1 OR starts_with(m.migration, $1 || '#')) AND m.id > $2 ORDER BY m.id LIMIT {SURPRISES_AT_ONCE}"
    );
    let upto = held.surprises_upto.to_string();
    for row in client.query_with(&sql, &[Some(migration), Some(&upto)]).await? {
        let id = row.parse(4)?;
        if let Some(route) = route_of(routes, &row, 0)?
            && let Some(compared) = routes.iter().find(|one| one.route == route)
        {
            let green = key_of(row.required(5)?)?;
            let name = RowName { blue: blue_key(compared, &green), green };
            news.surprises.push((route, name, kind_of(row.required(6)?)?, row.parse(7)?));
        }
        held.surprises_upto = id;
    }
    Ok(news)
}

/// The key on blue of a row of which the key on green is known.
fn blue_key(route: &ComparedRoute, green: &Key) -> Option<Key> {
    if route.keys == KeyRelation::Computed {
        return None;
    }
    let texts = green.texts().collect::<Vec<_>>();
    let mut of_blue = vec![None; route.blue.key_order.len()];
    // Both sides list the same columns in the same order; each says where they stand in its own key.
    for (at_blue, at_green) in route.blue.key_order.iter().zip(&route.green.key_order) {
        *of_blue.get_mut(*at_blue)? = Some(*texts.get(*at_green)?);
    }
    let texts = of_blue.into_iter().collect::<Option<Vec<_>>>()?;
    Some(Key::from_texts(texts))
}
