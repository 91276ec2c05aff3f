//! Batches of which a part is left undone, as a server that is short of capacity does.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Response;
use serde_json::{Map, Value, json};

use super::answers::response;

/// Takes some of a batch's items out, at least one: the batch without them, unless nothing is left of it, and what was taken out.
/// `None`: it is no batch.
pub(super) fn withhold(
    body: &Bytes,
    mut toss: impl FnMut() -> bool,
) -> Option<(Option<Bytes>, Map<String, Value>)> {
    let mut call: Value = serde_json::from_slice(body).ok()?;
    let tables = call.get_mut("RequestItems")?.as_object_mut()?;
    let mut withheld = Map::new();
    for (table, items) in tables.iter_mut() {
        let list = list_of(items)?;
        let must = withheld.is_empty();
        let (mut out, mut kept) = (Vec::new(), Vec::new());
        for item in list.drain(..) {
            let taken = (must && out.is_empty()) || toss();
            if taken { out.push(item) } else { kept.push(item) }
        }
        *list = kept;
        if !out.is_empty() {
            // Whatever is said of the table's items goes with them.
            let mut of_table = items.clone();
            *list_of(&mut of_table)? = out;
            withheld.insert(table.clone(), of_table);
        }
    }
    tables.retain(|_, items| list_of(items).is_some_and(|list| !list.is_empty()));
    let is_empty = tables.is_empty();
    Some(((!is_empty).then(|| Bytes::from(call.to_string())), withheld))
}

/// The answer to the rest of a batch, or to none of it, with what was left undone.
pub(super) async fn with_unprocessed(
    operation: &str,
    answered: Option<Response<Full<Bytes>>>,
    withheld: Map<String, Value>,
) -> Option<Response<Full<Bytes>>> {
    let reads = operation == "BatchGetItem";
    let name = if reads { "UnprocessedKeys" } else { "UnprocessedItems" };
    let mut answer = match answered {
        Some(answered) if !answered.status().is_success() => return Some(answered),
        Some(answered) => {
            serde_json::from_slice(&answered.into_body().collect().await.ok()?.to_bytes()).ok()?
        }
        None if reads => json!({ "Responses": {} }),
        None => json!({}),
    };
    let told = answer.as_object_mut()?.entry(name).or_insert_with(|| json!({})).as_object_mut()?;
    for (table, mut items) in withheld {
        // The server may have left some undone by itself.
        match told.get_mut(&table).and_then(list_of) {
            Some(list) => list.append(list_of(&mut items)?),
            None => drop(told.insert(table, items)),
        }
    }
    Some(response(200, &answer))
}

/// The items of one table in a batch of writes, or the keys in one of reads.
fn list_of(items: &mut Value) -> Option<&mut Vec<Value>> {
    match items {
        Value::Array(writes) => Some(writes),
        reads => reads.get_mut("Keys")?.as_array_mut(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A part that is neither done nor told of would be lost by the proxy, and not by what is tested.
    #[test]
    fn every_item_is_passed_on_or_told_of() {
        let batch =
            json!({ "RequestItems": { "a": [1, 2, 3], "b": { "Keys": [4, 5], "ConsistentRead": true } } });
        let mut coin = false;
        let toss = || {
            coin = !coin;
            coin
        };
        let (rest, withheld) = withhold(&Bytes::from(batch.to_string()), toss).unwrap();
        let rest: Value = serde_json::from_slice(&rest.unwrap()).unwrap();
        assert_eq!(rest["RequestItems"], json!({ "a": [3], "b": { "Keys": [5], "ConsistentRead": true } }));
        let expected = json!({ "a": [1, 2], "b": { "Keys": [4], "ConsistentRead": true } });
        assert_eq!(Value::Object(withheld), expected);
        let one = Bytes::from(json!({ "RequestItems": { "a": [1] } }).to_string());
        let (rest, withheld) = withhold(&one, || false).unwrap();
        assert!(rest.is_none() && withheld["a"] == json!([1]), "at least one is withheld");
    }
}
