//! Requests: written by whoever asks, answered by the verifier.

use std::borrow::Cow;

use understudy_contract::{Ask, Class, Failure, MismatchId, Request, Waiver};
use understudy_model::TableName;

use super::claim::ended;
use super::texts::{items, list};
use crate::error::has_sqlstate;
use crate::wire::{Client, Row};

/// Kind and body of what is asked.
fn body(ask: &Ask) -> (&'static str, Vec<Cow<'_, str>>) {
    match ask {
        Ask::Repair(ids) => ("repair", ids.iter().map(|id| Cow::from(id.to_string())).collect()),
        Ask::Waive(id, waiver) => {
            ("waive", vec![Cow::from(id.to_string()), Cow::from(&waiver.by), Cow::from(&waiver.reason)])
        }
        Ask::Pass(tables) => (
            "pass",
            tables.iter().flat_map(|table| [Cow::from(&*table.schema), Cow::from(&*table.name)]).collect(),
        ),
        Ask::Limits(limits) => {
            ("limits", limits.iter().flat_map(|(name, value)| [Cow::from(name), Cow::from(value)]).collect())
        }
    }
}

/// A request from its number, kind and body; `None` when it is not one that is known here.
pub(super) fn request_of(row: &Row) -> Option<Request> {
    let body = items(row.text(2)?).ok()?;
    Some(Request { id: row.parse(0).ok()?, ask: ask_of(row.text(1)?, &body)? })
}

fn ask_of(kind: &str, body: &[String]) -> Option<Ask> {
    let id = |text: &String| Some(MismatchId(text.parse().ok()?));
    let pairs = || body.chunks(2).map(|pair| Some((pair.first()?, pair.get(1)?)));
    match (kind, body) {
        ("repair", ids) => Some(Ask::Repair(ids.iter().map(id).collect::<Option<_>>()?)),
        ("waive", [of, by, reason]) => {
            Some(Ask::Waive(id(of)?, Waiver { by: by.clone(), reason: reason.clone() }))
        }
        ("pass", _) => {
            let table =
                |pair: Option<(&String, &String)>| Some(TableName::new(pair?.0.as_str(), pair?.1.as_str()));
            Some(Ask::Pass(pairs().map(table).collect::<Option<_>>()?))
        }
        ("limits", _) => {
            let limit = |pair: Option<(&String, &String)>| Some((pair?.0.clone(), pair?.1.clone()));
            Some(Ask::Limits(pairs().map(limit).collect::<Option<_>>()?))
        }
        _ => None,
    }
}

/// Asks the verifier for something, in the name of a person, and returns the request's number.
pub async fn ask(client: &mut Client, migration: &str, ask: &Ask, by: &str) -> Result<u64, Failure> {
    let (kind, body) = body(ask);
    let sql = "INSERT INTO understudy.requests (migration, kind, body, asked_by) \
        SELECT name, $2, $3::text[], $4 FROM understudy.migration WHERE name = $1 RETURNING id";
    let body = list(body);
    let asked = client.query_with(sql, &[Some(migration), Some(kind), Some(&body), Some(by)]).await;
    match asked {
        Ok(rows) => rows.first().ok_or_else(unknown)?.parse(0),
        Err(failure) if is_missing(&failure) => Err(unknown()),
        Err(failure) => Err(failure.while_doing("leave a request on green")),
    }
}

/// What the verifier answered, if it has.
pub async fn answer(client: &mut Client, request: u64) -> Result<Option<String>, Failure> {
    let sql = "SELECT answer FROM understudy.answers WHERE request = $1";
    match client.query_with(sql, &[Some(&request.to_string())]).await {
        Ok(rows) => Ok(rows.first().map(|row| row.required(0).map(str::to_owned)).transpose()?),
        Err(failure) if is_missing(&failure) => Err(ended()),
        Err(failure) => Err(failure.while_doing("read an answer on green")),
    }
}

/// Takes a request back that nobody has answered. If somebody has by now, that is the answer.
pub async fn withdraw(client: &mut Client, request: u64) -> Result<Option<String>, Failure> {
    let sql = "DELETE FROM understudy.requests AS r WHERE r.id = $1 \
        AND NOT EXISTS (SELECT FROM understudy.answers AS a WHERE a.request = r.id)";
    match client.execute_with(sql, &[Some(&request.to_string())]).await {
        Ok(1) => Ok(None),
        Ok(_) => answer(client, request).await,
        Err(failure) if is_missing(&failure) => Err(ended()),
        Err(failure) => Err(failure.while_doing("take a request back on green")),
    }
}

/// Whether a table of the bookkeeping is not there, or the schema that it lies in.
pub(super) fn is_missing(failure: &Failure) -> bool {
    has_sqlstate(failure, "42P01") || has_sqlstate(failure, "3F000")
}

fn unknown() -> Failure {
    Failure::new(
        Class::Configuration,
        "green does not know this migration: it has not begun, or has been ended",
    )
    .remedy("begin it: understudy run FILE")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise of the ledger: what is asked arrives as it was asked.
    #[test]
    fn requests_are_read_back_as_they_were_written() {
        let asks = [
            Ask::Repair(vec![MismatchId(7), MismatchId(8)]),
            Ask::Waive(MismatchId(7), Waiver { by: "me, \"I\"".to_owned(), reason: String::new() }),
            Ask::Pass(vec![]),
            Ask::Pass(vec![TableName::new("Shop", "order lines"), TableName::new("public", "t")]),
            Ask::Limits(vec![("rows_per_second".to_owned(), "5000".to_owned())]),
        ];
        for ask in asks {
            let (kind, body) = body(&ask);
            let body = items(&list(body)).unwrap();
            assert_eq!(ask_of(kind, &body), Some(ask));
        }
        for (kind, body) in [("repair", &["x"][..]), ("waive", &["1"]), ("pass", &["a"]), ("else", &[])] {
            let body = body.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
            assert_eq!(ask_of(kind, &body), None, "{kind}");
        }
    }
}
